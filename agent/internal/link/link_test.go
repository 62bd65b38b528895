package link_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats.go"

	"devflowbackup/agent/internal/identity"
	"devflowbackup/agent/internal/link"
	"devflowbackup/agent/internal/testkit/control"
	"devflowbackup/shared/wire"
)

type fixture struct {
	c       *control.Controller
	id      *identity.Identity
	l       *link.Link
	session string
	acted   atomic.Int64
	slow    chan struct{} // lets commands of the verb "local" end
}

func start(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{c: control.StartWith(t, nil), session: wire.NewID(), slow: make(chan struct{})}
	f.id = f.c.Enrol(t.TempDir())
	f.l = f.open(t, f.session)
	select {
	case <-f.l.Connected():
	case <-time.After(control.Patience):
		t.Fatal("no connection")
	}
	var w wire.Welcome
	if err := f.l.Request(t.Context(), wire.VerbHello, wire.Hello{}, &w); err != nil || w.HeartbeatSeconds != 1 {
		t.Fatalf("hello: %v, %+v", err, w)
	}
	return f
}

func (f *fixture) open(t *testing.T, session string) *link.Link {
	t.Helper()
	inst := f.id.Installation()
	roots, err := inst.Roots()
	if err != nil {
		t.Fatal(err)
	}
	l, err := link.Open(link.Config{
		Server: control.ServerID, Session: session, URLs: inst.NATSURLs, JWT: inst.NATSJWT, Sign: f.id.SignNonce, Roots: roots,
		KeySet: f.id.KeySet, Log: hclog.NewNullLogger(), FirstTimeout: 300 * time.Millisecond, RetryWait: 10 * time.Millisecond,
		Beside: []string{wire.VerbLocal},
	}, map[string]link.Handler{
		wire.VerbLocal: func(wire.Directive) any {
			f.acted.Add(1)
			<-f.slow
			return wire.Accepted{V: wire.Version, Session: session}
		},
		wire.VerbPing: func(wire.Directive) any {
			f.acted.Add(1)
			return wire.Accepted{V: wire.Version, Session: session}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func (f *fixture) await(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(control.Patience)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func sign(t *testing.T, key ed25519.PrivateKey, d wire.Directive) []byte {
	t.Helper()
	msg, err := wire.Sign(key, d)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// Only a command that the pinned key signed for this server, session and verb is acted on. All else is dropped without an
// answer, counted and reported.
func TestLink_DropsForgedCommands(t *testing.T) {
	f := start(t)
	if acc := f.c.Command(wire.VerbPing, struct{}{}); acc.Session != f.session || f.acted.Load() != 1 {
		t.Fatalf("a true command: %+v", acc)
	}
	_, foreign, _ := ed25519.GenerateKey(rand.Reader)
	good := wire.Directive{Kind: wire.KindCommand, Server: control.ServerID, Session: f.session, Verb: wire.VerbPing, ID: wire.NewID(), Body: json.RawMessage(`{}`)}
	with := func(change func(d *wire.Directive)) wire.Directive {
		d := good
		change(&d)
		return d
	}
	tampered := sign(t, f.c.Key, good)
	var s wire.Signed
	if err := json.Unmarshal(tampered, &s); err != nil {
		t.Fatal(err)
	}
	s.Payload[len(s.Payload)-2] ^= 1
	tampered, _ = json.Marshal(s)
	for name, msg := range map[string][]byte{
		"unsigned":            []byte(`{"kind":"command","verb":"ping"}`),
		"empty":               nil,
		"foreign key":         sign(t, foreign, good),
		"tampered":            tampered,
		"another server":      sign(t, f.c.Key, with(func(d *wire.Directive) { d.Server = "aother" })),
		"session before ours": sign(t, f.c.Key, with(func(d *wire.Directive) { d.Session = wire.NewID() })),
		"another verb":        sign(t, f.c.Key, with(func(d *wire.Directive) { d.Verb = wire.VerbRun })),
		"a reply":             sign(t, f.c.Key, with(func(d *wire.Directive) { d.Kind = wire.KindReply })),
		"a reply as received": f.c.LastReply(),
	} {
		t.Run(name, func(t *testing.T) {
			before := f.l.Dropped("command")
			if m, err := f.c.Conn.Request(wire.AgentSubject(control.ServerID, wire.VerbPing), msg, 200*time.Millisecond); err == nil {
				t.Fatalf("it was answered: %s", m.Data)
			}
			f.await(t, "the count", func() bool { return f.l.Dropped("command") == before+1 })
		})
	}
	if f.acted.Load() != 1 {
		t.Fatalf("%d commands were acted on, want 1", f.acted.Load())
	}
	go f.l.ReportDropped(t.Context(), 10*time.Millisecond)
	if n := f.c.AwaitNotice("command"); n.Count < 1 || n.Detail == "" {
		t.Fatalf("%+v", n)
	}
}

func TestLink_UnknownVerb(t *testing.T) {
	f := start(t)
	if acc := f.c.Command("dance", struct{}{}); acc.Failure == nil || acc.Failure.Code != wire.CodeUnknownVerb {
		t.Fatalf("%+v", acc)
	}
}

// An agent may name another agent's command subject as the reply subject of its request: the controller's answer lands
// there, properly signed. It is dropped.
func TestLink_ReplySubjectTrick(t *testing.T) {
	f := start(t)
	req, _ := json.Marshal(wire.Request{V: 1, ID: wire.NewID(), Session: f.session, Body: json.RawMessage(`{}`)})
	if err := f.c.Conn.PublishRequest(wire.ControllerSubject(control.ServerID, wire.VerbSecurity), wire.AgentSubject(control.ServerID, wire.VerbPing), req); err != nil {
		t.Fatal(err)
	}
	f.await(t, "the drop", func() bool { return f.l.Dropped("command") == 1 })
	if f.acted.Load() != 0 {
		t.Fatal("it was acted on")
	}
}

// A reply that is not signed for this very request is not believed; the request is repeated until a true one comes.
func TestLink_DropsForgedReplies(t *testing.T) {
	f := start(t)
	var tries atomic.Int64
	_, foreign, _ := ed25519.GenerateKey(rand.Reader)
	old := sign(t, f.c.Key, wire.Directive{Kind: wire.KindReply, Server: control.ServerID, Session: f.session, Verb: "ask", ID: "another request"})
	sub, err := f.c.Conn.Subscribe(wire.ControllerSubject(control.ServerID, "ask"), func(m *nats.Msg) {
		var req wire.Request
		_ = wire.Decode(m.Data, &req)
		d := wire.Directive{Kind: wire.KindReply, Server: control.ServerID, Session: f.session, Verb: "ask", ID: req.ID, Body: json.RawMessage(`"true"`)}
		var msg []byte
		switch tries.Add(1) {
		case 1:
			msg = []byte(`{"body":"bm8="}`)
		case 2:
			msg = sign(t, foreign, d)
		case 3:
			msg = old
		case 4:
			d.Kind = wire.KindCommand
			msg = sign(t, f.c.Key, d)
		case 5:
			d.Session = wire.NewID()
			msg = sign(t, f.c.Key, d)
		default:
			msg = sign(t, f.c.Key, d)
		}
		_ = m.Respond(msg)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	unlock := f.c.Lock()
	f.c.Refuse = func(string, wire.Request) error { return control.ErrSilent } // it leaves "ask" to the subscription above
	unlock()
	var out string
	if err := f.l.Request(t.Context(), "ask", struct{}{}, &out); err != nil || out != "true" {
		t.Errorf("got %q, %v", out, err)
	}
	if tries.Load() != 6 || f.l.Dropped("reply") != 5 {
		t.Fatalf("%d tries, %d dropped; want 6 and 5", tries.Load(), f.l.Dropped("reply"))
	}
}

// Silence, "unavailable" and a broker that restarts (FAULTS 12) only delay a request.
func TestLink_RequestWaits(t *testing.T) {
	f := start(t)
	var n atomic.Int64
	unlock := f.c.Lock()
	f.c.Refuse = func(verb string, _ wire.Request) error {
		if verb != wire.VerbReport {
			return nil
		}
		switch n.Add(1) {
		case 1:
			return control.ErrSilent
		case 2:
			return wire.Failf(wire.CodeUnavailable, "no catalog")
		}
		return nil
	}
	unlock()
	if err := f.l.Request(t.Context(), wire.VerbReport, wire.Report{}, nil); err != nil || n.Load() != 3 {
		t.Fatalf("%v after %d tries", err, n.Load())
	}

	f.c.Broker.Stop()
	done := make(chan error, 1)
	go func() { done <- f.l.Request(t.Context(), wire.VerbReport, wire.Report{}, nil) }()
	flush, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := f.l.Flush(flush); err == nil {
		t.Fatal("flushed to a broker that is down")
	}
	heard := f.l.LastHeard()
	f.c.Broker.Start()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if !f.l.LastHeard().After(heard) {
		t.Fatal("a reply does not count as heard")
	}
	select {
	case <-f.l.Connected():
	case <-time.After(control.Patience):
		t.Fatal("the reconnect is not told")
	}
}

func TestLink_RequestEnds(t *testing.T) {
	f := start(t)
	unlock := f.c.Lock()
	f.c.Refuse = func(verb string, _ wire.Request) error {
		switch verb {
		case wire.VerbRead:
			return control.ErrSilent
		case wire.VerbPart:
			return wire.Failf(wire.CodeStale, "closed")
		}
		return nil
	}
	unlock()
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		f.c.AwaitRequests(wire.VerbRead, 1)
		cancel(why)
	}()
	if err := f.l.Request(ctx, wire.VerbRead, struct{}{}, nil); !errors.Is(err, why) {
		t.Fatalf("got %v, want the cause", err)
	}
	if err := f.l.Request(t.Context(), wire.VerbPart, struct{}{}, nil); !wire.HasCode(err, wire.CodeStale) {
		t.Fatalf("got %v, want the refusal", err)
	}
	if err := f.l.Request(t.Context(), wire.VerbReport, make([]byte, wire.MaxMessage), nil); err == nil {
		t.Fatal("a message beyond the limit was sent")
	}
}

func TestLink_Superseded(t *testing.T) {
	f := start(t)
	unlock := f.c.Lock()
	f.c.Refuse = func(string, wire.Request) error { return wire.Failf(wire.CodeSuperseded, "newer") }
	unlock()
	if err := f.l.Request(t.Context(), wire.VerbReport, struct{}{}, nil); !wire.HasCode(err, wire.CodeSuperseded) {
		t.Fatalf("got %v", err)
	}
	<-f.l.Done()
	if !errors.Is(f.l.Err(), link.ErrSuperseded) {
		t.Fatalf("got %v", f.l.Err())
	}
}

// FAULTS 24: a revoked agent's connection is cut, and it does not come back.
func TestLink_Revoked(t *testing.T) {
	f := start(t)
	pub, err := f.id.Public()
	if err != nil {
		t.Fatal(err)
	}
	f.c.Broker.Revoke(pub.NKey)
	select {
	case <-f.l.Done():
	case <-time.After(5 * time.Second):
		t.Fatal("still there after 5 s")
	}
	if !errors.Is(f.l.Err(), link.ErrRevoked) {
		t.Fatalf("got %v", f.l.Err())
	}
	if err := f.l.Request(t.Context(), wire.VerbHello, wire.Hello{}, nil); !errors.Is(err, link.ErrRevoked) {
		t.Fatalf("got %v", err)
	}
}

// Commands that take long hold up no other, run beside each other up to a number, and are refused when too many wait.
func TestLink_Beside(t *testing.T) {
	f := start(t)
	end := sync.OnceFunc(func() { close(f.slow) })
	defer end()
	const runs, held, sent = 16, 256, 300
	answers := make(chan wire.Accepted, sent)
	inbox := f.c.Conn.NewRespInbox()
	sub, err := f.c.Conn.Subscribe(inbox+".*", func(m *nats.Msg) {
		var acc wire.Accepted
		if err := wire.Decode(m.Data, &acc); err != nil {
			t.Error(err)
		}
		answers <- acc
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	for n := range sent {
		if err := f.c.Conn.PublishRequest(wire.AgentSubject(control.ServerID, wire.VerbLocal), fmt.Sprintf("%s.%d", inbox, n), f.c.Signed(wire.VerbLocal, wire.LocalOrder{})); err != nil {
			t.Fatal(err)
		}
	}
	if acc := f.c.Command(wire.VerbPing, struct{}{}); acc.Failure != nil {
		t.Fatal(acc.Failure)
	}
	next := func() wire.Accepted {
		t.Helper()
		select {
		case acc := <-answers:
			return acc
		case <-time.After(control.Patience):
			t.Fatal("no answer")
			return wire.Accepted{}
		}
	}
	for range sent - held {
		if acc := next(); acc.Failure == nil || acc.Failure.Code != wire.CodeBusy || !acc.Failure.Retryable {
			t.Fatalf("got %+v", acc)
		}
	}
	f.await(t, "those that run", func() bool { return f.acted.Load() == runs+1 })
	end()
	for range held {
		if acc := next(); acc.Failure != nil {
			t.Fatal(acc.Failure)
		}
	}
	if n := f.acted.Load(); n != held+1 {
		t.Fatalf("%d ran", n)
	}
}
