// Package version says which build of DevFlow Backup is running.
//
// The build sets Version by the linker; a binary built any other way calls itself "dev". Nothing here is read at run
// time from files or the environment, so what a binary reports is what it was built as.
package version

import "runtime"

// Version is the release, or the commit after it, for example "v1.4.0" or "v1.4.0-3-g1a2b3c4". It is set by
// -ldflags "-X devflowbackup/shared/version.Version=..." and never changed after start.
var Version = "dev"

// String is the line that the version commands print: version, Go release and platform.
func String() string {
	return Version + " (" + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH + ")"
}
