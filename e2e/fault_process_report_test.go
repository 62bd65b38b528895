package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

// TestFault_LateReports says everything again, in the wrong order, and after the end: a terminal state never changes.
func TestFault_LateReports(t *testing.T) {
	t.Parallel()
	w := newFaultWorld(t, faultOptions{timing: map[string]any{"max_attempts": 1}})
	e := newEvil(t, faultContext(t), w, "late")
	e.come(faultContext(t), "records")

	ordered := func(t *testing.T, ctx context.Context) (stack.Backup, wire.Job) {
		b := w.order(t, ctx, "records", map[string]any{"encryption": "none", "compression": "none"})
		select {
		case job := <-e.jobs:
			return b, job
		case <-ctx.Done():
			t.Fatal("no order came")
			return b, wire.Job{}
		}
	}
	failure := func(a wire.Attempt) wire.Report {
		return wire.Report{Attempt: a, Outcome: wire.OutcomeFailed, Failure: wire.Failf(wire.CodeToolFailed, "late").Retry()}
	}

	w.fault(t, "19/after a backup is completed", func(t *testing.T, ctx context.Context) {
		b, job := ordered(t, ctx)
		data := bytes.Repeat([]byte("row\n"), 1000)
		if err := e.upload(ctx, job, data, func(st *artifact.Statement) { st.RawSize = int64(len(data)) }); err != nil {
			t.Fatal(err)
		}
		w.completed(t, ctx, b.ID, "completed")
		uploaded := wire.Report{Attempt: job.Attempt, Outcome: wire.OutcomeUploaded, Statement: w.statement(t, ctx, b.JobID)}
		before := w.historySize(t, ctx)
		stale := w.events(t, ctx, "stale_attempt")

		for i := range 100 { // 17: the same report again and again
			if err := e.request(ctx, wire.VerbReport, uploaded, nil); err != nil {
				t.Fatalf("repetition %d of the report: %v", i+1, err)
			}
		}
		// Another outcome of an attempt that was reported is taken for a repetition: it changes nothing.
		for _, r := range []wire.Report{failure(job.Attempt), {Attempt: job.Attempt, Outcome: wire.OutcomeRestored, Restored: &wire.RestoreResult{Database: "x"}}} {
			if err := e.request(ctx, wire.VerbReport, r, nil); err != nil && !wire.HasCode(err, wire.CodeStale) {
				t.Errorf("report %q that came after the end: %v", r.Outcome, err)
			}
		}
		if _, err := e.grant(ctx, part(job.Attempt, data)); !wire.HasCode(err, wire.CodeStale) {
			t.Errorf("a part that came after the end: %v", err)
		}
		if w.events(t, ctx, "stale_attempt") == stale {
			t.Error("the refusal was not counted")
		}
		w.sayRunning(t, ctx, e, job.Attempt)
		var welcome wire.Welcome
		hello := wire.Hello{Protocol: wire.Version, AgentVersion: "late", Concurrency: 4, InventoryHash: "1", Attempts: []wire.Attempt{job.Attempt}}
		if err := e.request(ctx, wire.VerbHello, hello, &welcome); err != nil || !slices.Equal(welcome.Drop, hello.Attempts) {
			t.Errorf("an agent that still holds the attempt is told %+v, %v", welcome, err)
		}
		if now := w.historySize(t, ctx); now != before {
			t.Errorf("%d states changed after the end", now-before)
		}
		var shown struct{ Progress any }
		if err := w.ctl.API(ctx, http.MethodGet, fmt.Sprintf("/backups/%d", b.ID), nil, &shown); err != nil || shown.Progress != nil {
			t.Errorf("a completed backup shows progress %v, %v", shown.Progress, err)
		}
	})
	w.fault(t, "19/after a backup has failed", func(t *testing.T, ctx context.Context) {
		b, job := ordered(t, ctx)
		e.giveUp(ctx, b, job)
		before := w.historySize(t, ctx)
		for i := range 100 {
			if err := e.request(ctx, wire.VerbReport, failure(job.Attempt), nil); err != nil {
				t.Fatalf("repetition %d of the report: %v", i+1, err)
			}
		}
		data := []byte("late")
		if _, err := e.grant(ctx, part(job.Attempt, data)); !wire.HasCode(err, wire.CodeStale) {
			t.Errorf("a part that came after the end: %v", err)
		}
		uploaded := wire.Report{Attempt: job.Attempt, Outcome: wire.OutcomeUploaded, Statement: []byte(`{}`)}
		if err := e.request(ctx, wire.VerbReport, uploaded, nil); !wire.HasCode(err, wire.CodeStale) {
			t.Errorf("a completion that came after the failure: %v", err)
		}
		w.sayRunning(t, ctx, e, job.Attempt)
		if now := w.historySize(t, ctx); now != before {
			t.Errorf("%d states changed after the end", now-before)
		}
	})
}

// sayRunning publishes that an attempt runs until the controller has written such a heartbeat.
func (w *faultWorld) sayRunning(t *testing.T, ctx context.Context, e *evilAgent, a wire.Attempt) {
	t.Helper()
	p := wire.Progress{V: wire.Version, Session: e.session, Attempt: a, Stage: wire.StageDump, RawBytes: 1}
	// It is known by the name of its host.
	beat := wire.Heartbeat{V: wire.Version, Session: e.session, Host: wire.Host{Hostname: a.Token}, Running: []wire.Progress{p}}
	if err := stack.Within(ctx, time.Minute, "the heartbeat is written", func(ctx context.Context) (bool, error) {
		for verb, body := range map[string]any{wire.VerbProgress: p, wire.VerbHeartbeat: beat} {
			b, err := wire.Encode(body)
			if err == nil {
				err = e.nc.Publish(wire.ControllerSubject(e.server, verb), b)
			}
			if err != nil {
				return false, err
			}
		}
		rows, err := w.catalog.Rows(ctx, "SELECT 1 FROM servers WHERE agent_id = $1 AND host->>'hostname' = $2", e.server, a.Token)
		return len(rows) == 1, err
	}); err != nil {
		t.Fatal(err)
	}
}

// historySize is how many states the catalog's rows have had.
func (w *faultWorld) historySize(t *testing.T, ctx context.Context) (n int) {
	t.Helper()
	conn, err := w.catalog.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := conn.QueryRow(ctx, "SELECT count(*) FROM stack.history").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// statement is the signed statement of a job's newest attempt.
func (w *faultWorld) statement(t *testing.T, ctx context.Context, job int64) (b []byte) {
	t.Helper()
	conn, err := w.catalog.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := conn.QueryRow(ctx, "SELECT statement FROM attempts WHERE job_id = $1 ORDER BY no DESC LIMIT 1", job).Scan(&b); err != nil {
		t.Fatal(err)
	}
	return b
}
