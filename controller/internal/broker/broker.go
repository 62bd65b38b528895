// Package broker is the message broker between controllers and agents: an embedded NATS server, or an external cluster that
// runs with our operator. It carries messages and keeps nothing: accounts follow from the installation's keys and the list
// of revoked users, so that a broker started from nothing is as good as the one before.
//
// Agents are told apart by the broker: each one publishes only its own requests and receives only its own commands. The
// broker does not check the reply subject of a request, so an agent can have a controller's answer delivered to another
// agent's command subject: agents act on signed directives only, and the broker is not trusted with that.
package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"devflowbackup/controller/internal/keys"
)

const (
	readyTimeout = 10 * time.Second
	// A fleet that comes back at once does thousands of handshakes: two seconds, the default, cut half of them off.
	handshakeTimeout = 15 * time.Second
	requestTimeout   = 5 * time.Second
	pushTries        = 5
	maxAhead         = 10 * time.Second // of the clock of who signed an account last
)

// ErrStopped is returned by calls on an embedded broker that does not run.
var ErrStopped = errors.New("the broker is stopped")

// Options say which broker to use.
type Options struct {
	Installation *keys.Installation

	// AgentsJWT is the agents' account as Revoke returned it last, if the caller keeps it; its revocations stay in force.
	AgentsJWT string
	// Revoked are public user keys that are void, beside those in AgentsJWT.
	Revoked []string

	// Host and Port are where the embedded server listens. Port 0 takes a free one at the first start.
	Host string
	Port int
	// Names and IPs are what agents may call the embedded server; they go into its certificate. The host, if it is an
	// address or a name, and the loopback names are added.
	Names []string
	IPs   []net.IP

	// ExternalURLs, such as tls://nats1:4222, name an external cluster that runs with our operator (see ExportConfig); no
	// server is embedded then.
	ExternalURLs []string
	// ExternalCAFile is a PEM file of certificates that the cluster's certificates may be signed by, beside our own CA.
	ExternalCAFile string

	// OnSecurity is told what clients tried without permission, one call after the other. With an external cluster it
	// sees refused logins only: permission violations are in that server's own log. It must not block for long.
	OnSecurity func(SecurityEvent)
	Logger     hclog.Logger     // none by default
	Now        func() time.Time // time.Now by default
}

// Broker connects controllers with agents. Its methods may be called from several goroutines.
type Broker struct {
	opts      Options
	authority *authority
	roots     *x509.CertPool
	log       hclog.Logger

	mu       sync.Mutex
	revoked  map[string]int64
	agents   string // the account JWT with these revocations
	port     int
	server   *server.Server // nil if stopped or external
	watch    *watch         // nil if stopped
	external *nats.Conn     // SYS connection, nil if stopped or embedded
}

// New prepares a broker; Start starts it.
func New(opts Options) (*Broker, error) {
	if opts.Logger == nil {
		opts.Logger = hclog.NewNullLogger()
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Installation == nil {
		return nil, errors.New("make broker: no installation given")
	}
	a, err := newAuthority(opts.Installation)
	if err != nil {
		return nil, fmt.Errorf("make broker: %w", err)
	}
	b := &Broker{opts: opts, authority: a, roots: opts.Installation.CA.Pool(), log: opts.Logger, port: opts.Port, revoked: map[string]int64{}}
	if opts.ExternalCAFile != "" {
		pem, err := os.ReadFile(opts.ExternalCAFile)
		if err != nil {
			return nil, fmt.Errorf("make broker: read CA: %w", err)
		}
		if !b.roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("make broker: %s contains no certificate", opts.ExternalCAFile)
		}
	}
	stored, err := a.revocations(opts.AgentsJWT)
	if err != nil {
		return nil, fmt.Errorf("make broker: %w", err)
	}
	maps.Copy(b.revoked, stored)
	if err := revoke(b.revoked, opts.Revoked...); err != nil {
		return nil, fmt.Errorf("make broker: %w", err)
	}
	if b.agents, err = a.signAgents(b.revoked); err != nil {
		return nil, fmt.Errorf("make broker: %w", err)
	}
	return b, nil
}

// External tells whether the broker is an external cluster.
func (b *Broker) External() bool { return len(b.opts.ExternalURLs) > 0 }

// Start starts the embedded server, or reaches the external cluster and gives it our revocations. Starting a started
// broker does nothing. After Stop it can be started again, on the same port.
func (b *Broker) Start(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.watch != nil {
		return nil
	}
	w := newWatch(b.log, b.opts.OnSecurity)
	var err error
	if b.External() {
		err = b.startExternal(ctx, w)
	} else {
		err = b.startEmbedded(ctx, w)
	}
	if err != nil {
		w.stop()
		return fmt.Errorf("start broker: %w", err)
	}
	b.watch = w
	return nil
}

func (b *Broker) startEmbedded(ctx context.Context, w *watch) error {
	names, ips := b.certificateNames()
	certificate, err := b.opts.Installation.CA.IssueServer(b.opts.Now(), names, ips)
	if err != nil {
		return err
	}
	operator, err := jwt.DecodeOperatorClaims(b.authority.operator)
	if err != nil {
		return fmt.Errorf("read operator: %w", err)
	}
	resolver := &server.MemAccResolver{}
	for _, account := range b.authority.accounts(b.agents) {
		if err := resolver.Store(account[0], account[1]); err != nil {
			return fmt.Errorf("store account: %w", err)
		}
	}
	port := b.port
	if port == 0 {
		port = server.RANDOM_PORT
	}
	s, err := server.NewServer(&server.Options{
		ServerName:       "devflow-" + b.opts.Installation.ID,
		Host:             b.opts.Host,
		Port:             port,
		NoSigs:           true,
		NoLog:            true,
		TrustedOperators: []*jwt.OperatorClaims{operator},
		SystemAccount:    b.authority.systemPub,
		AccountResolver:  resolver,
		MaxPayload:       maxPayload,
		TLS:              true,
		TLSConfig:        &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}},
		TLSTimeout:       handshakeTimeout.Seconds(),
		AuthTimeout:      (handshakeTimeout + 5*time.Second).Seconds(),
	})
	if err != nil {
		return fmt.Errorf("make NATS server: %w", err)
	}
	w.server = s
	s.SetLoggerV2(w, false, false, false)
	s.Start()
	if err := awaitListener(ctx, s, w); err != nil {
		s.Shutdown()
		s.WaitForShutdown()
		return err
	}
	b.server = s
	if addr, ok := s.Addr().(*net.TCPAddr); ok {
		b.port = addr.Port
	}
	b.log.Info("broker listens", "address", net.JoinHostPort(b.opts.Host, strconv.Itoa(b.port)))
	return nil
}

// awaitListener waits until the server takes connections, or has said why it does not.
func awaitListener(ctx context.Context, s *server.Server, w *watch) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, fmt.Errorf("NATS server is not ready within %s", readyTimeout))
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if text := w.fatalText(); text != "" {
			return fmt.Errorf("NATS server: %s", text)
		}
		if s.ReadyForConnections(time.Millisecond) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func (b *Broker) certificateNames() ([]string, []net.IP) {
	names := append([]string{"localhost"}, b.opts.Names...)
	ips := append([]net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, b.opts.IPs...)
	if ip := net.ParseIP(b.opts.Host); ip == nil && b.opts.Host != "" {
		names = append(names, b.opts.Host)
	} else if ip != nil && !ip.IsUnspecified() {
		ips = append(ips, ip)
	}
	slices.Sort(names)
	return slices.Compact(names), ips
}

func (b *Broker) startExternal(ctx context.Context, w *watch) error {
	nc, err := b.dial(ctx, b.authority.in.System, "devflow-controller-sys",
		nats.ReconnectHandler(func(nc *nats.Conn) {
			// The cluster may have been wiped meanwhile, or missed a revocation.
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				if _, err := b.Revoke(ctx); err != nil && !nc.IsClosed() {
					b.log.Warn("revocations not given to the NATS cluster", "err", err)
				}
			}()
		}))
	if err != nil {
		return err
	}
	if _, err := nc.Subscribe("$SYS.SERVER.*.CLIENT.AUTH.ERR", w.refused); err != nil {
		nc.Close()
		return fmt.Errorf("watch refused logins: %w", err)
	}
	if err := b.pushExternal(ctx, nc); err != nil {
		nc.Close()
		return err
	}
	b.external = nc
	return nil
}

// Stop stops the embedded server and cuts its connections, or leaves the external cluster. Stopping a stopped broker does
// nothing. Connections made by Connect to an embedded broker come back by themselves after the next Start.
func (b *Broker) Stop() {
	b.mu.Lock()
	s, w, nc := b.server, b.watch, b.external
	b.server, b.watch, b.external = nil, nil, nil
	b.mu.Unlock()
	if s != nil {
		s.Shutdown()
		s.WaitForShutdown()
	}
	if nc != nil {
		nc.Close()
	}
	if w != nil {
		w.stop()
	}
}

// Addr is where the embedded server listens, host:port; empty for an external one.
func (b *Broker) Addr() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.External() || b.port == 0 {
		return ""
	}
	host := b.opts.Host
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, strconv.Itoa(b.port))
}

// Connect makes a connection as a controller, in process if the server is embedded. The connection never gives up; it
// may be used until it is closed. The context bounds the first connect only.
func (b *Broker) Connect(ctx context.Context, name string, opts ...nats.Option) (*nats.Conn, error) {
	nc, err := b.dial(ctx, b.authority.in.Control, name, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to broker: %w", err)
	}
	return nc, nil
}

func (b *Broker) dial(ctx context.Context, account nkeys.KeyPair, name string, opts ...nats.Option) (*nats.Conn, error) {
	user, err := nkeys.CreateUser()
	if err != nil {
		return nil, fmt.Errorf("make user key: %w", err)
	}
	public, err := user.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("make user key: %w", err)
	}
	all := []nats.Option{
		nats.Name(name),
		nats.UserJWT(func() (string, error) { return b.authority.insider(account, name, public) }, user.Sign),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(100 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 500*time.Millisecond),
		nats.Timeout(requestTimeout),
		nats.PingInterval(20 * time.Second),
		nats.RetryOnFailedConnect(false),
	}
	url := ""
	if b.External() {
		url = strings.Join(b.opts.ExternalURLs, ",")
		all = append(all, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: b.roots}))
	} else {
		all = append(all, nats.InProcessServer(inProcess{b}))
	}
	type result struct {
		nc  *nats.Conn
		err error
	}
	connected := make(chan result, 1)
	go func() {
		nc, err := nats.Connect(url, append(all, opts...)...)
		connected <- result{nc, err}
	}()
	select {
	case r := <-connected:
		if r.err != nil && b.External() {
			return nil, fmt.Errorf("NATS cluster %s: %w", url, r.err)
		}
		return r.nc, r.err
	case <-ctx.Done():
		go func() {
			if r := <-connected; r.nc != nil {
				r.nc.Close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

// inProcess gives connections to the server that runs now, so that they survive a restart of it.
type inProcess struct{ b *Broker }

func (p inProcess) InProcessConn() (net.Conn, error) {
	p.b.mu.Lock()
	s := p.b.server
	p.b.mu.Unlock()
	if s == nil {
		return nil, ErrStopped
	}
	return s.InProcessConn()
}

// IssueAgent signs credentials for an agent: the JWT of a user named as the server. They do not expire. A revoked key
// gets none (ErrRevoked).
func (b *Broker) IssueAgent(server, userKey string) (string, error) {
	b.mu.Lock()
	_, revoked := b.revoked[userKey]
	b.mu.Unlock()
	if revoked {
		return "", fmt.Errorf("issue credentials for %s: %w", server, ErrRevoked)
	}
	return b.authority.agent(server, userKey)
}

// AgentsJWT is the agents' account with all revocations. Keeping it in the catalog is enough to keep them; the list of
// revoked keys is as good.
func (b *Broker) AgentsJWT() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.agents
}

// Revoke makes the users with these public keys void for good and cuts their connections. It returns the agents' account
// with all revocations, to be stored. A stopped embedded broker takes it over at its start. With an external cluster, the
// revocations of all controllers are united, and the call returns when the cluster has them; if it returns an error, call
// it again. Without keys it only brings the cluster up to date.
func (b *Broker) Revoke(ctx context.Context, userKeys ...string) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	revoked := maps.Clone(b.revoked)
	if err := revoke(revoked, userKeys...); err != nil {
		return "", err
	}
	agents, err := b.authority.signAgents(revoked)
	if err != nil {
		return "", err
	}
	// Known here from now on, whatever becomes of the push.
	b.revoked, b.agents = revoked, agents
	switch {
	case b.server != nil:
		err = pushEmbedded(b.server, b.authority.agentsPub, agents)
	case b.external != nil:
		err = b.pushExternal(ctx, b.external)
	case b.External():
		err = ErrStopped
	}
	if err != nil {
		return "", fmt.Errorf("revoke: %w", err)
	}
	return b.agents, nil
}

func pushEmbedded(s *server.Server, account, token string) error {
	claims, err := jwt.DecodeAccountClaims(token)
	if err != nil {
		return fmt.Errorf("read account AGENTS: %w", err)
	}
	if err := s.AccountResolver().Store(account, token); err != nil {
		return fmt.Errorf("store account AGENTS: %w", err)
	}
	acc, err := s.LookupAccount(account)
	if err != nil {
		return fmt.Errorf("look up account AGENTS: %w", err)
	}
	s.UpdateAccountClaims(acc, claims)
	return nil
}

// pushExternal brings the cluster's accounts up to date. It unites our revocations with those of the cluster, and looks
// again after a push: another controller may have pushed at the same time.
func (b *Broker) pushExternal(ctx context.Context, nc *nats.Conn) error {
	control, err := lookup(ctx, nc, b.authority.controlPub)
	if err != nil {
		return err
	}
	if !same(control, b.authority.control) {
		if err := update(ctx, nc, b.authority.control); err != nil {
			return err
		}
	}
	for range pushTries {
		there, err := lookup(ctx, nc, b.authority.agentsPub)
		if err != nil {
			return err
		}
		theirs, err := b.authority.revocations(there)
		if err != nil {
			return err
		}
		for key, at := range theirs {
			b.revoked[key] = max(b.revoked[key], at)
		}
		if b.agents, err = b.authority.signAgents(b.revoked); err != nil {
			return err
		}
		if same(there, b.agents) {
			return nil
		}
		if err := laterThan(ctx, there); err != nil {
			return err
		}
		if b.agents, err = b.authority.signAgents(b.revoked); err != nil {
			return err
		}
		if err := update(ctx, nc, b.agents); err != nil {
			return err
		}
	}
	return fmt.Errorf("update account AGENTS: other controllers changed it %d times meanwhile", pushTries)
}

// laterThan returns when what is signed now counts as later than that account JWT. Servers that compare what they hold keep the version
// that was signed later, in seconds; of one second they keep either, so that a server that was away could bring back what it missed.
func laterThan(ctx context.Context, there string) error {
	if there == "" {
		return nil
	}
	claims, err := jwt.DecodeAccountClaims(there)
	if err != nil {
		return fmt.Errorf("read account of the cluster: %w", err)
	}
	wait := time.Until(time.Unix(claims.IssuedAt+1, 0))
	if wait > maxAhead {
		return fmt.Errorf("update account: the cluster's version was signed %s ahead of this host's clock: set the clocks of the controllers", wait.Round(time.Second))
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func lookup(ctx context.Context, nc *nats.Conn, account string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	msg, err := nc.RequestWithContext(ctx, "$SYS.REQ.ACCOUNT."+account+".CLAIMS.LOOKUP", nil)
	if errors.Is(err, nats.ErrNoResponders) {
		return "", errors.New("look up account: the NATS cluster keeps no accounts: run it with `resolver: {type: full}`, as the exported configuration does")
	}
	if err != nil {
		return "", fmt.Errorf("look up account %s: %w", account, err)
	}
	return string(msg.Data), nil
}

func update(ctx context.Context, nc *nats.Conn, token string) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	msg, err := nc.RequestWithContext(ctx, "$SYS.REQ.CLAIMS.UPDATE", []byte(token))
	if err != nil {
		return fmt.Errorf("update account: %w", err)
	}
	var answer server.ServerAPIClaimUpdateResponse
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return fmt.Errorf("update account: read answer: %w", err)
	}
	if answer.Error != nil {
		return fmt.Errorf("update account: NATS cluster: %s", answer.Error.Description)
	}
	return nil
}
