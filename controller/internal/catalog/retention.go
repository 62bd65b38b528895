package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/retention"
	"devflowbackup/shared/failpoint"
)

// live is the condition of what retention looks at: completed, and not deleted. It is that of the index database_backups_live.
const live = "deleted_at IS NULL AND status = 'completed'"

// CleanupDatabases lists up to limit databases, by id and after one, that have backups which a clean-up looks at.
func (c *Catalog) CleanupDatabases(ctx context.Context, actor controller.Actor, req controller.CleanupRequest, after int64, limit int) ([]int64, error) {
	var ids []int64
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		ids = nil
		only, err := t.cleanupScope(ctx, req)
		if err != nil {
			return err
		}
		return t.scan(ctx, &ids, `SELECT DISTINCT b.database_id FROM database_backups b WHERE b.`+live+` AND ? AND (? = 0 OR b.project_id = ?)
			AND (? = 0 OR b.schedule_id = ?) AND b.database_id > ? ORDER BY b.database_id LIMIT ?`,
			t.sees("b.project_id"), only.project, only.project, only.schedule, only.schedule, after, max(limit, 0))
	})
	return ids, err
}

// cleanupScope is what a clean-up is limited to; 0: it is not.
type cleanupScope struct{ project, schedule int64 }

func (s cleanupScope) has(r retained) bool {
	return (s.project == 0 || s.project == r.ProjectID) && (s.schedule == 0 || s.schedule == r.ScheduleID)
}

func (t *tx) cleanupScope(ctx context.Context, req controller.CleanupRequest) (cleanupScope, error) {
	only := cleanupScope{schedule: req.Schedule}
	if req.Project != "" {
		p, err := t.project(ctx, req.Project)
		if err != nil {
			return only, err
		}
		only.project = p.ID
	}
	if req.Schedule == 0 {
		return only, nil
	}
	var found bool
	err := t.scan(ctx, &found, "SELECT EXISTS (SELECT FROM backup_schedules WHERE id = ? AND ? AND (? = 0 OR project_id = ?))",
		req.Schedule, t.sees("project_id"), only.project, only.project)
	if err == nil && !found {
		err = controller.Errorf(controller.ENotFound, "schedule %d does not exist", req.Schedule).WithHint("`devflowctl schedule list` shows the schedules")
	}
	return only, err
}

// retained is a row as a plan and its readers need it.
type retained struct {
	ID            int64
	ProjectID     int64
	Project       string
	ServerID      int64
	Server        string
	DatabaseID    int64
	DatabaseName  string
	DatabaseType  string
	StorageID     int64
	Type          string
	ScheduleID    int64
	Status        string
	Health        string
	FileName      string
	FileSize      int64
	CompletedAt   time.Time
	VerifiedLevel string
	Held          bool
	HoldReason    string
	LockedUntil   *time.Time
	OpenJobs      int
	SafetyOf      int64
	Gone          string
}

// backup is what the plan sees of it. What was received when is the controller's word: the row was completed on this server's clock.
func (r retained) backup() retention.Backup {
	b := retention.Backup{
		ID: r.ID, ScheduleID: r.ScheduleID, Gone: r.Gone, Type: r.Type, DatabaseID: r.DatabaseID, DatabaseName: r.DatabaseName, DatabaseType: r.DatabaseType,
		ServerID: r.ServerID, StorageID: r.StorageID, Status: r.Status, Health: r.Health, ReceivedAt: r.CompletedAt, VerifiedLevel: r.VerifiedLevel,
		FileSize: r.FileSize, Held: r.Held, HoldReason: r.HoldReason, OpenJobs: r.OpenJobs, SafetyOf: r.SafetyOf,
	}
	if r.LockedUntil != nil {
		b.LockedUntil = *r.LockedUntil
	}
	return b
}

func (r retained) item(d retention.Decision) controller.CleanupItem {
	at := r.CompletedAt.UTC()
	item := controller.CleanupItem{
		BackupID: r.ID, Project: r.Project, Server: r.Server, DatabaseName: r.DatabaseName, Type: r.Type, ScheduleID: r.ScheduleID, FileName: r.FileName,
		FileSize: r.FileSize, CompletedAt: &at, Action: d.Action, Reasons: make([]controller.CleanupReason, len(d.Reasons)),
	}
	if d.Action == retention.Later {
		later := d.At.UTC()
		item.At = &later
	}
	for i, reason := range d.Reasons {
		item.Reasons[i] = controller.CleanupReason{Code: reason.Code, Text: reason.Text}
	}
	return item
}

// What a backup belonged to may be no more; what the caller does not see is taken to be so. A backup that no schedule made does not
// depend on one.
const retainedQuery = `SELECT b.id, b.project_id, p.slug AS project, b.server_id, coalesce(s.name, '') AS server, b.database_id, b.database_name, b.database_type,
	b.storage_id, b.type, coalesce(b.schedule_id, 0) AS schedule_id, b.status, b.health, b.file_name, coalesce(b.file_size, 0) AS file_size, b.completed_at,
	coalesce(b.verified_level, '') AS verified_level, b.held_at IS NOT NULL AS held, b.hold_reason, b.locked_until,
	(SELECT count(*) FROM jobs j WHERE j.backup_id = b.id AND j.` + jobOpen + `) AS open_jobs,
	coalesce((SELECT max(r.id) FROM restores r WHERE r.safety_backup_id = b.id AND ` + safetyNeeded + `), 0) AS safety_of,
	CASE WHEN p.deleted_at IS NOT NULL THEN 'project' WHEN s.id IS NULL OR s.revoked_at IS NOT NULL THEN 'server'
		WHEN d.id IS NULL OR d.missing_since IS NOT NULL OR d.project_id IS DISTINCT FROM b.project_id THEN 'database'
		WHEN b.type = 'scheduled' AND b.schedule_id IS NOT NULL AND (c.id IS NULL OR c.deleted_at IS NOT NULL) THEN 'schedule' ELSE '' END AS gone
	FROM database_backups b JOIN projects p ON p.id = b.project_id LEFT JOIN servers s ON s.id = b.server_id LEFT JOIN databases d ON d.id = b.database_id
	LEFT JOIN backup_schedules c ON c.id = b.schedule_id WHERE b.database_id = ? AND b.` + live + ` AND ? ORDER BY b.completed_at DESC, b.id DESC`

// CleanDatabase makes the plan for all that the actor sees of one database's backups, as of now, and, unless it is a dry run, carries
// it out: what is to be removed is marked as deleted in the same transaction, and can be brought back while its grace runs. It answers
// for each backup that the request is about, newest first.
//
// Deletions of one database come one after another, whoever asks for them, and no job that names one of its backups is made meanwhile:
// what the plan has seen is so until it is carried out.
func (c *Catalog) CleanDatabase(ctx context.Context, actor controller.Actor, database int64, req controller.CleanupRequest, now time.Time) ([]controller.CleanupItem, error) {
	var items []controller.CleanupItem
	marked := false
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		marked = false
		only, err := t.cleanupScope(ctx, req)
		if err != nil {
			return err
		}
		if !req.DryRun {
			if err := t.lockDatabase(ctx, database); err != nil {
				return err
			}
			if _, err := t.exec(ctx, "SELECT 1 FROM database_backups WHERE database_id = ? AND "+live+" AND ? ORDER BY id FOR UPDATE", database, t.sees("project_id")); err != nil {
				return err
			}
		}
		var rows []retained
		if err := t.scan(ctx, &rows, retainedQuery, database, t.sees("b.project_id")); err != nil {
			return err
		}
		policies, err := t.policies(ctx, rows)
		if err != nil {
			return err
		}
		backups := make([]retention.Backup, len(rows))
		for i, r := range rows {
			backups[i] = r.backup()
		}
		items = make([]controller.CleanupItem, 0, len(rows))
		var remove []expiry
		for i, d := range policies.Plan(backups, now) {
			if !only.has(rows[i]) {
				continue
			}
			items = append(items, rows[i].item(d))
			if d.Action == retention.Remove {
				remove = append(remove, newExpiry(rows[i], d))
			}
		}
		if req.DryRun || len(remove) == 0 {
			return nil
		}
		removed, err := t.expire(ctx, actor, remove, req.Grace)
		if err != nil {
			return err
		}
		for i := range items {
			if at, ok := removed[items[i].BackupID]; ok {
				items[i].Removed, items[i].DeleteAfter = true, &at
			} else if items[i].Action == retention.Remove {
				items[i].Error = "it changed while it was to be removed"
			}
		}
		marked = true
		failpoint.Hit("controller.before_tombstone_commit")
		return nil
	})
	if err != nil {
		return nil, err
	}
	if marked {
		failpoint.Hit("controller.after_tombstone_commit")
	}
	return items, nil
}

// policies are those of the schedules that made the backups. One that cannot be read keeps everything.
func (t *tx) policies(ctx context.Context, backups []retained) (retention.Policies, error) {
	p := retention.Policies{Schedules: map[int64]retention.Policy{}, AdHoc: retention.DefaultAdHoc}
	var ids []int64
	for _, b := range backups {
		if _, known := p.Schedules[b.ScheduleID]; b.ScheduleID != 0 && !known {
			p.Schedules[b.ScheduleID] = retention.Policy{}
			ids = append(ids, b.ScheduleID)
		}
	}
	if len(ids) == 0 {
		return p, nil
	}
	clear(p.Schedules) // what is not found is no more
	var rows []struct {
		ID               int64
		RetentionDays    int
		RetentionHourly  int
		RetentionDaily   int
		RetentionWeekly  int
		RetentionMonthly int
		Timezone         string
		RetentionChanges json.RawMessage
	}
	err := t.scan(ctx, &rows, `SELECT id, retention_days, retention_hourly, retention_daily, retention_weekly, retention_monthly, timezone, retention_changes
		FROM backup_schedules WHERE id = ANY (?) AND deleted_at IS NULL AND ?`, idArray(ids), t.sees("project_id"))
	if err != nil {
		return p, err
	}
	for _, r := range rows {
		policy := retention.Policy{Retention: controller.Retention{
			Days: r.RetentionDays, Hourly: r.RetentionHourly, Daily: r.RetentionDaily, Weekly: r.RetentionWeekly, Monthly: r.RetentionMonthly,
		}}
		zone, err := controller.LoadZone(r.Timezone)
		if err == nil {
			err = json.Unmarshal(r.RetentionChanges, &policy.Changes)
		}
		if err == nil {
			policy.Zone = zone // without it the policy is not valid, and nothing is removed
		} else {
			t.after(func() {
				t.cat.log.Error("retention of a schedule cannot be applied, so nothing of it is removed", "schedule_id", r.ID, "err", err)
			})
		}
		p.Schedules[r.ID] = policy
	}
	return p, nil
}

// expiry is a backup that is removed, and why.
type expiry struct {
	ID        int64          `json:"id"`
	ProjectID int64          `json:"project_id"`
	Reason    string         `json:"reason"`
	Detail    map[string]any `json:"detail"`
}

func newExpiry(r retained, d retention.Decision) expiry {
	texts := make([]string, len(d.Reasons))
	for i, reason := range d.Reasons {
		texts[i] = reason.Text
	}
	why := cut("retention: "+strings.Join(texts, "; "), 500)
	detail := map[string]any{"database": r.DatabaseName, "server": r.Server, "file": r.FileName, "reason": why}
	if r.ScheduleID != 0 {
		detail["schedule_id"] = r.ScheduleID
	}
	return expiry{ID: r.ID, ProjectID: r.ProjectID, Reason: why, Detail: detail}
}

// expire marks backups as deleted, each with its reason and an entry in the audit log. It answers until when those that were marked
// can be brought back.
func (t *tx) expire(ctx context.Context, actor controller.Actor, remove []expiry, grace time.Duration) (map[int64]time.Time, error) {
	if grace < 0 {
		grace = t.cat.opts.DeleteGrace
	}
	for i := range remove {
		remove[i].Detail["grace_seconds"] = int64(grace.Seconds())
	}
	var rows []struct {
		ID          int64
		DeleteAfter time.Time
	}
	// The conditions repeat what the plan goes by: whatever it thinks, nothing that is protected goes.
	err := t.scan(ctx, &rows, `UPDATE database_backups b SET deleted_at = now(), delete_reason = r.reason, delete_after = now() + ?
		FROM jsonb_to_recordset(?::jsonb) AS r (id bigint, reason text)
		WHERE b.id = r.id AND b.`+live+` AND b.health = 'ok' AND b.held_at IS NULL AND NOT EXISTS (SELECT FROM jobs j WHERE j.backup_id = b.id AND j.`+jobOpen+`)
		AND NOT `+safetyInUse+`
		RETURNING b.id, b.delete_after`, interval(grace), jsonText(remove))
	if err != nil {
		return nil, fmt.Errorf("mark backups as deleted: %w", err)
	}
	until := make(map[int64]time.Time, len(rows))
	for _, r := range rows {
		until[r.ID] = r.DeleteAfter.UTC()
	}
	for _, e := range remove {
		if _, ok := until[e.ID]; !ok {
			continue
		}
		if err := t.audit(ctx, actor, "backup.expire", &e.ProjectID, itoa(e.ID), e.Detail); err != nil {
			return nil, err
		}
	}
	return until, nil
}
