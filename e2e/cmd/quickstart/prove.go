package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"devflowbackup/e2e/stack"
)

// prove backs up, verifies, restores and recovers, and compares after each step.
func (d *demo) prove(ctx context.Context) error {
	d.story.chapter("Back each of them up to S3 and to its own host: each backup one stream from the dump tool, codecs of one's choice")
	if err := d.each(ctx, d.backUp); err != nil {
		return err
	}
	d.story.chapter("Verify: read the stored bytes, then decrypt, decompress and read the whole dump")
	if err := d.each(ctx, d.verify); err != nil {
		return err
	}
	d.story.chapter("Restore each backup into a new database, by accounts that may do no more than that")
	if err := d.each(ctx, d.restore); err != nil {
		return err
	}
	if err := d.inPlace(ctx); err != nil {
		return err
	}
	return d.recoverByHand(ctx)
}

func (d *demo) backUp(ctx context.Context, st *story, t *trip) error {
	var out struct {
		Items []struct{ Backup struct{ ID int64 } }
	}
	var err error
	t.took.backup, err = d.read(ctx, st, &out, "backup", "create", project, "--database", t.name(), "--storage", storages[t.disk],
		"--compression", t.compression, "--encryption", t.encryption, "--wait")
	if err != nil {
		return err
	}
	if len(out.Items) != 1 {
		return fmt.Errorf("back up %s: %d backups were made", t.word, len(out.Items))
	}
	if t.backup, err = d.client.Backup(ctx, out.Items[0].Backup.ID); err != nil {
		return err
	}
	b := t.backup
	if b.Status != "completed" {
		return fmt.Errorf("backup %d is %s, not completed", b.ID, b.Status)
	}
	// What the catalog says is compared with what was stored.
	sum, stored, err := d.stored(ctx, t, os.DevNull)
	if err != nil {
		return err
	}
	if stored != b.FileSize || sum != b.Checksum {
		return fmt.Errorf("backup %d has %d bytes with SHA-256 %s in the catalog and %d with %s %s", b.ID, b.FileSize, b.Checksum, stored, sum, t.where())
	}
	st.note("backup %d: %s of a dump of %s, SHA-256 %s… in the catalog and %s", b.ID, size(b.FileSize), size(b.RawSize), sum[:12], t.where())
	return nil
}

func (d *demo) verify(ctx context.Context, st *story, t *trip) error {
	began := time.Now()
	for _, level := range []string{"checksum", "content"} {
		if _, err := d.read(ctx, st, new(any), "backup", "verify", strconv.FormatInt(t.backup.ID, 10), "--level", level, "--wait"); err != nil {
			return err
		}
		b, err := d.client.Backup(ctx, t.backup.ID)
		if err != nil {
			return err
		}
		if b.Health != "ok" || b.VerifiedAt == nil || b.VerifiedLevel != level {
			return fmt.Errorf("backup %d is not verified by %s: health %q, level %q", b.ID, level, b.Health, b.VerifiedLevel)
		}
	}
	t.took.verify = time.Since(began)
	st.note("backup %d: the stored %s are right, and the dump of %s in them is whole", t.backup.ID, size(t.backup.FileSize), size(t.backup.RawSize))
	return nil
}

func (d *demo) restore(ctx context.Context, st *story, t *trip) error {
	var r struct {
		DatabaseName string `json:"database_name"`
		Status       string
		Result       struct {
			Tables, Rows int64
			Compared     bool
		}
	}
	var err error
	t.took.restore, err = d.read(ctx, st, &r, "restore", "create", strconv.FormatInt(t.backup.ID, 10), "--to-database", t.restored(), "--wait")
	if err != nil {
		return err
	}
	if r.DatabaseName != t.restored() || r.Status != "completed" {
		return fmt.Errorf("the restore of backup %d is not completed: %+v", t.backup.ID, r)
	}
	if !r.Result.Compared {
		return fmt.Errorf("the restore of backup %d was not compared with the fingerprint of its dump", t.backup.ID)
	}
	return d.compare(ctx, st, t, t.restored())
}

// inPlace restores a database in its place after a mistake, undoes that, and undoes the undo.
func (d *demo) inPlace(ctx context.Context) error {
	t := d.trips[0]
	d.story.chapter("Restore in the place of a database: what was there is kept, and comes back at once")
	if err := t.server.AllowInPlace(ctx, t.name()); err != nil {
		return err
	}
	if _, err := t.server.Exec(ctx, t.name(), "DELETE FROM reviews"); err != nil {
		return err
	}
	spoilt, err := t.server.Content(ctx, t.name())
	if err != nil {
		return err
	}
	d.story.note("somebody has deleted the reviews: %s has %s rows left of %s", t.word, number(spoilt.Rows()), number(t.content.Rows()))
	args := []string{"restore", "create", strconv.FormatInt(t.backup.ID, 10), "--in-place", "--skip-safety-backup"}
	for i, want := range []stack.Content{t.content, spoilt, t.content} {
		var r stack.Restore
		if _, err := d.read(ctx, d.story, &r, append(args, "--confirm", t.name(), "--wait")...); err != nil {
			return err
		}
		if r.Status != "completed" || r.TargetState != "replaced" || r.Result.Swapped == nil {
			return fmt.Errorf("restore %d in the place of %s is %s: %+v", r.ID, t.word, r.Status, r)
		}
		got, err := t.server.Content(ctx, t.name())
		if err != nil {
			return err
		}
		if diff := want.Diff(got); diff != "" {
			return fmt.Errorf("after restore %d, %s differs from what it is to be:\n%s", r.ID, t.word, diff)
		}
		d.story.note("%s: %s rows, by plain SQL, equal those of %s; it could not be used for %.1f ms", t.word, number(got.Rows()),
			[]string{"the backup", "a moment ago", "the backup"}[i], float64(r.Result.Swapped.UnavailableMicros)/1e3)
		args = []string{"restore", "undo", strconv.FormatInt(r.ID, 10)}
	}
	return nil
}

// compare reads a copy by plain SQL and compares every row with the source.
func (d *demo) compare(ctx context.Context, st *story, t *trip, name string) error {
	got, err := t.server.Content(ctx, name)
	if err != nil {
		return err
	}
	if diff := t.content.Diff(got); diff != "" {
		return fmt.Errorf("database %s differs from %s:\n%s", name, t.word, diff)
	}
	t.proven = got.Rows()
	st.note("%s: %s rows and %d definitions, read by plain SQL, equal those of %s", show(name), number(got.Rows()), len(got.Definitions), t.word)
	return nil
}

// stored copies what was stored to a file and returns the SHA-256 and the size of what it read.
func (d *demo) stored(ctx context.Context, t *trip, file string) (string, int64, error) {
	if t.disk == diskS3 {
		return d.s3.Download(ctx, t.backup.FilePath, file)
	}
	return copyFile(filepath.Join(d.agent.LocalDir, t.backup.FilePath), file)
}
