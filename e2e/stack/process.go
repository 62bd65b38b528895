package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// stopTimeout is how long a program may take to end after SIGTERM.
const stopTimeout = 40 * time.Second

// Process is one run of a program. The kernel kills it if the program that runs the stack ends.
type Process struct {
	Name string // of the part

	cmd     *exec.Cmd
	logFrom int64 // where its log begins in the file
	exited  chan struct{}
	err     error // set before exited is closed
}

type processOptions struct {
	name    string
	program string
	args    []string
	env     []string // added to the stack's own
	dir     string
	stdout  string              // file; the log if empty
	log     string              // file that standard error is appended to
	as      *syscall.Credential // the stack's own account if nil
}

func (s *Stack) env(extra ...string) []string {
	return append([]string{
		"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + s.Dir, "LC_ALL=C.UTF-8", "TZ=UTC", marker + "=" + s.id,
	}, extra...)
}

// start runs a program in a process group of its own: a Ctrl-C in the terminal is for whoever runs the stack.
func (s *Stack) start(opt processOptions) (*Process, error) {
	logFile, err := os.OpenFile(opt.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", opt.name, err)
	}
	defer logFile.Close()
	out := logFile
	if opt.stdout != "" {
		if out, err = os.OpenFile(opt.stdout, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
			return nil, fmt.Errorf("start %s: %w", opt.name, err)
		}
		defer out.Close()
	}
	p := &Process{Name: opt.name, exited: make(chan struct{})}
	p.cmd = exec.Command(opt.program, opt.args...)
	p.cmd.Env, p.cmd.Dir = s.env(opt.env...), opt.dir
	p.cmd.Stdout, p.cmd.Stderr = out, logFile
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: opt.as}
	started := make(chan error, 1)
	go func() {
		// The death signal follows the thread that forked: it stays until the program has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", opt.name, err)
	}
	s.note("started %s, process id %d", opt.name, p.PID())
	return p, nil
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Exited is closed when the program has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Running tells whether the program has not ended yet; a paused one is running.
func (p *Process) Running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// ExitCode is the exit status of a program that has ended, -1 if a signal ended it or if it runs.
func (p *Process) ExitCode() int {
	if p.Running() {
		return -1
	}
	return p.cmd.ProcessState.ExitCode()
}

// Signal sends a signal. One that comes after the end is no error.
func (p *Process) Signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %s to %s: %w", sig, p.Name, err)
	}
	return nil
}

// Pause stops the program where it is, as a frozen virtual machine would.
func (p *Process) Pause() error { return p.Signal(syscall.SIGSTOP) }

// Continue lets a paused program go on.
func (p *Process) Continue() error { return p.Signal(syscall.SIGCONT) }

// Kill ends the program with SIGKILL and waits for its end.
func (p *Process) Kill() error {
	err := p.Signal(syscall.SIGKILL)
	if err == nil {
		<-p.exited
	}
	return err
}

// Stop ends the program with SIGTERM and returns an error if it has to be killed, or ends with another status than 0.
func (p *Process) Stop(ctx context.Context) error {
	if !p.Running() {
		return nil
	}
	if err := errors.Join(p.Signal(syscall.SIGTERM), p.Continue()); err != nil {
		return err
	}
	if err := p.Wait(ctx, stopTimeout); err != nil {
		return errors.Join(fmt.Errorf("stop %s: it does not end after SIGTERM: %w", p.Name, err), p.Kill())
	}
	if p.err != nil {
		return fmt.Errorf("stop %s: %w", p.Name, p.err)
	}
	return nil
}

// Wait waits for the program's end, whatever its status is.
func (p *Process) Wait(ctx context.Context, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.exited:
		return nil
	case <-timer.C:
		return fmt.Errorf("%s runs still after %s", p.Name, limit)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Tail returns the last lines of a file, at most 32 KiB of it.
func Tail(path string, lines int) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	const most = 32 << 10
	if info, err := f.Stat(); err == nil && info.Size() > most {
		if _, err := f.Seek(-most, io.SeekEnd); err != nil {
			return err.Error()
		}
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
