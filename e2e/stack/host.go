package stack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Host is this machine once more, with a root and processes of its own: what is written there is gone with it, and what runs there
// ends with it. It has this machine's programs and loopback, an empty /tmp and /run, no init system, and no agent. Making one needs root.
type Host struct {
	Name string

	stack *Stack
	cmd   *exec.Cmd
	stdin io.Closer
}

const loginPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// holder mounts the root in a mount namespace of its own, and stays there as process 1. It is ready only when the root is its own: what
// enters it before that would be on the machine itself.
const holder = `set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" overlay "$1/root"
mount -t proc proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
mount -t tmpfs tmpfs "$1/root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$1/root/run"
(cd "$1/root" && rm -rf etc/devflow etc/init.d/devflow-agent var/lib/devflow-agent usr/bin/devflow-agent usr/local/bin/devflow-agent usr/lib/systemd/system/devflow-agent.service)
mount --bind "$1/up" "$1/root/mnt"
exec chroot "$1/root" sh -c 'echo ready; exec cat'`

// NewHost makes a host.
func (s *Stack) NewHost(name string) (*Host, error) {
	dir := s.path(name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	h := &Host{Name: name, stack: s, cmd: exec.Command("sh", "-c", holder, "sh", dir)} //nolint:noctx // it lives until Stop
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	h.cmd.Env = s.env(loginPath)
	var err error
	if h.stdin, err = h.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	var says strings.Builder
	h.cmd.Stderr = &says
	if err := h.cmd.Start(); err != nil {
		return nil, fmt.Errorf("make %s: %w (it needs root)", name, err)
	}
	s.onStop(h.Stop)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		_ = h.Stop(context.Background())
		return nil, fmt.Errorf("make %s: %w: %s", name, err, says.String())
	}
	return h, nil
}

// Stop ends the host with all that runs there.
func (h *Host) Stop(context.Context) error {
	if h.cmd.ProcessState != nil {
		return nil
	}
	_ = h.stdin.Close()
	_ = h.cmd.Process.Kill() // process 1 of its namespace: the kernel ends all others
	err := h.cmd.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil
	}
	return err
}

// command is one that runs there, with the environment of a login.
func (h *Host) command(ctx context.Context, stdin string, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--target", strconv.Itoa(h.cmd.Process.Pid), "--mount", "--pid", "--root", "--", "env", "--chdir=/root"}, args...)...)
	cmd.Env = h.stack.env("HOME=/root", loginPath)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// Run runs a program there to its end, whatever its status is.
func (h *Host) Run(ctx context.Context, stdin string, args ...string) (Result, error) {
	cmd := h.command(ctx, stdin, args)
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	res := Result{Args: args, Out: out.String(), Err: errOut.String()}
	if ctx.Err() != nil {
		return res, fmt.Errorf("run %s: %w", args[0], context.Cause(ctx))
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		res.Code = exit.ExitCode()
		return res, nil
	}
	if err != nil {
		return res, fmt.Errorf("run %s: %w", args[0], err)
	}
	return res, nil
}

// Start starts a program there, which runs until the host is stopped.
func (h *Host) Start(args ...string) error {
	log, err := os.Create(h.stack.LogFile(h.Name))
	if err != nil {
		return fmt.Errorf("start %s on %s: %w", args[0], h.Name, err)
	}
	defer log.Close()
	cmd := h.command(context.Background(), "", args)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s on %s: %w", args[0], h.Name, err)
	}
	go func() { _ = cmd.Wait() }()
	return nil
}

// Changed are the paths that were made or changed since NewHost, directories left out.
func (h *Host) Changed(ctx context.Context) ([]string, error) {
	res, err := h.Run(ctx, "", "find", "/mnt", "!", "-type", "d", "!", "-type", "c") // a device marks what was removed
	if err != nil || res.Code != 0 {
		return nil, errors.Join(err, fmt.Errorf("look at %s: %s", h.Name, res.Text()))
	}
	var out []string
	for line := range strings.Lines(res.Out) {
		out = append(out, path.Join("/", strings.TrimPrefix(strings.TrimSpace(line), "/mnt")))
	}
	return out, nil
}
