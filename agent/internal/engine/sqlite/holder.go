package sqlite

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"devflowbackup/agent/internal/engine"
)

const (
	// leaving is how long programs that are closing the file are waited for before they count.
	leaving = time.Second
	glance  = 20 * time.Millisecond
)

// holders are the programs that have a file open, without this one.
type holders struct {
	sessions []engine.Session
	unseen   int // programs whose open files this one may not look at
}

// findHolders looks through the open files of all processes.
func findHolders(files map[fileID]bool) (h holders, err error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return h, fmt.Errorf("look for programs that have the file open: %w", err)
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return h, fmt.Errorf("look for programs that have the file open: %w", err)
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == os.Getpid() {
			continue
		}
		switch open, err := hasOpen("/proc/"+name, files); {
		case open:
			h.sessions = append(h.sessions, describeProcess(pid, "has the file open"))
		case err != nil && program("/proc/"+name):
			h.unseen++
		}
	}
	return h, nil
}

// hasOpen tells whether a process has one of the files open. An error is a process that may not be looked at.
func hasOpen(process string, files map[fileID]bool) (bool, error) {
	dir, err := os.Open(process + "/fd")
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		return false, err
	}
	if err != nil {
		return false, nil //nolint:nilerr // it has ended
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return false, nil //nolint:nilerr // as above
	}
	var denied error
	for _, name := range names {
		var x unix.Statx_t
		// Not synced: a network file system that is gone must not hold us up.
		err := unix.Statx(int(dir.Fd()), name, unix.AT_STATX_DONT_SYNC, unix.STATX_INO, &x)
		switch {
		case errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM):
			denied = err
		case err == nil && files[fileID{unix.Mkdev(x.Dev_major, x.Dev_minor), x.Ino}]:
			return true, nil
		}
	}
	return false, denied
}

// program tells a program from a thread of the kernel, which has no command line.
func program(process string) bool {
	line, err := os.ReadFile(process + "/cmdline") //nolint:gosec // of a process
	return err == nil && len(line) > 0
}

// describeProcess says as much as there is to know.
func describeProcess(pid int, state string) engine.Session {
	process := fmt.Sprintf("/proc/%d", pid)
	s := engine.Session{State: state, Client: fmt.Sprintf("process %d", pid)}
	if name, err := os.ReadFile(process + "/comm"); err == nil { //nolint:gosec // of a process
		s.Application = strings.ToValidUTF8(string(bytes.TrimSpace(name)), "?")
	}
	var st unix.Stat_t
	if unix.Stat(process, &st) == nil {
		s.User = userName(st.Uid)
	}
	s.Since = startOf(process)
	return s
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

// startOf is when a process was started, zero if that is not known.
func startOf(process string) time.Time {
	stat, err := os.ReadFile(process + "/stat") //nolint:gosec // of a process
	if err != nil {
		return time.Time{}
	}
	// The name of the program, in parentheses, may hold anything.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	var now unix.Timespec
	if len(fields) < 20 || unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return time.Time{}
	}
	const ticks = 100 // per second, on every platform
	started, err := strconv.ParseInt(string(fields[19]), 10, 64)
	if err != nil {
		return time.Time{}
	}
	up := time.Duration(started) * (time.Second / ticks)
	return time.Now().Add(up - time.Duration(now.Nano())).Truncate(time.Second)
}

// describeSessions says how many there are, and whose.
func describeSessions(sessions []engine.Session) string {
	const most = 5
	var each []string
	for _, s := range sessions[:min(most, len(sessions))] {
		text := s.Client
		if s.Application != "" {
			text = fmt.Sprintf("%q (%s)", s.Application, s.Client)
		}
		if s.User != "" {
			text += fmt.Sprintf(" of %q", s.User)
		}
		each = append(each, text+", which "+s.State)
	}
	if len(sessions) > most {
		each = append(each, "…")
	}
	if len(sessions) == 1 {
		return "1 program: " + each[0]
	}
	return fmt.Sprintf("%d programs: %s", len(sessions), strings.Join(each, "; "))
}
