package sqlite

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"golang.org/x/sys/unix"
)

// identity tells the file from every other one, also from one that got its inode after it was removed: it is made of the file
// system's number, the file's, its generation and the time it was made. Renaming, writing and a restart of the host leave it
// as it is.
func (s *source) identity() (string, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(s.fd, &fs); err != nil {
		return "", fmt.Errorf("identify %q: %w", s.path(), err)
	}
	var x unix.Statx_t
	if err := unix.Statx(s.fd, "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_BTIME, &x); err != nil {
		return "", fmt.Errorf("identify %q: %w", s.path(), err)
	}
	if x.Mask&unix.STATX_BTIME == 0 {
		x.Btime = unix.StatxTimestamp{}
	}
	h := sha256.New()
	fmt.Fprintf(h, "%v %d %d.%d", fs.Fsid, x.Ino, x.Btime.Sec, x.Btime.Nsec)
	// The handle holds the generation, where the file system has one.
	if handle, _, err := unix.NameToHandleAt(s.fd, "", unix.AT_EMPTY_PATH); err == nil {
		fmt.Fprintf(h, " %d %x", handle.Type(), handle.Bytes())
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}
