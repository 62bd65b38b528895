package catalog_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/catalog"
	"devflowbackup/controller/internal/retention"
	"devflowbackup/shared/wire"
)

// past is a completed backup that is put into the catalog as it would be there long after.
type past struct {
	database int64
	kind     string // default scheduled
	schedule int64  // 0: none
	storage  int64
	at       time.Time
	status   string // default completed
	health   string // default ok
	level    string // of its verification
	held     bool
	locked   time.Time
	bytes    int64 // default 1000
}

// had puts backups into the catalog and returns their ids.
func (f *fix) had(rows ...past) []int64 {
	f.Helper()
	if len(rows) == 0 {
		return nil
	}
	values := make([]string, len(rows))
	for i, r := range rows {
		kind, status, health := orElse(r.kind, "scheduled"), orElse(r.status, "completed"), orElse(r.health, "ok")
		locked, held := "NULL::timestamptz", "NULL::timestamptz"
		if !r.locked.IsZero() {
			locked = "'" + r.locked.UTC().Format(time.RFC3339Nano) + "'::timestamptz"
		}
		if r.held {
			held = "now()"
		}
		values[i] = fmt.Sprintf("(%d, %d::bigint, '%s', %d, %d::bigint, '%s'::timestamptz, '%s', '%s', '%s', %s, %s, %d::bigint)", i, r.database, kind, r.schedule, r.storage,
			r.at.UTC().Format(time.RFC3339Nano), status, health, r.level, held, locked, max(r.bytes, 1000))
	}
	out := f.sql("%s", `INSERT INTO database_backups (project_id, server_id, database_id, schedule_id, storage_id, instance, database_type, database_name, type, status, health,
			compression, encryption, storage_disk, file_name, file_path, file_size, checksum, manifest, completed_at, created_at, verified_level, verified_at, held_at, held_by, hold_reason, locked_until)
		SELECT d.project_id, d.server_id, d.id, nullif(v.schedule, 0), coalesce(nullif(v.storage, 0), (SELECT min(id) FROM storages)), d.instance, d.engine, d.name, v.kind, v.status, v.health,
			'zstd', 'age', 's3', 'f' || v.n, CASE WHEN v.status = 'completed' THEN gen_random_uuid()::text ELSE '' END, v.bytes, 'c', 'm', v.at, v.at,
			nullif(v.level, ''), CASE WHEN v.level <> '' THEN v.at END, v.held, CASE WHEN v.held IS NULL THEN '' ELSE 'ops' END, CASE WHEN v.held IS NULL THEN '' ELSE 'audit' END, v.locked
		FROM (VALUES `+strings.Join(values, ",")+`) v (n, database, kind, schedule, storage, at, status, health, level, held, locked, bytes)
		JOIN databases d ON d.id = v.database ORDER BY v.n RETURNING id`)
	var ids []int64
	for line := range strings.SplitSeq(out, "\n") {
		id, err := strconv.ParseInt(line, 10, 64)
		f.ok(err)
		ids = append(ids, id)
	}
	if len(ids) != len(rows) {
		f.Fatalf("%d rows of %d were made", len(ids), len(rows))
	}
	return ids
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// databases are the ids of the databases, by name.
func (f *fix) databases() map[string]int64 {
	f.Helper()
	ids := map[string]int64{}
	for _, d := range must[[]controller.Database](f)(f.Databases(f.Context(), f.admin, controller.DatabaseFilter{})) {
		ids[d.Name] = d.ID
	}
	return ids
}

// daily makes a schedule for one database in UTC.
func (f *fix) dailyOf(database int64, keep controller.Retention) controller.Schedule {
	f.Helper()
	return must[controller.Schedule](f)(f.CreateSchedule(f.Context(), f.admin, controller.ScheduleSpec{
		Project: "shop", Target: controller.Target{Database: controller.DatabaseRef{ID: database}},
		Timing:        controller.Timing{Frequency: controller.FrequencyDaily, Time: "02:00", Timezone: "UTC"},
		RetentionDays: &keep.Days, RetentionHourly: &keep.Hourly, RetentionDaily: &keep.Daily, RetentionWeekly: &keep.Weekly, RetentionMonthly: &keep.Monthly,
	}))
}

// runner is one whose clock shows a time.
func (f *fix) runner(store retention.Store, now func() time.Time) *retention.Runner {
	return retention.NewRunner(retention.Options{Store: store, Log: logTo(f), Now: clock(now), Tick: 5 * time.Millisecond})
}

// clean runs a clean-up of everything at a time.
func (f *fix) clean(now time.Time, req controller.CleanupRequest) controller.CleanupResult {
	f.Helper()
	return must[controller.CleanupResult](f)(f.runner(f.Catalog, func() time.Time { return now }).Clean(f.Context(), f.admin, req))
}

// kept are those of the ids that are still there, sorted.
func (f *fix) kept(ids []int64) []int64 {
	f.Helper()
	out := f.sql("SELECT id FROM database_backups WHERE deleted_at IS NULL AND id IN (%s) ORDER BY id", join(ids))
	left := []int64{}
	for line := range strings.SplitSeq(out, "\n") {
		if line != "" {
			id, err := strconv.ParseInt(line, 10, 64)
			f.ok(err)
			left = append(left, id)
		}
	}
	return left
}

func join(ids []int64) string {
	s := make([]string, len(ids))
	for i, id := range ids {
		s[i] = strconv.FormatInt(id, 10)
	}
	return strings.Join(s, ",")
}

// pick are the ids at some places.
func pick(ids []int64, places ...int) []int64 {
	out := []int64{}
	for _, p := range places {
		out = append(out, ids[p])
	}
	slices.Sort(out)
	return out
}

func same(t testing.TB, what string, got, want []int64) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// item finds what was decided about a backup.
func item(t testing.TB, res controller.CleanupResult, id int64) controller.CleanupItem {
	t.Helper()
	for _, i := range res.Items {
		if i.BackupID == id {
			return i
		}
	}
	t.Fatalf("nothing was decided about backup %d", id)
	return controller.CleanupItem{}
}

func codes(i controller.CleanupItem) string {
	var all []string
	for _, r := range i.Reasons {
		all = append(all, r.Code)
	}
	return strings.Join(all, " ")
}

func date(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// TestMistake07_Retention does on real rows what the panel's retention does wrong, each of it.
func TestMistake07_Retention(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.world("app", "crm", "old", "year")
	db := f.databases()
	second := f.storage("second", false)
	now := date(t, "2026-11-23 12:00")

	// "Daily" is one for each day, not the newest so many; and a backup that no schedule made is not counted among those of one.
	perDay := f.dailyOf(db["app"], controller.Retention{Daily: 3})
	days := f.had(
		past{database: db["app"], schedule: perDay.ID, at: date(t, "2026-11-20 02:00"), level: "content"}, // 0: kept, verified
		past{database: db["app"], schedule: perDay.ID, at: date(t, "2026-11-21 02:00")},                   // 1: kept, day 3
		past{database: db["app"], schedule: perDay.ID, at: date(t, "2026-11-22 02:00")},                   // 2
		past{database: db["app"], schedule: perDay.ID, at: date(t, "2026-11-22 08:00")},                   // 3: kept, day 2
		past{database: db["app"], schedule: perDay.ID, at: date(t, "2026-11-23 01:00")},                   // 4
		past{database: db["app"], schedule: perDay.ID, at: date(t, "2026-11-23 02:00")},                   // 5
		past{database: db["app"], schedule: perDay.ID, at: date(t, "2026-11-23 03:00")},                   // 6: kept, day 1
	)
	// Another storage, another kind: each by itself, however many the others have.
	others := f.had(
		past{database: db["app"], schedule: perDay.ID, storage: second.ID, at: date(t, "2026-01-01 02:00")},
		past{database: db["app"], kind: "manual", at: date(t, "2026-02-01 02:00")},
		past{database: db["app"], kind: "pre_deploy", at: date(t, "2026-03-01 02:00")},
	)
	// Another database under a schedule of its own.
	crm := f.dailyOf(db["crm"], controller.Retention{Daily: 1})
	crms := f.had(past{database: db["crm"], schedule: crm.ID, at: date(t, "2025-01-01 02:00")})
	// retention_days is read: one of a day, kept by nothing but its age.
	young := f.dailyOf(db["old"], controller.Retention{Days: 10})
	aged := f.had(
		past{database: db["old"], schedule: young.ID, at: now.AddDate(0, 0, -12), level: "content"}, // 0: kept, verified
		past{database: db["old"], schedule: young.ID, at: now.AddDate(0, 0, -11)},                   // 1
		past{database: db["old"], schedule: young.ID, at: now.AddDate(0, 0, -9)},                    // 2
		past{database: db["old"], schedule: young.ID, at: now.AddDate(0, 0, -9).Add(time.Minute)},   // 3
		past{database: db["old"], schedule: young.ID, at: now.AddDate(0, 0, -1)},                    // 4
	)
	// A week across New Year is one: its newest stays, not one of each calendar year.
	weekly := f.dailyOf(db["year"], controller.Retention{Weekly: 2})
	weeks := f.had(
		past{database: db["year"], schedule: weekly.ID, at: date(t, "2025-12-27 02:00"), level: "content"}, // 0: Saturday of week 52; kept
		past{database: db["year"], schedule: weekly.ID, at: date(t, "2025-12-29 02:00")},                   // 1: Monday of week 1 of 2026
		past{database: db["year"], schedule: weekly.ID, at: date(t, "2025-12-31 02:00")},                   // 2
		past{database: db["year"], schedule: weekly.ID, at: date(t, "2026-01-02 02:00")},                   // 3: Friday of the same; kept
	)

	// The dry run is the run, and changes nothing.
	plan := f.clean(now, controller.CleanupRequest{DryRun: true, Grace: -1})
	same(t, "after a dry run", f.kept(days), days)
	equal(t, "audit entries of a dry run", f.sql("SELECT count(*) FROM audit_log WHERE action IN ('backup.expire', 'backup.cleanup')"), "0")
	done := f.clean(now, controller.CleanupRequest{Grace: -1})
	same(t, "days", f.kept(days), pick(days, 0, 1, 3, 6))
	same(t, "other storages and kinds", f.kept(others), others)
	same(t, "another database", f.kept(crms), crms)
	same(t, "younger than", f.kept(aged), pick(aged, 0, 2, 3, 4))
	same(t, "weeks", f.kept(weeks), pick(weeks, 0, 3))
	equal(t, "planned to be removed", plan.Removed, 6)
	for i := range done.Items {
		did := done.Items[i]
		equal(t, fmt.Sprintf("backup %d is removed", did.BackupID), did.Removed, did.Action == retention.Remove)
		did.Removed, did.DeleteAfter = false, nil
		if a, b := text(t, plan.Items[i]), text(t, did); a != b {
			t.Errorf("the dry run said\n%s, the run\n%s", a, b)
		}
	}
	if plan.Kept != done.Kept || plan.Removed != done.Removed || plan.RemovedBytes != done.RemovedBytes || done.Failed != 0 {
		t.Errorf("the dry run said %+v, the run %+v", plan, done)
	}

	// Each that was removed says why, can be brought back, and has one entry in the audit log.
	b := f.backup(days[2])
	if b.DeletedAt == nil || !strings.Contains(*b.DeleteReason, "not the newest of any of the last 3 days with a backup") || b.DeleteAfter.Sub(*b.DeletedAt) != controller.CleanupGrace {
		t.Errorf("%+v", b)
	}
	entries := must[[]controller.AuditEntry](t)(f.Audit(t.Context(), f.admin, controller.AuditFilter{Project: "shop", Limit: 200}))
	found := 0
	for _, e := range entries {
		if e.Action == "backup.expire" && e.Subject == strconv.FormatInt(days[2], 10) {
			found++
			if e.Actor != "admin" || !strings.Contains(string(e.Detail), "not the newest of any") {
				t.Errorf("%+v", e)
			}
		}
	}
	equal(t, "audit entries of one backup", found, 1)
	must[controller.Backup](t)(f.UndeleteBackup(t.Context(), f.admin, days[2]))

	// A plan that was carried out has nothing more to do.
	again := f.clean(now, controller.CleanupRequest{Project: "shop", Grace: -1})
	equal(t, "removed by a second run", again.Removed, 1) // what was brought back, and is not held
	equal(t, "removed by a third run", f.clean(now, controller.CleanupRequest{Grace: -1}).Removed, 0)
}

func text(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestMistake15_Orphans: what is deleted, revoked, renamed or taken away keeps its backups, for as long as nobody deletes them.
func TestMistake15_Orphans(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	_, a := f.world("scheduled", "renamed", "taken")
	db := f.databases()
	now := time.Now()
	s := map[string]controller.Schedule{}
	ids := map[string][]int64{}
	for _, name := range []string{"scheduled", "renamed", "taken"} {
		s[name] = f.dailyOf(db[name], controller.Retention{Daily: 1})
		for i := range 5 {
			ids[name] = append(ids[name], f.had(past{database: db[name], schedule: s[name].ID, at: now.AddDate(0, 0, -100-i)})...)
			ids[name] = append(ids[name], f.had(past{database: db[name], kind: "manual", at: now.AddDate(0, 0, -100-i)})...)
		}
	}
	never := func(what, name, gone string) {
		t.Helper()
		for _, req := range []controller.CleanupRequest{{Grace: 0}, {Schedule: s[name].ID}} {
			res := f.clean(now, req)
			for _, id := range ids[name] {
				if i := slices.IndexFunc(res.Items, func(i controller.CleanupItem) bool { return i.BackupID == id }); i >= 0 && res.Items[i].Action != retention.Keep {
					t.Errorf("%s: %+v", what, res.Items[i])
				}
			}
			if gone != "" {
				if i := item(t, res, ids[name][0]); codes(i) != retention.Orphan || !strings.Contains(i.Reasons[0].Text, gone) {
					t.Errorf("%s: %+v", what, i)
				}
			}
		}
		same(t, what, f.kept(ids[name]), ids[name])
	}
	// What no schedule made does not depend on one: one of five goes, and shows that the clean-up works.
	f.ok(f.DeleteSchedule(ctx, f.admin, s["scheduled"].ID))
	f.found(a, "scheduled", "new-name", "taken")
	must[controller.Database](t)(f.UnassignDatabase(ctx, f.admin, controller.DatabaseRef{Name: "taken"}))
	never("a database that was renamed", "renamed", "database")
	never("a database that was taken from its project", "taken", "database")
	var manual, scheduled []int64
	for i, id := range ids["scheduled"] {
		if i%2 == 0 {
			scheduled = append(scheduled, id)
		} else {
			manual = append(manual, id)
		}
	}
	same(t, "a schedule that was deleted", f.kept(scheduled), scheduled)
	same(t, "manual ones of a database whose schedule was deleted", f.kept(manual), pick(manual, 0, 1, 2, 4))

	must[controller.Server](t)(f.RevokeServer(ctx, f.admin, "db-7"))
	for i := range 5 {
		ids["scheduled"] = append(ids["scheduled"], f.had(past{database: db["scheduled"], kind: "manual", at: now.AddDate(0, 0, -200-i)})...)
	}
	left := f.kept(append(append(slices.Clone(ids["scheduled"]), ids["renamed"]...), ids["taken"]...))
	equal(t, "removed of a server that was revoked", f.clean(now.AddDate(1, 0, 0), controller.CleanupRequest{}).Removed, 0)
	f.ok(f.DeleteProject(ctx, f.admin, "shop"))
	res := f.clean(now.AddDate(1, 0, 0), controller.CleanupRequest{})
	equal(t, "removed of a project that was deleted", res.Removed, 0)
	if i := item(t, res, scheduled[0]); !strings.Contains(i.Reasons[0].Text, "project") {
		t.Errorf("%+v", i)
	}
	same(t, "after all that", f.kept(left), left)
	// It is deleted by an explicit act.
	if b := must[controller.Backup](t)(f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: scheduled[0]})); b.DeletedAt == nil {
		t.Errorf("%+v", b)
	}
}

// TestFault47_Locked: what its storage has locked is removed when the lock has ended, and no sooner, and nothing is in error meanwhile.
func TestFault47_Locked(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app")
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)

	// The lock is known from the completion on: the latest of all objects.
	out := must[[]controller.BackupOutcome](t)(f.CreateBackups(ctx, f.admin, controller.BackupRequest{Database: "app"}))
	o := f.started(a)
	f.uploaded(a, o)
	must[[]controller.Finishing](t)(f.ClaimFinishing(ctx, 5))
	done := finished(o)
	done.Objects[0].LockedUntil, done.Objects[2].LockedUntil = until.Add(-time.Minute), until
	f.ok(f.CompleteBackup(ctx, o.Attempt, done))
	b := f.backup(out[0].Backup.ID)
	if b.LockedUntil == nil || !b.LockedUntil.Equal(until) {
		t.Fatalf("locked until %v, want %v", b.LockedUntil, until)
	}
	if free := f.completed(a, "app"); free.LockedUntil != nil {
		t.Fatalf("one that is not locked is locked until %v", free.LockedUntil)
	}
	_, err := f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: b.ID})
	f.refused(err, controller.EConflict, "locked by its storage until "+until.Format("2006-01-02 15:04 UTC"))

	db := f.databases()["app"]
	now := time.Now()
	s := f.dailyOf(db, controller.Retention{Daily: 1})
	lock := now.Add(48 * time.Hour)
	ids := f.had(
		past{database: db, schedule: s.ID, at: now.AddDate(0, 0, -9), level: "content"},
		past{database: db, schedule: s.ID, at: now.AddDate(0, 0, -8), locked: lock},
		past{database: db, schedule: s.ID, at: now.AddDate(0, 0, -7), locked: now.Add(-time.Second)},
		past{database: db, schedule: s.ID, at: now.AddDate(0, 0, -1)},
	)
	res := f.clean(now, controller.CleanupRequest{Schedule: s.ID})
	if i := item(t, res, ids[1]); i.Action != retention.Later || i.At == nil || i.At.Sub(lock).Abs() > time.Millisecond || res.Postponed != 1 || res.Failed != 0 {
		t.Errorf("%+v of %+v", i, res)
	}
	same(t, "while it is locked", f.kept(ids), pick(ids, 0, 1, 3))
	f.clean(lock.Add(time.Second), controller.CleanupRequest{Schedule: s.ID})
	same(t, "after the lock", f.kept(ids), pick(ids, 0, 3))

	// A lock that nobody knew of: the deletion waits for it and says so; it is not tried before.
	f.sql("UPDATE database_backups SET deleted_at = NULL, delete_after = NULL, locked_until = NULL")
	must[controller.Backup](t)(f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: ids[2]}))
	equal(t, "due", len(must[[]controller.Deletion](t)(f.DueDeletions(ctx, 5))), 1)
	f.ok(f.DeletionLocked(ctx, ids[2], until))
	b = f.backup(ids[2])
	if !b.DeleteAfter.Equal(until) || !b.LockedUntil.Equal(until) || b.Waiting != "its storage refuses to delete it until "+until.Format("2006-01-02 15:04 UTC") || b.PurgedAt != nil {
		t.Errorf("%+v", b)
	}
	equal(t, "due while it is locked", len(must[[]controller.Deletion](t)(f.DueDeletions(ctx, 5))), 0)
	f.ok(f.DeletionLocked(ctx, ids[2], time.Now().Add(-time.Hour))) // clocks differ
	if b = f.backup(ids[2]); time.Until(*b.DeleteAfter) < 50*time.Second {
		t.Errorf("tried again at %s", b.DeleteAfter)
	}
	f.sql("UPDATE database_backups SET delete_after = now() WHERE id = %d", ids[2])
	equal(t, "due after it", len(must[[]controller.Deletion](t)(f.DueDeletions(ctx, 5))), 1)
	f.ok(f.DeletionDone(ctx, ids[2]))
	if b = f.backup(ids[2]); b.PurgedAt == nil || b.Waiting != "" {
		t.Errorf("%+v", b)
	}
}

// TestFault73_NothingNew: however long nothing new comes, the last good one stays, of each kind.
func TestFault73_NothingNew(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.world("app")
	db := f.databases()["app"]
	now := time.Now()
	s := f.dailyOf(db, controller.Retention{Days: 7, Daily: 2})
	rows := []past{
		{database: db, schedule: s.ID, at: now.AddDate(-1, 0, -3)},
		{database: db, schedule: s.ID, at: now.AddDate(-1, 0, -2)},
		{database: db, schedule: s.ID, at: now.AddDate(-1, 0, -1)},
		{database: db, schedule: s.ID, at: now.AddDate(-1, 0, 0)},
		{database: db, kind: "manual", at: now.AddDate(-1, 0, 0)},
		{database: db, kind: "pre_deploy", at: now.AddDate(-1, 0, 0)},
	}
	for i := range 300 { // and since then nothing but failures, one of them a completed one that is damaged
		rows = append(rows, past{database: db, schedule: s.ID, status: "failed", at: now.AddDate(0, 0, -i)})
	}
	rows = append(rows, past{database: db, schedule: s.ID, health: "corrupt", at: now.Add(-time.Hour)}, past{database: db, schedule: s.ID, health: "missing", at: now.Add(-time.Hour)})
	ids := f.had(rows...)
	for i := range 3 {
		f.clean(now.AddDate(0, i, 0), controller.CleanupRequest{})
	}
	same(t, "completed ones", f.kept(ids[:6]), pick(ids, 0, 2, 3, 4, 5)) // 0: the oldest, where the content of none was verified
	same(t, "others", f.kept(ids[6:]), ids[6:])
}

// TestFault74_ReadMeanwhile: a restore, verification or download that is ordered protects a backup; one that comes after the
// retention finds it deleted. There is nothing in between.
func TestFault74_ReadMeanwhile(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app")
	made := f.completed(a, "app") // for its objects
	db := f.databases()["app"]
	now := time.Now()
	s := f.dailyOf(db, controller.Retention{Daily: 1})
	f.had(past{database: db, schedule: s.ID, at: now, level: "content"})

	ids := f.had(past{database: db, schedule: s.ID, at: now.AddDate(0, 0, -9)}, past{database: db, schedule: s.ID, at: now.AddDate(0, 0, -8)})
	job := must[[]controller.Job](t)(f.CreateVerify(ctx, f.admin, controller.VerifyRequest{Backup: ids[0]}))[0]
	r := must[controller.Restore](t)(f.CreateRestore(ctx, f.admin, controller.RestoreRequest{Backup: ids[1], Database: "copy"}))
	res := f.clean(now, controller.CleanupRequest{})
	for _, id := range ids {
		if i := item(t, res, id); i.Action != retention.Keep || codes(i) != retention.OpenJob {
			t.Errorf("%+v", i)
		}
	}
	must[controller.Job](t)(f.CancelJob(ctx, f.admin, job.ID, ""))
	must[controller.Job](t)(f.CancelRestore(ctx, f.admin, r.ID, ""))
	equal(t, "removed when the jobs have ended", f.clean(now, controller.CleanupRequest{}).Removed, 2)

	var restored, removed int
	for range 25 {
		id := f.had(past{database: db, schedule: s.ID, at: now.AddDate(0, 0, -9)})[0]
		var wg sync.WaitGroup
		var restoreErr error
		var res controller.CleanupResult
		var restore controller.Restore
		wg.Go(func() {
			restore, restoreErr = f.CreateRestore(ctx, f.admin, controller.RestoreRequest{Backup: id, Database: "copy"})
		})
		wg.Go(func() { res = f.clean(now, controller.CleanupRequest{}) })
		wg.Wait()
		if restoreErr == nil {
			restored++
			equal(t, "a backup that is being restored is removed", f.backup(id).DeletedAt != nil, false)
			must[controller.Job](t)(f.CancelRestore(ctx, f.admin, restore.ID, ""))
			f.clean(now, controller.CleanupRequest{})
		} else {
			removed++
			f.refused(restoreErr, controller.EConflict, "deleted")
			equal(t, "removed", res.Removed, 1)
		}
	}
	t.Logf("%d were restored, %d removed", restored, removed)
	same(t, "the one with objects", f.kept([]int64{made.ID}), []int64{made.ID})
}

// TestFault75_Unfinished: retention touches nothing that is being made, whichever controller makes it.
func TestFault75_Unfinished(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app", "crm", "wiki")
	two := f.another("two")
	finishing := f.order("app")
	o := f.started(a)
	f.uploaded(a, o)
	must[[]controller.Finishing](t)(two.ClaimFinishing(ctx, 5))
	running := f.order("crm")
	f.started(a)
	queued := f.order("wiki")
	for range 3 {
		now := time.Now().AddDate(1, 0, 0)
		var wg sync.WaitGroup
		for _, c := range []retention.Store{f.Catalog, two} {
			wg.Go(func() {
				res, err := f.runner(c, func() time.Time { return now }).Clean(ctx, f.admin, controller.CleanupRequest{})
				if err != nil || len(res.Items) != 0 {
					t.Errorf("%+v, %v", res, err)
				}
			})
		}
		wg.Wait()
	}
	for _, was := range []controller.Backup{queued, running, finishing} {
		if b := f.backup(was.ID); b.DeletedAt != nil || controller.JobTerminal(f.job(b.JobID).Status) {
			t.Errorf("%+v", b)
		}
	}
	f.ok(two.CompleteBackup(ctx, o.Attempt, finished(o)))
	equal(t, "status", f.backup(finishing.ID).Status, controller.StatusCompleted)
}

// TestFault76_Edits: a policy that keeps nothing is refused, one that keeps less takes effect later and says so, and a schedule that is
// deleted keeps its backups.
func TestFault76_Edits(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	f.world("app")
	db := f.databases()["app"]
	now := time.Now()
	s := f.dailyOf(db, controller.Retention{Daily: 7})
	var ids []int64
	for i := range 7 {
		ids = append(ids, f.had(past{database: db, schedule: s.ID, at: now.AddDate(0, 0, -i), level: "content"})...)
	}
	slices.Sort(ids)
	equal(t, "removed before the edit", f.clean(now, controller.CleanupRequest{}).Removed, 0)

	zero, two := 0, 2
	_, err := f.UpdateSchedule(ctx, f.admin, s.ID, controller.ScheduleChange{RetentionDaily: &zero})
	f.refused(err, controller.EInvalid, "retention_days")
	s = must[controller.Schedule](t)(f.UpdateSchedule(ctx, f.admin, s.ID, controller.ScheduleChange{RetentionDaily: &two}))
	if s.ShorterAt == nil || s.ShorterAt.Sub(now.Add(controller.RetentionGrace)).Abs() > time.Minute {
		t.Fatalf("shorter at %v", s.ShorterAt)
	}
	for _, at := range []time.Time{now, s.ShorterAt.Add(-time.Minute)} {
		res := f.clean(at, controller.CleanupRequest{})
		if res.Removed != 0 || res.Postponed != 5 {
			t.Fatalf("at %s: %+v", at, res)
		}
		if i := item(t, res, ids[2]); !i.At.Equal(*s.ShorterAt) || !strings.Contains(text(t, i.Reasons), "by the policy before its change") {
			t.Fatalf("%+v", i)
		}
	}
	// Nor does a second edit make it shorter.
	one := 1
	s = must[controller.Schedule](t)(f.UpdateSchedule(ctx, f.admin, s.ID, controller.ScheduleChange{RetentionDaily: &one}))
	equal(t, "removed after a second edit", f.clean(now.Add(controller.RetentionGrace-time.Minute), controller.CleanupRequest{}).Removed, 0)
	equal(t, "removed after the grace", f.clean(s.ShorterAt.Add(time.Minute), controller.CleanupRequest{}).Removed, 6)
	same(t, "the newest", f.kept(ids), ids[:1])

	// What is not understood removes nothing.
	f.sql("UPDATE database_backups SET deleted_at = NULL, delete_after = NULL; UPDATE backup_schedules SET timezone = 'Mars/Olympus'")
	res := f.clean(now.AddDate(1, 0, 0), controller.CleanupRequest{})
	if i := item(t, res, ids[3]); res.Removed != 0 || codes(i) != retention.InvalidRules {
		t.Errorf("an unknown zone: %+v, %+v", res, i)
	}
	f.sql(`UPDATE backup_schedules SET timezone = 'UTC', retention_changes = '[{"retention_daily": 7, "timezone": "Mars/Olympus", "effective_at": "2026-01-01T00:00:00Z"}]'`)
	equal(t, "removed by a policy that cannot be read", f.clean(now.AddDate(1, 0, 0), controller.CleanupRequest{}).Removed, 0)
	f.sql("UPDATE backup_schedules SET retention_changes = '[]'")
	f.ok(f.DeleteSchedule(ctx, f.admin, s.ID))
	equal(t, "removed of a deleted schedule", f.clean(now.AddDate(1, 0, 0), controller.CleanupRequest{}).Removed, 0)
}

// TestCleanDatabase_TwoAtOnce: several clean-ups at once remove each backup once, and none more than one of them would.
func TestCleanDatabase_TwoAtOnce(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	names := []string{"a", "b", "c", "d"}
	f.world(names...)
	db := f.databases()
	now := time.Now()
	var rows []past
	for _, name := range names {
		s := f.dailyOf(db[name], controller.Retention{Daily: 5})
		for i := range 60 {
			rows = append(rows, past{database: db[name], schedule: s.ID, at: now.Add(-time.Duration(i) * 6 * time.Hour)})
		}
	}
	ids := f.had(rows...)
	plan := f.clean(now, controller.CleanupRequest{DryRun: true})
	stores := []retention.Store{f.Catalog, f.another("two"), f.another("three")}
	var wg sync.WaitGroup
	var mu sync.Mutex
	total := 0
	for _, store := range stores {
		wg.Go(func() {
			res, err := f.runner(store, func() time.Time { return now }).Clean(ctx, f.admin, controller.CleanupRequest{})
			mu.Lock()
			defer mu.Unlock()
			if err != nil || res.Failed != 0 {
				t.Errorf("%+v, %v", res, err)
			}
			total += res.Removed
		})
	}
	wg.Wait()
	equal(t, "removed in all", total, plan.Removed)
	equal(t, "left", len(f.kept(ids)), len(ids)-plan.Removed)
	equal(t, "audit entries", f.sql("SELECT count(*) || ' ' || count(DISTINCT subject) FROM audit_log WHERE action = 'backup.expire'"), fmt.Sprintf("%d %d", plan.Removed, plan.Removed))
	equal(t, "clean-ups that ended", f.sql("SELECT count(*) || ' ' || sum(removed) FROM cleanups WHERE kind = 'asked' AND ended_at IS NOT NULL AND failed = 0"), fmt.Sprintf("3 %d", plan.Removed))
}

// TestDeleteBackup_BesideRetention: people delete while retention does, and the last good one stays.
func TestDeleteBackup_BesideRetention(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	f.world("app")
	db := f.databases()["app"]
	two := f.another("two")
	now := time.Now()
	s := f.dailyOf(db, controller.Retention{Daily: 1})
	for round := range 12 {
		f.sql("UPDATE database_backups SET deleted_at = now(), delete_after = now() + interval '1 day' WHERE deleted_at IS NULL")
		var rows []past
		for i := range 6 {
			rows = append(rows, past{database: db, schedule: s.ID, at: now.AddDate(0, 0, -i)})
		}
		ids := f.had(rows...)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := f.runner(two, func() time.Time { return now }).Clean(ctx, f.admin, controller.CleanupRequest{}); err != nil {
				t.Error(err)
			}
		})
		for i, id := range ids {
			c := []*catalog.Catalog{f.Catalog, two}[i%2]
			wg.Go(func() {
				if _, err := c.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: id}); err != nil && controller.ErrorCode(err) != controller.EConflict {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if left := f.kept(ids); len(left) == 0 {
			t.Fatalf("round %d: nothing is left", round)
		}
	}
}

// TestCleanDatabase_Random: whatever there is and whatever is done to it, each group that had a restorable backup has one, nothing that
// was held, locked or in use was removed, and a plan that was carried out has nothing more to do.
func TestCleanDatabase_Random(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 7))
	f := open(t)
	ctx := t.Context()
	names := []string{"a", "b", "c"}
	_, a := f.world(names...)
	db := f.databases()
	second := f.storage("second", false)
	two := f.another("two")
	now := time.Now().Truncate(time.Second)
	pickOf := func(list ...string) string { return list[rnd.IntN(len(list))] }

	schedules := map[string][]controller.Schedule{}
	for _, name := range names {
		for range 2 {
			keep := controller.Retention{Days: rnd.IntN(20) * rnd.IntN(2), Hourly: rnd.IntN(4), Daily: 1 + rnd.IntN(5), Weekly: rnd.IntN(3), Monthly: rnd.IntN(3)}
			schedules[name] = append(schedules[name], f.dailyOf(db[name], keep))
		}
	}
	const group = "database_id, type, CASE WHEN type = 'scheduled' THEN schedule_id END, storage_id"
	const good = "status = 'completed' AND health = 'ok' AND deleted_at IS NULL"
	groups := func() string {
		return f.sql("SELECT DISTINCT concat_ws('/', database_id, type, CASE WHEN type = 'scheduled' THEN schedule_id END, storage_id) FROM database_backups WHERE %s ORDER BY 1", good)
	}
	for round := range 6 {
		var rows []past
		for range 40 + rnd.IntN(60) {
			name := names[rnd.IntN(len(names))]
			r := past{database: db[name], at: now.Add(-time.Duration(rnd.IntN(90*24*60)) * time.Minute), level: pickOf("", "", "", "", "content", "checksum")}
			r.kind = pickOf("scheduled", "scheduled", "scheduled", "manual", "pre_deploy")
			if r.kind == "scheduled" {
				r.schedule = schedules[name][rnd.IntN(2)].ID
			}
			if rnd.IntN(4) == 0 {
				r.storage = second.ID
			}
			r.health = pickOf("ok", "ok", "ok", "ok", "ok", "missing", "corrupt", "archived")
			r.status = pickOf("completed", "completed", "completed", "completed", "completed", "failed")
			r.held = rnd.IntN(10) == 0
			if rnd.IntN(10) == 0 {
				r.locked = now.Add(time.Duration(rnd.IntN(48)-24) * time.Hour)
			}
			rows = append(rows, r)
		}
		ids := f.had(rows...)
		for range 4 { // in use
			_, err := f.CreateVerify(ctx, f.admin, controller.VerifyRequest{Backup: ids[rnd.IntN(len(ids))]})
			if err != nil && controller.ErrorCode(err) != controller.EConflict {
				t.Fatal(err)
			}
		}
		for _, name := range names { // edited
			keep := 1 + rnd.IntN(6)
			must[controller.Schedule](t)(f.UpdateSchedule(ctx, f.admin, schedules[name][0].ID, controller.ScheduleChange{RetentionDaily: &keep}))
		}
		at := now.Add(time.Duration(rnd.IntN(5*24)) * time.Hour)
		was := groups()
		// Nobody deletes by hand in odd rounds: then the plan is what is carried out.
		plan := f.clean(at, controller.CleanupRequest{DryRun: true})
		var wg sync.WaitGroup
		for _, store := range []retention.Store{f.Catalog, two} {
			wg.Go(func() {
				if res, err := f.runner(store, func() time.Time { return at }).Clean(ctx, f.admin, controller.CleanupRequest{}); err != nil || res.Failed > 0 {
					t.Errorf("%+v, %v", res, err)
				}
			})
		}
		if round%2 == 0 {
			for range 6 {
				id := ids[rnd.IntN(len(ids))]
				wg.Go(func() {
					if _, err := two.HoldBackup(ctx, f.admin, id, "random"); err != nil && controller.ErrorCode(err) != controller.EConflict {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		if round%2 == 1 {
			removed := 0
			for _, i := range plan.Items {
				if i.Action == retention.Remove {
					removed++
					equal(t, fmt.Sprintf("backup %d, which was to be removed, is there", i.BackupID), f.sql("SELECT deleted_at IS NULL FROM database_backups WHERE id = %d", i.BackupID), "f")
				}
			}
			if removed == 0 {
				t.Errorf("round %d removed nothing", round)
			}
		}
		if is := groups(); is != was {
			t.Errorf("round %d: groups with a restorable backup were\n%s\nand are\n%s", round, was, is)
		}
		equal(t, "held, locked or in use, and removed", f.sql(`SELECT count(*) FROM database_backups b WHERE deleted_at IS NOT NULL AND (held_at IS NOT NULL
			OR locked_until > '%s' OR EXISTS (SELECT FROM jobs j WHERE j.backup_id = b.id AND j.status = 'queued'))`, at.UTC().Format(time.RFC3339)), "0")
		equal(t, "damaged, archived or failed, and removed", f.sql("SELECT count(*) FROM database_backups WHERE deleted_at IS NOT NULL AND NOT (status = 'completed' AND health = 'ok')"), "0")
		// The newest of each group, and the newest that was verified or the oldest, are there.
		equal(t, "groups without their newest", f.sql(`SELECT count(*) FROM (SELECT DISTINCT ON (%s) deleted_at FROM database_backups WHERE status = 'completed' AND health = 'ok'
			ORDER BY %s, completed_at DESC, id DESC) n WHERE deleted_at IS NOT NULL`, group, group), "0")
		equal(t, "groups without their newest that was verified", f.sql(`SELECT count(*) FROM (SELECT DISTINCT ON (%s) deleted_at FROM database_backups
			WHERE status = 'completed' AND health = 'ok' AND verified_level = 'content' ORDER BY %s, completed_at DESC, id DESC) n WHERE deleted_at IS NOT NULL`, group, group), "0")
		equal(t, "removed by a second run", f.clean(at, controller.CleanupRequest{}).Removed, 0)
		for _, o := range must[[]controller.Offer](t)(f.ClaimOffers(ctx, 50)) { // some end
			r := fails(wire.CodeToolMissing)
			r.Attempt = o.Attempt
			f.ok(f.AttemptAccepted(ctx, o.Attempt, a.session))
			f.ok(f.ReportDone(ctx, a.AgentID, a.session, r))
		}
		now = at
	}
}
