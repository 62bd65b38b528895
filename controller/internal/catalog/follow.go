package catalog

import (
	"context"
	"errors"

	"devflowbackup/controller"
)

// follow is what follows a backup's completion, in the same transaction: its verification, and its schedule's clean-up.
func (t *tx) follow(ctx context.Context, backup int64) error {
	b, err := t.backup(ctx, backup)
	if err != nil {
		return err
	}
	if b.VerifyAfter != controller.VerifyNone {
		actor := controller.Actor{Name: "backup " + itoa(b.ID)}
		if b.ScheduleID != nil {
			actor.Name = scheduleName(*b.ScheduleID)
		}
		_, err := t.createVerify(ctx, actor, b.ID, b.VerifyAfter)
		var refused *controller.Error
		switch {
		case errors.As(err, &refused): // the backup is good nevertheless, and shown as not verified
			t.after(func() {
				t.cat.log.Warn("backup is not verified", "backup_id", b.ID, "database", b.DatabaseName, "server", b.Server, "level", b.VerifyAfter, "err", refused)
			})
		case err != nil:
			return err
		}
	}
	if b.ScheduleID == nil {
		return nil
	}
	_, err = t.exec(ctx, "UPDATE backup_schedules SET cleanup_at = now() WHERE id = ? AND (cleanup_at IS NULL OR cleanup_at > now())", *b.ScheduleID)
	return err
}
