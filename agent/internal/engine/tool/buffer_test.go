package tool_test

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"devflowbackup/agent/internal/engine/tool"
	"devflowbackup/shared/testkit/fakedump"
)

// Debian's; coreutils are on every machine that runs these tests.
const bufferLibrary = "/usr/libexec/coreutils/libstdbuf.so"

// What is loaded into programs that read databases may be changed by root alone.
func TestBuffering(t *testing.T) {
	dir, err := os.MkdirTemp("/root", "buffering") // all directories above it are root's alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	make := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := make("good.so", 0o644)
	link := filepath.Join(dir, "link.so")
	foreign := make("foreign.so", 0o644)
	open := filepath.Join(dir, "open")
	for _, err := range []error{
		os.Symlink(good, link), os.Chown(foreign, 65534, 65534), os.Mkdir(open, 0o755), os.Chmod(open, 0o777), //nolint:gosec // to be refused
		os.WriteFile(filepath.Join(open, "in.so"), nil, 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		path string
		want string
	}{
		"Library": {bufferLibrary, bufferLibrary}, "Regular": {good, good}, "Link": {link, good},
		"Absent": {filepath.Join(dir, "absent.so"), ""}, "Foreign": {foreign, ""}, "Directory": {dir, ""},
		"Writable": {make("writable.so", 0o664), ""}, "InWritable": {filepath.Join(open, "in.so"), ""},
		"InSticky": {filepath.Join(t.TempDir(), "none.so"), ""}, "Blank": {make("a b.so", 0o644), ""}, "Colon": {make("a:b.so", 0o644), ""},
	} {
		t.Run(name, func(t *testing.T) {
			env, err := tool.Buffering(c.path)
			if c.want == "" {
				if err == nil {
					t.Errorf("it is used: %q", env)
				}
				return
			}
			want := []string{"LD_PRELOAD=" + c.want, "_STDBUF_O=" + strconv.Itoa(tool.OutputBuffer)}
			if err != nil || !slices.Equal(env, want) {
				t.Errorf("%q, %v, want %q", env, err, want)
			}
		})
	}
}

// A program that is not told so gets no library; one that is gets nothing else.
func TestOutput_BufferedEnvironment(t *testing.T) {
	for _, buffered := range []bool{false, true} {
		path, fake := install(t, fakedump.Script{})
		if _, _, err := tool.Run(newContext(t), tool.Command{Path: path, Env: []string{"ONLY=this"}, Buffered: buffered}, 1); err != nil {
			t.Fatal(err)
		}
		env := fake.Runs()[0].Env
		for _, v := range tool.OutputBuffering() {
			if slices.Contains(env, v) != buffered {
				t.Errorf("buffered %t: environment is %q", buffered, env)
			}
		}
	}
	if len(tool.OutputBuffering()) != 2 {
		t.Error("the library of coreutils is not found")
	}
}

// A program that writes small lines arrives in large pieces, its end and its status as without the buffer.
func TestOutput_Buffered(t *testing.T) {
	const lines = 100_000
	for _, buffered := range []bool{false, true} {
		// seq is one that writes through the C library.
		r := output(t, tool.Command{Path: "/usr/bin/seq", Args: []string{"-f", "%07.0f", strconv.Itoa(lines)}, Buffered: buffered, StallTimeout: time.Minute})
		var reads, longest, total int
		buf := make([]byte, 4*tool.OutputBuffer)
		var err error
		for err == nil {
			var n int
			n, err = r.Read(buf)
			reads, longest, total = reads+1, max(longest, n), total+n
		}
		if err != io.EOF || total != 8*lines { //nolint:errorlint // only a bare io.EOF is an end
			t.Fatalf("buffered %t: %d bytes, %v", buffered, total, err)
		}
		if buffered && reads > total/tool.OutputBuffer+2 {
			t.Errorf("%d reads for %d bytes", reads, total)
		}
	}
}

func TestVersion(t *testing.T) {
	answer, buffered, err := tool.Version(newContext(t), "/usr/bin/seq", "LC_ALL=C.UTF-8")
	if err != nil || !buffered || answer[:3] != "seq" {
		t.Errorf("seq: %q, %t, %v", answer, buffered, err)
	}
}

// A program that the library does not suit is run without it.
func TestVersion_NotBuffered(t *testing.T) {
	for name, script := range map[string]string{
		"Fails": `[ -z "$LD_PRELOAD" ] || exit 127`, "Complains": `[ -z "$LD_PRELOAD" ] || echo "object cannot be preloaded" >&2`,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "program")
			if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\necho version 1\n"), 0o700); err != nil { //nolint:gosec // it is run
				t.Fatal(err)
			}
			answer, buffered, err := tool.Version(newContext(t), path)
			if err != nil || buffered || answer != "version 1\n" {
				t.Errorf("%q, %t, %v", answer, buffered, err)
			}
		})
	}
}
