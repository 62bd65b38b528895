package controller

import "time"

// ListedObject is one object as a store's listing shows it.
type ListedObject struct {
	Key        string
	Size       int64
	ETag       string // empty where the store has none
	Archived   bool   // its storage class has to be brought back before it can be read
	Class      string // as the store calls it
	ModifiedAt time.Time
}

// ListedUpload is a multipart upload that was begun and neither completed nor aborted.
type ListedUpload struct {
	Key      string
	UploadID string
	BegunAt  time.Time
}

// InventoryDue is a storage whose turn it is to be held against the catalog, claimed by this controller.
type InventoryDue struct {
	StorageID int64
	Storage   string
	Kind      string
	Prefix    string
	Server    Server    // of a local storage: the host; the zero Server otherwise
	StartedAt time.Time // of this claim, and of no other one
}

// KnownObject is what the catalog knows of a key at a storage.
type KnownObject struct {
	Key string
	// Of a completed backup that is not being deleted.
	BackupID int64
	Object   string // artifact, fingerprint, globals, manifest
	Size     int64
	ETag     string
	Health   string
	Noted    bool // something is said of its health
	// Settled tells that it was completed before the inventory began: then it has to be there.
	Settled bool
	// Of an attempt at a backup, open or dead, or of a backup that is being deleted: not foreign, and not looked at.
	AtWork bool
}

// KnownUpload is what the catalog knows of an upload's key.
type KnownUpload struct {
	Open bool // an attempt that is at work or being finished may use it
	Ours bool // the key is one of an attempt that ended: the upload may be aborted
}

// Found is what an inventory says of one backup.
type Found struct {
	BackupID int64
	Health   string // HealthOK, HealthMissing, HealthCorrupt or HealthArchived
	Reason   string // for people, with what to do
}

// StorageFinding is something on a storage that is not the catalog's. It is listed and never touched.
type StorageFinding struct {
	StorageID   int64      `json:"storage_id"`
	Server      string     `json:"server"` // of a local storage
	Kind        string     `json:"kind"`   // object, upload
	Key         string     `json:"key"`
	UploadID    string     `json:"upload_id"`
	Size        int64      `json:"size"`
	ModifiedAt  *time.Time `json:"modified_at"`
	FirstSeenAt time.Time  `json:"first_seen_at"`
	SeenAt      time.Time  `json:"seen_at"`
}

// StorageInventory is the last inventory of a storage, of a local one that of one host.
type StorageInventory struct {
	StorageID      int64      `json:"storage_id"`
	ServerID       int64      `json:"server_id"` // 0: not local
	Server         string     `json:"server"`
	DueAt          time.Time  `json:"due_at"`
	StartedAt      *time.Time `json:"started_at"`
	EndedAt        *time.Time `json:"ended_at"` // of the last one that came to its end
	Requests       int64      `json:"requests"`
	Objects        int64      `json:"objects"`
	Bytes          int64      `json:"bytes"`
	Missing        int        `json:"missing"`
	Damaged        int        `json:"damaged"`
	Archived       int        `json:"archived"`
	Recovered      int        `json:"recovered"`
	ForeignObjects int        `json:"foreign_objects"`
	StaleUploads   int        `json:"stale_uploads"`
	Error          string     `json:"error"` // why the last one did not come to its end
}

// ListedPage is a part of a listing, in ascending order of the keys' bytes.
type ListedPage struct {
	Objects []ListedObject
	Next    string // what the page after it is asked for with, opaque; empty: this is the last one
}

// UploadPage is a part of a listing of uploads.
type UploadPage struct {
	Uploads []ListedUpload
	Next    string // as of ListedPage
}

// InventoryPage is what one step of an inventory found.
type InventoryPage struct {
	Found   []Found          // only those whose health is, or may be, another one than the catalog says
	Foreign []StorageFinding // Kind, Key, UploadID, Size, ModifiedAt
}

// HealthChange is a backup whose health an inventory changed.
type HealthChange struct {
	BackupID int64
	Project  string
	Database string
	From, To string
	Reason   string
}

// InventoryTotals is what a whole inventory found.
type InventoryTotals struct {
	Requests       int64 // to the store or the agent
	Objects        int64
	Bytes          int64
	Missing        int
	Damaged        int
	Archived       int
	Recovered      int
	ForeignObjects int
	StaleUploads   int // begun and never completed, of no attempt that is at work
}
