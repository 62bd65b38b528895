package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/client"
)

// TestClient_session: a session's cookie goes to the controller, and with writes the token that proves that they are meant.
func TestClient_session(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.URL.Path == "/api/v1/session" {
			http.SetCookie(w, &http.Cookie{Name: body.SessionCookie, Value: "dfs_secret", Path: "/", Secure: true, HttpOnly: true})
			_, _ = io.WriteString(w, `{"name":"anna","csrf_token":"c"}`)
			return
		}
		w.Header().Set("ETag", `"v1"`)
		_ = json.NewEncoder(w).Encode(map[string]string{
			"slug": r.Header.Get("Cookie") + "|" + r.Header.Get(body.CSRF) + "|" + r.Header.Get("Authorization") + "|" + r.Header.Get("If-Match"),
		})
	}))
	defer srv.Close()
	c, err := client.New(client.Options{URL: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	in, session, err := c.SignIn(t.Context(), "anna", "password")
	if err != nil || in.Name != "anna" || session.Cookie.Reveal() != "dfs_secret" || session.CSRF != "c" {
		t.Fatalf("%+v %+v, %v", in, session, err)
	}
	if c, err = client.New(client.Options{URL: srv.URL, Session: session}); err != nil {
		t.Fatal(err)
	}
	version := ""
	p, err := c.Project(client.WithMatch(client.WithVersion(t.Context(), &version), `"v0"`), "x")
	if err != nil || p.Slug != "__Host-devflow=dfs_secret|||" || version != `"v1"` {
		t.Errorf("a read sends %q, and the version is %s: %v", p.Slug, version, err)
	}
	if p, err = c.UpdateProject(client.WithMatch(t.Context(), version), "x", body.UpdateProject{}); err != nil || p.Slug != `__Host-devflow=dfs_secret|c||"v1"` {
		t.Errorf("a write sends %q: %v", p.Slug, err)
	}
	// A token is nearer.
	if c, err = client.New(client.Options{URL: srv.URL, Session: session, Token: "dfk_x"}); err != nil {
		t.Fatal(err)
	}
	if p, err = c.UpdateProject(t.Context(), "x", body.UpdateProject{}); err != nil || p.Slug != "||Bearer dfk_x|" {
		t.Errorf("with a token it sends %q: %v", p.Slug, err)
	}
}

// TestClient_slowed: who sends too much waits as long as it is told to, where that is not long and the request may be repeated.
func TestClient_slowed(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	var code, after atomic.Value
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1)%2 == 0 {
			_, _ = io.WriteString(w, `{"slug":"shop"}`)
			return
		}
		w.Header().Set("Content-Type", body.ContentType)
		w.Header().Set("Retry-After", after.Load().(string))
		w.WriteHeader(http.StatusTooManyRequests)
		_ = json.NewEncoder(w).Encode(body.Problem{Status: http.StatusTooManyRequests, Code: code.Load().(string), Detail: "too many"})
	}))
	defer srv.Close()
	c, err := client.New(client.Options{URL: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		code, after string
		waited      bool
	}{{body.CodeRate, "1", true}, {body.CodeRate, "3600", false}, {body.CodeTooMany, "1", false}, {body.CodeQuota, "1", false}} {
		code.Store(x.code)
		after.Store(x.after)
		asked.Store(0)
		began := time.Now()
		_, err := c.Project(t.Context(), "shop")
		var p *body.Problem
		switch {
		case x.waited && (err != nil || asked.Load() != 2 || time.Since(began) < time.Second):
			t.Errorf("%+v: %d requests in %s, %v", x, asked.Load(), time.Since(began), err)
		case !x.waited && (asked.Load() != 1 || !errors.As(err, &p) || p.Code != x.code || p.RetryAfter < time.Second):
			t.Errorf("%+v: %d requests, %v", x, asked.Load(), err)
		}
	}
	// What would be done twice is not sent again.
	code.Store(body.CodeRate)
	after.Store("1")
	asked.Store(0)
	if _, err := c.UpdateProject(t.Context(), "shop", body.UpdateProject{}); err == nil || asked.Load() != 1 {
		t.Errorf("%d requests, %v", asked.Load(), err)
	}
}

// TestClient_Events: events come as they were sent, and a stream never ends well: it breaks, or is none.
func TestClient_Events(t *testing.T) {
	t.Parallel()
	var text, kind atomic.Value
	var last atomic.Value
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		last.Store(r.Header.Get("Last-Event-ID") + "?" + r.URL.RawQuery)
		w.Header().Set("Content-Type", kind.Load().(string))
		_, _ = io.WriteString(w, text.Load().(string))
	}))
	defer srv.Close()
	c, err := client.New(client.Options{URL: srv.URL, Token: "dfk_x"})
	if err != nil {
		t.Fatal(err)
	}
	read := func(contentType, stream string, after int64) (events []controller.Event, began int, err error) {
		kind.Store(contentType)
		text.Store(stream)
		err = c.Events(t.Context(), "shop", after, func() { began++ }, func(e controller.Event) error {
			events = append(events, e)
			return nil
		})
		return events, began, err
	}
	const stream = "retry: 2000\nevent: hello\ndata: {\"head\":4}\n\n: beat\n\nid: 5\nevent: backup\ndata: {\"id\":5,\ndata: \"row\":{\"id\":7}}\n\nevent: progress\ndata: {\"job_id\":3,\"progress\":{\"stage\":\"dump\"}}\n\nevent: reset\nid: 9\ndata: {\"head\":9}\n\nevent: backup\ndata: {\"cut"
	events, began, err := read("text/event-stream; charset=utf-8", stream, 4)
	if err == nil || !strings.Contains(err.Error(), "broke") || began != 1 || len(events) != 3 || last.Load() != "4?project=shop" {
		t.Fatalf("%+v, %d, %v, asked with %s", events, began, err, last.Load())
	}
	if events[0].Kind != "backup" || events[0].ID != 5 || string(events[0].Row) != `{"id":7}` || events[1].ID != 0 || events[1].Progress == nil || events[1].JobID != 3 ||
		events[2].Kind != client.EventReset || events[2].ID != 9 {
		t.Errorf("%+v", events)
	}
	if _, _, err := read("text/html", "<html>", 0); !errors.Is(err, client.ErrNoEvents) || last.Load() != "?project=shop" {
		t.Errorf("%v", err)
	}
	if _, _, err := read("text/event-stream", "event: backup\ndata: not JSON\n\n", 0); err == nil || !strings.Contains(err.Error(), "read the event") {
		t.Errorf("%v", err)
	}
	// Nothing is collected without end.
	if _, _, err := read("text/event-stream", "event: backup\ndata: "+strings.Repeat("x", 2<<20), 0); err == nil {
		t.Error("an event of two megabytes was taken")
	}
	kind.Store("text/event-stream")
	text.Store(stream)
	stop := errors.New("enough")
	if err := c.Events(t.Context(), "", 0, func() {}, func(controller.Event) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if err := c.Events(ctx, "", 0, func() {}, func(controller.Event) error { return nil }); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
}
