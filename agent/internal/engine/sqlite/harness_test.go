package sqlite_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engine/enginetest"
	"devflowbackup/agent/internal/engine/sqlite"
	"devflowbackup/shared/wire"
)

func testContext(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeoutCause(context.Background(), 5*time.Minute, errors.New("test took too long"))
	tb.Cleanup(cancel)
	return ctx
}

func newEngine(tb testing.TB, cfg sqlite.Config) *sqlite.Engine {
	tb.Helper()
	if cfg.Name == "" {
		cfg.Name = "files"
	}
	if cfg.SnapshotDir == "" {
		cfg.SnapshotDir = filepath.Join(tb.TempDir(), "snapshots")
	}
	e, err := sqlite.New(cfg, hclog.New(&hclog.LoggerOptions{Output: testLog{tb}, Level: hclog.Debug}))
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

type testLog struct{ tb testing.TB }

func (l testLog) Write(b []byte) (int, error) {
	l.tb.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// shell runs statements and dot commands with the public program, which takes the path as it is.
func shell(tb testing.TB, path, input string, flags ...string) string {
	tb.Helper()
	cmd := exec.CommandContext(testContext(tb), "sqlite3", append(append([]string{"-batch", "-bail"}, flags...), path)...)
	cmd.Stdin = strings.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("sqlite3 %q: %v: %s in %.200s", path, err, stderr.String(), input)
	}
	return string(out)
}

// newDatabase makes a database file and an engine that may back up its directory.
func newDatabase(tb testing.TB, sql string) (e *sqlite.Engine, path string) {
	tb.Helper()
	dir := tb.TempDir()
	path = filepath.Join(dir, "app.db")
	shell(tb, path, sql)
	return newEngine(tb, sqlite.Config{Paths: []string{dir}}), path
}

func newStaging() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return engine.StagingPrefix + hex.EncodeToString(b[:])
}

// dump dumps into a file.
func dump(tb testing.TB, e engine.Engine, path string) (file string, d engine.Dump) {
	tb.Helper()
	d, err := e.Dump(testContext(tb), engine.DumpRequest{Database: path})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { d.Close() })
	f, err := os.Create(filepath.Join(tb.TempDir(), "dump.sqlite"))
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(f, d); err != nil {
		tb.Fatal(err)
	}
	return f.Name(), d
}

// wantCode checks that an error is a failure with this code, and returns it.
func wantCode(tb testing.TB, err error, code string) *wire.Failure {
	tb.Helper()
	var f *wire.Failure
	if !errors.As(err, &f) || f.Code != code {
		tb.Fatalf("error %v, want a failure %q", err, code)
	}
	return f
}

const smallSQL = `
	CREATE TABLE people (id integer PRIMARY KEY, name text NOT NULL, born text);
	WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < 2000) INSERT INTO people SELECT n, 'person ' || n || ' 🦀', date('2000-01-01', n || ' days') FROM g;
	CREATE INDEX people_born ON people (born);
	CREATE VIEW grown AS SELECT * FROM people WHERE born < '2003-01-01';`

// content describes a database by what the public program says of it.
func content(tb testing.TB, path string) map[string]string {
	tb.Helper()
	out := map[string]string{}
	for line := range strings.SplitSeq(shell(tb, path, "SELECT type || ' ' || name || char(31) || coalesce(replace(sql, char(10), ' '), '') FROM sqlite_schema;", "-readonly"), "\n") {
		if key, value, ok := strings.Cut(line, "\x1f"); ok {
			out[key] = value
		}
	}
	if len(out) > 0 {
		out["rows"] = shell(tb, path, ".sha3sum", "-readonly")
	}
	out["settings"] = shell(tb, path, "PRAGMA user_version; PRAGMA application_id; PRAGMA page_size; PRAGMA encoding; PRAGMA auto_vacuum;", "-readonly")
	return out
}

// hostileNames are paths that could be taken for something else.
var hostileNames = []string{
	`o'brien; drop "x".db`, `-rf`, `--version`, `file:evil`, `x?mode=memory`, `x%20y%00z`, `a#b?c=d&e`, `:memory:`, `ünïcode 🦀`, `..x`,
	"new\nline", "rtl\u202eabc", "$(touch devflow-canary)", "`id` %s \\' \\\"", ` `, `a=b`, strings.Repeat("🦀", 40),
}

func harness(tb testing.TB) enginetest.Harness {
	dir := tb.TempDir()
	spool := filepath.Join(tb.TempDir(), "snapshots")
	at := func(name string) string {
		if ours(name) {
			return filepath.Join(dir, name)
		}
		return name
	}
	var names []string
	for _, name := range hostileNames {
		names = append(names, filepath.Join(dir, name))
	}
	tb.Cleanup(func() {
		if left, _ := os.ReadDir(spool); len(left) > 0 {
			tb.Errorf("copies are left: %v", left)
		}
	})
	return enginetest.Harness{
		New: func(tb testing.TB) engine.Engine {
			return newEngine(tb, sqlite.Config{Paths: []string{dir}, SnapshotDir: spool})
		},
		Create: func(tb testing.TB, name string) {
			if err := os.WriteFile(at(name), nil, 0o644); err != nil {
				tb.Fatal(err)
			}
		},
		Drop: func(tb testing.TB, name string) {
			for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
				if err := os.Remove(at(name) + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
					tb.Fatal(err)
				}
			}
		},
		FillSmall: func(tb testing.TB, name string) { shell(tb, at(name), smallSQL) },
		FillHurting: func(tb testing.TB, name string) {
			sql, err := os.ReadFile("testdata/hurting.sql")
			if err != nil {
				tb.Fatal(err)
			}
			shell(tb, at(name), string(sql))
		},
		Content: func(tb testing.TB, name string) map[string]string { return content(tb, at(name)) },
		Databases: func(tb testing.TB) []string {
			var names []string
			entries, err := os.ReadDir(dir)
			if err != nil {
				tb.Fatal(err)
			}
			for _, entry := range entries {
				name := entry.Name()
				if partOf(dir, name) {
					continue
				}
				if !ours(name) {
					name = filepath.Join(dir, name)
				}
				names = append(names, name)
			}
			return names
		},
		Names:    names,
		Name:     func(word string) string { return filepath.Join(dir, word+".db") },
		IsServer: func(string) bool { return false },
		Swap: enginetest.Swap{
			Steps: []string{
				"agent.sqlite_swap_checked", "agent.sqlite_swap_prepared", "agent.sqlite_swap_locked", "agent.sqlite_swap_exchanged", "agent.sqlite_swap_kept",
			},
			SettleSteps: []string{"agent.sqlite_settle_keep"},
			Config: func(tb testing.TB) string {
				b, err := json.Marshal(sqlite.Config{Name: "files", Paths: []string{dir}, SnapshotDir: spool})
				if err != nil {
					tb.Fatal(err)
				}
				return string(b)
			},
			// One is in WAL mode, so that both kinds take each other's place.
			Fill: func(tb testing.TB, name, mark string) {
				mode := "DELETE"
				if mark == "old" {
					mode = "WAL"
				}
				shell(tb, at(name), "PRAGMA journal_mode = "+mode+";"+smallSQL+`
					CREATE TABLE marks (mark text NOT NULL);
					INSERT INTO marks VALUES ('`+mark+`');
					CREATE TABLE writes (n integer);`)
			},
			Open: func(tb testing.TB, name string) (enginetest.Session, error) {
				p := launch(tb, at(name), "-bail")
				if err := p.try("SELECT count(*) FROM sqlite_schema;"); err != nil {
					p.Close()
					return nil, err
				}
				return p, nil
			},
			Written: func(tb testing.TB, name string) (list []int64) {
				for _, line := range strings.Fields(shell(tb, at(name), "SELECT n FROM writes;")) {
					n, err := strconv.ParseInt(line, 10, 64)
					if err != nil {
						tb.Fatal(err)
					}
					list = append(list, n)
				}
				return list
			},
			CannotEnd: true,
		},
	}
}

func ours(name string) bool {
	return strings.HasPrefix(name, engine.StagingPrefix) || strings.HasPrefix(name, engine.KeptPrefix)
}

// partOf tells whether a file is one that SQLite keeps beside a database that is there.
func partOf(dir, name string) bool {
	for _, suffix := range []string{"-wal", "-shm", "-journal"} {
		if base, ok := strings.CutSuffix(name, suffix); ok {
			_, err := os.Lstat(filepath.Join(dir, base))
			return err == nil
		}
	}
	return false
}

// openChild makes the engine of a harness in another process.
func openChild(config string) (engine.Engine, error) {
	var cfg sqlite.Config
	if err := json.Unmarshal([]byte(config), &cfg); err != nil {
		return nil, err
	}
	return sqlite.New(cfg, nil)
}
