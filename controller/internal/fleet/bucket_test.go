package fleet_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/fleet"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

// bucket is an object store in memory.
type bucket struct {
	mu      sync.Mutex
	objects map[string][]byte
	uploads map[string]map[string]bool // ids by key
	created int
	sticky  map[string]bool // keys that a deletion leaves there
	fail    map[string]error
	calls   []string

	opened []controller.StorageAccess
	probe  fleet.ProbeResult
	flaky  int                                                           // so many probes fail first
	holds  string                                                        // what the last probe was to find
	reads  map[string]func(io.Reader) io.Reader                          // by key: what lies there reads otherwise
	settle func(ctx context.Context, key, upload string) (string, error) // nil: as it should be
}

var (
	_ fleet.Objects  = (*bucket)(nil)
	_ fleet.Storages = (*bucket)(nil)
)

func newBucket() *bucket {
	return &bucket{objects: map[string][]byte{}, uploads: map[string]map[string]bool{}, sticky: map[string]bool{}, fail: map[string]error{}}
}

func (b *bucket) Open(a controller.StorageAccess) (fleet.Objects, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opened = append(b.opened, a)
	return b, b.fail["Open"]
}

func (b *bucket) Probe(_ context.Context, a controller.StorageAccess, holds string) (fleet.ProbeResult, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opened, b.holds = append(b.opened, a), holds
	if b.flaky > 0 {
		b.flaky--
		return fleet.ProbeResult{Report: json.RawMessage(`{"steps":[{"ok":false}]}`)}, nil
	}
	return b.probe, b.fail["Probe"]
}

// call notes a call and returns its error.
func (b *bucket) call(method, key string) error {
	b.calls = append(b.calls, method+" "+key)
	return b.fail[method]
}

func (b *bucket) failing(method string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail[method] = err
}

func (b *bucket) put(key string, body []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.objects[key] = body
}

func (b *bucket) open(key, id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.uploads[key] == nil {
		b.uploads[key] = map[string]bool{}
	}
	b.uploads[key][id] = true
}

func (b *bucket) get(key string) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.objects[key]
}

func (b *bucket) keys() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.objects))
}

// ids lists the uploads that are open at the key.
func (b *bucket) ids(key string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.uploads[key]))
}

func (b *bucket) called(call string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.calls {
		if c == call {
			n++
		}
	}
	return n
}

func (b *bucket) CreateUpload(_ context.Context, key string) (string, error) {
	b.mu.Lock()
	b.created++
	id := fmt.Sprintf("upload-%d", b.created)
	err := b.call("CreateUpload", key)
	b.mu.Unlock()
	if err != nil {
		return "", err
	}
	b.open(key, id)
	return id, nil
}

func (b *bucket) AbortUpload(_ context.Context, key, id string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.call("AbortUpload", key); err != nil {
		return err
	}
	delete(b.uploads[key], id)
	return nil
}

func (b *bucket) AbortUploads(_ context.Context, key string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.call("AbortUploads", key); err != nil {
		return err
	}
	delete(b.uploads, key)
	return nil
}

func (b *bucket) sign(what, key string) (wire.Grant, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return wire.Grant{Method: what, URL: "https://store/" + key}, b.call(what, key)
}

func (b *bucket) SignPart(_ context.Context, key, uploadID string, req wire.PartRequest, expires time.Duration) (wire.Grant, error) {
	g, err := b.sign("SignPart", key)
	g.URL += fmt.Sprintf("?upload=%s&part=%d&size=%d", uploadID, req.Number, req.Size)
	g.ExpiresInSeconds = int(expires / time.Second)
	return g, err
}

func (b *bucket) SignPut(_ context.Context, key string, req wire.PartRequest, _ time.Duration) (wire.Grant, error) {
	g, err := b.sign("SignPut", key)
	g.URL += fmt.Sprintf("?size=%d", req.Size)
	return g, err
}

func (b *bucket) SignRead(_ context.Context, o controller.StoredObject, offset, length int64, _ time.Duration) (wire.Grant, error) {
	g, err := b.sign("SignRead", o.Key)
	g.URL += fmt.Sprintf("?etag=%s&from=%d&length=%d", o.ETag, offset, length)
	return g, err
}

func (b *bucket) SignLink(_ context.Context, o controller.StoredObject, fileName string, expires time.Duration) (string, error) {
	g, err := b.sign("SignLink", o.Key)
	return fmt.Sprintf("%s?version=%s&name=%s&expires=%d", g.URL, o.VersionID, fileName, int(expires/time.Second)), err
}

// Read notes from where on.
func (b *bucket) Read(_ context.Context, o controller.StoredObject, offset int64) (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.call("Read", fmt.Sprintf("%s from %d", o.Key, offset)); err != nil {
		return nil, err
	}
	if err := b.missing(o.Key); err != nil {
		return nil, err
	}
	body := b.objects[o.Key]
	if int64(len(body)) != o.StoredSize {
		return nil, &artifact.DamageError{What: "stored size", Got: fmt.Sprint(len(body))}
	}
	var r io.Reader = bytes.NewReader(body[offset:])
	if change := b.reads[o.Key]; change != nil {
		r = change(r)
	}
	return io.NopCloser(r), nil
}

func (b *bucket) stored(key string) controller.StoredObject {
	sum := sha256.Sum256(b.objects[key])
	return controller.StoredObject{Key: key, StoredSize: int64(len(b.objects[key])), ETag: fmt.Sprintf("etag-%x", sum[:4]), VersionID: "v1"}
}

func (b *bucket) missing(key string) error {
	if _, ok := b.objects[key]; !ok {
		return wire.Failf(wire.CodeMissing, "%s does not exist", key)
	}
	return nil
}

func (b *bucket) Settle(ctx context.Context, key, uploadID string, _ []controller.UploadedPart, _ int64, _ string) (string, controller.StoredObject, error) {
	b.mu.Lock()
	settle := b.settle
	_ = b.call("Settle", key)
	b.mu.Unlock()
	if settle != nil {
		if outcome, err := settle(ctx, key, uploadID); outcome != fleet.SettleDone {
			return outcome, controller.StoredObject{}, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.uploads[key], uploadID)
	return fleet.SettleDone, b.stored(key), nil
}

func (b *bucket) ReadStart(_ context.Context, key, etag string, n int64) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.call("ReadStart", key); err != nil {
		return nil, err
	}
	if etag != b.stored(key).ETag {
		return nil, wire.Failf(wire.CodeStorageUnavailable, "%s was replaced", key)
	}
	o := b.objects[key]
	return bytes.Clone(o[:min(int(n), len(o))]), nil
}

func (b *bucket) Get(_ context.Context, key string, limit int64) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.call("Get", key); err != nil {
		return nil, err
	}
	if int64(len(b.objects[key])) > limit {
		return nil, wire.Failf(wire.CodeLimit, "%s is larger than %d bytes", key, limit)
	}
	return bytes.Clone(b.objects[key]), b.missing(key)
}

func (b *bucket) Head(_ context.Context, key string) (controller.StoredObject, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.call("Head", key); err != nil {
		return controller.StoredObject{}, err
	}
	return b.stored(key), b.missing(key)
}

func (b *bucket) List(_ context.Context, prefix, _ string) (page controller.ListedPage, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(b.objects)) {
		if o := b.stored(key); strings.HasPrefix(key, prefix) {
			page.Objects = append(page.Objects, controller.ListedObject{Key: key, Size: o.StoredSize, ETag: o.ETag})
		}
	}
	return page, b.call("List", prefix)
}

func (b *bucket) ListUploads(_ context.Context, prefix, _ string) (page controller.UploadPage, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, ids := range b.uploads {
		for id := range ids {
			if strings.HasPrefix(key, prefix) {
				page.Uploads = append(page.Uploads, controller.ListedUpload{Key: key, UploadID: id})
			}
		}
	}
	return page, b.call("ListUploads", prefix)
}

func (b *bucket) Put(_ context.Context, key string, body []byte, contentType string) (controller.StoredObject, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.call("Put", key+" "+contentType); err != nil {
		return controller.StoredObject{}, err
	}
	if err := b.fail["Put"]; err != nil {
		return controller.StoredObject{}, err
	}
	b.objects[key] = bytes.Clone(body)
	return b.stored(key), nil
}

func (b *bucket) Delete(_ context.Context, key string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.call("Delete", key); err != nil {
		return err
	}
	if !b.sticky[key] {
		delete(b.objects, key)
	}
	return nil
}

func (b *bucket) Gone(_ context.Context, key string) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, there := b.objects[key]
	return !there, b.call("Gone", key)
}
