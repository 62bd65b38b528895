package fleet

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// Store is the catalog as the fleet uses it. Each method is one transaction on Postgres's clock and may be repeated.
// A refusal that the agent must hear is a *wire.Failure; a catalog that cannot be reached is a controller.EUnavailable.
type Store interface {
	// Hello is given the key by which the broker knows who speaks, empty where the broker does not tell.
	Hello(ctx context.Context, agentID, key, session string, h wire.Hello) (controller.HelloResult, controller.Server, error)
	Heartbeats(ctx context.Context, beats []controller.AgentBeat) ([]wire.Attempt, error)
	Inventory(ctx context.Context, agentID, session string, inv wire.Inventory) error
	// RecordDiffers marks a backup whose rows are not what was signed as corrupt, with the reason and a security event.
	RecordDiffers(ctx context.Context, backup int64, reason string) error
	AddSecurityEvent(ctx context.Context, agentID, kind, detail string, count int64) error

	ClaimOffers(ctx context.Context, limit int) ([]controller.Offer, error)
	SetUpload(ctx context.Context, a wire.Attempt, uploadID string) (string, error)
	ReleaseOffer(ctx context.Context, a wire.Attempt, delay time.Duration, waiting string) error
	AttemptAccepted(ctx context.Context, a wire.Attempt, session string) error
	FailOffer(ctx context.Context, a wire.Attempt, fail *wire.Failure) error

	SignPart(ctx context.Context, agentID, session string, req wire.PartRequest, expires time.Duration) (controller.PartTarget, error)
	SignRead(ctx context.Context, agentID, session string, req wire.ReadRequest) (controller.ReadTarget, error)
	AttemptOrder(ctx context.Context, agentID, session string, a wire.Attempt) (*controller.Ordered, error)
	ReportUploaded(ctx context.Context, agentID, session string, r wire.Report) error
	ReportDone(ctx context.Context, agentID, session string, r wire.Report) error

	ClaimFinishing(ctx context.Context, limit int) ([]controller.Finishing, error)
	ExtendClaim(ctx context.Context, a wire.Attempt) error
	CompleteBackup(ctx context.Context, a wire.Attempt, done controller.Finished) error
	RetryFinish(ctx context.Context, a wire.Attempt, delay time.Duration, why *wire.Failure) error
	FailFinish(ctx context.Context, a wire.Attempt, fail *wire.Failure) error

	Sweep(ctx context.Context) (controller.SweepResult, error)
	CancelsDue(ctx context.Context) ([]controller.CancelDue, error)
	DeadUploads(ctx context.Context, limit int) ([]controller.DeadUpload, error)
	UploadSwept(ctx context.Context, a wire.Attempt) error
	UploadSweepLater(ctx context.Context, a wire.Attempt, delay time.Duration) error
	DueDeletions(ctx context.Context, limit int) ([]controller.Deletion, error)
	DeletionDone(ctx context.Context, backup int64) error
	DeletionLater(ctx context.Context, backup int64, delay time.Duration, reason string) error
	DeletionLocked(ctx context.Context, backup int64, until time.Time) error

	StorageAccess(ctx context.Context, id int64) (controller.StorageAccess, error)
	UpdateProbe(ctx context.Context, id int64, report json.RawMessage, ok bool, checksumMode string) error
	// NewestObject is the key of the newest artifact that the catalog has on a storage, empty if there is none.
	NewestObject(ctx context.Context, storage int64) (key string, err error)
	ProjectIdentitySecret(ctx context.Context, project int64) ([]byte, error)
	// ProjectAppKey is the text that aes-256-cbc keys are derived from; it is made if the project has none.
	ProjectAppKey(ctx context.Context, project int64) ([]byte, error)
	Servers(ctx context.Context, actor controller.Actor, f controller.ServerFilter) ([]controller.Server, error)
}

// Storages opens object stores.
type Storages interface {
	// Open returns the store of a storage row. Storages opened before stay usable for what is at work on them.
	Open(access controller.StorageAccess) (Objects, error)
	// Probe tries a storage as access describes it, beside whatever is open. A storage that does not pass is a result, not an error.
	// With holds, it passes only if an object lies at that key.
	Probe(ctx context.Context, access controller.StorageAccess, holds string) (ProbeResult, error)
}

// ProbeResult is what a probe of a storage found.
type ProbeResult struct {
	Report       json.RawMessage // each step with result and milliseconds
	OK           bool
	ChecksumMode string
	Summary      string // the failing step, or empty
}

// Outcomes of Objects.Settle.
const (
	SettleDone    = "done"    // the store shows the object as the statement describes it
	SettleRetry   = "retry"   // nothing is decided; settle again later
	SettleLost    = "lost"    // object and upload are both gone
	SettleRefused = "refused" // what was uploaded is not what the statement lists
	SettleForeign = "foreign" // an object that is not ours is at the key
)

// Objects is one object store. Every error is a *wire.Failure with a storage code, or the context's. Of a store that cannot be
// reached because its host's agent is not connected it is CodeOffline.
type Objects interface {
	CreateUpload(ctx context.Context, key string) (string, error)
	// AbortUpload removes one upload at the key, and no other. One that is not there is no error.
	AbortUpload(ctx context.Context, key, uploadID string) error
	// AbortUploads removes every upload at the key. None is no error.
	AbortUploads(ctx context.Context, key string) error
	SignPart(ctx context.Context, key, uploadID string, req wire.PartRequest, expires time.Duration) (wire.Grant, error)
	SignPut(ctx context.Context, key string, req wire.PartRequest, expires time.Duration) (wire.Grant, error)
	SignRead(ctx context.Context, object controller.StoredObject, offset, length int64, expires time.Duration) (wire.Grant, error)
	// SignLink returns a URL that a browser opens as it is; what it gets is saved under fileName.
	SignLink(ctx context.Context, object controller.StoredObject, fileName string, expires time.Duration) (string, error)
	// Settle completes an upload and proves by HEAD that the object has this size and composite checksum.
	Settle(ctx context.Context, key, uploadID string, parts []controller.UploadedPart, size int64, composite string) (outcome string, object controller.StoredObject, err error)
	// ReadStart returns the first bytes of the object, at most n, if its ETag is still the same.
	ReadStart(ctx context.Context, key, etag string, n int64) ([]byte, error)
	// Read reads an object from offset to its recorded end, going on after a break. io.EOF comes after exactly so many bytes. That they
	// are the right ones is the caller's to prove; an object of another size is an *artifact.DamageError.
	Read(ctx context.Context, object controller.StoredObject, offset int64) (io.ReadCloser, error)
	// Get returns a whole small object of at most limit bytes.
	Get(ctx context.Context, key string, limit int64) ([]byte, error)
	Head(ctx context.Context, key string) (controller.StoredObject, error)
	// List returns a page of what lies below a prefix, which ends with "backups/"; ListUploads one of the uploads that are open there.
	// Next is empty at first, then what the page before says. Some stores list no uploads by a prefix.
	List(ctx context.Context, prefix, next string) (controller.ListedPage, error)
	ListUploads(ctx context.Context, prefix, next string) (controller.UploadPage, error)
	Put(ctx context.Context, key string, body []byte, contentType string) (controller.StoredObject, error)
	// Delete removes every version of the key, Gone tells that none is left. What the store has locked is CodeLocked; its cause is a
	// *LockedError.
	Delete(ctx context.Context, key string) error
	Gone(ctx context.Context, key string) (bool, error)
}

// LockedError is a deletion that the store refuses until a time.
type LockedError struct {
	Until time.Time
	Err   error
}

func (e *LockedError) Error() string { return e.Err.Error() }
func (e *LockedError) Unwrap() error { return e.Err }
