// Package failpoint lets a test stop a program at a named place, as a crash would.
//
// Only binaries built with the tag "failpoints" have them. In every other build Hit and Err are empty, and nothing
// reads the environment: no installed program can be made to fail from outside.
//
// DEVFLOW_FAILPOINTS is a list "name=action" separated by commas. Actions are:
//
//	exit         end the process at once, with status 86, running no clean-up
//	panic        panic
//	hang         never go on
//	sleep:5s     go on after a while
//	term         send SIGTERM to the own process and go on
//	error        Err returns an error; Hit does nothing
//
// An action may end in "@/path/marker": it fires once for each marker file, which it creates. A restarted process does
// not fire again, and the file shows a test that the place was reached.
package failpoint

// ExitStatus is the status of a process that an "exit" ended.
const ExitStatus = 86
