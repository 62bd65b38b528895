package main_test

import (
	"testing"

	main "devflowbackup/controller/cmd/devflowctl"
	"devflowbackup/shared/testkit/dockit"
)

// What pages and hints tell people to type is something that the program knows.
func TestDocs_Commands(t *testing.T) { dockit.Test(t, main.Root, 300, 90) }
