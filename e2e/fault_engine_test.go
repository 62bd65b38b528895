package e2e_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/wire"
)

// engineWorld is a world whose agent has a server of each engine.
type engineWorld struct {
	*faultWorld
	maria   *stack.MariaDB
	sqlite  *stack.SQLite
	tools   string // directory in which MariaDB's programs are looked for first
	options stack.AgentOptions
}

func newEngineWorld(t *testing.T) *engineWorld {
	t.Helper()
	w := &engineWorld{faultWorld: newFaultWorld(t, faultOptions{})}
	ctx := faultContext(t)
	w.tools = filepath.Join(w.Dir, "tools")
	err := os.Mkdir(w.tools, 0o755)
	if err == nil {
		w.maria, err = w.StartMariaDB(ctx, "maria", stack.MariaDBOptions{Settings: map[string]string{"max_allowed_packet": "1G", "innodb_log_file_size": "512M"}})
	}
	if err == nil {
		w.sqlite, err = w.NewSQLite("files")
	}
	if err == nil {
		err = w.agent.Stop(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.servers = []stack.Server{w.postgres, w.maria, w.sqlite}
	w.options = stack.AgentOptions{
		Servers: map[string]stack.Server{
			"main":   w.postgres,
			"sqlite": w.sqlite,
			"maria":  configured{w.maria, map[string]any{"bin_dirs": []string{w.tools, "/usr/bin"}}},
		},
	}
	if err := w.agent.Configure(w.options); err != nil {
		t.Fatal(err)
	}
	return w
}

// assign starts the agent anew, which then tells of all databases, and gives these to the project.
func (w *engineWorld) assign(t *testing.T, ctx context.Context, names ...string) {
	t.Helper()
	if err := errors.Join(w.agent.Stop(ctx), w.agent.StartOnline(ctx, w.controllers[0], 0)); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		found(t, ctx, w.ctl, "db1", name)
		do(t, ctx, w.ctl, "database", "assign", "--project", "shop", "--on", "db1", "--", name)
	}
}

// TestFault_Engines breaks what the engines read and run, through the whole product.
func TestFault_Engines(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	ctx := faultContext(t)
	w.makeHuge(t, ctx)
	w.makeMany(t, ctx)
	if _, err := w.maria.Exec(ctx, "huge", "CREATE DATABASE cut; CREATE TABLE cut.t (id int PRIMARY KEY) ENGINE = InnoDB; INSERT INTO cut.t VALUES (1), (2)"); err != nil {
		t.Fatal(err)
	}
	changing := w.sqlite.Name("changing")
	if _, err := w.sqlite.Exec(ctx, changing, "CREATE TABLE t (id integer PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'one'), (2, 'two');"); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range w.servers {
		names = append(names, s.Name("huge"), s.Name("many"))
	}
	w.assign(t, ctx, "cut", changing)
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		for _, instance := range []string{"main", "maria", "sqlite"} {
			if (instance == "sqlite") == filepath.IsAbs(name) {
				found(t, ctx, w.ctl, "db1", name)
				do(t, ctx, w.ctl, "database", "assign", "--project", "shop", "--on", "db1", "--instance", instance, "--", name)
			}
		}
	}

	t.Run("50 the end mark of a dump is missing", func(t *testing.T) { w.endMarkMissing(t, faultContext(t)) })
	t.Run("61", func(t *testing.T) { w.replaced(t, faultContext(t), changing) })
	for _, s := range w.servers {
		t.Run("60 a huge row "+s.Engine(), func(t *testing.T) { w.hugeRow(t, faultContext(t), s) })
		t.Run("60 many tables "+s.Engine(), func(t *testing.T) { w.manyTables(t, faultContext(t), s) })
	}
	w.invariants(t, faultContext(t))
}

// endMarkMissing has the dump tool end with success, but without its last line: no attempt counts as a backup.
func (w *engineWorld) endMarkMissing(t *testing.T, ctx context.Context) {
	fired := filepath.Join(w.tools, "fired")
	script := "#!/bin/sh\ncase \"$*\" in *--version*) exec /usr/bin/mariadb-dump \"$@\";; esac\necho >> " + fired + "\n/usr/bin/mariadb-dump \"$@\" | /usr/bin/sed '/^-- Dump completed/d'\n"
	program := filepath.Join(w.tools, "mariadb-dump")
	if err := stack.WriteFile(program, script, 0o755); err != nil {
		t.Fatal(err)
	}
	b := w.order(t, ctx, "cut", nil)
	failed, err := w.ctl.AwaitBackup(ctx, b.ID, "failed", 60*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if failed.ErrorCode != wire.CodeIncompleteDump || !strings.Contains(failed.ErrorMessage, "end mark") {
		t.Errorf("it failed as %s: %s", failed.ErrorCode, failed.ErrorMessage)
	}
	w.attempts(t, ctx, b.JobID, "failed", "failed", "failed")
	if runs, err := os.ReadFile(fired); err != nil || bytes.Count(runs, []byte("\n")) != 3 {
		t.Errorf("the tool ran otherwise than three times: %q, %v", runs, err)
	}
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	w.completed(t, ctx, w.order(t, ctx, "cut", nil).ID, "completed")
}

// replaced puts something else at a database's path after it was found. None of it is followed, opened or waited for.
func (w *engineWorld) replaced(t *testing.T, ctx context.Context, path string) {
	outside := filepath.Join(w.Dir, "outside.sqlite")
	if _, err := w.sqlite.Exec(ctx, outside, "CREATE TABLE secret (x); INSERT INTO secret VALUES ('not to be read')"); err != nil {
		t.Fatal(err)
	}
	hidden := path + ".hidden"
	for _, tc := range []struct {
		what string
		put  func() error
		code string
		word string
	}{
		{"symlink to a file outside", func() error { return os.Symlink(outside, path) }, wire.CodeNotAllowed, "symbolic link"},
		{"symlink to a database that is listed", func() error { return os.Symlink(w.sqlite.Name("many"), path) }, wire.CodeNotAllowed, "symbolic link"},
		{"FIFO", func() error { return syscall.Mkfifo(path, 0o600) }, wire.CodeNotAllowed, "named pipe"},
		{"directory", func() error { return os.Mkdir(path, 0o700) }, wire.CodeNotAllowed, "directory"},
		{"nothing", func() error { return nil }, wire.CodeDatabaseMissing, "changing"},
		{"text", func() error { return os.WriteFile(path, bytes.Repeat([]byte("no database\n"), 1000), 0o600) }, wire.CodeToolFailed, "not an SQLite database"},
	} {
		t.Run(tc.what, func(t *testing.T) {
			if err := errors.Join(os.Rename(path, hidden), tc.put()); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := errors.Join(os.RemoveAll(path), os.Rename(hidden, path)); err != nil {
					t.Fatal(err)
				}
			}()
			before := w.objects(t, ctx)
			b := w.order(t, ctx, path, nil)
			failed, err := w.ctl.AwaitBackup(ctx, b.ID, "failed", 30*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if failed.ErrorCode != tc.code || !strings.Contains(failed.ErrorMessage, tc.word) {
				t.Errorf("it failed as %s: %s", failed.ErrorCode, failed.ErrorMessage)
			}
			if now := w.objects(t, ctx); now != before {
				t.Errorf("%d objects are in the bucket, there were %d", now, before)
			}
		})
	}
	// The file itself, and another one in its place, are backed up.
	w.completed(t, ctx, w.order(t, ctx, path, nil).ID, "completed")
	if err := os.Rename(path, hidden); err != nil {
		t.Fatal(err)
	}
	if _, err := w.sqlite.Exec(ctx, path, "CREATE TABLE another (x); INSERT INTO another VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	b := w.order(t, ctx, path, nil)
	w.completed(t, ctx, b.ID, "completed")
	w.copied(t, ctx, w.sqlite, b.ID, path, "another")
	if err := os.Remove(hidden); err != nil {
		t.Fatal(err)
	}
}

func (w *engineWorld) objects(t *testing.T, ctx context.Context) int {
	t.Helper()
	objects, err := w.s3.Objects(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return len(objects)
}

// copied restores a backup beside its source and compares the two.
func (w *engineWorld) copied(t *testing.T, ctx context.Context, s stack.Server, backup int64, source, word string) {
	t.Helper()
	to := s.Name("r_" + word)
	do(t, ctx, w.ctl, "restore", "create", id(backup), "--to-database", to, "--wait")
	want, err := s.Content(ctx, source)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Content(ctx, to)
	if err != nil {
		t.Fatal(err)
	}
	if diff := want.Diff(got); diff != "" || want.Rows() == 0 {
		t.Errorf("%q differs from %q (%d rows):\n%s", to, source, want.Rows(), diff)
	}
}

// hugeBytes are in one row of a huge database. The text of a dump has two digits for each.
const hugeBytes = 80 << 20

func (w *engineWorld) makeHuge(t *testing.T, ctx context.Context) {
	t.Helper()
	b := make([]byte, hugeBytes)
	_, _ = rand.Read(b)
	for _, s := range w.servers {
		name := s.Name("huge")
		err := s.Create(ctx, name)
		if err == nil {
			_, err = s.Exec(ctx, name, map[string]string{
				wire.EnginePostgreSQL: "CREATE TABLE huge (id int PRIMARY KEY, bytes bytea)",
				wire.EngineMySQL:      fmt.Sprintf("CREATE TABLE huge (id int PRIMARY KEY, bytes longblob) ENGINE = InnoDB; INSERT INTO huge VALUES (1, REPEAT(RANDOM_BYTES(1024), %d))", hugeBytes>>10),
				wire.EngineSQLite:     fmt.Sprintf("CREATE TABLE huge (id integer PRIMARY KEY, bytes blob); INSERT INTO huge VALUES (1, randomblob(%d));", hugeBytes),
			}[s.Engine()])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	conn, err := w.postgres.Connect(ctx, "huge")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "INSERT INTO huge VALUES (1, $1)", b); err != nil {
		t.Fatal(err)
	}
}

// manyTablesOf is how many tables a database with many has: as many as are made in a second or two.
var manyTablesOf = map[string]int{wire.EnginePostgreSQL: 400, wire.EngineMySQL: 150, wire.EngineSQLite: 1000}

func (w *engineWorld) makeMany(t *testing.T, ctx context.Context) {
	t.Helper()
	for _, s := range w.servers {
		var sql strings.Builder
		for i := range manyTablesOf[s.Engine()] {
			fmt.Fprintf(&sql, "CREATE TABLE table_%04d (id int PRIMARY KEY, v text); INSERT INTO table_%04d VALUES (%d, 'v');\n", i, i, i)
		}
		text := sql.String()
		if s.Engine() == wire.EngineSQLite {
			text = "BEGIN; " + text + "COMMIT;"
		}
		name := s.Name("many")
		err := s.Create(ctx, name)
		if err == nil {
			_, err = s.Exec(ctx, name, text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// agentMemory is what the agent may ever have had in memory: less than one row in the text of a dump.
const agentMemory = 159 << 20

// hugeRow backs up a database with a row that is larger than the agent may become, verifies and restores it.
func (w *engineWorld) hugeRow(t *testing.T, ctx context.Context, s stack.Server) {
	pid := w.agent.Process().PID()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil { // the peak begins anew
		t.Fatal(err)
	}
	name := s.Name("huge")
	b := w.order(t, ctx, name, w.on(s))
	w.completed(t, ctx, b.ID, "completed")
	b, err := w.ctl.Backup(ctx, b.ID)
	if err != nil {
		t.Fatal(err)
	}
	if b.RawSize < hugeBytes {
		t.Errorf("the dump has %d bytes, the row alone has %d", b.RawSize, hugeBytes)
	}
	if res := w.verify(t, ctx, b.ID, "content"); res.Code != 0 {
		t.Errorf("it does not verify: %s", res.Text())
	}
	w.copied(t, ctx, s, b.ID, name, "huge")
	peak := peakMemory(t, pid)
	t.Logf("the agent had at most %d MiB, the dump has %d MiB", peak>>20, b.RawSize>>20)
	most := int64(agentMemory)
	if s.Engine() == wire.EngineSQLite {
		most = 190 << 20 // there the agent is the database, too
	}
	if peak > most {
		t.Errorf("the agent had %d MiB in memory, at most %d are allowed", peak>>20, most>>20)
	}
	if err := errors.Join(s.Drop(ctx, s.Name("r_huge")), s.Drop(ctx, name)); err != nil {
		t.Error(err)
	}
}

// on names the instance of a server.
func (w *engineWorld) on(s stack.Server) map[string]any {
	return map[string]any{"instance": map[string]string{wire.EnginePostgreSQL: "main", wire.EngineMySQL: "maria", wire.EngineSQLite: "sqlite"}[s.Engine()]}
}

// peakMemory is the most that a process had in memory.
func peakMemory(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if kib, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kib), "kB")), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal("the kernel does not tell the peak")
	return 0
}

// manyTables backs up and restores a database with many tables. Counting them says enough: the agent compares the rows of each.
func (w *engineWorld) manyTables(t *testing.T, ctx context.Context, s stack.Server) {
	name := s.Name("many")
	b := w.order(t, ctx, name, w.on(s))
	w.completed(t, ctx, b.ID, "completed")
	to := s.Name("r_many")
	do(t, ctx, w.ctl, "restore", "create", id(b.ID), "--to-database", to, "--wait")
	count := map[string]string{
		wire.EnginePostgreSQL: "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'",
		wire.EngineMySQL:      "SELECT count(*) FROM information_schema.tables WHERE table_schema = DATABASE()",
		wire.EngineSQLite:     "SELECT count(*) FROM sqlite_schema WHERE type = 'table';",
	}[s.Engine()]
	last := manyTablesOf[s.Engine()] - 1
	for sql, want := range map[string]int{count: last + 1, fmt.Sprintf("SELECT id FROM table_%04d;", last): last} {
		if got, err := s.Exec(ctx, to, sql); err != nil || strings.TrimSpace(got) != strconv.Itoa(want) {
			t.Errorf("%s says %q, not %d: %v", sql, got, want, err)
		}
	}
}
