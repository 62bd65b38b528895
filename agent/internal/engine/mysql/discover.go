package mysql

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"

	driver "github.com/go-sql-driver/mysql"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/wire"
)

// Server identifies the server: MySQL by its server_uuid, MariaDB from 10.10 on by its server_uid, which is made of its
// machine, directory and port. Older servers are identified by a hash of host name, port and data directory.
func (e *Engine) Server(ctx context.Context) (engine.ServerInfo, error) {
	c, err := e.connect(ctx, e.backup)
	if err != nil {
		return engine.ServerInfo{}, err
	}
	defer c.hangUp(ctx)
	return c.identify(ctx)
}

func (c *conn) identify(ctx context.Context) (engine.ServerInfo, error) {
	info := engine.ServerInfo{Engine: wire.EngineMySQL, Version: c.server.version}
	query := "SELECT @@server_uuid"
	if c.server.flavour == flavourMariaDB {
		query = "SELECT @@server_uid"
	}
	err := c.one(ctx, query, nil, &info.Identity)
	if answer := (*driver.MySQLError)(nil); errors.As(err, &answer) && answer.Number == 1193 {
		var place string
		err = c.one(ctx, "SELECT CONCAT_WS('|', @@hostname, @@port, @@datadir)", nil, &place)
		sum := sha256.Sum256([]byte(place))
		info.Identity = "place-" + hex.EncodeToString(sum[:12])
	}
	if err != nil {
		return engine.ServerInfo{}, c.e.sqlFailure(ctx, err, "identify the server at "+c.e.address(), "")
	}
	return info, nil
}

// Discover lists the databases that the configuration allows and the account sees, sorted by name.
func (e *Engine) Discover(ctx context.Context) ([]wire.Database, error) {
	c, err := e.connect(ctx, e.backup)
	if err != nil {
		return nil, err
	}
	defer c.hangUp(ctx)
	names, err := c.strings(ctx, "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA ORDER BY CONVERT(SCHEMA_NAME USING utf8mb4) COLLATE utf8mb4_bin")
	if err != nil {
		return nil, e.sqlFailure(ctx, err, "list databases", "")
	}
	sizes := map[string]int64{}
	err = c.each(ctx, `SELECT TABLE_SCHEMA, CAST(COALESCE(SUM(DATA_LENGTH + INDEX_LENGTH), 0) AS SIGNED) FROM information_schema.TABLES
		WHERE TABLE_TYPE <> 'VIEW' AND TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema', 'mysql', 'sys')
		GROUP BY CONVERT(TABLE_SCHEMA USING utf8mb4) COLLATE utf8mb4_bin`, nil,
		func(scan func(to ...any) error) error {
			var name string
			var size int64
			err := scan(&name, &size)
			sizes[name] = size
			return err
		})
	if err != nil {
		return nil, e.sqlFailure(ctx, err, "measure databases", "")
	}
	databases := []wire.Database{}
	for _, name := range names {
		if e.allowed(name) && possible(name) {
			databases = append(databases, wire.Database{
				Instance: e.cfg.Name, Engine: wire.EngineMySQL, ServerVersion: c.server.version, Name: name, SizeBytes: sizes[name],
			})
		}
	}
	return databases, nil
}

// Exists tells whether a database of that exact name is on the server, as far as our accounts see. It is there while a
// Publish fills it; a staging database that was published is gone even if its empty rest is not.
func (e *Engine) Exists(ctx context.Context, database string) (bool, error) {
	if !possible(database) {
		return false, nil
	}
	if ours(database) {
		return e.existsFor(ctx, e.owner(database), database)
	}
	there, err := e.existsFor(ctx, e.backup, database)
	if there || err != nil || e.restore == e.backup {
		return there, err
	}
	// The restore account may see what the other does not. If it cannot log in, that is told elsewhere.
	if there, err := e.existsFor(ctx, e.restore, database); err == nil {
		return there, nil
	}
	return false, stoppedOrNil(ctx, "look for "+e.where(database))
}

func stoppedOrNil(ctx context.Context, what string) error {
	if f := stopped(ctx, what); f != nil {
		return f
	}
	return nil
}

func (e *Engine) existsFor(ctx context.Context, who account, database string) (bool, error) {
	c, err := e.connect(ctx, who)
	if err != nil {
		return false, err
	}
	defer c.hangUp(ctx)
	there, err := c.exists(ctx, database)
	if err != nil || !there || !staging(database) {
		return there, err
	}
	published, err := c.published(ctx, database)
	return !published, err
}

func (c *conn) exists(ctx context.Context, database string) (bool, error) {
	var n int
	err := c.one(ctx, "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE "+same("SCHEMA_NAME"), []any{database, database}, &n)
	if err != nil {
		return false, c.e.sqlFailure(ctx, err, "look for "+c.e.where(database), database)
	}
	return n > 0, nil
}
