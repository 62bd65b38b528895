package catalog

import (
	"context"

	"devflowbackup/controller"
)

// SetEscrowMaster replaces the master key's copy that a recovery key opens. The recovery keys before it open nothing in the catalog any more.
func (c *Catalog) SetEscrowMaster(ctx context.Context, actor controller.Actor, escrow []byte) error {
	return c.system(ctx, func(t *tx) error {
		n, err := t.exec(ctx, "UPDATE installation SET escrow_master = ?", escrow)
		if err == nil && n != 1 {
			err = controller.Errorf(controller.EConflict, "this catalog holds no installation yet").WithHint("`devflow-controller serve` makes one, and prints its recovery key")
		}
		if err != nil {
			return err
		}
		return t.audit(ctx, actor, "installation.recovery_key", nil, "", nil)
	})
}
