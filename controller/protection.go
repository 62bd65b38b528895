package controller

import "time"

// States of a database's protection, the worst first.
const (
	ProtectionOverdue     = "overdue"     // no completed backup within the expected time
	ProtectionUnprotected = "unprotected" // no active schedule covers it, and nobody chose that
	ProtectionPaused      = "paused"      // every schedule that covers it is paused
	ProtectionWaiting     = "waiting"     // its first backup is not due yet
	ProtectionProtected   = "protected"
	ProtectionIgnored     = "ignored" // a recorded choice
	ProtectionGone        = "gone"    // its server no longer finds it; what was backed up is there
)

// ProtectionStates lists them.
var ProtectionStates = []string{ProtectionOverdue, ProtectionUnprotected, ProtectionPaused, ProtectionWaiting, ProtectionProtected, ProtectionIgnored, ProtectionGone}

// Protection tells how well a database that was found on a server is protected.
type Protection struct {
	DatabaseID      int64      `json:"database_id"`
	Database        string     `json:"database"`
	Engine          string     `json:"engine"`
	ServerID        int64      `json:"server_id"`
	Server          string     `json:"server"`
	Online          bool       `json:"online"`     // its server's agent
	ProjectID       *int64     `json:"project_id"` // null: of no project
	Project         string     `json:"project"`
	State           string     `json:"state"`
	Reason          string     `json:"reason"` // why, in one sentence
	Schedules       []int64    `json:"schedules"`
	ExpectedSeconds int64      `json:"expected_seconds"` // within which a completed backup is expected; 0: never
	LastGoodID      *int64     `json:"last_good_id"`     // completed, healthy and not deleted
	LastGoodAt      *time.Time `json:"last_good_at"`
	AgeSeconds      *int64     `json:"age_seconds"` // of the last good one
	OverdueAt       *time.Time `json:"overdue_at"`  // when it becomes overdue, or did
	VerifiedAt      *time.Time `json:"verified_at"` // of the last good one
	VerifiedLevel   string     `json:"verified_level"`
	LastStatus      string     `json:"last_status"` // of the newest backup that has ended
	LastError       string     `json:"last_error"`
	Sizes           []int64    `json:"sizes"`   // of the last ten completed ones, oldest first, in bytes
	Seconds         []float64  `json:"seconds"` // how long they took
	SizeTrend       *float64   `json:"size_trend"`
	SecondsTrend    *float64   `json:"seconds_trend"` // the last against the median of those before it; null: fewer than three
	IgnoredAt       *time.Time `json:"ignored_at"`
	IgnoredBy       string     `json:"ignored_by"`
	IgnoredReason   string     `json:"ignored_reason"`
}

// ProtectionFilter limits a list of databases; zero values do not.
type ProtectionFilter struct {
	Project string
	Server  string
	State   string
	Search  string
	Part    Part
}

// Validate names the first field that is wrong.
func (f ProtectionFilter) Validate() error {
	if err := oneOf("state", f.State, ProtectionStates); err != nil {
		return err
	}
	return f.Part.Validate()
}

// ProtectionSummary counts databases by state, and says what is wrong.
type ProtectionSummary struct {
	Project    string           `json:"project"` // slug; empty: all that the caller sees
	Databases  int64            `json:"databases"`
	States     map[string]int64 `json:"states"`     // each of ProtectionStates
	Unverified int64            `json:"unverified"` // protected ones whose last good backup is not verified
	Alarms     map[string]int64 `json:"alarms"`     // open ones that are not muted, by severity
	Wrong      []Wrong          `json:"wrong"`      // the worst first; empty: all is well
	At         time.Time        `json:"at"`
}

// Kinds of what is wrong, the worst first.
const (
	WrongOverdue     = "overdue"     // databases
	WrongCorrupt     = "corrupt"     // backups
	WrongMissing     = "missing"     // backups
	WrongFailing     = "failing"     // databases whose newest backup failed
	WrongStorage     = "storage"     // storages that did not pass their probe
	WrongUnprotected = "unprotected" // databases
	WrongOffline     = "offline"     // agents
	WrongSchedule    = "schedule"    // schedules that cannot occur
	WrongChannel     = "channel"     // channels that do not take messages
	WrongAlarm       = "alarm"       // open alarms of at least a warning, those of the other kinds too
)

// WrongKinds lists them.
var WrongKinds = []string{WrongOverdue, WrongCorrupt, WrongMissing, WrongFailing, WrongStorage, WrongUnprotected, WrongOffline, WrongSchedule, WrongChannel, WrongAlarm}

// Wrong is one kind of what is wrong.
type Wrong struct {
	Kind     string   `json:"kind"`
	Severity string   `json:"severity"`
	Count    int64    `json:"count"`
	Text     string   `json:"text"`  // one sentence
	Names    []string `json:"names"` // of the first few
}
