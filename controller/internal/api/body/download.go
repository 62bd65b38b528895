package body

import "time"

// How a download travels.
const (
	ViaAuto       = "auto"       // from the store itself where that can be, else through the controller
	ViaController = "controller" // through the controller
)

// CreateDownload asks for a link to one object of a backup.
type CreateDownload struct {
	Object string `json:"object,omitempty" enum:"artifact,fingerprint,globals,manifest" doc:"artifact if absent"`
	Format string `json:"format,omitempty" enum:"stored,dump" doc:"stored if absent: as it lies in the storage; dump is decrypted and decompressed, and asks for restore-backups as well"`
	Via    string `json:"via,omitempty" enum:"auto,controller" doc:"auto if absent: from the store itself where that can be; controller: through the controller, for those who cannot reach the store"`
}

// Download is a link to one object of a backup. Whoever has the URL may fetch it: it is a secret while it is valid.
type Download struct {
	URL       string    `json:"url" doc:"GET it, without a token; a link to the controller works once"`
	Direct    bool      `json:"direct" doc:"The link leads to the store, not to the controller"`
	ExpiresAt time.Time `json:"expires_at" doc:"A transfer that has begun by then goes on"`
	FileName  string    `json:"file_name"`
	Size      int64     `json:"size" doc:"Bytes that the link gives"`
	Checksum  string    `json:"checksum" doc:"SHA-256 of these bytes"`
	Object    string    `json:"object"`
	Format    string    `json:"format"`
}
