package app

import (
	"context"

	"devflowbackup/controller/internal/audit"
	"devflowbackup/controller/internal/objectstore"
	"devflowbackup/shared/wire"
)

// startAudit seals and anchors the audit log.
func (a *App) startAudit(ctx context.Context, stores *storages) {
	a.audit = audit.New(audit.Options{
		Store: a.catalog, Storages: anchors{a, stores}, Log: a.log.Named("audit"),
		Installation: a.install.ID, SigningKey: a.install.CommandKey, Keys: a.keySet.Keys,
	})
	a.audit.Start(ctx)
	a.onStop(func(context.Context) error { a.audit.Stop(); return nil })
}

// anchors are the storages as the audit log sees them.
type anchors struct {
	a      *App
	stores *storages
}

// Open returns a storage of the catalog.
func (s anchors) Open(ctx context.Context, id int64) (audit.Objects, error) {
	access, err := s.a.catalog.StorageAccess(ctx, id)
	if err != nil {
		return nil, err
	}
	opened, err := s.stores.Open(access)
	if err != nil {
		return nil, err
	}
	o, ok := opened.(objects)
	if !ok {
		return nil, wire.Failf(wire.CodeInternal, "storage %q is not an object store", access.Name)
	}
	return anchorage(o), nil
}

// anchorage is one storage. Its errors are failures, as the fleet's are.
type anchorage struct{ store *objectstore.Store }

func (s anchorage) Put(ctx context.Context, key string, body []byte, contentType string) error {
	_, err := s.store.Put(ctx, key, body, contentType)
	return storageFailure(err)
}

func (s anchorage) Get(ctx context.Context, key string, limit int64) ([]byte, error) {
	b, err := s.store.Get(ctx, key, limit)
	return b, storageFailure(err)
}

func (s anchorage) List(ctx context.Context, prefix string, each func(string) error) error {
	for next := ""; ; {
		page, more, err := s.store.List(ctx, prefix, next)
		if err != nil {
			return storageFailure(err)
		}
		for _, o := range page {
			if err := each(o.Key); err != nil {
				return err
			}
		}
		if next = more; next == "" {
			return nil
		}
	}
}
