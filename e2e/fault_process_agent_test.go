package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
)

var agentSites = []string{
	"agent.accepted", "agent.dump_started", "agent.part_acked", "agent.all_parts_uploaded", "agent.report_sent_before_ack",
	"agent.restore_before_publish", "agent.restore_after_publish",
}

// TestFault_Agent kills, pauses, stops and doubles the agent at each point of its work.
func TestFault_Agent(t *testing.T) {
	t.Parallel()
	w := newFaultWorld(t, faultOptions{
		sites:  agentSites,
		timing: map[string]any{"lease": "3s", "lease_max": "6s"},
		limits: map[string]any{"drain": "4s"},
	})

	for _, tc := range []struct {
		fault    int
		site, db string
		attempts []string
	}{
		{1, "agent.accepted", small, []string{"completed"}}, // nobody heard that it was accepted: it is offered again
		{2, "agent.dump_started", big, []string{"lost", "completed"}},
		{3, "agent.part_acked", big, []string{"lost", "completed"}},
		{4, "agent.all_parts_uploaded", small, []string{"lost", "completed"}},
		{5, "agent.report_sent_before_ack", small, []string{"completed"}},
	} {
		w.fault(t, fmt.Sprintf("%d/%s", tc.fault, tc.site), func(t *testing.T, ctx context.Context) {
			fired := w.arm(t, tc.site)
			b := w.order(t, ctx, tc.db, nil)
			died(t, ctx, w.agent.Process(), fired)
			w.noTool(t, ctx)
			w.restartAgent(t, ctx)
			w.completed(t, ctx, b.ID, tc.attempts...)
		})
	}
	w.fault(t, "2/kill -9 in the middle of a dump", w.killInDump)
	w.fault(t, "2/kill -9 while the dump waits for a lock", w.killInLock)
	w.fault(t, "6/paused for longer than its lease", w.pauseAndGoOn)
	w.fault(t, "6/paused until it is given up", w.pauseUntilLost)
	w.fault(t, "7/SIGTERM, the job ends in time", w.drainInTime)
	w.fault(t, "7/SIGTERM, the job takes too long", w.drainTooLate)
	w.fault(t, "8/dies at each start", w.dieAtEachStart)
	w.fault(t, "9/the same identity started twice", w.cloned)
	w.fault(t, "79/killed before a restore is published", func(t *testing.T, ctx context.Context) {
		w.killInRestore(t, ctx, "agent.restore_before_publish", "lost", "completed")
	})
	w.fault(t, "79/killed after a restore is published", func(t *testing.T, ctx context.Context) {
		w.killInRestore(t, ctx, "agent.restore_after_publish", "completed")
	})
	w.fault(t, "cancel while it dumps", func(t *testing.T, ctx context.Context) { w.cancelBackup(t, ctx, big, "dump", 3) })
	w.fault(t, "cancel while it uploads", func(t *testing.T, ctx context.Context) { w.cancelBackup(t, ctx, small, "upload", 1) })
	w.fault(t, "cancel while it restores", w.cancelRestore)
	w.fault(t, "max_duration", w.maxDuration)
}

func (w *faultWorld) restartAgent(t *testing.T, ctx context.Context) {
	t.Helper()
	from := logSize(t, w.agent.LogFile())
	if err := w.agent.Start(); err != nil {
		t.Fatal(err)
	}
	logged(t, ctx, w.agent.LogFile(), from, "controllers know this session")
}

// dumpHeld orders a backup of big and waits until its dump stands still because the store takes nothing.
func (w *faultWorld) dumpHeld(t *testing.T, ctx context.Context) (stack.Backup, func()) {
	t.Helper()
	g, rule := w.gate(t, "UploadPart")
	b := w.order(t, ctx, big, nil)
	arrived(t, ctx, g, 3)
	if _, err := w.agent.AwaitChild(ctx, "pg_dump"); err != nil {
		t.Fatal(err)
	}
	if rule.Fired() == 0 {
		t.Fatal("no part was held")
	}
	return b, func() { w.s3.Proxy.Reset(); g.Open() }
}

func (w *faultWorld) killInDump(t *testing.T, ctx context.Context) {
	b, open := w.dumpHeld(t, ctx)
	if err := w.agent.Kill(); err != nil {
		t.Fatal(err)
	}
	w.noTool(t, ctx)
	open()
	w.restartAgent(t, ctx)
	w.completed(t, ctx, b.ID, "lost", "completed")
}

// killInLock kills the agent while its tool writes nothing: no broken pipe ends the tool.
func (w *faultWorld) killInLock(t *testing.T, ctx context.Context) {
	conn, err := w.postgres.Connect(ctx, small)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "BEGIN; LOCK TABLE people IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	b := w.order(t, ctx, small, nil)
	if _, err := w.agent.AwaitChild(ctx, "pg_dump"); err != nil {
		t.Fatal(err)
	}
	if err := w.agent.Kill(); err != nil {
		t.Fatal(err)
	}
	w.noTool(t, ctx)
	if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	w.restartAgent(t, ctx)
	w.completed(t, ctx, b.ID, "lost", "completed")
}

func (w *faultWorld) pauseAndGoOn(t *testing.T, ctx context.Context) {
	b, open := w.dumpHeld(t, ctx)
	if err := w.agent.Process().Pause(); err != nil {
		t.Fatal(err)
	}
	w.until(t, ctx, b.JobID, "is suspect", func(j faultJob) bool { return j.Attempts[0].Suspect })
	if err := w.agent.Process().Continue(); err != nil {
		t.Fatal(err)
	}
	w.until(t, ctx, b.JobID, "is suspect no more", func(j faultJob) bool { return !j.Attempts[0].Suspect })
	open()
	w.completed(t, ctx, b.ID, "completed")
}

func (w *faultWorld) pauseUntilLost(t *testing.T, ctx context.Context) {
	b, open := w.dumpHeld(t, ctx)
	stale := w.events(t, ctx, "stale_attempt")
	if err := w.agent.Process().Pause(); err != nil {
		t.Fatal(err)
	}
	w.until(t, ctx, b.JobID, "has lost its first attempt", func(j faultJob) bool { return j.Attempts[0].Status == "lost" })
	if err := w.agent.Process().Continue(); err != nil {
		t.Fatal(err)
	}
	open()
	w.completed(t, ctx, b.ID, "lost", "completed")
	if now := w.events(t, ctx, "stale_attempt"); now == stale {
		t.Error("nothing that the first attempt said was refused")
	}
}

func (w *faultWorld) drainInTime(t *testing.T, ctx context.Context) {
	g, _ := w.gate(t, "UploadPart")
	b := w.order(t, ctx, small, nil)
	arrived(t, ctx, g, 1)
	from := logSize(t, w.agent.LogFile())
	if err := w.agent.Process().Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	logged(t, ctx, w.agent.LogFile(), from, "waiting for running jobs")
	g.Open()
	if err := w.agent.Process().Wait(ctx, 20*time.Second); err != nil || w.agent.Process().ExitCode() != 0 {
		t.Fatalf("the agent ended with status %d, %v", w.agent.Process().ExitCode(), err)
	}
	w.completed(t, ctx, b.ID, "completed") // without the agent
	w.restartAgent(t, ctx)
}

func (w *faultWorld) drainTooLate(t *testing.T, ctx context.Context) {
	b, open := w.dumpHeld(t, ctx)
	if err := w.agent.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	w.noTool(t, ctx)
	open()
	j := w.until(t, ctx, b.JobID, "has ended its first attempt", func(j faultJob) bool { return j.Attempts[0].Status == "failed" })
	if f := j.Attempts[0].Failure; f == nil || f.Code != "interrupted" {
		t.Errorf("the first attempt failed with %+v, not as interrupted", f)
	}
	w.restartAgent(t, ctx)
	w.completed(t, ctx, b.ID, "failed", "completed")
}

func (w *faultWorld) dieAtEachStart(t *testing.T, ctx context.Context) {
	var b stack.Backup
	for try := range 3 { // as many attempts as a job has
		fired := w.arm(t, "agent.dump_started")
		if try == 0 {
			b = w.order(t, ctx, small, nil)
		} else {
			w.restartAgent(t, ctx)
		}
		died(t, ctx, w.agent.Process(), fired)
	}
	w.restartAgent(t, ctx)
	failed, err := w.ctl.AwaitBackup(ctx, b.ID, "failed", 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if failed.ErrorCode != "lost" {
		t.Errorf("the backup failed with %s: %s", failed.ErrorCode, failed.ErrorMessage)
	}
	w.attempts(t, ctx, b.JobID, "lost", "lost", "lost")
}

// cloned copies the state directory while a dump runs and starts an agent on the copy, as a cloned machine would.
func (w *faultWorld) cloned(t *testing.T, ctx context.Context) {
	b, open := w.dumpHeld(t, ctx)
	clone, err := w.NewAgent("clone", stack.AgentOptions{Servers: map[string]stack.Server{"main": w.postgres}, Limits: map[string]any{"discovery_every": "10s"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(clone.Dir, os.DirFS(w.agent.Dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(clone.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"identity.json", "journal"} {
		if err := os.Chmod(filepath.Join(clone.Dir, file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := w.events(t, ctx, "duplicate_agent")
	original := w.agent.Process()
	if err := clone.Start(); err != nil {
		t.Fatal(err)
	}
	w.until(t, ctx, b.JobID, "has lost its first attempt", func(j faultJob) bool { return j.Attempts[0].Status == "lost" })
	open()
	w.completed(t, ctx, b.ID, "lost", "completed")
	if err := original.Wait(ctx, 30*time.Second); err != nil {
		t.Fatalf("the superseded agent goes on: %v", err)
	}
	if original.ExitCode() == 0 {
		t.Error("the superseded agent ended with status 0: its service would not be shown as failed")
	}
	if now := w.events(t, ctx, "duplicate_agent"); now == before {
		t.Error("no alarm says that there are two agents")
	}
	if err := clone.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	w.restartAgent(t, ctx)
}

// restorable is the newest completed backup of small.
func (w *faultWorld) restorable(t *testing.T, ctx context.Context) stack.Backup {
	t.Helper()
	b := w.order(t, ctx, small, nil)
	w.completed(t, ctx, b.ID, "completed")
	return b
}

type faultRestore struct {
	ID           int64
	JobID        int64 `json:"job_id"`
	Status       string
	ErrorCode    string `json:"error_code"`
	DatabaseName string `json:"database_name"`
}

func (w *faultWorld) orderRestore(t *testing.T, ctx context.Context, backup int64, to string) (r faultRestore) {
	t.Helper()
	if err := w.ctl.API(ctx, http.MethodPost, "/restores", map[string]any{"backup_id": backup, "to_database": to}, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func (w *faultWorld) killInRestore(t *testing.T, ctx context.Context, site string, attempts ...string) {
	b := w.restorable(t, ctx)
	to := strings.ReplaceAll(site, ".", "_")
	fired := w.arm(t, site)
	r := w.orderRestore(t, ctx, b.ID, to)
	died(t, ctx, w.agent.Process(), fired)
	w.restartAgent(t, ctx)
	w.until(t, ctx, r.JobID, "is completed", func(j faultJob) bool { return j.Status == "completed" })
	w.attempts(t, ctx, r.JobID, attempts...)
	sameContent(t, ctx, w.postgres, small, to)
}

// cancelBackup cancels a backup whose parts the store does not take.
func (w *faultWorld) cancelBackup(t *testing.T, ctx context.Context, database, stage string, parts int) {
	g, _ := w.gate(t, "UploadPart")
	b := w.order(t, ctx, database, nil)
	arrived(t, ctx, g, parts)
	w.awaitStage(t, ctx, b.ID, stage)
	w.cancelJob(t, ctx, b.JobID)
	if failed, err := w.ctl.AwaitBackup(ctx, b.ID, "failed", 30*time.Second); err != nil || failed.ErrorCode != "cancelled" {
		t.Errorf("the backup is not cancelled: %+v, %v", failed, err)
	}
	w.attempts(t, ctx, b.JobID, "cancelled")
	w.noTool(t, ctx)
	g.Open()
}

func (w *faultWorld) awaitStage(t *testing.T, ctx context.Context, backup int64, stage string) {
	t.Helper()
	if err := stack.Within(ctx, 30*time.Second, "its stage is "+stage, func(ctx context.Context) (bool, error) {
		var b struct{ Progress struct{ Stage string } }
		err := w.ctl.API(ctx, http.MethodGet, fmt.Sprintf("/backups/%d", backup), nil, &b)
		return b.Progress.Stage == stage, err
	}); err != nil {
		t.Fatal(err)
	}
}

func (w *faultWorld) cancelJob(t *testing.T, ctx context.Context, id int64) {
	t.Helper()
	if err := w.ctl.API(ctx, http.MethodPost, fmt.Sprintf("/jobs/%d/cancel", id), map[string]any{"reason": "test"}, nil); err != nil {
		t.Fatal(err)
	}
	w.until(t, ctx, id, "is cancelled", func(j faultJob) bool { return j.Status == "cancelled" })
}

func (w *faultWorld) cancelRestore(t *testing.T, ctx context.Context) {
	b := w.order(t, ctx, big, nil)
	w.completed(t, ctx, b.ID, "completed")
	g, rule := w.gate(t, "GetObject")
	r := w.orderRestore(t, ctx, b.ID, "cancelled_copy")
	arrived(t, ctx, g, 1)
	w.cancelJob(t, ctx, r.JobID)
	w.attempts(t, ctx, r.JobID, "cancelled")
	if rule.Fired() == 0 {
		t.Error("no read was held")
	}
	names, err := w.postgres.Databases(ctx)
	if err != nil || strings.Contains(strings.Join(names, " "), "cancelled_copy") {
		t.Errorf("the target of a cancelled restore is there: %v, %v", names, err)
	}
	w.noTool(t, ctx)
	g.Open()
}

func (w *faultWorld) maxDuration(t *testing.T, ctx context.Context) {
	g, rule := w.gate(t, "UploadPart")
	b := w.order(t, ctx, big, map[string]any{"max_duration_seconds": 5}) // enough to reach the first part, also on a busy machine
	w.until(t, ctx, b.JobID, "has timed out", func(j faultJob) bool { return j.Status == "timed_out" })
	if failed, err := w.ctl.AwaitBackup(ctx, b.ID, "failed", 10*time.Second); err != nil || failed.ErrorCode != "timed_out" {
		t.Errorf("the backup has not timed out: %+v, %v", failed, err)
	}
	w.attempts(t, ctx, b.JobID, "failed")
	if rule.Fired() == 0 {
		t.Error("no part was held")
	}
	w.noTool(t, ctx)
	g.Open()
}
