package controller

import (
	"regexp"
	"strings"
	"time"
)

// Project owns databases and their backups, and the key that its artifacts are encrypted to.
type Project struct {
	ID                int64     `json:"id"`
	Slug              string    `json:"slug"`
	Name              string    `json:"name"`
	ExternalID        *string   `json:"external_id"` // the panel's id
	AgeRecipient      string    `json:"age_recipient"`
	EscrowRecipients  []string  `json:"escrow_recipients"`
	DefaultEncryption string    `json:"default_encryption"`
	DefaultStorageID  *int64    `json:"default_storage_id"`
	CreatedAt         time.Time `json:"created_at"`
}

var (
	slug   = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	digits = regexp.MustCompile(`^[0-9]+$`)
)

// ProjectSpec is what a caller gives to make or change a project. Nil leaves a field as it is.
type ProjectSpec struct {
	Slug              string
	Name              string
	ExternalID        *string
	DefaultEncryption string
	EscrowRecipients  []string
	DefaultStorage    *string // name or id
}

// Validate names the first field that is wrong.
func (s ProjectSpec) Validate() error {
	if !slug.MatchString(s.Slug) || digits.MatchString(s.Slug) {
		return Invalid("slug", "%q is not allowed; use 1–63 of a–z, 0–9 and -, not only digits, not starting with -", s.Slug)
	}
	if len(s.Name) > 200 {
		return Invalid("name", "%d bytes; at most 200 are allowed", len(s.Name))
	}
	if s.ExternalID != nil && (strings.TrimSpace(*s.ExternalID) == "" || len(*s.ExternalID) > 200) {
		return Invalid("external_id", "%q is empty or longer than 200 bytes", *s.ExternalID)
	}
	switch s.DefaultEncryption {
	case "", EncryptionAge, EncryptionNone:
	default:
		return Invalid("default_encryption", "%q is not allowed; use age or none", s.DefaultEncryption)
	}
	return nil
}
