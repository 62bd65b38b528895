package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/client"
	"devflowbackup/shared/wire"
)

func (c *ctl) backupCommand() *cobra.Command {
	return c.group("backup", "Backups", c.backupCreate(), c.backupList(), c.backupShow(), c.backupVerify(), c.backupCancel(),
		c.backupRetry(),
		c.backupDelete(), c.backupUndelete(), c.backupHold(), c.backupRelease(), c.backupCleanup(), c.backupDownload(), c.backupManifest(), c.backupLog())
}

func (c *ctl) backupCreate() *cobra.Command {
	var in body.CreateBackups
	var maxDuration time.Duration
	var wait, encrypt, plain bool
	cmd := &cobra.Command{
		Use: "create [PROJECT]", Short: "Back up a project's databases, or those of all projects",
		Long: `Back up each database that is assigned to the project, once; without a project, those of all projects.

Prints a line for each database, and totals. Fails if any of them failed; with status 3 if there is nothing to back up.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			if len(args) == 1 {
				if in.Project = args[0]; in.Project == "" {
					return usagef("the project is empty")
				}
			}
			if cmd.Flags().Changed("level") && in.Level == 0 {
				return usagef("--level 0 is not allowed; use 1 to 19 with zstd, 1 to 9 with gzip")
			}
			said := cmd.Flags().Changed("encrypt")
			if said && plain || (said || plain) && in.Encryption != "" {
				return usagef("--encrypt, --no-encrypt and --encryption exclude each other")
			}
			if said || plain {
				in.Encrypt = &encrypt
			}
			if in.MaxDurationSeconds, err = seconds("max-duration", maxDuration); err != nil {
				return err
			}
			outcomes, err := cl.CreateBackups(cmd.Context(), in)
			if err != nil {
				return err
			}
			return c.backedUp(cmd.Context(), cl, outcomes, wait)
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.Database, "database", "", "only this database: its exact name, or its id")
	f.StringVar(&in.Server, "on", "", "server of the database, where its name alone is ambiguous")
	f.StringVar(&in.Instance, "instance", "", "instance of the database, likewise")
	f.StringVar(&in.Type, "type", "", "manual, scheduled or pre_deploy (default manual)")
	f.StringVar(&in.Storage, "storage", "", "storage; the project's, else the installation's default if absent")
	f.StringVar(&in.StorageDisk, "storage-disk", "", "s3 or local: the default storage of that kind; local is the database's own host")
	f.StringVar(&in.Encryption, "encryption", "", "age, aes-256-cbc or none; the project's default if absent")
	f.BoolVar(&encrypt, "encrypt", false, "encrypt as the project does by default, or by aes-256-cbc if that is not at all")
	f.BoolVar(&plain, "no-encrypt", false, "the same as --encryption none")
	f.StringVar(&in.Compression, "compression", "", "zstd, gzip or none (default zstd)")
	f.IntVar(&in.Level, "level", 0, "1 to 19 for zstd (default 3), 1 to 9 for gzip (default 6)")
	f.DurationVar(&maxDuration, "max-duration", 0, "fail a backup that takes longer (default 1h)")
	f.StringVar(&in.VerifyAfter, "verify-after", "", "verify each backup once it is completed: none, checksum or content (default none)")
	waitFlags(cmd, &wait, false, "wait for the end, with progress")
	return cmd
}

// backupTotals sum up what a create came to.
type backupTotals struct {
	Databases   int   `json:"databases"`
	Completed   int   `json:"completed"`
	Failed      int   `json:"failed"`
	Open        int   `json:"open"`
	RawBytes    int64 `json:"raw_bytes"`
	StoredBytes int64 `json:"stored_bytes"`
	Millis      int64 `json:"duration_ms"`
}

// backedUp waits if it shall, prints a line for each database and totals, and fails if any failed.
func (c *ctl) backedUp(ctx context.Context, cl *client.Client, outcomes []body.BackupOutcome, wait bool) error {
	start := time.Now()
	var waitErr error
	if wait {
		var jobs []*watched
		for i := range outcomes {
			if b := outcomes[i].Backup; b != nil {
				jobs = append(jobs, watchBackup(cl, b))
			}
		}
		waitErr = c.wait(ctx, cl, jobs)
	}
	totals := backupTotals{Databases: len(outcomes), Millis: time.Since(start).Milliseconds()}
	for _, o := range outcomes {
		switch {
		case o.Error != nil || o.Backup.Status == controller.StatusFailed:
			totals.Failed++
		case o.Backup.Status == controller.StatusCompleted:
			totals.Completed++
			totals.RawBytes += value(o.Backup.RawSize)
			totals.StoredBytes += value(o.Backup.FileSize)
		default:
			totals.Open++
		}
	}
	answer := struct {
		Items  []body.BackupOutcome `json:"items"`
		Totals backupTotals         `json:"totals"`
	}{outcomes, totals}
	err := c.show(answer, func(t *rows) {
		t.head("BACKUP", "PROJECT", "DATABASE", "SERVER", "STATUS", "RAW", "STORED", "TIME", "SHA-256")
		for _, o := range outcomes {
			outcomeRow(t, o)
		}
		for _, o := range outcomes {
			outcomeNote(t, o)
		}
		t.note("%s", totals.sentence(wait))
	})
	switch {
	case err != nil:
		return err
	case waitErr != nil:
		return waitErr
	case totals.Failed > 0:
		return fmt.Errorf("%s of %d failed", plural(totals.Failed, "backup"), totals.Databases)
	}
	return nil
}

func (s backupTotals) sentence(waited bool) string {
	parts := []string{plural(s.Databases, "database")}
	if s.Completed > 0 {
		parts = append(parts, fmt.Sprintf("%d completed", s.Completed))
	}
	if s.Failed > 0 {
		parts = append(parts, fmt.Sprintf("%d failed", s.Failed))
	}
	if s.Open > 0 {
		word := "queued"
		if waited {
			word = "not ended"
		}
		parts = append(parts, fmt.Sprintf("%d %s", s.Open, word))
	}
	line := strings.Join(parts, ", ")
	if s.Completed > 0 {
		line += fmt.Sprintf(", %s in %s stored, in %s", size(s.RawBytes), size(s.StoredBytes), span(time.Duration(s.Millis)*time.Millisecond))
	}
	return line
}

func outcomeRow(t *rows, o body.BackupOutcome) {
	if o.Backup == nil {
		t.row("", "", o.Database, o.Server, "refused", "", "", "", "")
		return
	}
	b := o.Backup
	t.row(number(b.ID), b.Project, b.DatabaseName, b.Server, backupState(*b), sizeOf(b.RawSize), sizeOf(b.FileSize), between(b.StartedAt, b.CompletedAt), short(text(b.Checksum)))
}

func outcomeNote(t *rows, o body.BackupOutcome) {
	switch {
	case o.Error != nil:
		t.note("%s: %s", o.Database, withHint(o.Error.Detail, o.Error.Hint))
	case o.Backup.Status == controller.StatusFailed:
		t.note("%s: %s", o.Database, failureOf(*o.Backup))
	}
}

func withHint(message, hint string) string {
	if hint == "" {
		return message
	}
	return message + " (" + hint + ")"
}

func failureOf(b controller.Backup) string {
	return "[" + text(b.ErrorCode) + "] " + withHint(text(b.ErrorMessage), text(b.ErrorHint))
}

func value(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}

// short is enough of a checksum to compare by eye.
func short(sum string) string {
	if len(sum) > 12 {
		return sum[:12]
	}
	return sum
}

// watchBackup follows a backup; b is the newest that is known of it.
func watchBackup(cl *client.Client, b *controller.Backup) *watched {
	id := b.ID
	return &watched{
		name: b.DatabaseName, cancel: fmt.Sprintf("devflowctl backup cancel %d", id),
		about: func(e controller.Event) bool {
			switch e.Kind {
			case controller.EventBackup:
				return eventRow(e) == id
			case controller.EventJob, controller.EventProgress:
				return max(e.JobID, eventRow(e)) == b.JobID
			}
			return false
		},
		poll: func(ctx context.Context) (jobState, error) {
			now, err := cl.Backup(ctx, id)
			if err != nil {
				return jobState{}, err
			}
			*b = now
			ended := now.Status == controller.StatusCompleted || now.Status == controller.StatusFailed
			return jobState{ended: ended, status: now.JobStatus, waiting: now.Waiting, progress: now.Progress}, nil
		},
	}
}

// backupState is status, health and verification in a word or two.
func backupState(b controller.Backup) string {
	switch {
	case b.PurgedAt != nil:
		return "purged"
	case b.DeletedAt != nil && b.Health == controller.HealthDeleting:
		return "deleting"
	case b.DeletedAt != nil:
		return "deleted"
	case b.Status == controller.StatusCompleted && b.Health != controller.HealthOK:
		return b.Health
	case b.Status == controller.StatusFailed && b.JobStatus == controller.JobCancelled:
		return "cancelled"
	case b.Status == controller.StatusRunning && b.JobStatus == controller.JobFinishing:
		return "finishing"
	}
	return b.Status
}

func (c *ctl) backupList() *cobra.Command {
	var f controller.BackupFilter
	var made betweenFlags
	var page pageFlags
	var verified, unverified, held, watch, ascending bool
	cmd := &cobra.Command{
		Use: "list [PROJECT]", Short: "List backups, newest first", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				f.Project = args[0]
			}
			if verified && unverified {
				return usagef("--verified and --unverified exclude each other")
			}
			if verified || unverified {
				f.Verified = &verified
			}
			if cmd.Flags().Changed("held") {
				f.Held = &held
			}
			var err error
			if f.Between, err = made.read(); err != nil {
				return err
			}
			f.Ascending = ascending
			sorted := f.Sort != "" || ascending
			if sorted && (watch || page.before != 0) {
				return usagef("--sort and --ascending go neither with --watch nor with --before")
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			read := func() ([]controller.Backup, *int64, error) {
				if sorted {
					all, err := sortedBackups(cmd.Context(), cl, f, page)
					return all, nil, err
				}
				return pages(page, func(before int64, n int) ([]controller.Backup, *int64, error) {
					q := f
					q.BeforeID, q.Limit = before, n
					p, err := cl.Backups(cmd.Context(), q)
					return p.Items, p.NextBeforeID, err
				})
			}
			head := []string{"ID", "PROJECT", "DATABASE", "SERVER", "TYPE", "STATUS", "STORED", "VERIFIED", "STORAGE", "CREATED"}
			if watch {
				return follow(cmd.Context(), c, cl, listWatch[controller.Backup]{
					project: f.Project, kinds: []string{controller.EventBackup}, head: head, row: backupCells,
					read: func() ([]controller.Backup, error) { all, _, err := read(); return all, err },
					id:   func(b controller.Backup) int64 { return b.ID },
					state: func(b controller.Backup) string {
						return strings.Join([]string{b.Status, backupState(b), stamp(b.VerifiedAt), stamp(b.HeldAt), stamp(b.DeletedAt)}, "|")
					},
				})
			}
			all, next, err := read()
			if err != nil {
				return err
			}
			return c.show(all, func(t *rows) {
				t.head(head...)
				for _, b := range all {
					t.row(backupCells(b)...)
				}
				more(t, next)
			})
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.Project, "project", "", "only of a project")
	fl.StringVar(&f.Database, "database", "", "only of a database: its exact name, or its id")
	fl.StringVar(&f.Server, "on", "", "only of a server")
	fl.StringVar(&f.Engine, "engine", "", "only of postgresql, mysql or sqlite")
	fl.StringVar(&f.Storage, "storage", "", "only on a storage")
	fl.StringVar(&f.Status, "status", "", "only pending, running, completed or failed ones")
	fl.StringVar(&f.Type, "type", "", "only manual, scheduled, pre_deploy or pre_restore ones")
	fl.StringVar(&f.Health, "health", "", "only ok, missing, corrupt, archived or deleting ones")
	fl.BoolVar(&verified, "verified", false, "only verified ones")
	fl.BoolVar(&unverified, "unverified", false, "only those that are not verified")
	fl.Int64Var(&f.Schedule, "schedule", 0, "only those of a schedule")
	fl.BoolVar(&held, "held", false, "only held ones; --held=false: only those that are not")
	fl.BoolVar(&f.Deleted, "deleted", false, "deleted ones too")
	fl.StringVar(&f.Sort, "sort", "", "by created, size or duration, the largest first; the last two within a project or a database")
	fl.BoolVar(&ascending, "ascending", false, "the other way round")
	made.add(cmd)
	page.add(cmd)
	watchFlag(cmd, &watch)
	return cmd
}

// sortedBackups are the first ones of an order; it is known of the first 10000.
func sortedBackups(ctx context.Context, cl *client.Client, f controller.BackupFilter, page pageFlags) ([]controller.Backup, error) {
	most, err := page.most()
	if err != nil {
		return nil, err
	}
	const each = 100
	all := []controller.Backup{}
	for f.Page = 1; ; f.Page++ {
		f.PerPage = each
		p, err := cl.Backups(ctx, f)
		if err != nil {
			return nil, err
		}
		if all = append(all, p.Items...); len(all) >= most || len(p.Items) < each || f.Page >= p.LastPage {
			return all[:min(len(all), most)], nil
		}
	}
}

func backupCells(b controller.Backup) []string {
	return []string{
		number(b.ID), b.Project, b.DatabaseName, b.Server, b.Type, backupState(b), sizeOf(b.FileSize), verifiedWord(b), storageWord(b), ago(&b.CreatedAt),
	}
}

func verifiedWord(b controller.Backup) string {
	if b.VerifiedAt == nil {
		return "no"
	}
	word := text(b.VerifiedLevel)
	if b.VerifiedByHost {
		word += " (by its own host)"
	}
	return word + ", " + ago(b.VerifiedAt)
}

// storageWord names the storage, and says so where it is no other host than the database's.
func storageWord(b controller.Backup) string {
	if b.StorageDisk == controller.StorageLocal && b.Storage != "" {
		return b.Storage + sameHost
	}
	return b.Storage
}

// sameHost follows the name of a storage that is lost with the database's host.
const sameHost = " (local, same host)"

func backupFacts(b controller.Backup) func(*rows) {
	return func(t *rows) {
		t.fact("id", number(b.ID))
		t.fact("project", b.Project)
		t.fact("database", b.DatabaseName)
		t.fact("engine", b.DatabaseType)
		t.fact("server", b.Server+" / "+b.Instance)
		t.fact("type", b.Type)
		if b.ScheduleID != nil {
			t.fact("schedule", scheduledWord(b))
		}
		if b.RetryOf != nil {
			t.fact("retry of", number(*b.RetryOf))
		}
		t.fact("status", backupState(b))
		if b.HealthReason != "" {
			t.fact("because", b.HealthReason)
		}
		if open := b.CompletedAt == nil && b.ErrorCode == nil; b.Waiting != "" && (open || b.Health == controller.HealthDeleting) {
			t.fact("waits", b.Waiting)
		}
		if b.Progress != nil {
			t.fact("progress", describeProgress(*b.Progress, 0))
		}
		if b.Status == controller.StatusFailed {
			t.fact("error", failureOf(b))
		}
		t.fact("verified", verifiedWord(b))
		if open := b.CompletedAt == nil && b.ErrorCode == nil; open && b.VerifyAfter != "" && b.VerifyAfter != controller.VerifyNone {
			t.fact("then", "it is verified by "+b.VerifyAfter)
		}
		if b.HeldAt != nil {
			t.fact("held", fmt.Sprintf("since %s by %s: %s", stamp(b.HeldAt), b.HeldBy, b.HoldReason))
		}
		if b.LockedUntil != nil {
			t.fact("locked", "its storage refuses to delete it until "+stamp(b.LockedUntil))
		}
		t.fact("codecs", strings.TrimSpace(fmt.Sprintf("%s (level %d), %s", b.Compression, b.Level, b.Encryption)))
		if b.StorageDisk == controller.StorageLocal {
			t.note("warning: this backup lies on the same host as the database, and is lost with it")
		}
		if b.Encryption == controller.EncryptionNone {
			t.note("warning: this backup is not encrypted")
		}
		t.fact("storage", storageWord(b))
		t.fact("file", b.FilePath)
		t.fact("size", sizeOf(b.FileSize)+" stored, "+sizeOf(b.RawSize)+" raw")
		t.fact("sha-256", text(b.Checksum))
		t.fact("raw sha-256", text(b.RawChecksum))
		t.fact("created", stamp(&b.CreatedAt))
		t.fact("started", stamp(b.StartedAt))
		t.fact("completed", stamp(b.CompletedAt))
		t.fact("took", between(b.StartedAt, b.CompletedAt))
		t.fact("job", fmt.Sprintf("%d, attempt %d", b.JobID, b.Attempt))
		if b.DeletedAt != nil {
			t.fact("deleted", stamp(b.DeletedAt)+" "+text(b.DeleteReason))
			t.fact("removed after", stamp(b.DeleteAfter))
		}
		if b.PurgedAt != nil {
			t.fact("seen gone", stamp(b.PurgedAt))
		}
	}
}

// scheduledWord is the schedule, and the occurrence where it is one's.
func scheduledWord(b controller.Backup) string {
	word := number(*b.ScheduleID)
	if b.OccurrenceAt != nil {
		word += ", of " + stamp(b.OccurrenceAt)
	}
	return word
}

// on is a command that takes the id of a backup, a restore or a job.
func (c *ctl) on(what, use, short string, run func(ctx context.Context, cl *client.Client, id int64) error) *cobra.Command {
	return &cobra.Command{
		Use: use + " " + strings.ToUpper(what), Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := identifier(what, args[0])
			if err != nil {
				return err
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			return run(cmd.Context(), cl, id)
		},
	}
}

func (c *ctl) backupShow() *cobra.Command {
	return c.on("backup", "show", "Show one backup", func(ctx context.Context, cl *client.Client, id int64) error {
		b, err := cl.Backup(ctx, id)
		if err != nil {
			return err
		}
		return c.show(b, backupFacts(b))
	})
}

func (c *ctl) backupCancel() *cobra.Command {
	var reason string
	cmd := c.on("backup", "cancel", "Stop a backup", func(ctx context.Context, cl *client.Client, id int64) error {
		j, err := cl.CancelBackup(ctx, id, reason)
		if err != nil {
			return err
		}
		return c.cancelled(j)
	})
	cmd.Flags().StringVar(&reason, "reason", "", "for the audit log")
	return cmd
}

func (c *ctl) cancelled(j controller.Job) error {
	if j.Status == controller.JobCancelled {
		return c.done("job %d is cancelled", j.ID)
	}
	return c.done("job %d is told to stop", j.ID)
}

func (c *ctl) backupDelete() *cobra.Command {
	var in body.DeleteBackup
	var grace time.Duration
	cmd := c.on("backup", "delete", "Delete a backup; it can be taken back until its grace has passed", nil)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := identifier("backup", args[0])
		if err != nil {
			return err
		}
		cl, err := c.client()
		if err != nil {
			return err
		}
		if cmd.Flags().Changed("grace") {
			n, err := seconds("grace", grace)
			if err != nil {
				return err
			}
			in.GraceSeconds = &n
		}
		b, err := cl.DeleteBackup(cmd.Context(), id, in)
		if err != nil {
			return err
		}
		if b.PurgedAt != nil {
			return c.done("backup %d is gone", id)
		}
		return c.done("backup %d is deleted, and removed from its storage %s; until then `devflowctl backup undelete %d` takes it back", id, ago(b.DeleteAfter), id)
	}
	f := cmd.Flags()
	f.StringVar(&in.Reason, "reason", "", "for the audit log")
	f.DurationVar(&grace, "grace", 0, "how long it can be taken back; the installation's grace if absent")
	f.StringVar(&in.Confirm, "confirm", "", "the database's name, asked for where this is its last good backup")
	return cmd
}

func (c *ctl) backupUndelete() *cobra.Command {
	return c.on("backup", "undelete", "Take a deletion back", func(ctx context.Context, cl *client.Client, id int64) error {
		b, err := cl.UndeleteBackup(ctx, id)
		if err != nil {
			return err
		}
		return c.show(b, backupFacts(b))
	})
}

func (c *ctl) backupManifest() *cobra.Command {
	return c.on("backup", "manifest", "Print the signed manifest, as it lies beside the artifact", func(ctx context.Context, cl *client.Client, id int64) error {
		m, err := cl.BackupManifest(ctx, id)
		if err != nil {
			return err
		}
		_, err = c.out.Write(m)
		return err
	})
}

func (c *ctl) backupLog() *cobra.Command {
	return c.on("backup", "log", "Print the log of each attempt", func(ctx context.Context, cl *client.Client, id int64) error {
		j, err := cl.BackupLog(ctx, id)
		if err != nil {
			return err
		}
		return c.showJob(j)
	})
}

func (c *ctl) backupVerify() *cobra.Command {
	var in body.CreateVerifications
	var wait bool
	cmd := &cobra.Command{
		Use: "verify [BACKUP]", Short: "Verify a backup, all that are not verified yet, or all of a project",
		Long: `Read the stored backup again and hold it against its manifest.

  checksum  the stored bytes are those that were written; needs no key
  content   they also open, decompress and are a whole dump; runs on a server marked verifier, or on the backup's own host`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			given := len(args)
			if in.All {
				given++
			}
			if in.Project != "" {
				given++
			}
			if given != 1 {
				return usagef("verify what? Give one of: a backup's id, --all, --project PROJECT")
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			var jobs []controller.Job
			if len(args) == 1 {
				id, err := identifier("backup", args[0])
				if err != nil {
					return err
				}
				j, err := cl.VerifyBackup(cmd.Context(), id, in.Level)
				if err != nil {
					return err
				}
				jobs = []controller.Job{j}
			} else if jobs, err = cl.VerifyBackups(cmd.Context(), in); err != nil {
				return err
			}
			return c.verified(cmd.Context(), cl, jobs, wait)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&in.All, "all", false, "all completed backups that are not verified yet")
	f.StringVar(&in.Project, "project", "", "all completed backups of a project")
	f.StringVar(&in.Level, "level", "", "checksum or content (default checksum)")
	waitFlags(cmd, &wait, true, "wait for the end, with progress; --wait=false does not")
	return cmd
}

func (c *ctl) verified(ctx context.Context, cl *client.Client, jobs []controller.Job, wait bool) error {
	var waitErr error
	if wait {
		list := make([]*watched, len(jobs))
		for i := range jobs {
			list[i] = watchJob(cl, &jobs[i], fmt.Sprintf("%s (backup %d)", jobs[i].DatabaseName, jobs[i].BackupID))
		}
		waitErr = c.wait(ctx, cl, list)
	}
	failed := 0
	for _, j := range jobs {
		if controller.JobTerminal(j.Status) && j.Status != controller.JobCompleted {
			failed++
		}
	}
	err := c.show(jobs, func(t *rows) {
		t.head("BACKUP", "PROJECT", "DATABASE", "LEVEL", "RESULT", "BY", "TIME")
		for _, j := range jobs {
			t.row(number(j.BackupID), j.Project, j.DatabaseName, text(j.Level), verifyWord(j), j.Server, between(j.StartedAt, j.EndedAt))
		}
		for _, j := range jobs {
			if j.Failure != nil {
				t.note("%s, backup %d: %s", j.DatabaseName, j.BackupID, failureLine(j.Failure))
			}
		}
		if len(jobs) == 0 {
			t.note("nothing is left to verify")
		} else {
			t.note("%s, %d failed", plural(len(jobs), "verification"), failed)
		}
	})
	switch {
	case err != nil:
		return err
	case waitErr != nil:
		return waitErr
	case failed > 0:
		return fmt.Errorf("%s of %d failed", plural(failed, "verification"), len(jobs))
	}
	return nil
}

func verifyWord(j controller.Job) string {
	if j.Status == controller.JobCompleted {
		return "ok"
	}
	return j.Status
}

func failureLine(f *wire.Failure) string {
	return "[" + f.Code + "] " + withHint(f.Message, f.Hint)
}

// watchJob follows a job; j is the newest that is known of it.
func watchJob(cl *client.Client, j *controller.Job, name string) *watched {
	id := j.ID
	return &watched{
		name: name, cancel: fmt.Sprintf("devflowctl job cancel %d", id),
		about: func(e controller.Event) bool {
			return (e.Kind == controller.EventJob || e.Kind == controller.EventProgress) && max(e.JobID, eventRow(e)) == id
		},
		poll: func(ctx context.Context) (jobState, error) {
			now, err := cl.Job(ctx, id)
			if err != nil {
				return jobState{}, err
			}
			*j = now
			return jobState{ended: controller.JobTerminal(now.Status), status: now.Status, waiting: now.Waiting, progress: now.Progress}, nil
		},
	}
}

func (c *ctl) jobCommand() *cobra.Command {
	show := c.on("job", "show", "Show one job, with the log of each attempt", func(ctx context.Context, cl *client.Client, id int64) error {
		j, err := cl.Job(ctx, id)
		if err != nil {
			return err
		}
		return c.showJob(j)
	})
	var reason string
	cancel := c.on("job", "cancel", "Stop a job", func(ctx context.Context, cl *client.Client, id int64) error {
		j, err := cl.CancelJob(ctx, id, reason)
		if err != nil {
			return err
		}
		return c.cancelled(j)
	})
	cancel.Flags().StringVar(&reason, "reason", "", "for the audit log")
	return c.group("job", "Single executions", c.jobList(), show, cancel)
}

func (c *ctl) jobList() *cobra.Command {
	var f controller.JobFilter
	var page pageFlags
	var watch bool
	cmd := &cobra.Command{
		Use: "list [PROJECT]", Short: "List executions, newest first", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				f.Project = args[0]
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			read := func() ([]controller.Job, *int64, error) {
				return pages(page, func(before int64, n int) ([]controller.Job, *int64, error) {
					q := f
					q.BeforeID, q.Limit = before, n
					p, err := cl.Jobs(cmd.Context(), q)
					return p.Items, p.NextBeforeID, err
				})
			}
			head := []string{"ID", "KIND", "BACKUP", "PROJECT", "DATABASE", "SERVER", "STATUS", "ATTEMPT", "WAITS", "TIME", "BY", "CREATED"}
			if watch {
				return follow(cmd.Context(), c, cl, listWatch[controller.Job]{
					project: f.Project, kinds: []string{controller.EventJob}, head: head, row: jobCells,
					read:  func() ([]controller.Job, error) { all, _, err := read(); return all, err },
					id:    func(j controller.Job) int64 { return j.ID },
					state: func(j controller.Job) string { return fmt.Sprint(j.Status, j.AttemptNo, j.Waiting) },
				})
			}
			all, next, err := read()
			if err != nil {
				return err
			}
			return c.show(all, func(t *rows) {
				t.head(head...)
				for _, j := range all {
					t.row(jobCells(j)...)
				}
				more(t, next)
			})
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.Project, "project", "", "only of a project")
	fl.StringVar(&f.Server, "on", "", "only of a server")
	fl.StringVar(&f.Kind, "kind", "", "only of a kind, such as "+strings.Join(controller.JobKinds, ", "))
	fl.StringVar(&f.Status, "status", "", "only of a status; open are those that have not ended")
	fl.Int64Var(&f.Backup, "backup", 0, "only those of a backup")
	fl.Int64Var(&f.Restore, "restore", 0, "only those of a restore")
	page.add(cmd)
	watchFlag(cmd, &watch)
	return cmd
}

func jobCells(j controller.Job) []string {
	return []string{
		number(j.ID), j.Kind, number(j.BackupID), j.Project, j.DatabaseName, j.Server, j.Status, fmt.Sprintf("%d of %d", j.AttemptNo, j.MaxAttempts), j.Waiting, between(j.StartedAt, j.EndedAt), j.CreatedBy, ago(&j.CreatedAt),
	}
}

func (c *ctl) showJob(j controller.Job) error {
	if err := c.show(j, func(t *rows) {
		t.fact("job", number(j.ID))
		t.fact("kind", j.Kind)
		t.fact("status", j.Status)
		t.fact("server", j.Server)
		t.fact("backup", number(j.BackupID)+", "+j.Project+": "+j.DatabaseName)
		t.fact("waits", j.Waiting)
		t.fact("attempt", fmt.Sprintf("%d of %d", j.AttemptNo, j.MaxAttempts))
		t.fact("started", stamp(j.StartedAt))
		t.fact("ended", stamp(j.EndedAt))
		if j.Failure != nil {
			t.fact("error", failureLine(j.Failure))
		}
	}); err != nil || c.output == outputJSON {
		return err
	}
	var errs []error
	for _, a := range j.Attempts {
		_, err := fmt.Fprintf(c.out, "\nattempt %d: %s, %s\n", a.No, clean(a.Status), between(&a.CreatedAt, a.EndedAt))
		errs = append(errs, err)
		if a.Failure != nil {
			_, err = fmt.Fprintln(c.out, clean(failureLine(a.Failure)))
			errs = append(errs, err)
		}
		if a.Log != "" {
			_, err = fmt.Fprintln(c.out, cleanLines(a.Log))
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
