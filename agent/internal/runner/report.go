package runner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"devflowbackup/agent/internal/journal"
	"devflowbackup/shared/failpoint"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/wire"
)

// maxLog is how much of a tool's log goes into a report, in bytes: its beginning and its end.
const maxLog = 24 << 10

// failed makes the report of an attempt that ended with err. A cause that was set from outside (cancel, deadline,
// stop) says more than the error that it led to.
func failed(report wire.Report, a *attempt, err, cause error) wire.Report {
	f := *wire.AsFailure(err)
	var outside *wire.Failure
	switch {
	case errors.As(cause, &outside):
		f = *outside
	case errors.Is(cause, errStopped):
		f = wire.Failure{Code: wire.CodeInterrupted, Message: "the agent was stopped while the job ran", Retryable: true}
	}
	if f.Stage == "" {
		f.Stage = *a.stage.Load()
	}
	return wire.Report{
		Attempt: report.Attempt, Outcome: wire.OutcomeFailed, Failure: bounded(&f),
		Read: report.Read, Log: report.Log, Millis: report.Millis,
	}
}

// bounded is a failure as it may travel.
func bounded(f *wire.Failure) *wire.Failure {
	out := *f
	out.Message, out.Hint = clip(secret.ScrubURLs(f.Message), 4<<10), clip(f.Hint, 2<<10)
	return &out
}

// clip keeps the beginning and the end of a text, in valid UTF-8.
func clip(s string, most int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most/2], "") + "\n…\n" + strings.ToValidUTF8(s[len(s)-most/2:], "")
}

// report journals an outcome and sends it. The attempt is in r.sending.
func (r *Runner) report(report wire.Report) {
	report.Log = clip(report.Log, maxLog)
	if err := r.cfg.Journal.Report(report); err != nil {
		// It is sent all the same; a crash before the answer makes the attempt lost, which is true enough.
		r.log.Error("journal a report", "job_id", report.Attempt.Job, "attempt", report.Attempt.No, "err", err)
	}
	if report.Swapped != nil {
		failpoint.Hit("agent.restore_swap_reported")
	}
	r.reports.Go(func() { r.send(report) })
}

// send tells a report until a controller has committed it or refused it for good.
func (r *Runner) send(report wire.Report) {
	a := report.Attempt
	log := r.log.With("job_id", a.Job, "attempt", a.No)
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.sending, a)
	}()
	select {
	case <-r.ready:
	case <-r.ctx.Done():
		return
	}
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		err := r.cfg.Controller.Request(r.ctx, wire.VerbReport, report, nil)
		failpoint.Hit("agent.report_sent_before_ack")
		var f *wire.Failure
		switch {
		case err == nil:
			r.forget(a)
			return
		case r.ctx.Err() != nil, wire.HasCode(err, wire.CodeSuperseded), wire.HasCode(err, wire.CodeRevoked):
			return // it stays in the journal
		case errors.As(err, &f) && !f.Retryable:
			log.Warn("the controller does not take the report", "code", f.Code, "err", err)
			r.forget(a)
			return
		}
		log.Warn("report is sent again", "err", err)
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-r.ctx.Done():
			t.Stop()
			return
		}
	}
}

// Recover settles what the journal holds from before the start: reports go out again; a restore that was published
// before the crash is reported, a swap that was begun is settled and reported, and so is a backup in this host's directory whose statement was journaled, after its files
// have got their names; everything else is gone with the process that ran it, and its leftovers are removed.
// Call it before the first hello. It returns how many attempts are still to be cleaned up because their database server
// or the backup directory cannot be reached: call it again later for those.
func (r *Runner) Recover(ctx context.Context) int {
	r.recovering.Lock()
	defer r.recovering.Unlock()
	if !r.recovered {
		r.recovered = true
		r.orphans = r.cfg.Journal.Entries()
	}
	var left []journal.Entry
	for _, e := range r.orphans {
		a := e.Attempt()
		if e.Report != nil {
			r.mu.Lock()
			r.sending[a] = true
			r.mu.Unlock()
			r.reports.Go(func() { r.send(*e.Report) })
			continue
		}
		if err := r.settle(ctx, e); err != nil {
			left = append(left, e)
			r.log.Warn("clean up after an attempt from before the restart", "job_id", a.Job, "attempt", a.No, "err", err)
		}
	}
	r.orphans = left
	return len(left)
}

// settle ends an attempt whose process is gone.
func (r *Runner) settle(ctx context.Context, e journal.Entry) error {
	switch {
	case e.Job != nil && (e.Job.Restore != nil && e.Job.Restore.InPlace != nil || e.Job.Kind == wire.JobUndo && e.Job.Swap != nil):
		return r.settleSwap(ctx, e)
	case e.Job != nil && e.Job.Restore != nil:
		return r.settleRestore(ctx, e)
	case e.Publishing != nil && len(e.Publishing.Statement) > 0:
		return r.settlePublished(e) // also when the record of the order was lost
	case e.Job != nil && e.Job.Backup != nil:
		return r.settleBackup(e)
	}
	r.forget(e.Attempt())
	return nil
}

func (r *Runner) settleRestore(ctx context.Context, e journal.Entry) error {
	a, o := e.Attempt(), e.Job.Restore
	in, err := r.terms.Load().instance(o.Instance, o.Source.Engine)
	if err != nil {
		r.log.Warn("a restore from before the restart belongs to an instance that is configured no more", "instance", o.Instance, "staging", o.Staging)
		r.forget(a)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, cleanupTimeout)
	defer cancel()
	staging, err := in.Engine.Exists(ctx, o.Staging)
	if err != nil {
		return fmt.Errorf("look for %s: %w", o.Staging, err)
	}
	if !staging && e.Publishing != nil {
		target, err := in.Engine.Exists(ctx, o.Database)
		if err != nil {
			return fmt.Errorf("look for %q: %w", o.Database, err)
		}
		if target { // it got its name, and only the report is missing
			r.mu.Lock()
			r.sending[a] = true
			r.mu.Unlock()
			r.report(*e.Publishing)
			return nil
		}
	}
	if staging {
		if err := in.Engine.Remove(ctx, o.Staging); err != nil {
			return fmt.Errorf("remove %s: %w", o.Staging, err)
		}
		r.log.Info("removed what a restore left", "instance", o.Instance, "staging", o.Staging)
	}
	r.forget(a)
	return nil
}
