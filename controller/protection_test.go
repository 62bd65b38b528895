package controller_test

import (
	"fmt"
	"testing"
	"time"

	"devflowbackup/controller"
)

// TestCalendar_LongestGap holds the answer against every pair of occurrences that follow each other in the year, for each frequency and
// for zones whose clocks change in spring, by half an hour, at midnight, and not at all.
func TestCalendar_LongestGap(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 1, 15, 10, 20, 30, 0, time.UTC)
	for _, zone := range []string{"UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Havana", "Africa/Casablanca"} {
		for _, s := range []string{
			"hourly 00:17", "daily 02:30", "daily 00:00", "weekly0 03:00", "monthly31 01:00", "monthly1 02:15",
			"cron 0 */6 * * *", "cron 30 2 * * 1-5", "cron 0 22 * * 1", "cron 5 * * * 1", "cron 0 0 1 1 *", "cron 15 3 28 2 *", "cron 0 1,2,3 1,15 * *", "cron */5 * * * *", "cron 0 0,23 * * *", "cron 0 0,2,4,6,8,10,11,13,23 * * *",
		} {
			tm := timing(s, zone)
			c, err := tm.Calendar()
			if err != nil {
				t.Fatalf("%s: %v", s, err)
			}
			want := time.Duration(0)
			last := c.Prev(from)
			for at := range c.Occurrences(from, from.AddDate(0, 0, 366)) {
				want = max(want, at.Sub(last))
				last = at
			}
			want = max(want, c.Next(last).Sub(last))
			// The look may go a day further than the year.
			if got := c.LongestGap(from); got != want {
				t.Errorf("%s in %s: longest gap is %v, want %v", s, zone, got, want)
			}
		}
	}
	for _, known := range []struct {
		s, zone string
		want    time.Duration
	}{
		{"hourly 00:00", "UTC", time.Hour},
		{"daily 02:00", "UTC", 24 * time.Hour},
		{"daily 02:00", "Europe/Berlin", 25 * time.Hour}, // in autumn
		{"weekly0 01:00", "Europe/Berlin", 7*24*time.Hour + time.Hour},
		{"monthly31 00:00", "UTC", 31 * 24 * time.Hour},
		{"cron 0 8-17 * * 1-5", "UTC", 63 * time.Hour}, // from Friday evening to Monday morning
		{"cron 0 0 29 2 *", "UTC", (4*365 + 1) * 24 * time.Hour},
	} {
		c, err := timing(known.s, known.zone).Calendar()
		if err != nil {
			t.Fatal(err)
		}
		if got := c.LongestGap(from); got != known.want {
			t.Errorf("%s in %s: longest gap is %v, want %v", known.s, known.zone, got, known.want)
		}
	}
	s := controller.Schedule{Timing: timing("daily 02:00", "Nowhere/Atall")}
	if got, err := s.Interval(from); err != nil || got != 24*time.Hour {
		t.Errorf("of a zone that is not known: %v, %v", got, err)
	}
}

// timing is one of words, such as "weekly0 03:00" or "cron 0 2 * * *".
func timing(words, zone string) controller.Timing {
	tm := controller.Timing{Timezone: zone}
	var n int
	switch {
	case scans(words, "weekly%d %s", &n, &tm.Time):
		tm.Frequency, tm.DayOfWeek = controller.FrequencyWeekly, &n
	case scans(words, "monthly%d %s", &n, &tm.Time):
		tm.Frequency, tm.DayOfMonth = controller.FrequencyMonthly, &n
	case words[:5] == "cron ":
		tm.Frequency, tm.Cron = controller.FrequencyCron, words[5:]
	default:
		scans(words, "%s %s", &tm.Frequency, &tm.Time)
	}
	return tm
}

func scans(words, format string, to ...any) bool {
	n, err := fmt.Sscanf(words, format, to...)
	return err == nil && n == len(to)
}

// TestProtection_Judge: each state, what it follows from, and the sentence that says why.
func TestProtection_Judge(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	at := func(d time.Duration) *time.Time { v := ago(d); return &v }
	const h, day = time.Hour, 24 * time.Hour
	project := int64(7)
	daily := controller.Covering{ID: 1, Within: controller.ExpectWithin(day, 15*time.Minute, h), ActivatedAt: ago(100 * day)} // 27 h 46 min
	hourly := controller.Covering{ID: 2, Within: controller.ExpectWithin(h, 0, h), ActivatedAt: ago(100 * day)}               // 2 h 15 min
	with := func(c controller.Covering, change func(*controller.Covering)) controller.Covering {
		change(&c)
		return c
	}
	paused := func(c controller.Covering) controller.Covering {
		return with(c, func(c *controller.Covering) { c.Paused = "everything is paused: moving" })
	}
	for _, c := range []struct {
		name     string
		last     *time.Time
		since    time.Duration // 0: a year
		covering []controller.Covering
		ignored  bool
		missing  *time.Time
		revoked  bool
		nowhere  bool // of no project

		state, reason string
		overdue       time.Duration // from now; 0: not told
	}{
		{name: "protected", last: at(10 * h), covering: []controller.Covering{daily}, state: "protected", reason: "last good backup 10 h ago, expected within 28 h", overdue: 17*h + 46*time.Minute + 30*time.Second},
		{name: "overdue", last: at(3 * day), covering: []controller.Covering{daily}, state: "overdue", reason: "last good backup 3 days ago, expected within 28 h", overdue: -44*h - 13*time.Minute - 30*time.Second},
		{name: "at the very time", last: at(hourly.Within), covering: []controller.Covering{hourly}, state: "overdue", reason: "last good backup 2 h 15 min ago, expected within 2 h 15 min", overdue: -1},
		{name: "just before it", last: at(hourly.Within - time.Second), covering: []controller.Covering{hourly}, state: "protected", reason: "last good backup 2 h 15 min ago, expected within 2 h 15 min", overdue: time.Second},
		{name: "the more frequent one is expected", last: at(10 * h), covering: []controller.Covering{daily, hourly}, state: "overdue", reason: "last good backup 10 h ago, expected within 2 h 15 min", overdue: -7*h - 45*time.Minute},
		{name: "never, made long ago", covering: []controller.Covering{daily}, state: "overdue", reason: "no completed backup yet, expected within 28 h", overdue: -100*day + daily.Within},
		{name: "never, made just now", covering: []controller.Covering{with(daily, func(c *controller.Covering) { c.ActivatedAt = ago(h) })}, state: "waiting", reason: "no completed backup yet, the next is expected within 27 h", overdue: daily.Within - h},
		{name: "never, assigned just now", since: h, covering: []controller.Covering{daily}, state: "waiting", reason: "no completed backup yet, the next is expected within 27 h", overdue: daily.Within - h},
		{name: "old, activated again just now", last: at(9 * day), covering: []controller.Covering{with(daily, func(c *controller.Covering) { c.ActivatedAt = ago(h) })}, state: "waiting", reason: "last good backup 9 days ago, the next is expected within 27 h", overdue: daily.Within - h},
		{name: "paused", last: at(3 * day), covering: []controller.Covering{paused(daily), paused(hourly)}, state: "paused", reason: "everything is paused: moving; last good backup 3 days ago"},
		{name: "one of two paused", last: at(10 * h), covering: []controller.Covering{daily, paused(hourly)}, state: "protected", reason: "last good backup 10 h ago, expected within 28 h", overdue: daily.Within - 10*h},
		{
			name: "it was paused when it became due", last: at(5 * day), covering: []controller.Covering{with(daily, func(c *controller.Covering) {
				c.Held = []controller.Period{{From: ago(2 * day), To: ago(20 * h)}, {From: ago(4 * day), To: ago(36 * h)}}
			})}, state: "waiting", reason: "last good backup 5 days ago, the next is expected within 7 h 47 min", overdue: daily.Within - 20*h,
		},
		{
			name: "it was due before the pause", last: at(5 * day), covering: []controller.Covering{with(daily, func(c *controller.Covering) {
				c.Held = []controller.Period{{From: ago(3 * day), To: ago(h)}}
			})}, state: "overdue", reason: "last good backup 5 days ago, expected within 28 h", overdue: -5*day + daily.Within,
		},
		{name: "unprotected", last: at(h), state: "unprotected", reason: "no active schedule covers it; last good backup 1 h ago"},
		{name: "in no project", nowhere: true, state: "unprotected", reason: "it is in no project and no schedule covers it; no completed backup yet"},
		{name: "ignored", ignored: true, state: "ignored", reason: "ignored by choice: a copy"},
		{name: "ignored, but covered", ignored: true, last: at(h), covering: []controller.Covering{daily}, state: "protected", reason: "last good backup 1 h ago, expected within 28 h; it is ignored by choice, but a schedule covers it", overdue: daily.Within - h},
		{name: "gone", missing: at(2 * day), last: at(3 * day), covering: []controller.Covering{daily}, state: "gone", reason: "its server has not found it for 48 h; last good backup 3 days ago"},
		{name: "revoked", revoked: true, covering: []controller.Covering{daily}, state: "gone", reason: "its server is revoked; no completed backup yet"},
	} {
		p := controller.Protection{LastGoodAt: c.last, ProjectID: &project}
		if c.nowhere {
			p.ProjectID = nil
		}
		if c.ignored {
			p.IgnoredAt, p.IgnoredReason = at(day), "a copy"
		}
		if c.since == 0 {
			c.since = 365 * day
		}
		p.Judge(controller.ProtectionFacts{Now: now, Since: ago(c.since), Missing: c.missing, Revoked: c.revoked, Covering: c.covering})
		if p.State != c.state || p.Reason != c.reason {
			t.Errorf("%s: %s, %q; want %s, %q", c.name, p.State, p.Reason, c.state, c.reason)
		}
		switch {
		case c.overdue == 0 && p.OverdueAt != nil:
			t.Errorf("%s: is overdue at %v", c.name, p.OverdueAt)
		case c.overdue == -1 && (p.OverdueAt == nil || !p.OverdueAt.Equal(now)):
			t.Errorf("%s: is overdue at %v, want now", c.name, p.OverdueAt)
		case c.overdue != 0 && c.overdue != -1 && (p.OverdueAt == nil || p.OverdueAt.Sub(now) != c.overdue):
			t.Errorf("%s: is overdue at %v, want %v", c.name, p.OverdueAt, now.Add(c.overdue))
		}
		if len(p.Schedules) != len(c.covering) {
			t.Errorf("%s: schedules are %v", c.name, p.Schedules)
		}
	}
}

// TestProtection_Trends: the last one against the median of those before it.
func TestProtection_Trends(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		sizes []int64
		want  float64 // 0: none
	}{
		{nil, 0},
		{[]int64{5, 10}, 0},
		{[]int64{10, 20, 30}, 2},
		{[]int64{10, 1000, 10, 5}, 0.5},
		{[]int64{0, 0, 5}, 0},
	} {
		p := controller.Protection{Sizes: c.sizes}
		p.Trends()
		switch {
		case (p.SizeTrend == nil) != (c.want == 0), p.SizeTrend != nil && *p.SizeTrend != c.want:
			t.Errorf("trend of %v is %v, want %v", c.sizes, p.SizeTrend, c.want)
		case p.SecondsTrend != nil:
			t.Errorf("trend of no durations is %v", *p.SecondsTrend)
		}
	}
}

// TestWrong: each kind has its sentence.
func TestWrong(t *testing.T) {
	t.Parallel()
	for _, kind := range controller.WrongKinds {
		one, many := controller.Wrong{Kind: kind}, controller.Wrong{Kind: kind}
		one.Add("a")
		for i := range 9 {
			many.Add(fmt.Sprint(i))
		}
		one.Tell()
		many.Tell()
		if one.Severity == "" || one.Text == many.Text || len(many.Names) != controller.WrongNames || many.Count != 9 {
			t.Errorf("%+v, %+v", one, many)
		}
	}
}

func BenchmarkCalendar_LongestGap(b *testing.B) {
	for _, s := range []string{"daily 02:00", "hourly 00:00", "cron * * * * *"} {
		c, err := timing(s, "Europe/Berlin").Calendar()
		if err != nil {
			b.Fatal(err)
		}
		now := time.Date(2026, 1, 15, 10, 20, 30, 0, time.UTC)
		b.Run(s, func(b *testing.B) {
			for b.Loop() {
				c.LongestGap(now)
			}
		})
	}
}
