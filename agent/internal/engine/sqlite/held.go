package sqlite

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/wire"
)

// Bytes of a database file whose locks say who reads and who writes it. A program in WAL mode has a lock on some of them for as
// long as it is connected, another one while it reads or writes.
const (
	lockStart = 0x4000_0000
	lockBytes = 512
)

// held is a database file that is open for writing here. While it is locked, no program reads or writes it through SQLite. The
// caller has the file's turn.
//
// It is never opened by SQLite: that would roll back a journal that lies beside it, which may name other files to be removed.
type held struct {
	*source
	file *os.File
}

// grasp opens the file for writing, without a lock.
func (s *source) grasp() (*held, error) {
	if s.st.Nlink > 1 {
		return nil, linkedFailure(s)
	}
	path := "/proc/self/fd/" + strconv.Itoa(s.fd)
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOATIME|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EPERM) {
		fd, err = unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return nil, systemFailure(err, fmt.Sprintf("open %q for writing", s.path()))
	}
	return &held{s, os.NewFile(uintptr(fd), s.path())}, nil
}

// lock takes SQLite's exclusive lock. It is of the open file and not of the process, so that nothing else in this process drops
// it. An inUse error tells who is in the way.
func (h *held) lock() error {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: lockStart, Len: lockBytes}
	err := unix.FcntlFlock(h.file.Fd(), unix.F_OFD_SETLK, &lock)
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES):
		return fmt.Errorf("lock %q: %w", h.path(), err)
	}
	const state = "has it locked"
	who := engine.Session{Client: "a process that is not seen", State: state}
	if unix.FcntlFlock(h.file.Fd(), unix.F_OFD_GETLK, &lock) == nil && lock.Type != unix.F_UNLCK && lock.Pid > 0 {
		who = describeProcess(int(lock.Pid), state)
	}
	return &inUse{h.path(), []engine.Session{who}}
}

// release gives the lock back.
func (h *held) release() { _ = h.file.Close() }

// complete brings what the write-ahead log holds into the locked file, and removes what SQLite keeps beside it: no other file
// that gets this name may be taken for its own.
func (h *held) complete() error {
	if _, _, err := h.sides(); err != nil {
		return err
	}
	if err := h.dir.checkJournal(h.name); err != nil {
		return err
	}
	wal, err := h.dir.open(h.name + walSuffix)
	switch {
	case err == nil:
		defer wal.close()
		f, err := wal.read()
		if err != nil {
			return err
		}
		defer f.Close()
		if err := fold(h.file, f, wal.path()); err != nil {
			return fmt.Errorf("complete %q: %w", h.path(), err)
		}
	case !wire.HasCode(err, wire.CodeDatabaseMissing):
		return err
	}
	gone := false
	for _, suffix := range sideSuffixes {
		if _, err := h.dir.stat(h.name + suffix); errors.Is(err, unix.ENOENT) {
			continue
		}
		if err := h.dir.remove(h.name + suffix); err != nil {
			return err
		}
		gone = true
	}
	if gone {
		return h.dir.sync()
	}
	return nil
}

// checkJournal refuses a database with a transaction that nobody has finished. The journal of one that was, where it is kept,
// starts with a zero.
func (d *directory) checkJournal(name string) error {
	journal, err := d.open(name + journalSuffix)
	if wire.HasCode(err, wire.CodeDatabaseMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	defer journal.close()
	f, err := journal.read()
	if err != nil {
		return err
	}
	defer f.Close()
	var first [1]byte
	if n, err := f.ReadAt(first[:], 0); n == 0 || first[0] == 0 {
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read %q: %w", journal.path(), err)
		}
		return nil
	}
	return hotJournal(fmt.Sprintf("use %q", filepath.Join(d.path, name)), errors.New("the journal is not empty"))
}

// inUse is a file that other programs use.
type inUse struct {
	path     string
	sessions []engine.Session
}

func (u *inUse) Error() string {
	return fmt.Sprintf("%q is in use by %s", u.path, describeSessions(u.sessions))
}

// failure is what an operator is told.
func (u *inUse) failure(what string) *wire.Failure {
	return wire.Failf(wire.CodeTargetInUse, "%s: %w", what, u).Retry().
		WithHint("stop the programs that use it, or let the swap wait for them; the agent ends no programs")
}
