package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

// statuses is the one table from codes to HTTP.
var statuses = map[string]int{
	controller.EInvalid:      http.StatusUnprocessableEntity,
	controller.ENotFound:     http.StatusNotFound,
	controller.EConflict:     http.StatusConflict,
	controller.EUnauthorized: http.StatusUnauthorized,
	controller.EForbidden:    http.StatusForbidden,
	controller.EUnavailable:  http.StatusServiceUnavailable,
	controller.EInternal:     http.StatusInternalServerError,
	body.CodeMalformed:       http.StatusBadRequest,
	body.CodeTooLarge:        http.StatusRequestEntityTooLarge,
	body.CodeMediaType:       http.StatusUnsupportedMediaType,
	body.CodeMethod:          http.StatusMethodNotAllowed,
	body.CodeTooMany:         http.StatusTooManyRequests,
	body.CodeProbeFailed:     http.StatusUnprocessableEntity,
	body.CodeChannel:         http.StatusUnprocessableEntity,
	body.CodeNothingToDo:     http.StatusConflict,
	body.CodeSecretShown:     http.StatusConflict,
	body.CodeBackupFailed:    http.StatusConflict,
	body.CodeChanged:         http.StatusPreconditionFailed,
	body.CodeRate:            http.StatusTooManyRequests,
	body.CodeQuota:           http.StatusTooManyRequests,
	body.CodeCSRF:            http.StatusForbidden,
	body.CodeRange:           http.StatusRequestedRangeNotSatisfiable,
}

// problem makes the answer for one error. What is not meant for the caller is not in it.
func problem(requestID string, err error) *body.Problem {
	var p *body.Problem
	if errors.As(err, &p) {
		p.RequestID = requestID
		return p
	}
	var e *controller.Error
	if !errors.As(err, &e) || statuses[e.Code] == 0 {
		e = controller.Errorf(controller.EInternal, "something went wrong inside the controller").
			WithHint("its log has the reason under this request's id")
		if errors.Is(err, context.DeadlineExceeded) {
			e = controller.Errorf(controller.EUnavailable, "the request took too long").WithHint("try again")
		}
	}
	return newProblem(requestID, e)
}

func newProblem(requestID string, e *controller.Error) *body.Problem {
	status := statuses[e.Code]
	return &body.Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Code: e.Code,
		Detail: e.Message, Field: e.Field, Hint: e.Hint, RequestID: requestID, RetryAfter: e.RetryAfter,
	}
}

// refuse ends a request before or outside of an operation.
func refuse(c *gin.Context, e *controller.Error) {
	writeProblem(c, newProblem(requestID(c.Request.Context()), e))
}

func writeProblem(c *gin.Context, p *body.Problem) {
	c.Abort()
	if c.Writer.Written() {
		return
	}
	for name, values := range p.GetHeaders() {
		c.Header(name, values[0])
	}
	text, err := json.Marshal(p)
	if err != nil { // only an invalid probe report can lead here
		p.Probe = nil
		text, _ = json.Marshal(p)
	}
	c.Data(p.Status, body.ContentType, append(text, '\n'))
}

func init() {
	// huma knows one error form for the whole process.
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		return validationProblem("", status, msg, errs)
	}
	huma.NewErrorWithContext = func(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
		return validationProblem(requestID(ctx.Context()), status, msg, errs)
	}
}

// secretive are words in the names of fields that may hold a secret: a whole target may have been given where an object is asked for.
var secretive = []string{"secret", "token", "password", "key", "url", "target"}

// given names the value that was wrong: a short one, of a field that never holds a secret.
func given(d *huma.ErrorDetail) string {
	field := fieldName(d.Location)
	if field == "" || slices.ContainsFunc(secretive, func(word string) bool { return strings.Contains(field, word) }) {
		return ""
	}
	switch v := d.Value.(type) {
	case string:
		if len(v) <= 100 {
			return fmt.Sprintf(", not %q", v)
		}
	case float64, int64, int:
		return fmt.Sprintf(", not %v", v)
	}
	return ""
}

// validationProblem turns what huma found wrong into a problem.
func validationProblem(requestID string, status int, msg string, errs []error) *body.Problem {
	e := &controller.Error{Code: controller.EInvalid, Message: msg}
	switch status {
	case http.StatusBadRequest:
		e.Code = body.CodeMalformed
	case http.StatusRequestEntityTooLarge:
		e.Code = body.CodeTooLarge
	case http.StatusUnsupportedMediaType:
		e.Code = body.CodeMediaType
		e.Hint = "send application/json"
	case http.StatusUnprocessableEntity, 0:
	default:
		if status >= 500 {
			e.Code, e.Message = controller.EInternal, "something went wrong inside the controller"
			errs = nil
		}
	}
	p := newProblem(requestID, e)
	for _, err := range errs {
		if err == nil {
			continue
		}
		var d *huma.ErrorDetail
		fe := body.FieldError{Message: err.Error()}
		if errors.As(err, &d) {
			fe = body.FieldError{Field: fieldName(d.Location), Message: d.Message + given(d)}
		}
		p.Errors = append(p.Errors, fe)
	}
	if len(p.Errors) > 0 {
		first := p.Errors[0]
		p.Field = first.Field
		p.Detail = cmp.Or(first.Message, p.Detail)
	}
	return p
}

// fieldName takes the part of the request off a location: body.slug, query.limit and path.id become slug, limit and id.
func fieldName(location string) string {
	for _, part := range []string{"body", "query", "path", "header"} {
		if location == part {
			return ""
		}
		if rest, ok := strings.CutPrefix(location, part+"."); ok {
			return rest
		}
	}
	return location
}
