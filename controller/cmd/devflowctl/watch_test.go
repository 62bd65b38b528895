package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"devflowbackup/controller"
	main "devflowbackup/controller/cmd/devflowctl"
	"devflowbackup/controller/internal/app/apitest"
)

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func number(n int64) string {
	text, _ := json.Marshal(n)
	return string(text)
}

// world2 adds a server with a database to the project shop, and a storage.
func (r *rig) world2(databases ...string) *apitest.Agent {
	r.Helper()
	r.Storage("s3")
	return r.Agent("db-1", "shop", databases...)
}

// stuckServer takes connections and says nothing.
func stuckServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return "http://" + l.Addr().String()
}

// screen is what a run that goes on has printed so far.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// goesOn runs the program within this one until stop is called, which returns what it says of its end.
func (r *rig) goesOn(url string, args ...string) (out *screen, stop func() string) {
	ctx, cancel := context.WithCancel(context.Background())
	out = &screen{}
	said := make(chan string, 1)
	env := map[string]string{"HOME": r.home, "DEVFLOW_URL": url, "DEVFLOW_TOKEN": r.Token}
	go func() {
		said <- main.Run(ctx, nil, out, discard{}, func(name string) string { return env[name] }, args...)
	}()
	stop = sync.OnceValue(func() string { cancel(); return <-said })
	r.Cleanup(func() { _ = stop() })
	return out, stop
}

func (r *rig) shows(what string, s *screen, words ...string) {
	r.Helper()
	apitest.Eventually(r, what, func() bool {
		for _, w := range words {
			if !strings.Contains(s.String(), w) {
				return false
			}
		}
		return true
	})
}

// TestWatch: lists, events and what is waited for follow what happens, by events; where none are told they are followed nevertheless.
func TestWatch(t *testing.T) {
	t.Parallel()
	r := start(t)
	a := r.world("app")
	var streams atomic.Int32
	counted := func(events bool) string {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if strings.HasSuffix(req.URL.Path, "/events") {
				if streams.Add(1); !events {
					http.NotFound(w, req) // a proxy that knows nothing of it
					return
				}
			}
			r.API.ServeHTTP(w, req)
		}))
		t.Cleanup(srv.Close)
		return srv.URL
	}
	heard, silent := counted(true), counted(false)

	events, endEvents := r.goesOn(heard, "events", "--project", "shop", "--kind", "backup,job", "-o", "json")
	byEvents, endList := r.goesOn(heard, "backup", "list", "shop", "--watch")
	asJSON, endJSON := r.goesOn(heard, "backup", "list", "--watch", "-o", "json")
	byPolling, endPolling := r.goesOn(silent, "backup", "list", "--watch")
	jobs, endJobs := r.goesOn(heard, "job", "list", "--watch")
	r.shows("the head of the list", byEvents, "DATABASE")
	r.shows("the head of the other", byPolling, "DATABASE")
	r.shows("the head of jobs", jobs, "KIND")
	apitest.Eventually(t, "streams are open", func() bool { return streams.Load() >= 5 })

	// What is ordered, and waited for.
	created, _ := r.goesOn(heard, "backup", "create", "shop", "--watch")
	r.shows("the order, by events", byEvents, "pending")
	r.shows("the order, by asking", byPolling, "pending")
	defer r.play(a)()
	r.shows("the end", created, "1 completed")
	id := number(r.backups()[0].ID)
	r.shows("the backup, by events", byEvents, "completed")
	r.shows("the backup, by asking", byPolling, "completed")
	r.shows("the job", jobs, "completed")
	r.shows("the backup as JSON", asJSON, `"status":"completed"`)
	r.shows("the event", events, `"kind":"backup"`, `"status":"completed"`)
	var last int64
	for line := range strings.SplitSeq(strings.TrimSpace(events.String()), "\n") {
		var e controller.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Kind != "backup" && e.Kind != "job" || e.ID <= last {
			t.Errorf("an event is %s: %v", line, err)
		}
		last = e.ID
	}
	for what, stop := range map[string]func() string{"events": endEvents, "list": endList, "JSON": endJSON, "polling": endPolling, "jobs": endJobs} {
		if said := stop(); said != "" {
			t.Errorf("Ctrl-C ends %s with %q", what, said)
		}
	}
	if n := strings.Count(byEvents.String(), "\n"+id+" "); n < 2 {
		t.Errorf("backup %s has %d lines:\n%s", id, n, byEvents.String())
	}
	// Events that were missed are told afterwards.
	again, _ := r.goesOn(r.URL, "events", "--after", number(last-1))
	r.shows("the event that was missed", again, "backup", "status=")
	r.ctl("events", "--kind", "weather").ends(2, "weather", "progress")
	r.ctl("events", "--after", "-1").ends(2)
	lost, _ := r.goesOn(r.URL, "events", "--after", "999999999")
	r.shows("that something is no longer known", lost, "reset", "read the lists again")
	r.env[0] = "DEVFLOW_URL=" + silent
	r.ctl("events").ends(1, "not by a controller")
	r.ctl("backup", "create", "shop", "--watch").ends(0, "1 completed") // by asking
	r.ctl("backup", "verify", "--all", "--watch").ends(0, "0 failed")

	servers, _ := r.goesOn(heard, "server", "list", "--watch")
	r.shows("the servers", servers, "db-1")
	r.Agent("db-2", "shop")
	r.shows("the server that comes up", servers, "db-2")
	schedules, _ := r.goesOn(heard, "schedule", "list", "--watch")
	restores, _ := r.goesOn(heard, "restore", "list", "--watch")
	r.shows("no schedules", schedules, "COVERS")
	r.shows("no restores", restores, "KIND")
	r.env[0] = "DEVFLOW_URL=" + r.URL
	r.ctl("schedule", "create", "shop", "--daily", "02:00").ends(0)
	r.shows("the schedule", schedules, "Daily at 02:00")
	r.ctl("restore", "create", id, "--to-database", "copy", "--watch").ends(0, "completed")
	r.shows("the restore", restores, "copy", "completed")
}

// TestWatch_broken: a stream that breaks is begun again after the last event, and nothing is told twice.
func TestWatch_broken(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.world("app")
	var mu sync.Mutex
	var from []string
	var cut []context.CancelFunc
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.HasSuffix(req.URL.Path, "/events") {
			ctx, cancel := context.WithCancel(req.Context())
			mu.Lock()
			from = append(from, req.Header.Get("Last-Event-ID"))
			cut = append(cut, cancel)
			mu.Unlock()
			req = req.WithContext(ctx)
		}
		r.API.ServeHTTP(w, req)
	}))
	t.Cleanup(srv.Close)
	events, _ := r.goesOn(srv.URL, "events", "--kind", "backup")
	apitest.Eventually(t, "a stream is open", func() bool { mu.Lock(); defer mu.Unlock(); return len(cut) == 1 })
	r.env[0] = "DEVFLOW_URL=" + r.URL
	apitest.Eventually(t, "the first backup is told", func() bool {
		if strings.Contains(events.String(), "status=") {
			return true
		}
		if len(r.backups()) == 0 {
			r.ctl("backup", "create", "shop").ends(0)
		}
		return false
	})
	first := r.backups()[0]
	mu.Lock()
	cut[0]()
	mu.Unlock()
	r.ctl("backup", "cancel", number(first.ID)).ends(0)
	r.shows("what happened meanwhile", events, "status=failed")
	if n := strings.Count(events.String(), "status=pending"); n != 1 {
		t.Errorf("the order is told %d times:\n%s", n, events.String())
	}
	mu.Lock()
	defer mu.Unlock()
	if len(from) < 2 || from[0] != "" || from[1] == "" {
		t.Errorf("streams began after %q", from)
	}
}
