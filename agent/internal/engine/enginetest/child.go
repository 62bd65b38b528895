package enginetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/failpoint"
	"devflowbackup/shared/wire"
)

// childVariable tells a test binary that it is the process that is to crash.
const childVariable = "DEVFLOW_ENGINETEST_CHILD"

// Verbs of a child.
const (
	verbSwap   = "swap"
	verbSettle = "settle"
)

// order is what a child does. It comes by its standard input, for it holds passwords.
type order struct {
	Config  string
	Verb    string
	Request engine.SwapRequest
	// CancelAt is a failpoint's marker: when it appears, the context is cancelled.
	CancelAt string
}

// answer is what came of it; none if the child crashed.
type answer struct {
	Result  *engine.SwapResult
	State   string
	Code    string // of the failure; empty: none
	Message string

	crashed bool
}

// Main must be called in TestMain, before a server is started: if this process was started to crash in an engine, it makes
// one by open, does as it is told and does not return. open gets what Swap.Config gave.
func Main(open func(config string) (engine.Engine, error)) {
	if os.Getenv(childVariable) == "" {
		return
	}
	if err := act(open); err != nil {
		fmt.Fprintln(os.Stderr, "enginetest:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func act(open func(config string) (engine.Engine, error)) error {
	var o order
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	if !failpoint.Enabled {
		return errors.New("this binary has no failpoints")
	}
	e, err := open(o.Config)
	if err != nil {
		return fmt.Errorf("make the engine: %w", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if o.CancelAt != "" {
		go func() {
			for range time.Tick(time.Millisecond) {
				if _, err := os.Lstat(o.CancelAt); err == nil {
					cancel(wire.Failf(wire.CodeCancelled, "somebody said so"))
					return
				}
			}
		}()
	}
	var a answer
	switch o.Verb {
	case verbSwap:
		a.Result, err = e.Swap(ctx, o.Request)
	case verbSettle:
		a.State, err = e.Settle(ctx, o.Request)
	default:
		return fmt.Errorf("unknown verb %q", o.Verb)
	}
	if err != nil {
		f := wire.AsFailure(err)
		a.Code, a.Message = f.Code, f.Error()
	}
	return json.NewEncoder(os.Stdout).Encode(a)
}

var child struct {
	sync.Once
	path string
	err  error
}

// buildChild builds the test binary of the working directory's package with failpoints.
func buildChild(t *testing.T) string {
	t.Helper()
	child.Do(func() {
		// Not the test's TempDir: the binary outlives the test that builds it.
		dir, err := os.MkdirTemp("", "enginetest-")
		if err != nil {
			child.err = err
			return
		}
		child.path = filepath.Join(dir, "child")
		out, err := exec.CommandContext(context.Background(), "go", "test", "-c", "-tags", "failpoints", "-o", child.path, ".").CombinedOutput()
		if err != nil {
			child.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if child.err != nil {
		t.Fatalf("build the binary with failpoints: %v", child.err)
	}
	return child.path
}

// removeChild removes what buildChild made.
func removeChild() {
	if child.path != "" {
		_ = os.RemoveAll(filepath.Dir(child.path))
	}
}

// child runs an order in a process of its own.
func (s *suite) child(t *testing.T, o order, failpoints ...string) answer {
	t.Helper()
	o.Config = s.Swap.Config(t)
	in, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(newContext(t), buildChild(t))
	cmd.Env = append(os.Environ(), childVariable+"=1", "DEVFLOW_FAILPOINTS="+strings.Join(failpoints, ","))
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &stdout, &stderr
	err = cmd.Run()
	s.silent(t, "output of the child", stdout.String()+stderr.String())
	if cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == failpoint.ExitStatus {
		return answer{crashed: true}
	}
	if err != nil {
		t.Fatalf("child: %v\n%s", err, stderr.String())
	}
	var a answer
	if err := json.Unmarshal(stdout.Bytes(), &a); err != nil {
		t.Fatalf("child: %v\n%s\n%s", err, stdout.String(), stderr.String())
	}
	return a
}
