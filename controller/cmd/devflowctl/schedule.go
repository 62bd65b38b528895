package main

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/client"
	"devflowbackup/shared/secret"
)

func (c *ctl) scheduleCommand() *cobra.Command {
	return c.group("schedule", "Backups that are made by themselves",
		c.scheduleCreate(), c.scheduleList(), c.scheduleShow(), c.scheduleEdit(), c.scheduleActivate(true), c.scheduleActivate(false), c.scheduleRun(),
		c.schedulePreview(), c.scheduleHistory(), c.scheduleDelete())
}

const scheduleHelp = `One of --hourly, --daily, --weekly, --monthly, --cron says when, on the clock of --timezone (UTC):

  --daily 02:00
  --hourly            at the full hour; --hourly=:15 at a quarter past
  --weekly sunday@02:00
  --monthly 31@02:00  on the last day of a month that is shorter
  --cron "15 3 * * mon-fri"

--keep says which backups stay: the newest of each of the last so many hours, days, weeks and months that have one, and all that are
younger than so many days. What it does not name is off.

  --keep daily=7,weekly=4,monthly=3,days=30`

// targetFlags say which databases of a project are covered.
type targetFlags struct {
	target        body.ScheduleTarget
	database      string
	all, fallback bool
}

func (t *targetFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&t.database, "database", "", "one database: its exact name, or its id")
	f.StringVar(&t.target.Server, "on", "", "server of the database, where its name alone is ambiguous")
	f.StringVar(&t.target.Instance, "instance", "", "instance of the database, likewise")
	f.StringVar(&t.target.Pattern, "pattern", "", "the databases whose names match, those found later too: * is any text, ? any one character")
	f.BoolVar(&t.all, "all", false, "all databases of the project, those found later too (this is so without any of these)")
	f.BoolVar(&t.fallback, "default", false, "the databases of the project that no other active schedule covers, those assigned later too")
	f.StringVar(&t.target.DatabaseType, "engine", "", "only databases of postgresql, mysql or sqlite")
}

func (t *targetFlags) read() (body.ScheduleTarget, error) {
	given := 0
	for _, is := range []bool{t.database != "", t.target.Pattern != "", t.all, t.fallback} {
		if is {
			given++
		}
	}
	if given > 1 {
		return t.target, usagef("--database, --pattern, --all and --default exclude each other")
	}
	switch {
	case t.all:
		t.target.Scope = controller.ScopeProject
	case t.fallback:
		t.target.Scope = controller.ScopeDefault
	case t.database != "":
		t.target.Scope = controller.ScopeDatabase
		if id, err := identifier("database", t.database); err == nil {
			t.target.DatabaseID = id
		} else {
			t.target.DatabaseName = t.database
		}
	}
	return t.target, nil
}

// scheduleFlags are what may be said of a schedule beside its databases.
type scheduleFlags struct {
	timing                           timingFlags
	spread, catchUp, keep            string
	storage, storageDisk, encryption string
	compression, verifyAfter         string
	level                            int
	maxDuration                      time.Duration
	notify                           bool
	pingFile                         string
}

func (s *scheduleFlags) add(cmd *cobra.Command) {
	s.timing.add(cmd)
	f := cmd.Flags()
	f.StringVar(&s.spread, "spread", "", "backups begin up to so much later, always by the same time: 15m, off or default (15m if it occurs once a day or more rarely)")
	f.StringVar(&s.catchUp, "catch-up", "", "after a downtime run the newest missed occurrence if it is not older: 6h, off or always (default always)")
	f.DurationVar(&s.maxDuration, "max-duration", 0, "fail a backup that takes longer (default 1h)")
	f.StringVar(&s.storage, "storage", "", "storage; the project's, else the installation's default if absent")
	f.StringVar(&s.storageDisk, "storage-disk", "", "s3 or local: the default storage of that kind; local is the database's own host")
	f.StringVar(&s.encryption, "encryption", "", "age, aes-256-cbc or none; the project's default if absent")
	f.StringVar(&s.compression, "compression", "", "zstd, gzip or none (default zstd)")
	f.IntVar(&s.level, "level", 0, "1 to 19 for zstd (default 3), 1 to 9 for gzip (default 6)")
	f.StringVar(&s.verifyAfter, "verify-after", "", "verify each backup once it is completed: none, checksum or content (default none)")
	f.StringVar(&s.keep, "keep", "", "which backups stay, such as daily=7,weekly=4,monthly=3,days=30 (this is the default; hourly=24 in place of days if it occurs several times a day)")
	f.BoolVar(&s.notify, "notify", true, "tell when a backup fails")
}

func (s *scheduleFlags) addPing(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.pingFile, "ping-url-file", "", "file with the URL of a dead-man switch, which is a secret: it is asked for with /start when a backup begins, as it is when one is completed, and with /fail when one failed")
}

// pingURL is what the file holds.
func (s *scheduleFlags) pingURL() (secret.String, error) {
	url, err := secret.LoadFile(s.pingFile)
	if err != nil {
		return "", usageError{err}
	}
	return url, nil
}

// options are what the flags say of a new schedule.
func (s *scheduleFlags) options(cmd *cobra.Command) (body.ScheduleOptions, error) {
	t, err := s.timing.read(cmd)
	if err != nil {
		return body.ScheduleOptions{}, err
	}
	if t == nil {
		return body.ScheduleOptions{}, usagef("when? Give one of --hourly, --daily, --weekly, --monthly, --cron")
	}
	o := body.ScheduleOptions{
		Frequency: t.Frequency, Time: t.Time, DayOfWeek: t.DayOfWeek, DayOfMonth: t.DayOfMonth, Cron: t.Cron, Timezone: s.timing.timezone,
		Storage: s.storage, StorageDisk: s.storageDisk, Encryption: s.encryption, Compression: s.compression, Level: s.level, VerifyAfter: s.verifyAfter,
		NotifyOnFailure: &s.notify,
	}
	if o.SpreadSeconds, err = offOr("spread", s.spread, "default"); err != nil {
		return o, err
	}
	if o.CatchUpSeconds, err = offOr("catch-up", s.catchUp, "always"); err != nil {
		return o, err
	}
	if o.MaxDurationSeconds, err = seconds("max-duration", s.maxDuration); err != nil {
		return o, err
	}
	if s.keep != "" {
		r, err := controller.ParseRetention(s.keep)
		if err != nil {
			return o, keepError(err)
		}
		o.RetentionDays, o.RetentionHourly, o.RetentionDaily, o.RetentionWeekly, o.RetentionMonthly = &r.Days, &r.Hourly, &r.Daily, &r.Weekly, &r.Monthly
	}
	return o, nil
}

// change is what the flags that were given say of a schedule that is there.
func (s *scheduleFlags) change(cmd *cobra.Command) (body.UpdateSchedule, error) {
	var u body.UpdateSchedule
	t, err := s.timing.read(cmd)
	if err != nil {
		return u, err
	}
	if t != nil {
		u.Frequency, u.DayOfWeek, u.DayOfMonth = &t.Frequency, t.DayOfWeek, t.DayOfMonth
		if t.Frequency == controller.FrequencyCron {
			u.Cron = &t.Cron
		} else {
			u.Time = &t.Time
		}
	}
	given := cmd.Flags().Changed
	for flag, set := range map[string]func(){
		"timezone": func() { u.Timezone = &s.timing.timezone }, "storage": func() { u.Storage = &s.storage }, "storage-disk": func() { u.StorageDisk = &s.storageDisk },
		"encryption": func() { u.Encryption, u.Encrypt = &s.encryption, body.Cleared[bool]() }, "compression": func() { u.Compression = &s.compression },
		"level": func() { u.Level = &s.level }, "verify-after": func() { u.VerifyAfter = &s.verifyAfter }, "notify": func() { u.NotifyOnFailure = &s.notify },
	} {
		if given(flag) {
			set()
		}
	}
	if given("spread") {
		u.SpreadSeconds.Given = true
		if u.SpreadSeconds.Value, err = offOr("spread", s.spread, "default"); err != nil {
			return u, err
		}
	}
	if given("catch-up") {
		u.CatchUpSeconds.Given = true
		if u.CatchUpSeconds.Value, err = offOr("catch-up", s.catchUp, "always"); err != nil {
			return u, err
		}
	}
	if given("max-duration") {
		n, err := seconds("max-duration", s.maxDuration)
		if err != nil {
			return u, err
		}
		u.MaxDurationSeconds = &n
	}
	if given("keep") {
		r, err := controller.ParseRetention(s.keep)
		if err != nil {
			return u, keepError(err)
		}
		u.RetentionDays, u.RetentionHourly, u.RetentionDaily, u.RetentionWeekly, u.RetentionMonthly = &r.Days, &r.Hourly, &r.Daily, &r.Weekly, &r.Monthly
	}
	return u, nil
}

func keepError(err error) error { return usagef("--keep: %w", err) }

// offOr reads a duration, or off, or the word for the default, which is nil.
func offOr(flag, text, otherwise string) (*int64, error) {
	switch text {
	case "", otherwise:
		return nil, nil
	case "off":
		return new(int64), nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return nil, usagef("--%s %q is not allowed; use a duration such as 15m, off or %s", flag, text, otherwise)
	}
	n, err := seconds(flag, d)
	return &n, err
}

func (c *ctl) scheduleCreate() *cobra.Command {
	var target targetFlags
	var flags scheduleFlags
	var inactive bool
	cmd := &cobra.Command{
		Use: "create PROJECT", Short: "Make a schedule of one database, of all of a project, or of those whose names match",
		Long: "Make a schedule and print when it occurs next.\n\n" + scheduleHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := target.read()
			if err != nil {
				return err
			}
			o, err := flags.options(cmd)
			if err != nil {
				return err
			}
			active := !inactive
			o.IsActive = &active
			if flags.pingFile != "" {
				if o.PingURL, err = flags.pingURL(); err != nil {
					return err
				}
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			s, err := cl.CreateSchedule(cmd.Context(), body.CreateSchedule{Project: args[0], ScheduleTarget: t, ScheduleOptions: o})
			if err != nil {
				return err
			}
			return c.show(s, scheduleFacts(s))
		},
	}
	target.add(cmd)
	flags.add(cmd)
	flags.addPing(cmd)
	cmd.Flags().BoolVar(&inactive, "inactive", false, "make it, but do not let it occur before it is activated")
	return cmd
}

func (c *ctl) schedulePreview() *cobra.Command {
	var target targetFlags
	var flags scheduleFlags
	cmd := &cobra.Command{
		Use: "preview", Short: "Print what a schedule would be; nothing is made",
		Long: "Print when a schedule would occur and what it would keep. Nothing is made.\n\n" + scheduleHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := target.read()
			if err != nil {
				return err
			}
			o, err := flags.options(cmd)
			if err != nil {
				return err
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			p, err := cl.PreviewSchedule(cmd.Context(), body.PreviewSchedule{ScheduleTarget: t, ScheduleOptions: o})
			if err != nil {
				return err
			}
			return c.show(p, func(t *rows) {
				t.fact("when", p.Label)
				t.fact("zone", p.Timezone)
				t.fact("spread", spreadWord(time.Duration(p.SpreadSeconds)*time.Second))
				t.fact("keeps", p.Keeps)
				zone := zoneOf(p.Timezone)
				t.section(inZone(zone, "NEXT", "UTC")...)
				for _, at := range p.NextFive {
					t.row(inZone(zone, local(at, zone), stamp(&at))...)
				}
			})
		},
	}
	target.add(cmd)
	flags.add(cmd)
	return cmd
}

func (c *ctl) scheduleEdit() *cobra.Command {
	var flags scheduleFlags
	var noPing bool
	cmd := c.on("schedule", "edit", "Change a schedule; what is not given stays", nil)
	cmd.Aliases = []string{"update"}
	cmd.Long = "Change a schedule and print when it occurs next. What is not given stays; an empty --storage, --storage-disk or --encryption is the project's default again.\n" +
		"What it covers never changes: make another one for that. A --keep that is shorter takes effect after 72 hours.\n\n" + scheduleHelp
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := identifier("schedule", args[0])
		if err != nil {
			return err
		}
		u, err := flags.change(cmd)
		if err != nil {
			return err
		}
		if noPing && flags.pingFile != "" {
			return usagef("--ping-url-file and --no-ping exclude each other")
		}
		if noPing {
			u.PingURL = new(secret.String)
		}
		if flags.pingFile != "" {
			url, err := flags.pingURL()
			if err != nil {
				return err
			}
			u.PingURL = &url
		}
		if u == (body.UpdateSchedule{}) {
			return usagef("change what? `devflowctl schedule edit --help` lists what can be changed")
		}
		cl, err := c.client()
		if err != nil {
			return err
		}
		s, err := cl.UpdateSchedule(cmd.Context(), id, u)
		if err != nil {
			return err
		}
		return c.show(s, scheduleFacts(s))
	}
	flags.add(cmd)
	flags.addPing(cmd)
	cmd.Flags().BoolVar(&noPing, "no-ping", false, "take the dead-man switch away")
	return matchFlag(cmd)
}

func (c *ctl) scheduleActivate(on bool) *cobra.Command {
	use, short := "activate", "Let a schedule occur; what it would have done before is not made up for"
	if !on {
		use, short = "deactivate", "Let a schedule occur no more, until it is activated"
	}
	return matchFlag(c.on("schedule", use, short, func(ctx context.Context, cl *client.Client, id int64) error {
		s, err := cl.UpdateSchedule(ctx, id, body.UpdateSchedule{IsActive: &on})
		if err != nil {
			return err
		}
		return c.show(s, scheduleFacts(s))
	}))
}

func (c *ctl) scheduleDelete() *cobra.Command {
	return matchFlag(c.on("schedule", "delete", "Delete a schedule; its backups stay", func(ctx context.Context, cl *client.Client, id int64) error {
		if err := cl.DeleteSchedule(ctx, id); err != nil {
			return err
		}
		return c.done("schedule %d is deleted; its backups stay until someone deletes them: `devflowctl backup list --schedule %d`", id, id)
	}))
}

func (c *ctl) scheduleRun() *cobra.Command {
	var wait bool
	cmd := c.on("schedule", "run", "Back up now what a schedule covers; its occurrences are not changed by it", func(ctx context.Context, cl *client.Client, id int64) error {
		outcomes, err := cl.RunSchedule(ctx, id)
		if err != nil {
			return err
		}
		return c.backedUp(ctx, cl, outcomes, wait)
	})
	waitFlags(cmd, &wait, false, "wait for the end, with progress")
	return cmd
}

func (c *ctl) scheduleShow() *cobra.Command {
	return c.on("schedule", "show", "Show one schedule, and when it occurs next", func(ctx context.Context, cl *client.Client, id int64) error {
		return showVersion(ctx, c, func(ctx context.Context) (body.Schedule, error) { return cl.Schedule(ctx, id) }, scheduleFacts)
	})
}

func (c *ctl) scheduleList() *cobra.Command {
	var f controller.ScheduleFilter
	var page pageFlags
	var active, inactive, watch bool
	cmd := &cobra.Command{
		Use: "list [PROJECT]", Short: "List schedules", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				f.Project = args[0]
			}
			if active && inactive {
				return usagef("--active and --inactive exclude each other")
			}
			if active || inactive {
				f.Active = &active
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			read := func() ([]body.Schedule, *int64, error) {
				return pages(page, func(after int64, n int) ([]body.Schedule, *int64, error) {
					q := f
					q.AfterID, q.Limit = after, n
					p, err := cl.Schedules(cmd.Context(), q)
					return p.Items, p.NextAfterID, err
				})
			}
			head := []string{"ID", "PROJECT", "COVERS", "WHEN", "STATE", "NEXT RUN", "LAST RUN", "KEEPS", "STORAGE"}
			if watch {
				return follow(cmd.Context(), c, cl, listWatch[body.Schedule]{
					project: f.Project, kinds: []string{controller.EventSchedule}, head: head, row: scheduleCells,
					read: func() ([]body.Schedule, error) { all, _, err := read(); return all, err },
					id:   func(s body.Schedule) int64 { return s.ID },
					state: func(s body.Schedule) string {
						return s.Version() + scheduleState(s) + stamp(s.NextRunAt) + stamp(s.LastRunAt)
					},
				})
			}
			all, next, err := read()
			if err != nil {
				return err
			}
			return c.show(all, func(t *rows) {
				t.head(head...)
				for _, s := range all {
					t.row(scheduleCells(s)...)
				}
				if next != nil {
					t.note("There may be more: --after %d", *next)
				}
			})
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.Project, "project", "", "only of a project")
	fl.StringVar(&f.Server, "on", "", "only of databases of a server")
	fl.StringVar(&f.Database, "database", "", "only of a database: its exact name, or its id")
	fl.StringVar(&f.Engine, "engine", "", "only of postgresql, mysql or sqlite")
	fl.StringVar(&f.Frequency, "frequency", "", "only hourly, daily, weekly, monthly or cron ones")
	fl.BoolVar(&active, "active", false, "only active ones")
	fl.BoolVar(&inactive, "inactive", false, "only those that are not active")
	fl.IntVar(&page.limit, "limit", 200, "how many")
	fl.BoolVar(&page.all, "all", false, "as many as there are")
	fl.Int64Var(&page.before, "after", 0, "only those that follow this one")
	watchFlag(cmd, &watch)
	return cmd
}

func scheduleCells(s body.Schedule) []string {
	return []string{
		number(s.ID), s.Project, covers(s), s.Label, scheduleState(s), ago(s.NextRunAt), ago(s.LastRunAt), s.Text(), cmp.Or(s.Storage, s.StorageDisk, "default"),
	}
}

func (c *ctl) scheduleHistory() *cobra.Command {
	var limit int
	var before string
	var every bool
	cmd := c.on("schedule", "history", "List what became of each occurrence, newest first: run, missed or skipped, and why", nil)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := identifier("schedule", args[0])
		if err != nil {
			return err
		}
		if limit < 1 {
			return usagef("--limit is a positive number")
		}
		var from time.Time
		if before != "" {
			if from, err = timeFlag("before", before); err != nil {
				return err
			}
		}
		cl, err := c.client()
		if err != nil {
			return err
		}
		if every {
			limit = math.MaxInt
		}
		all := []controller.ScheduleOccurrence{}
		next := &from
		for next != nil && len(all) < limit {
			p, err := cl.Occurrences(cmd.Context(), id, *next, min(limit-len(all), pageSize))
			if err != nil {
				return err
			}
			all = append(all, p.Items...)
			next = p.NextBefore
		}
		return c.show(all, func(t *rows) {
			t.head("AT", "STATE", "DATABASE", "SERVER", "BACKUP", "STATUS", "REASON")
			for _, o := range all {
				occurrenceRows(t, o)
			}
			if next != nil {
				t.note("There may be more: --before %s", next.UTC().Format(time.RFC3339))
			}
		})
	}
	cmd.Flags().IntVar(&limit, "limit", 50, "how many occurrences")
	cmd.Flags().BoolVar(&every, "all", false, "as many as there are")
	cmd.Flags().StringVar(&before, "before", "", "only those before a time, such as 2026-01-02T03:04")
	return cmd
}

// occurrenceRows are a line for each database that an occurrence covers, and one for an occurrence that covers none.
func occurrenceRows(t *rows, o controller.ScheduleOccurrence) {
	word := func(state string) string {
		if state == controller.OccurrenceRun && o.Late {
			return state + " (late)"
		}
		return state
	}
	if len(o.Databases) == 0 {
		t.row(stamp(&o.At), word(o.State), "", "", "", "", o.Reason)
	}
	for _, d := range o.Databases {
		backup := ""
		if d.BackupID != nil {
			backup = number(*d.BackupID)
		}
		t.row(stamp(&o.At), word(d.State), d.DatabaseName, d.Server, backup, d.Status, d.Reason)
	}
}

// covers says which databases a schedule is for.
func covers(s body.Schedule) string {
	var what string
	switch s.Scope {
	case controller.ScopeDatabase:
		return s.DatabaseName + " on " + s.Server
	case controller.ScopePattern:
		what = "databases " + s.Pattern
	case controller.ScopeDefault:
		what = "databases that no other schedule covers"
	default:
		what = "all databases"
	}
	if s.DatabaseType != "" {
		what += " of " + s.DatabaseType
	}
	return what
}

func scheduleState(s body.Schedule) string {
	switch {
	case s.Problem != "":
		return "cannot occur"
	case !s.IsActive:
		return "inactive"
	case s.PausedReason != "":
		return "paused"
	}
	return "active"
}

func scheduleFacts(s body.Schedule) func(*rows) {
	return func(t *rows) {
		t.fact("id", number(s.ID))
		t.fact("project", s.Project)
		t.fact("covers", covers(s))
		t.fact("when", s.Label)
		t.fact("zone", s.Timezone)
		t.fact("state", scheduleState(s))
		if s.Problem != "" {
			t.fact("problem", s.Problem)
		}
		if s.PausedReason != "" {
			t.fact("paused", pausedWord(s.PausedReason, s.PausedUntil))
		}
		t.fact("spread", spreadOf(s))
		t.fact("catch-up", catchUpWord(s.CatchUpSeconds))
		t.fact("at most", span(time.Duration(s.MaxDurationSeconds)*time.Second))
		t.fact("storage", cmp.Or(s.Storage, s.StorageDisk, "the project's default"))
		t.fact("codecs", fmt.Sprintf("%s (level %s), %s", s.Compression, levelWord(s.Level), encryptionWord(s.Encryption, s.Encrypt)))
		t.fact("verify after", s.VerifyAfter)
		t.fact("keeps", s.Keeps)
		if s.ShorterAt != nil {
			t.fact("shorter", "what it kept before is kept until "+stamp(s.ShorterAt))
		}
		t.fact("notify", yes(s.NotifyOnFailure))
		if s.PingHint != "" {
			t.fact("dead-man switch", s.PingHint)
		}
		t.fact("last run", stamp(s.LastRunAt))
		t.fact("next run", stamp(s.NextRunAt))
		t.fact("created", stamp(&s.CreatedAt))
		if len(s.NextFive) == 0 {
			return
		}
		zone := zoneOf(s.Timezone)
		t.section(inZone(zone, "NEXT", "UTC", "BEGINS")...)
		for _, o := range s.NextFive {
			t.row(inZone(zone, local(o.At, zone), stamp(&o.At), begins(o))...)
		}
		if !s.IsActive {
			t.note("It is not active: these are the times at which it would occur.")
		}
	}
}

// begins is when an occurrence's backups begin, where the spread moves that.
func begins(o controller.Occurrence) string {
	if o.Due.Equal(o.At) {
		return "then"
	}
	return o.Due.Sub(o.At).String() + " later"
}

func spreadOf(s body.Schedule) string {
	agenda, err := s.Agenda()
	if err != nil {
		return ""
	}
	return spreadWord(agenda.Spread())
}

func spreadWord(d time.Duration) string {
	if d == 0 {
		return "off"
	}
	return "up to " + d.String()
}

func catchUpWord(n *int64) string {
	switch {
	case n == nil:
		return "the newest missed one, whatever its age"
	case *n == 0:
		return "off"
	}
	return "the newest missed one, up to " + (time.Duration(*n) * time.Second).String() + " old"
}

func levelWord(n int) string {
	if n == 0 {
		return "default"
	}
	return number(int64(n))
}

func encryptionWord(encryption string, encrypt *bool) string {
	switch {
	case encryption != "":
		return encryption
	case encrypt == nil:
		return "encryption by the project's default"
	case *encrypt:
		return "encrypted, by the project's default or else aes-256-cbc"
	}
	return "not encrypted"
}

func pausedWord(reason string, until *time.Time) string {
	if until == nil {
		return "until it is ended: " + reason
	}
	return "until " + stamp(until) + ": " + reason
}

// zoneOf is a zone for showing times in; UTC where this machine does not know it.
func zoneOf(name string) *time.Location {
	zone, err := controller.LoadZone(name)
	if err != nil {
		return time.UTC
	}
	return zone
}

// inZone leaves the second cell, in UTC, out where the first one is that already.
func inZone(zone *time.Location, cells ...string) []string {
	if zone == time.UTC {
		return slices.Delete(cells, 1, 2)
	}
	return cells
}

func local(at time.Time, zone *time.Location) string {
	return strings.TrimSpace(at.In(zone).Format("Mon 2006-01-02 15:04:05 MST"))
}
