package mysql

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	driver "github.com/go-sql-driver/mysql"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/wire"
)

// The journal of a Swap is a table in the kept database. Two more small tables say how far it came:
//
//	kept.devflow_swap           what is to be moved, every definition, and in its comment the phase
//	kept.devflow_swap_pending   the journal is complete, the swap is not: it will be undone
//	kept.devflow_swap_done      the target has the new content: what is left to do will be done
//	staging.devflow_swap_intent which kept database the swap is of, in its comment
//
// The second becomes the third in the very statement that moves the tables: this is the moment of the swap. The journal stays,
// for the definitions in it are the right ones when the kept content comes back: in the kept database, events do not run.
const (
	journalTable   = "devflow_swap"
	pendingTable   = "devflow_swap_pending"
	doneTable      = "devflow_swap_done"
	intentTable    = "devflow_swap_intent"
	rehearsal      = "devflow_swap_rehearsal" // a view or procedure that is made and dropped
	hiddenOld      = "devflow_swap_o"         // and a number: a table of the target that nobody shall use
	hiddenNew      = "devflow_swap_n"
	strayTable     = "devflow_stray_" // and a number: a table that somebody made in the way, now in the kept database
	journalPiece   = 256 << 10
	journalVersion = 1
)

// Phases of a swap that is pending.
const (
	phasePrepared = "prepared" // the target was not touched
	phaseMoving   = "moving"   // its events may be gone and its tables be elsewhere
	phaseRemaking = "remaking" // its triggers, views and routines may be gone, or be those of the new content
	phaseBack     = "back"     // it is as it was; what was staged may be incomplete
	phaseComplete = "complete" // of one that is done
)

// plan is what a Swap is to do.
type plan struct {
	V        int     `json:"v"`
	Staged   string  `json:"staged"`
	Target   string  `json:"target"`
	Keep     string  `json:"keep"`
	Identity string  `json:"identity"`
	Old      content `json:"old"` // at the target before
	New      content `json:"new"` // at the target after
}

func (p *plan) fits(req engine.SwapRequest) bool {
	return p.Staged == req.Staged && p.Target == req.Target && p.Keep == req.Keep && p.Identity == req.Identity
}

// atomic tells whether all tables of both can change places in one statement: then there is nothing that must not be seen
// without its triggers, or together with views and routines of the other content.
func (p *plan) atomic() bool {
	return len(p.Old.Triggers)+len(p.Old.Views)+len(p.Old.Routines)+len(p.New.Triggers) == 0
}

// writeJournal makes the kept database's journal. It counts only once the pending table is there.
func (c *conn) writeJournal(ctx context.Context, p *plan) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	table := qualified(p.Keep, journalTable)
	if err := c.exec(ctx, "CREATE TABLE "+table+" (n INT NOT NULL, part LONGBLOB NOT NULL) ENGINE = InnoDB COMMENT = "+quoteText(phasePrepared)); err != nil {
		return err
	}
	insert := func(n int, part []byte) error {
		return c.exec(ctx, fmt.Sprintf("INSERT INTO %s VALUES (%d, x'%x')", table, n, part))
	}
	for n := 1; len(text) > 0; n++ {
		size := min(journalPiece, len(text))
		if err := insert(n, text[:size]); err != nil {
			return err
		}
		text = text[size:]
	}
	return c.exec(ctx, "CREATE TABLE "+qualified(p.Keep, pendingTable)+" (n INT) ENGINE = InnoDB")
}

// enter notes a phase. Not in a row: a server that was told not to flush every commit would forget it in a crash, and remember what
// was dropped since.
func (c *conn) enter(ctx context.Context, p *plan, phase string) error {
	return c.exec(ctx, "ALTER TABLE "+qualified(p.Keep, journalTable)+" COMMENT = "+quoteText(phase))
}

// journal is what a kept database says of its swap.
type journal struct {
	plan
	phase string
	done  bool
}

// readJournal returns nil if there is no journal, or none that counts.
func (c *conn) readJournal(ctx context.Context, keep string) (*journal, error) {
	names, err := c.reserved(ctx, keep)
	if err != nil {
		return nil, err
	}
	j := &journal{}
	counts := false
	for _, name := range names {
		j.done = j.done || name == doneTable
		counts = counts || name == doneTable || name == pendingTable
	}
	if !counts {
		return nil, nil //nolint:nilnil // as documented
	}
	if err := c.one(ctx, "SELECT TABLE_COMMENT FROM information_schema.TABLES WHERE TABLE_NAME = ? AND "+same("TABLE_SCHEMA"), []any{journalTable, keep, keep}, &j.phase); err != nil {
		return nil, fmt.Errorf("read phase of %q: %w", keep, err)
	}
	var text bytes.Buffer
	err = c.each(ctx, "SELECT n, part FROM "+qualified(keep, journalTable)+" ORDER BY n", nil, func(scan func(to ...any) error) error {
		var n int
		var part []byte
		if err := scan(&n, &part); err != nil {
			return err
		}
		text.Write(part)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text.Bytes(), &j.plan); err != nil {
		return nil, fmt.Errorf("read journal of %q: %w", keep, err)
	}
	if j.V != journalVersion {
		return nil, fmt.Errorf("read journal of %q: it has version %d, and this agent knows %d", keep, j.V, journalVersion)
	}
	return j, nil
}

// reserved lists the tables of our own in a database.
func (c *conn) reserved(ctx context.Context, database string) ([]string, error) {
	return c.strings(ctx, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE NOT ("+notReserved+") AND "+same("TABLE_SCHEMA")+" ORDER BY 1", database, database)
}

// settled refuses a database that is part of a swap which came to no end yet.
func (e *Engine) settled(ctx context.Context, database string) error {
	what := "remove " + e.where(database)
	c, err := e.connect(ctx, e.owner(database))
	if err != nil {
		return err
	}
	defer c.hangUp(ctx)
	// The intent names another database, which only the account that swaps may see.
	k, err := e.connect(ctx, e.swap)
	if err != nil {
		return err
	}
	defer k.hangUp(ctx)
	keeps, err := c.strings(ctx, "SELECT TABLE_COMMENT FROM information_schema.TABLES WHERE TABLE_NAME = ? AND "+same("TABLE_SCHEMA"), intentTable, database, database)
	if err != nil {
		return e.sqlFailure(ctx, err, what, database)
	}
	for _, keep := range append(keeps, database) {
		names, err := k.reserved(ctx, keep)
		if err != nil {
			return e.sqlFailure(ctx, err, what, database)
		}
		if slices.Contains(names, pendingTable) {
			return wire.Failf(wire.CodeNotAllowed, "remove %s: a swap that keeps %q was interrupted, and it holds what belongs to it", e.where(database), keep).
				WithHint("settle the swap first")
		}
	}
	return nil
}

// refused tells whether the server answered, and said no.
func refused(err error) bool {
	answer := (*driver.MySQLError)(nil)
	return errors.As(err, &answer)
}

// answered tells whether the server answered with one of these numbers.
func answered(err error, numbers ...uint16) bool {
	answer := (*driver.MySQLError)(nil)
	if !errors.As(err, &answer) {
		return false
	}
	for _, n := range numbers {
		if answer.Number == n {
			return true
		}
	}
	return false
}
