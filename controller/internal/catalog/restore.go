package catalog

import (
	"context"
	"fmt"
	"strings"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// restoreColumns of restores r, with the job that carries it out: not one that settled it or removed what it kept.
const restoreColumns = `r.id, CASE WHEN r.undo_of IS NULL THEN 'restore' ELSE 'undo' END AS kind, r.project_id, p.slug AS project, r.backup_id, r.server_id,
	coalesce(s.name, '') AS server, r.instance, coalesce(o.database_type, '') AS engine, r.database_name, r.status, r.result,
	r.error_code, r.error_message, r.error_hint, r.started_at, r.completed_at, r.created_at, coalesce(j.id, 0) AS job_id, coalesce(j.status, '') AS job_status,
	r.in_place, r.sessions, r.wait_seconds, r.choices, r.target_state, r.safety_backup_id, sb.status AS safety_status, r.undo_of,
	(SELECT max(u.id) FROM restores u WHERE u.undo_of = r.id) AS undone_by, r.kept_name, r.kept_state, r.kept_until, r.kept_error, r.keep_seconds, r.identity, r.staged_name,
	CASE WHEN a.status = 'running' THEN '' ELSE coalesce(j.waiting, '') END AS waiting, ` + attemptProgress + ` AS progress`

const restoreTables = `restores r JOIN projects p ON p.id = r.project_id LEFT JOIN servers s ON s.id = r.server_id LEFT JOIN database_backups o ON o.id = r.backup_id
	LEFT JOIN database_backups sb ON sb.id = r.safety_backup_id
	LEFT JOIN LATERAL (SELECT * FROM jobs q WHERE q.restore_id = r.id AND q.kind IN ('restore', 'undo') ORDER BY q.id DESC LIMIT 1) j ON true
	LEFT JOIN attempts a ON a.job_id = j.id AND a.no = j.attempt_no AND a.status IN ('offered', 'running', 'uploaded')`

func (t *tx) restore(ctx context.Context, id int64) (controller.Restore, error) {
	var r controller.Restore
	found, err := t.find(ctx, &r, "SELECT "+restoreColumns+" FROM "+restoreTables+" WHERE r.id = ? AND ?", id, t.sees("r.project_id"))
	if err == nil && !found {
		err = controller.Errorf(controller.ENotFound, "restore %d does not exist", id)
	}
	r.Show()
	return r, err
}

// Restore returns one restore.
func (c *Catalog) Restore(ctx context.Context, actor controller.Actor, id int64) (controller.Restore, error) {
	var r controller.Restore
	err := c.scoped(ctx, actor.Scope, func(t *tx) (err error) {
		r, err = t.restore(ctx, id)
		return err
	})
	return r, err
}

// Restores lists restores, newest first: after a cursor, or a numbered page.
func (c *Catalog) Restores(ctx context.Context, actor controller.Actor, f controller.RestoreFilter) ([]controller.Restore, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	var out []controller.Restore
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		out = []controller.Restore{}
		where, err := t.restoreConditions(ctx, f)
		if err != nil {
			return err
		}
		limit, offset := limits(f.Limit, f.NumberedPage)
		return t.scan(ctx, &out, "SELECT "+restoreColumns+" FROM (SELECT * FROM restores r WHERE "+where.where()+" ORDER BY r.id DESC LIMIT ? OFFSET ?) "+
			strings.TrimPrefix(restoreTables, "restores ")+" ORDER BY r.id DESC", append(where.args, limit, offset)...)
	})
	for i := range out {
		out[i].Show()
	}
	return out, err
}

// CountRestores counts what Restores lists, whatever the page.
func (c *Catalog) CountRestores(ctx context.Context, actor controller.Actor, f controller.RestoreFilter) (controller.Total, error) {
	var n controller.Total
	if err := f.Validate(); err != nil {
		return n, err
	}
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		where, err := t.restoreConditions(ctx, f)
		if err != nil {
			return err
		}
		n, err = t.count(ctx, "restores r", where)
		return err
	})
	return n, err
}

func (t *tx) restoreConditions(ctx context.Context, f controller.RestoreFilter) (conditions, error) {
	var c conditions
	c.add("?", t.sees("r.project_id"))
	if f.Project != "" {
		p, err := t.anyProject(ctx, f.Project)
		if err != nil {
			return c, err
		}
		c.add("r.project_id = ?", p.ID)
	}
	if err := t.named(ctx, &c, "r.server_id", namedServer, f.Server); err != nil {
		return c, err
	}
	c.equal("r.database_name", f.Database)
	c.equal("r.status", f.Status)
	switch f.Kind {
	case controller.RestoreKind:
		c.add("r.undo_of IS NULL")
	case controller.UndoKind:
		c.add("r.undo_of IS NOT NULL")
	}
	c.number("r.backup_id = ?", f.Backup)
	c.between("r.created_at", f.Between)
	c.number("r.id < ?", f.BeforeID)
	return c, nil
}

// CreateRestore asks for a restore of a good backup on a server that is granted to the backup's project and allows it: into a new
// database or, in place, into that of a database that is assigned to the project. A database that is there already, or that something
// else is at work on, is refused. In place the target's safety backup is asked for with it: the restore begins when that is completed.
func (c *Catalog) CreateRestore(ctx context.Context, actor controller.Actor, req controller.RestoreRequest) (controller.Restore, error) {
	var r controller.Restore
	if err := req.Validate(); err != nil {
		return r, err
	}
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		b, err := t.backup(ctx, req.Backup)
		if err != nil {
			return err
		}
		if req.InPlace {
			// Databases are locked before their backups.
			d, err := t.draftRestore(ctx, b, req)
			if err != nil {
				return err
			}
			if err := t.lockAssigned(ctx, d.Local); err != nil {
				return err
			}
		}
		if b, err = t.lockBackup(ctx, req.Backup); err != nil {
			return err
		}
		d, err := t.draftRestore(ctx, b, req)
		if err != nil {
			return err
		}
		if err := t.lockTarget(ctx, d.Server.ID, d.Instance.Name, d.Database); err != nil {
			return err
		}
		if err := t.lookAtTarget(ctx, &d); err != nil {
			return err
		}
		if err := stopped(d); err != nil {
			return err
		}
		if err := confirmed(d); err != nil {
			return err
		}
		safety, err := t.safetyBackup(ctx, actor, d)
		if err != nil {
			return err
		}
		r, err = t.insertRestore(ctx, actor, d, safety)
		return err
	})
	return r, err
}

// stopped is the first problem that the catalog knows to stop a restore. An agent that is not connected is none of its own: a restore
// into a new database waits for it, and one in place was looked at by it.
func stopped(d controller.Draft) error {
	for _, p := range d.Problems {
		if p.Stops && p.Code != wire.CodeOffline {
			return controller.Errorf(controller.EConflict, "%s", p.Text).WithHint("%s", p.Hint)
		}
	}
	return nil
}

// confirmed holds the name that a person typed against the target's.
func confirmed(d controller.Draft) error {
	switch {
	case !d.Request.InPlace:
		return nil
	case d.Request.Confirm != d.Database:
		return controller.Invalid("confirm", "%q is not the name of the database that is to be replaced; type %q", d.Request.Confirm, d.Database)
	case d.Request.Identity == "" || len(d.Request.Identity) > maxIdentity:
		return controller.Invalid("identity", "has %d bytes; a swap needs what was seen at its target", len(d.Request.Identity))
	}
	return nil
}

const maxIdentity = 1000

// safetyBackup asks for the backup of the target that is made before it is replaced. It returns nil where none is wanted.
func (t *tx) safetyBackup(ctx context.Context, actor controller.Actor, d controller.Draft) (*controller.Backup, error) {
	if !d.Request.InPlace || d.Request.SkipSafety {
		return nil, nil
	}
	var target controller.Database
	found, err := t.find(ctx, &target, "SELECT "+databaseColumns+" FROM "+databaseTables+" WHERE d.id = ? AND d.project_id = ?", d.Local, d.Backup.ProjectID)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, controller.Errorf(controller.EConflict, "database %q on server %q is no longer assigned to project %q", d.Database, d.Server.Name, d.Backup.Project)
	}
	// What the last good backup of it was given, this one gets at least.
	long := int64(0)
	if _, err := t.find(ctx, &long, `SELECT j.max_duration_seconds FROM database_backups b JOIN jobs j ON j.backup_id = b.id AND j.kind = 'backup'
		WHERE b.database_id = ? AND b.status = 'completed' ORDER BY b.id DESC, j.id DESC LIMIT 1`, target.ID); err != nil {
		return nil, err
	}
	return t.createBackup(ctx, actor, backupOrder{BackupRequest: controller.BackupRequest{
		Type: controller.TypePreRestore, Compression: controller.CompressionZstd, VerifyAfter: controller.VerifyNone,
		MaxDuration: max(controller.DefaultMaxDuration, time.Duration(long)*time.Second),
	}}, target)
}

// insertRestore makes the row of a restore or an undo, and its job.
func (t *tx) insertRestore(ctx context.Context, actor controller.Actor, d controller.Draft, safety *controller.Backup) (controller.Restore, error) {
	req := d.Request
	var id int64
	if err := t.scan(ctx, &id, "SELECT nextval(pg_get_serial_sequence('restores', 'id'))"); err != nil {
		return controller.Restore{}, err
	}
	j := newJob{
		kind: wire.JobRestore, project: d.Backup.ProjectID, server: d.Server.ID, backup: d.Backup.ID, restore: &id,
		duration: readDuration, deadline: controller.DefaultDeadline, by: actor.Name,
	}
	detail := map[string]any{"backup_id": d.Backup.ID, "server": d.Server.Name, "instance": d.Instance.Name, "database": d.Database}
	var staged, kept string
	var undoOf, safetyID *int64
	keep := time.Duration(0)
	if req.InPlace {
		staged, kept = swapName("staging", id), swapName("kept", id)
		keep = req.KeepFor
		detail["in_place"], detail["sessions"], detail["keep_seconds"] = true, req.Sessions, int64(keep/time.Second)
	}
	if d.Undo != nil {
		undoOf, staged, j.kind, j.duration = &d.Undo.ID, d.Undo.KeptName, wire.JobUndo, swapDuration
		detail["undo_of"] = d.Undo.ID
	}
	if safety != nil {
		safetyID, j.after, j.waiting = &safety.ID, &safety.JobID, waitsForSafety(safety.ID)
		detail["safety_backup_id"] = safety.ID
	}
	if req.InPlace && d.Undo == nil {
		detail["safety_backup_skipped"] = safety == nil
	}
	if choices := jsonText(req.Choices); choices != "{}" {
		detail["choices"] = req.Choices
	}
	_, err := t.exec(ctx, `INSERT INTO restores (id, project_id, backup_id, server_id, instance, database_name, in_place, undo_of, identity, sessions, wait_seconds, choices,
			safety_backup_id, staged_name, kept_name, keep_seconds)
		OVERRIDING SYSTEM VALUE VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?::jsonb, ?, ?, ?, ?)`,
		id, d.Backup.ProjectID, d.Backup.ID, d.Server.ID, d.Instance.Name, d.Database, req.InPlace, undoOf, req.Identity, orText(req.Sessions, wire.SessionsRefuse),
		int64(req.Wait/time.Second), jsonText(req.Choices), safetyID, staged, kept, int64(keep/time.Second))
	if err != nil {
		return controller.Restore{}, err
	}
	job, err := t.insertJob(ctx, j)
	if err != nil {
		return controller.Restore{}, err
	}
	detail["job_id"] = job
	action := "restore.create"
	if d.Undo != nil {
		action = "restore.undo"
	}
	if err := t.auditResult(ctx, actor, action, &d.Backup.ProjectID, itoa(id), detail, controller.AuditAccepted); err != nil {
		return controller.Restore{}, err
	}
	return t.restore(ctx, id)
}

// swapName is a name beside the target that no other restore has.
func swapName(what string, restore int64) string {
	return fmt.Sprintf("devflow_%s_%d_%s", what, restore, wire.NewID()[:8])
}

func waitsForSafety(backup int64) string { return "waits for safety backup " + itoa(backup) }

func notRestorable(b controller.Backup) error {
	switch {
	case b.DeletedAt != nil:
		return controller.Errorf(controller.EConflict, "backup %d is deleted", b.ID).WithHint("`devflowctl backup undelete %d` brings it back while its grace runs", b.ID)
	case b.Status != controller.StatusCompleted:
		return controller.Errorf(controller.EConflict, "backup %d is %s: only a completed backup can be restored", b.ID, b.Status)
	case b.Health == controller.HealthArchived:
		return archivedBackup(b)
	default:
		return controller.Errorf(controller.EConflict, "backup %d is %s", b.ID, b.Health).WithHint("choose another backup; `devflowctl backup verify %d` looks at it again", b.ID)
	}
}

// archivedBackup refuses what has to read a backup that lies in an archive of its storage.
func archivedBackup(b controller.Backup) error {
	return controller.Errorf(controller.EConflict, "backup %d is archived: its storage %q has to bring it back before it can be read", b.ID, b.Storage).
		WithHint("ask the store for it (on AWS `aws s3api restore-object --key %s`), then `devflowctl storage inventory %s --now --wait` and try again", b.FilePath, b.Storage)
}

// restoreServer is the server asked for, else the backup's own. What lies on a host's own disk only that host restores.
func (t *tx) restoreServer(ctx context.Context, b controller.Backup, ref string) (controller.Server, error) {
	if ref == "" {
		var s controller.Server
		found, err := t.find(ctx, &s, "SELECT "+t.cat.serverColumns()+" FROM servers s WHERE s.id = ?", b.ServerID)
		if err != nil {
			return s, err
		}
		if !found || s.RevokedAt != nil {
			refused := controller.Errorf(controller.EConflict, "server %q of backup %d is revoked", b.Server, b.ID).WithHint("choose another one with --to-server")
			if b.SameHost {
				refused = refused.WithHint("the backup lies on that host itself: its file is in the backup directory there, if the host is still there")
			}
			return s, refused
		}
		return t.grantedServer(ctx, b, s)
	}
	s, err := t.server(ctx, ref)
	if err != nil {
		return s, err
	}
	if b.SameHost && s.ID != b.ServerID {
		return s, controller.Errorf(controller.EConflict, "backup %d lies on server %q itself and can be restored only there, not on %q", b.ID, b.Server, s.Name).
			WithHint("restore it on %s, or fetch it with `devflowctl backup download %d`", b.Server, b.ID)
	}
	if s.RevokedAt != nil {
		return s, controller.Errorf(controller.EConflict, "server %q is revoked", s.Name)
	}
	return t.grantedServer(ctx, b, s)
}

func (t *tx) grantedServer(ctx context.Context, b controller.Backup, s controller.Server) (controller.Server, error) {
	granted, err := t.mayUse(ctx, b.ProjectID, s.ID)
	if err == nil && !granted {
		err = controller.Errorf(controller.EConflict, "server %q is not granted to project %q", s.Name, b.Project).
			WithHint("`devflowctl project grant %s %s` grants it", b.Project, s.Name)
	}
	return s, err
}

// restoreInstance is the instance asked for, else the one of the backup's name, else the only one of the engine. Whether its host allows
// restores there is not looked at.
func restoreInstance(b controller.Backup, s controller.Server, name string) (controller.Instance, error) {
	var fit []controller.Instance
	var names []string
	for _, i := range s.Instances {
		if i.Engine == b.DatabaseType {
			fit = append(fit, i)
			names = append(names, i.Name)
		}
	}
	if len(fit) == 0 {
		return controller.Instance{}, controller.Errorf(controller.EConflict, "server %q has no %s instance", s.Name, b.DatabaseType).WithHint("configure one in the agent's configuration there")
	}
	chosen := -1
	for n, i := range fit {
		if i.Name == name || name == "" && i.Name == b.Instance {
			chosen = n
		}
	}
	if chosen < 0 && name == "" && len(fit) == 1 {
		chosen = 0
	}
	if chosen < 0 {
		what := fmt.Sprintf("%q is not a %s instance of server %q", name, b.DatabaseType, s.Name)
		if name == "" {
			what = fmt.Sprintf("server %q has several %s instances", s.Name, b.DatabaseType)
		}
		return controller.Instance{}, controller.Invalid("instance", "%s; use %s", what, strings.Join(names, ", "))
	}
	return fit[chosen], nil
}
