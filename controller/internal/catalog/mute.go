package catalog

import (
	"context"
	"strconv"

	"devflowbackup/controller"
)

// muteOpen is the condition that mutes m hold now.
const muteOpen = "m.ended_at IS NULL AND m.until > now()"

// mutedUntil is when the last mute of alarms a ends, whichever channel takes them; null if none holds.
const mutedUntil = `(SELECT max(m.until) FROM mutes m WHERE ` + muteOpen + ` AND m.kind IN ('', a.kind) AND (m.scope = 'everything' OR m.scope = 'project' AND m.project_id = a.project_id
	OR m.scope = 'server' AND m.server_id = a.server_id OR m.scope = 'database' AND m.database_id = a.database_id OR m.scope = 'alarm' AND m.alarm_id = a.id))`

const muteColumns = `m.id, m.scope, m.kind, m.project_id, coalesce(p.slug, '') AS project, m.server_id, coalesce(s.name, '') AS server, m.database_id, coalesce(d.name, '') AS database,
	m.channel_id, coalesce(ch.name, '') AS channel, m.alarm_id, coalesce(a.title, '') AS alarm, m.until, m.reason, m.created_by, m.created_at, coalesce(m.ended_at, CASE WHEN m.until <= now() THEN m.until END) AS ended_at, m.ended_by`

const muteTables = `mutes m LEFT JOIN projects p ON p.id = m.project_id LEFT JOIN servers s ON s.id = m.server_id LEFT JOIN databases d ON d.id = m.database_id
	LEFT JOIN channels ch ON ch.id = m.channel_id LEFT JOIN alarms a ON a.id = m.alarm_id`

// mutesSeen is the condition that the scope sees mutes m: its projects' own, and those of everything and of servers, which silence it too.
func (t *tx) mutesSeen() string {
	return "(" + string(t.sees("m.project_id")) + " OR m.project_id IS NULL AND m.scope IN ('everything', 'server'))"
}

// Mutes lists the mutes that hold, newest first; with all, those that are over too.
func (c *Catalog) Mutes(ctx context.Context, actor controller.Actor, f controller.MuteFilter) ([]controller.Mute, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	var out []controller.Mute
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		out = []controller.Mute{}
		where := t.muteConditions(f)
		where.number("m.id < ?", f.BeforeID)
		limit, offset := limits(f.Limit, f.NumberedPage)
		return t.scan(ctx, &out, "SELECT "+muteColumns+" FROM "+muteTables+" WHERE "+where.where()+" ORDER BY m.id DESC LIMIT ? OFFSET ?", append(where.args, limit, offset)...)
	})
	return out, err
}

// CountMutes counts what Mutes lists, whatever the page.
func (c *Catalog) CountMutes(ctx context.Context, actor controller.Actor, f controller.MuteFilter) (controller.Total, error) {
	var n controller.Total
	err := c.scoped(ctx, actor.Scope, func(t *tx) (err error) {
		n, err = t.count(ctx, "mutes m", t.muteConditions(f))
		return err
	})
	return n, err
}

func (t *tx) muteConditions(f controller.MuteFilter) conditions {
	var c conditions
	c.add(t.mutesSeen())
	if !f.All {
		c.add(muteOpen)
	}
	return c
}

func (t *tx) mute(ctx context.Context, id int64) (controller.Mute, error) {
	var m controller.Mute
	found, err := t.find(ctx, &m, "SELECT "+muteColumns+" FROM "+muteTables+" WHERE m.id = ? AND "+t.mutesSeen(), id)
	if err == nil && !found {
		err = controller.Errorf(controller.ENotFound, "mute %d does not exist", id).WithHint("`devflowctl mute list` shows the mutes")
	}
	return m, err
}

// muteAccess refuses mutes that the caller may not make or end: what reaches beyond its projects, and channels and everything without the
// permission to manage them.
func muteAccess(actor controller.Actor, scope string, project *int64) error {
	if project == nil {
		if err := wholeInstallation(actor, "mutes of what is of no project"); err != nil {
			return err
		}
	}
	if scope != controller.MuteEverything && scope != controller.MuteChannel {
		return nil
	}
	if lacks, ok := actor.CanGrant([]string{controller.ManageProjects}); !ok {
		return controller.Errorf(controller.EForbidden, "a mute of %s needs the permission %s", map[string]string{
			controller.MuteEverything: "everything", controller.MuteChannel: "a channel",
		}[scope], lacks)
	}
	return nil
}

// CreateMute keeps notices from being sent until a time. They are recorded nevertheless.
func (c *Catalog) CreateMute(ctx context.Context, actor controller.Actor, spec controller.MuteSpec) (controller.Mute, error) {
	var out controller.Mute
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		spec := spec
		if err := spec.Validate(now); err != nil {
			return err
		}
		var project, server, database, channel, alarm *int64
		subject := spec.Scope
		switch spec.Scope {
		case controller.MuteProject:
			p, err := t.project(ctx, spec.Ref)
			if err != nil {
				return err
			}
			project, subject = &p.ID, "project "+p.Slug
		case controller.MuteServer:
			s, err := t.server(ctx, spec.Ref)
			if err != nil {
				return err
			}
			server, subject = &s.ID, "server "+s.Name
		case controller.MuteDatabase:
			d, err := t.mutedDatabase(ctx, spec.Ref)
			if err != nil {
				return err
			}
			project, database, subject = d.ProjectID, &d.ID, "database "+d.Name
		case controller.MuteChannel:
			ch, err := t.channel(ctx, spec.Ref)
			if err != nil {
				return err
			}
			project, channel, subject = ch.ProjectID, &ch.ID, "channel "+ch.Name
		case controller.MuteAlarm:
			id, err := strconv.ParseInt(spec.Ref, 10, 64)
			if err != nil {
				return controller.Invalid("ref", "%.40q is not an alarm's id", spec.Ref)
			}
			a, err := t.alarm(ctx, id)
			if err != nil {
				return err
			}
			if a.ClosedAt != nil {
				return controller.Errorf(controller.EConflict, "alarm %d is closed: there is nothing to mute", id)
			}
			project, alarm, subject = a.ProjectID, &a.ID, "alarm "+itoa(a.ID)
		}
		if err := muteAccess(actor, spec.Scope, project); err != nil {
			return err
		}
		var id int64
		err = t.scan(ctx, &id, `INSERT INTO mutes (scope, kind, project_id, server_id, database_id, channel_id, alarm_id, until, reason, created_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`,
			spec.Scope, spec.Kind, project, server, database, channel, alarm, spec.Until, spec.Reason, cut(actor.Name, 200))
		if err != nil {
			return err
		}
		if err := t.audit(ctx, actor, "mute.create", project, subject, map[string]any{"id": id, "kind": spec.Kind, "until": spec.Until, "reason": spec.Reason}); err != nil {
			return err
		}
		out, err = t.mute(ctx, id)
		return err
	})
	return out, err
}

// mutedDatabase is a database by its id, or by its name where that is the only one.
func (t *tx) mutedDatabase(ctx context.Context, ref string) (controller.Database, error) {
	d, err := t.database(ctx, controller.DatabaseRef{Name: ref})
	if controller.ErrorCode(err) != controller.ENotFound {
		return d, err
	}
	if id, e := strconv.ParseInt(ref, 10, 64); e == nil {
		return t.database(ctx, controller.DatabaseRef{ID: id})
	}
	return d, err
}

// EndMute ends a mute. Repeating it changes nothing. What was muted meanwhile is not sent any more; alarms that stand are reminded of.
func (c *Catalog) EndMute(ctx context.Context, actor controller.Actor, id int64) (controller.Mute, error) {
	var out controller.Mute
	err := c.scoped(ctx, actor.Scope, func(t *tx) (err error) {
		if out, err = t.mute(ctx, id); err != nil {
			return err
		}
		if err := muteAccess(actor, out.Scope, out.ProjectID); err != nil {
			return err
		}
		n, err := t.exec(ctx, "UPDATE mutes m SET ended_at = now(), ended_by = ? WHERE id = ? AND "+muteOpen, cut(actor.Name, 200), id)
		if err != nil || n == 0 {
			return err
		}
		if err := t.audit(ctx, actor, "mute.end", out.ProjectID, out.Scope, map[string]any{"id": id}); err != nil {
			return err
		}
		out, err = t.mute(ctx, id)
		return err
	})
	return out, err
}
