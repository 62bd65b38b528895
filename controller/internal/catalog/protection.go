package catalog

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"devflowbackup/controller"
)

// protectionChunk is how many databases are judged at once.
const protectionChunk = 1000

// protectionLooked bounds how many databases are looked at to find those in a state.
const protectionLooked = 200_000

// pausesLooked bounds how many pauses are held against what is expected.
const pausesLooked = 10_000

const protectionOrder = "s.name, d.instance, d.name, d.id"

// protectionRow is a database with what its state follows from.
type protectionRow struct {
	controller.Protection
	MissingSince *time.Time
	Revoked      bool
	Since        time.Time
}

// ProtectionPage reads the protection of the whole installation's databases, by id: those after an id.
func (c *Catalog) ProtectionPage(ctx context.Context, afterID int64, limit int) ([]controller.Protection, error) {
	var out []controller.Protection
	err := c.system(ctx, func(t *tx) error {
		var ids []int64
		if err := t.scan(ctx, &ids, "SELECT id FROM databases WHERE id > ? ORDER BY id LIMIT ?", afterID, max(limit, 0)); err != nil {
			return err
		}
		j, err := t.judge(ctx)
		if err != nil {
			return err
		}
		out, err = j.judged(ctx, ids, true)
		return err
	})
	return out, err
}

// Protection lists how well databases are protected, by server, instance and name. A caller of some projects sees those assigned to them.
func (c *Catalog) Protection(ctx context.Context, actor controller.Actor, f controller.ProtectionFilter) ([]controller.Protection, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	var out []controller.Protection
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		out = []controller.Protection{}
		where, err := t.protectionConditions(ctx, f)
		if err != nil {
			return err
		}
		var ids []int64
		if f.State == "" {
			err = t.part(ctx, &ids, "d.id", databaseTables, where, protectionOrder, f.Part)
		} else {
			ids, err = t.inState(ctx, where, f.State, f.Part)
		}
		if err != nil || len(ids) == 0 {
			return err
		}
		return t.elevated(ctx, func() error { // what is read was bounded by the scope above
			j, err := t.judge(ctx)
			if err != nil {
				return err
			}
			out, err = j.judged(ctx, ids, true)
			return err
		})
	})
	return out, err
}

// CountProtection counts what Protection lists, whatever the page.
func (c *Catalog) CountProtection(ctx context.Context, actor controller.Actor, f controller.ProtectionFilter) (controller.Total, error) {
	var n controller.Total
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		where, err := t.protectionConditions(ctx, f)
		if err != nil {
			return err
		}
		if f.State == "" {
			n, err = t.count(ctx, databaseTables, where)
			return err
		}
		ids, err := t.inState(ctx, where, f.State, controller.Part{NumberedPage: controller.NumberedPage{Page: 1, PerPage: controller.MaxCounted + 1}})
		n = controller.Total{N: min(int64(len(ids)), controller.MaxCounted), More: len(ids) > controller.MaxCounted}
		return err
	})
	return n, err
}

func (t *tx) protectionConditions(ctx context.Context, f controller.ProtectionFilter) (conditions, error) {
	return t.databaseConditions(ctx, controller.DatabaseFilter{Project: f.Project, Server: f.Server, Search: f.Search})
}

// inState are a part of the databases that are in a state, in the order of the list. A state is not in the catalog: it follows from the
// schedules, the backups and the time.
func (t *tx) inState(ctx context.Context, where conditions, state string, p controller.Part) ([]int64, error) {
	if err := t.following(ctx, databaseTables, &where, protectionOrder, p.AfterID); err != nil {
		return nil, err
	}
	var all []int64
	if err := t.scan(ctx, &all, "SELECT d.id FROM "+databaseTables+" WHERE "+where.where()+" ORDER BY "+protectionOrder+" LIMIT ?", append(where.args, protectionLooked)...); err != nil {
		return nil, err
	}
	limit, skip := p.PerPage, p.Offset()
	if p.Page == 0 {
		limit = min(cmp.Or(p.Limit, 100), controller.MaxPart)
	}
	var found []int64
	err := t.elevated(ctx, func() error {
		j, err := t.judge(ctx)
		if err != nil {
			return err
		}
		for start := 0; start < len(all) && len(found) < limit; start += protectionChunk {
			rows, err := j.judged(ctx, all[start:min(start+protectionChunk, len(all))], false)
			if err != nil {
				return err
			}
			for _, r := range rows {
				if r.State != state {
					continue
				}
				if skip > 0 {
					skip--
				} else if len(found) < limit {
					found = append(found, r.DatabaseID)
				}
			}
		}
		return nil
	})
	return found, err
}

// judge is what all databases are judged by: the time and the pauses.
type judge struct {
	t      *tx
	now    time.Time
	pauses map[string][]controller.Pause // by scope and id
}

func (t *tx) judge(ctx context.Context) (*judge, error) {
	now, err := t.now(ctx)
	if err != nil {
		return nil, err
	}
	var pauses []controller.Pause
	err = t.scan(ctx, &pauses, "SELECT "+pauseColumns+" FROM "+pauseTables+" WHERE "+pauseOpen+` OR coalesce(q.ended_at, q.until) > now() - interval '400 days'
		ORDER BY q.ended_at DESC NULLS FIRST, q.id DESC LIMIT ?`, pausesLooked)
	if err != nil {
		return nil, err
	}
	j := &judge{t: t, now: now, pauses: map[string][]controller.Pause{}}
	for _, p := range pauses {
		key := pauseKey(p.Scope, number(map[string]*int64{controller.PauseProject: p.ProjectID, controller.PauseServer: p.ServerID, controller.PauseSchedule: p.ScheduleID}[p.Scope]))
		j.pauses[key] = append(j.pauses[key], p)
	}
	return j, nil
}

func pauseKey(scope string, id int64) string { return scope + " " + itoa(id) }

// judged reads databases and their states in the order of the ids. full reads besides what is told of their last backups.
func (j *judge) judged(ctx context.Context, ids []int64, full bool) ([]controller.Protection, error) {
	if len(ids) == 0 {
		return []controller.Protection{}, nil
	}
	rows, err := j.t.protectionRows(ctx, ids, full)
	if err != nil {
		return nil, err
	}
	of, err := j.t.coverage(ctx, rows)
	if err != nil {
		return nil, err
	}
	byID := make(map[int64]controller.Protection, len(rows))
	for i := range rows {
		r := &rows[i]
		facts := controller.ProtectionFacts{Now: j.now, Since: r.Since, Missing: r.MissingSince, Revoked: r.Revoked}
		for _, s := range of.database(r.Protection) {
			facts.Covering = append(facts.Covering, j.covering(s, r.ServerID))
		}
		r.Judge(facts)
		r.Trends()
		byID[r.DatabaseID] = r.Protection
	}
	out := make([]controller.Protection, 0, len(ids))
	for _, id := range ids {
		if p, ok := byID[id]; ok {
			out = append(out, p)
		}
	}
	return out, nil
}

// covering is what a schedule asks for of a database on a server.
func (j *judge) covering(s coveringSchedule, server int64) controller.Covering {
	c := controller.Covering{ID: s.ID, Within: s.within, ActivatedAt: s.ActivatedAt}
	for _, key := range []string{
		pauseKey(controller.PauseEverything, 0), pauseKey(controller.PauseProject, s.ProjectID), pauseKey(controller.PauseServer, server), pauseKey(controller.PauseSchedule, s.ID),
	} {
		for _, p := range j.pauses[key] {
			if p.EndedAt != nil {
				c.Held = append(c.Held, controller.Period{From: p.CreatedAt, To: *p.EndedAt})
			} else {
				c.Paused = pauseReason(p)
			}
		}
	}
	return c
}

// protectionRows reads databases. What it costs for each does not grow with its backups.
func (t *tx) protectionRows(ctx context.Context, ids []int64, full bool) ([]protectionRow, error) {
	// A database that changed hands shows its new project no backup of the old one.
	const own = "q.database_id = d.id AND (d.project_id IS NULL OR q.project_id = d.project_id) AND q.deleted_at IS NULL"
	columns := `d.id AS database_id, d.name AS database, d.engine, d.server_id, s.name AS server, ` + t.cat.online() + ` AS online, s.revoked_at IS NOT NULL AS revoked,
		d.project_id, coalesce(p.slug, '') AS project, d.missing_since, greatest(d.first_seen_at, d.assigned_at) AS since, d.ignored_at, d.ignored_by, d.ignored_reason,
		good.id AS last_good_id, good.completed_at AS last_good_at, good.verified_at, coalesce(good.verified_level, '') AS verified_level, coalesce(ended.status, '') AS last_status`
	tables := databaseTables + `
		LEFT JOIN LATERAL (SELECT q.id, q.completed_at, q.verified_at, q.verified_level FROM database_backups q WHERE ` + own + ` AND q.status = 'completed' AND q.health IN ('ok', 'archived')
			ORDER BY q.completed_at DESC LIMIT 1) good ON true
		LEFT JOIN LATERAL (SELECT q.status, q.error_message FROM database_backups q WHERE ` + own + ` AND q.status IN ('completed', 'failed') ORDER BY q.id DESC LIMIT 1) ended ON true`
	if full {
		columns += `, CASE WHEN ended.status = 'failed' THEN coalesce(ended.error_message, '') ELSE '' END AS last_error, past.sizes, past.seconds`
		tables += `
		LEFT JOIN LATERAL (SELECT coalesce(jsonb_agg(h.size ORDER BY h.completed_at, h.id), '[]') AS sizes, coalesce(jsonb_agg(h.seconds ORDER BY h.completed_at, h.id), '[]') AS seconds
			FROM (SELECT q.id, q.completed_at, coalesce(q.file_size, 0) AS size, coalesce(round(extract(epoch FROM q.completed_at - q.started_at), 3), 0) AS seconds FROM database_backups q
				WHERE ` + own + ` AND q.status = 'completed' ORDER BY q.completed_at DESC LIMIT 10) h) past ON true`
	}
	var rows []protectionRow
	err := t.scan(ctx, &rows, "SELECT "+columns+" FROM "+tables+" WHERE d.id = ANY (?)", idArray(ids))
	return rows, err
}

// coveringSchedule is an active schedule with what protection asks of it.
type coveringSchedule struct {
	controller.Schedule
	IntervalSeconds *int64
	ActivatedAt     time.Time

	within time.Duration
}

// coverage are the active schedules that may cover some databases: of one each, and of their projects.
type coverage struct {
	single   map[int64][]coveringSchedule // by database
	projects map[int64][]coveringSchedule // by project
}

// coverage reads the schedules that may cover the databases. A schedule that cannot occur is among them: it should.
func (t *tx) coverage(ctx context.Context, rows []protectionRow) (coverage, error) {
	c := coverage{single: map[int64][]coveringSchedule{}, projects: map[int64][]coveringSchedule{}}
	var databases, projects []int64
	for _, r := range rows {
		if r.ProjectID == nil {
			continue
		}
		databases = append(databases, r.DatabaseID)
		if _, known := c.projects[*r.ProjectID]; !known {
			c.projects[*r.ProjectID] = nil
			projects = append(projects, *r.ProjectID)
		}
	}
	if len(databases) == 0 {
		return c, nil
	}
	const columns = `c.id, c.project_id, c.scope, c.database_id, c.database_type, c.pattern, c.frequency, c."time", c.day_of_week, c.day_of_month, c.cron, c.timezone,
		c.spread_seconds, c.max_duration_seconds, c.interval_seconds, c.activated_at`
	var schedules []coveringSchedule
	err := t.scan(ctx, &schedules, `SELECT `+columns+` FROM backup_schedules c WHERE c.database_id = ANY (?) AND c.scope = 'database' AND c.is_active AND c.deleted_at IS NULL
		UNION ALL SELECT `+columns+` FROM backup_schedules c WHERE c.project_id = ANY (?) AND c.scope <> 'database' AND c.is_active AND c.deleted_at IS NULL ORDER BY id`, idArray(databases), idArray(projects))
	if err != nil {
		return c, err
	}
	known := map[string]time.Duration{}
	for _, s := range schedules {
		interval, ok := known[s.Key()]
		switch {
		case s.IntervalSeconds != nil:
			interval = time.Duration(*s.IntervalSeconds) * time.Second
		case !ok: // it was not planned since the upgrade
			if interval, err = s.Interval(time.Now()); err != nil {
				return c, fmt.Errorf("look how often schedule %d occurs: %w", s.ID, err)
			}
			known[s.Key()] = interval
		}
		spread := time.Duration(0)
		if calendar, err := s.CalendarIn(time.UTC); err == nil {
			spread = s.AgendaOf(calendar).Spread()
		}
		s.within = controller.ExpectWithin(interval, spread, time.Duration(s.MaxDurationSeconds)*time.Second)
		if s.Scope == controller.ScopeDatabase {
			c.single[*s.DatabaseID] = append(c.single[*s.DatabaseID], s)
		} else {
			c.projects[s.ProjectID] = append(c.projects[s.ProjectID], s)
		}
	}
	return c, nil
}

// database are the schedules that cover a database: the default of its project only where no other one does.
func (c coverage) database(d controller.Protection) []coveringSchedule {
	if d.ProjectID == nil {
		return nil
	}
	var out, byDefault []coveringSchedule
	for _, s := range c.single[d.DatabaseID] {
		if s.ProjectID == *d.ProjectID { // it may name one that is no longer the project's
			out = append(out, s)
		}
	}
	for _, s := range c.projects[*d.ProjectID] {
		switch {
		case !covers(s.Schedule, d.DatabaseID, d.Engine, d.Database):
		case s.Scope == controller.ScopeDefault:
			byDefault = append(byDefault, s)
		default:
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return byDefault
	}
	return out
}

// ProtectionSummary counts the databases of a project, or of all that the caller sees, by state, and says what is wrong.
func (c *Catalog) ProtectionSummary(ctx context.Context, actor controller.Actor, project string) (controller.ProtectionSummary, error) {
	var s controller.ProtectionSummary
	err := c.scoped(ctx, actor.Scope, func(t *tx) (err error) {
		s, err = t.protectionSummary(ctx, project)
		return err
	})
	return s, err
}

func (t *tx) protectionSummary(ctx context.Context, project string) (controller.ProtectionSummary, error) {
	s := controller.ProtectionSummary{States: map[string]int64{}, Alarms: map[string]int64{}, Wrong: []controller.Wrong{}}
	for _, state := range controller.ProtectionStates {
		s.States[state] = 0
	}
	for _, severity := range controller.Severities {
		s.Alarms[severity] = 0
	}
	only := int64(0)
	if project != "" {
		p, err := t.project(ctx, project)
		if err != nil {
			return s, err
		}
		s.Project, only = p.Slug, p.ID
	}
	// of is the condition that the column names a project that is asked for and seen; shared, that it may also be of no project. It is the
	// caller's, also where the controller reads.
	seen := string(t.sees("$column"))
	of := func(column string) string {
		if only != 0 {
			return column + " = " + itoa(only)
		}
		return strings.ReplaceAll(seen, "$column", column)
	}
	all := t.scope.All && only == 0
	shared := func(column string) string {
		if all {
			return "TRUE"
		}
		return "(" + column + " IS NULL OR " + of(column) + ")"
	}
	granted := "EXISTS (SELECT FROM project_servers g WHERE g.server_id = s.id AND " + of("g.project_id") + ")"
	if all {
		granted = "TRUE"
	}
	return s, t.elevated(ctx, func() error {
		j, err := t.judge(ctx)
		if err != nil {
			return err
		}
		s.At = j.now
		wrong := map[string]*controller.Wrong{}
		for _, kind := range controller.WrongKinds {
			wrong[kind] = &controller.Wrong{Kind: kind, Names: []string{}}
		}
		for after := int64(0); ; {
			var ids []int64
			if err := t.scan(ctx, &ids, "SELECT id FROM databases WHERE id > ? AND "+of("project_id")+" ORDER BY id LIMIT ?", after, 5*protectionChunk); err != nil {
				return err
			}
			rows, err := j.judged(ctx, ids, false)
			if err != nil {
				return err
			}
			for _, r := range rows {
				count(&s, wrong, r)
			}
			if len(ids) < 5*protectionChunk {
				break
			}
			after = ids[len(ids)-1]
		}
		for _, w := range []struct{ kind, name, tables string }{
			{controller.WrongCorrupt, "b.database_name", "database_backups b WHERE b.health = 'corrupt' AND b.deleted_at IS NULL AND " + of("b.project_id")},
			{controller.WrongMissing, "b.database_name", "database_backups b WHERE b.health = 'missing' AND b.deleted_at IS NULL AND " + of("b.project_id")},
			{controller.WrongStorage, "st.name", "storages st WHERE st.deleted_at IS NULL AND NOT st.probe_ok AND st.probed_at IS NOT NULL AND " + shared("st.project_id")},
			{controller.WrongOffline, "s.name", "servers s WHERE s.revoked_at IS NULL AND NOT " + t.cat.online() + " AND " + granted},
			{controller.WrongSchedule, "'schedule ' || c.id", "backup_schedules c WHERE c.problem <> '' AND c.is_active AND c.deleted_at IS NULL AND " + of("c.project_id")},
			{controller.WrongChannel, "h.name", "channels h WHERE h.failing_since IS NOT NULL AND h.is_active AND h.deleted_at IS NULL AND " + of("h.project_id")},
		} {
			if err := t.wrong(ctx, wrong[w.kind], w.name, w.tables); err != nil {
				return fmt.Errorf("look for what is wrong: %s: %w", w.kind, err)
			}
		}
		if err := t.openAlarms(ctx, &s, wrong[controller.WrongAlarm], of("a.project_id")); err != nil {
			return err
		}
		for _, kind := range controller.WrongKinds {
			if w := wrong[kind]; w.Count > 0 {
				w.Tell()
				s.Wrong = append(s.Wrong, *w)
			}
		}
		return nil
	})
}

// count adds a database to the figures.
func count(s *controller.ProtectionSummary, wrong map[string]*controller.Wrong, r controller.Protection) {
	s.Databases++
	s.States[r.State]++
	if r.State == controller.ProtectionProtected && r.VerifiedAt == nil {
		s.Unverified++
	}
	switch r.State {
	case controller.ProtectionOverdue:
		wrong[controller.WrongOverdue].Add(r.Database)
	case controller.ProtectionUnprotected:
		wrong[controller.WrongUnprotected].Add(r.Database)
	}
	if r.LastStatus == controller.StatusFailed && r.State != controller.ProtectionGone && r.State != controller.ProtectionIgnored {
		wrong[controller.WrongFailing].Add(r.Database)
	}
}

// wrong counts rows, up to controller.MaxCounted, and names the first of them.
func (t *tx) wrong(ctx context.Context, w *controller.Wrong, name, tables string) error {
	var names []string
	if err := t.scan(ctx, &names, "SELECT DISTINCT name FROM (SELECT "+name+" AS name FROM "+tables+" LIMIT 100) q ORDER BY name LIMIT ?", controller.WrongNames); err != nil {
		return err
	}
	if len(names) == 0 {
		return nil
	}
	w.Names = names
	return t.scan(ctx, &w.Count, "SELECT count(*) FROM (SELECT 1 FROM "+tables+" LIMIT ?) q", controller.MaxCounted)
}

// openAlarms counts the open alarms that are not muted.
func (t *tx) openAlarms(ctx context.Context, s *controller.ProtectionSummary, w *controller.Wrong, seen string) error {
	var rows []struct {
		Severity string
		Alarms   int64
		Titles   []string
	}
	err := t.scan(ctx, &rows, `SELECT a.severity, count(*) AS alarms, to_jsonb((array_agg(a.title ORDER BY a.id DESC))[1:?]) AS titles FROM alarms a
		WHERE a.closed_at IS NULL AND NOT a.silenced AND ? AND NOT EXISTS (SELECT FROM mutes m WHERE m.ended_at IS NULL AND m.until > now() AND m.kind IN ('', a.kind)
			AND (m.scope = 'everything' OR m.scope = 'project' AND m.project_id = a.project_id OR m.scope = 'server' AND m.server_id = a.server_id
				OR m.scope = 'database' AND m.database_id = a.database_id OR m.scope = 'alarm' AND m.alarm_id = a.id))
		GROUP BY a.severity`, controller.WrongNames, bun.Safe(seen))
	for _, severity := range []string{controller.SeverityCritical, controller.SeverityWarning, controller.SeverityInfo} {
		for _, r := range rows {
			if r.Severity != severity {
				continue
			}
			s.Alarms[severity] = r.Alarms
			if severity == controller.SeverityInfo {
				continue
			}
			w.Count += r.Alarms
			w.Names = append(w.Names, r.Titles[:min(len(r.Titles), controller.WrongNames-len(w.Names))]...)
		}
	}
	return err
}

// IgnoreDatabase records the choice that a database need not be backed up. One that a schedule covers is watched all the same.
func (c *Catalog) IgnoreDatabase(ctx context.Context, actor controller.Actor, id int64, reason string) (controller.Protection, error) {
	reason = strings.TrimSpace(reason)
	if reason == "" {
		return controller.Protection{}, controller.Invalid("reason", "is missing; say why it need not be backed up")
	}
	return c.setIgnored(ctx, actor, id, "database.ignore", map[string]any{"reason": cut(reason, 500)},
		"UPDATE databases SET ignored_at = now(), ignored_by = ?, ignored_reason = ? WHERE id = ?", cut(actor.Name, 200), cut(reason, 500), id)
}

// UnignoreDatabase takes that choice back. Repeating it changes nothing.
func (c *Catalog) UnignoreDatabase(ctx context.Context, actor controller.Actor, id int64) (controller.Protection, error) {
	return c.setIgnored(ctx, actor, id, "database.unignore", nil, "UPDATE databases SET ignored_at = NULL, ignored_by = '', ignored_reason = '' WHERE id = ? AND ignored_at IS NOT NULL", id)
}

func (c *Catalog) setIgnored(ctx context.Context, actor controller.Actor, id int64, action string, detail map[string]any, query string, args ...any) (controller.Protection, error) {
	var p controller.Protection
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		d, err := t.database(ctx, controller.DatabaseRef{ID: id})
		if err != nil {
			return err
		}
		n, err := t.exec(ctx, query, args...)
		if err != nil {
			return err
		}
		if n > 0 {
			told := map[string]any{"database_id": d.ID}
			for k, v := range detail {
				told[k] = v
			}
			if err := t.audit(ctx, actor, action, d.ProjectID, d.Server+"/"+d.Instance+"/"+d.Name, told); err != nil {
				return err
			}
		}
		return t.elevated(ctx, func() error {
			j, err := t.judge(ctx)
			if err != nil {
				return err
			}
			rows, err := j.judged(ctx, []int64{id}, true)
			if err == nil && len(rows) == 1 {
				p = rows[0]
			}
			return err
		})
	})
	return p, err
}
