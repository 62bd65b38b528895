package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/testkit/s3kit"
)

// A store that fails in every way in which one was seen to, while one installation goes on: each part starts with a store that
// behaves and leaves one behind.
func TestStoreFaults(t *testing.T) {
	t.Parallel()
	w := newFaultWorld(t, faultOptions{limits: map[string]any{"upload_timeout": "3s"}})

	survived := func(name, op string, times int, action s3kit.Action) {
		t.Run(name, func(t *testing.T) {
			ctx := faultContext(t)
			rule := w.s3.Proxy.Inject(op, times, action)
			b := w.order(t, ctx, small, nil)
			w.completed(t, ctx, b.ID, "completed")
			if rule.Fired() != times {
				t.Errorf("the fault fired %d times, not %d", rule.Fired(), times)
			}
			w.s3.Proxy.Reset()
			w.invariants(t, ctx)
		})
	}
	survived("34 part answered 503", "UploadPart", 2, s3kit.Status(503, "SlowDown"))
	survived("34 part answered 500", "UploadPart", 2, s3kit.Status(500, "InternalError"))
	survived("37 part reset half-way", "UploadPart", 2, s3kit.ResetUpload(4096))
	survived("38 URL expired", "UploadPart", 2, s3kit.Status(403, "AccessDenied"))
	survived("41 part corrupted on its way", "UploadPart", 1, s3kit.CorruptUpload(100))
	survived("35 error in the 200 of Complete", "CompleteMultipartUpload", 1, s3kit.OKWithError("InternalError"))
	survived("35 nothing in the 200 of Complete", "CompleteMultipartUpload", 1, s3kit.OKEmpty())
	survived("36 reply of Complete lost", "CompleteMultipartUpload", 1, s3kit.DropReply())
	survived("36 Complete done, answered 503", "CompleteMultipartUpload", 1, s3kit.ReplyStatus(503, "SlowDown"))
	survived("43 Complete done, answered NoSuchUpload", "CompleteMultipartUpload", 1, s3kit.ReplyStatus(404, "NoSuchUpload"))
	survived("46 Complete done, answered 412", "CompleteMultipartUpload", 1, s3kit.ReplyStatus(412, "PreconditionFailed"))

	t.Run("34 half of all requests fail", func(t *testing.T) {
		ctx := faultContext(t)
		rule := w.s3.Proxy.Add(&s3kit.Rule{Match: s3kit.Op("UploadPart", "PutObject", "CompleteMultipartUpload", "HeadObject"), Prob: 0.5, Action: s3kit.Status(503, "SlowDown")})
		b := w.order(t, ctx, small, nil)
		if _, err := w.ctl.AwaitBackup(ctx, b.ID, "completed", faultPatience); err != nil {
			t.Fatal(err)
		}
		if rule.Fired() == 0 {
			t.Error("the fault did not fire")
		}
		w.s3.Proxy.Reset()
		w.invariants(t, ctx)
	})
	t.Run("34 no part is ever taken", func(t *testing.T) {
		ctx := faultContext(t)
		rule := w.s3.Proxy.Inject("UploadPart", 0, s3kit.Status(503, "SlowDown"))
		b, err := w.ctl.AwaitBackup(ctx, w.order(t, ctx, small, nil).ID, "failed", faultPatience)
		if err != nil {
			t.Fatal(err)
		}
		if b.ErrorCode != "storage_unavailable" || rule.Fired() == 0 {
			t.Errorf("it failed as %q: %s; the fault fired %d times", b.ErrorCode, b.ErrorMessage, rule.Fired())
		}
		w.s3.Proxy.Reset()
		w.invariants(t, ctx)
	})
	t.Run("43 upload aborted behind our back", func(t *testing.T) {
		ctx := faultContext(t)
		g, rule := w.gate(t, "CompleteMultipartUpload")
		b := w.order(t, ctx, small, nil)
		arrived(t, ctx, g, 1)
		if n, err := w.s3.AbortUploads(ctx); err != nil || n != 1 {
			t.Fatalf("aborted %d uploads: %v", n, err)
		}
		g.Open()
		w.completed(t, ctx, b.ID, "failed", "completed")
		if rule.Fired() == 0 {
			t.Error("the fault did not fire")
		}
		w.s3.Proxy.Reset()
		w.invariants(t, ctx)
	})
}

// What is stored and then damaged, swapped, or removed behind our back is found by a verification, and no restore makes it visible.
func TestStoredDamage(t *testing.T) {
	t.Parallel()
	w := newFaultWorld(t, faultOptions{})
	var damaged []int64
	backup := func(t *testing.T, ctx context.Context, more map[string]any) stack.Backup {
		t.Helper()
		b, err := w.ctl.AwaitBackup(ctx, w.order(t, ctx, small, more).ID, "completed", faultPatience)
		if err != nil {
			t.Fatal(err)
		}
		if res := w.verify(t, ctx, b.ID, "content"); res.Code != 0 {
			t.Fatalf("a fresh backup does not verify: %s", res.Text())
		}
		return b
	}
	// found checks that the damage is seen by both levels and by a restore, and marked.
	found := func(t *testing.T, ctx context.Context, b stack.Backup, health string) {
		t.Helper()
		damaged = append(damaged, b.ID)
		target := fmt.Sprintf("copy_of_%d", b.ID)
		res, err := w.ctl.Ctl(ctx, "restore", "create", fmt.Sprint(b.ID), "--to-database", target, "--wait")
		if err != nil || res.Code != 1 {
			t.Errorf("a restore of the damaged backup: %v %s", err, res.Text())
		}
		w.noDatabase(t, ctx, target)
		for _, level := range []string{"checksum", "content"} {
			if res := w.verify(t, ctx, b.ID, level); res.Code != 1 {
				t.Errorf("verification by %s: %s", level, res.Text())
			}
			now, err := w.ctl.Backup(ctx, b.ID)
			if err != nil {
				t.Fatal(err)
			}
			if now.Health != health || now.VerifiedAt != nil {
				t.Errorf("after %s its health is %q, verified at %v", level, now.Health, now.VerifiedAt)
			}
		}
		in := stack.Invariants{Catalog: w.catalog, Client: w.ctl, S3: w.s3, Agents: []*stack.Agent{w.agent}, Databases: []stack.Server{w.postgres}, Damaged: damaged}
		if err := in.Check(ctx); err != nil {
			t.Errorf("invariants: %v", err)
		}
	}
	for _, codec := range []map[string]any{
		{"encryption": "age", "compression": "zstd"}, {"encryption": "none", "compression": "none"},
	} {
		t.Run(fmt.Sprintf("41 one byte changed, %s %s", codec["compression"], codec["encryption"]), func(t *testing.T) {
			ctx := faultContext(t)
			b := backup(t, ctx, codec)
			if err := w.s3.CorruptObject(w.s3.Bucket, b.FilePath, b.FileSize/2); err != nil {
				t.Fatal(err)
			}
			found(t, ctx, b, "corrupt")
		})
	}
	t.Run("62 cut", func(t *testing.T) {
		ctx := faultContext(t)
		b := backup(t, ctx, nil)
		if err := w.s3.TruncateObject(w.s3.Bucket, b.FilePath, b.FileSize-1); err != nil {
			t.Fatal(err)
		}
		found(t, ctx, b, "corrupt")
	})
	t.Run("63 two objects swapped", func(t *testing.T) {
		ctx := faultContext(t)
		a, b := backup(t, ctx, nil), backup(t, ctx, nil)
		pa, pb := w.s3.ObjectPath(w.s3.Bucket, a.FilePath), w.s3.ObjectPath(w.s3.Bucket, b.FilePath)
		ba, err := os.ReadFile(pa)
		if err != nil {
			t.Fatal(err)
		}
		bb, err := os.ReadFile(pb)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(pa, bb, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(pb, ba, 0o600); err != nil {
			t.Fatal(err)
		}
		damaged = append(damaged, a.ID, b.ID)
		found(t, ctx, a, "corrupt")
		found(t, ctx, b, "corrupt")
	})
	t.Run("63 another object put at the key", func(t *testing.T) {
		ctx := faultContext(t)
		old, b := backup(t, ctx, nil), backup(t, ctx, nil)
		bytes, err := os.ReadFile(w.s3.ObjectPath(w.s3.Bucket, old.FilePath))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := w.s3.Do(ctx, http.MethodPut, "/"+w.s3.Bucket+"/"+b.FilePath, nil, nil, bytes)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != http.StatusOK {
			t.Fatalf("put: %s", resp.Status)
		}
		found(t, ctx, b, "corrupt")
	})
	t.Run("44 object removed", func(t *testing.T) {
		ctx := faultContext(t)
		b := backup(t, ctx, nil)
		if err := os.Remove(w.s3.ObjectPath(w.s3.Bucket, b.FilePath)); err != nil {
			t.Fatal(err)
		}
		found(t, ctx, b, "missing")
	})
	t.Run("42 a reply cut once, then whole", func(t *testing.T) {
		ctx := faultContext(t)
		b := backup(t, ctx, nil)
		rule := w.s3.Proxy.Inject("GetObject", 1, s3kit.ResetDownload(b.FileSize/2))
		if res := w.verify(t, ctx, b.ID, "content"); res.Code != 0 || rule.Fired() != 1 {
			t.Errorf("the fault fired %d times: %s", rule.Fired(), res.Text())
		}
		w.s3.Proxy.Reset()
	})
	t.Run("42 wrong bytes in every reply", func(t *testing.T) {
		ctx := faultContext(t)
		b := backup(t, ctx, nil)
		rule := w.s3.Proxy.Inject("GetObject", 0, s3kit.CorruptDownload(b.FileSize/2))
		found(t, ctx, b, "corrupt")
		if rule.Fired() == 0 {
			t.Error("the fault did not fire")
		}
		w.s3.Proxy.Reset()
		// The object itself is whole: the next verification says so.
		if res := w.verify(t, ctx, b.ID, "content"); res.Code != 0 {
			t.Errorf("with a store that behaves: %s", res.Text())
		}
	})
}

func (w *faultWorld) verify(t *testing.T, ctx context.Context, id int64, level string) stack.Result {
	t.Helper()
	res, err := w.ctl.Ctl(ctx, "backup", "verify", fmt.Sprint(id), "--level", level)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// noDatabase checks that no database of the name, and no staging database, is on the server.
func (w *faultWorld) noDatabase(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	out, err := w.postgres.Exec(ctx, "postgres", "SELECT datname FROM pg_database")
	if err != nil {
		t.Fatal(err)
	}
	for _, db := range strings.Fields(out) {
		if db == name || strings.HasPrefix(db, "devflow_staging_") {
			t.Errorf("there is a database %s", db)
		}
	}
}
