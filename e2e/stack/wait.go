package stack

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Until asks again after firstPause, and then ever more rarely up to lastPause: each question costs the machine that is waited for.
const (
	firstPause = 30 * time.Millisecond
	lastPause  = 250 * time.Millisecond
)

// Hopeless makes an error of a condition end the waiting at once.
func Hopeless(err error) error { return hopeless{err} }

type hopeless struct{ error }

func (h hopeless) Unwrap() error { return h.error }

// Until asks cond again and again until it says true, or ctx ends. An error of cond is no end, unless it is Hopeless: it is
// part of the error that says what was waited for.
func Until(ctx context.Context, what string, cond func(context.Context) (bool, error)) error {
	began := time.Now()
	pause := firstPause
	tick := time.NewTimer(pause)
	defer tick.Stop()
	var last error
	for {
		ok, err := cond(ctx)
		if ok && err == nil {
			return nil
		}
		if end := (hopeless{}); errors.As(err, &end) {
			return fmt.Errorf("wait until %s: %w", what, end.error)
		}
		// What the end of ctx itself breaks says nothing.
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			if last != nil {
				return fmt.Errorf("wait until %s: gave up after %s: %w", what, time.Since(began).Round(time.Millisecond), last)
			}
			return fmt.Errorf("wait until %s: gave up after %s", what, time.Since(began).Round(time.Millisecond))
		case <-tick.C:
			pause = min(pause*3/2, lastPause)
			tick.Reset(pause)
		}
	}
}

// Within is Until with a time limit of its own.
func Within(ctx context.Context, limit time.Duration, what string, cond func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return Until(ctx, what, cond)
}
