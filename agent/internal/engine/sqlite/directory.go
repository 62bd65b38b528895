package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"devflowbackup/shared/wire"
)

// directory is a handle that stays on one directory whatever happens to its path. It holds no lock and reads nothing.
type directory struct {
	fd   int
	path string
}

// fileID tells one file from all others, as long as a handle on it is open.
type fileID struct{ dev, ino uint64 }

func idOf(st *unix.Stat_t) fileID {
	return fileID{uint64(st.Dev), st.Ino} //nolint:unconvert // the types differ between platforms
}

func regular(st *unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFREG }

// noOpenat2 is set where the kernel or a sandbox does not know openat2.
var noOpenat2 bool

// openDirectory opens a directory without following a symbolic link in any component.
func openDirectory(path string) (*directory, error) {
	if !noOpenat2 {
		fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{
			Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS,
		})
		if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) {
			if err != nil {
				return nil, pathFailure(path, err)
			}
			return &directory{fd, path}, nil
		}
	}
	fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, pathFailure("/", err)
	}
	d := &directory{fd, "/"}
	if path == "/" {
		return d, nil
	}
	for _, part := range components(path) {
		next, err := d.sub(part)
		d.close()
		if err != nil {
			return nil, err
		}
		d = next
	}
	return d, nil
}

// sub opens a directory in this one, not through a symbolic link.
func (d *directory) sub(name string) (*directory, error) {
	path := filepath.Join(d.path, name)
	fd, err := unix.Openat(d.fd, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, pathFailure(path, err)
	}
	return &directory{fd, path}, nil
}

func (d *directory) close() { _ = unix.Close(d.fd) }

// stat looks at an entry itself, never at what a link points to.
func (d *directory) stat(name string) (st unix.Stat_t, err error) {
	return st, unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
}

// is tells whether the path still leads to this directory.
func (d *directory) is(other *directory) bool {
	var a, b unix.Stat_t
	return unix.Fstat(d.fd, &a) == nil && unix.Fstat(other.fd, &b) == nil && idOf(&a) == idOf(&b)
}

// readable opens the directory for reading and syncing.
func (d *directory) readable() (*os.File, error) {
	fd, err := unix.Openat(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, pathFailure(d.path, err)
	}
	return os.NewFile(uintptr(fd), d.path), nil
}

func (d *directory) sync() error {
	f, err := d.readable()
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func (d *directory) remove(name string) error {
	if err := unix.Unlinkat(d.fd, name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove %q: %w", filepath.Join(d.path, name), err)
	}
	return nil
}

// create makes a file that was not there, and opens it.
func (d *directory) create(name string) (*os.File, error) {
	fd, err := unix.Openat(d.fd, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), filepath.Join(d.path, name)), nil
}

// free is how many bytes an unprivileged program may still write there.
func (d *directory) free() (int64, error) { return freeSpace(d.fd) }

func freeSpace(fd int) (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return 0, err
	}
	return int64(fs.Bavail) * int64(fs.Bsize), nil //nolint:unconvert // the types differ between platforms
}

// source is a regular file of a directory, held so that no other file can take its identity.
type source struct {
	dir  *directory
	name string
	fd   int // O_PATH
	st   unix.Stat_t
}

// open holds a file. What is not a regular file is refused without being opened.
func (d *directory) open(name string) (*source, error) {
	path := filepath.Join(d.path, name)
	fd, err := unix.Openat(d.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, pathFailure(path, err)
	}
	s := &source{dir: d, name: name, fd: fd}
	if err := unix.Fstat(fd, &s.st); err != nil {
		s.close()
		return nil, pathFailure(path, err)
	}
	if err := checkRegular(path, &s.st); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func checkRegular(path string, st *unix.Stat_t) error {
	var what string
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return nil
	case unix.S_IFLNK:
		return symlinkFailure(path)
	case unix.S_IFDIR:
		what = "directory"
	case unix.S_IFIFO:
		what = "named pipe"
	case unix.S_IFSOCK:
		what = "socket"
	default:
		what = "device"
	}
	return wire.Failf(wire.CodeNotAllowed, "%q is a %s: databases are regular files", path, what)
}

func symlinkFailure(path string) *wire.Failure {
	return wire.Failf(wire.CodeNotAllowed, "%q is a symbolic link, which is not followed", path).
		WithHint("name the database by its real path, and list that in paths")
}

// locate holds the file at an absolute, clean path and its directory.
func locate(path string) (*source, error) {
	dir, err := openDirectory(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	s, err := dir.open(filepath.Base(path))
	if err != nil {
		dir.close()
		return nil, err
	}
	return s, nil
}

func (s *source) close() { _ = unix.Close(s.fd) }

func (s *source) id() fileID { return idOf(&s.st) }

func (s *source) path() string { return filepath.Join(s.dir.path, s.name) }

// read opens the file that is held for reading. Where SQLite may have it open, the caller holds the file's turn.
func (s *source) read() (*os.File, error) {
	f, err := os.Open("/proc/self/fd/" + strconv.Itoa(s.fd))
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", s.path(), errors.Unwrap(err))
	}
	return f, nil
}

// check fails if the path no longer leads to the file that is held.
func (s *source) check() error {
	now, err := locate(s.path())
	if err != nil {
		return err
	}
	defer now.dir.close()
	defer now.close()
	if now.id() != s.id() || !now.dir.is(s.dir) {
		return replacedFailure(s.path())
	}
	return nil
}

func replacedFailure(path string) *wire.Failure {
	return wire.Failf(wire.CodeToolFailed, "database %q was replaced by another file while it was copied", path).Retry()
}

// The files that SQLite keeps beside a database.
const (
	walSuffix     = "-wal"
	shmSuffix     = "-shm"
	journalSuffix = "-journal"
)

var sideSuffixes = []string{walSuffix, shmSuffix, journalSuffix}

// sides fails if something beside the database is there that SQLite must not open. It returns the size of the write-ahead
// log, and whether its index is there.
func (s *source) sides() (wal int64, index bool, err error) {
	for _, suffix := range sideSuffixes {
		st, err := s.dir.stat(s.name + suffix)
		switch {
		case errors.Is(err, unix.ENOENT):
			continue
		case err != nil:
			return 0, false, pathFailure(s.path()+suffix, err)
		}
		if err := checkRegular(s.path()+suffix, &st); err != nil {
			return 0, false, err
		}
		switch suffix {
		case walSuffix:
			wal = st.Size
		case shmSuffix:
			index = true
		}
	}
	return wal, index, nil
}

// pathFailure says why a path does not open.
func pathFailure(path string, err error) *wire.Failure {
	switch {
	case errors.Is(err, unix.ENOENT):
		return missing(path)
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		if link := linkIn(path); link != "" {
			return symlinkFailure(link)
		}
		return missing(path)
	case errors.Is(err, unix.ENAMETOOLONG):
		return wire.Failf(wire.CodeBadRequest, "open %q: %w", path, err)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return wire.Failf(wire.CodePrivilege, "open %q: %w", path, err).WithHint("let the agent's user read the file and search its directories")
	}
	return wire.Failf(wire.CodeToolFailed, "open %q: %w", path, err).Retry()
}

func missing(path string) *wire.Failure {
	return wire.Failf(wire.CodeDatabaseMissing, "there is no database %q", path)
}

// linkIn names the first component of a path that is a symbolic link.
func linkIn(path string) string {
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		if info, err := os.Lstat(path[:i]); err != nil || info.Mode()&os.ModeSymlink != 0 {
			if err != nil {
				return ""
			}
			return path[:i]
		}
	}
	return ""
}

// descriptors counts the descriptors of this process that read or write the file, which handles do not.
func descriptors(id fileID) (n int, err error) {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil || idOf(&st) != id {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err == nil && flags&unix.O_PATH == 0 {
			n++
		}
	}
	return n, nil
}

// entries calls visit for each entry of the directory until it returns false or an error, in no order. Their types are hints.
func (d *directory) entries(ctx context.Context, visit func(entry fs.DirEntry) (bool, error)) error {
	f, err := d.readable()
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		list, err := f.ReadDir(256)
		for _, entry := range list {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			more, err := visit(entry)
			if err != nil || !more {
				return err
			}
		}
		if err != nil {
			return nil //nolint:nilerr // io.EOF, or a directory that vanished meanwhile
		}
	}
}
