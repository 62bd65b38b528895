package mysql

import (
	"fmt"
	"slices"
	"strings"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/wire"
)

// selection lets only some tables of a dump pass, with their rows, indexes and triggers, and the sequences, which defaults may use.
// Foreign keys to tables that are not selected are taken off.
type selection struct {
	tables []string
	note   func(text string)
}

func newSelection(only []engine.Selection, note func(string)) (*selection, error) {
	if len(only) == 0 {
		return nil, nil //nolint:nilnil // everything
	}
	s := &selection{note: note}
	for _, one := range only {
		if one.Schema != "" || one.Table == "" {
			return nil, wire.Failf(wire.CodeBadRequest, "restore a part: %q.%q is not a table: name tables without a schema", one.Schema, one.Table)
		}
		s.tables = append(s.tables, one.Table)
	}
	return s, nil
}

func (s *selection) has(name string) bool { return slices.Contains(s.tables, name) }

// ident is the last part of the name at i, quoted or not, and the token behind it.
func (d *definition) ident(i int) (name string, qualified bool, next int) {
	read := func(i int) string {
		if name, ok := d.name(i); ok {
			return name
		}
		if d.sign(i, 'w') {
			return string(d.text[d.tokens[i].from:d.tokens[i].to])
		}
		return ""
	}
	if d.named(i) && d.sign(i+1, '.') && d.named(i+2) {
		return read(i + 2), true, i + 3
	}
	return read(i), false, i + 1
}

// passes tells from the beginning of a statement, which is no definition, whether it passes.
func (s *selection) passes(d *definition) bool {
	at := 1
	skip := func(words ...string) {
		for d.is(at, words...) {
			at++
		}
	}
	switch {
	case d.is(0, "INSERT", "REPLACE"):
		skip("LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE", "INTO")
	case d.is(0, "DROP") && d.is(1, "SEQUENCE"), d.is(0, "DO") && d.is(1, "SETVAL"), d.is(0, "COMMIT"):
		return true
	case d.is(0, "DROP") && d.is(1, "TABLE"):
		at++
		skip("IF", "EXISTS")
	default:
		return false
	}
	name, _, _ := d.ident(at)
	return s.has(name)
}

// defines tells whether a whole definition passes, and takes off what refers to tables that do not.
func (s *selection) defines(d *definition, object int) bool {
	switch {
	case d.is(0, "SET"), d.is(0, "ALTER") && d.is(1, "DATABASE", "SCHEMA"), d.is(0, "CREATE") && d.is(object, "SEQUENCE"):
		return true
	case d.is(0, "ALTER") && d.is(1, "TABLE"):
		name, _, _ := d.ident(2)
		return s.has(name)
	case d.is(0, "CREATE") && d.is(object, "TRIGGER"):
		for i := object + 1; i < len(d.tokens) && !d.is(i, "FOR"); i++ {
			if d.is(i, "ON") && d.is(i-1, "INSERT", "UPDATE", "DELETE") {
				name, _, _ := d.ident(i + 1)
				return s.has(name)
			}
		}
		return false
	case d.is(0, "CREATE") && d.is(object, "TABLE"):
		at := object + 1
		for d.is(at, "IF", "NOT", "EXISTS") {
			at++
		}
		name, _, next := d.ident(at)
		if !s.has(name) {
			return false
		}
		s.cutForeignKeys(d, name, next)
		return true
	}
	return false
}

// cutForeignKeys takes off those of a table's definition whose list opens at open.
func (s *selection) cutForeignKeys(d *definition, table string, open int) {
	depth, from := 0, open+1
	for i := open; i < len(d.tokens); i++ {
		switch {
		case d.sign(i, '('):
			depth++
		case d.sign(i, ')'):
			depth--
		}
		if depth == 1 && d.sign(i, ',') || depth == 0 {
			if constraint, to, ok := d.foreignKey(from, i); ok && !s.has(to) && from > open+1 {
				d.edits = append(d.edits, edit{d.tokens[from-1].from, d.tokens[i-1].to, ""})
				s.note(fmt.Sprintf("foreign key %s of table %q was left out: it refers to %q, which is not restored", constraint, table, to))
			}
			from = i + 1
		}
		if depth == 0 {
			return
		}
	}
}

// foreignKey reads the item of a table's definition that goes from one token to before another.
func (d *definition) foreignKey(from, to int) (constraint, table string, ok bool) {
	at := from
	if d.is(at, "CONSTRAINT") {
		constraint, _, at = d.ident(at + 1)
		constraint = fmt.Sprintf("%q", constraint)
	}
	if !d.is(at, "FOREIGN") || !d.is(at+1, "KEY") {
		return "", "", false
	}
	for ; at < to; at++ {
		if d.is(at, "REFERENCES") {
			name, elsewhere, _ := d.ident(at + 1)
			if elsewhere {
				return constraint, "", true
			}
			return constraint, name, true
		}
	}
	return constraint, "", true
}

// complete refuses if a table was not in the dump.
func (s *selection) complete(restored []string) error {
	var missing []string
	for _, name := range s.tables {
		if !slices.Contains(restored, name) {
			missing = append(missing, fmt.Sprintf("%q", name))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return wire.Failf(wire.CodeBadRequest, "the backup holds no table %s", strings.Join(missing, ", ")).WithHint("names are compared letter by letter")
}
