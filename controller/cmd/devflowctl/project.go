package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

func (c *ctl) projectCommand() *cobra.Command {
	return c.group("project", "Projects, their servers and keys",
		c.projectCreate(), c.projectList(), c.projectShow(), c.projectUpdate(), c.projectDelete(), c.projectGrant(), c.projectKey())
}

func (c *ctl) projectCreate() *cobra.Command {
	var in body.CreateProject
	var external, storage string
	cmd := &cobra.Command{
		Use: "create SLUG", Short: "Make a project and its key", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			in.Slug = args[0]
			if cmd.Flags().Changed("external-id") {
				in.ExternalID = &external
			}
			if storage != "" {
				in.DefaultStorage = &storage
			}
			p, err := cl.CreateProject(cmd.Context(), in)
			if err != nil {
				return err
			}
			return c.show(p, projectFacts(p))
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.Name, "name", "", "name for people")
	f.StringVar(&external, "external-id", "", "the panel's id of the project")
	f.StringVar(&in.DefaultEncryption, "encryption", "", "for backups that do not say: age or none (default age)")
	f.StringSliceVar(&in.EscrowRecipients, "escrow", nil, "age recipient that can open every backup as well (repeatable)")
	f.StringVar(&storage, "storage", "", "storage for backups that name none")
	return cmd
}

func (c *ctl) projectList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List projects", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			all, err := cl.Projects(cmd.Context())
			if err != nil {
				return err
			}
			return c.show(all, func(t *rows) {
				t.head("ID", "SLUG", "NAME", "EXTERNAL ID", "ENCRYPTION", "CREATED")
				for _, p := range all {
					t.row(number(p.ID), p.Slug, p.Name, text(p.ExternalID), p.DefaultEncryption, ago(&p.CreatedAt))
				}
			})
		},
	}
}

func projectFacts(p controller.Project) func(*rows) {
	return func(t *rows) {
		t.fact("id", number(p.ID))
		t.fact("slug", p.Slug)
		t.fact("name", p.Name)
		t.fact("external id", text(p.ExternalID))
		t.fact("encryption", p.DefaultEncryption)
		t.fact("recipient", p.AgeRecipient)
		t.fact("escrow", strings.Join(p.EscrowRecipients, ", "))
		if p.DefaultStorageID != nil {
			t.fact("storage", number(*p.DefaultStorageID))
		}
		t.fact("created", stamp(&p.CreatedAt))
	}
}

func (c *ctl) projectShow() *cobra.Command {
	return &cobra.Command{
		Use: "show PROJECT", Short: "Show one project", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			p, err := cl.Project(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.show(p, projectFacts(p))
		},
	}
}

func (c *ctl) projectUpdate() *cobra.Command {
	var in body.UpdateProject
	var external, storage string
	cmd := &cobra.Command{
		Use: "update PROJECT", Short: "Change a project; what is not given stays", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("external-id") {
				in.ExternalID = &external
			}
			if cmd.Flags().Changed("storage") {
				in.DefaultStorage = &storage
			}
			p, err := cl.UpdateProject(cmd.Context(), args[0], in)
			if err != nil {
				return err
			}
			return c.show(p, projectFacts(p))
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.Slug, "slug", "", "new slug")
	f.StringVar(&in.Name, "name", "", "name for people")
	f.StringVar(&external, "external-id", "", "the panel's id of the project")
	f.StringVar(&in.DefaultEncryption, "encryption", "", "for backups that do not say: age or none")
	f.StringSliceVar(&in.EscrowRecipients, "escrow", nil, "replaces the escrow recipients (repeatable)")
	f.StringVar(&storage, "storage", "", "storage for backups that name none; empty for the installation's default")
	return cmd
}

func (c *ctl) projectDelete() *cobra.Command {
	return &cobra.Command{
		Use: "delete PROJECT", Short: "Close a project; its backups stay", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			if err := cl.DeleteProject(cmd.Context(), args[0]); err != nil {
				return err
			}
			return c.done("project %s is deleted; its backups stay", args[0])
		},
	}
}

func (c *ctl) projectGrant() *cobra.Command {
	var revoke bool
	cmd := &cobra.Command{
		Use: "grant PROJECT SERVER", Short: "Let a project use a server, or no longer", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			if revoke {
				if err := cl.RevokeServerGrant(cmd.Context(), args[0], args[1]); err != nil {
					return err
				}
				return c.done("project %s no longer uses server %s", args[0], args[1])
			}
			if err := cl.GrantServer(cmd.Context(), args[0], args[1]); err != nil {
				return err
			}
			return c.done("project %s may use server %s", args[0], args[1])
		},
	}
	cmd.Flags().BoolVar(&revoke, "revoke", false, "take the server away")
	return cmd
}

func (c *ctl) projectKey() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "key PROJECT", Short: "Print the key that opens every backup of the project",
		Long: `Print the key that opens every backup of the project, as age and ` + "`devflowctl artifact decrypt`" + ` read it.
Keep it offline and apart from the bucket. The export is written to the audit log.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			k, err := cl.ProjectKey(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			key := fmt.Sprintf("# project: %s\n# public key: %s\n%s\n", clean(k.Project), clean(k.Recipient), k.Identity)
			if file != "" {
				if err := writeSecret(file, key); err != nil {
					return err
				}
				return c.done("the key of project %s is in %s", k.Project, file)
			}
			if c.output == outputJSON {
				return c.show(k, nil)
			}
			_, err = fmt.Fprint(c.out, key)
			return err
		},
	}
	cmd.Flags().StringVar(&file, "out", "", "write it to a new file of mode 0600 instead")
	return cmd
}

// writeSecret makes a new file that only its owner can read.
func writeSecret(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		_ = os.Remove(file)
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

// done says that something was carried out.
func (c *ctl) done(format string, args ...any) error {
	msg := fmt.Sprintf(format, args...)
	if c.output == outputJSON {
		_, err := fmt.Fprintf(c.out, "{\"message\": %s}\n", strconv.Quote(clean(msg)))
		return err
	}
	_, err := fmt.Fprintln(c.out, clean(msg))
	return err
}
