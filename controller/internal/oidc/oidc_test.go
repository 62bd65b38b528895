package oidc_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/oauth2-proxy/mockoidc"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/app/apitest"
	"devflowbackup/controller/internal/oidc"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/pgkit"
)

func TestMain(m *testing.M) { pgkit.Main(m) }

const begin, callback = "/api/v1/session/oidc", "/api/v1/session/oidc/callback"

// world is an API with a provider.
type world struct {
	*apitest.Rig
	idp *mockoidc.MockOIDC
}

func groups(t *testing.T, texts ...string) []controller.Group {
	t.Helper()
	var all []controller.Group
	for _, text := range texts {
		g, err := controller.ParseGroup(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, g)
	}
	return all
}

func start(t *testing.T) *world {
	t.Helper()
	idp, err := mockoidc.Run()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := idp.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	p, err := oidc.New(oidc.Options{
		Issuer: idp.Issuer(), ClientID: idp.ClientID, ClientSecret: secret.String(idp.ClientSecret), Scopes: []string{"profile", "groups", "email"},
		NameClaim: "preferred_username", GroupsClaim: "groups", Title: "The company", RedirectURL: apitest.PublicURL + callback,
		Groups: groups(t, "dev=view-backups+create-backups@one+nowhere", "dba=admin"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &world{apitest.With(t, p), idp}
}

// get asks without following.
func (w *world) get(address string, cookies ...string) *http.Response {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), http.MethodGet, address, nil)
	if err != nil {
		w.Fatal(err)
	}
	if len(cookies) > 0 {
		req.Header.Set("Cookie", strings.Join(cookies, "; "))
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	return res
}

func cookieOf(res *http.Response, name string) string {
	for _, c := range res.Cookies() {
		if c.Name == name && c.MaxAge >= 0 {
			return name + "=" + c.Value
		}
	}
	return ""
}

// provider sends the browser to the provider and returns the way back, with the flow's cookie.
func (w *world) provider(user *mockoidc.MockUser, returnTo string) (back *url.URL, flow string) {
	w.Helper()
	w.idp.QueueUser(user)
	res := w.get(w.URL + begin + "?return_to=" + url.QueryEscape(returnTo))
	flow = cookieOf(res, "__Host-devflow-oidc")
	to, err := url.Parse(res.Header.Get("Location"))
	if res.StatusCode != http.StatusFound || flow == "" || err != nil {
		w.Fatalf("%d %v: %v", res.StatusCode, res.Header, err)
	}
	q := to.Query()
	if q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") == "" || q.Get("state") == "" || q.Get("nonce") == "" || q.Get("redirect_uri") != apitest.PublicURL+callback {
		w.Errorf("the provider is asked %s", to)
	}
	back, err = url.Parse(w.get(to.String()).Header.Get("Location"))
	if err != nil || !strings.HasPrefix(back.String(), apitest.PublicURL+callback+"?") {
		w.Fatalf("the provider sends to %s: %v", back, err)
	}
	return back, flow
}

// finish returns where the browser ends up, and its session's cookie.
func (w *world) finish(back *url.URL, flow ...string) (page *url.URL, session string) {
	w.Helper()
	res := w.get(w.URL+callback+"?"+back.RawQuery, flow...)
	page, err := url.Parse(res.Header.Get("Location"))
	if res.StatusCode != http.StatusFound || err != nil {
		w.Fatalf("%d %v: %v", res.StatusCode, res.Header, err)
	}
	return page, cookieOf(res, api.SessionCookie)
}

func (w *world) whoami(session string) body.SignedIn {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), http.MethodGet, w.URL+"/api/v1/session", nil)
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("Cookie", session)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer res.Body.Close()
	var s body.SignedIn
	if err := json.NewDecoder(res.Body).Decode(&s); err != nil || res.StatusCode != http.StatusOK {
		w.Fatalf("%d: %v", res.StatusCode, err)
	}
	return s
}

func person(name string, groups ...string) *mockoidc.MockUser {
	return &mockoidc.MockUser{Subject: "subject of " + name, PreferredUsername: name, Email: name + "@example.com", EmailVerified: true, Groups: groups}
}

func TestProvider(t *testing.T) {
	t.Parallel()
	w := start(t)
	one := w.Project("one")
	w.Project("two")
	in := func(u *mockoidc.MockUser) body.SignedIn {
		t.Helper()
		back, flow := w.provider(u, "/projects/one")
		page, session := w.finish(back, flow)
		if page.String() != "/projects/one" || session == "" {
			t.Fatalf("ends at %s with the session %q", page, session)
		}
		return w.whoami(session)
	}
	dora := in(person("Dora", "users", "dev"))
	if dora.Name != "dora" || dora.Kind != "user" || dora.Admin || dora.AllProjects || !slices.Equal(dora.Projects, []int64{one.ID}) || dora.HasPassword ||
		!slices.Equal(dora.Permissions, []string{controller.ViewBackups, controller.CreateBackups}) {
		t.Errorf("dora is %+v", dora)
	}
	// The same person in another group, by another name: the same user, who may do something else. The first group counts.
	moved := person("dora.two", "dba")
	moved.Subject = "subject of Dora"
	if s := in(moved); s.UserID != dora.UserID || s.Name != "dora" || !s.Admin || !s.AllProjects || len(s.Permissions) != len(controller.Permissions) {
		t.Errorf("dora is %+v", s)
	}
	if s := in(person("both", "dba", "dev")); s.Admin || s.AllProjects {
		t.Errorf("one of two groups is %+v", s)
	}

	refused := func(u *mockoidc.MockUser, code string, words string) {
		t.Helper()
		back, flow := w.provider(u, "/")
		page, session := w.finish(back, flow)
		if session != "" || page.Path != api.SignInPage || page.Query().Get("error") != code || !strings.Contains(page.Query().Get("detail"), words) || page.Query().Get("request_id") == "" {
			t.Errorf("%s ends at %s with the session %q, want %s", u.PreferredUsername, page, session, code)
		}
	}
	refused(person("stranger", "users"), controller.EForbidden, "none of the groups")
	refused(person("stranger", "Dev", "dev ", "other"), controller.EForbidden, "none of the groups")
	refused(person("not a name", "dev"), controller.EForbidden, "no user's name")
	// For a claim that is missing the user info is asked; this provider's does not say whom it is about.
	refused(person("stranger"), controller.EUnauthorized, "about another user")
	if _, err := w.Store.CreateUser(t.Context(), w.Admin, controller.UserSpec{Name: "local", Permissions: []string{controller.ViewBackups}}, ""); err != nil {
		t.Fatal(err)
	}
	refused(person("local", "dba"), controller.EForbidden, "another user local")
	impostor := person("dora", "dba") // with a subject of its own
	impostor.Subject = "someone else"
	refused(impostor, controller.EForbidden, "another user dora")
	disabled := true
	if _, err := w.Store.UpdateUser(t.Context(), w.Admin, "dora", controller.UserChange{Disabled: &disabled}); err != nil {
		t.Fatal(err)
	}
	refused(person("Dora", "dev"), controller.EForbidden, "disabled")
	if log := w.Logged.String(); strings.Contains(log, w.idp.ClientSecret) {
		t.Error("the log holds the client's secret")
	}
}

// TestProvider_forged: an answer that is not to what this browser began, or not from the provider, makes no session.
func TestProvider_forged(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada := person("ada", "dba")
	none := func(what string, back *url.URL, flow ...string) {
		t.Helper()
		page, session := w.finish(back, flow...)
		if session != "" || page.Path != api.SignInPage || page.Query().Get("error") != controller.EUnauthorized {
			t.Errorf("%s: ends at %s with the session %q", what, page, session)
		}
	}
	// change is the flow's cookie with one thing changed.
	change := func(flow string, f func(*controller.SignInFlow)) string {
		t.Helper()
		name, value, _ := strings.Cut(flow, "=")
		text, err := base64.RawURLEncoding.DecodeString(value)
		var is controller.SignInFlow
		if err == nil {
			err = json.Unmarshal(text, &is)
		}
		if err != nil {
			t.Fatal(err)
		}
		f(&is)
		text, err = json.Marshal(is)
		if err != nil {
			t.Fatal(err)
		}
		return name + "=" + base64.RawURLEncoding.EncodeToString(text)
	}
	back, flow := w.provider(ada, "/")
	other, _ := w.provider(ada, "/")
	none("no cookie", back)
	none("two cookies", back, flow, flow)
	none("the answer to another flow", other, flow)
	none("expired", back, change(flow, func(f *controller.SignInFlow) { f.Expires = 1 }))
	none("rubbish", back, "__Host-devflow-oidc=x")
	failed, _ := url.Parse("?error=access_denied&state=" + back.Query().Get("state"))
	none("refused by the provider", failed, flow)
	bare, _ := url.Parse("?state=" + back.Query().Get("state"))
	none("no code", bare, flow)
	none("another nonce", back, change(flow, func(f *controller.SignInFlow) { f.Nonce = "x" }))
	back, flow = w.provider(ada, "/")
	none("another verifier", back, change(flow, func(f *controller.SignInFlow) { f.Verifier = strings.Repeat("x", 43) }))
	back, flow = w.provider(ada, "/")
	if page, session := w.finish(back, flow); page.Path != "/" || session == "" {
		t.Errorf("the right one ends at %s with %q", page, session)
	}
	none("a code that was used", back, flow)

	for _, foreign := range []string{"https://evil.example/", "//evil.example", `/\evil.example`, "javascript:alert(1)", "evil", "/a\nb", "http:/x"} {
		back, flow := w.provider(ada, foreign)
		if page, _ := w.finish(back, flow); page.String() != "/" {
			t.Errorf("return_to %q ends at %s", foreign, page)
		}
	}
}

func TestProvider_none(t *testing.T) {
	t.Parallel()
	p, err := oidc.New(oidc.Options{Issuer: "http://127.0.0.1:1", Title: "Down"})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Rig: apitest.With(t, p)}
	if res := w.get(w.URL + begin); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a provider that is down: %d", res.StatusCode)
	}
	w = &world{Rig: apitest.New(t)}
	if res := w.get(w.URL + begin); res.StatusCode != http.StatusNotFound {
		t.Errorf("no provider: %d", res.StatusCode)
	}
}
