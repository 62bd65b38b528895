package stack

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Content describes what a database holds, taken by plain SQL and without any code of the product: two databases with the
// same Content hold the same rows.
type Content struct {
	// Tables has the rows and a checksum over all columns of all rows, by table name with schema; the order of rows is left out.
	Tables map[string]TableContent
	// Materialized has the same of materialized views.
	Materialized map[string]TableContent
	// Definitions has the text of views, functions, triggers, indexes, constraints and sequences with their values, by name.
	Definitions map[string]string
	// LargeObjects has a checksum of the bytes, by object id.
	LargeObjects map[uint32]string
}

// TableContent is one table's.
type TableContent struct {
	Rows     int64
	Checksum string
}

// Rows is the number of rows in all tables.
func (c Content) Rows() (n int64) {
	for _, t := range c.Tables {
		n += t.Rows
	}
	return n
}

const (
	tablesSQL = `SELECT format('%I.%I', n.nspname, c.relname), c.relkind = 'm' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'm') AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema' ORDER BY 1`
	// ROW: a column may have the alias's name. A sum of hashes does not depend on the order of rows, and unlike XOR it sees a row that stands there twice.
	tableSQL = `SELECT count(*), coalesce(sum(('x' || substr(md5(ROW(t.*)::text), 1, 15))::bit(60)::bigint), 0)::text FROM %s t`

	definitionsSQL = `
		SELECT 'view ' || format('%I.%I', schemaname, viewname), definition FROM pg_views WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
		UNION ALL SELECT 'materialized view ' || format('%I.%I', schemaname, matviewname), definition FROM pg_matviews
		UNION ALL SELECT 'function ' || p.oid::regprocedure::text, pg_get_functiondef(p.oid)
			FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
			WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND p.prokind IN ('f', 'p')
		UNION ALL SELECT 'trigger ' || tgrelid::regclass || ' ' || tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
		UNION ALL SELECT 'index ' || format('%I.%I', schemaname, indexname), indexdef FROM pg_indexes WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
		UNION ALL SELECT 'constraint ' || conrelid::regclass || ' ' || conname, pg_get_constraintdef(c.oid)
			FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
		UNION ALL SELECT 'sequence ' || format('%I.%I', schemaname, sequencename), coalesce(last_value::text, 'never used') FROM pg_sequences
		UNION ALL SELECT 'extension ' || extname, extversion FROM pg_extension`
)

// Content reads the whole database.
func (p *Postgres) Content(ctx context.Context, database string) (Content, error) {
	c, err := p.content(ctx, database)
	if err != nil {
		return Content{}, fmt.Errorf("read the content of database %q: %w", database, err)
	}
	return c, nil
}

func (p *Postgres) content(ctx context.Context, database string) (Content, error) {
	c := Content{Tables: map[string]TableContent{}, Materialized: map[string]TableContent{}, Definitions: map[string]string{}, LargeObjects: map[uint32]string{}}
	conn, err := p.Connect(ctx, database)
	if err != nil {
		return c, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// One snapshot, and texts that do not depend on how the database is set up.
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return c, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if _, err := tx.Exec(ctx, "SET LOCAL search_path = ''; SET LOCAL timezone = 'UTC'; SET LOCAL extra_float_digits = 1"); err != nil {
		return c, err
	}
	rows, _ := tx.Query(ctx, tablesSQL)
	tables, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct {
		Name         string
		Materialized bool
	}])
	if err != nil {
		return c, err
	}
	for _, table := range tables {
		var t TableContent
		if err := tx.QueryRow(ctx, fmt.Sprintf(tableSQL, table.Name)).Scan(&t.Rows, &t.Checksum); err != nil {
			return c, fmt.Errorf("table %s: %w", table.Name, err)
		}
		if table.Materialized {
			c.Materialized[table.Name] = t
		} else {
			c.Tables[table.Name] = t
		}
	}
	rows, _ = tx.Query(ctx, definitionsSQL)
	var name, text string
	if _, err := pgx.ForEachRow(rows, []any{&name, &text}, func() error { c.Definitions[name] = text; return nil }); err != nil {
		return c, err
	}
	rows, _ = tx.Query(ctx, "SELECT oid, md5(lo_get(oid)) FROM pg_largeobject_metadata")
	var oid uint32
	if _, err := pgx.ForEachRow(rows, []any{&oid, &text}, func() error { c.LargeObjects[oid] = text; return nil }); err != nil {
		return c, err
	}
	return c, nil
}

// Diff says in lines how other differs from c; it is empty if both hold the same.
func (c Content) Diff(other Content) string {
	var lines []string
	compare(&lines, "table", c.Tables, other.Tables)
	compare(&lines, "materialized view", c.Materialized, other.Materialized)
	compare(&lines, "", c.Definitions, other.Definitions)
	compare(&lines, "large object", c.LargeObjects, other.LargeObjects)
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func compare[K, V comparable](lines *[]string, kind string, a, b map[K]V) {
	for k := range maps.Keys(a) {
		if have, ok := b[k]; !ok {
			*lines = append(*lines, strings.TrimSpace(fmt.Sprintf("%s %v is missing", kind, k)))
		} else if have != a[k] {
			*lines = append(*lines, strings.TrimSpace(fmt.Sprintf("%s %v is %v, not %v", kind, k, have, a[k])))
		}
	}
	for k := range maps.Keys(b) {
		if _, ok := a[k]; !ok {
			*lines = append(*lines, strings.TrimSpace(fmt.Sprintf("%s %v is too much", kind, k)))
		}
	}
}
