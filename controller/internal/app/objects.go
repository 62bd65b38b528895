package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/fleet"
	"devflowbackup/controller/internal/objectstore"
	"devflowbackup/shared/wire"
)

// storages opens object stores for the fleet and keeps their connections. A storage is opened anew when its settings or
// credentials differ from what it was opened with.
type storages struct {
	log  hclog.Logger
	mu   sync.Mutex
	open map[int64]opened
}

type opened struct {
	cfg   string
	store *objectstore.Store
}

func newStorages(log hclog.Logger) *storages {
	return &storages{log: log, open: map[int64]opened{}}
}

func (s *storages) config(a controller.StorageAccess) objectstore.Config {
	return objectstore.Config{
		Endpoint: a.Endpoint, Region: a.Region, Bucket: a.Bucket, Prefix: a.Prefix, PathStyle: a.PathStyle, VirtualHosted: !a.PathStyle,
		AccessKey: a.Credentials.AccessKey, SecretKey: a.Credentials.SecretKey.Reveal(),
		Checksum: objectstore.ChecksumMode(a.ChecksumMode), Log: s.log,
	}
}

// Open returns the store of a storage row.
func (s *storages) Open(a controller.StorageAccess) (fleet.Objects, error) {
	cfg := capabilities(a).Configure(s.config(a))
	if a.ChecksumMode != "" {
		// The row's, or the one that an open attempt was ordered with: a probe since then does not change it.
		cfg.Checksum = objectstore.ChecksumMode(a.ChecksumMode)
	}
	id := fmt.Sprintf("%+v", cfg)
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.open[a.ID]; ok {
		if o.cfg == id {
			return objects{o.store}, nil
		}
		o.store.Close()
	}
	store, err := objectstore.New(cfg)
	if err != nil {
		return nil, storageFailure(err)
	}
	s.open[a.ID] = opened{cfg: id, store: store}
	return objects{store}, nil
}

// capabilities are what the last probe of a storage found; none if it was never probed, or reads as nothing we know.
func capabilities(a controller.StorageAccess) objectstore.Capabilities {
	var report objectstore.ProbeReport
	if len(a.Probe) == 0 || json.Unmarshal(a.Probe, &report) != nil {
		return objectstore.Capabilities{}
	}
	return report.Capabilities
}

// Probe tries a storage, stored or not.
func (s *storages) Probe(ctx context.Context, a controller.StorageAccess) (fleet.ProbeResult, error) {
	cfg := s.config(a)
	cfg.Checksum = ""
	if a.ID == 0 {
		// Somebody waits for the answer, and a wrong endpoint is more likely than a store that is down for a moment.
		cfg.MaxAttempts, cfg.MaxBackoff = 3, time.Second
	}
	store, err := objectstore.New(cfg)
	if err != nil {
		return fleet.ProbeResult{}, controller.Invalid("storage", "%v", err)
	}
	defer store.Close()
	report := store.Probe(ctx)
	report.Inherit(capabilities(a))
	b, err := json.Marshal(report)
	if err != nil {
		return fleet.ProbeResult{}, fmt.Errorf("encode probe report: %w", err)
	}
	res := fleet.ProbeResult{Report: b, OK: report.Err() == nil, ChecksumMode: string(report.Capabilities.Checksum())}
	if err := report.Err(); err != nil {
		res.Summary = err.Error()
	}
	return res, nil
}

func (s *storages) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, o := range s.open {
		o.store.Close()
		delete(s.open, id)
	}
}

// objects is one object store in the fleet's terms.
type objects struct{ store *objectstore.Store }

func (o objects) CreateUpload(ctx context.Context, key string) (string, error) {
	id, err := o.store.CreateUpload(ctx, key)
	return id, storageFailure(err)
}

func (o objects) AbortUpload(ctx context.Context, key, uploadID string) error {
	return storageFailure(o.store.AbortUpload(ctx, key, uploadID))
}

func (o objects) AbortUploads(ctx context.Context, key string) error {
	_, err := o.store.AbortUploads(ctx, key)
	return storageFailure(err)
}

func body(req wire.PartRequest) (objectstore.Body, error) {
	b := objectstore.Body{Size: req.Size}
	if len(req.SHA256) != len(b.SHA256) {
		return b, wire.Failf(wire.CodeBadRequest, "sha256 has %d bytes, not %d", len(req.SHA256), len(b.SHA256))
	}
	copy(b.SHA256[:], req.SHA256)
	if len(req.MD5) != 0 && len(req.MD5) != len(b.MD5) {
		return b, wire.Failf(wire.CodeBadRequest, "md5 has %d bytes, not %d", len(req.MD5), len(b.MD5))
	}
	copy(b.MD5[:], req.MD5)
	return b, nil
}

func (o objects) SignPart(ctx context.Context, key, uploadID string, req wire.PartRequest, expires time.Duration) (wire.Grant, error) {
	b, err := body(req)
	if err != nil {
		return wire.Grant{}, err
	}
	p, err := o.store.PresignPart(ctx, key, uploadID, req.Number, b, expires)
	return grant(p, expires, err)
}

func (o objects) SignPut(ctx context.Context, key string, req wire.PartRequest, expires time.Duration) (wire.Grant, error) {
	b, err := body(req)
	if err != nil {
		return wire.Grant{}, err
	}
	p, err := o.store.PresignPut(ctx, key, b, expires)
	return grant(p, expires, err)
}

func (o objects) SignRead(ctx context.Context, obj controller.StoredObject, offset, length int64, expires time.Duration) (wire.Grant, error) {
	p, err := o.store.PresignGet(ctx, obj.Key, obj.VersionID, obj.ETag, objectstore.ReadRange{From: offset, To: offset + length - 1}, expires)
	return grant(p, expires, err)
}

func grant(p objectstore.PresignedRequest, expires time.Duration, err error) (wire.Grant, error) {
	if err != nil {
		return wire.Grant{}, storageFailure(err)
	}
	return wire.Grant{Method: p.Method, URL: p.URL, Headers: p.Headers, ExpiresInSeconds: int(expires / time.Second)}, nil
}

var outcomes = map[objectstore.Outcome]string{
	objectstore.Done: fleet.SettleDone, objectstore.Retry: fleet.SettleRetry, objectstore.Lost: fleet.SettleLost,
	objectstore.Refused: fleet.SettleRefused, objectstore.Foreign: fleet.SettleForeign,
}

func (o objects) Settle(ctx context.Context, key, uploadID string, parts []controller.UploadedPart, size int64, composite string) (string, controller.StoredObject, error) {
	list := make([]objectstore.Part, len(parts))
	for i, p := range parts {
		list[i] = objectstore.Part{Number: p.Number, ETag: p.ETag}
		copy(list[i].SHA256[:], p.SHA256)
		copy(list[i].MD5[:], p.MD5)
	}
	outcome, info, err := o.store.Settle(ctx, key, uploadID, list, objectstore.Want{Size: size, CompositeSHA256: composite})
	return outcomes[outcome], stored(key, info), storageFailure(err)
}

func stored(key string, info objectstore.ObjectInfo) controller.StoredObject {
	return controller.StoredObject{Key: key, StoredSize: info.Size, ETag: info.ETag, VersionID: info.VersionID}
}

func (o objects) ReadStart(ctx context.Context, key, etag string, n int64) ([]byte, error) {
	b, err := o.store.ReadRange(ctx, key, 0, n, etag)
	return b, storageFailure(err)
}

func (o objects) Get(ctx context.Context, key string, limit int64) ([]byte, error) {
	b, err := o.store.Get(ctx, key, limit)
	return b, storageFailure(err)
}

func (o objects) Head(ctx context.Context, key string) (controller.StoredObject, error) {
	info, err := o.store.Head(ctx, key)
	return stored(key, info), storageFailure(err)
}

func (o objects) Put(ctx context.Context, key string, body []byte, contentType string) (controller.StoredObject, error) {
	info, err := o.store.Put(ctx, key, body, contentType)
	return stored(key, info), storageFailure(err)
}

func (o objects) Delete(ctx context.Context, key string) error {
	return storageFailure(o.store.DeleteAllVersions(ctx, key))
}

func (o objects) Gone(ctx context.Context, key string) (bool, error) {
	gone, err := o.store.Gone(ctx, key)
	return gone, storageFailure(err)
}

// storageFailure gives an object store's error its code. The caller's own cancellation stays what it is.
func storageFailure(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	for _, m := range []struct {
		kind error
		code string
	}{
		{objectstore.ErrNotFound, wire.CodeMissing},
		{objectstore.ErrNoSuchUpload, wire.CodeUploadLost},
		{objectstore.ErrForeign, wire.CodeForeignObject},
		{objectstore.ErrChecksum, wire.CodeChecksum},
		{objectstore.ErrDenied, wire.CodeStorageDenied},
		{objectstore.ErrNoSuchBucket, wire.CodeStorageDenied},
		{objectstore.ErrConfig, wire.CodeStorageDenied},
		{objectstore.ErrClockSkew, wire.CodeStorageDenied},
	} {
		if errors.Is(err, m.kind) {
			return wire.Failf(m.code, "%w", err)
		}
	}
	f := wire.Failf(wire.CodeStorageUnavailable, "%w", err)
	f.Retryable = objectstore.Retryable(err)
	return f
}
