package api

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

// SessionCookie holds the secret of a session.
const SessionCookie = body.SessionCookie

const sessionPrefix = "dfs_"

// Passwords makes and compares what the catalog keeps of passwords.
type Passwords interface {
	// Hash makes it.
	Hash(ctx context.Context, password string) (string, error)
	// Verify tells whether a password is the one that is kept, and whether it is to be hashed anew. It takes as long where none is kept.
	Verify(ctx context.Context, kept, password string) (ok, stale bool, err error)
}

// SignIn says how people sign in.
type SignIn struct {
	Passwords Passwords
	Provider  Provider      // nil: none
	Idle      time.Duration // a session that is not used for so long ends; two hours if zero
	Age       time.Duration // a session lasts so long at most; a day if zero
}

func (s SignIn) withDefaults() SignIn {
	if s.Idle == 0 {
		s.Idle = 2 * time.Hour
	}
	if s.Age == 0 {
		s.Age = 24 * time.Hour
	}
	return s
}

// callerIn is the request behind an operation.
type callerIn struct{ c *gin.Context }

// Resolve is called by huma with the request.
func (in *callerIn) Resolve(ctx huma.Context) []error {
	in.c = humagin.Unwrap(ctx)
	return nil
}

type signInIn struct {
	callerIn
	Body body.SignIn
}

// Resolve is called by huma with the request.
func (in *signInIn) Resolve(ctx huma.Context) []error { return in.callerIn.Resolve(ctx) }

type callerOnly struct{ callerIn }

// Resolve is called by huma with the request.
func (in *callerOnly) Resolve(ctx huma.Context) []error { return in.callerIn.Resolve(ctx) }

// sessionOut answers with a cookie.
type sessionOut struct {
	SetCookie string `header:"Set-Cookie"`
	Body      body.SignedIn
}

type cookieOut struct {
	SetCookie string `header:"Set-Cookie"`
}

func (a *API) registerSession() {
	public, anyone := []string{accessPublic}, []string{accessToken}
	register(a, operation{id: "sign-in", audit: "session.create", method: http.MethodPost, path: "/session", summary: "Sign in with name and password; the answer sets the cookie of the session", tag: tagSession, access: public, status: http.StatusCreated, errors: []int{http.StatusForbidden}}, a.signIn)
	register(a, operation{id: "get-sign-in-methods", method: http.MethodGet, path: "/session/methods", summary: "The ways to sign in", tag: tagSession, access: public},
		func(context.Context, *none) (*bodyOut[body.SignInMethods], error) {
			m := body.SignInMethods{Password: true}
			if p := a.opt.SignIn.Provider; p != nil {
				m.OIDC = &body.OIDCSign{Title: p.Title(), URL: Prefix + "/session/oidc"}
			}
			return out(m, nil)
		})
	register(a, operation{id: "get-session", method: http.MethodGet, path: "/session", summary: "Who is signed in, with permissions, projects and the CSRF token", tag: tagSession, access: anyone},
		func(ctx context.Context, in *callerOnly) (*bodyOut[body.SignedIn], error) {
			secret, _ := sessionSecret(in.c)
			return out(a.describe(ctx, secret))
		})
	register(a, operation{id: "sign-out", audit: "session.end", method: http.MethodDelete, path: "/session", summary: "End the session that asks", tag: tagSession, access: anyone, status: http.StatusNoContent},
		func(ctx context.Context, _ *none) (*cookieOut, error) {
			actor, err := person(ctx)
			if err == nil {
				err = a.opt.Store.EndSession(ctx, actor, actor.SessionID)
			}
			if err != nil {
				return nil, err
			}
			return &cookieOut{SetCookie: sessionCookie("", -1)}, nil
		})
	register(a, operation{id: "list-sessions", method: http.MethodGet, path: "/sessions", summary: "One's own open sessions, newest first", tag: tagSession, access: anyone, errors: []int{http.StatusConflict}},
		func(ctx context.Context, _ *none) (*bodyOut[body.List[controller.Session]], error) {
			actor, err := person(ctx)
			if err != nil {
				return nil, err
			}
			return list(a.opt.Store.Sessions(ctx, actor, a.opt.SignIn.Idle))
		})
	register(a, operation{id: "end-session", audit: "session.end", method: http.MethodDelete, path: "/sessions/{id}", summary: "End one of one's own sessions", tag: tagSession, access: anyone, status: http.StatusNoContent},
		func(ctx context.Context, in *idIn) (*answer, error) {
			actor, err := person(ctx)
			if err != nil {
				return nil, err
			}
			return nil, a.opt.Store.EndSession(ctx, actor, in.ID)
		})
	register(a, operation{id: "change-password", audit: "user.password", method: http.MethodPut, path: "/session/password", summary: "Change one's own password; every other session of one's own ends", tag: tagSession, access: anyone, status: http.StatusNoContent}, a.changePassword)
}

// person is who is signed in.
func person(ctx context.Context) (controller.Actor, error) {
	actor := actorOf(ctx)
	if actor.UserID == 0 {
		return actor, controller.Errorf(controller.EConflict, "this is for people who signed in; the request has an API token")
	}
	return actor, nil
}

var errWrongPassword = controller.Errorf(controller.EUnauthorized, "the name or the password is wrong")

// signIn answers a name that nobody has as it does a wrong password, after the same work.
func (a *API) signIn(ctx context.Context, in *signInIn) (*sessionOut, error) {
	if err := a.sameOrigin(in.c.Request); err != nil {
		return nil, err
	}
	check, name, err := a.checkPassword(ctx, in.c, in.Body.Name, in.Body.Password)
	if err != nil {
		return nil, err
	}
	secret, hash := newSession()
	s := controller.NewSession{Hash: hash, Method: controller.SignInPassword, Remote: in.c.RemoteIP(), Agent: agentOf(in.c.Request), Age: a.opt.SignIn.Age}
	session, err := a.opt.Store.EndSignIn(ctx, check.UserID, check.Password, check.rehash, s)
	if err != nil {
		return nil, err
	}
	a.opt.Log.Info("signed in", "user", name, "session_id", session.ID, "remote", s.Remote)
	actor, err := a.opt.Store.SessionByHash(ctx, hash, a.opt.SignIn.Idle)
	if err != nil {
		return nil, err
	}
	a.replaced(ctx, in.c)
	described, err := a.describe(context.WithValue(ctx, keyActor, actor), secret)
	return &sessionOut{SetCookie: sessionCookie(secret, a.opt.SignIn.Age), Body: described}, err
}

// replaced ends the session that the browser had before: it forgets its secret, and nobody could end it any more.
func (a *API) replaced(ctx context.Context, c *gin.Context) {
	secret, ok := sessionSecret(c)
	if !ok {
		return
	}
	actor, err := a.opt.Store.SessionByHash(ctx, HashToken(secret), a.opt.SignIn.Idle)
	if err == nil {
		actor.Remote = c.RemoteIP()
		err = a.opt.Store.EndSession(ctx, actor, actor.SessionID)
	}
	if err != nil && controller.ErrorCode(err) != controller.EUnauthorized {
		a.opt.Log.Warn("the session before was not ended", "request_id", requestID(ctx), "err", err)
	}
}

type checked struct {
	controller.SignInCheck
	rehash string
}

// checkPassword counts the attempt before it looks at the password: many at once get no further than one after the other.
func (a *API) checkPassword(ctx context.Context, c *gin.Context, given, secret string) (checked, string, error) {
	name := controller.UserName(given)
	if controller.ValidUserName(name) != nil {
		name = "" // nobody's
	}
	check, err := a.opt.Store.BeginSignIn(ctx, name, c.RemoteIP())
	if err != nil {
		return checked{}, name, err
	}
	if check.Wait > 0 {
		seconds := int(check.Wait.Seconds()) + 1
		c.Header("Retry-After", strconv.Itoa(seconds))
		return checked{}, name, controller.Errorf(body.CodeTooMany, "too many failed sign-ins by this name or from this address").WithHint("try again in %d s", seconds)
	}
	ok, stale, err := a.opt.SignIn.Passwords.Verify(ctx, check.Password, secret)
	if err != nil {
		return checked{}, name, err
	}
	if !ok || check.UserID == 0 {
		a.opt.Log.Warn("sign-in refused", "known", check.UserID != 0, "remote", c.RemoteIP(), "request_id", requestID(ctx))
		return checked{}, name, errWrongPassword
	}
	result := checked{SignInCheck: check}
	if stale {
		if result.rehash, err = a.opt.SignIn.Passwords.Hash(ctx, secret); err != nil {
			return checked{}, name, err
		}
	}
	return result, name, nil
}

type changePasswordIn struct {
	callerIn
	Body body.ChangePassword
}

// Resolve is called by huma with the request.
func (in *changePasswordIn) Resolve(ctx huma.Context) []error { return in.callerIn.Resolve(ctx) }

func (a *API) changePassword(ctx context.Context, in *changePasswordIn) (*answer, error) {
	actor, err := person(ctx)
	if err != nil {
		return nil, err
	}
	name, _, err := a.opt.Store.OwnPassword(ctx, actor)
	if err != nil {
		return nil, err
	}
	if in.Body.NewPassword == in.Body.OldPassword {
		return nil, controller.Invalid("new_password", "is the old one")
	}
	// The new one is made before the old one is looked at: what is wrong with it costs no attempt.
	phc, err := a.hash(ctx, "new_password", name, in.Body.NewPassword)
	if err != nil {
		return nil, err
	}
	check, _, err := a.checkPassword(ctx, in.c, name, in.Body.OldPassword)
	if errors.Is(err, errWrongPassword) {
		return nil, controller.Invalid("old_password", "is wrong")
	}
	if err != nil {
		return nil, err
	}
	return nil, a.opt.Store.ChangePassword(ctx, actor, check.Password, phc)
}

// describe is what the console begins with.
func (a *API) describe(ctx context.Context, secret string) (body.SignedIn, error) {
	actor := actorOf(ctx)
	s := body.SignedIn{Whoami: whoami(actor), AllPermissions: controller.Permissions}
	if actor.UserID == 0 {
		return s, nil
	}
	s.CSRFToken, s.SessionID, s.IdleSeconds = csrfToken(secret), actor.SessionID, int64(a.opt.SignIn.Idle.Seconds())
	// Who asks may not see users; oneself one may.
	u, err := a.opt.Store.User(ctx, controller.Actor{Scope: controller.Scope{All: true}}, strconv.FormatInt(actor.UserID, 10))
	if err != nil {
		return s, err
	}
	s.DisplayName, s.Admin, s.HasPassword = u.DisplayName, u.Admin, u.HasPassword
	sessions, err := a.opt.Store.Sessions(ctx, actor, a.opt.SignIn.Idle)
	if err != nil {
		return s, err
	}
	for _, one := range sessions {
		if one.Current {
			s.ExpiresAt = &one.ExpiresAt
		}
	}
	return s, nil
}

func newSession() (secret string, hash []byte) {
	secret = sessionPrefix + randomText()
	return secret, HashToken(secret)
}

func sessionCookie(secret string, age time.Duration) string {
	c := &http.Cookie{Name: SessionCookie, Value: secret, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode, MaxAge: int(age.Seconds())}
	if secret == "" {
		c.MaxAge = -1
	}
	return c.String()
}

// sessionSecret is the one session cookie of a request. Two of them, of which only one can be ours, are none.
func sessionSecret(c *gin.Context) (string, bool) {
	cookies := c.Request.CookiesNamed(SessionCookie)
	if len(cookies) != 1 || !strings.HasPrefix(cookies[0].Value, sessionPrefix) {
		return "", false
	}
	return cookies[0].Value, true
}

func agentOf(r *http.Request) string {
	agent := strings.ToValidUTF8(r.UserAgent(), "")
	return strings.ToValidUTF8(agent[:min(len(agent), 200)], "")
}

// csrfToken follows from the session's secret, which no page can read, and tells nothing of it.
func csrfToken(secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("devflow csrf"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// session finds who a cookie is of. A browser sends it with every request to this host, whoever made the page: writes therefore need what
// only a page of ours can know and send.
func (a *API) session(c *gin.Context, secret string) (controller.Actor, error) {
	actor, err := a.opt.Store.SessionByHash(c.Request.Context(), HashToken(secret), a.opt.SignIn.Idle)
	if err != nil {
		return actor, err
	}
	for _, name := range []string{body.ActingUser, body.ActingPermissions, body.ActingProjects} {
		if c.GetHeader(name) != "" {
			return actor, controller.Invalid(name, "is for API tokens; who signed in acts for themselves")
		}
	}
	if slices.Contains([]string{http.MethodGet, http.MethodHead}, c.Request.Method) {
		return actor, nil
	}
	if err := a.sameOrigin(c.Request); err != nil {
		return actor, err
	}
	if subtle.ConstantTimeCompare([]byte(c.GetHeader(body.CSRF)), []byte(csrfToken(secret))) != 1 {
		return actor, controller.Errorf(body.CodeCSRF, "the header %s is missing or is not that of the session", body.CSRF).WithHint("GET %s/session tells it; reload the page", Prefix)
	}
	return actor, nil
}

// sameOrigin refuses a write that a browser sends for a page of another origin. What is no browser sends neither header.
func (a *API) sameOrigin(r *http.Request) error {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return controller.Errorf(body.CodeCSRF, "the request comes from a page of another site")
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return nil
	}
	if u, err := url.Parse(origin); err == nil && u.Host != "" {
		own, err := url.Parse(a.opt.PublicURL)
		if strings.EqualFold(u.Host, r.Host) || err == nil && strings.EqualFold(origin, own.Scheme+"://"+own.Host) {
			return nil
		}
	}
	return controller.Errorf(body.CodeCSRF, "the request comes from a page of %.200q", origin).WithHint("open the console at this controller's own address, or set public_url to the one that is used")
}
