package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
)

var localSites = []string{
	"agent.dump_started", "agent.all_parts_uploaded", "agent.local_before_rename", "agent.local_between_renames", "agent.local_after_rename", "agent.report_sent_before_ack",
	"controller.uploaded_committed", "controller.before_complete", "controller.after_complete", "controller.before_completed_commit", "controller.after_completed_commit",
	"controller.before_delete_object", "controller.after_delete_object",
}

// here is the name of the storage that is the hosts' own directories, and an order to it.
const here = "here"

var onHost = map[string]any{"storage": here}

// newLocalWorld is a world whose agent has a directory for backups, and a storage for them.
func newLocalWorld(t *testing.T, opt faultOptions) *faultWorld {
	t.Helper()
	more := opt.agent
	opt.agent = func(o *stack.AgentOptions) {
		o.Local = true
		if more != nil {
			more(o)
		}
	}
	w := newFaultWorld(t, opt)
	do(t, faultContext(t), w.ctl, "storage", "add", here, "--kind", "local")
	return w
}

// TestFault_Local kills agent and controller at each point of a backup into the host's own directory, and takes the host away while
// the controller needs it.
func TestFault_Local(t *testing.T) {
	t.Parallel()
	w := newLocalWorld(t, faultOptions{sites: localSites})

	for _, tc := range []struct {
		fault    int
		site     string
		attempts []string
	}{
		{2, "agent.dump_started", []string{"lost", "completed"}},
		{4, "agent.all_parts_uploaded", []string{"lost", "completed"}}, // all is written, nothing is signed
		// The statement is in the journal: what is interrupted is finished.
		{4, "agent.local_before_rename", []string{"completed"}},
		{4, "agent.local_between_renames", []string{"completed"}},
		{4, "agent.local_after_rename", []string{"completed"}},
		{5, "agent.report_sent_before_ack", []string{"completed"}},
	} {
		w.fault(t, fmt.Sprintf("%d/%s", tc.fault, tc.site), func(t *testing.T, ctx context.Context) {
			fired := w.arm(t, tc.site)
			b := w.order(t, ctx, small, onHost)
			died(t, ctx, w.agent.Process(), fired)
			w.noTool(t, ctx)
			w.restartAgent(t, ctx)
			w.completed(t, ctx, b.ID, tc.attempts...)
			w.good(t, ctx, b.ID)
		})
	}
	w.fault(t, "2/kill -9 while it writes", w.killInWrite)
	w.fault(t, "79/killed while it restores from its directory", w.killInLocalRestore)
	for _, site := range localSites[6:11] {
		w.fault(t, "25/"+site, func(t *testing.T, ctx context.Context) {
			fired := w.arm(t, site)
			_, err := w.tryOrder(ctx, w.ctl, small, onHost)
			died(t, ctx, w.controllers[0].Process(), fired)
			w.startController(t, ctx, 0)
			b := newestBackup(t, ctx, w.ctl, "shop")
			if err != nil {
				t.Logf("the order was not answered: %v", err)
			}
			w.completed(t, ctx, b.ID, "completed")
			w.good(t, ctx, b.ID)
		})
	}
	for _, site := range localSites[11:] {
		w.fault(t, "25/"+site, func(t *testing.T, ctx context.Context) { w.killInLocalDeletion(t, ctx, site) })
	}
	w.fault(t, "12/host away while its backup is finished", w.awayInFinish)
	w.fault(t, "8/files gone while the host was away", w.goneInFinish)
	w.fault(t, "78/host away while its backup is deleted", w.awayInDeletion)
	w.fault(t, "only the host itself restores it", w.onlyHost)
}

// good checks that a backup can be read whole.
func (w *faultWorld) good(t *testing.T, ctx context.Context, id int64) {
	t.Helper()
	if res := w.verify(t, ctx, id, "content"); res.Code != 0 {
		t.Errorf("the backup does not verify: %s", res.Text())
	}
}

// onDisk lists the files in the agent's backup directory, partial ones too.
func (w *faultWorld) onDisk(t *testing.T) (files []string) {
	t.Helper()
	err := filepath.WalkDir(w.agent.LocalDir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		if errors.Is(err, os.ErrNotExist) {
			err = nil // renamed meanwhile
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// partial waits until a backup of which at least so many bytes are written lies there under its partial name.
func (w *faultWorld) partial(t *testing.T, ctx context.Context, atLeast int64) string {
	t.Helper()
	var found string
	if err := stack.Within(ctx, 30*time.Second, "a partial file is written", func(context.Context) (bool, error) {
		for _, f := range w.onDisk(t) {
			info, err := os.Stat(f)
			if err == nil && strings.HasSuffix(f, ".partial") && info.Size() >= atLeast {
				found = f
				return true, nil
			}
		}
		return false, nil
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

// killInWrite kills the agent while it writes the file. What is partial of it is gone after its restart.
func (w *faultWorld) killInWrite(t *testing.T, ctx context.Context) {
	b := w.order(t, ctx, big, onHost)
	file := w.partial(t, ctx, 1<<20)
	if err := w.agent.Process().Pause(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Fatalf("the backup was written before the agent could be stopped: %v", err)
	}
	if err := w.agent.Kill(); err != nil {
		t.Fatal(err)
	}
	w.noTool(t, ctx)
	w.restartAgent(t, ctx)
	w.completed(t, ctx, b.ID, "lost", "completed")
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what the killed agent wrote is still there: %v", err)
	}
	w.good(t, ctx, b.ID)
}

// killInLocalRestore kills the agent while a restore's tool runs. The next attempt makes the target, once.
func (w *faultWorld) killInLocalRestore(t *testing.T, ctx context.Context) {
	b := w.order(t, ctx, big, onHost)
	w.completed(t, ctx, b.ID, "completed")
	r := w.orderRestore(t, ctx, b.ID, "local_copy")
	if _, err := w.agent.AwaitChild(ctx, "pg_restore"); err != nil {
		t.Fatal(err)
	}
	if err := w.agent.Kill(); err != nil {
		t.Fatal(err)
	}
	w.noTool(t, ctx)
	if names, err := w.postgres.Databases(ctx); err != nil || slices.Contains(names, "local_copy") {
		t.Errorf("the target is there before all of it was read: %v, %v", names, err)
	}
	w.restartAgent(t, ctx)
	w.until(t, ctx, r.JobID, "is completed", func(j faultJob) bool { return j.Status == "completed" })
	w.attempts(t, ctx, r.JobID, "lost", "completed")
	sameContent(t, ctx, w.postgres, big, "local_copy")
}

// killInLocalDeletion kills the controller while it has the host delete a backup.
func (w *faultWorld) killInLocalDeletion(t *testing.T, ctx context.Context, site string) {
	b := w.order(t, ctx, small, onHost)
	w.completed(t, ctx, b.ID, "completed")
	fired := w.arm(t, site)
	w.delete(t, ctx, b.ID)
	died(t, ctx, w.controllers[0].Process(), fired)
	w.startController(t, ctx, 0)
	w.forward(t, ctx, "UPDATE database_backups SET delete_after = now() WHERE id = $1 AND health = 'deleting'", b.ID)
	w.purged(t, ctx, b.ID)
}

func (w *faultWorld) delete(t *testing.T, ctx context.Context, id int64) {
	t.Helper()
	if err := w.ctl.API(ctx, http.MethodPost, fmt.Sprintf("/backups/%d/delete", id), map[string]any{"reason": "test", "grace_seconds": 0}, nil); err != nil {
		t.Fatal(err)
	}
}

// purged waits until a deleted backup has been seen gone.
func (w *faultWorld) purged(t *testing.T, ctx context.Context, id int64) {
	t.Helper()
	if err := stack.Within(ctx, 30*time.Second, "the deletion is confirmed", func(ctx context.Context) (bool, error) {
		rows, err := w.catalog.Rows(ctx, "SELECT purged_at IS NOT NULL FROM database_backups WHERE id = $1", id)
		return err == nil && rows[0] == "true", err
	}); err != nil {
		t.Fatal(err)
	}
}

// waiting waits until a backup shows why nothing goes on, in these words.
func (w *faultWorld) waiting(t *testing.T, ctx context.Context, id int64, words ...string) {
	t.Helper()
	if err := stack.Within(ctx, 30*time.Second, fmt.Sprintf("backup %d says that it waits", id), func(ctx context.Context) (bool, error) {
		b, err := w.ctl.Backup(ctx, id)
		if err != nil {
			return false, err
		}
		for _, word := range words {
			if !strings.Contains(b.Waiting, word) {
				return false, fmt.Errorf("it says %q", b.Waiting)
			}
		}
		return true, nil
	}); err != nil {
		t.Error(err)
	}
}

// reported orders a backup whose agent has reported it and ends before the controller has looked at it.
func (w *faultWorld) reported(t *testing.T, ctx context.Context) stack.Backup {
	t.Helper()
	fired := w.arm(t, "controller.uploaded_committed")
	if _, err := w.tryOrder(ctx, w.ctl, small, onHost); err != nil {
		t.Logf("the order was not answered: %v", err)
	}
	died(t, ctx, w.controllers[0].Process(), fired)
	if err := w.agent.Kill(); err != nil {
		t.Fatal(err)
	}
	w.startController(t, ctx, 0)
	b := newestBackup(t, ctx, w.ctl, "shop")
	if b.Status != "running" {
		t.Fatalf("the backup is %s: it was not taken away in time", b.Status)
	}
	return b
}

// awayInFinish takes the host away after it has reported a backup. It is waited for without end, and costs no attempt.
func (w *faultWorld) awayInFinish(t *testing.T, ctx context.Context) {
	b := w.reported(t, ctx)
	w.waiting(t, ctx, b.ID, "db1")
	// Asked again, it says so again.
	w.forward(t, ctx, "UPDATE jobs SET claim_until = now(), waiting = '' WHERE id = $1", b.JobID)
	w.waiting(t, ctx, b.ID, "db1")
	rows, err := w.catalog.Rows(ctx, "SELECT a.settle_tries, a.status, j.status FROM attempts a JOIN jobs j ON j.id = a.job_id WHERE j.id = $1", b.JobID)
	if err != nil || len(rows) != 1 || rows[0] != "0 uploaded finishing" {
		t.Errorf("while the host is away: %v, %v", rows, err)
	}
	w.restartAgent(t, ctx)
	w.completed(t, ctx, b.ID, "completed")
	w.good(t, ctx, b.ID)
}

// goneInFinish takes away the host's files too, as a new disk would: the backup is made anew.
func (w *faultWorld) goneInFinish(t *testing.T, ctx context.Context) {
	b := w.reported(t, ctx)
	key, err := w.catalog.Rows(ctx, "SELECT key FROM attempts WHERE job_id = $1", b.JobID)
	if err != nil || len(key) != 1 {
		t.Fatalf("keys are %v, %v", key, err)
	}
	if err := os.Remove(filepath.Join(w.agent.LocalDir, key[0])); err != nil {
		t.Fatal(err)
	}
	w.restartAgent(t, ctx)
	w.completed(t, ctx, b.ID, "failed", "completed")
	j, err := w.job(ctx, b.JobID)
	if err != nil || len(j.Attempts) == 0 || j.Attempts[0].Failure == nil || j.Attempts[0].Failure.Code != "upload_lost" {
		t.Errorf("the first attempt failed otherwise: %+v, %v", j, err)
	}
	w.good(t, ctx, b.ID)
}

// awayInDeletion deletes a backup while its host is away: the row stays, says why, and is closed when the host has come back.
func (w *faultWorld) awayInDeletion(t *testing.T, ctx context.Context) {
	b := w.order(t, ctx, small, onHost)
	w.completed(t, ctx, b.ID, "completed")
	b, err := w.ctl.Backup(ctx, b.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.agent.Process().Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := w.agent.Process().Wait(ctx, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	w.delete(t, ctx, b.ID)
	w.waiting(t, ctx, b.ID, "db1", "not connected")
	says(t, ctl(t, ctx, w.ctl, "backup", "show", id(b.ID)), 0, "deleting", "not connected")
	rows, err := w.catalog.Rows(ctx, "SELECT health, purged_at IS NULL FROM database_backups WHERE id = $1", b.ID)
	if err != nil || rows[0] != "deleting true" {
		t.Errorf("while the host is away the row is %v, %v", rows, err)
	}
	file := filepath.Join(w.agent.LocalDir, b.FilePath)
	if _, err := os.Stat(file); err != nil {
		t.Errorf("nobody can have deleted it: %v", err)
	}
	w.restartAgent(t, ctx)
	w.purged(t, ctx, b.ID)
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file of the deleted backup: %v", err)
	}
	now, err := w.ctl.Backup(ctx, b.ID)
	if err != nil || now.Waiting != "" {
		t.Errorf("it still says %q, %v", now.Waiting, err)
	}
}

// onlyHost asks another host to restore what lies on this one: refused, with the host's name and what can be done.
func (w *faultWorld) onlyHost(t *testing.T, ctx context.Context) {
	b := w.order(t, ctx, small, onHost)
	w.completed(t, ctx, b.ID, "completed")
	other, err := w.StartPostgres(ctx, "pg2", stack.PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	agent, err := w.NewAgent("db2", stack.AgentOptions{Servers: map[string]stack.Server{"main": other}, Local: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(agent.Enroll(ctx, w.controllers[0], "shop"), agent.StartOnline(ctx, w.controllers[0], 0)); err != nil {
		t.Fatal(err)
	}
	refused(t, ctx, w.ctl, 1, []string{"db1", "backup download"}, "restore", "create", id(b.ID), "--to-server", "db2", "--to-database", "elsewhere", "--wait")
	if names, err := other.Databases(ctx); err != nil || len(names) != 0 {
		t.Errorf("the other host has %v, %v", names, err)
	}
	if err := agent.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	do(t, ctx, w.ctl, "restore", "create", id(b.ID), "--to-database", "beside", "--wait")
	sameContent(t, ctx, w.postgres, small, "beside")
}

// TestFault_LocalDisk (82) fills the disk of the backup directory: the backup fails and says so, nothing is left of it, and backups
// elsewhere go on.
func TestFault_LocalDisk(t *testing.T) {
	t.Parallel()
	w := newLocalWorld(t, faultOptions{big: 40 << 20})
	ctx := faultContext(t)
	const disk = 24 << 20
	if err := os.MkdirAll(w.agent.LocalDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", w.agent.LocalDir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", disk)); err != nil {
		t.Fatalf("mount a small disk (this needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(w.agent.LocalDir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	for _, tc := range []struct {
		name, minFree, words string
		filled               bool // by somebody else, while the backup is written
	}{
		{"what may be used is used up", "4MiB", "are to stay free", false},
		{"the disk is filled by another program", "0MiB", "no space left", true},
	} {
		w.configureLocal(t, ctx, map[string]any{"dir": w.agent.LocalDir, "min_free": tc.minFree})
		w.fault(t, "82/"+tc.name, func(t *testing.T, ctx context.Context) {
			b := w.order(t, ctx, big, onHost)
			if tc.filled {
				w.fillDisk(t, ctx)
			}
			failed, err := w.ctl.AwaitBackup(ctx, b.ID, "failed", 60*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if failed.ErrorCode != "disk_full" || !strings.Contains(failed.ErrorMessage, tc.words) || failed.ErrorHint == "" {
				t.Errorf("it failed as %s: %s (%s)", failed.ErrorCode, failed.ErrorMessage, failed.ErrorHint)
			}
			for _, f := range w.onDisk(t) {
				if strings.Contains(f, "/big_") {
					t.Errorf("the failed backup left %s", f)
				}
			}
			var free syscall.Statfs_t
			if err := syscall.Statfs(w.agent.LocalDir, &free); err != nil || int64(free.Bavail)*free.Bsize < disk-1<<20 {
				t.Errorf("%d bytes are free, %v", int64(free.Bavail)*free.Bsize, err)
			}
			// What fits is backed up there, and what does not elsewhere.
			w.completed(t, ctx, w.order(t, ctx, small, onHost).ID, "completed")
			w.completed(t, ctx, w.order(t, ctx, big, nil).ID, "completed")
			last := newestBackup(t, ctx, w.ctl, "shop")
			w.good(t, ctx, last.ID)
		})
	}
	// A disk that only reads.
	w.fault(t, "82/read-only", func(t *testing.T, ctx context.Context) {
		remount := func(flags uintptr) {
			if err := syscall.Mount("", w.agent.LocalDir, "", syscall.MS_REMOUNT|flags, ""); err != nil {
				t.Fatal(err)
			}
		}
		remount(syscall.MS_RDONLY)
		b := w.order(t, ctx, small, onHost)
		failed, err := w.ctl.AwaitBackup(ctx, b.ID, "failed", 60*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if failed.ErrorCode != "disk_full" || !strings.Contains(failed.ErrorMessage, "read-only") {
			t.Errorf("it failed as %s: %s", failed.ErrorCode, failed.ErrorMessage)
		}
		w.completed(t, ctx, w.order(t, ctx, small, nil).ID, "completed")
		remount(0)
		w.completed(t, ctx, w.order(t, ctx, small, onHost).ID, "completed")
	})
}

// fillDisk takes what is free on the disk of the backup directory until the test ends, while the agent writes there.
func (w *faultWorld) fillDisk(t *testing.T, ctx context.Context) {
	t.Helper()
	w.partial(t, ctx, 1<<20)
	if err := w.agent.Process().Pause(); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(w.agent.LocalDir, "filler")
	err := os.WriteFile(filler, make([]byte, 64<<20), 0o600)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the disk is not full: %v", err)
	}
	if err := w.agent.Process().Continue(); err != nil {
		t.Fatal(err)
	}
	if err := stack.Within(ctx, 30*time.Second, "the partial file is removed", func(context.Context) (bool, error) {
		left, err := filepath.Glob(filepath.Join(w.agent.LocalDir, "backups/*/*/*/big_*"))
		return len(left) == 0, err
	}); err != nil {
		t.Error(err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
}

// configureLocal restarts the agent with another section storage.local.
func (w *faultWorld) configureLocal(t *testing.T, ctx context.Context, local map[string]any) {
	t.Helper()
	if err := w.agent.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if err := w.agent.Configure(stack.AgentOptions{
		Servers: map[string]stack.Server{"main": w.postgres}, Local: true, Limits: map[string]any{"discovery_every": "10s"},
		Extra: map[string]any{"storage": map[string]any{"local": local}},
	}); err != nil {
		t.Fatal(err)
	}
	w.restartAgent(t, ctx)
}

// ctl runs devflowctl, whatever its status is.
func ctl(t *testing.T, ctx context.Context, c *stack.Client, args ...string) stack.Result {
	t.Helper()
	res, err := c.Ctl(ctx, args...)
	if err != nil {
		t.Fatal(err)
	}
	return res
}
