package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"
)

// runner is one side of a comparison. It measures itself, so that what it prepares and clears away is not counted.
type runner struct {
	name string
	run  func(context.Context) (time.Duration, error)
	cold bool // needs no warm-up: it is long, and others have warmed what it reads
	most int  // how many samples are taken; 0: one in each round
}

// series is what one runner took, one sample for each round.
type series struct {
	Name    string    `json:"name"`
	Seconds []float64 `json:"seconds"`
	CPU     []float64 `json:"cpu_seconds"` // of all processes of the run, the database server's and the S3 server's too
}

// median of the values; the mean of the middle two if their number is even.
func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return v[n/2]
	}
	return (v[n/2-1] + v[n/2]) / 2
}

// ratio of two series that were measured side by side: the median over the rounds of a's value by b's in the same round,
// so that a machine that is slower for a while is slower for both. One that has fewer samples counts in the first rounds.
func ratio(a, b []float64) float64 {
	each := make([]float64, 0, len(a))
	for i := range min(len(a), len(b)) {
		each = append(each, a[i]/b[i])
	}
	return median(each)
}

// interleave runs the runners once to warm caches, and then all in rounds, every second round in reverse order. What the
// run before has left to be written goes to disk before a sample begins.
func interleave(ctx context.Context, rounds int, say func(format string, a ...any), runners ...runner) ([]series, error) {
	out := make([]series, len(runners))
	order := make([]int, len(runners))
	for i, r := range runners {
		out[i].Name, order[i] = r.name, i
	}
	for round := range rounds + 1 {
		for _, i := range order {
			if r := runners[i]; round == 0 && r.cold || r.most > 0 && round > r.most {
				continue
			}
			syscall.Sync()
			used := cpuTime()
			took, err := runners[i].run(ctx)
			used = cpuTime() - used
			if err != nil {
				return nil, fmt.Errorf("measure %s: %w", runners[i].name, err)
			}
			if round == 0 {
				say("  warm-up  %-58s %7.2f s", runners[i].name, took.Seconds())
				continue
			}
			say("  round %d  %-58s %7.2f s  (%.2f s of CPU)", round, runners[i].name, took.Seconds(), used.Seconds())
			out[i].Seconds = append(out[i].Seconds, took.Seconds())
			out[i].CPU = append(out[i].CPU, used.Seconds())
		}
		slices.Reverse(order)
	}
	return out, nil
}

// timed is the wall time of f.
func timed(f func() error) (time.Duration, error) {
	start := time.Now()
	err := f()
	return time.Since(start), err
}

// fileSize is the size of a file that a baseline has written.
func fileSize(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
