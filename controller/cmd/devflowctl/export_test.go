package main

import (
	"context"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// Root makes the program's commands.
func Root() *cobra.Command {
	return (&ctl{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: func(string) string { return "" }}).root()
}

// Run is one run of the program within this one. It returns what would be told of the error.
func Run(ctx context.Context, in io.Reader, out, err io.Writer, env func(string) string, args ...string) string {
	c := &ctl{in: in, out: out, err: err, env: env}
	root := c.root()
	root.SetArgs(args)
	if failed := root.ExecuteContext(ctx); failed != nil {
		return c.describe(ctx, failed)
	}
	return ""
}

// NearNames are those of the names that may have been meant.
func NearNames(typed string, names []string) []string { return nearNames(typed, names) }
