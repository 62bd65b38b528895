package wire

import (
	"errors"
	"fmt"
)

// Failure codes. They are stable: operators search for them, the panel maps them, tests name them.
const (
	CodeAuth               = "auth"                // the database server refused the login
	CodeTLS                = "tls"                 // certificate or host name did not verify
	CodePrivilege          = "privilege"           // the account lacks a right
	CodeDatabaseMissing    = "db_missing"          // no database of that name
	CodeDatabaseDown       = "db_unreachable"      // no connection to the database server
	CodeNotAllowed         = "not_allowed"         // the agent's own configuration forbids it
	CodeUnknownInstance    = "unknown_instance"    // the agent's configuration has no such instance
	CodeToolMissing        = "tool_missing"        // no dump or restore tool installed
	CodeToolTooOld         = "tool_too_old"        // the tool's major version is older than the server's or the dump's
	CodeToolFailed         = "tool_failed"         // the tool ended with an error
	CodeIncompleteDump     = "incomplete_dump"     // the tool ended with success but without its end mark
	CodeEmptyDump          = "empty_dump"          // no byte came
	CodeStalled            = "stalled"             // the tool gave no byte for the stall timeout
	CodeTimedOut           = "timed_out"           // max_duration passed
	CodeLockTimeout        = "lock_timeout"        // a table lock was not had in time
	CodeCancelled          = "cancelled"           // someone cancelled the job
	CodeInterrupted        = "interrupted"         // the agent stopped
	CodeLost               = "lost"                // the agent vanished with the attempt
	CodeUploadStalled      = "upload_stalled"      // the store or the controller could not be reached for too long
	CodeStorageUnavailable = "storage_unavailable" // the store answered with errors beyond the retry budget
	CodeStorageDenied      = "storage_denied"      // the store refused the credentials or the bucket
	CodeLocked             = "locked"              // the store refuses the deletion until a date
	CodeUploadLost         = "upload_lost"         // object and upload are both gone from the store
	CodeForeignObject      = "foreign_object"      // an object that is not ours lies at the key
	CodeChecksum           = "checksum"            // stored bytes differ from the signed statement
	CodeCorrupt            = "corrupt"             // an artifact is damaged
	CodeMissing            = "missing"             // an artifact is gone
	CodeArchived           = "archived"            // an artifact lies in an archive of its store and has to be brought back first
	CodeOrphaned           = "orphaned"            // a row was found in work, and nothing worked on it
	CodeRecord             = "record_differs"      // the catalog's row of a backup differs from its signed manifest
	CodeWrongKey           = "wrong_key"           // no key opens the artifact
	CodeForeignHeader      = "foreign_header"      // the age header belongs to another backup or does not open
	CodeStatement          = "statement_refused"   // the signed statement differs from what was ordered
	CodeLimit              = "limit"               // more bytes than the attempt may upload
	CodeTargetExists       = "target_exists"       // the restore target is already there
	CodeTargetChanged      = "target_changed"      // the restore target is not the one that was looked at
	CodeTargetInUse        = "target_in_use"       // other sessions are at the restore target
	CodeTargetUnfit        = "target_unfit"        // something at the restore target would stop the restore
	CodeSafetyBackup       = "safety_backup"       // the backup of the target that was to be made first was not
	CodeFingerprint        = "fingerprint_differs" // restored content differs from the backup's description
	CodeSuperuser          = "superuser_restore"   // the restore account has rights that a dump must never get
	CodeDiskFull           = "disk_full"
	CodeStale              = "stale_attempt" // the attempt's token no longer stands
	CodeSuperseded         = "superseded"    // a newer session of the same agent has started
	CodeRevoked            = "revoked"       // the server is revoked or unknown
	CodeBadRequest         = "bad_request"   // the message does not make sense
	CodeUnknownVerb        = "unknown_verb"  // this side does not know the verb
	CodeUnavailable        = "unavailable"   // the controller cannot answer now; ask again
	CodeBusy               = "busy"          // the agent is at its concurrency limit; the job is queued by the controller
	CodeNotSigned          = "not_signed"    // a directive without a valid signature
	CodeOffline            = "agent_offline" // the server's agent is not connected
	CodeInternal           = "internal"
)

// Stages of an attempt, in Failure.Stage and Progress.Stage.
const (
	StagePrepare  = "prepare"
	StageDump     = "dump"
	StageUpload   = "upload"
	StageFinish   = "finish"
	StageDownload = "download"
	StageVerify   = "verify"
	StageRestore  = "restore"
	StagePublish  = "publish"
	StageSwap     = "swap"
)

// Failure is an outcome with a stable code, where it happened, a sentence for the operator and what to do about it.
// It holds no secret. Retryable says that a new attempt may succeed without anyone acting.
type Failure struct {
	Code      string `json:"code"`
	Stage     string `json:"stage,omitempty"`
	Message   string `json:"message"`
	Hint      string `json:"hint,omitempty"`
	Retryable bool   `json:"retryable,omitempty"`

	cause error
}

// Failf makes a Failure; its %w operands become its cause.
func Failf(code, format string, args ...any) *Failure {
	err := fmt.Errorf(format, args...)
	cause := errors.Unwrap(err)
	if _, several := err.(interface{ Unwrap() []error }); several { //nolint:errorlint // what Errorf itself made is meant
		cause = err
	}
	return &Failure{Code: code, Message: err.Error(), cause: cause}
}

// WithHint sets what to do about it.
func (f *Failure) WithHint(format string, args ...any) *Failure {
	f.Hint = fmt.Sprintf(format, args...)
	return f
}

// Retry marks the failure as one that a new attempt may not meet.
func (f *Failure) Retry() *Failure {
	f.Retryable = true
	return f
}

// At sets the stage unless it is set.
func (f *Failure) At(stage string) *Failure {
	if f.Stage == "" {
		f.Stage = stage
	}
	return f
}

func (f *Failure) Error() string {
	if f.Hint == "" {
		return f.Message
	}
	return f.Message + " (" + f.Hint + ")"
}

// Unwrap is the cause, for errors.Is and errors.As. It does not travel.
func (f *Failure) Unwrap() error { return f.cause }

// AsFailure finds the Failure in err, or makes a retryable internal one of it. A nil err gives nil.
func AsFailure(err error) *Failure {
	if err == nil {
		return nil
	}
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	return &Failure{Code: CodeInternal, Message: err.Error(), Retryable: true, cause: err}
}

// HasCode tells whether err is, or wraps, a Failure with the code.
func HasCode(err error, code string) bool {
	var f *Failure
	return errors.As(err, &f) && f.Code == code
}
