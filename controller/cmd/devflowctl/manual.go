//go:build manual

package main

import (
	"os"

	"devflowbackup/shared/manual"
)

func init() {
	manual.Main((&ctl{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.Getenv}).root(), "1")
} //nolint:gochecknoinits // in place of main
