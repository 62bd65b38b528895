package catalog

import (
	"context"
	"time"

	"devflowbackup/controller"
)

// RetryBackup orders a backup that failed once more, as it was ordered. Of a schedule's occurrence, the new one takes the place of the
// one that failed. A backup that did not fail, was deleted or was retried already is an EConflict.
func (c *Catalog) RetryBackup(ctx context.Context, actor controller.Actor, id int64) (controller.Backup, error) {
	var out controller.Backup
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		b, err := t.backup(ctx, id)
		if err != nil {
			return err
		}
		d, err := t.databaseToRetry(ctx, b)
		if err != nil {
			return err
		}
		if b, err = t.lockBackup(ctx, id); err != nil {
			return err
		}
		switch {
		case b.DeletedAt != nil:
			return controller.Errorf(controller.EConflict, "backup %d is deleted", id).WithHint("order a new one: `devflowctl backup create`")
		case b.Status != controller.StatusFailed:
			return controller.Errorf(controller.EConflict, "backup %d is %s: only a failed backup can be retried", id, b.Status)
		case b.Type == controller.TypePreRestore:
			return controller.Errorf(controller.EConflict, "backup %d was the safety backup of a restore, which has failed with it", id).WithHint("ask for the restore again: it makes a new one")
		}
		var again struct {
			ID     int64
			Status string
		}
		found, err := t.find(ctx, &again, "SELECT id, status FROM database_backups WHERE retry_of = ? ORDER BY id DESC LIMIT 1", id)
		if err != nil {
			return err
		}
		if found {
			return controller.Errorf(controller.EConflict, "backup %d was retried already: backup %d is %s", id, again.ID, again.Status).WithHint("retry that one if it failed")
		}
		var seconds int64
		if err := t.scan(ctx, &seconds, "SELECT max_duration_seconds FROM jobs WHERE id = ?", b.JobID); err != nil {
			return err
		}
		created, err := t.createBackup(ctx, actor, backupOrder{
			BackupRequest: controller.BackupRequest{
				Type: b.Type, Encryption: b.Encryption, Compression: b.Compression, Level: b.Level, VerifyAfter: b.VerifyAfter, MaxDuration: time.Duration(seconds) * time.Second,
			},
			schedule: b.ScheduleID, occurrence: b.OccurrenceAt, retryOf: &b.ID, storage: &b.StorageID,
		}, d)
		if err != nil {
			return err
		}
		out = *created
		_, err = t.exec(ctx, "UPDATE occurrence_databases SET backup_id = ? WHERE backup_id = ?", out.ID, b.ID)
		return err
	})
	return out, err
}

// databaseToRetry is the database of a backup, locked: it must be the same project's still.
func (t *tx) databaseToRetry(ctx context.Context, b controller.Backup) (controller.Database, error) {
	var d controller.Database
	if _, err := t.exec(ctx, "SELECT 1 FROM databases WHERE id = ? AND project_id = ? FOR NO KEY UPDATE", b.DatabaseID, b.ProjectID); err != nil {
		return d, err
	}
	found, err := t.find(ctx, &d, "SELECT "+databaseColumns+" FROM "+databaseTables+" WHERE d.id = ? AND d.project_id = ?", b.DatabaseID, b.ProjectID)
	if err == nil && !found {
		err = controller.Errorf(controller.EConflict, "database %q on server %q is no longer assigned to project %q", b.DatabaseName, b.Server, b.Project).
			WithHint("`devflowctl database assign %q --on %q` assigns it", b.DatabaseName, b.Server)
	}
	return d, err
}
