// Package api is the HTTP API of a controller: /api/v1 with its OpenAPI document, and the health endpoints.
//
// Invariants: every operation says at its registration who may call it, and nothing is looked up before that was checked; the
// catalog bounds what a caller sees, the API never does; every request that does not succeed is answered with problem+json that
// has a stable code and the request's id; no input leads to an internal error; no secret is logged or repeated.
package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"
	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/shared/wire"
)

// Prefix is where the API is mounted.
const Prefix = "/api/v1"

// Options of New. Now and Ready may be nil.
type Options struct {
	Store     Store
	Fleet     Fleet
	Cleaner   Cleaner
	Alarms    Alarms
	Auditor   Auditor
	Bootstrap Bootstrap
	Log       hclog.Logger
	Version   string
	PublicURL string // where agents reach the API, for enrolment commands
	SignIn    SignIn
	Events    Events // nil: none
	Rate      RateLimit
	Origins   []string // whose pages may call the API by a token
	// StreamBeat is how often a stream of events is sent something, and who listens is asked for again; 0: 15 seconds.
	StreamBeat time.Duration
	// StreamStall is after which time a client that takes nothing of a stream is cut; 0: 10 seconds.
	StreamStall time.Duration
	Metrics     Metrics
	// Ready are what /readyz asks, by name: nil is ready.
	Ready map[string]func(context.Context) error
	Now   func() time.Time
}

// API serves HTTP. Body limits are its own; time limits of reading and writing are the server's.
type API struct {
	opt      Options
	engine   *gin.Engine
	huma     huma.API
	failures *failures

	downloads chan struct{} // one for each package that is sent
	streams   streams
	rates     *rates
}

var ginMode sync.Once

// New builds the API. It panics on an operation that is registered wrongly: that is a bug.
func New(opt Options) *API {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = hclog.NewNullLogger()
	}
	ginMode.Do(func() { gin.SetMode(gin.ReleaseMode) })
	r := gin.New()
	// Names may hold a slash: /servers/a%2Fb is the server a/b.
	r.UseEscapedPath, r.UnescapePathValues = true, true
	r.RedirectTrailingSlash, r.RedirectFixedPath = false, false
	r.HandleMethodNotAllowed = true
	r.ForwardedByClientIP = false
	opt.SignIn = opt.SignIn.withDefaults()
	a := &API{opt: opt, engine: r, failures: newFailures(opt.Now), downloads: make(chan struct{}, packageDownloads)}
	a.rates = newRates(opt.Rate, opt.Now)
	r.Use(identify, record(opt.Log), a.cors)
	r.NoRoute(func(c *gin.Context) {
		refuse(c, controller.Errorf(controller.ENotFound, "there is no %.200q", c.Request.URL.Path).WithHint("%s/openapi.json lists what there is", Prefix))
	})
	r.NoMethod(func(c *gin.Context) {
		refuse(c, controller.Errorf(body.CodeMethod, "%.20q is not allowed here", c.Request.Method))
	})
	r.GET("/healthz", func(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"status": "ok"}) })
	r.GET("/readyz", a.ready)
	r.GET("/metrics", a.metrics)

	group := r.Group(Prefix)
	a.huma = humagin.NewWithGroup(r, group, config(opt))
	a.registerAll()
	a.serveBootstrap()
	a.serveProvider(group)
	a.complete()
	a.serveDocument(group)
	return a
}

func config(opt Options) huma.Config {
	cfg := huma.DefaultConfig("DevFlow Backup", opt.Version)
	cfg.CreateHooks = nil // they put $schema into every answer
	cfg.DocsPath = ""     // that page loads from elsewhere
	cfg.OpenAPIPath = ""  // serveDocument
	cfg.SchemasPath = ""
	cfg.RejectUnknownQueryParameters = true
	schemas := huma.NewMapRegistry(schemaPrefix, schemaName)
	// Before the first operation: a schema is made once.
	schemas.RegisterTypeAlias(reflect.TypeFor[body.Clearable[int64]](), reflect.TypeFor[*int64]())
	schemas.RegisterTypeAlias(reflect.TypeFor[body.Clearable[bool]](), reflect.TypeFor[*bool]())
	cfg.Components.Schemas = schemas
	cfg.Info.Description = "Backups of databases, proven. Errors are problem+json (RFC 9457) with a stable code."
	cfg.Servers = []*huma.Server{{URL: Prefix}}
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token":   {Type: "http", Scheme: "bearer", Description: "An API token, dfk_…"},
		"session": {Type: "apiKey", In: "cookie", Name: SessionCookie, Description: "A session of POST /session. Writes send the header " + body.CSRF + " too, with what GET /session tells"},
	}
	return cfg
}

// schemaNames are of types that share theirs with another one of the document.
var schemaNames = map[reflect.Type]string{
	reflect.TypeFor[wire.Problem]():        "RestoreProblem",
	reflect.TypeFor[wire.RestoreChoices](): "ChosenRestoreChoices",
	reflect.TypeFor[wire.Selection]():      "ChosenSelection",
	reflect.TypeFor[controller.Session]():  "SignInSession",
}

const schemaPrefix = "#/components/schemas/"

func schemaName(t reflect.Type, hint string) string {
	if name, ok := schemaNames[t]; ok {
		return name
	}
	return huma.DefaultSchemaNamer(t, hint)
}

func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.engine.ServeHTTP(w, r) }

// OpenAPI is the document of the registered operations.
func (a *API) OpenAPI() *huma.OpenAPI { return a.huma.OpenAPI() }

// serveDocument encodes the document once: it does not change after registration.
func (a *API) serveDocument(group *gin.RouterGroup) {
	text, err := a.huma.OpenAPI().MarshalJSON()
	if err != nil {
		panic(fmt.Errorf("encode OpenAPI document: %w", err))
	}
	yaml, err := a.huma.OpenAPI().YAML()
	if err != nil {
		panic(fmt.Errorf("encode OpenAPI document: %w", err))
	}
	group.GET("/openapi.json", func(c *gin.Context) { c.Data(http.StatusOK, "application/openapi+json", text) })
	group.GET("/openapi.yaml", func(c *gin.Context) { c.Data(http.StatusOK, "application/openapi+yaml", yaml) })
}

const readyTimeout = 5 * time.Second

// ready tells whether this controller can do its work now. Reasons go to the log: the endpoint is open.
func (a *API) ready(c *gin.Context) {
	ctx, cancel := context.WithTimeoutCause(c.Request.Context(), readyTimeout, errors.New("not answered in time"))
	defer cancel()
	status, checks := http.StatusOK, gin.H{}
	for name, check := range a.opt.Ready {
		checks[name] = "ok"
		if err := check(ctx); err != nil {
			a.opt.Log.Warn("not ready", "check", name, "err", err)
			status, checks[name] = http.StatusServiceUnavailable, "unavailable"
		}
	}
	word := "ok"
	if status != http.StatusOK {
		word = "unavailable"
	}
	c.JSON(status, gin.H{"status": word, "checks": checks})
}
