package main

import (
	"os"

	"github.com/spf13/cobra"
)

// Root makes the program's commands.
func Root() *cobra.Command {
	return (&ctl{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: func(string) string { return "" }}).root()
}
