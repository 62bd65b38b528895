package enginetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/wire"
)

func (s *suite) truncated(t *testing.T) {
	e := s.New(t)
	source := s.create(t, "truncated", s.FillSmall)
	d := s.dump(t, e, source)
	whole := d.bytes(t)
	n := len(whole)
	for _, cut := range []int{0, 1, 4, 5, 30, n / 20, n / 8, n / 4, n / 2, 3 * n / 4, n - n/20, n - 100, n - 10, n - 2, n - 1} {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			r, err := e.Restore(newContext(t), s.request())
			if err != nil {
				t.Fatal(err)
			}
			defer r.Abort()
			err = write(r, short(whole, cut))
			s.wantCode(t, err, wire.CodeCorrupt, wire.CodeIncompleteDump, wire.CodeToolFailed)
			if again := r.Close(); again == nil {
				t.Error("a second Close says that all is well")
			}
			if left := s.stagings(t); len(left) > 0 {
				t.Errorf("the database is there after the failure: %q", left)
			}
			v, err := e.Validate(newContext(t))
			if err != nil {
				t.Fatal(err)
			}
			defer v.Abort()
			s.wantCode(t, write(v, short(whole, cut)), wire.CodeCorrupt, wire.CodeIncompleteDump)
		})
	}
}

func (s *suite) garbage(t *testing.T) {
	e := s.New(t)
	noise := make([]byte, 3<<20)
	_, _ = rand.Read(noise)
	for _, input := range [][]byte{noise, bytes.Repeat([]byte("DROP DATABASE postgres;\n"), 50_000), bytes.Repeat([]byte{0}, 1<<20)} {
		r, err := e.Restore(newContext(t), s.request())
		if err != nil {
			t.Fatal(err)
		}
		s.wantCode(t, write(r, bytes.NewReader(input)), wire.CodeCorrupt, wire.CodeIncompleteDump, wire.CodeToolFailed, wire.CodePrivilege)
		r.Abort()
		v, err := e.Validate(newContext(t))
		if err != nil {
			t.Fatal(err)
		}
		s.wantCode(t, write(v, bytes.NewReader(input)), wire.CodeCorrupt, wire.CodeIncompleteDump)
		v.Abort()
	}
}

func (s *suite) cancelRestore(t *testing.T) {
	e := s.New(t)
	source := s.create(t, "restore cancelled", s.FillHurting)
	whole := s.dump(t, e, source).bytes(t)
	cause := wire.Failf(wire.CodeCancelled, "somebody said so")
	for _, after := range []int{0, 1000, 1 << 20, 40 << 20, len(whole) - 10, len(whole)} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(newContext(t))
			defer cancel(nil)
			r, err := e.Restore(ctx, s.request())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(struct{ io.Writer }{r}, short(whole, after)); err != nil {
				t.Fatal(err)
			}
			cancel(cause)
			// Without any further call of ours, nothing stays.
			Eventually(t, "program and database vanish", func() bool {
				return len(Processes(t, s.IsServer)) == 0 && len(s.stagings(t)) == 0
			})
			err = r.Close()
			s.wantCode(t, err, wire.CodeCancelled)
			if !errors.Is(err, cause) {
				t.Errorf("the cause is lost: %v", err)
			}
			r.Abort()
		})
	}
	t.Run("DuringClose", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(newContext(t))
		defer cancel(nil)
		r, err := e.Restore(ctx, s.request())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(struct{ io.Writer }{r}, short(whole, len(whole)-1)); err != nil {
			t.Fatal(err)
		}
		closed := make(chan error)
		go func() { closed <- r.Close() }()
		cancel(cause)
		s.wantCode(t, <-closed, wire.CodeCancelled, wire.CodeCorrupt, wire.CodeIncompleteDump)
		r.Abort()
	})
	t.Run("Validate", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(newContext(t))
		defer cancel(nil)
		v, err := e.Validate(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Write(whole[:1<<20]); err != nil {
			t.Fatal(err)
		}
		cancel(cause)
		s.wantCode(t, v.Close(), wire.CodeCancelled)
		v.Abort()
	})
}

func (s *suite) abort(t *testing.T) {
	e := s.New(t)
	source := s.create(t, "aborted", s.FillSmall)
	whole := s.dump(t, e, source).bytes(t)
	open := func() engine.Restore {
		r, err := e.Restore(newContext(t), s.request())
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	t.Run("Unwritten", func(t *testing.T) {
		r := open()
		r.Abort()
		r.Abort()
		if err := r.Close(); err == nil {
			t.Error("an aborted restore closes with success")
		}
		if _, err := r.Write(whole); err == nil {
			t.Error("an aborted restore takes a write")
		}
	})
	t.Run("HalfWritten", func(t *testing.T) {
		r := open()
		if _, err := r.Write(whole[:len(whole)/2]); err != nil {
			t.Fatal(err)
		}
		r.Abort()
		if left := s.stagings(t); len(left) > 0 {
			t.Errorf("the database is there after Abort: %q", left)
		}
		if err := r.Close(); err == nil {
			t.Error("an aborted restore closes with success")
		}
	})
	t.Run("AfterClose", func(t *testing.T) {
		r := open()
		if err := write(r, bytes.NewReader(whole)); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
		if len(s.stagings(t)) != 1 {
			t.Error("the restored database is not there")
		}
		r.Abort()
		if left := s.stagings(t); len(left) > 0 {
			t.Errorf("the database is there after Abort: %q", left)
		}
	})
	t.Run("ContextEndsAfterClose", func(t *testing.T) {
		ctx, cancel := context.WithCancel(newContext(t))
		name := newStaging()
		r, err := e.Restore(ctx, s.requestInto(name))
		if err != nil {
			t.Fatal(err)
		}
		if err := write(r, bytes.NewReader(whole)); err != nil {
			t.Fatal(err)
		}
		cancel()
		if _, err := e.Fingerprint(newContext(t), name); err != nil {
			t.Errorf("what was restored must stay: %v", err)
		}
		r.Abort()
	})
}

func (s *suite) restoreRefuses(t *testing.T) {
	e := s.New(t)
	existing := newStaging()
	s.createExactly(t, existing, s.FillSmall)
	before := s.Content(t, existing)
	_, err := e.Restore(newContext(t), s.requestInto(existing))
	s.wantCode(t, err, wire.CodeTargetExists)
	if after := s.Content(t, existing); len(after) != len(before) {
		t.Error("the existing database was changed")
	}
	for _, name := range []string{
		"", "target", engine.StagingPrefix, engine.StagingPrefix + "x y", engine.StagingPrefix + "x=y", engine.StagingPrefix + "a'b", "host=evil",
		engine.StagingPrefix + "X", engine.StagingPrefix + strings.Repeat("x", 60),
	} {
		_, err := e.Restore(newContext(t), s.requestInto(name))
		s.wantCode(t, err, wire.CodeBadRequest)
	}
	s.Drop(t, existing)
}

func (s *suite) publishExisting(t *testing.T) {
	e := s.New(t)
	source := s.create(t, "published", s.FillSmall)
	other := s.create(t, "in the way", nil)
	d := s.dump(t, e, source)
	restored := s.restore(t, e, d)
	content := s.Content(t, source)
	s.wantCode(t, e.Publish(newContext(t), restored, other), wire.CodeTargetExists)
	s.exists(t, e, other, true)
	s.exists(t, e, restored, true)
	s.wantEqual(t, e, d.fingerprint, content, restored)
	if got := s.Content(t, other); len(got) >= len(content) {
		t.Error("the database in the way was changed")
	}
}

func (s *suite) publishRefuses(t *testing.T) {
	e := s.New(t)
	source := s.create(t, "not for publishing", s.FillSmall)
	s.wantCode(t, e.Publish(newContext(t), source, s.named("stolen")), wire.CodeNotAllowed)
	s.exists(t, e, source, true)
	s.wantCode(t, e.Publish(newContext(t), newStaging(), s.named("from nothing")), wire.CodeDatabaseMissing)
	restored := s.restore(t, e, s.dump(t, e, source))
	for _, name := range []string{"", "zero\x00byte", strings.Repeat("x", 65), "not \xff UTF-8", newStaging()} {
		s.wantCode(t, e.Publish(newContext(t), restored, name), wire.CodeBadRequest)
	}
	s.exists(t, e, restored, true)
}

func (s *suite) remove(t *testing.T) {
	e := s.New(t)
	source := s.create(t, "keep me", s.FillSmall)
	for _, name := range []string{source, "", "postgres", "no such", "x" + engine.StagingPrefix + "1", strings.ToUpper(engine.StagingPrefix) + "1"} {
		s.wantCode(t, e.Remove(newContext(t), name), wire.CodeNotAllowed)
	}
	s.exists(t, e, source, true)
	if err := e.Remove(newContext(t), newStaging()); err != nil {
		t.Errorf("one that is not there: %v", err)
	}
	restored := s.restore(t, e, s.dump(t, e, source))
	if err := e.Remove(newContext(t), restored); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(s.Databases(t), restored) {
		t.Error("it is still there")
	}
}
