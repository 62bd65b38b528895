package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"regexp"
	"runtime/debug"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/shared/wire"
)

// maxBody is the largest request body, in bytes.
const maxBody = 1 << 20

type contextKey int

const (
	keyRequestID contextKey = iota
	keyActor
	keyAct
)

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(keyRequestID).(string)
	return id
}

// actorOf is who asks. Operations that need no token have the zero actor, which may do and see nothing.
func actorOf(ctx context.Context) controller.Actor {
	a, _ := ctx.Value(keyActor).(controller.Actor)
	return a
}

var givenRequestID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// identify gives every request an id, the caller's where it sent a sound one, and every answer the headers that all have.
func identify(c *gin.Context) {
	id := c.GetHeader(body.RequestID)
	if !givenRequestID.MatchString(id) {
		id = wire.NewID()
	}
	c.Header(body.RequestID, id)
	c.Header("Cache-Control", "no-store")
	c.Header("X-Content-Type-Options", "nosniff")
	c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), keyRequestID, id))
	c.Next()
}

// record writes one line for each request and turns a panic into a problem.
func record(log hclog.Logger) gin.HandlerFunc {
	return func(c *gin.Context) {
		start := time.Now()
		defer func() {
			if r := recover(); r != nil {
				if r == http.ErrAbortHandler { //nolint:errorlint // the server's own sentinel, compared as it does
					panic(r)
				}
				log.Error("request panicked", "request_id", requestID(c.Request.Context()), "path", c.FullPath(), "err", r, "stack", string(debug.Stack()))
				refuse(c, controller.Errorf(controller.EInternal, "something went wrong inside the controller").
					WithHint("its log has the reason under this request's id"))
			}
			log.Debug("request", "request_id", requestID(c.Request.Context()), "method", c.Request.Method, "path", c.FullPath(),
				"status", c.Writer.Status(), "duration", time.Since(start), "remote", c.RemoteIP())
		}()
		c.Next()
	}
}

// readBody reads a whole request body. Nothing that the caller sends or leaves out is an internal error.
func readBody(r *http.Request) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	var tooLarge *http.MaxBytesError
	switch {
	case len(b) > maxBody || errors.As(err, &tooLarge):
		return nil, controller.Errorf(body.CodeTooLarge, "the body is larger than %d bytes", maxBody)
	case err != nil:
		return nil, controller.Errorf(body.CodeMalformed, "the body did not arrive whole")
	}
	return b, nil
}
