package catalog_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/catalog"
	"devflowbackup/controller/internal/keys"
	"devflowbackup/shared/testkit/pgkit"
)

// large is a catalog with many rows, for benchmarks: project 1 has them all, on one server with 1,000 databases.
type large struct {
	*catalog.Catalog
	db    string
	admin controller.Actor
}

func openLarge(b *testing.B) *large {
	b.Helper()
	dsn, name := newDSN(b)
	c, err := catalog.Open(b.Context(), catalog.Options{DSN: dsn, ControllerID: "bench", Sealer: sealer{keys.NewMaster()}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	if _, err := c.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	l := &large{Catalog: c, db: name, admin: controller.Actor{Name: "bench", Permissions: controller.Permissions, Scope: controller.Scope{All: true}}}
	recipient, identity := ageKey(b)
	must[controller.Project](b)(c.CreateProject(b.Context(), l.admin, controller.ProjectSpec{Slug: "shop"}, recipient, []byte(identity), nil))
	l.sql(b, `INSERT INTO servers (agent_id, name, nkey, signing_key, recipient, session, last_seen_at) VALUES ('abench', 'db1', 'U1', '\x00', 'age1', 's', now());
		INSERT INTO project_servers VALUES (1, 1);
		INSERT INTO storages (name, kind, is_default, probe_ok) VALUES ('store', 's3', true, true);
		INSERT INTO databases (server_id, instance, engine, name, project_id) SELECT 1, 'main', 'postgresql', 'data' || n, 1 FROM generate_series(1, 1000) n;
		-- Nobody reads what these would tell, one row at a time.
		ALTER TABLE database_backups DISABLE TRIGGER tells; ALTER TABLE jobs DISABLE TRIGGER tells; ALTER TABLE backup_schedules DISABLE TRIGGER tells`)
	return l
}

func (l *large) sql(b *testing.B, format string, args ...any) {
	b.Helper()
	if _, err := pgkit.Shared(b).Exec(b.Context(), l.db, fmt.Sprintf(format, args...)); err != nil {
		b.Fatal(err)
	}
}

// backups adds completed ones up to a number, each with its job, as years of daily work leave them.
func (l *large) backups(b *testing.B, from, to int) {
	b.Helper()
	l.sql(b, `INSERT INTO database_backups (project_id, server_id, database_id, storage_id, instance, database_type, database_name, type, status, compression, encryption, storage_disk,
			file_name, file_path, file_size, checksum, raw_size, raw_checksum, manifest, started_at, completed_at, created_at)
		SELECT 1, 1, 1 + n %% 1000, 1, 'main', 'postgresql', 'data' || 1 + n %% 1000, 'manual', 'completed', 'zstd', 'age', 's3',
			'data.dump.zst.age', 'backups/' || n, 1000000, repeat('0', 64), 3000000, repeat('1', 64), '\x7b7d', t, t + interval '1 minute', t
		FROM (SELECT n, now() - (%d - n) * interval '30 seconds' AS t FROM generate_series(%d, %d) n) s;
		INSERT INTO jobs (kind, project_id, server_id, backup_id, status, max_duration_seconds, max_attempts, attempt_no, deadline_at, created_at, ended_at)
		SELECT 'backup', 1, 1, b.id, 'completed', 3600, 3, 1, b.created_at + interval '1 day', b.created_at, b.completed_at FROM database_backups b
		WHERE NOT EXISTS (SELECT FROM jobs j WHERE j.backup_id = b.id);
		ANALYZE`, to, from+1, to)
}

// quantiles runs f until the benchmark has enough, and reports the median and the 99th percentile beside the mean. What after does is
// not counted.
func quantiles(b *testing.B, f, after func()) {
	b.Helper()
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		f()
		took = append(took, time.Since(began))
		if after != nil {
			b.StopTimer()
			after()
			b.StartTimer()
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkScale_BackupList lists the newest page, a page far back, and a filtered one: the cost must not grow with the rows.
func BenchmarkScale_BackupList(b *testing.B) {
	l := openLarge(b)
	have := 0
	for _, rows := range []int{100_000, 1_000_000} {
		l.backups(b, have, rows)
		have = rows
		for _, page := range []struct {
			name   string
			filter controller.BackupFilter
		}{
			{"newest", controller.BackupFilter{Limit: 50}},
			{"project", controller.BackupFilter{Project: "shop", Limit: 10}},
			{"deep", controller.BackupFilter{Project: "shop", Limit: 50, BeforeID: int64(rows / 2)}},
			{"database", controller.BackupFilter{Project: "shop", Database: "data17", Limit: 50}},
			{"server", controller.BackupFilter{Project: "shop", Server: "db1", Limit: 50}},
			{"scheduled", controller.BackupFilter{Project: "shop", Type: controller.TypeScheduled, Limit: 50}},
			{"failed", controller.BackupFilter{Project: "shop", Status: controller.StatusFailed, Limit: 50}},
			{"corrupt", controller.BackupFilter{Project: "shop", Health: controller.HealthCorrupt, Limit: 50}},
			{"held", controller.BackupFilter{Project: "shop", Held: new(true), Limit: 50}},
		} {
			b.Run(fmt.Sprintf("rows=%d/%s", rows, page.name), func(b *testing.B) {
				quantiles(b, func() {
					if _, err := l.Backups(b.Context(), l.admin, page.filter); err != nil {
						b.Fatal(err)
					}
				}, nil)
			})
		}
	}
}

// BenchmarkScale_Panel is what a project's page asks for: its cards, a numbered page of its history with the total, its largest backups, a
// month's trend, and the overview.
func BenchmarkScale_Panel(b *testing.B) {
	l := openLarge(b)
	const rows = 1_000_000
	l.backups(b, 0, rows)
	if err := l.FoldTotals(b.Context()); err != nil {
		b.Fatal(err)
	}
	first := controller.NumberedPage{Page: 1, PerPage: 10}
	for _, call := range []struct {
		name string
		f    func() error
	}{
		{"statistics", func() error { _, err := l.Statistics(b.Context(), l.admin, "shop"); return err }},
		{"history", func() error {
			f := controller.BackupFilter{Project: "shop", NumberedPage: first}
			if _, err := l.CountBackups(b.Context(), l.admin, f); err != nil {
				return err
			}
			_, err := l.Backups(b.Context(), l.admin, f)
			return err
		}},
		{"largest", func() error {
			_, err := l.Backups(b.Context(), l.admin, controller.BackupFilter{Project: "shop", Sort: controller.SortSize, NumberedPage: first})
			return err
		}},
		{"month", func() error {
			_, err := l.Trend(b.Context(), l.admin, controller.TrendRequest{Project: "shop"})
			return err
		}},
		{"overview", func() error { _, err := l.Overview(b.Context(), l.admin); return err }},
	} {
		b.Run(fmt.Sprintf("rows=%d/%s", rows, call.name), func(b *testing.B) {
			quantiles(b, func() {
				if err := call.f(); err != nil {
					b.Fatal(err)
				}
			}, nil)
		})
	}
}

// BenchmarkScale_DueSchedules selects what is due among schedules of which few are.
func BenchmarkScale_DueSchedules(b *testing.B) {
	l := openLarge(b)
	have := 0
	for _, schedules := range []int{10, 100_000} {
		l.sql(b, `INSERT INTO backup_schedules (project_id, scope, database_id, server_id, instance, database_type, database_name, frequency, "time", timezone, max_duration_seconds, compression,
				retention_days, recorded_until, next_at, next_run_at)
			SELECT 1, 'database', 1 + n %% 1000, 1, 'main', 'postgresql', 'data' || 1 + n %% 1000, 'daily', '02:00', 'UTC', 3600, 'zstd', 30,
				now(), now() + interval '1 day', now() + interval '1 day' + n * interval '1 second' FROM generate_series(%d, %d) n; ANALYZE`, have+1, schedules)
		have = schedules
		b.Run(fmt.Sprintf("schedules=%d", schedules), func(b *testing.B) {
			due := time.Now().Add(24*time.Hour + 5*time.Second) // a few are due
			quantiles(b, func() {
				if found, err := l.DueSchedules(b.Context(), due, 100); err != nil || len(found) == 0 || len(found) > 50 {
					b.Fatalf("%d schedules are due: %v", len(found), err)
				}
			}, func() { l.sql(b, "UPDATE backup_schedules SET claim_until = '-infinity' WHERE claim_until > now()") })
		})
	}
}

// BenchmarkScale_Protection judges 10,000 databases, each with a schedule of its own and ten backups: a part of 1,000 of them, what
// the overview counts, and a list of those in a state.
func BenchmarkScale_Protection(b *testing.B) {
	l := openLarge(b)
	l.sql(b, `INSERT INTO databases (server_id, instance, engine, name, project_id) SELECT 1, 'main', 'postgresql', 'more' || n, 1 FROM generate_series(1, 9000) n;
		INSERT INTO backup_schedules (project_id, scope, database_id, server_id, instance, database_type, database_name, frequency, "time", timezone, max_duration_seconds, compression,
			retention_days, recorded_until, next_at, next_run_at, interval_seconds)
		SELECT 1, 'database', id, 1, 'main', 'postgresql', name, 'daily', '02:00', 'UTC', 3600, 'zstd', 30, now(), now() + interval '1 day', now() + interval '1 day', 86400 FROM databases`)
	l.backups(b, 0, 100_000)
	l.sql(b, "UPDATE database_backups SET database_id = 1 + id %% 10000; VACUUM ANALYZE")
	for _, call := range []struct {
		name string
		f    func() (int, error)
	}{
		{"page", func() (int, error) { rows, err := l.ProtectionPage(b.Context(), 5000, 1000); return len(rows), err }},
		{"summary", func() (int, error) {
			s, err := l.ProtectionSummary(b.Context(), l.admin, "")
			return int(s.Databases / 10), err
		}},
		{"state", func() (int, error) {
			n, err := l.CountProtection(b.Context(), l.admin, controller.ProtectionFilter{State: controller.ProtectionOverdue})
			return int(n.N) + 1000, err
		}},
	} {
		b.Run(call.name, func(b *testing.B) {
			quantiles(b, func() {
				if n, err := call.f(); err != nil || n < 1000 {
					b.Fatalf("%d: %v", n, err)
				}
			}, nil)
		})
	}
}
