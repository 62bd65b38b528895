package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/wire"
)

// Settle brings a swap to its end: on if the tables have changed places, else back. Everything that it does is found out from
// what is there, so that it may be stopped and repeated.
func (e *Engine) Settle(ctx context.Context, req engine.SwapRequest) (state string, err error) {
	if err := checkSwap(req); err != nil {
		return "", err
	}
	state, err = e.settle(ctx, req)
	if err != nil {
		return "", e.sqlFailure(ctx, err, "settle the swap of "+e.where(req.Target), req.Target)
	}
	return state, nil
}

func (e *Engine) settle(ctx context.Context, req engine.SwapRequest) (state string, err error) {
	w := &swap{e: e, req: req}
	if w.c, err = e.connect(ctx, e.swap); err != nil {
		return "", err
	}
	defer w.c.hangUp(ctx)
	if err := w.c.claim(ctx, req.Target); err != nil {
		return "", err
	}
	j, err := w.c.readJournal(ctx, req.Keep)
	if err != nil {
		return "", err
	}
	if j == nil {
		return w.neverBegun(ctx)
	}
	w.plan = &j.plan
	if !w.fits(req) {
		return "", wire.Failf(wire.CodeBadRequest, "%q is kept by another swap: that of %q by %q", req.Keep, w.Target, w.Staged)
	}
	switch {
	case j.done && j.phase == phaseComplete:
		return engine.SwapAfter, nil
	case j.done:
		return engine.SwapAfter, w.finish(ctx, "settle")
	}
	return engine.SwapBefore, w.back(ctx, j.phase)
}

// neverBegun decides where there is no journal: the swap was not begun, has been undone, or what it kept is gone.
func (w *swap) neverBegun(ctx context.Context) (state string, err error) {
	there, err := w.c.exists(ctx, w.req.Target)
	if err != nil {
		return "", err
	}
	if !there {
		return "", w.e.missing(w.req.Target, errNotListed)
	}
	b, err := w.e.connect(ctx, w.e.backup)
	if err != nil {
		return "", err
	}
	defer b.hangUp(ctx)
	identity, err := w.e.identity(ctx, w.req.Target, w.c, b)
	if err != nil {
		return "", err
	}
	if !sameIdentity(identity, w.req.Identity) {
		return "", w.e.changed(w.req.Target)
	}
	if there, err = w.c.exists(ctx, w.req.Keep); err != nil || !there {
		return engine.SwapBefore, err
	}
	return engine.SwapBefore, w.dropKeep(ctx)
}

// dropKeep drops the kept database of a swap that came to nothing, unless it holds what is not ours.
func (w *swap) dropKeep(ctx context.Context) error {
	names, err := w.c.tableNames(ctx, w.req.Keep)
	if err != nil {
		return err
	}
	// In this order: without the first, nothing is looked for in the last.
	for _, name := range []string{pendingTable, doneTable, journalTable} {
		if err := w.c.exec(ctx, "DROP TABLE IF EXISTS "+qualified(w.req.Keep, name)); err != nil {
			return err
		}
	}
	if len(names) == 0 {
		return w.c.dropNow(ctx, w.req.Keep)
	}
	w.note("%d tables stay in %q: somebody made them while the swap went on", len(names), w.req.Keep)
	return nil
}

// back undoes a swap whose tables have not changed places.
func (w *swap) back(ctx context.Context, phase string) error {
	c := w.c
	var l *layout
	locate := func() (err error) {
		l, err = c.locate(ctx, w.plan)
		return err
	}
	remade := phase == phaseRemaking
	steps := []struct {
		name string
		do   func() error
	}{
		{"clear", func() error { // what the target must not have
			for _, database := range []string{w.Target, w.Staged} {
				if err := c.exec(ctx, "DROP VIEW IF EXISTS "+qualified(database, rehearsal)); err != nil {
					return err
				}
			}
			if err := locate(); err != nil || !remade {
				return err
			}
			hidden := slices.DeleteFunc(slices.Clone(l.new), func(at place) bool { return at.database != w.Target })
			if err := c.dropTriggers(ctx, hidden); err != nil {
				return err
			}
			for kind, all := range map[string][]object{"VIEW": slices.Concat(w.Old.Views, w.New.Views), "ROUTINE": slices.Concat(w.Old.Routines, w.New.Routines)} {
				if err := c.dropObjects(ctx, kind, w.Target, all); err != nil {
					return err
				}
			}
			return nil
		}},
		{"arrange", func() error { // tables with triggers get them where nobody sees them
			if !remade {
				return nil
			}
			var moves []move
			for i, name := range w.New.Tables {
				moves = append(moves, move{l.new[i], place{w.Staged, name}})
			}
			triggered := w.Old.triggered()
			for i, name := range w.Old.Tables {
				if triggered[name] && !w.visible(l.old[i]) {
					moves = append(moves, move{l.old[i], place{w.Target, fmt.Sprint(hiddenOld, i)}})
				}
			}
			if err := c.rename(ctx, moves); err != nil {
				return err
			}
			if err := locate(); err != nil {
				return err
			}
			if err := c.setCollation(ctx, w.Target, &w.Old); err != nil {
				return err
			}
			_, missing, err := c.present(ctx, "ROUTINE", w.Target, w.Old.Routines)
			if err != nil {
				return err
			}
			return errors.Join(c.makeAll(ctx, missing, making{database: w.Target}), c.makeTriggers(ctx, &w.Old, l.old, w.Target), c.leave(ctx))
		}},
		{"return", func() error {
			if err := locate(); err != nil {
				return err
			}
			w.noteStrays(l)
			moves := l.strayMoves(w.plan)
			for i, name := range w.Old.Tables {
				moves = append(moves, move{l.old[i], place{w.Target, name}})
			}
			return c.rename(ctx, moves)
		}},
		{"remake", func() error {
			_, views, err := c.present(ctx, "VIEW", w.Target, w.Old.Views)
			if err != nil {
				return err
			}
			_, events, err := c.present(ctx, "EVENT", w.Target, w.Old.Events)
			if err != nil {
				return err
			}
			as := making{database: w.Target}
			if err := errors.Join(c.makeViews(ctx, views, as), c.makeAll(ctx, events, as), c.leave(ctx)); err != nil {
				return err
			}
			return c.enter(ctx, w.plan, phaseBack)
		}},
	}
	if phase == phaseBack {
		steps = nil
	}
	steps = append(steps, struct {
		name string
		do   func() error
	}{"stage", func() error {
		if err := locate(); err != nil {
			return err
		}
		if err := errors.Join(c.makeTriggers(ctx, &w.New, l.new, w.Staged), c.leave(ctx)); err != nil {
			return err
		}
		if err := c.exec(ctx, "DROP TABLE IF EXISTS "+qualified(w.Staged, intentTable)); err != nil {
			return err
		}
		return w.dropKeep(ctx)
	}})
	for _, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if err := w.e.step("settle", s.name); err != nil {
			return err
		}
	}
	return nil
}
