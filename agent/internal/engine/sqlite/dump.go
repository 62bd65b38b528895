package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/wire"
)

// errClosed is the cause of a dump or restore that its user gave up.
var errClosed = errors.New("it was closed")

// dump streams a finished copy while its integrity is checked and its content counted.
type dump struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	stall  time.Duration
	path   string
	copy   *snapshot
	info   engine.DumpInfo
	pulse  pulse
	at     int64 // of Read

	mu    sync.Mutex
	notes strings.Builder
	end   error // what Read ended with

	verdict     chan struct{} // the integrity check ended
	unsound     error
	described   chan struct{}
	fingerprint *wire.Fingerprint
	undescribed error
	close       sync.Once
}

// Dump copies the database, which takes as long as reading and writing it once, and returns when the copy is complete.
// The stream ends with io.EOF only after SQLite found the copy sound. ctx counts until the dump is closed.
func (e *Engine) Dump(ctx context.Context, req engine.DumpRequest) (engine.Dump, error) {
	if err := e.checkBackup(req.Database); err != nil {
		return nil, err
	}
	what := fmt.Sprintf("dump database %q", req.Database)
	if f := stopped(ctx, what); f != nil {
		return nil, f
	}
	d := &dump{path: req.Database, stall: req.StallTimeout, verdict: make(chan struct{}), described: make(chan struct{})}
	if d.stall <= 0 {
		d.stall = defaultStall
	}
	server, err := e.Server(ctx)
	if err != nil {
		return nil, err
	}
	d.ctx, d.cancel = context.WithCancelCause(ctx)
	if d.copy, err = e.snapshot(d.ctx, d.stall, &d.pulse, req.Database); err != nil {
		d.cancel(errClosed)
		return nil, err
	}
	f := d.copy.facts
	d.info = engine.DumpInfo{
		Server: server, Tool: toolName, ToolVersion: toolVersion, Method: dumpMethod, Extension: "sqlite",
		DatabaseSize: d.copy.size, Tables: f.tables,
		Extra: map[string]any{"journal_mode": f.journalMode, "page_size": f.pageSize, "user_version": f.userVersion, "application_id": f.applicationID},
	}
	go d.examine()
	return d, nil
}

// examine checks the copy, then counts.
func (d *dump) examine() {
	defer close(d.described)
	found, err := call(d.ctx, d.stall, &d.pulse, func(ctx context.Context) (found integrity, err error) {
		return found, reading(ctx, d.copy.file, &d.pulse, func(c *connection) (err error) {
			found, err = c.checkIntegrity(ctx)
			return err
		})
	}, func(integrity) {})
	d.note(found.notes)
	what := fmt.Sprintf("integrity check of the copy of database %q", d.path)
	if primary, _ := resultCode(err); primary == sqlite3.SQLITE_CORRUPT {
		err = wire.Failf(wire.CodeToolFailed, "%s: %w", what, err)
	}
	if err == nil {
		err = found.failure(wire.CodeToolFailed, what)
	}
	if err != nil {
		d.unsound = failure(d.ctx, err, what)
		d.undescribed = d.unsound
		close(d.verdict)
		return
	}
	close(d.verdict)
	file, err := d.copy.again()
	if err == nil {
		d.fingerprint, err = describeFile(d.ctx, d.stall, &d.pulse, file, func(notes []string) { d.note(notes) })
	}
	if err != nil {
		d.undescribed = failure(d.ctx, err, fmt.Sprintf("describe database %q", d.path))
	}
}

// Read yields io.EOF only after the copy was found sound.
func (d *dump) Read(b []byte) (int, error) {
	d.mu.Lock()
	end := d.end
	d.mu.Unlock()
	switch {
	case end != nil:
		return 0, end
	case d.ctx.Err() != nil:
		return 0, d.finish(stopped(d.ctx, fmt.Sprintf("dump database %q", d.path)))
	case len(b) == 0:
		return 0, nil
	}
	select {
	case <-d.verdict:
		if d.unsound != nil {
			return 0, d.finish(d.unsound)
		}
	default:
	}
	if d.at < d.copy.size {
		n, err := d.copy.file.ReadAt(b[:min(int64(len(b)), d.copy.size-d.at)], d.at)
		d.at += int64(n)
		if n > 0 {
			return n, nil
		}
		return 0, d.finish(failure(d.ctx, err, fmt.Sprintf("read the copy of database %q", d.path)))
	}
	<-d.verdict
	if d.unsound != nil {
		return 0, d.finish(d.unsound)
	}
	if f := stopped(d.ctx, fmt.Sprintf("dump database %q", d.path)); f != nil {
		return 0, d.finish(f)
	}
	return 0, d.finish(io.EOF)
}

// finish makes an end of the stream final.
func (d *dump) finish(err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.end == nil {
		d.end = err
	}
	return d.end
}

// Info is known from the start.
func (d *dump) Info() engine.DumpInfo { return d.info }

// Globals is nil: a file has no roles.
func (d *dump) Globals() []byte { return nil }

// Log is what was found in the copy that is no damage.
func (d *dump) Log() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.notes.String()
}

func (d *dump) note(lines []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, line := range lines {
		fmt.Fprintf(&d.notes, "note: %.500s\n", line)
	}
}

// Fingerprint waits until the description is complete.
func (d *dump) Fingerprint(ctx context.Context) (*wire.Fingerprint, error) {
	select {
	case <-d.described:
		if d.undescribed != nil {
			return nil, d.undescribed
		}
		return d.fingerprint, nil
	case <-ctx.Done():
		return nil, stopped(ctx, fmt.Sprintf("wait for the description of database %q", d.path))
	}
}

// Close stops what is still read, and gives the copy's space back.
func (d *dump) Close() error {
	d.close.Do(func() {
		d.cancel(errClosed)
		<-d.described
		d.copy.close()
	})
	return nil
}
