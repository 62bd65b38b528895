// Package webhookkit is a receiver of HTTP requests for tests: it keeps every request, tells whether its signature is right, and answers
// as it is told to.
package webhookkit

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Options of a Receiver.
type Options struct {
	Secret string // key of the signatures; not looked at if empty
	TLS    bool
}

// Request is one that arrived.
type Request struct {
	Method, Path, Query string
	Header              http.Header
	Body                []byte
	Signature           error // nil: it is right, or not looked at
	Status              int   // that it was answered with; 0: not yet, or not at all
	At                  time.Time
}

// Receiver takes requests on 127.0.0.1 until the test ends.
type Receiver struct {
	URL  string // without a path
	Host string // and port
	CA   []byte // PEM that the certificate is trusted by

	options Options
	server  *httptest.Server
	done    chan struct{}

	mu       sync.Mutex
	requests []Request
	answer   http.HandlerFunc
	changed  chan struct{}
}

// Start starts one, which answers 200 to everything.
func Start(t testing.TB, o Options) *Receiver {
	t.Helper()
	r := &Receiver{options: o, done: make(chan struct{}), changed: make(chan struct{})}
	r.server = httptest.NewUnstartedServer(r)
	if o.TLS {
		r.server.StartTLS()
		r.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.server.Certificate().Raw})
	} else {
		r.server.Start()
	}
	r.URL, r.Host = r.server.URL, r.server.Listener.Addr().String()
	t.Cleanup(func() {
		close(r.done)
		r.server.CloseClientConnections()
		r.server.Close()
	})
	return r
}

// Answer has a function answer from now on; nil: 200.
func (r *Receiver) Answer(f http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

// Status answers with a status and a text.
func Status(code int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, text, code) }
}

// Redirect answers that the thing is elsewhere.
func Redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusTemporaryRedirect) }
}

// Hang never answers, until the client goes or the test ends.
func (r *Receiver) Hang(_ http.ResponseWriter, req *http.Request) {
	select {
	case <-req.Context().Done():
	case <-r.done:
	}
}

// Flood answers without an end, with the status first.
func (r *Receiver) Flood(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		w.WriteHeader(status)
		chunk := []byte(strings.Repeat("flood ", 1000))
		for req.Context().Err() == nil {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
}

// Trickle answers with a status, and then one byte after the other, without an end.
func (r *Receiver) Trickle(status int, every time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		w.WriteHeader(status)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			if _, err := w.Write([]byte(".")); err != nil {
				return
			}
			if err := http.NewResponseController(w).Flush(); err != nil {
				return
			}
			select {
			case <-tick.C:
			case <-req.Context().Done():
				return
			case <-r.done:
				return
			}
		}
	}
}

func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(io.LimitReader(req.Body, 16<<20))
	if err != nil {
		return
	}
	one := Request{Method: req.Method, Path: req.URL.Path, Query: req.URL.RawQuery, Header: req.Header.Clone(), Body: body, At: time.Now()}
	if r.options.Secret != "" {
		one.Signature = Verify(r.options.Secret, req.Header.Get("DevFlow-Signature"), body, one.At)
	}
	r.mu.Lock()
	answer, at := r.answer, len(r.requests)
	r.requests = append(r.requests, one)
	r.tell()
	r.mu.Unlock()
	noted := &noting{ResponseWriter: w, note: func(status int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.requests[at].Status = status
		r.tell()
	}}
	if answer == nil {
		answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }
	}
	answer(noted, req)
}

// tell wakes who waits; r.mu is held.
func (r *Receiver) tell() {
	close(r.changed)
	r.changed = make(chan struct{})
}

type noting struct {
	http.ResponseWriter
	note func(int)
	once sync.Once
}

func (n *noting) WriteHeader(status int) {
	n.once.Do(func() { n.note(status) })
	n.ResponseWriter.WriteHeader(status)
}

func (n *noting) Write(b []byte) (int, error) {
	n.once.Do(func() { n.note(http.StatusOK) })
	return n.ResponseWriter.Write(b)
}

func (n *noting) Unwrap() http.ResponseWriter { return n.ResponseWriter }

// Requests are all that arrived, in their order.
func (r *Receiver) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}

// Wait waits until what arrived is enough.
func (r *Receiver) Wait(ctx context.Context, enough func([]Request) bool) error {
	for {
		r.mu.Lock()
		requests, changed := slices.Clone(r.requests), r.changed
		r.mu.Unlock()
		if enough(requests) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for requests, of which there are %d: %w", len(requests), context.Cause(ctx))
		}
	}
}

// Verify checks a signature as a receiver should: the time is recent, and the HMAC is of time, dot and body.
func Verify(key, header string, body []byte, now time.Time) error {
	var stamp, sum string
	for part := range strings.SplitSeq(header, ",") {
		if text, ok := strings.CutPrefix(part, "t="); ok {
			stamp = text
		}
		if text, ok := strings.CutPrefix(part, "v1="); ok {
			sum = text
		}
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return fmt.Errorf("signature %q has no time", header)
	}
	if off := now.Sub(time.Unix(seconds, 0)); off.Abs() > 5*time.Minute {
		return fmt.Errorf("signature is %s old", off)
	}
	got, err := hex.DecodeString(sum)
	if err != nil {
		return fmt.Errorf("signature %q is not hexadecimal", header)
	}
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(stamp + "."))
	mac.Write(body)
	if !hmac.Equal(got, mac.Sum(nil)) {
		return fmt.Errorf("signature %q is not of this body", header)
	}
	return nil
}
