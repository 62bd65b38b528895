package app_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/testkit/s3kit"
	"devflowbackup/shared/wire"
)

// inventory asks for one of the storage "main" and waits for its end, well or not.
func (w *world) inventory() controller.StorageInventory {
	w.Helper()
	all, err := w.api.RequestInventory(w.Context(), "main")
	w.ok(err)
	before := all[0]
	eventually(w.T, "the inventory ends", func() bool {
		all, err = w.api.StorageInventories(w.Context(), "main")
		w.ok(err)
		i := all[0]
		return i.StartedAt != nil && (before.StartedAt == nil || i.StartedAt.After(*before.StartedAt)) && (i.Error != "" || i.EndedAt != nil && !i.EndedAt.Before(*i.StartedAt))
	})
	return all[0]
}

// bucket sends a request to the store itself.
func (w *world) bucket(method, key string, query url.Values, in []byte) (header http.Header, out []byte) {
	w.Helper()
	resp, err := w.s3.Do(w.Context(), method, "/"+w.s3.Bucket+"/"+key, query, nil, in)
	w.ok(err)
	defer resp.Body.Close()
	out, err = io.ReadAll(resp.Body)
	w.ok(err)
	if resp.StatusCode/100 != 2 {
		w.Fatalf("%s %s: %s %s", method, key, resp.Status, out)
	}
	return resp.Header, out
}

func (w *world) is(id int64, health string, says ...string) controller.Backup {
	w.Helper()
	b, err := w.api.Backup(w.Context(), id)
	w.ok(err)
	if b.Health != health || health == controller.HealthOK && len(says) == 0 && b.HealthReason != "" || health != controller.HealthOK && b.HealthAt == nil {
		w.Fatalf("backup %d is %s: %q, want %s", id, b.Health, b.HealthReason, health)
	}
	for _, s := range says {
		if !strings.Contains(b.HealthReason, s) {
			w.Errorf("backup %d is %s: %q does not say %q", id, b.Health, b.HealthReason, s)
		}
	}
	return b
}

// through puts a proxy before the store.
func (w *world) through() *s3kit.FaultProxy {
	w.Helper()
	p := s3kit.StartProxy(w, w.s3)
	_, err := w.api.UpdateStorage(w.Context(), "main", body.UpdateStorage{Endpoint: &p.Endpoint})
	w.ok(err)
	return p
}

func (w *world) backups(n int) (*host, []controller.Backup) {
	w.Helper()
	h := w.enrol(body.CreateEnrolment{ServerName: "db-7", Project: "shop"})
	h.connect()
	h.finds("app")
	h.assign("app")
	var all []controller.Backup
	for range n {
		all = append(all, h.backup("app"))
	}
	return h, all
}

// TestFault44_ObjectDeletedBehindOurBack removes, swaps, cuts and puts back what lies at a store: the next inventory says so, and what to do.
func TestFault44_ObjectDeletedBehindOurBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h, b := w.backups(6)
	ctx := t.Context()
	proxy := w.through()

	first := w.inventory()
	if first.Error != "" || first.Objects != 18 || first.Missing+first.Damaged+first.Archived+first.ForeignObjects+first.StaleUploads != 0 || first.Requests != 2 {
		t.Fatalf("of an untouched storage: %+v", first)
	}
	if first.Bytes < *b[0].FileSize*6 || proxy.Count("HeadObject") > 6 {
		t.Errorf("%d bytes, %d HEADs", first.Bytes, proxy.Count("HeadObject"))
	}

	// 0: gone. 1: another object. 2: cut. 3: its manifest is gone. 4: its fingerprint is gone. 5: stays.
	kept := map[string][]byte{}
	fingerprint := artifact.FingerprintKey(b[4].FilePath, artifact.CodecOf(b[4].FilePath))
	manifest := artifact.ManifestKey(b[3].FilePath)
	for _, key := range []string{b[0].FilePath, fingerprint, manifest, b[1].FilePath} {
		_, kept[key] = w.bucket(http.MethodGet, key, nil, nil)
	}
	for _, key := range []string{b[0].FilePath, fingerprint, manifest} {
		w.bucket(http.MethodDelete, key, nil, nil)
	}
	w.bucket(http.MethodPut, b[1].FilePath, nil, kept[b[0].FilePath])
	w.ok(w.s3.TruncateObject(w.s3.Bucket, b[2].FilePath, 10))
	// Somebody's own.
	w.bucket(http.MethodPut, "backups/2026/notes.txt", nil, []byte("notes"))
	w.bucket(http.MethodPost, "backups/2026/upload.bin", url.Values{"uploads": {""}}, nil)

	i := w.inventory()
	if i.Error != "" || i.Missing != 1 || i.Damaged != 2 || i.ForeignObjects != 1 || i.StaleUploads != 1 || i.Recovered != 0 {
		t.Fatalf("%+v", i)
	}
	w.is(b[0].ID, controller.HealthMissing, b[0].FilePath, "make a new backup")
	w.is(b[1].ID, controller.HealthCorrupt, "artifact", "ETag", "who wrote")
	w.is(b[2].ID, controller.HealthCorrupt, "artifact", "10 bytes")
	w.is(b[3].ID, controller.HealthOK)
	w.is(b[4].ID, controller.HealthOK, "its fingerprint is gone", fingerprint) // the database can be had back without it
	w.is(b[5].ID, controller.HealthOK)
	if _, again := w.bucket(http.MethodGet, manifest, nil, nil); !bytes.Equal(again, kept[manifest]) {
		t.Error("the manifest that was put back is another one")
	}
	if _, err := w.api.CreateRestore(ctx, body.CreateRestore{BackupID: b[0].ID, ToServer: "db-7", ToDatabase: "copy"}); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("restore of what is gone: %v", err)
	}
	found, err := w.api.StorageFindings(ctx, "main", 0)
	w.ok(err)
	if len(found) != 2 || found[0].Key != "backups/2026/notes.txt" || found[0].Size != 5 || found[0].ModifiedAt == nil || found[1].Kind != "upload" || found[1].UploadID == "" {
		t.Fatalf("findings %+v", found)
	}

	// What comes back is good again, what was changed is until its verification.
	w.bucket(http.MethodPut, fingerprint, nil, kept[fingerprint])
	w.bucket(http.MethodDelete, "backups/2026/notes.txt", nil, nil)
	i = w.inventory()
	if i.Error != "" || i.Missing != 1 || i.Damaged != 2 || i.Recovered != 0 || i.ForeignObjects != 0 || i.StaleUploads != 1 {
		t.Fatalf("%+v", i)
	}
	w.is(b[4].ID, controller.HealthOK)
	w.is(b[0].ID, controller.HealthMissing)
	w.is(b[1].ID, controller.HealthCorrupt)
	now, err := w.api.StorageFindings(ctx, "main", 0)
	w.ok(err)
	if len(now) != 1 || now[0].Kind != "upload" || !now[0].FirstSeenAt.Equal(found[1].FirstSeenAt) || !now[0].SeenAt.After(found[1].SeenAt) {
		t.Errorf("findings %+v", now)
	}
	if j := h.verify(b[5].ID); j.Status != controller.JobCompleted {
		t.Errorf("verify: %+v", j.Failure)
	}
	if n := w.owner("SELECT count(*) FROM audit_log WHERE action = 'backup.health'"); n != "3" {
		t.Errorf("%s audit rows of changed health", n)
	}
}

// What an attempt that ended left behind is removed, what is at work is not.
func TestInventory_StaleUploads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h, _ := w.backups(1)
	ctx := t.Context()
	at := func(key string) (id string) {
		_, out := w.bucket(http.MethodPost, key, url.Values{"uploads": {""}}, nil)
		_, id, _ = strings.Cut(string(out), "<UploadId>")
		id, _, _ = strings.Cut(id, "</UploadId>")
		return id
	}
	open := func() string {
		_, out := w.bucket(http.MethodGet, "", url.Values{"uploads": {""}}, nil)
		return string(out)
	}
	dead := w.order("app")
	j := h.job()
	h.ok(h.ask(wire.VerbReport, wire.Report{Attempt: j.Attempt, Outcome: wire.OutcomeFailed, Failure: wire.Failf(wire.CodeToolFailed, "it failed")}, nil))
	eventually(t, "the attempt is swept", func() bool {
		return w.owner(fmt.Sprintf("SELECT count(*) FROM attempts WHERE job_id = %d AND swept_at IS NOT NULL", j.Attempt.Job)) == "1"
	})
	stale, strange := at(j.Backup.Key), at("backups/strange")
	b := w.order("app")
	working := h.job()
	i := w.inventory()
	if i.Error != "" || i.StaleUploads != 2 {
		t.Fatalf("%+v", i)
	}
	list := open()
	if strings.Contains(list, stale) || !strings.Contains(list, strange) || !strings.Contains(list, "<Key>"+working.Backup.Key+"</Key>") {
		t.Errorf("open are %s", list)
	}
	found, err := w.api.StorageFindings(ctx, "main", 0)
	w.ok(err)
	if len(found) != 1 || found[0].UploadID != strange {
		t.Errorf("findings %+v", found)
	}
	if got, err := w.api.Backup(ctx, dead.ID); err != nil || got.Status != controller.StatusFailed {
		t.Errorf("%+v, %v", got, err)
	}
	// What is at work goes on to its end.
	h.ok(h.ask(wire.VerbReport, h.upload(working), nil))
	w.completed(b.ID)
}

// An object that was moved to an archive is shown as such, is neither verified nor restored nor fetched, and is good again once the store
// has brought it back.
func TestInventory_Archived(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h, b := w.backups(3)
	ctx := t.Context()
	if j := h.verify(b[0].ID); j.Status != controller.JobCompleted {
		t.Fatal(j.Failure)
	}
	proxy := w.through()
	more := ""
	rule := proxy.Inject("ListObjectsV2", 0, func(x *s3kit.Exchange) {
		resp, err := x.RoundTrip(x.R.Context(), x.R.Body)
		if err != nil {
			x.Reset()
			return
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		out := ""
		for _, part := range strings.SplitAfter(string(text), "</Contents>") {
			if strings.Contains(part, "<Key>"+b[0].FilePath+"</Key>") {
				part = strings.Replace(strings.Replace(part, "<StorageClass>STANDARD</StorageClass>", "", 1), "</Contents>", "<StorageClass>DEEP_ARCHIVE</StorageClass>"+more+"</Contents>", 1)
			}
			out += part
		}
		resp.Header.Set("Content-Length", fmt.Sprint(len(out)))
		x.Reply(resp, strings.NewReader(out))
	})
	if i := w.inventory(); i.Error != "" || i.Archived != 1 || i.Missing+i.Damaged != 0 || rule.Fired() == 0 {
		t.Fatalf("%+v", i)
	}
	if got := w.is(b[0].ID, controller.HealthArchived, "DEEP_ARCHIVE", "brought back", "inventory"); got.VerifiedAt == nil {
		t.Error("what was proven of it is forgotten")
	}
	for what, ask := range map[string]func() error{
		"verify": func() error { _, err := w.api.VerifyBackup(ctx, b[0].ID, wire.LevelChecksum); return err },
		"restore": func() error {
			_, err := w.api.CreateRestore(ctx, body.CreateRestore{BackupID: b[0].ID, ToServer: "db-7", ToDatabase: "copy"})
			return err
		},
		"fetch": func() error { _, err := w.api.CreateDownload(ctx, b[0].ID, body.CreateDownload{}); return err },
	} {
		if err := ask(); err == nil || !strings.Contains(err.Error(), "archived") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := w.api.BackupManifest(ctx, b[0].ID); err != nil {
		t.Errorf("its manifest: %v", err)
	}

	// The store still says so by HEAD although the listing does not: intelligent tiering.
	head := proxy.Add(&s3kit.Rule{Match: s3kit.And(s3kit.Op("HeadObject"), s3kit.Key(b[0].FilePath)), Action: func(x *s3kit.Exchange) {
		resp, err := x.RoundTrip(x.R.Context(), x.R.Body)
		if err != nil {
			x.Reset()
			return
		}
		defer resp.Body.Close()
		resp.Header.Set("X-Amz-Storage-Class", "INTELLIGENT_TIERING")
		resp.Header.Set("X-Amz-Archive-Status", "ARCHIVE_ACCESS")
		x.Reply(resp, http.NoBody)
	}})
	more = "<RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress><RestoreExpiryDate>2040-01-02T03:04:05Z</RestoreExpiryDate></RestoreStatus>"
	if i := w.inventory(); i.Archived != 1 || head.Fired() == 0 {
		t.Fatalf("%+v", i)
	}
	proxy.Reset()
	if i := w.inventory(); i.Archived != 0 || i.Recovered != 1 {
		t.Fatalf("%+v", i)
	}
	w.is(b[0].ID, controller.HealthOK)

	// A reader that meets an archive nobody knew of.
	j, err := w.api.VerifyBackup(ctx, b[1].ID, wire.LevelChecksum)
	w.ok(err)
	job := h.job()
	h.ok(h.ask(wire.VerbReport, wire.Report{Attempt: job.Attempt, Outcome: wire.OutcomeFailed, Failure: wire.Failf(wire.CodeArchived, "it lies in an archive")}, nil))
	if j = w.ended(j.ID); j.Failure == nil || j.Failure.Code != wire.CodeArchived {
		t.Errorf("%+v", j)
	}
	w.is(b[1].ID, controller.HealthArchived, "bring it back", "ask the store")
}

// An inventory that does not come to its end changes nothing that it has not seen, says why, and is tried again.
func TestInventory_Fails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, b := w.backups(2)
	proxy := w.through()
	w.inventory()
	w.bucket(http.MethodDelete, b[0].FilePath, nil, nil)
	for name, tc := range map[string]struct {
		op     string
		action s3kit.Action
		says   string
	}{
		"listing denied":    {"ListObjectsV2", s3kit.Status(403, "AccessDenied"), "s3:ListBucket"},
		"no bucket":         {"ListObjectsV2", s3kit.Status(404, "NoSuchBucket"), "bucket"},
		"HEAD denied":       {"HeadObject", s3kit.Status(403, "AccessDenied"), "did not tell"},
		"out of order":      {"ListObjectsV2", reversed, "order"},
		"uploads not to be": {"ListMultipartUploads", s3kit.Status(403, "AccessDenied"), "s3:ListBucketMultipartUploads"},
	} {
		rule := proxy.Inject(tc.op, 0, tc.action)
		i := w.inventory()
		if !strings.Contains(i.Error, tc.says) || rule.Fired() == 0 {
			t.Errorf("%s: %+v", name, i)
		}
		if i.DueAt.Before(*i.StartedAt) {
			t.Errorf("%s: due again at once", name)
		}
		if tc.op != "ListMultipartUploads" {
			w.is(b[0].ID, controller.HealthOK)
		}
		proxy.Reset()
		w.owner(fmt.Sprintf("UPDATE database_backups SET health = 'ok', health_reason = '' WHERE id = %d", b[0].ID))
	}
	if i := w.inventory(); i.Error != "" || i.Missing != 1 {
		t.Errorf("%+v", i)
	}
	w.is(b[0].ID, controller.HealthMissing)
	w.is(b[1].ID, controller.HealthOK)
}

// reversed answers with the listing from its end to its beginning.
func reversed(x *s3kit.Exchange) {
	resp, err := x.RoundTrip(x.R.Context(), x.R.Body)
	if err != nil {
		x.Reset()
		return
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	from, to := bytes.Index(text, []byte("<Contents>")), bytes.LastIndex(text, []byte("</Contents>"))+len("</Contents>")
	var out string
	for _, part := range bytes.SplitAfter(text[from:to], []byte("</Contents>")) {
		out = string(part) + out
	}
	out = string(text[:from]) + out + string(text[to:])
	resp.Header.Set("Content-Length", fmt.Sprint(len(out)))
	x.Reply(resp, strings.NewReader(out))
}
