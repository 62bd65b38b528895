package broker_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"devflowbackup/controller/internal/broker"
	"devflowbackup/controller/internal/keys"
	"devflowbackup/shared/wire"
)

const patience = 60 * time.Second

func TestBroker_requestsBothWays(t *testing.T) {
	in := installation(t)
	b := start(t, broker.Options{Installation: in})
	ctl := connect(t, b)
	a := newAgent(t, b, "alpha")
	nc := a.connect(t, in, b.Addr())

	requests := make(chan *nats.Msg, 10)
	respond(t, ctl, wire.ControllerSubjects(">"), wire.QueueGroup, func(m *nats.Msg) { requests <- m; _ = m.Respond([]byte("from controller")) })
	respond(t, nc, wire.AgentSubjects("alpha"), "", func(m *nats.Msg) { _ = m.Respond([]byte("from agent")) })

	// A sender that the client makes up is replaced by the true one.
	ask := nats.NewMsg(wire.ControllerSubject("alpha", wire.VerbHello))
	ask.Header.Set("Nats-Request-Info", `{"acc":"A","user":"UFORGED"}`)
	ask.Data = []byte("hello")
	if got, err := nc.RequestMsg(ask, patience); err != nil || string(got.Data) != "from controller" {
		t.Fatalf("agent asks: %v, %v", got, err)
	}
	seen := receive(t, requests)
	sender, err := broker.SenderOf(seen)
	if err != nil {
		t.Fatal(err)
	}
	account, err := in.Agents.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	if sender.UserKey != a.public || sender.Account != account {
		t.Errorf("sender %+v, want user %s of %s", sender, a.public, account)
	}
	if server, verb, err := wire.ParseControllerSubject(seen.Subject); err != nil || server != "alpha" || verb != wire.VerbHello {
		t.Errorf("subject %s: %v", seen.Subject, err)
	}
	if got, err := ctl.Request(wire.AgentSubject("alpha", wire.VerbPing), nil, patience); err != nil || string(got.Data) != "from agent" {
		t.Fatalf("controller asks: %v, %v", got, err)
	}
	if _, err := ctl.Request(wire.AgentSubject("beta", wire.VerbPing), nil, patience); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("an agent that is offline: %v", err)
	}
	if _, err := broker.SenderOf(nats.NewMsg("x")); err == nil {
		t.Error("a message without sender has one")
	}
}

// What one agent publishes without a reply, such as progress, reaches every controller that listens.
func TestBroker_progressReachesAllControllers(t *testing.T) {
	in := installation(t)
	b := start(t, broker.Options{Installation: in})
	got := make(chan string, 10)
	for i := range 2 {
		respond(t, connect(t, b), wire.ControllerSubjects(wire.VerbProgress), "", func(*nats.Msg) { got <- fmt.Sprint(i) })
	}
	nc := newAgent(t, b, "alpha").connect(t, in, b.Addr())
	if err := nc.Publish(wire.ControllerSubject("alpha", wire.VerbProgress), []byte("50 %")); err != nil {
		t.Fatal(err)
	}
	if first, second := receive(t, got), receive(t, got); first == second {
		t.Errorf("controller %s got it twice", first)
	}
}

// FAULTS 23: an agent does what is not its to do; the broker refuses it, nobody receives anything, and it is seen.
func TestBroker_permissionViolation(t *testing.T) {
	in := installation(t)
	events := make(chan broker.SecurityEvent, 100)
	b := start(t, broker.Options{Installation: in, OnSecurity: into(events)})
	ctl := connect(t, b)
	victim := newAgent(t, b, "victim").connect(t, in, b.Addr())
	evil := newAgent(t, b, "evil")
	evilErrors := make(chan error, 100)
	// A name made to look like a log line about the victim.
	nc := evil.connect(t, in, b.Addr(), nats.Name(`x" - "A/jwt:U - Publish Violation - Subject "y`),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { evilErrors <- err }))

	stray := make(chan *nats.Msg, 100)
	respond(t, ctl, ">", "", func(m *nats.Msg) {
		if strings.HasPrefix(m.Subject, "_INBOX.") {
			return
		}
		stray <- m
	})
	commands := make(chan *nats.Msg, 100)
	respond(t, victim, wire.AgentSubjects("victim"), "", func(m *nats.Msg) { commands <- m; _ = m.Respond([]byte("secret answer")) })
	inbox := wire.InboxPrefix("victim") + ".stolen"
	respond(t, victim, inbox, "", func(m *nats.Msg) { commands <- m })

	for _, subject := range []string{
		wire.AgentSubject("victim", wire.VerbRun),
		wire.AgentSubject("evil", wire.VerbRun),
		wire.ControllerSubject("victim", wire.VerbReport),
		inbox,
		wire.InboxPrefix("evil") + ".own",
		"_INBOX.anyone",
		"_R_.anyone",
		"$JS.API.INFO",
		"$SYS.REQ.SERVER.PING",
		"$SYS.REQ.CLAIMS.UPDATE",
		"free",
	} {
		t.Run("publish "+subject, func(t *testing.T) {
			if err := nc.Publish(subject, []byte("evil")); err != nil {
				t.Fatal(err)
			}
			refused(t, nc, evilErrors, subject)
			e := receive(t, events)
			if e.Kind != broker.DeniedPublish || e.Server != "evil" || e.UserKey != evil.public || e.Subject != subject || e.Remote == "" {
				t.Errorf("event %+v", e)
			}
		})
	}
	overheard := make(chan *nats.Msg, 100)
	for _, subject := range []string{
		">",
		"*",
		"devflow.>",
		"devflow.v1.agent.>",
		"devflow.v1.agent.*.run",
		wire.AgentSubjects("victim"),
		wire.ControllerSubjects(">"),
		wire.ControllerSubject("evil", ">"),
		wire.InboxPrefix("victim") + ".>",
		"_INBOX.>",
		"_INBOX_*.>",
		"_R_.>",
		"$SYS.>",
		"$SYS.ACCOUNT.>",
		"$JS.API.>",
	} {
		t.Run("subscribe "+subject, func(t *testing.T) {
			for _, queue := range []string{"", wire.QueueGroup} {
				var err error
				if queue == "" {
					_, err = nc.Subscribe(subject, func(m *nats.Msg) { overheard <- m })
				} else {
					_, err = nc.QueueSubscribe(subject, queue, func(m *nats.Msg) { overheard <- m })
				}
				if err != nil {
					t.Fatal(err)
				}
				refused(t, nc, evilErrors, subject)
				e := receive(t, events)
				if e.Kind != broker.DeniedSubscribe || e.Server != "evil" || e.UserKey != evil.public || e.Subject != subject {
					t.Errorf("event %+v", e)
				}
			}
		})
	}

	// Traffic that it wanted to hear, and a sign of life of both ends, which comes after whatever it sent.
	if got, err := ctl.Request(wire.AgentSubject("victim", wire.VerbRun), []byte("for victim"), patience); err != nil || string(got.Data) != "secret answer" {
		t.Fatalf("command to the victim: %v, %v", got, err)
	}
	if m := receive(t, commands); string(m.Data) != "for victim" {
		t.Fatalf("the victim got %q on %s", m.Data, m.Subject)
	}
	mark := wire.ControllerSubject("evil", wire.VerbHeartbeat)
	if err := nc.Publish(mark, nil); err != nil {
		t.Fatal(err)
	}
	for {
		m := receive(t, stray)
		if m.Subject == mark {
			break
		}
		if m.Subject != wire.AgentSubject("victim", wire.VerbRun) {
			t.Errorf("a controller got %q on %s", m.Data, m.Subject)
		}
	}
	for name, ch := range map[string]chan *nats.Msg{"the victim": commands, "the evil agent": overheard} {
		select {
		case m := <-ch:
			t.Errorf("%s got %q on %s", name, m.Data, m.Subject)
		default:
		}
	}
}

// The broker does not check the reply subject of a request: an agent can make a controller's answer land on another
// agent's command subject. This is why agents act on nothing that is not signed for them. If this test fails because
// nothing arrives any more, the broker has become stricter; the signatures stay.
func TestBroker_replySubjectReachesAnotherAgent(t *testing.T) {
	in := installation(t)
	b := start(t, broker.Options{Installation: in})
	ctl := connect(t, b)
	respond(t, ctl, wire.ControllerSubjects(">"), wire.QueueGroup, func(m *nats.Msg) { _ = m.Respond([]byte("an answer meant for evil")) })
	victim := newAgent(t, b, "victim").connect(t, in, b.Addr())
	commands := make(chan *nats.Msg, 1)
	respond(t, victim, wire.AgentSubjects("victim"), "", func(m *nats.Msg) { commands <- m })
	evil := newAgent(t, b, "evil").connect(t, in, b.Addr())
	if err := evil.PublishRequest(wire.ControllerSubject("evil", wire.VerbHello), wire.AgentSubject("victim", wire.VerbRun), nil); err != nil {
		t.Fatal(err)
	}
	if m := receive(t, commands); string(m.Data) != "an answer meant for evil" || m.Subject != wire.AgentSubject("victim", wire.VerbRun) {
		t.Fatalf("the victim got %q on %s", m.Data, m.Subject)
	}
}

// FAULTS 24: revoking an agent cuts its connection at once and for good, and nobody else's.
func TestBroker_Revoke(t *testing.T) {
	in := installation(t)
	events := make(chan broker.SecurityEvent, 100)
	b := start(t, broker.Options{Installation: in, OnSecurity: into(events)})
	gone, kept := newAgent(t, b, "gone"), newAgent(t, b, "kept")
	closed := make(chan struct{})
	nc := gone.connect(t, in, b.Addr(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	keptConn := kept.connect(t, in, b.Addr(), nats.DisconnectErrHandler(func(*nats.Conn, error) { t.Error("another agent was cut") }))

	begin := time.Now()
	stored, err := b.Revoke(t.Context(), gone.public)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the connection to be cut", func() bool { return !nc.IsConnected() })
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("cut after %s", took)
	}
	receive(t, closed)
	if err := nc.LastError(); !errors.Is(err, nats.ErrAuthRevoked) && !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("the agent was told %v", err)
	}
	if !gone.refused(in, b.Addr()) {
		t.Error("a revoked agent logs in")
	}
	if e := receive(t, events); e.Kind != broker.DeniedLogin {
		t.Errorf("event %+v", e)
	}
	if _, err := b.IssueAgent("gone", gone.public); !errors.Is(err, broker.ErrRevoked) {
		t.Errorf("credentials for a revoked key: %v", err)
	}
	if err := keptConn.FlushTimeout(patience); err != nil {
		t.Errorf("another agent: %v", err)
	}
	if _, err := b.Revoke(t.Context(), "not a key"); err == nil {
		t.Error("revoked nonsense")
	}

	// It stays revoked in a broker that starts from what was stored, and in one that is given the key.
	keptConn.SetDisconnectErrHandler(nil)
	b.Stop()
	for name, opts := range map[string]broker.Options{
		"account":  {Installation: in, AgentsJWT: stored},
		"key list": {Installation: in, Revoked: []string{gone.public}},
	} {
		again := start(t, opts)
		if !gone.refused(in, again.Addr()) {
			t.Errorf("from the %s: let in", name)
		}
		kept.connect(t, in, again.Addr())
	}
	if _, err := broker.New(broker.Options{Installation: installation(t), AgentsJWT: stored}); err == nil || !strings.Contains(err.Error(), "another installation") {
		t.Errorf("account of another installation: %v", err)
	}
}

// FAULTS 20: the broker's state is gone and its accounts are signed again, from the catalog's sealed keys alone: agents
// come back with the credentials they have.
func TestBroker_stateWiped(t *testing.T) {
	in := installation(t)
	master := keys.NewMaster()
	sealed, err := in.SealSecrets(master)
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, broker.Options{Installation: in})
	_, port, err := net.SplitHostPort(b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	cut, back := make(chan error, 10), make(chan struct{}, 10)
	nc := newAgent(t, b, "alpha").connect(t, in, b.Addr(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { cut <- err }),
		nats.ReconnectHandler(func(*nats.Conn) { back <- struct{}{} }))
	respond(t, nc, wire.AgentSubjects("alpha"), "", func(m *nats.Msg) { _ = m.Respond([]byte("still here")) })
	b.Stop()
	receive(t, cut)

	reopened, err := keys.OpenSecrets(master, sealed)
	if err != nil {
		t.Fatal(err)
	}
	var number int
	if _, err := fmt.Sscan(port, &number); err != nil {
		t.Fatal(err)
	}
	fresh := start(t, broker.Options{Installation: reopened, Port: number})
	receive(t, back)
	// The reconnect handler may run before the broker has taken the subscriptions again.
	if err := nc.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
	if got, err := connect(t, fresh).Request(wire.AgentSubject("alpha", wire.VerbPing), nil, patience); err != nil || string(got.Data) != "still here" {
		t.Fatalf("after the wipe: %v, %v", got, err)
	}
}

func TestBroker_StartAndStopTwice(t *testing.T) {
	in := installation(t)
	b := start(t, broker.Options{Installation: in})
	addr := b.Addr()
	if err := b.Start(t.Context()); err != nil || b.Addr() != addr {
		t.Fatalf("second start: %s, %v", b.Addr(), err)
	}
	back := make(chan struct{}, 1)
	ctl, err := b.Connect(t.Context(), "test", nats.ReconnectHandler(func(*nats.Conn) { back <- struct{}{} }))
	if err != nil {
		t.Fatal(err)
	}
	defer ctl.Close()
	b.Stop()
	b.Stop()
	if _, err := b.Connect(t.Context(), "test"); !errors.Is(err, broker.ErrStopped) {
		t.Errorf("connect to a stopped broker: %v", err)
	}
	if conn, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
		_ = conn.Close()
		t.Error("a stopped broker listens")
	}
	// Revoked while stopped: in force after the start.
	a := newAgent(t, b, "alpha")
	if _, err := b.Revoke(t.Context(), a.public); err != nil {
		t.Fatal(err)
	}
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b.Addr() != addr {
		t.Errorf("listens at %s, then at %s", addr, b.Addr())
	}
	receive(t, back)
	if err := ctl.FlushTimeout(patience); err != nil {
		t.Errorf("the controller's connection did not come back: %v", err)
	}
	if !a.refused(in, addr) {
		t.Error("revoked while stopped, and lets in")
	}
}

func TestBroker_Start_errors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	port := taken.Addr().(*net.TCPAddr).Port
	b, err := broker.New(broker.Options{Installation: installation(t), Host: "127.0.0.1", Port: port})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(t.Context()); err == nil || !strings.Contains(err.Error(), fmt.Sprint(port)) {
		t.Errorf("port in use: %v", err)
	}
	b.Stop()
	want := errors.New("not now")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(want)
	external, err := broker.New(broker.Options{Installation: installation(t), ExternalURLs: []string{"tls://127.0.0.1:" + fmt.Sprint(port)}})
	if err != nil {
		t.Fatal(err)
	}
	if err := external.Start(ctx); !errors.Is(err, want) {
		t.Errorf("canceled: %v", err)
	}
	if _, err := broker.New(broker.Options{}); err == nil {
		t.Error("made without an installation")
	}
}

func TestBroker_refusesStrangers(t *testing.T) {
	in := installation(t)
	events := make(chan broker.SecurityEvent, 100)
	b := start(t, broker.Options{Installation: in, OnSecurity: into(events)})
	a := newAgent(t, b, "alpha")

	// Without TLS nothing is said, and under another CA nothing is sent.
	if nc, err := nats.Connect("nats://"+b.Addr(), nats.RetryOnFailedConnect(false)); err == nil {
		nc.Close()
		t.Error("let in without credentials")
	}
	if _, err := a.dial(installation(t), b.Addr()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("under another CA: %v", err)
	}
	for _, c := range []struct {
		name string
		opts []nats.Option
	}{
		{"no credentials", nil},
		{"password", []nats.Option{nats.UserInfo("alpha", "x")}},
		{"another's key", []nats.Option{nats.UserJWT(func() (string, error) { return a.token, nil }, newAgent(t, b, "other").pair.Sign)}},
		{"another installation", []nats.Option{credentials(newAgent(t, start(t, broker.Options{Installation: installation(t)}), "alpha"))}},
	} {
		nc, err := nats.Connect("tls://"+b.Addr(), append(c.opts, nats.Secure(&tls.Config{RootCAs: in.CA.Pool()}))...)
		if err == nil {
			nc.Close()
			t.Errorf("%s: let in", c.name)
			continue
		}
		if !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: %v", c.name, err)
		}
		await(t, "a login event", func() bool { return receive(t, events).Kind == broker.DeniedLogin })
	}
}

// FAULTS 22, the broker's side: what is larger than any message of ours is refused, and the largest passes.
func TestBroker_maxPayload(t *testing.T) {
	in := installation(t)
	b := start(t, broker.Options{Installation: in})
	ctl := connect(t, b)
	respond(t, ctl, wire.ControllerSubjects(">"), wire.QueueGroup, func(m *nats.Msg) { _ = m.Respond(m.Data) })
	nc := newAgent(t, b, "alpha").connect(t, in, b.Addr())
	if got, err := nc.Request(wire.ControllerSubject("alpha", wire.VerbInventory), make([]byte, wire.MaxMessage), patience); err != nil || len(got.Data) != wire.MaxMessage {
		t.Fatalf("the largest message: %v", err)
	}
	if err := nc.Publish(wire.ControllerSubject("alpha", wire.VerbInventory), make([]byte, 2*wire.MaxMessage)); !errors.Is(err, nats.ErrMaxPayload) {
		t.Fatalf("twice as large: %v", err)
	}
}

func TestBroker_IssueAgent_errors(t *testing.T) {
	b, err := broker.New(broker.Options{Installation: installation(t)})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"", ">", "*", "a.b", "Alpha", "1a", "a>", "a b", "{{name()}}", "a\n"} {
		if _, err := b.IssueAgent(id, public); err == nil {
			t.Errorf("issued for server %q", id)
		}
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"", "UABC", string(seed)} {
		if _, err := b.IssueAgent("alpha", key); err == nil || key != "" && strings.Contains(err.Error(), key) {
			t.Errorf("key %q: %v", key, err)
		}
	}
}

type agent struct {
	server, public, token string
	pair                  nkeys.KeyPair
}

func newAgent(t *testing.T, b *broker.Broker, server string) agent {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	token, err := b.IssueAgent(server, public)
	if err != nil {
		t.Fatal(err)
	}
	return agent{server: server, public: public, token: token, pair: pair}
}

func credentials(a agent) nats.Option {
	return nats.UserJWT(func() (string, error) { return a.token, nil }, a.pair.Sign)
}

func (a agent) dial(in *keys.Installation, addr string, opts ...nats.Option) (*nats.Conn, error) {
	all := append([]nats.Option{
		credentials(a), nats.Name(a.server), nats.Secure(&tls.Config{RootCAs: in.CA.Pool()}),
		nats.CustomInboxPrefix(wire.InboxPrefix(a.server)), nats.Timeout(patience),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}, opts...)
	return nats.Connect("tls://"+addr, all...)
}

// refused tells whether the broker does not accept the credentials.
func (a agent) refused(in *keys.Installation, addr string) bool {
	nc, err := a.dial(in, addr)
	if err == nil {
		nc.Close()
		return false
	}
	return errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthRevoked)
}

func (a agent) connect(t *testing.T, in *keys.Installation, addr string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := a.dial(in, addr, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		nc.SetDisconnectErrHandler(nil)
		nc.Close()
	})
	return nc
}

func installation(t *testing.T) *keys.Installation {
	t.Helper()
	in, err := keys.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func start(t *testing.T, opts broker.Options) *broker.Broker {
	t.Helper()
	if opts.Host == "" {
		opts.Host = "127.0.0.1"
	}
	b, err := broker.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	return b
}

func connect(t *testing.T, b *broker.Broker) *nats.Conn {
	t.Helper()
	nc, err := b.Connect(t.Context(), "test controller")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// respond subscribes, and returns when the broker knows.
func respond(t *testing.T, nc *nats.Conn, subject, queue string, handle nats.MsgHandler) {
	t.Helper()
	var err error
	if queue == "" {
		_, err = nc.Subscribe(subject, handle)
	} else {
		_, err = nc.QueueSubscribe(subject, queue, handle)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
}

// refused waits for the broker's word to the client that it may not use the subject.
func refused(t *testing.T, nc *nats.Conn, failures <-chan error, subject string) {
	t.Helper()
	if err := nc.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
	err := receive(t, failures)
	if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(fmt.Sprintf("%q", subject))) {
		t.Fatalf("the client was told %v", err)
	}
}

// into keeps events as long as there is room: a test that does not read them must not hold up the broker.
func into(events chan<- broker.SecurityEvent) func(broker.SecurityEvent) {
	return func(e broker.SecurityEvent) {
		select {
		case events <- e:
		default:
		}
	}
}

func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}
