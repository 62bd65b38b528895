package catalog

import (
	"context"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/retention"
)

const cleanupTime = 2 * time.Minute // a clean-up at work is another controller's to go on with after so long

// ClaimDaily takes the daily clean-up of an instant for this controller. It has no id while another controller works on it, and where
// it was done already. One that a controller left unfinished is taken up.
func (c *Catalog) ClaimDaily(ctx context.Context, at time.Time) (claim retention.Claim, done bool, err error) {
	err = c.system(ctx, func(t *tx) error {
		claim, done = retention.Claim{}, false
		found, err := t.find(ctx, &claim, `INSERT INTO cleanups (kind, at, claim_until, created_by) VALUES ('daily', ?, now() + ?, ?)
			ON CONFLICT (at) WHERE kind = 'daily' DO UPDATE SET claim_until = excluded.claim_until, created_by = excluded.created_by
			WHERE cleanups.ended_at IS NULL AND cleanups.claim_until < now() RETURNING id, claim_until AS until`, at, interval(cleanupTime), c.opts.ControllerID)
		if err != nil || found {
			return err
		}
		_, err = t.find(ctx, &done, "SELECT ended_at IS NOT NULL FROM cleanups WHERE kind = 'daily' AND at = ?", at)
		return err
	})
	return claim, done, err
}

// StartCleanup records that somebody asked for a clean-up.
func (c *Catalog) StartCleanup(ctx context.Context, actor controller.Actor, req controller.CleanupRequest) (retention.Claim, error) {
	var claim retention.Claim
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		only, err := t.cleanupScope(ctx, req)
		if err != nil {
			return err
		}
		var project *int64
		if only.project != 0 {
			project = &only.project
		}
		if project != nil || actor.Scope.All {
			if err := t.audit(ctx, actor, "backup.cleanup", project, orText(req.Project, "all projects"), map[string]any{"schedule_id": req.Schedule}); err != nil {
				return err
			}
		} else {
			for _, p := range actor.Scope.Projects { // an entry of no project is the installation's
				if err := t.audit(ctx, actor, "backup.cleanup", &p, itoa(p), map[string]any{"schedule_id": req.Schedule}); err != nil {
					return err
				}
			}
		}
		return t.elevated(ctx, func() error {
			return t.scan(ctx, &claim, `INSERT INTO cleanups (kind, at, project_id, created_by, claim_until) VALUES ('asked', now(), ?, ?, now() + ?)
				RETURNING id, claim_until AS until`, project, cut(by(actor), 200), interval(cleanupTime))
		})
	})
	return claim, err
}

// ExtendCleanup keeps a clean-up for this controller and adds what was done since. retention.ErrClaimLost means that another
// controller works on it: stop.
func (c *Catalog) ExtendCleanup(ctx context.Context, claim retention.Claim, done controller.CleanupResult) (retention.Claim, error) {
	err := c.system(ctx, func(t *tx) error {
		found, err := t.find(ctx, &claim, `UPDATE cleanups SET claim_until = now() + ?, removed = removed + ?, removed_bytes = removed_bytes + ?, failed = failed + ?
			WHERE id = ? AND claim_until = ? AND ended_at IS NULL RETURNING id, claim_until AS until`,
			interval(cleanupTime), done.Removed, done.RemovedBytes, done.Failed, claim.ID, claim.Until)
		if err == nil && !found {
			err = retention.ErrClaimLost
		}
		return err
	})
	return claim, err
}

// EndCleanup closes a clean-up: it adds what was done since it was extended, and says what is left.
func (c *Catalog) EndCleanup(ctx context.Context, claim retention.Claim, done controller.CleanupResult, problem string) error {
	return c.system(ctx, func(t *tx) error {
		n, err := t.exec(ctx, `UPDATE cleanups SET ended_at = now(), kept = ?, postponed = ?, removed = removed + ?, removed_bytes = removed_bytes + ?, failed = failed + ?,
			error = ? WHERE id = ? AND claim_until = ? AND ended_at IS NULL`,
			done.Kept, done.Postponed, done.Removed, done.RemovedBytes, done.Failed, cut(problem, 500), claim.ID, claim.Until)
		if err == nil && n == 0 {
			err = retention.ErrClaimLost
		}
		return err
	})
}

// DueCleanups are the schedules whose retention is to be applied, at most limit, those that wait longest first. Each is left alone for a while then.
func (c *Catalog) DueCleanups(ctx context.Context, limit int) ([]retention.Claim, error) {
	var claims []retention.Claim
	err := c.system(ctx, func(t *tx) error {
		claims = nil
		return t.scan(ctx, &claims, `UPDATE backup_schedules SET cleanup_at = now() + ? WHERE id IN (
			SELECT id FROM backup_schedules WHERE cleanup_at <= now() ORDER BY cleanup_at, id LIMIT ? FOR UPDATE SKIP LOCKED)
			RETURNING id, cleanup_at AS until`, interval(cleanupTime), max(limit, 0))
	})
	return claims, err
}

// CleanupDone says that the retention of a schedule was applied. Where it is to be applied once more, for a backup that was completed
// meanwhile, it stays due.
func (c *Catalog) CleanupDone(ctx context.Context, claim retention.Claim) error {
	return c.system(ctx, func(t *tx) error {
		_, err := t.exec(ctx, "UPDATE backup_schedules SET cleanup_at = NULL WHERE id = ? AND cleanup_at = ?", claim.ID, claim.Until)
		return err
	})
}
