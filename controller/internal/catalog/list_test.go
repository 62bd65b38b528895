package catalog_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

func ids[T any](rows []T, id func(T) int64) string {
	out := make([]string, len(rows))
	for i, r := range rows {
		out[i] = fmt.Sprint(id(r))
	}
	return strings.Join(out, " ")
}

// TestBackups_Numbered: pages by number with a total, sorted both ways, filtered, and never further than rows are counted.
func TestBackups_Numbered(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app", "blog")
	other := f.storage("other", false)
	var made []controller.Backup
	for i, r := range []controller.BackupRequest{{Database: "app"}, {Database: "blog"}, {Database: "app", Type: controller.TypePreDeploy}, {Database: "app", Storage: "other"}} {
		b := f.completedAs(a, r)
		// Sizes 3, 1, 4, 2 and durations 40, 30, 20, 10 s, on days 1 to 4.
		f.sql(`UPDATE database_backups SET file_size = %d, started_at = '2026-01-0%d 00:00Z', completed_at = timestamptz '2026-01-0%d 00:00Z' + interval '%d seconds', created_at = '2026-01-0%d 00:00Z' WHERE id = %d`,
			[]int{3, 1, 4, 2}[i], i+1, i+1, 40-10*i, i+1, b.ID)
		made = append(made, b)
	}
	f.order("app")
	day := func(n int) *time.Time { d := time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC); return &d }
	for name, c := range map[string]struct {
		f     controller.BackupFilter
		want  string
		total int64
	}{
		"first page":  {controller.BackupFilter{NumberedPage: controller.NumberedPage{Page: 1, PerPage: 2}}, "5 4", 5},
		"last page":   {controller.BackupFilter{NumberedPage: controller.NumberedPage{Page: 3, PerPage: 2}}, "1", 5},
		"behind it":   {controller.BackupFilter{NumberedPage: controller.NumberedPage{Page: 4, PerPage: 2}}, "", 5},
		"oldest":      {controller.BackupFilter{Ascending: true, NumberedPage: controller.NumberedPage{Page: 1, PerPage: 2}}, "1 2", 5},
		"largest":     {controller.BackupFilter{Project: "shop", Sort: "size", NumberedPage: controller.NumberedPage{Page: 1, PerPage: 3}}, "3 1 4", 5},
		"smallest":    {controller.BackupFilter{Project: "shop", Sort: "size", Ascending: true, NumberedPage: controller.NumberedPage{Page: 1, PerPage: 3}}, "5 2 4", 5},
		"longest":     {controller.BackupFilter{Database: "app", Sort: "duration", NumberedPage: controller.NumberedPage{Page: 1, PerPage: 9}}, "1 3 4 5", 4},
		"engine":      {controller.BackupFilter{Engine: "mysql", NumberedPage: controller.NumberedPage{Page: 1, PerPage: 9}}, "", 0},
		"own engine":  {controller.BackupFilter{Engine: "postgresql", Limit: 2}, "5 4", 5},
		"storage":     {controller.BackupFilter{Storage: "other"}, "4", 1},
		"storage id":  {controller.BackupFilter{Storage: fmt.Sprint(other.ID)}, "4", 1},
		"no storage":  {controller.BackupFilter{Storage: "nowhere"}, "", 0},
		"time":        {controller.BackupFilter{Between: controller.Between{Since: day(2), Until: day(4)}}, "3 2", 2},
		"type":        {controller.BackupFilter{Type: controller.TypePreDeploy, Between: controller.Between{Since: day(1)}}, "3", 1},
		"by cursor":   {controller.BackupFilter{BeforeID: 3, Limit: 1}, "2", 2},
		"no database": {controller.BackupFilter{Database: "ghost"}, "", 0},
	} {
		rows := must[[]controller.Backup](t)(f.Backups(ctx, f.admin, c.f))
		equal(t, name, ids(rows, func(b controller.Backup) int64 { return b.ID }), c.want)
		total := must[controller.Total](t)(f.CountBackups(ctx, f.admin, c.f))
		equal(t, name+" total", total, controller.Total{N: c.total})
	}
	for field, bad := range map[string]controller.BackupFilter{
		"sort":      {Sort: "size", NumberedPage: controller.NumberedPage{Page: 1, PerPage: 1}},
		"before_id": {BeforeID: 3, NumberedPage: controller.NumberedPage{Page: 1, PerPage: 1}},
		"page":      {NumberedPage: controller.NumberedPage{Page: 101, PerPage: 100}},
		"per_page":  {NumberedPage: controller.NumberedPage{Page: 1, PerPage: 101}},
		"engine":    {Engine: "oracle"},
	} {
		_, err := f.Backups(ctx, f.admin, bad)
		f.refused(err, controller.EInvalid, field)
	}
	_, err := f.Backups(ctx, f.admin, controller.BackupFilter{Sort: "duration"})
	f.refused(err, controller.EInvalid, "sort", "page")
	equal(t, "of a stranger", must[controller.Total](t)(f.CountBackups(ctx, only(), controller.BackupFilter{})).N, 0)

	b := f.backup(made[0].ID)
	equal(t, "size for people", b.Display.Size, "3 B")
	equal(t, "duration for people", b.Display.Duration, "40s")
	equal(t, "status", b.Display.Status, controller.Badge{Label: "Completed", Colour: "green", Icon: "check-circle"})
	equal(t, "shield", b.Display.Shield.Colour, "purple")
	equal(t, "file", b.Display.FileName, b.FileName)
	f.ok(f.FoldTotals(ctx))
	equal(t, "left to fold", f.sql("SELECT count(*) FROM backup_deltas"), "0")
	used := must[controller.Storage](t)(f.Storage(ctx, f.admin, "s3"))
	equal(t, "used", used.UsedBytes, 8)
	equal(t, "used for people", used.Display.Used, "8 B")
}

// TestJobs_List: newest first, by filters, of the caller's projects.
func TestJobs_List(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app", "blog")
	b := f.completed(a, "app")
	must[[]controller.Job](t)(f.CreateVerify(ctx, f.admin, controller.VerifyRequest{Backup: b.ID}))
	f.order("blog")
	kinds := func(filter controller.JobFilter) string {
		var out []string
		for _, j := range must[[]controller.Job](t)(f.Jobs(ctx, f.admin, filter)) {
			out = append(out, j.Kind+" "+j.Status)
		}
		equal(t, "total", must[controller.Total](t)(f.CountJobs(ctx, f.admin, filter)).N, int64(len(out)))
		return strings.Join(out, ", ")
	}
	equal(t, "all", kinds(controller.JobFilter{}), "backup queued, verify queued, backup completed")
	equal(t, "open", kinds(controller.JobFilter{Status: controller.JobOpen}), "backup queued, verify queued")
	equal(t, "of the backup", kinds(controller.JobFilter{Backup: b.ID}), "verify queued, backup completed")
	equal(t, "kind", kinds(controller.JobFilter{Kind: "verify", Server: "db-7", Project: "shop"}), "verify queued")
	equal(t, "second page", len(must[[]controller.Job](t)(f.Jobs(ctx, f.admin, controller.JobFilter{NumberedPage: controller.NumberedPage{Page: 2, PerPage: 2}}))), 1)
	equal(t, "of a stranger", len(must[[]controller.Job](t)(f.Jobs(ctx, only(), controller.JobFilter{}))), 0)
	_, err := f.Jobs(ctx, f.admin, controller.JobFilter{Status: "gone"})
	f.refused(err, controller.EInvalid, "status", "queued", "open")
}

// TestRestores_List and schedules, by filters and by number.
func TestRestores_List(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app")
	b := f.completed(a, "app")
	for _, name := range []string{"one", "two"} {
		must[controller.Restore](t)(f.CreateRestore(ctx, f.admin, controller.RestoreRequest{Backup: b.ID, Database: name}))
	}
	names := func(filter controller.RestoreFilter) string {
		rows := must[[]controller.Restore](t)(f.Restores(ctx, f.admin, filter))
		equal(t, "total", must[controller.Total](t)(f.CountRestores(ctx, f.admin, filter)).N, int64(len(rows)))
		var out []string
		for _, r := range rows {
			out = append(out, r.DatabaseName)
		}
		return strings.Join(out, " ")
	}
	equal(t, "all", names(controller.RestoreFilter{Status: "pending", Kind: "restore", Server: "db-7", Backup: b.ID}), "two one")
	equal(t, "by target", names(controller.RestoreFilter{Database: "one"}), "one")
	equal(t, "undos", names(controller.RestoreFilter{Kind: "undo"}), "")
	future := time.Now().Add(time.Hour)
	equal(t, "later", names(controller.RestoreFilter{Between: controller.Between{Since: &future}}), "")
	equal(t, "page", len(must[[]controller.Restore](t)(f.Restores(ctx, f.admin, controller.RestoreFilter{NumberedPage: controller.NumberedPage{Page: 2, PerPage: 1}}))), 1)

	for _, s := range []controller.ScheduleSpec{{Project: "shop"}, {Project: "shop", IsActive: new(bool)}} {
		f.schedule(s)
	}
	on := true
	equal(t, "active", len(must[[]controller.Schedule](t)(f.Schedules(ctx, f.admin, controller.ScheduleFilter{Active: &on}))), 1)
	all := must[[]controller.Schedule](t)(f.Schedules(ctx, f.admin, controller.ScheduleFilter{Frequency: "hourly", NumberedPage: controller.NumberedPage{Page: 1, PerPage: 10}}))
	equal(t, "schedules", len(all), 2)
	equal(t, "total", must[controller.Total](t)(f.CountSchedules(ctx, f.admin, controller.ScheduleFilter{})).N, 2)
	labels := []string{all[0].Display().Status.Label, all[1].Display().Status.Label}
	slices.Sort(labels)
	equal(t, "status", strings.Join(labels, " "), "Active Inactive")
}

// TestCountBackups_Totals: what is told from the totals is what counting the rows would give, for whoever asks, folded or not.
func TestCountBackups_Totals(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	p, a := f.world("app", "blog")
	other := f.project("other")
	f.completed(a, "app")
	gone := f.completed(a, "app")
	f.completed(a, "app")
	f.order("blog")
	o := f.started(a)
	r := fails(wire.CodeToolFailed)
	r.Attempt, r.Failure.Retryable = o.Attempt, false
	f.ok(f.ReportDone(ctx, a.AgentID, a.session, r))
	must[controller.Backup](t)(f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: gone.ID, Confirm: "app"}))
	moved := f.completed(a, "blog")
	f.sql("UPDATE database_backups SET project_id = %d WHERE id = %d", other.ID, moved.ID)
	f.order("app")
	for _, folded := range []bool{false, true} {
		if folded {
			f.ok(f.FoldTotals(ctx))
		}
		for _, actor := range []controller.Actor{f.admin, only(p), only(other)} {
			for _, filter := range []controller.BackupFilter{
				{},
				{Status: "completed"},
				{Status: "failed"},
				{Status: "pending"},
				{Deleted: true},
				{Verified: new(false)},
				{Project: "shop"},
				{Project: "shop", Status: "completed"},
				{Project: "shop", Status: "failed"},
				{Project: "other", Status: "completed"},
			} {
				rows, err := f.Backups(ctx, actor, filter)
				total, countErr := f.CountBackups(ctx, actor, filter)
				if (err == nil) != (countErr == nil) || total.N != int64(len(rows)) || total.More {
					t.Errorf("folded %t, %+v for %v: %d rows, counted %+v: %v, %v", folded, filter, actor.Scope, len(rows), total, err, countErr)
				}
			}
		}
	}
	// There are rows of each kind.
	equal(t, "in all", must[controller.Total](t)(f.CountBackups(ctx, f.admin, controller.BackupFilter{})).N, 5)
	equal(t, "of the other project", must[controller.Total](t)(f.CountBackups(ctx, only(other), controller.BackupFilter{})).N, 1)
}
