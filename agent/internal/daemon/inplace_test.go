package daemon_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"devflowbackup/agent/internal/config"
	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/journal"
	"devflowbackup/agent/internal/testkit/control"
	"devflowbackup/agent/internal/testkit/fakeengine"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/testkit/s3kit"
	"devflowbackup/shared/wire"
)

const (
	theirs = "what programs have written since"
	target = "shop"
)

// inPlace is an agent that may replace databases, with a backup of one that has changed since.
type inPlace struct {
	*agent
	from    wire.Attempt
	st      artifact.Statement
	content []byte // of the backup
}

func prepareInPlace(t *testing.T) *inPlace {
	t.Helper()
	a := prepare(t)
	a.cfg.Instances[0].Restore.InPlace = true
	a.e.Set(target, random(partSize+1000))
	return &inPlace{agent: a}
}

// begin starts the agent, makes the backup and changes the target.
func (p *inPlace) begin() *inPlace {
	p.t.Helper()
	p.start()
	p.content, _ = p.e.Get(target)
	p.from, p.st = p.backup(1)
	p.e.Set(target, []byte(theirs))
	return p
}

func startInPlace(t *testing.T) *inPlace {
	t.Helper()
	return prepareInPlace(t).begin()
}

// identity is what an agent says of the target.
func (p *inPlace) identity() string {
	p.t.Helper()
	r := p.c.Inspect(wire.InspectOrder{Instance: "main", Engine: fakeengine.Name, Database: target, InPlace: true, Sessions: wire.SessionsEnd})
	if r.Failure != nil {
		p.t.Fatal(r.Failure)
	}
	return r.Target.Identity
}

func kept(n int64) string { return fmt.Sprintf("%s%d_a", engine.KeptPrefix, n) }

// order makes a job's first attempt at a restore in place.
func (p *inPlace) order(n int64) wire.Job {
	p.t.Helper()
	job := p.restoreJob(n, p.st, p.from, target)
	job.Restore.Staging = fmt.Sprintf("%s%d_a", engine.StagingPrefix, n)
	job.Restore.InPlace = &wire.SwapTerms{Keep: kept(n), Identity: p.identity(), Sessions: wire.SessionsRefuse}
	return job
}

// again is the next attempt at a job, with the same names.
func (p *inPlace) again(job wire.Job) wire.Job {
	p.t.Helper()
	job.Attempt = wire.Attempt{Job: job.Attempt.Job, No: job.Attempt.No + 1, Token: wire.NewID()}
	order := *job.Restore
	order.Source = p.source(job.Attempt, p.st, p.from)
	job.Restore = &order
	return job
}

func (p *inPlace) undoOf(n int64, done wire.Job) wire.Job {
	p.t.Helper()
	return wire.Job{Attempt: wire.Attempt{Job: n, No: 1, Token: wire.NewID()}, Kind: wire.JobUndo, MaxDurationSeconds: 60, Swap: &wire.SwapOrder{
		Instance: "main", Engine: fakeengine.Name, Database: target, Staged: kept(done.Attempt.Job),
		Terms: wire.SwapTerms{Keep: kept(n), Identity: p.identity(), Sessions: wire.SessionsEnd},
	}}
}

func settleOf(n int64, of wire.Job) wire.Job {
	o := of.Restore
	return wire.Job{Attempt: wire.Attempt{Job: n, No: 1, Token: wire.NewID()}, Kind: wire.JobSettle, MaxDurationSeconds: 60, Swap: &wire.SwapOrder{
		Instance: o.Instance, Engine: o.Source.Engine, Database: o.Database, Staged: o.Staging, Terms: *o.InPlace,
	}}
}

func discardOf(n int64, name string) wire.Job {
	return wire.Job{Attempt: wire.Attempt{Job: n, No: 1, Token: wire.NewID()}, Kind: wire.JobDiscard, MaxDurationSeconds: 60, Discard: &wire.DiscardOrder{
		Instance: "main", Engine: fakeengine.Name, Database: target, Kept: name,
	}}
}

// do runs a job to its report.
func (p *inPlace) do(job wire.Job) wire.Report {
	p.t.Helper()
	p.c.Run(job)
	return p.c.AwaitReport(job.Attempt)
}

// has fails the test unless these are all databases and their content.
func (p *inPlace) has(want map[string]string) {
	p.t.Helper()
	got := map[string]string{}
	for _, n := range p.e.Names() {
		content, _ := p.e.Get(n)
		switch {
		case bytes.Equal(content, p.content):
			got[n] = "backup"
		case string(content) == theirs:
			got[n] = "theirs"
		default:
			got[n] = fmt.Sprintf("%.20q", content)
		}
	}
	if !maps.Equal(got, want) {
		p.t.Fatalf("databases are %v, want %v", got, want)
	}
}

// untouched: the target is as it was, and nothing else is there.
func (p *inPlace) untouched() {
	p.t.Helper()
	p.has(map[string]string{target: "theirs"})
}

func wantSwapped(t *testing.T, r wire.Report, outcome, note string) {
	t.Helper()
	if r.Outcome != outcome || r.Swapped == nil || r.Swapped.State != wire.SwapAfter || !strings.Contains(strings.Join(r.Swapped.Notes, "; "), note) {
		t.Fatalf("got %s %+v %+v, want %s with the new content, and the note %q", r.Outcome, r.Swapped, r.Failure, outcome, note)
	}
}

// A restore in place, its undo, the undo of that, and the removal of what is kept.
func TestDaemon_InPlace(t *testing.T) {
	p := startInPlace(t)
	p.e.SetSessions(target, engine.Session{User: "web"})
	job := p.order(10)
	job.Restore.InPlace.Sessions = wire.SessionsEnd
	r := p.do(job)
	wantSwapped(t, r, wire.OutcomeRestored, "owner was carried over")
	if !r.Restored.Compared || r.Restored.Database != target || r.Restored.Rows != int64(len(p.content)) || r.Read.RawSHA256 != p.st.RawSHA256.String() ||
		r.Swapped.UnavailableMicros != 1000 || r.Swapped.Ended != 1 || r.Millis["swap"] < 0 {
		t.Fatalf("%+v %+v %+v", r.Restored, r.Read, r.Swapped)
	}
	p.has(map[string]string{target: "backup", kept(10): "theirs"})

	undo := p.undoOf(11, job)
	wantSwapped(t, p.do(undo), wire.OutcomeSettled, "owner")
	p.has(map[string]string{target: "theirs", kept(11): "backup"})
	redo := p.undoOf(12, undo)
	wantSwapped(t, p.do(redo), wire.OutcomeSettled, "owner")
	p.has(map[string]string{target: "backup", kept(12): "theirs"})
	// The same undo once more, by another attempt, is done already.
	again := redo
	again.Attempt = wire.Attempt{Job: 12, No: 2, Token: wire.NewID()}
	wantSwapped(t, p.do(again), wire.OutcomeSettled, "earlier attempt")

	for n := range int64(2) { // one that is not there is no error
		if r := p.do(discardOf(20+n, kept(12))); r.Outcome != wire.OutcomeDiscarded {
			t.Fatalf("%+v", r.Failure)
		}
		p.has(map[string]string{target: "backup"})
	}
	if p.e.Restores.Load() != 1 {
		t.Fatal("an undo has restored something")
	}
	p.c.AwaitPages(1)
	p.c.Collected(func(_ []wire.Hello, _ []wire.Heartbeat, _ []wire.Progress, _ []wire.SecurityNotice, pages []wire.Inventory) {
		if !pages[0].Instances[0].InPlace {
			t.Fatal("the inventory does not say that restores in place are allowed")
		}
	})
}

// What a lost attempt's swap came to is found out by an order of its own.
func TestDaemon_SettleOrder(t *testing.T) {
	p := startInPlace(t)
	job := p.order(10)
	p.e.Set(job.Restore.Staging, []byte("half"))
	before := settleOf(11, job)
	if r := p.do(before); r.Outcome != wire.OutcomeSettled || r.Swapped.State != wire.SwapBefore {
		t.Fatalf("%+v %+v", r, r.Failure)
	}
	p.untouched()
	wantSwapped(t, p.do(job), wire.OutcomeRestored, "")
	after := settleOf(12, job)
	wantSwapped(t, p.do(after), wire.OutcomeSettled, "")
	p.has(map[string]string{target: "backup", kept(10): "theirs"})
	// It is settled also on a host that allows no restores in place any more, and not undone there.
	undo := p.undoOf(13, job)
	must(t, p.stopped())
	p.cfg.Instances[0].Restore.InPlace = false
	p.start()
	last := settleOf(14, job)
	wantSwapped(t, p.do(last), wire.OutcomeSettled, "")
	if acc := p.c.Command(wire.VerbRun, undo); acc.Failure == nil || acc.Failure.Code != wire.CodeNotAllowed {
		t.Fatalf("%+v", acc)
	}
	p.e.Drop(target)
	p.e.Drop(kept(10))
	lost := settleOf(15, job)
	wantCode(t, p.do(lost), wire.CodeTargetChanged)
}

// Orders of swaps that make no sense, or that the host forbids, are refused and leave nothing.
func TestDaemon_InPlaceRefuses(t *testing.T) {
	p := startInPlace(t)
	p.e.Set("private_x", nil)
	restore := func(change func(*wire.RestoreOrder)) wire.Job {
		j := p.order(10)
		change(j.Restore)
		return j
	}
	undo := func(kind string, change func(*wire.SwapOrder)) wire.Job {
		j := p.undoOf(11, wire.Job{Attempt: wire.Attempt{Job: 10}})
		j.Kind = kind
		change(j.Swap)
		return j
	}
	for name, tc := range map[string]struct {
		job        wire.Job
		code, want string
	}{
		"excluded":        {restore(func(o *wire.RestoreOrder) { o.Database = "private_x" }), wire.CodeNotAllowed, "databases.exclude"},
		"target":          {restore(func(o *wire.RestoreOrder) { o.Database = kept(1) }), wire.CodeBadRequest, kept(1)},
		"kept name":       {restore(func(o *wire.RestoreOrder) { o.InPlace.Keep = "old" }), wire.CodeBadRequest, engine.KeptPrefix},
		"staging name":    {restore(func(o *wire.RestoreOrder) { o.Staging = kept(3) }), wire.CodeBadRequest, engine.StagingPrefix},
		"identity":        {restore(func(o *wire.RestoreOrder) { o.InPlace.Identity = "" }), wire.CodeBadRequest, "does not say what is to be at"},
		"sessions":        {restore(func(o *wire.RestoreOrder) { o.InPlace.Sessions = "ask" }), wire.CodeBadRequest, `"ask"`},
		"wait":            {restore(func(o *wire.RestoreOrder) { o.InPlace.WaitSeconds = 86401 }), wire.CodeBadRequest, "86401"},
		"wait backwards":  {restore(func(o *wire.RestoreOrder) { o.InPlace.WaitSeconds = -1 }), wire.CodeBadRequest, "-1"},
		"roles, no text":  {restore(func(o *wire.RestoreOrder) { o.Choices = &wire.RestoreChoices{Roles: true} }), wire.CodeBadRequest, "roles"},
		"roles, too many": {restore(func(o *wire.RestoreOrder) { o.Source.Globals = &wire.SourceObject{RawSize: 17 << 20} }), wire.CodeBadRequest, "at most 16777216"},
		"undo of staging": {undo(wire.JobUndo, func(o *wire.SwapOrder) { o.Staged = engine.StagingPrefix + "x" }), wire.CodeBadRequest, "kept by no restore"},
		"undo of theirs":  {undo(wire.JobUndo, func(o *wire.SwapOrder) { o.Staged = "shop2" }), wire.CodeBadRequest, "made by no restore"},
		"undo elsewhere":  {undo(wire.JobUndo, func(o *wire.SwapOrder) { o.Database = "private_x" }), wire.CodeNotAllowed, "databases.exclude"},
		"settle theirs":   {undo(wire.JobSettle, func(o *wire.SwapOrder) { o.Staged = "shop2" }), wire.CodeBadRequest, "made by no restore"},
		"settle keep":     {undo(wire.JobSettle, func(o *wire.SwapOrder) { o.Terms.Keep = "shop2" }), wire.CodeBadRequest, engine.KeptPrefix},
		"instance":        {undo(wire.JobUndo, func(o *wire.SwapOrder) { o.Instance = "x" }), wire.CodeUnknownInstance, `"x"`},
		"discard theirs":  {discardOf(12, target), wire.CodeBadRequest, "not removed"},
		"discard staging": {discardOf(12, engine.StagingPrefix+"x"), wire.CodeBadRequest, "not removed"},
		"no order":        {wire.Job{Attempt: wire.Attempt{Job: 1, No: 1, Token: "x"}, Kind: wire.JobUndo}, wire.CodeBadRequest, "undo"},
	} {
		t.Run(name, func(t *testing.T) {
			acc := p.c.Command(wire.VerbRun, tc.job)
			if acc.Failure == nil || acc.Failure.Code != tc.code || !strings.Contains(acc.Failure.Error(), tc.want) || acc.Failure.Retryable {
				t.Fatalf("got %+v, want %s that says %s", acc.Failure, tc.code, tc.want)
			}
		})
	}
	job := p.order(10)
	must(t, p.stopped())
	p.cfg.Instances[0].Restore.InPlace = false
	p.start()
	if acc := p.c.Command(wire.VerbRun, job); acc.Failure == nil || acc.Failure.Code != wire.CodeNotAllowed || !strings.Contains(acc.Failure.Hint, "restore.in_place: true") {
		t.Fatalf("%+v", acc)
	}
	must(t, p.stopped())
	if e := entries(t, p.cfg.StateDir); len(e) != 0 {
		t.Fatalf("the journal keeps %+v", e)
	}
}

// FAULTS 80: what stops a restore is found before a byte of the artifact is read, and the target is as it was.
func TestDaemon_TargetUnfit(t *testing.T) {
	p := startInPlace(t)
	stop := engine.Problem{Stops: true, Code: wire.CodeDiskFull, Text: "7 MiB are needed", Hint: "make room"}
	for n, tc := range []struct {
		name    string
		problem []engine.Problem
		change  func(*wire.RestoreOrder)
		code    string
		want    string
	}{
		{"unfit", []engine.Problem{{Code: "owner", Text: "by the way"}, stop, {Stops: true, Code: "x"}}, func(*wire.RestoreOrder) {}, wire.CodeTargetUnfit, "7 MiB are needed; and 1 more"},
		{"unfit for a new one", []engine.Problem{{Stops: true, Code: "missing_extension", Text: "no hstore"}}, func(o *wire.RestoreOrder) { o.Database, o.InPlace = "copy", nil }, wire.CodeTargetUnfit, "no hstore"},
		{"full for a new one", []engine.Problem{stop}, func(o *wire.RestoreOrder) { o.Database, o.InPlace = "copy", nil }, wire.CodeDiskFull, "make room"},
		{"another one", nil, func(o *wire.RestoreOrder) { o.InPlace.Identity = "memory-1/77" }, wire.CodeTargetChanged, "looked at"},
		{"in use", nil, func(*wire.RestoreOrder) { p.e.SetSessions(target, engine.Session{User: "web"}) }, wire.CodeTargetInUse, "1 sessions"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p.e.Problems = tc.problem
			defer func() { p.e.Problems = nil; p.e.SetSessions(target) }()
			job := p.order(10 + int64(n))
			tc.change(job.Restore)
			p.e.Set(job.Restore.Staging, []byte("of an earlier attempt"))
			if job.Restore.InPlace == nil || job.Restore.InPlace.Identity == "memory-1/77" {
				p.e.Drop(job.Restore.Staging)
			}
			reads := p.c.Requests(wire.VerbRead)
			r := p.do(job)
			wantCode(t, r, tc.code)
			if !strings.Contains(r.Failure.Error(), tc.want) || r.Failure.Retryable {
				t.Fatalf("%+v", r.Failure)
			}
			if p.c.Requests(wire.VerbRead) != reads {
				t.Fatal("the artifact was read all the same")
			}
			p.untouched()
		})
	}
	t.Run("gone", func(t *testing.T) {
		job := p.order(20)
		p.e.Drop(target)
		defer p.e.Set(target, []byte(theirs))
		wantCode(t, p.do(job), wire.CodeTargetChanged)
	})
}

// Each way in which a swap can end: a failure is reported only if the target is as it was.
func TestDaemon_SwapEnds(t *testing.T) {
	p := startInPlace(t)
	interrupted := wire.Failf(wire.CodeInterrupted, "connection lost in the middle")
	back := func(job wire.Job) {
		p.e.SwapErr, p.e.SwapDone, p.e.BeforeSwap, p.e.BeforeSettle = nil, false, nil, nil
		p.e.SetSessions(target)
		p.e.Set(target, []byte(theirs))
		p.e.Drop(kept(job.Attempt.Job))
	}
	t.Run("in use", func(t *testing.T) {
		job := p.order(10)
		defer back(job)
		p.e.BeforeSwap = func(context.Context) { p.e.SetSessions(target, engine.Session{User: "late"}) }
		r := p.do(job)
		wantCode(t, r, wire.CodeTargetInUse)
		if r.Failure.Stage != wire.StageSwap || r.Swapped != nil {
			t.Fatalf("%+v %+v", r.Failure, r.Swapped)
		}
		p.untouched()
	})
	t.Run("another target by now", func(t *testing.T) {
		job := p.order(11)
		p.e.BeforeSwap = func(context.Context) { p.e.Drop(target); p.e.Set(target, []byte(theirs)) }
		wantCode(t, p.do(job), wire.CodeTargetChanged)
		p.e.BeforeSwap = nil
		p.untouched()
	})
	t.Run("interrupted before", func(t *testing.T) {
		job := p.order(12)
		defer back(job)
		p.e.SwapErr = interrupted
		r := p.do(job)
		wantCode(t, r, wire.CodeInterrupted)
		if !r.Failure.Retryable || !strings.Contains(r.Failure.Message, "as it was") {
			t.Fatalf("%+v", r.Failure)
		}
		p.untouched()
	})
	t.Run("interrupted after", func(t *testing.T) {
		job := p.order(13)
		defer back(job)
		p.e.SwapErr, p.e.SwapDone = interrupted, true
		wantSwapped(t, p.do(job), wire.OutcomeRestored, "interrupted and then settled")
		p.has(map[string]string{target: "backup", kept(13): "theirs"})
	})
	t.Run("a bug", func(t *testing.T) {
		job := p.order(14)
		defer back(job)
		p.e.BeforeSwap = func(context.Context) { panic("a bug") }
		wantCode(t, p.do(job), wire.CodeInterrupted)
		p.untouched()
	})
	t.Run("the server is away meanwhile", func(t *testing.T) {
		job := p.order(15)
		defer back(job)
		p.e.SwapErr, p.e.SwapDone = interrupted, true
		var asked atomic.Int64
		p.e.BeforeSettle = func() error {
			if n := asked.Add(1); n == 2 { // the first is before anything else
				return wire.Failf(wire.CodeDatabaseDown, "connection refused")
			} else if n == 3 {
				return wire.Failf(wire.CodeTargetChanged, "this cannot be, and ends nothing")
			}
			return nil
		}
		p.c.Run(job)
		p.await("a settlement that fails", func() bool { return asked.Load() >= 2 })
		p.c.Command(wire.VerbCancel, wire.Cancel{Attempt: job.Attempt, Reason: "too late"})
		wantSwapped(t, p.c.AwaitReport(job.Attempt), wire.OutcomeRestored, "settled")
		if asked.Load() != 4 {
			t.Fatalf("it was settled %d times", asked.Load())
		}
	})
	t.Run("undo interrupted before", func(t *testing.T) {
		job := p.order(16)
		defer back(job)
		wantSwapped(t, p.do(job), wire.OutcomeRestored, "")
		p.e.SwapErr = interrupted
		undo := p.undoOf(17, job)
		r := p.do(undo)
		wantCode(t, r, wire.CodeInterrupted)
		p.has(map[string]string{target: "backup", kept(16): "theirs"}) // what an undo needs is not removed
	})
	t.Run("differs", func(t *testing.T) {
		job := p.order(18)
		defer back(job)
		p.e.Restoring = func(engine.RestoreRequest, []byte) []byte { return []byte("something else") }
		defer func() { p.e.Restoring = nil }()
		wantCode(t, p.do(job), wire.CodeFingerprint)
		p.untouched()
	})
}

// A cancellation before the swap leaves the target as it was; one during it comes too late.
func TestDaemon_InPlaceCancelled(t *testing.T) {
	p := startInPlace(t)
	cancel := func(job wire.Job) { p.c.Command(wire.VerbCancel, wire.Cancel{Attempt: job.Attempt, Reason: "enough"}) }
	t.Run("before", func(t *testing.T) {
		gate := s3kit.NewGate()
		p.c.Proxy.Add(&s3kit.Rule{Match: s3kit.And(s3kit.Op("GetObject"), s3kit.Key(p.st.Key)), Action: gate.HoldRequest()})
		defer p.c.Proxy.Reset()
		job := p.order(10)
		p.c.Run(job)
		<-gate.Arrived()
		cancel(job)
		wantCode(t, p.c.AwaitReport(job.Attempt), wire.CodeCancelled)
		p.untouched()
	})
	t.Run("after", func(t *testing.T) {
		job := p.order(11)
		job.MaxDurationSeconds = 600
		var ended error
		p.e.BeforeSwap = func(ctx context.Context) { cancel(job); ended = ctx.Err() }
		defer func() { p.e.BeforeSwap = nil }()
		wantSwapped(t, p.do(job), wire.OutcomeRestored, "")
		if ended != nil {
			t.Fatal("the swap was cancelled")
		}
		p.has(map[string]string{target: "backup", kept(11): "theirs"})
	})
}

// An order that is repeated with the same names is the same swap.
func TestDaemon_InPlaceAgain(t *testing.T) {
	p := startInPlace(t)
	job := p.order(10)
	t.Run("nothing done", func(t *testing.T) {
		p.e.Set(job.Restore.Staging, []byte("half")) // and then the attempt was lost
		reads := p.c.Requests(wire.VerbRead)
		job = p.again(job)
		wantSwapped(t, p.do(job), wire.OutcomeRestored, "")
		if p.c.Requests(wire.VerbRead) == reads || p.e.Restores.Load() != 1 {
			t.Fatal("it was not restored")
		}
		p.has(map[string]string{target: "backup", kept(10): "theirs"})
	})
	t.Run("done", func(t *testing.T) {
		p.e.Set(target, []byte("programs go on")) // the same database, with other content
		job = p.again(job)
		r := p.do(job)
		wantSwapped(t, r, wire.OutcomeRestored, "earlier attempt")
		if !r.Restored.Compared || r.Restored.Rows != int64(len(p.content)) || r.Restored.Tables != 1 || r.Read.StoredSHA256 != p.st.StoredSHA256.String() || p.e.Restores.Load() != 1 {
			t.Fatalf("%+v %+v", r.Restored, r.Read)
		}
	})
	t.Run("done, no fingerprint", func(t *testing.T) {
		job = p.again(job)
		p.c.SwapObject(job.Attempt, wire.ObjectFingerprint, "backups/nothing")
		r := p.do(job)
		wantSwapped(t, r, wire.OutcomeRestored, "earlier attempt")
		if r.Restored.Compared || !strings.Contains(r.Restored.Warnings, "not counted") {
			t.Fatalf("%+v", r.Restored)
		}
	})
	t.Run("not to be told", func(t *testing.T) {
		var asked atomic.Int64
		p.e.BeforeSettle = func() error {
			if asked.Add(1) == 1 {
				return wire.Failf(wire.CodeDatabaseDown, "connection refused").Retry()
			}
			return nil
		}
		defer func() { p.e.BeforeSettle = nil }()
		job = p.again(job) // an earlier attempt may have done it: this one waits until it knows
		wantSwapped(t, p.do(job), wire.OutcomeRestored, "earlier attempt")
		first := p.order(20) // before this one there was none
		asked.Store(0)
		wantCode(t, p.do(first), wire.CodeDatabaseDown)
		p.e.BeforeSettle = func() error { return wire.Failf(wire.CodeAuth, "password refused") } // waiting would not help
		job = p.again(job)
		wantCode(t, p.do(job), wire.CodeAuth)
	})
}

// One at a time works on a swap's databases.
func TestDaemon_InPlaceBusy(t *testing.T) {
	p := prepareInPlace(t)
	p.cfg.Concurrency = 8
	p.begin()
	job := p.order(10)
	hold, held := make(chan struct{}), make(chan struct{})
	p.e.BeforeSwap = func(context.Context) { close(held); <-hold }
	p.c.Run(job)
	<-held
	p.c.Run(job) // the same attempt is accepted, and not run again
	for name, other := range map[string]wire.Job{
		"next attempt": p.again(job), "settle": settleOf(11, job), "discard": discardOf(12, kept(10)), "same target": p.order(13),
		"undo": p.undoOf(14, job), // of what this one keeps
	} {
		if acc := p.c.Command(wire.VerbRun, other); acc.Failure == nil || acc.Failure.Code != wire.CodeBusy || !acc.Failure.Retryable {
			t.Errorf("%s: %+v", name, acc.Failure)
		}
	}
	free := discardOf(15, kept(99))
	p.c.Run(free)
	close(hold)
	wantSwapped(t, p.c.AwaitReport(job.Attempt), wire.OutcomeRestored, "")
	p.e.BeforeSwap = nil
	p.await("the end", func() bool { return p.c.Command(wire.VerbRun, p.again(job)).Failure == nil })
	if p.e.Swaps.Load() != 1 {
		t.Fatalf("%d swaps", p.e.Swaps.Load())
	}
}

// An agent that stops while it cannot tell what is at the target says nothing; its next start finds out.
func TestDaemon_StopsUnsettled(t *testing.T) {
	p := prepareInPlace(t)
	p.cfg.Limits.Drain = config.Duration(10 * time.Millisecond)
	p.begin()
	job := p.order(10)
	p.e.SwapErr, p.e.SwapDone = wire.Failf(wire.CodeInterrupted, "connection lost"), true
	var asked atomic.Int64
	p.e.BeforeSettle = func() error {
		if asked.Add(1) > 1 {
			return errors.New("the server does not answer")
		}
		return nil
	}
	p.c.Run(job)
	p.await("a settlement that fails", func() bool { return asked.Load() > 1 })
	must(t, p.stopped())
	if e := entries(t, p.cfg.StateDir); len(e) != 1 || e[0].Publishing == nil || e[0].Report != nil || len(p.c.Reports(job.Attempt)) != 0 {
		t.Fatalf("the journal has %+v, and reported is %+v", e, p.c.Reports(job.Attempt))
	}
	// The server is away at first. The controllers give the attempt up; it is settled all the same.
	p.e.SwapErr, p.e.BeforeSettle = nil, nil
	p.e.Down.Store(true)
	unlock := p.c.Lock()
	p.c.Welcome.Drop = []wire.Attempt{job.Attempt}
	unlock()
	p.start()
	next := p.again(job)
	if acc := p.c.Command(wire.VerbRun, next); acc.Failure == nil || acc.Failure.Code != wire.CodeBusy {
		t.Fatalf("accepted before it was settled: %+v", acc)
	}
	p.e.Down.Store(false)
	wantSwapped(t, p.c.AwaitReport(job.Attempt), wire.OutcomeRestored, "settled")
	p.await("the next attempt", func() bool { return p.c.Command(wire.VerbRun, next).Failure == nil })
	wantSwapped(t, p.c.AwaitReport(next.Attempt), wire.OutcomeRestored, "earlier attempt")
	p.has(map[string]string{target: "backup", kept(10): "theirs"})
}

// A swap that waits for sessions does not keep the agent from stopping.
func TestDaemon_StopsDuringSwap(t *testing.T) {
	p := startInPlace(t)
	job := p.order(10)
	held := make(chan struct{})
	p.e.BeforeSwap = func(ctx context.Context) { close(held); <-ctx.Done() }
	p.c.Run(job)
	<-held
	must(t, p.stopped())
	r := p.c.AwaitReport(job.Attempt)
	wantCode(t, r, wire.CodeInterrupted)
	if !r.Failure.Retryable {
		t.Fatal("it would not be tried again")
	}
	p.untouched()
}

// FAULTS 79: what a crash left of a swap is settled by the next start.
func TestDaemon_InPlaceCrash(t *testing.T) {
	identity := "memory-1/1"
	restore := wire.Job{Attempt: wire.Attempt{Job: 1, No: 1, Token: "a"}, Kind: wire.JobRestore, Restore: &wire.RestoreOrder{
		Source: wire.Source{Engine: fakeengine.Name}, Instance: "main", Database: target, Staging: engine.StagingPrefix + "1_a",
		InPlace: &wire.SwapTerms{Keep: kept(1), Identity: identity, Sessions: wire.SessionsRefuse},
	}}
	undo := wire.Job{Attempt: wire.Attempt{Job: 2, No: 1, Token: "b"}, Kind: wire.JobUndo, Swap: &wire.SwapOrder{
		Instance: "main", Engine: fakeengine.Name, Database: target, Staged: kept(9), Terms: wire.SwapTerms{Keep: kept(2), Identity: identity},
	}}
	settle, discard := settleOf(3, restore), discardOf(4, kept(9))
	gone := restore
	gone.Attempt.Job = 5
	gone.Restore = &wire.RestoreOrder{Source: wire.Source{Engine: fakeengine.Name}, Instance: "removed", Database: target, Staging: engine.StagingPrefix + "5_a", InPlace: restore.Restore.InPlace}
	after := &wire.SwapResult{State: wire.SwapAfter}
	for name, tc := range map[string]struct {
		job        wire.Job
		publishing bool
		swapped    bool // before the crash
		changed    bool // by somebody else
		refused    bool // the account that settles
		outcome    string
		has        map[string]string
	}{
		"restore, filling":      {restore, false, false, false, false, "", map[string]string{target: "theirs"}},
		"restore, changed":      {restore, false, false, true, false, "", map[string]string{target: "theirs"}},
		"restore, refused":      {restore, false, false, false, true, "", map[string]string{target: "theirs"}},
		"restore, before":       {restore, true, false, false, false, wire.OutcomeFailed, map[string]string{target: "theirs"}},
		"restore, after":        {restore, true, true, false, false, wire.OutcomeRestored, map[string]string{target: "backup", kept(1): "theirs"}},
		"restore, record lost":  {restore, false, true, false, false, "", map[string]string{target: "backup", kept(1): "theirs"}},
		"undo, begun":           {undo, false, false, false, false, "", map[string]string{target: "theirs", kept(9): "backup"}},
		"undo, before":          {undo, true, false, false, false, wire.OutcomeFailed, map[string]string{target: "theirs", kept(9): "backup"}},
		"undo, after":           {undo, true, true, false, false, wire.OutcomeSettled, map[string]string{target: "backup", kept(2): "theirs"}},
		"settle":                {settle, false, false, false, false, "", map[string]string{target: "theirs"}},
		"discard":               {discard, false, false, false, false, "", map[string]string{target: "theirs"}},
		"instance of old times": {gone, true, false, false, false, "", map[string]string{target: "theirs"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &inPlace{agent: prepareWith(t, control.StartWith(t, nil)), content: []byte("of the backup")}
			j, err := journal.Open(p.cfg.StateDir)
			must(t, err)
			must(t, j.Accept(tc.job))
			if tc.publishing {
				outcome := wire.OutcomeRestored
				if tc.job.Kind == wire.JobUndo {
					outcome = wire.OutcomeSettled
				}
				must(t, j.Publishing(wire.Report{Attempt: tc.job.Attempt, Outcome: outcome, Swapped: after, Log: "said"}))
			}
			must(t, j.Close())
			p.e.Set(target, []byte(theirs))
			if tc.changed {
				p.e.Drop(target)
				p.e.Set(target, []byte(theirs))
			}
			staged, terms := "", wire.SwapTerms{}
			switch {
			case tc.job.Restore != nil && tc.job.Restore.Instance == "main":
				staged, terms = tc.job.Restore.Staging, *tc.job.Restore.InPlace
			case tc.job.Kind == wire.JobUndo:
				staged, terms = tc.job.Swap.Staged, tc.job.Swap.Terms
			}
			if staged != "" {
				p.e.Set(staged, p.content)
			}
			if tc.swapped {
				_, err := p.e.Swap(t.Context(), engine.SwapRequest{Staged: staged, Target: target, Keep: terms.Keep, Identity: terms.Identity})
				must(t, err)
			}
			if tc.refused {
				p.e.BeforeSettle = func() error { return wire.Failf(wire.CodeAuth, "password refused") }
			}
			p.start()
			held := p.c.AwaitHello(1).Attempts
			if want := tc.outcome != ""; slices.Contains(held, tc.job.Attempt) != want || len(held) > 1 {
				t.Fatalf("held are %+v", held)
			}
			if tc.outcome != "" {
				r := p.c.AwaitReport(tc.job.Attempt)
				if r.Outcome != tc.outcome || r.Log != "said" {
					t.Fatalf("%+v %+v", r, r.Failure)
				}
				if tc.outcome == wire.OutcomeFailed && (r.Failure.Code != wire.CodeInterrupted || !r.Failure.Retryable || r.Swapped != nil || !strings.Contains(r.Failure.Message, "as it was")) {
					t.Fatalf("%+v", r.Failure)
				}
				if tc.outcome != wire.OutcomeFailed && r.Swapped.State != wire.SwapAfter {
					t.Fatalf("%+v", r.Swapped)
				}
			}
			must(t, p.stopped())
			p.has(tc.has)
			if e := entries(t, p.cfg.StateDir); len(e) != 0 && tc.outcome == "" {
				t.Fatalf("the journal keeps %+v", e)
			}
		})
	}
}

// tables are described by the lines of a database: schema, table, rows.
func tables(content []byte) *wire.Fingerprint {
	f := &wire.Fingerprint{Engine: fakeengine.Name, Exact: true, Counts: map[string]int64{"views": int64(len(content))}}
	for line := range strings.Lines(string(content)) {
		var t wire.TableCount
		if _, err := fmt.Sscan(line, &t.Schema, &t.Name, &t.Rows); err == nil {
			f.Tables = append(f.Tables, t)
		}
	}
	return f
}

// Choices reach the engine, the roles as they were backed up. Of a selection, its tables and what came with them are compared.
func TestDaemon_Choices(t *testing.T) {
	a := prepare(t)
	a.e.Describe = tables
	a.e.Set("shop", []byte("app orders 7\napp lines 9\nlog lines 5\n"))
	a.start()
	from, st := a.backup(1)
	restore := func(n int64, choices wire.RestoreChoices, restored string) (wire.Job, wire.Report) {
		t.Helper()
		job := a.restoreJob(n, st, from, fmt.Sprintf("copy%d", n))
		job.Restore.Choices = &choices
		if choices.Roles {
			job.Restore.Source.Globals = a.c.Globals(job.Attempt, st, from, a.secret, public(t, a))
		}
		a.e.Restoring = func(_ engine.RestoreRequest, dump []byte) []byte {
			if restored != "" {
				return []byte(restored)
			}
			return dump
		}
		a.c.Run(job)
		return job, a.c.AwaitReport(job.Attempt)
	}
	all := wire.RestoreChoices{Owners: true, Privileges: true, Roles: true, Definers: "keep", Jobs: 3}
	_, r := restore(10, all, "")
	if req := a.e.Request.Load(); r.Outcome != wire.OutcomeRestored || !r.Restored.Compared || string(req.Roles) != "CREATE ROLE x;\n" || !req.Owners || !req.Privileges || req.Definers != "keep" || req.Jobs != 3 {
		t.Fatalf("%+v %+v %+v", r, r.Failure, a.e.Request.Load())
	}
	if _, r = restore(11, wire.RestoreChoices{}, ""); r.Outcome != wire.OutcomeRestored || a.e.Request.Load().Roles != nil || a.e.Request.Load().Owners {
		t.Fatalf("%+v %+v", r.Failure, a.e.Request.Load())
	}
	for n, tc := range []struct {
		only     []wire.Selection
		restored string
		rows     int64
		differs  string
	}{
		{[]wire.Selection{{Schema: "app"}}, "app orders 7\napp lines 9\n", 16, ""},
		{[]wire.Selection{{Schema: "app", Table: "orders"}}, "app orders 7\n", 7, ""},
		{[]wire.Selection{{Schema: "app", Table: "orders"}}, "app orders 7\nlog lines 5\n", 12, ""}, // something else came with it
		{[]wire.Selection{{Table: "lines"}}, "app lines 9\nlog lines 5\n", 14, ""},
		{[]wire.Selection{{Schema: "app"}}, "app orders 7\n", 0, `"app"."lines": missing`},
		{[]wire.Selection{{Schema: "app", Table: "orders"}}, "app orders 6\n", 0, "6 rows, 7 expected"},
		{[]wire.Selection{{Schema: "app", Table: "orders"}}, "app orders 7\nlog lines 4\n", 0, "4 rows, 5 expected"},
		{[]wire.Selection{{Schema: "app", Table: "orders"}}, "app orders 7\napp x 1\n", 0, "not in the backup"},
		{nil, "app orders 7\n", 0, "missing"},
	} {
		job, r := restore(20+int64(n), wire.RestoreChoices{Only: tc.only}, tc.restored)
		if tc.differs != "" {
			wantCode(t, r, wire.CodeFingerprint)
			if !strings.Contains(r.Failure.Message, tc.differs) {
				t.Errorf("%d: %s", n, r.Failure.Message)
			}
			continue
		}
		if r.Outcome != wire.OutcomeRestored || !r.Restored.Compared || r.Restored.Rows != tc.rows || !strings.Contains(r.Restored.Warnings, "only its tables were compared") {
			t.Errorf("%d: %+v %+v", n, r.Failure, r.Restored)
		}
		if got := a.e.Request.Load().Only; len(got) != len(tc.only) || got[0].Table != job.Restore.Choices.Only[0].Table {
			t.Errorf("%d: the engine was told %+v", n, got)
		}
	}
	t.Run("roles gone", func(t *testing.T) {
		job := a.restoreJob(50, st, from, "copy50")
		job.Restore.Choices = &all
		job.Restore.Source.Globals = a.c.Globals(job.Attempt, st, from, a.secret, public(t, a))
		a.c.SwapObject(job.Attempt, wire.ObjectGlobals, "backups/nothing")
		a.c.Run(job)
		wantCode(t, a.c.AwaitReport(job.Attempt), wire.CodeMissing)
	})
	t.Run("other roles", func(t *testing.T) {
		job := a.restoreJob(51, st, from, "copy51")
		job.Restore.Choices = &all
		job.Restore.Source.Globals = a.c.Globals(job.Attempt, st, from, a.secret, public(t, a))
		a.c.SwapObject(job.Attempt, wire.ObjectGlobals, artifact.FingerprintKey(st.Key, st.Codec))
		a.c.Run(job)
		r := a.c.AwaitReport(job.Attempt)
		wantCode(t, r, wire.CodeCorrupt)
	})
	a.noStaging()
}

// A look at a target tells what is there and what would stop a restore, by the engine and by this host's configuration.
func TestDaemon_Inspect(t *testing.T) {
	p := prepareInPlace(t)
	p.cfg.Concurrency = 1
	token := p.slow()
	p.start()
	order := wire.InspectOrder{Instance: "main", Engine: fakeengine.Name, Database: target, InPlace: true, Sessions: wire.SessionsRefuse}
	// Beside a job that runs.
	p.c.Run(p.backupJob(1))
	defer close(token)
	r := p.c.Inspect(order)
	if r.Failure != nil || r.Session != p.d.Session() || r.V != wire.Version {
		t.Fatalf("%+v", r)
	}
	if got := r.Target; !got.Exists || got.Identity != "memory-1/1" || got.ServerIdentity != "memory-1" || got.ServerVersion != "1.0" || got.Tables != 1 ||
		got.SizeBytes != partSize+1000 || got.FreeBytes != -1 || got.Owner != "owner" || got.SessionCount != 0 || len(got.Problems) != 0 {
		t.Fatalf("%+v", got)
	}
	var sessions []engine.Session
	for n := range 30 {
		sessions = append(sessions, engine.Session{User: fmt.Sprint("u", n), Application: strings.Repeat("é", 1000), Client: "10.0.0.1", Since: time.Unix(1_700_000_000, 5), State: "idle"})
	}
	p.e.SetSessions(target, sessions...)
	p.e.Problems = []engine.Problem{{Code: "owner", Text: "by the way, postgres://u:hunter2@h/x", Hint: "see"}}
	for range 60 {
		p.e.Problems = append(p.e.Problems, engine.Problem{Stops: true, Code: "x", Text: strings.Repeat("\x01", 5000), Hint: strings.Repeat("h", 5000)})
	}
	r = p.c.Inspect(order)
	if r.Failure != nil {
		t.Fatal(r.Failure)
	}
	got := r.Target
	if got.SessionCount != 30 || len(got.Sessions) != 20 || got.Sessions[1].User != "u1" || got.Sessions[0].Since != 1_700_000_000 || len(got.Sessions[0].Application) > 300 {
		t.Fatalf("%d sessions, %d listed, %+v", got.SessionCount, len(got.Sessions), got.Sessions[0])
	}
	if len(got.Problems) == 0 || len(got.Problems) > 50 || !got.Problems[0].Stops || len(got.Problems[0].Text) > 3000 {
		t.Fatalf("%d problems", len(got.Problems))
	}
	p.e.Problems = p.e.Problems[:1]
	if r = p.c.Inspect(order); len(r.Target.Problems) != 2 || r.Target.Problems[0].Code != wire.CodeTargetInUse || strings.Contains(r.Target.Problems[1].Text, "hunter2") {
		t.Fatalf("%+v", r.Target.Problems)
	}
	p.e.Problems = nil
	order.Sessions = wire.SessionsEnd
	if r = p.c.Inspect(order); len(r.Target.Problems) != 0 {
		t.Fatalf("%+v", r.Target.Problems)
	}
	absent := order
	absent.Database, absent.InPlace = "copy", false
	if r = p.c.Inspect(absent); r.Failure != nil || r.Target.Exists || r.Target.Identity != "" || len(r.Target.Problems) != 0 {
		t.Fatalf("%+v", r)
	}
	private := order
	private.Database = "private_x"
	if r = p.c.Inspect(private); r.Failure != nil || r.Target.Problems[0].Code != wire.CodeNotAllowed {
		t.Fatalf("%+v", r)
	}
	fails := func(change func(*wire.InspectOrder), code string) {
		t.Helper()
		o := order
		change(&o)
		if r := p.c.Inspect(o); r.Failure == nil || r.Failure.Code != code || r.Target != nil {
			t.Errorf("got %+v, want %s", r.Failure, code)
		}
	}
	fails(func(o *wire.InspectOrder) { o.Instance = "x" }, wire.CodeUnknownInstance)
	fails(func(o *wire.InspectOrder) { o.Engine = "mysql" }, wire.CodeUnknownInstance)
	fails(func(o *wire.InspectOrder) { o.Sessions = "ask" }, wire.CodeBadRequest)
	p.e.Down.Store(true)
	fails(func(*wire.InspectOrder) {}, wire.CodeDatabaseDown)
	p.e.Down.Store(false)
	must(t, p.stopped())
	p.cfg.Instances[0].Restore.InPlace = false
	p.start()
	if r = p.c.Inspect(order); !r.Target.Exists || len(r.Target.Problems) != 1 || r.Target.Problems[0].Code != wire.CodeNotAllowed || !strings.Contains(r.Target.Problems[0].Hint, "restore.in_place") {
		t.Fatalf("%+v", r.Target)
	}
}
