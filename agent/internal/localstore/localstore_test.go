package localstore_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"devflowbackup/agent/internal/localstore"
	"devflowbackup/agent/internal/testkit/mounts"
	"devflowbackup/shared/wire"
)

func TestMain(m *testing.M) { os.Exit(mounts.Run(m)) }

const (
	day  = "pre/fix/backups/2026/11/23"
	key  = day + "/shop_2026-11-23_020304_abcdefghijklmnop.dump.zst.age"
	side = key + ".globals.sql.zst.age"
)

func store(t testing.TB) (*localstore.Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "a", "backups of this host")
	s := localstore.New(localstore.Options{Dir: dir})
	must(t, s.Make())
	return s, dir
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	if !wire.HasCode(err, code) {
		t.Fatalf("got %v, want %s", err, code)
	}
}

// files lists what is in a directory, directories with a slash.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name := strings.TrimPrefix(path, dir+"/")
		if e.IsDir() {
			name += "/"
		}
		out = append(out, name)
		return nil
	}))
	return out
}

// onlyFiles is files without directories.
func onlyFiles(t *testing.T, dir string) []string {
	t.Helper()
	return slices.DeleteFunc(files(t, dir), func(n string) bool { return strings.HasSuffix(n, "/") })
}

// put writes a file up to its partial name.
func put(t *testing.T, s *localstore.Store, key string, content []byte) localstore.Object {
	t.Helper()
	w, err := s.Create(key)
	must(t, err)
	for c := range slices.Chunk(content, 64<<10) {
		_, err := w.Write(c)
		must(t, err)
	}
	must(t, w.Close())
	w.Release()
	return localstore.Object{Key: key, Size: w.Stored()}
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestStore_Commit(t *testing.T) {
	s, dir := store(t)
	content := random(20 << 20)
	objects := []localstore.Object{put(t, s, side, []byte("side")), put(t, s, key, content)}
	if got := onlyFiles(t, dir); !slices.Equal(got, []string{key + ".globals.sql.zst.age.partial", key + ".partial"}) {
		t.Fatalf("before Commit there are %q", got)
	}
	if _, exists, err := s.Stat(key); exists || err != nil {
		t.Fatalf("a partial file is seen: %v", err)
	}
	if _, err := s.Open(key); !wire.HasCode(err, wire.CodeMissing) {
		t.Fatalf("a partial file is read: %v", err)
	}
	var seen []int
	must(t, s.Commit(objects, func() { seen = append(seen, len(onlyFiles(t, dir))) }))
	if len(seen) != 2 {
		t.Fatalf("told of %d renames", len(seen))
	}
	must(t, s.Commit(objects, nil)) // again, as after a crash
	if got := onlyFiles(t, dir); !slices.Equal(got, []string{key, side}) {
		t.Fatalf("after Commit there are %q", got)
	}
	r, err := s.Open(key)
	must(t, err)
	got, err := io.ReadAll(r)
	must(t, err)
	must(t, r.Close())
	if !bytes.Equal(got, content) || r.Size() != int64(len(content)) {
		t.Fatal("other bytes are read than were written")
	}
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		want := os.FileMode(0o600)
		if e.IsDir() {
			want = 0o700
		}
		if err == nil && info.Mode().Perm() != want {
			t.Errorf("%s has mode %04o", path, info.Mode().Perm())
		}
		return err
	}))
}

// Nothing that is there is overwritten, and nothing is removed that is not ours.
func TestStore_Foreign(t *testing.T) {
	s, dir := store(t)
	o := put(t, s, key, []byte("ours"))
	if _, err := s.Create(key); !wire.HasCode(err, wire.CodeForeignObject) {
		t.Fatalf("a second writer: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(dir, key), []byte("foul"), 0o600))
	wantCode(t, s.Commit([]localstore.Object{o}, nil), wire.CodeForeignObject)
	if got := onlyFiles(t, dir); !slices.Equal(got, []string{key, key + ".partial"}) {
		t.Fatalf("there are %q", got)
	}
	must(t, s.Discard([]localstore.Object{o}))
	if got, err := os.ReadFile(filepath.Join(dir, key)); err != nil || string(got) != "foul" {
		t.Fatalf("their file: %q, %v", got, err)
	}
	if _, err := s.Create(key); !wire.HasCode(err, wire.CodeForeignObject) {
		t.Fatalf("over a file: %v", err)
	}
	if got := onlyFiles(t, dir); !slices.Equal(got, []string{key}) {
		t.Fatalf("there are %q", got)
	}
}

func TestStore_CommitGone(t *testing.T) {
	s, dir := store(t)
	whole, cut := put(t, s, side, []byte("side")), put(t, s, key, []byte("artifact"))
	must(t, os.Truncate(filepath.Join(dir, key+".partial"), 3))
	err := s.Commit([]localstore.Object{whole, cut}, nil)
	if !errors.Is(err, localstore.ErrGone) {
		t.Fatalf("got %v", err)
	}
	if _, exists, _ := s.Stat(key); exists {
		t.Fatal("half a file got its name")
	}
	must(t, s.Discard([]localstore.Object{whole, cut})) // one of them has its name already
	if got := files(t, dir); !slices.Equal(got, []string{"pre/", "pre/fix/", "pre/fix/backups/"}) {
		t.Fatalf("left are %q", got)
	}
	if err := s.Commit([]localstore.Object{whole}, nil); !errors.Is(err, localstore.ErrGone) {
		t.Fatalf("got %v", err)
	}
}

// Where the disk cannot rename without overwriting, a name is linked and the partial one removed: a crash between leaves both.
func TestStore_CommitBetweenLinkAndUnlink(t *testing.T) {
	for _, finish := range []bool{true, false} {
		s, dir := store(t)
		o := put(t, s, key, []byte("x"))
		must(t, os.Link(filepath.Join(dir, key+".partial"), filepath.Join(dir, key)))
		var want []string
		if finish {
			must(t, s.Commit([]localstore.Object{o}, nil))
			want = []string{key}
		} else {
			must(t, s.Discard([]localstore.Object{o}))
		}
		if got := onlyFiles(t, dir); !slices.Equal(got, want) {
			t.Fatalf("left are %q, want %q", got, want)
		}
	}
}

func TestStore_Abort(t *testing.T) {
	s, dir := store(t)
	w, err := s.Create(key)
	must(t, err)
	_, err = w.Write(random(1 << 20))
	must(t, err)
	must(t, w.Abort())
	must(t, w.Abort())
	if _, err := w.Write([]byte("x")); err == nil {
		t.Fatal("an aborted file takes bytes")
	}
	if got := onlyFiles(t, dir); len(got) != 0 {
		t.Fatalf("left are %q", got)
	}
	put(t, s, key, nil)
	must(t, s.DiscardPartial(key))
	must(t, s.DiscardPartial(key))
	if got := files(t, dir); !slices.Equal(got, []string{"pre/", "pre/fix/", "pre/fix/backups/"}) {
		t.Fatalf("left are %q", got)
	}
}

func TestStore_Delete(t *testing.T) {
	s, dir := store(t)
	other := strings.Replace(key, "/23/", "/24/", 1)
	must(t, s.Commit([]localstore.Object{put(t, s, key, []byte("x")), put(t, s, other, []byte("y"))}, nil))
	put(t, s, side, nil)
	must(t, s.Delete(side))
	must(t, s.Delete(side))
	must(t, s.Delete(strings.Replace(key, "2026/11", "1999/01", 1)))
	if got := onlyFiles(t, dir); !slices.Equal(got, []string{key, other}) {
		t.Fatalf("there are %q", got)
	}
	must(t, s.Delete(key))
	if got := files(t, dir); slices.Contains(got, day+"/") || !slices.Contains(got, other) {
		t.Fatalf("there are %q", got)
	}
	must(t, s.Delete(other))
	if got := files(t, dir); !slices.Equal(got, []string{"pre/", "pre/fix/", "pre/fix/backups/"}) {
		t.Fatalf("empty directories are left: %q", got)
	}
}

// Making a file and removing the empty directory that it goes into do not meet.
func TestStore_CreateWhilePruning(t *testing.T) {
	s, dir := store(t)
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			key := strings.Replace(key, "_abcd", "_"+strings.Repeat(string(rune('a'+n)), 4), 1)
			for range 50 {
				w, err := s.Create(key)
				if err == nil {
					err = errors.Join(w.Close(), s.Commit([]localstore.Object{{Key: key}}, nil), s.Delete(key))
					w.Release()
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got := onlyFiles(t, dir); len(got) != 0 {
		t.Fatalf("left are %q", got)
	}
}

func TestStore_Read(t *testing.T) {
	s, _ := store(t)
	content := random(300 << 10)
	must(t, s.Commit([]localstore.Object{put(t, s, key, content)}, nil))
	for _, tc := range []struct{ offset, length, want int64 }{
		{0, 10, 10}, {0, wire.MaxLocalData, wire.MaxLocalData}, {299 << 10, wire.MaxLocalData, 1 << 10}, {300 << 10, 10, 0}, {1 << 40, 10, 0},
	} {
		data, size, err := s.ReadAt(key, tc.offset, tc.length)
		must(t, err)
		if size != int64(len(content)) || int64(len(data)) != tc.want || !bytes.HasPrefix(content[min(tc.offset, size):], data) {
			t.Errorf("%+v: %d bytes of %d", tc, len(data), size)
		}
	}
	for _, tc := range []struct{ offset, length int64 }{{-1, 1}, {0, -1}, {0, wire.MaxLocalData + 1}} {
		_, _, err := s.ReadAt(key, tc.offset, tc.length)
		wantCode(t, err, wire.CodeBadRequest)
	}
	_, _, err := s.ReadAt(side, 0, 1)
	wantCode(t, err, wire.CodeMissing)
	if size, exists, err := s.Stat(key); !exists || size != int64(len(content)) || err != nil {
		t.Fatalf("%d %v %v", size, exists, err)
	}
}

func TestStore_WriteFile(t *testing.T) {
	s, dir := store(t)
	manifest := key + localstore.ManifestSuffix
	must(t, s.WriteFile(manifest, []byte("one")))
	must(t, os.WriteFile(filepath.Join(dir, manifest+".partial"), []byte("of a crash, and longer"), 0o600))
	var wg sync.WaitGroup
	for range 8 { // two controllers at once
		wg.Go(func() {
			if err := s.WriteFile(manifest, []byte("two")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got, err := os.ReadFile(filepath.Join(dir, manifest)); err != nil || string(got) != "two" {
		t.Fatalf("%q %v", got, err)
	}
	if got := onlyFiles(t, dir); len(got) != 1 {
		t.Fatalf("there are %q", got)
	}
}

// FAULTS 59: no key names anything but a backup's file, and no link leads anywhere.
func TestStore_Keys(t *testing.T) {
	s, dir := store(t)
	secret := filepath.Join(filepath.Dir(dir), "canary")
	must(t, os.WriteFile(secret, []byte("canary"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "identity.json"), []byte("canary"), 0o600))
	try := func(t *testing.T, key, code string) {
		t.Helper()
		_, err := s.Create(key)
		wantCode(t, err, code)
		_, err = s.Open(key)
		wantCode(t, err, code)
		_, _, err = s.ReadAt(key, 0, 10)
		wantCode(t, err, code)
		wantCode(t, s.WriteFile(key, []byte("x")), code)
	}
	for _, bad := range []string{
		"", "/", ".", "..", "identity.json", "/etc/passwd", "../canary", "backups/2026/11/23", "backups/2026/11/23/", "backups/2026/11/23/..",
		"backups/2026/11/23/.x", "backups/2026/11/23/-x", "backups/2026/11/../x", "backups/2026/11/23/../../../canary", "./backups/2026/11/23/x",
		"a//backups/2026/11/23/x", "/backups/2026/11/23/x", "../backups/2026/11/23/x", ".x/backups/2026/11/23/x", "backups/2026/11/23/a b",
		"backups/2026/11/23/a\nb", "backups/2026/11/23/a\x00b", "backups/2026/11/23/ä", "backups/2026/11/23/x.partial", "backups/2026/11/23/x/y",
		"backups/2026/1/23/x", "a b/backups/2026/11/23/x", "backups\\2026\\11\\23\\x", "backups/2026/11/23/" + strings.Repeat("x", 250),
		strings.Repeat("a/", 600) + "backups/2026/11/23/x",
	} {
		try(t, bad, wire.CodeBadRequest)
		wantCode(t, s.Delete(bad), wire.CodeBadRequest)
	}
	if err := localstore.CheckKey("backups/2026/11/23/" + strings.Repeat("x", 247)); err != nil {
		t.Error(err)
	}
	must(t, os.MkdirAll(filepath.Join(dir, day), 0o700))
	must(t, os.Symlink(secret, filepath.Join(dir, key)))
	must(t, os.Symlink(secret, filepath.Join(dir, side+".partial")))
	must(t, os.Symlink(filepath.Dir(secret), filepath.Join(dir, "link")))
	must(t, syscall.Mkfifo(filepath.Join(dir, day, "fifo"), 0o600))
	_, err := s.Open(key)
	wantCode(t, err, wire.CodeNotAllowed)
	_, _, err = s.Stat(key)
	wantCode(t, err, wire.CodeForeignObject)
	_, err = s.Create(key)
	wantCode(t, err, wire.CodeForeignObject)
	_, err = s.Create(side)
	wantCode(t, err, wire.CodeForeignObject)
	_, err = s.Open(day + "/fifo")
	wantCode(t, err, wire.CodeForeignObject)
	try(t, "link/backups/2026/11/23/x", wire.CodeNotAllowed)
	wantCode(t, s.Commit([]localstore.Object{{Key: side, Size: 6}}, nil), wire.CodeUploadLost)
	if got, err := os.ReadFile(secret); err != nil || string(got) != "canary" {
		t.Fatalf("the canary is %q, %v", got, err)
	}
	must(t, s.Delete(key)) // the link, not what it points to
	if _, err := os.Stat(secret); err != nil {
		t.Fatal(err)
	}
}

func TestStore_Directory(t *testing.T) {
	s, dir := store(t)
	u := s.Usage()
	if u.Error != "" || u.FreeBytes <= 0 || u.TotalBytes < u.FreeBytes || u.Dir != dir {
		t.Fatalf("%+v", u)
	}
	must(t, os.Chmod(dir, 0o777)) //nolint:gosec // that is the fault
	if u := s.Usage(); !strings.Contains(u.Error, "chmod 700") {
		t.Fatalf("%+v", u)
	}
	_, err := s.Create(key)
	wantCode(t, err, wire.CodeNotAllowed)
	must(t, os.Chmod(dir, 0o700)) //nolint:gosec // a directory
	must(t, os.Rename(dir, dir+".unmounted"))
	// A directory that is not there is not one in which nothing is.
	if _, _, err := s.Stat(key); !wire.HasCode(err, wire.CodeStorageUnavailable) {
		t.Fatalf("Stat: %v", err)
	}
	for _, err := range []error{
		s.Delete(key), s.DiscardPartial(key), s.Discard([]localstore.Object{{Key: key}}), s.Commit([]localstore.Object{{Key: key}}, nil),
	} {
		wantCode(t, err, wire.CodeStorageUnavailable)
	}
	if steps := s.Probe(); len(steps) != 1 || steps[0].OK || !strings.Contains(steps[0].Detail, "mounted") {
		t.Fatalf("%+v", steps)
	}
}

func TestStore_Probe(t *testing.T) {
	s, dir := store(t)
	steps := s.Probe()
	var names []string
	for _, st := range steps {
		names = append(names, st.Name)
		if !st.OK {
			t.Errorf("%+v", st)
		}
	}
	if got := strings.Join(names, " "); got != "directory free space write sync rename read list delete" {
		t.Fatalf("steps are %s", got)
	}
	if got := files(t, dir); len(got) != 0 {
		t.Fatalf("left are %q", got)
	}
}

// Abort from beside a writer ends it, and nothing is left.
func TestWriter_AbortBeside(t *testing.T) {
	s, dir := store(t)
	for range 20 {
		w, err := s.Create(key)
		must(t, err)
		begun, done := make(chan struct{}), make(chan error, 1)
		go func() {
			b := random(1 << 20)
			for n := 0; ; n++ {
				if _, err := w.Write(b); err != nil {
					done <- err
					return
				}
				if n == 9 {
					close(begun)
				}
			}
		}()
		<-begun
		must(t, w.Abort())
		if err := <-done; !errors.Is(err, fs.ErrClosed) {
			t.Fatal(err)
		}
		if got := onlyFiles(t, dir); len(got) != 0 {
			t.Fatalf("left are %q", got)
		}
	}
}
