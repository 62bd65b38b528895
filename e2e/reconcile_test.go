package e2e_test

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/testkit/s3kit"
)

// inventory is what was found on a storage.
type inventory struct {
	Server         string
	Objects        int64
	Requests       int64
	Missing        int
	Damaged        int
	Archived       int
	Recovered      int
	ForeignObjects int `json:"foreign_objects"`
	StaleUploads   int `json:"stale_uploads"`
	Error          string
}

// found is what is not as it should be.
func (i inventory) found() string {
	return fmt.Sprintf("missing %d, corrupt %d, archived %d, again %d, foreign %d, uploads %d, error %q", i.Missing, i.Damaged, i.Archived, i.Recovered, i.ForeignObjects, i.StaleUploads, i.Error)
}

// inventory makes one of a storage, of a local one that of db1, and waits for its end.
func (w *faultWorld) inventory(t *testing.T, ctx context.Context, storage string) inventory {
	t.Helper()
	all := read[[]inventory](t, ctx, w.ctl, "storage", "inventory", storage, "--now", "--wait")
	if len(all) != 1 || (all[0].Server == "db1") != (storage == here) {
		t.Fatalf("the inventories of %s are %+v", storage, all)
	}
	return all[0]
}

// health checks what a backup's health is, and that people are told why, in these words.
func (w *faultWorld) health(t *testing.T, ctx context.Context, id int64, health string, words ...string) {
	t.Helper()
	b, err := w.ctl.Backup(ctx, id)
	if err != nil || b.Health != health {
		t.Errorf("backup %d is %s, want %s: %v", id, b.Health, health, err)
	}
	text := do(t, ctx, w.ctl, "backup", "show", fmt.Sprint(id))
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("backup %d is %s and does not say %q:\n%s", id, b.Health, word, text)
		}
	}
}

// useless checks that a backup is neither restored, nor counted or removed by retention, for the reason of this code.
func (w *faultWorld) useless(t *testing.T, ctx context.Context, id int64, code string, words ...string) {
	t.Helper()
	to := w.files.Name("r_useless")
	refused(t, ctx, w.ctl, 1, words, "restore", "create", fmt.Sprint(id), "--to-database", to)
	if _, err := os.Stat(to); err == nil {
		t.Errorf("there is a copy of backup %d", id)
	}
	if got := w.cleanUp(t, ctx, "--dry-run").decided(id); got != "keep: "+code {
		t.Errorf("to retention backup %d is %q", id, got)
	}
	rows, err := w.catalog.Rows(ctx, "SELECT id FROM jobs WHERE backup_id = $1 AND kind = 'restore'", id)
	if err != nil || len(rows) > 0 {
		t.Errorf("a restore was begun: %v, %v", rows, err)
	}
}

// put writes an object past the proxy.
func (w *faultWorld) put(t *testing.T, ctx context.Context, key string, body []byte) {
	t.Helper()
	resp, err := w.s3.Do(ctx, http.MethodPut, "/"+w.s3.Bucket+"/"+key, nil, nil, body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != http.StatusOK {
		t.Fatalf("put %s: %s", key, resp.Status)
	}
}

// remove deletes an object, or aborts an upload, past the proxy.
func (w *faultWorld) remove(t *testing.T, ctx context.Context, key string, query url.Values) {
	t.Helper()
	resp, err := w.s3.Do(ctx, http.MethodDelete, "/"+w.s3.Bucket+"/"+key, query, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != http.StatusNoContent {
		t.Fatalf("delete %s: %s", key, resp.Status)
	}
}

// upload begins one past the proxy and returns its id.
func (w *faultWorld) upload(t *testing.T, ctx context.Context, key string) string {
	t.Helper()
	resp, err := w.s3.Do(ctx, http.MethodPost, "/"+w.s3.Bucket+"/"+key, url.Values{"uploads": {""}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var begun struct {
		UploadId string //nolint:revive // the element's name
	}
	if err := xml.NewDecoder(resp.Body).Decode(&begun); err != nil || begun.UploadId == "" {
		t.Fatalf("begin an upload of %s: %s, %v", key, resp.Status, err)
	}
	return begun.UploadId
}

// putParts writes an object past the proxy as the agent does, in parts: its ETag says so.
func (w *faultWorld) putParts(t *testing.T, ctx context.Context, key string, body []byte) {
	t.Helper()
	path, id := "/"+w.s3.Bucket+"/"+key, w.upload(t, ctx, key)
	resp, err := w.s3.Do(ctx, http.MethodPut, path, url.Values{"partNumber": {"1"}, "uploadId": {id}}, nil, body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	parts := fmt.Sprintf("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%s</ETag></Part></CompleteMultipartUpload>", resp.Header.Get("ETag"))
	if resp, err = w.s3.Do(ctx, http.MethodPost, path, url.Values{"uploadId": {id}}, nil, []byte(parts)); err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(text), "<ETag>") {
		t.Fatalf("put %s: %s %s %v", key, resp.Status, text, err)
	}
}

// TestReconcile holds storages against the catalog after somebody was there.
func TestReconcile(t *testing.T) {
	t.Parallel()
	w := newLocalWorld(t, faultOptions{files: true, big: 1 << 20})
	ctx := faultContext(t)
	names := w.fileBases(t, ctx, "n1", "n2", "n3", "n4")
	var wishes []wish
	for _, name := range names[:3] {
		wishes = append(wishes, wish{name, nil})
	}
	w.rounds(t, ctx, 1, append(wishes, wish{names[3], onHost})...)
	for _, b := range mustBackups(t, ctx, w.ctl, "shop") {
		w.good(t, ctx, b.ID)
	}
	w.fault(t, "44/a bucket", w.strangersInBucket)
	w.fault(t, "44/the directory of a host", w.strangersOnHost)
	w.fault(t, "archived", w.archived)
	w.fault(t, "uploads", w.staleUploads)
	w.fault(t, "a replaced server", w.replaced)
}

// byDatabase finds the backup of each database of the words.
func (w *faultWorld) byDatabase(t *testing.T, ctx context.Context, words ...string) (out []stack.Backup) {
	t.Helper()
	all := mustBackups(t, ctx, w.ctl, "shop")
	for _, word := range words {
		i := slices.IndexFunc(all, func(b stack.Backup) bool { return b.DatabaseName == w.files.Name(word) && b.Status == "completed" })
		if i < 0 {
			t.Fatalf("there is no backup of %s", word)
		}
		out = append(out, all[i])
	}
	return out
}

func (w *faultWorld) strangersInBucket(t *testing.T, ctx context.Context) {
	b := w.byDatabase(t, ctx, "n1", "n2", "n3")
	if i := w.inventory(t, ctx, "store"); i.found() != "missing 0, corrupt 0, archived 0, again 0, foreign 0, uploads 0, error \"\"" || i.Objects != 9 || i.Requests != 2 {
		t.Fatalf("untouched it is %+v", i)
	}
	gone, err := w.s3.Get(ctx, b[0].FilePath)
	if err != nil {
		t.Fatal(err)
	}
	cut, err := w.s3.Get(ctx, b[1].FilePath)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := w.s3.Get(ctx, artifact.ManifestKey(b[2].FilePath))
	if err != nil {
		t.Fatal(err)
	}
	w.remove(t, ctx, b[0].FilePath, nil)
	if err := w.s3.TruncateObject(w.s3.Bucket, b[1].FilePath, b[1].FileSize-1); err != nil {
		t.Fatal(err)
	}
	w.remove(t, ctx, artifact.ManifestKey(b[2].FilePath), nil)
	const notes = "backups/2026/notes.txt"
	w.put(t, ctx, notes, []byte("notes"))

	if i := w.inventory(t, ctx, "store"); i.found() != "missing 1, corrupt 1, archived 0, again 0, foreign 1, uploads 0, error \"\"" {
		t.Errorf("it is %s", i.found())
	}
	w.health(t, ctx, b[0].ID, "missing", "gone from storage \"store\"", "put it back")
	w.health(t, ctx, b[1].ID, "corrupt", fmt.Sprintf("has %d bytes, not %d", b[1].FileSize-1, b[1].FileSize), "make a new backup")
	w.health(t, ctx, b[2].ID, "ok")
	w.useless(t, ctx, b[0].ID, "missing", "missing")
	w.useless(t, ctx, b[1].ID, "corrupt", "corrupt")
	// The catalog has the manifest, byte for byte.
	if again, err := w.s3.Get(ctx, artifact.ManifestKey(b[2].FilePath)); err != nil || string(again) != string(manifest) {
		t.Errorf("the manifest that is there again is not the one that was there: %v", err)
	}
	if text := do(t, ctx, w.ctl, "storage", "inventory", "store", "--findings"); !strings.Contains(text, notes) || strings.Contains(text, b[0].FilePath) {
		t.Errorf("found is\n%s", text)
	}
	if kept, err := w.s3.Get(ctx, notes); err != nil || string(kept) != "notes" {
		t.Errorf("what is not ours is %q: %v", kept, err)
	}

	// What was gone is good again when it is there again; what was damaged, when it was read.
	w.putParts(t, ctx, b[0].FilePath, gone)
	w.putParts(t, ctx, b[1].FilePath, cut)
	w.remove(t, ctx, notes, nil)
	if i := w.inventory(t, ctx, "store"); i.found() != "missing 0, corrupt 0, archived 0, again 1, foreign 0, uploads 0, error \"\"" {
		t.Errorf("put back it is %s", i.found())
	}
	w.health(t, ctx, b[0].ID, "ok")
	w.health(t, ctx, b[1].ID, "corrupt")
	w.good(t, ctx, b[1].ID)
	w.health(t, ctx, b[1].ID, "ok")
	if text := do(t, ctx, w.ctl, "storage", "inventory", "store", "--findings"); strings.Contains(text, notes) {
		t.Errorf("found still is\n%s", text)
	}
	w.restoredAgain(t, ctx, b[0])
}

// restoredAgain restores a backup and compares the copy with its source.
func (w *faultWorld) restoredAgain(t *testing.T, ctx context.Context, b stack.Backup) {
	t.Helper()
	to := w.files.Name(fmt.Sprintf("r_%d", b.ID))
	do(t, ctx, w.ctl, "restore", "create", fmt.Sprint(b.ID), "--to-database", to, "--wait")
	same(t, ctx, w.files, contentOf(t, ctx, w.files, b.DatabaseName), to)
}

func (w *faultWorld) strangersOnHost(t *testing.T, ctx context.Context) {
	b := w.byDatabase(t, ctx, "n4")[0]
	file := filepath.Join(w.agent.LocalDir, b.FilePath)
	if i := w.inventory(t, ctx, here); i.found() != "missing 0, corrupt 0, archived 0, again 0, foreign 0, uploads 0, error \"\"" || i.Objects != 3 {
		t.Fatalf("untouched it is %+v", i)
	}
	if err := os.Rename(file, file+".aside"); err != nil {
		t.Fatal(err)
	}
	if i := w.inventory(t, ctx, here); i.found() != "missing 1, corrupt 0, archived 0, again 0, foreign 1, uploads 0, error \"\"" {
		t.Errorf("it is %s", i.found())
	}
	w.health(t, ctx, b.ID, "missing", "gone from the backup directory of db1")
	w.useless(t, ctx, b.ID, "missing", "missing")
	if text := do(t, ctx, w.ctl, "storage", "inventory", here, "--findings"); !strings.Contains(text, filepath.Base(file)+".aside") || !strings.Contains(text, "db1") {
		t.Errorf("found is\n%s", text)
	}
	if err := os.Rename(file+".aside", file); err != nil {
		t.Fatal(err)
	}
	if i := w.inventory(t, ctx, here); i.found() != "missing 0, corrupt 0, archived 0, again 1, foreign 0, uploads 0, error \"\"" {
		t.Errorf("put back it is %s", i.found())
	}
	w.health(t, ctx, b.ID, "ok")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, b.FileSize-1); err != nil {
		t.Fatal(err)
	}
	if i := w.inventory(t, ctx, here); i.Damaged != 1 || i.Error != "" {
		t.Errorf("cut it is %s", i.found())
	}
	w.health(t, ctx, b.ID, "corrupt", "bytes, not")
	w.useless(t, ctx, b.ID, "corrupt", "corrupt")
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	w.good(t, ctx, b.ID)
	w.restoredAgain(t, ctx, b)
}

// archived: what a lifecycle rule has moved to an archive is shown as such, with what to do, and is neither read nor removed before it was
// brought back.
func (w *faultWorld) archived(t *testing.T, ctx context.Context) {
	b := w.byDatabase(t, ctx, "n2")[0]
	rule := w.s3.Proxy.Inject("ListObjectsV2", 0, func(x *s3kit.Exchange) {
		resp, err := x.RoundTrip(x.R.Context(), x.R.Body)
		if err != nil {
			x.Reset()
			return
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		out := ""
		for _, part := range strings.SplitAfter(string(text), "</Contents>") {
			if strings.Contains(part, "<Key>"+b.FilePath+"</Key>") {
				part = strings.Replace(strings.Replace(part, "<StorageClass>STANDARD</StorageClass>", "", 1), "</Contents>", "<StorageClass>DEEP_ARCHIVE</StorageClass></Contents>", 1)
			}
			out += part
		}
		resp.Header.Set("Content-Length", fmt.Sprint(len(out)))
		x.Reply(resp, strings.NewReader(out))
	})
	if i := w.inventory(t, ctx, "store"); i.Archived != 1 || i.Missing+i.Damaged != 0 || rule.Fired() == 0 {
		t.Errorf("it is %s", i.found())
	}
	w.health(t, ctx, b.ID, "archived", "DEEP_ARCHIVE", "has to be brought back", "restore-object", "storage inventory store --now")
	w.useless(t, ctx, b.ID, "archived", "archived")
	refused(t, ctx, w.ctl, 1, []string{"archived"}, "backup", "verify", fmt.Sprint(b.ID), "--level", "checksum")
	refused(t, ctx, w.ctl, 1, []string{"archived"}, "backup", "download", fmt.Sprint(b.ID), "-o", filepath.Join(t.TempDir(), "x"))
	w.s3.Proxy.Reset()
	if i := w.inventory(t, ctx, "store"); i.Archived != 0 || i.Recovered != 1 {
		t.Errorf("brought back it is %s", i.found())
	}
	w.restoredAgain(t, ctx, b)
}

// staleUploads: what an attempt of ours has left is aborted, what is at work or somebody else's is not.
func (w *faultWorld) staleUploads(t *testing.T, ctx context.Context) {
	rule := w.s3.Proxy.Inject("UploadPart", 0, s3kit.Status(403, "AccessDenied"))
	failed, err := w.ctl.AwaitBackup(ctx, w.order(t, ctx, w.files.Name("n1"), nil).ID, "failed", faultPatience)
	if err != nil || rule.Fired() == 0 {
		t.Fatalf("parts were refused %d times: %v", rule.Fired(), err)
	}
	w.s3.Proxy.Reset()
	keys, err := w.catalog.Rows(ctx, "SELECT key FROM attempts WHERE job_id = $1", failed.JobID)
	if err != nil || len(keys) == 0 {
		t.Fatalf("the failed backup has no attempt: %v", err)
	}
	eventually(t, ctx, "what the attempts left is swept", func(ctx context.Context) (bool, error) {
		rows, err := w.catalog.Rows(ctx, "SELECT 'left' FROM attempts WHERE job_id = $1 AND swept_at IS NULL", failed.JobID)
		if err == nil && len(rows) > 0 { // it is looked at once more when its last URL has expired
			_, err = w.catalog.Rows(ctx, "UPDATE attempts SET last_url_expires = now() - interval '1 hour', sweep_after = now() WHERE job_id = $1 AND swept_at IS NULL AND sweep_after > now() + interval '5 seconds' RETURNING 1", failed.JobID)
		}
		return err == nil && len(rows) == 0, err
	})
	w.upload(t, ctx, keys[0])
	const strange = "backups/2026/strange.bin"
	foreign := w.upload(t, ctx, strange)
	g, _ := w.gate(t, "UploadPart")
	running := w.order(t, ctx, w.files.Name("n2"), nil)
	arrived(t, ctx, g, 1)
	if i := w.inventory(t, ctx, "store"); i.StaleUploads != 2 || i.ForeignObjects != 0 || i.Error != "" {
		t.Errorf("it is %s", i.found())
	}
	uploads, err := w.s3.Uploads(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, u := range uploads {
		open = append(open, u.Key)
	}
	working, err := w.catalog.Rows(ctx, "SELECT key FROM attempts WHERE job_id = $1 AND status = 'running'", running.JobID)
	if err != nil || len(working) != 1 {
		t.Fatalf("the running backup has the attempts %v: %v", working, err)
	}
	if want := append(working, strange); len(open) != 2 || !slices.Contains(open, want[0]) || !slices.Contains(open, want[1]) {
		t.Errorf("open are the uploads %v, want %v", open, want)
	}
	if text := do(t, ctx, w.ctl, "storage", "inventory", "store", "--findings"); !strings.Contains(text, strange) || !strings.Contains(text, foreign) || strings.Contains(text, working[0]) {
		t.Errorf("found is\n%s", text)
	}
	w.s3.Proxy.Reset()
	g.Open()
	w.completed(t, ctx, running.ID, "completed")
	w.remove(t, ctx, strange, url.Values{"uploadId": {foreign}})
}
