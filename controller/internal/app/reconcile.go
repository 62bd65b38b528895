package app

import (
	"context"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/reconcile"
)

// startReconcile begins to hold the storages against the catalog.
func (a *App) startReconcile(ctx context.Context) {
	r := reconcile.New(reconcile.Options{
		Store: a.catalog, Log: a.log.Named("inventory"),
		Open: func(ctx context.Context, storage int64, holder controller.Server) (reconcile.Objects, error) {
			return a.fleet.Objects(ctx, storage, holder)
		},
	})
	a.reconcile = r
	r.Start(ctx)
	a.onStop(func(context.Context) error { r.Stop(); return nil })
}
