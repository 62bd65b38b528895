package stack_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
)

func newStack(t *testing.T) (*stack.Stack, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	dir, err := os.MkdirTemp("/tmp", "devflow-stack-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := stack.New(stack.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return s, ctx
}

// TestContent: the comparison sees each kind of difference, and no difference where there is none.
func TestContent(t *testing.T) {
	s, ctx := newStack(t)
	p, err := s.StartPostgres(ctx, "pg", stack.PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	const fill = `CREATE TABLE a (id integer PRIMARY KEY, word text, b bytea); INSERT INTO a VALUES (1, 'one', '\x01'), (2, 'two', NULL), (3, 'two', NULL);
		CREATE TABLE twice (x integer); INSERT INTO twice VALUES (1), (1), (2);
		CREATE VIEW v AS SELECT * FROM a; CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM a; CREATE SEQUENCE s;
		CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS 'SELECT 1'; SELECT lo_from_bytea(4711, 'large');`
	for _, name := range []string{"source", "copy"} {
		if err := p.CreateDatabase(ctx, name, ""); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Exec(ctx, name, fill); err != nil {
			t.Fatal(err)
		}
	}
	diff := func() string {
		t.Helper()
		source, err := p.Content(ctx, "source")
		if err != nil {
			t.Fatal(err)
		}
		copied, err := p.Content(ctx, "copy")
		if err != nil {
			t.Fatal(err)
		}
		if source.Rows() != 6 {
			t.Errorf("the source has %d rows, not 6", source.Rows())
		}
		return source.Diff(copied)
	}
	if d := diff(); d != "" {
		t.Errorf("equal databases differ: %s", d)
	}
	for _, c := range []struct{ change, undo, want string }{
		{"UPDATE a SET word = 'One' WHERE id = 1", "UPDATE a SET word = 'one' WHERE id = 1", "public.a"},
		{`UPDATE a SET b = '\x02' WHERE id = 1`, `UPDATE a SET b = '\x01' WHERE id = 1`, "public.a"},
		{"UPDATE a SET b = '' WHERE id = 2", "UPDATE a SET b = NULL WHERE id = 2", "public.a"},
		{"DELETE FROM a WHERE id = 3", "INSERT INTO a VALUES (3, 'two')", "public.a"},
		{"UPDATE twice SET x = 3 - x", "UPDATE twice SET x = 3 - x", "public.twice"},
		{"CREATE TABLE extra ()", "DROP TABLE extra", "public.extra is too much"},
		{"DROP VIEW v", "CREATE VIEW v AS SELECT * FROM a", "view public.v is missing"},
		{"SELECT nextval('s')", "SELECT setval('s', 1, false)", "sequence public.s"},
		{"CREATE OR REPLACE FUNCTION f() RETURNS integer LANGUAGE sql AS 'SELECT 2'", "CREATE OR REPLACE FUNCTION f() RETURNS integer LANGUAGE sql AS 'SELECT 1'", "function public.f()"},
		{"SELECT lo_put(4711, 0, 'L')", "SELECT lo_put(4711, 0, 'l')", "large object 4711"},
		{"INSERT INTO a VALUES (9); REFRESH MATERIALIZED VIEW m; DELETE FROM a WHERE id = 9", "REFRESH MATERIALIZED VIEW m", "materialized view public.m"},
	} {
		if _, err := p.Exec(ctx, "copy", c.change); err != nil {
			t.Fatal(err)
		}
		if d := diff(); !strings.Contains(d, c.want) {
			t.Errorf("after %s: %q does not name %s", c.change, d, c.want)
		}
		if _, err := p.Exec(ctx, "copy", c.undo); err != nil {
			t.Fatal(err)
		}
		if d := diff(); d != "" {
			t.Errorf("after %s and its undoing: %s", c.change, d)
		}
	}
}

// TestStop_Leftover: a process that a part left behind is an error of Stop, as long as it runs.
func TestStop_Leftover(t *testing.T) {
	s, ctx := newStack(t)
	p, err := s.StartPostgres(ctx, "pg", stack.PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// As an orphaned dump tool would look.
	orphan := exec.Command("sleep", "300")
	orphan.Env = []string{"PGPORT=" + strconv.Itoa(p.Port())}
	orphan.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := orphan.Start(); err != nil {
		t.Fatal(err)
	}
	// A process that has just been started shows no environment yet.
	err = stack.Until(ctx, "the orphan is found", func(context.Context) (bool, error) {
		return slices.ContainsFunc(s.Processes(), func(r stack.Running) bool { return r.PID == orphan.Process.Pid }), nil
	})
	if err != nil {
		t.Error(err)
	}
	err = s.Stop(ctx)
	if err == nil || !strings.Contains(err.Error(), "sleep 300") {
		t.Errorf("Stop does not name the orphan: %v", err)
	}
	if err := orphan.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = orphan.Wait()
	if found := s.Processes(); len(found) > 0 {
		t.Errorf("found %v", found)
	}
}

// TestListeners finds sockets on loopback and elsewhere.
func TestListeners(t *testing.T) {
	var want []netip.AddrPort
	for _, address := range []string{"127.0.0.1:0", "0.0.0.0:0"} {
		l, err := net.Listen("tcp4", address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		want = append(want, l.Addr().(*net.TCPAddr).AddrPort())
	}
	got, err := stack.Listeners([]stack.Running{{PID: os.Getpid()}})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range want {
		w = netip.AddrPortFrom(w.Addr().Unmap(), w.Port())
		if !slices.Contains(got, w) {
			t.Errorf("%s is not among %v", w, got)
		}
	}
}

func TestUntil(t *testing.T) {
	ctx := context.Background()
	calls := 0
	if err := stack.Within(ctx, time.Minute, "three calls", func(context.Context) (bool, error) { calls++; return calls == 3, nil }); err != nil || calls != 3 {
		t.Errorf("%d calls, %v", calls, err)
	}
	cause := errors.New("the reason")
	err := stack.Within(ctx, time.Millisecond, "never", func(context.Context) (bool, error) { return false, cause })
	if !errors.Is(err, cause) || !strings.Contains(err.Error(), "never") {
		t.Errorf("got %v", err)
	}
	calls = 0
	err = stack.Within(ctx, time.Minute, "hopeless", func(context.Context) (bool, error) { calls++; return false, stack.Hopeless(cause) })
	if !errors.Is(err, cause) || calls != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
}
