package catalog

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"devflowbackup/controller"
	"devflowbackup/shared/failpoint"
	"devflowbackup/shared/wire"
)

const attemptProgress = `CASE WHEN a.stage <> '' THEN jsonb_build_object('stage', a.stage, 'raw_bytes', a.raw_bytes, 'stored_bytes', a.stored_bytes, 'total_bytes', a.total_bytes) END`

// backupColumns of database_backups b, with the job that makes it.
const backupColumns = `b.id, b.project_id, p.slug AS project, b.server_id, coalesce(s.name, '') AS server, b.database_id, b.instance, b.database_type,
	b.database_name, b.type, b.schedule_id, b.occurrence_at, b.retry_of, b.status, b.health, b.health_reason, b.health_at, b.verify_after, b.held_at, b.held_by, b.hold_reason, b.locked_until, b.storage_id, coalesce(st.name, '') AS storage, b.storage_disk, b.storage_disk = 'local' AS same_host, b.compression, b.level, b.encryption,
	b.file_name, b.file_path, b.file_size, b.checksum, b.raw_size, b.raw_checksum, b.metadata, b.started_at, b.completed_at,
	b.verified_at, b.verified_level, b.verified_by_host, b.error_code, b.error_message, b.error_hint, b.deleted_at, b.delete_reason, b.delete_after,
	b.purged_at, b.created_at, coalesce(j.id, 0) AS job_id, coalesce(j.status, '') AS job_status, coalesce(j.attempt_no, 0) AS attempt,
	CASE WHEN b.delete_waiting <> '' THEN b.delete_waiting WHEN a.status = 'running' THEN '' ELSE coalesce(j.waiting, '') END AS waiting, ` + attemptProgress + ` AS progress`

const backupTables = `database_backups b JOIN projects p ON p.id = b.project_id LEFT JOIN servers s ON s.id = b.server_id LEFT JOIN storages st ON st.id = b.storage_id
	LEFT JOIN LATERAL (SELECT * FROM jobs q WHERE q.backup_id = b.id AND q.kind = 'backup' ORDER BY q.id DESC LIMIT 1) j ON true
	LEFT JOIN attempts a ON a.job_id = j.id AND a.no = j.attempt_no AND a.status IN ('offered', 'running', 'uploaded')`

// backup reads one backup that the scope sees.
func (t *tx) backup(ctx context.Context, id int64) (controller.Backup, error) {
	var b controller.Backup
	found, err := t.find(ctx, &b, "SELECT "+backupColumns+" FROM "+backupTables+" WHERE b.id = ? AND ?", id, t.sees("b.project_id"))
	if err == nil && !found {
		err = controller.Errorf(controller.ENotFound, "backup %d does not exist", id).WithHint("`devflowctl backup list` shows the backups")
	}
	b.Show()
	return b, err
}

// lockBackup is backup with its row locked: no job that names it is made meanwhile.
func (t *tx) lockBackup(ctx context.Context, id int64) (controller.Backup, error) {
	if _, err := t.exec(ctx, "SELECT 1 FROM database_backups b WHERE id = ? AND ? FOR UPDATE", id, t.sees("b.project_id")); err != nil {
		return controller.Backup{}, err
	}
	return t.backup(ctx, id)
}

// Backup returns one backup.
func (c *Catalog) Backup(ctx context.Context, actor controller.Actor, id int64) (controller.Backup, error) {
	var b controller.Backup
	err := c.scoped(ctx, actor.Scope, func(t *tx) (err error) {
		b, err = t.backup(ctx, id)
		return err
	})
	return b, err
}

// Backups lists backups: newest first after a cursor, or a numbered page in the order that is asked for.
func (c *Catalog) Backups(ctx context.Context, actor controller.Actor, f controller.BackupFilter) ([]controller.Backup, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	var out []controller.Backup
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		out = []controller.Backup{}
		where, err := t.backupConditions(ctx, f)
		if err != nil {
			return err
		}
		// The page is cut before anything is joined to it.
		order := backupOrders[f.Sort]
		if f.Ascending {
			order = strings.ReplaceAll(order, "DESC", "ASC")
		}
		limit, offset := limits(f.Limit, f.NumberedPage)
		return t.scan(ctx, &out, `SELECT `+backupColumns+` FROM (SELECT * FROM database_backups b WHERE `+where.where()+` ORDER BY `+order+` LIMIT ? OFFSET ?) `+
			strings.TrimPrefix(backupTables, "database_backups ")+` ORDER BY `+order, append(where.args, limit, offset)...)
	})
	for i := range out {
		out[i].Show()
	}
	return out, err
}

// backupOrders are what the lists are sorted by, as their indexes are. A sort has the same order in both directions.
var backupOrders = map[string]string{
	"":                      "b.id DESC",
	controller.SortCreated:  "b.id DESC",
	controller.SortSize:     "coalesce(b.file_size, 0) DESC, b.id DESC",
	controller.SortDuration: "coalesce(b.completed_at - b.started_at, interval '0') DESC, b.id DESC",
}

// CountBackups counts what Backups lists, whatever the page.
func (c *Catalog) CountBackups(ctx context.Context, actor controller.Actor, f controller.BackupFilter) (controller.Total, error) {
	var n controller.Total
	if err := f.Validate(); err != nil {
		return n, err
	}
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		if column := totalOf(f); column != "" {
			var err error
			n, err = t.countTotal(ctx, column, f.Project)
			return err
		}
		where, err := t.backupConditions(ctx, f)
		if err != nil {
			return err
		}
		n, err = t.count(ctx, "database_backups b", where)
		return err
	})
	return n, err
}

// totalOf is the column of the totals that counts what is asked for, where nothing but a project or its completed or failed backups are: then
// nothing is counted. Empty: none does.
func totalOf(f controller.BackupFilter) string {
	column := map[string]string{"": "backups", controller.StatusCompleted: "completed", controller.StatusFailed: "failed"}[f.Status]
	// What is left has to be a list of its own order and page.
	f.Project, f.Status, f.Sort, f.Ascending, f.Limit, f.NumberedPage = "", "", "", false, 0, controller.NumberedPage{}
	if f != (controller.BackupFilter{}) {
		return ""
	}
	return column
}

func (t *tx) countTotal(ctx context.Context, column, project string) (controller.Total, error) {
	var c conditions
	c.add("?", t.sees("project_id"))
	if project != "" {
		p, err := t.anyProject(ctx, project)
		if err != nil {
			return controller.Total{}, err
		}
		c.add("project_id = ?", p.ID)
	}
	var n int64
	err := t.scan(ctx, &n, "SELECT coalesce(sum("+column+"), 0)::bigint FROM (SELECT * FROM backup_totals UNION ALL SELECT "+totalColumns+" FROM backup_deltas) q WHERE "+c.where(), c.args...)
	return controller.Total{N: min(n, controller.MaxCounted), More: n > controller.MaxCounted}, err
}

func (t *tx) backupConditions(ctx context.Context, f controller.BackupFilter) (conditions, error) {
	var c conditions
	c.add("?", t.sees("b.project_id"))
	if f.Project != "" {
		p, err := t.anyProject(ctx, f.Project)
		if err != nil {
			return c, err
		}
		c.add("b.project_id = ?", p.ID)
	}
	for _, by := range []struct{ column, query, ref string }{
		{"b.database_id", namedDatabase, f.Database}, {"b.server_id", namedServer, f.Server}, {"b.storage_id", namedStorage, f.Storage},
	} {
		if err := t.named(ctx, &c, by.column, by.query, by.ref); err != nil {
			return c, err
		}
	}
	c.equal("b.status", f.Status)
	c.equal("b.type", f.Type)
	c.equal("b.health", f.Health)
	c.equal("b.database_type", f.Engine)
	for _, by := range []struct {
		column string
		set    *bool
	}{{"verified_at", f.Verified}, {"held_at", f.Held}} {
		switch {
		case by.set == nil:
		case *by.set:
			c.add("b." + by.column + " IS NOT NULL")
		default:
			c.add("b." + by.column + " IS NULL")
		}
	}
	c.number("b.schedule_id = ?", f.Schedule)
	if !f.Deleted {
		c.add("b.deleted_at IS NULL")
	}
	c.between("b.created_at", f.Between)
	c.number("b.id < ?", f.BeforeID)
	return c, nil
}

// BackupManifest returns the manifest of a completed backup, as stored beside the artifact.
func (c *Catalog) BackupManifest(ctx context.Context, actor controller.Actor, id int64) ([]byte, error) {
	var row struct{ Manifest []byte }
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		found, err := t.find(ctx, &row, "SELECT manifest FROM database_backups WHERE id = ? AND ?", id, t.sees("project_id"))
		switch {
		case err != nil:
			return err
		case !found:
			return controller.Errorf(controller.ENotFound, "backup %d does not exist", id)
		case row.Manifest == nil:
			return controller.Errorf(controller.EConflict, "backup %d is not completed: it has no manifest", id)
		}
		return nil
	})
	return row.Manifest, err
}

// BackupObjects returns the objects of a completed backup, the artifact first; none before it is completed.
func (c *Catalog) BackupObjects(ctx context.Context, actor controller.Actor, id int64) ([]controller.StoredObject, error) {
	var out []controller.StoredObject
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		b, err := t.backup(ctx, id)
		if err != nil {
			return err
		}
		return t.elevated(ctx, func() (err error) {
			out, err = t.objects(ctx, b.ID)
			return err
		})
	})
	return out, err
}

// CreateBackups asks for backups: one row and one job for each database, in one transaction, in the order of project, server, instance
// and name. Asked for one database, whatever forbids it is the error; asked for many, it is that item's. Nothing at all to back up
// is an EConflict.
func (c *Catalog) CreateBackups(ctx context.Context, actor controller.Actor, req controller.BackupRequest) ([]controller.BackupOutcome, error) {
	if err := req.Validate(); err != nil {
		return nil, err
	}
	var out []controller.BackupOutcome
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		out = nil
		databases, err := t.backupTargets(ctx, req)
		if err != nil {
			return err
		}
		for _, d := range databases {
			o := controller.BackupOutcome{Database: d.Name, Server: d.Server, Instance: d.Instance}
			o.Backup, err = t.createBackup(ctx, actor, backupOrder{BackupRequest: req}, d)
			var refused *controller.Error
			if errors.As(err, &refused) && req.Database == "" {
				o.Err, err = refused, nil
			}
			if err != nil {
				return err
			}
			out = append(out, o)
		}
		failpoint.Hit("controller.before_job_commit")
		return nil
	})
	if err == nil {
		failpoint.Hit("controller.after_job_commit")
	}
	return out, err
}

// backupTargets are the databases that a request means, locked against a second request at the same time.
func (t *tx) backupTargets(ctx context.Context, req controller.BackupRequest) ([]controller.Database, error) {
	var project *controller.Project
	if req.Project != "" {
		p, err := t.project(ctx, req.Project)
		if err != nil {
			return nil, err
		}
		project = &p
	}
	server := int64(0)
	if req.Server != "" {
		s, err := t.server(ctx, req.Server)
		if err != nil {
			return nil, err
		}
		server = s.ID
	}
	id := int64(0)
	if project != nil {
		id = project.ID
	}
	where := `d.project_id IS NOT NULL AND p.deleted_at IS NULL AND ? AND (? = 0 OR d.project_id = ?) AND (? = '' OR d.name = ? OR d.id::text = ?)
		AND (? = 0 OR d.server_id = ?) AND (? = '' OR d.instance = ?)`
	args := []any{t.sees("d.project_id"), id, id, req.Database, req.Database, req.Database, server, server, req.Instance, req.Instance}
	if _, err := t.exec(ctx, `SELECT 1 FROM databases d JOIN projects p ON p.id = d.project_id WHERE `+where+` ORDER BY d.id FOR NO KEY UPDATE OF d FOR SHARE OF p`, args...); err != nil {
		return nil, err
	}
	var found []controller.Database
	if err := t.scan(ctx, &found, `SELECT `+databaseColumns+` FROM `+databaseTables+` WHERE `+where+` ORDER BY p.slug, s.name, d.instance, d.name, d.id`, args...); err != nil {
		return nil, err
	}
	switch {
	case req.Database == "" && len(found) == 0:
		return nil, t.nothing(project)
	case req.Database != "" && len(found) == 0:
		return nil, t.unknownDatabase(ctx, req, project)
	case req.Database != "" && len(found) > 1:
		return nil, ambiguous(req.Database, found)
	}
	return found, nil
}

func (t *tx) nothing(project *controller.Project) error {
	where := "no database is assigned to a project"
	if project != nil {
		where = "no such database is assigned to project " + strconv.Quote(project.Slug)
	}
	return controller.Errorf(controller.EConflict, "nothing to back up: %s", where).WithHint("`devflowctl database list` and `devflowctl database assign` assign one")
}

// unknownDatabase says why a named database cannot be backed up: not assigned, another project's, or not there.
func (t *tx) unknownDatabase(ctx context.Context, req controller.BackupRequest, project *controller.Project) error {
	var seen []controller.Database
	err := t.scan(ctx, &seen, `SELECT `+databaseColumns+` FROM `+databaseTables+` WHERE ? AND (d.name = ? OR d.id::text = ?) ORDER BY d.project_id IS NULL DESC, d.id LIMIT 5`,
		t.sees("d.project_id"), req.Database, req.Database)
	if err != nil {
		return err
	}
	want := "a project"
	if project != nil {
		want = "project " + strconv.Quote(project.Slug)
	}
	for _, d := range seen {
		if d.ProjectID == nil {
			return controller.Errorf(controller.EConflict, "database %q is on server %q but not assigned to %s", d.Name, d.Server, want).
				WithHint("`devflowctl database assign %q --on %q` assigns it", d.Name, d.Server)
		}
		if project != nil && *d.ProjectID != project.ID {
			return controller.Errorf(controller.EConflict, "database %q on server %q is assigned to project %q, not to %s", d.Name, d.Server, d.Project, want)
		}
	}
	id := int64(0)
	if project != nil {
		id = project.ID
	}
	var names []string
	err = t.scan(ctx, &names, `SELECT DISTINCT d.name FROM databases d WHERE d.project_id IS NOT NULL AND ? AND (? = 0 OR d.project_id = ?) ORDER BY d.name LIMIT 200`,
		t.sees("d.project_id"), id, id)
	if err != nil {
		return err
	}
	e := controller.Errorf(controller.ENotFound, "database %q does not exist in %s", req.Database, want)
	if project == nil {
		e = controller.Errorf(controller.ENotFound, "database %q does not exist", req.Database)
	}
	if len(names) == 0 {
		return e.WithHint("no database is assigned there yet; `devflowctl database list` shows what the agents found")
	}
	return e.WithHint("names are matched exactly; there are %s", quoteAll(nearest(req.Database, names, 8)))
}

// nearest returns at most n names, those first that look like want.
func nearest(want string, names []string, n int) []string {
	low := strings.ToLower(want)
	rank := func(name string) int {
		l := strings.ToLower(name)
		switch {
		case l == low:
			return 0
		case strings.HasPrefix(l, low) || strings.HasPrefix(low, l):
			return 1
		case strings.Contains(l, low) || strings.Contains(low, l):
			return 2
		}
		return 3
	}
	sorted := slices.Clone(names)
	slices.SortStableFunc(sorted, func(a, b string) int { return rank(a) - rank(b) })
	return sorted[:min(n, len(sorted))]
}

// backupOrder is what a backup is made of, besides its database.
type backupOrder struct {
	controller.BackupRequest
	schedule   *int64
	occurrence *time.Time // of the schedule
	retryOf    *int64
	storage    *int64     // instead of the request's
	notBefore  *time.Time // nil: now
	deadline   time.Time  // zero: by the type
}

// openBackup is the backup of a database that is being made or waits to be.
type openBackup struct {
	ID     int64
	Status string
	Since  time.Time
}

// openBackup finds the open backup of a database, nil if there is none.
func (t *tx) openBackup(ctx context.Context, database int64) (*openBackup, error) {
	var open openBackup
	found, err := t.find(ctx, &open, `SELECT b.id, b.status, coalesce(b.started_at, b.created_at) AS since FROM jobs j JOIN database_backups b ON b.id = j.backup_id
		WHERE b.database_id = ? AND j.kind = 'backup' AND j.`+jobOpen+` ORDER BY b.id LIMIT 1`, database)
	if err != nil || !found {
		return nil, err
	}
	return &open, nil
}

// createBackup makes a backup and its job, unless the database has one that is open. The database's row is locked.
func (t *tx) createBackup(ctx context.Context, actor controller.Actor, req backupOrder, d controller.Database) (*controller.Backup, error) {
	open, err := t.openBackup(ctx, d.ID)
	if err != nil {
		return nil, err
	}
	if open != nil {
		return nil, controller.Errorf(controller.EConflict, "backup %d of database %q is %s", open.ID, d.Name, open.Status).
			WithHint("wait for it, or `devflowctl backup cancel %d`", open.ID)
	}
	id, err := t.insertBackup(ctx, actor, req, d)
	if err != nil {
		return nil, err
	}
	b, err := t.backup(ctx, id)
	return &b, err
}

// insertBackup makes the backup of a database that has no open one, and its job.
func (t *tx) insertBackup(ctx context.Context, actor controller.Actor, req backupOrder, d controller.Database) (int64, error) {
	var revoked bool
	if err := t.scan(ctx, &revoked, "SELECT revoked_at IS NOT NULL FROM servers WHERE id = ?", d.ServerID); err != nil {
		return 0, err
	}
	if revoked {
		return 0, controller.Errorf(controller.EConflict, "server %q of database %q is revoked", d.Server, d.Name).
			WithHint("`devflowctl server token %q --replace` lets a host take its place; or unassign the database", d.Server)
	}
	var p controller.Project
	if err := t.scan(ctx, &p, "SELECT "+projectColumns+" FROM projects p WHERE p.id = ?", *d.ProjectID); err != nil {
		return 0, err
	}
	if req.Type != controller.TypePreRestore { // a restore does not wait for a limit
		if err := t.withinLimits(ctx, p); err != nil {
			return 0, err
		}
	}
	st, err := t.orderedStorage(ctx, p, req)
	if err != nil {
		return 0, err
	}
	if st.Kind == controller.StorageLocal {
		if err := t.hasDirectory(ctx, d); err != nil {
			return 0, err
		}
	}
	encryption := req.EncryptionFor(p)
	verify := orText(req.VerifyAfter, controller.VerifyNone)
	var id int64
	err = t.scan(ctx, &id, `INSERT INTO database_backups (project_id, server_id, database_id, schedule_id, occurrence_at, retry_of, storage_id, instance, database_type, database_name,
			type, compression, level, encryption, storage_disk, verify_after)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`,
		p.ID, d.ServerID, d.ID, req.schedule, req.occurrence, req.retryOf, st.ID, d.Instance, d.Engine, d.Name, req.Type, req.Compression, req.Level, encryption, st.Kind, verify)
	if err != nil {
		return 0, err
	}
	j := newJob{kind: wire.JobBackup, project: p.ID, server: d.ServerID, backup: id, duration: req.MaxDuration, deadline: controller.DefaultDeadline, by: actor.Name}
	if req.Type == controller.TypePreDeploy {
		j.urgent, j.deadline = true, controller.PreDeployDeadline
	}
	j.notBefore, j.deadlineAt = req.notBefore, req.deadline
	job, err := t.insertJob(ctx, j)
	if err != nil {
		return 0, err
	}
	detail := map[string]any{"database": d.Name, "server": d.Server, "type": req.Type, "storage": st.Name, "encryption": encryption, "job_id": job}
	if req.schedule != nil {
		detail["schedule_id"] = *req.schedule
	}
	if req.occurrence != nil {
		detail["occurrence_at"] = req.occurrence.UTC()
	}
	if req.retryOf != nil {
		detail["retry_of"] = *req.retryOf
	}
	return id, t.auditResult(ctx, actor, "backup.create", &p.ID, itoa(id), detail, controller.AuditAccepted)
}

// newJob is what a job is made of.
type newJob struct {
	kind                    string
	project, server, backup int64
	restore                 *int64
	level                   *string
	duration, deadline      time.Duration
	urgent                  bool
	by                      string
	notBefore               *time.Time // nil: now
	deadlineAt              time.Time  // instead of deadline, which is counted from now
	after                   *int64     // the job that has to be completed first
	waiting                 string
}

func (t *tx) insertJob(ctx context.Context, j newJob) (int64, error) {
	var id int64
	var until any = bun.Safe("now() + " + string(interval(j.deadline)))
	if !j.deadlineAt.IsZero() {
		until = j.deadlineAt
	}
	err := t.scan(ctx, &id, `INSERT INTO jobs (kind, project_id, server_id, backup_id, restore_id, level, max_duration_seconds, max_attempts, not_before, deadline_at, urgent, created_by,
			after_job_id, waiting)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, coalesce(?::timestamptz, now()), ?, ?, ?, ?, ?) RETURNING id`,
		j.kind, j.project, j.server, j.backup, j.restore, j.level, seconds(j.duration), t.cat.opts.MaxAttempts, j.notBefore, until, j.urgent, cut(j.by, 200), j.after, j.waiting)
	return id, err
}

func itoa[T int | int64](n T) string { return strconv.FormatInt(int64(n), 10) }
