package app

import (
	"context"
	"errors"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/catalog"
	"devflowbackup/controller/internal/config"
	"devflowbackup/shared/secret"
)

func openCatalog(ctx context.Context, cfg config.Config, dsn secret.String, id string, log hclog.Logger) (*catalog.Catalog, error) {
	t := cfg.Timing
	return catalog.Open(ctx, catalog.Options{
		DSN: dsn, ControllerID: id, Log: log.Named("catalog"),
		Retry: controller.Retry{Base: t.RetryBase, Max: t.RetryMax}, MaxAttempts: t.MaxAttempts,
		Lease: t.Lease, LeaseMax: t.LeaseMax, OfflineAfter: 3 * t.Heartbeat, DeleteGrace: deleteGrace(t.DeleteGrace), MinUploadLimit: minUploadLimit,
	})
}

// Migrate applies what the catalog's schema lacks and returns the names of what was applied.
func Migrate(ctx context.Context, cfg config.Config, log hclog.Logger) (applied []string, err error) {
	err = withCatalog(ctx, cfg, "migrate", log, func(cat *catalog.Catalog) error {
		applied, err = cat.Migrate(ctx)
		return err
	})
	return applied, err
}

// withCatalog calls f with the catalog of a controller that does not run, and closes it.
func withCatalog(ctx context.Context, cfg config.Config, id string, log hclog.Logger, f func(*catalog.Catalog) error) error {
	dsn := cfg.Catalog.DSN
	if cfg.Embedded {
		if err := makeDataDir(cfg.DataDir); err != nil {
			return err
		}
		server, embedded, err := embeddedCatalog(ctx, cfg)
		if err != nil {
			return err
		}
		defer func() {
			if err := server.Stop(context.WithoutCancel(ctx)); err != nil {
				log.Warn("stop the embedded PostgreSQL", "err", err)
			}
		}()
		dsn = embedded
	}
	cat, err := openCatalog(ctx, cfg, dsn, id, log)
	if err != nil {
		return err
	}
	return errors.Join(f(cat), cat.Close())
}
