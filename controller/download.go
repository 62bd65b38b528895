package controller

import (
	"slices"
	"time"

	"devflowbackup/shared/wire"
)

// ObjectManifest is the manifest among the objects of a backup.
const ObjectManifest = "manifest"

// Forms in which an object is downloaded.
const (
	FormatStored = "stored" // as it lies in the storage
	FormatDump   = "dump"   // decrypted and decompressed
)

// DownloadTTL is how long a link may be used.
const DownloadTTL = 15 * time.Minute

// DownloadRequest asks for a link to one object of a backup.
type DownloadRequest struct {
	Backup int64
	Object string // default: the artifact
	Format string // default: stored
}

// Validate fills defaults and names the first field that is wrong.
func (r *DownloadRequest) Validate() error {
	if r.Object == "" {
		r.Object = wire.ObjectArtifact
	}
	if r.Format == "" {
		r.Format = FormatStored
	}
	switch {
	case r.Backup <= 0:
		return Invalid("backup_id", "%d is not a backup's id", r.Backup)
	case !slices.Contains([]string{wire.ObjectArtifact, wire.ObjectFingerprint, wire.ObjectGlobals, ObjectManifest}, r.Object):
		return Invalid("object", "%q is not allowed; use artifact, fingerprint, globals or manifest", r.Object)
	case r.Format != FormatStored && r.Format != FormatDump:
		return Invalid("format", "%q is not allowed; use stored or dump", r.Format)
	case r.Format == FormatDump && r.Object == ObjectManifest:
		return Invalid("format", "%q is not allowed for the manifest; it is stored as it is", r.Format)
	}
	return nil
}

// Download is what a link gives: one object of one completed backup.
type Download struct {
	Backup     Backup
	Server     Server // that holds it, where the storage is local
	StorageID  int64
	Object     StoredObject
	Record     Record // of the same rows
	Recipients []string
	Format     string
	AttemptID  string
	ExpiresAt  time.Time
}

// Size is how many bytes it gives.
func (d Download) Size() int64 {
	if d.Format == FormatDump {
		return d.Object.RawSize
	}
	return d.Object.StoredSize
}

// Checksum is the SHA-256 of what it gives, hexadecimal.
func (d Download) Checksum() string {
	if d.Format == FormatDump {
		return d.Object.RawSHA256
	}
	return d.Object.StoredSHA256
}
