package catalog

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/uptrace/bun"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

const (
	systemScope  = "system"
	conflictTry  = 8 // deadlocks, serialization failures, lock time-outs
	reconnectTry = 3
)

// tx is one transaction with its scope set.
type tx struct {
	bun.Tx
	cat   *Catalog
	scope controller.Scope
	sys   bool
	done  []func() // run after the commit: log lines
}

// system runs the controller's own work: it sees everything.
func (c *Catalog) system(ctx context.Context, fn func(t *tx) error) error {
	return c.transact(ctx, controller.Scope{All: true}, true, fn)
}

// scoped runs a caller's work: it sees the caller's projects.
func (c *Catalog) scoped(ctx context.Context, scope controller.Scope, fn func(t *tx) error) error {
	return c.transact(ctx, scope, false, fn)
}

// transact runs fn in one transaction. What another transaction caused (deadlock, serialization) and a connection that
// broke before the commit was sent are repeated a few times; fn must therefore change nothing but the catalog.
func (c *Catalog) transact(ctx context.Context, scope controller.Scope, sys bool, fn func(t *tx) error) error {
	for try := 1; ; try++ {
		sent, err := c.once(ctx, scope, sys, fn)
		if err == nil {
			return nil
		}
		kind := classify(ctx, err)
		limit := 0
		switch kind {
		case conflictError:
			limit = conflictTry
		case lostError:
			if !sent {
				limit = reconnectTry
			}
			c.dropIdle()
		}
		if try < limit && pause(ctx, time.Duration(try*try)*20*time.Millisecond) {
			continue
		}
		return c.outward(ctx, kind, sent, err)
	}
}

// dropIdle closes the connections that nobody uses: where one was lost, the others of that server's life most likely were too, and each of
// them would cost a try.
func (c *Catalog) dropIdle() {
	c.db.SetMaxIdleConns(-1)
	c.db.SetMaxIdleConns(c.opts.MaxConns)
}

// once tells besides the error whether the commit was sent: then its outcome may be unknown.
func (c *Catalog) once(ctx context.Context, scope controller.Scope, sys bool, fn func(t *tx) error) (sent bool, err error) {
	b, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return false, fmt.Errorf("begin: %w", err)
	}
	defer func() {
		if err != nil {
			_ = b.Rollback()
		}
	}()
	t := &tx{Tx: b, cat: c, scope: scope, sys: sys}
	setting := scope.Setting()
	if sys {
		setting = systemScope
	}
	if err := t.setScope(ctx, setting); err != nil {
		return false, err
	}
	if err := fn(t); err != nil {
		return false, err
	}
	if err := b.Commit(); err != nil {
		return ctx.Err() == nil, fmt.Errorf("commit: %w", err)
	}
	for _, f := range t.done {
		f()
	}
	return true, nil
}

func (t *tx) setScope(ctx context.Context, setting string) error {
	_, err := t.exec(ctx, "SELECT set_config('devflow.scope', ?, true)", setting)
	return err
}

// elevated runs fn as the controller inside a caller's transaction, for tables that callers have no access to. The caller's
// right to the rows was proven before by a scoped query.
func (t *tx) elevated(ctx context.Context, fn func() error) error {
	if t.sys {
		return fn()
	}
	if err := t.setScope(ctx, systemScope); err != nil {
		return err
	}
	t.sys = true
	err := fn()
	t.sys = false
	if err != nil {
		return err // the transaction ends, and its scope with it
	}
	return t.setScope(ctx, t.scope.Setting())
}

// after runs f once the transaction has committed.
func (t *tx) after(f func()) { t.done = append(t.done, f) }

// sees is the condition that the column names a project of the scope.
func (t *tx) sees(column string) bun.Safe {
	if t.sys || t.scope.All {
		return "TRUE"
	}
	if len(t.scope.Projects) == 0 {
		return "FALSE"
	}
	ids := make([]string, len(t.scope.Projects))
	for i, id := range t.scope.Projects {
		ids[i] = strconv.FormatInt(id, 10)
	}
	return bun.Safe(column + " IN (" + strings.Join(ids, ",") + ")")
}

// scan reads into dest: a pointer to a slice takes all rows; anything else one row, or sql.ErrNoRows.
func (t *tx) scan(ctx context.Context, dest any, query string, args ...any) error {
	if err := checkText(args); err != nil {
		return err
	}
	return t.NewRaw(query, args...).Scan(ctx, dest)
}

// find is scan for one row that may be missing.
func (t *tx) find(ctx context.Context, dest any, query string, args ...any) (bool, error) {
	err := t.scan(ctx, dest, query, args...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// exec returns how many rows were changed.
func (t *tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	if err := checkText(args); err != nil {
		return 0, err
	}
	res, err := t.NewRaw(query, args...).Exec(ctx)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// checkText refuses what PostgreSQL's text cannot hold, before it becomes a syntax error or something else than was asked.
func checkText(args []any) error {
	for _, a := range args {
		s, ok := a.(string)
		if p, isPtr := a.(*string); isPtr && p != nil {
			s, ok = *p, true
		}
		if ok && (!utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0) {
			return controller.Errorf(controller.EInvalid, "%.40q is not text: it holds a NUL or is not UTF-8", s)
		}
	}
	return nil
}

// text makes s fit for a text column.
func text(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "\uFFFD")
}

// cut is text of at most n bytes.
func cut(s string, n int) string {
	s = text(s)
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

// jsonText encodes v for a jsonb column, which takes no \u0000.
func jsonText(v any) string {
	if raw, ok := v.(json.RawMessage); ok {
		// Decoding replaces what JSON may hold and PostgreSQL does not take, such as half a surrogate pair.
		var decoded any
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		if len(raw) == 0 || d.Decode(&decoded) != nil {
			return "null"
		}
		v = decoded
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "null"
	}
	if !bytes.Contains(b, []byte(`\u0000`)) {
		return string(b)
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' || i+1 == len(b) {
			out = append(out, b[i])
			continue
		}
		if bytes.HasPrefix(b[i:], []byte(`\u0000`)) {
			i += 5
			continue
		}
		out = append(out, b[i], b[i+1])
		i++
	}
	return string(out)
}

type errorKind int

const (
	domainError   errorKind = iota // ours: goes out as it is
	endedError                     // the context's end
	conflictError                  // another transaction was in the way
	lostError                      // no connection
	unableError                    // the server cannot do it now
	internalError
)

func classify(ctx context.Context, err error) errorKind {
	var domain *controller.Error
	var failure *wire.Failure
	if errors.As(err, &domain) || errors.As(err, &failure) {
		return domainError
	}
	if ctx.Err() != nil {
		return endedError
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch {
		case pg.Code == "40001", pg.Code == "40P01", pg.Code == "55P03":
			return conflictError
		case strings.HasPrefix(pg.Code, "57P"), strings.HasPrefix(pg.Code, "08"), pg.Code == "53300", pg.Code == "25P03":
			return lostError
		case strings.HasPrefix(pg.Code, "53"), strings.HasPrefix(pg.Code, "58"), pg.Code == "25006", pg.Code == "57014":
			return unableError
		}
		return internalError
	}
	var netErr net.Error
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) || errors.As(err, &netErr) || pgconn.SafeToRetry(err) {
		return lostError
	}
	for _, e := range []error{driver.ErrBadConn, sql.ErrConnDone, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, e) {
			return lostError
		}
	}
	return internalError
}

// outward is what a caller gets for err.
func (c *Catalog) outward(ctx context.Context, kind errorKind, sent bool, err error) error {
	switch kind {
	case domainError:
		return err
	case endedError:
		return fmt.Errorf("use catalog: %w", context.Cause(ctx))
	case lostError:
		msg := "the catalog cannot be reached"
		if sent {
			msg = "the connection to the catalog broke at the commit: it may or may not have been done"
		}
		return fmt.Errorf("%w: %w", controller.Errorf(controller.EUnavailable, "%s", msg).WithHint("try again in a moment"), scrub(err, c.config.Password))
	case unableError, conflictError:
		return fmt.Errorf("%w: %w", controller.Errorf(controller.EUnavailable, "the catalog cannot do it now").
			WithHint("try again in a moment; if it stays so, look at PostgreSQL's log for a full disk, a read-only server or a long lock"), err)
	default:
		return fmt.Errorf("use catalog: %w", err)
	}
}

// pause waits and tells whether it did to the end.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
