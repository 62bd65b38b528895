package catalog

import (
	"context"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// readDuration bounds a verification or a restore.
const readDuration = 12 * time.Hour

// CreateVerify asks for verifications: of one backup, of all that were never verified, or of all completed ones of a project. A backup
// that is being verified at that level already is not verified twice: its job is returned.
func (c *Catalog) CreateVerify(ctx context.Context, actor controller.Actor, req controller.VerifyRequest) ([]controller.Job, error) {
	if err := req.Validate(); err != nil {
		return nil, err
	}
	var out []controller.Job
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		out = []controller.Job{}
		ids, err := t.verifyTargets(ctx, req)
		if err != nil {
			return err
		}
		for _, id := range ids {
			job, err := t.createVerify(ctx, actor, id, req.Level)
			if err != nil {
				return err
			}
			j, err := t.job(ctx, job)
			if err != nil {
				return err
			}
			out = append(out, j)
		}
		return nil
	})
	return out, err
}

// verifyTargets are the backups that a request means, oldest first, locked. Asked for many, those on a host that can no longer read
// its own and those in an archive are left out: they must not keep the others from being verified.
func (t *tx) verifyTargets(ctx context.Context, req controller.VerifyRequest) ([]int64, error) {
	if req.Backup != 0 {
		b, err := t.lockBackup(ctx, req.Backup)
		switch {
		case err != nil:
			return nil, err
		case b.DeletedAt != nil:
			return nil, controller.Errorf(controller.EConflict, "backup %d is deleted", b.ID).WithHint("`devflowctl backup undelete %d` brings it back while its grace runs", b.ID)
		case b.Status != controller.StatusCompleted:
			return nil, controller.Errorf(controller.EConflict, "backup %d is %s: only a completed backup can be verified", b.ID, b.Status)
		case b.Health == controller.HealthArchived:
			return nil, archivedBackup(b)
		}
		return []int64{b.ID}, nil
	}
	project := int64(0)
	if req.Project != "" {
		p, err := t.project(ctx, req.Project)
		if err != nil {
			return nil, err
		}
		project = p.ID
	}
	var ids []int64
	err := t.scan(ctx, &ids, `SELECT b.id FROM database_backups b WHERE ? AND (? = 0 OR b.project_id = ?) AND b.status = 'completed' AND b.deleted_at IS NULL AND b.health <> 'archived'
		AND (NOT ? OR b.verified_at IS NULL)
		AND (b.storage_disk <> 'local' OR EXISTS (SELECT FROM servers s JOIN project_servers g ON g.server_id = s.id AND g.project_id = b.project_id
			WHERE s.id = b.server_id AND s.revoked_at IS NULL)) ORDER BY b.id FOR UPDATE`, t.sees("b.project_id"), project, project, req.All)
	return ids, err
}

func (t *tx) createVerify(ctx context.Context, actor controller.Actor, backup int64, level string) (int64, error) {
	var open int64
	found, err := t.find(ctx, &open, "SELECT id FROM jobs WHERE backup_id = ? AND kind = 'verify' AND level = ? AND "+jobOpen+" ORDER BY id LIMIT 1", backup, level)
	if err != nil || found {
		return open, err
	}
	b, err := t.backup(ctx, backup)
	if err != nil {
		return 0, err
	}
	server, err := t.verifyingServer(ctx, b, level)
	if err != nil {
		return 0, err
	}
	id, err := t.insertJob(ctx, newJob{
		kind: wire.JobVerify, project: b.ProjectID, server: server, backup: b.ID, level: &level, duration: readDuration, deadline: controller.DefaultDeadline, by: actor.Name,
	})
	if err != nil {
		return 0, err
	}
	return id, t.auditResult(ctx, actor, "backup.verify", &b.ProjectID, itoa(b.ID), map[string]any{"level": level, "job_id": id}, controller.AuditAccepted)
}

// verifyingServer chooses who reads a backup. A checksum needs no key: the source server, another one of the project while the source
// is offline. Content needs one: an online verifier of the project, else the source itself, which is then shown. What lies on the
// source's own disk only the source reads.
func (t *tx) verifyingServer(ctx context.Context, b controller.Backup, level string) (int64, error) {
	if b.SameHost {
		var live bool
		if err := t.scan(ctx, &live, "SELECT revoked_at IS NULL FROM servers WHERE id = ?", b.ServerID); err != nil {
			return 0, err
		}
		reads, err := t.mayUse(ctx, b.ProjectID, b.ServerID)
		if err == nil && (!reads || !live) {
			err = controller.Errorf(controller.EConflict, "backup %d lies on server %q itself, which is revoked or not granted to project %q", b.ID, b.Server, b.Project).
				WithHint("nobody else can read it")
		}
		return b.ServerID, err
	}
	first := "s.id = ?"
	if level == wire.LevelContent {
		first = "s.verifier AND s.id <> ?"
	}
	var id int64
	found, err := t.find(ctx, &id, `SELECT s.id FROM servers s
		WHERE (EXISTS (SELECT FROM project_servers g WHERE g.server_id = s.id AND g.project_id = ?)
			OR ? AND EXISTS (SELECT FROM projects p WHERE p.id = ? AND p.deleted_at IS NOT NULL)) AND s.revoked_at IS NULL AND (? = 'checksum' OR s.verifier OR s.id = ?) AND (s.id = ? OR `+t.cat.online()+`)
		ORDER BY `+t.cat.online()+` AND `+first+` DESC, `+t.cat.online()+` DESC, s.id = ? DESC, s.id LIMIT 1`,
		b.ProjectID, t.scope.All, b.ProjectID, level, b.ServerID, b.ServerID, b.ServerID, b.ServerID)
	if err != nil || found {
		return id, err
	}
	return 0, controller.Errorf(controller.EConflict, "no server of project %q can read backup %d: its own is revoked or not granted, and no other one is online", b.Project, b.ID).
		WithHint("grant an online server to the project, for content one that is marked verifier")
}
