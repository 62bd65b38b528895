package client

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

// Schedules lists one page, by project and id.
func (c *Client) Schedules(ctx context.Context, f controller.ScheduleFilter) (body.SchedulePage, error) {
	q := pageOf(0, f.Limit, "project", f.Project, "server", f.Server, "database", f.Database, "engine", f.Engine, "frequency", f.Frequency)
	if f.AfterID > 0 {
		q.Set("after_id", id(f.AfterID))
	}
	if f.Active != nil {
		q.Set("active", strconv.FormatBool(*f.Active))
	}
	return get[body.SchedulePage](ctx, c, q, "schedules")
}

// Schedule is one schedule.
func (c *Client) Schedule(ctx context.Context, n int64) (body.Schedule, error) {
	return get[body.Schedule](ctx, c, nil, "schedules", id(n))
}

// createSchedule and updateSchedule show the secret, which secret.String hides from every encoder.
type (
	createSchedule struct {
		body.CreateSchedule
		PingURL string `json:"ping_url,omitempty"`
	}
	updateSchedule struct {
		body.UpdateSchedule
		PingURL *string `json:"ping_url,omitempty"`
	}
)

// CreateSchedule makes one.
func (c *Client) CreateSchedule(ctx context.Context, in body.CreateSchedule) (body.Schedule, error) {
	return create[body.Schedule](ctx, c, createSchedule{CreateSchedule: in, PingURL: in.PingURL.Reveal()}, "schedules")
}

// PreviewSchedule tells what one would be.
func (c *Client) PreviewSchedule(ctx context.Context, in body.PreviewSchedule) (body.SchedulePreview, error) {
	return post[body.SchedulePreview](ctx, c, in, "schedules", "preview")
}

// UpdateSchedule changes one.
func (c *Client) UpdateSchedule(ctx context.Context, n int64, in body.UpdateSchedule) (body.Schedule, error) {
	change := updateSchedule{UpdateSchedule: in}
	if in.PingURL != nil {
		change.PingURL = new(in.PingURL.Reveal())
	}
	return do[body.Schedule](ctx, c, call{method: http.MethodPatch, path: path("schedules", id(n)), body: change})
}

// DeleteSchedule deletes one; its backups stay.
func (c *Client) DeleteSchedule(ctx context.Context, n int64) error {
	_, err := c.send(ctx, call{method: http.MethodDelete, path: path("schedules", id(n))})
	return err
}

// RunSchedule orders backups of what it covers, now. An outcome without a backup says why.
func (c *Client) RunSchedule(ctx context.Context, n int64) ([]body.BackupOutcome, error) {
	l, err := create[body.List[body.BackupOutcome]](ctx, c, nil, "schedules", id(n), "run")
	return l.Items, err
}

// Occurrences lists one page of a schedule's records, newest first; a zero before starts at the newest.
func (c *Client) Occurrences(ctx context.Context, n int64, before time.Time, limit int) (body.OccurrencePage, error) {
	q := pageOf(0, limit)
	if !before.IsZero() {
		q.Set("before", before.UTC().Format(time.RFC3339Nano))
	}
	return get[body.OccurrencePage](ctx, c, q, "schedules", id(n), "occurrences")
}

// Pauses lists what holds scheduled backups back, or the newest of all pauses that there were.
func (c *Client) Pauses(ctx context.Context, all bool) ([]controller.Pause, error) {
	q := values()
	if all {
		q.Set("all", strconv.FormatBool(all))
	}
	return newest[controller.Pause](ctx, c, q, 1000, "pauses")
}

// CreatePause makes one.
func (c *Client) CreatePause(ctx context.Context, in body.CreatePause) (controller.Pause, error) {
	return create[controller.Pause](ctx, c, in, "pauses")
}

// EndPause ends one.
func (c *Client) EndPause(ctx context.Context, n int64) (controller.Pause, error) {
	return post[controller.Pause](ctx, c, nil, "pauses", id(n), "end")
}

// RetryBackup orders one that failed once more.
func (c *Client) RetryBackup(ctx context.Context, n int64) (controller.Backup, error) {
	return create[controller.Backup](ctx, c, nil, "backups", id(n), "retry")
}
