package main_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/app/apitest"
	"devflowbackup/shared/wire"
)

func TestSchedule_usage(t *testing.T) {
	t.Parallel()
	r := offline(t)
	r.ctl("schedule", "create", "shop").ends(2, "--hourly", "--cron")
	r.ctl("schedule", "create", "shop", "--daily", "02:00", "--hourly").ends(2, "exclude each other", "--daily", "--hourly")
	r.ctl("schedule", "create", "shop", "--weekly", "02:00").ends(2, "sunday@02:00")
	r.ctl("schedule", "create", "shop", "--weekly", "someday@02:00").ends(2, "someday", "sunday@02:00")
	r.ctl("schedule", "create", "shop", "--monthly", "last@02:00").ends(2, "31@02:00")
	r.ctl("schedule", "create", "shop", "--daily", "02:00", "--keep", "yearly=1").ends(2, "--keep", "yearly", "hourly, daily, weekly, monthly or days")
	r.ctl("schedule", "create", "shop", "--daily", "02:00", "--keep", "daily=0").ends(2, "--keep", "retention_days")
	r.ctl("schedule", "create", "shop", "--daily", "02:00", "--spread", "much").ends(2, "--spread", "much", "off or default")
	r.ctl("schedule", "create", "shop", "--daily", "02:00", "--catch-up", "-1h").ends(2, "--catch-up")
	r.ctl("schedule", "create", "shop", "--daily", "02:00", "--all", "--database", "x").ends(2, "exclude each other")
	r.ctl("schedule", "edit", "1").ends(2, "change what")
	r.ctl("schedule", "show", "x").ends(2, "x")
	r.ctl("schedule", "history", "1", "--before", "yesterday").ends(2, "--before", "2026-01-02T03:04")
	r.ctl("pause", "add", "--reason", "x").ends(2, "pause what", "--everything")
	r.ctl("pause", "add", "--everything").ends(2, "--reason")
	r.ctl("pause", "add", "--everything", "--project", "x", "--reason", "x").ends(2, "pause what")
	r.ctl("pause", "add", "--everything", "--reason", "x", "--for", "2h", "--until", "2030-01-01").ends(2, "exclude each other")
	r.ctl("backup", "hold", "1").ends(2, "--reason")
	r.ctl("settings", "set").ends(2, "--timezone", "--cleanup-time")
	r.ctl("storage", "inventory", "s3", "--wait").ends(2, "--now")
	r.ctl("project", "create", "x", "--default-schedule", "yearly").ends(2, "--default-schedule", "daily HH:MM")
	r.ctl("project", "create", "x", "--keep", "daily=7").ends(2, "--default-schedule")
}

// TestSchedule: made, shown, listed, edited, activated, deleted; each time with its label, its zone and the next five times.
func TestSchedule(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.world("app", "shop_1")
	x := r.ctl("schedule", "create", "shop", "--daily", "02:00", "--timezone", "Asia/Kathmandu", "--database", "app", "--keep", "daily=7,weekly=4,days=30", "--spread", "off", "--verify-after", "content", "--encryption", "none").
		ends(0, "Daily at 02:00 (Asia/Kathmandu)", "app on db-1", "7 days and 4 weeks", "younger than 30 days", "content", "none", "active", "off")
	if n := strings.Count(x.out, "02:00:00 +0545"); n != 5 {
		t.Errorf("the next five times are not shown:\n%s", x.out)
	}
	if n := strings.Count(x.out, "20:15:00 UTC"); n < 5 {
		t.Errorf("the next five times are not shown in UTC:\n%s", x.out)
	}
	made := into[body.Schedule](r.ctl("schedule", "create", "shop", "--weekly", "sun@03:30", "--pattern", "shop_*", "--catch-up", "6h", "--spread", "20m", "--inactive", "--output", "json").ends(0))
	if made.Label != "Weekly on Sunday at 03:30" || made.Pattern != "shop_*" || *made.CatchUpSeconds != 6*3600 || *made.SpreadSeconds != 1200 || made.IsActive || len(made.NextFive) != 5 || made.Daily != 7 {
		t.Errorf("the schedule is %+v", made)
	}
	id := fmt.Sprint(made.ID)
	r.ctl("schedule", "show", id).ends(0, "databases shop_*", "inactive", "would occur", "6h0m0s old", "up to 20m0s")
	r.ctl("schedule", "activate", id).ends(0, "active", "NEXT")
	r.ctl("schedule", "edit", id, "--monthly", "31@04:00", "--spread", "default", "--catch-up", "always", "--keep", "monthly=12", "--storage", "s3", "--max-duration", "2h").
		ends(0, "Monthly on day 31 at 04:00", "the last 12 months", "up to 15m0s", "whatever its age", "s3", "2h00m", "what it kept before is kept until")
	r.ctl("schedule", "edit", id, "--hourly=:20", "--timezone", "Europe/Berlin").ends(0, "Every Hour", ":20:00 CE")
	r.ctl("schedule", "edit", id, "--cron", "15 3 * * mon-fri", "--encryption", "").ends(0, "Cron 15 3 * * mon-fri (Europe/Berlin)", "the project's default")
	r.ctl("schedule", "edit", id, "--daily", "25:00").ends(2, "25:00", "HH:MM")
	r.ctl("schedule", "edit", id, "--timezone", "Mars/Base").ends(2, "Mars/Base")
	r.ctl("schedule", "list").ends(0, "Daily at 02:00 (Asia/Kathmandu)", "Cron 15 3", "app on db-1", "monthly=12")
	if all := into[[]body.Schedule](r.ctl("schedule", "list", "shop", "--output", "json", "--limit", "1").ends(0)); len(all) != 1 {
		t.Errorf("schedules are %+v", all)
	}
	r.ctl("schedule", "list", "--limit", "1").ends(0, "--after")
	r.ctl("schedule", "deactivate", id).ends(0, "inactive")
	r.ctl("schedule", "delete", id).ends(0, "its backups stay")
	r.ctl("schedule", "show", id).ends(1, "does not exist", "hint:")

	r.ctl("schedule", "preview", "--monthly", "31@02:00").ends(0, "Monthly on day 31 at 02:00", "UTC", "up to 15m0s", "younger than 30 days")
	r.ctl("schedule", "preview", "--cron", "0 0 30 2 *").ends(2, "cron")
	r.ctl("project", "create", "panel", "--default-schedule", "weekly sunday@02:00", "--timezone", "Europe/Berlin", "--keep", "weekly=8").ends(0)
	r.ctl("schedule", "list", "panel").ends(0, "Weekly on Sunday at 02:00 (Europe/Berlin)", "no other schedule covers", "weekly=8")
	r.ctl("project", "create", "bad", "--default-schedule", "daily 2").ends(2, "default_schedule.time")
}

// TestSchedule_occur: what became of each occurrence, and a failed backup that is ordered once more.
func TestSchedule_occur(t *testing.T) {
	t.Parallel()
	r := start(t)
	a := r.world("app", "logs")
	id := into[body.Schedule](r.ctl("schedule", "create", "shop", "--daily", "02:00", "--output", "json").ends(0)).ID
	schedule := fmt.Sprint(id)
	if res := r.Occur(id); res.Run != 2 {
		t.Fatalf("the occurrence came to %+v", res)
	}
	for _, o := range r.Start(a) {
		if o.DatabaseName == "app" {
			r.Complete(a, o)
		} else {
			r.Break(a, o, wire.Failf(wire.CodeAuth, "the login was refused"))
		}
	}
	r.ctl("pause", "add", "--schedule", schedule, "--for", "2h", "--reason", "new disks").ends(0, "schedule "+schedule+" is paused until", "new disks", "pause end 1")
	r.ctl("schedule", "show", schedule).ends(0, "paused", "new disks")
	r.Occur(id)
	r.ctl("pause", "list").ends(0, "schedule "+schedule, "new disks")
	r.ctl("pause", "end", "1").ends(0, "no longer paused")
	r.ctl("pause", "end", "99").ends(1, "99", "hint:")
	if x := r.ctl("pause", "list").ends(0); strings.Contains(x.out, "new disks") {
		t.Errorf("the pause is listed still:\n%s", x.out)
	}
	r.ctl("pause", "list", "--all").ends(0, "new disks")
	r.ctl("pause", "add", "--everything", "--until", time.Now().Add(time.Hour).Format("2006-01-02T15:04"), "--reason", "x").ends(0, "everything is paused until")
	r.ctl("pause", "add", "--project", "shop", "--reason", "y").ends(0, "project shop is paused until it is ended")
	r.ctl("pause", "add", "--on", "db-1", "--until", "2001-01-01T00:00:00Z", "--reason", "y").ends(2, "until", "2001")

	history := r.ctl("schedule", "history", schedule).ends(0, "missed", "new disks", "run", "completed", "failed")
	if lines := strings.Count(history.out, "\n"); lines != 5 {
		t.Errorf("%d lines, want a head and one for each database of each occurrence:\n%s", lines, history.out)
	}
	r.ctl("schedule", "history", schedule, "--limit", "1").ends(0, "--before")
	if all := into[[]controller.ScheduleOccurrence](r.ctl("schedule", "history", schedule, "--output", "json").ends(0)); len(all) != 2 || all[0].State != controller.OccurrenceMissed {
		t.Errorf("the records are %+v", all)
	}

	failed := into[[]controller.Backup](r.ctl("backup", "list", "--schedule", schedule, "--status", "failed", "--output", "json").ends(0))
	if len(failed) != 1 || failed[0].DatabaseName != "logs" {
		t.Fatalf("failed are %+v", failed)
	}
	stop := r.play(a)
	defer stop()
	r.ctl("backup", "retry", fmt.Sprint(failed[0].ID), "--wait").ends(0, "logs", "1 database, 1 completed")
	r.ctl("backup", "retry", fmt.Sprint(failed[0].ID)).ends(1)
	r.ctl("schedule", "run", schedule, "--wait").ends(0, "2 databases, 2 completed")
	retried := into[[]controller.Backup](r.ctl("backup", "list", "--database", "logs", "--output", "json").ends(0))
	for _, b := range retried {
		if b.RetryOf != nil {
			r.ctl("backup", "show", fmt.Sprint(b.ID)).ends(0, "retry of", "schedule", schedule+", of ")
		}
	}
	r.ctl("backup", "create", "shop", "--database", "app", "--verify-after", "sometimes").ends(2, "verify_after")
	r.ctl("backup", "create", "shop", "--database", "app", "--verify-after", "checksum").ends(0)
}

// TestBackup_cleanup: the plan with its reasons, the same one carried out, holds.
func TestBackup_cleanup(t *testing.T) {
	t.Parallel()
	r := start(t)
	a := r.world("app")
	s := into[body.Schedule](r.ctl("schedule", "create", "shop", "--daily", "02:00", "--keep", "daily=1", "--output", "json").ends(0))
	for range 4 {
		r.Occur(s.ID)
		for _, o := range r.Start(a) {
			r.Complete(a, o)
		}
	}
	all := r.backups()
	held, doomed := fmt.Sprint(all[1].ID), fmt.Sprint(all[2].ID)
	r.ctl("backup", "hold", held, "--reason", "auditors").ends(0, "held", "auditors")
	r.ctl("backup", "delete", held).ends(1, "auditors")
	r.ctl("backup", "list", "--held").ends(0, held)
	if x := r.ctl("backup", "list", "--held=false").ends(0); strings.Count(x.out, "\n") != 4 {
		t.Errorf("not held are:\n%s", x.out)
	}
	r.ctl("backup", "cleanup", "shop", "--dry-run").ends(0, "remove", doomed, "auditors", "not the newest of any of the last 1 day", "1 backup to be removed, 146 KiB; 3 kept")
	plan := into[controller.CleanupResult](r.ctl("backup", "cleanup", "--dry-run", "--output", "json").ends(0))
	if !plan.DryRun || plan.Removed != 1 || len(r.backups()) != 4 {
		t.Errorf("the plan is %+v", plan)
	}
	r.ctl("backup", "cleanup", "--grace", "1h").ends(0, "removed", "1 backup removed, 146 KiB; 3 kept")
	r.ctl("backup", "show", doomed).ends(0, "deleted", "not the newest of any")
	r.ctl("backup", "release", held).ends(0, "completed")
	r.ctl("backup", "cleanup", "--schedule", fmt.Sprint(s.ID)).ends(0, "1 backup removed")
	r.ctl("backup", "cleanup", "nowhere").ends(1, "nowhere")

	r.ctl("settings", "show").ends(0, "UTC", "00:00")
	r.ctl("settings", "set", "--timezone", "Europe/Berlin", "--cleanup-time", "00:30").ends(0, "Europe/Berlin", "00:30")
	r.ctl("settings", "set", "--timezone", "Mars/Base").ends(2, "Mars/Base")
	if got := into[controller.Settings](r.ctl("settings", "show", "--output", "json").ends(0)); got.CleanupTime != "00:30" {
		t.Errorf("settings are %+v", got)
	}
}

// TestStorage_inventory: asked for, waited for, and what it found.
func TestStorage_inventory(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Storage("s3")
	r.ctl("storage", "inventory", "s3").ends(0, "No inventory was made yet")
	r.ctl("storage", "inventory", "s3", "--now").ends(0, "never")
	var failing atomic.Bool
	failing.Store(true)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		apitest.Each(ctx, func() {
			due, err := r.Store.ClaimInventories(ctx, 1)
			for _, d := range due {
				if failing.Load() {
					err = errors.Join(err, r.Store.FailInventory(ctx, d, "list objects: AccessDenied", time.Hour, time.Hour))
					continue
				}
				_, recording := r.Store.RecordInventory(ctx, d, controller.InventoryPage{Foreign: []controller.StorageFinding{{Kind: "object", Key: "backups/stray.txt", Size: 42}}})
				err = errors.Join(err, recording, r.Store.FinishInventory(ctx, d, controller.InventoryTotals{Requests: 3, Objects: 1234, Bytes: 5 << 20, Missing: 2, ForeignObjects: 1}, time.Hour))
			}
			if err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		})
	}()
	defer func() { cancel(); wg.Wait() }()
	r.ctl("storage", "inventory", "s3", "--now", "--wait").ends(1, "AccessDenied", "did not come to its end")
	failing.Store(false)
	r.ctl("storage", "inventory", "s3", "--now", "--wait").ends(0, "1234", "5.0 MiB", "in 59m")
	got := into[[]controller.StorageInventory](r.ctl("storage", "inventory", "s3", "--output", "json").ends(0))
	if len(got) != 1 || got[0].Missing != 2 || got[0].EndedAt == nil {
		t.Errorf("inventories are %+v", got)
	}
	r.ctl("storage", "inventory", "s3", "--findings").ends(0, "backups/stray.txt", "42 B")
	r.ctl("storage", "inventory", "nowhere").ends(1, "nowhere")
}
