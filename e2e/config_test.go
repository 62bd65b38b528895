package e2e_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"devflowbackup/e2e/stack"
)

// run runs a built program that needs no stack, to its end.
func run(t *testing.T, ctx context.Context, program string, args ...string) stack.Result {
	t.Helper()
	s, err := stack.New(stack.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, s.Program(program), args...)
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return stack.Result{Args: append([]string{program}, args...), Out: string(out), Code: cmd.ProcessState.ExitCode()}
}

// TestConfig_UnknownKey: a misspelt key is named with its file, and nothing is started or made.
func TestConfig_UnknownKey(t *testing.T) {
	ctx := testContext(t)
	for _, c := range []struct {
		program, text string
		args, words   []string
	}{
		{"devflow-controller", "data_dir: STATE\ntimming:\n  lease: 1m\n", []string{"serve", "--embedded"}, []string{"timming", "unknown field"}},
		{"devflow-controller", "data_dir: STATE\ntiming:\n  heartbaet: 1s\n", []string{"serve", "--embedded"}, []string{"heartbaet"}},
		{"devflow-controller", "data_dir: STATE\ntiming:\n  heartbeat: 10\n", []string{"serve", "--embedded"}, []string{"heartbeat", "10s"}},
		{"devflow-agent", "state_dir: STATE\ninstanses: []\n", []string{"run"}, []string{"instanses"}},
		{"devflow-agent", "state_dir: STATE\ninstances:\n  - name: main\n    engine: postgresql\n    pasword: hunter2\n", []string{"run"}, []string{"pasword"}},
		{"devflow-agent", "state_dir: STATE\ninstances:\n  - name: main\n    engine: postgres\n", []string{"check"}, []string{"engine", `"postgres"`, "postgresql"}},
	} {
		t.Run(c.program+"/"+c.words[0], func(t *testing.T) {
			dir := t.TempDir()
			state, file := filepath.Join(dir, "state"), filepath.Join(dir, "config.yaml")
			text := []byte(strings.ReplaceAll(c.text, "STATE", state))
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
			res := run(t, ctx, c.program, append(c.args, "--config", file)...)
			says(t, res, 1, append(c.words, file)...)
			if strings.Contains(res.Out, "hunter2") {
				t.Errorf("the error shows the password: %s", res.Out)
			}
			if _, err := os.Stat(state); !os.IsNotExist(err) {
				t.Errorf("the state directory was made: %v", err)
			}
		})
	}
}
