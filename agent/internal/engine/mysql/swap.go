package mysql

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/failpoint"
	"devflowbackup/shared/wire"
)

// How the tables of two databases change places. If the target has neither triggers nor views nor routines and the new content
// no triggers, one RENAME TABLE moves them all: no program finds anything but the one content or the other. Else
//
//	hide      one RENAME TABLE takes the target's tables away: to the kept database, and those with triggers, which the server
//	          does not move to another database, to a hidden name. From here on, programs at the target get errors.
//	…         the target's triggers, views and routines are dropped, the new routines and triggers made, on hidden tables
//	switch    one RENAME TABLE gives all new tables their names, with triggers and all
//	…         views are made; from here on, all is there
//
// So no row is ever written without the triggers that belong to it, at the price of a moment of errors, which lasts as long as
// making triggers, routines and views takes. Each RENAME TABLE waits for open transactions on the tables, and new ones wait for it.
// What stands in the way of a definition's being made again is found out before: by rehearsals.

const (
	// renameWait is how long a rename may wait for open transactions, in seconds: programs wait as long behind it.
	renameWait     = 3
	renameWaitMore = 2 // of each of several tries
	// endPatience is for how long sessions are ended again because others hold locks.
	endPatience = 30 * time.Second
	// settleTimeout bounds what is done after an error or a cancellation.
	settleTimeout = 5 * time.Minute
	sessionTick   = 100 * time.Millisecond
)

// keptName is what a swap may keep the old content under.
var keptName = regexp.MustCompile(`^` + engine.KeptPrefix + `[a-z0-9_]{1,40}$`)

// swap is one Swap on its connections.
type swap struct {
	e   *Engine
	req engine.SwapRequest
	c   *conn // of the account that swaps
	r   *conn // of the account that restores
	b   *conn // of the account that reads
	*plan

	watch *watch
	until time.Time // sessions are waited for
	began time.Time // when the target could not be used any more
	ended map[string]bool
	res   engine.SwapResult
}

func checkSwap(req engine.SwapRequest) error {
	for _, c := range []struct {
		wrong   bool
		problem string
	}{
		{!stagingName.MatchString(req.Staged) && !keptName.MatchString(req.Staged), fmt.Sprintf("%q cannot take a place: it was neither restored nor kept", req.Staged)},
		{!keptName.MatchString(req.Keep), fmt.Sprintf("keep as %q: the name must be %s and up to 40 of a-z, 0-9 and _", req.Keep, engine.KeptPrefix)},
		{req.Keep == req.Staged, fmt.Sprintf("keep as %q: this is what is to be put in the place", req.Keep)},
		{ours(req.Target) || system(req.Target), fmt.Sprintf("target %q is not a database of programs", req.Target)},
		{req.Identity == "", "the target's identity is missing"},
		{!slices.Contains([]string{"", engine.SessionsRefuse, engine.SessionsWait, engine.SessionsEnd}, req.Sessions), fmt.Sprintf("sessions %q is not refuse, wait or end", req.Sessions)},
	} {
		if c.wrong {
			return wire.Failf(wire.CodeBadRequest, "swap: %s", c.problem)
		}
	}
	return checkName(req.Target)
}

// Swap puts the content of a staging or kept database in the place of the target's, whose tables, views, routines, triggers and
// events become the kept database; there, events do not run. The target's own name, its grants and comment stay. Rights that were
// granted on single routines are lost with them. Definers are those that the objects had.
func (e *Engine) Swap(ctx context.Context, req engine.SwapRequest) (*engine.SwapResult, error) {
	if err := checkSwap(req); err != nil {
		return nil, err
	}
	w := &swap{e: e, req: req, ended: map[string]bool{}}
	begun, err := w.run(ctx)
	if err == nil {
		return &w.res, nil
	}
	failure := e.sqlFailure(ctx, err, "swap "+e.where(req.Target), req.Target)
	if !begun {
		return nil, failure
	}
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	state, err := e.settle(after, req)
	switch {
	case err != nil:
		return nil, wire.Failf(wire.CodeInterrupted, "%w; and then: %w", failure, err).WithHint("the swap came to no end: settle it before anything else is done with %q", req.Target)
	case state == engine.SwapAfter:
		e.log.Warn("swap went on after an error", "database", req.Target, "err", failure)
		w.res.Unavailable = time.Since(w.began)
		return &w.res, nil
	}
	return nil, failure
}

func (w *swap) hangUp(ctx context.Context) {
	for _, c := range []*conn{w.b, w.r, w.c} {
		if c != nil {
			c.hangUp(ctx)
		}
	}
}

// step is a place where a test stops, or fails, what was done before.
func (e *Engine) step(what, name string) error {
	if e.beforeStep != nil {
		if err := e.beforeStep(name); err != nil {
			return err
		}
	}
	return failpoint.Err("agent.mysql_" + what + "_" + name)
}

// run reports whether anything was changed.
func (w *swap) run(ctx context.Context) (begun bool, err error) {
	defer w.hangUp(ctx) // with it goes the claim
	for _, one := range []struct {
		c   **conn
		who account
	}{{&w.c, w.e.swap}, {&w.r, w.e.restore}, {&w.b, w.e.backup}} {
		if *one.c, err = w.e.connect(ctx, one.who); err != nil {
			return false, err
		}
	}
	if err := w.c.server.supported(); err != nil {
		return false, err
	}
	if err := w.c.claim(ctx, w.req.Target); err != nil {
		return false, err
	}
	if err := w.prepare(ctx); err != nil {
		return false, err
	}
	// Not cancelled half-way: the server would go on, and make the database after it was cleaned up.
	whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	err = w.c.exec(whole, "CREATE DATABASE "+quoteName(w.Keep)+" CHARACTER SET "+w.Old.Charset+" COLLATE "+w.Old.Collation)
	if err != nil {
		return !refused(err), err
	}
	return true, w.forward(ctx)
}

// claim lets one Swap or Settle of a target work at a time, also after the agent of another one died: until the server has
// noticed, its last statement may still run.
func (c *conn) claim(ctx context.Context, target string) error {
	sum := sha256.Sum256([]byte(target))
	var got *int
	err := c.one(ctx, fmt.Sprintf("SELECT GET_LOCK('devflow_swap_%x', %d)", sum[:16], int(max(c.e.cfg.LockTimeout, renameWait*2*time.Second).Seconds())), nil, &got)
	if err != nil {
		return err
	}
	if got == nil || *got != 1 {
		return wire.Failf(wire.CodeTargetInUse, "another swap of %s is under way", c.e.where(target)).Retry().WithHint("wait until it has ended")
	}
	return nil
}

// prepare finds out whether the swap can be done, and takes down what is to be moved.
func (w *swap) prepare(ctx context.Context) error {
	req := w.req
	there, err := w.c.exists(ctx, req.Target)
	if err != nil {
		return err
	}
	if !there {
		return w.e.missing(req.Target, errNotListed)
	}
	identity, err := w.e.identity(ctx, req.Target, w.c, w.b)
	if err != nil {
		return err
	}
	if !sameIdentity(identity, req.Identity) {
		return w.e.changed(req.Target)
	}
	if there, err = w.c.exists(ctx, req.Staged); err != nil {
		return err
	} else if !there {
		return w.e.missing(req.Staged, errNotListed)
	}
	if there, err = w.c.exists(ctx, req.Keep); err != nil {
		return err
	} else if there {
		return wire.Failf(wire.CodeTargetExists, "keep as %q: there is such a database", req.Keep).WithHint("choose another name, or settle the swap that made it")
	}
	if err := w.mayStage(ctx); err != nil {
		return err
	}
	w.watch, err = w.e.watch(ctx, req.Target, w.c, w.r, w.b)
	if err != nil {
		return err
	}
	obstacles, err := w.e.obstacles(ctx, req.Target, req.Sessions, w.watch)
	if err != nil {
		return err
	}
	for _, p := range obstacles {
		if p.Stops {
			return wire.Failf(p.Code, "%s", p.Text).WithHint("%s", p.Hint)
		}
	}
	if err := w.clear(ctx); err != nil {
		return err
	}
	return w.takeDown(ctx)
}

func (e *Engine) changed(target string) *wire.Failure {
	return wire.Failf(wire.CodeTargetChanged, "%s is not the one that the plan was made for", e.where(target)).WithHint("look at it, and plan again")
}

// mayStage refuses what a swap that was interrupted, or another one, has to do with.
func (w *swap) mayStage(ctx context.Context) error {
	reader := w.r
	if kept(w.req.Staged) {
		reader = w.c
	}
	names, err := reader.reserved(ctx, w.req.Staged)
	if err != nil {
		return err
	}
	if slices.Contains(names, pendingTable) || slices.Contains(names, intentTable) || slices.Contains(names, publishingTable) {
		return wire.Failf(wire.CodeNotAllowed, "%q is part of a swap or a restore that was interrupted", w.req.Staged).WithHint("settle that swap first")
	}
	return nil
}

// takeDown reads what is to be moved.
func (w *swap) takeDown(ctx context.Context) error {
	w.plan = &plan{V: journalVersion, Staged: w.req.Staged, Target: w.req.Target, Keep: w.req.Keep, Identity: w.req.Identity}
	old, err := readContent(ctx, w.Target, w.c, w.b, w.r)
	if err != nil {
		return fmt.Errorf("read what is at the target: %w", err)
	}
	w.Old = *old
	if !kept(w.Staged) {
		fresh, err := readContent(ctx, w.Staged, w.r, w.c, w.b)
		if err != nil {
			return fmt.Errorf("read what is to be put in its place: %w", err)
		}
		w.New = *fresh
		if err := w.mayRun(ctx); err != nil {
			return err
		}
		return w.statementFits(ctx)
	}
	// What a swap took out of its place comes back as it was, and not as it is kept: events run again.
	fresh, err := w.c.readTables(ctx, w.Staged)
	if err != nil {
		return fmt.Errorf("read what is to be put in its place: %w", err)
	}
	j, err := w.c.readJournal(ctx, w.Staged)
	if err != nil {
		return err
	}
	if j == nil || !j.done {
		return wire.Failf(wire.CodeNotAllowed, "%q does not say what it is: it has no journal of a swap", w.Staged).WithHint("copy what is needed out of it")
	}
	w.New = j.Old
	w.New.Charset, w.New.Collation, w.New.Tables = fresh.Charset, fresh.Collation, fresh.Tables
	return w.statementFits(ctx)
}

// runPrivileges are what objects need that run as an account.
var runPrivileges = []string{"SELECT", "INSERT", "UPDATE", "DELETE", "EXECUTE", "SHOW VIEW", "TRIGGER"}

// mayRun refuses what would be at the target and not work: objects that run as the restore account, where that has no rights. Where
// another account swaps it needs none for the restore itself.
func (w *swap) mayRun(ctx context.Context) error {
	r, err := w.r.rights(ctx)
	if err != nil {
		return err
	}
	missing := r.lacks(w.Target, runPrivileges)
	if len(missing) == 0 || w.e.swap == w.e.restore {
		return nil
	}
	var names []string
	for _, o := range slices.Concat(w.New.Views, w.New.Routines, w.New.Triggers) {
		if strings.ReplaceAll(o.definer(), "`", "'") == r.account {
			names = append(names, o.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return wire.Failf(wire.CodePrivilege, "%d views, routines and triggers of the backup (%s) run as the restore account %s, which lacks %s on %s: programs could not use them",
		len(names), abridge(names), r.account, strings.Join(missing, ", "), w.e.where(w.Target)).WithHint("%s", runHint(r.account, w.Target))
}

func runHint(account, target string) string {
	return fmt.Sprintf("run %s, with which a hostile dump could change rows there; or set restore.definers to keep, so that they run as their own accounts",
		grant(runPrivileges, quotePattern(target), account))
}

// statementFits refuses what cannot be moved in one statement.
func (w *swap) statementFits(ctx context.Context) error {
	var most int
	if err := w.c.one(ctx, "SELECT @@max_allowed_packet", nil, &most); err != nil {
		return err
	}
	var moves []move
	for _, name := range w.Old.Tables {
		moves = append(moves, move{place{w.Target, name}, place{w.Keep, name}})
	}
	for _, name := range w.New.Tables {
		moves = append(moves, move{place{w.Staged, name}, place{w.Target, name}})
	}
	if need := len(renameStatement(moves)) + 4<<10; need > most {
		return wire.Failf(wire.CodeLimit, "%d tables cannot change places in one statement: it has %d bytes, and the server takes %d", len(moves), need, most).
			WithHint("run SET GLOBAL max_allowed_packet = 1073741824, and set it in the server's configuration")
	}
	return nil
}

// forward does the swap. It may be stopped anywhere.
func (w *swap) forward(ctx context.Context) error {
	var l *layout
	locate := func() (err error) {
		l, err = w.c.locate(ctx, w.plan)
		return err
	}
	triggeredOld, triggeredNew := w.Old.triggered(), w.New.triggered()
	steps := []struct {
		name string
		do   func() error
	}{
		{"journal", func() error { return w.c.writeJournal(ctx, w.plan) }},
		{"intent", func() error {
			return w.c.exec(ctx, "CREATE TABLE "+qualified(w.Staged, intentTable)+" (n INT) ENGINE = InnoDB COMMENT = "+quoteText(w.Keep))
		}},
		{"rehearse", func() error { return w.rehearse(ctx) }},
		{"events", func() error {
			if err := w.c.enter(ctx, w.plan, phaseMoving); err != nil {
				return err
			}
			return w.c.dropObjects(ctx, "EVENT", w.Target, w.Old.Events)
		}},
		{"staged", func() error {
			if err := locate(); err != nil {
				return err
			}
			return w.c.dropTriggers(ctx, l.new)
		}},
		{"hide", func() error {
			if w.atomic() {
				return nil
			}
			if err := w.clear(ctx); err != nil {
				return err
			}
			var moves []move
			for i, name := range w.Old.Tables {
				to := place{w.Keep, name}
				if triggeredOld[name] {
					to = place{w.Target, fmt.Sprint(hiddenOld, i)}
				}
				moves = append(moves, move{l.old[i], to})
			}
			return w.firstRename(ctx, moves)
		}},
		{"triggers", func() error {
			if err := locate(); err != nil {
				return err
			}
			if err := w.c.enter(ctx, w.plan, phaseRemaking); err != nil {
				return err
			}
			if w.atomic() {
				return nil
			}
			return w.c.dropTriggers(ctx, l.old)
		}},
		{"views", func() error { return w.c.dropObjects(ctx, "VIEW", w.Target, w.Old.Views) }},
		{"routines", func() error { return w.c.dropObjects(ctx, "ROUTINE", w.Target, w.Old.Routines) }},
		{"new_routines", func() error {
			if err := w.c.setCollation(ctx, w.Target, &w.New); err != nil {
				return err
			}
			return errors.Join(w.c.makeAll(ctx, w.New.Routines, making{database: w.Target}), w.c.leave(ctx))
		}},
		{"arrange", func() error {
			if w.atomic() {
				return nil
			}
			var moves []move
			for i, name := range w.Old.Tables {
				moves = append(moves, move{l.old[i], place{w.Keep, name}})
			}
			for i, name := range w.New.Tables {
				if triggeredNew[name] {
					moves = append(moves, move{l.new[i], place{w.Target, fmt.Sprint(hiddenNew, i)}})
				}
			}
			return w.c.rename(ctx, moves)
		}},
		{"new_triggers", func() error {
			if err := locate(); err != nil {
				return err
			}
			return errors.Join(w.c.makeTriggers(ctx, &w.New, l.new, w.Target), w.c.leave(ctx))
		}},
		{"switch", func() error {
			if err := locate(); err != nil {
				return err
			}
			if w.atomic() {
				if err := w.clear(ctx); err != nil {
					return err
				}
			} else {
				w.noteStrays(l)
			}
			var moves []move
			for i, name := range w.Old.Tables {
				moves = append(moves, move{l.old[i], place{w.Keep, name}})
			}
			moves = append(moves, l.strayMoves(w.plan)...)
			for i, name := range w.New.Tables {
				moves = append(moves, move{l.new[i], place{w.Target, name}})
			}
			moves = append(moves, move{place{w.Keep, pendingTable}, place{w.Keep, doneTable}})
			if w.atomic() {
				return w.firstRename(ctx, moves)
			}
			return w.c.rename(ctx, moves)
		}},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if err := w.e.step("swap", s.name); err != nil {
			return err
		}
	}
	// The rest is done whatever happens to ctx.
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	return w.finish(after, "swap")
}

// setCollation gives a database the character set of a content.
func (c *conn) setCollation(ctx context.Context, database string, o *content) error {
	return c.exec(ctx, "ALTER DATABASE "+quoteName(database)+" CHARACTER SET "+o.Charset+" COLLATE "+o.Collation)
}

// finish does what is left after the tables changed places; it may be repeated. What a server refuses to make again, against
// all rehearsals, is told and left out: its definition stays in the journal.
func (w *swap) finish(ctx context.Context, what string) error {
	c := w.c
	remake := func(kind string, all []object, m making) error {
		_, missing, err := c.present(ctx, kind, m.database, all)
		if err != nil {
			return err
		}
		var left []object
		var failed error
		if kind == "VIEW" {
			if left, failed, err = c.makeViewsThatWork(ctx, missing, m); err != nil {
				return err
			}
			if kept(m.database) {
				left, failed, err = c.makeKeptViews(ctx, all, left, m)
				if err != nil {
					return err
				}
			}
		} else {
			for _, o := range missing {
				err := c.makeAll(ctx, []object{o}, m)
				if err != nil && !refused(err) {
					return err
				}
				if err != nil {
					left, failed = append(left, o), err
				}
			}
		}
		for _, o := range left {
			w.note("%s %q could not be made in %q: %s; its definition is in %s", strings.ToLower(o.Kind), o.Name, m.database, w.e.scrub(failed), qualified(w.Keep, journalTable))
		}
		return c.leave(ctx)
	}
	old := making{database: w.Keep, disable: true}
	steps := []struct {
		name string
		do   func() error
	}{
		{"new_views", func() error {
			if err := remake("VIEW", w.New.Views, making{database: w.Target}); err != nil {
				return err
			}
			if err := c.mendDefaults(ctx, w.Target, w.Staged); err != nil {
				return err
			}
			if !w.began.IsZero() {
				w.res.Unavailable = time.Since(w.began)
			}
			return nil
		}},
		{"new_events", func() error { return remake("EVENT", w.New.Events, making{database: w.Target}) }},
		{"keep", func() error {
			if err := remake("ROUTINE", w.Old.Routines, old); err != nil {
				return err
			}
			if err := remake("VIEW", w.Old.Views, old); err != nil {
				return err
			}
			l, err := c.locate(ctx, w.plan)
			if err != nil {
				return err
			}
			if err := c.makeTriggers(ctx, &w.Old, l.old, w.Keep); err != nil {
				if !refused(err) {
					return err
				}
				w.note("triggers could not be made in %q: %s; their definitions are in %s", w.Keep, w.e.scrub(err), qualified(w.Keep, journalTable))
			}
			if err := c.mendDefaults(ctx, w.Keep, w.Target); err != nil {
				return err
			}
			return remake("EVENT", w.Old.Events, old)
		}},
		{"remove", func() error { return c.exec(ctx, "DROP DATABASE IF EXISTS "+quoteName(w.Staged)) }},
		{"complete", func() error { return c.enter(ctx, w.plan, phaseComplete) }},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if err := w.e.step(what, s.name); err != nil {
			return err
		}
	}
	if n := len(w.Old.Events); n > 0 {
		w.note("%d events of the old content are kept and do not run", n)
	}
	return nil
}

// makeKeptViews lets those views of a kept database run as who uses them that do not work as their definers: these may have no
// right there. left are those that could not be made at all.
func (c *conn) makeKeptViews(ctx context.Context, all, left []object, m making) (still []object, failed, err error) {
	there, _, err := c.present(ctx, "VIEW", m.database, all)
	if err != nil {
		return nil, nil, err
	}
	for _, v := range there {
		err := c.prepares(ctx, "SELECT * FROM "+qualified(m.database, v.Name))
		switch {
		case refused(err):
			if err := c.exec(ctx, "DROP VIEW "+qualified(m.database, v.Name)); err != nil {
				return nil, nil, err
			}
			left = append(left, v)
		case err != nil:
			return nil, nil, err
		}
	}
	m.invoker = true
	return c.makeViewsThatWork(ctx, left, m)
}

func (w *swap) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if len(w.res.Notes) < 100 {
		w.res.Notes = append(w.res.Notes, text)
	}
	w.e.log.Info("note of a swap", "database", w.req.Target, "note", text)
}

func (w *swap) noteStrays(l *layout) {
	for i, m := range l.strayMoves(w.plan) {
		w.note("somebody made table %q during the swap: it is %s now", l.strays[i], m.to)
	}
}

// rehearse makes, and drops again, what the account could lack a right for: an object of each definer, and each view.
func (w *swap) rehearse(ctx context.Context) error {
	seen := map[string]bool{}
	for _, o := range slices.Concat(w.Old.Views, w.Old.Routines, w.Old.Triggers, w.Old.Events, w.New.Views, w.New.Routines, w.New.Triggers, w.New.Events) {
		definer := o.definer()
		if definer == "" || seen[definer] {
			continue
		}
		seen[definer] = true
		name := qualified(w.Keep, rehearsal)
		if err := w.c.exec(ctx, "CREATE DEFINER = "+definer+" PROCEDURE "+name+"() BEGIN END"); err != nil {
			if answered(err, 1227, 1044, 1370, 1419, 4006) {
				return w.e.definers(w.Target, []string{definer}, err)
			}
			return fmt.Errorf("make an object of %s, as %q has: %w", definer, o.Name, err)
		}
		if err := w.c.exec(ctx, "DROP PROCEDURE "+name); err != nil {
			return err
		}
	}
	fresh := w.New.Views
	if kept(w.Staged) {
		fresh = nil // their definers may have no right there, and had it at the target
	}
	for _, side := range []struct {
		database string
		views    []object
	}{{w.Target, w.Old.Views}, {w.Staged, fresh}} {
		for _, v := range side.views {
			err := w.c.make(ctx, v, making{database: side.database, as: rehearsal})
			err = errors.Join(err, w.c.exec(context.WithoutCancel(ctx), "DROP VIEW IF EXISTS "+qualified(side.database, rehearsal)))
			if err != nil {
				return fmt.Errorf("make view %q of %q again: %w", v.Name, side.database, err)
			}
		}
	}
	return w.c.leave(ctx)
}

// definers is a target with objects that the account cannot make again as they are.
func (e *Engine) definers(target string, who []string, err error) *wire.Failure {
	return wire.Failf(wire.CodePrivilege, "%s has objects that run as %s, and the account %q may not make such: %w", e.where(target), strings.Join(who, ", "), e.swap.user, err).
		WithHint("%s", e.swapGrants(target))
}

// swapGrants are the statements that make a right account for swaps.
func (e *Engine) swapGrants(target string) string {
	account := onThisHost(engine.SwapUser)
	statements := []string{createAccount(engine.SwapUser)}
	for _, on := range []string{quotedPattern(stagingPattern), quotedPattern(keptPattern), quotePattern(target)} {
		statements = append(statements, grant(allPrivileges, on, account))
	}
	return fmt.Sprintf("run %s; and on MariaDB %s, on MySQL %s; then set restore.swap_user and restore.swap_password_file of the instance %q in the agent's configuration: no dump runs as it",
		strings.Join(statements, "; "), grant(definersRights(flavourMariaDB), "*", account), grant(definersRights(flavourMySQL), "*", account), e.cfg.Name)
}

// firstRename is the first one that needs the tables of the target. Other sessions that hold them are treated as the request says.
func (w *swap) firstRename(ctx context.Context, moves []move) error {
	wait, patience := renameWaitMore, time.Duration(0)
	switch w.req.Sessions {
	case engine.SessionsWait:
		patience = w.req.Wait
	case engine.SessionsEnd:
		patience = endPatience
	default:
		wait = renameWait
	}
	if err := w.c.exec(ctx, fmt.Sprintf("SET SESSION lock_wait_timeout = %d", wait)); err != nil {
		return err
	}
	deadline := time.Now().Add(patience)
	for {
		w.began = time.Now()
		err := w.c.rename(ctx, moves)
		switch {
		case err == nil:
			return w.c.exec(ctx, fmt.Sprintf("SET SESSION lock_wait_timeout = %d", max(1, int(w.e.cfg.LockTimeout.Seconds()))))
		case !answered(err, 1205, 1213):
			return err
		case time.Now().After(deadline):
			return wire.Failf(wire.CodeTargetInUse, "%s is in use: a session holds its tables: %w", w.e.where(w.Target), err).Retry().
				WithHint("look for a long transaction, perhaps in a session that is at another database")
		}
		if w.req.Sessions == engine.SessionsEnd {
			if err := w.clear(ctx); err != nil {
				return err
			}
		}
		if err := engine.Pause(ctx, sessionTick); err != nil {
			return err
		}
	}
}
