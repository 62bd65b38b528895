package failpoint_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"devflowbackup/shared/failpoint"
)

// A shipped build has no failpoints, whatever the environment says.
func TestHit_OffByDefault(t *testing.T) {
	t.Setenv("DEVFLOW_FAILPOINTS", "x=exit")
	failpoint.Hit("x")
	if err := failpoint.Err("x"); err != nil || failpoint.Enabled {
		t.Fatalf("failpoints are on in a plain build: %v", err)
	}
}

const program = `package main

import (
	"fmt"

	"devflowbackup/shared/failpoint"
)

func main() {
	fmt.Println(failpoint.Err("a"))
	failpoint.Hit("b")
	fmt.Println("end")
}
`

func TestHit_On(t *testing.T) {
	dir, err := os.MkdirTemp(".", "testdata-") // inside the module, so that it can be imported
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(t.TempDir(), "program")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-tags", "failpoints", "-o", bin, "./"+dir).CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	marker := filepath.Join(t.TempDir(), "marker")
	run := func(env string) (string, int) {
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), bin)
		cmd.Env = []string{"DEVFLOW_FAILPOINTS=" + env}
		out, err := cmd.Output()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out)), cmd.ProcessState.ExitCode()
	}
	for _, tc := range []struct {
		env, out string
		status   int
	}{
		{"", "<nil>\nend", 0},
		{"a=error", "failpoint a\nend", 0},
		{"b=exit", "<nil>", failpoint.ExitStatus},
		{"b=sleep:10ms", "<nil>\nend", 0},
		{"a=error, b=panic", "failpoint a", 2},
		{"b=exit@" + marker, "<nil>", failpoint.ExitStatus},
		{"b=exit@" + marker, "<nil>\nend", 0}, // fired before
	} {
		if out, status := run(tc.env); out != tc.out || status != tc.status {
			t.Errorf("%q: status %d, output %q; want %d, %q", tc.env, status, out, tc.status, tc.out)
		}
	}
}
