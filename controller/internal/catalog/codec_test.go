package catalog_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// TestBackup_Codecs orders each codec: the key tells it, the order keeps it, and what opens it is kept.
func TestBackup_Codecs(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	p, a := f.world("app")
	escrow, _ := ageKey(t)
	must[controller.Project](t)(f.UpdateProject(ctx, f.admin, "shop", controller.ProjectSpec{EscrowRecipients: []string{escrow}}))
	for _, c := range []struct {
		compression string
		level       int
		encryption  string
		suffix      string
	}{
		{"zstd", 19, "age", ".dump.zst.age"},
		{"zstd", 0, "aes-256-cbc", ".dump.zst.enc"},
		{"zstd", 1, "none", ".dump.zst"},
		{"gzip", 9, "age", ".dump.gz.age"},
		{"gzip", 0, "aes-256-cbc", ".dump.gz.enc"},
		{"gzip", 1, "none", ".dump.gz"},
		{"none", 0, "age", ".dump.age"},
		{"none", 0, "aes-256-cbc", ".dump.enc"},
		{"none", 0, "none", ".dump"},
	} {
		t.Run(c.compression+" "+c.encryption, func(t *testing.T) {
			f := &fix{T: t, Catalog: f.Catalog, dsn: f.dsn, db: f.db, master: f.master, admin: f.admin, server: f.server}
			req := controller.BackupRequest{Database: "app", Compression: c.compression, Level: c.level, Encryption: c.encryption}
			b := *must[[]controller.BackupOutcome](t)(f.CreateBackups(ctx, f.admin, req))[0].Backup
			o := f.started(a)
			if !strings.HasSuffix(o.Key, o.AttemptID+c.suffix) {
				t.Fatalf("key is %q", o.Key)
			}
			want := wire.Codec{Compression: c.compression, Level: c.level, Encryption: c.encryption}
			if c.encryption == "age" {
				want.Recipients = []string{p.AgeRecipient, escrow}
			}
			// What was ordered stands, whatever the rows say later.
			f.sql("UPDATE database_backups SET level = 7, compression = 'other' WHERE id = %d", b.ID)
			got := must[*controller.Ordered](t)(f.AttemptOrder(ctx, a.AgentID, a.session, o.Attempt)).Codec
			if got.Compression != want.Compression || got.Level != want.Level || got.Encryption != want.Encryption || !slices.Equal(got.Recipients, want.Recipients) {
				t.Fatalf("ordered is %+v, want %+v", got, want)
			}
			side := partRequest(o, 0, 9)
			side.Object = wire.ObjectFingerprint
			target, err := f.SignPart(ctx, a.AgentID, a.session, side, 1e9)
			f.ok(err)
			equal(t, "key of the fingerprint", target.Key, o.Key+".fingerprint.json"+strings.TrimPrefix(c.suffix, ".dump"))
			f.sql("UPDATE database_backups SET level = %d, compression = '%s' WHERE id = %d", c.level, c.compression, b.ID)

			f.uploaded(a, o)
			must[[]controller.Finishing](t)(f.ClaimFinishing(ctx, 5))
			done := finished(o)
			if c.encryption == "aes-256-cbc" {
				for i := range 2 { // the artifact and the fingerprint
					bare := done
					bare.Objects = slices.Clone(done.Objects)
					bare.Objects[i].MAC = nil
					f.failure(f.CompleteBackup(ctx, o.Attempt, bare), wire.CodeInternal)
				}
			}
			f.ok(f.CompleteBackup(ctx, o.Attempt, done))

			must[[]controller.Job](t)(f.CreateVerify(ctx, f.admin, controller.VerifyRequest{Backup: b.ID, Level: wire.LevelContent}))
			read := f.started(a)
			equal(t, "attempt that the keys are derived from", read.AttemptID, o.AttemptID)
			if !slices.Equal(read.Recipients, want.Recipients) {
				t.Fatalf("recipients are %v", read.Recipients)
			}
			for i, obj := range read.Objects {
				if !bytes.Equal(obj.MAC, done.Objects[i].MAC) || !bytes.Equal(obj.AgeHeader, done.Objects[i].AgeHeader) {
					t.Fatalf("%s has MAC %x and header %q", obj.Object, obj.MAC, obj.AgeHeader)
				}
			}
			r := fails(wire.CodeToolFailed)
			r.Attempt = read.Attempt
			f.ok(f.ReportDone(ctx, a.AgentID, a.session, r))
		})
	}
}
