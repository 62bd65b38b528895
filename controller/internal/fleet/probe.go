package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// probesAtOnce is how many hosts of a local storage are asked at once.
const probesAtOnce = 16

// hostReport is what a local storage's probe found, in the form of every other probe.
type hostReport struct {
	Steps    []hostStep `json:"steps"`
	Warnings []string   `json:"warnings"`
}

// hostStep is one host's directory.
type hostStep struct {
	Name     string `json:"name"` // the server
	OK       bool   `json:"ok"`
	Required bool   `json:"required"`
	Millis   int64  `json:"millis"`
	Detail   string `json:"detail"`
	Hint     string `json:"hint,omitempty"`
}

// sameHost is told with every local storage.
const sameHost = "backups lie on the same host as their database: what takes the host takes both"

// probeLocal asks each connected host that has a backup directory to try it. One that fails is no reason to refuse the others; the
// storage passes unless all fail.
func (f *Fleet) probeLocal(ctx context.Context, st controller.Storage) (ProbeResult, error) {
	servers, err := controller.Every(ctx, func(ctx context.Context, p controller.Part) ([]controller.Server, error) {
		return f.opt.Store.Servers(ctx, controller.Actor{Name: "probe", Scope: controller.Scope{All: true}}, controller.ServerFilter{Status: controller.ServerOnline, Part: p})
	}, func(s controller.Server) int64 { return s.ID })
	if err != nil {
		return ProbeResult{}, fmt.Errorf("list servers: %w", err)
	}
	servers = slices.DeleteFunc(servers, func(s controller.Server) bool {
		return s.RevokedAt != nil || !s.Online || s.Host.Local == nil || st.ProjectID != nil && !slices.Contains(s.Projects, *st.ProjectID)
	})
	steps := make([]hostStep, len(servers))
	slots := make(chan struct{}, probesAtOnce)
	var wg sync.WaitGroup
	for i, s := range servers {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			steps[i] = f.probeHost(ctx, s)
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return ProbeResult{}, context.Cause(ctx)
	}
	return localReport(steps)
}

// probeHost asks one agent. Its step takes as long as the answer does.
func (f *Fleet) probeHost(ctx context.Context, s controller.Server) hostStep {
	step := hostStep{Name: s.Name}
	began := time.Now()
	r, err := local{fleet: f, server: s}.do(ctx, wire.LocalOrder{Op: wire.LocalProbe})
	step.Millis = time.Since(began).Milliseconds()
	if err != nil {
		step.Detail = err.Error()
		return step
	}
	step.OK = true
	dir := r.Dir
	if dir == nil {
		dir = s.Host.Local
	}
	if dir.Error != "" {
		step.OK, step.Detail = false, dir.Dir+": "+dir.Error
	} else {
		step.Detail = fmt.Sprintf("%s: %s of %s free", dir.Dir, size(dir.FreeBytes), size(dir.TotalBytes))
	}
	for _, part := range r.Steps {
		if !part.OK {
			step.OK, step.Detail = false, fmt.Sprintf("%s: %s: %s", dir.Dir, part.Name, part.Detail)
			break
		}
		step.Detail += fmt.Sprintf(", %s %d ms", part.Name, part.Millis)
	}
	if step.OK && dir.FreeBytes < dir.MinFree {
		step.OK, step.Detail = false, fmt.Sprintf("%s: %s free, and a backup leaves at least %s", dir.Dir, size(dir.FreeBytes), size(dir.MinFree))
	}
	if !step.OK {
		step.Hint = "look at storage.local in the agent's configuration on " + s.Name
	}
	return step
}

func localReport(steps []hostStep) (ProbeResult, error) {
	report := hostReport{Steps: steps, Warnings: []string{sameHost}}
	failed := 0
	for _, s := range steps {
		if !s.OK {
			failed++
		}
	}
	res := ProbeResult{OK: len(steps) == 0 || failed < len(steps)}
	switch {
	case len(steps) == 0:
		report.Steps = []hostStep{{Name: "hosts", OK: true, Detail: "nothing was tried: each host's own backup directory is used; probe the storage to try those that are connected"}}
	case !res.OK:
		res.Summary = fmt.Sprintf("%s: %s", steps[0].Name, steps[0].Detail)
	case failed > 0:
		report.Warnings = append(report.Warnings, fmt.Sprintf("%d of %d hosts cannot be used", failed, len(steps)))
	}
	b, err := json.Marshal(report)
	if err != nil {
		return ProbeResult{}, fmt.Errorf("encode probe report: %w", err)
	}
	res.Report = b
	return res, nil
}

// size is n bytes for people.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, exp := float64(n)/unit, 0
	for ; value >= unit && exp < 4; exp++ {
		value /= unit
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTP"[exp])
}
