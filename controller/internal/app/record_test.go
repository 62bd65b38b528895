package app_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/app"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

// edit is one column of one row, and what it is changed to.
type edit struct{ table, where, column, to, named string }

// edits are the columns that a backup's manifest vouches for.
func edits(b controller.Backup) []edit {
	row := fmt.Sprintf("id = %d", b.ID)
	backup := func(column, to string) edit { return edit{"database_backups", row, column, to, column} }
	object := func(name, column, to string) edit {
		return edit{"backup_objects", fmt.Sprintf("backup_id = %d AND object = '%s'", b.ID, name), column, to, name + "'s " + column}
	}
	attempt := func(column, to string) edit {
		return edit{"attempts", fmt.Sprintf("job_id = %d AND no = 1", b.JobID), column, to, "attempt"}
	}
	digest := "repeat('0', 64)"
	list := []edit{
		backup("project_id", "(SELECT id FROM projects WHERE slug = 'other')"), backup("server_id", "(SELECT id FROM servers WHERE name = 'db-8')"),
		backup("storage_id", "(SELECT id FROM storages WHERE name = 'second')"), backup("storage_disk", "'local'"), backup("type", "'pre_deploy'"),
		backup("database_type", "'mysql'"), backup("database_name", "'other'"), backup("file_path", "file_path || 'x'"), backup("file_name", "'x'"),
		backup("file_size", "file_size + 1"), backup("checksum", digest), backup("raw_size", "raw_size - 1"), backup("raw_checksum", digest),
		backup("composite", "'x-1'"), backup("etag", "'x'"), backup("version_id", "'x'"), backup("compression", "'gzip'"), backup("level", "level + 1"),
		backup("encryption", "'none'"), backup("metadata", `metadata || '{"tool_version": "9"}'`), backup("metadata", `metadata || '{"tables_count": 9}'`),
		backup("manifest", "convert_to(replace(convert_from(manifest, 'UTF8'), '\"slug\": \"shop\"', '\"slug\": \"evil\"'), 'UTF8')"),
		backup("manifest", "'{}'"),
		attempt("attempt_id", "'ponmlkjihgfedcba'"), attempt("order_body", "order_body - 'recipients'"),
	}
	for _, name := range []string{wire.ObjectArtifact, wire.ObjectFingerprint, controller.ObjectManifest} {
		list = append(list, object(name, "key", "key || 'x'"), object(name, "stored_size", "stored_size + 1"), object(name, "stored_sha256", digest),
			object(name, "raw_size", "raw_size + 1"), object(name, "raw_sha256", digest), object(name, "mac", "'00'"))
	}
	return list
}

// TestFault65_RowsEdited edits every column that the manifest vouches for by SQL, as the owner of the tables: the backup is neither verified
// nor restored nor fetched, it is shown as corrupt with the column, and a security event is recorded. Put right again, it is good.
func TestFault65_RowsEdited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	h := w.enrol(body.CreateEnrolment{ServerName: "db-7", Project: "shop"})
	w.enrol(body.CreateEnrolment{ServerName: "db-8"})
	_, err := w.api.CreateProject(ctx, body.CreateProject{Slug: "other"})
	w.ok(err)
	w.ok(w.api.GrantServer(ctx, "other", "db-7"))
	_, err = w.api.CreateStorage(ctx, body.CreateStorage{
		Name: "second", Endpoint: w.s3.Endpoint, Region: w.s3.Region, Bucket: w.s3.Bucket, Prefix: "second", AccessKey: w.s3.AccessKey, SecretKey: "none", Force: true,
	})
	w.ok(err)
	h.connect()
	h.finds("app")
	h.assign("app")
	b := h.backup("app")
	healthy := fmt.Sprintf("UPDATE database_backups SET health = 'ok', health_reason = '' WHERE id = %d; ", b.ID)

	undo := ""
	for n, e := range edits(b) {
		set := func(to string) string {
			return fmt.Sprintf("UPDATE %s SET %s = %s WHERE %s; ", e.table, e.column, to, e.where)
		}
		read := fmt.Sprintf("SELECT quote_nullable(%s) FROM %s WHERE %s; ", e.column, e.table, e.where)
		old, now, both := strings.Cut(w.owner(undo+read+set(e.to)+read), "\n")
		if !both || now == old {
			t.Fatalf("%s was not changed", e.named)
		}

		j, err := w.api.VerifyBackup(ctx, b.ID, wire.LevelChecksum)
		w.ok(err)
		if j = w.ended(j.ID); j.Failure == nil || j.Failure.Code != wire.CodeRecord || !strings.Contains(j.Failure.Message, e.named) {
			t.Errorf("verify with another %s: %s, %+v", e.named, j.Status, j.Failure)
		}
		got, err := w.api.Backup(ctx, b.ID)
		w.ok(err)
		if got.Health != controller.HealthCorrupt || !strings.Contains(got.HealthReason, e.named) || got.HealthAt == nil || got.VerifiedAt != nil {
			t.Errorf("with another %s it is %s: %q", e.named, got.Health, got.HealthReason)
		}

		w.owner(healthy)
		r, err := w.api.CreateRestore(ctx, body.CreateRestore{BackupID: b.ID, ToServer: "db-7", ToDatabase: fmt.Sprintf("copy_%d", n)})
		w.ok(err)
		if j := w.ended(r.JobID); j.Failure == nil || j.Failure.Code != wire.CodeRecord || !strings.Contains(j.Failure.Message, e.named) {
			t.Errorf("restore with another %s: %s, %+v", e.named, j.Status, j.Failure)
		}

		d, err := w.api.CreateDownload(ctx, b.ID, body.CreateDownload{})
		if err == nil { // a link to the controller is refused when it is used
			_, err = w.api.Open(ctx, d, 0)
		}
		var p *body.Problem
		if !errors.As(err, &p) || p.Code != controller.EConflict || !strings.Contains(p.Detail, e.named) {
			t.Errorf("fetch with another %s: %v", e.named, err)
		}
		undo = set(old) + healthy
	}
	w.owner(strings.TrimSuffix(undo, healthy))
	if got := w.owner("SELECT count(DISTINCT detail) FROM security_events WHERE kind = 'record_differs'"); got == "0" {
		t.Error("no security event")
	}
	select {
	case j := <-h.jobs:
		t.Errorf("the host was sent %+v", j)
	default:
	}

	// Put right, a verification finds it good again.
	if got, err := w.api.Backup(ctx, b.ID); err != nil || got.Health != controller.HealthCorrupt {
		t.Fatalf("%+v, %v", got, err)
	}
	if j := h.verify(b.ID); j.Status != controller.JobCompleted {
		t.Fatalf("verify: %+v", j.Failure)
	}
	got, err := w.api.Backup(ctx, b.ID)
	if err != nil || got.Health != controller.HealthOK || got.HealthReason != "" || got.VerifiedAt == nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// The manifest at the storage is held against the catalog's too.
func TestFault65_ManifestAtStorage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.enrol(body.CreateEnrolment{ServerName: "db-7", Project: "shop"})
	h.connect()
	h.finds("app")
	h.assign("app")
	b := h.backup("app")
	objects, key := openStorage(t, app.NewStorages(hclog.NewNullLogger(), nil), access(w.s3, w.s3.Endpoint)), artifact.ManifestKey(b.FilePath)
	manifest, err := w.api.BackupManifest(t.Context(), b.ID)
	w.ok(err)
	put := func(text []byte) {
		_, err := objects.Put(t.Context(), key, text, "application/json")
		w.ok(err)
	}
	for name, change := range map[string]func(){
		"other bytes":     func() { put(bytes.Replace(manifest, []byte("db-7"), []byte("db-8"), 1)) },
		"a longer one":    func() { put(append(bytes.Clone(manifest), ' ')) },
		"damaged at rest": func() { w.ok(w.s3.CorruptObject(w.s3.Bucket, key, 20)) },
	} {
		change()
		j, err := w.api.VerifyBackup(t.Context(), b.ID, wire.LevelChecksum)
		w.ok(err)
		if j = w.ended(j.ID); j.Failure == nil || j.Failure.Code != wire.CodeCorrupt || !strings.Contains(j.Failure.Message, "manifest") {
			t.Errorf("%s: %s, %+v", name, j.Status, j.Failure)
		}
		if got, err := w.api.Backup(t.Context(), b.ID); err != nil || got.Health != controller.HealthCorrupt || !strings.Contains(got.HealthReason, "manifest") {
			t.Errorf("%s: %s: %q, %v", name, got.Health, got.HealthReason, err)
		}
		put(manifest)
		if j := h.verify(b.ID); j.Status != controller.JobCompleted {
			t.Fatalf("%s, and put right: %+v", name, j.Failure)
		}
	}
	w.ok(objects.Delete(t.Context(), key))
	j, err := w.api.VerifyBackup(t.Context(), b.ID, wire.LevelChecksum)
	w.ok(err)
	if j = w.ended(j.ID); j.Failure == nil || j.Failure.Code != wire.CodeMissing || !strings.Contains(j.Failure.Message, "manifest") {
		t.Errorf("gone: %s, %+v", j.Status, j.Failure)
	}
}
