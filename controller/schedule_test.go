package controller_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
)

func instant(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse("2006-01-02T15:04:05Z", text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func ptr[T any](v T) *T { return &v }

func calendar(t *testing.T, timing controller.Timing) *controller.Calendar {
	t.Helper()
	c, err := timing.Calendar()
	if err != nil {
		t.Fatalf("%+v: %v", timing, err)
	}
	return c
}

func daily(zone, at string) controller.Timing {
	return controller.Timing{Frequency: "daily", Time: at, Timezone: zone}
}

func hourly(zone, at string) controller.Timing {
	return controller.Timing{Frequency: "hourly", Time: at, Timezone: zone}
}

func weekly(zone, at string, weekday int) controller.Timing {
	return controller.Timing{Frequency: "weekly", Time: at, Timezone: zone, DayOfWeek: &weekday}
}

func monthly(zone, at string, day int) controller.Timing {
	return controller.Timing{Frequency: "monthly", Time: at, Timezone: zone, DayOfMonth: &day}
}

func cron(zone, expression string) controller.Timing {
	return controller.Timing{Frequency: "cron", Cron: expression, Timezone: zone}
}

// TestFault68_ClockChanges says by hand what occurs where a clock is changed: from an instant on, one after the other.
func TestFault68_ClockChanges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		timing controller.Timing
		after  string
		want   []string
	}{
		{"spring gap", daily("Europe/Berlin", "02:30"), "2026-03-28T00:00:00Z", []string{"2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
		{"double hour", daily("Europe/Berlin", "02:30"), "2026-10-24T12:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		{"asked between both", daily("Europe/Berlin", "02:30"), "2026-10-25T01:00:00Z", []string{"2026-10-26T01:30:00Z"}},
		{"New York", daily("America/New_York", "02:30"), "2026-03-07T12:00:00Z", []string{"2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"}},
		{"New York, autumn", daily("America/New_York", "01:30"), "2026-10-31T12:00:00Z", []string{"2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"}},
		{"midnight gap", daily("America/Sao_Paulo", "00:00"), "2018-11-03T12:00:00Z", []string{"2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"}},
		{"in the midnight gap", daily("America/Sao_Paulo", "00:30"), "2018-11-03T12:00:00Z", []string{"2018-11-04T03:00:00Z", "2018-11-05T02:30:00Z"}},
		{"hour before midnight twice", daily("America/Sao_Paulo", "23:30"), "2018-02-17T12:00:00Z", []string{"2018-02-18T01:30:00Z", "2018-02-19T02:30:00Z"}},
		{"Cairo", daily("Africa/Cairo", "00:30"), "2026-04-23T12:00:00Z", []string{"2026-04-23T22:00:00Z", "2026-04-24T21:30:00Z"}},
		{"Beirut", daily("Asia/Beirut", "00:00"), "2026-03-28T12:00:00Z", []string{"2026-03-28T22:00:00Z", "2026-03-29T21:00:00Z"}},
		{"half-hour gap", daily("Australia/Lord_Howe", "02:15"), "2026-10-03T00:00:00Z", []string{"2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"}},
		{"half hour twice", daily("Australia/Lord_Howe", "01:45"), "2026-04-04T00:00:00Z", []string{"2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"}},
		{"quarters of an hour", daily("Asia/Kathmandu", "02:00"), "2026-01-01T00:00:00Z", []string{"2026-01-01T20:15:00Z"}},
		{"day left out", daily("Pacific/Apia", "02:00"), "2011-12-29T00:00:00Z", []string{"2011-12-29T12:00:00Z", "2011-12-30T12:00:00Z"}},
		{"day left out, weekly", weekly("Pacific/Apia", "02:00", 5), "2011-12-23T00:00:00Z", []string{"2011-12-23T12:00:00Z", "2011-12-30T10:00:00Z", "2012-01-05T12:00:00Z"}},
		{"day left out, monthly", monthly("Pacific/Apia", "02:00", 30), "2011-12-01T00:00:00Z", []string{"2011-12-30T10:00:00Z", "2012-01-29T12:00:00Z"}},
		{"day left out, cron", cron("Pacific/Apia", "0 2 * * 5"), "2011-12-24T00:00:00Z", []string{"2012-01-05T12:00:00Z"}},
		{"one minute past midnight", daily("America/St_Johns", "00:30"), "2006-04-01T12:00:00Z", []string{"2006-04-02T03:31:00Z", "2006-04-03T03:00:00Z"}},
		{"shown before it is yesterday again", daily("America/St_Johns", "00:00"), "2006-10-28T12:00:00Z", []string{"2006-10-29T02:30:00Z", "2006-10-30T03:30:00Z"}},
		{"yesterday again", daily("America/St_Johns", "23:30"), "2006-10-28T12:00:00Z", []string{"2006-10-29T02:00:00Z", "2006-10-30T03:00:00Z"}},
		{"gap up to midnight", daily("America/Nuuk", "23:30"), "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
		{"weekly in a gap", weekly("Europe/Berlin", "02:30", 0), "2026-03-23T00:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-04-05T00:30:00Z"}},
		{"monthly in a double hour", monthly("Europe/Berlin", "02:30:15", 25), "2026-10-01T00:00:00Z", []string{"2026-10-25T00:30:15Z", "2026-11-25T01:30:15Z"}},

		{"hourly over a gap", hourly("Europe/Berlin", "00:10"), "2026-03-29T00:00:00Z", []string{"2026-03-29T00:10:00Z", "2026-03-29T01:10:00Z", "2026-03-29T02:10:00Z"}},
		{"hourly over a double hour", hourly("Europe/Berlin", "17:10"), "2026-10-25T00:00:00Z", []string{"2026-10-25T00:10:00Z", "2026-10-25T01:10:00Z", "2026-10-25T02:10:00Z"}},
		{"hourly, half-hour gap", hourly("Australia/Lord_Howe", "00:00"), "2026-10-03T14:00:00Z", []string{"2026-10-03T14:30:00Z", "2026-10-03T15:30:00Z", "2026-10-03T16:00:00Z"}},
		{"hourly, in the half-hour gap", hourly("Australia/Lord_Howe", "00:15"), "2026-10-03T14:00:00Z", []string{"2026-10-03T14:45:00Z", "2026-10-03T15:30:00Z", "2026-10-03T16:15:00Z"}},
		{"hourly, beside the half-hour gap", hourly("Australia/Lord_Howe", "00:45"), "2026-10-03T14:00:00Z", []string{"2026-10-03T14:15:00Z", "2026-10-03T15:15:00Z", "2026-10-03T16:45:00Z"}},
		{"hourly, half hour twice", hourly("Australia/Lord_Howe", "00:45"), "2026-04-04T14:00:00Z", []string{"2026-04-04T14:45:00Z", "2026-04-04T15:15:00Z", "2026-04-04T16:15:00Z"}},
		{"hourly, half hour twice, full hour", hourly("Australia/Lord_Howe", "00:00"), "2026-04-04T13:59:59Z", []string{"2026-04-04T14:00:00Z", "2026-04-04T15:30:00Z", "2026-04-04T16:30:00Z"}},

		{"cron, all hours, over a gap", cron("Europe/Berlin", "*/30 * * * *"), "2026-03-29T00:15:00Z", []string{"2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"}},
		{"cron, all hours, over a double hour", cron("Europe/Berlin", "30 0-23 * * *"), "2026-10-25T00:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"}},
		{"cron, all hours, day begins in a gap", cron("Africa/Cairo", "15 * 24 4 *"), "2026-04-01T00:00:00Z", []string{"2026-04-23T22:15:00Z"}},
		{"cron, chosen hours, several in a gap", cron("Europe/Berlin", "0,15,30 2,3 * * *"), "2026-03-29T00:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-29T01:15:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:00:00Z"}},
		{"cron, every second hour, in a gap", cron("Europe/Berlin", "0 */2 * * *"), "2026-03-28T23:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"}},
		{"cron, chosen hours, double hour", cron("Europe/Berlin", "*/30 2 * * *"), "2026-10-25T00:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-26T01:00:00Z"}},
	} {
		follow(t, c.name, calendar(t, c.timing), c.after, c.want)
	}
}

// follow asks for the occurrences after an instant, one by one, and then back again.
func follow(t *testing.T, name string, c *controller.Calendar, after string, want []string) {
	t.Helper()
	at := instant(t, after)
	for i, w := range want {
		next := c.Next(at)
		if got := next.Format("2006-01-02T15:04:05Z"); got != w {
			t.Errorf("%s: occurrence %d is %s, want %s", name, i, got, w)
			return
		}
		if prev := c.Prev(next.Add(-time.Second)); prev.After(at) {
			t.Errorf("%s: before %s lies %s, which Next left out", name, w, prev)
		}
		at = next
	}
}

// TestFault70_Dates says by hand what occurs on dates that are not in every month or year.
func TestFault70_Dates(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		timing controller.Timing
		after  string
		want   []string
	}{
		{"day 31", monthly("UTC", "02:00", 31), "2027-01-30T00:00:00Z", []string{"2027-01-31T02:00:00Z", "2027-02-28T02:00:00Z", "2027-03-31T02:00:00Z", "2027-04-30T02:00:00Z"}},
		{"day 30 in a leap year", monthly("UTC", "02:00", 30), "2028-01-31T00:00:00Z", []string{"2028-02-29T02:00:00Z", "2028-03-30T02:00:00Z"}},
		{"day 29", monthly("UTC", "02:00", 29), "2027-02-01T00:00:00Z", []string{"2027-02-28T02:00:00Z", "2027-03-29T02:00:00Z"}},
		{"daily on a leap day", daily("UTC", "23:59:59"), "2028-02-28T23:59:59Z", []string{"2028-02-29T23:59:59Z", "2028-03-01T23:59:59Z"}},
		{"no leap day in 2100", daily("UTC", "00:00"), "2100-02-28T12:00:00Z", []string{"2100-03-01T00:00:00Z"}},
		{"leap days only", cron("UTC", "0 3 29 2 *"), "2026-01-01T00:00:00Z", []string{"2028-02-29T03:00:00Z", "2032-02-29T03:00:00Z"}},
		{"leap days over 2100", cron("UTC", "0 3 29 2 ?"), "2096-03-01T00:00:00Z", []string{"2104-02-29T03:00:00Z"}},
		{"cron leaves out shorter months", cron("UTC", "0 3 31 * *"), "2027-01-31T12:00:00Z", []string{"2027-03-31T03:00:00Z", "2027-05-31T03:00:00Z"}},
		{"day or weekday", cron("UTC", "0 3 13 * FRI"), "2026-11-06T12:00:00Z", []string{"2026-11-13T03:00:00Z", "2026-11-20T03:00:00Z", "2026-11-27T03:00:00Z", "2026-12-04T03:00:00Z", "2026-12-11T03:00:00Z", "2026-12-13T03:00:00Z"}},
		{"day and weekday", cron("UTC", "0 3 */10 * 1"), "2026-11-01T00:00:00Z", []string{"2026-12-21T03:00:00Z", "2027-01-11T03:00:00Z"}},
		{"leap days on Sundays", cron("UTC", "0 3 29 2 */7"), "2026-01-01T00:00:00Z", []string{"2032-02-29T03:00:00Z", "2060-02-29T03:00:00Z"}},
		{"Sunday is 7", cron("UTC", "0 3 * * 7"), "2026-11-01T12:00:00Z", []string{"2026-11-08T03:00:00Z"}},
		{"Saturday to Sunday", cron("UTC", "0 3 * * sat-SUN"), "2026-11-01T12:00:00Z", []string{"2026-11-07T03:00:00Z", "2026-11-08T03:00:00Z", "2026-11-14T03:00:00Z"}},
		{"Friday to 7", cron("UTC", "0 3 ? * 5-7"), "2026-11-01T12:00:00Z", []string{"2026-11-06T03:00:00Z", "2026-11-07T03:00:00Z", "2026-11-08T03:00:00Z", "2026-11-13T03:00:00Z"}},
		{"7 with a step", cron("UTC", "0 3 * * 7/2"), "2026-11-01T12:00:00Z", []string{"2026-11-08T03:00:00Z", "2026-11-15T03:00:00Z"}},
		{"a month's name", cron("UTC", "5-10/5 0 1 jan,JUL *"), "2026-11-01T12:00:00Z", []string{"2027-01-01T00:05:00Z", "2027-01-01T00:10:00Z", "2027-07-01T00:05:00Z"}},
		{"a start with a step", cron("UTC", "50/5 23 * * *"), "2026-11-01T12:00:00Z", []string{"2026-11-01T23:50:00Z", "2026-11-01T23:55:00Z", "2026-11-02T23:50:00Z"}},
		{"working days", cron("UTC", "15 3 * * 1-5"), "2026-11-06T12:00:00Z", []string{"2026-11-09T03:15:00Z"}},
	} {
		follow(t, c.name, calendar(t, c.timing), c.after, c.want)
	}
}

// TestFault69_ZoneChanged swaps the time zone database under a schedule: what was planned is computed again, no date gets two, and a
// zone that is gone is an error.
func TestFault69_ZoneChanged(t *testing.T) {
	t.Parallel()
	timing := daily("Europe/Berlin", "02:00")
	last := instant(t, "2026-01-10T01:00:00Z")
	planned := calendar(t, timing).Next(last)
	if next, moved := calendar(t, timing).Replan(last, planned); moved || !next.Equal(planned) {
		t.Errorf("nothing changed, and yet: %s, %v", next, moved)
	}
	for data, want := range map[string]string{
		"Europe/Moscow":   "2026-01-10T23:00:00Z", // earlier
		"Europe/London":   "2026-01-11T02:00:00Z", // later: not on 10 January again
		"America/Chicago": "2026-01-10T08:00:00Z", // where it was 9 January then
	} {
		zone, err := controller.LoadZone(data)
		if err != nil {
			t.Fatal(err)
		}
		c, err := timing.CalendarIn(zone)
		if err != nil {
			t.Fatal(err)
		}
		if next, moved := c.Replan(last, planned); !moved || !next.Equal(instant(t, want)) {
			t.Errorf("with the clock of %s: %s, %v; want %s", data, next, moved, want)
		}
	}
	for _, gone := range []string{"Europe/Atlantis", "", "Local", "localtime", "posixrules", "right/Europe/Berlin", "posix/UTC", "../UTC", "/etc/passwd", "Europe/../UTC", "zone.tab", "+00", "UTC\n"} {
		s := controller.Schedule{Timing: daily(gone, "02:00")}
		a, err := s.Agenda()
		checkInvalid(t, "zone "+gone, err, "timezone", "use an IANA name such as Europe/Berlin, or UTC")
		if a != nil {
			t.Errorf("zone %q: there is an agenda", gone)
		}
	}
	_, err := controller.LoadZone("Europe/Atlantis")
	checkInvalid(t, "value", err, "timezone", `"Europe/Atlantis"`)
}

// TestMistake08_FirstRunAndDay31 is about the panel's schedules: one that was made before its time of the day fires on that day, day 31
// has an occurrence in each month, a run that is late or long loses none, and a zone counts.
func TestMistake08_FirstRunAndDay31(t *testing.T) {
	t.Parallel()
	made := instant(t, "2026-11-23T01:00:00Z")
	if next, err := daily("UTC", "02:00").Next(made); err != nil || !next.Equal(instant(t, "2026-11-23T02:00:00Z")) {
		t.Errorf("made at 01:00 for 02:00: %s, %v", next, err)
	}
	if next, err := daily("Europe/Berlin", "02:30").Next(made); err != nil || !next.Equal(instant(t, "2026-11-23T01:30:00Z")) {
		t.Errorf("02:30 in Berlin: %s, %v", next, err)
	}
	if next, err := monthly("UTC", "02:00", 31).Next(instant(t, "2027-01-31T02:00:00Z")); err != nil || !next.Equal(instant(t, "2027-02-28T02:00:00Z")) {
		t.Errorf("day 31 after 31 January: %s, %v", next, err)
	}
	s := controller.Schedule{ID: 8, Timing: hourly("UTC", "00:00"), SpreadSeconds: ptr(int64(0))}
	a, err := s.Agenda()
	if err != nil {
		t.Fatal(err)
	}
	last := instant(t, "2026-11-23T01:00:00Z")
	for _, ended := range []string{"2026-11-23T01:59:59Z", "2026-11-23T01:00:01Z"} { // whenever the run ends, the next one is what it was
		if c := a.CatchUp(last, instant(t, ended)); c.Run != nil {
			t.Errorf("%+v", c.Run)
		}
		if next := a.Due(last); !next.At.Equal(instant(t, "2026-11-23T02:00:00Z")) || !next.Due.Equal(next.At) {
			t.Errorf("after a run that ended at %s: %+v", ended, next)
		}
	}
	c := a.CatchUp(last, instant(t, "2026-11-23T04:30:00Z")) // ran for three and a half hours
	if c.Run == nil || !c.Run.At.Equal(instant(t, "2026-11-23T04:00:00Z")) || !c.Late {
		t.Errorf("%+v", c)
	}
	var missed []string
	for at := range c.Missed(time.Time{}) {
		missed = append(missed, at.Format("15:04"))
	}
	if !slices.Equal(missed, []string{"02:00", "03:00"}) {
		t.Errorf("missed %v", missed)
	}
}

func TestAgenda_CatchUp(t *testing.T) {
	t.Parallel()
	agenda := func(s controller.Schedule) *controller.Agenda {
		a, err := s.Agenda()
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	s := controller.Schedule{ID: 7, Timing: daily("UTC", "02:00"), SpreadSeconds: ptr(int64(0))}
	last := instant(t, "2026-11-01T02:00:00Z")
	for _, c := range []struct {
		name    string
		catchUp *int64
		now     string
		run     string
		late    bool
		missed  int
	}{
		{"not yet", nil, "2026-11-02T01:59:59Z", "", false, 0},
		{"on time", nil, "2026-11-02T02:00:00Z", "2026-11-02T02:00:00Z", false, 0},
		{"a minute later", ptr(int64(0)), "2026-11-02T02:01:00Z", "2026-11-02T02:00:00Z", false, 0},
		{"late", nil, "2026-11-02T02:01:01Z", "2026-11-02T02:00:00Z", true, 0},
		{"late, off", ptr(int64(0)), "2026-11-02T02:01:01Z", "", true, 1},
		{"late, within", ptr(int64(7200)), "2026-11-04T04:00:00Z", "2026-11-04T02:00:00Z", true, 2},
		{"late, too late", ptr(int64(7200)), "2026-11-04T04:00:01Z", "", true, 3},
		{"clock set back", nil, "2026-10-31T02:00:00Z", "", false, 0},
	} {
		s.CatchUpSeconds = c.catchUp
		got := agenda(s).CatchUp(last, instant(t, c.now))
		run, missed := "", 0
		if got.Run != nil {
			run = got.Run.At.Format("2006-01-02T15:04:05Z")
		}
		for range got.Missed(time.Time{}) {
			missed++
		}
		if run != c.run || got.Late != c.late || missed != c.missed {
			t.Errorf("%s: run %q, late %v, %d missed; want %q, %v, %d", c.name, run, got.Late, missed, c.run, c.late, c.missed)
		}
	}

	// What is not due yet is neither run at once nor missed.
	s.CatchUpSeconds, s.SpreadSeconds = nil, ptr(int64(3600))
	a := agenda(s)
	today := a.Due(last)
	if got := a.CatchUp(last, today.At); got.Late || got.Run == nil || *got.Run != today {
		t.Errorf("before the spread is over: %+v", got)
	}

	// A long downtime is read page by page.
	s.Timing = cron("UTC", "* * * * *")
	got := agenda(s).CatchUp(last, last.AddDate(1, 0, 0))
	pages, n := 0, 0
	for from := (time.Time{}); ; pages++ {
		page := 0
		for at := range got.Missed(from) {
			from = at
			if page++; page == 1000 {
				break
			}
		}
		n += page
		if page < 1000 {
			break
		}
	}
	if n != 365*24*60-1 || pages != 525 {
		t.Errorf("%d missed on %d full pages", n, pages)
	}
}

// TestFault71_Storm misses 12 hours of 1,000 schedules: each is run once, the others are missed, and they do not start together.
func TestFault71_Storm(t *testing.T) {
	t.Parallel()
	last, now := instant(t, "2026-11-22T18:00:00Z"), instant(t, "2026-11-23T06:10:00Z")
	perMinute := map[int]int{}
	for id := range int64(1000) {
		a, err := controller.Schedule{ID: id, Timing: hourly("UTC", "00:00")}.Agenda()
		if err != nil {
			t.Fatal(err)
		}
		c := a.CatchUp(last, now)
		missed := slices.Collect(c.Missed(time.Time{}))
		if !c.Late || c.Run == nil || !c.Run.At.Equal(instant(t, "2026-11-23T06:00:00Z")) || len(missed) != 11 {
			t.Fatalf("%+v, %d missed", c, len(missed))
		}
		perMinute[int(c.Run.Due.Sub(now)/time.Minute)]++
	}
	for minute := range 15 {
		if n := perMinute[minute]; n < 33 || n > 133 {
			t.Errorf("%d of 1,000 start in minute %d", n, minute)
		}
	}
	if len(perMinute) != 15 {
		t.Errorf("%v", perMinute)
	}
}

func TestAgenda_Spread(t *testing.T) {
	t.Parallel()
	at := instant(t, "2026-03-28T01:00:00Z")
	seen := map[time.Duration]int{}
	for id := range int64(1000) {
		s := controller.Schedule{ID: id, Timing: daily("Europe/Berlin", "02:00")}
		a, err := s.Agenda()
		if err != nil {
			t.Fatal(err)
		}
		first := a.Occurrence(at)
		offset := first.Due.Sub(at)
		if offset < 0 || offset >= controller.DefaultSpread || !first.At.Equal(at) {
			t.Fatalf("schedule %d: %s", id, offset)
		}
		seen[offset/time.Minute]++
		if next := a.Due(at); next.Due.Sub(next.At) != offset {
			t.Errorf("schedule %d: %s one day, %s the next", id, offset, next.Due.Sub(next.At))
		}
		s.Timezone = "Asia/Tokyo"
		if b, err := s.Agenda(); err != nil || b.Occurrence(at).Due.Sub(at) != offset {
			t.Errorf("schedule %d: another zone has another spread, %v", id, err)
		}
		for _, often := range []controller.Timing{hourly("UTC", "00:00"), cron("UTC", "*/5 * * * *"), cron("UTC", "0 1,2 * * *")} {
			s := controller.Schedule{ID: id, Timing: often}
			a, err := s.Agenda()
			if err != nil || a.Due(at).Due != a.Due(at).At {
				t.Fatalf("%s is spread, %v", often.Label(), err)
			}
			s.SpreadSeconds = ptr(int64(6 * 3600))
			a, err = s.Agenda()
			if o := a.Due(at); err != nil || o.Due.Before(o.At) || !o.Due.Before(a.Next(o.At)) {
				t.Fatalf("%s: %+v is after %s, %v", often.Label(), o, a.Next(o.At), err)
			}
		}
		s.SpreadSeconds = ptr(int64(0))
		if a, err := s.Agenda(); err != nil || !a.Occurrence(at).Due.Equal(at) {
			t.Errorf("schedule %d: spread, though off, %v", id, err)
		}
	}
	if len(seen) != 15 {
		t.Errorf("1,000 schedules start in %d of 15 minutes", len(seen))
	}
}

func TestCalendar_NextFive(t *testing.T) {
	t.Parallel()
	var got []string
	for _, at := range calendar(t, weekly("Europe/Berlin", "02:00", 0)).NextFive(instant(t, "2026-03-20T00:00:00Z")) {
		got = append(got, at.Format("01-02 15:04"))
	}
	if want := "03-22 01:00, 03-29 01:00, 04-05 00:00, 04-12 00:00, 04-19 00:00"; strings.Join(got, ", ") != want {
		t.Errorf("%v, want %s", got, want)
	}
	n := 0
	for range calendar(t, hourly("UTC", "00:00")).Occurrences(instant(t, "2026-01-01T00:00:00Z"), instant(t, "2026-01-02T00:00:00Z")) {
		n++
	}
	if n != 24 {
		t.Errorf("%d occurrences after one midnight and up to the next, want 24", n)
	}
}

func TestTiming_Label(t *testing.T) {
	t.Parallel()
	for want, timing := range map[string]controller.Timing{
		"Every Hour":                                     hourly("Europe/Berlin", "00:15"),
		"Daily at 02:00":                                 daily("UTC", "02:00:00"),
		"Daily at 02:00:30 (Europe/Berlin)":              daily("Europe/Berlin", "02:00:30"),
		"Weekly on Sunday at 02:00":                      weekly("UTC", "02:00", 0),
		"Weekly on Saturday at 23:59 (America/New_York)": weekly("America/New_York", "23:59", 6),
		"Monthly on day 1 at 02:00":                      monthly("UTC", "02:00", 1),
		"Cron 15 3 * * 1-5":                              cron("UTC", "15 3 * * 1-5"),
		"Cron 15 3 * * 1-5 (Asia/Kathmandu)":             cron("Asia/Kathmandu", "15 3 * * 1-5"),
		"weekly":                                         {Frequency: "weekly"},
	} {
		if got := timing.Label(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestTiming_Validate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		timing controller.Timing
		field  string
		says   []string
	}{
		"frequency":        {controller.Timing{Frequency: "yearly", Time: "02:00"}, "frequency", []string{`"yearly"`, "hourly, daily, weekly, monthly or cron"}},
		"no frequency":     {controller.Timing{Time: "02:00"}, "frequency", []string{`""`}},
		"no time":          {daily("UTC", ""), "time", []string{"missing", "HH:MM"}},
		"time":             {daily("UTC", "24:00"), "time", []string{`"24:00"`, "00:00 to 23:59:59"}},
		"short time":       {daily("UTC", "2:00"), "time", []string{`"2:00"`}},
		"fraction":         {daily("UTC", "02:00.5"), "time", []string{`"02:00.5"`}},
		"leap second":      {daily("UTC", "23:59:60"), "time", []string{`"23:59:60"`}},
		"cron's time":      {controller.Timing{Frequency: "cron", Cron: "0 0 * * *", Time: "x"}, "time", []string{`"x"`}},
		"no weekday":       {controller.Timing{Frequency: "weekly", Time: "02:00"}, "day_of_week", []string{"missing", "0 (Sunday) to 6"}},
		"weekday":          {weekly("UTC", "02:00", 7), "day_of_week", []string{"7 is", "0 (Sunday) to 6"}},
		"unused weekday":   {controller.Timing{Frequency: "daily", Time: "02:00", DayOfWeek: ptr(-1)}, "day_of_week", []string{"-1 is"}},
		"no day":           {controller.Timing{Frequency: "monthly", Time: "02:00"}, "day_of_month", []string{"missing", "1 to 31"}},
		"day 0":            {monthly("UTC", "02:00", 0), "day_of_month", []string{"0 is", "1 to 31"}},
		"day 32":           {monthly("UTC", "02:00", 32), "day_of_month", []string{"32 is"}},
		"cron with daily":  {controller.Timing{Frequency: "daily", Time: "02:00", Cron: "0 0 * * *"}, "cron", []string{"frequency daily"}},
		"zone":             {daily("Europe/Atlantis", "02:00"), "timezone", []string{`"Europe/Atlantis"`}},
		"no cron":          {cron("UTC", ""), "cron", []string{"missing", "five fields"}},
		"four fields":      {cron("UTC", "0 0 * *"), "cron", []string{`"0 0 * *"`, "has 4 fields", "five"}},
		"six fields":       {cron("UTC", "0 0 0 * * *"), "cron", []string{"has 6 fields"}},
		"macro":            {cron("UTC", "@daily"), "cron", []string{`"@daily"`, "has 1 fields"}},
		"long":             {cron("UTC", "0 0 * * "+strings.Repeat("1,", 200)+"1"), "cron", []string{"at most 256"}},
		"minute":           {cron("UTC", "60 0 * * *"), "cron", []string{`"60"`, "minute", "0 to 59"}},
		"hour":             {cron("UTC", "0 24 * * *"), "cron", []string{`"24"`, "hour", "0 to 23"}},
		"dom":              {cron("UTC", "0 0 0 * *"), "cron", []string{`"0"`, "day of month", "1 to 31"}},
		"month":            {cron("UTC", "0 0 * 13 *"), "cron", []string{`"13"`, "month", "1 to 12", "JAN to DEC"}},
		"month's name":     {cron("UTC", "0 0 * JANUARY *"), "cron", []string{`"JANUARY"`}},
		"dow":              {cron("UTC", "0 0 * * 8"), "cron", []string{`"8"`, "day of week", "0 to 7", "SUN to SAT"}},
		"backwards":        {cron("UTC", "0 0 * * FRI-MON"), "cron", []string{`"FRI-MON"`, "ends before it begins"}},
		"step 0":           {cron("UTC", "*/0 0 * * *"), "cron", []string{`"0"`, "1 to 59"}},
		"step too large":   {cron("UTC", "*/90 0 * * *"), "cron", []string{`"90"`, "1 to 59"}},
		"no step":          {cron("UTC", "*/ 0 * * *"), "cron", []string{`""`}},
		"empty item":       {cron("UTC", "1,,2 0 * * *"), "cron", []string{`"1,,2"`}},
		"negative":         {cron("UTC", "-1 0 * * *"), "cron", []string{`"-1"`}},
		"sign":             {cron("UTC", "+1 0 * * *"), "cron", []string{`"+1"`}},
		"question in hour": {cron("UTC", "0 ? * * *"), "cron", []string{`"?"`, "hour"}},
		"L":                {cron("UTC", "0 0 L * *"), "cron", []string{`"L"`}},
		"30 February":      {cron("UTC", "0 0 30 2 *"), "cron", []string{`"0 0 30 2 *"`, "never occurs"}},
		"31 in short ones": {cron("UTC", "0 0 31 4,6,9,11,FEB *"), "cron", []string{"never occurs"}},
	} {
		checkInvalid(t, name, c.timing.Validate(), c.field, c.says...)
		if _, err := c.timing.CalendarIn(time.UTC); err == nil && c.field != "timezone" && name != "cron's time" {
			t.Errorf("%s: there is a calendar", name)
		}
	}
	for _, good := range []controller.Timing{
		cron("", " 0  3 30 2  1 "), cron("UTC", "0 0 31 1,2 ?"), cron("UTC", "0-59/59 */23 */31 */12 */7"), cron("UTC", "5,5,1-9/3 1 ? JAN-Dec SUN-SAT"),
		{Frequency: "hourly"},
		{Frequency: "daily", Time: "02:00:00", DayOfWeek: ptr(0), DayOfMonth: ptr(1)},
	} {
		if err := good.Validate(); err != nil || good.Timezone != "UTC" {
			t.Errorf("%+v: %v", good, err)
		}
		again := good
		if err := again.Validate(); err != nil || again != good {
			t.Errorf("%+v became %+v, %v", good, again, err)
		}
	}
	timing := controller.Timing{Frequency: "hourly"}
	if err := timing.Validate(); err != nil || timing.Time != "00:00" {
		t.Errorf("%+v, %v", timing, err)
	}
	timing = cron("", " 0  3 *\t* *")
	if err := timing.Validate(); err != nil || timing.Cron != "0 3 * * *" {
		t.Errorf("%+v, %v", timing, err)
	}
}

func spec() controller.ScheduleSpec {
	return controller.ScheduleSpec{Project: "shop", Timing: daily("", "02:00")}
}

func TestScheduleSpec_Validate(t *testing.T) {
	t.Parallel()
	s := spec()
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	if s.Scope != "project" || s.Timezone != "UTC" || s.MaxDurationSeconds != 3600 || s.Compression != "zstd" || s.Encryption != "" || s.VerifyAfter != "none" ||
		!*s.NotifyOnFailure || !*s.IsActive || s.SpreadSeconds != nil || s.CatchUpSeconds != nil || s.Encrypt != nil {
		t.Errorf("defaults: %+v", s)
	}
	if got, want := s.Retention(), (controller.Retention{Days: 30, Daily: 7, Weekly: 4, Monthly: 3}); got != want {
		t.Errorf("default retention: %s, want %s", got.Text(), want.Text())
	}
	s = spec()
	s.Timing, s.RetentionDaily, s.IsActive = hourly("UTC", "00:00"), ptr(0), ptr(false)
	if err := s.Validate(); err != nil || *s.IsActive {
		t.Fatal(err)
	}
	if got, want := s.Retention(), (controller.Retention{Hourly: 24, Weekly: 4, Monthly: 3}); got != want {
		t.Errorf("hourly retention: %s, want %s", got.Text(), want.Text())
	}

	for name, c := range map[string]struct {
		change func(*controller.ScheduleSpec)
		field  string
		says   []string
	}{
		"project":        {func(s *controller.ScheduleSpec) { s.Project = "" }, "project", []string{"missing"}},
		"timing":         {func(s *controller.ScheduleSpec) { s.Frequency = "never" }, "frequency", []string{`"never"`}},
		"spread":         {func(s *controller.ScheduleSpec) { s.SpreadSeconds = ptr(int64(-1)) }, "spread_seconds", []string{"-1", "1 to 21600"}},
		"spread too far": {func(s *controller.ScheduleSpec) { s.SpreadSeconds = ptr(int64(21601)) }, "spread_seconds", []string{"21601"}},
		"catch-up":       {func(s *controller.ScheduleSpec) { s.CatchUpSeconds = ptr(int64(1) << 60) }, "catch_up_seconds", []string{"1 to 2678400"}},
		"max duration":   {func(s *controller.ScheduleSpec) { s.MaxDurationSeconds = -1 }, "max_duration_seconds", []string{"-1", "1 to 604800"}},
		"endless":        {func(s *controller.ScheduleSpec) { s.MaxDurationSeconds = 1 << 60 }, "max_duration_seconds", []string{"1 to 604800"}},
		"disk":           {func(s *controller.ScheduleSpec) { s.StorageDisk = "ftp" }, "storage_disk", []string{`"ftp"`}},
		"encryption":     {func(s *controller.ScheduleSpec) { s.Encryption = "rot13" }, "encryption", []string{`"rot13"`}},
		"encrypt":        {func(s *controller.ScheduleSpec) { s.Encryption, s.Encrypt = "age", ptr(true) }, "encrypt", []string{"leave one of them out"}},
		"compression":    {func(s *controller.ScheduleSpec) { s.Compression = "lz4" }, "compression", []string{`"lz4"`}},
		"level":          {func(s *controller.ScheduleSpec) { s.Level = 20 }, "level", []string{"20", "1 to 19"}},
		"verify":         {func(s *controller.ScheduleSpec) { s.VerifyAfter = "drill" }, "verify_after", []string{`"drill"`, "none, checksum or content"}},
		"days":           {func(s *controller.ScheduleSpec) { s.RetentionDays = ptr(366) }, "retention_days", []string{"366", "1 to 365"}},
		"negative":       {func(s *controller.ScheduleSpec) { s.RetentionWeekly = ptr(-4) }, "retention_weekly", []string{"-4", "1 to 1000"}},
		"nothing kept": {func(s *controller.ScheduleSpec) {
			s.RetentionDays, s.RetentionHourly, s.RetentionDaily, s.RetentionWeekly, s.RetentionMonthly = ptr(0), ptr(0), ptr(0), ptr(0), ptr(0)
		}, "retention_days", []string{"0 is not allowed", "use 1 or more"}},
		"scope":               {func(s *controller.ScheduleSpec) { s.Scope = "server" }, "scope", []string{`"server"`, "database, project, pattern or default"}},
		"no database":         {func(s *controller.ScheduleSpec) { s.Scope = "database" }, "database_name", []string{"missing"}},
		"database of project": {func(s *controller.ScheduleSpec) { s.Scope, s.Database.Name = "project", "app" }, "database_name", []string{"scope project"}},
		"server of project":   {func(s *controller.ScheduleSpec) { s.Database.Server = "a" }, "database_name", []string{"scope project"}},
		"database's id":       {func(s *controller.ScheduleSpec) { s.Database.ID = -1 }, "database_id", []string{"-1"}},
		"no pattern":          {func(s *controller.ScheduleSpec) { s.Scope = "pattern" }, "pattern", []string{"missing", "shop_*"}},
		"pattern of project":  {func(s *controller.ScheduleSpec) { s.Scope, s.Pattern = "project", "a*" }, "pattern", []string{`"a*"`, "scope project"}},
		"long pattern":        {func(s *controller.ScheduleSpec) { s.Pattern = text(201) }, "pattern", []string{"at most 200"}},
		"NUL":                 {func(s *controller.ScheduleSpec) { s.Pattern = "a\x00" }, "pattern", []string{"NUL"}},
		"engine":              {func(s *controller.ScheduleSpec) { s.DatabaseType = "oracle" }, "database_type", []string{`"oracle"`, "postgresql, mysql or sqlite"}},
	} {
		s := spec()
		c.change(&s)
		checkInvalid(t, name, s.Validate(), c.field, c.says...)
	}
}

func TestTarget_Covers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		target controller.Target
		engine string
		name   string
		want   bool
	}{
		{controller.Target{}, "mysql", "any", true},
		{controller.Target{DatabaseType: "postgresql"}, "mysql", "any", false},
		{controller.Target{Database: controller.DatabaseRef{Name: "app"}}, "mysql", "app", true},
		{controller.Target{Database: controller.DatabaseRef{Name: "app"}}, "mysql", "App", false},
		{controller.Target{Pattern: "shop_*"}, "mysql", "shop_eu", true},
		{controller.Target{Pattern: "shop_*"}, "mysql", "shop_", true},
		{controller.Target{Pattern: "shop_*"}, "mysql", "workshop_eu", false},
		{controller.Target{Pattern: "*_??"}, "mysql", "a_b_eü", true},
		{controller.Target{Pattern: "*_??"}, "mysql", "a_b_e", false},
		{controller.Target{Pattern: "*a*b*"}, "mysql", "xxaxxbxx", true},
		{controller.Target{Pattern: "*a*b*"}, "mysql", "xxbxxaxx", false},
		{controller.Target{Pattern: "/srv/*.db"}, "sqlite", "/srv/a/b.db", true},
		{controller.Target{Pattern: "[a]"}, "mysql", "a", false},
		{controller.Target{Pattern: "[a]"}, "mysql", "[a]", true},
		{controller.Target{Pattern: "*", DatabaseType: "sqlite"}, "mysql", "a", false},
		{controller.Target{Pattern: strings.Repeat("*a", 100)}, "mysql", strings.Repeat("a", 60) + "b", false},
	} {
		if err := c.target.Validate(); err != nil {
			t.Fatal(err)
		}
		if got := c.target.Covers(c.engine, c.name); got != c.want {
			t.Errorf("%+v covers %s %q: %v", c.target, c.engine, c.name, got)
		}
	}
	id := int64(5)
	s := controller.Schedule{Scope: "database", DatabaseID: &id, DatabaseName: "app", DatabaseType: "mysql"}
	if got := s.Target(); got.Database.ID != 5 || !got.Covers("mysql", "app") || got.Covers("mysql", "b") {
		t.Errorf("%+v", got)
	}
}

// TestFault76_Retention refuses policies that keep nothing, and those with a unit that nobody knows.
func TestFault76_Retention(t *testing.T) {
	t.Parallel()
	r, err := controller.ParseRetention("hourly=24, daily=7,weekly=4,monthly=12,days=30")
	if err != nil || r != (controller.Retention{Days: 30, Hourly: 24, Daily: 7, Weekly: 4, Monthly: 12}) {
		t.Fatalf("%+v, %v", r, err)
	}
	if again, err := controller.ParseRetention(r.Text()); err != nil || again != r {
		t.Errorf("%q: %+v, %v", r.Text(), again, err)
	}
	for text, c := range map[string]struct{ field, says string }{
		"":                           {"retention", "use a unit and a number"},
		"7":                          {"retention", "use a unit and a number"},
		"dayly=7":                    {"retention", `"dayly" is not a unit; use hourly, daily, weekly, monthly or days`},
		"yearly=1":                   {"retention", `"yearly" is not a unit`},
		"Daily=7":                    {"retention", `"Daily" is not a unit`},
		"daily=7,daily=8":            {"retention", "given twice"},
		"daily=seven":                {"retention_daily", `"seven" is not a number`},
		"daily=7d":                   {"retention_daily", `"7d" is not a number`},
		"daily=-1":                   {"retention_daily", "-1 is not allowed"},
		"monthly=1001":               {"retention_monthly", "1 to 1000"},
		"days=366":                   {"retention_days", "1 to 365"},
		"daily=0,days=0":             {"retention_days", "would remove every backup"},
		"daily=99999999999999999999": {"retention_daily", "is not a number"},
	} {
		_, err := controller.ParseRetention(text)
		checkInvalid(t, text, err, c.field, c.says)
	}
	checkInvalid(t, "zero", controller.Retention{}.Validate(), "retention_days", "0 is not allowed")
	for _, c := range []struct {
		r    controller.Retention
		want bool
	}{
		{controller.Retention{Daily: 7}, false},
		{controller.Retention{Daily: 8, Weekly: 1}, false},
		{controller.Retention{Daily: 6, Weekly: 10}, true},
		{controller.Retention{Days: 30}, true},
	} {
		if got := c.r.Shorter(controller.Retention{Daily: 7}); got != c.want {
			t.Errorf("%s is shorter than daily=7: %v", c.r.Text(), got)
		}
	}
}

func BenchmarkCalendar_Next(b *testing.B) {
	for name, timing := range map[string]controller.Timing{
		"hourly":  hourly("Europe/Berlin", "00:00"),
		"daily":   daily("Europe/Berlin", "02:30"),
		"monthly": monthly("Europe/Berlin", "02:30", 31),
		"cron":    cron("Europe/Berlin", "*/15 * * * *"),
		"leap":    cron("Europe/Berlin", "0 0 29 2 */7"),
	} {
		b.Run(name, func(b *testing.B) {
			c, err := timing.Calendar()
			if err != nil {
				b.Fatal(err)
			}
			at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			for b.Loop() {
				at = c.Next(at)
				if at.Year() > 3000 {
					at = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
				}
			}
		})
	}
}
