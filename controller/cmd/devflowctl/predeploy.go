package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/client"
	"devflowbackup/shared/wire"
)

// preDeployLook is how long one request waits for the end. Proxies cut longer ones.
const preDeployLook = 2 * time.Second

func (c *ctl) preDeployCommand() *cobra.Command {
	var in body.CreatePreDeploy
	var deadline time.Duration
	var key string
	cmd := &cobra.Command{
		Use: "pre-deploy PROJECT", Short: "Back up a project before a deploy, and wait until every database has a backup", Args: cobra.ExactArgs(1),
		Long: `Back up each database of a project before a deploy, and wait until all of them are completed.

Status 0 says that every database has a backup that began after the command did. Everything else is not: 1 if a backup failed, was not
completed by the deadline, or its agent is offline; 3 if there is nothing to back up. A backup that is running already began before the
deploy: that database is backed up again after it.

Ctrl-C leaves the backups running. The same --key goes on waiting for the same backups: give one that belongs to the deploy where the command
may be run again.`,
		Example: `  devflowctl pre-deploy shop --deadline 30m && ./deploy`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if in.DeadlineSeconds, err = seconds("deadline", deadline); err != nil {
				return err
			}
			if cmd.Flags().Changed("deadline") && in.DeadlineSeconds == 0 {
				return usagef("--deadline 0s is not allowed; use 1s to %s", controller.MaxPreDeployDeadline)
			}
			if key == "" {
				key = wire.NewID()
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			return c.preDeployed(cmd.Context(), cl, args[0], key, in)
		},
	}
	f := cmd.Flags()
	f.DurationVar(&deadline, "deadline", 0, "how long all of it may take, at most 6h (default 15m)")
	f.StringArrayVar(&in.Databases, "database", nil, "only this database: its exact name, or its id (repeatable)")
	f.StringVar(&in.Storage, "storage", "", "storage; the project's, else the installation's default if absent")
	f.StringVar(&key, "key", "", "names the order: the same one again waits for the same backups")
	return cmd
}

// preDeployed orders, waits and shows what each database came to.
func (c *ctl) preDeployed(ctx context.Context, cl *client.Client, project, key string, in body.CreatePreDeploy) error {
	view := &progressView{c: c, live: c.terminal()}
	defer view.clear()
	in.WaitSeconds = new(int64)
	p, err := cl.CreatePreDeploy(ctx, project, key, in)
	failing := time.Time{}
	for {
		switch {
		case ctx.Err() != nil:
			view.clear()
			return fmt.Errorf("%w; the backups go on. `devflowctl pre-deploy %s --key %s` waits for them again", context.Cause(ctx), project, key)
		case err == nil:
			failing = time.Time{}
		case p.ID == 0 || !waitable(err):
			return c.preDeployFailed(view, err)
		case failing.IsZero():
			failing = time.Now()
		case time.Since(failing) > unreachable:
			return c.preDeployFailed(view, err)
		}
		if err == nil && p.Status != controller.StatusRunning {
			break
		}
		view.say(preDeployLine(p, err))
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(slowestPoll):
			}
		}
		now, again := cl.PreDeploy(ctx, p.ID, preDeployLook)
		if err = again; err == nil {
			p = now
		}
	}
	view.clear()
	return c.show(p, preDeployRows(p))
}

// preDeployFailed shows what each database came to, where the refusal tells.
func (c *ctl) preDeployFailed(view *progressView, err error) error {
	view.clear()
	var problem *body.Problem
	if !errors.As(err, &problem) || problem.PreDeploy == nil {
		return err
	}
	if printing := c.show(*problem.PreDeploy, preDeployRows(*problem.PreDeploy)); printing != nil {
		return printing
	}
	return err
}

func preDeployLine(p controller.PreDeploy, err error) string {
	done := 0
	var parts []string
	for _, d := range p.Databases {
		if d.Status == controller.StatusCompleted {
			done++
			continue
		}
		if len(parts) < 3 {
			part := d.DatabaseName + " " + d.Status
			if d.Waiting != "" {
				part += ": " + d.Waiting
			}
			parts = append(parts, part)
		}
	}
	line := fmt.Sprintf("%d of %d completed", done, len(p.Databases))
	if len(parts) > 0 {
		line += " · " + strings.Join(parts, " · ")
	}
	if rest := time.Until(p.DeadlineAt); rest > 0 && !p.DeadlineAt.IsZero() {
		line += " · " + span(rest) + " left"
	}
	if err != nil {
		line += " · asking again: " + err.Error()
	}
	return line
}

func preDeployRows(p controller.PreDeploy) func(*rows) {
	return func(t *rows) {
		t.head("DATABASE", "SERVER", "STATUS", "BACKUP", "STORED", "ERROR")
		done := 0
		for _, d := range p.Databases {
			backup, failure := "", ""
			if d.BackupID != nil {
				backup = number(*d.BackupID)
			}
			if d.ErrorMessage != nil {
				failure = "[" + text(d.ErrorCode) + "] " + withHint(*d.ErrorMessage, text(d.ErrorHint))
			}
			if d.Status == controller.StatusCompleted {
				done++
			}
			t.row(d.DatabaseName, d.Server, d.Status, backup, sizeOf(d.FileSize), failure)
		}
		t.note("%s: %d of %s completed", p.Project, done, plural(len(p.Databases), "database"))
	}
}
