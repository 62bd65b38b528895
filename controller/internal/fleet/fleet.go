// Package fleet is the controllers' side of the protocol with agents: it delivers jobs, answers agents, presigns requests,
// completes uploads and sweeps what is left behind.
//
// Invariants: a job is a row before it is a message; a request is answered after the catalog has committed; everything that
// makes an agent act is signed; nothing here is remembered that the catalog does not hold, so any number of controllers work
// side by side and any of them may die at any point.
package fleet

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats.go"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/background"
	"devflowbackup/shared/wire"
)

// Options of a Fleet. Zero durations take the defaults named.
type Options struct {
	Store   Store
	Storage Storages
	Conn    *nats.Conn
	Log     hclog.Logger
	// Sender tells the key of the broker's user that sent a message, which the sender cannot forge. Without it the subject alone says
	// who speaks, and a host that took another one's place is refused.
	Sender func(*nats.Msg) (key string, err error)

	SigningKey ed25519.PrivateKey // signs directives and manifests
	KeySet     wire.KeySet        // what agents are to pin
	SignedSet  *wire.SignedKeySet // the same, signed by a key of the set before it; nil for the first

	Heartbeat  time.Duration // how often agents report, default 10 s
	LeaseMax   time.Duration // how long a lost agent is waited for, default 1 h
	URLExpires time.Duration // how long a presigned request is valid, default 15 min
	Tick       time.Duration // how often open work is looked for, default 1 s
	Finishers  int           // uploads completed at once, default 4
	ClaimEvery time.Duration // how often the claim on an upload at work is extended, default 15 s
	Accept     time.Duration // how long an agent has to answer a command, default 10 s
	ReadAgain  time.Duration // the pause before an agent that did not answer is asked again for a piece of a file, default 1 s, then twice that
	ProbeAgain time.Duration // the pause before a storage that failed a probe which nobody asked for is probed again, default 10 s
}

// Fleet is one controller's part in it. Start it once; Stop waits for what it started.
type Fleet struct {
	opt       Options
	log       hclog.Logger
	kick      [2]chan struct{} // dispatch, finish
	progress  *progressBoard
	beats     *beatBatch
	requests  requests
	delivery  inProgress    // attempts being delivered by this controller
	telling   inProgress    // attempts whose cancellation is under way
	downloads chan struct{} // slots
	proofs    proofs

	mu     sync.Mutex
	subs   []*nats.Subscription
	cancel context.CancelCauseFunc
	done   chan struct{}
}

// New makes a Fleet; it does nothing before Start.
func New(opt Options) *Fleet {
	setDefault(&opt.Heartbeat, 10*time.Second)
	setDefault(&opt.LeaseMax, time.Hour)
	setDefault(&opt.URLExpires, 15*time.Minute)
	setDefault(&opt.Tick, time.Second)
	setDefault(&opt.ClaimEvery, 15*time.Second)
	setDefault(&opt.Accept, 10*time.Second)
	setDefault(&opt.ReadAgain, time.Second)
	setDefault(&opt.ProbeAgain, 10*time.Second)
	if opt.Finishers == 0 {
		opt.Finishers = 4
	}
	return &Fleet{
		opt: opt, log: opt.Log, kick: [2]chan struct{}{make(chan struct{}, 1), make(chan struct{}, 1)}, requests: newRequests(),
		progress: newProgressBoard(), beats: newBeatBatch(), delivery: inProgress{set: map[string]bool{}}, telling: inProgress{set: map[string]bool{}},
		downloads: make(chan struct{}, downloadsAtOnce),
	}
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

var errStopped = errors.New("controller stopped")

// heartbeatGroup is a queue group of its own: the broker takes overlapping subscriptions of one group for one, and would give
// some of the heartbeats to the requests.
const heartbeatGroup = wire.QueueGroup + "-heartbeats"

// unsubscribeTimeout bounds how long a stop waits for the broker to hear of it.
const unsubscribeTimeout = 2 * time.Second

// Start subscribes to agents and starts the loops; when it returns, requests are answered. Starting twice is no error.
func (f *Fleet) Start(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cancel != nil {
		return nil
	}
	run, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	f.requests.open()
	if err := f.subscribe(ctx, run); err != nil {
		f.unsubscribe()
		cancel(err)
		f.requests.close()
		return err
	}
	f.cancel, f.done = cancel, make(chan struct{})
	go f.loops(run)
	return nil
}

// subscribe listens to agents. Heartbeats and progress have subscriptions of their own: they never wait behind requests.
func (f *Fleet) subscribe(ctx, run context.Context) error {
	handlers := f.handlers()
	for _, s := range []struct {
		verb, group string
		handle      nats.MsgHandler
	}{
		{">", wire.QueueGroup, func(m *nats.Msg) { f.onRequest(run, m, handlers) }},
		{wire.VerbHeartbeat, heartbeatGroup, f.onHeartbeat},
		{wire.VerbProgress, "", f.onProgress},
	} {
		sub, err := f.opt.Conn.QueueSubscribe(wire.ControllerSubjects(s.verb), s.group, s.handle)
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", wire.ControllerSubjects(s.verb), err)
		}
		f.subs = append(f.subs, sub)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := f.opt.Conn.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("subscribe to agents: %w", err)
	}
	return nil
}

func (f *Fleet) loops(ctx context.Context) {
	defer close(f.done)
	var wg sync.WaitGroup
	for _, loop := range []func(context.Context){f.dispatchLoop, f.finishLoop, f.sweepLoop, f.cleanLoop, f.beatLoop} {
		wg.Go(func() { loop(ctx) })
	}
	wg.Wait()
}

func (f *Fleet) unsubscribe() {
	for _, s := range f.subs {
		if err := s.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			f.log.Debug("unsubscribe", "subject", s.Subject, "err", err)
		}
	}
	f.subs = nil
	// The broker sends requests here until it has heard of it, and they would wait in vain while another controller could answer.
	ctx, cancel := context.WithTimeout(context.Background(), unsubscribeTimeout)
	defer cancel()
	if err := f.opt.Conn.FlushWithContext(ctx); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		f.log.Debug("unsubscribe", "err", err)
	}
}

// Stop ends the loops and waits for them and for requests at work. Work that it leaves is taken up by another controller, or by this
// one when it starts again.
func (f *Fleet) Stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cancel == nil {
		return
	}
	f.unsubscribe()
	f.cancel(errStopped)
	f.requests.close()
	<-f.done
	f.cancel = nil
}

// Kick makes dispatcher and finisher look for work now.
func (f *Fleet) Kick() {
	for _, c := range f.kick {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// Progress is the newest progress of a running job that this controller heard of.
func (f *Fleet) Progress(job int64) (controller.Progress, bool) { return f.progress.get(job) }

// every calls step now and then each interval, and whenever wake fires, until ctx ends.
func (f *Fleet) every(ctx context.Context, interval time.Duration, wake <-chan struct{}, what string, step func(context.Context) error) {
	background.Every(ctx, interval, wake, f.log, what, step)
}
