package fleet

import (
	"context"
	"crypto/ed25519"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// storage opens the storage of a catalog row. Storages caches connections; credentials come from the catalog each time, so
// that a rotated key is used at once.
func (f *Fleet) storage(ctx context.Context, id int64) (Objects, error) {
	access, err := f.opt.Store.StorageAccess(ctx, id)
	if err != nil {
		return nil, err
	}
	return f.opt.Storage.Open(access)
}

// Probe tries a storage that is not in the catalog yet.
func (f *Fleet) Probe(ctx context.Context, spec controller.StorageSpec) (ProbeResult, error) {
	return f.opt.Storage.Probe(ctx, controller.StorageAccess{
		Storage: controller.Storage{
			Name: spec.Name, Kind: spec.Kind, Endpoint: spec.Endpoint, Region: spec.Region, Bucket: spec.Bucket, Prefix: spec.Prefix, PathStyle: spec.PathStyle,
		},
		Credentials: controller.Credentials{AccessKey: spec.AccessKey, SecretKey: spec.SecretKey},
	})
}

// ProbeStored tries a storage of the catalog and records the result.
func (f *Fleet) ProbeStored(ctx context.Context, id int64) (ProbeResult, error) {
	access, err := f.opt.Store.StorageAccess(ctx, id)
	if err != nil {
		return ProbeResult{}, err
	}
	res, err := f.opt.Storage.Probe(ctx, access)
	if err != nil {
		return ProbeResult{}, err
	}
	return res, f.opt.Store.UpdateProbe(ctx, id, res.Report, res.OK, res.ChecksumMode)
}

// keyID names the key that signs.
func (f *Fleet) keyID() string {
	public, _ := f.opt.SigningKey.Public().(ed25519.PublicKey)
	return wire.KeyID(public)
}
