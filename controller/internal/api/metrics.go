package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/netip"
	"strings"

	"github.com/gin-gonic/gin"

	"devflowbackup/controller"
	"devflowbackup/shared/secret"
)

// Metrics are what monitoring reads at /metrics, and who may beside callers that see the backups of all projects. The path is no part of
// the API: its form is Prometheus's.
type Metrics struct {
	Handler http.Handler   // nil: there is nothing
	Allow   []netip.Prefix // addresses that need no token
	Token   secret.String  // empty: none
}

// forwarded are headers of requests that a proxy passed on: its address says nothing of who asks.
var forwarded = []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via"}

func (a *API) metrics(c *gin.Context) {
	if a.opt.Metrics.Handler == nil {
		refuse(c, controller.Errorf(controller.ENotFound, "there is no %q", c.Request.URL.Path))
		return
	}
	if err := a.mayMeasure(c); err != nil {
		writeProblem(c, problem(requestID(c.Request.Context()), err))
		return
	}
	a.opt.Metrics.Handler.ServeHTTP(c.Writer, c.Request)
}

// mayMeasure refuses whoever may not read the figures of the whole installation. Refused tokens count as everywhere.
func (a *API) mayMeasure(c *gin.Context) error {
	remote := c.RemoteIP()
	given := c.GetHeader("Authorization")
	if given == "" && a.near(c.Request, remote) {
		return nil
	}
	if wait, ok := a.failures.allowed(remote); !ok {
		return tooMany(c, wait)
	}
	scheme, token, _ := strings.Cut(given, " ")
	token = strings.TrimSpace(token)
	if strings.EqualFold(scheme, "Bearer") && !a.opt.Metrics.Token.Empty() {
		// Of equal length, so that the comparison tells nothing of it.
		want, got := sha256.Sum256([]byte(a.opt.Metrics.Token.Reveal())), sha256.Sum256([]byte(token))
		if subtle.ConstantTimeCompare(want[:], got[:]) == 1 {
			return nil
		}
		if !strings.HasPrefix(token, tokenPrefix) {
			a.failures.count(remote)
			return controller.Errorf(controller.EUnauthorized, "this is neither the token of metrics.token_file nor one of the API")
		}
	}
	actor, err := a.authenticate(c)
	if err != nil {
		return err
	}
	if err := a.within(c, actor); err != nil {
		return err
	}
	if !actor.Can(controller.ViewBackups) || !actor.Scope.All {
		return controller.Errorf(controller.EForbidden, "metrics are of all projects: that needs %s without a limit to projects", controller.ViewBackups)
	}
	return nil
}

// near tells whether a request came straight from an address that needs no token.
func (a *API) near(r *http.Request, remote string) bool {
	for _, name := range forwarded {
		if r.Header.Get(name) != "" {
			return false
		}
	}
	addr, err := netip.ParseAddr(remote)
	if err != nil {
		return false
	}
	addr = addr.Unmap().WithZone("")
	for _, p := range a.opt.Metrics.Allow {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
