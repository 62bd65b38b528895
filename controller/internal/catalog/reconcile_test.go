package catalog_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

// due makes the inventory of a storage due and claims it.
func (f *fix) due(storage string) controller.InventoryDue {
	f.Helper()
	must[[]controller.StorageInventory](f)(f.RequestInventory(f.Context(), f.admin, storage))
	all := must[[]controller.InventoryDue](f)(f.ClaimInventories(f.Context(), 10))
	i := slices.IndexFunc(all, func(d controller.InventoryDue) bool { return d.Storage == storage })
	if i < 0 {
		f.Fatalf("claimed %+v", all)
	}
	return all[i]
}

func keysOf(known []controller.KnownObject) (out []string) {
	for _, k := range known {
		s := fmt.Sprintf("%s %s", k.Key[strings.LastIndexByte(k.Key, '.'):], k.Object)
		if k.AtWork {
			s = "at work " + k.Key
		}
		out = append(out, s)
	}
	return out
}

// A claim is one controller's until it is not extended any more; then what the first one says is refused.
func TestInventory_Claim(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.world("app")
	ctx := t.Context()
	f.ok(f.PlanInventories(ctx, time.Hour, 24*time.Hour))
	f.ok(f.PlanInventories(ctx, time.Hour, 24*time.Hour))
	equal(t, "claimed before it is due", len(must[[]controller.InventoryDue](t)(f.ClaimInventories(ctx, 10))), 0)
	all := must[[]controller.StorageInventory](t)(f.StorageInventories(ctx, f.admin, "s3", 0, 0))
	if wait := time.Until(all[0].DueAt); len(all) != 1 || wait < 59*time.Minute || wait > 2*time.Hour+time.Minute {
		t.Fatalf("inventories are %+v", all)
	}
	first := f.due("s3")
	if first.Kind != controller.StorageS3 || first.Prefix != "pre/s3" || first.Server.ID != 0 {
		t.Fatalf("%+v", first)
	}
	other := f.another("two")
	equal(t, "claimed by another", len(must[[]controller.InventoryDue](t)(other.ClaimInventories(ctx, 10))), 0)
	f.ok(f.ExtendInventory(ctx, first))
	f.sql("UPDATE storage_inventories SET claim_until = now() - interval '1 second'")
	second := must[[]controller.InventoryDue](t)(other.ClaimInventories(ctx, 10))
	equal(t, "claimed by another once it was let go", len(second), 1)
	f.failure(f.ExtendInventory(ctx, first), wire.CodeStale)
	_, err := f.RecordInventory(ctx, first, controller.InventoryPage{Found: []controller.Found{{BackupID: 1, Health: controller.HealthMissing}}})
	f.failure(err, wire.CodeStale)
	f.failure(f.FinishInventory(ctx, first, controller.InventoryTotals{}, time.Hour), wire.CodeStale)
	f.failure(f.FailInventory(ctx, first, "x", time.Minute, time.Hour), wire.CodeStale)
	f.ok(other.FinishInventory(ctx, second[0], controller.InventoryTotals{Objects: 7, Missing: 1}, time.Hour))
	f.failure(other.FinishInventory(ctx, second[0], controller.InventoryTotals{Objects: 8}, time.Hour), wire.CodeStale)
	i := must[[]controller.StorageInventory](t)(f.StorageInventories(ctx, f.admin, "s3", 0, 0))[0]
	if i.Objects != 7 || i.Missing != 1 || i.EndedAt == nil || time.Until(i.DueAt) < 59*time.Minute {
		t.Fatalf("%+v", i)
	}

	// One that fails is tried again later and later, and one that is asked for meanwhile at once.
	for n, want := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 5 * time.Minute} {
		f.sql("UPDATE storage_inventories SET due_at = now()")
		d := must[[]controller.InventoryDue](t)(f.ClaimInventories(ctx, 1))[0]
		f.ok(f.FailInventory(ctx, d, "the store is down", time.Minute, 5*time.Minute))
		i = must[[]controller.StorageInventory](t)(f.StorageInventories(ctx, f.admin, "s3", 0, 0))[0]
		if wait := i.DueAt.Sub(*i.StartedAt); i.Error != "the store is down" || wait < want-time.Second || wait > want+5*time.Second || i.Objects != 7 {
			t.Errorf("after failure %d it waits %s: %+v", n+1, wait, i)
		}
	}
	d := f.due("s3")
	must[[]controller.StorageInventory](t)(f.RequestInventory(ctx, f.admin, "s3"))
	f.ok(f.FinishInventory(ctx, d, controller.InventoryTotals{}, time.Hour))
	equal(t, "claimed as it was asked for again", len(must[[]controller.InventoryDue](t)(f.ClaimInventories(ctx, 10))), 1)
}

// What a key range holds: every object of live backups, and of the listed ones those of attempts, whatever else the keys look like.
func TestInventory_Known(t *testing.T) {
	t.Parallel()
	f := open(t)
	_, a := f.world("app", "two", "three")
	ctx := t.Context()
	good, deleted := f.completed(a, "app"), f.completed(a, "app")
	must[controller.Backup](t)(f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: deleted.ID, Grace: -1}))
	f.order("two")
	working := f.started(a)
	f.order("three")
	dead := f.started(a)
	r := fails(wire.CodeToolFailed)
	r.Attempt = dead.Attempt
	f.ok(f.ReportDone(ctx, a.AgentID, a.session, r))
	f.storage("another", false)
	due, elsewhere := f.due("s3"), f.due("another")

	prefix, end := "pre/s3/backups/", "pre/s3/backups0"
	c := artifact.CodecOf(dead.Key)
	listed := []string{
		prefix + "\x00", prefix + "a\xff", working.Key, working.Key + ".partial", artifact.GlobalsKey(working.Key, artifact.CodecOf(working.Key)), dead.Key,
		artifact.FingerprintKey(dead.Key, c), artifact.ManifestKey(dead.Key), dead.Key + ".fingerprint.json", dead.Key + "x", good.FilePath + ".x", prefix + "zz",
	}
	slices.Sort(listed)
	known, through, err := f.KnownObjects(ctx, due, prefix, end, listed)
	f.ok(err)
	equal(t, "whole up to", through, end)
	if !slices.IsSortedFunc(known, func(x, y controller.KnownObject) int { return strings.Compare(x.Key, y.Key) }) {
		t.Errorf("not in order: %q", keysOf(known))
	}
	var backups, work []string
	for _, k := range known {
		switch {
		case k.BackupID == good.ID:
			if !k.Settled || k.AtWork || k.ETag != "x-2" || k.Health != controller.HealthOK || k.Size == 0 {
				t.Errorf("%+v", k)
			}
			backups = append(backups, k.Object)
		case k.BackupID == deleted.ID && k.AtWork:
			backups = append(backups, "deleted "+k.Object)
		case k.AtWork:
			work = append(work, k.Key)
		default:
			t.Errorf("%+v", k)
		}
	}
	slices.Sort(backups)
	if want := []string{"artifact", "deleted artifact", "deleted fingerprint", "deleted manifest", "fingerprint", "manifest"}; !slices.Equal(backups, want) {
		t.Errorf("known are %q", backups)
	}
	want := []string{
		working.Key, working.Key + ".partial", artifact.GlobalsKey(working.Key, artifact.CodecOf(working.Key)), dead.Key, artifact.FingerprintKey(dead.Key, c), artifact.ManifestKey(dead.Key),
	}
	slices.Sort(want)
	if !slices.Equal(work, want) {
		t.Errorf("at work are\n%q\nwant\n%q", work, want)
	}
	known, _, err = f.KnownObjects(ctx, elsewhere, prefix, end, listed)
	f.ok(err)
	equal(t, "known at another storage", len(known), 0)

	// A page that ends between an artifact and its manifest.
	known, _, err = f.KnownObjects(ctx, due, good.FilePath+".fp", good.FilePath+".manifest.json", nil)
	f.ok(err)
	if len(known) != 1 || known[0].Object != controller.ObjectManifest {
		t.Errorf("known are %q", keysOf(known))
	}
	known, _, err = f.KnownObjects(ctx, due, good.FilePath, good.FilePath+".manifest", nil)
	f.ok(err)
	if len(known) != 1 || known[0].Object != "fingerprint" {
		t.Errorf("known are %q", keysOf(known))
	}

	// What a dead attempt left is a stranger's once the attempt was swept, and not while that inventory goes on.
	f.ok(f.UploadSwept(ctx, dead.Attempt))
	known, _, err = f.KnownObjects(ctx, due, prefix, end, []string{dead.Key})
	f.ok(err)
	equal(t, "known after the sweep, in the same inventory", slices.ContainsFunc(known, func(k controller.KnownObject) bool { return k.Key == dead.Key }), true)
	f.sql("UPDATE storage_inventories SET claim_until = '-infinity'")
	known, _, err = f.KnownObjects(ctx, f.due("s3"), prefix, end, []string{dead.Key})
	f.ok(err)
	equal(t, "known after the sweep, in the next", slices.ContainsFunc(known, func(k controller.KnownObject) bool { return k.Key == dead.Key }), false)
	equal(t, "is younger than the inventory", slices.ContainsFunc(known, func(k controller.KnownObject) bool { return !k.AtWork && !k.Settled }), false)

	uploads := must[map[string]controller.KnownUpload](t)(f.KnownUploads(ctx, due, []string{working.Key, dead.Key, good.FilePath, "pre/s3/backups/x", "a\x00b"}))
	if len(uploads) != 3 || !uploads[working.Key].Open || uploads[working.Key].Ours || !uploads[dead.Key].Ours || !uploads[good.FilePath].Ours {
		t.Errorf("uploads are %+v", uploads)
	}
}

// More than fits at once comes in pieces that leave nothing out, also where backups have no objects.
func TestInventory_KnownPages(t *testing.T) {
	t.Parallel()
	f := open(t)
	_, a := f.world("app")
	f.completed(a, "app")
	cols := f.sql("SELECT string_agg(quote_ident(column_name), ',') FROM information_schema.columns WHERE table_name = 'database_backups' AND column_name NOT IN ('id', 'file_path')")
	f.sql(`INSERT INTO database_backups (file_path, %s) SELECT 'pre/s3/backups/2020/01/' || g%%20 || '/app_x_' || translate(substr(md5(g::text), 1, 16), '0189', 'xyzw') || '.dump.zst.age', %s
		FROM database_backups b, generate_series(1, 1700) g WHERE b.id = 1`, cols, cols)
	f.sql(`INSERT INTO backup_objects (backup_id, object, key, stored_size, stored_sha256, raw_size, raw_sha256)
		SELECT b.id, o.object, b.file_path || o.suffix, 1, 'x', 1, 'x' FROM database_backups b, (VALUES ('artifact', ''), ('fingerprint', '.fingerprint.json.zst.age'), ('manifest', '.manifest.json')) o (object, suffix)
		WHERE b.id > 1 AND b.file_path NOT LIKE '%%/1_/%%'`)
	want := f.sql("SELECT count(*) FROM backup_objects")
	due := f.due("s3")
	n, pages, last := 0, 0, ""
	for after, end := "pre/s3/backups/", "pre/s3/backups0"; after < end; pages++ {
		known, through, err := f.KnownObjects(t.Context(), due, after, end, nil)
		f.ok(err)
		for _, k := range known {
			if k.Key <= last || k.Key > through {
				t.Fatalf("%s after %s, whole up to %s", k.Key, last, through)
			}
			last = k.Key
		}
		n += len(known)
		if after = through; pages > 20 {
			t.Fatal("it does not come to an end")
		}
	}
	equal(t, "objects", fmt.Sprint(n), want)
	if pages < 4 {
		t.Errorf("%d pages", pages)
	}
}

// What an inventory may change, and what it may not.
func TestInventory_Record(t *testing.T) {
	t.Parallel()
	f := open(t)
	_, a := f.world("app")
	ctx := t.Context()
	b, gone := f.completed(a, "app"), f.completed(a, "app")
	f.sql("UPDATE database_backups SET verified_at = now(), verified_level = 'content'")
	must[controller.Backup](t)(f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: gone.ID, Grace: -1}))
	due := f.due("s3")
	record := func(health, reason string) []controller.HealthChange {
		t.Helper()
		return must[[]controller.HealthChange](t)(f.RecordInventory(ctx, due, controller.InventoryPage{Found: []controller.Found{{BackupID: b.ID, Health: health, Reason: reason}, {BackupID: gone.ID, Health: health}}}))
	}
	for _, step := range []struct {
		to, now  string
		changed  bool
		verified bool
	}{
		{controller.HealthOK, controller.HealthOK, false, true},
		{controller.HealthMissing, controller.HealthMissing, true, true},
		{controller.HealthMissing, controller.HealthMissing, false, true},
		{controller.HealthArchived, controller.HealthArchived, true, true},
		{controller.HealthOK, controller.HealthOK, true, true},
		{controller.HealthCorrupt, controller.HealthCorrupt, true, false},
		{controller.HealthOK, controller.HealthCorrupt, false, false},
		{controller.HealthMissing, controller.HealthCorrupt, false, false},
		{controller.HealthArchived, controller.HealthCorrupt, false, false},
	} {
		got := record(step.to, "because")
		now := f.backup(b.ID)
		if now.Health != step.now || len(got) != 0 != step.changed || (now.VerifiedAt != nil) != step.verified || step.changed && (got[0].BackupID != b.ID || got[0].To != step.to || got[0].Project != "shop") {
			t.Fatalf("recorded %s: %s, %+v, verified %v", step.to, now.Health, got, now.VerifiedAt)
		}
	}
	equal(t, "health of what is deleted", f.backup(gone.ID).Health, controller.HealthOK)
	equal(t, "audit rows", f.sql("SELECT string_agg(detail->>'to', ' ' ORDER BY id) FROM audit_log WHERE action = 'backup.health'"), "missing archived ok corrupt")

	// A checksum clears what an inventory took for another object.
	job := must[[]controller.Job](t)(f.CreateVerify(ctx, f.admin, controller.VerifyRequest{Backup: b.ID, Level: wire.LevelChecksum}))[0]
	o := f.started(a)
	f.ok(f.ReportDone(ctx, a.AgentID, a.session, wire.Report{Attempt: o.Attempt, Outcome: wire.OutcomeVerified, Read: readResult(b)}))
	equal(t, "job", f.job(job.ID).Status, controller.JobCompleted)
	if now := f.backup(b.ID); now.Health != controller.HealthOK || now.HealthReason != "" {
		t.Fatalf("%s: %q", now.Health, now.HealthReason)
	}

	// Findings are kept with when they were first seen, and forgotten by the first whole inventory without them.
	at := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	odd := controller.StorageFinding{Kind: "object", Key: "pre/s3/backups/a\x00\xff", Size: 3, ModifiedAt: &at}
	twin := odd
	twin.Key = "pre/s3/backups/a\ufffd"
	upload := controller.StorageFinding{Kind: "upload", Key: "pre/s3/backups/u", UploadID: "1"}
	_, err := f.RecordInventory(ctx, due, controller.InventoryPage{Foreign: []controller.StorageFinding{odd, twin, upload}})
	f.ok(err)
	f.ok(f.FinishInventory(ctx, due, controller.InventoryTotals{}, time.Hour))
	found := must[[]controller.StorageFinding](t)(f.StorageFindings(ctx, f.admin, "s3", 10))
	if len(found) != 2 || found[0].Size != 3 || !found[0].ModifiedAt.Equal(at) || found[1].UploadID != "1" || found[1].ModifiedAt != nil {
		t.Fatalf("%+v", found)
	}
	due = f.due("s3")
	_, err = f.RecordInventory(ctx, due, controller.InventoryPage{Foreign: []controller.StorageFinding{upload}})
	f.ok(err)
	f.ok(f.FailInventory(ctx, due, "broken off", time.Minute, time.Hour))
	equal(t, "findings after one that broke off", len(must[[]controller.StorageFinding](t)(f.StorageFindings(ctx, f.admin, "s3", 10))), 2)
	due = f.due("s3")
	_, err = f.RecordInventory(ctx, due, controller.InventoryPage{Foreign: []controller.StorageFinding{upload}})
	f.ok(err)
	f.ok(f.FinishInventory(ctx, due, controller.InventoryTotals{}, time.Hour))
	if now := must[[]controller.StorageFinding](t)(f.StorageFindings(ctx, f.admin, "s3", 10)); len(now) != 1 || !now[0].FirstSeenAt.Equal(found[1].FirstSeenAt) || !now[0].SeenAt.After(found[1].SeenAt) {
		t.Fatalf("%+v", now)
	}
}

// Each host of a local storage that holds backups has an inventory of its own, which waits while the host is offline and ends with it.
func TestInventory_Hosts(t *testing.T) {
	t.Parallel()
	f, p, a := localWorld(t, "app")
	ctx := t.Context()
	idle := f.enrol("db-8", p)
	f.hello(idle)
	f.completed(a, "app")
	f.ok(f.PlanInventories(ctx, 0, time.Second))
	all := must[[]controller.StorageInventory](t)(f.StorageInventories(ctx, f.admin, "host", 0, 0))
	if len(all) != 1 || all[0].Server != "db-7" || all[0].ServerID != a.ID {
		t.Fatalf("%+v", all)
	}
	f.sql("UPDATE servers SET last_seen_at = now() - interval '1 hour' WHERE name = 'db-7'")
	f.sql("UPDATE storage_inventories SET due_at = now()")
	for _, d := range must[[]controller.InventoryDue](t)(f.ClaimInventories(ctx, 10)) {
		if d.Storage == "host" {
			t.Fatalf("that of a host that is offline: %+v", d)
		}
	}
	f.helloAgain(a)
	due := f.due("host")
	if due.Server.AgentID != a.AgentID || due.Server.Session == "" || due.Kind != controller.StorageLocal {
		t.Fatalf("%+v", due)
	}
	known, _, err := f.KnownObjects(ctx, due, "host/backups/", "host/backups0", nil)
	f.ok(err)
	equal(t, "objects", len(known), 3)
	_, err = f.RecordInventory(ctx, due, controller.InventoryPage{Foreign: []controller.StorageFinding{{Kind: "object", Key: "host/backups/x"}}})
	f.ok(err)
	equal(t, "host of a finding", must[[]controller.StorageFinding](t)(f.StorageFindings(ctx, f.admin, "host", 10))[0].Server, "db-7")
	must[controller.Server](t)(f.RevokeServer(ctx, f.admin, "db-7"))
	f.ok(f.PlanInventories(ctx, 0, time.Second))
	equal(t, "inventories of a revoked host", len(must[[]controller.StorageInventory](t)(f.StorageInventories(ctx, f.admin, "host", 0, 0))), 0)
	equal(t, "findings of a revoked host", len(must[[]controller.StorageFinding](t)(f.StorageFindings(ctx, f.admin, "host", 10))), 0)
}

// A caller of some projects looks into their own storages only.
func TestInventory_Scope(t *testing.T) {
	t.Parallel()
	f := open(t)
	p, _ := f.world("app")
	other := f.project("other")
	ctx := t.Context()
	spec := controller.StorageSpec{Name: "own", Kind: "s3", Endpoint: "http://127.0.0.1:1", Bucket: "own", PathStyle: true, AccessKey: "ak", SecretKey: "sk-canary", Project: p.Slug}
	must[controller.Storage](t)(f.CreateStorage(ctx, f.admin, spec, json.RawMessage(`{}`), true, "sha256"))
	for _, tc := range []struct {
		who           controller.Actor
		storage, code string
	}{
		{only(p), "own", ""}, {only(p), "s3", controller.EForbidden}, {only(other), "own", controller.ENotFound}, {f.admin, "s3", ""}, {f.admin, "none", controller.ENotFound},
	} {
		_, one := f.StorageInventories(ctx, tc.who, tc.storage, 0, 0)
		_, two := f.RequestInventory(ctx, tc.who, tc.storage)
		_, three := f.StorageFindings(ctx, tc.who, tc.storage, 10)
		for _, err := range []error{one, two, three} {
			if controller.ErrorCode(err) != tc.code {
				t.Errorf("%s by %v: %v, want %q", tc.storage, tc.who.Scope, err, tc.code)
			}
		}
	}
}

// Rows in work that nothing works on are ended, with the reason in the record; what is being worked on is left alone.
func TestSweep_Stuck(t *testing.T) {
	t.Parallel()
	f := open(t)
	p, a := f.world("app", "two", "three", "four")
	ctx := t.Context()
	good := f.completed(a, "app")
	old := "created_at = now() - interval '11 minutes'"
	jobless, fresh, working := f.order("two"), f.order("three"), f.order("four")
	for _, b := range []controller.Backup{jobless, fresh} {
		f.sql("DELETE FROM jobs WHERE backup_id = %d", b.ID)
	}
	f.sql("UPDATE database_backups SET %s WHERE id <> %d", old, fresh.ID)
	r := must[controller.Restore](t)(f.CreateRestore(ctx, f.admin, controller.RestoreRequest{Backup: good.ID, Database: "copy"}))
	f.sql("DELETE FROM jobs WHERE restore_id = %d", r.ID)
	f.sql("UPDATE restores SET %s", old)
	half := wire.Inventory{Hash: "half", Databases: []wire.Database{{Instance: "main", Engine: wire.EnginePostgreSQL, Name: "x"}}}
	f.ok(f.Inventory(ctx, a.AgentID, a.session, half))
	f.sql("UPDATE inventory_pages SET at = now() - interval '25 hours'")

	res := must[controller.SweepResult](t)(f.another("two").Sweep(ctx))
	if res.Stuck != 2 || res.Pages != 1 || res.Orphaned != 0 {
		t.Fatalf("%+v", res)
	}
	b := f.backup(jobless.ID)
	if b.Status != controller.StatusFailed || *b.ErrorCode != wire.CodeOrphaned || !strings.Contains(*b.ErrorMessage, "no job") || b.CompletedAt == nil {
		t.Errorf("%+v", b)
	}
	equal(t, "one that was just made", f.backup(fresh.ID).Status, controller.StatusPending)
	equal(t, "one that has a job", f.backup(working.ID).Status, controller.StatusPending)
	equal(t, "one that is completed", f.backup(good.ID).Status, controller.StatusCompleted)
	if r = must[controller.Restore](t)(f.Restore(ctx, f.admin, r.ID)); r.Status != controller.StatusFailed || *r.ErrorCode != wire.CodeOrphaned {
		t.Errorf("%+v", r)
	}

	// Jobs whose attempt does not stand.
	o := f.started(a)
	f.sql("UPDATE jobs SET status = 'finishing' WHERE id = %d", o.Attempt.Job)
	res = must[controller.SweepResult](t)(f.Sweep(ctx))
	j := f.job(o.Attempt.Job)
	if res.Orphaned != 1 || j.Status != controller.JobFailed || j.Failure.Code != wire.CodeOrphaned || f.backup(working.ID).Status != controller.StatusFailed {
		t.Fatalf("%+v, %+v", res, j)
	}
	equal(t, "attempt", f.sql("SELECT status || (sweep_after IS NOT NULL) FROM attempts WHERE job_id = %d", o.Attempt.Job), "failedtrue")
	f.sql("DELETE FROM jobs WHERE backup_id IN (%d)", fresh.ID)
	again := f.order("two")
	o = f.started(a)
	f.sql("UPDATE attempts SET status = 'lost' WHERE job_id = %d", o.Attempt.Job)
	if res = must[controller.SweepResult](t)(f.Sweep(ctx)); res.Orphaned != 1 || *f.backup(again.ID).ErrorCode != wire.CodeOrphaned {
		t.Fatalf("%+v", res)
	}
	if res = must[controller.SweepResult](t)(f.Sweep(ctx)); res != (controller.SweepResult{}) {
		t.Errorf("one more sweep: %+v", res)
	}
	_ = p
}

// A backup that its storage has archived is neither verified nor restored nor fetched, and no bulk verification fails for it.
func TestArchived(t *testing.T) {
	t.Parallel()
	f := open(t)
	_, a := f.world("app", "two")
	ctx := t.Context()
	b, other := f.completed(a, "app"), f.completed(a, "two")
	f.sql("UPDATE database_backups SET verified_at = now(), verified_level = 'checksum' WHERE id = %d", b.ID)
	must[[]controller.Job](t)(f.CreateVerify(ctx, f.admin, controller.VerifyRequest{Backup: b.ID, Level: wire.LevelChecksum}))
	o := f.started(a)
	r := fails(wire.CodeArchived)
	r.Attempt = o.Attempt
	f.ok(f.ReportDone(ctx, a.AgentID, a.session, r))
	if b = f.backup(b.ID); b.Health != controller.HealthArchived || !strings.Contains(b.HealthReason, "bring it back") || b.VerifiedAt == nil || b.HealthAt == nil {
		t.Fatalf("%s: %q", b.Health, b.HealthReason)
	}
	_, err := f.CreateVerify(ctx, f.admin, controller.VerifyRequest{Backup: b.ID, Level: wire.LevelChecksum})
	f.refused(err, controller.EConflict, "archived", "storage inventory")
	_, err = f.CreateRestore(ctx, f.admin, controller.RestoreRequest{Backup: b.ID, Database: "copy"})
	f.refused(err, controller.EConflict, "archived", "storage inventory")
	_, err = f.CreateDownload(ctx, f.admin, controller.DownloadRequest{Backup: b.ID}, hash("x"), 0)
	f.refused(err, controller.EConflict, "archived", "storage inventory")
	jobs := must[[]controller.Job](t)(f.CreateVerify(ctx, f.admin, controller.VerifyRequest{Project: "shop", Level: wire.LevelChecksum}))
	if len(jobs) != 1 || jobs[0].BackupID != other.ID {
		t.Errorf("verified are %+v", jobs)
	}
	// A restore that meets an archive says so of the backup too.
	must[controller.Restore](t)(f.CreateRestore(ctx, f.admin, controller.RestoreRequest{Backup: other.ID, Database: "copy"}))
	for _, o := range must[[]controller.Offer](t)(f.ClaimOffers(ctx, 5)) {
		f.ok(f.AttemptAccepted(ctx, o.Attempt, a.session))
		r.Attempt = o.Attempt
		if o.Kind == wire.JobRestore {
			f.ok(f.ReportDone(ctx, a.AgentID, a.session, r))
		}
	}
	equal(t, "health after the restore", f.backup(other.ID).Health, controller.HealthArchived)
}
