package fleet_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats.go"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/fleet"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/wire"
)

func TestFleet_StartStop(t *testing.T) {
	k := newKit(t, nil)
	k.fleet.Stop() // before it was started
	before := goroutines()
	for range 3 {
		for range 2 { // the second changes nothing
			if err := k.fleet.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := k.request(wire.VerbHello, wire.Hello{Protocol: wire.Version}); err != nil {
			t.Fatal(err)
		}
		if goroutines() <= before {
			t.Fatal("goroutines are not counted")
		}
		k.fleet.Stop()
		k.fleet.Stop()
		if n := goroutines(); n > before {
			t.Fatalf("%d goroutines after Stop, %d before Start", n, before)
		}
		if _, err := k.raw(wire.VerbHello, []byte("{}")); !errors.Is(err, nats.ErrNoResponders) {
			t.Fatalf("a request after Stop: %v", err)
		}
	}
	// Once for each start: a second Start has no second subscription.
	if n := k.store.count("Hello"); n != 3 {
		t.Errorf("%d hellos, want 3", n)
	}
}

func TestFleet_Start_cancelled(t *testing.T) {
	k := newKit(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	if err := k.fleet.Start(ctx); err != nil {
		t.Fatal(err)
	}
	cancel() // of what started it: only Stop ends it
	k.sweeps(3)
	k.fleet.Stop()
	n := k.store.count("")
	if _, err := k.raw(wire.VerbHello, []byte("{}")); err == nil {
		t.Error("answered after Stop")
	}
	if k.store.count("") != n {
		t.Error("work goes on after Stop")
	}
}

func TestFleet_Start_closed(t *testing.T) {
	before := goroutines()
	k := newKit(t, nil)
	conn := connect(t, k.broker)
	conn.Close()
	f := fleet.New(fleet.Options{Store: k.store, Storage: k.bucket, Conn: conn, Log: hclog.NewNullLogger(), SigningKey: controllerKey, KeySet: keySet})
	if err := f.Start(t.Context()); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("started on a closed connection: %v", err)
	}
	f.Stop()
	if n := goroutines(); n > before {
		t.Errorf("%d goroutines left", n-before)
	}
}

// Stop waits for the request at work, whose context ends.
func TestFleet_Stop_waits(t *testing.T) {
	k := start(t, nil)
	entered, leave := make(chan struct{}), make(chan struct{})
	k.store.onCall("Hello", func() { close(entered); <-leave })
	if err := k.agent.Publish(wire.ControllerSubject(agentID, wire.VerbHello), encode(t, wire.Request{ID: "1", Session: sessionID, Body: []byte(`{"protocol":1}`)})); err != nil {
		t.Fatal(err)
	}
	<-entered
	stopped := make(chan struct{})
	go func() { k.fleet.Stop(); close(stopped) }()
	if within(100*time.Millisecond, func() bool {
		select {
		case <-stopped:
			return true
		default:
			return false
		}
	}) {
		t.Error("Stop did not wait")
	}
	close(leave)
	<-stopped
}

// Two controllers share the requests: each is answered by one. Progress goes to both.
func TestFleet_two(t *testing.T) {
	k := start(t, nil)
	second := fleet.New(fleet.Options{
		Store: k.store, Storage: k.bucket, Conn: connect(t, k.broker), Log: hclog.NewNullLogger(), SigningKey: controllerKey, KeySet: keySet, Tick: 10 * time.Millisecond,
	})
	if err := second.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer second.Stop()
	const n = 50
	for range n {
		if _, err := k.request(wire.VerbHello, wire.Hello{Protocol: wire.Version}); err != nil {
			t.Fatal(err)
		}
	}
	if got := k.store.count("Hello"); got != n {
		t.Errorf("%d hellos were answered %d times", n, got)
	}
	k.publish(wire.VerbProgress, wire.Progress{Attempt: wire.Attempt{Job: 9}, Stage: "dump"})
	for name, f := range map[string]*fleet.Fleet{"first": k.fleet, "second": second} {
		eventually(t, name+" controller shows progress", func() bool { _, ok := f.Progress(9); return ok })
	}
	k.publish(wire.VerbHeartbeat, wire.Heartbeat{Session: sessionID})
	eventually(t, "the heartbeat is written", func() bool { return k.store.count("Heartbeats") > 0 })
	if within(1500*time.Millisecond, func() bool { return k.store.count("Heartbeats") > 1 }) {
		t.Error("one heartbeat was written twice")
	}
}

func (k *kit) publish(verb string, v any) {
	k.t.Helper()
	k.publishAs(agentID, verb, v)
}

func (k *kit) publishAs(agent, verb string, v any) {
	k.t.Helper()
	if err := k.agent.Publish(wire.ControllerSubject(agent, verb), encode(k.t, v)); err != nil {
		k.t.Fatal(err)
	}
}

func TestFleet_Progress(t *testing.T) {
	k := start(t, nil)
	if _, ok := k.fleet.Progress(7); ok {
		t.Error("progress from nowhere")
	}
	say := func(agent string, job, raw int64) {
		k.publishAs(agent, wire.VerbProgress, wire.Progress{Attempt: wire.Attempt{Job: job, No: 1}, Stage: "dump", RawBytes: raw, StoredBytes: 2, TotalBytes: 3})
	}
	shows := func(job, raw int64) bool {
		p, ok := k.fleet.Progress(job)
		return ok && p == controller.Progress{Stage: "dump", RawBytes: raw, StoredBytes: 2, TotalBytes: 3}
	}
	say(agentID, 7, 1)
	eventually(t, "progress is shown", func() bool { return shows(7, 1) })
	say(agentID, 7, 5)
	eventually(t, "newer progress is shown", func() bool { return shows(7, 5) })

	// Another agent, about a job that is not its own; then one about its own, so that the first has been read.
	say("s666", 7, 666)
	say("s666", 8, 1)
	eventually(t, "the other agent's progress", func() bool { return shows(8, 1) })
	if !shows(7, 5) {
		t.Error("an agent changed the progress of another agent's job")
	}
	// An agent cannot take the others' room.
	for job := int64(1000); job < 3000; job++ {
		say("s666", job, 1)
	}
	say(agentID, 9, 1)
	eventually(t, "there is room for another agent", func() bool { return shows(9, 1) })
	if _, ok := k.fleet.Progress(2999); ok {
		t.Error("the progress of one agent is not bounded")
	}
	// What is not progress does no harm.
	if err := k.agent.Publish(wire.ControllerSubject(agentID, wire.VerbProgress), []byte("{")); err != nil {
		t.Fatal(err)
	}

	if _, err := k.request(wire.VerbReport, wire.Report{Attempt: wire.Attempt{Job: 7, No: 1}, Outcome: wire.OutcomeFailed}); err != nil {
		t.Fatal(err)
	}
	if _, ok := k.fleet.Progress(7); ok {
		t.Error("progress of a job that ended")
	}
}

func TestFleet_Probe(t *testing.T) {
	k := newKit(t, nil)
	k.bucket.probe = fleet.ProbeResult{Report: json.RawMessage(`{"steps":[]}`), OK: true, ChecksumMode: "sha256", Summary: "s"}
	spec := controller.StorageSpec{
		Name: "n", Kind: "s3", Endpoint: "https://e", Region: "r", Bucket: "b", Prefix: "p", PathStyle: true, AccessKey: "a", SecretKey: secret.String("k"),
	}
	res, err := k.fleet.Probe(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "result", res, k.bucket.probe)
	same(t, "storage", k.bucket.opened[0], controller.StorageAccess{
		Storage:     controller.Storage{Name: "n", Kind: "s3", Endpoint: "https://e", Region: "r", Bucket: "b", Prefix: "p", PathStyle: true},
		Credentials: controller.Credentials{AccessKey: "a", SecretKey: "k"},
	})
	if k.store.count("") != 0 {
		t.Errorf("a storage that is not stored: %+v", k.store.all(""))
	}
	if _, err := k.fleet.ProbeStored(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	if w := k.store.all("UpdateProbe"); len(w) != 1 || w[0].backup != 4 || w[0].text != `{"steps":[]}` || w[0].count != 1 || w[0].id != "sha256" {
		t.Errorf("recorded %+v", w)
	}
	k.store.failing("StorageAccess", controller.Errorf(controller.ENotFound, "no storage 9"))
	if _, err := k.fleet.ProbeStored(t.Context(), 9); controller.ErrorCode(err) != controller.ENotFound {
		t.Errorf("a storage that does not exist: %v", err)
	}
}

// A storage that nobody looks at is failed only by what lasts: nothing is backed up to one that is.
func TestFleet_WatchStored(t *testing.T) {
	k := newKit(t, func(o *fleet.Options) { o.ProbeAgain = time.Millisecond })
	k.bucket.probe = fleet.ProbeResult{Report: json.RawMessage(`{"steps":[]}`), OK: true, ChecksumMode: "sha256"}
	for _, c := range []struct {
		fails, ok int
	}{{0, 1}, {2, 1}, {3, 0}} {
		k.bucket.flaky = c.fails
		res, err := k.fleet.WatchStored(t.Context(), 4)
		if err != nil || res.OK != (c.ok == 1) {
			t.Errorf("after %d probes that failed: %+v, %v", c.fails, res, err)
		}
		if w := k.store.all("UpdateProbe"); w[len(w)-1].count != int64(c.ok) {
			t.Errorf("after %d probes that failed it is recorded as %+v", c.fails, w)
		}
	}
	if w := k.store.all("UpdateProbe"); len(w) != 3 {
		t.Errorf("recorded %+v", w)
	}
}

// The loops go on when the catalog fails, and the log has its error.
func TestFleet_catalogDown(t *testing.T) {
	methods := []string{"ClaimOffers", "ClaimFinishing", "Sweep", "DeadUploads"}
	k := newKit(t, nil)
	for _, m := range methods {
		k.store.failing(m, errDown)
	}
	if err := k.fleet.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"claim open jobs", "claim uploads to finish", "list dead uploads", "work=sweep"} {
		eventually(t, "a log line: "+what, func() bool { return strings.Contains(k.log.String(), what) })
	}
	for _, m := range methods {
		k.store.failing(m, nil)
	}
	k.store.set(func(s *store) { s.deletions = []controller.Deletion{{Backup: 1}} })
	eventually(t, "work after the catalog is back", func() bool { return k.store.count("DeletionDone") == 1 })
}
