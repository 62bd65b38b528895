package artifact

import (
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
)

// None is the name of the compression and of the encryption that change nothing.
const None = "none"

// Codec says how a dump is turned into stored bytes. The zero value is not valid: both kinds are named.
type Codec struct {
	Compression string   `json:"compression"`          // zstd | none
	Level       int      `json:"level"`                // zstd: 1 to 19, 0 for the default of 3; none: 0
	Encryption  string   `json:"encryption"`           // age | none
	Recipients  []string `json:"recipients,omitempty"` // age: one or more X25519 recipients, age1…
}

// compressions and encryptions list every kind that artifacts know. A new kind is one file and one line here.
var (
	compressions = []compression{zstdCompression, noCompression}
	encryptions  = []encryption{ageEncryption, noEncryption}
)

// compression turns blocks of raw bytes into stored ones and back.
type compression struct {
	name   string
	suffix string // of the file name, with its dot

	checkLevel func(level int) error

	// newEncoder returns a function that up to parallel goroutines may call at once. Nil: bytes pass unchanged.
	newEncoder func(level, parallel int) (encodeFunc, error)

	// newReader decodes the whole of src. It returns io.EOF only at a clean end of the last block,
	// and Close releases its goroutines without waiting for a pending read of src.
	newReader func(src io.Reader) (io.ReadCloser, error)
}

// encodeFunc appends to dst the encoding of one block. Encoded blocks decode alone, and so do they one after another.
type encodeFunc func(dst, block []byte) ([]byte, error)

// encryption seals the compressed bytes.
type encryption struct {
	name   string
	suffix string

	check func(c Codec) error

	// newWriter's Close writes the authenticated end. Without it the result does not decrypt.
	newWriter func(dst io.Writer, c Codec) (io.WriteCloser, error)

	// newReader returns io.EOF only when the end is authentic and nothing follows it.
	newReader func(src io.Reader, o ReadOptions) (io.Reader, error)
}

// Validate reports the first field that is wrong, its value and what is allowed.
func (c Codec) Validate() error {
	comp, err := compressionNamed(c.Compression)
	if err != nil {
		return err
	}
	if err := comp.checkLevel(c.Level); err != nil {
		return err
	}
	enc, err := encryptionNamed(c.Encryption)
	if err != nil {
		return err
	}
	return enc.check(c)
}

// Suffix returns the end of the file name that tells the codec, such as ".zst.age". Unknown kinds add nothing.
func (c Codec) Suffix() string {
	var s string
	if comp, err := compressionNamed(c.Compression); err == nil {
		s += comp.suffix
	}
	if enc, err := encryptionNamed(c.Encryption); err == nil {
		s += enc.suffix
	}
	return s
}

// Equal reports whether both codecs make the same artifact: the same kinds, level and recipients, in the same order.
func (c Codec) Equal(d Codec) bool {
	if c.Compression != d.Compression || c.Level != d.Level || c.Encryption != d.Encryption || len(c.Recipients) != len(d.Recipients) {
		return false
	}
	for i, r := range c.Recipients {
		if d.Recipients[i] != r {
			return false
		}
	}
	return true
}

func compressionNamed(name string) (compression, error) {
	names := make([]string, 0, len(compressions))
	for _, c := range compressions {
		if c.name == name {
			return c, nil
		}
		names = append(names, c.name)
	}
	return compression{}, fmt.Errorf("compression %q is unknown: allowed are %s", name, strings.Join(names, ", "))
}

func encryptionNamed(name string) (encryption, error) {
	names := make([]string, 0, len(encryptions))
	for _, e := range encryptions {
		if e.name == name {
			return e, nil
		}
		names = append(names, e.name)
	}
	return encryption{}, fmt.Errorf("encryption %q is unknown: allowed are %s", name, strings.Join(names, ", "))
}

var noCompression = compression{
	name: None,
	checkLevel: func(level int) error {
		if level != 0 {
			return fmt.Errorf("level %d is not allowed with compression none: leave it 0", level)
		}
		return nil
	},
	newReader: func(src io.Reader) (io.ReadCloser, error) { return io.NopCloser(src), nil },
}

var noEncryption = encryption{
	name: None,
	check: func(c Codec) error {
		if len(c.Recipients) > 0 {
			return fmt.Errorf("recipients %s are not allowed with encryption none: name no recipient, or use age",
				strings.Join(c.Recipients, ", "))
		}
		return nil
	},
	newWriter: func(dst io.Writer, _ Codec) (io.WriteCloser, error) { return plainWriter{dst}, nil },
	newReader: func(src io.Reader, _ ReadOptions) (io.Reader, error) { return src, nil },
}

type plainWriter struct{ io.Writer }

func (plainWriter) Close() error { return nil }

// ReadOptions say what an artifact is and what it must turn out to be.
type ReadOptions struct {
	Compression string
	Encryption  string
	Identity    age.Identity // the key, or nil: reading an encrypted artifact is then a *WrongKeyError
	Recipients  []string     // from the manifest, named by the error when the key is wrong
	Expect      *Sums        // from the manifest; nil checks only what the formats themselves prove
}
