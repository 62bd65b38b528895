//go:build versions

package postgres_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engine/postgres"
	"devflowbackup/shared/pgserver"
	"devflowbackup/shared/testkit/fakedump"
	"devflowbackup/shared/testkit/pgkit"
	"devflowbackup/shared/wire"
)

// versionsVariable names the directory that scripts/fetch-versions.sh filled.
const versionsVariable = "DEVFLOW_VERSIONS"

func fetched(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(os.Getenv(versionsVariable), name)
	if _, err := os.Stat(filepath.Join(dir, "bin")); err != nil {
		t.Fatalf("%v: run `make test-versions`", err)
	}
	return dir
}

// serverOf runs a server of this major version, with the restore role.
func serverOf(t *testing.T, major int) *pgserver.Server {
	t.Helper()
	var bin pgserver.Bin
	var err error
	if major == installedMajor(t) {
		bin, err = pgserver.FindMajor(major)
	} else {
		bin, err = pgserver.FindIn(fetched(t, fmt.Sprintf("postgresql-%d", major)))
	}
	if err != nil {
		t.Fatal(err)
	}
	s := pgkit.Start(t, func(o *pgserver.Options) { o.Bin = bin })
	if s.Bin().Major != major {
		t.Fatalf("PostgreSQL %s runs, not %d", s.Bin().Version, major)
	}
	makeRestoreRole(t, s)
	return s
}

// installedMajor is the version of the installed PostgreSQL, which must be older than all that were fetched.
func installedMajor(t *testing.T) int {
	t.Helper()
	bin, err := pgserver.Find()
	if err != nil {
		t.Fatal(err)
	}
	if bin.Major > 15 {
		t.Fatalf("PostgreSQL %d is installed: these tests want one that is older than 16", bin.Major)
	}
	return bin.Major
}

// clientsOf are the programs of this major version.
func clientsOf(t *testing.T, major int) string {
	t.Helper()
	if major != installedMajor(t) {
		return filepath.Join(fetched(t, fmt.Sprintf("postgresql-client-%d", major)), "bin")
	}
	bin, err := pgserver.FindMajor(major)
	if err != nil {
		t.Fatal(err)
	}
	return bin.Dir
}

func allClients(t *testing.T) []string {
	return []string{clientsOf(t, 18), clientsOf(t, installedMajor(t)), clientsOf(t, 17)}
}

func engineWith(t *testing.T, s *pgserver.Server, clients ...string) *postgres.Engine {
	t.Helper()
	cfg := config(s)
	cfg.BinDirs = clients
	return newEngine(t, cfg)
}

func major(version string) string {
	text, _, _ := strings.Cut(version, ".")
	return text
}

// TestVersions_OldDump: a pg_dump that is older than the server is not even started.
func TestVersions_OldDump(t *testing.T) { // fault 57
	old := installedMajor(t)
	for _, c := range []struct {
		server  int
		clients []int
	}{{16, []int{old}}, {17, []int{old}}, {18, []int{old, 17}}} {
		t.Run(strconv.Itoa(c.server), func(t *testing.T) {
			s := serverOf(t, c.server)
			createDatabase(t, s, "shop")
			run(t, s, "shop", smallSQL)
			var fakes []*fakedump.Fake
			var dirs []string
			for _, client := range c.clients {
				program := filepath.Join(clientsOf(t, client), "pg_dump")
				// Real ones that note their starts.
				fake := fakedump.Install(t, "pg_dump", fakedump.Script{Real: program})
				fakes, dirs = append(fakes, fake), append(dirs, fake.Dir())

				// The fault: this is what it would have said.
				cmd := exec.Command(program, "--format=custom")
				cmd.Env = []string{"PGHOST=" + s.Host(), "PGPORT=" + strconv.Itoa(s.Port()), "PGUSER=" + s.Superuser(), "PGPASSFILE=" + s.Passfile(), "PGDATABASE=shop"}
				if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "server version mismatch") {
					t.Errorf("pg_dump %d: %v, %.200q", client, err, out)
				}
			}
			e := engineWith(t, s, dirs...)
			_, err := e.Dump(testContext(t), engine.DumpRequest{Database: "shop"})
			f := wantCode(t, err, wire.CodeToolTooOld)
			if f.Retryable || !strings.Contains(f.Message, fmt.Sprintf("version %d or newer", c.server)) ||
				!strings.Contains(f.Hint, fmt.Sprintf("postgresql-client-%d", c.server)) {
				t.Errorf("%+v", f)
			}
			for i, client := range c.clients {
				if !strings.Contains(f.Message, fmt.Sprintf("%d.", client)) {
					t.Errorf("it does not tell of %d: %s", client, f.Message)
				}
				if runs := fakes[i].Runs(); len(runs) > 0 {
					t.Errorf("pg_dump %d was run: %+v", client, runs)
				}
			}
			if finding := findingOf(e.Check(testContext(t)), "tool pg_dump"); finding.Level != "error" || finding.Hint == "" {
				t.Errorf("Check: %+v", finding)
			}
		})
	}
}

// TestVersions_OldRestore: a pg_restore that is older than the pg_dump that made the dump says so, and nothing is made.
func TestVersions_OldRestore(t *testing.T) {
	old := installedMajor(t)
	source, target := serverOf(t, 18), serverOf(t, old)
	createDatabase(t, source, "shop")
	run(t, source, "shop", smallSQL)
	dump, _ := dumpAll(t, engineWith(t, source, allClients(t)...), "shop")

	e := engineWith(t, target, clientsOf(t, old))
	_, _, err := restoreAll(t, e, dump)
	f := wantCode(t, err, wire.CodeToolTooOld)
	if f.Retryable || !strings.Contains(f.Message, "pg_restore "+strconv.Itoa(old)+".") || !strings.Contains(f.Hint, "postgresql-client") {
		t.Errorf("%+v", f)
	}
	if left := query[string](t, target, "postgres", "SELECT datname::text FROM pg_database WHERE starts_with(datname, $1)", engine.StagingPrefix); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	v, err := e.Validate(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Abort()
	if _, err = v.Write(dump); err == nil {
		err = v.Close()
	}
	if f := wantCode(t, err, wire.CodeToolTooOld); f.Hint == "" {
		t.Errorf("%+v", f)
	}
}

// TestVersions_Choice: of programs of several versions, pg_dump is the oldest that is not older than the server, so that
// the dump can be restored in most places, and what only reads a dump is the newest.
func TestVersions_Choice(t *testing.T) {
	old := installedMajor(t)
	for server, want := range map[int]int{old: old, 16: 17, 17: 17, 18: 18} {
		t.Run(strconv.Itoa(server), func(t *testing.T) {
			s := serverOf(t, server)
			createDatabase(t, s, "shop")
			run(t, s, "shop", smallSQL)
			// By directory and by pattern.
			for _, dirs := range [][]string{allClients(t), {clientsOf(t, old), filepath.Join(os.Getenv(versionsVariable), "postgresql-client-*/bin")}} {
				e := engineWith(t, s, dirs...)
				d, err := e.Dump(testContext(t), engine.DumpRequest{Database: "shop", Globals: true})
				if err != nil {
					t.Fatal(err)
				}
				info := d.Info()
				_, err = io.Copy(io.Discard, d)
				d.Close()
				if err != nil || major(info.ToolVersion) != strconv.Itoa(want) || major(info.Server.Version) != strconv.Itoa(server) {
					t.Errorf("pg_dump %s of %s, want %d; %v", info.ToolVersion, info.Server.Version, want, err)
				}
			}
		})
	}
	t.Run("NewestReads", func(t *testing.T) {
		s := serverOf(t, 18)
		createDatabase(t, s, "shop")
		run(t, s, "shop", smallSQL)
		e := engineWith(t, s, allClients(t)...)
		dump, _ := dumpAll(t, e, "shop")
		// The engine of an older server, with the same programs.
		v, err := engineWith(t, serverOf(t, old), allClients(t)...).Validate(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		defer v.Abort()
		if _, err := v.Write(dump); err != nil {
			t.Fatal(err)
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestVersions_Move restores dumps into servers of other versions, there in the place of a database, and undoes it: into newer ones
// everything, into older ones what they know.
func TestVersions_Move(t *testing.T) {
	old := installedMajor(t)
	servers := map[int]*pgserver.Server{}
	for _, major := range []int{old, 16, 17, 18} {
		servers[major] = serverOf(t, major)
	}
	for from, fill := range map[int]func(s *pgserver.Server){
		old: func(s *pgserver.Server) { fillHurting(t, s, "shop") },
		18:  func(s *pgserver.Server) { run(t, s, "shop", smallSQL) },
	} {
		source := servers[from]
		createDatabase(t, source, "shop")
		fill(source)
		dump, want := dumpAll(t, engineWith(t, source, allClients(t)...), "shop")
		rows := onlyRows(content(t, source, "shop"))
		if len(rows) == 0 {
			t.Fatal("there is nothing to compare")
		}
		for to, target := range servers {
			t.Run(fmt.Sprintf("%dTo%d", from, to), func(t *testing.T) {
				e := engineWith(t, target, allClients(t)...)
				name, log, err := restoreAll(t, e, dump)
				if err != nil {
					t.Fatalf("%v\n%s", err, log)
				}
				got, err := e.Fingerprint(testContext(t), name)
				if err != nil {
					t.Fatal(err)
				}
				if diff := want.Diff(got); len(diff) > 0 {
					t.Errorf("fingerprint differs: %q", diff)
				}
				live := fmt.Sprintf("live_of_%d", from)
				createDatabase(t, target, live)
				run(t, target, live, "CREATE TABLE was (n int); INSERT INTO was VALUES (1)")
				before := content(t, target, live)
				kept := putInPlace(t, e, name, live)
				have := onlyRows(content(t, target, live))
				for table, sum := range rows {
					if have[table] != sum {
						t.Errorf("%s: %s, want %s", table, have[table], sum)
					}
				}
				again := putInPlace(t, e, kept, live)
				if now := content(t, target, live); !maps.Equal(now, before) {
					t.Errorf("undone it has %v, it had %v", now, before)
				}
				if err := e.Remove(testContext(t), again); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// putInPlace swaps a database that was restored or kept into the place of another one, and returns the name under which that is kept.
func putInPlace(t *testing.T, e *postgres.Engine, staged, live string) (kept string) {
	t.Helper()
	found, err := e.Inspect(testContext(t), engine.InspectRequest{Target: live, InPlace: true})
	if err != nil {
		t.Fatal(err)
	}
	kept = engine.KeptPrefix + strings.TrimPrefix(newStaging(), engine.StagingPrefix)
	if _, err := e.Swap(testContext(t), engine.SwapRequest{Staged: staged, Target: live, Keep: kept, Identity: found.Identity}); err != nil {
		t.Fatalf("%v, %+v", err, found.Problems)
	}
	return kept
}

func onlyRows(content map[string]string) map[string]string {
	rows := map[string]string{}
	for key, sum := range content {
		if strings.HasPrefix(key, "rows ") {
			rows[key] = sum
		}
	}
	return rows
}

// TestVersions_ErrorsCount: a pg_restore that goes on past the setting that an older server refuses does not go on past
// anything else.
func TestVersions_ErrorsCount(t *testing.T) {
	s := serverOf(t, 16)
	run(t, s, "postgres", "CREATE ROLE auditor")
	createDatabase(t, s, "shop")
	run(t, s, "shop", smallSQL+"; CREATE POLICY seen ON people TO auditor USING (true)")
	e := engineWith(t, s, clientsOf(t, 17))
	dump, _ := dumpAll(t, e, "shop")
	if _, log, err := restoreAll(t, e, dump); err != nil {
		t.Fatalf("%v\n%s", err, log)
	} else if !strings.Contains(log, "transaction_timeout") {
		t.Errorf("the server took the setting: %s", log)
	}
	// The restored one names the role, too.
	for _, name := range query[string](t, s, "postgres", "SELECT datname::text FROM pg_database WHERE starts_with(datname, $1)", engine.StagingPrefix) {
		if err := e.Remove(context.WithoutCancel(testContext(t)), name); err != nil {
			t.Fatal(err)
		}
	}
	run(t, s, "shop", "DROP POLICY seen ON people; DROP OWNED BY auditor; DROP ROLE auditor")
	_, _, err := restoreAll(t, e, dump)
	f := wantCode(t, err, wire.CodeToolFailed)
	if f.Retryable || !strings.Contains(f.Message, "auditor") || strings.Contains(f.Message, "transaction_timeout") {
		t.Errorf("%+v", f)
	}
	// A cut is an error of its own, and no count tells of it.
	_, _, err = restoreAll(t, e, dump[:len(dump)-200])
	wantCode(t, err, wire.CodeCorrupt)
	if left := query[string](t, s, "postgres", "SELECT datname::text FROM pg_database WHERE starts_with(datname, $1)", engine.StagingPrefix); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
