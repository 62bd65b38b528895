package catalog_test

import (
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// The mistakes are numbered as in the list of what goes wrong in the panel's own backups.

// TestMistake10_FailureToldToNobody: a run that fails and one that is missed lead what needs attention, with the reason, and are events of the
// stream, for whoever sees the project and for nobody else.
func TestMistake10_FailureToldToNobody(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	p, a := f.world("app", "blog")
	stranger := f.project("other")
	missing := f.schedule(controller.ScheduleSpec{Project: "shop", Target: controller.Target{Database: controller.DatabaseRef{Name: "blog"}}})
	must[int64](t)(f.SealEvents(ctx, false))
	log := must[controller.EventLog](t)(f.EventLog(ctx))

	f.order("app")
	o := f.started(a)
	r := fails(wire.CodeDiskFull)
	r.Attempt, r.Failure.Retryable = o.Attempt, false
	f.ok(f.ReportDone(ctx, a.AgentID, a.session, r))
	must[controller.Project](t)(f.UpdateProject(ctx, f.admin, "shop", controller.ProjectSpec{MaxJobsPerHour: new(new(int64(1)))}))
	f.occur(missing.ID)

	told := map[string]string{}
	for _, one := range must[controller.Overview](t)(f.Overview(ctx, only(p))).Attention {
		told[one.Kind] += one.Title + ": " + one.Detail
	}
	for kind, word := range map[string]string{controller.AttentionFailed: wire.CodeDiskFull, controller.AttentionMissed: "max_jobs_per_hour"} {
		if !strings.Contains(told[kind], word) {
			t.Errorf("of what %s the overview tells %q", kind, told[kind])
		}
	}
	for _, one := range must[controller.Overview](t)(f.Overview(ctx, only(stranger))).Attention {
		if one.Kind == controller.AttentionFailed || one.Kind == controller.AttentionMissed {
			t.Errorf("a stranger is told %+v", one)
		}
	}

	must[int64](t)(f.SealEvents(ctx, false))
	end := must[controller.EventLog](t)(f.EventLog(ctx))
	streamed := func(actor controller.Actor) (kinds string) {
		for _, e := range must[[]controller.Event](t)(f.Events(ctx, actor, log.Last, end.Last, 100)) {
			if e.Kind == controller.EventSchedule || e.Kind == controller.EventBackup && strings.Contains(string(e.Row), `"failed"`) && strings.Contains(string(e.Row), wire.CodeDiskFull) {
				kinds += e.Kind + " "
			}
		}
		return kinds
	}
	if got := streamed(only(p)); !strings.Contains(got, "backup ") || !strings.Contains(got, "schedule ") {
		t.Errorf("the stream tells of %q", got)
	}
	if got := streamed(only(stranger)); got != "" {
		t.Errorf("a stranger's stream tells of %q", got)
	}
}

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
