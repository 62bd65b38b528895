package catalog_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// schedule makes a schedule; without a frequency it is hourly, without a project that of the world.
func (f *fix) schedule(spec controller.ScheduleSpec) controller.Schedule {
	f.Helper()
	if spec.Project == "" {
		spec.Project = "shop"
	}
	if spec.Frequency == "" {
		spec.Frequency = controller.FrequencyHourly
	}
	return must[controller.Schedule](f)(f.CreateSchedule(f.Context(), f.admin, spec))
}

func (f *fix) scheduleOf(id int64) controller.Schedule {
	f.Helper()
	return must[controller.Schedule](f)(f.Schedule(f.Context(), f.admin, id))
}

// planned is a schedule as the scheduler reads it.
func (f *fix) planned(id int64) controller.DueSchedule {
	f.Helper()
	for _, d := range must[[]controller.DueSchedule](f)(f.ActiveSchedules(f.Context(), id-1, 1)) {
		if d.ID == id {
			return d
		}
	}
	f.Fatalf("schedule %d is not active", id)
	return controller.DueSchedule{}
}

// tick is the tick that runs a schedule's next occurrence when it is due.
func (f *fix) tick(id int64) controller.Tick {
	f.Helper()
	d := f.planned(id)
	a, err := d.Agenda()
	f.ok(err)
	run := a.Due(d.RecordedUntil)
	return controller.Tick{ScheduleID: id, RecordedUntil: d.RecordedUntil, Now: run.Due, Run: &run, Until: run.At, Next: a.Due(run.At)}
}

// occur runs a schedule's next occurrence and returns its record.
func (f *fix) occur(id int64) controller.ScheduleOccurrence {
	f.Helper()
	tick := f.tick(id)
	if res := must[controller.TickResult](f)(f.RecordTick(f.Context(), tick)); res.Stale {
		f.Fatal("the tick was stale")
	}
	newest := f.occurrences(id)[0]
	if !newest.At.Equal(tick.Run.At) {
		f.Fatalf("newest occurrence is %s, want %s", newest.At, tick.Run.At)
	}
	return newest
}

func (f *fix) occurrences(id int64) []controller.ScheduleOccurrence {
	f.Helper()
	return must[[]controller.ScheduleOccurrence](f)(f.Occurrences(f.Context(), f.admin, id, time.Time{}, 200))
}

// outcomes are the databases of an occurrence as "name state code".
func outcomes(o controller.ScheduleOccurrence) string {
	var out []string
	for _, d := range o.Databases {
		out = append(out, strings.TrimSpace(d.DatabaseName+" "+d.State+" "+d.Code))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// orderedBackup completes or fails the one backup that waits, whenever it was to begin.
func (f *fix) orderedBackup(a *agent, fail bool) controller.Backup {
	f.Helper()
	f.sql("UPDATE jobs SET not_before = now(), max_attempts = 1 WHERE status = 'queued'")
	o := f.started(a)
	if fail {
		r := fails(wire.CodeToolFailed)
		r.Attempt = o.Attempt
		f.ok(f.ReportDone(f.Context(), a.AgentID, a.session, r))
		return f.backup(o.Backup.ID)
	}
	f.uploaded(a, o)
	equal(f, "uploads to finish", len(must[[]controller.Finishing](f)(f.ClaimFinishing(f.Context(), 5))), 1)
	f.ok(f.CompleteBackup(f.Context(), o.Attempt, finished(o)))
	return f.backup(o.Backup.ID)
}

func TestCreateSchedule(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	f.world("app", "other")
	storage := f.storage("second", false)
	on := true
	s := f.schedule(controller.ScheduleSpec{
		Target: controller.Target{Database: controller.DatabaseRef{Name: "app"}},
		Timing: controller.Timing{Frequency: "weekly", Time: "02:30", DayOfWeek: ptr(0), DayOfMonth: ptr(1), Timezone: "Europe/Berlin"}, Storage: "second", Encrypt: &on,
		Compression: "gzip", Level: 6, VerifyAfter: "checksum", RetentionDays: ptr(5), SpreadSeconds: ptr(int64(0)), CatchUpSeconds: ptr(int64(3600)), MaxDurationSeconds: 60,
	})
	if s.Scope != controller.ScopeDatabase || s.DatabaseName != "app" || s.DatabaseType != wire.EnginePostgreSQL || s.Server != "db-7" || s.Instance != "main" || *s.StorageID != storage.ID ||
		s.Storage != "second" || s.VerifyAfter != "checksum" || s.Days != 5 || s.Daily != 7 || !*s.Encrypt || s.Compression != "gzip" || s.MaxDurationSeconds != 60 || !s.IsActive ||
		!s.NotifyOnFailure || *s.CatchUpSeconds != 3600 || s.Label() != "Weekly on Sunday at 02:30 (Europe/Berlin)" || s.LastRunAt != nil || s.PausedReason != "" || s.ShorterAt != nil {
		t.Errorf("schedule is %+v", s)
	}
	next, err := s.Next(s.CreatedAt)
	f.ok(err)
	if s.NextOccurrence == nil || !s.NextOccurrence.Equal(next) || !s.NextRunAt.Equal(next) {
		t.Errorf("next occurrence is %v at %v, want %v without spread", s.NextOccurrence, s.NextRunAt, next)
	}
	whole := f.schedule(controller.ScheduleSpec{Timing: controller.Timing{Frequency: "daily", Time: "02:00"}})
	if whole.Scope != controller.ScopeProject || whole.DatabaseID != nil || whole.Storage != "" || whole.Compression != "zstd" || whole.VerifyAfter != "none" {
		t.Errorf("schedule of a project is %+v", whole)
	}
	if d := whole.NextRunAt.Sub(*whole.NextOccurrence); d < 0 || d >= controller.DefaultSpread {
		t.Errorf("it is spread by %s", d)
	}
	inactive := f.schedule(controller.ScheduleSpec{IsActive: ptr(false)})
	if inactive.NextRunAt != nil || inactive.NextOccurrence != nil || inactive.IsActive {
		t.Errorf("inactive schedule is planned: %+v", inactive)
	}
	list := must[[]controller.Schedule](t)(f.Schedules(ctx, f.admin, controller.ScheduleFilter{Project: "shop", Limit: 2}))
	equal(t, "first page", len(list), 2)
	equal(t, "second page", len(must[[]controller.Schedule](t)(f.Schedules(ctx, f.admin, controller.ScheduleFilter{AfterID: list[1].ID, Limit: 2}))), 1)
	equal(t, "audit rows", f.sql("SELECT count(*) FROM audit_log WHERE action = 'schedule.create' AND project_id IS NOT NULL"), "3")
}

func TestCreateSchedule_Refused(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	f.world("app", "twin")
	b := f.enrol("db-8", controller.Project{Slug: "shop"})
	f.hello(b)
	f.found(b, "twin", "free")
	must[controller.Database](t)(f.AssignDatabase(ctx, f.admin, controller.DatabaseRef{Name: "twin", Server: "db-8"}, "shop"))
	f.project("other")
	f.localStorage("host", false)
	hourly := controller.Timing{Frequency: "hourly"}
	name := func(n string) controller.Target { return controller.Target{Database: controller.DatabaseRef{Name: n}} }
	for what, c := range map[string]struct {
		spec  controller.ScheduleSpec
		code  string
		words []string
	}{
		"no such project":   {controller.ScheduleSpec{Project: "nope", Timing: hourly}, controller.ENotFound, []string{`"nope"`}},
		"no frequency":      {controller.ScheduleSpec{}, controller.EInvalid, []string{"frequency"}},
		"no such zone":      {controller.ScheduleSpec{Timing: controller.Timing{Frequency: "hourly", Timezone: "Mars/Olympus"}}, controller.EInvalid, []string{"timezone", "Mars/Olympus"}},
		"bad cron":          {controller.ScheduleSpec{Timing: controller.Timing{Frequency: "cron", Cron: "61 * * * *"}}, controller.EInvalid, []string{"cron", "61"}},
		"keeps nothing":     {controller.ScheduleSpec{Timing: hourly, RetentionDays: ptr(0), RetentionHourly: ptr(0), RetentionDaily: ptr(0), RetentionWeekly: ptr(0), RetentionMonthly: ptr(0)}, controller.EInvalid, []string{"retention_days"}},
		"unknown database":  {controller.ScheduleSpec{Timing: hourly, Target: name("apq")}, controller.ENotFound, []string{`"apq"`, `"app"`}},
		"not assigned":      {controller.ScheduleSpec{Timing: hourly, Target: name("free")}, controller.EConflict, []string{"not assigned", "db-8"}},
		"ambiguous":         {controller.ScheduleSpec{Timing: hourly, Target: name("twin")}, controller.EConflict, []string{"db-7", "db-8"}},
		"other project's":   {controller.ScheduleSpec{Project: "other", Timing: hourly, Target: name("app")}, controller.EConflict, []string{"app", "shop"}},
		"wrong engine":      {controller.ScheduleSpec{Timing: hourly, Target: controller.Target{Database: controller.DatabaseRef{Name: "app"}, DatabaseType: "mysql"}}, controller.EInvalid, []string{"database_type"}},
		"no such storage":   {controller.ScheduleSpec{Timing: hourly, Storage: "nope"}, controller.ENotFound, []string{`"nope"`}},
		"wrong disk":        {controller.ScheduleSpec{Timing: hourly, Storage: "s3", StorageDisk: "local"}, controller.EInvalid, []string{"storage_disk"}},
		"no such id":        {controller.ScheduleSpec{Timing: hourly, Target: controller.Target{Database: controller.DatabaseRef{ID: 99999}}}, controller.ENotFound, []string{"99999"}},
		"bad verification":  {controller.ScheduleSpec{Timing: hourly, VerifyAfter: "twice"}, controller.EInvalid, []string{"verify_after"}},
		"compression level": {controller.ScheduleSpec{Timing: hourly, Compression: "gzip", Level: 12}, controller.EInvalid, []string{"level"}},
	} {
		if c.spec.Project == "" {
			c.spec.Project = "shop"
		}
		_, err := f.CreateSchedule(ctx, f.admin, c.spec)
		if controller.ErrorCode(err) != c.code {
			t.Errorf("%s: %v, want %s", what, err, c.code)
			continue
		}
		for _, w := range c.words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q does not say %q", what, err, w)
			}
		}
	}
	equal(t, "schedules that were made", f.sql("SELECT count(*) FROM backup_schedules"), "0")
	f.schedule(controller.ScheduleSpec{Target: controller.Target{Scope: "default"}})
	_, err := f.CreateSchedule(ctx, f.admin, controller.ScheduleSpec{Project: "shop", Timing: hourly, Target: controller.Target{Scope: "default"}})
	f.refused(err, controller.EConflict, "default schedule", "shop")
	equal(t, "twin of one server", f.schedule(controller.ScheduleSpec{Target: controller.Target{Database: controller.DatabaseRef{Name: "twin", Server: "db-8"}}}).Server, "db-8")
}

func TestUpdateSchedule(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	f.world("app")
	s := f.schedule(controller.ScheduleSpec{Timing: controller.Timing{Frequency: "daily", Time: "02:00"}})
	update := func(change controller.ScheduleChange) controller.Schedule {
		t.Helper()
		return must[controller.Schedule](t)(f.UpdateSchedule(ctx, f.admin, s.ID, change))
	}
	// An occurrence that has passed, and is not due yet for its spread, is recorded when the timing is changed.
	f.sql("UPDATE backup_schedules SET recorded_until = now() - interval '25 hours'")
	soon := f.sql("SELECT to_char(now() AT TIME ZONE 'UTC' + interval '2 hours', 'HH24:MI')")
	changed := update(controller.ScheduleChange{Time: &soon, Storage: ptr("s3")})
	if wait := time.Until(*changed.NextOccurrence); wait < 118*time.Minute || wait > 121*time.Minute {
		t.Errorf("changed to two hours from now, it occurs in %s", wait)
	}
	equal(t, "storage", changed.Storage, "s3")
	records := f.occurrences(s.ID)
	if len(records) == 0 {
		t.Error("what the old timing left is not recorded")
	}
	for _, o := range records {
		if o.State != controller.OccurrenceMissed || o.Code != controller.MissedChanged || !strings.Contains(o.Reason, "changed") || o.At.Hour() != 2 {
			t.Errorf("record is %+v", o)
		}
	}
	// A spread moves only when it is due.
	before := f.planned(s.ID).RecordedUntil
	moved := update(controller.ScheduleChange{SpreadSeconds: ptr(ptr(int64(0)))})
	if !moved.NextRunAt.Equal(*moved.NextOccurrence) || !moved.NextOccurrence.Equal(*changed.NextOccurrence) || !f.planned(s.ID).RecordedUntil.Equal(before) {
		t.Errorf("without spread it is due at %s, occurs at %s", moved.NextRunAt, moved.NextOccurrence)
	}
	// Deactivated it does not occur; activated it goes on from now.
	if off := update(controller.ScheduleChange{IsActive: ptr(false)}); off.IsActive || off.NextRunAt != nil || off.NextOccurrence != nil {
		t.Errorf("deactivated it is %+v", off)
	}
	f.sql("UPDATE backup_schedules SET recorded_until = now() - interval '3 days'")
	n := len(f.occurrences(s.ID))
	if again := update(controller.ScheduleChange{IsActive: ptr(true)}); again.NextRunAt == nil || again.NextRunAt.Before(time.Now()) {
		t.Errorf("activated it is %+v", again)
	}
	if got := f.planned(s.ID).RecordedUntil; time.Since(got) > time.Minute || len(f.occurrences(s.ID)) != n {
		t.Errorf("activated it goes on from %s", got)
	}
	// Refused: the field is named and nothing changes.
	for field, change := range map[string]controller.ScheduleChange{
		"time": {Time: ptr("25:00")}, "timezone": {Timezone: ptr("Nowhere")}, "cron": {Cron: ptr("x"), Frequency: ptr("cron")}, "verify_after": {VerifyAfter: ptr("x")},
		"day_of_week": {Frequency: ptr("weekly")}, "storage_disk": {Storage: ptr("s3"), StorageDisk: ptr("local")}, "level": {Level: ptr(77)},
		"spread_seconds": {SpreadSeconds: ptr(ptr(int64(-1)))}, "encryption": {Encryption: ptr("rot13")},
	} {
		_, err := f.UpdateSchedule(ctx, f.admin, s.ID, change)
		f.refused(err, controller.EInvalid, field)
	}
	_, err := f.UpdateSchedule(ctx, f.admin, s.ID+1000, controller.ScheduleChange{})
	f.refused(err, controller.ENotFound)
	var detail map[string]any
	f.ok(json.Unmarshal([]byte(f.sql("SELECT detail FROM audit_log WHERE action = 'schedule.update' ORDER BY id LIMIT 1")), &detail))
	if detail["time"] != soon || detail["is_active"] != nil {
		t.Errorf("audit tells %v", detail)
	}
}

// TestFault76_ShorterRetention: a policy that is made shorter takes effect after the grace and says so; a longer one at once.
func TestFault76_ShorterRetention(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	f.world("app")
	s := f.schedule(controller.ScheduleSpec{Timing: controller.Timing{Frequency: "daily", Time: "02:00"}})
	longer := must[controller.Schedule](t)(f.UpdateSchedule(ctx, f.admin, s.ID, controller.ScheduleChange{RetentionDays: ptr(60)}))
	if longer.Days != 60 || longer.ShorterAt != nil {
		t.Errorf("longer: %d days, %v", longer.Days, longer.ShorterAt)
	}
	shorter := must[controller.Schedule](t)(f.UpdateSchedule(ctx, f.admin, s.ID, controller.ScheduleChange{RetentionDays: ptr(2)}))
	if shorter.Days != 2 || shorter.ShorterAt == nil || time.Until(*shorter.ShorterAt).Round(time.Minute) != controller.RetentionGrace {
		t.Fatalf("shorter: %d days, from %v", shorter.Days, shorter.ShorterAt)
	}
	equal(t, "days kept until then", f.sql("SELECT retention_changes->0->>'retention_days' FROM backup_schedules"), "60")
	// Another edit does not forget it; one of something else does not touch it.
	must[controller.Schedule](t)(f.UpdateSchedule(ctx, f.admin, s.ID, controller.ScheduleChange{Level: ptr(3)}))
	must[controller.Schedule](t)(f.UpdateSchedule(ctx, f.admin, s.ID, controller.ScheduleChange{RetentionDays: ptr(1)}))
	equal(t, "days kept until then", f.sql("SELECT retention_changes->0->>'retention_days' FROM backup_schedules"), "60")
	_, err := f.UpdateSchedule(ctx, f.admin, s.ID, controller.ScheduleChange{RetentionDays: ptr(0), RetentionDaily: ptr(0), RetentionWeekly: ptr(0), RetentionMonthly: ptr(0)})
	f.refused(err, controller.EInvalid, "retention_days")
	_, err = f.UpdateSchedule(ctx, f.admin, s.ID, controller.ScheduleChange{RetentionDays: ptr(3000)})
	f.refused(err, controller.EInvalid, "retention_days", "3000")
}

// TestMistake08_FiresToday: a schedule that is made an hour before its time occurs in an hour, not a day later.
func TestMistake08_FiresToday(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.world("app")
	for _, zone := range []string{"UTC", "Asia/Kolkata"} {
		in := f.sql("SELECT to_char(now() AT TIME ZONE '%s' + interval '1 hour', 'HH24:MI')", zone)
		s := f.schedule(controller.ScheduleSpec{Timing: controller.Timing{Frequency: "daily", Time: in, Timezone: zone}})
		if wait := s.NextOccurrence.Sub(s.CreatedAt); wait > time.Hour || wait < 59*time.Minute {
			t.Errorf("made for an hour from now in %s it occurs in %s", zone, wait)
		}
	}
}

// TestMistake13_NotBesideItself: a backup that takes longer than the interval is not started again beside itself; that is recorded.
func TestMistake13_NotBesideItself(t *testing.T) {
	t.Parallel()
	f := open(t)
	_, a := f.world("app")
	s := f.schedule(controller.ScheduleSpec{Target: controller.Target{Database: controller.DatabaseRef{Name: "app"}}})
	first := f.occur(s.ID)
	if first.State != controller.OccurrenceRun || first.Code != "" || outcomes(first) != "app run" || first.Late {
		t.Fatalf("first occurrence is %+v", first)
	}
	b := f.backup(*first.Databases[0].BackupID)
	if b.Type != controller.TypeScheduled || *b.ScheduleID != s.ID || !b.OccurrenceAt.Equal(first.At) || b.Status != controller.StatusPending {
		t.Errorf("backup is %+v", b)
	}
	f.sql("UPDATE jobs SET not_before = now()")
	f.started(a)
	for range 2 {
		next := f.occur(s.ID)
		if next.State != controller.OccurrenceSkipped || next.Code != controller.SkippedOverlap || outcomes(next) != "app skipped overlap" ||
			!strings.Contains(next.Reason, fmt.Sprintf("backup %d of \"app\" is still running, since", b.ID)) {
			t.Errorf("while it runs: %+v", next)
		}
	}
	equal(t, "backups", f.sql("SELECT count(*) FROM database_backups"), "1")
	last := f.scheduleOf(s.ID)
	if !last.LastRunAt.Equal(first.At) || !last.NextOccurrence.Equal(first.At.Add(3*time.Hour)) {
		t.Errorf("last run %s, next %s", last.LastRunAt, last.NextOccurrence)
	}
}

// TestRecordTick_Job: what a scheduled job is made of, and until when it waits for its host.
func TestRecordTick_Job(t *testing.T) {
	t.Parallel()
	f := open(t)
	_, a := f.world("app")
	other := f.storage("other", false)
	s := f.schedule(controller.ScheduleSpec{
		Storage: "other", Compression: "gzip", Level: 3, Encryption: "none", MaxDurationSeconds: 7200, VerifyAfter: "content", CatchUpSeconds: ptr(int64(600)),
	})
	tick := f.tick(s.ID)
	tick.Run.Due = tick.Run.At.Add(7 * time.Minute)
	tick.Late = true
	res := must[controller.TickResult](t)(f.RecordTick(t.Context(), tick))
	equal(t, "result", res, controller.TickResult{Run: 1})
	o := f.occurrences(s.ID)[0]
	b := f.backup(*o.Databases[0].BackupID)
	if !o.Late || b.StorageID != other.ID || b.Compression != "gzip" || b.Level != 3 || b.Encryption != "none" || b.VerifyAfter != "content" {
		t.Errorf("occurrence %+v ordered %+v", o, b)
	}
	equal(t, "job", f.sql("SELECT max_duration_seconds, extract(epoch FROM not_before - '%s')::int, extract(epoch FROM deadline_at - not_before)::int, created_by FROM jobs", tick.Run.At.Format(time.RFC3339)),
		fmt.Sprintf("7200|420|600|schedule %d", s.ID))
	equal(t, "audit", f.sql("SELECT actor, result, detail->>'schedule_id' FROM audit_log WHERE action = 'backup.create'"), fmt.Sprintf("schedule %d|accepted|%d", s.ID, s.ID))
	// Its catch-up bounds how long it waits, not how long it runs.
	f.sql("UPDATE jobs SET not_before = now(), deadline_at = now() + interval '10 minutes'")
	if offer := f.started(a); offer.MaxDuration != 2*time.Hour {
		t.Errorf("it may run for %s", offer.MaxDuration)
	}
	// The same tick again, of a controller that was paused, changes nothing.
	equal(t, "stale", must[controller.TickResult](t)(f.RecordTick(t.Context(), tick)), controller.TickResult{Stale: true})
	equal(t, "occurrences", len(f.occurrences(s.ID)), 1)
}

// TestRecordTick_Outcomes: one schedule over databases in every state; each has its record.
func TestRecordTick_Outcomes(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	p, a := f.world("good", "busy", "gone", "paused-by-nobody")
	gone := f.enrol("db-off", p)
	f.hello(gone)
	f.found(gone, "off")
	revoked := f.enrol("db-revoked", p)
	f.hello(revoked)
	f.found(revoked, "revoked")
	held := f.enrol("db-paused", p)
	f.hello(held)
	f.found(held, "held")
	for _, d := range []string{"off", "revoked", "held"} {
		must[controller.Database](t)(f.AssignDatabase(ctx, f.admin, controller.DatabaseRef{Name: d}, p.Slug))
	}
	f.order("busy")
	f.started(a)
	f.order("off")
	f.sql("UPDATE servers SET last_seen_at = now() - interval '1 day' WHERE name = 'db-off'")
	f.found(a, "good", "busy", "paused-by-nobody")
	must[controller.Server](t)(f.RevokeServer(ctx, f.admin, "db-revoked"))
	must[controller.Pause](t)(f.CreatePause(ctx, f.admin, controller.PauseSpec{Server: "db-paused", Reason: "new disks"}))
	s := f.schedule(controller.ScheduleSpec{})
	o := f.occur(s.ID)
	equal(t, "outcomes", outcomes(o), "busy skipped overlap, gone missed database_missing, good run, held missed paused, off missed offline, paused-by-nobody run, revoked missed server_revoked")
	if o.State != controller.OccurrenceRun || !strings.HasPrefix(o.Reason, "5 of 7 databases: ") {
		t.Errorf("occurrence is %s %s %q", o.State, o.Code, o.Reason)
	}
	for _, d := range o.Databases {
		for name, words := range map[string]string{
			"gone": "no longer finds", "off": "still waits for the agent on db-off, offline since ", "held": "server db-paused is paused: new disks", "revoked": `server "db-revoked" is revoked`,
		} {
			if d.DatabaseName == name && !strings.Contains(d.Reason, words) {
				t.Errorf("reason of %s is %q", name, d.Reason)
			}
		}
		if (d.State == controller.OccurrenceRun) != (d.BackupID != nil) || d.State == controller.OccurrenceRun && d.Status != controller.StatusPending {
			t.Errorf("outcome is %+v", d)
		}
	}
	// A host that is only offline gets its job, which waits for it.
	f.sql("UPDATE jobs SET status = 'failed'; UPDATE database_backups SET status = 'failed'")
	equal(t, "outcomes without open jobs", outcomes(f.occur(s.ID)), "busy run, gone missed database_missing, good run, held missed paused, off run, paused-by-nobody run, revoked missed server_revoked")
	// A storage that fails is a reason too.
	f.sql("UPDATE jobs SET status = 'failed'; UPDATE database_backups SET status = 'failed'; UPDATE storages SET probe_ok = false")
	o = f.occur(s.ID)
	if o.State != controller.OccurrenceMissed || !strings.Contains(outcomes(o), "good missed refused") || !strings.Contains(o.Reason, "7 of 7 databases") {
		t.Errorf("with a failing storage: %+v", o)
	}
	// Nothing at all.
	empty := f.schedule(controller.ScheduleSpec{Target: controller.Target{Pattern: "nope_*"}})
	o = f.occur(empty.ID)
	if o.State != controller.OccurrenceMissed || o.Code != controller.MissedNothing || len(o.Databases) != 0 {
		t.Errorf("nothing covered: %+v", o)
	}
	// The one database of a schedule that was given away.
	one := f.schedule(controller.ScheduleSpec{Target: controller.Target{Database: controller.DatabaseRef{Name: "good"}}})
	must[controller.Database](t)(f.UnassignDatabase(ctx, f.admin, controller.DatabaseRef{Name: "good"}))
	o = f.occur(one.ID)
	if o.Code != controller.MissedDatabase || outcomes(o) != "good missed database_missing" || !strings.Contains(o.Reason, "no longer assigned") {
		t.Errorf("unassigned: %+v", o)
	}
}

// TestSchedule_Covers: targets, and a project's default for what no other schedule covers.
func TestSchedule_Covers(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	_, a := f.world("shop_one", "shop_two", "blog")
	recipient, identity := ageKey(t)
	other := must[controller.Project](t)(f.CreateProject(ctx, f.admin, controller.ProjectSpec{
		Slug: "fresh", DefaultSchedule: &controller.ScheduleSpec{Timing: controller.Timing{Frequency: "daily", Time: "02:00"}, RetentionDays: ptr(7)},
	}, recipient, []byte(identity), nil))
	made := must[[]controller.Schedule](t)(f.Schedules(ctx, f.admin, controller.ScheduleFilter{Project: other.Slug}))
	if len(made) != 1 || made[0].Scope != controller.ScopeDefault || made[0].Days != 7 || made[0].NextRunAt == nil {
		t.Fatalf("default schedule of a new project: %+v", made)
	}
	equal(t, "of no database", f.occur(made[0].ID).Code, controller.MissedNothing)
	// A database that is assigned later is covered.
	f.ok(f.GrantServer(ctx, f.admin, "fresh", "db-7"))
	f.found(a, "shop_one", "shop_two", "blog", "late")
	must[controller.Database](t)(f.AssignDatabase(ctx, f.admin, controller.DatabaseRef{Name: "late"}, "fresh"))
	equal(t, "of a database assigned later", outcomes(f.occur(made[0].ID)), "late run")

	rest := f.schedule(controller.ScheduleSpec{Target: controller.Target{Scope: controller.ScopeDefault}})
	pattern := f.schedule(controller.ScheduleSpec{Target: controller.Target{Pattern: "shop_*"}})
	equal(t, "of the pattern", outcomes(f.occur(pattern.ID)), "shop_one run, shop_two run")
	equal(t, "of the default", outcomes(f.occur(rest.ID)), "blog run")
	f.sql("UPDATE jobs SET status = 'failed'; UPDATE database_backups SET status = 'failed'")
	must[controller.Schedule](t)(f.UpdateSchedule(ctx, f.admin, pattern.ID, controller.ScheduleChange{IsActive: ptr(false)}))
	one := f.schedule(controller.ScheduleSpec{Target: controller.Target{Database: controller.DatabaseRef{Name: "blog"}}})
	equal(t, "of the default without the pattern", outcomes(f.occur(rest.ID)), "shop_one run, shop_two run")
	f.ok(f.DeleteSchedule(ctx, f.admin, one.ID))
	f.sql("UPDATE jobs SET status = 'failed'; UPDATE database_backups SET status = 'failed'")
	equal(t, "of the default alone", outcomes(f.occur(rest.ID)), "blog run, shop_one run, shop_two run")
	none := f.schedule(controller.ScheduleSpec{Target: controller.Target{DatabaseType: "mysql"}})
	equal(t, "of another engine", f.occur(none.ID).Code, controller.MissedNothing)
	_, err := f.UpdateProject(ctx, f.admin, "fresh", controller.ProjectSpec{DefaultSchedule: &controller.ScheduleSpec{}})
	f.refused(err, controller.EInvalid, "default_schedule")
	_, err = f.CreateProject(ctx, f.admin, controller.ProjectSpec{Slug: "bad", DefaultSchedule: &controller.ScheduleSpec{Timing: controller.Timing{Frequency: "daily", Time: "2"}}}, recipient, []byte(identity), nil)
	f.refused(err, controller.EInvalid, "default_schedule.time")
}

// TestDeleteSchedule: it ends, its backups and records stay; those of a project end with it.
func TestDeleteSchedule(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	p, a := f.world("app")
	s := f.schedule(controller.ScheduleSpec{})
	o := f.occur(s.ID)
	b := f.orderedBackup(a, false)
	equal(t, "backup", b.ID, *o.Databases[0].BackupID)
	stale := f.tick(s.ID)
	f.ok(f.DeleteSchedule(ctx, f.admin, s.ID))
	f.refused(f.DeleteSchedule(ctx, f.admin, s.ID), controller.ENotFound)
	_, err := f.Schedule(ctx, f.admin, s.ID)
	f.refused(err, controller.ENotFound)
	_, err = f.RunSchedule(ctx, f.admin, s.ID)
	f.refused(err, controller.ENotFound)
	equal(t, "schedules", len(must[[]controller.Schedule](t)(f.Schedules(ctx, f.admin, controller.ScheduleFilter{}))), 0)
	equal(t, "records", len(f.occurrences(s.ID)), 1)
	equal(t, "backups of it", len(must[[]controller.Backup](t)(f.Backups(ctx, f.admin, controller.BackupFilter{Schedule: s.ID}))), 1)
	equal(t, "tick of a deleted one", must[controller.TickResult](t)(f.RecordTick(ctx, stale)), controller.TickResult{Stale: true})
	two := f.schedule(controller.ScheduleSpec{})
	f.ok(f.DeleteProject(ctx, f.admin, p.Slug))
	equal(t, "active schedules of a deleted project", f.sql("SELECT count(*) FROM backup_schedules WHERE is_active OR next_run_at IS NOT NULL"), "0")
	_, err = f.Schedule(ctx, f.admin, two.ID)
	f.refused(err, controller.ENotFound)
}

// TestRunSchedule orders what it covers as manual backups of it; no occurrence is used up, and a pause does not hold.
func TestRunSchedule(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app", "busy")
	s := f.schedule(controller.ScheduleSpec{Compression: "gzip", Level: 2, VerifyAfter: "checksum", MaxDurationSeconds: 99, IsActive: ptr(false)})
	must[controller.Pause](t)(f.CreatePause(ctx, f.admin, controller.PauseSpec{Scope: "everything", Reason: "audit"}))
	f.order("busy")
	f.started(a)
	out := must[[]controller.BackupOutcome](t)(f.RunSchedule(ctx, f.admin, s.ID))
	if len(out) != 2 || out[0].Backup == nil || out[1].Err == nil || out[1].Err.Code != controller.EConflict {
		t.Fatalf("outcomes are %+v", out)
	}
	b := out[0].Backup
	if b.Type != controller.TypeManual || *b.ScheduleID != s.ID || b.OccurrenceAt != nil || b.Compression != "gzip" || b.VerifyAfter != "checksum" {
		t.Errorf("backup is %+v", b)
	}
	equal(t, "duration", f.sql("SELECT max_duration_seconds FROM jobs WHERE id = %d", b.JobID), "99")
	equal(t, "occurrences", len(f.occurrences(s.ID)), 0)
	one := f.schedule(controller.ScheduleSpec{Target: controller.Target{Database: controller.DatabaseRef{Name: "busy"}}})
	_, err := f.RunSchedule(ctx, f.admin, one.ID)
	f.refused(err, controller.EConflict, "busy")
	none := f.schedule(controller.ScheduleSpec{Target: controller.Target{Pattern: "x*"}})
	_, err = f.RunSchedule(ctx, f.admin, none.ID)
	f.refused(err, controller.EConflict, "nothing to back up")
	equal(t, "audit", f.sql("SELECT count(*), min(result) FROM audit_log WHERE action = 'schedule.run'"), "1|accepted")
}

// TestVerifyAfter: a completed backup is verified as it was ordered, and its schedule's retention is applied.
func TestVerifyAfter(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app")
	s := f.schedule(controller.ScheduleSpec{VerifyAfter: "content"})
	f.occur(s.ID)
	equal(t, "clean-up before", f.sql("SELECT cleanup_at IS NULL FROM backup_schedules"), "t")
	b := f.orderedBackup(a, false)
	equal(t, "status", b.Status, controller.StatusCompleted)
	equal(t, "verification", f.sql("SELECT kind, level, status, created_by FROM jobs WHERE backup_id = %d AND kind <> 'backup'", b.ID), fmt.Sprintf("verify|content|queued|schedule %d", s.ID))
	equal(t, "clean-up after", f.sql("SELECT cleanup_at <= now() FROM backup_schedules"), "t")
	f.sql("UPDATE jobs SET status = 'completed'")
	manual := f.completedAs(a, controller.BackupRequest{Database: "app", VerifyAfter: "checksum"})
	equal(t, "verification of a manual one", f.sql("SELECT level FROM jobs WHERE backup_id = %d AND kind = 'verify'", manual.ID), "checksum")
	_, err := f.CreateBackups(ctx, f.admin, controller.BackupRequest{Database: "app", VerifyAfter: "x"})
	f.refused(err, controller.EInvalid, "verify_after")
	// Nobody can verify: the backup is completed nevertheless.
	f.sql("UPDATE jobs SET status = 'completed'")
	f.occur(s.ID)
	f.sql("UPDATE jobs SET not_before = now() WHERE status = 'queued'")
	o := f.started(a)
	f.uploaded(a, o)
	must[[]controller.Finishing](t)(f.ClaimFinishing(ctx, 5))
	f.sql("DELETE FROM project_servers")
	f.ok(f.CompleteBackup(ctx, o.Attempt, finished(o)))
	equal(t, "status where nobody can verify", f.backup(o.Backup.ID).Status, controller.StatusCompleted)
	equal(t, "verifications of it", f.sql("SELECT count(*) FROM jobs WHERE backup_id = %d AND kind = 'verify'", o.Backup.ID), "0")
}

// TestRetryBackup: a failed backup is ordered once more as it was, and takes its place in the occurrence.
func TestRetryBackup(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app")
	other := f.storage("other", false)
	s := f.schedule(controller.ScheduleSpec{Storage: "other", Compression: "gzip", Level: 4, Encryption: "none", VerifyAfter: "checksum", MaxDurationSeconds: 120})
	o := f.occur(s.ID)
	old := f.backup(*o.Databases[0].BackupID)
	_, err := f.RetryBackup(ctx, f.admin, old.ID)
	f.refused(err, controller.EConflict, "pending")
	equal(t, "status", f.orderedBackup(a, true).Status, controller.StatusFailed)
	b := must[controller.Backup](t)(f.RetryBackup(ctx, f.admin, old.ID))
	if *b.RetryOf != old.ID || *b.ScheduleID != s.ID || !b.OccurrenceAt.Equal(o.At) || b.Type != controller.TypeScheduled || b.StorageID != other.ID || b.Compression != "gzip" ||
		b.Level != 4 || b.Encryption != "none" || b.VerifyAfter != "checksum" || b.Status != controller.StatusPending {
		t.Errorf("retry is %+v", b)
	}
	equal(t, "its job", f.sql("SELECT max_duration_seconds, not_before <= now() FROM jobs WHERE id = %d", b.JobID), "120|t")
	if d := f.occurrences(s.ID)[0].Databases[0]; *d.BackupID != b.ID || d.Status != controller.StatusPending {
		t.Errorf("outcome is %+v", d)
	}
	_, err = f.RetryBackup(ctx, f.admin, old.ID)
	f.refused(err, controller.EConflict, "retried already", fmt.Sprintf("backup %d is pending", b.ID))
	equal(t, "retry", f.orderedBackup(a, false).ID, b.ID)
	_, err = f.RetryBackup(ctx, f.admin, b.ID)
	f.refused(err, controller.EConflict, "completed")
	// One that is deleted, or whose database is another's.
	f.sql("UPDATE jobs SET status = 'completed' WHERE kind = 'verify'")
	f.order("app")
	failed := f.orderedBackup(a, true)
	must[controller.Database](t)(f.UnassignDatabase(ctx, f.admin, controller.DatabaseRef{Name: "app"}))
	_, err = f.RetryBackup(ctx, f.admin, failed.ID)
	f.refused(err, controller.EConflict, "no longer assigned")
	must[controller.Database](t)(f.AssignDatabase(ctx, f.admin, controller.DatabaseRef{Name: "app"}, "shop"))
	must[controller.Backup](t)(f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: failed.ID}))
	_, err = f.RetryBackup(ctx, f.admin, failed.ID)
	f.refused(err, controller.EConflict, "deleted")
	_, err = f.RetryBackup(ctx, f.admin, 99999)
	f.refused(err, controller.ENotFound)
}

// TestPause: each scope holds back what it covers, is shown, ends by itself or by hand, and is not made up for.
func TestPause(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	_, _ = f.world("app")
	s := f.schedule(controller.ScheduleSpec{Target: controller.Target{Database: controller.DatabaseRef{Name: "app"}}})
	later := time.Now().Add(10000 * time.Hour)
	for _, c := range []struct {
		spec controller.PauseSpec
		says string
	}{
		{controller.PauseSpec{Schedule: s.ID, Reason: "tests"}, "the schedule is paused: tests"},
		{controller.PauseSpec{Project: "shop", Reason: "tests", Until: &later}, "project shop is paused until " + later.UTC().Format("2006-01-02 15:04:05") + " UTC: tests"},
		{controller.PauseSpec{Server: "db-7", Reason: "tests"}, "server db-7 is paused: tests"},
		{controller.PauseSpec{Scope: "everything", Reason: "tests"}, "everything is paused: tests"},
	} {
		p := must[controller.Pause](t)(f.CreatePause(ctx, f.admin, c.spec))
		if shown := f.scheduleOf(s.ID); shown.PausedReason != "tests" || (shown.PausedUntil == nil) != (c.spec.Until == nil) {
			t.Errorf("%s: shown as %q until %v", c.says, shown.PausedReason, shown.PausedUntil)
		}
		o := f.occur(s.ID)
		if o.State != controller.OccurrenceMissed || o.Code != controller.MissedPaused || o.Reason != c.says || outcomes(o) != "app missed paused" {
			t.Errorf("%s: recorded %s %s %q %s", c.says, o.State, o.Code, o.Reason, outcomes(o))
		}
		ended := must[controller.Pause](t)(f.EndPause(ctx, f.admin, p.ID))
		if ended.EndedAt == nil || ended.EndedBy != "admin" {
			t.Errorf("ended as %+v", ended)
		}
		again := must[controller.Pause](t)(f.EndPause(ctx, f.admin, p.ID))
		if !again.EndedAt.Equal(*ended.EndedAt) {
			t.Error("ending it twice moved its end")
		}
		equal(t, "shown after its end", f.scheduleOf(s.ID).PausedReason, "")
	}
	equal(t, "pauses that hold", len(must[[]controller.Pause](t)(f.Pauses(ctx, f.admin, false, 0, 0))), 0)
	equal(t, "pauses in all", len(must[[]controller.Pause](t)(f.Pauses(ctx, f.admin, true, 0, 0))), 4)
	equal(t, "after all pauses", f.occur(s.ID).State, controller.OccurrenceRun)
	f.sql("UPDATE jobs SET status = 'failed'; UPDATE database_backups SET status = 'failed'")
	// One that has ended by itself holds nothing back.
	past := f.tick(s.ID).Now.Add(-time.Minute)
	must[controller.Pause](t)(f.CreatePause(ctx, f.admin, controller.PauseSpec{Schedule: s.ID, Reason: "short", Until: &past}))
	equal(t, "after a pause that ended by itself", f.occur(s.ID).State, controller.OccurrenceRun)
	f.sql("UPDATE jobs SET status = 'failed'; UPDATE database_backups SET status = 'failed'")
	// What fell into a pause is not made up for after a downtime, though the pause is over.
	tick := f.tick(s.ID)
	f.sql("UPDATE pauses SET created_at = '%s', until = '%s' WHERE reason = 'short'", tick.Run.At.Add(-time.Minute).Format(time.RFC3339), tick.Run.At.Add(time.Minute).Format(time.RFC3339))
	tick.Now, tick.Late, tick.Run.Due = tick.Run.At.Add(10*time.Minute), true, tick.Run.At.Add(20*time.Minute)
	must[controller.TickResult](t)(f.RecordTick(ctx, tick))
	if o := f.occurrences(s.ID)[0]; o.Code != controller.MissedPaused || o.Late {
		t.Errorf("missed in a pause and looked at after it: %+v", o)
	}
	// Refusals.
	for field, spec := range map[string]controller.PauseSpec{
		"reason": {Scope: "everything"}, "until": {Scope: "everything", Reason: "x", Until: ptr(time.Now().Add(-time.Hour))}, "scope": {Reason: "x"},
	} {
		_, err := f.CreatePause(ctx, f.admin, spec)
		f.refused(err, controller.EInvalid, field)
	}
	for _, spec := range []controller.PauseSpec{{Schedule: 9999, Reason: "x"}, {Project: "nope", Reason: "x"}, {Server: "nope", Reason: "x"}} {
		_, err := f.CreatePause(ctx, f.admin, spec)
		f.refused(err, controller.ENotFound)
	}
	_, err := f.EndPause(ctx, f.admin, 9999)
	f.refused(err, controller.ENotFound)
	equal(t, "audit", f.sql("SELECT string_agg(action || ' ' || n, ', ' ORDER BY action) FROM (SELECT action, count(*) AS n FROM audit_log WHERE action LIKE 'pause.%%' GROUP BY 1) a"), "pause.create 5, pause.end 4")
}

// TestPause_Scope: what pauses everything or a server is seen by those whom it holds back, and is not theirs to make or end.
func TestPause_Scope(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	p, _ := f.world("app")
	other := f.project("other")
	me := only(p)
	all := must[controller.Pause](t)(f.CreatePause(ctx, f.admin, controller.PauseSpec{Scope: "everything", Reason: "x"}))
	theirs := must[controller.Pause](t)(f.CreatePause(ctx, f.admin, controller.PauseSpec{Project: other.Slug, Reason: "x"}))
	mine := must[controller.Pause](t)(f.CreatePause(ctx, me, controller.PauseSpec{Project: p.Slug, Reason: "x"}))
	seen := must[[]controller.Pause](t)(f.Pauses(ctx, me, false, 0, 0))
	if len(seen) != 2 || seen[0].ID != mine.ID || seen[1].ID != all.ID {
		t.Errorf("seen are %+v", seen)
	}
	_, err := f.EndPause(ctx, me, theirs.ID)
	f.refused(err, controller.ENotFound)
	_, err = f.EndPause(ctx, me, all.ID)
	f.refused(err, controller.EForbidden)
	for _, spec := range []controller.PauseSpec{{Scope: "everything", Reason: "x"}, {Server: "db-7", Reason: "x"}} {
		_, err := f.CreatePause(ctx, me, spec)
		f.refused(err, controller.EForbidden)
	}
	must[controller.Pause](t)(f.EndPause(ctx, me, mine.ID))
}

// TestScheduleProblem: a schedule with a problem is not due, and can be deactivated without its zone being known.
func TestScheduleProblem(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	f.world("app")
	s := f.schedule(controller.ScheduleSpec{})
	d := f.planned(s.ID)
	equal(t, "new", must[bool](t)(f.ScheduleProblem(ctx, s.ID, d.RecordedUntil, "unknown zone")), true)
	equal(t, "told again", must[bool](t)(f.ScheduleProblem(ctx, s.ID, d.RecordedUntil, "unknown zone")), false)
	equal(t, "of another state", must[bool](t)(f.ScheduleProblem(ctx, s.ID, d.RecordedUntil.Add(time.Second), "other")), false)
	if got := f.scheduleOf(s.ID); got.Problem != "unknown zone" || got.NextRunAt != nil || !got.IsActive {
		t.Errorf("schedule is %+v", got)
	}
	equal(t, "due", len(must[[]controller.DueSchedule](t)(f.DueSchedules(ctx, d.NextRunAt.Add(time.Hour), 10))), 0)
	f.sql("UPDATE backup_schedules SET timezone = 'Atlantis/City'")
	_, err := f.UpdateSchedule(ctx, f.admin, s.ID, controller.ScheduleChange{Level: ptr(3)})
	f.refused(err, controller.EInvalid, "timezone", "Atlantis")
	equal(t, "active", must[controller.Schedule](t)(f.UpdateSchedule(ctx, f.admin, s.ID, controller.ScheduleChange{IsActive: ptr(false)})).IsActive, false)
	back := must[controller.Schedule](t)(f.UpdateSchedule(ctx, f.admin, s.ID, controller.ScheduleChange{IsActive: ptr(true), Timezone: ptr("Europe/Berlin")}))
	if back.Problem != "" || back.NextRunAt == nil {
		t.Errorf("with a zone that is known it is %+v", back)
	}
}

// TestDueSchedules: those due longest first, each for one controller, and again when the claim has run out or the clock was set back.
func TestDueSchedules(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	f.world("app")
	var ids []int64
	for range 3 {
		ids = append(ids, f.schedule(controller.ScheduleSpec{}).ID)
	}
	for i, id := range ids {
		f.sql("UPDATE backup_schedules SET next_run_at = '2026-03-01 00:00:0%d+00' WHERE id = %d", 9-i, id)
	}
	now := time.Date(2026, 3, 1, 0, 0, 8, 0, time.UTC)
	due := func(c duer, now time.Time, limit int) string {
		t.Helper()
		var out []int64
		for _, d := range must[[]controller.DueSchedule](t)(c.DueSchedules(ctx, now, limit)) {
			out = append(out, d.ID)
		}
		return fmt.Sprint(out)
	}
	two := f.another("two")
	equal(t, "first", due(f, now, 1), fmt.Sprint([]int64{ids[2]}))
	equal(t, "second", due(two, now, 10), fmt.Sprint([]int64{ids[1]}))
	equal(t, "nothing left", due(f, now, 10), "[]")
	equal(t, "claims hold", due(f, now.Add(29*time.Second), 10), fmt.Sprint([]int64{ids[0]}))
	equal(t, "claims run out", due(f, now.Add(31*time.Second), 10), fmt.Sprint([]int64{ids[2], ids[1]}))
	f.sql("UPDATE backup_schedules SET next_run_at = '2026-02-01'")
	equal(t, "the clock was set back", len(must[[]controller.DueSchedule](t)(f.DueSchedules(ctx, now.Add(-time.Hour), 10))), 3)
	f.sql("UPDATE backup_schedules SET is_active = false, claim_until = '-infinity'")
	equal(t, "inactive", due(f, now, 10), "[]")
}

// TestDueSchedules_Index: finding what is due reads the index from its start, however many schedules there are.
func TestDueSchedules_Index(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.world("app")
	s := f.schedule(controller.ScheduleSpec{})
	f.sql(`INSERT INTO backup_schedules (project_id, scope, frequency, timezone, max_duration_seconds, compression, retention_days, recorded_until, next_at, next_run_at)
		SELECT %d, 'project', 'daily', 'UTC', 60, 'zstd', 7, now(), now() + i * interval '1 second', now() + i * interval '1 second' FROM generate_series(1, 20000) i`, s.ProjectID)
	f.sql("VACUUM ANALYZE backup_schedules")
	// What a controller read is counted when it has closed its connections.
	read := func() (int, int, int) {
		var index, rows, table int
		_, err := fmt.Sscanf(f.sql(`SELECT idx_scan, idx_tup_read, (SELECT coalesce(seq_scan, 0) FROM pg_stat_user_tables WHERE relname = 'backup_schedules')
			FROM pg_stat_user_indexes WHERE indexrelname = 'backup_schedules_due'`), "%d|%d|%d", &index, &rows, &table)
		f.ok(err)
		return index, rows, table
	}
	scans, rows, tableScans := read()
	two := f.another("two")
	due := must[[]controller.DueSchedule](t)(two.DueSchedules(t.Context(), must[time.Time](t)(f.Now(t.Context())).Add(10*time.Hour), 20))
	equal(t, "due", len(due), 20)
	f.ok(two.Close())
	eventually(t, "the index was used", func() bool { n, _, _ := read(); return n > scans })
	_, rowsNow, tableScansNow := read()
	if rowsNow-rows > 100 || tableScansNow != tableScans {
		t.Errorf("to find 20 of 20,000 schedules, %d rows were read by the index, and the table %d times as a whole", rowsNow-rows, tableScansNow-tableScans)
	}
	plan := f.as("system", `EXPLAIN SELECT id FROM backup_schedules WHERE is_active AND deleted_at IS NULL AND next_run_at IS NOT NULL
		AND next_run_at <= now() + interval '10 hours' AND (claim_until <= now() OR claim_until > now() + interval '30 seconds') ORDER BY next_run_at LIMIT 20 FOR NO KEY UPDATE SKIP LOCKED`)
	if !strings.Contains(plan, "Index Scan using backup_schedules_due") || strings.Contains(plan, "Sort") {
		t.Errorf("due schedules are found by\n%s", plan)
	}
}

// TestDeleteStorage_Scheduled: a storage that a schedule names is not deleted under it.
func TestDeleteStorage_Scheduled(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	f.world("app")
	f.storage("second", false)
	s := f.schedule(controller.ScheduleSpec{Storage: "second"})
	f.refused(f.DeleteStorage(ctx, f.admin, "second"), controller.EConflict, fmt.Sprintf("schedule %d", s.ID))
	must[controller.Schedule](t)(f.UpdateSchedule(ctx, f.admin, s.ID, controller.ScheduleChange{Storage: ptr("")}))
	f.ok(f.DeleteStorage(ctx, f.admin, "second"))
}

// TestInventory_BesideSchedules: inventories and schedules of the same database do not wait for each other in a circle, over the server
// that a new backup refers to.
func TestInventory_BesideSchedules(t *testing.T) {
	t.Parallel()
	f := open(t)
	_, a := f.world("app")
	s := f.schedule(controller.ScheduleSpec{})
	const deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
	before := f.sql(deadlocks)
	g := *f
	g.Catalog = f.another("two")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 40 {
			inv := wire.Inventory{Hash: wire.NewID(), Last: true, Instances: []wire.Instance{instance("main")}}
			inv.Databases = []wire.Database{{Instance: "main", Engine: wire.EnginePostgreSQL, Name: "app"}}
			if err := g.Inventory(g.Context(), a.AgentID, a.session, inv); err != nil {
				t.Error(err)
			}
		}
	}()
	for again := true; again; {
		g.occur(s.ID)
		f.sql("UPDATE jobs SET status = 'failed'; UPDATE database_backups SET status = 'failed'")
		select {
		case <-done:
			again = false
		default:
		}
	}
	f.ok(g.Close()) // what its connections counted is told then at the latest
	equal(t, "deadlocks", f.sql(deadlocks), before)
}

// TestInventory_LockOrder: an inventory locks databases in the order of their ids, as backups do, whatever their names are.
func TestInventory_LockOrder(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	_, a := f.world("zebra")
	f.found(a, "zebra", "ant")
	hold := must[pgx.Tx](t)(f.super().Begin(ctx))
	_, err := hold.Exec(ctx, "SELECT FROM databases WHERE name = 'ant' FOR UPDATE")
	f.ok(err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		inv := wire.Inventory{Hash: wire.NewID(), Last: true, Instances: []wire.Instance{instance("main")}}
		for _, n := range []string{"zebra", "ant"} {
			inv.Databases = append(inv.Databases, wire.Database{Instance: "main", Engine: wire.EnginePostgreSQL, Name: n})
		}
		if err := f.Inventory(ctx, a.AgentID, a.session, inv); err != nil {
			t.Error(err)
		}
	}()
	eventually(t, "the inventory waits for the database that is locked", func() bool {
		return f.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") == "1"
	})
	equal(t, "databases that are free", f.sql("SELECT name FROM databases FOR UPDATE SKIP LOCKED"), "")
	f.ok(hold.Rollback(ctx))
	<-done
}

type duer interface {
	DueSchedules(ctx context.Context, now time.Time, limit int) ([]controller.DueSchedule, error)
}
