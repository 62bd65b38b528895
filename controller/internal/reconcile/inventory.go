package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

const (
	headsAtOnce = 8
	// mostFindings is how much of what is foreign is written down of one storage; all of it is counted.
	mostFindings = 10_000
	// mostLogged is how many backups whose health changed have a log line of their own.
	mostLogged = 50
	// manyMissing is from how many on it is suspicious that more than half of a storage's backups are gone.
	manyMissing = 10
)

// inventory is one that is being made.
type inventory struct {
	due     controller.InventoryDue
	store   Store
	objects Objects
	log     hclog.Logger

	requests atomic.Int64
	totals   controller.InventoryTotals
	aborted  int
	settled  int   // backups that have to be there
	unsure   int   // backups of which the store would not tell
	why      error // of the first of them
	findings int   // written down
	logged   int

	now  backup // being put together
	page controller.InventoryPage
}

func (i *inventory) make(ctx context.Context, open func(context.Context, int64, controller.Server) (Objects, error)) (err error) {
	defer func() { i.totals.Requests = i.requests.Load() }()
	if i.objects, err = open(ctx, i.due.StorageID, i.due.Server); err != nil {
		return fmt.Errorf("open storage: %w", err)
	}
	prefix := artifact.Folder(i.due.Prefix)
	if err := i.list(ctx, prefix); err != nil {
		return err
	}
	if err := i.uploads(ctx, prefix); err != nil {
		return err
	}
	if i.totals.Missing > manyMissing && i.totals.Missing > i.settled/2 && i.totals.Objects > 0 {
		i.log.Error("most backups of a storage are gone from it", "missing", i.totals.Missing, "of", i.settled, "hint", wrongPlace)
	}
	if i.unsure > 0 {
		return fmt.Errorf("of %d backups the storage did not tell, the first time: %w", i.unsure, i.why)
	}
	return nil
}

const wrongPlace = "check that the storage's bucket and prefix are still the right ones, or that the disk is mounted"

// list goes through the listing and the catalog side by side.
func (i *inventory) list(ctx context.Context, prefix string) error {
	after, end, last := prefix, prefix[:len(prefix)-1]+"0", ""
	for next := ""; ; {
		i.requests.Add(1)
		page, err := i.objects.List(ctx, prefix, next)
		if err != nil {
			return fmt.Errorf("list objects: %w", err)
		}
		for _, o := range page.Objects {
			if o.Key <= last || o.Key < prefix || o.Key >= end {
				return wire.Failf(wire.CodeStorageUnavailable, "the storage lists %q after %q: without an order it cannot be told what is missing", o.Key, last)
			}
			last = o.Key
			i.totals.Objects++
			i.totals.Bytes += o.Size
		}
		upTo := last
		if page.Next == "" {
			upTo = end
		}
		if err := i.compare(ctx, after, upTo, page.Objects); err != nil {
			return err
		}
		if page.Next == "" {
			break
		}
		if page.Next == next {
			return wire.Failf(wire.CodeStorageUnavailable, "the storage's listing does not advance")
		}
		after, next = max(after, upTo), page.Next
	}
	i.conclude(ctx)
	return i.record(ctx)
}

// compare holds the objects that were listed after one key and up to another against the catalog.
func (i *inventory) compare(ctx context.Context, after, upTo string, listed []controller.ListedObject) error {
	for after < upTo {
		keys := make([]string, len(listed))
		for n, o := range listed {
			keys[n] = o.Key
		}
		known, through, err := i.store.KnownObjects(ctx, i.due, after, upTo, keys)
		if err != nil {
			return fmt.Errorf("read what the catalog knows: %w", err)
		}
		n := 0
		for n < len(listed) && listed[n].Key <= through {
			n++
		}
		if err := i.merge(ctx, listed[:n], known); err != nil {
			return err
		}
		if err := i.record(ctx); err != nil {
			return err
		}
		after, listed = through, listed[n:]
	}
	return nil
}

// merge pairs what is listed with what is known, both in order.
func (i *inventory) merge(ctx context.Context, listed []controller.ListedObject, known []controller.KnownObject) error {
	if i.totals.Objects == 0 && i.settled == 0 && slices.ContainsFunc(known, func(k controller.KnownObject) bool { return k.Settled && !k.AtWork }) {
		i.log.Error("a storage shows nothing at all, while the catalog knows of backups there", "hint", wrongPlace)
	}
	seen := make([]sighting, 0, len(known))
	for _, k := range known {
		for len(listed) > 0 && listed[0].Key < k.Key {
			i.foreign(listed[0])
			listed = listed[1:]
		}
		s := sighting{known: k, state: unseen}
		if len(listed) > 0 && listed[0].Key == k.Key {
			s.look(listed[0])
			listed = listed[1:]
		}
		if !k.AtWork {
			seen = append(seen, s)
		}
	}
	for _, o := range listed {
		i.foreign(o)
	}
	if err := i.ask(ctx, seen); err != nil {
		return err
	}
	for _, s := range seen {
		if s.known.BackupID != i.now.id {
			i.conclude(ctx)
			i.now = backup{id: s.known.BackupID, health: s.known.Health, noted: s.known.Noted, settled: s.known.Settled}
		}
		i.now.add(s)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// ask makes sure by HEAD of what the listing does not show as it should be.
func (i *inventory) ask(ctx context.Context, seen []sighting) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, headsAtOnce)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for n := range seen {
		s := &seen[n]
		if !s.doubtful() {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if ctx.Err() != nil {
				return
			}
			i.requests.Add(1)
			o, err := i.objects.Head(ctx, s.known.Key)
			if s.asked(o, err); s.state == untold && passing(err) {
				cancel(fmt.Errorf("look at %s: %w", s.known.Key, err))
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// passing tells whether an error says nothing about the object: the whole inventory is better tried again later.
func passing(err error) bool {
	var f *wire.Failure
	return !errors.As(err, &f) || f.Retryable || f.Code == wire.CodeOffline
}

func (i *inventory) foreign(o controller.ListedObject) {
	i.totals.ForeignObjects++
	i.find(controller.StorageFinding{Kind: "object", Key: o.Key, Size: o.Size, ModifiedAt: &o.ModifiedAt})
}

func (i *inventory) find(f controller.StorageFinding) {
	if f.ModifiedAt.IsZero() {
		f.ModifiedAt = nil
	}
	if i.findings++; i.findings <= mostFindings {
		i.page.Foreign = append(i.page.Foreign, f)
	}
}

// conclude decides about the backup all of whose objects were seen.
func (i *inventory) conclude(ctx context.Context) {
	b := i.now
	i.now = backup{}
	if b.id == 0 || !b.settled && !b.listed {
		return
	}
	if b.settled {
		i.settled++
	}
	if b.only(controller.ObjectManifest, gone) {
		i.putBack(ctx, &b)
	}
	if b.untold != nil {
		if i.unsure++; i.why == nil {
			i.why = b.untold
		}
		return
	}
	health, reason := b.verdict(i.place(), i.due.Storage)
	switch health {
	case controller.HealthMissing:
		i.totals.Missing++
	case controller.HealthCorrupt:
		i.totals.Damaged++
	case controller.HealthArchived:
		i.totals.Archived++
	}
	if health == controller.HealthOK && reason != "" && !b.noted {
		i.log.Warn("something beside the artifact of a backup is gone from its storage", "backup_id", b.id, "reason", reason)
	}
	if health != controller.HealthOK || b.health != controller.HealthOK || b.noted || reason != "" {
		i.page.Found = append(i.page.Found, controller.Found{BackupID: b.id, Health: health, Reason: reason})
	}
}

// place names the storage in sentences.
func (i *inventory) place() string {
	if i.due.Server.ID != 0 {
		return fmt.Sprintf("the backup directory of %s", i.due.Server.Name)
	}
	return fmt.Sprintf("storage %q", i.due.Storage)
}

// putBack writes a manifest that is gone: the catalog has it byte for byte, signed.
func (i *inventory) putBack(ctx context.Context, b *backup) {
	key := b.manifest
	text, err := i.store.StoredManifest(ctx, i.due, b.id)
	if err == nil && text == nil {
		b.gone = nil // deleted meanwhile
		return
	}
	var o controller.StoredObject
	if err == nil {
		i.requests.Add(1)
		o, err = i.objects.Put(ctx, key, text, "application/json")
	}
	live := false
	if err == nil {
		live, err = i.store.ManifestPutBack(ctx, i.due, b.id, o)
	}
	if err != nil {
		i.log.Warn("put back a manifest that is gone", "backup_id", b.id, "key", key, "err", err)
		return
	}
	if !live { // its removal did not see what was written just now
		b.gone = nil
		i.requests.Add(1)
		if err := i.objects.Delete(ctx, key); err != nil {
			i.log.Warn("remove the manifest of a backup that was deleted meanwhile", "backup_id", b.id, "key", key, "err", err)
		}
		return
	}
	i.log.Warn("a manifest was gone from its storage and was put back from the catalog", "backup_id", b.id, "key", key)
	b.gone = nil
}

// record commits what was found since the last time.
func (i *inventory) record(ctx context.Context) error {
	page := i.page
	i.page = controller.InventoryPage{}
	if len(page.Found)+len(page.Foreign) == 0 {
		return nil
	}
	changes, err := i.store.RecordInventory(ctx, i.due, page)
	if err != nil {
		return fmt.Errorf("record what was found: %w", err)
	}
	for _, c := range changes {
		if c.To == controller.HealthOK {
			i.totals.Recovered++
		}
		if i.logged++; i.logged > mostLogged {
			continue
		}
		level := hclog.Error
		if c.To == controller.HealthOK || c.To == controller.HealthArchived {
			level = hclog.Warn
		}
		i.log.Log(level, "the health of a backup has changed", "backup_id", c.BackupID, "project", c.Project, "database", c.Database, "from", c.From, "to", c.To, "reason", c.Reason)
	}
	return nil
}

// uploads goes through the uploads that were begun and not completed.
func (i *inventory) uploads(ctx context.Context, prefix string) error {
	for next := ""; ; {
		i.requests.Add(1)
		page, err := i.objects.ListUploads(ctx, prefix, next)
		if err != nil {
			return fmt.Errorf("list uploads: %w", err)
		}
		keys := make([]string, len(page.Uploads))
		for n, u := range page.Uploads {
			keys[n] = u.Key
		}
		if len(keys) > 0 {
			known, err := i.store.KnownUploads(ctx, i.due, keys)
			if err != nil {
				return fmt.Errorf("read what the catalog knows of uploads: %w", err)
			}
			for _, u := range page.Uploads {
				if err := i.upload(ctx, u, known[u.Key]); err != nil {
					return err
				}
			}
			if err := i.record(ctx); err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
		if page.Next == next {
			return wire.Failf(wire.CodeStorageUnavailable, "the storage's listing of uploads does not advance")
		}
		next = page.Next
	}
}

func (i *inventory) upload(ctx context.Context, u controller.ListedUpload, known controller.KnownUpload) error {
	switch {
	case known.Open:
		return nil
	case !known.Ours:
		i.totals.StaleUploads++
		i.find(controller.StorageFinding{Kind: "upload", Key: u.Key, UploadID: u.UploadID, ModifiedAt: &u.BegunAt})
		return nil
	}
	i.totals.StaleUploads++
	i.requests.Add(1)
	if err := i.objects.AbortUpload(ctx, u.Key, u.UploadID); err != nil {
		return fmt.Errorf("abort an upload that an attempt left: %w", err)
	}
	i.aborted++
	i.log.Info("aborted an upload that an attempt left", "key", u.Key, "begun", u.BegunAt)
	return nil
}
