#!/usr/bin/env bash
# Proves the packages: the same bytes twice, contents and modes, signatures, and their life in a fresh Debian root that debootstrap
# makes (kept in .cache/debootstrap). Needs root, debootstrap, rpm and gpg; builds for this machine's architecture.
#
#   FRESH=1   the second build starts with an empty build cache: minutes more
#   SHORT=1   a minute: contents and modes of the .deb and their life, in this machine's own root under an overlay that is thrown away;
#             needs no debootstrap, rpm and gpg
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022

step() { printf '==> %s\n' "$*"; }
die()  { printf 'test-packages: %s\n' "$*" >&2; exit 1; }

(( EUID == 0 )) || die 'needs root'
tools=(dpkg-deb unshare) kinds=(deb)
[[ -n ${SHORT:-} ]] || tools+=(debootstrap rpm gpg) kinds+=(rpm)
for tool in "${tools[@]}"; do
	command -v "$tool" >/dev/null || die "$tool is missing; run: apt-get install -y --no-install-recommends debootstrap rpm gpg (about 30 MB)"
done
arch=$(dpkg --print-architecture)
case $arch in amd64) machine=x86_64 ;; arm64) machine=aarch64 ;; *) die "no packages for $arch" ;; esac
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT

# --- builds -----------------------------------------------------------------------------------------------------------------
step 'packages to test'
[[ -z ${SHORT:-} ]] || export PACKAGES_KINDS=deb PACKAGES_COMPRESSION=gzip
PACKAGES_VERSION=0.0.2 PACKAGES_DIST=$work/new scripts/packages.sh "$arch"
if [[ -n ${SHORT:-} ]]; then
	# The same with another number: what an upgrade does to a host does not depend on the programs.
	mkdir "$work/old"
	for name in devflow-agent devflow-controller; do
		dpkg-deb -R "$work/new/${name}_0.0.2-1_$arch.deb" "$work/$name"
		sed -i 's/^Version: .*/Version: 0.0.1-1/' "$work/$name/DEBIAN/control"
		dpkg-deb -Znone -b "$work/$name" "$work/old/${name}_0.0.1-1_$arch.deb" >/dev/null
	done
else
	PACKAGES_NAMES='devflow-agent devflow-controller' PACKAGES_VERSION=0.0.1 PACKAGES_DIST=$work/old scripts/packages.sh "$arch" >/dev/null
fi

step 'contents and modes, as in packaging/golden'
for name in devflow-agent devflow-controller devflowctl; do
	# Man pages follow the commands: that there is one for each is enough.
	dpkg-deb -c "$work/new/${name}_0.0.2-1_$arch.deb" | awk '{ print $1, $2, $6 }' | grep -v '/man[18]/.*\.gz$' >"$work/$name.deb.txt"
	[[ -n ${SHORT:-} ]] || rpm -qp --nosignature --qf '[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILENAMES} %{FILEFLAGS:fflags}\n]' "$work/new/$name-0.0.2-1.$machine.rpm" |
		sed 's/ $//' | grep -v '/man[18]/.*\.gz$' >"$work/$name.rpm.txt"
	for kind in "${kinds[@]}"; do
		if [[ -n ${UPDATE:-} ]]; then
			cp "$work/$name.$kind.txt" packaging/golden/
		fi
		diff "packaging/golden/$name.$kind.txt" "$work/$name.$kind.txt" || die "contents of $name.$kind differ; if that is right: UPDATE=1"
	done
done
for script in bin/packages/{deb,rpm}/*/*; do
	sh -n "$script" || die "$script"
	! grep -n '@[A-Z]*@' "$script" || die "$script: something was not put in"
done

# --- in a root of their own -------------------------------------------------------------------------------------------------
# inside LOWER SCRIPT FILE...: runs a script of packaging/test in the root under an overlay, with the files in /root. It has a mount,
# network and process namespace of its own: what is written, left running or mounted ends with it.
inside() {
	local lower=$1 script=$2 root=$work/root
	shift 2
	mkdir -p "$root"
	# shellcheck disable=SC2016 # expanded by the inner shell
	unshare --mount --net --pid --fork --kill-child bash -euc '
		lower=$1 root=$2 arch=$3 script=$4
		shift 4
		mount -t tmpfs -o mode=755 tmpfs "$root"
		mkdir "$root"/{up,work,root}
		mount -t overlay -o "lowerdir=$lower,upperdir=$root/up,workdir=$root/work" overlay "$root/root"
		cp -r "$script" "$@" "$root/root/root/"
		mount -t proc proc "$root/root/proc"
		mount -t tmpfs -o mode=755 tmpfs "$root/root/run"
		exec chroot "$root/root" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive ARCH="$arch" sh "/root/${script##*/}"' \
		bash "$lower" "$root" "$arch" "packaging/test/$script" "$@"
}
if [[ -n ${SHORT:-} ]]; then
	step 'install, upgrade, remove, purge; and the service without a package'
	inside / life.sh "$work"/{new,old}/*.deb
	printf 'packages: all is well\n'
	exit
fi

# --- what takes longer ------------------------------------------------------------------------------------------------------
step 'built again, the same bytes'
(
	if [[ -n ${FRESH:-} ]]; then
		GOCACHE=$work/gocache
		export GOCACHE
	fi
	# Neither the time zone, the language, the mask nor the host's name may show.
	umask 077
	TZ=Asia/Tokyo LC_ALL=C.UTF-8 HOSTNAME=elsewhere PACKAGES_VERSION=0.0.2 PACKAGES_DIST=$work/again scripts/packages.sh "$arch" >/dev/null
)
diff "$work/new/SHA256SUMS" "$work/again/SHA256SUMS" || die 'the second build differs'
(cd "$work/new" && sha256sum --quiet --check SHA256SUMS)

step 'rpm: digests, and what it unpacks'
rpm -K --nosignature "$work"/new/*.rpm >/dev/null || die 'a digest is wrong'
mkdir "$work/rpmroot"
rpm --root "$work/rpmroot" --dbpath /rpmdb -i --nodeps --noscripts --nosignature --ignorearch "$work"/new/*.rpm 2>/dev/null || die 'rpm does not unpack'
for file in /usr/bin/devflow{-agent,-controller,ctl} /usr/lib/systemd/system/devflow-{agent,controller}.service /etc/devflow/{agent,controller}.yaml; do
	[[ -s $work/rpmroot$file ]] || die "rpm did not unpack $file"
done
[[ $("$work/rpmroot/usr/bin/devflow-agent" version) == 'devflow-agent 0.0.2 '* ]] || die 'the program does not tell its version'

step 'signatures'
export GNUPGHOME=$work/gnupg
mkdir -m 0700 "$GNUPGHOME"
printf 'a passphrase\n' >"$work/passphrase"
gpg --batch --quiet --passphrase-file "$work/passphrase" --pinentry-mode loopback --quick-generate-key 'Packages under test <test@devflow-backup.invalid>' rsa3072 sign never
gpg --batch --quiet --passphrase-file "$work/passphrase" --pinentry-mode loopback --armor --export-secret-keys >"$work/key.asc"
gpg --armor --export >"$work/public.asc"
PACKAGES_NAMES=devflowctl PACKAGES_VERSION=0.0.2 PACKAGES_DIST=$work/signed PACKAGES_KEY=$work/key.asc PACKAGES_KEY_PASSPHRASE_FILE=$work/passphrase \
	scripts/packages.sh "$arch" >/dev/null
gpg --quiet --verify "$work/signed/SHA256SUMS.asc" "$work/signed/SHA256SUMS" 2>/dev/null || die 'the signature of SHA256SUMS is wrong'
(cd "$work/signed" && sha256sum --quiet --check SHA256SUMS)
rpm --dbpath "$work/keys" --import "$work/public.asc"
rpm --dbpath "$work/keys" -K "$work"/signed/*.rpm | grep -q 'digests signatures OK' || die 'the signature of the .rpm is wrong'
(cd "$work/signed" && ar x devflowctl_*.deb && cat debian-binary control.tar.* data.tar.* | gpg --quiet --verify _gpgorigin - 2>/dev/null) || die 'the signature of the .deb is wrong'
gpgconf --kill all
unset GNUPGHOME

# --- fresh roots ------------------------------------------------------------------------------------------------------------
# base NAME PACKAGE...: a root of debootstrap with these packages, kept for later runs
base() {
	local dir=.cache/debootstrap/$1
	shift
	if [[ ! -e $dir/.complete ]]; then
		step "debootstrap into $dir (once)"
		rm -rf --one-file-system "$dir"
		mkdir -p "$dir"
		debootstrap --variant=minbase ${1:+"--include=$1"} bookworm "$dir" >"$work/debootstrap.log" 2>&1 || { tail "$work/debootstrap.log" >&2; die 'debootstrap'; }
		touch "$dir/.complete"
	fi
}
base "bookworm-$arch" ''
step 'install, upgrade, remove, purge; and the service without a package, in a fresh root'
inside "$PWD/.cache/debootstrap/bookworm-$arch" life.sh "$work"/{new,old}/*.deb

base "bookworm-$arch-databases" curl,postgresql,mariadb-server,rpm
step 'one line makes a host a server, and its databases are backed up and restored'
mkdir "$work/packages"
cp "$work"/new/devflow-agent* "$work/new/SHA256SUMS" "$work/packages/"
inside "$PWD/.cache/debootstrap/bookworm-$arch-databases" oneline.sh "$work"/new/devflow{-controller_,ctl_}*.deb "$work/packages" bin/tools/versitygw
printf 'packages: all is well\n'
