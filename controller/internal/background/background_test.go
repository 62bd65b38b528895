package background_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller/internal/background"
)

// Loops run side by side, once, until Stop has waited for them; then they can be started again.
func TestGroup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g background.Group
		running := make(chan int, 8)
		loop := func(ctx context.Context) {
			running <- 1
			<-ctx.Done()
			<-time.After(time.Minute) // what it still has to do
			running <- -1
		}
		g.Stop()
		for range 2 {
			started, cancel := context.WithCancel(t.Context())
			g.Start(started, loop, loop)
			g.Start(started, loop)
			cancel() // ends the start, not the loops
			synctest.Wait()
			if len(running) != 2 {
				t.Fatalf("%d loops run", len(running))
			}
			g.Stop()
			g.Stop()
			if len(running) != 4 {
				t.Fatal("it did not wait")
			}
			for range 4 {
				<-running
			}
		}
	})
}

// A step is made at once, at each interval and when it is woken; an error is logged and does not end it.
func TestEvery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		wake, steps := make(chan struct{}), 0
		go background.Every(ctx, time.Hour, wake, hclog.New(&hclog.LoggerOptions{Output: &log}), "dig", func(context.Context) error {
			steps++
			return errors.New("a stone")
		})
		synctest.Wait()
		<-time.After(time.Hour)
		wake <- struct{}{}
		synctest.Wait()
		cancel()
		synctest.Wait()
		if steps != 3 || strings.Count(log.String(), "work=dig err=\"a stone\"") != 3 {
			t.Errorf("%d steps: %s", steps, &log)
		}
	})
}

// The context ends with what says that the claim has passed on, and not before.
func TestHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lost, times := errors.New("lost"), 0
		held, release := background.Hold(t.Context(), time.Minute, func(context.Context) error {
			if times++; times < 3 {
				return nil
			}
			return lost
		})
		<-time.After(2*time.Minute + time.Second)
		if held.Err() != nil {
			t.Fatal("it ended while the claim stood")
		}
		<-time.After(time.Minute)
		if !errors.Is(context.Cause(held), lost) || times != 3 {
			t.Errorf("%v after %d", context.Cause(held), times)
		}
		release()
	})
}
