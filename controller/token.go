package controller

import (
	"strings"
	"time"
)

// Kinds of API tokens.
const (
	// TokenAPI asks for itself.
	TokenAPI = "api"
	// TokenPanel asks for users of a panel, each with the permissions and projects that the request names; what the token does not have,
	// none of them gets. A request that names no user may do nothing.
	TokenPanel = "panel"
)

// Bounds of tokens.
const (
	MaxTokenTTL      = 10 * 365 * 24 * time.Hour
	MaxRotationGrace = 7 * 24 * time.Hour
	MaxProjectRefs   = 1000
)

// APIToken is a credential of the HTTP API. Its secret is shown once and stored as a hash.
type APIToken struct {
	ID          int64      `json:"id"`
	Name        string     `json:"name"`
	Kind        string     `json:"kind" enum:"api,panel"`
	Permissions []string   `json:"permissions"`
	Projects    []int64    `json:"projects"` // null: all
	CreatedAt   time.Time  `json:"created_at"`
	ExpiresAt   *time.Time `json:"expires_at"`
	LastUsedAt  *time.Time `json:"last_used_at"` // to the minute
	RotatedAt   *time.Time `json:"rotated_at"`
	// PreviousUntil is until when the secret before the rotation works.
	PreviousUntil *time.Time `json:"previous_until"`
	RevokedAt     *time.Time `json:"revoked_at"`
}

// TokenSpec is what a caller gives to make a token.
type TokenSpec struct {
	Name        string
	Kind        string // TokenAPI if empty
	Permissions []string
	Projects    []string // slugs, ids or external ids; nil: all
	TTL         time.Duration
}

// Validate names the first field that is wrong.
func (s TokenSpec) Validate() error {
	if strings.TrimSpace(s.Name) == "" || len(s.Name) > 100 {
		return Invalid("name", "%.100q is empty or longer than 100 bytes", s.Name)
	}
	if strings.HasPrefix(s.Name, UserPrefix) {
		return Invalid("name", "%q begins with %s, which marks people in the audit log", s.Name, UserPrefix)
	}
	if s.Kind != "" && s.Kind != TokenAPI && s.Kind != TokenPanel {
		return Invalid("kind", "%.100q is not allowed; use %s or %s", s.Kind, TokenAPI, TokenPanel)
	}
	if len(s.Permissions) == 0 {
		return Invalid("permissions", "is empty; allowed are %s", strings.Join(Permissions, ", "))
	}
	if _, err := NormalPermissions("permissions", s.Permissions); err != nil {
		return err
	}
	if len(s.Projects) > MaxProjectRefs {
		return Invalid("projects", "names %d projects; at most %d are allowed", len(s.Projects), MaxProjectRefs)
	}
	if s.TTL < 0 || s.TTL > MaxTokenTTL {
		return Invalid("ttl_seconds", "%d is not allowed; use 0 for a token that never expires, and at most %d", int64(s.TTL.Seconds()), int64(MaxTokenTTL.Seconds()))
	}
	return nil
}

// ValidGrace checks how long the old secret of a rotated token shall work.
func ValidGrace(grace time.Duration) error {
	if grace < 0 || grace > MaxRotationGrace {
		return Invalid("grace_seconds", "%d is not allowed; use 0, and the old secret ends at once, to %d", int64(grace.Seconds()), int64(MaxRotationGrace.Seconds()))
	}
	return nil
}
