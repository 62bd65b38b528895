package catalog_test

import (
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
)

// The mistakes are numbered as in the list of what goes wrong in the panel's own backups.

// TestMistake14_RequestHonoured asks for backups as the panel's "Create Backup Now" does: what is made is what was chosen, not a
// scheduled, local, unencrypted one.
func TestMistake14_RequestHonoured(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app")
	a.dir = "/srv/backups"
	f.helloAgain(a)
	f.localStorage("host", false)
	on, off := true, false
	for _, c := range []struct {
		projectEncryption string
		request           controller.BackupRequest
		kind, disk, codec string
	}{
		{"age", controller.BackupRequest{}, "manual", "s3", "age"},
		{"age", controller.BackupRequest{Type: "pre_deploy", StorageDisk: "local", Encrypt: &on}, "pre_deploy", "local", "age"},
		{"age", controller.BackupRequest{Type: "manual", StorageDisk: "s3", Encrypt: &off}, "manual", "s3", "none"},
		{"none", controller.BackupRequest{Type: "manual", Storage: "host", Encrypt: &on}, "manual", "local", "aes-256-cbc"},
		{"none", controller.BackupRequest{Type: "scheduled", StorageDisk: "s3"}, "scheduled", "s3", "none"},
		{"aes-256-cbc", controller.BackupRequest{StorageDisk: "local"}, "manual", "local", "aes-256-cbc"},
		{"aes-256-cbc", controller.BackupRequest{Encryption: "age"}, "manual", "s3", "age"},
	} {
		must[controller.Project](t)(f.UpdateProject(ctx, f.admin, "shop", controller.ProjectSpec{DefaultEncryption: c.projectEncryption}))
		c.request.Database = "app"
		b := f.completedAs(a, c.request)
		if b.Type != c.kind || b.StorageDisk != c.disk || b.Encryption != c.codec {
			t.Errorf("%+v of a project with %s: type %s, disk %s, encryption %s", c.request, c.projectEncryption, b.Type, b.StorageDisk, b.Encryption)
		}
		suffix := map[string]string{"age": ".age", "aes-256-cbc": ".enc", "none": ".zst"}[c.codec]
		if !strings.HasSuffix(b.FileName, suffix) {
			t.Errorf("%s encryption in file %q", c.codec, b.FileName)
		}
	}
}

// TestMistake15_RowsOutliveFailure deletes backups, their server and their project: as long as the storage may hold an object its row is
// there, with the object's key.
func TestMistake15_RowsOutliveFailure(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app")
	failing, kept := f.completed(a, "app"), f.completed(a, "app")

	// The store refuses: the row stays, and says why.
	must[controller.Backup](t)(f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: failing.ID}))
	for range 3 {
		due := must[[]controller.Deletion](t)(f.DueDeletions(ctx, 5))
		if len(due) != 1 || due[0].Backup != failing.ID || len(due[0].Keys) != 3 {
			t.Fatalf("deletions are %+v", due)
		}
		f.ok(f.DeletionLater(ctx, failing.ID, 0, "the store answers 503"))
		b := f.backup(failing.ID)
		if b.PurgedAt != nil || b.Health != controller.HealthDeleting || b.FilePath != failing.FilePath || b.Waiting != "the store answers 503" {
			t.Fatalf("backup is %+v", b)
		}
	}

	must[controller.Server](t)(f.RevokeServer(ctx, f.admin, "db-7"))
	f.ok(f.DeleteProject(ctx, f.admin, "shop"))
	must[controller.SweepResult](t)(f.Sweep(ctx))
	for _, was := range []controller.Backup{failing, kept} {
		b := f.backup(was.ID)
		if b.Status != controller.StatusCompleted || b.PurgedAt != nil || b.FilePath != was.FilePath || *b.Checksum != *was.Checksum {
			t.Fatalf("backup is %+v", b)
		}
		equal(t, "objects", len(must[[]controller.StoredObject](t)(f.BackupObjects(ctx, f.admin, was.ID))), 3)
	}
	if b := f.backup(kept.ID); b.DeletedAt != nil || b.Health != controller.HealthOK {
		t.Fatalf("a backup was deleted with its project: %+v", b)
	}
	// The storage cannot be forgotten under them.
	f.refused(f.DeleteStorage(ctx, f.admin, "s3"), controller.EConflict, "2 backups are on")
	// The deletion goes on for as long as it takes.
	equal(t, "deletions due", len(must[[]controller.Deletion](t)(f.DueDeletions(ctx, 5))), 1)
	f.ok(f.DeletionDone(ctx, failing.ID))
	if b := f.backup(failing.ID); b.PurgedAt == nil || time.Since(*b.PurgedAt) > time.Minute {
		t.Fatalf("backup is %+v", b)
	}
}
