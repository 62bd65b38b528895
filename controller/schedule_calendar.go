package controller

import (
	"iter"
	"slices"
	"time"
)

// Calendar is the set of instants at which a schedule occurs, in its zone. It is a pure function of a Timing and a zone: the same
// question always has the same answer, whatever was asked before and whatever the time is now. No answer steps through time minute
// by minute. It is safe for concurrent use.
//
// # Clock changes
//
// Daily, weekly, monthly, and cron with chosen hours, occur once for each local date and time that they name: at the first instant
// at which the zone's clock shows that time or a later one.
//
//   - A time that the clock skips is kept at the end of the gap: in spring 02:30 occurs at 03:00, and 00:30 at 01:00 where midnight
//     is skipped. Several times in one gap become one occurrence.
//   - A time that the clock shows twice occurs at its first.
//   - A date that a zone leaves out altogether (Pacific/Apia had no 2011-12-30) has no daily and no cron occurrence. Weekly and
//     monthly ones that fall on it occur at the first instant after it, so that no week or month goes without.
//
// Hourly occurs exactly once in each hour of real time (of UTC), at the first instant in it at which the clock shows the minute and
// second of the time: a day of 23 hours has 23, one of 25 has 25. Where a clock is changed by a part of an hour (Australia/Lord_Howe:
// 30 minutes) and so shows the minute nowhere in that hour, it occurs at the change.
//
// Cron whose hours are all hours follows real time too: it occurs at every instant at which the clock shows a time that matches,
// both times where that is twice, and never where the clock skips it.
//
// # Days
//
// A day of month from 29 to 31 is the last day of a month that is shorter; in cron it is not, and such a month is left out.
type Calendar struct {
	zone  *time.Location
	dates dates
	times []int64 // of the day, in seconds, ascending

	hourly   bool  // once in each hour of real time
	inHour   int64 // then: seconds after the full hour
	always   bool  // cron with all hours: whenever the clock shows a time
	existing bool  // dates that the zone leaves out are left out
}

// Zone is where its clock hangs.
func (c *Calendar) Zone() *time.Location { return c.zone }

// Sparse tells whether it occurs at most once for each local date.
func (c *Calendar) Sparse() bool { return !c.hourly && len(c.times) == 1 }

// Next is the first occurrence after t, in UTC.
func (c *Calendar) Next(t time.Time) time.Time { return time.Unix(c.next(t.Unix()), 0).UTC() }

// Prev is the newest occurrence at or before t, in UTC.
func (c *Calendar) Prev(t time.Time) time.Time { return time.Unix(c.prev(t.Unix()), 0).UTC() }

// Occurrences are those after one instant, up to and with another, oldest first. Each is computed when it is asked for.
func (c *Calendar) Occurrences(after, until time.Time) iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		for t := c.Next(after); !t.After(until); t = c.Next(t) {
			if !yield(t) {
				return
			}
		}
	}
}

// NextFive are the five occurrences after t.
func (c *Calendar) NextFive(t time.Time) []time.Time {
	five := make([]time.Time, 5)
	for i := range five {
		t = c.Next(t)
		five[i] = t
	}
	return five
}

// Replan answers what is planned next after the occurrence last, of a schedule for which planned was stored: an update of the time
// zone database may have moved it. Where it moved, a schedule that occurs at most once for each local date does not occur on the
// date of last again.
func (c *Calendar) Replan(last, planned time.Time) (next time.Time, moved bool) {
	next = c.Next(last)
	if next.Equal(planned) {
		return next, false
	}
	if c.Sparse() && sameDate(last.In(c.zone), next.In(c.zone)) {
		next = c.Next(next)
	}
	return next, !next.Equal(planned)
}

func sameDate(a, b time.Time) bool {
	return a.Year() == b.Year() && a.YearDay() == b.YearDay()
}

func (c *Calendar) next(after int64) int64 {
	switch {
	case c.hourly:
		hour := floorDiv(after, 3600)
		if at := c.inRealHour(hour); at > after {
			return at
		}
		return c.inRealHour(hour + 1)
	case c.always:
		from := after + 1
		for {
			s := spanAt(c.zone, from)
			if at := c.wallAfter(from-1+s.offset) - s.offset; at < s.end {
				return at
			}
			from = s.end
		}
	}
	wall := reached(c.zone, after)
	for {
		wall = c.wallAfter(wall)
		if !c.existing || dateExists(c.zone, floorDiv(wall, day)) {
			return reach(c.zone, wall)
		}
	}
}

func (c *Calendar) prev(until int64) int64 {
	switch {
	case c.hourly:
		hour := floorDiv(until, 3600)
		if at := c.inRealHour(hour); at <= until {
			return at
		}
		return c.inRealHour(hour - 1)
	case c.always:
		for {
			s := spanAt(c.zone, until)
			if at := c.wallUntil(until+s.offset) - s.offset; at >= s.start {
				return at
			}
			until = s.start - 1
		}
	}
	wall := reached(c.zone, until)
	for {
		wall = c.wallUntil(wall)
		if !c.existing || dateExists(c.zone, floorDiv(wall, day)) {
			return reach(c.zone, wall)
		}
		wall--
	}
}

// inRealHour is the one instant of an hourly schedule in an hour of UTC, counted from 1970.
func (c *Calendar) inRealHour(hour int64) int64 {
	from, end := hour*3600, (hour+1)*3600
	s := spanAt(c.zone, from)
	for {
		if at := from + mod(c.inHour-from-s.offset, 3600); at < min(s.end, end) {
			return at
		}
		if s.end >= end {
			return from // the change that swallowed the minute
		}
		from = s.end
		s = spanAt(c.zone, from)
	}
}

// wallAfter is the first wall time after the given one that matches.
func (c *Calendar) wallAfter(wall int64) int64 {
	date := floorDiv(wall, day)
	if c.dates.match(date) {
		if i, found := slices.BinarySearch(c.times, wall-date*day); found && i+1 < len(c.times) {
			return date*day + c.times[i+1]
		} else if !found && i < len(c.times) {
			return date*day + c.times[i]
		}
	}
	return c.dates.after(date)*day + c.times[0]
}

// wallUntil is the last wall time at or before the given one that matches.
func (c *Calendar) wallUntil(wall int64) int64 {
	date := floorDiv(wall, day)
	if c.dates.match(date) {
		if i, found := slices.BinarySearch(c.times, wall-date*day); found {
			return wall
		} else if i > 0 {
			return date*day + c.times[i-1]
		}
	}
	return c.dates.before(date)*day + c.times[len(c.times)-1]
}

// dates is a set of dates, as bits. It is never empty: some date of it lies in every 40 years.
type dates struct {
	months   uint16 // bits 1 to 12
	days     uint32 // bits 1 to 31
	weekdays uint8  // bits 0 (Sunday) to 6
	either   bool   // days or weekdays, instead of days and weekdays
	last     int    // instead of days: this day, or the last one of a month that is shorter
}

const (
	allMonths   = 1<<13 - 1<<1
	allDays     = 1<<32 - 1<<1
	allWeekdays = 1<<7 - 1
)

// match tells whether a date, in days since 1970-01-01, is in the set.
func (d dates) match(date int64) bool {
	year, month, dom := civil(date)
	if d.months&(1<<month) == 0 {
		return false
	}
	inDays, inWeekdays := d.days&(1<<dom) != 0, d.weekdays&(1<<mod(date+4, 7)) != 0 // 1970-01-01 was a Thursday
	if d.last != 0 {
		inDays = dom == min(d.last, daysIn(year, month))
	}
	if d.either {
		return inDays || inWeekdays
	}
	return inDays && inWeekdays
}

// after is the first date of the set after the given one.
func (d dates) after(date int64) int64 {
	for date++; !d.match(date); date++ {
		if year, month, dom := civil(date); d.months&(1<<month) == 0 {
			date += int64(daysIn(year, month) - dom) // the loop goes on to the first of the next month
		}
	}
	return date
}

// before is the last date of the set before the given one.
func (d dates) before(date int64) int64 {
	for date--; !d.match(date); date-- {
		if _, month, dom := civil(date); d.months&(1<<month) == 0 {
			date -= int64(dom - 1)
		}
	}
	return date
}

func civil(date int64) (year int, month time.Month, dom int) {
	return time.Unix(date*day, 0).UTC().Date()
}

func daysIn(year int, month time.Month) int {
	return time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
}
