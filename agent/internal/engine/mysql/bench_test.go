package mysql_test

import (
	"io"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"devflowbackup/agent/internal/engine"
)

// BenchmarkDump compares Dump, with fingerprint, to the dump program alone, in interleaved pairs. "ratio" is the first
// over the second.
func BenchmarkDump(b *testing.B) {
	s := server(b)
	// About 500 MB of rows as pgbench makes them.
	statements := []string{
		"CREATE TABLE accounts (aid int NOT NULL AUTO_INCREMENT PRIMARY KEY, bid int, balance int, filler char(84)) ENGINE=InnoDB",
		"INSERT INTO accounts (bid, balance, filler) VALUES (1, 0, repeat('x', 84))",
	}
	for range 22 {
		statements = append(statements, "INSERT INTO accounts (bid, balance, filler) SELECT bid, balance, filler FROM accounts")
	}
	database := newDatabase(b, s, statements...)
	e := newEngine(b, config(s))
	options := "--defaults-file=" + filepath.Join(filepath.Dir(filepath.Dir(s.Socket())), "client.cnf")
	bare := func() {
		if err := exec.Command(realBin+"mariadb-dump", options, "--single-transaction", "--routines", "--events", "--hex-blob", database).Run(); err != nil {
			b.Fatal(err)
		}
	}
	bare() // warms the caches
	var ours, theirs time.Duration
	for b.Loop() {
		start := time.Now()
		bare()
		theirs += time.Since(start)
		start = time.Now()
		d, err := e.Dump(testContext(b), engine.DumpRequest{Database: database})
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{d}, make([]byte, 256<<10))
		if err != nil {
			b.Fatal(err)
		}
		f, err := d.Fingerprint(testContext(b))
		if err != nil || !f.Exact || f.Rows() != 1<<22 {
			b.Fatalf("%+v, %v", f, err)
		}
		d.Close()
		ours += time.Since(start)
		b.SetBytes(n)
	}
	b.ReportMetric(ours.Seconds()/float64(b.N), "s/dump")
	b.ReportMetric(theirs.Seconds()/float64(b.N), "s/mariadb-dump")
	b.ReportMetric(ours.Seconds()/theirs.Seconds(), "ratio")
}
