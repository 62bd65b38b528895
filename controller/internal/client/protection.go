package client

import (
	"context"
	"net/http"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

// Protection lists how well databases are protected.
func (c *Client) Protection(ctx context.Context, f controller.ProtectionFilter) ([]controller.Protection, error) {
	q := values("project", f.Project, "server", f.Server, "state", f.State, "search", f.Search)
	return every(ctx, c, q, func(p controller.Protection) int64 { return p.DatabaseID }, "protection")
}

// ProtectionSummary counts them by state and says what is wrong; of a project, or of all.
func (c *Client) ProtectionSummary(ctx context.Context, project string) (controller.ProtectionSummary, error) {
	return get[controller.ProtectionSummary](ctx, c, values("project", project), "protection", "summary")
}

// IgnoreDatabase records the choice that a database need not be backed up.
func (c *Client) IgnoreDatabase(ctx context.Context, database int64, reason string) (controller.Protection, error) {
	return do[controller.Protection](ctx, c, call{method: http.MethodPut, path: path("databases", id(database), "ignored"), body: body.IgnoreDatabase{Reason: reason}})
}

// UnignoreDatabase takes that choice back.
func (c *Client) UnignoreDatabase(ctx context.Context, database int64) (controller.Protection, error) {
	return do[controller.Protection](ctx, c, call{method: http.MethodDelete, path: path("databases", id(database), "ignored")})
}
