package catalog

import (
	"context"
	"fmt"

	"devflowbackup/controller"
)

// silentAfter is how long a controller that has not signed off may be unheard before it counts as silent.
const silentAfter = `interval '1 minute'`

// PoolState is this controller's connections to PostgreSQL.
type PoolState struct{ InUse, Idle, Max int }

// Pool tells of the connections. It asks nobody.
func (c *Catalog) Pool() PoolState {
	s := c.db.Stats()
	return PoolState{InUse: s.InUse, Idle: s.Idle, Max: s.MaxOpenConnections}
}

// Metrics returns the figures of the installation. What they cost grows with what is under way, not with the backups.
func (c *Catalog) Metrics(ctx context.Context) (controller.Metrics, error) {
	var m controller.Metrics
	err := c.system(ctx, func(t *tx) error {
		m = controller.Metrics{}
		for _, read := range []struct {
			what string
			do   func() error
		}{
			{"size", func() error { return t.scan(ctx, &m.SizeBytes, "SELECT pg_database_size(current_database())") }},
			{"jobs", func() error {
				return t.scan(ctx, &m.Jobs, `SELECT kind, status, count(*) AS jobs FROM jobs WHERE status IN ('queued', 'running', 'finishing') GROUP BY 1, 2`)
			}},
			{"ended jobs", func() error {
				return t.scan(ctx, &m.Ended, `SELECT kind, status, code, jobs, seconds, to_jsonb(buckets) AS buckets, bytes, raw_bytes FROM job_totals ORDER BY kind, status, code`)
			}},
			{"counters", func() error {
				return t.scan(ctx, &m.Counters, `SELECT name, label, value FROM counters ORDER BY name, label`)
			}},
			{"queues", func() error { return t.scan(ctx, &m.Queues, queueStates) }},
			{"agents", func() error {
				return t.scan(ctx, &m.AgentVersions, `SELECT s.agent_version AS version, count(*) FILTER (WHERE `+t.cat.online()+`) AS online, count(*) AS agents
					FROM servers s WHERE s.revoked_at IS NULL GROUP BY 1`)
			}},
			{"states of agents", func() error {
				return t.scan(ctx, &m.Agents, `SELECT s.name AS server, `+t.cat.online()+` AS online FROM servers s WHERE s.revoked_at IS NULL ORDER BY 2, s.id LIMIT ?`, controller.MaxAgentStates)
			}},
			{"storages", func() error {
				return t.scan(ctx, &m.Storages, `SELECT coalesce(p.slug, '') AS project, st.name, st.kind, st.probe_ok, st.probed_at,
						i.at AS inventory_at, coalesce(i.failures, 0) AS inventory_failures, coalesce(u.backups, 0) AS backups, coalesce(u.bytes, 0) AS bytes
					FROM storages st LEFT JOIN projects p ON p.id = st.project_id
					LEFT JOIN (SELECT storage_id, sum(stored)::bigint AS backups, sum(stored_bytes)::bigint AS bytes
						FROM (SELECT * FROM backup_totals UNION ALL SELECT `+totalColumns+` FROM backup_deltas) b GROUP BY 1) u ON u.storage_id = st.id
					LEFT JOIN (SELECT storage_id, min(ended_at) AS at, max(failures)::bigint AS failures FROM storage_inventories GROUP BY 1) i ON i.storage_id = st.id
					WHERE st.deleted_at IS NULL ORDER BY st.id`)
			}},
			{"findings", func() error {
				return t.scan(ctx, &m.Findings, `SELECT coalesce(p.slug, '') AS project, st.name, f.kind, count(*) AS findings
					FROM storage_findings f JOIN storages st ON st.id = f.storage_id AND st.deleted_at IS NULL LEFT JOIN projects p ON p.id = st.project_id GROUP BY 1, 2, 3`)
			}},
			{"alarms", func() error {
				return t.scan(ctx, &m.Alarms, `SELECT kind, severity, count(*) AS alarms FROM alarms WHERE closed_at IS NULL GROUP BY 1, 2`)
			}},
			{"states", func() error { return t.stateCounts(ctx, &m) }},
			{"clean-ups", func() error { return t.cleanupState(ctx, &m.Cleanup) }},
		} {
			if err := read.do(); err != nil {
				return fmt.Errorf("count %s: %w", read.what, err)
			}
		}
		return nil
	})
	if err != nil {
		return controller.Metrics{}, err
	}
	return m, nil
}

// queueStates are what waits for a controller. A deletion waits from the end of its grace on.
const queueStates = `SELECT queue, length, coalesce(extract(epoch FROM clock_timestamp() - since), 0)::float8 AS oldest FROM (
	SELECT 'jobs' AS queue, count(*) AS length, min(created_at) AS since FROM jobs WHERE status = 'queued'
	UNION ALL SELECT 'facts', count(*), min(at) FROM facts
	UNION ALL SELECT 'deliveries', count(*), min(created_at) FROM deliveries WHERE message_id IS NULL
	UNION ALL SELECT 'messages', count(*), min(created_at) FROM messages WHERE status = 'open'
	UNION ALL SELECT 'pings', count(*), min(created_at) FROM pings
	UNION ALL SELECT 'events', count(*), min(at) FROM event_queue
	UNION ALL SELECT 'deletions', count(*), min(delete_after) FROM database_backups WHERE deleted_at IS NOT NULL AND purged_at IS NULL AND delete_after <= now()
) q`

// stateCounts counts channels, schedules and controllers.
func (t *tx) stateCounts(ctx context.Context, m *controller.Metrics) error {
	var rows []struct {
		Of, State string
		N         int64
	}
	err := t.scan(ctx, &rows, `SELECT 'channels' AS of, CASE WHEN NOT is_active THEN 'inactive' WHEN failing_since IS NOT NULL THEN 'failing' ELSE 'active' END AS state, count(*) AS n
			FROM channels WHERE deleted_at IS NULL GROUP BY 2
		UNION ALL SELECT 'schedules', CASE WHEN NOT is_active THEN 'inactive' WHEN problem <> '' THEN 'problem' ELSE 'active' END AS state, count(*)
			FROM backup_schedules WHERE deleted_at IS NULL GROUP BY 2
		UNION ALL SELECT 'controllers', CASE WHEN seen_at > now() - `+silentAfter+` THEN 'up' ELSE 'silent' END AS state, count(*) FROM controllers GROUP BY 2`)
	if err != nil {
		return err
	}
	m.Channels, m.Schedules, m.Controllers = controller.StateCounts{}, controller.StateCounts{}, controller.StateCounts{}
	of := map[string]controller.StateCounts{"channels": m.Channels, "schedules": m.Schedules, "controllers": m.Controllers}
	for _, r := range rows {
		of[r.Of][r.State] = r.N
	}
	return nil
}

func (t *tx) cleanupState(ctx context.Context, s *controller.CleanupState) error {
	if _, err := t.find(ctx, s, `SELECT ended_at, kept, postponed, failed, error <> '' AS erred FROM cleanups WHERE kind = 'daily' AND project_id IS NULL AND ended_at IS NOT NULL
		ORDER BY at DESC LIMIT 1`); err != nil {
		return err
	}
	var all struct{ Removed, RemovedBytes int64 }
	if _, err := t.find(ctx, &all, `SELECT coalesce(sum(removed), 0)::bigint AS removed, coalesce(sum(removed_bytes), 0)::bigint AS removed_bytes FROM cleanups`); err != nil {
		return err
	}
	s.Removed, s.RemovedBytes = all.Removed, all.RemovedBytes
	return nil
}

// DatabaseInstances tells which instance of their server databases belong to: two of them may hold the same name.
func (c *Catalog) DatabaseInstances(ctx context.Context, ids []int64) (map[int64]string, error) {
	var rows []struct {
		ID       int64
		Instance string
	}
	err := c.system(ctx, func(t *tx) error {
		rows = nil
		if len(ids) == 0 {
			return nil
		}
		return t.scan(ctx, &rows, `SELECT id, instance FROM databases WHERE id = ANY (?)`, idArray(ids))
	})
	if err != nil {
		return nil, fmt.Errorf("read instances of databases: %w", err)
	}
	out := make(map[int64]string, len(rows))
	for _, r := range rows {
		out[r.ID] = r.Instance
	}
	return out, nil
}
