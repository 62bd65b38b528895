package sqlite_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engine/sqlite"
)

func TestDiscover(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"a/database", "b/database", "b/other", "1/2/3/4", "many"} {
		if err := os.MkdirAll(at(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	databases := []string{"a/database/one.sqlite", "b/database/two.sqlite", "b/database/.hidden", "b/other/x.db", "1/2/3/deep.db", "1/2/3/4/too-deep.db", "with[brackets].db"}
	for _, name := range databases {
		shell(t, at(name), smallSQL)
	}
	for name, text := range map[string]string{"empty.db": "", "empty.txt": "", "text.db": "not one", engine.StagingPrefix + "x": "SQLite format 3\x00", "a/database/one.sqlite-journal": ""} {
		if err := os.WriteFile(at(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(at("b"), at("c")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		cfg  sqlite.Config
		want []string
	}{
		"Directory": {sqlite.Config{Paths: []string{dir}}, []string{"1/2/3/deep.db", "a/database/one.sqlite", "b/database/.hidden", "b/database/two.sqlite", "b/other/x.db", "empty.db", "with[brackets].db"}},
		"Pattern":   {sqlite.Config{Paths: []string{at("*/database/*.sqlite")}}, []string{"a/database/one.sqlite", "b/database/two.sqlite"}},
		"Patterns":  {sqlite.Config{Paths: []string{at("[ab]/database"), at("?/other")}, Exclude: []string{"*/.hidden"}}, []string{"a/database/one.sqlite", "b/database/two.sqlite", "b/other/x.db"}},
		"Files":     {sqlite.Config{Paths: []string{at("empty.txt"), at("text.db"), at("b/other/x.db"), at("none.db"), at(`with\[brackets].db`)}}, []string{"b/other/x.db", "with[brackets].db"}},
		"Include":   {sqlite.Config{Paths: []string{dir, at("b")}, Include: []string{"*/b/*"}}, []string{"b/database/.hidden", "b/database/two.sqlite", "b/other/x.db"}},
		"Link":      {sqlite.Config{Paths: []string{at("c"), at("c/database"), at("c/*/x.db")}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := newEngine(t, c.cfg).Discover(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range found {
				got = append(got, strings.TrimPrefix(d.Name, dir+"/"))
				if d.Name != at("empty.db") && d.SizeBytes < 4096 {
					t.Errorf("%+v", d)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("found %q\nwant  %q", got, c.want)
			}
		})
	}
	// A search that finds no end says what it has.
	for i := range 10_001 {
		if err := os.WriteFile(at(fmt.Sprintf("many/%d", i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	e := newEngine(t, sqlite.Config{Paths: []string{at("a"), at("many"), at("b")}})
	if found, err := e.Discover(testContext(t)); err != nil || len(found) != 1 {
		t.Errorf("%v, %v", found, err)
	}
	if there, err := e.Exists(testContext(t), newStaging()); err != nil || there {
		t.Errorf("files count as directories: %v, %v", there, err)
	}
}

func TestServer_Identity(t *testing.T) {
	identity := func(name string) string {
		s, err := newEngine(t, sqlite.Config{Name: name, Paths: []string{"/srv"}}).Server(testContext(t))
		if err != nil || s.Identity == "" {
			t.Fatal(s, err)
		}
		return s.Identity
	}
	if first := identity("a"); first != identity("a") || first == identity("b") {
		t.Error("the identity is not that of machine and instance")
	}
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	good, text, linked, open := filepath.Join(dir, "good.db"), filepath.Join(dir, "text.db"), filepath.Join(dir, "linked.db"), filepath.Join(dir, "open")
	shell(t, good, smallSQL)
	if err := os.WriteFile(text, []byte("no database"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(good, linked); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	e := newEngine(t, sqlite.Config{Paths: []string{good, text, linked, filepath.Join(dir, "none.db"), filepath.Join(dir, "*.none")}, SnapshotDir: open})
	findings := map[string]engine.Finding{}
	for _, f := range e.Check(testContext(t)) {
		findings[f.Name] = f
		if f.Level != "ok" && f.Hint == "" && f.Name != fmt.Sprintf("path %q", filepath.Join(dir, "none.db")) {
			t.Errorf("no hint: %+v", f)
		}
	}
	for name, level := range map[string]string{
		fmt.Sprintf("path %q", good): "ok", fmt.Sprintf("path %q", text): "error", fmt.Sprintf("path %q", linked): "error", fmt.Sprintf("path %q", filepath.Join(dir, "none.db")): "error",
		fmt.Sprintf("path %q", filepath.Join(dir, "*.none")): "warning", "snapshot directory": "error", "restore": "ok", "tool sqlite": "ok",
	} {
		if findings[name].Level != level {
			t.Errorf("%s: %+v", name, findings[name])
		}
	}
}

func TestNew_Refuses(t *testing.T) {
	for _, cfg := range []sqlite.Config{
		{}, {Paths: []string{"relative"}}, {Paths: []string{"/"}}, {Paths: []string{"/a/../b"}}, {Paths: []string{"/a/[b"}}, {Paths: []string{"/a\x00"}}, {Paths: []string{"/a"}, SnapshotDir: "relative"},
	} {
		if cfg.SnapshotDir == "" {
			cfg.SnapshotDir = t.TempDir()
		}
		if _, err := sqlite.New(cfg, nil); err == nil {
			t.Errorf("%+v is taken", cfg)
		}
	}
}
