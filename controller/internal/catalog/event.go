package catalog

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"devflowbackup/controller"
)

// What is kept of the log of events: readers that come back within that go on where they were.
const (
	eventsKept   = 50_000
	eventsAge    = 24 * time.Hour
	eventsAtOnce = 5000
)

// SealEvents moves what was told since the last time to the log, where it gets its ids. What was committed before the call is there after it,
// whichever controller moved it. With agents it tells first which agents came or went.
func (c *Catalog) SealEvents(ctx context.Context, agents bool) (moved int64, err error) {
	err = c.system(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, "SELECT pg_advisory_xact_lock(?)", lockEvents); err != nil {
			return err
		}
		if agents {
			_, err := t.exec(ctx, `WITH changed AS (
					INSERT INTO agent_states AS a (server_id, online) SELECT s.id, `+c.online()+` FROM servers s LEFT JOIN agent_states o ON o.server_id = s.id WHERE o.online IS DISTINCT FROM `+c.online()+`
					ON CONFLICT (server_id) DO UPDATE SET online = excluded.online, since = now() RETURNING server_id, online)
				INSERT INTO event_queue (kind, server_id, body) SELECT ?, s.id, jsonb_build_object('id', s.id, 'name', s.name, 'online', c.online) FROM changed c JOIN servers s ON s.id = c.server_id ORDER BY s.id`,
				controller.EventAgent)
			if err != nil {
				return err
			}
		}
		moved, err = t.exec(ctx, `WITH gone AS (DELETE FROM event_queue WHERE id IN (SELECT id FROM event_queue ORDER BY id LIMIT ?) RETURNING *)
			INSERT INTO events (kind, project_id, server_id, projects, shared, body, at)
			SELECT g.kind, g.project, g.server_id, CASE WHEN g.kind = 'agent' THEN coalesce((SELECT array_agg(s.project_id) FROM project_servers s WHERE s.server_id = g.server_id), '{}') ELSE '{}' END,
				g.kind = 'storage' AND g.project IS NULL, g.body, g.at FROM gone g ORDER BY g.id`, eventsAtOnce)
		if err != nil || moved == 0 {
			return err
		}
		_, err = t.exec(ctx, "SELECT pg_notify('devflow_events', '')")
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("seal events: %w", err)
	}
	return moved, nil
}

// TrimEvents removes what is no longer kept; the newest one stays.
func (c *Catalog) TrimEvents(ctx context.Context) error {
	err := c.system(ctx, func(t *tx) error {
		_, err := t.exec(ctx, "DELETE FROM events WHERE id < (SELECT max(id) FROM events) AND (id <= (SELECT max(id) FROM events) - ? OR at < now() - "+string(interval(eventsAge))+")", eventsKept)
		return err
	})
	if err != nil {
		return fmt.Errorf("trim events: %w", err)
	}
	return nil
}

const eventColumns = "id, kind, project_id, server_id, to_jsonb(projects) AS projects, shared, body AS row, at"

// EventsAfter returns sealed events after an id, in order, for the controller itself.
func (c *Catalog) EventsAfter(ctx context.Context, after int64, limit int) ([]controller.Event, error) {
	var out []controller.Event
	err := c.system(ctx, func(t *tx) error {
		out = nil
		return t.scan(ctx, &out, "SELECT "+eventColumns+" FROM events WHERE id > ? ORDER BY id LIMIT ?", after, limit)
	})
	return out, err
}

// Events returns what the caller may know of sealed events after an id up to another, in order, up to a page.
func (c *Catalog) Events(ctx context.Context, actor controller.Actor, after, upTo int64, limit int) ([]controller.Event, error) {
	var out []controller.Event
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		out = nil
		return t.scan(ctx, &out, "SELECT "+eventColumns+" FROM events WHERE id > ? AND id <= ? ORDER BY id LIMIT ?", after, upTo, limit)
	})
	return out, err
}

// EventLog tells where the log begins and ends.
func (c *Catalog) EventLog(ctx context.Context) (controller.EventLog, error) {
	var l controller.EventLog
	err := c.system(ctx, func(t *tx) error {
		return t.scan(ctx, &l, "SELECT coalesce(min(id), 1) AS first, coalesce(max(id), 0) AS last FROM events")
	})
	return l, err
}

// RunningJobs returns jobs that agents are at work on.
func (c *Catalog) RunningJobs(ctx context.Context, limit int) ([]controller.RunningJob, error) {
	var out []controller.RunningJob
	err := c.system(ctx, func(t *tx) error {
		out = nil
		return t.scan(ctx, &out, "SELECT id, kind, project_id, server_id, backup_id, restore_id FROM jobs WHERE status = 'running' ORDER BY id LIMIT ?", limit)
	})
	return out, err
}

// ListenEvents calls wake when something was told or sealed, and once when it has begun to listen. It returns when the context ends or the
// connection breaks: then something may have been missed.
func (c *Catalog) ListenEvents(ctx context.Context, wake func()) error {
	return c.listen(ctx, "LISTEN devflow_queue; LISTEN devflow_events", wake)
}

func (c *Catalog) listen(ctx context.Context, to string, wake func()) error {
	conn, err := pgx.ConnectConfig(ctx, c.config.Copy())
	if err != nil {
		return c.connectError(ctx, err)
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(closing)
	}()
	if _, err := conn.Exec(ctx, to); err != nil {
		return c.connectError(ctx, err)
	}
	wake()
	for {
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return fmt.Errorf("wait for events: %w", err)
		}
		wake()
	}
}
