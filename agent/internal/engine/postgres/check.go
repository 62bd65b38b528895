package postgres

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/wire"
)

const (
	levelOK      = "ok"
	levelWarning = "warning"
	levelError   = "error"
)

// Check looks at login, encryption of the connection, programs, and the rights of both accounts.
func (e *Engine) Check(ctx context.Context) []engine.Finding {
	conn, err := e.connect(ctx, e.backup, e.cfg.Database)
	if err != nil {
		return []engine.Finding{failed("login", err)}
	}
	defer hangUp(ctx, conn)
	version, major := serverVersion(conn)
	findings := []engine.Finding{{
		Level: levelOK, Name: "login", Detail: fmt.Sprintf("PostgreSQL %s at %s as %q", version, e.address(), e.backup.user),
	}}
	if major < minMajor {
		findings = append(findings, engine.Finding{
			Level: levelError, Name: "server", Detail: fmt.Sprintf("PostgreSQL %s is not supported", version),
			Hint: fmt.Sprintf("upgrade to version %d or newer", minMajor),
		})
	}
	findings = append(findings, e.checkTLS(conn))
	for _, name := range []string{"pg_dump", "pg_dumpall", "pg_restore"} {
		if b, err := e.choose(ctx, name, major, "PostgreSQL "+version); err != nil {
			findings = append(findings, failed("tool "+name, err))
		} else {
			findings = append(findings, engine.Finding{Level: levelOK, Name: "tool " + name, Detail: b.version + " (" + b.path + ")"})
		}
	}
	findings = append(findings, e.checkReading(ctx, conn)...)
	findings = append(findings, e.checkRestoring(ctx)...)
	return append(findings, e.checkLeft(ctx, conn)...)
}

// checkLeft lists the databases of restores.
func (e *Engine) checkLeft(ctx context.Context, conn *pgx.Conn) []engine.Finding {
	var names []string
	err := conn.QueryRow(ctx, `SELECT ARRAY(SELECT datname::text FROM pg_catalog.pg_database
		WHERE pg_catalog.left(datname, $1::integer) = $2::text OR pg_catalog.left(datname, $3::integer) = $4::text)`,
		len(engine.StagingPrefix), engine.StagingPrefix, len(engine.KeptPrefix), engine.KeptPrefix).Scan(&names)
	if err != nil {
		return []engine.Finding{failed("left by restores", e.sqlFailure(ctx, err, "list databases of restores", e.cfg.Database))}
	}
	return engine.Left(names, func(name string) string { return "DROP DATABASE " + quoteName(name) })
}

func failed(name string, err error) engine.Finding {
	f := wire.AsFailure(err)
	return engine.Finding{Level: levelError, Name: name, Detail: f.Message, Hint: f.Hint}
}

func (e *Engine) checkTLS(conn *pgx.Conn) engine.Finding {
	f := engine.Finding{Level: levelOK, Name: "encryption", Detail: "ssl_mode " + e.cfg.SSLMode}
	switch {
	case e.cfg.local():
		f.Detail = "not needed on this host"
	case e.cfg.SSLMode != "verify-full":
		f.Level = levelWarning
		f.Detail = fmt.Sprintf("ssl_mode %s does not prove which server answers", e.cfg.SSLMode)
		f.Hint = "set ssl_mode to verify-full and ssl_root_cert to the authority of the server's certificate"
		if _, encrypted := conn.PgConn().Conn().(*tls.Conn); !encrypted {
			f.Level = levelError
			f.Detail = "the password and all data cross the network in clear text"
		}
	}
	return f
}

// checkReading asks, for each database that is to be backed up, what the account lacks.
func (e *Engine) checkReading(ctx context.Context, conn *pgx.Conn) []engine.Finding {
	var super, readAll, bypass bool
	_, major := serverVersion(conn)
	readAllSQL := "false"
	if major >= 14 {
		readAllSQL = "pg_catalog.pg_has_role('pg_read_all_data', 'USAGE')"
	}
	err := conn.QueryRow(ctx, "SELECT rolsuper, "+readAllSQL+", rolbypassrls FROM pg_catalog.pg_roles WHERE rolname = current_user").Scan(&super, &readAll, &bypass)
	if err != nil {
		return []engine.Finding{failed("privileges", e.sqlFailure(ctx, err, "look at the account's rights", e.cfg.Database))}
	}
	if super {
		return []engine.Finding{{Level: levelOK, Name: "privileges", Detail: fmt.Sprintf("%q is a superuser and reads everything", e.backup.user)}}
	}
	databases, err := e.Discover(ctx)
	if err != nil {
		return []engine.Finding{failed("databases", err)}
	}
	findings := []engine.Finding{{Level: levelOK, Name: "privileges", Detail: fmt.Sprintf("%q reads all tables", e.backup.user)}}
	if !readAll {
		findings[0] = engine.Finding{Level: levelOK, Name: "privileges", Detail: fmt.Sprintf("%q reads what it was granted", e.backup.user)}
	}
	for _, d := range databases {
		if f, found := e.checkDatabase(ctx, d.Name, bypass); found {
			findings = append(findings, f)
		}
	}
	return findings
}

// checkDatabase finds tables, large objects and row security that a dump would stumble over.
func (e *Engine) checkDatabase(ctx context.Context, database string, bypass bool) (engine.Finding, bool) {
	name := fmt.Sprintf("privileges in %q", database)
	conn, err := e.connect(ctx, e.backup, database)
	if err != nil {
		return failed(name, err), true
	}
	defer hangUp(ctx, conn)
	var closed, hidden, objects int64
	err = conn.QueryRow(ctx, `
		WITH rel AS (
			SELECT c.oid, c.relkind, c.relowner, c.relrowsecurity, c.relforcerowsecurity
			FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
			WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
		)
		SELECT (SELECT count(*) FROM rel WHERE NOT CASE WHEN relkind = 'S' THEN has_sequence_privilege(oid, 'SELECT') ELSE has_table_privilege(oid, 'SELECT') END),
		       (SELECT count(*) FROM rel WHERE relrowsecurity AND (relforcerowsecurity OR NOT pg_has_role(relowner, 'USAGE'))),
		       (SELECT count(*) FROM pg_catalog.pg_largeobject_metadata WHERE NOT pg_has_role(lomowner, 'USAGE'))`).Scan(&closed, &hidden, &objects)
	var problems []string
	var hint string
	add := func(n int64, what, how string) {
		if n > 0 {
			problems = append(problems, fmt.Sprintf("%d %s", n, what))
			hint = how
		}
	}
	if err != nil {
		return failed(name, e.sqlFailure(ctx, err, "look at rights in "+e.where(database), database)), true
	}
	if bypass {
		hidden = 0
	}
	add(objects, "large objects of others", e.grantHint("large object"))
	add(hidden, "tables with row security", e.grantHint("row-level security"))
	add(closed, "tables or sequences that it may not read", e.grantHint(""))
	if len(problems) == 0 {
		return engine.Finding{}, false
	}
	return engine.Finding{Level: levelError, Name: name, Detail: fmt.Sprintf("%q meets %s", e.backup.user, strings.Join(problems, ", ")), Hint: hint}, true
}

func (e *Engine) checkRestoring(ctx context.Context) []engine.Finding {
	conn, err := e.connect(ctx, e.restore, e.cfg.Database)
	if err != nil {
		return []engine.Finding{failed("restore account", err)}
	}
	defer hangUp(ctx, conn)
	if err := e.checkRestoreRole(ctx, conn); err != nil {
		f := failed("restore account", err)
		f.Level = levelWarning // backups work without
		f.Detail += "; restores are refused"
		return []engine.Finding{f}
	}
	// A dump can drop and alter every database that the role owns.
	var owned []string
	err = conn.QueryRow(ctx, `SELECT ARRAY(SELECT datname::text FROM pg_catalog.pg_database
		WHERE pg_catalog.pg_has_role(datdba, 'USAGE') AND NOT starts_with(datname, $1) ORDER BY 1)`, engine.StagingPrefix).Scan(&owned)
	if err != nil {
		return []engine.Finding{failed("restore account", e.sqlFailure(ctx, err, "look at the restore account's databases", e.cfg.Database))}
	}
	findings := []engine.Finding{{Level: levelOK, Name: "restore account", Detail: fmt.Sprintf("%q creates databases and has no right over the server", e.restore.user)}}
	if len(owned) > 0 {
		findings = append(findings, engine.Finding{
			Level: levelWarning, Name: "restore account",
			Detail: fmt.Sprintf("%q owns %d databases (%s): a hostile dump could drop them", e.restore.user, len(owned), abridge(owned)),
			Hint:   "give them to another role: ALTER DATABASE … OWNER TO …",
		})
	}
	return findings
}

func abridge(names []string) string {
	const most = 5
	var quoted []string
	for _, name := range names[:min(most, len(names))] {
		quoted = append(quoted, fmt.Sprintf("%q", name))
	}
	if len(names) > most {
		quoted = append(quoted, "…")
	}
	return strings.Join(quoted, ", ")
}
