// Package events brings what the catalog tells to those who watch live.
//
// Invariants: a subscriber gets each event of the log that it has asked for once and in the order of ids, or is cut; one that is slow is
// cut, and never delays another; nothing is held for nobody. What a subscriber may know is the subscriber's concern: a Hub sees everything.
package events

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
)

// Store is the catalog as the hub uses it.
type Store interface {
	SealEvents(ctx context.Context, agents bool) (moved int64, err error)
	TrimEvents(ctx context.Context) error
	EventsAfter(ctx context.Context, after int64, limit int) ([]controller.Event, error)
	EventLog(ctx context.Context) (controller.EventLog, error)
	ListenEvents(ctx context.Context, wake func()) error
	RunningJobs(ctx context.Context, limit int) ([]controller.RunningJob, error)
}

// Options of New. Progress may be nil.
type Options struct {
	Store    Store
	Progress func(job int64) (controller.Progress, bool)
	Log      hclog.Logger
}

const (
	together      = 100 * time.Millisecond // what comes within it is moved at once
	agentsEvery   = 2 * time.Second        // also how late an event is that nobody woke the hub for
	progressEvery = time.Second
	trimEvery     = time.Minute
	relisten      = time.Second // after a connection that broke; doubles
	relistenMost  = 30 * time.Second
	pageSize      = 1000
	runningMost   = 2000
	buffered      = 512 // events that a subscriber may be behind
)

// Hub moves events to the log and gives them to its subscribers.
type Hub struct {
	opt  Options
	wake chan struct{}
	stop func()
	done sync.WaitGroup

	mu    sync.Mutex
	head  int64
	began bool // head is known
	subs  map[chan *controller.Event]struct{}
	over  bool
}

// New makes a Hub. Nothing runs before Start.
func New(opt Options) *Hub {
	if opt.Log == nil {
		opt.Log = hclog.NewNullLogger()
	}
	return &Hub{opt: opt, wake: make(chan struct{}, 1), subs: map[chan *controller.Event]struct{}{}, stop: func() {}}
}

// Start begins to move events.
func (h *Hub) Start(ctx context.Context) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	h.stop = cancel
	h.done.Go(func() { h.listen(ctx) })
	h.done.Go(func() { h.pump(ctx) })
	h.done.Go(func() { h.progress(ctx) })
}

// Cut ends every subscription, and those that are asked for later at once. Calling it twice is no error.
func (h *Hub) Cut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	for c := range h.subs {
		h.end(c)
	}
}

// Stop ends what Start began, and waits for it.
func (h *Hub) Stop() {
	h.Cut()
	h.stop()
	h.done.Wait()
}

// Subscribe gives the events after head, and those without an id, until end is called. The channel is closed then, and before that when
// the subscriber was too slow or the hub stops. It is not ok where the hub does not run yet, or no longer.
func (h *Hub) Subscribe() (events <-chan *controller.Event, head int64, end func(), ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over || !h.began {
		return nil, 0, nil, false
	}
	c := make(chan *controller.Event, buffered)
	h.subs[c] = struct{}{}
	return c, h.head, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.end(c)
	}, true
}

func (h *Hub) end(c chan *controller.Event) {
	if _, there := h.subs[c]; there {
		delete(h.subs, c)
		close(c)
	}
}

// Watched tells whether anybody does.
func (h *Hub) Watched() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subs) > 0
}

// give hands on one event, which nobody changes.
func (h *Hub) give(e *controller.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e.ID > 0 {
		h.head = e.ID
	}
	for c := range h.subs {
		select {
		case c <- e:
		default: // it will come back and go on from the log
			h.end(c)
		}
	}
}

func (h *Hub) awake() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// listen wakes the pump; without it events come every agentsEvery.
func (h *Hub) listen(ctx context.Context) {
	wait := relisten
	for {
		began := time.Now()
		err := h.opt.Store.ListenEvents(ctx, h.awake)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > relistenMost {
			wait = relisten
		}
		h.opt.Log.Warn("listen for events", "err", err, "again_in", wait)
		if !pause(ctx, wait) {
			return
		}
		wait = min(2*wait, relistenMost)
	}
}

func (h *Hub) pump(ctx context.Context) {
	tick := time.NewTicker(agentsEvery)
	defer tick.Stop()
	agents, trimmed := true, time.Time{}
	for {
		if err := h.move(ctx, agents); err != nil && ctx.Err() == nil {
			h.opt.Log.Warn("move events", "err", err)
		}
		if now := time.Now(); now.Sub(trimmed) > trimEvery {
			trimmed = now
			if err := h.opt.Store.TrimEvents(ctx); err != nil && ctx.Err() == nil {
				h.opt.Log.Warn("trim events", "err", err)
			}
		}
		agents = false
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			agents = true
		case <-h.wake:
			if !pause(ctx, together) {
				return
			}
		}
	}
}

// move seals what was told and gives what was sealed, by whichever controller.
func (h *Hub) move(ctx context.Context, agents bool) error {
	if _, err := h.opt.Store.SealEvents(ctx, agents); err != nil {
		return err
	}
	h.mu.Lock()
	began, head := h.began, h.head
	h.mu.Unlock()
	if !began {
		l, err := h.opt.Store.EventLog(ctx)
		if err != nil {
			return err
		}
		h.mu.Lock()
		h.began, h.head = true, l.Last
		h.mu.Unlock()
		return nil
	}
	for {
		page, err := h.opt.Store.EventsAfter(ctx, head, pageSize)
		if err != nil {
			return err
		}
		for i := range page {
			h.give(&page[i])
			head = page[i].ID
		}
		if len(page) < pageSize {
			return nil
		}
	}
}

// progress gives what agents tell of running jobs, while somebody watches.
func (h *Hub) progress(ctx context.Context) {
	if h.opt.Progress == nil {
		return
	}
	told := map[int64]controller.Progress{}
	for pause(ctx, progressEvery) {
		if !h.Watched() {
			clear(told)
			continue
		}
		running, err := h.opt.Store.RunningJobs(ctx, runningMost)
		if err != nil {
			if ctx.Err() == nil {
				h.opt.Log.Warn("look for running jobs", "err", err)
			}
			continue
		}
		now := make(map[int64]controller.Progress, len(running))
		for _, j := range running {
			p, ok := h.opt.Progress(j.ID)
			if !ok {
				continue
			}
			now[j.ID] = p
			if last, known := told[j.ID]; known && last == p {
				continue
			}
			h.give(&controller.Event{
				Kind: controller.EventProgress, ProjectID: &j.ProjectID, ServerID: &j.ServerID, JobID: j.ID, BackupID: j.BackupID, RestoreID: j.RestoreID, Progress: &p, At: time.Now().UTC(),
			})
		}
		told = now
	}
}

// pause waits and tells whether it did to the end.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
