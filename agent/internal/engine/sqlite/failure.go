package sqlite

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
	sqlite3 "modernc.org/sqlite/lib"

	"devflowbackup/shared/wire"
)

// stopped is the failure of work that ctx ended, nil if ctx goes on.
func stopped(ctx context.Context, what string) *wire.Failure {
	if ctx.Err() == nil {
		return nil
	}
	cause := context.Cause(ctx)
	var failure *wire.Failure
	switch {
	case errors.As(cause, &failure):
		return failure
	case errors.Is(cause, context.DeadlineExceeded):
		return wire.Failf(wire.CodeTimedOut, "%s: %w", what, cause)
	}
	return wire.Failf(wire.CodeCancelled, "%s: %w", what, cause)
}

// failure gives any error of work on a database its code.
func failure(ctx context.Context, err error, what string) *wire.Failure {
	if f := stopped(ctx, what); f != nil {
		return f
	}
	var already *wire.Failure
	if errors.As(err, &already) {
		return already
	}
	if errors.Is(err, errStalled) {
		return wire.Failf(wire.CodeStalled, "%s: %w", what, err).Retry().WithHint("look at the disk, or at the network file system, that holds the file")
	}
	primary, extended := resultCode(err)
	switch primary {
	case 0:
		return systemFailure(err, what)
	case sqlite3.SQLITE_NOTADB:
		return wire.Failf(wire.CodeToolFailed, "%s: the file is not an SQLite database, or it is encrypted: %w", what, err)
	case sqlite3.SQLITE_CORRUPT:
		return wire.Failf(wire.CodeToolFailed, "%s: the database is damaged: %w", what, err).
			WithHint("look at the file with PRAGMA integrity_check, and restore an older backup beside it")
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL:
		return wire.Failf(wire.CodeLockTimeout, "%s: another program holds its lock: %w", what, err).Retry().
			WithHint("shorten the program's transactions, or let it use PRAGMA journal_mode = WAL, in which readers never wait")
	case sqlite3.SQLITE_FULL:
		return diskFull(what, err)
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_AUTH:
		if extended == sqlite3.SQLITE_READONLY_ROLLBACK {
			return hotJournal(what, err)
		}
		return wire.Failf(wire.CodePrivilege, "%s: %w", what, err).
			WithHint("let the agent's user read the file; a database in WAL mode also needs its -wal and -shm files, or a directory in which they can be made")
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM:
		return wire.Failf(wire.CodeToolFailed, "%s: %w", what, err).Retry()
	}
	return wire.Failf(wire.CodeToolFailed, "%s: %w", what, err)
}

func systemFailure(err error, what string) *wire.Failure {
	for _, full := range []error{unix.ENOSPC, unix.EDQUOT, unix.EFBIG} {
		if errors.Is(err, full) {
			return diskFull(what, err)
		}
	}
	for _, denied := range []error{unix.EROFS, unix.EACCES, unix.EPERM} {
		if errors.Is(err, denied) {
			return wire.Failf(wire.CodePrivilege, "%s: %w", what, err)
		}
	}
	return wire.Failf(wire.CodeToolFailed, "%s: %w", what, err).Retry()
}

func diskFull(what string, err error) *wire.Failure {
	return wire.Failf(wire.CodeDiskFull, "%s: %w", what, err).WithHint("free space on the disk, or put snapshot_dir on a larger one")
}

// hotJournal is the failure of a database whose last writer died. Rolling its transaction back is left to the database's
// own programs: the journal may name files for SQLite to delete.
func hotJournal(what string, err error) *wire.Failure {
	return wire.Failf(wire.CodeToolFailed, "%s: a program died while it wrote, and left a journal to be rolled back: %w", what, err).
		WithHint("open the database once with its own program, which rolls back; a journal of a transaction over several attached files needs them all")
}

// corrupt is the failure of bytes that are no whole database.
func corrupt(format string, args ...any) *wire.Failure {
	return wire.Failf(wire.CodeCorrupt, "the dump is no whole SQLite database: "+format, args...)
}
