// Package dbprocess is what private database servers have in common: the account that one runs as, a process that ends with
// ours, the lock on its directory.
//
// No process outlives the one that started it: if that dies, the kernel sends the server its death signal.
package dbprocess

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// ErrInUse is wrapped by the error for a directory whose server is running already.
var ErrInUse = errors.New("data directory is in use")

// Command says what to run.
type Command struct {
	Program   string
	Args, Env []string // Env is the whole environment
	Dir       string
	Account   Account
	Death     syscall.Signal // sent to it if this process dies
	Ended     error          // what Err says of an end with status 0
	Log       io.Writer      // receives what it prints, if set
}

// Process is one run of a server program.
type Process struct {
	Pid  int
	cmd  *exec.Cmd
	log  *tail
	done chan struct{}
	err  error // set before done is closed
}

// Start runs the program in a process group of its own: Ctrl-C is for us, who stop the server when we are done with it.
func Start(c Command) (*Process, error) {
	p := &Process{log: &tail{next: c.Log}, done: make(chan struct{})}
	p.cmd = exec.Command(c.Program, c.Args...)
	p.cmd.Dir, p.cmd.Env = c.Dir, c.Env
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.WaitDelay = 10 * time.Second
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.Account.Credential(), Setpgid: true, Pdeathsig: c.Death}
	started := make(chan error)
	go func() {
		// The death signal is bound to the thread that forks: this one stays until the server has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		if err == nil {
			p.Pid = p.cmd.Process.Pid
		}
		started <- err
		if err != nil {
			return
		}
		p.err = p.cmd.Wait()
		if p.err == nil {
			p.err = c.Ended
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("run %s: %w", c.Program, err)
	}
	return p, nil
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how it ended, after Done.
func (p *Process) Err() error { return p.err }

// Output is the end of what it has printed.
func (p *Process) Output() string { return p.log.String() }

// Signal sends a signal. A process that has ended is no error.
func (p *Process) Signal(sig syscall.Signal) { _ = p.cmd.Process.Signal(sig) }

// Wait waits for its end and tells whether it came in time.
func (p *Process) Wait(d time.Duration) bool {
	select {
	case <-p.done:
		return true
	case <-time.After(d):
		return false
	}
}

// In returns the processes that have the directory as their working directory.
func In(dir string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if cwd, err := os.Readlink("/proc/" + e.Name() + "/cwd"); err == nil && cwd == dir {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Lock locks a file for this process, or fails with ErrInUse.
func Lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: another process runs its server: stop that one first", ErrInUse)
		}
		return nil, err
	}
	return f, nil
}

// Pause waits, unless the context ends.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
