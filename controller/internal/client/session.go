package client

import (
	"context"
	"errors"
	"net/http"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/shared/secret"
)

// SignIn asks for a session by name and password.
func (c *Client) SignIn(ctx context.Context, name string, password secret.String) (body.SignedIn, Session, error) {
	var set http.Header
	in, err := do[body.SignedIn](context.WithValue(ctx, headerKey{}, &set), c,
		call{method: http.MethodPost, path: path("session"), body: body.SignIn{Name: name, Password: password.Reveal()}})
	if err != nil {
		return in, Session{}, err
	}
	for _, cookie := range (&http.Response{Header: set}).Cookies() {
		if cookie.Name == body.SessionCookie && cookie.Value != "" {
			return in, Session{Cookie: secret.String(cookie.Value), CSRF: in.CSRFToken}, nil
		}
	}
	return in, Session{}, errors.New("the answer to the sign-in has no session: is there a proxy that takes cookies away?")
}

// SignOut ends the session that asks.
func (c *Client) SignOut(ctx context.Context) error {
	_, err := c.send(ctx, call{method: http.MethodDelete, path: path("session")})
	return err
}

// SignedIn is who asks, with what ends the session.
func (c *Client) SignedIn(ctx context.Context) (body.SignedIn, error) {
	return get[body.SignedIn](ctx, c, nil, "session")
}

// SignInMethods are the ways to sign in.
func (c *Client) SignInMethods(ctx context.Context) (body.SignInMethods, error) {
	return get[body.SignInMethods](ctx, c, nil, "session", "methods")
}

// Sessions lists one's own open sessions, newest first.
func (c *Client) Sessions(ctx context.Context) ([]controller.Session, error) {
	l, err := get[body.List[controller.Session]](ctx, c, nil, "sessions")
	return l.Items, err
}

// EndSession ends one of one's own sessions.
func (c *Client) EndSession(ctx context.Context, n int64) error {
	_, err := c.send(ctx, call{method: http.MethodDelete, path: path("sessions", id(n))})
	return err
}

// ChangePassword changes one's own password; one's other sessions end.
func (c *Client) ChangePassword(ctx context.Context, old, next secret.String) error {
	_, err := c.send(ctx, call{
		method: http.MethodPut, path: path("session", "password"), body: body.ChangePassword{OldPassword: old.Reveal(), NewPassword: next.Reveal()},
	})
	return err
}
