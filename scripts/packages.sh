#!/usr/bin/env bash
# Builds the .deb and .rpm packages into dist/, with SHA256SUMS, and the agent as a plain program (.tar.gz) for hosts that take neither. The same commit gives the same bytes.
#
#   scripts/packages.sh [ARCH...]     amd64 and arm64 if none is named
#
# PACKAGES_VERSION     version of the packages; default: from the newest tag, or 0.0.0~git<date>.<commit>
# PACKAGES_MAINTAINER  name and address of whoever publishes them
# PACKAGES_KEY         armored private key: packages and SHA256SUMS are signed with it; if it has a passphrase,
#                      PACKAGES_KEY_PASSPHRASE_FILE names the file that holds it
# PACKAGES_DIST        where they go; default: dist
# PACKAGES_NAMES       which ones; default: devflow-agent devflow-controller devflowctl
# PACKAGES_KINDS       of what kinds; default: deb rpm tar.gz
# PACKAGES_COMPRESSION of the .deb and .rpm: xz unless given; gzip is many times faster
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022
export LC_ALL=C TZ=UTC

say() { printf '    %s\n' "$*"; }
die() { printf 'packages: %s\n' "$*" >&2; exit 1; }

arches=("$@")
(( $# )) || arches=(amd64 arm64)
read -ra names <<<"${PACKAGES_NAMES:-devflow-agent devflow-controller devflowctl}"
read -ra kinds <<<"${PACKAGES_KINDS:-deb rpm tar.gz}"
dist=${PACKAGES_DIST:-dist}
stage=bin/packages
nfpm=bin/tools/nfpm
maintainer=${PACKAGES_MAINTAINER:-DevFlow Backup <packages@devflow-backup.invalid>}
[[ -x $nfpm ]] || die "$nfpm is missing: run make $nfpm"

# Every time in the packages is that of the commit.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
mtime=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)

# v1.2.3 is 1.2.3; five commits later 1.2.3+5.gabc1234; before the first tag a version that is older than all others.
describe=$(git describe --tags --always --dirty)
version=${PACKAGES_VERSION:-}
if [[ -z $version ]]; then
	if [[ $describe =~ ^v([0-9]+\.[0-9]+\.[0-9]+)(-([a-z][a-z0-9.]*))?(-([0-9]+)-(g[0-9a-f]+))?(-dirty)?$ ]]; then
		version=${BASH_REMATCH[1]}${BASH_REMATCH[3]:+~${BASH_REMATCH[3]}}${BASH_REMATCH[5]:++${BASH_REMATCH[5]}.${BASH_REMATCH[6]}}
	else
		version=0.0.0~git$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S).$(git rev-parse --short=8 HEAD)
	fi
	[[ $describe != *-dirty ]] || version+=+dirty
fi
[[ $version =~ ^[0-9][A-Za-z0-9.+~]*$ ]] || die "version $version: give digits, letters, dots, + and ~ only, a digit first"

rm -rf "$stage"
mkdir -p "$stage"/{bin,man,doc} "$dist"
printf '==> packages %s\n' "$version"

# --- programs ---------------------------------------------------------------------------------------------------------------
# No build id and no look at the repository: what is built depends on the sources, the version and the compiler alone.
build=(go build -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X devflowbackup/shared/version.Version=$version")
export GOWORK=off CGO_ENABLED=0 GOOS=linux
for arch in "${arches[@]}"; do
	say "programs for $arch"
	mkdir -p "$stage/bin/$arch"
	(cd agent && GOARCH=$arch "${build[@]}" -o "../$stage/bin/$arch/" ./cmd/devflow-agent)
	(cd controller && GOARCH=$arch "${build[@]}" -o "../$stage/bin/$arch/" ./cmd/devflow-controller ./cmd/devflowctl)
done

# --- what is the same for every architecture --------------------------------------------------------------------------------
say 'man pages and completions'
manual() { # module command
	(cd "$1" && go run -trimpath -buildvcs=false -tags manual -ldflags "-X devflowbackup/shared/version.Version=$version" "./cmd/$2" "../$stage")
}
manual agent devflow-agent
manual controller devflow-controller
manual controller devflowctl
gzip -9n "$stage"/man/*

say 'licences of what is linked'
notices() {
	printf 'The programs of DevFlow Backup are built with the Go standard library and the modules below.\n'
	printf '\n%s\nThe Go standard library, %s\n\n' "$(printf '=%.0s' {1..100})" "$(go env GOVERSION)"
	cat "$(go env GOROOT)/LICENSE"
	{
		(cd agent && go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/devflow-agent)
		(cd controller && go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/...)
	} | grep -v '^devflowbackup/' | sort -u | while read -r path of dir; do
		printf '\n%s\n%s %s\n' "$(printf '=%.0s' {1..100})" "$path" "$of"
		found=0
		for file in "$dir"/{LICENSE,LICENCE,COPYING,NOTICE,PATENTS}*; do
			[[ -f $file ]] || continue
			case ${file##*/} in LICEN*|COPYING*) found=1 ;; esac
			printf '\n--- %s\n\n' "${file##*/}"
			cat "$file"
		done
		(( found )) || die "$path $of has no licence file"
	done
}
notices >"$stage/doc/third-party-licenses"
gzip -9n "$stage/doc/third-party-licenses"
gzip -9nc CHANGELOG.md >"$stage/doc/changelog.gz"

next_agent='devflow-agent is installed and not started. Next: devflow-agent enroll, devflow-agent check, systemctl enable --now devflow-agent'
next_controller='devflow-controller is installed and not started. Next: name the catalog in /etc/devflow/controller.yaml, systemctl enable --now devflow-controller'
for name in "${names[@]}"; do
	mkdir -p "$stage/doc/$name"
	printf '%s (%s-1) unstable; urgency=medium\n\n  * New version %s.\n    What is new is in changelog.gz.\n\n -- %s  %s\n' \
		"$name" "$version" "$version" "$maintainer" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$stage/doc/$name/changelog.Debian.gz"
	[[ $name != devflowctl ]] || continue
	short=${name#devflow-} next=next_${name#devflow-} mode=0700
	[[ $short != controller ]] || mode=0711
	for kind in deb rpm; do
		mkdir -p "$stage/$kind/$name"
		for script in packaging/$kind/p{re,ost}*; do
			[[ $script != */purge-* ]] || continue
			sed -e "/^@PURGE@\$/{r packaging/$kind/purge-$name" -e 'd}' \
				-e "s|@NAME@|$name|g; s|@SHORT@|$short|g; s|@STATEMODE@|$mode|g; s|@GECOS@|DevFlow Backup $short|g; s|@NEXT@|${!next}|g" \
				"$script" >"$stage/$kind/$name/${script##*/}"
		done
	done
done

# --- packages ---------------------------------------------------------------------------------------------------------------
sign_deb='' sign_rpm=''
if [[ -n ${PACKAGES_KEY:-} ]]; then
	[[ -r $PACKAGES_KEY ]] || die "PACKAGES_KEY: $PACKAGES_KEY cannot be read"
	key=$(realpath "$PACKAGES_KEY")
	sign_deb="  signature: { method: debsign, type: origin, key_file: \"$key\" }"
	sign_rpm="  signature: { key_file: \"$key\" }"
fi
# The passphrase is in the environment of nfpm alone, and in no command line.
package() {
	(
		[[ -z ${PACKAGES_KEY_PASSPHRASE_FILE:-} ]] || { NFPM_PASSPHRASE=$(<"$PACKAGES_KEY_PASSPHRASE_FILE"); export NFPM_PASSPHRASE; }
		exec "$nfpm" package --config "$1" --packager "$2" --target "$dist/" >/dev/null
	)
}
rm -f "$dist"/devflow*.{deb,rpm,tar.gz} "$dist"/SHA256SUMS{,.asc}
for arch in "${arches[@]}"; do
	for name in "${names[@]}"; do
		yaml=$stage/$name-$arch.yaml
		sed -e "s|@ARCH@|$arch|g; s|@VERSION@|$version|g; s|@MAINTAINER@|$maintainer|g; s|@MTIME@|$mtime|g; s|@STAGE@|$stage|g; s|compression: xz|compression: ${PACKAGES_COMPRESSION:-xz}|" \
			-e "s|^@SIGN_DEB@\$|$sign_deb|; s|^@SIGN_RPM@\$|$sign_rpm|" "packaging/$name.yaml" >"$yaml"
		for kind in "${kinds[@]}"; do
			[[ $kind == tar.gz ]] || package "$yaml" "$kind"
		done
	done
done
if [[ " ${names[*]} " == *' devflow-agent '* && " ${kinds[*]} " == *' tar.gz '* ]]; then
	for arch in "${arches[@]}"; do
		into=$stage/tar/$arch/devflow-agent-$version
		mkdir -p "$into"
		install -m 0755 "$stage/bin/$arch/devflow-agent" "$into/"
		install -m 0644 packaging/doc/copyright "$stage/doc/third-party-licenses.gz" "$into/"
		tar --create --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=ustar --directory="$stage/tar/$arch" \
			"devflow-agent-$version" | gzip -9n >"$dist/devflow-agent-$version-linux-$arch.tar.gz"
	done
fi
# list prints the names of what was built.
list() { (cd "$dist" && shopt -s nullglob && for kind in "${kinds[@]}"; do for file in devflow*."$kind"; do echo "$file"; done; done); }
list | (cd "$dist" && xargs sha256sum >SHA256SUMS)

if [[ -n ${PACKAGES_KEY:-} ]]; then
	home=$(mktemp -d)
	trap 'gpgconf --homedir "$home" --kill all; rm -rf "$home"' EXIT
	gpg=(gpg --homedir "$home" --batch --quiet --pinentry-mode loopback)
	[[ -z ${PACKAGES_KEY_PASSPHRASE_FILE:-} ]] || gpg+=(--passphrase-file "$PACKAGES_KEY_PASSPHRASE_FILE")
	"${gpg[@]}" --import "$PACKAGES_KEY"
	"${gpg[@]}" --armor --detach-sign --output "$dist/SHA256SUMS.asc" "$dist/SHA256SUMS"
	say "signed: $dist/SHA256SUMS.asc and the packages themselves"
fi
list | while read -r f; do say "$dist/$f $(( $(stat -c %s "$dist/$f") / 1000 )) kB"; done
