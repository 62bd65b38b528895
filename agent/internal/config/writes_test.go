package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"devflowbackup/agent/internal/config"
)

func TestConfig_Writes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dotted.d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load([]byte(`
storage: {local: {dir: /var/backups/devflow}}
instances:
  - {name: pg, engine: postgresql}
  - {name: a, engine: sqlite, snapshot_dir: /scratch, paths: [/srv/*/database/*.sqlite, /data/app, /data/app/x.db, /var/www/shop.sqlite, ` + dir + `]}
  - {name: b, engine: sqlite, paths: [/var/lib/devflow-agent/own.db, /data/app]}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/var/backups/devflow", "/scratch", "/srv", "/data/app", "/var/www", dir}
	if got := c.Writes(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := config.Default().Writes(); len(got) != 0 {
		t.Errorf("the default writes to %q", got)
	}
}
