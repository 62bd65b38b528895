package e2e_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/testkit/fakedump"
	"devflowbackup/shared/testkit/s3kit"
	"devflowbackup/shared/wire"
)

// objectsSQL fills a database of an engine with a little of each kind of object that a swap has to move.
var objectsSQL = map[string]string{
	wire.EnginePostgreSQL: fewRows + `
		CREATE VIEW named AS SELECT * FROM people WHERE name <> '';
		CREATE FUNCTION loud() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := upper(NEW.name); RETURN NEW; END $$;
		CREATE TRIGGER loud BEFORE INSERT ON people FOR EACH ROW EXECUTE FUNCTION loud();`,
	wire.EngineMySQL: fewRows + `
		CREATE VIEW named AS SELECT * FROM people WHERE name <> '';
		CREATE FUNCTION twice(n int) RETURNS int DETERMINISTIC RETURN 2 * n;
		CREATE TRIGGER loud BEFORE INSERT ON people FOR EACH ROW SET NEW.name = upper(NEW.name);
		CREATE EVENT yearly ON SCHEDULE EVERY 1 YEAR STARTS '2035-01-01 00:00:00' DO DELETE FROM people WHERE id < 0;`,
	wire.EngineSQLite: fewRows + `
		CREATE VIEW named AS SELECT * FROM people WHERE name <> '';
		CREATE TRIGGER loud AFTER INSERT ON people BEGIN UPDATE people SET name = upper(name) WHERE id = NEW.id; END;`,
}

// swapSites are the decisive steps of each engine's swap: the engines' own tests have each single one.
var swapSites = map[string][]string{
	wire.EnginePostgreSQL: {"agent.postgres_swap_staged", "agent.postgres_swap_kept", "agent.postgres_swap_renamed", "agent.postgres_swap_committed"},
	wire.EngineMySQL:      {"agent.mysql_swap_intent", "agent.mysql_swap_hide", "agent.mysql_swap_arrange", "agent.mysql_swap_switch", "agent.mysql_swap_keep"},
	wire.EngineSQLite:     {"agent.sqlite_swap_prepared", "agent.sqlite_swap_locked", "agent.sqlite_swap_exchanged", "agent.sqlite_swap_kept"},
}

var (
	inPlaceAgentSites = []string{
		"agent.accepted", "agent.restore_before_swap", "agent.restore_after_swap", "agent.restore_swap_reported", "agent.report_sent_before_ack",
	}
	inPlaceControllerSites = []string{
		"controller.before_publish", "controller.after_publish", "controller.offer_committed", "controller.accepted_before_commit",
		"controller.before_report_commit", "controller.after_report_commit",
	}
)

// TestFault_InPlace (79) kills the agent and the controller at every stage of a restore in place and of its undo, for each engine.
// Whatever it comes to is what it tells. The sites of each engine's own are all tried; the others are shared among the engines, or
// tried with each by make test-matrix.
func TestFault_InPlace(t *testing.T) {
	for i, engine := range []string{wire.EngineSQLite, wire.EnginePostgreSQL, wire.EngineMySQL} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			agentSites, controllerSites := slices.Concat(swapSites[engine], share(i, inPlaceAgentSites)), share(i, inPlaceControllerSites)
			e := newInPlaceEstate(t, estateOptions{engines: []string{engine}, sites: slices.Concat(agentSites, controllerSites)})
			x := e.target(t, faultContext(t), e.servers[0], "shop", objectsSQL[engine])
			step := func(name string, f func(t *testing.T, ctx context.Context)) {
				t.Run(name, func(t *testing.T) { f(t, faultContext(t)) })
				if t.Failed() {
					t.FailNow() // what follows would start from a broken world
				}
			}
			step("kill -9 while it is filled", x.killInFill)
			for _, site := range agentSites {
				step(site, func(t *testing.T, ctx context.Context) {
					x.thereAndBack(t, ctx, site, func() *stack.Process { return e.agent.Process() }, func() { e.restartAgent(t, ctx) })
				})
			}
			for _, site := range controllerSites {
				step(site, func(t *testing.T, ctx context.Context) {
					x.thereAndBack(t, ctx, site, func() *stack.Process { return e.controllers[0].Process() }, func() { e.startController(t, ctx, 0) })
				})
			}
			ctx := faultContext(t)
			x.discardAll(t, ctx)
			e.invariants(t, ctx)
		})
	}
}

// thereAndBack restores in place and undoes it. Each time, the program that comes to the site first ends there, and is started again.
func (x *target) thereAndBack(t *testing.T, ctx context.Context, site string, process func() *stack.Process, restart func()) {
	before := x.live
	r := x.throughDeath(t, ctx, site, process, restart, x.saved, func() (stack.Restore, error) { return x.ctl.CreateRestore(ctx, x.asked(nil)) })
	t.Logf("the restore is %s, its target %s %s", r.Status, r.TargetState, r.ErrorCode)
	if r.TargetState == "untouched" {
		r = x.completed(t, ctx, x.order(t, ctx, nil), x.saved)
	}
	if site == "agent.accepted" && x.Engine() != wire.EngineSQLite {
		// Nobody answers for a while: one engine is enough, for none has a part in it.
		x.completed(t, ctx, x.orderUndo(t, ctx, r.ID), before)
		return
	}
	confirm := map[string]any{"confirm": x.name}
	u := x.throughDeath(t, ctx, site, process, restart, before, func() (stack.Restore, error) { return x.ctl.UndoRestore(ctx, r.ID, confirm) })
	t.Logf("the undo is %s, its target %s %s", u.Status, u.TargetState, u.ErrorCode)
	if u.TargetState == "untouched" {
		x.completed(t, ctx, x.orderUndo(t, ctx, r.ID), before)
	}
}

// throughDeath asks for a restore or an undo with a site armed, and returns it when it has ended and its target was found to be as it
// tells. One that was not answered is asked for again if the catalog has none.
func (x *target) throughDeath(t *testing.T, ctx context.Context, site string, process func() *stack.Process, restart func(), fresh stack.Content, ask func() (stack.Restore, error)) stack.Restore {
	t.Helper()
	last := x.newest(t, ctx)
	p, fired := process(), x.arm(t, site)
	r, err := ask()
	died(t, ctx, p, fired)
	x.noTool(t, ctx)
	restart()
	if err != nil {
		t.Logf("it was not answered: %v", err)
		if r = x.newest(t, ctx); r.ID == last.ID {
			eventually(t, ctx, "it can be asked for", func(context.Context) (bool, error) {
				r, err = ask()
				return err == nil, err
			})
		}
	}
	return x.truth(t, ctx, x.ended(t, ctx, r.ID), fresh)
}

// newest is the newest restore or undo, of whatever target.
func (x *target) newest(t *testing.T, ctx context.Context) stack.Restore {
	t.Helper()
	all := read[[]stack.Restore](t, ctx, x.ctl, "restore", "list", "--project", inPlaceProject, "--limit", "1")
	if len(all) == 0 {
		return stack.Restore{}
	}
	return all[0]
}

// killInFill kills the agent while the staging database has a part of the backup.
func (x *target) killInFill(t *testing.T, ctx context.Context) {
	before := x.live
	g := x.gate(t, "GetObject")
	r := x.order(t, ctx, nil)
	arrived(t, ctx, g, 1)
	if err := x.agent.Kill(); err != nil {
		t.Fatal(err)
	}
	x.noTool(t, ctx)
	same(t, ctx, x.Server, x.live, x.name)
	g.Open()
	x.restartAgent(t, ctx)
	r = x.completed(t, ctx, r, x.saved)
	x.attempts(t, ctx, r.JobID, "lost", "completed")
	x.completed(t, ctx, x.orderUndo(t, ctx, r.ID), before)
}

// TestFault_InPlaceAway (79) kills the agent in the swaps of all engines and keeps it away for longer than its lease: what is at the
// targets is unknown, and shown so, until it is back.
func TestFault_InPlaceAway(t *testing.T) {
	t.Parallel()
	sites := []string{"agent.postgres_swap_committed", "agent.mysql_swap_hide", "agent.sqlite_swap_exchanged"}
	e := newInPlaceEstate(t, estateOptions{sites: sites, timing: map[string]any{"lease": "3s", "lease_max": "6s", "max_attempts": 1}})
	ctx := faultContext(t)
	var all []*target
	for _, s := range e.servers {
		all = append(all, e.target(t, ctx, s, "away", objectsSQL[s.Engine()]))
	}
	for i, site := range sites { // one after the other is the first to die
		t.Run(site, func(t *testing.T) {
			ctx := faultContext(t)
			restores, gates := make([]stack.Restore, len(all)), make([]*s3kit.Gate, len(all))
			for j, x := range all {
				gates[j] = x.gate(t, "GetObject")
				restores[j] = x.order(t, ctx, nil)
				arrived(t, ctx, gates[j], 1)
			}
			fired := e.arm(t, site)
			gates[i].Open()
			died(t, ctx, e.agent.Process(), fired)
			for _, g := range gates {
				g.Open()
			}
			for j, x := range all {
				r, err := e.ctl.AwaitRestore(ctx, restores[j].ID, "is given up", 40*time.Second, func(r stack.Restore) bool { return r.Status == "failed" })
				if err != nil {
					t.Fatal(err)
				}
				if r.TargetState != "unknown" || r.ErrorHint == "" {
					t.Errorf("%s: with its agent away it is %+v", x.Engine(), r)
				}
				_, err = e.ctl.CreateRestore(ctx, x.asked(nil))
				var p *stack.ProblemError
				if !errors.As(err, &p) || p.Status != 409 {
					t.Errorf("another restore in the same place is answered with %v", err)
				}
			}
			e.restartAgent(t, ctx)
			for j, x := range all {
				before := x.live
				r := x.truth(t, ctx, x.ended(t, ctx, restores[j].ID), x.saved)
				if r.Status != "failed" {
					t.Errorf("settled it is %s", r.Status)
				}
				t.Logf("%s: its target is %s", x.Engine(), r.TargetState)
				if r.TargetState == "replaced" {
					x.completed(t, ctx, x.orderUndo(t, ctx, r.ID), before)
				}
			}
		})
		if t.Failed() {
			return // what follows would start from a broken world
		}
	}
	e.invariants(t, faultContext(t))
}

// trapped is a directory in which each program that runs out of a dump leaves a file. Everyone may write there.
type trapped struct{ dir string }

func newTrap(t *testing.T) trapped {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "canary-")
	if err == nil {
		err = os.Chmod(dir, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return trapped{dir}
}

func (c trapped) file(name string) string { return filepath.Join(c.dir, name) }

// works removes what the trap made on purpose, which must be there.
func (c trapped) works(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(c.file(name)); err != nil {
		t.Fatalf("the trap does not work: %v", err)
	}
}

func (c trapped) empty(t *testing.T) {
	t.Helper()
	found, err := os.ReadDir(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		info, _ := f.Info()
		t.Errorf("a program ran: %s, %+v", f.Name(), info.Sys())
	}
}

// inPlaceUntrusted (81) restores dumps that would run something, with each choice: nothing of them runs, and what fails leaves its target.
func (e *estate) inPlaceUntrusted(t *testing.T, ctx context.Context, s stack.Server) {
	switch s.Engine() {
	case wire.EnginePostgreSQL:
		e.untrustedPostgres(t, ctx)
	case wire.EngineMySQL:
		e.untrustedMaria(t, ctx)
	case wire.EngineSQLite:
		e.untrustedFile(t, ctx)
	}
}

func (e *estate) untrustedPostgres(t *testing.T, ctx context.Context) {
	c := newTrap(t)
	program := func(name string) string {
		return "LANGUAGE plpgsql AS $$ BEGIN COPY (SELECT 1) TO PROGRAM 'cat >" + c.file(name) + "'; RETURN 1; END $$"
	}
	fires := e.target(t, ctx, e.postgres, "fires", fewRows+`
		CREATE FUNCTION run() RETURNS integer `+program("check")+`;
		CREATE TABLE trap (n integer CHECK (run() = 1)); INSERT INTO trap VALUES (1);`)
	c.works(t, "check")
	inert := e.target(t, ctx, e.postgres, "inert", fewRows+`
		CREATE FUNCTION suid() RETURNS integer SECURITY DEFINER `+program("suid")+`;
		CREATE TABLE shared (n integer); GRANT SELECT ON shared TO PUBLIC; GRANT ALL ON FUNCTION suid() TO PUBLIC;`)
	inert.run(t, ctx, "SELECT suid();")
	c.works(t, "suid")
	for _, choices := range []map[string]any{nil, {"owners": true}, {"privileges": true}, {"owners": true, "privileges": true, "roles": true}, {"jobs": 3}} {
		more := map[string]any{"choices": choices}
		fires.failed(t, ctx, fires.order(t, ctx, more), wire.CodePrivilege)
		inert.completed(t, ctx, inert.order(t, ctx, more), inert.saved)
		c.empty(t)
		// As whom it runs now.
		if out, err := e.postgres.Exec(ctx, inert.name, "SET ROLE "+stack.OwnerRole+"; SELECT suid();"); err == nil || !strings.Contains(err.Error(), "pg_execute_server_program") {
			t.Errorf("with %v, the function that ran as its definer says %q, %v", choices, out, err)
		}
		c.empty(t)
	}
}

func (e *estate) untrustedMaria(t *testing.T, ctx context.Context) {
	c := newTrap(t)
	for word, sql := range map[string]string{"shell": "\\! touch " + c.file("shell") + "\n;\n", "system": "system touch " + c.file("system") + "\n;\n"} {
		// A host that backs up what it wants to.
		fake := fakedump.Install(t, "mariadb-dump", fakedump.Script{Real: "/usr/bin/mariadb-dump", Stdout: sql + "-- Dump completed on 2026-01-01  0:00:00\n"})
		host := "hostile-" + word
		a := e.addAgent(t, ctx, host, inPlaceProject, stack.AgentOptions{Servers: map[string]stack.Server{
			"maria": configured{e.maria, map[string]any{"bin_dirs": []string{fake.Dir(), "/usr/bin"}}},
		}})
		source := "from_" + word
		if err := e.fillDatabase(ctx, e.maria, source, fewRows); err != nil {
			t.Fatal(err)
		}
		e.assign(t, ctx, inPlaceProject, host, source)
		b := e.backUp(t, ctx, inPlaceProject, source, "--on", host)
		if err := a.Stop(ctx); err != nil {
			t.Fatal(err)
		}
		x := e.target(t, ctx, e.maria, "at_"+word, fewRows)
		x.backup = b.ID
		for _, choices := range []map[string]any{nil, {"definers": "strip"}} {
			x.failed(t, ctx, x.order(t, ctx, map[string]any{"choices": choices, "to_server": "db1"}), wire.CodeToolFailed)
			c.empty(t)
		}
	}
	keeper := e.addAgent(t, ctx, "keeper", inPlaceProject, stack.AgentOptions{InPlace: true, Servers: map[string]stack.Server{
		"maria": configured{e.maria, map[string]any{"restore": map[string]any{"user": stack.RestoreRole, "password_file": e.maria.RestorePasswordFile, "definers": "keep"}}},
	}})
	x := e.target(t, ctx, e.maria, "inert", fewRows+`
		CREATE TABLE ran (n integer);
		CREATE DEFINER = root@localhost PROCEDURE suid() SQL SECURITY DEFINER INSERT INTO victim.ran VALUES (1);
		CREATE EVENT each_second ON SCHEDULE EVERY 1 SECOND ENABLE DO INSERT INTO ran VALUES (1);`)
	if err := e.fillDatabase(ctx, e.maria, "victim", "CREATE TABLE ran (n integer);"); err != nil {
		t.Fatal(err)
	}
	x.run(t, ctx, "CALL suid(); TRUNCATE victim.ran;")
	e.assign(t, ctx, inPlaceProject, keeper.Name, x.name)
	for host, choices := range map[string]map[string]any{"db1": nil, "db1 ": {"definers": "strip"}, keeper.Name: {"definers": "keep"}} {
		in := map[string]any{"to_server": strings.TrimSpace(host), "choices": choices}
		r := x.truth(t, ctx, x.ended(t, ctx, x.order(t, ctx, in).ID), x.saved)
		c.empty(t)
		if r.Status != "completed" {
			if choices["definers"] != "keep" {
				t.Errorf("with %v it failed: %s: %s", choices, r.ErrorCode, r.ErrorMessage)
			}
			continue
		}
		if out, err := e.maria.Exec(ctx, x.name, "SELECT DEFINER FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE(); SELECT STATUS FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE();"); err != nil ||
			strings.Contains(out, "root@") || !strings.Contains(out, "DISABLED") {
			t.Errorf("with %v, definer and event are %q: %v", choices, out, err)
		}
		if _, err := e.maria.Exec(ctx, x.name, "CALL suid();"); err == nil {
			t.Errorf("with %v, the procedure that ran as its definer runs", choices)
		}
		if out, err := e.maria.Exec(ctx, "victim", "SELECT count(*) FROM ran;"); err != nil || strings.TrimSpace(out) != "0" {
			t.Errorf("with %v, another database has %q, %v", choices, out, err)
		}
		c.empty(t)
	}
}

func (e *estate) untrustedFile(t *testing.T, ctx context.Context) {
	c := newTrap(t)
	x := e.target(t, ctx, e.sqlite, "inert", fewRows+`
		CREATE VIEW loads AS SELECT load_extension('`+c.file("extension")+`') AS x;
		CREATE TRIGGER writes AFTER INSERT ON people BEGIN SELECT load_extension('`+c.file("extension")+`'); END;`)
	x.completed(t, ctx, x.order(t, ctx, nil), x.saved)
	c.empty(t)
}
