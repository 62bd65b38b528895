package app_test

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/testkit/s3kit"
)

// versions are the keys of the bucket, each as often as it has versions and delete markers.
func (w *world) versions() []string {
	w.Helper()
	res, err := w.s3.Do(w.Context(), http.MethodGet, "/"+w.s3.Bucket, map[string][]string{"versions": {""}}, nil, nil)
	w.ok(err)
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	w.ok(err)
	var list struct {
		IsTruncated  bool
		Version      []struct{ Key string }
		DeleteMarker []struct{ Key string }
	}
	w.ok(xml.Unmarshal(b, &list))
	if res.StatusCode != http.StatusOK || list.IsTruncated {
		w.Fatalf("list versions: %s, %d bytes", res.Status, len(b))
	}
	keys := []string{}
	for _, v := range append(list.Version, list.DeleteMarker...) {
		keys = append(keys, v.Key)
	}
	slices.Sort(keys)
	return keys
}

// host enrols one that has a database.
func (w *world) hostOf(database string) *host {
	w.Helper()
	h := w.enrol(body.CreateEnrolment{ServerName: "db-7", Project: "shop"})
	h.connect()
	h.finds(database)
	h.assign(database)
	return h
}

// TestFault78_DeletesFail: a store that refuses deletions now and then. A row stays until its objects were seen gone; in the end the
// bucket holds the objects of the rows that are left, in every version, and nothing else.
func TestFault78_DeletesFail(t *testing.T) {
	t.Parallel()
	s := s3kit.StartWith(t, s3kit.Options{Versioned: true})
	proxy := s3kit.StartProxy(t, s)
	w := worldOn(t, s, proxy.Endpoint)
	ctx := t.Context()
	h := w.hostOf("app")
	foreign := len(w.versions()) // what the probe of the storage could not take back
	const n = 12
	rows := make([]controller.Backup, n)
	for i := range rows {
		rows[i] = h.backup("app")
	}
	w.owner("UPDATE database_backups SET completed_at = now() - interval '1 year' + id * interval '1 hour'")
	equal(t, "objects", len(w.versions())-foreign, n*3)

	// One in ten is refused for good, and one in ten for the moment; of each kind at least one.
	rules := []*s3kit.Rule{
		proxy.Inject("DeleteObject", 1, s3kit.Status(http.StatusForbidden, "AccessDenied")),
		proxy.Inject("DeleteObject", 1, s3kit.Status(http.StatusServiceUnavailable, "SlowDown")),
		proxy.Add(&s3kit.Rule{Match: s3kit.Op("DeleteObject"), Prob: 0.1, Action: s3kit.Status(http.StatusForbidden, "AccessDenied")}),
		proxy.Add(&s3kit.Rule{Match: s3kit.Op("DeleteObject"), Prob: 0.1, Action: s3kit.Status(http.StatusServiceUnavailable, "SlowDown")}),
		proxy.Add(&s3kit.Rule{Match: s3kit.Op("DeleteObject"), Prob: 0.1, Action: s3kit.DropReply()}),
	}
	none := int64(0)
	plan, err := w.api.Cleanup(ctx, body.Cleanup{DryRun: true})
	w.ok(err)
	res, err := w.api.Cleanup(ctx, body.Cleanup{GraceSeconds: &none})
	w.ok(err)
	if plan.Removed != n-4 || res.Removed != n-4 || res.Failed != 0 { // the newest three, and the oldest, where none was verified
		t.Fatalf("planned %+v, done %+v", plan, res)
	}
	waited := false
	eventually(t, "everything that was removed is gone", func() bool {
		there := w.versions()
		left := 0
		for _, was := range rows {
			b, err := w.api.Backup(ctx, was.ID)
			w.ok(err)
			if b.PurgedAt == nil {
				if b.DeletedAt != nil {
					left++
					waited = waited || strings.Contains(b.Waiting, "AccessDenied")
				}
				continue
			}
			for _, key := range there { // which were listed before the row was read
				if key == b.FilePath || strings.HasPrefix(key, b.FilePath+".") {
					if now := w.versions(); slices.Contains(now, key) {
						t.Fatalf("backup %d is closed, and %s is there", b.ID, key)
					}
				}
			}
		}
		// What was refused is put off for minutes; nobody waits for them here.
		w.owner("UPDATE database_backups SET delete_after = now() WHERE health = 'deleting' AND purged_at IS NULL AND delete_claim = ''")
		return left == 0
	})
	if !waited {
		t.Error("no row said that the store refused its deletion")
	}
	for i, r := range rules[:3] {
		if r.Fired() == 0 {
			t.Errorf("fault %d did not occur", i)
		}
	}
	want := []string{}
	for i, b := range rows {
		if slices.Contains([]int{0, n - 3, n - 2, n - 1}, i) {
			want = append(want, b.FilePath, artifact.ManifestKey(b.FilePath), artifact.FingerprintKey(b.FilePath, artifact.CodecOf(b.FilePath)))
		}
	}
	slices.Sort(want)
	if got := w.versions(); !slices.Equal(got[len(got)-min(len(got), len(want)):], want) || len(got) != len(want)+foreign {
		t.Errorf("the bucket holds\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s is %v, want %v", what, got, want)
	}
}

// TestFault47_ObjectLock: what the store has locked is not deleted before its time, and the row says so. A lock that is there when the
// backup is completed is known from then on; one that comes later is met at the deletion.
func TestFault47_ObjectLock(t *testing.T) {
	t.Parallel()
	s := s3kit.StartWith(t, s3kit.Options{ObjectLock: true})
	proxy := s3kit.StartProxy(t, s)
	w := worldOn(t, s, proxy.Endpoint)
	ctx := t.Context()
	h := w.hostOf("app")
	none := int64(0)

	first := h.backup("app")
	if first.LockedUntil != nil {
		t.Fatalf("locked until %s", first.LockedUntil)
	}
	h.backup("app")
	until := time.Now().Add(2 * time.Hour).UTC().Truncate(time.Second)
	w.ok(s.Retain(ctx, s.Bucket, first.FilePath, until))
	_, err := w.api.DeleteBackup(ctx, first.ID, body.DeleteBackup{GraceSeconds: &none})
	w.ok(err)
	said := "its storage refuses to delete it until " + until.Format("2006-01-02 15:04 UTC")
	var b controller.Backup
	eventually(t, "the row says that it is locked", func() bool {
		b, err = w.api.Backup(ctx, first.ID)
		w.ok(err)
		return b.Waiting == said
	})
	if !b.DeleteAfter.Equal(until) || !b.LockedUntil.Equal(until) || b.PurgedAt != nil || b.Health != controller.HealthDeleting {
		t.Errorf("%+v", b)
	}
	tried := proxy.Count("DeleteObject")
	for range 3 { // some more rounds of those that delete: each makes another backup's deletion due and waits for it
		extra := h.backup("app")
		_, err := w.api.DeleteBackup(ctx, extra.ID, body.DeleteBackup{GraceSeconds: &none})
		w.ok(err)
		eventually(t, "another deletion", func() bool {
			b, err := w.api.Backup(ctx, extra.ID)
			w.ok(err)
			return b.PurgedAt != nil
		})
	}
	equal(t, "deletions tried", proxy.Count("DeleteObject")-tried, 3*3)
	if !slices.Contains(w.versions(), first.FilePath) {
		t.Error("the object is gone")
	}

	// A lock on the newest that ends at once after: then it goes.
	soon := h.backup("app")
	w.ok(s.Retain(ctx, s.Bucket, soon.FilePath, time.Now().Add(4*time.Second)))
	_, err = w.api.DeleteBackup(ctx, soon.ID, body.DeleteBackup{GraceSeconds: &none})
	w.ok(err)
	eventually(t, "the row says that it is locked", func() bool {
		b, err = w.api.Backup(ctx, soon.ID)
		w.ok(err)
		return b.LockedUntil != nil
	})
	eventually(t, "it goes when the lock has ended", func() bool {
		w.owner("UPDATE database_backups SET delete_after = now() WHERE delete_after < now() + interval '10 minutes' AND health = 'deleting' AND purged_at IS NULL AND delete_claim = ''")
		b, err = w.api.Backup(ctx, soon.ID)
		w.ok(err)
		return b.PurgedAt != nil
	})

	// A store that locks everything that is written: it is known from the completion on, and nobody can delete it.
	lock := proxy.Add(&s3kit.Rule{Match: s3kit.Op("HeadObject"), Action: locked(until)})
	known := h.backup("app")
	if lock.Fired() == 0 || known.LockedUntil == nil || !known.LockedUntil.Equal(until) {
		t.Fatalf("HEAD said so %d times, locked until %v, want %v", lock.Fired(), known.LockedUntil, until)
	}
	_, err = w.api.DeleteBackup(ctx, known.ID, body.DeleteBackup{GraceSeconds: &none})
	var p *body.Problem
	if !errors.As(err, &p) || p.Code != controller.EConflict || !strings.Contains(p.Error(), "locked by its storage until "+until.Format("2006-01-02 15:04 UTC")) {
		t.Errorf("it can be deleted: %v", err)
	}
	w.owner("UPDATE database_backups SET completed_at = now() - interval '1 year' + id * interval '1 hour' WHERE deleted_at IS NULL")
	for range 4 {
		h.backup("app")
	}
	res, err := w.api.Cleanup(ctx, body.Cleanup{GraceSeconds: &none})
	w.ok(err)
	i := slices.IndexFunc(res.Items, func(i controller.CleanupItem) bool { return i.BackupID == known.ID })
	if i < 0 || res.Items[i].Action != "later" || res.Items[i].At == nil || !res.Items[i].At.Equal(until) || res.Failed != 0 {
		t.Errorf("%+v", res)
	}
}

// locked lets a reply pass with an object lock in it.
func locked(until time.Time) s3kit.Action {
	return func(x *s3kit.Exchange) {
		res, err := x.RoundTrip(context.WithoutCancel(x.R.Context()), x.R.Body)
		if err != nil {
			x.Reset()
			return
		}
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode == http.StatusOK {
			res.Header.Set("X-Amz-Object-Lock-Mode", "COMPLIANCE")
			res.Header.Set("X-Amz-Object-Lock-Retain-Until-Date", until.Format(time.RFC3339))
			res.Header.Set("Content-Length", strconv.FormatInt(res.ContentLength, 10))
		}
		x.Reply(res, res.Body)
	}
}
