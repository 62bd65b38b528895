package controller

import (
	"fmt"
	"slices"
	"time"
)

// LongestGap is the longest time between two occurrences that follow each other, of those between which the year after t lies in part
// or whole. Clock changes are in it. What it costs is bounded: it looks at each date of the year and at the hours around its clock
// changes, never at every minute.
func (c *Calendar) LongestGap(t time.Time) time.Duration {
	from := t.Unix()
	until := from + 366*day
	longest := int64(0)
	across := func(instant int64) {
		longest = max(longest, c.next(instant)-c.prev(instant))
	}
	across(from)
	// Within a date, where no clock is changed.
	if c.hourly {
		longest = max(longest, 3600)
	}
	for i := 1; i < len(c.times); i++ {
		longest = max(longest, c.times[i]-c.times[i-1])
	}
	// From one date to the next.
	if !c.hourly {
		first := floorDiv(reached(c.zone, from), day)
		for date := first; date <= first+367; date++ {
			across(reach(c.zone, date*day) - 1)
		}
	}
	// Around clock changes; a zone has a few in a year.
	for s := spanAt(c.zone, from); s.end <= until; s = spanAt(c.zone, s.end) {
		for at := c.prev(s.end - day); at < s.end+day; {
			next := c.next(at)
			longest = max(longest, next-at)
			at = next
		}
	}
	return time.Duration(longest) * time.Second
}

// Interval is the longest time between two of a schedule's occurrences in the year after t. Where its zone is no longer known, UTC's
// stands for it: a schedule that cannot occur still says how often it should.
func (s Schedule) Interval(t time.Time) (time.Duration, error) {
	c, err := s.Calendar()
	if err != nil {
		c, err = s.CalendarIn(time.UTC)
	}
	if err != nil {
		return 0, err
	}
	return c.LongestGap(t), nil
}

// leastGrace is what is granted at least beyond what a schedule's backup may take.
const leastGrace = 15 * time.Minute

// ExpectWithin is within which time after one completed backup the next is expected: the longest time between two occurrences, the
// spread and the time that a backup may take, and a tenth, or 15 minutes, more.
func ExpectWithin(interval, spread, maxDuration time.Duration) time.Duration {
	within := interval + spread + maxDuration
	return within + max(within/10, leastGrace)
}

// Covering is an active schedule that covers a database.
type Covering struct {
	ID          int64
	Within      time.Duration // ExpectWithin
	ActivatedAt time.Time     // when it was made, activated again or given other times
	Paused      string        // why its backups of this database are held back now; empty: they are not
	Held        []Period      // when they were held back before
}

// Period is a time that is over.
type Period struct {
	From, To time.Time
}

// due is when a backup that completed at last makes a schedule's next one overdue. The schedule is given its time from the moment from
// which it covers the database, and anew after a pause in which that time passed.
func (c Covering) due(last *time.Time, since time.Time) time.Time {
	from := since
	if c.ActivatedAt.After(from) {
		from = c.ActivatedAt
	}
	if last != nil && last.After(from) {
		from = *last
	}
	due := from.Add(c.Within)
	held := slices.Clone(c.Held)
	slices.SortFunc(held, func(a, b Period) int { return a.From.Compare(b.From) })
	for i := 0; i < len(held); {
		p := held[i]
		for i++; i < len(held) && !held[i].From.After(p.To); i++ { // pauses that overlap are one
			if held[i].To.After(p.To) {
				p.To = held[i].To
			}
		}
		if !due.Before(p.From) && due.Before(p.To) {
			due = p.To.Add(c.Within)
		}
	}
	return due
}

// ProtectionFacts are what a database's state follows from.
type ProtectionFacts struct {
	Now      time.Time
	Since    time.Time  // when it was first seen or assigned to its project
	Missing  *time.Time // since when its server does not find it
	Revoked  bool       // its server is
	Covering []Covering
}

// Judge sets the state, its reason and what is expected from the facts, and from the last good backup and the choice to ignore it,
// which are set already.
func (p *Protection) Judge(f ProtectionFacts) {
	p.Schedules, p.ExpectedSeconds, p.OverdueAt, p.AgeSeconds = []int64{}, 0, nil, nil
	last := "no completed backup yet"
	if p.LastGoodAt != nil {
		age := max(f.Now.Sub(*p.LastGoodAt), 0)
		seconds := int64(age / time.Second)
		p.AgeSeconds = &seconds
		last = "last good backup " + agoText(age)
	}
	var paused string
	held := 0
	for _, c := range f.Covering {
		p.Schedules = append(p.Schedules, c.ID)
		if c.Paused != "" {
			held++
			paused = c.Paused
		}
	}
	for _, c := range f.Covering {
		if c.Paused != "" && held < len(f.Covering) {
			continue // the others are what is expected
		}
		if seconds := int64(c.Within / time.Second); p.ExpectedSeconds == 0 || seconds < p.ExpectedSeconds {
			p.ExpectedSeconds = seconds
		}
		if due := c.due(p.LastGoodAt, f.Since); p.OverdueAt == nil || due.Before(*p.OverdueAt) {
			p.OverdueAt = &due
		}
	}
	expected := ", expected within " + lengthText(time.Duration(p.ExpectedSeconds)*time.Second)
	watched := ""
	if p.IgnoredAt != nil && len(f.Covering) > 0 {
		watched = "; it is ignored by choice, but a schedule covers it"
	}
	set := func(state, reason string) {
		p.State, p.Reason = state, reason
		if state == ProtectionGone || state == ProtectionPaused {
			p.OverdueAt = nil
		}
	}
	switch {
	case f.Revoked:
		set(ProtectionGone, "its server is revoked; "+last)
	case f.Missing != nil:
		set(ProtectionGone, "its server has not found it for "+lengthText(f.Now.Sub(*f.Missing))+"; "+last)
	case len(f.Covering) == 0 && p.IgnoredAt != nil:
		set(ProtectionIgnored, "ignored by choice: "+p.IgnoredReason)
	case len(f.Covering) == 0 && p.ProjectID == nil:
		set(ProtectionUnprotected, "it is in no project and no schedule covers it; "+last)
	case len(f.Covering) == 0:
		set(ProtectionUnprotected, "no active schedule covers it; "+last)
	case held == len(f.Covering):
		set(ProtectionPaused, paused+"; "+last+watched)
	case !f.Now.Before(*p.OverdueAt):
		set(ProtectionOverdue, last+expected+watched)
	case p.LastGoodAt == nil || f.Now.Sub(*p.LastGoodAt) >= time.Duration(p.ExpectedSeconds)*time.Second:
		set(ProtectionWaiting, last+", the next is expected within "+lengthText(p.OverdueAt.Sub(f.Now))+watched)
	default:
		set(ProtectionProtected, last+expected+watched)
	}
}

// Trends sets how the last size and duration compare with those before.
func (p *Protection) Trends() {
	sizes := make([]float64, len(p.Sizes))
	for i, n := range p.Sizes {
		sizes[i] = float64(n)
	}
	p.SizeTrend, p.SecondsTrend = trend(sizes), trend(p.Seconds)
}

// trend is the last of values against the median of those before it; nil for fewer than three, and where that median is 0.
func trend(values []float64) *float64 {
	if len(values) < 3 {
		return nil
	}
	before := slices.Clone(values[:len(values)-1])
	slices.Sort(before)
	median := before[len(before)/2]
	if len(before)%2 == 0 {
		median = (before[len(before)/2-1] + median) / 2
	}
	if median == 0 {
		return nil
	}
	against := values[len(values)-1] / median
	return &against
}

// agoText is how long ago something was, for people.
func agoText(d time.Duration) string {
	if d < time.Minute {
		return "just now"
	}
	return lengthText(d) + " ago"
}

// lengthText is a length of time for people, no more exact than it is worth.
func lengthText(d time.Duration) string {
	d = max(d, time.Minute).Round(time.Minute)
	if d >= 24*time.Hour {
		d = d.Round(time.Hour)
	}
	hours, minutes := int64(d/time.Hour), int64(d/time.Minute)%60
	switch {
	case hours >= 72:
		return fmt.Sprintf("%d days", hours/24)
	case hours == 0:
		return fmt.Sprintf("%d min", minutes)
	case minutes == 0:
		return fmt.Sprintf("%d h", hours)
	}
	return fmt.Sprintf("%d h %d min", hours, minutes)
}

// WrongNames is how many are named of each kind of what is wrong.
const WrongNames = 5

// Add counts one, and names it if it is among the first.
func (w *Wrong) Add(name string) {
	w.Count++
	if len(w.Names) < WrongNames {
		w.Names = append(w.Names, name)
	}
}

// Tell sets the severity and the sentence.
func (w *Wrong) Tell() {
	of := wrongTexts[w.Kind]
	w.Severity = of.severity
	text := of.many
	if w.Count == 1 {
		text = of.one
	}
	w.Text = fmt.Sprintf(text, w.Count)
}

var wrongTexts = map[string]struct{ severity, one, many string }{
	WrongOverdue:     {SeverityCritical, "%d database has no good backup within the expected time", "%d databases have no good backup within the expected time"},
	WrongCorrupt:     {SeverityCritical, "%d backup is corrupt", "%d backups are corrupt"},
	WrongMissing:     {SeverityCritical, "%d backup is missing from its storage", "%d backups are missing from their storages"},
	WrongFailing:     {SeverityCritical, "the newest backup of %d database failed", "the newest backups of %d databases failed"},
	WrongStorage:     {SeverityCritical, "%d storage did not pass its probe", "%d storages did not pass their probe"},
	WrongUnprotected: {SeverityWarning, "%d database is covered by no schedule", "%d databases are covered by no schedule"},
	WrongOffline:     {SeverityWarning, "%d agent is offline", "%d agents are offline"},
	WrongSchedule:    {SeverityWarning, "%d schedule cannot occur", "%d schedules cannot occur"},
	WrongChannel:     {SeverityWarning, "%d channel does not take messages", "%d channels do not take messages"},
	WrongAlarm:       {SeverityWarning, "%d alarm is open", "%d alarms are open"},
}
