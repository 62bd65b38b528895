package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	agentLimit = 200 // MiB
	// controllerGrowth is how much of its peak at the small size the controller may have at the large one: it does not depend
	// on the size, but no two runs of a garbage collector are equal.
	controllerGrowth = 1.10
)

// memory is what agent and controller have needed at most for one size.
type memory struct {
	Database    string `json:"database"`
	DumpBytes   int64  `json:"dump_bytes"`
	StoredBytes int64  `json:"stored_bytes"`
	Peaks       []peak `json:"peaks"`
}

// peak is the most that the processes have had resident since they started, when a step was done.
type peak struct {
	After         string  `json:"after"`
	Seconds       float64 `json:"seconds"` // that the step took
	AgentMiB      float64 `json:"agent_mib"`
	ControllerMiB float64 `json:"controller_mib"`
}

// last is the peak over all steps: VmHWM only grows.
func (m memory) last() peak { return m.Peaks[len(m.Peaks)-1] }

// peaks starts agent and controller anew and backs up, verifies and restores one database.
func (b *bench) peaks(ctx context.Context, database string) (m memory, err error) {
	p := b.product
	m.Database = database
	if err := p.restart(ctx); err != nil {
		return m, err
	}
	if err := b.source.settle(ctx); err != nil {
		return m, err
	}
	const target = "bench_restored"
	defer func() { err = errors.Join(err, b.source.DropDatabase(context.WithoutCancel(ctx), target)) }()
	var done job
	for _, step := range []struct {
		name string
		run  func() (time.Duration, error)
	}{
		{"backup", func() (took time.Duration, err error) {
			done, took, err = p.backup(ctx, database, storageS3)
			return took, err
		}},
		{"verification of the content", func() (time.Duration, error) { return p.verify(ctx, done.ID) }},
		{"restore", func() (time.Duration, error) { return p.restore(ctx, done.ID, "main", target) }},
	} {
		took, err := step.run()
		if err != nil {
			return m, fmt.Errorf("%s of %s: %w", step.name, database, err)
		}
		at := peak{After: step.name, Seconds: took.Seconds()}
		if at.AgentMiB, err = highWater(p.agent.Process().PID()); err != nil {
			return m, err
		}
		if at.ControllerMiB, err = highWater(p.controller.Process().PID()); err != nil {
			return m, err
		}
		b.say("  %-8s after %-28s %7.1f s   agent %4.0f MiB   controller %4.0f MiB", database, step.name, at.Seconds, at.AgentMiB, at.ControllerMiB)
		m.Peaks = append(m.Peaks, at)
	}
	m.DumpBytes, m.StoredBytes = done.RawSize, done.FileSize
	return m, nil
}

// highWater is the peak resident memory of a process in MiB.
func highWater(pid int) (float64, error) {
	kib := field(fmt.Sprintf("/proc/%d/status", pid), "VmHWM:")
	if kib == 0 {
		return 0, fmt.Errorf("read peak memory of process %d: it is gone", pid)
	}
	return float64(kib) / 1024, nil
}

// agentPeak is what the agent has needed at most since it started, with all that was measured before.
func (b *bench) agentPeak() (result, error) {
	mib, err := highWater(b.product.agent.Process().PID())
	return result{Name: "agent's peak memory until here", Value: mib, Unit: "MiB", Target: agentLimit}, err
}

func memoryResults(all []memory) []result {
	var out []result
	for _, m := range all {
		out = append(out, result{Name: "agent's peak at " + mb(m.DumpBytes), Value: m.last().AgentMiB, Unit: "MiB", Target: agentLimit})
	}
	if len(all) > 1 {
		small, big := all[0].last().ControllerMiB, all[len(all)-1].last().ControllerMiB
		out = append(out, result{
			Name:  fmt.Sprintf("controller's peak at %s to that at %s", mb(all[len(all)-1].DumpBytes), mb(all[0].DumpBytes)),
			Value: big / small, Unit: "×", Target: controllerGrowth,
		})
	}
	return out
}
