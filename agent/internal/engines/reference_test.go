package engines_test

import (
	"testing"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engines"
	"devflowbackup/shared/testkit/reference"
	"devflowbackup/shared/wire"
)

// docs/engines.md has the scripts that `devflow-agent setup --print` prints.
func TestReference(t *testing.T) {
	inPlace := engine.SetupRequest{Account: "devflow-agent", InPlace: true, Databases: []string{"shop"}}
	maria := inPlace
	maria.MariaDB = true
	for _, c := range []struct {
		part, engine, language string
		r                      engine.SetupRequest
	}{
		{"postgresql", wire.EnginePostgreSQL, "sql", inPlace},
		{"mariadb", wire.EngineMySQL, "sql", maria},
		{"mysql", wire.EngineMySQL, "sql", inPlace},
		{"sqlite", wire.EngineSQLite, "sh", engine.SetupRequest{InPlace: true}},
	} {
		script, err := engines.Setup(c.engine, c.r)
		if err != nil {
			t.Fatal(err)
		}
		reference.Hold(t, "docs/engines.md", c.part, "```"+c.language+"\n"+script.String()+"```\n")
	}
}
