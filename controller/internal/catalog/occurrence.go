package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"devflowbackup/controller"
	"devflowbackup/shared/failpoint"
)

const dueTime = 30 * time.Second // of a schedule that is due, for the controller that takes it up

// DueSchedules takes up to limit schedules whose next occurrence is due at now, those due longest first. Each is claimed for 30 seconds
// on the same clock: no other controller gets it meanwhile. The claim only saves work; what is recorded is fenced by RecordedUntil.
func (c *Catalog) DueSchedules(ctx context.Context, now time.Time, limit int) ([]controller.DueSchedule, error) {
	var out []controller.DueSchedule
	err := c.system(ctx, func(t *tx) error {
		out = nil
		var ids []int64
		// A claim that ends later than any can was made before the clock was set back: it does not hold.
		err := t.scan(ctx, &ids, `UPDATE backup_schedules SET claim_until = ? WHERE id IN (`+dueQuery+` FOR NO KEY UPDATE SKIP LOCKED) RETURNING id`,
			now.Add(dueTime), now, now, now.Add(dueTime), max(limit, 0))
		if err != nil || len(ids) == 0 {
			return err
		}
		return t.scan(ctx, &out, "SELECT "+scheduleColumns+", c.recorded_until FROM "+scheduleTables+" WHERE c.id = ANY (?) ORDER BY c.next_run_at, c.id", idArray(ids))
	})
	return out, err
}

// dueQuery reads the index of due schedules from its start: it costs the same whatever the number of schedules.
const dueQuery = `SELECT id FROM backup_schedules WHERE is_active AND deleted_at IS NULL AND next_run_at IS NOT NULL AND next_run_at <= ?
	AND (claim_until <= ? OR claim_until > ?) ORDER BY next_run_at LIMIT ?`

// ActiveSchedules lists the active schedules of all projects by id, also those that have a problem, for planning them anew.
func (c *Catalog) ActiveSchedules(ctx context.Context, afterID int64, limit int) ([]controller.DueSchedule, error) {
	var out []controller.DueSchedule
	err := c.system(ctx, func(t *tx) error {
		out = nil
		return t.scan(ctx, &out, "SELECT "+scheduleColumns+", c.recorded_until, c.interval_seconds FROM "+scheduleTables+` WHERE c.is_active AND c.deleted_at IS NULL AND c.id > ?
			ORDER BY c.id LIMIT ?`, afterID, max(limit, 0))
	})
	return out, err
}

// ScheduleProblem records why a schedule cannot occur; it is not due until it is planned again. It tells whether that is new. The
// fence is RecordTick's.
func (c *Catalog) ScheduleProblem(ctx context.Context, id int64, recordedUntil time.Time, problem string) (bool, error) {
	var n int64
	err := c.system(ctx, func(t *tx) (err error) {
		n, err = t.exec(ctx, `UPDATE backup_schedules SET problem = ?, next_at = NULL, next_run_at = NULL, claim_until = '-infinity'
			WHERE id = ? AND recorded_until = ? AND is_active AND deleted_at IS NULL AND (problem <> ? OR next_run_at IS NOT NULL)`,
			cut(problem, 500), id, recordedUntil, cut(problem, 500))
		return err
	})
	return n > 0, err
}

// RecordInterval records the longest time between two of a schedule's occurrences.
func (c *Catalog) RecordInterval(ctx context.Context, id int64, interval time.Duration) error {
	seconds := int64(interval / time.Second)
	return c.system(ctx, func(t *tx) error {
		_, err := t.exec(ctx, "UPDATE backup_schedules SET interval_seconds = ? WHERE id = ? AND interval_seconds IS DISTINCT FROM ?", seconds, id, seconds)
		return err
	})
}

// RecordTick records what became of a schedule's occurrences and orders the backups, in one transaction. A tick that does not start
// from what is recorded, or whose schedule was deactivated or deleted, is stale and changes nothing.
func (c *Catalog) RecordTick(ctx context.Context, tick controller.Tick) (controller.TickResult, error) {
	var res controller.TickResult
	err := c.system(ctx, func(t *tx) error {
		res = controller.TickResult{}
		s, err := t.lockSchedule(ctx, tick.ScheduleID)
		if controller.ErrorCode(err) == controller.ENotFound || err == nil && (!s.IsActive || !s.RecordedUntil.Equal(tick.RecordedUntil)) {
			res.Stale = true
			return nil
		}
		if err != nil {
			return err
		}
		if err := t.recordMissed(ctx, s.Schedule, tick.Missed, tick.MissedCode, tick.MissedReason); err != nil {
			return err
		}
		res.Missed += len(tick.Missed)
		var ran *time.Time
		if tick.Run != nil {
			before := res.Run
			if err := t.runOccurrence(ctx, s.Schedule, tick, &res); err != nil {
				return err
			}
			if res.Run > before {
				ran = &tick.Run.At
			}
		}
		_, err = t.exec(ctx, `UPDATE backup_schedules SET recorded_until = ?, next_at = ?, next_run_at = ?, last_run_at = coalesce(?, last_run_at), problem = '', claim_until = '-infinity'
			WHERE id = ?`, tick.Until, tick.Next.At, tick.Next.Due, ran, s.ID)
		failpoint.Hit("controller.before_tick_commit")
		return err
	})
	if err == nil {
		failpoint.Hit("controller.after_tick_commit")
	}
	return res, err
}

// recordMissed records occurrences of which nothing was run. One that has a record keeps it.
func (t *tx) recordMissed(ctx context.Context, s controller.Schedule, missed []time.Time, code, reason string) error {
	if len(missed) == 0 {
		return nil
	}
	_, err := t.exec(ctx, `INSERT INTO schedule_occurrences (schedule_id, project_id, at, state, code, reason) SELECT ?, ?, at, 'missed', ?, ? FROM unnest(?) at
		ON CONFLICT DO NOTHING`, s.ID, s.ProjectID, code, cut(reason, 500), timeArray(missed))
	return err
}

// outcome is what becomes of one database in an occurrence.
type outcome struct {
	database            int64
	state, code, reason string
	backup              *int64
}

func missed(d scheduledDatabase, code, format string, args ...any) outcome {
	return outcome{database: d.ID, state: controller.OccurrenceMissed, code: code, reason: fmt.Sprintf(format, args...)}
}

// runOccurrence orders the backups of an occurrence and records it. One that has a record already is left alone.
func (t *tx) runOccurrence(ctx context.Context, s controller.Schedule, tick controller.Tick, res *controller.TickResult) error {
	at := tick.Run.At
	var recorded bool
	if err := t.scan(ctx, &recorded, "SELECT EXISTS (SELECT FROM schedule_occurrences WHERE schedule_id = ? AND at = ?)", s.ID, at); err != nil || recorded {
		return err
	}
	now := tick.Now
	if now.IsZero() {
		var err error
		if now, err = t.now(ctx); err != nil {
			return err
		}
	}
	var late *time.Time
	if tick.Late {
		late = &at
	}
	pauses, err := t.pausing(ctx, s, now, late)
	if err != nil {
		return err
	}
	databases, err := t.covered(ctx, s)
	if err != nil {
		return err
	}
	order := scheduleOrder(s, controller.TypeScheduled)
	order.occurrence, order.notBefore = &at, &tick.Run.Due
	order.deadline = tick.Run.Due.Add(controller.DefaultDeadline)
	if s.CatchUpSeconds != nil && *s.CatchUpSeconds > 0 {
		order.deadline = tick.Run.Due.Add(time.Duration(*s.CatchUpSeconds) * time.Second)
	}
	outcomes := make([]outcome, 0, len(databases))
	for _, d := range databases {
		o, err := t.runScheduled(ctx, s, order, d, pauses)
		if err != nil {
			return err
		}
		switch o.state {
		case controller.OccurrenceRun:
			res.Run++
		case controller.OccurrenceSkipped:
			res.Skipped++
		default:
			res.Missed++
		}
		outcomes = append(outcomes, o)
	}
	whole := wholeOutcome(s, outcomes, pauses)
	if len(outcomes) == 0 {
		res.Missed++
	}
	_, err = t.exec(ctx, "INSERT INTO schedule_occurrences (schedule_id, at, project_id, state, code, reason, late) VALUES (?, ?, ?, ?, ?, ?, ?)",
		s.ID, at, s.ProjectID, whole.state, whole.code, cut(whole.reason, 2000), tick.Late && whole.state == controller.OccurrenceRun)
	if err != nil {
		return err
	}
	for _, o := range outcomes {
		_, err := t.exec(ctx, "INSERT INTO occurrence_databases (schedule_id, at, database_id, project_id, state, code, reason, backup_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
			s.ID, at, o.database, s.ProjectID, o.state, o.code, cut(o.reason, 500), o.backup)
		if err != nil {
			return err
		}
	}
	return nil
}

// runScheduled orders the backup of one database, or says why not.
func (t *tx) runScheduled(ctx context.Context, s controller.Schedule, order backupOrder, d scheduledDatabase, pauses []controller.Pause) (outcome, error) {
	switch p := pausedBy(pauses, d.ServerID); {
	case p != nil:
		return missed(d, controller.MissedPaused, "%s", pauseReason(*p)), nil
	case d.Revoked:
		return missed(d, controller.MissedRevoked, "server %q is revoked", d.Server), nil
	case d.ProjectID == nil || *d.ProjectID != s.ProjectID:
		return missed(d, controller.MissedDatabase, "database %q on server %q is no longer assigned to project %q", d.Name, d.Server, s.Project), nil
	case d.MissingSince != nil:
		return missed(d, controller.MissedDatabase, "the agent on %s no longer finds database %q, since %s", d.Server, d.Name, utc(*d.MissingSince)), nil
	}
	open, err := t.openBackup(ctx, d.ID)
	if err != nil {
		return outcome{}, err
	}
	if open != nil && open.Status == controller.StatusPending && !d.Online {
		since := "never connected"
		if d.HeardAt != nil {
			since = "offline since " + utc(*d.HeardAt)
		}
		return missed(d, controller.MissedOffline, "backup %d of %q still waits for the agent on %s, %s", open.ID, d.Name, d.Server, since), nil
	}
	if open != nil {
		return outcome{
			database: d.ID, state: controller.OccurrenceSkipped, code: controller.SkippedOverlap,
			reason: fmt.Sprintf("backup %d of %q is still %s, since %s", open.ID, d.Name, open.Status, utc(open.Since)),
		}, nil
	}
	id, err := t.insertBackup(ctx, controller.Actor{Name: scheduleName(s.ID)}, order, d.Database)
	var refused *controller.Error
	switch {
	case errors.As(err, &refused) && refused.Code == controller.EQuota:
		return missed(d, controller.MissedQuota, "%s", refused.Error()), nil
	case errors.As(err, &refused):
		return missed(d, controller.MissedRefused, "%s", refused.Error()), nil
	case err != nil:
		return outcome{}, err
	}
	return outcome{database: d.ID, state: controller.OccurrenceRun, backup: &id}, nil
}

// wholeOutcome is what became of an occurrence: run if any database was, else skipped if any was, else missed. What kept databases from
// being backed up is told in all cases.
func wholeOutcome(s controller.Schedule, outcomes []outcome, pauses []controller.Pause) outcome {
	whole := outcome{state: controller.OccurrenceMissed}
	if len(outcomes) == 0 {
		if p := pausedBy(pauses, 0); p != nil {
			whole.code, whole.reason = controller.MissedPaused, pauseReason(*p)
			return whole
		}
		whole.code, whole.reason = controller.MissedNothing, fmt.Sprintf("the schedule covers no database of project %q", s.Project)
		return whole
	}
	var told []string
	not := 0
	for _, o := range outcomes {
		switch {
		case o.state == controller.OccurrenceRun:
			whole.state = controller.OccurrenceRun
			continue
		case o.state == controller.OccurrenceSkipped && whole.state != controller.OccurrenceRun:
			whole.state = controller.OccurrenceSkipped
		}
		not++
		if whole.code == "" || o.state == controller.OccurrenceSkipped {
			whole.code = o.code
		}
		if len(told) < 5 {
			told = append(told, o.reason)
		}
	}
	whole.reason = strings.Join(told, "; ")
	if len(outcomes) > 1 && not > 0 {
		whole.reason = fmt.Sprintf("%d of %d databases: %s", not, len(outcomes), whole.reason)
		if not > len(told) {
			whole.reason += fmt.Sprintf("; and %d more", not-len(told))
		}
	}
	return whole
}

// timeArray is a timestamptz[].
func timeArray(times []time.Time) bun.Safe {
	quoted := make([]string, len(times))
	for i, at := range times {
		quoted[i] = "'" + at.UTC().Format("2006-01-02 15:04:05.999999") + "+00'"
	}
	return bun.Safe("ARRAY[" + strings.Join(quoted, ",") + "]::timestamptz[]")
}

// Occurrences are the records of a schedule with what became of each database, newest first: those before an instant, or from the
// newest on. Those of a schedule that was deleted can still be read.
func (c *Catalog) Occurrences(ctx context.Context, actor controller.Actor, schedule int64, before time.Time, limit int) ([]controller.ScheduleOccurrence, error) {
	var out []controller.ScheduleOccurrence
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		out = []controller.ScheduleOccurrence{}
		var seen bool
		if err := t.scan(ctx, &seen, "SELECT EXISTS (SELECT FROM backup_schedules WHERE id = ? AND ?)", schedule, t.sees("project_id")); err != nil {
			return err
		}
		if !seen {
			return controller.Errorf(controller.ENotFound, "schedule %d does not exist", schedule).WithHint("`devflowctl schedule list` shows the schedules")
		}
		var from *time.Time
		if !before.IsZero() {
			from = &before
		}
		err := t.scan(ctx, &out, `SELECT schedule_id, at, state, code, reason, late, recorded_at FROM schedule_occurrences
			WHERE schedule_id = ? AND (?::timestamptz IS NULL OR at < ?::timestamptz) ORDER BY at DESC LIMIT ?`, schedule, from, from, page(limit))
		if err != nil || len(out) == 0 {
			return err
		}
		byTime := make(map[int64]*controller.ScheduleOccurrence, len(out))
		for i := range out {
			out[i].Databases = []controller.OccurrenceDatabase{}
			byTime[out[i].At.UnixMicro()] = &out[i]
		}
		var items []struct {
			At time.Time
			controller.OccurrenceDatabase
		}
		err = t.elevated(ctx, func() error { // a database may be another project's by now: its name is told as it was
			return t.scan(ctx, &items, `SELECT o.at, o.database_id, coalesce(b.database_name, d.name) AS database_name, s.name AS server, o.state, o.code, o.reason, o.backup_id,
					coalesce(b.status, '') AS status
				FROM occurrence_databases o JOIN databases d ON d.id = o.database_id JOIN servers s ON s.id = d.server_id LEFT JOIN database_backups b ON b.id = o.backup_id
				WHERE o.schedule_id = ? AND o.at BETWEEN ? AND ? ORDER BY o.at DESC, s.name, d.instance, d.name, d.id`, schedule, out[len(out)-1].At, out[0].At)
		})
		for _, item := range items {
			if o := byTime[item.At.UnixMicro()]; o != nil {
				o.Databases = append(o.Databases, item.OccurrenceDatabase)
			}
		}
		return err
	})
	return out, err
}
