package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"devflowbackup/controller"
	"devflowbackup/shared/version"
)

const (
	// conditionsLooked bounds how many conditions of one kind are looked at.
	conditionsLooked = 50_000
	// certificateSoon and tokenSoon are how long before its end something is told.
	certificateSoon = 30 * 24 * time.Hour
	tokenSoon       = 14 * 24 * time.Hour
	// silentFor is how long a controller that is gone is waited for.
	silentFor = 7 * 24 * time.Hour
	// plainRetention is how many days backups are kept that no schedule made.
	plainRetention = 30
)

// conditionKinds have alarms that stand as long as their condition does. Those of failing backups and overlaps follow from facts.
var conditionKinds = []string{
	controller.NoticeOverdue, controller.NoticeBackupMissing, controller.NoticeBackupCorrupt, controller.NoticeStorageConflict, controller.NoticeAgentOffline,
	controller.NoticeAgentOutdated, controller.NoticeStorageUnavailable, controller.NoticeStorageFull, controller.NoticeRetentionHeld, controller.NoticeCertificate,
	controller.NoticeToken, controller.NoticeNoChannel, controller.NoticeSchedule, controller.NoticeController, controller.NoticeChannel,
}

// condition is something that holds now and should not.
type condition struct {
	standing
	Since time.Time
	after time.Duration // it opens an alarm once it holds for so long
}

// look gathers the conditions that hold.
type look struct {
	*tx
	now      time.Time
	patience controller.Patience
	found    map[string]condition
	states   map[int64]controller.Protection // of overdue alarms' databases
	covered  map[int64]bool                  // servers with a database that an active schedule covers
}

func (l *look) add(c condition, of any) {
	c.Key = c.Kind
	if of != nil {
		c.Key = fmt.Sprintf("%s:%v", c.Kind, of)
	}
	if c.Severity == "" {
		kind, _ := controller.KindOfNotice(c.Kind)
		c.Severity = kind.Severity
	}
	l.found[c.Key] = c
}

// Conditions looks at everything that may stand and opens and closes the alarms of it, with their notices, in one transaction. An alarm is opened once
// its condition held long enough, and closed once it was not seen for a whole round. One controller does it each interval; for the others, Done is false.
func (c *Catalog) Conditions(ctx context.Context, now time.Time, every time.Duration, patience controller.Patience, ends []controller.CertificateEnd) (controller.Standing, error) {
	var out controller.Standing
	mine, err := c.claimRound(ctx, "looking", now, every)
	if err != nil || !mine {
		return out, err
	}
	l := &look{now: now, patience: patience, found: map[string]condition{}, states: map[int64]controller.Protection{}, covered: map[int64]bool{}}
	if err := l.overdue(ctx, c); err != nil {
		return out, fmt.Errorf("look at protection: %w", err)
	}
	overdue := len(l.found)
	err = c.system(ctx, func(t *tx) error {
		if len(l.found) > overdue { // the transaction is tried again
			for key := range l.found {
				if l.found[key].Kind != controller.NoticeOverdue {
					delete(l.found, key)
				}
			}
		}
		l.tx = t
		return l.all(ctx, ends)
	})
	if err != nil {
		return out, fmt.Errorf("look at conditions: %w", err)
	}
	err = c.system(ctx, func(t *tx) error {
		out = controller.Standing{Holding: len(l.found)}
		if _, err := t.exec(ctx, "SELECT pg_advisory_xact_lock(?)", lockAlarms); err != nil {
			return err
		}
		// What was seen is acted on only if nobody has begun to look since.
		n, err := t.exec(ctx, "UPDATE alarm_rounds SET done_at = ? WHERE name = 'conditions' AND (SELECT done_at FROM alarm_rounds WHERE name = 'looking') = ?::timestamptz", now, now)
		if err != nil || n == 0 {
			return err
		}
		out.Done = true
		return t.compare(ctx, l, &out)
	})
	if err != nil {
		return controller.Standing{}, fmt.Errorf("open and close alarms: %w", err)
	}
	return out, nil
}

// claimRound takes a piece of work that is done each interval, unless another controller has.
func (c *Catalog) claimRound(ctx context.Context, name string, now time.Time, every time.Duration) (mine bool, err error) {
	err = c.system(ctx, func(t *tx) error {
		n, err := t.exec(ctx, "UPDATE alarm_rounds SET done_at = ? WHERE name = (SELECT name FROM alarm_rounds WHERE name = ? AND done_at <= ? FOR UPDATE SKIP LOCKED)",
			now, name, now.Add(-every+every/10)) // controllers' ticks are not exact
		mine = n > 0
		return err
	})
	if err != nil {
		return false, fmt.Errorf("claim round %s: %w", name, err)
	}
	return mine, nil
}

// ConditionsDone is when conditions were looked at last, by whichever controller; zero: never.
func (c *Catalog) ConditionsDone(ctx context.Context) (time.Time, error) {
	var at *time.Time
	err := c.system(ctx, func(t *tx) error {
		return t.scan(ctx, &at, "SELECT nullif(done_at, '-infinity') FROM alarm_rounds WHERE name = 'conditions'")
	})
	if err != nil || at == nil {
		return time.Time{}, err
	}
	return at.UTC(), nil
}

// overdue pages through the protection of all databases.
func (l *look) overdue(ctx context.Context, c *Catalog) error {
	for after := int64(0); ; {
		page, err := c.ProtectionPage(ctx, after, protectionChunk)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, p := range page {
			after = max(after, p.DatabaseID)
			if len(p.Schedules) > 0 {
				l.covered[p.ServerID] = true
			}
			if p.State != controller.ProtectionProtected {
				l.states[p.DatabaseID] = controller.Protection{State: p.State, Reason: p.Reason}
			}
			if p.State != controller.ProtectionOverdue {
				continue
			}
			since := l.now
			if p.OverdueAt != nil {
				since = *p.OverdueAt
			}
			detail := sentences(p.Reason, "`devflowctl status` tells what else is wrong")
			if p.LastError != "" {
				detail = sentences(p.Reason, "The last one failed: "+p.LastError)
			}
			l.add(condition{Since: since, standing: standing{
				Kind: controller.NoticeOverdue, Title: fmt.Sprintf("Backup of %s on %s is overdue", p.Database, p.Server), Detail: detail,
				Subject: controller.Subject{ProjectID: p.ProjectID, Project: p.Project, ServerID: &p.ServerID, Server: p.Server, DatabaseID: &p.DatabaseID, Database: p.Database, BackupID: p.LastGoodID},
			}}, p.DatabaseID)
		}
		if len(page) < protectionChunk {
			return nil
		}
	}
}

func (l *look) all(ctx context.Context, ends []controller.CertificateEnd) error {
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"unhealthy backups", l.unhealthy},
		{"storages", l.storages},
		{"lifecycle rules", l.lifecycle},
		{"locks", l.locks},
		{"servers", l.servers},
		{"schedules", l.schedules},
		{"clean-ups", l.cleanups},
		{"tokens", l.tokens},
		{"controllers", l.controllers},
		{"channels", l.failingChannels},
		{"schedules without a channel", l.unheard},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	for _, e := range ends {
		if e.At.Sub(l.now) > certificateSoon {
			continue
		}
		title := fmt.Sprintf("%s ends on %s", e.Name, e.At.UTC().Format(time.DateOnly))
		if !e.At.After(l.now) {
			title = fmt.Sprintf("%s has ended on %s", e.Name, e.At.UTC().Format(time.DateOnly))
		}
		l.add(condition{Since: l.now, standing: standing{Kind: controller.NoticeCertificate, Title: title, Detail: "Clients will refuse it then. Renew it, and see docs/configuration.md."}}, e.Name)
	}
	return nil
}

func (l *look) unhealthy(ctx context.Context) error {
	var rows []struct {
		controller.Subject
		Health, Reason string
		Since          time.Time
	}
	err := l.scan(ctx, &rows, `SELECT b.id AS backup_id, b.project_id, p.slug AS project, b.server_id, s.name AS server, b.database_id, b.database_name AS database, b.storage_id, st.name AS storage,
			b.health, b.health_reason AS reason, coalesce(b.health_at, b.created_at) AS since
		FROM database_backups b JOIN projects p ON p.id = b.project_id JOIN servers s ON s.id = b.server_id JOIN storages st ON st.id = b.storage_id
		WHERE b.health IN ('missing', 'corrupt') AND b.status = 'completed' AND b.deleted_at IS NULL ORDER BY b.id LIMIT ?`, conditionsLooked)
	for _, r := range rows {
		kind, what := controller.NoticeBackupMissing, "is missing from storage "+r.Storage
		if r.Health == controller.HealthCorrupt {
			kind, what = controller.NoticeBackupCorrupt, "is corrupt"
		}
		l.add(condition{Since: r.Since, standing: standing{
			Kind: kind, Subject: r.Subject, Title: fmt.Sprintf("Backup %d of %s on %s %s", *r.BackupID, r.Database, r.Server, what),
			Detail: sentences(r.Reason, "Make a new backup now: `devflowctl backup create`"),
		}}, *r.BackupID)
	}
	return err
}

func (l *look) storages(ctx context.Context) error {
	var rows []struct {
		controller.Subject
		Detail string
		Since  time.Time
	}
	err := l.scan(ctx, &rows, `SELECT st.id AS storage_id, st.name AS storage, st.project_id, coalesce(p.slug, '') AS project, st.probed_at AS since,
			coalesce((SELECT (e->>'name') || ': ' || (e->>'detail') FROM jsonb_array_elements(CASE jsonb_typeof(st.probe->'steps') WHEN 'array' THEN st.probe->'steps' ELSE '[]' END) e
				WHERE e->>'ok' = 'false' ORDER BY e->>'required' = 'true' DESC LIMIT 1), '') AS detail
		FROM storages st LEFT JOIN projects p ON p.id = st.project_id WHERE st.deleted_at IS NULL AND st.kind <> 'local' AND NOT st.probe_ok AND st.probed_at IS NOT NULL ORDER BY st.id LIMIT ?`, conditionsLooked)
	for _, r := range rows {
		l.add(condition{Since: r.Since, standing: standing{
			Kind: controller.NoticeStorageUnavailable, Subject: r.Subject, Title: fmt.Sprintf("Storage %s is not available", r.Storage),
			Detail: sentences("It did not pass its probe: "+orText(r.Detail, "no step is known"), fmt.Sprintf("No backup is made on it until it does: `devflowctl storage probe %s` tries again", r.Storage)),
		}}, *r.StorageID)
	}
	return err
}

// lifecycleRule is what of a probe's report is held against retention.
type lifecycleRule struct {
	ID          string     `json:"id"`
	Days        int        `json:"days"`
	Date        *time.Time `json:"date"`
	ArchiveDays int        `json:"archive_days"`
}

func (l *look) lifecycle(ctx context.Context) error {
	var rows []struct {
		controller.Subject
		Rules  json.RawMessage
		Since  time.Time
		Longer int
	}
	err := l.scan(ctx, &rows, `WITH ruled AS (SELECT st.* FROM storages st WHERE st.deleted_at IS NULL AND EXISTS (
			SELECT FROM jsonb_array_elements(CASE jsonb_typeof(st.probe->'lifecycle') WHEN 'array' THEN st.probe->'lifecycle' ELSE '[]' END) e
			WHERE coalesce((e->>'days')::int, 0) > 0 OR e->>'date' IS NOT NULL OR coalesce((e->>'archive_days')::int, 0) > 0)),
		used AS (SELECT coalesce(c.storage_id, (SELECT q.id FROM storages q WHERE q.deleted_at IS NULL AND (q.project_id = c.project_id OR q.project_id IS NULL) AND (c.storage_disk = '' OR q.kind = c.storage_disk)
				ORDER BY CASE WHEN q.id = p.default_storage_id THEN 1 WHEN NOT q.is_default THEN 4 WHEN q.project_id IS NOT NULL THEN 2 ELSE 3 END, q.name, q.id LIMIT 1)) AS storage,
				greatest(c.retention_days, (c.retention_hourly + 23) / 24, c.retention_daily, 7 * c.retention_weekly, 31 * c.retention_monthly) AS days
			FROM backup_schedules c JOIN projects p ON p.id = c.project_id AND p.deleted_at IS NULL WHERE c.is_active AND c.deleted_at IS NULL AND EXISTS (SELECT FROM ruled))
		SELECT st.id AS storage_id, st.name AS storage, st.project_id, coalesce(p.slug, '') AS project, coalesce(st.probed_at, st.created_at) AS since, st.probe->'lifecycle' AS rules,
			coalesce((SELECT max(u.days) FROM used u WHERE u.storage = st.id), ?) AS longer
		FROM ruled st LEFT JOIN projects p ON p.id = st.project_id ORDER BY st.id LIMIT ?`, plainRetention, conditionsLooked)
	for _, r := range rows {
		var rules []lifecycleRule
		if json.Unmarshal(r.Rules, &rules) != nil {
			continue // a report of another version
		}
		var told []string
		for _, e := range rules {
			switch {
			case e.Days > 0 && e.Days <= r.Longer:
				told = append(told, fmt.Sprintf("Lifecycle rule %q removes objects after %d days, and backups are kept for %d", e.ID, e.Days, r.Longer))
			case e.Date != nil:
				told = append(told, fmt.Sprintf("Lifecycle rule %q removes objects on %s", e.ID, e.Date.UTC().Format(time.DateOnly)))
			case e.ArchiveDays > 0 && e.ArchiveDays <= r.Longer:
				told = append(told, fmt.Sprintf("Lifecycle rule %q archives objects after %d days, and backups are kept for %d: archived ones cannot be read at once", e.ID, e.ArchiveDays, r.Longer))
			}
		}
		if len(told) > 0 {
			l.add(condition{Since: r.Since, standing: standing{
				Kind: controller.NoticeStorageConflict, Subject: r.Subject, Title: fmt.Sprintf("A lifecycle rule of storage %s is against retention", r.Storage),
				Detail: sentences(append(told, "Take the rule away: retention removes what is no longer kept")...),
			}}, *r.StorageID)
		}
	}
	return err
}

// locks are storages that refuse to delete what retention or people removed.
func (l *look) locks(ctx context.Context) error {
	var rows []struct {
		controller.Subject
		Backups int64
		Until   time.Time
	}
	err := l.scan(ctx, &rows, `SELECT st.id AS storage_id, st.name AS storage, st.project_id, coalesce(p.slug, '') AS project, count(*) AS backups, max(b.locked_until) AS until
		FROM database_backups b JOIN storages st ON st.id = b.storage_id LEFT JOIN projects p ON p.id = st.project_id
		WHERE b.deleted_at IS NOT NULL AND b.purged_at IS NULL AND b.delete_waiting <> '' AND b.locked_until > ? GROUP BY 1, 2, 3, 4 ORDER BY 1 LIMIT ?`, l.now, conditionsLooked)
	for _, r := range rows {
		l.add(condition{Since: l.now, standing: standing{
			Kind: controller.NoticeStorageConflict, Subject: r.Subject, Title: fmt.Sprintf("Storage %s keeps what retention removed", r.Storage),
			Detail: sentences(fmt.Sprintf("%d deleted backups are locked there, the last until %s", r.Backups, utc(r.Until)), "Keep backups at least as long as the bucket locks them, or shorten its default retention"),
		}}, fmt.Sprintf("%d:lock", *r.StorageID))
	}
	return err
}

// servers are agents that are offline or older than this controller, and backup directories on their hosts.
func (l *look) servers(ctx context.Context) error {
	var rows []struct {
		controller.Subject
		AgentVersion               string
		SeenAt                     time.Time
		Never                      bool
		Silent                     bool
		Dir, Fault                 string
		FreeBytes, Total, MinBytes int64
	}
	err := l.scan(ctx, &rows, `SELECT s.id AS server_id, s.name AS server, s.agent_version, coalesce(s.last_seen_at, s.enrolled_at) AS seen_at, s.last_seen_at IS NULL AS never,
			coalesce(s.last_seen_at, s.enrolled_at) <= ?::timestamptz - ? AS silent, coalesce(s.host->'local'->>'dir', '') AS dir, coalesce(s.host->'local'->>'error', '') AS fault,
			coalesce((s.host->'local'->>'free_bytes')::bigint, 0) AS free_bytes, coalesce((s.host->'local'->>'total_bytes')::bigint, 0) AS total, coalesce((s.host->'local'->>'min_free')::bigint, 0) AS min_bytes
		FROM servers s WHERE s.revoked_at IS NULL ORDER BY s.id LIMIT ?`, l.now, interval(min(l.cat.opts.OfflineAfter, l.patience.Offline)), conditionsLooked)
	for _, r := range rows {
		if r.Silent {
			l.offline(r.Subject, r.SeenAt, r.Never)
			continue // what it said last is old
		}
		if version.Older(r.AgentVersion, version.Version) {
			l.add(condition{Since: r.SeenAt, standing: standing{
				Kind: controller.NoticeAgentOutdated, Subject: r.Subject, Title: fmt.Sprintf("Agent on %s is outdated", r.Server),
				Detail: fmt.Sprintf("It has version %s, older than %s. Install this version of devflow-agent there.", r.AgentVersion, version.Version),
			}}, *r.ServerID)
		}
		switch {
		case r.Dir == "":
		case r.Fault != "":
			l.add(condition{Since: r.SeenAt, standing: standing{
				Kind: controller.NoticeStorageUnavailable, Subject: r.Subject, Title: fmt.Sprintf("Backup directory on %s is not available", r.Server),
				Detail: sentences(r.Dir+": "+r.Fault, "On that host: `devflow-agent check`"),
			}}, fmt.Sprintf("server:%d", *r.ServerID))
		case r.Total > 0 && r.FreeBytes < r.Total/10 || r.FreeBytes < 2*r.MinBytes:
			l.add(condition{Since: r.SeenAt, standing: standing{
				Kind: controller.NoticeStorageFull, Subject: r.Subject, Title: fmt.Sprintf("Backup directory on %s is nearly full", r.Server),
				Detail: sentences(fmt.Sprintf("%s has %s free of %s; backups stop at %s", r.Dir, controller.SizeText(r.FreeBytes), controller.SizeText(r.Total), controller.SizeText(r.MinBytes)), "Make room there, or shorten retention"),
			}}, fmt.Sprintf("server:%d", *r.ServerID))
		}
	}
	return err
}

func (l *look) offline(subject controller.Subject, seen time.Time, never bool) {
	c := condition{Since: seen, after: l.patience.Offline, standing: standing{
		Kind: controller.NoticeAgentOffline, Severity: controller.SeverityWarning, Subject: subject, Title: fmt.Sprintf("Agent on %s is offline", subject.Server),
		Detail: sentences("It was last heard at "+utc(seen), "Its databases are not backed up until it is back. On that host: `devflow-agent status`; for one that is gone: `devflowctl server revoke`"),
	}}
	if never {
		c.Detail = sentences("It has never connected, since "+utc(seen), "On that host: `devflow-agent status`")
	}
	if l.covered[*subject.ServerID] && l.now.Sub(seen) >= l.patience.Critical {
		c.Severity = controller.SeverityCritical
	}
	l.add(c, *subject.ServerID)
}

func (l *look) schedules(ctx context.Context) error {
	var rows []struct {
		controller.Subject
		Problem string
		Since   time.Time
	}
	err := l.scan(ctx, &rows, `SELECT c.id AS schedule_id, c.project_id, p.slug AS project, c.problem, c.updated_at AS since FROM backup_schedules c JOIN projects p ON p.id = c.project_id AND p.deleted_at IS NULL
		WHERE c.problem <> '' AND c.is_active AND c.deleted_at IS NULL ORDER BY c.id LIMIT ?`, conditionsLooked)
	for _, r := range rows {
		l.add(condition{Since: r.Since, standing: standing{
			Kind: controller.NoticeSchedule, Subject: r.Subject, Title: fmt.Sprintf("Schedule %d of %s cannot occur", *r.ScheduleID, r.Project), Detail: sentences(r.Problem, fmt.Sprintf("`devflowctl schedule edit %d` mends it", *r.ScheduleID)),
		}}, *r.ScheduleID)
	}
	return err
}

// cleanups looks at the newest one of the whole installation that has ended.
func (l *look) cleanups(ctx context.Context) error {
	var last struct {
		Failed int64
		Error  string
		Since  time.Time
	}
	found, err := l.find(ctx, &last, "SELECT failed, error, ended_at AS since FROM cleanups WHERE project_id IS NULL AND ended_at IS NOT NULL ORDER BY id DESC LIMIT 1")
	if err != nil || !found || last.Failed == 0 && last.Error == "" {
		return err
	}
	var told []string
	if last.Failed > 0 {
		told = append(told, fmt.Sprintf("%d backups could not be removed", last.Failed))
	}
	l.add(condition{Since: last.Since, standing: standing{
		Kind: controller.NoticeRetentionHeld, Title: "Retention could not remove what it should", Detail: sentences(append(told, last.Error, "The clean-up of "+utc(last.Since)+" left it; `devflowctl backup cleanup --dry-run` shows what is to be removed")...),
	}}, nil)
	return nil
}

// tokens tells of those that end soon: 14 days before, or a quarter of a shorter life.
func (l *look) tokens(ctx context.Context) error {
	var rows []struct {
		ID        int64
		Name      string
		ExpiresAt time.Time
	}
	err := l.scan(ctx, &rows, `SELECT id, name, expires_at FROM api_tokens WHERE revoked_at IS NULL AND expires_at > ?0 AND expires_at - least(?1, (expires_at - created_at) / 4) <= ?0 AND expires_at - created_at > interval '1 day'
		ORDER BY id LIMIT ?2`, l.now, interval(tokenSoon), conditionsLooked)
	for _, r := range rows {
		l.add(condition{Since: l.now, standing: standing{
			Kind: controller.NoticeToken, Title: fmt.Sprintf("Token %s ends on %s", r.Name, r.ExpiresAt.UTC().Format(time.DateOnly)),
			Detail: fmt.Sprintf("What uses it is refused then. Make another one: `devflowctl token rotate`. The id of this one is %d.", r.ID),
		}}, r.ID)
	}
	return err
}

func (l *look) controllers(ctx context.Context) error {
	var rows []struct {
		ID     string
		SeenAt time.Time
	}
	err := l.scan(ctx, &rows, "SELECT id, seen_at FROM controllers WHERE seen_at < ? AND seen_at > ? ORDER BY id LIMIT ?", l.now.Add(-l.patience.Silent), l.now.Add(-silentFor), conditionsLooked)
	for _, r := range rows {
		l.add(condition{Since: r.SeenAt, standing: standing{
			Kind: controller.NoticeController, Title: fmt.Sprintf("Controller %.8s is silent", r.ID),
			Detail: sentences("It was last heard at "+utc(r.SeenAt)+" and has not signed off", "The others do its work. Start it, or leave it: it is forgotten after a week"),
		}}, r.ID)
	}
	return err
}

func (l *look) failingChannels(ctx context.Context) error {
	var rows []struct {
		ID        int64
		ProjectID *int64
		Project   string
		Name      string
		LastError string
		Since     time.Time
	}
	err := l.scan(ctx, &rows, `SELECT c.id, c.project_id, coalesce(p.slug, '') AS project, c.name, c.last_error, c.failing_since AS since FROM channels c LEFT JOIN projects p ON p.id = c.project_id
		WHERE c.failing_since IS NOT NULL AND c.is_active AND c.deleted_at IS NULL ORDER BY c.id LIMIT ?`, conditionsLooked)
	for _, r := range rows {
		l.add(condition{Since: r.Since, after: l.patience.Channel, standing: standing{
			Kind: controller.NoticeChannel, Subject: controller.Subject{ProjectID: r.ProjectID, Project: r.Project}, ChannelID: &r.ID, Title: fmt.Sprintf("Channel %s does not take messages", r.Name),
			Detail: sentences(r.LastError, fmt.Sprintf("What it was to tell waits for it. Mend it and try: `devflowctl channel test %s`", r.Name)),
		}}, r.ID)
	}
	return err
}

// unheard tells where failures of schedules are to be told and no channel takes them.
func (l *look) unheard(ctx context.Context) error {
	var rows []struct {
		ProjectID int64
		Project   string
		Schedules int64
	}
	err := l.scan(ctx, &rows, `SELECT c.project_id, p.slug AS project, count(*) AS schedules FROM backup_schedules c JOIN projects p ON p.id = c.project_id AND p.deleted_at IS NULL
		WHERE c.is_active AND c.deleted_at IS NULL AND c.notify_on_failure GROUP BY 1, 2 ORDER BY 2 LIMIT ?`, conditionsLooked)
	if err != nil || len(rows) == 0 {
		return err
	}
	r, err := l.routes(ctx, l.now)
	if err != nil {
		return err
	}
	var projects []string
	schedules := int64(0)
	for _, p := range rows {
		kind, _ := controller.KindOfNotice(controller.NoticeBackupFailing)
		if _, unsent := controller.Route(controller.Routing{Kind: kind.Kind, Severity: kind.Severity, ProjectID: &p.ProjectID}, r.channels, nil); unsent != "" {
			projects = append(projects, p.Project)
			schedules += p.Schedules
		}
	}
	if len(projects) == 0 {
		return nil
	}
	names := projects[:min(5, len(projects))]
	text := strings.Join(names, ", ")
	if more := len(projects) - len(names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	l.add(condition{Since: l.now, standing: standing{
		Kind: controller.NoticeNoChannel, Title: "Nobody is told when backups fail",
		Detail: sentences(fmt.Sprintf("Schedules that are to tell of failures: %d, of projects: %s; no channel takes what they tell", schedules, text), "Make one: `devflowctl channel create --default`"),
	}}, nil)
	return nil
}

// compare holds what was found against the alarms that are open.
func (t *tx) compare(ctx context.Context, l *look, out *controller.Standing) error {
	n, err := t.news(ctx, l.now)
	if err != nil {
		return err
	}
	if err := n.load(ctx, "a.kind = ANY (?)", textArray(conditionKinds)); err != nil {
		return err
	}
	open := make([]*standing, 0, len(n.open))
	for _, a := range n.open {
		open = append(open, a)
	}
	slices.SortFunc(open, func(a, b *standing) int { return int(a.ID - b.ID) })
	keys := make([]string, 0, len(l.found))
	for k := range l.found {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		c := l.found[k]
		old := n.open[k]
		switch {
		case old != nil:
			out.Still++
			if old.Severity != c.Severity || old.Title != cut(c.Title, 300) || old.Detail != cut(c.Detail, 2000) || old.GoneAt != nil {
				n.keep(old, c.standing, l.now)
			}
		case !l.now.Before(c.Since.Add(c.after)):
			out.Opened++
			n.raise(c.standing, l.now)
		}
	}
	for _, a := range open {
		if _, holds := l.found[a.Key]; holds {
			continue
		}
		unwatched := l.unwatched(a)
		switch {
		case unwatched != "":
			n.end(a.Key, "No longer watched: "+a.Title, unwatched, l.now)
		case a.GoneAt == nil:
			a.GoneAt = &l.now
			n.change(a)
			continue
		default:
			n.end(a.Key, overTitle(a), fmt.Sprintf("It stood since %s.", utc(a.OpenedAt)), l.now)
		}
		out.Closed++
	}
	if err := t.endUnwatched(ctx, n, out); err != nil {
		return err
	}
	return n.write(ctx)
}

// unwatched tells why nobody looks at an alarm's condition any more; empty: somebody does, and it is over.
func (l *look) unwatched(a *standing) string {
	if !a.Watched {
		return "What it is about was removed, or is no longer active."
	}
	if a.Kind != controller.NoticeOverdue || a.DatabaseID == nil {
		return ""
	}
	switch p := l.states[*a.DatabaseID]; p.State {
	case controller.ProtectionPaused, controller.ProtectionIgnored, controller.ProtectionGone, controller.ProtectionUnprotected:
		return sentences("The database is "+p.State, p.Reason)
	}
	return ""
}

// overTitle tells that the condition of an alarm is over.
func overTitle(a *standing) string {
	switch a.Kind {
	case controller.NoticeOverdue:
		return fmt.Sprintf("Backup of %s on %s is no longer overdue", a.Database, a.Server)
	case controller.NoticeAgentOffline:
		return fmt.Sprintf("Agent on %s is back", a.Server)
	case controller.NoticeStorageUnavailable:
		if a.Storage != "" {
			return fmt.Sprintf("Storage %s is available again", a.Storage)
		}
	}
	return "Over: " + a.Title
}

// endUnwatched closes alarms that follow from facts and whose subject is gone, and overlaps that are over.
func (t *tx) endUnwatched(ctx context.Context, n *news, out *controller.Standing) error {
	fromFacts := textArray([]string{controller.NoticeBackupFailing, controller.NoticeOverlap})
	before := len(n.open)
	const gone = `(s.revoked_at IS NOT NULL OR d.missing_since IS NOT NULL OR d.project_id IS DISTINCT FROM a.project_id OR c.deleted_at IS NOT NULL OR NOT coalesce(c.is_active, true) OR p.deleted_at IS NOT NULL)`
	const run = `(a.kind = 'overlap' AND (SELECT o.state FROM occurrence_databases o WHERE o.schedule_id = a.schedule_id AND o.database_id = a.database_id ORDER BY o.at DESC LIMIT 1) = 'run')`
	if err := n.load(ctx, "a.kind = ANY (?) AND (? OR ?)", fromFacts, bun.Safe(gone), bun.Safe(run)); err != nil {
		return err
	}
	if len(n.open) == before {
		return nil
	}
	var ends []*standing
	for _, a := range n.open {
		if a.Kind == controller.NoticeBackupFailing || a.Kind == controller.NoticeOverlap {
			ends = append(ends, a)
		}
	}
	slices.SortFunc(ends, func(a, b *standing) int { return int(a.ID - b.ID) })
	for _, a := range ends {
		title, detail := overTitle(a), fmt.Sprintf("It stood since %s.", utc(a.OpenedAt))
		if !a.Watched {
			title, detail = "No longer watched: "+a.Title, "What it is about was removed, or is no longer active."
		}
		n.end(a.Key, title, detail, n.now)
		out.Closed++
	}
	return nil
}
