// Package enroll makes a host a member of an installation.
//
// The token goes only to a server that the installation's CA vouches for: the token carries that CA's fingerprint, and
// no request is sent before a certificate chain up to it has been verified. Keys are made here and stay here. The
// identity is written when the controller has said yes, as a whole; after any failure there is none.
package enroll

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"devflowbackup/agent/internal/host"
	"devflowbackup/agent/internal/identity"
	"devflowbackup/agent/internal/statedir"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/version"
	"devflowbackup/shared/wire"
)

const (
	timeout  = 30 * time.Second
	maxReply = 1 << 20
)

// Request says where and as what to enrol.
type Request struct {
	Controller string        // https://host:port
	Token      secret.String // dfe_<secret>_<fingerprint>
	StateDir   string
	Force      bool // replace an identity that is there
}

var tokenForm = regexp.MustCompile(`^dfe_([A-Za-z0-9]+)_([0-9a-fA-F]{64})$`)

// request is the body of POST /api/v1/enroll.
type request struct {
	Token        string            `json:"token"`
	NKey         string            `json:"nkey"`
	SigningKey   ed25519.PublicKey `json:"signing_key"`
	Recipient    string            `json:"recipient"`
	AgentVersion string            `json:"agent_version"`
	Protocol     int               `json:"protocol"`
	Host         wire.Host         `json:"host"`
}

// reply is the answer to it.
type reply struct {
	ServerID   string      `json:"server_id"`
	ServerName string      `json:"server_name"`
	NATSURLs   []string    `json:"nats_urls"`
	NATSJWT    string      `json:"nats_jwt"`
	CA         string      `json:"ca_pem"`
	KeySet     wire.KeySet `json:"key_set"`
}

// problem is an RFC 9457 error.
type problem struct {
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Hint   string `json:"hint"`
}

func (p problem) String() string {
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	if text != "" && p.Hint != "" {
		text += " (" + p.Hint + ")"
	}
	return text
}

// Run enrols and returns the identity that it wrote.
func Run(ctx context.Context, r Request) (*identity.Identity, error) {
	base, err := parseURL(r.Controller)
	if err != nil {
		return nil, err
	}
	form := tokenForm.FindStringSubmatch(strings.TrimSpace(r.Token.Reveal()))
	if form == nil {
		return nil, errors.New("the token is not complete: copy all of it, from dfe_ to the end")
	}
	if err := statedir.Make(r.StateDir); err != nil {
		return nil, err
	}
	lock, err := statedir.Acquire(r.StateDir)
	if err != nil {
		return nil, fmt.Errorf("%w: stop it first", err)
	}
	defer func() { _ = lock.Release() }()
	there, err := identity.Exists(r.StateDir)
	if err != nil {
		return nil, err
	}
	if there && !r.Force {
		return nil, fmt.Errorf("%s holds an identity already: this agent is enrolled; --force replaces it", r.StateDir)
	}

	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	// A controller may show the world a certificate of another authority: then it is asked by the name that only its own has.
	name := base.Hostname()
	ca, err := findCA(ctx, base, name, strings.ToLower(form[2]))
	if errors.Is(err, errOtherCA) {
		name = wire.ControllerName
		ca, err = findCA(ctx, base, name, strings.ToLower(form[2]))
	}
	if err != nil {
		return nil, err
	}
	keys, err := identity.Draw()
	if err != nil {
		return nil, err
	}
	pub, err := keys.Public()
	if err != nil {
		return nil, err
	}
	answer, err := post(ctx, base, name, ca, request{
		Token: strings.TrimSpace(r.Token.Reveal()), NKey: pub.NKey, SigningKey: pub.SigningKey, Recipient: pub.Recipient,
		AgentVersion: version.Version, Protocol: wire.Version, Host: host.Facts(r.StateDir),
	})
	if err != nil {
		return nil, err
	}
	if !holds(answer.CA, ca) {
		return nil, errors.New("the controller's answer names another CA than the token does: nothing was kept")
	}
	return identity.Create(r.StateDir, keys, identity.Installation{
		ServerID: answer.ServerID, ServerName: answer.ServerName, Controller: base.String(),
		NATSURLs: answer.NATSURLs, NATSJWT: answer.NATSJWT, CA: answer.CA, KeySet: answer.KeySet,
	})
}

func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(text, "/"))
	if err != nil || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("controller URL %q: give https://HOST:PORT", secret.ScrubURLs(text))
	}
	if u.Scheme != "https" {
		return nil, fmt.Errorf("controller URL %q: only https is used, also on the same host", text)
	}
	return u, nil
}

var errOtherCA = errors.New("is not a controller of the installation that made this token")

// findCA looks at the chain that the server presents and returns the CA that the token names. Nothing is sent, and
// nothing of what was seen is trusted but the certificate with the right fingerprint.
func findCA(ctx context.Context, base *url.URL, name, fingerprint string) (*x509.Certificate, error) {
	addr := base.Host
	if base.Port() == "" {
		addr = net.JoinHostPort(base.Hostname(), "443")
	}
	d := tls.Dialer{Config: &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // the chain is only looked at; the request that follows is verified against the CA
		ServerName:         name,
		MinVersion:         tls.VersionTLS12,
	}}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("reach the controller at %s: %w", addr, err)
	}
	defer func() { _ = conn.Close() }()
	tc, ok := conn.(*tls.Conn)
	if !ok {
		return nil, errors.New("not a TLS connection")
	}
	for _, cert := range tc.ConnectionState().PeerCertificates {
		sum := sha256.Sum256(cert.Raw)
		if cert.IsCA && hex.EncodeToString(sum[:]) == fingerprint {
			return cert, nil
		}
	}
	return nil, fmt.Errorf("%s %w: its certificates do not include the CA %s…; "+
		"use the controller's own address, not that of a proxy, and a token of this installation", addr, errOtherCA, fingerprint[:16])
}

// post sends the request to a server that is verified against ca alone, and must have the name.
func post(ctx context.Context, base *url.URL, name string, ca *x509.Certificate, body request) (*reply, error) {
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	client := &http.Client{
		Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS12},
			DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	text, err := json.Marshal(body)
	if err != nil {
		return nil, errors.New("encode the enrolment") // the cause could quote the token
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base.JoinPath("/api/v1/enroll").String(), bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("enrol: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, application/problem+json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("enrol: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err = io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return nil, fmt.Errorf("enrol: read the answer: %w", err)
	}
	if resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusOK {
		var p problem
		_ = json.Unmarshal(text, &p) // whatever it is, the status counts
		if why := p.String(); why != "" {
			return nil, fmt.Errorf("the controller refused the enrolment: %s", why)
		}
		return nil, fmt.Errorf("the controller refused the enrolment with status %d", resp.StatusCode)
	}
	var out reply
	if err := json.Unmarshal(text, &out); err != nil {
		return nil, errors.New("the controller's answer does not decode: is this agent older than the controller?")
	}
	return &out, nil
}

// holds tells whether a PEM bundle contains the certificate.
func holds(bundle string, ca *x509.Certificate) bool {
	rest := []byte(bundle)
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return false
		}
		if bytes.Equal(block.Bytes, ca.Raw) {
			return true
		}
	}
}
