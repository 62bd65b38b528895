package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/testkit/fakedump"
	"devflowbackup/shared/testkit/s3kit"
)

// The tests of this file each name a mistake that backups of this kind were seen to make, and show that the product does not.

// TestMistake01_FailedDumpBehindCompressor: the exit status of the dump program counts, whatever stands behind it.
func TestMistake01_FailedDumpBehindCompressor(t *testing.T) {
	e, ctx := commonEstate(t)
	e.project(t, ctx, "mistake01")
	fake := fakedump.Install(t, "pg_dump", fakedump.Script{Real: filepath.Join(e.postgres.Bin().Dir, "pg_dump"), Exit: 1})
	fake.Add("mariadb-dump", fakedump.Script{Real: "/usr/bin/mariadb-dump", Exit: 1})
	for _, s := range []stack.Server{e.postgres, e.maria} {
		if err := e.fillDatabase(ctx, s, s.Name("mistake01_"+s.Engine()), ""); err != nil {
			t.Fatal(err)
		}
	}
	keys := map[string]any{"bin_dirs": []string{fake.Dir(), e.postgres.Bin().Dir}} // pg_dumpall is the real one
	e.addAgent(t, ctx, "faulty", "mistake01", stack.AgentOptions{Servers: map[string]stack.Server{
		"pg": configured{e.postgres, keys}, "maria": configured{e.maria, keys},
	}})
	for _, s := range []stack.Server{e.postgres, e.maria} {
		e.assign(t, ctx, "mistake01", "faulty", s.Name("mistake01_"+s.Engine()))
	}

	for _, compression := range []string{"gzip", "zstd", "none"} {
		refused(t, ctx, e.ctl, 1, []string{"failed", "2 databases"}, "backup", "create", "mistake01", "--compression", compression, "--wait")
	}
	backups, err := e.ctl.Backups(ctx, "mistake01")
	if err != nil || len(backups) != 6 {
		t.Fatalf("%d backups, want 6: %v", len(backups), err)
	}
	for _, b := range backups {
		if b.Status != "failed" || b.ErrorCode != "tool_failed" || b.ErrorMessage == "" {
			t.Errorf("backup %d of %s is %s: %s %s", b.ID, b.DatabaseName, b.Status, b.ErrorCode, b.ErrorMessage)
		}
		e.neverCompleted(t, ctx, b.ID)
	}
	ran := map[string]int{}
	for _, run := range fake.Runs() {
		ran[run.Name]++
	}
	if ran["pg_dump"] < 3 || ran["mariadb-dump"] < 3 {
		t.Errorf("the failing programs ran %v times", ran)
	}
	e.invariants(t, ctx)

	// The same programs with status 0 are believed.
	fake.Add("pg_dump", fakedump.Script{Real: filepath.Join(e.postgres.Bin().Dir, "pg_dump")})
	fake.Add("mariadb-dump", fakedump.Script{Real: "/usr/bin/mariadb-dump"})
	do(t, ctx, e.ctl, "backup", "create", "mistake01", "--compression", "gzip", "--wait")
}

// neverCompleted reads in the catalog's history that a backup was completed at no time.
func (e *estate) neverCompleted(t *testing.T, ctx context.Context, backup int64) {
	t.Helper()
	rows, err := e.catalog.Rows(ctx, "SELECT status FROM stack.history WHERE kind = 'database_backups' AND id = $1 ORDER BY no", strconv.FormatInt(backup, 10))
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) == 0 || slices.Contains(rows, "completed") {
		t.Errorf("the history of backup %d is %v", backup, rows)
	}
}

// TestMistake02_SQLiteCopiedWhileWritten: a copy of a database that a program writes flat out is whole, and has what stands only in
// the write-ahead log.
func TestMistake02_SQLiteCopiedWhileWritten(t *testing.T) {
	e, ctx := commonEstate(t)
	e.project(t, ctx, "mistake02")
	name := e.database(t, ctx, e.sqlite, "mistake02", "bank", `
		CREATE TABLE accounts (id integer PRIMARY KEY, amount integer NOT NULL); INSERT INTO accounts VALUES (1, 0), (2, 0);
		CREATE TABLE moves (n integer PRIMARY KEY, note text); CREATE INDEX moves_note ON moves (note);
		CREATE TABLE filler (b blob); WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < 30) INSERT INTO filler SELECT randomblob(1000000) FROM g;`)
	w := startWriter(t, name)
	moves := func(file string) (n int64) {
		t.Helper()
		out, err := e.sqlite.Exec(ctx, file, "SELECT count(*) FROM moves;")
		if err == nil {
			n, err = strconv.ParseInt(out, 10, 64)
		}
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	eventually(t, ctx, "the writer has written", func(context.Context) (bool, error) { return moves(name) > 1000, nil })

	// What the file alone holds is less: a copy of it would lack rows.
	torn := filepath.Join(t.TempDir(), "copy.sqlite")
	before := moves(name)
	raw, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(torn, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := e.sqlite.Exec(ctx, torn, "SELECT count(*) FROM moves;"); err == nil && out == strconv.FormatInt(before, 10) {
		t.Errorf("the file alone has all %s rows: the write-ahead log is not in use", out)
	}

	b := e.backUp(t, ctx, "mistake02", name)
	after := moves(name)
	if after <= before {
		t.Errorf("there were %d rows before the backup and %d after it: nobody wrote", before, after)
	}
	w.stop(t)
	restored := copyName(e.sqlite, "bank")
	e.restore(t, ctx, b, restored)
	out, err := e.sqlite.Exec(ctx, restored, "PRAGMA integrity_check; SELECT sum(amount) FROM accounts; SELECT count(*) = max(n) AND count(*) = (SELECT amount FROM accounts WHERE id = 2) FROM moves;")
	if err != nil || out != "ok\n0\n1" {
		t.Errorf("the restored copy is not of one moment: %q, %v", out, err)
	}
	if n := moves(restored); n < before || n > after {
		t.Errorf("the restored copy has %d rows; there were %d before the backup and %d after it", n, before, after)
	}
}

// writer is a program that commits to a SQLite database as fast as it can.
type writer struct {
	cmd    *exec.Cmd
	ended  atomic.Bool
	done   chan error
	stderr bytes.Buffer
}

func startWriter(t *testing.T, database string) *writer {
	t.Helper()
	w := &writer{cmd: exec.Command("sqlite3", "-batch", "-bail", database), done: make(chan error, 1)}
	w.cmd.Stderr = &w.stderr
	in, err := w.cmd.StdinPipe()
	if err == nil {
		err = w.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		out := bufio.NewWriter(in)
		_, err := io.WriteString(out, ".timeout 10000\nPRAGMA synchronous = OFF; PRAGMA wal_autocheckpoint = 4000;\n")
		for err == nil && !w.ended.Load() {
			_, err = io.WriteString(out, "BEGIN IMMEDIATE; UPDATE accounts SET amount = amount - 1 WHERE id = 1; INSERT INTO moves SELECT coalesce(max(n), 0) + 1, 'move' FROM moves;"+
				" UPDATE accounts SET amount = amount + 1 WHERE id = 2; COMMIT;\n")
		}
		w.done <- errors.Join(err, out.Flush(), in.Close(), w.cmd.Wait())
	}()
	t.Cleanup(func() { w.ended.Store(true); _ = w.cmd.Process.Kill() })
	return w
}

func (w *writer) stop(t *testing.T) {
	t.Helper()
	w.ended.Store(true)
	if err := <-w.done; err != nil {
		t.Fatalf("the writer ended: %v: %s", err, w.stderr.String())
	}
}

// TestMistake03_RestoreTouchesSource: a dump has routines, events and triggers; a restore goes into a new database, never touches
// the source, and ends at the first error of its SQL with nothing to be seen. One in the place of its source drops and truncates nothing
// before all of it is proven.
func TestMistake03_RestoreTouchesSource(t *testing.T) {
	e, ctx := commonEstate(t)
	e.project(t, ctx, "mistake03")
	e.eachEngine(t, func(t *testing.T, s stack.Server) {
		ctx := testContext(t)
		name := e.database(t, ctx, s, "mistake03", "whole", "")
		look := func() string { return identityOf(t, ctx, s, name) }
		want, before := contentOf(t, ctx, s, name), look()
		b := e.backUp(t, ctx, "mistake03", name)
		restored := copyName(s, "whole")
		e.restore(t, ctx, b, restored)
		same(t, ctx, s, want, restored)
		// Neither does one whose target is the source itself.
		refused(t, ctx, e.ctl, 1, []string{filepath.Base(name)}, "restore", "create", id(b.ID), "--to-database", name, "--wait")
		if now := look(); now != before {
			t.Errorf("the source was %s, it is %s", before, now)
		}
		same(t, ctx, s, want, name)
		drop(t, ctx, s, restored)
		// One in its place reads all of the backup first.
		rule := e.s3.Proxy.Inject("GetObject", 0, s3kit.CorruptDownload(b.FileSize-100))
		e.failsInPlace(t, ctx, s, name, b, "corrupt")
		if rule.Fired() == 0 {
			t.Error("the fault did not fire")
		}
		e.s3.Proxy.Reset()
		if s.Engine() != "mysql" {
			return
		}
		for _, kind := range []string{"procedure ", "function ", "event ", "trigger "} {
			if !slices.ContainsFunc(slices.Collect(maps.Keys(want.Definitions)), func(name string) bool { return strings.HasPrefix(name, kind) }) {
				t.Errorf("the source has no %s: the comparison does not show that they are dumped", kind)
			}
		}
	})

	t.Run("error in postgresql", func(t *testing.T) {
		ctx := testContext(t)
		// The rule finds its table by the search path, which a restore empties: each row is refused. Indexes come after rows.
		name := e.database(t, ctx, e.postgres, "mistake03", "fragile", fewRows+`
			CREATE FUNCTION known(n integer) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN EXISTS (SELECT FROM people WHERE id = n); END $$;
			CREATE TABLE visits (person integer CHECK (known(person))); INSERT INTO visits VALUES (1), (2); CREATE INDEX after_error ON people (name);`)
		b := e.backUp(t, ctx, "mistake03", name)
		logStatements := func(to string) {
			t.Helper()
			if _, err := e.postgres.Exec(ctx, "postgres", "ALTER ROLE "+stack.RestoreRole+" "+to); err != nil {
				t.Fatal(err)
			}
		}
		logStatements("SET log_statement = 'all'")
		defer logStatements("RESET log_statement")
		from := logSize(t, e.LogFile("pg1"))
		e.stopsAtError(t, ctx, e.postgres, name, b, "r_fragile", func() string {
			log, err := os.ReadFile(e.LogFile("pg1"))
			if err != nil {
				t.Fatal(err)
			}
			return string(log[from:])
		}, "COPY public.visits")
	})
	t.Run("error in mysql", func(t *testing.T) {
		ctx := testContext(t)
		fake := fakedump.Install(t, "mariadb-dump", fakedump.Script{
			Real:   "/usr/bin/mariadb-dump",
			Stdout: "INSERT INTO nosuch VALUES (1);\nCREATE TABLE after_error (n int);\n-- Dump completed on 2026-01-01  0:00:00\n",
		})
		e.addAgent(t, ctx, "erring", "mistake03", stack.AgentOptions{InPlace: true, Servers: map[string]stack.Server{
			"maria": configured{e.maria, map[string]any{"bin_dirs": []string{fake.Dir(), "/usr/bin"}}},
		}})
		if err := e.fillDatabase(ctx, e.maria, "erring", fewRows); err != nil {
			t.Fatal(err)
		}
		e.assign(t, ctx, "mistake03", "erring", "erring")
		b := e.backUp(t, ctx, "mistake03", "erring")
		if len(fake.Runs()) == 0 {
			t.Fatal("the program that adds an error did not run")
		}
		sql := func(text string) string {
			t.Helper()
			out, err := e.maria.Exec(ctx, "", text)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		sql("SET GLOBAL log_output = 'TABLE'; SET GLOBAL general_log = ON")
		defer sql("SET GLOBAL general_log = OFF; TRUNCATE mysql.general_log")
		e.stopsAtError(t, ctx, e.maria, "erring", b, "r_erring", func() string {
			return sql("SELECT argument FROM mysql.general_log WHERE user_host LIKE '" + stack.RestoreRole + "%'")
		}, "INSERT INTO nosuch")
	})
	e.invariants(t, testContext(t))
}

// stopsAtError restores a dump whose SQL has an error, in the given statement. What names after_error stands behind it. statements
// are those that the database server has been given by the restoring account.
func (e *estate) stopsAtError(t *testing.T, ctx context.Context, s stack.Server, source string, b fullBackup, target string, statements func() string, wrong string) {
	t.Helper()
	want := contentOf(t, ctx, s, source)
	refused(t, ctx, e.ctl, 1, []string{"failed", "not touched"}, "restore", "create", id(b.ID), "--to-database", target, "--wait")
	given := statements()
	if !strings.Contains(given, wrong) {
		t.Errorf("the server was not given %s:\n%s", wrong, given)
	}
	if strings.Contains(given, "after_error") {
		t.Errorf("the restore went on after its error:\n%s", given)
	}
	names, err := s.Databases(ctx)
	if err != nil || slices.Contains(names, target) {
		t.Errorf("there is a target after a failed restore: %v, %v", names, err)
	}
	same(t, ctx, s, want, source)
	e.failsInPlace(t, ctx, s, source, b, "tool_failed")
}

// failsInPlace restores a backup in the place of its source, which fails and leaves the source as it is, the very same tables and files.
func (e *estate) failsInPlace(t *testing.T, ctx context.Context, s stack.Server, source string, b fullBackup, code string) {
	t.Helper()
	if err := s.AllowInPlace(ctx, source); err != nil {
		t.Fatal(err)
	}
	want, before := contentOf(t, ctx, s, source), identityOf(t, ctx, s, source)
	r, err := e.ctl.CreateRestore(ctx, map[string]any{"backup_id": b.ID, "in_place": true, "confirm": source, "skip_safety_backup": true})
	if err == nil {
		r, err = e.ctl.AwaitRestore(ctx, r.ID, "has failed", time.Minute, func(r stack.Restore) bool { return r.Status == "failed" })
	}
	if err != nil {
		t.Fatal(err)
	}
	if r.ErrorCode != code || r.TargetState != "untouched" || r.KeptState != "" {
		t.Errorf("it failed as %s: %s; its target is %s", r.ErrorCode, r.ErrorMessage, r.TargetState)
	}
	same(t, ctx, s, want, source)
	if now := identityOf(t, ctx, s, source); now != before {
		t.Errorf("the source was %s, it is %s", before, now)
	}
}

// identityOf describes a database by what changes when it, or a table of it, is made anew or written.
func identityOf(t *testing.T, ctx context.Context, s stack.Server, name string) string {
	t.Helper()
	out, err := s.Exec(ctx, name, map[string]string{
		"postgresql": "SELECT oid FROM pg_database WHERE datname = current_database(); SELECT string_agg(oid::text || relfilenode, ' ' ORDER BY oid) FROM pg_class WHERE relkind = 'r'",
		"mysql":      "SELECT table_name, create_time, update_time FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY 1",
		"sqlite":     "PRAGMA data_version;",
	}[s.Engine()])
	if err == nil && s.Engine() == "sqlite" {
		out, _, err = sumFile(name)
	}
	if err != nil || out == "" {
		t.Fatalf("look at %s: %q, %v", name, out, err)
	}
	return out
}

// TestMistake04_ChecksumBeforeEncryption: the checksum is that of the stored bytes, so that an encrypted backup verifies, again and
// again, and is restored.
func TestMistake04_ChecksumBeforeEncryption(t *testing.T) {
	e, ctx := commonEstate(t)
	e.project(t, ctx, "mistake04")
	name := e.database(t, ctx, e.maria, "mistake04", "sums", fewRows)
	want := contentOf(t, ctx, e.maria, name)
	for _, encryption := range []string{"age", "aes-256-cbc"} {
		for _, disk := range []string{"s3", "local"} {
			b := e.backUp(t, ctx, "mistake04", name, "--encryption", encryption, "--storage-disk", disk)
			file, err := e.fetch(ctx, b, b.FilePath, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			if out, err := shell(ctx, t.TempDir(), `sha256sum "$1"`, file); err != nil || !strings.HasPrefix(out, b.Checksum+" ") {
				t.Errorf("%s on %s: sha256sum says %s, the catalog %s: %v", encryption, disk, out, b.Checksum, err)
			}
			if b.Checksum == b.RawChecksum {
				t.Errorf("%s on %s: stored bytes and dump have one checksum", encryption, disk)
			}
			for _, level := range []string{"checksum", "content", "checksum"} {
				do(t, ctx, e.ctl, "backup", "verify", id(b.ID), "--level", level)
			}
			restored := copyName(e.maria, "sums_"+disk)
			e.restore(t, ctx, b, restored)
			same(t, ctx, e.maria, want, restored)
			drop(t, ctx, e.maria, restored)
		}
	}
}

// TestMistake05_LongerThanOneBuffer: a dump that is as long as a buffer of 8,192 bytes, one byte shorter or longer, or much longer,
// comes back from aes-256-cbc, by us and by openssl alone. The project has the panel's own key.
func TestMistake05_LongerThanOneBuffer(t *testing.T) {
	e, ctx := commonEstate(t)
	appKey := filepath.Join(t.TempDir(), "app.key")
	if err := os.WriteFile(appKey, []byte("base64:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.project(t, ctx, "mistake05", "--app-key-file", appKey)
	name := e.database(t, ctx, e.maria, "mistake05", "exact", "CREATE TABLE pad (id int PRIMARY KEY, t longtext NOT NULL) CHARACTER SET ascii; INSERT INTO pad VALUES (1, 'x')")
	back := func() fullBackup {
		t.Helper()
		return e.backUp(t, ctx, "mistake05", name, "--compression", "none", "--encryption", "aes-256-cbc")
	}
	base := back().RawSize
	for _, size := range []int64{8191, 8192, 8193, 16384, 1<<20 + 1} {
		if _, err := e.maria.Exec(ctx, name, fmt.Sprintf("UPDATE pad SET t = repeat('x', %d)", size-base+1)); err != nil {
			t.Fatal(err)
		}
		b := back()
		if b.RawSize != size {
			t.Fatalf("the dump has %d bytes, not %d", b.RawSize, size)
		}
		if padded := 16 + (size/16+1)*16; b.FileSize != padded {
			t.Errorf("%d bytes became %d, one CBC stream has %d", size, b.FileSize, padded)
		}
		do(t, ctx, e.ctl, "backup", "verify", id(b.ID), "--level", "content")
		dir := t.TempDir()
		dump, err := e.recoverByTools(ctx, b, appKey, dir)
		if err != nil {
			t.Fatal(err)
		}
		ours := filepath.Join(dir, "ours")
		do(t, ctx, e.ctl, "artifact", "decrypt", filepath.Join(dir, b.FileName), "-o", ours, "--app-key-file", appKey)
		for _, file := range []string{dump, ours} {
			if sum, n, err := sumFile(file); err != nil || sum != b.RawChecksum || n != size {
				t.Errorf("of %d bytes %s has %d with SHA-256 %s, not %s: %v", size, filepath.Base(file), n, sum, b.RawChecksum, err)
			}
		}
		restored := copyName(e.maria, fmt.Sprintf("exact_%d", size))
		e.restore(t, ctx, b, restored)
		same(t, ctx, e.maria, contentOf(t, ctx, e.maria, name), restored)
		drop(t, ctx, e.maria, restored)
	}
}

// TestMistake06_DumpPassesThrough: nothing of a dump passes through the controller or stays anywhere in plain text, neither while it
// runs nor afterwards.
func TestMistake06_DumpPassesThrough(t *testing.T) {
	e, ctx := commonEstate(t)
	e.heavy(t, ctx)
	source := map[string]string{"postgresql": filepath.Join(e.Dir, "pg1"), "mysql": filepath.Join(e.Dir, "maria1"), "sqlite": e.sqlite.Dir}
	nowhere := func(when string) {
		t.Helper()
		for _, file := range filesWith(t, e.Dir, [][]byte{[]byte(canary)}) {
			if !slices.ContainsFunc(slices.Collect(maps.Values(source)), func(dir string) bool { return strings.HasPrefix(file, dir+"/") }) {
				t.Errorf("%s the data is in %s", when, file)
			}
		}
		if memoryHas(t, e.controllers[0].Process().PID(), canary) {
			t.Errorf("%s the data is in the controller's memory", when)
		}
		if names := openDeleted(t, e.controllers[0].Process().PID()); len(names) > 0 {
			t.Errorf("%s the controller has deleted files open: %v", when, names)
		}
	}
	// Both searches find what is there.
	for engine, dir := range source {
		eventually(t, ctx, "the data of "+engine+" is on its disk", func(context.Context) (bool, error) { return len(filesWith(t, dir, [][]byte{[]byte(canary)})) > 0, nil })
	}
	backups, open := e.standStill(t, ctx)
	if !memoryHas(t, e.controllers[0].Process().PID(), e.s3.Bucket) {
		t.Error("the search in the controller's memory does not see the bucket's name")
	}
	nowhere("while they are dumped")
	open()
	all := e.awaitAll(t, ctx, backups)
	nowhere("after the backups")
	for _, b := range all {
		s := e.serverOf(b)
		restored := copyName(s, "through")
		e.restore(t, ctx, b, restored)
		drop(t, ctx, s, restored)
	}
	nowhere("after the restores")
}

// filesWith lists the files below a directory that hold any of some texts.
func filesWith(t *testing.T, dir string, texts [][]byte) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if slices.ContainsFunc(texts, func(text []byte) bool { return bytes.Contains(b, text) }) {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

var mapping = regexp.MustCompile(`(?m)^([0-9a-f]+)-([0-9a-f]+) rw`)

// memoryHas looks for a text in what a process can write to.
func memoryHas(t *testing.T, pid int, text string) bool {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	looked := 0
	for _, m := range mapping.FindAllSubmatch(maps, -1) {
		from, err1 := strconv.ParseInt(string(m[1]), 16, 64)
		to, err2 := strconv.ParseInt(string(m[2]), 16, 64)
		if errors.Join(err1, err2) != nil {
			continue // beyond what a file offset can say
		}
		const piece = 4 << 20
		buf := make([]byte, piece+len(text))
		for at := from; at < to; at += piece {
			n, _ := memory.ReadAt(buf[:min(int64(len(buf)), to-at)], at) // what was given back meanwhile cannot be read
			looked += n
			if bytes.Contains(buf[:n], []byte(text)) {
				return true
			}
		}
	}
	if looked < 1<<20 {
		t.Errorf("only %d bytes of the memory of process %d could be read", looked, pid)
	}
	return false
}

// openDeleted lists the open files of a process that have no name, and those that never had one.
func openDeleted(t *testing.T, pid int) (names []string) {
	t.Helper()
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(links) == 0 {
		t.Fatalf("open files of process %d: %v, %v", pid, links, err)
	}
	for _, link := range links {
		if name, err := os.Readlink(link); err == nil && (strings.HasSuffix(name, " (deleted)") || strings.HasPrefix(name, "/memfd:")) {
			names = append(names, name)
		}
	}
	return names
}

// TestMistake07_RetentionCountsWrong: days are counted, not backups; what is of another kind, server, engine or storage is counted by
// itself; a week across New Year is one; the days that are shown are kept; and a dry run is what is done.
func TestMistake07_RetentionCountsWrong(t *testing.T) {
	e, ctx := commonEstate(t)
	e.project(t, ctx, "mistake07")
	days := e.database(t, ctx, e.sqlite, "mistake07", "days07", fewRows)
	weeks := e.database(t, ctx, e.sqlite, "mistake07", "weeks07", fewRows)
	young := e.database(t, ctx, e.sqlite, "mistake07", "young07", fewRows)
	twin := e.database(t, ctx, e.sqlite, "mistake07", "twin07", fewRows)
	for _, s := range []stack.Server{e.postgres, e.maria} { // of one name
		if err := e.fillDatabase(ctx, s, "mixed07", fewRows); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.ctl.AwaitDatabase(ctx, "db1", "mixed07", 2); err != nil {
		t.Fatal(err)
	}
	for _, instance := range []string{"postgresql", "mysql"} {
		do(t, ctx, e.ctl, "database", "assign", "mixed07", "--project", "mistake07", "--on", "db1", "--instance", instance)
	}
	e.addAgent(t, ctx, "host07", "mistake07", stack.AgentOptions{Servers: map[string]stack.Server{"sqlite": e.sqlite}})
	e.assign(t, ctx, "mistake07", "host07", twin)

	ordered := func(database string, more map[string]any) wish {
		all := map[string]any{"project": "mistake07", "type": "scheduled", "server": "db1"}
		maps.Copy(all, more)
		return wish{database, all}
	}
	made := e.queues(
		t, ctx,
		slices.Repeat([]wish{ordered(days, nil)}, 6), slices.Repeat([]wish{ordered(weeks, nil)}, 5), slices.Repeat([]wish{ordered(young, nil)}, 5),
		append(slices.Repeat([]wish{ordered(twin, nil)}, 3), ordered(twin, map[string]any{"storage_disk": "local"}),
			ordered(twin, map[string]any{"type": "manual"}), ordered(twin, map[string]any{"type": "pre_deploy"})),
		[]wish{ordered(twin, map[string]any{"server": "host07"})},
		[]wish{ordered("mixed07", map[string]any{"instance": "postgresql"})}, []wish{ordered("mixed07", map[string]any{"instance": "mysql"})},
	)
	schedule := func(keep string, args ...string) int64 {
		return read[stack.Schedule](t, ctx, e.ctl, append([]string{"schedule", "create", "mistake07", "--daily", "02:00", "--inactive", "--keep", keep}, args...)...).ID
	}
	day := func(n int, clock string) string {
		return fmt.Sprintf("date_trunc('day', now()) - interval '%d days' + interval '%s'", n, clock)
	}
	e.madeBy(t, ctx, schedule("daily=3", "--database", days), made[0], day(9, "12:00"), day(3, "12:00"), day(2, "12:00"), day(1, "08:00"), day(1, "12:00"), day(1, "20:00"))
	e.madeBy(t, ctx, schedule("weekly=2", "--database", weeks), made[1],
		"'2025-12-10 12:00Z'", "'2025-12-24 12:00Z'", "'2025-12-29 12:00Z'", "'2025-12-31 12:00Z'", "'2026-01-02 12:00Z'")
	ago := func(hours int) string { return fmt.Sprintf("now() - interval '%d hours'", hours) }
	e.madeBy(t, ctx, schedule("daily=1,days=5", "--database", young), made[2], ago(20*24), ago(6*24), ago(4*24), ago(50), ago(1))
	all := schedule("daily=1", "--all")
	e.madeBy(t, ctx, all, made[3][:3], day(3, "12:00"), day(2, "12:00"), day(1, "12:00"))
	others := []int64{made[3][3], made[4][0], made[5][0], made[6][0]}
	for _, id := range others {
		e.madeBy(t, ctx, all, []int64{id}, day(9, "12:00"))
	}
	for _, id := range made[3][4:] {
		e.age(t, ctx, id, "40 days")
	}

	want := map[int64]string{
		made[0][0]: "keep: oldest", made[0][1]: "keep: daily", made[0][2]: "keep: daily", made[0][3]: "remove: expired", made[0][4]: "remove: expired", made[0][5]: "keep: newest daily",
		made[1][0]: "keep: oldest", made[1][1]: "keep: weekly", made[1][2]: "remove: expired", made[1][3]: "remove: expired", made[1][4]: "keep: newest weekly",
		made[2][0]: "keep: oldest", made[2][1]: "remove: expired", made[2][2]: "keep: days", made[2][3]: "keep: days", made[2][4]: "keep: newest daily days",
		made[3][0]: "keep: oldest", made[3][1]: "remove: expired", made[3][2]: "keep: newest daily",
		made[3][4]: "keep: newest at_least oldest", made[3][5]: "keep: newest at_least oldest",
	}
	for _, id := range others {
		want[id] = "keep: newest daily oldest"
	}
	plan := read[cleanup](t, ctx, e.ctl, "backup", "cleanup", "mistake07", "--dry-run")
	run := read[cleanup](t, ctx, e.ctl, "backup", "cleanup", "mistake07", "--grace", "0s")
	if !maps.Equal(plan.plan(), run.plan()) || len(run.Items) != len(want) {
		t.Errorf("planned was\n%v\ndone was\n%v", plan.plan(), run.plan())
	}
	var gone []int64
	for id, decided := range want {
		if got := run.decided(id); got != decided {
			t.Errorf("backup %d: %q, want %q", id, got, decided)
		}
		if strings.HasPrefix(decided, "remove") {
			gone = append(gone, id)
		}
	}
	sameIDs(t, "removed", run.removed(), gone)
	for _, id := range gone {
		e.purged(t, ctx, id)
	}
	// The week is read on the schedule's clock, and said.
	text := do(t, ctx, e.ctl, "backup", "cleanup", "mistake07", "--dry-run")
	for _, words := range []string{"newest of week 2026-W01, week 1 of the last 2 with a backup", "newest of week 2025-W52, week 2 of the last 2", "younger than 5 days", "day 3 of the last 3 with a backup"} {
		if !strings.Contains(text, words) {
			t.Errorf("the plan does not say %q:\n%s", words, text)
		}
	}
	e.invariants(t, ctx)
}

// TestMistake08_OccurrencesLost: a schedule occurs today where that is still possible, on the last day of each month, on the clock of its
// zone and once on each day, however late or long its runs are.
func TestMistake08_OccurrencesLost(t *testing.T) {
	e, ctx := commonEstate(t)
	e.project(t, ctx, "mistake08")
	today, daily, monthly := e.database(t, ctx, e.sqlite, "mistake08", "today", fewRows), e.database(t, ctx, e.sqlite, "mistake08", "daily", fewRows), e.database(t, ctx, e.sqlite, "mistake08", "monthly", fewRows)
	now, err := e.catalog.Now(ctx)
	if err != nil {
		t.Fatal(err)
	}
	schedule := func(name string, args ...string) stack.Schedule {
		t.Helper()
		s := read[stack.Schedule](t, ctx, e.ctl, append([]string{"schedule", "create", "mistake08", "--database", name, "--spread", "off"}, args...)...)
		t.Cleanup(func() { do(t, context.WithoutCancel(ctx), e.ctl, "schedule", "delete", id(s.ID)) })
		return s
	}
	zone := func(name string) *time.Location {
		t.Helper()
		z, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		return z
	}

	// Made at 01:00 for 02:00, and for in a moment.
	one := zone(clockZone(now.Add(time.Minute), 1)) // not at 01:59:59
	local := now.In(one)
	at2 := schedule(today, "--daily", "02:00", "--timezone", one.String())
	if at := at2.NextFive[0].At; !at.Equal(time.Date(local.Year(), local.Month(), local.Day(), 2, 0, 0, 0, one)) {
		t.Errorf("made at %s for 02:00 it occurs first at %s", local, at.In(one))
	}
	do(t, ctx, e.ctl, "schedule", "deactivate", id(at2.ID))
	moment := time.Now().In(one).Truncate(time.Second).Add(4 * time.Second)
	soon := schedule(today, "--daily", moment.Format("15:04:05"), "--timezone", one.String())
	if o := e.recorded(t, ctx, soon.ID, 1); !o.At.Equal(moment) {
		t.Errorf("made for %s it occurred at %s", moment, o.At.In(one))
	} else {
		e.ran(t, ctx, o, today)
	}

	// Each day of more than a year at 02:00 in Berlin; in spring, when the clock goes from 02:00 to 03:00, at 03:00.
	berlin := zone("Europe/Berlin")
	var days []time.Time
	for day := now.In(berlin).AddDate(0, 0, -400); len(days) == 0 || days[len(days)-1].Before(now); day = day.AddDate(0, 0, 1) {
		at := time.Date(day.Year(), day.Month(), day.Day(), 0, 0, 0, 0, berlin)
		for at.In(berlin).Hour() < 2 {
			at = at.Add(time.Minute)
		}
		days = append(days, at)
	}
	e.wasAway(t, ctx, schedule(daily, "--daily", "02:00", "--timezone", "Europe/Berlin").ID, days)

	// The last day of each month since that of February of last year.
	kathmandu := zone("Asia/Kathmandu")
	var ends []time.Time
	for month := time.February; len(ends) == 0 || ends[len(ends)-1].Before(now); month++ {
		ends = append(ends, time.Date(now.Year()-1, month+1, 0, 2, 0, 0, 0, kathmandu))
	}
	e.wasAway(t, ctx, schedule(monthly, "--monthly", "31@02:00", "--timezone", "Asia/Kathmandu").ID, ends)
	e.invariants(t, ctx)
}

// wasAway has a schedule occur at these times, of which only the last is to come: as after a downtime that began before the first. All
// of them have a record, the newest of those that came is run, and the last comes next.
func (e *estate) wasAway(t *testing.T, ctx context.Context, schedule int64, times []time.Time) {
	t.Helper()
	if err := e.catalog.Rewind(ctx, schedule, times[0].Add(-time.Second), times[0]); err != nil {
		t.Fatal(err)
	}
	var got []time.Time
	came := times[:len(times)-1]
	eventually(t, ctx, fmt.Sprintf("schedule %d has %d records", schedule, len(came)), func(ctx context.Context) (bool, error) {
		conn, err := e.catalog.Open(ctx)
		if err != nil {
			return false, err
		}
		defer conn.Close(context.WithoutCancel(ctx))
		err = conn.QueryRow(ctx, "SELECT coalesce(array_agg(at ORDER BY at), '{}') FROM schedule_occurrences WHERE schedule_id = $1", schedule).Scan(&got)
		if err == nil && len(got) < len(came) {
			err = fmt.Errorf("it has %s", got)
		}
		return err == nil, err
	})
	if !slices.EqualFunc(got, came, time.Time.Equal) {
		t.Errorf("the records of schedule %d are of %s, want %s", schedule, got, came)
	}
	o := e.history(t, ctx, schedule)
	if o[0].State != "run" || !o[0].Late || o[1].State != "missed" || o[1].Code != "downtime" || o[1].Reason == "" {
		t.Errorf("the newest records are %+v", o[:2])
	}
	s, err := e.ctl.Schedule(ctx, schedule)
	if err != nil || s.NextRunAt == nil || !s.NextRunAt.Equal(times[len(times)-1]) {
		t.Errorf("what comes next is %+v, not %s: %v", s, times[len(times)-1], err)
	}
	// It is spread; the test does not wait for that.
	e.forward(t, ctx, "UPDATE jobs SET not_before = now() WHERE backup_id = $1", *o[0].Databases[0].BackupID)
	e.ran(t, ctx, o[0], o[0].Databases[0].DatabaseName)
}

// TestMistake09_PasswordsInArguments: no password and no key is in an argument or in the environment of a program, and none is left
// in a file, while each engine is backed up and restored.
func TestMistake09_PasswordsInArguments(t *testing.T) {
	e, ctx := commonEstate(t)
	e.heavy(t, ctx)
	watch := watchProcesses(e.Stack)
	backups, open := e.standStill(t, ctx)
	texts := []text{}
	for _, engine := range []string{"postgresql", "mysql"} {
		tool := e.toolOf(t, ctx, engine)
		command, environ, err := stack.CommandAndEnviron(tool.PID)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text{"the arguments of a standing " + tool.Command, strings.Join(command, " ")}, text{"the environment of a standing " + tool.Command, strings.Join(environ, " ")})
	}
	open()
	e.project(t, ctx, "mistake09")
	var encrypted []fullBackup
	for i, b := range e.awaitAll(t, ctx, backups) {
		s := e.serverOf(b)
		if s.Engine() != "sqlite" { // which runs no program
			restored := copyName(s, fmt.Sprintf("argued_%d", i))
			e.restore(t, ctx, b, restored)
			drop(t, ctx, s, restored)
		}
		encrypted = append(encrypted, e.backUp(t, ctx, "mistake09", e.database(t, ctx, s, "mistake09", "argued", fewRows), "--encryption", "aes-256-cbc"))
	}
	texts = append(texts, watch()...)
	for _, program := range []string{"pg_dump", "mariadb-dump", "pg_restore", "mariadb"} {
		if !slices.ContainsFunc(texts, func(x text) bool { return x.where == "the environment of "+program }) {
			t.Errorf("no %s was seen", program)
		}
	}

	// The installation's own keys are elsewhere tested for; these are of databases, projects and single backups.
	secrets := map[string]string{"the S3 secret key": e.s3.SecretKey}
	for name, file := range map[string]string{
		"pg1's backup password": e.postgres.BackupPasswordFile, "pg1's restore password": e.postgres.RestorePasswordFile,
		"maria1's backup password": e.maria.BackupPasswordFile, "maria1's restore password": e.maria.RestorePasswordFile,
	} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		secrets[name] = strings.TrimSpace(string(b))
	}
	keys := filepath.Join(t.TempDir(), "keys")
	do(t, ctx, e.ctl, "project", "key", "mistake09", "-o", keys)
	b, err := os.ReadFile(keys)
	if err != nil {
		t.Fatal(err)
	}
	secrets["the project's key"] = regexp.MustCompile(`AGE-SECRET-KEY-1[0-9A-Z]+`).FindString(string(b))
	if secrets["the project's app key"], err = e.ctl.AppKey(ctx, "mistake09"); err != nil {
		t.Fatal(err)
	}
	for _, b := range encrypted {
		var derived struct {
			Cipher string `json:"cipher_key"`
			MAC    string `json:"mac_key"`
		}
		if err := e.offline(ctx, &derived, "key", "derive", b.FileName, "--app-key-file", keys); err != nil {
			t.Fatal(err)
		}
		secrets["the cipher key of "+b.DatabaseName], secrets["the MAC key of "+b.DatabaseName] = derived.Cipher, derived.MAC
	}
	for name, secret := range secrets {
		check(t, texts, name, secret)
	}
	var forms [][]byte
	for _, secret := range secrets {
		forms = append(forms, []byte(secret))
		if raw, err := hex.DecodeString(secret); err == nil && len(raw) == 32 {
			forms = append(forms, raw)
		}
	}
	// Where the stack itself keeps what it gave out.
	given := []string{filepath.Join(e.Dir, "secrets"), filepath.Join(e.s3.Dir, "secret-key")}
	kept := 0
	for _, file := range filesWith(t, e.Dir, forms) {
		if strings.HasPrefix(file, given[0]+"/") || file == given[1] {
			kept++
			continue
		}
		t.Errorf("a secret is left in %s", file)
	}
	if kept < 5 {
		t.Errorf("the search in files found only %d of those that hold a secret", kept)
	}
	if left, err := filepath.Glob(filepath.Join(e.tmp, "*")); err != nil || len(left) > 0 {
		t.Errorf("temporary files are left: %v, %v", left, err)
	}
	if left := openDeleted(t, e.agent.Process().PID()); len(left) > 0 {
		t.Errorf("the agent has files without a name open: %v", left)
	}
}

// TestMistake11_S3CannotBeReadBack: what is on S3 is verified, restored and downloaded, and is the same bytes each time.
func TestMistake11_S3CannotBeReadBack(t *testing.T) {
	e, ctx := commonEstate(t)
	e.project(t, ctx, "mistake11")
	e.eachEngine(t, func(t *testing.T, s stack.Server) {
		ctx := testContext(t)
		name := e.database(t, ctx, s, "mistake11", "back", fewRows)
		b := e.backUp(t, ctx, "mistake11", name, "--storage-disk", "s3")
		for _, level := range []string{"checksum", "content"} {
			do(t, ctx, e.ctl, "backup", "verify", id(b.ID), "--level", level)
		}
		restored := copyName(s, "back")
		e.restore(t, ctx, b, restored)
		same(t, ctx, s, contentOf(t, ctx, s, name), restored)
		stored, err := e.fetch(ctx, b, b.FilePath, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		want, _, err := sumFile(stored)
		if err != nil || want != b.Checksum {
			t.Errorf("the object has SHA-256 %s, the catalog says %s: %v", want, b.Checksum, err)
		}
		for way, args := range map[string][]string{"direct": nil, "through the controller": {"--via-controller"}, "opened": {"--decrypt"}} {
			file := filepath.Join(t.TempDir(), "file")
			do(t, ctx, e.ctl, append([]string{"backup", "download", id(b.ID), "-o", file}, args...)...)
			want, size := b.Checksum, b.FileSize
			if way == "opened" {
				want, size = b.RawChecksum, b.RawSize
			}
			if sum, n, err := sumFile(file); err != nil || sum != want || n != size {
				t.Errorf("the download, %s, has %d bytes with SHA-256 %s, want %d with %s: %v", way, n, sum, size, want, err)
			}
		}
	})
}

// TestMistake12_UploadResultIgnored: a backup whose upload fails, or is not confirmed, is not completed, and what was there before is
// there still.
func TestMistake12_UploadResultIgnored(t *testing.T) {
	e, ctx := commonEstate(t)
	e.project(t, ctx, "mistake12")
	files, err := e.NewSQLite("sqlite12")
	if err != nil {
		t.Fatal(err)
	}
	name := files.Name("kept")
	if err := e.fillDatabase(ctx, files, name, fewRows); err != nil {
		t.Fatal(err)
	}
	e.addAgent(t, ctx, "impatient", "mistake12", stack.AgentOptions{Servers: map[string]stack.Server{"files": files}, Limits: map[string]any{"upload_timeout": "1s"}})
	e.assign(t, ctx, "mistake12", "impatient", name)
	kept := e.backUp(t, ctx, "mistake12", name)
	before, err := e.s3.Objects(ctx)
	if err != nil {
		t.Fatal(err)
	}

	for code, status := range map[string]int{"AccessDenied": 403, "SlowDown": 503} {
		rule := e.s3.Proxy.Inject("UploadPart", 0, s3kit.Status(status, code))
		refused(t, ctx, e.ctl, 1, []string{"failed", "storage_"}, "backup", "create", "mistake12", "--wait")
		b := newestBackup(t, ctx, e.ctl, "mistake12")
		if b.ID == kept.ID || b.Status != "failed" || rule.Fired() == 0 {
			t.Errorf("%s: the backup is %+v; parts were refused %d times", code, b, rule.Fired())
		}
		e.neverCompleted(t, ctx, b.ID)
		e.s3.Proxy.Reset()
	}
	eventually(t, ctx, "the bucket is as it was", func(ctx context.Context) (bool, error) {
		now, err := e.s3.Objects(ctx)
		if err == nil && !slices.Equal(now, before) {
			err = fmt.Errorf("it holds %v", now)
		}
		return err == nil, err
	})

	// The last step is not confirmed: the backup waits for it.
	rule := e.s3.Proxy.Inject("CompleteMultipartUpload", 0, s3kit.Status(500, "InternalError"))
	out := read[struct {
		Items []struct{ Backup stack.Backup }
	}](t, ctx, e.ctl, "backup", "create", "mistake12")
	eventually(t, ctx, "the completion was refused twice", func(context.Context) (bool, error) { return rule.Fired() >= 2, nil })
	if b := e.backup(t, ctx, out.Items[0].Backup.ID); b.Status != "running" || b.CompletedAt != nil {
		t.Errorf("with its upload not completed the backup is %+v", b)
	}
	e.s3.Proxy.Reset()
	e.awaitAll(t, ctx, []stack.Backup{out.Items[0].Backup})
	do(t, ctx, e.ctl, "backup", "verify", id(out.Items[0].Backup.ID), "--level", "content")

	do(t, ctx, e.ctl, "backup", "verify", id(kept.ID), "--level", "content")
	e.restore(t, ctx, kept, files.Name("kept_again"))
	same(t, ctx, files, contentOf(t, ctx, files, name), files.Name("kept_again"))
	e.invariants(t, ctx)
}

// TestMistake13_StartedBesideItself: a backup that takes long is not started a second time, neither by who asks again nor because
// time has passed.
func TestMistake13_StartedBesideItself(t *testing.T) {
	e, ctx := commonEstate(t)
	names := e.heavy(t, ctx)
	earlier, err := e.ctl.Backups(ctx, heavyProject)
	if err != nil {
		t.Fatal(err)
	}
	backups, open := e.standStill(t, ctx)
	for engine, name := range names {
		refused(t, ctx, e.ctl, 1, []string{"is running", "cancel"}, "backup", "create", heavyProject, "--database", name)
		if engine != "sqlite" {
			e.toolOf(t, ctx, engine)
		}
	}
	// Nor does a schedule: it says what is still at work.
	schedule := e.schedule(t, ctx, heavyProject, "--all")
	o := e.occur(t, ctx, schedule)
	not(t, o, "skipped", "overlap", "still running, since ")
	if len(o.Databases) != len(names) {
		t.Errorf("the schedule covers %d databases and tells of %+v", len(names), o.Databases)
	}
	do(t, ctx, e.ctl, "schedule", "delete", id(schedule))
	// Everyone at once, each with a key of their own.
	answers := make(chan error, 12)
	for i := range cap(answers) {
		go func() {
			name := names[e.servers[i%len(e.servers)].Engine()]
			answers <- e.ctl.WithKey(fmt.Sprintf("again %d", i)).API(ctx, http.MethodPost, "/backups", map[string]any{"project": heavyProject, "database": name}, nil)
		}()
	}
	for range cap(answers) {
		if problem := (*stack.ProblemError)(nil); !errors.As(<-answers, &problem) || problem.Status != http.StatusConflict {
			t.Errorf("a second backup was answered with %v", problem)
		}
	}
	// More than 15 minutes have passed, and so has its lease, several times.
	e.forward(t, ctx, "UPDATE database_backups SET started_at = started_at - interval '20 minutes', created_at = created_at - interval '20 minutes' WHERE status = 'running'")
	leases := func() (n int) {
		t.Helper()
		rows, err := e.catalog.Rows(ctx, "SELECT count(*) FROM attempts WHERE status = 'running' AND lease_until > accepted_at + interval '9 seconds' AND suspect_at IS NULL")
		if err == nil {
			n, err = strconv.Atoi(rows[0])
		}
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	eventually(t, ctx, "each has outlived two leases", func(context.Context) (bool, error) { return leases() == len(backups), nil })
	running := map[string]int{}
	for _, c := range e.agent.Process().Children() {
		program, _, _ := strings.Cut(c.Command, " ")
		running[filepath.Base(program)]++
	}
	if running["pg_dump"] != 1 || running["mariadb-dump"] != 1 {
		t.Errorf("dumps that run: %v", running)
	}
	open()
	e.awaitAll(t, ctx, backups)
	for _, b := range backups {
		e.attempts(t, ctx, b.JobID, "completed")
	}
	if now, err := e.ctl.Backups(ctx, heavyProject); err != nil || len(now) != len(earlier)+len(backups) {
		t.Errorf("there were %d backups, there are %d: %v", len(earlier), len(now), err)
	}
	// Then the next one is welcome.
	e.backUp(t, ctx, heavyProject, names["sqlite"])
	e.invariants(t, ctx)
}

// TestMistake14_StoredAsSomethingElse: type, storage and encryption of a backup are those that were asked for, and the file is so.
func TestMistake14_StoredAsSomethingElse(t *testing.T) {
	e, ctx := commonEstate(t)
	e.project(t, ctx, "mistake14")
	e.project(t, ctx, "mistake14-plain", "--encryption", "none")
	zstd := []byte{0x28, 0xb5, 0x2f, 0xfd}
	age := []byte("age-encryption.org/v1\n")
	names := map[string]string{"mistake14": e.database(t, ctx, e.sqlite, "mistake14", "asked", fewRows), "mistake14-plain": e.database(t, ctx, e.sqlite, "mistake14-plain", "plain", fewRows)}
	for i, tc := range []struct {
		project              string
		in                   map[string]any
		kind, disk, encrypts string
		begins               []byte // nil: as nothing known does
	}{
		{"mistake14", nil, "manual", "s3", "age", age}, // the button: nothing is said
		{"mistake14", map[string]any{"type": "pre_deploy", "storage_disk": "local", "encrypt": true}, "pre_deploy", "local", "age", age},
		{"mistake14", map[string]any{"type": "scheduled", "storage_disk": "s3", "encryption": "aes-256-cbc"}, "scheduled", "s3", "aes-256-cbc", nil},
		{"mistake14", map[string]any{"storage_disk": "local", "encrypt": false}, "manual", "local", "none", zstd},
		{"mistake14-plain", nil, "manual", "s3", "none", zstd},
		{"mistake14-plain", map[string]any{"encrypt": true, "storage_disk": "local"}, "manual", "local", "aes-256-cbc", nil},
	} {
		in := map[string]any{"project": tc.project, "database": names[tc.project]}
		for k, v := range tc.in {
			in[k] = v
		}
		var out struct {
			Items []struct{ Backup stack.Backup }
		}
		if err := e.ctl.API(ctx, http.MethodPost, "/backups", in, &out); err != nil {
			t.Fatal(err)
		}
		b := e.awaitAll(t, ctx, []stack.Backup{out.Items[0].Backup})[0]
		if b.Type != tc.kind || b.StorageDisk != tc.disk || b.Encryption != tc.encrypts || b.SameHost != (tc.disk == "local") {
			t.Errorf("%d: asked for %v, it is %s on %s with %s", i, tc.in, b.Type, b.StorageDisk, b.Encryption)
		}
		file, err := e.fetch(ctx, b, b.FilePath, t.TempDir())
		if err != nil {
			t.Fatalf("%d: it is not where it is said to be: %v", i, err)
		}
		head, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if tc.begins != nil && !bytes.HasPrefix(head, tc.begins) || tc.begins == nil && (bytes.HasPrefix(head, zstd) || bytes.HasPrefix(head, age)) {
			t.Errorf("%d: the file with %s begins as %q", i, tc.encrypts, head[:min(len(head), 24)])
		}
		if tc.encrypts != "none" && bytes.Contains(head, []byte("Ada")) {
			t.Errorf("%d: the encrypted file has plain rows", i)
		}
	}
}

// TestMistake15_DeletionIgnoresFailure: a row is closed when its objects were seen gone, not before; what is deleted besides leaves
// backups and objects where they are.
func TestMistake15_DeletionIgnoresFailure(t *testing.T) {
	e, ctx := commonEstate(t)
	e.project(t, ctx, "mistake15")
	files, err := e.NewSQLite("sqlite15")
	if err != nil {
		t.Fatal(err)
	}
	name := files.Name("deleted")
	if err := e.fillDatabase(ctx, files, name, fewRows); err != nil {
		t.Fatal(err)
	}
	e.addAgent(t, ctx, "leaving", "mistake15", stack.AgentOptions{Servers: map[string]stack.Server{"files": files}, Local: true})
	e.assign(t, ctx, "mistake15", "leaving", name)
	first := e.backUp(t, ctx, "mistake15", name)
	kept := []fullBackup{e.backUp(t, ctx, "mistake15", name), e.backUp(t, ctx, "mistake15", name, "--storage-disk", "local")}
	objects := func(b fullBackup) (n int) {
		t.Helper()
		all, err := e.s3.Objects(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range all {
			if strings.HasPrefix(o.Key, strings.TrimSuffix(b.FilePath, ".sqlite.zst.age")) {
				n++
			}
		}
		return n
	}

	had := objects(first)
	rule := e.s3.Proxy.Inject("DeleteObject", 0, s3kit.Status(403, "AccessDenied"))
	do(t, ctx, e.ctl, "backup", "delete", id(first.ID), "--grace", "0s", "--reason", "test")
	for try := 1; try <= 2; try++ {
		eventually(t, ctx, "the store has refused the deletion", func(context.Context) (bool, error) { return rule.Fired() >= try, nil })
		e.waiting(t, ctx, first.ID, "access denied")
		if b := e.backup(t, ctx, first.ID); b.DeletedAt == nil || b.PurgedAt != nil || b.Health != "deleting" {
			t.Errorf("with its deletion refused it is %+v", b)
		}
		if n := objects(first); n != had || n < 2 {
			t.Errorf("it had %d objects, it has %d", had, n)
		}
		if try == 2 {
			e.s3.Proxy.Reset()
		}
		// It is tried again after a while.
		e.forward(t, ctx, "UPDATE database_backups SET delete_after = now(), delete_waiting = '' WHERE id = $1 AND health = 'deleting'", first.ID)
	}
	eventually(t, ctx, "the backup is gone", func(ctx context.Context) (bool, error) {
		left := objects(first)
		b := e.backup(t, ctx, first.ID)
		if b.PurgedAt != nil && objects(first) > 0 {
			return false, stack.Hopeless(errors.New("its row is closed, its objects are there"))
		}
		return b.PurgedAt != nil && left == 0, nil
	})

	do(t, ctx, e.ctl, "server", "revoke", "leaving")
	do(t, ctx, e.ctl, "project", "delete", "mistake15")
	for _, b := range kept {
		now := e.backup(t, ctx, b.ID)
		if now.Status != "completed" || now.DeletedAt != nil || now.Health != "ok" || now.FilePath != b.FilePath {
			t.Errorf("without its server and project the backup is %+v", now)
		}
	}
	// However old they become, retention leaves them to people.
	for _, b := range kept {
		e.age(t, ctx, b.ID, "4000 days")
	}
	plan := read[cleanup](t, ctx, e.ctl, "backup", "cleanup", "--dry-run")
	for _, b := range kept {
		if got := plan.decided(b.ID); got != "keep: orphan" {
			t.Errorf("without its server and project the backup is %q to retention", got)
		}
	}
	if n := objects(kept[0]); n < 2 {
		t.Errorf("without its server and project the backup has %d objects in the bucket", n)
	}
	if sum, _, err := sumFile(filepath.Join(e.more[len(e.more)-1].LocalDir, kept[1].FilePath)); err != nil || sum != kept[1].Checksum {
		t.Errorf("without its server and project the backup on the host has SHA-256 %s, not %s: %v", sum, kept[1].Checksum, err)
	}
	// It can still be had.
	file := filepath.Join(t.TempDir(), "file")
	do(t, ctx, e.ctl, "backup", "download", id(kept[0].ID), "-o", file)
	if sum, _, err := sumFile(file); err != nil || sum != kept[0].Checksum {
		t.Errorf("the download has SHA-256 %s, not %s: %v", sum, kept[0].Checksum, err)
	}
	e.invariants(t, ctx)
}
