package artifact

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"devflowbackup/shared/secret"
)

const (
	// minAppKey is the shortest app key, in bytes, that keys are derived from.
	minAppKey = 16

	// aesChunk is what goes through the cipher at once: large enough for it, small enough for the core's cache.
	aesChunk = 64 << 10
)

// keyedObjects are the objects of one attempt. Each has keys of its own.
var keyedObjects = []string{"artifact", "fingerprint", "globals"}

// AESKeys are the symmetric keys of one object, for aes-256-cbc. However they are printed, encoded or logged, they
// show as "***".
type AESKeys struct {
	Cipher [32]byte // AES-256
	MAC    [32]byte // HMAC-SHA-256
}

// DeriveAESKeys derives the keys of one object ("artifact", "fingerprint" or "globals") of one attempt from the
// project's app key, which has at least 16 bytes, by HKDF-SHA-256 (RFC 5869):
//
//	salt   = the attempt id's 16 characters
//	Cipher = 32 bytes with info "devflow-backup v1 aes-256-cbc <object>"
//	MAC    = 32 bytes with info "devflow-backup v1 hmac-sha256 <object>"
//
// The rule never changes: backups are opened by it for good. No error shows anything of the app key.
func DeriveAESKeys(appKey []byte, attemptID, object string) (AESKeys, error) {
	switch {
	case len(appKey) < minAppKey:
		return AESKeys{}, fmt.Errorf("derive keys: the app key is shorter than %d bytes", minAppKey)
	case !ValidAttemptID(attemptID):
		return AESKeys{}, fmt.Errorf("derive keys: attempt id %q is not %d characters of base32", attemptID, attemptIDLen)
	case !slices.Contains(keyedObjects, object):
		return AESKeys{}, fmt.Errorf("derive keys: object %q is unknown: allowed are %s", object, strings.Join(keyedObjects, ", "))
	}
	var k AESKeys
	for _, d := range []struct {
		purpose string
		out     *[32]byte
	}{{"aes-256-cbc", &k.Cipher}, {"hmac-sha256", &k.MAC}} {
		b, err := hkdf.Key(sha256.New, appKey, []byte(attemptID), "devflow-backup v1 "+d.purpose+" "+object, len(d.out))
		if err != nil {
			return AESKeys{}, fmt.Errorf("derive keys: %w", err)
		}
		copy(d.out[:], b)
	}
	return k, nil
}

// Tag is the MAC of an object: HMAC-SHA-256 over the 32 bytes of the SHA-256 of its stored bytes.
func (k AESKeys) Tag(stored Digest) Digest {
	h := hmac.New(sha256.New, k.MAC[:])
	h.Write(stored[:])
	return Digest(h.Sum(nil))
}

// String returns secret.Mask.
func (AESKeys) String() string { return secret.Mask }

// GoString returns secret.Mask, for %#v.
func (AESKeys) GoString() string { return secret.Mask }

// Format writes secret.Mask for every verb and flag.
func (AESKeys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, secret.Mask) }

// MarshalText returns secret.Mask.
func (AESKeys) MarshalText() ([]byte, error) { return []byte(secret.Mask), nil }

// MarshalJSON returns secret.Mask as a JSON string.
func (AESKeys) MarshalJSON() ([]byte, error) { return []byte(`"` + secret.Mask + `"`), nil }

// LogValue returns secret.Mask.
func (AESKeys) LogValue() slog.Value { return slog.StringValue(secret.Mask) }

var aesEncryption = encryption{
	name:   AES256CBC,
	suffix: ".enc",
	keyed:  true,
	check: func(c Codec) error {
		if len(c.Recipients) > 0 {
			return fmt.Errorf("recipients %s are not allowed with encryption %s: name no recipient, or use %s",
				strings.Join(c.Recipients, ", "), AES256CBC, Age)
		}
		return nil
	},
	newWriter: func(dst io.Writer, _ Codec, keys *AESKeys) (io.WriteCloser, error) { return newAESWriter(dst, keys) },
	newReader: func(src *storedReader, o ReadOptions) (io.Reader, error) { return newAESReader(src, o) },
}

// aesWriter makes one CBC stream: a random IV, the blocks, PKCS#7. Close writes the last block.
type aesWriter struct {
	dst io.Writer
	cbc cipher.BlockMode
	buf []byte // not yet written: at first the IV, then less than one cipher block between writes
	iv  int    // bytes of buf that are the IV
	err error
}

func newAESWriter(dst io.Writer, keys *AESKeys) (*aesWriter, error) {
	block, err := aes.NewCipher(keys.Cipher[:])
	if err != nil {
		return nil, err
	}
	w := &aesWriter{dst: dst, buf: make([]byte, aes.BlockSize, aesChunk), iv: aes.BlockSize}
	rand.Read(w.buf) // never fails: it ends the program instead
	w.cbc = cipher.NewCBCEncrypter(block, w.buf)
	return w, nil
}

// Write leaves p as it is: others read it at the same time.
func (w *aesWriter) Write(p []byte) (n int, err error) {
	for w.err == nil && n < len(p) {
		k := copy(w.buf[len(w.buf):cap(w.buf)], p[n:])
		w.buf = w.buf[:len(w.buf)+k]
		n += k
		if len(w.buf) == cap(w.buf) {
			w.flush()
		}
	}
	return n, w.err
}

// flush encrypts and writes the whole cipher blocks of the buffer.
func (w *aesWriter) flush() {
	whole := len(w.buf) &^ (aes.BlockSize - 1)
	w.cbc.CryptBlocks(w.buf[w.iv:whole], w.buf[w.iv:whole])
	if _, w.err = w.dst.Write(w.buf[:whole]); w.err != nil {
		return
	}
	w.buf, w.iv = w.buf[:copy(w.buf, w.buf[whole:])], 0
}

// Close pads and writes what is left: between one and 16 bytes of padding, each telling their number.
func (w *aesWriter) Close() error {
	if w.err != nil {
		return w.err
	}
	pad := aes.BlockSize - len(w.buf)%aes.BlockSize
	for range pad { // the buffer is never full between writes, and a multiple of the cipher block
		w.buf = append(w.buf, byte(pad))
	}
	w.flush()
	if w.err != nil {
		return w.err
	}
	w.err = ErrClosed
	return nil
}

// aesReader holds the last cipher block back until src has ended and its SHA-256 is the authenticated one. Only then is
// the padding looked at: nobody learns from its errors what is in a changed file.
type aesReader struct {
	src    *storedReader
	expect Digest           // of the stored bytes
	cbc    cipher.BlockMode // nil until the IV is read
	block  cipher.Block

	buf   []byte // stored bytes; those before plain are decrypted
	plain int    // end of what is decrypted
	at    int    // beginning of what is not handed out
	err   error
}

// newAESReader reads nothing of src before the keys have proven the checksum that src must turn out to have.
func newAESReader(src *storedReader, o ReadOptions) (*aesReader, error) {
	if o.AES == nil {
		return nil, &WrongKeyError{Encryption: AES256CBC, Missing: true}
	}
	if o.Expect == nil {
		return nil, errors.New("read artifact: " + AES256CBC + " needs the checksum and the MAC of the manifest")
	}
	tag := o.AES.Tag(o.Expect.StoredSHA256)
	if !hmac.Equal(tag[:], o.Expect.MAC[:]) {
		return nil, &WrongKeyError{Encryption: AES256CBC}
	}
	block, err := aes.NewCipher(o.AES.Cipher[:])
	if err != nil {
		return nil, fmt.Errorf("read artifact: %w", err)
	}
	return &aesReader{src: src, expect: o.Expect.StoredSHA256, block: block, buf: make([]byte, 0, aesChunk)}, nil
}

func (r *aesReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for r.at == r.plain {
		if r.err != nil {
			return 0, r.err
		}
		r.fill()
	}
	n := copy(p, r.buf[r.at:r.plain])
	r.at += n
	return n, nil
}

// fill decrypts the next cipher blocks, all but the last that has been read.
func (r *aesReader) fill() {
	r.buf = r.buf[:copy(r.buf, r.buf[r.plain:])]
	r.at, r.plain = 0, 0
	have := len(r.buf)
	n, err := io.ReadFull(r.src, r.buf[have:cap(r.buf)])
	r.buf = r.buf[:have+n]
	// ReadFull's own io.ErrUnexpectedEOF and one of src are told apart by src.
	if _, ended, failure := r.src.state(); err != nil && (failure != nil || !ended) {
		r.err = err
		return
	}
	if r.cbc == nil && len(r.buf) >= aes.BlockSize {
		r.cbc = cipher.NewCBCDecrypter(r.block, r.buf[:aes.BlockSize])
		r.buf = r.buf[:copy(r.buf, r.buf[aes.BlockSize:])]
	}
	if err != nil {
		r.err = r.end()
		return
	}
	r.decrypt((len(r.buf) - 1) &^ (aes.BlockSize - 1))
}

func (r *aesReader) decrypt(n int) {
	r.cbc.CryptBlocks(r.buf[:n], r.buf[:n])
	r.plain = n
}

// end decrypts the rest and takes the padding off. It returns io.EOF for a clean end.
func (r *aesReader) end() error {
	if got := r.src.digest(); got != r.expect {
		return &DamageError{What: "stored SHA-256", Want: r.expect.String(), Got: got.String()}
	}
	if r.cbc == nil || len(r.buf) == 0 || len(r.buf)%aes.BlockSize != 0 {
		n, _, _ := r.src.state()
		return &DamageError{What: AES256CBC + " stream", Want: "an IV and whole blocks", Got: fmt.Sprintf("%d bytes", n)}
	}
	r.decrypt(len(r.buf))
	pad := int(r.buf[len(r.buf)-1])
	good := pad >= 1 && pad <= aes.BlockSize
	for i := 1; good && i <= pad; i++ {
		good = int(r.buf[len(r.buf)-i]) == pad
	}
	if !good {
		r.plain = 0 // nothing of a block that should not be
		return &DamageError{What: AES256CBC + " padding", Got: "not PKCS#7"}
	}
	r.plain -= pad
	return io.EOF
}
