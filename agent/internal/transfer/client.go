// Package transfer moves an artifact's bytes between the agent and the object store, by requests that the controller has
// presigned one by one.
//
// The agent holds no credential: it sends each grant exactly as it came. Whatever goes wrong between here and the store
// is tried again within a budget of time without progress; waiting for a grant costs nothing of it. No error or log line
// shows a URL's signature. Memory is bounded by the parts in flight.
package transfer

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"devflowbackup/shared/wire"
)

const (
	defaultIdle    = 2 * time.Minute
	defaultTimeout = 10 * time.Minute
	backoffFirst   = 200 * time.Millisecond
	backoffMax     = 20 * time.Second

	// refusals is how often in a row a fresh grant may be refused before the store means it.
	refusals = 5
)

// Client sends granted requests.
type Client struct {
	// Idle ends a request that moved no byte for so long; 2 min if zero.
	Idle time.Duration
	// Timeout fails a transfer that made no progress for so long, not counting the wait for grants; 10 min if zero.
	Timeout time.Duration

	http *http.Client
}

// NewClient makes a client that trusts the given roots, or the system's if nil. It follows no redirect.
func NewClient(roots *x509.CertPool) *Client {
	return &Client{
		Idle:    defaultIdle,
		Timeout: defaultTimeout,
		http: &http.Client{
			Transport: &http.Transport{
				Proxy:               http.ProxyFromEnvironment,
				DisableCompression:  true,
				MaxIdleConnsPerHost: 8,
				IdleConnTimeout:     90 * time.Second,
				TLSHandshakeTimeout: 20 * time.Second,
				WriteBufferSize:     64 << 10,
				ReadBufferSize:      64 << 10,
				TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// CloseIdle closes connections that are kept for later.
func (c *Client) CloseIdle() { c.http.CloseIdleConnections() }

// statusError is the store's refusal.
type statusError struct {
	Status  int
	Code    string // S3's, such as SlowDown
	Message string
}

func (e *statusError) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("the store answered with status %d", e.Status)
	}
	return fmt.Sprintf("the store answered with status %d %s: %.200s", e.Status, e.Code, e.Message)
}

// busy tells whether the store asked to come back later.
func (e *statusError) busy() bool {
	return e.Status >= 500 || e.Status == http.StatusTooManyRequests || e.Status == http.StatusRequestTimeout
}

var errIdle = errors.New("no byte moved")

// idle cancels a request in which nothing moves.
type idle struct {
	timer *time.Timer
	limit time.Duration
}

func watch(ctx context.Context, limit time.Duration) (context.Context, *idle, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &idle{limit: limit}
	w.timer = time.AfterFunc(limit, func() { cancel(fmt.Errorf("%w for %s", errIdle, limit)) })
	return ctx, w, func() { w.timer.Stop(); cancel(nil) }
}

func (w *idle) moved() { w.timer.Reset(w.limit) }

// do sends a granted request. The caller closes the response's body. Errors show no URL.
func (c *Client) do(ctx context.Context, g wire.Grant, body io.Reader, size int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, g.Method, g.URL, body)
	if err != nil {
		return nil, wire.Failf(wire.CodeBadRequest, "the controller's grant is not a request")
	}
	for k, v := range g.Headers {
		if http.CanonicalHeaderKey(k) == "Host" {
			req.Host = v
			continue
		}
		req.Header.Set(k, v)
	}
	req.ContentLength = size
	if size == 0 {
		req.Body = http.NoBody
	}
	resp, err := c.http.Do(req)
	if err == nil {
		return resp, nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // without the URL, which is a credential
	}
	return nil, fmt.Errorf("reach the store at %s: %w", req.URL.Host, err)
}

// put sends data and returns the acknowledgement's ETag.
func (c *Client) put(ctx context.Context, g wire.Grant, data []byte) (string, error) {
	ctx, w, stop := watch(ctx, c.Idle)
	defer stop()
	resp, err := c.do(ctx, g, &counted{r: bytes.NewReader(data), moved: w.moved}, int64(len(data)))
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := check(resp, http.StatusOK); err != nil {
		return "", err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // the connection is used again
	etag := resp.Header.Get("ETag")
	if etag == "" {
		return "", errors.New("the store acknowledged a part without its ETag")
	}
	return etag, nil
}

// check reads the store's error if the status is none of those wanted.
func check(resp *http.Response, want ...int) error {
	for _, s := range want {
		if resp.StatusCode == s {
			return nil
		}
	}
	e := &statusError{Status: resp.StatusCode}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var doc struct {
		Code    string
		Message string
	}
	if xml.Unmarshal(text, &doc) == nil {
		e.Code, e.Message = doc.Code, doc.Message
	}
	return e
}

// counted is a request's body that tells when it moves.
type counted struct {
	r     *bytes.Reader
	moved func()
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if n > 0 {
		c.moved()
	}
	return n, err
}

// budget decides how long a transfer goes on without progress.
type budget struct {
	limit    time.Duration
	stalled  string        // the failure's code when nobody answered
	gone     string        // and when the store knows nothing of it
	progress *atomic.Int64 // changes with each step that succeeded
	seen     int64
	spent    time.Duration
	refused  int // grants refused in a row
	wait     time.Duration
}

// failed books one failed try that began at start, waits, and returns the failure when the budget is used up.
func (b *budget) failed(ctx context.Context, start time.Time, what string, err error) error {
	if now := b.progress.Load(); now != b.seen {
		b.seen, b.spent, b.wait = now, 0, 0
	}
	var se *statusError
	if errors.As(err, &se) && !se.busy() {
		if b.refused++; b.refused >= refusals {
			return b.refusal(what, se)
		}
	}
	b.wait = min(max(backoffFirst, 2*b.wait), backoffMax)
	pauseErr := pause(ctx, time.Duration(float64(b.wait)*(0.5+rand.Float64()))) //nolint:gosec // no secret: it spreads load
	if pauseErr != nil {
		return pauseErr
	}
	b.spent += time.Since(start)
	if b.spent < b.limit {
		return nil
	}
	if se != nil && !se.busy() {
		return b.refusal(what, se)
	}
	if se != nil {
		return wire.Failf(wire.CodeStorageUnavailable, "%s: no progress for %s: %w", what, b.limit, err).Retry().
			WithHint("look at the store's health; the job is tried again")
	}
	return wire.Failf(b.stalled, "%s: no progress for %s: %w", what, b.limit, err).Retry().
		WithHint("look at the network between this host and the store; the job is tried again")
}

// refusal is what a store means that refuses fresh grants again and again.
func (b *budget) refusal(what string, se *statusError) error {
	switch se.Status {
	case http.StatusForbidden, http.StatusUnauthorized:
		f := wire.Failf(wire.CodeStorageDenied, "%s: %w", what, se)
		if se.Code == "RequestTimeTooSkewed" {
			return f.WithHint("the controller's clock differs from the store's: set it right")
		}
		return f.WithHint("check the storage's credentials and the bucket's policy with the storage probe")
	case http.StatusNotFound:
		return wire.Failf(b.gone, "%s: %w", what, se).Retry()
	default:
		return wire.Failf(wire.CodeStorageUnavailable, "%s: %w", what, se).Retry()
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// usable tells whether a grant made at a time still has half its life.
func usable(g wire.Grant, since time.Time) bool {
	return g.URL != "" && time.Since(since) < time.Duration(g.ExpiresInSeconds)*time.Second/2
}
