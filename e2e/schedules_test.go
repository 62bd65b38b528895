package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/testkit/fakedump"
	"devflowbackup/shared/wire"
)

// scheduleWorld is an installation whose agent has SQLite files beside PostgreSQL, and a pg_dump that fails or waits when it is told to.
type scheduleWorld struct {
	*faultWorld
	sqlite *stack.SQLite
	tools  *fakedump.Fake
	going  string // the dump waits until this file is there
}

func newScheduleWorld(t *testing.T, opt faultOptions) *scheduleWorld {
	t.Helper()
	opt.big = 1 << 20
	w := &scheduleWorld{faultWorld: newFaultWorld(t, opt)}
	w.going = filepath.Join(w.Dir, "going")
	w.tools = fakedump.Install(t, "pg_dump", w.dump(0))
	ctx := faultContext(t)
	var err error
	if w.sqlite, err = w.NewSQLite("files"); err == nil {
		err = errors.Join(os.WriteFile(w.going, nil, 0o600), w.agent.Stop(ctx))
	}
	if err != nil {
		t.Fatal(err)
	}
	w.servers = append(w.servers, w.sqlite)
	keys := map[string]any{"bin_dirs": []string{w.tools.Dir(), w.postgres.Bin().Dir}}
	if err := errors.Join(w.agent.Configure(stack.AgentOptions{
		Servers: map[string]stack.Server{"main": configured{w.postgres, keys}, "files": w.sqlite},
		Limits:  map[string]any{"discovery_every": "10s"}, Extra: map[string]any{"concurrency": 4}, Env: w.agent.Env,
	}), w.agent.StartOnline(ctx, w.controllers[0], 0)); err != nil {
		t.Fatal(err)
	}
	return w
}

// dump is what pg_dump does, with the status by which it ends.
func (w *scheduleWorld) dump(status int) fakedump.Script {
	return fakedump.Script{WaitFor: w.going, Real: filepath.Join(w.postgres.Bin().Dir, "pg_dump"), Exit: status}
}

// slow has each dump of PostgreSQL wait from now on until it is let go.
func (w *scheduleWorld) slow(t *testing.T) (letGo func()) {
	t.Helper()
	if err := os.Remove(w.going); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.WriteFile(w.going, nil, 0o600); err != nil {
			t.Error(err)
		}
	}
}

// files makes SQLite databases and gives them to a project.
func (w *scheduleWorld) files(t *testing.T, ctx context.Context, project string, words ...string) (names []string) {
	t.Helper()
	for _, word := range words {
		name := w.sqlite.Name(word)
		names = append(names, name)
		if err := w.sqlite.Create(ctx, name); err != nil {
			t.Fatal(err)
		}
		if _, err := w.sqlite.Exec(ctx, name, fewRows); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		found(t, ctx, w.ctl, "db1", name)
		w.assign(t, ctx, project, name)
	}
	return names
}

func (w *scheduleWorld) assign(t *testing.T, ctx context.Context, project, name string) {
	t.Helper()
	if err := w.ctl.API(ctx, http.MethodPost, "/databases/assign", map[string]any{"project": project, "server": "db1", "name": name}, nil); err != nil {
		t.Fatal(err)
	}
}

func (w *scheduleWorld) project(t *testing.T, ctx context.Context, slug string, more ...string) {
	t.Helper()
	do(t, ctx, w.ctl, append([]string{"project", "create", slug}, more...)...)
	do(t, ctx, w.ctl, "project", "grant", slug, "db1")
}

// clockZone is a zone whose clock never changes and shows an hour of now.
func clockZone(now time.Time, hour int) string {
	ahead := hour - now.UTC().Hour()
	if ahead < -12 {
		ahead += 24
	}
	if ahead > 14 {
		ahead -= 24
	}
	if ahead == 0 {
		return "Etc/GMT"
	}
	return fmt.Sprintf("Etc/GMT%+d", -ahead)
}

// schedule makes a daily schedule that does not occur while the test runs, unless Due says so.
func (w *faultWorld) schedule(t *testing.T, ctx context.Context, project string, args ...string) int64 {
	t.Helper()
	now, err := w.catalog.Now(ctx)
	if err != nil {
		t.Fatal(err)
	}
	later := now.Add(12 * time.Hour).Format("15:04:05")
	s := read[stack.Schedule](t, ctx, w.ctl, append([]string{"schedule", "create", project, "--daily", later, "--spread", "off"}, args...)...)
	return s.ID
}

func (w *faultWorld) history(t *testing.T, ctx context.Context, schedule int64) []stack.Occurrence {
	t.Helper()
	all, err := w.ctl.Occurrences(ctx, schedule)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// recorded waits until a schedule has that many records and returns the newest.
func (w *faultWorld) recorded(t *testing.T, ctx context.Context, schedule int64, records int) stack.Occurrence {
	t.Helper()
	var all []stack.Occurrence
	eventually(t, ctx, fmt.Sprintf("schedule %d has %d records", schedule, records), func(ctx context.Context) (bool, error) {
		var err error
		if all, err = w.ctl.Occurrences(ctx, schedule); err == nil && len(all) != records {
			err = fmt.Errorf("it has %d: %+v", len(all), all)
		}
		return err == nil, err
	})
	return all[0]
}

// occur has a schedule occur now and returns the record.
func (w *faultWorld) occur(t *testing.T, ctx context.Context, schedule int64) stack.Occurrence {
	t.Helper()
	before := len(w.history(t, ctx, schedule))
	if err := w.catalog.Due(ctx, 0, schedule); err != nil {
		t.Fatal(err)
	}
	return w.recorded(t, ctx, schedule, before+1)
}

// ran wants an occurrence that ordered a backup of each of the databases and of no other, and waits for them.
func (w *faultWorld) ran(t *testing.T, ctx context.Context, o stack.Occurrence, databases ...string) (ids []int64) {
	t.Helper()
	var names []string
	for _, d := range o.Databases {
		names = append(names, d.DatabaseName)
		if d.BackupID == nil {
			t.Fatalf("of %s nothing was run: %+v", d.DatabaseName, o)
		}
		ids = append(ids, *d.BackupID)
	}
	if slices.Sort(names); o.State != "run" || !slices.Equal(names, slices.Sorted(slices.Values(databases))) {
		t.Fatalf("of %v was run: %+v", databases, o)
	}
	for _, n := range ids {
		if _, err := w.ctl.AwaitBackup(ctx, n, "completed", 60*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	return ids
}

// not wants an occurrence of which nothing was run, for the reason that the words name.
func not(t *testing.T, o stack.Occurrence, state, code string, words ...string) {
	t.Helper()
	if o.State != state || o.Code != code || slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(o.Reason, w) }) {
		t.Errorf("the record is %+v, want %s %s for %q", o, state, code, words)
	}
	for _, d := range o.Databases {
		if d.State != state || d.Code != code || d.BackupID != nil {
			t.Errorf("the record says of %s: %+v", d.DatabaseName, d)
		}
	}
}

// TestSchedules makes backups by schedule.
func TestSchedules(t *testing.T) {
	t.Parallel()
	w := newScheduleWorld(t, faultOptions{})
	w.fault(t, "life of a schedule", w.scheduleLife)
	w.fault(t, "cron", w.scheduleCron)
	w.fault(t, "scopes", w.scheduleScopes)
	w.fault(t, "pauses", w.schedulePauses)
	w.fault(t, "host offline", w.scheduleOffline)
	w.fault(t, "failed and retried", w.scheduleRetry)
}

// scheduleLife makes a schedule by devflowctl, lets it occur by itself and edits, stops, starts and deletes it.
func (w *scheduleWorld) scheduleLife(t *testing.T, ctx context.Context) {
	now, err := w.catalog.Now(ctx)
	if err != nil {
		t.Fatal(err)
	}
	zoneName := clockZone(now, 12)
	zone, err := time.LoadLocation(zoneName)
	if err != nil {
		t.Fatal(err)
	}
	first := now.Truncate(time.Second).Add(6 * time.Second).In(zone)
	clock := first.Format("15:04:05")
	if first.Second() == 0 {
		clock = first.Format("15:04")
	}
	label := "Daily at " + clock + " (" + zoneName + ")"
	out := do(t, ctx, w.ctl, "schedule", "create", "shop", "--database", small, "--daily", clock, "--timezone", zoneName, "--spread", "off", "--verify-after", "content", "--keep", "daily=3,days=30")
	for day := range 5 {
		for _, in := range []*time.Location{zone, time.UTC} {
			if at := first.AddDate(0, 0, day).In(in).Format("2006-01-02 15:04:05"); !strings.Contains(out, at) {
				t.Errorf("the next five have no %s:\n%s", at, out)
			}
		}
	}
	for _, word := range []string{label, small + " on db1", "3 days", "content"} {
		if !strings.Contains(out, word) {
			t.Errorf("it does not say %q:\n%s", word, out)
		}
	}
	list := read[[]stack.Schedule](t, ctx, w.ctl, "schedule", "list", "shop")
	if len(list) != 1 || list[0].Label != label || !list[0].IsActive {
		t.Fatalf("schedules are %+v", list)
	}
	number := list[0].ID
	schedule := id(number)

	// It occurs by itself.
	o := w.recorded(t, ctx, number, 1)
	if !o.At.Equal(first) || o.Late {
		t.Errorf("it occurred at %s, not at %s: %+v", o.At, first, o)
	}
	made := w.ran(t, ctx, o, small)[0]
	eventually(t, ctx, "the backup is verified", func(ctx context.Context) (bool, error) {
		b, err := w.ctl.Backup(ctx, made)
		return b.VerifiedAt != nil && b.VerifiedLevel == "content", err
	})
	b, err := w.ctl.Backup(ctx, made)
	if err != nil || b.Kind != "scheduled" || b.ScheduleID == nil || *b.ScheduleID != number || b.OccurrenceAt == nil || !b.OccurrenceAt.Equal(first) {
		t.Errorf("the backup is %+v, %v", b, err)
	}
	says(t, ctl(t, ctx, w.ctl, "schedule", "history", schedule), 0, first.UTC().Format("2006-01-02 15:04:05"), "run", "completed", id(made))
	says(t, ctl(t, ctx, w.ctl, "backup", "show", id(made)), 0, "scheduled", "content")

	// Run now uses no occurrence up.
	do(t, ctx, w.ctl, "schedule", "run", schedule, "--wait")
	if m := newestBackup(t, ctx, w.ctl, "shop"); m.ID == made || m.Status != "completed" || m.Kind != "manual" || m.ScheduleID == nil || *m.ScheduleID != number || m.OccurrenceAt != nil {
		t.Errorf("run now made %+v", m)
	}

	// Edited; what lies before is not made up for, neither then nor when it is activated.
	says(t, ctl(t, ctx, w.ctl, "schedule", "edit", schedule, "--weekly", "sunday@02:00"), 0, "Weekly on Sunday at 02:00 ("+zoneName+")", "Sun ")
	past := first.Add(-time.Minute).Format("15:04")
	says(t, ctl(t, ctx, w.ctl, "schedule", "edit", schedule, "--daily", past, "--keep", "daily=7,days=30"), 0, "Daily at "+past, "7 days", "30 days")
	says(t, ctl(t, ctx, w.ctl, "schedule", "deactivate", schedule), 0, "inactive")
	if s, err := w.ctl.Schedule(ctx, number); err != nil || s.IsActive || s.NextRunAt != nil {
		t.Errorf("deactivated it is %+v, %v", s, err)
	}
	soon := time.Now().Add(2 * time.Second).In(zone).Truncate(time.Second)
	do(t, ctx, w.ctl, "schedule", "edit", schedule, "--daily", soon.Format("15:04:05"))
	eventually(t, ctx, "its time has passed", func(ctx context.Context) (bool, error) {
		now, err := w.catalog.Now(ctx)
		return now.After(soon.Add(1500 * time.Millisecond)), err
	})
	do(t, ctx, w.ctl, "schedule", "activate", schedule)
	s, err := w.ctl.Schedule(ctx, number)
	if err != nil || !s.IsActive || s.NextRunAt == nil || !s.NextRunAt.Equal(soon.AddDate(0, 0, 1)) || len(s.NextFive) != 5 || !s.NextFive[0].At.Equal(*s.NextRunAt) {
		t.Errorf("activated it is %+v, %v", s, err)
	}
	if n := len(w.history(t, ctx, number)); n != 1 {
		t.Errorf("it has %d records", n)
	}
	w.ran(t, ctx, w.occur(t, ctx, number), small)

	says(t, ctl(t, ctx, w.ctl, "schedule", "delete", schedule), 0, "its backups stay")
	refused(t, ctx, w.ctl, 1, []string{"does not exist"}, "schedule", "show", schedule)
	kept := read[[]stack.Backup](t, ctx, w.ctl, "backup", "list", "--schedule", schedule)
	if len(kept) != 3 || slices.ContainsFunc(kept, func(b stack.Backup) bool { return b.Status != "completed" || b.Health != "ok" }) {
		t.Errorf("of the deleted schedule there are %+v", kept)
	}
	do(t, ctx, w.ctl, "restore", "create", id(made), "--to-database", "r_life", "--wait")
	sameContent(t, ctx, w.postgres, small, "r_life")
}

// scheduleCron has a schedule occur in this minute. The one before it is too old to count.
func (w *scheduleWorld) scheduleCron(t *testing.T, ctx context.Context) {
	w.project(t, ctx, "cron")
	name := w.files(t, ctx, "cron", "cron")[0]
	var minute time.Time
	eventually(t, ctx, "the minute is not almost over", func(ctx context.Context) (bool, error) {
		now, err := w.catalog.Now(ctx)
		minute = now.Truncate(time.Minute)
		return now.Second() < 50, err
	})
	out := do(t, ctx, w.ctl, "schedule", "create", "cron", "--database", name, "--cron", "* * * * *")
	for n := range 5 {
		if at := minute.Add(time.Duration(n+1) * time.Minute).Format("2006-01-02 15:04:05"); !strings.Contains(out, at) || !strings.Contains(out, "Cron * * * * *") {
			t.Errorf("the next five have no %s:\n%s", at, out)
		}
	}
	number := read[[]stack.Schedule](t, ctx, w.ctl, "schedule", "list", "cron")[0].ID
	if err := w.catalog.Rewind(ctx, number, minute.Add(-90*time.Second), minute.Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	eventually(t, ctx, "it has occurred", func(ctx context.Context) (bool, error) {
		all, err := w.ctl.Occurrences(ctx, number)
		return len(all) >= 2, err
	})
	do(t, ctx, w.ctl, "schedule", "deactivate", id(number))
	all := w.history(t, ctx, number)
	slices.Reverse(all)
	if all[0].State != "missed" || all[0].Code != "downtime" || !all[0].At.Equal(minute.Add(-time.Minute)) || !all[1].At.Equal(minute) || all[1].Late {
		t.Errorf("the records are %+v", all)
	}
	w.ran(t, ctx, all[1], name)
}

// scheduleScopes has schedules of a project, a name pattern and the rest, and databases that come later.
func (w *scheduleWorld) scheduleScopes(t *testing.T, ctx context.Context) {
	w.project(t, ctx, "whole")
	w.project(t, ctx, "parts", "--default-schedule", "daily 03:00", "--timezone", clockZone(time.Now(), 12))
	whole, parts := w.files(t, ctx, "whole", "whole_a", "whole_b"), w.files(t, ctx, "parts", "shop_1", "other_1")
	shop, other := parts[0], parts[1]
	all := w.schedule(t, ctx, "whole", "--all")
	pattern := w.schedule(t, ctx, "parts", "--pattern", "*/shop_?.sqlite")
	var rest int64
	for _, s := range read[[]stack.Schedule](t, ctx, w.ctl, "schedule", "list", "parts") {
		if s.Scope == "default" {
			rest = s.ID
		}
	}
	do(t, ctx, w.ctl, "schedule", "edit", id(rest), "--spread", "off")
	w.ran(t, ctx, w.occur(t, ctx, all), whole...)
	w.ran(t, ctx, w.occur(t, ctx, pattern), shop)
	w.ran(t, ctx, w.occur(t, ctx, rest), other)

	// Found and assigned later.
	whole, parts = append(whole, w.files(t, ctx, "whole", "whole_c")...), w.files(t, ctx, "parts", "shop_2", "other_2")
	shop2, other2 := parts[0], parts[1]
	w.ran(t, ctx, w.occur(t, ctx, all), whole...)
	w.ran(t, ctx, w.occur(t, ctx, pattern), shop, shop2)
	w.ran(t, ctx, w.occur(t, ctx, rest), other, other2)
	do(t, ctx, w.ctl, "schedule", "deactivate", id(pattern))
	w.ran(t, ctx, w.occur(t, ctx, rest), other, other2, shop, shop2)
	empty := w.schedule(t, ctx, "parts", "--pattern", "nothing*")
	not(t, w.occur(t, ctx, empty), "missed", "nothing_covered", "covers no database")
}

// schedulePauses pauses a schedule by each scope. What occurs meanwhile is missed, with the reason, and not made up for.
func (w *scheduleWorld) schedulePauses(t *testing.T, ctx context.Context) {
	w.project(t, ctx, "paused")
	name := w.files(t, ctx, "paused", "paused")[0]
	number := w.schedule(t, ctx, "paused", "--database", name)
	schedule := id(number)
	pause := func(args ...string) (ended func()) {
		t.Helper()
		p := read[struct{ ID int64 }](t, ctx, w.ctl, append([]string{"pause", "add"}, args...)...)
		return func() { do(t, ctx, w.ctl, "pause", "end", id(p.ID)) }
	}
	records := 0
	for i, scope := range [][]string{{"--schedule", schedule}, {"--project", "paused"}, {"--on", "db1"}, {"--everything"}} {
		why := fmt.Sprintf("move number %d", i)
		end := pause(append([]string{"--reason", why}, scope...)...)
		not(t, w.occur(t, ctx, number), "missed", "paused", "is paused", why)
		says(t, ctl(t, ctx, w.ctl, "schedule", "show", schedule), 0, "paused", why)
		says(t, ctl(t, ctx, w.ctl, "schedule", "history", schedule), 0, "missed", why)
		says(t, ctl(t, ctx, w.ctl, "pause", "list"), 0, why)
		end()
		if s, err := w.ctl.Schedule(ctx, number); err != nil || s.PausedReason != "" {
			t.Errorf("after the pause it is %+v, %v", s, err)
		}
		records++
	}

	// Until a time. What people order is made meanwhile.
	pause("--schedule", schedule, "--for", "4s", "--reason", "new disks")
	not(t, w.occur(t, ctx, number), "missed", "paused", "until ", "new disks")
	s, err := w.ctl.Schedule(ctx, number)
	if err != nil || s.PausedReason != "new disks" || s.PausedUntil == nil {
		t.Errorf("paused until a time it is %+v, %v", s, err)
	}
	backUp(t, ctx, w.ctl, "paused", name)
	eventually(t, ctx, "the pause is over", func(ctx context.Context) (bool, error) {
		s, err := w.ctl.Schedule(ctx, number)
		return s.PausedReason == "", err
	})
	w.ran(t, ctx, w.occur(t, ctx, number), name)
	if all := w.history(t, ctx, number); len(all) != records+2 {
		t.Errorf("the records are %+v", all)
	}
	if n := len(mustBackups(t, ctx, w.ctl, "paused")); n != 2 {
		t.Errorf("%d backups were made, not one by hand and one by schedule", n)
	}
}

// scheduleOffline takes the host away. Its job waits for it; what occurs meanwhile is missed.
func (w *scheduleWorld) scheduleOffline(t *testing.T, ctx context.Context) {
	w.project(t, ctx, "away")
	files := w.files(t, ctx, "away", "waits", "late")
	waits, late := files[0], files[1]
	number, bounded := w.schedule(t, ctx, "away", "--database", waits), w.schedule(t, ctx, "away", "--database", late, "--catch-up", "1h")
	if err := w.agent.Kill(); err != nil {
		t.Fatal(err)
	}
	w.offline(t, ctx)
	o := w.occur(t, ctx, number)
	if o.State != "run" || len(o.Databases) != 1 || o.Databases[0].BackupID == nil {
		t.Fatalf("with the host offline the record is %+v", o)
	}
	waiting := *o.Databases[0].BackupID
	for range 2 {
		not(t, w.occur(t, ctx, number), "missed", "offline", fmt.Sprintf("backup %d ", waiting), "still waits for the agent on db1", "offline since")
	}
	eventually(t, ctx, "the backup says what it waits for", func(ctx context.Context) (bool, error) {
		b, err := w.ctl.Backup(ctx, waiting)
		return b.Status == "pending" && strings.Contains(b.Waiting, "offline"), err
	})

	// Before a deploy nobody waits for it.
	began := time.Now()
	refused(t, ctx, w.ctl, 1, []string{"offline"}, "backup", "create", "shop", "--database", small, "--type", "pre_deploy", "--wait")
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("a backup before a deploy failed after %s", took)
	}

	// One that may wait for an hour only.
	o = w.occur(t, ctx, bounded)
	failed := *o.Databases[0].BackupID
	rows, err := w.catalog.Rows(ctx, "SELECT deadline_at - not_before = interval '1 hour' FROM jobs WHERE backup_id = $1", failed)
	if err != nil || rows[0] != "true" {
		t.Errorf("its deadline is after an hour: %v, %v", rows, err)
	}
	w.forward(t, ctx, "UPDATE jobs SET deadline_at = now() WHERE backup_id = $1", failed)
	if b, err := w.ctl.AwaitBackup(ctx, failed, "failed", 30*time.Second); err != nil || b.ErrorCode != wire.CodeOffline {
		t.Errorf("after its deadline it is %+v, %v", b, err)
	}

	w.restartAgent(t, ctx)
	if _, err := w.ctl.AwaitBackup(ctx, waiting, "completed", 60*time.Second); err != nil {
		t.Fatal(err)
	}
	w.ran(t, ctx, w.occur(t, ctx, number), waits)
	if n := len(read[[]stack.Backup](t, ctx, w.ctl, "backup", "list", "--schedule", id(number))); n != 2 {
		t.Errorf("%d backups were made of four occurrences, two of them without the host", n)
	}
	do(t, ctx, w.ctl, "backup", "retry", id(failed), "--wait")
	again := w.history(t, ctx, bounded)[0].Databases[0]
	if again.BackupID == nil || *again.BackupID == failed || again.Status != "completed" {
		t.Errorf("retried, the record is %+v", again)
	}
}

func (w *scheduleWorld) offline(t *testing.T, ctx context.Context) {
	t.Helper()
	eventually(t, ctx, "db1 is offline", func(ctx context.Context) (bool, error) {
		online, err := w.ctl.Online(ctx, "db1", 0)
		return !online, err
	})
}

// scheduleRetry has a scheduled backup fail. It is tried three times before it counts as failed, and again when someone says so.
func (w *scheduleWorld) scheduleRetry(t *testing.T, ctx context.Context) {
	number := w.schedule(t, ctx, "shop", "--database", small, "--verify-after", "checksum")
	w.tools.Add("pg_dump", w.dump(1))
	o := w.occur(t, ctx, number)
	failed := *o.Databases[0].BackupID
	b, err := w.ctl.AwaitBackup(ctx, failed, "failed", 60*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	w.attempts(t, ctx, b.JobID, "failed", "failed", "failed")
	says(t, ctl(t, ctx, w.ctl, "schedule", "history", id(number)), 0, "run", id(failed), "failed")
	w.tools.Add("pg_dump", w.dump(0))
	do(t, ctx, w.ctl, "backup", "retry", id(failed), "--wait")
	again := w.history(t, ctx, number)[0].Databases[0]
	if again.BackupID == nil || *again.BackupID == failed || again.Status != "completed" {
		t.Fatalf("retried, the record is %+v", again)
	}
	eventually(t, ctx, "the new one is verified", func(ctx context.Context) (bool, error) {
		b, err = w.ctl.Backup(ctx, *again.BackupID)
		return b.VerifiedLevel == "checksum", err
	})
	if b.RetryOf == nil || *b.RetryOf != failed || b.Kind != "scheduled" || b.OccurrenceAt == nil || !b.OccurrenceAt.Equal(o.At) {
		t.Errorf("the retry is %+v", b)
	}
	refused(t, ctx, w.ctl, 1, []string{"retried already", id(b.ID)}, "backup", "retry", id(failed))
	refused(t, ctx, w.ctl, 1, []string{"completed"}, "backup", "retry", id(b.ID))
}

// manySchedules starts one more agent, with that many small databases, and makes an hourly schedule of each in a project. None occurs
// before Due says so.
func (w *faultWorld) manySchedules(t *testing.T, ctx context.Context, project string, many int) []int64 {
	t.Helper()
	files, err := w.NewSQLite(project + "-files")
	if err != nil {
		t.Fatal(err)
	}
	first := files.Name("d0")
	if err := files.Create(ctx, first); err != nil {
		t.Fatal(err)
	}
	if _, err := files.Exec(ctx, first, fewRows+"PRAGMA journal_mode = DELETE;"); err != nil {
		t.Fatal(err)
	}
	copied, err := os.ReadFile(first)
	for i := 1; i < many && err == nil; i++ {
		err = os.WriteFile(files.Name(fmt.Sprintf("d%d", i)), copied, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	agent, err := w.NewAgent(project+"-host", stack.AgentOptions{Servers: map[string]stack.Server{"files": files}, Extra: map[string]any{"concurrency": 4}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(agent.Enroll(ctx, w.controllers[0], project), agent.StartOnline(ctx, w.controllers[0], min(many, 50))); err != nil {
		t.Fatal(err)
	}
	eventually(t, ctx, "all databases are found and the project's", func(ctx context.Context) (bool, error) {
		rows, err := w.catalog.Rows(ctx, `WITH given AS (UPDATE databases SET project_id = (SELECT id FROM projects WHERE slug = $1) WHERE name LIKE $2 RETURNING 1) SELECT count(*) FROM given`, project, files.Dir+"/%")
		if err == nil && rows[0] != fmt.Sprint(many) {
			err = fmt.Errorf("%s are", rows[0])
		}
		return err == nil, err
	})
	clock := time.Now().UTC().Add(30 * time.Minute).Format("15:04:05")
	each(t, slices.Collect(func(yield func(string) bool) {
		for i := range many {
			if !yield(files.Name(fmt.Sprintf("d%d", i))) {
				return
			}
		}
	}), func(name string) error {
		in := map[string]any{"project": project, "database_name": name, "frequency": "hourly", "time": clock}
		return w.ctl.API(ctx, http.MethodPost, "/schedules", in, nil)
	})
	conn, err := w.catalog.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var ids []int64
	if err := conn.QueryRow(ctx, "SELECT array_agg(c.id ORDER BY c.id) FROM backup_schedules c JOIN projects p ON p.id = c.project_id WHERE p.slug = $1", project).Scan(&ids); err != nil || len(ids) != many {
		t.Fatalf("%d schedules were made: %v", len(ids), err)
	}
	return ids
}

// each does something with each of a list, several at once.
func each[T any](t *testing.T, list []T, f func(T) error) {
	t.Helper()
	next, errs := make(chan T), make(chan error)
	const workers = 4
	for range workers {
		go func() {
			var all []error
			for v := range next {
				all = append(all, f(v))
			}
			errs <- errors.Join(all...)
		}()
	}
	for _, v := range list {
		next <- v
	}
	close(next)
	for range workers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}
