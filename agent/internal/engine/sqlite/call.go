package sqlite

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// errStalled is the cause of work that SQLite did nothing for, for too long.
var errStalled = errors.New("SQLite did nothing for too long")

// pulse counts what work has done, for those who wait for it.
type pulse struct{ beats atomic.Int64 }

func (p *pulse) beat() { p.beats.Add(1) }

// call runs work in a goroutine of its own and waits for it. It ends with the cause of ctx, or with errStalled if the pulse
// stood still for stall (zero: no limit). Work that does not end then is left behind; what it makes in the end is dropped.
// A fault in mapped memory, as when somebody cuts a file beside the database, is an error and not a crash.
func call[T any](ctx context.Context, stall time.Duration, p *pulse, work func(ctx context.Context) (T, error), drop func(T)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	var zero T
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			if r := recover(); r != nil {
				o = outcome{zero, fmt.Errorf("SQLite met what it cannot bear: %v", r)}
			}
			done <- o
		}()
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		o.value, o.err = work(ctx)
	}()
	abandon := func() (T, error) {
		select {
		case o := <-done:
			if o.err == nil {
				drop(o.value)
			}
		case <-time.After(grace):
			go func() {
				if o := <-done; o.err == nil {
					drop(o.value)
				}
			}()
		}
		return zero, context.Cause(ctx)
	}
	defer cancel(nil)

	var stalled <-chan time.Time
	last := p.beats.Load()
	if stall > 0 {
		tick := time.NewTicker(stall)
		defer tick.Stop()
		stalled = tick.C
	}
	for {
		select {
		case o := <-done:
			return o.value, o.err
		case <-ctx.Done():
			return abandon()
		case <-stalled:
			now := p.beats.Load()
			if now == last {
				cancel(errStalled)
				return abandon()
			}
			last = now
		}
	}
}
