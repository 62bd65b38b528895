package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"devflowbackup/controller"
)

func (c *ctl) statisticsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "statistics [PROJECT]", Aliases: []string{"stats"}, Short: "Show the figures of a project, or of all: backups, schedules, storage used, last backup", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			s, err := cl.Statistics(cmd.Context(), strings.Join(args, ""))
			if err != nil {
				return err
			}
			return c.show(s, func(t *rows) { statisticsFacts(t, s) })
		},
	}
}

func statisticsFacts(t *rows, s controller.Statistics) {
	if s.Project != "" {
		t.fact("project", s.Project)
	}
	t.fact("total backups", fmt.Sprintf("%d: %d completed, %d failed, %d running", s.Backups, s.Completed, s.Failed, s.Running))
	t.fact("verified", number(s.Verified))
	t.fact("storage used", size(s.UsedBytes))
	last := "never"
	if b := s.LastBackup; b != nil {
		last = fmt.Sprintf("%s: %d, %s", ago(&b.CompletedAt), b.ID, b.DatabaseName)
		if s.Project == "" {
			last += " of " + b.Project
		}
	}
	t.fact("last backup", last)
	t.fact("databases", number(s.Databases))
	t.fact("active schedules", fmt.Sprintf("%d of %d", s.ActiveSchedules, s.Schedules))
	next := "not scheduled"
	if s.NextRunAt != nil {
		next = ago(s.NextRunAt)
	}
	t.fact("next run", next)
}

func (c *ctl) trendsCommand() *cobra.Command {
	var r controller.TrendRequest
	cmd := &cobra.Command{
		Use: "trends [PROJECT]", Short: "Show size, duration and success day by day", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				r.Project = args[0]
			}
			if r.Days < 1 {
				return usagef("--days %d is not allowed; use 1 to %d", r.Days, controller.MaxTrendDays)
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			trend, err := cl.Trend(cmd.Context(), r)
			if err != nil {
				return err
			}
			return c.show(trend, func(t *rows) { trendRows(t, trend) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.Project, "project", "", "only of a project")
	f.StringVar(&r.Database, "database", "", "only of a database: its exact name, or its id")
	f.IntVar(&r.Days, "days", controller.DefaultTrendDays, "how many days, up to the last one; at most 366")
	f.StringVar(&r.Until, "until", "", "the last day, as YYYY-MM-DD; today if absent")
	return cmd
}

// trendRows are a line for each day on which there was something, and the totals.
func trendRows(t *rows, trend controller.Trend) {
	t.head("DAY", "COMPLETED", "FAILED", "STORED", "RAW", "MEAN TIME", "LONGEST")
	seconds := func(s float64) string {
		if s == 0 {
			return ""
		}
		return span(time.Duration(s * float64(time.Second)))
	}
	var sum controller.TrendDay
	for _, d := range trend.Days {
		if d.Completed+d.Failed == 0 {
			continue
		}
		t.row(d.Date, number(d.Completed), number(d.Failed), size(d.Bytes), size(d.RawBytes), seconds(d.MeanSeconds), seconds(d.MaxSeconds))
		sum.Completed, sum.Failed, sum.Bytes = sum.Completed+d.Completed, sum.Failed+d.Failed, sum.Bytes+d.Bytes
	}
	t.note("%s by the clock of %s: %d completed, %d failed, %s stored", plural(len(trend.Days), "day"), trend.Timezone, sum.Completed, sum.Failed, size(sum.Bytes))
}

func (c *ctl) overviewCommand() *cobra.Command {
	return &cobra.Command{
		Use: "overview", Short: "Show what needs attention, the most urgent first, and what storages hold", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			o, err := cl.Overview(cmd.Context())
			if err != nil {
				return err
			}
			return c.show(o, func(t *rows) { overviewRows(t, o) })
		},
	}
}

func overviewRows(t *rows, o controller.Overview) {
	t.head("ATTENTION", "WHAT", "SINCE", "DETAIL")
	for _, a := range o.Attention {
		t.row(a.Severity, a.Title, ago(a.At), a.Detail)
	}
	if len(o.Attention) == 0 {
		t.row("none", "nothing needs attention", "", "")
	}
	t.section("STORAGE", "BACKUPS", "USED", "PROBE")
	for _, s := range o.Storages {
		t.row(storageName(s), number(s.Backups), size(s.UsedBytes), probeWord(s))
	}
	if o.More {
		t.note("There is more of a kind than is listed.")
	}
	if len(o.Unscheduled) > 0 {
		names := make([]string, 0, len(o.Unscheduled))
		for _, d := range o.Unscheduled[:min(len(o.Unscheduled), 10)] {
			names = append(names, d.Name)
		}
		slices.Sort(names)
		line := "Without a schedule: " + strings.Join(names, ", ")
		if rest := len(o.Unscheduled) - len(names); rest > 0 {
			line += fmt.Sprintf(" and %d more", rest)
		}
		t.note("%s", line)
	}
	t.note("%s, %s stored; today %d completed, %d failed; %s online, %d offline",
		plural(int(o.Statistics.Backups), "backup"), size(o.Statistics.UsedBytes), o.Today.Completed, o.Today.Failed, plural(int(o.Agents.Online), "agent"), o.Agents.Offline)
}
