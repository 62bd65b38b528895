package postgres_test

import (
	"io"
	"slices"
	"strings"
	"testing"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engine/postgres"
	"devflowbackup/shared/pgserver"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/pgkit"
	"devflowbackup/shared/wire"
)

// setUp runs the printed script as the superuser, and is the configuration that goes with it.
func setUp(t *testing.T, s *pgserver.Server, r engine.SetupRequest) postgres.Config {
	t.Helper()
	const password secret.String = "set-up"
	run(t, s, "postgres", strings.ReplaceAll(postgres.Setup(r).String(), engine.Password, "'"+password.Reveal()+"'"))
	cfg := config(s)
	cfg.User, cfg.Password, cfg.RestoreUser, cfg.RestorePassword = engine.BackupUser, password, engine.RestoreUser, password
	cfg.Include = []string{"shop"}
	return cfg
}

func dumped(t *testing.T, e *postgres.Engine, database string) error {
	t.Helper()
	d, err := e.Dump(testContext(t), engine.DumpRequest{Database: database, Globals: true})
	if err != nil {
		return err
	}
	defer d.Close()
	_, err = io.Copy(io.Discard, d)
	return err
}

// TestSetup_Privileges: with the script everything works, and without any one of its grants something does not, and Check or a plan names
// just that grant.
func TestSetup_Privileges(t *testing.T) {
	t.Parallel()
	s := pgkit.Start(t)
	run(t, s, "postgres", "CREATE ROLE owner")
	run(t, s, "postgres", "CREATE DATABASE shop OWNER owner")
	run(t, s, "shop", `CREATE TABLE public.item (id int PRIMARY KEY, name text); INSERT INTO item SELECT n, 'x' FROM generate_series(1, 100) n; ALTER TABLE item OWNER TO owner;
		CREATE ROLE clerk; CREATE TABLE hers (id int); ALTER TABLE hers OWNER TO clerk`)
	request := engine.SetupRequest{InPlace: true, Databases: []string{"shop"}}
	e := newEngine(t, setUp(t, s, request))
	setUp(t, s, request) // again
	hints := func() (all []string) {
		for _, f := range e.Check(testContext(t)) {
			if f.Level != "ok" {
				all = append(all, f.Hint)
			}
		}
		for _, p := range inspect(t, e, engine.InspectRequest{Target: "shop", InPlace: true}).Problems {
			all = append(all, p.Hint)
		}
		return all
	}
	if found := hints(); len(found) > 0 {
		t.Fatalf("after the script: %q", found)
	}
	dump := func() error { return dumped(t, e, "shop") }
	restore := func() error {
		w, err := e.Restore(testContext(t), engine.RestoreRequest{Database: newStaging()})
		if err == nil {
			w.Abort()
		}
		return err
	}
	request2 := staged(t, e, "shop")
	swapOnce := func() error {
		_, err := e.Swap(testContext(t), request2)
		return err
	}
	if err := dump(); err != nil {
		t.Fatal(err)
	}
	granted := map[string]struct {
		revoke string
		fails  func() error
	}{
		`GRANT pg_read_all_data TO "devflow_backup"`:  {"REVOKE pg_read_all_data FROM devflow_backup", dump},
		`ALTER ROLE "devflow_restore" CREATEDB`:       {"ALTER ROLE devflow_restore NOCREATEDB", restore},
		`ALTER ROLE "devflow_backup" CREATEDB`:        {"ALTER ROLE devflow_backup NOCREATEDB", swapOnce},
		`GRANT "devflow_restore" TO "devflow_backup"`: {"REVOKE devflow_restore FROM devflow_backup", swapOnce},
		`GRANT "owner" TO "devflow_backup"`:           {"REVOKE owner FROM devflow_backup", swapOnce},
	}
	for grant, c := range granted {
		run(t, s, "postgres", c.revoke)
		if err := c.fails(); !wire.HasCode(err, wire.CodePrivilege) {
			t.Errorf("without %s: %v", grant, err)
		}
		found := hints()
		if !slices.ContainsFunc(found, func(hint string) bool { return strings.Contains(hint, "run "+grant) }) {
			t.Errorf("without %s: %q", grant, found)
		}
		for other := range granted {
			if other != grant && slices.ContainsFunc(found, func(hint string) bool { return strings.Contains(hint, other) }) {
				t.Errorf("without %s, %s is named too: %q", grant, other, found)
			}
		}
		run(t, s, "postgres", grant)
	}
	// All grants of the script are in the table: one that is new needs a case.
	for _, step := range postgres.Setup(request).Steps {
		if sql := step.Do; step.Kind == engine.StepSQL && !step.Option && !strings.Contains(sql, "CREATE ROLE") && !strings.Contains(sql, "'GRANT ") {
			if _, ok := granted[sql]; !ok {
				t.Errorf("no test takes %s away", sql)
			}
		}
	}
	if err := swapOnce(); err != nil {
		t.Errorf("with all grants back: %v", err)
	}
}

// TestSetup_NothingMore: what the accounts must not be able to do.
func TestSetup_NothingMore(t *testing.T) {
	t.Parallel()
	s := pgkit.Start(t)
	run(t, s, "postgres", "CREATE ROLE owner")
	run(t, s, "postgres", "CREATE DATABASE shop OWNER owner")
	run(t, s, "shop", "CREATE TABLE public.item (id int); ALTER TABLE item OWNER TO owner")
	cfg := setUp(t, s, engine.SetupRequest{})
	for user, statements := range map[string][]string{
		engine.BackupUser: {
			"INSERT INTO item VALUES (1)", "DROP TABLE item", "CREATE TABLE mine (n int)", "CREATE DATABASE mine", "CREATE ROLE mine", "DROP DATABASE shop",
			"COPY item TO PROGRAM 'true'", "SELECT pg_read_file('/etc/passwd')", "SET ROLE owner", "SET ROLE devflow_restore", "ALTER SYSTEM SET work_mem = '1MB'",
		},
		engine.RestoreUser: {
			"SELECT * FROM item", "INSERT INTO item VALUES (1)", "DROP TABLE item", "CREATE ROLE mine", "DROP DATABASE shop", "COPY item TO PROGRAM 'true'",
			"SELECT pg_read_file('/etc/passwd')", "SELECT rolpassword FROM pg_authid", "SET ROLE owner", "SET ROLE devflow_backup",
		},
	} {
		conn := connectAs(t, s, user, cfg.Password.Reveal(), "shop")
		for _, sql := range statements {
			if _, err := conn.Exec(testContext(t), sql); err == nil {
				t.Errorf("%s may %s", user, sql)
			} else if text := err.Error(); !strings.Contains(text, "permission denied") && !strings.Contains(text, "must be") {
				t.Errorf("%s: %s: %v", user, sql, err)
			}
		}
		_ = conn.Close(testContext(t))
	}
	// A superuser's databases give no superuser's rights.
	run(t, s, "postgres", "CREATE DATABASE highest")
	steps := postgres.Setup(engine.SetupRequest{InPlace: true, Databases: []string{"highest"}}).Steps
	i := slices.IndexFunc(steps, func(step engine.Step) bool { return strings.Contains(step.Do, "'GRANT ") })
	conn := superuser(t, s, "postgres")
	defer conn.Close(testContext(t))
	if _, err := conn.Exec(testContext(t), steps[i].Do); err == nil || !strings.Contains(err.Error(), "a superuser owns the database highest") {
		t.Errorf("%v", err)
	}
}
