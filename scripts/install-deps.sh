#!/usr/bin/env bash
# Makes sure that what DevFlow Backup needs to build, test and run is on this machine.
#
# Debian and Ubuntu: installs what is missing with apt, without questions, and touches nothing when all is there.
# Any other system: lists what is missing and ends with status 1. Go is never installed, only checked.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say()  { printf '%s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

# PostgreSQL's server programs are outside PATH on Debian. One directory must hold them all: mixed majors do not work.
have_postgres() {
	local dir
	for dir in /usr/lib/postgresql/*/bin "$(have pg_config && pg_config --bindir || true)" "$(dirname "$(command -v postgres || echo /-)")"; do
		if [[ -x $dir/initdb && -x $dir/postgres && -x $dir/pg_dump && -x $dir/pg_restore && -x $dir/psql ]]; then
			return 0
		fi
	done
	return 1
}

# MariaDB's server program is outside PATH for users who are not root.
have_mariadb() {
	local dir
	for dir in /usr/sbin /usr/local/sbin /usr/libexec "$(dirname "$(command -v mariadbd || echo /-)")"; do
		if [[ -x $dir/mariadbd ]]; then
			have mariadb-install-db && have mariadb-dump && have mariadb
			return
		fi
	done
	return 1
}

# Node is for building the console only.
have_node() {
	have node && have npm && (( $(node -p 'process.versions.node.split(".")[0]') >= 18 ))
}

have_browser() {
	have chromium || have chromium-browser || have google-chrome
}

# Ubuntu has it under another name.
browser_package() {
	if grep -qs '^ID=ubuntu' /etc/os-release; then echo chromium-browser; else echo chromium; fi
}

# The Go that this workspace asks for. `go env` runs here, so a Go that fetches newer toolchains by itself does so now.
check_go() {
	local want got go
	want=$(awk '$1 == "go" { print $2; exit }' go.work)
	if ! have go; then
		for go in /usr/local/go/bin /usr/lib/go/bin /snap/bin "$HOME/go/bin"; do
			if [[ -x $go/go ]]; then
				say "Go is in $go, which is not in PATH. Run:"
				say "    export PATH=\"$go:\$PATH\""
				return 1
			fi
		done
		say "Go ${want%.*} or newer is missing. Get it from https://go.dev/dl/ (the distribution's package may be too old), for example:"
		say "    tar -C /usr/local -xzf go<version>.linux-<arch>.tar.gz && export PATH=\"/usr/local/go/bin:\$PATH\""
		return 1
	fi
	if ! got=$(go env GOVERSION 2>&1); then
		say "Go cannot be used here: $got"
		say "This needs Go ${want%.*} or newer: install it from https://go.dev/dl/, or let Go fetch it: export GOTOOLCHAIN=auto"
		return 1
	fi
	got=${got#go}
	if [[ $(printf '%s\n%s\n' "$want" "$got" | sort -V | head -n 1) != "$want" ]]; then
		say "Go $got ($(command -v go)) is too old, this needs Go ${want%.*} or newer: install it from https://go.dev/dl/, or let Go"
		say "fetch it: export GOTOOLCHAIN=auto"
		return 1
	fi
}

missing=() # what is missing, for people
packages=() # the Debian packages that have it
need() { missing+=("$1"); packages+=("$2"); }

have_postgres || need "PostgreSQL server and client programs (initdb, postgres, pg_dump, pg_restore, psql)" postgresql
# The core package has the server's programs and starts none.
have_mariadb  || need "MariaDB server and client programs (mariadbd, mariadb-install-db, mariadb-dump, mariadb)" "mariadb-server-core mariadb-client"
have sqlite3  || need "sqlite3" sqlite3
have age      || need "age (encryption, https://age-encryption.org)" age
have zstd     || need "zstd (compression)" zstd
have openssl  || need "openssl" openssl
# For the console, which is built once and embedded in the controller; nothing of it runs on hosts.
have_node     || need "node 18 or newer with npm (https://nodejs.org)" "nodejs npm"
# For the test that calls the API as the panel does.
have php      || need "PHP 8.1 or newer (php)" php-cli
# For the test of the console, which a real browser drives. About 400 MB; nothing of it is shipped.
have_browser  || need "Chromium" "$(browser_package)"
# For the tests of the units; it is not started. About 12 MB.
have systemd-analyze || need "systemd-analyze" systemd
# For the tests of packages and of the installation in one line.
have curl     || need "curl" curl
have adduser  || need "adduser" adduser
[[ -s /etc/ssl/certs/ca-certificates.crt || -s /etc/pki/tls/certs/ca-bundle.crt || -s /etc/ssl/cert.pem || -s /etc/ssl/ca-bundle.pem ]] ||
	need "CA certificates (/etc/ssl/certs/ca-certificates.crt)" ca-certificates

if (( ${#missing[@]} )); then
	id="" id_like=""
	if [[ -r /etc/os-release ]]; then
		id=$(. /etc/os-release && printf '%s' "${ID:-}")
		id_like=$(. /etc/os-release && printf '%s' "${ID_LIKE:-}")
	fi
	if ! [[ " $id $id_like " == *" debian "* || " $id $id_like " == *" ubuntu "* ]] || ! have apt-get; then
		say "Missing on this system (${id:-unknown}); install it with your package manager and run this again:"
		printf '    - %s\n' "${missing[@]}" >&2
		check_go || true
		exit 1
	fi

	read -ra packages <<<"${packages[*]}"
	as_root=()
	if (( EUID != 0 )); then
		# Without a terminal sudo could only hang or fail on its password prompt.
		if have sudo && { [[ -t 0 ]] || sudo -n true 2>/dev/null; }; then
			as_root=(sudo)
		else
			say "Missing: ${packages[*]}. Installing needs root; run this and start again:"
			say "    sudo apt-get update && sudo apt-get install -y --no-install-recommends ${packages[*]}"
			exit 1
		fi
	fi

	say "==> installing ${packages[*]}"
	# The postgresql package makes and starts a cluster of its own unless told not to. Nobody needs it here: a private server
	# is started where one is wanted. A file that is there already is the administrator's choice.
	conf=/etc/postgresql-common/createcluster.conf
	if [[ " ${packages[*]} " == *" postgresql "* && ! -e $conf ]]; then
		"${as_root[@]}" mkdir -p "${conf%/*}"
		"${as_root[@]}" tee "$conf" >/dev/null <<-'CONF'
			# Written before PostgreSQL was installed, so that the package starts no server. See pg_createcluster(1).
			create_main_cluster = false
		CONF
	fi
	apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 NEEDRESTART_SUSPEND=1
		apt-get -q -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold -o DPkg::Lock::Timeout=120)
	"${apt[@]}" update
	"${apt[@]}" install -y --no-install-recommends "${packages[@]}"
	hash -r
	have_postgres && have_mariadb && have sqlite3 && have age && have zstd && have openssl && have systemd-analyze && have curl && have adduser && have_browser && have_node && have php || {
		say "apt-get ended well, yet something of this is still missing: ${packages[*]}"
		exit 1
	}
fi

check_go
