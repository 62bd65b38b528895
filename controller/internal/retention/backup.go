package retention

import (
	"time"

	"devflowbackup/controller"
)

// LevelDrill is the VerifiedLevel of a backup that a restore drill passed with.
const LevelDrill = "drill"

// What a backup belonged to and is no more.
const (
	GoneSchedule = "schedule"
	GoneDatabase = "database" // or it was renamed
	GoneServer   = "server"
	GoneProject  = "project"
)

// Backup is what a plan needs to know of one row of the catalog.
type Backup struct {
	ID            int64     `json:"id"`
	ScheduleID    int64     `json:"schedule_id,omitempty"` // 0: none
	Gone          string    `json:"gone,omitempty"`        // what it belonged to is no more: GoneSchedule, GoneDatabase, …
	Type          string    `json:"type"`
	DatabaseID    int64     `json:"database_id"`
	DatabaseName  string    `json:"database_name,omitempty"`
	DatabaseType  string    `json:"database_type"`
	ServerID      int64     `json:"server_id"`
	StorageID     int64     `json:"storage_id"`
	Status        string    `json:"status"`
	Health        string    `json:"health"`
	Deleted       bool      `json:"deleted,omitempty"`        // it has a tombstone
	ReceivedAt    time.Time `json:"received_at"`              // on the controller's clock, when it was completed; never the agent's
	VerifiedLevel string    `json:"verified_level,omitempty"` // of the last verification that it passed
	FileSize      int64     `json:"file_size,omitempty"`
	Held          bool      `json:"held,omitempty"` // by a person
	HoldReason    string    `json:"hold_reason,omitempty"`
	OpenJobs      int       `json:"open_jobs,omitempty"`   // that name it: a restore, a verification
	SafetyOf      int64     `json:"safety_of,omitempty"`   // the restore in place that it was made for, while that can be undone or is at work
	LockedUntil   time.Time `json:"locked_until,omitzero"` // the store refuses its deletion until then
}

// counted tells whether it is one of those that keep a database safe: completed, healthy, not being deleted. Nothing else counts, and
// nothing else is removed.
func (b Backup) counted() bool {
	return b.Status == controller.StatusCompleted && b.Health == controller.HealthOK && !b.Deleted
}

// proven tells whether its content was read back.
func (b Backup) proven() bool {
	return b.VerifiedLevel == controller.VerifyContent || b.VerifiedLevel == LevelDrill
}

// group is what is never mixed: a flood of one kind, database or storage displaces nothing of another.
type group struct {
	kind                                string
	schedule, database, server, storage int64
	databaseType, databaseName          string
}

func (b Backup) group() group {
	g := group{
		kind: b.Type, database: b.DatabaseID, server: b.ServerID, storage: b.StorageID, databaseType: b.DatabaseType, databaseName: b.DatabaseName,
	}
	if b.Type == controller.TypeScheduled {
		g.schedule = b.ScheduleID
	}
	return g
}
