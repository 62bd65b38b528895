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

// counts are what a dump holds besides tables, rows and columns. Each query gives kinds and numbers; it takes the
// database's name twice. None joins tables of the information schema: that would take time by the square of their number.
// Left out is what differs after a good restore: events that vanish once their time has come; whether events run; definers.
var counts = []string{
	"SELECT 'indexes', COUNT(DISTINCT CONVERT(TABLE_NAME USING utf8mb4) COLLATE utf8mb4_bin, CONVERT(INDEX_NAME USING utf8mb4) COLLATE utf8mb4_bin) " +
		"FROM information_schema.STATISTICS WHERE " + same("TABLE_SCHEMA"),
	"SELECT CASE CONSTRAINT_TYPE WHEN 'PRIMARY KEY' THEN 'primary_keys' WHEN 'UNIQUE' THEN 'unique_constraints' WHEN 'FOREIGN KEY' THEN 'foreign_keys' " +
		"WHEN 'CHECK' THEN 'check_constraints' ELSE 'other_constraints' END, COUNT(*) FROM information_schema.TABLE_CONSTRAINTS WHERE " + same("TABLE_SCHEMA") + " GROUP BY 1",
	"SELECT 'partitions', COUNT(*) FROM information_schema.PARTITIONS WHERE PARTITION_NAME IS NOT NULL AND " + same("TABLE_SCHEMA"),
	"SELECT 'triggers', COUNT(*) FROM information_schema.TRIGGERS WHERE " + same("TRIGGER_SCHEMA"),
	"SELECT CASE ROUTINE_TYPE WHEN 'FUNCTION' THEN 'functions' WHEN 'PROCEDURE' THEN 'procedures' WHEN 'PACKAGE' THEN 'packages' ELSE 'package_bodies' END, COUNT(*) " +
		"FROM information_schema.ROUTINES WHERE " + same("ROUTINE_SCHEMA") + " GROUP BY 1",
	"SELECT 'events', COUNT(*) FROM information_schema.EVENTS WHERE NOT (ON_COMPLETION = 'NOT PRESERVE' AND (EVENT_TYPE = 'ONE TIME' OR ENDS IS NOT NULL)) AND " +
		same("EVENT_SCHEMA"),
}

// columnKinds are counted over the columns of tables, not of views.
var columnKinds = []struct{ kind, condition string }{
	{"columns", "TRUE"},
	{"column_defaults", "COLUMN_DEFAULT IS NOT NULL AND COLUMN_DEFAULT <> 'NULL'"},
	{"column_comments", "COLUMN_COMMENT <> ''"},
	{"auto_increments", "EXTRA LIKE '%auto_increment%'"},
	{"generated_columns", "EXTRA LIKE '% GENERATED%'"},
	{"invisible_columns", "EXTRA LIKE '%INVISIBLE%'"},
}

// countObjects fills in all numbers that are not rows.
func (c *conn) countObjects(ctx context.Context, database string, tables []table) (map[string]int64, error) {
	found := map[string]int64{}
	in := []any{database, database}
	for _, query := range counts {
		err := c.each(ctx, query, in, func(scan func(to ...any) error) error {
			var kind string
			var n int64
			err := scan(&kind, &n)
			found[kind] += n
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("count objects: %w", err)
		}
	}
	stored := map[string]bool{}
	for _, t := range tables {
		switch t.kind {
		case "VIEW":
			found["views"]++
			continue
		case "SEQUENCE":
			found["sequences"]++
			continue
		case "SYSTEM VERSIONED":
			found["versioned_tables"]++
		}
		stored[t.name] = true
		if t.comment {
			found["table_comments"]++
		}
	}
	query := "SELECT TABLE_NAME"
	for _, k := range columnKinds {
		query += ", CAST(SUM(" + k.condition + ") AS SIGNED)"
	}
	query += " FROM information_schema.COLUMNS WHERE " + same("TABLE_SCHEMA") + " GROUP BY CONVERT(TABLE_NAME USING utf8mb4) COLLATE utf8mb4_bin"
	err := c.each(ctx, query, in, func(scan func(to ...any) error) error {
		var name string
		numbers, to := make([]int64, len(columnKinds)), []any{&name}
		for i := range numbers {
			to = append(to, &numbers[i])
		}
		if err := scan(to...); err != nil || !stored[name] {
			return err
		}
		for i, k := range columnKinds {
			found[k.kind] += numbers[i]
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count columns: %w", err)
	}
	return found, nil
}

// Engines whose rows lie elsewhere: a dump holds the table, not the rows.
var elsewhere = []string{"FEDERATED", "CONNECT", "SPIDER", "MRG_MyISAM", "BLACKHOLE", "OQGRAPH", "VP"}

// table is a table, view or sequence.
type table struct {
	name, engine, kind string
	comment            bool
}

// rows tells whether a dump holds its rows.
func (t table) rows() bool {
	return (t.kind == "BASE TABLE" || t.kind == "SYSTEM VERSIONED") &&
		!slices.ContainsFunc(elsewhere, func(name string) bool { return strings.EqualFold(name, t.engine) })
}

func (c *conn) tables(ctx context.Context, database string) (found []table, err error) {
	err = c.each(ctx, "SELECT TABLE_NAME, COALESCE(ENGINE, ''), TABLE_TYPE, TABLE_COMMENT <> '' FROM information_schema.TABLES WHERE "+
		notReserved+" AND "+same("TABLE_SCHEMA")+" ORDER BY CONVERT(TABLE_NAME USING utf8mb4) COLLATE utf8mb4_bin", []any{database, database},
		func(scan func(to ...any) error) error {
			var t table
			if err := scan(&t.name, &t.engine, &t.kind, &t.comment); err != nil {
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
		if t.rows() && !slices.ContainsFunc(engines, func(name string) bool { return strings.EqualFold(name, t.engine) }) {
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
	f := &wire.Fingerprint{V: wire.Version, Engine: wire.EngineMySQL, Exact: exact}
	tables, err := c.tables(ctx, database)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	if f.Counts, err = c.countObjects(ctx, database, tables); err != nil {
		return nil, err
	}
	for _, t := range tables {
		if t.kind == "VIEW" || t.kind == "SEQUENCE" {
			continue
		}
		count := wire.TableCount{Name: t.name}
		if t.rows() {
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

// Fingerprint describes one database. It is exact for a staging or kept database, which nobody else writes to, and for one whose
// tables are all transactional.
func (e *Engine) Fingerprint(ctx context.Context, database string) (*wire.Fingerprint, error) {
	if err := checkName(database); err != nil {
		return nil, err
	}
	c, err := e.connect(ctx, e.owner(database))
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
	exact := ours(database)
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
