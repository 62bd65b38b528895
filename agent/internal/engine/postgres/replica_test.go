package postgres_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engine/postgres"
	"devflowbackup/shared/pgserver"
	"devflowbackup/shared/testkit/pgkit"
)

// A hot standby is backed up as its primary would be, by an account with the documented rights.
func TestDump_Standby(t *testing.T) {
	ctx := testContext(t)
	var dir string
	s := pgkit.Start(t, func(o *pgserver.Options) { dir = o.Dir })
	if err := s.CreateRole(ctx, "reader", restorePassword); err != nil {
		t.Fatal(err)
	}
	run(t, s, "postgres", `GRANT pg_read_all_data TO reader`)
	createDatabase(t, s, "shop")
	run(t, s, "shop", smallSQL)
	signal := filepath.Join(dir, "data", "standby.signal")
	if err := os.WriteFile(signal, nil, 0o644); err != nil { //nolint:gosec // empty, and of another account's server
		t.Fatal(err)
	}
	if err := s.Restart(ctx, false); err != nil {
		t.Fatal(err)
	}
	if in := query[bool](t, s, "postgres", "SELECT pg_is_in_recovery()"); !in[0] {
		t.Fatal("it is no standby")
	}

	cfg := postgres.Config{Name: "main", Host: s.Host(), Port: s.Port(), User: "reader", Password: restorePassword}
	e := newEngine(t, cfg)
	d, err := e.Dump(ctx, engine.DumpRequest{Database: "shop", Globals: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if n, err := io.Copy(io.Discard, d); err != nil || n == 0 {
		t.Fatalf("%d bytes: %v", n, err)
	}
	if f, err := d.Fingerprint(ctx); err != nil || f.Rows() != 2000 {
		t.Errorf("fingerprint %+v: %v", f, err)
	}
	for _, finding := range e.Check(ctx) {
		if finding.Level == "error" {
			t.Errorf("%s: %s", finding.Name, finding.Detail)
		}
	}
}
