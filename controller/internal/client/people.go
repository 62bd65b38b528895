package client

import (
	"context"
	"net/http"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

// RotateToken gives a token a new secret.
func (c *Client) RotateToken(ctx context.Context, n int64, in body.RotateToken) (body.NewToken, error) {
	return create[body.NewToken](ctx, c, in, "tokens", id(n), "rotate")
}

// Users lists all users by name.
func (c *Client) Users(ctx context.Context) ([]controller.User, error) {
	all := []controller.User{}
	for after := ""; ; {
		p, err := get[body.Users](ctx, c, values("limit", "200", "after", after), "users")
		if err != nil {
			return nil, err
		}
		if all = append(all, p.Items...); p.NextAfter == nil {
			return all, nil
		}
		after = *p.NextAfter
	}
}

// User returns one by name or id.
func (c *Client) User(ctx context.Context, ref string) (controller.User, error) {
	return get[controller.User](ctx, c, nil, "users", ref)
}

// CreateUser makes one.
func (c *Client) CreateUser(ctx context.Context, in body.CreateUser) (controller.User, error) {
	return create[controller.User](ctx, c, in, "users")
}

// UpdateUser changes one.
func (c *Client) UpdateUser(ctx context.Context, ref string, in body.UpdateUser) (controller.User, error) {
	return do[controller.User](ctx, c, call{method: http.MethodPatch, path: path("users", ref), body: in})
}

// SetPassword gives a user another password.
func (c *Client) SetPassword(ctx context.Context, ref string, in body.SetPassword) (controller.User, error) {
	return do[controller.User](ctx, c, call{method: http.MethodPut, path: path("users", ref, "password"), body: in})
}

// DeleteUser deletes one.
func (c *Client) DeleteUser(ctx context.Context, ref string) error {
	_, err := c.send(ctx, call{method: http.MethodDelete, path: path("users", ref)})
	return err
}

// SignOutUser ends every session of a user.
func (c *Client) SignOutUser(ctx context.Context, ref string) error {
	_, err := c.send(ctx, call{method: http.MethodDelete, path: path("users", ref, "sessions")})
	return err
}

// Token is one API token, without its secret.
func (c *Client) Token(ctx context.Context, n int64) (controller.APIToken, error) {
	return get[controller.APIToken](ctx, c, nil, "tokens", id(n))
}
