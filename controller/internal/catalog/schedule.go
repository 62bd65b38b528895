package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/retention"
	"devflowbackup/shared/secret"
)

// scheduleColumns of backup_schedules c, with the pause that holds it back longest.
const scheduleColumns = `c.id, c.project_id, p.slug AS project, c.scope, c.database_id, c.server_id, coalesce(s.name, '') AS server, c.instance, c.database_type, c.database_name, c.pattern,
	c.frequency, c."time", c.day_of_week, c.day_of_month, c.cron, c.timezone, c.spread_seconds, c.catch_up_seconds, c.max_duration_seconds,
	c.storage_id, coalesce(st.name, '') AS storage, c.storage_disk, c.encryption, c.encrypt, c.compression, c.level, c.verify_after,
	c.retention_days AS days, c.retention_hourly AS hourly, c.retention_daily AS daily, c.retention_weekly AS weekly, c.retention_monthly AS monthly,
	c.notify_on_failure, c.is_active, c.problem, coalesce(pause.reason, '') AS paused_reason, pause.until AS paused_until, c.ping_hint,
	(SELECT max((e->>'effective_at')::timestamptz) FROM jsonb_array_elements(c.retention_changes) e WHERE (e->>'effective_at')::timestamptz > now()) AS shorter_at,
	c.next_at AS next_occurrence, c.last_run_at, c.next_run_at, c.created_at, c.updated_at`

const scheduleTables = `backup_schedules c JOIN projects p ON p.id = c.project_id AND p.deleted_at IS NULL LEFT JOIN servers s ON s.id = c.server_id LEFT JOIN storages st ON st.id = c.storage_id
	LEFT JOIN LATERAL (SELECT q.reason, q.until FROM pauses q WHERE ` + pauseOpen + ` AND (q.scope = 'everything' OR q.project_id = c.project_id AND q.scope = 'project'
		OR q.server_id = c.server_id AND q.scope = 'server' OR q.schedule_id = c.id AND q.scope = 'schedule') ORDER BY q.until DESC NULLS FIRST, q.id LIMIT 1) pause ON true`

// schedule reads one schedule that the scope sees and that was not deleted.
func (t *tx) schedule(ctx context.Context, id int64) (controller.Schedule, error) {
	var s controller.Schedule
	found, err := t.find(ctx, &s, "SELECT "+scheduleColumns+" FROM "+scheduleTables+" WHERE c.id = ? AND c.deleted_at IS NULL AND ?", id, t.sees("c.project_id"))
	if err == nil && !found {
		err = controller.Errorf(controller.ENotFound, "schedule %d does not exist", id).WithHint("`devflowctl schedule list` shows the schedules")
	}
	return s, err
}

// lockSchedule is schedule with its row locked: no occurrence of it is recorded meanwhile. Rows are locked in the order of schedule,
// databases, backups.
func (t *tx) lockSchedule(ctx context.Context, id int64) (controller.DueSchedule, error) {
	var d controller.DueSchedule
	if _, err := t.exec(ctx, "SELECT 1 FROM backup_schedules c WHERE id = ? AND ? FOR NO KEY UPDATE", id, t.sees("c.project_id")); err != nil {
		return d, err
	}
	var err error
	if d.Schedule, err = t.schedule(ctx, id); err != nil {
		return d, err
	}
	return d, t.scan(ctx, &d.RecordedUntil, "SELECT recorded_until FROM backup_schedules WHERE id = ?", id)
}

// Schedules lists schedules by project and id: after a cursor, or a numbered page.
func (c *Catalog) Schedules(ctx context.Context, actor controller.Actor, f controller.ScheduleFilter) ([]controller.Schedule, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	var out []controller.Schedule
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		out = []controller.Schedule{}
		where, err := t.scheduleConditions(ctx, f)
		if err != nil {
			return err
		}
		p := controller.Part{AfterID: f.AfterID, Limit: page(f.Limit), NumberedPage: f.NumberedPage}
		return t.part(ctx, &out, scheduleColumns, scheduleTables, where, "c.project_id, c.id", p)
	})
	return out, err
}

// CountSchedules counts what Schedules lists, whatever the page.
func (c *Catalog) CountSchedules(ctx context.Context, actor controller.Actor, f controller.ScheduleFilter) (controller.Total, error) {
	var n controller.Total
	if err := f.Validate(); err != nil {
		return n, err
	}
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		where, err := t.scheduleConditions(ctx, f)
		if err != nil {
			return err
		}
		n, err = t.count(ctx, "backup_schedules c JOIN projects p ON p.id = c.project_id AND p.deleted_at IS NULL", where)
		return err
	})
	return n, err
}

func (t *tx) scheduleConditions(ctx context.Context, f controller.ScheduleFilter) (conditions, error) {
	var c conditions
	c.add("c.deleted_at IS NULL AND ?", t.sees("c.project_id"))
	if f.Project != "" {
		p, err := t.project(ctx, f.Project)
		if err != nil {
			return c, err
		}
		c.add("c.project_id = ?", p.ID)
	}
	for _, by := range []struct{ column, query, ref string }{{"c.database_id", namedDatabase, f.Database}, {"c.server_id", namedServer, f.Server}} {
		if err := t.named(ctx, &c, by.column, by.query, by.ref); err != nil {
			return c, err
		}
	}
	c.equal("c.database_type", f.Engine)
	c.equal("c.frequency", f.Frequency)
	if f.Active != nil {
		c.add("c.is_active = ?", *f.Active)
	}
	return c, nil
}

// Schedule returns one schedule.
func (c *Catalog) Schedule(ctx context.Context, actor controller.Actor, id int64) (controller.Schedule, error) {
	var s controller.Schedule
	err := c.scoped(ctx, actor.Scope, func(t *tx) (err error) {
		s, err = t.schedule(ctx, id)
		return err
	})
	return s, err
}

// CreateSchedule makes a schedule. It occurs for the first time at its next instant from now on, today where that is today.
func (c *Catalog) CreateSchedule(ctx context.Context, actor controller.Actor, spec controller.ScheduleSpec) (controller.Schedule, error) {
	var s controller.Schedule
	if err := spec.Validate(); err != nil {
		return s, err
	}
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		p, err := t.project(ctx, spec.Project)
		if err != nil {
			return err
		}
		if spec.Scope != controller.ScopeDefault && spec.Storage == "" {
			// One that could not be run as things are is refused now, not at night. A project's default may come before any storage.
			if _, err := t.defaultStorage(ctx, p, spec.StorageDisk); err != nil {
				return err
			}
		}
		s, err = t.createSchedule(ctx, actor, p, spec)
		return err
	})
	return s, err
}

// createSchedule makes a schedule of a spec that is valid.
func (t *tx) createSchedule(ctx context.Context, actor controller.Actor, p controller.Project, spec controller.ScheduleSpec) (controller.Schedule, error) {
	var none controller.Schedule
	if spec.Scope == controller.ScopeDefault {
		var other int64
		found, err := t.find(ctx, &other, "SELECT id FROM backup_schedules WHERE project_id = ? AND scope = 'default' AND deleted_at IS NULL", p.ID)
		if err != nil {
			return none, err
		}
		if found {
			return none, controller.Errorf(controller.EConflict, "project %q has a default schedule already: %d", p.Slug, other).WithHint("change that one, or delete it first")
		}
	}
	var d controller.Database
	if spec.Scope == controller.ScopeDatabase {
		var err error
		if d, err = t.scheduledDatabase(ctx, p, spec.Database); err != nil {
			return none, err
		}
		if spec.DatabaseType != "" && spec.DatabaseType != d.Engine {
			return none, controller.Invalid("database_type", "database %q is %s, not %s", d.Name, d.Engine, spec.DatabaseType)
		}
		spec.DatabaseType = d.Engine
	}
	storage, err := t.scheduleStorage(ctx, p, spec.Storage, spec.StorageDisk)
	if err != nil {
		return none, err
	}
	r := spec.Retention()
	var row struct {
		ID            int64
		RecordedUntil time.Time
	}
	err = t.scan(ctx, &row, `INSERT INTO backup_schedules (project_id, scope, server_id, database_id, instance, database_type, database_name, pattern,
			frequency, "time", day_of_week, day_of_month, cron, timezone, spread_seconds, catch_up_seconds, max_duration_seconds,
			storage_id, storage_disk, encryption, encrypt, compression, level, verify_after,
			retention_days, retention_hourly, retention_daily, retention_weekly, retention_monthly, notify_on_failure, is_active, recorded_until, created_by)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, now(), ?) RETURNING id, recorded_until`,
		p.ID, spec.Scope, orNone(d.ServerID), orNone(d.ID), d.Instance, spec.DatabaseType, d.Name, spec.Pattern,
		spec.Frequency, spec.Time, spec.DayOfWeek, spec.DayOfMonth, spec.Cron, spec.Timezone, spec.SpreadSeconds, spec.CatchUpSeconds, spec.MaxDurationSeconds,
		storage, spec.StorageDisk, spec.Encryption, spec.Encrypt, spec.Compression, spec.Level, spec.VerifyAfter,
		r.Days, r.Hourly, r.Daily, r.Weekly, r.Monthly, spec.NotifyOnFailure, spec.IsActive, cut(actor.Name, 200))
	if err != nil {
		return none, taken(err, "a default schedule of project", p.Slug)
	}
	if !spec.PingURL.Empty() {
		if err := t.setPing(ctx, row.ID, spec.PingURL, spec.PingHint); err != nil {
			return none, err
		}
	}
	s, err := t.schedule(ctx, row.ID)
	if err != nil {
		return none, err
	}
	if err := t.plan(ctx, s, row.RecordedUntil); err != nil {
		return none, err
	}
	detail := map[string]any{"scope": s.Scope, "label": s.Label(), "retention": s.Text()}
	if s.Scope == controller.ScopeDatabase {
		detail["database"], detail["server"] = s.DatabaseName, s.Server
	}
	if s.Pattern != "" {
		detail["pattern"] = s.Pattern
	}
	if err := t.audit(ctx, actor, "schedule.create", &p.ID, itoa(s.ID), detail); err != nil {
		return none, err
	}
	return t.schedule(ctx, s.ID)
}

// scheduledDatabase is the database that a schedule names: one that is assigned to its project.
func (t *tx) scheduledDatabase(ctx context.Context, p controller.Project, ref controller.DatabaseRef) (controller.Database, error) {
	var none controller.Database
	server := int64(0)
	if ref.Server != "" {
		s, err := t.server(ctx, ref.Server)
		if err != nil {
			return none, err
		}
		server = s.ID
	}
	var found []controller.Database
	err := t.scan(ctx, &found, `SELECT `+databaseColumns+` FROM `+databaseTables+` WHERE d.project_id = ? AND (? = 0 OR d.id = ?) AND (? = '' OR d.name = ?)
		AND (? = 0 OR d.server_id = ?) AND (? = '' OR d.instance = ?) ORDER BY s.name, d.instance, d.id LIMIT 20`,
		p.ID, ref.ID, ref.ID, ref.Name, ref.Name, server, server, ref.Instance, ref.Instance)
	switch {
	case err != nil:
		return none, err
	case len(found) > 1:
		return none, ambiguous(ref.Name, found)
	case len(found) == 1:
		return found[0], nil
	}
	name := ref.Name
	if name == "" {
		name = itoa(ref.ID)
	}
	return none, t.unknownDatabase(ctx, controller.BackupRequest{Database: name, Server: ref.Server, Instance: ref.Instance}, &p)
}

// scheduleStorage resolves the storage that a schedule names; nil where it names none.
func (t *tx) scheduleStorage(ctx context.Context, p controller.Project, ref, disk string) (*int64, error) {
	if ref == "" {
		return nil, nil
	}
	st, err := t.storageFor(ctx, p.ID, ref)
	if err == nil && disk != "" && st.Kind != disk {
		err = controller.Invalid("storage_disk", "storage %q is %s, not %s", st.Name, st.Kind, disk)
	}
	return &st.ID, err
}

// plan writes when a schedule occurs next, after what is recorded of it.
func (t *tx) plan(ctx context.Context, s controller.Schedule, recordedUntil time.Time) error {
	if !s.IsActive {
		_, err := t.exec(ctx, "UPDATE backup_schedules SET next_at = NULL, next_run_at = NULL, problem = '' WHERE id = ?", s.ID)
		return err
	}
	a, err := s.Agenda()
	if err != nil {
		return err
	}
	next := a.Due(recordedUntil)
	_, err = t.exec(ctx, "UPDATE backup_schedules SET next_at = ?, next_run_at = ?, problem = '', interval_seconds = ? WHERE id = ?",
		next.At, next.Due, int64(a.LongestGap(recordedUntil)/time.Second), s.ID)
	return err
}

// UpdateSchedule edits a schedule. A changed timing holds from now on, and so does one that was activated: what lies before is not
// made up for. A shorter retention takes effect after controller.RetentionGrace.
func (c *Catalog) UpdateSchedule(ctx context.Context, actor controller.Actor, id int64, change controller.ScheduleChange) (controller.Schedule, error) {
	var s controller.Schedule
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		old, err := t.lockSchedule(ctx, id)
		if err == nil {
			err = controller.Match(ctx, old.Version())
		}
		if err != nil {
			return err
		}
		if change == (controller.ScheduleChange{IsActive: change.IsActive}) && change.IsActive != nil && !*change.IsActive {
			err = t.deactivate(ctx, old, "was deactivated") // also where its zone is no longer known
		} else {
			err = t.updateSchedule(ctx, old, change)
		}
		if err == nil && change.PingURL != nil {
			err = t.setPing(ctx, id, *change.PingURL, change.PingHint)
		}
		if err != nil {
			return err
		}
		if s, err = t.schedule(ctx, id); err != nil {
			return err
		}
		detail := scheduleDetail(old.Schedule, s)
		if change.PingURL != nil {
			detail["ping_hint"] = s.PingHint // also where the host stays, and what follows it does not
		}
		return t.audit(ctx, actor, "schedule.update", &s.ProjectID, itoa(id), detail)
	})
	return s, err
}

func (t *tx) updateSchedule(ctx context.Context, old controller.DueSchedule, change controller.ScheduleChange) error {
	spec := old.Spec(change)
	if err := spec.Validate(); err != nil {
		return err
	}
	storage := old.StorageID
	if change.Storage != nil || change.StorageDisk != nil {
		p, err := t.project(ctx, itoa(old.ProjectID))
		if err != nil {
			return err
		}
		if storage, err = t.scheduleStorage(ctx, p, spec.Storage, spec.StorageDisk); err != nil {
			return err
		}
	}
	now, err := t.now(ctx)
	if err != nil {
		return err
	}
	changes, err := t.policyChanges(ctx, old.Schedule, spec, now)
	if err != nil {
		return err
	}
	r, until := spec.Retention(), old.RecordedUntil
	retimed := !sameTiming(old.Timing, spec.Timing)
	if retimed || *spec.IsActive != old.IsActive {
		if err := t.recordChanged(ctx, old, now, "was changed"); err != nil {
			return err
		}
		if now.After(until) { // a clock that was set back must not have it occur again
			until = now
		}
	}
	_, err = t.exec(ctx, `UPDATE backup_schedules SET frequency = ?, "time" = ?, day_of_week = ?, day_of_month = ?, cron = ?, timezone = ?, spread_seconds = ?, catch_up_seconds = ?,
		max_duration_seconds = ?, storage_id = ?, storage_disk = ?, encryption = ?, encrypt = ?, compression = ?, level = ?, verify_after = ?,
		retention_days = ?, retention_hourly = ?, retention_daily = ?, retention_weekly = ?, retention_monthly = ?, retention_changes = coalesce(?::jsonb, retention_changes),
		notify_on_failure = ?, is_active = ?, recorded_until = ?, activated_at = CASE WHEN ? THEN now() ELSE activated_at END, updated_at = now() WHERE id = ?`,
		spec.Frequency, spec.Time, spec.DayOfWeek, spec.DayOfMonth, spec.Cron, spec.Timezone, spec.SpreadSeconds, spec.CatchUpSeconds,
		spec.MaxDurationSeconds, storage, spec.StorageDisk, spec.Encryption, spec.Encrypt, spec.Compression, spec.Level, spec.VerifyAfter,
		r.Days, r.Hourly, r.Daily, r.Weekly, r.Monthly, changes,
		spec.NotifyOnFailure, spec.IsActive, until, *spec.IsActive && (retimed || !old.IsActive), old.ID)
	if err != nil {
		return err
	}
	s, err := t.schedule(ctx, old.ID)
	if err != nil {
		return err
	}
	return t.plan(ctx, s, until)
}

func pingPurpose(schedule int64) string { return fmt.Sprintf("schedule/%d/ping", schedule) }

// setPing keeps the URL of a schedule's dead-man switch, sealed; an empty one takes it away, and what was still to be sent to it.
func (t *tx) setPing(ctx context.Context, schedule int64, url secret.String, hint string) error {
	var sealed []byte
	if !url.Empty() {
		var err error
		if sealed, err = t.cat.seal(pingPurpose(schedule), []byte(url.Reveal())); err != nil {
			return err
		}
	} else {
		hint = ""
	}
	_, err := t.exec(ctx, "UPDATE backup_schedules SET ping_sealed = ?, ping_hint = ? WHERE id = ?", sealed, cut(hint, 300), schedule)
	if err == nil {
		_, err = t.exec(ctx, "DELETE FROM pings WHERE schedule_id = ?", schedule)
	}
	return err
}

// SchedulePing returns the URL of a schedule's dead-man switch, for the controller itself; empty if it has none or is no longer there.
func (c *Catalog) SchedulePing(ctx context.Context, id int64) (secret.String, error) {
	var row struct{ Sealed []byte }
	err := c.system(ctx, func(t *tx) error {
		_, err := t.find(ctx, &row, "SELECT ping_sealed AS sealed FROM backup_schedules WHERE id = ? AND deleted_at IS NULL", id)
		return err
	})
	if err != nil || row.Sealed == nil {
		return "", err
	}
	plain, err := c.unseal(pingPurpose(id), row.Sealed)
	return secret.String(plain), err
}

// policyChanges is what retention_changes becomes where the retention is changed, nil where it is not.
func (t *tx) policyChanges(ctx context.Context, old controller.Schedule, spec controller.ScheduleSpec, now time.Time) (*string, error) {
	if old.Retention == spec.Retention() && old.Timezone == spec.Timezone {
		return nil, nil
	}
	var kept struct{ Changes json.RawMessage }
	if err := t.scan(ctx, &kept, "SELECT retention_changes AS changes FROM backup_schedules WHERE id = ?", old.ID); err != nil {
		return nil, err
	}
	before := retention.Policy{Retention: old.Retention}
	if err := json.Unmarshal(kept.Changes, &before.Changes); err != nil {
		return nil, fmt.Errorf("read the retention of schedule %d: %w", old.ID, err)
	}
	var err error
	if before.Zone, err = controller.LoadZone(old.Timezone); err != nil {
		before.Zone = time.UTC // what it kept is kept for the grace, in days of some zone that is known
	}
	zone, err := controller.LoadZone(spec.Timezone)
	if err != nil {
		return nil, err
	}
	after := before.Change(spec.Retention(), zone, now, controller.RetentionGrace)
	if after.Changes == nil {
		after.Changes = []retention.PolicyChange{}
	}
	text := jsonText(after.Changes)
	return &text, nil
}

// deactivate stops a schedule from occurring.
func (t *tx) deactivate(ctx context.Context, s controller.DueSchedule, how string) error {
	now, err := t.now(ctx)
	if err != nil {
		return err
	}
	if err := t.recordChanged(ctx, s, now, how); err != nil {
		return err
	}
	_, err = t.exec(ctx, `UPDATE backup_schedules SET is_active = false, next_at = NULL, next_run_at = NULL, problem = '', recorded_until = greatest(recorded_until, ?), updated_at = now()
		WHERE id = ?`, now, s.ID)
	return err
}

// recordChanged records the occurrences that a schedule had until now and that were not taken up, such as for their spread: they
// will not be.
func (t *tx) recordChanged(ctx context.Context, s controller.DueSchedule, now time.Time, how string) error {
	if !s.IsActive || s.Problem != "" {
		return nil
	}
	c, err := s.Calendar()
	if err != nil {
		return nil //nolint:nilerr // a zone that is no longer known has no occurrences
	}
	var missed []time.Time
	record := func() error {
		err := t.recordMissed(ctx, s.Schedule, missed, controller.MissedChanged, "the schedule "+how+" before it was run")
		missed = missed[:0]
		return err
	}
	for at := range c.Occurrences(s.RecordedUntil, now) {
		if missed = append(missed, at); len(missed) == controller.MissedPage {
			if err := record(); err != nil {
				return err
			}
		}
	}
	return record()
}

// scheduleDetail is what the audit log tells of an edit: the new values of what was changed.
func scheduleDetail(old, now controller.Schedule) map[string]any {
	detail := map[string]any{}
	var before, after map[string]any
	for _, s := range []struct {
		of controller.Schedule
		to *map[string]any
	}{{old, &before}, {now, &after}} {
		if b, err := json.Marshal(s.of); err == nil {
			_ = json.Unmarshal(b, s.to)
		}
	}
	for field, value := range after {
		switch field {
		case "updated_at", "next_occurrence", "next_run_at", "last_run_at", "paused_reason", "paused_until", "problem", "storage":
		default:
			if !reflect.DeepEqual(value, before[field]) {
				detail[field] = value
			}
		}
	}
	return detail
}

// DeleteSchedule ends a schedule. Its backups stay: retention keeps what it made until someone deletes it.
func (c *Catalog) DeleteSchedule(ctx context.Context, actor controller.Actor, id int64) error {
	return c.scoped(ctx, actor.Scope, func(t *tx) error {
		s, err := t.lockSchedule(ctx, id)
		if err == nil {
			err = controller.Match(ctx, s.Version())
		}
		if err != nil {
			return err
		}
		if err := t.deactivate(ctx, s, "was deleted"); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "UPDATE backup_schedules SET deleted_at = now(), ping_sealed = NULL, ping_hint = '' WHERE id = ?", id); err != nil {
			return err
		}
		return t.audit(ctx, actor, "schedule.delete", &s.ProjectID, itoa(id), map[string]any{"scope": s.Scope, "label": s.Label(), "database": s.DatabaseName})
	})
}

// endSchedules deactivates the schedules of a project that is being deleted.
func (t *tx) endSchedules(ctx context.Context, project int64) error {
	var ids []int64
	if err := t.scan(ctx, &ids, "SELECT id FROM backup_schedules WHERE project_id = ? AND is_active AND deleted_at IS NULL ORDER BY id FOR NO KEY UPDATE", project); err != nil {
		return err
	}
	for _, id := range ids {
		s, err := t.lockSchedule(ctx, id)
		if err != nil {
			return err
		}
		if err := t.deactivate(ctx, s, "ended with its project"); err != nil {
			return err
		}
	}
	return nil
}

// RunSchedule orders a backup of each database that the schedule covers, now, as the schedule makes them. They count as manual ones;
// no occurrence is used up. Of a schedule of one database, whatever forbids the backup is the error.
func (c *Catalog) RunSchedule(ctx context.Context, actor controller.Actor, id int64) ([]controller.BackupOutcome, error) {
	var out []controller.BackupOutcome
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		out = nil
		s, err := t.schedule(ctx, id)
		if err != nil {
			return err
		}
		covered, err := t.covered(ctx, s)
		if err != nil {
			return err
		}
		order := scheduleOrder(s, controller.TypeManual)
		for _, d := range covered {
			o := controller.BackupOutcome{Database: d.Name, Server: d.Server, Instance: d.Instance}
			switch {
			case d.ProjectID == nil || *d.ProjectID != s.ProjectID:
				err = controller.Errorf(controller.EConflict, "database %q on server %q is no longer assigned to project %q", d.Name, d.Server, s.Project)
			default:
				o.Backup, err = t.createBackup(ctx, actor, order, d.Database)
			}
			var refused *controller.Error
			if errors.As(err, &refused) && s.Scope != controller.ScopeDatabase {
				o.Err, err = refused, nil
			}
			if err != nil {
				return err
			}
			out = append(out, o)
		}
		if len(out) == 0 {
			return controller.Errorf(controller.EConflict, "nothing to back up: schedule %d covers no database", id).
				WithHint("assign databases to project %q, or look at the schedule's pattern and engine", s.Project)
		}
		return t.auditResult(ctx, actor, "schedule.run", &s.ProjectID, itoa(id), map[string]any{"databases": len(out)}, controller.AuditAccepted)
	})
	return out, err
}

// scheduleOrder is how a schedule orders its backups.
func scheduleOrder(s controller.Schedule, kind string) backupOrder {
	return backupOrder{
		BackupRequest: controller.BackupRequest{
			Type: kind, StorageDisk: s.StorageDisk, Encryption: s.Encryption, Encrypt: s.Encrypt, Compression: s.Compression, Level: s.Level, VerifyAfter: s.VerifyAfter,
			MaxDuration: time.Duration(s.MaxDurationSeconds) * time.Second,
		},
		schedule: &s.ID, storage: s.StorageID,
	}
}

func sameTiming(a, b controller.Timing) bool {
	same := samePtr(a.DayOfWeek, b.DayOfWeek) && samePtr(a.DayOfMonth, b.DayOfMonth)
	a.DayOfWeek, a.DayOfMonth, b.DayOfWeek, b.DayOfMonth = nil, nil, nil, nil
	return same && a == b
}

func samePtr[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// orNone is NULL for an id that is not there.
func orNone(id int64) *int64 {
	if id == 0 {
		return nil
	}
	return &id
}

// now is PostgreSQL's clock at the start of the transaction.
func (t *tx) now(ctx context.Context) (time.Time, error) {
	var now time.Time
	err := t.scan(ctx, &now, "SELECT now()")
	return now.UTC(), err
}

// Now is PostgreSQL's clock.
func (c *Catalog) Now(ctx context.Context) (time.Time, error) {
	var now time.Time
	err := c.system(ctx, func(t *tx) error { return t.scan(ctx, &now, "SELECT clock_timestamp()") })
	return now.UTC(), err
}

// covered are the databases that a schedule covers, locked by id, ordered by server, instance and name. The one that a schedule names
// is there also when it is no longer the project's.
func (t *tx) covered(ctx context.Context, s controller.Schedule) ([]scheduledDatabase, error) {
	where, arg := "d.project_id = ?", s.ProjectID
	if s.Scope == controller.ScopeDatabase {
		if s.DatabaseID == nil {
			return nil, nil
		}
		where, arg = "d.id = ?", *s.DatabaseID
	}
	var others []controller.Schedule
	if s.Scope == controller.ScopeDefault {
		err := t.scan(ctx, &others, "SELECT "+scheduleColumns+" FROM "+scheduleTables+" WHERE c.project_id = ? AND c.is_active AND c.deleted_at IS NULL AND c.scope <> 'default'", s.ProjectID)
		if err != nil {
			return nil, err
		}
	}
	var found []struct {
		ID     int64
		Engine string
		Name   string
	}
	if err := t.scan(ctx, &found, "SELECT d.id, d.engine, d.name FROM databases d WHERE "+where+" ORDER BY d.id", arg); err != nil {
		return nil, err
	}
	ids := []int64{}
	for _, d := range found {
		if covers(s, d.ID, d.Engine, d.Name) && !coveredBy(others, d.ID, d.Engine, d.Name) {
			ids = append(ids, d.ID)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	if _, err := t.exec(ctx, "SELECT 1 FROM databases d WHERE id = ANY (?) ORDER BY id FOR NO KEY UPDATE", idArray(ids)); err != nil {
		return nil, err
	}
	var out []scheduledDatabase
	err := t.scan(ctx, &out, `SELECT `+databaseColumns+`, s.revoked_at IS NOT NULL AS revoked, `+t.cat.online()+` AS online, s.last_seen_at AS heard_at
		FROM `+databaseTables+` WHERE d.id = ANY (?) AND `+where+` ORDER BY s.name, d.instance, d.name, d.id`, idArray(ids), arg)
	return out, err
}

// scheduledDatabase is a database that a schedule covers, with the state of its server.
type scheduledDatabase struct {
	controller.Database
	Revoked bool
	Online  bool
	HeardAt *time.Time
}

// coveredBy tells whether one of the schedules covers a database.
func coveredBy(schedules []controller.Schedule, id int64, engine, name string) bool {
	return slices.ContainsFunc(schedules, func(s controller.Schedule) bool { return covers(s, id, engine, name) })
}

// covers tells whether a schedule covers a database of its project; of the default one, whether it would where no other one does.
func covers(s controller.Schedule, id int64, engine, name string) bool {
	if s.Scope == controller.ScopeDatabase {
		return s.DatabaseID != nil && *s.DatabaseID == id
	}
	return s.Target().Covers(engine, name)
}

// scheduleName names a schedule in audit rows and jobs.
func scheduleName(id int64) string { return fmt.Sprintf("schedule %d", id) }
