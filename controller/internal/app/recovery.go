package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/catalog"
	"devflowbackup/controller/internal/config"
	"devflowbackup/controller/internal/keys"
	"devflowbackup/shared/secret"
)

// NewRecoveryKey makes a recovery key and encrypts the master key to it, and to no other: of the copy in the catalog this key is the only
// one from then on. It is returned after the commit and kept nowhere. A run that dies before it could be shown is repeated. The
// installation must exist, and the configuration must lead to its master key.
func NewRecoveryKey(ctx context.Context, cfg config.Config, log hclog.Logger) (key secret.String, err error) {
	err = withCatalog(ctx, cfg, "recovery key", log, func(cat *catalog.Catalog) error {
		found, err := cat.Installation(ctx)
		if err != nil {
			return err
		}
		if found == nil {
			return errors.New("this catalog holds no installation yet: `devflow-controller serve` makes one, and prints its recovery key")
		}
		master, err := keys.LoadMaster(cfg.MasterKeyFile)
		if err != nil {
			return fmt.Errorf("master key: %w", err)
		}
		if err := master.Verify(found.CheckValue); err != nil {
			return fmt.Errorf("master key %s: %w", cfg.MasterKeyFile, err)
		}
		made, recipient, err := keys.NewRecoveryKey()
		if err != nil {
			return fmt.Errorf("make the recovery key: %w", err)
		}
		escrow, err := keys.SealMaster(master, recipient)
		if err != nil {
			return fmt.Errorf("seal the master key: %w", err)
		}
		if err := cat.SetEscrowMaster(ctx, controller.Actor{Name: "devflow-controller"}, escrow); err != nil {
			return err
		}
		key = made
		return nil
	})
	if err != nil {
		return "", err
	}
	return key, nil
}
