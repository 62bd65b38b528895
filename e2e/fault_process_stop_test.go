package e2e_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
)

// TestFault_Stopped tells the agent, and then the controller, to stop at each point of their work, as an upgrade or a shutdown does.
// A stop is no crash: the program ends by itself with status 0, what is under way comes to its end or is handed back, and nothing
// is found out by a lease only.
func TestFault_Stopped(t *testing.T) {
	t.Parallel()
	var sites []string
	stages := controllerSites[2:12] // those of a backup
	for _, s := range slices.Concat(agentSites, stages) {
		sites = append(sites, s+"=term")
	}
	w := newFaultWorld(t, faultOptions{sites: sites, limits: map[string]any{"drain": "10s"}})
	for _, site := range agentSites {
		w.fault(t, "7/SIGTERM to the agent at "+site, func(t *testing.T, ctx context.Context) {
			if strings.HasPrefix(site, "agent.restore") {
				b := w.restorable(t, ctx)
				to := strings.ReplaceAll(site, ".", "_")
				fired := w.arm(t, site)
				r := w.orderRestore(t, ctx, b.ID, to)
				stopped(t, ctx, w.agent.Process(), fired)
				w.restartAgent(t, ctx)
				w.until(t, ctx, r.JobID, "is completed", func(j faultJob) bool { return j.Status == "completed" })
				w.attempts(t, ctx, r.JobID, "completed")
				sameContent(t, ctx, w.postgres, small, to)
				return
			}
			fired := w.arm(t, site)
			b := w.order(t, ctx, small, nil)
			stopped(t, ctx, w.agent.Process(), fired)
			w.noTool(t, ctx)
			w.completed(t, ctx, b.ID, "completed") // without the agent
			w.restartAgent(t, ctx)
		})
	}
	for _, site := range stages {
		w.fault(t, "SIGTERM to the controller at "+site, func(t *testing.T, ctx context.Context) {
			fired := w.arm(t, site)
			_, err := w.tryOrder(ctx, w.ctl, small, nil)
			stopped(t, ctx, w.controllers[0].Process(), fired)
			w.startController(t, ctx, 0)
			if err != nil {
				t.Errorf("the order was not answered: %v", err)
			}
			w.completed(t, ctx, newestBackup(t, ctx, w.ctl, "shop").ID, "completed")
		})
	}
}

// stopped waits until a process has ended in order after it came to an armed site.
func stopped(t *testing.T, ctx context.Context, p *stack.Process, fired func() bool) {
	t.Helper()
	if err := p.Wait(ctx, 60*time.Second); err != nil {
		t.Fatal(err)
	}
	if p.ExitCode() != 0 || !fired() {
		t.Fatalf("%s ended with status %d, fired %t", p.Name, p.ExitCode(), fired())
	}
}
