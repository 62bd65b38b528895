package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"devflowbackup/shared/wire"
)

// place is where a table is.
type place struct{ database, table string }

func (p place) String() string { return qualified(p.database, p.table) }

// move renames a table.
type move struct{ from, to place }

// layout is where the tables of both contents of a swap are now, in the order of the plan. It is seen, not remembered: so it
// is right after any crash.
type layout struct {
	old, new []place
	// strays are tables at the target that belong to neither content and have a name of both or one of them.
	strays []string
}

// visible tells whether programs that use the target find the table.
func (p *plan) visible(at place) bool {
	return at.database == p.Target && !strings.HasPrefix(at.table, hiddenOld) && !strings.HasPrefix(at.table, hiddenNew)
}

// locate finds all tables of a plan.
func (c *conn) locate(ctx context.Context, p *plan) (*layout, error) {
	there := map[place]bool{}
	for _, database := range []string{p.Staged, p.Target, p.Keep} {
		names, err := c.strings(ctx, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE <> 'VIEW' AND "+same("TABLE_SCHEMA"), database, database)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			there[place{database, name}] = true
		}
	}
	l := &layout{}
	find := func(names []string, hidden, home string) (found []place) {
		for i, name := range names {
			at := place{p.Target, name}
			for _, other := range []place{{p.Target, hidden + strconv.Itoa(i)}, {home, name}} {
				if there[other] {
					at = other
					break
				}
			}
			found = append(found, at)
		}
		return found
	}
	l.old, l.new = find(p.Old.Tables, hiddenOld, p.Keep), find(p.New.Tables, hiddenNew, p.Staged)
	claimed := map[place]int{}
	for _, at := range slices.Concat(l.old, l.new) {
		claimed[at]++
		if !there[at] || claimed[at] > 1 {
			return nil, wire.Failf(wire.CodeInternal, "table %s is not where the swap put it: somebody dropped or renamed it", at).
				WithHint("put it back: what belongs together is in %q, %q and %q", p.Target, p.Staged, p.Keep)
		}
	}
	for _, name := range slices.Concat(p.Old.Tables, p.New.Tables) {
		at := place{p.Target, name}
		if there[at] && claimed[at] == 0 && !slices.Contains(l.strays, name) {
			l.strays = append(l.strays, name)
		}
	}
	return l, nil
}

// strayMoves takes strays out of the way, into the kept database.
func (l *layout) strayMoves(p *plan) (moves []move) {
	for i, name := range l.strays {
		moves = append(moves, move{place{p.Target, name}, place{p.Keep, fmt.Sprintf("%s%d_%d", strayTable, i, len(p.Old.Tables))}})
	}
	return moves
}

// renameStatement is empty if nothing moves.
func renameStatement(moves []move) string {
	var parts []string
	for _, m := range moves {
		if m.from != m.to {
			parts = append(parts, m.from.String()+" TO "+m.to.String())
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "RENAME TABLE " + strings.Join(parts, ", ")
}

// rename moves tables, all or none.
func (c *conn) rename(ctx context.Context, moves []move) error {
	statement := renameStatement(moves)
	if statement == "" {
		return nil
	}
	return c.exec(ctx, statement)
}

// triggered lists the tables that have triggers in a content.
func (o *content) triggered() map[string]bool {
	found := map[string]bool{}
	for _, t := range o.Triggers {
		found[t.Table] = true
	}
	return found
}

// triggersOn lists the triggers of tables, by their table.
func (c *conn) triggersOn(ctx context.Context, database string) (map[string][]string, error) {
	found := map[string][]string{}
	err := c.each(ctx, "SELECT EVENT_OBJECT_TABLE, TRIGGER_NAME FROM information_schema.TRIGGERS WHERE "+same("TRIGGER_SCHEMA"), []any{database, database},
		func(scan func(to ...any) error) error {
			var table, name string
			err := scan(&table, &name)
			found[table] = append(found[table], name)
			return err
		})
	return found, err
}

// dropTriggers drops those of tables where they are now.
func (c *conn) dropTriggers(ctx context.Context, tables []place) error {
	seen := map[string]map[string][]string{}
	for _, at := range tables {
		if seen[at.database] == nil {
			found, err := c.triggersOn(ctx, at.database)
			if err != nil {
				return err
			}
			seen[at.database] = found
		}
		for _, name := range seen[at.database][at.table] {
			if err := c.exec(ctx, "DROP TRIGGER IF EXISTS "+qualified(at.database, name)); err != nil {
				return fmt.Errorf("drop trigger %q: %w", name, err)
			}
		}
	}
	return nil
}

// makeTriggers makes those triggers of a content whose table is in a database and does not have all of them. Its own are
// dropped before, for their order counts.
func (c *conn) makeTriggers(ctx context.Context, o *content, tables []place, database string) error {
	have, err := c.triggersOn(ctx, database)
	if err != nil {
		return err
	}
	want := map[string]int{}
	for _, t := range o.Triggers {
		want[t.Table]++
	}
	var missing []string
	onto := map[string]string{} // of those that have another name now
	for i, name := range o.Tables {
		at := tables[i]
		if at.database != database || want[name] == 0 || len(have[at.table]) == want[name] {
			continue
		}
		missing = append(missing, name)
		if at.table != name {
			onto[name] = at.table
		}
		for _, trigger := range have[at.table] {
			if err := c.exec(ctx, "DROP TRIGGER IF EXISTS "+qualified(database, trigger)); err != nil {
				return err
			}
		}
	}
	triggers := slices.DeleteFunc(slices.Clone(o.Triggers), func(t object) bool { return !slices.Contains(missing, t.Table) })
	return c.makeAll(ctx, triggers, making{database: database, onto: onto})
}

// names of what a database has of one kind of object.
var objectQueries = map[string]string{
	"VIEW":    "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE = 'VIEW' AND " + same("TABLE_SCHEMA"),
	"ROUTINE": "SELECT CONCAT(ROUTINE_TYPE, ' ', ROUTINE_NAME) FROM information_schema.ROUTINES WHERE " + same("ROUTINE_SCHEMA"),
	"EVENT":   "SELECT EVENT_NAME FROM information_schema.EVENTS WHERE " + same("EVENT_SCHEMA"),
}

// present splits objects of one kind into those whose name is taken in a database, and the others.
func (c *conn) present(ctx context.Context, kind, database string, all []object) (there, missing []object, err error) {
	if len(all) == 0 {
		return nil, nil, nil
	}
	names, err := c.strings(ctx, objectQueries[kind], database, database)
	if err != nil {
		return nil, nil, err
	}
	for _, o := range all {
		name := o.Name
		if kind == "ROUTINE" {
			name = o.Kind + " " + o.Name
		}
		if slices.Contains(names, name) {
			there = append(there, o)
		} else {
			missing = append(missing, o)
		}
	}
	return there, missing, nil
}

// dropObjects drops views, routines or events of these names.
func (c *conn) dropObjects(ctx context.Context, kind, database string, all []object) error {
	there, _, err := c.present(ctx, kind, database, all)
	if err != nil {
		return err
	}
	slices.Reverse(there) // a package goes after its body
	for _, o := range there {
		// In another mode, the server does not know packages.
		pack := strings.HasPrefix(o.Kind, "PACKAGE")
		if pack {
			if err := c.exec(ctx, "SET sql_mode = "+quoteText(o.Mode)); err != nil {
				return err
			}
		}
		err := c.exec(ctx, "DROP "+o.Kind+" IF EXISTS "+qualified(database, o.Name))
		if pack {
			err = errors.Join(err, c.exec(context.WithoutCancel(ctx), "SET sql_mode = ''"))
		}
		if err != nil {
			return fmt.Errorf("drop %s %q: %w", strings.ToLower(o.Kind), o.Name, err)
		}
	}
	return nil
}
