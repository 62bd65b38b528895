package main

import (
	"cmp"
	"context"
	"time"

	"github.com/spf13/cobra"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/client"
)

func (c *ctl) pauseCommand() *cobra.Command {
	return c.group("pause", "Hold scheduled backups back", c.pauseAdd(), c.pauseList(), c.pauseEnd())
}

func (c *ctl) pauseAdd() *cobra.Command {
	var in body.CreatePause
	var until string
	var length time.Duration
	var everything bool
	cmd := &cobra.Command{
		Use: "add --reason TEXT", Aliases: []string{"create"}, Short: "Hold back the scheduled backups of a schedule, a server, a project or everything",
		Long: `Hold back the scheduled backups of one of: --schedule, --on, --project, --everything; until a time, or until the pause is ended.

What occurs meanwhile is recorded as missed, with the reason, and not made up for. Backups that people order are made nevertheless, and
retention goes on.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			given := 0
			for _, is := range []bool{in.ScheduleID != 0, in.Server != "", in.Project != "", everything} {
				if is {
					given++
				}
			}
			if given != 1 {
				return usagef("pause what? Give one of --schedule, --on, --project, --everything")
			}
			if everything {
				in.Scope = controller.PauseEverything
			}
			if in.Reason == "" {
				return usagef("give a --reason, for those who wonder why nothing runs")
			}
			if until != "" && length != 0 {
				return usagef("--until and --for exclude each other")
			}
			if until != "" {
				at, err := timeFlag("until", until)
				if err != nil {
					return err
				}
				in.Until = &at
			}
			if length != 0 {
				if _, err := seconds("for", length); err != nil {
					return err
				}
				at := time.Now().Add(length).Truncate(time.Second)
				in.Until = &at
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			p, err := cl.CreatePause(cmd.Context(), in)
			if err != nil {
				return err
			}
			return c.show(p, func(t *rows) {
				t.note("%s is paused %s; `devflowctl pause end %d` ends it", pauseWhat(p), pausedWord(p.Reason, p.Until), p.ID)
			})
		},
	}
	f := cmd.Flags()
	f.Int64Var(&in.ScheduleID, "schedule", 0, "one schedule")
	f.StringVar(&in.Server, "on", "", "the databases of a server")
	f.StringVar(&in.Project, "project", "", "the databases of a project")
	f.BoolVar(&everything, "everything", false, "all schedules of the installation")
	f.StringVar(&until, "until", "", "end it at a time, such as 2026-01-02T03:04")
	f.DurationVar(&length, "for", 0, "end it after so long, such as 2h")
	f.StringVar(&in.Reason, "reason", "", "why")
	return cmd
}

func (c *ctl) pauseList() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "list", Short: "List what holds scheduled backups back", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			pauses, err := cl.Pauses(cmd.Context(), all)
			if err != nil {
				return err
			}
			return c.show(pauses, func(t *rows) {
				t.head("ID", "WHAT", "SINCE", "UNTIL", "BY", "ENDED", "REASON")
				for _, p := range pauses {
					t.row(number(p.ID), pauseWhat(p), stamp(&p.CreatedAt), cmp.Or(stamp(p.Until), "it is ended"), p.CreatedBy, stamp(p.EndedAt), p.Reason)
				}
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "those too that are over")
	return cmd
}

func (c *ctl) pauseEnd() *cobra.Command {
	return c.on("pause", "end", "End a pause; what was missed is not made up for", func(ctx context.Context, cl *client.Client, id int64) error {
		p, err := cl.EndPause(ctx, id)
		if err != nil {
			return err
		}
		return c.done("%s is no longer paused by pause %d", pauseWhat(p), p.ID)
	})
}

func pauseWhat(p controller.Pause) string {
	switch {
	case p.Scope == controller.PauseProject:
		return "project " + p.Project
	case p.Scope == controller.PauseServer:
		return "server " + p.Server
	case p.Scope == controller.PauseSchedule && p.ScheduleID != nil:
		return "schedule " + number(*p.ScheduleID)
	}
	return p.Scope
}
