package postgres_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engine/enginetest"
	"devflowbackup/agent/internal/engine/postgres"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/fakedump"
	"devflowbackup/shared/testkit/pgkit"
	"devflowbackup/shared/wire"
)

func dumpAll(t *testing.T, e engine.Engine, database string) ([]byte, *wire.Fingerprint) {
	t.Helper()
	d, err := e.Dump(testContext(t), engine.DumpRequest{Database: database})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	b, err := io.ReadAll(d)
	if err != nil {
		t.Fatal(err)
	}
	f, err := d.Fingerprint(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return b, f
}

// restoreAll restores into a staging database that the test's end removes.
func restoreAll(t *testing.T, e engine.Engine, dump []byte) (name, log string, err error) {
	t.Helper()
	name = newStaging()
	r, err := e.Restore(testContext(t), engine.RestoreRequest{Database: name})
	if err != nil {
		return "", "", err
	}
	t.Cleanup(r.Abort)
	if _, err = r.Write(dump); err == nil {
		err = r.Close()
	}
	return name, r.Log(), err
}

func TestRestore_RoleWithRightsIsRefused(t *testing.T) {
	s := pgkit.Start(t)
	makeRestoreRole(t, s)
	e := newEngine(t, config(s))
	for _, c := range []struct {
		name, grant, revoke, code, says string
	}{
		{"Superuser", "ALTER ROLE devflow_restore SUPERUSER", "ALTER ROLE devflow_restore NOSUPERUSER", wire.CodeSuperuser, "is a superuser"},
		{"CreateRole", "ALTER ROLE devflow_restore CREATEROLE", "ALTER ROLE devflow_restore NOCREATEROLE", wire.CodeSuperuser, "may create roles"},
		{"Programs", "GRANT pg_execute_server_program TO devflow_restore", "REVOKE pg_execute_server_program FROM devflow_restore", wire.CodeSuperuser, "pg_execute_server_program"},
		{"Reads", "GRANT pg_read_server_files TO devflow_restore", "REVOKE pg_read_server_files FROM devflow_restore", wire.CodeSuperuser, "pg_read_server_files"},
		{
			"WritesByWayOfAnother", "CREATE ROLE middle; GRANT pg_write_server_files TO middle; ALTER ROLE devflow_restore NOINHERIT; GRANT middle TO devflow_restore",
			"REVOKE middle FROM devflow_restore", wire.CodeSuperuser, "pg_write_server_files",
		},
		{"MemberOfSuperuser", "GRANT postgres TO devflow_restore", "REVOKE postgres FROM devflow_restore", wire.CodeSuperuser, "postgres"},
		{"NoCreateDB", "ALTER ROLE devflow_restore NOCREATEDB", "ALTER ROLE devflow_restore CREATEDB", wire.CodePrivilege, "may not create databases"},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, s, "postgres", c.grant)
			_, err := e.Restore(testContext(t), engine.RestoreRequest{Database: newStaging()})
			f := wantCode(t, err, c.code)
			if !strings.Contains(f.Message, c.says) || !strings.Contains(f.Hint, "ROLE") || f.Retryable {
				t.Errorf("%+v", f)
			}
			var warned bool
			for _, finding := range e.Check(testContext(t)) {
				warned = warned || finding.Name == "restore account" && finding.Level == "warning" && strings.Contains(finding.Detail, c.says)
			}
			if !warned {
				t.Error("Check does not warn")
			}
			run(t, s, "postgres", c.revoke)
		})
	}
	r, err := e.Restore(testContext(t), engine.RestoreRequest{Database: newStaging()})
	if err != nil {
		t.Fatalf("the plain role is refused: %v", err)
	}
	r.Abort()

	// Without a restore account there is no falling back to the superuser.
	cfg := config(s)
	cfg.RestoreUser, cfg.RestorePassword = "", ""
	_, err = newEngine(t, cfg).Restore(testContext(t), engine.RestoreRequest{Database: newStaging()})
	if f := wantCode(t, err, wire.CodeSuperuser); !strings.Contains(f.Hint, "CREATE ROLE devflow_restore LOGIN CREATEDB") {
		t.Errorf("%+v", f)
	}
}

func TestRestore_Extensions(t *testing.T) {
	s := server(t)
	database := newDatabase(t, `
		CREATE SCHEMA "a b"; CREATE SCHEMA "a"; CREATE TABLE a.t (n int);
		CREATE EXTENSION dblink SCHEMA "a";
		CREATE EXTENSION hstore SCHEMA "a b"; CREATE TABLE h (x "a b".hstore);
		COMMENT ON EXTENSION hstore IS 'trusted, ours'; COMMENT ON EXTENSION dblink IS 'of a superuser';
		COMMENT ON SCHEMA "a" IS 'made before'`)
	cfg := config(s)
	e := newEngine(t, cfg)
	d, err := e.Dump(testContext(t), engine.DumpRequest{Database: database})
	if err != nil {
		t.Fatal(err)
	}
	said := d.Info().Extra["extensions"]
	_ = d.Close()
	if want := []string{"dblink", "hstore"}; !reflect.DeepEqual(said, want) {
		t.Errorf("the dump says that its extensions are %q", said)
	}
	dump, want := dumpAll(t, e, database)

	cfg.AllowedExtensions = []string{"DBLINK", "dblink2"}
	_, _, err = restoreAll(t, newEngine(t, cfg), dump)
	if f := wantCode(t, err, wire.CodeNotAllowed); !strings.Contains(f.Message, `"dblink"`) || !strings.Contains(f.Hint, "restore.extensions") {
		t.Errorf("%+v", f)
	}
	if left := query[string](t, s, "postgres", "SELECT datname::text FROM pg_database WHERE starts_with(datname, $1)", engine.StagingPrefix); len(left) > 0 {
		t.Errorf("left: %q", left)
	}

	name, log, err := restoreAll(t, e, dump)
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	got, err := e.Fingerprint(testContext(t), name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := want.Diff(got); len(diff) > 0 {
		t.Errorf("fingerprint differs: %q", diff)
	}
	extensions := query[string](t, s, name, `SELECT concat_ws(' ', extname, extnamespace::regnamespace, extowner::regrole, obj_description(oid, 'pg_extension')) FROM pg_extension ORDER BY extname`)
	if want := []string{
		`dblink a postgres connect to other PostgreSQL databases from within a database`, `hstore "a b" devflow_restore trusted, ours`,
		`plpgsql pg_catalog postgres PL/pgSQL procedural language`,
	}; !slices.Equal(extensions, want) {
		t.Errorf("extensions %q", extensions)
	}
	if comment := query[string](t, s, name, `SELECT obj_description('a'::regnamespace, 'pg_namespace')`); comment[0] != "made before" {
		t.Errorf("comment %q", comment)
	}
	if owners := query[string](t, s, name, `SELECT DISTINCT nspowner::regrole::text FROM pg_namespace WHERE nspname LIKE 'a%'`); !slices.Equal(owners, []string{restoreUser}) {
		t.Errorf("owners %q", owners)
	}
}

func TestRestore_TellsWhatIsLeftOut(t *testing.T) {
	s := server(t)
	database := newDatabase(t, `SET client_min_messages = error;
		CREATE TABLE t (n int);
		CREATE PUBLICATION news FOR TABLE t; COMMENT ON PUBLICATION news IS 'x';
		CREATE PUBLICATION all_news FOR ALL TABLES;
		CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
		CREATE EVENT TRIGGER watched ON ddl_command_end EXECUTE FUNCTION watch(); COMMENT ON EVENT TRIGGER watched IS 'x';
		CREATE SUBSCRIPTION abo CONNECTION 'host=evil password=canary' PUBLICATION news WITH (connect = false, slot_name = NONE);`)
	t.Cleanup(func() { run(t, s, database, "DROP SUBSCRIPTION abo") })
	run(t, s, database, "COMMENT ON DATABASE "+database+" IS 'ours'; ALTER DATABASE "+database+" SET work_mem = '5MB'")
	e := newEngine(t, config(s))
	dump, want := dumpAll(t, e, database)
	name, log, err := restoreAll(t, e, dump)
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	for _, what := range []string{"PUBLICATION - news", "PUBLICATION - all_news", "EVENT TRIGGER - watched", "SUBSCRIPTION - abo", "ALTER DATABASE"} {
		if !strings.Contains(log, what) {
			t.Errorf("the log does not tell of %s:\n%s", what, log)
		}
	}
	if n := query[int](t, s, name, "SELECT (SELECT count(*) FROM pg_publication) + (SELECT count(*) FROM pg_event_trigger) + (SELECT count(*) FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE datname = current_database())"); n[0] != 0 {
		t.Errorf("%d were restored", n[0])
	}
	got, err := e.Fingerprint(testContext(t), name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := want.Diff(got); len(diff) > 0 {
		t.Errorf("fingerprint differs: %q", diff)
	}
}

func TestRestore_EncodingAndLocale(t *testing.T) {
	s := server(t)
	e := newEngine(t, config(s))
	kinds := []string{
		"ENCODING 'LATIN1' LOCALE 'C'", "ENCODING 'SQL_ASCII' LOCALE 'C'", "LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'", "LOCALE_PROVIDER icu ICU_LOCALE 'de-AT' LOCALE 'C.UTF-8'",
	}
	if s.Bin().Major >= 16 {
		kinds = append(kinds, "LOCALE_PROVIDER icu ICU_LOCALE 'de' ICU_RULES '&a < g' LOCALE 'C.UTF-8'")
	}
	if s.Bin().Major >= 17 {
		kinds = append(kinds, "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'")
	}
	for i, options := range kinds {
		database := fmt.Sprintf("locale_%d", i)
		run(t, s, "postgres", "CREATE DATABASE "+database+" TEMPLATE template0 "+options)
		t.Cleanup(func() { dropDatabase(t, s, database) })
		run(t, s, database, "CREATE TABLE t AS SELECT 'ä'::text AS umlaut")
		dump, _ := dumpAll(t, e, database)
		name, log, err := restoreAll(t, e, dump)
		if err != nil {
			t.Fatalf("%s: %v\n%s", options, err, log)
		}
		// Version 17 calls the locale otherwise.
		const describe = `SELECT concat_ws(' ', pg_encoding_to_char(encoding), datcollate, datctype, datlocprovider,
			coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'), to_jsonb(d) ->> 'daticurules') FROM pg_database d WHERE datname = current_database()`
		if want, got := query[string](t, s, database, describe), query[string](t, s, name, describe); want[0] != got[0] {
			t.Errorf("%s: %s, want %s", options, got, want)
		}
		const bytesOf = "SELECT convert_to(umlaut, pg_encoding_to_char(encoding)::name)::text FROM t, pg_database WHERE datname = current_database()"
		if want, got := query[string](t, s, database, bytesOf), query[string](t, s, name, bytesOf); want[0] != got[0] {
			t.Errorf("%s: %s, want %s", options, got, want)
		}
	}
}

func TestRestore_RoleOfPolicyIsMissing(t *testing.T) {
	s := pgkit.Start(t)
	makeRestoreRole(t, s)
	run(t, s, "postgres", "CREATE ROLE auditor")
	createDatabase(t, s, "source")
	run(t, s, "source", "CREATE TABLE t (n int); CREATE POLICY p ON t TO auditor USING (true)")
	e := newEngine(t, config(s))
	dump, _ := dumpAll(t, e, "source")
	run(t, s, "source", "DROP TABLE t; DROP ROLE auditor")
	_, _, err := restoreAll(t, e, dump)
	f := wantCode(t, err, wire.CodeToolFailed)
	if !strings.Contains(f.Message, "auditor") || !strings.Contains(f.Hint, "role") || f.Retryable {
		t.Errorf("%+v", f)
	}
}

// TestRestore_InAnySizes writes a dump with a long table of contents in pieces of several sizes.
func TestRestore_InAnySizes(t *testing.T) {
	var sql strings.Builder
	for i := range 1500 {
		fmt.Fprintf(&sql, "CREATE TABLE t%d (a int CHECK (a > 0), b text DEFAULT 'some text to make the table of contents longer %d'); INSERT INTO t%d VALUES (%d);", i, i, i, i+1)
	}
	s, database := server(t), newDatabase(t, sql.String())
	e := newEngine(t, config(s))
	dump, want := dumpAll(t, e, database)
	for _, size := range []int{777, 64 << 10, len(dump)} {
		name := newStaging()
		r, err := e.Restore(testContext(t), engine.RestoreRequest{Database: name})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Abort()
		if _, err := io.CopyBuffer(struct{ io.Writer }{r}, struct{ io.Reader }{bytes.NewReader(dump)}, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := e.Fingerprint(testContext(t), name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := want.Diff(got); len(diff) > 0 {
			t.Errorf("pieces of %d bytes: %q", size, diff)
		}
		r.Abort()
	}
}

func TestPublish_WhileConnected(t *testing.T) {
	s := server(t)
	e := newEngine(t, config(s))
	dump, _ := dumpAll(t, e, newDatabase(t, smallSQL))
	name, _, err := restoreAll(t, e, dump)
	if err != nil {
		t.Fatal(err)
	}
	holder := superuser(t, s, name)
	defer holder.Close(context.Background())
	f := wantCode(t, e.Publish(testContext(t), name, "not yet"), wire.CodeToolFailed)
	if !f.Retryable {
		t.Errorf("%+v", f)
	}
	// The restore account cannot end a superuser's session.
	holder.Close(context.Background())
	if err := e.Remove(testContext(t), name); err != nil {
		t.Error(err)
	}
}

// TestRemove_BusyProcess removes a database that a server process works in, which does not see for longer than the server
// waits that it is to end.
func TestRemove_BusyProcess(t *testing.T) {
	s := pgkit.Start(t)
	makeRestoreRole(t, s)
	name := newStaging()
	createDatabase(t, s, name)
	run(t, s, "postgres", "ALTER DATABASE "+name+" OWNER TO "+restoreUser)
	cfg, err := pgx.ParseConfig(s.UserDSN(restoreUser, restorePassword, name).Reveal())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	busy := int(conn.PgConn().PID())
	if err := syscall.Kill(busy, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(busy, syscall.SIGCONT) }()
	removed := make(chan error, 1)
	go func() { removed <- newEngine(t, config(s)).Remove(testContext(t), name) }()
	tries := map[string]bool{}
	enginetest.Eventually(t, "it tries again", func() bool {
		for _, start := range query[string](t, s, "postgres", "SELECT query_start::text FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'DROP DATABASE%'") {
			tries[start] = true
		}
		return len(tries) > 1 || len(removed) > 0
	})
	if err := syscall.Kill(busy, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := <-removed; err != nil {
		t.Fatal(err)
	}
	if left := query[string](t, s, "postgres", "SELECT datname::text FROM pg_database WHERE datname = $1", name); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// reader makes a backup account without superuser rights.
func reader(t *testing.T, grants string) postgres.Config {
	t.Helper()
	s := server(t)
	const user, password = "devflow_reader", secret.String("read:er")
	run(t, s, "postgres", "CREATE ROLE "+user+" LOGIN PASSWORD '"+password.Reveal()+"'; "+grants)
	t.Cleanup(func() { run(t, s, "postgres", "DROP OWNED BY "+user+"; DROP ROLE "+user) })
	cfg := config(s)
	cfg.User, cfg.Password = user, password
	return cfg
}

func TestDump_PlainRole(t *testing.T) {
	database := newDatabase(t, smallSQL)
	t.Run("ReadsAllData", func(t *testing.T) {
		e := newEngine(t, reader(t, "GRANT pg_read_all_data TO devflow_reader"))
		d, err := e.Dump(testContext(t), engine.DumpRequest{Database: database, Globals: true})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if _, err := io.Copy(io.Discard, d); err != nil {
			t.Fatal(err)
		}
		if f, err := d.Fingerprint(testContext(t)); err != nil || f.Rows() != 2000 {
			t.Errorf("%v, %v", f, err)
		}
		if globals := string(d.Globals()); !strings.Contains(globals, "CREATE ROLE "+restoreUser) {
			t.Errorf("globals: %s", globals)
		}
	})
	t.Run("HasNoRight", func(t *testing.T) {
		e := newEngine(t, reader(t, ""))
		_, err := e.Dump(testContext(t), engine.DumpRequest{Database: database})
		if f := wantCode(t, err, wire.CodePrivilege); f.Retryable {
			t.Errorf("%+v", f)
		}
		finding := findingOf(e.Check(testContext(t)), fmt.Sprintf("privileges in %q", database))
		if finding.Level != "error" || !strings.Contains(finding.Hint, `GRANT pg_read_all_data TO "devflow_reader"`) {
			t.Errorf("%+v", finding)
		}
	})
	t.Run("RowSecurityAndLargeObjects", func(t *testing.T) {
		guarded := newDatabase(t, "CREATE TABLE t (n int); ALTER TABLE t ENABLE ROW LEVEL SECURITY; SELECT lo_create(1)")
		e := newEngine(t, reader(t, "GRANT pg_read_all_data TO devflow_reader"))
		d, err := e.Dump(testContext(t), engine.DumpRequest{Database: guarded})
		if err == nil { // what it may not read comes after the first bytes
			defer d.Close()
			_, err = io.Copy(io.Discard, d)
		}
		if f := wantCode(t, err, wire.CodePrivilege); f.Hint == "" {
			t.Errorf("%+v", f)
		}
		finding := findingOf(e.Check(testContext(t)), fmt.Sprintf("privileges in %q", guarded))
		if finding.Level != "error" || !strings.Contains(finding.Detail, "1 large objects") || !strings.Contains(finding.Detail, "1 tables with row security") {
			t.Errorf("%+v", finding)
		}
	})
	t.Run("MayNotConnect", func(t *testing.T) {
		closed := newDatabase(t, "")
		run(t, server(t), closed, "REVOKE CONNECT ON DATABASE "+closed+" FROM PUBLIC")
		e := newEngine(t, reader(t, ""))
		_, err := e.Dump(testContext(t), engine.DumpRequest{Database: closed})
		wantCode(t, err, wire.CodePrivilege)
		found, err := e.Discover(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(found, func(d wire.Database) bool { return d.Name == closed })
		if i < 0 || found[i].SizeBytes != 0 {
			t.Errorf("%+v", found)
		}
	})
}

func findingOf(findings []engine.Finding, name string) engine.Finding {
	for _, f := range findings {
		if f.Name == name {
			return f
		}
	}
	return engine.Finding{}
}

// TestDump_Snapshot writes before pg_dump has connected: fingerprint and dump are of the moment before.
func TestDump_Snapshot(t *testing.T) {
	s, database := server(t), newDatabase(t, wide)
	gate := filepath.Join(t.TempDir(), "gate")
	fake := fakedump.Install(t, "pg_dump", fakedump.Script{Real: realTool(t, "pg_dump"), WaitFor: gate})
	cfg := config(s)
	cfg.BinDirs = []string{fake.Dir()}
	type result struct {
		dump        []byte
		fingerprint *wire.Fingerprint
		err         error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() { done <- r }()
		var d engine.Dump
		if d, r.err = newEngine(t, cfg).Dump(testContext(t), engine.DumpRequest{Database: database}); r.err != nil {
			return
		}
		defer d.Close()
		if r.dump, r.err = io.ReadAll(d); r.err == nil {
			r.fingerprint, r.err = d.Fingerprint(testContext(t))
		}
	}()
	enginetest.Eventually(t, "pg_dump is started", func() bool { return len(fake.Runs()) > 0 })
	run(t, s, database, "DELETE FROM wide WHERE id > 100; CREATE TABLE later (n int); INSERT INTO wide VALUES (-1, '')")
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	if r.fingerprint.Rows() != 10000 || len(r.fingerprint.Tables) != 1 {
		t.Errorf("%+v", r.fingerprint)
	}
	e := newEngine(t, config(s))
	name, _, err := restoreAll(t, e, r.dump)
	if err != nil {
		t.Fatal(err)
	}
	got, err := e.Fingerprint(testContext(t), name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := r.fingerprint.Diff(got); len(diff) > 0 {
		t.Errorf("fingerprint differs: %q", diff)
	}
}

func TestDump_Globals(t *testing.T) {
	s, database := server(t), newDatabase(t, "")
	d, err := newEngine(t, config(s)).Dump(testContext(t), engine.DumpRequest{Database: database, Globals: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	globals := string(d.Globals())
	if !strings.Contains(globals, "CREATE ROLE devflow_restore;") || strings.Contains(globals, "PASSWORD") || strings.Contains(globals, "SCRAM-SHA-256") {
		t.Errorf("globals: %s", globals)
	}
}

func TestNew(t *testing.T) {
	good := postgres.Config{Name: "main", User: "postgres"}
	for name, change := range map[string]func(*postgres.Config){
		"NoUser":       func(c *postgres.Config) { c.User = "" },
		"TwoHosts":     func(c *postgres.Config) { c.Host = "a,b" },
		"Port":         func(c *postgres.Config) { c.Port = 70000 },
		"SSLMode":      func(c *postgres.Config) { c.SSLMode = "on" },
		"SSLRootCert":  func(c *postgres.Config) { c.SSLRootCert = "ca.crt" },
		"PasswordLine": func(c *postgres.Config) { c.Password = "canary\nx" },
		"UserZero":     func(c *postgres.Config) { c.User = "a\x00b" },
	} {
		cfg := good
		change(&cfg)
		_, err := postgres.New(cfg, nil)
		if err == nil || !strings.Contains(err.Error(), `"main"`) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := postgres.New(good, nil); err != nil {
		t.Error(err)
	}
}

func TestDiscover_IncludeAndExclude(t *testing.T) {
	s := server(t)
	for _, name := range []string{"shop_a", "shop_b", "Shop_c", "shop_*", "other"} {
		createDatabase(t, s, name)
		t.Cleanup(func() { dropDatabase(t, s, name) })
	}
	for _, c := range []struct {
		include, exclude, want []string
	}{
		{[]string{"shop_?"}, nil, []string{"shop_*", "shop_a", "shop_b"}},
		{[]string{"*shop_*"}, []string{"*b", "shop_[*]"}, []string{"shop_*", "shop_a"}},
		{[]string{"other", "Shop*"}, []string{"O*"}, []string{"Shop_c", "other"}},
		{[]string{"none"}, nil, nil},
	} {
		cfg := config(s)
		cfg.Include, cfg.Exclude = c.include, c.exclude
		e := newEngine(t, cfg)
		found, err := e.Discover(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, d := range found {
			names = append(names, d.Name)
		}
		slices.Sort(names)
		if !slices.Equal(names, c.want) {
			t.Errorf("include %q, exclude %q: %q, want %q", c.include, c.exclude, names, c.want)
		}
		_, err = e.Dump(testContext(t), engine.DumpRequest{Database: "postgres"})
		wantCode(t, err, wire.CodeNotAllowed)
	}
}
