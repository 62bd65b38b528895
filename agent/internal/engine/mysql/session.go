package mysql

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/wire"
)

// watch sees, and may end, what others do at a target.
type watch struct {
	target  string
	c, r, b *conn // of the accounts that swap, restore and read
	looker  *conn // may see all sessions; nil: no account may
	ender   *conn // may end them; nil: no account may

	rights   rights // of the account that swaps
	reads    rights // of the account that reads
	restores rights // of the account that restores
}

func (e *Engine) watch(ctx context.Context, target string, c, r, b *conn) (*watch, error) {
	w := &watch{target: target, c: c, r: r, b: b}
	var err error
	if w.rights, err = c.rights(ctx); err != nil {
		return nil, err
	}
	if w.reads, err = b.rights(ctx); err != nil {
		return nil, err
	}
	if w.restores, err = r.rights(ctx); err != nil {
		return nil, err
	}
	for _, one := range []struct {
		c *conn
		r rights
	}{{b, w.reads}, {c, w.rights}} {
		if one.r.global.has("PROCESS") {
			w.looker = one.c
		}
		if one.r.global.has("SUPER") || one.r.global.has("CONNECTION ADMIN") || one.r.global.has("CONNECTION_ADMIN") {
			w.ender = one.c
		}
	}
	return w, nil
}

// session is one at the target.
type session struct {
	id string
	engine.Session
}

func (s session) String() string {
	name := fmt.Sprintf("%q", s.User)
	if s.Application != "" {
		name += " (" + s.Application + ")"
	}
	if s.Client != "" {
		name += " from " + s.Client
	}
	return name
}

// sessions lists those of others whose current database is the target. Without the right to see them, it sees its own account's.
func (w *watch) sessions(ctx context.Context) (found []session, err error) {
	looker := w.looker
	if looker == nil {
		looker = w.c
	}
	own := []string{strconv.FormatInt(w.c.id, 10), strconv.FormatInt(w.r.id, 10), strconv.FormatInt(w.b.id, 10)}
	err = looker.each(ctx, "SELECT ID, COALESCE(USER, ''), COALESCE(HOST, ''), COALESCE(COMMAND, ''), COALESCE(STATE, ''), COALESCE(TIME, 0) FROM information_schema.PROCESSLIST "+
		"WHERE CONVERT(DB USING utf8mb4) COLLATE utf8mb4_bin = ? ORDER BY ID", []any{w.target}, func(scan func(to ...any) error) error {
		var s session
		var command, state string
		var seconds int64
		if err := scan(&s.id, &s.User, &s.Client, &command, &state, &seconds); err != nil {
			return err
		}
		s.State = strings.TrimSpace(command + " " + state)
		s.Since = time.Now().Add(-time.Duration(max(0, seconds)) * time.Second)
		if !slices.Contains(own, s.id) {
			found = append(found, s)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for sessions: %w", err)
	}
	for i := range found {
		// What the program called itself, where the server keeps that and the account may see it.
		_ = looker.one(ctx, "SELECT ATTR_VALUE FROM performance_schema.session_connect_attrs WHERE PROCESSLIST_ID = ? AND ATTR_NAME = 'program_name'",
			[]any{found[i].id}, &found[i].Application)
	}
	return found, nil
}

func (w *watch) inUse(sessions []session) *wire.Failure {
	var who []string
	for _, s := range sessions[:min(5, len(sessions))] {
		who = append(who, s.String())
	}
	if len(sessions) > len(who) {
		who = append(who, "…")
	}
	return wire.Failf(wire.CodeTargetInUse, "%s is in use: other sessions: %d: %s", w.c.e.where(w.target), len(sessions), strings.Join(who, ", ")).Retry().
		WithHint("stop the programs that use it, or choose to wait for their sessions or to end them")
}

// grace is for how long a session that is just being closed may still be there.
const grace = 300 * time.Millisecond

// staying lists the sessions that do not go by themselves at once.
func (w *watch) staying(ctx context.Context) ([]session, error) {
	deadline := time.Now().Add(grace)
	for {
		found, err := w.sessions(ctx)
		if err != nil || len(found) == 0 || time.Now().After(deadline) {
			return found, err
		}
		if err := engine.Pause(ctx, grace/10); err != nil {
			return nil, err
		}
	}
}

// clear treats the sessions at the target as the request says.
func (w *swap) clear(ctx context.Context) error {
	if w.until.IsZero() {
		w.until = time.Now().Add(w.req.Wait)
	}
	for {
		found, err := w.watch.staying(ctx)
		if err != nil {
			return err
		}
		switch {
		case len(found) == 0:
			return nil
		case w.req.Sessions == engine.SessionsEnd:
			return w.end(ctx, found)
		case w.req.Sessions != engine.SessionsWait || time.Now().After(w.until):
			return w.watch.inUse(found)
		}
		if err := engine.Pause(ctx, sessionTick); err != nil {
			return err
		}
	}
}

// end ends sessions and waits until they are gone. Those that come meanwhile are not waited for.
func (w *swap) end(ctx context.Context, found []session) error {
	for _, s := range found {
		if err := w.watch.ender.exec(ctx, "KILL "+s.id); err != nil && !answered(err, 1094) { // gone meanwhile
			return fmt.Errorf("end the session of %s: %w", s, err)
		}
		if !w.ended[s.id] {
			w.ended[s.id] = true
			w.res.Ended++
		}
	}
	deadline := time.Now().Add(endPatience)
	for {
		left, err := w.watch.sessions(ctx)
		if err != nil {
			return err
		}
		left = slices.DeleteFunc(left, func(s session) bool { return !w.ended[s.id] })
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return w.watch.inUse(left)
		}
		if err := engine.Pause(ctx, sessionTick/10); err != nil {
			return err
		}
	}
}
