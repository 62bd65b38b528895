#!/bin/sh
# Makes this host a server of a DevFlow Backup installation: installs the agent, enrols it, writes a configuration for the databases
# that are found here, starts the service, and waits until the controller has seen it. `devflowctl server add NAME` prints the
# command that fetches and runs it. Run again it upgrades the agent and leaves the rest as it is.
#
#   sh install.sh [--grant] [--kind deb|rpm|tar]
#
#   --grant   let setup make the accounts of the agent in the databases that it finds (devflow-agent setup --grant)
#   --kind    what to install; by default the package that this host takes, or the plain program if it takes none
#
# DEVFLOW_ENROLMENT   the enrolment token; not needed on a host that is enrolled
# https_proxy     as curl knows it
#
# Exit status: 0 the agent runs, and the controller has seen it; 1 something failed: the last lines say what, what was done before,
# and how to go on; 2 the command line is wrong; 3 all is in place, and no init system runs that could start the agent.
#
# The script is one function that is called at the very end: a part of it does nothing.

# What the controller put in.
URL='@URL@'
BASE='@BASE@'       # as curl calls it
CONNECT='@CONNECT@' # where that is, if it is another name
LINK='@LINK@'       # where the files come from, if not from the controller
VERSION='@VERSION@'
CA='@CA@'

main() {
	set -u
	umask 022 # for what is installed; the temporary directory is root's alone
	token=${DEVFLOW_ENROLMENT:-}
	unset DEVFLOW_ENROLMENT
	export LC_ALL=C
	done_so_far=
	tmp=
	grant=
	kind=
	while [ $# -gt 0 ]; do
		case $1 in
		--grant) grant=--grant ;;
		--kind)
			[ $# -gt 1 ] || usage
			shift
			kind=$1
			;;
		*) usage ;;
		esac
		shift
	done
	case $kind in '' | deb | rpm | tar) ;; *) usage ;; esac

	look_at_host
	tmp=$(mktemp -d) || fail 'cannot make a temporary directory'
	trap 'rm -rf "$tmp"' EXIT
	trap 'exit 1' HUP INT TERM
	printf '%s\n' "$CA" >"$tmp/ca"
	look_at_token
	download
	install_agent
	enrol
	set_up
	start
	await
}

say() { printf '%s\n' "$*"; }
step() { printf '==> %s\n' "$*"; }

usage() {
	say 'usage: sh install.sh [--grant] [--kind deb|rpm|tar]' >&2
	exit 2
}

# did TEXT: what a failure tells that was done before it.
did() { done_so_far="$done_so_far    - $1
"; }

# fail TEXT [HINT]
fail() {
	{
		say ''
		say "install.sh: $1"
		[ -z "${2:-}" ] || say "    $2"
		if [ -z "$done_so_far" ]; then
			say 'Nothing was changed on this host.'
		else
			say 'Done before that, and left as it is; the same command goes on from there:'
			printf '%s' "$done_so_far"
		fi
	} >&2
	exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# run COMMAND...: what it says is shown only if it fails.
run() {
	if "$@" </dev/null >"$tmp/out" 2>&1; then
		return 0
	fi
	tail -n 30 "$tmp/out" >&2
	return 1
}

# --- what is here -----------------------------------------------------------------------------------------------------------

look_at_host() {
	[ "$(id -u)" = 0 ] || fail 'this needs root' 'get a root shell (sudo -i, su -) and paste the whole command there'
	[ "$(uname -s)" = Linux ] || fail "this is $(uname -s): the agent is installed by hand there" 'see "Without a package" in docs/install.md'
	case $(uname -m) in
	x86_64 | amd64) arch=amd64 machine=x86_64 ;;
	aarch64 | arm64) arch=arm64 machine=aarch64 ;;
	*) fail "there is no agent for the architecture $(uname -m)" 'there is one for x86_64 (amd64) and aarch64 (arm64)' ;;
	esac
	for tool in curl sha256sum mktemp sed grep tail tar gzip; do
		have "$tool" || fail "$tool is missing" "install it with this host's package manager, and run the same command again"
	done
	# wget cannot be told whom to trust on every system, so it is not used.
	init=none
	if [ -d /run/systemd/system ]; then
		init=systemd
	elif [ -d /run/openrc ]; then
		init=openrc
	elif [ -d /etc/init.d ] && [ "$(cat /proc/1/comm 2>/dev/null)" = init ]; then
		init=sysv
	fi
	if [ -z "$kind" ]; then
		kind=$(installed_kind)
	fi
	if [ -z "$kind" ]; then
		# The packages bring a unit for systemd and nothing for other init systems.
		if [ "$init" = openrc ] || [ "$init" = sysv ]; then
			kind=tar
		elif have dpkg; then
			kind=deb
		elif have rpm; then
			kind=rpm
		else
			kind=tar
		fi
	fi
	case $kind in
	deb) have dpkg || fail 'dpkg is missing here' 'leave --kind out' ;;
	rpm) have rpm || fail 'rpm is missing here' 'leave --kind out' ;;
	esac
	if [ "$kind" = deb ] && [ "$(dpkg --print-architecture)" != "$arch" ]; then
		fail "there is no agent for the architecture $(dpkg --print-architecture)" 'there is one for amd64 and arm64'
	fi
	agent=/usr/bin/devflow-agent
	[ "$kind" != tar ] || agent=/usr/local/bin/devflow-agent
	config=/etc/devflow/agent.yaml
	state=$(sed -n 's/^state_dir:[[:space:]]*["'\'']\{0,1\}\([^"'\''[:space:]]*\).*/\1/p' "$config" 2>/dev/null | tail -n 1)
	state=${state:-/var/lib/devflow-agent}
	enrolled=
	[ ! -s "$state/identity.json" ] || enrolled=yes
}

# installed_kind prints how the agent that is here was installed.
installed_kind() {
	if have dpkg-query && [ "$(dpkg-query -W -f '${db:Status-Status}' devflow-agent 2>/dev/null)" = installed ]; then
		echo deb
	elif have rpm && rpm -q devflow-agent >/dev/null 2>&1; then
		echo rpm
	elif [ -x /usr/local/bin/devflow-agent ]; then
		echo tar
	fi
}

# --- the controller ---------------------------------------------------------------------------------------------------------

# ask PATH FILE [CURL OPTION...]: only of a controller with a certificate of the installation's own authority.
ask() {
	path=$1 file=$2
	shift 2
	curl --silent --show-error --connect-timeout 15 --max-time 900 --cacert "$tmp/ca" ${CONNECT:+--connect-to "$CONNECT"} -o "$file" "$@" "$BASE$path"
}

# word NAME FILE prints a text of a JSON object.
word() { tr -d '\n' <"$2" | sed "s/\\\\\"/'/g" | sed -n "s/.*\"$1\":\"\\([^\"]*\\)\".*/\\1/p"; }
# holds NAME FILE tells whether that is true.
holds() { grep -q "\"$1\":true" "$2"; }

# token_state asks what became of the token.
token_state() {
	code=$(ask /api/v1/enroll/status "$tmp/status" -H 'Content-Type: application/json' --data-binary "@$tmp/ask" -w '%{http_code}' 2>"$tmp/out")
}

# look_at_token refuses one that will not do before anything is changed. It is in files of a directory that only root can enter, and in
# no command line.
look_at_token() {
	server='' token_used=''
	if [ -z "$token" ]; then
		[ -n "$enrolled" ] || fail 'there is no enrolment token' "run the whole command that \`devflowctl server add NAME\` prints"
		step "controller $URL ($VERSION); this host is enrolled"
		return
	fi
	case $token in
	dfe_*_*) ;;
	*) fail 'DEVFLOW_ENROLMENT is not an enrolment token' 'copy the whole command: the token begins with dfe_' ;;
	esac
	case $token in
	*[!A-Za-z0-9_]*) fail 'DEVFLOW_ENROLMENT is not an enrolment token' 'copy the whole command: the token begins with dfe_' ;;
	esac
	umask 077
	cat >"$tmp/token" <<-EOF
		$token
	EOF
	cat >"$tmp/ask" <<-EOF
		{"token":"$token"}
	EOF
	umask 022
	token=
	if ! token_state; then
		fail "the controller at $URL was not to be had: $(tail -n 1 "$tmp/out")" 'does it run, and is its port open to this host?'
	fi
	if [ "$code" != 200 ]; then
		fail "the controller refuses the token: $(word detail "$tmp/status")" "$(word hint "$tmp/status")"
	fi
	server=$(word server_name "$tmp/status")
	if holds used "$tmp/status"; then
		token_used=yes
		if [ -z "$enrolled" ]; then
			fail "the enrolment token for server \"$server\" was already used" "make a new one with \`devflowctl server add\`"
		fi
		if ! grep -q "\"$(word server_id "$tmp/status")\"" "$state/identity.json"; then
			fail "this host is enrolled already, and not as the server \"$server\" that the token is of" "devflowctl server list tells which one it is; devflow-agent enroll --force gives it another identity"
		fi
	elif [ -n "$enrolled" ]; then
		say "This host is enrolled already: the token for server \"$server\" is not used."
		server=
	elif holds expired "$tmp/status"; then
		fail "the enrolment token for server \"$server\" has expired" "make a new one with \`devflowctl server add\`"
	fi
	step "controller $URL ($VERSION)${server:+, server $server}"
}

# --- the files --------------------------------------------------------------------------------------------------------------

download() {
	if ! ask /packages/SHA256SUMS "$tmp/sums" -w '%{http_code}' >"$tmp/code" 2>"$tmp/out"; then
		fail "the list of packages was not to be had from $URL: $(tail -n 1 "$tmp/out")"
	fi
	if [ "$(cat "$tmp/code")" != 200 ]; then
		fail "the controller has no packages: $(word detail "$tmp/sums")" "$(word hint "$tmp/sums")"
	fi
	case $kind in
	deb) form="devflow-agent_[^ /]*_$arch\\.deb" ;;
	rpm) form="devflow-agent-[^ /]*\\.$machine\\.rpm" ;;
	tar) form="devflow-agent-[^ /]*-linux-$arch\\.tar\\.gz" ;;
	esac
	grep "^[0-9a-f]\\{64\\} [ *]$form\$" "$tmp/sums" >"$tmp/sum"
	case $(grep -c . "$tmp/sum") in
	1) ;;
	0) fail "the controller has no .$kind of the agent for $arch" 'its directory of packages, or --kind, decides what there is: see docs/install.md' ;;
	*) fail "the controller has more than one .$kind of the agent for $arch: $(sed 's/.* [ *]//' "$tmp/sum" | tr '\n' ' ')" 'its SHA256SUMS is to name one of them' ;;
	esac
	name=$(sed 's/^[0-9a-f]* [ *]//' "$tmp/sum")
	step "$name"
	if [ -n "$LINK" ]; then
		set -- curl --silent --show-error --fail --location --connect-timeout 15 --max-time 900 -o "$tmp/$name" "$LINK/$name"
	else
		set -- ask "/packages/$name" "$tmp/$name" --fail --retry 3
	fi
	if ! "$@" 2>"$tmp/out"; then
		fail "$name was not to be had from ${LINK:-$URL}: $(tail -n 1 "$tmp/out")"
	fi
	# The checksum is the controller's, wherever the file came from.
	if ! (cd "$tmp" && sha256sum -c sum >/dev/null 2>&1); then
		rm -f "$tmp/$name"
		fail "$name has another checksum than the controller says" "it was damaged on its way, or ${LINK:-the directory of packages} has another file than SHA256SUMS names"
	fi
}

# --- the installation -------------------------------------------------------------------------------------------------------

install_agent() {
	case $kind in
	deb) install_deb ;;
	rpm) install_rpm ;;
	tar) install_tar ;;
	esac
	"$agent" version >"$tmp/version" 2>&1 || fail "$agent does not run: $(tail -n 1 "$tmp/version")"
	say "    $(cat "$tmp/version")"
}

install_deb() {
	new=$(dpkg-deb -f "$tmp/$name" Version) || fail "$name is no Debian package"
	old=
	if [ "$(dpkg-query -W -f '${db:Status-Status}' devflow-agent 2>/dev/null)" = installed ]; then
		old=$(dpkg-query -W -f '${Version}' devflow-agent)
	fi
	if [ -n "$old" ] && dpkg --compare-versions "$old" ge "$new"; then
		step "devflow-agent $old is installed"
		return
	fi
	step "installing devflow-agent $new${old:+ over $old}"
	export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 UCF_FORCE_CONFFOLD=1
	if have apt-get; then
		set -- apt-get -y -q --no-install-recommends -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold -o DPkg::Lock::Timeout=120 install "$tmp/$name"
	else
		set -- dpkg --force-confold -i "$tmp/$name"
	fi
	if ! run "$@"; then
		[ "$(dpkg-query -W -f '${db:Status-Status}' devflow-agent 2>/dev/null)" = '' ] || did 'dpkg knows devflow-agent: dpkg --configure -a, or apt-get -f install, may help'
		fail "$1 did not install $name" 'what it said is above'
	fi
	did "installed the package devflow-agent $new"
}

install_rpm() {
	new=$(rpm -qp --nosignature --qf '%{VERSION}-%{RELEASE}' "$tmp/$name" 2>/dev/null) || fail "$name is no RPM package"
	old=$(rpm -q --qf '%{VERSION}-%{RELEASE}' devflow-agent 2>/dev/null) || old=
	if [ "$old" = "$new" ]; then
		step "devflow-agent $old is installed"
		return
	fi
	step "installing devflow-agent $new${old:+ over $old}"
	# Whether the file is the right one was decided by its checksum.
	if have dnf; then
		set -- dnf -y install "$tmp/$name"
	elif have yum; then
		set -- yum -y install "$tmp/$name"
	elif have zypper; then
		set -- zypper --non-interactive --no-gpg-checks install --allow-unsigned-rpm "$tmp/$name"
	else
		set -- rpm -U --nosignature "$tmp/$name"
	fi
	run "$@" || fail "$1 did not install $name" 'what it said is above'
	did "installed the package devflow-agent $new"
}

install_tar() {
	# --no-same-owner: what root unpacks shall be root's.
	(cd "$tmp" && gzip -dc "$name" | tar -xof - && mv devflow-agent-*/devflow-agent devflow-agent.new && chmod 755 devflow-agent.new) 2>"$tmp/out" ||
		fail "$name does not unpack: $(tail -n 1 "$tmp/out")"
	if [ -x "$agent" ] && cmp -s "$tmp/devflow-agent.new" "$agent"; then
		step "$agent is this version"
	else
		step "installing $agent"
		# Beside the old one and renamed: a running program keeps what it has.
		if ! { mkdir -p /usr/local/bin && cp "$tmp/devflow-agent.new" "$agent.new" && chmod 755 "$agent.new" && mv "$agent.new" "$agent"; } 2>"$tmp/out"; then
			fail "cannot write $agent: $(tail -n 1 "$tmp/out")"
		fi
		did "installed $agent"
		replaced=yes
	fi
	if "$agent" status 2>/dev/null | grep -q '^service  *not installed'; then
		run "$agent" install || fail 'the service was not installed' 'what devflow-agent install said is above'
		sed 's/^/    /' "$tmp/out"
		did 'made the service devflow-agent'
	fi
}

# --- identity, configuration, service ---------------------------------------------------------------------------------------

enrol() {
	[ -z "$enrolled" ] || return 0
	step 'enrolling'
	run "$agent" enroll --controller "$URL" --token-file "$tmp/token" || fail 'the host was not enrolled' 'the reason is above'
	sed -n 's/^/    /; 1p' "$tmp/out"
	did "enrolled this host as server \"$server\""
	token_used=yes
}

set_up() {
	step "databases of this host (devflow-agent setup${grant:+ $grant})"
	set_up_failed=
	if ! "$agent" setup $grant </dev/null 2>&1; then
		set_up_failed=yes
	fi
}

running() { "$agent" status >/dev/null 2>&1; }

start() {
	was_running=
	! running || was_running=yes
	case $init:$kind in
	systemd:*)
		step 'starting the service'
		if [ "$kind" = tar ] && [ -n "$was_running" ] && [ -n "${replaced:-}" ]; then
			run systemctl restart devflow-agent || fail 'the service was not started again' 'journalctl -u devflow-agent tells why'
		fi
		run systemctl enable --now devflow-agent || fail 'the service was not started' 'journalctl -u devflow-agent tells why'
		;;
	openrc:tar | sysv:tar)
		step 'starting the service'
		verb=start
		[ -z "$was_running" ] || [ -z "${replaced:-}" ] || verb=restart
		if [ -z "$was_running" ] || [ "$verb" = restart ]; then
			run "$agent" "$verb" || fail 'the service was not started' 'what devflow-agent start said is above'
		fi
		;;
	*)
		if [ -z "$was_running" ]; then
			say ''
			say 'No init system runs here that the agent could be started by. All else is in place. Start it by whatever starts programs here,'
			say 'and again at every start of the host:'
			say "    $agent run"
			[ -z "$set_up_failed" ] || say 'And the configuration was not written: see above; devflow-agent setup does it.'
			exit 3
		fi
		;;
	esac
	# One that ran before reads what setup wrote.
	if [ -n "$was_running" ]; then
		"$agent" reload >/dev/null 2>&1 || true
	fi
}

await() {
	step 'waiting for the controller to see the agent'
	tries=0
	until seen; do
		tries=$((tries + 1))
		if [ "$tries" -ge 60 ]; then
			did 'started the service, which goes on trying'
			fail "the controller has not seen the agent within $((tries * 2)) seconds" "devflow-agent check, and the agent's log, tell why"
		fi
		sleep 2
	done
	say ''
	if [ -n "$token_used" ]; then
		say "Server \"$server\" is online."
	else
		say 'The agent runs; devflowctl server list tells whether the controller sees it.'
	fi
	if [ -n "$set_up_failed" ]; then
		did 'the agent runs'
		fail 'the configuration was not written' 'devflow-agent setup tells why, above; then: devflow-agent reload'
	fi
}

seen() {
	running || return 1
	[ -n "$token_used" ] || return 0
	token_state && [ "$code" = 200 ] && holds online "$tmp/status"
}

{ main "$@"; exit; }
