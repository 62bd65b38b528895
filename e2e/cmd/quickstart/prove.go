package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// prove backs up, verifies, restores and recovers, and compares after each step.
func (d *demo) prove(ctx context.Context) error {
	for _, step := range []func(context.Context) error{d.backUp, d.verify, d.restore, d.recoverByHand} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) backUp(ctx context.Context) error {
	d.story.chapter("Back it up: pg_dump, zstd and age on the database's host, straight to S3")
	took, err := d.timed(ctx, "backup", "create", project, "--database", database, "--encryption", "age", "--wait")
	if err != nil {
		return err
	}
	backups, err := d.client.Backups(ctx, project)
	if err != nil {
		return err
	}
	if len(backups) == 0 {
		return errors.New("the catalog has no backup")
	}
	d.backup = backups[0]
	if d.backup.Status != "completed" {
		return fmt.Errorf("backup %d is %s, not completed", d.backup.ID, d.backup.Status)
	}
	// What the catalog says is compared with what lies in the bucket.
	objects, err := d.s3.Objects(ctx)
	if err != nil {
		return err
	}
	stored := int64(-1)
	for _, o := range objects {
		if strings.HasSuffix(o.Key, d.backup.FilePath) {
			stored = o.Size
		}
	}
	if stored != d.backup.FileSize {
		return fmt.Errorf("backup %d has %d bytes in the catalog and %d in the bucket", d.backup.ID, d.backup.FileSize, stored)
	}
	d.rows = append(d.rows, row{
		fmt.Sprintf("backup %d", d.backup.ID), "s3://" + d.s3.Bucket + "/…/" + d.backup.FileName, size(d.backup.FileSize), seconds(took),
		"encrypted with age; size in the bucket as in the catalog",
	})
	return nil
}

func (d *demo) verify(ctx context.Context) error {
	d.story.chapter("Verify it: read the stored bytes, then decrypt and read the whole dump")
	for _, v := range []struct{ level, proof string }{
		{"checksum", "SHA-256 of the stored bytes"},
		{"content", "SHA-256 of the dump, read by pg_restore to its end"},
	} {
		took, err := d.timed(ctx, "backup", "verify", strconv.FormatInt(d.backup.ID, 10), "--level", v.level, "--wait")
		if err != nil {
			return err
		}
		b, err := d.client.Backup(ctx, d.backup.ID)
		if err != nil {
			return err
		}
		if b.Health != "ok" || b.VerifiedAt == nil || b.VerifiedLevel != v.level {
			return fmt.Errorf("backup %d is not verified by %s: health %q, level %q", b.ID, v.level, b.Health, b.VerifiedLevel)
		}
		d.rows = append(d.rows, row{"verify " + v.level, "read back from S3 by " + hostName, size(b.FileSize), seconds(took), v.proof})
	}
	return nil
}

func (d *demo) restore(ctx context.Context) error {
	d.story.chapter("Restore it into a new database, as a role that is no superuser")
	took, err := d.timed(ctx, "restore", "create", strconv.FormatInt(d.backup.ID, 10), "--to-database", restored, "--wait")
	if err != nil {
		return err
	}
	var page struct {
		Items []struct {
			ID           int64
			DatabaseName string `json:"database_name"`
			Status       string
			Result       struct {
				Tables, Rows int64
				Compared     bool
			}
		}
	}
	if err := d.client.API(ctx, http.MethodGet, "/restores?limit=1", nil, &page); err != nil {
		return err
	}
	if len(page.Items) == 0 || page.Items[0].DatabaseName != restored || page.Items[0].Status != "completed" {
		return fmt.Errorf("the catalog does not show the restore as completed: %+v", page.Items)
	}
	r := page.Items[0].Result
	if !r.Compared || r.Rows != d.source.Rows() {
		return fmt.Errorf("the restore's fingerprint has %d rows (compared: %t), the source has %d", r.Rows, r.Compared, d.source.Rows())
	}
	d.story.note("fingerprint: %s rows in %d tables, equal to the one taken inside the dump's snapshot", number(r.Rows), r.Tables)
	return d.compare(ctx, "restore", restored, took)
}

// compare reads a copy with plain SQL and compares every row with the source.
func (d *demo) compare(ctx context.Context, what, name string, took time.Duration) error {
	got, err := d.postgres.Content(ctx, name)
	if err != nil {
		return err
	}
	if diff := d.source.Diff(got); diff != "" {
		return fmt.Errorf("database %s differs from %s:\n%s", name, database, diff)
	}
	d.story.note("read by plain SQL: rows of all %d tables, %d definitions and the large object are equal to the source", len(got.Tables), len(got.Definitions))
	proof := "fingerprint, and checksums of all rows, equal the source"
	if what != "restore" {
		proof = "age, zstd, pg_restore alone; checksums of all rows equal the source"
	}
	d.rows = append(d.rows, row{what, name, size(d.backup.RawSize), seconds(took), proof})
	return nil
}
