package stack_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

// TestInvariants_Local: backups of every engine on their host hold, and whatever is wrong with them is seen.
func TestInvariants_Local(t *testing.T) {
	t.Parallel()
	s, ctx := newStack(t)
	stopAtEnd(t, s)
	pg, err := s.StartPostgres(ctx, "pg", stack.PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	maria, err := s.StartMariaDB(ctx, "maria", stack.MariaDBOptions{})
	if err != nil {
		t.Fatal(err)
	}
	lite, err := s.NewSQLite("files")
	if err != nil {
		t.Fatal(err)
	}
	servers := []stack.Server{pg, maria, lite}
	catalog, err := s.StartCatalog(ctx, "catalog", stack.PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.NewController("controller", stack.ControllerOptions{CatalogDSN: catalog.DSN, Timing: stack.Quick()})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	ctl := c.Admin()
	do := func(args ...string) {
		t.Helper()
		if _, err := ctl.Do(ctx, args...); err != nil {
			t.Fatal(err)
		}
	}
	do("project", "create", "p")
	do("storage", "add", "host", "--kind", "local", "--default")
	agent, err := s.NewAgent("db1", stack.AgentOptions{Servers: map[string]stack.Server{"pg": pg, "maria": maria, "files": lite}, Local: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range servers {
		name := server.Name("of_" + server.Engine())
		if err := server.Create(ctx, name); err != nil {
			t.Fatal(err)
		}
		if _, err := server.Exec(ctx, name, "CREATE TABLE a (x INT); INSERT INTO a VALUES (1), (2)"); err != nil {
			t.Fatal(err)
		}
	}
	if err := agent.Enroll(ctx, c, "p"); err != nil {
		t.Fatal(err)
	}
	if err := agent.StartOnline(ctx, c, len(servers)); err != nil {
		t.Fatal(err)
	}
	if err := catalog.Record(ctx); err != nil {
		t.Fatal(err)
	}
	for _, server := range servers {
		do("database", "assign", server.Name("of_"+server.Engine()), "--project", "p")
	}
	do("backup", "create", "p", "--encryption", "aes-256-cbc", "--wait")

	in := stack.Invariants{Catalog: catalog, Client: ctl, Agents: []*stack.Agent{agent}, Databases: servers, Read: map[string]bool{}}
	if err := in.Check(ctx); err != nil {
		t.Fatal(err)
	}
	backups, err := ctl.Backups(ctx, "p")
	if err != nil || len(backups) != len(servers) {
		t.Fatalf("%d backups, %v", len(backups), err)
	}
	in.Within = 300 * time.Millisecond
	fails := func(what, want string) {
		t.Helper()
		if err := in.Check(ctx); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v does not say %q", what, err, want)
		}
	}
	file := filepath.Join(agent.LocalDir, backups[0].FilePath)
	stored, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	write := func(path string, b []byte, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, b, mode); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(path string) {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}

	write(file+".partial", []byte("x"), 0o600)
	fails("a partial file", "object of no completed backup "+backups[0].FilePath+".partial")
	remove(file + ".partial")

	flipped := bytes.Clone(stored)
	flipped[len(flipped)/2] ^= 1
	write(file, flipped, 0o600)
	fails("a flipped bit", "backup "+strconv.FormatInt(backups[0].ID, 10)+": artifact has")
	write(file, stored[1:], 0o600)
	fails("a cut file", "the catalog says "+strconv.FormatInt(backups[0].FileSize, 10))
	remove(file)
	fails("a lost file", "artifact of backup "+strconv.FormatInt(backups[0].ID, 10)+" is not there")
	in.Damaged = []int64{backups[0].ID}
	if err := in.Check(ctx); err != nil {
		t.Errorf("with the backup as damaged: %v", err)
	}
	in.Damaged = nil
	write(file, stored, 0o644)
	fails("a file that all may read", "has mode -rw-r--r--")
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}

	staging := filepath.Join(lite.Dir, "devflow_staging_x")
	write(staging+"-wal", nil, 0o600)
	fails("what is left of a staging file", "staging database "+staging+"-wal is left")
	remove(staging + "-wal")

	kept := filepath.Join(lite.Dir, "devflow_kept_x")
	write(kept, nil, 0o600)
	fails("what nobody knows of", kept+" is kept on a server, and the catalog does not say so")
	remove(kept)

	manifest, err := os.ReadFile(artifact.ManifestKey(file))
	if err != nil {
		t.Fatal(err)
	}
	write(artifact.ManifestKey(file), append(manifest, '\n'), 0o600)
	fails("another manifest", "manifest of backup ")
	write(artifact.ManifestKey(file), manifest, 0o600)

	conn, err := catalog.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// As the owner of the database, past its triggers.
	edit := func(sql string) {
		t.Helper()
		if tag, err := conn.Exec(ctx, "SET session_replication_role = replica; "+strings.ReplaceAll(sql, "ID", strconv.FormatInt(backups[0].ID, 10))); err != nil || tag.RowsAffected() == 0 {
			t.Fatalf("%s: %d rows, %v", sql, tag.RowsAffected(), err)
		}
	}
	// Neither settled nor removed by the controller meanwhile.
	const restored = `
		INSERT INTO restores (project_id, backup_id, server_id, instance, database_name, status, in_place, identity, staged_name, kept_name, kept_until, settle_after, target_state, kept_state)
		SELECT project_id, id, server_id, 'files', 'x', 'completed', true, 'i', 's', 'devflow_kept_gone', now() + interval '1 hour', now() + interval '1 hour', STATES FROM database_backups WHERE id = ID`
	of := strconv.FormatInt(backups[0].ID, 10)
	for _, c := range []struct{ what, sql, back, want string }{
		{
			"the last backup removed by retention", "UPDATE database_backups SET deleted_at = now(), delete_reason = 'retention: old' WHERE id = ID",
			"UPDATE database_backups SET deleted_at = NULL, delete_reason = NULL WHERE id = ID", "has no restorable backup left of 1; retention removed 1",
		},
		{
			"a backup deleted and closed at once", "UPDATE database_backups SET deleted_at = now(), purged_at = now() WHERE id = ID",
			"UPDATE database_backups SET deleted_at = NULL, purged_at = NULL WHERE id = ID", "backup " + of + " (completed) was deleted at ",
		},
		{
			"a backup closed with its objects there", "UPDATE database_backups SET purged_at = now(), health = 'deleting', deleted_at = now() - interval '1 hour' WHERE id = ID",
			"UPDATE database_backups SET purged_at = NULL, health = 'ok', deleted_at = NULL WHERE id = ID", "backup " + of + " is closed, and ",
		},
		{
			"a held backup deleted", "UPDATE database_backups SET deleted_at = now(), held_at = now() WHERE id = ID",
			"UPDATE database_backups SET deleted_at = NULL, held_at = NULL WHERE id = ID", "backup " + of + " is deleted, and held since ",
		},
		{
			"a replaced target with nothing kept", strings.ReplaceAll(restored, "STATES", "'replaced', ''"), "DELETE FROM restores", "in place is completed, its target is 'replaced' and what it kept is ''",
		},
		{
			"a target of which nobody knows", strings.ReplaceAll(restored, "STATES", "'unknown', ''"), "DELETE FROM restores", "its target is 'unknown'",
		},
		{
			"a kept database that is gone", strings.ReplaceAll(restored, "STATES", "'replaced', 'kept'"), "DELETE FROM restores", "no server has them: devflow_kept_gone",
		},
		{
			"an act that was not told", "INSERT INTO stack.acts (action, subject) VALUES ('backup.delete', 'ID')", "DELETE FROM stack.acts WHERE action = 'backup.delete'",
			"backup.delete of " + of + " happened 1 times, the audit log tells of 0",
		},
		{
			"an entry changed", "UPDATE audit_log SET actor = actor || '!' WHERE seq = 2", "UPDATE audit_log SET actor = trim(trailing '!' FROM actor) WHERE seq = 2",
			"row 2 (id ",
		},
	} {
		edit(c.sql)
		fails(c.what, c.want)
		edit(c.back)
	}
	in.Within = 0
	if err := in.Check(ctx); err != nil {
		t.Errorf("with all put back: %v", err)
	}
	in.Within = 300 * time.Millisecond
	if _, err := conn.Exec(ctx, "UPDATE backup_objects SET mac = repeat('0', 64) WHERE backup_id = $1 AND object = $2", backups[0].ID, wire.ObjectArtifact); err != nil {
		t.Fatal(err)
	}
	fails("another MAC", "the catalog's MAC of the artifact")
}
