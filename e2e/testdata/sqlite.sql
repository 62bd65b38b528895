-- A SQLite database of a few megabytes with what is easily lost.
PRAGMA user_version = 4711;
PRAGMA application_id = 0x0DEF10;
CREATE TABLE "odd ""name"" 🦀" ("a b" text DEFAULT 'it''s', "select" integer);
INSERT INTO "odd ""name"" 🦀" VALUES ('x', 1), (NULL, -9223372036854775808), ('', 9223372036854775807);
CREATE TABLE people (id integer PRIMARY KEY AUTOINCREMENT, name text NOT NULL COLLATE NOCASE, born text, doc text CHECK (doc IS NULL OR json_valid(doc)),
	year integer GENERATED ALWAYS AS (CAST(substr(born, 1, 4) AS integer)) STORED, shout text AS (upper(name)) VIRTUAL);
WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < 10000)
INSERT INTO people (name, born, doc) SELECT 'person ' || n, date('2000-01-01', n || ' days'), json_object('n', n, 'tags', json_array('a', 'ü', NULL)) FROM g;
DELETE FROM people WHERE id % 7 = 0;
CREATE INDEX people_expression ON people (lower(name), json_extract(doc, '$.n'));
CREATE UNIQUE INDEX people_partial ON people (born) WHERE born > '2020-01-01';
CREATE TABLE cities (country text, name text, people integer, PRIMARY KEY (country, name)) WITHOUT ROWID;
INSERT INTO cities VALUES ('DE', 'Köln', 1), ('DE', 'Bonn', 2), ('FR', 'Lyon', 3);
CREATE TABLE strict_one (i integer, r real, t text, b blob, a any) STRICT;
INSERT INTO strict_one VALUES (1, 1e308, 'x', x'00ff', 'any'), (NULL, -0.0, '', x'', 5);
CREATE TABLE parents (id integer PRIMARY KEY);
CREATE TABLE children (id integer PRIMARY KEY, parent REFERENCES parents (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO parents VALUES (1), (2);
INSERT INTO children VALUES (1, 1), (2, 99);
CREATE TABLE journal (what text, at text DEFAULT '2020-01-01');
CREATE TRIGGER people_before BEFORE UPDATE OF name ON people WHEN new.name <> old.name BEGIN INSERT INTO journal (what) VALUES ('before ' || old.name); END;
CREATE TRIGGER people_after AFTER UPDATE ON people BEGIN INSERT INTO journal (what) VALUES ('after ' || new.name); END;
UPDATE people SET name = 'changed' WHERE id < 10;
CREATE VIEW grown AS SELECT name, year FROM people WHERE year < 2010;
CREATE TRIGGER grown_insert INSTEAD OF INSERT ON grown BEGIN INSERT INTO people (name, born) VALUES (new.name, new.year || '-01-01'); END;
INSERT INTO grown VALUES ('by view', 2001);
CREATE VIRTUAL TABLE notes USING fts5(title, body, tokenize = 'porter unicode61');
WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < 500) INSERT INTO notes SELECT 'note ' || n, 'the quick brown fox ' || n || ' jumps' FROM g;
CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1, y0, y1);
INSERT INTO boxes VALUES (1, 0, 1, 0, 1), (2, -5, 5, -5, 5);
CREATE TABLE blobs (id integer PRIMARY KEY, data blob);
INSERT INTO blobs (data) VALUES (randomblob(1000000)), (zeroblob(100000)), (x'');
CREATE TABLE "nothing in it" (x);
ANALYZE;
