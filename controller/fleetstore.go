package controller

import (
	"encoding/json"
	"time"

	"devflowbackup/shared/wire"
)

// What the fleet and the catalog say to each other. The catalog's methods are one transaction each; the fleet never writes SQL.

// Offer is an attempt to deliver: its row is committed before anything is created at the store or sent.
type Offer struct {
	Attempt     wire.Attempt
	Kind        string // wire.JobBackup, …
	Server      Server
	ProjectID   int64
	MaxDuration time.Duration // the job's; of an urgent one no more than is left until its deadline

	Backup  Backup         // made by a backup, read by the others
	Storage *StorageAccess // of the artifact

	// AttemptID is the attempt that makes the artifact or made it: its keys are derived from it.
	AttemptID string

	// Backup jobs.
	Key          string
	UploadID     string // empty: still to be created
	PartSize     int64
	DatabaseName string
	Recipients   []string // project and escrow

	// Restore of jobs that make, undo, settle or tidy up after one.
	Restore *Restore

	// Verify and restore jobs.
	Level   string
	Objects []StoredObject // artifact and side objects of the backup
	Record  Record         // of the same rows
}

// StoredObject is one object of a completed backup.
type StoredObject struct {
	Object       string
	Key          string
	StoredSize   int64
	StoredSHA256 string
	RawSize      int64
	RawSHA256    string
	ETag         string
	VersionID    string
	AgeHeader    []byte
	MAC          []byte // with aes-256-cbc: HMAC-SHA-256 over the stored SHA-256
	// LockedUntil is how long the store refuses to delete this version; zero: it is not locked.
	LockedUntil time.Time
	// Archived tells that the store has to bring it back before it can be read.
	Archived bool
}

// PartTarget is what a part request may be signed for.
type PartTarget struct {
	StorageID int64
	Key       string // of the object that was asked for
	UploadID  string
	PartSize  int64
	Checksum  string // wire.ChecksumSHA256 or ChecksumMD5
}

// ReadTarget is what a read request may be signed for.
type ReadTarget struct {
	StorageID int64
	Object    StoredObject
}

// UploadedPart is a part as signed and acknowledged.
type UploadedPart struct {
	Number int
	Size   int64
	SHA256 []byte
	MD5    []byte
	ETag   string
}

// Finishing is a backup whose agent's part is over: the controller completes it.
type Finishing struct {
	Attempt    wire.Attempt
	Backup     Backup
	Project    Project
	Server     Server
	StorageID  int64
	AttemptID  string
	Key        string
	UploadID   string
	PartSize   int64
	Checksum   string // that the parts were ordered with: wire.ChecksumSHA256 or ChecksumMD5; empty where local
	Statement  []byte // signed, checked when it was received
	Parts      []UploadedPart
	Tries      int
	ReceivedAt time.Time
}

// Finished is what completing found: the facts of the completed row.
type Finished struct {
	Objects   []StoredObject // artifact first; age headers set where encrypted
	Manifest  []byte
	Composite string
	Metadata  json.RawMessage
	FileName  string
}

// DeadUpload is an attempt that ended without success and whose key and upload are not yet seen gone.
type DeadUpload struct {
	Attempt   wire.Attempt
	Server    Server // that ran it; where the storage is local, what is left lies there
	StorageID int64
	Key       string
	UploadID  string
	URLsOpen  bool // a presigned URL may still be valid
	// FailureCode is why the attempt ended: what lies at the key of a wire.CodeForeignObject is not ours to delete.
	FailureCode string
}

// Deletion is a tombstoned backup whose grace has passed.
type Deletion struct {
	Backup    int64
	Server    Server // the backup's; where the storage is local, it lies there
	StorageID int64
	Keys      []string // every object of the artifact, the manifest too
}

// HelloResult is what a hello decided.
type HelloResult struct {
	Superseded    bool           // this session is an old one: refuse, raise duplicate_agent
	Drop          []wire.Attempt // fenced attempts that the agent still holds
	Lost          []wire.Attempt // attempts that the agent no longer holds: they are lost now
	WantInventory bool
	Replaced      string // the session that this hello superseded, empty if none or the same
}

// SweepResult counts what one sweep changed.
type SweepResult struct {
	Suspect, Lost, Requeued, TimedOut, Expired, Offline int
	// Rows in work that nothing worked on any more: jobs without their attempt; backups and restores without a job; pages of lists that
	// an agent never sent to the end.
	Orphaned, Stuck, Pages int
	// Restores in place that failed with their safety backup; jobs made that settle a target, and that remove what was kept.
	Unsafe, Settle, Discard int
}

// AgentBeat is one agent's heartbeat, as a controller batches them.
type AgentBeat struct {
	AgentID string
	Session string
	Host    wire.Host
	Running []wire.Progress
}

// Ordered is what an attempt was told to make, as its row says: a signed statement is held against it.
type Ordered struct {
	Attempt    wire.Attempt
	Server     Server
	Backup     Backup
	StorageID  int64
	AttemptID  string
	Key        string
	UploadID   string
	PartSize   int64
	Checksum   string // wire.ChecksumSHA256 or ChecksumMD5; empty where Local
	Recipients []string
	Codec      wire.Codec
	Local      bool // into the host's own backup directory: no parts
}

// CancelDue is an open attempt whose job shall stop.
type CancelDue struct {
	Attempt wire.Attempt
	AgentID string
	Session string
	Reason  string
}
