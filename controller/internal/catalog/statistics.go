package catalog

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"devflowbackup/controller"
)

// Statistics returns the figures of a project, or of all that the caller sees. What they cost does not grow with the backups.
func (c *Catalog) Statistics(ctx context.Context, actor controller.Actor, project string) (controller.Statistics, error) {
	var s controller.Statistics
	err := c.scoped(ctx, actor.Scope, func(t *tx) (err error) {
		s, err = t.statistics(ctx, project)
		return err
	})
	return s, err
}

func (t *tx) statistics(ctx context.Context, project string) (controller.Statistics, error) {
	var s controller.Statistics
	only := int64(0)
	if project != "" {
		p, err := t.anyProject(ctx, project)
		if err != nil {
			return s, err
		}
		s.Project, only = p.Slug, p.ID
	}
	of := func(column string) bun.Safe {
		if only != 0 {
			return bun.Safe(column + " = " + itoa(only) + " AND " + string(t.sees(column)))
		}
		return t.sees(column)
	}
	var row struct {
		Backups, Completed, Failed, Verified, Bytes   int64
		Running, Databases, Schedules, ActiveSchedule int64
		NextRunAt                                     *time.Time
	}
	err := t.scan(ctx, &row, `SELECT b.*, s.*, (SELECT count(*) FROM databases WHERE project_id IS NOT NULL AND ?) AS databases,
			(SELECT count(*) FROM database_backups WHERE status IN ('pending', 'running') AND ?) AS running
		FROM (SELECT coalesce(sum(backups), 0)::bigint AS backups, coalesce(sum(completed), 0)::bigint AS completed, coalesce(sum(failed), 0)::bigint AS failed,
				coalesce(sum(verified), 0)::bigint AS verified, coalesce(sum(bytes), 0)::bigint AS bytes
			FROM (SELECT * FROM backup_totals UNION ALL SELECT `+totalColumns+` FROM backup_deltas) q WHERE ?) b,
		(SELECT count(*) AS schedules, count(*) FILTER (WHERE is_active) AS active_schedule, min(next_run_at) FILTER (WHERE is_active) AS next_run_at
			FROM backup_schedules WHERE deleted_at IS NULL AND ?) s`, of("project_id"), of("project_id"), of("project_id"), of("project_id"))
	if err != nil {
		return s, err
	}
	s.Backups, s.Completed, s.Failed, s.Verified, s.UsedBytes = row.Backups, row.Completed, row.Failed, row.Verified, row.Bytes
	s.Running, s.Databases, s.Schedules, s.ActiveSchedules, s.NextRunAt = row.Running, row.Databases, row.Schedules, row.ActiveSchedule, row.NextRunAt
	s.Display.StorageUsed = controller.SizeText(s.UsedBytes)
	var last controller.LastBackup
	found, err := t.find(ctx, &last, `SELECT b.id, p.slug AS project, b.database_name, b.completed_at FROM projects p, LATERAL (SELECT id, database_name, completed_at FROM database_backups
			WHERE project_id = p.id AND status = 'completed' AND deleted_at IS NULL ORDER BY completed_at DESC LIMIT 1) b WHERE ? ORDER BY b.completed_at DESC LIMIT 1`, of("p.id"))
	if found {
		s.LastBackup = &last
	}
	return s, err
}

// Trend returns the days that are asked for, each of them, in the installation's zone.
func (c *Catalog) Trend(ctx context.Context, actor controller.Actor, r controller.TrendRequest) (controller.Trend, error) {
	var out controller.Trend
	settings, _, err := c.CleanupSettings(ctx)
	if err != nil {
		return out, err
	}
	zone, err := controller.LoadZone(settings.Timezone)
	if err != nil {
		return out, err
	}
	err = c.scoped(ctx, actor.Scope, func(t *tx) error {
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		bounds, err := r.Bounds(now, zone)
		if err != nil {
			return err
		}
		out = controller.Trend{Timezone: settings.Timezone}
		out.Days, err = t.trend(ctx, r, bounds)
		return err
	})
	return out, err
}

func (t *tx) trend(ctx context.Context, r controller.TrendRequest, bounds []time.Time) ([]controller.TrendDay, error) {
	var where conditions
	where.add("?", t.sees("b.project_id"))
	if r.Project != "" {
		p, err := t.anyProject(ctx, r.Project)
		if err != nil {
			return nil, err
		}
		where.add("b.project_id = ?", p.ID)
	}
	if err := t.named(ctx, &where, "b.database_id", namedDatabase, r.Database); err != nil {
		return nil, err
	}
	last := len(bounds) - 1
	where.add("b.created_at >= ? AND b.created_at < ?", bounds[0], bounds[last])
	days := make([]controller.TrendDay, last)
	for i := range days {
		days[i].Date = bounds[i].Format(time.DateOnly)
	}
	var rows []struct {
		Day int
		controller.TrendDay
	}
	// What is read was bounded by the scope above.
	err := t.elevated(ctx, func() error {
		return t.scan(ctx, &rows, `SELECT width_bucket(b.created_at, ?::timestamptz[]) AS day, count(*) FILTER (WHERE b.status = 'completed') AS completed, count(*) FILTER (WHERE b.status = 'failed') AS failed,
			coalesce(sum(b.file_size) FILTER (WHERE b.status = 'completed'), 0)::bigint AS bytes, coalesce(sum(b.raw_size) FILTER (WHERE b.status = 'completed'), 0)::bigint AS raw_bytes,
			coalesce(round(avg(extract(epoch FROM b.completed_at - b.started_at)) FILTER (WHERE b.status = 'completed'), 3), 0)::float8 AS mean_seconds,
			coalesce(round(max(extract(epoch FROM b.completed_at - b.started_at)) FILTER (WHERE b.status = 'completed'), 3), 0)::float8 AS max_seconds
			FROM database_backups b WHERE `+where.where()+` GROUP BY 1`, append([]any{timeArray(bounds)}, where.args...)...)
	})
	for _, row := range rows {
		date := days[row.Day-1].Date
		days[row.Day-1] = row.TrendDay
		days[row.Day-1].Date = date
	}
	return days, err
}

// attention is one kind of what needs attention, and the query of it: AttentionEach rows and one more.
type attention struct {
	kind, severity, title string
	query                 string
}

const missedFor = `interval '7 days'`

// attentions are in the order in which they are told. $sees, $granted and $usable are the scope's conditions.
func (t *tx) attentions() []attention {
	assigned := `databases d JOIN projects p ON p.id = d.project_id AND p.deleted_at IS NULL LEFT JOIN servers s ON s.id = d.server_id`
	backups := `database_backups b JOIN projects p ON p.id = b.project_id LEFT JOIN servers s ON s.id = b.server_id`
	backup := `b.id AS backup_id, b.project_id, p.slug AS project, b.server_id, coalesce(s.name, '') AS server, b.database_id, b.database_name AS database`
	database := `d.project_id, p.slug AS project, d.server_id, coalesce(s.name, '') AS server, d.id AS database_id, d.name AS database`
	sees := func(column string) string { return string(t.sees(column)) }
	unhealthy := func(health string) string {
		return `SELECT ` + backup + `, b.health_reason AS detail, coalesce(b.health_at, b.created_at) AS at FROM ` + backups + `
			WHERE b.health = '` + health + `' AND b.deleted_at IS NULL AND ` + sees("b.project_id") + ` ORDER BY b.id DESC`
	}
	return []attention{
		{controller.AttentionCorrupt, controller.SeverityCritical, "Backup %[1]d of %[2]s is corrupt", unhealthy(controller.HealthCorrupt)},
		{controller.AttentionMissing, controller.SeverityCritical, "Backup %[1]d of %[2]s is missing from its storage", unhealthy(controller.HealthMissing)},
		{controller.AttentionUnknown, controller.SeverityCritical, "What the restore into %[2]s left is not known yet", `SELECT r.id AS restore_id, r.backup_id, r.project_id, p.slug AS project, r.server_id,
			coalesce(s.name, '') AS server, r.database_name AS database, coalesce(r.error_message, '') AS detail, r.completed_at AS at
			FROM restores r JOIN projects p ON p.id = r.project_id LEFT JOIN servers s ON s.id = r.server_id WHERE r.target_state = 'unknown' AND ` + sees("r.project_id") + ` ORDER BY r.id DESC`},
		{controller.AttentionFailed, controller.SeverityCritical, "The newest backup of %[2]s failed", `SELECT ` + database + `, b.id AS backup_id, coalesce(b.error_message, '') AS detail, b.completed_at AS at
			FROM ` + assigned + `, LATERAL (SELECT id, status, error_message, completed_at FROM database_backups q WHERE q.database_id = d.id AND q.project_id = d.project_id AND q.deleted_at IS NULL
				AND q.status IN ('completed', 'failed') ORDER BY q.id DESC LIMIT 1) b WHERE b.status = 'failed' AND ` + sees("d.project_id") + ` ORDER BY b.id DESC`},
		{controller.AttentionStorage, controller.SeverityCritical, "Storage %[3]s did not pass its probe", `SELECT st.id AS storage_id, st.name AS storage, st.project_id, coalesce(p.slug, '') AS project, st.probed_at AS at,
			coalesce((SELECT e->>'detail' FROM jsonb_array_elements(CASE jsonb_typeof(st.probe->'steps') WHEN 'array' THEN st.probe->'steps' ELSE '[]' END) e WHERE e->>'ok' = 'false' LIMIT 1), '') AS detail
			FROM storages st LEFT JOIN projects p ON p.id = st.project_id WHERE st.deleted_at IS NULL AND NOT st.probe_ok AND st.probed_at IS NOT NULL AND ` + t.usable() + ` ORDER BY st.id`},
		{controller.AttentionSchedule, controller.SeverityWarning, "Schedule %[4]d cannot occur", `SELECT c.id AS schedule_id, c.project_id, p.slug AS project, c.problem AS detail, c.updated_at AS at, c.database_name AS database
			FROM backup_schedules c JOIN projects p ON p.id = c.project_id AND p.deleted_at IS NULL WHERE c.problem <> '' AND c.is_active AND c.deleted_at IS NULL AND ` + sees("c.project_id") + ` ORDER BY c.id`},
		{controller.AttentionOffline, controller.SeverityWarning, "The agent on %[5]s is offline", `SELECT s.id AS server_id, s.name AS server, s.last_seen_at AS at,
			CASE WHEN s.last_seen_at IS NULL THEN 'it has never connected' ELSE 'its databases are not backed up until it is back' END AS detail
			FROM servers s WHERE s.revoked_at IS NULL AND NOT ` + t.cat.online() + ` AND ` + t.granted() + ` ORDER BY s.last_seen_at DESC NULLS LAST, s.id`},
		{controller.AttentionMissed, controller.SeverityWarning, "Schedule %[4]d missed a run", `SELECT c.id AS schedule_id, c.project_id, p.slug AS project, c.database_name AS database, o.reason AS detail, o.at
			FROM (SELECT schedule_id, max(at) AS at FROM schedule_occurrences WHERE state = 'missed' AND code NOT IN ('changed', 'paused') AND at > now() - ` + missedFor + ` AND ` + sees("project_id") + ` GROUP BY 1) m
			JOIN schedule_occurrences o ON o.schedule_id = m.schedule_id AND o.at = m.at JOIN backup_schedules c ON c.id = m.schedule_id AND c.deleted_at IS NULL AND c.is_active
			JOIN projects p ON p.id = c.project_id AND p.deleted_at IS NULL
			WHERE NOT EXISTS (SELECT FROM schedule_occurrences r WHERE r.schedule_id = m.schedule_id AND r.at > m.at AND r.state = 'run') ORDER BY o.at DESC`},
		{controller.AttentionUnverified, controller.SeverityNotice, "The newest backup of %[2]s is not verified", `SELECT ` + database + `, b.id AS backup_id, b.completed_at AS at, 'it was not read back yet' AS detail
			FROM ` + assigned + `, LATERAL (SELECT id, verified_at, completed_at FROM database_backups q WHERE q.database_id = d.id AND q.deleted_at IS NULL AND q.project_id = d.project_id
				AND q.status = 'completed' ORDER BY q.id DESC LIMIT 1) b WHERE b.verified_at IS NULL AND ` + sees("d.project_id") + ` ORDER BY b.id DESC`},
	}
}

// Overview returns what a person sees first: what needs attention, the most urgent first, and the figures of all that the caller sees.
func (c *Catalog) Overview(ctx context.Context, actor controller.Actor) (controller.Overview, error) {
	var o controller.Overview
	settings, _, err := c.CleanupSettings(ctx)
	if err != nil {
		return o, err
	}
	zone, err := controller.LoadZone(settings.Timezone)
	if err != nil {
		return o, err
	}
	err = c.scoped(ctx, actor.Scope, func(t *tx) error {
		o = controller.Overview{Attention: []controller.Attention{}, Counts: map[string]int64{}}
		var err error
		if o.Statistics, err = t.statistics(ctx, ""); err != nil {
			return err
		}
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		day, err := controller.TrendRequest{Days: 1}.Bounds(now, zone)
		if err != nil {
			return err
		}
		today, err := t.trend(ctx, controller.TrendRequest{}, day)
		if err != nil {
			return err
		}
		o.Today = today[0]
		if err := t.scan(ctx, &o.Storages, "SELECT "+storageColumns+usedColumns+" FROM "+t.storageTables()+" WHERE st.deleted_at IS NULL AND "+t.usable()+" ORDER BY st.name, st.id LIMIT 200"); err != nil {
			return err
		}
		if err := t.scan(ctx, &o.Agents, "SELECT count(*) FILTER (WHERE "+t.cat.online()+") AS online, count(*) FILTER (WHERE NOT "+t.cat.online()+") AS offline FROM servers s WHERE s.revoked_at IS NULL AND "+t.granted()); err != nil {
			return err
		}
		for _, a := range t.attentions() {
			var rows []controller.Attention
			if err := t.scan(ctx, &rows, a.query+" LIMIT ?", controller.AttentionEach+1); err != nil {
				return fmt.Errorf("look for %s: %w", a.kind, err)
			}
			listed(&o, a, rows)
			if a.kind == controller.AttentionMissed {
				if err := t.unscheduled(ctx, &o); err != nil {
					return err
				}
			}
		}
		return nil
	})
	for i := range o.Storages {
		o.Storages[i].Show()
	}
	return o, err
}

// listed adds rows of one kind.
func listed(o *controller.Overview, a attention, rows []controller.Attention) {
	if len(rows) > controller.AttentionEach {
		rows, o.More = rows[:controller.AttentionEach], true
	}
	for _, r := range rows {
		r.Kind, r.Severity = a.kind, a.severity
		r.Title = fmt.Sprintf(a.title, number(r.BackupID), r.Database, r.Storage, number(r.ScheduleID), r.Server)
		o.Attention = append(o.Attention, r)
	}
	if len(rows) > 0 {
		o.Counts[a.kind] = int64(len(rows))
	}
}

func number(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}

// unscheduledLooked bounds how many databases are held against patterns.
const unscheduledLooked = 5000

// unscheduled lists assigned databases that no active schedule covers, and that nobody chose to ignore.
func (t *tx) unscheduled(ctx context.Context, o *controller.Overview) error {
	o.Unscheduled = []controller.Database{}
	var found []controller.Database
	err := t.scan(ctx, &found, `SELECT `+databaseColumns+` FROM `+databaseTables+` WHERE d.project_id IS NOT NULL AND d.missing_since IS NULL AND d.ignored_at IS NULL AND p.deleted_at IS NULL AND s.revoked_at IS NULL AND ?
			AND NOT EXISTS (SELECT FROM backup_schedules c WHERE c.database_id = d.id AND c.is_active AND c.deleted_at IS NULL)
			AND NOT EXISTS (SELECT FROM backup_schedules c WHERE c.project_id = d.project_id AND c.scope IN ('project', 'default') AND c.database_type IN ('', d.engine) AND c.is_active AND c.deleted_at IS NULL)
		ORDER BY d.id DESC LIMIT ?`, t.sees("d.project_id"), unscheduledLooked)
	if err != nil || len(found) == 0 {
		return err
	}
	var patterns []controller.Schedule
	err = t.scan(ctx, &patterns, "SELECT "+scheduleColumns+" FROM "+scheduleTables+" WHERE c.scope = 'pattern' AND c.is_active AND c.deleted_at IS NULL AND ? ORDER BY c.id LIMIT ?",
		t.sees("c.project_id"), unscheduledLooked)
	if err != nil {
		return err
	}
	of := map[int64][]controller.Schedule{}
	for _, s := range patterns {
		of[s.ProjectID] = append(of[s.ProjectID], s)
	}
	a := attention{kind: controller.AttentionUnscheduled, severity: controller.SeverityWarning, title: "%[2]s has no schedule"}
	var rows []controller.Attention
	for _, d := range found {
		if coveredBy(of[*d.ProjectID], d.ID, d.Engine, d.Name) {
			continue
		}
		if len(rows) > controller.AttentionEach {
			break
		}
		if len(rows) < controller.AttentionEach {
			o.Unscheduled = append(o.Unscheduled, d)
		}
		rows = append(rows, controller.Attention{
			Detail: "it is backed up only when someone asks for it", ProjectID: d.ProjectID, Project: d.Project, ServerID: &d.ServerID, Server: d.Server, DatabaseID: &d.ID, Database: d.Name,
		})
	}
	listed(o, a, rows)
	return nil
}
