package client_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/client"
)

const token = "dfk_canary"

func open(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	c, err := client.New(client.Options{URL: srv.URL, Token: token, UserAgent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func problem(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", body.ContentType)
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}

func TestClient_problem(t *testing.T) {
	c := open(t, func(w http.ResponseWriter, _ *http.Request) {
		problem(w, http.StatusConflict, `{"status":409,"code":"conflict","detail":"backup 12 is running","hint":"wait for it","request_id":"r1"}`)
	})
	_, err := c.CreateBackups(t.Context(), body.CreateBackups{})
	var p *body.Problem
	if !errors.As(err, &p) || p.Code != "conflict" || p.RequestID != "r1" || err.Error() != "backup 12 is running (wait for it)" {
		t.Errorf("the error is %v", err)
	}
}

// TestClient_stranger: what is not a controller's answer says so, whatever it is.
func TestClient_stranger(t *testing.T) {
	c := open(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte("<html>proxy"))
	})
	if _, err := c.Projects(t.Context()); err == nil || !strings.Contains(err.Error(), "not by a controller") || strings.Contains(err.Error(), "canary") {
		t.Errorf("the error is %v", err)
	}
}

// TestClient_redirect: the token goes to the configured server only.
func TestClient_redirect(t *testing.T) {
	var reached atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	defer other.Close()
	c := open(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	if _, err := c.Projects(t.Context()); err == nil || reached.Load() {
		t.Errorf("the error is %v, the other server was reached: %v", err, reached.Load())
	}
}

// TestClient_repeat: what is harmless to repeat is repeated while the controller is unavailable; what may not be is sent once.
func TestClient_repeat(t *testing.T) {
	var n atomic.Int32
	keys := map[string]bool{}
	c := open(t, func(w http.ResponseWriter, r *http.Request) {
		keys[r.Header.Get(body.IdempotencyKey)] = true
		if n.Add(1) < 3 {
			problem(w, http.StatusServiceUnavailable, `{"status":503,"code":"unavailable","detail":"the catalog is away"}`)
			return
		}
		_, _ = w.Write([]byte(`{"items":[]}`))
	})
	if _, err := c.Projects(t.Context()); err != nil || n.Load() != 3 {
		t.Errorf("a GET: %v after %d requests", err, n.Load())
	}
	n.Store(0)
	clear(keys)
	if _, err := c.CreateBackups(t.Context(), body.CreateBackups{}); err != nil || n.Load() != 3 || len(keys) != 1 || keys[""] {
		t.Errorf("a create: %v after %d requests with the keys %v", err, n.Load(), keys)
	}
	n.Store(0)
	if _, err := c.RevokeServer(t.Context(), "db-1"); err == nil || n.Load() != 1 {
		t.Errorf("a change: %v after %d requests", err, n.Load())
	}
}

func TestClient_cancel(t *testing.T) {
	arrived := make(chan struct{})
	c := open(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	cause := errors.New("the operator left")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { <-arrived; cancel(cause) }()
	if _, err := c.Projects(ctx); !errors.Is(err, cause) {
		t.Errorf("the error is %v", err)
	}
}

func TestNew_errors(t *testing.T) {
	for _, url := range []string{"", "backup.test", "ftp://x", "https://", "https://u:pw-canary@h", "https://h/path", "https://h?q=1", "http://backup.test"} {
		if _, err := client.New(client.Options{URL: url}); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v", url, err)
		}
	}
	for _, url := range []string{"https://h:8443", "https://h/", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"} {
		if _, err := client.New(client.Options{URL: url}); err != nil {
			t.Errorf("%q: %v", url, err)
		}
	}
}
