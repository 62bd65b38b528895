package s3kit

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// detached bounds what the proxy does after the client has gone.
const detached = 5 * time.Minute

// Status answers with an S3 error and does not let the server see the request:
// Status(503, "SlowDown"), Status(403, "AccessDenied"), Status(404, "NoSuchUpload"), Status(412, "PreconditionFailed").
func Status(status int, code string) Action {
	return func(x *Exchange) {
		// The body is read first: an early answer to a large upload reaches many clients as a broken pipe.
		_, _ = io.Copy(io.Discard, x.R.Body)
		writeError(x, status, code)
	}
}

// OKWithError answers 200 with an error document in the body, as stores do when a long operation fails after they have
// sent the head. The server does not see the request.
func OKWithError(code string) Action {
	return func(x *Exchange) {
		_, _ = io.Copy(io.Discard, x.R.Body)
		writeError(x, http.StatusOK, code)
	}
}

// OKEmpty answers 200 with no body at all. The server does not see the request.
func OKEmpty() Action {
	return func(x *Exchange) {
		_, _ = io.Copy(io.Discard, x.R.Body)
		x.W.Header().Set("Content-Length", "0")
		x.W.WriteHeader(http.StatusOK)
	}
}

func writeError(x *Exchange, status int, code string) {
	body := fmt.Sprintf("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>injected %s</Message><Resource>%s</Resource><RequestId>FAULT</RequestId></Error>",
		code, code, x.R.URL.EscapedPath())
	h := x.W.Header()
	h.Set("Content-Type", "application/xml")
	h.Set("Content-Length", fmt.Sprint(len(body)))
	x.W.WriteHeader(status)
	if x.R.Method != http.MethodHead {
		_, _ = io.WriteString(x.W, body)
	}
}

// ResetUpload reads n bytes of the request's body and cuts the connection. The server does not see the request.
func ResetUpload(n int64) Action {
	return func(x *Exchange) {
		_, _ = io.CopyN(io.Discard, x.R.Body, n)
		x.Reset()
	}
}

// ResetDownload passes n bytes of the reply's body and cuts the connection.
func ResetDownload(n int64) Action {
	return func(x *Exchange) {
		resp, err := x.RoundTrip(x.R.Context(), x.R.Body)
		if err != nil {
			x.Reset()
			return
		}
		defer resp.Body.Close()
		x.Reply(resp, io.MultiReader(io.LimitReader(resp.Body, n), broken{}))
	}
}

// TruncateDownload passes n bytes of the reply's body and ends it there in good order, with a Content-Length to match:
// the client cannot tell from HTTP alone.
func TruncateDownload(n int64) Action {
	return func(x *Exchange) {
		resp, err := x.RoundTrip(x.R.Context(), x.R.Body)
		if err != nil {
			x.Reset()
			return
		}
		defer resp.Body.Close()
		n := min(n, resp.ContentLength)
		resp.Header.Set("Content-Length", fmt.Sprint(n))
		x.Reply(resp, io.LimitReader(resp.Body, n))
	}
}

// CorruptUpload flips the byte at off of the body on its way to the server.
func CorruptUpload(off int64) Action {
	return func(x *Exchange) {
		resp, err := x.RoundTrip(x.R.Context(), &flipper{r: x.R.Body, at: off})
		if err != nil {
			x.Reset()
			return
		}
		defer resp.Body.Close()
		x.Reply(resp, resp.Body)
	}
}

// CorruptDownload flips the byte at off of the reply's body.
func CorruptDownload(off int64) Action {
	return func(x *Exchange) {
		resp, err := x.RoundTrip(x.R.Context(), x.R.Body)
		if err != nil {
			x.Reset()
			return
		}
		defer resp.Body.Close()
		x.Reply(resp, &flipper{r: resp.Body, at: off})
	}
}

// Delay waits, or until the client has gone, and then passes the request through.
func Delay(d time.Duration) Action {
	return func(x *Exchange) {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			x.Forward()
		case <-x.R.Context().Done():
		}
	}
}

// Hang answers nothing until the client gives up. The server does not see the request.
func Hang() Action {
	return func(x *Exchange) {
		_, _ = io.Copy(io.Discard, x.R.Body)
		<-x.R.Context().Done()
	}
}

// DropReply lets the server do the request, waits for its whole reply and cuts the connection in place of passing it on.
func DropReply() Action {
	return func(x *Exchange) {
		if resp, _, err := x.perform(); err == nil {
			resp.Body.Close()
		}
		x.Reset()
	}
}

// ReplyStatus lets the server do the request and answers with an S3 error all the same.
func ReplyStatus(status int, code string) Action {
	return func(x *Exchange) {
		if resp, _, err := x.perform(); err == nil {
			resp.Body.Close()
		}
		writeError(x, status, code)
	}
}

// ReplyOKWithError lets the server do the request and answers 200 with an error document in the body.
func ReplyOKWithError(code string) Action { return ReplyStatus(http.StatusOK, code) }

// SetReplyHeader passes the request through and sets one header of the reply; an empty value removes it.
func SetReplyHeader(name string, value func(old string) string) Action {
	return func(x *Exchange) {
		resp, err := x.RoundTrip(x.R.Context(), x.R.Body)
		if err != nil {
			x.Reset()
			return
		}
		defer resp.Body.Close()
		if v := value(resp.Header.Get(name)); v != "" {
			resp.Header.Set(name, v)
		} else {
			resp.Header.Del(name)
		}
		x.Reply(resp, resp.Body)
	}
}

// Gate holds replies back until it is opened.
type Gate struct {
	arrived chan struct{}
	open    chan struct{}
	once    sync.Once
}

// NewGate makes a closed gate.
func NewGate() *Gate { return &Gate{arrived: make(chan struct{}, 1024), open: make(chan struct{})} }

// Hold lets the server do the request, says so on Arrived, and passes the reply on when the gate is open: an operation
// that takes as long as the test wants.
func (g *Gate) Hold() Action {
	return func(x *Exchange) {
		resp, body, err := x.perform() //nolint:bodyclose // it was read whole and closed
		g.arrived <- struct{}{}
		select {
		case <-g.open:
		case <-x.R.Context().Done():
			return
		}
		if err != nil {
			x.Reset()
			return
		}
		x.Reply(resp, bytes.NewReader(body))
	}
}

// HoldRequest says on Arrived that a request came, and passes it to the server when the gate is open.
func (g *Gate) HoldRequest() Action {
	return func(x *Exchange) {
		g.arrived <- struct{}{}
		select {
		case <-g.open:
			x.Forward()
		case <-x.R.Context().Done():
		}
	}
}

// Arrived yields once for each request that reached the gate.
func (g *Gate) Arrived() <-chan struct{} { return g.arrived }

// Open lets all through, those that wait and those to come.
func (g *Gate) Open() { g.once.Do(func() { close(g.open) }) }

// perform sends the request on even if the client goes away, and reads the whole reply.
func (x *Exchange) perform() (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.R.Context()), detached)
	defer cancel()
	resp, err := x.RoundTrip(ctx, x.R.Body)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, nil, err
	}
	return resp, body, nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errShort }

// flipper inverts the byte at offset at.
type flipper struct {
	r   io.Reader
	at  int64
	pos int64
}

func (f *flipper) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if i := f.at - f.pos; i >= 0 && i < int64(n) {
		p[i] ^= 0xff
	}
	f.pos += int64(n)
	return n, err
}
