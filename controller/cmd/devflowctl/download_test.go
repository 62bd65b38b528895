package main_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/app/apitest"
)

// world is a controller with one completed backup, in a store or on the database's host.
type world struct {
	*rig
	agent   *apitest.Agent
	backup  controller.Backup
	id      string
	content apitest.Content
	name    string // of the artifact's file
}

func backedUp(t *testing.T, local bool, order ...string) *world {
	t.Helper()
	r := start(t)
	r.Project("shop")
	if local {
		r.LocalStorage("here")
		r.ctl("storage", "default", "here").ends(0)
	} else {
		r.Storage("s3")
	}
	w := &world{rig: r, agent: r.Agent("db-1", "shop", "app")}
	w.another(order...)
	return w
}

// another makes one more backup, which is the world's then.
func (w *world) another(order ...string) {
	w.Helper()
	w.ctl(append([]string{"backup", "create", "shop"}, order...)...).ends(0)
	offer := w.Start(w.agent)[0]
	w.Complete(w.agent, offer)
	w.backup = w.backups()[0]
	w.id, w.name = fmt.Sprint(w.backup.ID), w.backup.FileName
	w.Fleet.With(func() { w.content = w.Fleet.Content[offer.Key] })
}

// holds checks a whole file, and that nothing else is left of its download.
func (w *world) holds(file string, want []byte) {
	w.Helper()
	got, err := os.ReadFile(filepath.Join(w.home, file))
	if err != nil || !bytes.Equal(got, want) {
		w.Fatalf("%s has %d bytes of %d: %v", file, len(got), len(want), err)
	}
	if info, err := os.Stat(filepath.Join(w.home, file)); err != nil || info.Mode().Perm() != 0o600 {
		w.Errorf("%s has mode %o, %v", file, info.Mode().Perm(), err)
	}
	w.none(file + ".part*")
}

func (w *world) none(pattern string) {
	w.Helper()
	if left, err := filepath.Glob(filepath.Join(w.home, pattern)); err != nil || len(left) != 0 {
		w.Errorf("%v is left, %v", left, err)
	}
}

// behind puts a handler before the API.
func (w *world) behind(handle func(rw http.ResponseWriter, req *http.Request)) {
	w.Helper()
	srv := httptest.NewServer(http.HandlerFunc(handle))
	w.Cleanup(srv.Close)
	w.env[0] = "DEVFLOW_URL=" + srv.URL
}

func isLink(req *http.Request) bool { return strings.Contains(req.URL.Path, "/downloads/") }

// cutWriter breaks the connection after n bytes.
type cutWriter struct {
	http.ResponseWriter
	n int
}

func (c *cutWriter) Write(p []byte) (int, error) {
	if len(p) >= c.n {
		_, _ = c.ResponseWriter.Write(p[:c.n])
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	c.n -= len(p)
	return c.ResponseWriter.Write(p)
}

func TestDownload_toFile(t *testing.T) {
	t.Parallel()
	w := backedUp(t, true)
	w.ctl("backup", "download", w.id).ends(0, w.name, *w.backup.Checksum)
	w.holds(w.name, w.content.Stored)
	w.ctl("backup", "download", w.id).ends(1, "is there already", "--force")
	w.ctl("backup", "download", w.id, "--force").ends(0)

	w.ctl("backup", "download", w.id, "-o", "mine.bin").ends(0)
	w.holds("mine.bin", w.content.Stored)
	w.ctl("backup", "download", w.id, "-o", "new/dir/").ends(0)
	w.holds("new/dir/"+w.name, w.content.Stored)
	w.ctl("backup", "download", w.id, "-o", "nowhere/x").ends(1, "nowhere")
	if err := os.Mkdir(filepath.Join(w.home, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	got := into[[]struct {
		File, Object, Format, SHA256 string
		Size                         int64
	}](w.ctl("backup", "download", w.id, "-o", "d", "--decrypt", "--output", "json").ends(0))
	if len(got) != 1 || got[0].Size != int64(len(w.content.Dump)) || got[0].SHA256 != sum(w.content.Dump) || got[0].Format != "dump" || strings.Contains(got[0].File, ".age") {
		t.Fatalf("the answer is %+v", got)
	}
	w.holds(got[0].File, w.content.Dump)

	// Everything there is. Dump and stored file have names of their own, so neither stands in the way of the other.
	w.ctl("backup", "download", w.id, "-o", "d", "--object", "all").ends(0, "has no fingerprint", "has no globals", w.name+".manifest.json")
	w.holds("d/"+w.name, w.content.Stored)
	w.ctl("backup", "download", w.id, "-o", "d/x", "--object", "all").ends(2, "directory")
	w.ctl("backup", "download", w.id, "--object", "globals").ends(1, "has no globals")
	w.none("*.part*")
	w.none("d/*.part*")
	w.ctl("backup", "download", "99").ends(1, "99")
}

func sum(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

func TestDownload_usage(t *testing.T) {
	t.Parallel()
	r := offline(t)
	r.env = []string{"DEVFLOW_URL=http://127.0.0.1:1", "DEVFLOW_TOKEN=dfk_x"}
	for words, args := range map[string][]string{
		"not the id":               {"x"},
		"tables":                   {"1", "--object", "tables"},
		"--decrypt is not allowed": {"1", "--object", "manifest", "--decrypt"},
		"takes one object":         {"1", "-o", "-", "--object", "all"},
		"-o is empty":              {"1", "-o", ""},
		"--retry":                  {"1", "--retry", "-1s"},
		"no-ca.pem":                {"1", "--storage-ca", "no-ca.pem"},
	} {
		r.ctl(append([]string{"backup", "download"}, args...)...).ends(2, words)
	}
	r.ctl("backup", "download", "1", "--storage-ca", r.file("bad.pem", "x")).ends(2, "no PEM certificate")
	r.ctl("backup", "download", "1", "--retry", "0").ends(1, "no answer from http://127.0.0.1:1", "gave up")
}

// TestDownload_broken: a connection that breaks again and again, at whatever byte, is taken up where it broke.
func TestDownload_broken(t *testing.T) {
	t.Parallel()
	for _, local := range []bool{true, false} {
		w := backedUp(t, local)
		seed := time.Now().UnixNano()
		t.Logf("seed %d", seed)
		rnd := rand.New(rand.NewPCG(uint64(seed), 0))
		var mu sync.Mutex
		var cuts, resumed int
		var authorized bool
		cut := func(rw http.ResponseWriter, req *http.Request, next http.Handler) {
			mu.Lock()
			n := 1 + rnd.IntN(40_000)
			if req.Header.Get("Range") != "" {
				resumed++
			}
			authorized = authorized || req.Header.Get("Authorization") != ""
			over := cuts >= 12
			cuts++
			mu.Unlock()
			if over {
				next.ServeHTTP(rw, req)
				return
			}
			next.ServeHTTP(&cutWriter{rw, n}, req)
		}
		w.behind(func(rw http.ResponseWriter, req *http.Request) {
			if local && isLink(req) {
				cut(rw, req, w.API)
				return
			}
			w.API.ServeHTTP(rw, req)
		})
		if !local {
			store := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
				cut(rw, req, http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
					http.ServeContent(rw, req, "", time.Time{}, bytes.NewReader(w.content.Stored))
				}))
			}))
			t.Cleanup(store.Close)
			w.Fleet.With(func() {
				w.Fleet.Link = func(controller.Download) string { return store.URL + "/b/key?X-Amz-Signature=canary" }
			})
		}
		x := w.ctl("backup", "download", w.id, "-o", "f").ends(0, "asking again in")
		w.holds("f", w.content.Stored)
		mu.Lock()
		if cuts < 3 || resumed != cuts-1 {
			t.Errorf("local %t: %d requests, %d of them for the rest", local, cuts, resumed)
		}
		if authorized || strings.Contains(x.err, "canary") {
			t.Errorf("local %t: the token was sent, or the link is shown: %s", local, x.err)
		}
		mu.Unlock()
	}
}

// stopMidway runs a download that stops after n bytes until it is ended by the signal.
func (w *world) stopMidway(n int, sig syscall.Signal, args ...string) (out string, status int) {
	w.Helper()
	reached, release := make(chan struct{}), make(chan struct{})
	w.Fleet.With(func() {
		w.Fleet.Stream = func(ctx context.Context, _ controller.Download, from int64, dst io.Writer) error {
			if _, err := dst.Write(w.content.Stored[from : from+int64(n)]); err != nil {
				return err
			}
			close(reached)
			select {
			case <-ctx.Done():
			case <-release:
			}
			return errors.New("over")
		}
	})
	defer w.Fleet.With(func() { w.Fleet.Stream = nil })
	defer close(release)
	var text bytes.Buffer
	cmd := w.command(w.Context(), append([]string{"backup", "download", w.id}, args...)...)
	cmd.Stderr = &text
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	<-reached
	apitest.Eventually(w, "bytes are in the file", func() bool {
		all, _ := filepath.Glob(filepath.Join(w.home, "*.part"))
		for _, f := range all {
			if info, err := os.Stat(f); err == nil && info.Size() > 0 {
				return true
			}
		}
		return false
	})
	if err := cmd.Process.Signal(sig); err != nil {
		w.Fatal(err)
	}
	_ = cmd.Wait()
	return text.String(), cmd.ProcessState.ExitCode()
}

// TestDownload_again: the same command goes on where one that was killed, and one that was interrupted, stopped.
func TestDownload_again(t *testing.T) {
	t.Parallel()
	w := backedUp(t, true)
	w.stopMidway(60_000, syscall.SIGKILL, "-o", "f")
	text, status := w.stopMidway(50_000, syscall.SIGINT, "-o", "f")
	if status != 1 || !strings.Contains(text, "interrupted") || !strings.Contains(text, "run the same command again") || !strings.Contains(text, "going on") {
		t.Errorf("status %d: %s", status, text)
	}
	info, err := os.Stat(filepath.Join(w.home, "f.part"))
	if err != nil {
		t.Fatal(err)
	}
	got := into[[]struct {
		Resumed int64 `json:"resumed_bytes"`
	}](w.ctl("backup", "download", w.id, "-o", "f", "--output", "json").ends(0, "going on"))
	if got[0].Resumed != info.Size() || info.Size() < 1 {
		t.Errorf("%d bytes were taken up, %d were there", got[0].Resumed, info.Size())
	}
	w.holds("f", w.content.Stored)
}

// TestDownload_foreignPart: what is there is continued only if it is known to be a part of the same.
func TestDownload_foreignPart(t *testing.T) {
	t.Parallel()
	w := backedUp(t, true)
	w.stopMidway(60_000, syscall.SIGKILL, "-o", "f")
	first, name, before := w.id, w.name, w.read("f.part")
	w.another()
	for _, args := range [][]string{{w.id}, {first, "--decrypt"}, {first, "--object", "manifest"}} {
		w.ctl(append([]string{"backup", "download", "-o", "f"}, args...)...).ends(1, "f.part is a part of another download", "backup "+first, "--force")
	}
	if !bytes.Equal(before, w.read("f.part")) {
		t.Error("the part was touched")
	}
	state := w.read("f.part.json")
	in := func(file string) string { return filepath.Join(w.home, file) }
	for words, change := range map[string]func(){
		"nothing tells":    func() { w.must(os.Remove(in("f.part.json"))) },
		"does not tell":    func() { w.file("f.part.json", "{") },
		"has 999999 bytes": func() { w.file("f.part", strings.Repeat("x", 999_999)) },
		"not a regular":    func() { w.must(os.Remove(in("f.part"))); w.must(syscall.Mkfifo(in("f.part"), 0o600)) },
		"symbolic links":   func() { w.must(os.Remove(in("f.part"))); w.must(os.Symlink(w.file("elsewhere", ""), in("f.part"))) },
		"is there already": func() { w.must(os.Mkdir(in("f"), 0o700)); w.file("f/"+name, "mine") },
	} {
		w.clear("f")
		w.file("f.part", string(before))
		w.file("f.part.json", string(state))
		change()
		w.ctl("backup", "download", first, "-o", "f").ends(1, words)
		w.must(os.RemoveAll(in("f")))
	}
	if got := w.read("elsewhere"); len(got) != 0 {
		t.Errorf("%d bytes went through a symbolic link", len(got))
	}
	w.clear("f")
	w.file("f.part", "something")
	w.ctl("backup", "download", w.id, "-o", "f", "--force").ends(0)
	w.holds("f", w.content.Stored)
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) clear(file string) {
	_ = os.Remove(filepath.Join(w.home, file+".part"))
	_ = os.Remove(filepath.Join(w.home, file+".part.json"))
}

func (w *world) read(file string) []byte {
	w.Helper()
	b, err := os.ReadFile(filepath.Join(w.home, file))
	if err != nil {
		w.Fatal(err)
	}
	return b
}

// TestDownload_together: one part is written by one process.
func TestDownload_together(t *testing.T) {
	t.Parallel()
	w := backedUp(t, true)
	f, err := os.OpenFile(filepath.Join(w.home, "f.part"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w.must(syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	w.ctl("backup", "download", w.id, "-o", "f").ends(1, "another download")
	w.must(syscall.Flock(int(f.Fd()), syscall.LOCK_UN))
	w.ctl("backup", "download", w.id, "-o", "f").ends(0)
	w.holds("f", w.content.Stored)
}

// TestDownload_wrongBytes: what has not the catalog's checksum never gets its name; the part is left to look at.
func TestDownload_wrongBytes(t *testing.T) {
	t.Parallel()
	w := backedUp(t, false)
	wrong := bytes.Clone(w.content.Stored)
	wrong[77] ^= 1
	given := wrong
	store := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		http.ServeContent(rw, req, "", time.Time{}, bytes.NewReader(given))
	}))
	defer store.Close()
	w.Fleet.With(func() { w.Fleet.Link = func(controller.Download) string { return store.URL } })
	w.ctl("backup", "download", w.id, "-o", "f").ends(1, "f.part is damaged", *w.backup.Checksum, "--force")
	if _, err := os.Stat(filepath.Join(w.home, "f")); err == nil {
		t.Error("the file is there")
	}
	if !bytes.Equal(w.read("f.part"), wrong) {
		t.Error("the part is not what came")
	}
	x := w.ctl("backup", "download", w.id, "-o", "-").ends(1, "what was written is damaged", "Do not use it")
	if x.out != string(wrong) {
		t.Errorf("%d bytes were written", len(x.out))
	}
	// It does not get better by itself; begun anew it does.
	w.ctl("backup", "download", w.id, "-o", "f").ends(1, "f.part is damaged")
	given = w.content.Stored
	w.ctl("backup", "download", w.id, "-o", "f", "--force").ends(0)
	w.holds("f", w.content.Stored)

	// An object of another length is not even begun.
	given = w.content.Stored[:1000]
	w.ctl("backup", "download", w.id, "-o", "g").ends(1, "1000 bytes")
	w.none("g*")
}

// TestDownload_lyingRange: an answer to a request for the rest that is of something else, or from elsewhere, is not appended.
func TestDownload_lyingRange(t *testing.T) {
	t.Parallel()
	w := backedUp(t, true)
	answer := func(rw http.ResponseWriter, status int, rng, etag string, b []byte) {
		rw.Header().Set("Content-Range", rng)
		rw.Header().Set("ETag", etag)
		rw.WriteHeader(status)
		_, _ = rw.Write(b)
	}
	size := len(w.content.Stored)
	right := `"` + *w.backup.Checksum + `"`
	for name, lie := range map[string]func(http.ResponseWriter){
		"from": func(rw http.ResponseWriter) {
			answer(rw, 206, fmt.Sprintf("bytes 1-%d/%d", size-1, size), right, w.content.Stored[1:])
		},
		"etag": func(rw http.ResponseWriter) { answer(rw, 200, "", `"0"`, w.content.Stored) },
		"total": func(rw http.ResponseWriter) {
			answer(rw, 206, fmt.Sprintf("bytes 60000-%d/%d", size, size+1), right, w.content.Stored[59_999:])
		},
	} {
		w.clear("f")
		w.stopMidway(60_000, syscall.SIGKILL, "-o", "f")
		before := w.read("f.part")
		plain := w.env[0]
		w.behind(func(rw http.ResponseWriter, req *http.Request) {
			if isLink(req) {
				lie(rw)
				return
			}
			w.API.ServeHTTP(rw, req)
		})
		w.ctl("backup", "download", w.id, "-o", "f", "--retry", "0").ends(1)
		if !bytes.Equal(before, w.read("f.part")) {
			t.Errorf("%s: the part was changed", name)
		}
		w.env[0] = plain
	}
	// Who does not know ranges gives the whole: it begins anew.
	w.behind(func(rw http.ResponseWriter, req *http.Request) {
		req.Header.Del("Range")
		w.API.ServeHTTP(rw, req)
	})
	w.ctl("backup", "download", w.id, "-o", "f").ends(0)
	w.holds("f", w.content.Stored)
}

// TestDownload_deadLink: a link that somebody used first, or that has expired, is replaced by another.
func TestDownload_deadLink(t *testing.T) {
	t.Parallel()
	w := backedUp(t, true)
	var asked atomic.Int32
	w.behind(func(rw http.ResponseWriter, req *http.Request) {
		if isLink(req) && asked.Add(1) == 1 {
			w.API.ServeHTTP(httptest.NewRecorder(), req.Clone(req.Context()))
		}
		w.API.ServeHTTP(rw, req)
	})
	w.ctl("backup", "download", w.id, "-o", "f").ends(0, "already used", "asking again")
	w.holds("f", w.content.Stored)
	if asked.Load() != 2 {
		t.Errorf("%d links were asked for", asked.Load())
	}
	// One that never works is not asked for for ever.
	w.behind(func(rw http.ResponseWriter, req *http.Request) {
		if isLink(req) {
			w.API.ServeHTTP(httptest.NewRecorder(), req.Clone(req.Context()))
		}
		w.API.ServeHTTP(rw, req)
	})
	w.ctl("backup", "download", w.id, "-o", "g").ends(1, "already used")
	w.none("g*")
}

// TestDownload_outage: what the other side says is its own trouble is waited for, up to --retry.
func TestDownload_outage(t *testing.T) {
	t.Parallel()
	w := backedUp(t, true)
	var tries atomic.Int32
	w.Fleet.With(func() {
		w.Fleet.Stream = func(_ context.Context, _ controller.Download, from int64, dst io.Writer) error {
			if tries.Add(1) < 4 {
				return controller.Errorf(controller.EUnavailable, "server db-1 is offline")
			}
			_, err := dst.Write(w.content.Stored[from:])
			return err
		}
	})
	w.ctl("backup", "download", w.id, "-o", "f").ends(0, "db-1 is offline", "asking again")
	w.holds("f", w.content.Stored)
	w.Fleet.With(func() {
		w.Fleet.Stream = func(context.Context, controller.Download, int64, io.Writer) error {
			return controller.Errorf(controller.EUnavailable, "server db-1 is offline")
		}
	})
	w.ctl("backup", "download", w.id, "-o", "g", "--retry", "500ms").ends(1, "gave up", "db-1 is offline")
	w.none("g*")
}

// TestDownload_slowEnd: a try that takes longer than --retry is not the last one, as the next tells what is wrong.
func TestDownload_slowEnd(t *testing.T) {
	t.Parallel()
	w := backedUp(t, true)
	var tries atomic.Int32
	w.Fleet.With(func() {
		w.Fleet.Stream = func(_ context.Context, _ controller.Download, from int64, dst io.Writer) error {
			switch tries.Add(1) {
			case 1:
				_, _ = dst.Write(w.content.Stored[from : len(w.content.Stored)/2])
			case 2:
				<-time.After(100 * time.Millisecond)
				return controller.Errorf(controller.EUnavailable, "server db-1 is offline")
			}
			return controller.Errorf(controller.EConflict, "the artifact is damaged")
		}
	})
	w.ctl("backup", "download", w.id, "-o", "f", "--retry", "50ms").ends(1, "the artifact is damaged")
	w.none("f")
}

// TestDownload_store: a store that cannot be reached or trusted from here, or that refuses, is gone round.
func TestDownload_store(t *testing.T) {
	t.Parallel()
	w := backedUp(t, false)
	var asked atomic.Int32
	var status atomic.Int32
	store := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		asked.Add(1)
		if s := int(status.Load()); s != 0 {
			rw.WriteHeader(s)
			fmt.Fprint(rw, `<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>`)
			return
		}
		http.ServeContent(rw, req, "", time.Time{}, bytes.NewReader(w.content.Stored))
	}))
	defer store.Close()
	link := store.URL + "/b/key?X-Amz-Signature=canary"
	w.Fleet.With(func() { w.Fleet.Link = func(controller.Download) string { return link } })
	ca := w.file("store.pem", pemOf(store))
	get := func(file string, words []string, args ...string) {
		t.Helper()
		x := w.ctl(append([]string{"backup", "download", w.id, "-o", file}, args...)...).ends(0, words...)
		w.holds(file, w.content.Stored)
		if strings.Contains(x.err+x.out, "canary") {
			t.Errorf("the link is shown: %s", x.err)
		}
	}
	get("a", []string{"unknown authority", "--storage-ca", "through the controller"})
	if asked.Load() != 0 {
		t.Error("a store that is not trusted was asked")
	}
	get("b", nil, "--storage-ca", ca)
	if asked.Load() != 1 {
		t.Errorf("the store was asked %d times", asked.Load())
	}
	get("c", nil, "--storage-ca", ca, "--via-controller")
	if asked.Load() != 1 {
		t.Error("the store was asked in spite of --via-controller")
	}
	status.Store(http.StatusForbidden)
	get("d", []string{"AccessDenied", "Request has expired", "through the controller"}, "--storage-ca", ca)
	if asked.Load() != 3 {
		t.Errorf("a store that refuses was asked %d times", asked.Load()-1)
	}
	w.env = append(w.env, "DEVFLOW_STORAGE_CA="+ca)
	status.Store(0)
	if x := w.ctl("backup", "download", w.id, "-o", "-").ends(0, "as the catalog has it"); x.out != string(w.content.Stored) {
		t.Errorf("%d bytes were written", len(x.out))
	}
	store.Close()
	get("e", []string{"no answer from", "through the controller"})
	if x := w.ctl("backup", "download", w.id, "-o", "-").ends(0, "through the controller"); x.out != string(w.content.Stored) {
		t.Errorf("%d bytes were written", len(x.out))
	}
}

// TestDownload_storeGoesAway: a store that gave a part and cannot be reached any more is given up for the controller, which goes on there.
func TestDownload_storeGoesAway(t *testing.T) {
	t.Parallel()
	w := backedUp(t, false)
	var store *httptest.Server
	store = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		_ = store.Listener.Close()
		http.ServeContent(&cutWriter{rw, 60_000}, req, "", time.Time{}, bytes.NewReader(w.content.Stored))
	}))
	defer store.Close()
	var from int64
	w.Fleet.With(func() {
		w.Fleet.Link = func(controller.Download) string { return store.URL }
		w.Fleet.Stream = func(_ context.Context, _ controller.Download, offset int64, dst io.Writer) error {
			from = offset
			_, err := dst.Write(w.content.Stored[offset:])
			return err
		}
	})
	x := w.ctl("backup", "download", w.id, "-o", "f").ends(0, "asking again", "no answer from", "through the controller")
	w.holds("f", w.content.Stored)
	if from != 60_000 {
		t.Errorf("the controller was asked from byte %d on: %s", from, x.err)
	}
}

// TestDownload_output: what went to standard output cannot be taken back, so it is said that it is of no use.
func TestDownload_output(t *testing.T) {
	t.Parallel()
	w := backedUp(t, true)
	x := w.ctl("backup", "download", w.id, "-o", "-", "--object", "manifest").ends(0)
	var m struct {
		Version int `json:"format_version"`
	}
	if err := json.Unmarshal([]byte(x.out), &m); err != nil || m.Version != 1 {
		t.Errorf("the manifest is %q", x.out)
	}
	w.behind(func(rw http.ResponseWriter, req *http.Request) {
		if isLink(req) {
			rw = &cutWriter{rw, 100_000}
		}
		w.API.ServeHTTP(rw, req)
	})
	x = w.ctl("backup", "download", w.id, "-o", "-").ends(1, "is not the whole", "Do not use it")
	if len(x.out) == 0 || !bytes.HasPrefix(w.content.Stored, []byte(x.out)) {
		t.Errorf("%d bytes were written", len(x.out))
	}
	// A reader that goes away is no reason to ask again.
	cmd := w.command(t.Context(), "backup", "download", w.id, "-o", "-")
	pipe, err := cmd.StdoutPipe()
	w.must(err)
	w.must(cmd.Start())
	_ = pipe.Close()
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		t.Errorf("it ended with %v", err)
	}
}
