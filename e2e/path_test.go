package e2e_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
)

// TestBackupVerifyRestore goes the whole way of one database, and looks at each result past the product's own words.
func TestBackupVerifyRestore(t *testing.T) {
	r, ctx := newRig(t)
	r.project(t, ctx, "path", "orders")

	t.Run("Create", func(t *testing.T) {
		out := do(t, ctx, r.ctl, "backup", "create", "path", "--wait")
		for _, want := range []string{"orders", "completed", "1 database"} {
			if !strings.Contains(out, want) {
				t.Errorf("the table does not say %q:\n%s", want, out)
			}
		}
	})
	b := newestBackup(t, ctx, r.ctl, "path")
	if b.Status != "completed" || b.Health != "ok" || b.Attempt != 1 || b.RawSize == 0 {
		t.Fatalf("backup is not completed: %+v", b)
	}

	file := filepath.Join(t.TempDir(), b.FileName)
	t.Run("Stored", func(t *testing.T) {
		sum, size, err := r.s3.Download(ctx, b.FilePath, file)
		if err != nil {
			t.Fatal(err)
		}
		if sum != b.Checksum || size != b.FileSize {
			t.Errorf("the object has SHA-256 %s and %d bytes, the catalog says %s and %d", sum, size, b.Checksum, b.FileSize)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(text), "age-encryption.org/v1\n") {
			t.Errorf("the object does not begin as an age file")
		}
		if uploads, err := r.s3.Uploads(ctx); err != nil || len(uploads) > 0 {
			t.Errorf("unfinished uploads: %v, %v", uploads, err)
		}
	})

	t.Run("Verify", func(t *testing.T) {
		for _, level := range []string{"checksum", "content"} {
			do(t, ctx, r.ctl, "backup", "verify", id(b.ID), "--level", level)
			got, err := r.ctl.Backup(ctx, b.ID)
			if err != nil {
				t.Fatal(err)
			}
			if got.VerifiedAt == nil || got.VerifiedLevel != level || got.Health != "ok" {
				t.Errorf("after verify --level %s: %+v", level, got)
			}
		}
		refused(t, ctx, r.ctl, 2, []string{"--all", "--project"}, "backup", "verify")
	})

	t.Run("Restore", func(t *testing.T) {
		do(t, ctx, r.ctl, "restore", "create", id(b.ID), "--to-database", "orders_copy", "--wait")
		sameContent(t, ctx, r.postgres, "orders", "orders_copy")
		var owner string
		conn, err := r.postgres.Connect(ctx, "postgres")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(ctx)
		if err := conn.QueryRow(ctx, "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'orders_copy'").Scan(&owner); err != nil || owner != stack.RestoreRole {
			t.Errorf("the copy belongs to %q, %v", owner, err)
		}

		before := traceOf(t, ctx, r.s3, r.postgres)
		refused(t, ctx, r.ctl, 1, []string{"orders_copy", "exists"}, "restore", "create", id(b.ID), "--to-database", "orders_copy", "--wait")
		refused(t, ctx, r.ctl, 1, []string{"in place", "--to-database"}, "restore", "create", id(b.ID), "--to-database", "orders", "--wait")
		unchanged(t, ctx, before, r.s3, r.postgres, r.agent)
		sameContent(t, ctx, r.postgres, "orders", "orders_copy")
	})

	t.Run("Offline", func(t *testing.T) {
		key := filepath.Join(t.TempDir(), "key.txt")
		if err := os.WriteFile(key, []byte(do(t, ctx, r.ctl, "project", "key", "path")), 0o600); err != nil {
			t.Fatal(err)
		}
		dump := filepath.Join(t.TempDir(), "orders.dump")
		do(t, ctx, r.ctl, "artifact", "decrypt", file, "-o", dump, "--identity-file", key)
		raw, err := os.ReadFile(dump)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(raw); hex.EncodeToString(sum[:]) != b.RawChecksum || int64(len(raw)) != b.RawSize {
			t.Errorf("the decrypted dump has %d bytes and SHA-256 %x, the catalog says %d and %s", len(raw), sum, b.RawSize, b.RawChecksum)
		}
		if out := do(t, ctx, r.ctl, "artifact", "inspect", file); !strings.Contains(out, "age") {
			t.Errorf("inspect does not name the encryption:\n%s", out)
		}
	})

	t.Run("Codecs", func(t *testing.T) {
		for _, c := range []struct{ compression, encryption, suffix string }{
			{"none", "none", ".dump"}, {"zstd", "none", ".dump.zst"}, {"none", "age", ".dump.age"}, {"zstd", "age", ".dump.zst.age"},
		} {
			b := backUp(t, ctx, r.ctl, "path", "orders", "--compression", c.compression, "--encryption", c.encryption)
			if !strings.HasSuffix(b.FileName, c.suffix) {
				t.Errorf("compression %s and encryption %s made %s, want a name that ends with %s", c.compression, c.encryption, b.FileName, c.suffix)
			}
			name := "orders_" + c.compression + "_" + c.encryption
			do(t, ctx, r.ctl, "restore", "create", id(b.ID), "--to-database", name, "--wait")
			sameContent(t, ctx, r.postgres, "orders", name)
		}
	})

	t.Run("Delete", func(t *testing.T) {
		b := backUp(t, ctx, r.ctl, "path", "orders")
		do(t, ctx, r.ctl, "backup", "delete", id(b.ID), "--grace", "1h", "--reason", "test")
		if _, _, err := r.s3.Download(ctx, b.FilePath, file); err != nil {
			t.Errorf("a backup in its grace is gone from the store: %v", err)
		}
		refused(t, ctx, r.ctl, 1, []string{"deleted", "undelete"}, "restore", "create", id(b.ID), "--to-database", "from_deleted", "--wait")
		do(t, ctx, r.ctl, "backup", "undelete", id(b.ID))
		do(t, ctx, r.ctl, "backup", "verify", id(b.ID))

		do(t, ctx, r.ctl, "backup", "delete", id(b.ID), "--grace", "0s", "--reason", "test")
		if err := stack.Within(ctx, 30*time.Second, "every object of the backup is gone", func(ctx context.Context) (bool, error) {
			objects, err := r.s3.Objects(ctx)
			for _, o := range objects {
				if strings.Contains(o.Key, strings.TrimSuffix(b.FileName, ".dump.zst.age")) {
					return false, err
				}
			}
			return true, err
		}); err != nil {
			t.Error(err)
		}
		if err := r.ctl.API(ctx, http.MethodGet, "/backups/"+id(newestBackup(t, ctx, r.ctl, "path").ID), nil, nil); err != nil {
			t.Errorf("the other backups are not readable any more: %v", err)
		}
	})
}

// TestBackupNames takes names that a shell, a URL or a connection string would read as something else through the whole way.
func TestBackupNames(t *testing.T) {
	r, ctx := newRig(t)
	names := []string{`o'brien; drop "x"`, "-rf", "host=evil", "ünïcode 🦀", "postgres://evil@localhost/x?a=b"}
	r.project(t, ctx, "names", names...)
	out := do(t, ctx, r.ctl, "backup", "create", "names", "--wait")
	if !strings.Contains(out, "5 databases, 5 completed") {
		t.Fatalf("not every database is backed up:\n%s", out)
	}
	backups, err := r.ctl.Backups(ctx, "names")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, b := range backups {
		seen[b.DatabaseName] = true
		target := "copy of " + b.DatabaseName
		do(t, ctx, r.ctl, "restore", "create", id(b.ID), "--to-database", target, "--wait")
		sameContent(t, ctx, r.postgres, b.DatabaseName, target)
	}
	for _, name := range names {
		if !seen[name] {
			t.Errorf("database %q has no backup", name)
		}
	}
}

// TestBackupNothing is about exit statuses where there is nothing to do or the command line is wrong.
func TestBackupNothing(t *testing.T) {
	r, ctx := newRig(t)
	r.project(t, ctx, "empty")
	refused(t, ctx, r.ctl, 3, []string{"nothing to back up", "database assign"}, "backup", "create", "empty", "--wait")
	refused(t, ctx, r.ctl, 2, []string{"encryption", "age, aes-256-cbc, none"}, "backup", "create", "empty", "--encryption", "rot13")
	refused(t, ctx, r.ctl, 2, []string{"unknown flag", "--databse"}, "backup", "create", "empty", "--databse", "x")
	refused(t, ctx, r.ctl, 1, []string{"project", "nosuch", "project list"}, "backup", "create", "nosuch", "--wait")
	refused(t, ctx, r.ctl, 1, []string{"backup 999999", "backup list"}, "restore", "create", "999999", "--to-database", "x")
}

// TestBackup_Cancel stops a running backup: the tool ends, and neither upload nor object is left.
func TestBackup_Cancel(t *testing.T) {
	r, ctx := newRig(t)
	r.project(t, ctx, "cancel", "locked")
	before := traceOf(t, ctx, r.s3, r.postgres)

	// pg_dump waits for its table lock as long as this transaction lasts.
	conn, err := r.postgres.Connect(ctx, "locked")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "BEGIN; LOCK TABLE people IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	do(t, ctx, r.ctl, "backup", "create", "cancel")
	if _, err := r.agent.AwaitChild(ctx, "pg_dump"); err != nil {
		t.Fatal(err)
	}
	b := newestBackup(t, ctx, r.ctl, "cancel")
	refused(t, ctx, r.ctl, 1, []string{"locked", id(b.ID)}, "backup", "create", "cancel", "--database", "locked")
	do(t, ctx, r.ctl, "backup", "cancel", id(b.ID))
	b, err = r.ctl.AwaitBackup(ctx, b.ID, "failed", 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if b.JobStatus != "cancelled" {
		t.Errorf("the job is %s, not cancelled: %+v", b.JobStatus, b)
	}
	if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	unchanged(t, ctx, before, r.s3, r.postgres, r.agent)
	backUp(t, ctx, r.ctl, "cancel", "locked")
}
