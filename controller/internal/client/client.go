// Package client is the HTTP API from the caller's side.
//
// Invariants: what the server refused comes back as its *body.Problem, whole; the token, or the session, travels in one header, to the
// server that was configured and nowhere else, and is in no error; a request that creates carries an Idempotency-Key, so that sending it
// again after a lost answer is safe, and it is sent again.
package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"devflowbackup/controller/internal/api/body"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/wire"
)

const (
	prefix     = "/api/v1"
	maxAnswer  = 64 << 20 // bytes; a list of every database of a large installation fits
	maxTries   = 4
	firstPause = 200 * time.Millisecond // between tries; doubles
	maxSlowed  = 30 * time.Second       // a controller that asks for more patience than that is not waited for
)

// Options of New.
type Options struct {
	URL       string // https://host:port, without a path
	Token     secret.String
	Session   Session
	CAPEM     []byte // trusted instead of the system's roots; empty: the system's
	UserAgent string
	Tries     int // of a request that may be repeated; 4 if zero

	StorageCAPEM []byte        // trusted beside the system's roots for links that lead to a store
	Stall        time.Duration // how long a download may stand still; 0: two minutes
}

// Session is a person who signed in. It counts where there is no token.
type Session struct {
	Cookie secret.String // its value
	CSRF   string        // sent with each write
}

// Client calls one controller. It is safe for concurrent use.
type Client struct {
	base    string
	token   secret.String
	session Session
	agent   string
	tries   int
	http    *http.Client

	streams, stores *http.Client // of downloads: through the controller, and from stores
	stall           time.Duration
}

// New checks the options; it connects to nothing.
func New(opt Options) (*Client, error) {
	u, err := url.Parse(opt.URL)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil || u.RawQuery != "" || (u.Path != "" && u.Path != "/") {
		return nil, fmt.Errorf("server %q: not a URL such as https://backup.example.com:8443", redacted(opt.URL))
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return nil, fmt.Errorf("server %q: the token would travel without TLS: use https", opt.URL)
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(opt.CAPEM) > 0 {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(opt.CAPEM) {
			return nil, errors.New("the CA file holds no PEM certificate")
		}
	}
	store, err := storeTLS(opt.StorageCAPEM)
	if err != nil {
		return nil, err
	}
	return &Client{
		streams: streaming(conf.Clone()), stores: streaming(store), stall: cmp.Or(opt.Stall, stallTimeout),
		base: u.Scheme + "://" + u.Host + prefix, token: opt.Token, session: opt.Session, agent: opt.UserAgent, tries: cmp.Or(opt.Tries, maxTries),
		http: &http.Client{
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, ForceAttemptHTTP2: true,
				DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
				TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 6 * time.Minute,
				IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 8,
			},
			// The API never redirects: whoever does is not the controller.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

func redacted(raw string) string {
	if u, err := url.Parse(raw); err == nil {
		return u.Redacted()
	}
	return "…"
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// call is one request.
type call struct {
	method string
	path   string // under the prefix, escaped
	query  url.Values
	body   any
	key    string // Idempotency-Key
}

// do sends a request and decodes the answer into T. A request that may be repeated (a GET, or one with a key) is sent again when the
// connection breaks, and when the controller says that it is unavailable.
func do[T any](ctx context.Context, c *Client, r call) (T, error) {
	var v T
	text, err := c.send(ctx, r)
	if err != nil {
		return v, err
	}
	if raw, ok := any(&v).(*[]byte); ok {
		*raw = text
		return v, nil
	}
	if len(text) == 0 {
		return v, nil
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return v, fmt.Errorf("read the answer of %s %s: %w", r.method, r.path, err)
	}
	return v, nil
}

func (c *Client) send(ctx context.Context, r call) ([]byte, error) {
	var payload []byte
	if r.body != nil {
		var err error
		if payload, err = json.Marshal(r.body); err != nil {
			return nil, fmt.Errorf("write the request %s %s: %w", r.method, r.path, err)
		}
	}
	repeatable := r.method == http.MethodGet || r.key != ""
	pause := firstPause
	for try := 1; ; try++ {
		text, err := c.once(ctx, r, payload)
		slowed := slowedFor(err)
		if err == nil || !repeatable || try >= c.tries || !transient(err) && slowed == 0 || ctx.Err() != nil {
			return text, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(max(pause, slowed)):
		}
		pause *= 2
	}
}

// slowedFor is how long a controller asks to wait that got too many requests; 0 if it does not, or asks for too much.
func slowedFor(err error) time.Duration {
	var p *body.Problem
	if !errors.As(err, &p) || p.Code != body.CodeRate || p.RetryAfter > maxSlowed {
		return 0
	}
	return p.RetryAfter
}

// identify adds who asks.
func (c *Client) identify(req *http.Request) {
	req.Header.Set("User-Agent", c.agent)
	switch {
	case !c.token.Empty():
		req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	case !c.session.Cookie.Empty():
		req.Header.Set("Cookie", body.SessionCookie+"="+c.session.Cookie.Reveal())
		if req.Method != http.MethodGet && req.Method != http.MethodHead {
			req.Header.Set(body.CSRF, c.session.CSRF)
		}
	}
}

// connectionError is a request that got no answer, or, once begun, not a whole one.
type connectionError struct {
	base  string
	err   error
	begun bool
	store bool // a store was asked, not the controller
}

func (e *connectionError) Error() string {
	// url.Error repeats method and URL; the reason is below it.
	reason := e.err
	var u *url.Error
	if errors.As(reason, &u) {
		reason = u.Err
	}
	var unknown x509.UnknownAuthorityError
	if errors.As(e.err, &unknown) {
		if e.store {
			return fmt.Sprintf("%s presents a certificate of an unknown authority (give the storage's CA by --storage-ca or DEVFLOW_STORAGE_CA)", e.base)
		}
		return fmt.Sprintf("%s presents a certificate of an unknown authority (give the installation's CA by --ca or DEVFLOW_CA)", strings.TrimSuffix(e.base, prefix))
	}
	if e.begun {
		return fmt.Sprintf("the connection to %s broke: %v", strings.TrimSuffix(e.base, prefix), reason)
	}
	return fmt.Sprintf("no answer from %s: %v", strings.TrimSuffix(e.base, prefix), reason)
}

func (e *connectionError) Unwrap() error { return e.err }

func transient(err error) bool {
	var p *body.Problem
	if errors.As(err, &p) {
		return p.Status == http.StatusServiceUnavailable || p.Status == http.StatusBadGateway || p.Status == http.StatusGatewayTimeout
	}
	var certificate *tls.CertificateVerificationError
	var conn *connectionError
	return errors.As(err, &conn) && !errors.As(err, &certificate)
}

func (c *Client) once(ctx context.Context, r call, payload []byte) ([]byte, error) {
	target := c.base + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, bytes.NewReader(payload))
	if err != nil {
		return nil, fmt.Errorf("write the request %s %s: %w", r.method, r.path, err)
	}
	req.Header.Set("Accept", "application/json")
	c.identify(req)
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if version := matchOf(ctx); version != "" && r.method != http.MethodGet {
		req.Header.Set("If-Match", version)
	}
	if r.key != "" {
		req.Header.Set(body.IdempotencyKey, r.key)
	}
	res, err := c.http.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		return nil, &connectionError{base: c.base, err: err}
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return nil, &connectionError{base: c.base, err: err}
	}
	if len(text) > maxAnswer {
		return nil, fmt.Errorf("the answer of %s %s is larger than %d bytes", r.method, r.path, maxAnswer)
	}
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		tell(ctx, res)
		return text, nil
	}
	return nil, refusal(res, text)
}

// refusal is the problem that the controller answered with, or what can be said of an answer that is not one.
func refusal(res *http.Response, text []byte) error {
	if kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type")); err == nil && kind == body.ContentType {
		var p body.Problem
		if json.Unmarshal(text, &p) == nil && p.Status != 0 {
			if n, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && n > 0 {
				p.RetryAfter = time.Duration(min(n, 86_400)) * time.Second
			}
			return &p
		}
	}
	return &body.Problem{
		Title: http.StatusText(res.StatusCode), Status: res.StatusCode,
		Detail: fmt.Sprintf("%s %s was answered with %s, and not by a controller", res.Request.Method, res.Request.URL.Path, res.Status),
		Hint:   "check the server's URL, and the proxy before it",
	}
}

// path joins segments, each escaped: a name may hold a slash.
func path(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}

func get[T any](ctx context.Context, c *Client, query url.Values, segments ...string) (T, error) {
	return do[T](ctx, c, call{method: http.MethodGet, path: path(segments...), query: query})
}

// post sends a request that is harmless to repeat by its nature only where the caller says so, so it is sent once.
func post[T any](ctx context.Context, c *Client, in any, segments ...string) (T, error) {
	return do[T](ctx, c, call{method: http.MethodPost, path: path(segments...), body: in})
}

// create sends a request that is carried out once, however often it has to be sent.
func create[T any](ctx context.Context, c *Client, in any, segments ...string) (T, error) {
	return do[T](ctx, c, call{method: http.MethodPost, path: path(segments...), body: in, key: wire.NewID()})
}

// values drops what is empty.
func values(pairs ...string) url.Values {
	v := url.Values{}
	for pair := range slices.Chunk(pairs, 2) {
		if pair[1] != "" {
			v.Set(pair[0], pair[1])
		}
	}
	return v
}
