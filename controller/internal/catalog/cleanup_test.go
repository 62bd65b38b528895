package catalog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/catalog"
	"devflowbackup/controller/internal/retention"
)

// lines is a log that tests read.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lines) count(s string) int { return strings.Count(l.String(), s) }

func logger(to *lines) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Output: to, Level: hclog.Debug})
}

func logTo(t testing.TB) hclog.Logger {
	to := &lines{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", to)
		}
	})
	return logger(to)
}

func clock(now func() time.Time) func(context.Context) (time.Time, error) {
	return func(context.Context) (time.Time, error) { return now(), nil }
}

// hands is a clock that a test sets.
type hands struct{ at atomic.Int64 }

func (h *hands) set(t time.Time) { h.at.Store(t.Unix()) }
func (h *hands) now() time.Time  { return time.Unix(h.at.Load(), 0) }

// installed makes the installation, with the daily clean-up in effect since then.
func (f *fix) installed(since time.Time) {
	f.Helper()
	if !must[bool](f)(f.CreateInstallation(f.Context(), controller.Installation{UID: "u", CheckValue: []byte("c"), EscrowMaster: []byte("e")})) {
		f.Fatal("the installation was there already")
	}
	f.sql("UPDATE installation SET cleanup_since = '%s'", since.UTC().Format(time.RFC3339))
}

// counted is a store that counts, and waits before each database where it is told to.
type counted struct {
	retention.Store
	settings atomic.Int64 // how often it was looked whether something is due
	cleaned  atomic.Int64
	gate     chan struct{} // nil: no waiting
	fail     atomic.Pointer[error]
}

func (c *counted) CleanupSettings(ctx context.Context) (controller.Settings, time.Time, error) {
	c.settings.Add(1)
	return c.Store.CleanupSettings(ctx)
}

func (c *counted) CleanDatabase(ctx context.Context, actor controller.Actor, database int64, req controller.CleanupRequest, now time.Time) ([]controller.CleanupItem, error) {
	if c.gate != nil {
		select {
		case <-c.gate:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	c.cleaned.Add(1)
	if err := c.fail.Load(); err != nil && !req.DryRun {
		return nil, *err
	}
	return c.Store.CleanDatabase(ctx, actor, database, req, now)
}

// let lets one database pass the gate.
func (c *counted) let(t testing.TB) {
	t.Helper()
	select {
	case c.gate <- struct{}{}:
	case <-time.After(20 * time.Second):
		t.Fatal("no database is cleaned up")
	}
}

// looks waits until it was looked n more times.
func (c *counted) looks(t testing.TB, n int64) {
	t.Helper()
	want := c.settings.Load() + n
	eventually(t, "it is looked for what is due", func() bool { return c.settings.Load() >= want })
}

// TestRunner_Daily: once a day, at its time in its zone, by one controller; once after any time in which none was up; never before the
// first time of a new installation.
func TestRunner_Daily(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	f.world("app")
	db := f.databases()["app"]
	var h hands
	h.set(date(t, "2026-11-20 12:00"))
	one, two := &counted{Store: f.Catalog}, &counted{Store: f.another("two")}
	runners := []*retention.Runner{f.runner(one, h.now), f.runner(two, h.now)}
	for _, r := range runners {
		r.Start(ctx)
		r.Start(ctx)
		t.Cleanup(r.Stop)
	}
	runs := func(want string) {
		t.Helper()
		eventually(t, "clean-ups "+want, func() bool {
			return f.sql("SELECT coalesce(string_agg(to_char(at, 'MM-DD HH24:MI'), ' ' ORDER BY at), '') FROM cleanups WHERE ended_at IS NOT NULL") == want
		})
		one.looks(t, 3)
		two.looks(t, 3)
		equal(t, "clean-ups", f.sql("SELECT coalesce(string_agg(to_char(at, 'MM-DD HH24:MI') || CASE kind WHEN 'daily' THEN '' ELSE kind END, ' ' ORDER BY at), '') FROM cleanups"), want)
	}
	runs("") // no installation yet
	f.installed(h.now())
	runs("") // 00:00 of that day was before it
	s := f.dailyOf(db, controller.Retention{Daily: 1})
	ids := f.had(
		past{database: db, schedule: s.ID, at: date(t, "2026-11-17 02:00"), level: "content"},
		past{database: db, schedule: s.ID, at: date(t, "2026-11-18 02:00")},
		past{database: db, schedule: s.ID, at: date(t, "2026-11-20 02:00")},
	)
	h.set(date(t, "2026-11-20 23:59"))
	runs("")
	h.set(date(t, "2026-11-21 00:00"))
	runs("11-21 00:00")
	same(t, "kept", f.kept(ids), pick(ids, 0, 2))
	equal(t, "totals", f.sql("SELECT concat_ws(' ', kept, postponed, removed, removed_bytes, failed, error) FROM cleanups"), "2 0 1 1000 0 ")
	if b := f.backup(ids[1]); b.DeleteAfter.Sub(*b.DeletedAt) != controller.CleanupGrace {
		t.Errorf("grace of %s", b.DeleteAfter.Sub(*b.DeletedAt))
	}
	equal(t, "who did it", f.sql("SELECT string_agg(DISTINCT actor, ' ') FROM audit_log WHERE action = 'backup.expire'"), "retention")
	h.set(date(t, "2026-11-21 23:00"))
	runs("11-21 00:00")

	// None was up for days: the newest is made up for, once.
	for _, r := range runners {
		r.Stop()
		r.Stop()
	}
	h.set(date(t, "2026-11-28 07:00"))
	for _, r := range runners {
		r.Start(ctx)
	}
	runs("11-21 00:00 11-28 00:00")

	// Another time and zone hold from then on; the time that has passed today does not come again.
	for _, r := range runners { // one that has read the old settings would look at the new time
		r.Stop()
	}
	now := must[time.Time](t)(f.Now(ctx))
	got := must[controller.Settings](t)(f.UpdateSettings(ctx, f.admin, controller.Settings{Timezone: "Asia/Kolkata", CleanupTime: "03:30"})) // 22:00 UTC
	equal(t, "settings", got, controller.Settings{Timezone: "Asia/Kolkata", CleanupTime: "03:30", SummaryDay: "1", SummaryTime: "08:00"})
	h.set(now)
	for _, r := range runners {
		r.Start(ctx)
	}
	runs("11-21 00:00 11-28 00:00")
	calendar, err := got.Calendar()
	f.ok(err)
	next := calendar.Next(now)
	equal(t, "22:00 UTC", next.Format("15:04"), "22:00")
	h.set(next)
	eventually(t, "the clean-up at the new time", func() bool {
		return f.sql("SELECT count(*) FROM cleanups WHERE at = '%s' AND ended_at IS NOT NULL", next.Format(time.RFC3339)) == "1"
	})
}

// TestRunner_Settings: what is not a time or a zone is refused; a zone that is no longer known stops the clean-up instead of moving it.
func TestRunner_Settings(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	p := f.project("shop")
	equal(t, "settings", must[controller.Settings](t)(f.Settings(ctx, only(p))), controller.Settings{Timezone: "UTC", CleanupTime: "00:00", SummaryDay: "1", SummaryTime: "08:00"})
	_, err := f.UpdateSettings(ctx, f.admin, controller.Settings{CleanupTime: "01:00"})
	f.refused(err, controller.EUnavailable)
	f.installed(date(t, "2026-11-20 12:00"))
	_, err = f.UpdateSettings(ctx, f.admin, controller.Settings{CleanupTime: "25:00"})
	f.refused(err, controller.EInvalid, "cleanup_time", "25:00")
	_, err = f.UpdateSettings(ctx, f.admin, controller.Settings{Timezone: "Mars/Olympus"})
	f.refused(err, controller.EInvalid, "timezone", "Mars/Olympus")
	_, err = f.UpdateSettings(ctx, only(p), controller.Settings{CleanupTime: "01:00"})
	f.refused(err, controller.EForbidden, "settings")
	got := must[controller.Settings](t)(f.UpdateSettings(ctx, f.admin, controller.Settings{Timezone: "Europe/Berlin"}))
	equal(t, "settings", got.Timezone, "Europe/Berlin")
	must[controller.Settings](t)(f.UpdateSettings(ctx, f.admin, controller.Settings{})) // nothing changes
	equal(t, "audit entries", f.sql("SELECT string_agg(detail->>'timezone_before' || '>' || (detail->>'timezone'), ' ') FROM audit_log WHERE action = 'settings.update'"), "UTC>Europe/Berlin")

	f.sql("UPDATE installation SET timezone = 'Mars/Olympus', cleanup_since = '2020-01-01'")
	var h hands
	h.set(date(t, "2026-11-23 12:00"))
	store, log := &counted{Store: f.Catalog}, &lines{}
	r := retention.NewRunner(retention.Options{Store: store, Log: logger(log), Now: clock(h.now), Tick: time.Millisecond})
	r.Start(ctx)
	defer r.Stop()
	store.looks(t, 5)
	equal(t, "clean-ups in a zone that is not known", f.sql("SELECT count(*) FROM cleanups"), "0")
	equal(t, "errors in the log", log.count("[ERROR]"), 1)
	f.sql("UPDATE installation SET timezone = 'Europe/Berlin'")
	eventually(t, "it goes on", func() bool {
		return f.sql("SELECT to_char(max(at), 'DD HH24:MI') FROM cleanups WHERE ended_at IS NOT NULL") == "22 23:00"
	})
}

// TestRunner_Crash: a daily clean-up that a controller leaves half done is gone on with by another one, after a while, and its numbers
// add up; the first one, should it wake up, stops.
func TestRunner_Crash(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	names := []string{"a", "b", "c"}
	f.world(names...)
	db := f.databases()
	now := date(t, "2026-11-23 12:00")
	f.installed(now.AddDate(0, 0, -3))
	var rows []past
	for _, name := range names {
		s := f.dailyOf(db[name], controller.Retention{Daily: 1})
		rows = append(rows, past{database: db[name], schedule: s.ID, at: now.AddDate(0, 0, -9), level: "content"},
			past{database: db[name], schedule: s.ID, at: now.AddDate(0, 0, -8)}, past{database: db[name], schedule: s.ID, at: now.AddDate(0, 0, -1)})
	}
	ids := f.had(rows...)
	at := now.Truncate(24 * time.Hour)
	first, done, err := f.ClaimDaily(ctx, at)
	f.ok(err)
	if first.ID == 0 || done {
		t.Fatalf("%+v, %t", first, done)
	}
	must[[]controller.CleanupItem](t)(f.CleanDatabase(ctx, f.admin, db["a"], controller.CleanupRequest{}, now))
	first = must[retention.Claim](t)(f.ExtendCleanup(ctx, first, controller.CleanupResult{Removed: 1, RemovedBytes: 1000}))

	two := &counted{Store: f.another("two")}
	r := f.runner(two, func() time.Time { return now })
	r.Start(ctx)
	defer r.Stop()
	two.looks(t, 3)
	equal(t, "databases that a second controller cleaned up", two.cleaned.Load(), 0)
	f.sql("UPDATE cleanups SET claim_until = now() - interval '1 second'")
	eventually(t, "the second controller goes on", func() bool { return f.sql("SELECT ended_at IS NOT NULL FROM cleanups") == "t" })
	equal(t, "left", len(f.kept(ids)), 6)
	equal(t, "totals", f.sql("SELECT concat_ws(' ', kept, removed, removed_bytes, failed) FROM cleanups"), "6 3 3000 0")
	if _, err := f.ExtendCleanup(ctx, first, controller.CleanupResult{}); !errors.Is(err, retention.ErrClaimLost) {
		t.Errorf("the first one may go on: %v", err)
	}
	if err := f.EndCleanup(ctx, first, controller.CleanupResult{Removed: 99}, ""); !errors.Is(err, retention.ErrClaimLost) {
		t.Errorf("the first one may end it: %v", err)
	}
	claim, done, err := f.ClaimDaily(ctx, at)
	f.ok(err)
	if claim.ID != 0 || !done {
		t.Errorf("it can be claimed again: %+v, %t", claim, done)
	}
}

// TestRunner_AfterBackup: retention of a schedule is applied after each of its completed backups, to nothing else.
func TestRunner_AfterBackup(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	f.world("app", "crm")
	db := f.databases()
	now := time.Now()
	s, other := f.dailyOf(db["app"], controller.Retention{Daily: 1}), f.dailyOf(db["crm"], controller.Retention{Daily: 1})
	var mine, theirs []int64
	for i := range 3 {
		mine = append(mine, f.had(past{database: db["app"], schedule: s.ID, at: now.AddDate(0, 0, i-5)})...)
		theirs = append(theirs, f.had(past{database: db["crm"], schedule: other.ID, at: now.AddDate(0, 0, i-5)}, past{database: db["app"], kind: "manual", at: now.AddDate(-1, 0, i)})...)
	}
	f.sql("UPDATE backup_schedules SET cleanup_at = now() WHERE id = %d", s.ID)
	one := &counted{Store: f.Catalog, gate: make(chan struct{})}
	r := f.runner(one, time.Now)
	r.Start(ctx)
	defer r.Stop()
	one.let(t)
	eventually(t, "it is done once", func() bool { return one.cleaned.Load() == 1 })
	eventually(t, "nothing is due", func() bool { return f.sql("SELECT count(*) FROM backup_schedules WHERE cleanup_at IS NOT NULL") == "0" })
	same(t, "its own", f.kept(mine), pick(mine, 0, 2))
	same(t, "others", f.kept(theirs), theirs)

	f.sql("UPDATE backup_schedules SET cleanup_at = now() WHERE id = %d", s.ID)
	// It is at work, and another backup of the schedule is completed meanwhile.
	eventually(t, "it is taken", func() bool {
		return f.sql("SELECT cleanup_at > now() FROM backup_schedules WHERE id = %d", s.ID) == "t"
	})
	more := f.had(past{database: db["app"], schedule: s.ID, at: now.Add(time.Minute)})
	f.sql("UPDATE backup_schedules SET cleanup_at = now() WHERE id = %d", s.ID)
	one.let(t)
	one.let(t)
	eventually(t, "it is done for that one too", func() bool {
		return one.cleaned.Load() == 3 && f.sql("SELECT count(*) FROM backup_schedules WHERE cleanup_at IS NOT NULL") == "0"
	})
	same(t, "its own", f.kept(append(mine, more...)), append(pick(mine, 0), more...))
}

// TestClean_Failures: what cannot be removed is counted and said, and keeps nothing else from being removed.
func TestClean_Failures(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	f.world("app", "crm")
	db := f.databases()
	now := time.Now()
	var rows []past
	for _, name := range []string{"app", "crm"} {
		s := f.dailyOf(db[name], controller.Retention{Daily: 1})
		for i := range 4 {
			rows = append(rows, past{database: db[name], schedule: s.ID, at: now.AddDate(0, 0, i-9)})
		}
	}
	ids := f.had(rows...)
	store, log := &failing{Store: f.Catalog, database: db["app"], err: errors.New("constraint violated: secret-canary")}, &lines{}
	r := retention.NewRunner(retention.Options{Store: store, Log: logger(log), Now: f.Now})
	res := must[controller.CleanupResult](t)(r.Clean(ctx, f.admin, controller.CleanupRequest{Grace: -1}))
	if res.Failed != 2 || res.Removed != 2 || res.Kept != 4 || len(res.Items) != 8 || res.Truncated {
		t.Fatalf("%+v", res)
	}
	for _, i := range res.Items[:2] {
		if i.DatabaseName != "app" || i.Removed || i.Error == "" || strings.Contains(i.Error, "canary") {
			t.Errorf("%+v", i)
		}
	}
	if i := res.Items[2]; i.DatabaseName != "crm" || !i.Removed || i.DeleteAfter == nil || i.DeleteAfter.Sub(now.Add(controller.CleanupGrace)).Abs() > time.Minute {
		t.Errorf("%+v", i)
	}
	same(t, "left", f.kept(ids), pick(ids, 0, 1, 2, 3, 4, 7))
	equal(t, "totals", f.sql("SELECT concat_ws(' ', kept, removed, failed, error) FROM cleanups"), fmt.Sprintf("4 2 2 backup %d: an internal error; the controller's log has it", res.Items[0].BackupID))
	if log.count("[ERROR]") != 2 || log.count("secret-canary") != 1 || log.count("failed=2") != 1 {
		t.Errorf("log:\n%s", log)
	}

	// A catalog that cannot be reached is no result.
	store.err = controller.Errorf(controller.EUnavailable, "the catalog cannot be reached")
	_, err := r.Clean(ctx, f.admin, controller.CleanupRequest{})
	f.refused(err, controller.EUnavailable)
	_, err = r.Clean(ctx, f.admin, controller.CleanupRequest{Project: "absent"})
	f.refused(err, controller.ENotFound, "absent")
	_, err = r.Clean(ctx, f.admin, controller.CleanupRequest{Schedule: 99})
	f.refused(err, controller.ENotFound, "schedule 99")
}

// failing is a store that fails for one database.
type failing struct {
	retention.Store
	database int64
	err      error
}

func (s *failing) CleanDatabase(ctx context.Context, actor controller.Actor, database int64, req controller.CleanupRequest, now time.Time) ([]controller.CleanupItem, error) {
	if database == s.database && !req.DryRun {
		return nil, s.err
	}
	return s.Store.CleanDatabase(ctx, actor, database, req, now)
}

// TestClean_Scope: a caller of some projects cleans up those, and sees no other.
func TestClean_Scope(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	shop, a := f.world("app", "blog")
	blog := f.project("blog")
	f.ok(f.GrantServer(ctx, f.admin, "blog", "db-7"))
	now := time.Now()
	db := f.databases()
	// A database that was moved: what it has in its first project stays there.
	moved := f.had(past{database: db["blog"], kind: "manual", at: now.AddDate(-1, 0, 0)}, past{database: db["blog"], kind: "manual", at: now.AddDate(-1, 0, 1)},
		past{database: db["blog"], kind: "manual", at: now.AddDate(-1, 0, 2)}, past{database: db["blog"], kind: "manual", at: now.AddDate(-1, 0, 3)}, past{database: db["blog"], kind: "manual", at: now.AddDate(-1, 0, 4)})
	must[controller.Database](t)(f.UnassignDatabase(ctx, f.admin, controller.DatabaseRef{Name: "blog"}))
	must[controller.Database](t)(f.AssignDatabase(ctx, f.admin, controller.DatabaseRef{Name: "blog"}, "blog"))
	var rows []past
	for _, name := range []string{"app", "blog"} {
		for i := range 6 {
			rows = append(rows, past{database: db[name], kind: "manual", at: now.AddDate(-1, 0, 10+i)})
		}
	}
	ids := f.had(rows...)
	_ = a
	runner := f.runner(f.Catalog, time.Now)
	plan := must[controller.CleanupResult](t)(runner.Clean(ctx, only(blog), controller.CleanupRequest{DryRun: true}))
	equal(t, "backups of the project", len(plan.Items), 6)
	_, err := runner.Clean(ctx, only(blog), controller.CleanupRequest{Project: "shop"})
	f.refused(err, controller.ENotFound, "shop")
	res := must[controller.CleanupResult](t)(runner.Clean(ctx, only(blog), controller.CleanupRequest{}))
	equal(t, "removed", res.Removed, 2)
	same(t, "of the project", f.kept(ids[6:]), pick(ids[6:], 0, 3, 4, 5))
	same(t, "of another", f.kept(ids[:6]), ids[:6])
	same(t, "of another, of the same database", f.kept(moved), moved)
	equal(t, "audit entries", f.sql("SELECT count(*) FROM audit_log WHERE action = 'backup.cleanup' AND project_id = %d", blog.ID), "1")
	// Seen by all projects it is the same plan.
	res = f.clean(now, controller.CleanupRequest{Project: "blog"})
	equal(t, "removed", res.Removed, 0)
	equal(t, "backups of the project that are left", len(res.Items), 4)
	res = must[controller.CleanupResult](t)(runner.Clean(ctx, only(shop), controller.CleanupRequest{Project: "shop"}))
	equal(t, "removed", res.Removed, 2)
	if i := item(t, res, moved[0]); codes(i) != retention.Orphan {
		t.Errorf("%+v", i)
	}
	equal(t, "clean-ups of a project that it sees", f.as(fmt.Sprint(shop.ID), "SELECT count(*) FROM cleanups"), "1")
}

// TestHold: what is held stays, whoever deletes; who holds it and why is said.
func TestHold(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	f.world("app")
	db := f.databases()["app"]
	now := time.Now()
	s := f.dailyOf(db, controller.Retention{Daily: 1})
	ids := f.had(past{database: db, schedule: s.ID, at: now.AddDate(0, 0, -9), level: "content"}, past{database: db, schedule: s.ID, at: now.AddDate(0, 0, -8)},
		past{database: db, schedule: s.ID, at: now}, past{database: db, schedule: s.ID, status: "failed", at: now})
	for _, bad := range []string{"", strings.Repeat("x", 501)} {
		_, err := f.HoldBackup(ctx, f.admin, ids[1], bad)
		f.refused(err, controller.EInvalid, "reason")
	}
	_, err := f.HoldBackup(ctx, f.admin, ids[3], "why")
	f.refused(err, controller.EConflict, "failed")
	_, err = f.HoldBackup(ctx, only(), ids[1], "why")
	f.refused(err, controller.ENotFound)
	panel := f.admin
	panel.OnBehalfOf = "jo@example.org"
	b := must[controller.Backup](t)(f.HoldBackup(ctx, panel, ids[1], "evidence of the June incident"))
	if b.HeldAt == nil || b.HeldBy != "jo@example.org (admin)" || b.HoldReason != "evidence of the June incident" {
		t.Fatalf("%+v", b)
	}
	again := must[controller.Backup](t)(f.HoldBackup(ctx, f.admin, ids[1], "evidence of the June incident"))
	equal(t, "held by", again.HeldBy, b.HeldBy)
	_, err = f.HoldBackup(ctx, f.admin, ids[1], "another reason")
	f.refused(err, controller.EConflict, "jo@example.org", "evidence of the June incident")

	if i := item(t, f.clean(now, controller.CleanupRequest{}), ids[1]); codes(i) != retention.Held || !strings.Contains(i.Reasons[0].Text, "evidence") {
		t.Fatalf("%+v", i)
	}
	_, err = f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: ids[1], Confirm: "app"})
	f.refused(err, controller.EConflict, "jo@example.org", "evidence of the June incident", "release")

	b = must[controller.Backup](t)(f.ReleaseBackup(ctx, f.admin, ids[1], "case closed"))
	if b.HeldAt != nil || b.HeldBy != "" || b.HoldReason != "" {
		t.Fatalf("%+v", b)
	}
	must[controller.Backup](t)(f.ReleaseBackup(ctx, f.admin, ids[1], ""))
	equal(t, "audit entries", f.sql("SELECT string_agg(concat_ws(' ', action, detail->>'reason'), ', ' ORDER BY id) FROM audit_log WHERE action IN ('backup.hold', 'backup.release')"),
		"backup.hold evidence of the June incident, backup.release case closed")
	equal(t, "removed once it is released", f.clean(now, controller.CleanupRequest{}).Removed, 1)
	_, err = f.HoldBackup(ctx, f.admin, ids[1], "too late")
	f.refused(err, controller.EConflict, "deleted", "undelete")
}

// TestDueDeletions_controllerGone: what a controller had begun to delete is gone on with as soon as it is known to be gone.
func TestDueDeletions_controllerGone(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app")
	b := f.completed(a, "app")
	f.completed(a, "app")
	must[controller.Backup](t)(f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: b.ID}))
	two := f.another("two")
	f.ok(f.RegisterController(ctx, "1", "external"))
	f.ok(two.RegisterController(ctx, "1", "external"))
	due := func(what string, c *catalog.Catalog, want int) {
		t.Helper()
		equal(t, what, len(must[[]controller.Deletion](t)(c.DueDeletions(ctx, 5))), want)
	}
	due("the first", f.Catalog, 1)
	due("while it works", two, 0)
	f.sql("UPDATE controllers SET seen_at = now() - interval '1 minute' WHERE id = 'one'")
	due("when it is no longer up", two, 1)
	due("once more", two, 0)
	f.ok(two.ReleaseClaims(ctx)) // it was killed and starts again
	due("when it starts again", two, 1)
	f.ok(two.DeregisterController(ctx)) // it was told to stop
	f.ok(f.RegisterController(ctx, "1", "external"))
	due("when it has stopped", f.Catalog, 1)
	f.ok(f.DeletionLater(ctx, b.ID, time.Hour, "the store answers 503"))
	f.ok(f.ReleaseClaims(ctx))
	due("what is put off is nobody's", f.Catalog, 0)
	f.ok(f.DeletionDone(ctx, b.ID))
	f.ok(f.ReleaseClaims(ctx))
	due("after the end", f.Catalog, 0)
	// What is held is not deleted, however it came to that.
	c := f.completed(a, "app")
	must[controller.Backup](t)(f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: c.ID}))
	f.sql("UPDATE database_backups SET held_at = now() WHERE id = %d", c.ID)
	due("what is held", f.Catalog, 0)
}
