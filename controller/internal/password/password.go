// Package password keeps passwords as argon2id hashes in PHC strings, which carry their parameters.
//
// Invariants: no password is kept, logged or in an error; a comparison takes as long for a user who does not exist as for one who does; no
// more than a few hashes are made at once, so that their memory is bounded however many ask.
package password

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Params of argon2id.
type Params struct {
	Memory  uint32 // KiB
	Time    uint32 // passes
	Threads uint8
}

// Default takes about a tenth of a second and 64 MiB.
var Default = Params{Memory: 64 << 10, Time: 3, Threads: 2}

const (
	saltBytes = 16
	keyBytes  = 32
)

// Bounds of parameters that are read: a row that was tampered with must not take the host's memory.
const (
	maxMemory = 1 << 20 // KiB
	maxTime   = 64
)

// Hasher makes and compares hashes. It is safe for concurrent use.
type Hasher struct {
	params Params
	slots  chan struct{}
	dummy  string
}

// New makes one. The zero Params are Default.
func New(p Params) *Hasher {
	if p == (Params{}) {
		p = Default
	}
	h := &Hasher{params: p, slots: make(chan struct{}, max(2, runtime.GOMAXPROCS(0)))}
	h.dummy = encode(p, make([]byte, saltBytes), make([]byte, keyBytes))
	return h
}

// Hash makes the PHC string of a password. It waits for a slot, at most as long as the context lasts.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltBytes)
	rand.Read(salt) // never fails: it ends the program instead
	key, err := h.key(ctx, h.params, password, salt, keyBytes)
	if err != nil {
		return "", err
	}
	return encode(h.params, salt, key), nil
}

// Verify tells whether the password is that of the PHC string, and whether the string should be made anew with the present parameters.
// An empty string is of nobody: it takes as long, and is never right.
func (h *Hasher) Verify(ctx context.Context, phc, password string) (ok, stale bool, err error) {
	nobody := phc == ""
	if nobody {
		phc = h.dummy
	}
	p, salt, want, err := decode(phc)
	if err != nil {
		return false, false, err
	}
	got, err := h.key(ctx, p, password, salt, uint32(len(want))) //nolint:gosec // decode bounds it
	if err != nil {
		return false, false, err
	}
	ok = subtle.ConstantTimeCompare(got, want) == 1 && !nobody
	return ok, ok && p != h.params, nil
}

func (h *Hasher) key(ctx context.Context, p Params, password string, salt []byte, n uint32) ([]byte, error) {
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return nil, fmt.Errorf("hash a password: %w", context.Cause(ctx))
	}
	return argon2.IDKey([]byte(password), salt, p.Time, p.Memory, p.Threads, n), nil
}

func encode(p Params, salt, key []byte) string {
	b := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.Memory, p.Time, p.Threads, b.EncodeToString(salt), b.EncodeToString(key))
}

var errForm = errors.New("the stored password is no argon2id PHC string that this controller knows")

func decode(phc string) (p Params, salt, key []byte, err error) {
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return p, nil, nil, errForm
	}
	var version int
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return p, nil, nil, errForm
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.Memory, &p.Time, &p.Threads); err != nil {
		return p, nil, nil, errForm
	}
	b := base64.RawStdEncoding
	salt, saltErr := b.DecodeString(parts[4])
	key, keyErr := b.DecodeString(parts[5])
	if saltErr != nil || keyErr != nil || len(salt) < 8 || len(key) < 16 || len(key) > 128 ||
		p.Memory < 8 || p.Memory > maxMemory || p.Time < 1 || p.Time > maxTime || p.Threads < 1 {
		return p, nil, nil, errForm
	}
	return p, salt, key, nil
}
