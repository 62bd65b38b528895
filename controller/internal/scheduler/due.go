package scheduler

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"devflowbackup/controller"
)

// RunDue takes up every schedule that is due now. What goes wrong with one of them is logged, and leaves it due; the others go on.
func (s *Scheduler) RunDue(ctx context.Context) error {
	for {
		now, err := s.opt.Now(ctx)
		if err != nil {
			return fmt.Errorf("read the clock: %w", err)
		}
		due, err := s.opt.Store.DueSchedules(ctx, now, s.opt.Batch)
		if err != nil {
			return fmt.Errorf("list due schedules: %w", err)
		}
		if s.takeAll(ctx, now, due) > 0 {
			s.opt.Kick()
		}
		if len(due) < s.opt.Batch {
			return nil
		}
	}
}

// takeAll works on schedules, several at once, and returns how many backups were ordered.
func (s *Scheduler) takeAll(ctx context.Context, now time.Time, due []controller.DueSchedule) int64 {
	var wg sync.WaitGroup
	var ordered atomic.Int64
	next := make(chan controller.DueSchedule)
	for range min(s.opt.Workers, len(due)) {
		wg.Go(func() {
			for d := range next {
				n, err := s.take(ctx, now, d)
				ordered.Add(int64(n))
				if err != nil && ctx.Err() == nil {
					s.log.Error("run schedule", "schedule_id", d.ID, "project", d.Project, "err", err)
				}
			}
		})
	}
	for _, d := range due {
		if ctx.Err() != nil {
			break
		}
		next <- d
	}
	close(next)
	wg.Wait()
	return ordered.Load()
}

// take records the occurrences of one schedule up to now, page by page, and runs the newest. It returns how many backups were ordered.
func (s *Scheduler) take(ctx context.Context, now time.Time, d controller.DueSchedule) (int, error) {
	calendar, err := s.calendar(d, s.opt.Zone)
	if err != nil {
		return 0, s.problem(ctx, d, err)
	}
	// What was planned under an older time zone database is planned anew before it is run.
	if moved, err := s.replanOne(ctx, d, calendar); moved || err != nil {
		return 0, err
	}
	agenda := d.AgendaOf(calendar)
	ordered := 0
	for until := d.RecordedUntil; ; {
		tick, more := nextTick(agenda, d.ID, until, now)
		res, err := s.opt.Store.RecordTick(ctx, tick)
		if err != nil {
			return ordered, fmt.Errorf("record occurrences: %w", err)
		}
		if res.Stale {
			s.log.Debug("schedule was taken up by another controller or changed", "schedule_id", d.ID)
			return ordered, nil
		}
		ordered += res.Run
		s.tell(d, tick, res)
		if !more {
			return ordered, nil
		}
		until = tick.Until
	}
}

// nextTick is what is to be recorded after until, at most a page of missed occurrences, and whether more is left then.
func nextTick(a *controller.Agenda, id int64, until, now time.Time) (tick controller.Tick, more bool) {
	tick = controller.Tick{ScheduleID: id, RecordedUntil: until, Now: now, Until: until}
	c := a.CatchUp(until, now)
	if c.Newest.IsZero() { // nothing has occurred: the clock was set back
		tick.Next = a.Due(until)
		return tick, false
	}
	if c.Run != nil {
		tick.MissedCode, tick.MissedReason = controller.MissedDowntime, "it was not taken up in time; the one of "+utc(c.Newest)+" is taken up instead"
	} else {
		tick.MissedCode, tick.MissedReason = controller.MissedTooLate, "it was not taken up in time, and is older than the schedule's catch-up allows"
	}
	for at := range c.Missed(time.Time{}) {
		if len(tick.Missed) == controller.MissedPage {
			tick.Until = tick.Missed[len(tick.Missed)-1]
			tick.Next = controller.Occurrence{At: at, Due: now}
			return tick, true
		}
		tick.Missed = append(tick.Missed, at)
	}
	tick.Run, tick.Late = c.Run, c.Late
	tick.Until, tick.Next = c.Newest, a.Due(c.Newest)
	return tick, false
}

// tell logs what was done.
func (s *Scheduler) tell(d controller.DueSchedule, tick controller.Tick, res controller.TickResult) {
	if len(tick.Missed) > 0 {
		s.log.Warn("occurrences missed", "schedule_id", d.ID, "project", d.Project, "count", len(tick.Missed), "oldest", utc(tick.Missed[0]),
			"newest", utc(tick.Missed[len(tick.Missed)-1]), "reason", tick.MissedCode)
	}
	if tick.Run == nil {
		return
	}
	args := []any{
		"schedule_id", d.ID, "project", d.Project, "occurrence", utc(tick.Run.At), "late", tick.Late, "run", res.Run, "skipped", res.Skipped,
		"missed", res.Missed - len(tick.Missed),
	}
	if res.Skipped == 0 && res.Missed == len(tick.Missed) {
		s.log.Info("schedule ran", args...)
		return
	}
	s.log.Warn("schedule ran in part or not at all", args...)
}

func utc(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05") + " UTC" }
