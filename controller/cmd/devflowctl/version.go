package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"devflowbackup/controller/internal/client"
)

// showVersion shows what is read, with the version by which --if-match binds a change to it.
func showVersion[T any](ctx context.Context, c *ctl, read func(context.Context) (T, error), facts func(T) func(*rows)) error {
	var version string
	v, err := read(client.WithVersion(ctx, &version))
	if err != nil {
		return err
	}
	version = strings.Trim(version, `"`)
	if c.output != outputJSON || version == "" {
		return c.show(v, func(t *rows) {
			facts(v)(t)
			if version != "" && t.cut == 0 {
				t.fact("version", version)
			} else if version != "" {
				t.note("Version %s", version)
			}
		})
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("print: %w", err)
	}
	text = append(bytes.TrimSuffix(text, []byte("}")), `,"version":`+strconv.Quote(version)+`}`...)
	return c.show(json.RawMessage(text), nil)
}

// matchFlag binds what a command changes to a version.
func matchFlag(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().String("if-match", "", "only if its version still is this one, as show prints it")
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if version, err := cmd.Flags().GetString("if-match"); err == nil && version != "" {
			cmd.SetContext(client.WithMatch(cmd.Context(), `"`+strings.Trim(version, `"`)+`"`))
		} else if cmd.Flags().Changed("if-match") {
			return usagef("--if-match is empty; give the version that show prints")
		}
		return run(cmd, args)
	}
	return cmd
}
