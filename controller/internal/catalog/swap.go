package catalog

import (
	"context"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// swapDuration bounds a job that only moves or removes what is on its host.
const swapDuration = time.Hour

// DraftUndo resolves and checks a request to bring back what a restore in place kept; nothing is written. Confirm is not looked at.
func (c *Catalog) DraftUndo(ctx context.Context, actor controller.Actor, id int64, req controller.SwapRequest) (controller.Draft, error) {
	if err := req.Validate(); err != nil {
		return controller.Draft{}, err
	}
	var d controller.Draft
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		r, err := t.restore(ctx, id)
		if err != nil {
			return err
		}
		if d, err = t.draftUndo(ctx, r, req); err != nil {
			return err
		}
		return t.lookAtTarget(ctx, &d)
	})
	return d, err
}

func (t *tx) draftUndo(ctx context.Context, r controller.Restore, req controller.SwapRequest) (controller.Draft, error) {
	d := controller.Draft{
		Request: controller.RestoreRequest{Backup: r.BackupID, Database: r.DatabaseName, InPlace: true, SwapRequest: req, SkipSafety: true},
		Kind:    controller.UndoKind, Undo: &r, Engine: r.Engine, Database: r.DatabaseName, Problems: []wire.Problem{},
	}
	if err := t.stillKept(ctx, r, "undone"); err != nil {
		return d, err
	}
	var err error
	if d.Backup, err = t.backup(ctx, r.BackupID); err != nil {
		return d, err
	}
	seen, err := t.find(ctx, &d.Server, "SELECT "+t.cat.serverColumns()+" FROM servers s WHERE s.id = ?", r.ServerID)
	if err != nil {
		return d, err
	}
	if !seen { // neither granted, nor where a backup of the project is from
		return d, controller.Errorf(controller.EConflict, "the server of %s %d is not granted to project %q", r.Kind, r.ID, r.Project).WithHint("`devflowctl project grant %s SERVER` grants it", r.Project)
	}
	d.Online = d.Server.Online
	if d.Server.RevokedAt != nil {
		return d, controller.Errorf(controller.EConflict, "server %q is revoked", d.Server.Name).
			WithHint("%q is still there: rename it by hand, or let a host take the server's place with `devflowctl server token %q --replace`", r.KeptName, d.Server.Name)
	}
	if d.Server, err = t.grantedServer(ctx, d.Backup, d.Server); err != nil {
		return d, err
	}
	d.Request.Server, d.Request.Instance = d.Server.Name, r.Instance
	found := false
	for _, i := range d.Server.Instances {
		if i.Name == r.Instance && i.Engine == r.Engine {
			d.Instance, found = i, true
		}
	}
	if !found {
		return d, controller.Errorf(controller.EConflict, "the agent on %q no longer has the %s instance %q", d.Server.Name, r.Engine, r.Instance).
			WithHint("configure it again in the agent's configuration on that host")
	}
	if err := t.backupFacts(ctx, &d); err != nil {
		return d, err
	}
	return d, t.targetProblems(ctx, &d)
}

// stillKept refuses where nothing is kept, or no longer, or it is on its way.
func (t *tx) stillKept(ctx context.Context, r controller.Restore, done string) error {
	no := func(format string, args ...any) *controller.Error {
		return controller.Errorf(controller.EConflict, format, args...)
	}
	switch {
	case !r.InPlace:
		return no("restore %d made a new database and replaced nothing: it cannot be %s", r.ID, done)
	case r.Status == controller.StatusPending || r.Status == controller.StatusRunning:
		return no("%s %d is %s: nothing is kept yet", r.Kind, r.ID, r.Status).WithHint("wait for it, or cancel it")
	case r.TargetState == controller.TargetUnknown:
		return no("it is not known yet whether %s %d has replaced its target", r.Kind, r.ID).WithHint("its agent is asked as soon as it is connected; wait for that")
	case r.KeptState == controller.KeptUndone && r.UndoneBy != nil:
		return no("%s %d was undone already, by undo %d", r.Kind, r.ID, *r.UndoneBy).WithHint("that one can be undone in its turn while it keeps what it replaced")
	case r.KeptState == controller.KeptRemoved:
		e := no("what %s %d replaced was removed", r.Kind, r.ID)
		if r.SafetyBackupID != nil {
			e = e.WithHint("its safety backup can be restored, if it is still there: %d", *r.SafetyBackupID)
		}
		return e
	case r.KeptState != controller.KeptKept:
		return no("%s %d left its target as it was: there is nothing that could be %s", r.Kind, r.ID, done)
	}
	var busy struct {
		ID   int64
		Kind string
	}
	found, err := t.find(ctx, &busy, `SELECT j.id, j.kind FROM jobs j WHERE j.restore_id = ? AND j.kind = 'discard' AND j.`+jobOpen+`
		UNION ALL SELECT u.id, 'undo' FROM restores u WHERE u.undo_of = ? AND (u.status IN ('pending', 'running') OR u.target_state = 'unknown') LIMIT 1`, r.ID, r.ID)
	switch {
	case err != nil || !found:
		return err
	case busy.Kind == wire.JobDiscard:
		return no("what %s %d replaced is being removed, by job %d", r.Kind, r.ID, busy.ID).WithHint("`devflowctl restore keep %d` keeps it, if the agent has not begun", r.ID)
	}
	return no("undo %d is bringing back what %s %d replaced", busy.ID, r.Kind, r.ID).WithHint("wait for it, or cancel it")
}

// lockRestore locks a restore that the caller sees for what is done with what it kept. Its backup is locked before it, as by everyone.
func (t *tx) lockRestore(ctx context.Context, id int64) (controller.Restore, error) {
	r, err := t.restore(ctx, id)
	if err != nil {
		return r, err
	}
	if _, err := t.lockBackup(ctx, r.BackupID); err != nil {
		return r, err
	}
	if err := t.lockTarget(ctx, r.ServerID, r.Instance, r.DatabaseName); err != nil {
		return r, err
	}
	if _, err := t.exec(ctx, "SELECT 1 FROM restores WHERE id = ? FOR NO KEY UPDATE", id); err != nil {
		return r, err
	}
	return t.restore(ctx, id)
}

// CreateUndo asks to bring back what a restore in place kept. What is at the target now is kept in its turn.
func (c *Catalog) CreateUndo(ctx context.Context, actor controller.Actor, id int64, req controller.SwapRequest) (controller.Restore, error) {
	var out controller.Restore
	if err := req.Validate(); err != nil {
		return out, err
	}
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		r, err := t.lockRestore(ctx, id)
		if err != nil {
			return err
		}
		d, err := t.draftUndo(ctx, r, req)
		if err != nil {
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
		out, err = t.insertRestore(ctx, actor, d, nil)
		return err
	})
	return out, err
}

// DiscardKept has what a restore kept removed before its time. confirm is the target's name.
func (c *Catalog) DiscardKept(ctx context.Context, actor controller.Actor, id int64, confirm string) (controller.Restore, error) {
	var out controller.Restore
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		r, err := t.lockRestore(ctx, id)
		if err != nil {
			return err
		}
		if err := t.stillKept(ctx, r, "discarded"); err != nil {
			return err
		}
		if confirm != r.DatabaseName {
			return controller.Invalid("confirm", "%q is not the name of the database that was replaced; type %q", confirm, r.DatabaseName)
		}
		var revoked bool
		err = t.elevated(ctx, func() error { // it may not be granted any more
			return t.scan(ctx, &revoked, "SELECT revoked_at IS NOT NULL FROM servers WHERE id = ?", r.ServerID)
		})
		if err != nil {
			return err
		}
		if revoked {
			return controller.Errorf(controller.EConflict, "server %q is revoked: its agent cannot remove %q", r.Server, r.KeptName).WithHint("remove it by hand on that host")
		}
		if _, err := t.exec(ctx, "UPDATE restores SET kept_until = least(kept_until, now()), kept_retry_at = NULL WHERE id = ?", id); err != nil {
			return err
		}
		if err := t.discard(ctx, actor, r.ID); err != nil {
			return err
		}
		out, err = t.restore(ctx, id)
		return err
	})
	return out, err
}

// KeepKept changes how long, from now, what a restore kept stays. A removal that its agent has not begun is called off.
func (c *Catalog) KeepKept(ctx context.Context, actor controller.Actor, id int64, keepFor time.Duration) (controller.Restore, error) {
	var out controller.Restore
	if err := controller.ValidKeep(keepFor); err != nil {
		return out, err
	}
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		if _, err := t.restore(ctx, id); err != nil { // seen by the caller
			return err
		}
		jobs, err := t.lockJobs(ctx, "j.restore_id = ? AND j.kind = 'discard'", id)
		if err != nil {
			return err
		}
		if _, err := t.lockRestore(ctx, id); err != nil {
			return err
		}
		for _, j := range jobs {
			if j.AttemptStatus != "" {
				continue
			}
			j.Cancelling = true
			err := t.elevated(ctx, func() error {
				return t.endJob(ctx, j, controller.JobCancelled, wire.Failf(wire.CodeCancelled, "cancelled: it is kept longer"))
			})
			if err != nil {
				return err
			}
		}
		r, err := t.restore(ctx, id)
		if err != nil {
			return err
		}
		if err := t.stillKept(ctx, r, "kept"); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "UPDATE restores SET kept_until = now() + ?, kept_retry_at = NULL, kept_error = '' WHERE id = ?", interval(keepFor), id); err != nil {
			return err
		}
		detail := map[string]any{"server": r.Server, "instance": r.Instance, "database": r.DatabaseName, "kept": r.KeptName, "keep_seconds": int64(keepFor / time.Second)}
		if err := t.audit(ctx, actor, "restore.keep", &r.ProjectID, itoa(id), detail); err != nil {
			return err
		}
		out, err = t.restore(ctx, id)
		return err
	})
	return out, err
}
