// Package notify tells the service manager how a daemon is doing, by the protocol of sd_notify(3): ready, status, alive,
// stopping.
//
// Invariants: the programs that a daemon starts never get the manager's socket, because Open takes it out of the
// environment; nothing waits for the manager; a daemon that no manager watches runs the same, and says nothing.
package notify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// environment is what a service manager sets for its daemon, and for nobody else.
var environment = []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}

// Supervisor is the service manager that started this process. A nil *Supervisor is nobody: all its methods do nothing. Its
// methods may be called from several goroutines.
type Supervisor struct {
	socket   *net.UnixAddr
	watchdog time.Duration
}

// Open reads what the service manager has set in the environment and removes it there. Without a manager it returns nil and
// no error. Call it before anything is started.
func Open() (*Supervisor, error) {
	path, usec, pid := os.Getenv("NOTIFY_SOCKET"), os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID")
	for _, name := range environment {
		if err := os.Unsetenv(name); err != nil {
			return nil, fmt.Errorf("take %s out of the environment: %w", name, err)
		}
	}
	if path == "" {
		return nil, nil //nolint:nilnil // nobody is a Supervisor, as documented
	}
	if path[0] != '/' && path[0] != '@' {
		return nil, fmt.Errorf("NOTIFY_SOCKET is %q: neither an absolute path nor an abstract name", path)
	}
	s := &Supervisor{socket: &net.UnixAddr{Name: path, Net: "unixgram"}}
	if usec != "" && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		n, err := strconv.ParseInt(usec, 10, 64)
		if err != nil || n <= 0 {
			return nil, fmt.Errorf("WATCHDOG_USEC is %q: not a number of microseconds", usec)
		}
		s.watchdog = time.Duration(n) * time.Microsecond
	}
	return s, nil
}

// Watchdog is the longest time that may pass between two signs of life, 0 if nobody counts.
func (s *Supervisor) Watchdog() time.Duration {
	if s == nil {
		return 0
	}
	return s.watchdog
}

// Ready says that the daemon does its work, and what it is at.
func (s *Supervisor) Ready(status string) error { return s.send("READY=1", state(status)) }

// Status says what the daemon is at, for people.
func (s *Supervisor) Status(status string) error { return s.send(state(status)) }

// Reloading says that the daemon reads its configuration anew. Ready, with whatever came of it, ends that.
func (s *Supervisor) Reloading() error {
	if s == nil {
		return nil
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	return s.send("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(now.Nano()/1000, 10))
}

// Stopping says that the daemon has begun to stop and that it may take so long: the manager kills it no earlier.
func (s *Supervisor) Stopping(most time.Duration, status string) error {
	return s.send("STOPPING=1", "EXTEND_TIMEOUT_USEC="+strconv.FormatInt(most.Microseconds(), 10), state(status))
}

// Watch gives signs of life, as often as the manager asks, for as long as alive returns nil. It returns when ctx ends, at once
// if nobody counts. What alive complains of goes to silent: the daemon is killed and started anew unless alive returns nil
// again in time. alive gets half of that time, and one that has not returned by then counts as an error.
func (s *Supervisor) Watch(ctx context.Context, alive func(context.Context) error, silent func(error)) {
	if s.Watchdog() == 0 {
		return
	}
	tick := time.NewTicker(s.watchdog / 4)
	defer tick.Stop()
	for {
		err := within(ctx, s.watchdog/2, alive)
		if err == nil {
			err = s.send("WATCHDOG=1")
		}
		if err != nil && ctx.Err() == nil {
			silent(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

var errLate = errors.New("the check of liveness does not return")

// within returns what f returns, or errLate when it has not after so long, even if it takes no notice of its context.
func within(ctx context.Context, most time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, most, errLate)
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- f(ctx) }()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// state makes a status line of any text.
func state(status string) string {
	return "STATUS=" + strings.Join(strings.FieldsFunc(status, func(r rune) bool { return r < ' ' }), " ")
}

func (s *Supervisor) send(lines ...string) error {
	if s == nil {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, s.socket)
	if err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	defer func() { _ = conn.Close() }()
	// A manager that does not read must not hold the daemon up.
	if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	if _, err := conn.Write([]byte(strings.Join(lines, "\n"))); err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	return nil
}
