package controller

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// DurationBounds are the upper bounds, in seconds, of the buckets in which ended jobs are counted; one more bucket holds what is longer.
var DurationBounds = []float64{1, 5, 15, 60, 300, 900, 3600, 14400, 43200}

// DurationBucket is the index of the bucket that a duration is counted in.
func DurationBucket(seconds float64) int {
	i, _ := slices.BinarySearch(DurationBounds, seconds)
	return i
}

// OverlapAlarm is how many occurrences in a row are skipped before an alarm is opened.
const OverlapAlarm = 3

// An anomaly is held against so many values before it, and against none if there are fewer.
const (
	AnomalyOf    = 10
	AnomalyLeast = 5
)

// Anomaly tells whether a value is below half or above twice the median of those before it, and at least so far from it.
func Anomaly(value int64, before []int64, least int64) (median int64, odd bool) {
	if len(before) < AnomalyLeast {
		return 0, false
	}
	sorted := slices.Sorted(slices.Values(before))
	median = sorted[len(sorted)/2]
	if len(sorted)%2 == 0 {
		low := sorted[len(sorted)/2-1]
		median = low + (median-low)/2
	}
	away := value - median
	if away < 0 {
		away = -away
	}
	return median, away >= least && (value < median-median/2 || value/2 > median || value/2 == median && value%2 > 0)
}

// PowerOfTen is the highest power of ten that is not above n; 0 for n below 1.
func PowerOfTen(n int64) int64 {
	if n < 1 {
		return 0
	}
	p := int64(1)
	for n >= 10 {
		n /= 10
		p *= 10
	}
	return p
}

// Routing is what decides where a notice goes.
type Routing struct {
	Kind       string
	Event      string
	Severity   string
	Silenced   bool // its schedule tells nobody
	AlarmID    *int64
	ProjectID  *int64
	ServerID   *int64
	DatabaseID *int64
	ChannelID  *int64 // channel_failing: the one that fails
}

// Takes tells whether a channel's filter lets a notice through. A kind that is off has to be named.
func (c Channel) Takes(kind, severity string) bool {
	if !c.IsActive || !SeverityAtLeast(severity, c.MinSeverity) {
		return false
	}
	if len(c.Kinds) > 0 {
		return slices.Contains(c.Kinds, kind)
	}
	k, known := KindOfNotice(kind)
	return !known || !k.Off
}

// Route tells which channels a notice goes to, or why to none. It goes to those of its project that take it; if there is none, or it is of
// no project, to the installation's default channels that take it. Channels are those that are not deleted, mutes those that hold.
func Route(n Routing, channels []Channel, mutes []Mute) (to []int64, unsent string) {
	if n.Silenced {
		return nil, UnsentSilenced
	}
	if slices.ContainsFunc(mutes, func(m Mute) bool { return m.Scope != MuteChannel && m.holds(n) }) {
		return nil, UnsentMuted
	}
	var taking []Channel
	if n.Kind == NoticeChannel {
		taking = othersOf(n, channels)
	} else {
		if n.ProjectID != nil && n.Kind != NoticeSecurity {
			taking = takers(n, channels, func(c Channel) bool { return same(c.ProjectID, n.ProjectID) })
		}
		if len(taking) == 0 {
			taking = takers(n, channels, Channel.isDefault)
		}
	}
	if len(taking) == 0 {
		return nil, UnsentNowhere
	}
	for _, c := range taking {
		if !slices.ContainsFunc(mutes, func(m Mute) bool { return m.Scope == MuteChannel && same(m.ChannelID, &c.ID) && m.holds(n) }) {
			to = append(to, c.ID)
		}
	}
	if len(to) == 0 {
		return nil, UnsentMuted
	}
	return to, ""
}

func (c Channel) isDefault() bool { return c.IsDefault && c.ProjectID == nil }

func takers(n Routing, channels []Channel, among func(Channel) bool) []Channel {
	var out []Channel
	for _, c := range channels {
		if among(c) && c.Takes(n.Kind, n.Severity) {
			out = append(out, c)
		}
	}
	return out
}

// othersOf are the channels that are told of one that fails: the one in its place, and the default ones but itself.
func othersOf(n Routing, channels []Channel) []Channel {
	var fallback *int64
	for _, c := range channels {
		if same(n.ChannelID, &c.ID) {
			fallback = c.FallbackID
		}
	}
	var out []Channel
	for _, c := range channels {
		if same(n.ChannelID, &c.ID) || !c.IsActive {
			continue
		}
		if same(fallback, &c.ID) || c.isDefault() && c.Takes(n.Kind, n.Severity) {
			out = append(out, c)
		}
	}
	return out
}

// holds tells whether a mute holds back a notice, whichever channel takes it.
func (m Mute) holds(n Routing) bool {
	if m.Kind != "" && m.Kind != n.Kind {
		return false
	}
	switch m.Scope {
	case MuteEverything, MuteChannel:
		return true
	case MuteProject:
		return same(m.ProjectID, n.ProjectID)
	case MuteServer:
		return same(m.ServerID, n.ServerID)
	case MuteDatabase:
		return same(m.DatabaseID, n.DatabaseID)
	case MuteAlarm:
		return same(m.AlarmID, n.AlarmID)
	}
	return false
}

func same(a, b *int64) bool { return a != nil && b != nil && *a == *b }

// PlaceOf returns the channel that messages go to in the place of one that fails: its own choice, else another default channel, one that does
// not fail before one that does. Nil if there is none.
func PlaceOf(failing Channel, channels []Channel) *Channel {
	var found *Channel
	for i, c := range channels {
		if c.ID == failing.ID || !c.IsActive {
			continue
		}
		if same(failing.FallbackID, &c.ID) {
			return &channels[i]
		}
		if c.isDefault() && (found == nil || found.FailingSince != nil && c.FailingSince == nil) {
			found = &channels[i]
		}
	}
	return found
}

// Pauses between the tries of a message.
const (
	retryFirst = 10 * time.Second
	retryMost  = 30 * time.Minute
)

// RetryPause is how long after its n-th failed try a message is tried again: 10 seconds, doubling up to 30 minutes. random, from 0 to below 1, takes
// off up to a fifth, so that not all are tried at once.
func RetryPause(n int, random float64) time.Duration {
	d := retryMost
	if n < 9 {
		d = min(d, retryFirst<<max(n-1, 0))
	}
	return d - time.Duration(float64(d)*0.2*random)
}

// MessageLimit is how many notices a message lists; the others it counts.
const MessageLimit = 20

// Grouping is how long notices wait for others, so that they are told together.
type Grouping struct {
	Wait           time.Duration // after the oldest one
	UrgentWait     time.Duration // after the oldest urgent one
	Interval       time.Duration // between two messages of a channel
	UrgentInterval time.Duration // the same, where an urgent one waits
	FallbackAfter  time.Duration // a message that is not taken for so long goes to another channel
	FallbackTries  int           // or that was tried so often
	GiveUp         time.Duration // a message that is not taken for so long has failed
}

// DefaultGrouping is what holds unless somebody says otherwise.
var DefaultGrouping = Grouping{
	Wait: 10 * time.Second, UrgentWait: 2 * time.Second, Interval: time.Minute, UrgentInterval: 10 * time.Second,
	FallbackAfter: 5 * time.Minute, FallbackTries: 3, GiveUp: 72 * time.Hour,
}

// Compose fills in what a message says of itself: its severity, its title and how many notices it does not list. What is over is no longer urgent.
func (m *Message) Compose() {
	total := 0
	for _, c := range m.Counts {
		total += c.Count
	}
	m.More = max(total-len(m.Notices), 0)
	m.Severity = SeverityInfo
	for _, n := range m.Notices {
		if n.Event != NoticeClosed && SeverityAtLeast(n.Severity, m.Severity) {
			m.Severity = n.Severity
		}
	}
	if total == 1 && len(m.Notices) == 1 {
		m.Title = m.Notices[0].Title
		return
	}
	slices.SortStableFunc(m.Counts, func(a, b MessageCount) int { return b.Count - a.Count })
	var parts []string
	for i, c := range m.Counts {
		if i == 3 {
			parts = append(parts, "…")
			break
		}
		text := fmt.Sprintf("%d %s", c.Count, strings.ReplaceAll(c.Kind, "_", " "))
		switch c.Event {
		case NoticeClosed:
			text += " over"
		case NoticeReminder:
			text += " still"
		}
		parts = append(parts, text)
	}
	m.Title = fmt.Sprintf("%d notices: %s", total, strings.Join(parts, ", "))
}

// Percent is part of whole, in percent, for people.
func Percent(part, whole int64) string {
	if whole == 0 {
		return "∞ %"
	}
	return fmt.Sprintf("%.0f %%", math.Round(100*float64(part)/float64(whole)))
}

// Ping is a dead-man ping of a schedule that one controller sends.
type Ping struct {
	ID         int64
	ScheduleID int64
	State      string // start, success, fail
	Attempts   int
	Until      time.Time // it is this controller's until then; the fence
}

// Outgoing is a message that one controller sends.
type Outgoing struct {
	ID          int64
	ChannelID   int64
	Channel     string
	ChannelKind string
	FallbackOf  *int64
	Attempts    int
	CreatedAt   time.Time
	Owner       string // with Until the fence
	Until       time.Time
	Body        Message
}

// Outcome of a try to send a message that failed.
const (
	OutgoingRetried = "retried"
	OutgoingFailed  = "failed"
	OutgoingLost    = "lost" // it is another controller's by now, or no longer open
)

// Standing is what a round of conditions found and did.
type Standing struct {
	Done                  bool // no other controller did it meanwhile
	Holding               int  // conditions
	Opened, Closed, Still int  // alarms
}

// CertificateEnd is when a certificate ends that a controller knows of.
type CertificateEnd struct {
	Name string // for people
	At   time.Time
}

// Patience is how long conditions have to hold before an alarm of them is opened.
type Patience struct {
	Offline  time.Duration // an agent
	Critical time.Duration // an agent that schedules wait for: then its alarm is critical
	Channel  time.Duration // a channel that does not take messages
	Silent   time.Duration // a controller
}

// DefaultPatience is what holds unless somebody says otherwise.
var DefaultPatience = Patience{Offline: 5 * time.Minute, Critical: time.Hour, Channel: 5 * time.Minute, Silent: time.Minute}

// SummaryDue is when the newest weekly summary was due, at a day of the week (0: Sunday) and a time in a zone.
func SummaryDue(now time.Time, day int, clock string, zone *time.Location) (time.Time, error) {
	seconds, err := timeOfDay(clock)
	if err != nil {
		return time.Time{}, fmt.Errorf("read summary_time: %w", err)
	}
	local := now.In(zone)
	y, m, d := local.Date()
	back := (int(local.Weekday()) - day + 7) % 7
	due := time.Date(y, m, d-back, 0, 0, int(seconds), 0, zone)
	if due.After(now) {
		due = time.Date(y, m, d-back-7, 0, 0, int(seconds), 0, zone)
	}
	return due, nil
}
