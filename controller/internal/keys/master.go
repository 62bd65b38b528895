// Package keys holds the key material of an installation. One master key seals all the rest: what is stored in the
// catalog opens only with it, and no key is ever printed.
package keys

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"devflowbackup/shared/secret"
)

var (
	// ErrWrongMaster is returned when the master key is not the one that the catalog was made with.
	ErrWrongMaster = errors.New("the master key does not belong to this catalog")
	// ErrSealed is returned by Open for a value that does not open: damaged, sealed for another purpose, or with another master key.
	ErrSealed = errors.New("sealed value does not open: it is damaged, or was sealed for another purpose or with another master key")
	// ErrMalformed is wrapped by the error for a master key file that is not one.
	ErrMalformed = errors.New("not a master key file")
)

const (
	masterSize   = 32
	masterHeader = "# DevFlow Backup master key (v1). Keep it secret, and keep a copy: without it the catalog's keys do not open."
	checksumSize = 4

	saltSize = 32
)

// sealVersion starts every sealed value. Version 1: the version's bytes, a random salt of 32 bytes, then AES-256-GCM with
// zero nonce under HKDF-SHA-256(master, salt, purpose), the purpose as associated data. Each value has its own key.
var sealVersion = []byte("dfs1")

// Master is the installation's master key. It prints as "***".
type Master struct{ key [masterSize]byte }

// String hides the key.
func (*Master) String() string { return secret.Mask }

// GoString hides the key.
func (*Master) GoString() string { return secret.Mask }

// Format hides the key, whatever the verb.
func (*Master) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, secret.Mask) }

// NewMaster returns a random master key.
func NewMaster() *Master {
	m := &Master{}
	_, _ = rand.Read(m.key[:])
	return m
}

// CreateMaster makes a random master key and writes it to a new file, mode 0600, whole or not at all. An existing file
// is never replaced: the error wraps fs.ErrExist.
func CreateMaster(path string) (*Master, error) {
	m := NewMaster()
	if err := m.Save(path); err != nil {
		return nil, err
	}
	return m, nil
}

// Save writes the key to a new file, mode 0600, whole or not at all. An existing file is never replaced.
func (m *Master) Save(path string) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".master-key-")
	if err != nil {
		return fmt.Errorf("create master key: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(m.encode())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("create master key %s: %w", path, err)
	}
	// A link, unlike a rename, does not replace.
	if err := os.Link(f.Name(), path); err != nil {
		return fmt.Errorf("create master key: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("create master key: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("create master key %s: %w", path, err)
	}
	return nil
}

// LoadMaster reads a master key file. The errors tell apart a missing file (fs.ErrNotExist), one that others can read
// (secret.ErrExposed) and one that is not a master key (ErrMalformed).
func LoadMaster(path string) (*Master, error) {
	text, err := secret.LoadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("load master key: %w: give this controller the installation's master key file, or recover it with the recovery key", err)
	case err != nil:
		return nil, fmt.Errorf("load master key: %w", err)
	}
	m, err := ParseMaster([]byte(text.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("load master key %s: %w", path, err)
	}
	return m, nil
}

// ParseMaster reads the content of a master key file.
func ParseMaster(text []byte) (*Master, error) {
	var line string
	for _, l := range strings.Split(string(text), "\n") {
		l = strings.TrimSpace(l)
		if l == "" || strings.HasPrefix(l, "#") {
			continue
		}
		if line != "" {
			return nil, fmt.Errorf("%w: more than one line", ErrMalformed)
		}
		line = l
	}
	if line == "" {
		return nil, fmt.Errorf("%w: no key in it", ErrMalformed)
	}
	b, err := base64.StdEncoding.DecodeString(line)
	if err != nil {
		// The decoder's error would tell a position only, but no part of a key belongs into an error.
		return nil, fmt.Errorf("%w: not base64", ErrMalformed)
	}
	if len(b) != masterSize+checksumSize {
		return nil, fmt.Errorf("%w: the key has the wrong length", ErrMalformed)
	}
	m := &Master{key: [masterSize]byte(b[:masterSize])}
	if sum := sha256.Sum256(m.key[:]); !bytes.Equal(sum[:checksumSize], b[masterSize:]) {
		return nil, fmt.Errorf("%w: a character of the key is wrong", ErrMalformed)
	}
	return m, nil
}

func (m *Master) encode() []byte {
	sum := sha256.Sum256(m.key[:])
	return []byte(masterHeader + "\n" + base64.StdEncoding.EncodeToString(append(m.key[:], sum[:checksumSize]...)) + "\n")
}

// Seal encrypts and authenticates a value for one purpose, such as "storage/7/secret-key": it opens only with the same
// purpose and master key. Sealing a value twice gives different bytes.
func (m *Master) Seal(purpose string, plaintext []byte) []byte {
	sealed := make([]byte, len(sealVersion)+saltSize, len(sealVersion)+saltSize+len(plaintext)+16)
	copy(sealed, sealVersion)
	salt := sealed[len(sealVersion):]
	_, _ = rand.Read(salt)
	aead := m.aead(purpose, salt)
	// The key is made for this one value, from a random salt: a nonce has nothing to tell apart.
	return aead.Seal(sealed, make([]byte, aead.NonceSize()), plaintext, []byte(purpose)) //nolint:gosec // as above
}

// Open returns what Seal was given. The error is ErrSealed, with nothing of the content.
func (m *Master) Open(purpose string, sealed []byte) ([]byte, error) {
	rest, ok := bytes.CutPrefix(sealed, sealVersion)
	if !ok || len(rest) < saltSize {
		return nil, fmt.Errorf("open %s: %w", purpose, ErrSealed)
	}
	aead := m.aead(purpose, rest[:saltSize])
	plaintext, err := aead.Open(nil, make([]byte, aead.NonceSize()), rest[saltSize:], []byte(purpose))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", purpose, ErrSealed)
	}
	return plaintext, nil
}

// CheckValue is stored in the catalog when it is made. It tells nothing about the key, but whether it is the same.
func (m *Master) CheckValue() []byte { return m.derive("devflow master check v1", nil) }

// Verify compares the key with a stored check value; the error is ErrWrongMaster.
func (m *Master) Verify(check []byte) error {
	if !hmac.Equal(m.CheckValue(), check) {
		return fmt.Errorf("verify master key: %w: give this controller the key file of the installation whose catalog it uses", ErrWrongMaster)
	}
	return nil
}

func (m *Master) aead(purpose string, salt []byte) cipher.AEAD {
	block, err := aes.NewCipher(m.derive("devflow seal v1\x00"+purpose, salt))
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES has 16-byte blocks
	}
	return aead
}

func (m *Master) derive(info string, salt []byte) []byte {
	key, err := hkdf.Key(sha256.New, m.key[:], salt, info, 32)
	if err != nil {
		panic(err) // 32 bytes are within HKDF's limit
	}
	return key
}
