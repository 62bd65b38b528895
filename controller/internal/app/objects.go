package app

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/fleet"
	"devflowbackup/controller/internal/objectstore"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

// storages opens object stores for the fleet and keeps their connections. A storage is opened anew when its settings or
// credentials differ from what it was opened with.
type storages struct {
	log   hclog.Logger
	roots *x509.CertPool // nil: the system's
	mu    sync.Mutex
	open  map[place]opened
}

// place is a storage as uploads of one checksum mode see it.
type place struct {
	id   int64
	mode objectstore.ChecksumMode
}

type opened struct {
	cfg   string
	store *objectstore.Store
}

func newStorages(log hclog.Logger, roots *x509.CertPool) *storages {
	return &storages{log: log, roots: roots, open: map[place]opened{}}
}

// storageRoots are the system's authorities and those of the file; nil without one.
func storageRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // as it says
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("storage_ca_file: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("storage_ca_file: the system's own authorities: %w", err)
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("storage_ca_file: %s holds no PEM certificate", file)
	}
	return roots, nil
}

func (s *storages) config(a controller.StorageAccess) objectstore.Config {
	return objectstore.Config{
		Endpoint: a.Endpoint, Region: a.Region, Bucket: a.Bucket, Prefix: a.Prefix, PathStyle: a.PathStyle, VirtualHosted: !a.PathStyle,
		AccessKey: a.Credentials.AccessKey, SecretKey: a.Credentials.SecretKey.Reveal(),
		Checksum: objectstore.ChecksumMode(a.ChecksumMode), RootCAs: s.roots, Log: s.log,
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
	at := place{a.ID, cfg.Checksum}
	if o, ok := s.open[at]; ok {
		if o.cfg == id {
			return objects{o.store}, nil
		}
		o.store.Close()
	}
	store, err := objectstore.New(cfg)
	if err != nil {
		return nil, storageFailure(err)
	}
	s.open[at] = opened{cfg: id, store: store}
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

// Probe tries a storage, stored or not, with connections of its own.
func (s *storages) Probe(ctx context.Context, a controller.StorageAccess, holds string) (fleet.ProbeResult, error) {
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
	failed := report.Err()
	if holds != "" && failed == nil {
		step, err := s.holds(ctx, report.Capabilities.Configure(cfg), holds)
		report.Steps, failed = append(report.Steps, step), err
	}
	report.Inherit(capabilities(a))
	b, err := json.Marshal(report)
	if err != nil {
		return fleet.ProbeResult{}, fmt.Errorf("encode probe report: %w", err)
	}
	res := fleet.ProbeResult{Report: b, OK: failed == nil, ChecksumMode: string(report.Capabilities.Checksum())}
	if failed != nil {
		res.Summary = failed.Error()
	}
	return res, nil
}

// holds looks for an object that must be there, in the way that the probe has found to work.
func (s *storages) holds(ctx context.Context, cfg objectstore.Config, key string) (objectstore.Step, error) {
	began := time.Now()
	var info objectstore.ObjectInfo
	store, err := objectstore.New(cfg)
	if err == nil {
		info, err = store.Head(ctx, key)
		store.Close()
	}
	step := objectstore.Step{Name: "holds the backups", OK: err == nil, Required: true, Millis: time.Since(began).Milliseconds()}
	switch {
	case err == nil:
		step.Detail = fmt.Sprintf("%s is there, with %d bytes", key, info.Size)
	case errors.Is(err, objectstore.ErrNotFound):
		err = fmt.Errorf("the newest backup of this storage, %s, is not there", key)
		step.Detail, step.Hint = err.Error(), "these settings are of another store or bucket: add it as a storage of its own"
	default:
		step.Detail = err.Error()
	}
	return step, err
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
	return controller.StoredObject{Key: key, StoredSize: info.Size, ETag: info.ETag, VersionID: info.VersionID, LockedUntil: info.LockedUntil, Archived: info.Archived}
}

func (o objects) ReadStart(ctx context.Context, key, etag string, n int64) ([]byte, error) {
	b, err := o.store.ReadRange(ctx, key, 0, n, etag)
	return b, storageFailure(err)
}

// Read converts what shows that the object is another one.
func (o objects) Read(ctx context.Context, obj controller.StoredObject, offset int64) (io.ReadCloser, error) {
	return streamed{o.store.Stream(ctx, objectstore.Recorded{Key: obj.Key, VersionID: obj.VersionID, ETag: obj.ETag, Size: obj.StoredSize}, offset)}, nil
}

// streamed is an object that is read, with its errors in the fleet's terms.
type streamed struct{ *objectstore.Stream }

func (s streamed) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	switch {
	case err == nil || err == io.EOF: //nolint:errorlint // io.EOF is returned bare by contract
		return n, err
	case errors.Is(err, objectstore.ErrChecksum), errors.Is(err, objectstore.ErrPrecondition):
		return n, &artifact.DamageError{What: "object", Got: err.Error(), Err: err}
	}
	return n, storageFailure(err)
}

func (o objects) SignLink(ctx context.Context, obj controller.StoredObject, fileName string, expires time.Duration) (string, error) {
	p, err := o.store.PresignLink(ctx, obj.Key, obj.VersionID, fileName, expires)
	return p.URL, storageFailure(err)
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
		{objectstore.ErrArchived, wire.CodeArchived},
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
	var e *objectstore.Error
	if errors.Is(err, objectstore.ErrLocked) && errors.As(err, &e) && !e.LockedUntil.IsZero() {
		return wire.Failf(wire.CodeLocked, "%w", &fleet.LockedError{Until: e.LockedUntil, Err: err})
	}
	f := wire.Failf(wire.CodeStorageUnavailable, "%w", err)
	f.Retryable = objectstore.Retryable(err)
	return f
}
