package engines_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engines"
	"devflowbackup/shared/wire"
)

var update = flag.Bool("update", false, "write the golden files")

// TestSetup: the scripts are what operators have read and run: a change is seen.
func TestSetup(t *testing.T) {
	for name, c := range map[string]struct {
		engine string
		r      engine.SetupRequest
	}{
		"postgresql":                {wire.EnginePostgreSQL, engine.SetupRequest{Account: "devflow-agent"}},
		"postgresql-in-place":       {wire.EnginePostgreSQL, engine.SetupRequest{Account: "devflow-agent", InPlace: true, Databases: []string{"shop", `o'dd "$$" \name`}}},
		"postgresql-with-passwords": {wire.EnginePostgreSQL, engine.SetupRequest{InPlace: true}},
		"mariadb":                   {wire.EngineMySQL, engine.SetupRequest{Account: "devflow-agent", MariaDB: true}},
		"mariadb-in-place":          {wire.EngineMySQL, engine.SetupRequest{Account: "devflow-agent", MariaDB: true, InPlace: true, Databases: []string{"my_shop", "a`b"}}},
		"mysql-with-passwords":      {wire.EngineMySQL, engine.SetupRequest{InPlace: true}},
		"mysql":                     {wire.EngineMySQL, engine.SetupRequest{Account: "devflow-agent"}},
		"sqlite":                    {wire.EngineSQLite, engine.SetupRequest{}},
		"sqlite-in-place":           {wire.EngineSQLite, engine.SetupRequest{InPlace: true, Paths: []string{"/srv/it's/database", "/srv/app/one.sqlite"}, Group: "web"}},
	} {
		t.Run(name, func(t *testing.T) {
			script, err := engines.Setup(c.engine, c.r)
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", "setup", name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(script.String()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got := script.String(); got != string(want) {
				t.Errorf("the script differs from %s; run with -update if that is meant:\n%s", golden, got)
			}
		})
	}
	if _, err := engines.Setup("oracle", engine.SetupRequest{}); err == nil {
		t.Error("an engine that is not there has a script")
	}
}
