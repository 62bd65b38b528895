package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

// stallTimeout is how long a transfer may stand still, unless Options say otherwise. Before a dump's first byte the controller may have to read the whole artifact:
// then only the connection is watched.
const stallTimeout = 2 * time.Minute

// CreateDownload asks for a link to one object of a backup.
func (c *Client) CreateDownload(ctx context.Context, n int64, in body.CreateDownload) (body.Download, error) {
	return post[body.Download](ctx, c, in, "backups", id(n), "download")
}

// streaming is a client for streams: nothing is buffered or decompressed, and the whole transfer has no time limit.
func streaming(conf *tls.Config) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, ForceAttemptHTTP2: true, DisableCompression: true,
			DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 2,
			HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 30 * time.Second},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// storeTLS trusts the system's roots and the storage's own CA, if there is one.
func storeTLS(caPEM []byte) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(caPEM) == 0 {
		return conf, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(caPEM) {
		return nil, errors.New("the storage's CA file holds no PEM certificate")
	}
	conf.RootCAs = pool
	return conf, nil
}

// StoreError is a store's refusal of a direct link.
type StoreError struct {
	Status  int
	Code    string // the store's, such as AccessDenied
	Message string
	Host    string
}

func (e *StoreError) Error() string {
	what := fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status))
	if e.Code != "" {
		what += ", " + e.Code
	}
	if e.Message != "" {
		what += ": " + e.Message
	}
	return e.Host + " refused the link: " + what
}

// Unreachable tells whether no answer came at all: no connection, no trust, or one that broke before the answer.
func Unreachable(err error) bool {
	var conn *connectionError
	return errors.As(err, &conn) && !conn.begun
}

// Transient tells whether the same request may succeed later: what broke on the way, and what the other side says is its own trouble.
func Transient(err error) bool {
	var p *body.Problem
	var s *StoreError
	var conn *connectionError
	switch {
	case errors.As(err, &p):
		return p.Status >= 500 || p.Status == http.StatusTooManyRequests
	case errors.As(err, &s):
		return s.Status >= 500 || s.Status == http.StatusTooManyRequests
	}
	return errors.As(err, &conn)
}

// Content is what a link gives, from Offset on. Read returns io.EOF only after the last byte; any other end is an error, which
// Transient judges.
type Content struct {
	Offset int64 // 0 where the other side knows no ranges

	base   string
	left   int64
	body   io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	watch  *time.Timer
	stall  time.Duration
	once   sync.Once
}

// stalled is why a transfer was ended that stood still for so long.
type stalled time.Duration

func (s stalled) Error() string { return fmt.Sprintf("nothing came for %s", time.Duration(s)) }

// Open begins to read what the link gives at offset, which is less than its size or 0. A link to the controller is asked for at the
// server that this client was configured with, whatever host it names; the API token travels to neither.
func (c *Client) Open(ctx context.Context, d body.Download, offset int64) (*Content, error) {
	u, err := url.Parse(d.URL)
	if err != nil || u.Host == "" {
		return nil, errors.New("the controller gave a link that is not a URL")
	}
	hc, base := c.stores, u.Scheme+"://"+u.Host
	if !d.Direct {
		i := strings.LastIndex(u.EscapedPath(), "/downloads/")
		if i < 0 {
			return nil, errors.New("the controller gave a link that is not one of its own")
		}
		hc, base = c.streams, c.base
		if u, err = url.Parse(c.base + u.EscapedPath()[i:]); err != nil {
			return nil, errors.New("the controller gave a link that cannot be asked for")
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	watch := time.AfterFunc(c.stall, func() { cancel(stalled(c.stall)) })
	if d.Format == controller.FormatDump {
		watch.Stop()
	}
	opened := false
	defer func() {
		if !opened {
			watch.Stop()
			cancel(nil)
		}
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, errors.New("the controller gave a link that cannot be asked for")
	}
	req.Header.Set("User-Agent", c.agent)
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		if !d.Direct {
			req.Header.Set("If-Range", quoted(d.Checksum))
		}
	}
	res, err := hc.Do(req)
	if err != nil {
		return nil, broken(ctx, base, false, d.Direct, err)
	}
	start, err := accept(res, d, offset)
	if err != nil {
		defer func() { _ = res.Body.Close() }()
		text, reading := io.ReadAll(io.LimitReader(res.Body, 64<<10))
		var refused *refusedError
		switch {
		case !errors.As(err, &refused):
			return nil, err
		case reading != nil:
			return nil, broken(ctx, base, true, d.Direct, reading)
		case d.Direct:
			return nil, storeRefusal(res, text, u.Host)
		}
		return nil, refusal(res, text)
	}
	opened = true
	watch.Stop()
	return &Content{Offset: start, base: base, left: d.Size - start, body: res.Body, ctx: ctx, cancel: cancel, watch: watch, stall: c.stall}, nil
}

// refusedError is an answer that is no content.
type refusedError struct{}

func (*refusedError) Error() string { return "refused" }

// accept tells where the content begins. An answer that is not about the bytes of the link is an error: it must not end up in a file.
func accept(res *http.Response, d body.Download, offset int64) (start int64, err error) {
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusPartialContent:
		start = offset
		if want := fmt.Sprintf("bytes %d-%d/%d", offset, d.Size-1, d.Size); res.Header.Get("Content-Range") != want {
			return 0, fmt.Errorf("asked for %q, was given %q", want, res.Header.Get("Content-Range"))
		}
	default:
		return 0, &refusedError{}
	}
	if res.ContentLength >= 0 && res.ContentLength != d.Size-start {
		return 0, fmt.Errorf("the answer has %d bytes, the backup has %d from there", res.ContentLength, d.Size-start)
	}
	if etag := res.Header.Get("ETag"); !d.Direct && etag != quoted(d.Checksum) {
		return 0, fmt.Errorf("the answer is of %s, not of %s", etag, quoted(d.Checksum))
	}
	return start, nil
}

func quoted(checksum string) string { return strconv.Quote(checksum) }

// storeRefusal reads the error of an S3 store, if it is one.
func storeRefusal(res *http.Response, text []byte, host string) error {
	e := &StoreError{Status: res.StatusCode, Host: host}
	var doc struct {
		Code    string `xml:"Code"`
		Message string `xml:"Message"`
	}
	if xml.Unmarshal(text, &doc) == nil {
		e.Code, e.Message = doc.Code, doc.Message
	}
	return e
}

// broken names what ended a transfer. The URL is a secret, so it is not in it.
func broken(ctx context.Context, base string, begun, store bool, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		var still stalled
		if !errors.As(cause, &still) {
			return cause
		}
		err = cause
	}
	return &connectionError{base: base, err: err, begun: begun, store: store}
}

func (r *Content) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	r.watch.Reset(r.stall)
	n, err := r.body.Read(p)
	r.watch.Stop() // a reader that takes its time is no stall
	r.left -= int64(n)
	switch {
	case r.left == 0 || err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return n, broken(r.ctx, r.base, true, false, err)
}

// Close ends the transfer.
func (r *Content) Close() error {
	r.once.Do(func() {
		r.watch.Stop()
		r.cancel(nil)
	})
	return r.body.Close()
}
