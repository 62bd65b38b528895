package broker_test

import (
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"devflowbackup/controller/internal/broker"
	"devflowbackup/controller/internal/keys"
	"devflowbackup/shared/wire"
)

// Two controllers on one external NATS server that runs from the exported configuration.
func TestBroker_external(t *testing.T) {
	in := installation(t)
	dir := t.TempDir()
	_, port := export(t, in, dir)
	nats1 := runServer(t, dir)
	url := "tls://127.0.0.1:" + port
	addr := "127.0.0.1:" + port

	events := make(chan broker.SecurityEvent, 100)
	first := start(t, broker.Options{Installation: in, ExternalURLs: []string{url}, OnSecurity: into(events)})
	second := start(t, broker.Options{Installation: in, ExternalURLs: []string{url}})
	if first.Addr() != "" || !first.External() {
		t.Errorf("external broker listens at %q", first.Addr())
	}
	ctl1, ctl2 := connect(t, first), connect(t, second)
	a, b, c := newAgent(t, first, "alpha"), newAgent(t, second, "beta"), newAgent(t, second, "gamma")

	conn := c.connect(t, in, addr, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	respond(t, conn, wire.AgentSubjects("gamma"), "", func(m *nats.Msg) { _ = m.Respond([]byte("here")) })
	for _, ctl := range []*nats.Conn{ctl1, ctl2} {
		if got, err := ctl.Request(wire.AgentSubject("gamma", wire.VerbPing), nil, patience); err != nil || string(got.Data) != "here" {
			t.Fatalf("command: %v, %v", got, err)
		}
	}
	answers := make(chan string, 10)
	respond(t, ctl1, wire.ControllerSubjects(wire.VerbHello), wire.QueueGroup, func(m *nats.Msg) { answers <- "first"; _ = m.Respond(nil) })
	respond(t, ctl2, wire.ControllerSubjects(wire.VerbHello), wire.QueueGroup, func(m *nats.Msg) { answers <- "second"; _ = m.Respond(nil) })
	if _, err := conn.Request(wire.ControllerSubject("gamma", wire.VerbHello), nil, patience); err != nil {
		t.Fatal(err)
	}
	receive(t, answers)
	if len(answers) != 0 {
		t.Error("two controllers answered one request")
	}

	// Each controller revokes one agent; neither forgets the other's.
	connA, connB := a.connect(t, in, addr), b.connect(t, in, addr)
	begin := time.Now()
	earlier, err := first.Revoke(t.Context(), a.public)
	if err != nil {
		t.Fatal(err)
	}
	later, err := second.Revoke(t.Context(), b.public)
	if err != nil {
		t.Fatal(err)
	}
	// In seconds, by which servers tell which version is the newer one.
	if was, is := issuedAt(t, earlier), issuedAt(t, later); is <= was {
		t.Errorf("the second version of the account was signed at %d, the first at %d", is, was)
	}
	await(t, "both connections to be cut", func() bool { return !connA.IsConnected() && !connB.IsConnected() })
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("cut after %s", took)
	}
	bothRefused := func(when string) {
		t.Helper()
		for _, revoked := range []agent{a, b} {
			if !revoked.refused(in, addr) {
				t.Errorf("%s: %s is let in", when, revoked.server)
			}
		}
	}
	bothRefused("revoked")
	if e := receive(t, events); e.Kind != broker.DeniedLogin || e.Remote == "" {
		t.Errorf("event %+v", e)
	}
	if !conn.IsConnected() {
		t.Error("another agent was cut")
	}

	// The server restarts: what its configuration preloads is older than what it was told since.
	stopServer(nats1)
	nats2 := runServer(t, dir)
	bothRefused("after a restart")

	// FAULTS 20: its state is wiped. The controllers come back and bring the revocations along.
	stopServer(nats2)
	if err := os.RemoveAll(filepath.Join(dir, "accounts")); err != nil {
		t.Fatal(err)
	}
	runServer(t, dir)
	await(t, "the revocations to be back", func() bool { return a.refused(in, addr) && b.refused(in, addr) })
	bothRefused("after a wipe")
	await(t, "gamma to be back", func() bool {
		got, err := ctl1.Request(wire.AgentSubject("gamma", wire.VerbPing), nil, time.Second)
		return err == nil && string(got.Data) == "here"
	})
}

// A controller of another installation is not let in, and is told so.
func TestBroker_external_foreign(t *testing.T) {
	in := installation(t)
	dir := t.TempDir()
	_, port := export(t, in, dir)
	runServer(t, dir)
	foreign := installation(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, in.CA.CertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	url := "tls://127.0.0.1:" + port
	for _, c := range []struct {
		name, ca, want string
	}{
		{"unknown CA", "", "certificate"},
		{"known CA", ca, "Authorization"},
	} {
		b, err := broker.New(broker.Options{Installation: foreign, ExternalURLs: []string{url}, ExternalCAFile: c.ca})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Start(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), url) {
			t.Errorf("%s: %v", c.name, err)
		}
		if _, err := b.Revoke(t.Context()); !errors.Is(err, broker.ErrStopped) {
			t.Errorf("%s: revoke at a stopped broker: %v", c.name, err)
		}
	}
	if _, err := broker.New(broker.Options{Installation: foreign, ExternalCAFile: filepath.Join(dir, "nats-server.conf")}); err == nil {
		t.Error("a configuration was taken for a CA")
	}
}

func TestBroker_ExportConfig(t *testing.T) {
	in := installation(t)
	dir := t.TempDir()
	b, _ := export(t, in, dir)
	info, err := os.Stat(filepath.Join(dir, "server.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("server.key: %v, %v", info, err)
	}
	secrets, err := in.Secrets()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 5 {
		t.Fatalf("files %v, %v", files, err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range secrets {
			if name == "ca_certificate" || name == "installation_id" {
				continue
			}
			if block, _ := pem.Decode(value); block != nil {
				value = block.Bytes
			}
			if strings.Contains(string(content), string(value)) {
				t.Errorf("%s contains %s", file, name)
			}
		}
	}
	for name, opts := range map[string]broker.ExportOptions{
		"no name":  {},
		"no port":  {Names: []string{"localhost"}, Routes: []string{"other:6222"}},
		"bad name": {ServerName: "x\"\ny", Names: []string{"localhost"}},
	} {
		if err := b.ExportConfig(t.TempDir(), opts); err == nil {
			t.Errorf("%s: exported", name)
		}
	}
}

func export(t *testing.T, in *keys.Installation, dir string) (*broker.Broker, string) {
	t.Helper()
	p := port(t)
	b, err := broker.New(broker.Options{Installation: in})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.ExportConfig(dir, broker.ExportOptions{Host: "127.0.0.1", Port: p, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}); err != nil {
		t.Fatal(err)
	}
	return b, strconv.Itoa(p)
}

func runServer(t *testing.T, dir string) *server.Server {
	t.Helper()
	opts, err := server.ProcessConfigFile(filepath.Join(dir, "nats-server.conf"))
	if err != nil {
		t.Fatal(err)
	}
	opts.NoSigs, opts.NoLog = true, true
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { stopServer(s) })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the NATS server does not start")
	}
	return s
}

func stopServer(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

func issuedAt(t *testing.T, account string) int64 {
	t.Helper()
	claims, err := jwt.DecodeAccountClaims(account)
	if err != nil {
		t.Fatal(err)
	}
	return claims.IssuedAt
}
