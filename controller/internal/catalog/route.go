package catalog

import (
	"context"
	"time"

	"devflowbackup/controller"
)

// routes are the channels and mutes of a moment: what notices are routed by.
type routes struct {
	channels []controller.Channel
	mutes    []controller.Mute
}

func (t *tx) routes(ctx context.Context, now time.Time) (routes, error) {
	var r routes
	err := t.scan(ctx, &r.channels, `SELECT id, project_id, name, kind, is_default, is_active, to_jsonb(kinds) AS kinds, min_severity, remind_hours, fallback_id, failing_since
		FROM channels WHERE deleted_at IS NULL ORDER BY id`)
	if err != nil {
		return r, err
	}
	err = t.scan(ctx, &r.mutes, "SELECT id, scope, kind, project_id, server_id, database_id, channel_id, alarm_id FROM mutes WHERE ended_at IS NULL AND until > ?", now)
	return r, err
}

// of returns the channels that a notice goes to, or why it goes to none.
func (r routes) of(n controller.Routing) ([]int64, string) {
	return controller.Route(n, r.channels, r.mutes)
}

func (r routes) channel(id int64) *controller.Channel {
	for i := range r.channels {
		if r.channels[i].ID == id {
			return &r.channels[i]
		}
	}
	return nil
}
