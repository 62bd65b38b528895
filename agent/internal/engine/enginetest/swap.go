package enginetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/wire"
)

// Swap is what the cases of a restore in place need of a harness.
type Swap struct {
	// Steps are the failpoints that a Swap reaches, in their order. Each must be a failpoint.Err, whose error Swap takes for one of the
	// step before it.
	Steps []string
	// SettleSteps are the failpoints of Settle. Each is reached after a crash at one of Steps at least. None for an engine whose
	// Settle changes nothing.
	SettleSteps []string
	// Config is what Main makes the same engine from, in another process.
	Config func(tb testing.TB) string
	// Fill puts objects and rows that hold the mark into an empty database, and an empty table for a Session to write into.
	Fill func(tb testing.TB, name, mark string)
	// Open opens a session at a database. It is there until it is closed.
	Open func(tb testing.TB, name string) (Session, error)
	// Written lists the numbers that sessions wrote into a database.
	Written func(tb testing.TB, name string) []int64
	// CannotEnd says that the engine refuses SessionsEnd. A writer then closes its session after each write.
	CannotEnd bool
}

// Session is one of another program.
type Session interface {
	// Write adds a number. Without an error it is committed; with one, nobody knows.
	Write(ctx context.Context, n int64) error
	Close()
}

// place is a target, what is there, and what is under another name.
type place struct {
	target, other string
	at, under     map[string]string
}

// inPlace makes a target with one content, and another content that was restored into a staging database.
func (s *suite) inPlace(t *testing.T, e engine.Engine) *place {
	t.Helper()
	if s.Swap.Fill == nil || len(s.Swap.Steps) == 0 {
		t.Fatal("the harness does not say how databases are swapped")
	}
	source := s.create(t, "swap source", func(tb testing.TB, name string) { s.Swap.Fill(tb, name, "new") })
	p := &place{target: s.create(t, "swap target", func(tb testing.TB, name string) { s.Swap.Fill(tb, name, "old") }), other: newStaging()}
	d := s.dump(t, e, source)
	r, err := e.Restore(newContext(t), engine.RestoreRequest{Database: p.other, Target: p.target})
	if err != nil {
		t.Fatal(err)
	}
	if err := write(r, d.open(t)); err != nil {
		t.Fatalf("%v\n%s", err, r.Log())
	}
	t.Cleanup(func() { s.removeAll(t, e) })
	p.at, p.under = s.Content(t, p.target), s.Content(t, p.other)
	if maps.Equal(p.at, p.under) || len(p.at) == 0 {
		t.Fatal("the two contents are the same")
	}
	return p
}

// removeAll removes staging and kept databases by the engine, which must be able to.
func (s *suite) removeAll(t *testing.T, e engine.Engine) {
	t.Helper()
	for _, name := range append(s.stagings(t), s.kept(t)...) {
		if err := e.Remove(newContext(t), name); err != nil {
			t.Errorf("remove %s: %v", name, err)
		}
	}
}

func (s *suite) identity(t *testing.T, e engine.Engine, target string) string {
	t.Helper()
	found, err := e.Inspect(newContext(t), engine.InspectRequest{Target: target, InPlace: true})
	if err != nil {
		t.Fatal(err)
	}
	if !found.Exists || found.Identity == "" {
		t.Fatalf("%q is not found: %+v", target, found)
	}
	return found.Identity
}

// swap is a request for the place, with a new name to keep.
func (s *suite) swap(t *testing.T, e engine.Engine, p *place) engine.SwapRequest {
	t.Helper()
	return engine.SwapRequest{Staged: p.other, Target: p.target, Keep: newKept(), Identity: s.identity(t, e, p.target)}
}

// wantContent checks what is in a database, by what is not from the engine.
func (s *suite) wantContent(t *testing.T, name string, want map[string]string) {
	t.Helper()
	have := s.Content(t, name)
	for key, value := range want {
		if have[key] != value {
			t.Errorf("%q: %s is\n%.300s\nwant\n%.300s", name, key, have[key], value)
		}
	}
	for key := range have {
		if _, ok := want[key]; !ok {
			t.Errorf("%q has more: %s", name, key)
		}
	}
}

// wantBefore checks that a swap changed nothing.
func (s *suite) wantBefore(t *testing.T, e engine.Engine, p *place, req engine.SwapRequest) {
	t.Helper()
	s.exists(t, e, p.target, true)
	s.exists(t, e, p.other, true)
	if req.Keep != p.other {
		s.exists(t, e, req.Keep, false)
	}
	s.wantContent(t, p.target, p.at)
	s.wantContent(t, p.other, p.under)
}

// wantAfter checks that a swap is complete, and takes it over into p.
func (s *suite) wantAfter(t *testing.T, e engine.Engine, p *place, req engine.SwapRequest) {
	t.Helper()
	s.exists(t, e, req.Target, true)
	s.exists(t, e, req.Keep, true)
	s.exists(t, e, req.Staged, false)
	p.other, p.at, p.under = req.Keep, p.under, p.at
	s.wantContent(t, p.target, p.at)
	s.wantContent(t, p.other, p.under)
}

// left: the only database of a restore is found, with what to do about it.
func (s *suite) left(t *testing.T, e engine.Engine, name, what string) {
	t.Helper()
	var found []engine.Finding
	for _, f := range e.Check(newContext(t)) {
		if strings.Contains(f.Detail, engine.StagingPrefix) || strings.Contains(f.Detail, engine.KeptPrefix) {
			found = append(found, f)
		}
	}
	if len(found) != 1 || found[0].Level != "warning" || found[0].Name != what || !strings.Contains(found[0].Detail, name) || !strings.Contains(found[0].Hint, name) {
		t.Errorf("found %+v, want one that says %q of %s", found, what, name)
	}
}

func (s *suite) settle(t *testing.T, e engine.Engine, req engine.SwapRequest, want string) {
	t.Helper()
	for range 2 {
		state, err := e.Settle(newContext(t), req)
		if err != nil {
			t.Fatal(err)
		}
		if state != want {
			t.Fatalf("Settle says %q, want %q", state, want)
		}
	}
}

func (s *suite) inspect(t *testing.T) {
	e := s.New(t)
	absent := s.named("not there")
	s.Drop(t, absent)
	found, err := e.Inspect(newContext(t), engine.InspectRequest{Target: absent})
	if err != nil {
		t.Fatal(err)
	}
	if found.Exists || found.Identity != "" || len(stops(found)) > 0 {
		t.Errorf("nothing is there, and nothing is wrong with that: %+v", found)
	}
	found, err = e.Inspect(newContext(t), engine.InspectRequest{Target: absent, InPlace: true})
	if err != nil {
		t.Fatal(err)
	}
	if found.Exists || len(stops(found)) == 0 {
		t.Errorf("a swap with nothing: %+v", found)
	}
	s.told(t, found)

	target := s.create(t, "inspected", func(tb testing.TB, name string) { s.Swap.Fill(tb, name, "old") })
	before := s.Content(t, target)
	look := func(sessions string) *engine.Target {
		t.Helper()
		found, err := e.Inspect(newContext(t), engine.InspectRequest{Target: target, InPlace: true, Sessions: sessions})
		if err != nil {
			t.Fatal(err)
		}
		s.told(t, found)
		return found
	}
	found = look("")
	if !found.Exists || found.Identity == "" || found.SizeBytes <= 0 || found.Tables <= 0 || len(found.Sessions) > 0 {
		t.Errorf("%+v", found)
	}
	if problems := stops(found); len(problems) > 0 {
		t.Errorf("it can be swapped, but: %+v", problems)
	}
	if again := look(""); again.Identity != found.Identity {
		t.Errorf("identity %q, before %q", again.Identity, found.Identity)
	}
	found, err = e.Inspect(newContext(t), engine.InspectRequest{Target: target})
	if err != nil {
		t.Fatal(err)
	}
	if len(stops(found)) == 0 {
		t.Error("it is in the way of a restore that is not in place, and nothing says so")
	}
	// More than any disk has.
	found, err = e.Inspect(newContext(t), engine.InspectRequest{Target: target, InPlace: true, DatabaseBytes: 1 << 60, DumpBytes: 1 << 60})
	if err != nil {
		t.Fatal(err)
	}
	if found.FreeBytes >= 0 && len(stops(found)) == 0 {
		t.Error("it cannot fit, and nothing says so")
	}

	session, err := s.Swap.Open(t, target)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	found = look(engine.SessionsRefuse)
	if len(found.Sessions) != 1 || len(stops(found)) == 0 {
		t.Errorf("a session is there, and %+v", found)
	}
	if found = look(engine.SessionsWait); len(found.Sessions) != 1 || len(stops(found)) > 0 || len(found.Problems) == 0 {
		t.Errorf("a session is there that is waited for, and %+v", found)
	}
	if found = look(engine.SessionsEnd); (len(stops(found)) > 0) != s.Swap.CannotEnd {
		t.Errorf("a session is there that is to be ended, and %+v", found)
	}
	session.Close()

	s.wantContent(t, target, before)
	identity := found.Identity
	s.Drop(t, target)
	s.Create(t, target)
	if again := look(""); again.Identity == identity {
		t.Errorf("another database has the same identity %q", identity)
	}
}

func stops(target *engine.Target) []engine.Problem {
	return slices.DeleteFunc(slices.Clone(target.Problems), func(p engine.Problem) bool { return !p.Stops })
}

// told checks that problems are complete and hold no secret.
func (s *suite) told(t *testing.T, target *engine.Target) {
	t.Helper()
	for _, p := range target.Problems {
		s.silent(t, "problem", p.Text+p.Hint)
		if p.Code == "" || p.Text == "" || p.Stops && p.Hint == "" {
			t.Errorf("problem is not complete: %+v", p)
		}
	}
}

func (s *suite) swapAndUndo(t *testing.T) {
	e := s.New(t)
	p := s.inPlace(t, e)
	first := s.swap(t, e, p)
	s.settle(t, e, first, engine.SwapBefore) // of a swap that was not begun
	s.left(t, e, p.other, "left by a restore")
	result, err := e.Swap(newContext(t), first)
	if err != nil {
		t.Fatal(err)
	}
	if result.Unavailable <= 0 || result.Unavailable > 30*time.Second || result.Ended != 0 {
		t.Errorf("%+v", result)
	}
	for _, note := range result.Notes {
		s.silent(t, "note", note)
	}
	s.settle(t, e, first, engine.SwapAfter)
	s.wantAfter(t, e, p, first)
	s.left(t, e, p.other, "kept by a restore")
	if _, err := e.Fingerprint(newContext(t), p.other); err != nil {
		t.Errorf("the kept database is not described: %v", err)
	}
	databases, err := e.Discover(newContext(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range databases {
		if strings.Contains(d.Name, engine.KeptPrefix) {
			t.Errorf("a kept database is offered for backup: %q", d.Name)
		}
	}

	// The same once more is refused: the target is another one now.
	_, err = e.Swap(newContext(t), first)
	s.wantCode(t, err, wire.CodeTargetChanged)
	s.wantContent(t, p.target, p.at)

	undo := s.swap(t, e, p)
	if undo.Identity == first.Identity {
		t.Errorf("after the swap the target has the same identity %q", undo.Identity)
	}
	if _, err := e.Swap(newContext(t), undo); err != nil {
		t.Fatal(err)
	}
	s.wantAfter(t, e, p, undo)
	s.settle(t, e, undo, engine.SwapAfter)

	if err := e.Remove(newContext(t), p.other); err != nil {
		t.Fatal(err)
	}
	s.exists(t, e, p.other, false)
	if err := e.Remove(newContext(t), p.other); err != nil {
		t.Errorf("one that is not there: %v", err)
	}
	s.wantContent(t, p.target, p.at)
}

func (s *suite) swapRefuses(t *testing.T) {
	e := s.New(t)
	p := s.inPlace(t, e)
	good := s.swap(t, e, p)
	for name, c := range map[string]struct {
		change func(*engine.SwapRequest)
		codes  []string
	}{
		"StagedByAnotherName":  {func(r *engine.SwapRequest) { r.Staged = p.target }, []string{wire.CodeBadRequest}},
		"StagedWithQuote":      {func(r *engine.SwapRequest) { r.Staged = engine.StagingPrefix + `a"b` }, []string{wire.CodeBadRequest}},
		"StagedIsMissing":      {func(r *engine.SwapRequest) { r.Staged = newStaging() }, []string{wire.CodeDatabaseMissing}},
		"KeepByAnotherName":    {func(r *engine.SwapRequest) { r.Keep = s.named("kept") }, []string{wire.CodeBadRequest}},
		"KeepIsStaging":        {func(r *engine.SwapRequest) { r.Keep = newStaging() }, []string{wire.CodeBadRequest}},
		"KeepIsTooLong":        {func(r *engine.SwapRequest) { r.Keep = engine.KeptPrefix + strings.Repeat("x", 60) }, []string{wire.CodeBadRequest}},
		"TargetIsStaging":      {func(r *engine.SwapRequest) { r.Target = newStaging() }, []string{wire.CodeBadRequest}},
		"TargetIsKept":         {func(r *engine.SwapRequest) { r.Target = newKept() }, []string{wire.CodeBadRequest}},
		"TargetIsEmpty":        {func(r *engine.SwapRequest) { r.Target = "" }, []string{wire.CodeBadRequest}},
		"TargetWithZero":       {func(r *engine.SwapRequest) { r.Target = "zero\x00byte" }, []string{wire.CodeBadRequest}},
		"TargetIsMissing":      {func(r *engine.SwapRequest) { r.Target = s.named("no such target") }, []string{wire.CodeTargetChanged, wire.CodeDatabaseMissing}},
		"NoIdentity":           {func(r *engine.SwapRequest) { r.Identity = "" }, []string{wire.CodeBadRequest}},
		"IdentityOfAnother":    {func(r *engine.SwapRequest) { r.Identity = "x" + r.Identity }, []string{wire.CodeTargetChanged}},
		"IdentityIsLonger":     {func(r *engine.SwapRequest) { r.Identity += "1" }, []string{wire.CodeTargetChanged}},
		"SessionsOfNoSuchKind": {func(r *engine.SwapRequest) { r.Sessions = "kill" }, []string{wire.CodeBadRequest}},
	} {
		t.Run(name, func(t *testing.T) {
			req := good
			c.change(&req)
			_, err := e.Swap(newContext(t), req)
			s.wantCode(t, err, c.codes...)
		})
	}
	t.Run("KeepIsThere", func(t *testing.T) {
		req := good
		s.createExactly(t, req.Keep, nil)
		_, err := e.Swap(newContext(t), req)
		s.wantCode(t, err, wire.CodeTargetExists)
		s.Drop(t, req.Keep)
	})
	t.Run("KeepIsStaged", func(t *testing.T) {
		req := good
		req.Staged = req.Keep
		_, err := e.Swap(newContext(t), req)
		s.wantCode(t, err, wire.CodeBadRequest)
	})
	t.Run("Cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(newContext(t))
		cause := wire.Failf(wire.CodeCancelled, "somebody said so")
		cancel(cause)
		_, err := e.Swap(ctx, good)
		s.wantCode(t, err, wire.CodeCancelled)
		if !errors.Is(err, cause) {
			t.Errorf("the cause is lost: %v", err)
		}
	})
	s.wantBefore(t, e, p, good)
	s.settle(t, e, good, engine.SwapBefore)

	t.Run("TargetWasMadeAnew", func(t *testing.T) {
		s.Drop(t, p.target)
		s.Create(t, p.target)
		s.Swap.Fill(t, p.target, "third")
		third := s.Content(t, p.target)
		_, err := e.Swap(newContext(t), good)
		s.wantCode(t, err, wire.CodeTargetChanged)
		s.wantContent(t, p.target, third)
		s.wantContent(t, p.other, p.under)
		if _, err := e.Settle(newContext(t), good); err == nil {
			t.Error("Settle tells of a swap of a target that is gone")
		}
		s.wantContent(t, p.target, third)
		s.wantContent(t, p.other, p.under)
	})
}

func (s *suite) swapSessions(t *testing.T) {
	e := s.New(t)
	p := s.inPlace(t, e)
	open := func(t *testing.T) Session {
		t.Helper()
		session, err := s.Swap.Open(t, p.target)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(session.Close)
		return session
	}
	t.Run("Refuse", func(t *testing.T) {
		session := open(t)
		req := s.swap(t, e, p)
		for _, kind := range []string{"", engine.SessionsRefuse} {
			req.Sessions = kind
			_, err := e.Swap(newContext(t), req)
			s.wantCode(t, err, wire.CodeTargetInUse)
			if f := wire.AsFailure(err); !strings.Contains(f.Message, "1") || f.Hint == "" {
				t.Errorf("it does not say how many, or what to do: %+v", f)
			}
		}
		s.settle(t, e, req, engine.SwapBefore)
		if err := session.Write(newContext(t), -1); err != nil {
			t.Errorf("the session was hurt: %v", err)
		}
		session.Close()
		p.at = s.Content(t, p.target)
		s.wantBefore(t, e, p, req)
	})
	t.Run("WaitInVain", func(t *testing.T) {
		session := open(t)
		req := s.swap(t, e, p)
		req.Sessions, req.Wait = engine.SessionsWait, 300*time.Millisecond
		started := time.Now()
		_, err := e.Swap(newContext(t), req)
		s.wantCode(t, err, wire.CodeTargetInUse)
		if waited := time.Since(started); waited < req.Wait {
			t.Errorf("it waited %s", waited)
		}
		session.Close()
		s.wantBefore(t, e, p, req)
	})
	t.Run("WaitIsCancelled", func(t *testing.T) {
		session := open(t)
		req := s.swap(t, e, p)
		req.Sessions, req.Wait = engine.SessionsWait, time.Hour
		ctx, cancel := context.WithCancelCause(newContext(t))
		cause := wire.Failf(wire.CodeCancelled, "somebody said so")
		timer := time.AfterFunc(300*time.Millisecond, func() { cancel(cause) })
		defer timer.Stop()
		_, err := e.Swap(ctx, req)
		s.wantCode(t, err, wire.CodeCancelled)
		session.Close()
		s.wantBefore(t, e, p, req)
	})
	t.Run("Wait", func(t *testing.T) {
		session := open(t)
		req := s.swap(t, e, p)
		req.Sessions, req.Wait = engine.SessionsWait, patience
		timer := time.AfterFunc(500*time.Millisecond, session.Close)
		defer timer.Stop()
		result, err := e.Swap(newContext(t), req)
		if err != nil {
			t.Fatal(err)
		}
		if result.Ended != 0 {
			t.Errorf("%+v", result)
		}
		s.wantAfter(t, e, p, req)
	})
	t.Run("End", func(t *testing.T) {
		first, second := open(t), open(t)
		req := s.swap(t, e, p)
		req.Sessions = engine.SessionsEnd
		result, err := e.Swap(newContext(t), req)
		if s.Swap.CannotEnd {
			s.wantCode(t, err, wire.CodeTargetInUse, wire.CodeNotAllowed)
			if wire.AsFailure(err).Hint == "" {
				t.Errorf("no hint: %v", err)
			}
			first.Close()
			second.Close()
			s.wantBefore(t, e, p, req)
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if result.Ended != 2 {
			t.Errorf("%+v", result)
		}
		if err := errors.Join(first.Write(newContext(t), -2), second.Write(newContext(t), -2)); err == nil {
			t.Error("the sessions were not ended")
		}
		s.wantAfter(t, e, p, req)
	})
}

// swapWriter swaps while a program keeps writing. What it was told to be committed is in the one or in the other: all from
// before is kept, all from after is at the target.
func (s *suite) swapWriter(t *testing.T) {
	e := s.New(t)
	p := s.inPlace(t, e)
	req := s.swap(t, e, p)
	req.Sessions, req.Wait = engine.SessionsEnd, patience
	if s.Swap.CannotEnd {
		req.Sessions = engine.SessionsWait
	}
	var committed []int64
	var count, refused atomic.Int64
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		var session Session
		defer func() {
			if session != nil {
				session.Close()
			}
		}()
		for n := int64(1); ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			var err error
			if session == nil {
				var opened Session
				if opened, err = s.Swap.Open(t, p.target); err == nil {
					session = opened
				}
			}
			if err == nil {
				if err = session.Write(newContext(t), n); err == nil {
					committed = append(committed, n)
					count.Add(1)
				}
			}
			if err != nil {
				refused.Add(1)
			}
			if session != nil && (err != nil || s.Swap.CannotEnd) {
				session.Close()
				session = nil
			}
		}
	})
	wait := func(what string, n int64) { Eventually(t, what, func() bool { return count.Load() >= n }) }
	wait("the writer writes", 20)
	_, err := e.Swap(newContext(t), req)
	if err == nil {
		wait("the writer goes on", count.Load()+20)
	}
	close(stop)
	writer.Wait()
	if err != nil {
		t.Fatal(err)
	}
	s.settle(t, e, req, engine.SwapAfter)
	kept, now := s.Swap.Written(t, req.Keep), s.Swap.Written(t, p.target)
	t.Logf("%d committed, %d refused, %d kept, %d after", len(committed), refused.Load(), len(kept), len(now))
	in := func(list []int64) map[int64]bool {
		m := map[int64]bool{}
		for _, n := range list {
			if m[n] {
				t.Errorf("%d is there twice", n)
			}
			m[n] = true
		}
		return m
	}
	before, after := in(kept), in(now)
	last, first := int64(0), int64(1<<62)
	for _, n := range committed {
		switch {
		case before[n] == after[n]:
			t.Errorf("%d was committed; kept: %v, after: %v", n, before[n], after[n])
		case before[n]:
			last = max(last, n)
		default:
			first = min(first, n)
		}
	}
	if len(kept) == 0 || len(now) == 0 || last > first {
		t.Errorf("%d is kept, %d is at the target", last, first)
	}
}

// swapCrash ends, fails and cancels a swap at each of its steps, and then an undo, and so on.
func (s *suite) swapCrash(t *testing.T) {
	e := s.New(t)
	p := s.inPlace(t, e)
	buildChild(t)
	t.Cleanup(removeChild)
	ends, settled := map[string]int{}, map[string]bool{}
	for _, step := range s.Swap.Steps {
		for _, fault := range []struct{ name, action string }{{"Killed", "exit"}, {"Failed", "error"}, {"Cancelled", "sleep:100ms"}} {
			t.Run(step+"/"+fault.name, func(t *testing.T) {
				req := s.swap(t, e, p)
				dir := t.TempDir()
				marker := filepath.Join(dir, "marker")
				o := order{Verb: verbSwap, Request: req}
				if fault.name == "Cancelled" {
					o.CancelAt = marker
				}
				a := s.child(t, o, step+"="+fault.action+"@"+marker)
				if _, err := os.Lstat(marker); err != nil {
					t.Fatalf("the step was not reached: %+v", a)
				}
				if a.crashed != (fault.name == "Killed") {
					t.Fatalf("%+v", a)
				}
				if !a.crashed && a.Code != "" && a.Code != wire.CodeInterrupted {
					s.wantBefore(t, e, p, req)
					if fault.name == "Cancelled" && a.Code != wire.CodeCancelled {
						t.Errorf("%+v", a)
					}
				}
				if a.crashed {
					s.crashInSettle(t, o, dir, settled)
				}
				state, err := e.Settle(newContext(t), req)
				if err != nil {
					t.Fatal(err)
				}
				ends[state]++
				switch {
				case state == engine.SwapBefore && !a.crashed && a.Code == "":
					t.Errorf("Swap says that it is done, Settle that it is not")
				case state == engine.SwapBefore:
					s.wantBefore(t, e, p, req)
				case state != engine.SwapAfter:
					t.Errorf("state %q", state)
				case !a.crashed && a.Code != "" && a.Code != wire.CodeInterrupted:
					t.Errorf("Swap says that the target is as it was, Settle that it is not: %+v", a)
				default:
					s.wantAfter(t, e, p, req)
				}
				s.settle(t, e, req, state)
			})
			if t.Failed() {
				return
			}
		}
	}
	for _, step := range s.Swap.SettleSteps {
		if !settled[step] {
			t.Errorf("no crash led to %s", step)
		}
	}
	if ends[engine.SwapBefore] == 0 || ends[engine.SwapAfter] == 0 {
		t.Errorf("only one end was seen: %v", ends)
	}
	// After all that, it still works.
	req := s.swap(t, e, p)
	if _, err := e.Swap(newContext(t), req); err != nil {
		t.Fatal(err)
	}
	s.wantAfter(t, e, p, req)
}

// crashInSettle ends Settle at each of its steps that it reaches.
func (s *suite) crashInSettle(t *testing.T, o order, dir string, reached map[string]bool) {
	t.Helper()
	if len(s.Swap.SettleSteps) == 0 {
		return
	}
	o.Verb, o.CancelAt = verbSettle, ""
	var failpoints []string
	marker := func(i int) string { return filepath.Join(dir, fmt.Sprintf("settle-%d", i)) }
	for i, step := range s.Swap.SettleSteps {
		failpoints = append(failpoints, step+"=exit@"+marker(i))
	}
	for range s.Swap.SettleSteps {
		if a := s.child(t, o, failpoints...); !a.crashed {
			break
		}
	}
	for i, step := range s.Swap.SettleSteps {
		if _, err := os.Lstat(marker(i)); err == nil {
			reached[step] = true
		}
	}
}
