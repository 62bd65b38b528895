package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/client"
)

func (c *ctl) serverCommand() *cobra.Command {
	return c.group("server", "Hosts with an agent", c.serverAdd(), c.serverToken(), c.serverEnrolments(), c.serverList(), c.serverShow(), c.serverVerifier(), c.serverRevoke())
}

func (c *ctl) serverAdd() *cobra.Command {
	var e enrolment
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Print one command that makes a bare host the server NAME", Args: cobra.ExactArgs(1),
		Long: `Prints one command for a root shell (sh, bash, zsh, dash or busybox) of a host without an agent. It installs the agent, enrols the host
as the server NAME, looks for the databases there, writes the agent's configuration, starts the service and tells what is still needed.

The host trusts the controller by a checksum in the command, so that nobody between them can give it something else. The token in the
command works once, and not for long; on the host it is in no command line of any program, so that ps never shows it. The shell's history
keeps what was pasted: by then the token is of no use.

The command alone goes to standard output, and all else to standard error. So a host that is reached by ssh takes it without a terminal:

  devflowctl server add db-7 | ssh root@db-7 sh`,
		RunE: func(cmd *cobra.Command, args []string) error {
			made, err := e.make(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			if c.output == outputJSON {
				return c.show(made, nil)
			}
			if made.InstallCommand == "" {
				return fmt.Errorf("there is no such command: %s", clean(made.InstallHint))
			}
			fmt.Fprintf(c.err, "Run this in a root shell of %s. It works once, and expires %s.\n", clean(made.ServerName), ago(&made.ExpiresAt))
			if made.Replaces != nil {
				fmt.Fprintf(c.err, "The host that is %s now is cut off then.\n", clean(made.ServerName))
			}
			fmt.Fprintln(c.out, made.InstallCommand)
			return nil
		},
	}
	e.flags(cmd)
	cmd.Flags().BoolVar(&e.in.Grant, "grant", false, "let the command make the agent's accounts in the databases that it finds")
	return cmd
}

// enrolment is what is asked for a host that is to come.
type enrolment struct {
	in  body.CreateEnrolment
	ttl time.Duration
}

func (e *enrolment) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&e.in.Project, "project", "", "a project that may use the server")
	f.BoolVar(&e.in.Verifier, "verifier", false, "the server may open other hosts' backups to verify them")
	f.BoolVar(&e.in.Replace, "replace", false, "the host takes the place of the server NAME, which keeps its databases, backups and schedules")
	f.DurationVar(&e.ttl, "ttl", 0, "how long the token is valid, at most 1h (default 1h)")
}

func (e *enrolment) make(ctx context.Context, c *ctl, name string) (made body.NewEnrolment, err error) {
	cl, err := c.client()
	if err != nil {
		return made, err
	}
	e.in.ServerName = name
	if e.in.TTLSeconds, err = seconds("ttl", e.ttl); err != nil {
		return made, err
	}
	return cl.CreateEnrolment(ctx, e.in)
}

func (c *ctl) serverToken() *cobra.Command {
	var e enrolment
	cmd := &cobra.Command{
		Use: "token NAME", Short: "Make a token by which one host that has the agent enrols, and print what to run there", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			made, err := e.make(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			return c.show(made, func(t *rows) {
				t.note("Run this on %s. It works once, and expires %s.", made.ServerName, ago(&made.ExpiresAt))
				if made.Replaces != nil {
					t.note("The host that is %s now is cut off then.", made.ServerName)
				}
				t.note("%s", made.Command)
			})
		},
	}
	e.flags(cmd)
	return cmd
}

func (c *ctl) serverEnrolments() *cobra.Command {
	return &cobra.Command{
		Use: "enrolments", Short: "List the tokens by which hosts enrol, newest first, and what became of them", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			all, err := cl.Enrolments(cmd.Context())
			if err != nil {
				return err
			}
			return c.show(all, func(t *rows) {
				t.head("ID", "SERVER", "STATE", "EXPIRES", "MADE")
				for _, e := range all {
					t.row(number(e.ID), e.ServerName, enrolmentState(e), ago(&e.ExpiresAt), ago(&e.CreatedAt))
				}
			})
		},
	}
}

func enrolmentState(e controller.Enrolment) string {
	switch {
	case e.UsedAt != nil:
		return "used " + ago(e.UsedAt)
	case e.ExpiresAt.Before(time.Now()):
		return "expired"
	}
	return "open"
}

func (c *ctl) serverList() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use: "list", Short: "List servers", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			head := []string{"ID", "NAME", "STATE", "SEEN", "AGENT", "INSTANCES", "VERIFIER", "PROJECTS"}
			if watch {
				return follow(cmd.Context(), c, cl, listWatch[controller.Server]{
					kinds: []string{controller.EventAgent}, head: head, row: serverCells,
					read: func() ([]controller.Server, error) { return cl.Servers(cmd.Context()) },
					id:   func(s controller.Server) int64 { return s.ID },
					state: func(s controller.Server) string {
						return strings.Join([]string{s.Name, serverState(s), agentVersion(s), instances(s), yes(s.Verifier), numbers(s.Projects)}, "|")
					},
				})
			}
			all, err := cl.Servers(cmd.Context())
			if err != nil {
				return err
			}
			return c.show(all, func(t *rows) {
				t.head(head...)
				for _, s := range all {
					t.row(serverCells(s)...)
				}
			})
		},
	}
	watchFlag(cmd, &watch)
	return cmd
}

func serverCells(s controller.Server) []string {
	return []string{number(s.ID), s.Name, serverState(s), ago(s.LastSeenAt), agentVersion(s), instances(s), yes(s.Verifier), numbers(s.Projects)}
}

func serverState(s controller.Server) string {
	switch {
	case s.RevokedAt != nil:
		return "revoked"
	case s.Online:
		return "online"
	case s.LastSeenAt == nil:
		return "never seen"
	}
	return "offline"
}

func agentVersion(s controller.Server) string {
	if s.Outdated {
		return s.AgentVersion + " (outdated)"
	}
	return s.AgentVersion
}

func instances(s controller.Server) string {
	names := make([]string, 0, len(s.Instances))
	for _, i := range s.Instances {
		name := i.Name
		if i.Error != "" {
			name += " (error)"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

func serverFacts(s controller.Server) func(*rows) {
	return func(t *rows) {
		t.fact("id", number(s.ID))
		t.fact("name", s.Name)
		t.fact("state", serverState(s))
		t.fact("last seen", ago(s.LastSeenAt))
		t.fact("agent", s.AgentID+" "+agentVersion(s))
		if s.Outdated {
			t.note("The agent is older than the controller: install the controller's version on this host. Running jobs are waited for.")
		}
		t.fact("host", strings.TrimSpace(s.Host.Hostname+" "+s.Host.OS+" "+s.Host.Arch))
		if l := s.Host.Local; l != nil {
			t.fact("backup directory", fmt.Sprintf("%s, %s of %s free, %s stay so", l.Dir, size(l.FreeBytes), size(l.TotalBytes), size(l.MinFree)))
			if l.Error != "" {
				t.note("backup directory: %s", l.Error)
			}
		}
		t.fact("concurrency", number(int64(s.Concurrency)))
		t.fact("verifier", yes(s.Verifier))
		t.fact("projects", numbers(s.Projects))
		t.fact("enrolled", stamp(&s.EnrolledAt))
		if s.RevokedAt != nil {
			t.fact("revoked", stamp(s.RevokedAt))
		}
		for _, i := range s.Instances {
			line := strings.TrimSpace(i.Engine + " " + i.Version)
			if i.Restore {
				line += ", restores allowed"
				if i.InPlace {
					line += ", also in place"
				}
			}
			if i.Error != "" {
				line += ", error: " + i.Error
			}
			t.fact("instance "+i.Name, line)
		}
	}
}

func (c *ctl) serverShow() *cobra.Command {
	return &cobra.Command{
		Use: "show SERVER", Short: "Show one server", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			return showVersion(cmd.Context(), c, func(ctx context.Context) (controller.Server, error) { return cl.Server(ctx, args[0]) }, serverFacts)
		},
	}
}

func (c *ctl) serverVerifier() *cobra.Command {
	var off bool
	cmd := &cobra.Command{
		Use: "verifier SERVER", Short: "Let a server open other hosts' backups to verify them", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			s, err := cl.SetVerifier(cmd.Context(), args[0], !off)
			if err != nil {
				return err
			}
			return c.show(s, serverFacts(s))
		},
	}
	cmd.Flags().BoolVar(&off, "off", false, "take the permission away")
	return matchFlag(cmd)
}

func (c *ctl) serverRevoke() *cobra.Command {
	return matchFlag(&cobra.Command{
		Use: "revoke SERVER", Short: "Cut an agent off for good; its backups stay", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			s, err := cl.RevokeServer(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := c.show(s, serverFacts(s)); err != nil {
				return err
			}
			c.stillKept(cmd.Context(), cl, s)
			return nil
		},
	})
}

// stillKept names, on standard error, what restores in place have kept on a server whose agent removes it no more.
func (c *ctl) stillKept(ctx context.Context, cl *client.Client, s controller.Server) {
	var before int64
	for {
		p, err := cl.Restores(ctx, controller.RestoreFilter{Server: number(s.ID), BeforeID: before, Limit: pageSize})
		if err != nil {
			fmt.Fprintf(c.err, "what restores in place have kept there was not to be had: %s\n", c.describe(ctx, err))
			return
		}
		for _, r := range p.Items {
			if r.ServerID == s.ID && r.KeptState == controller.KeptKept {
				fmt.Fprintf(c.err, "%s still has %s, the old content of %s (restore %d): remove it there by hand\n", clean(s.Name), clean(r.KeptName), clean(r.DatabaseName), r.ID)
			}
		}
		if p.NextBeforeID == nil {
			return
		}
		before = *p.NextBeforeID
	}
}

// seconds refuses what the API cannot say.
func seconds(flag string, d time.Duration) (int64, error) {
	if d < 0 || d%time.Second != 0 {
		return 0, usagef("--%s %s is not a positive number of whole seconds; write 90s, 45m or 2h", flag, d)
	}
	return int64(d / time.Second), nil
}
