package localstore

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	// freeEvery is how many bytes are written at most between two looks at the free space.
	freeEvery = 64 << 20
	// flushEvery is how many bytes are written before the disk is told to begin with them, so that the sync at the end
	// has little left to wait for and the page cache keeps what the database needs.
	flushEvery = 8 << 20
)

// Writer writes one file of a backup under its partial name. Write, Close and Release belong to one goroutine, Abort and
// Stored to any. Abort waits for the write that is under way.
type Writer struct {
	s    *Store
	at   place
	raw  *os.File
	f    File
	room int64 // may be written before the free space is looked at again

	stored  atomic.Int64
	aborted atomic.Bool // no further write begins

	mu      sync.Mutex // held by every method that uses the descriptors
	flushed int64
	ended   bool
}

// Create begins the file of a key. One that is there already, whole or partial, is refused, and so is every file when less
// than MinFree is left.
func (s *Store) Create(key string) (*Writer, error) {
	s.names.Lock()
	defer s.names.Unlock()
	at, err := s.at(key, true)
	if err != nil {
		return nil, writeFault("create "+key, err)
	}
	w, err := s.create(at)
	if err != nil {
		at.close()
		s.prune(key)
		return nil, writeFault("create "+key, err)
	}
	return w, nil
}

func (s *Store) create(at place) (*Writer, error) {
	if _, exists, err := at.stat(at.name); err != nil {
		return nil, err
	} else if exists {
		return nil, unix.EEXIST
	}
	room, err := s.room(at.dir, 1)
	if err != nil {
		return nil, err
	}
	raw, err := at.open(at.name+partial, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return nil, err
	}
	w := &Writer{s: s, at: at, raw: raw, f: raw, room: min(room, freeEvery)}
	if s.opt.Wrap != nil {
		w.f = s.opt.Wrap(at.key, raw)
	}
	return w, nil
}

// Write appends to the file. After an error the caller aborts.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended || w.aborted.Load() {
		return 0, fs.ErrClosed
	}
	if int64(len(p)) > w.room {
		room, err := w.s.room(w.at.dir, int64(len(p)))
		if err != nil {
			return 0, err
		}
		w.room = max(int64(len(p)), min(room, freeEvery))
	}
	n, err := w.f.Write(p)
	w.room -= int64(n)
	total := w.stored.Add(int64(n))
	if err != nil {
		return n, writeFault("write "+w.at.key, err)
	}
	if total-w.flushed >= flushEvery {
		w.flush(total)
	}
	return n, nil
}

// flush has the disk begin with what was written, and gives up the memory of what it has likely finished. Both are hints:
// errors show at the sync.
func (w *Writer) flush(total int64) {
	fd := int(w.raw.Fd())
	_ = unix.SyncFileRange(fd, w.flushed, total-w.flushed, unix.SYNC_FILE_RANGE_WRITE)
	if behind := w.flushed - 2*flushEvery; behind > 0 {
		_ = unix.Fadvise(fd, 0, behind, unix.FADV_DONTNEED)
	}
	w.flushed = total
}

// Stored is how many bytes were written.
func (w *Writer) Stored() int64 { return w.stored.Load() }

// Close makes the bytes durable, still under the partial name. After an error the caller aborts.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended || w.aborted.Load() {
		return fs.ErrClosed
	}
	if err := w.f.Sync(); err != nil {
		return writeFault("sync "+w.at.key, err)
	}
	_ = unix.Fadvise(int(w.raw.Fd()), 0, 0, unix.FADV_DONTNEED) // whoever reads it again reads the disk
	if err := w.f.Close(); err != nil {
		return writeFault("close "+w.at.key, err)
	}
	return nil
}

// Abort removes the partial file, before Commit. A second call does nothing, and neither does one after Release.
func (w *Writer) Abort() error {
	w.aborted.Store(true)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return nil
	}
	w.ended = true
	defer w.at.close()
	err := w.f.Close()
	if errors.Is(err, fs.ErrClosed) {
		err = nil
	}
	w.s.names.Lock()
	defer w.s.names.Unlock()
	if _, uerr := w.at.unlink(w.at.name + partial); uerr != nil {
		return writeFault("remove what is written of "+w.at.key, uerr)
	}
	if serr := w.at.dir.Sync(); serr != nil {
		return writeFault("remove what is written of "+w.at.key, serr)
	}
	w.s.prune(w.at.key)
	return writeFault("close "+w.at.key, err)
}

// Release ends the Writer after Close and leaves its file to Commit or Discard.
func (w *Writer) Release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended {
		w.ended = true
		w.at.close()
	}
}
