package sqlite_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engine/sqlite"
	"devflowbackup/shared/wire"
)

// restore restores a dump into the directory of target and returns the staging name.
func restore(tb testing.TB, e engine.Engine, target, file string) (staging string, r engine.Restore) {
	tb.Helper()
	staging = newStaging()
	r, err := e.Restore(testContext(tb), engine.RestoreRequest{Database: staging, Target: target})
	if err != nil {
		tb.Fatal(err)
	}
	if err := feed(r, file); err != nil {
		tb.Fatal(err)
	}
	return staging, r
}

// A restored file belongs to whom the directory belongs, and is nobody's before it is complete.
func TestRestore_OwnerAndMode(t *testing.T) {
	e, path := newDatabase(t, smallSQL)
	dir := filepath.Dir(path)
	file, _ := dump(t, e, path)
	if err := os.Chown(dir, 1234, 2345); err != nil {
		t.Fatal(err)
	}
	staging := newStaging()
	r, err := e.Restore(testContext(t), engine.RestoreRequest{Database: staging, Target: filepath.Join(dir, "new.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Abort()
	want := func(mode os.FileMode, uid, gid uint32) {
		t.Helper()
		info, err := os.Stat(filepath.Join(dir, staging))
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Sys().(*syscall.Stat_t); info.Mode() != mode || st.Uid != uid || st.Gid != gid {
			t.Errorf("mode %v, owner %d:%d", info.Mode(), st.Uid, st.Gid)
		}
	}
	want(0o600, 0, 0)
	if err := feed(r, file); err != nil {
		t.Fatal(err)
	}
	want(0o640, 1234, 2345)
}

// A staging file is found again after a restart, wherever in the listed directories it lies.
func TestRestore_FoundAfterRestart(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", "b", "c")
	globbed := filepath.Join(dir, "sites", "shop", "database")
	for _, d := range []string{deep, globbed} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	source, path := newDatabase(t, smallSQL)
	file, _ := dump(t, source, path)
	for name, c := range map[string]struct {
		paths  []string
		target string
	}{
		"Deep":    {[]string{filepath.Join(dir, "nowhere"), dir}, filepath.Join(deep, "new.db")},
		"Pattern": {[]string{filepath.Join(dir, "sites", "*", "database", "*.sqlite")}, filepath.Join(globbed, "new.sqlite")},
		"OneFile": {[]string{filepath.Join(deep, "one.db")}, filepath.Join(deep, "one.db")},
	} {
		t.Run(name, func(t *testing.T) {
			fresh := func() engine.Engine { return newEngine(t, sqlite.Config{Paths: c.paths}) }
			for _, publish := range []bool{false, true} {
				staging, _ := restore(t, fresh(), c.target, file)
				if there, err := fresh().Exists(testContext(t), staging); err != nil || !there {
					t.Fatalf("%v, %v", there, err)
				}
				if publish {
					if err := fresh().Publish(testContext(t), staging, c.target); err != nil {
						t.Fatal(err)
					}
					if there, err := fresh().Exists(testContext(t), c.target); err != nil || !there {
						t.Errorf("%v, %v", there, err)
					}
				}
				if err := fresh().Remove(testContext(t), staging); err != nil {
					t.Error(err)
				}
				if there, err := fresh().Exists(testContext(t), staging); err != nil || there {
					t.Errorf("%v, %v", there, err)
				}
			}
			if content(t, c.target)["rows"] != content(t, path)["rows"] {
				t.Error("the published database is another")
			}
		})
	}
}

// Journals that lie at the new name would be taken for the restored database's own.
func TestPublish_SideFilesInTheWay(t *testing.T) {
	e, path := newDatabase(t, smallSQL)
	file, _ := dump(t, e, path)
	target := filepath.Join(filepath.Dir(path), "new.db")
	staging, r := restore(t, e, target, file)
	defer r.Abort()
	for _, suffix := range []string{"-wal", "-shm", "-journal", ""} {
		if err := os.Symlink("nowhere", target+suffix); err != nil {
			t.Fatal(err)
		}
		wantCode(t, e.Publish(testContext(t), staging, target), wire.CodeTargetExists)
		if err := os.Remove(target + suffix); err != nil {
			t.Fatal(err)
		}
	}
	elsewhere := filepath.Join(filepath.Dir(path), "sub", "new.db")
	if err := os.Mkdir(filepath.Dir(elsewhere), 0o755); err != nil {
		t.Fatal(err)
	}
	wantCode(t, e.Publish(testContext(t), staging, elsewhere), wire.CodeBadRequest)
	wantCode(t, e.Publish(testContext(t), staging, "/tmp/new.db"), wire.CodeNotAllowed)
	if err := e.Publish(testContext(t), staging, target); err != nil {
		t.Fatal(err)
	}
	r.Abort()
	if _, err := os.Stat(target); err != nil {
		t.Errorf("Abort removed what was published: %v", err)
	}
}

// Bytes after the end, and damage in any page, are found; what was of no use before the dump is only told.
func TestRestore_Damage(t *testing.T) {
	e, path := newDatabase(t, smallSQL+`CREATE TABLE orphan (id REFERENCES people (id)); INSERT INTO orphan VALUES (77777);`)
	dir := filepath.Dir(path)
	file, _ := dump(t, e, path)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	open := map[string]func() (engine.Restore, error){
		"Restore": func() (engine.Restore, error) {
			return e.Restore(testContext(t), engine.RestoreRequest{Database: newStaging(), Target: filepath.Join(dir, "new.db")})
		},
		"Validate": func() (engine.Restore, error) { return e.Validate(testContext(t)) },
	}
	run := func(t *testing.T, open func() (engine.Restore, error), input []byte) (engine.Restore, error) {
		t.Helper()
		r, err := open()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Abort()
		// In small writes, which split the header.
		if _, err := io.CopyBuffer(struct{ io.Writer }{r}, struct{ io.Reader }{bytes.NewReader(input)}, make([]byte, 7)); err != nil {
			return r, err
		}
		return r, r.Close()
	}
	for name, open := range open {
		r, err := run(t, open, whole)
		if err != nil {
			t.Errorf("%s of a good dump: %v", name, err)
		}
		if name == "Restore" && !strings.Contains(r.Log(), "foreign_key_check") {
			t.Errorf("the orphan is not told: %q", r.Log())
		}
		for what, input := range map[string][]byte{"AByteMore": append(bytes.Clone(whole), 0), "APageMore": append(bytes.Clone(whole), make([]byte, 4096)...), "APageLess": whole[:len(whole)-4096]} {
			if _, err := run(t, open, input); !wire.HasCode(err, wire.CodeCorrupt) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
		for page := range len(whole) / 4096 {
			input := bytes.Clone(whole)
			clear(input[page*4096+8 : page*4096+2048])
			if _, err := run(t, open, input); !wire.HasCode(err, wire.CodeCorrupt) {
				t.Errorf("%s, page %d: %v", name, page, err)
			}
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}

// The directory of the target is not looked for through links, and must be there.
func TestRestore_Directory(t *testing.T) {
	e, path := newDatabase(t, smallSQL)
	dir := filepath.Dir(path)
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "sub"), 0o755), os.Symlink("/tmp", filepath.Join(dir, "linked")), os.WriteFile(filepath.Join(dir, "file"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	for target, code := range map[string]string{"linked/new.db": wire.CodeNotAllowed, "nowhere/new.db": wire.CodeBadRequest, "file/new.db": wire.CodeBadRequest, "linked": wire.CodeTargetExists, "sub": wire.CodeTargetExists} {
		_, err := e.Restore(testContext(t), engine.RestoreRequest{Database: newStaging(), Target: filepath.Join(dir, target)})
		wantCode(t, err, code)
	}
}
