package stack

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// checkRetention finds what retention has left without a restorable backup: a database, or what is counted by itself of one, which is
// what one schedule made, or one kind of backups that no schedule made, at one storage. What people deleted and what tests damaged is
// not retention's.
func (in Invariants) checkRetention(ctx context.Context, conn *pgx.Conn) error {
	const query = `SELECT format('%%s of database %%s has no restorable backup left of %%s; retention removed %%s', %[1]s, database_id, count(*),
			count(*) FILTER (WHERE delete_reason LIKE 'retention: %%'))
		FROM database_backups WHERE status = 'completed' GROUP BY database_id, %[1]s
		HAVING bool_or(deleted_at IS NOT NULL AND delete_reason LIKE 'retention: %%')
			AND NOT bool_or(deleted_at IS NULL AND health = 'ok')
			AND NOT bool_or(deleted_at IS NOT NULL AND delete_reason NOT LIKE 'retention: %%' OR id = ANY ($1))`
	damaged := in.Damaged
	if damaged == nil {
		damaged = []int64{}
	}
	var errs []error
	for _, what := range []string{
		"coalesce('what was made')", "type || ' of schedule ' || CASE type WHEN 'scheduled' THEN coalesce(schedule_id, 0) ELSE 0 END || ' at storage ' || storage_id",
	} {
		rows, _ := conn.Query(ctx, fmt.Sprintf(query, what), damaged)
		empty, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err == nil && len(empty) > 0 {
			err = errors.New(strings.Join(empty, "; "))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// checkDeletions finds backups that were closed without a deletion that was committed before, or while anything of them was there.
// Nothing is waited for: a row that is closed says that all of it is gone.
func (in Invariants) checkDeletions(ctx context.Context, conn *pgx.Conn) error {
	rows, _ := conn.Query(ctx, `SELECT format('backup %s (%s) was deleted at %s and closed at %s, its health is %s', id, status, deleted_at, purged_at, health)
		FROM database_backups WHERE purged_at IS NOT NULL AND status = 'completed' AND (deleted_at IS NULL OR deleted_at >= purged_at OR health <> 'deleting')
		UNION ALL SELECT format('backup %s is being removed and was not deleted', id) FROM database_backups WHERE health = 'deleting' AND deleted_at IS NULL
		UNION ALL SELECT format('backup %s is deleted, and held since %s by %s', id, held_at, held_by) FROM database_backups WHERE deleted_at IS NOT NULL AND held_at IS NOT NULL`)
	wrong, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("list deletions: %w", err)
	}
	rows, _ = conn.Query(ctx, `SELECT o.key, o.backup_id FROM backup_objects o JOIN database_backups b ON b.id = o.backup_id WHERE b.purged_at IS NOT NULL`)
	closed := map[string]int64{}
	var key string
	var backup int64
	if _, err := pgx.ForEachRow(rows, []any{&key, &backup}, func() error { closed[key] = backup; return nil }); err != nil {
		return fmt.Errorf("list objects that are gone: %w", err)
	}
	for _, p := range in.places() {
		keys, err := p.everything(ctx)
		if err != nil {
			return err
		}
		for _, key := range keys {
			if backup, gone := closed[key]; gone {
				wrong = append(wrong, fmt.Sprintf("backup %d is closed, and %s is in %s", backup, key, p))
			}
		}
	}
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "; "))
	}
	return nil
}

// everything lists the keys with something at them: a version or a delete marker is something.
func (p place) everything(ctx context.Context) ([]string, error) {
	if p.s3 != nil {
		return p.s3.Versions(ctx)
	}
	found, err := p.list(ctx)
	keys := make([]string, 0, len(found))
	for key := range found {
		keys = append(keys, key)
	}
	return keys, err
}
