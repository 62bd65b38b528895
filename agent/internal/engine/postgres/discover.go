package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/wire"
)

func quoteName(name string) string { return pgx.Identifier{name}.Sanitize() }

// Server identifies the server by its system identifier. Where that may not be read, the identity is made of the
// configured address, and begins with "address-".
func (e *Engine) Server(ctx context.Context) (engine.ServerInfo, error) {
	conn, err := e.connect(ctx, e.backup, e.cfg.Database)
	if err != nil {
		return engine.ServerInfo{}, err
	}
	defer hangUp(ctx, conn)
	return e.server(ctx, conn)
}

func (e *Engine) server(ctx context.Context, conn *pgx.Conn) (engine.ServerInfo, error) {
	version, _ := serverVersion(conn)
	info := engine.ServerInfo{Engine: wire.EnginePostgreSQL, Version: version}
	err := conn.QueryRow(ctx, "SELECT system_identifier::text FROM pg_catalog.pg_control_system()").Scan(&info.Identity)
	var pg *pgconn.PgError
	switch {
	case err == nil:
	case errors.As(err, &pg) && pg.Code == "42501":
		sum := sha256.Sum256([]byte(e.address()))
		info.Identity = "address-" + hex.EncodeToString(sum[:8])
	default:
		return engine.ServerInfo{}, e.sqlFailure(ctx, err, "identify the server at "+e.address(), e.cfg.Database)
	}
	return info, nil
}

// Discover lists the databases that the configuration allows, sorted by name. A size that the account may not see is 0.
// Extensions are listed where the account may connect.
func (e *Engine) Discover(ctx context.Context) ([]wire.Database, error) {
	conn, err := e.connect(ctx, e.backup, e.cfg.Database)
	if err != nil {
		return nil, err
	}
	defer hangUp(ctx, conn)
	version, _ := serverVersion(conn)
	rows, err := conn.Query(ctx, `
		SELECT datname, has_database_privilege(oid, 'CONNECT'),
		       CASE WHEN has_database_privilege(oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'MEMBER')
		            THEN pg_database_size(oid) ELSE 0 END
		FROM pg_catalog.pg_database WHERE NOT datistemplate AND datallowconn ORDER BY datname`)
	if err != nil {
		return nil, e.sqlFailure(ctx, err, "list databases", e.cfg.Database)
	}
	type row struct {
		wire.Database
		connect bool
	}
	all, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (row, error) {
		found := row{Database: wire.Database{Instance: e.cfg.Name, Engine: wire.EnginePostgreSQL, ServerVersion: version}}
		err := r.Scan(&found.Name, &found.connect, &found.SizeBytes)
		return found, err
	})
	if err != nil {
		return nil, e.sqlFailure(ctx, err, "list databases", e.cfg.Database)
	}
	databases := make([]wire.Database, 0, len(all))
	for _, found := range all {
		if !utf8.ValidString(found.Name) {
			e.log.Warn("database is left out: its name is not UTF-8", "database", fmt.Sprintf("%q", found.Name))
			continue
		}
		if !e.allowed(found.Name) {
			continue
		}
		if found.connect {
			if found.Name == conn.Config().Database {
				found.Extensions, err = extensionsOf(ctx, conn)
			} else {
				found.Extensions, err = e.extensions(ctx, found.Name)
			}
			if err != nil {
				if f := stopped(ctx, "list databases"); f != nil {
					return nil, f
				}
				e.log.Warn("extensions are not known", "database", found.Name, "err", err)
			}
		}
		databases = append(databases, found.Database)
	}
	return databases, nil
}

func (e *Engine) extensions(ctx context.Context, database string) ([]string, error) {
	conn, err := e.connect(ctx, e.backup, database)
	if err != nil {
		return nil, err
	}
	defer hangUp(ctx, conn)
	return extensionsOf(ctx, conn)
}

// extensionsOf lists the extensions of the database that conn is at. It is never nil without an error.
func extensionsOf(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	rows, err := conn.Query(ctx, "SELECT extname FROM pg_catalog.pg_extension WHERE extname <> 'plpgsql' ORDER BY extname")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// Exists tells whether a database of that exact name is on the server.
func (e *Engine) Exists(ctx context.Context, database string) (bool, error) {
	conn, err := e.connect(ctx, e.backup, e.cfg.Database)
	if err != nil {
		return false, err
	}
	defer hangUp(ctx, conn)
	return e.exists(ctx, conn, database)
}

func (e *Engine) exists(ctx context.Context, conn *pgx.Conn, database string) (bool, error) {
	if !possible(database) {
		return false, nil
	}
	var there bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = $1::text)", database).Scan(&there); err != nil {
		return false, e.sqlFailure(ctx, err, "look for "+e.where(database), database)
	}
	return there, nil
}
