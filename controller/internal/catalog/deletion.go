package catalog

import (
	"context"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/failpoint"
)

const deletionTime = 10 * time.Minute // a deletion at work is left alone for so long, while its controller is up

// DeleteBackup marks a backup as deleted. After the grace it is removed from the store; until then it can be brought back. An open
// job that names it protects it, and so do a hold and a lock of its storage. The last restorable backup of a database asks for the
// database's name. Repeating it changes nothing.
func (c *Catalog) DeleteBackup(ctx context.Context, actor controller.Actor, req controller.DeleteRequest) (controller.Backup, error) {
	var b controller.Backup
	err := c.scoped(ctx, actor.Scope, func(t *tx) (err error) {
		if err := t.lockDatabaseOf(ctx, req.Backup); err != nil {
			return err
		}
		if b, err = t.lockBackup(ctx, req.Backup); err != nil || b.DeletedAt != nil {
			return err
		}
		h, err := t.hold(ctx, b.ID)
		if err == nil {
			err = h.refuses(b.ID)
		}
		if err != nil {
			return err
		}
		var open []int64
		if err := t.scan(ctx, &open, "SELECT id FROM jobs WHERE backup_id = ? AND "+jobOpen+" ORDER BY id LIMIT 5", b.ID); err != nil {
			return err
		}
		if len(open) > 0 {
			return controller.Errorf(controller.EConflict, "backup %d is in use by job %s", b.ID, joinIDs(open)).WithHint("wait for it, or cancel it")
		}
		var safety int64
		safe, err := t.find(ctx, &safety, "SELECT r.id FROM restores r WHERE r.safety_backup_id = ? AND "+safetyNeeded+" LIMIT 1", b.ID)
		if err != nil {
			return err
		}
		if safe {
			return controller.Errorf(controller.EConflict, "backup %d is the safety backup of restore %d, which can still be undone or is at work", b.ID, safety).
				WithHint("delete it when what that restore replaced is removed; `devflowctl restore discard %d` removes it now", safety)
		}
		if b.Restorable() && req.Confirm != b.DatabaseName {
			var another bool
			err := t.scan(ctx, &another, `SELECT EXISTS (SELECT FROM database_backups WHERE database_id = ? AND project_id = ? AND id <> ?
				AND status = 'completed' AND health = 'ok' AND deleted_at IS NULL)`, b.DatabaseID, b.ProjectID, b.ID)
			if err != nil {
				return err
			}
			if !another {
				last := controller.Errorf(controller.EConflict, "backup %d is the last good backup of database %q", b.ID, b.DatabaseName).
					WithHint("make another backup first, or confirm by the database's name: --confirm %q", b.DatabaseName)
				last.Field = "confirm"
				return last
			}
		}
		grace := req.Grace
		if grace < 0 {
			grace = c.opts.DeleteGrace
		}
		_, err = t.exec(ctx, `UPDATE database_backups b SET deleted_at = now(), delete_reason = ?, delete_after = now() + ?,
			purged_at = CASE WHEN status = 'failed' AND NOT `+leftovers+` THEN now() END WHERE id = ?`, cut(orText(req.Reason, "asked for"), 500), interval(grace), b.ID)
		if err != nil {
			return err
		}
		if err := t.audit(ctx, actor, "backup.delete", &b.ProjectID, itoa(b.ID), map[string]any{"database": b.DatabaseName, "reason": req.Reason, "grace_seconds": int64(grace.Seconds())}); err != nil {
			return err
		}
		b, err = t.backup(ctx, b.ID)
		failpoint.Hit("controller.before_tombstone_commit")
		return err
	})
	if err == nil {
		failpoint.Hit("controller.after_tombstone_commit")
	}
	return b, err
}

// lockDatabaseOf locks the database of a backup. It comes before the backup's own lock: deletions of one database, by people and by
// retention, come one after another, so that none of them takes what another has counted on.
func (t *tx) lockDatabaseOf(ctx context.Context, backup int64) error {
	var database int64
	found, err := t.find(ctx, &database, "SELECT database_id FROM database_backups WHERE id = ? AND ?", backup, t.sees("project_id"))
	if err != nil || !found {
		return err
	}
	return t.lockDatabase(ctx, database)
}

// lockDatabase locks a database, which the caller may not see: it belongs to another project, or to none by now.
func (t *tx) lockDatabase(ctx context.Context, id int64) error {
	return t.elevated(ctx, func() error {
		_, err := t.exec(ctx, "SELECT 1 FROM databases WHERE id = ? FOR NO KEY UPDATE", id)
		return err
	})
}

// UndeleteBackup brings a deleted backup back while its grace runs.
func (c *Catalog) UndeleteBackup(ctx context.Context, actor controller.Actor, id int64) (controller.Backup, error) {
	var b controller.Backup
	err := c.scoped(ctx, actor.Scope, func(t *tx) (err error) {
		if b, err = t.lockBackup(ctx, id); err != nil || b.DeletedAt == nil {
			return err
		}
		n, err := t.exec(ctx, `UPDATE database_backups SET deleted_at = NULL, delete_reason = NULL, delete_after = NULL
			WHERE id = ? AND purged_at IS NULL AND health <> 'deleting' AND delete_after > now()`, id)
		if err != nil {
			return err
		}
		if n == 0 {
			return controller.Errorf(controller.EConflict, "the grace of backup %d is over: it is being removed or gone", id)
		}
		if err := t.audit(ctx, actor, "backup.undelete", &b.ProjectID, itoa(b.ID), map[string]any{"database": b.DatabaseName}); err != nil {
			return err
		}
		b, err = t.backup(ctx, id)
		return err
	})
	return b, err
}

// DueDeletions takes up to limit deleted backups whose grace is over. From here on they cannot be brought back. Each is left alone
// for 10 minutes then, or until the controller that took it is no longer up.
func (c *Catalog) DueDeletions(ctx context.Context, limit int) ([]controller.Deletion, error) {
	var out []controller.Deletion
	err := c.system(ctx, func(t *tx) error {
		out = nil
		err := t.releaseDeletions(ctx, "EXISTS (SELECT FROM controllers c WHERE c.id = b.delete_claim AND c.seen_at < now() - "+liveFor+")")
		if err != nil {
			return err
		}
		var rows []struct {
			ID        int64
			ServerID  int64
			StorageID int64
		}
		err = t.scan(ctx, &rows, `UPDATE database_backups SET health = 'deleting', delete_after = now() + ?, delete_claim = ? WHERE id IN (
			SELECT b.id FROM database_backups b WHERE b.deleted_at IS NOT NULL AND b.purged_at IS NULL AND b.delete_after <= now() AND b.status = 'completed'
			AND b.held_at IS NULL AND NOT EXISTS (SELECT FROM jobs j WHERE j.backup_id = b.id AND j.`+jobOpen+`) AND NOT `+safetyInUse+` ORDER BY b.delete_after, b.id LIMIT ? FOR UPDATE SKIP LOCKED)
			RETURNING id, server_id, storage_id`, interval(deletionTime), c.opts.ControllerID, max(limit, 0))
		if err != nil {
			return err
		}
		ids := make([]int64, len(rows))
		for i, r := range rows {
			ids[i] = r.ServerID
		}
		servers, err := t.serversByID(ctx, ids)
		if err != nil {
			return err
		}
		for _, r := range rows {
			d := controller.Deletion{Backup: r.ID, Server: servers[r.ServerID], StorageID: r.StorageID}
			if err := t.scan(ctx, &d.Keys, "SELECT key FROM backup_objects WHERE backup_id = ? ORDER BY object = 'manifest', object", r.ID); err != nil {
				return err
			}
			out = append(out, d)
		}
		return nil
	})
	return out, err
}

// releaseDeletions makes the deletions due again that a controller had taken and does not work on. Two controllers that delete the same
// object do no harm.
func (t *tx) releaseDeletions(ctx context.Context, where string, args ...any) error {
	_, err := t.exec(ctx, `UPDATE database_backups SET delete_after = now(), delete_claim = '' WHERE id IN (
		SELECT b.id FROM database_backups b WHERE b.delete_claim <> '' AND b.purged_at IS NULL AND `+where+` FOR UPDATE SKIP LOCKED)`, args...)
	return err
}

// DeletionDone closes a backup whose objects were seen gone.
func (c *Catalog) DeletionDone(ctx context.Context, backup int64) error {
	return c.system(ctx, func(t *tx) error {
		var b struct {
			ProjectID    int64
			DatabaseName string
		}
		closed, err := t.find(ctx, &b, `UPDATE database_backups SET purged_at = now(), delete_waiting = '', delete_claim = ''
			WHERE id = ? AND deleted_at IS NOT NULL AND health = 'deleting' AND purged_at IS NULL RETURNING project_id, database_name`, backup)
		if err != nil || !closed {
			return err
		}
		return t.audit(ctx, controller.Actor{Name: "sweeper"}, "backup.purge", &b.ProjectID, itoa(backup), map[string]any{"database": b.DatabaseName})
	})
}

// DeletionLater has a deletion tried again after a while. The backup shows the reason.
func (c *Catalog) DeletionLater(ctx context.Context, backup int64, delay time.Duration, reason string) error {
	return c.system(ctx, func(t *tx) error {
		n, err := t.exec(ctx, "UPDATE database_backups SET delete_after = now() + ?, delete_waiting = ?, delete_claim = '' WHERE id = ? AND health = 'deleting' AND purged_at IS NULL",
			interval(delay), cut(reason, 500), backup)
		if n > 0 {
			t.after(func() {
				c.log.Warn("deletion put off", "backup_id", backup, "again_in", delay.String(), "reason", reason)
			})
		}
		return err
	})
}

// DeletionLocked has a deletion that its storage refuses until a time tried again then. The backup shows it.
func (c *Catalog) DeletionLocked(ctx context.Context, backup int64, until time.Time) error {
	return c.system(ctx, func(t *tx) error {
		said := "its storage refuses to delete it until " + until.UTC().Format("2006-01-02 15:04 UTC")
		n, err := t.exec(ctx, `UPDATE database_backups SET delete_after = greatest(?, now() + interval '1 minute'), locked_until = ?, delete_waiting = ?, delete_claim = ''
			WHERE id = ? AND health = 'deleting' AND purged_at IS NULL`, until, until, said, backup)
		if n > 0 {
			t.after(func() { c.log.Info("deletion waits for its storage", "backup_id", backup, "locked_until", until.UTC()) })
		}
		return err
	})
}
