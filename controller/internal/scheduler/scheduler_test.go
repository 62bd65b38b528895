package scheduler_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/scheduler"
)

// TestMistake08_TodayAndDay31: a schedule made at 01:00 for 02:00 fires that day; day 31 fires in every month; a run that is late or long
// loses none.
func TestMistake08_TodayAndDay31(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	s := w.scheduler(w.store)
	day := w.made(instant(t, "2026-01-31T01:00:00Z"), unspread(controller.ScheduleSpec{Target: database(1), Timing: daily("UTC", "02:00")}))
	month := w.made(instant(t, "2026-01-30T12:00:00Z"), unspread(controller.ScheduleSpec{
		Target: database(2), Timing: controller.Timing{Frequency: controller.FrequencyMonthly, Time: "23:30", DayOfMonth: ptr(31)},
	}))
	w.at(s, instant(t, "2026-01-31T01:59:59Z"))
	w.want("before it is due", w.records(day.ID))
	w.at(s, instant(t, "2026-01-31T02:00:00Z"))
	w.want("on the day it was made", w.records(day.ID), "01-31 02:00 run")
	w.finish()
	// The next day it is looked at late, the day after its backup takes long.
	w.at(s, instant(t, "2026-02-01T02:00:50Z"))
	w.at(s, instant(t, "2026-02-02T02:00:00Z"))
	w.finish()
	w.at(s, instant(t, "2026-02-03T02:00:00Z"))
	w.want("later", w.records(day.ID)[1:], "02-01 02:00 run", "02-02 02:00 skipped overlap", "02-03 02:00 run")
	for _, now := range []string{"2026-02-28T23:30:00Z", "2026-03-31T23:30:00Z", "2026-04-30T23:30:00Z", "2026-05-31T23:30:00Z"} {
		w.finish()
		w.at(s, instant(t, now))
	}
	w.want("day 31", w.records(month.ID), "01-31 23:30 run late", "02-28 23:30 run", "03-31 23:30 run", "04-30 23:30 run", "05-31 23:30 run")
}

// TestFault71_StormAfterOutage misses 12 hours of 1,000 schedules: of each the newest is run once, spread over time, the others are
// recorded as missed. Two controllers come back at once.
func TestFault71_StormAfterOutage(t *testing.T) {
	t.Parallel()
	const schedules = 1000
	w := newWorld(t, schedules)
	from := instant(t, "2026-11-22T17:30:00Z")
	first := w.made(from, controller.ScheduleSpec{Target: database(1), Timing: hourly()})
	w.exec(`INSERT INTO backup_schedules (project_id, scope, server_id, database_id, instance, database_type, database_name, frequency, "time", timezone, max_duration_seconds,
			compression, retention_hourly, recorded_until, next_at, next_run_at)
		SELECT c.project_id, c.scope, c.server_id, d.id, c.instance, c.database_type, d.name, c.frequency, c."time", c.timezone, c.max_duration_seconds, c.compression, 24,
			c.recorded_until, c.next_at, c.next_run_at FROM backup_schedules c, databases d WHERE c.id = $1 AND d.name <> 'd1'`, first.ID)
	now := instant(t, "2026-11-23T06:10:00Z")
	w.clock.set(now)
	var kicks atomic.Int64
	var wg sync.WaitGroup
	for _, store := range []scheduler.Store{w.store, w.another("two")} {
		s := w.scheduler(store, func(o *scheduler.Options) { o.Kick = func() { kicks.Add(1) }; o.Workers = 2 })
		wg.Go(func() {
			if err := s.RunDue(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	equal(t, "run", one[int](w, "SELECT count(*) FROM schedule_occurrences WHERE state = 'run' AND late AND at = '2026-11-23T06:00:00Z'"), schedules)
	equal(t, "missed", one[int](w, "SELECT count(*) FROM schedule_occurrences WHERE state = 'missed' AND code = 'downtime' AND reason LIKE '%2026-11-23 06:00:00 UTC is taken up instead'"), 12*schedules)
	equal(t, "occurrences", one[int](w, "SELECT count(*) FROM schedule_occurrences"), 13*schedules)
	equal(t, "backups", one[int](w, "SELECT count(DISTINCT database_id) FROM database_backups"), schedules)
	equal(t, "jobs", one[int](w, "SELECT count(*) FROM jobs"), schedules)
	equal(t, "next", one[int](w, "SELECT count(*) FROM backup_schedules WHERE next_at = '2026-11-23T07:00:00Z'"), schedules)
	// They are spread over the fifteen minutes that follow.
	for minute := range 15 {
		n := one[int](w, "SELECT count(*) FROM jobs WHERE not_before >= $1 AND not_before < $2", now.Add(time.Duration(minute)*time.Minute), now.Add(time.Duration(minute+1)*time.Minute))
		if n < schedules/30 || n > schedules/8 {
			t.Errorf("%d of %d begin in minute %d", n, schedules, minute)
		}
	}
	if kicks.Load() == 0 {
		t.Error("the dispatcher was not told")
	}
}

var zones = []string{
	"Africa/Cairo", "Africa/Casablanca", "America/Caracas", "America/Havana", "America/New_York", "America/Nuuk", "America/Sao_Paulo", "America/St_Johns", "Antarctica/Troll",
	"Asia/Beirut", "Asia/Kathmandu", "Asia/Kolkata", "Asia/Jerusalem", "Australia/Lord_Howe", "Europe/Berlin", "Europe/Dublin", "Pacific/Apia", "Pacific/Chatham", "Asia/Tokyo", "UTC",
}

// timings are schedules of every kind, most at times that some clock change hits.
func timings(r *rand.Rand) []controller.Timing {
	var out []controller.Timing
	for i, zone := range zones {
		out = append(out, daily(zone, []string{"02:30", "00:15", "03:00", "00:00"}[i%4]))
		t := controller.Timing{Frequency: controller.FrequencyWeekly, Time: "02:15", DayOfWeek: ptr(0), Timezone: zone}
		switch i % 4 {
		case 1:
			t = controller.Timing{Frequency: controller.FrequencyMonthly, Time: "00:30", DayOfMonth: ptr(31), Timezone: zone}
		case 2:
			t = controller.Timing{Frequency: controller.FrequencyCron, Cron: fmt.Sprintf("%d 1,2,13 * * *", r.IntN(60)), Timezone: zone}
		case 3:
			t = controller.Timing{Frequency: controller.FrequencyCron, Cron: "30 2 29-31 * 1", Timezone: zone}
		}
		out = append(out, t)
	}
	for _, zone := range []string{"Australia/Lord_Howe", "Europe/Berlin"} {
		out = append(out, controller.Timing{Frequency: controller.FrequencyHourly, Time: "00:20", Timezone: zone})
	}
	return out
}

// TestFault26_WeeksOfOccurrences runs schedules of every kind in 20 zones through weeks with clock changes (68), on two controllers
// of which one is down for hours (13), both at times (26), which are killed before and after they record, and whose clock is set back
// (70). Each occurrence has exactly one record, and each that was run exactly one backup.
func TestFault26_WeeksOfOccurrences(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(26, 68))
	all := timings(r)
	w := newWorld(t, len(all))
	start, end := instant(t, "2026-03-20T00:00:00Z"), instant(t, "2026-04-07T00:00:00Z")
	var schedules []controller.Schedule
	for i, timing := range all {
		spec := controller.ScheduleSpec{Target: database(i + 1), Timing: timing}
		if i%5 == 0 {
			spec.CatchUpSeconds = ptr([]int64{0, 3600}[i/5%2])
		}
		schedules = append(schedules, w.made(start, spec))
	}
	roll := func() (before, after bool) { return r.IntN(20) == 0, r.IntN(20) == 0 }
	stores := []*mortal{{Store: w.store, die: roll}, {Store: w.another("two"), die: roll}}
	var die sync.Mutex // one source of chance for both
	for _, m := range stores {
		m.die = func() (bool, bool) { die.Lock(); defer die.Unlock(); return roll() }
	}
	both := []*scheduler.Scheduler{w.scheduler(stores[0]), w.scheduler(stores[1])}
	chance := func(n int) bool { die.Lock(); defer die.Unlock(); return r.IntN(n) == 0 }
	setBack, down, steps := 0, 0, 0
	now := start
	for ; now.Before(end); steps++ {
		step := time.Duration(5+r.IntN(90)) * time.Minute
		switch {
		case chance(50): // nobody is up for hours
			step = time.Duration(2+r.IntN(30)) * time.Hour
			down++
		case chance(3): // exactly when something is due
			for _, d := range must[[]controller.DueSchedule](t)(w.store.ActiveSchedules(t.Context(), 0, 1000)) {
				if until := d.NextRunAt.Sub(now); until > 0 && until < step {
					step = until
				}
			}
		}
		now = now.Add(step)
		w.clock.set(now)
		if chance(4) { // both at once
			var wg sync.WaitGroup
			for _, s := range both {
				wg.Go(func() {
					if err := s.RunDue(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		} else {
			w.at(both[r.IntN(2)], now)
		}
		if !chance(6) {
			w.finish()
		}
		if chance(40) {
			setBack++
			w.at(both[0], now.Add(-time.Hour))
			w.clock.set(now)
		}
	}
	for _, m := range stores { // nobody dies any more
		m.die = func() (bool, bool) { return false, false }
	}
	end = now.Add(time.Hour)
	w.at(both[0], end)

	states := map[string]int{}
	for _, s := range schedules {
		recorded := w.recorded(s.ID, states)
		a := must[*controller.Agenda](t)(s.Agenda())
		n := 0
		for at := range a.Occurrences(start, end) {
			if a.Occurrence(at).Due.After(end) {
				continue
			}
			n++
			if recorded[at.Unix()] != 1 {
				t.Errorf("%s: %s has %d records", s.Label(), at, recorded[at.Unix()])
			}
		}
		if n != len(recorded) {
			t.Errorf("%s: %d records for %d occurrences", s.Label(), len(recorded), n)
		}
		if n == 0 {
			t.Errorf("%s never occurred", s.Label())
		}
	}
	equal(t, "backups without a record, or more than one for it", one[int](w, `SELECT count(*) FROM database_backups b WHERE
		(SELECT count(*) FROM occurrence_databases o WHERE o.backup_id = b.id AND o.schedule_id = b.schedule_id AND o.at = b.occurrence_at) <> 1`), 0)
	equal(t, "backups", one[int](w, "SELECT count(*) FROM database_backups"), states["run "])
	equal(t, "jobs", one[int](w, "SELECT count(*) FROM jobs"), states["run "])
	before, after, stale := stores[0].before+stores[1].before, stores[0].after+stores[1].after, stores[0].stale+stores[1].stale
	t.Logf("%d steps, %d downtimes, %d times set back, killed %d times before and %d after, %d stale: %v", steps, down, setBack, before, after, stale, states)
	for what, n := range map[string]int{
		"downtime": down, "clock set back": setBack, "killed before it recorded": before, "killed after it recorded": after, "run": states["run "],
		"missed": states["missed downtime"], "too late": states["missed too_late"], "overlap": states["skipped overlap"],
	} {
		if n < 3 {
			t.Errorf("%s happened %d times only", what, n)
		}
	}
}

// TestFault13_KilledWhileClaimed: a controller that took a schedule and died before it recorded anything leaves it to another one, which
// gets it when the claim has run out. One that was only paused comes too late then.
func TestFault13_KilledWhileClaimed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	schedule := w.made(instant(t, "2026-03-01T00:30:00Z"), controller.ScheduleSpec{Target: database(1), Timing: hourly()})
	now := instant(t, "2026-03-01T01:00:00Z")
	dead := &mortal{Store: w.store, die: func() (bool, bool) { return true, false }}
	w.at(w.scheduler(dead), now)
	equal(t, "killed", dead.before, 1)
	two := w.scheduler(w.another("two"))
	w.at(two, now.Add(29*time.Second))
	w.want("while the claim holds", w.records(schedule.ID))
	w.at(two, now.Add(31*time.Second))
	w.want("after the claim", w.records(schedule.ID), "03-01 01:00 run")
	// The first one goes on with what it had read.
	d := controller.Tick{
		ScheduleID: schedule.ID, RecordedUntil: instant(t, "2026-03-01T00:30:00Z"), Now: now, Run: &controller.Occurrence{At: now, Due: now}, Until: now,
		Next: controller.Occurrence{At: now.Add(time.Hour), Due: now.Add(time.Hour)},
	}
	equal(t, "late comer", must[controller.TickResult](t)(w.store.RecordTick(t.Context(), d)), controller.TickResult{Stale: true})
	equal(t, "backups", one[int](w, "SELECT count(*) FROM database_backups"), 1)
}

// TestFault70_ClockSetBack: what has occurred does not occur again, and nothing is left out when the clock comes by once more.
func TestFault70_ClockSetBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	s := w.scheduler(w.store)
	schedule := w.made(instant(t, "2026-03-01T08:30:00Z"), controller.ScheduleSpec{Target: database(1), Timing: hourly()})
	for _, now := range []string{"09:00", "10:00", "10:30", "09:30", "10:00", "10:31", "11:00", "12:00"} {
		w.at(s, instant(t, "2026-03-01T"+now+":00Z"))
		w.finish()
	}
	w.want("records", w.records(schedule.ID), "03-01 09:00 run", "03-01 10:00 run", "03-01 11:00 run", "03-01 12:00 run")
	// Even where it is due by mistake.
	w.exec("UPDATE backup_schedules SET next_run_at = '2026-03-01T11:00:00Z'")
	w.at(s, instant(t, "2026-03-01T11:30:00Z"))
	equal(t, "records", len(w.records(schedule.ID)), 4)
	if next := w.schedule(schedule.ID).NextRunAt; !next.Equal(instant(t, "2026-03-01T13:00:00Z")) {
		t.Errorf("it is due next at %s", next)
	}
}

// TestFault69_Zones: an update of the time zone database moves what was planned, and no date has two; a zone that is gone stops its
// schedules with an error, never in UTC; it goes on when the zone is back.
func TestFault69_Zones(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	ctx := t.Context()
	berlin := w.made(instant(t, "2026-01-09T12:00:00Z"), unspread(controller.ScheduleSpec{Target: database(1), Timing: daily("Europe/Berlin", "02:00")}))
	tokyo := w.made(instant(t, "2026-01-09T12:00:00Z"), unspread(controller.ScheduleSpec{Target: database(2), Timing: daily("Asia/Tokyo", "23:00")}))
	data := map[string]string{}
	s := w.scheduler(w.store, func(o *scheduler.Options) {
		o.Zone = func(name string) (*time.Location, error) {
			if other, changed := data[name]; changed {
				name = other
			}
			return controller.LoadZone(name)
		}
	})
	w.ok(s.Replan(ctx))
	equal(t, "planned anew without a reason", w.log.count("planned anew"), 0)
	w.at(s, instant(t, "2026-01-10T01:00:00Z"))
	w.want("Berlin", w.records(berlin.ID), "01-10 01:00 run")
	// Berlin keeps London's time from now on: 10 January has had its backup, the next one is at 02:00 on the 11th.
	data["Europe/Berlin"] = "Europe/London"
	w.clock.set(instant(t, "2026-01-10T01:30:00Z"))
	w.ok(s.Replan(ctx))
	if next := w.schedule(berlin.ID).NextRunAt; !next.Equal(instant(t, "2026-01-11T02:00:00Z")) {
		t.Errorf("planned anew for %s", next)
	}
	equal(t, "planned anew", w.log.count("planned anew"), 1)
	w.ok(s.Replan(ctx))
	equal(t, "planned anew once more", w.log.count("planned anew"), 1)
	w.finish()
	w.at(s, instant(t, "2026-01-11T02:00:00Z"))
	w.want("Berlin on London's time", w.records(berlin.ID), "01-10 01:00 run", "01-11 02:00 run")
	w.finish()
	// Without anyone planning anew, what is due under the old rules is not run under the new ones twice.
	delete(data, "Europe/Berlin")
	w.at(s, instant(t, "2026-01-12T02:00:00Z"))
	w.at(s, instant(t, "2026-01-12T02:00:01Z"))
	w.want("Berlin on its own time again", w.records(berlin.ID)[2:], "01-12 01:00 run late")
	w.finish()
	data["Europe/Berlin"] = "Europe/London"
	w.at(s, instant(t, "2026-01-13T01:00:00Z"))
	w.want("Berlin on London's time, due on its own", w.records(berlin.ID)[3:])
	w.at(s, instant(t, "2026-01-13T02:00:00Z"))
	w.want("Berlin on London's time again", w.records(berlin.ID)[3:], "01-13 02:00 run")
	w.finish()

	// The zone is gone.
	data["Asia/Tokyo"] = "Asia/Edo"
	w.at(s, instant(t, "2026-01-13T14:00:00Z"))
	gone := w.schedule(tokyo.ID)
	if gone.NextRunAt != nil || !strings.Contains(gone.Problem, "Asia/Edo") || !gone.IsActive {
		t.Errorf("with its zone gone it is %+v", gone)
	}
	records := len(w.records(tokyo.ID))
	w.at(s, instant(t, "2026-01-13T23:30:00Z"))
	w.ok(s.Replan(ctx))
	equal(t, "records meanwhile", len(w.records(tokyo.ID)), records)
	equal(t, "errors told", w.log.count("schedule cannot occur"), 1)
	delete(data, "Asia/Tokyo")
	w.ok(s.Replan(ctx))
	back := w.schedule(tokyo.ID)
	if back.Problem != "" || back.NextRunAt == nil {
		t.Errorf("with its zone back it is %+v", back)
	}
	w.at(s, instant(t, "2026-01-13T23:31:00Z"))
	got := w.records(tokyo.ID)
	equal(t, "newest", got[len(got)-1], "01-13 14:00 run late")
}

// TestCatchUp: how old a missed occurrence may be, and pages of them with a controller that dies between two.
func TestCatchUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	from := instant(t, "2026-03-01T00:30:00Z")
	off := w.made(from, controller.ScheduleSpec{Target: database(1), Timing: hourly(), CatchUpSeconds: ptr(int64(0))})
	short := w.made(from, controller.ScheduleSpec{Target: database(2), Timing: hourly(), CatchUpSeconds: ptr(int64(1800))})
	minutes := w.made(from, controller.ScheduleSpec{Target: database(3), Timing: controller.Timing{Frequency: controller.FrequencyCron, Cron: "* * * * *"}})
	ticks := 0
	dying := &mortal{Store: w.store, die: func() (bool, bool) { ticks++; return ticks == 4, false }}
	now := instant(t, "2026-03-02T03:20:00Z")
	s := w.scheduler(dying, func(o *scheduler.Options) { o.Workers = 1 })
	w.at(s, now)
	equal(t, "killed", dying.before, 1)
	equal(t, "pages before it was killed", len(w.records(minutes.ID))%controller.MissedPage, 0)
	w.at(s, now.Add(40*time.Second))
	got := w.records(minutes.ID)
	equal(t, "every minute", len(got), 26*60+50)
	equal(t, "its newest", got[len(got)-1], "03-02 03:20 run")
	if slices.ContainsFunc(got[:len(got)-1], func(r string) bool { return !strings.HasSuffix(r, " missed downtime") }) {
		t.Error("the others are not all missed")
	}
	got = w.records(off.ID)
	equal(t, "without catch-up", got[len(got)-1], "03-02 03:00 missed too_late")
	equal(t, "without catch-up, in all", len(got), 27)
	got = w.records(short.ID)
	equal(t, "within its catch-up", got[len(got)-1], "03-02 03:00 run late")
	w.finish()
	w.at(s, instant(t, "2026-03-02T04:45:00Z"))
	got = w.records(short.ID)
	equal(t, "past its catch-up", got[len(got)-1], "03-02 04:00 missed too_late")
	w.finish()
	w.at(s, instant(t, "2026-03-02T05:00:30Z"))
	got = w.records(off.ID)
	equal(t, "on time", got[len(got)-1], "03-02 05:00 run")
}

// TestScheduler_Start runs the loop on PostgreSQL's clock: what is due is run, the dispatcher is told, a catalog that is away for a
// moment does not end it, and it can be stopped and started.
func TestScheduler_Start(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	schedule := must[controller.Schedule](t)(w.store.CreateSchedule(t.Context(), w.admin, controller.ScheduleSpec{Project: "shop", Target: database(1), Timing: hourly()}))
	kicked := make(chan struct{}, 100)
	flaky := &away{Store: w.store}
	flaky.fail.Store(3)
	s := w.scheduler(flaky, func(o *scheduler.Options) {
		o.Now, o.Tick, o.Replan = nil, 5*time.Millisecond, 20*time.Millisecond
		o.Kick = func() { kicked <- struct{}{} }
	})
	s.Start(t.Context())
	s.Start(t.Context())
	t.Cleanup(s.Stop)
	due := func() {
		t.Helper()
		w.finish()
		w.exec(`UPDATE backup_schedules SET recorded_until = next_at - interval '2 hours', next_at = next_at - interval '1 hour', next_run_at = next_at - interval '1 hour'`)
		w.exec("DELETE FROM occurrence_databases; DELETE FROM schedule_occurrences")
		select {
		case <-kicked:
		case <-time.After(20 * time.Second):
			t.Fatal("nothing was ordered within 20 seconds")
		}
		equal(t, "occurrences", len(w.records(schedule.ID)), 1)
	}
	due()
	if flaky.fail.Load() > 0 || w.log.count("[WARN]") == 0 {
		t.Error("the catalog was never away")
	}
	s.Stop()
	s.Stop()
	s.Start(t.Context())
	due()
	equal(t, "backups", one[int](w, "SELECT count(*) FROM database_backups"), 2)
}

// away is a store that fails a few times.
type away struct {
	scheduler.Store
	fail atomic.Int64
}

func (a *away) err() error {
	if a.fail.Add(-1) >= 0 {
		return controller.Errorf(controller.EUnavailable, "the catalog cannot be reached")
	}
	return nil
}

func (a *away) ActiveSchedules(ctx context.Context, after int64, limit int) ([]controller.DueSchedule, error) {
	if err := a.err(); err != nil {
		return nil, err
	}
	return a.Store.ActiveSchedules(ctx, after, limit)
}

func (a *away) DueSchedules(ctx context.Context, now time.Time, limit int) ([]controller.DueSchedule, error) {
	if err := a.err(); err != nil {
		return nil, err
	}
	return a.Store.DueSchedules(ctx, now, limit)
}

// TestReplan_intervals: how far apart a schedule's occurrences may lie is written where nobody knew it, and where it is not so any more.
func TestReplan_intervals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	s := w.scheduler(w.store)
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	w.clock.set(at)
	daily := w.made(at, controller.ScheduleSpec{Timing: controller.Timing{Frequency: controller.FrequencyDaily, Time: "02:00", Timezone: "Europe/Berlin"}})
	hourly := w.made(at, controller.ScheduleSpec{Timing: controller.Timing{Frequency: controller.FrequencyHourly, Time: "00:00"}})
	lost := w.made(at, controller.ScheduleSpec{Timing: controller.Timing{Frequency: controller.FrequencyDaily, Time: "02:00"}})
	w.exec("UPDATE backup_schedules SET interval_seconds = NULL WHERE id = $1", daily.ID)
	w.exec("UPDATE backup_schedules SET interval_seconds = 7 WHERE id = $1", hourly.ID)
	w.exec("UPDATE backup_schedules SET interval_seconds = 86400, timezone = 'Nowhere/Atall' WHERE id = $1", lost.ID)
	w.ok(s.Replan(t.Context()))
	for _, c := range []struct{ id, want int64 }{{daily.ID, 25 * 3600}, {hourly.ID, 3600}, {lost.ID, 86400}} {
		if got := one[int64](w, "SELECT interval_seconds FROM backup_schedules WHERE id = $1", c.id); got != c.want {
			t.Errorf("the interval of schedule %d is %d, want %d", c.id, got, c.want)
		}
	}
}
