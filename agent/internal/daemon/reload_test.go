package daemon_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"devflowbackup/agent/internal/config"
	"devflowbackup/agent/internal/testkit/fakeengine"
	"devflowbackup/shared/wire"
)

// gated is a dump that begins only when its gate opens.
type gated struct {
	ctx  context.Context
	gate chan struct{}
	rest io.Reader
}

func (g *gated) Read(p []byte) (int, error) {
	select {
	case <-g.ctx.Done():
		return 0, context.Cause(g.ctx)
	case <-g.gate:
		return g.rest.Read(p)
	}
}

// A changed configuration is in force for new orders; a job that runs goes on under the one that it began under, also when its
// instance is gone, and a mistake changes nothing.
func TestDaemon_Reload(t *testing.T) {
	a := prepare(t)
	told := a.manage()
	content, gate := random(partSize+1000), make(chan struct{})
	a.e.Set("shop", content)
	a.e.Stream = func(ctx context.Context, _ string) io.Reader { return &gated{ctx, gate, bytes.NewReader(content)} }
	var next atomic.Pointer[config.Config]
	a.hangup = make(chan os.Signal, 1)
	a.load = func() (config.Config, error) {
		if c := next.Load(); c != nil {
			return *c, nil
		}
		return config.Config{}, errors.New("line 7 is wrong")
	}
	a.cfg.Concurrency = 1
	a.start()
	a.hears(told, "READY=1")
	running := a.backupJob(1)
	a.c.Run(running)

	changed := a.cfg
	changed.Concurrency, changed.StateDir = 3, filepath.Join(t.TempDir(), "elsewhere")
	changed.Instances = []config.Instance{{Name: "other", Engine: fakeengine.Name, Databases: config.Databases{Include: []string{"shop"}}}}
	next.Store(&changed)
	a.hangup <- syscall.SIGHUP
	if m := a.hears(told, "RELOADING=1"); !strings.Contains(m, "MONOTONIC_USEC=") {
		t.Errorf("told %q", m)
	}
	a.hears(told, "READY=1")
	if h := a.c.AwaitHello(2); h.Concurrency != 3 || !slices.ContainsFunc(h.Attempts, func(at wire.Attempt) bool { return at.Job == 1 }) {
		t.Errorf("the hello after it: %+v", h)
	}
	a.await("an inventory of the other instance", func() (seen bool) {
		a.c.Collected(func(_ []wire.Hello, _ []wire.Heartbeat, _ []wire.Progress, _ []wire.SecurityNotice, pages []wire.Inventory) {
			for _, p := range pages {
				seen = len(p.Instances) == 1 && p.Instances[0].Name == "other"
			}
		})
		return seen
	})
	if log := a.log.String(); !strings.Contains(log, "need a restart of the agent: keys=state_dir") {
		t.Error("a change that needs a restart is not told")
	}
	a.await("the welcome after it", func() bool { return strings.Count(a.log.String(), "controllers know this session") > 1 })
	if acc := a.c.Command(wire.VerbRun, a.backupJob(2)); acc.Failure == nil || acc.Failure.Code != wire.CodeUnknownInstance {
		t.Errorf("an order for an instance that is gone: %+v", acc.Failure)
	}

	next.Store(nil)
	a.hangup <- syscall.SIGHUP
	a.hears(told, "RELOADING=1")
	if m := a.hears(told, "READY=1"); !strings.Contains(m, "line 7 is wrong") {
		t.Errorf("told %q", m)
	}
	// Beside the running one: the concurrency of the first reload is still in force.
	second := a.c.Backup(3, "other", fakeengine.Name, "shop", a.codec, partSize)
	a.c.Run(second)
	if acc := a.c.Command(wire.VerbRun, a.c.Backup(4, "other", fakeengine.Name, "private", a.codec, partSize)); acc.Failure == nil || acc.Failure.Code != wire.CodeNotAllowed {
		t.Errorf("a database that is not included: %+v", acc.Failure)
	}

	close(gate)
	for _, job := range []wire.Job{running, second} {
		if r := a.c.AwaitReport(job.Attempt); r.Outcome != wire.OutcomeUploaded {
			t.Errorf("job %d: %s %+v", job.Attempt.Job, r.Outcome, r.Failure)
		}
	}
}
