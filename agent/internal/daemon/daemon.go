// Package daemon is the running agent: it wires identity, journal, link, engines and runner together and keeps the
// session with the controllers.
//
// Invariants: a state directory has one running agent; each start is a new session; nothing but hello is said before
// controllers know the session; an agent that was superseded or revoked stops for good; one that hears nothing for as
// long as its lease lasts stops its attempts by itself. Only the monotonic clock is looked at.
package daemon

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/agent/internal/config"
	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/identity"
	"devflowbackup/agent/internal/journal"
	"devflowbackup/agent/internal/link"
	"devflowbackup/agent/internal/localstore"
	"devflowbackup/agent/internal/metrics"
	"devflowbackup/agent/internal/runner"
	"devflowbackup/agent/internal/statedir"
	"devflowbackup/agent/internal/transfer"
	"devflowbackup/shared/notify"
	"devflowbackup/shared/version"
	"devflowbackup/shared/wire"
)

const (
	defaultHeartbeat = 10 * time.Second
	defaultLease     = time.Hour
	progressEvery    = time.Second
	leaseCheckEvery  = time.Second
	noticeEvery      = time.Minute
	recoverTimeout   = 30 * time.Second
	reportPatience   = 5 * time.Second
	helloAgain       = 10 * time.Second
	recoverWait      = time.Second // before what is left from before the start is cleaned up again; doubles
	recoverWaitMost  = time.Minute
)

// Options are what a Daemon runs with beside its configuration.
type Options struct {
	Config config.Config
	// Engine makes the engine of an instance.
	Engine func(config.Instance, hclog.Logger) (engine.Engine, error)
	Log    hclog.Logger
	// FirstTimeout and RetryWait are the link's; zero for its defaults.
	FirstTimeout, RetryWait time.Duration
	// ReadRange is the runner's; zero for its default.
	ReadRange int64
	// Supervisor is the service manager to tell of readiness, life and the stop; nil if there is none.
	Supervisor *notify.Supervisor
	// Hangup asks for the configuration to be read anew by Load. Nil: it is never read again.
	Hangup <-chan os.Signal
	Load   func() (config.Config, error)
	// WrapFile is the backup directory's, for tests.
	WrapFile func(key string, f localstore.File) localstore.File
}

// Daemon is one start of the agent.
type Daemon struct {
	opt     Options
	log     hclog.Logger
	session string

	id      *identity.Identity
	link    *link.Link
	runner  *runner.Runner
	local   *localstore.Store // nil if this host has no backup directory
	journal *journal.Journal
	metrics *metrics.Metrics // nil: not asked for
	left    int              // attempts from before the start that are still to be cleaned up

	settings  atomic.Pointer[settings]
	again     chan struct{} // asks for another hello
	inventory inventory
	localDir  atomic.Pointer[localUsage]

	heartbeat atomic.Int64 // time.Duration, 0 before the first welcome
	lease     atomic.Int64 // time.Duration
	welcomed  chan struct{}
	once      sync.Once
	isReady   atomic.Bool // the service manager was told that the agent is up
	turns     turns
}

// New prepares a daemon; Run starts it.
func New(opt Options) *Daemon {
	d := &Daemon{opt: opt, log: opt.Log, session: wire.NewID(), welcomed: make(chan struct{}), again: make(chan struct{}, 1), turns: turns{started: time.Now()}}
	d.lease.Store(int64(defaultLease))
	d.inventory.kick, d.inventory.anew = make(chan struct{}, 1), make(chan struct{}, 1)
	return d
}

// Session is the id of this start.
func (d *Daemon) Session() string { return d.session }

// Link is the connection, once Run has opened it and until it returns.
func (d *Daemon) Link() *link.Link { return d.link }

// Run works until ctx ends, then waits for running attempts as the configuration says and returns nil. An error that
// wraps link.ErrSuperseded or link.ErrRevoked says that starting again will not help.
func (d *Daemon) Run(ctx context.Context) (err error) {
	cfg := d.opt.Config
	if err := statedir.Make(cfg.StateDir); err != nil {
		return err
	}
	lock, err := statedir.Acquire(cfg.StateDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	if d.id, err = identity.Load(cfg.StateDir); err != nil {
		return err
	}
	j, err := journal.Open(cfg.StateDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	if n := j.Dropped(); n > 0 {
		d.log.Warn("the journal was damaged; damaged records are left out", "records", n)
	}
	set, err := d.open(cfg, nil)
	if err != nil {
		return err
	}
	d.settings.Store(set)
	defer func() { d.settings.Load().terms.Client.CloseIdle() }()
	d.openLocal(cfg.Storage.Local)
	d.journal = j
	d.openMetrics(cfg.Metrics)
	d.runner = runner.New(runner.Config{
		Terms: set.terms, Journal: j, Controller: requester{d}, Identity: d.id, Local: d.local,
		Log: d.log.Named("runner"), ReadRange: d.opt.ReadRange, Ended: d.jobEnded,
	})
	inst := d.id.Installation()
	roots, err := inst.Roots()
	if err != nil {
		return err
	}
	recoverCtx, cancel := context.WithTimeout(ctx, recoverTimeout)
	d.left = d.runner.Recover(recoverCtx) // before hello: it decides what is still held
	cancel()
	d.link, err = link.Open(link.Config{
		Server: inst.ServerID, Session: d.session, URLs: inst.NATSURLs, JWT: inst.NATSJWT, Sign: d.id.SignNonce,
		Roots: roots, KeySet: d.id.KeySet, Log: d.log.Named("link"),
		FirstTimeout: d.opt.FirstTimeout, RetryWait: d.opt.RetryWait, Beside: []string{wire.VerbLocal, wire.VerbInspect},
	}, map[string]link.Handler{
		wire.VerbRun: d.turns.obeying(d.onRun), wire.VerbCancel: d.turns.obeying(d.onCancel), wire.VerbPing: d.onPing, wire.VerbLocal: d.onLocal, wire.VerbInspect: d.onInspect,
	})
	if err != nil {
		d.runner.Stop(err)
		return err
	}
	d.log.Info("agent started", "version", version.Version, "server", inst.ServerID, "session", d.session[:8],
		"instances", len(set.terms.Instances), "concurrency", cfg.Concurrency)
	return d.serve(ctx)
}

func (d *Daemon) serve(ctx context.Context) error {
	loops, stop := context.WithCancel(context.WithoutCancel(ctx)) // they go on while running attempts are waited for
	var wg sync.WaitGroup
	for _, loop := range []func(context.Context){d.helloLoop, d.beatLoop, d.progressLoop, d.leaseLoop, d.inventoryLoop, d.noticeLoop, d.localLoop, d.recoverLoop, d.readyLoop, d.watchLoop, d.reloadLoop, d.metricsLoop} {
		wg.Go(func() { loop(loops) })
	}
	defer func() {
		stop()
		d.link.Close()
		wg.Wait()
	}()
	select {
	case <-ctx.Done():
	case <-d.link.Done():
		return d.ended()
	}
	d.log.Info("agent is stopping")
	drain := d.config().Limits.Drain.D()
	d.tell(d.opt.Supervisor.Stopping(drain+reportPatience+stopMargin, "waiting for running jobs"))
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		d.runner.Drain(drain, reportPatience)
	}()
	select {
	case <-drained:
		d.log.Info("agent stopped")
		return nil
	case <-d.link.Done():
		err := d.ended()
		<-drained
		return err
	}
}

// ended stops everything after the link has ended for good.
func (d *Daemon) ended() error {
	err := d.link.Err()
	switch {
	case errors.Is(err, link.ErrSuperseded):
		d.log.Error("duplicate agent: this one stops", "err", err)
	case errors.Is(err, link.ErrRevoked):
		d.log.Error("revoked: the agent stops", "err", err)
	default:
		d.log.Error("the connection has ended", "err", err)
	}
	d.runner.Stop(err)
	return err
}

// requester lets the runner, which is made first, use the link. Nothing is requested before the first welcome.
type requester struct{ d *Daemon }

func (r requester) Request(ctx context.Context, verb string, body, out any) error {
	return r.d.link.Request(ctx, verb, body, out)
}

func newClient(cfg config.Config) (*transfer.Client, error) {
	var roots *x509.CertPool
	if path := cfg.Storage.CAFile; path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("storage.ca_file: %w", err)
		}
		if roots, err = x509.SystemCertPool(); err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("storage.ca_file: %s holds no PEM certificate", path)
		}
	}
	c := transfer.NewClient(roots)
	c.Timeout = cfg.Limits.UploadTimeout.D()
	return c, nil
}

func (d *Daemon) onRun(m wire.Directive) any {
	var job wire.Job
	answer := wire.Accepted{V: wire.Version, Session: d.session}
	if err := m.Into(&job); err != nil {
		answer.Failure = wire.Failf(wire.CodeBadRequest, "%w", err)
		return answer
	}
	if f := d.runner.Accept(job); f != nil {
		d.refused(f.Code)
		d.log.Info("job not accepted", "job_id", job.Attempt.Job, "attempt", job.Attempt.No, "code", f.Code, "err", f.Error())
		answer.Failure = f
	}
	return answer
}

func (d *Daemon) onCancel(m wire.Directive) any {
	var c wire.Cancel
	answer := wire.Accepted{V: wire.Version, Session: d.session}
	if err := m.Into(&c); err != nil {
		answer.Failure = wire.Failf(wire.CodeBadRequest, "%w", err)
		return answer
	}
	d.runner.Cancel(c.Attempt, c.Reason)
	return answer
}

func (d *Daemon) onPing(wire.Directive) any {
	return wire.Accepted{V: wire.Version, Session: d.session}
}

// helloLoop says hello after each connection.
func (d *Daemon) helloLoop(ctx context.Context) {
	for {
		select {
		case <-d.link.Connected():
		case <-d.again:
		case <-ctx.Done():
			return
		}
		if most := d.config().Limits.HelloDelay.D(); most > 0 && !sleep(ctx, rand.N(most)) { //nolint:gosec // no secret: it spreads load
			return
		}
		for {
			err := d.hello(ctx)
			if err == nil {
				break
			}
			if ctx.Err() != nil || d.link.Err() != nil {
				return
			}
			d.log.Error("the controllers refuse this agent's hello", "err", err)
			if !sleep(ctx, helloAgain) {
				return
			}
		}
	}
}

func (d *Daemon) hello(ctx context.Context) error {
	held, done := d.runner.Hello()
	defer done()
	hash := d.inventory.hash()
	var w wire.Welcome
	err := d.link.Request(ctx, wire.VerbHello, wire.Hello{
		Protocol: wire.Version, AgentVersion: version.Version, Host: d.facts(),
		Attempts: held, InventoryHash: hash, KeySet: d.id.KeySet().Version, Concurrency: d.config().Concurrency,
	}, &w)
	if err != nil {
		return err
	}
	if w.KeySet != nil {
		if err := d.id.Pin(*w.KeySet); err != nil {
			d.log.Error("the controllers' new key set is not taken", "err", err)
		} else {
			d.log.Info("pinned a new key set", "version", d.id.KeySet().Version)
		}
	}
	d.runner.Drop(w.Drop)
	if w.LeaseMaxSeconds > 0 {
		d.lease.Store(int64(time.Duration(w.LeaseMaxSeconds) * time.Second))
	}
	beat := defaultHeartbeat
	if w.HeartbeatSeconds > 0 {
		beat = time.Duration(w.HeartbeatSeconds) * time.Second
	}
	d.heartbeat.Store(int64(beat))
	d.runner.Ready()
	d.once.Do(func() { close(d.welcomed) })
	if w.WantInventory {
		hash = ""
	}
	d.inventory.told(hash)
	d.log.Info("controllers know this session", "held", len(held), "dropped", len(w.Drop))
	return nil
}

// known waits for the first welcome.
func (d *Daemon) known(ctx context.Context) bool {
	select {
	case <-d.welcomed:
		return true
	case <-ctx.Done():
		return false
	}
}

// beatLoop keeps the leases alive. It does nothing else, so that nothing delays it.
func (d *Daemon) beatLoop(ctx context.Context) {
	if !d.known(ctx) {
		return
	}
	for {
		d.turns.beat.Store(d.turns.now())
		every := time.Duration(d.heartbeat.Load())
		err := d.link.Publish(wire.VerbHeartbeat, wire.Heartbeat{
			V: wire.Version, Session: d.session, Host: d.facts(), Running: d.runner.Progress(),
		})
		if err == nil {
			flush, cancel := context.WithTimeout(ctx, every)
			err = d.link.Flush(flush)
			cancel()
		}
		if err != nil {
			d.log.Debug("heartbeat", "err", err)
		}
		if !sleep(ctx, every) {
			return
		}
	}
}

// progressLoop shows running attempts to whoever watches.
func (d *Daemon) progressLoop(ctx context.Context) {
	for sleep(ctx, progressEvery) {
		for _, p := range d.runner.Progress() {
			p.V, p.Session = wire.Version, d.session
			_ = d.link.Publish(wire.VerbProgress, p) // the next one says more
		}
	}
}

// leaseLoop stops the attempts when nothing was heard for as long as their lease lasts: by then they are given up.
func (d *Daemon) leaseLoop(ctx context.Context) {
	for sleep(ctx, leaseCheckEvery) {
		d.turns.lease.Store(d.turns.now())
		silence, lease := time.Since(d.link.LastHeard()), time.Duration(d.lease.Load())
		if silence > lease && len(d.runner.Progress()) > 0 {
			d.log.Error("nothing was heard for longer than the lease: running jobs are stopped", "silence", silence.Round(time.Second).String())
			d.runner.CancelAll(wire.Failf(wire.CodeLost, "no controller was heard for %s", silence.Round(time.Second)).Retry())
		}
	}
}

// recoverLoop cleans up what could not be before the start, such as of a database server that starts later than the agent.
func (d *Daemon) recoverLoop(ctx context.Context) {
	for wait := recoverWait; d.left > 0 && sleep(ctx, wait); wait = min(2*wait, recoverWaitMost) {
		d.left = d.runner.Recover(ctx)
	}
}

func (d *Daemon) noticeLoop(ctx context.Context) {
	if d.known(ctx) {
		d.link.ReportDropped(ctx, noticeEvery)
	}
}

// sleep waits, and tells whether ctx still lives.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
