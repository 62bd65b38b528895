package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"devflowbackup/controller"
)

// Provider is an OpenID Connect provider that vouches for people.
type Provider interface {
	// Title is what people know it as.
	Title() string
	// Begin is where the browser goes, and what Finish needs to know of that.
	Begin(ctx context.Context) (address string, flow controller.SignInFlow, err error)
	// Finish is who came back. EForbidden if nothing is granted to any of the person's groups, EUnauthorized if the answer proves nothing.
	Finish(ctx context.Context, flow controller.SignInFlow, code string) (controller.Identity, error)
}

const (
	flowCookie = "__Host-devflow-oidc"
	flowTime   = 10 * time.Minute
	// SignInPage is where the browser is sent to when a sign-in by the provider failed, with error and request_id in its query.
	SignInPage = "/sign-in"
)

// serveProvider adds the two places that a browser itself goes to.
func (a *API) serveProvider(group *gin.RouterGroup) {
	for _, p := range []struct {
		id, path, summary string
		params            map[string]string
		handle            gin.HandlerFunc
	}{
		{"oidc-sign-in", "/session/oidc", "Send the browser to the OpenID Connect provider; it comes back to return_to", map[string]string{"return_to": "The console's page to come back to"}, a.beginProvider},
		{"oidc-callback", "/session/oidc/callback", "Where the provider sends the browser back; the answer sets the cookie of the session", map[string]string{"code": "What the provider vouches by", "state": "Of the sign-in that the browser began", "error": "What the provider says that went wrong"}, a.finishProvider},
	} {
		group.GET(p.path, p.handle)
		op := &huma.Operation{
			OperationID: p.id, Method: http.MethodGet, Path: p.path, Summary: p.summary, Tags: []string{tagSession}, Extensions: map[string]any{ExtensionAccess: []string{accessPublic}},
			Responses: map[string]*huma.Response{},
		}
		for _, name := range slices.Sorted(maps.Keys(p.params)) {
			op.Parameters = append(op.Parameters, &huma.Param{Name: name, In: "query", Description: p.params[name], Schema: &huma.Schema{Type: huma.TypeString}})
		}
		for _, status := range []int{http.StatusFound, http.StatusNotFound, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable} {
			op.Responses[strconv.Itoa(status)] = &huma.Response{Description: http.StatusText(status)}
		}
		a.huma.OpenAPI().AddOperation(op)
	}
}

func (a *API) provider(c *gin.Context) Provider {
	p := a.opt.SignIn.Provider
	if p == nil {
		refuse(c, controller.Errorf(controller.ENotFound, "there is no OpenID Connect provider here").WithHint("oidc in the controller's configuration names one"))
	}
	return p
}

// local is a page of this host, or the first one.
func local(page string) string {
	u, err := url.Parse(page)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(page, "/") || strings.HasPrefix(page, "//") ||
		strings.ContainsAny(page, "\\\r\n\t") || len(page) > 1000 {
		return "/"
	}
	return page
}

func (a *API) beginProvider(c *gin.Context) {
	p := a.provider(c)
	if p == nil {
		return
	}
	if wait, ok := a.failures.allowed(c.RemoteIP()); !ok {
		refuse(c, tooMany(c, wait))
		return
	}
	address, flow, err := p.Begin(c.Request.Context())
	if err != nil {
		a.opt.Log.Warn("OpenID Connect provider", "request_id", requestID(c.Request.Context()), "err", err)
		refuse(c, controller.Errorf(controller.EUnavailable, "the OpenID Connect provider does not answer").WithHint("try again; the controller's log has the reason under this request's id"))
		return
	}
	flow.ReturnTo, flow.Expires = local(c.Query("return_to")), a.opt.Now().Add(flowTime).Unix()
	text, err := json.Marshal(flow)
	if err != nil {
		writeProblem(c, problem(requestID(c.Request.Context()), err))
		return
	}
	// Lax: the way back begins at the provider's site.
	http.SetCookie(c.Writer, &http.Cookie{
		Name: flowCookie, Value: base64.RawURLEncoding.EncodeToString(text), Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: int(flowTime.Seconds()),
	})
	c.Redirect(http.StatusFound, address)
}

func (a *API) finishProvider(c *gin.Context) {
	p := a.provider(c)
	if p == nil {
		return
	}
	remote := c.RemoteIP()
	if wait, ok := a.failures.allowed(remote); !ok {
		refuse(c, tooMany(c, wait))
		return
	}
	http.SetCookie(c.Writer, &http.Cookie{Name: flowCookie, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: -1})
	flow, err := flowOf(c.Request, a.opt.Now())
	if err == nil {
		err = answers(flow, c.Request.URL.Query())
	}
	ctx := c.Request.Context()
	var in controller.Identity
	if err == nil {
		in, err = p.Finish(ctx, flow, c.Query("code"))
	}
	secret, hash := newSession()
	if err == nil {
		_, err = a.opt.Store.SignInIdentity(ctx, in, controller.NewSession{
			Hash: hash, Method: controller.SignInOIDC, Remote: remote, Agent: agentOf(c.Request), Age: a.opt.SignIn.Age,
		})
	}
	if err != nil {
		a.failures.count(remote)
		shown := problem(requestID(ctx), err)
		a.opt.Log.Warn("sign-in by the OpenID Connect provider failed", "request_id", requestID(ctx), "code", shown.Code, "remote", remote, "err", err)
		c.Redirect(http.StatusFound, SignInPage+"?"+url.Values{"error": {shown.Code}, "detail": {shown.Detail}, "request_id": {requestID(ctx)}}.Encode())
		return
	}
	a.opt.Log.Info("signed in", "user", in.Name, "provider", in.Issuer, "remote", remote)
	a.replaced(ctx, c)
	c.Writer.Header().Add("Set-Cookie", sessionCookie(secret, a.opt.SignIn.Age))
	c.Redirect(http.StatusFound, flow.ReturnTo)
}

var errFlow = controller.Errorf(controller.EUnauthorized, "this browser began no sign-in, or too long ago").WithHint("begin again")

// flowOf is what the browser began.
func flowOf(r *http.Request, now time.Time) (controller.SignInFlow, error) {
	var f controller.SignInFlow
	cookies := r.CookiesNamed(flowCookie)
	if len(cookies) != 1 {
		return f, errFlow
	}
	text, err := base64.RawURLEncoding.DecodeString(cookies[0].Value)
	if err != nil || json.Unmarshal(text, &f) != nil || f.State == "" || f.Nonce == "" || f.Verifier == "" || now.Unix() > f.Expires {
		return controller.SignInFlow{}, errFlow
	}
	f.ReturnTo = local(f.ReturnTo)
	return f, nil
}

// answers tells whether the provider's answer is to this flow, and is one.
func answers(f controller.SignInFlow, q url.Values) error {
	if q.Get("state") != f.State {
		return errFlow
	}
	if e := q.Get("error"); e != "" {
		return controller.Errorf(controller.EUnauthorized, "the provider refused the sign-in: %.100q", e)
	}
	if q.Get("code") == "" || len(q.Get("code")) > 4096 {
		return controller.Errorf(controller.EUnauthorized, "the provider's answer has no code")
	}
	return nil
}
