package catalog

import (
	"context"
	"time"

	"devflowbackup/controller"
)

// hold is who keeps a backup from being deleted.
type hold struct {
	HeldAt      *time.Time
	HeldBy      string
	HoldReason  string
	LockedUntil *time.Time // by its storage, in the future
}

func (t *tx) hold(ctx context.Context, backup int64) (hold, error) {
	var h hold
	err := t.scan(ctx, &h, `SELECT held_at, held_by, hold_reason, CASE WHEN locked_until > now() THEN locked_until END AS locked_until
		FROM database_backups WHERE id = ?`, backup)
	return h, err
}

// refuses is why the backup cannot be deleted, or nil.
func (h hold) refuses(backup int64) error {
	switch {
	case h.HeldAt != nil:
		return controller.Errorf(controller.EConflict, "backup %d is held by %s since %s: %s", backup, h.HeldBy, h.HeldAt.UTC().Format(time.DateOnly), h.HoldReason).
			WithHint("`devflowctl backup release %d` releases it", backup)
	case h.LockedUntil != nil:
		return controller.Errorf(controller.EConflict, "backup %d is locked by its storage until %s", backup, h.LockedUntil.UTC().Format("2006-01-02 15:04 UTC")).
			WithHint("delete it after that")
	}
	return nil
}

// HoldBackup keeps a backup from being deleted, by people and by retention, until it is released. Repeating it with the same reason
// changes nothing; a backup that is held for another reason is an EConflict.
func (c *Catalog) HoldBackup(ctx context.Context, actor controller.Actor, id int64, reason string) (controller.Backup, error) {
	if reason == "" || len(reason) > 500 {
		return controller.Backup{}, controller.Invalid("reason", "has %d bytes; use 1 to 500, for those who wonder why it is still there", len(reason))
	}
	var b controller.Backup
	err := c.scoped(ctx, actor.Scope, func(t *tx) (err error) {
		if b, err = t.lockBackup(ctx, id); err != nil {
			return err
		}
		h, err := t.hold(ctx, id)
		switch {
		case err != nil:
			return err
		case h.HeldAt != nil && h.HoldReason == reason:
			return nil
		case h.HeldAt != nil:
			return h.refuses(id)
		case b.DeletedAt != nil:
			return controller.Errorf(controller.EConflict, "backup %d is deleted", id).WithHint("`devflowctl backup undelete %d` brings it back while its grace runs", id)
		case b.Status == controller.StatusFailed:
			return controller.Errorf(controller.EConflict, "backup %d failed: there is nothing to hold", id)
		}
		if _, err := t.exec(ctx, "UPDATE database_backups SET held_at = now(), held_by = ?, hold_reason = ? WHERE id = ?", cut(by(actor), 200), reason, id); err != nil {
			return err
		}
		if err := t.audit(ctx, actor, "backup.hold", &b.ProjectID, itoa(id), map[string]any{"database": b.DatabaseName, "reason": reason}); err != nil {
			return err
		}
		b, err = t.backup(ctx, id)
		return err
	})
	return b, err
}

// by names who acts: the panel's user where there is one.
func by(actor controller.Actor) string {
	if actor.OnBehalfOf == "" {
		return actor.Name
	}
	return actor.OnBehalfOf + " (" + actor.Name + ")"
}

// ReleaseBackup ends a hold. Releasing one that is not held changes nothing.
func (c *Catalog) ReleaseBackup(ctx context.Context, actor controller.Actor, id int64, reason string) (controller.Backup, error) {
	if len(reason) > 500 {
		return controller.Backup{}, controller.Invalid("reason", "has %d bytes; use at most 500", len(reason))
	}
	var b controller.Backup
	err := c.scoped(ctx, actor.Scope, func(t *tx) (err error) {
		if b, err = t.lockBackup(ctx, id); err != nil {
			return err
		}
		h, err := t.hold(ctx, id)
		if err != nil || h.HeldAt == nil {
			return err
		}
		if _, err := t.exec(ctx, "UPDATE database_backups SET held_at = NULL, held_by = '', hold_reason = '' WHERE id = ?", id); err != nil {
			return err
		}
		detail := map[string]any{"database": b.DatabaseName, "reason": reason, "held_by": h.HeldBy, "hold_reason": h.HoldReason}
		if err := t.audit(ctx, actor, "backup.release", &b.ProjectID, itoa(id), detail); err != nil {
			return err
		}
		b, err = t.backup(ctx, id)
		return err
	})
	return b, err
}
