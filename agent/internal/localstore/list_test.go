package localstore_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devflowbackup/agent/internal/localstore"
	"devflowbackup/shared/wire"
)

// listAll pages through a listing.
func listAll(t *testing.T, s *localstore.Store, prefix string, limit int) (all []wire.LocalEntry, pages int) {
	t.Helper()
	for after := ""; ; {
		page, more, err := s.List(prefix, after, limit)
		must(t, err)
		if len(page) > limit || more && len(page) == 0 {
			t.Fatalf("a page of %d, more: %v", len(page), more)
		}
		if _, err := wire.Encode(wire.LocalReply{Entries: page, More: more}); err != nil {
			t.Fatal(err)
		}
		all = append(all, page...)
		pages++
		if !more {
			return all, pages
		}
		after = page[len(page)-1].Key
	}
}

func write(t *testing.T, path string, size int) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(t, os.WriteFile(path, make([]byte, size), 0o600))
}

// Pages of every size add up to what a sort of all keys gives, also where a directory's name continues as a file's.
func TestStore_List(t *testing.T) {
	s, dir := store(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	want := map[string]int64{}
	add := func(key string, size int) {
		write(t, filepath.Join(dir, key), size)
		want[key] = int64(size)
	}
	add(key, 700)
	add(key+".manifest.json", 3)
	add(key+".partial", 0)
	add("pre/fix/backups/a/x", 1)
	add("pre/fix/backups/a/b/y", 1)
	add("pre/fix/backups/a/b.c", 2)
	add("pre/fix/backups/a.b", 1)
	add("pre/fix/backups/a-b/z", 1)
	add("pre/fix/backups/a!", 1)
	add("pre/fix/backups/a0", 1)
	add("pre/fix/backups/ünï <&> \"quoted\"\n", 1)
	for range 150 {
		add(fmt.Sprintf("pre/fix/backups/2026/%02d/%02d/%c%x", 1+rnd.IntN(3), 1+rnd.IntN(3), "-.a_0"[rnd.IntN(5)], rnd.Uint32N(200)), rnd.IntN(50))
	}
	write(t, filepath.Join(dir, "pre/fix/elsewhere"), 1)
	write(t, filepath.Join(dir, "pre/fix/backups0"), 1)
	write(t, filepath.Join(dir, "pre/backups/other"), 1)
	must(t, os.MkdirAll(filepath.Join(dir, "pre/fix/backups/2026/empty"), 0o700))
	var keys []string
	for k := range want {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, limit := range []int{1, 2, 3, 7, 50, len(keys) - 1, len(keys), len(keys) + 1, wire.MaxLocalList} {
		got, pages := listAll(t, s, "pre/fix/backups/", limit)
		var gotKeys []string
		for _, e := range got {
			gotKeys = append(gotKeys, e.Key)
			if e.Size != want[e.Key] || e.ModifiedAt == 0 {
				t.Fatalf("%+v, want %d bytes", e, want[e.Key])
			}
		}
		if !slices.Equal(gotKeys, keys) {
			t.Fatalf("pages of %d gave\n%q\nwant\n%q", limit, gotKeys, keys)
		}
		if n := (len(keys) + limit - 1) / limit; pages != n {
			t.Errorf("%d pages of %d, want %d", pages, limit, n)
		}
	}
	if got, _ := listAll(t, s, "pre/none/backups/", 5); len(got) != 0 {
		t.Fatalf("below nothing lies %+v", got)
	}
}

// What is no file is shown and not entered, what no message can hold is left out, long names make short pages.
func TestStore_List_Odd(t *testing.T) {
	s, dir := store(t)
	at := filepath.Join(dir, "backups/2026/01/02")
	write(t, filepath.Join(at, "f"), 5)
	outside := t.TempDir()
	write(t, filepath.Join(outside, "secret"), 9)
	must(t, os.Symlink(outside, filepath.Join(at, "link")))
	must(t, os.Symlink(outside, filepath.Join(dir, "backups", "z")))
	must(t, unix.Mkfifo(filepath.Join(at, "pipe"), 0o600))
	write(t, filepath.Join(at, "not\xff utf8"), 1)
	got, _ := listAll(t, s, "backups/", 10)
	var keys []string
	for _, e := range got {
		keys = append(keys, fmt.Sprintf("%s %d", e.Key, e.Size))
	}
	if want := []string{"backups/2026/01/02/f 5", "backups/2026/01/02/link 0", "backups/2026/01/02/pipe 0", "backups/z 0"}; !slices.Equal(keys, want) {
		t.Fatalf("listed %q, want %q", keys, want)
	}

	s, dir = store(t)
	for i := range 900 {
		write(t, filepath.Join(dir, "backups", fmt.Sprintf("%03d", i)+strings.Repeat("\x01", 240)), 0)
	}
	got, pages := listAll(t, s, "backups/", wire.MaxLocalList)
	if len(got) != 900 || pages < 5 {
		t.Fatalf("%d files on %d pages", len(got), pages)
	}
}

func TestStore_List_Refuses(t *testing.T) {
	s, dir := store(t)
	for _, prefix := range []string{"", "backups", "/backups/", "../backups/", "a/../backups/", "a/", "a//backups/", ".x/backups/", strings.Repeat("a", 1020) + "/backups/"} {
		_, _, err := s.List(prefix, "", 10)
		wantCode(t, err, wire.CodeBadRequest)
	}
	for _, limit := range []int{-1, 0, wire.MaxLocalList + 1} {
		_, _, err := s.List("backups/", "", limit)
		wantCode(t, err, wire.CodeBadRequest)
	}
	must(t, os.RemoveAll(dir))
	_, _, err := s.List("backups/", "", 10)
	wantCode(t, err, wire.CodeStorageUnavailable) // a disk that is not mounted holds not nothing
}
