package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Result is what a program that ran to its end has said.
type Result struct {
	Args []string // with the program's name
	Out  string
	Err  string
	Code int // exit status, -1 if a signal ended it
}

// Text is everything that it said, for messages.
func (r Result) Text() string {
	return strings.TrimSpace(fmt.Sprintf("%s: exit status %d\n%s%s", strings.Join(r.Args, " "), r.Code, r.Err, r.Out))
}

// run runs a program to its end, whatever its status is. The end of ctx interrupts it as Ctrl-C would.
func (s *Stack) run(ctx context.Context, program string, args []string, env ...string) (Result, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env, cmd.Dir = s.env(env...), s.Dir
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	res := Result{Args: append([]string{program[strings.LastIndexByte(program, '/')+1:]}, args...), Out: out.String(), Err: errOut.String()}
	if ctx.Err() != nil {
		return res, fmt.Errorf("run %s: %w", res.Args[0], context.Cause(ctx))
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		res.Code = exit.ExitCode()
		return res, nil
	}
	if err != nil {
		return res, fmt.Errorf("run %s: %w", res.Args[0], err)
	}
	return res, nil
}
