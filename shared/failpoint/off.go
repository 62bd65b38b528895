//go:build !failpoints

package failpoint

// Enabled tells whether this binary has failpoints.
const Enabled = false

// Hit marks a place where a test may stop the program.
func Hit(string) {}

// Err marks a place where a test may inject an error.
func Err(string) error { return nil }
