// Package tool runs the dump and restore programs of database systems.
//
// A program is started by path with arguments that are data: never a shell, never an inherited environment. It runs in a
// process group of its own and dies with the agent. Its standard output yields io.EOF only after it ended with status 0;
// its standard error is kept capped and scrubbed. Whatever happens (error, stall, cancellation, a child that holds on to
// a pipe), no process of the group is left once Close returned.
package tool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"devflowbackup/shared/secret"
)

const (
	defaultGrace = 5 * time.Second
	// drainTime is how long pipes may stay open after the program itself has ended.
	drainTime = 2 * time.Second
	// pipeSize lets the program run ahead of a reader that waits for the network.
	pipeSize = 1 << 20
)

var (
	// ErrStalled says that the program was waited for without a byte for the whole stall timeout.
	ErrStalled = errors.New("no progress within the stall timeout")
	// ErrClosed says that the stream was closed before its end.
	ErrClosed = errors.New("stream is closed")
	// ErrHeldOpen says that the program ended but something that it started keeps its output open.
	ErrHeldOpen = errors.New("a process that it started keeps its output open")
)

// Command is one program run.
type Command struct {
	Path string
	Args []string // without the program's name
	Env  []string // the whole environment, but for what Buffered adds
	// Buffered makes the program write its standard output in pieces of 256 KiB instead of 4, where the system has what it
	// takes (OutputBuffering). Only for a program that Version said takes it.
	Buffered bool
	// Files become the descriptors 3, 4, … of the program: see FilePath. The caller closes them after the start.
	Files []*os.File
	// Stdin is the program's standard input; nil is /dev/null. Input ignores it.
	Stdin *os.File
	// StallTimeout bounds how long one Read or Write waits for the program. Zero is no bound.
	StallTimeout time.Duration
	// Grace is the time between SIGTERM and SIGKILL; zero is 5 seconds.
	Grace time.Duration
	// Nice lowers the program's priority.
	Nice int
	// Watch, if not nil, is shown each line of the standard error as it comes, and tells whether it is kept. It is called by one
	// goroutine, and the program waits for it once a pipe is full.
	Watch func(line string) (keep bool)
	// Secrets are masked in everything that the program writes to its standard error.
	Secrets []secret.String
}

func (c Command) name() string { return filepath.Base(c.Path) }

// FilePath is the path under which the program can open Files[i].
func FilePath(i int) string { return fmt.Sprintf("/proc/self/fd/%d", 3+i) }

// ExitError is a program that ended with another status than 0.
type ExitError struct {
	Name   string
	Status int            // -1 if a signal ended it
	Signal syscall.Signal // 0 if it exited by itself
	Log    string         // its standard error, capped and scrubbed
}

func (e *ExitError) Error() string {
	text := fmt.Sprintf("%s ended with status %d", e.Name, e.Status)
	if e.Signal != 0 {
		text = fmt.Sprintf("%s was ended by signal %d (%s)", e.Name, int(e.Signal), e.Signal)
	}
	if said := essence(e.Log); said != "" {
		text += ": " + said
	}
	return text
}

// essence joins the first line that tells of an error and the two after it, or the last three lines if none does. Empty
// lines do not count. It is at most 600 bytes long.
func essence(text string) string {
	const most = 3
	var lines []string
	first := -1
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if first < 0 && strings.Contains(strings.ToLower(line), "error") {
			first = len(lines)
		}
		lines = append(lines, line)
	}
	if first < 0 {
		first = max(0, len(lines)-most)
	}
	joined := strings.Join(lines[first:min(first+most, len(lines))], "; ")
	if len(joined) > 600 {
		joined = strings.ToValidUTF8(joined[:600], "") + "…"
	}
	return joined
}
