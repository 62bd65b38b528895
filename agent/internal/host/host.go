// Package host describes the machine that the agent runs on. What cannot be found out is left empty.
package host

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"devflowbackup/shared/wire"
)

// Facts reads the machine's state now; dir is where free disk space is looked at.
func Facts(dir string) wire.Host {
	h := wire.Host{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU()}
	if name, err := os.Hostname(); err == nil {
		h.Hostname = name
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		h.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) == nil {
		h.MemoryBytes = int64(si.Totalram) * int64(si.Unit) //nolint:unconvert // the types differ between platforms
		h.LoadMilli = int64(si.Loads[0]) * 1000 >> 16       //nolint:unconvert // as above
		h.Uptime = int64(si.Uptime)                         //nolint:unconvert // as above
	}
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) == nil {
		h.DiskFree = int64(fs.Bavail) * int64(fs.Bsize) //nolint:unconvert // as above
	}
	return h
}
