// Package e2e_test drives the built programs as a user does: a controller, agents and devflowctl against real PostgreSQL and S3
// servers on loopback. `make build tools bin/quickstart` builds what it runs.
package e2e_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/testkit/fakedump"
	"devflowbackup/shared/testkit/s3kit"
)

// patience bounds one test. Whatever waits gives up by then.
const patience = 3 * time.Minute

func TestMain(m *testing.M) {
	fakedump.Main() // tools that fail are this program
	root, err := s3kit.Root()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	for _, program := range []string{"devflow-agent", "devflow-controller", "devflowctl", "quickstart", "tools/versitygw"} {
		if _, err := os.Stat(filepath.Join(root, "bin", program)); err != nil {
			fmt.Fprintf(os.Stderr, "e2e: bin/%s is missing: run `make build tools bin/quickstart`\n", program)
			os.Exit(1)
		}
	}
	sideBySide()
	code := m.Run()
	if err := errors.Join(shared.stop(), sharedEstate.stop()); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

// sideBySide lets more tests run at once than there are cores, unless the command line says how many: most of a fault test is
// waiting.
func sideBySide() {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0)))
	}
}

// rig is a running installation: one controller, one S3 server, one PostgreSQL with its agent on "db1", and a default storage.
type rig struct {
	*stack.Stack
	controller *stack.Controller
	agent      *stack.Agent
	s3         *stack.S3
	postgres   *stack.Postgres
	ctl        *stack.Client
}

// shared is the rig of all tests that leave it running as it was. Each works in a project of its own.
var shared sharedRig

type sharedRig struct {
	sync.Mutex
	dir string
	rig *rig
	err error
}

// stop ends the rig after the last test. Nothing may be left running.
func (s *sharedRig) stop() error {
	s.Lock()
	defer s.Unlock()
	if s.rig == nil {
		return stopStack(s.dir, nil)
	}
	return stopStack(s.dir, s.rig.Stack)
}

// stopStack ends a stack, if it was started, and removes its directory, if it was made.
func stopStack(dir string, s *stack.Stack) error {
	if dir == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var err error
	if s != nil {
		err = s.Stop(ctx)
	}
	return errors.Join(err, os.RemoveAll(dir))
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, fmt.Errorf("the test took longer than %s", patience))
	t.Cleanup(cancel)
	return ctx
}

// newRig returns the shared rig and, at the end of a failed test, the ends of its logs.
func newRig(t *testing.T) (*rig, context.Context) {
	t.Helper()
	ctx := testContext(t)
	shared.Lock()
	defer shared.Unlock()
	if shared.rig == nil && shared.err == nil {
		shared.dir, shared.err = stackDir()
		if shared.err == nil {
			shared.rig, shared.err = startRig(ctx, shared.dir)
		}
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	showLogs(t, shared.rig.Stack)
	return shared.rig, ctx
}

// stackDir makes a directory straight under /tmp that PostgreSQL's own user can reach.
func stackDir() (string, error) {
	dir, err := os.MkdirTemp("/tmp", "devflow-e2e-")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

func startRig(ctx context.Context, dir string) (*rig, error) {
	s, err := stack.New(stack.Options{Dir: dir})
	if err != nil {
		return nil, err
	}
	r := &rig{Stack: s}
	return r, r.start(ctx)
}

func (r *rig) start(ctx context.Context) (err error) {
	if r.postgres, err = r.StartPostgres(ctx, "pg1", stack.PostgresOptions{Settings: map[string]string{"max_connections": "100"}}); err != nil {
		return err
	}
	if r.s3, err = r.StartS3(ctx, "s3", stack.S3Options{}); err != nil {
		return err
	}
	if r.controller, err = r.NewController("controller", stack.ControllerOptions{Timing: stack.Quick()}); err != nil {
		return err
	}
	if err := r.controller.Start(ctx); err != nil {
		return err
	}
	r.ctl = r.controller.Admin()
	if err := r.ctl.AddStorage(ctx, "store", r.s3); err != nil {
		return err
	}
	if r.agent, err = r.NewAgent("db1", stack.AgentOptions{
		Servers: map[string]stack.Server{"main": r.postgres}, Limits: map[string]any{"discovery_every": "10s"},
	}); err != nil {
		return err
	}
	if err := r.agent.Enroll(ctx, r.controller, ""); err != nil {
		return err
	}
	return r.agent.StartOnline(ctx, r.controller, 0)
}

// newStack makes a stack of the test's own and stops it at the test's end, when nothing may be left running.
func newStack(t *testing.T) (*stack.Stack, context.Context) {
	t.Helper()
	dir, err := stackDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	s, err := stack.New(stack.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	showLogs(t, s)
	return s, testContext(t)
}

// showLogs prints what came into the logs during a test that has failed, the ends of it.
func showLogs(t *testing.T, s *stack.Stack) {
	logs := func() []string {
		files, err := filepath.Glob(filepath.Join(s.Dir, "logs", "*.log"))
		if err != nil {
			t.Error(err)
		}
		return files
	}
	began := map[string]int{}
	for _, log := range logs() {
		b, _ := os.ReadFile(log)
		began[log] = len(b)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		for _, log := range logs() {
			b, _ := os.ReadFile(log)
			lines := strings.Split(strings.TrimSpace(string(b[min(began[log], len(b)):])), "\n")
			if text := strings.Join(lines[max(0, len(lines)-20):], "\n"); text != "" {
				t.Logf("--- %s\n%s", filepath.Base(log), text)
			}
		}
	})
}

// do runs devflowctl, which must succeed.
func do(t *testing.T, ctx context.Context, c *stack.Client, args ...string) string {
	t.Helper()
	res, err := c.Do(ctx, args...)
	if err != nil {
		t.Fatal(err)
	}
	return res.Out
}

// refused runs devflowctl, which must end with the status and say each of the words.
func refused(t *testing.T, ctx context.Context, c *stack.Client, status int, words []string, args ...string) {
	t.Helper()
	res, err := c.Ctl(ctx, args...)
	if err != nil {
		t.Fatal(err)
	}
	says(t, res, status, words...)
}

// says checks the status of a program and that it said each of the words, in whatever case.
func says(t *testing.T, res stack.Result, status int, words ...string) {
	t.Helper()
	if res.Code != status {
		t.Errorf("exit status %d, want %d: %s", res.Code, status, res.Text())
	}
	text := strings.ToLower(res.Err + res.Out)
	for _, w := range words {
		if !strings.Contains(text, strings.ToLower(w)) {
			t.Errorf("it does not say %q: %s", w, res.Text())
		}
	}
}

func read[T any](t *testing.T, ctx context.Context, c *stack.Client, args ...string) T {
	t.Helper()
	var out T
	if err := c.Read(ctx, &out, args...); err != nil {
		t.Fatal(err)
	}
	return out
}

// project makes a project that may use the rig's server, and a database with some content that is assigned to it.
func (r *rig) project(t *testing.T, ctx context.Context, slug string, databases ...string) {
	t.Helper()
	do(t, ctx, r.ctl, "project", "create", slug)
	do(t, ctx, r.ctl, "project", "grant", slug, "db1")
	for _, name := range databases {
		r.database(t, ctx, name)
		do(t, ctx, r.ctl, "database", "assign", "--project", slug, "--on", "db1", "--", name)
	}
}

// database makes a database with some content and waits until the agent has told of it.
func (r *rig) database(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	makeDatabase(t, ctx, r.postgres, name)
	found(t, ctx, r.ctl, "db1", name)
}

// found waits until the server's agent has told of a database.
func found(t *testing.T, ctx context.Context, c *stack.Client, server, name string) {
	t.Helper()
	if err := c.AwaitDatabase(ctx, server, name, 1); err != nil {
		t.Fatal(err)
	}
}

const contentSQL = `
	CREATE TABLE people (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, born date, note jsonb);
	CREATE TABLE visits (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, person integer NOT NULL REFERENCES people, at timestamptz NOT NULL, picture bytea);
	INSERT INTO people (name, born, note) SELECT 'Zoë 🦀 ' || n, date '1970-01-01' + n, jsonb_build_object('n', n, 'quote', 'it''s "so"') FROM generate_series(1, 2000) n;
	INSERT INTO visits (person, at, picture) SELECT 1 + n % 2000, timestamptz '2025-01-01Z' + n * interval '1 minute', decode(md5(n::text), 'hex') FROM generate_series(1, 5000) n;
	CREATE VIEW grown AS SELECT * FROM people WHERE born < '1975-01-01';
	CREATE FUNCTION visits_of(integer) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT count(*) FROM public.visits WHERE person = $1 $$;`

func makeDatabase(t *testing.T, ctx context.Context, p *stack.Postgres, name string) {
	t.Helper()
	if err := p.CreateDatabase(ctx, name, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Exec(ctx, name, contentSQL); err != nil {
		t.Fatal(err)
	}
}

// newestBackup is the newest backup of a project.
func newestBackup(t *testing.T, ctx context.Context, c *stack.Client, project string) stack.Backup {
	t.Helper()
	all, err := c.Backups(ctx, project)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatalf("project %s has no backup", project)
	}
	return all[0]
}

// backUp backs one database up and returns the completed backup.
func backUp(t *testing.T, ctx context.Context, c *stack.Client, project, database string, more ...string) stack.Backup {
	t.Helper()
	do(t, ctx, c, append([]string{"backup", "create", project, "--database", database, "--wait"}, more...)...)
	b := newestBackup(t, ctx, c, project)
	if b.Status != "completed" || b.Health != "ok" || b.DatabaseName != database {
		t.Fatalf("backup is not completed: %+v", b)
	}
	return b
}

// sameContent compares a copy with its source by plain SQL.
func sameContent(t *testing.T, ctx context.Context, p *stack.Postgres, source, copied string) {
	t.Helper()
	want, err := p.Content(ctx, source)
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Content(ctx, copied)
	if err != nil {
		t.Fatal(err)
	}
	if diff := want.Diff(got); diff != "" {
		t.Errorf("database %q differs from %q:\n%s", copied, source, diff)
	}
	if want.Rows() == 0 {
		t.Errorf("database %q is empty: the comparison proves nothing", source)
	}
}

// trace is what work leaves behind at the store, on the database server and among the processes.
type trace struct {
	objects, databases []string
	uploads            []stack.Upload
}

func traceOf(t *testing.T, ctx context.Context, s3 *stack.S3, p *stack.Postgres) trace {
	t.Helper()
	var tr trace
	objects, err := s3.Objects(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		tr.objects = append(tr.objects, o.Key)
	}
	if tr.uploads, err = s3.Uploads(ctx); err != nil {
		t.Fatal(err)
	}
	if tr.databases, err = p.Databases(ctx); err != nil {
		t.Fatal(err)
	}
	return tr
}

// unchanged waits until store and databases are as they were, and the agent runs no tool.
func unchanged(t *testing.T, ctx context.Context, before trace, s3 *stack.S3, p *stack.Postgres, agents ...*stack.Agent) {
	t.Helper()
	if err := stack.Within(ctx, 20*time.Second, "nothing half-made is left", func(ctx context.Context) (bool, error) {
		now := traceOf(t, ctx, s3, p)
		if !slices.Equal(now.objects, before.objects) || !slices.Equal(now.uploads, before.uploads) || !slices.Equal(now.databases, before.databases) {
			return false, fmt.Errorf("there is %+v, there was %+v", now, before)
		}
		for _, a := range agents {
			if children := a.Process().Children(); len(children) > 0 {
				return false, fmt.Errorf("%s runs %v", a.Name, children)
			}
		}
		return true, nil
	}); err != nil {
		t.Error(err)
	}
}

func id(n int64) string { return strconv.FormatInt(n, 10) }
