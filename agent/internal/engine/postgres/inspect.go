package postgres

import (
	"context"
	endian "encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/wire"
)

// inspection collects what is at a target.
type inspection struct {
	e      *Engine
	req    engine.InspectRequest
	conn   *pgx.Conn // of the backup account
	major  int
	target engine.Target
}

// Inspect looks with the accounts that a restore would use. An error is a server or a database that cannot be looked at; what
// is wrong there is a problem of the target.
func (e *Engine) Inspect(ctx context.Context, req engine.InspectRequest) (*engine.Target, error) {
	if err := checkName(req.Target); err != nil {
		return nil, err
	}
	if staging(req.Target) || kept(req.Target) {
		return nil, wire.Failf(wire.CodeBadRequest, "restore to %q: names that start with %s or %s are for restores", req.Target, engine.StagingPrefix, engine.KeptPrefix)
	}
	if err := checkChoices(req.Restore); err != nil {
		return nil, err
	}
	conn, err := e.connect(ctx, e.backup, e.cfg.Database)
	if err != nil {
		return nil, err
	}
	defer hangUp(ctx, conn)
	i := &inspection{e: e, req: req, conn: conn, target: engine.Target{FreeBytes: -1}}
	_, i.major = serverVersion(conn)
	db, err := e.database(ctx, conn, req.Target)
	if err != nil {
		return nil, err
	}
	for _, look := range []func(context.Context, *database) error{i.lookAtTarget, i.lookAtServer, i.lookAtRestoring, i.lookAtSwap} {
		if err := look(ctx, db); err != nil {
			return nil, e.sqlFailure(ctx, err, "look at "+e.where(req.Target), req.Target)
		}
	}
	return &i.target, nil
}

func (i *inspection) stop(code, text, hint string) {
	i.target.Problems = append(i.target.Problems, engine.Problem{Stops: true, Code: code, Text: text, Hint: hint})
}

func (i *inspection) warn(code, text, hint string) {
	i.target.Problems = append(i.target.Problems, engine.Problem{Code: code, Text: text, Hint: hint})
}

func (i *inspection) failed(err error) {
	f := wire.AsFailure(err)
	hint := f.Hint
	if hint == "" {
		hint = "run devflow-agent check on the host"
	}
	i.stop(f.Code, f.Message, hint)
}

func (i *inspection) lookAtTarget(ctx context.Context, db *database) error {
	switch {
	case db == nil && i.req.InPlace:
		i.stop("no_target", fmt.Sprintf("there is no %s to put the backup in the place of", i.e.where(i.req.Target)), "restore it as a new database")
		return nil
	case db == nil:
		return nil
	case !i.req.InPlace:
		i.stop(wire.CodeTargetExists, fmt.Sprintf("there is a %s already", i.e.where(i.req.Target)), "choose another name, or restore in place")
	}
	t := &i.target
	t.Exists, t.Owner = true, db.owner
	var err error
	if t.Identity, err = i.e.identity(ctx, i.conn, db); err != nil {
		return err
	}
	var mayConnect bool
	err = i.conn.QueryRow(ctx, `SELECT c, CASE WHEN c OR pg_catalog.pg_has_role('pg_read_all_stats', 'MEMBER') THEN pg_catalog.pg_database_size($1::oid) ELSE 0 END
		FROM pg_catalog.has_database_privilege($1::oid, 'CONNECT') c`, db.oid).Scan(&mayConnect, &t.SizeBytes)
	if err != nil {
		return err
	}
	sessions, err := i.e.lastingSessions(ctx, i.conn, db.oid)
	if err != nil {
		return err
	}
	for _, one := range sessions {
		t.Sessions = append(t.Sessions, one.Session)
	}
	if i.req.InPlace {
		i.lookAtSessions(db, sessions)
	}
	if !mayConnect || !db.connect {
		i.warn("not_seen", fmt.Sprintf("%q may not connect to %s: what is in it is not known", i.e.backup.user, i.e.where(db.name)), "")
		return nil
	}
	return i.lookInside(ctx, db)
}

func (i *inspection) lookAtSessions(db *database, sessions []session) {
	if len(sessions) == 0 {
		return
	}
	text := fmt.Sprintf("%s is in use: %s", i.e.where(db.name), describeSessions(sessions))
	switch i.req.Sessions {
	case engine.SessionsWait:
		i.warn("sessions_wait", text+"; the swap waits until they are gone", "stop the programs that use it")
	case engine.SessionsEnd:
		i.warn("sessions_end", text+"; they are ended for the swap", "")
	default:
		i.stop(wire.CodeTargetInUse, text, "stop the programs that use it, or choose that sessions are ended")
	}
}

// lookInside counts tables and finds what a dump does not bring back.
func (i *inspection) lookInside(ctx context.Context, db *database) error {
	inside, err := i.e.connect(ctx, i.e.backup, db.name)
	if err != nil {
		return err
	}
	defer hangUp(ctx, inside)
	var publications, eventTriggers, subscriptions, prepared, slots, labels int
	err = inside.QueryRow(ctx, `SELECT (SELECT count(*) FROM (`+tablesSQL+`) t),
		(SELECT count(*) FROM pg_catalog.pg_publication), (SELECT count(*) FROM pg_catalog.pg_event_trigger),
		(SELECT count(*) FROM pg_catalog.pg_stat_subscription s WHERE EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.pid = s.pid AND a.datid = $1::oid)),
		(SELECT count(*) FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database()),
		(SELECT count(*) FROM pg_catalog.pg_replication_slots WHERE database = pg_catalog.current_database()),
		(SELECT count(*) FROM pg_catalog.pg_shseclabel WHERE objoid = $1::oid AND classoid = 'pg_catalog.pg_database'::regclass)`, db.oid).
		Scan(&i.target.Tables, &publications, &eventTriggers, &subscriptions, &prepared, &slots, &labels)
	if err != nil || !i.req.InPlace {
		return err
	}
	if prepared > 0 {
		i.stop("prepared_transactions", fmt.Sprintf("%d prepared transactions hold the database", prepared), "look at pg_prepared_xacts, and commit them or roll them back")
	}
	if subscriptions > 0 {
		i.stop("subscriptions", fmt.Sprintf("%d subscriptions are at work in the database: a restore does not bring them back", subscriptions), "run ALTER SUBSCRIPTION … DISABLE for each")
	}
	for _, c := range []struct {
		n          int
		code, what string
	}{
		{publications, "publications", "publications"},
		{eventTriggers, "event_triggers", "event triggers"},
		{slots, "replication_slots", "logical replication slots"},
		{labels, "security_labels", "security labels on the database"},
	} {
		if c.n > 0 {
			i.warn(c.code, fmt.Sprintf("%d %s stay with the old database: a restore does not bring them back", c.n, c.what), "make them anew after the restore")
		}
	}
	return nil
}

// lookAtServer compares versions, programs and space.
func (i *inspection) lookAtServer(ctx context.Context, _ *database) error {
	version, _ := serverVersion(i.conn)
	if i.major < minMajor {
		i.stop("server_version", fmt.Sprintf("PostgreSQL %s is not supported", version), fmt.Sprintf("upgrade to version %d or newer", minMajor))
	}
	if from := leadingNumber(i.req.DumpServerVersion); from > i.major {
		i.warn("older_server", fmt.Sprintf("the backup is of PostgreSQL %s, this server is %s: what only the newer one knows is not restored, or stops the restore", i.req.DumpServerVersion, version),
			"try it as a new database first")
	}
	if _, err := i.e.choose(ctx, "pg_restore", max(i.major, leadingNumber(i.req.DumpToolVersion)), "a dump by pg_dump "+i.req.DumpToolVersion+" into PostgreSQL "+version); err != nil {
		i.failed(err)
	}
	i.target.FreeBytes = i.e.freeBytes(ctx, i.conn)
	need := max(i.req.DatabaseBytes, i.req.DumpBytes)
	switch free := i.target.FreeBytes; {
	case free < 0 || need == 0:
	case free < need:
		i.stop(wire.CodeDiskFull, fmt.Sprintf("the backup needs about %d MiB where the server keeps its databases, and %d MiB are free", need>>20, free>>20),
			"make room, or restore on another server")
	case free-need < need/5:
		i.warn("disk_tight", fmt.Sprintf("the backup needs about %d MiB where the server keeps its databases, and %d MiB are free", need>>20, free>>20), "make room")
	}
	return nil
}

// freeBytes is the space where the server keeps its databases, -1 if that is not known: it is if the server is on this host, and
// its directory is proven to be the one that we see.
func (e *Engine) freeBytes(ctx context.Context, conn *pgx.Conn) int64 {
	if !e.cfg.local() {
		return -1
	}
	var dir, identity string
	if err := conn.QueryRow(ctx, "SELECT pg_catalog.current_setting('data_directory'), system_identifier::text FROM pg_catalog.pg_control_system()").Scan(&dir, &identity); err != nil {
		return -1
	}
	f, err := os.Open(filepath.Join(dir, "global", "pg_control")) //nolint:gosec // only its first bytes are looked at
	if err != nil {
		return -1
	}
	defer f.Close()
	var b [8]byte
	if _, err := io.ReadFull(f, b[:]); err != nil || fmt.Sprint(endian.NativeEndian.Uint64(b[:])) != identity {
		return -1
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(filepath.Join(dir, "base"), &stat); err != nil {
		return -1
	}
	return int64(stat.Bavail) * stat.Bsize //nolint:gosec // no disk is larger
}

// lookAtRestoring looks at the restore account, the extensions and the roles.
func (i *inspection) lookAtRestoring(ctx context.Context, _ *database) error {
	conn, err := i.e.connect(ctx, i.e.restore, i.e.cfg.Database)
	if err != nil {
		if f := stopped(ctx, "look at the restore account"); f != nil {
			return f
		}
		i.failed(err)
		return nil
	}
	defer hangUp(ctx, conn)
	if err := i.e.checkRestoreRole(ctx, conn); err != nil {
		i.failed(err)
	}
	backup, err := rightsOf(ctx, i.conn, i.e.backup.user)
	if err != nil {
		return err
	}
	for _, name := range i.req.Extensions {
		if name == "plpgsql" { // every new database has it
			continue
		}
		privileged, err := i.e.extensionRight(ctx, conn, i.req.Target, i.major, name)
		switch {
		case wire.HasCode(err, wire.CodePrivilege):
			i.stop("missing_extension", wire.AsFailure(err).Message, wire.AsFailure(err).Hint)
		case wire.HasCode(err, wire.CodeNotAllowed):
			i.stop("extension_not_allowed", wire.AsFailure(err).Message, wire.AsFailure(err).Hint)
		case err != nil:
			return err
		case privileged && !backup.super:
			i.stop("extension_not_allowed", fmt.Sprintf("only a superuser can create the extension %q, and %q is none", name, i.e.backup.user), "make it a superuser, or leave the extension out")
		}
	}
	return i.lookAtRoles(ctx, conn, backup)
}

// lookAtRoles compares the backup's roles with the server's.
func (i *inspection) lookAtRoles(ctx context.Context, conn *pgx.Conn, backup restoreRights) error {
	choice := i.req.Restore
	names := rolesIn(choice.Roles)
	missing, err := i.e.missingRoles(ctx, conn, names)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		text := fmt.Sprintf("%d roles of the backup are not on this server: %s", len(missing), abridge(missing))
		if backup.super || backup.createRole {
			i.warn("missing_roles", text+"; those that are needed are created, without login", "")
		} else {
			i.stop("missing_roles", text+fmt.Sprintf("; %q may not create them", i.e.backup.user), "run "+grantCreateRole(i.e.backup.user)+", or create them yourself")
		}
	}
	if !choice.Owners {
		return nil
	}
	var strange []string
	err = conn.QueryRow(ctx, `SELECT ARRAY(SELECT rolname::text FROM pg_catalog.pg_roles
		WHERE rolname = ANY ($1::text[]) AND NOT pg_catalog.pg_has_role(oid, 'MEMBER') ORDER BY 1)`, names).Scan(&strange)
	if err != nil {
		return err
	}
	if len(strange) > 0 {
		i.warn("owners", fmt.Sprintf("%q is not a member of %s: objects of theirs are not given to them", i.e.restore.user, abridge(strange)),
			fmt.Sprintf("run %s; the code of a dump runs with the rights of the latter", grantMember(i.e.restore.user, strange[0])))
	}
	return nil
}

// lookAtSwap finds what would stop the swap, and what it does not carry over.
func (i *inspection) lookAtSwap(ctx context.Context, db *database) error {
	if db == nil || !i.req.InPlace {
		return nil
	}
	e := i.e
	switch {
	case db.name == e.cfg.Database:
		i.stop("system_database", fmt.Sprintf("the agent itself is connected to %s", e.where(db.name)),
			fmt.Sprintf("set database of the instance %q to another one, such as template1", e.cfg.Name))
	case db.template:
		i.stop("system_database", fmt.Sprintf("%s is a template for new databases", e.where(db.name)), "run ALTER DATABASE "+quoteName(db.name)+" IS_TEMPLATE false")
	}
	conn, who, err := e.connectOwner(ctx, db.name)
	if err != nil {
		if f := stopped(ctx, "look for an account that may rename"); f != nil {
			return f
		}
		i.stop("cannot_rename", wire.AsFailure(err).Message, wire.AsFailure(err).Hint)
		return nil
	}
	defer hangUp(ctx, conn)
	var super, overRestore, signals bool
	var supers int
	err = conn.QueryRow(ctx, `
		SELECT rolsuper, coalesce((SELECT pg_catalog.pg_has_role(r.oid, o.oid, 'USAGE') FROM pg_catalog.pg_roles o WHERE o.rolname = $1::text), false),
		       pg_catalog.pg_has_role('pg_signal_backend', 'USAGE'),
		       (SELECT count(*) FROM pg_catalog.pg_stat_activity a JOIN pg_catalog.pg_roles u ON u.oid = a.usesysid
		        WHERE a.datid = $2::oid AND u.rolsuper AND a.pid <> pg_catalog.pg_backend_pid())
		FROM pg_catalog.pg_roles r WHERE r.rolname = current_user`, e.restore.user, db.oid).Scan(&super, &overRestore, &signals, &supers)
	if err != nil {
		return err
	}
	if !overRestore {
		i.stop("cannot_rename", fmt.Sprintf("%q may not rename what %q restores", who.user, e.restore.user), e.ownerHint(ctx, db.name))
	}
	if i.req.Sessions == engine.SessionsEnd && !super {
		others := slices.ContainsFunc(i.target.Sessions, func(s engine.Session) bool { return s.User != who.user })
		switch {
		case supers > 0:
			i.stop("cannot_end_sessions", fmt.Sprintf("%d sessions are of a superuser, and %q may not end them", supers, who.user), "end them yourself, or wait for them")
		case others && !signals:
			i.stop("cannot_end_sessions", fmt.Sprintf("%q may not end sessions of others", who.user), "run "+grantSignal(who.user))
		}
	}
	return i.lookAtOwner(ctx, db, who)
}

func (i *inspection) lookAtOwner(ctx context.Context, db *database, who account) error {
	e := i.e
	owner, err := rightsOf(ctx, i.conn, db.owner)
	if err != nil {
		return err
	}
	switch problem := owner.problem(); {
	case db.owner == e.restore.user:
	case problem != "":
		hint := "give the database to a plain role: ALTER DATABASE " + quoteName(db.name) + " OWNER TO …"
		if !i.req.Restore.Owners || !i.req.Restore.Privileges {
			hint += "; or restore owners and privileges"
		}
		i.warn("owner", fmt.Sprintf("what is restored belongs to %q, for the owner %q of the database %s: programs with other roles need grants", e.restore.user, db.owner, problem), hint)
	}
	var restoreOwns bool
	if err := i.conn.QueryRow(ctx, `SELECT coalesce(bool_or(pg_catalog.pg_has_role(oid, (SELECT datdba FROM pg_catalog.pg_database WHERE oid = $2::oid), 'USAGE')), false)
		FROM pg_catalog.pg_roles WHERE rolname = $1::text`, e.restore.user, db.oid).Scan(&restoreOwns); err != nil {
		return err
	}
	if restoreOwns {
		hint := "take it out of the role that owns the database, or give the database to another one"
		if who.user == e.restore.user {
			hint += "; then the account that backs up must be able to rename it: " + e.ownerHint(ctx, db.name)
		}
		i.warn("restore_owns_target", fmt.Sprintf("the restore account %q has the rights of the database's owner: a hostile dump could rename or alter the target while it is restored", e.restore.user), hint)
	}
	if db.tablespace != "pg_default" {
		i.warn("tablespace", fmt.Sprintf("the database is in the tablespace %q: the restored one is in the default one", db.tablespace), "move it afterwards: ALTER DATABASE … SET TABLESPACE")
	}
	if i.major >= 15 {
		var stale bool
		err := i.conn.QueryRow(ctx, `SELECT coalesce(datcollversion <> pg_catalog.pg_database_collation_actual_version(oid), false) FROM pg_catalog.pg_database WHERE oid = $1::oid`, db.oid).Scan(&stale)
		if err != nil {
			return err
		}
		if stale {
			i.warn("collation_version", "the system's collations have changed since the database was made: its indexes may be out of order, those of the restored one are not", "")
		}
	}
	return nil
}
