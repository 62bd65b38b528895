package stack_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"devflowbackup/e2e/stack"
)

const postgresHurts = `
	CREATE TABLE "odd ""name"".$x" (id integer PRIMARY KEY, total numeric GENERATED ALWAYS AS (id * 2) STORED, t text, b bytea, j jsonb);
	INSERT INTO "odd ""name"".$x" (id, t, b, j) SELECT n, 'line
break	tab \\ 🛒 ' || n, decode('00ff0a0d275c', 'hex'), '{"k": [1, null]}' FROM generate_series(1, 50) n;
	CREATE VIEW v AS SELECT id FROM "odd ""name"".$x"; CREATE SEQUENCE s START 7; SELECT nextval('s');
	CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT 'é' $$; SELECT lo_from_bytea(77, '\x00ff');`

const mariaHurts = "SET NAMES utf8mb4;" +
	"CREATE TABLE `odd ``name``.$x` (id INT PRIMARY KEY AUTO_INCREMENT, n INT, `a b` VARCHAR(40) COLLATE utf8mb4_bin DEFAULT 'it''s', doubled INT AS (n * 2) VIRTUAL, kept INT AS (n * 3) STORED," +
	" doc JSON, place POINT NOT NULL, raw BLOB, bits BIT(9), kind ENUM('a', 'b,c', '') , tags SET('x', 'y'), at TIMESTAMP(6) NULL, f DOUBLE, secret INT INVISIBLE DEFAULT 5," +
	" CHECK (n > 0), FULLTEXT KEY words (`a b`), SPATIAL KEY (place)) COMMENT 'What was ordered 🛒';" + `
	INSERT INTO ` + "`odd ``name``.$x`" + ` (n, ` + "`a b`" + `, doc, place, raw, bits, kind, tags, at, f)
		SELECT seq, CONCAT('línea\n\t🚪\\', seq), '{"k": [1, null]}', POINT(seq, -seq), UNHEX('00ff0a0d1a275c'), b'101010101', 'b,c', 'x,y', '2024-02-29 12:00:00.123456', 0.1e-300 * seq FROM seq_1_to_50;
	CREATE TABLE child (id INT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES ` + "`odd ``name``.$x`" + ` (id) ON DELETE CASCADE) AUTO_INCREMENT = 1;
	CREATE TABLE log (id INT AUTO_INCREMENT PRIMARY KEY, what TEXT) AUTO_INCREMENT = 500;
	CREATE TABLE parts (y INT, v TEXT) PARTITION BY RANGE (y) (PARTITION p0 VALUES LESS THAN (2000), PARTITION rest VALUES LESS THAN MAXVALUE);
	INSERT INTO parts VALUES (1999, 'old'), (2001, 'new'), (2001, 'new');
	CREATE SEQUENCE numbers START WITH 7 INCREMENT BY 3; SELECT NEXTVAL(numbers);
	DELIMITER //
	CREATE TRIGGER second BEFORE INSERT ON child FOR EACH ROW BEGIN INSERT INTO log (what) VALUES ('second'); END//
	CREATE TRIGGER first BEFORE INSERT ON child FOR EACH ROW PRECEDES second BEGIN INSERT INTO log (what) VALUES ('first; "quoted"'); END//
	CREATE TRIGGER after AFTER INSERT ON child FOR EACH ROW INSERT INTO log (what) VALUES ('after')//
	SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'//
	CREATE PROCEDURE p(IN a INT, OUT b VARCHAR(9)) COMMENT 'it''s' BEGIN SET b = '\' || a; END//
	SET sql_mode = DEFAULT//
	CREATE FUNCTION f(x INT) RETURNS INT DETERMINISTIC RETURN x + 1//
	CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DO INSERT INTO log (what) VALUES ('night')//
	CREATE EVENT once ON SCHEDULE AT '2037-01-01 00:00:00' ON COMPLETION PRESERVE DISABLE DO DELETE FROM log//
	DELIMITER ;
	CREATE VIEW under AS SELECT id, f(id) AS next FROM ` + "`odd ``name``.$x`" + `; CREATE VIEW above AS SELECT * FROM under WHERE id < 10;
	INSERT INTO child VALUES (1, 1), (2, 50);`

const sqliteHurts = `
	PRAGMA application_id = 4711; PRAGMA user_version = 3;
	CREATE TABLE "odd ""name"".$x" (id INTEGER PRIMARY KEY, "a b" TEXT, doubled INT AS (id * 2) VIRTUAL, kept INT AS (id * 3) STORED, raw BLOB, f REAL, note);
	INSERT INTO "odd ""name"".$x" ("a b", raw, f, note) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50)
		SELECT 'línea' || char(10) || '🚪' || i, x'00ff0a0d1a275c', 0.1e-300 * i, iif(i % 2, NULL, i) FROM n;
	CREATE TABLE keyed (a TEXT, b INT, v, PRIMARY KEY (a, b)) WITHOUT ROWID; INSERT INTO keyed VALUES ('z', 1, 'last'), ('a', 2, 'first');
	CREATE TABLE log (what); CREATE VIRTUAL TABLE words USING fts5(title, body); INSERT INTO words VALUES ('one', 'the quick fox'), ('two', 'the lazy dog');
	CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1); INSERT INTO boxes VALUES (1, 0, 10), (2, 5.5, 7);
	CREATE TRIGGER logged AFTER INSERT ON keyed BEGIN INSERT INTO log VALUES ('more'); END; INSERT INTO keyed VALUES ('m', 3, NULL);
	CREATE INDEX some ON "odd ""name"".$x" (note) WHERE note IS NOT NULL; CREATE VIEW v AS SELECT * FROM keyed;`

// change is a difference between two databases, and what a comparison says of it.
type change struct{ sql, want string }

// TestServer: what a public dump tool has written comes back equal by Load, and Content sees every kind of difference.
func TestServer(t *testing.T) {
	t.Parallel()
	s, ctx := newStack(t)
	stopAtEnd(t, s)
	maria, err := s.StartMariaDB(ctx, "maria", stack.MariaDBOptions{})
	if err != nil {
		t.Fatal(err)
	}
	lite, err := s.NewSQLite("files")
	if err != nil {
		t.Fatal(err)
	}
	pg, err := s.StartPostgres(ctx, "pg", stack.PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		server  stack.Server
		hurts   string
		rows    int64
		dump    func(database, file string) *exec.Cmd
		changes []change
	}{
		{
			pg, postgresHurts, 50,
			func(database, file string) *exec.Cmd {
				cmd := exec.CommandContext(ctx, filepath.Join(pg.Bin().Dir, "pg_dump"), "-Fc", "-h", pg.Host(), "-p", strconv.Itoa(pg.Port()), "-U", pg.Superuser(), "-f", file, "-d", database)
				cmd.Env = []string{"PGPASSFILE=" + pg.Passfile()}
				return cmd
			},
			[]change{{`UPDATE "odd ""name"".$x" SET b = NULL WHERE id = 9`, `public."odd ""name"".$x"`}, {"SELECT nextval('s')", "sequence public.s"}}, // more in TestContent
		},
		{
			maria, mariaHurts, 50 + 2 + 6 + 3,
			func(database, file string) *exec.Cmd {
				return exec.CommandContext(ctx, "mariadb-dump", "--defaults-file="+maria.OptionFile(), "--single-transaction", "--routines", "--triggers", "--events", "--hex-blob",
					"--result-file="+file, "--", database)
			},
			[]change{
				{"UPDATE `odd ``name``.$x` SET raw = NULL WHERE id = 9", "table odd `name`.$x is"},
				{"UPDATE `odd ``name``.$x` SET secret = 6 WHERE id = 9", "table odd `name`.$x is"},
				{"UPDATE parts SET v = 'newer' WHERE y = 2001 LIMIT 1", "table parts is"},
				{"DELETE FROM child WHERE id = 2", "table child is"},
				{"CREATE TABLE extra (x INT)", "extra is too much"},
				{"ALTER TABLE parts MODIFY v VARCHAR(10)", "column parts.v"},
				{"ALTER TABLE log AUTO_INCREMENT = 900", "table log"},
				{"ALTER TABLE `odd ``name``.$x` DROP KEY words", "index odd `name`.$x.words.1 is missing"},
				{"ALTER TABLE child DROP FOREIGN KEY child_ibfk_1", "key child.child_ibfk_1.parent is missing"},
				{"ALTER TABLE parts REORGANIZE PARTITION p0 INTO (PARTITION p1 VALUES LESS THAN (2000))", "partition parts.p0 is missing"},
				{"CREATE OR REPLACE VIEW above AS SELECT * FROM under WHERE id < 11", "view above"},
				{"DELIMITER //\nCREATE OR REPLACE TRIGGER first BEFORE INSERT ON child FOR EACH ROW FOLLOWS second BEGIN INSERT INTO log (what) VALUES ('first; \"quoted\"'); END//", "trigger first"},
				{"DROP TRIGGER after", "trigger after is missing"},
				{"CREATE OR REPLACE FUNCTION f(x INT) RETURNS INT DETERMINISTIC RETURN x + 2", "function f is"},
				{"ALTER EVENT nightly ON SCHEDULE EVERY 2 DAY", "event nightly"},
				{"SELECT SETVAL(numbers, 99999)", "sequence numbers"},
			},
		},
		{
			lite, sqliteHurts, 0,
			func(database, file string) *exec.Cmd {
				return exec.CommandContext(ctx, "sqlite3", database, ".backup "+file)
			},
			[]change{
				{`UPDATE "odd ""name"".$x" SET raw = NULL WHERE id = 9`, `table odd "name".$x is`},
				{`UPDATE "odd ""name"".$x" SET raw = CAST(raw AS TEXT) WHERE id = 10`, `table odd "name".$x is`},
				{"UPDATE keyed SET v = 'x' WHERE a = 'z'", "table keyed is"},
				{"INSERT INTO log VALUES ('more')", "table log is"},
				{"UPDATE words SET body = 'the quick cat' WHERE title = 'one'", "table words is"},
				{"UPDATE boxes SET x1 = 8 WHERE id = 2", "table boxes is"},
				{"CREATE TABLE extra (x)", "extra is too much"},
				{"DROP INDEX some", "index some is missing"},
				{"DROP TRIGGER logged; CREATE TRIGGER logged AFTER INSERT ON keyed BEGIN INSERT INTO log VALUES ('less'); END", "trigger logged"},
				{"PRAGMA user_version = 4", "pragmas"},
			},
		},
	} {
		t.Run(c.server.Engine(), func(t *testing.T) {
			source, loaded := c.server.Name("source"), c.server.Name("loaded")
			if err := c.server.Create(ctx, source); err != nil {
				t.Fatal(err)
			}
			if _, err := c.server.Exec(ctx, source, c.hurts); err != nil {
				t.Fatal(err)
			}
			before, err := c.server.Content(ctx, source)
			if err != nil {
				t.Fatal(err)
			}
			if c.rows > 0 && before.Rows() != c.rows {
				t.Errorf("the source has %d rows, not %d: %v", before.Rows(), c.rows, before.Tables)
			}
			file := filepath.Join(t.TempDir(), "dump")
			cmd := c.dump(source, file)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v: %s", err, stderr.String())
			}
			if err := c.server.Load(ctx, loaded, file); err != nil {
				t.Fatal(err)
			}
			content := func() stack.Content {
				t.Helper()
				got, err := c.server.Content(ctx, loaded)
				if err != nil {
					t.Fatal(err)
				}
				return got
			}
			now := content()
			if d := before.Diff(now); d != "" {
				t.Errorf("the loaded dump differs from its source:\n%s", d)
			}
			if names, err := c.server.Databases(ctx); err != nil || strings.Join(names, ",") != loaded+","+source {
				t.Errorf("databases are %v, %v", names, err)
			}
			if err := c.server.Load(ctx, loaded, file); err == nil {
				t.Error("a dump is loaded into a database that is there")
			}
			for _, change := range c.changes {
				if _, err := c.server.Exec(ctx, loaded, change.sql); err != nil {
					t.Fatal(err)
				}
				changed := content()
				if d := now.Diff(changed); !strings.Contains(d, change.want) {
					t.Errorf("after %s: %q does not name %q", change.sql, d, change.want)
				}
				now = changed
			}
			for range 2 { // what is not there is dropped all the same
				if err := c.server.Drop(ctx, loaded); err != nil {
					t.Error(err)
				}
			}
			if names, err := c.server.Databases(ctx); err != nil || strings.Join(names, ",") != source {
				t.Errorf("databases are %v, %v", names, err)
			}
		})
	}
	t.Run("CutDump", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "broken.sql")
		if err := os.WriteFile(file, []byte("CREATE TABLE a (x INT);\nINSERT INTO a VALUES (1);\nINSERT INTO b VALUES (1);\nINSERT INTO a VALUES (2);\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := maria.Load(ctx, "broken", file); err == nil || !strings.Contains(err.Error(), "1146") {
			t.Errorf("got %v", err)
		}
	})
}

func stopAtEnd(t *testing.T, s *stack.Stack) {
	t.Helper()
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
}
