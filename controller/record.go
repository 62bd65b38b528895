package controller

// Record is everything that the catalog says of a completed backup and that its signed manifest says too. Before a backup is read the one
// is held against the other: whoever can write the catalog's rows cannot sign.
type Record struct {
	Backup     Backup
	Manifest   []byte // as stored beside the artifact
	Composite  string
	ETag       string
	VersionID  string
	AgentID    string // of the server that made it
	JobID      int64  // of the attempt that made it
	AttemptNo  int
	AttemptID  string
	Recipients []string
	Objects    []StoredObject
}
