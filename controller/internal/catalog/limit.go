package catalog

import (
	"context"
	"time"

	"devflowbackup/controller"
)

// withinLimits refuses a backup that the limits of its project do not allow now. Who asks at the same time waits for the other.
func (t *tx) withinLimits(ctx context.Context, p controller.Project) error {
	if p.Limits == (controller.Limits{}) {
		return nil
	}
	if _, err := t.exec(ctx, "SELECT pg_advisory_xact_lock(?, ?)", lockLimits, int32(p.ID)); err != nil { //nolint:gosec // a lock that two projects share holds too
		return err
	}
	if most := p.MaxJobsPerHour; most != nil {
		var had struct {
			N     int64
			First *time.Time
			Age   float64 // of the first, in seconds
		}
		err := t.scan(ctx, &had, `SELECT count(*) AS n, min(created_at) AS first, coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 AS age FROM (SELECT created_at FROM database_backups WHERE project_id = ? ORDER BY id DESC LIMIT ?) q
			WHERE created_at > now() - interval '1 hour'`, p.ID, *most)
		if err != nil {
			return err
		}
		if had.N >= *most {
			return controller.Errorf(controller.EQuota, "project %q has ordered %d backups within an hour, and %d are allowed", p.Slug, had.N, *most).
				WithHint("the next one is allowed at %s; or raise the project's max_jobs_per_hour", utc(had.First.Add(time.Hour))).After(time.Hour - lasting(had.Age))
		}
	}
	if most := p.MaxBytesPerDay; most != nil {
		var had struct {
			Bytes int64
			Age   float64 // of the oldest, in seconds
		}
		err := t.scan(ctx, &had, `SELECT coalesce(sum(file_size), 0)::bigint AS bytes, coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 AS age FROM database_backups WHERE project_id = ? AND created_at > now() - interval '24 hours' AND status = 'completed'`, p.ID)
		if err != nil {
			return err
		}
		if had.Bytes >= *most {
			return controller.Errorf(controller.EQuota, "project %q has stored %s within 24 hours, and %s are allowed", p.Slug, controller.SizeText(had.Bytes), controller.SizeText(*most)).
				WithHint("wait until the oldest of them is a day old, or raise the project's max_bytes_per_day").After(24*time.Hour - lasting(had.Age))
		}
	}
	return nil
}

func lasting(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }
