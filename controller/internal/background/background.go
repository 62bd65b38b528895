// Package background runs what a controller does beside answering: loops that look for work now and then.
//
// Its invariant: what was started is ended by Stop, which waits for it; an error of a step is logged and never ends its loop.
package background

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

var errStopped = errors.New("controller stopped")

// Group is loops that are started and stopped together. The zero Group is ready.
type Group struct {
	mu     sync.Mutex
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
}

// Start runs each loop in a goroutine of its own until Stop; ctx gives its values alone. Starting twice is no error.
func (g *Group) Start(ctx context.Context, loops ...func(context.Context)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cancel != nil {
		return
	}
	run, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	g.cancel = cancel
	for _, loop := range loops {
		g.wg.Go(func() { loop(run) })
	}
}

// Stop ends the loops and waits for them. They can be started again. Stopping twice is no error.
func (g *Group) Stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cancel == nil {
		return
	}
	g.cancel(errStopped)
	g.wg.Wait()
	g.cancel = nil
}

// Every calls step now and then each interval, and whenever wake fires, until ctx ends. A nil wake never does.
func Every(ctx context.Context, interval time.Duration, wake <-chan struct{}, log hclog.Logger, what string, step func(context.Context) error) {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		if err := step(ctx); err != nil && ctx.Err() == nil {
			log.Warn("background work", "work", what, "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-wake:
		}
	}
}

// Hold calls extend each interval while the returned context lives: an error of it, which says that a claim has passed on, ends the
// context with that cause. What it returns beside ends it all and waits.
func Hold(ctx context.Context, interval time.Duration, extend func(context.Context) error) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(interval)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			if err := extend(ctx); err != nil {
				cancel(err)
				return
			}
		}
	}()
	return ctx, func() { cancel(nil); <-done }
}
