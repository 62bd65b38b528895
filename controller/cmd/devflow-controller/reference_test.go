package main

import (
	"testing"

	"devflowbackup/shared/testkit/reference"
)

// docs/reference-cli.md tells of the commands as they are.
func TestReference(t *testing.T) {
	reference.Hold(t, "docs/reference-cli.md", "devflow-controller", reference.Commands(command()))
}
