package unit

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// holder is the process that holds a lock on a file, 0 if none does. It only looks: taking the lock, even for a moment, could make a
// start fail.
func holder(path string) (pid int, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, errors.New("this system does not tell who holds a lock")
	}
	f, err := os.Open("/proc/locks")
	if err != nil {
		return 0, fmt.Errorf("look for who holds the lock: %w", err)
	}
	defer func() { _ = f.Close() }()
	// 1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF. Lines with "->" wait for one. Device numbers differ from those of files on
	// some file systems: the inode has to do.
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		field := strings.Fields(lines.Text())
		if len(field) < 6 || field[1] != "FLOCK" {
			continue
		}
		if inode := field[5][strings.LastIndexByte(field[5], ':')+1:]; inode == strconv.FormatUint(st.Ino, 10) {
			return strconv.Atoi(field[4])
		}
	}
	return 0, lines.Err()
}

func ownedByRoot(info fs.FileInfo) (bool, error) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false, fmt.Errorf("%s: its owner is not known", info.Name())
	}
	return st.Uid == 0, nil
}
