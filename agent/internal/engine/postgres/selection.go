package postgres

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/wire"
)

// selection finds what of a dump belongs to some schemas and tables, and what those need.
//
// Whole are the selected relations: with their rows, and with all that hangs on them. The rest is there because something
// needs it: a function of a trigger, a type, an extension, the table below a view. Such a table comes without rows.
type selection struct {
	items  []item
	byID   map[int]*item
	whole  map[int]bool
	chosen map[int]bool // with whole
	notes  []string
}

// selectItems returns the ids of the entries to restore, and what a person should know.
func selectItems(items []item, only []engine.Selection) (map[int]bool, []string, error) {
	s := &selection{items: items, byID: map[int]*item{}, whole: map[int]bool{}, chosen: map[int]bool{}}
	for i := range items {
		s.byID[items[i].id] = &items[i]
	}
	for _, one := range only {
		if err := s.find(one); err != nil {
			return nil, nil, err
		}
	}
	for s.grow() {
	}
	s.foreignKeys()
	s.tell()
	for _, i := range items {
		switch i.kind {
		case "ENCODING", "STDSTRINGS", "SEARCHPATH", "DATABASE":
			s.chosen[i.id] = true
		}
	}
	return s.chosen, s.notes, nil
}

func (s *selection) find(one engine.Selection) error {
	found := false
	for _, i := range s.items {
		switch {
		case one.Table == "" && (i.schema == one.Schema || i.kind == "SCHEMA" && i.tag == one.Schema):
			if i.kind != "FK CONSTRAINT" { // only where both ends are there
				s.whole[i.id], s.chosen[i.id] = true, true
			}
			found = true
		case one.Table != "" && i.relation() && i.schema == one.Schema && i.tag == one.Table:
			s.whole[i.id], s.chosen[i.id] = true, true
			found = true
		}
	}
	switch {
	case found:
		return nil
	case one.Table == "":
		return wire.Failf(wire.CodeBadRequest, "the backup has no schema %q", one.Schema).WithHint("names are exact, with their case")
	}
	return wire.Failf(wire.CodeBadRequest, "the backup has no table %q in schema %q", one.Table, one.Schema).WithHint("names are exact, with their case")
}

// grow adds what hangs on something chosen and what something chosen needs. It tells whether that was anything.
func (s *selection) grow() bool {
	grown := false
	used := map[string]bool{}
	for i := range s.items {
		if s.chosen[s.items[i].id] {
			used[s.items[i].schema] = true
		}
	}
	add := func(set map[int]bool, id int) {
		if !set[id] {
			set[id] = true
			grown = true
		}
	}
	for i := range s.items {
		it := &s.items[i]
		switch {
		case s.chosen[it.id]:
			for _, id := range it.needs {
				if need := s.byID[id]; need != nil && !rows(need.kind) && need.kind != "FK CONSTRAINT" {
					add(s.chosen, id)
				}
			}
			if it.kind == "TABLE ATTACH" {
				s.partition(it, add)
			}
		case s.hangs(it):
			add(s.chosen, it.id)
			if it.relation() { // the sequence of a column
				add(s.whole, it.id)
			}
		case it.kind == "SCHEMA" && used[it.tag]:
			add(s.chosen, it.id)
		}
	}
	return grown
}

// partition takes partitions with the table that they are of.
func (s *selection) partition(attach *item, add func(set map[int]bool, id int)) {
	for _, id := range attach.needs {
		// The partition is what the entry is named after; the other one is the table that it is of.
		if part := s.byID[id]; part != nil && part.relation() && part.schema == attach.schema && part.tag == attach.tag && s.anyWhole(attach, id) {
			add(s.whole, id)
			add(s.chosen, id)
		}
	}
}

func (s *selection) anyWhole(it *item, except int) bool {
	return slices.ContainsFunc(it.needs, func(id int) bool { return id != except && s.whole[id] })
}

// rows tells whether an entry fills something.
func rows(kind string) bool {
	switch kind {
	case "TABLE DATA", "MATERIALIZED VIEW DATA", "STATISTICS DATA", "BLOBS":
		return true
	}
	return false
}

// hangs tells whether an entry is part of something that was chosen.
func (s *selection) hangs(it *item) bool {
	switch it.kind {
	case "COMMENT", "ACL":
		// Of one object. A relation that is only needed keeps its grants, too.
		return len(it.needs) > 0 && !slices.ContainsFunc(it.needs, func(id int) bool { return s.byID[id] != nil && !s.chosen[id] })
	case "SEQUENCE SET":
		// Whatever a sequence is needed for, it goes on where it was.
		return slices.ContainsFunc(it.needs, func(id int) bool { return s.chosen[id] })
	case "TABLE ATTACH":
		return slices.ContainsFunc(it.needs, func(id int) bool { return s.whole[id] })
	case "INDEX ATTACH", "SEQUENCE OWNED BY":
		return len(it.needs) > 0 && !slices.ContainsFunc(it.needs, func(id int) bool { return !s.chosen[id] })
	case "INDEX", "STATISTICS", "SEQUENCE": // a sequence that needs a table is of a column
		return slices.ContainsFunc(it.needs, func(id int) bool { return s.whole[id] && s.byID[id].relation() })
	case "TABLE DATA", "MATERIALIZED VIEW DATA", "STATISTICS DATA", "CONSTRAINT", "CHECK CONSTRAINT", "TRIGGER", "RULE", "POLICY", "ROW SECURITY", "DEFAULT":
		return s.table(it) != nil
	}
	return false
}

// table is the selected relation that an entry such as "TRIGGER public t name" is of.
func (s *selection) table(it *item) *item {
	for _, id := range it.needs {
		if r := s.byID[id]; s.whole[id] && r.relation() && r.schema == it.schema && (it.tag == r.tag || strings.HasPrefix(it.tag, r.tag+" ")) {
			return r
		}
	}
	return nil
}

// foreignKeys adds those whose other end is there, too.
func (s *selection) foreignKeys() {
	for i := range s.items {
		it := &s.items[i]
		if it.kind != "FK CONSTRAINT" || s.table(it) == nil {
			continue
		}
		missing := slices.ContainsFunc(it.needs, func(id int) bool {
			need := s.byID[id]
			return need != nil && (!s.chosen[id] || need.kind == "TABLE" && !s.whole[id])
		})
		if missing {
			s.notes = append(s.notes, fmt.Sprintf("warning: foreign key %q in schema %q is left out: the table that it refers to is not restored", it.tag, it.schema))
			continue
		}
		s.chosen[it.id] = true
	}
}

// tell notes what a person might miss.
func (s *selection) tell() {
	large := false
	for i := range s.items {
		it := &s.items[i]
		if it.kind == "TABLE" && s.chosen[it.id] && !s.whole[it.id] {
			s.notes = append(s.notes, fmt.Sprintf("warning: table %s is restored without its rows: something that was chosen needs it", it.name()))
		}
		large = large || it.kind == "BLOBS"
	}
	if large {
		s.notes = append(s.notes, "warning: large objects are left out")
	}
}

// choose takes the lines out of the list that are not chosen.
func (a *archive) choose(chosen map[int]bool) {
	a.list = slices.DeleteFunc(a.list, func(line string) bool {
		number, _, _ := strings.Cut(line, ";")
		id, err := strconv.Atoi(number)
		return err != nil || !chosen[id]
	})
}
