package main

import (
	"time"

	"github.com/spf13/cobra"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

func (c *ctl) restoreUndo() *cobra.Command {
	var in swapFlags
	var wait, plan bool
	cmd := c.on("restore", "undo", "Bring back what a restore in place has replaced", nil)
	cmd.Long = `Bring back what a restore in place has replaced. What is there now is kept in its turn, so that an undo can be undone: it is a restore with an
id of its own.

Without --confirm on a terminal the plan is shown, and the target's name is asked for.`
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := identifier("restore", args[0])
		if err != nil {
			return err
		}
		req, err := in.body()
		if err != nil {
			return err
		}
		cl, err := c.client()
		if err != nil {
			return err
		}
		ask := req.Confirm == ""
		if !plan && ask && !c.interactive() {
			return usagef("an undo replaces a database: give its name by --confirm NAME; `devflowctl restore undo %d --plan` shows what would be done", id)
		}
		if plan || ask {
			p, err := cl.PlanUndo(cmd.Context(), id, req)
			if err != nil {
				return err
			}
			if plan {
				return c.planned(p)
			}
			if req.Confirm, req.Identity, err = c.confirmPlan(cmd.Context(), p); err != nil {
				return err
			}
		}
		r, err := cl.UndoRestore(cmd.Context(), id, req)
		if err != nil {
			return err
		}
		return c.restored(cmd.Context(), cl, r, wait)
	}
	in.add(cmd)
	f := cmd.Flags()
	f.BoolVar(&plan, "plan", false, "only show what would be done, and what would stop it; status 1 if something would")
	waitFlags(cmd, &wait, false, "wait for the end, with progress")
	return cmd
}

func (c *ctl) restoreDiscard() *cobra.Command {
	var in body.DiscardKept
	cmd := c.on("restore", "discard", "Remove what a restore in place has replaced, before its time: it cannot be undone after that", nil)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := identifier("restore", args[0])
		if err != nil {
			return err
		}
		if in.Confirm == "" {
			return usagef("what is discarded cannot be brought back: give the name of the restore's target by --confirm NAME; `devflowctl restore show %d` has it", id)
		}
		cl, err := c.client()
		if err != nil {
			return err
		}
		r, err := cl.DiscardKept(cmd.Context(), id, in)
		if err != nil {
			return err
		}
		if r.KeptState == controller.KeptRemoved {
			return c.done("%s is removed", r.KeptName)
		}
		return c.done("%s is removed as soon as the agent of %s can; see `devflowctl restore show %d`", r.KeptName, r.Server, r.ID)
	}
	cmd.Flags().StringVar(&in.Confirm, "confirm", "", "the name of the restore's target")
	return cmd
}

func (c *ctl) restoreKeep() *cobra.Command {
	var keep time.Duration
	cmd := c.on("restore", "keep", "Change how long, from now, what a restore in place has replaced is kept", nil)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := identifier("restore", args[0])
		if err != nil {
			return err
		}
		if keep == 0 {
			return usagef("for how long? Give it by --for, such as --for 240h")
		}
		n, err := seconds("for", keep)
		if err != nil {
			return err
		}
		cl, err := c.client()
		if err != nil {
			return err
		}
		r, err := cl.KeepKept(cmd.Context(), id, body.KeepKept{KeepSeconds: n})
		if err != nil {
			return err
		}
		return c.show(r, restoreFacts(r))
	}
	cmd.Flags().DurationVar(&keep, "for", 0, "1h to 2160h, from now")
	return cmd
}
