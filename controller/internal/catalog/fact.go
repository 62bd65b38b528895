package catalog

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

const (
	factsAtOnce = 1000
	// smallAnomaly is how many bytes a backup's size has to be away from the usual one to be told.
	smallAnomaly = 1 << 20
	// fewRows is the same for rows.
	fewRows = 1000
)

// factRow is what a trigger wrote of a change.
type factRow struct {
	ID   int64
	Kind string
	Body json.RawMessage
	At   time.Time
}

// fact is that with its body read.
type fact struct {
	factRow
	factBody
}

// factBody are the columns that facts tell; which ones its kind says.
type factBody struct {
	Ref        int64         `json:"id"`
	BackupID   int64         `json:"backup_id"`
	ScheduleID int64         `json:"schedule_id"`
	DatabaseID int64         `json:"database_id"`
	ServerID   *int64        `json:"server_id"`
	Occurred   time.Time     `json:"at"`
	KindOf     string        `json:"kind"`
	Status     string        `json:"status"`
	State      string        `json:"state"`
	Code       string        `json:"code"`
	Reason     string        `json:"reason"`
	Detail     string        `json:"detail"`
	Count      int64         `json:"count"`
	StartedAt  *time.Time    `json:"started_at"`
	EndedAt    *time.Time    `json:"ended_at"`
	Failure    *wire.Failure `json:"failure"`
}

// TakeFacts takes what happened out of the queue, up to a number, in order, and writes what follows from it: alarms, notices with their deliveries,
// pings and counters. All of that is one transaction, so nothing is lost and nothing told twice, whatever becomes of this controller. It returns how
// many facts it took; none while another controller is at it.
func (c *Catalog) TakeFacts(ctx context.Context, now time.Time) (n int, err error) {
	err = c.system(ctx, func(t *tx) error {
		n = 0
		var mine bool
		if err := t.scan(ctx, &mine, "SELECT pg_try_advisory_xact_lock(?)", lockAlarms); err != nil || !mine {
			return err
		}
		facts, err := t.takeFacts(ctx)
		if err != nil || len(facts) == 0 {
			return err
		}
		news, err := t.news(ctx, now)
		if err != nil {
			return err
		}
		d := &digest{news: news, facts: facts}
		if err := d.all(ctx); err != nil {
			return err
		}
		n = len(facts)
		return news.write(ctx)
	})
	if err != nil {
		return 0, fmt.Errorf("take facts: %w", err)
	}
	return n, nil
}

// takeFacts takes the oldest facts out, and those that belong to the last of them: an occurrence and its databases are told as one.
func (t *tx) takeFacts(ctx context.Context) ([]fact, error) {
	const columns = "id, kind, body, at"
	var rows []factRow
	if err := t.scan(ctx, &rows, "DELETE FROM facts WHERE id IN (SELECT id FROM facts ORDER BY id LIMIT ?) RETURNING "+columns, factsAtOnce); err != nil || len(rows) == 0 {
		return nil, err
	}
	slices.SortFunc(rows, func(a, b factRow) int { return cmp.Compare(a.ID, b.ID) })
	if last := rows[len(rows)-1]; len(rows) == factsAtOnce && strings.HasPrefix(last.Kind, "occurrence") {
		var more []factRow
		err := t.scan(ctx, &more, `DELETE FROM facts WHERE kind = 'occurrence_database' AND body->'schedule_id' = (?::jsonb)->'schedule_id' AND body->'at' = (?::jsonb)->'at' RETURNING `+columns,
			jsonText(last.Body), jsonText(last.Body))
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	facts := make([]fact, len(rows))
	for i, r := range rows {
		facts[i].factRow = r
		if err := json.Unmarshal(facts[i].Body, &facts[i].factBody); err != nil {
			return nil, fmt.Errorf("decode fact %d: %w", facts[i].ID, err)
		}
	}
	return facts, nil
}

// digest turns facts into news.
type digest struct {
	*news
	facts     []fact
	backups   map[int64]factBackup
	servers   map[int64]string
	databases map[int64]controller.Subject
	pings     []ping
}

// factBackup is a backup that facts tell of.
type factBackup struct {
	controller.Subject
	ID           int64
	Type         string
	ErrorCode    string
	ErrorMessage string
	ErrorHint    string
	FileSize     int64
	RawSize      int64
	OccurrenceAt *time.Time
	Notify       bool // its schedule tells of failures
	Pings        bool // its schedule has a dead-man URL
}

func (b factBackup) name() string { return b.Database + " on " + b.Server }

func (b factBackup) key() string {
	return fmt.Sprintf("%s:%d:%d", controller.NoticeBackupFailing, number(b.DatabaseID), number(b.ScheduleID))
}

func (d *digest) all(ctx context.Context) error {
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"what they are about", d.read},
		{"backups", d.ofBackups},
		{"anomalies", d.anomalies},
		{"jobs", d.ofJobs},
		{"restores", d.ofRestores},
		{"verifications", d.ofVerifications},
		{"occurrences", d.ofOccurrences},
		{"security events", d.ofSecurity},
		{"pings", d.writePings},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("look at facts, %s: %w", step.what, err)
		}
	}
	return nil
}

// of are the facts of the kinds.
func (d *digest) of(kinds ...string) []fact {
	var out []fact
	for _, f := range d.facts {
		if slices.Contains(kinds, f.Kind) {
			out = append(out, f)
		}
	}
	return out
}

// read loads what the facts name.
func (d *digest) read(ctx context.Context) error {
	ids := map[int64]bool{}
	databases := []int64{}
	servers := []int64{}
	for _, f := range d.facts {
		switch f.Kind {
		case "backup", "started":
			ids[f.Ref] = true
		case "job", "verification":
			ids[f.BackupID] = true
		case "occurrence_database":
			databases = append(databases, f.DatabaseID)
		case "security":
			if f.ServerID != nil {
				servers = append(servers, *f.ServerID)
			}
		}
	}
	list := []int64{}
	for id := range ids {
		list = append(list, id)
	}
	var rows []factBackup
	err := d.t.scan(ctx, &rows, `SELECT b.id, b.id AS backup_id, b.project_id, p.slug AS project, b.server_id, s.name AS server, b.database_id, b.database_name AS database, b.schedule_id,
			b.storage_id, st.name AS storage, b.type, coalesce(b.error_code, '') AS error_code, coalesce(b.error_message, '') AS error_message, coalesce(b.error_hint, '') AS error_hint,
			coalesce(b.file_size, 0) AS file_size, coalesce(b.raw_size, 0) AS raw_size, b.occurrence_at, coalesce(c.notify_on_failure, true) AS notify, c.ping_sealed IS NOT NULL AS pings
		FROM database_backups b JOIN projects p ON p.id = b.project_id JOIN servers s ON s.id = b.server_id JOIN storages st ON st.id = b.storage_id
		LEFT JOIN backup_schedules c ON c.id = b.schedule_id WHERE b.id = ANY (?)`, idArray(list))
	if err != nil {
		return err
	}
	d.backups = make(map[int64]factBackup, len(rows))
	for _, b := range rows {
		d.backups[b.ID] = b
	}
	var names []struct {
		ID   int64
		Name string
	}
	if err := d.t.scan(ctx, &names, "SELECT id, name FROM servers WHERE id = ANY (?)", idArray(servers)); err != nil {
		return err
	}
	d.servers = make(map[int64]string, len(names))
	for _, s := range names {
		d.servers[s.ID] = s.Name
	}
	var found []struct {
		controller.Subject
		ID int64
	}
	err = d.t.scan(ctx, &found, "SELECT d.id, d.id AS database_id, d.name AS database, d.server_id, s.name AS server FROM databases d JOIN servers s ON s.id = d.server_id WHERE d.id = ANY (?)", idArray(databases))
	if err != nil {
		return err
	}
	d.databases = make(map[int64]controller.Subject, len(found))
	for _, f := range found {
		d.databases[f.ID] = f.Subject
	}
	return nil
}

// ofBackups opens and closes the alarms of failing backups, in the order in which the backups ended.
func (d *digest) ofBackups(ctx context.Context) error {
	facts := d.of("backup", "started")
	keys := map[string]bool{}
	for _, f := range facts {
		if b, known := d.backups[f.Ref]; known {
			keys[b.key()] = true
			b.ScheduleID = nil
			keys[b.key()] = true
		}
	}
	list := []string{}
	for k := range keys {
		list = append(list, k)
	}
	if err := d.load(ctx, "a.key = ANY (?)", textArray(list)); err != nil {
		return err
	}
	for _, f := range facts {
		b, known := d.backups[f.Ref]
		if !known {
			continue
		}
		switch {
		case f.Kind == "started":
			if err := d.started(ctx, b); err != nil {
				return err
			}
		case f.Status == controller.StatusCompleted:
			if err := d.completed(ctx, b, f.At); err != nil {
				return err
			}
		case b.ErrorCode != wire.CodeCancelled: // what a person cancelled does not fail
			d.failed(b, f.At)
		}
	}
	return nil
}

func (d *digest) failed(b factBackup, at time.Time) {
	d.raise(standing{
		Kind: controller.NoticeBackupFailing, Key: b.key(), Severity: controller.SeverityCritical, Subject: b.Subject, Silenced: !b.Notify,
		Title:  "Backup of " + b.name() + " failed",
		Detail: sentences(fmt.Sprintf("%s (%s)", orText(b.ErrorMessage, "no reason is known"), orText(b.ErrorCode, "unknown")), b.ErrorHint, fmt.Sprintf("`devflowctl backup show %d` tells more", b.ID)),
	}, at)
	if b.Pings {
		d.pings = append(d.pings, ping{schedule: number(b.ScheduleID), project: number(b.ProjectID), state: pingFail, text: "backup of " + b.name() + " failed"})
	}
}

func (d *digest) completed(ctx context.Context, b factBackup, at time.Time) error {
	title, detail := "Backup of "+b.name()+" recovered", fmt.Sprintf("Backup %d is completed, %s.", b.ID, controller.SizeText(b.FileSize))
	d.end(b.key(), title, detail, at)
	manual := b
	manual.ScheduleID = nil
	if manual.key() != b.key() {
		d.end(manual.key(), title, detail, at)
	}
	d.tell(notice{
		Kind: controller.NoticeBackupCompleted, Event: controller.NoticeHappened, Severity: controller.SeverityInfo, Subject: b.Subject, At: at, optional: true,
		Title: "Backup of " + b.name() + " is completed", Detail: fmt.Sprintf("Backup %d, %s, on storage %s.", b.ID, controller.SizeText(b.FileSize), b.Storage),
	})
	if !b.Pings {
		return nil
	}
	var left struct{ Unfinished, Failed int64 }
	if b.OccurrenceAt != nil { // one ping tells of all that the schedule backs up at once
		err := d.t.scan(ctx, &left, `SELECT count(*) FILTER (WHERE b.status IN ('pending', 'running')) AS unfinished, count(*) FILTER (WHERE b.status = 'failed' OR o.state = 'missed') AS failed
			FROM occurrence_databases o LEFT JOIN database_backups b ON b.id = o.backup_id WHERE o.schedule_id = ? AND o.at = ?`, *b.ScheduleID, *b.OccurrenceAt)
		if err != nil {
			return err
		}
	}
	if left.Unfinished == 0 && left.Failed == 0 {
		d.pings = append(d.pings, ping{schedule: number(b.ScheduleID), project: number(b.ProjectID), state: pingSuccess})
	}
	return nil
}

func (d *digest) started(ctx context.Context, b factBackup) error {
	if !b.Pings {
		return nil
	}
	var earlier bool
	if b.OccurrenceAt != nil {
		err := d.t.scan(ctx, &earlier, `SELECT EXISTS (SELECT FROM occurrence_databases o JOIN database_backups b ON b.id = o.backup_id WHERE o.schedule_id = ? AND o.at = ? AND b.id <> ?
			AND b.started_at < (SELECT started_at FROM database_backups WHERE id = ?))`, *b.ScheduleID, *b.OccurrenceAt, b.ID, b.ID)
		if err != nil {
			return err
		}
	}
	if !earlier {
		d.pings = append(d.pings, ping{schedule: number(b.ScheduleID), project: number(b.ProjectID), state: pingStart})
	}
	return nil
}

// anomalies holds completed backups against those of the same database before them.
func (d *digest) anomalies(ctx context.Context) error {
	at := map[int64]time.Time{}
	ids := []int64{}
	for _, f := range d.of("backup") {
		if f.Status == controller.StatusCompleted {
			at[f.Ref] = f.At
			ids = append(ids, f.Ref)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	var rows []struct {
		ID     int64
		Rows   *int64
		Before []struct {
			Size int64  `json:"size"`
			Rows *int64 `json:"rows"`
		}
	}
	err := d.t.scan(ctx, &rows, `SELECT b.id, (b.metadata->>'rows')::bigint AS rows, coalesce((SELECT jsonb_agg(jsonb_build_object('size', q.size, 'rows', q.rows))
			FROM (SELECT o.raw_size AS size, (o.metadata->>'rows')::bigint AS rows FROM database_backups o WHERE o.database_id = b.database_id AND o.status = 'completed' AND o.deleted_at IS NULL
				AND o.completed_at < b.completed_at ORDER BY o.completed_at DESC LIMIT ?) q), '[]') AS before
		FROM database_backups b WHERE b.id = ANY (?) AND b.status = 'completed' ORDER BY b.id`, controller.AnomalyOf, idArray(ids))
	if err != nil {
		return err
	}
	for _, r := range rows {
		b := d.backups[r.ID]
		var sizes, counts []int64
		for _, o := range r.Before {
			sizes = append(sizes, o.Size)
			if o.Rows != nil {
				counts = append(counts, *o.Rows)
			}
		}
		const advice = "Look whether data was lost or written by mistake, before older backups are removed"
		if median, odd := controller.Anomaly(b.RawSize, sizes, smallAnomaly); odd {
			d.tell(notice{
				Kind: controller.NoticeSizeAnomaly, Event: controller.NoticeHappened, Severity: controller.SeverityWarning, Subject: b.Subject, At: at[r.ID],
				Title:  fmt.Sprintf("Backup of %s has %s of its usual size", b.name(), controller.Percent(b.RawSize, median)),
				Detail: sentences(fmt.Sprintf("Backup %d has %s; usual are %s", b.ID, controller.SizeText(b.RawSize), controller.SizeText(median)), advice),
			})
		}
		if r.Rows == nil {
			continue
		}
		if median, odd := controller.Anomaly(*r.Rows, counts, fewRows); odd {
			d.tell(notice{
				Kind: controller.NoticeRowsAnomaly, Event: controller.NoticeHappened, Severity: controller.SeverityWarning, Subject: b.Subject, At: at[r.ID],
				Title:  fmt.Sprintf("Backup of %s has %s of its usual rows", b.name(), controller.Percent(*r.Rows, median)),
				Detail: sentences(fmt.Sprintf("Backup %d has %d rows; usual are %d", b.ID, *r.Rows, median), advice),
			})
		}
	}
	return nil
}

// ofJobs adds ended jobs to the totals, and notes storages that jobs failed at.
func (d *digest) ofJobs(ctx context.Context) error {
	type key struct{ kind, status, code string }
	type total struct {
		jobs, bytes, raw int64
		seconds          float64
		buckets          []int64
	}
	totals := map[key]*total{}
	suspects := []int64{}
	for _, f := range d.of("job") {
		k := key{kind: f.KindOf, status: f.Status}
		if f.Failure != nil && f.Status != controller.JobCompleted {
			k.code = f.Failure.Code
		}
		sum := totals[k]
		if sum == nil {
			sum = &total{buckets: make([]int64, len(controller.DurationBounds)+1)}
			totals[k] = sum
		}
		sum.jobs++
		if f.StartedAt != nil && f.EndedAt != nil {
			seconds := max(f.EndedAt.Sub(*f.StartedAt).Seconds(), 0)
			sum.seconds += seconds
			sum.buckets[controller.DurationBucket(seconds)]++
		}
		b, known := d.backups[f.BackupID]
		if known && f.KindOf == wire.JobBackup && f.Status == controller.JobCompleted {
			sum.bytes += b.FileSize
			sum.raw += b.RawSize
		}
		if known && slices.Contains([]string{wire.CodeStorageDenied, wire.CodeStorageUnavailable, wire.CodeUploadStalled}, k.code) {
			suspects = append(suspects, number(b.StorageID))
		}
	}
	keys := make([]key, 0, len(totals))
	for k := range totals {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	for _, k := range keys {
		v := totals[k]
		_, err := d.t.exec(ctx, `INSERT INTO job_totals AS j (kind, status, code, jobs, seconds, buckets, bytes, raw_bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (kind, status, code) DO UPDATE SET jobs = j.jobs + excluded.jobs, seconds = j.seconds + excluded.seconds, bytes = j.bytes + excluded.bytes, raw_bytes = j.raw_bytes + excluded.raw_bytes,
				buckets = (SELECT array_agg(coalesce(a, 0) + coalesce(b, 0) ORDER BY i) FROM unnest(j.buckets, excluded.buckets) WITH ORDINALITY AS u (a, b, i))`,
			k.kind, k.status, cut(k.code, 100), v.jobs, v.seconds, idArray(v.buckets), v.bytes, v.raw)
		if err != nil {
			return err
		}
	}
	if n := len(d.of("lost")); n > 0 {
		d.count("lease_lost", "", int64(n))
	}
	if len(suspects) == 0 {
		return nil
	}
	slices.Sort(suspects)
	_, err := d.t.exec(ctx, "UPDATE storages SET suspect_at = ? WHERE id = ANY (?) AND kind <> 'local' AND suspect_at IS NULL", d.now, idArray(slices.Compact(suspects)))
	return err
}

func (d *digest) ofRestores(ctx context.Context) error {
	at := map[int64]time.Time{}
	ids := []int64{}
	for _, f := range d.of("restore") {
		at[f.Ref] = f.At
		ids = append(ids, f.Ref)
	}
	if len(ids) == 0 {
		return nil
	}
	var rows []struct {
		controller.Subject
		ID, OfBackup                       int64
		Status, Code, Message, Hint, State string
		Undo                               bool
	}
	// Its database is the target's name, which need not be one that the catalog knows.
	err := d.t.scan(ctx, &rows, `SELECT r.id, r.backup_id AS of_backup, r.backup_id, r.project_id, p.slug AS project, r.server_id, s.name AS server, r.database_name AS database, r.status,
			coalesce(r.error_code, '') AS code, coalesce(r.error_message, '') AS message, coalesce(r.error_hint, '') AS hint, r.target_state AS state, r.undo_of IS NOT NULL AS undo
		FROM restores r JOIN projects p ON p.id = r.project_id JOIN servers s ON s.id = r.server_id WHERE r.id = ANY (?) ORDER BY r.id`, idArray(ids))
	if err != nil {
		return err
	}
	for _, r := range rows {
		what := fmt.Sprintf("Restore of backup %d into %s on %s", r.OfBackup, r.Database, r.Server)
		if r.Undo {
			what = fmt.Sprintf("Undo of a restore into %s on %s", r.Database, r.Server)
		}
		o := notice{Event: controller.NoticeHappened, Subject: r.Subject, RestoreID: &r.ID, At: at[r.ID]}
		switch {
		case r.Status == controller.StatusCompleted:
			o.Kind, o.Severity, o.Title = controller.NoticeRestoreCompleted, controller.SeverityInfo, what+" is done"
		case r.Code == wire.CodeCancelled:
			continue
		default:
			o.Kind, o.Severity, o.Title = controller.NoticeRestoreFailed, controller.SeverityCritical, what+" failed"
			o.Detail = sentences(fmt.Sprintf("%s (%s)", orText(r.Message, "no reason is known"), orText(r.Code, "unknown")), r.Hint)
			if r.State == "unknown" {
				o.Detail = sentences(o.Detail, "What is at the target is not known yet")
			}
		}
		d.tell(o)
	}
	return nil
}

func (d *digest) ofVerifications(ctx context.Context) error {
	facts := d.of("verification")
	if len(facts) == 0 {
		return nil
	}
	ids := []int64{}
	at := map[int64]time.Time{}
	for _, f := range facts {
		ids, at[f.Ref] = append(ids, f.Ref), f.At
	}
	var rows []struct {
		ID, BackupID         int64
		Level, Message, Code string
	}
	err := d.t.scan(ctx, &rows, `SELECT id, backup_id, level, coalesce(failure->>'message', '') AS message, coalesce(failure->>'code', '') AS code FROM verifications WHERE id = ANY (?) ORDER BY id`, idArray(ids))
	if err != nil {
		return err
	}
	for _, r := range rows {
		b := d.backups[r.BackupID]
		d.tell(notice{
			Kind: controller.NoticeVerificationFailed, Event: controller.NoticeHappened, Severity: controller.SeverityCritical, Subject: b.Subject, At: at[r.ID],
			Title:  fmt.Sprintf("Backup %d of %s could not be verified", b.ID, b.name()),
			Detail: sentences(fmt.Sprintf("Its %s: %s (%s)", r.Level, orText(r.Message, "no reason is known"), orText(r.Code, "unknown")), fmt.Sprintf("Make a new backup now; `devflowctl backup show %d` tells what is known of this one", b.ID)),
		})
	}
	return nil
}

// quietCodes are of occurrences that were not run because somebody wanted so.
var quietCodes = []string{controller.MissedPaused, controller.MissedChanged, controller.MissedNothing}

type occurrenceKey struct {
	schedule int64
	at       int64 // microseconds
}

// ofOccurrences tells of occurrences that were missed, one notice each, and of databases whose backups take longer than their schedule's interval.
func (d *digest) ofOccurrences(ctx context.Context) error {
	facts := d.of("occurrence", "occurrence_database")
	if len(facts) == 0 {
		return nil
	}
	type group struct {
		whole  *fact
		missed []fact // databases
		first  fact
		each   int
	}
	groups := map[occurrenceKey]*group{}
	var order []occurrenceKey
	schedules := []int64{}
	late := map[[2]int64]fact{} // schedule and database that were skipped
	for _, f := range facts {
		k := occurrenceKey{f.ScheduleID, f.Occurred.UnixMicro()}
		g := groups[k]
		if g == nil {
			g = &group{first: f}
			groups[k] = g
			order = append(order, k)
			schedules = append(schedules, f.ScheduleID)
		}
		if f.Kind == "occurrence" {
			g.whole = &f
			continue
		}
		g.each++
		d.count("occurrence", f.State+":"+f.Code, 1)
		switch {
		case f.State == controller.OccurrenceSkipped:
			late[[2]int64{f.ScheduleID, f.DatabaseID}] = f
		case !slices.Contains(quietCodes, f.Code):
			g.missed = append(g.missed, f)
		}
	}
	slices.Sort(schedules)
	about, err := d.schedules(ctx, slices.Compact(schedules))
	if err != nil {
		return err
	}
	for _, k := range order {
		g := groups[k]
		if g.whole != nil && g.each == 0 {
			d.count("occurrence", g.whole.State+":"+g.whole.Code, 1)
		}
		whole := g.whole != nil && g.whole.State == controller.OccurrenceMissed
		if len(g.missed) == 0 && (!whole || slices.Contains(quietCodes, g.whole.Code)) {
			continue
		}
		s := about[k.schedule]
		o := notice{Kind: controller.NoticeOccurrenceMissed, Event: controller.NoticeHappened, Severity: controller.SeverityWarning, Subject: s.Subject, Silenced: !s.Notify, At: g.first.At}
		o.ScheduleID = &k.schedule
		when := utc(g.first.Occurred)
		switch {
		case whole:
			o.Title = fmt.Sprintf("Schedule %d of %s missed its run of %s", k.schedule, s.Project, when)
			o.Detail = g.whole.Reason
		case len(g.missed) == 1:
			o.Title = fmt.Sprintf("Schedule %d of %s did not back up %s at %s", k.schedule, s.Project, d.databases[g.missed[0].DatabaseID].Database, when)
		default:
			o.Title = fmt.Sprintf("Schedule %d of %s did not back up %d databases at %s", k.schedule, s.Project, len(g.missed), when)
		}
		if o.Detail == "" {
			var reasons []string
			for i, m := range g.missed {
				if i == 5 {
					reasons = append(reasons, fmt.Sprintf("and %d more", len(g.missed)-i))
					break
				}
				reasons = append(reasons, m.Reason)
			}
			o.Detail = strings.Join(reasons, "; ")
		}
		if len(g.missed) == 1 {
			one := d.databases[g.missed[0].DatabaseID]
			o.DatabaseID, o.ServerID = one.DatabaseID, one.ServerID
		}
		d.tell(o)
		if s.Pings {
			d.pings = append(d.pings, ping{schedule: k.schedule, project: number(s.ProjectID), state: pingFail, text: o.Title})
		}
	}
	return d.overlaps(ctx, late, about)
}

type factSchedule struct {
	controller.Subject
	ID     int64
	Notify bool
	Pings  bool
}

func (d *digest) schedules(ctx context.Context, ids []int64) (map[int64]factSchedule, error) {
	var rows []factSchedule
	err := d.t.scan(ctx, &rows, `SELECT c.id, c.project_id, p.slug AS project, c.notify_on_failure AS notify, c.ping_sealed IS NOT NULL AS pings
		FROM backup_schedules c JOIN projects p ON p.id = c.project_id WHERE c.id = ANY (?)`, idArray(ids))
	out := make(map[int64]factSchedule, len(rows))
	for _, r := range rows {
		out[r.ID] = r
	}
	return out, err
}

func overlapKey(schedule, database int64) string {
	return fmt.Sprintf("%s:%d:%d", controller.NoticeOverlap, schedule, database)
}

// overlaps opens alarms of databases that were skipped so often in a row.
func (d *digest) overlaps(ctx context.Context, late map[[2]int64]fact, about map[int64]factSchedule) error {
	if len(late) == 0 {
		return nil
	}
	keys := []string{}
	for k := range late {
		keys = append(keys, overlapKey(k[0], k[1]))
	}
	slices.Sort(keys)
	if err := d.load(ctx, "a.key = ANY (?)", textArray(keys)); err != nil {
		return err
	}
	for _, f := range d.of("occurrence_database") {
		k := [2]int64{f.ScheduleID, f.DatabaseID}
		if last, skipped := late[k]; !skipped || last.ID != f.ID {
			continue
		}
		var skipped int
		err := d.t.scan(ctx, &skipped, `SELECT count(*) FILTER (WHERE q.state = 'skipped') FROM (SELECT state FROM occurrence_databases WHERE schedule_id = ? AND database_id = ? ORDER BY at DESC LIMIT ?) q`,
			k[0], k[1], controller.OverlapAlarm)
		if err != nil {
			return err
		}
		if skipped < controller.OverlapAlarm {
			continue
		}
		s, db := about[f.ScheduleID], d.databases[f.DatabaseID]
		subject := s.Subject
		subject.ScheduleID, subject.DatabaseID, subject.Database, subject.ServerID, subject.Server = &k[0], db.DatabaseID, db.Database, db.ServerID, db.Server
		d.raise(standing{
			Kind: controller.NoticeOverlap, Key: overlapKey(k[0], k[1]), Severity: controller.SeverityWarning, Subject: subject,
			Title:  fmt.Sprintf("Backups of %s on %s take longer than schedule %d allows", db.Database, db.Server, f.ScheduleID),
			Detail: sentences(fmt.Sprintf("At least %d runs in a row were skipped: %s", controller.OverlapAlarm, f.Reason), "Let the schedule run less often, or make the backups faster"),
		}, f.At)
	}
	return nil
}

// ofSecurity tells of each security event, and of one that is counted on at each power of ten.
func (d *digest) ofSecurity(ctx context.Context) error {
	for _, f := range d.of("security") {
		var was struct{ Counted, Told int64 }
		found, err := d.t.find(ctx, &was, `UPDATE security_events e SET counted = greatest(e.counted, ?), told = greatest(e.told, ?) FROM (SELECT id, counted, told FROM security_events WHERE id = ?) o
			WHERE e.id = o.id RETURNING o.counted, o.told`, f.Count, controller.PowerOfTen(f.Count), f.Ref)
		if err != nil {
			return err
		}
		if found && f.Count > was.Counted {
			d.count("security", f.KindOf, f.Count-was.Counted)
		}
		if !found || controller.PowerOfTen(f.Count) <= was.Told {
			continue
		}
		o := notice{Kind: controller.NoticeSecurity, Event: controller.NoticeHappened, Severity: controller.SeverityCritical, At: f.At}
		o.ServerID = f.ServerID
		where := "the controller"
		if f.ServerID != nil {
			where = d.servers[*f.ServerID]
		}
		switch f.KindOf {
		case controller.EventDuplicateAgent:
			o.Kind, o.Severity, o.Title = controller.NoticeAgentDuplicate, controller.SeverityWarning, "Two agents run as "+where
			o.Detail = sentences(f.Detail, "One host may be a copy of the other: stop one agent, and enrol it anew under a name of its own")
		case controller.EventStaleAttempt, controller.EventSignIn:
			o.Severity = controller.SeverityWarning
			fallthrough
		default:
			o.Title = fmt.Sprintf("Security event at %s: %s", where, strings.ReplaceAll(f.KindOf, "_", " "))
			o.Detail = sentences(f.Detail, "`devflowctl audit security` shows all of them")
		}
		if f.Count > 1 {
			o.Title += fmt.Sprintf(", %d times", f.Count)
		}
		d.tell(o)
	}
	return nil
}

// sentences joins what is not empty, each with its full stop.
func sentences(parts ...string) string {
	var out []string
	for _, p := range parts {
		p = strings.TrimSpace(p)
		if p == "" {
			continue
		}
		if !strings.ContainsAny(p[len(p)-1:], ".!?…:") {
			p += "."
		}
		first, size := utf8.DecodeRuneInString(p)
		out = append(out, string(unicode.ToUpper(first))+p[size:])
	}
	return strings.Join(out, " ")
}
