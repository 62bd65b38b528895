package e2e_test

import (
	"context"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
)

// TestFault_AgentOfEachEngine kills the agent in the middle of a dump and at both sides of a restore's publication, for the engines
// that TestFault_Agent has not.
func TestFault_AgentOfEachEngine(t *testing.T) {
	t.Parallel()
	e := newEstate(t, estateOptions{sites: []string{"agent.restore_before_publish", "agent.restore_after_publish"}})
	ctx := faultContext(t)
	e.project(t, ctx, "shop")
	for _, s := range []stack.Server{e.maria, e.sqlite} {
		engine := s.Engine()
		few := e.database(t, ctx, s, "shop", "few", fewRows)
		large := e.database(t, ctx, s, "shop", "large", heavySQL[engine])
		e.fault(t, "2/"+engine+"/kill -9 in the middle of a dump", func(t *testing.T, ctx context.Context) { e.killInDumpOf(t, ctx, s, large) })
		e.fault(t, "79/"+engine+"/killed before a restore is published", func(t *testing.T, ctx context.Context) {
			e.killInRestoreOf(t, ctx, s, few, "agent.restore_before_publish", "lost", "completed")
		})
		e.fault(t, "79/"+engine+"/killed after a restore is published", func(t *testing.T, ctx context.Context) {
			e.killInRestoreOf(t, ctx, s, few, "agent.restore_after_publish", "completed")
		})
	}
}

func (e *estate) killInDumpOf(t *testing.T, ctx context.Context, s stack.Server, name string) {
	g, rule := e.gate(t, "UploadPart")
	b := e.order(t, ctx, name, map[string]any{"compression": "none"})
	arrived(t, ctx, g, 3)
	if s.Engine() == "mysql" {
		e.toolOf(t, ctx, s.Engine())
	}
	if err := e.agent.Kill(); err != nil {
		t.Fatal(err)
	}
	e.noTool(t, ctx)
	if rule.Fired() < 3 {
		t.Errorf("the store held %d parts", rule.Fired())
	}
	e.s3.Proxy.Reset()
	g.Open()
	e.restartAgent(t, ctx)
	e.completed(t, ctx, b.ID, "lost", "completed")
	if res, err := e.ctl.Do(ctx, "backup", "verify", id(b.ID), "--level", "content"); err != nil {
		t.Errorf("%v: %s", err, res.Text())
	}
}

func (e *estate) killInRestoreOf(t *testing.T, ctx context.Context, s stack.Server, name, site string, attempts ...string) {
	b, err := e.ctl.AwaitBackup(ctx, e.order(t, ctx, name, nil).ID, "completed", 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	want := contentOf(t, ctx, s, name)
	to := copyName(s, site[len("agent."):])
	fired := e.arm(t, site)
	r := e.orderRestore(t, ctx, b.ID, to)
	died(t, ctx, e.agent.Process(), fired)
	e.noTool(t, ctx)
	e.restartAgent(t, ctx)
	e.until(t, ctx, r.JobID, "is completed", func(j faultJob) bool { return j.Status == "completed" })
	e.attempts(t, ctx, r.JobID, attempts...)
	same(t, ctx, s, want, to)
}
