package controller

import (
	"encoding/json"
	"slices"
	"time"

	"devflowbackup/shared/wire"
)

// Types of backups.
const (
	TypeManual    = "manual"
	TypeScheduled = "scheduled"
	TypePreDeploy = "pre_deploy"
	// TypePreRestore is of a backup of what a restore in place is about to replace. Only a restore makes it.
	TypePreRestore = "pre_restore"
)

// Status of a backup or a restore, in the panel's words.
const (
	StatusPending   = "pending"
	StatusRunning   = "running"
	StatusCompleted = "completed"
	StatusFailed    = "failed"
)

// Statuses lists them.
var Statuses = []string{StatusPending, StatusRunning, StatusCompleted, StatusFailed}

// Health of a completed backup's artifact.
const (
	HealthOK       = "ok"
	HealthMissing  = "missing"
	HealthCorrupt  = "corrupt"
	HealthArchived = "archived"
	HealthDeleting = "deleting"
)

// Durations of jobs.
const (
	DefaultMaxDuration = time.Hour
	MaxMaxDuration     = 7 * 24 * time.Hour
	PreDeployDeadline  = 15 * time.Minute
	DefaultDeadline    = 24 * time.Hour // a job that no agent took by then has failed
)

// Backup is the catalog's row of one artifact.
type Backup struct {
	ID             int64           `json:"id"`
	ProjectID      int64           `json:"project_id"`
	Project        string          `json:"project"` // slug
	ServerID       int64           `json:"server_id"`
	Server         string          `json:"server"`
	DatabaseID     int64           `json:"database_id"`
	Instance       string          `json:"instance"`
	DatabaseType   string          `json:"database_type"`
	DatabaseName   string          `json:"database_name"`
	Type           string          `json:"type"`
	ScheduleID     *int64          `json:"schedule_id"`
	OccurrenceAt   *time.Time      `json:"occurrence_at"` // of its schedule
	RetryOf        *int64          `json:"retry_of"`
	Status         string          `json:"status"`
	Health         string          `json:"health"`
	HealthReason   string          `json:"health_reason"` // why it is not ok, and what to do
	HealthAt       *time.Time      `json:"health_at"`
	StorageID      int64           `json:"storage_id"`
	Storage        string          `json:"storage"`
	StorageDisk    string          `json:"storage_disk"`
	SameHost       bool            `json:"same_host"` // it lies on the host of its database, and is lost with it
	Compression    string          `json:"compression"`
	Level          int             `json:"level"`
	Encryption     string          `json:"encryption"`
	FileName       string          `json:"file_name"`
	FilePath       string          `json:"file_path"`
	FileSize       *int64          `json:"file_size"` // stored bytes
	Checksum       *string         `json:"checksum"`  // SHA-256 of the stored bytes
	RawSize        *int64          `json:"raw_size"`
	RawChecksum    *string         `json:"raw_checksum"`
	Metadata       json.RawMessage `json:"metadata"`
	StartedAt      *time.Time      `json:"started_at"`
	CompletedAt    *time.Time      `json:"completed_at"`
	VerifiedAt     *time.Time      `json:"verified_at"`
	VerifiedLevel  *string         `json:"verified_level"`
	VerifiedByHost bool            `json:"verified_by_host"` // only by the host that made it
	VerifyAfter    string          `json:"verify_after"`     // none, checksum, content: what follows its completion
	HeldAt         *time.Time      `json:"held_at"`          // it is not deleted while someone holds it
	HeldBy         string          `json:"held_by"`
	HoldReason     string          `json:"hold_reason"`
	LockedUntil    *time.Time      `json:"locked_until"` // its storage refuses to delete it until then
	ErrorCode      *string         `json:"error_code"`
	ErrorMessage   *string         `json:"error_message"`
	ErrorHint      *string         `json:"error_hint"`
	DeletedAt      *time.Time      `json:"deleted_at"`
	DeleteReason   *string         `json:"delete_reason"`
	DeleteAfter    *time.Time      `json:"delete_after"`
	PurgedAt       *time.Time      `json:"purged_at"`
	CreatedAt      time.Time       `json:"created_at"`
	JobID          int64           `json:"job_id"` // the job that makes or made it
	JobStatus      string          `json:"job_status"`
	Waiting        string          `json:"waiting"` // why it has not started, or why it is not yet gone from its storage
	Attempt        int             `json:"attempt"`
	Progress       *Progress       `json:"progress,omitempty"` // while it runs
	Display        BackupDisplay   `json:"display"`            // for people
}

// Progress is how far a running job is.
type Progress struct {
	Stage       string `json:"stage"`
	RawBytes    int64  `json:"raw_bytes"`
	StoredBytes int64  `json:"stored_bytes"`
	TotalBytes  int64  `json:"total_bytes"` // an estimate
}

// Restorable tells whether a restore may be made from the backup.
func (b Backup) Restorable() bool {
	return b.Status == StatusCompleted && b.Health == HealthOK && b.DeletedAt == nil
}

// BackupRequest asks for backups: of one database, of every database assigned to a project, or of all projects.
type BackupRequest struct {
	Project     string // slug, id or external id; empty: all projects
	Database    string // exact name or id; empty: each assigned one
	Server      string // name or id, where the name alone is ambiguous
	Instance    string
	Type        string // default manual
	Storage     string // name or id; default: the project's, else the installation's default
	StorageDisk string // s3, local; without Storage the default of that kind
	Encryption  string // age, aes-256-cbc, none; default: the project's
	Encrypt     *bool  // the panel's switch, instead of Encryption
	Compression string // zstd, gzip, none; default zstd
	Level       int    // 1–19 for zstd, 1–9 for gzip; 0 is the codec's default
	MaxDuration time.Duration
	VerifyAfter string // none, checksum, content; default none
}

// Validate fills defaults and names the first field that is wrong.
func (r *BackupRequest) Validate() error {
	if r.Type == "" {
		r.Type = TypeManual
	}
	if !slices.Contains([]string{TypeManual, TypeScheduled, TypePreDeploy}, r.Type) {
		return Invalid("type", "%q is not allowed; use manual, scheduled or pre_deploy", r.Type)
	}
	if r.StorageDisk != "" && !slices.Contains(StorageKinds, r.StorageDisk) {
		return Invalid("storage_disk", "%q is not allowed; use %s", r.StorageDisk, orList(StorageKinds))
	}
	if r.Encryption != "" {
		if err := validEncryption("encryption", r.Encryption); err != nil {
			return err
		}
		if r.Encrypt != nil {
			return Invalid("encrypt", "is not allowed beside encryption %q; leave one of them out", r.Encryption)
		}
	}
	if r.Compression == "" {
		r.Compression = CompressionZstd
	}
	if err := validCompression(r.Compression, r.Level); err != nil {
		return err
	}
	if r.VerifyAfter == "" {
		r.VerifyAfter = VerifyNone
	}
	if !slices.Contains(VerifyLevels, r.VerifyAfter) {
		return Invalid("verify_after", "%q is not allowed; use %s", r.VerifyAfter, orList(VerifyLevels))
	}
	if r.MaxDuration == 0 {
		r.MaxDuration = DefaultMaxDuration
	}
	if r.MaxDuration < time.Second || r.MaxDuration > MaxMaxDuration {
		return Invalid("max_duration_seconds", "%d is not allowed; use 1 to %d", int64(r.MaxDuration.Seconds()), int64(MaxMaxDuration.Seconds()))
	}
	return nil
}

// EncryptionFor is the encryption of a project's backup: what was asked for, else the project's. The panel's switch means the project's
// codec or, where that is none, aes-256-cbc.
func (r BackupRequest) EncryptionFor(p Project) string {
	switch {
	case r.Encryption != "":
		return r.Encryption
	case r.Encrypt == nil:
		return p.DefaultEncryption
	case !*r.Encrypt:
		return EncryptionNone
	case p.DefaultEncryption == EncryptionNone:
		return EncryptionAES
	}
	return p.DefaultEncryption
}

// BackupFilter selects backups, newest first.
type BackupFilter struct {
	Project  string
	Database string
	Server   string
	Status   string
	Type     string
	Health   string
	Engine   string
	Storage  string // name or id; a deleted one too
	Verified *bool
	Schedule int64
	Held     *bool
	Deleted  bool // include tombstones and closed rows
	Between
	Sort      string // of a numbered page; default SortCreated
	Ascending bool
	BeforeID  int64 // cursor: ids below it; 0 starts at the newest
	Limit     int   // 1–200, default 50
	NumberedPage
}

// Between bounds when rows were made. Nil is no bound.
type Between struct {
	Since *time.Time
	Until *time.Time // before it
}

// VerifyRequest asks for verifications: of one backup, of all completed and unverified ones, or of all completed ones of a project.
type VerifyRequest struct {
	Backup  int64
	All     bool
	Project string
	Level   string // default checksum
}

// Validate fills defaults and names the first field that is wrong.
func (r *VerifyRequest) Validate() error {
	if r.Backup == 0 && !r.All && r.Project == "" {
		return Invalid("backup", "is missing; give a backup's id, all, or a project")
	}
	if r.Level == "" {
		r.Level = wire.LevelChecksum
	}
	if r.Level != wire.LevelChecksum && r.Level != wire.LevelContent {
		return Invalid("level", "%q is not allowed; use checksum or content", r.Level)
	}
	return nil
}

// DeleteRequest asks to delete one backup.
type DeleteRequest struct {
	Backup  int64
	Reason  string
	Grace   time.Duration // negative: the installation's grace
	Confirm string        // the database's name, where it is the last good backup
}
