package scheduler

import (
	"context"
	"fmt"
	"time"

	"devflowbackup/controller"
)

const replanPage = 500

// Replan plans all active schedules anew: an update of the time zone database may have moved them, removed a zone or brought it back.
// What moved is logged. A schedule whose zone is not known does not occur; it never falls back to another zone.
func (s *Scheduler) Replan(ctx context.Context) error {
	zone := cached(s.opt.Zone)
	now, err := s.opt.Now(ctx)
	if err != nil {
		return fmt.Errorf("read the clock: %w", err)
	}
	gaps := map[string]time.Duration{}
	for after := int64(0); ; {
		page, err := s.opt.Store.ActiveSchedules(ctx, after, replanPage)
		if err != nil {
			return fmt.Errorf("list active schedules: %w", err)
		}
		for _, d := range page {
			after = d.ID
			calendar, err := s.calendar(d, zone)
			if err != nil {
				err = s.problem(ctx, d, err)
			} else {
				_, err = s.replanOne(ctx, d, calendar)
				if err == nil {
					err = s.interval(ctx, d, calendar, now, gaps)
				}
			}
			if err != nil {
				return err
			}
		}
		if len(page) < replanPage {
			return nil
		}
	}
}

// calendar is a schedule's calendar in its zone, as this machine knows it now.
func (s *Scheduler) calendar(d controller.DueSchedule, zone func(string) (*time.Location, error)) (*controller.Calendar, error) {
	z, err := zone(d.Timezone)
	if err != nil {
		return nil, err
	}
	return d.CalendarIn(z)
}

// interval writes how far apart a schedule's occurrences may lie, where that is not known or is no longer so. known has the answers for
// timings that were asked before.
func (s *Scheduler) interval(ctx context.Context, d controller.DueSchedule, calendar *controller.Calendar, now time.Time, known map[string]time.Duration) error {
	gap, found := known[d.Key()]
	if !found {
		gap = calendar.LongestGap(now)
		known[d.Key()] = gap
	}
	if d.IntervalSeconds != nil && *d.IntervalSeconds == int64(gap/time.Second) {
		return nil
	}
	if err := s.opt.Store.RecordInterval(ctx, d.ID, gap); err != nil {
		return fmt.Errorf("record the interval of schedule %d: %w", d.ID, err)
	}
	return nil
}

// replanOne writes when a schedule occurs next where that is not what was planned, and tells whether it was written or found to have
// been changed meanwhile.
func (s *Scheduler) replanOne(ctx context.Context, d controller.DueSchedule, calendar *controller.Calendar) (moved bool, err error) {
	agenda := d.AgendaOf(calendar)
	tick := controller.Tick{ScheduleID: d.ID, RecordedUntil: d.RecordedUntil, Until: d.RecordedUntil}
	if d.NextOccurrence == nil { // it had a problem
		tick.Next = agenda.Due(d.RecordedUntil)
	} else {
		next, moved := calendar.Replan(d.RecordedUntil, *d.NextOccurrence)
		if !moved {
			return false, nil
		}
		tick.Next = agenda.Occurrence(next)
		if skipped := calendar.Prev(next.Add(-time.Second)); skipped.After(tick.Until) {
			tick.Until = skipped // it lies on a date that the schedule has had already
		}
	}
	res, err := s.opt.Store.RecordTick(ctx, tick)
	if err != nil {
		return false, fmt.Errorf("plan schedule %d anew: %w", d.ID, err)
	}
	if !res.Stale {
		was := "none"
		if d.NextOccurrence != nil {
			was = utc(*d.NextOccurrence)
		}
		s.log.Warn("schedule planned anew", "schedule_id", d.ID, "project", d.Project, "timezone", d.Timezone, "was", was, "next", utc(tick.Next.At), "problem", d.Problem)
	}
	return true, nil
}

// problem records that a schedule cannot occur.
func (s *Scheduler) problem(ctx context.Context, d controller.DueSchedule, why error) error {
	changed, err := s.opt.Store.ScheduleProblem(ctx, d.ID, d.RecordedUntil, why.Error())
	if err != nil {
		return fmt.Errorf("record the problem of schedule %d: %w", d.ID, err)
	}
	if changed {
		s.log.Error("schedule cannot occur", "schedule_id", d.ID, "project", d.Project, "label", d.Label(), "err", why)
	}
	return nil
}

// cached asks for each zone once.
func cached(zone func(string) (*time.Location, error)) func(string) (*time.Location, error) {
	type answer struct {
		zone *time.Location
		err  error
	}
	known := make(map[string]answer)
	return func(name string) (*time.Location, error) {
		a, found := known[name]
		if !found {
			a.zone, a.err = zone(name)
			known[name] = a
		}
		return a.zone, a.err
	}
}
