package controller

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
)

type matchKey struct{}

// WithMatch binds what is changed under the context to versions: If-Match of the request. Without any it is not bound.
func WithMatch(ctx context.Context, versions []string) context.Context {
	if len(versions) == 0 {
		return ctx
	}
	return context.WithValue(ctx, matchKey{}, versions)
}

// Bound tells whether a version was named.
func Bound(ctx context.Context) bool { return ctx.Value(matchKey{}) != nil }

// Match refuses a change of another version than was named, with EChanged.
func Match(ctx context.Context, version string) error {
	named, bound := ctx.Value(matchKey{}).([]string)
	if !bound || slices.Contains(named, "*") || slices.Contains(named, version) {
		return nil
	}
	return Errorf(EChanged, "it was changed meanwhile: its version is %q, not %.100q", version, strings.Join(named, ", ")).
		WithHint("read it again, and make the change to what it is now")
}

// editionOf is a short hash of what people edit, not of what the system writes beside it.
func editionOf(edited any) string {
	text, err := json.Marshal(edited)
	if err != nil { // plain values only
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:10])
}

// Version changes whenever somebody edits the project.
func (p Project) Version() string { return editionOf(p) }

// Version changes whenever somebody edits the storage; a probe does not change it.
func (s Storage) Version() string {
	return editionOf([]any{s.ID, s.Name, s.Endpoint, s.Region, s.PathStyle, s.IsDefault, s.UpdatedAt.UTC()})
}

// Version changes whenever somebody edits the schedule; a run does not change it.
func (s Schedule) Version() string { return editionOf([]any{s.ID, s.UpdatedAt.UTC()}) }

// Version changes whenever somebody edits the settings.
func (s Settings) Version() string { return editionOf(s) }

// Version changes whenever somebody edits what the user is or may do; signing in and another password do not change it.
func (u User) Version() string {
	return editionOf([]any{u.ID, u.Name, u.DisplayName, u.Admin, u.Permissions, u.Projects, u.DisabledAt})
}

// Version changes when the token is rotated or revoked; its use does not change it.
func (t APIToken) Version() string {
	return editionOf([]any{t.ID, t.Name, t.Permissions, t.Projects, t.RotatedAt, t.RevokedAt})
}

// Version changes whenever somebody edits the server, and when another host takes its place.
func (s Server) Version() string {
	return editionOf([]any{s.ID, s.Name, s.NKey, s.Verifier, s.RevokedAt})
}

type unattendedKey struct{}

// Unattended marks what happens under the context as nobody's use of a session: it does not keep one from ending.
func Unattended(ctx context.Context) context.Context {
	return context.WithValue(ctx, unattendedKey{}, true)
}

// IsUnattended tells whether the context was marked so.
func IsUnattended(ctx context.Context) bool { return ctx.Value(unattendedKey{}) != nil }
