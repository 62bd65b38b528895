package main_test

import (
	"testing"

	main "devflowbackup/controller/cmd/devflowctl"
	"devflowbackup/shared/testkit/reference"
)

// docs/reference-cli.md tells of the commands as they are.
func TestReference(t *testing.T) {
	reference.Hold(t, "docs/reference-cli.md", "devflowctl", reference.Commands(main.Root()))
}
