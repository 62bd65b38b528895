package catalog

import (
	"context"
	"time"

	"devflowbackup/controller"
)

// States of a dead-man ping: what is said of a run of a schedule.
const (
	pingStart   = "start"
	pingSuccess = "success"
	pingFail    = "fail"
)

// Bounds of a ping: it is about now, and of no use much later.
const (
	pingTries = 5
	pingAge   = time.Hour
	pingLease = time.Minute
	pingFirst = 10 * time.Second
)

type ping struct {
	schedule, project int64
	state, text       string
}

// writePings queues pings, each once.
func (d *digest) writePings(ctx context.Context) error {
	queued := map[ping]bool{}
	var rows [][]any
	for _, p := range d.pings {
		if !queued[p] {
			queued[p] = true
			rows = append(rows, []any{p.schedule, p.project, p.state, cut(p.text, 300), d.now, d.now})
		}
	}
	return d.t.insert(ctx, "pings", "schedule_id, project_id, state, text, next_at, created_at", "", rows)
}

// ClaimPing takes a dead-man ping that is due, for a minute: the newest of its schedule, those before it are dropped. Of a schedule one is sent at
// a time. Nil: none is due.
func (c *Catalog) ClaimPing(ctx context.Context, now time.Time) (*controller.Ping, error) {
	var p *controller.Ping
	err := c.system(ctx, func(t *tx) error {
		p = nil
		if _, err := t.exec(ctx, "SELECT pg_advisory_xact_lock(?)", lockMessages); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "DELETE FROM pings p WHERE claim_until <= ? AND EXISTS (SELECT FROM pings n WHERE n.schedule_id = p.schedule_id AND n.id > p.id)", now); err != nil {
			return err
		}
		var row controller.Ping
		found, err := t.find(ctx, &row, `UPDATE pings SET claim_until = ? WHERE id = (SELECT id FROM pings p WHERE next_at <= ? AND claim_until <= ?
				AND NOT EXISTS (SELECT FROM pings o WHERE o.schedule_id = p.schedule_id AND o.claim_until > ?) ORDER BY next_at, id LIMIT 1)
			RETURNING id, schedule_id, state, attempts, claim_until AS until`, now.Add(pingLease), now, now, now)
		if found {
			p = &row
		}
		return err
	})
	return p, err
}

// PingSent ends a ping that was taken.
func (c *Catalog) PingSent(ctx context.Context, p controller.Ping) error {
	return c.system(ctx, func(t *tx) error {
		n, err := t.exec(ctx, "DELETE FROM pings WHERE id = ? AND claim_until = ?", p.ID, p.Until)
		if err != nil || n == 0 {
			return err
		}
		return t.counted(ctx, "ping", "sent", 1)
	})
}

// PingFailed has a ping sent again later; after some tries, or where no other can succeed, it is dropped, which it tells.
func (c *Catalog) PingFailed(ctx context.Context, now time.Time, p controller.Ping, cause string, retry bool) (dropped bool, err error) {
	err = c.system(ctx, func(t *tx) error {
		dropped = false
		n, err := t.exec(ctx, "UPDATE pings SET attempts = attempts + 1, next_at = ?, claim_until = '-infinity', error = ? WHERE id = ? AND claim_until = ? AND ? AND attempts + 1 < ? AND created_at > ?",
			now.Add(pingFirst<<p.Attempts), cut(cause, 500), p.ID, p.Until, retry, pingTries, now.Add(-pingAge))
		if err != nil || n > 0 {
			return err
		}
		n, err = t.exec(ctx, "DELETE FROM pings WHERE id = ? AND claim_until = ?", p.ID, p.Until)
		if err != nil || n == 0 {
			return err
		}
		dropped = true
		return t.counted(ctx, "ping", "failed", 1)
	})
	return dropped, err
}
