// Package enginetest is the conformance suite of engine.Engine. Every engine runs it against a real server.
//
// After each case it holds: no process of the engine is running, no staging database is left, no secret was said.
package enginetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/testkit/fakedump"
	"devflowbackup/shared/wire"
)

// Harness connects the suite to one engine and its server.
type Harness struct {
	// New returns an engine for the server, with a working restore account.
	New func(tb testing.TB) engine.Engine
	// NewRefused returns an engine whose password is wrong. Nil for an engine without a login.
	NewRefused func(tb testing.TB) engine.Engine
	// NewFaulty returns an engine whose dump program is a fake that acts by the script; the harness sets Real where
	// WithReal is asked for. Nil for an engine that runs no program.
	NewFaulty func(tb testing.TB, script fakedump.Script, withReal bool) (engine.Engine, *fakedump.Fake)

	// Create makes an empty database, Drop removes one that may be there.
	Create func(tb testing.TB, name string)
	Drop   func(tb testing.TB, name string)
	// FillSmall puts a few objects and rows into a database, FillHurting everything that is hard to dump, at least
	// 64 MiB of it.
	FillSmall   func(tb testing.TB, name string)
	FillHurting func(tb testing.TB, name string)
	// Content describes objects and rows of a database by checksums that do not come from the engine.
	Content func(tb testing.TB, name string) map[string]string
	// Databases lists the names of all databases of the server.
	Databases func(tb testing.TB) []string

	// Names are names of databases that are hard to handle, Names of this package if nil.
	Names []string
	// Name makes a database's name of a plain word, for an engine whose names have a form. Nil leaves it as it is.
	Name func(word string) string

	// Secrets must not appear in anything that the engine says.
	Secrets []string
	// IsServer tells whether a child process of this one, by its command name, belongs to the server.
	IsServer func(command string) bool

	// Swap is for the cases of a restore in place.
	Swap Swap
}

// Names are names of databases that are hard to handle. Each is at most 63 bytes of UTF-8.
var Names = []string{
	`o'brien; drop "x"`,
	`-rf`,
	`--version`,
	`host=evil`,
	`postgres://evil/x`,
	`ünïcode 🦀`,
	`a=b`,
	`../x`,
	"new\nline",
	"rtl\u202eabc",
	`$(touch /tmp/devflow-canary)`,
	"`id` %s %00 \\' \\\"",
	` `,
	strings.Repeat("🦀", 15) + "abc",
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	// Orphans of the programs become our children, so that they are seen.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	if h.Names == nil {
		h.Names = Names
	}
	s := &suite{Harness: h}
	for _, c := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"Discover", s.discover},
		{"Check", s.check},
		{"RoundTrip/Hurting", s.hurting},
		{"RoundTrip/Empty", s.empty},
		{"RoundTrip/Names", s.names},
		{"Dump/UnknownDatabase", s.unknownDatabase},
		{"Dump/WrongPassword", s.wrongPassword},
		{"Dump/Cancel", s.cancelDump},
		{"Dump/CloseAtAnyTime", s.closeDump},
		{"Dump/TwoAtOnce", s.twoDumps},
		{"Dump/Faults", s.faults},
		{"Restore/Truncated", s.truncated},
		{"Restore/Garbage", s.garbage},
		{"Restore/Cancel", s.cancelRestore},
		{"Restore/AbortAndClose", s.abort},
		{"Restore/Refuses", s.restoreRefuses},
		{"Publish/TargetExists", s.publishExisting},
		{"Publish/Refuses", s.publishRefuses},
		{"Remove", s.remove},
		{"Inspect", s.inspect},
		{"Swap/Undo", s.swapAndUndo},
		{"Swap/Refuses", s.swapRefuses},
		{"Swap/Sessions", s.swapSessions},
		{"Swap/Writer", s.swapWriter},
		{"Swap/Crash", s.swapCrash},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Cleanup(func() { s.nothingLeft(t) })
			c.run(t)
		})
	}
}

type suite struct{ Harness }

const patience = 60 * time.Second

func newContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeoutCause(context.Background(), 5*time.Minute, errors.New("test took too long"))
	t.Cleanup(cancel)
	return ctx
}

// Eventually polls until the condition holds, and fails the test if that takes too long.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// Processes lists our child processes that are alive and not the server's, as "pid command".
func Processes(t testing.TB, isServer func(command string) bool) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue
		}
		command, rest, ok := cutCommand(string(stat))
		fields := strings.Fields(rest)
		if !ok || len(fields) < 2 || fields[0] == "Z" || fields[1] != strconv.Itoa(os.Getpid()) || isServer(command) {
			continue
		}
		found = append(found, e.Name()+" "+command)
	}
	return found
}

// cutCommand splits "12 (name) S 1 …"; the name may hold anything.
func cutCommand(stat string) (command, rest string, ok bool) {
	from, to := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')')
	if from < 0 || to < from {
		return "", "", false
	}
	return stat[from+1 : to], stat[to+1:], true
}

func (s *suite) nothingLeft(t *testing.T) {
	t.Helper()
	if left := Processes(t, s.IsServer); len(left) > 0 {
		t.Errorf("processes are left: %q", left)
	}
	if left := s.stagings(t); len(left) > 0 {
		t.Errorf("staging databases are left: %q", left)
		for _, name := range left {
			s.Drop(t, name)
		}
	}
	if left := s.kept(t); len(left) > 0 {
		t.Errorf("kept databases are left: %q", left)
		for _, name := range left {
			s.Drop(t, name)
		}
	}
	if _, err := os.Lstat("/tmp/devflow-canary"); err == nil {
		t.Error("a database's name was run by a shell")
	}
}

func (s *suite) stagings(t *testing.T) []string {
	return slices.DeleteFunc(s.Databases(t), func(name string) bool { return !strings.HasPrefix(name, engine.StagingPrefix) })
}

func (s *suite) kept(t *testing.T) []string {
	return slices.DeleteFunc(s.Databases(t), func(name string) bool { return !strings.HasPrefix(name, engine.KeptPrefix) })
}

func newStaging() string { return engine.StagingPrefix + random() }

func newKept() string { return engine.KeptPrefix + random() }

func random() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// named is the name of a database that a word stands for.
func (s *suite) named(word string) string {
	if s.Name == nil {
		return word
	}
	return s.Name(word)
}

// request asks for a restore into a staging database of its own.
func (s *suite) request() engine.RestoreRequest { return s.requestInto(newStaging()) }

func (s *suite) requestInto(staging string) engine.RestoreRequest {
	return engine.RestoreRequest{Database: staging, Target: s.named("restored")}
}

// create makes the database that a word stands for; it is dropped at the test's end.
func (s *suite) create(t *testing.T, word string, fill func(tb testing.TB, name string)) string {
	t.Helper()
	return s.createExactly(t, s.named(word), fill)
}

func (s *suite) createExactly(t *testing.T, name string, fill func(tb testing.TB, name string)) string {
	t.Helper()
	s.Drop(t, name)
	s.Create(t, name)
	t.Cleanup(func() { s.Drop(t, name) })
	if fill != nil {
		fill(t, name)
	}
	return name
}

// silent fails the test if a text holds a secret.
func (s *suite) silent(t *testing.T, what, text string) {
	t.Helper()
	for _, secret := range s.Secrets {
		if strings.Contains(text, secret) {
			t.Errorf("%s holds a secret", what)
		}
	}
}

// wantCode checks an error: it is a failure with this code, wrapped or not, and says no secret.
func (s *suite) wantCode(t *testing.T, err error, codes ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %q", codes)
	}
	s.silent(t, "error", err.Error())
	var f *wire.Failure
	if !errors.As(err, &f) {
		t.Fatalf("error is not a failure: %v", err)
	}
	if !slices.Contains(codes, f.Code) {
		t.Fatalf("failure %q, want %q: %v", f.Code, codes, err)
	}
}

// dumped is a dump in a file.
type dumped struct {
	path        string
	size        int64
	fingerprint *wire.Fingerprint
	info        engine.DumpInfo
	globals     []byte
}

func (d dumped) open(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Open(d.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func (d dumped) bytes(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile(d.path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (s *suite) dump(t *testing.T, e engine.Engine, database string) dumped {
	t.Helper()
	ctx := newContext(t)
	d, err := e.Dump(ctx, engine.DumpRequest{Database: database, Globals: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	f, err := os.Create(filepath.Join(t.TempDir(), "dump"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := dumped{path: f.Name(), info: d.Info(), globals: d.Globals()}
	if out.size, err = io.Copy(f, d); err != nil {
		t.Fatal(err)
	}
	if n, err := d.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatalf("read after the end: %d, %v", n, err)
	}
	if out.fingerprint, err = d.Fingerprint(ctx); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	s.silent(t, "log", d.Log())
	s.silent(t, "globals", string(d.Globals()))
	return out
}

// write feeds a restore and closes it.
func write(r engine.Restore, from io.Reader) error {
	// Not io.Copy: a file would be passed on by descriptor.
	_, err := io.CopyBuffer(struct{ io.Writer }{r}, struct{ io.Reader }{from}, make([]byte, 64<<10))
	if err != nil {
		return err
	}
	return r.Close()
}

// restore restores into a staging database that the test's end removes.
func (s *suite) restore(t *testing.T, e engine.Engine, d dumped) string {
	t.Helper()
	name := newStaging()
	r, err := e.Restore(newContext(t), s.requestInto(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Abort)
	if err := write(r, d.open(t)); err != nil {
		t.Fatalf("%v\n%s", err, r.Log())
	}
	s.silent(t, "log", r.Log())
	return name
}

func (s *suite) wantEqual(t *testing.T, e engine.Engine, want *wire.Fingerprint, content map[string]string, restored string) {
	t.Helper()
	got, err := e.Fingerprint(newContext(t), restored)
	if err != nil {
		t.Fatal(err)
	}
	if diff := want.Diff(got); want.Exact && len(diff) > 0 {
		t.Errorf("fingerprint differs:\n%s", strings.Join(diff, "\n"))
	}
	if len(content) == 0 {
		t.Fatal("there is no content to compare")
	}
	have := s.Content(t, restored)
	for key, value := range content {
		if have[key] != value {
			t.Errorf("content differs: %s is\n%s\nwant\n%s", key, have[key], value)
		}
	}
	for key := range have {
		if _, ok := content[key]; !ok {
			t.Errorf("content has more: %s", key)
		}
	}
}

func (s *suite) exists(t *testing.T, e engine.Engine, name string, want bool) {
	t.Helper()
	got, err := e.Exists(newContext(t), name)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("Exists(%q) is %v", name, got)
	}
	if listed := slices.Contains(s.Databases(t), name); listed != want {
		t.Errorf("the server lists %q: %v", name, listed)
	}
}

func short(b []byte, n int) io.Reader { return bytes.NewReader(b[:n]) }

func describeRuns(runs []fakedump.Run) string {
	var b strings.Builder
	for _, run := range runs {
		fmt.Fprintf(&b, "%s %q %q\n", run.Name, run.Args, run.Env)
	}
	return b.String()
}
