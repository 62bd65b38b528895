package fleet_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/fleet"
	"devflowbackup/shared/wire"
)

const (
	agentID   = "s4f2"
	sessionID = "5e551055e55105e551055e55105e5510"
)

func signer(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func public(k ed25519.PrivateKey) ed25519.PublicKey {
	return k.Public().(ed25519.PublicKey) //nolint:forcetypeassert // Ed25519 has no other
}

var (
	controllerKey = signer(1)
	keySet        = wire.KeySet{Version: 3, Keys: []wire.Key{
		{ID: wire.KeyID(public(controllerKey)), Public: public(controllerKey)}, {ID: wire.KeyID(public(signer(8))), Public: public(signer(8))},
	}}
	errDown = controller.Errorf(controller.EUnavailable, "the catalog cannot be reached")
)

// kit is a fleet with everything around it.
type kit struct {
	t      *testing.T
	broker *server.Server
	store  *store
	bucket *bucket
	log    *logBuffer
	fleet  *fleet.Fleet
	agent  *nats.Conn // the connection that agents in the test use
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func startBroker(t *testing.T) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the broker did not start")
	}
	return s
}

func connect(t *testing.T, s *server.Server) *nats.Conn {
	t.Helper()
	c, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// newKit makes a fleet and does not start it. change may set options.
func newKit(t *testing.T, change func(*fleet.Options)) *kit {
	t.Helper()
	k := &kit{t: t, broker: startBroker(t), store: &store{}, bucket: newBucket(), log: &logBuffer{}}
	k.store.access.Name = "main"
	k.store.server = controller.Server{ID: 5, AgentID: agentID, Name: "db-7"}
	opt := fleet.Options{
		Store: k.store, Storage: k.bucket, Conn: connect(t, k.broker),
		Log:        hclog.New(&hclog.LoggerOptions{Output: k.log, Level: hclog.Debug}),
		SigningKey: controllerKey, KeySet: keySet, Tick: 10 * time.Millisecond, Accept: 5 * time.Second,
	}
	if change != nil {
		change(&opt)
	}
	k.fleet = fleet.New(opt)
	k.agent = connect(t, k.broker)
	t.Cleanup(func() {
		k.fleet.Stop()
		if t.Failed() {
			t.Logf("log of the controller:\n%s", k.log)
		}
	})
	return k
}

func start(t *testing.T, change func(*fleet.Options)) *kit {
	t.Helper()
	k := newKit(t, change)
	if err := k.fleet.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return k
}

// eventually polls until ok, and fails the test after ten seconds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	if !within(10*time.Second, ok) {
		t.Fatalf("it did not come to: %s", what)
	}
}

func within(d time.Duration, ok func() bool) bool {
	deadline := time.NewTimer(d)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok() {
			return true
		}
		select {
		case <-deadline.C:
			return ok()
		case <-tick.C:
		}
	}
}

// sweeps waits for n more sweeps: whatever one tick does has been done by then.
func (k *kit) sweeps(n int) {
	k.t.Helper()
	want := k.store.count("Sweep") + n
	eventually(k.t, "more sweeps", func() bool { return k.store.count("Sweep") >= want })
}

// raw sends a request and returns the bytes of the reply.
func (k *kit) raw(verb string, data []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	m, err := k.agent.RequestWithContext(ctx, wire.ControllerSubject(agentID, verb), data)
	if err != nil {
		return nil, err
	}
	return m.Data, nil
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// request asks as an agent does and opens the reply, which must be bound to this request.
func (k *kit) request(verb string, body any) (wire.Directive, error) {
	k.t.Helper()
	req := wire.Request{V: wire.Version, ID: wire.NewID(), Session: sessionID, Body: encode(k.t, body)}
	reply, err := k.raw(verb, encode(k.t, req))
	if err != nil {
		k.t.Fatalf("%s: %v", verb, err)
	}
	d, err := keySet.Open(reply, wire.Expect{Kind: wire.KindReply, Server: agentID, Session: sessionID, Verb: verb, ID: req.ID})
	if err != nil {
		k.t.Fatalf("the reply to %s: %v", verb, err)
	}
	return d, d.Into(nil)
}

// commands is an agent's end of the commands to it.
type commands struct {
	mu   sync.Mutex
	got  []wire.Directive
	sent []time.Time
}

func (c *commands) all(verb string) (out []wire.Directive) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.got {
		if d.Verb == verb {
			out = append(out, d)
		}
	}
	return out
}

func (c *commands) job(t *testing.T, i int) wire.Job {
	t.Helper()
	var j wire.Job
	if err := c.all(wire.VerbRun)[i].Into(&j); err != nil {
		t.Fatal(err)
	}
	return j
}

// listen answers commands; what answer returns is sent if it is not nil. Each command must be signed for this agent.
func (k *kit) listen(answer func(wire.Directive) []byte) *commands {
	k.t.Helper()
	c := &commands{}
	if _, err := k.agent.Subscribe(wire.AgentSubjects(agentID), func(m *nats.Msg) {
		verb := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
		d, err := keySet.Open(m.Data, wire.Expect{Kind: wire.KindCommand, Server: agentID, Session: sessionID, Verb: verb})
		if err != nil {
			k.t.Errorf("a command that an agent would drop: %v", err)
			return
		}
		c.mu.Lock()
		c.got = append(c.got, d)
		c.sent = append(c.sent, time.Now())
		c.mu.Unlock()
		if b := answer(d); b != nil {
			if err := m.Respond(b); err != nil {
				k.t.Errorf("answer: %v", err)
			}
		}
	}); err != nil {
		k.t.Fatal(err)
	}
	if err := k.agent.Flush(); err != nil {
		k.t.Fatal(err)
	}
	return c
}

// accepting answers every command with success.
func (k *kit) accepting() *commands {
	b := encode(k.t, wire.Accepted{V: wire.Version, Session: sessionID})
	return k.listen(func(wire.Directive) []byte { return b })
}

func (k *kit) refusing(f *wire.Failure) *commands {
	b := encode(k.t, wire.Accepted{V: wire.Version, Session: sessionID, Failure: f})
	return k.listen(func(wire.Directive) []byte { return b })
}

// only waits for the first outcome of an attempt among the methods and fails if it is not the wanted one.
func (k *kit) only(want string, methods ...string) written {
	k.t.Helper()
	var got []written
	eventually(k.t, want, func() bool {
		got = nil
		for _, m := range append(methods, want) {
			got = append(got, k.store.all(m)...)
		}
		return len(got) > 0
	})
	if len(got) != 1 || got[0].method != want {
		k.t.Fatalf("recorded %+v, want one %s", got, want)
	}
	return got[0]
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// goroutines counts those that run code of the fleet.
func goroutines() int {
	buf := make([]byte, 1<<20)
	n := 0
	for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(g, "devflowbackup/controller/internal/fleet.(") {
			n++
		}
	}
	return n
}

var errStore = errors.New("dial tcp 10.0.0.9:5432: password canary-p4ss refused")
