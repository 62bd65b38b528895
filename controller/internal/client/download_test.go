package client_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/client"
)

const size = 100_000

var content = bytes.Repeat([]byte("0123456789"), size/10)

const checksum = "abc"

func linkTo(direct bool, url string) body.Download {
	return body.Download{URL: url, Direct: direct, Size: size, Checksum: checksum, Format: "stored"}
}

// give answers as both a controller and a store would.
func give(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", strconv.Quote(checksum))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// TestOpen_where: a link to the controller is asked for where the controller was configured to be, whatever host it names; a link to a
// store at that store. The token travels to neither.
func TestOpen_where(t *testing.T) {
	var asked []string
	c := open(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.String()+r.Header.Get("Authorization"))
		give(w, r)
	})
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, "store "+r.URL.String()+r.Header.Get("Authorization"))
		give(w, r)
	}))
	defer store.Close()
	for _, d := range []body.Download{linkTo(false, "https://inside.test:8443/api/v1/downloads/dfd_x"), linkTo(true, store.URL+"/b/k%20y?X-Amz-Signature=s")} {
		for _, from := range []int64{0, 99_999} {
			got, err := c.Open(t.Context(), d, from)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(got)
			if err != nil || got.Offset != from || !bytes.Equal(text, content[from:]) {
				t.Errorf("%d bytes from %d, %v", len(text), got.Offset, err)
			}
			_ = got.Close()
		}
	}
	const own, theirs = "/api/v1/downloads/dfd_x", "store /b/k%20y?X-Amz-Signature=s"
	if want := []string{own, own, theirs, theirs}; strings.Join(asked, " ") != strings.Join(want, " ") {
		t.Errorf("asked were %q", asked)
	}
	for _, bad := range []string{"", "nonsense", "https://evil.test/api/v1/projects", "%zz"} {
		if _, err := c.Open(t.Context(), linkTo(false, bad), 0); err == nil || client.Transient(err) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestOpen_broken: an end that is too early is never io.EOF, over either protocol, and may be tried again.
func TestOpen_broken(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		for name, end := range map[string]func(){"broken": func() { panic(http.ErrAbortHandler) }, "ended": func() {}} {
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("ETag", strconv.Quote(checksum))
				_, _ = w.Write(content[:50_000]) // chunked, so that only who counts sees that the end is missing
				_ = http.NewResponseController(w).Flush()
				end()
			}))
			srv.EnableHTTP2 = h2
			srv.StartTLS()
			c, err := client.New(client.Options{URL: srv.URL, CAPEM: certificate(srv)})
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.Open(t.Context(), linkTo(false, srv.URL+"/api/v1/downloads/x"), 0)
			if err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, got)
			if err == nil || !client.Transient(err) || client.Unreachable(err) || n != 50_000 {
				t.Errorf("%s, HTTP/2 %t: %d bytes, %v", name, h2, n, err)
			}
			_ = got.Close()
			srv.Close()
		}
	}
}

// TestOpen_stall: a transfer that stands still is ended; one whose reader takes its time is not.
func TestOpen_stall(t *testing.T) {
	t.Parallel()
	const stall = 300 * time.Millisecond
	hang := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", strconv.Quote(checksum))
		w.Header().Set("Content-Length", strconv.Itoa(size))
		switch r.URL.Path {
		case "/api/v1/downloads/body":
			_, _ = w.Write(content[:10])
			_ = http.NewResponseController(w).Flush()
			<-hang
		case "/api/v1/downloads/head":
			<-hang
		default:
			_, _ = w.Write(content)
		}
	}))
	defer srv.Close()
	defer close(hang)
	c, err := client.New(client.Options{URL: srv.URL, Stall: stall})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Open(t.Context(), linkTo(false, srv.URL+"/api/v1/downloads/head"), 0); err == nil || !client.Transient(err) || !strings.Contains(err.Error(), "nothing came for") {
		t.Errorf("before the first byte: %v", err)
	}
	got, err := c.Open(t.Context(), linkTo(false, srv.URL+"/api/v1/downloads/body"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, got); n != 10 || err == nil || !client.Transient(err) || !strings.Contains(err.Error(), "nothing came for") {
		t.Errorf("after %d bytes: %v", n, err)
	}
	_ = got.Close()

	got, err = c.Open(t.Context(), linkTo(false, srv.URL+"/api/v1/downloads/all"), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if _, err := io.ReadFull(got, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	<-time.After(2 * stall) // the reader's own time
	if n, err := io.Copy(io.Discard, got); n != size-10 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestOpen_cancel(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", strconv.Quote(checksum))
		_, _ = w.Write(content[:10])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	defer srv.Close()
	c, err := client.New(client.Options{URL: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	cause := errors.New("the operator left")
	ctx, cancel := context.WithCancelCause(t.Context())
	got, err := c.Open(ctx, linkTo(false, srv.URL+"/api/v1/downloads/x"), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	cancel(cause)
	if _, err := io.Copy(io.Discard, got); !errors.Is(err, cause) {
		t.Errorf("the error is %v", err)
	}
}

// TestOpen_refused: a store's own words come through, a controller's problem stays one.
func TestOpen_refused(t *testing.T) {
	for _, x := range []struct {
		status    int
		text      string
		says      string
		transient bool
	}{
		{http.StatusForbidden, `<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>`, "403 Forbidden, AccessDenied: Request has expired", false},
		{http.StatusServiceUnavailable, `<Error><Code>SlowDown</Code></Error>`, "503 Service Unavailable, SlowDown", true},
		{http.StatusNotFound, "gone", "404 Not Found", false},
		{http.StatusMovedPermanently, "", "301", false},
	} {
		store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(x.status)
			_, _ = io.WriteString(w, x.text)
		}))
		c, err := client.New(client.Options{URL: store.URL})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Open(t.Context(), linkTo(true, store.URL+"/b/k?X-Amz-Signature=canary"), 5)
		var refused *client.StoreError
		if !errors.As(err, &refused) || client.Transient(err) != x.transient || !strings.Contains(err.Error(), x.says) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%d: %v", x.status, err)
		}
		store.Close()
		if _, err = c.Open(t.Context(), linkTo(true, store.URL+"/b/k?X-Amz-Signature=canary"), 0); !client.Unreachable(err) || !client.Transient(err) || strings.Contains(err.Error(), "canary") {
			t.Errorf("a store that is away: %v", err)
		}
	}
	c := open(t, func(w http.ResponseWriter, _ *http.Request) {
		problem(w, http.StatusConflict, `{"status":409,"code":"conflict","detail":"this link was already used"}`)
	})
	var p *body.Problem
	if _, err := c.Open(t.Context(), linkTo(false, "https://x/api/v1/downloads/x"), 0); !errors.As(err, &p) || p.Code != "conflict" || client.Transient(err) {
		t.Errorf("the controller's refusal: %v", err)
	}
}

func certificate(srv *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
}
