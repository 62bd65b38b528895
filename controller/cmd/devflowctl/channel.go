package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/shared/secret"
)

const (
	channelEmail   = "email"
	channelWebhook = "webhook"
)

func (c *ctl) channelCommand() *cobra.Command {
	return c.group("channel", "Where people are told of what goes wrong", c.channelCreate(), c.channelList(), c.channelShow(), c.channelEdit(), c.channelTest(), c.channelDelete(), c.channelKinds())
}

const targetHelp = `An email goes to --email, by the server --smtp, such as smtp.example.com:587. Every other kind has a URL, which is a secret: it comes from
--url-file, a file of mode 0600, or is asked for; a webhook has the key of its signature too, from --secret-file. Nothing secret is on the
command line, which others can see. "devflowctl channel kinds" shows the kinds and what their URLs look like.`

// channelTarget are what a channel's target is given by.
type channelTarget struct {
	to                                []string
	smtp, tls, user, from             string
	urlFile, secretFile, passwordFile string
}

func (t *channelTarget) add(f *pflag.FlagSet) {
	f.StringSliceVar(&t.to, "email", nil, "tell these addresses by email")
	f.StringVar(&t.smtp, "smtp", "", "SMTP server, host or host:port (default port 587, or 465 with --tls implicit)")
	f.StringVar(&t.tls, "tls", "", "of --smtp: starttls, implicit or none (default starttls)")
	f.StringVar(&t.user, "smtp-user", "", "user at the SMTP server; without one there is no authentication")
	f.StringVar(&t.from, "from", "", "sender of the email (default the first of --email)")
	f.StringVar(&t.passwordFile, "password-file", "", "file with the password of --smtp-user; asked for if absent")
	f.StringVar(&t.urlFile, "url-file", "", "file with the URL; asked for if absent")
	f.StringVar(&t.secretFile, "secret-file", "", "file with the key of a webhook's signature; asked for if absent")
}

func (t *channelTarget) given() bool {
	return len(t.to) > 0 || t.smtp != "" || t.tls != "" || t.user != "" || t.from != "" || t.urlFile != "" || t.secretFile != "" || t.passwordFile != ""
}

// target reads what is secret from files, or asks for it.
func (c *ctl) target(kind string, t channelTarget) (body.ChannelTarget, error) {
	var out body.ChannelTarget
	var err error
	if kind == channelEmail {
		if t.urlFile != "" || t.secretFile != "" {
			return out, usagef("an email has neither --url-file nor --secret-file")
		}
		if len(t.to) == 0 || t.smtp == "" {
			return out, usagef("give --email ADDRESS and --smtp HOST:PORT")
		}
		out.To, out.From, out.TLS, out.Username = t.to, cmp.Or(t.from, t.to[0]), t.tls, t.user
		out.Host = t.smtp
		if host, port, e := net.SplitHostPort(t.smtp); e == nil {
			out.Host = host
			if out.Port, err = strconv.Atoi(port); err != nil {
				return out, usagef("--smtp %q: the port is no number", t.smtp)
			}
		}
		if t.user == "" && t.passwordFile != "" {
			return out, usagef("--password-file is for --smtp-user")
		}
		if t.user != "" {
			out.Password, err = c.secretOf(t.passwordFile, "Password of "+t.user)
		}
		return out, err
	}
	if len(t.to) > 0 || t.smtp != "" || t.tls != "" || t.user != "" || t.from != "" || t.passwordFile != "" {
		return out, usagef("--email, --smtp, --tls, --smtp-user, --from and --password-file are for kind email, not for %s", kind)
	}
	if kind != channelWebhook && t.secretFile != "" {
		return out, usagef("--secret-file is for kind webhook, not for %s", kind)
	}
	if out.URL, err = c.secretOf(t.urlFile, "URL"); err != nil || kind != channelWebhook {
		return out, err
	}
	out.Secret, err = c.secretOf(t.secretFile, "Key of the signature")
	return out, err
}

// secretOf is what a file holds, or what is answered.
func (c *ctl) secretOf(file, what string) (secret.String, error) {
	if file == "" {
		return c.secret(what, false)
	}
	s, err := secret.LoadFile(file)
	if err != nil {
		return "", usageError{err}
	}
	return s, nil
}

// remindHours are whole hours, or never.
func remindHours(text string) (int, error) {
	if text == "never" || text == "0" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d%time.Hour != 0 {
		return 0, usagef("--remind %q: use whole hours such as 24h, or never", text)
	}
	return int(d / time.Hour), nil
}

func (c *ctl) channelCreate() *cobra.Command {
	var in body.CreateChannel
	var t channelTarget
	var remind string
	cmd := &cobra.Command{
		Use: "create NAME --kind KIND | --email ADDRESS --smtp HOST:PORT", Aliases: []string{"add"}, Short: "Tell people by email, by a signed webhook or by a service",
		Long: `Tell people by email, by a signed webhook or by a service. With --project it takes what is of that project; without, it is of the
installation, and with --default takes what no channel of a project takes, and what is of no project.

` + targetHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args[0]
			if in.Kind == "" && len(t.to) > 0 {
				in.Kind = channelEmail
			}
			if in.Kind == "" {
				return usagef("give a --kind, or --email; `devflowctl channel kinds` shows the kinds")
			}
			if remind != "" {
				hours, err := remindHours(remind)
				if err != nil {
					return err
				}
				in.RemindHours = &hours
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			if in.Target, err = c.target(in.Kind, t); err != nil {
				return err
			}
			ch, err := cl.CreateChannel(cmd.Context(), in)
			if err != nil {
				return err
			}
			return c.show(ch, func(r *rows) {
				channelFacts(ch)(r)
				r.note("`devflowctl channel test %s` tries it", shellName(ch))
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.Kind, "kind", "", "email, webhook, slack, …: see `devflowctl channel kinds`")
	t.add(f)
	f.StringVar(&in.Project, "project", "", "only for this project")
	f.BoolVar(&in.Default, "default", false, "take what no channel of a project takes, and what is of no project")
	f.StringSliceVar(&in.Kinds, "notify", nil, "only these kinds of notices (default all but those that are off unless named)")
	f.StringVar(&in.MinSeverity, "min-severity", "", "the least that it takes: info, warning or critical (default info)")
	f.StringVar(&remind, "remind", "", "how often to remind of an alarm that stands, such as 12h, or never (default 24h)")
	f.StringVar(&in.Fallback, "fallback", "", "channel that takes its place when it fails")
	return cmd
}

// shellName is what a hint calls a channel by.
func shellName(ch controller.Channel) string {
	if strings.ContainsAny(ch.Name, " '\"\\$`&|;<>()*?[]{}!#~") {
		return number(ch.ID)
	}
	return ch.Name
}

func (c *ctl) channelList() *cobra.Command {
	var project string
	cmd := &cobra.Command{
		Use: "list", Short: "List channels", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			all, err := cl.Channels(cmd.Context(), project)
			if err != nil {
				return err
			}
			return c.show(all, func(t *rows) {
				t.head("ID", "NAME", "KIND", "TO", "PROJECT", "DEFAULT", "FROM SEVERITY", "NOTICES", "STATE", "SENT")
				for _, ch := range all {
					t.row(number(ch.ID), ch.Name, ch.Kind, ch.Hint, channelProject(ch), yes(ch.IsDefault), ch.MinSeverity, channelNotices(ch), channelState(ch), ago(ch.LastSentAt))
				}
			})
		},
	}
	cmd.Flags().StringVar(&project, "project", "", "channels of this project and of the installation")
	return cmd
}

func channelProject(ch controller.Channel) string {
	if ch.ProjectID == nil {
		return "all"
	}
	return ch.Project
}

func channelNotices(ch controller.Channel) string {
	if len(ch.Kinds) == 0 {
		return "all"
	}
	return strings.Join(ch.Kinds, ", ")
}

func channelState(ch controller.Channel) string {
	switch {
	case !ch.IsActive:
		return "off"
	case ch.FailingSince != nil:
		return "FAILING since " + ago(ch.FailingSince)
	case ch.MutedUntil != nil:
		return "muted until " + stamp(ch.MutedUntil)
	case ch.LastSentAt == nil:
		return "not used yet"
	}
	return "ok"
}

func channelFacts(ch controller.Channel) func(*rows) {
	return func(t *rows) {
		t.fact("id", number(ch.ID))
		t.fact("name", ch.Name)
		t.fact("kind", ch.Kind)
		t.fact("to", ch.Hint)
		t.fact("project", channelProject(ch))
		t.fact("default", yes(ch.IsDefault))
		t.fact("notices", channelNotices(ch))
		t.fact("from severity", ch.MinSeverity)
		remind := "never"
		if ch.RemindHours > 0 {
			remind = fmt.Sprintf("every %d h", ch.RemindHours)
		}
		t.fact("reminders", remind)
		fallback := ch.Fallback
		if fallback == "" && ch.FallbackID != nil {
			fallback = number(*ch.FallbackID)
		}
		t.fact("fallback", fallback)
		t.fact("state", channelState(ch))
		if ch.LastError != "" {
			t.fact("last error", ch.LastError)
			t.fact("failures", strconv.Itoa(ch.Failures)+" in a row")
		}
		t.fact("waiting", number(ch.Waiting))
		t.fact("last sent", stamp(ch.LastSentAt))
		t.fact("made", strings.TrimSuffix(stamp(&ch.CreatedAt)+" by "+ch.CreatedBy, " by "))
	}
}

func (c *ctl) channelShow() *cobra.Command {
	return &cobra.Command{
		Use: "show CHANNEL", Short: "Show one channel, without what opens it", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			return showVersion(cmd.Context(), c, func(ctx context.Context) (controller.Channel, error) { return cl.Channel(ctx, args[0]) }, channelFacts)
		},
	}
}

func (c *ctl) channelEdit() *cobra.Command {
	var in body.UpdateChannel
	var t channelTarget
	var name, severity, fallback, remind string
	var isDefault, active, askURL bool
	var kinds []string
	cmd := &cobra.Command{
		Use: "edit CHANNEL", Aliases: []string{"update"}, Short: "Change a channel; what is not given stays",
		Long: `Change a channel; what is not given stays. Its kind and project never change, and its target only as a whole, with its secrets: none that
is kept is ever sent to another place. --url asks for another URL.

` + targetHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			given := cmd.Flags().Changed
			for flag, set := range map[string]func(){
				"name": func() { in.Name = &name }, "default": func() { in.Default = &isDefault }, "active": func() { in.IsActive = &active },
				"min-severity": func() { in.MinSeverity = &severity }, "fallback": func() { in.Fallback = &fallback },
				"notify": func() { in.Kinds = append([]string{}, kinds...) },
			} {
				if given(flag) {
					set()
				}
			}
			if len(in.Kinds) == 1 && in.Kinds[0] == "all" {
				in.Kinds = []string{}
			}
			if remind != "" {
				hours, err := remindHours(remind)
				if err != nil {
					return err
				}
				in.RemindHours = &hours
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			if t.given() || askURL {
				ch, err := cl.Channel(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				target, err := c.target(ch.Kind, t)
				if err != nil {
					return err
				}
				in.Target = &target
			} else if in.Name == nil && in.Default == nil && in.IsActive == nil && in.MinSeverity == nil && in.Fallback == nil && in.Kinds == nil && in.RemindHours == nil {
				return usagef("change what? Give --name, --default, --active, --notify, --min-severity, --remind, --fallback, or another target")
			}
			ch, err := cl.UpdateChannel(cmd.Context(), args[0], in)
			if err != nil {
				return err
			}
			return c.show(ch, channelFacts(ch))
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "new name")
	t.add(f)
	f.BoolVar(&askURL, "url", false, "ask for another URL")
	f.BoolVar(&isDefault, "default", false, "take what no channel of a project takes, and what is of no project")
	f.BoolVar(&active, "active", true, "false: take nothing")
	f.StringSliceVar(&kinds, "notify", nil, "only these kinds of notices; all: all but those that are off unless named")
	f.StringVar(&severity, "min-severity", "", "the least that it takes: info, warning or critical")
	f.StringVar(&remind, "remind", "", "how often to remind of an alarm that stands, such as 12h, or never")
	f.StringVar(&fallback, "fallback", "", "channel that takes its place when it fails; empty: none")
	return matchFlag(cmd)
}

func (c *ctl) channelTest() *cobra.Command {
	return &cobra.Command{
		Use: "test CHANNEL", Short: "Send a test through a channel; fails if it is not taken", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			ch, err := cl.TestChannel(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.done("channel %s has taken the test: look for it at %s", ch.Name, ch.Hint)
		},
	}
}

func (c *ctl) channelDelete() *cobra.Command {
	return matchFlag(&cobra.Command{
		Use: "delete CHANNEL", Aliases: []string{"remove"}, Short: "Delete a channel that is no other one's fallback", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			if err := cl.DeleteChannel(cmd.Context(), args[0]); err != nil {
				return err
			}
			return c.done("channel %s is deleted", args[0])
		},
	})
}

func (c *ctl) channelKinds() *cobra.Command {
	return &cobra.Command{
		Use: "kinds", Short: "List the kinds of channels, and what their URLs look like", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			kinds, err := cl.ChannelKinds(cmd.Context())
			if err != nil {
				return err
			}
			return c.show(kinds, func(t *rows) {
				t.head("KIND", "NEEDS", "SUCH AS", "WHAT IT IS")
				for _, k := range kinds {
					t.row(k.Kind, strings.Join(k.Fields, ", "), k.Example, k.Text)
				}
			})
		},
	}
}
