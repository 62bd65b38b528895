package mysql

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engine/tool"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/wire"
)

// stagingName is what a restore may fill.
var stagingName = regexp.MustCompile(`^` + engine.StagingPrefix + `[a-z0-9_]{1,40}$`)

// restore is one run of the client into a database of its own. Every statement goes through a rewriter, which takes
// definers off and disables events, and which knows whether the dump came to its end.
type restore struct {
	e        *Engine
	ctx      context.Context
	cancel   context.CancelCauseFunc
	detach   func() bool // ctx no longer aborts
	database string

	mu      sync.Mutex // one Write, Close or clean-up at a time
	rewrite *rewriter
	out     *tool.Writer
	created bool // the database is there and ours to remove
	closed  bool
	err     error

	noteMu sync.Mutex
	notes  strings.Builder
	tool   *tool.Writer // for Log
}

// Restore checks the restore account, makes the database and starts the client. A zero StallTimeout is 10 minutes: the
// server works between two reads.
func (e *Engine) Restore(ctx context.Context, req engine.RestoreRequest) (engine.Restore, error) {
	if !stagingName.MatchString(req.Database) {
		return nil, wire.Failf(wire.CodeBadRequest, "restore into %q: the name must be %s and up to 40 of a-z, 0-9 and _", req.Database, engine.StagingPrefix)
	}
	if req.StallTimeout <= 0 {
		req.StallTimeout = defaultRestoreStall
	}
	r := &restore{e: e, database: req.Database, detach: func() bool { return true }}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	if err := r.open(req); err != nil {
		r.err = r.failure(err)
		r.clean()
		return nil, r.err
	}
	r.detach = context.AfterFunc(ctx, func() { r.abort(context.Cause(ctx)) })
	return r, nil
}

// filled is the target if the restore account needs rights at it: not where another account swaps. What a dump brings could use them
// before it is proven.
func (e *Engine) filled(target string, inPlace bool) string {
	if inPlace && e.swap != e.restore {
		return ""
	}
	return target
}

func (r *restore) open(req engine.RestoreRequest) error {
	definers, err := r.e.definersFor(req.Definers)
	if err != nil {
		return err
	}
	only, err := newSelection(req.Only, r.note)
	if err != nil {
		return err
	}
	c, err := r.e.connect(r.ctx, r.e.restore)
	if err != nil {
		return err
	}
	defer c.hangUp(r.ctx)
	if err := c.server.supported(); err != nil {
		return err
	}
	if err := c.mayRestore(r.ctx, r.e.filled(req.Target, req.InPlace)); err != nil {
		return err
	}
	c.sweep(r.ctx)
	program, err := r.e.choose(r.ctx, client, c.server)
	if err != nil {
		return err
	}
	if err := r.create(c); err != nil {
		return err
	}
	command, started, err := r.e.command(program, r.e.restore, req.StallTimeout, func(optionFile string) []string {
		return clientArgs(program, optionFile, r.database)
	})
	if err != nil {
		return err
	}
	defer started()
	if r.out, err = tool.Input(r.ctx, command); err != nil {
		return err
	}
	r.noteMu.Lock()
	r.tool = r.out
	r.noteMu.Unlock()
	r.rewrite = newRewriter(func(b []byte) error {
		_, err := r.out.Write(b)
		return err
	})
	// Our own arguments switch MariaDB's client to its sandbox mode; MySQL's client does not know the line.
	r.rewrite.dropSandbox, r.rewrite.disableEvents = true, true
	r.rewrite.only = only
	r.rewrite.stripDefiners = definers == StripDefiners
	return nil
}

// definersFor is what becomes of definers. The host may forbid what a request asks for.
func (e *Engine) definersFor(choice string) (string, error) {
	switch choice {
	case "", e.cfg.Definers, StripDefiners:
		return cmp.Or(choice, e.cfg.Definers), nil
	case KeepDefiners:
		return "", wire.Failf(wire.CodeNotAllowed, "definers cannot be kept: the instance %q strips them", e.cfg.Name).
			WithHint("set restore.definers to keep in the agent's configuration, and let the restore account set any definer")
	}
	return "", wire.Failf(wire.CodeBadRequest, "definers %q is not %s or %s", choice, StripDefiners, KeepDefiners)
}

func (r *restore) create(c *conn) error {
	what := "create " + r.e.where(r.database)
	if there, err := c.exists(r.ctx, r.database); err != nil {
		return err
	} else if there {
		return wire.Failf(wire.CodeTargetExists, "restore into %s: it exists", r.e.where(r.database))
	}
	// Not cancelled half-way: the server would go on, and make the database after it was cleaned up.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), cleanupTimeout)
	defer cancel()
	r.created = true // also if the answer gets lost
	if err := c.exec(ctx, "CREATE DATABASE "+quoteName(r.database)); err != nil {
		f := r.e.sqlFailure(r.ctx, err, what, r.database)
		r.created = f.Code != wire.CodeTargetExists
		return f
	}
	return nil
}

// Write passes the dump on. An error is final, and the database is gone by then.
func (r *restore) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil && r.closed {
		r.err = wire.Failf(wire.CodeInterrupted, "restore into %s: it is closed", r.e.where(r.database))
	}
	if r.err != nil {
		return 0, r.err
	}
	if _, err := r.rewrite.Write(b); err != nil {
		return 0, r.fail(err)
	}
	return len(b), nil
}

// fail makes the outcome final and removes what was made.
func (r *restore) fail(err error) error {
	r.err = r.failure(err)
	r.clean()
	return r.err
}

func (r *restore) failure(err error) *wire.Failure {
	f := r.e.toolFailure(r.ctx, err, "restore into "+r.e.where(r.database), r.database)
	var exit *tool.ExitError
	if !errors.As(err, &exit) || exit.Signal != 0 {
		return f
	}
	switch number := errorNumber(exit.Log); {
	case f.Code == wire.CodePrivilege && number == 1227:
		f = f.WithHint("the dump does what needs a right over the server: with restore.definers keep, the account must be allowed to set any definer")
	case f.Code == wire.CodePrivilege && number != 1419:
		f = f.WithHint("the dump does what the restore account %q may not; look at what it refers to outside of its database", r.e.restore.user)
	}
	if f.Code == wire.CodeToolFailed {
		f.Retryable = strings.Contains(exit.Log, "Lost connection") || strings.Contains(exit.Log, "gone away")
	}
	return f
}

// clean stops the client and drops the database, also after ctx has ended.
func (r *restore) clean() {
	r.cancel(tool.ErrClosed)
	r.detach()
	if r.out != nil {
		r.out.Abort()
	}
	if !r.created {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), cleanupTimeout)
	defer cancel()
	if err := r.e.drop(ctx, r.database); err != nil {
		r.e.log.Error("half-restored database is left: drop it", "database", r.database, "err", err)
		return
	}
	r.created = false
}

// Close waits for the client, however long it takes, and reports its outcome. The dump must have come to its end.
func (r *restore) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.err != nil {
		r.closed = true
		return r.err
	}
	r.closed = true
	if err := r.rewrite.Close(); err != nil {
		return r.fail(err)
	}
	if err := r.out.Close(); err != nil {
		return r.fail(err)
	}
	if err := r.finish(); err != nil {
		return r.fail(err)
	}
	if !r.detach() {
		// ctx ended first: Abort is waiting for us.
		return r.fail(context.Cause(r.ctx))
	}
	return nil
}

// finish holds what was restored against what no dump may bring, however it was written.
func (r *restore) finish() error {
	c, err := r.e.connect(r.ctx, r.e.restore)
	if err != nil {
		return err
	}
	defer c.hangUp(r.ctx)
	what := "look at " + r.e.where(r.database)
	reserved, err := c.reserved(r.ctx, r.database)
	if err != nil {
		return r.e.sqlFailure(r.ctx, err, what, r.database)
	}
	if len(reserved) > 0 {
		return wire.Failf(wire.CodeNotAllowed, "the dump holds a table %q: the name is reserved for restores under way", reserved[0])
	}
	if r.rewrite.only != nil {
		tables, err := c.tableNames(r.ctx, r.database)
		if err != nil {
			return r.e.sqlFailure(r.ctx, err, what, r.database)
		}
		if err := r.rewrite.only.complete(tables); err != nil {
			return err
		}
		r.note("only tables were restored, with their rows and triggers: no views, routines and events")
	}
	events, running, err := c.events(r.ctx, r.database)
	if err != nil {
		return r.e.sqlFailure(r.ctx, err, what, r.database)
	}
	for _, name := range running {
		if err := c.exec(r.ctx, "ALTER EVENT "+quoteName(r.database)+"."+quoteName(name)+" DISABLE"); err != nil {
			return r.e.sqlFailure(r.ctx, err, "disable event "+name, r.database)
		}
	}
	if events > 0 {
		r.note(fmt.Sprintf("%d events were restored and are disabled: run ALTER EVENT … ENABLE for those that are to run", events))
	}
	return nil
}

func (c *conn) events(ctx context.Context, database string) (all int, running []string, err error) {
	err = c.each(ctx, "SELECT EVENT_NAME, STATUS FROM information_schema.EVENTS WHERE "+same("EVENT_SCHEMA"), []any{database, database},
		func(scan func(to ...any) error) error {
			var name, status string
			if err := scan(&name, &status); err != nil {
				return err
			}
			all++
			if status == "ENABLED" {
				running = append(running, name)
			}
			return nil
		})
	return all, running, err
}

// Abort stops the client and removes the database. After a Close that returned nil it removes the restored database.
func (r *restore) Abort() { r.abort(tool.ErrClosed) }

func (r *restore) abort(cause error) {
	r.cancel(cause)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil && !r.closed {
		r.err = r.failure(cause)
	}
	r.clean()
}

func (r *restore) note(text string) {
	r.noteMu.Lock()
	defer r.noteMu.Unlock()
	if r.notes.Len() < 16<<10 {
		r.notes.WriteString(secret.Scrub(text, r.e.secrets()...) + "\n")
	}
}

// Log is what was noticed and what the client wrote to its standard error.
func (r *restore) Log() string {
	r.noteMu.Lock()
	defer r.noteMu.Unlock()
	text := r.notes.String()
	if r.tool != nil {
		text += r.tool.Log()
	}
	return text
}

// validation reads a dump to its end and writes nothing.
type validation struct {
	ctx context.Context

	mu      sync.Mutex
	rewrite *rewriter
	err     error
}

// Validate reads the dump as a restore would: to its end mark, with every statement and every quote closed. No program
// can tell more of SQL without running it.
func (e *Engine) Validate(ctx context.Context) (engine.Restore, error) {
	return &validation{ctx: ctx, rewrite: newRewriter(func([]byte) error { return nil })}, nil
}

func (v *validation) Write(b []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.stop(); err != nil {
		return 0, err
	}
	n, err := v.rewrite.Write(b)
	if err != nil {
		v.err = err
	}
	return n, err
}

func (v *validation) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.stop(); err != nil {
		return err
	}
	v.err = v.rewrite.Close()
	return v.err
}

func (v *validation) stop() error {
	if v.err == nil {
		if f := stopped(v.ctx, "validate the dump"); f != nil {
			v.err = f
		}
	}
	return v.err
}

func (v *validation) Abort() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err == nil {
		v.err = wire.Failf(wire.CodeInterrupted, "validate the dump: %w", tool.ErrClosed)
	}
}

// Log is the count of what was read.
func (v *validation) Log() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return fmt.Sprintf("%d INSERT statements\n", v.rewrite.rows)
}
