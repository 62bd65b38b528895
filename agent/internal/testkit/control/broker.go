// Package control is a controller and its broker for the agent's tests: a real NATS server with TLS and an identity for
// each agent, a real S3 server behind it, and as much of the protocol as a test needs to steer.
package control

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"devflowbackup/shared/wire"
)

// CA is an installation's certificate authority.
type CA struct {
	Cert *x509.Certificate
	PEM  string
	key  *ecdsa.PrivateKey
}

// NewCA makes one.
func NewCA(tb testing.TB) *CA {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(tb, err)
	tmpl := &x509.Certificate{
		SerialNumber: serial(tb), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	check(tb, err)
	cert, err := x509.ParseCertificate(der)
	check(tb, err)
	return &CA{Cert: cert, PEM: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), key: key}
}

// Server makes a certificate for loopback, with the CA in its chain.
func (ca *CA) Server(tb testing.TB) tls.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(tb, err)
	tmpl := &x509.Certificate{
		SerialNumber: serial(tb), Subject: pkix.Name{CommonName: "controller"},
		DNSNames: []string{"localhost", wire.ControllerName}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.Cert, key.Public(), ca.key)
	check(tb, err)
	return tls.Certificate{Certificate: [][]byte{der, ca.Cert.Raw}, PrivateKey: key}
}

func serial(tb testing.TB) *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	check(tb, err)
	return n
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// Broker is a NATS server in this process. It keeps its address over Restart.
type Broker struct {
	URL string
	CA  *CA

	tb       testing.TB
	operator nkeys.KeyPair
	account  nkeys.KeyPair
	claims   *jwt.AccountClaims
	cert     tls.Certificate
	port     int
	s        *server.Server
}

// StartBroker runs a broker until the test ends.
func StartBroker(tb testing.TB) *Broker {
	tb.Helper()
	b := &Broker{tb: tb, CA: NewCA(tb), port: -1}
	var err error
	b.operator, err = nkeys.CreateOperator()
	check(tb, err)
	b.account, err = nkeys.CreateAccount()
	check(tb, err)
	b.cert = b.CA.Server(tb)
	pub, _ := b.account.PublicKey()
	b.claims = jwt.NewAccountClaims(pub)
	b.Start()
	tb.Cleanup(b.Stop)
	return b
}

// Start starts the server again after Stop.
func (b *Broker) Start() {
	b.tb.Helper()
	opPub, _ := b.operator.PublicKey()
	sys, err := nkeys.CreateAccount()
	check(b.tb, err)
	sysPub, _ := sys.PublicKey()
	resolver := &server.MemAccResolver{}
	for _, c := range []*jwt.AccountClaims{b.claims, jwt.NewAccountClaims(sysPub)} {
		text, err := c.Encode(b.operator)
		check(b.tb, err)
		check(b.tb, resolver.Store(c.Subject, text))
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: b.port, NoSigs: true, NoLog: true,
		TrustedOperators: []*jwt.OperatorClaims{jwt.NewOperatorClaims(opPub)}, SystemAccount: sysPub, AccountResolver: resolver,
		TLS: true, TLSConfig: &tls.Config{Certificates: []tls.Certificate{b.cert}, MinVersion: tls.VersionTLS12}, TLSTimeout: 10,
	})
	check(b.tb, err)
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		b.tb.Fatal("the broker does not start")
	}
	addr, ok := s.Addr().(*net.TCPAddr)
	if !ok {
		b.tb.Fatal("the broker has no address")
	}
	b.port, b.URL, b.s = addr.Port, fmt.Sprintf("tls://127.0.0.1:%d", addr.Port), s
}

// Stop stops the server. Nothing is kept but the identities.
func (b *Broker) Stop() {
	b.s.Shutdown()
	b.s.WaitForShutdown()
}

// Agent issues the credential of an agent for the public key of its user.
func (b *Broker) Agent(serverID, nkey string) string {
	b.tb.Helper()
	c := jwt.NewUserClaims(nkey)
	c.Name = serverID
	c.Pub.Allow.Add(wire.ControllerSubject(serverID, ">"))
	c.Sub.Allow.Add(wire.AgentSubjects(serverID), wire.InboxPrefix(serverID)+".>")
	c.Resp = &jwt.ResponsePermission{MaxMsgs: 1, Expires: time.Minute}
	text, err := c.Encode(b.account)
	check(b.tb, err)
	return text
}

// Connect connects with all rights, until the test ends.
func (b *Broker) Connect() *nats.Conn {
	b.tb.Helper()
	user, err := nkeys.CreateUser()
	check(b.tb, err)
	pub, _ := user.PublicKey()
	text, err := jwt.NewUserClaims(pub).Encode(b.account)
	check(b.tb, err)
	roots := x509.NewCertPool()
	roots.AddCert(b.CA.Cert)
	nc, err := nats.Connect(b.URL,
		nats.UserJWT(func() (string, error) { return text, nil }, user.Sign),
		nats.Secure(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond),
		nats.Timeout(Patience))
	check(b.tb, err)
	b.tb.Cleanup(nc.Close)
	return nc
}

// Revoke cuts the user of an agent off.
func (b *Broker) Revoke(nkey string) {
	b.tb.Helper()
	b.claims.Revoke(nkey)
	text, err := b.claims.Encode(b.operator)
	check(b.tb, err)
	check(b.tb, b.s.AccountResolver().Store(b.claims.Subject, text))
	acc, err := b.s.LookupAccount(b.claims.Subject)
	check(b.tb, err)
	c, err := jwt.DecodeAccountClaims(text)
	check(b.tb, err)
	b.s.UpdateAccountClaims(acc, c)
}
