package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
)

var controllerSites = []string{
	"controller.before_job_commit", "controller.after_job_commit", "controller.offer_committed", "controller.upload_created",
	"controller.before_publish", "controller.after_publish", "controller.accepted_before_commit", "controller.uploaded_committed",
	"controller.before_complete", "controller.after_complete", "controller.before_completed_commit", "controller.after_completed_commit",
	"controller.before_tombstone_commit", "controller.after_tombstone_commit", "controller.before_delete_object", "controller.after_delete_object",
}

// TestFault_Controller kills the controller at each point of its work, and takes controller, broker and catalog away while an agent
// works.
func TestFault_Controller(t *testing.T) {
	t.Parallel()
	w := newFaultWorld(t, faultOptions{sites: controllerSites})

	for _, site := range controllerSites[:2] {
		w.fault(t, "25/"+site, func(t *testing.T, ctx context.Context) { w.killWhileOrdered(t, ctx, site) })
	}
	for _, site := range controllerSites[2:12] {
		w.fault(t, "25/"+site, func(t *testing.T, ctx context.Context) {
			fired := w.arm(t, site)
			// The answer may be lost with the controller; the order is in the catalog.
			_, err := w.tryOrder(ctx, w.ctl, small, nil)
			died(t, ctx, w.controllers[0].Process(), fired)
			w.startController(t, ctx, 0)
			b := newestBackup(t, ctx, w.ctl, "shop")
			if err != nil {
				t.Logf("the order was not answered: %v", err)
			}
			w.completed(t, ctx, b.ID, "completed")
		})
	}
	for _, site := range controllerSites[12:] {
		w.fault(t, "25/"+site, func(t *testing.T, ctx context.Context) { w.killInDeletion(t, ctx, site) })
	}
	w.fault(t, "12/controller stopped and started during a dump", func(t *testing.T, ctx context.Context) {
		w.duringDump(t, ctx, func() error { return w.controllers[0].Restart(ctx) })
	})
	w.fault(t, "12/controller killed and started during a dump", func(t *testing.T, ctx context.Context) {
		w.duringDump(t, ctx, func() error {
			if err := w.controllers[0].Kill(); err != nil {
				return err
			}
			// The lease runs out meanwhile.
			w.forward(t, ctx, "UPDATE attempts SET lease_until = now() - interval '1 hour' WHERE status = 'running'")
			return w.controllers[0].Start(ctx)
		})
	})
	w.fault(t, "12/catalog restarted during a dump", func(t *testing.T, ctx context.Context) {
		w.duringDump(t, ctx, func() error { return w.catalog.Restart(ctx, false) })
	})
	w.fault(t, "28/catalog crashed during a dump", w.crashCatalog)
}

func (w *faultWorld) startController(t *testing.T, ctx context.Context, i int) {
	t.Helper()
	if err := w.controllers[i].Start(ctx); err != nil {
		t.Fatal(err)
	}
}

// killWhileOrdered kills the controller around the commit of an order. The caller, who got no answer, sends it again under its key.
func (w *faultWorld) killWhileOrdered(t *testing.T, ctx context.Context, site string) {
	before := w.backups(t, ctx)
	keyed := w.ctl.WithKey("order " + site)
	fired := w.arm(t, site)
	if _, err := w.tryOrder(ctx, keyed, small, nil); err == nil {
		t.Fatal("the order was answered")
	}
	died(t, ctx, w.controllers[0].Process(), fired)
	w.startController(t, ctx, 0)
	_, err := w.tryOrder(ctx, keyed, small, nil)
	var p *stack.ProblemError
	if err != nil && (!errors.As(err, &p) || p.Status != http.StatusConflict) {
		t.Fatalf("the repeated order: %v", err)
	}
	if site == "controller.before_job_commit" && err != nil {
		// Whether the first one was carried out is not known to the controller yet: only a new key orders anew.
		if _, err := w.tryOrder(ctx, w.ctl, small, nil); err != nil {
			t.Fatal(err)
		}
	}
	b := newestBackup(t, ctx, w.ctl, "shop")
	w.completed(t, ctx, b.ID, "completed")
	if n := w.backups(t, ctx) - before; n != 1 {
		t.Errorf("%d backups were made of one order", n)
	}
}

func (w *faultWorld) backups(t *testing.T, ctx context.Context) int {
	t.Helper()
	all, err := w.ctl.Backups(ctx, "shop")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// killInDeletion kills the controller while it deletes a backup. The backup goes, and with it all of its objects and nothing else.
func (w *faultWorld) killInDeletion(t *testing.T, ctx context.Context, site string) {
	b := w.restorable(t, ctx)
	w.restorable(t, ctx) // not the last good one
	path := fmt.Sprintf("/backups/%d/delete", b.ID)
	order := map[string]any{"reason": "test", "grace_seconds": 0}
	fired := w.arm(t, site)
	err := w.ctl.API(ctx, http.MethodPost, path, order, nil)
	died(t, ctx, w.controllers[0].Process(), fired)
	if strings.Contains(site, "tombstone") && err == nil {
		t.Error("the order was answered")
	}
	w.startController(t, ctx, 0)
	if strings.Contains(site, "delete_object") {
		// A deletion at work is left alone for minutes.
		w.forward(t, ctx, "UPDATE database_backups SET delete_after = now() WHERE id = $1 AND health = 'deleting'", b.ID)
	} else if err := w.ctl.API(ctx, http.MethodPost, path, order, nil); err != nil {
		t.Fatal(err)
	}
	if err := stack.Within(ctx, 30*time.Second, "the deletion is confirmed", func(ctx context.Context) (bool, error) {
		rows, err := w.catalog.Rows(ctx, "SELECT purged_at IS NOT NULL FROM database_backups WHERE id = $1", b.ID)
		return err == nil && rows[0] == "true", err
	}); err != nil {
		t.Fatal(err)
	}
}

// duringDump does something while a dump stands still. The dump goes on, and its attempt is suspect at most.
func (w *faultWorld) duringDump(t *testing.T, ctx context.Context, outage func() error) {
	b, open := w.dumpHeld(t, ctx)
	tool, err := w.agent.AwaitChild(ctx, "pg_dump")
	if err != nil {
		t.Fatal(err)
	}
	if err := outage(); err != nil {
		t.Fatal(err)
	}
	if again, err := w.agent.AwaitChild(ctx, "pg_dump"); err != nil || again.PID != tool.PID {
		t.Errorf("the dump that ran before does not run after: %v, %v, %v", tool, again, err)
	}
	open()
	w.completed(t, ctx, b.ID, "completed")
}

// crashCatalog takes the catalog away as a crash does. What is asked meanwhile is told to come again, and the dump goes on.
func (w *faultWorld) crashCatalog(t *testing.T, ctx context.Context) {
	other := w.restorable(t, ctx)
	w.duringDump(t, ctx, func() error {
		if err := w.catalog.Kill(); err != nil {
			return err
		}
		for _, ask := range []func() error{
			func() error { return w.ctl.API(ctx, http.MethodGet, fmt.Sprintf("/backups/%d", other.ID), nil, nil) },
			func() error { _, err := w.tryOrder(ctx, w.ctl, small, nil); return err },
		} {
			var p *stack.ProblemError
			if err := ask(); !errors.As(err, &p) || p.Status != http.StatusServiceUnavailable {
				t.Errorf("without a catalog the API answers %v, not 503", err)
			}
		}
		return errors.Join(w.catalog.Restart(ctx, true), w.ctl.API(ctx, http.MethodGet, fmt.Sprintf("/backups/%d", other.ID), nil, nil))
	})
	// Cut short by -m immediate once more, while work is being committed.
	b := w.order(t, ctx, small, nil)
	if err := w.catalog.Restart(ctx, true); err != nil {
		t.Fatal(err)
	}
	w.completed(t, ctx, b.ID, "completed")
}

// TestFault_TwoControllers takes the broker and one of two controllers away.
func TestFault_TwoControllers(t *testing.T) {
	t.Parallel()
	w := newFaultWorld(t, faultOptions{controllers: 2})

	w.fault(t, "12/broker restarted during a dump", func(t *testing.T, ctx context.Context) {
		w.duringDump(t, ctx, func() error { w.nats.Stop(); return w.nats.Start() })
	})
	for _, tc := range []struct {
		name string
		done bool // the store has completed the upload when its controller dies
	}{{"26/killed before the store completes an upload", false}, {"26/killed after the store has completed an upload", true}} {
		w.fault(t, tc.name, func(t *testing.T, ctx context.Context) { w.killFinisher(t, ctx, tc.done) })
	}
	w.fault(t, "27/paused while it completes an upload", w.pauseFinisher)
	w.fault(t, "26/work is done once", w.workDoneOnce)
	w.fault(t, "75/both clean up while a backup is uploaded", w.cleanedByBoth)
}

// finisher holds the completion of an upload of a new backup, and finds the controller that makes it, and the other one.
func (w *faultWorld) finisher(t *testing.T, ctx context.Context, done bool) (b stack.Backup, open func(), at, other *stack.Controller) {
	t.Helper()
	g, rule := w.gate(t, "CompleteMultipartUpload")
	if done {
		w.s3.Proxy.Reset()
		rule = w.s3.Proxy.Inject("CompleteMultipartUpload", 1, g.Hold())
	}
	b = w.order(t, ctx, small, nil)
	arrived(t, ctx, g, 1)
	if rule.Fired() == 0 {
		t.Fatal("no completion was held")
	}
	owner, err := w.catalog.Rows(ctx, "SELECT claim_owner FROM jobs WHERE id = $1", b.JobID)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range w.controllers {
		name, err := os.ReadFile(filepath.Join(c.Dir, "controller.id"))
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(string(name)) == owner[0] {
			at, other = c, w.controllers[1-i]
		}
	}
	if at == nil {
		t.Fatalf("no controller has the id %q", owner[0])
	}
	w.ctl = other.ClientWithFile(w.controllers[0].Admin().TokenFile)
	return b, func() { w.s3.Proxy.Reset(); g.Open() }, at, other
}

// killFinisher kills the controller that completes an upload. The other one takes it over when the claim has run out.
func (w *faultWorld) killFinisher(t *testing.T, ctx context.Context, done bool) {
	b, open, at, _ := w.finisher(t, ctx, done)
	if err := at.Kill(); err != nil {
		t.Fatal(err)
	}
	open()
	w.forward(t, ctx, "UPDATE jobs SET claim_until = now() WHERE id = $1 AND status = 'finishing' AND claim_until > now()", b.JobID)
	w.completed(t, ctx, b.ID, "completed")
	if err := at.Start(ctx); err != nil {
		t.Fatal(err)
	}
}

// pauseFinisher pauses the controller that completes an upload until its claim has passed on. What it writes when it goes on is
// refused.
func (w *faultWorld) pauseFinisher(t *testing.T, ctx context.Context) {
	b, open, at, _ := w.finisher(t, ctx, true)
	if err := at.Process().Pause(); err != nil {
		t.Fatal(err)
	}
	from := logSize(t, at.LogFile())
	w.forward(t, ctx, "UPDATE jobs SET claim_until = now() WHERE id = $1 AND status = 'finishing' AND claim_until > now()", b.JobID)
	w.completed(t, ctx, b.ID, "completed")
	open()
	if err := at.Process().Continue(); err != nil {
		t.Fatal(err)
	}
	logged(t, ctx, at.LogFile(), from, "finishing given up")
	w.completed(t, ctx, b.ID, "completed")
}

// workDoneOnce has two controllers look for the same work at the same time.
func (w *faultWorld) workDoneOnce(t *testing.T, ctx context.Context) {
	var jobs []stack.Backup
	for i := range 4 {
		c := w.controllers[i%2].ClientWithFile(w.controllers[0].Admin().TokenFile)
		b, err := w.tryOrder(ctx, c, []string{small, big}[i%2], nil)
		if i < 2 && err != nil {
			t.Fatal(err)
		}
		if err == nil {
			jobs = append(jobs, b)
		}
		if i%2 == 1 {
			for _, b := range jobs {
				w.completed(t, ctx, b.ID, "completed")
			}
		}
	}
	if len(jobs) != 4 {
		t.Errorf("%d of 4 orders were taken", len(jobs))
	}
}
