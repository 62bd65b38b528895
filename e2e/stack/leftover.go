package stack

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Running is a process found on this machine.
type Running struct {
	PID     int
	Command string // its arguments, separated by spaces
}

func (r Running) String() string { return fmt.Sprintf("%d (%s)", r.PID, r.Command) }

// Processes are the running processes of this stack: those that carry its mark, work in or name its directory, or are
// connected to one of its database servers. The program that runs the stack is not among them.
func (s *Stack) Processes() []Running {
	marks := []string{marker + "=" + s.id}
	s.mu.Lock()
	for _, p := range s.databases {
		marks = append(marks, "PGPORT="+strconv.Itoa(p.Port()))
	}
	for _, port := range s.mariaPorts {
		marks = append(marks, fmt.Sprintf("port=%q", strconv.Itoa(port)))
	}
	s.mu.Unlock()
	return ProcessesIn(s.Dir, marks...)
}

// programs are what the product and its servers run as. Someone's shell or pager in the directory is none of ours.
var programs = []string{"devflow-agent", "devflow-controller", "versitygw", "postgres", "initdb", "pg_dump", "pg_restore", "mariadb", "mysql", "sqlite3"}

// ProcessesIn are the running programs of the product and its servers that work in the directory or name it in an argument, and
// the processes that have one of the given settings in their environment, or in an option file without a name as programs of
// MariaDB get it from an agent. This process is not among them.
func ProcessesIn(dir string, settings ...string) []Running {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return []Running{{Command: err.Error()}}
	}
	var found []Running
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		command, environ, err := readProcess(pid)
		if err != nil || len(command) == 0 {
			continue // ended meanwhile, or a zombie
		}
		ours := slices.ContainsFunc(environ, func(e string) bool { return slices.Contains(settings, e) })
		program := filepath.Base(command[0])
		if !ours && (strings.HasPrefix(program, "mariadb") || strings.HasPrefix(program, "mysql")) {
			ours = hasOption(pid, settings)
		}
		if !ours && slices.ContainsFunc(programs, func(p string) bool { return strings.HasPrefix(program, p) }) {
			cwd, err := os.Readlink(filepath.Join("/proc", e.Name(), "cwd"))
			ours = err == nil && within(dir, cwd) || slices.ContainsFunc(command, func(arg string) bool { return within(dir, arg) })
		}
		if ours {
			found = append(found, Running{PID: pid, Command: strings.Join(command, " ")})
		}
	}
	return found
}

// hasOption tells whether a process has an option file without a name with one of the settings as a line.
func hasOption(pid int, settings []string) bool {
	links, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "fd", "*"))
	if err != nil {
		return false
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || !strings.HasPrefix(target, "/memfd:") {
			continue
		}
		text, err := os.ReadFile(link)
		if err == nil && slices.ContainsFunc(strings.Split(string(text), "\n"), func(line string) bool { return slices.Contains(settings, line) }) {
			return true
		}
	}
	return false
}

func within(dir, text string) bool {
	_, after, found := strings.Cut(text, dir)
	return found && (after == "" || after[0] == '/')
}

func readProcess(pid int) (command, environ []string, err error) {
	split := func(file string) ([]string, error) {
		b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), file))
		if err != nil || len(b) == 0 {
			return nil, err
		}
		return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00"), nil
	}
	if command, err = split("cmdline"); err != nil {
		return nil, nil, err
	}
	if environ, err = split("environ"); err != nil {
		return command, nil, err
	}
	return command, environ, nil
}

// CommandAndEnviron are the arguments and the environment of a process, as everyone on the machine or its owner can read them.
func CommandAndEnviron(pid int) (command, environ []string, err error) { return readProcess(pid) }

// Listeners are the addresses that these processes listen on for TCP.
func Listeners(processes []Running) ([]netip.AddrPort, error) {
	inodes := map[string]bool{}
	for _, p := range processes {
		links, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(p.PID), "fd", "*"))
		if err != nil {
			return nil, fmt.Errorf("list open files of %s: %w", p, err)
		}
		for _, link := range links {
			if target, err := os.Readlink(link); err == nil {
				if inode, ok := strings.CutPrefix(target, "socket:["); ok {
					inodes[strings.TrimSuffix(inode, "]")] = true
				}
			}
		}
	}
	var found []netip.AddrPort
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(table)
		if os.IsNotExist(err) {
			continue // no IPv6 here
		}
		if err != nil {
			return nil, fmt.Errorf("list sockets: %w", err)
		}
		for _, line := range strings.Split(string(b), "\n")[1:] {
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != "0A" || !inodes[f[9]] {
				continue
			}
			addr, err := parseAddr(f[1])
			if err != nil {
				return nil, fmt.Errorf("list sockets: %w", err)
			}
			found = append(found, addr)
		}
	}
	return found, nil
}

// parseAddr reads an address of /proc/net/tcp: 32-bit words in the machine's order (little-endian here), then the port.
func parseAddr(text string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q: %w", text, err)
	}
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q: %w", text, err)
	}
	for word := range slices.Chunk(raw, 4) {
		slices.Reverse(word)
	}
	addr, ok := netip.AddrFromSlice(raw)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("address %q has %d bytes", text, len(raw))
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), nil
}

// childrenOf are the processes below pid, with theirs.
func childrenOf(pid int) []Running {
	parents := map[int][]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue
		}
		// The name in parentheses may itself have spaces and parentheses.
		_, after, ok := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')'):]), " ")
		if f := strings.Fields(after); ok && len(f) > 1 && f[0] != "Z" {
			if parent, err := strconv.Atoi(f[1]); err == nil {
				parents[parent] = append(parents[parent], child)
			}
		}
	}
	var found []Running
	for queue := parents[pid]; len(queue) > 0; queue = queue[1:] {
		if command, _, err := readProcess(queue[0]); err == nil && len(command) > 0 {
			found = append(found, Running{PID: queue[0], Command: strings.Join(command, " ")})
		}
		queue = append(queue, parents[queue[0]]...)
	}
	return found
}
