package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/failpoint"
	"devflowbackup/shared/wire"
)

// sweepLoop moves what time moves: leases, deadlines, cancellations.
func (f *Fleet) sweepLoop(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	f.every(ctx, f.opt.Tick, nil, "sweep", func(ctx context.Context) error {
		res, err := f.opt.Store.Sweep(ctx)
		if err != nil {
			return err
		}
		if res != (controller.SweepResult{}) {
			f.log.Info("sweep", "suspect", res.Suspect, "lost", res.Lost, "requeued", res.Requeued,
				"timed_out", res.TimedOut, "expired", res.Expired, "offline", res.Offline, "orphaned", res.Orphaned, "stuck", res.Stuck, "pages", res.Pages,
				"unsafe", res.Unsafe, "settle", res.Settle, "discard", res.Discard)
			f.Kick()
		}
		cancels, err := f.opt.Store.CancelsDue(ctx)
		if err != nil {
			return err
		}
		for _, c := range cancels {
			f.tellCancel(ctx, &wg, c)
		}
		return nil
	})
}

// tellCancel sends a cancellation in a goroutine of wg, one at a time for each attempt: agents that hang must not stop the sweep.
func (f *Fleet) tellCancel(ctx context.Context, wg *sync.WaitGroup, c controller.CancelDue) {
	if !f.telling.begin(c.Attempt.Token) {
		return
	}
	wg.Go(func() {
		defer f.telling.end(c.Attempt.Token)
		server := controller.Server{AgentID: c.AgentID, Name: c.AgentID, Session: c.Session}
		_, err := f.command(ctx, server, wire.VerbCancel, wire.Cancel{Attempt: c.Attempt, Reason: c.Reason})
		if err != nil && ctx.Err() == nil && !wire.HasCode(err, wire.CodeOffline) {
			f.log.Warn("send cancellation", "job_id", c.Attempt.Job, "err", err)
		}
	})
}

const (
	cleanBatch = 16
	cleanAgain = 30 * time.Second
	cleanAway  = time.Minute // until a host is asked again that is not connected
	cleanLater = 10 * time.Minute
)

// cleanLoop removes from stores what dead attempts left and what was deleted. A row is closed only when the store
// shows that nothing is left.
func (f *Fleet) cleanLoop(ctx context.Context) {
	f.every(ctx, f.opt.Tick, nil, "clean stores", func(ctx context.Context) error {
		dead, err := f.opt.Store.DeadUploads(ctx, cleanBatch)
		if err != nil {
			return fmt.Errorf("list dead uploads: %w", err)
		}
		for _, d := range dead {
			if err := f.sweepUpload(ctx, d); err != nil && ctx.Err() == nil {
				f.log.Log(level(err), "remove what a dead attempt left", "job_id", d.Attempt.Job, "attempt", d.Attempt.No, "key", d.Key, "err", err)
				if err := f.opt.Store.UploadSweepLater(ctx, d.Attempt, later(err)); err != nil {
					return err
				}
			}
		}
		due, err := f.opt.Store.DueDeletions(ctx, cleanBatch)
		if err != nil {
			return fmt.Errorf("list due deletions: %w", err)
		}
		for _, d := range due {
			if err := f.deleteBackup(ctx, d); err != nil && ctx.Err() == nil {
				if err := f.putOff(ctx, d, err); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// putOff has a deletion that failed tried again: of what its storage has locked when that ends, which is no error.
func (f *Fleet) putOff(ctx context.Context, d controller.Deletion, err error) error {
	var locked *LockedError
	if errors.As(err, &locked) {
		return f.opt.Store.DeletionLocked(ctx, d.Backup, locked.Until)
	}
	f.log.Log(level(err), "delete backup", "backup_id", d.Backup, "err", err)
	return f.opt.Store.DeletionLater(ctx, d.Backup, later(err), err.Error())
}

// away tells whether what has to be asked is on a host whose agent is not connected, or at work there: nothing is wrong, it has to wait.
func away(err error) bool {
	return wire.HasCode(err, wire.CodeOffline) || wire.HasCode(err, wire.CodeBusy)
}

func level(err error) hclog.Level {
	switch {
	case away(err):
		return hclog.Debug
	case wire.HasCode(err, wire.CodeLocked):
		return hclog.Info
	}
	return hclog.Warn
}

func later(err error) time.Duration {
	var locked *LockedError
	switch {
	case away(err):
		return cleanAway
	case errors.As(err, &locked):
		return max(time.Until(locked.Until), cleanLater)
	}
	return cleanLater
}

// sweepUpload aborts a dead attempt's uploads and removes its objects, now and once more after its last URL has expired.
func (f *Fleet) sweepUpload(ctx context.Context, d controller.DeadUpload) error {
	objects, err := f.storage(ctx, d.StorageID, d.Server)
	if err != nil {
		return err
	}
	if err := objects.AbortUploads(ctx, d.Key); err != nil {
		return err
	}
	keys := artifactKeys(d.Key)
	if d.FailureCode == wire.CodeForeignObject {
		keys = keys[1:] // what lies at the key itself is not ours to delete
	}
	for _, key := range keys {
		if err := remove(ctx, objects, key); err != nil {
			return err
		}
	}
	if d.URLsOpen {
		return f.opt.Store.UploadSweepLater(ctx, d.Attempt, cleanAgain)
	}
	return f.opt.Store.UploadSwept(ctx, d.Attempt)
}

// artifactKeys lists every key that an attempt at this key may have written.
func artifactKeys(key string) []string {
	c := artifact.CodecOf(key)
	return []string{key, artifact.ManifestKey(key), artifact.FingerprintKey(key, c), artifact.GlobalsKey(key, c)}
}

func (f *Fleet) deleteBackup(ctx context.Context, d controller.Deletion) error {
	objects, err := f.storage(ctx, d.StorageID, d.Server)
	if err != nil {
		return err
	}
	failpoint.Hit("controller.before_delete_object")
	for i, key := range d.Keys {
		if i > 0 {
			failpoint.Hit("controller.between_deleted_objects")
		}
		if err := remove(ctx, objects, key); err != nil {
			return err
		}
	}
	failpoint.Hit("controller.after_delete_object")
	if err := f.opt.Store.DeletionDone(ctx, d.Backup); err != nil {
		return err
	}
	failpoint.Hit("controller.deletion_done")
	f.log.Info("backup deleted", "backup_id", d.Backup, "objects", len(d.Keys))
	return nil
}

var errStillThere = errors.New("still there after its deletion")

func remove(ctx context.Context, objects Objects, key string) error {
	if err := objects.Delete(ctx, key); err != nil {
		return err
	}
	gone, err := objects.Gone(ctx, key)
	if err == nil && !gone {
		err = errStillThere
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	return nil
}
