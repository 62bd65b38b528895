package events_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/events"
)

// log is a catalog of events in memory.
type log struct {
	mu     sync.Mutex
	events []controller.Event
	wake   func()
}

func (l *log) SealEvents(context.Context, bool) (int64, error) { return 0, nil }
func (l *log) TrimEvents(context.Context) error                { return nil }

func (l *log) EventsAfter(_ context.Context, after int64, limit int) ([]controller.Event, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	from := min(int(after), len(l.events))
	return l.events[from:min(from+limit, len(l.events))], nil
}

func (l *log) EventLog(context.Context) (controller.EventLog, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return controller.EventLog{First: 1, Last: int64(len(l.events))}, nil
}

func (l *log) ListenEvents(ctx context.Context, wake func()) error {
	l.mu.Lock()
	l.wake = wake
	l.mu.Unlock()
	wake()
	<-ctx.Done()
	return ctx.Err()
}

func (l *log) RunningJobs(context.Context, int) ([]controller.RunningJob, error) { return nil, nil }

func (l *log) add(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range n {
		l.events = append(l.events, controller.Event{ID: int64(len(l.events) + 1), Kind: controller.EventBackup})
	}
	if l.wake != nil {
		l.wake()
	}
}

// subscribe waits until the hub knows where the log ends.
func subscribe(t *testing.T, h *events.Hub) (<-chan *controller.Event, int64, func()) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		if c, head, end, ok := h.Subscribe(); ok {
			return c, head, end
		}
		if time.Now().After(deadline) {
			t.Fatal("the hub is not ready after 10 seconds")
		}
		<-time.After(5 * time.Millisecond)
	}
}

// TestHub_Slow: who does not read is cut and delays nobody; all others get every event in order.
func TestHub_Slow(t *testing.T) {
	t.Parallel()
	l := &log{}
	l.add(3)
	h := events.New(events.Options{Store: l})
	h.Start(t.Context())
	t.Cleanup(h.Stop)
	slow, _, _ := subscribe(t, h)
	quick, head, _ := subscribe(t, h)
	if head != 3 {
		t.Fatalf("head is %d, want 3", head)
	}
	const n = 5000
	go func() {
		for range n / 100 {
			l.add(100)
			<-time.After(2 * time.Millisecond)
		}
	}()
	got, deadline := int64(3), time.After(20*time.Second)
	for got < n+3 {
		select {
		case e, open := <-quick:
			if !open {
				// A burst was too much even for it: it goes on from the log, as a client does.
				var from int64
				quick, from, _ = subscribe(t, h)
				missed, err := l.EventsAfter(t.Context(), got, int(from-got))
				if err != nil {
					t.Fatal(err)
				}
				got += int64(len(missed))
				continue
			}
			if e.ID != got+1 {
				t.Fatalf("event %d after %d", e.ID, got)
			}
			got = e.ID
		case <-deadline:
			t.Fatalf("%d events within 20 seconds, want %d", got, n)
		}
	}
	kept := 0
	for range slow {
		kept++
	}
	if kept > 512 {
		t.Fatalf("%d events were held for one that does not read", kept)
	}
}

// TestHub_Stop ends subscriptions, and there are none after it.
func TestHub_Stop(t *testing.T) {
	t.Parallel()
	h := events.New(events.Options{Store: &log{}})
	h.Start(t.Context())
	c, _, end := subscribe(t, h)
	h.Stop()
	if _, open := <-c; open {
		t.Fatal("a subscription is open after Stop")
	}
	end()
	if _, _, _, ok := h.Subscribe(); ok {
		t.Fatal("a subscription began after Stop")
	}
	if h.Watched() {
		t.Fatal("a stopped hub is watched")
	}
}
