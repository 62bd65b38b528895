package controller

import (
	"errors"
	"regexp"
	"strings"
	"time"

	"devflowbackup/shared/artifact"
	"devflowbackup/shared/secret"
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
	Limits
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
	// AppKey is what the keys of aes-256-cbc are derived from, as artifact.AppKeyBytes reads it. It is given when the project is made
	// or not at all: one is made then. It never changes.
	AppKey secret.String
	// DefaultSchedule is made with the project, of scope default; nil: none. It is not changed here afterwards.
	DefaultSchedule *ScheduleSpec
	// MaxJobsPerHour and MaxBytesPerDay are changed, not given at first: a pointer to nil is no limit.
	MaxJobsPerHour **int64
	MaxBytesPerDay **int64
}

// LimitsAfter are limits after the change.
func (s ProjectSpec) LimitsAfter(l Limits) Limits {
	set(&l.MaxJobsPerHour, s.MaxJobsPerHour)
	set(&l.MaxBytesPerDay, s.MaxBytesPerDay)
	return l
}

// MaxEscrowRecipients bounds how many keys besides the project's own open its backups.
const MaxEscrowRecipients = 16

// ProjectSecrets are what opens every backup of a project.
type ProjectSecrets struct {
	Identity []byte // age
	AppKey   []byte // text, as artifact.AppKeyBytes reads it
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
	if s.DefaultEncryption != "" {
		if err := validEncryption("default_encryption", s.DefaultEncryption); err != nil {
			return err
		}
	}
	if err := validRecipients("escrow_recipients", s.EscrowRecipients); err != nil {
		return err
	}
	if !s.AppKey.Empty() {
		if _, err := artifact.AppKeyBytes(s.AppKey.Reveal()); err != nil {
			return Invalid("app_key", "%v; use base64: and the base64 of 32 bytes, or a text of at least 16 bytes", err)
		}
	}
	_, err := s.ScheduleOfProject()
	return err
}

// ScheduleOfProject is the default schedule with its defaults filled, nil if there is none.
func (s ProjectSpec) ScheduleOfProject() (*ScheduleSpec, error) {
	if s.DefaultSchedule == nil {
		return nil, nil
	}
	spec := *s.DefaultSchedule
	spec.Project = s.Slug
	if spec.Scope == "" {
		spec.Scope = ScopeDefault
	}
	err := spec.Validate()
	if err == nil && spec.Scope != ScopeDefault {
		err = Invalid("scope", "%q is not allowed for a project's default schedule; leave it out", spec.Scope)
	}
	var e *Error
	if errors.As(err, &e) {
		e.Field = "default_schedule." + e.Field
	}
	return &spec, err
}

// validRecipients refuses what cannot be encrypted to. A secret key that was given by mistake is not shown.
func validRecipients(field string, recipients []string) error {
	if len(recipients) > MaxEscrowRecipients {
		return Invalid(field, "%d recipients; at most %d are allowed", len(recipients), MaxEscrowRecipients)
	}
	seen := make(map[string]bool, len(recipients))
	for i, r := range recipients {
		if upper := strings.ToUpper(strings.TrimSpace(r)); strings.HasPrefix(upper, "AGE-") {
			return Invalid(field, "number %d is a secret key; give its public half, which begins with age1", i+1).
				WithHint("a secret key that was sent somewhere is no longer one: make another")
		}
		if err := artifact.ValidRecipient(r); err != nil {
			return Invalid(field, "%.80q is not an age recipient: %v", r, err)
		}
		if seen[r] {
			return Invalid(field, "%q is there twice", r)
		}
		seen[r] = true
	}
	return nil
}
