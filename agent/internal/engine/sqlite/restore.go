package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
	sqlite3 "modernc.org/sqlite/lib"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/wire"
)

var stagingName = regexp.MustCompile(`^` + engine.StagingPrefix + `[a-z0-9_]{1,40}$`)

const (
	// restoredMode is that of restored files: their owner writes, its group reads.
	restoredMode = 0o640
	// roomEvery is how many bytes are written between two looks at the disk's free space.
	roomEvery = 16 << 20
)

// restore is one file that is being filled. A Validate is one without a name.
type restore struct {
	e      *Engine
	ctx    context.Context
	cancel context.CancelCauseFunc
	detach func() bool // ctx no longer aborts
	what   string
	dir    *directory
	name   string // in dir; empty for a Validate

	mu     sync.Mutex // one Write, Close or clean-up at a time
	file   *os.File
	head   []byte
	limit  int64 // size of the database by its header; 0 if it does not say
	size   int64
	looked int64 // size at the last look at the free space
	closed bool
	gone   bool
	err    error

	noteMu sync.Mutex
	notes  strings.Builder
}

// Restore makes the staging file in the directory of the target, readable to nobody else. When it is complete it gets mode
// 0640, and the owner and group of the directory where the agent may give files away: as the program that owns the
// directory would have made it.
func (e *Engine) Restore(ctx context.Context, req engine.RestoreRequest) (engine.Restore, error) {
	if !stagingName.MatchString(req.Database) {
		return nil, wire.Failf(wire.CodeBadRequest, "restore into %q: the name must be %s and up to 40 of a-z, 0-9 and _", req.Database, engine.StagingPrefix)
	}
	if err := e.checkTarget(req.Target); err != nil {
		return nil, err
	}
	if err := checkChoices(req); err != nil {
		return nil, err
	}
	what := fmt.Sprintf("restore database %q", req.Target)
	if f := stopped(ctx, what); f != nil {
		return nil, f
	}
	there, err := e.staged(ctx, req.Database)
	switch {
	case err == nil:
		there.close()
		there.dir.close()
		return nil, wire.Failf(wire.CodeTargetExists, "%s: the staging file %q exists", what, there.path())
	case !wire.HasCode(err, wire.CodeDatabaseMissing):
		return nil, err
	}
	dir, err := openDirectory(filepath.Dir(req.Target))
	if err != nil {
		if wire.HasCode(err, wire.CodeDatabaseMissing) {
			return nil, wire.Failf(wire.CodeBadRequest, "%s: there is no directory %q", what, filepath.Dir(req.Target)).WithHint("make it, for the user whose program will use the database")
		}
		return nil, err
	}
	// A file can be swapped out later. Whatever else is there cannot.
	if st, err := dir.stat(filepath.Base(req.Target)); err == nil && !regular(&st) {
		dir.close()
		return nil, wire.Failf(wire.CodeTargetExists, "there is something at %q that is no database", req.Target).WithHint("choose another name, or move it away")
	}
	file, err := dir.create(req.Database)
	if err != nil {
		dir.close()
		if errors.Is(err, unix.EEXIST) {
			return nil, wire.Failf(wire.CodeTargetExists, "%s: the staging file exists", what)
		}
		return nil, systemFailure(err, what)
	}
	e.remember(req.Database, dir.path)
	return e.receive(ctx, dir, req.Database, file, what), nil
}

// checkChoices refuses what cannot be done with a file. Roles, owners and definers are not in one.
func checkChoices(req engine.RestoreRequest) error {
	if len(req.Only) > 0 {
		return wire.Failf(wire.CodeBadRequest, "a part of an SQLite database cannot be restored").
			WithHint("restore all of it as a new file, and copy from there with ATTACH")
	}
	return nil
}

// Validate writes the dump to a file without a name and lets SQLite read all of it.
func (e *Engine) Validate(ctx context.Context) (engine.Restore, error) {
	const what = "validate the dump"
	dir, err := e.spool()
	if err != nil {
		return nil, err
	}
	file, err := dir.nameless()
	if err != nil {
		dir.close()
		return nil, systemFailure(err, what)
	}
	return e.receive(ctx, dir, "", file, what), nil
}

func (e *Engine) receive(ctx context.Context, dir *directory, name string, file *os.File, what string) *restore {
	r := &restore{e: e, dir: dir, name: name, file: file, what: what, looked: -roomEvery}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	r.detach = context.AfterFunc(ctx, func() { r.abort(context.Cause(ctx)) })
	return r
}

// Write stores bytes. An error is final, and the file is gone by then.
func (r *restore) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil && r.closed {
		r.err = wire.Failf(wire.CodeInterrupted, "%s: it is closed", r.what)
	}
	if r.err != nil {
		return 0, r.err
	}
	if err := r.take(b); err != nil {
		return 0, r.fail(err)
	}
	return len(b), nil
}

func (r *restore) take(b []byte) error {
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	if err := r.look(b); err != nil {
		return err
	}
	if r.size-r.looked >= roomEvery {
		free, err := r.dir.free()
		if err != nil {
			return err
		}
		if free < spareSpace {
			return wire.Failf(wire.CodeDiskFull, "%s: %d bytes are free in %q, and %d are to stay so", r.what, free, r.dir.path, spareSpace)
		}
		r.looked = r.size
	}
	n, err := r.file.WriteAt(b, r.size)
	r.size += int64(n)
	return err
}

// look refuses bytes that are no database, or more than one, as early as they tell.
func (r *restore) look(b []byte) error {
	if len(r.head) < headerSize {
		r.head = append(r.head, b[:min(len(b), headerSize-len(r.head))]...)
		if n := min(len(r.head), len(magic)); !bytes.Equal(r.head[:n], magic[:n]) {
			return corrupt("it does not start with %q", magic[:len(magic)-1])
		}
		if len(r.head) == headerSize {
			h, err := parseHeader(r.head)
			if err != nil {
				return corrupt("%w", err)
			}
			r.limit = h.pages * h.pageSize
		}
	}
	if r.limit > 0 && r.size+int64(len(b)) > r.limit {
		return corrupt("it goes on after its %d bytes", r.limit)
	}
	return nil
}

// Close proves that the file is a whole and sound database, makes it durable, and gives it its owner.
func (r *restore) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.err != nil {
		r.closed = true
		return r.err
	}
	r.closed = true
	if err := r.prove(); err != nil {
		return r.fail(err)
	}
	if r.name != "" {
		if err := r.settle(); err != nil {
			return r.fail(err)
		}
	}
	if !r.detach() {
		return r.fail(context.Cause(r.ctx)) // ctx ended first: abort is waiting for us
	}
	// What a later Abort removes, it finds by its name.
	_ = r.file.Close()
	r.dir.close()
	r.dir = nil
	return nil
}

func (r *restore) prove() error {
	h, err := parseHeader(r.head)
	if err == nil {
		err = h.checkSize(r.size)
	}
	if err != nil {
		return corrupt("%w", err)
	}
	type result struct {
		integrity
		orphans int64
	}
	var p pulse
	// However long it takes: nobody else waits for the file.
	found, err := call(r.ctx, 0, &p, func(ctx context.Context) (found result, err error) {
		return found, reading(ctx, r.file, &p, func(c *connection) (err error) {
			if found.integrity, err = c.checkIntegrity(ctx); err != nil || r.name == "" {
				return err
			}
			found.orphans = c.orphans(ctx)
			return nil
		})
	}, func(result) {})
	if err != nil {
		switch primary, _ := resultCode(err); {
		case r.ctx.Err() != nil, primary == 0, primary == sqlite3.SQLITE_IOERR, primary == sqlite3.SQLITE_NOMEM:
			return err
		}
		return corrupt("%w", err)
	}
	if err := found.failure(wire.CodeCorrupt, "the dump is a damaged SQLite database"); err != nil {
		return err
	}
	for _, line := range found.notes {
		r.note(line)
	}
	if found.orphans > 0 {
		r.note(fmt.Sprintf("%d rows or more refer to rows that are not there (PRAGMA foreign_key_check)", found.orphans))
	}
	return nil
}

// orphans counts rows that break a foreign key, up to a thousand. That is the source's state, and no failure.
func (c *connection) orphans(ctx context.Context) (n int64) {
	rows, err := c.QueryContext(ctx, "PRAGMA foreign_key_check")
	if err != nil {
		return 0 // a table or function that it needs is not there
	}
	defer rows.Close()
	for n < 1000 && rows.Next() {
		n++
	}
	_ = rows.Err()
	return n
}

// settle gives the file owner and mode, and makes it durable.
func (r *restore) settle() error {
	if os.Geteuid() == 0 {
		var st unix.Stat_t
		if err := unix.Fstat(r.dir.fd, &st); err != nil {
			return err
		}
		if err := r.file.Chown(int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	if err := r.file.Chmod(restoredMode); err != nil {
		return err
	}
	if err := r.file.Sync(); err != nil {
		return err
	}
	return r.dir.sync()
}

// fail makes the outcome final and removes the file.
func (r *restore) fail(err error) error {
	r.err = failure(r.ctx, err, r.what)
	r.clean()
	return r.err
}

// clean removes the file if it still has its staging name, and lets go of the directory.
func (r *restore) clean() {
	r.cancel(errClosed)
	r.detach()
	_ = r.file.Close()
	if r.gone {
		return
	}
	r.gone = true
	var err error
	switch {
	case r.dir == nil && r.name != "":
		err = r.e.Remove(context.WithoutCancel(r.ctx), r.name)
	case r.dir != nil && r.name != "":
		err = r.dir.removeDatabase(r.name)
		r.e.forget(r.name)
	}
	if err != nil {
		r.e.log.Error("half-restored file is left: remove it", "file", r.name, "err", err)
	}
	if r.dir != nil {
		r.dir.close()
		r.dir = nil
	}
}

// Abort stops the restore and removes its file, also after a Close that returned nil, unless it was published.
func (r *restore) Abort() { r.abort(errClosed) }

func (r *restore) abort(cause error) {
	r.cancel(cause)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil && !r.closed {
		r.err = failure(r.ctx, cause, r.what)
	}
	r.clean()
}

func (r *restore) note(text string) {
	r.noteMu.Lock()
	defer r.noteMu.Unlock()
	fmt.Fprintf(&r.notes, "warning: %.500s\n", text)
}

// Log is what was found in the dump that is no damage.
func (r *restore) Log() string {
	r.noteMu.Lock()
	defer r.noteMu.Unlock()
	return r.notes.String()
}

// removeDatabase removes a file and what SQLite keeps beside it.
func (d *directory) removeDatabase(name string) error {
	for _, suffix := range sideSuffixes {
		if err := d.remove(name + suffix); err != nil {
			return err
		}
	}
	return d.remove(name)
}
