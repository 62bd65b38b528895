package wire

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
)

// Fingerprint describes the content of a database: every table with its row count, and how many objects of each other
// kind there are. It holds nothing that a restore elsewhere changes (names of the database, owners, object ids), so the
// fingerprint of a restored database equals that of its backup.
type Fingerprint struct {
	V      int              `json:"v"`
	Engine string           `json:"engine"`
	Exact  bool             `json:"exact"` // counts come from the dump's own snapshot; an approximate one never fails anything
	Tables []TableCount     `json:"tables"`
	Counts map[string]int64 `json:"counts"` // "views", "sequences", "functions", "triggers", …
}

// TableCount is one table and its rows.
type TableCount struct {
	Schema string `json:"schema,omitempty"`
	Name   string `json:"name"`
	Rows   int64  `json:"rows"`
}

// Rows is the sum over all tables.
func (f *Fingerprint) Rows() int64 {
	var n int64
	for _, t := range f.Tables {
		n += t.Rows
	}
	return n
}

// Canonical is the one encoding of a fingerprint: tables sorted by schema and name, keys sorted, nothing null.
func (f *Fingerprint) Canonical() ([]byte, error) {
	c := *f
	c.V = Version
	c.Tables = slices.Clone(f.Tables)
	if c.Tables == nil {
		c.Tables = []TableCount{}
	}
	if c.Counts == nil {
		c.Counts = map[string]int64{}
	}
	slices.SortFunc(c.Tables, func(a, b TableCount) int {
		return cmp.Or(cmp.Compare(a.Schema, b.Schema), cmp.Compare(a.Name, b.Name))
	})
	b, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode fingerprint: %w", err)
	}
	return b, nil
}

// Diff lists what differs, at most 20 lines; none means equal. f is what was backed up, got what was restored.
func (f *Fingerprint) Diff(got *Fingerprint) []string {
	var out []string
	add := func(format string, args ...any) {
		if len(out) < 20 {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	type key struct{ schema, name string }
	have := make(map[key]int64, len(got.Tables))
	for _, t := range got.Tables {
		have[key{t.Schema, t.Name}] = t.Rows
	}
	for _, t := range f.Tables {
		k := key{t.Schema, t.Name}
		rows, ok := have[k]
		switch {
		case !ok:
			add("table %q.%q: missing, %d rows expected", t.Schema, t.Name, t.Rows)
		case rows != t.Rows:
			add("table %q.%q: %d rows, %d expected", t.Schema, t.Name, rows, t.Rows)
		}
		delete(have, k)
	}
	for _, t := range got.Tables {
		if _, extra := have[key{t.Schema, t.Name}]; extra {
			add("table %q.%q: not in the backup", t.Schema, t.Name)
		}
	}
	kinds := make([]string, 0, len(f.Counts))
	for k := range f.Counts {
		kinds = append(kinds, k)
	}
	for k := range got.Counts {
		if _, ok := f.Counts[k]; !ok {
			kinds = append(kinds, k)
		}
	}
	slices.Sort(kinds)
	for _, k := range kinds {
		if f.Counts[k] != got.Counts[k] {
			add("%s: %d, %d expected", k, got.Counts[k], f.Counts[k])
		}
	}
	return out
}
