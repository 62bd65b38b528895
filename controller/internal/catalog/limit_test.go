package catalog_test

import (
	"testing"

	"devflowbackup/controller"
)

// TestLimits (fault 77): a flood of orders stops at the project's limit with its reason; an occurrence that it keeps from running is recorded
// as missed, never lost; the safety backup of a restore is made nevertheless.
func TestLimits(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	p, a := f.world("app", "blog")
	limit := func(jobs, bytes *int64) {
		t.Helper()
		must[controller.Project](t)(f.UpdateProject(ctx, f.admin, "shop", controller.ProjectSpec{MaxJobsPerHour: &jobs, MaxBytesPerDay: &bytes}))
	}
	limit(new(int64(3)), nil)
	_, err := f.UpdateProject(ctx, only(p), "shop", controller.ProjectSpec{MaxJobsPerHour: new(new(int64(9)))})
	f.refused(err, controller.EForbidden)
	_, err = f.UpdateProject(ctx, f.admin, "shop", controller.ProjectSpec{MaxJobsPerHour: new(new(int64(0)))})
	f.refused(err, controller.EInvalid, "max_jobs_per_hour")

	b := f.completed(a, "app")
	f.completed(a, "app")
	f.completed(a, "blog")
	for range 20 {
		_, err := f.CreateBackups(ctx, f.admin, controller.BackupRequest{Database: "app"})
		f.refused(err, controller.EQuota, "3 backups", "3 are allowed", "max_jobs_per_hour")
	}
	outcomes := must[[]controller.BackupOutcome](t)(f.CreateBackups(ctx, f.admin, controller.BackupRequest{Project: "shop"}))
	if len(outcomes) != 2 || outcomes[0].Err == nil || outcomes[1].Err == nil || outcomes[0].Err.Code != controller.EQuota {
		t.Fatalf("%+v", outcomes)
	}
	s := f.schedule(controller.ScheduleSpec{Project: "shop"})
	f.occur(s.ID)
	missed := must[[]controller.ScheduleOccurrence](t)(f.Occurrences(ctx, f.admin, s.ID, s.CreatedAt.AddDate(1, 0, 0), 10))
	if len(missed) != 1 || missed[0].State != controller.OccurrenceMissed || missed[0].Code != controller.MissedQuota || len(missed[0].Databases) != 2 {
		t.Fatalf("%+v", missed)
	}
	f.sql("UPDATE database_backups SET created_at = now() - interval '61 minutes'")
	f.completed(a, "app")

	limit(nil, new(*b.FileSize))
	_, err = f.CreateBackups(ctx, f.admin, controller.BackupRequest{Database: "app"})
	f.refused(err, controller.EQuota, "within 24 hours", "max_bytes_per_day")
	f.sql("UPDATE database_backups SET created_at = now() - interval '25 hours'")
	f.order("app")
	limit(nil, nil)
	f.order("blog")
}
