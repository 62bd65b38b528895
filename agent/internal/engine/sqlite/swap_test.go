package sqlite_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engine/sqlite"
	"devflowbackup/shared/wire"
)

func newKept() string {
	return strings.Replace(newStaging(), engine.StagingPrefix, engine.KeptPrefix, 1)
}

// place is a target, and another database that was restored beside it.
type place struct {
	*sqlite.Engine
	tb      testing.TB
	target  string
	staged  string
	content map[string]string // of the staged one
}

// newPlace makes a target by statements.
func newPlace(tb testing.TB, sql string) *place {
	tb.Helper()
	source, from := newDatabase(tb, smallSQL+"CREATE TABLE marks (mark); INSERT INTO marks VALUES ('new');")
	file, _ := dump(tb, source, from)
	e, path := newDatabase(tb, sql)
	p := &place{Engine: e, tb: tb, target: path, content: content(tb, from)}
	p.staged, _ = restore(tb, e, path, file)
	return p
}

func (p *place) at(name string) string { return filepath.Join(filepath.Dir(p.target), name) }

func (p *place) inspect(sessions string) *engine.Target {
	p.tb.Helper()
	found, err := p.Inspect(testContext(p.tb), engine.InspectRequest{Target: p.target, InPlace: true, Sessions: sessions})
	if err != nil {
		p.tb.Fatal(err)
	}
	return found
}

func (p *place) request() engine.SwapRequest {
	p.tb.Helper()
	return engine.SwapRequest{Staged: p.staged, Target: p.target, Keep: newKept(), Identity: p.inspect("").Identity}
}

func (p *place) swap(req engine.SwapRequest) *engine.SwapResult {
	p.tb.Helper()
	result, err := p.Swap(testContext(p.tb), req)
	if err != nil {
		p.tb.Fatal(err)
	}
	return result
}

// want checks what is in a file.
func want(tb testing.TB, path string, expected map[string]string) {
	tb.Helper()
	have := content(tb, path)
	if len(expected) == 0 || len(have) != len(expected) {
		tb.Fatalf("%q has %d objects, want %d", path, len(have), len(expected))
	}
	for key, value := range expected {
		if have[key] != value {
			tb.Errorf("%q: %s is\n%.200s\nwant\n%.200s", path, key, have[key], value)
		}
	}
}

func wantStop(tb testing.TB, found *engine.Target, code string) {
	tb.Helper()
	for _, p := range found.Problems {
		if p.Code == code {
			if !p.Stops || p.Text == "" || p.Hint == "" {
				tb.Errorf("%+v", p)
			}
			return
		}
	}
	tb.Errorf("no problem %q in %+v", code, found.Problems)
}

func entries(tb testing.TB, dir string) (names []string) {
	tb.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		tb.Fatal(err)
	}
	for _, entry := range list {
		names = append(names, entry.Name())
	}
	return names
}

// copyDatabase copies a file and what is beside it.
func copyDatabase(tb testing.TB, from, to string) {
	tb.Helper()
	for _, suffix := range []string{"", "-wal", "-journal"} {
		if err := copyFile(from+suffix, to+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			tb.Fatal(err)
		}
	}
}

const walSQL = "PRAGMA journal_mode = WAL;" + smallSQL + "CREATE TABLE marks (mark); INSERT INTO marks VALUES ('old'); CREATE TABLE writes (n integer);"

// A program was killed, and a write-ahead log lies beside the target. What it holds is in the kept file, and nothing of it
// is in the new one.
func TestSwap_LeftWAL(t *testing.T) {
	p := newPlace(t, walSQL)
	writer := startProgram(t, p.target)
	writer.run("PRAGMA wal_autocheckpoint = 0; UPDATE people SET name = 'in the log'; INSERT INTO writes VALUES (1), (2);")
	writer.run("PRAGMA cache_size = 5; BEGIN; UPDATE people SET name = hex(randomblob(300));") // spilled, and never committed
	writer.Close()
	log, err := os.Stat(p.target + "-wal")
	if err != nil || log.Size() < 500_000 {
		t.Fatalf("the fault did not fire: %v, %v", log, err)
	}
	aside := filepath.Join(t.TempDir(), "copy.db")
	copyDatabase(t, p.target, aside)
	old := content(t, aside) // by the public program
	if !strings.Contains(shell(t, aside, "SELECT DISTINCT name FROM people;"), "in the log") {
		t.Fatal("the log holds nothing")
	}
	req := p.request()
	result := p.swap(req)
	t.Logf("unavailable: %s", result.Unavailable)
	if names := entries(t, filepath.Dir(p.target)); !slices.Equal(names, []string{"app.db", req.Keep}) {
		t.Errorf("there are %q", names)
	}
	want(t, p.target, p.content)
	want(t, p.at(req.Keep), old)
	if mode := shell(t, p.at(req.Keep), "PRAGMA journal_mode;"); mode != "wal\n" {
		t.Errorf("journal mode %q", mode)
	}
}

// Whatever is in a log, it is folded as SQLite itself recovers it: up to the last transaction that is whole.
func TestFold(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.db")
	shell(t, path, "PRAGMA page_size = 1024; PRAGMA journal_mode = WAL; CREATE TABLE t (n integer PRIMARY KEY, fill blob);")
	p := startProgram(t, path)
	p.run("PRAGMA wal_autocheckpoint = 0;")
	insert := func(from, to int) string {
		return fmt.Sprintf("WITH RECURSIVE g(n) AS (SELECT %d UNION ALL SELECT n + 1 FROM g WHERE n < %d) INSERT INTO t SELECT n, randomblob(700) FROM g;", from, to)
	}
	// A long log is begun anew by a shorter one: its end is of the earlier.
	p.run(insert(1, 200) + "PRAGMA wal_checkpoint(RESTART);" + insert(201, 210) + insert(211, 220) + "DELETE FROM t WHERE n BETWEEN 100 AND 150;")
	base := filepath.Join(t.TempDir(), "base.db")
	copyDatabase(t, path, base)
	p.run("DELETE FROM t WHERE n > 20; VACUUM;") // smaller than it was
	smaller := filepath.Join(t.TempDir(), "smaller.db")
	copyDatabase(t, path, smaller)
	p.Close()
	whole, err := os.ReadFile(base + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	const frame = 24 + 1024
	flip := func(at int) []byte {
		b := bytes.Clone(whole)
		b[at] ^= 0x10
		return b
	}
	results := map[string]bool{}
	for name, c := range map[string]struct {
		base string
		log  []byte
	}{
		"Whole":          {base, whole},
		"Smaller":        {smaller, nil},
		"CutInAFrame":    {base, whole[:32+12*frame+500]},
		"CutInAHeader":   {base, whole[:32+9*frame+3]},
		"OneFrame":       {base, whole[:32+frame]},
		"OnlyAHeader":    {base, whole[:32]},
		"HalfAHeader":    {base, whole[:15]},
		"Empty":          {base, whole[:0]},
		"PageFlipped":    {base, flip(32 + 14*frame + 600)},
		"SumFlipped":     {base, flip(32 + 5*frame + 17)},
		"SaltFlipped":    {base, flip(32 + 20*frame + 9)},
		"PageNoFlipped":  {base, flip(32 + 15*frame + 3)},
		"GarbageAtEnd":   {base, append(bytes.Clone(whole), bytes.Repeat([]byte("x"), 3*frame)...)},
		"FirstPageWrong": {base, flip(32 + 100)},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			ours, theirs := filepath.Join(dir, "ours.db"), filepath.Join(dir, "theirs.db")
			for _, to := range []string{ours, theirs} {
				copyDatabase(t, c.base, to)
				if c.log != nil {
					if err := os.WriteFile(to+"-wal", c.log, 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			shell(t, theirs, "PRAGMA wal_checkpoint(TRUNCATE);")
			for range 2 { // as after a crash
				if err := sqlite.Fold(ours); err != nil {
					t.Fatal(err)
				}
			}
			a, aErr := os.ReadFile(ours)
			b, bErr := os.ReadFile(theirs)
			if err := errors.Join(aErr, bErr); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(a, b) {
				t.Errorf("%d and %d bytes differ", len(a), len(b))
			}
			results[string(b)] = true
		})
	}
	if len(results) < 4 {
		t.Errorf("the logs came to %d contents only", len(results))
	}
	// What SQLite would ignore is left for people to look at.
	p2 := newPlace(t, walSQL)
	before := content(t, p2.target)
	if err := os.WriteFile(p2.target+"-wal", flip(20), 0o644); err != nil {
		t.Fatal(err)
	}
	wantStop(t, p2.inspect(""), wire.CodeToolFailed)
	_, err = p2.Swap(testContext(t), p2.request())
	wantCode(t, err, wire.CodeToolFailed)
	if err := os.Remove(p2.target + "-wal"); err != nil {
		t.Fatal(err)
	}
	want(t, p2.target, before)
}

// A program opens the old file in the moment before the names are exchanged. It would use the new one's log: the names are
// exchanged back, and neither file has changed.
func TestSwap_LateProgram(t *testing.T) {
	for _, mode := range []string{"WAL", "DELETE"} {
		for _, exchange := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/exchange=%v", mode, exchange), func(t *testing.T) {
				sqlite.WithoutExchange(!exchange)
				defer sqlite.WithoutExchange(false)
				p := newPlace(t, strings.Replace(walSQL, "WAL", mode, 1))
				old := content(t, p.target)
				req := p.request()
				var late *program
				exchanged := 0
				p.OnReached(func(place string) {
					switch place {
					case "swap locked":
						if late == nil {
							late = startProgram(t, p.target)
							late.run("SELECT count(*) FROM people;") // it is locked, and stays open
						}
					case "swap exchanged":
						exchanged++
					}
				})
				_, err := p.Swap(testContext(t), req)
				f := wantCode(t, err, wire.CodeTargetInUse)
				if exchanged != 1 || !strings.Contains(f.Message, "sqlite3") {
					t.Errorf("exchanged %d times: %v", exchanged, f)
				}
				late.run("INSERT INTO writes VALUES (7);")
				late.Close()
				if out := shell(t, p.target, "SELECT n FROM writes; DELETE FROM writes;"); out != "7\n" {
					t.Errorf("the program's write is lost: %q", out)
				}
				want(t, p.target, old)
				want(t, p.at(p.staged), p.content)
				if _, err := os.Lstat(p.at(req.Keep)); err == nil {
					t.Error("the kept name is there")
				}
				p.swap(req)
				want(t, p.target, p.content)
				want(t, p.at(req.Keep), old)
			})
		}
	}
}

// Owner, group, permissions, access list and attributes are those of the old file, whose own stay.
func TestSwap_Attributes(t *testing.T) {
	p := newPlace(t, smallSQL)
	// Version 2; user::rw-, user:1234:r--, group::---, mask::r--, other::---
	list := []byte{2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 0xd2, 4, 0, 0, 4, 0, 0, 0, 255, 255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255}
	if err := errors.Join(
		os.Chown(p.target, 1234, 2345), os.Chmod(p.target, 0o604),
		unix.Setxattr(p.target, "user.purpose", []byte("a\x00b"), 0),
		unix.Setxattr(p.target, "system.posix_acl_access", list, 0),
		unix.Setxattr(p.at(p.staged), "user.other", []byte("x"), 0),
	); err != nil {
		t.Fatal(err)
	}
	attributes := func(path string) string {
		var st syscall.Stat_t
		purpose, access := make([]byte, 100), make([]byte, 100)
		n, err := unix.Getxattr(path, "user.purpose", purpose)
		m, err2 := unix.Getxattr(path, "system.posix_acl_access", access)
		if err := errors.Join(syscall.Stat(path, &st), err, err2); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return fmt.Sprintf("%d:%d %o %q %x", st.Uid, st.Gid, st.Mode, purpose[:n], access[:m])
	}
	before := attributes(p.target)
	req := p.request()
	if found := p.inspect(""); found.Owner != "1234" {
		t.Errorf("owner %q", found.Owner)
	}
	for _, note := range p.swap(req).Notes {
		if strings.Contains(note, "attribute") {
			t.Error(note)
		}
	}
	if now := attributes(p.target); now != before {
		t.Errorf("the new file has\n%s, the old one had\n%s", now, before)
	}
	if now := attributes(p.at(req.Keep)); now != before {
		t.Errorf("the kept file has %s, it had %s", now, before)
	}
	// Without an access list, an undo takes away what the other one had.
	if err := errors.Join(unix.Removexattr(p.target, "system.posix_acl_access"), os.Chmod(p.target, 0o640)); err != nil {
		t.Fatal(err)
	}
	p.staged = req.Keep
	p.swap(p.request())
	if _, err := unix.Getxattr(p.target, "system.posix_acl_access", nil); !errors.Is(err, unix.ENODATA) {
		t.Errorf("access list: %v", err)
	}
	if info, err := os.Stat(p.target); err != nil || info.Mode() != 0o640 {
		t.Errorf("%v, %v", info, err)
	}
}

// A transaction that nobody finished is not lost, and no journal is rolled back by the agent, for it may name other files.
func TestSwap_HotJournal(t *testing.T) {
	p := newPlace(t, smallSQL)
	before := content(t, p.target)
	req := p.request()
	writer := startProgram(t, p.target)
	writer.run("PRAGMA cache_size = 5; BEGIN; UPDATE people SET name = name || randomblob(200);")
	journal, err := os.ReadFile(p.target + "-journal")
	if err != nil {
		t.Fatal(err)
	}
	writer.Close()
	if len(journal) == 0 || journal[0] == 0 {
		// A reader would have to see that it is hot.
		journal[0] = 0xd9
	}
	if err := os.WriteFile(p.target+"-journal", journal, 0o644); err != nil {
		t.Fatal(err)
	}
	half, err := os.ReadFile(p.target)
	if err != nil {
		t.Fatal(err)
	}
	wantStop(t, p.inspect(""), wire.CodeToolFailed)
	_, err = p.Swap(testContext(t), req)
	if f := wantCode(t, err, wire.CodeToolFailed); !strings.Contains(f.Message, "died") || f.Hint == "" {
		t.Errorf("%+v", f)
	}
	if now, err := os.ReadFile(p.target); err != nil || !bytes.Equal(now, half) {
		t.Errorf("the target was changed: %v", err)
	}
	shell(t, p.target, "SELECT count(*) FROM people;") // rolls back
	want(t, p.target, before)
	// A journal that is kept, but of a transaction that is over.
	shell(t, p.target, "PRAGMA journal_mode = PERSIST; UPDATE people SET name = 'persistent';")
	if info, err := os.Stat(p.target + "-journal"); err != nil || info.Size() == 0 {
		t.Fatalf("the fault did not fire: %v", err)
	}
	p.swap(req)
	if names := entries(t, filepath.Dir(p.target)); !slices.Equal(names, []string{"app.db", req.Keep}) {
		t.Errorf("there are %q", names)
	}
	want(t, p.target, p.content)
	if !strings.Contains(shell(t, p.at(req.Keep), "SELECT DISTINCT name FROM people;"), "persistent") {
		t.Error("a write is lost")
	}
}

// A target that is damaged is the reason to restore: it is replaced, and kept byte by byte.
func TestSwap_DamagedTarget(t *testing.T) {
	for name, damage := range map[string][]byte{"Garbage": []byte("this is no database at all"), "Empty": nil, "HalfAPage": append([]byte("SQLite format 3\x00"), make([]byte, 900)...)} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, smallSQL)
			if err := os.WriteFile(p.target, damage, 0o644); err != nil {
				t.Fatal(err)
			}
			found := p.inspect("")
			for _, problem := range found.Problems {
				if problem.Stops {
					t.Errorf("%+v", problem)
				}
			}
			if name != "Empty" && len(found.Problems) == 0 {
				t.Error("nobody says that it cannot be read")
			}
			req := p.request()
			p.swap(req)
			want(t, p.target, p.content)
			if now, err := os.ReadFile(p.at(req.Keep)); err != nil || !bytes.Equal(now, damage) {
				t.Errorf("%q, %v", now, err)
			}
		})
	}
}

// A kept file that a program writes is not removed.
func TestRemove_KeptInUse(t *testing.T) {
	p := newPlace(t, walSQL)
	req := p.request()
	p.swap(req)
	user := startProgram(t, p.at(req.Keep))
	user.run("INSERT INTO writes VALUES (1);")
	f := wantCode(t, p.Remove(testContext(t), req.Keep), wire.CodeTargetInUse)
	if !strings.Contains(f.Message, "sqlite3") || f.Hint == "" {
		t.Errorf("%+v", f)
	}
	if there, err := p.Exists(testContext(t), req.Keep); err != nil || !there {
		t.Errorf("%v, %v", there, err)
	}
	// It is not put back either.
	undo := engine.SwapRequest{Staged: req.Keep, Target: p.target, Keep: newKept(), Identity: p.inspect("").Identity}
	_, err := p.Swap(testContext(t), undo)
	wantCode(t, err, wire.CodeTargetInUse)
	user.Close()
	if err := p.Remove(testContext(t), req.Keep); err != nil {
		t.Fatal(err)
	}
	if names := entries(t, filepath.Dir(p.target)); !slices.Equal(names, []string{"app.db"}) {
		t.Errorf("there are %q", names)
	}
}

// Where names cannot be exchanged, the old file gets a second one first. Each state that a crash can leave is settled.
func TestSettle_WithoutExchange(t *testing.T) {
	sqlite.WithoutExchange(true)
	defer sqlite.WithoutExchange(false)
	p := newPlace(t, walSQL)
	old := content(t, p.target)
	req := p.request()
	settle := func(want string) {
		t.Helper()
		for range 2 {
			if state, err := p.Settle(testContext(t), req); err != nil || state != want {
				t.Fatalf("%q, %v; want %q", state, err, want)
			}
		}
	}
	if err := os.Link(p.target, p.at(req.Keep)); err != nil {
		t.Fatal(err)
	}
	settle(engine.SwapBefore)
	want(t, p.target, old)
	want(t, p.at(p.staged), p.content)
	if _, err := os.Lstat(p.at(req.Keep)); err == nil {
		t.Error("the second name is there")
	}
	p.swap(req)
	settle(engine.SwapAfter)
	// While it was to be put back.
	if err := os.Link(p.target, p.at(p.staged)); err != nil {
		t.Fatal(err)
	}
	settle(engine.SwapAfter)
	if names := entries(t, filepath.Dir(p.target)); !slices.Equal(names, []string{"app.db", req.Keep}) {
		t.Errorf("there are %q", names)
	}
	want(t, p.target, p.content)
	want(t, p.at(req.Keep), old)
}

// Another file, of the same content and perhaps the same inode, has another identity; writing, renaming and attributes do not change it.
func TestInspect_Identity(t *testing.T) {
	p := newPlace(t, walSQL)
	identity := func() string { return p.inspect("").Identity }
	first := identity()
	writer := startProgram(t, p.target)
	writer.run("INSERT INTO writes VALUES (1); PRAGMA wal_checkpoint(TRUNCATE); PRAGMA application_id = 7; VACUUM;")
	writer.Close()
	if err := errors.Join(os.Chmod(p.target, 0o600), os.Rename(p.target, p.at("aside")), os.Rename(p.at("aside"), p.target)); err != nil {
		t.Fatal(err)
	}
	if now := identity(); now != first {
		t.Errorf("identity %q, before %q", now, first)
	}
	seen := map[string]bool{first: true}
	for range 5 {
		b, err := os.ReadFile(p.target)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Remove(p.target), os.WriteFile(p.target, b, 0o600)); err != nil {
			t.Fatal(err)
		}
		now := identity()
		if seen[now] {
			t.Errorf("another file has the same identity")
		}
		seen[now] = true
	}
}

// Links, and files in the way, are refused before anything is changed.
func TestSwap_Links(t *testing.T) {
	p := newPlace(t, smallSQL)
	old := content(t, p.target)
	req := p.request()
	refused := func(req engine.SwapRequest, code string) {
		t.Helper()
		_, err := p.Swap(testContext(t), req)
		wantCode(t, err, code)
	}
	second := filepath.Join(t.TempDir(), "second")
	for _, path := range []string{p.target, p.at(p.staged)} {
		second := second + filepath.Base(path)
		if err := os.Link(path, second); err != nil {
			t.Skipf("no link between directories: %v", err)
		}
		if path == p.target {
			wantStop(t, p.inspect(""), wire.CodeNotAllowed)
		}
		refused(req, wire.CodeNotAllowed)
		if err := os.Remove(second); err != nil {
			t.Fatal(err)
		}
	}
	linked := req
	linked.Staged = newStaging()
	if err := os.Symlink(p.staged, p.at(linked.Staged)); err != nil {
		t.Fatal(err)
	}
	refused(linked, wire.CodeNotAllowed)
	if err := os.Remove(p.at(linked.Staged)); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Symlink("nowhere", p.at(req.Keep+suffix)); err != nil {
			t.Fatal(err)
		}
		refused(req, wire.CodeTargetExists)
		if err := os.Remove(p.at(req.Keep + suffix)); err != nil {
			t.Fatal(err)
		}
		if suffix == "" {
			continue
		}
		if err := os.Symlink("nowhere", p.target+suffix); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Swap(testContext(t), req); err == nil {
			t.Fatalf("with a link at %s", suffix)
		}
		if err := os.Remove(p.target + suffix); err != nil {
			t.Fatal(err)
		}
	}
	below := p.at("below")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	elsewhere := req
	elsewhere.Staged = newStaging()
	if err := os.WriteFile(filepath.Join(below, elsewhere.Staged), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	refused(elsewhere, wire.CodeBadRequest)
	outside := req
	outside.Target = "/etc/hostname"
	refused(outside, wire.CodeNotAllowed)
	if _, err := p.Settle(testContext(t), outside); !wire.HasCode(err, wire.CodeNotAllowed) {
		t.Errorf("%v", err)
	}
	want(t, p.target, old)
	want(t, p.at(p.staged), p.content)
	p.swap(req)
}

// A backup that runs in the same process is waited for: closing the file would drop its locks.
func TestSwap_WhileItIsDumped(t *testing.T) {
	p := newPlace(t, walSQL)
	req := p.request()
	copying, resume := make(chan struct{}), make(chan struct{})
	first := true
	p.OnReached(func(place string) {
		if place == "opened" && first {
			first = false
			close(copying)
			<-resume
		}
	})
	done := make(chan error, 1)
	go func() {
		d, err := p.Dump(testContext(t), engine.DumpRequest{Database: p.target})
		if err == nil {
			err = d.Close()
		}
		done <- err
	}()
	<-copying
	_, err := p.Swap(testContext(t), req)
	if f := wantCode(t, err, wire.CodeTargetInUse); !strings.Contains(f.Message, "this agent") {
		t.Errorf("%v", f)
	}
	timer := time.AfterFunc(200*time.Millisecond, func() { close(resume) })
	defer timer.Stop()
	req.Sessions, req.Wait = engine.SessionsWait, time.Minute
	p.swap(req)
	if err := <-done; err != nil {
		t.Error(err)
	}
	want(t, p.target, p.content)
}

// An agent that is not root says what it cannot see and may not do. Locks tell it of a program that it cannot see.
func TestSwap_OtherUser(t *testing.T) {
	dir, err := os.MkdirTemp("", "devflow-other-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path, staged := filepath.Join(dir, "app.db"), newStaging()
	shell(t, path, walSQL)
	shell(t, filepath.Join(dir, staged), smallSQL)
	user := startProgram(t, path)
	user.run("SELECT count(*) FROM people;")
	if err := errors.Join(os.Chmod(dir, 0o777), os.Chown(path, 65534, 65534), os.Chown(filepath.Join(dir, staged), 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Chown(path+suffix, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	type answer struct {
		Found  *engine.Target
		Code   string
		Result *engine.SwapResult
	}
	act := func() (a answer) {
		t.Helper()
		_, out := again(t, "swapper", []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}, path, staged, filepath.Join(dir, "snapshots"))
		if err := json.NewDecoder(out).Decode(&a); err != nil {
			t.Fatal(err)
		}
		return a
	}
	warned := func(found *engine.Target) bool {
		return slices.ContainsFunc(found.Problems, func(p engine.Problem) bool { return p.Code == "not_seen" && !p.Stops })
	}
	a := act()
	if a.Code != wire.CodeTargetInUse || a.Found == nil || !warned(a.Found) {
		t.Errorf("%+v, %+v", a, a.Found)
	}
	user.Close()
	if err := os.Chown(path, 1234, 65534); err != nil {
		t.Fatal(err)
	}
	if a := act(); a.Code != wire.CodePrivilege {
		t.Errorf("%+v", a)
	} else {
		wantStop(t, a.Found, "cannot_keep_owner")
	}
	if err := os.Chown(path, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if a := act(); a.Code != "" || a.Result == nil || len(a.Result.Notes) != 1 || !strings.Contains(a.Result.Notes[0], "could not be looked at") {
		t.Errorf("%+v", a)
	}
}

// swapAndTell swaps and prints what came of it.
func swapAndTell(args []string) error {
	e, err := sqlite.New(sqlite.Config{Name: "files", Paths: []string{filepath.Dir(args[0])}, SnapshotDir: args[2]}, nil)
	if err != nil {
		return err
	}
	found, err := e.Inspect(context.Background(), engine.InspectRequest{Target: args[0], InPlace: true})
	if err != nil {
		return err
	}
	out := map[string]any{"Found": found}
	req := engine.SwapRequest{Staged: args[1], Target: args[0], Keep: engine.KeptPrefix + "by_another", Identity: found.Identity}
	result, err := e.Swap(context.Background(), req)
	if err != nil {
		out["Code"] = wire.AsFailure(err).Code
	} else {
		out["Result"] = result
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// What stands in the way of a swap is found before.
func TestInspect_Problems(t *testing.T) {
	dir := t.TempDir()
	e := newEngine(t, sqlite.Config{Paths: []string{dir}})
	look := func(target string, inPlace bool) *engine.Target {
		t.Helper()
		found, err := e.Inspect(testContext(t), engine.InspectRequest{Target: filepath.Join(dir, target), InPlace: inPlace})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	wantStop(t, look("nowhere/app.db", false), "no_directory")
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "dir.db"), 0o755), os.Symlink("nowhere", filepath.Join(dir, "link.db")), os.WriteFile(filepath.Join(dir, "new.db-wal"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	wantStop(t, look("dir.db", true), wire.CodeNotAllowed)
	wantStop(t, look("link.db", true), wire.CodeNotAllowed)
	wantStop(t, look("new.db", false), wire.CodeTargetExists)

	mounted := filepath.Join(dir, "mounted.db")
	shell(t, mounted, smallSQL)
	if err := unix.Mount(mounted, mounted, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	found := look("mounted.db", true)
	if err := unix.Unmount(mounted, 0); err != nil {
		t.Fatal(err)
	}
	wantStop(t, found, "mount_point")
	if found.Tables != 1 {
		t.Errorf("%+v", found)
	}

	_, err := e.Inspect(testContext(t), engine.InspectRequest{Target: mounted, Restore: engine.RestoreRequest{Only: []engine.Selection{{Table: "people"}}}})
	wantCode(t, err, wire.CodeBadRequest)
	_, err = e.Restore(testContext(t), engine.RestoreRequest{Database: newStaging(), Target: filepath.Join(dir, "part.db"), Only: []engine.Selection{{Table: "people"}}})
	wantCode(t, err, wire.CodeBadRequest)

	// A program that keeps the database open is described.
	started := time.Now()
	user := startProgram(t, mounted)
	user.run("SELECT count(*) FROM people;")
	found = look("mounted.db", true)
	if len(found.Sessions) != 1 {
		t.Fatalf("%+v", found.Sessions)
	}
	s := found.Sessions[0]
	if s.User != "root" || s.Application != "sqlite3" || s.Client != fmt.Sprintf("process %d", user.cmd.Process.Pid) || s.State == "" || s.Since.Sub(started).Abs() > 5*time.Second {
		t.Errorf("%+v", s)
	}
}
