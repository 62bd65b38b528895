package reconcile_test

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/app/apitest"
	"devflowbackup/controller/internal/reconcile"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/testkit/pgkit"
	"devflowbackup/shared/wire"
)

func TestMain(m *testing.M) { pgkit.Main(m) }

// thing is an object on a shelf.
type thing struct {
	size     int64
	etag     string
	archived bool
}

// shelf is a store in memory.
type shelf struct {
	mu      sync.Mutex
	things  map[string]thing
	uploads map[string]string // id by key
	pages   int               // objects on a page
	shows   func(key string) bool
	fails   func(ctx context.Context, op, key string) error
	calls   map[string]int
}

func newShelf() *shelf {
	return &shelf{things: map[string]thing{}, uploads: map[string]string{}, pages: 1000, calls: map[string]int{}}
}

func (s *shelf) set(change func(*shelf)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// call counts a call and returns its error; it is called without the lock.
func (s *shelf) call(ctx context.Context, op, key string) error {
	s.mu.Lock()
	s.calls[op]++
	fails := s.fails
	s.mu.Unlock()
	if fails != nil {
		return fails(ctx, op, key)
	}
	return nil
}

func (s *shelf) count(op string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[op]
}

func (s *shelf) List(ctx context.Context, prefix, next string) (page controller.ListedPage, err error) {
	if err := s.call(ctx, "List", prefix); err != nil {
		return page, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(s.things)) {
		if !strings.HasPrefix(key, prefix) || key <= next || s.shows != nil && !s.shows(key) {
			continue
		}
		if len(page.Objects) == s.pages {
			page.Next = page.Objects[len(page.Objects)-1].Key
			break
		}
		t := s.things[key]
		o := controller.ListedObject{Key: key, Size: t.size, ETag: t.etag, Archived: t.archived}
		if t.archived {
			o.Class = "GLACIER"
		}
		page.Objects = append(page.Objects, o)
	}
	return page, nil
}

func (s *shelf) ListUploads(ctx context.Context, prefix, _ string) (page controller.UploadPage, err error) {
	if err := s.call(ctx, "ListUploads", prefix); err != nil {
		return page, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, id := range s.uploads {
		page.Uploads = append(page.Uploads, controller.ListedUpload{Key: key, UploadID: id, BegunAt: time.Now()})
	}
	return page, nil
}

func (s *shelf) AbortUpload(ctx context.Context, key, _ string) error {
	if err := s.call(ctx, "AbortUpload", key); err != nil {
		return err
	}
	s.set(func(s *shelf) { delete(s.uploads, key) })
	return nil
}

func (s *shelf) Head(ctx context.Context, key string) (controller.StoredObject, error) {
	if err := s.call(ctx, "Head", key); err != nil {
		return controller.StoredObject{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.things[key]
	if !ok {
		return controller.StoredObject{}, wire.Failf(wire.CodeMissing, "%s is not there", key)
	}
	return controller.StoredObject{Key: key, StoredSize: t.size, ETag: t.etag, Archived: t.archived}, nil
}

func (s *shelf) Put(ctx context.Context, key string, body []byte, _ string) (controller.StoredObject, error) {
	if err := s.call(ctx, "Put", key); err != nil {
		return controller.StoredObject{}, err
	}
	s.set(func(s *shelf) { s.things[key] = thing{size: int64(len(body)), etag: "put"} })
	return controller.StoredObject{Key: key, StoredSize: int64(len(body)), ETag: "put"}, nil
}

func (s *shelf) Delete(ctx context.Context, key string) error {
	if err := s.call(ctx, "Delete", key); err != nil {
		return err
	}
	s.set(func(s *shelf) { delete(s.things, key) })
	return nil
}

// kit is a catalog with backups, and the shelves that they lie on, by storage.
type kit struct {
	*apitest.Rig
	t       *testing.T
	agent   *apitest.Agent
	log     *apitest.Log
	mu      sync.Mutex
	shelves map[int64]*shelf
	main    *shelf
}

// newKit makes a storage "main" with one completed backup of each database.
func newKit(t *testing.T, databases ...string) *kit {
	t.Helper()
	k := &kit{Rig: apitest.New(t), t: t, log: &apitest.Log{}, shelves: map[int64]*shelf{}}
	k.Project("shop")
	k.agent = k.Agent("db-7", "shop", databases...)
	k.main = k.shelf(k.Storage("main"))
	return k
}

func (k *kit) shelf(st controller.Storage) *shelf {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.shelves[st.ID] = newShelf()
	return k.shelves[st.ID]
}

// otherLocal adds a local storage that no backup lies on.
func (k *kit) otherLocal(name string) controller.Storage {
	k.t.Helper()
	st, err := k.Store.CreateStorage(k.t.Context(), k.Admin, controller.StorageSpec{Name: name, Kind: controller.StorageLocal, Prefix: name}, nil, true, "")
	k.ok(err)
	return st
}

func (k *kit) ok(err error) {
	k.t.Helper()
	if err != nil {
		k.t.Fatal(err)
	}
}

// backups orders and completes one of each database, and puts their objects on the shelf.
func (k *kit) backups(req controller.BackupRequest) []controller.Backup {
	k.t.Helper()
	out, err := k.Store.CreateBackups(k.t.Context(), k.Admin, req)
	k.ok(err)
	for offers := k.Start(k.agent); len(offers) > 0; offers = k.Start(k.agent) { // the agent takes a few at once
		for _, o := range offers {
			k.Complete(k.agent, o)
		}
	}
	var all []controller.Backup
	for _, o := range out {
		b, err := k.Store.Backup(k.t.Context(), k.Admin, o.Backup.ID)
		k.ok(err)
		if b.Status != controller.StatusCompleted {
			k.t.Fatalf("backup %d is %s", b.ID, b.Status)
		}
		k.lay(b)
		all = append(all, b)
	}
	return all
}

// lay puts a backup's objects where they belong.
func (k *kit) lay(b controller.Backup) {
	s := k.shelves[b.StorageID]
	k.Fleet.With(func() {
		s.set(func(s *shelf) {
			for _, key := range []string{b.FilePath, artifact.ManifestKey(b.FilePath)} {
				s.things[key] = thing{size: int64(len(k.Fleet.Content[key].Stored)), etag: "e-1"}
			}
		})
	})
}

// start runs a reconciler that works when it is asked to.
func (k *kit) start(change ...func(*reconcile.Options)) *reconcile.Reconciler {
	k.t.Helper()
	opt := reconcile.Options{
		Store: k.Store, Log: hclog.New(&hclog.LoggerOptions{Output: k.log, Level: hclog.Debug}), Every: time.Hour, First: time.Hour, Tick: 5 * time.Millisecond,
		Open: func(_ context.Context, id int64, _ controller.Server) (reconcile.Objects, error) {
			k.mu.Lock()
			defer k.mu.Unlock()
			return k.shelves[id], nil
		},
	}
	for _, c := range change {
		c(&opt)
	}
	r := reconcile.New(opt)
	r.Start(k.t.Context())
	k.t.Cleanup(r.Stop)
	return r
}

// looks counts how often controllers looked for work.
type looks struct {
	reconcile.Store
	n atomic.Int64
}

func (l *looks) ClaimInventories(ctx context.Context, limit int) ([]controller.InventoryDue, error) {
	l.n.Add(1)
	return l.Store.ClaimInventories(ctx, limit)
}

// more waits for n more looks.
func (l *looks) more(t *testing.T, n int64) {
	want := l.n.Load() + n
	apitest.Eventually(t, "more looks for work", func() bool { return l.n.Load() >= want })
}

// inventory asks for one of a storage and waits for its end.
func (k *kit) inventory(storage string) controller.StorageInventory {
	k.t.Helper()
	asked, err := k.Store.RequestInventory(k.t.Context(), k.Admin, storage)
	k.ok(err)
	if len(asked) != 1 {
		k.t.Fatalf("inventories of %s: %+v", storage, asked)
	}
	var now controller.StorageInventory
	apitest.Eventually(k.t, "the inventory ends", func() bool {
		all, err := k.Store.StorageInventories(k.t.Context(), k.Admin, storage, 0, 0)
		k.ok(err)
		now = all[0]
		return now.StartedAt != nil && (asked[0].StartedAt == nil || now.StartedAt.After(*asked[0].StartedAt)) && (now.Error != "" || now.EndedAt != nil && !now.EndedAt.Before(*now.StartedAt))
	})
	return now
}

func (k *kit) health(id int64) string {
	k.t.Helper()
	b, err := k.Store.Backup(k.t.Context(), k.Admin, id)
	k.ok(err)
	return b.Health
}

func (k *kit) logged(text string) int { return bytes.Count([]byte(k.log.String()), []byte(text)) }
