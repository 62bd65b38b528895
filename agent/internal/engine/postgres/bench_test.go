package postgres_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"devflowbackup/agent/internal/engine"
)

// BenchmarkDump compares Dump, with fingerprint and globals, to pg_dump alone, in interleaved pairs. "ratio" is the first
// over the second.
func BenchmarkDump(b *testing.B) {
	s := server(b)
	// As pgbench makes it, about 500 MB.
	database := newDatabase(b, `CREATE TABLE accounts AS SELECT g AS aid, g % 100 AS bid, 0 AS balance, repeat('x', 84) AS filler FROM generate_series(1, 3500000) g`)
	run(b, s, database, "VACUUM ANALYZE accounts")
	e := newEngine(b, config(s))
	var ours, theirs time.Duration
	bare := func() {
		cmd := exec.Command(realTool(b, "pg_dump"), "--format=custom", "--compress=0")
		cmd.Env = []string{"PGHOST=127.0.0.1", "PGPORT=" + strconv.Itoa(s.Port()), "PGUSER=postgres", "PGDATABASE=" + database, "PGPASSWORD=" + s.Password().Reveal()}
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
	}
	bare() // warms the caches
	for b.Loop() {
		start := time.Now()
		bare()
		theirs += time.Since(start)
		start = time.Now()
		d, err := e.Dump(testContext(b), engine.DumpRequest{Database: database, Globals: true})
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{d}, make([]byte, 256<<10))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := d.Fingerprint(testContext(b)); err != nil {
			b.Fatal(err)
		}
		d.Close()
		ours += time.Since(start)
		b.SetBytes(n)
	}
	b.ReportMetric(ours.Seconds()/float64(b.N), "s/dump")
	b.ReportMetric(theirs.Seconds()/float64(b.N), "s/pg_dump")
	b.ReportMetric(ours.Seconds()/theirs.Seconds(), "ratio")
}

// BenchmarkRestore compares Restore to pg_restore of the same dump from a file.
func BenchmarkRestore(b *testing.B) {
	s := server(b)
	database := newDatabase(b, `CREATE TABLE accounts AS SELECT g AS aid, g % 100 AS bid, 0 AS balance, repeat('x', 84) AS filler FROM generate_series(1, 3500000) g;
		ALTER TABLE accounts ADD PRIMARY KEY (aid)`)
	e := newEngine(b, config(s))
	path := filepath.Join(b.TempDir(), "dump")
	d, err := e.Dump(testContext(b), engine.DumpRequest{Database: database})
	if err != nil {
		b.Fatal(err)
	}
	file, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	n, err := io.Copy(file, struct{ io.Reader }{d})
	if err != nil {
		b.Fatal(err)
	}
	d.Close()
	b.SetBytes(n)
	bare := func() {
		name := newStaging()
		createDatabase(b, s, name)
		cmd := exec.Command(realTool(b, "pg_restore"), "--no-owner", "--no-privileges", "--exit-on-error", "--dbname="+name, path)
		cmd.Env = []string{"PGHOST=127.0.0.1", "PGPORT=" + strconv.Itoa(s.Port()), "PGUSER=postgres", "PGPASSWORD=" + s.Password().Reveal()}
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
		dropDatabase(b, s, name)
	}
	var ours, theirs time.Duration
	for b.Loop() {
		start := time.Now()
		bare()
		theirs += time.Since(start)
		start = time.Now()
		r, err := e.Restore(testContext(b), engine.RestoreRequest{Database: newStaging()})
		if err != nil {
			b.Fatal(err)
		}
		from := io.NewSectionReader(file, 0, n)
		if _, err := io.CopyBuffer(struct{ io.Writer }{r}, struct{ io.Reader }{from}, make([]byte, 256<<10)); err != nil {
			b.Fatal(err)
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
		r.Abort()
		ours += time.Since(start)
	}
	b.ReportMetric(ours.Seconds()/float64(b.N), "s/restore")
	b.ReportMetric(theirs.Seconds()/float64(b.N), "s/pg_restore")
	b.ReportMetric(ours.Seconds()/theirs.Seconds(), "ratio")
}

// BenchmarkInPlace compares a restore in the place of a database with a plain restore of the same dump. "unavailable" is how long
// the database could not be used.
func BenchmarkInPlace(b *testing.B) {
	s := server(b)
	database := newDatabase(b, `CREATE TABLE accounts AS SELECT g AS aid, g % 100 AS bid, 0 AS balance, repeat('x', 84) AS filler FROM generate_series(1, 1000000) g;
		ALTER TABLE accounts ADD PRIMARY KEY (aid)`)
	e := newEngine(b, config(s))
	d, err := e.Dump(testContext(b), engine.DumpRequest{Database: database})
	if err != nil {
		b.Fatal(err)
	}
	dump, err := io.ReadAll(d)
	if err != nil {
		b.Fatal(err)
	}
	d.Close()
	b.SetBytes(int64(len(dump)))
	restore := func() engine.SwapRequest {
		req := engine.SwapRequest{Staged: newStaging(), Target: database, Sessions: engine.SessionsEnd}
		req.Keep = engine.KeptPrefix + strings.TrimPrefix(req.Staged, engine.StagingPrefix)
		r, err := e.Restore(testContext(b), engine.RestoreRequest{Database: req.Staged})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.Write(dump); err != nil {
			b.Fatal(err)
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
		return req
	}
	var plain, inPlace, unavailable time.Duration
	for b.Loop() {
		start := time.Now()
		if err := e.Remove(testContext(b), restore().Staged); err != nil {
			b.Fatal(err)
		}
		plain += time.Since(start)
		start = time.Now()
		target, err := e.Inspect(testContext(b), engine.InspectRequest{Target: database, InPlace: true})
		if err != nil {
			b.Fatal(err)
		}
		req := restore()
		req.Identity = target.Identity
		result, err := e.Swap(testContext(b), req)
		if err != nil {
			b.Fatal(err)
		}
		if err := e.Remove(testContext(b), req.Keep); err != nil {
			b.Fatal(err)
		}
		inPlace += time.Since(start)
		unavailable += result.Unavailable
	}
	b.ReportMetric(plain.Seconds()/float64(b.N), "s/restore")
	b.ReportMetric(inPlace.Seconds()/float64(b.N), "s/in-place")
	b.ReportMetric(inPlace.Seconds()/plain.Seconds(), "ratio")
	b.ReportMetric(unavailable.Seconds()*1000/float64(b.N), "ms/unavailable")
}
