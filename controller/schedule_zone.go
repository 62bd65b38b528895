package controller

import (
	"math"
	"regexp"
	"strings"
	"time"
)

const (
	day = int64(24 * 60 * 60)
	// farthest is more than any clock of the time zone database is or was away from UTC, in seconds.
	farthest = 26 * 60 * 60
)

var zoneName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+_-]*(/[A-Za-z0-9+_-]+)*$`)

// LoadZone finds a zone by its IANA name. A name that the time zone database of this machine does not hold, or no longer holds, is
// an error about the field timezone and never UTC. So is one that means the machine's own zone: it would differ between controllers.
func LoadZone(name string) (*time.Location, error) {
	switch folder, _, _ := strings.Cut(name, "/"); {
	case name == "":
		return nil, Invalid("timezone", "is missing; use an IANA name such as Europe/Berlin, or UTC")
	case !zoneName.MatchString(name), name == "Local", name == "localtime", name == "posixrules", folder == "right", folder == "posix":
		return nil, Invalid("timezone", "%.80q is not allowed; use an IANA name such as Europe/Berlin, or UTC", name)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, Invalid("timezone", "%.80q is not in this controller's time zone database; use an IANA name such as Europe/Berlin, or UTC", name).
			WithHint("a zone that was there before may have been renamed by an update of the tzdata package")
	}
	return zone, nil
}

// A wall time is what a clock on the wall shows, as the seconds since 1970-01-01 00:00:00 on that clock. An instant is Unix seconds.
// Wall times repeat and jump, instants do not.

// span is a time in which a zone's clock runs evenly: from start up to, without, end. The clock may run on as evenly beside it.
type span struct {
	start, end int64 // instants
	offset     int64 // wall time less instant
}

func spanAt(zone *time.Location, instant int64) span {
	t := time.Unix(instant, 0).In(zone)
	_, offset := t.Zone()
	s := span{start: math.MinInt64, end: math.MaxInt64, offset: int64(offset)}
	start, end := t.ZoneBounds()
	if !start.IsZero() {
		s.start = start.Unix()
	}
	if !end.IsZero() {
		s.end = end.Unix()
	}
	if s.end <= instant {
		// Where a zone goes on by a rule, package time ends each year after 365 days. On the last day of a leap year that lies behind.
		s.end = time.Date(time.Unix(instant, 0).UTC().Year()+1, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	}
	return s
}

// reach is the first instant at which the zone's clock shows the wall time or a later one: the first of two where it shows it twice,
// the end of the gap where it never does. A later wall time is never reached earlier.
func reach(zone *time.Location, wall int64) int64 {
	s := spanAt(zone, wall-farthest)
	for {
		switch instant := wall - s.offset; {
		case instant < s.start:
			return s.start
		case instant < s.end:
			return instant
		}
		s = spanAt(zone, s.end)
	}
}

// reached is the latest wall time that the zone's clock has shown by the instant. For every wall time w and instant i,
// reach(w) <= i exactly if w <= reached(i).
func reached(zone *time.Location, instant int64) int64 {
	s := spanAt(zone, instant)
	wall := instant + s.offset
	for s.start > instant-2*farthest {
		s2 := spanAt(zone, s.start-1)
		wall = max(wall, s.start-1+s2.offset)
		s = s2
	}
	return wall
}

// dateExists tells whether the zone's clock ever shows the date, given in days since 1970-01-01.
func dateExists(zone *time.Location, date int64) bool {
	instant := reach(zone, date*day)
	return floorDiv(instant+spanAt(zone, instant).offset, day) == date
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// mod is a modulo b, from 0 to b-1.
func mod(a, b int64) int64 { return a - floorDiv(a, b)*b }
