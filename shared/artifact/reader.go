package artifact

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"sync"
)

// Reader gives the dump back: decryption, then decompression ahead of the caller, for zstd on up to four cores, for gzip,
// whose stream cannot be divided, on one.
//
// io.EOF means that the whole stored stream decoded cleanly, that nothing followed it, and that with
// ReadOptions.Expect both sizes and both SHA-256 are equal. Bytes are handed out before that is known, so a caller
// commits nothing until io.EOF. With age every byte handed out is authentic for the key, with zstd it passed its
// frame's checksum; with neither, damage shows at the end only.
//
// With aes-256-cbc the key proves the manifest's checksum by its MAC, before a stored byte is read, and the checksum proves
// the stored bytes: at their end, after most was decrypted and handed out. So a caller first reads all stored bytes once
// and compares their SHA-256 with Expect.StoredSHA256 itself; the Reader proves it again, against a store that tells another
// tale the second time, before it looks at the padding and before io.EOF.
//
// A failing source is reported as its own error, wrapped. A *DamageError is about the bytes alone.
//
// Memory: up to 6 frames of 4 MiB, each stored and decoded, whatever the artifact claims up to twice that.
type Reader struct {
	stored *storedReader
	plain  io.ReadCloser
	expect *Sums
	keyed  bool

	raw  hash.Hash
	rawN int64
	err  error
	sums Sums
}

// NewReader reads the header of src, if there is one. A key that does not fit, or is missing, is a *WrongKeyError.
func NewReader(src io.Reader, o ReadOptions) (*Reader, error) {
	comp, err := compressionNamed(o.Compression)
	if err != nil {
		return nil, fmt.Errorf("read artifact: %w", err)
	}
	enc, err := encryptionNamed(o.Encryption)
	if err != nil {
		return nil, fmt.Errorf("read artifact: %w", err)
	}
	r := &Reader{
		stored: &storedReader{src: src, hash: sha256.New(), limit: -1},
		expect: o.Expect,
		keyed:  enc.keyed,
		raw:    sha256.New(),
	}
	if o.Expect != nil {
		r.stored.limit = o.Expect.StoredSize
	}
	compressed, err := enc.newReader(r.stored, o)
	if err != nil {
		return nil, r.cause(err)
	}
	r.plain, err = comp.newReader(compressed)
	if err != nil {
		return nil, fmt.Errorf("read artifact: %w", err)
	}
	return r, nil
}

// Read returns raw bytes. An error, io.EOF too, stays.
func (r *Reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.plain.Read(p)
	r.raw.Write(p[:n])
	r.rawN += int64(n)
	switch {
	case r.expect != nil && r.rawN > r.expect.RawSize:
		// More than there should be: a caller that stores by size must not see it.
		n, err = 0, &DamageError{What: "raw size", Want: strconv.FormatInt(r.expect.RawSize, 10), Got: "more"}
	case err == io.EOF: //nolint:errorlint // io.EOF is returned bare by contract
		err = r.finish()
	}
	if err == nil {
		return n, nil
	}
	if err != io.EOF { //nolint:errorlint // as above
		err = r.cause(err)
	}
	r.err = err
	_ = r.plain.Close()
	return n, err
}

// Close releases the decoders. It does not wait for a pending read of src, and src must not be used afterwards
// unless Read returned io.EOF. It returns nil: whether the artifact was whole is told by Read alone.
func (r *Reader) Close() error {
	_ = r.plain.Close()
	if r.err == nil {
		r.err = ErrClosed
	}
	return nil
}

// Sums returns what was read. They are zero until Read has returned io.EOF.
func (r *Reader) Sums() Sums { return r.sums }

// finish decides between io.EOF and damage at the decoded end.
func (r *Reader) finish() error {
	if err := r.stored.end(); err != nil {
		return err
	}
	sums := Sums{RawSize: r.rawN, StoredSize: r.stored.n}
	r.raw.Sum(sums.RawSHA256[:0])
	r.stored.hash.Sum(sums.StoredSHA256[:0])
	if r.expect != nil {
		if err := r.expect.diff(sums); err != nil {
			return err
		}
		if r.keyed {
			sums.MAC = r.expect.MAC // of this StoredSHA256, as was proven before the first byte
		}
	}
	r.sums = sums
	return io.EOF
}

// cause names the first reason: the source's own error, then a stored size that explains the decoder's error.
func (r *Reader) cause(err error) error {
	n, ended, failure := r.stored.state()
	if failure != nil {
		var damage *DamageError
		if errors.As(failure, &damage) {
			return damage
		}
		return fmt.Errorf("read stored bytes: %w", failure)
	}
	if r.expect != nil && ended && n != r.expect.StoredSize {
		return &DamageError{
			What: "stored size", Want: strconv.FormatInt(r.expect.StoredSize, 10), Got: strconv.FormatInt(n, 10), Err: err,
		}
	}
	return err
}

// storedReader counts and hashes the stored bytes, and remembers how they ended. One goroutine reads, while
// another may ask for the state.
type storedReader struct {
	src   io.Reader
	hash  hash.Hash // may be nil
	limit int64     // more bytes than this are damage; negative for no limit

	mu    sync.Mutex
	n     int64
	ended bool  // src returned io.EOF
	err   error // any other error of src
}

func (s *storedReader) state() (n int64, ended bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n, s.ended, s.err
}

func (s *storedReader) Read(p []byte) (int, error) {
	if _, ended, err := s.state(); err != nil {
		return 0, err
	} else if ended {
		return 0, io.EOF
	}
	n, err := s.src.Read(p)
	if n < 0 || n > len(p) {
		n, err = 0, errors.New("the source returned an impossible count")
	}
	if s.hash != nil {
		s.hash.Write(p[:n])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n += int64(n)
	switch {
	case s.limit >= 0 && s.n > s.limit:
		s.err = &DamageError{What: "stored size", Want: strconv.FormatInt(s.limit, 10), Got: "more"}
		return n, s.err
	case err == io.EOF: //nolint:errorlint // a wrapped io.EOF is not an end
		s.ended = true
	case err != nil:
		s.err = err
	}
	return n, err
}

// digest is the SHA-256 of what was read so far, for the goroutine that reads.
func (s *storedReader) digest() (d Digest) {
	s.hash.Sum(d[:0])
	return d
}

// end checks that src has no byte left. It is called when nothing else reads any more.
func (s *storedReader) end() error {
	var b [1]byte
	for empty := 0; !s.ended; empty++ {
		n, err := s.Read(b[:])
		switch {
		case n > 0:
			return &DamageError{What: "end of artifact", Got: "more bytes follow"}
		case err != nil && !s.ended:
			return err
		case empty == 100:
			return io.ErrNoProgress
		}
	}
	return nil
}
