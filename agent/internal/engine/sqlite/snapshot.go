package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"

	"devflowbackup/shared/wire"
)

// stepPages is how many pages are copied between two looks at the context.
const stepPages = 1024

// facts describe a source at the moment of its snapshot.
type facts struct {
	pages, pageSize            int64
	userVersion, applicationID int64
	tables                     int64
	journalMode                string
}

// snapshot is a consistent copy of a database in a file without a name.
type snapshot struct {
	file  *os.File
	size  int64
	facts facts
}

func (s *snapshot) close() { _ = s.file.Close() }

// snapshot copies a database. The source's read transaction makes the copy consistent: a writer in WAL mode goes on
// meanwhile, one in rollback-journal mode waits at its commit.
func (e *Engine) snapshot(ctx context.Context, stall time.Duration, p *pulse, path string) (*snapshot, error) {
	what := fmt.Sprintf("copy database %q", path)
	s, err := call(ctx, stall, p, func(ctx context.Context) (*snapshot, error) { return e.take(ctx, p, path, what) }, (*snapshot).close)
	if err != nil {
		return nil, failure(ctx, err, what)
	}
	return s, nil
}

func (e *Engine) take(ctx context.Context, p *pulse, path, what string) (*snapshot, error) {
	src, err := locate(path)
	if err != nil {
		return nil, err
	}
	defer src.dir.close()
	defer src.close()
	if src.st.Nlink > 1 {
		return nil, linkedFailure(src)
	}
	done, err := takeTurn(ctx, src.id(), p.beat)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := src.checkReadable(); err != nil {
		return nil, err
	}
	e.reached("held")
	// Read-only: a transaction that was not finished is not rolled back, for its journal may name files to be deleted.
	conn, err := connect(ctx, pathURI(path)+"?mode=ro&"+commonSettings)
	if err != nil {
		return nil, err
	}
	defer conn.close()
	e.reached("connected")
	if err := e.begin(ctx, conn, p, path, e.cfg.LockTimeout); err != nil {
		return nil, err
	}
	f, err := conn.facts(ctx)
	if err != nil {
		return nil, err
	}
	if err := src.checkOpened(f.journalMode); err != nil {
		return nil, err
	}
	e.reached("opened")
	s, err := e.copy(ctx, conn, p, f, what)
	if err != nil {
		return nil, err
	}
	if err := src.check(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func linkedFailure(s *source) *wire.Failure {
	return wire.Failf(wire.CodeNotAllowed, "%q has %d names (hard links): SQLite keeps a journal for each, and the file may be another's", s.path(), s.st.Nlink).
		WithHint("leave the database one name; copy it with its own program instead of linking it")
}

// checkReadable refuses what is no SQLite database, and one that could only be opened by making files that its owner could
// not use.
func (s *source) checkReadable() error {
	_, index, err := s.sides()
	if err != nil {
		return err
	}
	f, err := s.read()
	if err != nil {
		return err
	}
	defer f.Close()
	h, empty, err := readHeader(f)
	if err != nil {
		return wire.Failf(wire.CodeToolFailed, "%q is not an SQLite database, or it is encrypted: %w", s.path(), err)
	}
	if me := os.Geteuid(); !empty && h.wal && !index && me != 0 && int(s.st.Uid) != me {
		return wire.Failf(wire.CodePrivilege, "%q is in WAL mode and no program has it open: reading it would make a -shm file that its owner could not write", s.path()).
			WithHint("run the agent as root or as the file's owner, or back up while the program runs")
	}
	return nil
}

// checkOpened proves that what SQLite opened by path are the files that were looked at: a path can be exchanged for a
// moment.
func (s *source) checkOpened(journalMode string) error {
	opened := []fileID{s.id()}
	if journalMode == "wal" {
		for _, suffix := range []string{walSuffix, shmSuffix} {
			st, err := s.dir.stat(s.name + suffix)
			if err != nil {
				return replacedFailure(s.path())
			}
			opened = append(opened, idOf(&st))
		}
	}
	for _, id := range opened {
		n, err := descriptors(id)
		if err != nil {
			return fmt.Errorf("list descriptors: %w", err)
		}
		if n == 0 {
			return replacedFailure(s.path())
		}
	}
	return s.check()
}

// begin opens the read transaction, and waits for a writer in rollback-journal mode at most so long.
func (e *Engine) begin(ctx context.Context, conn *connection, p *pulse, path string, patience time.Duration) error {
	if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
		return err
	}
	deadline := time.Now().Add(patience)
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		_, err := conn.number(ctx, "SELECT count(*) FROM sqlite_schema")
		if err == nil {
			return nil
		}
		if !locked(err) {
			return err
		}
		if time.Now().After(deadline) {
			return failure(ctx, err, fmt.Sprintf("read database %q: no lock within %s", path, patience))
		}
		p.beat()
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// facts are read in the connection's open transaction.
func (c *connection) facts(ctx context.Context) (f facts, err error) {
	for _, value := range []struct {
		to    *int64
		query string
	}{
		{&f.pages, "PRAGMA page_count"},
		{&f.pageSize, "PRAGMA page_size"},
		{&f.userVersion, "PRAGMA user_version"},
		{&f.applicationID, "PRAGMA application_id"},
		{&f.tables, "SELECT count(*) FROM sqlite_schema WHERE " + userTables},
	} {
		if *value.to, err = c.number(ctx, value.query); err != nil {
			return f, err
		}
	}
	if err := c.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&f.journalMode); err != nil {
		return f, fmt.Errorf("PRAGMA journal_mode: %w", err)
	}
	return f, nil
}

// copy writes the snapshot that the connection's transaction sees.
func (e *Engine) copy(ctx context.Context, conn *connection, p *pulse, f facts, what string) (*snapshot, error) {
	dir, err := e.spool()
	if err != nil {
		return nil, err
	}
	defer dir.close()
	if err := dir.room(f.pages*f.pageSize, what); err != nil {
		return nil, err
	}
	file, name, err := dir.spooled()
	if err != nil {
		return nil, err
	}
	s := &snapshot{file: file, facts: f}
	// The name goes as soon as SQLite has the file open: a crash leaves nothing.
	dsn := pathURI(dir.path+"/"+name) + "?mode=rw&_pragma=journal_mode(off)&_pragma=synchronous(off)&_pragma=locking_mode(exclusive)"
	unname := func() error { return dir.remove(name) }
	if f.pages == 0 {
		err = writeEmpty(ctx, dsn)
		err = errors.Join(err, unname())
		s.facts.pages = 1
	} else {
		err = conn.copyTo(ctx, dsn, unname, func() {
			p.beat()
			e.reached("copying")
		})
		err = errors.Join(err, unname())
	}
	if err == nil {
		err = s.measure()
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// again is another descriptor of the copy.
func (s *snapshot) again() (*os.File, error) {
	fd, err := unix.FcntlInt(s.file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), s.file.Name()), nil
}

func (s *snapshot) measure() error {
	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	s.size = info.Size()
	if want := s.facts.pages * s.facts.pageSize; s.size != want {
		return wire.Failf(wire.CodeIncompleteDump, "the copy has %d bytes, and should have %d", s.size, want).Retry()
	}
	return nil
}

// copyTo copies all pages. The transaction is open, so that no step waits for a lock or begins anew.
func (c *connection) copyTo(ctx context.Context, dsn string, opened func() error, stepped func()) error {
	return c.Raw(func(driver any) error {
		from, ok := driver.(interface {
			NewBackup(string) (*sqlite.Backup, error)
		})
		if !ok {
			return fmt.Errorf("the driver's connection is a %T, which copies nothing", driver)
		}
		b, err := from.NewBackup(dsn)
		if err != nil {
			return err
		}
		err = opened()
		for more := true; more && err == nil; {
			if more, err = b.Step(stepPages); err == nil {
				stepped()
				err = context.Cause(ctx)
			}
		}
		if ferr := b.Finish(); err == nil { // else it repeats the error
			err = ferr
		}
		return err
	})
}

// writeEmpty makes the smallest database. A file of no bytes is one for SQLite, but nobody could tell a backup of it
// from one that failed.
func writeEmpty(ctx context.Context, dsn string) error {
	conn, err := connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.close()
	_, err = conn.ExecContext(ctx, "PRAGMA user_version = 0")
	return err
}
