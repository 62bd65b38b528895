package sqlite_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"devflowbackup/agent/internal/engine"
)

// BenchmarkDump compares Dump, with its check and fingerprint, to the public program's VACUUM INTO and reading the
// result, in interleaved pairs. "ratio" is the first over the second.
func BenchmarkDump(b *testing.B) {
	e, path := newDatabase(b, `PRAGMA journal_mode = WAL;
		CREATE TABLE accounts (aid integer PRIMARY KEY, bid integer, balance integer, filler text);
		WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < 3500000) INSERT INTO accounts SELECT n, n % 100, 0, printf('%84d', n) FROM g;
		CREATE INDEX accounts_bid ON accounts (bid);`)
	var ours, first, theirs time.Duration
	copied := filepath.Join(b.TempDir(), "vacuumed.db")
	for b.Loop() {
		start := time.Now()
		shell(b, path, "VACUUM INTO '"+copied+"';")
		f, err := os.Open(copied)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, 256<<10)); err != nil {
			b.Fatal(err)
		}
		f.Close()
		theirs += time.Since(start)
		if err := os.Remove(copied); err != nil {
			b.Fatal(err)
		}
		start = time.Now()
		d, err := e.Dump(testContext(b), engine.DumpRequest{Database: path})
		if err != nil {
			b.Fatal(err)
		}
		first += time.Since(start)
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{d}, make([]byte, 256<<10))
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
	b.ReportMetric(first.Seconds()/float64(b.N), "s/copy")
	b.ReportMetric(theirs.Seconds()/float64(b.N), "s/vacuum")
	b.ReportMetric(ours.Seconds()/theirs.Seconds(), "ratio")
}
