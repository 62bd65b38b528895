package catalog_test

import (
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// localWorld is world with a directory on the host, and a default storage of kind local.
func localWorld(t *testing.T, databases ...string) (*fix, controller.Project, *agent) {
	t.Helper()
	f := open(t)
	p, a := f.world(databases...)
	f.localStorage("host", true)
	a.dir = "/srv/backups"
	f.helloAgain(a)
	return f, p, a
}

func TestLocal_ToTheEnd(t *testing.T) {
	t.Parallel()
	f, p, a := localWorld(t, "app")
	ctx := t.Context()
	verifier := f.enrol("verifier", p)
	must[controller.Server](t)(f.SetVerifier(ctx, f.admin, "verifier", true))
	f.hello(verifier)
	f.ok(f.Inventory(ctx, verifier.AgentID, verifier.session, wire.Inventory{Hash: "v", Last: true, Instances: []wire.Instance{instance("main")}}))

	b := f.order("app")
	o := f.started(a)
	if o.UploadID != controller.LocalUpload || o.PartSize != 0 || o.Storage.Kind != controller.StorageLocal || !strings.HasPrefix(o.Key, "host/backups/") {
		t.Fatalf("offer is %+v", o)
	}
	equal(t, "bytes that may be signed", f.sql("SELECT bytes_limit FROM attempts"), "0")
	equal(t, "an upload that is set again", must[string](t)(f.SetUpload(ctx, o.Attempt, "another")), controller.LocalUpload)
	side := partRequest(o, 0, 5)
	side.Object = wire.ObjectFingerprint
	_, err := f.SignPart(ctx, a.AgentID, a.session, side, time.Minute)
	f.failure(err, wire.CodeBadRequest)
	ordered := must[*controller.Ordered](t)(f.AttemptOrder(ctx, a.AgentID, a.session, o.Attempt))
	if !ordered.Local || ordered.Checksum != "" || ordered.PartSize != 0 || ordered.Codec.Encryption != controller.EncryptionAge || ordered.Codec.Recipients[0] != p.AgeRecipient {
		t.Fatalf("ordered is %+v", ordered)
	}
	wrong := f.localReport(o)
	wrong.Statement = statement(t, o, 1, 77)
	f.failure(f.ReportUploaded(ctx, a.AgentID, a.session, wrong), wire.CodeStatement)
	f.uploaded(a, o)
	work := must[[]controller.Finishing](t)(f.ClaimFinishing(ctx, 5))[0]
	if work.UploadID != controller.LocalUpload || len(work.Parts) != 0 || work.Server.AgentID != a.AgentID || work.AttemptID != o.AttemptID || !work.Backup.SameHost {
		t.Fatalf("work is %+v", work)
	}
	f.ok(f.CompleteBackup(ctx, o.Attempt, finished(o)))
	b = f.backup(b.ID)
	if b.Status != controller.StatusCompleted || b.StorageDisk != controller.StorageLocal || !b.SameHost {
		t.Fatalf("backup is %+v", b)
	}
	st := must[controller.Storage](t)(f.Storage(ctx, f.admin, "host"))
	if !st.SameHost || st.Backups != 1 || st.UsedBytes != *b.FileSize {
		t.Fatalf("storage is %+v", st)
	}

	// Only its host reads it: not the verifier, and while the host is offline nobody.
	f.sql("UPDATE servers SET last_seen_at = now() - interval '1 hour' WHERE name = 'db-7'")
	for _, level := range []string{wire.LevelChecksum, wire.LevelContent} {
		job := must[[]controller.Job](t)(f.CreateVerify(ctx, f.admin, controller.VerifyRequest{Backup: b.ID, Level: level}))[0]
		equal(t, "server that verifies "+level, job.Server, "db-7")
		equal(t, "offers", len(must[[]controller.Offer](t)(f.ClaimOffers(ctx, 5))), 0)
		if why := f.job(job.ID).Waiting; !strings.Contains(why, "offline") {
			t.Fatalf("it waits because %q", why)
		}
	}
	f.helloAgain(a)
	for _, o := range must[[]controller.Offer](t)(f.ClaimOffers(ctx, 5)) {
		if o.Server.AgentID != a.AgentID || o.AttemptID != work.AttemptID || o.Storage.Kind != controller.StorageLocal || o.Objects[0].Key != b.FilePath {
			t.Fatalf("offer is %+v", o)
		}
		f.ok(f.AttemptAccepted(ctx, o.Attempt, a.session))
		_, err := f.SignRead(ctx, a.AgentID, a.session, wire.ReadRequest{Attempt: o.Attempt, Object: wire.ObjectArtifact, Length: 1})
		f.failure(err, wire.CodeBadRequest)
		f.ok(f.ReportDone(ctx, a.AgentID, a.session, wire.Report{Attempt: o.Attempt, Outcome: wire.OutcomeVerified, Read: readResult(b)}))
	}
	if b = f.backup(b.ID); b.VerifiedAt == nil || !b.VerifiedByHost || *b.VerifiedLevel != wire.LevelContent {
		t.Fatalf("backup is %+v", b)
	}

	_, err = f.CreateRestore(ctx, f.admin, controller.RestoreRequest{Backup: b.ID, Server: "verifier", Database: "copy"})
	f.refused(err, controller.EConflict, `"db-7"`, `"verifier"`, "backup download")
	equal(t, "server that restores", must[controller.Restore](t)(f.CreateRestore(ctx, f.admin, controller.RestoreRequest{Backup: b.ID, Database: "copy"})).Server, "db-7")
	equal(t, "server that restores", must[controller.Restore](t)(f.CreateRestore(ctx, f.admin, controller.RestoreRequest{Backup: b.ID, Server: "db-7", Database: "copy2"})).Server, "db-7")
	for _, r := range must[[]controller.Restore](t)(f.Restores(ctx, f.admin, controller.RestoreFilter{})) {
		must[controller.Job](t)(f.CancelRestore(ctx, f.admin, r.ID, ""))
	}
	equal(t, "server that streams", must[controller.Download](t)(f.CreateDownload(ctx, f.admin, controller.DownloadRequest{Backup: b.ID}, hash("l"), 0)).Server.AgentID, a.AgentID)

	// Its deletion waits for its host, and says so.
	must[controller.Backup](t)(f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: b.ID, Confirm: "app"}))
	due := must[[]controller.Deletion](t)(f.DueDeletions(ctx, 5))
	if len(due) != 1 || due[0].Server.AgentID != a.AgentID || len(due[0].Keys) != 3 {
		t.Fatalf("deletions are %+v", due)
	}
	f.ok(f.DeletionLater(ctx, b.ID, time.Minute, "the agent on db-7 is offline"))
	equal(t, "why it is not gone", f.backup(b.ID).Waiting, "the agent on db-7 is offline")
	f.ok(f.DeletionDone(ctx, b.ID))
	if b = f.backup(b.ID); b.PurgedAt == nil || b.Waiting != "" {
		t.Fatalf("backup is %+v", b)
	}
}

func TestLocal_DeadUpload(t *testing.T) {
	t.Parallel()
	f, _, a := localWorld(t, "app")
	ctx := t.Context()
	f.order("app")
	o := f.started(a)
	r := fails(wire.CodeToolFailed)
	r.Attempt = o.Attempt
	f.ok(f.ReportDone(ctx, a.AgentID, a.session, r))
	dead := must[[]controller.DeadUpload](t)(f.DeadUploads(ctx, 5))
	if len(dead) != 1 || dead[0].Server.AgentID != a.AgentID || dead[0].UploadID != controller.LocalUpload || dead[0].Key != o.Key || dead[0].URLsOpen {
		t.Fatalf("dead uploads are %+v", dead)
	}
	f.refused(f.DeleteStorage(ctx, f.admin, "host"), controller.EConflict, "still being removed")
	f.ok(f.UploadSwept(ctx, o.Attempt))
	f.ok(f.DeleteStorage(ctx, f.admin, "host"))
}

// What waits for its host goes on as soon as that says hello, and not before.
func TestLocal_HostIsBack(t *testing.T) {
	t.Parallel()
	f, _, a := localWorld(t, "app")
	ctx := t.Context()
	away := wire.Failf(wire.CodeOffline, "the agent on db-7 is not connected").Retry()

	f.order("app")
	o := f.started(a)
	f.uploaded(a, o)
	equal(t, "uploads to finish", len(must[[]controller.Finishing](t)(f.ClaimFinishing(ctx, 5))), 1)
	f.helloAgain(a)
	equal(t, "uploads to finish while one is at work", len(must[[]controller.Finishing](t)(f.ClaimFinishing(ctx, 5))), 0)
	f.ok(f.RetryFinish(ctx, o.Attempt, time.Hour, away)) // sent to the session before, perhaps
	equal(t, "soon", f.sql("SELECT claim_until < now() + interval '2 seconds' FROM jobs"), "t")
	f.sql("UPDATE servers SET session_at = now() - interval '1 minute'")
	f.sql("UPDATE jobs SET claim_until = '-infinity'")
	equal(t, "uploads to finish", len(must[[]controller.Finishing](t)(f.ClaimFinishing(ctx, 5))), 1)
	f.ok(f.RetryFinish(ctx, o.Attempt, time.Hour, away))
	equal(t, "uploads to finish while the host is away", len(must[[]controller.Finishing](t)(f.ClaimFinishing(ctx, 5))), 0)
	f.hello(a)
	equal(t, "uploads to finish", len(must[[]controller.Finishing](t)(f.ClaimFinishing(ctx, 5))), 1)
	f.ok(f.CompleteBackup(ctx, o.Attempt, finished(o)))

	b := f.order("app")
	failed := f.started(a)
	r := fails(wire.CodeToolFailed)
	r.Attempt = failed.Attempt
	f.ok(f.ReportDone(ctx, a.AgentID, a.session, r))
	equal(t, "attempts to sweep", len(must[[]controller.DeadUpload](t)(f.DeadUploads(ctx, 5))), 1)
	f.ok(f.UploadSweepLater(ctx, failed.Attempt, time.Hour))
	equal(t, "attempts to sweep while the host is away", len(must[[]controller.DeadUpload](t)(f.DeadUploads(ctx, 5))), 0)
	f.hello(a)
	equal(t, "attempts to sweep", len(must[[]controller.DeadUpload](t)(f.DeadUploads(ctx, 5))), 1)
	f.ok(f.UploadSwept(ctx, failed.Attempt))

	must[controller.Backup](t)(f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: b.ID - 1, Confirm: "app"}))
	equal(t, "deletions", len(must[[]controller.Deletion](t)(f.DueDeletions(ctx, 5))), 1)
	f.helloAgain(a)
	equal(t, "deletions while one is at work", len(must[[]controller.Deletion](t)(f.DueDeletions(ctx, 5))), 0)
	f.ok(f.DeletionLater(ctx, b.ID-1, time.Hour, away.Message))
	equal(t, "deletions while the host is away", len(must[[]controller.Deletion](t)(f.DueDeletions(ctx, 5))), 0)
	f.hello(a)
	equal(t, "deletions", len(must[[]controller.Deletion](t)(f.DueDeletions(ctx, 5))), 1)
}

func TestLocal_NoDirectory(t *testing.T) {
	t.Parallel()
	f, _, a := localWorld(t, "app", "crm")
	ctx := t.Context()
	a.dir = ""
	f.helloAgain(a)
	_, err := f.CreateBackups(ctx, f.admin, controller.BackupRequest{Database: "app"})
	f.refused(err, controller.EConflict, `"db-7"`, "no directory", "storage.local.dir")
	for _, o := range must[[]controller.BackupOutcome](t)(f.CreateBackups(ctx, f.admin, controller.BackupRequest{})) {
		if o.Backup != nil || o.Err == nil || o.Err.Code != controller.EConflict {
			t.Errorf("outcome is %+v", o)
		}
	}
	equal(t, "disk", must[[]controller.BackupOutcome](t)(f.CreateBackups(ctx, f.admin, controller.BackupRequest{Database: "app", StorageDisk: "s3"}))[0].Backup.StorageDisk, "s3")
}

// TestLocal_Revoked is a host that never comes back: nothing waits for it for ever, and nothing is said to be there.
func TestLocal_Revoked(t *testing.T) {
	t.Parallel()
	f, p, a := localWorld(t, "app")
	ctx := t.Context()
	b := f.completed(a, "app")
	s3 := f.completedAs(a, controller.BackupRequest{Database: "app", StorageDisk: "s3"})
	f.order("app")
	o := f.started(a)
	must[controller.Server](t)(f.RevokeServer(ctx, f.admin, "db-7"))
	_, err := f.CreateVerify(ctx, f.admin, controller.VerifyRequest{Backup: b.ID})
	f.refused(err, controller.EConflict, `"db-7"`, "revoked")
	_, err = f.CreateRestore(ctx, f.admin, controller.RestoreRequest{Backup: b.ID, Database: "copy"})
	f.refused(err, controller.EConflict, `"db-7"`, "revoked", "that host itself")
	_, err = f.CreateDownload(ctx, f.admin, controller.DownloadRequest{Backup: b.ID}, hash("l"), 0)
	f.refused(err, controller.EConflict, `"db-7"`, "revoked")
	// The others are verified all the same.
	other := f.enrol("other", p)
	f.hello(other)
	jobs := must[[]controller.Job](t)(f.CreateVerify(ctx, f.admin, controller.VerifyRequest{All: true}))
	if len(jobs) != 1 || jobs[0].BackupID != s3.ID || jobs[0].Server != "other" {
		t.Fatalf("jobs are %+v", jobs)
	}
	must[controller.Backup](t)(f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: b.ID, Grace: time.Hour}))
	must[controller.SweepResult](t)(f.Sweep(ctx))
	if got := f.backup(b.ID); got.PurgedAt != nil {
		t.Fatalf("it was given up while its grace runs: %+v", got)
	}
	equal(t, "dead attempts that are swept", f.sql("SELECT swept_at IS NOT NULL FROM attempts WHERE token = '%s'", o.Attempt.Token), "t")
	f.sql("UPDATE database_backups SET delete_after = now() WHERE id = %d", b.ID)
	must[controller.SweepResult](t)(f.Sweep(ctx))
	got := f.backup(b.ID)
	if got.PurgedAt == nil || !strings.Contains(got.Waiting, "were not removed") {
		t.Fatalf("backup is %+v", got)
	}
	f.ok(f.DeleteStorage(ctx, f.admin, "host"))
}

func TestCreateRestore_Names(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	p := f.project("shop")
	a := f.enrol("db-7", p)
	f.hello(a)
	f.storage("s3", true)
	inv := wire.Inventory{Hash: "h", Last: true}
	for _, engine := range []string{wire.EnginePostgreSQL, wire.EngineMySQL, wire.EngineSQLite} {
		name := "app"
		if engine == wire.EngineSQLite {
			name = "/srv/app.db"
		}
		inv.Instances = append(inv.Instances, wire.Instance{Name: engine, Engine: engine, Restore: true})
		inv.Databases = append(inv.Databases, wire.Database{Instance: engine, Engine: engine, Name: name, SizeBytes: 1})
	}
	f.ok(f.Inventory(ctx, a.AgentID, a.session, inv))
	backups := map[string]controller.Backup{}
	for _, d := range inv.Databases {
		must[controller.Database](t)(f.AssignDatabase(ctx, f.admin, controller.DatabaseRef{Name: d.Name, Instance: d.Instance}, "shop"))
		backups[d.Engine] = f.completedAs(a, controller.BackupRequest{Database: d.Name, Instance: d.Instance})
	}
	for _, c := range []struct {
		engine, name, says string // says nothing: it is taken
	}{
		{wire.EnginePostgreSQL, strings.Repeat("x", 63), ""},
		{wire.EnginePostgreSQL, strings.Repeat("x", 64), "63 bytes"},
		{wire.EngineMySQL, strings.Repeat("ü", 64), ""},
		{wire.EngineMySQL, strings.Repeat("ü", 65), "64 characters"},
		{wire.EngineSQLite, "/srv/copies/a name with spaces, longer than any server takes, and still a file.db", ""},
		{wire.EngineSQLite, "copy.db", "absolute path"},
	} {
		r, err := f.CreateRestore(ctx, f.admin, controller.RestoreRequest{Backup: backups[c.engine].ID, Database: c.name})
		if c.says != "" {
			f.refused(err, controller.EInvalid, "to_database", c.says)
			continue
		}
		f.ok(err)
		equal(t, "database", r.DatabaseName, c.name)
	}
}
