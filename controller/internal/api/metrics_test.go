package api_test

import (
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/app/apitest"
	"devflowbackup/shared/secret"
)

// Who may read the figures of the whole installation, and who may not.
func TestMetrics(t *testing.T) {
	t.Parallel()
	const token = secret.String("0123456789abcdef-canary")
	r := &rig{apitest.Custom(t, func(o *api.Options) {
		o.Metrics = api.Metrics{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "figures") }),
			Allow:   []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Token: token,
		}
	})}
	r.Project("shop")
	get := func(token string, headers ...string) *answer {
		return r.as(token, http.MethodGet, "/metrics", nil, headers...)
	}

	get(r.Token).is(http.StatusOK).says("figures")
	get(token.Reveal()).is(http.StatusOK).says("figures")
	get(r.NewToken([]string{controller.ViewBackups})).is(http.StatusOK).says("figures")
	get(r.NewToken([]string{controller.ViewBackups}, "shop")).refused(http.StatusForbidden, controller.EForbidden, controller.ViewBackups)
	get(r.NewToken([]string{controller.ManageSchedules})).refused(http.StatusForbidden, controller.EForbidden)
	get(r.Token, body.ActingUser, "zoe", body.ActingProjects, "shop").refused(http.StatusForbidden, controller.EForbidden)
	get("").refused(http.StatusUnauthorized, controller.EUnauthorized)
	// A header says nothing of where a request comes from.
	get("", "X-Forwarded-For", "10.1.2.3").refused(http.StatusUnauthorized, controller.EUnauthorized)
	r.as(r.Token, http.MethodPost, "/metrics", nil).is(http.StatusMethodNotAllowed)
	for range 40 {
		if a := get("wrong-" + token.Reveal()); a.status == http.StatusTooManyRequests {
			get(token.Reveal()).refused(http.StatusTooManyRequests, body.CodeTooMany)
			break
		} else if a.refused(http.StatusUnauthorized, controller.EUnauthorized); strings.Contains(string(a.text), "canary") {
			t.Fatalf("the token is repeated: %s", a.text)
		}
	}
	get("").refused(http.StatusTooManyRequests, body.CodeTooMany)
	if strings.Contains(r.Logged.String(), "canary") {
		t.Error("the token is logged")
	}
}

// Whoever connects from an address of the list needs no token; what a proxy passed on does, whatever the proxy's address is.
func TestMetrics_Allow(t *testing.T) {
	t.Parallel()
	r := &rig{apitest.Custom(t, func(o *api.Options) {
		o.Metrics = api.Metrics{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "figures") }),
			Allow:   []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
		}
	})}
	get := func(token string, headers ...string) *answer {
		return r.as(token, http.MethodGet, "/metrics", nil, headers...)
	}
	get("").is(http.StatusOK).says("figures")
	for _, header := range []string{"X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"} {
		get("", header, "127.0.0.1").refused(http.StatusUnauthorized, controller.EUnauthorized)
	}
	get("dfk_wrong").refused(http.StatusUnauthorized, controller.EUnauthorized)
	get("wrong").refused(http.StatusUnauthorized, controller.EUnauthorized)

	none := start(t)
	none.as(none.Token, http.MethodGet, "/metrics", nil).refused(http.StatusNotFound, controller.ENotFound)
	if doc := none.do(http.MethodGet, "/openapi.json", nil); strings.Contains(string(doc.text), `"/metrics"`) {
		t.Error("the document tells of /metrics")
	}
}
