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
	mu       sync.Mutex
	jobs     map[int64]progressEntry
	perAgent map[string]int // entries in jobs
	tidied   time.Time
}

type progressEntry struct {
	at    time.Time
	agent string
	p     controller.Progress
}

const (
	progressAge      = time.Minute
	progressPerAgent = 256 // jobs of one agent, so that none takes the others' room
)

func newProgressBoard() *progressBoard {
	return &progressBoard{jobs: map[int64]progressEntry{}, perAgent: map[string]int{}}
}

// put keeps the progress that an agent told. What another agent tells about the same job is kept only when the first has fallen
// silent: nobody but the job's own agent has a reason to.
func (b *progressBoard) put(agent string, p wire.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if now.Sub(b.tidied) > progressAge {
		b.tidy(now)
	}
	job := p.Attempt.Job
	if old, ok := b.jobs[job]; ok {
		if old.agent != agent && now.Sub(old.at) <= progressAge {
			return
		}
		b.remove(job)
	}
	if b.perAgent[agent] >= progressPerAgent {
		return
	}
	b.perAgent[agent]++
	b.jobs[job] = progressEntry{at: now, agent: agent, p: controller.Progress{
		Stage: clip(p.Stage, 32), RawBytes: p.RawBytes, StoredBytes: p.StoredBytes, TotalBytes: p.TotalBytes,
	}}
}

// tidy drops what nobody refreshed.
func (b *progressBoard) tidy(now time.Time) {
	b.tidied = now
	for job, e := range b.jobs {
		if now.Sub(e.at) > progressAge {
			b.remove(job)
		}
	}
}

func (b *progressBoard) remove(job int64) {
	e, ok := b.jobs[job]
	if !ok {
		return
	}
	delete(b.jobs, job)
	if b.perAgent[e.agent]--; b.perAgent[e.agent] <= 0 {
		delete(b.perAgent, e.agent)
	}
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
	b.remove(job)
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
