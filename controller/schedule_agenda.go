package controller

import (
	"crypto/sha256"
	"encoding/binary"
	"iter"
	"math/bits"
	"time"
)

// Spread of a schedule's occurrences.
const (
	// DefaultSpread is how far occurrences are spread where a schedule does not say, if it occurs at most once for each date. Others are
	// not spread then.
	DefaultSpread = 15 * time.Minute
	MaxSpread     = 6 * time.Hour
	// LateSpread is how far missed occurrences are spread after a downtime.
	LateSpread = 15 * time.Minute
	// OnTime is how late an occurrence may be taken up before it counts as missed.
	OnTime = time.Minute
)

// Occurrence is one time at which a schedule occurs. At is what it is known by, with the schedule's id; the spread moves only Due.
type Occurrence struct {
	At  time.Time `json:"at"`  // as the schedule says
	Due time.Time `json:"due"` // when its job is made: at or after At, before the next occurrence
}

// Agenda is a schedule's calendar with its spread and its rule for what was missed. It is pure, as Calendar is.
type Agenda struct {
	*Calendar
	id      int64
	spread  time.Duration
	catchUp *time.Duration // nil: whatever its age
}

// Occurrence is the one at an instant of the calendar. Its Due is a constant share of the spread after it, taken from the schedule's
// id alone: schedules made for the same time do not all start together, and each keeps its distance from one day to the next.
func (a *Agenda) Occurrence(at time.Time) Occurrence {
	o := Occurrence{At: at, Due: at}
	if a.spread > 0 {
		o.Due = at.Add(share(a.id, min(a.spread, a.Next(at).Sub(at))))
	}
	return o
}

// Spread is how far its occurrences are spread; 0: they are not.
func (a *Agenda) Spread() time.Duration { return a.spread }

// Upcoming are the n occurrences after t.
func (a *Agenda) Upcoming(t time.Time, n int) []Occurrence {
	next := make([]Occurrence, n)
	for i := range next {
		t = a.Next(t)
		next[i] = a.Occurrence(t)
	}
	return next
}

// Due is the first occurrence after the one at an instant, or after the time at which the schedule was made or activated.
func (a *Agenda) Due(after time.Time) Occurrence { return a.Occurrence(a.Next(after)) }

// CatchUp is what became of a schedule's occurrences since the last record. Run and Missed together are all of them, each once.
type CatchUp struct {
	Run    *Occurrence // the newest: to be run at its Due; nil where there is none, or where it is too old to be run
	Late   bool        // the newest was missed: if it is run, it is spread over LateSpread from now on
	Newest time.Time   // of all, from which the next call goes on; zero where there is none

	calendar  *Calendar
	last, end time.Time // those after last up to end are missed
}

// Missed are the occurrences that are not run, oldest first, without those up to an instant: a zero time leaves none out, another one
// is where the page before ended. Each is computed when it is asked for, so that no downtime is too long.
func (c CatchUp) Missed(after time.Time) iter.Seq[time.Time] {
	if c.Newest.IsZero() {
		return func(func(time.Time) bool) {}
	}
	if after.Before(c.last) {
		after = c.last
	}
	return c.calendar.Occurrences(after, c.end)
}

// CatchUp looks at the occurrences after last up to now. last is the newest occurrence that has a record, or the time at which the
// schedule was made or activated. The newest one is run, where it is on time or the schedule's rule allows it still; the older ones
// are missed. A clock that was set back finds nothing to do.
func (a *Agenda) CatchUp(last, now time.Time) CatchUp {
	newest := a.Prev(now)
	if !newest.After(last) {
		return CatchUp{}
	}
	c := CatchUp{Newest: newest, calendar: a.Calendar, last: last, end: newest}
	run := a.Occurrence(newest)
	if now.Sub(run.Due) > OnTime {
		c.Late = true
		run.Due = now.Add(share(a.id, min(LateSpread, a.Next(now).Sub(now))))
	}
	if !c.Late || a.catchUp == nil || now.Sub(newest) <= *a.catchUp {
		c.Run = &run
		c.end = newest.Add(-1)
	}
	return c
}

// share is a part of a time, in whole seconds and always less than the whole: the same one for the same id, evenly spread over ids.
func share(id int64, of time.Duration) time.Duration {
	seconds := int64(of / time.Second)
	if seconds <= 0 {
		return 0
	}
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(id))
	sum := sha256.Sum256(b[:])
	part, _ := bits.Mul64(binary.BigEndian.Uint64(sum[:8]), uint64(seconds))
	return time.Duration(part) * time.Second
}
