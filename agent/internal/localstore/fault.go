package localstore

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"devflowbackup/shared/wire"
)

// ErrGone is wrapped by Commit's error when the files that were to get their names are not there any more.
var ErrGone = errors.New("the files of the backup are gone")

// writeFault gives an error of writing its code.
func writeFault(what string, err error) error {
	switch {
	case err == nil || isFailure(err):
		return err
	case is(err, unix.ENOSPC, unix.EDQUOT, unix.EFBIG):
		return wire.Failf(wire.CodeDiskFull, "%s: %w", what, err).
			WithHint("free space on the disk of the backup directory, or keep fewer backups")
	case is(err, unix.EROFS):
		return wire.Failf(wire.CodeDiskFull, "%s: %w", what, err).WithHint("the disk takes nothing: mount it for writing")
	case is(err, unix.EIO):
		return wire.Failf(wire.CodeDiskFull, "%s: %w", what, err).WithHint("the disk fails: look at the kernel's log")
	}
	return otherFault(what, err)
}

// readFault gives an error of reading its code.
func readFault(what string, err error) error {
	switch {
	case err == nil || isFailure(err):
		return err
	case is(err, unix.ENOENT):
		return wire.Failf(wire.CodeMissing, "%s: %w", what, err)
	case is(err, unix.EIO, unix.ESTALE, unix.ENXIO, unix.ENODEV):
		return wire.Failf(wire.CodeStorageUnavailable, "%s: %w", what, err).Retry().WithHint("the disk fails: look at the kernel's log")
	}
	return otherFault(what, err)
}

func otherFault(what string, err error) error {
	switch {
	case is(err, unix.EACCES, unix.EPERM):
		return wire.Failf(wire.CodeNotAllowed, "%s: %w", what, err).
			WithHint("the backup directory must belong to the user that the agent runs as, and be in ReadWritePaths of its unit")
	case is(err, unix.ELOOP, unix.ENOTDIR):
		return wire.Failf(wire.CodeNotAllowed, "%s: a symbolic link, or a file in place of a directory, lies in the backup directory: %w", what, err).
			WithHint("remove it; the agent follows no links there")
	case is(err, unix.EEXIST):
		return wire.Failf(wire.CodeForeignObject, "%s: a file of that name is there already: %w", what, err).
			WithHint("the agent overwrites no backup; move the file away")
	}
	return fmt.Errorf("%s: %w", what, err)
}

func is(err error, list ...unix.Errno) bool {
	for _, e := range list {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func isFailure(err error) bool {
	var f *wire.Failure
	return errors.As(err, &f)
}
