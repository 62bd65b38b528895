package fleet

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// storage opens the storage of a catalog row; of a local one, the directory of the server that holds the object in question.
// Storages caches connections; credentials come from the catalog each time, so that a rotated key is used at once.
func (f *Fleet) storage(ctx context.Context, id int64, holder controller.Server) (Objects, error) {
	return f.storageFor(ctx, id, holder, "")
}

// storageFor is storage for an upload that was ordered with a checksum: a probe since then may have found that another one is used.
func (f *Fleet) storageFor(ctx context.Context, id int64, holder controller.Server, checksum string) (Objects, error) {
	access, err := f.opt.Store.StorageAccess(ctx, id)
	if err != nil {
		return nil, err
	}
	if checksum != "" {
		access.ChecksumMode = checksum
	}
	return f.open(access, holder)
}

func (f *Fleet) open(access controller.StorageAccess, holder controller.Server) (Objects, error) {
	if access.Kind == controller.StorageLocal {
		return local{fleet: f, server: holder}, nil
	}
	return f.opt.Storage.Open(access)
}

// Probe tries a storage that is not in the catalog yet. Of a local one nothing can be tried: it is on whichever host a database is.
func (f *Fleet) Probe(ctx context.Context, spec controller.StorageSpec) (ProbeResult, error) {
	if spec.Kind == controller.StorageLocal {
		return localReport(nil)
	}
	return f.opt.Storage.Probe(ctx, controller.StorageAccess{
		Storage: controller.Storage{
			Name: spec.Name, Kind: spec.Kind, Endpoint: spec.Endpoint, Region: spec.Region, Bucket: spec.Bucket, Prefix: spec.Prefix, PathStyle: spec.PathStyle,
		},
		Credentials: controller.Credentials{AccessKey: spec.AccessKey, SecretKey: spec.SecretKey},
	}, "")
}

// ProbeChange tries the changed settings of a storage while the old ones stay in use. Where backups lie on the storage, the newest of
// them must be found by the new settings too: others that work are those of another bucket.
func (f *Fleet) ProbeChange(ctx context.Context, storage controller.Storage, change controller.StorageChange) (ProbeResult, error) {
	access, err := f.opt.Store.StorageAccess(ctx, storage.ID)
	if err != nil {
		return ProbeResult{}, err
	}
	if access.Kind == controller.StorageLocal {
		return localReport(nil)
	}
	newest, err := f.opt.Store.NewestObject(ctx, storage.ID)
	if err != nil {
		return ProbeResult{}, fmt.Errorf("find the newest backup on storage %q: %w", access.Name, err)
	}
	changed := change.Apply(access)
	changed.ID = 0 // tried, not opened
	return f.opt.Storage.Probe(ctx, changed, newest)
}

// ProbeStored tries a storage of the catalog and records the result.
func (f *Fleet) ProbeStored(ctx context.Context, id int64) (ProbeResult, error) {
	res, err := f.probeStored(ctx, id)
	if err != nil {
		return ProbeResult{}, err
	}
	return res, f.opt.Store.UpdateProbe(ctx, id, res.Report, res.OK, res.ChecksumMode)
}

// watchTries is how often a storage is tried before it counts as failed: nothing is backed up to it then.
const watchTries = 3

// WatchStored is ProbeStored for a storage that nobody is looking at: what a store does for a moment alone is not recorded.
func (f *Fleet) WatchStored(ctx context.Context, id int64) (res ProbeResult, err error) {
	for try := 1; ; try++ {
		res, err = f.probeStored(ctx, id)
		if err != nil {
			return ProbeResult{}, err
		}
		if res.OK || try == watchTries {
			return res, f.opt.Store.UpdateProbe(ctx, id, res.Report, res.OK, res.ChecksumMode)
		}
		select {
		case <-ctx.Done():
			return ProbeResult{}, context.Cause(ctx)
		case <-time.After(f.opt.ProbeAgain):
		}
	}
}

func (f *Fleet) probeStored(ctx context.Context, id int64) (ProbeResult, error) {
	access, err := f.opt.Store.StorageAccess(ctx, id)
	if err != nil {
		return ProbeResult{}, err
	}
	if access.Kind == controller.StorageLocal {
		return f.probeLocal(ctx, access.Storage)
	}
	return f.opt.Storage.Probe(ctx, access, "")
}

// keyID names the key that signs.
func (f *Fleet) keyID() string {
	public, _ := f.opt.SigningKey.Public().(ed25519.PublicKey)
	return wire.KeyID(public)
}
