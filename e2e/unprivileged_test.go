package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/wire"
)

// nobody is an account that may do nothing.
const nobody, nobodyID = "nobody", 65534

// TestUnprivileged: an agent that runs as an account without any rights, with a configuration and accounts as setup makes them and nothing
// more, backs databases of every engine up, verifies them, and restores them to new ones and in place, and back.
func TestUnprivileged(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	e := newEstate(t, estateOptions{engines: []string{wire.EngineSQLite}})
	pg, err := e.StartPostgres(ctx, "pg2", stack.PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	maria, err := e.StartMariaDB(ctx, "maria2", stack.MariaDBOptions{})
	if err != nil {
		t.Fatal(err)
	}
	files, err := e.NewSQLite("sqlite2")
	if err != nil {
		t.Fatal(err)
	}
	servers := []stack.Server{pg, maria, files}
	names := map[string]string{}
	for _, s := range servers {
		name := s.Name("own_" + s.Engine())
		if err := e.fillDatabase(ctx, s, name, fewRows+" CREATE TABLE mark (n integer); INSERT INTO mark VALUES (1);"); err != nil {
			t.Fatal(err)
		}
		names[s.Engine()] = name
	}
	sql := func(s stack.Server, database string, statements ...string) {
		t.Helper()
		for _, text := range statements {
			if _, err := s.Exec(ctx, database, text); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The servers know accounts of the host, as distributions set theirs up; of ours they know none.
	hba, err := pg.Exec(ctx, "postgres", "SHOW hba_file")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(hba, []byte("local all all peer\nhost all all 127.0.0.1/32 scram-sha-256\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sql(pg, "postgres", "SELECT pg_reload_conf()", "DROP ROLE "+stack.RestoreRole, "DROP ROLE "+stack.BackupRole, "CREATE ROLE own_owner",
		"ALTER DATABASE "+names[wire.EnginePostgreSQL]+" OWNER TO own_owner")
	sql(maria, "", "ALTER USER 'root'@'localhost' IDENTIFIED VIA unix_socket OR mysql_native_password USING PASSWORD('"+maria.Password().Reveal()+"')")
	for _, user := range []string{stack.BackupRole, stack.RestoreRole, stack.SwapRole} {
		sql(maria, "", "DROP USER '"+user+"'@'localhost', '"+user+"'@'127.0.0.1'")
	}

	a, err := e.NewAgent("plain", stack.AgentOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tmp := filepath.Join(e.Dir, "plain-tmp")
	for _, dir := range []string{a.Dir, tmp} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, nobodyID, nobodyID); err != nil {
			t.Fatal(err)
		}
	}
	a.As, a.Env = &syscall.Credential{Uid: nobodyID, Gid: nobodyID}, []string{"TMPDIR=" + tmp}
	if err := stack.WriteFile(a.Config(), "state_dir: "+a.Dir+"\nlimits: {hello_delay: 100ms, discovery_every: 2s}\n", 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(a.Config(), 0, nobodyID); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(a.Config()), 0o755); err != nil { // as /etc/devflow is
		t.Fatal(err)
	}
	run := func(args ...string) string {
		t.Helper()
		res, err := a.Run(ctx, args...)
		if err != nil || res.Code != 0 {
			t.Fatalf("%q: %v, %s", args, err, res.Text())
		}
		return res.Out
	}
	// Of the script for files this is what is not about accounts and services of this machine.
	for line := range strings.Lines(run("setup", "--print", "sqlite", "--in-place", "--sqlite", files.Dir, "--group", "nogroup")) {
		if strings.HasPrefix(line, "chgrp ") || strings.HasPrefix(line, "find ") {
			if out, err := exec.CommandContext(ctx, "sh", "-c", line).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", line, err, out)
			}
		}
	}
	args := []string{"setup", "--output", "json", "--grant", "--in-place", "--socket", pg.SocketDir(), "--socket", maria.Socket(), "--sqlite", files.Dir}
	for _, engine := range []string{wire.EnginePostgreSQL, wire.EngineMySQL} {
		args = append(args, "--database", names[engine])
	}
	var report struct {
		State     string
		Account   string
		Instances []struct{ Name, Engine, State string }
		Needs     []struct{ Instance, What, How string }
	}
	if err := json.Unmarshal([]byte(run(args...)), &report); err != nil {
		t.Fatal(err)
	}
	if report.State != "written" || report.Account != nobody || len(report.Instances) != len(servers) {
		t.Fatalf("%+v", report)
	}
	for _, need := range report.Needs {
		if !strings.Contains(need.How, "SET GLOBAL") { // of the server, for good measure
			t.Errorf("after setup this is needed: %+v", need)
		}
	}
	if err := a.Enroll(ctx, e.controllers[0], ""); err != nil {
		t.Fatal(err)
	}
	run("check")
	if err := a.StartOnline(ctx, e.controllers[0], len(servers)); err != nil {
		t.Fatal(err)
	}
	e.more = append(e.more, a)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.Process().PID()))
	if err != nil || !strings.Contains(string(status), fmt.Sprintf("Uid:\t%d\t%[1]d\t%[1]d\t%[1]d\n", nobodyID)) || !strings.Contains(string(status), "CapEff:\t0000000000000000\n") {
		t.Errorf("%v:\n%s", err, status)
	}

	const project = inPlaceProject
	do(t, ctx, e.ctl, "project", "create", project)
	do(t, ctx, e.ctl, "project", "grant", project, a.Name)
	for _, s := range servers {
		t.Run(s.Engine(), func(t *testing.T) {
			ctx := testContext(t)
			name := names[s.Engine()]
			e.assign(t, ctx, project, a.Name, name)
			x := &target{estate: e, Server: s, name: name, saved: contentOf(t, ctx, s, name)}
			b := e.backUp(t, ctx, project, name)
			x.backup = b.ID
			do(t, ctx, e.ctl, "backup", "verify", id(b.ID), "--level", "content")

			copied := s.Name("restored_" + s.Engine())
			do(t, ctx, e.ctl, "restore", "create", id(b.ID), "--to-server", a.Name, "--to-database", copied, "--wait")
			same(t, ctx, s, x.saved, copied)

			x.run(t, ctx, "INSERT INTO mark VALUES (2); CREATE TABLE since (n integer); INSERT INTO since VALUES (1);")
			x.live = contentOf(t, ctx, s, name)
			before := x.live
			r := x.completed(t, ctx, x.order(t, ctx, nil), x.saved)
			x.completed(t, ctx, x.orderUndo(t, ctx, r.ID), before)
			x.discardAll(t, ctx)
		})
	}
	ctx = testContext(t)
	// What was restored in place belongs to whom it belonged to.
	if owner, err := pg.Exec(ctx, "postgres", "SELECT DISTINCT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '"+names[wire.EnginePostgreSQL]+"'"); err != nil || owner != "own_owner" {
		t.Errorf("the owner is %s, %v", owner, err)
	}
	e.servers = slices.Concat(e.servers, servers)
	e.invariants(t, ctx)
}
