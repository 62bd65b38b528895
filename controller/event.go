package controller

import (
	"encoding/json"
	"slices"
	"time"
)

// Kinds of events. The row of all but progress holds the columns of the thing that tell its state.
const (
	EventBackup   = "backup"
	EventJob      = "job"
	EventRestore  = "restore"
	EventSchedule = "schedule"
	EventStorage  = "storage"
	EventAlarm    = "alarm"    // opened, raised again, changed or closed; one of no project is for who sees all
	EventAgent    = "agent"    // a server: it came up, said hello, told its databases, went offline, was revoked
	EventProgress = "progress" // of a running job; it is in no log and has no id
)

// Event tells that something has changed. Ids are in the order of commits: who has seen one has seen all before it.
type Event struct {
	ID        int64           `json:"id,omitempty"`
	Kind      string          `json:"kind"`
	ProjectID *int64          `json:"project_id"` // null: of a server, or of a storage of all projects
	ServerID  *int64          `json:"server_id"`
	Row       json.RawMessage `json:"row,omitempty"`
	At        time.Time       `json:"at"`

	// Of progress.
	JobID     int64     `json:"job_id,omitempty"`
	BackupID  int64     `json:"backup_id,omitempty"`
	RestoreID *int64    `json:"restore_id,omitempty"`
	Progress  *Progress `json:"progress,omitempty"`

	Projects []int64 `json:"-"` // of a server: those that it is granted to
	Shared   bool    `json:"-"` // every project may know it
}

// Seen tells whether a scope may know of the event.
func (e Event) Seen(s Scope) bool {
	switch {
	case s.All || e.Shared:
		return true
	case e.ProjectID != nil:
		return s.Sees(*e.ProjectID)
	}
	return slices.ContainsFunc(e.Projects, s.Sees)
}

// EventLog is where the log of events begins and ends: ids after First-1 up to Last are there.
type EventLog struct {
	First int64
	Last  int64
}

// Holds tells whether a reader that has seen everything up to an id can go on from there.
func (l EventLog) Holds(seen int64) bool { return seen <= l.Last && seen >= l.First-1 }

// RunningJob is a job that an agent is at work on.
type RunningJob struct {
	ID        int64
	Kind      string
	ProjectID int64
	ServerID  int64
	BackupID  int64
	RestoreID *int64
}
