package controller_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	_ "time/tzdata" // where the system has none

	"devflowbackup/controller"
)

// zoneYears are the zones and a year in which each does something that hurts.
var zoneYears = []struct {
	zone string
	year int
}{
	{"Africa/Cairo", 2026},        // midnight gap, midnight twice
	{"Africa/Casablanca", 2026},   // its summer time ends for Ramadan
	{"America/Caracas", 2016},     // half an hour, for good
	{"America/Havana", 2028},      // midnight gap, leap year
	{"America/New_York", 2040},    // leap year beyond the tables of clock changes
	{"America/Nuuk", 2026},        // the gap ends at midnight
	{"America/Sao_Paulo", 2018},   // midnight gap, midnight twice
	{"America/St_Johns", 2006},    // changes at one minute past midnight, half hours
	{"Antarctica/Troll", 2026},    // two hours
	{"Asia/Beirut", 2026},         // midnight gap
	{"Asia/Kathmandu", 2026},      // quarters of an hour
	{"Asia/Pyongyang", 2018},      // half an hour before midnight, for good
	{"Asia/Tehran", 2022},         // midnight gap, half hours
	{"Australia/Lord_Howe", 2044}, // half an hour, leap year beyond the tables
	{"Europe/Berlin", 2026},       //
	{"Europe/Dublin", 2028},       // leap year
	{"Pacific/Apia", 2011},        // a day left out
	{"Pacific/Chatham", 2026},     // quarters of an hour
	{"Pacific/Kwajalein", 1993},   // a day left out
	{"UTC", 2028},                 // leap year
}

// TestFault68_YearOfSchedules holds 1,000 schedules in 20 zones against a model that walks through the year minute by minute: each
// occurrence of the one is one of the other, forwards and backwards.
func TestFault68_YearOfSchedules(t *testing.T) {
	t.Parallel()
	schedules, occurrences := 0, 0
	for i, zy := range zoneYears {
		r := rand.New(rand.NewPCG(68, uint64(i)))
		zone, err := controller.LoadZone(zy.zone)
		if err != nil {
			t.Fatal(err)
		}
		y := newYear(zone, zy.year)
		for range 50 {
			m := randomModel(r, zy.zone)
			schedules++
			occurrences += compare(t, m, y, zone)
		}
		if t.Failed() {
			return
		}
	}
	if schedules != 1000 || occurrences < 500_000 {
		t.Errorf("%d schedules, %d occurrences: too few were compared", schedules, occurrences)
	}
}

// compare returns how many occurrences were compared.
func compare(t *testing.T, m model, y *year, zone *time.Location) int {
	t.Helper()
	c, err := m.timing.CalendarIn(zone)
	if err != nil {
		t.Fatalf("%+v: %v", m.timing, err)
	}
	want := m.occurrences(y)
	from := time.Unix(y.from, 0).UTC()
	end := from.AddDate(1, 0, 0).Add(-time.Second)
	name := fmt.Sprintf("%s in %d", m.timing.Label(), from.Year())
	i := 0
	for at := range c.Occurrences(from.Add(-time.Nanosecond), end) {
		if i == len(want) || at.Unix() != want[i] {
			t.Errorf("%s: occurrence %d is %s, the model says %s", name, i, at.In(zone), modelAt(want, i, zone))
			return 0
		}
		i++
	}
	if i != len(want) {
		t.Errorf("%s: %d occurrences, the model has %d; the next is %s", name, i, len(want), modelAt(want, i, zone))
		return 0
	}
	for at := end; i > 0; at = at.Add(-time.Second) {
		i--
		if at = c.Prev(at); at.Unix() != want[i] {
			t.Errorf("%s: backwards, occurrence %d is %s, the model says %s", name, i, at.In(zone), modelAt(want, i, zone))
			return 0
		}
	}
	return len(want)
}

// TestFault69_RulesOnly has a time zone database without tables, as many machines have it: a rule is all it says of a zone. Package
// time does not end such a zone's leap years where they end.
func TestFault69_RulesOnly(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(69, 0))
	for name, rule := range map[string]string{
		"Europe/Berlin": "CET-1CEST,M3.5.0,M10.5.0/3", "Australia/Lord_Howe": "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", "America/Nuuk": "<-02>2<-01>,M3.5.0/-1,M10.5.0/0",
	} {
		header := make([]byte, 44) // one type of local time and its name, no changes
		copy(header, "TZif2")
		header[39], header[43] = 1, 4
		data := slices.Concat(header, []byte{0, 0, 0, 0, 0, 0, 'L', 'M', 'T', 0}, header, []byte{0, 0, 0, 0, 0, 0, 'L', 'M', 'T', 0}, []byte("\n"+rule+"\n"))
		zone, err := time.LoadLocationFromTZData(name, data)
		if err != nil {
			t.Fatal(err)
		}
		if _, winter := time.Date(2028, 1, 1, 0, 0, 0, 0, zone).Zone(); winter == 0 {
			t.Fatalf("%s: the rule was not read", name)
		}
		y := newYear(zone, 2028)
		for range 20 {
			compare(t, randomModel(r, name), y, zone)
		}
		for _, timing := range []controller.Timing{daily(name, "02:30"), hourly(name, "00:10"), monthly(name, "12:00", 31), cron(name, "0 * * * *"), cron(name, "0 2 29 2 1-5")} {
			c, err := timing.CalendarIn(zone)
			if err != nil {
				t.Fatal(err)
			}
			at := time.Date(2027, 12, 1, 0, 0, 0, 0, time.UTC)
			for at.Year() < 2029 {
				next := c.Next(at)
				if !next.After(at) || !c.Prev(next).Equal(next) {
					t.Fatalf("%s in %s: after %s comes %s, Prev says %s", timing.Label(), name, at, next, c.Prev(next))
				}
				at = next
			}
		}
	}
}

func modelAt(want []int64, i int, zone *time.Location) string {
	if i >= len(want) {
		return "none"
	}
	return time.Unix(want[i], 0).In(zone).String()
}

// TestCalendar_Inverse asks at instants of no meaning and at each occurrence: Prev and Next are each other's inverse, and between
// them lies nothing.
func TestCalendar_Inverse(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		zy := zoneYears[r.IntN(len(zoneYears))]
		m := randomModel(r, zy.zone)
		c, err := m.timing.Calendar()
		if err != nil {
			t.Fatalf("%+v: %v", m.timing, err)
		}
		at := time.Unix(time.Date(zy.year-10, 1, 1, 0, 0, 0, 0, time.UTC).Unix()+r.Int64N(20*365*86400), r.Int64N(1e9))
		next, prev := c.Next(at), c.Prev(at)
		if !next.After(at) || prev.After(at) || next.Location() != time.UTC || prev.Location() != time.UTC {
			t.Errorf("%s at %s: next %s, prev %s", m.timing.Label(), at, next, prev)
		}
		if got := c.Prev(next); !got.Equal(next) {
			t.Errorf("%s: Prev(%s) = %s", m.timing.Label(), next, got)
		}
		if got := c.Next(prev); !got.Equal(next) {
			t.Errorf("%s: Next(Prev(%s)) = %s, Next = %s", m.timing.Label(), at, got, next)
		}
		if got := c.Prev(next.Add(-time.Nanosecond)); !got.Equal(prev) {
			t.Errorf("%s: the one before Next(%s) = %s is %s, Prev is %s", m.timing.Label(), at, next, got, prev)
		}
	}
}

// TestFault71_FakeClock runs schedules for a year on a clock that stops, for minutes or for weeks: each occurrence has exactly one
// record, and after a downtime exactly one is run.
func TestFault71_FakeClock(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(71, 0))
	late := 0
	for id := range int64(200) {
		zy := zoneYears[r.IntN(len(zoneYears))]
		m := randomModel(r, zy.zone)
		s := controller.Schedule{ID: id, Timing: m.timing}
		a, err := s.Agenda()
		if err != nil {
			t.Fatal(err)
		}
		start := time.Date(zy.year, 1, 1, 0, 0, 0, 0, time.UTC)
		end := start.AddDate(1, 0, 0)
		records := map[time.Time]int{}
		last := start
		for now := start; now.Before(end); {
			next := a.Due(last)
			if now.Before(next.Due) {
				now = next.Due
			}
			if r.IntN(20) == 0 {
				now = now.Add(time.Duration(r.Int64N(int64(10 * 24 * time.Hour))))
			}
			c := a.CatchUp(last, now)
			if c.Run == nil {
				t.Fatalf("%s: nothing to run at %s, though %s was due", s.Label(), now, next.Due)
			}
			for at := range c.Missed(time.Time{}) {
				records[at]++
			}
			records[c.Run.At]++
			if c.Run.At != c.Newest || (c.Late && (c.Run.Due.Before(now) || !c.Run.Due.Before(a.Next(now)))) {
				t.Fatalf("%s at %s: %+v", s.Label(), now, c)
			}
			if c.Late {
				late++
			}
			if back := a.CatchUp(c.Newest, now.Add(-time.Hour)); back.Run != nil || !back.Newest.IsZero() {
				t.Fatalf("%s: run again after the clock was set back: %+v", s.Label(), back)
			}
			last = c.Newest
		}
		n := 0
		for at := range a.Occurrences(start, last) {
			n++
			if records[at] != 1 {
				t.Fatalf("%s: %s has %d records", s.Label(), at, records[at])
			}
		}
		if n != len(records) {
			t.Errorf("%s: %d occurrences, %d records", s.Label(), n, len(records))
		}
	}
	if late == 0 {
		t.Error("nothing was ever late")
	}
}
