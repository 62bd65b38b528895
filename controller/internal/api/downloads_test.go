package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/app/apitest"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

// completed is a rig with one completed backup, on the host itself if local is set.
func completed(t *testing.T, local bool, order string) (*rig, controller.Backup, apitest.Content) {
	t.Helper()
	r := start(t)
	r.Project("shop")
	if local {
		s := r.LocalStorage("here")
		r.do("POST", "/storages/"+s.Name+"/default", nil).is(http.StatusOK)
	} else {
		r.Storage("s3")
	}
	a := r.Agent("db-1", "shop", "app")
	made := into[outcomes](r.do("POST", "/backups", `{"project":"shop"`+order+`}`).is(http.StatusCreated)).Items[0].Backup
	offer := r.Start(a)[0]
	r.Complete(a, offer)
	b := into[controller.Backup](r.do("GET", "/backups/"+number(made.ID), nil).is(http.StatusOK))
	if b.Status != controller.StatusCompleted {
		t.Fatalf("the backup is %+v", b)
	}
	var c apitest.Content
	r.Fleet.With(func() { c = r.Fleet.Content[offer.Key] })
	return r, b, c
}

// link asks for one; it leads to the rig.
func (r *rig) link(b controller.Backup, in string) (body.Download, string) {
	r.Helper()
	d := into[body.Download](r.do("POST", "/backups/"+number(b.ID)+"/download", in).is(http.StatusCreated))
	path, ok := strings.CutPrefix(d.URL, "https://backup.test:8443")
	if !ok || !strings.HasPrefix(path, "/api/v1/downloads/dfd_") {
		r.Fatalf("the link is %q", d.URL)
	}
	return d, path
}

func sum(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

func (r *rig) audited(action string) (n int) {
	r.Helper()
	for _, e := range into[body.Page[controller.AuditEntry]](r.do("GET", "/audit?limit=200", nil).is(http.StatusOK)).Items {
		if e.Action == action && !strings.HasPrefix(e.Result, "refused") {
			n++
		}
	}
	return n
}

func TestDownload_stored(t *testing.T) {
	t.Parallel()
	r, b, c := completed(t, true, "")
	d, path := r.link(b, `{}`)
	if d.Direct || d.Size != int64(len(c.Stored)) || d.Checksum != sum(c.Stored) || d.FileName != b.FileName || d.Object != wire.ObjectArtifact || d.Format != controller.FormatStored {
		t.Errorf("the link is %+v", d)
	}
	if left := time.Until(d.ExpiresAt); left < controller.DownloadTTL-time.Minute || left > controller.DownloadTTL+time.Minute {
		t.Errorf("the link is valid for %s", left)
	}
	if n := r.audited("backup.download"); n != 1 {
		t.Errorf("%d audit rows", n)
	}
	// HEAD tells everything and does not use it up.
	for range 2 {
		head := r.as("", "HEAD", path, nil).is(http.StatusOK)
		if head.header.Get("Content-Length") != strconv.Itoa(len(c.Stored)) || head.header.Get("ETag") != `"`+d.Checksum+`"` || len(head.text) != 0 {
			t.Errorf("HEAD is %v", head.header)
		}
	}
	// Neither does a range that is not there.
	if a := r.as("", "GET", path, nil, "Range", "bytes=150001-"); a.header.Get("Content-Range") != "bytes */150001" {
		t.Errorf("the range is %q", a.header.Get("Content-Range"))
	} else {
		a.refused(http.StatusRequestedRangeNotSatisfiable, body.CodeRange, "150001")
	}
	got := r.as("", "GET", path, nil).is(http.StatusOK)
	raw := sha256.Sum256(c.Stored)
	for name, want := range map[string]string{
		"Content-Length": strconv.Itoa(len(c.Stored)), "Content-Type": "application/octet-stream", "ETag": `"` + d.Checksum + `"`, "Accept-Ranges": "bytes",
		"Digest": "sha-256=" + base64.StdEncoding.EncodeToString(raw[:]), "Content-Disposition": `attachment; filename="` + b.FileName + `"`, "Cache-Control": "no-store",
	} {
		if got.header.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, got.header.Get(name), want)
		}
	}
	if !bytes.Equal(got.text, c.Stored) {
		t.Errorf("%d bytes differ from what is stored", len(got.text))
	}
	// Once.
	r.as("", "GET", path, nil).refused(http.StatusConflict, controller.EConflict, "already used")
	if a := r.as("", "HEAD", path, nil).is(http.StatusConflict); len(a.text) != 0 {
		t.Errorf("HEAD has a body: %s", a.text)
	}
	if log := r.Logged.String(); strings.Contains(log, strings.TrimPrefix(path, "/api/v1/downloads/")) {
		t.Error("the log holds the link")
	}
	// The manifest, as it lies there.
	d, path = r.link(b, `{"object":"manifest"}`)
	if a := r.as("", "GET", path, nil).is(http.StatusOK); string(a.text) != "{\n  \"format_version\": 1\n}\n" || a.header.Get("Content-Type") != "application/json" || !strings.HasSuffix(d.FileName, ".manifest.json") {
		t.Errorf("the manifest is %q as %v", a.text, a.header)
	}
	r.do("POST", "/backups/"+number(b.ID)+"/download", `{"object":"globals"}`).refused(http.StatusNotFound, controller.ENotFound, "globals")
}

func TestDownload_range(t *testing.T) {
	t.Parallel()
	r, b, c := completed(t, true, "")
	for name, x := range map[string]struct {
		headers []string
		from    int
		status  int
	}{
		"from":            {[]string{"Range", "bytes=100000-"}, 100000, http.StatusPartialContent},
		"last byte":       {[]string{"Range", "bytes=150000-"}, 150000, http.StatusPartialContent},
		"from the first":  {[]string{"Range", "bytes=0-"}, 0, http.StatusPartialContent},
		"same":            {[]string{"Range", "bytes=7-", "If-Range", `"` + *b.Checksum + `"`}, 7, http.StatusPartialContent},
		"another":         {[]string{"Range", "bytes=7-", "If-Range", `"` + strings.Repeat("0", 64) + `"`}, 0, http.StatusOK},
		"an end":          {[]string{"Range", "bytes=7-9"}, 0, http.StatusOK},
		"from the end":    {[]string{"Range", "bytes=-9"}, 0, http.StatusOK},
		"several":         {[]string{"Range", "bytes=1-,5-"}, 0, http.StatusOK},
		"another unit":    {[]string{"Range", "lines=7-"}, 0, http.StatusOK},
		"no number":       {[]string{"Range", "bytes=x-"}, 0, http.StatusOK},
		"a larger number": {[]string{"Range", "bytes=99999999999999999999-"}, 0, http.StatusOK},
	} {
		_, path := r.link(b, `{}`)
		a := r.as("", "GET", path, nil, x.headers...)
		if a.status != x.status || !bytes.Equal(a.text, c.Stored[x.from:]) || a.header.Get("Content-Length") != strconv.Itoa(len(c.Stored)-x.from) {
			t.Errorf("%s: status %d, %d bytes, want %d from %d", name, a.status, len(a.text), x.status, x.from)
		}
		want := ""
		if x.status == http.StatusPartialContent {
			want = fmt.Sprintf("bytes %d-%d/%d", x.from, len(c.Stored)-1, len(c.Stored))
		}
		if got := a.header.Get("Content-Range"); got != want {
			t.Errorf("%s: Content-Range is %q, want %q", name, got, want)
		}
	}
}

// TestDownload_dump: what is opened by the controller asks for the right to restore, and has the name of a plain file.
func TestDownload_dump(t *testing.T) {
	t.Parallel()
	for _, order := range []string{``, `,"encryption":"aes-256-cbc","compression":"gzip"`, `,"encryption":"none","compression":"none"`} {
		r, b, c := completed(t, true, order)
		path := "/api/v1/backups/" + number(b.ID) + "/download"
		down := r.NewToken([]string{controller.DownloadBackups})
		r.as(down, "POST", path, `{"format":"dump"}`).refused(http.StatusForbidden, controller.EForbidden, controller.RestoreBackups)
		if n := r.audited("backup.download"); n != 0 {
			t.Errorf("%d audit rows of a download that was refused", n)
		}
		r.as(r.NewToken([]string{controller.DownloadBackups, controller.RestoreBackups}), "POST", path, `{"format":"dump"}`).is(http.StatusCreated)
		d, link := r.link(b, `{"format":"dump"}`)
		if d.Size != int64(len(c.Dump)) || d.Checksum != sum(c.Dump) || !strings.HasSuffix(d.FileName, ".dump") || !strings.HasPrefix(b.FileName, d.FileName) {
			t.Errorf("the link is %+v", d)
		}
		if a := r.as("", "GET", link, nil).is(http.StatusOK); !bytes.Equal(a.text, c.Dump) {
			t.Errorf("%d bytes differ from the dump", len(a.text))
		}
		r.do("POST", "/backups/"+number(b.ID)+"/download", `{"format":"dump","object":"manifest"}`).refused(http.StatusUnprocessableEntity, controller.EInvalid, "manifest")
	}
}

// TestDownload_direct: what lies in a store is fetched there, unless the caller cannot, or it is to be opened.
func TestDownload_direct(t *testing.T) {
	t.Parallel()
	r, b, _ := completed(t, false, "")
	r.Fleet.With(func() {
		r.Fleet.Link = func(d controller.Download) string {
			return "https://s3.test/b/" + d.Object.Key + "?X-Amz-Signature=canary"
		}
	})
	path := "/backups/" + number(b.ID) + "/download"
	d := into[body.Download](r.do("POST", path, nil).is(http.StatusCreated))
	if !d.Direct || !strings.HasPrefix(d.URL, "https://s3.test/b/") || d.Checksum != *b.Checksum || d.FileName != b.FileName {
		t.Errorf("the link is %+v", d)
	}
	if n := r.audited("backup.download"); n != 1 {
		t.Errorf("%d audit rows of one link", n)
	}
	r.link(b, `{"via":"controller"}`)
	r.link(b, `{"format":"dump"}`)
	if n := r.audited("backup.download"); n != 3 {
		t.Errorf("%d audit rows of three links", n)
	}
	if strings.Contains(r.Logged.String(), "canary") {
		t.Error("the log holds the link")
	}
	r.Fleet.With(func() { r.Fleet.Link = nil }) // the store makes no links
	r.link(b, `{}`)
	for _, in := range []string{`{"object":"all"}`, `{"format":"raw"}`, `{"via":"pigeon"}`} {
		r.do("POST", path, in).refused(http.StatusUnprocessableEntity, controller.EInvalid)
	}
}

// TestDownload_refused: what is not a completed backup gives no link, and a link gives nothing any more once its backup is gone.
func TestDownload_refused(t *testing.T) {
	t.Parallel()
	r, b, _ := completed(t, true, "")
	pending := into[outcomes](r.do("POST", "/backups", `{"project":"shop"}`).is(http.StatusCreated)).Items[0].Backup
	r.do("POST", "/backups/"+number(pending.ID)+"/download", nil).refused(http.StatusConflict, controller.EConflict, "pending")
	_, path := r.link(b, `{}`)
	r.do("POST", "/backups/"+number(b.ID)+"/delete", `{"confirm":"app"}`).is(http.StatusOK)
	r.as("", "GET", path, nil).refused(http.StatusConflict, controller.EConflict, "deleted")
	r.do("POST", "/backups/"+number(b.ID)+"/download", nil).refused(http.StatusConflict, controller.EConflict, "deleted")
	r.do("POST", "/backups/"+number(b.ID)+"/undelete", nil).is(http.StatusOK)
	r.as("", "GET", path, nil).is(http.StatusOK)
}

// TestDownload_failsBefore: a failure before the first byte is a problem, and the link is still good.
func TestDownload_failsBefore(t *testing.T) {
	t.Parallel()
	r, b, c := completed(t, true, "")
	_, path := r.link(b, `{}`)
	r.Fleet.With(func() {
		r.Fleet.Stream = func(context.Context, controller.Download, int64, io.Writer) error {
			return controller.Errorf(controller.EUnavailable, "server db-1 is offline").WithHint("it has the file; try again when it is back")
		}
	})
	r.as("", "GET", path, nil).refused(http.StatusServiceUnavailable, controller.EUnavailable, "db-1 is offline")
	// It is no fault of the controller's that someone has to mend.
	if log := r.Logged.String(); strings.Contains(log, "[ERROR]") || !strings.Contains(log, "db-1 is offline") {
		t.Errorf("logged: %s", log)
	}
	r.Fleet.With(func() {
		r.Fleet.Stream = func(context.Context, controller.Download, int64, io.Writer) error { return errors.New("canary detail") }
	})
	if a := r.as("", "GET", path, nil); bytes.Contains(a.text, []byte("canary")) {
		t.Errorf("the answer is %s", a.text)
	} else {
		a.refused(http.StatusInternalServerError, controller.EInternal)
	}
	r.Fleet.With(func() { r.Fleet.Stream = nil })
	if a := r.as("", "GET", path, nil).is(http.StatusOK); !bytes.Equal(a.text, c.Stored) {
		t.Errorf("%d bytes came", len(a.text))
	}
}

// serve is the API on a server of its own that speaks HTTP/1.1 or HTTP/2, with time limits if limit is not 0.
func (r *rig) serve(protocol int, limit time.Duration) *httptest.Server {
	r.Helper()
	srv := httptest.NewUnstartedServer(r.API)
	srv.Config.ReadTimeout, srv.Config.WriteTimeout = limit, limit
	srv.EnableHTTP2 = protocol == 2
	srv.StartTLS()
	r.Cleanup(srv.Close)
	return srv
}

func (r *rig) fetch(srv *httptest.Server, path string) (*http.Response, error) {
	r.Helper()
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, srv.URL+path, http.NoBody)
	if err != nil {
		r.Fatal(err)
	}
	return srv.Client().Do(req)
}

// TestDownload_failsAfter: whatever goes wrong once bytes are on their way, the receiver never sees a clean end.
func TestDownload_failsAfter(t *testing.T) {
	t.Parallel()
	r, b, c := completed(t, true, "")
	servers := []*httptest.Server{r.serve(1, 0), r.serve(2, 0)}
	for name, stream := range map[string]func(io.Writer) error{
		"an error":          func(w io.Writer) error { _, _ = w.Write(c.Stored[:100_000]); return errors.New("the agent went away") },
		"an error late":     func(w io.Writer) error { _, _ = w.Write(c.Stored[:150_000]); return errors.New("the checksum differs") },
		"an end too early":  func(w io.Writer) error { _, err := w.Write(c.Stored[:100_000]); return err },
		"more than it says": func(w io.Writer) error { _, err := w.Write(append(bytes.Clone(c.Stored), 1)); return err },
		"one byte more": func(w io.Writer) error {
			_, _ = w.Write(c.Stored[:150_000])
			_, err := w.Write([]byte{1, 2})
			return err
		},
	} {
		r.Fleet.With(func() {
			r.Fleet.Stream = func(_ context.Context, _ controller.Download, _ int64, w io.Writer) error { return stream(w) }
		})
		for _, srv := range servers {
			_, path := r.link(b, `{}`)
			res, err := r.fetch(srv, path)
			if err != nil {
				continue // broken before the headers were sent
			}
			n, err := io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK && err == nil {
				t.Errorf("%s over %s: %d bytes and a clean end", name, res.Proto, n)
			}
			// A stream that ends by itself, only too early, is whole to a client that does not count.
			if res.ProtoMajor == 2 && res.StatusCode == http.StatusOK && !strings.Contains(err.Error(), "stream error") {
				t.Errorf("%s over %s: the stream was ended, not broken: %v", name, res.Proto, err)
			}
		}
	}
	if !strings.Contains(r.Logged.String(), "download broke off") {
		t.Error("the log does not tell of it")
	}
}

// TestDownload_unbuffered: bytes travel as they come, and who has gone ends the source.
func TestDownload_unbuffered(t *testing.T) {
	t.Parallel()
	r, b, c := completed(t, true, "")
	_, path := r.link(b, `{}`)
	arrived, ended := make(chan struct{}), make(chan error, 1)
	r.Fleet.With(func() {
		r.Fleet.Stream = func(ctx context.Context, _ controller.Download, _ int64, w io.Writer) error {
			if _, err := w.Write(c.Stored[:100_000]); err != nil {
				return err
			}
			<-arrived // only when the receiver has the first bytes
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return ctx.Err()
		}
	})
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL+path, http.NoBody)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(res.Body, make([]byte, 90_000)); err != nil {
		t.Fatal(err)
	}
	close(arrived)
	_ = res.Body.Close()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the source has no reason")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the source goes on without a receiver")
	}
}

// TestDownload_race: of many at once exactly one gets the bytes.
func TestDownload_race(t *testing.T) {
	t.Parallel()
	r, b, c := completed(t, true, "")
	_, path := r.link(b, `{}`)
	var wg sync.WaitGroup
	won := make(chan int, 20)
	for range cap(won) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL+path, http.NoBody)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			switch text, err := io.ReadAll(res.Body); {
			case res.StatusCode == http.StatusOK && err == nil && bytes.Equal(text, c.Stored):
				won <- 1
			case res.StatusCode != http.StatusConflict:
				t.Errorf("status %d, %v: %.200s", res.StatusCode, err, text)
			}
		}()
	}
	wg.Wait()
	close(won)
	if n := len(won); n != 1 {
		t.Errorf("%d got it", n)
	}
}

// TestDownload_slowSource: a source that gives single bytes is no reason for anything.
func TestDownload_slowSource(t *testing.T) {
	t.Parallel()
	r, b, _ := completed(t, true, "")
	d, path := r.link(b, `{"object":"manifest"}`)
	r.Fleet.With(func() {
		inner := r.Fleet.Content
		r.Fleet.Stream = func(_ context.Context, d controller.Download, _ int64, w io.Writer) error {
			_, err := io.CopyBuffer(w, struct{ io.Reader }{iotest.OneByteReader(bytes.NewReader(inner[d.Object.Key].Stored))}, make([]byte, 1))
			return err
		}
	})
	if a := r.as("", "GET", path, nil).is(http.StatusOK); int64(len(a.text)) != d.Size {
		t.Errorf("%d bytes", len(a.text))
	}
}

func TestDownload_guessing(t *testing.T) {
	t.Parallel()
	r := start(t)
	for i := range 20 {
		r.as("", "GET", fmt.Sprintf("/api/v1/downloads/dfd_%d", i), nil).refused(http.StatusNotFound, controller.ENotFound, "not known")
	}
	r.as("", "GET", "/api/v1/downloads/dfd_x", nil).refused(http.StatusTooManyRequests, body.CodeTooMany)
	r.as("", "HEAD", "/api/v1/downloads/dfd_x", nil).is(http.StatusTooManyRequests)
}

func TestProjects_keys(t *testing.T) {
	t.Parallel()
	r := start(t)
	const appKey = "canary base64 no, a plain text"
	_, escrow, err := artifact.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	made := r.do("POST", "/projects", map[string]any{"slug": "shop", "app_key": "  " + appKey + "\n", "default_encryption": "aes-256-cbc", "escrow_recipients": []string{escrow}}).is(http.StatusCreated)
	if p := into[controller.Project](made); p.DefaultEncryption != "aes-256-cbc" || len(p.EscrowRecipients) != 1 || bytes.Contains(made.text, []byte("canary")) {
		t.Errorf("the project is %s", made.text)
	}
	if k := into[body.ProjectKey](r.do("GET", "/projects/shop/key", nil).is(http.StatusOK)); k.AppKey != appKey || !strings.HasPrefix(k.Identity, "AGE-SECRET-KEY-1") {
		t.Errorf("the keys are %+v", k)
	}
	r.do("POST", "/projects", `{"slug":"two"}`).is(http.StatusCreated)
	if k := into[body.ProjectKey](r.do("GET", "/projects/two/key", nil).is(http.StatusOK)); !strings.HasPrefix(k.AppKey, "base64:") {
		t.Errorf("the keys are %+v", k)
	}
	for _, bad := range []string{"canary short", "base64:canary!!", "   "} {
		p := r.do("POST", "/projects", map[string]any{"slug": "three", "app_key": bad}).refused(http.StatusUnprocessableEntity, controller.EInvalid)
		if p.Field != "app_key" || strings.Contains(p.Error(), "canary") {
			t.Errorf("%q: %+v", bad, p)
		}
	}
	// Never again.
	if p := r.do("PATCH", "/projects/shop", `{"app_key":"another canary of some length"}`).refused(http.StatusUnprocessableEntity, controller.EInvalid); p.Field != "app_key" {
		t.Errorf("%+v", p)
	}
	secretKey, _, _ := artifact.NewIdentity()
	if p := r.do("PATCH", "/projects/shop", map[string]any{"escrow_recipients": []string{secretKey}}).refused(http.StatusUnprocessableEntity, controller.EInvalid); p.Field != "escrow_recipients" || strings.Contains(p.Error(), secretKey[20:]) {
		t.Errorf("%+v", p)
	}
	if got := into[controller.Project](r.do("PATCH", "/projects/shop", `{"escrow_recipients":[]}`).is(http.StatusOK)); len(got.EscrowRecipients) != 0 {
		t.Errorf("the project is %+v", got)
	}
	if strings.Contains(r.Logged.String(), "canary") {
		t.Error("the log holds an app key")
	}
}

func TestStorages_local(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Project("shop")
	made := into[controller.Storage](r.do("POST", "/storages", `{"name":"here","kind":"local","default":true}`).is(http.StatusCreated))
	if made.Kind != "local" || !made.SameHost || made.Region != "" || made.PathStyle {
		t.Errorf("the storage is %+v", made)
	}
	for field, in := range map[string]string{
		"bucket": `"bucket":"b"`, "endpoint": `"endpoint":"https://s3.test"`, "access_key": `"access_key":"a"`, "secret_key": `"secret_key":"canary"`, "region": `"region":"r"`,
	} {
		if p := r.do("POST", "/storages", `{"name":"x","kind":"local",`+in+`}`).refused(http.StatusUnprocessableEntity, controller.EInvalid, "local"); p.Field != field || strings.Contains(p.Error(), "canary") {
			t.Errorf("%s: %+v", field, p)
		}
	}
	r.do("POST", "/storages", `{"name":"x"}`).refused(http.StatusUnprocessableEntity, controller.EInvalid, "bucket")
	r.Agent("db-1", "shop", "app")
	b := into[outcomes](r.do("POST", "/backups", `{"project":"shop","storage_disk":"local"}`).is(http.StatusCreated)).Items[0].Backup
	if b.StorageDisk != "local" || b.Storage != "here" || !b.SameHost {
		t.Errorf("the backup is %+v", b)
	}
	r.do("POST", "/backups", `{"project":"shop","storage_disk":"s3"}`).refused(http.StatusConflict, controller.EConflict)
	r.do("POST", "/backups", `{"project":"shop","storage_disk":"tape"}`).refused(http.StatusUnprocessableEntity, controller.EInvalid, "s3, local")
}

// TestStorages_change: what reaches the store is kept only after its probe passed; a name needs none.
func TestStorages_change(t *testing.T) {
	t.Parallel()
	r := start(t)
	mine := r.Project("mine")
	s := r.Storage("main")
	changes := func() (n int) {
		r.Fleet.With(func() { n = len(r.Fleet.Changes) })
		return n
	}
	if got := into[controller.Storage](r.do("PATCH", "/storages/main", `{"name":"first"}`).is(http.StatusOK)); got.Name != "first" || got.ID != s.ID || !got.ProbeOK || changes() != 0 {
		t.Errorf("the storage is %+v after %d probes", got, changes())
	}
	rotated := r.do("PATCH", "/storages/first", `{"access_key":"new","secret_key":"canary-new","region":"eu-1"}`).is(http.StatusOK)
	if got := into[controller.Storage](rotated); got.Region != "eu-1" || got.Bucket != s.Bucket || bytes.Contains(rotated.text, []byte("canary")) {
		t.Errorf("the storage is %s", rotated.text)
	}
	r.Fleet.With(func() {
		if len(r.Fleet.Changes) != 1 || r.Fleet.Changes[0].SecretKey.Reveal() != "canary-new" || r.Fleet.Changes[0].AccessKey != "new" {
			t.Errorf("probed were %+v", r.Fleet.Changes)
		}
	})
	if a, err := r.Store.StorageAccess(t.Context(), s.ID); err != nil || a.Credentials.SecretKey.Reveal() != "canary-new" || a.Credentials.AccessKey != "new" {
		t.Errorf("kept is %+v, %v", a.Storage, err)
	}
	// One that fails leaves everything as it was.
	good := r.Fleet.Result
	r.Fleet.With(func() {
		r.Fleet.Result.OK = false
		r.Fleet.Result.Report = []byte(`{"steps":[{"name":"holds the backups","ok":false,"required":true,"detail":"the newest one is not there","hint":"is it another bucket?"}]}`)
	})
	p := r.do("PATCH", "/storages/first", `{"secret_key":"canary-wrong"}`).refused(http.StatusUnprocessableEntity, body.CodeProbeFailed, "holds the backups", "another bucket")
	if !bytes.Contains(p.Probe, []byte("holds the backups")) {
		t.Errorf("the report is %s", p.Probe)
	}
	if a, err := r.Store.StorageAccess(t.Context(), s.ID); err != nil || a.Credentials.SecretKey.Reveal() != "canary-new" || !a.ProbeOK {
		t.Errorf("kept is %+v, %v", a.Storage, err)
	}
	if got := into[controller.Storage](r.do("PATCH", "/storages/first", `{"endpoint":"http://127.0.0.1:2","force":true}`).is(http.StatusOK)); got.Endpoint != "http://127.0.0.1:2" || got.ProbeOK {
		t.Errorf("the storage is %+v", got)
	}
	r.Fleet.With(func() { r.Fleet.Result = good })

	probed := changes()
	for field, in := range map[string]string{"name": `{"name":"17"}`, "endpoint": `{"endpoint":"ftp://x"}`, "secret_key": `{"access_key":"alone"}`, "bucket": `{"bucket":"other"}`, "prefix": `{"prefix":"p"}`} {
		if p := r.do("PATCH", "/storages/first", in).refused(http.StatusUnprocessableEntity, controller.EInvalid); p.Field != field {
			t.Errorf("%s: %+v", in, p)
		}
	}
	r.LocalStorage("here")
	r.do("PATCH", "/storages/here", `{"region":"x"}`).refused(http.StatusUnprocessableEntity, controller.EInvalid, "local")
	r.do("PATCH", "/storages/here", `{"name":"there"}`).is(http.StatusOK)
	r.do("PATCH", "/storages/there", `{"name":"first"}`).refused(http.StatusConflict, controller.EConflict, "first")
	// A token of one project changes nothing that all use, and does not get as far as a probe.
	limited := r.NewToken(controller.Permissions, mine.Slug)
	r.as(limited, "PATCH", "/api/v1/storages/first", `{"endpoint":"http://127.0.0.1:9"}`).refused(http.StatusForbidden, controller.EForbidden)
	r.as(limited, "PATCH", "/api/v1/storages/first", `{"name":"mine"}`).refused(http.StatusForbidden, controller.EForbidden)
	if changes() != probed {
		t.Error("a refused change was probed")
	}
	if strings.Contains(r.Logged.String(), "canary") {
		t.Error("the log holds a secret")
	}
}

// TestBackups_orders: each codec that is asked for is what is ordered, and the panel's switch means what it says.
func TestBackups_orders(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Project("shop")
	r.Storage("s3")
	for in, want := range map[string][3]string{
		``: {"zstd", "age"}, `,"encryption":"aes-256-cbc","compression":"gzip","level":9`: {"gzip", "aes-256-cbc"},
		`,"encrypt":true`: {"zstd", "age"}, `,"encrypt":false,"compression":"none"`: {"none", "none"},
	} {
		name := "db" + strconv.Itoa(len(in))
		r.Agent(name, "shop", name)
		b := into[outcomes](r.do("POST", "/backups", `{"project":"shop","database":"`+name+`"`+in+`}`).is(http.StatusCreated)).Items[0].Backup
		if b.Compression != want[0] || b.Encryption != want[1] || b.StorageDisk != "s3" {
			t.Errorf("%s: %s, %s", in, b.Compression, b.Encryption)
		}
	}
	for in, field := range map[string]string{`"compression":"gzip","level":10`: "level", `"compression":"none","level":1`: "level", `"encrypt":true,"encryption":"age"`: "encrypt"} {
		if p := r.do("POST", "/backups", `{"project":"shop",`+in+`}`).refused(http.StatusUnprocessableEntity, controller.EInvalid); p.Field != field {
			t.Errorf("%s: %+v", in, p)
		}
	}
}

// TestDownload_serverLimits: the server's time limits are for requests that the catalog answers, not for a transfer: neither before its
// first byte nor after it.
func TestDownload_serverLimits(t *testing.T) {
	t.Parallel()
	r, b, c := completed(t, true, "")
	const limit = 500 * time.Millisecond
	pause := func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(2 * limit):
			return nil
		}
	}
	r.Fleet.With(func() {
		r.Fleet.Stream = func(ctx context.Context, _ controller.Download, _ int64, w io.Writer) error {
			if err := pause(ctx); err != nil {
				return err
			}
			if _, err := w.Write(c.Stored[:70_000]); err != nil {
				return err
			}
			if err := pause(ctx); err != nil {
				return err
			}
			_, err := w.Write(c.Stored[70_000:])
			return err
		}
	})
	for _, protocol := range []int{1, 2} {
		_, path := r.link(b, `{}`)
		res, err := r.fetch(r.serve(protocol, limit), path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || !bytes.Equal(text, c.Stored) || res.ProtoMajor != protocol {
			t.Errorf("%d bytes over %s, %v", len(text), res.Proto, err)
		}
	}
}
