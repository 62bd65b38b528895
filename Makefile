# DevFlow Backup. `make` lists what there is. Two commands matter: `make quickstart` and `make test`.
#
# What is shipped is built module by module with GOWORK=off: it gets the versions of its own go.mod, and a requirement that the
# workspace would hide breaks the build. Tests run in the workspace.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.SUFFIXES:

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  = -s -w -X devflowbackup/shared/version.Version=$(VERSION)

# The same for what is shipped, checked and tested: each dependency is then compiled once.
export CGO_ENABLED := 0
export GOFLAGS     += -trimpath

# Evaluated when a recipe needs them, after `deps` has looked for Go. The end-to-end tests take longest and wait most: they start
# first, and the others run beside them.
MODULES  = $(shell go list -m -f '{{.Dir}}' | awk '/\/e2e$$/ { print; next } { others = others $$0 "\n" } END { printf "%s", others }')
PACKAGES = $(addsuffix /...,$(MODULES))

# How much one line of test output stands for: pkgname, testname, standard-verbose.
TEST_FORMAT ?= pkgname
TEST_FLAGS  ?= -p 2 -vet=off -timeout 40m -count=1

STEP = @printf '==> %s\n'

##@ Start here

.PHONY: help
help: ## This list
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z][a-z0-9-]*:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile
	@echo

.PHONY: quickstart
quickstart: deps tools build bin/quickstart ## Back up, verify and restore a demo database; stays up until Ctrl-C (ONCE=1: ends by itself)
	@exec bin/quickstart

.PHONY: test
test: deps tools bin/tools/nfpm build build-failpoints console-check bin/quickstart vet boundaries ## Everything that must hold: build, vet, boundaries, all tests on real servers
	$(STEP) 'tests of every module'
	@rm -f bin/test.json bin/test-again.txt
	@# A noisy machine may fail one test of thousands: that is run once more, and named, since it may be a rare fault as well.
	@bin/tools/gotestsum --format '$(TEST_FORMAT)' --jsonfile bin/test.json --rerun-fails=1 --rerun-fails-max-failures=4 --rerun-fails-run-root-test \
		--rerun-fails-report bin/test-again.txt --packages '$(PACKAGES)' -- $(TEST_FLAGS)
	@if [ -s bin/test-again.txt ]; then { echo 'these were run twice; look into them:'; cat bin/test-again.txt; } >&2; fi
	@# A skipped test proves nothing: a server that is not there must fail the run.
	@if grep '"Action":"skip"' bin/test.json | grep '"Test":' >&2; then echo 'the tests above were skipped: that counts as failed' >&2; exit 1; fi
	$(STEP) 'tests of the packages, in short'
	@SHORT=1 scripts/test-packages.sh

##@ Build

.PHONY: build
build: deps console ## bin/devflow-agent, bin/devflow-controller, bin/devflowctl; each module builds alone
	$(STEP) 'build $(VERSION)'
	@mkdir -p bin
	@# A module may have no package to build, and that is no error; one that does not compile is.
	@for dir in $(MODULES); do \
		echo "    $${dir#$(CURDIR)/}"; \
		(cd "$$dir" && GOWORK=off go build ./...); \
	done
	@cd agent && GOWORK=off go build -ldflags '$(LDFLAGS)' -o ../bin/ ./cmd/devflow-agent
	@cd controller && GOWORK=off go build -ldflags '$(LDFLAGS)' -o ../bin/ ./cmd/devflow-controller ./cmd/devflowctl
	@for f in devflow-agent devflow-controller devflowctl; do printf '    bin/%-20s %s MB\n' "$$f" "$$(( $$(stat -c %s "bin/$$f") / 1000000 ))"; done

# The console is static files, built by Vite and embedded in the controller. Built again when one of its sources changed.
WEB         := controller/web
WEB_SOURCES  = $(shell find $(WEB)/src $(WEB)/public -type f) $(addprefix $(WEB)/,index.html vite.config.ts tsconfig.json package.json package-lock.json)

.PHONY: console
console: deps $(WEB)/dist/index.html ## The web console, which the controller embeds, in controller/web/dist (node 18 or newer)

$(WEB)/node_modules/.package-lock.json: $(WEB)/package-lock.json $(WEB)/package.json
	$(STEP) 'npm ci'
	@cd $(WEB) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(WEB)/dist/index.html: $(WEB)/node_modules/.package-lock.json $(WEB_SOURCES)
	$(STEP) 'console'
	@cd $(WEB) && npm run --silent build -- --logLevel warn

.PHONY: console-check
console-check: deps $(WEB)/node_modules/.checked ## Types and tests of the console

$(WEB)/node_modules/.checked: $(WEB)/dist/index.html
	$(STEP) 'console: types, tests'
	@cd $(WEB) && npm run --silent check && npm run --silent test
	@touch $@

# A test of the package holds the types to the API.
.PHONY: console-types
console-types: deps $(WEB)/node_modules/.package-lock.json ## The console's types of the API, written anew from its OpenAPI document
	@mkdir -p bin
	@go test -count=1 -run '^TestDocument_Types$$' ./$(WEB) -args -write='$(CURDIR)/bin/openapi.json'
	@cd $(WEB) && node types.mjs '$(CURDIR)/bin/openapi.json'

# Never shipped: a test can stop these at named places. See shared/failpoint.
.PHONY: build-failpoints
build-failpoints: deps console ## The same programs with failpoints, in bin/failpoints, for the fault tests
	$(STEP) 'build with failpoints'
	@mkdir -p bin/failpoints
	@cd agent && GOWORK=off go build -tags failpoints -ldflags '$(LDFLAGS)' -o ../bin/failpoints/ ./cmd/devflow-agent
	@cd controller && GOWORK=off go build -tags failpoints -ldflags '$(LDFLAGS)' -o ../bin/failpoints/ ./cmd/devflow-controller ./cmd/devflowctl

.PHONY: bin/quickstart
bin/quickstart: deps
	$(STEP) 'bin/quickstart'
	@mkdir -p bin
	@cd e2e && GOWORK=off go build -o ../bin/quickstart ./cmd/quickstart

.PHONY: deps
deps: ## Install what the machine lacks (PostgreSQL, MariaDB, SQLite, age, zstd, openssl); says what is missing where it cannot
	@scripts/install-deps.sh

.PHONY: tools
tools: deps bin/tools/versitygw bin/tools/gotestsum ## The S3 server and the test runner, at pinned versions, in bin/tools

TOOL_versitygw    := github.com/versity/versitygw/cmd/versitygw
TOOL_gotestsum    := gotest.tools/gotestsum
TOOL_benchstat    := golang.org/x/perf/cmd/benchstat

# Built beside the old file and renamed, so that a running one is never cut short.
$(patsubst TOOL_%,bin/tools/%,$(filter TOOL_%,$(.VARIABLES))): bin/tools/%: tools/go.mod
	$(STEP) '$@ (minutes the first time, on a small machine)'
	@mkdir -p bin/tools
	@cd tools && GOWORK=off go build -ldflags '-s -w' -o ../$@.new $(TOOL_$*)
	@touch $@.new && mv $@.new $@

# A module of its own: its several hundred dependencies shall not choose versions for the other tools.
bin/tools/golangci-lint: tools/lint/go.mod
	$(STEP) '$@ (minutes the first time, on a small machine)'
	@mkdir -p bin/tools
	@cd tools/lint && GOWORK=off go build -ldflags '-s -w' -o ../../$@.new github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@.new && mv $@.new $@

# A module of its own, as above.
bin/tools/nfpm: tools/nfpm/go.mod
	$(STEP) '$@'
	@mkdir -p bin/tools
	@cd tools/nfpm && GOWORK=off CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o ../../$@.new github.com/goreleaser/nfpm/v2/cmd/nfpm
	@touch $@.new && mv $@.new $@

# A module of its own, as above.
bin/tools/check-rules: tools/rules/go.mod tools/rules/main.go
	$(STEP) '$@'
	@mkdir -p bin/tools
	@cd tools/rules && GOWORK=off CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o ../../$@.new .
	@touch $@.new && mv $@.new $@

.PHONY: clean
clean: ## Remove bin/, dist/ and what the benchmark left; quickstart's own directory stays
	rm -rf bin dist .bench

##@ Packages (packaging/README.md)

.PHONY: packages
packages: console bin/tools/nfpm ## .deb and .rpm of agent, controller and devflowctl for amd64 and arm64, reproducible, with SHA256SUMS, in dist/
	@scripts/packages.sh

KEY ?= $(PACKAGES_KEY)
.PHONY: sign
sign: console bin/tools/nfpm ## The same, signed: make sign KEY=private-key.asc (PACKAGES_KEY, PACKAGES_KEY_PASSPHRASE_FILE)
	@[ -n '$(KEY)' ] || { echo 'sign: which key? make sign KEY=private-key.asc' >&2; exit 2; }
	@PACKAGES_KEY='$(KEY)' scripts/packages.sh

.PHONY: lint-packages
lint-packages: ## lintian and rpmlint on dist/, with packaging/lintian and packaging/rpmlint.toml
	$(STEP) 'lintian, rpmlint'
	@command -v lintian rpmlint >/dev/null || { echo 'run: apt-get install -y --no-install-recommends lintian rpm rpmlint (about 200 MB)' >&2; exit 1; }
	@lintian --no-cfg --allow-root --fail-on error,warning --tag-display-limit 0 dist/*.deb
	@# rpmlint unpacks names that begin at the root right there: as root it would install the packages.
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; chmod 755 "$$dir"; cp packaging/rpmlint.toml dist/*.rpm "$$dir"; cd "$$dir"; \
	as=(env); (( EUID )) || as=(setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/nonexistent); \
	"$${as[@]}" rpmlint --strict --config rpmlint.toml ./*.rpm

.PHONY: test-packages
test-packages: console bin/tools/nfpm ## Packages built twice and compared, installed, upgraded, removed and purged in a fresh root (needs root, debootstrap)
	@scripts/test-packages.sh

##@ Check

.PHONY: vet
vet: deps ## go vet in every module
	$(STEP) 'go vet'
	@go vet $(PACKAGES)

.PHONY: boundaries
boundaries: deps ## Who may import whom (scripts/boundaries.sh)
	$(STEP) 'package boundaries'
	@scripts/boundaries.sh

.PHONY: lint
lint: deps bin/tools/golangci-lint ## golangci-lint with .golangci.yml
	$(STEP) 'golangci-lint'
	@bin/tools/golangci-lint run $(PACKAGES)

.PHONY: check-rules
check-rules: bin/tools/check-rules ## Alert rules and dashboard, read by Prometheus's own parser, and by promtool where it is installed (`make test` holds their names to a scrape)
	$(STEP) 'alert rules and dashboard'
	@bin/tools/check-rules packaging/prometheus/*.yml packaging/grafana/*.json
	@if command -v promtool >/dev/null; then promtool check rules packaging/prometheus/*.yml; else echo '    promtool is not installed (apt-get install prometheus): the rules were parsed only'; fi

.PHONY: test-race
test-race: deps tools build ## The tests of shared, agent and controller under the race detector (needs a C compiler, and time)
	$(STEP) 'tests with the race detector'
	@CGO_ENABLED=1 bin/tools/gotestsum --format '$(TEST_FORMAT)' -- -race -p 1 -timeout 30m -count=1 $(filter-out %/e2e/...,$(PACKAGES))

.PHONY: test-console
test-console: deps tools build ## The console, driven by a real browser; pictures of every page in bin/screenshots
	@DEVFLOW_PICTURES=all bin/tools/gotestsum --format '$(TEST_FORMAT)' -- -timeout 10m -count=1 ./e2e/console

.PHONY: test-upgrade
test-upgrade: deps tools build ## Agent and controller one version apart, in either direction, then upgraded (needs history; OLD=COMMIT: apart from that one)
	$(STEP) 'tests of upgrades'
	@OLD='$(OLD)' scripts/build-upgrade.sh
	@bin/tools/gotestsum --format '$(TEST_FORMAT)' -- -tags upgrade -timeout 10m -count=1 ./e2e/upgrade

# What differs between servers, against more of them: each engine's own tests. Those left out are of what only MariaDB has.
# Each run is held to the same as `make test`: a test that was skipped counts as failed.
VERSIONS        := $(CURDIR)/.cache/versions
NOT_ORACLE      := ^(TestDump_ToolVersion|TestDump_Approximate|TestDump_ReaderPauses|TestDump_Replica|TestRestore_KeepDefiners|TestPublish_Crash)$$
TEST_OF_VERSION  = bin/tools/gotestsum --format '$(TEST_FORMAT)' --jsonfile bin/test-versions.json -- -p 1 -timeout 20m -count=1

.PHONY: test-matrix
test-matrix: deps tools build bin/quickstart ## Every engine in every combination of codecs and storages and at every site of a restore in place (`make test` shares them out)
	@DEVFLOW_MATRIX=all bin/tools/gotestsum --format '$(TEST_FORMAT)' -- -run '^(TestMatrix|TestFault_InPlace)$$' -timeout 30m -count=1 ./e2e

.PHONY: test-versions
test-versions: deps bin/tools/gotestsum ## Optional: engines against PostgreSQL 16, 17, 18 and Oracle MySQL, fetched into .cache/versions
	@scripts/fetch-versions.sh
	@run() { "$$@"; ! grep '"Action":"skip"' bin/test-versions.json | grep '"Test":' >&2; }; \
	step() { printf '==> %s\n' "$$*"; }; \
	export DEVFLOW_VERSIONS='$(VERSIONS)'; \
	step 'rules of versions'; \
	run $(TEST_OF_VERSION) -tags versions -run '^TestVersions_' ./agent/internal/engine/postgres ./agent/internal/engine/mysql; \
	for pair in 16:17 17:17 18:18; do \
		step "PostgreSQL $${pair%:*} with the programs of $${pair#*:}"; \
		DEVFLOW_POSTGRES_ROOT='$(VERSIONS)'/postgresql-$${pair%:*} DEVFLOW_POSTGRES_CLIENT='$(VERSIONS)'/postgresql-client-$${pair#*:}/bin \
			run $(TEST_OF_VERSION) ./agent/internal/engine/postgres; \
	done; \
	step 'Oracle MySQL'; \
	DEVFLOW_MYSQL_ROOT='$(VERSIONS)/mysql' run $(TEST_OF_VERSION) -skip '$(NOT_ORACLE)' ./agent/internal/engine/mysql

.PHONY: bench
bench: deps tools build bin/bench ## Speed and memory against the bare tools, ratios with their inputs (docs/benchmarks.md; BENCH=-quick: a short try)
	@bin/bench $(BENCH)
	@[ -n '$(BENCH)' ] || $(MAKE) --no-print-directory bench-scale

.PHONY: bench-scale
bench-scale: deps console ## How catalog and API scale: schedules of 100,000, a plan for 100,000 backups, lists and the panel's calls with 1,000,000
	$(STEP) 'the catalog with many rows'
	@go test -timeout 40m -run '^$$' -bench '^BenchmarkScale_' -benchtime 200x ./controller/internal/catalog
	$(STEP) 'the calls of a panel, with 1,000,000 backups'
	@go test -timeout 40m -run '^$$' -bench '^BenchmarkScale_' -benchtime 2000x ./controller/internal/api
	@go test -run '^$$' -bench '^BenchmarkPlan' ./controller/internal/retention

.PHONY: bin/bench
bin/bench: deps
	$(STEP) 'bin/bench'
	@mkdir -p bin
	@cd e2e && GOWORK=off go build -o ../bin/bench ./cmd/bench

##@ Keep tidy

.PHONY: fmt
fmt: deps bin/tools/golangci-lint ## Format the Go code (gofumpt)
	@bin/tools/golangci-lint fmt $(PACKAGES)

# The tests that hold these pages to the code write them.
.PHONY: docs
docs: deps ## What of docs/ follows from the code (docs/reference-*.md, and marked parts of other pages), written anew
	@go test -p 1 -count=1 -run '^TestReference' $$(go list -f '{{$$p := .ImportPath}}{{range .TestImports}}{{if eq . "devflowbackup/shared/testkit/reference"}}{{$$p}} {{end}}{{end}}{{range .XTestImports}}{{if eq . "devflowbackup/shared/testkit/reference"}}{{$$p}} {{end}}{{end}}' $(PACKAGES)) -args -docs

.PHONY: tidy
tidy: deps ## go work sync, then go mod tidy in every module, the tools too
	@go work sync
	@for dir in $(MODULES) tools tools/lint tools/nfpm tools/rules; do echo "    $${dir#$(CURDIR)/}"; (cd "$$dir" && GOWORK=off go mod tidy); done
