package postgres_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engine/enginetest"
	"devflowbackup/agent/internal/engine/postgres"
	"devflowbackup/agent/internal/engine/tool"
	"devflowbackup/shared/pgserver"
	"devflowbackup/shared/testkit/fakedump"
	"devflowbackup/shared/testkit/pgkit"
	"devflowbackup/shared/wire"
)

func wantCode(t *testing.T, err error, code string) *wire.Failure {
	t.Helper()
	if !wire.HasCode(err, code) {
		t.Fatalf("error %v, want code %s", err, code)
	}
	for _, secret := range []string{restorePassword.Reveal(), wrongPassword.Reveal()} {
		if strings.Contains(err.Error(), secret) {
			t.Error("the error holds a password")
		}
	}
	return wire.AsFailure(err)
}

func noProcesses(t *testing.T) {
	t.Helper()
	if left := enginetest.Processes(t, isServer); len(left) > 0 {
		t.Errorf("processes are left: %q", left)
	}
}

// wide is a database whose dump does not fit into pipes, so that it is under way for as long as nobody reads.
const wide = `CREATE TABLE wide AS SELECT g AS id, repeat(md5(g::text), 100) AS text FROM generate_series(1, 10000) g`

// halfRead opens a dump and reads some of it.
func halfRead(t *testing.T, e engine.Engine, database string) engine.Dump {
	t.Helper()
	d, err := e.Dump(testContext(t), engine.DumpRequest{Database: database})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close(); noProcesses(t) })
	if _, err := io.CopyN(io.Discard, d, 1<<20); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDump_BackendTerminated(t *testing.T) { // fault 54
	s, database := server(t), newDatabase(t, wide)
	d := halfRead(t, newEngine(t, config(s)), database)
	ended := query[bool](t, s, "postgres", `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = $1 AND application_name = 'devflow-agent pg_dump'`, database)
	if !slices.Equal(ended, []bool{true}) {
		t.Fatalf("the fault did not fire: %v", ended)
	}
	_, err := io.Copy(io.Discard, d)
	if f := wantCode(t, err, wire.CodeToolFailed); !f.Retryable || !strings.Contains(f.Message, "connection") {
		t.Errorf("%+v", f)
	}
}

func TestDump_ServerKilled(t *testing.T) { // fault 54
	s := pgkit.Start(t)
	createDatabase(t, s, "killed")
	run(t, s, "killed", wide)
	d := halfRead(t, newEngine(t, config(s)), "killed")
	if err := s.Restart(testContext(t), true); err != nil {
		t.Fatal(err)
	}
	_, err := io.Copy(io.Discard, d)
	if f := wantCode(t, err, wire.CodeToolFailed); !f.Retryable {
		t.Errorf("%+v", f)
	}
	if _, err := d.Fingerprint(testContext(t)); err != nil {
		wantCode(t, err, wire.CodeDatabaseDown)
	}
}

func TestDump_DatabaseDropped(t *testing.T) { // fault 55
	s, database := server(t), newDatabase(t, wide)
	e := newEngine(t, config(s))
	d := halfRead(t, e, database)
	dropDatabase(t, s, database)
	_, err := io.Copy(io.Discard, d)
	wantCode(t, err, wire.CodeDatabaseMissing)
	_, err = e.Dump(testContext(t), engine.DumpRequest{Database: database})
	if f := wantCode(t, err, wire.CodeDatabaseMissing); f.Retryable || f.Hint == "" {
		t.Errorf("%+v", f)
	}
	noProcesses(t)
}

func TestDump_TableLocked(t *testing.T) { // fault 56
	s, database := server(t), newDatabase(t, wide)
	holder := superuser(t, s, database)
	defer holder.Close(context.Background())
	if _, err := holder.Exec(testContext(t), "BEGIN; LOCK TABLE wide IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	cfg := config(s)
	cfg.LockTimeout = 300 * time.Millisecond
	started := time.Now()
	_, err := newEngine(t, cfg).Dump(testContext(t), engine.DumpRequest{Database: database})
	if f := wantCode(t, err, wire.CodeLockTimeout); !f.Retryable || f.Hint == "" {
		t.Errorf("%+v", f)
	}
	if waited := time.Since(started); waited > 30*time.Second {
		t.Errorf("waited %s for the lock", waited)
	}
	noProcesses(t)
	if _, err := holder.Exec(testContext(t), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	halfRead(t, newEngine(t, cfg), database)
}

func TestDump_ToolVersion(t *testing.T) { // fault 57
	s, database := server(t), newDatabase(t, smallSQL)
	major := s.Bin().Major
	t.Run("Older", func(t *testing.T) {
		fake := fakedump.Install(t, "pg_dump", fakedump.Script{Version: "pg_dump (PostgreSQL) 9.6.24", Stdout: "PGDMP"})
		cfg := config(s)
		cfg.BinDirs = []string{fake.Dir()}
		e := newEngine(t, cfg)
		_, err := e.Dump(testContext(t), engine.DumpRequest{Database: database})
		f := wantCode(t, err, wire.CodeToolTooOld)
		if !strings.Contains(f.Message, "9.6.24") || !strings.Contains(f.Message, fmt.Sprintf("version %d", major)) ||
			!strings.Contains(f.Hint, fmt.Sprintf("apt install postgresql-client-%d", major)) {
			t.Errorf("%+v", f)
		}
		if runs := fake.Runs(); len(runs) > 0 {
			t.Errorf("it was run: %+v", runs)
		}
		var told bool
		for _, finding := range e.Check(testContext(t)) {
			told = told || finding.Name == "tool pg_dump" && finding.Level == "error" && strings.Contains(finding.Detail, "9.6.24")
		}
		if !told {
			t.Error("Check does not tell")
		}
	})
	t.Run("Missing", func(t *testing.T) {
		cfg := config(s)
		cfg.BinDirs = []string{t.TempDir()}
		_, err := newEngine(t, cfg).Dump(testContext(t), engine.DumpRequest{Database: database})
		if f := wantCode(t, err, wire.CodeToolMissing); f.Hint == "" {
			t.Errorf("%+v", f)
		}
	})
	t.Run("NearestIsChosen", func(t *testing.T) {
		var dirs []string
		fakes := map[string]*fakedump.Fake{}
		fits := fmt.Sprintf("%d.3", major)
		for version, program := range map[string]string{
			fmt.Sprintf("%d.1", major-1): "", fits: realTool(t, "pg_dump"), fmt.Sprintf("%d.2", major+2): "", fmt.Sprintf("%dbeta1", major+3): "",
		} {
			fakes[version] = fakedump.Install(t, "pg_dump", fakedump.Script{Version: "pg_dump (PostgreSQL) " + version, Real: program, Exit: 0})
			dirs = append(dirs, fakes[version].Dir())
		}
		cfg := config(s)
		cfg.BinDirs = dirs
		d, err := newEngine(t, cfg).Dump(testContext(t), engine.DumpRequest{Database: database})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if d.Info().ToolVersion != fits || len(fakes[fits].Runs()) != 1 {
			t.Errorf("%+v", d.Info())
		}
	})
}

func TestDump_ProgramSeesNoNameAndNoPassword(t *testing.T) { // fault 59
	s := server(t)
	const database = "host=evil"
	createDatabase(t, s, database)
	t.Cleanup(func() { dropDatabase(t, s, database) })
	fake := fakedump.Install(t, "pg_dump", fakedump.Script{Real: realTool(t, "pg_dump")})
	fake.Add("pg_restore", fakedump.Script{Real: realTool(t, "pg_restore")})
	fake.Add("pg_dumpall", fakedump.Script{Real: realTool(t, "pg_dumpall")})
	t.Setenv("PGHOST", "evil.example")
	t.Setenv("PGOPTIONS", "-c search_path=evil")
	t.Setenv("PGPASSWORD", "evil")
	cfg := config(s)
	cfg.BinDirs = []string{fake.Dir()}
	e := newEngine(t, cfg)
	d, err := e.Dump(testContext(t), engine.DumpRequest{Database: database})
	if err != nil {
		t.Fatal(err)
	}
	dump, err := io.ReadAll(d)
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	r, err := e.Restore(testContext(t), engine.RestoreRequest{Database: newStaging()})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Abort()
	if _, err := r.Write(dump); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	allowed := []string{
		"PATH", "LC_ALL", "PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGPASSFILE", "PGSSLMODE", "PGCONNECT_TIMEOUT", "PGAPPNAME",
		"PWD", // of the fake's own shell
	}
	runs := fake.Runs()
	if len(runs) < 3 {
		t.Fatalf("programs were not run: %+v", runs)
	}
	for _, run := range runs {
		for _, arg := range run.Args {
			if strings.Contains(arg, "evil") {
				t.Errorf("%s has the argument %q", run.Name, arg)
			}
		}
		buffered := 0
		for _, v := range run.Env {
			if slices.Contains(tool.OutputBuffering(), v) {
				buffered++
				continue
			}
			name, value, _ := strings.Cut(v, "=")
			if !slices.Contains(allowed, name) || name != "PGDATABASE" && strings.Contains(value, "evil") || strings.Contains(value, s.Password().Reveal()) {
				t.Errorf("%s has the environment %s", run.Name, name)
			}
		}
		if (buffered == 2) != (run.Name == "pg_dump") || buffered == 1 {
			t.Errorf("%s has %d variables for a larger buffer", run.Name, buffered)
		}
	}
}

func TestConnect_Unreachable(t *testing.T) {
	cfg := config(server(t))
	cfg.Port = 1
	_, err := newEngine(t, cfg).Discover(testContext(t))
	if f := wantCode(t, err, wire.CodeDatabaseDown); !f.Retryable || f.Hint == "" {
		t.Errorf("%+v", f)
	}
	cfg.Host = t.TempDir()
	_, err = newEngine(t, cfg).Dump(testContext(t), engine.DumpRequest{Database: "x"})
	wantCode(t, err, wire.CodeDatabaseDown)
}

func TestConnect_Socket(t *testing.T) {
	s, database := server(t), newDatabase(t, smallSQL)
	cfg := config(s)
	cfg.Host = s.SocketDir()
	d, err := newEngine(t, cfg).Dump(testContext(t), engine.DumpRequest{Database: database})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := io.Copy(io.Discard, d); err != nil {
		t.Error(err)
	}
}

func TestRestore_WrongPassword(t *testing.T) { // fault 58
	cfg := config(server(t))
	cfg.RestorePassword = wrongPassword
	_, err := newEngine(t, cfg).Restore(testContext(t), engine.RestoreRequest{Database: newStaging()})
	wantCode(t, err, wire.CodeAuth)
}

func TestTLS(t *testing.T) { // fault 58
	ours, theirs := enginetest.NewAuthority(t), enginetest.NewAuthority(t)
	s := pgkit.Start(t, func(o *pgserver.Options) {
		cert, key := filepath.Join(o.Dir, "server.crt"), filepath.Join(o.Dir, "server.key")
		ours.Issue(t, cert, key, "db.example", "postgres", "nobody")
		o.Settings["ssl"], o.Settings["ssl_cert_file"], o.Settings["ssl_key_file"] = "on", cert, key
	})
	plain := pgkit.Shared(t) // speaks no TLS
	createDatabase(t, s, "secure")
	// More than the pipe takes: the dump still runs when its connections are looked at.
	if _, err := s.Exec(testContext(t), "secure", "CREATE TABLE t AS SELECT repeat(md5(g::text), 100) FROM generate_series(1, 5000) g"); err != nil {
		t.Fatal(err)
	}
	base := config(s)
	base.Host = "localhost"
	for name, c := range map[string]struct {
		change func(c *postgres.Config)
		code   string
	}{
		"Authority":       {func(c *postgres.Config) { c.SSLMode = "verify-ca" }, ""},
		"WrongName":       {func(c *postgres.Config) { c.SSLMode = "verify-full" }, wire.CodeTLS},
		"ForeignCA":       {func(c *postgres.Config) { c.SSLMode, c.SSLRootCert = "verify-ca", theirs.Path }, wire.CodeTLS},
		"NoFile":          {func(c *postgres.Config) { c.SSLMode, c.SSLRootCert = "verify-ca", "/no/such/file" }, wire.CodeTLS},
		"NotOffered":      {func(c *postgres.Config) { c.SSLMode, c.Port = "verify-ca", plain.Port() }, wire.CodeTLS},
		"NotAsked":        {func(c *postgres.Config) { c.SSLMode, c.SSLRootCert = "require", "" }, ""},
		"SystemAuthority": {func(c *postgres.Config) { c.SSLMode, c.SSLRootCert = "verify-full", "" }, wire.CodeTLS},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := base
			cfg.SSLRootCert = ours.Path
			c.change(&cfg)
			d, err := newEngine(t, cfg).Dump(testContext(t), engine.DumpRequest{Database: "secure"})
			if c.code != "" {
				if f := wantCode(t, err, c.code); f.Retryable || f.Hint == "" {
					t.Errorf("%+v", f)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			encrypted := query[bool](t, s, "postgres", `SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
				WHERE datname = 'secure' AND application_name LIKE 'devflow-agent%'`)
			if len(encrypted) == 0 || slices.Contains(encrypted, false) {
				t.Errorf("connections are not encrypted: %v", encrypted)
			}
			if _, err := io.Copy(io.Discard, d); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRestore_HostileDump covers fault 81: what a dump runs, it runs as a role that can do nothing to the server.
func TestRestore_HostileDump(t *testing.T) {
	s := server(t)
	canaries, err := os.MkdirTemp("/tmp", "canary-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(canaries) })
	if err := os.Chmod(canaries, 0o777); err != nil {
		t.Fatal(err)
	}
	canary := filepath.Join(canaries, "canary")
	database := newDatabase(t, `
		CREATE TABLE log (n int);
		CREATE FUNCTION evil(n int) RETURNS bool LANGUAGE plpgsql AS $$
		BEGIN
			IF n = 666 THEN RETURN true; END IF;
			EXECUTE 'COPY (SELECT 1) TO PROGRAM ''cat >`+canary+`''';
			RETURN true;
		END $$;
		CREATE TABLE trap (n int);
		INSERT INTO trap VALUES (1);
		ALTER TABLE trap ADD CHECK (evil(n)) NOT VALID;`)
	e := newEngine(t, config(s))
	d, err := e.Dump(testContext(t), engine.DumpRequest{Database: database})
	if err != nil {
		t.Fatal(err)
	}
	dump, err := io.ReadAll(d)
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	if _, err := os.Lstat(canary); err == nil {
		t.Fatal("the dump ran the program")
	}
	// NOT VALID constraints come after the data; this one is made valid, as an attacker would write it.
	dump = []byte(strings.Replace(string(dump), "CHECK (public.evil(n)) NOT VALID;", "CHECK (public.evil(n))          ;", 1))
	r, err := e.Restore(testContext(t), engine.RestoreRequest{Database: newStaging()})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Abort()
	_, err = r.Write(dump)
	if err == nil {
		err = r.Close()
	}
	f := wantCode(t, err, wire.CodePrivilege)
	// The trap was stepped into, and held.
	if !strings.Contains(f.Message, "evil") && !strings.Contains(f.Message, "external program") {
		t.Errorf("the fault did not fire: %v", f)
	}
	if _, err := os.Lstat(canary); err == nil {
		t.Fatal("the dump ran a program on the server")
	}
	// As a superuser it would have worked.
	run(t, s, database, `SET client_min_messages = error; SELECT evil(1)`)
	if _, err := os.Lstat(canary); err != nil {
		t.Fatalf("the trap does not work: %v", err)
	}
}
