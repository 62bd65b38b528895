package wire

import "encoding/json"

// Request is what an agent sends to controllers. The broker's permissions prove the server in the subject; ID comes back in
// the signed reply.
type Request struct {
	V       int             `json:"v"`
	ID      string          `json:"id"`
	Session string          `json:"session"`
	Body    json.RawMessage `json:"body"`
}

// Attempt identifies one try at one job. Token is the fence: 128 random bits that stand for as long as the attempt does.
type Attempt struct {
	Job   int64  `json:"job"`
	No    int    `json:"no"`
	Token string `json:"token"`
}

// Hello is the first request of a session and follows every reconnect.
type Hello struct {
	Protocol      int       `json:"protocol"`
	AgentVersion  string    `json:"agent_version"`
	Host          Host      `json:"host"`
	Attempts      []Attempt `json:"attempts"`       // what the journal holds: running, or ended and not yet reported
	InventoryHash string    `json:"inventory_hash"` // of the last discovery, empty before the first
	KeySet        int       `json:"key_set"`        // pinned version
	Concurrency   int       `json:"concurrency"`    // jobs that run side by side
}

// Welcome answers Hello.
type Welcome struct {
	Drop             []Attempt     `json:"drop,omitempty"` // fenced: stop them and forget them
	WantInventory    bool          `json:"want_inventory,omitempty"`
	HeartbeatSeconds int           `json:"heartbeat_seconds"`
	LeaseMaxSeconds  int           `json:"lease_max_seconds"` // after that long without a controller the agent cancels its attempts
	KeySet           *SignedKeySet `json:"key_set,omitempty"`
}

// Host describes the machine that an agent runs on.
type Host struct {
	Hostname    string `json:"hostname"`
	OS          string `json:"os"`
	Arch        string `json:"arch"`
	Kernel      string `json:"kernel,omitempty"`
	CPUs        int    `json:"cpus"`
	MemoryBytes int64  `json:"memory_bytes,omitempty"`
	DiskFree    int64  `json:"disk_free,omitempty"`
	LoadMilli   int64  `json:"load_milli,omitempty"` // 1-minute load average × 1000
	Uptime      int64  `json:"uptime_seconds,omitempty"`
	// Local is the directory for backups on the host itself, nil if its configuration names none.
	Local *LocalDir `json:"local,omitempty"`
}

// LocalDir is a host's backup directory.
type LocalDir struct {
	Dir        string `json:"dir"`
	FreeBytes  int64  `json:"free_bytes"`
	TotalBytes int64  `json:"total_bytes"`
	MinFree    int64  `json:"min_free"` // a backup stops before less is left
	Error      string `json:"error,omitempty"`
}

// Heartbeat keeps leases alive. It is published, not answered.
type Heartbeat struct {
	V       int        `json:"v"`
	Session string     `json:"session"`
	Host    Host       `json:"host"`
	Running []Progress `json:"running"`
}

// Progress is the state of one running attempt, published each second for live views and carried by heartbeats.
type Progress struct {
	V           int     `json:"v,omitempty"`
	Session     string  `json:"session,omitempty"`
	Attempt     Attempt `json:"attempt"`
	Stage       string  `json:"stage"`
	RawBytes    int64   `json:"raw_bytes"`
	StoredBytes int64   `json:"stored_bytes"`
	TotalBytes  int64   `json:"total_bytes,omitempty"` // an estimate of RawBytes at the end, or of StoredBytes when reading
}

// Engines.
const (
	EnginePostgreSQL = "postgresql"
	EngineMySQL      = "mysql"
	EngineSQLite     = "sqlite"
)

// Inventory lists what discovery found, one page at a time; the controller replaces its list when the last page arrived.
type Inventory struct {
	Hash      string     `json:"hash"`
	Page      int        `json:"page"` // from 0
	Last      bool       `json:"last"`
	Instances []Instance `json:"instances,omitempty"` // with page 0
	Databases []Database `json:"databases"`
}

// Instance is one database server in the agent's configuration.
type Instance struct {
	Name    string `json:"name"`
	Engine  string `json:"engine"`
	Version string `json:"version,omitempty"`
	Error   string `json:"error,omitempty"` // why it could not be looked at
	Restore bool   `json:"restore"`         // the host allows restores into new databases here
}

// Database is one database found by discovery.
type Database struct {
	Instance      string   `json:"instance"`
	Engine        string   `json:"engine"`
	Name          string   `json:"name"`
	SizeBytes     int64    `json:"size_bytes"`
	ServerVersion string   `json:"server_version"`
	Extensions    []string `json:"extensions,omitempty"`
}

// Kinds of jobs that an agent runs.
const (
	JobBackup  = "backup"
	JobVerify  = "verify"
	JobRestore = "restore"
)

// Job orders one attempt. Exactly the order of its Kind is set.
type Job struct {
	Attempt            Attempt       `json:"attempt"`
	Kind               string        `json:"kind"`
	MaxDurationSeconds int64         `json:"max_duration_seconds"`
	Backup             *BackupOrder  `json:"backup,omitempty"`
	Verify             *VerifyOrder  `json:"verify,omitempty"`
	Restore            *RestoreOrder `json:"restore,omitempty"`
}

// Accepted is the agent's answer to a Job, sent after the job is in its journal; or Failure, and nothing was kept.
// It is not signed: the broker lets only this agent answer.
type Accepted struct {
	V       int      `json:"v"`
	Session string   `json:"session"`
	Failure *Failure `json:"failure,omitempty"`
}

// Codec names how an artifact's objects are encoded.
type Codec struct {
	Compression string   `json:"compression"`
	Level       int      `json:"level,omitempty"`
	Encryption  string   `json:"encryption"`
	Recipients  []string `json:"recipients,omitempty"`
}

// Part checksums, by what the storage's probe found.
const (
	ChecksumSHA256 = "sha256"
	ChecksumMD5    = "md5"
)

// BackupOrder orders a backup to S3, or to the host's own directory.
type BackupOrder struct {
	AttemptID string `json:"attempt_id"` // 80 random bits, in the file name
	Instance  string `json:"instance"`
	Engine    string `json:"engine"`
	Database  string `json:"database"`
	Key       string `json:"key"` // object key of the artifact
	Codec     Codec  `json:"codec"`
	PartSize  int64  `json:"part_size"` // 0 with Local
	Checksum  string `json:"checksum"`  // empty with Local
	Local     bool   `json:"local,omitempty"`
	// SealedKeys holds, for aes-256-cbc, the SealedKey of each object, encrypted to the agent's recipient.
	SealedKeys map[string][]byte `json:"sealed_keys,omitempty"`
}

// Objects of an artifact.
const (
	ObjectArtifact    = "artifact"
	ObjectFingerprint = "fingerprint"
	ObjectGlobals     = "globals"
)

// PartRequest asks for the URL of one part of the artifact (Number from 1), or of a side object (Number 0).
// Done tells which parts the store has acknowledged since the last request.
type PartRequest struct {
	Attempt Attempt    `json:"attempt"`
	Object  string     `json:"object"`
	Number  int        `json:"number"`
	Size    int64      `json:"size"`
	SHA256  []byte     `json:"sha256"`
	MD5     []byte     `json:"md5,omitempty"` // with ChecksumMD5
	Done    []PartDone `json:"done,omitempty"`
}

// PartDone is the store's acknowledgement of a part.
type PartDone struct {
	Number int    `json:"number"`
	ETag   string `json:"etag"`
}

// Grant is a presigned request: sent exactly so, before it expires.
type Grant struct {
	Method           string            `json:"method"`
	URL              string            `json:"url"`
	Headers          map[string]string `json:"headers"`
	ExpiresInSeconds int               `json:"expires_in_seconds"`
}

// ReadRequest asks for a URL that reads [Offset, Offset+Length) of an object of the attempt's source.
type ReadRequest struct {
	Attempt Attempt `json:"attempt"`
	Object  string  `json:"object"`
	Offset  int64   `json:"offset"`
	Length  int64   `json:"length"`
}

// Source is an artifact to read.
type Source struct {
	BackupID    int64         `json:"backup_id"`
	Engine      string        `json:"engine"`
	Database    string        `json:"database"`
	ToolVersion string        `json:"tool_version"` // of the tool that dumped
	Codec       Codec         `json:"codec"`
	Local       bool          `json:"local,omitempty"` // the objects lie in the reading host's own directory
	Artifact    SourceObject  `json:"artifact"`
	Fingerprint *SourceObject `json:"fingerprint,omitempty"`
}

// SourceObject is one object of a Source: what it must be, and its key, sealed to the reading agent.
type SourceObject struct {
	StoredSize   int64  `json:"stored_size"`
	StoredSHA256 string `json:"stored_sha256"`
	RawSize      int64  `json:"raw_size"`
	RawSHA256    string `json:"raw_sha256"`
	Key          string `json:"key,omitempty"`        // with Source.Local: where it lies
	MAC          []byte `json:"mac,omitempty"`        // with aes-256-cbc: HMAC-SHA-256 over the stored SHA-256
	SealedKey    []byte `json:"sealed_key,omitempty"` // SealedKey, encrypted to the agent's recipient
}

// SealedKey is the plaintext of SourceObject.SealedKey and BackupOrder.SealedKeys. The agent refuses one that names another
// attempt or object.
type SealedKey struct {
	Attempt Attempt `json:"attempt"`
	Object  string  `json:"object"`
	FileKey []byte  `json:"file_key,omitempty"` // age
	Cipher  []byte  `json:"cipher,omitempty"`   // aes-256-cbc: 32 bytes
	MAC     []byte  `json:"mac,omitempty"`      // aes-256-cbc: 32 bytes
}

// Levels of verification.
const (
	LevelChecksum = "checksum"
	LevelContent  = "content"
)

// VerifyOrder orders a verification.
type VerifyOrder struct {
	Level    string `json:"level"`
	Source   Source `json:"source"`
	Instance string `json:"instance,omitempty"` // content: whose tools to use
}

// RestoreOrder orders a restore into a new database.
type RestoreOrder struct {
	Source   Source `json:"source"`
	Instance string `json:"instance"`
	Database string `json:"database"`
	Staging  string `json:"staging"` // the name it is filled under
}

// Cancel orders an attempt to stop.
type Cancel struct {
	Attempt Attempt `json:"attempt"`
	Reason  string  `json:"reason"`
}

// Outcomes in a Report.
const (
	OutcomeUploaded = "uploaded"
	OutcomeVerified = "verified"
	OutcomeRestored = "restored"
	OutcomeFailed   = "failed"
)

// Report is an attempt's outcome. It is journaled, and sent until the controller has committed it.
type Report struct {
	Attempt   Attempt          `json:"attempt"`
	Outcome   string           `json:"outcome"`
	Failure   *Failure         `json:"failure,omitempty"`
	Statement json.RawMessage  `json:"statement,omitempty"` // uploaded: the artifact.SignedStatement
	Done      []PartDone       `json:"done,omitempty"`      // uploaded: acknowledgements not yet told
	Read      *ReadResult      `json:"read,omitempty"`      // verified, restored: what was read
	Restored  *RestoreResult   `json:"restored,omitempty"`
	Log       string           `json:"log,omitempty"` // the tool's standard error, capped and scrubbed
	Millis    map[string]int64 `json:"millis,omitempty"`
}

// ReadResult is what a reading attempt computed from the bytes that it read.
type ReadResult struct {
	StoredSize   int64  `json:"stored_size"`
	StoredSHA256 string `json:"stored_sha256"`
	RawSize      int64  `json:"raw_size,omitempty"` // content and restore only
	RawSHA256    string `json:"raw_sha256,omitempty"`
}

// RestoreResult is what a restore proved.
type RestoreResult struct {
	Database string `json:"database"`
	Tables   int64  `json:"tables"`
	Rows     int64  `json:"rows"`
	Compared bool   `json:"compared"` // the fingerprint was compared and equal
	Warnings string `json:"warnings,omitempty"`
}

// What a LocalOrder does.
const (
	LocalStat   = "stat"   // tell whether the file is there, its size and, with Length, its first bytes
	LocalRead   = "read"   // return [Offset, Offset+Length)
	LocalWrite  = "write"  // write a whole small file durably
	LocalDelete = "delete" // remove the file, and what an unfinished backup left of it; one that is not there is no error
	LocalProbe  = "probe"  // write, read, list and delete a file of the agent's own, and tell of each step
	LocalList   = "list"   // list at most Length files whose keys begin with Key and come after After
)

// MaxLocalData is the most bytes that one LocalRead returns or LocalWrite takes.
const MaxLocalData = 128 << 10

// MaxLocalList is the most files that one LocalList returns. There are fewer, and More, where their names would not fit into a message.
const MaxLocalList = 1000

// LocalOrder does one thing to a file in the host's backup directory. Keys are relative paths as BackupOrder.Key has them;
// the agent refuses every other. The Key of a LocalList is what all of a storage's keys begin with, up to "backups/".
type LocalOrder struct {
	Op     string `json:"op"`
	Key    string `json:"key"`
	After  string `json:"after,omitempty"`
	Offset int64  `json:"offset,omitempty"`
	Length int64  `json:"length,omitempty"`
	Data   []byte `json:"data,omitempty"`
}

// LocalReply answers a LocalOrder; with Failure nothing was changed. It is not signed: the broker lets only this agent answer,
// and what it returns of a file is held against the manifest.
type LocalReply struct {
	V       int         `json:"v"`
	Session string      `json:"session"`
	Failure *Failure    `json:"failure,omitempty"`
	Exists  bool        `json:"exists,omitempty"`
	Size    int64       `json:"size,omitempty"`
	Data    []byte      `json:"data,omitempty"`
	Steps   []LocalStep `json:"steps,omitempty"` // of LocalProbe
	Dir     *LocalDir   `json:"dir,omitempty"`   // of LocalProbe

	Entries []LocalEntry `json:"entries,omitempty"` // of LocalList, in ascending order of the keys' bytes
	More    bool         `json:"more,omitempty"`    // of LocalList: there are files after the last one
}

// LocalEntry is one file of a backup directory, whatever it is: also one that is not whole, or nobody's backup.
type LocalEntry struct {
	Key        string `json:"key"`
	Size       int64  `json:"size"`
	ModifiedAt int64  `json:"modified_at"` // seconds since 1970, on the host's clock: for people
}

// LocalStep is one step of LocalProbe.
type LocalStep struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Millis int64  `json:"millis"`
	Detail string `json:"detail,omitempty"`
}

// SecurityNotice tells controllers that something came that only a forger, a replay or a broken broker can explain.
type SecurityNotice struct {
	Kind   string `json:"kind"`
	Detail string `json:"detail"`
	Count  int64  `json:"count"`
}
