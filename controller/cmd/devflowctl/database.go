package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/client"
)

func (c *ctl) databaseCommand() *cobra.Command {
	return c.group("database", "Databases that agents found", c.databaseList(), c.databaseAssign(), c.databaseUnassign(), c.databaseIgnore(), c.databaseUnignore())
}

func (c *ctl) databaseList() *cobra.Command {
	var f controller.DatabaseFilter
	cmd := &cobra.Command{
		Use: "list", Short: "List databases", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			all, err := cl.Databases(cmd.Context(), f)
			if err != nil {
				return err
			}
			return c.show(all, databaseTable(all))
		},
	}
	cmd.Flags().StringVar(&f.Project, "project", "", "only those of a project")
	cmd.Flags().StringVar(&f.Server, "on", "", "only those of a server")
	cmd.Flags().StringVar(&f.Name, "name", "", "only those of this exact name")
	cmd.Flags().BoolVar(&f.Unassigned, "unassigned", false, "only those of no project")
	return cmd
}

func databaseTable(all []controller.Database) func(*rows) {
	return func(t *rows) {
		t.head("ID", "NAME", "ENGINE", "SERVER", "INSTANCE", "SIZE", "PROJECT", "SEEN")
		for _, d := range all {
			seen := ago(&d.LastSeenAt)
			if d.MissingSince != nil {
				seen = "missing since " + ago(d.MissingSince)
			}
			t.row(number(d.ID), d.Name, d.Engine+" "+d.ServerVersion, d.Server, d.Instance, size(d.SizeBytes), d.Project, seen)
		}
	}
}

func (c *ctl) databaseAssign() *cobra.Command {
	var in body.AssignDatabase
	var byID bool
	cmd := &cobra.Command{
		Use: "assign DATABASE --project PROJECT", Short: "Give a database to a project", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if in.Project == "" {
				return usagef("to which project? Give it by --project")
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			if err := nameDatabase(&in, args[0], byID); err != nil {
				return err
			}
			d, err := cl.AssignDatabase(cmd.Context(), in)
			if err != nil {
				return err
			}
			return c.show(d, databaseTable([]controller.Database{d}))
		},
	}
	databaseFlags(cmd, &in, &byID)
	cmd.Flags().StringVar(&in.Project, "project", "", "the project")
	return cmd
}

func (c *ctl) databaseUnassign() *cobra.Command {
	var in body.AssignDatabase
	var byID bool
	cmd := &cobra.Command{
		Use: "unassign DATABASE", Short: "Take a database from its project; its backups stay", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			if err := nameDatabase(&in, args[0], byID); err != nil {
				return err
			}
			d, err := cl.UnassignDatabase(cmd.Context(), in)
			if err != nil {
				return err
			}
			return c.show(d, databaseTable([]controller.Database{d}))
		},
	}
	databaseFlags(cmd, &in, &byID)
	return cmd
}

func (c *ctl) databaseIgnore() *cobra.Command {
	var in body.AssignDatabase
	var byID bool
	var reason string
	cmd := &cobra.Command{
		Use: "ignore DATABASE --reason REASON", Short: "Record the choice that a database need not be backed up", Args: cobra.ExactArgs(1),
		Long: `Record the choice that a database need not be backed up: it counts as ignored, and no longer as unprotected. One that a schedule covers
is watched all the same.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.TrimSpace(reason) == "" {
				return usagef("why need it not be backed up? Give it by --reason")
			}
			return c.onDatabase(cmd.Context(), in, args[0], byID, func(cl *client.Client, id int64) (controller.Protection, error) {
				return cl.IgnoreDatabase(cmd.Context(), id, reason)
			})
		},
	}
	databaseFlags(cmd, &in, &byID)
	cmd.Flags().StringVar(&reason, "reason", "", "for those who wonder why it is not backed up")
	return cmd
}

func (c *ctl) databaseUnignore() *cobra.Command {
	var in body.AssignDatabase
	var byID bool
	cmd := &cobra.Command{
		Use: "unignore DATABASE", Short: "Take that choice back", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.onDatabase(cmd.Context(), in, args[0], byID, func(cl *client.Client, id int64) (controller.Protection, error) {
				return cl.UnignoreDatabase(cmd.Context(), id)
			})
		},
	}
	databaseFlags(cmd, &in, &byID)
	return cmd
}

// onDatabase does something to a database that is named or numbered, and shows how well it is protected then.
func (c *ctl) onDatabase(ctx context.Context, in body.AssignDatabase, arg string, byID bool, do func(*client.Client, int64) (controller.Protection, error)) error {
	if err := nameDatabase(&in, arg, byID); err != nil {
		return err
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	if !byID {
		all, err := cl.Databases(ctx, controller.DatabaseFilter{Name: in.Name, Server: in.Server})
		if err != nil {
			return err
		}
		all = slices.DeleteFunc(all, func(d controller.Database) bool { return in.Instance != "" && d.Instance != in.Instance })
		switch {
		case len(all) == 0:
			return fmt.Errorf("database %q was not found: `devflowctl database list` shows what the agents found", in.Name)
		case len(all) > 1:
			return usagef("database %q is on several servers or instances, such as %s/%s and %s/%s: say which by --on and --instance, or give its id with --id", in.Name, all[0].Server, all[0].Instance, all[1].Server, all[1].Instance)
		}
		in.ID = all[0].ID
	}
	p, err := do(cl, in.ID)
	if err != nil {
		return err
	}
	return c.show(p, func(t *rows) { protectionRows(t, []controller.Protection{p}) })
}

func databaseFlags(cmd *cobra.Command, in *body.AssignDatabase, byID *bool) {
	cmd.Flags().StringVar(&in.Server, "on", "", "server of the database, where its name alone is ambiguous")
	cmd.Flags().StringVar(&in.Instance, "instance", "", "instance of the database, likewise")
	cmd.Flags().BoolVar(byID, "id", false, "DATABASE is an id, not a name")
}

// nameDatabase takes the argument as a name unless told otherwise: a database may be called 7.
func nameDatabase(in *body.AssignDatabase, arg string, byID bool) error {
	if !byID {
		in.Name = arg
		return nil
	}
	id, err := strconv.ParseInt(arg, 10, 64)
	if err != nil || id < 1 {
		return usagef("%q is not the id of a database", arg)
	}
	in.ID = id
	return nil
}
