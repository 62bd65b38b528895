package s3kit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// FaultProxy stands in front of an S3 server, passes requests through and does to some of them what its rules say. It
// forwards the Host header as it came, so signatures made for the proxy's own address stay valid. Safe for concurrent use.
type FaultProxy struct {
	Endpoint string // use it in place of the server's

	upstream *url.URL
	rt       *http.Transport
	srv      *http.Server
	done     chan struct{}

	mu       sync.Mutex
	rules    []*Rule
	profiles []*Profile
	rnd      *rand.Rand
	count    map[string]int
}

// Rule is one scripted fault. The first rule that matches a request, has firings left and wins its dice is used.
type Rule struct {
	// Match chooses requests. Nil matches all. See Op and And.
	Match func(*http.Request) bool
	// Times is how often the rule fires at most. 0 is without limit.
	Times int
	// Prob is the chance that a matching request is hit. 0 means always.
	Prob float64
	// Action answers the request.
	Action Action

	fired atomic.Int64
}

// Fired tells how often the rule was used. A test that injects a fault asserts that it is not 0.
func (r *Rule) Fired() int { return int(r.fired.Load()) }

// Action answers one request in place of plain forwarding.
type Action func(*Exchange)

// Exchange is one request on its way through the proxy.
type Exchange struct {
	W http.ResponseWriter
	R *http.Request

	proxy *FaultProxy
}

// StartProxy runs a proxy in front of a server until the test ends.
func StartProxy(tb TB, s *Server) *FaultProxy {
	tb.Helper()
	p, err := NewProxy(s.Endpoint)
	if err != nil {
		tb.Fatalf("start fault proxy: %v", err)
	}
	p.rt.TLSClientConfig = s.tls()
	tb.Cleanup(p.Close)
	return p
}

// NewProxy runs a proxy in front of endpoint until Close.
func NewProxy(endpoint string) (*FaultProxy, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("parse endpoint: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	p := &FaultProxy{
		Endpoint: "http://" + l.Addr().String(),
		upstream: u,
		// One connection per request: a reused one that the server just closed would be a fault nobody scripted.
		rt:    &http.Transport{Proxy: nil, DisableCompression: true, DisableKeepAlives: true},
		done:  make(chan struct{}),
		rnd:   rand.New(rand.NewPCG(1, 2)),
		count: map[string]int{},
	}
	p.srv = &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(p.done)
		_ = p.srv.Serve(l)
	}()
	return p, nil
}

// Close ends the proxy and every connection through it.
func (p *FaultProxy) Close() {
	_ = p.srv.Close()
	<-p.done
	p.rt.CloseIdleConnections()
}

// Add appends a rule and returns it, for Fired.
func (p *FaultProxy) Add(r *Rule) *Rule {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = append(p.rules, r)
	return r
}

// Inject adds a rule that fires times times (0: always) on one operation.
func (p *FaultProxy) Inject(op string, times int, a Action) *Rule {
	return p.Add(&Rule{Match: Op(op), Times: times, Action: a})
}

// Seed restarts the dice that Prob throws.
func (p *FaultProxy) Seed(seed uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rnd = rand.New(rand.NewPCG(seed, seed))
}

// Reset removes all rules. Profiles stay.
func (p *FaultProxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = nil
}

// Count tells how many requests of one operation arrived so far.
func (p *FaultProxy) Count(op string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count[op]
}

// ServeHTTP implements http.Handler.
func (p *FaultProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &Exchange{W: w, R: r, proxy: p}
	if rule := p.pick(r); rule != nil {
		rule.Action(x)
		return
	}
	x.Forward()
}

func (p *FaultProxy) pick(r *http.Request) *Rule {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count[OpOf(r)]++
	for _, rule := range p.rules {
		if rule.Match != nil && !rule.Match(r) {
			continue
		}
		if rule.Times > 0 && rule.Fired() >= rule.Times {
			continue
		}
		if rule.Prob > 0 && p.rnd.Float64() >= rule.Prob {
			continue
		}
		rule.fired.Add(1)
		return rule
	}
	return nil
}

// RoundTrip sends the request on with the given body, of the length that the client announced, and returns the server's
// reply, or that of a profile. ctx bounds it; the client's going away does not.
func (x *Exchange) RoundTrip(ctx context.Context, body io.Reader) (*http.Response, error) {
	out := x.R.Clone(ctx)
	out.URL.Scheme, out.URL.Host = x.proxy.upstream.Scheme, x.proxy.upstream.Host
	out.RequestURI = ""
	out.Host = x.R.Host
	out.Header.Del("Expect")
	out.Body, out.ContentLength = http.NoBody, x.R.ContentLength
	if x.R.ContentLength != 0 {
		out.Body = io.NopCloser(body)
	}
	return x.proxy.serve(out)
}

// Forward passes the request and the reply through unchanged.
func (x *Exchange) Forward() {
	resp, err := x.RoundTrip(x.R.Context(), x.R.Body)
	if err != nil {
		// The server cut the connection: so does the proxy.
		x.Reset()
		return
	}
	defer resp.Body.Close()
	x.Reply(resp, resp.Body)
}

// Reply sends the head of resp and the given body to the client.
func (x *Exchange) Reply(resp *http.Response, body io.Reader) {
	h := x.W.Header()
	for k, v := range resp.Header {
		h[k] = v
	}
	if resp.ContentLength >= 0 && h.Get("Content-Length") == "" {
		h.Set("Content-Length", fmt.Sprint(resp.ContentLength))
	}
	x.W.WriteHeader(resp.StatusCode)
	if _, err := io.Copy(x.W, body); err != nil {
		_ = http.NewResponseController(x.W).Flush()
		x.Reset()
	}
}

// Reset cuts the client's connection with a TCP reset.
func (x *Exchange) Reset() {
	hj, ok := x.W.(http.Hijacker)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	conn, _, err := hj.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// OpOf names the S3 operation of a request, as the API's reference does.
func OpOf(r *http.Request) string {
	q := r.URL.Query()
	object := strings.Contains(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case object && r.Method == http.MethodPut && q.Has("partNumber"):
		return "UploadPart"
	case object && r.Method == http.MethodPut:
		return "PutObject"
	case object && r.Method == http.MethodPost && q.Has("uploads"):
		return "CreateMultipartUpload"
	case object && r.Method == http.MethodPost && q.Has("uploadId"):
		return "CompleteMultipartUpload"
	case object && r.Method == http.MethodDelete && q.Has("uploadId"):
		return "AbortMultipartUpload"
	case object && r.Method == http.MethodDelete:
		return "DeleteObject"
	case object && r.Method == http.MethodHead:
		return "HeadObject"
	case object && r.Method == http.MethodGet && q.Has("uploadId"):
		return "ListParts"
	case object && r.Method == http.MethodGet:
		return "GetObject"
	case r.Method == http.MethodGet && q.Has("uploads"):
		return "ListMultipartUploads"
	case r.Method == http.MethodGet && q.Has("versions"):
		return "ListObjectVersions"
	case r.Method == http.MethodGet && q.Has("versioning"):
		return "GetBucketVersioning"
	case r.Method == http.MethodGet && q.Has("lifecycle"):
		return "GetBucketLifecycleConfiguration"
	case r.Method == http.MethodGet && q.Has("object-lock"):
		return "GetObjectLockConfiguration"
	case r.Method == http.MethodGet && q.Has("list-type"):
		return "ListObjectsV2"
	case r.Method == http.MethodHead:
		return "HeadBucket"
	}
	return r.Method
}

// Op matches requests of the named operations.
func Op(names ...string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		op := OpOf(r)
		for _, n := range names {
			if n == op {
				return true
			}
		}
		return false
	}
}

// Key matches requests whose path ends with suffix.
func Key(suffix string) func(*http.Request) bool {
	return func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, suffix) }
}

// And matches what all of its arguments match.
func And(all ...func(*http.Request) bool) func(*http.Request) bool {
	return func(r *http.Request) bool {
		for _, m := range all {
			if !m(r) {
				return false
			}
		}
		return true
	}
}

var errShort = errors.New("body ended early")
