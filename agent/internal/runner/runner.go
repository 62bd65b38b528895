// Package runner executes the attempts that controllers order: backups, verifications and restores.
//
// Invariants: an attempt is in the journal before it is accepted, and runs at most once; its outcome is in the journal
// before it is sent, and stays there until a controller has committed it or said that nobody wants it. A backup is
// reported as uploaded only after the dump tool's success, the clean end of the codecs and the acknowledgement of every
// part; on the host itself, after all its files are durable under their names. A restore becomes visible only after both checksums and the fingerprint are proven; until then it lies under a
// staging name, and every failure removes it. A restore in place, or an undo, is reported as failed only if its target is as it was: an attempt that
// cannot tell goes on until it can, over restarts. What the host's configuration forbids is refused whatever was ordered.
package runner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/agent/internal/config"
	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/journal"
	"devflowbackup/agent/internal/localstore"
	"devflowbackup/agent/internal/transfer"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/failpoint"
	"devflowbackup/shared/wire"
)

const (
	// seenMost is how many ended attempts of this session are remembered, so that a late copy of their order does nothing.
	seenMost = 10_000
	// cleanupTimeout bounds what is done after an attempt's context has ended.
	cleanupTimeout = time.Minute
	// publishTimeout bounds what cannot be cancelled any more. A server that cannot rename a database moves its tables, of
	// which there may be ten thousands.
	publishTimeout = 15 * time.Minute
)

// Controller answers requests. Request tries until an answer came or ctx ended; a refusal is a *wire.Failure.
type Controller interface {
	Request(ctx context.Context, verb string, body, out any) error
}

// Identity signs statements and opens what was sealed to this agent.
type Identity interface {
	ServerID() string
	SignStatement(s artifact.Statement) (artifact.SignedStatement, error)
	OpenSealed(sealed []byte) ([]byte, error)
}

// Instance is one configured database server with its engine.
type Instance struct {
	Config config.Instance
	Engine engine.Engine
}

// Config is what a Runner works with.
type Config struct {
	Terms
	Journal    *journal.Journal
	Controller Controller
	Identity   Identity
	Local      *localstore.Store // nil if this host has no backup directory
	Log        hclog.Logger
	Now        func() time.Time // for statements and durations; time.Now if nil
	ReadRange  int64            // bytes of one read request; 0 for the default
	Ended      func(Ended)      // told of each attempt that has ended, while it still counts as running; nil: nobody is
}

// Ended is an attempt that has ended.
type Ended struct {
	Kind, Outcome, Engine string
	Took                  time.Duration
	Raw, Stored           int64            // bytes
	Millis                map[string]int64 // by stage
}

// Terms are what may change while a Runner works. An attempt keeps those that it was accepted under until it has ended.
type Terms struct {
	Concurrency  int
	StallTimeout time.Duration // of tools
	Instances    []Instance
	Client       *transfer.Client
	ProveAll     bool // every block of an artifact is decoded before it is stored; false: a sample
}

// Runner runs attempts. Its methods may be called from several goroutines.
type Runner struct {
	cfg   Config
	log   hclog.Logger
	terms atomic.Pointer[Terms]

	ctx    context.Context // of attempts and reports
	cancel context.CancelCauseFunc
	ready  chan struct{} // closed when controllers know this session

	halt context.Context // of what no cancellation stops: ends when the agent will wait no longer
	stop context.CancelCauseFunc

	mu       sync.Mutex
	running  map[wire.Attempt]*attempt
	seen     map[wire.Attempt]bool
	order    []wire.Attempt // of seen, oldest first
	sending  map[wire.Attempt]bool
	hellos   int
	draining bool
	isReady  bool

	attempts sync.WaitGroup
	reports  sync.WaitGroup

	recovering sync.Mutex
	recovered  bool
	orphans    []journal.Entry // from before the start, not yet settled
}

// New makes a Runner. Call Recover before the first hello.
func New(cfg Config) *Runner {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	r := &Runner{
		cfg: cfg, log: cfg.Log, ready: make(chan struct{}),
		running: make(map[wire.Attempt]*attempt), seen: make(map[wire.Attempt]bool), sending: make(map[wire.Attempt]bool),
	}
	r.terms.Store(&cfg.Terms)
	r.ctx, r.cancel = context.WithCancelCause(context.Background())
	r.halt, r.stop = context.WithCancelCause(r.ctx)
	return r
}

// Adopt puts new terms in force for whatever is accepted from now on.
func (r *Runner) Adopt(t Terms) { r.terms.Store(&t) }

// attempt is one running attempt.
type attempt struct {
	job    wire.Job
	terms  *Terms
	ctx    context.Context
	cancel context.CancelCauseFunc

	stage              atomic.Pointer[string]
	raw, stored, total atomic.Int64
	log                hclog.Logger
}

func (a *attempt) at(stage string) { a.stage.Store(&stage) }

func (a *attempt) progress() wire.Progress {
	return wire.Progress{
		Attempt: a.job.Attempt, Stage: *a.stage.Load(),
		RawBytes: a.raw.Load(), StoredBytes: a.stored.Load(), TotalBytes: a.total.Load(),
	}
}

// errDropped is the cause of an attempt that nobody wants any more: it ends without a report.
var errDropped = errors.New("the controller has given the attempt up")

// Accept journals an order and starts it. A failure means that nothing was kept. The same attempt a second time is
// accepted and not run again.
func (r *Runner) Accept(job wire.Job) *wire.Failure {
	terms := r.terms.Load()
	if err := r.check(terms, job); err != nil {
		return wire.AsFailure(err).At(wire.StagePrepare)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a := job.Attempt
	switch {
	case r.running[a] != nil || r.seen[a] || r.sending[a]:
		return nil
	case r.draining:
		return wire.Failf(wire.CodeBusy, "the agent is stopping").Retry()
	case r.hellos > 0:
		// A hello on its way does not list this attempt, and the controller would take it for lost.
		return wire.Failf(wire.CodeBusy, "the agent is saying hello").Retry()
	case len(r.running) >= terms.Concurrency:
		return wire.Failf(wire.CodeBusy, "%d jobs are running, as many as the agent's concurrency allows", len(r.running)).Retry()
	case r.cfg.Journal.Has(a):
		return wire.Failf(wire.CodeBusy, "what is left of this attempt from before the restart is being removed").Retry()
	}
	if f := r.inTheWay(job); f != nil {
		return f
	}
	if err := r.cfg.Journal.Accept(job); err != nil {
		return wire.Failf(wire.CodeDiskFull, "write the journal: %w", err).Retry().WithHint("look at the disk of the agent's state_dir")
	}
	failpoint.Hit("agent.accepted")
	r.start(terms, job)
	return nil
}

// start runs with the lock held.
func (r *Runner) start(terms *Terms, job wire.Job) {
	a := &attempt{job: job, terms: terms, log: r.log.With("job_id", job.Attempt.Job, "attempt", job.Attempt.No, "kind", job.Kind)}
	ctx, cancel := context.WithCancelCause(r.ctx)
	if d := time.Duration(job.MaxDurationSeconds) * time.Second; d > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, d, wire.Failf(wire.CodeTimedOut, "max_duration of %s has passed", d).
			WithHint("raise max_duration, or look at why it takes so long"))
		inner := cancel
		cancel = func(err error) { inner(err); stop() }
	}
	a.ctx, a.cancel = ctx, cancel
	a.at(wire.StagePrepare)
	r.running[job.Attempt] = a
	r.attempts.Go(func() { r.run(a) })
}

// check refuses orders that make no sense or that the host's configuration forbids.
func (r *Runner) check(t *Terms, job wire.Job) error {
	if job.Attempt.Token == "" || job.Attempt.Job == 0 {
		return wire.Failf(wire.CodeBadRequest, "the order names no attempt")
	}
	switch {
	case job.Kind == wire.JobBackup && job.Backup != nil:
		return r.checkBackup(t, job.Backup)
	case job.Kind == wire.JobVerify && job.Verify != nil:
		return r.checkVerify(t, job.Verify)
	case job.Kind == wire.JobRestore && job.Restore != nil:
		return r.checkRestore(t, job.Restore)
	case (job.Kind == wire.JobUndo || job.Kind == wire.JobSettle) && job.Swap != nil:
		return r.checkSwap(t, job.Kind, job.Swap)
	case job.Kind == wire.JobDiscard && job.Discard != nil:
		return r.checkDiscard(t, job.Discard)
	}
	return wire.Failf(wire.CodeBadRequest, "this agent runs no job of kind %q", job.Kind).WithHint("update the agent")
}

func (r *Runner) checkBackup(t *Terms, o *wire.BackupOrder) error {
	in, err := t.instance(o.Instance, o.Engine)
	if err != nil {
		return err
	}
	if !in.Config.Databases.Allows(o.Database) {
		return wire.Failf(wire.CodeNotAllowed, "database %q is not among those that the agent may back up", o.Database).
			WithHint("change databases.include or databases.exclude of instance %s in the agent's configuration", o.Instance)
	}
	switch {
	case o.Local && (o.PartSize != 0 || o.Checksum != ""):
		return wire.Failf(wire.CodeBadRequest, "a backup in this host's directory has no parts, %d bytes each with checksum %q are ordered", o.PartSize, o.Checksum)
	case o.Local:
		if err := r.needLocal(o.Key); err != nil {
			return err
		}
	case o.PartSize < 1 || o.PartSize > 5<<30:
		return wire.Failf(wire.CodeBadRequest, "part size %d is not between 1 byte and 5 GiB", o.PartSize)
	case o.Checksum != wire.ChecksumSHA256 && o.Checksum != wire.ChecksumMD5:
		return wire.Failf(wire.CodeBadRequest, "part checksum %q is unknown", o.Checksum).WithHint("update the agent")
	}
	if err := artifact.Codec(o.Codec).Validate(); err != nil {
		return wire.Failf(wire.CodeBadRequest, "codec: %w", err)
	}
	return nil
}

// checkSource refuses a source that lies on this host and cannot be had.
func (r *Runner) checkSource(src wire.Source) error {
	if !src.Local {
		return nil
	}
	keys := []string{src.Artifact.Key}
	if src.Fingerprint != nil {
		keys = append(keys, src.Fingerprint.Key)
	}
	if src.Globals != nil {
		keys = append(keys, src.Globals.Key)
	}
	return r.needLocal(keys...)
}

func (r *Runner) checkVerify(t *Terms, o *wire.VerifyOrder) error {
	if err := r.checkSource(o.Source); err != nil {
		return err
	}
	switch o.Level {
	case wire.LevelChecksum:
		return nil
	case wire.LevelContent:
		_, err := t.tools(o.Instance, o.Source.Engine)
		return err
	}
	return wire.Failf(wire.CodeBadRequest, "verification level %q is unknown", o.Level).WithHint("update the agent")
}

func (r *Runner) checkRestore(t *Terms, o *wire.RestoreOrder) error {
	in, err := t.instance(o.Instance, o.Source.Engine)
	switch {
	case err != nil:
		return err
	case !in.Config.Restore.Allowed():
		return notAllowed(o.Instance)
	case o.Database == "" || ours(o.Database):
		return wire.Failf(wire.CodeBadRequest, "%q cannot be the name of a restored database", o.Database)
	case !strings.HasPrefix(o.Staging, engine.StagingPrefix):
		return wire.Failf(wire.CodeBadRequest, "staging name %q does not start with %s", o.Staging, engine.StagingPrefix)
	case o.Choices != nil && o.Choices.Roles && o.Source.Globals == nil:
		return wire.Failf(wire.CodeBadRequest, "missing roles are to be made, and the order does not say where the backup's are")
	case o.Source.Globals != nil && o.Source.Globals.RawSize > maxGlobals:
		return wire.Failf(wire.CodeBadRequest, "the backup's roles have %d bytes, at most %d are read", o.Source.Globals.RawSize, maxGlobals)
	case o.InPlace != nil:
		if err := r.checkTerms(in, o.Database, *o.InPlace); err != nil {
			return err
		}
	}
	return r.checkSource(o.Source)
}

func notAllowed(instance string) *wire.Failure {
	return wire.Failf(wire.CodeNotAllowed, "restores on instance %s are not allowed by its host", instance).
		WithHint("set restore.allow: true for instance %s in the agent's configuration", instance)
}

func (t *Terms) instance(name, engineName string) (Instance, error) {
	for _, in := range t.Instances {
		if in.Config.Name != name {
			continue
		}
		if in.Config.Engine != engineName {
			return Instance{}, wire.Failf(wire.CodeUnknownInstance, "instance %s is %s, the order is for %s", name, in.Config.Engine, engineName)
		}
		return in, nil
	}
	return Instance{}, wire.Failf(wire.CodeUnknownInstance, "the agent's configuration has no instance %q", name).
		WithHint("add it under instances, or choose one that the server reports")
}

// tools finds an engine whose tools can read a dump: the named instance, else any of the same engine.
func (t *Terms) tools(name, engineName string) (Instance, error) {
	in, err := t.instance(name, engineName)
	if err == nil {
		return in, nil
	}
	for _, in := range t.Instances {
		if in.Config.Engine == engineName {
			return in, nil
		}
	}
	return Instance{}, err
}

// Cancel stops an attempt; its report says that it was cancelled. An attempt that is not running is no error.
func (r *Runner) Cancel(a wire.Attempt, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if run := r.running[a]; run != nil {
		if reason == "" {
			reason = "no reason given"
		}
		run.cancel(wire.Failf(wire.CodeCancelled, "cancelled: %s", reason))
	}
}

// CancelAll stops every attempt with the same failure.
func (r *Runner) CancelAll(f *wire.Failure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.running {
		c := *f
		a.cancel(&c)
	}
}

// Drop stops attempts that the controllers have given up and forgets them; nothing is reported.
func (r *Runner) Drop(attempts []wire.Attempt) {
	for _, a := range attempts {
		r.mu.Lock()
		run := r.running[a]
		r.mu.Unlock()
		if run != nil {
			run.cancel(errDropped) // forgets itself when it has ended
			continue
		}
		if r.unsettled(a) {
			continue // Recover ends it, wanted or not
		}
		r.forget(a)
	}
}

func (r *Runner) forget(a wire.Attempt) {
	if err := r.cfg.Journal.Forget(a); err != nil {
		r.log.Error("forget an attempt in the journal", "job_id", a.Job, "attempt", a.No, "err", err)
	}
}

// Hello lists the attempts that are held: running, or ended and not yet reported. Until done is called nothing new is
// accepted, so that the list stays whole while it is on its way.
func (r *Runner) Hello() (held []wire.Attempt, done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hellos++
	held = []wire.Attempt{}
	listed := make(map[wire.Attempt]bool)
	for a := range r.running {
		held, listed[a] = append(held, a), true
	}
	for _, e := range r.cfg.Journal.Entries() {
		if a := e.Attempt(); e.Report != nil && !listed[a] {
			held = append(held, a)
		}
	}
	return held, sync.OnceFunc(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.hellos--
	})
}

// Ready says that controllers know this session: reports may go out.
func (r *Runner) Ready() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.isReady {
		r.isReady = true
		close(r.ready)
	}
}

// Progress lists the running attempts.
func (r *Runner) Progress() []wire.Progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]wire.Progress, 0, len(r.running))
	for _, a := range r.running {
		out = append(out, a.progress())
	}
	return out
}

// Drain accepts nothing more and waits until everything has ended; what still runs after patience is stopped as
// interrupted. Then it gives reports a moment to be committed. What is not stays in the journal.
func (r *Runner) Drain(patience, reports time.Duration) {
	r.mu.Lock()
	r.draining = true
	n := len(r.running)
	r.mu.Unlock()
	if n > 0 {
		r.log.Info("waiting for running jobs", "jobs", n, "at_most", patience.String())
	}
	if !within(&r.attempts, patience) {
		r.CancelAll(wire.Failf(wire.CodeInterrupted, "the agent was stopped while the job ran").Retry())
		r.stop(errStopped)
		r.attempts.Wait()
	}
	if !within(&r.reports, reports) {
		r.log.Warn("some reports are not committed; they are sent after the next start")
	}
	r.Stop(errStopped)
}

var errStopped = errors.New("agent stopped")

// Stop ends everything at once and waits for it. Running attempts end with cause; their reports stay in the journal.
func (r *Runner) Stop(cause error) {
	r.mu.Lock()
	r.draining = true
	r.mu.Unlock()
	r.cancel(cause)
	r.attempts.Wait()
	r.reports.Wait()
}

func within(wg *sync.WaitGroup, d time.Duration) bool {
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}

// run executes one attempt to its report.
func (r *Runner) run(a *attempt) {
	start := r.cfg.Now()
	a.log.Info("job started", a.about()...)
	report, err := r.execute(a)
	cause := context.Cause(a.ctx)
	a.cancel(nil)
	report.Attempt = a.job.Attempt
	if errors.Is(err, errUnsettled) {
		r.mu.Lock()
		delete(r.running, a.job.Attempt)
		r.mu.Unlock()
		return
	}
	if err != nil {
		report = failed(report, a, err, cause)
	}
	took := r.cfg.Now().Sub(start)
	r.logEnd(a, report, took, err)
	if r.cfg.Ended != nil {
		r.cfg.Ended(Ended{
			Kind: a.job.Kind, Outcome: report.Outcome, Engine: a.engine(), Took: took, Raw: a.raw.Load(), Stored: a.stored.Load(), Millis: report.Millis,
		})
	}

	r.mu.Lock()
	delete(r.running, a.job.Attempt)
	r.remember(a.job.Attempt)
	dropped := err != nil && (errors.Is(cause, errDropped) || wire.HasCode(err, wire.CodeStale))
	if !dropped {
		r.sending[a.job.Attempt] = true
	}
	r.mu.Unlock()
	if dropped {
		r.forget(a.job.Attempt)
		return
	}
	r.report(report)
}

// remember runs with the lock held.
func (r *Runner) remember(a wire.Attempt) {
	r.seen[a] = true
	r.order = append(r.order, a)
	if len(r.order) > seenMost {
		delete(r.seen, r.order[0])
		r.order = r.order[1:]
	}
}

func (r *Runner) execute(a *attempt) (report wire.Report, err error) {
	defer func() {
		if p := recover(); p != nil {
			report, err = wire.Report{}, wire.Failf(wire.CodeInternal, "the agent met a bug: %v", p)
			a.log.Error("panic in a job", "panic", fmt.Sprint(p))
		}
	}()
	switch a.job.Kind {
	case wire.JobBackup:
		return r.backup(a.ctx, a, a.job.Backup)
	case wire.JobVerify:
		return r.verify(a.ctx, a, a.job.Verify)
	case wire.JobUndo:
		return r.undo(a.ctx, a, a.job.Swap)
	case wire.JobSettle:
		return r.settleOrdered(a.ctx, a, a.job.Swap)
	case wire.JobDiscard:
		return r.discard(a.ctx, a, a.job.Discard)
	default:
		return r.restore(a.ctx, a, a.job.Restore)
	}
}

// about is what log lines say of an attempt.
func (a *attempt) about() []any {
	switch {
	case a.job.Backup != nil:
		return []any{"instance", a.job.Backup.Instance, "engine", a.job.Backup.Engine, "database", a.job.Backup.Database}
	case a.job.Restore != nil:
		return []any{"instance", a.job.Restore.Instance, "engine", a.job.Restore.Source.Engine, "database", a.job.Restore.Database, "backup_id", a.job.Restore.Source.BackupID}
	case a.job.Swap != nil:
		return []any{"instance", a.job.Swap.Instance, "engine", a.job.Swap.Engine, "database", a.job.Swap.Database, "staged", a.job.Swap.Staged, "kept", a.job.Swap.Terms.Keep}
	case a.job.Discard != nil:
		return []any{"instance", a.job.Discard.Instance, "engine", a.job.Discard.Engine, "database", a.job.Discard.Database, "kept", a.job.Discard.Kept}
	case a.job.Verify != nil:
		return []any{"level", a.job.Verify.Level, "engine", a.job.Verify.Source.Engine, "database", a.job.Verify.Source.Database, "backup_id", a.job.Verify.Source.BackupID}
	}
	return nil
}

// engine names the database system that an attempt is about.
func (a *attempt) engine() string {
	switch {
	case a.job.Backup != nil:
		return a.job.Backup.Engine
	case a.job.Restore != nil:
		return a.job.Restore.Source.Engine
	case a.job.Swap != nil:
		return a.job.Swap.Engine
	case a.job.Discard != nil:
		return a.job.Discard.Engine
	case a.job.Verify != nil:
		return a.job.Verify.Source.Engine
	}
	return ""
}

// logEnd writes the one line that tells an operation's outcome.
func (r *Runner) logEnd(a *attempt, report wire.Report, took time.Duration, err error) {
	args := append(a.about(), "bytes", a.stored.Load(), "raw_bytes", a.raw.Load(), "duration", took.Round(time.Millisecond).String())
	if report.Read != nil {
		args = append(args, "checksum", report.Read.StoredSHA256)
	}
	if report.Swapped != nil {
		args = append(args, "state", report.Swapped.State)
	}
	if err == nil {
		a.log.Info("job done", append(args, "outcome", report.Outcome)...)
		return
	}
	a.log.Error("job failed", append(args, "code", report.Failure.Code, "stage", report.Failure.Stage, "err", report.Failure.Error())...)
}
