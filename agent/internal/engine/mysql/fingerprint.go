package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	driver "github.com/go-sql-driver/mysql"

	"devflowbackup/shared/wire"
)

// counts are what a dump holds besides rows, by kind. Each query takes the database's name twice. Left out is what
// differs after a good restore: events that vanish once their time has come; whether events run; definers.
var counts = map[string]string{
	"views":            "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_TYPE = 'VIEW' AND " + same("TABLE_SCHEMA"),
	"sequences":        "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_TYPE = 'SEQUENCE' AND " + same("TABLE_SCHEMA"),
	"versioned_tables": "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_TYPE = 'SYSTEM VERSIONED' AND " + same("TABLE_SCHEMA"),
	"table_comments":   "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_COMMENT <> '' AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') AND " + same("TABLE_SCHEMA"),
	"columns":          columns("TRUE"),
	"column_defaults":  columns("COLUMN_DEFAULT IS NOT NULL AND COLUMN_DEFAULT <> 'NULL'"),
	"column_comments":  columns("COLUMN_COMMENT <> ''"),
	"auto_increments":  columns("EXTRA LIKE '%auto_increment%'"),
	"generated":        columns("EXTRA LIKE '% GENERATED%'"),
	"invisible":        columns("EXTRA LIKE '%INVISIBLE%'"),
	"indexes": "SELECT COUNT(DISTINCT CONVERT(TABLE_NAME USING utf8mb4) COLLATE utf8mb4_bin, CONVERT(INDEX_NAME USING utf8mb4) COLLATE utf8mb4_bin) " +
		"FROM information_schema.STATISTICS WHERE " + same("TABLE_SCHEMA"),
	"primary_keys":       constraints("PRIMARY KEY"),
	"unique_constraints": constraints("UNIQUE"),
	"foreign_keys":       constraints("FOREIGN KEY"),
	"check_constraints":  constraints("CHECK"),
	"partitions":         "SELECT COUNT(*) FROM information_schema.PARTITIONS WHERE PARTITION_NAME IS NOT NULL AND " + same("TABLE_SCHEMA"),
	"triggers":           "SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE " + same("TRIGGER_SCHEMA"),
	"functions":          routines("FUNCTION"),
	"procedures":         routines("PROCEDURE"),
	"packages":           routines("PACKAGE"),
	"package_bodies":     routines("PACKAGE BODY"),
	"events": "SELECT COUNT(*) FROM information_schema.EVENTS WHERE NOT (ON_COMPLETION = 'NOT PRESERVE' AND (EVENT_TYPE = 'ONE TIME' OR ENDS IS NOT NULL)) AND " +
		same("EVENT_SCHEMA"),
}

func columns(condition string) string {
	return "SELECT COUNT(*) FROM information_schema.COLUMNS c JOIN information_schema.TABLES t ON t.TABLE_SCHEMA = c.TABLE_SCHEMA AND t.TABLE_NAME = c.TABLE_NAME" +
		" AND CONVERT(t.TABLE_NAME USING utf8mb4) COLLATE utf8mb4_bin = CONVERT(c.TABLE_NAME USING utf8mb4) COLLATE utf8mb4_bin" +
		" WHERE t.TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') AND (" + condition + ") AND " + same("t.TABLE_SCHEMA") + " AND " + same("c.TABLE_SCHEMA")
}

func constraints(kind string) string {
	return "SELECT COUNT(*) FROM information_schema.TABLE_CONSTRAINTS WHERE CONSTRAINT_TYPE = '" + kind + "' AND " + same("TABLE_SCHEMA")
}

func routines(kind string) string {
	return "SELECT COUNT(*) FROM information_schema.ROUTINES WHERE ROUTINE_TYPE = '" + kind + "' AND " + same("ROUTINE_SCHEMA")
}

// Engines whose rows lie elsewhere: a dump holds the table, not the rows.
var elsewhere = []string{"FEDERATED", "CONNECT", "SPIDER", "MRG_MyISAM", "BLACKHOLE", "OQGRAPH", "VP"}

// table is one that rows are counted of.
type table struct{ name, engine string }

func (c *conn) tables(ctx context.Context, database string) (found []table, err error) {
	err = c.each(ctx, "SELECT TABLE_NAME, COALESCE(ENGINE, '') FROM information_schema.TABLES WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') AND "+
		same("TABLE_SCHEMA")+" ORDER BY CONVERT(TABLE_NAME USING utf8mb4) COLLATE utf8mb4_bin", []any{database, database},
		func(scan func(to ...any) error) error {
			var t table
			if err := scan(&t.name, &t.engine); err != nil {
				return err
			}
			found = append(found, t)
			return nil
		})
	return found, err
}

// untransactional lists those tables that a snapshot does not hold still.
func (c *conn) untransactional(ctx context.Context, tables []table) (names []string, err error) {
	engines, err := c.strings(ctx, "SELECT ENGINE FROM information_schema.ENGINES WHERE TRANSACTIONS = 'YES'")
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		known := func(name string) bool { return strings.EqualFold(name, t.engine) }
		if !slices.ContainsFunc(engines, known) && !slices.ContainsFunc(elsewhere, known) {
			names = append(names, t.name)
		}
	}
	return names, nil
}

// snapshot begins a transaction in which all statements see the rows of one moment.
func (c *conn) snapshot(ctx context.Context) error {
	if err := c.exec(ctx, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"); err != nil {
		return err
	}
	return c.exec(ctx, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
}

// describe makes the fingerprint in the connection's open snapshot. A table that was altered since is left at no rows,
// and the fingerprint is approximate then.
func (c *conn) describe(ctx context.Context, database string, exact bool) (*wire.Fingerprint, error) {
	f := &wire.Fingerprint{V: wire.Version, Engine: wire.EngineMySQL, Exact: exact, Counts: map[string]int64{}}
	for kind, query := range counts {
		args := make([]any, strings.Count(query, "?"))
		for i := range args {
			args[i] = database
		}
		var n int64
		if err := c.one(ctx, query, args, &n); err != nil {
			return nil, fmt.Errorf("count %s: %w", kind, err)
		}
		f.Counts[kind] = n
	}
	tables, err := c.tables(ctx, database)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	for _, t := range tables {
		count := wire.TableCount{Name: t.name}
		if !slices.ContainsFunc(elsewhere, func(name string) bool { return strings.EqualFold(name, t.engine) }) {
			altered, err := c.countRows(ctx, database, &count)
			if err != nil {
				return nil, fmt.Errorf("count rows of table %q: %w", t.name, err)
			}
			f.Exact = f.Exact && !altered
		}
		f.Tables = append(f.Tables, count)
	}
	return f, nil
}

// countRows counts inside a savepoint, so that the table can be altered again as soon as it is counted.
func (c *conn) countRows(ctx context.Context, database string, t *wire.TableCount) (altered bool, err error) {
	if err := c.exec(ctx, "SAVEPOINT devflow"); err != nil {
		return false, err
	}
	err = c.one(ctx, "SELECT COUNT(*) FROM "+quoteName(database)+"."+quoteName(t.Name), nil, &t.Rows)
	if answer := (*driver.MySQLError)(nil); errors.As(err, &answer) {
		switch answer.Number {
		case 1412, 1146, 1205, 1932: // altered, dropped, locked, gone
			altered, err = true, nil
		}
	}
	if err != nil {
		return false, err
	}
	return altered, c.exec(ctx, "ROLLBACK TO SAVEPOINT devflow")
}

// Fingerprint describes one database. It is exact for a staging database, which nobody else writes to, and for one whose
// tables are all transactional.
func (e *Engine) Fingerprint(ctx context.Context, database string) (*wire.Fingerprint, error) {
	if err := checkName(database); err != nil {
		return nil, err
	}
	who := e.backup
	if staging(database) {
		who = e.restore
	}
	c, err := e.connect(ctx, who)
	if err != nil {
		return nil, err
	}
	defer c.hangUp(ctx)
	if there, err := c.exists(ctx, database); err != nil {
		return nil, err
	} else if !there {
		return nil, e.missing(database, errNotListed)
	}
	what := "describe " + e.where(database)
	exact := staging(database)
	if !exact {
		tables, err := c.tables(ctx, database)
		if err != nil {
			return nil, e.sqlFailure(ctx, err, what, database)
		}
		loose, err := c.untransactional(ctx, tables)
		if err != nil {
			return nil, e.sqlFailure(ctx, err, what, database)
		}
		exact = len(loose) == 0
	}
	if err := c.snapshot(ctx); err != nil {
		return nil, e.sqlFailure(ctx, err, what, database)
	}
	f, err := c.describe(ctx, database, exact)
	if err != nil {
		return nil, e.sqlFailure(ctx, err, what, database)
	}
	return f, nil
}

var errNotListed = errors.New("the server does not list it for the account")
