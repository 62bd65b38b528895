package runner

import (
	"context"
	"slices"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/wire"
)

const (
	// maxGlobals is the largest text of roles and settings that is read, decoded.
	maxGlobals = 16 << 20
	notePart   = "a part of the backup was restored: only its tables were compared with the backup's fingerprint\n"
)

// chosen is what a restore is asked for. roles is nil unless missing ones are to be made.
func chosen(c *wire.RestoreChoices, roles []byte) (req engine.RestoreRequest) {
	if c == nil {
		return req
	}
	req = engine.RestoreRequest{Owners: c.Owners, Privileges: c.Privileges, Roles: roles, Definers: c.Definers, Jobs: c.Jobs}
	for _, one := range c.Only {
		req.Only = append(req.Only, engine.Selection{Schema: one.Schema, Table: one.Table})
	}
	return req
}

func only(c *wire.RestoreChoices) []wire.Selection {
	if c == nil {
		return nil
	}
	return c.Only
}

// roles reads the roles and settings of a backup, if a restore is to make those that are missing.
func (r *Runner) roles(ctx context.Context, a *attempt, o *wire.RestoreOrder) ([]byte, error) {
	if o.Choices == nil || !o.Choices.Roles {
		return nil, nil
	}
	text, err := r.small(ctx, a, o.Source, wire.ObjectGlobals, *o.Source.Globals, maxGlobals)
	if wire.HasCode(err, wire.CodeMissing) {
		return nil, wire.Failf(wire.CodeMissing, "the backup's roles are gone from its storage: %w", err).WithHint("restore without them, and make them yourself")
	}
	return text, err
}

// selected is the part of the backup's fingerprint that a restore of a selection must match: the tables that the selection
// names, and those of got that came with them. Kinds of other objects are not counted. Without a selection it is all of it.
func selected(want, got *wire.Fingerprint, selection []wire.Selection) *wire.Fingerprint {
	if len(selection) == 0 {
		return want
	}
	type name struct{ schema, table string }
	there := make(map[name]bool, len(got.Tables))
	if got != want {
		for _, t := range got.Tables {
			there[name{t.Schema, t.Name}] = true
		}
	}
	part := *want
	part.Counts, part.Tables = nil, nil
	for _, t := range want.Tables {
		named := slices.ContainsFunc(selection, func(s wire.Selection) bool {
			return (s.Schema == "" || s.Schema == t.Schema) && (s.Table == "" || s.Table == t.Name)
		})
		if named || there[name{t.Schema, t.Name}] {
			part.Tables = append(part.Tables, t)
		}
	}
	return &part
}
