package catalog_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

func TestDownload(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	p, a := f.world("app")
	b := f.completed(a, "app")
	req := controller.DownloadRequest{Backup: b.ID}
	made := must[controller.Download](t)(f.CreateDownload(ctx, f.admin, req, hash("link"), 0))
	if made.Object.Object != wire.ObjectArtifact || made.Object.Key != b.FilePath || made.Size() != *b.FileSize || made.Checksum() != *b.Checksum || made.StorageID != b.StorageID {
		t.Fatalf("download is %+v", made)
	}
	if made.AttemptID == "" || len(made.Recipients) != 1 || made.Recipients[0] != p.AgeRecipient || made.Server.AgentID != a.AgentID || string(made.Object.AgeHeader) == "" {
		t.Fatalf("download is %+v", made)
	}
	if left := time.Until(made.ExpiresAt); left < 14*time.Minute || left > 16*time.Minute {
		t.Fatalf("it expires in %s", left)
	}
	equal(t, "audit rows", f.sql("SELECT string_agg(action || ' ' || subject || ' ' || (detail->>'object'), ',') FROM audit_log WHERE action LIKE '%%download%%'"), "backup.download 1 artifact")
	equal(t, "links", f.sql("SELECT count(*) FROM download_links WHERE encode(token_hash, 'escape') = 'link'"), "0")

	found := must[controller.Download](t)(f.FindDownload(ctx, hash("link")))
	equal(t, "what is found", found.Object.StoredSHA256, made.Object.StoredSHA256)
	used := must[controller.Download](t)(f.UseDownload(ctx, hash("link")))
	equal(t, "what is used", used.Object.Key, made.Object.Key)
	equal(t, "its end", used.ExpiresAt, made.ExpiresAt)
	_, err := f.UseDownload(ctx, hash("link"))
	f.refused(err, controller.EConflict, "already used")
	_, err = f.FindDownload(ctx, hash("link"))
	f.refused(err, controller.EConflict, "already used")
	_, err = f.UseDownload(ctx, hash("guess"))
	f.refused(err, controller.ENotFound)

	must[controller.Download](t)(f.CreateDownload(ctx, f.admin, req, hash("late"), time.Minute))
	f.sql("UPDATE download_links SET expires_at = now() WHERE token_hash = '\\x%x'", hash("late"))
	_, err = f.UseDownload(ctx, hash("late"))
	f.refused(err, controller.EConflict, "expired")

	// Each object, and each form.
	dump := must[controller.Download](t)(f.CreateDownload(ctx, f.admin, controller.DownloadRequest{Backup: b.ID, Format: controller.FormatDump}, hash("dump"), 0))
	equal(t, "size of the dump", dump.Size(), *b.RawSize)
	equal(t, "checksum of the dump", dump.Checksum(), *b.RawChecksum)
	equal(t, "form", must[controller.Download](t)(f.UseDownload(ctx, hash("dump"))).Format, controller.FormatDump)
	manifest := must[controller.Download](t)(f.CreateDownload(ctx, f.admin, controller.DownloadRequest{Backup: b.ID, Object: controller.ObjectManifest}, hash("manifest"), 0))
	equal(t, "manifest", manifest.Object.Key, b.FilePath+".manifest.json")
	_, err = f.CreateDownload(ctx, f.admin, controller.DownloadRequest{Backup: b.ID, Object: wire.ObjectGlobals}, hash("globals"), 0)
	f.refused(err, controller.ENotFound, "no globals")

	// A link of the store itself leaves a trace and no token.
	links := f.sql("SELECT count(*) FROM download_links")
	must[controller.Download](t)(f.CreateDownload(ctx, only(p), req, nil, 0))
	equal(t, "links", f.sql("SELECT count(*) FROM download_links"), links)
	equal(t, "newest audit entry", must[[]controller.AuditEntry](t)(f.Audit(ctx, f.admin, controller.AuditFilter{Project: "shop", Limit: 1}))[0].Action, "backup.download")

	// What is refused leaves neither.
	rows := f.sql("SELECT count(*) FROM audit_log WHERE action = 'backup.download'")
	must[controller.Download](t)(f.CreateDownload(ctx, f.admin, req, hash("before"), 0))
	for health, code := range map[string]string{"ok": "", "corrupt": "", "missing": controller.EConflict, "archived": controller.EConflict, "deleting": controller.EConflict} {
		f.sql("UPDATE database_backups SET health = '%s'", health)
		_, err := f.CreateDownload(ctx, f.admin, req, hash(health), 0)
		equal(t, "a download of a backup that is "+health, controller.ErrorCode(err), code)
	}
	equal(t, "audit rows more", f.sql("SELECT count(*) - %s FROM audit_log WHERE action = 'backup.download'", rows), "3")
	f.sql("UPDATE database_backups SET health = 'ok'")
	must[controller.Backup](t)(f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: b.ID, Confirm: "app"}))
	_, err = f.CreateDownload(ctx, f.admin, req, hash("deleted"), 0)
	f.refused(err, controller.EConflict, "deleted", "undelete")
	_, err = f.UseDownload(ctx, hash("before"))
	f.refused(err, controller.EConflict, "deleted")
	pending := f.order("app")
	_, err = f.CreateDownload(ctx, f.admin, controller.DownloadRequest{Backup: pending.ID}, hash("pending"), 0)
	f.refused(err, controller.EConflict, "only a completed backup")
	_, err = f.CreateDownload(ctx, f.admin, controller.DownloadRequest{Backup: 999}, hash("none"), 0)
	f.refused(err, controller.ENotFound)
}

// TestUseDownload_Race uses one link from two controllers at once: one gets it.
func TestUseDownload_Race(t *testing.T) {
	t.Parallel()
	f := open(t)
	_, a := f.world("app")
	b := f.completed(a, "app")
	two := f.another("two")
	for round := range 5 {
		token := hash(string(rune('a' + round)))
		must[controller.Download](t)(f.CreateDownload(t.Context(), f.admin, controller.DownloadRequest{Backup: b.ID}, token, 0))
		var wg sync.WaitGroup
		var won, refused atomic.Int32
		for i := range 8 {
			c := f.Catalog
			if i%2 == 1 {
				c = two
			}
			wg.Go(func() {
				switch d, err := c.UseDownload(t.Context(), token); {
				case err == nil && d.Object.Key == b.FilePath:
					won.Add(1)
				case controller.ErrorCode(err) == controller.EConflict:
					refused.Add(1)
				default:
					t.Errorf("%+v, %v", d, err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 || refused.Load() != 7 {
			t.Fatalf("%d got it, %d were refused", won.Load(), refused.Load())
		}
	}
}

func TestSweep_Links(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app")
	b := f.completed(a, "app")
	for _, name := range []string{"fresh", "used", "used long ago", "expired", "expired long ago"} {
		must[controller.Download](t)(f.CreateDownload(ctx, f.admin, controller.DownloadRequest{Backup: b.ID}, []byte(name), time.Minute))
	}
	at := func(column, name, age string) {
		f.sql("UPDATE download_links SET %s = now() - interval '%s' WHERE token_hash = '%s'", column, age, name)
	}
	at("used_at", "used", "1 hour")
	at("used_at", "used long ago", "25 hours")
	at("expires_at", "expired", "23 hours")
	at("expires_at", "expired long ago", "25 hours")
	must[controller.SweepResult](t)(f.Sweep(ctx))
	equal(t, "links that are left", f.sql("SELECT string_agg(convert_from(token_hash, 'UTF8'), ',' ORDER BY id) FROM download_links"), "fresh,used,expired")
}
