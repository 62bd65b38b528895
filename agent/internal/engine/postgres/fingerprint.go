package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"devflowbackup/shared/wire"
)

// Both statements look at what pg_dump writes and pg_restore makes again: not at system objects, not at members of
// extensions, not at temporary tables.
const (
	notMember = `NOT EXISTS (SELECT FROM pg_catalog.pg_depend m WHERE m.classid = '%s'::regclass AND m.objid = %s.oid AND m.deptype = 'e')`

	tablesSQL = `
		SELECT n.nspname, c.relname
		FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
		  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend m WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid AND m.deptype = 'e')
		ORDER BY 1, 2`

	// Left out because they differ after a good restore: the schema public and the extension plpgsql, which every
	// new database has; publications, subscriptions and event triggers, which are not restored; clones on partitions,
	// which follow from their parents; rows of materialized views, which are computed anew.
	countsSQL = `
		WITH ns AS MATERIALIZED (
			SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
		), member AS MATERIALIZED (
			SELECT classid, objid FROM pg_depend WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass
		), inner_part AS MATERIALIZED (
			SELECT classid, objid FROM pg_depend WHERE deptype = 'i' AND classid IN ('pg_proc'::regclass, 'pg_cast'::regclass)
		), rel AS MATERIALIZED (
			SELECT c.oid, c.relkind, c.relpersistence, c.relispartition, c.relrowsecurity
			FROM pg_class c JOIN ns ON ns.oid = c.relnamespace
			WHERE c.relpersistence <> 't' AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid)
		), proc AS MATERIALIZED (
			SELECT p.oid, p.prokind FROM pg_proc p JOIN ns ON ns.oid = p.pronamespace
			WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_proc'::regclass AND m.objid = p.oid)
			  AND NOT EXISTS (SELECT FROM inner_part i WHERE i.classid = 'pg_proc'::regclass AND i.objid = p.oid)
		), typ AS MATERIALIZED (
			SELECT t.oid, t.typtype FROM pg_type t JOIN ns ON ns.oid = t.typnamespace
			WHERE t.typisdefined AND t.typtype IN ('b', 'c', 'd', 'e', 'r')
			  AND (t.typtype <> 'c' OR (SELECT c.relkind FROM pg_class c WHERE c.oid = t.typrelid) = 'c')
			  AND (t.typtype <> 'b' OR NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid))
			  AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_type'::regclass AND m.objid = t.oid)
		), con AS MATERIALIZED (
			SELECT k.oid, k.contype FROM pg_constraint k
			WHERE k.conparentid = 0 AND (k.conrelid IN (SELECT oid FROM rel) OR k.contypid IN (SELECT oid FROM typ))
		), trig AS MATERIALIZED (
			SELECT t.oid FROM pg_trigger t
			WHERE NOT t.tgisinternal AND t.tgrelid IN (SELECT oid FROM rel) AND %[1]s
		)
		SELECT 'views', count(*) FROM rel WHERE relkind = 'v'
		UNION ALL SELECT 'materialized_views', count(*) FROM rel WHERE relkind = 'm'
		UNION ALL SELECT 'sequences', count(*) FROM rel WHERE relkind = 'S'
		UNION ALL SELECT 'foreign_tables', count(*) FROM rel WHERE relkind = 'f'
		UNION ALL SELECT 'partitioned_tables', count(*) FROM rel WHERE relkind = 'p'
		UNION ALL SELECT 'partitions', count(*) FROM rel WHERE relispartition AND relkind IN ('r', 'p', 'f')
		UNION ALL SELECT 'unlogged_tables', count(*) FROM rel WHERE relpersistence = 'u' AND relkind = 'r'
		UNION ALL SELECT 'row_security_tables', count(*) FROM rel WHERE relrowsecurity
		UNION ALL SELECT 'inheritance_links', count(*) FROM pg_inherits h JOIN rel ON rel.oid = h.inhrelid AND rel.relkind IN ('r', 'p', 'f')
		UNION ALL SELECT 'columns', count(*) FROM pg_attribute a JOIN rel ON rel.oid = a.attrelid AND rel.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
			WHERE a.attnum > 0 AND NOT a.attisdropped
		UNION ALL SELECT 'column_defaults', count(*) FROM pg_attrdef d JOIN rel ON rel.oid = d.adrelid
		UNION ALL SELECT 'indexes', count(*) FROM pg_index i JOIN rel ON rel.oid = i.indrelid
			WHERE (i.indisvalid OR rel.relkind = 'p') AND i.indisready
		UNION ALL SELECT 'check_constraints', count(*) FROM con WHERE contype = 'c'
		UNION ALL SELECT 'foreign_keys', count(*) FROM con WHERE contype = 'f'
		UNION ALL SELECT 'primary_keys', count(*) FROM con WHERE contype = 'p'
		UNION ALL SELECT 'unique_constraints', count(*) FROM con WHERE contype = 'u'
		UNION ALL SELECT 'exclusion_constraints', count(*) FROM con WHERE contype = 'x'
		UNION ALL SELECT 'constraint_triggers', count(*) FROM con WHERE contype = 't'
		UNION ALL SELECT 'triggers', count(*) FROM trig
		UNION ALL SELECT 'rules', count(*) FROM pg_rewrite w JOIN rel ON rel.oid = w.ev_class WHERE w.rulename <> '_RETURN'
		UNION ALL SELECT 'policies', count(*) FROM pg_policy p JOIN rel ON rel.oid = p.polrelid
		UNION ALL SELECT 'statistics', count(*) FROM pg_statistic_ext s JOIN rel ON rel.oid = s.stxrelid
		UNION ALL SELECT 'functions', count(*) FROM proc WHERE prokind IN ('f', 'w')
		UNION ALL SELECT 'procedures', count(*) FROM proc WHERE prokind = 'p'
		UNION ALL SELECT 'aggregates', count(*) FROM proc WHERE prokind = 'a'
		UNION ALL SELECT 'types', count(*) FROM typ
		UNION ALL SELECT 'operators', count(*) FROM pg_operator o JOIN ns ON ns.oid = o.oprnamespace WHERE %[2]s
		UNION ALL SELECT 'casts', count(*) FROM pg_cast c WHERE c.oid >= 16384 AND %[3]s
			AND NOT EXISTS (SELECT FROM inner_part i WHERE i.classid = 'pg_cast'::regclass AND i.objid = c.oid)
		UNION ALL SELECT 'collations', count(*) FROM pg_collation c JOIN ns ON ns.oid = c.collnamespace WHERE %[4]s
		UNION ALL SELECT 'text_search_configurations', count(*) FROM pg_ts_config c JOIN ns ON ns.oid = c.cfgnamespace WHERE %[5]s
		UNION ALL SELECT 'text_search_dictionaries', count(*) FROM pg_ts_dict d JOIN ns ON ns.oid = d.dictnamespace WHERE %[6]s
		UNION ALL SELECT 'foreign_servers', count(*) FROM pg_foreign_server s WHERE %[7]s
		UNION ALL SELECT 'schemas', count(*) FROM ns WHERE nspname <> 'public'
			AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_namespace'::regclass AND m.objid = ns.oid)
		UNION ALL SELECT 'extensions', count(*) FROM pg_extension WHERE extname <> 'plpgsql'
		UNION ALL SELECT 'large_objects', count(*) FROM pg_largeobject_metadata
		UNION ALL SELECT 'comments', count(*) FROM pg_description d
			WHERE (d.classoid = 'pg_class'::regclass AND d.objoid IN (SELECT oid FROM rel WHERE relkind NOT IN ('i', 'I')))
			   OR (d.classoid = 'pg_proc'::regclass AND d.objoid IN (SELECT oid FROM proc))
			   OR (d.classoid = 'pg_type'::regclass AND d.objoid IN (SELECT oid FROM typ))
			   OR (d.classoid = 'pg_constraint'::regclass AND d.objoid IN (SELECT oid FROM con))
			   OR (d.classoid = 'pg_trigger'::regclass AND d.objoid IN (SELECT oid FROM trig))`
)

// countsQuery is countsSQL for a server of this major version.
func countsQuery(major int) string {
	clones := "true" // before 13, a clone on a partition cannot be told from a trigger
	if major >= 13 {
		clones = "t.tgparentid = 0"
	}
	member := func(class, alias string) string { return fmt.Sprintf(notMember, class, alias) }
	return fmt.Sprintf(countsSQL, clones, member("pg_operator", "o"), member("pg_cast", "c"), member("pg_collation", "c"),
		member("pg_ts_config", "c"), member("pg_ts_dict", "d"), member("pg_foreign_server", "s"))
}

// countBatch is how many tables are counted per round trip.
const countBatch = 50

// describe makes the fingerprint in the connection's open transaction.
func describe(ctx context.Context, conn *pgx.Conn, major int) (*wire.Fingerprint, error) {
	f := &wire.Fingerprint{V: wire.Version, Engine: wire.EnginePostgreSQL, Exact: true, Counts: map[string]int64{}}
	rows, err := conn.Query(ctx, countsQuery(major))
	if err != nil {
		return nil, err
	}
	var kind string
	var n int64
	if _, err := pgx.ForEachRow(rows, []any{&kind, &n}, func() error { f.Counts[kind] = n; return nil }); err != nil {
		return nil, fmt.Errorf("count objects: %w", err)
	}
	if rows, err = conn.Query(ctx, tablesSQL); err != nil {
		return nil, err
	}
	f.Tables, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (t wire.TableCount, err error) {
		return t, r.Scan(&t.Schema, &t.Name)
	})
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	for from := 0; from < len(f.Tables); from += countBatch {
		if err := countRows(ctx, conn, f.Tables[from:min(from+countBatch, len(f.Tables))]); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func countRows(ctx context.Context, conn *pgx.Conn, tables []wire.TableCount) error {
	batch := &pgx.Batch{}
	for i := range tables {
		t := &tables[i]
		batch.Queue("SELECT count(*) FROM ONLY " + pgx.Identifier{t.Schema, t.Name}.Sanitize()).QueryRow(func(row pgx.Row) error {
			if err := row.Scan(&t.Rows); err != nil {
				return fmt.Errorf("count rows of table %q.%q: %w", t.Schema, t.Name, err)
			}
			return nil
		})
	}
	return conn.SendBatch(ctx, batch).Close()
}

// Fingerprint describes one database. A staging database is read as the restore account, which owns it; where row
// security keeps rows from that one, as the backup account.
func (e *Engine) Fingerprint(ctx context.Context, database string) (*wire.Fingerprint, error) {
	if err := checkName(database); err != nil {
		return nil, err
	}
	who := e.backup
	if staging(database) {
		who = e.restore
	}
	f, err := e.fingerprintAs(ctx, who, database)
	var pg *pgconn.PgError
	if err != nil && who != e.backup && errors.As(err, &pg) && pg.Code == "42501" {
		f, err = e.fingerprintAs(ctx, e.backup, database)
	}
	return f, err
}

func (e *Engine) fingerprintAs(ctx context.Context, who account, database string) (*wire.Fingerprint, error) {
	conn, err := e.connect(ctx, who, database)
	if err != nil {
		return nil, err
	}
	defer hangUp(ctx, conn)
	_, major := serverVersion(conn)
	if err := begin(ctx, conn, major); err != nil {
		return nil, e.sqlFailure(ctx, err, "describe "+e.where(database), database)
	}
	f, err := describe(ctx, conn, major)
	if err != nil {
		return nil, e.sqlFailure(ctx, err, "describe "+e.where(database), database)
	}
	return f, nil
}
