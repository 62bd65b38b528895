package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/app"
	"devflowbackup/controller/internal/prompt"
)

// userCommand is how the first person gets in, and how one gets in again.
func userCommand(f *flags) *cobra.Command {
	// with runs on the catalog. The password, where one is needed, is asked for before.
	with := func(cmd *cobra.Command, run func(*app.People) error) error {
		cfg, err := f.load(cmd)
		if err != nil {
			return err
		}
		return app.WithPeople(cmd.Context(), cfg, logger(cfg), run)
	}
	tell := func(cmd *cobra.Command, u controller.User, what string) error {
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "User %s %s.\n", u.Name, what)
		return err
	}

	var spec controller.UserSpec
	add := &cobra.Command{
		Use: "add NAME", Short: "Make a user, with a password from the terminal or the first line of standard input", Args: cobra.ExactArgs(1),
		Example: `  devflow-controller user add anna --admin
  devflow-controller user add bert --permission view-backups,create-backups --project shop`,
		RunE: func(cmd *cobra.Command, args []string) error {
			spec.Name = controller.UserName(args[0])
			if err := spec.Validate(); err != nil {
				return err
			}
			password, err := prompt.Secret(cmd.InOrStdin(), cmd.ErrOrStderr(), "password", true)
			if err != nil {
				return err
			}
			return with(cmd, func(p *app.People) error {
				u, err := p.Add(cmd.Context(), spec, password)
				if err != nil {
					return err
				}
				return tell(cmd, u, "can sign in now")
			})
		},
	}
	add.Flags().BoolVar(&spec.Admin, "admin", false, "every permission")
	add.Flags().StringVar(&spec.DisplayName, "display-name", "", "the name for people to read")
	add.Flags().StringSliceVar(&spec.Permissions, "permission", nil, "what the user may do (repeatable): "+strings.Join(controller.Permissions, ", "))
	add.Flags().StringSliceVar(&spec.Projects, "project", nil, "limits the user to a project (repeatable); all projects if absent")

	passwd := &cobra.Command{
		Use: "passwd NAME", Short: "Give a user another password, from the terminal or the first line of standard input", Args: cobra.ExactArgs(1),
		Long: "Gives a user another password. The user is signed out everywhere, and a lock-out after failed sign-ins ends.",
		RunE: func(cmd *cobra.Command, args []string) error {
			password, err := prompt.Secret(cmd.InOrStdin(), cmd.ErrOrStderr(), "new password", true)
			if err != nil {
				return err
			}
			return with(cmd, func(p *app.People) error {
				u, err := p.SetPassword(cmd.Context(), args[0], password)
				if err != nil {
					return err
				}
				return tell(cmd, u, "has another password, and is signed out everywhere")
			})
		},
	}
	list := &cobra.Command{
		Use: "list", Short: "List the users", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return with(cmd, func(p *app.People) error {
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				fmt.Fprintln(w, "ID\tNAME\tMAY\tPROJECTS\tSIGNS IN BY\tLAST SIGN-IN\tSTATE")
				err := p.List(cmd.Context(), func(u controller.User) {
					may, projects, by, last, state := strings.Join(u.Permissions, ","), "all", "password", "never", "enabled"
					if u.Admin {
						may = "everything"
					}
					if u.Projects != nil {
						projects = strings.Trim(strings.ReplaceAll(fmt.Sprint(u.Projects), " ", ","), "[]")
					}
					switch {
					case u.Issuer != "":
						by = u.Issuer
					case !u.HasPassword:
						by = "nothing yet"
					}
					if u.LastSignInAt != nil {
						last = u.LastSignInAt.UTC().Format("2006-01-02 15:04")
					}
					if u.DisabledAt != nil {
						state = "disabled"
					}
					fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", u.ID, u.Name, may, projects, by, last, state)
				})
				if err != nil {
					return err
				}
				return w.Flush()
			})
		},
	}
	able := func(use, short, what string, disabled bool) *cobra.Command {
		return &cobra.Command{
			Use: use + " NAME", Short: short, Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return with(cmd, func(p *app.People) error {
					u, err := p.Disable(cmd.Context(), args[0], disabled)
					if err != nil {
						return err
					}
					return tell(cmd, u, what)
				})
			},
		}
	}
	c := &cobra.Command{
		Use: "user", Short: "People who sign in to the console", Args: cobra.NoArgs,
		Long: `Users of the console, straight in the catalog: for the first one, and for when nobody can sign in any more. Controllers may run
meanwhile; with --embedded stop the controller first, or use devflowctl user with the admin token.

Passwords are read from the terminal or from standard input, and are never part of the command line.`,
	}
	c.AddCommand(add, passwd, list, able("disable", "Sign a user out everywhere, and in no more", "is disabled", true), able("enable", "Let a disabled user sign in again", "can sign in again", false))
	return c
}
