package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
)

var scheduleSites = []string{"controller.before_tick_commit", "controller.after_tick_commit"}

// TestFault_Schedules takes the broker and one of two controllers away while schedules occur.
func TestFault_Schedules(t *testing.T) {
	t.Parallel()
	w := newFaultWorld(t, faultOptions{controllers: 2, sites: scheduleSites, big: 1 << 20})
	w.fault(t, "13/broker away for two occurrences", w.brokerAway)

	const many = 42
	ctx := faultContext(t)
	do(t, ctx, w.ctl, "project", "create", "fleet")
	ids := w.manySchedules(t, ctx, "fleet", many)
	round := 0
	w.fault(t, "26/two controllers", func(t *testing.T, ctx context.Context) {
		round++
		w.occurAll(t, ctx, ids, round, nil)
	})
	for _, site := range scheduleSites {
		w.fault(t, "26/one killed at "+site, func(t *testing.T, ctx context.Context) {
			round++
			fired := w.arm(t, site)
			w.occurAll(t, ctx, ids, round, func() { w.oneDies(t, ctx, fired) })
		})
	}
}

// TestFault_ScheduleTimes takes zones, hours and the controller away from schedules, and time from their runs.
func TestFault_ScheduleTimes(t *testing.T) {
	t.Parallel()
	w := newScheduleWorld(t, faultOptions{})
	w.fault(t, "69/zone that is not known", w.zoneUnknown)
	w.fault(t, "70/clock set back", w.clockBack)
	w.fault(t, "72/longer than the interval", w.runTooLong)
	w.fault(t, "71/twelve hours without a controller", w.downtime)
	w.fault(t, "what is wrong is seen", w.wrongRecords)
}

// brokerAway has schedules occur twice while no agent can be reached. The first is run when the broker is back, the second is missed.
func (w *faultWorld) brokerAway(t *testing.T, ctx context.Context) {
	number := w.schedule(t, ctx, "shop", "--database", small)
	bounded := w.schedule(t, ctx, "shop", "--database", big, "--catch-up", "off")
	w.nats.Stop()
	eventually(t, ctx, "db1 is offline", func(ctx context.Context) (bool, error) {
		online, err := w.ctl.Online(ctx, "db1", 0)
		return !online, err
	})
	waiting := map[int64]int64{}
	for _, s := range []int64{number, bounded} {
		o := w.occur(t, ctx, s)
		if o.State != "run" || len(o.Databases) != 1 || o.Databases[0].BackupID == nil {
			t.Fatalf("without a broker the record is %+v", o)
		}
		waiting[s] = *o.Databases[0].BackupID
	}
	for s, b := range waiting {
		not(t, w.occur(t, ctx, s), "missed", "offline", fmt.Sprintf("backup %d ", b), "offline since")
	}
	if err := w.nats.Start(); err != nil {
		t.Fatal(err)
	}
	for s, b := range waiting {
		w.completed(t, ctx, b, "completed")
		o := w.occur(t, ctx, s)
		w.ran(t, ctx, o, o.Databases[0].DatabaseName)
		if all := w.history(t, ctx, s); len(all) != 3 || all[0].State != "run" || all[1].State != "missed" || all[2].State != "run" {
			t.Errorf("the records are %+v", all)
		}
	}
	if n := w.backups(t, ctx); n != 4 {
		t.Errorf("%d backups were made of two schedules that occurred three times, once without a broker", n)
	}
}

// occurAll has many schedules occur at the same time, for the round-th time, while something happens. Each has one record of it, and
// one backup.
func (w *faultWorld) occurAll(t *testing.T, ctx context.Context, ids []int64, round int, meanwhile func()) {
	if err := w.catalog.Due(ctx, 0, ids...); err != nil {
		t.Fatal(err)
	}
	if meanwhile != nil {
		meanwhile()
	}
	want := fmt.Sprintf("run %d %d %d", len(ids), len(ids)*round, len(ids)*round)
	eventually(t, ctx, "all have been run", func(ctx context.Context) (bool, error) {
		rows, err := w.catalog.Rows(ctx, `SELECT o.state, count(DISTINCT o.schedule_id), count(DISTINCT (o.schedule_id, o.at)), count(b.id) FILTER (WHERE b.status = 'completed')
			FROM schedule_occurrences o LEFT JOIN database_backups b ON b.schedule_id = o.schedule_id AND b.occurrence_at = o.at
			WHERE o.schedule_id = ANY ($1) GROUP BY o.state`, ids)
		if got := strings.Join(rows, "; "); err == nil && got != want {
			return false, fmt.Errorf("states, schedules, records, backups are %s, want %s", got, want)
		}
		return err == nil, err
	})
	rows, err := w.catalog.Rows(ctx, "SELECT count(*), count(DISTINCT job_id) FROM attempts JOIN jobs j ON j.id = job_id JOIN database_backups b ON b.id = j.backup_id WHERE b.schedule_id = ANY ($1)", ids)
	if want := fmt.Sprintf("%d %d", len(ids)*round, len(ids)*round); err != nil || rows[0] != want {
		t.Errorf("attempts and jobs are %v, want %s: %v", rows, want, err)
	}
}

// oneDies waits until one of the controllers has died at the armed site, and starts it again.
func (w *faultWorld) oneDies(t *testing.T, ctx context.Context, fired func() bool) {
	t.Helper()
	dead := -1
	eventually(t, ctx, "a controller has died", func(context.Context) (bool, error) {
		for i, c := range w.controllers {
			if !c.Process().Running() {
				dead = i
			}
		}
		return dead >= 0, nil
	})
	died(t, ctx, w.controllers[dead].Process(), fired)
	w.ctl = w.controllers[1-dead].ClientWithFile(w.controllers[0].Admin().TokenFile)
	// What it had claimed is free when the claim has run out.
	if err := w.catalog.Alter(ctx, "UPDATE backup_schedules SET claim_until = '-infinity'"); err != nil {
		t.Fatal(err)
	}
	w.startController(t, ctx, dead)
}

// zoneUnknown takes a schedule's zone away, as an update of the time zone database may. It is an error, and never another zone; the
// other schedules go on.
func (w *scheduleWorld) zoneUnknown(t *testing.T, ctx context.Context) {
	w.project(t, ctx, "zones")
	files := w.files(t, ctx, "zones", "lost", "known")
	lost, known := files[0], files[1]
	gone, other := w.schedule(t, ctx, "zones", "--database", lost), w.schedule(t, ctx, "zones", "--database", known)
	if err := w.catalog.Alter(ctx, "UPDATE backup_schedules SET timezone = 'Mars/Olympus' WHERE id = $1", gone); err != nil {
		t.Fatal(err)
	}
	from := logSize(t, w.controllers[0].LogFile())
	if err := w.catalog.Due(ctx, 0, gone, other); err != nil {
		t.Fatal(err)
	}
	w.ran(t, ctx, w.recorded(t, ctx, other, 1), known)
	logged(t, ctx, w.controllers[0].LogFile(), from, "schedule cannot occur")
	says(t, ctl(t, ctx, w.ctl, "schedule", "show", id(gone)), 0, "cannot occur", "Mars/Olympus")
	if s, err := w.ctl.Schedule(ctx, gone); err != nil || s.Problem == "" || s.NextRunAt != nil || len(s.NextFive) != 0 {
		t.Errorf("without its zone the schedule is %+v, %v", s, err)
	}
	// The same at the start of a controller, which plans all anew: it is not told twice, and the zone that is back is.
	if err := w.controllers[0].Restart(ctx); err != nil {
		t.Fatal(err)
	}
	w.ran(t, ctx, w.occur(t, ctx, other), known)
	if h := w.history(t, ctx, gone); len(h) != 0 {
		t.Errorf("without its zone the schedule occurred: %+v", h)
	}
	do(t, ctx, w.ctl, "schedule", "edit", id(gone), "--timezone", "UTC")
	if s, err := w.ctl.Schedule(ctx, gone); err != nil || s.Problem != "" || s.NextRunAt == nil {
		t.Errorf("with another zone the schedule is %+v, %v", s, err)
	}
	w.ran(t, ctx, w.occur(t, ctx, gone), lost)
}

// clockBack sets the clock back: what was recorded lies in the future. Nothing occurs twice, and nothing is left out.
func (w *scheduleWorld) clockBack(t *testing.T, ctx context.Context) {
	w.project(t, ctx, "clock")
	name := w.files(t, ctx, "clock", "clock")[0]
	number := w.schedule(t, ctx, "clock", "--database", name)
	w.ran(t, ctx, w.occur(t, ctx, number), name)
	// The occurrence that has a record comes again in an hour, the one after that a day later.
	if err := w.catalog.Due(ctx, -25*time.Hour, number); err != nil {
		t.Fatal(err)
	}
	before := w.history(t, ctx, number)
	if err := w.catalog.Alter(ctx, "UPDATE backup_schedules SET next_run_at = now() WHERE id = $1", number); err != nil {
		t.Fatal(err)
	}
	eventually(t, ctx, "the schedule was looked at", func(ctx context.Context) (bool, error) {
		s, err := w.ctl.Schedule(ctx, number)
		if want := before[0].At.AddDate(0, 0, 1); err == nil && (s.NextRunAt == nil || !s.NextRunAt.Equal(want)) {
			err = fmt.Errorf("it is due at %s, not at %s", s.NextRunAt, want)
		}
		return err == nil, err
	})
	if now := w.history(t, ctx, number); len(now) != 1 || !now[0].At.Equal(before[0].At) {
		t.Errorf("after the clock was set back the records are %+v, not %+v", now, before)
	}
	w.ran(t, ctx, w.occur(t, ctx, number), name)
	if n := len(mustBackups(t, ctx, w.ctl, "clock")); n != 2 {
		t.Errorf("%d backups were made of two occurrences", n)
	}
}

// runTooLong has a dump take longer than the time to the next occurrences, which are skipped and say why.
func (w *scheduleWorld) runTooLong(t *testing.T, ctx context.Context) {
	number := w.schedule(t, ctx, "shop", "--database", small)
	runs := len(w.tools.Runs())
	letGo := w.slow(t)
	defer letGo()
	o := w.occur(t, ctx, number)
	running := *o.Databases[0].BackupID
	if _, err := w.ctl.AwaitBackup(ctx, running, "running", 30*time.Second); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		not(t, w.occur(t, ctx, number), "skipped", "overlap", fmt.Sprintf("backup %d ", running), "still running, since ")
	}
	says(t, ctl(t, ctx, w.ctl, "schedule", "history", id(number)), 0, "skipped", fmt.Sprintf("backup %d ", running))
	letGo()
	w.completed(t, ctx, running, "completed")
	w.ran(t, ctx, w.occur(t, ctx, number), small)
	if n := len(w.tools.Runs()) - runs; n != 2 {
		t.Errorf("the dump ran %d times, not twice", n)
	}
}

// downtime takes the controller away for twelve hours. The newest occurrence of each of many schedules is run once, spread over time, and
// the others are recorded.
func (w *scheduleWorld) downtime(t *testing.T, ctx context.Context) {
	const many, slept = 300, 12
	w.project(t, ctx, "many")
	ids := w.manySchedules(t, ctx, "many", many)
	if err := w.controllers[0].Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if err := w.catalog.Due(ctx, (slept-1)*time.Hour+30*time.Minute, ids...); err != nil {
		t.Fatal(err)
	}
	if err := w.controllers[0].Start(ctx); err != nil {
		t.Fatal(err)
	}
	records := func(query string) string {
		t.Helper()
		rows, err := w.catalog.Rows(ctx, query, ids)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(rows, "; ")
	}
	want := fmt.Sprintf("missed downtime false %d %d; run  true %d %d", many, many*(slept-1), many, many)
	eventually(t, ctx, "every occurrence is recorded", func(context.Context) (bool, error) {
		got := records("SELECT state, code, late, count(DISTINCT schedule_id), count(*) FROM schedule_occurrences WHERE schedule_id = ANY ($1) GROUP BY 1, 2, 3 ORDER BY 1, 2")
		if got != want {
			return false, fmt.Errorf("there are %s, want %s", got, want)
		}
		return true, nil
	})
	// What is run was the newest. Of a quarter of an hour, each minute has some.
	if got := records(`SELECT count(*) FROM schedule_occurrences o WHERE schedule_id = ANY ($1) AND state = 'run'
		AND EXISTS (SELECT FROM schedule_occurrences n WHERE n.schedule_id = o.schedule_id AND n.at > o.at)`); got != "0" {
		t.Errorf("%s that were run are not the newest", got)
	}
	if got, want := records(`SELECT count(*), count(DISTINCT database_id), count(*) FILTER (WHERE wait BETWEEN -30 AND 900), count(DISTINCT floor(wait / 60)) >= 15 FROM (
		SELECT extract(epoch FROM j.not_before - o.recorded_at) AS wait, b.database_id FROM jobs j JOIN database_backups b ON b.id = j.backup_id
		JOIN schedule_occurrences o ON o.schedule_id = b.schedule_id AND o.at = b.occurrence_at WHERE b.schedule_id = ANY ($1)) x`), fmt.Sprintf("%d %d %d true", many, many, many); got != want {
		t.Errorf("jobs, databases, jobs that begin within a quarter of an hour, whether in each minute of it: %s, want %s", got, want)
	}
	// Those whose time has come are made, the rest is called off.
	rows, err := w.catalog.Rows(ctx, "SELECT backup_id FROM jobs j JOIN database_backups b ON b.id = j.backup_id WHERE b.schedule_id = ANY ($1) ORDER BY j.not_before DESC", ids)
	if err != nil || len(rows) != many {
		t.Fatalf("%d jobs were made: %v", len(rows), err)
	}
	for _, last := range rows[:5] {
		w.forward(t, ctx, "UPDATE jobs SET not_before = now() WHERE backup_id = $1", last)
	}
	each(t, rows[5:], func(backup string) error {
		err := w.ctl.API(ctx, http.MethodPost, "/backups/"+backup+"/cancel", nil, nil)
		if p := (*stack.ProblemError)(nil); errors.As(err, &p) && p.Status == http.StatusConflict {
			err = nil // it was made already
		}
		return err
	})
	for _, last := range rows[:5] {
		var b int64
		_, _ = fmt.Sscan(last, &b)
		if _, err := w.ctl.AwaitBackup(ctx, b, "completed", 60*time.Second); err != nil {
			t.Error(err)
		}
	}
}

// wrongRecords changes records behind the product's back. The invariants see it.
func (w *scheduleWorld) wrongRecords(t *testing.T, ctx context.Context) {
	number := w.schedule(t, ctx, "shop", "--all")
	for range 2 {
		w.ran(t, ctx, w.occur(t, ctx, number), small, big)
	}
	for _, tc := range []struct{ what, change, back, seen string }{
		{
			"no record", "UPDATE schedule_occurrences SET schedule_id = -schedule_id WHERE schedule_id = $1", "UPDATE schedule_occurrences SET schedule_id = -schedule_id WHERE schedule_id = -$1::bigint",
			"its records are of []",
		},
		{
			"the record of another instant", "UPDATE schedule_occurrences SET at = at + interval '1 hour' WHERE schedule_id = $1", "UPDATE schedule_occurrences SET at = at - interval '1 hour' WHERE schedule_id = $1",
			"its records are of",
		},
		{
			"a database left out", "UPDATE occurrence_databases SET at = at + interval '1 hour' WHERE schedule_id = $1", "UPDATE occurrence_databases SET at = at - interval '1 hour' WHERE schedule_id = $1",
			"covers 2 databases and tells of 0",
		},
		{
			"another state", "UPDATE schedule_occurrences SET state = 'skipped' WHERE schedule_id = $1", "UPDATE schedule_occurrences SET state = 'run' WHERE schedule_id = $1",
			"says skipped",
		},
		{
			"a backup twice", "UPDATE database_backups SET occurrence_at = occurrence_at + interval '1 second' WHERE schedule_id = $1", "UPDATE database_backups SET occurrence_at = occurrence_at - interval '1 second' WHERE schedule_id = $1",
			"which is a scheduled one of schedule",
		},
		{
			"a step left out", "UPDATE stack.spans SET until = until + interval '1 second' WHERE schedule_id = $1", "UPDATE stack.spans SET until = until - interval '1 second' WHERE schedule_id = $1",
			"is recorded until",
		},
	} {
		if err := w.catalog.Alter(ctx, tc.change, number); err != nil {
			t.Fatalf("%s: %v", tc.what, err)
		}
		if err := w.catalog.CheckSchedules(ctx); err == nil || !strings.Contains(err.Error(), tc.seen) {
			t.Errorf("with %s the invariants say %v", tc.what, err)
		}
		if err := w.catalog.Alter(ctx, tc.back, number); err != nil {
			t.Fatalf("%s: %v", tc.what, err)
		}
	}
}
