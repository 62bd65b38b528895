package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"devflowbackup/agent/internal/journal"
	"devflowbackup/agent/internal/localstore"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/failpoint"
	"devflowbackup/shared/wire"
)

// directory is the host's own backup directory. Everything lies there under partial names until the signed statement is in
// the journal; then it gets its names, and a restart finishes what a crash interrupts.
type directory struct {
	r   *Runner
	a   *attempt
	o   *wire.BackupOrder
	ctx context.Context

	artifact *localstore.Writer
	sides    []localstore.Object // whole, partial names
	naming   bool                // Commit was called

	once sync.Once // Abort
}

func (r *Runner) newDirectory(ctx context.Context, a *attempt, o *wire.BackupOrder) (*directory, error) {
	w, err := r.cfg.Local.Create(o.Key)
	if err != nil {
		return nil, err
	}
	return &directory{r: r, a: a, o: o, ctx: ctx, artifact: w}, nil
}

func (d *directory) Write(p []byte) (int, error) {
	if d.ctx.Err() != nil {
		return 0, context.Cause(d.ctx)
	}
	return d.artifact.Write(p)
}

func (d *directory) Close() error { return d.artifact.Close() }

func (d *directory) Stored() int64 { return d.artifact.Stored() }

func (d *directory) Describe(*artifact.Statement) {} // one file, no parts

func (d *directory) Side(object string, data []byte) error {
	key, err := objectKey(d.o.Key, d.o.Codec, object)
	if err != nil {
		return err
	}
	w, err := d.r.cfg.Local.Create(key)
	if err != nil {
		return err
	}
	if _, err = w.Write(data); err == nil {
		err = w.Close()
	}
	if err != nil {
		return errors.Join(err, w.Abort())
	}
	w.Release()
	d.sides = append(d.sides, localstore.Object{Key: key, Size: int64(len(data))})
	return nil
}

// objects lists the backup's files in the order in which they get their names: the artifact comes last, so that where it
// is, all is.
func (d *directory) objects() []localstore.Object {
	return append(append([]localstore.Object(nil), d.sides...), localstore.Object{Key: d.o.Key, Size: d.Stored()})
}

// Publish journals the report that will be true, and gives the files their names. From here a cancellation comes too late.
func (d *directory) Publish(ctx context.Context, report *wire.Report) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := d.r.cfg.Journal.Publishing(*report); err != nil {
		return wire.Failf(wire.CodeDiskFull, "write the journal: %w", err).Retry()
	}
	failpoint.Hit("agent.local_before_rename")
	d.artifact.Release()
	d.naming = true
	err := d.r.cfg.Local.Commit(d.objects(), func() { failpoint.Hit("agent.local_between_renames") })
	if err != nil {
		return err
	}
	failpoint.Hit("agent.local_after_rename")
	return nil
}

// Abort removes what was written, after the write that is under way.
func (d *directory) Abort(error) {
	d.once.Do(func() {
		var err error
		switch {
		case d.naming:
			err = d.r.cfg.Local.Discard(d.objects())
		default:
			err = d.artifact.Abort()
			for _, o := range d.sides {
				err = errors.Join(err, d.r.cfg.Local.DiscardPartial(o.Key))
			}
		}
		if err != nil {
			d.a.log.Error("remove what a backup that failed has left in the backup directory; delete it by hand", "key", d.o.Key, "err", err)
		}
	})
}

// needLocal refuses what needs a backup directory on a host without one.
func (r *Runner) needLocal(keys ...string) error {
	if r.cfg.Local == nil {
		return wire.Failf(wire.CodeNotAllowed, "this host has no backup directory").
			WithHint("set storage.local.dir in the agent's configuration, or choose another storage")
	}
	for _, key := range keys {
		if err := localstore.CheckKey(key); err != nil {
			return err
		}
	}
	return nil
}

// Writing tells whether a running attempt writes the file of a key.
func (r *Runner) Writing(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.running {
		if o := a.job.Backup; o != nil && o.Local && strings.HasPrefix(key, o.Key) {
			return true
		}
	}
	return false
}

// settleBackup ends a backup whose process is gone and whose statement was not journaled: what is partial of it is removed.
func (r *Runner) settleBackup(e journal.Entry) error {
	a, o := e.Attempt(), e.Job.Backup
	if o.Local {
		if err := r.needLocal(o.Key); err != nil {
			r.log.Warn("a backup from before the restart lies in a directory that is configured no more", "key", o.Key, "err", err)
			r.forget(a)
			return nil
		}
		for _, object := range []string{wire.ObjectArtifact, wire.ObjectFingerprint, wire.ObjectGlobals} {
			key, err := objectKey(o.Key, o.Codec, object)
			if err != nil {
				return err
			}
			if err := r.cfg.Local.DiscardPartial(key); err != nil {
				return err
			}
		}
	}
	r.forget(a)
	return nil
}

// settlePublished ends a backup whose process is gone and whose statement was journaled: its files get their names, as far
// as they have not, and it is reported.
func (r *Runner) settlePublished(e journal.Entry) error {
	a := e.Attempt()
	log := r.log.With("job_id", a.Job, "attempt", a.No)
	objects, err := stated(e.Publishing.Statement)
	if err == nil {
		err = r.needLocal(objects[len(objects)-1].Key)
	}
	if err != nil {
		log.Warn("a backup from before the restart cannot be finished", "err", err)
		r.forget(a)
		return nil
	}
	switch err := r.cfg.Local.Commit(objects, nil); {
	case err == nil:
		log.Info("finished a backup from before the restart", "key", objects[len(objects)-1].Key)
		r.mu.Lock()
		r.sending[a] = true
		r.mu.Unlock()
		r.report(*e.Publishing)
		return nil
	case errors.Is(err, localstore.ErrGone), wire.HasCode(err, wire.CodeForeignObject):
		log.Warn("a backup from before the restart is not whole and is removed", "err", err)
		if err := r.cfg.Local.Discard(objects); err != nil {
			return err
		}
		r.forget(a)
		return nil
	default:
		return err // the disk may come back
	}
}

// stated lists the files of a statement as directory.objects does.
func stated(text json.RawMessage) ([]localstore.Object, error) {
	var signed artifact.SignedStatement
	if err := json.Unmarshal(text, &signed); err != nil {
		return nil, fmt.Errorf("read the journaled statement: %w", err)
	}
	var st artifact.Statement
	if err := json.Unmarshal(signed.Statement, &st); err != nil {
		return nil, fmt.Errorf("read the journaled statement: %w", err)
	}
	var out []localstore.Object
	if st.Fingerprint != nil {
		out = append(out, localstore.Object{Key: artifact.FingerprintKey(st.Key, st.Codec), Size: st.Fingerprint.StoredSize})
	}
	if st.Globals != nil {
		out = append(out, localstore.Object{Key: artifact.GlobalsKey(st.Key, st.Codec), Size: st.Globals.StoredSize})
	}
	return append(out, localstore.Object{Key: st.Key, Size: st.StoredSize}), nil
}
