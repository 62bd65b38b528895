package catalog

import (
	"context"
	"time"

	"devflowbackup/controller"
)

const alarmColumns = `a.id, a.kind, a.severity, a.project_id, coalesce(p.slug, '') AS project, a.server_id, coalesce(s.name, '') AS server, a.database_id, coalesce(d.name, '') AS database,
	a.schedule_id, a.storage_id, coalesce(st.name, '') AS storage, a.backup_id, a.channel_id, a.title, a.detail, a.silenced, a.count, a.opened_at, a.last_at, a.closed_at,
	` + mutedUntil + ` AS muted_until`

const alarmTables = `alarms a LEFT JOIN projects p ON p.id = a.project_id LEFT JOIN servers s ON s.id = a.server_id LEFT JOIN databases d ON d.id = a.database_id
	LEFT JOIN storages st ON st.id = a.storage_id`

// alarmOrder: those that stand first, the worst and then the newest of them; those that are over by when they ended. All of it ascends, so
// that a list goes on by its last row.
const alarmOrder = `(a.closed_at IS NOT NULL), CASE WHEN a.closed_at IS NOT NULL THEN 0 ELSE ` + severityRank + ` END, -extract(epoch FROM coalesce(a.closed_at, a.opened_at)), a.id`

// severityRank is 0 for the worst of alarms a.
const severityRank = `CASE a.severity WHEN 'critical' THEN 0 WHEN 'warning' THEN 1 ELSE 2 END`

// Alarms lists alarms, those that stand first and the worst of them first. Those of no project are for who sees the whole installation.
func (c *Catalog) Alarms(ctx context.Context, actor controller.Actor, f controller.AlarmFilter) ([]controller.Alarm, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	var out []controller.Alarm
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		out = []controller.Alarm{}
		where, err := t.alarmConditions(ctx, f)
		if err != nil {
			return err
		}
		return t.part(ctx, &out, alarmColumns, alarmTables, where, alarmOrder, f.Part)
	})
	return out, err
}

// CountAlarms counts what Alarms lists, whatever the page.
func (c *Catalog) CountAlarms(ctx context.Context, actor controller.Actor, f controller.AlarmFilter) (controller.Total, error) {
	var n controller.Total
	if err := f.Validate(); err != nil {
		return n, err
	}
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		where, err := t.alarmConditions(ctx, f)
		if err != nil {
			return err
		}
		n, err = t.count(ctx, "alarms a", where)
		return err
	})
	return n, err
}

func (t *tx) alarmConditions(ctx context.Context, f controller.AlarmFilter) (conditions, error) {
	var c conditions
	c.add("?", t.sees("a.project_id"))
	switch f.State {
	case controller.AlarmOpen:
		c.add("a.closed_at IS NULL")
	case controller.AlarmClosed:
		c.add("a.closed_at IS NOT NULL")
	}
	return c, t.selected(ctx, &c, "a", f.Project, f.Kind, f.Severity)
}

// selected adds what lists of alarms and of notices have in common.
func (t *tx) selected(ctx context.Context, c *conditions, table, project, kind, severity string) error {
	if project != "" {
		p, err := t.project(ctx, project)
		if err != nil {
			return err
		}
		c.add(table+".project_id = ?", p.ID)
	}
	c.equal(table+".kind", kind)
	var reach []string
	for _, s := range controller.Severities {
		if controller.SeverityAtLeast(s, severity) {
			reach = append(reach, s)
		}
	}
	if severity != "" {
		c.add(table+".severity = ANY (?)", textArray(reach))
	}
	return nil
}

// Alarm returns one alarm.
func (c *Catalog) Alarm(ctx context.Context, actor controller.Actor, id int64) (controller.Alarm, error) {
	var a controller.Alarm
	err := c.scoped(ctx, actor.Scope, func(t *tx) (err error) {
		a, err = t.alarm(ctx, id)
		return err
	})
	return a, err
}

func (t *tx) alarm(ctx context.Context, id int64) (controller.Alarm, error) {
	var a controller.Alarm
	found, err := t.find(ctx, &a, "SELECT "+alarmColumns+" FROM "+alarmTables+" WHERE a.id = ? AND ?", id, t.sees("a.project_id"))
	if err == nil && !found {
		err = controller.Errorf(controller.ENotFound, "alarm %d does not exist", id).WithHint("`devflowctl alarm list --all` shows the alarms")
	}
	return a, err
}

// CountOpenAlarms counts the alarms that stand and that nobody muted or silenced, by severity.
func (c *Catalog) CountOpenAlarms(ctx context.Context, actor controller.Actor) (controller.AlarmCounts, error) {
	var n controller.AlarmCounts
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		return t.scan(ctx, &n, `SELECT count(*) FILTER (WHERE severity = 'critical') AS critical, count(*) FILTER (WHERE severity = 'warning') AS warning, count(*) FILTER (WHERE severity = 'info') AS info
			FROM (SELECT a.severity FROM alarms a WHERE a.closed_at IS NULL AND ? AND `+mutedUntil+` IS NULL) q`, t.sees("a.project_id"))
	})
	return n, err
}

const noticeColumns = `a.id, a.kind, a.event, a.severity, a.alarm_id, a.project_id, coalesce(p.slug, '') AS project, a.server_id, coalesce(s.name, '') AS server,
	a.database_id, coalesce(d.name, '') AS database, a.schedule_id, a.storage_id, coalesce(st.name, '') AS storage, a.backup_id, a.restore_id, a.title, a.detail, a.unsent, a.at`

const noticeTables = `notices a LEFT JOIN projects p ON p.id = a.project_id LEFT JOIN servers s ON s.id = a.server_id LEFT JOIN databases d ON d.id = a.database_id
	LEFT JOIN storages st ON st.id = a.storage_id`

// Notices lists notices with what became of each, newest first.
func (c *Catalog) Notices(ctx context.Context, actor controller.Actor, f controller.NoticeFilter) ([]controller.Notice, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	var out []controller.Notice
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		out = []controller.Notice{}
		where, err := t.noticeConditions(ctx, f)
		if err != nil {
			return err
		}
		where.number("a.id < ?", f.BeforeID)
		limit, offset := limits(f.Limit, f.NumberedPage)
		err = t.scan(ctx, &out, "SELECT "+noticeColumns+" FROM "+noticeTables+" WHERE "+where.where()+" ORDER BY a.id DESC LIMIT ? OFFSET ?", append(where.args, limit, offset)...)
		if err != nil {
			return err
		}
		return t.deliveries(ctx, out)
	})
	return out, err
}

// CountNotices counts what Notices lists, whatever the page.
func (c *Catalog) CountNotices(ctx context.Context, actor controller.Actor, f controller.NoticeFilter) (controller.Total, error) {
	var n controller.Total
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		where, err := t.noticeConditions(ctx, f)
		if err != nil {
			return err
		}
		n, err = t.count(ctx, "notices a", where)
		return err
	})
	return n, err
}

func (t *tx) noticeConditions(ctx context.Context, f controller.NoticeFilter) (conditions, error) {
	var c conditions
	c.add("?", t.sees("a.project_id"))
	c.number("a.alarm_id = ?", f.Alarm)
	if f.Unsent {
		c.add("a.unsent <> ''")
	}
	return c, t.selected(ctx, &c, "a", f.Project, f.Kind, f.Severity)
}

// Notice returns one notice with what became of it.
func (c *Catalog) Notice(ctx context.Context, actor controller.Actor, id int64) (controller.Notice, error) {
	var rows []controller.Notice
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		if err := t.scan(ctx, &rows, "SELECT "+noticeColumns+" FROM "+noticeTables+" WHERE a.id = ? AND ?", id, t.sees("a.project_id")); err != nil {
			return err
		}
		if len(rows) == 0 {
			return controller.Errorf(controller.ENotFound, "notice %d does not exist", id).WithHint("`devflowctl notice list` shows the notices that are kept")
		}
		return t.deliveries(ctx, rows)
	})
	if err != nil {
		return controller.Notice{}, err
	}
	return rows[0], nil
}

// deliveries adds to notices what became of each at each channel. Of a channel that the caller does not see, neither name nor error is told.
func (t *tx) deliveries(ctx context.Context, notices []controller.Notice) error {
	ids, at := make([]int64, len(notices)), map[int64]int{}
	for i := range notices {
		notices[i].Deliveries = []controller.NoticeDelivery{}
		ids[i], at[notices[i].ID] = notices[i].ID, i
	}
	if len(ids) == 0 {
		return nil
	}
	seen, seenFallback := t.sees("ch.project_id"), t.sees("fc.project_id")
	return t.elevated(ctx, func() error { // messages are the controller's own; the notices were seen
		var rows []struct {
			NoticeID  int64
			ChannelID int64
			Channel   string
			Status    string
			Attempts  int
			Error     string
			SentAt    *time.Time

			FallbackID               *int64
			Fallback, FallbackStatus string
		}
		err := t.scan(ctx, &rows, `SELECT e.notice_id, e.channel_id, CASE WHEN ?0 THEN ch.name ELSE '' END AS channel,
				CASE WHEN m.id IS NOT NULL THEN m.status WHEN ch.deleted_at IS NOT NULL THEN 'dropped' ELSE 'waiting' END AS status, coalesce(m.attempts, 0) AS attempts,
				CASE WHEN ?0 THEN coalesce(m.error, '') ELSE '' END AS error, CASE WHEN m.status = 'sent' THEN m.ended_at END AS sent_at,
				fm.channel_id AS fallback_id, CASE WHEN ?2 THEN fc.name ELSE '' END AS fallback, coalesce(fm.status, '') AS fallback_status
			FROM deliveries e JOIN channels ch ON ch.id = e.channel_id LEFT JOIN messages m ON m.id = e.message_id
			LEFT JOIN messages fm ON fm.id = e.fallback_message_id LEFT JOIN channels fc ON fc.id = fm.channel_id WHERE e.notice_id = ANY (?1) ORDER BY e.id`, seen, idArray(ids), seenFallback)
		for _, r := range rows {
			n := &notices[at[r.NoticeID]]
			n.Deliveries = append(n.Deliveries, controller.NoticeDelivery{
				ChannelID: r.ChannelID, Channel: r.Channel, Status: r.Status, Attempts: r.Attempts, Error: r.Error, SentAt: r.SentAt,
				FallbackID: r.FallbackID, Fallback: r.Fallback, FallbackStatus: r.FallbackStatus,
			})
		}
		return err
	})
}
