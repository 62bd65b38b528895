package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/app/apitest"
)

// told is one event as it came.
type told struct {
	name, id string
	controller.Event
	row map[string]any
}

// watch opens a stream; the channel is closed when it ends.
func (r *rig) watch(token, query string, headers ...string) (events <-chan told, end func()) {
	r.Helper()
	ctx, cancel := context.WithCancel(r.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL+"/api/v1/events"+query, http.NoBody)
	if err != nil {
		r.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	var res *http.Response
	apitest.Eventually(r, "events are ready", func() bool {
		res, err = http.DefaultClient.Do(req)
		if err != nil {
			r.Fatal(err)
		}
		if res.StatusCode != http.StatusServiceUnavailable {
			return true
		}
		_ = res.Body.Close()
		return false
	})
	if ct := res.Header.Get("Content-Type"); res.StatusCode != http.StatusOK || ct != "text/event-stream" {
		r.Fatalf("status %d, content type %q", res.StatusCode, ct)
	}
	c := make(chan told, 1000)
	go func() {
		defer close(c)
		defer res.Body.Close()
		var e told
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				_ = json.Unmarshal([]byte(value), &e.Event)
				_ = json.Unmarshal(e.Row, &e.row)
			case "":
				if e.name != "" && e.name != "hello" && lines.Text() == "" {
					c <- e
				}
				if lines.Text() == "" {
					e = told{}
				}
			}
		}
	}()
	r.Cleanup(cancel)
	return c, cancel
}

// until takes events up to the first that is wanted, and returns them.
func (r *rig) until(what string, c <-chan told, want func(told) bool) []told {
	r.Helper()
	deadline := time.After(20 * time.Second)
	var all []told
	for {
		select {
		case e, open := <-c:
			if !open {
				r.Fatalf("the stream ended before %s", what)
			}
			if all = append(all, e); want(e) {
				return all
			}
		case <-deadline:
			r.Fatalf("%s was not told within 20 seconds, but %v", what, all)
		}
	}
}

func backupIs(status string) func(told) bool {
	return func(e told) bool { return e.name == "backup" && e.row["status"] == status }
}

// TestEvents: what happens is told to those who may know of it, in order, once, and from where they were.
func TestEvents(t *testing.T) {
	t.Parallel()
	r := start(t)
	shop, other := r.Project("shop"), r.Project("other")
	a := r.Agent("db-1", shop.Slug, "app")
	r.Storage("s3")
	mine, end := r.watch(r.Token, "")
	limited, _ := r.watch(r.NewToken([]string{controller.ViewBackups}, "shop"), "")
	stranger, _ := r.watch(r.NewToken([]string{controller.ViewBackups}, "other"), "")

	r.do(http.MethodPost, "/backups", map[string]any{"database": "app"}).is(http.StatusCreated)
	offers := r.Start(a)
	first := r.until("the run", mine, backupIs("running"))
	end()
	r.Fleet.With(func() {
		r.Fleet.Running = map[int64]controller.Progress{offers[0].Attempt.Job: {Stage: "dump", RawBytes: 7, TotalBytes: 70}}
	})
	r.until("progress", limited, func(e told) bool {
		return e.name == "progress" && e.id == "" && e.JobID == offers[0].Attempt.Job && e.BackupID == offers[0].Backup.ID && e.Progress != nil && e.Progress.RawBytes == 7
	})
	r.Complete(a, offers[0])
	r.until("the completion", limited, backupIs("completed"))

	// Who comes back gets what it missed and nothing twice.
	last := first[len(first)-1]
	again, _ := r.watch(r.Token, "", "Last-Event-ID", last.id)
	missed := r.until("the completion, later", again, backupIs("completed"))
	var seen []int64
	for _, e := range append(first, missed...) {
		if e.ID > 0 {
			seen = append(seen, e.ID)
		}
	}
	if !slices.IsSorted(seen) || len(slices.Compact(slices.Clone(seen))) != len(seen) {
		t.Fatalf("ids are %v", seen)
	}
	byQuery, _ := r.watch(r.Token, "?project=shop&last_event_id="+last.id)
	for _, e := range r.until("the completion, of the project", byQuery, backupIs("completed")) {
		if e.ProjectID == nil || *e.ProjectID != shop.ID {
			t.Fatalf("of another project: %+v", e)
		}
	}
	// Nothing is known of an id that was never given.
	lost, _ := r.watch(r.Token, "", "Last-Event-ID", "999999999")
	r.until("that it has to read again", lost, func(e told) bool { return e.name == "reset" })

	// The stranger's own is the first that it hears of.
	b := r.Agent("db-2", other.Slug, "blog")
	r.do(http.MethodPost, "/backups", map[string]any{"database": "blog"}).is(http.StatusCreated)
	for _, e := range r.until("its own backup", stranger, backupIs("pending")) {
		if e.ProjectID != nil && *e.ProjectID != other.ID || e.ProjectID == nil && e.name == "agent" && e.ServerID != nil && *e.ServerID != b.ID {
			t.Fatalf("a stranger was told %+v", e)
		}
	}
}

// TestEvents_Ends: a stream ends with the right to it, and one caller has a bounded number of them.
func TestEvents_Ends(t *testing.T) {
	t.Parallel()
	r := start(t)
	token := r.NewToken([]string{controller.ViewBackups})
	c, _ := r.watch(token, "")
	var ends []func()
	for range 19 {
		_, end := r.watch(token, "")
		ends = append(ends, end)
	}
	r.as(token, http.MethodGet, "/api/v1/events", nil).refused(http.StatusTooManyRequests, "too_many_requests", "event streams")
	ends[0]()
	apitest.Eventually(t, "there is room again", func() bool {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL+"/api/v1/events", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	for _, token := range into[struct {
		Items []controller.APIToken `json:"items"`
	}](r.do(http.MethodGet, "/tokens", nil).is(http.StatusOK)).Items {
		if len(token.Permissions) == 1 {
			r.do(http.MethodDelete, fmt.Sprintf("/tokens/%d", token.ID), nil).is(http.StatusNoContent)
		}
	}
	deadline := time.After(20 * time.Second)
	for {
		select {
		case _, open := <-c:
			if !open {
				return
			}
		case <-deadline:
			t.Fatal("the stream of a revoked token goes on")
		}
	}
}
