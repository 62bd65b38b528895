package artifact

import (
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
)

// Names of compressions and encryptions.
const (
	Zstd      = "zstd"
	Gzip      = "gzip"
	Age       = "age"
	AES256CBC = "aes-256-cbc"
	None      = "none" // changes nothing, as either
)

// Codec says how a dump is turned into stored bytes. The zero value is not valid: both kinds are named.
type Codec struct {
	Compression string   `json:"compression"`          // zstd | gzip | none
	Level       int      `json:"level"`                // zstd: 1 to 19, 0 for the default of 3; gzip: 1 to 9, 0 for 6; none: 0
	Encryption  string   `json:"encryption"`           // age | aes-256-cbc | none
	Recipients  []string `json:"recipients,omitempty"` // age: one or more X25519 recipients, age1…
}

// compressions and encryptions list every kind that artifacts know. A new kind is one file and one line here.
var (
	compressions = []compression{zstdCompression, gzipCompression, noCompression}
	encryptions  = []encryption{ageEncryption, aesEncryption, noEncryption}
)

// compression turns blocks of raw bytes into stored ones and back.
type compression struct {
	name   string
	suffix string // of the file name, with its dot

	checkLevel func(level int) error

	// newEncoder returns what up to parallel goroutines may use at once. Nil: bytes pass unchanged.
	newEncoder func(level, parallel int) (*encoder, error)

	// newReader decodes the whole of src. It returns io.EOF only at a clean end of the last block,
	// and Close releases its goroutines without waiting for a pending read of src.
	newReader func(src io.Reader) (io.ReadCloser, error)
}

// encoder turns blocks into stored bytes: head, the encoded blocks in their order, tail.
type encoder struct {
	head []byte

	// encode appends to dst the encoding of one block.
	encode func(dst, block []byte) ([]byte, error)

	// decode is the way back, for one block alone. It fills no more than the room that dst has, and may use the room
	// behind encoded.
	decode func(dst, encoded []byte) ([]byte, error)

	// tail returns what follows the last block, by the dump's CRC-32 (IEEE) and size. Nil: nothing follows.
	tail func(crc uint32, size int64) []byte
}

// encryption seals the compressed bytes.
type encryption struct {
	name   string
	suffix string
	keyed  bool // by AESKeys

	check func(c Codec) error

	// newWriter's Close writes the end. Without it the result does not decrypt, or, where the format proves no end of its
	// own, has no MAC. What is written is never changed.
	newWriter func(dst io.Writer, c Codec, keys *AESKeys) (io.WriteCloser, error)

	// newReader returns io.EOF only when the end is authentic and nothing follows it.
	newReader func(src *storedReader, o ReadOptions) (io.Reader, error)
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
	newWriter: func(dst io.Writer, _ Codec, _ *AESKeys) (io.WriteCloser, error) { return plainWriter{dst}, nil },
	newReader: func(src *storedReader, _ ReadOptions) (io.Reader, error) { return src, nil },
}

type plainWriter struct{ io.Writer }

func (plainWriter) Close() error { return nil }

// ReadOptions say what an artifact is and what it must turn out to be.
type ReadOptions struct {
	Compression string
	Encryption  string
	Identity    age.Identity // age: the key, or nil: reading is then a *WrongKeyError
	AES         *AESKeys     // aes-256-cbc: the object's keys, or nil: reading is then a *WrongKeyError
	Recipients  []string     // from the manifest, named by the error when the key is wrong
	Expect      *Sums        // from the manifest; nil checks only what the formats themselves prove; aes-256-cbc needs it
}
