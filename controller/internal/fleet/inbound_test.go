package fleet_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/fleet"
	"devflowbackup/shared/wire"
)

var verbs = []string{wire.VerbHello, wire.VerbInventory, wire.VerbPart, wire.VerbRead, wire.VerbReport, wire.VerbSecurity}

// Every reply is signed, and means nothing to another server, session, verb or request.
func TestReply_bound(t *testing.T) {
	k := start(t, nil)
	for _, verb := range append(verbs, "never-heard-of") {
		for _, body := range []any{map[string]any{"protocol": 1, "object": wire.ObjectArtifact, "outcome": wire.OutcomeFailed}, []int{1}} {
			req := wire.Request{V: 1, ID: wire.NewID(), Session: sessionID, Body: encode(t, body)}
			reply, err := k.raw(verb, encode(t, req))
			if err != nil {
				t.Fatalf("%s: %v", verb, err)
			}
			right := wire.Expect{Kind: wire.KindReply, Server: agentID, Session: sessionID, Verb: verb, ID: req.ID}
			d, err := keySet.Open(reply, right)
			if err != nil {
				t.Errorf("%s: %v", verb, err)
				continue
			}
			if _, list := body.([]int); list != (d.Failure != nil) && verb != "never-heard-of" {
				t.Errorf("%s with %v: %+v", verb, body, d.Failure)
			}
			for name, change := range map[string]func(*wire.Expect){
				"kind": func(e *wire.Expect) { e.Kind = wire.KindCommand }, "server": func(e *wire.Expect) { e.Server = "s1" },
				"session": func(e *wire.Expect) { e.Session = "1" }, "verb": func(e *wire.Expect) { e.Verb = wire.VerbRun }, "id": func(e *wire.Expect) { e.ID = wire.NewID() },
			} {
				other := right
				change(&other)
				if _, err := keySet.Open(reply, other); !wire.HasCode(err, wire.CodeNotSigned) {
					t.Errorf("%s: the reply stands for another %s: %v", verb, name, err)
				}
			}
			if _, err := (wire.KeySet{Keys: keySet.Keys[1:]}).Open(reply, right); !wire.HasCode(err, wire.CodeNotSigned) {
				t.Errorf("%s: signed by another key", verb)
			}
		}
	}
}

func TestRequest_unknownVerb(t *testing.T) {
	k := start(t, nil)
	_, err := k.request("teleport", struct{}{})
	if !wire.HasCode(err, wire.CodeUnknownVerb) || !strings.Contains(err.Error(), `"teleport"`) {
		t.Errorf("answered %v", err)
	}
}

// Whatever an agent sends, it is answered or dropped, and the next request is answered.
func TestRequest_garbage(t *testing.T) {
	k := start(t, nil)
	for _, verb := range append(verbs, wire.VerbHeartbeat, wire.VerbProgress, "teleport") {
		for i, data := range [][]byte{
			nil, []byte("{"), []byte("null"), []byte("[]"), []byte("\xff\x00"), []byte(`{"id":7}`), []byte(`{"body":"{"}`), bytes.Repeat([]byte("["), 100_000),
			encode(t, wire.Request{ID: strings.Repeat("x", 200_000), Body: []byte("{}")}), []byte(`{"id":"1","session":"` + strings.Repeat("y", 129) + `","body":{}}`),
			append([]byte(`{"body":{}}`), bytes.Repeat([]byte(" "), wire.MaxMessage)...),
		} {
			if err := k.agent.PublishRequest(wire.ControllerSubject(agentID, verb), nats.NewInbox(), data); err != nil {
				t.Fatalf("%s %d: %v", verb, i, err)
			}
		}
	}
	for _, subject := range []string{"devflow.v1.controller.S9.hello", "devflow.v1.controller.s4f2.hello.more", "devflow.v1.controller.s4f2.a.b.c"} {
		if err := k.agent.PublishRequest(subject, nats.NewInbox(), []byte(`{"id":"1","session":"s","body":{"protocol":1}}`)); err != nil {
			t.Fatal(err)
		}
	}
	for _, verb := range verbs {
		if _, err := k.request(verb, []string{"not", "an", "object"}); !wire.HasCode(err, wire.CodeBadRequest) {
			t.Errorf("%s: answered %v", verb, err)
		}
	}
	if _, err := k.request(wire.VerbHello, wire.Hello{Protocol: wire.Version}); err != nil {
		t.Errorf("a good hello: %v", err)
	}
	if n := k.store.count("Hello"); n != 1 {
		t.Errorf("%d hellos reached the catalog, want the good one", n)
	}
	// A request without a reply subject is handled; there is nobody to answer.
	if err := k.agent.Publish(wire.ControllerSubject(agentID, wire.VerbHello), encode(t, wire.Request{ID: "1", Session: sessionID, Body: []byte(`{"protocol":1}`)})); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the hello without a reply", func() bool { return k.store.count("Hello") == 2 })
}

func TestHello(t *testing.T) {
	lost := wire.Attempt{Job: 1, No: 1, Token: "lost"}
	drop := []wire.Attempt{{Job: 2, No: 1, Token: "drop"}}
	signed := wire.SignedKeySet{KeyID: "old", Payload: []byte("p"), Signature: []byte("s")}
	k := newKit(t, func(o *fleet.Options) { o.SignedSet, o.Heartbeat, o.LeaseMax = &signed, 7*time.Second, 90*time.Minute })
	k.store.hello = controller.HelloResult{Drop: drop, Lost: []wire.Attempt{lost}, WantInventory: true, Replaced: "an older one"}
	if err := k.fleet.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	hello := wire.Hello{Protocol: 1, AgentVersion: "1.2", Attempts: drop, InventoryHash: "abc", KeySet: keySet.Version, Concurrency: 2}
	d, err := k.request(wire.VerbHello, hello)
	if err != nil {
		t.Fatal(err)
	}
	var w wire.Welcome
	if err := d.Into(&w); err != nil {
		t.Fatal(err)
	}
	same(t, "welcome", w, wire.Welcome{Drop: drop, WantInventory: true, HeartbeatSeconds: 7, LeaseMaxSeconds: 5400})
	got := k.store.all("Hello")[0]
	same(t, "hello in the catalog", got.hello, hello)
	if got.agent != agentID || got.session != sessionID {
		t.Errorf("from %q, session %q", got.agent, got.session)
	}
	// An agent that has pinned an older set is sent the new one; a newer agent is answered too.
	hello.KeySet, hello.Protocol = keySet.Version-1, 99
	if d, err = k.request(wire.VerbHello, hello); err != nil {
		t.Fatal(err)
	}
	w = wire.Welcome{}
	if err := d.Into(&w); err != nil || w.KeySet == nil {
		t.Fatalf("%+v, %v", w, err)
	}
	same(t, "key set", *w.KeySet, signed)
}

func TestHello_refused(t *testing.T) {
	k := start(t, nil)
	_, err := k.request(wire.VerbHello, wire.Hello{Protocol: wire.Version - 1, AgentVersion: "0.1"})
	if !wire.HasCode(err, wire.CodeBadRequest) || !strings.Contains(err.Error(), "0.1") || !strings.Contains(err.Error(), "install a newer agent") {
		t.Errorf("a protocol that is too old: %v", err)
	}
	if k.store.count("Hello") != 0 {
		t.Error("it reached the catalog")
	}
	k.store.hello = controller.HelloResult{Superseded: true, Drop: []wire.Attempt{{Job: 1}}}
	d, err := k.request(wire.VerbHello, wire.Hello{Protocol: wire.Version})
	if !wire.HasCode(err, wire.CodeSuperseded) || d.Body != nil || !strings.Contains(err.Error(), "db-7") || d.Failure.Hint == "" {
		t.Errorf("a superseded session: %v", err)
	}
	eventually(t, "an error in the log", func() bool { return strings.Contains(k.log.String(), "duplicate agent") })
}

// What the catalog refuses reaches the agent as it is; any other error reaches the log and not the agent.
func TestRequest_storeErrors(t *testing.T) {
	k := start(t, nil)
	for _, c := range []struct {
		verb, method string
		body         any
	}{
		{wire.VerbHello, "Hello", wire.Hello{Protocol: wire.Version}},
		{wire.VerbInventory, "Inventory", wire.Inventory{}},
		{wire.VerbPart, "SignPart", wire.PartRequest{}},
		{wire.VerbRead, "SignRead", wire.ReadRequest{}},
		{wire.VerbReport, "ReportDone", wire.Report{Outcome: wire.OutcomeVerified}},
		{wire.VerbReport, "AttemptOrder", wire.Report{Outcome: wire.OutcomeUploaded}},
		{wire.VerbSecurity, "AddSecurityEvent", wire.SecurityNotice{}},
	} {
		k.store.failing(c.method, fmt.Errorf("in the catalog: %w", wire.Failf(wire.CodeStale, "attempt 1 of job 2 ended").WithHint("h")))
		if d, err := k.request(c.verb, c.body); !wire.HasCode(err, wire.CodeStale) || d.Failure.Message != "attempt 1 of job 2 ended" || d.Failure.Hint != "h" || d.Body != nil {
			t.Errorf("%s: a refusal became %v", c.verb, err)
		}
		for _, cause := range []error{errStore, errDown} {
			k.store.failing(c.method, cause)
			d, err := k.request(c.verb, c.body)
			if !wire.HasCode(err, wire.CodeUnavailable) || !d.Failure.Retryable || strings.Contains(err.Error(), "canary") {
				t.Errorf("%s: %v became %v", c.verb, cause, err)
			}
		}
		k.store.failing(c.method, nil)
	}
	if !strings.Contains(k.log.String(), errStore.Error()) {
		t.Error("the log does not have the cause")
	}
}

func TestPart(t *testing.T) {
	k := start(t, func(o *fleet.Options) { o.URLExpires = 10 * time.Minute })
	k.store.part = controller.PartTarget{StorageID: 6, Key: "a/b", UploadID: "u1", Checksum: wire.ChecksumMD5}
	for object, url := range map[string]string{
		wire.ObjectArtifact: "SignPart https://store/a/b?upload=u1&part=3&size=99", wire.ObjectFingerprint: "SignPut https://store/a/b?size=99",
		wire.ObjectGlobals: "SignPut https://store/a/b?size=99",
	} {
		d, err := k.request(wire.VerbPart, wire.PartRequest{Attempt: wire.Attempt{Job: 1, No: 2, Token: "t"}, Object: object, Number: 3, Size: 99})
		if err != nil {
			t.Fatal(err)
		}
		var g wire.Grant
		if err := d.Into(&g); err != nil || g.Method+" "+g.URL != url {
			t.Errorf("%s: %+v, %v", object, g, err)
		}
	}
	if o := k.bucket.opened[0]; o.ID != 6 || o.ChecksumMode != wire.ChecksumMD5 { // as it was ordered, whatever a probe found since
		t.Errorf("opened storage %d for %s", o.ID, o.ChecksumMode)
	}
	for _, w := range k.store.all("SignPart") {
		if w.delay != 10*time.Minute || w.session != sessionID || w.agent != agentID {
			t.Errorf("asked the catalog %+v", w)
		}
	}
	k.bucket.failing("SignPart", wire.Failf(wire.CodeStorageDenied, "no"))
	if _, err := k.request(wire.VerbPart, wire.PartRequest{Object: wire.ObjectArtifact}); !wire.HasCode(err, wire.CodeStorageDenied) {
		t.Errorf("a store that refuses: %v", err)
	}
	k.store.failing("StorageAccess", errDown)
	if _, err := k.request(wire.VerbPart, wire.PartRequest{Object: wire.ObjectArtifact}); !wire.HasCode(err, wire.CodeUnavailable) {
		t.Errorf("a storage that cannot be looked up: %v", err)
	}
	// Nothing is signed for an attempt that the catalog refuses.
	n := len(k.bucket.calls)
	k.store.failing("SignPart", wire.Failf(wire.CodeStale, "x"))
	if _, err := k.request(wire.VerbPart, wire.PartRequest{Object: wire.ObjectArtifact}); !wire.HasCode(err, wire.CodeStale) || len(k.bucket.calls) != n {
		t.Errorf("a stale attempt: %v", err)
	}
}

func TestRead(t *testing.T) {
	k := start(t, nil)
	k.store.read = controller.ReadTarget{StorageID: 6, Object: controller.StoredObject{Key: "a/b", ETag: "e"}}
	d, err := k.request(wire.VerbRead, wire.ReadRequest{Attempt: wire.Attempt{Job: 1}, Object: wire.ObjectArtifact, Offset: 10, Length: 20})
	if err != nil {
		t.Fatal(err)
	}
	var g wire.Grant
	if err := d.Into(&g); err != nil || g.URL != "https://store/a/b?etag=e&from=10&length=20" {
		t.Errorf("%+v, %v", g, err)
	}
}

func TestInventory(t *testing.T) {
	k := start(t, nil)
	if _, err := k.request(wire.VerbInventory, wire.Inventory{Hash: "h1"}); err != nil {
		t.Fatal(err)
	}
	if w := k.store.all("Inventory"); len(w) != 1 || w[0].text != "h1" || w[0].agent != agentID || w[0].session != sessionID {
		t.Errorf("recorded %+v", w)
	}
}

func TestReport_done(t *testing.T) {
	k := start(t, nil)
	fail := wire.Failf(wire.CodeStalled, "no byte for 2m0s").At(wire.StageDump)
	for _, r := range []wire.Report{
		{Attempt: wire.Attempt{Job: 1, No: 1, Token: "a"}, Outcome: wire.OutcomeFailed, Failure: fail, Log: "l"},
		{Attempt: wire.Attempt{Job: 2, No: 1, Token: "b"}, Outcome: wire.OutcomeVerified, Read: &wire.ReadResult{StoredSize: 5}},
		{Attempt: wire.Attempt{Job: 3, No: 1, Token: "c"}, Outcome: wire.OutcomeRestored, Restored: &wire.RestoreResult{Database: "d"}},
	} {
		if _, err := k.request(wire.VerbReport, r); err != nil {
			t.Fatal(err)
		}
		w := k.store.all("ReportDone")
		got := w[len(w)-1].report
		same(t, r.Outcome, string(encode(t, got)), string(encode(t, r)))
	}
	if k.store.count("ReportUploaded") != 0 {
		t.Error("taken for an upload")
	}
}

func TestSecurityNotice(t *testing.T) {
	k := start(t, nil)
	long := strings.Repeat("ä", 400) // 800 bytes
	for _, n := range []wire.SecurityNotice{{Kind: "reply", Detail: "forged", Count: 3}, {Kind: long, Detail: long, Count: -5}, {Kind: "flood", Count: 1 << 62}} {
		if _, err := k.request(wire.VerbSecurity, n); err != nil {
			t.Fatal(err)
		}
	}
	w := k.store.all("AddSecurityEvent")
	if w[0].agent != agentID || w[0].id != controller.EventForgedDirective || w[0].text != "reply: forged" || w[0].count != 3 {
		t.Errorf("recorded %+v", w[0])
	}
	if w[1].text != long[:64]+": "+long[:500] || w[1].count != 1 {
		t.Errorf("recorded %+v", w[1])
	}
	if w[2].count != 1<<32 {
		t.Errorf("one notice counts %d", w[2].count)
	}
}

// Many agents' heartbeats are one write a second, with the newest of each.
func TestHeartbeats_batched(t *testing.T) {
	k := start(t, nil)
	began := time.Now()
	const agents, each = 20, 50
	for i := 1; i <= each; i++ {
		for a := range agents {
			k.publishAs(fmt.Sprintf("s%d", a), wire.VerbHeartbeat, wire.Heartbeat{Session: sessionID, Host: wire.Host{CPUs: i}, Running: []wire.Progress{{Stage: "dump"}}})
		}
	}
	newest := func() map[string]int {
		out := map[string]int{}
		for _, w := range k.store.all("Heartbeats") {
			for _, b := range w.beats {
				if b.Session == sessionID && len(b.Running) == 1 {
					out[b.AgentID] = b.Host.CPUs
				}
			}
		}
		return out
	}
	eventually(t, "the newest heartbeat of each agent is written", func() bool {
		n := 0
		for _, cpus := range newest() {
			if cpus == each {
				n++
			}
		}
		return n == agents
	})
	writes := k.store.all("Heartbeats")
	if limit := int(time.Since(began)/time.Second) + 2; len(writes) > limit {
		t.Errorf("%d heartbeats took %d writes in %s", agents*each, len(writes), time.Since(began))
	}
	for _, w := range writes {
		if len(w.beats) > agents {
			t.Errorf("%d heartbeats of %d agents in one write", len(w.beats), agents)
		}
	}
	// Nothing to write: no write.
	n := k.store.count("Heartbeats")
	if within(1200*time.Millisecond, func() bool { return k.store.count("Heartbeats") > n }) {
		t.Error("an empty batch was written")
	}
}

func TestHeartbeats_failedWrite(t *testing.T) {
	k := start(t, nil)
	k.store.failing("Heartbeats", errDown)
	k.publish(wire.VerbHeartbeat, wire.Heartbeat{Session: sessionID})
	eventually(t, "a write that fails", func() bool { return k.store.count("Heartbeats") == 1 })
	k.store.failing("Heartbeats", nil)
	k.publish(wire.VerbHeartbeat, wire.Heartbeat{Session: sessionID, Host: wire.Host{CPUs: 2}})
	eventually(t, "the next write", func() bool { return k.store.count("Heartbeats") == 2 })
	if w := k.store.all("Heartbeats")[1]; len(w.beats) != 1 || w.beats[0].Host.CPUs != 2 {
		t.Errorf("wrote %+v", w.beats)
	}
}

// One agent cannot fill a batch with sessions it invents.
func TestHeartbeats_sessions(t *testing.T) {
	k := start(t, nil)
	for i := range 1000 {
		k.publish(wire.VerbHeartbeat, wire.Heartbeat{Session: fmt.Sprint("session-", i)})
	}
	k.publishAs("s2", wire.VerbHeartbeat, wire.Heartbeat{Session: "last"})
	eventually(t, "the heartbeat after them", func() bool {
		for _, w := range k.store.all("Heartbeats") {
			for _, b := range w.beats {
				if b.AgentID == "s2" {
					return true
				}
			}
		}
		return false
	})
	for _, w := range k.store.all("Heartbeats") {
		if len(w.beats) > 5 {
			t.Errorf("%d sessions of one agent in a batch", len(w.beats))
		}
	}
}

// An agent that works on an attempt that no longer stands is told to stop, under its own session.
func TestHeartbeats_stale(t *testing.T) {
	k := start(t, nil)
	agent := k.accepting()
	gone, stands := wire.Attempt{Job: 1, No: 1, Token: "gone"}, wire.Attempt{Job: 2, No: 1, Token: "stands"}
	k.store.set(func(s *store) { s.stale = []wire.Attempt{gone} })
	k.publish(wire.VerbHeartbeat, wire.Heartbeat{Session: sessionID, Running: []wire.Progress{{Attempt: stands}, {Attempt: gone}}})
	eventually(t, "the cancellation", func() bool { return len(agent.all(wire.VerbCancel)) > 0 })
	var c wire.Cancel
	if err := agent.all(wire.VerbCancel)[0].Into(&c); err != nil || c.Attempt != gone || c.Reason == "" {
		t.Errorf("cancelled %+v, %v", c, err)
	}
	k.sweeps(3)
	if n := len(agent.all(wire.VerbCancel)); n != 1 {
		t.Errorf("%d cancellations", n)
	}
}
