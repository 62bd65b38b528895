package tool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is one running program and its group.
type process struct {
	name   string
	cmd    *exec.Cmd
	log    *Log
	lines  *lines // before the log, if its lines are watched
	grace  time.Duration
	exited chan struct{} // the program itself has ended
	done   chan struct{} // nothing of it is left; err is set
	err    error

	mu      sync.Mutex
	cause   error // why it was told to stop
	reaped  bool  // its id may belong to someone else
	stopped chan struct{}
	wake    func() // interrupts a blocked Read or Write
}

// start starts the program. It is told to stop when ctx ends.
func start(ctx context.Context, c Command, stdin, stdout *os.File) (*process, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name(), context.Cause(ctx))
	}
	p := &process{
		name: c.name(), log: NewLog(c.Secrets...), grace: c.Grace,
		exited: make(chan struct{}), done: make(chan struct{}), stopped: make(chan struct{}),
	}
	if p.grace <= 0 {
		p.grace = defaultGrace
	}
	// Not CommandContext: it would kill the program alone, at once.
	p.cmd = exec.Command(c.Path, c.Args...)  //nolint:noctx // supervise ends the whole group, gently first
	p.cmd.Env = append([]string{}, c.Env...) // nil would be ours
	if c.Buffered {
		p.cmd.Env = append(p.cmd.Env, OutputBuffering()...)
	}
	p.cmd.Dir = "/"
	p.cmd.ExtraFiles = c.Files
	if stdin != nil {
		p.cmd.Stdin = stdin
	}
	if stdout != nil {
		p.cmd.Stdout = stdout
	}
	p.cmd.Stderr = p.log
	if c.Watch != nil {
		p.lines = &lines{to: p.log, keep: c.Watch}
		p.cmd.Stderr = p.lines
	}
	p.cmd.WaitDelay = drainTime
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}

	started := make(chan error)
	go p.run(c.Nice, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go p.supervise(ctx)
	return p, nil
}

// run starts the program and waits for its end, on one thread: the death signal is sent when the forking thread ends.
func (p *process) run(nice int, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	pid := p.cmd.Process.Pid
	if nice != 0 {
		// A lower priority is a courtesy, not a condition.
		_ = unix.Setpriority(unix.PRIO_PROCESS, pid, nice)
	}
	// Looks without reaping, so that the group's id is still ours when what is left of the group is killed.
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	p.mu.Lock()
	_ = syscall.Kill(-pid, syscall.SIGKILL)
	p.reaped = true
	close(p.exited)
	wake := p.wake
	p.mu.Unlock()
	if wake != nil {
		wake()
	}
	err = p.cmd.Wait()
	if p.lines != nil && !errors.Is(err, exec.ErrWaitDelay) { // then nobody writes any more
		p.lines.end()
	}
	p.err = p.outcome(err)
	close(p.done)
}

func (p *process) outcome(err error) error {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, exec.ErrWaitDelay):
		return fmt.Errorf("%s: %w", p.name, ErrHeldOpen)
	case !errors.As(err, &exit):
		return fmt.Errorf("wait for %s: %w", p.name, err)
	}
	failed := &ExitError{Name: p.name, Status: exit.ExitCode(), Log: p.log.String()}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		failed.Signal = status.Signal()
	}
	return failed
}

// supervise ends the group when it is asked to: SIGTERM, and SIGKILL if that does not help.
func (p *process) supervise(ctx context.Context) {
	select {
	case <-p.exited:
		// Its output may not have been read yet: the context still counts until the stream has ended.
		select {
		case <-ctx.Done():
			p.stop(context.Cause(ctx))
		case <-p.stopped:
		}
		return
	case <-ctx.Done():
		p.stop(context.Cause(ctx))
	case <-p.stopped:
	}
	p.signal(syscall.SIGTERM)
	timer := time.NewTimer(p.grace)
	defer timer.Stop()
	select {
	case <-p.exited:
	case <-timer.C:
		p.signal(syscall.SIGKILL)
	}
}

func (p *process) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		_ = syscall.Kill(-p.cmd.Process.Pid, sig)
	}
}

// stop asks for the end of the program; the first cause counts. It does not wait.
func (p *process) stop(cause error) {
	p.mu.Lock()
	first := p.cause == nil
	if first {
		p.cause = cause
		close(p.stopped)
	}
	wake := p.wake
	p.mu.Unlock()
	if first && wake != nil {
		wake()
	}
}

// onWake sets what interrupts a blocked Read or Write when the program ends or is told to stop.
func (p *process) onWake(wake func()) {
	p.mu.Lock()
	p.wake = wake
	p.mu.Unlock()
	wake()
}

func (p *process) stopCause() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cause
}

func (p *process) hasExited() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// result waits for the end and tells why: the cause of the stop if there was one, else the program's own outcome.
func (p *process) result() error {
	<-p.done
	if cause := p.stopCause(); cause != nil {
		return fmt.Errorf("%s was stopped: %w", p.name, cause)
	}
	return p.err
}

// makePipe is a pipe with room for pipeSize bytes, if the kernel allows it. Our end must stay non-blocking, for
// deadlines: File.Fd would change that.
func makePipe() (r, w *os.File, err error) {
	r, w, err = os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("make pipe: %w", err)
	}
	if raw, err := r.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
	}
	return r, w, nil
}
