package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/client"
)

func (c *ctl) userCommand() *cobra.Command {
	disabled, enabled := true, false
	return c.group("user", "People who sign in to the console",
		c.userAdd(), c.userList(), c.userShow(), c.userUpdate(), c.userPasswd(),
		c.onUser("disable", "Sign a user out everywhere, and in no more", func(cmd *cobra.Command, cl *client.Client, name string) error {
			return c.userChanged(cl.UpdateUser(cmd.Context(), name, body.UpdateUser{Disabled: &disabled}))
		}),
		c.onUser("enable", "Let a disabled user sign in again", func(cmd *cobra.Command, cl *client.Client, name string) error {
			return c.userChanged(cl.UpdateUser(cmd.Context(), name, body.UpdateUser{Disabled: &enabled}))
		}),
		c.onUser("sign-out", "Sign a user out everywhere", func(cmd *cobra.Command, cl *client.Client, name string) error {
			if err := cl.SignOutUser(cmd.Context(), name); err != nil {
				return err
			}
			return c.done("user %s is signed out everywhere", name)
		}),
		matchFlag(c.onUser("delete", "Delete a user; the audit log keeps the name", func(cmd *cobra.Command, cl *client.Client, name string) error {
			if err := cl.DeleteUser(cmd.Context(), name); err != nil {
				return err
			}
			return c.done("user %s is deleted", name)
		})),
	)
}

func (c *ctl) onUser(use, short string, run func(*cobra.Command, *client.Client, string) error) *cobra.Command {
	return &cobra.Command{
		Use: use + " NAME", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			return run(cmd, cl, args[0])
		},
	}
}

func (c *ctl) userChanged(u controller.User, err error) error {
	if err != nil {
		return err
	}
	return c.show(u, userFacts(u))
}

func userMay(u controller.User) string {
	if u.Admin {
		return "everything"
	}
	return strings.Join(u.Permissions, ", ")
}

func userProjects(u controller.User) string {
	if u.Projects == nil {
		return "all"
	}
	return numbers(u.Projects)
}

func userState(u controller.User) string {
	if u.DisabledAt != nil {
		return "disabled"
	}
	return "enabled"
}

func userFacts(u controller.User) func(*rows) {
	return func(r *rows) {
		by := "password"
		switch {
		case u.Issuer != "":
			by = u.Issuer
		case !u.HasPassword:
			by = "nothing yet"
		}
		r.fact("id", number(u.ID))
		r.fact("name", u.Name)
		r.fact("display name", u.DisplayName)
		r.fact("may", userMay(u))
		r.fact("projects", userProjects(u))
		r.fact("signs in by", by)
		r.fact("last sign-in", ago(u.LastSignInAt))
		r.fact("sessions", number(int64(u.Sessions)))
		r.fact("state", userState(u))
	}
}

// userPermissions takes "all" for admin.
func userPermissions(list []string) (permissions []string, admin bool) {
	if slices.Contains(list, "all") {
		return nil, true
	}
	return list, false
}

func (c *ctl) userAdd() *cobra.Command {
	var in body.CreateUser
	var all, without bool
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Make a user, with a password from the terminal or the first line of standard input", Args: cobra.ExactArgs(1),
		Long: "Make a user, with a password from the terminal or the first line of standard input.\n\n" + permissionHelp(),
		Example: `  devflowctl user add anna --admin
  devflowctl user add bert --permission view-backups,create-backups --project shop`,
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			in.Name = args[0]
			if in.Permissions, all = userPermissions(in.Permissions); all {
				in.Admin = true
			}
			if !in.Admin && len(in.Permissions) == 0 {
				return usagef("what may the user do? Give --admin, or --permission: %s", strings.Join(controller.Permissions, ", "))
			}
			if !without {
				password, err := c.secret("password", true)
				if err != nil {
					return err
				}
				in.Password = password.Reveal()
			}
			return c.userChanged(cl.CreateUser(cmd.Context(), in))
		},
	}
	f := cmd.Flags()
	f.BoolVar(&in.Admin, "admin", false, "every permission")
	f.StringVar(&in.DisplayName, "display-name", "", "the name for people to read")
	f.StringSliceVar(&in.Permissions, "permission", nil, "what the user may do (repeatable), or all")
	f.StringSliceVar(&in.Projects, "project", nil, "limits the user to a project (repeatable); all projects if absent")
	f.BoolVar(&without, "no-password", false, "the user cannot sign in before one is set by user passwd")
	return cmd
}

func (c *ctl) userList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the users", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			all, err := cl.Users(cmd.Context())
			if err != nil {
				return err
			}
			return c.show(all, func(r *rows) {
				r.head("ID", "NAME", "MAY", "PROJECTS", "LAST SIGN-IN", "SESSIONS", "STATE")
				for _, u := range all {
					r.row(number(u.ID), u.Name, userMay(u), userProjects(u), ago(u.LastSignInAt), number(int64(u.Sessions)), userState(u))
				}
			})
		},
	}
}

func (c *ctl) userShow() *cobra.Command {
	return c.onUser("show", "Show a user", func(cmd *cobra.Command, cl *client.Client, name string) error {
		return showVersion(cmd.Context(), c, func(ctx context.Context) (controller.User, error) { return cl.User(ctx, name) }, userFacts)
	})
}

func (c *ctl) userUpdate() *cobra.Command {
	var in body.UpdateUser
	var display string
	var admin bool
	cmd := c.onUser("update", "Change what a user may do and where; what is not given stays", func(cmd *cobra.Command, cl *client.Client, name string) error {
		if cmd.Flags().Changed("display-name") {
			in.DisplayName = &display
		}
		var all bool
		if in.Permissions, all = userPermissions(in.Permissions); all {
			admin = true
		}
		if all || cmd.Flags().Changed("admin") {
			in.Admin = &admin
		}
		if in.DisplayName == nil && in.Admin == nil && in.Permissions == nil && in.Projects == nil && !in.AllProjects {
			return usagef("change what? Give --display-name, --admin, --permission, --project or --all-projects")
		}
		return c.userChanged(cl.UpdateUser(cmd.Context(), name, in))
	})
	f := cmd.Flags()
	f.BoolVar(&admin, "admin", false, "every permission; --admin=false takes it back")
	f.StringVar(&display, "display-name", "", "the name for people to read")
	f.StringSliceVar(&in.Permissions, "permission", nil, "what the user may do (repeatable), or all")
	f.StringSliceVar(&in.Projects, "project", nil, "limits the user to a project (repeatable)")
	f.BoolVar(&in.AllProjects, "all-projects", false, "limits the user to no project")
	return matchFlag(cmd)
}

func (c *ctl) userPasswd() *cobra.Command {
	return c.onUser("passwd", "Give a user another password, from the terminal or the first line of standard input", func(cmd *cobra.Command, cl *client.Client, name string) error {
		password, err := c.secret("new password", true)
		if err != nil {
			return err
		}
		if _, err := cl.SetPassword(cmd.Context(), name, body.SetPassword{Password: password.Reveal()}); err != nil {
			return err
		}
		return c.done("user %s has another password, and is signed out everywhere", name)
	})
}
