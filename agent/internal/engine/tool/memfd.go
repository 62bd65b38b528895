package tool

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// MemoryFile is a file that only lives in memory, readable by us alone: for a password that a program reads as a file,
// or a spool. It is gone when its last descriptor is closed.
func MemoryFile(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make memory file: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	// libpq refuses a password file that others could read.
	if err := f.Chmod(0o600); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("make memory file: %w", err)
	}
	if _, err := f.WriteAt(content, 0); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("write memory file: %w", err)
	}
	return f, nil
}
