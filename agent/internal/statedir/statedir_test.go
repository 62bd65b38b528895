package statedir_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"devflowbackup/agent/internal/statedir"
)

func TestMake(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := statedir.Make(dir); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("%v, %v", info, err)
	}
	if err := os.Chmod(dir, 0o750); err != nil { //nolint:gosec // the mistake under test
		t.Fatal(err)
	}
	if err := statedir.Make(dir); err == nil {
		t.Fatal("a directory open to others is taken")
	}
}

func TestAcquire(t *testing.T) {
	dir := t.TempDir()
	l, err := statedir.Acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := statedir.Acquire(dir); !errors.Is(err, statedir.ErrInUse) {
		t.Fatalf("got %v", err)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	if l, err = statedir.Acquire(dir); err != nil {
		t.Fatal(err)
	}
	_ = l.Release()
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{"one", "two"} {
		if err := statedir.WriteFile(dir, "f", []byte(text)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, "f"))
		if err != nil || string(got) != text {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if info, _ := os.Stat(filepath.Join(dir, "f")); info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %04o", info.Mode().Perm())
	}
	// A directory of that name cannot be replaced: the error leaves no temporary file.
	if err := os.MkdirAll(filepath.Join(dir, "d", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := statedir.WriteFile(dir, "d", nil); err == nil {
		t.Fatal("no error")
	}
	if list, _ := os.ReadDir(dir); len(list) != 2 {
		t.Fatalf("left: %v", list)
	}
}
