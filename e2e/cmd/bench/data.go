package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"devflowbackup/shared/pgserver"
	"devflowbackup/shared/secret"
)

const (
	dumpRole    = "devflow_backup"
	restoreRole = "devflow_restore"

	// dataVersion changes with the SQL below, so that old data is made anew.
	dataVersion = "3"
)

// settings of the measured server, alike for both sides of every comparison. fsync is off, as pgserver has it: a virtual
// disk that answers now fast and now slow would be all that one measures.
var settings = map[string]string{
	"shared_buffers":       "1GB",
	"max_wal_size":         "8GB",
	"maintenance_work_mem": "128MB",
	"checkpoint_timeout":   "30min",
	"autovacuum":           "off",
}

// source is the PostgreSQL that is backed up and restored into. Its data stays in its directory between runs.
type source struct {
	*pgserver.Server
	password secret.String // of both roles
	passfile string
}

// openSource starts the server, and makes the databases that are not there yet: name and size of the dump in MiB.
func openSource(ctx context.Context, dir string, say func(string, ...any), databases map[string]int) (_ *source, err error) {
	load := map[string]string{"wal_level": "minimal", "max_wal_senders": "0"} // new tables are filled without WAL
	for k, v := range settings {
		load[k] = v
	}
	s, err := pgserver.Start(ctx, pgserver.Options{Dir: dir, Settings: load})
	if err != nil {
		return nil, err
	}
	for name, mib := range databases {
		if err = makeDatabase(ctx, s, name, mib, say); err != nil {
			break
		}
	}
	if stopErr := s.Stop(context.WithoutCancel(ctx)); err == nil {
		err = stopErr
	}
	if err != nil {
		return nil, err
	}
	if s, err = pgserver.Start(ctx, pgserver.Options{Dir: dir, Settings: settings}); err != nil {
		return nil, err
	}
	src := &source{Server: s, password: secret.String(rand.Text()), passfile: filepath.Join(dir, "bench.pgpass")}
	if err := src.makeRoles(ctx); err != nil {
		src.close(ctx)
		return nil, err
	}
	return src, nil
}

func (s *source) makeRoles(ctx context.Context) error {
	// What an interrupted run has left.
	left, err := s.Exec(ctx, "postgres", `SELECT datname FROM pg_database WHERE datname ~ '^(bench|devflow)_'`)
	if err != nil {
		return err
	}
	for name := range strings.Lines(left) {
		if err := s.DropDatabase(ctx, strings.TrimSpace(name)); err != nil {
			return err
		}
	}
	if _, err := s.Exec(ctx, "postgres", "DROP ROLE IF EXISTS "+dumpRole+"; DROP ROLE IF EXISTS "+restoreRole); err != nil {
		return err
	}
	for _, role := range []string{dumpRole, restoreRole} {
		if err := s.CreateRole(ctx, role, s.password); err != nil {
			return err
		}
	}
	if _, err := s.Exec(ctx, "postgres", "GRANT pg_read_all_data TO "+dumpRole+"; ALTER ROLE "+restoreRole+" CREATEDB"); err != nil {
		return err
	}
	return os.WriteFile(s.passfile, fmt.Appendf(nil, "%s:%d:*:*:%s\n", s.Host(), s.Port(), s.password.Reveal()), 0o600)
}

func (s *source) close(ctx context.Context) error {
	return s.Stop(context.WithoutCancel(ctx))
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

// makeDatabase makes a database unless it is there, made by this version for this size.
func makeDatabase(ctx context.Context, s *pgserver.Server, name string, mib int, say func(string, ...any)) error {
	mark := fmt.Sprintf("bench data %s, %d MiB", dataVersion, mib)
	have, err := s.Exec(ctx, "postgres", `SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '`+name+`'`)
	if err != nil {
		return err
	}
	if have == mark {
		return nil
	}
	sql := shopSQL(mib)
	if name == bigDatabase {
		sql = archiveSQL(mib)
	}
	say("  make database %s for a dump of %d MiB (kept for later runs) …", name, mib)
	took, err := timed(func() error {
		if err := s.DropDatabase(ctx, name); err != nil {
			return err
		}
		if err := s.CreateDatabase(ctx, name, ""); err != nil {
			return err
		}
		if _, err := s.Exec(ctx, name, sql); err != nil {
			return err
		}
		_, err := s.Exec(ctx, name, "VACUUM ANALYZE; COMMENT ON DATABASE "+pgserver.Quote(name)+" IS '"+mark+"'")
		return err
	})
	if err != nil {
		return fmt.Errorf("make database %s: %w", name, err)
	}
	say("  made in %s", took.Round(time.Second))
	return nil
}

const (
	shopDatabase = "shop"
	bigDatabase  = "archive"
)

// words makes a vocabulary and two functions of text: so many random words, and one random word.
const words = `
SELECT setseed(0.42);
CREATE TEMP TABLE vocabulary AS
	SELECT array_agg(initial || middle || ending ORDER BY random()) AS w
	FROM unnest(string_to_array('b br c cl d dr f fl g gr h k l m n p pl qu r s st t tr v w', ' ')) initial,
	     unnest(string_to_array('a e i o u ai ea ou', ' ')) middle,
	     unnest(string_to_array('n r st ll ck ring ness tion', ' ')) ending;
`

// shopSQL is an application's database of many short rows: numbers, times, names, JSON documents and texts, with keys
// and indexes. What it makes is compressed about as well as such data is (zstd -3: between 3 and 4 to 1).
func shopSQL(mib int) string {
	n := func(perMiB int) string { return strconv.Itoa(perMiB * mib) }
	return words + `
CREATE FUNCTION pg_temp.text(w text[], n int) RETURNS text LANGUAGE sql VOLATILE AS
	$$ SELECT string_agg(w[1 + (random() * (array_length(w, 1) - 1))::int], ' ') FROM generate_series(1, n) $$;
BEGIN;
CREATE TABLE customers (
	id bigint GENERATED BY DEFAULT AS IDENTITY, email text NOT NULL, name text NOT NULL, city text, tags text[],
	balance numeric(12,2) NOT NULL, active boolean NOT NULL, created_at timestamptz NOT NULL, token uuid NOT NULL);
INSERT INTO customers
	SELECT i, w[1 + (random()*1500)::int] || '.' || w[1 + (random()*1500)::int] || i || '@example.com',
		initcap(w[1 + (random()*1500)::int] || ' ' || w[1 + (random()*1500)::int]), initcap(w[1 + (random()*300)::int]),
		ARRAY[w[1 + (random()*20)::int], w[1 + (random()*20)::int]], (random()*10000)::numeric(12,2), random() < 0.9,
		'2020-01-01'::timestamptz + random() * interval '5 years', md5(random()::text)::uuid
	FROM vocabulary, generate_series(1, ` + n(250) + `) i;
CREATE TABLE orders (
	id bigint GENERATED BY DEFAULT AS IDENTITY, customer_id bigint NOT NULL, status text NOT NULL, total numeric(12,2) NOT NULL,
	placed_at timestamptz NOT NULL, shipped_at timestamptz, note text);
INSERT INTO orders
	SELECT i, 1 + (random() * (` + n(250) + ` - 1))::bigint, (ARRAY['new','paid','shipped','returned'])[1 + (random()*3)::int], (random()*500)::numeric(12,2),
		'2020-01-01'::timestamptz + i * interval '1 minute', '2020-01-02'::timestamptz + i * interval '1 minute' + random() * interval '5 days',
		CASE WHEN random() < 0.2 THEN pg_temp.text(w, 12) END
	FROM vocabulary, generate_series(1, ` + n(1000) + `) i;
CREATE TABLE order_items (
	order_id bigint NOT NULL, line int NOT NULL, product_id int NOT NULL, quantity int NOT NULL, price numeric(10,2) NOT NULL);
INSERT INTO order_items
	SELECT 1 + i / 3, 1 + i % 3, (random()*20000)::int, 1 + (random()*5)::int, (random()*200)::numeric(10,2)
	FROM generate_series(0, ` + n(3000) + ` - 1) i;
CREATE TABLE events (
	id bigint GENERATED BY DEFAULT AS IDENTITY, customer_id bigint NOT NULL, kind text NOT NULL, at timestamptz NOT NULL, address inet, payload jsonb NOT NULL);
INSERT INTO events
	SELECT i, (random() * ` + n(250) + `)::bigint, w[1 + (random()*30)::int], '2024-01-01'::timestamptz + i * interval '7 seconds',
		('10.' || (random()*255)::int || '.' || (random()*255)::int || '.' || (random()*255)::int)::inet,
		jsonb_build_object('session', md5(random()::text), 'page', '/' || w[1 + (random()*1500)::int] || '/' || w[1 + (random()*1500)::int],
			'ms', (random()*3000)::int, 'agent', 'Mozilla/5.0 (X11; Linux x86_64) ' || w[1 + (random()*40)::int],
			'items', jsonb_build_array((random()*20000)::int, (random()*20000)::int, (random()*20000)::int), 'query', pg_temp.text(w, 8))
	FROM vocabulary, generate_series(1, ` + n(1000) + `) i;
CREATE TABLE reviews (
	id bigint GENERATED BY DEFAULT AS IDENTITY, product_id int NOT NULL, customer_id bigint NOT NULL, stars smallint NOT NULL, written_at timestamptz NOT NULL, body text NOT NULL);
INSERT INTO reviews
	SELECT i, (random()*20000)::int, (random() * ` + n(250) + `)::bigint, 1 + (random()*4)::int, '2022-01-01'::timestamptz + i * interval '2 minutes',
		pg_temp.text(w, 80 + (random()*120)::int)
	FROM vocabulary, generate_series(1, ` + n(480) + `) i;
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
SELECT setval(pg_get_serial_sequence(t, 'id'), (SELECT ` + n(1000) + `)) FROM unnest(ARRAY['customers','orders','events','reviews']) t;
`
}

// archiveSQL is a database of few large rows, which the server makes as fast as it can write: documents of 768 KiB, put
// together from a pool of texts and stored outside the rows, not compressed.
func archiveSQL(mib int) string {
	return words + `
CREATE TEMP TABLE pool AS
	SELECT i, (SELECT string_agg(w[1 + (random() * (array_length(w, 1) - 1))::int], ' ') FROM generate_series(1, 2700 + 0 * i)) AS chunk
	FROM vocabulary, generate_series(0, 2047) i;
CREATE UNIQUE INDEX ON pool (i);
ANALYZE pool;
BEGIN;
CREATE TABLE documents (id bigint PRIMARY KEY, name text NOT NULL, stored_at timestamptz NOT NULL, body text NOT NULL);
ALTER TABLE documents ALTER body SET STORAGE EXTERNAL;
INSERT INTO documents
	SELECT d, 'document ' || d, '2024-01-01'::timestamptz + d * interval '1 hour', string_agg(chunk, E'\n')
	FROM (SELECT d, (random() * 2047)::int AS i FROM generate_series(1, ` + strconv.Itoa(mib*4/3) + `) d, generate_series(1, 48)) pick JOIN pool USING (i)
	GROUP BY d;
COMMIT;
`
}

// fileSize is the size of a file that a baseline has written.
func fileSize(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
