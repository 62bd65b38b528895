package catalog

import (
	"context"
	"time"

	"devflowbackup/controller"
)

// pauseOpen is the condition that pauses q hold now.
const pauseOpen = "q.ended_at IS NULL AND (q.until IS NULL OR q.until > now())"

const pauseColumns = `q.id, q.scope, q.project_id, coalesce(p.slug, '') AS project, q.server_id, coalesce(s.name, '') AS server, q.schedule_id, q.until, q.reason,
	q.created_by, q.created_at, coalesce(q.ended_at, CASE WHEN q.until <= now() THEN q.until END) AS ended_at, q.ended_by`

const pauseTables = "pauses q LEFT JOIN projects p ON p.id = q.project_id LEFT JOIN servers s ON s.id = q.server_id"

// pausesSeen is the condition that the scope sees pauses q: its projects' own, and those of everything and of servers, which hold it back.
func (t *tx) pausesSeen() string {
	return "(" + string(t.sees("q.project_id")) + " OR q.project_id IS NULL)"
}

// Pauses lists the pauses that hold, newest first; with all, those that ended too. beforeID 0 starts at the newest.
func (c *Catalog) Pauses(ctx context.Context, actor controller.Actor, all bool, beforeID int64, limit int) ([]controller.Pause, error) {
	var out []controller.Pause
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		out = []controller.Pause{}
		return t.scan(ctx, &out, "SELECT "+pauseColumns+" FROM "+pauseTables+" WHERE (? OR "+pauseOpen+") AND "+t.pausesSeen()+" AND (? = 0 OR q.id < ?) ORDER BY q.id DESC LIMIT ?", all, beforeID, beforeID, page(limit))
	})
	return out, err
}

func (t *tx) pause(ctx context.Context, id int64) (controller.Pause, error) {
	var p controller.Pause
	found, err := t.find(ctx, &p, "SELECT "+pauseColumns+" FROM "+pauseTables+" WHERE q.id = ? AND "+t.pausesSeen(), id)
	if err == nil && !found {
		err = controller.Errorf(controller.ENotFound, "pause %d does not exist", id).WithHint("`devflowctl pause list` shows the pauses")
	}
	return p, err
}

// CreatePause holds back the scheduled backups of a schedule, a project, a server or everything. What was ordered already goes on.
func (c *Catalog) CreatePause(ctx context.Context, actor controller.Actor, spec controller.PauseSpec) (controller.Pause, error) {
	var out controller.Pause
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		spec := spec
		if err := spec.Validate(now); err != nil {
			return err
		}
		var project, server, schedule *int64
		subject := spec.Scope
		switch spec.Scope {
		case controller.PauseSchedule:
			s, err := t.schedule(ctx, spec.Schedule)
			if err != nil {
				return err
			}
			project, schedule, subject = &s.ProjectID, &s.ID, scheduleName(s.ID)
		case controller.PauseProject:
			p, err := t.project(ctx, spec.Project)
			if err != nil {
				return err
			}
			project, subject = &p.ID, "project "+p.Slug
		case controller.PauseServer:
			s, err := t.server(ctx, spec.Server)
			if err != nil {
				return err
			}
			server, subject = &s.ID, "server "+s.Name
			fallthrough
		case controller.PauseEverything:
			if err := wholeInstallation(actor, "pauses of a server and of everything"); err != nil {
				return err
			}
		}
		var id int64
		err = t.scan(ctx, &id, "INSERT INTO pauses (scope, project_id, server_id, schedule_id, until, reason, created_by) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
			spec.Scope, project, server, schedule, spec.Until, spec.Reason, cut(actor.Name, 200))
		if err != nil {
			return err
		}
		if err := t.audit(ctx, actor, "pause.create", project, subject, map[string]any{"id": id, "until": spec.Until, "reason": spec.Reason}); err != nil {
			return err
		}
		out, err = t.pause(ctx, id)
		return err
	})
	return out, err
}

// EndPause ends a pause. Repeating it changes nothing. What was missed meanwhile is not made up for.
func (c *Catalog) EndPause(ctx context.Context, actor controller.Actor, id int64) (controller.Pause, error) {
	var out controller.Pause
	err := c.scoped(ctx, actor.Scope, func(t *tx) (err error) {
		if out, err = t.pause(ctx, id); err != nil {
			return err
		}
		if out.ProjectID == nil {
			if err := wholeInstallation(actor, "pauses of a server and of everything"); err != nil {
				return err
			}
		}
		n, err := t.exec(ctx, "UPDATE pauses q SET ended_at = now(), ended_by = ? WHERE id = ? AND "+pauseOpen, cut(actor.Name, 200), id)
		if err != nil || n == 0 {
			return err
		}
		if err := t.audit(ctx, actor, "pause.end", out.ProjectID, out.Scope, map[string]any{"id": id}); err != nil {
			return err
		}
		out, err = t.pause(ctx, id)
		return err
	})
	return out, err
}

// pausing are the pauses that concern a schedule's occurrence: those that hold at now and, of one that is run late, those that held
// when it should have been run.
func (t *tx) pausing(ctx context.Context, s controller.Schedule, now time.Time, late *time.Time) ([]controller.Pause, error) {
	var out []controller.Pause
	err := t.scan(ctx, &out, "SELECT "+pauseColumns+" FROM "+pauseTables+` WHERE (q.ended_at IS NULL AND (q.until IS NULL OR q.until > ?)
			OR ?::timestamptz IS NOT NULL AND q.created_at <= ?::timestamptz AND least(q.ended_at, q.until) > ?::timestamptz)
		AND (q.scope IN ('everything', 'server') OR q.scope = 'project' AND q.project_id = ? OR q.scope = 'schedule' AND q.schedule_id = ?)
		ORDER BY q.until DESC NULLS FIRST, q.id`, now, late, late, late, s.ProjectID, s.ID)
	return out, err
}

// pausedBy is the pause that holds a database back, or the schedule as a whole where no server is given; nil if none does.
func pausedBy(pauses []controller.Pause, server int64) *controller.Pause {
	for i, p := range pauses {
		if p.Scope != controller.PauseServer || p.ServerID != nil && *p.ServerID == server {
			return &pauses[i]
		}
	}
	return nil
}

// pauseReason is a pause for people.
func pauseReason(p controller.Pause) string {
	what := "everything"
	switch p.Scope {
	case controller.PauseProject:
		what = "project " + p.Project
	case controller.PauseServer:
		what = "server " + p.Server
	case controller.PauseSchedule:
		what = "the schedule"
	}
	until := ""
	if p.Until != nil {
		until = " until " + utc(*p.Until)
	}
	return what + " is paused" + until + ": " + p.Reason
}

// utc is a time for people.
func utc(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05") + " UTC" }
