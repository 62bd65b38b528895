package catalog

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"devflowbackup/controller"
)

// rowsAtOnce bounds how many rows one statement inserts.
const rowsAtOnce = 500

// news is what one transaction has to tell: alarms that are opened, raised again or closed, and notices with the deliveries that follow from
// the channels and mutes of that moment. Nothing is in the catalog before write.
type news struct {
	t   *tx
	now time.Time
	routes
	open    map[string]*standing // by key; those that were loaded or raised
	changed []*standing
	notices []*notice
	counts  map[[2]string]int64
}

// standing is an alarm.
type standing struct {
	ID       int64
	Kind     string
	Key      string
	Severity string
	controller.Subject
	ChannelID *int64
	Title     string
	Detail    string
	Silenced  bool
	Count     int64
	OpenedAt  time.Time
	LastAt    time.Time
	GoneAt    *time.Time
	ClosedAt  *time.Time
	Watched   bool // what it is about is still looked after

	isNew, isChanged bool
}

// notice is one thing to be told.
type notice struct {
	ID        int64
	Kind      string
	Event     string
	Severity  string
	Alarm     *standing
	RestoreID *int64
	controller.Subject
	ChannelID *int64
	Title     string
	Detail    string
	Silenced  bool
	At        time.Time
	only      map[int64]bool // channels that it may go to; nil: all that take it
	optional  bool           // not kept where nobody takes it

	to     []int64
	unsent string
}

// news begins to collect. Who writes alarms holds the lock of alarms until the end of its transaction.
func (t *tx) news(ctx context.Context, now time.Time) (*news, error) {
	r, err := t.routes(ctx, now)
	return &news{t: t, now: now, routes: r, open: map[string]*standing{}, counts: map[[2]string]int64{}}, err
}

const standingColumns = `a.id, a.kind, a.key, a.severity, a.project_id, coalesce(p.slug, '') AS project, a.server_id, coalesce(s.name, '') AS server, a.database_id, coalesce(d.name, '') AS database,
	a.schedule_id, a.storage_id, coalesce(st.name, '') AS storage, a.backup_id, a.channel_id, a.title, a.detail, a.silenced, a.count, a.opened_at, a.last_at, a.gone_at,
	(p.id IS NULL OR p.deleted_at IS NULL) AND (s.id IS NULL OR s.revoked_at IS NULL) AND (st.id IS NULL OR st.deleted_at IS NULL)
	AND (d.id IS NULL OR d.missing_since IS NULL AND d.project_id IS NOT DISTINCT FROM a.project_id) AND (c.id IS NULL OR c.deleted_at IS NULL AND c.is_active)
	AND (b.id IS NULL OR b.deleted_at IS NULL OR a.kind NOT IN ('backup_missing', 'backup_corrupt')) AND (ch.id IS NULL OR ch.deleted_at IS NULL AND ch.is_active) AS watched`

const standingTables = `alarms a LEFT JOIN projects p ON p.id = a.project_id LEFT JOIN servers s ON s.id = a.server_id LEFT JOIN databases d ON d.id = a.database_id
	LEFT JOIN storages st ON st.id = a.storage_id LEFT JOIN backup_schedules c ON c.id = a.schedule_id LEFT JOIN database_backups b ON b.id = a.backup_id
	LEFT JOIN channels ch ON ch.id = a.channel_id`

// load adds open alarms.
func (n *news) load(ctx context.Context, where string, args ...any) error {
	var rows []standing
	if err := n.t.scan(ctx, &rows, "SELECT "+standingColumns+" FROM "+standingTables+" WHERE a.closed_at IS NULL AND "+where+" ORDER BY a.id", args...); err != nil {
		return fmt.Errorf("read open alarms: %w", err)
	}
	for i := range rows {
		n.open[rows[i].Key] = &rows[i]
	}
	return nil
}

func (n *news) change(a *standing) {
	if !a.isNew && !a.isChanged {
		a.isChanged = true
		n.changed = append(n.changed, a)
	}
}

// raise opens an alarm, or counts up the one that is open, which is then told of once more only if it has become more severe.
func (n *news) raise(a standing, at time.Time) {
	old := n.open[a.Key]
	if old == nil {
		a.Count, a.OpenedAt, a.LastAt, a.isNew, a.Watched = 1, at, at, true, true
		a.Title, a.Detail = cut(a.Title, 300), cut(a.Detail, 2000)
		n.open[a.Key] = &a
		n.changed = append(n.changed, &a)
		n.tell(notice{Kind: a.Kind, Event: controller.NoticeOpened, Severity: a.Severity, Alarm: &a, Title: a.Title, Detail: a.Detail, At: at})
		return
	}
	old.Count++
	n.keep(old, a, at)
}

// keep notes that an alarm holds still, with what is said of it now.
func (n *news) keep(old *standing, a standing, at time.Time) {
	rose := !controller.SeverityAtLeast(old.Severity, a.Severity)
	old.LastAt, old.GoneAt = at, nil
	old.Severity, old.Title, old.Detail, old.Silenced = a.Severity, cut(a.Title, 300), cut(a.Detail, 2000), a.Silenced
	old.BackupID = a.BackupID
	n.change(old)
	if rose {
		n.tell(notice{Kind: old.Kind, Event: controller.NoticeOpened, Severity: old.Severity, Alarm: old, Title: old.Title, Detail: old.Detail, At: at})
	}
}

// end closes an open alarm and tells so.
func (n *news) end(key, title, detail string, at time.Time) {
	a := n.open[key]
	if a == nil {
		return
	}
	delete(n.open, key)
	a.ClosedAt = &at
	n.change(a)
	n.tell(notice{Kind: a.Kind, Event: controller.NoticeClosed, Severity: a.Severity, Alarm: a, Title: title, Detail: detail, At: at})
}

// tell adds a notice; one of an alarm is about what the alarm is about.
func (n *news) tell(what notice) {
	if a := what.Alarm; a != nil {
		what.Subject, what.ChannelID, what.Silenced = a.Subject, a.ChannelID, a.Silenced
	}
	what.Title, what.Detail = cut(what.Title, 300), cut(what.Detail, 2000)
	n.notices = append(n.notices, &what)
}

// count adds to a counter of the installation.
func (n *news) count(name, label string, by int64) { n.counts[[2]string{name, label}] += by }

// write puts everything into the catalog.
func (n *news) write(ctx context.Context) error {
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{{"alarms", n.writeAlarms}, {"notices", n.writeNotices}, {"deliveries", n.writeDeliveries}, {"counters", n.writeCounts}} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("write %s: %w", step.what, err)
		}
	}
	return nil
}

// ids takes ids of a table ahead.
func (t *tx) ids(ctx context.Context, table string, count int) ([]int64, error) {
	ids := make([]int64, 0, count)
	if count == 0 {
		return ids, nil
	}
	err := t.scan(ctx, &ids, "SELECT nextval(pg_get_serial_sequence(?, 'id')) FROM generate_series(1, ?)", table, count)
	slices.Sort(ids)
	return ids, err
}

// valueRows are rows as VALUES takes them.
func valueRows(rows [][]any) (values string, args []any) {
	one := "(?" + strings.Repeat(", ?", len(rows[0])-1) + ")"
	for _, r := range rows {
		args = append(args, r...)
	}
	return one + strings.Repeat(", "+one, len(rows)-1), args
}

// insert adds rows of as many values each as there are columns.
func (t *tx) insert(ctx context.Context, table, columns, suffix string, rows [][]any) error {
	for chunk := range slices.Chunk(rows, rowsAtOnce) {
		values, args := valueRows(chunk)
		if _, err := t.exec(ctx, "INSERT INTO "+table+" ("+columns+") "+suffix+" VALUES "+values, args...); err != nil {
			return err
		}
	}
	return nil
}

func (n *news) writeAlarms(ctx context.Context) error {
	var fresh []*standing
	var rows [][]any
	for _, a := range n.changed {
		if a.isNew {
			fresh = append(fresh, a)
			continue
		}
		rows = append(rows, []any{a.ID, a.Severity, a.Title, a.Detail, a.Silenced, a.Count, a.LastAt, a.GoneAt, a.ClosedAt, a.BackupID})
	}
	for chunk := range slices.Chunk(rows, rowsAtOnce) { // first: what is closed gives its key free for what is opened
		values, args := valueRows(chunk)
		_, err := n.t.exec(ctx, `UPDATE alarms a SET severity = v.severity, title = v.title, detail = v.detail, silenced = v.silenced, count = v.count, last_at = v.last_at::timestamptz,
				gone_at = v.gone_at::timestamptz, closed_at = v.closed_at::timestamptz, backup_id = v.backup_id::bigint
			FROM (VALUES `+values+`) v (id, severity, title, detail, silenced, count, last_at, gone_at, closed_at, backup_id) WHERE a.id = v.id AND a.closed_at IS NULL`, args...)
		if err != nil {
			return err
		}
	}
	ids, err := n.t.ids(ctx, "alarms", len(fresh))
	if err != nil {
		return err
	}
	rows = make([][]any, len(fresh))
	for i, a := range fresh {
		a.ID = ids[i]
		rows[i] = []any{
			a.ID, a.Kind, a.Key, a.Severity, a.ProjectID, a.ServerID, a.DatabaseID, a.ScheduleID, a.StorageID, a.BackupID, a.ChannelID, a.Title, a.Detail, a.Silenced, a.Count,
			a.OpenedAt, a.LastAt, a.ClosedAt, n.now.Add(time.Hour),
		}
	}
	return n.t.insert(ctx, "alarms", "id, kind, key, severity, project_id, server_id, database_id, schedule_id, storage_id, backup_id, channel_id, title, detail, silenced, count, opened_at, last_at, closed_at, remind_at",
		"OVERRIDING SYSTEM VALUE", rows)
}

func (n *news) writeNotices(ctx context.Context) error {
	kept := n.notices[:0]
	for _, o := range n.notices {
		r := controller.Routing{Kind: o.Kind, Event: o.Event, Severity: o.Severity, Silenced: o.Silenced, ProjectID: o.ProjectID, ServerID: o.ServerID, DatabaseID: o.DatabaseID, ChannelID: o.ChannelID}
		if o.Alarm != nil {
			r.AlarmID = &o.Alarm.ID
		}
		o.to, o.unsent = n.of(r)
		if o.only != nil {
			o.to = slices.DeleteFunc(o.to, func(id int64) bool { return !o.only[id] })
		}
		if len(o.to) == 0 && (o.optional || o.only != nil) {
			continue
		}
		kept = append(kept, o)
		n.count("notice", o.Kind+":"+o.Event, 1)
	}
	n.notices = kept
	ids, err := n.t.ids(ctx, "notices", len(kept))
	if err != nil {
		return err
	}
	rows := make([][]any, len(kept))
	for i, o := range kept {
		o.ID = ids[i]
		var alarm *int64
		if o.Alarm != nil {
			alarm = &o.Alarm.ID
		}
		rows[i] = []any{o.ID, o.Kind, o.Event, o.Severity, alarm, o.ProjectID, o.ServerID, o.DatabaseID, o.ScheduleID, o.StorageID, o.BackupID, o.RestoreID, o.Title, o.Detail, o.unsent, o.At}
	}
	return n.t.insert(ctx, "notices", "id, kind, event, severity, alarm_id, project_id, server_id, database_id, schedule_id, storage_id, backup_id, restore_id, title, detail, unsent, at",
		"OVERRIDING SYSTEM VALUE", rows)
}

func (n *news) writeDeliveries(ctx context.Context) error {
	var rows [][]any
	for _, o := range n.notices {
		urgent := o.Severity == controller.SeverityCritical && (o.Event == controller.NoticeOpened || o.Event == controller.NoticeHappened)
		for _, channel := range o.to {
			rows = append(rows, []any{o.ID, channel, o.ProjectID, urgent, n.now})
		}
	}
	return n.t.insert(ctx, "deliveries", "notice_id, channel_id, project_id, urgent, created_at", "", rows)
}

func (n *news) writeCounts(ctx context.Context) error {
	keys := make([][2]string, 0, len(n.counts))
	for k := range n.counts {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b [2]string) int { return strings.Compare(a[0]+"\x00"+a[1], b[0]+"\x00"+b[1]) }) // who counts locks in one order
	for _, k := range keys {
		if err := n.t.counted(ctx, k[0], k[1], n.counts[k]); err != nil {
			return err
		}
	}
	return nil
}

// counted adds to a counter of the installation.
func (t *tx) counted(ctx context.Context, name, label string, by int64) error {
	_, err := t.exec(ctx, "INSERT INTO counters AS c (name, label, value) VALUES (?, ?, ?) ON CONFLICT (name, label) DO UPDATE SET value = c.value + excluded.value", cut(name, 100), cut(label, 200), by)
	return err
}
