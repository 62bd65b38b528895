package main_test

import (
	"testing"

	main "devflowbackup/agent/cmd/devflow-agent"
	"devflowbackup/shared/testkit/reference"
)

// docs/reference-cli.md tells of the commands as they are.
func TestReference(t *testing.T) {
	reference.Hold(t, "docs/reference-cli.md", "devflow-agent", reference.Commands(main.Command()))
}
