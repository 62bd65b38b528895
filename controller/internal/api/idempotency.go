package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

var idempotencyKey = regexp.MustCompile(`^[!-~]{1,200}$`)

const idempotencyTimeout = 10 * time.Second

// once carries a request with an Idempotency-Key out once. The answer of a request that succeeded is kept and repeated; one that
// was refused leaves nothing, so that it can be corrected and sent again.
func (a *API) once(o operation) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		key := ctx.Header(body.IdempotencyKey)
		if key == "" {
			next(ctx)
			return
		}
		c := humagin.Unwrap(ctx)
		if !idempotencyKey.MatchString(key) {
			a.refuse(ctx, controller.Invalid(body.IdempotencyKey, "is not 1 to 200 printable characters without spaces"))
			return
		}
		hash, err := requestHash(c.Request)
		if err != nil {
			a.refuse(ctx, err)
			return
		}
		actor := actorOf(c.Request.Context())
		stored, err := a.opt.Store.BeginIdempotent(c.Request.Context(), actor, key, hash)
		if err != nil {
			a.refuse(ctx, err)
			return
		}
		if stored != nil {
			replay(c, stored)
			return
		}

		held := &heldWriter{ResponseWriter: c.Writer, status: http.StatusOK}
		c.Writer = held
		finished := false
		defer func() {
			c.Writer = held.ResponseWriter
			// The request is carried out or not, whether its caller still listens or not.
			after, cancel := context.WithTimeout(context.WithoutCancel(c.Request.Context()), idempotencyTimeout)
			defer cancel()
			var err error
			if finished && held.status < 300 {
				err = a.opt.Store.EndIdempotent(after, actor, key, toStore(o, requestID(after), held))
			} else {
				err = a.opt.Store.AbandonIdempotent(after, actor, key)
			}
			if err != nil {
				a.opt.Log.Warn("cannot keep the answer of a request", "request_id", requestID(after), "err", err)
			}
			if finished {
				held.release()
			}
		}()
		next(ctx)
		finished = true
	}
}

// requestHash is over what the request asks for. The body is in memory: admit has read it.
func requestHash(r *http.Request) ([]byte, error) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(b))
	h := sha256.New()
	_, _ = io.WriteString(h, r.Method+"\n"+r.URL.EscapedPath()+"\n"+r.URL.RawQuery+"\n")
	h.Write(b)
	return h.Sum(nil), nil
}

// toStore is what a repetition will be answered with. A secret is shown once and never stored.
func toStore(o operation, requestID string, held *heldWriter) controller.StoredResponse {
	if !o.secret {
		return controller.StoredResponse{Status: held.status, Body: held.body.Bytes()}
	}
	p := newProblem(requestID, controller.Errorf(body.CodeSecretShown, "this request was carried out already, and its secret is shown once only").
		WithHint("revoke what it made and send the request with another %s", body.IdempotencyKey))
	text, _ := json.Marshal(p) // plain text only
	return controller.StoredResponse{Status: p.Status, Body: text}
}

func replay(c *gin.Context, r *controller.StoredResponse) {
	contentType := "application/json"
	if r.Status >= 300 {
		contentType = body.ContentType
	}
	c.Header(body.IdempotentReplay, "true")
	c.Data(r.Status, contentType, r.Body)
}

// heldWriter holds an answer back until it is kept for repetitions.
type heldWriter struct {
	gin.ResponseWriter
	status int
	body   bytes.Buffer
}

func (w *heldWriter) WriteHeader(status int)            { w.status = status }
func (w *heldWriter) WriteHeaderNow()                   {}
func (w *heldWriter) Write(b []byte) (int, error)       { return w.body.Write(b) }
func (w *heldWriter) WriteString(s string) (int, error) { return w.body.WriteString(s) }
func (w *heldWriter) Status() int                       { return w.status }
func (w *heldWriter) Size() int                         { return w.body.Len() }
func (w *heldWriter) Written() bool                     { return w.body.Len() > 0 }
func (w *heldWriter) Flush()                            {}

// release sends the answer. A caller that has gone does not get it; the request was carried out nevertheless.
func (w *heldWriter) release() {
	w.ResponseWriter.WriteHeader(w.status)
	_, _ = w.ResponseWriter.Write(w.body.Bytes())
}
