package mysql_test

import (
	"database/sql"
	"io"
	"slices"
	"strings"
	"testing"

	driver "github.com/go-sql-driver/mysql"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engine/mysql"
	"devflowbackup/shared/mysqlserver"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/mysqlkit"
	"devflowbackup/shared/wire"
)

const setUpPassword secret.String = "set-up"

// setUp runs the printed script as root, and is the configuration that goes with it.
func setUp(t *testing.T, s *mysqlserver.Server, r engine.SetupRequest) mysql.Config {
	t.Helper()
	r.MariaDB = s.Bin().Flavour == mysqlserver.MariaDB
	mysqlkit.Exec(t, s, "", strings.ReplaceAll(mysql.Setup(r).String(), engine.Password, "'"+setUpPassword.Reveal()+"'"))
	cfg := config(s)
	cfg.Host, cfg.Include = s.Socket(), []string{"my_shop"}
	cfg.User, cfg.Password, cfg.RestoreUser, cfg.RestorePassword = engine.BackupUser, setUpPassword, engine.RestoreUser, setUpPassword
	cfg.SwapUser, cfg.SwapPassword = "", ""
	if r.InPlace {
		cfg.SwapUser, cfg.SwapPassword = engine.SwapUser, setUpPassword
	}
	return cfg
}

// TestSetup_Privileges: with the script everything works, and without any one of its grants something does not, and Check or a plan names
// just that grant.
func TestSetup_Privileges(t *testing.T) {
	t.Parallel()
	s := mysqlkit.Start(t)
	run(t, s, "", "CREATE DATABASE my_shop")
	run(t, s, "my_shop", "CREATE TABLE item (id int PRIMARY KEY, name text)", "INSERT INTO item VALUES (1, 'x')")
	request := engine.SetupRequest{InPlace: true, Databases: []string{"my_shop"}}
	e := newEngine(t, setUp(t, s, request))
	setUp(t, s, request) // again
	hints := func() (all []string) {
		for _, f := range e.Check(testContext(t)) {
			if f.Level != "ok" && f.Name != "net_write_timeout" && !strings.HasPrefix(f.Name, "left") {
				all = append(all, f.Hint)
			}
		}
		for _, req := range []engine.InspectRequest{{Target: "my_shop", InPlace: true}, {Target: "restored_1"}} {
			for _, p := range inspect(t, e, req).Problems {
				all = append(all, p.Hint)
			}
		}
		return all
	}
	if found := hints(); len(found) > 0 {
		t.Fatalf("after the script: %q", found)
	}
	dump := func() error {
		d, err := e.Dump(testContext(t), engine.DumpRequest{Database: "my_shop"})
		if err != nil {
			return err
		}
		defer d.Close()
		_, err = io.Copy(io.Discard, d)
		return err
	}
	stored, _ := readAll(t, e, "my_shop")
	restore := func() error {
		w, err := e.Restore(testContext(t), engine.RestoreRequest{Database: newStaging()})
		if err == nil {
			w.Abort()
		}
		return err
	}
	staging, _, err := restoreTo(t, e, stored)
	if err != nil {
		t.Fatal(err)
	}
	publish := func() error { return e.Publish(testContext(t), staging, "restored_1") }
	swap := func() error {
		plan := inspect(t, e, engine.InspectRequest{Target: "my_shop", InPlace: true})
		for _, p := range plan.Problems {
			if p.Stops {
				return wire.Failf(p.Code, "%s", p.Text)
			}
		}
		_, err := e.Swap(testContext(t), engine.SwapRequest{Staged: staging, Target: "my_shop", Keep: engine.KeptPrefix + "1", Identity: plan.Identity})
		return err
	}
	exact := func() error { // without the lock a backup is made, and tells that its counts are not exact
		d, err := e.Dump(testContext(t), engine.DumpRequest{Database: "my_shop"})
		if err != nil {
			return err
		}
		defer d.Close()
		if _, err := io.Copy(io.Discard, d); err != nil {
			return err
		}
		f, err := d.Fingerprint(testContext(t))
		if err == nil && !f.Exact {
			return wire.Failf(wire.CodePrivilege, "approximate")
		}
		return err
	}
	const backup, restorer, swapper = "'devflow_backup'@'localhost'", "'devflow_restore'@'localhost'", "'devflow_swap'@'localhost'"
	fails := map[string]func() error{
		"SELECT": dump, "SHOW VIEW": dump, "TRIGGER": dump, "EVENT": dump, "RELOAD": exact, "PROCESS": swap,
		restorer + allStaging: restore, restorer + "`restored\\_%`.*": publish,
		swapper + allStaging: swap, swapper + allKept: swap, swapper + "`my\\_shop`.*": swap, "SET USER": nil, "SET_ANY_DEFINER": nil,
	}
	for _, step := range mysql.Setup(engine.SetupRequest{MariaDB: s.Bin().Flavour == mysqlserver.MariaDB, InPlace: true, Databases: request.Databases}).Steps {
		list, rest, ok := strings.Cut(strings.TrimPrefix(step.Do, "GRANT "), " ON ")
		if step.Option || !ok {
			continue
		}
		on, who, _ := strings.Cut(rest, " TO ")
		rights := strings.Split(list, ", ")
		if rights[0] == "SET_ANY_DEFINER" {
			rights = rights[:1]
		}
		for _, right := range rights {
			key := right
			if right == "ALL PRIVILEGES" {
				key = who + on
			}
			fail, known := fails[key]
			if !known {
				t.Errorf("no test takes %s on %s from %s", right, on, who)
				continue
			}
			grant := "GRANT " + right + " ON " + on + " TO " + who
			run(t, s, "", "REVOKE "+right+" ON "+on+" FROM "+who)
			if fail != nil {
				if err := fail(); !wire.HasCode(err, wire.CodePrivilege) {
					t.Errorf("without %s: %v", grant, err)
				}
			}
			found := hints()
			named := func(right, who string) bool {
				return slices.ContainsFunc(found, func(hint string) bool {
					statement := "GRANT " + right + " ON "
					if right == "SET_ANY_DEFINER" { // what goes with it is granted with it
						statement = "GRANT " + right + ", "
					}
					return strings.Contains(hint, statement) && strings.Contains(hint, "TO "+who)
				})
			}
			if !named(right, who) {
				t.Errorf("without %s: %q", grant, found)
			}
			for _, other := range []string{"SELECT", "SHOW VIEW", "TRIGGER", "EVENT", "RELOAD", "PROCESS"} {
				if other != right && named(other, backup) {
					t.Errorf("without %s, %s is named too: %q", grant, other, found)
				}
			}
			run(t, s, "", grant)
		}
	}
	if found := hints(); len(found) > 0 {
		t.Errorf("with all grants back: %q", found)
	}
	if err := swap(); err != nil {
		t.Errorf("with all grants back: %v", err)
	}
}

// TestSetup_NothingMore: what the accounts must not be able to do.
func TestSetup_NothingMore(t *testing.T) {
	t.Parallel()
	s := mysqlkit.Start(t)
	run(t, s, "", "CREATE DATABASE my_shop", "CREATE DATABASE myxshop")
	run(t, s, "my_shop", "CREATE TABLE item (id int)")
	run(t, s, "myxshop", "CREATE TABLE item (id int)")
	setUp(t, s, engine.SetupRequest{InPlace: true, Databases: []string{"my_shop"}})
	server := []string{"SHUTDOWN", "CREATE USER mine", "SET GLOBAL max_connections = 1", "SELECT 1 INTO OUTFILE '/tmp/mine'", "GRANT SELECT ON *.* TO 'devflow_restore'@'localhost'", "DROP DATABASE mysql"}
	for user, statements := range map[string][]string{
		engine.BackupUser:  {"INSERT INTO my_shop.item VALUES (1)", "DROP TABLE my_shop.item", "CREATE DATABASE mine", "CREATE DATABASE devflow_staging_1"},
		engine.RestoreUser: {"SELECT * FROM my_shop.item", "INSERT INTO my_shop.item VALUES (1)", "DROP DATABASE my_shop", "CREATE DATABASE mine", "SELECT * FROM mysql.global_priv"},
		engine.SwapUser:    {"SELECT * FROM myxshop.item", "DROP DATABASE myxshop", "CREATE DATABASE mine"},
	} {
		cfg := driver.NewConfig()
		cfg.Net, cfg.Addr, cfg.User, cfg.Passwd = "unix", s.Socket(), user, setUpPassword.Reveal()
		connector, err := driver.NewConnector(cfg)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(connector)
		for _, statement := range slices.Concat(statements, server) {
			if _, err := db.ExecContext(testContext(t), statement); err == nil {
				t.Errorf("%s may %s", user, statement)
			} else if !strings.Contains(err.Error(), "denied") {
				t.Errorf("%s: %s: %v", user, statement, err)
			}
		}
		_ = db.Close()
	}
}
