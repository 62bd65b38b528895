package catalog

import (
	"context"
	"time"
)

// Health is what the catalog tells of itself and of the work that is under way, for whoever looks for faults.
type Health struct {
	Now           time.Time // PostgreSQL's clock
	ServerVersion string
	Role          string
	Database      string
	SizeBytes     int64
	Unprotected   []string // tables that row-level security should bind and does not
	Foreign       []string // tables that belong to another role
	Controllers   []LiveController
	Stuck         []StuckJob
	Databases     int64 // that belong to a project, and are there
	Unsafe        []UnsafeDatabase
}

// LiveController is a controller that was up within the last day.
type LiveController struct {
	ID, Version, Broker string
	Silent              float64 // seconds since its last word
}

// StuckJob is an open job that should have come further.
type StuckJob struct {
	ID                           int64
	Kind, Status, Server, Reason string
	CreatedAt                    time.Time
}

// UnsafeDatabase is a database of a project whose backups are none, old or failing.
type UnsafeDatabase struct {
	Project, Server, Name string
	LastGood              *time.Time
	LastStatus, LastError string
}

// healthLimit is how many rows of a kind are told.
const healthLimit = 50

// Health looks at the catalog as a whole. old is the age from which on the last good backup of a database is told. It changes nothing.
func (c *Catalog) Health(ctx context.Context, old time.Duration) (Health, error) {
	var h Health
	err := c.system(ctx, func(t *tx) error {
		h = Health{}
		var self struct {
			Now                     time.Time
			Version, Role, Database string
			Size                    int64
		}
		if _, err := t.find(ctx, &self, `SELECT clock_timestamp() AS now, current_setting('server_version') AS version, current_user AS role,
			current_database() AS database, pg_database_size(current_database()) AS size`); err != nil {
			return err
		}
		h.Now, h.ServerVersion, h.Role, h.Database, h.SizeBytes = self.Now, self.Version, self.Role, self.Database, self.Size
		const own = ` FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'installation'::regclass) AND `
		if err := t.scan(ctx, &h.Unprotected, `SELECT c.relname`+own+`NOT (c.relrowsecurity AND c.relforcerowsecurity)
			AND (EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)
				OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'project_id' AND NOT a.attisdropped)) ORDER BY 1`); err != nil {
			return err
		}
		if err := t.scan(ctx, &h.Foreign, `SELECT c.relname`+own+`NOT pg_has_role(c.relowner, 'USAGE') ORDER BY 1`); err != nil {
			return err
		}
		if err := t.scan(ctx, &h.Controllers, `SELECT id, version, broker, extract(epoch FROM clock_timestamp() - seen_at)::float8 AS silent
			FROM controllers WHERE seen_at > now() - interval '1 day' ORDER BY id`); err != nil {
			return err
		}
		if err := t.scan(ctx, &h.Stuck, `SELECT * FROM (SELECT j.id, j.kind, j.status, coalesce(s.name, '') AS server, j.created_at, CASE
				WHEN j.deadline_at < now() - interval '10 minutes' THEN 'its deadline has passed'
				WHEN j.cancel_requested_at < now() - interval '10 minutes' THEN 'it was cancelled and has not ended'
				WHEN a.suspect_at IS NOT NULL THEN 'its agent is not heard'
				WHEN j.status = 'finishing' AND a.reported_at < now() - interval '1 hour' THEN 'it has been uploaded and cannot be completed'
				WHEN j.status = 'queued' AND j.not_before < now() - interval '1 hour' THEN coalesce(nullif(j.waiting, ''), 'it does not begin')
				ELSE '' END AS reason
			FROM jobs j LEFT JOIN servers s ON s.id = j.server_id LEFT JOIN attempts a ON a.job_id = j.id AND a.no = j.attempt_no
			WHERE j.status IN ('queued', 'running', 'finishing')) x WHERE reason <> '' ORDER BY created_at LIMIT ?`, healthLimit); err != nil {
			return err
		}
		const present = ` FROM databases d JOIN servers s ON s.id = d.server_id JOIN projects p ON p.id = d.project_id
			WHERE d.missing_since IS NULL AND s.revoked_at IS NULL`
		var count struct{ N int64 }
		if _, err := t.find(ctx, &count, `SELECT count(*) AS n`+present); err != nil {
			return err
		}
		h.Databases = count.N
		return t.scan(ctx, &h.Unsafe, `SELECT * FROM (SELECT p.slug AS project, s.name AS server, d.name,
				(SELECT max(b.completed_at) FROM database_backups b WHERE b.database_id = d.id AND b.status = 'completed' AND b.health = 'ok' AND b.deleted_at IS NULL) AS last_good,
				coalesce((SELECT b.status FROM database_backups b WHERE b.database_id = d.id ORDER BY b.id DESC LIMIT 1), '') AS last_status,
				coalesce((SELECT b.error_message FROM database_backups b WHERE b.database_id = d.id ORDER BY b.id DESC LIMIT 1), '') AS last_error`+present+`) x
			WHERE last_good IS NULL OR last_good < now() - `+string(interval(old))+` OR last_status = 'failed'
			ORDER BY last_good NULLS FIRST, project, server, name LIMIT ?`, healthLimit)
	})
	if err != nil {
		return Health{}, err
	}
	return h, nil
}
