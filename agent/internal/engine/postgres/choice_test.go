package postgres_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/pgserver"
	"devflowbackup/shared/testkit/fakedump"
	"devflowbackup/shared/testkit/pgkit"
	"devflowbackup/shared/wire"
)

// ownServer has the restore role and some roles of applications. Tests that change roles have one of their own.
func ownServer(t *testing.T, sql string) *pgserver.Server {
	t.Helper()
	s := pgkit.Start(t)
	makeRestoreRole(t, s)
	run(t, s, "postgres", sql)
	return s
}

func dumpWithGlobals(t *testing.T, e engine.Engine, database string) (dump, globals []byte) {
	t.Helper()
	d, err := e.Dump(testContext(t), engine.DumpRequest{Database: database, Globals: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if dump, err = io.ReadAll(d); err != nil {
		t.Fatal(err)
	}
	return dump, d.Globals()
}

// restoreWith restores into a staging database that the test's end removes.
func restoreWith(t *testing.T, e engine.Engine, req engine.RestoreRequest, dump []byte) (name, log string, err error) {
	t.Helper()
	req.Database = newStaging()
	r, err := e.Restore(testContext(t), req)
	if err != nil {
		return "", "", err
	}
	t.Cleanup(r.Abort)
	if _, err = io.Copy(struct{ io.Writer }{r}, bytes.NewReader(dump)); err == nil {
		err = r.Close()
	}
	return req.Database, r.Log(), err
}

// warned tells whether the engine itself, not pg_restore, warns of something.
func warned(log string) bool { return strings.Contains("\n"+log, "\nwarning: ") }

// ownedSQL has one of everything that has an owner, some of them with names that hurt, and grants.
const ownedSQL = `
	CREATE SCHEMA "the shop"; GRANT USAGE ON SCHEMA "the shop" TO clerk;
	SET search_path = "the shop";
	CREATE TABLE "a;b" (id serial PRIMARY KEY, other int GENERATED ALWAYS AS IDENTITY, name text);
	INSERT INTO "a;b" (name) VALUES ('x');
	GRANT SELECT ON "a;b" TO clerk, "the boss"; GRANT UPDATE (name) ON "a;b" TO clerk WITH GRANT OPTION;
	CREATE TABLE "new` + "\n" + `line" (n int);
	CREATE VIEW seen AS SELECT * FROM "a;b"; CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM "a;b";
	CREATE SEQUENCE free;
	CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE DOMAIN short AS text CHECK (length(VALUE) < 9); CREATE TYPE pair AS (a int, b int);
	CREATE FUNCTION "f(x)"(a int, b text DEFAULT ';') RETURNS int LANGUAGE sql AS 'SELECT a'; REVOKE ALL ON FUNCTION "f(x)" FROM PUBLIC;
	CREATE PROCEDURE act() LANGUAGE sql AS 'SELECT 1';
	CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int);
	CREATE OPERATOR === (FUNCTION = int4eq, LEFTARG = int, RIGHTARG = int);
	CREATE COLLATION plain FROM "C"; CREATE TEXT SEARCH CONFIGURATION words (COPY = simple); CREATE TEXT SEARCH DICTIONARY dict (TEMPLATE = simple);
	CREATE STATISTICS st ON id, name FROM "a;b";
	SELECT lo_create(4711); SELECT lo_create(4712); GRANT SELECT ON LARGE OBJECT 4711 TO clerk;
	RESET search_path;
	CREATE TABLE public.plain (n int);
	ALTER DEFAULT PRIVILEGES IN SCHEMA "the shop" GRANT SELECT ON TABLES TO clerk;`

// ownersSQL lists what has an owner.
const ownersSQL = `
	SELECT DISTINCT owner::regrole || ' ' || kind FROM (
		SELECT relowner AS owner, 'relation ' || relname AS kind, relnamespace AS n FROM pg_class WHERE relkind IN ('r', 'v', 'm', 'S')
		UNION ALL SELECT proowner, 'function ' || proname, pronamespace FROM pg_proc
		UNION ALL SELECT typowner, 'type ' || typname, typnamespace FROM pg_type WHERE typcategory <> 'A'
		UNION ALL SELECT oprowner, 'operator ' || oprname, oprnamespace FROM pg_operator
		UNION ALL SELECT opfowner, 'family ' || opfname, opfnamespace FROM pg_opfamily
		UNION ALL SELECT collowner, 'collation ' || collname, collnamespace FROM pg_collation
		UNION ALL SELECT cfgowner, 'configuration ' || cfgname, cfgnamespace FROM pg_ts_config
		UNION ALL SELECT dictowner, 'dictionary ' || dictname, dictnamespace FROM pg_ts_dict
		UNION ALL SELECT stxowner, 'statistics ' || stxname, stxnamespace FROM pg_statistic_ext
		UNION ALL SELECT nspowner, 'schema ' || nspname, oid FROM pg_namespace WHERE nspname <> 'public'
		UNION ALL SELECT lomowner, 'large object ' || oid, 'public'::regnamespace FROM pg_largeobject_metadata
	) o WHERE n = 'public'::regnamespace OR n::regnamespace::text = '"the shop"' ORDER BY 1`

// grantsSQL lists grants. Those that a new object has by itself count, too.
const grantsSQL = `
	SELECT concat_ws(' ', kind, coalesce(nullif(grantee, 0)::regrole::text, 'PUBLIC'), privilege_type, is_grantable) FROM (
		SELECT 'relation ' || relname AS kind, (aclexplode(coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)))).* FROM pg_class
			WHERE relkind IN ('r', 'v', 'm', 'S') AND relnamespace::regnamespace::text IN ('"the shop"', 'public')
		UNION ALL SELECT 'column ' || attname, (aclexplode(attacl)).* FROM pg_attribute WHERE attacl IS NOT NULL AND attrelid >= 16384
		UNION ALL SELECT 'schema ' || nspname, (aclexplode(nspacl)).* FROM pg_namespace WHERE nspname = 'the shop'
		UNION ALL SELECT 'function ' || proname, (aclexplode(coalesce(proacl, acldefault('f', proowner)))).* FROM pg_proc WHERE pronamespace::regnamespace::text = '"the shop"'
		UNION ALL SELECT 'large object ' || oid, (aclexplode(coalesce(lomacl, acldefault('L', lomowner)))).* FROM pg_largeobject_metadata
		UNION ALL SELECT 'default ' || defaclobjtype::text, (aclexplode(defaclacl)).* FROM pg_default_acl
	) a ORDER BY 1`

func wantSame(t *testing.T, what string, want, got []string) {
	t.Helper()
	if len(want) == 0 {
		t.Fatalf("%s: nothing to compare", what)
	}
	for _, one := range want {
		if !slices.Contains(got, one) {
			t.Errorf("%s: missing %q", what, one)
		}
	}
	for _, one := range got {
		if !slices.Contains(want, one) {
			t.Errorf("%s: too much %q", what, one)
		}
	}
}

const appRoles = `CREATE ROLE app; CREATE ROLE clerk; CREATE ROLE "the boss"`

func TestRestore_OwnersAndPrivileges(t *testing.T) {
	t.Parallel()
	s := ownServer(t, appRoles)
	createDatabase(t, s, "shop")
	run(t, s, "postgres", "GRANT CREATE ON DATABASE shop TO app")
	run(t, s, "shop", "GRANT CREATE ON SCHEMA public TO app; SET ROLE app;"+ownedSQL)
	e := newEngine(t, config(s))
	dump, _ := dumpWithGlobals(t, e, "shop")
	owners, grants := query[string](t, s, "shop", ownersSQL), query[string](t, s, "shop", grantsSQL)

	t.Run("Default", func(t *testing.T) {
		name, log, err := restoreWith(t, e, engine.RestoreRequest{}, dump)
		if err != nil {
			t.Fatalf("%v\n%s", err, log)
		}
		for _, owner := range query[string](t, s, name, ownersSQL) {
			if !strings.HasPrefix(owner, restoreUser+" ") {
				t.Errorf("owner %q", owner)
			}
		}
		for _, grant := range query[string](t, s, name, grantsSQL) {
			if strings.Contains(grant, "clerk") || strings.Contains(grant, "app ") {
				t.Errorf("grant %q", grant)
			}
		}
	})
	t.Run("NoMember", func(t *testing.T) {
		name, log, err := restoreWith(t, e, engine.RestoreRequest{Owners: true}, dump)
		if err != nil {
			t.Fatalf("%v\n%s", err, log)
		}
		if !strings.Contains(log, `"devflow_restore" is not a member of role "app"`) {
			t.Errorf("it does not tell: %s", log)
		}
		if got := query[string](t, s, name, ownersSQL); !strings.HasPrefix(got[0], restoreUser+" ") {
			t.Errorf("owners %q", got)
		}
	})
	run(t, s, "postgres", "GRANT app TO "+restoreUser)
	t.Run("Owners", func(t *testing.T) {
		name, log, err := restoreWith(t, e, engine.RestoreRequest{Owners: true}, dump)
		if err != nil || warned(log) {
			t.Fatalf("%v\n%s", err, log)
		}
		wantSame(t, "owners", owners, query[string](t, s, name, ownersSQL))
		if rights := query[bool](t, s, name, "SELECT has_schema_privilege('app', 'public', 'CREATE') OR has_database_privilege('app', current_database(), 'CREATE')"); rights[0] {
			t.Error("the role keeps rights that it had for the moment")
		}
	})
	t.Run("Privileges", func(t *testing.T) {
		name, log, err := restoreWith(t, e, engine.RestoreRequest{Privileges: true}, dump)
		if err != nil {
			t.Fatalf("%v\n%s", err, log)
		}
		var want []string
		for _, grant := range grants {
			if strings.Contains(grant, "clerk") && !strings.HasPrefix(grant, "default ") {
				want = append(want, grant)
			}
		}
		got := query[string](t, s, name, grantsSQL)
		for _, one := range want {
			if !slices.Contains(got, one) {
				t.Errorf("missing %q\n%s", one, log)
			}
		}
	})
	t.Run("Both", func(t *testing.T) {
		for _, jobs := range []int{0, 3} {
			name, log, err := restoreWith(t, e, engine.RestoreRequest{Owners: true, Privileges: true, Jobs: jobs}, dump)
			if err != nil || warned(log) {
				t.Fatalf("%v\n%s", err, log)
			}
			wantSame(t, "owners", owners, query[string](t, s, name, ownersSQL))
			wantSame(t, "grants", grants, query[string](t, s, name, grantsSQL))
		}
	})
	t.Run("RoleIsMissing", func(t *testing.T) {
		run(t, s, "shop", `REASSIGN OWNED BY app TO postgres; DROP OWNED BY app CASCADE`)
		run(t, s, "shop", `DROP OWNED BY clerk`)
		run(t, s, "shop", `DROP OWNED BY "the boss"; DROP ROLE app, clerk, "the boss"`)
		name, log, err := restoreWith(t, e, engine.RestoreRequest{Owners: true, Privileges: true}, dump)
		if err != nil {
			t.Fatalf("%v\n%s", err, log)
		}
		for _, what := range []string{`role "app" does not exist`, `role "clerk" does not exist`} {
			if !strings.Contains(log, what) {
				t.Errorf("the log does not tell %s:\n%s", what, log)
			}
		}
		if got := query[string](t, s, name, ownersSQL); !strings.HasPrefix(got[0], restoreUser+" ") {
			t.Errorf("owners %q", got)
		}
	})
}

const roleSQL = `SELECT concat_ws(' ', rolname, rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolpassword IS NOT NULL,
	ARRAY(SELECT roleid::regrole FROM pg_auth_members WHERE member = a.oid), ARRAY(SELECT member::regrole FROM pg_auth_members WHERE roleid = a.oid))
	FROM pg_authid a WHERE oid >= 16384 AND rolname <> 'devflow_restore' ORDER BY 1`

func TestRestore_Roles(t *testing.T) {
	t.Parallel()
	source := ownServer(t, appRoles+`; CREATE ROLE unused SUPERUSER; ALTER ROLE app SUPERUSER LOGIN CREATEDB CREATEROLE REPLICATION BYPASSRLS PASSWORD 'canary';
		GRANT pg_execute_server_program TO app; CREATE ROLE "it's ""me""" LOGIN`)
	createDatabase(t, source, "shop")
	run(t, source, "shop", "GRANT CREATE ON SCHEMA public TO app; GRANT CREATE ON DATABASE shop TO app; SET ROLE app;"+ownedSQL+
		`; CREATE POLICY p ON public.plain TO "it's ""me""" USING (true)`)
	dump, globals := dumpWithGlobals(t, newEngine(t, config(source)), "shop")
	owners, grants := query[string](t, source, "shop", ownersSQL), query[string](t, source, "shop", grantsSQL)

	target := ownServer(t, "SELECT 1")
	e := newEngine(t, config(target))
	hostile := append(slices.Clone(globals), `
CREATE ROLE evil SUPERUSER LOGIN;
CREATE ROLE pg_evil;
CREATE ROLE app2 PASSWORD 'x';
COPY (SELECT 1) TO PROGRAM 'cat >/tmp/devflow-canary';
\! touch /tmp/devflow-canary
GRANT postgres TO devflow_restore;
ALTER ROLE devflow_restore SUPERUSER;
`...)
	name, log, err := restoreWith(t, e, engine.RestoreRequest{Owners: true, Privileges: true, Roles: hostile}, dump)
	if err != nil || warned(log) {
		t.Fatalf("%v\n%s", err, log)
	}
	wantSame(t, "owners", owners, query[string](t, target, name, ownersSQL))
	wantSame(t, "grants", grants, query[string](t, target, name, grantsSQL))
	plain := " f f f f f f f {} {}"
	wantSame(t, "roles", []string{"app" + plain, "clerk" + plain, "the boss" + plain, `it's "me"` + plain}, query[string](t, target, "postgres", roleSQL))
	if rights := query[bool](t, target, "postgres", "SELECT rolsuper FROM pg_roles WHERE rolname = 'devflow_restore'"); rights[0] {
		t.Error("the restore role became a superuser")
	}
	if _, err := os.Lstat("/tmp/devflow-canary"); err == nil {
		t.Error("something of the globals was run")
	}

	// Only what the restored part names, and memberships end also with a restore that fails.
	other := ownServer(t, "SELECT 1")
	e = newEngine(t, config(other))
	if _, log, err := restoreWith(t, e, engine.RestoreRequest{Owners: true, Roles: globals, Only: []engine.Selection{{Schema: "public"}}}, dump); err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	wantSame(t, "roles", []string{"app" + plain, `it's "me"` + plain}, query[string](t, other, "postgres", roleSQL))
	if _, _, err := restoreWith(t, e, engine.RestoreRequest{Owners: true, Privileges: true, Roles: globals}, dump[:len(dump)-10]); err == nil {
		t.Error("half a dump was restored")
	}
	wantSame(t, "roles", []string{"app" + plain, "clerk" + plain, "the boss" + plain, `it's "me"` + plain}, query[string](t, other, "postgres", roleSQL))

	// An account that may not create roles says so.
	run(t, other, "postgres", `DROP ROLE clerk; CREATE ROLE devflow_reader LOGIN PASSWORD 'reader'`)
	cfg := config(other)
	cfg.User, cfg.Password = "devflow_reader", "reader"
	_, _, err = restoreWith(t, newEngine(t, cfg), engine.RestoreRequest{Privileges: true, Roles: globals}, dump)
	if f := wantCode(t, err, wire.CodePrivilege); !strings.Contains(f.Hint, "CREATEROLE") || !strings.Contains(f.Message, "clerk") {
		t.Errorf("%+v", f)
	}
}

func TestRestore_Only(t *testing.T) {
	s := server(t)
	database := newDatabase(t, `
		CREATE SCHEMA a; CREATE SCHEMA b; CREATE SCHEMA "c d"; CREATE EXTENSION hstore SCHEMA b;
		CREATE TYPE b.mood AS ENUM ('good', 'bad');
		CREATE FUNCTION b.stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; COMMENT ON FUNCTION b.stamp() IS 'stamps';
		CREATE FUNCTION b.unused() RETURNS int LANGUAGE sql AS 'SELECT 1';
		CREATE TABLE b.country (id int PRIMARY KEY); INSERT INTO b.country VALUES (1), (2);
		CREATE SEQUENCE b.numbers START 100; SELECT nextval('b.numbers');
		CREATE TABLE a.person (id serial PRIMARY KEY, no int DEFAULT nextval('b.numbers'), country int REFERENCES b.country, boss int REFERENCES a.person, mood b.mood, x b.hstore);
		INSERT INTO a.person (country, mood, x) VALUES (1, 'good', 'a=>b'), (2, 'bad', NULL);
		COMMENT ON COLUMN a.person.no IS 'a number'; CREATE INDEX person_country ON a.person (country) WHERE no > 0;
		CREATE TRIGGER stamped BEFORE UPDATE ON a.person FOR EACH ROW EXECUTE FUNCTION b.stamp();
		ALTER TABLE a.person ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON a.person USING (id > 0);
		CREATE STATISTICS a.st ON id, no FROM a.person;
		CREATE TABLE a."person x" (n int); INSERT INTO a."person x" VALUES (1); CREATE INDEX i2 ON a."person x" (n);
		CREATE TABLE a.part (id int, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
		CREATE TABLE b.part1 PARTITION OF a.part FOR VALUES IN (1); CREATE TABLE a.part2 PARTITION OF a.part FOR VALUES IN (2);
		INSERT INTO a.part VALUES (1, 1), (2, 2), (3, 2);
		CREATE VIEW "c d".joined AS SELECT p.id FROM a.person p JOIN b.country c ON c.id = p.country;
		CREATE MATERIALIZED VIEW "c d".mat AS SELECT count(*) AS n FROM b.country;
		SELECT lo_create(815);`)
	e := newEngine(t, config(s))
	dump, _ := dumpWithGlobals(t, e, database)
	everything := content(t, s, database)
	relations := func(t *testing.T, name string) []string {
		t.Helper()
		return query[string](t, s, name, `SELECT c.oid::regclass || CASE WHEN c.relkind IN ('r', 'm') THEN ' ' || (xpath('/row/n/text()',
				query_to_xml('SELECT count(*) AS n FROM ONLY ' || c.oid::regclass, false, true, '')))[1]::text ELSE '' END
			FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY 1`)
	}
	for _, c := range []struct {
		name  string
		only  []engine.Selection
		want  []string // relations with their rows
		has   []string // of the content, as it was
		hasNo []string
		says  []string
	}{
		{
			"Table",
			[]engine.Selection{{Schema: "a", Table: "person"}},
			[]string{"a.person 2", "a.person_id_seq", "b.numbers"},
			[]string{
				"rows a.person", "constraint a.person person_boss_fkey", "constraint a.person person_pkey", "index a.person_country", "trigger a.person stamped", "policy person p",
				"sequence b.numbers", "sequence a.person_id_seq", "statistics st", "column a.person no", "type b.mood", "extension hstore", "function b.stamp()", "comment table column a.person.no", "comment function b.stamp()",
			},
			[]string{"constraint a.person person_country_fkey", "function b.unused()", "large object 815"},
			[]string{"person_country_fkey", "large objects"},
		},
		{
			"NameOfTwoWords",
			[]engine.Selection{{Schema: "a", Table: "person x"}},
			[]string{`a."person x" 1`},
			[]string{`rows a."person x"`, "index a.i2"},
			[]string{"extension hstore"},
			nil,
		},
		{
			"Two",
			[]engine.Selection{{Schema: "a", Table: "person"}, {Schema: "b", Table: "country"}},
			[]string{"a.person 2", "a.person_id_seq", "b.numbers", "b.country 2"},
			[]string{"constraint a.person person_country_fkey"},
			nil, nil,
		},
		{
			"Partitioned",
			[]engine.Selection{{Schema: "a", Table: "part"}},
			[]string{"a.part", "a.part2 2", "b.part1 1"},
			[]string{"inherits a.part2", "inherits b.part1", "rows b.part1", "constraint a.part part_pkey", "constraint b.part1 part1_pkey"},
			nil, nil,
		},
		{
			"Schema",
			[]engine.Selection{{Schema: "a"}},
			[]string{"a.person 2", "a.person_id_seq", "b.numbers", `a."person x" 1`, "a.part", "a.part2 2", "b.part1 1"},
			[]string{"constraint a.person person_boss_fkey", "schema a", "schema b"},
			[]string{"schema c d", "function b.unused()"},
			[]string{"person_country_fkey"},
		},
		{
			"SchemaOfViews",
			[]engine.Selection{{Schema: "c d"}},
			[]string{`"c d".joined`, `"c d".mat 1`, "a.person 0", "b.country 0", "b.numbers"},
			[]string{`view "c d".joined`},
			nil,
			[]string{`"a"."person" is restored without its rows`},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, jobs := range []int{0, 2} {
				name, log, err := restoreWith(t, e, engine.RestoreRequest{Only: c.only, Jobs: jobs}, dump)
				if err != nil {
					t.Fatalf("%v\n%s", err, log)
				}
				wantSame(t, "relations", c.want, relations(t, name))
				got := content(t, s, name)
				for _, key := range c.has {
					if everything[key] == "" && !strings.HasPrefix(key, "schema ") {
						t.Errorf("the source has no %q", key)
					}
					if value, ok := got[key]; !ok || value != everything[key] {
						t.Errorf("%q is %q, want %q", key, value, everything[key])
					}
				}
				for _, key := range c.hasNo {
					if _, ok := everything[key]; !ok {
						t.Errorf("the source has no %q", key)
					}
					if _, ok := got[key]; ok {
						t.Errorf("there is %q", key)
					}
				}
				for _, text := range c.says {
					if !strings.Contains(log, text) {
						t.Errorf("the log does not say %q:\n%s", text, log)
					}
				}
			}
		})
	}
	for _, only := range []engine.Selection{{Schema: "A"}, {Schema: "a", Table: "person_x"}, {Schema: "a", Table: "person_pkey"}, {Schema: "a b"}, {Table: "person"}} {
		_, _, err := restoreWith(t, e, engine.RestoreRequest{Only: []engine.Selection{only}}, dump)
		wantCode(t, err, wire.CodeBadRequest)
	}
	_, _, err := restoreWith(t, e, engine.RestoreRequest{Jobs: 1000}, dump)
	wantCode(t, err, wire.CodeBadRequest)
}

// TestRestore_Jobs restores what hurts with several connections, whose work is seen to be shared.
func TestRestore_Jobs(t *testing.T) {
	s := server(t)
	database := newDatabase(t, "")
	fillHurting(t, s, database)
	e := newEngine(t, config(s))
	dump, want := dumpAll(t, e, database)
	everything := content(t, s, database)
	fake := fakedump.Install(t, "pg_dump", fakedump.Script{Real: realTool(t, "pg_dump")})
	fake.Add("pg_restore", fakedump.Script{Real: realTool(t, "pg_restore")})
	cfg := config(s)
	cfg.BinDirs = []string{fake.Dir()}
	e = newEngine(t, cfg)
	name, log, err := restoreWith(t, e, engine.RestoreRequest{Jobs: 4}, dump)
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	got, err := e.Fingerprint(testContext(t), name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := want.Diff(got); len(diff) > 0 {
		t.Errorf("fingerprint differs: %q", diff)
	}
	have := content(t, s, name)
	for key, value := range everything {
		if have[key] != value {
			t.Errorf("%s is %.200s, want %.200s", key, have[key], value)
		}
	}
	var shared bool
	for _, run := range fake.Runs() {
		shared = shared || slices.Contains(run.Args, "--jobs=4") && slices.Contains(run.Args, "--section=post-data")
	}
	// One that sets what the server does not know must be alone.
	if alone := strings.Contains(log, "transaction_timeout"); shared == alone || alone != strings.Contains(log, "indexes are built one by one") {
		t.Errorf("shared: %v\n%s", shared, log)
	}
	// A cut within the data is seen although the second program only reads the beginning.
	dump, _ = dumpAll(t, e, newDatabase(t, smallSQL))
	_, _, err = restoreWith(t, e, engine.RestoreRequest{Jobs: 4}, dump[:len(dump)-5000])
	wantCode(t, err, wire.CodeCorrupt)
	// Row security that holds for the owner, too, comes after the keys that it would hide rows from.
	guarded := newDatabase(t, `CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree); INSERT INTO tree VALUES (1, NULL), (2, 1);
		ALTER TABLE tree ENABLE ROW LEVEL SECURITY; ALTER TABLE tree FORCE ROW LEVEL SECURITY; CREATE POLICY p ON tree USING (id > 1); COMMENT ON POLICY p ON tree IS 'hides'`)
	dump, _ = dumpAll(t, e, guarded)
	if name, log, err = restoreWith(t, e, engine.RestoreRequest{Jobs: 3}, dump); err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	if said := query[string](t, s, name, "SELECT obj_description(oid, 'pg_policy') FROM pg_policy"); !slices.Equal(said, []string{"hides"}) {
		t.Errorf("comments %q", said)
	}
	// An index that cannot be built is an error.
	broken := newDatabase(t, "CREATE TABLE t (n int, m int); INSERT INTO t VALUES (1, 0); CREATE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'; CREATE INDEX ON t (f(m)); CREATE INDEX ON t (n)")
	run(t, s, broken, "CREATE OR REPLACE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1 / $1'")
	dump, _ = dumpAll(t, e, broken)
	_, _, err = restoreWith(t, e, engine.RestoreRequest{Jobs: 2}, dump)
	if f := wantCode(t, err, wire.CodeToolFailed); !strings.Contains(f.Message, "division by zero") || f.Retryable {
		t.Errorf("%+v", f)
	}
	noProcesses(t)
}

// TestRestore_HostileChoices covers fault 81 for each choice: whatever is in the place of owners and grants, it is not run, or runs
// as the restore role.
func TestRestore_HostileChoices(t *testing.T) {
	t.Parallel()
	canaries, err := os.MkdirTemp("/tmp", "canary-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(canaries) })
	if err := os.Chmod(canaries, 0o777); err != nil {
		t.Fatal(err)
	}
	canary := filepath.Join(canaries, "c")
	s := ownServer(t, "CREATE ROLE app; GRANT app TO "+restoreUser)
	createDatabase(t, s, "shop")
	padding := strings.Repeat("x", 200)
	run(t, s, "postgres", `CREATE ROLE "`+padding[:60]+`"`)
	run(t, s, "shop", `
		CREATE TABLE t (n int); ALTER TABLE t OWNER TO app; GRANT SELECT ON t TO "`+padding[:60]+`";
		CREATE FUNCTION own() RETURNS int SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN COPY (SELECT 1) TO PROGRAM 'cat >`+canary+`'; RETURN 1; END $$;
		CREATE FUNCTION `+padding[:63]+`() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION `+padding[:63]+`() OWNER TO app;`)
	e := newEngine(t, config(s))
	dump, globals := dumpWithGlobals(t, e, "shop")
	replace := func(old, with string) []byte {
		t.Helper()
		if len(with) > len(old) || !bytes.Contains(dump, []byte(old)) {
			t.Fatalf("%q is not in the dump, or shorter than %q", old, with)
		}
		return bytes.ReplaceAll(dump, []byte(old), []byte(with+strings.Repeat(" ", len(old)-len(with))))
	}
	program := "COPY (SELECT 1) TO PROGRAM 'cat >" + canary + "'"
	grant := "GRANT SELECT ON TABLE public.t TO " + padding[:60]
	drop := "DROP FUNCTION public." + padding[:63] + "();"
	all := map[string]engine.RestoreRequest{
		"Owners": {Owners: true}, "Privileges": {Privileges: true}, "Both": {Owners: true, Privileges: true, Roles: globals}, "Jobs": {Jobs: 3},
		"Only": {Only: []engine.Selection{{Schema: "public"}}, Owners: true, Privileges: true},
	}
	for name, c := range map[string]struct {
		dump    []byte
		choices []string
		says    string // that the fault has fired
	}{
		"AsItIs":        {dump, []string{"Owners", "Privileges", "Both", "Jobs", "Only"}, ""},
		"GrantIsCopy":   {replace(grant, program), []string{"Privileges", "Both"}, "not run, for it grants nothing: COPY"},
		"GrantAndCopy":  {replace(grant, "GRANT app TO app;"+program), []string{"Privileges", "Only"}, "not run, for it grants nothing: COPY"},
		"GrantOfRole":   {replace(grant, "GRANT postgres TO "+restoreUser), []string{"Privileges"}, "GRANT postgres TO " + restoreUser + ": "},
		"DropIsAnother": {replace(drop, "DROP FUNCTION f(); "+program), []string{"Owners", "Only"}, "syntax error"},
		"DropIsOwner":   {replace(drop, "DROP FUNCTION own() OWNER TO postgres --"), []string{"Owners", "Both"}, "own() OWNER TO postgres"},
	} {
		for _, choice := range c.choices {
			t.Run(name+"/"+choice, func(t *testing.T) {
				staged, log, err := restoreWith(t, e, all[choice], c.dump)
				if err != nil {
					t.Fatalf("%v\n%s", err, log)
				}
				if _, err := os.Lstat(canary); err == nil {
					t.Fatalf("a program was run on the server\n%s", log)
				}
				if !strings.Contains(log, c.says) {
					t.Errorf("the fault did not fire, or is not told:\n%s", log)
				}
				for _, owner := range query[string](t, s, staged, "SELECT proowner::regrole::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace") {
					if owner != restoreUser && owner != "app" {
						t.Errorf("a function belongs to %q", owner)
					}
				}
				if super := query[bool](t, s, "postgres", "SELECT pg_has_role('"+restoreUser+"', 'postgres', 'MEMBER')"); super[0] {
					t.Error("the restore role is a member of the superuser")
				}
			})
		}
	}
	run(t, s, "shop", "SELECT own()")
	if _, err := os.Lstat(canary); err != nil {
		t.Fatalf("the trap does not work: %v", err)
	}
}
