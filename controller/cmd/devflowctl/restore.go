package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/client"
	"devflowbackup/shared/wire"
)

func (c *ctl) restoreCommand() *cobra.Command {
	return c.group("restore", "Restores: into a new database, or in the place of one that is there",
		c.restorePlan(), c.restoreCreate(), c.restoreList(), c.restoreShow(), c.restoreUndo(), c.restoreKeep(), c.restoreDiscard(), c.restoreCancel())
}

func (c *ctl) restoreCreate() *cobra.Command {
	var in restoreFlags
	var wait bool
	cmd := &cobra.Command{
		Use: "create BACKUP [--to-database NAME | --in-place]", Short: "Restore a backup",
		Long: `Restore a backup into a new database or, with --in-place, in the place of one that is there.

Nothing is visible under the target's name before the whole artifact has proven its checksums. In place, the backup is restored beside the target,
which is then exchanged for it; what is replaced is kept for a time, and ` + "`restore undo`" + ` brings it back. A backup of the target is made first.

Without --confirm on a terminal the plan is shown, and the target's name is asked for.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := in.body(args[0])
			if err != nil {
				return err
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			if req.InPlace && req.Confirm == "" {
				if !c.interactive() {
					return usagef("a restore in place replaces a database: give its name by --confirm NAME; `devflowctl restore plan %d --in-place` shows what would be done", req.BackupID)
				}
				plan, err := cl.PlanRestore(cmd.Context(), req)
				if err != nil {
					return err
				}
				if req.Confirm, req.Identity, err = c.confirmPlan(cmd.Context(), plan); err != nil {
					return err
				}
			}
			r, err := cl.CreateRestore(cmd.Context(), req)
			if err != nil {
				return err
			}
			return c.restored(cmd.Context(), cl, r, wait)
		},
	}
	in.add(cmd)
	waitFlags(cmd, &wait, false, "wait for the end, with progress")
	return cmd
}

// restored shows a restore or an undo, once it has ended if it is to be waited for. One that failed is an error, which says what its
// target is like.
func (c *ctl) restored(ctx context.Context, cl *client.Client, r controller.Restore, wait bool) error {
	var waitErr error
	if wait {
		waitErr = c.wait(ctx, cl, []*watched{{
			name: r.DatabaseName, cancel: fmt.Sprintf("devflowctl restore cancel %d", r.ID),
			about: func(e controller.Event) bool {
				switch {
				case e.Kind == controller.EventRestore:
					return eventRow(e) == r.ID
				case e.Kind == controller.EventProgress && e.JobID == r.JobID:
					return true
				}
				// The backup that it waits for is asked for, and its progress with it.
				return e.Progress == nil && (e.Kind == controller.EventJob && eventRow(e) == r.JobID || e.Kind == controller.EventBackup && r.SafetyBackupID != nil && eventRow(e) == *r.SafetyBackupID)
			},
			poll: func(ctx context.Context) (jobState, error) {
				now, err := cl.Restore(ctx, r.ID)
				if err != nil {
					return jobState{}, err
				}
				r = now
				s := jobState{ended: restoreEnded(now), status: now.JobStatus, waiting: now.Waiting, progress: now.Progress}
				if !s.ended && s.progress == nil && now.SafetyBackupID != nil && text(now.SafetyStatus) != controller.StatusCompleted {
					s.progress, err = safetyProgress(ctx, cl, *now.SafetyBackupID)
				}
				return s, err
			},
		}})
	}
	if err := c.show(r, restoreFacts(r)); err != nil {
		return err
	}
	if waitErr != nil {
		return waitErr
	}
	return restoreFailure(r)
}

// safetyProgress is how far the backup is that an in-place restore waits for.
func safetyProgress(ctx context.Context, cl *client.Client, id int64) (*controller.Progress, error) {
	b, err := cl.Backup(ctx, id)
	if err != nil || b.Progress == nil {
		return nil, err
	}
	p := *b.Progress
	p.Stage = fmt.Sprintf("safety backup %d: %s", id, p.Stage)
	return &p, nil
}

func restoreEnded(r controller.Restore) bool {
	return r.Status == controller.StatusCompleted || r.Status == controller.StatusFailed
}

// restoreFailure says what the target of a failed restore is like. The kind is in the words, for an undo fails likewise.
func restoreFailure(r controller.Restore) error {
	if r.Status != controller.StatusFailed {
		return nil
	}
	kind := restoreKind(r)
	switch {
	case !r.InPlace && (text(r.ErrorCode) == wire.CodeLost || text(r.ErrorCode) == wire.CodeOrphaned):
		return fmt.Errorf("the %s failed, and its last attempt was not heard of again: look whether %s has a database %q", kind, r.Server, r.DatabaseName)
	case !r.InPlace:
		return fmt.Errorf("the %s failed; what was on the server was not touched", kind)
	case r.TargetState == controller.TargetUntouched:
		return fmt.Errorf("the %s failed; its target was not touched", kind)
	case r.TargetState == controller.TargetReplaced:
		return fmt.Errorf("the %s was reported as failed, but its target has the new content. %s", kind, keptSentence(r))
	case r.TargetState == controller.TargetUnknown:
		return fmt.Errorf("the %s failed, and what its target has is not known: the agent of %s is asked as soon as it is connected, and settles it. See `devflowctl restore show %d`", kind, r.Server, r.ID)
	}
	return fmt.Errorf("the %s failed; see `devflowctl restore show %d` for its target", kind, r.ID)
}

func restoreKind(r controller.Restore) string {
	if r.UndoOf != nil {
		return controller.UndoKind
	}
	return controller.RestoreKind
}

// keptSentence says what became of the content that was replaced.
func keptSentence(r controller.Restore) string {
	switch r.KeptState {
	case controller.KeptKept:
		return fmt.Sprintf("What was there is kept as %s until %s: `devflowctl restore undo %d` brings it back", r.KeptName, stamp(r.KeptUntil), r.ID)
	case controller.KeptUndone:
		return "What was there is back: the restore was undone"
	case controller.KeptRemoved:
		return "What was there is removed"
	}
	return ""
}

func restoreFacts(r controller.Restore) func(*rows) {
	return func(t *rows) {
		t.fact("id", number(r.ID))
		if r.UndoOf != nil {
			t.fact("undo of", "restore "+number(*r.UndoOf))
		}
		t.fact("backup", number(r.BackupID))
		t.fact("project", r.Project)
		target := r.DatabaseName + " on " + r.Server + " / " + r.Instance
		if r.InPlace {
			t.fact("in place of", target)
		} else {
			t.fact("into", target)
		}
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
		if chosen := describeChoices(r.Choices); chosen != "" {
			t.fact("choices", chosen)
		}
		if r.InPlace {
			inPlaceFacts(t, r)
		}
		if r.Status == controller.StatusCompleted {
			outcomeFacts(t, r)
		}
		t.fact("took", between(r.StartedAt, r.CompletedAt))
	}
}

// inPlaceFacts tell what replaced what, and what is kept.
func inPlaceFacts(t *rows, r controller.Restore) {
	if r.SafetyBackupID != nil {
		t.fact("safety backup", number(*r.SafetyBackupID)+" ("+text(r.SafetyStatus)+")")
	} else if r.UndoOf == nil {
		t.fact("safety backup", "none: it was declined")
	}
	sessions := map[string]string{
		wire.SessionsRefuse: "stop the swap", wire.SessionsWait: fmt.Sprintf("are waited for, up to %ds", r.WaitSeconds), wire.SessionsEnd: "are ended",
	}[r.Sessions]
	t.fact("sessions at it", sessions)
	t.fact("target", map[string]string{
		"":                         "",
		controller.TargetUntouched: "untouched: it has its old content",
		controller.TargetReplaced:  "replaced: it has the new content",
		controller.TargetUnknown:   "not known: an attempt was lost. The agent of " + r.Server + " is asked as soon as it is connected, and settles it",
	}[r.TargetState])
	switch r.KeptState {
	case controller.KeptKept:
		t.fact("kept", r.KeptName+", until "+stamp(r.KeptUntil)+" ("+ago(r.KeptUntil)+")")
		if r.KeptError != "" {
			t.fact("not removed", r.KeptError)
		}
		t.note("`devflowctl restore undo %d` brings back what was replaced; `restore keep` and `restore discard` change how long it is kept", r.ID)
	case controller.KeptUndone:
		t.fact("kept", "no: it was brought back")
	case controller.KeptRemoved:
		t.fact("kept", "no: it is removed")
	}
	if r.UndoneBy != nil {
		t.fact("undo", "restore "+number(*r.UndoneBy))
	}
}

// outcomeFacts tell what a completed restore proved and did.
func outcomeFacts(t *rows, r controller.Restore) {
	var result controller.RestoreOutcome
	if json.Unmarshal(r.Result, &result) != nil {
		return
	}
	if r.UndoOf == nil {
		t.fact("tables", number(result.Tables))
		t.fact("rows", number(result.Rows))
		compared := "no"
		if result.Compared {
			compared = "yes, equal to the backup's fingerprint"
		}
		t.fact("compared", compared)
	}
	if result.Warnings != "" {
		t.fact("warnings", result.Warnings)
	}
	if s := result.Swapped; s != nil {
		if s.UnavailableMicros > 0 {
			t.fact("unavailable", fmt.Sprintf("%.1f ms", float64(s.UnavailableMicros)/1000))
		}
		if s.Ended > 0 {
			t.fact("ended", plural(s.Ended, "session"))
		}
		for _, note := range s.Notes {
			t.fact("note", note)
		}
	}
}

func describeChoices(c wire.RestoreChoices) string {
	var all []string
	for _, one := range []struct {
		set  bool
		name string
	}{{c.Owners, "owners"}, {c.Privileges, "privileges"}, {c.Roles, "roles"}, {c.Definers != "", "definers " + c.Definers}, {c.Jobs > 1, fmt.Sprintf("%d jobs", c.Jobs)}} {
		if one.set {
			all = append(all, one.name)
		}
	}
	for _, s := range c.Only {
		all = append(all, "only "+describeSelection(s))
	}
	return strings.Join(all, ", ")
}

func describeSelection(s wire.Selection) string {
	switch {
	case s.Schema == "":
		return s.Table
	case s.Table == "":
		return s.Schema + ".*"
	}
	return s.Schema + "." + s.Table
}

func (c *ctl) restoreList() *cobra.Command {
	var f controller.RestoreFilter
	var made betweenFlags
	var page pageFlags
	var watch bool
	cmd := &cobra.Command{
		Use: "list [PROJECT]", Short: "List restores, newest first", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				f.Project = args[0]
			}
			var err error
			if f.Between, err = made.read(); err != nil {
				return err
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			read := func() ([]controller.Restore, *int64, error) {
				return pages(page, func(before int64, n int) ([]controller.Restore, *int64, error) {
					q := f
					q.BeforeID, q.Limit = before, n
					p, err := cl.Restores(cmd.Context(), q)
					return p.Items, p.NextBeforeID, err
				})
			}
			head := []string{"ID", "KIND", "BACKUP", "PROJECT", "DATABASE", "SERVER", "STATUS", "TARGET", "KEPT", "TIME", "CREATED"}
			if watch {
				return follow(cmd.Context(), c, cl, listWatch[controller.Restore]{
					project: f.Project, kinds: []string{controller.EventRestore}, head: head, row: restoreCells,
					read: func() ([]controller.Restore, error) { all, _, err := read(); return all, err },
					id:   func(r controller.Restore) int64 { return r.ID },
					state: func(r controller.Restore) string {
						return strings.Join([]string{r.Status, r.TargetState, r.KeptState, r.KeptError, stamp(r.KeptUntil)}, "|")
					},
				})
			}
			all, next, err := read()
			if err != nil {
				return err
			}
			return c.show(all, func(t *rows) {
				t.head(head...)
				for _, r := range all {
					t.row(restoreCells(r)...)
				}
				more(t, next)
			})
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.Project, "project", "", "only of a project")
	fl.StringVar(&f.Server, "on", "", "only into a server")
	fl.StringVar(&f.Database, "database", "", "only into a database: its exact name")
	fl.StringVar(&f.Status, "status", "", "only pending, running, completed or failed ones")
	fl.StringVar(&f.Kind, "kind", "", "only restores, or only those of kind undo")
	fl.Int64Var(&f.Backup, "backup", 0, "only those of a backup")
	made.add(cmd)
	page.add(cmd)
	watchFlag(cmd, &watch)
	return cmd
}

func restoreCells(r controller.Restore) []string {
	kind := "new"
	switch {
	case r.UndoOf != nil:
		kind = "undo of " + number(*r.UndoOf)
	case r.InPlace:
		kind = "in place"
	}
	kept := r.KeptState
	if kept == controller.KeptKept {
		kept = "removed " + ago(r.KeptUntil)
		if r.KeptError != "" {
			kept = "NOT REMOVED"
		}
	}
	return []string{
		number(r.ID), kind, number(r.BackupID), r.Project, r.DatabaseName, r.Server, r.Status, r.TargetState, kept, between(r.StartedAt, r.CompletedAt), ago(&r.CreatedAt),
	}
}

func (c *ctl) restoreShow() *cobra.Command {
	return c.on("restore", "show", "Show one restore", func(ctx context.Context, cl *client.Client, id int64) error {
		r, err := cl.Restore(ctx, id)
		if err != nil {
			return err
		}
		return c.show(r, restoreFacts(r))
	})
}

func (c *ctl) restoreCancel() *cobra.Command {
	var reason string
	cmd := c.on("restore", "cancel", "Stop a restore or an undo, unless its swap has begun; its target stays untouched", func(ctx context.Context, cl *client.Client, id int64) error {
		j, err := cl.CancelRestore(ctx, id, reason)
		if err != nil {
			return err
		}
		return c.cancelled(j)
	})
	cmd.Flags().StringVar(&reason, "reason", "", "for the audit log")
	return cmd
}
