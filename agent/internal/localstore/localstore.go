// Package localstore is the host's own backup directory: <dir>/<prefix>/backups/YYYY/MM/DD/<file>.
//
// Invariant: what Commit returned nil for is durable under its final name, and no other bytes of a backup ever have one.
// Until then they lie under the name with ".partial" behind it, and every failure removes them. Nothing that is there is
// overwritten but a manifest, and that as a whole.
//
// Keys come from elsewhere and are data: only the form that artifact.Key makes is accepted, and no symbolic link beneath
// the directory is followed. Directories are made 0700, files 0600. Errors are *wire.Failure where an operator can act.
package localstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"devflowbackup/agent/internal/statedir"
	"devflowbackup/shared/wire"
)

// File is what a backup's bytes are written through.
type File interface {
	io.WriteCloser
	Sync() error
}

// Options are a Store's settings.
type Options struct {
	Dir     string // absolute
	MinFree int64  // bytes; a backup stops before less than this is left

	// Wrap, if set, is put around every file that a backup is written to: for tests of disks that fail.
	Wrap func(key string, f File) File
}

// Store is a backup directory. It opens the directory anew for each operation, so that a disk may be mounted later. Its
// methods may be called from several goroutines.
type Store struct {
	opt Options

	// names is held while directories are made for a file that is not there yet, and while empty ones are removed.
	names sync.Mutex
	// whole is held while WriteFile writes: two of one key would share a partial file.
	whole sync.Mutex
}

// New makes a Store. It does not look at the directory.
func New(opt Options) *Store { return &Store{opt: opt} }

// Dir is the directory.
func (s *Store) Dir() string { return s.opt.Dir }

// Make makes the directory with mode 0700 if it is not there, and checks that it can be used.
func (s *Store) Make() error {
	if _, err := os.Stat(s.opt.Dir); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(s.opt.Dir, 0o700); err != nil {
			return writeFault("make "+s.opt.Dir, err)
		}
		if err := statedir.Sync(filepath.Dir(s.opt.Dir)); err != nil {
			return writeFault("make "+s.opt.Dir, err)
		}
	}
	root, err := s.root()
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	return s.writable(root)
}

// root opens the directory itself.
func (s *Store) root() (*os.File, error) {
	fd, err := retry(func() (int, error) {
		return unix.Open(s.opt.Dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		// Without the cause: a directory that is not there must not look like a file in it that is not there.
		return nil, wire.Failf(wire.CodeStorageUnavailable, "the backup directory %s is not there: %v", s.opt.Dir, err).
			WithHint("is its disk mounted? storage.local.dir in the agent's configuration names it").Retry()
	}
	if err != nil {
		return nil, readFault("open "+s.opt.Dir, err)
	}
	root := os.NewFile(uintptr(fd), s.opt.Dir)
	info, err := root.Stat()
	if err == nil && info.Mode().Perm()&0o022 != 0 {
		err = wire.Failf(wire.CodeNotAllowed, "other users can write to the backup directory %s (mode %04o)", s.opt.Dir, info.Mode().Perm()).
			WithHint("run `chmod 700 %s`", s.opt.Dir)
	}
	if err != nil {
		_ = root.Close()
		return nil, readFault("look at "+s.opt.Dir, err)
	}
	return root, nil
}

func (s *Store) writable(root *os.File) error {
	if err := unix.Faccessat(int(root.Fd()), ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return writeFault("write to "+s.opt.Dir, err)
	}
	return nil
}

// Usage looks at the directory now. What is wrong with it is in Error. It may hang for as long as the disk does.
func (s *Store) Usage() wire.LocalDir {
	u := wire.LocalDir{Dir: s.opt.Dir, MinFree: s.opt.MinFree}
	root, err := s.root()
	if err != nil {
		u.Error = err.Error()
		return u
	}
	defer func() { _ = root.Close() }()
	if err := s.writable(root); err != nil {
		u.Error = err.Error()
	}
	if u.FreeBytes, u.TotalBytes, err = space(root); err != nil {
		u.Error = err.Error()
	}
	return u
}

// space is what a user without privileges can still write, and the size of the disk.
func space(f *os.File) (free, total int64, err error) {
	var st unix.Statfs_t
	_, err = retry(func() (int, error) { return 0, unix.Fstatfs(int(f.Fd()), &st) })
	if err != nil {
		return 0, 0, readFault("look at free space", err)
	}
	return int64(st.Bavail) * int64(st.Bsize), int64(st.Blocks) * int64(st.Bsize), nil //nolint:unconvert // the types differ between platforms
}

// room is how many bytes may be written before less than MinFree is left; none is a failure.
func (s *Store) room(f *os.File, want int64) (int64, error) {
	free, _, err := space(f)
	if err != nil {
		return 0, err
	}
	if room := free - s.opt.MinFree; room >= want {
		return room, nil
	}
	return 0, wire.Failf(wire.CodeDiskFull, "the disk of the backup directory %s has %s left, and %s are to stay free", s.opt.Dir, size(free), size(s.opt.MinFree)).
		WithHint("free space there, keep fewer backups, or lower storage.local.min_free in the agent's configuration")
}

func size(n int64) string {
	const unit = 1 << 20
	if n < unit {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%d MiB", n/unit)
}

// retry repeats a call that a signal interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
