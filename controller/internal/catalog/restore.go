package catalog

import (
	"context"
	"fmt"
	"strings"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

const restoreColumns = `r.id, r.project_id, p.slug AS project, r.backup_id, r.server_id, coalesce(s.name, '') AS server, r.instance, r.database_name, r.status, r.result,
	r.error_code, r.error_message, r.error_hint, r.started_at, r.completed_at, r.created_at, coalesce(j.id, 0) AS job_id, coalesce(j.status, '') AS job_status,
	CASE WHEN a.status = 'running' THEN '' ELSE coalesce(j.waiting, '') END AS waiting, ` + attemptProgress + ` AS progress`

const restoreTables = `restores r JOIN projects p ON p.id = r.project_id LEFT JOIN servers s ON s.id = r.server_id
	LEFT JOIN LATERAL (SELECT * FROM jobs q WHERE q.restore_id = r.id ORDER BY q.id DESC LIMIT 1) j ON true
	LEFT JOIN attempts a ON a.job_id = j.id AND a.no = j.attempt_no AND a.status IN ('offered', 'running', 'uploaded')`

func (t *tx) restore(ctx context.Context, id int64) (controller.Restore, error) {
	var r controller.Restore
	found, err := t.find(ctx, &r, "SELECT "+restoreColumns+" FROM "+restoreTables+" WHERE r.id = ? AND ?", id, t.sees("r.project_id"))
	if err == nil && !found {
		err = controller.Errorf(controller.ENotFound, "restore %d does not exist", id)
	}
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

// Restores lists restores, newest first: of one project, or of all that the caller sees. BeforeID 0 starts at the newest.
func (c *Catalog) Restores(ctx context.Context, actor controller.Actor, project string, beforeID int64, limit int) ([]controller.Restore, error) {
	var out []controller.Restore
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		out = []controller.Restore{}
		id := int64(0)
		if project != "" {
			p, err := t.anyProject(ctx, project)
			if err != nil {
				return err
			}
			id = p.ID
		}
		return t.scan(ctx, &out, "SELECT "+restoreColumns+" FROM "+restoreTables+" WHERE ? AND (? = 0 OR r.project_id = ?) AND (? = 0 OR r.id < ?) ORDER BY r.id DESC LIMIT ?",
			t.sees("r.project_id"), id, id, beforeID, beforeID, page(limit))
	})
	return out, err
}

// CreateRestore asks for a restore of a good backup into a new database on a server that is granted to the backup's project and
// allows restores. A database that is there already, or that another restore is making, is refused.
func (c *Catalog) CreateRestore(ctx context.Context, actor controller.Actor, req controller.RestoreRequest) (controller.Restore, error) {
	var r controller.Restore
	if err := req.Validate(); err != nil {
		return r, err
	}
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		b, err := t.lockBackup(ctx, req.Backup)
		if err != nil {
			return err
		}
		if !b.Restorable() {
			return notRestorable(b)
		}
		server, err := t.restoreServer(ctx, b, req.Server)
		if err != nil {
			return err
		}
		instance, err := restoreInstance(b, server, req.Instance)
		if err != nil {
			return err
		}
		name := orText(req.Database, b.DatabaseName)
		if err := controller.ValidDatabaseName("to_database", b.DatabaseType, name); err != nil {
			return err
		}
		if err := t.freeTarget(ctx, b, server, instance, name); err != nil {
			return err
		}
		var id int64
		err = t.scan(ctx, &id, "INSERT INTO restores (project_id, backup_id, server_id, instance, database_name) VALUES (?, ?, ?, ?, ?) RETURNING id",
			b.ProjectID, b.ID, server.ID, instance, name)
		if err != nil {
			return err
		}
		job, err := t.insertJob(ctx, newJob{
			kind: wire.JobRestore, project: b.ProjectID, server: server.ID, backup: b.ID, restore: &id, duration: readDuration, deadline: controller.DefaultDeadline, by: actor.Name,
		})
		if err != nil {
			return err
		}
		detail := map[string]any{"backup_id": b.ID, "server": server.Name, "instance": instance, "database": name, "job_id": job}
		if err := t.auditResult(ctx, actor, "restore.create", &b.ProjectID, itoa(id), detail, controller.AuditAccepted); err != nil {
			return err
		}
		r, err = t.restore(ctx, id)
		return err
	})
	return r, err
}

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

// restoreInstance is the instance asked for, else the one of the backup's name, else the only one of the engine.
func restoreInstance(b controller.Backup, s controller.Server, name string) (string, error) {
	var fit []controller.Instance
	var names []string
	for _, i := range s.Instances {
		if i.Engine == b.DatabaseType {
			fit = append(fit, i)
			names = append(names, i.Name)
		}
	}
	if len(fit) == 0 {
		return "", controller.Errorf(controller.EConflict, "server %q has no %s instance", s.Name, b.DatabaseType).WithHint("configure one in the agent's configuration there")
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
		return "", controller.Invalid("instance", "%s; use %s", what, strings.Join(names, ", "))
	}
	if !fit[chosen].Restore {
		return "", controller.Errorf(controller.EConflict, "the agent on %q does not allow restores into instance %q", s.Name, fit[chosen].Name).
			WithHint("allow them in the agent's configuration on that host")
	}
	return fit[chosen].Name, nil
}

// freeTarget refuses a restore in place and two restores into one name. Whether the name is free on the server only its agent knows:
// it looks before it reads anything, while the catalog's list may be older than the disaster.
func (t *tx) freeTarget(ctx context.Context, b controller.Backup, s controller.Server, instance, name string) error {
	if _, err := t.exec(ctx, "SELECT pg_advisory_xact_lock(?, hashtext(?))", lockRestoreTo, itoa(s.ID)+"/"+instance+"/"+name); err != nil {
		return err
	}
	return t.elevated(ctx, func() error { // the database may be one of another project
		var there bool
		err := t.scan(ctx, &there, "SELECT EXISTS (SELECT FROM databases WHERE id = ? AND server_id = ? AND instance = ? AND name = ? AND missing_since IS NULL)",
			b.DatabaseID, s.ID, instance, name)
		if err != nil {
			return err
		}
		if there {
			return controller.Errorf(controller.EConflict, "a restore in place is not available yet: %q on %q is the backup's own database", name, s.Name).
				WithHint("choose another name with --to-database; if the database is gone, wait until the agent has found that out, at most 15 minutes")
		}
		var other int64
		making, err := t.find(ctx, &other, "SELECT id FROM restores WHERE server_id = ? AND instance = ? AND database_name = ? AND status IN ('pending', 'running') LIMIT 1", s.ID, instance, name)
		if err == nil && making {
			err = controller.Errorf(controller.EConflict, "another restore is making database %q on server %q", name, s.Name).WithHint("wait for it, or choose another name with --to-database")
		}
		return err
	})
}
