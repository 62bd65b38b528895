package localstore

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// place is where a key's file lies: its directory, open, and its name there.
type place struct {
	dir  *os.File
	name string
	key  string
}

func (p place) close() { _ = p.dir.Close() }

// at opens the directory of a key, step by step and through no link. With create, what is missing is made durably. Without,
// a missing directory is an error that is fs.ErrNotExist; a missing root never is.
func (s *Store) at(key string, create bool) (place, error) {
	if err := CheckKey(key); err != nil {
		return place{}, err
	}
	dir, err := s.root()
	if err != nil {
		return place{}, err
	}
	steps := strings.Split(key, "/")
	for _, name := range steps[:len(steps)-1] {
		next, err := openDir(dir, name)
		if errors.Is(err, unix.ENOENT) && create {
			if next, err = makeDir(dir, name); err != nil {
				err = writeFault("make the directory of "+key, err)
			}
		}
		_ = dir.Close()
		if err != nil {
			return place{}, err
		}
		dir = next
	}
	return place{dir: dir, name: steps[len(steps)-1], key: key}, nil
}

func openDir(in *os.File, name string) (*os.File, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(int(in.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// makeDir makes a directory and its entry durable.
func makeDir(in *os.File, name string) (*os.File, error) {
	if err := unix.Mkdirat(int(in.Fd()), name, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, err
	}
	if err := in.Sync(); err != nil {
		return nil, err
	}
	return openDir(in, name)
}

// open opens a file of the place. A link is not followed, and a pipe or device not waited for.
func (p place) open(name string, flags int) (*os.File, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(int(p.dir.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), p.key), nil
}

// stat looks at a file of the place.
func (p place) stat(name string) (st unix.Stat_t, exists bool, err error) {
	_, err = retry(func() (int, error) {
		return 0, unix.Fstatat(int(p.dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	if errors.Is(err, unix.ENOENT) {
		return st, false, nil
	}
	return st, err == nil, err
}

func regular(st unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFREG }

// unlink removes a file of the place and tells whether there was one.
func (p place) unlink(name string) (bool, error) {
	err := unix.Unlinkat(int(p.dir.Fd()), name, 0)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, err
}

// prune removes the directories of a key's date that are empty, and makes that durable as far as it can: what a crash
// leaves is an empty directory. The caller holds s.names.
func (s *Store) prune(key string) {
	dir := key
	for range 3 { // day, month, year
		dir = dir[:strings.LastIndexByte(dir, '/')]
		up := dir[:strings.LastIndexByte(dir, '/')]
		if s.rmdir(up, dir[len(up)+1:]) != nil {
			return
		}
	}
}

func (s *Store) rmdir(in, name string) error {
	dir, err := s.root()
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	for step := range strings.SplitSeq(in, "/") {
		next, err := openDir(dir, step)
		if err != nil {
			return err
		}
		_ = dir.Close()
		dir = next
	}
	if err := unix.Unlinkat(int(dir.Fd()), name, unix.AT_REMOVEDIR); err != nil {
		return err
	}
	return dir.Sync()
}
