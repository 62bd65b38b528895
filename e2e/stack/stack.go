// Package stack runs the whole product on one machine as its users do: the built controller, agent and command line, an S3
// server, PostgreSQL and MariaDB servers, SQLite files and, on request, an external NATS server.
//
// Everything listens on loopback and writes under one directory. Each part can be stopped, killed, paused and started again
// alone. What the stack starts it knows by process id, no process outlives the program that runs the stack, and Stop fails if
// one is left.
package stack

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"devflowbackup/shared/testkit/s3kit"
)

// marker is in the environment of every program that the stack starts, with the stack's id as its value.
const marker = "DEVFLOW_STACK"

// Options of New.
type Options struct {
	// Dir holds everything: configurations, states, databases, objects, logs. It is made if it does not exist, and what an
	// earlier stack left there is used again. If we are root, the user postgres must be able to reach it.
	Dir string
	// Bin is the directory of the built programs; bin in the repository that holds the working directory if empty.
	Bin string
	// Failpoints runs the programs of Bin/failpoints, which were built with the tag of that name.
	Failpoints bool
	// Log is told what is started and stopped. Nil: nobody.
	Log io.Writer
}

// Stack is a set of running parts. Its methods may be called from several goroutines.
type Stack struct {
	Dir string // absolute

	id       string
	bin      string // programs of ours
	toolsBin string // programs of others
	log      io.Writer

	mu         sync.Mutex
	stops      []func(context.Context) error
	databases  []*Postgres
	mariaPorts []int
	agents     []*Agent
}

// New makes a stack in which nothing runs yet. It fails if a program is missing.
func New(opt Options) (*Stack, error) {
	if opt.Dir == "" {
		return nil, errors.New("make stack: no directory given")
	}
	dir, err := filepath.Abs(opt.Dir)
	if err != nil {
		return nil, fmt.Errorf("make stack: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make stack: %w", err)
	}
	// Links in the path would hide processes from Processes, which compares paths.
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, fmt.Errorf("make stack: %w", err)
	}
	s := &Stack{Dir: dir, bin: opt.Bin, log: opt.Log}
	if s.bin == "" {
		root, err := s3kit.Root()
		if err != nil {
			return nil, fmt.Errorf("make stack: %w", err)
		}
		s.bin = filepath.Join(root, "bin")
	}
	if s.bin, err = filepath.Abs(s.bin); err != nil {
		return nil, fmt.Errorf("make stack: %w", err)
	}
	s.toolsBin = filepath.Join(s.bin, "tools")
	if opt.Failpoints {
		s.bin = filepath.Join(s.bin, "failpoints")
	}
	if s.log == nil {
		s.log = io.Discard
	}
	for _, program := range []string{s.Program("devflow-controller"), s.Program("devflow-agent"), s.Program("devflowctl"), s.versitygw()} {
		if _, err := os.Stat(program); err != nil {
			return nil, fmt.Errorf("make stack: %s is missing: run `make build tools`", program)
		}
	}
	var random [8]byte
	_, _ = rand.Read(random[:])
	s.id = hex.EncodeToString(random[:])
	if err := os.MkdirAll(s.path("logs"), 0o755); err != nil {
		return nil, fmt.Errorf("make stack: %w", err)
	}
	return s, nil
}

// Program is the path of a built program.
func (s *Stack) Program(name string) string { return filepath.Join(s.bin, name) }

// LogFile is where the log of the named part lies.
func (s *Stack) LogFile(name string) string { return s.path("logs", name+".log") }

func (s *Stack) versitygw() string { return filepath.Join(s.toolsBin, "versitygw") }

func (s *Stack) path(elem ...string) string {
	return filepath.Join(append([]string{s.Dir}, elem...)...)
}

func (s *Stack) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.log, format+"\n", args...)
}

// onStop registers what Stop calls, last registered first.
func (s *Stack) onStop(f func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stops = append(s.stops, f)
}

// Stop ends every part, the last started first, and returns an error if one does not end or if any process of the stack is
// left, a dump tool for example. Stopping twice does nothing.
func (s *Stack) Stop(ctx context.Context) error {
	s.mu.Lock()
	stops := s.stops
	s.stops = nil
	s.mu.Unlock()
	if stops == nil {
		return nil
	}
	var errs []error
	for _, stop := range slices.Backward(stops) {
		errs = append(errs, stop(ctx))
	}
	// A program that was just killed takes its children with it, which takes the kernel a moment.
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	var left []Running
	if err := Until(limit, "no process is left", func(context.Context) (bool, error) {
		left = s.Processes()
		return len(left) == 0, nil
	}); err != nil {
		errs = append(errs, fmt.Errorf("stop stack: processes are left: %v", left))
	}
	return errors.Join(errs...)
}

// secretFile returns the secret in a file of the stack and makes a random one at the first call.
func (s *Stack) secretFile(elem ...string) (path, value string, err error) {
	path = s.path(elem...)
	if b, err := os.ReadFile(path); err == nil && len(b) > 0 {
		return path, string(trimNewline(b)), nil
	}
	var random [16]byte
	_, _ = rand.Read(random[:])
	value = hex.EncodeToString(random[:])
	return path, value, WriteFile(path, value+"\n", 0o600)
}

func trimNewline(b []byte) []byte {
	for len(b) > 0 && (b[len(b)-1] == '\n' || b[len(b)-1] == '\r') {
		b = b[:len(b)-1]
	}
	return b
}

// WriteFile writes a file with its directory, whole or not at all.
func WriteFile(path, text string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.WriteFile(temp, []byte(text), mode); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
