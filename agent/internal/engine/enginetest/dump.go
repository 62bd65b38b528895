package enginetest

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/testkit/fakedump"
	"devflowbackup/shared/wire"
)

func (s *suite) unknownDatabase(t *testing.T) {
	e := s.New(t)
	for _, word := range []string{"there is no such", `no "such'`, "host=localhost"} {
		name := s.named(word)
		_, err := e.Dump(newContext(t), engine.DumpRequest{Database: name})
		s.wantCode(t, err, wire.CodeDatabaseMissing)
		_, err = e.Fingerprint(newContext(t), name)
		s.wantCode(t, err, wire.CodeDatabaseMissing)
	}
	for _, name := range []string{"", "zero\x00byte", strings.Repeat("x", 65), "not \xff UTF-8"} {
		_, err := e.Dump(newContext(t), engine.DumpRequest{Database: name})
		s.wantCode(t, err, wire.CodeBadRequest)
	}
}

func (s *suite) wrongPassword(t *testing.T) {
	if s.NewRefused == nil {
		return // this engine has no login
	}
	name := s.create(t, "guarded", s.FillSmall)
	e := s.NewRefused(t)
	_, err := e.Dump(newContext(t), engine.DumpRequest{Database: name})
	s.wantCode(t, err, wire.CodeAuth)
	if wire.AsFailure(err).Hint == "" {
		t.Error("no hint")
	}
	_, err = e.Discover(newContext(t))
	s.wantCode(t, err, wire.CodeAuth)
	_, err = e.Server(newContext(t))
	s.wantCode(t, err, wire.CodeAuth)
}

func (s *suite) cancelDump(t *testing.T) {
	e := s.New(t)
	name := s.create(t, "cancelled", s.FillHurting)
	cause := wire.Failf(wire.CodeCancelled, "somebody said so")
	t.Run("BeforeStart", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(newContext(t))
		cancel(cause)
		_, err := e.Dump(ctx, engine.DumpRequest{Database: name})
		s.wantCode(t, err, wire.CodeCancelled)
	})
	for _, c := range []struct {
		name  string
		after int64
	}{{"BeforeRead", 0}, {"AfterAByte", 1}, {"AtAMegabyte", 1 << 20}, {"Late", 60 << 20}} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(newContext(t))
			defer cancel(nil)
			d, err := e.Dump(ctx, engine.DumpRequest{Database: name})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if _, err := io.CopyN(io.Discard, d, c.after); err != nil {
				t.Fatal(err)
			}
			cancel(cause)
			_, err = io.Copy(io.Discard, d)
			s.wantCode(t, err, wire.CodeCancelled)
			if !errors.Is(err, cause) {
				t.Errorf("the cause is lost: %v", err)
			}
			// Nothing is left even before Close.
			Eventually(t, "the program ends", func() bool { return len(Processes(t, s.IsServer)) == 0 })
			if _, err := d.Fingerprint(newContext(t)); c.after < 1<<20 && err == nil {
				t.Log("the fingerprint was complete before the cancellation")
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
			if _, err := d.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("read after close: %v", err)
			}
		})
	}
	t.Run("DeadlineIsTimedOut", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(newContext(t), 300*time.Millisecond)
		defer cancel()
		d, err := e.Dump(ctx, engine.DumpRequest{Database: name})
		if err == nil {
			defer d.Close()
			<-ctx.Done()
			_, err = io.Copy(io.Discard, d)
		}
		s.wantCode(t, err, wire.CodeTimedOut)
	})
}

func (s *suite) closeDump(t *testing.T) {
	e := s.New(t)
	name := s.create(t, "closed", s.FillHurting)
	open := func(t *testing.T) engine.Dump {
		d, err := e.Dump(newContext(t), engine.DumpRequest{Database: name})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	t.Run("Unread", func(t *testing.T) {
		d := open(t)
		for range 2 {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
			if left := Processes(t, s.IsServer); len(left) > 0 {
				t.Errorf("processes after Close: %q", left)
			}
		}
		if _, err := d.Fingerprint(newContext(t)); err == nil {
			t.Log("the fingerprint was complete")
		}
	})
	t.Run("WhileRead", func(t *testing.T) {
		d := open(t)
		reading := make(chan error, 1)
		first := make(chan struct{})
		go func() {
			buf := make([]byte, 4096)
			_, err := d.Read(buf)
			close(first)
			for err == nil {
				_, err = d.Read(buf)
			}
			reading <- err
		}()
		<-first
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if err := <-reading; errors.Is(err, io.EOF) {
			t.Error("a closed dump ended with io.EOF")
		}
	})
	t.Run("FingerprintWithoutReading", func(t *testing.T) {
		d := open(t)
		defer d.Close()
		f, err := d.Fingerprint(newContext(t))
		if err != nil {
			t.Fatal(err)
		}
		if f.Rows() == 0 {
			t.Error("fingerprint is empty")
		}
		if _, err := io.Copy(io.Discard, d); err != nil {
			t.Error(err)
		}
	})
}

func (s *suite) twoDumps(t *testing.T) {
	e := s.New(t)
	name := s.create(t, "twice", s.FillSmall)
	fingerprints := make([]*wire.Fingerprint, 2)
	var wg sync.WaitGroup
	for i := range fingerprints {
		wg.Go(func() {
			d, err := e.Dump(newContext(t), engine.DumpRequest{Database: name})
			if err != nil {
				t.Error(err)
				return
			}
			defer d.Close()
			if _, err := io.Copy(io.Discard, d); err != nil {
				t.Error(err)
			}
			if fingerprints[i], err = d.Fingerprint(newContext(t)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	if diff := fingerprints[0].Diff(fingerprints[1]); len(diff) > 0 {
		t.Errorf("fingerprints differ: %q", diff)
	}
}

// faults runs dumps with a program that fails. Each case shows that the program was started.
func (s *suite) faults(t *testing.T) {
	if s.NewFaulty == nil {
		return // this engine runs no program
	}
	name := s.create(t, "faulty", s.FillSmall)
	const stall = 700 * time.Millisecond
	for _, c := range []struct {
		name   string
		script fakedump.Script
		real   bool
		code   string
		says   string
	}{
		{"49/Exit1", fakedump.Script{Exit: 1}, true, wire.CodeToolFailed, "status 1"},
		{"49/Exit2", fakedump.Script{Exit: 2}, true, wire.CodeToolFailed, "status 2"},
		{"49/Exit3", fakedump.Script{Exit: 3}, true, wire.CodeToolFailed, "status 3"},
		{"49/Exit137", fakedump.Script{Exit: 137}, true, wire.CodeToolFailed, "status 137"},
		{"49/Killed", fakedump.Script{Signal: int(syscall.SIGKILL)}, true, wire.CodeToolFailed, "killed"},
		{"51/NothingWritten", fakedump.Script{Version: "real"}, false, wire.CodeEmptyDump, ""},
		{"53/Hangs", fakedump.Script{Hang: true}, false, wire.CodeStalled, ""},
		{"53/HangsAfterItsOutput", fakedump.Script{Hang: true}, true, wire.CodeStalled, ""},
		{"53/IgnoresTerm", fakedump.Script{Hang: true, IgnoreTerm: true}, true, wire.CodeStalled, ""},
		{"53/ChildHoldsThePipe", fakedump.Script{HoldOutput: true, Exit: 1}, true, wire.CodeToolFailed, "status 1"},
		{"53/HangsAndChildHoldsThePipe", fakedump.Script{HoldOutput: true, Hang: true, IgnoreTerm: true}, true, wire.CodeStalled, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Cleanup(func() { s.nothingLeft(t) })
			e, fake := s.NewFaulty(t, c.script, c.real)
			timeout := time.Minute
			if c.code == wire.CodeStalled {
				timeout = stall
			}
			err := s.readDump(t, e, name, timeout)
			s.wantCode(t, err, c.code)
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("error does not say %q: %v", c.says, err)
			}
			s.fired(t, fake)
		})
	}
	t.Run("53/ChildHoldsThePipeOfASuccess", func(t *testing.T) {
		t.Cleanup(func() { s.nothingLeft(t) })
		e, fake := s.NewFaulty(t, fakedump.Script{HoldOutput: true}, true)
		if err := s.readDump(t, e, name, time.Minute); err != nil {
			t.Errorf("what it started was killed with its group, the dump is complete: %v", err)
		}
		s.fired(t, fake)
	})
	t.Run("52/StderrFlood", func(t *testing.T) {
		const flood = 64 << 20 // twice what the heap may grow by
		e, fake := s.NewFaulty(t, fakedump.Script{StderrBytes: flood, Stderr: "secret " + s.Secrets[0] + " and more\n"}, true)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		d, err := e.Dump(newContext(t), engine.DumpRequest{Database: name})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if _, err := io.Copy(io.Discard, d); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 32<<20 {
			t.Errorf("the heap grew by %d bytes", grown)
		}
		log := d.Log()
		if len(log) == 0 || len(log) > 80<<10 {
			t.Errorf("log has %d bytes", len(log))
		}
		if !strings.Contains(log, "left out") {
			t.Error("the log does not say that it was cut")
		}
		s.silent(t, "log", log)
		s.fired(t, fake)
	})
	t.Run("CancelledWhileItIgnoresTerm", func(t *testing.T) {
		t.Cleanup(func() { s.nothingLeft(t) })
		e, fake := s.NewFaulty(t, fakedump.Script{Hang: true, IgnoreTerm: true, HoldOutput: true}, true)
		ctx, cancel := context.WithCancelCause(newContext(t))
		defer cancel(nil)
		d, err := e.Dump(ctx, engine.DumpRequest{Database: name})
		if err != nil {
			t.Fatal(err)
		}
		cancel(wire.Failf(wire.CodeInterrupted, "the agent stops"))
		_, err = io.Copy(io.Discard, d)
		s.wantCode(t, err, wire.CodeInterrupted)
		d.Close()
		s.fired(t, fake)
	})
}

func (s *suite) readDump(t *testing.T, e engine.Engine, name string, stall time.Duration) error {
	t.Helper()
	d, err := e.Dump(newContext(t), engine.DumpRequest{Database: name, StallTimeout: stall})
	if err != nil {
		return err
	}
	defer d.Close()
	_, err = io.Copy(io.Discard, d)
	if err != nil {
		if _, again := d.Read(make([]byte, 1)); again == nil || errors.Is(again, io.EOF) {
			t.Errorf("after %v the dump ends with %v", err, again)
		}
	}
	return err
}

// fired shows that the fake was run, and that it was told no secret.
func (s *suite) fired(t *testing.T, fake *fakedump.Fake) {
	t.Helper()
	runs := fake.Runs()
	if len(runs) == 0 {
		t.Error("the fault did not fire: the program was not started")
	}
	s.silent(t, "arguments or environment", describeRuns(runs))
}
