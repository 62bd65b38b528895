#!/bin/sh
# Runs in a fresh Debian root where systemd is not running: the life of the packages, and of the service without them.
set -eu
cd /root

die() { echo "life: $*" >&2; exit 1; }
# is OWNER:GROUP MODE PATH
is() {
	got=$(stat -c '%U:%G %a' "$3") || die "$3 is missing"
	[ "$got" = "$1 $2" ] || die "$3 is $got, not $1 $2"
}
gone() { [ ! -e "$1" ] || die "$1 is still there"; }
has() { grep -q -- "$2" "$1" || { cat "$1" >&2; die "$1 does not say: $2"; }; }

echo '    install'
dpkg -i devflow-agent_0.0.1-1_"$ARCH".deb devflow-controller_0.0.1-1_"$ARCH".deb >out 2>&1 || { cat out; die 'install'; }
has out 'Next: devflow-agent enroll'
is root:root 755 /etc/devflow
for short in agent controller; do
	is "root:devflow-$short" 640 "/etc/devflow/$short.yaml"
	is "root:devflow-$short" 750 "/etc/devflow/$short"
	[ "$(getent passwd "devflow-$short" | cut -d: -f6,7)" = "/var/lib/devflow-$short:/usr/sbin/nologin" ] || die "account of $short"
done
is devflow-agent:devflow-agent 700 /var/lib/devflow-agent
is devflow-controller:devflow-controller 711 /var/lib/devflow-controller
[ "$(dpkg-query -W -f '${Version}' devflow-agent)" = 0.0.1-1 ] || die 'version'
# As root the program is the agent's account; the sample is a valid configuration.
devflow-agent check >out 2>&1 && die 'check finds nothing to mend on a host that is not enrolled'
has out 'not enrolled'
# Nothing was started, and status says so without systemd.
if devflow-agent status >out 2>&1; then die 'status: it runs'; elif [ $? -ne 3 ]; then cat out; die 'status: not 3'; fi
has out 'a package'
has out 'none works on /var/lib/devflow-agent'
devflow-agent install >out 2>&1 && die 'install over a package'
has out 'came with a package'
devflow-controller uninstall >out 2>&1 && die 'uninstall of a package'
has out 'came with a package'
devflow-agent start >out 2>&1 && die 'start without systemd'
has out 'devflow-agent run'

echo '    upgrade'
echo '#mine' >>/etc/devflow/agent.yaml
chmod 600 /etc/devflow/agent.yaml
chown devflow-agent: /etc/devflow/agent.yaml
echo secret >/etc/devflow/agent/main.password
echo '{}' >/var/lib/devflow-agent/identity.json
mkdir /var/lib/devflow-agent/backups && echo backup >/var/lib/devflow-agent/backups/one
echo key >/var/lib/devflow-controller/master.key
echo id >/var/lib/devflow-controller/controller.id
chown -R devflow-agent: /var/lib/devflow-agent /etc/devflow/agent/main.password
dpkg -i devflow-agent_0.0.2-1_"$ARCH".deb devflow-controller_0.0.2-1_"$ARCH".deb devflowctl_0.0.2-1_"$ARCH".deb >out 2>&1 || { cat out; die 'upgrade'; }
[ "$(devflow-agent version | cut -d' ' -f2)" = 0.0.2 ] || die 'version after the upgrade'
devflowctl version >out 2>&1 && grep -q '^devflowctl *0\.0\.2 ' out || die 'version of devflowctl'
has /etc/devflow/agent.yaml '#mine'
is devflow-agent:devflow-agent 600 /etc/devflow/agent.yaml
is root:devflow-controller 640 /etc/devflow/controller.yaml
is devflow-agent:devflow-agent 700 /var/lib/devflow-agent
[ -s /var/lib/devflow-agent/identity.json ] || die 'state is gone after the upgrade'

echo '    remove'
dpkg -r devflow-agent devflow-controller devflowctl >out 2>&1 || { cat out; die 'remove'; }
gone /usr/bin/devflow-agent
gone /usr/lib/systemd/system/devflow-agent.service
[ -s /etc/devflow/agent.yaml ] && [ -s /var/lib/devflow-agent/identity.json ] && [ -s /var/lib/devflow-controller/master.key ] || die 'a removal removed more'

echo '    purge'
dpkg -P devflow-agent devflow-controller devflowctl >out 2>&1 || { cat out; die 'purge'; }
gone /etc/devflow
gone /var/lib/devflow-agent/identity.json
has /var/lib/devflow-agent/backups/one backup
has out 'holds other files and stays'
gone /var/lib/devflow-controller
kept=$(ls -d /var/backups/devflow-controller.*/master.key)
has "$kept" key
is root:root 600 "$kept"
rm -r /var/lib/devflow-agent /var/backups/devflow-controller.*

echo '    install after a purge'
dpkg -i devflow-agent_0.0.2-1_"$ARCH".deb >out 2>&1 || { cat out; die 'install again'; }
is devflow-agent:devflow-agent 700 /var/lib/devflow-agent
is root:devflow-agent 640 /etc/devflow/agent.yaml
cp /usr/bin/devflow-agent /usr/local/bin/devflow-agent
dpkg -P devflow-agent >out 2>&1 || { cat out; die 'purge again'; }
gone /var/lib/devflow-agent
deluser --quiet devflow-agent >/dev/null 2>&1 || true

echo '    service without a package'
hash -r 2>/dev/null || true
cp /usr/local/bin/devflow-agent /tmp/devflow-agent
/tmp/devflow-agent install >out 2>&1 && die 'install from /tmp'
has out 'copy it to /usr/local/bin'
devflow-agent install --user nobody-here >out 2>&1 && die 'install for a user that is not there'
has out 'nobody-here'
mkdir -m 700 /var/lib/devflow-agent && echo damaged >/var/lib/devflow-agent/identity.json && chmod 600 /var/lib/devflow-agent/identity.json
devflow-agent install >out 2>&1 || { cat out; die 'devflow-agent install'; }
has out 'made the system user devflow-agent'
has out 'runs as devflow-agent'
is devflow-agent:devflow-agent 700 /var/lib/devflow-agent
is devflow-agent:devflow-agent 600 /var/lib/devflow-agent/identity.json
is root:devflow-agent 640 /etc/devflow/agent.yaml
is root:devflow-agent 750 /etc/devflow/agent
[ -x /etc/init.d/devflow-agent ] || die 'no script for init'
has /etc/init.d/devflow-agent /usr/local/bin/devflow-agent
devflow-agent install >out 2>&1 && die 'install twice'
if devflow-agent status >out 2>&1; then cat out; die 'status: it runs'; elif [ $? -ne 3 ]; then cat out; die 'status: not 3'; fi
has out 'unix-systemv'
has out 'came by *devflow-agent install'

# Started, it is that account's, and finds that its identity is none.
devflow-agent start >out 2>&1 || true
tries=0
until grep -qs 'is damaged' /var/log/devflow-agent.err; do
	tries=$((tries + 1))
	[ "$tries" -le 100 ] || { cat out /var/log/devflow-agent.* || true; die 'the started agent says nothing of its identity'; }
	sleep 0.1
done
is devflow-agent:devflow-agent 600 /var/lib/devflow-agent/lock

devflow-agent uninstall >out 2>&1 || { cat out; die 'uninstall'; }
gone /etc/init.d/devflow-agent
[ -s /etc/devflow/agent.yaml ] && [ -s /var/lib/devflow-agent/identity.json ] || die 'uninstall removed more than the service'
devflow-agent uninstall >out 2>&1 && die 'uninstall twice'
has out 'there is no service devflow-agent here'
devflow-agent start >out 2>&1 && die 'start of what is not there'
has out 'devflow-agent install'
if devflow-agent status >out 2>&1; then die 'status after uninstall: it runs'; elif [ $? -ne 3 ]; then cat out; die 'status after uninstall: not 3'; fi
has out 'service *not installed'
echo '    all is well'
