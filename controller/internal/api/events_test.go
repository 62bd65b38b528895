package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api"
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
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
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
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
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

// feed gives whoever subscribes what a test tells it.
type feed struct {
	mu    sync.Mutex
	subs  []chan *controller.Event
	ended int
}

func (f *feed) Subscribe() (events <-chan *controller.Event, head int64, end func(), ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := make(chan *controller.Event, 512)
	f.subs = append(f.subs, c)
	return c, 0, sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.ended++
	}), true
}

func (f *feed) state() (subscribed, ended int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.subs), f.ended
}

// TestEvents_slow (fault 84): a client that reads nothing is cut soon, holds no connection, and delays nobody; the streams of all end with the
// controller.
func TestEvents_slow(t *testing.T) {
	t.Parallel()
	f := &feed{}
	r := &rig{apitest.Custom(t, func(o *api.Options) { o.Events, o.StreamBeat, o.StreamStall = f, time.Hour, 300*time.Millisecond })}
	var dead []net.Conn
	for range 2 {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(r.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.(*net.TCPConn).SetReadBuffer(256 << 10); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(c, "GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", r.Token); err != nil {
			t.Fatal(err)
		}
		dead = append(dead, c)
	}
	quick, _ := r.watch(r.Token, "")
	apitest.Eventually(t, "all listen", func() bool { n, _ := f.state(); return n == 3 })
	const n = 200 // 12 MB: more than the kernel takes for who does not read
	row, err := json.Marshal(strings.Repeat("x", 60_000))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	f.mu.Lock()
	for i := range n {
		for _, c := range f.subs {
			c <- &controller.Event{ID: int64(i + 1), Kind: controller.EventBackup, Row: row}
		}
	}
	f.mu.Unlock()
	last := int64(0)
	for _, e := range r.until("the last one", quick, func(e told) bool { return e.ID == n }) {
		if e.ID != last+1 {
			t.Fatalf("event %d after %d", e.ID, last)
		}
		last = e.ID
	}
	apitest.Eventually(t, "those that read nothing are cut", func() bool { _, ended := f.state(); return ended == 2 })
	for _, c := range dead {
		if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if got, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) || got > n*60_000*3/4 {
			t.Fatalf("its connection is open after %s, with %d bytes: %v", time.Since(began), got, err)
		}
	}
	// The controller stops.
	f.mu.Lock()
	for _, c := range f.subs {
		close(c)
	}
	f.mu.Unlock()
	select {
	case e, open := <-quick:
		if open {
			t.Fatalf("%v", e)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("a stream goes on after the controller has stopped")
	}
}

// TestEvents_controllers: what one controller does is told by another, with the same ids, and a client goes on there where it was.
func TestEvents_controllers(t *testing.T) {
	t.Parallel()
	one := start(t)
	two := &rig{one.Beside()}
	one.Project("shop")
	one.Storage("s3")
	one.Agent("db-1", "shop", "app")
	here, leave := one.watch(one.Token, "?project=shop")
	there, _ := two.watch(two.Token, "?project=shop")
	one.do(http.MethodPost, "/backups", map[string]any{"database": "app"}).is(http.StatusCreated)
	a := one.until("the order", here, backupIs("pending"))
	b := two.until("the order, by the other one", there, backupIs("pending"))
	if first, second := a[len(a)-1], b[len(b)-1]; first.ID != second.ID || first.ID == 0 {
		t.Fatalf("%+v and %+v", first, second)
	}
	leave()
	one.do(http.MethodPost, "/backups/1/cancel", nil).is(http.StatusOK)
	two.until("the end", there, backupIs("failed"))
	again, _ := two.watch(two.Token, "?project=shop", "Last-Event-ID", a[len(a)-1].id)
	for i, e := range two.until("the end, later", again, backupIs("failed")) {
		if e.ID <= a[len(a)-1].ID || e.name == "reset" {
			t.Fatalf("event %d: %+v", i, e)
		}
	}
}

// TestEvents_rights: what somebody may see changes while a stream is open.
func TestEvents_rights(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Storage("s3")
	ids := map[string]int64{}
	for _, slug := range []string{"shop", "other"} {
		ids[slug] = r.Project(slug).ID
		r.do(http.MethodPost, "/schedules", map[string]any{"project": slug, "frequency": "hourly"}).is(http.StatusCreated)
	}
	r.user("zoe", []string{controller.ViewBackups}, "shop", "other")
	c, _ := r.watch("", "", "Cookie", r.signedIn("zoe").cookie)
	level := 0
	// change edits both projects' schedules and tells of which of them the stream told.
	change := func() (of []int64) {
		level = level%9 + 1
		for id := range 2 {
			r.do(http.MethodPatch, fmt.Sprintf("/schedules/%d", id+1), map[string]any{"level": level}).is(http.StatusOK)
		}
		for _, e := range r.until("the other project's", c, func(e told) bool { return e.name == "schedule" && *e.ProjectID == ids["other"] }) {
			if e.name == "schedule" {
				of = append(of, *e.ProjectID)
			}
		}
		return of
	}
	apitest.Eventually(t, "what the projects have is told", func() bool { return slices.Contains(change(), ids["shop"]) })
	r.do(http.MethodPatch, "/users/zoe", map[string]any{"projects": []string{"other"}}).is(http.StatusOK)
	apitest.Eventually(t, "nothing is told of a project that was taken", func() bool { return !slices.Contains(change(), ids["shop"]) })
	r.do(http.MethodPatch, "/users/zoe", map[string]any{"permissions": []string{controller.ViewAuditLogs}}).is(http.StatusOK)
	deadline := time.After(20 * time.Second)
	for {
		select {
		case _, open := <-c:
			if !open {
				return
			}
		case <-deadline:
			t.Fatal("the stream goes on without the permission")
		}
	}
}

// TestEvents_idle: a page that is left open does not keep its session from ending, and the stream ends with it.
func TestEvents_idle(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.user("zoe", []string{controller.ViewBackups})
	cookie := r.signedIn("zoe").cookie
	_, end := r.watch("", "", "Cookie", cookie) // once it is ready
	end()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL+"/api/v1/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Cookie", cookie)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	r.SQL("UPDATE user_sessions SET seen_at = now() - interval '5 minutes'")
	beats := 0
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if lines.Text() != ": beat" {
			continue
		}
		if beats++; beats == 2 {
			if used := r.SQL("SELECT seen_at > now() - interval '4 minutes' FROM user_sessions"); used != "f" {
				t.Fatalf("the stream used the session: %s", used)
			}
			r.SQL("UPDATE user_sessions SET seen_at = now() - interval '1 year'")
		}
	}
	if beats < 2 || ctx.Err() != nil {
		t.Fatalf("the stream ended after %d beats", beats)
	}
	// A request is a use.
	cookie = r.signedIn("zoe").cookie
	r.SQL("UPDATE user_sessions SET seen_at = now() - interval '5 minutes' WHERE seen_at > now() - interval '1 day'")
	r.as("", http.MethodGet, "/api/v1/session", nil, "Cookie", cookie).is(http.StatusOK)
	if used := r.SQL("SELECT count(*) FROM user_sessions WHERE seen_at > now() - interval '4 minutes'"); used != "1" {
		t.Fatalf("%s sessions were used", used)
	}
}

// TestStreams: whoever asks has a bounded number of streams, and a panel's token a bound for all of its users together, whatever names it
// gives them; what ends makes room.
func TestStreams(t *testing.T) {
	t.Parallel()
	var s api.Streams
	user := func(n int) controller.Actor { return controller.Actor{TokenID: 7, OnBehalfOf: fmt.Sprint("user ", n)} }
	var ends []func()
	open := func(a controller.Actor) bool {
		end := s.Begin(a)
		if end != nil {
			ends = append(ends, end)
		}
		return end != nil
	}
	for n := range 20 {
		for range 20 {
			if !open(user(n)) {
				t.Fatalf("user %d has no room", n)
			}
		}
	}
	if open(user(0)) || open(user(20)) || !open(controller.Actor{TokenID: 7}) || !open(controller.Actor{TokenID: 8, OnBehalfOf: "user 0"}) || !open(controller.Actor{UserID: 7}) {
		t.Fatal("the bounds are not those of each token and user")
	}
	ends[25]()
	if !open(user(20)) || open(user(1)) {
		t.Fatal("one that ended makes room for one")
	}
	for _, end := range append(ends[:25], ends[26:]...) {
		end()
	}
	for n := range 1000 {
		if !open(controller.Actor{UserID: int64(n + 1)}) {
			t.Fatalf("%d are open", n)
		}
	}
	if open(controller.Actor{UserID: 2000}) {
		t.Fatal("a controller has no bound")
	}
}
