package catalog

import (
	"context"
	"strings"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

const jobColumns = `j.id, j.kind, j.project_id, coalesce(p.slug, '') AS project, j.server_id, coalesce(s.name, '') AS server, j.backup_id,
	coalesce(b.database_name, '') AS database_name, j.restore_id, j.level, j.status, j.attempt_no, j.max_attempts,
	CASE WHEN a.status = 'running' THEN '' ELSE j.waiting END AS waiting, j.failure, j.cancel_requested_at, j.created_by, j.created_at, j.started_at, j.ended_at, ` + attemptProgress + ` AS progress`

const jobTables = `jobs j LEFT JOIN servers s ON s.id = j.server_id LEFT JOIN projects p ON p.id = j.project_id LEFT JOIN database_backups b ON b.id = j.backup_id
	LEFT JOIN attempts a ON a.job_id = j.id AND a.no = j.attempt_no AND a.status IN ('offered', 'running', 'uploaded')`

func (t *tx) job(ctx context.Context, id int64) (controller.Job, error) {
	var j controller.Job
	found, err := t.find(ctx, &j, "SELECT "+jobColumns+" FROM "+jobTables+" WHERE j.id = ? AND ?", id, t.sees("j.project_id"))
	if err == nil && !found {
		err = controller.Errorf(controller.ENotFound, "job %d does not exist", id)
	}
	return j, err
}

// Job returns one job with its attempts and their logs.
func (c *Catalog) Job(ctx context.Context, actor controller.Actor, id int64) (controller.Job, error) {
	var j controller.Job
	err := c.scoped(ctx, actor.Scope, func(t *tx) (err error) {
		if j, err = t.job(ctx, id); err != nil {
			return err
		}
		return t.scan(ctx, &j.Attempts, `SELECT no, status, suspect_at IS NOT NULL AND status = 'running' AS suspect, failure, log, millis, created_at, accepted_at, ended_at
			FROM attempts WHERE job_id = ? AND ? ORDER BY no`, id, t.sees("project_id"))
	})
	return j, err
}

// Jobs lists jobs without their attempts, newest first: after a cursor, or a numbered page.
func (c *Catalog) Jobs(ctx context.Context, actor controller.Actor, f controller.JobFilter) ([]controller.Job, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	var out []controller.Job
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		out = []controller.Job{}
		where, err := t.jobConditions(ctx, f)
		if err != nil {
			return err
		}
		limit, offset := limits(f.Limit, f.NumberedPage)
		return t.scan(ctx, &out, "SELECT "+jobColumns+" FROM (SELECT * FROM jobs j WHERE "+where.where()+" ORDER BY j.id DESC LIMIT ? OFFSET ?) "+
			strings.TrimPrefix(jobTables, "jobs ")+" ORDER BY j.id DESC", append(where.args, limit, offset)...)
	})
	return out, err
}

// CountJobs counts what Jobs lists, whatever the page.
func (c *Catalog) CountJobs(ctx context.Context, actor controller.Actor, f controller.JobFilter) (controller.Total, error) {
	var n controller.Total
	if err := f.Validate(); err != nil {
		return n, err
	}
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		where, err := t.jobConditions(ctx, f)
		if err != nil {
			return err
		}
		n, err = t.count(ctx, "jobs j", where)
		return err
	})
	return n, err
}

func (t *tx) jobConditions(ctx context.Context, f controller.JobFilter) (conditions, error) {
	var c conditions
	c.add("?", t.sees("j.project_id"))
	if f.Project != "" {
		p, err := t.anyProject(ctx, f.Project)
		if err != nil {
			return c, err
		}
		c.add("j.project_id = ?", p.ID)
	}
	if err := t.named(ctx, &c, "j.server_id", namedServer, f.Server); err != nil {
		return c, err
	}
	c.equal("j.kind", f.Kind)
	if f.Status == controller.JobOpen {
		c.add("j." + jobOpen)
	} else {
		c.equal("j.status", f.Status)
	}
	c.number("j.backup_id = ?", f.Backup)
	c.number("j.restore_id = ?", f.Restore)
	c.number("j.id < ?", f.BeforeID)
	return c, nil
}

// CancelJob cancels an open job: at once if no agent has it, else as soon as the agent has stopped. Repeating it changes nothing. A
// job that ended, or whose artifact is being completed, is an EConflict.
func (c *Catalog) CancelJob(ctx context.Context, actor controller.Actor, id int64, reason string) (controller.Job, error) {
	return c.cancel(ctx, actor, reason, func(*tx) (int64, error) { return id, nil })
}

// CancelBackup cancels the job that makes a backup.
func (c *Catalog) CancelBackup(ctx context.Context, actor controller.Actor, backup int64, reason string) (controller.Job, error) {
	return c.cancel(ctx, actor, reason, func(t *tx) (int64, error) {
		b, err := t.backup(ctx, backup)
		return b.JobID, err
	})
}

// CancelRestore cancels the job of a restore.
func (c *Catalog) CancelRestore(ctx context.Context, actor controller.Actor, restore int64, reason string) (controller.Job, error) {
	return c.cancel(ctx, actor, reason, func(t *tx) (int64, error) {
		r, err := t.restore(ctx, restore)
		return r.JobID, err
	})
}

func (c *Catalog) cancel(ctx context.Context, actor controller.Actor, reason string, find func(*tx) (int64, error)) (controller.Job, error) {
	var j controller.Job
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		id, err := find(t)
		if err != nil {
			return err
		}
		if _, err := t.job(ctx, id); err != nil { // seen by the caller
			return err
		}
		open, err := t.lockJobs(ctx, "j.id = ?", id)
		if err != nil {
			return err
		}
		if j, err = t.job(ctx, id); err != nil {
			return err
		}
		switch {
		case len(open) == 0 && j.Status == controller.JobCancelled:
			return nil
		case len(open) == 0:
			return controller.Errorf(controller.EConflict, "job %d has already ended: %s", id, j.Status)
		case j.Kind == wire.JobSettle:
			return controller.Errorf(controller.EConflict, "job %d finds out what is at a restore's target: it cannot be cancelled", id)
		case j.Kind == wire.JobDiscard:
			return controller.Errorf(controller.EConflict, "job %d removes what a restore in place had replaced: it cannot be cancelled", id).
				WithHint("`devflowctl restore keep %d` keeps it, if the agent has not begun", *j.RestoreID)
		case open[0].Cancelling:
			return nil
		case open[0].Status == controller.JobFinishing:
			return controller.Errorf(controller.EConflict, "job %d is at its end: the artifact is uploaded and being completed", id).
				WithHint("delete the backup when it is completed")
		}
		reason := cut(orText(reason, "asked for by "+actor.Name), 500)
		if _, err := t.exec(ctx, "UPDATE jobs SET cancel_requested_at = now(), cancel_reason = ?, waiting = '' WHERE id = ?", reason, id); err != nil {
			return err
		}
		if err := t.audit(ctx, actor, "job.cancel", &j.ProjectID, itoa(id), map[string]any{"kind": j.Kind, "backup_id": j.BackupID, "reason": reason}); err != nil {
			return err
		}
		if open[0].AttemptStatus == "" {
			open[0].Cancelling = true
			err := t.elevated(ctx, func() error {
				return t.endJob(ctx, open[0], controller.JobCancelled, wire.Failf(wire.CodeCancelled, "cancelled: %s", reason))
			})
			if err != nil {
				return err
			}
		}
		j, err = t.job(ctx, id)
		return err
	})
	return j, err
}
