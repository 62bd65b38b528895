package retention

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/background"
)

// Claim is a clean-up, or a schedule to clean up after, that this controller works on until then. Whoever has it later has another one.
type Claim struct {
	ID    int64
	Until time.Time
}

// ErrClaimLost says that another controller works on it.
var ErrClaimLost = errors.New("another controller goes on with this clean-up")

// Store is the catalog as the Runner uses it. Each method is one transaction and may be repeated.
type Store interface {
	// CleanupDatabases are the databases that the request is about, by id, after one.
	CleanupDatabases(ctx context.Context, actor controller.Actor, req controller.CleanupRequest, after int64, limit int) ([]int64, error)
	// CleanDatabase makes the plan for one database and, unless it is a dry run, carries it out.
	CleanDatabase(ctx context.Context, actor controller.Actor, database int64, req controller.CleanupRequest, now time.Time) ([]controller.CleanupItem, error)

	// CleanupSettings are when the daily clean-up occurs, and since when.
	CleanupSettings(ctx context.Context) (controller.Settings, time.Time, error)
	// ClaimDaily takes the daily clean-up of an instant: a claim without an id while another controller has it.
	ClaimDaily(ctx context.Context, at time.Time) (claim Claim, done bool, err error)
	StartCleanup(ctx context.Context, actor controller.Actor, req controller.CleanupRequest) (Claim, error)
	// ExtendCleanup and EndCleanup add what was done since the last time; ErrClaimLost: another controller goes on with it.
	ExtendCleanup(ctx context.Context, claim Claim, done controller.CleanupResult) (Claim, error)
	EndCleanup(ctx context.Context, claim Claim, done controller.CleanupResult, problem string) error

	// DueCleanups are schedules whose retention is to be applied.
	DueCleanups(ctx context.Context, limit int) ([]Claim, error)
	CleanupDone(ctx context.Context, claim Claim) error
}

// Options of a Runner. Zero durations take the defaults named.
type Options struct {
	Store Store
	Log   hclog.Logger
	// Now is the clock that plans and the daily clean-up go by: the catalog's.
	Now   func(ctx context.Context) (time.Time, error)
	Tick  time.Duration // how often it is looked for what is due, default 2 s
	Grace time.Duration // how long what retention removed can be brought back, default controller.CleanupGrace; negative: not at all
}

// Runner applies retention: to everything once a day, to a schedule's backups after each of them, and when somebody asks. Any number
// of them may run on one catalog. Start it once; Stop waits for what it started.
type Runner struct {
	opt Options
	log hclog.Logger

	group background.Group

	lastDaily   time.Time // the newest daily clean-up that is done, whoever did it
	lastProblem string    // why there is no daily clean-up, as it was logged last
}

// NewRunner makes a Runner; Clean works at once, nothing else happens before Start.
func NewRunner(opt Options) *Runner {
	if opt.Tick == 0 {
		opt.Tick = 2 * time.Second
	}
	switch {
	case opt.Grace == 0:
		opt.Grace = controller.CleanupGrace
	case opt.Grace < 0:
		opt.Grace = 0
	}
	return &Runner{opt: opt, log: opt.Log}
}

// actor is who removes what nobody asked to be removed, in the audit log.
var actor = controller.Actor{Name: "retention", Scope: controller.Scope{All: true}}

const (
	databasesAtOnce = 200
	schedulesAtOnce = 20
	extendAfter     = 20 * time.Second // a claim is extended between two databases, once it is so old
)

// Start begins to look for what is due. Starting twice is no error.
func (r *Runner) Start(ctx context.Context) {
	r.group.Start(ctx, r.every("daily clean-up", r.daily), r.every("clean-up after backups", r.afterBackups))
}

// Stop ends it and waits for it. What it leaves is taken up by another controller, or by this one when it starts again.
func (r *Runner) Stop() { r.group.Stop() }

func (r *Runner) every(what string, step func(context.Context) error) func(context.Context) {
	return func(ctx context.Context) { background.Every(ctx, r.opt.Tick, nil, r.log, what, step) }
}

// daily runs the newest clean-up that is due, if nobody has yet. Those before it, of a time in which no controller was up, are made up
// for by it; a new installation, or one whose time was changed, waits for its first.
func (r *Runner) daily(ctx context.Context) error {
	settings, since, err := r.opt.Store.CleanupSettings(ctx)
	if err != nil {
		return err
	}
	calendar, err := settings.Calendar()
	if err != nil {
		if err.Error() != r.lastProblem { // not UTC instead: it would run at another time than people think
			r.log.Error("there is no daily clean-up: its time zone is not known; set another one in the settings", "timezone", settings.Timezone, "err", err)
		}
		r.lastProblem = err.Error()
		return nil
	}
	r.lastProblem = ""
	now, err := r.opt.Now(ctx)
	if err != nil {
		return err
	}
	at := calendar.Prev(now)
	if since.IsZero() || !at.After(since) || at.Equal(r.lastDaily) {
		return nil
	}
	claim, done, err := r.opt.Store.ClaimDaily(ctx, at)
	if err != nil {
		return err
	}
	if done {
		r.lastDaily = at
	}
	if claim.ID == 0 {
		return nil
	}
	r.log.Info("daily clean-up begins", "at", at)
	_, err = r.clean(ctx, actor, controller.CleanupRequest{Grace: r.opt.Grace}, &claim)
	if errors.Is(err, ErrClaimLost) {
		return nil
	}
	if err == nil {
		r.lastDaily = at
	}
	return err
}

// afterBackups applies the retention of schedules that have a new backup.
func (r *Runner) afterBackups(ctx context.Context) error {
	for {
		due, err := r.opt.Store.DueCleanups(ctx, schedulesAtOnce)
		if err != nil {
			return err
		}
		for _, claim := range due {
			res, err := r.clean(ctx, actor, controller.CleanupRequest{Schedule: claim.ID, Grace: r.opt.Grace}, nil)
			if err == nil && res.Failed == 0 {
				err = r.opt.Store.CleanupDone(ctx, claim)
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				r.log.Warn("clean up after a backup; it is tried again", "schedule_id", claim.ID, "err", err)
			}
		}
		if len(due) < schedulesAtOnce {
			return nil
		}
	}
}

// Clean makes the plan of what the actor sees and, unless it is a dry run, carries it out. What could not be removed is in the result;
// an error means that it did not come to its end, and that it may be repeated.
func (r *Runner) Clean(ctx context.Context, actor controller.Actor, req controller.CleanupRequest) (controller.CleanupResult, error) {
	if req.Grace < 0 {
		req.Grace = r.opt.Grace
	}
	if req.DryRun {
		return r.clean(ctx, actor, req, nil)
	}
	claim, err := r.opt.Store.StartCleanup(ctx, actor, req)
	if err != nil {
		return controller.CleanupResult{}, err
	}
	return r.clean(ctx, actor, req, &claim)
}

// clean goes through the databases one by one. With a claim, it is extended and closed.
func (r *Runner) clean(ctx context.Context, actor controller.Actor, req controller.CleanupRequest, claim *Claim) (controller.CleanupResult, error) {
	began := time.Now()
	s := newSummary(req.DryRun)
	extended, reported := began, controller.CleanupResult{}
	now, err := r.opt.Now(ctx)
	if err != nil {
		return s.result(), err
	}
	after := int64(0)
	for {
		databases, err := r.opt.Store.CleanupDatabases(ctx, actor, req, after, databasesAtOnce)
		if err != nil {
			return s.result(), err
		}
		for _, database := range databases {
			if err := r.cleanDatabase(ctx, actor, database, req, now, s); err != nil {
				return s.result(), err
			}
			if claim != nil && time.Since(extended) > extendAfter {
				if *claim, err = r.opt.Store.ExtendCleanup(ctx, *claim, s.since(reported)); err != nil {
					return s.result(), err
				}
				extended, reported = time.Now(), s.totals
			}
			after = database
		}
		if len(databases) < databasesAtOnce {
			break
		}
	}
	if claim != nil {
		if err := r.opt.Store.EndCleanup(ctx, *claim, s.since(reported), s.problem); err != nil {
			return s.result(), err
		}
	}
	if t := s.totals; !req.DryRun && (claim != nil || t.Removed+t.Failed > 0) {
		level := hclog.Info
		if t.Failed > 0 {
			level = hclog.Error
		}
		r.log.Log(level, "clean-up done", "by", actor.Name, "project", req.Project, "schedule_id", req.Schedule, "kept", t.Kept, "later", t.Postponed,
			"removed", t.Removed, "bytes", t.RemovedBytes, "failed", t.Failed, "duration", time.Since(began).Round(time.Millisecond).String())
	}
	return s.result(), nil
}

// cleanDatabase adds what became of one database to s. What goes wrong with it must not keep the others from being cleaned up; an
// error means that nothing can be done now.
func (r *Runner) cleanDatabase(ctx context.Context, actor controller.Actor, database int64, req controller.CleanupRequest, now time.Time, s *summary) error {
	items, err := r.opt.Store.CleanDatabase(ctx, actor, database, req, now)
	if err == nil {
		for _, item := range items {
			s.add(item)
		}
		return nil
	}
	if ctx.Err() != nil || controller.ErrorCode(err) != controller.EInternal {
		return err
	}
	r.log.Error("clean up a database", "database_id", database, "err", err)
	plan := req
	plan.DryRun = true
	items, planErr := r.opt.Store.CleanDatabase(ctx, actor, database, plan, now)
	if planErr != nil {
		r.log.Error("plan the clean-up of a database", "database_id", database, "err", planErr)
		s.fail(database)
	}
	for _, item := range items {
		if item.Action == Remove {
			item.Error = "an internal error; the controller's log has it"
		}
		s.add(item)
	}
	return nil
}
