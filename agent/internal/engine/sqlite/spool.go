package sqlite

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"devflowbackup/shared/wire"
)

// spoolPrefix starts the names that copies have for the moment in which SQLite opens them.
const spoolPrefix = "devflow_snapshot_"

// spool opens the snapshot directory and makes it if it is not there. It must be the agent's alone to write.
func (e *Engine) spool() (*directory, error) {
	path := e.cfg.SnapshotDir
	what := fmt.Sprintf("use the snapshot directory %q", path)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, systemFailure(err, what)
	}
	// The agent's own directory may lie behind links of the administrator's.
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, systemFailure(err, what)
	}
	d, err := openDirectory(path)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		d.close()
		return nil, systemFailure(err, what)
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		d.close()
		return nil, wire.Failf(wire.CodePrivilege, "%s: other users can write to it (owner %d, mode %04o)", what, st.Uid, st.Mode&0o7777).
			WithHint("give it to the agent's user and run chmod 700, or name another snapshot_dir")
	}
	return d, nil
}

// room fails if so many bytes, and some to spare, do not fit.
func (d *directory) room(bytes int64, what string) error {
	free, err := d.free()
	if err != nil {
		return systemFailure(err, what)
	}
	if need := bytes + bytes/10 + spareSpace; free < need {
		return wire.Failf(wire.CodeDiskFull, "%s: %d bytes are free in %q, %d are needed", what, free, d.path, need).
			WithHint("free space on the disk, or put snapshot_dir on a larger one")
	}
	return nil
}

// spooled makes a file in the spool for SQLite to open by its name. While it has the name it is locked, so that
// nobody takes it for one that a dead process left.
func (d *directory) spooled() (f *os.File, name string, err error) {
	var b [12]byte
	_, _ = rand.Read(b[:])
	name = spoolPrefix + hex.EncodeToString(b[:])
	if f, err = d.create(name); err != nil {
		return nil, "", err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, "", errors.Join(fmt.Errorf("lock %q: %w", name, err), d.remove(name))
	}
	return f, name, nil
}

// nameless makes a file that never has a name.
func (d *directory) nameless() (*os.File, error) {
	fd, err := unix.Openat(d.fd, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), filepath.Join(d.path, "(nameless)")), nil
	}
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) {
		return nil, err
	}
	f, name, err := d.spooled()
	if err != nil {
		return nil, err
	}
	if err := d.remove(name); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// sweep removes copies that a process left when it was killed in the moment in which they had a name.
func (e *Engine) sweep() {
	if _, err := os.Lstat(e.cfg.SnapshotDir); err != nil {
		return
	}
	d, err := e.spool()
	if err != nil {
		return // Check and Dump report it
	}
	defer d.close()
	err = d.entries(context.Background(), func(entry fs.DirEntry) (bool, error) {
		name := entry.Name()
		if strings.HasPrefix(name, spoolPrefix) && d.dead(name) {
			e.log.Warn("removing the copy of a process that was killed", "file", filepath.Join(d.path, name))
			return true, d.remove(name)
		}
		return true, nil
	})
	if err != nil {
		e.log.Warn("clean the snapshot directory", "err", err)
	}
}

// dead tells whether no process has the copy's lock.
func (d *directory) dead(name string) bool {
	fd, err := unix.Openat(d.fd, name, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil
}
