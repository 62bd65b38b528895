package e2e_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/s3kit"
	"devflowbackup/shared/wire"
)

// target is a database in whose place a backup of itself is restored.
type target struct {
	*estate
	stack.Server
	name   string
	backup int64
	saved  stack.Content // of the backup
	live   stack.Content // what is there now
	gates  atomic.Int64  // made so far
}

// inPlaceProject owns the targets.
const inPlaceProject = "inplace"

// newInPlaceEstate starts an estate whose agent restores in place.
func newInPlaceEstate(t *testing.T, opt estateOptions) *estate {
	t.Helper()
	opt.inPlace = true
	e := newEstate(t, opt)
	e.project(t, faultContext(t), inPlaceProject)
	return e
}

// target makes a database with what the SQL says, or with the sample, backs it up, and changes it.
func (e *estate) target(t *testing.T, ctx context.Context, s stack.Server, word, sql string) *target {
	t.Helper()
	x := &target{estate: e, Server: s, name: s.Name(word + "_" + s.Engine())}
	if err := e.fillDatabase(ctx, s, x.name, sql); err != nil {
		t.Fatal(err)
	}
	x.run(t, ctx, "CREATE TABLE mark (n integer); INSERT INTO mark VALUES (1); CREATE TABLE written (n integer);")
	if err := s.AllowInPlace(ctx, x.name); err != nil {
		t.Fatal(err)
	}
	e.assign(t, ctx, inPlaceProject, "db1", x.name)
	x.saved = contentOf(t, ctx, s, x.name)
	x.backup = e.backUp(t, ctx, inPlaceProject, x.name).ID
	x.run(t, ctx, "DELETE FROM mark; INSERT INTO mark VALUES (2); CREATE TABLE since (n integer); INSERT INTO since VALUES (1);")
	x.live = contentOf(t, ctx, s, x.name)
	if x.saved.Diff(x.live) == "" {
		t.Fatal("the backup has what is there: the comparison proves nothing")
	}
	return x
}

func (x *target) run(t *testing.T, ctx context.Context, sql string) {
	t.Helper()
	if _, err := x.Exec(ctx, x.name, sql); err != nil {
		t.Fatal(err)
	}
}

// gate holds requests of one S3 operation for the target's objects until it opens, with the test at the latest. One that is made later
// takes its place.
func (x *target) gate(t *testing.T, op string) *s3kit.Gate {
	t.Helper()
	g := s3kit.NewGate()
	word, no := strings.TrimSuffix(filepath.Base(x.name), ".sqlite"), x.gates.Add(1)
	x.s3.Proxy.Add(&s3kit.Rule{Match: s3kit.And(s3kit.Op(op), func(r *http.Request) bool { return x.gates.Load() == no && strings.Contains(r.URL.Path, word) }), Action: g.HoldRequest()})
	t.Cleanup(g.Open)
	return g
}

// kept is the name of a database that is kept, as the server has it.
func (x *target) kept(name string) string {
	if filepath.IsAbs(x.name) {
		return filepath.Join(filepath.Dir(x.name), name)
	}
	return name
}

// asked is a request for a restore in place, without a safety backup unless more says otherwise.
func (x *target) asked(more map[string]any) map[string]any {
	in := map[string]any{"backup_id": x.backup, "to_database": x.name, "in_place": true, "confirm": x.name, "skip_safety_backup": true}
	maps.Copy(in, more)
	return in
}

// order asks for a restore in place.
func (x *target) order(t *testing.T, ctx context.Context, more map[string]any) stack.Restore {
	t.Helper()
	r, err := x.ctl.CreateRestore(ctx, x.asked(more))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// orderUndo asks for the undo of a restore.
func (x *target) orderUndo(t *testing.T, ctx context.Context, restore int64) stack.Restore {
	t.Helper()
	r, err := x.ctl.UndoRestore(ctx, restore, map[string]any{"confirm": x.name})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// ended waits until a restore or an undo has ended and what is at its target is known.
func (x *target) ended(t *testing.T, ctx context.Context, id int64) stack.Restore {
	t.Helper()
	r, err := x.ctl.AwaitRestore(ctx, id, "has ended", time.Minute, func(r stack.Restore) bool {
		return (r.Status == "completed" || r.Status == "failed") && r.TargetState != "" && r.TargetState != "unknown"
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// completed waits until a restore or an undo is completed, and checks that what it tells is true.
func (x *target) completed(t *testing.T, ctx context.Context, r stack.Restore, fresh stack.Content) stack.Restore {
	t.Helper()
	r = x.truth(t, ctx, x.ended(t, ctx, r.ID), fresh)
	if r.Status != "completed" {
		t.Fatalf("it failed: %s: %s (%s)", r.ErrorCode, r.ErrorMessage, r.ErrorHint)
	}
	return r
}

// failed waits until a restore or an undo has failed with a code, and checks that its target is as it was and that it says what to do.
func (x *target) failed(t *testing.T, ctx context.Context, r stack.Restore, code string) stack.Restore {
	t.Helper()
	r = x.truth(t, ctx, x.ended(t, ctx, r.ID), stack.Content{})
	if r.Status != "failed" || r.ErrorCode != code || r.TargetState != "untouched" {
		t.Errorf("it is %s, its target %s: %s: %s; want %s", r.Status, r.TargetState, r.ErrorCode, r.ErrorMessage, code)
	}
	return r
}

// truth compares what a restore or an undo that has ended tells of its target with what is there: what was there before, or the fresh
// content, with the old one kept. live is then what is there.
func (x *target) truth(t *testing.T, ctx context.Context, r stack.Restore, fresh stack.Content) stack.Restore {
	t.Helper()
	switch {
	case r.Status == "completed" && r.TargetState != "replaced":
		t.Errorf("it is completed, and its target %s", r.TargetState)
	case r.TargetState == "replaced":
		if r.KeptState != "kept" {
			t.Errorf("it has replaced its target, whose content is %q", r.KeptState)
		}
		same(t, ctx, x.Server, x.live, x.kept(r.KeptName))
		x.live = fresh
	}
	same(t, ctx, x.Server, x.live, x.name)
	names, err := x.Databases(ctx)
	if err != nil {
		t.Fatal(err)
	}
	kept := slices.Contains(names, x.kept(r.KeptName))
	if kept != (r.KeptState == "kept") {
		t.Errorf("what it kept as %s is %q, and there are %v", r.KeptName, r.KeptState, names)
	}
	return r
}

// discardAll removes what restores of this target keep.
func (x *target) discardAll(t *testing.T, ctx context.Context) {
	t.Helper()
	all := read[[]stack.Restore](t, ctx, x.ctl, "restore", "list", "--project", inPlaceProject)
	for _, r := range all {
		if r.DatabaseName == x.name && r.KeptState == "kept" {
			x.discard(t, ctx, r.ID)
		}
	}
}

func (x *target) discard(t *testing.T, ctx context.Context, restore int64) {
	t.Helper()
	if _, err := x.ctl.DiscardKept(ctx, restore, x.name); err != nil {
		t.Fatal(err)
	}
	x.removed(t, ctx, restore)
}

// removed waits until what a restore kept is gone.
func (x *target) removed(t *testing.T, ctx context.Context, restore int64) {
	t.Helper()
	r, err := x.ctl.AwaitRestore(ctx, restore, "keeps nothing", 40*time.Second, func(r stack.Restore) bool { return r.KeptState == "removed" })
	if err != nil {
		t.Fatal(err)
	}
	if names, err := x.Databases(ctx); err != nil || slices.Contains(names, x.kept(r.KeptName)) {
		t.Errorf("%s is removed, and there are %v, %v", r.KeptName, names, err)
	}
}

// notPlanned asks for a restore in place that a problem stops, and checks that the plan names it, that the request is refused with it, and
// that a hint says what to do.
func (x *target) notPlanned(t *testing.T, ctx context.Context, code string, more map[string]any) {
	t.Helper()
	in := x.asked(more)
	plan, err := x.ctl.PlanRestore(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	if plan.CanStart || !slices.Contains(plan.Stops(), code) {
		t.Errorf("the plan does not name %s: %+v", code, plan)
	}
	for _, p := range plan.Problems {
		if p.Stops && (p.Text == "" || p.Hint == "") {
			t.Errorf("it does not say what to do: %+v", p)
		}
	}
	_, err = x.ctl.CreateRestore(ctx, in)
	x.refusedWith(t, ctx, err, 409, code)
}

// refusedWith checks an answer of the API and that the target is as it was.
func (x *target) refusedWith(t *testing.T, ctx context.Context, err error, status int, words ...string) {
	t.Helper()
	var p *stack.ProblemError
	if !errors.As(err, &p) || p.Status != status {
		t.Fatalf("it is answered with %v, not with status %d", err, status)
	}
	for _, w := range words {
		if !strings.Contains(p.Body, w) {
			t.Errorf("the answer does not say %q: %s", w, p.Body)
		}
	}
	same(t, ctx, x.Server, x.live, x.name)
}

// session is a program at a database.
type session struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader
}

// appRole is a role as programs have it.
const appRole = "shop_app"

// open starts a program that has the target open: the client of its engine, as an account without special rights where that matters.
func (x *target) open(t *testing.T, ctx context.Context) *session {
	t.Helper()
	var s session
	var hello string
	switch x.Engine() {
	case wire.EnginePostgreSQL:
		const password = "not-secret"
		if out, err := x.postgres.Exec(ctx, "postgres", "SELECT count(*) FROM pg_roles WHERE rolname = '"+appRole+"'"); err != nil {
			t.Fatal(err)
		} else if strings.TrimSpace(out) == "0" {
			if err := x.postgres.CreateRole(ctx, appRole, secret.String(password)); err != nil {
				t.Fatal(err)
			}
		}
		s.cmd = exec.CommandContext(ctx, filepath.Join(x.postgres.Bin().Dir, "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", x.name)
		s.cmd.Env = []string{"PGHOST=" + x.postgres.Host(), fmt.Sprintf("PGPORT=%d", x.postgres.Port()), "PGUSER=" + appRole, "PGPASSWORD=" + password}
		hello = "SELECT 1;\n\\warn here\n"
	case wire.EngineMySQL:
		s.cmd = exec.CommandContext(ctx, x.maria.Bin().Client, "--defaults-file="+x.maria.OptionFile(), "--batch", "--skip-column-names", "--unbuffered", "--skip-reconnect", "--", x.name)
		hello = "BEGIN; SELECT count(*) FROM mark; SELECT 'here';\n"
	case wire.EngineSQLite:
		s.cmd = exec.CommandContext(ctx, "sqlite3", "-batch", "-bail", "-init", os.DevNull, x.name)
		hello = "SELECT count(*) FROM mark; SELECT 'here';\n"
	}
	s.cmd.Env = append(s.cmd.Env, "PATH="+os.Getenv("PATH"), "LC_ALL=C.UTF-8", "HOME="+os.DevNull)
	var err error
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stdout, s.cmd.Stderr, s.out = w, w, bufio.NewReader(r)
	if err := errors.Join(s.cmd.Start(), w.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.close(); _ = r.Close() })
	if _, err := io.WriteString(s.stdin, hello); err != nil {
		t.Fatal(err)
	}
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			t.Fatalf("no session at %s: %v: %s", x.name, err, line)
		}
		if strings.TrimSpace(line) == "here" {
			return &s
		}
	}
}

// close ends the program, which may have ended before. It may be called twice.
func (s *session) close() {
	_ = s.stdin.Close()
	_ = s.cmd.Wait()
}

// works tells whether the session can still be used.
func (s *session) works() bool {
	if _, err := io.WriteString(s.stdin, "SELECT 'still';\n"); err != nil {
		return false
	}
	_ = s.stdin.Close()
	rest, _ := io.ReadAll(s.out)
	return s.cmd.Wait() == nil && strings.Contains(string(rest), "still")
}
