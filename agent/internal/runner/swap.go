package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/journal"
	"devflowbackup/shared/failpoint"
	"devflowbackup/shared/wire"
)

const (
	// settleWait is the time between the first two tries to settle a swap. It doubles up to settleWaitMost.
	settleWait     = 500 * time.Millisecond
	settleWaitMost = time.Minute
	// maxWait bounds for how long an order may make a swap wait for other sessions.
	maxWait = 24 * time.Hour
	// maxNotes is how many notes of a swap are reported.
	maxNotes = 20
)

// errUnsettled ends an attempt of which nobody can tell what is at its target. It is not reported and stays in the journal: the
// next start settles it.
var errUnsettled = errors.New("what is at the target is not known: it is found out after the next start")

const (
	noteSettled = "the swap was interrupted and then settled: for how long the target could not be used, and how many sessions were ended, is not known"
	noteEarlier = "an earlier attempt has done the swap"
)

func swapOf(o *wire.RestoreOrder) engine.SwapRequest {
	return swapRequest(o.Staging, o.Database, *o.InPlace)
}

func swapRequest(staged, target string, terms wire.SwapTerms) engine.SwapRequest {
	return engine.SwapRequest{
		Staged: staged, Target: target, Keep: terms.Keep, Identity: terms.Identity, Sessions: terms.Sessions, Wait: time.Duration(terms.WaitSeconds) * time.Second,
	}
}

// checkTerms refuses a swap that makes no sense, or that this host does not allow.
func (r *Runner) checkTerms(in Instance, database string, terms wire.SwapTerms) error {
	switch {
	case !in.Config.Restore.InPlaceAllowed():
		return notInPlace(in.Config.Name)
	case !in.Config.Databases.Allows(database):
		return notReplaced(in.Config.Name, database)
	}
	return checkSwapNames(database, terms)
}

func notInPlace(instance string) *wire.Failure {
	return wire.Failf(wire.CodeNotAllowed, "restores in place on instance %s are not allowed by its host", instance).
		WithHint("set restore.in_place: true for instance %s in the agent's configuration", instance)
}

func notReplaced(instance, database string) *wire.Failure {
	return wire.Failf(wire.CodeNotAllowed, "database %q is not among those that the agent looks after", database).
		WithHint("change databases.include or databases.exclude of instance %s in the agent's configuration", instance)
}

func checkSwapNames(database string, terms wire.SwapTerms) error {
	switch {
	case database == "" || ours(database):
		return wire.Failf(wire.CodeBadRequest, "%q cannot be the target of a swap", database)
	case !strings.HasPrefix(terms.Keep, engine.KeptPrefix):
		return wire.Failf(wire.CodeBadRequest, "kept name %q does not start with %s", terms.Keep, engine.KeptPrefix)
	case terms.Identity == "":
		return wire.Failf(wire.CodeBadRequest, "the order does not say what is to be at %q", database)
	case !knownSessions(terms.Sessions):
		return wire.Failf(wire.CodeBadRequest, "sessions %q is unknown", terms.Sessions).WithHint("update the agent")
	case terms.WaitSeconds < 0 || terms.WaitSeconds > int64(maxWait/time.Second):
		return wire.Failf(wire.CodeBadRequest, "wait for %d seconds: at most %s are", terms.WaitSeconds, maxWait)
	}
	return nil
}

func knownSessions(choice string) bool {
	return slices.Contains([]string{"", wire.SessionsRefuse, wire.SessionsWait, wire.SessionsEnd}, choice)
}

func ours(database string) bool {
	return strings.HasPrefix(database, engine.StagingPrefix) || strings.HasPrefix(database, engine.KeptPrefix)
}

// checkSwap refuses an undo that the host does not allow. What a swap left is settled whatever the host allows by now.
func (r *Runner) checkSwap(t *Terms, kind string, o *wire.SwapOrder) error {
	in, err := t.instance(o.Instance, o.Engine)
	switch {
	case err != nil:
		return err
	case !ours(o.Staged):
		return wire.Failf(wire.CodeBadRequest, "%q was made by no restore", o.Staged)
	case kind == wire.JobSettle:
		return checkSwapNames(o.Database, o.Terms)
	case !strings.HasPrefix(o.Staged, engine.KeptPrefix):
		return wire.Failf(wire.CodeBadRequest, "%q was kept by no restore", o.Staged)
	}
	return r.checkTerms(in, o.Database, o.Terms)
}

func (r *Runner) checkDiscard(t *Terms, o *wire.DiscardOrder) error {
	if !strings.HasPrefix(o.Kept, engine.KeptPrefix) {
		return wire.Failf(wire.CodeBadRequest, "%q was kept by no restore: it is not removed", o.Kept)
	}
	_, err := t.instance(o.Instance, o.Engine)
	return err
}

// work is what an order swaps or removes: no other order may do so at the same time.
type work struct {
	instance string
	names    []string
}

func workOf(job wire.Job) (w work, ok bool) {
	switch {
	case job.Restore != nil && job.Restore.InPlace != nil:
		return work{job.Restore.Instance, []string{job.Restore.Database, job.Restore.Staging, job.Restore.InPlace.Keep}}, true
	case job.Swap != nil:
		return work{job.Swap.Instance, []string{job.Swap.Database, job.Swap.Staged, job.Swap.Terms.Keep}}, true
	case job.Discard != nil:
		return work{job.Discard.Instance, []string{job.Discard.Kept}}, true
	}
	return work{}, false
}

func (w work) meets(other work) bool {
	return w.instance == other.instance && slices.ContainsFunc(w.names, func(n string) bool { return slices.Contains(other.names, n) })
}

// inTheWay finds another attempt, running or left by a crash, that works on what an order is about. It is called with the lock held.
func (r *Runner) inTheWay(job wire.Job) *wire.Failure {
	w, ok := workOf(job)
	if !ok {
		return nil
	}
	for _, e := range r.cfg.Journal.Entries() { // running ones are there, too
		if e.Job == nil || e.Report != nil || e.Attempt() == job.Attempt {
			continue
		}
		other, ok := workOf(*e.Job)
		if ok && (e.Job.Attempt.Job == job.Attempt.Job || w.meets(other)) {
			a := e.Attempt()
			return wire.Failf(wire.CodeBusy, "attempt %d of job %d is still at work there", a.No, a.Job).Retry()
		}
	}
	return nil
}

// unsettled tells whether an attempt from before the start may have left a swap half done.
func (r *Runner) unsettled(a wire.Attempt) bool {
	return slices.ContainsFunc(r.cfg.Journal.Entries(), func(e journal.Entry) bool {
		if e.Attempt() != a || e.Publishing == nil || e.Report != nil || e.Job == nil {
			return false
		}
		_, ok := workOf(*e.Job)
		return ok
	})
}

// settled settles a swap, again and again until the engine can tell its end. An error that final says yes to ends it, too. When
// the agent has to stop it tries once more, and ends with errUnsettled.
func (r *Runner) settled(a *attempt, in Instance, req engine.SwapRequest, final func(error) bool) (state string, err error) {
	for wait := settleWait; ; wait = min(2*wait, settleWaitMost) {
		ctx, most, last := r.halt, publishTimeout, r.halt.Err() != nil
		if last {
			ctx, most = context.WithoutCancel(r.halt), cleanupTimeout
		}
		state, err = settle(ctx, most, in, req)
		switch {
		case err == nil:
			return state, nil
		case final(err):
			return "", err
		case last:
			a.log.Error("what is at the target is not known; the next start of the agent finds out", "target", req.Target, "kept", req.Keep, "err", err)
			return "", errUnsettled
		}
		a.log.Error("what is at the target is not known yet", "target", req.Target, "kept", req.Keep, "err", err)
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-r.halt.Done():
			t.Stop()
		}
	}
}

// settle asks the engine. A bug in it tells nothing of what is at the target.
func settle(ctx context.Context, most time.Duration, in Instance, req engine.SwapRequest) (state string, err error) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = wire.Failf(wire.CodeInternal, "the agent met a bug: %v", p)
		}
	}()
	return in.Engine.Settle(ctx, req)
}

// settledFirst settles what an earlier attempt at the same swap may have left. SwapBefore also says that the target is the one that
// is meant. The first attempt, before which there was none, may fail; a later one goes on until it knows, unless somebody has to act.
func (r *Runner) settledFirst(a *attempt, in Instance, req engine.SwapRequest) (string, error) {
	state, err := r.settled(a, in, req, func(err error) bool {
		return a.job.Attempt.No <= 1 || !wire.AsFailure(err).Retryable
	})
	if wire.HasCode(err, wire.CodeDatabaseMissing) {
		err = changed(req.Target, err)
	}
	return state, err
}

func changed(target string, err error) *wire.Failure {
	return wire.Failf(wire.CodeTargetChanged, "database %q is not the one that was looked at: %w", target, err).
		WithHint("look at the target again, and plan the restore anew")
}

// swap puts a database in the place of another. The report that is true afterwards is journaled first. From here a cancellation
// comes too late: the attempt ends when it is known what is at the target. On an error, but errUnsettled, the target is as it was.
func (r *Runner) swap(ctx context.Context, a *attempt, in Instance, req engine.SwapRequest, report *wire.Report) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	a.at(wire.StageSwap)
	report.Attempt, report.Log = a.job.Attempt, clip(report.Log, maxLog)
	report.Swapped = &wire.SwapResult{State: wire.SwapAfter, Notes: []string{noteSettled}}
	if err := r.cfg.Journal.Publishing(*report); err != nil {
		return wire.Failf(wire.CodeDiskFull, "write the journal: %w", err).Retry()
	}
	failpoint.Hit("agent.restore_before_swap")
	result, err := r.exchange(in, req)
	failpoint.Hit("agent.restore_after_swap")
	if wire.HasCode(err, wire.CodeInterrupted) {
		a.log.Warn("the swap was interrupted", "target", req.Target, "err", err)
		switch state, serr := r.settled(a, in, req, func(error) bool { return false }); {
		case serr != nil:
			return serr
		case state == engine.SwapBefore:
			return wire.Failf(wire.CodeInterrupted, "the swap was interrupted, and the target is as it was: %w", err).Retry()
		}
		return nil
	}
	if err != nil {
		return err
	}
	report.Swapped = &wire.SwapResult{State: wire.SwapAfter, UnavailableMicros: result.Unavailable.Microseconds(), Ended: result.Ended}
	for _, note := range result.Notes[:min(maxNotes, len(result.Notes))] {
		report.Swapped.Notes = append(report.Swapped.Notes, clip(note, 2<<10))
	}
	return nil
}

// exchange runs the engine's swap, until it ends or the agent has to stop.
func (r *Runner) exchange(in Instance, req engine.SwapRequest) (result *engine.SwapResult, err error) {
	ctx, cancel := context.WithTimeout(r.halt, req.Wait+publishTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = wire.Failf(wire.CodeInterrupted, "the agent met a bug: %v", p)
		}
	}()
	return in.Engine.Swap(ctx, req)
}

// restoredEarlier reports what an earlier attempt has done. Nothing that goes wrong here changes that.
func (r *Runner) restoredEarlier(ctx context.Context, a *attempt, o *wire.RestoreOrder) wire.Report {
	src := o.Source.Artifact
	report := wire.Report{
		Outcome:  wire.OutcomeRestored,
		Read:     &wire.ReadResult{StoredSize: src.StoredSize, StoredSHA256: src.StoredSHA256, RawSize: src.RawSize, RawSHA256: src.RawSHA256}, // proven before the swap
		Restored: &wire.RestoreResult{Database: o.Database},
		Swapped:  &wire.SwapResult{State: wire.SwapAfter, Notes: []string{noteEarlier}},
	}
	warning := noteEarlier + "; what it restored is counted as in the backup"
	want, err := r.description(ctx, a, o.Source)
	switch {
	case err != nil || want == nil:
		a.log.Warn("the backup's fingerprint cannot be read: what was restored is not counted", "err", err)
		warning = noteEarlier + "; what it restored is not counted"
	default:
		want = selected(want, want, only(o.Choices))
		report.Restored.Tables, report.Restored.Rows, report.Restored.Compared = int64(len(want.Tables)), want.Rows(), want.Exact
	}
	report.Restored.Warnings = warning
	a.log.Info(noteEarlier, "target", o.Database, "kept", o.InPlace.Keep)
	return report
}

// undo puts a database that a swap kept back into its place. What is there now is kept in its turn.
func (r *Runner) undo(ctx context.Context, a *attempt, o *wire.SwapOrder) (report wire.Report, err error) {
	in, err := a.terms.instance(o.Instance, o.Engine)
	if err != nil {
		return report, err
	}
	report.Outcome, report.Millis = wire.OutcomeSettled, map[string]int64{}
	lap := laps(report.Millis, r.cfg.Now)
	req := swapRequest(o.Staged, o.Database, o.Terms)
	state, err := r.settledFirst(a, in, req)
	if err != nil {
		return report, err
	}
	lap("prepare")
	if state == engine.SwapAfter {
		report.Swapped = &wire.SwapResult{State: wire.SwapAfter, Notes: []string{noteEarlier}}
		return report, nil
	}
	if err := r.swap(ctx, a, in, req, &report); err != nil {
		return report, err
	}
	lap("swap")
	return report, nil
}

// settleOrdered finds out what a swap came to whose attempt was lost, and ends it.
func (r *Runner) settleOrdered(ctx context.Context, a *attempt, o *wire.SwapOrder) (report wire.Report, err error) {
	in, err := a.terms.instance(o.Instance, o.Engine)
	if err != nil {
		return report, err
	}
	a.at(wire.StageSwap)
	state, err := in.Engine.Settle(ctx, swapRequest(o.Staged, o.Database, o.Terms))
	if err != nil {
		return report, err
	}
	report.Outcome, report.Swapped = wire.OutcomeSettled, &wire.SwapResult{State: state}
	if state == engine.SwapBefore && strings.HasPrefix(o.Staged, engine.StagingPrefix) {
		if err := in.Engine.Remove(ctx, o.Staged); err != nil {
			a.log.Error("remove what a failed restore left; drop the database by hand", "staging", o.Staged, "err", err)
			report.Swapped.Notes = []string{clip(fmt.Sprintf("%q is left, and could not be removed: %v", o.Staged, err), 2<<10)}
		}
	}
	return report, nil
}

// discard removes a database that a swap kept.
func (r *Runner) discard(ctx context.Context, a *attempt, o *wire.DiscardOrder) (report wire.Report, err error) {
	in, err := a.terms.instance(o.Instance, o.Engine)
	if err != nil {
		return report, err
	}
	a.at(wire.StageFinish)
	if err := in.Engine.Remove(ctx, o.Kept); err != nil {
		return report, err
	}
	report.Outcome = wire.OutcomeDiscarded
	return report, nil
}

// settleSwap ends a restore in place, or an undo, whose process is gone. What was about to be swapped is settled and reported; what
// was not is removed.
func (r *Runner) settleSwap(ctx context.Context, e journal.Entry) error {
	a := e.Attempt()
	var instance, engineName string
	var req engine.SwapRequest
	if o := e.Job.Restore; o != nil {
		instance, engineName, req = o.Instance, o.Source.Engine, swapOf(o)
	} else {
		o := e.Job.Swap
		instance, engineName, req = o.Instance, o.Engine, swapRequest(o.Staged, o.Database, o.Terms)
	}
	log := r.log.With("job_id", a.Job, "attempt", a.No, "instance", instance, "target", req.Target)
	in, err := r.terms.Load().instance(instance, engineName)
	if err != nil {
		log.Error("a swap from before the restart belongs to an instance that is configured no more; look at its databases",
			"staging", req.Staged, "kept", req.Keep)
		r.forget(a)
		return nil //nolint:nilerr // nobody can look there any more
	}
	state, err := settle(ctx, publishTimeout, in, req)
	switch {
	case err == nil:
	case e.Publishing == nil: // the swap was never begun
		state = engine.SwapBefore
	default:
		return fmt.Errorf("settle the swap of %q: %w", req.Target, err)
	}
	if state == engine.SwapBefore && strings.HasPrefix(req.Staged, engine.StagingPrefix) {
		if err := tidy(ctx, in, req.Staged); err != nil {
			return fmt.Errorf("remove %s: %w", req.Staged, err)
		}
		log.Info("removed what a restore left", "staging", req.Staged)
	}
	if e.Publishing == nil {
		r.forget(a)
		return nil
	}
	report := *e.Publishing
	if state == engine.SwapBefore {
		report = wire.Report{
			Attempt: a, Outcome: wire.OutcomeFailed, Read: report.Read, Log: report.Log, Millis: report.Millis,
			Failure: wire.Failf(wire.CodeInterrupted, "the agent stopped while %q was swapped; the target is as it was", req.Target).Retry().At(wire.StageSwap),
		}
	}
	log.Info("settled a swap from before the restart", "state", state)
	r.mu.Lock()
	r.sending[a] = true
	r.mu.Unlock()
	r.report(report)
	return nil
}
