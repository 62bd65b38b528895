// Package reconcile holds what lies at the storages against what the catalog says lies there.
//
// Invariants: the health of a backup changes only by what the store itself said of its very objects: what a listing does not show is
// asked for by HEAD before it counts as gone. What is not the catalog's is written down and never touched; only uploads at keys of the
// installation's own attempts that have ended are aborted. A storage is listed in pages of 1,000, without a request for each object;
// memory is one page of the listing and one of the catalog. Of several controllers one works on a storage at a time, and any of them
// may die at any point.
package reconcile

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/background"
	"devflowbackup/shared/wire"
)

// Store is the catalog. Each method is one transaction and may be repeated; CodeStale means that the claim has passed on.
type Store interface {
	PlanInventories(ctx context.Context, first, every time.Duration) error
	ClaimInventories(ctx context.Context, limit int) ([]controller.InventoryDue, error)
	ExtendInventory(ctx context.Context, due controller.InventoryDue) error
	// KnownObjects returns what the catalog knows after one key and up to another, and the key up to which that is whole.
	KnownObjects(ctx context.Context, due controller.InventoryDue, after, upTo string, listed []string) ([]controller.KnownObject, string, error)
	KnownUploads(ctx context.Context, due controller.InventoryDue, keys []string) (map[string]controller.KnownUpload, error)
	RecordInventory(ctx context.Context, due controller.InventoryDue, page controller.InventoryPage) ([]controller.HealthChange, error)
	StoredManifest(ctx context.Context, due controller.InventoryDue, backup int64) ([]byte, error)
	ManifestPutBack(ctx context.Context, due controller.InventoryDue, backup int64, o controller.StoredObject) (bool, error)
	FinishInventory(ctx context.Context, due controller.InventoryDue, n controller.InventoryTotals, every time.Duration) error
	FailInventory(ctx context.Context, due controller.InventoryDue, reason string, retry, every time.Duration) error
}

// Objects is one storage. Every error is a *wire.Failure or the context's.
type Objects interface {
	List(ctx context.Context, prefix, next string) (controller.ListedPage, error)
	ListUploads(ctx context.Context, prefix, next string) (controller.UploadPage, error)
	AbortUpload(ctx context.Context, key, uploadID string) error
	Head(ctx context.Context, key string) (controller.StoredObject, error)
	Put(ctx context.Context, key string, body []byte, contentType string) (controller.StoredObject, error)
	Delete(ctx context.Context, key string) error
}

// Options of a Reconciler. Zero durations and numbers take the defaults named.
type Options struct {
	Store Store
	// Open opens a storage, of a local one the directory of the server.
	Open func(ctx context.Context, storageID int64, holder controller.Server) (Objects, error)
	Log  hclog.Logger

	Every      time.Duration // from one inventory of a storage to the next, default 24 h
	First      time.Duration // until the first one of a storage that is new, default 5 min
	Retry      time.Duration // until one that failed is tried again, then twice that, up to Every; default 5 min
	Tick       time.Duration // how often due ones are looked for, default 2 s
	ClaimEvery time.Duration // how often the claim on one at work is extended, default 30 s
	AtOnce     int           // default 2
}

// Reconciler is one controller's part in it. Start it once; Stop waits for what it started.
type Reconciler struct {
	opt  Options
	log  hclog.Logger
	busy chan struct{} // slots
	kick chan struct{}
	plan time.Time // when storages were last looked for that have no inventory yet

	group background.Group
}

// New makes a Reconciler; it does nothing before Start.
func New(opt Options) *Reconciler {
	or := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	or(&opt.Every, 24*time.Hour)
	or(&opt.First, 5*time.Minute)
	or(&opt.Retry, 5*time.Minute)
	or(&opt.Tick, 2*time.Second)
	or(&opt.ClaimEvery, 30*time.Second)
	if opt.AtOnce == 0 {
		opt.AtOnce = 2
	}
	return &Reconciler{opt: opt, log: opt.Log, busy: make(chan struct{}, opt.AtOnce), kick: make(chan struct{}, 1)}
}

// Start begins to work. Starting twice is no error.
func (r *Reconciler) Start(ctx context.Context) { r.group.Start(ctx, r.loop) }

// Stop ends inventories at work and waits for them. Another controller makes them anew, or this one when it starts again.
func (r *Reconciler) Stop() { r.group.Stop() }

func (r *Reconciler) loop(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	t := time.NewTicker(r.opt.Tick)
	defer t.Stop()
	for {
		if err := r.step(ctx, &wg); err != nil && ctx.Err() == nil {
			r.log.Warn("look for inventories that are due", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-r.kick:
		}
	}
}

// Kick has what is due looked for now.
func (r *Reconciler) Kick() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// planEvery is how often storages are looked for that have no inventory yet.
const planEvery = time.Minute

// step begins what is due, as far as there are slots.
func (r *Reconciler) step(ctx context.Context, wg *sync.WaitGroup) error {
	if now := time.Now(); now.Sub(r.plan) >= min(planEvery, r.opt.Every) {
		if err := r.opt.Store.PlanInventories(ctx, r.opt.First, r.opt.Every); err != nil {
			return fmt.Errorf("plan inventories: %w", err)
		}
		r.plan = now
	}
	free := cap(r.busy) - len(r.busy) // only this goroutine takes slots
	if free == 0 {
		return nil
	}
	due, err := r.opt.Store.ClaimInventories(ctx, free)
	if err != nil {
		return fmt.Errorf("claim inventories: %w", err)
	}
	for _, d := range due {
		r.busy <- struct{}{}
		wg.Go(func() {
			defer func() { <-r.busy }()
			r.run(ctx, d)
		})
	}
	return nil
}

// run makes one inventory, to its end or not, and records that.
func (r *Reconciler) run(ctx context.Context, due controller.InventoryDue) {
	log := r.log.With("storage", due.Storage)
	if due.Server.ID != 0 {
		log = log.With("server", due.Server.Name)
	}
	began := time.Now()
	held, release := r.keepClaim(ctx, due)
	i := &inventory{due: due, store: r.opt.Store, log: log}
	err := i.make(held, r.opt.Open)
	if err != nil && held.Err() != nil {
		err = context.Cause(held)
	}
	release()
	if err == nil {
		if err = r.opt.Store.FinishInventory(ctx, due, i.totals, r.opt.Every); err == nil {
			n := i.totals
			log.Info("inventory", "objects", n.Objects, "bytes", n.Bytes, "requests", n.Requests, "missing", n.Missing, "corrupt", n.Damaged, "archived", n.Archived,
				"there_again", n.Recovered, "foreign", n.ForeignObjects, "stale_uploads", n.StaleUploads, "aborted_uploads", i.aborted, "duration", time.Since(began).Round(time.Millisecond).String())
			return
		}
	}
	switch {
	case ctx.Err() != nil:
		return
	case wire.HasCode(err, wire.CodeStale):
		log.Warn("inventory given up: its claim has passed on", "err", err)
		return
	}
	logged := log.Error
	if wire.HasCode(err, wire.CodeOffline) {
		logged = log.Warn // the host went away meanwhile
	}
	logged("inventory did not come to its end", "err", err, "objects", i.totals.Objects)
	if err := r.opt.Store.FailInventory(ctx, due, err.Error(), r.opt.Retry, r.opt.Every); err != nil && ctx.Err() == nil {
		log.Warn("record the end of an inventory", "err", err)
	}
}

// keepClaim extends the claim while the returned context lives; when the claim has passed on, the context ends.
func (r *Reconciler) keepClaim(ctx context.Context, due controller.InventoryDue) (context.Context, func()) {
	return background.Hold(ctx, r.opt.ClaimEvery, func(ctx context.Context) error {
		if err := r.opt.Store.ExtendInventory(ctx, due); wire.HasCode(err, wire.CodeStale) {
			return err
		}
		return nil
	})
}
