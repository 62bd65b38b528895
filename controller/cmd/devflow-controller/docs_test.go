package main

import (
	"testing"

	"devflowbackup/shared/testkit/dockit"
)

// What pages and hints tell people to type is something that the program knows.
func TestDocs_Commands(t *testing.T) { dockit.Test(t, command, 25, 6) }
