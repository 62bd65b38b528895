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

// told are databases and their states, "name state".
func protectionTold(rows []controller.Protection) []string {
	out := []string{}
	for _, p := range rows {
		out = append(out, p.Database+" "+p.State)
	}
	return out
}

func (f *fix) protection(actor controller.Actor, filter controller.ProtectionFilter) []controller.Protection {
	f.Helper()
	return must[[]controller.Protection](f)(f.Protection(f.Context(), actor, filter))
}

func (f *fix) protectionOf(name string) controller.Protection {
	f.Helper()
	rows := f.protection(f.admin, controller.ProtectionFilter{Search: name})
	if len(rows) != 1 {
		f.Fatalf("%d databases are like %q", len(rows), name)
	}
	return rows[0]
}

// TestProtection: every way in which a schedule covers a database or does not, what counts as a good backup, and what is wrong.
func TestProtection(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	p, a := f.world("app", "blog", "shop_1", "quiet", "spare")
	other := f.project("other")
	daily := controller.Timing{Frequency: controller.FrequencyDaily, Time: "02:00"}
	single := f.schedule(controller.ScheduleSpec{Project: "shop", Timing: daily, Target: controller.Target{Database: controller.DatabaseRef{Name: "app"}}})
	pattern := f.schedule(controller.ScheduleSpec{Project: "shop", Timing: daily, Target: controller.Target{Pattern: "shop_*"}})
	f.schedule(controller.ScheduleSpec{Project: "shop", Timing: daily, IsActive: new(bool)}) // covers nothing
	f.schedule(controller.ScheduleSpec{Project: "shop", Timing: daily, Target: controller.Target{DatabaseType: wire.EngineMySQL}})
	f.sql("UPDATE databases SET project_id = NULL WHERE name = 'spare'")
	f.sql("UPDATE databases SET first_seen_at = now() - interval '1 year'; UPDATE databases SET assigned_at = now() - interval '300 days' WHERE project_id IS NOT NULL")
	alike(t, "schedules made now", protectionTold(f.protection(f.admin, controller.ProtectionFilter{})), []string{"app waiting", "blog unprotected", "quiet unprotected", "shop_1 waiting", "spare unprotected"})
	equal(t, "interval", f.sql("SELECT DISTINCT interval_seconds FROM backup_schedules WHERE is_active"), "86400")
	if p := f.protectionOf("app"); p.ExpectedSeconds != int64(controller.ExpectWithin(24*time.Hour, 15*time.Minute, time.Hour)/time.Second) || !slices.Equal(p.Schedules, []int64{single.ID}) {
		t.Errorf("%+v", p)
	}
	f.sql("UPDATE backup_schedules SET activated_at = now() - interval '200 days'")
	alike(t, "no backup", protectionTold(f.protection(f.admin, controller.ProtectionFilter{Project: "shop"})), []string{"app overdue", "blog unprotected", "quiet unprotected", "shop_1 overdue"})

	// What was not computed yet is computed, and is not taken for something else: also of a zone that is no longer known.
	f.sql("UPDATE backup_schedules SET interval_seconds = NULL, timezone = 'Nowhere/Atall', problem = 'its zone is not known' WHERE id = %d", single.ID)
	if p := f.protectionOf("app"); p.State != controller.ProtectionOverdue || p.ExpectedSeconds != int64(controller.ExpectWithin(24*time.Hour, 15*time.Minute, time.Hour)/time.Second) {
		t.Errorf("%+v", p)
	}
	f.sql("UPDATE backup_schedules SET timezone = 'UTC', problem = '' WHERE id = %d", single.ID)

	// Good ones are completed, healthy and there.
	var made []controller.Backup
	for i := range 4 {
		b := f.completed(a, "app")
		f.sql("UPDATE database_backups SET completed_at = now() - interval '1 hour' * %d, started_at = now() - interval '1 hour' * %d - interval '%d seconds', file_size = %d WHERE id = %d", 10-i, 10-i, 10+i, 1000+i, b.ID)
		made = append(made, b)
	}
	f.sql("UPDATE database_backups SET health = 'corrupt' WHERE id = %d; UPDATE database_backups SET health = 'archived', verified_at = now(), verified_level = 'content' WHERE id = %d", made[3].ID, made[2].ID)
	got := f.protectionOf("app")
	if got.State != controller.ProtectionProtected || got.LastGoodID == nil || *got.LastGoodID != made[2].ID || got.VerifiedAt == nil || got.VerifiedLevel != "content" || !got.Online || got.LastStatus != controller.StatusCompleted ||
		got.AgeSeconds == nil || *got.AgeSeconds < 8*3600 || *got.AgeSeconds > 8*3600+60 || got.OverdueAt == nil {
		t.Errorf("%+v", got)
	}
	if !slices.Equal(got.Sizes, []int64{1000, 1001, 1002, 1003}) || !slices.Equal(got.Seconds, []float64{10, 11, 12, 13}) || got.SizeTrend == nil || *got.SizeTrend < 1 || *got.SizeTrend > 1.01 {
		t.Errorf("sizes %v, seconds %v, trend %v", got.Sizes, got.Seconds, got.SizeTrend)
	}
	must[controller.Backup](t)(f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: made[2].ID, Confirm: "app"}))
	if got := f.protectionOf("app"); got.LastGoodID == nil || *got.LastGoodID != made[1].ID || got.VerifiedAt != nil {
		t.Errorf("after a deletion: %+v", got)
	}

	// The newest failed.
	f.order("shop_1")
	o := f.started(a)
	r := fails(wire.CodeToolFailed)
	r.Attempt, r.Failure.Retryable = o.Attempt, false
	f.ok(f.ReportDone(ctx, a.AgentID, a.session, r))
	if got := f.protectionOf("shop_1"); got.State != controller.ProtectionOverdue || got.LastStatus != controller.StatusFailed || got.LastError == "" || len(got.Sizes) != 0 {
		t.Errorf("%+v", got)
	}

	// A project's default covers what nothing else does.
	byDefault := f.schedule(controller.ScheduleSpec{Project: "shop", Timing: daily, Target: controller.Target{Scope: controller.ScopeDefault}})
	alike(t, "default", protectionTold(f.protection(f.admin, controller.ProtectionFilter{Project: "shop"})), []string{"app protected", "blog waiting", "quiet waiting", "shop_1 overdue"})
	if got := f.protectionOf("shop_1"); !slices.Equal(got.Schedules, []int64{pattern.ID}) {
		t.Errorf("%+v", got.Schedules)
	}

	// Pauses hold back what they cover; one of several schedules is enough to go on.
	for _, scope := range []controller.PauseSpec{{Scope: controller.PauseEverything}, {Scope: controller.PauseServer, Server: a.Name}, {Scope: controller.PauseProject, Project: "shop"}, {Scope: controller.PauseSchedule, Schedule: byDefault.ID}} {
		scope.Reason = "moving"
		pause := must[controller.Pause](t)(f.CreatePause(ctx, f.admin, scope))
		got := f.protectionOf("quiet")
		if got.State != controller.ProtectionPaused || !strings.Contains(got.Reason, "moving") {
			t.Errorf("%s: %s, %s", scope.Scope, got.State, got.Reason)
		}
		equal(t, scope.Scope+" leaves app", f.protectionOf("app").State == controller.ProtectionPaused, scope.Scope != controller.PauseSchedule)
		must[controller.Pause](t)(f.EndPause(ctx, f.admin, pause.ID))
	}
	f.ok(f.DeleteSchedule(ctx, f.admin, byDefault.ID))

	// A recorded choice; it does not hide what a schedule covers.
	quiet := f.protectionOf("quiet").DatabaseID
	ignored := must[controller.Protection](t)(f.IgnoreDatabase(ctx, only(p), quiet, " a copy of app "))
	if ignored.State != controller.ProtectionIgnored || ignored.IgnoredReason != "a copy of app" || ignored.IgnoredAt == nil || ignored.Reason != "ignored by choice: a copy of app" {
		t.Errorf("%+v", ignored)
	}
	equal(t, "audit", f.sql("SELECT action || ' ' || subject || ' ' || (detail->>'reason') || ' ' || (project_id = %d) FROM audit_log WHERE action LIKE 'database.%%ignore'", p.ID), "database.ignore "+a.Name+"/main/quiet a copy of app true")
	watched := must[controller.Protection](t)(f.IgnoreDatabase(ctx, f.admin, f.protectionOf("app").DatabaseID, "tired of it"))
	if watched.State != controller.ProtectionProtected || !strings.HasSuffix(watched.Reason, "it is ignored by choice, but a schedule covers it") {
		t.Errorf("%+v", watched)
	}
	_, err := f.IgnoreDatabase(ctx, f.admin, quiet, "  ")
	f.refused(err, controller.EInvalid, "reason")
	_, err = f.IgnoreDatabase(ctx, only(other), quiet, "not mine")
	f.refused(err, controller.ENotFound)
	for _, d := range must[controller.Overview](t)(f.Overview(ctx, f.admin)).Unscheduled {
		if d.Name == "quiet" {
			t.Error("an ignored database is told to have no schedule")
		}
	}

	// Who sees what, by state and in parts.
	alike(t, "the project's", protectionTold(f.protection(only(p), controller.ProtectionFilter{})), []string{"app protected", "blog unprotected", "quiet ignored", "shop_1 overdue"})
	alike(t, "another's", protectionTold(f.protection(only(other), controller.ProtectionFilter{})), []string{})
	_, err = f.Protection(ctx, only(other), controller.ProtectionFilter{Project: "shop"})
	f.refused(err, controller.ENotFound)
	unprotected := controller.ProtectionFilter{State: controller.ProtectionUnprotected}
	alike(t, "by state", protectionTold(f.protection(f.admin, unprotected)), []string{"blog unprotected", "spare unprotected"})
	equal(t, "counted", must[controller.Total](t)(f.CountProtection(ctx, f.admin, unprotected)), controller.Total{N: 2})
	equal(t, "all counted", must[controller.Total](t)(f.CountProtection(ctx, f.admin, controller.ProtectionFilter{})), controller.Total{N: 5})
	second := unprotected
	second.Part = controller.Part{NumberedPage: controller.NumberedPage{Page: 2, PerPage: 1}}
	alike(t, "second page", protectionTold(f.protection(f.admin, second)), []string{"spare unprotected"})
	second.Part = controller.Part{AfterID: f.protectionOf("blog").DatabaseID, Limit: 1}
	alike(t, "after blog", protectionTold(f.protection(f.admin, second)), []string{"spare unprotected"})
	_, err = f.Protection(ctx, f.admin, controller.ProtectionFilter{State: "fine"})
	f.refused(err, controller.EInvalid, "state", "overdue")
	var paged []string
	for after := int64(0); ; {
		page := must[[]controller.Protection](t)(f.ProtectionPage(ctx, after, 2))
		if len(page) == 0 {
			break
		}
		paged = append(paged, protectionTold(page)...)
		after = page[len(page)-1].DatabaseID
	}
	slices.Sort(paged)
	alike(t, "whole installation", paged, []string{"app protected", "blog unprotected", "quiet ignored", "shop_1 overdue", "spare unprotected"})

	// What is wrong.
	f.sql(`UPDATE storages SET probe_ok = false, probed_at = now(); UPDATE servers SET last_seen_at = now() - interval '1 day';
		INSERT INTO alarms (kind, key, severity, project_id, title) VALUES ('overdue', 'k1', 'critical', %d, 'shop_1 is overdue'), ('agent_outdated', 'k2', 'info', NULL, 'old'), ('token_expiring', 'k3', 'warning', NULL, 'soon'), ('token_expiring', 'k4', 'warning', NULL, 'muted');
		INSERT INTO mutes (scope, alarm_id, until, reason) SELECT 'alarm', id, now() + interval '1 hour', 'known' FROM alarms WHERE key = 'k4'`, p.ID)
	wrong := func(actor controller.Actor, project string) []string {
		var out []string
		for _, w := range must[controller.ProtectionSummary](t)(f.ProtectionSummary(ctx, actor, project)).Wrong {
			out = append(out, fmt.Sprintf("%s %s %d %s", w.Kind, w.Severity, w.Count, strings.Join(w.Names, ",")))
		}
		return out
	}
	alike(t, "wrong", wrong(f.admin, ""), []string{
		"overdue critical 1 shop_1", "corrupt critical 1 app", "failing critical 1 shop_1", "storage critical 1 s3", "unprotected warning 2 blog,spare", "offline warning 1 " + a.Name, "alarm warning 2 shop_1 is overdue,soon",
	})
	shops := []string{"overdue critical 1 shop_1", "corrupt critical 1 app", "failing critical 1 shop_1", "storage critical 1 s3", "unprotected warning 1 blog", "offline warning 1 " + a.Name, "alarm warning 1 shop_1 is overdue"}
	alike(t, "wrong with the project, for all", wrong(f.admin, "shop"), shops)
	alike(t, "wrong for the project", wrong(only(p), ""), shops)
	alike(t, "wrong for another", wrong(only(other), ""), []string{"storage critical 1 s3"})
	s := must[controller.ProtectionSummary](t)(f.ProtectionSummary(ctx, f.admin, ""))
	if s.Databases != 5 || s.States["protected"] != 1 || s.States["unprotected"] != 2 || s.States["ignored"] != 1 || s.States["overdue"] != 1 || len(s.States) != len(controller.ProtectionStates) || s.Unverified != 1 || s.Alarms["critical"] != 1 || s.Alarms["info"] != 1 {
		t.Errorf("%+v", s)
	}

	// Gone, and back in nobody's hands; another project does not see what was backed up for the first.
	f.sql("UPDATE databases SET missing_since = now() - interval '2 days' WHERE name = 'shop_1'; UPDATE databases SET project_id = %d, assigned_at = now() WHERE name = 'app'", other.ID)
	equal(t, "missing", f.protectionOf("shop_1").State, controller.ProtectionGone)
	if got := f.protectionOf("app"); got.LastGoodID != nil || got.LastStatus != "" || len(got.Sizes) != 0 || len(got.Schedules) != 0 {
		t.Errorf("of another project: %+v", got)
	}
	freed := must[controller.Protection](t)(f.UnignoreDatabase(ctx, f.admin, quiet))
	if freed.State != controller.ProtectionUnprotected || freed.IgnoredAt != nil || freed.IgnoredReason != "" {
		t.Errorf("%+v", freed)
	}
	must[controller.Protection](t)(f.UnignoreDatabase(ctx, f.admin, quiet))
	equal(t, "audit of the way back", f.sql("SELECT count(*) FROM audit_log WHERE action = 'database.unignore'"), "1")
}

// TestProtection_Activated: a schedule is given its time anew when it is activated or given other times, and not when anything else is changed.
func TestProtection_Activated(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	f.world("app")
	s := f.schedule(controller.ScheduleSpec{Project: "shop", Timing: controller.Timing{Frequency: controller.FrequencyDaily, Time: "02:00", Timezone: "Europe/Berlin"}})
	equal(t, "interval", f.sql("SELECT interval_seconds FROM backup_schedules"), "90000")
	on, off, weekly, day, days := true, false, controller.FrequencyWeekly, 3, 9
	for _, c := range []struct {
		name     string
		change   controller.ScheduleChange
		anew     bool
		interval string
	}{
		{"retention", controller.ScheduleChange{RetentionDays: &days}, false, "90000"},
		{"active already", controller.ScheduleChange{IsActive: &on}, false, "90000"},
		{"frequency", controller.ScheduleChange{Frequency: &weekly, DayOfWeek: &day}, true, "608400"},
		{"deactivated", controller.ScheduleChange{IsActive: &off}, false, "608400"},
		{"activated", controller.ScheduleChange{IsActive: &on}, true, "608400"},
	} {
		f.sql("UPDATE backup_schedules SET activated_at = '2026-01-01Z'")
		must[controller.Schedule](t)(f.UpdateSchedule(ctx, f.admin, s.ID, c.change))
		equal(t, c.name, f.sql("SELECT activated_at > '2026-01-02Z' FROM backup_schedules"), fmt.Sprint(c.anew)[:1])
		equal(t, c.name+": interval", f.sql("SELECT interval_seconds FROM backup_schedules"), c.interval)
	}
	must[controller.Database](t)(f.UnassignDatabase(ctx, f.admin, controller.DatabaseRef{Name: "app"}))
	f.sql("UPDATE databases SET assigned_at = NULL")
	must[controller.Database](t)(f.AssignDatabase(ctx, f.admin, controller.DatabaseRef{Name: "app"}, "shop"))
	equal(t, "assigned", f.sql("SELECT assigned_at IS NOT NULL FROM databases"), "t")
}
