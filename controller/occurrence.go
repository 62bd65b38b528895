package controller

import (
	"slices"
	"time"
)

// States of an occurrence and of each database that it covers. Each occurrence has exactly one record, kept with its schedule and its
// instant; each database in it has one too.
const (
	OccurrenceRun     = "run"     // a backup was ordered; of the whole: of at least one database
	OccurrenceSkipped = "skipped" // the backup before it is still at work
	OccurrenceMissed  = "missed"  // nothing was ordered, for the reason given
)

// Codes of occurrences that were not run, or not of every database.
const (
	MissedDowntime = "downtime"         // no controller was up, and a newer occurrence was run in its place
	MissedTooLate  = "too_late"         // older than the schedule's catch-up allows
	MissedPaused   = "paused"           // by a person
	MissedOffline  = "offline"          // the backup before it still waits for the host's agent, and serves for this one too
	MissedNothing  = "nothing_covered"  // the schedule covers no database
	MissedDatabase = "database_missing" // the agent no longer finds it
	MissedRevoked  = "server_revoked"
	MissedRefused  = "refused"        // the backup could not be ordered, such as for want of a storage
	MissedQuota    = "quota_exceeded" // a limit of the project was reached
	MissedChanged  = "changed"        // the schedule was changed, deactivated or deleted before it was due
	SkippedOverlap = "overlap"
)

// ScheduleOccurrence is the record of one occurrence.
type ScheduleOccurrence struct {
	ScheduleID int64                `json:"schedule_id"`
	At         time.Time            `json:"at"`
	State      string               `json:"state"`
	Code       string               `json:"code"`
	Reason     string               `json:"reason"`
	Late       bool                 `json:"late"` // run after a downtime
	RecordedAt time.Time            `json:"recorded_at"`
	Databases  []OccurrenceDatabase `json:"databases"`
}

// OccurrenceDatabase is what became of one database that the occurrence covers.
type OccurrenceDatabase struct {
	DatabaseID   int64  `json:"database_id"`
	DatabaseName string `json:"database_name"`
	Server       string `json:"server"`
	State        string `json:"state"`
	Code         string `json:"code"`
	Reason       string `json:"reason"`
	BackupID     *int64 `json:"backup_id"` // of a run: the newest, where it was retried
	Status       string `json:"status"`    // of that backup
}

// DueSchedule is a schedule whose next occurrence is due, or that is to be planned anew.
type DueSchedule struct {
	Schedule
	// RecordedUntil is the newest occurrence that has a record, or when the schedule was made or activated. It is the fence: what is
	// recorded next must start from it.
	RecordedUntil time.Time
	// IntervalSeconds is the longest time between two occurrences, as it was known last; nil: it was not computed yet.
	IntervalSeconds *int64
}

// Tick is what became of a schedule's occurrences after RecordedUntil. It is recorded as a whole or not at all; a tick whose
// RecordedUntil is no longer the schedule's changes nothing.
type Tick struct {
	ScheduleID    int64
	RecordedUntil time.Time
	Now           time.Time   // when it was looked at: what is paused then does not run
	Missed        []time.Time // a page of them, oldest first
	MissedCode    string      // MissedDowntime or MissedTooLate
	MissedReason  string
	Run           *Occurrence // nil: none, or not before a later page
	Late          bool
	Until         time.Time  // the new RecordedUntil
	Next          Occurrence // the next one after Until; with pages left, due at once
}

// MissedPage is how many missed occurrences one Tick records at most.
const MissedPage = 500

// TickResult counts what a Tick did, by database.
type TickResult struct {
	Stale                bool // another controller was first, or the schedule was changed
	Run, Missed, Skipped int
}

// Scopes of a pause.
const (
	PauseEverything = "everything"
	PauseProject    = "project"
	PauseServer     = "server"
	PauseSchedule   = "schedule"
)

// PauseScopes lists them.
var PauseScopes = []string{PauseEverything, PauseProject, PauseServer, PauseSchedule}

// Pause holds back scheduled backups. Occurrences meanwhile are recorded as missed, and are not made up for. Backups that people ask
// for are made nevertheless, and retention goes on: it empties nothing.
type Pause struct {
	ID         int64      `json:"id"`
	Scope      string     `json:"scope"`
	ProjectID  *int64     `json:"project_id"`
	Project    string     `json:"project"`
	ServerID   *int64     `json:"server_id"`
	Server     string     `json:"server"`
	ScheduleID *int64     `json:"schedule_id"`
	Until      *time.Time `json:"until"` // null: until it is ended
	Reason     string     `json:"reason"`
	CreatedBy  string     `json:"created_by"`
	CreatedAt  time.Time  `json:"created_at"`
	EndedAt    *time.Time `json:"ended_at"` // null while it holds
	EndedBy    string     `json:"ended_by"`
}

// PauseSpec is what a caller gives to pause.
type PauseSpec struct {
	Scope    string // default: by what else is given
	Project  string // slug, id or external id
	Server   string // name or id
	Schedule int64
	Until    *time.Time // nil: until it is ended
	Reason   string
}

// Validate fills the default and names the first field that is wrong. A pause must end after now.
func (s *PauseSpec) Validate(now time.Time) error {
	given := 0
	for _, by := range []struct {
		scope string
		named bool
	}{{PauseProject, s.Project != ""}, {PauseServer, s.Server != ""}, {PauseSchedule, s.Schedule != 0}} {
		if !by.named {
			continue
		}
		given++
		if s.Scope == "" {
			s.Scope = by.scope
		}
		if s.Scope != by.scope && given == 1 {
			return Invalid(by.scope, "is not allowed with scope %.40q", s.Scope)
		}
	}
	switch {
	case given > 1:
		return Invalid("scope", "a project, a server and a schedule cannot be paused in one; pause each by itself")
	case s.Scope != "" && !slices.Contains(PauseScopes, s.Scope):
		return Invalid("scope", "%.40q is not allowed; use %s", s.Scope, orList(PauseScopes))
	case s.Scope == "":
		return Invalid("scope", "is missing; use %s, or give a project, server or schedule", orList(PauseScopes))
	case s.Scope != PauseEverything && given == 0:
		return Invalid(s.Scope, "is missing; say which one is to be paused")
	case s.Schedule < 0:
		return Invalid("schedule", "%d is not a schedule's id", s.Schedule)
	case s.Reason == "" || len(s.Reason) > 500:
		return Invalid("reason", "has %d bytes; use 1 to 500, for those who wonder why nothing runs", len(s.Reason))
	case s.Until != nil && !s.Until.After(now):
		return Invalid("until", "%s is not in the future; leave it out to pause until it is ended", s.Until.UTC().Format(time.RFC3339))
	}
	return nil
}
