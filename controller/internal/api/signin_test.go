package api_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/app/apitest"
)

// TestSignIn_renewed: each sign-in has a session of its own, whatever the browser brings; the one that it brings ends, for nobody could
// end it any more.
func TestSignIn_renewed(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.user("anna", []string{controller.ViewBackups})
	r.user("bert", []string{controller.ViewBackups})
	const planted = api.SessionCookie + "=dfs_0000000000000000000000000000000000000000000"
	again := func(name, cookie string) *person {
		t.Helper()
		a := r.as("", "POST", "/api/v1/session", body.SignIn{Name: name, Password: userPassword}, "Cookie", cookie).is(http.StatusCreated)
		set := (&http.Response{Header: a.header}).Cookies()
		if len(set) != 1 || set[0].Name+"="+set[0].Value == cookie {
			t.Fatalf("the answer to %s sets %v", name, set)
		}
		s := into[body.SignedIn](a)
		return &person{rig: r, cookie: set[0].Name + "=" + set[0].Value, csrf: s.CSRFToken, session: s}
	}
	anna := again("anna", planted)
	r.as("", "GET", "/api/v1/session", nil, "Cookie", planted).refused(http.StatusUnauthorized, controller.EUnauthorized)
	elsewhere := r.signedIn("anna")
	next := again("anna", anna.cookie)
	anna.do("GET", "/session", nil).refused(http.StatusUnauthorized, controller.EUnauthorized, "has ended")
	elsewhere.do("GET", "/session", nil).is(http.StatusOK)
	// One person after the other at the same browser.
	bert := again("bert", next.cookie)
	next.do("GET", "/session", nil).refused(http.StatusUnauthorized, controller.EUnauthorized)
	if s := into[body.SignedIn](bert.do("GET", "/session", nil).is(http.StatusOK)); s.Name != "bert" {
		t.Errorf("it is %+v", s)
	}
	// A sign-in that fails ends nothing.
	r.as("", "POST", "/api/v1/session", body.SignIn{Name: "anna", Password: "wrong"}, "Cookie", bert.cookie).refused(http.StatusUnauthorized, controller.EUnauthorized)
	bert.do("GET", "/session", nil).is(http.StatusOK)
}

// TestSignIn_controllers: a name that is locked out at one controller is so at each, and a session that one has ended is none at another.
func TestSignIn_controllers(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.user("anna", []string{controller.ViewBackups})
	second := httptest.NewServer(api.New(api.Options{Store: r.Store, Fleet: r.Fleet, PublicURL: apitest.PublicURL, SignIn: api.SignIn{Passwords: apitest.Passwords}}))
	t.Cleanup(second.Close)
	two := &rig{Rig: &apitest.Rig{}}
	*two.Rig = *r.Rig
	two.URL = second.URL
	anna := r.signedIn("anna")
	anna.rig = two
	anna.do("GET", "/session", nil).is(http.StatusOK)
	anna.do("DELETE", "/session", nil).is(http.StatusNoContent)
	anna.rig = r
	anna.do("GET", "/session", nil).refused(http.StatusUnauthorized, controller.EUnauthorized)
	for i := range 5 {
		[]*rig{r, two}[i%2].signIn("anna", "wrong").refused(http.StatusUnauthorized, controller.EUnauthorized)
	}
	for _, at := range []*rig{r, two} {
		a := at.signIn("anna", userPassword)
		a.refused(http.StatusTooManyRequests, body.CodeTooMany)
		if n, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || n < 1 || n > 31 {
			t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
		}
	}
}

// TestSession_streams: with a session its event streams end: signed out, ended elsewhere, disabled, deleted, another password, no longer
// allowed to look.
func TestSession_streams(t *testing.T) {
	t.Parallel()
	r := start(t)
	for what, end := range map[string]func(name string, p *person){
		"signed out": func(_ string, p *person) { p.do("DELETE", "/session", nil).is(http.StatusNoContent) },
		"disabled":   func(name string, _ *person) { r.do("PATCH", "/users/"+name, `{"disabled":true}`).is(http.StatusOK) },
		"deleted":    func(name string, _ *person) { r.do("DELETE", "/users/"+name, nil).is(http.StatusNoContent) },
		"another password": func(name string, _ *person) {
			r.do("PUT", "/users/"+name+"/password", body.SetPassword{Password: "given by another"}).is(http.StatusOK)
		},
		"signed out by another": func(name string, _ *person) {
			r.do("DELETE", "/users/"+name+"/sessions", nil).is(http.StatusNoContent)
		},
		"not allowed any longer": func(name string, _ *person) {
			r.do("PATCH", "/users/"+name, `{"permissions":["manage-schedules"]}`).is(http.StatusOK)
		},
	} {
		name := "person" + strconv.Itoa(len(what)) + "x"
		r.user(name, []string{controller.ViewBackups})
		p := r.signedIn(name)
		c, _ := r.watch("", "", "Cookie", p.cookie, "Authorization", "")
		end(name, p)
		over := time.After(20 * time.Second)
		for open := true; open; {
			select {
			case _, open = <-c:
			case <-over:
				t.Fatalf("%s: the stream goes on", what)
			}
		}
	}
	// Nobody else's ended with them.
	if all := into[body.Users](r.do("GET", "/users", nil).is(http.StatusOK)).Items; !slices.ContainsFunc(all, func(u controller.User) bool { return u.DisabledAt != nil }) {
		t.Errorf("users are %+v", all)
	}
}
