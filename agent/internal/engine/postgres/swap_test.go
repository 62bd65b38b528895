package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engine/enginetest"
	"devflowbackup/shared/pgserver"
	"devflowbackup/shared/wire"
)

// staged restores a dump of the database into a staging database, and asks to swap the database for it.
func staged(t *testing.T, e engine.Engine, database string) engine.SwapRequest {
	t.Helper()
	dump, _ := dumpAll(t, e, database)
	name, log, err := restoreAll(t, e, dump)
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	return swapOf(t, e, name, database)
}

func swapOf(t *testing.T, e engine.Engine, name, database string) engine.SwapRequest {
	t.Helper()
	target := inspect(t, e, engine.InspectRequest{Target: database, InPlace: true})
	return engine.SwapRequest{Staged: name, Target: database, Keep: engine.KeptPrefix + strings.TrimPrefix(newStaging(), engine.StagingPrefix), Identity: target.Identity}
}

func inspect(t *testing.T, e engine.Engine, req engine.InspectRequest) *engine.Target {
	t.Helper()
	target, err := e.Inspect(testContext(t), req)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func swap(t *testing.T, e engine.Engine, req engine.SwapRequest) *engine.SwapResult {
	t.Helper()
	result, err := e.Swap(testContext(t), req)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("unavailable for %s; %q", result.Unavailable, result.Notes)
	return result
}

// ofDatabaseSQL lists what belongs to the name of a database, and not to its content.
const ofDatabaseSQL = `
	SELECT 'owner ' || datdba::regrole FROM pg_database WHERE datname = current_database()
	UNION ALL SELECT concat_ws(' ', 'limit', datconnlimit, datistemplate, datallowconn) FROM pg_database WHERE datname = current_database()
	UNION ALL SELECT 'comment ' || coalesce(shobj_description(oid, 'pg_database'), 'none') FROM pg_database WHERE datname = current_database()
	UNION ALL SELECT concat_ws(' ', 'grant', coalesce(nullif(a.grantee, 0)::regrole::text, 'PUBLIC'), a.privilege_type, a.is_grantable)
		FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) a WHERE datname = current_database()
	UNION ALL SELECT concat_ws(' ', 'setting', nullif(setrole, 0)::regrole, c) FROM pg_db_role_setting, unnest(setconfig) c
		WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())`

// TestSwap_CarriesOver: what belongs to the target's name stays with it, through a swap and an undo.
func TestSwap_CarriesOver(t *testing.T) {
	t.Parallel()
	s := ownServer(t, `CREATE ROLE app LOGIN PASSWORD 'app'; CREATE ROLE clerk; CREATE ROLE "the ""boss"""`)
	for _, database := range []string{"plain", "adorned"} {
		createDatabase(t, s, database)
		run(t, s, database, smallSQL)
		run(t, s, "postgres", "ALTER DATABASE "+database+" OWNER TO app")
	}
	run(t, s, "postgres", `
		ALTER DATABASE adorned CONNECTION LIMIT 17;
		COMMENT ON DATABASE adorned IS E'it''s \\ "ours"';
		REVOKE ALL ON DATABASE adorned FROM PUBLIC; GRANT CONNECT ON DATABASE adorned TO clerk, "the ""boss"""; GRANT TEMPORARY ON DATABASE adorned TO clerk WITH GRANT OPTION;
		REVOKE TEMPORARY ON DATABASE adorned FROM app;
		ALTER DATABASE adorned SET search_path = "my, schema", 'it"s', public; ALTER DATABASE adorned SET work_mem = '5MB'; ALTER DATABASE adorned SET "my.Setting" = E'a''b, \\c';
		ALTER DATABASE adorned SET temp_tablespaces = ''; ALTER DATABASE adorned SET log_statement = 'all'; ALTER DATABASE adorned SET statement_timeout = '30s'; ALTER DATABASE adorned SET timezone = 'Europe/Rome';
		ALTER ROLE clerk IN DATABASE adorned SET default_transaction_read_only = on; ALTER ROLE "the ""boss""" IN DATABASE adorned SET search_path TO DEFAULT; ALTER ROLE "the ""boss""" IN DATABASE adorned SET search_path TO other;`)
	e := newEngine(t, config(s))
	for _, database := range []string{"plain", "adorned"} {
		t.Run(database, func(t *testing.T) {
			of := func(name string) []string {
				t.Helper()
				conn := superuser(t, s, name)
				defer conn.Close(context.Background())
				// Its own settings hold for every session.
				if _, err := conn.Exec(testContext(t), "SET search_path = pg_catalog"); err != nil {
					t.Fatal(err)
				}
				rows, err := conn.Query(testContext(t), ofDatabaseSQL)
				if err != nil {
					t.Fatal(err)
				}
				list, err := pgx.CollectRows(rows, pgx.RowTo[string])
				if err != nil {
					t.Fatal(err)
				}
				return list
			}
			want := of(database)
			first := staged(t, e, database)
			result := swap(t, e, first)
			wantSame(t, "after the swap", want, of(database))
			if database == "adorned" && !strings.Contains(strings.Join(result.Notes, "\n"), "grants") {
				t.Errorf("%q", result.Notes)
			}
			if database == "adorned" { // it is changed between swap and undo, and stays so
				run(t, s, "postgres", `ALTER DATABASE adorned RESET work_mem; ALTER DATABASE adorned SET maintenance_work_mem = '7MB'; COMMENT ON DATABASE adorned IS NULL; GRANT CONNECT ON DATABASE adorned TO PUBLIC;
					ALTER ROLE clerk IN DATABASE adorned RESET ALL`)
				want = of(database)
			}
			undo := swapOf(t, e, first.Keep, database)
			swap(t, e, undo)
			wantSame(t, "after the undo", want, of(database))
			if err := e.Remove(testContext(t), undo.Keep); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSwap_Adopts: what was restored belongs to the target's owner afterwards, and nothing else of the restore account does.
func TestSwap_Adopts(t *testing.T) {
	t.Parallel()
	s := ownServer(t, `CREATE ROLE app LOGIN PASSWORD 'app'; CREATE ROLE clerk; CREATE ROLE "the boss"; CREATE ROLE mighty CREATEROLE`)
	createDatabase(t, s, "shop")
	run(t, s, "postgres", "ALTER DATABASE shop OWNER TO app")
	run(t, s, "shop", "SET ROLE app;"+ownedSQL)
	// More than are taken in one step.
	run(t, s, "shop", `DO $$ BEGIN FOR i IN 1..520 LOOP EXECUTE 'CREATE TABLE many_' || i || ' (n int)'; END LOOP; END $$`)
	e := newEngine(t, config(s))
	owners := func(database, want string) {
		t.Helper()
		list := query[string](t, s, database, ownersSQL)
		if len(list) == 0 {
			t.Fatal("nothing has an owner")
		}
		for _, owner := range list {
			if !strings.HasPrefix(owner, want+" ") {
				t.Errorf("owner %q, want %s", owner, want)
			}
		}
	}
	otherStaging := newStaging()
	createDatabase(t, s, otherStaging)
	run(t, s, "postgres", "ALTER DATABASE "+otherStaging+" OWNER TO "+restoreUser)
	req := staged(t, e, "shop")
	swap(t, e, req)
	owners("shop", "app")
	if owner := query[string](t, s, otherStaging, "SELECT datdba::regrole::text FROM pg_database WHERE datname = current_database()"); owner[0] != restoreUser {
		t.Errorf("another restore's database belongs to %q", owner)
	}
	// The program can go on.
	conn := connectAs(t, s, "app", "app", "shop")
	if _, err := conn.Exec(testContext(t), `INSERT INTO "the shop"."a;b" (name) VALUES ('y'); CREATE TABLE "the shop".t2 (n int)`, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Error(err)
	}
	conn.Close(context.Background())
	if err := e.Remove(testContext(t), req.Keep); err != nil {
		t.Error(err)
	}

	// An owner with rights over the server does not get a dump's functions.
	createDatabase(t, s, "small")
	run(t, s, "small", smallSQL)
	for _, owner := range []string{"mighty", "postgres"} {
		run(t, s, "postgres", "ALTER DATABASE small OWNER TO "+owner)
		plan := inspect(t, e, engine.InspectRequest{Target: "small", InPlace: true})
		if !hasProblem(plan, "owner", false) {
			t.Errorf("the plan does not tell: %+v", plan.Problems)
		}
		req := staged(t, e, "small")
		result := swap(t, e, req)
		owners("small", restoreUser)
		if !strings.Contains(strings.Join(result.Notes, "\n"), "a dump must not get such rights") {
			t.Errorf("%q", result.Notes)
		}
		if err := e.Remove(testContext(t), req.Keep); err != nil {
			t.Error(err)
		}
	}
}

func connectAs(t *testing.T, s *pgserver.Server, user, password, database string) *pgx.Conn {
	t.Helper()
	cfg, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=postgres sslmode=disable", s.Host(), s.Port(), user, password))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Database = database
	conn, err := pgx.ConnectConfig(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func hasProblem(target *engine.Target, code string, stops bool) bool {
	return slices.ContainsFunc(target.Problems, func(p engine.Problem) bool { return p.Code == code && p.Stops == stops })
}

// TestSwap_Accounts swaps as a role that is no superuser, and refuses as one that may not.
func TestSwap_Accounts(t *testing.T) {
	t.Parallel()
	s := ownServer(t, `CREATE ROLE app LOGIN PASSWORD 'app'; CREATE ROLE devflow_reader LOGIN PASSWORD 'reader' IN ROLE pg_read_all_data`)
	createDatabase(t, s, "shop")
	run(t, s, "postgres", "ALTER DATABASE shop OWNER TO app")
	run(t, s, "shop", "SET ROLE app; CREATE SCHEMA mine; SET search_path = mine;"+smallSQL)
	cfg := config(s)
	cfg.User, cfg.Password = "devflow_reader", "reader"
	e := newEngine(t, cfg)
	req := staged(t, e, "shop")
	before := content(t, s, "shop")
	wantUnchanged := func() {
		t.Helper()
		wantSame(t, "content", flatten(before), flatten(content(t, s, "shop")))
		if there, err := e.Exists(testContext(t), req.Staged); err != nil || !there {
			t.Errorf("%v, %v", there, err)
		}
	}
	_, err := e.Swap(testContext(t), req)
	if f := wantCode(t, err, wire.CodePrivilege); !strings.Contains(f.Hint, "CREATEDB") || f.Retryable {
		t.Errorf("%+v", f)
	}
	if plan := inspect(t, e, engine.InspectRequest{Target: "shop", InPlace: true}); !hasProblem(plan, "cannot_rename", true) {
		t.Errorf("%+v", plan.Problems)
	}
	wantUnchanged()

	run(t, s, "postgres", "ALTER ROLE devflow_reader CREATEDB; GRANT app TO devflow_reader")
	if plan := inspect(t, e, engine.InspectRequest{Target: "shop", InPlace: true}); !hasProblem(plan, "cannot_rename", true) {
		t.Errorf("%+v", plan.Problems)
	}
	run(t, s, "postgres", "GRANT devflow_restore TO devflow_reader")
	if plan := inspect(t, e, engine.InspectRequest{Target: "shop", InPlace: true}); len(plan.Problems) > 0 {
		t.Errorf("%+v", plan.Problems)
	}

	// Sessions of others want a right of their own.
	strange := superuser(t, s, "shop")
	defer strange.Close(context.Background())
	end := req
	end.Sessions = engine.SessionsEnd
	if plan := inspect(t, e, engine.InspectRequest{Target: "shop", InPlace: true, Sessions: engine.SessionsEnd}); !hasProblem(plan, "cannot_end_sessions", true) {
		t.Errorf("%+v", plan.Problems)
	}
	_, err = e.Swap(testContext(t), end)
	if f := wantCode(t, err, wire.CodePrivilege); !strings.Contains(f.Hint, "pg_signal_backend") {
		t.Errorf("%+v", f)
	}
	if _, err := strange.Exec(testContext(t), "SELECT 1"); err != nil {
		t.Errorf("the session was hurt: %v", err)
	}
	strange.Close(context.Background())
	wantUnchanged()

	app := connectAs(t, s, "app", "app", "shop")
	defer app.Close(context.Background())
	if plan := inspect(t, e, engine.InspectRequest{Target: "shop", InPlace: true, Sessions: engine.SessionsEnd}); !hasProblem(plan, "sessions_end", false) || plan.Sessions[0].User != "app" {
		t.Errorf("%+v", plan)
	}
	run(t, s, "postgres", "GRANT pg_signal_backend TO devflow_reader")
	if result := swap(t, e, end); result.Ended != 1 {
		t.Errorf("%+v", result)
	}
	wantSame(t, "content", flatten(before), flatten(content(t, s, "shop")))
	if owners := query[string](t, s, "shop", "SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = 'mine'"); !slices.Equal(owners, []string{"app"}) {
		t.Errorf("owners %q", owners)
	}
	if err := e.Remove(testContext(t), req.Keep); err != nil {
		t.Error(err)
	}

	// The restore account can do it, too, if the target is its own; the plan warns of that.
	run(t, s, "postgres", "REVOKE app, devflow_restore FROM devflow_reader; GRANT app TO devflow_restore")
	plan := inspect(t, e, engine.InspectRequest{Target: "shop", InPlace: true})
	if !hasProblem(plan, "restore_owns_target", false) || slices.ContainsFunc(plan.Problems, func(p engine.Problem) bool { return p.Stops }) {
		t.Errorf("%+v", plan.Problems)
	}
	req = staged(t, e, "shop")
	swap(t, e, req)
	wantSame(t, "content", flatten(before), flatten(content(t, s, "shop")))
	if err := e.Remove(testContext(t), req.Keep); err != nil {
		t.Error(err)
	}
}

// TestSwap_AdoptsInAnyOrder: the server changes owners in the order of its own records, where those of the database and of the
// schemas may come last. By then the new owner must have the right to own something in them.
func TestSwap_AdoptsInAnyOrder(t *testing.T) {
	t.Parallel()
	s := ownServer(t, `CREATE ROLE app LOGIN; CREATE ROLE clerk; CREATE ROLE "the boss"; CREATE ROLE devflow_reader LOGIN PASSWORD 'reader' CREATEDB IN ROLE pg_read_all_data, app, devflow_restore`)
	createDatabase(t, s, "shop")
	run(t, s, "postgres", "ALTER DATABASE shop OWNER TO app")
	run(t, s, "shop", "SET ROLE app;"+ownedSQL)
	run(t, s, "shop", `SET ROLE app; CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TYPE public.colour AS ENUM ('red')`)
	cfg := config(s)
	cfg.User, cfg.Password = "devflow_reader", "reader"
	e := newEngine(t, cfg)
	req := staged(t, e, "shop")
	for _, sql := range []string{`ALTER SCHEMA "the shop" OWNER TO `, "ALTER DATABASE " + req.Staged + " OWNER TO "} {
		run(t, s, req.Staged, sql+"postgres")
		run(t, s, req.Staged, sql+restoreUser)
	}
	swap(t, e, req)
	for _, owner := range query[string](t, s, "shop", ownersSQL) {
		if !strings.HasPrefix(owner, "app ") {
			t.Errorf("owner %q", owner)
		}
	}
}

func flatten(content map[string]string) []string {
	var list []string
	for key, value := range content {
		list = append(list, key+" = "+value)
	}
	return list
}

// TestSwap_ServerKilled kills the server while the target is locked: after its restart, the old content is there, and it works.
func TestSwap_ServerKilled(t *testing.T) {
	t.Parallel()
	s := ownServer(t, "SELECT 1")
	createDatabase(t, s, "shop")
	run(t, s, "shop", smallSQL)
	// A sequence goes on a little further after a crash.
	state := func() []string {
		return slices.DeleteFunc(flatten(content(t, s, "shop")), func(line string) bool { return strings.HasPrefix(line, "sequence ") })
	}
	before := state()
	e := newEngine(t, config(s))
	req := staged(t, e, "shop")
	req.Sessions = engine.SessionsEnd
	run(t, s, "shop", "CHECKPOINT") // the server is one that may lose its last commits
	// A session that does not end: the rename waits for it.
	holder := superuser(t, s, "shop")
	defer holder.Close(context.Background())
	stuck := int(holder.PgConn().PID())
	if err := syscall.Kill(stuck, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := e.Swap(testContext(t), req)
		failed <- err
	}()
	enginetest.Eventually(t, "the target is being renamed", func() bool {
		return len(query[int32](t, s, "postgres", "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'ALTER DATABASE \"shop\" RENAME%'")) > 0
	})
	if err := s.Restart(testContext(t), true); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err == nil {
		t.Fatal("the swap says that it is done")
	} else if f := wire.AsFailure(err); f.Code != wire.CodeInterrupted && f.Code != wire.CodeDatabaseDown {
		t.Errorf("%+v", f)
	}
	for range 2 {
		if end, err := e.Settle(testContext(t), req); err != nil || end != engine.SwapBefore {
			t.Fatalf("%q, %v", end, err)
		}
	}
	wantSame(t, "content", before, state())
	swap(t, e, req)
	if end, err := e.Settle(testContext(t), req); err != nil || end != engine.SwapAfter {
		t.Fatalf("%q, %v", end, err)
	}
	wantSame(t, "content", before, state())
}

// TestSettle_EndsASwapThatHangs: nobody is told an end that a session of an earlier process could still change.
func TestSettle_EndsASwapThatHangs(t *testing.T) {
	s := server(t)
	database := newDatabase(t, smallSQL)
	e := newEngine(t, config(s))
	req := staged(t, e, database)
	holder := superuser(t, s, database)
	defer holder.Close(context.Background())
	waiting := req
	waiting.Sessions, waiting.Wait = engine.SessionsWait, time.Hour
	swapped := make(chan error, 1)
	go func() {
		_, err := e.Swap(testContext(t), waiting)
		swapped <- err
	}()
	enginetest.Eventually(t, "the swap waits", func() bool {
		return len(query[int32](t, s, "postgres", "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted")) > 0
	})
	if state, err := e.Settle(testContext(t), req); err != nil || state != engine.SwapBefore {
		t.Fatalf("%q, %v", state, err)
	}
	if err := <-swapped; err == nil {
		t.Error("the swap went on")
	}
	holder.Close(context.Background())
	if state, err := e.Settle(testContext(t), req); err != nil || state != engine.SwapBefore {
		t.Errorf("%q, %v", state, err)
	}
}

func TestSwap_Refuses(t *testing.T) {
	s := server(t)
	e := newEngine(t, config(s))
	t.Run("PreparedTransaction", func(t *testing.T) {
		t.Parallel()
		s := ownServer(t, "ALTER SYSTEM SET max_prepared_transactions = 2")
		if err := s.Restart(testContext(t), false); err != nil {
			t.Fatal(err)
		}
		createDatabase(t, s, "shop")
		run(t, s, "shop", smallSQL)
		e := newEngine(t, config(s))
		req := staged(t, e, "shop")
		conn := superuser(t, s, "shop")
		for _, sql := range []string{"BEGIN", "DELETE FROM people", "PREPARE TRANSACTION 'held'"} {
			if _, err := conn.Exec(testContext(t), sql); err != nil {
				t.Fatal(err)
			}
		}
		conn.Close(context.Background())
		if plan := inspect(t, e, engine.InspectRequest{Target: "shop", InPlace: true}); !hasProblem(plan, "prepared_transactions", true) {
			t.Errorf("%+v", plan.Problems)
		}
		_, err := e.Swap(testContext(t), req)
		if f := wantCode(t, err, wire.CodeTargetInUse); !strings.Contains(f.Hint, "prepared transaction") {
			t.Errorf("%+v", f)
		}
		if state, err := e.Settle(testContext(t), req); err != nil || state != engine.SwapBefore {
			t.Errorf("%q, %v", state, err)
		}
		run(t, s, "shop", "ROLLBACK PREPARED 'held'")
		swap(t, e, req)
	})
	t.Run("Template", func(t *testing.T) {
		database := newDatabase(t, smallSQL)
		req := staged(t, e, database)
		run(t, s, "postgres", "ALTER DATABASE "+database+" IS_TEMPLATE true")
		t.Cleanup(func() { run(t, s, "postgres", "ALTER DATABASE "+database+" IS_TEMPLATE false") })
		if plan := inspect(t, e, engine.InspectRequest{Target: database, InPlace: true}); !hasProblem(plan, "system_database", true) {
			t.Errorf("%+v", plan.Problems)
		}
		_, err := e.Swap(testContext(t), req)
		wantCode(t, err, wire.CodeNotAllowed)
	})
	t.Run("OurOwn", func(t *testing.T) {
		req := swapOf(t, e, newStaging(), "postgres")
		if plan := inspect(t, e, engine.InspectRequest{Target: "postgres", InPlace: true}); !hasProblem(plan, "system_database", true) {
			t.Errorf("%+v", plan.Problems)
		}
		_, err := e.Swap(testContext(t), req)
		if f := wantCode(t, err, wire.CodeNotAllowed); f.Hint == "" {
			t.Errorf("%+v", f)
		}
	})
}

func TestSwap_Names(t *testing.T) {
	s := server(t)
	e := newEngine(t, config(s))
	for _, name := range []string{`o'brien; drop "x"`, "host=evil", "new\nline", "ünïcode 🦀"} {
		dropDatabase(t, s, name)
		createDatabase(t, s, name)
		run(t, s, name, "CREATE TABLE t (n int)")
		req := staged(t, e, name)
		swap(t, e, req)
		dropDatabase(t, s, name)
		if err := e.Remove(testContext(t), req.Keep); err != nil {
			t.Error(err)
		}
	}
}

func TestInspect_Problems(t *testing.T) {
	t.Parallel()
	s := ownServer(t, `CREATE ROLE app; CREATE ROLE devflow_reader LOGIN PASSWORD 'reader' IN ROLE pg_read_all_data`)
	createDatabase(t, s, "shop")
	run(t, s, "shop", `SET client_min_messages = error; `+smallSQL+`CREATE PUBLICATION news FOR TABLE people;
		CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER watched ON ddl_command_end EXECUTE FUNCTION watch()`)
	reader := config(s)
	reader.User, reader.Password = "devflow_reader", "reader"
	noRole := config(s)
	noRole.RestoreUser = ""
	oldTools := config(s)
	oldTools.BinDirs = []string{t.TempDir()}
	globals := []byte("CREATE ROLE app;\nCREATE ROLE elsewhere;\nALTER ROLE elsewhere WITH SUPERUSER;\n")
	for name, c := range map[string]struct {
		cfg   func() engine.Engine
		req   engine.InspectRequest
		code  string
		stops bool
		says  string
	}{
		"Extension":         {nil, engine.InspectRequest{Extensions: []string{"plpgsql", "no_such"}}, "missing_extension", true, `"no_such"`},
		"ExtensionAllowed":  {nil, engine.InspectRequest{Extensions: []string{"file_fdw"}}, "extension_not_allowed", true, `"file_fdw"`},
		"ExtensionBySuper":  {func() engine.Engine { return newEngine(t, reader) }, engine.InspectRequest{Extensions: []string{"dblink"}}, "extension_not_allowed", true, "dblink"},
		"OlderServer":       {nil, engine.InspectRequest{DumpServerVersion: "99.1"}, "older_server", false, "99.1"},
		"OlderTool":         {nil, engine.InspectRequest{DumpToolVersion: "99.1"}, wire.CodeToolTooOld, true, "99"},
		"NoTool":            {func() engine.Engine { return newEngine(t, oldTools) }, engine.InspectRequest{}, wire.CodeToolMissing, true, "pg_restore"},
		"Superuser":         {func() engine.Engine { return newEngine(t, noRole) }, engine.InspectRequest{}, wire.CodeSuperuser, true, "superuser"},
		"DiskFull":          {nil, engine.InspectRequest{DatabaseBytes: 1 << 60}, wire.CodeDiskFull, true, "MiB"},
		"Publications":      {nil, engine.InspectRequest{InPlace: true}, "publications", false, "1 publications"},
		"EventTriggers":     {nil, engine.InspectRequest{InPlace: true}, "event_triggers", false, "1 event triggers"},
		"OwnerIsSuperuser":  {nil, engine.InspectRequest{InPlace: true}, "owner", false, "superuser"},
		"Roles":             {nil, engine.InspectRequest{Restore: engine.RestoreRequest{Roles: globals}}, "missing_roles", false, "elsewhere"},
		"RolesNotByReader":  {func() engine.Engine { return newEngine(t, reader) }, engine.InspectRequest{Restore: engine.RestoreRequest{Roles: globals}}, "missing_roles", true, "elsewhere"},
		"OwnersNotGiven":    {nil, engine.InspectRequest{Restore: engine.RestoreRequest{Roles: globals, Owners: true}}, "owners", false, `"app"`},
		"RenameNotByReader": {func() engine.Engine { return newEngine(t, reader) }, engine.InspectRequest{InPlace: true}, "cannot_rename", true, "owns"},
	} {
		t.Run(name, func(t *testing.T) {
			var e engine.Engine = newEngine(t, config(s))
			if c.cfg != nil {
				e = c.cfg()
			}
			c.req.Target = "shop"
			target := inspect(t, e, c.req)
			i := slices.IndexFunc(target.Problems, func(p engine.Problem) bool { return p.Code == c.code })
			if i < 0 {
				t.Fatalf("not found: %+v", target.Problems)
			}
			if p := target.Problems[i]; p.Stops != c.stops || !strings.Contains(p.Text, c.says) {
				t.Errorf("%+v", p)
			}
		})
	}
	// None of them is there by itself.
	if target := inspect(t, newEngine(t, config(s)), engine.InspectRequest{Target: "new", DatabaseBytes: 1 << 20, Extensions: []string{"plpgsql", "hstore", "dblink"}, DumpServerVersion: "12.1", DumpToolVersion: "15.1"}); len(target.Problems) > 0 || target.FreeBytes <= 0 {
		t.Errorf("%+v", target)
	}
	for _, name := range []string{"", "zero\x00byte", newStaging(), engine.KeptPrefix + "x"} {
		_, err := newEngine(t, config(s)).Inspect(testContext(t), engine.InspectRequest{Target: name})
		wantCode(t, err, wire.CodeBadRequest)
	}
}
