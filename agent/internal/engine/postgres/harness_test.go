package postgres_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/jackc/pgx/v5"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engine/enginetest"
	"devflowbackup/agent/internal/engine/postgres"
	"devflowbackup/shared/pgserver"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/fakedump"
	"devflowbackup/shared/testkit/pgkit"
)

func TestMain(m *testing.M) {
	fakedump.Main()
	enginetest.Main(func(config string) (engine.Engine, error) {
		var c otherConfig
		if err := json.Unmarshal([]byte(config), &c); err != nil {
			return nil, err
		}
		cfg := postgres.Config{Name: "main", Host: c.Host, Port: c.Port, User: c.User, RestoreUser: c.RestoreUser, LockTimeout: 5 * time.Second}
		cfg.Password, cfg.RestorePassword = secret.String(c.Password), secret.String(c.RestorePassword)
		return postgres.New(cfg, nil)
	})
	pgkit.Main(m)
}

const (
	restoreUser = "devflow_restore"
	// Everything that a password file, a connection string and a URL could stumble over.
	restorePassword secret.String = `r:e\s't o"re%20@/#🦀`
	wrongPassword   secret.String = `wr:ong\canary-4711`
)

// otherConfig is a configuration for another process, with its passwords.
type otherConfig struct {
	Host, User, Password, RestoreUser, RestorePassword string
	Port                                               int
}

var restoreRole sync.Once

func testContext(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeoutCause(context.Background(), 5*time.Minute, errors.New("test took too long"))
	tb.Cleanup(cancel)
	return ctx
}

func superuser(tb testing.TB, s *pgserver.Server, database string) *pgx.Conn {
	tb.Helper()
	cfg, err := pgx.ParseConfig(s.DSN(s.Superuser(), "postgres").Reveal())
	if err != nil {
		tb.Fatal(err)
	}
	cfg.Database = database
	conn, err := pgx.ConnectConfig(testContext(tb), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return conn
}

// run runs SQL as the superuser.
func run(tb testing.TB, s *pgserver.Server, database, sql string) {
	tb.Helper()
	conn := superuser(tb, s, database)
	defer conn.Close(context.Background())
	if _, err := conn.PgConn().Exec(testContext(tb), sql).ReadAll(); err != nil {
		tb.Fatalf("%v in %.200s", err, sql)
	}
}

func query[T any](tb testing.TB, s *pgserver.Server, database, sql string, args ...any) []T {
	tb.Helper()
	conn := superuser(tb, s, database)
	defer conn.Close(context.Background())
	rows, err := conn.Query(testContext(tb), sql, args...)
	if err != nil {
		tb.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		tb.Fatalf("%v in %s", err, sql)
	}
	return out
}

// server is the shared one, with the restore role.
func server(tb testing.TB) *pgserver.Server {
	tb.Helper()
	s := pgkit.Shared(tb)
	restoreRole.Do(func() { makeRestoreRole(tb, s) })
	return s
}

func makeRestoreRole(tb testing.TB, s *pgserver.Server) {
	tb.Helper()
	if err := s.CreateRole(testContext(tb), restoreUser, restorePassword); err != nil {
		tb.Fatal(err)
	}
	run(tb, s, "postgres", "ALTER ROLE "+restoreUser+" CREATEDB")
}

func config(s *pgserver.Server) postgres.Config {
	cfg := postgres.Config{
		Name: "main", Host: s.Host(), Port: s.Port(), User: s.Superuser(), Password: s.Password(),
		RestoreUser: restoreUser, RestorePassword: restorePassword,
		AllowedExtensions: []string{"dblink"}, LockTimeout: 5 * time.Second,
	}
	if dir := os.Getenv(clientVariable); dir != "" {
		cfg.BinDirs = []string{dir}
	}
	return cfg
}

func newEngine(tb testing.TB, cfg postgres.Config) *postgres.Engine {
	tb.Helper()
	e, err := postgres.New(cfg, hclog.New(&hclog.LoggerOptions{Output: testLog{tb}, Level: hclog.Debug}))
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

type testLog struct{ tb testing.TB }

func (l testLog) Write(b []byte) (int, error) {
	l.tb.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

func createDatabase(tb testing.TB, s *pgserver.Server, name string) {
	tb.Helper()
	run(tb, s, "postgres", "CREATE DATABASE "+pgserver.Quote(name)+" TEMPLATE template0")
}

func dropDatabase(tb testing.TB, s *pgserver.Server, name string) {
	tb.Helper()
	run(tb, s, "postgres", "DROP DATABASE IF EXISTS "+pgserver.Quote(name)+" WITH (FORCE)")
}

// newDatabase makes one on the shared server that is dropped at the test's end.
func newDatabase(tb testing.TB, sql string) (name string) {
	tb.Helper()
	s := server(tb)
	var b [6]byte
	_, _ = rand.Read(b[:])
	name = "test_" + hex.EncodeToString(b[:])
	createDatabase(tb, s, name)
	tb.Cleanup(func() { dropDatabase(tb, s, name) })
	run(tb, s, name, sql)
	return name
}

func newStaging() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return engine.StagingPrefix + hex.EncodeToString(b[:])
}

// clientVariable names the directory of the programs that are tested instead of the installed ones. See pgkit.RootVariable
// for the server.
const clientVariable = "DEVFLOW_POSTGRES_CLIENT"

// programs is where pg_dump and the others are that fit the server.
func programs(tb testing.TB) string {
	tb.Helper()
	dir := os.Getenv(clientVariable)
	if dir == "" {
		dir = server(tb).Bin().Dir
	}
	if _, err := os.Stat(filepath.Join(dir, "pg_dump")); err != nil {
		tb.Fatal(err)
	}
	return dir
}

func realTool(tb testing.TB, program string) string { return filepath.Join(programs(tb), program) }

// isServer knows the processes of PostgreSQL servers; pg_dump and the fakes have other names.
func isServer(command string) bool { return command == "postgres" }

func harness() enginetest.Harness {
	h := enginetest.Harness{
		New: func(tb testing.TB) engine.Engine { return newEngine(tb, config(server(tb))) },
		NewRefused: func(tb testing.TB) engine.Engine {
			cfg := config(server(tb))
			cfg.Password = wrongPassword
			return newEngine(tb, cfg)
		},
		NewFaulty: func(tb testing.TB, script fakedump.Script, withReal bool) (engine.Engine, *fakedump.Fake) {
			if withReal {
				script.Real = realTool(tb, "pg_dump")
			} else {
				script.Version = fmt.Sprintf("pg_dump (PostgreSQL) %d.99", server(tb).Bin().Major)
			}
			fake := fakedump.Install(tb, "pg_dump", script)
			cfg := config(server(tb))
			cfg.BinDirs = []string{fake.Dir()}
			return newEngine(tb, cfg), fake
		},
		Create:      func(tb testing.TB, name string) { createDatabase(tb, server(tb), name) },
		Drop:        func(tb testing.TB, name string) { dropDatabase(tb, server(tb), name) },
		FillSmall:   func(tb testing.TB, name string) { run(tb, server(tb), name, smallSQL) },
		FillHurting: func(tb testing.TB, name string) { fillHurting(tb, server(tb), name) },
		Content:     func(tb testing.TB, name string) map[string]string { return content(tb, server(tb), name) },
		Databases: func(tb testing.TB) []string {
			return query[string](tb, server(tb), "postgres", "SELECT datname::text FROM pg_database")
		},
		Secrets:  []string{restorePassword.Reveal(), wrongPassword.Reveal()},
		IsServer: isServer,
		Swap: enginetest.Swap{
			Steps: []string{
				"agent.postgres_swap_checked", "agent.postgres_swap_adopted", "agent.postgres_swap_carried", "agent.postgres_swap_staged",
				"agent.postgres_swap_kept", "agent.postgres_swap_renamed", "agent.postgres_swap_committed",
			},
			Config: func(tb testing.TB) string {
				s := server(tb)
				b, err := json.Marshal(otherConfig{s.Host(), s.Superuser(), s.Password().Reveal(), restoreUser, restorePassword.Reveal(), s.Port()})
				if err != nil {
					tb.Fatal(err)
				}
				return string(b)
			},
			Fill: func(tb testing.TB, name, mark string) {
				run(tb, server(tb), name, smallSQL+`
					CREATE TABLE marks (mark text NOT NULL);
					INSERT INTO marks VALUES ('`+mark+`');
					CREATE TABLE writes (n bigint);`)
			},
			Open: func(tb testing.TB, name string) (enginetest.Session, error) { return open(tb, server(tb), name) },
			Written: func(tb testing.TB, name string) []int64 {
				return query[int64](tb, server(tb), name, "SELECT n FROM writes ORDER BY n")
			},
		},
	}
	return h
}

// other is the session of another program.
type other struct{ conn *pgx.Conn }

func open(tb testing.TB, s *pgserver.Server, database string) (*other, error) {
	tb.Helper()
	cfg, err := pgx.ParseConfig(s.DSN(s.Superuser(), "postgres").Reveal())
	if err != nil {
		return nil, err
	}
	cfg.Database, cfg.RuntimeParams["application_name"] = database, "shop front"
	conn, err := pgx.ConnectConfig(testContext(tb), cfg)
	if err != nil {
		return nil, err
	}
	return &other{conn}, nil
}

func (o *other) Write(ctx context.Context, n int64) error {
	_, err := o.conn.Exec(ctx, "INSERT INTO writes VALUES ($1)", n)
	return err
}

func (o *other) Close() { _ = o.conn.Close(context.Background()) }

const smallSQL = `
	CREATE TABLE people (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, born date);
	INSERT INTO people (name, born) SELECT 'person ' || g || ' 🦀', date '2000-01-01' + g FROM generate_series(1, 2000) g;
	CREATE INDEX people_born ON people (born);
	CREATE VIEW grown AS SELECT * FROM people WHERE born < '2003-01-01';
	CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT 2 * n $$;`

// fillHurting runs the statements one by one, each in a transaction of its own.
func fillHurting(tb testing.TB, s *pgserver.Server, database string) {
	tb.Helper()
	b, err := os.ReadFile("testdata/hurting.sql")
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := s.Exec(testContext(tb), database, string(b)); err != nil {
		tb.Fatal(err)
	}
}

// contentSQL are statements with one row per thing: a key and its description. They see what the fingerprint does not:
// the rows themselves and the definitions.
var contentSQL = []string{
	`SELECT 'sequence ' || schemaname || '.' || sequencename, concat_ws(' ', data_type, start_value, min_value, max_value, increment_by, cycle, cache_size, last_value) FROM pg_sequences`,
	`SELECT 'view ' || c.oid::regclass, concat_ws(' ', c.relkind, c.reloptions, pg_get_viewdef(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('v', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'`,
	`SELECT 'index ' || i.indexrelid::regclass, pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname !~ '^pg_'`,
	`SELECT 'constraint ' || coalesce(nullif(conrelid, 0)::regclass::text, contypid::regtype::text) || ' ' || conname, concat_ws(' ', pg_get_constraintdef(oid), convalidated) FROM pg_constraint
		WHERE connamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)`,
	`SELECT 'trigger ' || tgrelid::regclass || ' ' || tgname, concat(pg_get_triggerdef(oid), tgenabled) FROM pg_trigger WHERE NOT tgisinternal`,
	`SELECT 'rule ' || tablename || ' ' || rulename, definition FROM pg_rules WHERE schemaname !~ '^pg_'`,
	`SELECT 'policy ' || tablename || ' ' || policyname, concat_ws(' ', permissive, roles, cmd, qual, with_check) FROM pg_policies`,
	`SELECT 'function ' || p.oid::regprocedure, CASE WHEN p.prokind = 'a' THEN 'aggregate' ELSE pg_get_functiondef(p.oid) END FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
		WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'`,
	`SELECT 'column ' || a.attrelid::regclass || ' ' || a.attname, concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, a.attcollation::regcollation, a.attstorage, a.attstattarget, pg_get_expr(d.adbin, d.adrelid))
		FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
		WHERE c.relkind IN ('r', 'p', 'c', 'm', 'v', 'f') AND a.attnum > 0 AND NOT a.attisdropped AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'`,
	`SELECT 'relation ' || c.oid::regclass, concat_ws(' ', c.relkind, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity, c.relreplident, c.reloptions, pg_get_expr(c.relpartbound, c.oid), pg_get_partkeydef(c.oid))
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'`,
	`SELECT 'inherits ' || inhrelid::regclass, inhparent::regclass || ' ' || inhseqno FROM pg_inherits`,
	`SELECT 'enum ' || enumtypid::regtype || ' ' || enumlabel, rank() OVER (PARTITION BY enumtypid ORDER BY enumsortorder)::text FROM pg_enum`,
	`SELECT 'type ' || t.oid::regtype, concat_ws(' ', t.typtype, t.typnotnull, t.typdefault, format_type(t.typbasetype, t.typtypmod)) FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
		WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'`,
	`SELECT 'extension ' || extname, extversion || ' ' || extnamespace::regnamespace FROM pg_extension`,
	`SELECT 'schema ' || nspname, '' FROM pg_namespace WHERE nspname !~ '^pg_'`,
	`SELECT 'statistics ' || stxname, pg_get_statisticsobjdef(oid) FROM pg_statistic_ext`,
	`SELECT 'large object ' || oid, md5(lo_get(oid)) FROM pg_largeobject_metadata`,
	`SELECT 'comment ' || (pg_identify_object(classoid, objoid, objsubid)).type || ' ' || (pg_identify_object(classoid, objoid, objsubid)).identity, description
		FROM pg_description WHERE classoid NOT IN ('pg_extension'::regclass, 'pg_publication'::regclass, 'pg_event_trigger'::regclass) AND objoid >= 16384`,
	// Its locale has another name in each version.
	`SELECT 'collation ' || collname, concat_ws(' ', collprovider, collcollate, coalesce(to_jsonb(c) ->> 'colllocale', to_jsonb(c) ->> 'colliculocale')) FROM pg_collation c WHERE oid >= 16384`,
	`SELECT 'operator ' || oid::regoperator, oprcode::text FROM pg_operator WHERE oid >= 16384`,
	`SELECT 'cast ' || castsource::regtype || ' ' || casttarget::regtype, concat(castfunc::regprocedure, castcontext) FROM pg_cast WHERE oid >= 16384`,
	`SELECT 'text search ' || cfgname, '' FROM pg_ts_config WHERE oid >= 16384`,
}

// content describes a database by everything that the catalogs can print, and each table by checksums of its rows.
func content(tb testing.TB, s *pgserver.Server, database string) map[string]string {
	tb.Helper()
	ctx := testContext(tb)
	conn := superuser(tb, s, database)
	defer conn.Close(context.Background())
	found := map[string]string{}
	collect := func(sql string) {
		rows, err := conn.Query(ctx, sql)
		if err != nil {
			tb.Fatalf("%v in %s", err, sql)
		}
		var key string
		var value *string
		if _, err := pgx.ForEachRow(rows, []any{&key, &value}, func() error {
			if value == nil {
				return fmt.Errorf("%s is null", key)
			}
			found[key] = *value
			return nil
		}); err != nil {
			tb.Fatalf("%v in %s", err, sql)
		}
	}
	if _, err := conn.Exec(ctx, "SET search_path = pg_catalog"); err != nil {
		tb.Fatal(err)
	}
	for _, sql := range contentSQL {
		collect(sql)
	}
	rows, err := conn.Query(ctx, `SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'm') AND c.relispopulated AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'`)
	if err != nil {
		tb.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		tb.Fatal(err)
	}
	for _, table := range tables {
		collect(fmt.Sprintf("SELECT 'rows ' || %s, count(*) || ' ' || coalesce(md5(string_agg(md5(t::text), '' ORDER BY md5(t::text))), '') FROM ONLY %s t",
			"E'"+strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(table)+"'", table))
	}
	return found
}
