package tool_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devflowbackup/agent/internal/engine/enginetest"
	"devflowbackup/agent/internal/engine/tool"
	"devflowbackup/shared/testkit/fakedump"
)

// parentVariable makes this binary an agent that runs the named program and waits.
const parentVariable = "DEVFLOW_TEST_PARENT"

func TestMain(m *testing.M) {
	fakedump.Main()
	if program := os.Getenv(parentVariable); program != "" {
		r, err := tool.Output(context.Background(), tool.Command{Path: program})
		if err == nil {
			_, err = io.Copy(os.Stdout, r)
		}
		panic(err)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func newContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func install(t *testing.T, s fakedump.Script) (string, *fakedump.Fake) {
	f := fakedump.Install(t, "fake", s)
	t.Cleanup(func() {
		var left []string
		for range 500 { // who was killed is gone in a moment
			if left = enginetest.Processes(t, func(string) bool { return false }); len(left) == 0 {
				return
			}
			<-time.After(10 * time.Millisecond)
		}
		t.Errorf("processes are left: %q", left)
	})
	return filepath.Join(f.Dir(), "fake"), f
}

func output(t *testing.T, c tool.Command) *tool.Reader {
	t.Helper()
	r, err := tool.Output(newContext(t), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestOutput_EOFMeansStatusZero(t *testing.T) {
	path, _ := install(t, fakedump.Script{Stdout: "all of it"})
	r := output(t, tool.Command{Path: path})
	if err := r.Await(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil || string(got) != "all of it" {
		t.Fatalf("%q, %v", got, err)
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("second end: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestOutput_Status(t *testing.T) {
	path, _ := install(t, fakedump.Script{Stdout: "all of it", Stderr: "first\n\nwhat went wrong\n", Exit: 3})
	r := output(t, tool.Command{Path: path})
	got, err := io.ReadAll(r)
	var exit *tool.ExitError
	if string(got) != "all of it" || !errors.As(err, &exit) || exit.Status != 3 || exit.Signal != 0 {
		t.Fatalf("%q, %v", got, err)
	}
	if !strings.Contains(err.Error(), "status 3: first; what went wrong") {
		t.Errorf("error: %v", err)
	}
	if _, again := r.Read(make([]byte, 1)); !errors.As(again, &exit) {
		t.Errorf("second read: %v", again)
	}
}

func TestOutput_Signal(t *testing.T) {
	path, _ := install(t, fakedump.Script{Stdout: "x", Signal: int(syscall.SIGKILL)})
	_, err := io.ReadAll(output(t, tool.Command{Path: path}))
	var exit *tool.ExitError
	if !errors.As(err, &exit) || exit.Signal != syscall.SIGKILL {
		t.Fatal(err)
	}
}

func TestOutput_ErrNotExist(t *testing.T) {
	_, err := tool.Output(newContext(t), tool.Command{Path: "/no/such/program"})
	if !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

func TestOutput_StallCountsOnlyWhileWaiting(t *testing.T) {
	path, _ := install(t, fakedump.Script{Stdout: strings.Repeat("x", 3<<20)})
	const stall = 2 * time.Second
	r := output(t, tool.Command{Path: path, StallTimeout: stall})
	if _, err := io.CopyN(io.Discard, r, 1000); err != nil {
		t.Fatal(err)
	}
	// The reader is slow, not the program.
	<-time.After(stall + stall/2)
	n, err := io.Copy(io.Discard, r)
	if err != nil || n != 3<<20-1000 {
		t.Fatalf("%d, %v", n, err)
	}
}

func TestOutput_Stall(t *testing.T) {
	for name, s := range map[string]fakedump.Script{
		"Silent": {Hang: true}, "AfterOutput": {Stdout: "x", Hang: true}, "Stubborn": {Stdout: "x", Hang: true, IgnoreTerm: true, HoldOutput: true},
	} {
		t.Run(name, func(t *testing.T) {
			path, fake := install(t, s)
			r := output(t, tool.Command{Path: path, StallTimeout: 500 * time.Millisecond, Grace: 200 * time.Millisecond})
			if _, err := io.ReadAll(r); !errors.Is(err, tool.ErrStalled) {
				t.Fatal(err)
			}
			if len(fake.Runs()) != 1 {
				t.Error("the program was not started")
			}
		})
	}
}

func TestOutput_HeldOpen(t *testing.T) {
	path, fake := install(t, fakedump.Script{Stdout: "x", HoldOutput: true, Apart: true})
	r := output(t, tool.Command{Path: path, StallTimeout: time.Minute})
	started := time.Now()
	_, err := io.ReadAll(r)
	if !errors.Is(err, tool.ErrHeldOpen) {
		t.Errorf("%v", err)
	}
	if took := time.Since(started); took > 20*time.Second {
		t.Errorf("took %s", took)
	}
	r.Close()
	// It has left the group: only the test can end it.
	child := fake.Runs()[0].Child
	if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(child, &status, 0, nil); err != nil {
		t.Fatal(err)
	}
}

func TestOutput_Cancel(t *testing.T) {
	path, _ := install(t, fakedump.Script{Stdout: "x", Hang: true, IgnoreTerm: true})
	cause := errors.New("somebody said so")
	ctx, cancel := context.WithCancelCause(newContext(t))
	r, err := tool.Output(ctx, tool.Command{Path: path, Grace: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Await(); err != nil {
		t.Fatal(err)
	}
	cancel(cause)
	if _, err := io.ReadAll(r); !errors.Is(err, cause) {
		t.Fatal(err)
	}
}

func TestOutput_CancelAfterExit(t *testing.T) {
	path, _ := install(t, fakedump.Script{Stdout: "all of it"})
	cause := errors.New("somebody said so")
	ctx, cancel := context.WithCancelCause(newContext(t))
	r, err := tool.Output(ctx, tool.Command{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	enginetest.Eventually(t, "it ends", func() bool {
		return len(enginetest.Processes(t, func(string) bool { return false })) == 0
	})
	cancel(cause)
	enginetest.Eventually(t, "the cancellation arrives", func() bool {
		_, err := r.Read(make([]byte, 1))
		return errors.Is(err, cause)
	})
}

func TestOutput_CloseDuringRead(t *testing.T) {
	path, _ := install(t, fakedump.Script{Hang: true})
	r := output(t, tool.Command{Path: path})
	result := make(chan error)
	go func() {
		_, err := io.ReadAll(r)
		result <- err
	}()
	for range 2 {
		r.Close()
	}
	if err := <-result; !errors.Is(err, tool.ErrClosed) {
		t.Fatal(err)
	}
}

func TestOutput_EnvironmentIsGivenAlone(t *testing.T) {
	t.Setenv("PGHOST", "from-the-agent")
	path, fake := install(t, fakedump.Script{})
	if _, _, err := tool.Run(newContext(t), tool.Command{Path: path, Args: []string{"a b", "$HOME", ";"}, Env: []string{"ONLY=this"}}, 1); err != nil {
		t.Fatal(err)
	}
	run := fake.Runs()[0]
	if got := strings.Join(run.Args, "|"); got != "a b|$HOME|;" {
		t.Errorf("arguments %q", got)
	}
	for _, v := range run.Env {
		// PWD is what the fake's own shell adds.
		if v != "ONLY=this" && !strings.HasPrefix(v, "PWD=") {
			t.Errorf("environment has %q", v)
		}
	}
}

func TestRun_Limit(t *testing.T) {
	path, _ := install(t, fakedump.Script{Stdout: "12345"})
	if out, _, err := tool.Run(newContext(t), tool.Command{Path: path}, 5); err != nil || string(out) != "12345" {
		t.Errorf("%q, %v", out, err)
	}
	if _, _, err := tool.Run(newContext(t), tool.Command{Path: path}, 4); err == nil {
		t.Error("no error past the limit")
	}
}

func input(t *testing.T, c tool.Command) *tool.Writer {
	t.Helper()
	w, err := tool.Input(newContext(t), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Abort)
	return w
}

func TestInput(t *testing.T) {
	big := make([]byte, 5<<20)
	for name, c := range map[string]struct {
		script fakedump.Script
		ok     bool
	}{
		"ReadsAll":         {fakedump.Script{ReadInput: -1}, true},
		"ReadsAllAndFails": {fakedump.Script{ReadInput: -1, Exit: 1}, false},
		"EndsEarly":        {fakedump.Script{ReadInput: 100}, true},
		"EndsEarlyAndBad":  {fakedump.Script{ReadInput: 100, Exit: 1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			path, fake := install(t, c.script)
			w := input(t, tool.Command{Path: path, StallTimeout: time.Minute})
			_, writeErr := io.Copy(struct{ io.Writer }{w}, bytes.NewReader(big))
			err := w.Close()
			var exit *tool.ExitError
			switch {
			case c.ok && (writeErr != nil || err != nil):
				t.Errorf("%v, %v", writeErr, err)
			case !c.ok && !errors.As(err, &exit):
				t.Errorf("%v", err)
			}
			if again := w.Close(); !errors.Is(again, err) {
				t.Errorf("second Close: %v", again)
			}
			if len(fake.Runs()) != 1 {
				t.Error("the program was not started")
			}
		})
	}
}

func TestInput_Stall(t *testing.T) {
	path, _ := install(t, fakedump.Script{ReadInput: 10, Hang: true})
	w := input(t, tool.Command{Path: path, StallTimeout: 400 * time.Millisecond, Grace: 100 * time.Millisecond})
	n, err := io.Copy(struct{ io.Writer }{w}, bytes.NewReader(make([]byte, 5<<20)))
	if !errors.Is(err, tool.ErrStalled) {
		t.Fatalf("%d, %v", n, err)
	}
	if err := w.Close(); !errors.Is(err, tool.ErrStalled) {
		t.Errorf("Close: %v", err)
	}
}

func TestInput_Abort(t *testing.T) {
	path, _ := install(t, fakedump.Script{ReadInput: -1, IgnoreTerm: true})
	w := input(t, tool.Command{Path: path, Grace: 100 * time.Millisecond})
	if _, err := w.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	w.Abort()
	if err := w.Close(); !errors.Is(err, tool.ErrClosed) {
		t.Errorf("%v", err)
	}
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("an aborted writer takes more")
	}
}

// TestKilledParent covers fault 2: the kernel ends the program when the agent is killed.
func TestKilledParent(t *testing.T) {
	fake := fakedump.Install(t, "fake", fakedump.Script{Stdout: "x", Hang: true, IgnoreTerm: true})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(self)
	parent.Env = []string{parentVariable + "=" + filepath.Join(fake.Dir(), "fake")}
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	pid := fake.Runs()[0].Pid
	if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err != nil {
		t.Fatalf("the program does not run: %v", err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	// It is our child now, as we are a subreaper.
	enginetest.Eventually(t, "the program is gone", func() bool {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
		return err == nil && got == pid && status.Signal() == syscall.SIGKILL
	})
}

// Lines are shown as they come, whole, and kept or not; of the log, what is kept stays as it was written.
func TestOutput_Watch(t *testing.T) {
	long := strings.Repeat("x", 5000)
	said := "-- one\nfirst\n\n-- " + long + "\nsecond\n-- two\nlast"
	for name, status := range map[string]int{"Succeeds": 0, "Fails": 3} {
		t.Run(name, func(t *testing.T) {
			path, _ := install(t, fakedump.Script{Stderr: said, StderrBytes: int64(len(said)), Exit: status})
			var shown []string
			r := output(t, tool.Command{Path: path, StallTimeout: time.Minute, Watch: func(line string) bool {
				shown = append(shown, line)
				return !strings.HasPrefix(line, "-- ")
			}})
			_, err := io.ReadAll(r)
			if failed := (*tool.ExitError)(nil); errors.As(err, &failed) != (status != 0) {
				t.Fatal(err)
			}
			if want := "first\n\n-- " + long + "\nsecond\nlast"; r.Log() != want {
				t.Errorf("log %q, want %q", r.Log(), want)
			}
			if want := []string{"-- one", "first", "", "second", "-- two", "last"}; !slices.Equal(shown, want) {
				t.Errorf("shown %q, want %q", shown, want)
			}
		})
	}
}

func TestLog(t *testing.T) {
	l := tool.NewLog("hunter2", "se cret")
	if _, err := io.WriteString(l, "password hunter2 and se%20cret\x1b[31m\xff\n"); err != nil {
		t.Fatal(err)
	}
	if got, want := l.String(), "password *** and ***[31m\uFFFD\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	line := strings.Repeat("hunter2", 10) + "\n"
	for range 100_000 {
		_, _ = io.WriteString(l, line)
	}
	_, _ = io.WriteString(l, "the end\n")
	text := l.String()
	if len(text) > 70<<10 || !strings.HasPrefix(text, "password") || !strings.HasSuffix(text, "the end\n") || !strings.Contains(text, "bytes left out") {
		t.Errorf("%d bytes: %.60q … %.60q", len(text), text, text[max(0, len(text)-60):])
	}
	// Neither whole nor cut.
	for _, part := range []string{"hunter", "unter2", "hunt"} {
		if strings.Contains(text, part) {
			t.Errorf("holds %q", part)
		}
	}
}

func TestMemoryFile(t *testing.T) {
	f, err := tool.MemoryFile("x", []byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	cat, _, err := tool.Run(newContext(t), tool.Command{Path: "/bin/cat", Args: []string{tool.FilePath(0), tool.FilePath(0)}, Files: []*os.File{f}}, 100)
	if err != nil || string(cat) != "contentcontent" {
		t.Fatalf("%q, %v", cat, err)
	}
}
