package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// shell runs a pipeline of the bare tools as an operator would type it; any stage that fails fails it. The text is
// ours, what varies comes in by the environment.
func shell(ctx context.Context, env []string, text string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", text)
	cmd.Env = env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	took, err := timed(cmd.Run)
	if err != nil {
		return took, fmt.Errorf("run `%s`: %w: %s", text, err, strings.TrimSpace(out.String()))
	}
	return took, nil
}
