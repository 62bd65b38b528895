//go:build manual

package main

import (
	"devflowbackup/shared/manual"
)

func init() { manual.Main(command(), "8") } //nolint:gochecknoinits // in place of main
