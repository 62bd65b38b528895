-- A PostgreSQL database of a few megabytes with what is easily lost. The administrator runs it in an empty database.
CREATE SCHEMA "odd ""schema"" 🦀";
CREATE EXTENSION hstore;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'hap''py', '🦀');
CREATE DOMAIN positive AS int NOT NULL DEFAULT 1 CHECK (VALUE > 0);

CREATE TABLE people (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, born date, note jsonb, feels mood, traits hstore);
INSERT INTO people (name, born, note, feels, traits)
	SELECT 'Zoë 🦀 ' || n, date '1970-01-01' + n, jsonb_build_object('n', n, 'quote', 'it''s "so"'), (ARRAY['sad', 'hap''py', '🦀', NULL])[1 + n % 4]::mood, hstore('n', n::text)
	FROM generate_series(1, 4000) n;
CREATE TABLE visits (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, person int NOT NULL REFERENCES people, at timestamptz NOT NULL, picture bytea);
INSERT INTO visits (person, at, picture)
	SELECT 1 + n % 4000, timestamptz '2025-01-01Z' + n * interval '1 minute', decode(repeat(md5(n::text), 8), 'hex') FROM generate_series(1, 8000) n;
CREATE INDEX visits_at ON visits (at DESC) WHERE person > 3;

CREATE TABLE texts (id int PRIMARY KEY, t text, b bytea, a text[], x xml, r tstzrange);
INSERT INTO texts VALUES
	(1, E'line\nend\\ \\. \r \\N "quotes" ''single'' \t \u202e', '\x00ff5c0a', ARRAY['a', NULL, 'b,"c"'], '<a b="c">&amp;</a>', '[2020-01-01 00:00+00,infinity)'),
	(2, '', '', '{}', NULL, 'empty'), (3, NULL, NULL, NULL, NULL, NULL), (4, repeat('🦀', 20000), decode(repeat('00ff', 200000), 'hex'), NULL, NULL, NULL);
CREATE TABLE "odd ""schema"" 🦀"."odd ""table"" '; DROP" ("select" int, "ünï 🦀" text);
INSERT INTO "odd ""schema"" 🦀"."odd ""table"" '; DROP" VALUES (1, 'x'), (2, NULL);
CREATE TABLE no_rows (id positive);
CREATE UNLOGGED TABLE unlogged AS SELECT g FROM generate_series(1, 100) g;
CREATE SEQUENCE free AS smallint START 10 INCREMENT 3 MAXVALUE 20 CYCLE;
SELECT nextval('free'), nextval('free');

CREATE TABLE chicken (id int PRIMARY KEY, egg int);
CREATE TABLE egg (id int PRIMARY KEY, chicken int NOT NULL REFERENCES chicken ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED);
BEGIN;
INSERT INTO egg SELECT g, g FROM generate_series(1, 50) g;
INSERT INTO chicken SELECT g, g FROM generate_series(1, 50) g;
COMMIT;
ALTER TABLE chicken ADD CONSTRAINT laid FOREIGN KEY (egg) REFERENCES egg DEFERRABLE;
CREATE TABLE event (at timestamptz NOT NULL, kind text NOT NULL, n int CHECK (n >= 0), PRIMARY KEY (at, kind)) PARTITION BY RANGE (at);
CREATE TABLE event_2024 PARTITION OF event FOR VALUES FROM ('2024-01-01Z') TO ('2025-01-01Z') PARTITION BY LIST (kind);
CREATE TABLE event_2024_a PARTITION OF event_2024 FOR VALUES IN ('a');
CREATE TABLE event_2024_rest PARTITION OF event_2024 DEFAULT;
CREATE TABLE event_default PARTITION OF event DEFAULT;
INSERT INTO event SELECT timestamptz '2023-06-01 00:00Z' + g * interval '1 day', chr(97 + g % 3), g FROM generate_series(1, 900) g;
CREATE TABLE computed (net numeric, tax numeric GENERATED ALWAYS AS (net * 0.2) STORED);
INSERT INTO computed (net) SELECT generate_series(1, 10);

CREATE FUNCTION shout(t text) RETURNS text LANGUAGE plpgsql STRICT AS $body$
BEGIN
	-- $$ and 'quotes' and \ backslashes; DROP TABLE "x"
	RETURN upper(t) || $$!$$;
END
$body$;
CREATE PROCEDURE wipe(INOUT n int) LANGUAGE plpgsql AS $$ BEGIN n := n + 1; END $$;
CREATE TABLE log (id serial PRIMARY KEY, what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.log (what) VALUES (TG_OP); RETURN NULL; END $$;
CREATE TRIGGER noted AFTER INSERT OR DELETE ON chicken FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER off AFTER UPDATE ON chicken FOR EACH STATEMENT EXECUTE FUNCTION note();
ALTER TABLE chicken DISABLE TRIGGER off;
CREATE VIEW grown WITH (security_barrier) AS SELECT id, shout(name) AS loud FROM people WHERE born < '1975-01-01' WITH LOCAL CHECK OPTION;
CREATE MATERIALIZED VIEW per_kind AS SELECT kind, count(*) AS n FROM event GROUP BY kind;
CREATE UNIQUE INDEX ON per_kind (kind);
ALTER TABLE egg ENABLE ROW LEVEL SECURITY;
CREATE POLICY odd ON egg AS RESTRICTIVE FOR SELECT TO PUBLIC USING (id % 2 = 1);

SELECT lo_from_bytea(4711, decode(repeat('00ff', 100000), 'hex'));
GRANT SELECT ON LARGE OBJECT 4711 TO PUBLIC;
COMMENT ON TABLE people IS E'it''s a "table"\nof two lines \\ 🦀';
