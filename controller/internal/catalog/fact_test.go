package catalog_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/catalog"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/wire"
)

// now is PostgreSQL's clock and a time more.
func (f *fix) now(more time.Duration) time.Time {
	f.Helper()
	return must[time.Time](f)(f.Now(f.Context())).Add(more)
}

// collect takes every fact.
func (f *fix) collect() {
	f.Helper()
	for must[int](f)(f.TakeFacts(f.Context(), f.now(0))) > 0 {
	}
	equal(f, "facts left", f.sql("SELECT count(*) FROM facts"), "0")
}

// tell returns the notices that were not returned yet: kind, event, severity, and how many channels have it or why none, then the title.
func (f *fix) tell() string {
	f.Helper()
	f.sql("CREATE TABLE IF NOT EXISTS seen_notices (id bigint PRIMARY KEY)")
	return f.sql(`WITH fresh AS (INSERT INTO seen_notices SELECT id FROM notices ON CONFLICT DO NOTHING RETURNING id)
		SELECT kind || ' ' || event || ' ' || severity || ' ' || CASE WHEN unsent = '' THEN (SELECT count(*) FROM deliveries e WHERE e.notice_id = n.id)::text ELSE unsent END || ': ' || title
		FROM notices n JOIN fresh USING (id) ORDER BY id`)
}

// tells holds the notices since the last call against what they should be, line by line.
func (f *fix) tells(want ...string) {
	f.Helper()
	if got := f.tell(); got != strings.Join(want, "\n") {
		f.Fatalf("notices are\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// webhook makes a channel.
func (f *fix) webhook(spec controller.ChannelSpec) controller.Channel {
	f.Helper()
	spec.Kind = "webhook"
	spec.Target = controller.ChannelTarget{URL: "https://hooks.example.com/canary-url", Secret: "canary-secret"}
	return must[controller.Channel](f)(f.CreateChannel(f.Context(), f.admin, spec, "hooks.example.com"))
}

func TestTakeFacts_Backups(t *testing.T) {
	t.Parallel()
	f := open(t)
	_, a := f.world("app", "blog")
	f.webhook(controller.ChannelSpec{Name: "ops", IsDefault: true})
	f.collect()
	f.tells()

	// A failure opens an alarm; more of them count it up; a completed backup closes it.
	for range 2 {
		f.order("app")
		f.orderedBackup(a, true)
		f.collect()
	}
	f.tells("backup_failing opened critical 1: Backup of app on db-7 failed")
	alarm := must[[]controller.Alarm](t)(f.Alarms(t.Context(), f.admin, controller.AlarmFilter{}))[0]
	if alarm.Count != 2 || alarm.Database != "app" || alarm.Silenced || !strings.Contains(alarm.Detail, "tool_failed") || !strings.Contains(alarm.Detail, "devflowctl backup show 2") || *alarm.BackupID != 2 {
		t.Fatalf("alarm is %+v", alarm)
	}
	f.order("app")
	f.orderedBackup(a, false)
	f.order("app")
	f.orderedBackup(a, true)
	f.order("app")
	f.orderedBackup(a, false)
	f.collect() // all of it at once
	f.tells("backup_failing closed critical 1: Backup of app on db-7 recovered", "backup_failing opened critical 1: Backup of app on db-7 failed",
		"backup_failing closed critical 1: Backup of app on db-7 recovered")
	equal(t, "open alarms", f.sql("SELECT count(*) FROM alarms WHERE closed_at IS NULL"), "0")

	// Of a schedule that tells nobody it is recorded all the same. A completed backup of a schedule closes the alarm of a manual one too, and no other schedule's.
	off := false
	quiet := f.schedule(controller.ScheduleSpec{Target: controller.Target{Database: controller.DatabaseRef{Name: "app"}}, NotifyOnFailure: &off})
	loud := f.schedule(controller.ScheduleSpec{Target: controller.Target{Database: controller.DatabaseRef{Name: "app"}}})
	run := func(s controller.Schedule, fail bool) {
		t.Helper()
		must[[]controller.BackupOutcome](t)(f.RunSchedule(t.Context(), f.admin, s.ID))
		f.orderedBackup(a, fail)
		f.collect()
	}
	run(quiet, true)
	f.tells("backup_failing opened critical silenced: Backup of app on db-7 failed")
	f.order("app")
	f.orderedBackup(a, true)
	run(loud, true)
	f.tells("backup_failing opened critical 1: Backup of app on db-7 failed", "backup_failing opened critical 1: Backup of app on db-7 failed")
	run(loud, false)
	f.tells("backup_failing closed critical 1: Backup of app on db-7 recovered", "backup_failing closed critical 1: Backup of app on db-7 recovered")
	equal(t, "open alarms", f.sql("SELECT key FROM alarms WHERE closed_at IS NULL"), fmt.Sprintf("backup_failing:1:%d", quiet.ID))

	// What a person cancels fails nothing. A completed backup is told where a channel names that.
	b := f.order("blog")
	must[controller.Job](t)(f.CancelJob(t.Context(), f.admin, b.JobID, "not now"))
	f.collect()
	f.tells()
	must[controller.Channel](t)(f.UpdateChannel(t.Context(), f.admin, "ops", controller.ChannelChange{Kinds: &[]string{controller.NoticeBackupCompleted}}, ""))
	f.order("blog")
	f.orderedBackup(a, false)
	f.collect()
	f.tells("backup_completed happened info 1: Backup of blog on db-7 is completed")

	// Ended jobs are counted by what they came to, with their durations and bytes.
	equal(t, "totals of jobs", f.sql("SELECT kind || ' ' || status || ' ' || code || ' ' || jobs || ' ' || (SELECT sum(b) FROM unnest(buckets) b) || ' ' || (bytes > 0)::text FROM job_totals ORDER BY 1"),
		"backup cancelled cancelled 1 0 false\nbackup completed  4 4 true\nbackup failed tool_failed 6 6 false")
	equal(t, "counter", f.sql("SELECT value FROM counters WHERE name = 'notice' AND label = 'backup_failing:opened'"), "5")
}

func TestTakeFacts_Anomalies(t *testing.T) {
	t.Parallel()
	f := open(t)
	_, a := f.world("app")
	id := f.databases()["app"]
	begin := time.Now().Add(-30 * 24 * time.Hour)
	var rows []past
	for i := range 5 {
		rows = append(rows, past{database: id, at: begin.Add(time.Duration(i) * 24 * time.Hour)})
	}
	f.had(rows[:4]...)
	f.sql(`UPDATE database_backups SET raw_size = 10000000, metadata = '{"rows": 5000}'`)
	made := func(raw, count int64) {
		t.Helper()
		f.order("app")
		b := f.orderedBackup(a, false)
		f.sql(`UPDATE database_backups SET raw_size = %d, metadata = '{"rows": %d}' WHERE id = %d`, raw, count, b.ID)
		f.collect()
	}
	// What an agent counted is part of what is known of its backup.
	f.order("app")
	o := f.started(a)
	for n, size := range []int64{o.PartSize, 77} {
		must[controller.PartTarget](t)(f.SignPart(t.Context(), a.AgentID, a.session, partRequest(o, n+1, size), time.Minute))
	}
	r := f.uploadReport(o)
	r.Rows = ptr(int64(42))
	f.ok(f.ReportUploaded(t.Context(), a.AgentID, a.session, r))
	must[[]controller.Finishing](t)(f.ClaimFinishing(t.Context(), 5))
	f.ok(f.CompleteBackup(t.Context(), o.Attempt, finished(o)))
	equal(t, "metadata", f.sql("SELECT metadata FROM database_backups WHERE id = %d", o.Backup.ID), `{"rows": 42, "tables_count": 3}`)
	f.sql("DELETE FROM facts; UPDATE database_backups SET deleted_at = now() WHERE id = %d", o.Backup.ID)

	made(100, 1) // four before it are too few
	f.tells()
	f.sql("DELETE FROM verifications; UPDATE database_backups SET raw_size = 10000000, metadata = '{\"rows\": 5000}'")
	made(6_000_000, 2600)
	made(19_000_000, 9900)
	f.tells()
	made(4_000_000, 5000)
	f.tells("size_anomaly happened warning nowhere: Backup of app on db-7 has 40 % of its usual size")
	made(10_000_000, 11000)
	f.tells("rows_anomaly happened warning nowhere: Backup of app on db-7 has 220 % of its usual rows")
	made(0, 0)
	f.tells("size_anomaly happened warning nowhere: Backup of app on db-7 has 0 % of its usual size", "rows_anomaly happened warning nowhere: Backup of app on db-7 has 0 % of its usual rows")
	equal(t, "detail", f.sql("SELECT detail FROM notices WHERE kind = 'size_anomaly' ORDER BY id LIMIT 1"),
		"Backup 9 has 3.8 MB; usual are 9.5 MB. Look whether data was lost or written by mistake, before older backups are removed.")
}

func TestTakeFacts_Occurrences(t *testing.T) {
	t.Parallel()
	f := open(t)
	_, a := f.world("app", "blog")
	f.webhook(controller.ChannelSpec{Name: "ops", IsDefault: true})
	off := false
	s := f.schedule(controller.ScheduleSpec{})
	quiet := f.schedule(controller.ScheduleSpec{Target: controller.Target{Database: controller.DatabaseRef{Name: "blog"}}, NotifyOnFailure: &off})
	f.sql("UPDATE databases SET missing_since = now() WHERE name = 'blog'")
	first := f.occur(s.ID)
	f.occur(quiet.ID)
	f.collect()
	at := first.At.UTC().Format("2006-01-02 15:04:05") + " UTC"
	f.tells(fmt.Sprintf("occurrence_missed happened warning 1: Schedule %d of shop did not back up blog at %s", s.ID, at),
		fmt.Sprintf("occurrence_missed happened warning silenced: Schedule %d of shop missed its run of %s", quiet.ID, at))
	// The backup of app is still at work: the third skipped run in a row is told, once; a run ends it.
	for range controller.OverlapAlarm + 1 {
		f.occur(s.ID)
	}
	f.sql("DELETE FROM facts WHERE body->>'code' = 'database_missing' AND kind = 'occurrence_database'")
	f.collect()
	f.tells(fmt.Sprintf("overlap opened warning 1: Backups of app on db-7 take longer than schedule %d allows", s.ID))
	f.conditions(0)
	f.tells()
	f.orderedBackup(a, false)
	f.occur(s.ID)
	f.collect()
	f.tell()
	f.conditions(time.Minute)
	if told := f.tell(); !strings.Contains(told, fmt.Sprintf("overlap closed warning 1: Over: Backups of app on db-7 take longer than schedule %d allows", s.ID)) {
		t.Fatalf("told %q", told)
	}
	// What is paused is nobody's news, and is counted.
	must[controller.Pause](t)(f.CreatePause(t.Context(), f.admin, controller.PauseSpec{Scope: controller.PauseEverything, Reason: "holidays"}))
	f.orderedBackup(a, false)
	f.occur(s.ID)
	f.collect()
	f.tells()
	equal(t, "counted", f.sql("SELECT label || ' ' || value FROM counters WHERE name = 'occurrence' ORDER BY 1"), "missed:database_missing 3\nmissed:paused 2\nskipped:overlap 4")

	// A batch of facts that is cut within an occurrence takes the rest of it along.
	f.sql("DELETE FROM facts; UPDATE pauses SET ended_at = now()")
	f.sql(`INSERT INTO facts (kind, body) SELECT 'lost', '{}' FROM generate_series(1, 998)`)
	f.sql("UPDATE databases SET missing_since = now()")
	f.occur(s.ID)
	equal(t, "taken", must[int](t)(f.TakeFacts(t.Context(), f.now(0))), 1001)
	f.collect()
	if told := strings.Split(f.tell(), "\n"); len(told) != 1 || !strings.Contains(told[0], "missed its run") {
		t.Fatalf("told %q", told)
	}
	equal(t, "lost leases", f.sql("SELECT value FROM counters WHERE name = 'lease_lost'"), "998")
}

func TestTakeFacts_Events(t *testing.T) {
	t.Parallel()
	f := open(t)
	p, a, b := f.inPlace("app")
	f.webhook(controller.ChannelSpec{Name: "ops", IsDefault: true})
	f.webhook(controller.ChannelSpec{Name: "team", Project: p.Slug})
	f.collect()
	f.tell()
	// Restores go to the project's channel, and so does a verification that failed.
	f.replaced(a, b)
	f.ask(replacing(b))
	f.sql("UPDATE jobs SET max_attempts = 1 WHERE status = 'queued'")
	f.report(a, f.next(a), fails(wire.CodeSuperuser))
	must[[]controller.Job](t)(f.CreateVerify(t.Context(), f.admin, controller.VerifyRequest{Backup: b.ID}))
	f.sql("UPDATE jobs SET max_attempts = 1 WHERE status = 'queued'")
	f.report(a, f.next(a), fails(wire.CodeChecksum))
	f.collect()
	f.tells("restore_completed happened info 1: Restore of backup 1 into app on db-7 is done", "restore_failed happened critical 1: Restore of backup 1 into app on db-7 failed",
		"verification_failed happened critical 1: Backup 1 of app on db-7 could not be verified")
	equal(t, "channels", f.sql("SELECT DISTINCT c.name FROM deliveries e JOIN channels c ON c.id = e.channel_id"), "team")
	// Security events: each once, and again at each power of ten.
	f.ok(f.AddSecurityEvent(t.Context(), "", controller.EventForgedDirective, "one", 1))
	f.ok(f.AddSecurityEvent(t.Context(), a.AgentID, controller.EventDuplicateAgent, "two sessions", 1))
	f.collect()
	f.tells("security happened critical 1: Security event at the controller: forged directive", "agent_duplicate happened warning 1: Two agents run as db-7")
	for range 8 {
		f.ok(f.AddSecurityEvent(t.Context(), "", controller.EventForgedDirective, "one", 1))
	}
	f.collect()
	f.tells()
	f.ok(f.AddSecurityEvent(t.Context(), "", controller.EventForgedDirective, "one", 1000))
	f.collect()
	f.tells("security happened critical 1: Security event at the controller: forged directive, 1009 times")
	equal(t, "counted", f.sql("SELECT label || ' ' || value FROM counters WHERE name = 'security' ORDER BY 1"), "duplicate_agent 1\nforged_directive 1009")
	equal(t, "channels", f.sql("SELECT DISTINCT c.name FROM deliveries e JOIN channels c ON c.id = e.channel_id JOIN notices n ON n.id = e.notice_id WHERE n.kind = 'security'"), "ops")
}

// Dead-man switches of a schedule are told of the run as a whole: begun with the first backup, well with the last one.
func TestTakeFacts_Pings(t *testing.T) {
	t.Parallel()
	f := open(t)
	_, a := f.world("app", "blog")
	s := f.schedule(controller.ScheduleSpec{PingURL: "https://hc.example.com/canary", PingHint: "hc.example.com"})
	pings := func(want string) {
		t.Helper()
		f.collect()
		equal(t, "pings", f.sql("SELECT coalesce(string_agg(state, ' ' ORDER BY id), '') FROM pings"), want)
		f.sql("DELETE FROM pings")
	}
	f.occur(s.ID)
	f.sql("UPDATE jobs SET not_before = now()")
	one := must[[]controller.Offer](t)(f.ClaimOffers(t.Context(), 1))
	pings("start")
	one = append(one, must[[]controller.Offer](t)(f.ClaimOffers(t.Context(), 1))...)
	equal(t, "offers", len(one), 2)
	begin := func(o controller.Offer) controller.Offer {
		t.Helper()
		o.UploadID = must[string](t)(f.SetUpload(t.Context(), o.Attempt, "upload-"+o.AttemptID))
		f.ok(f.AttemptAccepted(t.Context(), o.Attempt, a.session))
		return o
	}
	end := func(o controller.Offer) {
		t.Helper()
		f.uploaded(a, o)
		must[[]controller.Finishing](t)(f.ClaimFinishing(t.Context(), 5))
		f.ok(f.CompleteBackup(t.Context(), o.Attempt, finished(o)))
	}
	begin(one[0])
	begin(one[1])
	pings("")
	end(one[0])
	pings("")
	end(one[1])
	pings("success")
	f.occur(s.ID)
	f.sql("UPDATE jobs SET not_before = now(), max_attempts = 1 WHERE status = 'queued'")
	one = must[[]controller.Offer](t)(f.ClaimOffers(t.Context(), 10))
	begin(one[0])
	r := fails(wire.CodeToolFailed)
	r.Attempt = one[0].Attempt
	f.ok(f.ReportDone(t.Context(), a.AgentID, a.session, r))
	pings("start fail")
	end(begin(one[1]))
	pings("")

	// Only the newest of a schedule is sent, one at a time, a few times.
	f.sql("INSERT INTO pings (schedule_id, project_id, state) SELECT %d, p.id, v FROM projects p, unnest(ARRAY['start', 'success']) v", s.ID)
	now := f.now(time.Second)
	p := must[*controller.Ping](t)(f.ClaimPing(t.Context(), now))
	if p == nil || p.State != "success" {
		t.Fatalf("ping is %+v", p)
	}
	for n := 1; ; n++ {
		if again := must[*controller.Ping](t)(f.ClaimPing(t.Context(), now)); again != nil {
			t.Fatal("a ping was taken twice")
		}
		dropped := must[bool](t)(f.PingFailed(t.Context(), now, *p, "refused", true))
		if dropped {
			equal(t, "tries", n, 5)
			break
		}
		now = now.Add(10 * time.Minute)
		if p = must[*controller.Ping](t)(f.ClaimPing(t.Context(), now)); p == nil {
			t.Fatal("a ping is not tried again")
		}
	}
	equal(t, "counted", f.sql("SELECT label || ' ' || value FROM counters WHERE name = 'ping'"), "failed 1")
	equal(t, "URL", must[secret.String](t)(f.SchedulePing(t.Context(), s.ID)).Reveal(), "https://hc.example.com/canary")
}

// Any number of controllers take facts at once: each fact becomes news exactly once.
func TestTakeFacts_Together(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.webhook(controller.ChannelSpec{Name: "ops", IsDefault: true})
	f.sql(`INSERT INTO security_events (kind, detail) SELECT 'forged_directive', 'event ' || n FROM generate_series(1, 3000) n`)
	var wg sync.WaitGroup
	for _, c := range []*catalog.Catalog{f.Catalog, f.another("two"), f.another("three")} {
		wg.Go(func() {
			for range 20 {
				if _, err := c.TakeFacts(t.Context(), time.Now()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	f.collect()
	equal(t, "notices", f.sql("SELECT count(*) || ' ' || count(DISTINCT title || detail) FROM notices"), "3000 3000")
	equal(t, "deliveries", f.sql("SELECT count(*) FROM deliveries"), "3000")
}
