package controller

import (
	"math"
	"time"

	"devflowbackup/shared/wire"
)

// Status of a job.
//
//	queued ──► running ──► finishing ──► completed
//	   ▲          │            │
//	   └──────────┴────────────┘   a retryable end, while attempts and deadline allow
//	   any open state ──► failed | cancelled | timed_out
//
// Terminal states never change.
const (
	JobQueued    = "queued"
	JobRunning   = "running"
	JobFinishing = "finishing"
	JobCompleted = "completed"
	JobFailed    = "failed"
	JobCancelled = "cancelled"
	JobTimedOut  = "timed_out"
)

// JobKinds and JobStatuses list what a list of jobs can be limited to.
var (
	JobKinds    = []string{wire.JobBackup, wire.JobVerify, wire.JobRestore, wire.JobUndo, wire.JobSettle, wire.JobDiscard}
	JobStatuses = []string{JobQueued, JobRunning, JobFinishing, JobCompleted, JobFailed, JobCancelled, JobTimedOut, JobOpen}
)

// JobTerminal tells whether a job of that status has ended.
func JobTerminal(status string) bool {
	switch status {
	case JobQueued, JobRunning, JobFinishing:
		return false
	}
	return true
}

// Status of an attempt: offered until the agent accepted it, running until it reported, uploaded while the controller finishes a
// backup; then completed, failed, lost or cancelled for good.
const (
	AttemptOffered   = "offered"
	AttemptRunning   = "running"
	AttemptUploaded  = "uploaded"
	AttemptCompleted = "completed"
	AttemptFailed    = "failed"
	AttemptLost      = "lost"
	AttemptCancelled = "cancelled"
)

// Job is one execution.
type Job struct {
	ID                int64         `json:"id"`
	Kind              string        `json:"kind"`
	ProjectID         int64         `json:"project_id"`
	Project           string        `json:"project"`
	ServerID          int64         `json:"server_id"`
	Server            string        `json:"server"`
	BackupID          int64         `json:"backup_id"`
	DatabaseName      string        `json:"database_name"` // of the backup
	RestoreID         *int64        `json:"restore_id"`
	Level             *string       `json:"level"`
	Status            string        `json:"status"`
	AttemptNo         int           `json:"attempt_no"`
	MaxAttempts       int           `json:"max_attempts"`
	Waiting           string        `json:"waiting"`
	Failure           *wire.Failure `json:"failure"`
	CancelRequestedAt *time.Time    `json:"cancel_requested_at"`
	CreatedBy         string        `json:"created_by"`
	CreatedAt         time.Time     `json:"created_at"`
	StartedAt         *time.Time    `json:"started_at"`
	EndedAt           *time.Time    `json:"ended_at"`
	Progress          *Progress     `json:"progress,omitempty"`
	Attempts          []JobAttempt  `json:"attempts,omitempty"`
}

// JobAttempt is one try at a job, for people.
type JobAttempt struct {
	No         int              `json:"no"`
	Status     string           `json:"status"`
	Suspect    bool             `json:"suspect"`
	Failure    *wire.Failure    `json:"failure"`
	Log        string           `json:"log"`
	Millis     map[string]int64 `json:"millis"`
	CreatedAt  time.Time        `json:"created_at"`
	AcceptedAt *time.Time       `json:"accepted_at"`
	EndedAt    *time.Time       `json:"ended_at"`
}

// Retry is the rule for another attempt after one that ended without success.
type Retry struct {
	Base time.Duration // wait before the second attempt; doubles each time
	Max  time.Duration // the longest wait
}

// Wait is how long attempt number no (from 2) waits after the one before it ended.
func (r Retry) Wait(no int) time.Duration {
	d := r.Base
	for i := 2; i < no && d > 0; i++ {
		if d > r.Max/2 { // before it is doubled: it must not overflow
			return r.Max
		}
		d *= 2
	}
	return min(d, r.Max)
}

// MaxParts is how many parts an upload has at most, unless its store takes fewer.
const MaxParts = 10000

// PartSize is the smallest power of two of at least 8 MiB for which nine tenths of the parts that the store takes hold twice the
// database's size, at most 4 GiB. The last tenth is left for growth beyond twice. A store that is not known to take fewer takes
// MaxParts, of 5 GiB at most.
func PartSize(databaseBytes int64, maxParts int) int64 {
	if maxParts <= 0 || maxParts > MaxParts {
		maxParts = MaxParts
	}
	parts := max(int64(maxParts)*9/10, 1)
	size := int64(8 << 20)
	for size*parts/2 < databaseBytes && size < 4<<30 {
		size *= 2
	}
	return size
}

// UploadLimit is how many bytes an attempt may sign: four times the larger of the database and its last artifact, at least atLeast.
func UploadLimit(databaseBytes, lastArtifact, atLeast int64) int64 {
	larger := min(max(databaseBytes, lastArtifact), math.MaxInt64/4)
	return max(4*larger, atLeast)
}
