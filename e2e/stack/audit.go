package stack

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Every act of which the audit log must tell is kept where it happens, in the words of that log.
const actsSQL = `
	CREATE TABLE stack.acts (no bigint GENERATED ALWAYS AS IDENTITY, action text, subject text);
	CREATE FUNCTION stack.act() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
	DECLARE acts text[] := '{}'; subject text := to_jsonb(NEW)->>'id';
	BEGIN
		CASE TG_TABLE_NAME
		WHEN 'database_backups' THEN
			IF OLD.deleted_at IS NULL AND NEW.deleted_at IS NOT NULL THEN acts := acts || 'backup.delete'::text; END IF;
			IF OLD.deleted_at IS NOT NULL AND NEW.deleted_at IS NULL THEN acts := acts || 'backup.undelete'::text; END IF;
			IF OLD.purged_at IS NULL AND NEW.purged_at IS NOT NULL AND NEW.status = 'completed' THEN acts := acts || 'backup.purge'::text; END IF;
			IF OLD.held_at IS NULL AND NEW.held_at IS NOT NULL THEN acts := acts || 'backup.hold'::text; END IF;
			IF OLD.held_at IS NOT NULL AND NEW.held_at IS NULL THEN acts := acts || 'backup.release'::text; END IF;
		WHEN 'restores' THEN acts := CASE WHEN NEW.undo_of IS NULL THEN '{restore.create}'::text[] ELSE '{restore.undo}'::text[] END;
		WHEN 'jobs' THEN IF NEW.kind = 'verify' THEN acts := '{backup.verify}'; subject := NEW.backup_id; END IF;
			IF NEW.kind = 'discard' THEN acts := '{restore.discard}'; subject := NEW.restore_id; END IF;
		WHEN 'backup_schedules' THEN
			IF TG_OP = 'INSERT' THEN acts := '{schedule.create}';
			ELSIF OLD.deleted_at IS NULL AND NEW.deleted_at IS NOT NULL THEN acts := '{schedule.delete}';
			ELSIF (NEW.retention_days, NEW.retention_hourly, NEW.retention_daily, NEW.retention_weekly, NEW.retention_monthly, NEW.retention_changes, NEW.timezone)
				IS DISTINCT FROM (OLD.retention_days, OLD.retention_hourly, OLD.retention_daily, OLD.retention_weekly, OLD.retention_monthly, OLD.retention_changes, OLD.timezone)
				THEN acts := '{schedule.update}';
			END IF;
		WHEN 'installation' THEN
			IF (NEW.timezone, NEW.cleanup_time) IS DISTINCT FROM (OLD.timezone, OLD.cleanup_time) THEN acts := '{settings.update}'; subject := 'installation'; END IF;
		END CASE;
		INSERT INTO stack.acts (action, subject) SELECT a, subject FROM unnest(acts) AS a;
		RETURN NULL;
	END $$;
	CREATE TRIGGER stack_act AFTER UPDATE OF deleted_at, purged_at, held_at ON database_backups FOR EACH ROW EXECUTE FUNCTION stack.act();
	CREATE TRIGGER stack_act AFTER INSERT ON restores FOR EACH ROW EXECUTE FUNCTION stack.act();
	CREATE TRIGGER stack_act AFTER INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION stack.act();
	CREATE TRIGGER stack_act AFTER INSERT OR UPDATE ON backup_schedules FOR EACH ROW EXECUTE FUNCTION stack.act();
	CREATE TRIGGER stack_act AFTER UPDATE OF timezone, cleanup_time ON installation FOR EACH ROW EXECUTE FUNCTION stack.act();`

// checkAudit verifies the chain of the audit log as its readers do, and compares what the log tells with what was done. Retention
// deletes by the action backup.expire. A schedule may be changed in other parts than its policy: that is told as well.
func (in Invariants) checkAudit(ctx context.Context, conn *pgx.Conn) error {
	if res, err := in.Client.Do(ctx, "audit", "verify"); err != nil {
		return fmt.Errorf("%w: %s", err, res.Out)
	}
	rows, _ := conn.Query(ctx, `WITH done AS (SELECT action, subject, count(*) AS n FROM stack.acts GROUP BY 1, 2),
		told AS (SELECT CASE action WHEN 'backup.expire' THEN 'backup.delete' ELSE action END AS action, subject, count(*) AS n
			FROM audit_log WHERE result IN ('done', 'accepted') GROUP BY 1, 2)
		SELECT format('%s of %s happened %s times, the audit log tells of %s', action, subject, coalesce(d.n, 0), coalesce(t.n, 0))
		FROM done d FULL JOIN told t USING (action, subject)
		WHERE action = ANY ($1) AND (coalesce(d.n, 0) > coalesce(t.n, 0) OR coalesce(d.n, 0) < coalesce(t.n, 0) AND action <> 'schedule.update') ORDER BY 1`,
		[]string{
			"backup.delete", "backup.undelete", "backup.purge", "backup.hold", "backup.release", "backup.verify", "restore.create", "restore.undo", "restore.discard",
			"schedule.create", "schedule.update", "schedule.delete", "settings.update",
		})
	wrong, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("compare the audit log with what was done: %w", err)
	}
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "; "))
	}
	return nil
}
