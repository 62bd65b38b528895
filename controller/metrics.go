package controller

import "time"

// Metrics are figures of the whole installation at one instant, for monitoring. None of them is secret.
type Metrics struct {
	SizeBytes     int64 // of the catalog
	Jobs          []JobCount
	Ended         []JobTotal
	Counters      []Counter
	Queues        []QueueState
	AgentVersions []AgentVersion
	Agents        []AgentState // at most MaxAgentStates, those that are offline first
	Storages      []StorageState
	Findings      []FindingCount
	Alarms        []AlarmCount
	Channels      StateCounts // active, inactive, failing
	Schedules     StateCounts // active, inactive, problem
	Controllers   StateCounts // up, silent
	Cleanup       CleanupState
}

// MaxAgentStates bounds Metrics.Agents.
const MaxAgentStates = 10_000

// StateCounts is how many there are by state.
type StateCounts map[string]int64

// JobCount is how many open jobs there are.
type JobCount struct {
	Kind, Status string
	Jobs         int64
}

// JobTotal is what became of jobs since the installation was made.
type JobTotal struct {
	Kind, Status, Code string
	Jobs               int64
	Seconds            float64
	Buckets            []int64 // by DurationBounds, not cumulative; one more than there are bounds. A job that never began is in none
	Bytes, RawBytes    int64
}

// Counter only grows.
type Counter struct {
	Name, Label string
	Value       int64
}

// QueueState is how much waits for controllers, and for how long the oldest of it does.
type QueueState struct {
	Queue  string
	Length int64
	Oldest float64 // seconds
}

// AgentVersion is how many agents there are of a version, and how many of them are online.
type AgentVersion struct {
	Version        string
	Online, Agents int64
}

// AgentState is one agent.
type AgentState struct {
	Server string
	Online bool
}

// StorageState is what is known of a storage.
type StorageState struct {
	Project, Name, Kind string
	ProbeOK             bool
	ProbedAt            *time.Time
	InventoryAt         *time.Time // of the oldest inventory of its hosts
	InventoryFailures   int64      // in a row, the most of its hosts
	Backups, Bytes      int64
}

// FindingCount is how much lies on a storage that belongs to no backup.
type FindingCount struct {
	Project, Name, Kind string
	Findings            int64
}

// AlarmCount is how many alarms are open.
type AlarmCount struct {
	Kind, Severity string
	Alarms         int64
}

// CleanupState is the last daily clean-up that has ended, and what all clean-ups removed.
type CleanupState struct {
	EndedAt                 *time.Time // null: none has
	Kept, Postponed, Failed int64
	Erred                   bool
	Removed, RemovedBytes   int64 // by all of them
}
