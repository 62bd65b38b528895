//go:build versions

package mysql_test

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/mysqlserver"
	"devflowbackup/shared/testkit/fakedump"
	"devflowbackup/shared/testkit/mysqlkit"
	"devflowbackup/shared/wire"
)

// versionsVariable names the directory that scripts/fetch-versions.sh filled.
const versionsVariable = "DEVFLOW_VERSIONS"

func oracle(t *testing.T) mysqlserver.Bin {
	t.Helper()
	bin, err := mysqlserver.FindIn(filepath.Join(os.Getenv(versionsVariable), "mysql"))
	if err != nil {
		t.Fatalf("%v: run `make test-versions`", err)
	}
	if bin.Flavour != mysqlserver.MySQL {
		t.Fatalf("%s is of %s", bin.Server, bin.Flavour)
	}
	return bin
}

// TestVersions_Flavours: each server is dumped by the program of its own flavour, wherever both are; with the other's alone
// nothing is started.
func TestVersions_Flavours(t *testing.T) { // fault 57
	bin := oracle(t)
	mysqlDir := filepath.Dir(bin.Client)
	for _, c := range []struct {
		name, own, other   string // the flavour, the directories of its and the other's programs
		ownDump, otherDump string
		bin                mysqlserver.Bin
	}{
		{"MySQL", mysqlDir, "/usr/bin", "mysqldump", "mariadb-dump", bin},
		{"MariaDB", "/usr/bin", mysqlDir, "mariadb-dump", "mysqldump", mysqlserver.Bin{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := mysqlkit.Start(t, func(o *mysqlserver.Options) { o.Bin = c.bin })
			makeAccounts(t, s)
			createDatabase(t, s, "shop")
			run(t, s, "shop", smallSQL...)
			for _, dirs := range [][]string{{c.own, c.other}, {c.other, c.own}} {
				cfg := config(s)
				cfg.BinDirs = dirs
				e := newEngine(t, cfg)
				dump, d := readAll(t, e, "shop")
				if info := d.Info(); info.Tool != c.ownDump || !strings.Contains(s.Bin().Version, info.ToolVersion) {
					t.Errorf("%s %s for %s", info.Tool, info.ToolVersion, s.Bin().Version)
				}
				staging, log, err := restoreTo(t, e, dump)
				if err != nil {
					t.Fatalf("%v\n%v", err, log)
				}
				want, got := content(t, s, "shop"), content(t, s, staging)
				for key, value := range want {
					if got[key] != value {
						t.Errorf("%s is\n%s\nwant\n%s", key, got[key], value)
					}
				}
			}

			fake := fakedump.Install(t, c.otherDump, fakedump.Script{Real: filepath.Join(c.other, c.otherDump)})
			// Debian's MariaDB has it under this name, too.
			if c.otherDump != "mysqldump" {
				fake.Add("mysqldump", fakedump.Script{Real: filepath.Join(c.other, c.otherDump)})
			}
			cfg := config(s)
			cfg.BinDirs = []string{fake.Dir()}
			e := newEngine(t, cfg)
			d, err := e.Dump(testContext(t), engine.DumpRequest{Database: "shop"})
			if err == nil {
				_, err = io.Copy(io.Discard, d)
				d.Close()
			}
			f := wantCode(t, err, wire.CodeToolMissing)
			if f.Retryable || !strings.Contains(f.Message, c.ownDump+" ") || !strings.Contains(f.Message, c.name) || f.Hint == "" {
				t.Errorf("%+v", f)
			}
			if runs := fake.Runs(); len(runs) > 0 {
				t.Errorf("it was run: %+v", runs)
			}
			if !slices.ContainsFunc(e.Check(testContext(t)), func(f engine.Finding) bool { return f.Name == "tool "+c.ownDump && f.Level == "error" }) {
				t.Error("Check does not tell")
			}
		})
	}
}
