package artifact

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
)

// Digest is a SHA-256. As text and in JSON it is 64 lower-case hex digits, as sha256sum prints it.
type Digest [sha256.Size]byte

// ParseDigest reads 64 hex digits.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	if err := d.UnmarshalText([]byte(s)); err != nil {
		return Digest{}, err
	}
	return d, nil
}

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText gives 64 hex digits.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads 64 hex digits and refuses anything else.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(d)) {
		return fmt.Errorf("parse SHA-256: want %d hex digits, got %d bytes", hex.EncodedLen(len(d)), len(text))
	}
	if _, err := hex.Decode(d[:], text); err != nil {
		return fmt.Errorf("parse SHA-256: %w", err)
	}
	return nil
}

// Sums are the sizes in bytes and the checksums of one artifact, before (raw) and after (stored) its codecs. StoredSHA256
// is that of the file as it lies in the storage, what sha256sum prints for it.
type Sums struct {
	RawSize      int64  `json:"raw_size"`
	RawSHA256    Digest `json:"raw_sha256"`
	StoredSize   int64  `json:"stored_size"`
	StoredSHA256 Digest `json:"stored_sha256"`
	MAC          Digest `json:"mac,omitzero"` // aes-256-cbc: AESKeys.Tag of StoredSHA256; otherwise zero
}

// diff returns the first value in which got differs from s, or nil.
func (s Sums) diff(got Sums) error {
	switch {
	case s.StoredSize != got.StoredSize:
		return &DamageError{What: "stored size", Want: strconv.FormatInt(s.StoredSize, 10), Got: strconv.FormatInt(got.StoredSize, 10)}
	case s.StoredSHA256 != got.StoredSHA256:
		return &DamageError{What: "stored SHA-256", Want: s.StoredSHA256.String(), Got: got.StoredSHA256.String()}
	case s.RawSize != got.RawSize:
		return &DamageError{What: "raw size", Want: strconv.FormatInt(s.RawSize, 10), Got: strconv.FormatInt(got.RawSize, 10)}
	case s.RawSHA256 != got.RawSHA256:
		return &DamageError{What: "raw SHA-256", Want: s.RawSHA256.String(), Got: got.RawSHA256.String()}
	}
	return nil
}

// CompositeSHA256 is the checksum that S3 reports for a multipart object: the base64 of the SHA-256 over the parts'
// SHA-256 digests, then a dash and their number. It is not the checksum of the object's bytes.
func CompositeSHA256(parts [][32]byte) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p[:])
	}
	return base64.StdEncoding.EncodeToString(h.Sum(nil)) + "-" + strconv.Itoa(len(parts))
}
