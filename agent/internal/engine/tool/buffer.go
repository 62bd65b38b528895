package tool

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Programs that write through the C library gather 4 KiB before they write into a pipe: a quarter of a million calls for
// each GB, on either side. The library that coreutils' stdbuf loads into a program gives its output a larger buffer. That
// changes when bytes are written, not which; nor how the program ends.
//
// What the buffer holds back is what the reader waits for when the program is slow. A larger one was measured to gain little.
const (
	outputBuffer = 256 << 10

	preloadVariable = "LD_PRELOAD"
	bufferVariable  = "_STDBUF_O"

	maxVersion = 4 << 10
)

// bufferLibraries are where distributions keep the library.
var bufferLibraries = []string{"/usr/libexec/coreutils/libstdbuf.so", "/usr/lib/coreutils/libstdbuf.so"}

// OutputBuffering is what to add to a program's environment, so that it writes its standard output in larger pieces:
// nothing where the library is not installed, or where others than root could change it.
func OutputBuffering() []string { return findBuffering() }

var findBuffering = sync.OnceValue(func() []string {
	for _, path := range bufferLibraries {
		if env, err := buffering(path); err == nil {
			return env
		}
	}
	return nil
})

// buffering is the environment that loads the library of that path.
func buffering(path string) ([]string, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	if strings.ContainsAny(path, ": ") { // they part the names of libraries
		return nil, fmt.Errorf("library %s cannot be named in %s", path, preloadVariable)
	}
	if err := onlyRoots(path); err != nil {
		return nil, err
	}
	return []string{preloadVariable + "=" + path, bufferVariable + "=" + strconv.Itoa(outputBuffer)}, nil
}

// onlyRoots is nil if the path is a regular file that, with all directories above it, only root can change.
func onlyRoots(path string) error {
	for at := path; ; at = filepath.Dir(at) {
		info, err := os.Lstat(at)
		if err != nil {
			return err
		}
		owner, ok := info.Sys().(*syscall.Stat_t)
		switch {
		case at == path && !info.Mode().IsRegular():
			return fmt.Errorf("%s is no regular file", at)
		case !ok || owner.Uid != 0:
			return fmt.Errorf("%s is not root's", at)
		case info.Mode().Perm()&0o022 != 0:
			return fmt.Errorf("%s can be changed by others: %w", at, fs.ErrPermission)
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}

// Version runs a program with --version and returns what it answers. Buffered tells whether it takes Command.Buffered: a
// program of another architecture or of an older C library does not run with the library, or complains.
func Version(ctx context.Context, path string, env ...string) (answer string, buffered bool, err error) {
	c := Command{Path: path, Args: []string{"--version"}, Env: env}
	if len(OutputBuffering()) > 0 {
		c.Buffered = true
		out, log, err := Run(ctx, c, maxVersion)
		if err == nil && log == "" {
			return string(out), true, nil
		}
		c.Buffered = false
	}
	out, _, err := Run(ctx, c, maxVersion)
	return string(out), false, err
}
