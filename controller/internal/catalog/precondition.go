package catalog

import (
	"context"

	"github.com/uptrace/bun"

	"devflowbackup/controller"
)

// unchanged locks a row and holds its version against the one that the caller's change is for, where it named one. It is called before the
// row is read for the change.
func (t *tx) unchanged(ctx context.Context, table string, id int64, read func() (version string, err error)) error {
	if !controller.Bound(ctx) {
		return nil
	}
	if _, err := t.exec(ctx, "SELECT 1 FROM ? WHERE id = ? FOR UPDATE", bun.Ident(table), id); err != nil {
		return err
	}
	v, err := read()
	if err != nil {
		return err
	}
	return controller.Match(ctx, v)
}

func (t *tx) unchangedProject(ctx context.Context, ref string) error {
	if !controller.Bound(ctx) {
		return nil
	}
	p, err := t.project(ctx, ref)
	if err != nil {
		return err
	}
	return t.unchanged(ctx, "projects", p.ID, func() (string, error) {
		p, err := t.project(ctx, itoa(p.ID))
		return p.Version(), err
	})
}

func (t *tx) unchangedServer(ctx context.Context, s controller.Server) error {
	return t.unchanged(ctx, "servers", s.ID, func() (string, error) {
		s, err := t.server(ctx, s.AgentID)
		return s.Version(), err
	})
}
