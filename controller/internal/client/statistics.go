package client

import (
	"context"
	"strconv"

	"devflowbackup/controller"
)

// Statistics are the figures of a project, or of all that the caller sees.
func (c *Client) Statistics(ctx context.Context, project string) (controller.Statistics, error) {
	if project == "" {
		return get[controller.Statistics](ctx, c, nil, "statistics")
	}
	return get[controller.Statistics](ctx, c, nil, "projects", project, "statistics")
}

// Trend is what was backed up, day by day.
func (c *Client) Trend(ctx context.Context, r controller.TrendRequest) (controller.Trend, error) {
	q := values("project", r.Project, "database", r.Database, "until", r.Until)
	if r.Days != 0 {
		q.Set("days", strconv.Itoa(r.Days))
	}
	return get[controller.Trend](ctx, c, q, "trends")
}

// Overview is what a person looks at first.
func (c *Client) Overview(ctx context.Context) (controller.Overview, error) {
	return get[controller.Overview](ctx, c, nil, "overview")
}
