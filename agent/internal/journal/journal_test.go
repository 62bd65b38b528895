package journal_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devflowbackup/agent/internal/journal"
	"devflowbackup/shared/wire"
)

func attempt(job int64) wire.Attempt {
	return wire.Attempt{Job: job, No: 1, Token: "t" + string(rune('a'+job))}
}

func job(n int64) wire.Job {
	return wire.Job{Attempt: attempt(n), Kind: wire.JobRestore, Restore: &wire.RestoreOrder{
		Instance: "main", Database: "o'brien; drop \"x\"\n🦀", Staging: "devflow_staging_x",
	}}
}

func report(n int64) wire.Report {
	return wire.Report{Attempt: attempt(n), Outcome: wire.OutcomeFailed, Failure: &wire.Failure{Code: wire.CodeStalled, Message: "no\nbyte"}}
}

func open(t *testing.T, dir string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

// same compares what would be written.
func same(a, b any) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return bytes.Equal(x, y)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestJournal_SurvivesRestart(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	must(t, j.Accept(job(1)))
	must(t, j.Accept(job(2)))
	must(t, j.Accept(job(3)))
	must(t, j.Report(report(1)))
	must(t, j.Publishing(report(2)))
	must(t, j.Forget(attempt(3)))
	must(t, j.Forget(attempt(9))) // unknown: no error
	want := j.Entries()
	must(t, j.Close())

	for range 2 { // reading compacts; that must change nothing
		j = open(t, dir)
		got := j.Entries()
		if len(got) != 2 || !same(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		if got[0].Report == nil || got[1].Publishing == nil || got[1].Report != nil || got[1].Job.Restore.Database != job(2).Restore.Database {
			t.Fatalf("records mixed up: %+v", got)
		}
		if !j.Has(attempt(1)) || j.Has(attempt(3)) {
			t.Fatal("Has is wrong")
		}
		must(t, j.Close())
	}
	info, err := os.Stat(filepath.Join(dir, "journal"))
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %04o", info.Mode().Perm())
	}
}

func TestJournal_CompactsWhenLarge(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	long := report(1)
	long.Log = strings.Repeat("x", 100<<10)
	for range 40 {
		must(t, j.Accept(job(1)))
		must(t, j.Report(long))
		must(t, j.Forget(attempt(1)))
	}
	must(t, j.Accept(job(2)))
	info, err := os.Stat(filepath.Join(dir, "journal"))
	must(t, err)
	if info.Size() > 2<<20 {
		t.Fatalf("%d bytes of history were kept", info.Size())
	}
	if e := open(t, dir).Entries(); len(e) != 1 || e[0].Attempt() != attempt(2) {
		t.Fatalf("got %+v", e)
	}
}

// scratch is an empty directory in memory if there is one: thousands of files are synced.
func scratch(t *testing.T) string {
	t.Helper()
	parent := "/dev/shm"
	if _, err := os.Stat(parent); err != nil {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "journal-test-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// FAULTS 21: cut at every length and with every byte changed, a journal opens, holds no wrong record, and loses no record
// that the damage did not touch.
func TestJournal_Damage(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	must(t, j.Accept(job(1)))
	must(t, j.Accept(job(2)))
	must(t, j.Report(report(1)))
	must(t, j.Accept(job(3)))
	whole := map[wire.Attempt]journal.Entry{}
	for _, e := range j.Entries() {
		whole[e.Attempt()] = e
	}
	must(t, j.Close())
	text, err := os.ReadFile(filepath.Join(dir, "journal"))
	must(t, err)
	lines := strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) != 4 {
		t.Fatalf("%d lines", len(lines))
	}

	// check opens a damaged journal; intact are the numbers of lines that the damage left alone.
	check := func(t *testing.T, what string, damaged []byte, intact []int) {
		t.Helper()
		d := scratch(t)
		must(t, os.WriteFile(filepath.Join(d, "journal"), damaged, 0o600))
		j, err := journal.Open(d)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		defer func() { _ = j.Close() }()
		got := map[wire.Attempt]journal.Entry{}
		for _, e := range j.Entries() {
			got[e.Attempt()] = e
			w, ok := whole[e.Attempt()]
			if !ok {
				t.Fatalf("%s: an attempt that was never written: %+v", what, e)
			}
			if e.Job != nil && !same(e.Job, w.Job) || e.Report != nil && !same(e.Report, w.Report) {
				t.Fatalf("%s: a wrong record: %+v", what, e)
			}
		}
		for _, n := range intact {
			var ok bool
			switch n {
			case 0:
				ok = got[attempt(1)].Job != nil
			case 1:
				ok = got[attempt(2)].Job != nil
			case 2:
				ok = got[attempt(1)].Report != nil
			case 3:
				ok = got[attempt(3)].Job != nil
			}
			if !ok {
				t.Fatalf("%s: lost line %d, which is intact", what, n)
			}
		}
		must(t, j.Accept(job(4))) // and goes on
	}
	lineAt := func(off int) int {
		for n, l := range lines {
			if off < len(l) {
				return n
			}
			off -= len(l)
		}
		return len(lines) - 1
	}
	t.Run("cut", func(t *testing.T) {
		for n := range text {
			var intact []int
			for i := range lineAt(n) {
				intact = append(intact, i)
			}
			check(t, "cut at "+string(text[:n]), text[:n], intact)
		}
	})
	t.Run("flip", func(t *testing.T) {
		for off := range text {
			b := []byte(string(text))
			b[off] ^= 1 << (off % 8)
			hit := lineAt(off)
			var intact []int
			for i := range lines {
				// A changed newline joins its line with the next.
				if i != hit && (text[off] != '\n' || i != hit+1) {
					intact = append(intact, i)
				}
			}
			check(t, "flip", b, intact)
		}
	})
	t.Run("garbage", func(t *testing.T) {
		check(t, "garbage", append([]byte("\x00\xff\n\n00000000 {}\n"), text...), []int{0, 1, 2, 3})
	})
}

func TestJournal_WriteFails(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	must(t, j.Accept(job(1)))
	must(t, j.Close())
	must(t, os.RemoveAll(dir))
	if err := j.Accept(job(2)); err == nil {
		t.Fatal("an attempt was accepted that is written nowhere")
	}
	if j.Has(attempt(2)) {
		t.Fatal("a refused attempt is remembered")
	}
	must(t, os.MkdirAll(dir, 0o700))
	must(t, j.Accept(job(2))) // the directory is back
	if e := open(t, dir).Entries(); len(e) != 2 {
		t.Fatalf("got %+v", e)
	}
}
