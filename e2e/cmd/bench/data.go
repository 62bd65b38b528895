package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/pgserver"
	"devflowbackup/shared/secret"
)

// dataVersion changes with the SQL below, so that old data is made anew.
const dataVersion = "4"

// settings of the measured server, alike for both sides of every comparison. fsync is off, as pgserver has it: a virtual
// disk that answers now fast and now slow would be all that one measures.
var settings = map[string]string{
	"shared_buffers":       "1GB",
	"max_wal_size":         "4GB",
	"maintenance_work_mem": "128MB",
	"checkpoint_timeout":   "30min",
	"autovacuum":           "off",
}

// source is the PostgreSQL that is backed up and restored into. Its data stays in its directory between runs.
type source struct {
	*stack.Postgres
	passfile string
}

// openSource starts the server, after it has made the databases that are not there yet: name and size of the dump in MiB.
func openSource(ctx context.Context, s *stack.Stack, say func(string, ...any), databases map[string]int) (*source, error) {
	dir := filepath.Join(s.Dir, "pg")
	if err := makeData(ctx, dir, say, databases); err != nil {
		return nil, err
	}
	pg, err := s.StartPostgres(ctx, "pg", stack.PostgresOptions{Settings: settings})
	if err != nil {
		return nil, err
	}
	// What an interrupted run has left.
	left, err := pg.Exec(ctx, "postgres", `SELECT datname FROM pg_database WHERE datname ~ '^(bench|devflow)_'`)
	if err != nil {
		return nil, err
	}
	for name := range strings.Lines(left) {
		if err := pg.DropDatabase(ctx, strings.TrimSpace(name)); err != nil {
			return nil, err
		}
	}
	src := &source{Postgres: pg, passfile: filepath.Join(s.Dir, "secrets", "bench.pgpass")}
	var lines strings.Builder
	for role, file := range map[string]string{stack.BackupRole: pg.BackupPasswordFile, stack.RestoreRole: pg.RestorePasswordFile} {
		password, err := secret.LoadFile(file)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&lines, "%s:%d:*:%s:%s\n", pg.Host(), pg.Port(), role, password.Reveal())
	}
	return src, stack.WriteFile(src.passfile, lines.String(), 0o600)
}

// env is the environment of the bare tools.
func (s *source) env(user, database string, more ...string) []string {
	return append([]string{
		"PATH=" + s.Bin().Dir + ":/usr/local/bin:/usr/bin:/bin", "LC_ALL=C.UTF-8", "HOME=/",
		"PGHOST=" + s.Host(), "PGPORT=" + strconv.Itoa(s.Port()), "PGUSER=" + user, "PGDATABASE=" + database,
		"PGPASSFILE=" + s.passfile, "PGSSLMODE=disable",
	}, more...)
}

// settle writes out what a run has left in the server's buffers, so that the next one does not pay for it.
func (s *source) settle(ctx context.Context) error {
	_, err := s.Exec(ctx, "postgres", "CHECKPOINT")
	return err
}

// size of a database in bytes.
func (s *source) size(ctx context.Context, database string) (int64, error) {
	text, err := s.Exec(ctx, database, "SELECT pg_database_size(current_database())")
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

// subject is the measured PostgreSQL database.
func (s *source) subject(database string) subject {
	const target = "bench_restored"
	return subject{
		title: "PostgreSQL", id: "postgresql", database: database,
		size: func(ctx context.Context) (int64, error) { return s.size(ctx, database) },
		env:  s.env(stack.BackupRole, database),
		dump: `pg_dump -Fc -Z0`, text: `pg_dump`, shown: "pg_dump -Fc -Z0", shownText: "pg_dump",
		aims: map[string]aims{storageS3: {pipeline: 1.25, gzip: 2}, storageLocal: {pipeline: 1.00}},
		restore: restoring{
			instance: "main", target: target, aim: 1.15,
			env:    s.env(stack.RestoreRole, "postgres", "TARGET="+target),
			typed:  `createdb -T template0 "$TARGET"; pg_restore --exit-on-error --no-owner --no-privileges -d "$TARGET" "$FILE"`,
			shown:  "createdb; pg_restore < local file",
			drop:   func(ctx context.Context) error { return s.DropDatabase(ctx, target) },
			settle: s.settle,
		},
	}
}

// makeData makes the databases that are not there, by this version and for this size. A file beside the data tells.
func makeData(ctx context.Context, dir string, say func(string, ...any), databases map[string]int) (err error) {
	missing := map[string]string{}
	for name, mib := range databases {
		mark := fmt.Sprintf("data %s, %d MiB", dataVersion, mib)
		if have, err := os.ReadFile(filepath.Join(dir, name+".made")); err != nil || string(have) != mark {
			missing[name] = mark
		}
	}
	if len(missing) == 0 {
		return nil
	}
	load := map[string]string{"wal_level": "minimal", "max_wal_senders": "0"} // new tables are filled without WAL
	maps.Copy(load, settings)
	s, err := pgserver.Start(ctx, pgserver.Options{Dir: dir, Settings: load})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop(context.WithoutCancel(ctx))) }()
	for name, mark := range missing {
		file := filepath.Join(dir, name+".made")
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		say("  make database %s for a dump of %d MiB, kept for later runs …", name, databases[name])
		took, err := timed(func() error { return makeDatabase(ctx, s, name, databases[name]) })
		if err != nil {
			return fmt.Errorf("make database %s: %w", name, err)
		}
		say("  made in %s", took.Round(time.Second))
		if err := os.WriteFile(file, []byte(mark), 0o644); err != nil { //nolint:gosec // no secret
			return err
		}
	}
	return nil
}

func makeDatabase(ctx context.Context, s *pgserver.Server, name string, mib int) error {
	sql := shopSQL(mib)
	if name == bigDatabase {
		sql = archiveSQL(mib)
	}
	if err := s.DropDatabase(ctx, name); err != nil {
		return err
	}
	if err := s.CreateDatabase(ctx, name, ""); err != nil {
		return err
	}
	if _, err := s.Exec(ctx, name, sql); err != nil {
		return err
	}
	_, err := s.Exec(ctx, name, "VACUUM ANALYZE")
	return err
}

const (
	shopDatabase  = "shop"
	smallDatabase = "shop_small" // in place of it, for a quick try
	bigDatabase   = "archive"
)

// words makes a vocabulary of some thousand words and a book of 64 MiB of them in random order. A text is a slice of the
// book: stored uncompressed, the server reads just that slice. The book is far longer than a compressor looks back. As in
// any language some words are frequent, and some phrases come again and again.
const words = `
SELECT setseed(0.42);
CREATE FUNCTION pg_temp.word() RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT
	('{b,br,c,cl,d,dr,f,fl,g,gr,h,k,l,m,n,p,pl,qu,r,s,st,t,tr,v,w,be,con,de,in,re,un}'::text[])[1 + floor(random()*31)::int] ||
	('{a,e,i,o,u,ai,ea,ou}'::text[])[1 + floor(random()*random()*8)::int] ||
	('{n,r,st,ll,ck,ring,ness,tion,t,ly,d,m,nder,sh,x,ble}'::text[])[1 + floor(random()*random()*16)::int] $$;
CREATE FUNCTION pg_temp.at() RETURNS int LANGUAGE sql VOLATILE AS $$ SELECT 1 + floor(random() * 66000000)::int $$;
CREATE TEMP TABLE book (body bytea);
ALTER TABLE book ALTER body SET STORAGE EXTERNAL;
CREATE TEMP TABLE phrases AS
	SELECT array_agg(pg_temp.word() || ' ' || pg_temp.word() || ' ' || pg_temp.word() || ' ' || pg_temp.word() || ' ' || pg_temp.word()) AS p FROM generate_series(1, 200);
INSERT INTO book
	SELECT substr(convert_to(string_agg(CASE WHEN random() < 0.3 THEN p[1 + floor(random()*200)::int] ELSE pg_temp.word() END, ' '), 'UTF8'), 1, 67108864)
	FROM phrases, generate_series(1, 5500000);
`

// shopSQL is an application's database of many short rows: numbers, times, names, JSON documents and texts, with keys
// and indexes. What it makes is compressed about as well as such data is (zstd -3: between 3 and 4 to 1).
func shopSQL(mib int) string {
	n := func(perMiB int) string { return strconv.Itoa(perMiB * mib) }
	return words + `
CREATE FUNCTION pg_temp.text(book bytea, n int) RETURNS text LANGUAGE sql VOLATILE AS
	$$ SELECT convert_from(substr(book, pg_temp.at(), n), 'UTF8') $$;
BEGIN;
CREATE TABLE customers (
	id bigint GENERATED BY DEFAULT AS IDENTITY, email text NOT NULL, name text NOT NULL, city text, tags text[],
	balance numeric(12,2) NOT NULL, active boolean NOT NULL, created_at timestamptz NOT NULL, token uuid NOT NULL);
INSERT INTO customers
	SELECT i, pg_temp.word() || '.' || pg_temp.word() || i || '@example.com', initcap(pg_temp.word() || ' ' || pg_temp.word()), initcap(pg_temp.word()),
		ARRAY[pg_temp.word(), pg_temp.word()], (random()*10000)::numeric(12,2), random() < 0.9,
		'2020-01-01'::timestamptz + random() * interval '5 years', md5(random()::text)::uuid
	FROM generate_series(1, ` + n(250) + `) i;
CREATE TABLE orders (
	id bigint GENERATED BY DEFAULT AS IDENTITY, customer_id bigint NOT NULL, status text NOT NULL, total numeric(12,2) NOT NULL,
	placed_at timestamptz NOT NULL, shipped_at timestamptz, note text);
INSERT INTO orders
	SELECT i, 1 + floor(random() * ` + n(250) + `)::bigint, (ARRAY['new','paid','shipped','returned'])[1 + floor(random()*4)::int], (random()*500)::numeric(12,2),
		'2020-01-01'::timestamptz + i * interval '1 minute', '2020-01-02'::timestamptz + i * interval '1 minute' + random() * interval '5 days',
		CASE WHEN random() < 0.2 THEN pg_temp.text(body, 80) END
	FROM book, generate_series(1, ` + n(1000) + `) i;
CREATE TABLE order_items (
	order_id bigint NOT NULL, line int NOT NULL, product_id int NOT NULL, quantity int NOT NULL, price numeric(10,2) NOT NULL);
INSERT INTO order_items
	SELECT 1 + i / 3, 1 + i % 3, (random()*20000)::int, 1 + (random()*5)::int, (random()*200)::numeric(10,2)
	FROM generate_series(0, ` + n(3000) + ` - 1) i;
CREATE TABLE events (
	id bigint GENERATED BY DEFAULT AS IDENTITY, customer_id bigint NOT NULL, kind text NOT NULL, at timestamptz NOT NULL, address inet, payload jsonb NOT NULL);
INSERT INTO events
	SELECT i, 1 + floor(random() * ` + n(250) + `)::bigint, pg_temp.word(), '2024-01-01'::timestamptz + i * interval '7 seconds',
		('10.' || (random()*255)::int || '.' || (random()*255)::int || '.' || (random()*255)::int)::inet,
		jsonb_build_object('session', md5(random()::text), 'page', '/' || pg_temp.word() || '/' || pg_temp.word(),
			'ms', (random()*3000)::int, 'agent', 'Mozilla/5.0 (X11; Linux x86_64) ' || pg_temp.word(),
			'items', jsonb_build_array((random()*20000)::int, (random()*20000)::int, (random()*20000)::int), 'query', pg_temp.text(body, 50))
	FROM book, generate_series(1, ` + n(1000) + `) i;
CREATE TABLE reviews (
	id bigint GENERATED BY DEFAULT AS IDENTITY, product_id int NOT NULL, customer_id bigint NOT NULL, stars smallint NOT NULL, written_at timestamptz NOT NULL, body text NOT NULL);
INSERT INTO reviews
	SELECT i, (random()*20000)::int, 1 + floor(random() * ` + n(250) + `)::bigint, 1 + (random()*4)::int, '2022-01-01'::timestamptz + i * interval '2 minutes',
		pg_temp.text(book.body, 500 + (random()*1000)::int)
	FROM book, generate_series(1, ` + n(480) + `) i;
COMMIT;
ALTER TABLE customers ADD PRIMARY KEY (id);
ALTER TABLE orders ADD PRIMARY KEY (id), ADD FOREIGN KEY (customer_id) REFERENCES customers;
ALTER TABLE order_items ADD PRIMARY KEY (order_id, line);
ALTER TABLE events ADD PRIMARY KEY (id);
ALTER TABLE reviews ADD PRIMARY KEY (id);
CREATE INDEX ON orders (customer_id);
CREATE INDEX ON events (at);
CREATE INDEX ON reviews (product_id);
CREATE VIEW order_totals AS SELECT order_id, sum(quantity * price) AS total FROM order_items GROUP BY order_id;
SELECT setval(pg_get_serial_sequence(t, 'id'), ` + n(1000) + `) FROM unnest(ARRAY['customers','orders','events','reviews']) t;
`
}

// archiveSQL is a database of few large rows, which the server makes as fast as it can write: documents of 768 KiB,
// stored outside the rows, not compressed.
func archiveSQL(mib int) string {
	return words + `
BEGIN;
CREATE TABLE documents (id bigint PRIMARY KEY, name text NOT NULL, stored_at timestamptz NOT NULL, body text NOT NULL);
ALTER TABLE documents ALTER body SET STORAGE EXTERNAL;
INSERT INTO documents
	SELECT d, 'document ' || d, '2024-01-01'::timestamptz + d * interval '1 hour', convert_from(substr(body, pg_temp.at(), 786432), 'UTF8')
	FROM book, generate_series(1, ` + strconv.Itoa(mib*4/3) + `) d;
COMMIT;
`
}
