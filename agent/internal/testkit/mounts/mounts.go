// Package mounts gives a test binary a mount namespace of its own, so that tests mount small and broken disks that nobody
// else sees and that end with the process. It needs root.
package mounts

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const marker = "DEVFLOW_TEST_OWN_MOUNTS"

// Run runs the tests of m in a process with its own mounts and returns its status. For TestMain.
func Run(m *testing.M) int {
	if os.Getenv(marker) != "" {
		return m.Run()
	}
	runtime.LockOSThread()                                // Pdeathsig follows the thread
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...) //nolint:noctx // it lasts as long as this process
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), marker+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, "run with own mounts (this needs root):", err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

// Tmpfs mounts an empty disk of a size in bytes on a new directory until the test ends.
func Tmpfs(tb testing.TB, size int64) string {
	tb.Helper()
	if os.Getenv(marker) == "" {
		tb.Fatal("mounts.Run has not run this test")
	}
	dir := tb.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size)); err != nil {
		tb.Fatalf("mount a disk of %d bytes: %v", size, err)
	}
	tb.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			tb.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// ReadOnly makes a disk that Tmpfs mounted read-only, or writable again.
func ReadOnly(tb testing.TB, dir string, on bool) {
	tb.Helper()
	flags := uintptr(unix.MS_REMOUNT)
	if on {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount("", dir, "", flags, ""); err != nil {
		tb.Fatalf("remount %s: %v", dir, err)
	}
}
