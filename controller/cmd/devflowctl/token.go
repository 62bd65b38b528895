package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/client"
	"devflowbackup/shared/version"
)

func (c *ctl) tokenCommand() *cobra.Command {
	return c.group("token", "API tokens", c.tokenCreate(), c.tokenList(), c.tokenShow(), c.tokenRotate(), c.tokenRevoke())
}

func (c *ctl) tokenCreate() *cobra.Command {
	var in body.CreateToken
	var ttl time.Duration
	cmd := &cobra.Command{
		Use: "create NAME --permission PERMISSION", Short: "Make an API token and print it, once",
		Long: "Make an API token and print it, once.\n\n" + permissionHelp(),
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			in.Name = args[0]
			if slices.Contains(in.Permissions, "all") {
				in.Permissions = controller.Permissions
			}
			if in.Permissions == nil {
				return usagef("what may it do? Give --permission: %s, or all", strings.Join(controller.Permissions, ", "))
			}
			if in.TTLSeconds, err = seconds("ttl", ttl); err != nil {
				return err
			}
			t, err := cl.CreateToken(cmd.Context(), in)
			if err != nil {
				return err
			}
			return c.show(t, func(r *rows) {
				r.fact("id", number(t.ID))
				r.fact("name", t.Name)
				r.fact("permissions", strings.Join(t.Permissions, ", "))
				r.fact("projects", tokenProjects(t.APIToken))
				r.fact("expires", ago(t.ExpiresAt))
				r.fact("token", t.Token)
				r.note("It is shown this once.")
			})
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&in.Permissions, "permission", nil, "what it may do (repeatable), or all")
	f.StringSliceVar(&in.Projects, "project", nil, "limits it to a project (repeatable); all projects if absent")
	f.StringVar(&in.Kind, "kind", "", "api, or panel: each request names the user that it acts for (default api)")
	f.DurationVar(&ttl, "ttl", 0, "how long it is valid; for good if absent")
	return cmd
}

// permissionHelp lists what can be given.
func permissionHelp() string {
	var b strings.Builder
	b.WriteString("Permissions, of which all stands for every one; none of them widens the projects:\n\n")
	for _, p := range controller.Permissions {
		fmt.Fprintf(&b, "  %-17s %s\n", p, controller.PermissionText(p))
	}
	return strings.TrimRight(b.String(), "\n")
}

func tokenProjects(t controller.APIToken) string {
	if t.Projects == nil {
		return "all"
	}
	return numbers(t.Projects)
}

func (c *ctl) tokenList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List API tokens", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			all, err := cl.Tokens(cmd.Context())
			if err != nil {
				return err
			}
			return c.show(all, func(r *rows) {
				r.head("ID", "NAME", "KIND", "PERMISSIONS", "PROJECTS", "USED", "EXPIRES", "STATE")
				for _, t := range all {
					r.row(number(t.ID), t.Name, t.Kind, tokenMay(t), tokenProjects(t), ago(t.LastUsedAt), ago(t.ExpiresAt), tokenState(t))
				}
			})
		},
	}
}

func tokenMay(t controller.APIToken) string {
	if len(t.Permissions) == len(controller.Permissions) {
		return "all"
	}
	return strings.Join(t.Permissions, ",")
}

func tokenState(t controller.APIToken) string {
	switch {
	case t.RevokedAt != nil:
		return "revoked"
	case t.ExpiresAt != nil && t.ExpiresAt.Before(time.Now()):
		return "expired"
	}
	return "valid"
}

func (c *ctl) tokenShow() *cobra.Command {
	return c.on("token", "show", "Show one API token, without its secret", func(ctx context.Context, cl *client.Client, id int64) error {
		return showVersion(ctx, c, func(ctx context.Context) (controller.APIToken, error) { return cl.Token(ctx, id) }, func(t controller.APIToken) func(*rows) {
			return func(r *rows) {
				r.fact("id", number(t.ID))
				r.fact("name", t.Name)
				r.fact("kind", t.Kind)
				r.fact("permissions", tokenMay(t))
				r.fact("projects", tokenProjects(t))
				r.fact("state", tokenState(t))
				r.fact("used", ago(t.LastUsedAt))
				r.fact("expires", ago(t.ExpiresAt))
				r.fact("rotated", ago(t.RotatedAt))
				if t.PreviousUntil != nil && t.PreviousUntil.After(time.Now()) {
					r.fact("the one before works until", stamp(t.PreviousUntil))
				}
			}
		})
	})
}

func (c *ctl) tokenRotate() *cobra.Command {
	var grace time.Duration
	cmd := &cobra.Command{
		Use: "rotate ID", Short: "Give an API token a new secret and print it, once; the one before works for a time", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := identifier("token", args[0])
			if err != nil {
				return err
			}
			var in body.RotateToken
			if cmd.Flags().Changed("grace") {
				s, err := seconds("grace", grace)
				if err != nil {
					return err
				}
				in.GraceSeconds = &s
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			t, err := cl.RotateToken(cmd.Context(), n, in)
			if err != nil {
				return err
			}
			return c.show(t, func(r *rows) {
				r.fact("id", number(t.ID))
				r.fact("name", t.Name)
				r.fact("token", t.Token)
				if t.PreviousUntil != nil {
					r.fact("the one before works until", t.PreviousUntil.UTC().Format(time.RFC3339))
				}
				r.note("It is shown this once.")
			})
		},
	}
	cmd.Flags().DurationVar(&grace, "grace", 24*time.Hour, "how long the secret before it works; 0 ends it at once")
	return matchFlag(cmd)
}

func (c *ctl) tokenRevoke() *cobra.Command {
	return matchFlag(&cobra.Command{
		Use: "revoke ID", Short: "End an API token", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := identifier("token", args[0])
			if err != nil {
				return err
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			if err := cl.RevokeToken(cmd.Context(), id); err != nil {
				return err
			}
			return c.done("token %d is revoked", id)
		},
	})
}

func (c *ctl) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Version of this program, and of the controller where one is configured", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := c.settings()
			if err != nil {
				return err
			}
			if s, _, err = c.withProfile(s); err != nil {
				return err
			}
			var remote *body.Version
			if s.Server != "" {
				cl, err := c.client()
				if err != nil {
					return err
				}
				v, err := cl.Version(cmd.Context())
				if err != nil {
					return fmt.Errorf("devflowctl %s; controller: %w", version.String(), err)
				}
				remote = &v
			}
			answer := struct {
				Client     string        `json:"client"`
				Controller *body.Version `json:"controller"`
			}{version.String(), remote}
			return c.show(answer, func(t *rows) {
				t.fact("devflowctl", version.String())
				if remote != nil {
					t.fact("controller", remote.Version)
					t.fact("CA", remote.CA)
				}
			})
		},
	}
}
