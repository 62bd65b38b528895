package catalog

import (
	"context"
	"fmt"
)

// totalColumns are those of backup_totals, in its order; backup_deltas has them beside its id.
const totalColumns = "project_id, storage_id, backups, completed, failed, verified, bytes, stored, stored_bytes"

// foldAtOnce bounds a transaction of FoldTotals.
const foldAtOnce = 20_000

// FoldTotals adds what changed since the last time to the totals, so that few rows have to be summed up. Who reads them sees the same before
// and after. Of several controllers one folds.
func (c *Catalog) FoldTotals(ctx context.Context) error {
	for {
		var n int64
		err := c.system(ctx, func(t *tx) error {
			n = 0
			var mine bool
			if err := t.scan(ctx, &mine, "SELECT pg_try_advisory_xact_lock(?)", lockFold); err != nil || !mine {
				return err
			}
			return t.scan(ctx, &n, `WITH gone AS (DELETE FROM backup_deltas WHERE id IN (SELECT id FROM backup_deltas ORDER BY id LIMIT ?) RETURNING *),
				folded AS (INSERT INTO backup_totals AS a (`+totalColumns+`)
					SELECT project_id, storage_id, sum(backups), sum(completed), sum(failed), sum(verified), sum(bytes), sum(stored), sum(stored_bytes) FROM gone GROUP BY 1, 2
					ON CONFLICT (project_id, storage_id) DO UPDATE SET backups = a.backups + excluded.backups, completed = a.completed + excluded.completed,
						failed = a.failed + excluded.failed, verified = a.verified + excluded.verified, bytes = a.bytes + excluded.bytes,
						stored = a.stored + excluded.stored, stored_bytes = a.stored_bytes + excluded.stored_bytes)
				SELECT count(*) FROM gone`, foldAtOnce)
		})
		if err != nil {
			return fmt.Errorf("fold totals of backups: %w", err)
		}
		if n < foldAtOnce {
			return nil
		}
	}
}
