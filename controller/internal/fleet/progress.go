package fleet

import (
	"sync"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// progressBoard holds the newest progress of each running job, for live views. It is a convenience: the catalog's heartbeats hold the same, a
// little later. Entries that nobody refreshed for progressAge are dropped.
type progressBoard struct {
	mu   sync.Mutex
	jobs map[int64]progressEntry
}

type progressEntry struct {
	at time.Time
	p  controller.Progress
}

const (
	progressAge = time.Minute
	progressMax = 20000
)

func newProgressBoard() *progressBoard { return &progressBoard{jobs: map[int64]progressEntry{}} }

func (b *progressBoard) put(p wire.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if len(b.jobs) >= progressMax {
		for id, e := range b.jobs {
			if now.Sub(e.at) > progressAge {
				delete(b.jobs, id)
			}
		}
		if len(b.jobs) >= progressMax {
			return
		}
	}
	b.jobs[p.Attempt.Job] = progressEntry{at: now, p: controller.Progress{
		Stage: clip(p.Stage, 32), RawBytes: p.RawBytes, StoredBytes: p.StoredBytes, TotalBytes: p.TotalBytes,
	}}
}

func (b *progressBoard) get(job int64) (controller.Progress, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.jobs[job]
	if !ok || time.Since(e.at) > progressAge {
		return controller.Progress{}, false
	}
	return e.p, true
}

func (b *progressBoard) drop(job int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.jobs, job)
}

// inProgress is a set of things this controller is at work on.
type inProgress struct {
	mu  sync.Mutex
	set map[string]bool
}

// begin adds id and tells whether it was not there.
func (s *inProgress) begin(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.set[id] {
		return false
	}
	s.set[id] = true
	return true
}

func (s *inProgress) end(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.set, id)
}
