package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

// Who may call an operation, beside a permission's name.
const (
	accessPublic = "public"    // no token
	accessToken  = "any-token" // any valid token, and whoever is signed in
)

// ExtensionAccess names, in the OpenAPI document, what an operation asks for: a list of permissions, public or any-token.
const ExtensionAccess = "x-access"

// Extensions of the OpenAPI document that tell what an operation leaves in the audit log: the action, or why there is none.
const (
	ExtensionAudit     = "x-audit"
	ExtensionUnaudited = "x-unaudited"
)

// operation is what register needs to know. The zero value of each flag is the strict one.
type operation struct {
	id, method, path, summary string
	tag                       string
	access                    []string // accessPublic, accessToken, or permissions that are all needed
	audit                     string   // the action that it is in the audit log as, once carried out or refused; every write has one
	unaudited                 string   // or why it leaves nothing there
	status                    int      // of success; 200, or 201 where it creates
	also                      int      // another status of success
	errors                    []int    // statuses of refusal beside those that its method and path imply
	creates                   bool     // takes an Idempotency-Key
	secret                    bool     // its answer holds a secret, which is never stored
	edits                     bool     // takes an If-Match
	waits                     bool     // answers when something has happened, as long as the caller waits
	patient                   bool     // may take minutes: a store or a host is waited for
}

// patience is how long a patient operation may take.
const patience = 5 * time.Minute

// register adds an operation. Around the handler: access, body, Idempotency-Key, validation, errors.
func register[I, O any](a *API, o operation, handler func(context.Context, *I) (*O, error)) {
	if len(o.access) == 0 {
		panic("operation " + o.id + " does not say who may call it")
	}
	for _, p := range o.access {
		if p != accessPublic && p != accessToken && !isPermission(p) {
			panic("operation " + o.id + " asks for an unknown permission " + p)
		}
	}
	if reads := o.method == http.MethodGet || o.method == http.MethodHead; !reads && o.audit == "" && o.unaudited == "" {
		panic("operation " + o.id + " does not say what it leaves in the audit log")
	}
	op := huma.Operation{
		OperationID: o.id, Method: o.method, Path: o.path, Summary: o.summary, Tags: []string{o.tag},
		DefaultStatus: http.StatusOK,
		MaxBodyBytes:  maxBody + 1,
		// admit has read the body already. A deadline that huma sets would end the request's context when it passes.
		BodyReadTimeout: -1,
		Extensions:      map[string]any{ExtensionAccess: o.access},
		Errors:          []int{http.StatusUnprocessableEntity, http.StatusServiceUnavailable, http.StatusTooManyRequests},
	}
	if o.status != 0 {
		op.DefaultStatus = o.status
	} else if o.creates {
		op.DefaultStatus = http.StatusCreated
	}
	if o.access[0] != accessPublic {
		op.Security = []map[string][]string{{"token": {}}, {"session": {}}}
		op.Parameters = append(op.Parameters, actingParameters()...)
		op.Errors = append(op.Errors, http.StatusUnauthorized, http.StatusForbidden)
	} else if o.method == http.MethodPost {
		op.Errors = append(op.Errors, http.StatusUnauthorized)
	}
	reads := o.method == http.MethodGet || o.method == http.MethodHead
	if !reads {
		op.Errors = append(op.Errors, http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	if !reads || strings.Contains(o.path, "{") || o.tag == tagBackups || o.tag == tagRestores {
		op.Errors = append(op.Errors, http.StatusNotFound)
	}
	op.Errors = append(op.Errors, o.errors...)
	if o.creates {
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: body.IdempotencyKey, In: "header", Schema: &huma.Schema{Type: huma.TypeString},
			Description: "A random text: the same request with the same key is carried out once, and answered alike",
		})
	}
	if o.edits {
		op.Errors = append(op.Errors, http.StatusPreconditionFailed)
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: "If-Match", In: "header", Schema: &huma.Schema{Type: huma.TypeString, MaxLength: new(maxIfMatch)},
			Description: "The ETag of what is to be changed: it is changed only if it is still that version; 412 changed_meanwhile otherwise",
		})
	}
	for name, value := range map[string]string{ExtensionAudit: o.audit, ExtensionUnaudited: o.unaudited} {
		if value != "" {
			op.Extensions[name] = value
		}
	}
	op.Middlewares = huma.Middlewares{a.admit(o)}
	if o.creates {
		op.Middlewares = append(op.Middlewares, a.once(o))
	}
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		if err := checkText(reflect.ValueOf(in), ""); err != nil {
			return nil, a.fail(ctx, err)
		}
		out, err := handler(ctx, in)
		if err != nil {
			a.recordRefusal(ctx, err)
			return nil, a.fail(ctx, err)
		}
		return out, nil
	})
	if o.also != 0 {
		path := a.huma.OpenAPI().Paths[o.path]
		for _, known := range []*huma.Operation{path.Get, path.Post, path.Put, path.Patch, path.Delete} {
			if known != nil && known.OperationID == o.id {
				same := *known.Responses[fmt.Sprint(op.DefaultStatus)]
				same.Description = http.StatusText(o.also)
				known.Responses[fmt.Sprint(o.also)] = &same
			}
		}
	}
}

func isPermission(name string) bool {
	for _, p := range controller.Permissions {
		if p == name {
			return true
		}
	}
	return false
}

// fail makes the problem of an error; what is internal goes to the log.
func (a *API) fail(ctx context.Context, err error) *body.Problem {
	p := problem(requestID(ctx), err)
	if p.Status >= 500 && ctx.Err() == nil {
		level := hclog.Error
		if p.Code == controller.EUnavailable { // a host that is offline, a catalog that restarts: it passes
			level = hclog.Warn
		}
		a.opt.Log.Log(level, "request failed", "request_id", p.RequestID, "err", err)
	}
	return p
}

func (a *API) refuse(ctx huma.Context, err error) {
	a.recordRefusal(ctx.Context(), err)
	p := a.fail(ctx.Context(), err)
	if p.Status == http.StatusUnauthorized {
		ctx.SetHeader("WWW-Authenticate", "Bearer")
	}
	writeProblem(humagin.Unwrap(ctx), p)
}

// admit lets a request through if its token may call the operation, and reads its body.
func (a *API) admit(o operation) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		c := humagin.Unwrap(ctx)
		if o.access[0] != accessPublic {
			actor, err := a.authenticate(c)
			if err == nil {
				err = a.within(c, actor)
			}
			if err != nil {
				a.refuse(ctx, err)
				return
			}
			act := act{action: o.audit, subject: subjectOf(c.Params)}
			c.Request = c.Request.WithContext(context.WithValue(context.WithValue(c.Request.Context(), keyActor, actor), keyAct, act))
			if o.access[0] != accessToken {
				if lacks, ok := actor.CanGrant(o.access); !ok {
					a.refuse(ctx, lacking(actor, lacks))
					return
				}
			}
		}
		b, err := readBody(c.Request)
		if err != nil {
			a.refuse(ctx, err)
			return
		}
		c.Request.Body = io.NopCloser(bytes.NewReader(b))
		if o.edits {
			tags, err := ifMatch(c.Request.Header)
			if err != nil {
				a.refuse(ctx, err)
				return
			}
			c.Request = c.Request.WithContext(controller.WithMatch(c.Request.Context(), tags))
		}
		if o.patient || o.waits {
			// The server's limit of reading a request would end this one's context when it passes.
			_ = http.NewResponseController(c.Writer).SetReadDeadline(time.Time{})
		}
		if o.patient {
			// The server's own limits are for requests that the catalog answers. Without such a limit there is none to lift.
			_ = http.NewResponseController(c.Writer).SetWriteDeadline(time.Now().Add(patience + time.Minute))
			limited, cancel := context.WithTimeout(c.Request.Context(), patience)
			defer cancel()
			c.Request = c.Request.WithContext(limited)
		}
		next(ctx)
	}
}

// checkText refuses what PostgreSQL cannot hold as text, wherever in the request it is.
func checkText(v reflect.Value, name string) error {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			return checkText(v.Elem(), name)
		}
	case reflect.String:
		if s := v.String(); strings.ContainsRune(s, 0) || !utf8.ValidString(s) {
			return controller.Invalid(name, "holds a NUL character or is not UTF-8")
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return nil
		}
		for i := range v.Len() {
			if err := checkText(v.Index(i), name); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() {
				continue
			}
			if err := checkText(v.Field(i), parameterName(f)); err != nil {
				return err
			}
		}
	}
	return nil
}

func parameterName(f reflect.StructField) string {
	for _, tag := range []string{"json", "path", "query", "header"} {
		if name, _, _ := strings.Cut(f.Tag.Get(tag), ","); name != "" {
			return name
		}
	}
	return strings.ToLower(f.Name)
}
