package metrics

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"devflowbackup/controller"
)

// snapshot is what one reading of the catalog found.
type snapshot struct {
	err          error // of the figures: then there are none
	ping, took   time.Duration
	figures      controller.Metrics
	databasesErr error // then there are no databases
	states       map[string]int64
	databases    []database
	left         int64 // databases that are not told of one by one
}

// database is what is told of one.
type database struct {
	labels                       []string // project, server, db_instance, database, engine
	state                        string
	expected                     int64
	lastGood, verified           *time.Time
	size                         int64
	seconds                      float64
	hasSize, hasSeconds, overdue bool
}

// reader reads the catalog at most every so often and shares what it found, also that it found nothing.
type reader struct {
	o Options

	mu    sync.Mutex
	last  *snapshot
	until time.Time
}

// read returns the last reading, or a new one. Who comes while one is under way waits for it.
func (r *reader) read() *snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last != nil && r.o.Now().Before(r.until) {
		return r.last
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), readTimeout, fmt.Errorf("the catalog was not read within %s", readTimeout))
	defer cancel()
	start := time.Now()
	s := r.look(ctx)
	s.took = time.Since(start)
	switch {
	case s.err != nil:
		r.o.Log.Warn("read metrics of the catalog", "err", s.err)
	case s.databasesErr != nil:
		r.o.Log.Warn("read databases for metrics", "err", s.databasesErr)
	}
	r.last, r.until = s, r.o.Now().Add(min(max(readShare*s.took, readEvery), readMost))
	return s
}

func (r *reader) look(ctx context.Context) *snapshot {
	s := &snapshot{}
	start := time.Now()
	if s.err = r.o.Store.Ping(ctx); s.err != nil {
		return s
	}
	s.ping = time.Since(start)
	if s.figures, s.err = r.o.Store.Metrics(ctx); s.err != nil {
		return s
	}
	if s.databasesErr = r.lookDatabases(ctx, s); s.databasesErr != nil {
		s.states, s.databases, s.left = nil, nil, 0
	}
	return s
}

// lookDatabases keeps as many databases as there may be series of, those in the worst state first, so that no alert is missed. Those
// that are gone, of which only old backups are there, are counted alone.
func (r *reader) lookDatabases(ctx context.Context, s *snapshot) error {
	most := r.o.Series / seriesEach
	kept := make(map[string][]database, len(controller.ProtectionStates))
	seen := make(map[string]bool)
	s.states = make(map[string]int64, len(controller.ProtectionStates))
	for after := int64(0); ; {
		page, err := r.o.Store.ProtectionPage(ctx, after, pageOf)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		ids := make([]int64, len(page))
		for i := range page {
			ids[i] = page[i].DatabaseID
		}
		instances, err := r.o.Store.DatabaseInstances(ctx, ids)
		if err != nil {
			return err
		}
		for _, p := range page {
			s.states[p.State]++
			if p.State == controller.ProtectionGone {
				continue
			}
			d := single(p, instances[p.DatabaseID])
			key := fmt.Sprintf("%q", d.labels)
			if len(kept[p.State]) >= most || seen[key] {
				s.left++
				continue
			}
			seen[key] = true
			kept[p.State] = append(kept[p.State], d)
		}
		after = slices.Max(ids)
	}
	for _, state := range controller.ProtectionStates {
		n := min(len(kept[state]), most-len(s.databases))
		s.databases = append(s.databases, kept[state][:n]...)
		s.left += int64(len(kept[state]) - n)
	}
	s.databases = slices.Clip(s.databases)
	return nil
}

func single(p controller.Protection, instance string) database {
	d := database{
		labels: []string{p.Project, p.Server, instance, p.Database, p.Engine}, state: p.State, expected: p.ExpectedSeconds,
		lastGood: p.LastGoodAt, verified: p.VerifiedAt, overdue: p.State == controller.ProtectionOverdue,
	}
	if n := len(p.Sizes); n > 0 {
		d.size, d.hasSize = p.Sizes[n-1], true
	}
	if n := len(p.Seconds); n > 0 {
		d.seconds, d.hasSeconds = p.Seconds[n-1], true
	}
	return d
}
