package runner

import (
	"context"
	"errors"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/failpoint"
	"devflowbackup/shared/wire"
)

// restore fills a database under its staging name, proves it, and gives it its own name or, in place, swaps it with the one that has
// it. Until then nothing of that name exists, or what exists is as it was; and after any failure nothing is left.
func (r *Runner) restore(ctx context.Context, a *attempt, o *wire.RestoreOrder) (report wire.Report, err error) {
	in, err := a.terms.instance(o.Instance, o.Source.Engine)
	if err != nil {
		return report, err
	}
	report.Millis = map[string]int64{}
	lap := laps(report.Millis, r.cfg.Now)
	if o.InPlace != nil {
		state, err := r.settledFirst(a, in, swapOf(o))
		if err != nil {
			return report, err
		}
		if state == engine.SwapAfter {
			return r.restoredEarlier(ctx, a, o), nil
		}
		if err := tidy(ctx, in, o.Staging); err != nil { // of an earlier attempt
			return report, err
		}
	} else {
		exists, err := in.Engine.Exists(ctx, o.Database)
		if err != nil {
			return report, err
		}
		if exists {
			return report, wire.Failf(wire.CodeTargetExists, "database %q is already there", o.Database).
				WithHint("choose another name, or drop the database first")
		}
	}
	if err := r.fits(ctx, in, o); err != nil {
		return report, err
	}
	obj, err := sourceObject(o.Source, wire.ObjectArtifact, o.Source.Artifact)
	if err != nil {
		return report, err
	}
	a.total.Store(obj.sums.StoredSize)
	a.at(wire.StageDownload)
	want, err := r.description(ctx, a, o.Source)
	undescribed := wire.HasCode(err, wire.CodeMissing)
	if undescribed {
		// The database can be had back without it, and both checksums still prove what is restored.
		a.log.Warn("the backup's fingerprint is gone from its storage: the restored database is not compared with it", "err", err)
	} else if err != nil {
		return report, err
	}
	roles, err := r.roles(ctx, a, o)
	if err != nil {
		return report, err
	}
	lap("prepare")

	err = r.twice(ctx, a, obj, func() error {
		report.Read, report.Log, err = r.fill(ctx, a, obj, in, o, roles)
		return err
	})
	if err != nil {
		return report, err
	}
	lap("restore")
	defer func() {
		if err != nil && !errors.Is(err, errUnsettled) {
			r.remove(ctx, a, in, o.Staging)
		}
	}()
	if report.Restored, err = r.compare(ctx, in, o, want); err != nil {
		return report, err
	}
	switch {
	case undescribed:
		report.Log = "warning: the backup's fingerprint is gone from its storage: the restored database was not compared with it\n" + report.Log
	case report.Restored.Compared && len(only(o.Choices)) > 0:
		report.Log = notePart + report.Log
	}
	report.Restored.Warnings = clip(report.Log, 4<<10)
	lap("compare")

	report.Attempt, report.Outcome = a.job.Attempt, wire.OutcomeRestored
	if o.InPlace != nil {
		if err = r.swap(ctx, a, in, swapOf(o), &report); err != nil {
			return report, err
		}
		lap("swap")
		return report, nil
	}
	a.at(wire.StagePublish)
	if err = r.publish(ctx, a, in, o, report); err != nil {
		return report, err
	}
	lap("publish")
	return report, nil
}

// fill restores the artifact into the staging database.
func (r *Runner) fill(ctx context.Context, a *attempt, obj object, in Instance, o *wire.RestoreOrder, roles []byte) (*wire.ReadResult, string, error) {
	a.at(wire.StageDownload) // until the engine gets the first byte
	var res engine.Restore
	read, err := r.decode(ctx, a, obj, func() (s sink, err error) {
		a.at(wire.StageRestore)
		if err := in.Engine.Remove(ctx, o.Staging); err != nil { // of an attempt that was repeated
			return nil, err
		}
		req := chosen(o.Choices, roles)
		req.Database, req.Target, req.InPlace = o.Staging, o.Database, o.InPlace != nil
		res, err = in.Engine.Restore(ctx, req)
		return res, err
	})
	if res == nil {
		return nil, "", err
	}
	return read, res.Log(), err
}

// compare holds the staging database against what was backed up.
func (r *Runner) compare(ctx context.Context, in Instance, o *wire.RestoreOrder, want *wire.Fingerprint) (*wire.RestoreResult, error) {
	got, err := in.Engine.Fingerprint(ctx, o.Staging)
	if err != nil {
		return nil, err
	}
	res := &wire.RestoreResult{Database: o.Database, Tables: int64(len(got.Tables)), Rows: got.Rows()}
	if want == nil || !want.Exact || !got.Exact {
		return res, nil
	}
	part := only(o.Choices)
	want = selected(want, got, part)
	if len(part) > 0 {
		got = &wire.Fingerprint{Tables: got.Tables}
	}
	if diff := want.Diff(got); len(diff) > 0 {
		return nil, wire.Failf(wire.CodeFingerprint, "the restored database differs from the backup: %s", differences(diff)).
			WithHint("the target was not touched; look at the job's log for what the tool left out")
	}
	res.Compared = true
	return res, nil
}

// publish gives the staging database its name. The report that is then true is journaled first, so that a crash right
// after the rename does not lose it. From here a cancellation comes too late.
func (r *Runner) publish(ctx context.Context, a *attempt, in Instance, o *wire.RestoreOrder, report wire.Report) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	report.Log = clip(report.Log, maxLog)
	if err := r.cfg.Journal.Publishing(report); err != nil {
		return wire.Failf(wire.CodeDiskFull, "write the journal: %w", err).Retry()
	}
	failpoint.Hit("agent.restore_before_publish")
	err := in.Engine.Publish(ctx, o.Staging, o.Database)
	failpoint.Hit("agent.restore_after_publish")
	if err == nil || wire.HasCode(err, wire.CodeTargetExists) {
		return err
	}
	// Did the answer get lost, or the rename? The server tells.
	staging, serr := in.Engine.Exists(ctx, o.Staging)
	target, terr := in.Engine.Exists(ctx, o.Database)
	if serr == nil && terr == nil && !staging && target {
		a.log.Warn("the rename was done although its answer was lost", "err", err)
		return nil
	}
	return err
}

// remove takes the staging database away, whatever has become of the attempt's context.
func (r *Runner) remove(ctx context.Context, a *attempt, in Instance, staging string) {
	if err := tidy(ctx, in, staging); err != nil {
		a.log.Error("remove what a failed restore left; drop the database by hand", "staging", staging, "err", err)
	}
}

func tidy(ctx context.Context, in Instance, staging string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	return in.Engine.Remove(ctx, staging)
}
