package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
)

// machine is what the figures depend on.
type machine struct {
	CPU       string   `json:"cpu"`
	Cores     int      `json:"cores"`
	MemoryMiB int64    `json:"memory_mib"`
	Kernel    string   `json:"kernel"`
	Go        string   `json:"go"`
	Tools     []string `json:"tools"`
	Load      float64  `json:"load_before"` // 1-minute load average before the first sample: work that is not ours
}

func (m machine) String() string {
	return fmt.Sprintf("%d cores of %s, %d GiB, Linux %s, %s; load before the run %.2f\n%s",
		m.Cores, m.CPU, m.MemoryMiB>>10, m.Kernel, m.Go, m.Load, strings.Join(m.Tools, " · "))
}

func describeMachine(ctx context.Context) machine {
	m := machine{CPU: "an unknown processor", Cores: runtime.NumCPU(), Go: runtime.Version(), Kernel: firstField("/proc/sys/kernel/osrelease")}
	m.Load, _ = strconv.ParseFloat(firstField("/proc/loadavg"), 64)
	m.MemoryMiB = field("/proc/meminfo", "MemTotal:") >> 10
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				m.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	for _, args := range [][]string{
		{"pg_dump", "--version"}, {"mysqldump", "--version"}, {"sqlite3", "--version"}, {"zstd", "--version"}, {"age", "--version"}, {"gzip", "--version"},
	} {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).Output(); err == nil {
			first, _, _ := strings.Cut(string(out), "\n")
			first = strings.Trim(first, "* ")
			if args[0] == "sqlite3" { // a date and a checksum follow
				first, _, _ = strings.Cut(first, " ")
			}
			if !strings.Contains(first, args[0]) && args[0] != "zstd" {
				first = args[0] + " " + first
			}
			m.Tools = append(m.Tools, first)
		}
	}
	return m
}

func firstField(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	if f := strings.Fields(string(b)); len(f) > 0 {
		return f[0]
	}
	return ""
}

// field is the number that follows name in a file of "name number unit" lines, 0 if it is not there.
func field(path, name string) int64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n
		}
	}
	return 0
}
