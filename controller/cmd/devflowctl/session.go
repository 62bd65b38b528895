package main

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"devflowbackup/controller/internal/client"
	"devflowbackup/controller/internal/prompt"
	"devflowbackup/shared/secret"
)

func (c *ctl) sessionCommand() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List your own open sessions, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			all, err := cl.Sessions(cmd.Context())
			if err != nil {
				return err
			}
			return c.show(all, func(t *rows) {
				t.head("ID", "BY", "FROM", "WITH", "BEGAN", "USED", "ENDS", "THIS ONE")
				for _, s := range all {
					t.row(number(s.ID), s.Method, s.Remote, s.Agent, ago(&s.CreatedAt), ago(&s.SeenAt), ago(&s.ExpiresAt), yes(s.Current))
				}
			})
		},
	}
	end := c.on("session", "end", "End one of your own sessions", func(ctx context.Context, cl *client.Client, id int64) error {
		if err := cl.EndSession(ctx, id); err != nil {
			return err
		}
		return c.done("session %d has ended", id)
	})
	passwd := &cobra.Command{
		Use: "passwd", Short: "Change your own password; your other sessions end", Args: cobra.NoArgs,
		Long: `Change your own password; your other sessions end. The old password and the new one are asked for at the terminal, or are the first two
lines of standard input.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			old, err := c.secret("old password", false)
			if err != nil {
				return err
			}
			next, err := c.secret("new password", true)
			if err != nil {
				return err
			}
			if err := cl.ChangePassword(cmd.Context(), old, next); err != nil {
				return err
			}
			return c.done("your password is changed, and your other sessions have ended")
		},
	}
	return c.group("session", "Sessions of the person who is logged in by `login --user`", list, end, passwd)
}

// secret asks for one at the terminal, or takes the next line of standard input.
func (c *ctl) secret(what string, again bool) (secret.String, error) {
	in := c.in
	if f, ok := in.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) { //nolint:gosec // a file descriptor is small
		in = oneByte{in}
	}
	s, err := prompt.Secret(in, c.err, what, again)
	if err != nil {
		return "", usageError{err}
	}
	return s, nil
}

// oneByte gives no more than it is asked for: what follows a line is left for the next reader.
type oneByte struct{ io.Reader }

func (o oneByte) Read(b []byte) (int, error) {
	if o.Reader == nil {
		return 0, io.EOF
	}
	n, err := o.Reader.Read(b[:min(len(b), 1)])
	if errors.Is(err, os.ErrClosed) {
		err = io.EOF
	}
	return n, err
}
