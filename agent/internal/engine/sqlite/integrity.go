package sqlite

import (
	"context"
	"fmt"
	"slices"
	"strings"

	sqlite3 "modernc.org/sqlite/lib"

	"devflowbackup/shared/wire"
)

const (
	// checkLines bounds what integrity_check reports; it stops there.
	checkLines = 10_000
	// keptLines is how many problems, or notes, are kept.
	keptLines = 20
)

// integrity is what an integrity check found.
type integrity struct {
	problems []string // damage of the file
	notes    []string // rows that break their table's own constraints, and what could not be looked at
}

func (i *integrity) add(line string) {
	to := &i.problems
	if ofContent(line) {
		to = &i.notes
	}
	if len(*to) < keptLines {
		*to = append(*to, line)
	}
}

// ofContent tells whether a line is about a row that its table's constraints would not take today. Programs write such
// rows with constraints off, or add constraints later; the file is sound, and so is its copy.
func ofContent(line string) bool {
	for _, prefix := range []string{"NULL value in ", "CHECK constraint failed in ", "NUMERIC value in ", "TEXT value in "} {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return strings.HasPrefix(line, "non-") && strings.Contains(line, " value in ")
}

// checkIntegrity reads the whole file. An error means that it could not be checked, which for a file of unknown origin is
// damage too.
func (c *connection) checkIntegrity(ctx context.Context) (i integrity, err error) {
	err = c.check(ctx, fmt.Sprintf("PRAGMA integrity_check(%d)", checkLines), &i)
	if primary, _ := resultCode(err); primary != sqlite3.SQLITE_ERROR || ctx.Err() != nil {
		return i, err
	}
	// Something in the schema needs a function or a collation that only its own program has. Table by table, all others
	// are checked in full, and all pages of this one are read.
	tables, err := c.tables(ctx)
	if err != nil {
		return i, err
	}
	i = integrity{}
	for _, t := range tables {
		err := c.check(ctx, fmt.Sprintf("PRAGMA integrity_check(%s)", quote(t.name)), &i)
		if primary, _ := resultCode(err); primary == sqlite3.SQLITE_ERROR && ctx.Err() == nil {
			i.notes = append(i.notes[:min(len(i.notes), keptLines)], fmt.Sprintf("table %q was not checked in full: %v", t.name, err))
			_, err = c.number(ctx, "SELECT count(*) FROM "+quote(t.name)+" NOT INDEXED")
			if primary, _ := resultCode(err); primary == sqlite3.SQLITE_ERROR && ctx.Err() == nil {
				err = nil
			}
		}
		if err != nil {
			return i, err
		}
	}
	return i, nil
}

func (c *connection) check(ctx context.Context, query string, i *integrity) error {
	rows, err := c.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return err
		}
		for line := range strings.SplitSeq(text, "\n") {
			if line != "ok" && line != "" {
				i.add(line)
			}
		}
	}
	return rows.Err()
}

// failure is nil for a sound file.
func (i integrity) failure(code, what string) error {
	if len(i.problems) == 0 {
		return nil
	}
	shown := slices.Clone(i.problems[:min(3, len(i.problems))])
	if len(i.problems) > len(shown) {
		shown = append(shown, "…")
	}
	return wire.Failf(code, "%s: %s", what, strings.Join(shown, "; "))
}
