// Package scheduler makes the backups of schedules when they are due.
//
// Invariants: each occurrence of a schedule is recorded exactly once, as run, skipped or missed, whatever happens to controllers and
// to clocks; the newest missed one is run, the others are recorded; nothing is remembered here that the catalog does not hold, so any
// number of controllers work side by side and any of them may die at any point. The time is PostgreSQL's.
package scheduler

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/background"
)

// Store is the catalog as the scheduler uses it; each method is one transaction.
type Store interface {
	// Now is the clock by which schedules occur.
	Now(ctx context.Context) (time.Time, error)
	// DueSchedules takes up to limit schedules whose next occurrence is due; for a while no other controller gets them.
	DueSchedules(ctx context.Context, now time.Time, limit int) ([]controller.DueSchedule, error)
	// RecordTick records occurrences and orders their backups. One that is not the first to do it gets a stale result, and changed nothing.
	RecordTick(ctx context.Context, tick controller.Tick) (controller.TickResult, error)
	// ActiveSchedules lists schedules by id, those with a problem too.
	ActiveSchedules(ctx context.Context, afterID int64, limit int) ([]controller.DueSchedule, error)
	// ScheduleProblem records why a schedule cannot occur, and tells whether that is new.
	ScheduleProblem(ctx context.Context, id int64, recordedUntil time.Time, problem string) (bool, error)
	// RecordInterval records the longest time between two of a schedule's occurrences, by which it is told what is overdue.
	RecordInterval(ctx context.Context, id int64, interval time.Duration) error
}

// Options of a Scheduler. Zero values take the defaults named.
type Options struct {
	Store Store
	Log   hclog.Logger
	Kick  func() // called when backups were ordered

	Now     func(context.Context) (time.Time, error)  // default Store.Now
	Zone    func(name string) (*time.Location, error) // default controller.LoadZone
	Tick    time.Duration                             // how often due schedules are looked for, default 1 s
	Replan  time.Duration                             // how often all are planned anew, default 24 h
	Batch   int                                       // schedules taken at once, default 100
	Workers int                                       // schedules worked on at once, default 4
}

// Scheduler is one controller's part in it. Start it once; Stop waits for what it started.
type Scheduler struct {
	opt Options
	log hclog.Logger

	group background.Group
}

// New makes a Scheduler; it does nothing before Start.
func New(opt Options) *Scheduler {
	orDefault(&opt.Tick, time.Second)
	orDefault(&opt.Replan, 24*time.Hour)
	orDefault(&opt.Batch, 100)
	orDefault(&opt.Workers, 4)
	if opt.Now == nil {
		opt.Now = opt.Store.Now
	}
	if opt.Zone == nil {
		opt.Zone = controller.LoadZone
	}
	if opt.Kick == nil {
		opt.Kick = func() {}
	}
	if opt.Log == nil {
		opt.Log = hclog.NewNullLogger()
	}
	return &Scheduler{opt: opt, log: opt.Log}
}

func orDefault[T time.Duration | int](value *T, otherwise T) {
	if *value == 0 {
		*value = otherwise
	}
}

// Start begins to look for due schedules. All are planned anew first: this controller's time zone database may be another one than
// the last. Starting twice is no error.
func (s *Scheduler) Start(ctx context.Context) { s.group.Start(ctx, s.loop) }

// Stop ends the loop and waits for it. What it leaves undone another controller takes up, or this one when it starts again.
func (s *Scheduler) Stop() { s.group.Stop() }

const replanAgain = time.Minute // after one that failed

func (s *Scheduler) loop(ctx context.Context) {
	tick := time.NewTicker(s.opt.Tick)
	defer tick.Stop()
	replan := time.NewTimer(s.replan(ctx))
	defer replan.Stop()
	for {
		if err := s.RunDue(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("run due schedules", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-replan.C:
			replan.Reset(s.replan(ctx))
		}
	}
}

// replan is Replan, and when it is to be done again.
func (s *Scheduler) replan(ctx context.Context) time.Duration {
	if err := s.Replan(ctx); err != nil && ctx.Err() == nil {
		s.log.Warn("plan schedules anew", "err", err)
		return min(replanAgain, s.opt.Replan)
	}
	return s.opt.Replan
}
