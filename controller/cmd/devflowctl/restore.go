package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/client"
	"devflowbackup/shared/wire"
)

func (c *ctl) restoreCommand() *cobra.Command {
	return c.group("restore", "Restores", c.restoreCreate(), c.restoreList(), c.restoreShow(), c.restoreCancel())
}

func (c *ctl) restoreCreate() *cobra.Command {
	var in body.CreateRestore
	var wait bool
	cmd := &cobra.Command{
		Use: "create BACKUP --to-database NAME", Short: "Restore a backup into a new database",
		Long: `Restore a backup into a new database. Nothing is visible there before the whole artifact has proven its checksums.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := identifier("backup", args[0])
			if err != nil {
				return err
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			in.BackupID = id
			r, err := cl.CreateRestore(cmd.Context(), in)
			if err != nil {
				return err
			}
			return c.restored(cmd.Context(), cl, r, wait)
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.ToServer, "to-server", "", "target server; the backup's own if absent")
	f.StringVar(&in.ToInstance, "to-instance", "", "target instance; the backup's own, or the only one of its engine")
	f.StringVar(&in.ToDatabase, "to-database", "", "the new database's name")
	f.BoolVar(&wait, "wait", false, "wait for the end, with progress")
	return cmd
}

func (c *ctl) restored(ctx context.Context, cl *client.Client, r controller.Restore, wait bool) error {
	var waitErr error
	if wait {
		waitErr = c.wait(ctx, []*watched{{
			name: r.DatabaseName, cancel: fmt.Sprintf("devflowctl restore cancel %d", r.ID),
			poll: func(ctx context.Context) (jobState, error) {
				now, err := cl.Restore(ctx, r.ID)
				if err != nil {
					return jobState{}, err
				}
				r = now
				ended := now.Status == controller.StatusCompleted || now.Status == controller.StatusFailed
				return jobState{ended: ended, status: now.JobStatus, waiting: now.Waiting, progress: now.Progress}, nil
			},
		}})
	}
	if err := c.show(r, restoreFacts(r)); err != nil {
		return err
	}
	if waitErr != nil {
		return waitErr
	}
	if r.Status == controller.StatusFailed {
		return errors.New("the restore failed; its target was not touched")
	}
	return nil
}

func restoreFacts(r controller.Restore) func(*rows) {
	return func(t *rows) {
		t.fact("id", number(r.ID))
		t.fact("backup", number(r.BackupID))
		t.fact("project", r.Project)
		t.fact("into", r.DatabaseName+" on "+r.Server+" / "+r.Instance)
		t.fact("status", r.Status)
		if r.Waiting != "" && r.CompletedAt == nil && r.ErrorCode == nil {
			t.fact("waits", r.Waiting)
		}
		if r.Progress != nil {
			t.fact("progress", describeProgress(*r.Progress, 0))
		}
		if r.ErrorCode != nil {
			t.fact("error", "["+text(r.ErrorCode)+"] "+withHint(text(r.ErrorMessage), text(r.ErrorHint)))
		}
		var result wire.RestoreResult
		if r.Status == controller.StatusCompleted && json.Unmarshal(r.Result, &result) == nil {
			t.fact("tables", number(result.Tables))
			t.fact("rows", number(result.Rows))
			compared := "no"
			if result.Compared {
				compared = "yes, equal to the backup's fingerprint"
			}
			t.fact("compared", compared)
			if result.Warnings != "" {
				t.fact("warnings", result.Warnings)
			}
		}
		t.fact("took", between(r.StartedAt, r.CompletedAt))
	}
}

func (c *ctl) restoreList() *cobra.Command {
	var project string
	var limit int
	var before int64
	cmd := &cobra.Command{
		Use: "list", Short: "List restores, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			all, next, err := pages(limit, before, func(before int64, n int) ([]controller.Restore, *int64, error) {
				p, err := cl.Restores(cmd.Context(), project, before, n)
				return p.Items, p.NextBeforeID, err
			})
			if err != nil {
				return err
			}
			return c.show(all, func(t *rows) {
				t.head("ID", "BACKUP", "PROJECT", "DATABASE", "SERVER", "STATUS", "TIME", "CREATED")
				for _, r := range all {
					t.row(number(r.ID), number(r.BackupID), r.Project, r.DatabaseName, r.Server, r.Status, between(r.StartedAt, r.CompletedAt), ago(&r.CreatedAt))
				}
				more(t, next)
			})
		},
	}
	cmd.Flags().StringVar(&project, "project", "", "only of a project")
	pageFlags(cmd, &limit, &before)
	return cmd
}

func (c *ctl) restoreShow() *cobra.Command {
	cmd := c.on("restore", "show", "Show one restore", func(ctx context.Context, cl *client.Client, id int64) error {
		r, err := cl.Restore(ctx, id)
		if err != nil {
			return err
		}
		return c.show(r, restoreFacts(r))
	})
	return cmd
}

func (c *ctl) restoreCancel() *cobra.Command {
	var reason string
	cmd := c.on("restore", "cancel", "Stop a restore; its target stays untouched", func(ctx context.Context, cl *client.Client, id int64) error {
		j, err := cl.CancelRestore(ctx, id, reason)
		if err != nil {
			return err
		}
		return c.cancelled(j)
	})
	cmd.Flags().StringVar(&reason, "reason", "", "for the audit log")
	return cmd
}
