#!/usr/bin/env bash
# Checks that the arrows between packages point inward: adapters -> domain -> wire. The picture is in ARCHITECTURE.md.
#
# Asks the Go tool what is really linked, so it cannot be fooled by text. It stays outside the Go tests, whose cached results
# would hide a new import. Tests may import what they like: only what is built into the binaries counts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

failed=0
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
ok()   { printf 'ok    %s\n' "$*"; }
fail() {
	printf 'FAIL  %s\n' "$1"
	printf '%s\n' "$2" | sed 's/^/          /'
	failed=1
}

# list ARG...: go list, with what it says on the side kept apart: a line about a download is not a package.
list() { go list "$@" 2>"$errors"; }
# deps PATTERN: every package linked into PATTERN, itself included, one per line.
deps() { list -deps -f '{{.ImportPath}}' "$1"; }

# links_none RULE PATTERN REGEX: nothing that PATTERN links matches REGEX.
links_none() {
	local all bad
	if ! all=$(deps "$2"); then
		fail "$1" "$(<"$errors")"
		return
	fi
	bad=$(grep -E "$3" <<<"$all" || true)
	if [[ -n $bad ]]; then
		fail "$1" "$bad"
		printf '          why: go list -deps -f '\''{{.ImportPath}} <- {{join .Imports " "}}'\'' %s\n' "$2"
	else
		ok "$1"
	fi
}

gin='^github\.com/gin-gonic/gin(/|$)'
huma='^github\.com/danielgtaylor/huma/'
bun='^github\.com/uptrace/bun(/|$)'
broker='^github\.com/nats-io/nats-server/'
aws='^github\.com/aws/'

# --- the binaries -----------------------------------------------------------------------------------------------------------
# The agent runs on other people's database hosts: small, with nothing that holds a storage credential, and that
# listens with net/http alone where metrics.listen asks for it.
links_none "devflow-agent links no gin, huma, bun, nats-server, AWS SDK or controller package" \
	./agent/cmd/devflow-agent "$gin|$huma|$bun|$broker|$aws|^devflowbackup/controller(/|\$)"
# The command line is a plain client of the HTTP API: it has no way around it.
links_none "devflowctl links no gin, bun, nats-server or AWS SDK" \
	./controller/cmd/devflowctl "$gin|$bun|$broker|$aws"
# Servers for tests are never part of what is shipped.
links_none "devflow-controller links no test package" ./controller/cmd/devflow-controller '^testing$|/testkit(/|$)|/enginetest$'
links_none "devflow-agent links no test package" ./agent/cmd/devflow-agent '^testing$|/testkit(/|$)|/enginetest$'

# --- the inner layers -------------------------------------------------------------------------------------------------------
rule="shared/wire imports the standard library only"
if ! out=$(list -deps -f '{{if not .Standard}}{{.ImportPath}}{{end}}' ./shared/wire); then
	fail "$rule" "$(<"$errors")"
elif bad=$(grep -vxF devflowbackup/shared/wire <<<"$out"); then
	fail "$rule" "$bad"
else
	ok "$rule"
fi
links_none "the domain (controller/*.go) imports no adapter and no driver" ./controller \
	"^devflowbackup/controller/|^devflowbackup/migrations|$gin|$huma|$bun|$aws|^github\.com/nats-io/|^github\.com/jackc/"

# --- siblings ---------------------------------------------------------------------------------------------------------------
# siblings RULE ROOT HUB ALLOWED...: the folders right under ROOT do not import one another; only HUB may import them all.
# ALLOWED is "from->to" or "any->to", and whoever adds one writes the reason beside it.
siblings() {
	local rule=$1 root=$2 hub=$3 found pkg imports imp from to bad=""
	shift 3
	if ! found=$(list -f '{{.ImportPath}} {{join .Imports " "}}' "./$root/..."); then
		fail "$rule" "$(<"$errors")"
		return
	fi
	while read -r pkg imports; do
		from=${pkg#"devflowbackup/$root/"}
		[[ $from != "$pkg" ]] || continue
		from=${from%%/*}
		[[ $from != "$hub" ]] || continue
		for imp in $imports; do
			to=${imp#"devflowbackup/$root/"}
			[[ $to != "$imp" ]] || continue
			to=${to%%/*}
			[[ $to != "$from" && " $* " != *" $from->$to "* && " $* " != *" any->$to "* ]] || continue
			bad+="$pkg imports $imp"$'\n'
		done
	done <<<"$found"
	if [[ -n $bad ]]; then fail "$rule" "${bad%$'\n'}"; else ok "$rule"; fi
}

allowed_adapters=(
	"client->api" # both sides of HTTP share the requests and answers of api/body; devflowctl's own rule keeps gin out
	"catalog->retention" # retention decides in memory and reaches no outside system; its plan is made and carried out in one transaction
	"any->background" # loops and claims of whichever part; it knows none of them
	"broker->keys" # keys is material in memory and reaches no outside system; the broker signs its JWTs with it
)
siblings "adapters under controller/internal meet only in controller/internal/app" controller/internal app ${allowed_adapters[@]+"${allowed_adapters[@]}"}

allowed_engines=(
	"any->tool" # no engine: starts and ends the dump and restore programs for all of them
	# "enginetest->X" is not here: the suite gets its engine from the engine's own test.
)
siblings "engines do not import one another" agent/internal/engine "" ${allowed_engines[@]+"${allowed_engines[@]}"}

# --- one owner per library --------------------------------------------------------------------------------------------------
# owner RULE REGEX OWNER...: only the folders OWNER, under controller/, import what REGEX names.
owner() {
	local rule=$1 re=$2 found bad="" pkg imports imp o mine
	shift 2
	if ! found=$(list -f '{{.ImportPath}} {{join .Imports " "}}' ./controller/...); then
		fail "$rule" "$(<"$errors")"
		return
	fi
	while read -r pkg imports; do
		mine=0
		for o in "$@"; do
			[[ $pkg != "devflowbackup/controller/$o" && $pkg != "devflowbackup/controller/$o/"* ]] || mine=1
		done
		(( mine == 0 )) || continue
		for imp in $imports; do
			[[ ! $imp =~ $re ]] || bad+="$pkg imports $imp"$'\n'
		done
	done <<<"$found"
	if [[ -n $bad ]]; then fail "$rule" "${bad%$'\n'}"; else ok "$rule"; fi
}
owner "SQL lives in internal/catalog only" '^github\.com/uptrace/bun(/|$)|^github\.com/jackc/pgx/' internal/catalog
owner "the AWS SDK is imported by internal/objectstore only" '^github\.com/aws/' internal/objectstore
owner "nats-server is imported by internal/broker only" '^github\.com/nats-io/nats-server/' internal/broker
owner "what sends messages is imported by internal/notify only" '^github\.com/(nicholas-fedor/shoutrrr|wneessen/go-mail)(/|$)' internal/notify
owner "Prometheus is told by internal/metrics only" '^github\.com/prometheus/' internal/metrics
owner "gin and huma are imported by internal/api only" '^github\.com/(gin-gonic/gin|danielgtaylor/huma)(/|$)' internal/api

if (( failed )); then
	echo "boundaries: violated; ARCHITECTURE.md says what may import what" >&2
	exit 1
fi
