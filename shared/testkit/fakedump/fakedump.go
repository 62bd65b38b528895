// Package fakedump makes programs that stand in for dump and restore tools and fail as they are told. A fake is the test
// binary itself, started by a small script under the tool's name, so that it can do what no script can: hold a pipe
// open, ignore signals, flood an output.
//
// Each start is recorded, so that a test can show that its fault has fired.
package fakedump

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const roleVariable = "DEVFLOW_FAKEDUMP"

// Script is what a fake does, in the order of the fields.
type Script struct {
	// Version is the answer to --version: a whole line. Empty: Real is asked.
	Version string
	// IgnoreTerm makes SIGTERM do nothing.
	IgnoreTerm bool
	// HoldOutput starts a child that keeps standard output and error open until it is killed. With Apart it leaves our
	// process group and session first; then the test has to kill it.
	HoldOutput bool
	Apart      bool
	// Stderr is written to standard error, StderrBytes of it: repeated as needed.
	Stderr      string
	StderrBytes int64
	// WaitFor is a file that has to appear before the script goes on.
	WaitFor string
	// ReadInput reads that many bytes of standard input; -1 is all.
	ReadInput int64
	// Real is a program that is run with the same arguments, environment and descriptors; its status counts unless Exit is set.
	Real string
	// MaxOutput cuts the output of Real after that many bytes; 0 does not.
	MaxOutput int64
	// Stdout is written to standard output.
	Stdout string
	// Hang waits for ever.
	Hang bool
	// Signal ends the fake by a signal, Exit by a status.
	Signal int
	Exit   int
}

// TB is the part of testing.TB that the package needs.
type TB interface {
	Helper()
	TempDir() string
	Fatal(args ...any)
}

// Fake is one installed fake tool.
type Fake struct {
	tb  TB
	dir string
}

// Install makes a directory with a program of this name that acts by the script.
func Install(tb TB, name string, script Script) *Fake {
	tb.Helper()
	f := &Fake{tb: tb, dir: tb.TempDir()}
	f.Add(name, script)
	return f
}

// Add installs one more program in the same directory.
func (f *Fake) Add(name string, script Script) {
	f.tb.Helper()
	self, err := os.Executable()
	if err != nil {
		f.tb.Fatal(err)
	}
	encoded, err := json.Marshal(script)
	if err != nil {
		f.tb.Fatal(err)
	}
	config := filepath.Join(f.dir, name+".json")
	wrapper := fmt.Sprintf("#!/bin/sh\n%s=%s exec %s \"$@\"\n", roleVariable, quote(config), quote(self))
	if err := errors.Join(os.WriteFile(config, encoded, 0o600), os.WriteFile(filepath.Join(f.dir, name), []byte(wrapper), 0o700)); err != nil {
		f.tb.Fatal(err)
	}
}

func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// Dir is the directory of the programs.
func (f *Fake) Dir() string { return f.dir }

// Run is one start of a fake that was not for its version.
type Run struct {
	Name  string
	Pid   int
	Child int // of HoldOutput
	Args  []string
	Env   []string // without our own variable
}

// Runs are the starts so far.
func (f *Fake) Runs() []Run {
	f.tb.Helper()
	b, err := os.ReadFile(filepath.Join(f.dir, "runs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		f.tb.Fatal(err)
	}
	var runs []Run
	for line := range strings.Lines(string(b)) {
		var run Run
		if err := json.Unmarshal([]byte(line), &run); err != nil {
			f.tb.Fatal(err)
		}
		runs = append(runs, run)
	}
	return runs
}

// Main must be the first call in TestMain: if this process was started as a fake, it acts and does not return.
func Main() {
	config := os.Getenv(roleVariable)
	switch config {
	case "":
		return
	case "hold":
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP)
		<-never()
	}
	status, err := act(config)
	if err != nil {
		fmt.Fprintln(os.Stderr, "fakedump:", err)
		status = 99
	}
	os.Exit(status)
}

func act(config string) (status int, err error) {
	encoded, err := os.ReadFile(config)
	if err != nil {
		return 0, err
	}
	var s Script
	if err := json.Unmarshal(encoded, &s); err != nil {
		return 0, err
	}
	name := strings.TrimSuffix(filepath.Base(config), ".json")
	if len(os.Args) > 1 && os.Args[1] == "--version" {
		return s.version()
	}
	if s.IgnoreTerm {
		signal.Ignore(syscall.SIGTERM)
	}
	run := Run{Name: name, Pid: os.Getpid(), Args: os.Args[1:], Env: environment()}
	if s.HoldOutput {
		if run.Child, err = holdOutput(s.Apart); err != nil {
			return 0, err
		}
	}
	if err := record(filepath.Join(filepath.Dir(config), "runs"), run); err != nil {
		return 0, err
	}
	if err := flood(s.Stderr, s.StderrBytes); err != nil {
		return 0, err
	}
	for s.WaitFor != "" {
		if _, err := os.Lstat(s.WaitFor); err == nil {
			break
		}
		<-time.After(5 * time.Millisecond)
	}
	switch {
	case s.ReadInput > 0:
		_, err = io.CopyN(io.Discard, os.Stdin, s.ReadInput)
	case s.ReadInput < 0:
		_, err = io.Copy(io.Discard, os.Stdin)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	if s.Real != "" {
		if status, err = s.runReal(); err != nil {
			return 0, err
		}
	}
	if _, err := os.Stdout.WriteString(s.Stdout); err != nil {
		return 0, err
	}
	if s.Hang {
		<-never()
	}
	if s.Signal != 0 {
		signal.Reset()
		if err := syscall.Kill(os.Getpid(), syscall.Signal(s.Signal)); err != nil {
			return 0, err
		}
		<-never()
	}
	if s.Exit != 0 {
		status = s.Exit
	}
	return status, nil
}

// never does not fire. Waiting for a signal is no deadlock for the runtime, as an empty select would be.
func never() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR2)
	return c
}

func (s Script) version() (int, error) {
	if s.Version != "" {
		_, err := fmt.Println(s.Version)
		return 0, err
	}
	if s.Real == "" {
		return 0, errors.New("no version to tell")
	}
	out, err := exec.Command(s.Real, "--version").Output()
	if err != nil {
		return 0, err
	}
	_, err = os.Stdout.Write(out)
	return 0, err
}

func environment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, roleVariable+"=") {
			env = append(env, v)
		}
	}
	return env
}

func record(path string, run Run) error {
	line, err := json.Marshal(run)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(append(line, '\n'))
	return errors.Join(err, file.Close())
}

func holdOutput(apart bool) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	child := exec.Command(self)
	child.Env = []string{roleVariable + "=hold"}
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: apart}
	if err := child.Start(); err != nil {
		return 0, err
	}
	return child.Process.Pid, nil
}

func flood(text string, n int64) error {
	if text == "" && n > 0 {
		text = strings.Repeat("x", 4096) + "\n"
	}
	if n == 0 {
		_, err := os.Stderr.WriteString(text)
		return err
	}
	for n > 0 {
		piece := text[:min(int64(len(text)), n)]
		if _, err := os.Stderr.WriteString(piece); err != nil {
			return err
		}
		n -= int64(len(piece))
	}
	return nil
}

// runReal runs the program with our descriptors, those above 2 included.
func (s Script) runReal() (int, error) {
	cmd := exec.Command(s.Real, os.Args[1:]...)
	cmd.Env = environment()
	cmd.Stdin, cmd.Stderr = os.Stdin, os.Stderr
	for fd := 3; ; fd++ {
		file := inherited(fd)
		if file == nil {
			break
		}
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
	}
	var wait func() error
	if s.MaxOutput == 0 {
		cmd.Stdout = os.Stdout
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		wait = cmd.Wait
	} else {
		out, err := cmd.StdoutPipe()
		if err != nil {
			return 0, err
		}
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		wait = func() error {
			if _, err := io.CopyN(os.Stdout, out, s.MaxOutput); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			if _, err := io.Copy(io.Discard, out); err != nil {
				return err
			}
			return cmd.Wait()
		}
	}
	err := wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// inherited is a memory file or plain file that the caller gave us, nil for what the Go runtime opened.
func inherited(fd int) *os.File {
	target, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil || strings.HasPrefix(target, "anon_inode:") || strings.HasPrefix(target, "/sys/") || strings.HasPrefix(target, "pipe:") {
		return nil
	}
	return os.NewFile(uintptr(fd), target)
}
