package wire_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"testing"

	"devflowbackup/shared/wire"
)

func TestFailure_travels(t *testing.T) {
	f := wire.Failf(wire.CodeAuth, "log in to %s: %w", "main", io.ErrUnexpectedEOF).At(wire.StageDump).WithHint("check %s", "pg_hba.conf").Retry()
	if !errors.Is(f, io.ErrUnexpectedEOF) {
		t.Error("the cause is not found")
	}
	if got, want := f.Error(), "log in to main: unexpected EOF (check pg_hba.conf)"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	b, err := wire.Encode(f)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(b), `{"code":"auth","stage":"dump","message":"log in to main: unexpected EOF","hint":"check pg_hba.conf","retryable":true}`; got != want {
		t.Errorf("encoded as %s\nwant %s", got, want)
	}
	var back wire.Failure
	if err := wire.Decode(b, &back); err != nil {
		t.Fatal(err)
	}
	if want := (wire.Failure{Code: "auth", Stage: "dump", Message: "log in to main: unexpected EOF", Hint: "check pg_hba.conf", Retryable: true}); back != want {
		t.Errorf("decoded %+v, want %+v", back, want)
	}
	if back.Unwrap() != nil || errors.Is(&back, io.ErrUnexpectedEOF) {
		t.Error("the cause travelled")
	}
}

func TestFailure_At(t *testing.T) {
	f := wire.Failf(wire.CodeStalled, "x")
	if f.At(wire.StageDump).At(wire.StageFinish).Stage != wire.StageDump {
		t.Errorf("the first stage does not stay: %q", f.Stage)
	}
	if f.Unwrap() != nil {
		t.Errorf("a cause from nowhere: %v", f.Unwrap())
	}
}

func TestFailf_severalCauses(t *testing.T) {
	f := wire.Failf(wire.CodeDiskFull, "write: %w, then %w", io.ErrShortWrite, fs.ErrClosed)
	if !errors.Is(f, io.ErrShortWrite) || !errors.Is(f, fs.ErrClosed) {
		t.Errorf("a cause is lost: %v", f.Unwrap())
	}
}

func TestAsFailure(t *testing.T) {
	if f := wire.AsFailure(nil); f != nil {
		t.Errorf("nil became %+v", f)
	}
	f := wire.Failf(wire.CodeTLS, "certificate")
	if got := wire.AsFailure(fmt.Errorf("dump: %w", fmt.Errorf("connect: %w", f))); got != f {
		t.Errorf("a wrapped failure became %+v", got)
	}
	other := wire.AsFailure(fmt.Errorf("dump: %w", io.ErrClosedPipe))
	if other.Code != wire.CodeInternal || !other.Retryable || other.Message != "dump: io: read/write on closed pipe" || !errors.Is(other, io.ErrClosedPipe) {
		t.Errorf("another error became %+v", other)
	}
}

func TestHasCode(t *testing.T) {
	inner := wire.Failf(wire.CodeStale, "old")
	outer := wire.Failf(wire.CodeUploadStalled, "part 3: %w", inner)
	for _, c := range []struct {
		err  error
		code string
		want bool
	}{
		{nil, "", false},
		{io.EOF, wire.CodeInternal, false},
		{inner, wire.CodeStale, true},
		{inner, wire.CodeAuth, false},
		{fmt.Errorf("x: %w", inner), wire.CodeStale, true},
		{errors.Join(io.EOF, inner), wire.CodeStale, true},
		{outer, wire.CodeUploadStalled, true},
		{outer, wire.CodeStale, false}, // the outer code is the answer
	} {
		if got := wire.HasCode(c.err, c.code); got != c.want {
			t.Errorf("HasCode(%v, %q) = %v", c.err, c.code, got)
		}
	}
}

func TestFingerprint_Canonical(t *testing.T) {
	f := wire.Fingerprint{
		Engine: wire.EnginePostgreSQL, Exact: true,
		Tables: []wire.TableCount{{"b", "x", 1}, {"a", "y", 2}, {"a", "Ä", 3}, {"", "z", 0}},
		Counts: map[string]int64{"views": 2, "sequences": 1},
	}
	order := reflect.ValueOf(f.Tables).Index(0).Interface()
	got, err := f.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"v":1,"engine":"postgresql","exact":true,"tables":[{"name":"z","rows":0},{"schema":"a","name":"y","rows":2},{"schema":"a","name":"Ä","rows":3},` +
		`{"schema":"b","name":"x","rows":1}],"counts":{"sequences":1,"views":2}}`
	if string(got) != want {
		t.Errorf("canonical\n%s\nwant\n%s", got, want)
	}
	if f.V != 0 || f.Tables[0] != order {
		t.Error("the fingerprint itself was changed")
	}
	var back wire.Fingerprint
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatal(err)
	}
	if again, err := back.Canonical(); err != nil || string(again) != want {
		t.Errorf("not stable: %s, %v", again, err)
	}
	empty, err := (&wire.Fingerprint{}).Canonical()
	if want := `{"v":1,"engine":"","exact":false,"tables":[],"counts":{}}`; err != nil || string(empty) != want {
		t.Errorf("empty: %s, %v", empty, err)
	}
	if f.Rows() != 6 || (&wire.Fingerprint{}).Rows() != 0 {
		t.Errorf("Rows = %d", f.Rows())
	}
}

func TestFingerprint_Diff(t *testing.T) {
	base := func() *wire.Fingerprint {
		return &wire.Fingerprint{
			Tables: []wire.TableCount{{"s", "a", 1}, {"s", "b", 2}, {"t", "a", 3}},
			Counts: map[string]int64{"views": 1, "triggers": 0},
		}
	}
	for name, c := range map[string]struct {
		change func(*wire.Fingerprint)
		want   []string
	}{
		"equal":          {func(*wire.Fingerprint) {}, nil},
		"order":          {func(f *wire.Fingerprint) { f.Tables[0], f.Tables[2] = f.Tables[2], f.Tables[0] }, nil},
		"zero and none":  {func(f *wire.Fingerprint) { f.Counts = map[string]int64{"views": 1, "functions": 0} }, nil},
		"rows":           {func(f *wire.Fingerprint) { f.Tables[1].Rows = 9 }, []string{`table "s"."b": 9 rows, 2 expected`}},
		"missing":        {func(f *wire.Fingerprint) { f.Tables = f.Tables[1:] }, []string{`table "s"."a": missing, 1 rows expected`}},
		"extra":          {func(f *wire.Fingerprint) { f.Tables = append(f.Tables, wire.TableCount{"s", "c", 0}) }, []string{`table "s"."c": not in the backup`}},
		"another schema": {func(f *wire.Fingerprint) { f.Tables[2].Schema = "u" }, []string{`table "t"."a": missing, 3 rows expected`, `table "u"."a": not in the backup`}},
		"fewer views":    {func(f *wire.Fingerprint) { delete(f.Counts, "views") }, []string{"views: 0, 1 expected"}},
		"more functions": {func(f *wire.Fingerprint) { f.Counts["functions"] = 4 }, []string{"functions: 4, 0 expected"}},
	} {
		got := base()
		c.change(got)
		if diff := base().Diff(got); !reflect.DeepEqual(diff, c.want) {
			t.Errorf("%s: %q, want %q", name, diff, c.want)
		}
	}
	many := &wire.Fingerprint{}
	for i := range 50 {
		many.Tables = append(many.Tables, wire.TableCount{Name: fmt.Sprint(i)})
	}
	if n := len(many.Diff(&wire.Fingerprint{})); n != 20 {
		t.Errorf("%d lines, want 20", n)
	}
}
