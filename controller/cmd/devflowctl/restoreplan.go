package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/shared/wire"
)

// restoreFlags are the flags of a restore and of its plan.
type restoreFlags struct {
	in   body.CreateRestore
	swap swapFlags
	only []string
}

func (r *restoreFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&r.in.ToServer, "to-server", "", "target server; the backup's own if absent")
	f.StringVar(&r.in.ToInstance, "to-instance", "", "target instance; the backup's own, or the only one of its engine")
	f.StringVar(&r.in.ToDatabase, "to-database", "", "target database; the backup's own name if absent")
	f.BoolVar(&r.in.InPlace, "in-place", false, "put it in the place of the database of that name, whose content is kept for a time")
	f.BoolVar(&r.in.SkipSafetyBackup, "skip-safety-backup", false, "in place: leave out the backup of the target that is made first")
	f.BoolVar(&r.in.Choices.Owners, "owners", false, "PostgreSQL: objects belong to the roles that they belonged to")
	f.BoolVar(&r.in.Choices.Privileges, "privileges", false, "PostgreSQL: grants are restored")
	f.BoolVar(&r.in.Choices.Roles, "roles", false, "PostgreSQL: roles that are missing are made, without login and without rights over the server")
	f.StringVar(&r.in.Choices.Definers, "definers", "", "MySQL: keep or strip; as the host is configured if absent")
	f.StringArrayVar(&r.only, "only", nil, `into a new database, and only this: SCHEMA.TABLE or SCHEMA.* (PostgreSQL, repeatable), TABLE (MySQL, one); "quote" a part that holds a dot`)
	f.IntVar(&r.in.Choices.Jobs, "jobs", 0, "PostgreSQL: how many indexes and constraints are built at once")
	r.swap.add(cmd)
}

// body is the request, of the backup that the first argument names.
func (r *restoreFlags) body(backup string) (body.CreateRestore, error) {
	in := r.in
	var err error
	if in.BackupID, err = identifier("backup", backup); err != nil {
		return in, err
	}
	if in.Swap, err = r.swap.body(); err != nil {
		return in, err
	}
	for _, text := range r.only {
		s, err := selection(text)
		if err != nil {
			return in, err
		}
		in.Choices.Only = append(in.Choices.Only, s)
	}
	return in, nil
}

// swapFlags are the flags of whatever replaces a database.
type swapFlags struct {
	in         body.Swap
	wait, keep time.Duration
}

func (s *swapFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.in.Confirm, "confirm", "", "the name of the database that is replaced; without it, it is asked for on a terminal")
	f.StringVar(&s.in.Sessions, "sessions", "", "other sessions at it: refuse (they stop the swap), wait or end; refuse if absent")
	f.DurationVar(&s.wait, "wait-for", 0, "with --sessions wait: how long, up to 10m")
	f.DurationVar(&s.keep, "keep", 0, "how long what is replaced is kept, 1h to 2160h; 72h if absent")
}

func (s *swapFlags) body() (body.Swap, error) {
	in := s.in
	var err error
	if in.WaitSeconds, err = seconds("wait-for", s.wait); err != nil {
		return in, err
	}
	in.KeepSeconds, err = seconds("keep", s.keep)
	return in, err
}

// selection reads TABLE, SCHEMA.TABLE or SCHEMA.*; a part may be quoted, with a doubled quote for one in it.
func selection(text string) (body.Selection, error) {
	wrong := usagef("--only %q is not SCHEMA.TABLE, SCHEMA.* or TABLE", text)
	first, rest, quoted, ok := namePart(text)
	if !ok {
		return body.Selection{}, wrong
	}
	if rest == "" {
		if first == "*" && !quoted {
			return body.Selection{}, wrong
		}
		return body.Selection{Table: first}, nil
	}
	second, end, quoted, ok := namePart(rest[1:])
	if !ok || end != "" {
		return body.Selection{}, wrong
	}
	if second == "*" && !quoted {
		second = ""
	}
	return body.Selection{Schema: first, Table: second}, nil
}

// namePart is the name that text begins with, and what follows it: nothing, or a dot and more.
func namePart(text string) (name, rest string, quoted, ok bool) {
	if !strings.HasPrefix(text, `"`) {
		name, _, _ = strings.Cut(text, ".")
		return name, text[len(name):], false, name != ""
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] != '"':
			b.WriteByte(text[i])
		case strings.HasPrefix(text[i+1:], `"`):
			b.WriteByte('"')
			i++
		default:
			rest = text[i+1:]
			return b.String(), rest, true, b.Len() > 0 && (rest == "" || rest[0] == '.')
		}
	}
	return "", "", true, false
}

func (c *ctl) restorePlan() *cobra.Command {
	var in restoreFlags
	cmd := &cobra.Command{
		Use: "plan BACKUP [--to-database NAME | --in-place]", Short: "Show what a restore would meet and do, and what would stop it",
		Long: `Show what a restore would meet and do: what is in the backup, what is at the target, each step, what would stop it and what else is possible.
Nothing is changed. The flags are those of ` + "`restore create`" + `. Exit status 1 if something would stop it.`,
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
			plan, err := cl.PlanRestore(cmd.Context(), req)
			if err != nil {
				return err
			}
			return c.planned(plan)
		},
	}
	in.add(cmd)
	return cmd
}

// planned shows a plan; one that cannot be started is an error.
func (c *ctl) planned(p controller.RestorePlan) error {
	if c.output == outputJSON {
		if err := c.show(p, nil); err != nil {
			return err
		}
	} else if err := writePlan(c.out, p); err != nil {
		return err
	}
	return unstartable(p)
}

func unstartable(p controller.RestorePlan) error {
	if p.CanStart {
		return nil
	}
	n := len(p.Stopping())
	if n == 1 {
		return errors.New("1 problem stops it; nothing was changed")
	}
	return fmt.Errorf("%d problems stop it; nothing was changed", n)
}

// interactive tells whether a person can be asked.
func (c *ctl) interactive() bool {
	f, ok := c.in.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// confirmPlan shows the plan on standard error and has a person type the target's name. It returns that, and the identity of the
// database that the plan saw: another one is not replaced.
func (c *ctl) confirmPlan(ctx context.Context, p controller.RestorePlan) (name, identity string, err error) {
	if err := writePlan(c.err, p); err != nil {
		return "", "", err
	}
	if err := unstartable(p); err != nil {
		return "", "", err
	}
	fmt.Fprintf(c.err, "\nType the name of the database that is to be replaced, %s: ", clean(p.Target.Database))
	type line struct {
		text string
		err  error
	}
	typed := make(chan line, 1)
	go func() { // ends with the program, where nobody types
		text, err := bufio.NewReader(io.LimitReader(c.in, 64<<10)).ReadString('\n')
		typed <- line{strings.TrimRight(text, "\r\n"), err}
	}()
	select {
	case <-ctx.Done():
		return "", "", fmt.Errorf("%w; nothing was done", context.Cause(ctx))
	case got := <-typed:
		if got.text != p.Target.Database {
			return "", "", fmt.Errorf("%q is not %q; nothing was done", got.text, p.Target.Database)
		}
		if p.Target.Found != nil {
			identity = p.Target.Found.Identity
		}
		return got.text, identity, nil
	}
}

// writePlan prints a plan for people.
func writePlan(w io.Writer, p controller.RestorePlan) error {
	var b strings.Builder
	title := func(s string) { b.WriteString("\n" + s + "\n") }
	line := func(format string, args ...any) { b.WriteString("  " + clean(fmt.Sprintf(format, args...)) + "\n") }
	where := clean(fmt.Sprintf("%q on %s / %s", p.Target.Database, p.Target.Server, p.Target.Instance))
	switch {
	case p.Kind == controller.UndoKind:
		fmt.Fprintf(&b, "Undo of a restore: what was at %s comes back\n", where)
	case p.Target.InPlace:
		fmt.Fprintf(&b, "Restore of backup %d in the place of %s\n", p.Backup.ID, where)
	default:
		fmt.Fprintf(&b, "Restore of backup %d into the new database %s\n", p.Backup.ID, where)
	}
	if p.Kind != controller.UndoKind {
		title("In the backup")
		planBackup(line, p.Backup)
	}
	title("At the target")
	planTarget(line, p.Target)
	title("What is done")
	for i, s := range p.Steps {
		line("%d. %s", i+1, s)
	}
	stops := p.Stopping()
	problems(line, title, "What stops it", stops)
	problems(line, title, "What to know before", p.Problems[len(stops):])
	if len(p.Possible) > 0 {
		title("What else is possible")
		for _, s := range p.Possible {
			line("- %s", s)
		}
	}
	if p.CanStart {
		title("Nothing is known that would stop it.")
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func problems(line func(string, ...any), title func(string), name string, all []wire.Problem) {
	if len(all) == 0 {
		return
	}
	title(name)
	for _, one := range all {
		line("[%s] %s", one.Code, one.Text)
		if one.Hint != "" {
			line("    hint: %s", one.Hint)
		}
	}
}

func planBackup(line func(string, ...any), b controller.PlanBackup) {
	verified := "never verified"
	if b.Verified != "" {
		verified = "verified by " + b.Verified
	}
	line("%s database %q of %s, completed %s (%s), %s", b.Engine, b.Database, b.Server, stamp(b.CompletedAt), ago(b.CompletedAt), verified)
	f := b.Facts
	by := strings.TrimSpace(f.Tool + " " + f.ToolVersion)
	if f.ServerVersion != "" {
		by = strings.TrimSpace(by + " of a server " + f.ServerVersion)
	}
	if by != "" {
		line("dumped by %s", by)
	}
	sizes := size(f.StoredBytes) + " stored, " + size(f.RawBytes) + " as a dump"
	if f.DatabaseBytes > 0 {
		sizes += ", " + size(f.DatabaseBytes) + " as a database"
	}
	line("%s, %s", plural(int(f.Tables), "table"), sizes)
	if len(f.Extensions) > 0 {
		line("extensions: %s", strings.Join(f.Extensions, ", "))
	}
	if len(f.Objects) > 0 {
		line("objects: %s", strings.Join(f.Objects, ", "))
	}
}

func planTarget(line func(string, ...any), t controller.PlanTarget) {
	if !t.Looked || t.Found == nil {
		line("nobody has looked: only what the catalog knows is told")
		return
	}
	f := t.Found
	if f.ServerVersion != "" {
		line("server %s", f.ServerVersion)
	}
	if !f.Exists {
		line("no database of that name")
	} else {
		owner := ""
		if f.Owner != "" {
			owner = fmt.Sprintf(", owner %q", f.Owner)
		}
		line("a database of %s with %s%s", size(f.SizeBytes), plural(int(f.Tables), "table"), owner)
	}
	if f.FreeBytes >= 0 {
		line("%s free", size(f.FreeBytes))
	}
	n := max(f.SessionCount, len(f.Sessions))
	if n > 0 {
		line("%s at it:", plural(n, "other session"))
	}
	for i, s := range f.Sessions {
		if i == 5 {
			line("  and %d more", n-i)
			break
		}
		text := fmt.Sprintf("%q", s.User)
		for _, part := range []struct{ before, value string }{{" with ", s.Application}, {" from ", s.Client}, {", ", s.State}} {
			if part.value != "" {
				text += part.before + part.value
			}
		}
		if s.Since > 0 {
			since := time.Unix(s.Since, 0)
			text += ", since " + stamp(&since)
		}
		line("  %s", text)
	}
}

// problemsOf are what a refusal lists beside its own sentence.
func problemsOf(p *body.Problem) string {
	var b strings.Builder
	for _, one := range p.Problems {
		if !one.Stops || one.Text == p.Detail {
			continue
		}
		b.WriteString("\n  also: [" + clean(one.Code) + "] " + clean(one.Text))
		if one.Hint != "" {
			b.WriteString("\n    hint: " + clean(one.Hint))
		}
	}
	return b.String()
}
