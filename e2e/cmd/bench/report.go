package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// report is all of one run, as it is written to result.json.
type report struct {
	At          time.Time    `json:"at"`
	Version     string       `json:"version"`
	Machine     machine      `json:"machine"`
	Settings    settingsOf   `json:"settings"`
	Comparisons []comparison `json:"comparisons"`
	Moments     []moment     `json:"moments"`
	Memory      []memory     `json:"memory"`
}

// settingsOf are the measured servers' own.
type settingsOf struct {
	PostgreSQL map[string]string `json:"postgresql"`
	MariaDB    map[string]string `json:"mariadb"`
}

// comparison is one measurement with all of its samples.
type comparison struct {
	ID     string   `json:"id"`
	Title  string   `json:"title"`
	Input  string   `json:"input"`
	Bytes  int64    `json:"bytes"` // of dump that each sample handles
	Series []series `json:"series"`
	Ratios []result `json:"ratios"`
}

// result is a figure held against its target.
type result struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Target float64 `json:"target,omitempty"` // 0: none, shown for information
	Least  bool    `json:"least,omitempty"`  // the target is the least that is good, not the most
}

// most holds the ratio of two series against the most that it may be.
func most(name string, ours, theirs series, target float64) result {
	return result{Name: name, Value: ratio(ours.Seconds, theirs.Seconds), Unit: "×", Target: target}
}

// least holds how many times as fast ours is against the least that it must be.
func least(name string, ours, theirs series, target float64) result {
	return result{Name: name, Value: ratio(theirs.Seconds, ours.Seconds), Unit: "× as fast", Target: target, Least: true}
}

// cpu is the ratio of what both have used of all cores, whatever else the machine did meanwhile. It has no target.
func cpu(name string, ours, theirs series) result {
	return result{Name: name, Value: ratio(ours.CPU, theirs.CPU), Unit: "×"}
}

func (r result) met() bool {
	if r.Least {
		return r.Value >= r.Target
	}
	return r.Value <= r.Target
}

// verdict says whether the target is reached, and if not by what part of it.
func (r result) verdict() string {
	if r.Target == 0 {
		return "no target"
	}
	word := "at most"
	if r.Least {
		word = "at least"
	}
	if r.met() {
		return fmt.Sprintf("target %s %.4g: met", word, r.Target)
	}
	by := r.Value/r.Target - 1
	if r.Least {
		by = 1 - r.Value/r.Target
	}
	return fmt.Sprintf("target %s %.4g: missed by %.0f %%", word, r.Target, 100*by)
}

func (r result) String() string {
	value := fmt.Sprintf("%.2f %s", r.Value, r.Unit)
	if r.Unit == "MiB" {
		value = fmt.Sprintf("%.0f MiB", r.Value)
	}
	return fmt.Sprintf("%-58s %16s   %s", r.Name, value, r.verdict())
}

func (r *report) print(w io.Writer) {
	line := strings.Repeat("─", 138)
	fmt.Fprintf(w, "\n%s\n%s   %s\n%s\n", line, r.At.Format("2006-01-02 15:04 MST"), r.Version, r.Machine)
	for _, c := range r.Comparisons {
		fmt.Fprintf(w, "%s\n%s: %s\n\n", line, c.Title, c.Input)
		for _, s := range c.Series {
			fmt.Fprintf(w, "    %-58s %s   median %6.2f s  %5.0f MB/s  %6.2f s of CPU\n",
				s.Name, samples(s.Seconds), median(s.Seconds), float64(c.Bytes)/1e6/median(s.Seconds), median(s.CPU))
		}
		fmt.Fprintln(w)
		for _, x := range c.Ratios {
			fmt.Fprintf(w, "    %s\n", x)
		}
	}
	if len(r.Moments) > 0 {
		fmt.Fprintf(w, "%s\nSwaps: for how long the target could not be used\n\n", line)
		for _, m := range r.Moments {
			for _, one := range []struct {
				who string
				ms  []float64
			}{{"as the agent tells", m.Agent}, {"as a client sees that asks every millisecond", m.Client}} {
				fmt.Fprintf(w, "    %-12s %-46s %2d swaps   median %7.2f ms   longest %7.2f ms\n", m.Title, one.who, len(one.ms), median(one.ms), slices.Max(one.ms))
			}
		}
	}
	if len(r.Memory) > 0 {
		fmt.Fprintf(w, "%s\nPeak memory (VmHWM): a fresh agent and a fresh controller for each size\n\n", line)
		fmt.Fprintf(w, "    %10s %12s   %-34s %10s %12s\n", "dump", "stored", "after", "agent", "controller")
		for _, m := range r.Memory {
			for _, p := range m.Peaks {
				fmt.Fprintf(w, "    %10s %12s   %-34s %6.0f MiB %8.0f MiB\n", mb(m.DumpBytes), mb(m.StoredBytes), fmt.Sprintf("%s (%.1f s)", p.After, p.Seconds), p.AgentMiB, p.ControllerMiB)
			}
		}
		fmt.Fprintln(w)
		for _, x := range memoryResults(r.Memory) {
			fmt.Fprintf(w, "    %s\n", x)
		}
	}
	fmt.Fprintln(w, line)
}

// save writes the run beside the data, whole or not at all.
func (r *report) save(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	next := path + ".new"
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(next, append(b, '\n'), 0o644); err != nil { //nolint:gosec // figures for everyone to read
		return err
	}
	return os.Rename(next, path)
}

func samples(seconds []float64) string {
	var b strings.Builder
	for _, s := range seconds {
		fmt.Fprintf(&b, " %6.2f", s)
	}
	return b.String()
}

// mb is a size in megabytes, which is what throughput is told in.
func mb(n int64) string {
	if n >= 10e9 {
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	}
	return fmt.Sprintf("%.0f MB", float64(n)/1e6)
}
