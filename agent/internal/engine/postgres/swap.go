package postgres

import (
	"context"
	"crypto/sha256"
	endian "encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/failpoint"
	"devflowbackup/shared/wire"
)

var (
	swapName = regexp.MustCompile(`^(` + engine.StagingPrefix + `|` + engine.KeptPrefix + `)[a-z0-9_]{1,40}$`)
	keptName = regexp.MustCompile(`^` + engine.KeptPrefix + `[a-z0-9_]{1,40}$`)
)

const (
	// leaving is how long sessions that are ending are waited for before they count.
	leaving = time.Second
	// endTimeout bounds the wait for sessions that were ended.
	endTimeout = 30 * time.Second
	// deadSwap is how long Settle waits for a Swap whose process may be dead before it ends its session.
	deadSwap = 2 * time.Second
	glance   = 50 * time.Millisecond
)

func checkSwap(req engine.SwapRequest) error {
	switch {
	case !swapName.MatchString(req.Staged):
		return wire.Failf(wire.CodeBadRequest, "swap in database %q: only what a restore or a swap made (%s… or %s…) is", req.Staged, engine.StagingPrefix, engine.KeptPrefix)
	case !keptName.MatchString(req.Keep) || req.Keep == req.Staged:
		return wire.Failf(wire.CodeBadRequest, "keep as %q: the name must be another one, %s and up to 40 of a-z, 0-9 and _", req.Keep, engine.KeptPrefix)
	case staging(req.Target) || kept(req.Target):
		return wire.Failf(wire.CodeBadRequest, "swap out %q: it was made by a restore", req.Target)
	case req.Identity == "":
		return wire.Failf(wire.CodeBadRequest, "swap out %q: its identity is not given", req.Target)
	case req.Sessions != "" && req.Sessions != engine.SessionsRefuse && req.Sessions != engine.SessionsWait && req.Sessions != engine.SessionsEnd:
		return wire.Failf(wire.CodeBadRequest, "sessions %q: choose %s, %s or %s", req.Sessions, engine.SessionsRefuse, engine.SessionsWait, engine.SessionsEnd)
	}
	return checkName(req.Target)
}

// swap is a Swap under way. All renames and all that is carried over are one transaction: a crash leaves nothing of it.
// The lock of a rename keeps new sessions out until the transaction has ended; then they find the new database.
type swap struct {
	e      *Engine
	req    engine.SwapRequest
	who    account
	conn   *pgx.Conn // holds the lock of the swap
	old    *database
	staged *database
	result engine.SwapResult
	ended  map[int32]bool // server processes
}

// Swap renames both databases in one transaction, and gives the new one owner, grants, settings, connection limit and comment of
// the old one. Objects that belong to the restore account are given to the target's owner before, unless that one has rights
// over the server.
func (e *Engine) Swap(ctx context.Context, req engine.SwapRequest) (*engine.SwapResult, error) {
	if err := checkSwap(req); err != nil {
		return nil, err
	}
	s := &swap{e: e, req: req, ended: map[int32]bool{}}
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	defer func() { hangUp(ctx, s.conn) }()
	err := s.run(ctx)
	if err == nil {
		return &s.result, nil
	}
	// The answer of the commit may be lost. Only the server knows.
	f := e.sqlFailure(ctx, err, "swap "+e.where(req.Target), req.Target)
	hangUp(ctx, s.conn)
	settling, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	switch state, settleErr := e.Settle(settling, req); {
	case settleErr != nil:
		return nil, wire.Failf(wire.CodeInterrupted, "swap %s: whether it happened is not known: %w", e.where(req.Target), errors.Join(f, settleErr)).Retry()
	case state == engine.SwapAfter:
		return &s.result, nil
	}
	return nil, f
}

// open connects, takes the lock and checks the three databases.
func (s *swap) open(ctx context.Context) (err error) {
	e := s.e
	if s.req.Target == e.cfg.Database {
		return wire.Failf(wire.CodeNotAllowed, "swap %s: the agent is connected to it", e.where(s.req.Target)).
			WithHint("set database of the instance %q to another one, such as template1", e.cfg.Name)
	}
	if s.conn, s.who, err = e.connectOwner(ctx, s.req.Target, s.req.Staged); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			hangUp(ctx, s.conn)
		}
	}()
	if err := e.lockSwap(ctx, s.conn, s.req.Target, e.cfg.LockTimeout); err != nil {
		return err
	}
	if s.old, err = e.database(ctx, s.conn, s.req.Target); err != nil {
		return err
	}
	identity, err := e.identity(ctx, s.conn, s.old)
	switch {
	case err != nil:
		return err
	case identity != s.req.Identity:
		return e.changed(s.req.Target)
	case s.old.template:
		return wire.Failf(wire.CodeNotAllowed, "swap %s: it is a template for new databases", e.where(s.req.Target)).
			WithHint("run ALTER DATABASE %s IS_TEMPLATE false", quoteName(s.req.Target))
	}
	if s.staged, err = e.database(ctx, s.conn, s.req.Staged); err != nil {
		return err
	}
	if s.staged == nil {
		return e.missing(s.req.Staged, errors.New("it is what was to be swapped in"))
	}
	if there, err := e.exists(ctx, s.conn, s.req.Keep); err != nil {
		return err
	} else if there {
		return wire.Failf(wire.CodeTargetExists, "there is a %s already", e.where(s.req.Keep)).WithHint("keep the target under another name")
	}
	return nil
}

func (e *Engine) changed(target string) *wire.Failure {
	return wire.Failf(wire.CodeTargetChanged, "%s is not the one that was looked at: nothing was changed", e.where(target)).
		WithHint("look at the target again, and plan the restore anew")
}

// identity is the server's and the database's own number on it: another one after it was dropped and made again. It is empty
// for no database.
func (e *Engine) identity(ctx context.Context, conn *pgx.Conn, db *database) (string, error) {
	if db == nil {
		return "", nil
	}
	server, err := e.server(ctx, conn)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s/%d", server.Identity, db.oid), nil
}

// swapKey is the number of the target's lock, in the two halves that pg_locks has.
func swapKey(target string) (high, low uint32) {
	sum := sha256.Sum256([]byte("devflow swap of " + target))
	return endian.BigEndian.Uint32(sum[:4]), endian.BigEndian.Uint32(sum[4:8])
}

// lockSwap makes this session the only one that swaps or settles the target. It is freed with the session, and the session
// is gone only after its transaction is.
func (e *Engine) lockSwap(ctx context.Context, conn *pgx.Conn, target string, patience time.Duration) error {
	high, low := swapKey(target)
	key := int64(uint64(high)<<32 | uint64(low)) //nolint:gosec // any number does
	what := "lock the swap of " + e.where(target)
	for deadline := time.Now().Add(patience); ; {
		var locked bool
		if err := conn.QueryRow(ctx, "SELECT pg_catalog.pg_try_advisory_lock($1::bigint)", key).Scan(&locked); err != nil {
			return e.sqlFailure(ctx, err, what, target)
		}
		if locked {
			return nil
		}
		if time.Now().After(deadline) {
			return wire.Failf(wire.CodeLockTimeout, "%s: another session of the agent works on it", what).Retry()
		}
		if err := engine.Pause(ctx, glance); err != nil {
			return stopped(ctx, what)
		}
	}
}

// run adopts the staged database and tries to swap until that succeeds or the sessions at the target have the last word.
func (s *swap) run(ctx context.Context) error {
	if err := failpoint.Err("agent.postgres_swap_checked"); err != nil {
		return err
	}
	if err := s.adopt(ctx); err != nil {
		return err
	}
	if err := failpoint.Err("agent.postgres_swap_adopted"); err != nil {
		return err
	}
	patience := leaving
	switch s.req.Sessions {
	case engine.SessionsWait:
		patience = max(s.req.Wait, leaving)
	case engine.SessionsEnd:
		patience = max(s.req.Wait, endTimeout)
	}
	for deadline := time.Now().Add(patience); ; {
		if s.req.Sessions != engine.SessionsEnd {
			if err := s.alone(ctx, deadline); err != nil {
				return err
			}
		}
		err := s.attempt(ctx)
		var pg *pgconn.PgError
		if err == nil || !errors.As(err, &pg) || pg.Code != "55006" {
			return err
		}
		if _, err := s.conn.Exec(ctx, "ROLLBACK"); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			if err := s.alone(ctx, deadline); err != nil {
				return err
			}
			return wire.Failf(wire.CodeTargetInUse, "swap %s: %w", s.e.where(s.req.Target), s.e.scrub(err)).Retry().
				WithHint("a prepared transaction or a subscription keeps it in use, or a session came in between: try again")
		}
	}
}

// alone waits until no other session is at the target.
func (s *swap) alone(ctx context.Context, deadline time.Time) error {
	sessions, err := s.e.sessionsAfter(ctx, s.conn, s.old.oid, deadline)
	if err == nil && len(sessions) > 0 {
		return s.e.inUse(s.req.Target, sessions)
	}
	return err
}

// lastingSessions are the sessions at a database that are not just ending.
func (e *Engine) lastingSessions(ctx context.Context, conn *pgx.Conn, oid uint32) ([]session, error) {
	return e.sessionsAfter(ctx, conn, oid, time.Now().Add(leaving))
}

// sessionsAfter returns as soon as there are none, and at the deadline those that are left.
func (e *Engine) sessionsAfter(ctx context.Context, conn *pgx.Conn, oid uint32, deadline time.Time) ([]session, error) {
	for {
		sessions, err := e.sessions(ctx, conn, oid)
		if err != nil || len(sessions) == 0 || time.Now().After(deadline) {
			return sessions, err
		}
		if err := engine.Pause(ctx, glance); err != nil {
			return nil, err
		}
	}
}

// attempt is the transaction. What it does to the staged database comes first, so that the target is locked as briefly as can be.
func (s *swap) attempt(ctx context.Context) error {
	for _, sql := range []string{"BEGIN", "SET LOCAL synchronous_commit = on"} {
		if _, err := s.conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	notes, err := s.carry(ctx)
	if err != nil {
		return err
	}
	if err := failpoint.Err("agent.postgres_swap_carried"); err != nil {
		return err
	}
	// A name that nobody else sees: this locks the staged database and waits for its last sessions.
	hidden := s.req.Staged + "_swap"
	if err := s.rename(ctx, s.req.Staged, hidden); err != nil {
		return err
	}
	if err := failpoint.Err("agent.postgres_swap_staged"); err != nil {
		return err
	}
	start := time.Now()
	defer func() { s.result.Unavailable += time.Since(start) }()
	if err := s.renameTarget(ctx); err != nil {
		return err
	}
	if err := failpoint.Err("agent.postgres_swap_kept"); err != nil {
		return err
	}
	if err := s.rename(ctx, hidden, s.req.Target); err != nil {
		return err
	}
	var keptOID, targetOID uint32
	err = s.conn.QueryRow(ctx, `SELECT coalesce((SELECT oid FROM pg_catalog.pg_database WHERE datname = $1::text), 0),
		coalesce((SELECT oid FROM pg_catalog.pg_database WHERE datname = $2::text), 0)`, s.req.Keep, s.req.Target).Scan(&keptOID, &targetOID)
	switch {
	case err != nil:
		return err
	case keptOID != s.old.oid || targetOID != s.staged.oid:
		return s.e.changed(s.req.Target)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	if err := failpoint.Err("agent.postgres_swap_renamed"); err != nil {
		return err
	}
	// Not cancelled half-way: the caller is to know whether it happened.
	once, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	if _, err := s.conn.Exec(once, "COMMIT"); err != nil {
		return err
	}
	s.result.Notes = append(s.result.Notes, notes...)
	return failpoint.Err("agent.postgres_swap_committed")
}

func (s *swap) rename(ctx context.Context, from, to string) error {
	_, err := s.conn.Exec(ctx, "ALTER DATABASE "+quoteName(from)+" RENAME TO "+quoteName(to))
	return err
}

// renameTarget keeps new sessions out from its start on, and waits up to 5 seconds, as the server does, for those that are
// there. Meanwhile they are ended if that was chosen.
func (s *swap) renameTarget(ctx context.Context) error {
	if s.req.Sessions != engine.SessionsEnd {
		return s.rename(ctx, s.req.Target, s.req.Keep)
	}
	renaming, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.end(renaming); err != nil {
			cancel(err)
		}
	}()
	err := s.rename(renaming, s.req.Target, s.req.Keep)
	cause := context.Cause(renaming)
	cancel(nil)
	<-done
	if err != nil && cause != nil {
		return cause
	}
	return err
}

// end ends the sessions at the target, again and again until ctx ends. Its error is a session that cannot be ended.
func (s *swap) end(ctx context.Context) error {
	conn, err := s.e.connect(ctx, s.who, s.e.cfg.Database)
	if err != nil {
		return nil //nolint:nilerr // the rename waits, and says what it waited for
	}
	defer hangUp(ctx, conn)
	for {
		sessions, err := s.e.sessions(ctx, conn, s.old.oid)
		if err != nil {
			return nil //nolint:nilerr // as above
		}
		for _, one := range sessions {
			var sent bool
			err := conn.QueryRow(ctx, "SELECT pg_catalog.pg_terminate_backend($1::integer)", one.pid).Scan(&sent)
			var pg *pgconn.PgError
			switch {
			case errors.As(err, &pg) && pg.Code == "42501":
				return wire.Failf(wire.CodePrivilege, "end the session of %q at %s: %w", one.User, s.e.where(s.req.Target), s.e.scrub(err)).
					WithHint("run %s; only a superuser ends a superuser's session", grantSignal(s.who.user))
			case err != nil:
				return nil
			case sent && !s.ended[one.pid]:
				s.ended[one.pid] = true
				s.result.Ended++
			}
		}
		if engine.Pause(ctx, glance) != nil {
			return nil
		}
	}
}

// session is one at a database.
type session struct {
	engine.Session
	pid int32
}

// sessions lists those at a database, without ours of this connection and without what the server ends by itself.
func (e *Engine) sessions(ctx context.Context, conn *pgx.Conn, oid uint32) ([]session, error) {
	rows, err := conn.Query(ctx, `
		SELECT pid, coalesce(usename::text, backend_type, ''), coalesce(application_name, ''), coalesce(pg_catalog.host(client_addr), ''),
		       coalesce(backend_start, 'epoch'), coalesce(state, '')
		FROM pg_catalog.pg_stat_activity
		WHERE datid = $1::oid AND pid <> pg_catalog.pg_backend_pid() AND coalesce(backend_type, '') NOT IN ('autovacuum worker', 'parallel worker')
		ORDER BY backend_start, pid`, oid)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (s session, err error) {
		return s, r.Scan(&s.pid, &s.User, &s.Application, &s.Client, &s.Since, &s.State)
	})
}

// inUse says how many sessions are at the target, and whose.
func (e *Engine) inUse(target string, sessions []session) *wire.Failure {
	return wire.Failf(wire.CodeTargetInUse, "%s is in use: %s", e.where(target), describeSessions(sessions)).
		WithHint("stop the programs that use it, or choose that sessions are ended")
}

func describeSessions(sessions []session) string {
	const most = 5
	var each []string
	for _, one := range sessions[:min(most, len(sessions))] {
		text := fmt.Sprintf("%q", one.User)
		if one.Application != "" {
			text += fmt.Sprintf(" with %q", one.Application)
		}
		if one.Client != "" {
			text += " from " + one.Client
		}
		each = append(each, text)
	}
	if len(sessions) > most {
		each = append(each, "…")
	}
	if len(sessions) == 1 {
		return "1 session of " + each[0]
	}
	return fmt.Sprintf("%d sessions, of %s", len(sessions), strings.Join(each, ", "))
}

// Settle looks which of the two databases is at the target, once no session of the Swap is left: what that one did not commit is
// undone by the server. It changes nothing.
func (e *Engine) Settle(ctx context.Context, req engine.SwapRequest) (string, error) {
	if err := checkSwap(req); err != nil {
		return "", err
	}
	conn, err := e.connect(ctx, e.backup, e.cfg.Database)
	if err != nil {
		return "", err
	}
	defer hangUp(ctx, conn)
	if err := e.lockSwap(ctx, conn, req.Target, deadSwap); wire.HasCode(err, wire.CodeLockTimeout) {
		// Its process is dead, but the server has not seen that yet.
		e.endSwap(ctx, req.Target)
		err = e.lockSwap(ctx, conn, req.Target, cleanupTimeout)
		if err != nil {
			return "", err
		}
	} else if err != nil {
		return "", err
	}
	for name, state := range map[string]string{req.Target: engine.SwapBefore, req.Keep: engine.SwapAfter} {
		db, err := e.database(ctx, conn, name)
		if err != nil {
			return "", err
		}
		identity, err := e.identity(ctx, conn, db)
		if err != nil {
			return "", err
		}
		if identity != req.Identity {
			continue
		}
		if state == engine.SwapAfter {
			if there, err := e.exists(ctx, conn, req.Target); err != nil {
				return "", err
			} else if !there {
				return "", e.missing(req.Target, fmt.Errorf("what it was is kept as %q", req.Keep))
			}
		}
		return state, nil
	}
	return "", e.changed(req.Target)
}

// endSwap ends the session of the agent that holds the lock.
func (e *Engine) endSwap(ctx context.Context, target string) {
	high, low := swapKey(target)
	for _, who := range []account{e.backup, e.restore} {
		conn, err := e.connect(ctx, who, e.cfg.Database)
		if err != nil {
			continue
		}
		_, err = conn.Exec(ctx, `SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a USING (pid)
			WHERE l.locktype = 'advisory' AND l.granted AND l.classid = $1::oid AND l.objid = $2::oid AND l.objsubid = 1
			  AND a.datname = pg_catalog.current_database() AND a.usename = current_user`, high, low)
		if err != nil {
			e.log.Debug("session of an earlier swap is not ended", "err", err)
		}
		hangUp(ctx, conn)
	}
}
