package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/client"
)

// Actions of a plan, as the controller names them.
const (
	actionKeep   = "keep"
	actionLater  = "later"
	actionRemove = "remove"
)

func (c *ctl) backupCleanup() *cobra.Command {
	var in body.Cleanup
	var grace time.Duration
	cmd := &cobra.Command{
		Use: "cleanup [PROJECT]", Short: "Apply retention, or show what it would do",
		Long: `Remove what the retention of schedules, and that of backups made by hand, no longer keeps; of a project, or of all. Prints each backup with
what becomes of it and why, and totals. With --dry-run the same plan is printed and nothing is changed.

What is removed can be taken back by ` + "`devflowctl backup undelete`" + ` until its grace has passed. Fails if anything could not be removed.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if in.Project = args[0]; in.Project == "" {
					return usagef("the project is empty")
				}
			}
			if cmd.Flags().Changed("grace") {
				n, err := seconds("grace", grace)
				if err != nil {
					return err
				}
				in.GraceSeconds = &n
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			res, err := cl.Cleanup(cmd.Context(), in)
			if err != nil {
				return err
			}
			if err := c.show(res, cleanupRows(res)); err != nil {
				return err
			}
			if res.Failed > 0 {
				return fmt.Errorf("%s could not be removed", plural(res.Failed, "backup"))
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&in.DryRun, "dry-run", false, "show the plan and change nothing")
	f.Int64Var(&in.ScheduleID, "schedule", 0, "only what a schedule made")
	f.DurationVar(&grace, "grace", 0, "how long what is removed can be taken back; the installation's grace if absent")
	return cmd
}

func cleanupRows(res controller.CleanupResult) func(*rows) {
	return func(t *rows) {
		t.head("ACTION", "BACKUP", "PROJECT", "DATABASE", "SERVER", "TYPE", "COMPLETED", "STORED", "REASONS")
		for _, i := range res.Items {
			var reasons []string
			for _, r := range i.Reasons {
				reasons = append(reasons, r.Text)
			}
			if i.Error != "" {
				reasons = append(reasons, "FAILED: "+i.Error)
			}
			t.row(actionWord(i), number(i.BackupID), i.Project, i.DatabaseName, i.Server, i.Type, stamp(i.CompletedAt), size(i.FileSize), strings.Join(reasons, "; "))
		}
		if res.Truncated {
			t.note("The list is cut after %d backups; the totals are of all.", len(res.Items))
		}
		t.note("%s", cleanupTotals(res))
	}
}

func actionWord(i controller.CleanupItem) string {
	switch {
	case i.Error != "":
		return "failed"
	case i.Removed:
		return "removed"
	case i.Action == actionLater && i.At != nil:
		return "later, from " + i.At.UTC().Format(time.DateOnly)
	}
	return i.Action
}

func cleanupTotals(res controller.CleanupResult) string {
	verb := "removed"
	if res.DryRun {
		verb = "to be removed"
	}
	parts := []string{fmt.Sprintf("%s %s, %s", plural(res.Removed, "backup"), verb, size(res.RemovedBytes))}
	if res.Postponed > 0 {
		parts = append(parts, fmt.Sprintf("%d later", res.Postponed))
	}
	parts = append(parts, fmt.Sprintf("%d kept", res.Kept))
	if res.Failed > 0 {
		parts = append(parts, fmt.Sprintf("%d failed", res.Failed))
	}
	return strings.Join(parts, "; ")
}

func (c *ctl) backupHold() *cobra.Command {
	var reason string
	cmd := c.on("backup", "hold", "Keep a backup: nobody and no retention deletes it until it is released", func(ctx context.Context, cl *client.Client, id int64) error {
		b, err := cl.HoldBackup(ctx, id, reason)
		if err != nil {
			return err
		}
		return c.show(b, backupFacts(b))
	})
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if reason == "" {
			return usagef("give a --reason, for those who want to delete it")
		}
		return nil
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	return cmd
}

func (c *ctl) backupRelease() *cobra.Command {
	var reason string
	cmd := c.on("backup", "release", "End the hold of a backup", func(ctx context.Context, cl *client.Client, id int64) error {
		b, err := cl.ReleaseBackup(ctx, id, reason)
		if err != nil {
			return err
		}
		return c.show(b, backupFacts(b))
	})
	cmd.Flags().StringVar(&reason, "reason", "", "for the audit log")
	return cmd
}

func (c *ctl) backupRetry() *cobra.Command {
	var wait bool
	cmd := c.on("backup", "retry", "Order a backup that failed once more, as it was ordered", func(ctx context.Context, cl *client.Client, id int64) error {
		b, err := cl.RetryBackup(ctx, id)
		if err != nil {
			return err
		}
		return c.backedUp(ctx, cl, []body.BackupOutcome{{Database: b.DatabaseName, Server: b.Server, Instance: b.Instance, Backup: &b}}, wait)
	})
	waitFlags(cmd, &wait, false, "wait for the end, with progress")
	return cmd
}

func (c *ctl) settingsCommand() *cobra.Command {
	show := &cobra.Command{
		Use: "show", Short: "Show the settings of the installation", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			return showVersion(cmd.Context(), c, cl.Settings, settingsFacts)
		},
	}
	var zone, at, day, summary string
	set := &cobra.Command{
		Use: "set", Short: "Change settings of the installation; what is not given stays", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var in body.UpdateSettings
			if cmd.Flags().Changed("timezone") {
				in.Timezone = &zone
			}
			if cmd.Flags().Changed("cleanup-time") {
				in.CleanupTime = &at
			}
			if cmd.Flags().Changed("summary-day") {
				in.SummaryDay = &day
			}
			if cmd.Flags().Changed("summary-time") {
				in.SummaryTime = &summary
			}
			if in == (body.UpdateSettings{}) {
				return usagef("change what? Give --timezone, --cleanup-time, --summary-day or --summary-time")
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			s, err := cl.UpdateSettings(cmd.Context(), in)
			if err != nil {
				return err
			}
			return c.show(s, settingsFacts(s))
		},
	}
	set.Flags().StringVar(&zone, "timezone", "", "IANA name of the zone in which the daily clean-up and the weekly summary have their times")
	set.Flags().StringVar(&at, "cleanup-time", "", "HH:MM of the daily clean-up")
	set.Flags().StringVar(&day, "summary-day", "", "day of the weekly summary, such as monday, or off")
	set.Flags().StringVar(&summary, "summary-time", "", "HH:MM of the weekly summary")
	return c.group("settings", "Settings of the installation", show, matchFlag(set))
}

func settingsFacts(s controller.Settings) func(*rows) {
	return func(t *rows) {
		t.fact("time zone", s.Timezone)
		t.fact("daily clean-up", s.CleanupTime)
		t.fact("weekly summary", summaryWord(s))
	}
}

func summaryWord(s controller.Settings) string {
	if s.SummaryDay == controller.SummaryOff || s.SummaryDay == "" {
		return s.SummaryDay
	}
	day, err := strconv.Atoi(s.SummaryDay)
	if err != nil {
		return s.SummaryDay
	}
	return time.Weekday(day).String() + " at " + s.SummaryTime
}

func (c *ctl) storageInventory() *cobra.Command {
	var now, wait, findings bool
	cmd := &cobra.Command{
		Use: "inventory STORAGE", Short: "Show when a storage was held against the catalog, and what was found; fails if that failed",
		Long: `Each storage is listed once a day and held against the catalog: backups whose object is gone become missing, those whose object changed
corrupt. What lies there and is not the catalog's is listed by --findings, and never touched.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if wait && !now {
				return usagef("--wait goes with --now")
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			if findings {
				return c.storageFindings(cmd.Context(), cl, args[0])
			}
			all, err := cl.StorageInventories(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if now {
				before := all
				if all, err = cl.RequestInventory(cmd.Context(), args[0]); err != nil {
					return err
				}
				if wait {
					if all, err = c.awaitInventory(cmd.Context(), cl, args[0], before, all); err != nil {
						return err
					}
				}
			}
			if err := c.show(all, inventoryRows(all)); err != nil {
				return err
			}
			for _, i := range all {
				if i.Error != "" && (!now || wait) {
					return errors.New("the last inventory did not come to its end")
				}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&now, "now", false, "make one now")
	f.BoolVar(&wait, "wait", false, "with --now: wait for its end")
	f.BoolVar(&findings, "findings", false, "list what lies there and is not the catalog's")
	return cmd
}

// awaitInventory waits until each of a storage's inventories that were asked for has come to its end, or failed to.
func (c *ctl) awaitInventory(ctx context.Context, cl *client.Client, ref string, before, asked []controller.StorageInventory) ([]controller.StorageInventory, error) {
	due := make(map[int64]time.Time) // by host
	for _, i := range asked {
		if !slices.ContainsFunc(before, func(b controller.StorageInventory) bool { return b.ServerID == i.ServerID && b.DueAt.Equal(i.DueAt) }) {
			due[i.ServerID] = i.DueAt
		}
	}
	all := asked
	job := &watched{
		name: "inventory of " + ref, cancel: "(it ends by itself; `devflowctl storage inventory " + ref + "` shows it)",
		poll: func(ctx context.Context) (jobState, error) {
			now, err := cl.StorageInventories(ctx, ref)
			if err != nil {
				return jobState{}, err
			}
			all = now
			s := jobState{ended: true, status: "is at work"}
			for _, i := range now {
				if at, waited := due[i.ServerID]; waited && !inventoryEnded(i, at) {
					s.ended = false
					if i.Server != "" {
						s.waiting = "for " + i.Server
					}
				}
			}
			return s, nil
		},
	}
	err := c.wait(ctx, cl, []*watched{job})
	return all, err
}

// inventoryEnded tells whether an inventory that began after it was due has ended, well or not.
func inventoryEnded(i controller.StorageInventory, due time.Time) bool {
	return i.StartedAt != nil && !i.StartedAt.Before(due) && (i.Error != "" || i.EndedAt != nil && !i.EndedAt.Before(*i.StartedAt))
}

func inventoryRows(all []controller.StorageInventory) func(*rows) {
	return func(t *rows) {
		t.head("HOST", "ENDED", "OBJECTS", "BYTES", "REQUESTS", "MISSING", "CORRUPT", "ARCHIVED", "THERE AGAIN", "FOREIGN", "STALE UPLOADS", "NEXT")
		for _, i := range all {
			t.row(i.Server, cmp.Or(stamp(i.EndedAt), "never"), number(i.Objects), size(i.Bytes), number(i.Requests), number(int64(i.Missing)), number(int64(i.Damaged)),
				number(int64(i.Archived)), number(int64(i.Recovered)), number(int64(i.ForeignObjects)), number(int64(i.StaleUploads)), ago(&i.DueAt))
		}
		for _, i := range all {
			if i.Error != "" {
				t.note("%s", strings.TrimSpace(i.Server+" the last one did not come to its end: "+i.Error))
			}
		}
		if len(all) == 0 {
			t.note("No inventory was made yet.")
		}
	}
}

func (c *ctl) storageFindings(ctx context.Context, cl *client.Client, ref string) error {
	const most = 1000
	all, err := cl.StorageFindings(ctx, ref, most)
	if err != nil {
		return err
	}
	return c.show(all, func(t *rows) {
		t.head("KIND", "HOST", "KEY", "SIZE", "MODIFIED", "FIRST SEEN", "SEEN", "UPLOAD")
		for _, f := range all {
			t.row(f.Kind, f.Server, f.Key, size(f.Size), stamp(f.ModifiedAt), stamp(&f.FirstSeenAt), stamp(&f.SeenAt), f.UploadID)
		}
		if len(all) == most {
			t.note("There may be more: these are the first %d.", most)
		}
	})
}
