package main

import (
	"context"
	"fmt"
	"math"
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
	var external, storage, appKeyFile, schedule, zone, keep string
	cmd := &cobra.Command{
		Use: "create SLUG", Short: "Make a project and its keys",
		Long: `Make a project and its keys: an age key, and an app key from which the keys of aes-256-cbc are derived. The app key may be given in a file
of mode 0600, such as the panel's (base64: and 32 bytes), or any text of at least 16 bytes. It never changes afterwards.

--escrow names age recipients that can open every age backup as well: keep their keys offline, for the day on which nothing else is left.

--default-schedule makes a schedule of the databases that no other one covers, those assigned later too. It is said as "hourly", "daily 02:00",
"weekly sunday@02:00", "monthly 31@02:00" or "cron 15 3 * * mon-fri"; ` + "`devflowctl schedule`" + ` changes it afterwards.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if in.DefaultSchedule, err = defaultSchedule(schedule, zone, keep); err != nil {
				return err
			}
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
			if appKeyFile != "" {
				if in.AppKey, err = appKeyOf(appKeyFile); err != nil {
					return usageError{err}
				}
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
	f.StringVar(&in.DefaultEncryption, "encryption", "", "for backups that do not say: age, aes-256-cbc or none (default age)")
	f.StringSliceVar(&in.EscrowRecipients, "escrow", nil, "age recipient that can open every backup as well (repeatable)")
	f.StringVar(&storage, "storage", "", "storage for backups that name none")
	f.StringVar(&appKeyFile, "app-key-file", "", "file with the app key; one is made if absent")
	f.StringVar(&schedule, "default-schedule", "", "schedule of the databases that no other one covers, such as \"daily 02:00\"")
	f.StringVar(&zone, "timezone", "", "of the default schedule: IANA name of its zone (default UTC)")
	f.StringVar(&keep, "keep", "", "of the default schedule: which backups stay, such as daily=7,weekly=4,monthly=3,days=30 (the default)")
	return cmd
}

// defaultSchedule is nil where none was asked for.
func defaultSchedule(when, zone, keep string) (*body.ScheduleOptions, error) {
	if when == "" {
		if zone != "" || keep != "" {
			return nil, usagef("--timezone and --keep are of a default schedule: give --default-schedule")
		}
		return nil, nil
	}
	t, err := parseTiming(when)
	if err != nil {
		return nil, fmt.Errorf("--default-schedule: %w", err)
	}
	o := &body.ScheduleOptions{Frequency: t.Frequency, Time: t.Time, DayOfWeek: t.DayOfWeek, DayOfMonth: t.DayOfMonth, Cron: t.Cron, Timezone: zone}
	if keep != "" {
		r, err := controller.ParseRetention(keep)
		if err != nil {
			return nil, keepError(err)
		}
		o.RetentionDays, o.RetentionHourly, o.RetentionDaily, o.RetentionWeekly, o.RetentionMonthly = &r.Days, &r.Hourly, &r.Daily, &r.Weekly, &r.Monthly
	}
	return o, nil
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
		jobs, bytes := "no limit", "no limit"
		if p.MaxJobsPerHour != nil {
			jobs = number(*p.MaxJobsPerHour)
		}
		if p.MaxBytesPerDay != nil {
			bytes = size(*p.MaxBytesPerDay)
		}
		t.fact("backups an hour", jobs)
		t.fact("bytes a day", bytes)
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
			return showVersion(cmd.Context(), c, func(ctx context.Context) (controller.Project, error) { return cl.Project(ctx, args[0]) }, projectFacts)
		},
	}
}

func (c *ctl) projectUpdate() *cobra.Command {
	var in body.UpdateProject
	var external, storage, jobs, bytes string
	cmd := &cobra.Command{
		Use: "update PROJECT", Aliases: []string{"edit"}, Short: "Change a project; what is not given stays", Args: cobra.ExactArgs(1),
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
			if cmd.Flags().Changed("escrow") && in.EscrowRecipients == nil {
				in.EscrowRecipients = []string{}
			}
			if in.MaxJobsPerHour, err = limitFlag(cmd, "max-jobs-per-hour", jobs, func(text string) (int64, error) { return strconv.ParseInt(text, 10, 64) }, "a number of backups"); err != nil {
				return err
			}
			if in.MaxBytesPerDay, err = limitFlag(cmd, "max-bytes-per-day", bytes, parseSize, "a size such as 500GiB"); err != nil {
				return err
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
	f.StringVar(&in.DefaultEncryption, "encryption", "", "for backups that do not say: age, aes-256-cbc or none")
	f.StringSliceVar(&in.EscrowRecipients, "escrow", nil, "replaces the escrow recipients, for backups from now on (repeatable); empty removes them")
	f.StringVar(&storage, "storage", "", "storage for backups that name none; empty for the installation's default")
	f.StringVar(&jobs, "max-jobs-per-hour", "", "how many backups may be ordered within any hour; none is no limit")
	f.StringVar(&bytes, "max-bytes-per-day", "", "how much may be stored within any 24 hours, such as 500GiB; none is no limit")
	return matchFlag(cmd)
}

// limitFlag is what a limit is set to: absent if it was not given, null for none.
func limitFlag(cmd *cobra.Command, name, text string, parse func(string) (int64, error), allowed string) (body.Clearable[int64], error) {
	if !cmd.Flags().Changed(name) {
		return body.Clearable[int64]{}, nil
	}
	if text == "none" {
		return body.Cleared[int64](), nil
	}
	n, err := parse(text)
	if err != nil || n < 1 {
		return body.Clearable[int64]{}, usagef("--%s %q is not allowed; use %s, or none", name, text, allowed)
	}
	return body.SetTo(n), nil
}

// parseSize reads bytes, with a unit of 1024 or without one.
func parseSize(text string) (int64, error) {
	digits := strings.TrimRight(text, "KMGTPiB ")
	units := map[string]uint{"": 0, "B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40, "PiB": 50}
	shift, known := units[strings.TrimSpace(text[len(digits):])]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err == nil && (!known || n < 0 || n > math.MaxInt64>>shift) {
		err = strconv.ErrRange
	}
	return n << shift, err
}

func (c *ctl) projectDelete() *cobra.Command {
	return matchFlag(&cobra.Command{
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
	})
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
		Use: "key PROJECT", Short: "Print the keys that open every backup of the project",
		Long: `Print the keys that open every backup of the project: the age key, and the app key that the keys of aes-256-cbc are derived from. age, ` + "`devflowctl\nartifact decrypt` and `devflowctl key derive`" + ` read the file as it is.
Keep it offline and apart from the storage. The export is written to the audit log.`,
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
			key := keyFile(k)
			if file != "" {
				if err := writeSecret(file, key); err != nil {
					return err
				}
				return c.done("the keys of project %s are in %s", k.Project, file)
			}
			if c.output == outputJSON {
				return c.show(k, nil)
			}
			_, err = fmt.Fprint(c.out, key)
			return err
		},
	}
	c.outFlag(cmd, &file, "", "write it to a new file of mode 0600 instead")
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
