package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// CreatePreDeploy orders backups of the databases that are asked for, or finds the order that the same caller made with the same key. A
// database whose backup is running already began it before the deploy: its own is ordered when that one has ended, see PreDeploy.
// Nothing at all to back up is an EConflict.
func (c *Catalog) CreatePreDeploy(ctx context.Context, actor controller.Actor, r controller.PreDeployRequest) (controller.PreDeploy, error) {
	var p controller.PreDeploy
	if err := r.Validate(); err != nil {
		return p, err
	}
	asked := jsonText(map[string]any{"databases": r.Databases, "storage": r.Storage, "deadline_seconds": seconds(r.Deadline)})
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		project, err := t.project(ctx, r.Project)
		if err != nil {
			return err
		}
		var key *string
		if r.Key != "" {
			key = &r.Key
			if _, err := t.exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", fmt.Sprintf("pre-deploy %d %s %s", project.ID, actor.Owner(), r.Key)); err != nil {
				return err
			}
			var known struct {
				ID   int64
				Same bool
			}
			found, err := t.find(ctx, &known, "SELECT id, request = ?::jsonb AS same FROM pre_deploys WHERE project_id = ? AND owner = ? AND key = ? AND ?",
				asked, project.ID, actor.Owner(), r.Key, t.sees("project_id"))
			switch {
			case err != nil:
				return err
			case found && !known.Same:
				return controller.Errorf(controller.EConflict, "the Idempotency-Key was used for another request").WithHint("use another key for another deploy")
			case found:
				p, err = t.preDeploy(ctx, actor, known.ID)
				return err
			}
		}
		requests := []controller.BackupRequest{{Project: r.Project}}
		if len(r.Databases) > 0 {
			requests = nil
			for _, name := range r.Databases {
				requests = append(requests, controller.BackupRequest{Project: r.Project, Database: name})
			}
		}
		if r.Storage != "" {
			if _, err := t.storageFor(ctx, project.ID, r.Storage); err != nil {
				return err
			}
		}
		var id int64
		err = t.scan(ctx, &id, "INSERT INTO pre_deploys (project_id, owner, key, request, deadline_at) VALUES (?, ?, ?, ?::jsonb, now() + "+string(interval(r.Deadline))+") RETURNING id",
			project.ID, actor.Owner(), key, asked)
		if err != nil {
			return err
		}
		for _, req := range requests {
			targets, err := t.backupTargets(ctx, req)
			if err != nil {
				return err
			}
			if len(targets) > controller.MaxPreDeployDatabases {
				return controller.Invalid("databases", "%d databases; at most %d are allowed", len(targets), controller.MaxPreDeployDatabases).WithHint("name those that the deploy changes")
			}
			for _, d := range targets {
				if _, err := t.exec(ctx, "INSERT INTO pre_deploy_databases (pre_deploy_id, database_id, project_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", id, d.ID, project.ID); err != nil {
					return err
				}
			}
		}
		p, err = t.preDeploy(ctx, actor, id)
		return err
	})
	return p, err
}

// PreDeploy returns an order with what became of it, after ordering what could not be ordered before.
func (c *Catalog) PreDeploy(ctx context.Context, actor controller.Actor, id int64) (controller.PreDeploy, error) {
	var p controller.PreDeploy
	err := c.scoped(ctx, actor.Scope, func(t *tx) (err error) {
		p, err = t.preDeploy(ctx, actor, id)
		return err
	})
	return p, err
}

func (t *tx) preDeploy(ctx context.Context, actor controller.Actor, id int64) (controller.PreDeploy, error) {
	var row struct {
		controller.PreDeploy
		Request json.RawMessage
	}
	found, err := t.find(ctx, &row, `SELECT q.id, q.project_id, p.slug AS project, q.created_at, q.deadline_at, q.request FROM pre_deploys q JOIN projects p ON p.id = q.project_id WHERE q.id = ? AND ?`,
		id, t.sees("q.project_id"))
	if err == nil && !found {
		err = controller.Errorf(controller.ENotFound, "pre-deploy %d does not exist", id)
	}
	if err != nil {
		return row.PreDeploy, err
	}
	now, err := t.now(ctx)
	if err != nil {
		return row.PreDeploy, err
	}
	if now.Before(row.DeadlineAt) {
		if err := t.orderPreDeploy(ctx, actor, row.PreDeploy, row.Request); err != nil {
			return row.PreDeploy, err
		}
	}
	err = t.scan(ctx, &row.Databases, `SELECT q.database_id, d.name AS database_name, coalesce(s.name, '') AS server, d.instance, q.backup_id, b.file_size,
			CASE WHEN q.error IS NOT NULL THEN 'failed' WHEN b.status = 'completed' AND b.completed_at >= ? THEN 'running' ELSE coalesce(b.status, 'waiting') END AS status, CASE WHEN b.id IS NULL THEN q.waiting ELSE coalesce(j.waiting, '') END AS waiting,
			coalesce(q.error->>'code', b.error_code) AS error_code, coalesce(q.error->>'message', b.error_message) AS error_message, coalesce(q.error->>'hint', b.error_hint) AS error_hint
		FROM pre_deploy_databases q JOIN databases d ON d.id = q.database_id LEFT JOIN servers s ON s.id = d.server_id LEFT JOIN database_backups b ON b.id = q.backup_id
			LEFT JOIN LATERAL (SELECT waiting FROM jobs WHERE backup_id = b.id AND kind = 'backup' ORDER BY id DESC LIMIT 1) j ON true
		WHERE q.pre_deploy_id = ? AND ? ORDER BY d.name, s.name, d.instance, d.id`, row.DeadlineAt, id, t.sees("q.project_id"))
	// What was completed at or after the deadline was still running at it, and the deploy was told so.
	row.Conclude(now)
	return row.PreDeploy, err
}

// orderPreDeploy orders the backups that are not ordered yet. One that waits to begin serves: what it will hold is newer than the order.
func (t *tx) orderPreDeploy(ctx context.Context, actor controller.Actor, p controller.PreDeploy, request json.RawMessage) error {
	var asked struct {
		Storage         string `json:"storage"`
		DeadlineSeconds int64  `json:"deadline_seconds"`
	}
	if err := json.Unmarshal(request, &asked); err != nil {
		return fmt.Errorf("read pre-deploy %d: %w", p.ID, err)
	}
	var open []int64
	if err := t.scan(ctx, &open, "SELECT database_id FROM pre_deploy_databases WHERE pre_deploy_id = ? AND backup_id IS NULL AND error IS NULL AND ? ORDER BY database_id", p.ID, t.sees("project_id")); err != nil || len(open) == 0 {
		return err
	}
	if _, err := t.exec(ctx, "SELECT 1 FROM databases d WHERE id = ANY (?) AND ? ORDER BY id FOR NO KEY UPDATE", idArray(open), t.sees("d.project_id")); err != nil {
		return err
	}
	for _, id := range open {
		// Another request may have ordered it meanwhile.
		var still bool
		if err := t.scan(ctx, &still, "SELECT backup_id IS NULL AND error IS NULL FROM pre_deploy_databases WHERE pre_deploy_id = ? AND database_id = ?", p.ID, id); err != nil || !still {
			if err != nil {
				return err
			}
			continue
		}
		backup, waiting, err := t.orderOne(ctx, actor, p, id, controller.BackupRequest{Type: controller.TypePreDeploy, Storage: asked.Storage})
		var refused *controller.Error
		var why *string
		switch {
		case errors.As(err, &refused):
			why = new(jsonText(map[string]any{"code": refused.Code, "message": refused.Message, "hint": refused.Hint}))
		case err != nil:
			return err
		}
		if _, err := t.exec(ctx, "UPDATE pre_deploy_databases SET backup_id = ?, waiting = ?, error = ?::jsonb WHERE pre_deploy_id = ? AND database_id = ?", backup, waiting, why, p.ID, id); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) orderOne(ctx context.Context, actor controller.Actor, p controller.PreDeploy, id int64, r controller.BackupRequest) (backup *int64, waiting string, err error) {
	if err := r.Validate(); err != nil {
		return nil, "", err
	}
	var d scheduledDatabase
	found, err := t.find(ctx, &d, `SELECT `+databaseColumns+`, s.revoked_at IS NOT NULL AS revoked, `+t.cat.online()+` AS online, s.last_seen_at AS heard_at FROM `+databaseTables+` WHERE d.id = ? AND d.project_id = ? AND ?`,
		id, p.ProjectID, t.sees("d.project_id"))
	if err == nil && !found {
		err = controller.Errorf(controller.EConflict, "the database is no longer assigned to project %q", p.Project)
	}
	if err != nil {
		return nil, "", err
	}
	if !d.Online {
		return nil, "", controller.Errorf(wire.CodeOffline, "the agent on %s is offline", d.Server).WithHint("start it, or deploy without a backup of %q", d.Name)
	}
	open, err := t.openBackup(ctx, id)
	if err != nil {
		return nil, "", err
	}
	switch {
	case open != nil && open.Status == controller.StatusPending:
		_, err := t.exec(ctx, "UPDATE jobs SET not_before = least(not_before, now()) WHERE backup_id = ? AND kind = 'backup' AND status = 'queued'", open.ID)
		return &open.ID, "", err
	case open != nil:
		return nil, fmt.Sprintf("backup %d began before the deploy; another follows it", open.ID), nil
	}
	made, err := t.insertBackup(ctx, actor, backupOrder{BackupRequest: r, deadline: p.DeadlineAt}, d.Database)
	if err != nil {
		return nil, "", err
	}
	return &made, "", nil
}
