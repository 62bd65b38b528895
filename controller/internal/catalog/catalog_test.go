package catalog_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/catalog"
	"devflowbackup/controller/internal/keys"
	"devflowbackup/migrations"
	"devflowbackup/shared/pgserver"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/pgkit"
	"devflowbackup/shared/wire"
)

func TestOpen_Superuser(t *testing.T) {
	dsn := secret.String(pgkit.NewDatabase(t))
	_, err := catalog.Open(t.Context(), catalog.Options{DSN: dsn, ControllerID: "one"})
	f := &fix{T: t}
	f.refused(err, controller.EInvalid, "superuser", "CREATE ROLE", "NOBYPASSRLS", "ALTER DATABASE")
}

func TestOpen_BypassRLS(t *testing.T) {
	_, name := newDSN(t)
	s := pgkit.Shared(t)
	if err := s.CreateRole(t.Context(), "devflow_bypass", rolePassword); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Exec(t.Context(), "postgres", "ALTER ROLE devflow_bypass BYPASSRLS"); err != nil {
		t.Fatal(err)
	}
	_, err := catalog.Open(t.Context(), catalog.Options{DSN: s.UserDSN("devflow_bypass", rolePassword, name), ControllerID: "one"})
	f := &fix{T: t}
	f.refused(err, controller.EInvalid, "BYPASSRLS")
}

func TestOpen_Errors(t *testing.T) {
	s := pgkit.Shared(t)
	_, name := newDSN(t)
	for _, c := range []struct {
		what  string
		dsn   secret.String
		code  string
		words []string
	}{
		{"wrong password", s.UserDSN(role, "canary-pw", name), controller.EUnavailable, []string{"127.0.0.1", name}},
		{"no database", s.UserDSN(role, rolePassword, "absent"), controller.EUnavailable, []string{"absent"}},
		{"no server", "postgres://u:canary-pw@127.0.0.1:1/d", controller.EUnavailable, []string{"port 1 "}},
		{"not a DSN", "postgres://u:canary-pw@[", controller.EInvalid, []string{"DSN"}},
		{"bad port", "postgres://u:canary-pw@h:canary-pw/d", controller.EInvalid, []string{"DSN"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			_, err := catalog.Open(t.Context(), catalog.Options{DSN: c.dsn, ControllerID: "one"})
			(&fix{T: t}).refused(err, c.code, c.words...)
			if strings.Contains(err.Error(), "canary-pw") || strings.Contains(err.Error(), rolePassword.Reveal()) {
				t.Fatalf("error %q tells the password", err)
			}
		})
	}
}

func TestMigrate(t *testing.T) {
	dsn, _ := newDSN(t)
	f := &fix{T: t, dsn: dsn, master: nil}
	one, two := f.another("one"), f.another("two")
	if pending := must[[]string](t)(one.MigrationsPending(t.Context())); len(pending) == 0 {
		t.Fatal("nothing is pending on an empty database")
	}
	var wg sync.WaitGroup
	ran := make([]int, 6)
	for i, c := range []*catalog.Catalog{one, two, one, two, one, two} {
		wg.Go(func() {
			names, err := c.Migrate(t.Context())
			if err != nil {
				t.Error(err)
			}
			ran[i] = len(names)
		})
	}
	wg.Wait()
	total := 0
	for _, n := range ran {
		total += n
	}
	equal(t, "migrations that ran", total, len(must[[]fs.DirEntry](t)(migrations.FS.ReadDir("."))))
	equal(t, "pending", len(must[[]string](t)(two.MigrationsPending(t.Context()))), 0)
}

// Migration 4 leaves what a catalog of the version before it holds as it was, and takes what is new from then on.
func TestMigrate_InPlace(t *testing.T) {
	t.Parallel()
	dsn, name := newDSN(t)
	f := &fix{T: t, dsn: dsn, db: name, master: keys.NewMaster(), server: pgkit.Shared(t), admin: controller.Actor{Name: "admin", Scope: controller.Scope{All: true}, Permissions: controller.Permissions}}
	f.sql("SET ROLE %s; CREATE TABLE bun_migrations (id bigserial PRIMARY KEY, name varchar, group_id bigint, migrated_at timestamptz NOT NULL DEFAULT current_timestamp)", role)
	for n, file := range []string{"1_catalog", "2_storages", "3_schedules"} {
		text := must[[]byte](t)(migrations.FS.ReadFile(file + ".tx.up.sql"))
		f.sql("SET ROLE %s; %s; INSERT INTO bun_migrations (name, group_id) VALUES ('%d', 1)", role, text, n+1)
	}
	f.sql(`INSERT INTO projects (slug, name, age_recipient, age_identity) VALUES ('shop', 'shop', 'age1', 'x');
		INSERT INTO servers (agent_id, name, nkey, signing_key, recipient, session, last_seen_at) VALUES ('a1', 'db-7', 'N', 'k', 'r', 'session', now());
		INSERT INTO project_servers (project_id, server_id) VALUES (1, 1);
		INSERT INTO instances (server_id, name, engine, restore) VALUES (1, 'main', 'postgresql', true);
		INSERT INTO storages (name, kind, is_default, probe_ok) VALUES ('s3', 's3', true, true);
		INSERT INTO databases (server_id, instance, engine, name, project_id) VALUES (1, 'main', 'postgresql', 'app', 1);
		INSERT INTO database_backups (project_id, server_id, database_id, storage_id, instance, database_type, database_name, type, status, compression, encryption, storage_disk, file_path,
			file_size, checksum, raw_size, raw_checksum, manifest, completed_at) VALUES (1, 1, 1, 1, 'main', 'postgresql', 'app', 'manual', 'completed', 'zstd', 'none', 's3', 'k', 9, 'c', 9, 'c', 'm', now());
		INSERT INTO restores (project_id, backup_id, server_id, instance, database_name, status, result) VALUES (1, 1, 1, 'main', 'old', 'completed', '{"database": "old", "tables": 3, "rows": 9, "compared": true}'),
			(1, 1, 1, 'main', 'open', 'running', '{}');
		INSERT INTO jobs (kind, project_id, server_id, backup_id, restore_id, status, max_duration_seconds, max_attempts, attempt_no, deadline_at, ended_at) VALUES
			('restore', 1, 1, 1, 1, 'completed', 60, 3, 1, now(), now()), ('restore', 1, 1, 1, 2, 'running', 60, 3, 1, now() + interval '1 hour', NULL);
		INSERT INTO attempts (job_id, no, project_id, server_id, token, session, status, accepted_at) VALUES (1, 1, 1, 1, 't1', 'session', 'completed', now()), (2, 1, 1, 1, 't2', 'session', 'running', now())`)
	f.Catalog = f.another("one")
	alike(t, "migrations", must[[]string](t)(f.Migrate(t.Context())), []string{"4_in_place", "5_people", "6_panel", "7_alarms"})
	f.totals()

	old, open := f.restore(1), f.restore(2)
	var result controller.RestoreOutcome
	f.ok(json.Unmarshal(old.Result, &result))
	if old.Kind != controller.RestoreKind || old.Status != "completed" || old.InPlace || old.TargetState != "" || old.KeptState != "" || old.Sessions != "refuse" || result.Rows != 9 || result.Swapped != nil || old.JobID != 1 {
		t.Fatalf("%+v", old)
	}
	// An attempt that was at work goes on.
	f.ok(f.ReportDone(t.Context(), "a1", "session", wire.Report{Attempt: wire.Attempt{Job: open.JobID, No: 1, Token: "t2"}, Outcome: wire.OutcomeRestored, Restored: &wire.RestoreResult{Database: "open"}}))
	equal(t, "restore", f.restore(2).Status, "completed")
	equal(t, "sweep", f.sweep(), controller.SweepResult{})
	equal(t, "in place", must[controller.Server](t)(f.Server(t.Context(), f.admin, "db-7")).Instances[0].InPlace, false)
	f.sql("UPDATE instances SET in_place = true")
	r := f.ask(controller.RestoreRequest{Backup: 1, InPlace: true, SkipSafety: true, SwapRequest: confirm("app")})
	equal(t, "id", r.ID, 3)
}

// Fault 33: a controller that dies half-way through a migration leaves nothing of it, and the next one, which waits already, does it all.
func TestMigrate_DiesHalfWay(t *testing.T) {
	t.Parallel()
	dsn, name := newDSN(t)
	f := &fix{T: t, dsn: dsn, db: name, master: keys.NewMaster(), server: pgkit.Shared(t)}
	one, two := f.another("one"), f.another("two")
	f.sql(`CREATE FUNCTION hold() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
		IF to_regclass('servers') IS NOT NULL THEN PERFORM pg_sleep(600); END IF; END $$;
		CREATE EVENT TRIGGER hold ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION hold()`)
	died, done := make(chan error, 1), make(chan error, 1)
	go func() { _, err := one.Migrate(t.Context()); died <- err }()
	until := func(what, query string) {
		t.Helper()
		deadline, tick := time.After(20*time.Second), time.NewTicker(10*time.Millisecond)
		defer tick.Stop()
		for f.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = '%s' AND %s", name, query) != "1" {
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatalf("waited in vain for %s", what)
			}
		}
	}
	const halfWay = "wait_event = 'PgSleep'"
	until("the migration to be half-way", halfWay)
	f.sql("DROP EVENT TRIGGER hold; DROP FUNCTION hold()")
	go func() {
		names, err := two.Migrate(t.Context())
		if err == nil && len(names) != 7 {
			err = fmt.Errorf("the second controller ran %v", names)
		}
		done <- err
	}()
	until("the second controller to wait", "wait_event = 'advisory'")
	equal(t, "what others see of it", f.sql("SELECT to_regclass('servers') IS NULL"), "t")
	f.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '%s' AND %s", name, halfWay)
	if err := <-died; err == nil {
		t.Error("a migration whose connection was cut ended well")
	}
	f.ok(<-done)
	equal(t, "pending", len(must[[]string](t)(two.MigrationsPending(t.Context()))), 0)
}

func TestMigrate_Newer(t *testing.T) {
	f := open(t)
	f.sql("INSERT INTO bun_migrations (name, group_id) VALUES ('9999', 9)")
	_, err := f.MigrationsPending(t.Context())
	f.refused(err, controller.EConflict, "newer", "9999")
	_, err = f.Migrate(t.Context())
	f.refused(err, controller.EConflict, "newer")
}

func TestCatalog_Restart(t *testing.T) { // fault 28
	s := pgkit.Start(t, func(o *pgserver.Options) { o.Settings["synchronous_commit"] = "on" })
	if err := s.CreateRole(t.Context(), role, rolePassword); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateDatabase(t.Context(), "catalog", role); err != nil {
		t.Fatal(err)
	}
	f := &fix{T: t, dsn: s.UserDSN(role, rolePassword, "catalog"), db: "catalog", server: s, admin: controller.Actor{Name: "admin", Scope: controller.Scope{All: true}, Permissions: controller.Permissions}}
	f.Catalog = f.another("one")
	must[[]string](t)(f.Migrate(t.Context()))
	f.ok(f.AddSecurityEvent(t.Context(), "", "before", "", 1))

	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	_, err := f.Projects(t.Context(), f.admin, controller.ProjectFilter{})
	f.refused(err, controller.EUnavailable)
	f.refused(f.Ping(t.Context()), controller.EUnavailable, "127.0.0.1")
	if strings.Contains(err.Error(), rolePassword.Reveal()) {
		t.Fatalf("error %q tells the password", err)
	}
	if err := s.Restart(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the catalog answers again", func() bool {
		_, err := f.Projects(t.Context(), f.admin, controller.ProjectFilter{})
		if err != nil {
			f.refused(err, controller.EUnavailable)
		}
		return err == nil
	})
	events := must[[]controller.SecurityEvent](t)(f.SecurityEvents(t.Context(), f.admin, 0, 0))
	equal(t, "events after the restart", len(events), 1)
	// A restart under idle connections is not noticed by callers, however many there are.
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() { _ = f.Ping(t.Context()); _, _ = f.Projects(t.Context(), f.admin, controller.ProjectFilter{}) })
	}
	wg.Wait()
	if err := s.Restart(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	f.ok(f.AddSecurityEvent(t.Context(), "", "after", "", 1))
}

func TestCatalog_ReadOnly(t *testing.T) { // fault 31
	f := open(t)
	f.sql("ALTER DATABASE %s SET default_transaction_read_only = on", f.db)
	c := f.another("two")
	f.refused(c.AddSecurityEvent(t.Context(), "", "k", "", 1), controller.EUnavailable)
}

func TestCatalog_Cancelled(t *testing.T) {
	f := open(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errStop)
	_, err := f.Projects(ctx, f.admin, controller.ProjectFilter{})
	if err == nil || !strings.Contains(err.Error(), errStop.Error()) {
		t.Fatalf("error is %v, want the context's cause", err)
	}
}

var errStop = controller.Errorf("stop", "told to stop")

func TestCatalog_Contention(t *testing.T) { // fault 32
	f := open(t)
	s1, s2 := f.storage("x1", false), f.storage("x2", false)
	// Default storages change in opposite orders by many at once; none of it may reach a caller.
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 10 {
				ref := s1.Name
				if i%2 == 0 {
					ref = s2.Name
				}
				if _, err := f.SetDefaultStorage(t.Context(), f.admin, ref); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	equal(t, "defaults", f.sql("SELECT count(*) FROM storages WHERE is_default"), "1")
}

func TestInstallation(t *testing.T) {
	f := open(t)
	if in := must[*controller.Installation](t)(f.Installation(t.Context())); in != nil {
		t.Fatalf("installation before the first start: %+v", in)
	}
	two := f.another("two")
	var wg sync.WaitGroup
	made := make([]bool, 10)
	for i := range made {
		wg.Go(func() {
			c := f.Catalog
			if i%2 == 0 {
				c = two
			}
			ok, err := c.CreateInstallation(t.Context(), controller.Installation{UID: string(rune('a' + i)), CheckValue: []byte{byte(i)}, EscrowMaster: []byte("e"), Secrets: map[string][]byte{"ca": {byte(i)}}})
			if err != nil {
				t.Error(err)
			}
			made[i] = ok
		})
	}
	wg.Wait()
	winner := -1
	for i, m := range made {
		if m && winner >= 0 {
			t.Fatal("two controllers made the installation")
		}
		if m {
			winner = i
		}
	}
	in := must[*controller.Installation](t)(two.Installation(t.Context()))
	if in == nil || in.UID != string(rune('a'+winner)) || in.Secrets["ca"][0] != byte(winner) || in.CheckValue[0] != byte(winner) {
		t.Fatalf("installation is %+v, made by %d", in, winner)
	}
	f.ok(f.PutSecret(t.Context(), "ca", []byte("new")))
	in = must[*controller.Installation](t)(f.Installation(t.Context()))
	equal(t, "secret", string(in.Secrets["ca"]), "new")
}

func TestRegisterController(t *testing.T) {
	f := open(t)
	two := f.another("two")
	f.ok(f.RegisterController(t.Context(), "1", "external"))
	f.ok(two.RegisterController(t.Context(), "1", "external"))
	f.refused(two.RegisterController(t.Context(), "1", "embedded"), controller.EConflict, `"one"`, "external NATS")
	f.ok(f.DeregisterController(t.Context()))
	f.ok(two.RegisterController(t.Context(), "1", "embedded"))
	f.ok(two.RegisterController(t.Context(), "2", "embedded")) // its own restart
	f.refused(f.RegisterController(t.Context(), "1", "external"), controller.EConflict, `"two"`)
	f.sql("UPDATE controllers SET seen_at = now() - interval '16 seconds'")
	f.ok(f.RegisterController(t.Context(), "1", "external"))
	f.ok(two.ControllerSeen(t.Context()))
	f.refused(f.RegisterController(t.Context(), "1", "embedded"), controller.EConflict)
	f.refused(f.RegisterController(t.Context(), "1", "other"), controller.EInvalid)
}

func TestIdempotency(t *testing.T) {
	f := open(t)
	f.ok(f.EnsureAdminToken(t.Context(), hash("admin")))
	actor := must[controller.Actor](t)(f.TokenByHash(t.Context(), hash("admin")))
	ctx := t.Context()
	var wg sync.WaitGroup
	var mu sync.Mutex
	first := 0
	for range 10 {
		wg.Go(func() {
			replay, err := f.BeginIdempotent(ctx, actor, "k", hash("body"))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && replay == nil:
				first++
			case controller.ErrorCode(err) != controller.EConflict:
				t.Errorf("replay %v, err %v", replay, err)
			}
		})
	}
	wg.Wait()
	equal(t, "requests that may go on", first, 1)
	f.ok(f.EndIdempotent(ctx, actor, "k", controller.StoredResponse{Status: 201, Body: []byte(`{"id":1}`)}))
	replay := must[*controller.StoredResponse](t)(f.BeginIdempotent(ctx, actor, "k", hash("body")))
	if replay == nil || replay.Status != 201 || string(replay.Body) != `{"id":1}` {
		t.Fatalf("replay is %+v", replay)
	}
	_, err := f.BeginIdempotent(ctx, actor, "k", hash("other"))
	f.refused(err, controller.EConflict, "another request")
	f.ok(f.AbandonIdempotent(ctx, actor, "k")) // answered: stays
	if r := must[*controller.StoredResponse](t)(f.BeginIdempotent(ctx, actor, "k", hash("body"))); r == nil {
		t.Fatal("an answered key was abandoned")
	}
	must[*controller.StoredResponse](t)(f.BeginIdempotent(ctx, actor, "k2", hash("b")))
	f.ok(f.AbandonIdempotent(ctx, actor, "k2"))
	if r := must[*controller.StoredResponse](t)(f.BeginIdempotent(ctx, actor, "k2", hash("b"))); r != nil {
		t.Fatal("an abandoned key has an answer")
	}
	f.sql("UPDATE idempotency_keys SET created_at = now() - interval '11 minutes' WHERE key = 'k2'")
	must[*controller.StoredResponse](t)(f.BeginIdempotent(ctx, actor, "k2", hash("b"))) // its first request died
	f.sql("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
	must[controller.SweepResult](t)(f.Sweep(ctx))
	equal(t, "old keys", f.sql("SELECT count(*) FROM idempotency_keys"), "0")
}
