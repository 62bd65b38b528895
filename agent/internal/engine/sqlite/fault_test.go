package sqlite_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engine/enginetest"
	"devflowbackup/agent/internal/engine/sqlite"
	"devflowbackup/shared/wire"
)

// roleVariable makes the test binary act as another program.
const roleVariable = "DEVFLOW_SQLITE_ROLE"

func TestMain(m *testing.M) {
	enginetest.Main(openChild)
	role, args := os.Getenv(roleVariable), os.Args[1:]
	if run, ok := roles[role]; ok {
		if err := run(args); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var roles = map[string]func(args []string) error{
	"dumper": dumpAndHang, "smalldisk": dumpOnSmallDisk, "swapper": swapAndTell,
}

// again starts the test binary in a role.
func again(tb testing.TB, role string, wrap []string, args ...string) (cmd *exec.Cmd, out *bufio.Reader) {
	tb.Helper()
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	argv := append(append(wrap, self), args...)
	cmd = exec.CommandContext(testContext(tb), argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, bufio.NewReader(stdout)
}

// program is a sqlite3 that runs what it is told.
type program struct {
	tb    testing.TB
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader

	closed sync.Once
}

func startProgram(tb testing.TB, path string, flags ...string) *program {
	tb.Helper()
	p := launch(tb, path, flags...)
	tb.Cleanup(p.Close)
	return p
}

// launch starts one that ends at its first error if that is a flag.
func launch(tb testing.TB, path string, flags ...string) *program {
	tb.Helper()
	p := &program{tb: tb, cmd: exec.CommandContext(testContext(tb), "sqlite3", append(append([]string{"-batch"}, flags...), path)...)}
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	p.out, p.cmd.Stderr = bufio.NewReader(stdout), os.Stderr
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	return p
}

// Close kills the program, once.
func (p *program) Close() {
	p.closed.Do(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
}

// Write adds a number.
func (p *program) Write(_ context.Context, n int64) error {
	return p.try(fmt.Sprintf("INSERT INTO writes VALUES (%d);", n))
}

// run waits until the statements have run.
func (p *program) run(sql string) {
	p.tb.Helper()
	if err := p.try(sql); err != nil {
		p.tb.Fatal(err)
	}
}

func (p *program) try(sql string) error {
	if _, err := io.WriteString(p.stdin, sql+"\nSELECT 'done here';\n"); err != nil {
		return err
	}
	for {
		line, err := p.out.ReadString('\n')
		if err != nil {
			return err
		}
		if line == "done here\n" {
			return nil
		}
	}
}

// writer is a program that moves amounts between two tables without a pause. Their sum never changes, and each change
// is written down.
func writer(tb testing.TB, path, journalMode string) {
	tb.Helper()
	shell(tb, path, "PRAGMA journal_mode = "+journalMode+`;
		CREATE TABLE a (id integer PRIMARY KEY, n integer, fill blob);
		CREATE TABLE b (id integer PRIMARY KEY, n integer, fill blob);
		CREATE TABLE log (id integer PRIMARY KEY);
		WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < 3000) INSERT INTO a SELECT n, 1000, randomblob(900) FROM g;
		INSERT INTO b SELECT id, 1000, randomblob(900) FROM a;`)
	p := startProgram(tb, path)
	p.run("PRAGMA busy_timeout = 20000; PRAGMA synchronous = OFF; PRAGMA wal_autocheckpoint = 50;")
	done := make(chan struct{})
	stop := make(chan struct{})
	move := strings.Repeat(`BEGIN IMMEDIATE;
		UPDATE a SET n = n - 1, fill = randomblob(900) WHERE id % 100 = (SELECT count(*) % 100 FROM log);
		UPDATE b SET n = n + 1, fill = randomblob(900) WHERE id % 100 = (SELECT count(*) % 100 FROM log);
		INSERT INTO log DEFAULT VALUES; COMMIT;`, 20)
	p.run(move)
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := io.WriteString(p.stdin, move); err != nil {
					return
				}
			}
		}
	}()
	tb.Cleanup(func() {
		close(stop)
		p.Close()
		<-done
	})
}

// Fault 61: a program writes without a pause, and a large -wal lies beside the file. Each dump is one moment.
func TestDump_61_WhileItIsWritten(t *testing.T) {
	for _, mode := range []string{"WAL", "DELETE", "TRUNCATE"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "app.db")
			writer(t, path, mode)
			e := newEngine(t, sqlite.Config{Paths: []string{dir}})
			var last int
			for range 4 {
				file, d := dump(t, e, path)
				if left, err := filepath.Glob(file + "-*"); err != nil || len(left) > 0 {
					t.Errorf("the dump needs %q", left)
				}
				got := strings.Fields(shell(t, file, "PRAGMA integrity_check; SELECT sum(n) FROM (SELECT n FROM a UNION ALL SELECT n FROM b); SELECT count(*) FROM log;"))
				if len(got) != 3 || got[0] != "ok" || got[1] != "6000000" {
					t.Fatalf("the dump is not consistent: %q", got)
				}
				moves, err := strconv.Atoi(got[2])
				if err != nil || moves <= last {
					t.Fatalf("the fault did not fire: %d moves after %d", moves, last)
				}
				last = moves
				f, err := d.Fingerprint(testContext(t))
				if err != nil {
					t.Fatal(err)
				}
				if rows := f.Rows(); rows != int64(6000+moves) || !f.Exact {
					t.Errorf("the fingerprint has %d rows, the dump %d", rows, 6000+moves)
				}
			}
		})
	}
}

// Fault 61: what is no regular file is refused, and nothing of it is opened.
func TestDump_61_NotARegularFile(t *testing.T) {
	dir := t.TempDir()
	real := filepath.Join(dir, "real")
	if err := os.Mkdir(real, 0o755); err != nil {
		t.Fatal(err)
	}
	shell(t, filepath.Join(real, "app.db"), smallSQL)
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.Symlink(filepath.Join(real, "app.db"), at("link.db")), os.Symlink(real, at("linked")), os.Symlink("nowhere", at("dangling.db")),
		unix.Mkfifo(at("fifo.db"), 0o666), os.Mkdir(at("directory.db"), 0o755), unix.Mknod(at("device.db"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))),
		os.Link(filepath.Join(real, "app.db"), at("hard.db")), os.Symlink("/etc/shadow", at("shadow.db")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	listener, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(listener)
	if err := unix.Bind(listener, &unix.SockaddrUnix{Name: at("socket.db")}); err != nil {
		t.Fatal(err)
	}
	e := newEngine(t, sqlite.Config{Paths: []string{dir}})
	for _, walked := range []bool{false, true} {
		sqlite.WithoutOpenat2(walked)
		for name, says := range map[string]string{
			"link.db": "symbolic link", "linked/app.db": "symbolic link", "dangling.db": "symbolic link", "shadow.db": "symbolic link",
			"fifo.db": "named pipe", "directory.db": "directory", "device.db": "device", "socket.db": "socket", "hard.db": "hard links",
		} {
			for what, err := range map[string]error{"Dump": dumpError(t, e, at(name)), "Fingerprint": fingerprintError(t, e, at(name))} {
				f := wantCode(t, err, wire.CodeNotAllowed)
				if !strings.Contains(f.Message, says) {
					t.Errorf("%s of %s: %v", what, name, err)
				}
			}
		}
	}
	sqlite.WithoutOpenat2(false)
	found, err := e.Discover(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range found {
		if d.Name != at("hard.db") && d.Name != filepath.Join(real, "app.db") {
			t.Errorf("found %q", d.Name)
		}
	}
}

func dumpError(tb testing.TB, e engine.Engine, path string) error {
	tb.Helper()
	d, err := e.Dump(testContext(tb), engine.DumpRequest{Database: path})
	if err != nil {
		return err
	}
	defer d.Close()
	_, err = io.Copy(io.Discard, d)
	return err
}

func fingerprintError(tb testing.TB, e engine.Engine, path string) error {
	tb.Helper()
	_, err := e.Fingerprint(testContext(tb), path)
	return err
}

// Fault 61: files beside the database that SQLite would open are refused if they are links or pipes.
func TestDump_61_SideFiles(t *testing.T) {
	for _, suffix := range []string{"-wal", "-shm", "-journal"} {
		e, path := newDatabase(t, "PRAGMA journal_mode = WAL;"+smallSQL)
		other := filepath.Join(t.TempDir(), "other")
		if err := os.WriteFile(other, []byte("precious"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(other, path+suffix); err != nil {
			t.Fatal(err)
		}
		wantCode(t, dumpError(t, e, path), wire.CodeNotAllowed)
		if err := os.Remove(path + suffix); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mkfifo(path+suffix, 0o666); err != nil {
			t.Fatal(err)
		}
		wantCode(t, dumpError(t, e, path), wire.CodeNotAllowed)
		if text, err := os.ReadFile(other); err != nil || string(text) != "precious" {
			t.Errorf("the link was followed: %q, %v", text, err)
		}
	}
}

// Faults 55 and 61: the file is exchanged after it was looked at. Each case shows that it fired.
func TestDump_61_Replaced(t *testing.T) {
	for _, c := range []struct {
		name  string
		place string
		code  string
		swap  func(path string) error
	}{
		{"ByAnotherFile", "copying", wire.CodeToolFailed, func(path string) error {
			return errors.Join(os.WriteFile(path+".new", []byte("new"), 0o644), os.Rename(path+".new", path))
		}},
		{"ByALink", "copying", wire.CodeNotAllowed, func(path string) error { return errors.Join(os.Remove(path), os.Symlink("/etc/shadow", path)) }},
		{"ByAPipe", "copying", wire.CodeNotAllowed, func(path string) error { return errors.Join(os.Remove(path), unix.Mkfifo(path, 0o666)) }},
		{"Removed", "opened", wire.CodeDatabaseMissing, os.Remove},
		{"DirectoryByALink", "opened", wire.CodeNotAllowed, func(path string) error {
			dir := filepath.Dir(path)
			return errors.Join(os.Rename(dir, dir+".old"), os.Symlink(dir+".old", dir))
		}},
		{"ByAnotherFileBeforeItIsOpened", "held", wire.CodeToolFailed, func(path string) error {
			return errors.Join(os.Rename(path, path+".old"), copyFile(path+".old", path))
		}},
		{"ForAMoment", "held", wire.CodeToolFailed, func(path string) error {
			return errors.Join(os.Rename(path, path+".old"), copyFile(path+".old", path))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			sub := filepath.Join(dir, "sub")
			if err := os.Mkdir(sub, 0o755); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(sub, "app.db")
			shell(t, path, smallSQL)
			e := newEngine(t, sqlite.Config{Paths: []string{dir}})
			fired := 0
			e.OnReached(func(place string) {
				if place == c.place && fired == 0 {
					fired++
					if err := c.swap(path); err != nil {
						t.Error(err)
					}
				}
				if place == "connected" && c.name == "ForAMoment" {
					if err := os.Rename(path+".old", path); err != nil {
						t.Error(err)
					}
				}
			})
			f := wantCode(t, dumpError(t, e, path), c.code)
			if fired != 1 {
				t.Error("the fault did not fire")
			}
			if c.code == wire.CodeToolFailed && (!strings.Contains(f.Message, "was replaced") || !f.Retryable) {
				t.Errorf("%+v", f)
			}
		})
	}
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}

// Fault 55: missing at all, or only its directory.
func TestDump_55_Missing(t *testing.T) {
	e, path := newDatabase(t, smallSQL)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for _, missing := range []string{path, filepath.Join(filepath.Dir(path), "no", "such.db")} {
		wantCode(t, dumpError(t, e, missing), wire.CodeDatabaseMissing)
		if there, err := e.Exists(testContext(t), missing); err != nil || there {
			t.Errorf("Exists(%q): %v, %v", missing, there, err)
		}
	}
}

// A writer in rollback-journal mode that does not let go ends the wait, not the agent.
func TestDump_Locked(t *testing.T) {
	e, path := newDatabase(t, smallSQL)
	limited := newEngine(t, sqlite.Config{Paths: []string{filepath.Dir(path)}, LockTimeout: 200 * time.Millisecond})
	p := startProgram(t, path)
	p.run("BEGIN EXCLUSIVE; INSERT INTO people VALUES (9999, 'x', 'y');")
	if f := wantCode(t, dumpError(t, limited, path), wire.CodeLockTimeout); !f.Retryable || f.Hint == "" {
		t.Errorf("%+v", f)
	}
	ctx, cancel := context.WithCancelCause(testContext(t))
	go cancel(wire.Failf(wire.CodeInterrupted, "the agent stops"))
	_, err := e.Dump(ctx, engine.DumpRequest{Database: path})
	wantCode(t, err, wire.CodeInterrupted)
	// Another waits its turn, and gets it.
	done := make(chan error, 1)
	go func() { done <- dumpError(t, e, path) }()
	p.run("COMMIT;")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A transaction that a program left half-way is not rolled back by us: its journal may name other files.
func TestDump_HotJournal(t *testing.T) {
	for _, several := range []bool{false, true} {
		t.Run(fmt.Sprintf("several=%v", several), func(t *testing.T) {
			e, path := newDatabase(t, smallSQL)
			p := startProgram(t, path)
			p.run("PRAGMA cache_size = 5; BEGIN; UPDATE people SET name = name || randomblob(200);")
			journal, err := os.ReadFile(path + "-journal")
			if err != nil {
				t.Fatal(err)
			}
			database, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			p.Close()
			victim := filepath.Join(t.TempDir(), "victim")
			if several {
				// As SQLite ends a journal that belongs to a transaction over several files.
				name := []byte(victim)
				sum := 0
				for _, c := range name {
					sum += int(c)
				}
				tail := append([]byte{0, 0, 0, 1}, name...)
				tail = append(tail, byte(0), byte(0), byte(len(name)>>8), byte(len(name)), byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
				journal = append(journal, append(tail, 0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7)...)
				if err := os.WriteFile(victim, []byte("/nowhere\x00"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(os.WriteFile(path, database, 0o644), os.WriteFile(path+"-journal", journal, 0o644)); err != nil {
				t.Fatal(err)
			}
			f := wantCode(t, dumpError(t, e, path), wire.CodeToolFailed)
			if !strings.Contains(f.Message, "died") || f.Hint == "" {
				t.Errorf("%+v", f)
			}
			now, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(now, database) {
				t.Errorf("the source was changed: %v", err)
			}
			if several {
				if _, err := os.Lstat(victim); err != nil {
					t.Errorf("a file that the journal names was removed: %v", err)
				}
				return
			}
			shell(t, path, "SELECT count(*) FROM people;") // rolls back
			if err := dumpError(t, e, path); err != nil {
				t.Error(err)
			}
		})
	}
}

// What is no database, or damaged, is said so and does not become a backup.
func TestDump_NotADatabase(t *testing.T) {
	e, path := newDatabase(t, smallSQL)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(whole)
	for i := 5 * 4096; i < 6*4096; i++ {
		damaged[i] ^= 0x55
	}
	for name, c := range map[string]struct {
		content []byte
		says    string
	}{
		"Encrypted": {bytes.Repeat([]byte("\x8c\x01q~"), 4096), "encrypted"}, "Short": {whole[:50], "not an SQLite database"},
		"Text": {[]byte(strings.Repeat("id,name\n", 1000)), "not an SQLite database"}, "Cut": {whole[:len(whole)-4096], ""},
		"Damaged": {damaged, "integrity check"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, c.content, 0o644); err != nil {
				t.Fatal(err)
			}
			f := wantCode(t, dumpError(t, e, path), wire.CodeToolFailed)
			if f.Retryable || !strings.Contains(f.Message, c.says) {
				t.Errorf("%+v", f)
			}
		})
	}
}

// Damage that only the integrity check sees: every page is well-formed, but an index belongs to another column.
func TestDump_BrokenIndex(t *testing.T) {
	e, path := newDatabase(t, `CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 'x'), (2, 'y'); CREATE INDEX i ON t (a); CREATE INDEX j ON t (b);
.dbconfig defensive off
		PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = 7 - rootpage WHERE type = 'index';`)
	f := wantCode(t, dumpError(t, e, path), wire.CodeToolFailed)
	if f.Retryable || !strings.Contains(f.Message, "integrity check of the copy") || !strings.Contains(f.Message, "missing from index") {
		t.Errorf("%+v", f)
	}
	v, err := e.Validate(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Abort()
	wantCode(t, feed(v, path), wire.CodeCorrupt)
}

// Fault 59: a name is the path of a listed file, or is refused; nothing is ever read as a URI.
func TestNames_59(t *testing.T) {
	e, path := newDatabase(t, smallSQL)
	dir := filepath.Dir(path)
	outside := filepath.Join(t.TempDir(), "outside.db")
	shell(t, outside, smallSQL)
	for name, code := range map[string]string{
		"file:" + path: wire.CodeBadRequest, "file://" + path: wire.CodeBadRequest, "app.db": wire.CodeBadRequest, ":memory:": wire.CodeBadRequest, "": wire.CodeBadRequest,
		dir + "/../" + filepath.Base(dir) + "/app.db": wire.CodeBadRequest, dir + "//app.db": wire.CodeBadRequest, path + "/": wire.CodeBadRequest, path + "/.": wire.CodeBadRequest,
		path + "\x00": wire.CodeBadRequest, path + "\xff": wire.CodeBadRequest, dir + "/" + strings.Repeat("x", 255): wire.CodeBadRequest, "/": wire.CodeBadRequest,
		path + "?mode=memory": wire.CodeDatabaseMissing, path + "?vfs=unix-none": wire.CodeDatabaseMissing, path + "#x": wire.CodeDatabaseMissing, dir + "/%61pp.db": wire.CodeDatabaseMissing,
		dir + "/-rf": wire.CodeDatabaseMissing, outside: wire.CodeNotAllowed, "/etc/passwd": wire.CodeNotAllowed, dir + "x/app.db": wire.CodeNotAllowed, dir: wire.CodeNotAllowed,
		dir + "/1/2/3/4/app.db": wire.CodeNotAllowed, dir + "/" + engine.StagingPrefix + "x": wire.CodeNotAllowed,
	} {
		wantCode(t, dumpError(t, e, name), code)
		r, err := e.Restore(testContext(t), engine.RestoreRequest{Database: newStaging(), Target: name})
		switch {
		case err == nil:
			r.Abort()
			if code != wire.CodeDatabaseMissing {
				t.Errorf("restore as %q is allowed", name)
			}
		case name == dir:
			wantCode(t, err, wire.CodeTargetExists)
		case !wire.HasCode(err, wire.CodeNotAllowed) && !wire.HasCode(err, wire.CodeBadRequest):
			t.Errorf("restore as %q: %v", name, err)
		}
	}
	excluding := newEngine(t, sqlite.Config{Paths: []string{dir}, Exclude: []string{"*/app.*"}})
	wantCode(t, dumpError(t, excluding, path), wire.CodeNotAllowed)
	if found, err := excluding.Discover(testContext(t)); err != nil || len(found) > 0 {
		t.Errorf("found %v, %v", found, err)
	}
}

// Nothing in a database, and no dump, can reach another file through our connections.
func TestAttachIsRefused(t *testing.T) {
	_, path := newDatabase(t, smallSQL)
	other := filepath.Join(t.TempDir(), "other.db")
	shell(t, other, smallSQL)
	attach, load := sqlite.Attach(testContext(t), path, other)
	if attach == nil || !strings.Contains(attach.Error(), "too many attached") {
		t.Errorf("ATTACH: %v", attach)
	}
	if load == nil {
		t.Error("a library was loaded")
	}
}

// A file of no bytes is an empty database: its backup is one that everybody knows as such.
func TestDump_EmptyFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "empty.sqlite")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	e := newEngine(t, sqlite.Config{Paths: []string{path}})
	if found, err := e.Discover(testContext(t)); err != nil || len(found) != 1 || found[0].Name != path {
		t.Errorf("found %v, %v", found, err)
	}
	file, d := dump(t, e, path)
	if info, err := os.Stat(file); err != nil || info.Size() != 4096 {
		t.Errorf("%v, %v", info, err)
	}
	if out := shell(t, file, "PRAGMA integrity_check; SELECT count(*) FROM sqlite_schema;"); out != "ok\n0\n" {
		t.Errorf("%q", out)
	}
	if d.Info().DatabaseSize != 4096 {
		t.Errorf("%+v", d.Info())
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 0 {
		t.Errorf("the source was changed: %v, %v", info, err)
	}
}

// Functions, collations and modules of one program only are no reason to have no backup.
func TestDump_ForeignSchema(t *testing.T) {
	e, path := newDatabase(t, `CREATE TABLE plain (x); INSERT INTO plain VALUES (1);
		CREATE TABLE checked (x CHECK (length(x) > 0)); INSERT INTO checked VALUES ('a');
		CREATE TABLE narrow (x); INSERT INTO narrow VALUES (NULL);
		CREATE TABLE positive (x CHECK (x > 0)); INSERT INTO positive VALUES (1);
		CREATE TABLE sorted (x text PRIMARY KEY) WITHOUT ROWID; INSERT INTO sorted VALUES ('a');
		CREATE TABLE place_rows (id); INSERT INTO place_rows VALUES (1);
		CREATE VIRTUAL TABLE place USING fts5(x);
		PRAGMA ignore_check_constraints = ON; UPDATE positive SET x = -1;
.dbconfig defensive off
		PRAGMA writable_schema = ON;
		UPDATE sqlite_schema SET sql = 'CREATE TABLE checked (x CHECK (own_function(x) > 0))' WHERE name = 'checked';
		UPDATE sqlite_schema SET sql = 'CREATE TABLE narrow (x NOT NULL)' WHERE name = 'narrow';
		UPDATE sqlite_schema SET sql = 'CREATE TABLE sorted (x text COLLATE own_collation PRIMARY KEY) WITHOUT ROWID' WHERE name = 'sorted';
		UPDATE sqlite_schema SET sql = 'CREATE VIRTUAL TABLE place USING own_module(x)' WHERE name = 'place';`)
	file, d := dump(t, e, path)
	f, err := d.Fingerprint(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]int64{}
	for _, table := range f.Tables {
		rows[table.Name] = table.Rows
	}
	if _, counted := rows["place"]; counted || rows["plain"] != 1 || rows["place_rows"] != 1 || rows["positive"] != 1 {
		t.Errorf("%v", rows)
	}
	for _, says := range []string{"own_collation", "own_module", "NULL value in narrow.x"} {
		if !strings.Contains(d.Log(), says) {
			t.Errorf("the log does not name %s:\n%s", says, d.Log())
		}
	}
	// The same dump restores.
	staging := newStaging()
	r, err := e.Restore(testContext(t), engine.RestoreRequest{Database: staging, Target: filepath.Join(filepath.Dir(path), "restored.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Abort()
	if err := feed(r, file); err != nil {
		t.Fatal(err)
	}
	got, err := e.Fingerprint(testContext(t), staging)
	if err != nil {
		t.Fatal(err)
	}
	if diff := f.Diff(got); len(diff) > 0 {
		t.Errorf("%q", diff)
	}
}

func feed(r engine.Restore, file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if _, err := io.Copy(struct{ io.Writer }{r}, bytes.NewReader(b)); err != nil {
		return err
	}
	return r.Close()
}

// A program that is killed in any moment of a copy leaves no file, or one that the next start removes.
func TestDump_KilledLeavesNothing(t *testing.T) {
	_, path := newDatabase(t, "CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(20000000));")
	spool := filepath.Join(t.TempDir(), "snapshots")
	cmd, out := again(t, "dumper", nil, path, spool)
	if line, err := out.ReadString('\n'); err != nil || line != "copying\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if left, err := os.ReadDir(spool); err != nil || len(left) > 0 {
		t.Errorf("the copy has a name: %v, %v", left, err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if left, err := os.ReadDir(spool); err != nil || len(left) > 0 {
		t.Errorf("the copy is left: %v, %v", left, err)
	}
	// One that was killed before SQLite had opened its file; and one of a process that lives.
	stale, alive, foreign := filepath.Join(spool, "devflow_snapshot_dead"), filepath.Join(spool, "devflow_snapshot_alive"), filepath.Join(spool, "other")
	for _, name := range []string{stale, alive, foreign} {
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(alive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	newEngine(t, sqlite.Config{Paths: []string{path}, SnapshotDir: spool})
	for name, want := range map[string]bool{stale: false, alive: true, foreign: true} {
		if _, err := os.Lstat(name); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func dumpAndHang(args []string) error {
	e, err := sqlite.New(sqlite.Config{Name: "files", Paths: []string{args[0]}, SnapshotDir: args[1]}, nil)
	if err != nil {
		return err
	}
	e.OnReached(func(place string) {
		if place == "copying" {
			fmt.Println(place)
			select {}
		}
	})
	_, err = e.Dump(context.Background(), engine.DumpRequest{Database: args[0]})
	return err
}

// The stall timeout ends the wait for a copy that does not go on.
func TestDump_Stalled(t *testing.T) {
	e, path := newDatabase(t, "CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(20000000));")
	release := make(chan struct{})
	e.OnReached(func(place string) {
		if place == "copying" {
			<-release
		}
	})
	time.AfterFunc(time.Second, func() { close(release) })
	_, err := e.Dump(testContext(t), engine.DumpRequest{Database: path, StallTimeout: 100 * time.Millisecond})
	if f := wantCode(t, err, wire.CodeStalled); !f.Retryable {
		t.Errorf("%+v", f)
	}
	if err := dumpError(t, e, path); err != nil {
		t.Errorf("after a stall: %v", err)
	}
}

// Fault 82: too little space is seen before anything is written, and a disk that fills up leaves nothing.
func TestDump_82_DiskFull(t *testing.T) {
	_, path := newDatabase(t, "CREATE TABLE t (x); INSERT INTO t VALUES (randomblob(30000000));")
	dir := t.TempDir()
	small := filepath.Join(dir, "small")
	if err := os.Mkdir(small, 0o700); err != nil {
		t.Fatal(err)
	}
	// The mounts are seen by this process only.
	_, out := again(t, "smalldisk", []string{"unshare", "--mount", "--propagation", "private"}, path, small)
	text, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"before: disk_full, 0 files\n", "meanwhile: disk_full, 0 files\n", "read-only: privilege, 0 files\n", "read-only source: privilege, 0 files\n", "restore: disk_full, 0 files\n", "validate: disk_full, 0 files\n", "enough: , 0 files\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("want %q in\n%s", want, text)
		}
	}
}

func dumpOnSmallDisk(args []string) error {
	path, small := args[0], args[1]
	spool := filepath.Join(small, "snapshots")
	ctx := context.Background()
	e, err := sqlite.New(sqlite.Config{Name: "files", Paths: []string{path, small}, SnapshotDir: spool}, nil)
	if err != nil {
		return err
	}
	remount := func(options string, flags uintptr) error {
		if err := unix.Mount("tmpfs", small, "tmpfs", flags, options); err != nil {
			return fmt.Errorf("mount %s: %w", options, err)
		}
		return nil
	}
	tell := func(what string, err error) {
		var f *wire.Failure
		code := ""
		if errors.As(err, &f) {
			code = f.Code
		} else if err != nil {
			code = err.Error()
		}
		left, _ := filepath.Glob(small + "/*/*")
		more, _ := filepath.Glob(small + "/devflow*")
		fmt.Printf("%s: %s, %d files\n", what, code, len(left)+len(more))
		if f != nil && f.Hint == "" && f.Code == wire.CodeDiskFull {
			fmt.Println("no hint")
		}
	}
	backup := func() error {
		d, err := e.Dump(ctx, engine.DumpRequest{Database: path})
		if err != nil {
			return err
		}
		defer d.Close()
		_, err = io.Copy(io.Discard, d)
		return err
	}
	if err := remount("size=90m,mode=0700", 0); err != nil {
		return err
	}
	tell("before", backup())

	// Another program takes the space while the copy is made.
	if err := remount("size=120m,mode=0700", unix.MS_REMOUNT); err != nil {
		return err
	}
	filler := filepath.Join(small, "filler")
	e.OnReached(func(place string) {
		if place == "copying" {
			if _, err := os.Lstat(filler); err != nil {
				b := make([]byte, 118<<20)
				_ = os.WriteFile(filler, b, 0o600)
			}
		}
	})
	tell("meanwhile", backup())
	e.OnReached(func(string) {})
	dumped, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	receive := func(open func() (engine.Restore, error)) error {
		r, err := open()
		if err != nil {
			return err
		}
		defer r.Abort()
		if _, err := io.Copy(struct{ io.Writer }{r}, bytes.NewReader(dumped)); err != nil {
			return err
		}
		return r.Close()
	}
	tell("restore", receive(func() (engine.Restore, error) {
		return e.Restore(ctx, engine.RestoreRequest{Database: engine.StagingPrefix + "x", Target: filepath.Join(small, "new.db")})
	}))
	tell("validate", receive(func() (engine.Restore, error) { return e.Validate(ctx) }))
	inWAL := filepath.Join(small, "wal.db")
	if err := errors.Join(os.Remove(filler), exec.Command("sqlite3", inWAL, "PRAGMA journal_mode = WAL; CREATE TABLE t (x);").Run()); err != nil {
		return err
	}
	if err := remount("size=120m,mode=0700", unix.MS_REMOUNT|unix.MS_RDONLY); err != nil {
		return err
	}
	tell("read-only", backup())
	beside, err := sqlite.New(sqlite.Config{Name: "files", Paths: []string{small}, SnapshotDir: filepath.Join(filepath.Dir(path), "elsewhere")}, nil)
	if err != nil {
		return err
	}
	_, err = beside.Dump(ctx, engine.DumpRequest{Database: inWAL})
	tell("read-only source", err)
	if err := remount("size=120m,mode=0700", unix.MS_REMOUNT); err != nil {
		return err
	}
	tell("enough", backup())
	return unix.Unmount(small, 0)
}

// An agent that is not root does not leave files that the database's own program could not write.
func TestDump_OtherUser(t *testing.T) {
	dir, err := os.MkdirTemp("", "devflow-other-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	_ = os.Chmod(dir, 0o777)
	path := filepath.Join(dir, "app.db")
	shell(t, path, "PRAGMA journal_mode = WAL;"+smallSQL)
	_ = os.Chmod(path, 0o644)
	// As root: what SQLite makes beside the file belongs to its owner.
	if err := errors.Join(os.Chown(path, 1234, 1234)); err != nil {
		t.Fatal(err)
	}
	e := newEngine(t, sqlite.Config{Paths: []string{dir}})
	if err := dumpError(t, e, path); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil || info.Sys().(*syscall.Stat_t).Uid != 1234 {
			t.Errorf("%s: %v, %v", suffix, info, err)
		}
		if err := os.Remove(path + suffix); err != nil {
			t.Fatal(err)
		}
	}
	_, out := again(t, "dumper", []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}, path, filepath.Join(dir, "snapshots"))
	text, _ := io.ReadAll(out)
	if !strings.Contains(string(text), "-shm file that its owner could not write") {
		t.Errorf("%s", text)
	}
	if left, _ := filepath.Glob(path + "-*"); len(left) > 0 {
		t.Errorf("files are left: %q", left)
	}
}

// In one process, closing a file drops the locks that are held on it. What looks at a file while it is copied must not let a
// writer into the middle of the copy.
func TestDump_KeepsItsLock(t *testing.T) {
	e, path := newDatabase(t, smallSQL)
	fired := false
	e.OnReached(func(place string) {
		if place != "copying" || fired {
			return
		}
		fired = true
		found, err := e.Discover(testContext(t))
		if err != nil || len(found) != 1 {
			t.Errorf("%v, %v", found, err)
		}
		e.Check(testContext(t))
		if there, err := e.Exists(testContext(t), path); err != nil || !there {
			t.Errorf("%v, %v", there, err)
		}
		out, err := exec.Command("sqlite3", path, "INSERT INTO people VALUES (8888, 'x', 'y')").CombinedOutput()
		if err == nil || !strings.Contains(string(out), "locked") {
			t.Errorf("a writer was let in: %s, %v", out, err)
		}
	})
	if err := dumpError(t, e, path); err != nil || !fired {
		t.Errorf("%v, %v", fired, err)
	}
}

// A program that cuts the file of shared memory makes the copy fail, not the agent.
func TestDump_SharedMemoryCut(t *testing.T) {
	e, path := newDatabase(t, "PRAGMA journal_mode = WAL;"+smallSQL)
	p := startProgram(t, path)
	p.run("PRAGMA wal_autocheckpoint = 0; UPDATE people SET name = 'y';")
	fired := false
	e.OnReached(func(place string) {
		if place == "opened" {
			fired = true
			if err := os.Truncate(path+"-shm", 0); err != nil {
				t.Error(err)
			}
		}
	})
	f := wantCode(t, dumpError(t, e, path), wire.CodeToolFailed)
	if !fired || !f.Retryable {
		t.Errorf("%v, %+v", fired, f)
	}
}

// A database in WAL mode that no program has open is backed up with what its -wal still holds.
func TestDump_LeftWAL(t *testing.T) {
	e, path := newDatabase(t, "PRAGMA journal_mode = WAL; CREATE TABLE t (x);")
	p := startProgram(t, path)
	p.run("PRAGMA wal_autocheckpoint = 0; INSERT INTO t VALUES (1), (2), (3);")
	p.Close()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file, d := dump(t, e, path)
	if out := shell(t, file, "SELECT count(*) FROM t; PRAGMA journal_mode;"); out != "3\nwal\n" {
		t.Errorf("%q", out)
	}
	if mode := d.Info().Extra["journal_mode"]; mode != "wal" {
		t.Errorf("journal mode %q", mode)
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, before) {
		t.Errorf("the source was changed: %v", err)
	}
	if out := shell(t, path, "SELECT count(*) FROM t;"); out != "3\n" {
		t.Errorf("%q", out)
	}
}

// Fault 60: 2,000 tables and a large value pass in little memory.
func TestDump_60_ManyTables(t *testing.T) {
	var sql strings.Builder
	sql.WriteString("BEGIN;")
	for i := range 2000 {
		fmt.Fprintf(&sql, "CREATE TABLE t%d (x); INSERT INTO t%d VALUES (%d);", i, i, i)
	}
	sql.WriteString("COMMIT; CREATE TABLE big (x); INSERT INTO big VALUES (zeroblob(200000000));")
	e, path := newDatabase(t, sql.String())
	d, err := e.Dump(testContext(t), engine.DumpRequest{Database: path})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := io.Copy(io.Discard, d); err != nil {
		t.Fatal(err)
	}
	f, err := d.Fingerprint(testContext(t))
	if err != nil || len(f.Tables) != 2001 || f.Rows() != 2001 || d.Info().Tables != 2001 {
		t.Errorf("%d tables, %v", len(f.Tables), err)
	}
	if peak := residentPeak(t); peak > 300<<20 {
		t.Errorf("the process took %d MiB", peak>>20)
	}
}

func residentPeak(tb testing.TB) int64 {
	tb.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				tb.Fatal(err)
			}
			return n << 10
		}
	}
	tb.Fatal("no VmHWM")
	return 0
}
