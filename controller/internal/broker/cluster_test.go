package broker_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"devflowbackup/controller/internal/broker"
	"devflowbackup/shared/freeport"
	"devflowbackup/shared/wire"
)

// Three routed servers from what was exported for each, two controllers, and agents on all of them. Each server dies once, and is
// missed by nobody; what was revoked meanwhile is refused by it when it is back.
func TestBroker_Cluster(t *testing.T) {
	in := installation(t)
	b, err := broker.New(broker.Options{Installation: in})
	if err != nil {
		t.Fatal(err)
	}
	const nodes = 3
	var ports, routes [nodes]int
	for i := range nodes {
		ports[i], routes[i] = port(t), port(t)
	}
	var dirs, urls, addrs []string
	for i := range nodes {
		var others []string
		for j := range nodes {
			if j != i {
				others = append(others, fmt.Sprintf("127.0.0.1:%d", routes[j]))
			}
		}
		dir := t.TempDir()
		if err := b.ExportConfig(dir, broker.ExportOptions{
			ServerName: fmt.Sprintf("nats%d", i+1), Host: "127.0.0.1", Port: ports[i], IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, ClusterPort: routes[i], Routes: others,
		}); err != nil {
			t.Fatal(err)
		}
		conf := filepath.Join(dir, "nats-server.conf")
		text, err := os.ReadFile(conf)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), `interval: "10s"`) {
			t.Fatal("the servers do not compare accounts every 10 s")
		}
		if err := os.WriteFile(conf, []byte(strings.Replace(string(text), `"10s"`, `"1s"`, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		dirs, addrs = append(dirs, dir), append(addrs, fmt.Sprintf("127.0.0.1:%d", ports[i]))
		urls = append(urls, "tls://"+addrs[i])
	}
	running := make([]*server.Server, nodes)
	for i := range nodes {
		running[i] = runServer(t, dirs[i])
	}
	routed := func() bool {
		for _, s := range running {
			if s.NumRoutes() < nodes-1 {
				return false
			}
		}
		return true
	}
	await(t, "the servers to know each other", routed)

	// A certificate alone lets nobody into the cluster, and agents have none.
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", routes[0]), &tls.Config{RootCAs: in.CA.Pool(), MinVersion: tls.VersionTLS12})
	if err == nil {
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		_, err = conn.Read(make([]byte, 1))
		_ = conn.Close()
	}
	if err == nil {
		t.Error("a client without a certificate is heard by the cluster")
	}

	one := start(t, broker.Options{Installation: in, ExternalURLs: urls})
	two := start(t, broker.Options{Installation: in, ExternalURLs: []string{urls[1], urls[2], urls[0]}})
	ctls := []*nats.Conn{connect(t, one), connect(t, two)}
	for n, ctl := range ctls {
		respond(t, ctl, wire.ControllerSubjects(wire.VerbHello), wire.QueueGroup, func(m *nats.Msg) { _ = m.Respond([]byte{byte('0' + n)}) })
	}
	again := []nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectJitter(0, 0), nats.DontRandomize()}
	agents := make([]agent, nodes)
	conns := make([]*nats.Conn, nodes)
	for i := range nodes {
		agents[i] = newAgent(t, one, fmt.Sprintf("agent%d", i))
		list := append(append([]string{}, addrs[i:]...), addrs[:i]...) // each at another server first
		conns[i] = agents[i].connect(t, in, strings.Join(list, ",tls://"), again...)
		respond(t, conns[i], wire.AgentSubjects(agents[i].server), "", func(m *nats.Msg) { _ = m.Respond([]byte("here")) })
	}
	works := func() bool {
		for i, a := range agents {
			for _, ctl := range ctls {
				if got, err := ctl.Request(wire.AgentSubject(a.server, wire.VerbPing), nil, 2*time.Second); err != nil || string(got.Data) != "here" {
					return false
				}
			}
			if _, err := conns[i].Request(wire.ControllerSubject(a.server, wire.VerbHello), nil, 2*time.Second); err != nil {
				return false
			}
		}
		return true
	}
	await(t, "all agents at all controllers", works)

	for i := range nodes {
		stopServer(running[i])
		await(t, fmt.Sprintf("all to go on without server %d", i+1), works)
		lost := newAgent(t, two, fmt.Sprintf("lost%d", i))
		if _, err := two.Revoke(t.Context(), lost.public); err != nil {
			t.Fatal(err)
		}
		for j := range nodes {
			if j != i {
				await(t, "the revocation at every server that is up", func() bool { return lost.refused(in, addrs[j]) })
			}
		}
		running[i] = runServer(t, dirs[i])
		await(t, "the server to be back", routed)
		await(t, "the revocation at the server that was away", func() bool { return lost.refused(in, addrs[i]) })
	}
	await(t, "all agents at all controllers", works)
}

func port(t *testing.T) int {
	t.Helper()
	p, err := freeport.Pick()
	if err != nil {
		t.Fatal(err)
	}
	return p
}
