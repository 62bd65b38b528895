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
	Error   string `json:"error,omitempty"`    // why it could not be looked at
	Restore bool   `json:"restore"`            // the host allows restores into new databases here
	InPlace bool   `json:"in_place,omitempty"` // and in the place of databases that are there
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
	JobUndo    = "undo"    // SwapOrder: a database that a restore in place kept comes back
	JobSettle  = "settle"  // SwapOrder: find out what a swap came to whose attempt was lost, and end it
	JobDiscard = "discard" // DiscardOrder: remove a database that a swap kept
)

// Job orders one attempt. Exactly the order of its Kind is set.
type Job struct {
	Attempt            Attempt       `json:"attempt"`
	Kind               string        `json:"kind"`
	MaxDurationSeconds int64         `json:"max_duration_seconds"`
	Backup             *BackupOrder  `json:"backup,omitempty"`
	Verify             *VerifyOrder  `json:"verify,omitempty"`
	Restore            *RestoreOrder `json:"restore,omitempty"`
	Swap               *SwapOrder    `json:"swap,omitempty"` // undo, settle
	Discard            *DiscardOrder `json:"discard,omitempty"`
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
	Globals     *SourceObject `json:"globals,omitempty"` // of a restore that is to make missing roles
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

// RestoreOrder orders a restore into a new database or, with InPlace, in the place of one that is there.
type RestoreOrder struct {
	Source   Source          `json:"source"`
	Instance string          `json:"instance"`
	Database string          `json:"database"`
	Staging  string          `json:"staging"` // the name it is filled under; in place the same for each attempt
	InPlace  *SwapTerms      `json:"in_place,omitempty"`
	Choices  *RestoreChoices `json:"choices,omitempty"`
}

// SwapTerms say how a database is put in the place of another. An order repeated with the same names is the same swap: whoever gets
// it settles first what an earlier attempt may have left.
type SwapTerms struct {
	Keep        string `json:"keep"`     // the name under which what is there is kept
	Identity    string `json:"identity"` // of what is to be there, as an InspectReply told it
	Sessions    string `json:"sessions"` // SessionsRefuse, SessionsWait or SessionsEnd
	WaitSeconds int64  `json:"wait_seconds,omitempty"`
}

// What a swap does about other sessions at its target.
const (
	SessionsRefuse = "refuse" // it fails with CodeTargetInUse
	SessionsWait   = "wait"   // for up to WaitSeconds, then as refuse
	SessionsEnd    = "end"    // they are ended
)

// RestoreChoices are a restore's, where its engine has them. The zero values are safe for a dump that nobody trusts.
type RestoreChoices struct {
	Owners     bool        `json:"owners,omitempty"`     // PostgreSQL: objects belong to the roles that they belonged to
	Privileges bool        `json:"privileges,omitempty"` // PostgreSQL: grants are restored
	Roles      bool        `json:"roles,omitempty"`      // PostgreSQL: missing roles are made, without login and without rights over the server
	Definers   string      `json:"definers,omitempty"`   // MySQL: strip or keep; empty: as the host is configured
	Only       []Selection `json:"only,omitempty"`       // only these; empty: everything
	Jobs       int         `json:"jobs,omitempty"`       // PostgreSQL: how many build indexes and constraints at once
}

// Selection is a part of a dump.
type Selection struct {
	Schema string `json:"schema,omitempty"` // PostgreSQL
	Table  string `json:"table,omitempty"`  // empty: the whole schema
}

// SwapOrder orders an undo or a settlement. An undo is a swap of what was kept with what is there now.
type SwapOrder struct {
	Instance string    `json:"instance"`
	Engine   string    `json:"engine"`
	Database string    `json:"database"`
	Staged   string    `json:"staged"` // what comes into its place
	Terms    SwapTerms `json:"terms"`
}

// DiscardOrder orders the removal of a database that a swap kept. One that is not there is no error.
type DiscardOrder struct {
	Instance string `json:"instance"`
	Engine   string `json:"engine"`
	Database string `json:"database"` // that it was, for people
	Kept     string `json:"kept"`
}

// Cancel orders an attempt to stop.
type Cancel struct {
	Attempt Attempt `json:"attempt"`
	Reason  string  `json:"reason"`
}

// Outcomes in a Report.
const (
	OutcomeUploaded  = "uploaded"
	OutcomeVerified  = "verified"
	OutcomeRestored  = "restored"
	OutcomeSettled   = "settled" // undo, settle: Swapped tells what is at the target
	OutcomeDiscarded = "discarded"
	OutcomeFailed    = "failed"
)

// Report is an attempt's outcome. It is journaled, and sent until the controller has committed it.
type Report struct {
	Attempt   Attempt          `json:"attempt"`
	Outcome   string           `json:"outcome"`
	Failure   *Failure         `json:"failure,omitempty"`
	Statement json.RawMessage  `json:"statement,omitempty"` // uploaded: the artifact.SignedStatement
	Done      []PartDone       `json:"done,omitempty"`      // uploaded: acknowledgements not yet told
	Rows      *int64           `json:"rows,omitempty"`      // uploaded: of the whole database, where they were counted exactly
	Read      *ReadResult      `json:"read,omitempty"`      // verified, restored: what was read
	Restored  *RestoreResult   `json:"restored,omitempty"`
	Swapped   *SwapResult      `json:"swapped,omitempty"` // restored in place, settled
	Log       string           `json:"log,omitempty"`     // the tool's standard error, capped and scrubbed
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

// SwapResult tells what a swap came to. A failed report of a restore in place or of an undo says that the target is as it was: an
// attempt that cannot tell goes on until it can.
type SwapResult struct {
	State             string   `json:"state"` // SwapBefore or SwapAfter
	UnavailableMicros int64    `json:"unavailable_micros,omitempty"`
	Ended             int      `json:"ended,omitempty"` // sessions
	Notes             []string `json:"notes,omitempty"` // for people: what was carried over, what was not
}

// States of a swap's target.
const (
	SwapBefore = "before" // it has its old content
	SwapAfter  = "after"  // it has the content that was to come into its place; the old is kept
)

// InspectOrder asks what is at a restore's target and what would stop a restore there. Nothing is changed.
type InspectOrder struct {
	Instance          string          `json:"instance"`
	Engine            string          `json:"engine"`
	Database          string          `json:"database"`
	DumpServerVersion string          `json:"dump_server_version,omitempty"`
	DumpToolVersion   string          `json:"dump_tool_version,omitempty"`
	DumpBytes         int64           `json:"dump_bytes,omitempty"`
	DatabaseBytes     int64           `json:"database_bytes,omitempty"`
	Extensions        []string        `json:"extensions,omitempty"`
	InPlace           bool            `json:"in_place,omitempty"`
	Sessions          string          `json:"sessions,omitempty"`
	Choices           *RestoreChoices `json:"choices,omitempty"`
}

// InspectReply answers an InspectOrder. It is not signed: the broker lets only this agent answer.
type InspectReply struct {
	V       int      `json:"v"`
	Session string   `json:"session"`
	Failure *Failure `json:"failure,omitempty"`
	Target  *Target  `json:"target,omitempty"`
}

// Target is what is at a restore's target.
type Target struct {
	Exists         bool      `json:"exists"`
	Identity       string    `json:"identity,omitempty"`        // of the database on its server; changes when it is dropped and made again
	ServerIdentity string    `json:"server_identity,omitempty"` // as a backup's metadata has it
	ServerVersion  string    `json:"server_version,omitempty"`
	SizeBytes      int64     `json:"size_bytes"`
	Tables         int64     `json:"tables"`
	FreeBytes      int64     `json:"free_bytes"` // where the copy would lie; -1: not known
	Owner          string    `json:"owner,omitempty"`
	Sessions       []Session `json:"sessions,omitempty"` // at most 20
	SessionCount   int       `json:"session_count,omitempty"`
	Problems       []Problem `json:"problems,omitempty"`
}

// Session is another one at a target.
type Session struct {
	User        string `json:"user,omitempty"`
	Application string `json:"application,omitempty"`
	Client      string `json:"client,omitempty"`
	Since       int64  `json:"since,omitempty"` // seconds since 1970
	State       string `json:"state,omitempty"`
}

// Problem is what stops a restore, or what a person should know before it.
type Problem struct {
	Stops bool   `json:"stops"`
	Code  string `json:"code"` // stable, such as missing_extension
	Text  string `json:"text"`
	Hint  string `json:"hint,omitempty"`
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
