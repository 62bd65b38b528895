package client

import (
	"context"
	"net/url"
	"strconv"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

// every reads a list that is in an order of its own to its end, part by part.
func every[T any](ctx context.Context, c *Client, query url.Values, id func(T) int64, segments ...string) ([]T, error) {
	return controller.Every(ctx, func(ctx context.Context, p controller.Part) ([]T, error) {
		query.Set("limit", strconv.Itoa(p.Limit))
		if p.AfterID != 0 {
			query.Set("after_id", strconv.FormatInt(p.AfterID, 10))
		}
		l, err := get[body.Part[T]](ctx, c, query, segments...)
		return l.Items, err
	}, id)
}

// newest reads a list that is newest first, up to most rows.
func newest[T any](ctx context.Context, c *Client, query url.Values, most int, segments ...string) ([]T, error) {
	all := []T{}
	for {
		query.Set("limit", strconv.Itoa(min(most-len(all), 200)))
		p, err := get[body.Page[T]](ctx, c, query, segments...)
		if err != nil {
			return nil, err
		}
		if all = append(all, p.Items...); p.NextBeforeID == nil || len(all) >= most {
			return all, nil
		}
		query.Set("before_id", id(*p.NextBeforeID))
	}
}
