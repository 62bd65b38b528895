package controller

import (
	"slices"
	"strconv"
	"time"
)

// SeverityInfo is the least of the severities of notices, beside SeverityWarning and SeverityCritical.
const SeverityInfo = "info"

// Severities lists those of notices and alarms, the least first.
var Severities = []string{SeverityInfo, SeverityWarning, SeverityCritical}

// SeverityAtLeast tells whether a severity reaches another one.
func SeverityAtLeast(severity, least string) bool {
	return slices.Index(Severities, severity) >= slices.Index(Severities, least)
}

// Kinds of notices. Those of conditions that stand have an alarm.
const (
	NoticeBackupFailing      = "backup_failing"      // stands until a backup of the database, by the same schedule, is completed
	NoticeBackupCompleted    = "backup_completed"    // off unless a channel names it
	NoticeOccurrenceMissed   = "occurrence_missed"   // once for each occurrence
	NoticeOverlap            = "overlap"             // stands: OverlapAlarm occurrences in a row were skipped, the one before still ran
	NoticeOverdue            = "overdue"             // stands: no completed backup within the expected time
	NoticeVerificationFailed = "verification_failed" // once for each
	NoticeBackupMissing      = "backup_missing"      // stands: the object is not at its storage
	NoticeBackupCorrupt      = "backup_corrupt"      // stands
	NoticeStorageConflict    = "storage_conflict"    // stands: a lifecycle rule or an object lock against retention
	NoticeSizeAnomaly        = "size_anomaly"        // once: a backup is much smaller or larger than those before it
	NoticeRowsAnomaly        = "rows_anomaly"        // once: a backup has far fewer or more rows than those before it
	NoticeAgentOffline       = "agent_offline"       // stands
	NoticeAgentOutdated      = "agent_outdated"      // stands
	NoticeAgentDuplicate     = "agent_duplicate"     // once
	NoticeStorageUnavailable = "storage_unavailable" // stands
	NoticeStorageFull        = "storage_full"        // stands
	NoticeRetentionHeld      = "retention_held"      // stands: the clean-up failed, or would not remove what it should
	NoticeRestoreCompleted   = "restore_completed"   // once
	NoticeRestoreFailed      = "restore_failed"      // once
	NoticeSecurity           = "security"            // once for each event and each tenfold of its count
	NoticeCertificate        = "certificate_expiring"
	NoticeToken              = "token_expiring"
	NoticeNoChannel          = "no_channel"       // stands: a schedule is to tell of failures, and nobody would hear
	NoticeSchedule           = "schedule_problem" // stands
	NoticeController         = "controller_down"  // stands: another controller of the installation is silent
	NoticeChannel            = "channel_failing"  // stands: told by the other channels
	NoticeSummary            = "weekly_summary"
	NoticeTest               = "test" // asked for; no filter holds it back
)

// NoticeKind is what is known of a kind of notices.
type NoticeKind struct {
	Kind     string `json:"kind"`
	Severity string `json:"severity"` // unless the notice says otherwise
	Stands   bool   `json:"stands"`   // it has an alarm
	Off      bool   `json:"off"`      // only channels that name it get it
	Text     string `json:"text"`
}

// NoticeKinds lists every kind.
var NoticeKinds = []NoticeKind{
	{NoticeBackupFailing, SeverityCritical, true, false, "a backup failed; recovered with the next completed one"},
	{NoticeBackupCompleted, SeverityInfo, false, true, "a backup is completed"},
	{NoticeOccurrenceMissed, SeverityWarning, false, false, "a schedule did not run when it should have"},
	{NoticeOverlap, SeverityWarning, true, false, "backups take longer than their schedule's interval"},
	{NoticeOverdue, SeverityCritical, true, false, "a database has no completed backup within the expected time"},
	{NoticeVerificationFailed, SeverityCritical, false, false, "a backup could not be verified"},
	{NoticeBackupMissing, SeverityCritical, true, false, "a backup is missing from its storage"},
	{NoticeBackupCorrupt, SeverityCritical, true, false, "a backup is corrupt"},
	{NoticeStorageConflict, SeverityWarning, true, false, "a lifecycle rule or lock of a storage is against retention"},
	{NoticeSizeAnomaly, SeverityWarning, false, false, "a backup is much smaller or larger than those before it"},
	{NoticeRowsAnomaly, SeverityWarning, false, false, "a backup has far fewer or more rows than those before it"},
	{NoticeAgentOffline, SeverityWarning, true, false, "an agent is offline; critical if its schedules wait for it"},
	{NoticeAgentOutdated, SeverityInfo, true, false, "an agent is older than the controller"},
	{NoticeAgentDuplicate, SeverityWarning, false, false, "two agents run with one identity"},
	{NoticeStorageUnavailable, SeverityCritical, true, false, "a storage does not pass its probe"},
	{NoticeStorageFull, SeverityWarning, true, false, "a storage is nearly full"},
	{NoticeRetentionHeld, SeverityWarning, true, false, "retention could not remove what it should"},
	{NoticeRestoreCompleted, SeverityInfo, false, false, "a restore is done"},
	{NoticeRestoreFailed, SeverityCritical, false, false, "a restore failed"},
	{NoticeSecurity, SeverityCritical, false, false, "something was refused that nobody should try"},
	{NoticeCertificate, SeverityWarning, true, false, "a certificate is about to expire"},
	{NoticeToken, SeverityWarning, true, false, "a token is about to expire"},
	{NoticeNoChannel, SeverityWarning, true, false, "failures are to be told, and no channel takes them"},
	{NoticeSchedule, SeverityWarning, true, false, "a schedule cannot occur"},
	{NoticeController, SeverityWarning, true, false, "a controller of the installation is silent"},
	{NoticeChannel, SeverityWarning, true, false, "a channel does not take messages"},
	{NoticeSummary, SeverityInfo, false, false, "the week in figures"},
	{NoticeTest, SeverityInfo, false, false, "a test of a channel"},
}

// KindOfNotice returns what is known of a kind.
func KindOfNotice(kind string) (NoticeKind, bool) {
	i := slices.IndexFunc(NoticeKinds, func(k NoticeKind) bool { return k.Kind == kind })
	if i < 0 {
		return NoticeKind{}, false
	}
	return NoticeKinds[i], true
}

// Events of notices: what happened once, and what became of an alarm.
const (
	NoticeHappened = "happened"
	NoticeOpened   = "opened"
	NoticeReminder = "reminder"
	NoticeClosed   = "closed"
)

// Why a notice has no delivery.
const (
	UnsentMuted    = "muted"
	UnsentSilenced = "silenced" // its schedule has notify_on_failure off
	UnsentNowhere  = "nowhere"  // no channel takes it
)

// Subject is what an alarm or notice is about; ids that do not apply are null. The names are for people.
type Subject struct {
	ProjectID  *int64 `json:"project_id"`
	Project    string `json:"project"`
	ServerID   *int64 `json:"server_id"`
	Server     string `json:"server"`
	DatabaseID *int64 `json:"database_id"`
	Database   string `json:"database"`
	ScheduleID *int64 `json:"schedule_id"`
	StorageID  *int64 `json:"storage_id"`
	Storage    string `json:"storage"`
	BackupID   *int64 `json:"backup_id"`
}

// Alarm is a condition that stands, or stood.
type Alarm struct {
	ID       int64  `json:"id"`
	Kind     string `json:"kind"`
	Severity string `json:"severity"`
	Subject
	ChannelID  *int64     `json:"channel_id"`
	Title      string     `json:"title"`
	Detail     string     `json:"detail"`
	Silenced   bool       `json:"silenced"`
	Count      int64      `json:"count"` // how often it was raised
	OpenedAt   time.Time  `json:"opened_at"`
	LastAt     time.Time  `json:"last_at"`
	ClosedAt   *time.Time `json:"closed_at"`   // null: it stands
	MutedUntil *time.Time `json:"muted_until"` // by the mute that lasts longest
}

// AlarmFilter limits a list of alarms; zero values do not.
type AlarmFilter struct {
	Project  string
	Kind     string
	Severity string // at least
	State    string // AlarmOpen (default), AlarmClosed, AlarmAll
	Part
}

// States of alarms in a list.
const (
	AlarmOpen   = "open"
	AlarmClosed = "closed"
	AlarmAll    = "all"
)

// AlarmStates lists them.
var AlarmStates = []string{AlarmOpen, AlarmClosed, AlarmAll}

// Validate fills the default and names the first field that is wrong.
func (f *AlarmFilter) Validate() error {
	if f.State == "" {
		f.State = AlarmOpen
	}
	if err := oneOf("state", f.State, AlarmStates); err != nil {
		return err
	}
	if err := validSelection(f.Kind, f.Severity); err != nil {
		return err
	}
	return f.Part.Validate()
}

func validSelection(kind, severity string) error {
	if _, known := KindOfNotice(kind); kind != "" && !known {
		return Invalid("kind", "%.100q is no kind of notices; use %s", kind, orList(ChannelNotices()))
	}
	return oneOf("severity", severity, Severities)
}

// AlarmCounts are the open alarms that nobody muted, by severity.
type AlarmCounts struct {
	Critical int64 `json:"critical"`
	Warning  int64 `json:"warning"`
	Info     int64 `json:"info"`
}

// Notice is one thing that was to be told.
type Notice struct {
	ID       int64  `json:"id"`
	Kind     string `json:"kind"`
	Event    string `json:"event"`
	Severity string `json:"severity"`
	AlarmID  *int64 `json:"alarm_id"`
	Subject
	RestoreID  *int64           `json:"restore_id"`
	Title      string           `json:"title"`
	Detail     string           `json:"detail"`
	Unsent     string           `json:"unsent"` // why there is no delivery: muted, silenced, nowhere
	At         time.Time        `json:"at"`
	Deliveries []NoticeDelivery `json:"deliveries" nullable:"false"`
}

// NoticeDelivery is what became of a notice at one channel.
type NoticeDelivery struct {
	ChannelID int64      `json:"channel_id"`
	Channel   string     `json:"channel"`
	Status    string     `json:"status"` // waiting, open, sent, failed, dropped
	Attempts  int        `json:"attempts"`
	Error     string     `json:"error"`
	SentAt    *time.Time `json:"sent_at"`
	// FallbackID is the channel that it was given to as well, since this one fails; null: none.
	FallbackID     *int64 `json:"fallback_id"`
	Fallback       string `json:"fallback"`        // its name
	FallbackStatus string `json:"fallback_status"` // open, sent, failed, dropped; empty without one
}

// NoticeFilter limits a list of notices, newest first; zero values do not.
type NoticeFilter struct {
	Project  string
	Kind     string
	Severity string // at least
	Alarm    int64
	Unsent   bool // only those without a delivery
	BeforeID int64
	Limit    int
	NumberedPage
}

// Validate names the first field that is wrong.
func (f NoticeFilter) Validate() error {
	if err := validSelection(f.Kind, f.Severity); err != nil {
		return err
	}
	if f.Page != 0 && f.BeforeID != 0 {
		return Invalid("before_id", "is not allowed together with page; use one of them")
	}
	return f.NumberedPage.Validate()
}

// Scopes of a mute.
const (
	MuteEverything = "everything"
	MuteProject    = "project"
	MuteServer     = "server"
	MuteDatabase   = "database"
	MuteChannel    = "channel"
	MuteAlarm      = "alarm"
)

// MuteScopes lists them.
var MuteScopes = []string{MuteEverything, MuteProject, MuteServer, MuteDatabase, MuteChannel, MuteAlarm}

// MaxMute is how long something may be muted at once.
const MaxMute = 90 * 24 * time.Hour

// Mute keeps notices from being sent until a time. They are recorded nevertheless.
type Mute struct {
	ID        int64      `json:"id"`
	Scope     string     `json:"scope"`
	Kind      string     `json:"kind"` // of notices; empty: all
	Subject              // of scope project, server, database
	ChannelID *int64     `json:"channel_id"`
	Channel   string     `json:"channel"`
	AlarmID   *int64     `json:"alarm_id"`
	Alarm     string     `json:"alarm"` // its title
	Until     time.Time  `json:"until"`
	Reason    string     `json:"reason"`
	CreatedBy string     `json:"created_by"`
	CreatedAt time.Time  `json:"created_at"`
	EndedAt   *time.Time `json:"ended_at"`
	EndedBy   string     `json:"ended_by"`
}

// MuteSpec is what a caller gives to mute something.
type MuteSpec struct {
	Scope  string
	Ref    string // slug, name or id of what Scope says; empty for everything
	Kind   string
	For    time.Duration // or Until
	Until  time.Time
	Reason string
}

// Validate fills in Until and names the first field that is wrong. A mute must end after now.
func (s *MuteSpec) Validate(now time.Time) error {
	if s.Scope == "" || oneOf("scope", s.Scope, MuteScopes) != nil {
		return Invalid("scope", "%.40q is not allowed; use %s", s.Scope, orList(MuteScopes))
	}
	if everything := s.Scope == MuteEverything; everything != (s.Ref == "") {
		if everything {
			return Invalid("ref", "is not allowed with scope everything")
		}
		return Invalid("ref", "is missing; say which %s is to be muted", s.Scope)
	}
	if err := validSelection(s.Kind, ""); err != nil {
		return err
	}
	switch {
	case s.Kind != "" && s.Scope == MuteAlarm:
		return Invalid("kind", "is not allowed with scope alarm: an alarm has one kind")
	case s.For < 0:
		return Invalid("for_seconds", "%s is not allowed; use a time of at most %s", s.For, dayText(MaxMute))
	case s.For != 0 && !s.Until.IsZero():
		return Invalid("until", "is not allowed together with for_seconds; use one of them")
	case s.For == 0 && s.Until.IsZero():
		return Invalid("for_seconds", "is missing; say how long, at most %s, or give until", dayText(MaxMute))
	case s.Reason == "" || len(s.Reason) > 500:
		return Invalid("reason", "has %d bytes; use 1 to 500, for those who wonder why nobody was told", len(s.Reason))
	}
	field := "until"
	if s.For != 0 {
		s.Until, s.For, field = now.Add(s.For), 0, "for_seconds"
	}
	if !s.Until.After(now) {
		return Invalid(field, "%s is not in the future", s.Until.UTC().Format(time.RFC3339))
	}
	if s.Until.After(now.Add(MaxMute + time.Minute)) {
		return Invalid(field, "is more than %s away; mute it anew then", dayText(MaxMute))
	}
	return nil
}

func dayText(d time.Duration) string { return strconv.Itoa(int(d/(24*time.Hour))) + " days" }

// MuteFilter selects mutes, newest first.
type MuteFilter struct {
	All      bool // those too that are over
	BeforeID int64
	Limit    int
	NumberedPage
}

// Validate names the first field that is wrong.
func (f MuteFilter) Validate() error {
	if f.Page != 0 && f.BeforeID != 0 {
		return Invalid("before_id", "is not allowed together with page; use one of them")
	}
	return f.NumberedPage.Validate()
}
