package main

import (
	"cmp"
	"context"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/client"
)

func (c *ctl) muteCommand() *cobra.Command {
	return c.group("mute", "Tell nobody for a time; what happens is recorded nevertheless", c.muteCreate(), c.muteList(), c.muteEnd())
}

// muteTimes say how long a mute holds.
type muteTimes struct {
	length time.Duration
	until  string
}

func (m *muteTimes) add(f *pflag.FlagSet, in *body.CreateMute) {
	f.DurationVar(&m.length, "for", 0, "for so long, such as 4h")
	f.StringVar(&m.until, "until", "", "until a time, such as 2026-01-02T03:04")
	f.StringVar(&in.Reason, "reason", "", "why, for those who wonder why nobody was told")
}

// mute makes a mute.
func (c *ctl) mute(ctx context.Context, in body.CreateMute, times muteTimes) error {
	switch {
	case in.Reason == "":
		return usagef("give a --reason, for those who wonder why nobody was told")
	case times.until != "" && times.length != 0:
		return usagef("--until and --for exclude each other")
	case times.until != "":
		at, err := timeFlag("until", times.until)
		if err != nil {
			return err
		}
		in.Until = &at
	case times.length != 0:
		n, err := seconds("for", times.length)
		if err != nil {
			return err
		}
		in.ForSeconds = n
	default:
		return usagef("give how long by --for or --until")
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	m, err := cl.CreateMute(ctx, in)
	if err != nil {
		return err
	}
	return c.show(m, func(t *rows) {
		t.note("%s is muted until %s; `devflowctl mute end %d` ends it", muteWhat(m), stamp(&m.Until), m.ID)
	})
}

func (c *ctl) muteCreate() *cobra.Command {
	var in body.CreateMute
	var times muteTimes
	var everything bool
	var alarm int64
	var project, server, database, channel string
	cmd := &cobra.Command{
		Use: "create --for 4h --reason TEXT", Aliases: []string{"add"}, Short: "Mute an alarm, a database, a server, a project, a channel or everything",
		Long: `Mute one of: --alarm, --database, --on, --project, --channel, --everything; for a time of at most 90 days. With --notice only one kind of
notices is muted.

What happens meanwhile is recorded, and shown as muted; it is not sent afterwards. Alarms that still stand then are reminded of as ever.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			given := 0
			for _, by := range []struct {
				scope, ref string
				is         bool
			}{
				{controller.MuteAlarm, number(alarm), alarm != 0},
				{controller.MuteDatabase, database, database != ""},
				{controller.MuteServer, server, server != ""},
				{controller.MuteProject, project, project != ""},
				{controller.MuteChannel, channel, channel != ""},
				{controller.MuteEverything, "", everything},
			} {
				if by.is {
					given++
					in.Scope, in.Ref = by.scope, by.ref
				}
			}
			if given != 1 {
				return usagef("mute what? Give one of --alarm, --database, --on, --project, --channel, --everything")
			}
			return c.mute(cmd.Context(), in, times)
		},
	}
	f := cmd.Flags()
	f.Int64Var(&alarm, "alarm", 0, "one alarm")
	f.StringVar(&database, "database", "", "what is of a database, by name or id")
	f.StringVar(&server, "on", "", "what is of a server")
	f.StringVar(&project, "project", "", "what is of a project")
	f.StringVar(&channel, "channel", "", "whatever goes through a channel")
	f.BoolVar(&everything, "everything", false, "whatever there is")
	f.StringVar(&in.Kind, "notice", "", "only one kind of notices, such as backup_failing")
	times.add(f, &in)
	return cmd
}

func (c *ctl) muteList() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "list", Short: "List what nobody is told of", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			mutes, err := cl.Mutes(cmd.Context(), all)
			if err != nil {
				return err
			}
			return c.show(mutes, func(t *rows) {
				t.head("ID", "WHAT", "NOTICES", "SINCE", "UNTIL", "BY", "ENDED", "REASON")
				for _, m := range mutes {
					what := muteWhat(m)
					if m.Alarm != "" {
						what += ": " + m.Alarm
					}
					t.row(number(m.ID), what, cmp.Or(m.Kind, "all"), stamp(&m.CreatedAt), stamp(&m.Until), m.CreatedBy, stamp(m.EndedAt), m.Reason)
				}
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "those too that are over")
	return cmd
}

func (c *ctl) muteEnd() *cobra.Command {
	return c.on("mute", "end", "End a mute", func(ctx context.Context, cl *client.Client, id int64) error {
		m, err := cl.EndMute(ctx, id)
		if err != nil {
			return err
		}
		return c.done("%s is no longer muted by mute %d", muteWhat(m), m.ID)
	})
}

func muteWhat(m controller.Mute) string {
	switch {
	case m.Scope == controller.MuteProject:
		return "project " + m.Project
	case m.Scope == controller.MuteServer:
		return "server " + m.Server
	case m.Scope == controller.MuteDatabase:
		return "database " + m.Database
	case m.Scope == controller.MuteChannel:
		return "channel " + m.Channel
	case m.Scope == controller.MuteAlarm && m.AlarmID != nil:
		return "alarm " + number(*m.AlarmID)
	}
	return m.Scope
}
