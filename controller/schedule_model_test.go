package controller_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"devflowbackup/controller"
)

// tick is one minute of real time, with what the clock of a zone shows in it.
type tick struct {
	unix    int64
	minutes int64 // shown, since 1970-01-01 00:00
	jump    bool  // the clock did not just go on by a minute
}

// year is every minute of a year in one zone, with two days before it. It knows nothing of offsets and transitions.
type year struct {
	ticks []tick
	from  int64
	dates map[int64]bool // shown at some time
	known map[int64]modelDate
}

type modelDate struct {
	month, day, weekday int
	last                bool // of its month
}

func newYear(zone *time.Location, number int) *year {
	from := time.Date(number, 1, 1, 0, 0, 0, 0, time.UTC)
	y := &year{from: from.Unix(), dates: map[int64]bool{}, known: map[int64]modelDate{}}
	for t, end := from.AddDate(0, 0, -2), from.AddDate(1, 0, 0); t.Before(end); t = t.Add(time.Minute) {
		local := t.In(zone)
		year, month, dom := local.Date()
		date := time.Date(year, month, dom, 12, 0, 0, 0, time.UTC).Unix() / 86400
		k := tick{unix: t.Unix(), minutes: date*1440 + int64(local.Hour()*60+local.Minute())}
		k.jump = len(y.ticks) > 0 && y.ticks[len(y.ticks)-1].minutes+1 != k.minutes
		y.ticks = append(y.ticks, k)
		y.dates[date] = true
	}
	return y
}

func (y *year) date(n int64) modelDate {
	d, ok := y.known[n]
	if !ok {
		t := time.Date(1970, 1, 1+int(n), 0, 0, 0, 0, time.UTC)
		d = modelDate{month: int(t.Month()), day: t.Day(), weekday: int(t.Weekday()), last: t.AddDate(0, 0, 1).Day() == 1}
		y.known[n] = d
	}
	return d
}

// model is a timing as its sets, and what it is as a Timing.
type model struct {
	timing  controller.Timing
	minutes [1440]bool // of the day
	second  int64
	date    func(modelDate) bool
	hourly  int  // the minute, or -1
	always  bool // whenever the clock shows it
	moves   bool // also dates that the zone leaves out
}

// occurrences walks through the year, minute by minute.
func (m model) occurrences(y *year) []int64 {
	var at []int64
	fire := func(instant int64) {
		if instant >= y.from && (len(at) == 0 || at[len(at)-1] != instant) {
			at = append(at, instant)
		}
	}
	if m.hourly >= 0 {
		for i := 0; i < len(y.ticks); i += 60 {
			hour := y.ticks[i : i+60]
			if k := slices.IndexFunc(hour, func(k tick) bool { return k.minutes%60 == int64(m.hourly) }); k >= 0 {
				fire(hour[k].unix + m.second)
			} else {
				fire(hour[slices.IndexFunc(hour, func(k tick) bool { return k.jump })].unix)
			}
		}
		return at
	}
	furthest := y.ticks[0].minutes - 1
	for _, k := range y.ticks {
		if m.always {
			if m.minutes[k.minutes%1440] && m.date(y.date(k.minutes/1440)) {
				fire(k.unix)
			}
			continue
		}
		// What the clock reaches in this minute for the first time: one minute, none where it shows again what it has shown, many after
		// a gap.
		for furthest < k.minutes {
			furthest++
			if !m.minutes[furthest%1440] || !m.date(y.date(furthest/1440)) || (!m.moves && !y.dates[furthest/1440]) {
				continue
			}
			if furthest == k.minutes {
				fire(k.unix + m.second)
			} else {
				fire(k.unix)
			}
		}
	}
	return at
}

// randomModel makes up a timing, often one whose time falls into the hours in which clocks are changed.
func randomModel(r *rand.Rand, zone string) model {
	m := model{hourly: -1, timing: controller.Timing{Timezone: zone}, date: func(modelDate) bool { return true }}
	minute := r.IntN(1440)
	if r.IntN(3) > 0 {
		minute = (23*60 + r.IntN(5*60)) % 1440
	}
	if r.IntN(2) == 0 {
		minute -= minute % 15
	}
	m.timing.Time = fmt.Sprintf("%02d:%02d", minute/60, minute%60)
	if r.IntN(4) == 0 {
		m.second = int64(r.IntN(60))
		m.timing.Time += fmt.Sprintf(":%02d", m.second)
	}
	m.minutes[minute] = true
	switch n := r.IntN(10); {
	case n < 1:
		m.timing.Frequency, m.hourly = "hourly", minute%60
	case n < 4:
		m.timing.Frequency = "daily"
	case n < 5:
		weekday := r.IntN(7)
		m.timing.Frequency, m.timing.DayOfWeek, m.moves = "weekly", &weekday, true
		m.date = func(d modelDate) bool { return d.weekday == weekday }
	case n < 7:
		day := 1 + r.IntN(31)
		if r.IntN(2) == 0 {
			day = 28 + r.IntN(4)
		}
		m.timing.Frequency, m.timing.DayOfMonth, m.moves = "monthly", &day, true
		m.date = func(d modelDate) bool { return d.day == day || (d.last && d.day < day) }
	default:
		m.cron(r, minute)
	}
	return m
}

func (m *model) cron(r *rand.Rand, minute int) {
	m.timing.Frequency, m.timing.Time, m.second = "cron", "", 0
	pick := func(value int, text string) (string, map[int]bool) { return text, map[int]bool{value: true} }
	minutes, inMinutes := pick(minute%60, strconv.Itoa(minute%60))
	if r.IntN(2) == 0 {
		minutes, inMinutes = randomField(r, 0, 59, nil, 15)
	}
	hours, inHours := pick(minute/60, strconv.Itoa(minute/60))
	switch r.IntN(4) {
	case 0:
		hours, inHours = "*", span(0, 23, 1)
	case 1:
		hours, inHours = randomField(r, 0, 23, nil, 1)
	}
	days, inDays := "*", span(1, 31, 1)
	months, inMonths := "*", span(1, 12, 1)
	weekdays, inWeekdays := "*", span(0, 6, 1)
	if r.IntN(2) == 0 {
		days, inDays = randomField(r, 1, 28, nil, 1)
	}
	if r.IntN(4) == 0 {
		months, inMonths = randomField(r, 1, 12, []string{"", "jan", "FEB", "Mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}, 1)
	}
	if r.IntN(2) == 0 {
		weekdays, inWeekdays = randomField(r, 0, 6, []string{"SUN", "mon", "TUE", "wed", "THU", "fri", "SAT"}, 1)
	}
	m.timing.Cron = strings.Join([]string{minutes, hours, days, months, weekdays}, " ")
	m.minutes = [1440]bool{}
	for hour := range inHours {
		for minute := range inMinutes {
			m.minutes[hour*60+minute] = true
		}
	}
	m.always = len(inHours) == 24
	m.date = func(d modelDate) bool {
		if !inMonths[d.month] {
			return false
		}
		if days[0] != '*' && weekdays[0] != '*' {
			return inDays[d.day] || inWeekdays[d.weekday]
		}
		return inDays[d.day] && inWeekdays[d.weekday]
	}
}

// randomField is one field of an expression with what it means. Steps are not below finest.
func randomField(r *rand.Rand, lowest, highest int, names []string, finest int) (string, map[int]bool) {
	name := func(v int) string {
		if names != nil && r.IntN(2) == 0 {
			return names[v]
		}
		return strconv.Itoa(v)
	}
	step := finest + r.IntN(highest-finest)
	a := lowest + r.IntN(highest-lowest+1)
	b := a + r.IntN(highest-a+1)
	switch r.IntN(4) {
	case 0:
		if finest == 1 {
			return name(a) + "-" + name(b), span(a, b, 1)
		}
		return fmt.Sprintf("%d-%d/%d", a, b, step), span(a, b, step)
	case 1:
		if lowest+step > highest {
			return name(a), span(a, a, 1)
		}
		end := highest
		if lowest == 1 && highest == 28 {
			end = 31
		}
		return fmt.Sprintf("*/%d", step), span(lowest, end, step)
	case 2:
		return name(a) + "," + name(b), map[int]bool{a: true, b: true}
	}
	return name(a), span(a, a, 1)
}

func span(from, to, step int) map[int]bool {
	set := map[int]bool{}
	for v := from; v <= to; v += step {
		set[v] = true
	}
	return set
}
