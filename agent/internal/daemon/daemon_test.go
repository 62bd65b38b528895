package daemon_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/agent/internal/config"
	"devflowbackup/agent/internal/daemon"
	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/identity"
	"devflowbackup/agent/internal/journal"
	"devflowbackup/agent/internal/link"
	"devflowbackup/agent/internal/localstore"
	"devflowbackup/agent/internal/testkit/control"
	"devflowbackup/agent/internal/testkit/fakeengine"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/notify"
	"devflowbackup/shared/testkit/s3kit"
	"devflowbackup/shared/wire"
)

const partSize = 5 << 20

// agent is an agent under test with its controller.
type agent struct {
	t          *testing.T
	c          *control.Controller
	e          *fakeengine.Engine
	id         *identity.Identity
	cfg        config.Config
	log        *logged
	secret     string // the project's key
	codec      wire.Codec
	wrap       func(key string, f localstore.File) localstore.File
	supervisor *notify.Supervisor
	hangup     chan os.Signal
	load       func() (config.Config, error)

	stop context.CancelFunc
	done chan error
	d    *daemon.Daemon
}

// logged is a log that can be searched.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func prepare(t *testing.T) *agent {
	t.Helper()
	return prepareWith(t, control.Start(t))
}

func prepareWith(t *testing.T, c *control.Controller) *agent {
	t.Helper()
	secret, recipient, err := artifact.NewIdentity()
	must(t, err)
	a := &agent{
		t: t, c: c, e: &fakeengine.Engine{}, cfg: config.Default(), log: &logged{}, secret: secret,
		codec: wire.Codec{Compression: "zstd", Encryption: "age", Recipients: []string{recipient}},
	}
	a.cfg.StateDir = filepath.Join(t.TempDir(), "state")
	a.cfg.Instances = []config.Instance{{Name: "main", Engine: fakeengine.Name, Databases: config.Databases{Include: []string{"*"}, Exclude: []string{"private*"}}}}
	a.cfg.Limits.HelloDelay = config.Duration(10 * time.Millisecond)
	a.cfg.Limits.ProveBlocks = config.ProveAll
	a.cfg.Limits.Drain = config.Duration(200 * time.Millisecond)
	must(t, os.MkdirAll(a.cfg.StateDir, 0o700))
	a.id = a.c.Enrol(a.cfg.StateDir)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("agent's log:\n%s", a.log)
		}
	})
	return a
}

func start(t *testing.T) *agent {
	t.Helper()
	a := prepare(t)
	a.e.Set("shop", random(3*partSize+1000))
	a.start()
	return a
}

// start runs the agent until the test ends or stopped is called, and waits for its hello.
func (a *agent) start() {
	a.t.Helper()
	var hellos int
	a.c.Collected(func(h []wire.Hello, _ []wire.Heartbeat, _ []wire.Progress, _ []wire.SecurityNotice, _ []wire.Inventory) {
		hellos = len(h)
	})
	a.launch()
	a.c.AwaitHello(hellos + 1)
	a.welcomed()
}

// welcomed waits until the agent has acted on the welcome: from then on it accepts jobs.
func (a *agent) welcomed() {
	a.t.Helper()
	a.await("the welcome", func() bool { return strings.Count(a.log.String(), "controllers know this session") > 0 })
}

func (a *agent) launch() {
	a.log = &logged{}
	ctx, cancel := context.WithCancel(context.Background())
	a.stop, a.done = cancel, make(chan error, 1)
	a.d = daemon.New(daemon.Options{
		Config: a.cfg, Engine: func(config.Instance, hclog.Logger) (engine.Engine, error) { return a.e, nil },
		Log:          hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: a.log}),
		FirstTimeout: 500 * time.Millisecond, RetryWait: 10 * time.Millisecond, ReadRange: 2 << 20, WrapFile: a.wrap, Supervisor: a.supervisor,
		Hangup: a.hangup, Load: a.load,
	})
	done := a.done
	go func() { done <- a.d.Run(ctx) }()
	a.t.Cleanup(func() { cancel(); <-done; done <- nil })
}

// stopped ends the agent as SIGTERM does and returns what Run returned.
func (a *agent) stopped() error {
	a.t.Helper()
	a.stop()
	return a.ended()
}

func (a *agent) ended() error {
	a.t.Helper()
	select {
	case err := <-a.done:
		a.done <- nil
		return err
	case <-time.After(control.Patience):
		a.t.Fatalf("the agent does not end:\n%s", a.log)
		return nil
	}
}

func (a *agent) await(what string, done func() bool) {
	a.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(control.Patience)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			a.t.Fatalf("waited in vain for %s", what)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(b)
	return b
}

func (a *agent) backupJob(n int64) wire.Job {
	return a.c.Backup(n, "main", fakeengine.Name, "shop", a.codec, partSize)
}

// backup makes a whole backup and returns its attempt and statement.
func (a *agent) backup(n int64) (wire.Attempt, artifact.Statement) {
	a.t.Helper()
	job := a.backupJob(n)
	a.c.Run(job)
	report := a.c.AwaitReport(job.Attempt)
	if report.Rows == nil || *report.Rows == 0 {
		a.t.Error("the report does not say how many rows were counted")
	}
	return job.Attempt, a.c.Complete(a.id, report)
}

func (a *agent) source(at wire.Attempt, st artifact.Statement, from wire.Attempt) wire.Source {
	a.t.Helper()
	pub, err := a.id.Public()
	must(a.t, err)
	return a.c.Source(at, st, from, a.secret, pub.Recipient)
}

func (a *agent) restoreJob(n int64, st artifact.Statement, from wire.Attempt, target string) wire.Job {
	a.t.Helper()
	at := wire.Attempt{Job: n, No: 1, Token: wire.NewID()}
	return wire.Job{Attempt: at, Kind: wire.JobRestore, MaxDurationSeconds: 600, Restore: &wire.RestoreOrder{
		Source: a.source(at, st, from), Instance: "main", Database: target, Staging: engine.StagingPrefix + at.Token[:8],
	}}
}

func (a *agent) verifyJob(n int64, st artifact.Statement, from wire.Attempt, level string) wire.Job {
	a.t.Helper()
	at := wire.Attempt{Job: n, No: 1, Token: wire.NewID()}
	return wire.Job{Attempt: at, Kind: wire.JobVerify, MaxDurationSeconds: 600, Verify: &wire.VerifyOrder{
		Level: level, Source: a.source(at, st, from), Instance: "elsewhere",
	}}
}

// noStaging fails the test if a restore left something.
func (a *agent) noStaging() {
	a.t.Helper()
	for _, n := range a.e.Names() {
		if strings.HasPrefix(n, engine.StagingPrefix) {
			a.t.Errorf("%s is left", n)
		}
	}
}

func wantCode(t *testing.T, r wire.Report, code string) {
	t.Helper()
	if r.Outcome != wire.OutcomeFailed || r.Failure == nil || r.Failure.Code != code {
		t.Fatalf("got %s %+v, want failure %s", r.Outcome, r.Failure, code)
	}
}

// A backup, both verifications and a restore; then the artifact is what the statement says.
func TestDaemon_WholeWay(t *testing.T) {
	a := start(t)
	content, _ := a.e.Get("shop")
	for _, codec := range []wire.Codec{a.codec, {Compression: "zstd", Level: 1, Encryption: "none"}, {Compression: "none", Encryption: "none"}, {Compression: "gzip", Encryption: "aes-256-cbc"}} {
		t.Run(codec.Compression+" "+codec.Encryption, func(t *testing.T) {
			a.codec = codec
			n := rand.Int64N(1 << 40)
			from, st := a.backup(n)
			if st.RawSize != int64(len(content)) || st.Parts != 4 || st.Fingerprint == nil || st.Globals == nil || st.Tool != "memdump" || st.Metadata.Tables != 1 || st.Metadata.Extra["place"] != "memory" ||
				st.Metadata.Extra["blocks_proven"] != "all" {
				t.Fatalf("%+v", st)
			}
			if stored := a.c.Object(st.Key); int64(len(stored)) != st.StoredSize {
				t.Fatalf("%d bytes are stored, stated are %d", len(stored), st.StoredSize)
			}
			for i, level := range []string{wire.LevelChecksum, wire.LevelContent} {
				job := a.verifyJob(n+int64(i)+1, st, from, level)
				a.c.Run(job)
				r := a.c.AwaitReport(job.Attempt)
				if r.Outcome != wire.OutcomeVerified || r.Read.StoredSHA256 != st.StoredSHA256.String() || r.Read.StoredSize != st.StoredSize {
					t.Fatalf("%s: %+v %+v", level, r, r.Failure)
				}
				if (level == wire.LevelContent) != (r.Read.RawSHA256 == st.RawSHA256.String()) {
					t.Fatalf("%s: raw checksum %q", level, r.Read.RawSHA256)
				}
			}
			target := fmt.Sprintf("o'brien; drop %q %d 🦀", "x", n)
			job := a.restoreJob(n+10, st, from, target)
			a.c.Run(job)
			r := a.c.AwaitReport(job.Attempt)
			if r.Outcome != wire.OutcomeRestored || !r.Restored.Compared || r.Restored.Rows != int64(len(content)) || r.Restored.Database != target {
				t.Fatalf("%+v %+v %+v", r, r.Failure, r.Restored)
			}
			if got, _ := a.e.Get(target); !bytes.Equal(got, content) {
				t.Fatal("restored something else")
			}
			if a.e.Target.Load() != target {
				t.Fatalf("the engine was told that it becomes %q", a.e.Target.Load())
			}
			a.noStaging()
		})
	}
	if log := a.log.String(); !strings.Contains(log, "job done") || strings.Contains(log, "X-Amz-Signature") || strings.Contains(log, a.secret) {
		t.Fatal("the log lacks the outcome, or shows a secret")
	}
}

func TestDaemon_InventoryAndHeartbeats(t *testing.T) {
	a := prepare(t)
	for i := range 3000 {
		a.e.Set(fmt.Sprintf("db_%05d_%s", i, strings.Repeat("é", 40)), nil)
	}
	a.start()
	a.c.Await("the last page", func() bool { return true })
	var pages []wire.Inventory
	a.await("the inventory", func() bool {
		a.c.Collected(func(_ []wire.Hello, _ []wire.Heartbeat, _ []wire.Progress, _ []wire.SecurityNotice, p []wire.Inventory) {
			pages = slices.Clone(p)
		})
		return len(pages) > 0 && pages[len(pages)-1].Last
	})
	total := 0
	for n, p := range pages {
		if p.Page != n || p.Hash != pages[0].Hash || (n == 0) != (len(p.Instances) == 1) {
			t.Fatalf("page %d: %+v", n, p.Instances)
		}
		total += len(p.Databases)
	}
	if total != 3000 || len(pages) < 2 || pages[0].Databases[0].Instance != "main" || !pages[0].Instances[0].Restore {
		t.Fatalf("%d databases on %d pages", total, len(pages))
	}
	a.await("two heartbeats", func() (ok bool) {
		a.c.Collected(func(_ []wire.Hello, b []wire.Heartbeat, _ []wire.Progress, _ []wire.SecurityNotice, _ []wire.Inventory) {
			ok = len(b) >= 2 && b[1].Host.CPUs > 0 && b[1].Session == a.d.Session()
		})
		return ok
	})
	// After a reconnect the same inventory is not asked for, and not sent.
	unlock := a.c.Lock()
	a.c.Welcome.WantInventory = false
	unlock()
	sent := a.c.Requests(wire.VerbInventory)
	a.c.Broker.Stop()
	a.c.Broker.Start()
	if h := a.c.AwaitHello(2); h.InventoryHash != pages[0].Hash {
		t.Fatalf("hash %q, want %q", h.InventoryHash, pages[0].Hash)
	}
	beats := a.c.Requests(wire.VerbHeartbeat)
	a.c.AwaitRequests(wire.VerbHeartbeat, beats+2)
	if n := a.c.Requests(wire.VerbInventory); n != sent {
		t.Fatalf("%d more pages were sent", n-sent)
	}
}

// A database server that is down is listed with the reason.
func TestDaemon_InventoryOfServerThatIsDown(t *testing.T) {
	a := prepare(t)
	a.e.Down.Store(true)
	a.start()
	a.c.AwaitPages(1)
	a.c.Collected(func(_ []wire.Hello, _ []wire.Heartbeat, _ []wire.Progress, _ []wire.SecurityNotice, p []wire.Inventory) {
		if len(p) != 1 || !strings.Contains(p[0].Instances[0].Error, "refused") {
			t.Fatalf("%+v", p)
		}
	})
}

// Orders that make no sense, or that the host forbids, are refused and leave nothing.
func TestDaemon_Refuses(t *testing.T) {
	a := start(t)
	no := false
	from, st := a.backup(1)
	must(t, a.stopped())
	a.cfg.Instances[0].Restore.Allow = &no
	a.start()
	restore := a.restoreJob(10, st, from, "copy")
	backup := func(change func(*wire.BackupOrder)) wire.Job {
		j := a.backupJob(20)
		change(j.Backup)
		return j
	}
	for name, tc := range map[string]struct {
		job  wire.Job
		code string
		want string
	}{
		"restore":          {restore, wire.CodeNotAllowed, "restore.allow"},
		"instance":         {backup(func(o *wire.BackupOrder) { o.Instance = "x" }), wire.CodeUnknownInstance, `"x"`},
		"engine":           {backup(func(o *wire.BackupOrder) { o.Engine = "mysql" }), wire.CodeUnknownInstance, "mysql"},
		"excluded":         {backup(func(o *wire.BackupOrder) { o.Database = "private_x" }), wire.CodeNotAllowed, "databases.exclude"},
		"part size":        {backup(func(o *wire.BackupOrder) { o.PartSize = 0 }), wire.CodeBadRequest, "part size"},
		"checksum":         {backup(func(o *wire.BackupOrder) { o.Checksum = "crc" }), wire.CodeBadRequest, "crc"},
		"codec":            {backup(func(o *wire.BackupOrder) { o.Codec.Compression = "lz4" }), wire.CodeBadRequest, "lz4"},
		"kind":             {wire.Job{Attempt: restore.Attempt, Kind: "dance"}, wire.CodeBadRequest, "dance"},
		"kind and order":   {wire.Job{Attempt: restore.Attempt, Kind: wire.JobBackup, Restore: restore.Restore}, wire.CodeBadRequest, "backup"},
		"no attempt":       {wire.Job{Kind: wire.JobBackup}, wire.CodeBadRequest, "attempt"},
		"content, no tool": {wire.Job{Attempt: restore.Attempt, Kind: wire.JobVerify, Verify: &wire.VerifyOrder{Level: wire.LevelContent, Source: wire.Source{Engine: "sqlite"}}}, wire.CodeUnknownInstance, ""},
		"level":            {wire.Job{Attempt: restore.Attempt, Kind: wire.JobVerify, Verify: &wire.VerifyOrder{Level: "x"}}, wire.CodeBadRequest, `"x"`},
	} {
		t.Run(name, func(t *testing.T) {
			acc := a.c.Command(wire.VerbRun, tc.job)
			if acc.Failure == nil || acc.Failure.Code != tc.code || !strings.Contains(acc.Failure.Error(), tc.want) || acc.Failure.Retryable {
				t.Fatalf("got %+v, want %s that says %s", acc.Failure, tc.code, tc.want)
			}
		})
	}
	must(t, a.stopped())
	if e := entries(t, a.cfg.StateDir); len(e) != 0 {
		t.Fatalf("the journal keeps %+v", e)
	}
}

func entries(t *testing.T, dir string) []journal.Entry {
	t.Helper()
	j, err := journal.Open(dir)
	must(t, err)
	defer func() { _ = j.Close() }()
	return j.Entries()
}

// FAULTS 17: a hundred copies of one order run once; also after it has ended.
func TestDaemon_DuplicateOrder(t *testing.T) {
	a := start(t)
	job := a.backupJob(1)
	msg := a.c.Signed(wire.VerbRun, job)
	for range 100 {
		if acc := a.c.Send(wire.VerbRun, msg); acc.Failure != nil {
			t.Fatal(acc.Failure)
		}
	}
	a.c.Complete(a.id, a.c.AwaitReport(job.Attempt))
	a.c.Run(job)
	a.c.Run(a.backupJob(2))
	a.await("the second backup", func() bool { return a.e.Dumps.Load() == 2 })
	if n := len(a.c.Reports(job.Attempt)); n != 1 {
		t.Fatalf("%d reports", n)
	}
	if n := a.e.Dumps.Load(); n != 2 {
		t.Fatalf("%d dumps were made, want 2", n)
	}
}

// endless is a dump that gives bytes until its context ends, one chunk for each token.
type endless struct {
	ctx   context.Context
	token chan struct{}
}

func (e *endless) Read(p []byte) (int, error) {
	select {
	case <-e.ctx.Done():
		return 0, context.Cause(e.ctx)
	case <-e.token:
		return len(p), nil
	}
}

// slow makes every dump wait for tokens.
func (a *agent) slow() chan struct{} {
	token := make(chan struct{}, 1000)
	a.e.Stream = func(ctx context.Context, _ string) io.Reader { return &endless{ctx, token} }
	return token
}

func TestDaemon_Busy(t *testing.T) {
	a := prepare(t)
	a.slow()
	a.start()
	one, two, three := a.backupJob(1), a.backupJob(2), a.backupJob(3)
	a.c.Run(one)
	a.c.Run(two)
	acc := a.c.Command(wire.VerbRun, three)
	if acc.Failure == nil || acc.Failure.Code != wire.CodeBusy || !acc.Failure.Retryable {
		t.Fatalf("got %+v", acc.Failure)
	}
	a.c.Command(wire.VerbCancel, wire.Cancel{Attempt: one.Attempt, Reason: "enough"})
	r := a.c.AwaitReport(one.Attempt)
	wantCode(t, r, wire.CodeCancelled)
	if !strings.Contains(r.Failure.Message, "enough") || r.Failure.Stage != wire.StageDump {
		t.Fatalf("%+v", r.Failure)
	}
	a.c.Run(three)
	if n := a.e.Dumps.Load(); n != 3 {
		a.await("the third dump", func() bool { return a.e.Dumps.Load() == 3 })
	}
	if a.e.Closed.Load() < 1 {
		t.Fatal("the cancelled dump was not closed")
	}
}

// While a hello is on its way nothing is accepted: the hello does not list it, and the controller would take it for lost.
func TestDaemon_AcceptsNothingDuringHello(t *testing.T) {
	a := start(t)
	unlock := a.c.Lock()
	a.c.Refuse = func(verb string, _ wire.Request) error {
		if verb == wire.VerbHello {
			return control.ErrSilent
		}
		return nil
	}
	unlock()
	hellos := a.c.Requests(wire.VerbHello)
	a.c.Broker.Stop()
	a.c.Broker.Start()
	a.c.AwaitRequests(wire.VerbHello, hellos+1)
	job := a.backupJob(1)
	if acc := a.c.Command(wire.VerbRun, job); acc.Failure == nil || acc.Failure.Code != wire.CodeBusy {
		t.Fatalf("got %+v", acc)
	}
	unlock = a.c.Lock()
	a.c.Refuse = nil
	unlock()
	a.await("the end of the hello", func() bool { return a.c.Command(wire.VerbRun, job).Failure == nil })
	a.c.Complete(a.id, a.c.AwaitReport(job.Attempt))
}

func TestDaemon_Progress(t *testing.T) {
	a := prepare(t)
	token := a.slow()
	a.start()
	job := a.backupJob(1)
	a.c.Run(job)
	for range 10 {
		token <- struct{}{}
	}
	a.await("progress", func() (ok bool) {
		a.c.Collected(func(_ []wire.Hello, b []wire.Heartbeat, p []wire.Progress, _ []wire.SecurityNotice, _ []wire.Inventory) {
			beat := len(b) > 0 && len(b[len(b)-1].Running) == 1 && b[len(b)-1].Running[0].RawBytes > 0
			ok = beat && len(p) > 0 && p[len(p)-1].Attempt == job.Attempt && p[len(p)-1].RawBytes > 0 && p[len(p)-1].Stage == wire.StageDump
		})
		return ok
	})
}

func TestDaemon_MaxDuration(t *testing.T) {
	a := prepare(t)
	a.slow()
	a.start()
	job := a.backupJob(1)
	job.MaxDurationSeconds = 1
	a.c.Run(job)
	r := a.c.AwaitReport(job.Attempt)
	wantCode(t, r, wire.CodeTimedOut)
	if r.Failure.Retryable {
		t.Fatal("it would be tried again")
	}
}

// FAULTS 7: a stopping agent waits for what runs; what takes longer is interrupted and reported.
func TestDaemon_Stop(t *testing.T) {
	t.Run("drains", func(t *testing.T) {
		a := prepare(t)
		a.e.Set("shop", random(3*partSize+1000))
		a.cfg.Limits.Drain = config.Duration(time.Minute)
		a.start()
		gate := s3kit.NewGate()
		a.c.Proxy.Inject("UploadPart", 0, gate.HoldRequest())
		job := a.backupJob(1)
		a.c.Run(job)
		<-gate.Arrived()
		a.stop()
		a.await("the drain", func() bool { return strings.Contains(a.log.String(), "waiting for running jobs") })
		if acc := a.c.Command(wire.VerbRun, a.backupJob(2)); acc.Failure == nil || acc.Failure.Code != wire.CodeBusy {
			t.Fatalf("a stopping agent accepted a job: %+v", acc)
		}
		gate.Open()
		must(t, a.ended())
		a.c.Complete(a.id, a.c.AwaitReport(job.Attempt))
	})
	t.Run("interrupts", func(t *testing.T) {
		a := prepare(t)
		a.slow()
		a.cfg.Limits.Drain = config.Duration(50 * time.Millisecond)
		a.start()
		job := a.backupJob(1)
		a.c.Run(job)
		must(t, a.stopped())
		r := a.c.AwaitReport(job.Attempt)
		wantCode(t, r, wire.CodeInterrupted)
		if !r.Failure.Retryable {
			t.Fatal("it would not be tried again")
		}
	})
	t.Run("idle", func(t *testing.T) {
		a := start(t)
		must(t, a.stopped())
	})
}

// A closed attempt stops at once, without a report and without a trace in the journal.
func TestDaemon_StaleAttempt(t *testing.T) {
	a := prepare(t)
	token := a.slow()
	a.start()
	a.codec = wire.Codec{Compression: "none", Encryption: "none"}
	job := a.backupJob(1)
	a.c.Run(job)
	a.c.Fence(job.Attempt)
	for range 300 {
		token <- struct{}{}
	}
	a.await("the end", func() bool { return strings.Contains(a.log.String(), wire.CodeStale) })
	must(t, a.stopped())
	if n := len(a.c.Reports(job.Attempt)); n != 0 {
		t.Fatalf("%d reports", n)
	}
	if e := entries(t, a.cfg.StateDir); len(e) != 0 {
		t.Fatalf("the journal keeps %+v", e)
	}
}

// A welcome that drops an attempt stops it.
func TestDaemon_Dropped(t *testing.T) {
	a := prepare(t)
	a.slow()
	a.start()
	job := a.backupJob(1)
	a.c.Run(job)
	unlock := a.c.Lock()
	a.c.Welcome.Drop = []wire.Attempt{job.Attempt}
	unlock()
	a.c.Broker.Stop()
	a.c.Broker.Start()
	if h := a.c.AwaitHello(2); len(h.Attempts) != 1 || h.Attempts[0] != job.Attempt {
		t.Fatalf("held are %+v", h.Attempts)
	}
	a.await("the end", func() bool { return a.e.Closed.Load() == 1 })
	must(t, a.stopped())
	if len(a.c.Reports(job.Attempt)) != 0 || len(entries(t, a.cfg.StateDir)) != 0 {
		t.Fatal("a dropped attempt is still there")
	}
}

// FAULTS 12: the broker restarts during a dump. The dump goes on, and the backup is whole.
func TestDaemon_BrokerRestart(t *testing.T) {
	a := start(t)
	gate := s3kit.NewGate()
	a.c.Proxy.Inject("UploadPart", 2, gate.HoldRequest())
	job := a.backupJob(1)
	a.c.Run(job)
	<-gate.Arrived()
	a.c.Broker.Stop()
	gate.Open()
	a.c.Broker.Start()
	st := a.c.Complete(a.id, a.c.AwaitReport(job.Attempt))
	if content, _ := a.e.Get("shop"); st.RawSize != int64(len(content)) {
		t.Fatalf("%d bytes", st.RawSize)
	}
	if a.e.Dumps.Load() != 1 {
		t.Fatal("it was dumped again")
	}
}

// FAULTS 14, 15: an agent that hears nothing for as long as its lease stops its attempts. The report goes out when it
// comes back.
func TestDaemon_LeaseEnds(t *testing.T) {
	a := prepare(t)
	a.slow()
	a.c.Welcome.LeaseMaxSeconds = 1
	a.start()
	job := a.backupJob(1)
	a.c.Run(job)
	a.c.Broker.Stop()
	a.await("the end of the dump", func() bool { return a.e.Closed.Load() == 1 })
	a.c.Broker.Start()
	r := a.c.AwaitReport(job.Attempt)
	wantCode(t, r, wire.CodeLost)
	if !r.Failure.Retryable {
		t.Fatal("it would not be tried again")
	}
}

// FAULTS 9: the older of two agents with one identity stops for good.
func TestDaemon_Superseded(t *testing.T) {
	a := prepare(t)
	a.slow()
	a.start()
	job := a.backupJob(1)
	a.c.Run(job)
	unlock := a.c.Lock()
	a.c.Refuse = func(string, wire.Request) error { return wire.Failf(wire.CodeSuperseded, "a newer agent has started") }
	unlock()
	a.c.Broker.Stop()
	a.c.Broker.Start() // the hello that follows is refused
	if err := a.ended(); !errors.Is(err, link.ErrSuperseded) {
		t.Fatalf("got %v", err)
	}
	if a.e.Closed.Load() != 1 {
		t.Fatal("its dump goes on")
	}
	if !strings.Contains(a.log.String(), "duplicate agent") {
		t.Fatal("the log does not say why")
	}
}

// FAULTS 24: a revoked agent stops with its attempts.
func TestDaemon_Revoked(t *testing.T) {
	a := prepare(t)
	a.slow()
	a.start()
	a.c.Run(a.backupJob(1))
	pub, err := a.id.Public()
	must(t, err)
	a.c.Broker.Revoke(pub.NKey)
	if err := a.ended(); !errors.Is(err, link.ErrRevoked) {
		t.Fatalf("got %v", err)
	}
	if a.e.Closed.Load() != 1 {
		t.Fatal("its dump goes on")
	}
}

func TestDaemon_OneProcess(t *testing.T) {
	a := start(t)
	second := daemon.New(daemon.Options{Config: a.cfg, Log: hclog.NewNullLogger()})
	if err := second.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("got %v", err)
	}
}

// FAULTS 19: a report that the controller could not commit is kept over a restart and sent by the next start, which
// lists the attempt in its hello.
func TestDaemon_ReportSurvivesRestart(t *testing.T) {
	a := start(t)
	unlock := a.c.Lock()
	a.c.Refuse = func(verb string, _ wire.Request) error {
		if verb == wire.VerbReport {
			return wire.Failf(wire.CodeUnavailable, "no catalog")
		}
		return nil
	}
	unlock()
	job := a.backupJob(1)
	a.c.Run(job)
	a.c.AwaitRequests(wire.VerbReport, 1)
	must(t, a.stopped())
	if e := entries(t, a.cfg.StateDir); len(e) != 1 || e[0].Report == nil {
		t.Fatalf("the journal has %+v", e)
	}
	unlock = a.c.Lock()
	a.c.Refuse = nil
	unlock()
	a.start()
	a.c.Collected(func(h []wire.Hello, _ []wire.Heartbeat, _ []wire.Progress, _ []wire.SecurityNotice, _ []wire.Inventory) {
		if last := h[len(h)-1]; len(last.Attempts) != 1 || last.Attempts[0] != job.Attempt {
			t.Fatalf("held are %+v", last.Attempts)
		}
	})
	a.c.Complete(a.id, a.c.AwaitReport(job.Attempt))
	a.await("the journal to be empty", func() bool {
		b, err := os.ReadFile(filepath.Join(a.cfg.StateDir, "journal"))
		return err == nil && strings.Contains(string(b), `"forget"`)
	})
}

// A new start knows nothing of what ran before: it lists no such attempt, and removes what its restore left.
func TestDaemon_CrashLeftovers(t *testing.T) {
	a := prepare(t)
	left := engine.StagingPrefix + "left"
	restore := wire.Job{Attempt: wire.Attempt{Job: 1, No: 1, Token: "a"}, Kind: wire.JobRestore, Restore: &wire.RestoreOrder{
		Source: wire.Source{Engine: fakeengine.Name}, Instance: "main", Database: "copy", Staging: left,
	}}
	backup := wire.Job{Attempt: wire.Attempt{Job: 2, No: 1, Token: "b"}, Kind: wire.JobBackup, Backup: &wire.BackupOrder{Instance: "main"}}
	j, err := journal.Open(a.cfg.StateDir)
	must(t, err)
	must(t, j.Accept(restore))
	must(t, j.Accept(backup))
	must(t, j.Publishing(wire.Report{Attempt: restore.Attempt, Outcome: wire.OutcomeRestored})) // and then it crashed
	must(t, j.Close())
	a.e.Set(left, []byte("half"))
	a.e.Set("mine", nil)

	// The database server is down at first: the rest is removed when it is back.
	a.e.Down.Store(true)
	a.cfg.Limits.DiscoveryEvery = config.Duration(50 * time.Millisecond)
	a.start()
	a.c.Collected(func(h []wire.Hello, _ []wire.Heartbeat, _ []wire.Progress, _ []wire.SecurityNotice, _ []wire.Inventory) {
		if len(h[0].Attempts) != 0 {
			t.Fatalf("held are %+v", h[0].Attempts)
		}
	})
	if acc := a.c.Command(wire.VerbRun, restore); acc.Failure == nil || acc.Failure.Code != wire.CodeBusy {
		t.Fatalf("accepted before the clean-up: %+v", acc)
	}
	a.e.Down.Store(false)
	a.await("the clean-up", func() bool { _, ok := a.e.Get(left); return !ok })
	must(t, a.stopped())
	if len(entries(t, a.cfg.StateDir)) != 0 || len(a.c.Reports(restore.Attempt)) != 0 || len(a.e.Names()) != 1 {
		t.Fatal("something is left, or too much is gone")
	}
}

// A restore that got its name before the crash is reported by the next start.
func TestDaemon_CrashAfterPublish(t *testing.T) {
	a := prepare(t)
	job := wire.Job{Attempt: wire.Attempt{Job: 1, No: 1, Token: "a"}, Kind: wire.JobRestore, Restore: &wire.RestoreOrder{
		Source: wire.Source{Engine: fakeengine.Name}, Instance: "main", Database: "copy", Staging: engine.StagingPrefix + "x",
	}}
	j, err := journal.Open(a.cfg.StateDir)
	must(t, err)
	must(t, j.Accept(job))
	must(t, j.Publishing(wire.Report{Attempt: job.Attempt, Outcome: wire.OutcomeRestored, Restored: &wire.RestoreResult{Database: "copy", Rows: 7}}))
	must(t, j.Close())
	a.e.Set("copy", []byte("x"))
	a.start()
	if r := a.c.AwaitReport(job.Attempt); r.Outcome != wire.OutcomeRestored || r.Restored.Rows != 7 {
		t.Fatalf("%+v", r)
	}
}

// FAULTS 62, 63, 64: damage that stays is found by two readings, and the target is not touched.
func TestDaemon_Damage(t *testing.T) {
	a := start(t)
	from, st := a.backup(1)
	other, ost := a.backup(2)
	jobs := func(n int64, change func(*wire.Source)) []wire.Job {
		out := []wire.Job{a.verifyJob(n, st, from, wire.LevelContent), a.restoreJob(n+1, st, from, "copy")}
		change(&out[0].Verify.Source)
		change(&out[1].Restore.Source)
		return out
	}
	fails := func(t *testing.T, jobs []wire.Job, code string) {
		t.Helper()
		for _, job := range jobs {
			a.c.Run(job)
			wantCode(t, a.c.AwaitReport(job.Attempt), code)
		}
		if _, ok := a.e.Get("copy"); ok {
			t.Fatal("the target was made")
		}
		a.noStaging()
	}
	pub, err := a.id.Public()
	must(t, err)
	t.Run("key of another artifact", func(t *testing.T) {
		js := jobs(100, func(*wire.Source) {})
		stored := a.c.Object(ost.Key)
		js[0].Verify.Source.Artifact.SealedKey = a.c.Seal(js[0].Attempt, wire.ObjectArtifact, stored, a.secret, pub.Recipient)
		js[1].Restore.Source.Artifact.SealedKey = a.c.Seal(js[1].Attempt, wire.ObjectArtifact, stored, a.secret, pub.Recipient)
		fails(t, js, wire.CodeWrongKey)
	})
	t.Run("key sealed for another attempt", func(t *testing.T) {
		sealed := a.c.Seal(wire.Attempt{Job: 5}, wire.ObjectArtifact, a.c.Object(st.Key), a.secret, pub.Recipient)
		fails(t, jobs(110, func(s *wire.Source) { s.Artifact.SealedKey = sealed }), wire.CodeWrongKey)
	})
	t.Run("key sealed to another agent", func(t *testing.T) {
		_, recipient, err := artifact.NewIdentity()
		must(t, err)
		sealed := a.c.Seal(wire.Attempt{}, wire.ObjectArtifact, a.c.Object(st.Key), a.secret, recipient)
		fails(t, jobs(120, func(s *wire.Source) { s.Artifact.SealedKey = sealed }), wire.CodeWrongKey)
	})
	t.Run("no key", func(t *testing.T) {
		fails(t, jobs(130, func(s *wire.Source) { s.Artifact.SealedKey = nil }), wire.CodeWrongKey)
	})
	t.Run("another artifact", func(t *testing.T) {
		js := []wire.Job{a.verifyJob(140, st, from, wire.LevelChecksum), a.restoreJob(141, st, from, "copy")}
		a.c.Swap(js[0].Attempt, other)
		a.c.Swap(js[1].Attempt, other)
		fails(t, js, wire.CodeCorrupt)
	})
	t.Run("wrong bytes once", func(t *testing.T) {
		rule := a.c.Proxy.Add(&s3kit.Rule{Match: s3kit.And(s3kit.Op("GetObject"), s3kit.Key(st.Key)), Times: 1, Action: s3kit.CorruptDownload(1 << 20)})
		job := a.restoreJob(150, st, from, "second_reading")
		a.c.Run(job)
		if r := a.c.AwaitReport(job.Attempt); r.Outcome != wire.OutcomeRestored || rule.Fired() != 1 {
			t.Fatalf("%+v %+v, fired %d", r, r.Failure, rule.Fired())
		}
	})
	t.Run("wrong bytes", func(t *testing.T) {
		must(t, a.c.S3.CorruptObject(a.c.S3.Bucket, st.Key, -5))
		before := a.c.Proxy.Count("GetObject")
		fails(t, jobs(160, func(*wire.Source) {}), wire.CodeCorrupt)
		if n := a.c.Proxy.Count("GetObject") - before; n < 4 {
			t.Fatalf("%d requests: it was not read twice", n)
		}
		fails(t, []wire.Job{a.verifyJob(165, st, from, wire.LevelChecksum)}, wire.CodeCorrupt)
	})
	t.Run("cut", func(t *testing.T) {
		must(t, a.c.S3.TruncateObject(a.c.S3.Bucket, st.Key, st.StoredSize-1))
		fails(t, jobs(170, func(*wire.Source) {}), wire.CodeCorrupt)
	})
	t.Run("gone", func(t *testing.T) {
		js := jobs(180, func(*wire.Source) {})
		must(t, os.Remove(a.c.S3.ObjectPath(a.c.S3.Bucket, st.Key)))
		fails(t, js, wire.CodeMissing)
	})
}

// Without encryption nothing authenticates the stream: the bytes are proven before the first one is used.
func TestDaemon_DamageUnencrypted(t *testing.T) {
	a := start(t)
	a.codec = wire.Codec{Compression: "none", Encryption: "none"}
	from, st := a.backup(1)
	must(t, a.c.S3.CorruptObject(a.c.S3.Bucket, st.Key, 100))
	job := a.restoreJob(2, st, from, "copy")
	a.c.Run(job)
	wantCode(t, a.c.AwaitReport(job.Attempt), wire.CodeCorrupt)
	if a.e.Aborted.Load() != 0 {
		t.Fatal("a restore was begun with bytes that were not proven")
	}
}

func TestDaemon_Restore(t *testing.T) {
	a := start(t)
	from, st := a.backup(1)
	t.Run("target exists", func(t *testing.T) {
		reads := a.c.Requests(wire.VerbRead)
		job := a.restoreJob(2, st, from, "shop")
		a.c.Run(job)
		wantCode(t, a.c.AwaitReport(job.Attempt), wire.CodeTargetExists)
		if a.c.Requests(wire.VerbRead) != reads {
			t.Fatal("the artifact was read all the same")
		}
	})
	t.Run("target appears meanwhile", func(t *testing.T) {
		a.e.BeforePublish = func() { a.e.Set("late", []byte("theirs")) }
		defer func() { a.e.BeforePublish = nil }()
		job := a.restoreJob(3, st, from, "late")
		a.c.Run(job)
		wantCode(t, a.c.AwaitReport(job.Attempt), wire.CodeTargetExists)
		if got, _ := a.e.Get("late"); string(got) != "theirs" {
			t.Fatal("somebody's database was overwritten")
		}
		a.noStaging()
	})
	t.Run("rename fails", func(t *testing.T) {
		a.e.PublishErr = wire.Failf(wire.CodeDatabaseDown, "connection lost")
		defer func() { a.e.PublishErr = nil }()
		job := a.restoreJob(4, st, from, "copy4")
		a.c.Run(job)
		wantCode(t, a.c.AwaitReport(job.Attempt), wire.CodeDatabaseDown)
		a.noStaging()
	})
	t.Run("answer of rename lost", func(t *testing.T) {
		a.e.PublishErr, a.e.PublishDone = wire.Failf(wire.CodeDatabaseDown, "connection lost"), true
		defer func() { a.e.PublishErr, a.e.PublishDone = nil, false }()
		job := a.restoreJob(5, st, from, "copy5")
		a.c.Run(job)
		if r := a.c.AwaitReport(job.Attempt); r.Outcome != wire.OutcomeRestored {
			t.Fatalf("%+v", r.Failure)
		}
	})
	t.Run("differs", func(t *testing.T) {
		a.e.Stream = func(context.Context, string) io.Reader { return strings.NewReader("another content") }
		ofrom, ost := a.backup(6)
		a.e.Stream = nil
		job := a.restoreJob(7, st, from, "copy7")
		// The fingerprint of another backup: what is restored is not what was described.
		o := a.restoreJob(7, ost, ofrom, "copy7").Restore.Source.Fingerprint
		o.SealedKey = a.c.Seal(job.Attempt, wire.ObjectFingerprint, a.c.Object(artifact.FingerprintKey(ost.Key, ost.Codec)), a.secret, public(t, a))
		job.Restore.Source.Fingerprint = o
		a.c.SwapObject(job.Attempt, wire.ObjectFingerprint, artifact.FingerprintKey(ost.Key, ost.Codec))
		a.c.Run(job)
		r := a.c.AwaitReport(job.Attempt)
		wantCode(t, r, wire.CodeFingerprint)
		if !strings.Contains(r.Failure.Message, "rows") {
			t.Fatalf("it does not say what differs: %s", r.Failure.Message)
		}
		a.noStaging()
	})
	t.Run("cancelled", func(t *testing.T) {
		gate := s3kit.NewGate()
		a.c.Proxy.Add(&s3kit.Rule{Match: s3kit.And(s3kit.Op("GetObject"), s3kit.Key(st.Key)), Action: gate.HoldRequest()})
		defer a.c.Proxy.Reset()
		job := a.restoreJob(8, st, from, "copy8")
		a.c.Run(job)
		<-gate.Arrived()
		a.c.Command(wire.VerbCancel, wire.Cancel{Attempt: job.Attempt, Reason: "stop"})
		wantCode(t, a.c.AwaitReport(job.Attempt), wire.CodeCancelled)
		a.noStaging()
	})
	t.Run("fingerprint gone", func(t *testing.T) {
		job := a.restoreJob(10, st, from, "copy10")
		a.c.SwapObject(job.Attempt, wire.ObjectFingerprint, "backups/nothing")
		a.c.Run(job)
		r := a.c.AwaitReport(job.Attempt)
		if r.Outcome != wire.OutcomeRestored || r.Restored.Compared || !strings.Contains(r.Restored.Warnings, "fingerprint is gone") {
			t.Fatalf("%+v %+v %+v", r, r.Failure, r.Restored)
		}
	})
	t.Run("unreadable dump", func(t *testing.T) {
		a.e.ValidateErr = wire.Failf(wire.CodeToolFailed, "unexpected end of file")
		defer func() { a.e.ValidateErr = nil }()
		job := a.verifyJob(9, st, from, wire.LevelContent)
		a.c.Run(job)
		wantCode(t, a.c.AwaitReport(job.Attempt), wire.CodeCorrupt)
	})
}

func public(t *testing.T, a *agent) string {
	t.Helper()
	pub, err := a.id.Public()
	must(t, err)
	return pub.Recipient
}

// Faults of a dump: nothing is stated, and the failure says which.
func TestDaemon_DumpFails(t *testing.T) {
	a := prepare(t)
	var how atomic.Pointer[func(context.Context) io.Reader]
	a.e.Stream = func(ctx context.Context, _ string) io.Reader { return (*how.Load())(ctx) }
	a.start()
	for name, tc := range map[string]struct {
		reader func(context.Context) io.Reader
		code   string
	}{
		"tool fails after all bytes": {func(context.Context) io.Reader {
			return io.MultiReader(bytes.NewReader(random(2*partSize)), failing{wire.Failf(wire.CodeToolFailed, "exit status 1")})
		}, wire.CodeToolFailed},
		"no byte":  {func(context.Context) io.Reader { return strings.NewReader("") }, wire.CodeEmptyDump},
		"panic":    {func(context.Context) io.Reader { return failing{nil} }, wire.CodeInternal},
		"plain":    {func(context.Context) io.Reader { return failing{errors.New("odd")} }, wire.CodeInternal},
		"with url": {func(context.Context) io.Reader { return failing{errors.New("at postgres://u:hunter2@h/x")} }, wire.CodeInternal},
	} {
		t.Run(name, func(t *testing.T) {
			how.Store(&tc.reader)
			job := a.backupJob(rand.Int64N(1 << 40))
			a.c.Run(job)
			r := a.c.AwaitReport(job.Attempt)
			wantCode(t, r, tc.code)
			if r.Statement != nil || strings.Contains(r.Failure.Message, "hunter2") {
				t.Fatalf("%+v %+v", r, r.Failure)
			}
		})
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err == nil {
		panic("a bug")
	}
	return 0, f.err
}

// The controllers' key set is replaced by one that a pinned key signed, durably, and by no other.
func TestDaemon_KeySet(t *testing.T) {
	a := prepare(t)
	next := a.c.KeySet()
	next.Version = 2
	signed, err := wire.SignKeySet(a.c.Key, next)
	must(t, err)
	a.c.Welcome.KeySet = &signed
	a.start()
	if h := a.c.AwaitHello(1); h.KeySet != 1 {
		t.Fatalf("key set %d", h.KeySet)
	}
	must(t, a.stopped())
	forged := signed
	forged.Signature = bytes.Clone(signed.Signature)
	forged.Signature[0] ^= 1
	a.c.Welcome.KeySet = &forged
	a.start()
	must(t, a.stopped())
	if h := a.c.AwaitHello(2); h.KeySet != 2 {
		t.Fatalf("key set %d", h.KeySet)
	}
	id, err := identity.Load(a.cfg.StateDir)
	must(t, err)
	if id.KeySet().Version != 2 {
		t.Fatal("the key set was not kept")
	}
}

// Commands that nobody signed are dropped and told to the controllers.
func TestDaemon_ReportsForgery(t *testing.T) {
	a := start(t)
	for range 50 {
		must(t, a.c.Conn.Publish(wire.AgentSubject(control.ServerID, wire.VerbRun), []byte(`{"kind":"backup"}`)))
	}
	if n := a.c.AwaitNotice("command"); n.Count < 1 {
		t.Fatalf("%+v", n)
	}
	a.await("the count", func() bool { return a.d.Link().Dropped("command") == 50 })
	if n := a.c.Requests(wire.VerbSecurity); n != 1 {
		t.Fatalf("%d notices for 50 forgeries", n)
	}
	if a.e.Dumps.Load() != 0 {
		t.Fatal("one was acted on")
	}
}

// pattern is a stream that no codec makes small, without costing time.
type pattern struct {
	left int
	seed [8 << 20]byte
	at   int
}

func (p *pattern) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	n := min(len(b), p.left, len(p.seed)-p.at)
	copy(b, p.seed[p.at:p.at+n])
	p.left -= n
	p.at = (p.at + n) % len(p.seed)
	return n, nil
}

// Memory is three parts and 64 MiB, whatever the size of the dump. The broker, the controller and the store's proxy run
// in this process too, and get 16 MiB.
func TestDaemon_Memory(t *testing.T) {
	a := prepare(t)
	const total, part = 300 << 20, 8 << 20
	src := &pattern{left: total}
	_, _ = rand.NewChaCha8([32]byte{3}).Read(src.seed[:])
	a.e.Stream = func(context.Context, string) io.Reader { return src }
	a.start()
	runtime.GC()
	var base, m runtime.MemStats
	runtime.ReadMemStats(&base)
	job := a.c.Backup(1, "main", fakeengine.Name, "big", a.codec, part)
	a.c.Run(job)
	var peak uint64
	done := false
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done {
		<-tick.C
		runtime.GC() // what is left is what is held
		runtime.ReadMemStats(&m)
		peak = max(peak, m.HeapAlloc-min(m.HeapAlloc, base.HeapAlloc))
		done = len(a.c.Reports(job.Attempt)) > 0
	}
	st := a.c.Complete(a.id, a.c.AwaitReport(job.Attempt))
	if st.RawSize != total || st.Parts < 37 {
		t.Fatalf("%d bytes in %d parts", st.RawSize, st.Parts)
	}
	if limit := uint64(3*part + 64<<20 + 16<<20); peak > limit {
		t.Fatalf("%d MiB were held, at most %d MiB are allowed", peak>>20, limit>>20)
	}
	t.Logf("peak %d MiB", peak>>20)
}
