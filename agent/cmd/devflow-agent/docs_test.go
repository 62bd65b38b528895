package main_test

import (
	"testing"

	main "devflowbackup/agent/cmd/devflow-agent"
	"devflowbackup/shared/testkit/dockit"
)

// What pages and hints tell people to type is something that the program knows.
func TestDocs_Commands(t *testing.T) { dockit.Test(t, main.Command, 40, 8) }
