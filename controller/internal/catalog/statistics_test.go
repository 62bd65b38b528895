package catalog_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// TestStatistics: the stat cards, before and after the totals are folded, of a project and of what a caller sees.
func TestStatistics(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	p, a := f.world("app", "blog")
	other := f.project("other")
	empty := must[controller.Statistics](t)(f.Statistics(ctx, f.admin, "shop"))
	if empty.LastBackup != nil || empty.Backups != 0 || empty.Databases != 2 || empty.Display.StorageUsed != "0 B" {
		t.Fatalf("%+v", empty)
	}
	one := f.completed(a, "app")
	two := f.completed(a, "blog")
	f.schedule(controller.ScheduleSpec{Project: "shop"})
	f.schedule(controller.ScheduleSpec{Project: "shop", IsActive: new(bool)})
	f.order("app")
	for _, fold := range []bool{false, true} {
		if fold {
			f.ok(f.FoldTotals(ctx))
		}
		for _, actor := range []controller.Actor{f.admin, only(p)} {
			for _, project := range []string{"shop", ""} {
				s := must[controller.Statistics](t)(f.Statistics(ctx, actor, project))
				if s.Backups != 3 || s.Completed != 2 || s.Failed != 0 || s.Running != 1 || s.Schedules != 2 || s.ActiveSchedules != 1 || s.Databases != 2 ||
					s.UsedBytes != *one.FileSize+*two.FileSize || s.LastBackup == nil || s.LastBackup.ID != two.ID || s.NextRunAt == nil {
					t.Fatalf("%q: %+v %+v", project, s, s.LastBackup)
				}
			}
		}
	}
	equal(t, "of another project", must[controller.Statistics](t)(f.Statistics(ctx, only(other), "")).Backups, 0)
	_, err := f.Statistics(ctx, only(other), "shop")
	f.refused(err, controller.ENotFound)
	must[controller.Backup](t)(f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: one.ID, Confirm: "app"}))
	equal(t, "after a deletion", must[controller.Statistics](t)(f.Statistics(ctx, f.admin, "shop")).UsedBytes, *two.FileSize)
}

// TestTrend: each day of the installation's zone is there, its backups are in it, and another project's are not.
func TestTrend(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	must[bool](t)(f.CreateInstallation(ctx, controller.Installation{UID: "u", CheckValue: []byte("c"), EscrowMaster: []byte("e")}))
	must[controller.Settings](t)(f.UpdateSettings(ctx, f.admin, controller.Settings{Timezone: "Asia/Kolkata"}))
	_, a := f.world("app", "blog")
	other := f.project("other")
	for i, name := range []string{"app", "app", "blog"} {
		b := f.completed(a, name)
		// 18:29 UTC is 23:59 there, and 18:31 is the next day.
		at := []string{"2026-03-28 18:29Z", "2026-03-28 18:31Z", "2026-03-28 18:31Z"}[i]
		f.sql("UPDATE database_backups SET created_at = '%s', started_at = '%s', completed_at = timestamptz '%s' + interval '%d seconds', file_size = 10, raw_size = 30 WHERE id = %d", at, at, at, 10*(i+1), b.ID)
	}
	failed := f.order("app")
	f.sql("UPDATE jobs SET status = 'failed'; UPDATE database_backups SET status = 'failed', created_at = '2026-03-29 10:00Z' WHERE id = %d", failed.ID)
	days := func(actor controller.Actor, r controller.TrendRequest) string {
		tr := must[controller.Trend](t)(f.Trend(ctx, actor, r))
		equal(t, "zone", tr.Timezone, "Asia/Kolkata")
		var out []string
		for _, d := range tr.Days {
			out = append(out, fmt.Sprintf("%s %d+%d %dB %d %.0f/%.0f", d.Date[5:], d.Completed, d.Failed, d.Bytes, d.RawBytes, d.MeanSeconds, d.MaxSeconds))
		}
		return strings.Join(out, ", ")
	}
	equal(t, "project", days(f.admin, controller.TrendRequest{Project: "shop", Days: 3, Until: "2026-03-30"}), "03-28 1+0 10B 30 10/10, 03-29 2+1 20B 60 25/30, 03-30 0+0 0B 0 0/0")
	equal(t, "database", days(f.admin, controller.TrendRequest{Database: "blog", Days: 1, Until: "2026-03-29"}), "03-29 1+0 10B 30 30/30")
	equal(t, "stranger", days(only(other), controller.TrendRequest{Days: 1, Until: "2026-03-29"}), "03-29 0+0 0B 0 0/0")
	equal(t, "default", len(must[controller.Trend](t)(f.Trend(ctx, f.admin, controller.TrendRequest{})).Days), controller.DefaultTrendDays)
	for field, r := range map[string]controller.TrendRequest{"days": {Days: 367}, "until": {Until: "yesterday"}} {
		_, err := f.Trend(ctx, f.admin, r)
		f.refused(err, controller.EInvalid, field)
	}
}

// TestOverview: each thing that needs attention is told once, the most urgent first, to those who see it.
func TestOverview(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	p, a := f.world("app", "blog", "shop_1", "quiet")
	other := f.project("other")
	corrupt := f.completed(a, "app")
	f.completed(a, "app")
	f.order("blog")
	o := f.started(a)
	r := fails(wire.CodeToolFailed)
	r.Attempt, r.Failure.Retryable = o.Attempt, false
	f.ok(f.ReportDone(ctx, a.AgentID, a.session, r))
	f.sql("UPDATE database_backups SET health = 'corrupt', health_reason = 'the checksum differs' WHERE id = %d; UPDATE storages SET probe_ok = false, probe = '{\"steps\": [{\"ok\": false, \"detail\": \"no such bucket\"}]}'", corrupt.ID)
	f.schedule(controller.ScheduleSpec{Project: "shop", Target: controller.Target{Pattern: "shop_*"}})
	s := f.schedule(controller.ScheduleSpec{Project: "shop", Target: controller.Target{Database: controller.DatabaseRef{Name: "app"}}})
	f.sql("INSERT INTO schedule_occurrences (schedule_id, project_id, at, state, code, reason) VALUES (%d, %d, now() - interval '1 hour', 'missed', 'downtime', 'no controller was up')", s.ID, p.ID)
	f.sql("UPDATE servers SET last_seen_at = now() - interval '1 day'")
	told := func(actor controller.Actor) []string {
		var out []string
		for _, a := range must[controller.Overview](t)(f.Overview(ctx, actor)).Attention {
			out = append(out, a.Kind+": "+a.Title+": "+a.Detail)
		}
		return out
	}
	want := []string{
		"corrupt: Backup 1 of app is corrupt: the checksum differs",
		"failed: The newest backup of blog failed: it went wrong: tool_failed",
		"storage_failed: Storage s3 did not pass its probe: no such bucket",
		"agent_offline: The agent on db-7 is offline: its databases are not backed up until it is back",
		fmt.Sprintf("missed: Schedule %d missed a run: no controller was up", s.ID),
		"unscheduled: quiet has no schedule: it is backed up only when someone asks for it",
		"unscheduled: blog has no schedule: it is backed up only when someone asks for it",
		"unverified: The newest backup of app is not verified: it was not read back yet",
	}
	alike(t, "for the admin", told(f.admin), want)
	alike(t, "for the project", told(only(p)), want)
	alike(t, "for a stranger", told(only(other)), want[2:3]) // the storage is for all projects

	view := must[controller.Overview](t)(f.Overview(ctx, f.admin))
	equal(t, "without schedule", len(view.Unscheduled), 2)
	equal(t, "offline", view.Agents, controller.AgentCount{Offline: 1})
	equal(t, "used", view.Storages[0].Backups, 2)
	equal(t, "today", view.Today.Completed, 2)
	equal(t, "failed today", view.Today.Failed, 1)
	f.sql("INSERT INTO schedule_occurrences (schedule_id, project_id, at, state) VALUES (%d, %d, now(), 'run'); UPDATE servers SET last_seen_at = now()", s.ID, p.ID)
	alike(t, "after a run", told(f.admin), append(append([]string{}, want[:3]...), want[5:]...))
}

// TestStatistics_Plans: the cards, the history's first page and its sorts, and a month's trend read indexes, not the table.
func TestStatistics_Plans(t *testing.T) {
	f := open(t)
	f.world("app")
	f.sql(`INSERT INTO database_backups (project_id, server_id, database_id, storage_id, instance, database_type, database_name, type, status, compression, encryption, storage_disk,
			file_name, file_path, file_size, checksum, manifest, started_at, completed_at, created_at)
		SELECT 1, 1, 1, 1, 'main', 'postgresql', 'app', 'manual', 'completed', 'zstd', 'age', 's3', 'x', 'k' || n, n, 'c', 'm', t, t + n * interval '1 second', t
		FROM (SELECT n, now() - n * interval '1 hour' AS t FROM generate_series(1, 20000) n) q; ANALYZE`)
	for name, query := range map[string]string{
		"newest":   "SELECT * FROM database_backups b WHERE TRUE AND b.project_id = 1 AND b.deleted_at IS NULL ORDER BY b.id DESC LIMIT 10 OFFSET 0",
		"size":     "SELECT * FROM database_backups b WHERE TRUE AND b.project_id = 1 AND b.deleted_at IS NULL ORDER BY coalesce(b.file_size, 0) DESC, b.id DESC LIMIT 10",
		"smallest": "SELECT * FROM database_backups b WHERE TRUE AND b.project_id = 1 AND b.deleted_at IS NULL ORDER BY coalesce(b.file_size, 0) ASC, b.id ASC LIMIT 10",
		"duration": "SELECT * FROM database_backups b WHERE TRUE AND b.project_id = 1 AND b.deleted_at IS NULL ORDER BY coalesce(b.completed_at - b.started_at, interval '0') DESC, b.id DESC LIMIT 10",
		"last":     "SELECT id FROM database_backups WHERE project_id = 1 AND status = 'completed' AND deleted_at IS NULL ORDER BY completed_at DESC LIMIT 1",
		"month":    "SELECT sum(file_size) FROM database_backups b WHERE b.project_id = 1 AND b.created_at >= now() - interval '30 days' AND b.created_at < now()",
	} {
		plan := f.as("*", "EXPLAIN %s", query)
		if strings.Contains(plan, "Seq Scan") || strings.Contains(plan, "Sort") || !strings.Contains(plan, "Index") {
			t.Errorf("%s:\n%s", name, plan)
		}
	}
	began := time.Now()
	f.ok(f.FoldTotals(t.Context()))
	equal(t, "backups", must[controller.Statistics](t)(f.Statistics(t.Context(), f.admin, "shop")).Backups, 20000)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the figures took %v", took)
	}
}
