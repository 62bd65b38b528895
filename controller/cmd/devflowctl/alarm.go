package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/client"
)

// listed is how many rows of alarms and notices are listed unless a limit is given.
const listed = 100

func (c *ctl) alarmCommand() *cobra.Command {
	return c.group("alarm", "What is wrong, until it is not any more", c.alarmList(), c.alarmShow(), c.alarmMute())
}

func (c *ctl) alarmList() *cobra.Command {
	var f controller.AlarmFilter
	var all bool
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List the alarms that stand, the worst first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usagef("--limit %d: use 1 or more", limit)
			}
			if all {
				f.State = controller.AlarmAll
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			alarms, err := cl.Alarms(cmd.Context(), f, limit)
			if err != nil {
				return err
			}
			return c.show(alarms, func(t *rows) {
				t.head("ID", "SEVERITY", "WHAT", "SINCE", "TIMES", "PROJECT", "STATE")
				for _, a := range alarms {
					t.row(number(a.ID), a.Severity, a.Title, ago(&a.OpenedAt), number(a.Count), a.Project, alarmState(a))
				}
				if len(alarms) > 0 {
					t.note("`devflowctl alarm show ID` tells what to do")
				}
			})
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&all, "all", false, "those too that are over")
	fl.StringVar(&f.Project, "project", "", "of this project")
	fl.StringVar(&f.Kind, "notice", "", "of one kind, such as backup_failing")
	fl.StringVar(&f.Severity, "min-severity", "", "at least info, warning or critical")
	fl.IntVar(&limit, "limit", listed, "how many at most")
	return cmd
}

func alarmState(a controller.Alarm) string {
	switch {
	case a.ClosedAt != nil:
		return "over " + ago(a.ClosedAt)
	case a.MutedUntil != nil:
		return "muted until " + stamp(a.MutedUntil)
	case a.Silenced:
		return "silenced by its schedule"
	}
	return "stands"
}

func (c *ctl) alarmShow() *cobra.Command {
	return c.on("alarm", "show", "Show one alarm: what it is, what to do, and who was told", func(ctx context.Context, cl *client.Client, id int64) error {
		a, err := cl.Alarm(ctx, id)
		if err != nil {
			return err
		}
		if c.output == outputJSON {
			return c.show(a, nil)
		}
		notices, err := cl.Notices(ctx, controller.NoticeFilter{Alarm: id}, 20)
		if err != nil {
			return err
		}
		return c.show(a, func(t *rows) {
			t.fact("id", number(a.ID))
			t.fact("kind", a.Kind)
			t.fact("severity", a.Severity)
			t.fact("what", a.Title)
			t.fact("detail", a.Detail)
			t.fact("project", a.Project)
			t.fact("server", a.Server)
			t.fact("database", a.Database)
			t.fact("state", alarmState(a))
			t.fact("since", stamp(&a.OpenedAt))
			t.fact("raised", fmt.Sprintf("%d times, last %s", a.Count, ago(&a.LastAt)))
			if len(notices) > 0 {
				t.section("NOTICE", "AT", "EVENT", "TOLD")
				for _, n := range notices {
					t.row(number(n.ID), stamp(&n.At), n.Event, told(n))
				}
			}
		})
	})
}

// told is what became of a notice, in one line.
func told(n controller.Notice) string {
	if n.Unsent != "" {
		return "to nobody: " + map[string]string{
			controller.UnsentMuted: "muted", controller.UnsentSilenced: "silenced by its schedule", controller.UnsentNowhere: "no channel takes it",
		}[n.Unsent]
	}
	parts := make([]string, len(n.Deliveries))
	for i, d := range n.Deliveries {
		name := d.Channel
		if name == "" {
			name = "channel " + number(d.ChannelID)
		}
		parts[i] = name + " " + map[string]string{"open": "is being tried", "waiting": "waits"}[d.Status]
		if d.Status != "open" && d.Status != "waiting" {
			parts[i] = name + " " + d.Status
		}
		if d.Error != "" {
			parts[i] += ": " + d.Error
		}
		if d.FallbackID != nil {
			place := d.Fallback
			if place == "" {
				place = "channel " + number(*d.FallbackID)
			}
			parts[i] += ", in its place " + place + " " + map[string]string{"open": "is being tried", "sent": "sent", "failed": "failed", "dropped": "dropped"}[d.FallbackStatus]
		}
	}
	return strings.Join(parts, "; ")
}

func (c *ctl) alarmMute() *cobra.Command {
	in := body.CreateMute{Scope: controller.MuteAlarm}
	var times muteTimes
	cmd := &cobra.Command{
		Use: "mute ALARM --for 4h --reason TEXT", Short: "Tell nobody of an alarm for a time", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := identifier("alarm", args[0])
			if err != nil {
				return err
			}
			in.Ref = number(id)
			return c.mute(cmd.Context(), in, times)
		},
	}
	times.add(cmd.Flags(), &in)
	return cmd
}

func (c *ctl) noticeCommand() *cobra.Command {
	return c.group("notice", "What was to be told, and what became of it", c.noticeList(), c.noticeShow(), c.noticeKinds())
}

func (c *ctl) noticeList() *cobra.Command {
	var f controller.NoticeFilter
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List notices, newest first, with what became of each at each channel", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usagef("--limit %d: use 1 or more", limit)
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			notices, err := cl.Notices(cmd.Context(), f, limit)
			if err != nil {
				return err
			}
			return c.show(notices, func(t *rows) {
				t.head("ID", "AT", "SEVERITY", "EVENT", "WHAT", "PROJECT", "TOLD")
				for _, n := range notices {
					t.row(number(n.ID), stamp(&n.At), n.Severity, n.Event, n.Title, n.Project, told(n))
				}
			})
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.Project, "project", "", "of this project")
	fl.StringVar(&f.Kind, "notice", "", "of one kind, such as backup_failing")
	fl.StringVar(&f.Severity, "min-severity", "", "at least info, warning or critical")
	fl.Int64Var(&f.Alarm, "alarm", 0, "of one alarm")
	fl.BoolVar(&f.Unsent, "unsent", false, "only those that went to no channel")
	fl.IntVar(&limit, "limit", listed, "how many at most")
	return cmd
}

func (c *ctl) noticeShow() *cobra.Command {
	return c.on("notice", "show", "Show one notice with what became of it at each channel", func(ctx context.Context, cl *client.Client, id int64) error {
		n, err := cl.Notice(ctx, id)
		if err != nil {
			return err
		}
		return c.show(n, func(t *rows) {
			t.fact("id", number(n.ID))
			t.fact("at", stamp(&n.At))
			t.fact("kind", n.Kind)
			t.fact("event", n.Event)
			t.fact("severity", n.Severity)
			t.fact("what", n.Title)
			t.fact("detail", n.Detail)
			t.fact("project", n.Project)
			t.fact("server", n.Server)
			t.fact("database", n.Database)
			if n.AlarmID != nil {
				t.fact("alarm", number(*n.AlarmID))
			}
			if n.Unsent != "" {
				t.fact("told", told(n))
			}
			if len(n.Deliveries) > 0 {
				t.section("CHANNEL", "STATE", "TRIES", "SENT", "ERROR")
				for _, d := range n.Deliveries {
					name := d.Channel
					if name == "" {
						name = number(d.ChannelID)
					}
					t.row(name, d.Status, number(int64(d.Attempts)), stamp(d.SentAt), d.Error)
				}
			}
		})
	})
}

func (c *ctl) noticeKinds() *cobra.Command {
	return &cobra.Command{
		Use: "kinds", Short: "List the kinds of notices, which a channel may name by --notify", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			kinds, err := cl.NoticeKinds(cmd.Context())
			if err != nil {
				return err
			}
			return c.show(kinds, func(t *rows) {
				t.head("KIND", "SEVERITY", "STANDS", "OFF UNLESS NAMED", "WHAT IT TELLS")
				for _, k := range kinds {
					t.row(k.Kind, k.Severity, yes(k.Stands), yes(k.Off), k.Text)
				}
			})
		},
	}
}
