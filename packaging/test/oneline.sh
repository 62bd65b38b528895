#!/bin/sh
# Runs in a fresh Debian root with PostgreSQL and MariaDB where systemd is not running: a controller by package, then one command that
# makes the host a server, and a backup, its verification and a restore of each engine by the service's own account.
set -eu
cd /root
export LC_ALL=C.UTF-8

die() { echo "oneline: $*" >&2; tail -n 20 /var/log/devflow-*.log >&2 2>/dev/null || true; exit 1; }
has() { grep -q -- "$2" "$1" || { cat "$1" >&2; die "$1 does not say: $2"; }; }
# until_true SECONDS COMMAND...
until_true() {
	tries=$(($1 * 5))
	shift
	until "$@" >/dev/null 2>&1; do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || die "not in time: $*"
		sleep 0.2
	done
}
# as ACCOUNT COMMAND...
as() {
	account=$1
	shift
	(cd / && exec setpriv --reuid="$account" --regid="$account" --init-groups "$@")
}

# The loopback of a network of its own is down at first; there is no ip(8) here.
perl -e '$up = pack("a16 s x22", "lo", 1); socket(S, 2, 2, 0) && ioctl(S, 0x8914, $up) or die "loopback: $!"'

echo '    PostgreSQL and MariaDB, on sockets alone'
echo "listen_addresses = ''" >>/etc/postgresql/15/main/postgresql.conf
pg_ctlcluster 15 main start
mkdir -p /run/mysqld && chown mysql: /run/mysqld
as mysql mariadbd --skip-networking --skip-log-bin >/var/log/devflow-mariadb.log 2>&1 &
until_true 60 mariadb -e 'SELECT 1'
as postgres psql -qc 'CREATE DATABASE shop'
as postgres psql -qd shop -c 'CREATE TABLE orders AS SELECT n AS id FROM generate_series(1, 1000) AS n'
mariadb -e 'CREATE DATABASE blog; CREATE TABLE blog.posts (id int PRIMARY KEY); INSERT INTO blog.posts VALUES (1), (2), (3)'

echo '    a controller beside PostgreSQL, by package'
dpkg -i devflow-controller_0.0.2-1_"$ARCH".deb devflowctl_0.0.2-1_"$ARCH".deb >out 2>&1 || { cat out; die 'install the controller'; }
as postgres psql -qc 'CREATE ROLE "devflow-controller" LOGIN' -c 'CREATE DATABASE devflow OWNER "devflow-controller"'
echo 'postgres:///devflow?host=/var/run/postgresql&user=devflow-controller' >/etc/devflow/controller/catalog.dsn
chown devflow-controller: /etc/devflow/controller/catalog.dsn
chmod 600 /etc/devflow/controller/catalog.dsn
cat >/etc/devflow/controller.yaml <<'EOF'
listen: 127.0.0.1:8443
catalog:
  dsn_file: /etc/devflow/controller/catalog.dsn
nats:
  listen: 127.0.0.1:4222
EOF
install -m 644 -t /usr/share/devflow-controller/packages packages/devflow-agent* packages/SHA256SUMS
devflow-controller serve --config /etc/devflow/controller.yaml >/var/log/devflow-controller.log 2>&1 &
until_true 60 grep -q 'controller ready' /var/log/devflow-controller.log
export DEVFLOW_URL=https://127.0.0.1:8443 DEVFLOW_CA=/var/lib/devflow-controller/ca.pem DEVFLOW_TOKEN_FILE=/var/lib/devflow-controller/admin.token

echo '    an object store'
mkdir -p /srv/s3/data/backups /srv/s3/iam
(cd /srv/s3 && ROOT_ACCESS_KEY=access ROOT_SECRET_KEY=secret-key-of-a-test exec /root/versitygw --port 127.0.0.1:7070 --quiet --iam-dir /srv/s3/iam posix /srv/s3/data) >/var/log/devflow-s3.log 2>&1 &
until_true 30 curl -s -o out http://127.0.0.1:7070/
devflowctl project create main >out || die 'project'
echo secret-key-of-a-test >secret && chmod 600 secret
devflowctl storage add main-s3 --endpoint http://127.0.0.1:7070 --bucket backups --access-key access --secret-key-file secret --default >out 2>&1 || { cat out; die 'storage'; }

echo '    one line'
devflowctl server add db-1 --project main --grant >line 2>err || { cat err; die 'server add'; }
has err 'Run this in a root shell of db-1'
[ "$(wc -l <line)" = 1 ] || die 'it is not one line'
status=0
sh <line >out 2>&1 || status=$?
sed 's/^/        /' out
[ "$status" = 3 ] || die "without an init system the status is 3, not $status"
has out 'installing devflow-agent 0.0.2-1'
has out 'enrolled as server db-1'
[ "$(stat -c '%U:%G %a' /etc/devflow/agent.yaml)" = 'root:devflow-agent 640' ] || die "$(ls -l /etc/devflow/agent.yaml)"
[ -z "$(ls /tmp)" ] || die "left behind: $(ls /tmp)"
! grep -q "$(sed 's/.*DEVFLOW_ENROLMENT=dfe_\([A-Za-z0-9]*\)_.*/\1/' line)" out || die 'the token is shown'

devflow-agent run >/var/log/devflow-agent.log 2>&1 &
until_true 30 devflow-agent status
sh <line >out 2>&1 || { cat out; die 'the same line again, beside a running agent'; }
has out 'Server "db-1" is online'
has out 'devflow-agent 0.0.2-1 is installed'
for process in $(pgrep -u devflow-agent devflow-agent); do found=$process; done
[ -n "${found:-}" ] || die 'the agent does not run as its own account'
# The controller's own catalog is in this server too, and its rows are not everybody's: check says how to mend it, and that mends it.
devflow-agent check >out 2>&1 && die 'check sees no row security'
[ "$(grep -c '^error' out)" = 1 ] || { cat out; die 'check'; }
statement=$(sed -n 's/.*: run \(ALTER ROLE .* BYPASSRLS\)$/\1/p' out)
as postgres psql -qc "${statement:-none}"
devflow-agent check >out 2>&1 || { cat out; die 'check, mended'; }

echo '    backup, verification, restore, each by the service account'
# In MariaDB the account that restores has rights on databases by name alone; a refused restore says which statement gives them.
mariadb -e "GRANT ALL PRIVILEGES ON \`blog\_restored\`.* TO 'devflow_restore'@'localhost'"
both_known() { devflowctl database list >list && grep -q shop list && grep -q blog list; }
until_true 60 both_known
for name in shop blog; do
	devflowctl database assign --project main --on db-1 -- "$name" >out 2>&1 || { cat out; die "assign $name"; }
	devflowctl backup create main --database "$name" --wait --output json >out 2>&1 || { cat out; die "backup of $name"; }
	id=$(devflowctl backup list --project main --output json | sed -n 's/^ *"id": \([0-9]*\),$/\1/p' | head -n 1)
	devflowctl backup verify "$id" --wait >out 2>&1 || { cat out; die "verify $name"; }
	devflowctl restore create "$id" --to-database "${name}_restored" --wait >out 2>&1 || { cat out; die "restore $name"; }
done
[ "$(as postgres psql -Atd shop_restored -c 'SELECT count(*) FROM orders')" = 1000 ] || die 'shop_restored'
[ "$(mariadb -Ne 'SELECT count(*) FROM blog_restored.posts')" = 3 ] || die 'blog_restored'
grep -rq 'PGDMP\|INSERT INTO' /srv/s3/data/backups && die 'the store holds what is not encrypted'

echo '    the same from an .rpm, and as a plain program'
# This root has dpkg's database and an empty one of rpm: what the package needs is there, and rpm does not know it.
printf '#!/bin/sh\n[ "$1" != -U ] || set -- "$@" --nodeps\nexec /usr/bin/rpm "$@"\n' >/usr/local/bin/rpm
chmod 755 /usr/local/bin/rpm
for kind in rpm tar; do
	devflowctl server add "other-$kind" 2>/dev/null | sed "s/ sh i)/ sh i --kind $kind)/" >line
	sh <line >out 2>&1 || { cat out; die "as .$kind"; }
	has out "installing .*devflow-agent"
	has out 'is not used'
	has out 'The agent runs'
done
[ "$(rpm -q --qf '%{VERSION}' devflow-agent)" = 0.0.2 ] || die 'rpm does not know the package'
[ "$(/usr/local/bin/devflow-agent version | cut -d' ' -f2)" = 0.0.2 ] || die 'the plain program'
echo '    all is well'
