package localstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"devflowbackup/shared/wire"
)

// readBehind is how many bytes are read before the page cache may forget those before.
const readBehind = 32 << 20

// Reader reads one file from its beginning to its end.
type Reader struct {
	f     *os.File
	key   string
	size  int64
	off   int64
	given int64 // up to here the page cache was told to forget
}

// Open opens a whole file. One that is not there is wire.CodeMissing.
func (s *Store) Open(key string) (*Reader, error) {
	f, size, err := s.open(key)
	if err != nil {
		return nil, err
	}
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_SEQUENTIAL)
	return &Reader{f: f, key: key, size: size}, nil
}

func (s *Store) open(key string) (*os.File, int64, error) {
	at, err := s.at(key, false)
	if err != nil {
		return nil, 0, readFault("open "+key, err)
	}
	defer at.close()
	f, err := at.open(at.name, unix.O_RDONLY)
	if err != nil {
		return nil, 0, readFault("open "+key, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = wire.Failf(wire.CodeForeignObject, "%s is no file", key)
	}
	if err != nil {
		_ = f.Close()
		return nil, 0, readFault("open "+key, err)
	}
	return f, info.Size(), nil
}

// Size is the file's size when it was opened.
func (r *Reader) Size() int64 { return r.size }

// Read returns the next bytes.
func (r *Reader) Read(p []byte) (int, error) {
	n, err := r.f.Read(p)
	r.off += int64(n)
	if r.off-r.given >= readBehind {
		_ = unix.Fadvise(int(r.f.Fd()), r.given, r.off-r.given, unix.FADV_DONTNEED)
		r.given = r.off
	}
	if err == nil || err == io.EOF { //nolint:errorlint // io.EOF is returned bare by contract
		return n, err
	}
	return n, readFault("read "+r.key, err)
}

// Close closes the file.
func (r *Reader) Close() error { return r.f.Close() }

// Stat tells whether a whole file is there, and its size.
func (s *Store) Stat(key string) (size int64, exists bool, err error) {
	at, err := s.at(key, false)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, readFault("look at "+key, err)
	}
	defer at.close()
	st, exists, err := at.stat(at.name)
	if err == nil && exists && !regular(st) {
		err = wire.Failf(wire.CodeForeignObject, "%s is no file", key)
	}
	if err != nil {
		return 0, false, readFault("look at "+key, err)
	}
	return st.Size, exists, nil
}

// ReadAt returns [offset, offset+length) of a whole file as far as it goes, and its size. Length is at most
// wire.MaxLocalData.
func (s *Store) ReadAt(key string, offset, length int64) (data []byte, size int64, err error) {
	if offset < 0 || length < 0 || length > wire.MaxLocalData {
		return nil, 0, wire.Failf(wire.CodeBadRequest, "read %d bytes at %d of %.200q: at most %d are returned at once", length, offset, key, wire.MaxLocalData)
	}
	f, size, err := s.open(key)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = f.Close() }()
	data = make([]byte, max(0, min(length, size-offset)))
	n, err := f.ReadAt(data, offset)
	if err == io.EOF { //nolint:errorlint // io.EOF is returned bare by contract
		err = nil
	}
	if err != nil {
		return nil, 0, readFault(fmt.Sprintf("read %s at %d", key, offset), err)
	}
	return data[:n], size, nil
}
