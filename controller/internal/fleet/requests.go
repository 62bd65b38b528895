package fleet

import (
	"context"
	"sync"
)

// requestsAtOnce is how many requests of agents are answered at once.
const requestsAtOnce = 64

// requests runs what agents ask for, each in a goroutine of its own, a bounded number at once.
type requests struct {
	slots chan struct{}

	mu      sync.Mutex
	running sync.WaitGroup
	closed  bool
}

func newRequests() requests {
	return requests{slots: make(chan struct{}, requestsAtOnce), closed: true}
}

func (r *requests) open() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = false
}

// do runs work, waiting for a free slot first. It does nothing once ctx has ended or close was called.
func (r *requests) do(ctx context.Context, work func()) {
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		<-r.slots
		return
	}
	r.running.Go(func() {
		defer func() { <-r.slots }()
		work()
	})
}

// close lets nothing more begin and waits for what runs.
func (r *requests) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.running.Wait()
}
