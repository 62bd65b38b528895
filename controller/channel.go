package controller

import (
	"slices"
	"time"

	"devflowbackup/shared/secret"
)

// MaxRemindHours is the longest time between reminders of an open alarm.
const MaxRemindHours = 30 * 24

// Channel is where people are told. What opens it never leaves the controller.
type Channel struct {
	ID           int64      `json:"id"`
	ProjectID    *int64     `json:"project_id"` // null: of the installation
	Project      string     `json:"project"`
	Name         string     `json:"name"`
	Kind         string     `json:"kind"`
	Hint         string     `json:"hint"`       // what of its target may be shown, such as a host or addresses
	IsDefault    bool       `json:"is_default"` // takes what no channel of a project takes, and what is of no project
	IsActive     bool       `json:"is_active"`
	Kinds        []string   `json:"kinds" nullable:"false"` // of notices; empty: all but those that are off
	MinSeverity  string     `json:"min_severity"`
	RemindHours  int        `json:"remind_hours"` // of open alarms; 0: never
	FallbackID   *int64     `json:"fallback_id"`
	Fallback     string     `json:"fallback"` // its name
	Failures     int        `json:"failures"` // in a row
	FailingSince *time.Time `json:"failing_since"`
	LastError    string     `json:"last_error"`
	LastSentAt   *time.Time `json:"last_sent_at"`
	Waiting      int64      `json:"waiting"`     // notices that it has not taken yet
	MutedUntil   *time.Time `json:"muted_until"` // by the mute that lasts longest
	CreatedBy    string     `json:"created_by"`
	CreatedAt    time.Time  `json:"created_at"`
	UpdatedAt    time.Time  `json:"updated_at"`
}

// ChannelTarget is what a message is sent to; it is sealed under the master key as JSON. Which fields are used its kind says.
type ChannelTarget struct {
	URL      secret.String `json:"url,omitempty"`      // webhook: HTTPS; services: as the service's own, or its shoutrrr URL
	Secret   secret.String `json:"secret,omitempty"`   // webhook: key of the HMAC
	Host     string        `json:"host,omitempty"`     // email: SMTP server
	Port     int           `json:"port,omitempty"`     // email; 0: 587, or 465 with tls: implicit
	TLS      string        `json:"tls,omitempty"`      // email: starttls (default), implicit, none
	Username string        `json:"username,omitempty"` // email; empty: no authentication
	Password secret.String `json:"password,omitempty"`
	From     string        `json:"from,omitempty"`
	To       []string      `json:"to,omitempty"`
}

// ChannelSpec is what a caller gives to make a channel.
type ChannelSpec struct {
	Name        string
	Project     string // empty: of the installation
	Kind        string
	Target      ChannelTarget
	IsDefault   bool
	Kinds       []string
	MinSeverity string // default info
	RemindHours *int   // default 24
	Fallback    string // name or id of another channel
}

// ChannelChange is what is to change of a channel; nil stays. A target is replaced as a whole, its kind stays.
type ChannelChange struct {
	Name        *string
	Target      *ChannelTarget
	IsDefault   *bool
	IsActive    *bool
	Kinds       *[]string
	MinSeverity *string
	RemindHours *int
	Fallback    *string // empty: none
}

// ChannelFilter limits a list of channels; zero values do not.
type ChannelFilter struct {
	Project string // its own and, for who sees the whole installation, those of the installation
	Kind    string
	Part
}

// ChannelKind is what is known of a kind of channels, such as for a form.
type ChannelKind struct {
	Kind     string   `json:"kind"`
	Title    string   `json:"title"`
	Fields   []string `json:"fields" nullable:"false"`   // of a target that it needs, by their JSON names
	Optional []string `json:"optional" nullable:"false"` // and those that it may have
	Example  string   `json:"example"`                   // of url, or of host
	Text     string   `json:"text"`                      // how it is come by
}

// Validate fills the defaults and names the first field that is wrong. Whether the target fits its kind is not looked at.
func (s *ChannelSpec) Validate() error {
	if err := validStorageName(s.Name); err != nil {
		return err
	}
	if s.MinSeverity == "" {
		s.MinSeverity = SeverityInfo
	}
	if s.RemindHours == nil {
		s.RemindHours = new(24)
	}
	if s.IsDefault && s.Project != "" {
		return Invalid("default", "is for channels of the installation; those of a project take what is of it anyway")
	}
	var err error
	s.Kinds, err = validReach(s.Kinds, s.MinSeverity, *s.RemindHours)
	return err
}

// Validate names the first field that is wrong.
func (c *ChannelChange) Validate() error {
	if c.Name != nil {
		if err := validStorageName(*c.Name); err != nil {
			return err
		}
	}
	reach := Channel{MinSeverity: SeverityInfo}
	set(&reach.Kinds, c.Kinds)
	set(&reach.MinSeverity, c.MinSeverity)
	set(&reach.RemindHours, c.RemindHours)
	kinds, err := validReach(reach.Kinds, reach.MinSeverity, reach.RemindHours)
	if err == nil && c.Kinds != nil {
		c.Kinds = &kinds
	}
	return err
}

// validReach is which notices a channel takes; it returns the kinds in the order of NoticeKinds, each once.
func validReach(kinds []string, severity string, remindHours int) ([]string, error) {
	for _, k := range kinds {
		if _, known := KindOfNotice(k); !known || k == NoticeTest {
			return nil, Invalid("kinds", "%.100q is no kind of notices; use %s", k, orList(ChannelNotices()))
		}
	}
	sorted := []string{}
	for _, k := range NoticeKinds {
		if slices.Contains(kinds, k.Kind) {
			sorted = append(sorted, k.Kind)
		}
	}
	if severity == "" || oneOf("min_severity", severity, Severities) != nil {
		return nil, Invalid("min_severity", "%.100q is not allowed; use %s", severity, orList(Severities))
	}
	if remindHours < 0 || remindHours > MaxRemindHours {
		return nil, Invalid("remind_hours", "%d is not allowed; use 1 to %d, or 0 for never", remindHours, MaxRemindHours)
	}
	return sorted, nil
}

// ChannelNotices are the kinds of notices that a channel may name: all but the test, which every channel takes.
func ChannelNotices() []string {
	var kinds []string
	for _, k := range NoticeKinds {
		if k.Kind != NoticeTest {
			kinds = append(kinds, k.Kind)
		}
	}
	return kinds
}

// Version changes whenever somebody edits the channel; what it sends does not change it.
func (c Channel) Version() string { return editionOf([]any{c.ID, c.UpdatedAt.UTC()}) }

// Message is what is sent to one channel at once: one notice, or many that belong together.
type Message struct {
	UID      string         `json:"uid"` // the same for every try: receivers tell doubles by it
	Severity string         `json:"severity"`
	Title    string         `json:"title"` // one line
	Notices  []MessageEntry `json:"notices"`
	More     int            `json:"more"` // beyond those that are listed
	Counts   []MessageCount `json:"counts"`
	At       time.Time      `json:"at"`
	URL      string         `json:"url"`            // of the console; empty: not known
	Failed   string         `json:"failed_channel"` // the channel in whose place it is sent, and why
}

// MessageEntry is one notice of a message.
type MessageEntry struct {
	ID       int64     `json:"id"`
	Kind     string    `json:"kind"`
	Event    string    `json:"event"`
	Severity string    `json:"severity"`
	Title    string    `json:"title"`
	Detail   string    `json:"detail"`
	Project  string    `json:"project"`
	Server   string    `json:"server"`
	Database string    `json:"database"`
	BackupID *int64    `json:"backup_id"`
	At       time.Time `json:"at"`
}

// MessageCount is how many notices of one kind and event a message stands for, those that are not listed too.
type MessageCount struct {
	Kind  string `json:"kind"`
	Event string `json:"event"`
	Count int    `json:"count"`
}
