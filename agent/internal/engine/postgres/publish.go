package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/wire"
)

// Publish renames a database that Restore made. to may be any name that PostgreSQL can hold.
func (e *Engine) Publish(ctx context.Context, from, to string) error {
	if !staging(from) {
		return wire.Failf(wire.CodeNotAllowed, "publish database %q: only what a restore made (%s…) is renamed", from, engine.StagingPrefix)
	}
	if err := checkName(to); err != nil {
		return err
	}
	if staging(to) || kept(to) {
		return wire.Failf(wire.CodeBadRequest, "publish as %q: names that start with %s or %s are for restores", to, engine.StagingPrefix, engine.KeptPrefix)
	}
	conn, err := e.connect(ctx, e.restore, e.cfg.Database)
	if err != nil {
		return err
	}
	defer hangUp(ctx, conn)
	what := "publish " + e.where(to)
	// Not cancelled half-way: the caller is to know whether it happened.
	once, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	_, err = conn.Exec(once, "ALTER DATABASE "+quoteName(from)+" RENAME TO "+quoteName(to))
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &pg) && pg.Code == "42P04":
		return wire.Failf(wire.CodeTargetExists, "there is a %s already", e.where(to)).WithHint("choose another name")
	case errors.As(err, &pg) && pg.Code == "55006":
		return wire.Failf(wire.CodeToolFailed, "%s: somebody is connected to it: %w", what, e.scrub(err)).Retry()
	}
	return e.sqlFailure(ctx, err, what, from)
}

// busyTimeout bounds the wait for server processes that do not end. It leaves a clean-up the time to say so.
const busyTimeout = cleanupTimeout * 2 / 3

// Remove drops a database that Restore made or Swap kept, and cuts its connections. A server process that is in the middle of a
// long step, such as the compression of a large value, is waited for.
func (e *Engine) Remove(ctx context.Context, database string) error {
	var conn *pgx.Conn
	var err error
	switch {
	case checkName(database) == nil && staging(database):
		conn, err = e.connect(ctx, e.restore, e.cfg.Database)
	case checkName(database) == nil && kept(database):
		conn, _, err = e.connectOwner(ctx, database)
	default:
		return wire.Failf(wire.CodeNotAllowed, "remove database %q: only what a restore made or a swap kept (%s… or %s…) is removed",
			database, engine.StagingPrefix, engine.KeptPrefix)
	}
	if err != nil {
		return err
	}
	defer hangUp(ctx, conn)
	start := time.Now()
	for {
		err := e.drop(ctx, conn, database)
		var pg *pgconn.PgError
		switch {
		case err == nil:
			return nil
		case !errors.As(err, &pg):
		case pg.Code == "55006" && time.Since(start) < busyTimeout:
			continue // the server itself waited 5 seconds for the processes that it told to end
		case pg.Code == "42501" && time.Since(start) < leaving && engine.Pause(ctx, glance) == nil:
			continue // a superuser's session that is about to end, which we cannot
		}
		return e.sqlFailure(ctx, err, "remove "+e.where(database), database)
	}
}

func (e *Engine) drop(ctx context.Context, conn *pgx.Conn, database string) error {
	sql := "DROP DATABASE IF EXISTS " + quoteName(database)
	if _, major := serverVersion(conn); major >= 13 {
		sql += " WITH (FORCE)"
	} else if _, err := conn.Exec(ctx, "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE datname = $1::text", database); err != nil {
		return err
	}
	_, err := conn.Exec(ctx, sql)
	return err
}

// restoreRights are what a dump could do as a role.
type restoreRights struct {
	super, createDB, createRole bool
	roles                       []string // memberships that reach files, programs or a superuser
}

func (e *Engine) restoreRights(ctx context.Context, conn *pgx.Conn) (restoreRights, error) {
	return rightsOf(ctx, conn, e.restore.user)
}

func rightsOf(ctx context.Context, conn *pgx.Conn, role string) (r restoreRights, err error) {
	err = conn.QueryRow(ctx, `
		SELECT rolsuper, rolcreatedb, rolcreaterole,
		       ARRAY(SELECT o.rolname::text FROM pg_catalog.pg_roles o
		             WHERE (o.rolsuper OR o.rolcreaterole OR o.rolname IN ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files'))
		               AND o.oid <> r.oid AND pg_catalog.pg_has_role(r.oid, o.oid, 'MEMBER') ORDER BY 1)
		FROM pg_catalog.pg_roles r WHERE rolname = $1::text`, role).Scan(&r.super, &r.createDB, &r.createRole, &r.roles)
	return r, err
}

// problem says why the role must not restore, empty if it may.
func (r restoreRights) problem() string {
	switch {
	case r.super:
		return "is a superuser"
	case r.createRole:
		return "may create roles"
	case len(r.roles) > 0:
		return "is a member of " + strings.Join(r.roles, ", ")
	}
	return ""
}

func (e *Engine) restoreRoleHint() string {
	return "run CREATE ROLE " + engine.RestoreUser + " LOGIN CREATEDB PASSWORD " + engine.Password + " and set restore.user and restore.password_file of the instance \"" +
		e.cfg.Name + "\" in the agent's configuration; devflow-agent setup --print postgresql has all of it"
}

// checkRestoreRole refuses a role with rights over the server: a dump is code that runs with all of them.
func (e *Engine) checkRestoreRole(ctx context.Context, conn *pgx.Conn) error {
	rights, err := e.restoreRights(ctx, conn)
	if err != nil {
		return e.sqlFailure(ctx, err, "check the restore account", e.cfg.Database)
	}
	if problem := rights.problem(); problem != "" {
		return wire.Failf(wire.CodeSuperuser, "the restore account %q %s: a dump would run with these rights", e.restore.user, problem).
			WithHint("%s", e.restoreRoleHint())
	}
	if !rights.createDB {
		return wire.Failf(wire.CodePrivilege, "the restore account %q may not create databases", e.restore.user).
			WithHint("run %s", grantCreateDB(e.restore.user))
	}
	return nil
}

// connectOwner connects as the account that may rename and drop the databases, as far as they are there: the one that backs up if
// it may, so that the account that restores, as which a dump's code runs, need not own anything; else that one.
func (e *Engine) connectOwner(ctx context.Context, databases ...string) (conn *pgx.Conn, who account, err error) {
	accounts := []account{e.backup}
	if e.restore != e.backup {
		accounts = append(accounts, e.restore)
	}
	for _, who := range accounts {
		if conn, err = e.connect(ctx, who, e.cfg.Database); err != nil {
			return nil, account{}, err
		}
		may, err := e.owns(ctx, conn, databases)
		if err == nil && may {
			return conn, who, nil
		}
		hangUp(ctx, conn)
		if err != nil {
			return nil, account{}, err
		}
	}
	return nil, account{}, wire.Failf(wire.CodePrivilege, "no account of the instance %q owns %q, or may rename databases", e.cfg.Name, databases).
		WithHint("%s", e.ownerHint(ctx, databases...))
}

// ownerHint tells what the account that backs up lacks to put what was restored in the place of databases.
func (e *Engine) ownerHint(ctx context.Context, databases ...string) string {
	user := e.backup.user
	all := fmt.Sprintf("run %s; %s; and GRANT the owner of the database TO %s", grantCreateDB(user), grantMember(user, e.restore.user), quoteName(user))
	conn, err := e.connect(ctx, e.backup, e.cfg.Database)
	if err != nil {
		return all
	}
	defer hangUp(ctx, conn)
	var createDB bool
	var owners, supers []string
	err = conn.QueryRow(ctx, `
		WITH owner AS (
			SELECT DISTINCT o.rolname::text AS name, o.rolsuper AS super FROM pg_catalog.pg_roles o
			WHERE NOT pg_catalog.pg_has_role(o.oid, 'USAGE')
			  AND (o.rolname = $2::text OR o.oid IN (SELECT datdba FROM pg_catalog.pg_database WHERE datname = ANY ($1::text[]))))
		SELECT rolcreatedb, ARRAY(SELECT name FROM owner WHERE NOT super ORDER BY 1), ARRAY(SELECT name FROM owner WHERE super ORDER BY 1)
		FROM pg_catalog.pg_roles WHERE rolname = current_user`, databases, e.restore.user).Scan(&createDB, &owners, &supers)
	if err != nil {
		return all
	}
	var statements []string
	if !createDB {
		statements = append(statements, grantCreateDB(user))
	}
	for _, owner := range owners {
		statements = append(statements, grantMember(user, owner))
	}
	for _, owner := range supers {
		statements = append(statements, fmt.Sprintf("ALTER DATABASE … OWNER TO a role of its own, for %s is a superuser", quoteName(owner)))
	}
	if len(statements) == 0 {
		return all
	}
	return "run " + strings.Join(statements, "; ")
}

// owns tells whether the connection's account may rename these databases, as far as they are there.
func (e *Engine) owns(ctx context.Context, conn *pgx.Conn, databases []string) (may bool, err error) {
	err = conn.QueryRow(ctx, `
		SELECT rolsuper OR rolcreatedb AND NOT EXISTS (
			SELECT FROM pg_catalog.pg_database d WHERE d.datname = ANY ($1::text[]) AND NOT pg_catalog.pg_has_role(d.datdba, 'USAGE'))
		FROM pg_catalog.pg_roles WHERE rolname = current_user`, databases).Scan(&may)
	if err != nil {
		return false, e.sqlFailure(ctx, err, "look at the rights of "+e.cfg.Name, e.cfg.Database)
	}
	return may, nil
}
