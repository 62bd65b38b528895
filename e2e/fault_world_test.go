package e2e_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/failpoint"
	"devflowbackup/shared/testkit/s3kit"
)

// faultPatience bounds one fault with its recovery.
const faultPatience = 2 * time.Minute

// Databases of a faultWorld.
const (
	small = "small" // one part: it is read to its end before the part is acknowledged
	big   = "big"   // more parts than an upload holds in memory: its dump waits for the store
)

// bigBytes of random data become 1.1 times as many stored ones, in parts of 8 MiB of which three are held in memory.
const bigBytes = 40 << 20

// faultWorld is an installation of programs with failpoints: controllers on a catalog whose history is recorded, an S3 server behind a fault
// proxy, and one agent, on "db1", with the databases small and big of project "shop".
type faultWorld struct {
	*stack.Stack
	catalog     *stack.Catalog
	s3          *stack.S3
	nats        *stack.NATS // nil where the controller embeds one
	controllers []*stack.Controller
	agent       *stack.Agent
	postgres    *stack.Postgres
	servers     []stack.Server // that the agent works on, postgres first
	ctl         *stack.Client  // of the first controller
	points      string         // directory of markers
	files       *stack.SQLite  // databases of the agent beside those of postgres, if asked for
	damaged     []int64        // backups that the test has damaged or removed

	buckets map[string]*stack.S3 // of storages beside the default one
	read    map[string]bool      // what checks of invariants have read
}

type faultOptions struct {
	controllers int // more than one share an external NATS
	timing      map[string]any
	sites       []string // failpoints of controllers and agent; a program that comes to one exits, or does what stands after a "="
	limits      map[string]any
	agent       func(*stack.AgentOptions) // changes how the agent is configured
	big         int                       // random bytes in big, bigBytes if 0
	s3          stack.S3Options           // with a proxy, whatever it says
	files       bool                      // the agent has SQLite databases as well
	extra       map[string]any            // further keys of the controllers' configuration
}

// newFaultWorld starts an installation, which ends with the test. Then nothing may be left running.
func newFaultWorld(t *testing.T, opt faultOptions) *faultWorld {
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
	s, err := stack.New(stack.Options{Dir: dir, Failpoints: true})
	if err != nil {
		t.Fatalf("%v (fault tests need `make build-failpoints`)", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), faultPatience)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	showLogs(t, s)
	w := &faultWorld{Stack: s, points: filepath.Join(dir, "points"), read: map[string]bool{}}
	if err := w.start(faultContext(t), opt); err != nil {
		t.Fatal(err)
	}
	return w
}

func faultContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeoutCause(context.Background(), faultPatience, fmt.Errorf("the fault took longer than %s", faultPatience))
	t.Cleanup(cancel)
	return ctx
}

func (w *faultWorld) start(ctx context.Context, opt faultOptions) (err error) {
	env, err := w.disarmed(opt.sites)
	if err != nil {
		return err
	}
	if w.catalog, err = w.StartCatalog(ctx, "catalog", stack.PostgresOptions{}); err != nil {
		return err
	}
	if w.postgres, err = w.StartPostgres(ctx, "pg1", stack.PostgresOptions{}); err != nil {
		return err
	}
	w.servers = []stack.Server{w.postgres}
	if err := w.fill(ctx, cmp.Or(opt.big, bigBytes)); err != nil {
		return err
	}
	opt.s3.Proxy = true
	if w.s3, err = w.StartS3(ctx, "s3", opt.s3); err != nil {
		return err
	}
	if opt.controllers > 1 {
		if w.nats, err = w.NewNATS("nats"); err != nil {
			return err
		}
	}
	timing := stack.Quick()
	for k, v := range opt.timing {
		timing[k] = v
	}
	key := filepath.Join(w.Dir, "secrets", "master.key")
	for i := range max(opt.controllers, 1) {
		c, err := w.NewController(fmt.Sprintf("controller%d", i+1), stack.ControllerOptions{
			CatalogDSN: w.catalog.DSN, NATS: w.nats, MasterKeyFile: key, Timing: timing, Env: env, Extra: opt.extra,
		})
		if err != nil {
			return err
		}
		if i == 0 && w.nats != nil {
			if err := errors.Join(w.nats.Export(ctx, c), w.nats.Start()); err != nil {
				return err
			}
		}
		if err := c.Start(ctx); err != nil {
			return err
		}
		w.controllers = append(w.controllers, c)
	}
	w.ctl = w.controllers[0].Admin()
	if err := w.catalog.Record(ctx); err != nil {
		return err
	}
	if err := w.ctl.AddStorage(ctx, "store", w.s3); err != nil {
		return err
	}
	limits := map[string]any{"discovery_every": "10s"}
	for k, v := range opt.limits {
		limits[k] = v
	}
	options := stack.AgentOptions{Servers: map[string]stack.Server{"main": w.postgres}, Limits: limits, Env: env}
	if opt.files {
		if w.files, err = w.NewSQLite("files"); err != nil {
			return err
		}
		options.Servers["files"], w.servers = w.files, append(w.servers, w.files)
	}
	if opt.agent != nil {
		opt.agent(&options)
	}
	if w.agent, err = w.NewAgent("db1", options); err != nil {
		return err
	}
	if _, err := w.ctl.Do(ctx, "project", "create", "shop"); err != nil {
		return err
	}
	if err := w.agent.Enroll(ctx, w.controllers[0], "shop"); err != nil {
		return err
	}
	if err := w.agent.StartOnline(ctx, w.controllers[0], 2); err != nil {
		return err
	}
	for _, name := range []string{small, big} {
		if _, err := w.ctl.Do(ctx, "database", "assign", name, "--project", "shop", "--on", "db1"); err != nil {
			return err
		}
	}
	return nil
}

func (w *faultWorld) fill(ctx context.Context, bytes int) error {
	for _, name := range []string{small, big} {
		if err := w.postgres.CreateDatabase(ctx, name, ""); err != nil {
			return err
		}
		if _, err := w.postgres.Exec(ctx, name, contentSQL); err != nil {
			return err
		}
	}
	conn, err := w.postgres.Connect(ctx, big)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "CREATE TABLE noise (n int PRIMARY KEY, bytes bytea)"); err != nil {
		return err
	}
	const row = 1 << 20
	_, err = conn.CopyFrom(ctx, pgx.Identifier{"noise"}, []string{"n", "bytes"}, pgx.CopyFromSlice(bytes/row, func(i int) ([]any, error) {
		b := make([]byte, row)
		_, _ = rand.Read(b)
		return []any{i, b}, nil
	}))
	return err
}

// disarmed is the environment in which every site is known and has fired already.
func (w *faultWorld) disarmed(sites []string) ([]string, error) {
	if len(sites) == 0 {
		return nil, nil
	}
	specs := make([]string, len(sites))
	for i, site := range sites {
		site, action, ok := strings.Cut(site, "=")
		if !ok {
			action = "exit"
		}
		if err := stack.WriteFile(w.marker(site), "", 0o600); err != nil {
			return nil, err
		}
		specs[i] = site + "=" + action + "@" + w.marker(site)
	}
	return []string{"DEVFLOW_FAILPOINTS=" + strings.Join(specs, ",")}, nil
}

func (w *faultWorld) marker(site string) string { return filepath.Join(w.points, site) }

// arm has the next program that comes to the site end there at once, or do what the site is for. It returns a check that this has
// happened.
func (w *faultWorld) arm(t *testing.T, site string) (fired func() bool) {
	t.Helper()
	if err := os.Remove(w.marker(site)); err != nil {
		t.Fatalf("arm failpoint %s: %v", site, err)
	}
	return func() bool {
		_, err := os.Stat(w.marker(site))
		return err == nil
	}
}

// died waits until a process has ended at an armed site.
func died(t *testing.T, ctx context.Context, p *stack.Process, fired func() bool) {
	t.Helper()
	if err := p.Wait(ctx, 40*time.Second); err != nil {
		t.Fatal(err)
	}
	if p.ExitCode() != failpoint.ExitStatus || !fired() {
		t.Fatalf("%s ended with status %d, not at the armed place", p.Name, p.ExitCode())
	}
}

// gate holds requests of one S3 operation from now on. It opens with the test at the latest.
func (w *faultWorld) gate(t *testing.T, op string) (*s3kit.Gate, *s3kit.Rule) {
	t.Helper()
	g := s3kit.NewGate()
	rule := w.s3.Proxy.Inject(op, 0, g.HoldRequest())
	t.Cleanup(func() { g.Open(); w.s3.Proxy.Reset() })
	return g, rule
}

// arrived waits until n requests stand at the gate.
func arrived(t *testing.T, ctx context.Context, g *s3kit.Gate, n int) {
	t.Helper()
	for range n {
		select {
		case <-g.Arrived():
		case <-ctx.Done():
			t.Fatalf("no request came to the gate: %v", context.Cause(ctx))
		}
	}
}

// job is what tests look at of a job.
type faultJob struct {
	ID       int64
	Kind     string
	Status   string
	Attempts []struct {
		No      int
		Status  string
		Suspect bool
		Failure *struct{ Code, Message string }
	}
}

func (j faultJob) statuses() (all []string) {
	for _, a := range j.Attempts {
		all = append(all, a.Status)
	}
	return all
}

func (w *faultWorld) job(ctx context.Context, id int64) (j faultJob, err error) {
	err = w.ctl.API(ctx, http.MethodGet, fmt.Sprintf("/jobs/%d", id), nil, &j)
	return j, err
}

// until waits for a state of a job.
func (w *faultWorld) until(t *testing.T, ctx context.Context, id int64, what string, cond func(faultJob) bool) faultJob {
	t.Helper()
	var j faultJob
	if err := stack.Within(ctx, 60*time.Second, fmt.Sprintf("job %d %s", id, what), func(ctx context.Context) (bool, error) {
		var err error
		if j, err = w.job(ctx, id); err != nil {
			return false, err
		}
		if !cond(j) {
			return false, fmt.Errorf("it is %+v", j)
		}
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	return j
}

// order asks for a backup of one database.
func (w *faultWorld) order(t *testing.T, ctx context.Context, database string, more map[string]any) stack.Backup {
	t.Helper()
	b, err := w.tryOrder(ctx, w.ctl, database, more)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (w *faultWorld) tryOrder(ctx context.Context, c *stack.Client, database string, more map[string]any) (stack.Backup, error) {
	in := map[string]any{"project": "shop", "database": database}
	for k, v := range more {
		in[k] = v
	}
	var out struct {
		Items []struct{ Backup stack.Backup }
	}
	if err := c.API(ctx, http.MethodPost, "/backups", in, &out); err != nil {
		return stack.Backup{}, err
	}
	if len(out.Items) != 1 {
		return stack.Backup{}, fmt.Errorf("%d backups were ordered, not one", len(out.Items))
	}
	return out.Items[0].Backup, nil
}

// completed waits for a backup and says by how many attempts it was made.
func (w *faultWorld) completed(t *testing.T, ctx context.Context, id int64, attempts ...string) {
	t.Helper()
	b, err := w.ctl.AwaitBackup(ctx, id, "completed", 60*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	w.attempts(t, ctx, b.JobID, attempts...)
}

// attempts checks how each attempt of a job has ended.
func (w *faultWorld) attempts(t *testing.T, ctx context.Context, jobID int64, want ...string) {
	t.Helper()
	j, err := w.job(ctx, jobID)
	if err != nil {
		t.Fatal(err)
	}
	if got := j.statuses(); !slices.Equal(got, want) {
		t.Errorf("the attempts of job %d ended as %v, want %v: %+v", jobID, got, want, j)
	}
}

// invariants checks what must hold after every fault.
func (w *faultWorld) invariants(t *testing.T, ctx context.Context) {
	t.Helper()
	in := stack.Invariants{
		Catalog: w.catalog, Client: w.ctl, S3: w.s3, Buckets: w.buckets, Agents: []*stack.Agent{w.agent}, Databases: w.servers, Damaged: w.damaged, Read: w.read,
	}
	if err := in.Check(ctx); err != nil {
		t.Errorf("invariants: %v", err)
	}
}

// events counts security events of a kind.
func (w *faultWorld) events(t *testing.T, ctx context.Context, kind string) (n int64) {
	t.Helper()
	conn, err := w.catalog.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := conn.QueryRow(ctx, "SELECT coalesce(sum(count), 0)::bigint FROM security_events WHERE kind = $1", kind).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// forward lets time pass in the catalog: what a dead program had claimed is free at once.
func (w *faultWorld) forward(t *testing.T, ctx context.Context, sql string, args ...any) {
	t.Helper()
	conn, err := w.catalog.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if tag, err := conn.Exec(ctx, sql, args...); err != nil || tag.RowsAffected() == 0 {
		t.Fatalf("let time pass: %d rows, %v", tag.RowsAffected(), err)
	}
}

// dumpTools and restoreTools are the programs that an agent runs.
var (
	dumpTools    = []string{"pg_dump", "mariadb-dump", "mysqldump"}
	restoreTools = []string{"pg_restore", "mariadb", "mysql"}
)

// noTool waits until no dump or restore tool of the stack runs.
func (w *faultWorld) noTool(t *testing.T, ctx context.Context) {
	t.Helper()
	if err := stack.Within(ctx, 10*time.Second, "no dump or restore tool runs", func(context.Context) (bool, error) {
		for _, p := range w.Processes() {
			program, _, _ := strings.Cut(p.Command, " ")
			if name := filepath.Base(program); slices.Contains(dumpTools, name) || slices.Contains(restoreTools, name) {
				return false, fmt.Errorf("there is %s", p)
			}
		}
		return true, nil
	}); err != nil {
		t.Error(err)
	}
}

// logged waits until a log has the text after an offset.
func logged(t *testing.T, ctx context.Context, file string, from int64, text string) {
	t.Helper()
	if err := stack.Within(ctx, 30*time.Second, fmt.Sprintf("%s says %q", filepath.Base(file), text), func(context.Context) (bool, error) {
		b, err := os.ReadFile(file)
		return err == nil && bytes.Contains(b[min(from, int64(len(b))):], []byte(text)), err
	}); err != nil {
		t.Fatal(err)
	}
}

func logSize(t *testing.T, file string) int64 {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// fault runs one fault of a world, and checks what must hold afterwards.
func (w *faultWorld) fault(t *testing.T, name string, f func(t *testing.T, ctx context.Context)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		ctx := faultContext(t)
		f(t, ctx)
		w.s3.Proxy.Reset()
		w.invariants(t, ctx)
	})
	if t.Failed() {
		t.FailNow() // what follows would start from a broken world
	}
}
