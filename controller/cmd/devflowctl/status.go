package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/client"
)

// unaskedError is why a controller could not be asked how things are: nobody knows then.
type unaskedError struct{ error }

func (e unaskedError) Unwrap() error { return e.error }

var errNotWell = errors.New("not all is well")

// protectionStatus is what status prints as JSON.
type protectionStatus struct {
	controller.ProtectionSummary
	Well      bool                    `json:"well"`
	Databases []controller.Protection `json:"listed,omitempty"`
}

func (c *ctl) statusCommand() *cobra.Command {
	var all bool
	var state string
	cmd := &cobra.Command{
		Use: "status [PROJECT]", Short: "Tell whether everything is protected, and what is wrong; fails if something is", Args: cobra.MaximumNArgs(1),
		Long: `Tell how many databases are protected and what is wrong, the worst first, with the command that shows more of it.

Exit status: 0 all is well; 1 something is wrong; 2 the command line is wrong; 3 the controller could not be asked.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if state != "" && !slices.Contains(controller.ProtectionStates, state) {
				return usagef("--state %q is not allowed; use %s", state, strings.Join(controller.ProtectionStates, ", "))
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			s := protectionStatus{}
			project := ""
			if len(args) == 1 {
				project = args[0]
			}
			if err := s.read(cmd.Context(), cl, project, state, all || state != ""); err != nil {
				return unaskedError{err}
			}
			if err := c.show(s, func(t *rows) { statusRows(t, s, project) }); err != nil {
				return err
			}
			if c.output == outputTable && (all || state != "") {
				fmt.Fprintln(c.out)
				if err := c.show(nil, func(t *rows) { protectionRows(t, s.Databases) }); err != nil {
					return err
				}
			}
			if !s.Well {
				return errNotWell
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "list every database too, with its last good backup")
	cmd.Flags().StringVar(&state, "state", "", "list the databases in this state: "+strings.Join(controller.ProtectionStates, ", "))
	return cmd
}

func (s *protectionStatus) read(ctx context.Context, cl *client.Client, project, state string, list bool) error {
	var err error
	if s.ProtectionSummary, err = cl.ProtectionSummary(ctx, project); err != nil {
		return err
	}
	s.Well = len(s.Wrong) == 0
	if list {
		s.Databases, err = cl.Protection(ctx, controller.ProtectionFilter{Project: project, State: state})
	}
	return err
}

// further are the commands that show more of what is wrong.
var further = map[string]string{
	controller.WrongOverdue:     "`devflowctl status --state overdue`",
	controller.WrongCorrupt:     "`devflowctl backup list --health corrupt`",
	controller.WrongMissing:     "`devflowctl backup list --health missing`",
	controller.WrongFailing:     "`devflowctl backup list --status failed`",
	controller.WrongStorage:     "`devflowctl storage list`",
	controller.WrongUnprotected: "`devflowctl status --state unprotected`",
	controller.WrongOffline:     "`devflowctl server list`",
	controller.WrongSchedule:    "`devflowctl schedule list`",
	controller.WrongChannel:     "`devflowctl channel list`",
	controller.WrongAlarm:       "`devflowctl alarm list`",
}

func statusRows(t *rows, s protectionStatus, project string) {
	totals := plural(int(s.ProtectionSummary.Databases), "database")
	var parts []string
	for _, state := range []string{
		controller.ProtectionProtected, controller.ProtectionWaiting, controller.ProtectionOverdue, controller.ProtectionUnprotected, controller.ProtectionPaused, controller.ProtectionIgnored, controller.ProtectionGone,
	} {
		if n := s.States[state]; n > 0 {
			parts = append(parts, number(n)+" "+state)
		}
	}
	if len(parts) > 0 {
		totals += ": " + strings.Join(parts, ", ")
	}
	if s.Unverified > 0 {
		totals += fmt.Sprintf("; of %s the last good backup is not verified", plural(int(s.Unverified), "database"))
	}
	if s.Well {
		t.head("ok", totals)
	} else {
		t.head("wrong", totals)
		t.section("SEVERITY", "WHAT", "SUCH AS", "MORE")
		for _, w := range s.Wrong {
			command := strings.Trim(further[w.Kind], "`")
			switch {
			case project == "" || w.Kind == controller.WrongStorage || w.Kind == controller.WrongOffline || command == "":
			case strings.HasPrefix(command, "devflowctl status"):
				command += " " + project
			default:
				command += " --project " + project
			}
			t.row(w.Severity, w.Text, named(w), command)
		}
	}
}

func protectionRows(t *rows, all []controller.Protection) {
	t.head("ID", "STATE", "DATABASE", "SERVER", "PROJECT", "LAST GOOD", "EXPECTED", "VERIFIED", "SIZE", "WHY")
	for _, d := range all {
		expected, stored := "", ""
		if d.ExpectedSeconds > 0 {
			expected = "within " + span(time.Duration(d.ExpectedSeconds)*time.Second)
		}
		if n := len(d.Sizes); n > 0 {
			stored = size(d.Sizes[n-1])
			if d.SizeTrend != nil {
				stored += fmt.Sprintf(" (%+.0f%%)", (*d.SizeTrend-1)*100)
			}
		}
		t.row(number(d.DatabaseID), d.State, d.Database, d.Server, d.Project, ago(d.LastGoodAt), expected, d.VerifiedLevel, stored, d.Reason)
	}
}

// named are the first of what is wrong.
func named(w controller.Wrong) string {
	text := strings.Join(w.Names, ", ")
	if rest := w.Count - int64(len(w.Names)); rest > 0 && len(w.Names) > 0 {
		text += fmt.Sprintf(" and %d more", rest)
	}
	return text
}
