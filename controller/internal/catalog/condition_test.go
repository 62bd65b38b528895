package catalog_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/version"
	"devflowbackup/shared/wire"
)

// conditions does a round as it would be done some time from now.
func (f *fix) conditions(more time.Duration, ends ...controller.CertificateEnd) controller.Standing {
	f.Helper()
	f.sql("UPDATE alarm_rounds SET done_at = '-infinity'") // tests go back in time
	s := must[controller.Standing](f)(f.Conditions(f.Context(), f.now(more), time.Millisecond, controller.DefaultPatience, ends))
	if !s.Done {
		f.Fatal("the round was not done")
	}
	return s
}

// over does the two rounds after which what no longer holds is closed.
func (f *fix) over(more time.Duration) {
	f.Helper()
	f.conditions(more)
	f.tells()
	f.conditions(more + time.Second)
}

// An agent that is older than the controller is told of, until it is not.
func TestConditions_Outdated(t *testing.T) {
	defer func(v string) { version.Version = v }(version.Version)
	version.Version = "v1.3.0"
	f := open(t)
	f.installed(time.Now())
	f.world("app")
	f.webhook(controller.ChannelSpec{Name: "ops", IsDefault: true})
	f.sql("UPDATE servers SET agent_version = 'v1.2.9', last_seen_at = now()")
	f.conditions(0)
	f.tells("agent_outdated opened info 1: Agent on db-7 is outdated")
	f.sql("UPDATE servers SET agent_version = 'v1.3.0'")
	f.over(time.Second)
	f.tells("agent_outdated closed info 1: Over: Agent on db-7 is outdated")
}

func TestConditions(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.installed(time.Now())
	p, a := f.world("app", "blog")
	f.webhook(controller.ChannelSpec{Name: "ops", IsDefault: true})
	f.conditions(0)
	f.tells()

	// Backups that are not healthy.
	b, c := f.completed(a, "app"), f.completed(a, "blog")
	f.collect()
	f.sql("UPDATE database_backups SET health = 'missing', health_reason = 'it is not at its key' WHERE id = %d", b.ID)
	f.sql("UPDATE database_backups SET health = 'corrupt', health_at = now() WHERE id = %d", c.ID)
	f.conditions(0)
	f.tells(fmt.Sprintf("backup_corrupt opened critical 1: Backup %d of blog on db-7 is corrupt", c.ID), fmt.Sprintf("backup_missing opened critical 1: Backup %d of app on db-7 is missing from storage s3", b.ID))
	f.conditions(0)
	f.tells()
	f.sql("UPDATE database_backups SET health = 'ok' WHERE id = %d", b.ID)
	f.conditions(0)
	f.sql("UPDATE database_backups SET health = 'missing' WHERE id = %d", b.ID)
	f.conditions(time.Second) // it was away for less than a round
	f.tells()
	f.sql("UPDATE database_backups SET health = 'ok' WHERE id = %d", b.ID)
	f.over(2 * time.Second)
	f.tells(fmt.Sprintf("backup_missing closed critical 1: Over: Backup %d of app on db-7 is missing from storage s3", b.ID))
	f.sql("UPDATE database_backups SET deleted_at = now() WHERE id = %d", c.ID)
	f.conditions(4 * time.Second)
	f.tells(fmt.Sprintf("backup_corrupt closed critical 1: No longer watched: Backup %d of blog on db-7 is corrupt", c.ID))

	// Storages: the probe, rules against retention, locks.
	f.schedule(controller.ScheduleSpec{Timing: controller.Timing{Frequency: controller.FrequencyMonthly, Time: "02:00", DayOfMonth: ptr(1)}})
	f.sql(`UPDATE storages SET probe_ok = false, probe = '{"steps": [{"name": "list", "ok": false, "required": true, "detail": "access denied"}]}'`)
	f.conditions(0)
	f.tells("storage_unavailable opened critical 1: Storage s3 is not available")
	equal(t, "detail", f.sql("SELECT detail FROM alarms WHERE kind = 'storage_unavailable'"),
		"It did not pass its probe: list: access denied. No backup is made on it until it does: `devflowctl storage probe s3` tries again.")
	f.sql(`UPDATE storages SET probe_ok = true, probe = '{"lifecycle": [{"id": "r1", "prefix": "", "days": 93}]}'`)
	f.conditions(time.Second)
	f.tells("storage_conflict opened warning 1: A lifecycle rule of storage s3 is against retention") // three months are kept
	f.sql(`UPDATE storages SET probe = '{"lifecycle": [{"id": "r1", "prefix": "", "days": 94, "archive_days": 94}]}'`)
	f.conditions(2 * time.Second)
	f.tells("storage_unavailable closed critical 1: Storage s3 is available again")
	f.conditions(3 * time.Second)
	f.tells("storage_conflict closed warning 1: Over: A lifecycle rule of storage s3 is against retention")
	f.sql("UPDATE database_backups SET delete_waiting = 'locked', locked_until = now() + interval '9 days' WHERE id = %d", c.ID)
	f.conditions(0)
	f.tells("storage_conflict opened warning 1: Storage s3 keeps what retention removed")
	f.sql("UPDATE database_backups SET purged_at = now() WHERE id = %d", c.ID)
	f.over(time.Second)
	f.tells("storage_conflict closed warning 1: Over: Storage s3 keeps what retention removed")

	// Directories on hosts.
	f.sql(`UPDATE servers SET host = host || '{"local": {"dir": "/backups", "free_bytes": 99, "total_bytes": 1000, "min_free": 1}}'`)
	f.conditions(0)
	f.tells("storage_full opened warning 1: Backup directory on db-7 is nearly full")
	f.sql(`UPDATE servers SET host = host || '{"local": {"dir": "/backups", "free_bytes": 900, "total_bytes": 1000, "min_free": 1, "error": "read-only"}}'`)
	f.conditions(time.Second)
	f.tells("storage_unavailable opened critical 1: Backup directory on db-7 is not available")
	f.sql(`UPDATE servers SET host = host - 'local'`)
	f.conditions(2 * time.Second)
	f.conditions(3 * time.Second)
	f.tell()

	// Schedules, clean-ups, tokens, controllers, certificates.
	f.sql("UPDATE backup_schedules SET problem = 'zone Atlantis/City is not known'")
	f.sql("INSERT INTO cleanups (kind, at, ended_at, failed, error) VALUES ('daily', now(), now(), 3, 'the catalog was away')")
	f.sql(`INSERT INTO api_tokens (name, token_hash, permissions, created_at, expires_at) VALUES ('ci', 'a', '{}', now() - interval '1 year', now() + interval '13 days'),
		('far', 'b', '{}', now() - interval '1 year', now() + interval '15 days'), ('short', 'c', '{}', now(), now() + interval '12 hours')`)
	f.sql("INSERT INTO controllers (id, version, broker, seen_at) VALUES ('0123456789', 'v', 'external', now() - interval '2 minutes')")
	f.conditions(0, controller.CertificateEnd{Name: "The API's certificate", At: time.Now().Add(29 * 24 * time.Hour)}, controller.CertificateEnd{Name: "Another", At: time.Now().Add(31 * 24 * time.Hour)})
	day := func(days int) string { return time.Now().UTC().AddDate(0, 0, days).Format(time.DateOnly) }
	f.tells("certificate_expiring opened warning 1: The API's certificate ends on "+day(29), "controller_down opened warning 1: Controller 01234567 is silent",
		"retention_held opened warning 1: Retention could not remove what it should", "schedule_problem opened warning 1: Schedule 1 of shop cannot occur",
		"token_expiring opened warning 1: Token ci ends on "+day(13))
	f.sql("UPDATE backup_schedules SET problem = ''; UPDATE cleanups SET failed = 0, error = ''; UPDATE api_tokens SET revoked_at = now(); DELETE FROM controllers")
	f.over(time.Second)
	equal(t, "closed", strings.Count(f.tell(), " closed warning 1: Over: "), 5)

	// A channel that fails is told by another one; nobody hears of it otherwise.
	f.sql("UPDATE channels SET failing_since = now() - interval '4 minutes', last_error = 'refused'")
	f.conditions(0)
	f.tells()
	f.conditions(61 * time.Second)
	f.tells("channel_failing opened warning nowhere: Channel ops does not take messages")
	f.sql("UPDATE channels SET failing_since = NULL")
	f.conditions(62 * time.Second)
	f.conditions(63 * time.Second)
	f.tells("channel_failing closed warning nowhere: Over: Channel ops does not take messages")

	// Failures that nobody hears of.
	must[controller.Channel](t)(f.UpdateChannel(t.Context(), f.admin, "ops", controller.ChannelChange{Kinds: &[]string{controller.NoticeNoChannel}}, ""))
	f.conditions(0)
	f.tells("no_channel opened warning 1: Nobody is told when backups fail")
	f.webhook(controller.ChannelSpec{Name: "team", Project: p.Slug, Kinds: []string{controller.NoticeBackupFailing}})
	f.over(time.Second)
	f.tells("no_channel closed warning 1: Over: Nobody is told when backups fail")
}

func TestConditions_Agents(t *testing.T) {
	t.Parallel()
	f := open(t)
	p, a := f.world("app")
	f.webhook(controller.ChannelSpec{Name: "ops", IsDefault: true})
	idle := f.enrol("idle", p)
	f.hello(idle)
	f.schedule(controller.ScheduleSpec{})
	f.conditions(0)
	f.tell()
	// Offline for a while; longer, where a schedule waits for it; back.
	f.conditions(4 * time.Minute)
	f.tells()
	f.conditions(6 * time.Minute)
	f.tells("agent_offline opened warning 1: Agent on db-7 is offline", "agent_offline opened warning 1: Agent on idle is offline")
	f.conditions(50 * time.Minute)
	f.tells()
	f.conditions(61 * time.Minute)
	f.tells("agent_offline opened critical 1: Agent on db-7 is offline")
	f.sql("UPDATE servers SET last_seen_at = now() + interval '62 minutes' WHERE name = 'db-7'")
	f.over(62 * time.Minute)
	f.tells("agent_offline closed critical 1: Agent on db-7 is back")
	must[controller.Server](t)(f.RevokeServer(t.Context(), f.admin, "idle"))
	f.conditions(63 * time.Minute)
	f.tells("agent_offline closed warning 1: No longer watched: Agent on idle is offline")
	// Neither a failing backup nor an overdue one is over because nobody looks any more.
	f.sql("UPDATE servers SET last_seen_at = now()")
	f.order("app")
	f.orderedBackup(a, true)
	f.collect()
	f.tells("backup_failing opened critical 1: Backup of app on db-7 failed")
	f.sql("UPDATE backup_schedules SET activated_at = now() - interval '10 days'; UPDATE databases SET first_seen_at = now() - interval '10 days', assigned_at = NULL")
	f.conditions(0)
	f.tells("overdue opened critical 1: Backup of app on db-7 is overdue")
	must[controller.Pause](t)(f.CreatePause(t.Context(), f.admin, controller.PauseSpec{Scope: controller.PauseProject, Project: p.Slug, Reason: "holidays"}))
	f.conditions(time.Second)
	f.tells("overdue closed critical 1: No longer watched: Backup of app on db-7 is overdue")
	f.sql("UPDATE pauses SET ended_at = now()")
	f.conditions(2 * time.Second)
	f.tells("overdue opened critical 1: Backup of app on db-7 is overdue")
	f.completed(a, "app")
	f.over(3 * time.Second)
	f.tells("overdue closed critical 1: Backup of app on db-7 is no longer overdue")
	must[controller.Database](t)(f.UnassignDatabase(t.Context(), f.admin, controller.DatabaseRef{Name: "app"}))
	f.sql("DELETE FROM facts")
	f.conditions(5 * time.Second)
	f.tells("backup_failing closed critical 1: No longer watched: Backup of app on db-7 failed")
}

// One controller does a round; what one saw before another began is not acted on.
func TestConditions_Fence(t *testing.T) {
	t.Parallel()
	f := open(t)
	two := f.another("two")
	now := f.now(0)
	s := must[controller.Standing](t)(f.Conditions(t.Context(), now, time.Minute, controller.DefaultPatience, nil))
	if !s.Done {
		t.Fatal("the first round was not done")
	}
	if s = must[controller.Standing](t)(two.Conditions(t.Context(), now.Add(50*time.Second), time.Minute, controller.DefaultPatience, nil)); s.Done {
		t.Fatal("a round was done twice")
	}
	equal(t, "done at", must[time.Time](t)(f.ConditionsDone(t.Context())).UnixMicro(), now.UnixMicro())
	if s = must[controller.Standing](t)(two.Conditions(t.Context(), now.Add(time.Minute), time.Minute, controller.DefaultPatience, nil)); !s.Done {
		t.Fatal("the second round was not done")
	}
	// A storage that jobs fail at is probed soon; a good one daily; each by one controller.
	_, a := f.world("app")
	due := func(more time.Duration) int {
		t.Helper()
		return len(must[[]int64](t)(f.DueProbes(t.Context(), f.now(more), 5*time.Minute)))
	}
	equal(t, "due probes", due(0), 0)
	f.order("app")
	o := f.started(a)
	f.sql("UPDATE jobs SET max_attempts = 1")
	f.report(a, o, fails(wire.CodeStorageDenied))
	f.collect()
	equal(t, "due probes after a failure", due(time.Minute), 1)
	equal(t, "due probes after that", due(12*time.Minute), 0)
	f.sql("UPDATE storages SET probe_ok = false")
	equal(t, "due probes of one that failed", due(18*time.Minute), 1)
	equal(t, "due probes of one that failed a moment ago", due(20*time.Minute), 0)
	f.sql("UPDATE storages SET probe_ok = true")
	equal(t, "due probes a day after", due(25*time.Hour), 1)
}

func TestRemind(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.installed(time.Now())
	p, a := f.world("app")
	f.webhook(controller.ChannelSpec{Name: "hourly", Project: p.Slug, RemindHours: ptr(1)})
	f.webhook(controller.ChannelSpec{Name: "daily", Project: p.Slug})
	f.webhook(controller.ChannelSpec{Name: "never", Project: p.Slug, RemindHours: ptr(0)})
	f.order("app")
	f.orderedBackup(a, true)
	f.collect()
	f.tells("backup_failing opened critical 3: Backup of app on db-7 failed")
	remind := func(after time.Duration, want string) {
		t.Helper()
		must[int](t)(f.Remind(t.Context(), f.now(after)))
		equal(t, fmt.Sprintf("reminded after %s", after), f.sql(`SELECT coalesce(string_agg(c.name, ' ' ORDER BY c.name), '') FROM notices n JOIN deliveries e ON e.notice_id = n.id JOIN channels c ON c.id = e.channel_id
			WHERE n.event = 'reminder' AND n.id > (SELECT coalesce(max(id), 0) FROM seen_notices)`), want)
		f.tell()
	}
	remind(59*time.Minute, "")
	remind(61*time.Minute, "hourly")
	remind(63*time.Minute, "")
	remind(23*time.Hour, "hourly")
	remind(24*time.Hour+time.Minute, "daily hourly")
	remind(26*time.Hour, "hourly")
	must[controller.Mute](t)(f.CreateMute(t.Context(), f.admin, controller.MuteSpec{Scope: controller.MuteAlarm, Ref: "1", For: 48 * time.Hour, Reason: "known"}))
	remind(28*time.Hour, "")
	remind(49*time.Hour, "daily hourly") // the mute is over
	f.sql("UPDATE alarms SET closed_at = now()")
	remind(90*time.Hour, "")

	// The weekly summary: once each week, by whichever controller, and late rather than never.
	two := f.another("two")
	f.sql("UPDATE installation SET summary_day = 1, summary_time = '08:00', timezone = 'Europe/Berlin'")
	berlin := must[*time.Location](t)(controller.LoadZone("Europe/Berlin"))
	monday := time.Date(2027, 3, 29, 8, 0, 0, 0, berlin) // the clock went forward the day before
	summary := func(at time.Time, want bool) {
		t.Helper()
		one, other := must[bool](t)(f.Summarise(t.Context(), at)), must[bool](t)(two.Summarise(t.Context(), at))
		if one != want || other {
			t.Fatalf("summaries at %s: %v and %v, want %v and none", at, one, other, want)
		}
	}
	summary(monday.AddDate(0, 0, -10), false) // no week was whole before
	summary(monday.Add(-time.Second), true)   // that of the Monday before, late
	summary(monday.Add(time.Second), true)
	summary(monday.Add(100*time.Hour), false)
	f.sql("UPDATE installation SET summary_day = 3")
	summary(monday.AddDate(0, 0, 2).Add(time.Minute), false) // two days later is no week
	f.sql("UPDATE installation SET summary_day = NULL")
	summary(monday.AddDate(0, 0, 30), false)
	detail := f.sql("SELECT title || '|' || unsent || '|' || detail FROM notices WHERE kind = 'weekly_summary' ORDER BY id DESC LIMIT 1")
	for _, word := range []string{"Backups of the week to 2027-03-29: 0 completed, 0 failed|nowhere|", "Databases: 1, of them 0 protected", "Open alarms: 0 critical, 0 warning"} {
		if !strings.Contains(detail, word) {
			t.Fatalf("summary %q does not say %q", detail, word)
		}
	}
}

func TestTrimNotices(t *testing.T) {
	t.Parallel()
	f := open(t)
	_, a := f.world("app")
	f.webhook(controller.ChannelSpec{Name: "ops", IsDefault: true})
	f.order("app")
	f.orderedBackup(a, true)
	f.ok(f.AddSecurityEvent(t.Context(), "", controller.EventForgedDirective, "one", 1))
	f.collect()
	must[int](t)(f.PlanMessages(t.Context(), f.now(time.Minute), controller.DefaultGrouping, ""))
	m := must[*controller.Outgoing](t)(f.ClaimMessage(t.Context(), f.now(time.Minute)))
	f.ok(f.MessageSent(t.Context(), f.now(time.Minute), *m))
	left := func(more time.Duration) string {
		t.Helper()
		f.ok(f.TrimNotices(t.Context(), f.now(more)))
		return f.sql("SELECT (SELECT count(*) FROM notices) || ' ' || (SELECT count(*) FROM deliveries) || ' ' || (SELECT count(*) FROM messages) || ' ' || (SELECT count(*) FROM alarms)")
	}
	equal(t, "left after a while", left(89*24*time.Hour), "2 2 1 1")
	equal(t, "left of what stands", left(91*24*time.Hour), "1 1 1 1")
	f.sql("UPDATE alarms SET closed_at = now()")
	equal(t, "left of what is over", left(92*24*time.Hour), "0 0 0 1")
	equal(t, "left after a year", left(401*24*time.Hour), "0 0 0 0")
}
