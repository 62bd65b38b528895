package catalog

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"math/big"
	"time"

	"devflowbackup/controller"
)

const (
	messageLease     = time.Minute // a message is one controller's to send for so long
	deliveriesAtOnce = 50_000      // of one message; what is more waits for the next
)

// sendable is a channel with what waits for it.
type sendable struct {
	ID        int64
	Live      bool
	NextAt    *time.Time // null: at once
	Oldest    *time.Time // waiting delivery
	Urgent    *time.Time // oldest urgent one that waits
	OpenID    *int64     // its message under way
	OpenSince *time.Time
	OpenTries int
	LastPlace *time.Time // when the last message was made in its place
}

// PlanMessages makes messages of the deliveries that wait, one for each channel that is due, and returns how many it made. A channel has one message
// under way: while it takes none, what else there is for it waits, and goes to another channel in its place once the first one was tried long enough. What waits for
// channels that are gone is dropped. url is the console's.
func (c *Catalog) PlanMessages(ctx context.Context, now time.Time, g controller.Grouping, url string) (n int, err error) {
	err = c.system(ctx, func(t *tx) error {
		n = 0
		if _, err := t.exec(ctx, "SELECT pg_advisory_xact_lock(?)", lockMessages); err != nil {
			return err
		}
		var rows []sendable
		err := t.scan(ctx, &rows, `SELECT c.id, c.is_active AND c.deleted_at IS NULL AS live, nullif(c.next_at, '-infinity') AS next_at, o.id AS open_id, o.created_at AS open_since, coalesce(o.attempts, 0) AS open_tries,
				(SELECT created_at FROM deliveries e WHERE e.channel_id = c.id AND e.message_id IS NULL ORDER BY id LIMIT 1) AS oldest,
				(SELECT created_at FROM deliveries e WHERE e.channel_id = c.id AND e.message_id IS NULL AND e.urgent ORDER BY id LIMIT 1) AS urgent,
				(SELECT max(f.created_at) FROM messages f WHERE f.fallback_of = o.id) AS last_place
			FROM channels c LEFT JOIN LATERAL (SELECT id, created_at, attempts FROM messages m WHERE m.channel_id = c.id AND m.status = 'open' ORDER BY id LIMIT 1) o ON true
			WHERE o.id IS NOT NULL OR EXISTS (SELECT FROM deliveries e WHERE e.channel_id = c.id AND e.message_id IS NULL) ORDER BY c.id`)
		if err != nil || len(rows) == 0 {
			return err
		}
		r, err := t.routes(ctx, now)
		if err != nil {
			return err
		}
		busy := map[int64]bool{} // channels with a message under way
		for _, s := range rows {
			busy[s.ID] = s.OpenID != nil
		}
		for _, s := range rows {
			made := false
			switch {
			case !s.Live:
				if err := t.dropMessages(ctx, s.ID, now); err != nil {
					return err
				}
			case s.OpenID == nil && due(now, s.Oldest, s.Urgent, s.NextAt, g):
				if made, err = t.planOne(ctx, s, now, g, url, nil, nil); err != nil {
					return err
				}
				busy[s.ID] = made
			case s.OpenID != nil && (s.OpenTries >= g.FallbackTries || s.OpenTries > 0 && !now.Before(s.OpenSince.Add(g.FallbackAfter))):
				failing := r.channel(s.ID)
				if failing == nil {
					continue
				}
				place := controller.PlaceOf(*failing, r.channels)
				if place == nil || busy[place.ID] {
					continue
				}
				next := time.Time{}
				if s.LastPlace != nil {
					next = s.LastPlace.Add(g.Interval)
				}
				first := s.LastPlace == nil
				if !first && !due(now, s.Oldest, s.Urgent, &next, g) {
					continue
				}
				if made, err = t.planOne(ctx, s, now, g, url, failing, place); err != nil {
					return err
				}
				busy[place.ID] = busy[place.ID] || made
			}
			if made {
				n++
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("plan messages: %w", err)
	}
	return n, nil
}

// due tells whether what waits since then may go out, where the interval between messages ends at next.
func due(now time.Time, oldest, urgent, next *time.Time, g controller.Grouping) bool {
	if urgent != nil && !now.Before(urgent.Add(g.UrgentWait)) && (next == nil || !now.Before(next.Add(g.UrgentInterval-g.Interval))) {
		return true
	}
	return oldest != nil && !now.Before(oldest.Add(g.Wait)) && (next == nil || !now.Before(*next))
}

// dropMessages ends what waits for a channel that is gone.
func (t *tx) dropMessages(ctx context.Context, channel int64, now time.Time) error {
	if _, err := t.exec(ctx, "UPDATE messages SET status = 'dropped', ended_at = ? WHERE channel_id = ? AND status = 'open'", now, channel); err != nil {
		return err
	}
	var id int64
	err := t.scan(ctx, &id, "INSERT INTO messages (uid, channel_id, status, severity, notices, body, created_at, ended_at) VALUES (?, ?, 'dropped', 'info', 0, '{}', ?, ?) RETURNING id", messageUID(), channel, now, now)
	if err != nil {
		return err
	}
	n, err := t.exec(ctx, "UPDATE deliveries SET message_id = ? WHERE id IN (SELECT id FROM deliveries WHERE channel_id = ? AND message_id IS NULL ORDER BY id LIMIT ?)", id, channel, deliveriesAtOnce)
	if err == nil && n == 0 {
		_, err = t.exec(ctx, "DELETE FROM messages WHERE id = ?", id)
	} else if err == nil {
		_, err = t.exec(ctx, "UPDATE messages SET notices = ? WHERE id = ?", n, id)
	}
	return err
}

func messageUID() string { return "dfm-" + rand.Text() }

// planOne makes a message of what waits for a channel; with a place, one for that channel of what the failing one was not told for yet.
func (t *tx) planOne(ctx context.Context, s sendable, now time.Time, g controller.Grouping, url string, failing, place *controller.Channel) (bool, error) {
	body := controller.Message{UID: messageUID(), At: now.UTC(), URL: url, Notices: []controller.MessageEntry{}}
	to, column, of := s.ID, "message_id", (*int64)(nil)
	if place != nil {
		to, column, of = place.ID, "fallback_message_id", s.OpenID
		var cause string
		if err := t.scan(ctx, &cause, "SELECT error FROM messages WHERE id = ?", *s.OpenID); err != nil {
			return false, err
		}
		body.Failed = cut(fmt.Sprintf("channel %q does not take messages: %s", failing.Name, orText(cause, "no reason is known")), 500)
	}
	var id int64
	err := t.scan(ctx, &id, "INSERT INTO messages (uid, channel_id, fallback_of, severity, notices, body, next_at, created_at) VALUES (?, ?, ?, 'info', 0, '{}', ?, ?) RETURNING id", body.UID, to, of, now, now)
	if err != nil {
		return false, err
	}
	var n int64
	if place == nil {
		n, err = t.exec(ctx, "UPDATE deliveries SET message_id = ? WHERE id IN (SELECT id FROM deliveries WHERE channel_id = ? AND message_id IS NULL ORDER BY id LIMIT ?)", id, s.ID, deliveriesAtOnce)
	} else {
		n, err = t.exec(ctx, `UPDATE deliveries SET fallback_message_id = ? WHERE id IN (SELECT id FROM deliveries
			WHERE channel_id = ? AND fallback_message_id IS NULL AND (message_id IS NULL OR message_id = ?) ORDER BY id LIMIT ?)`, id, s.ID, *s.OpenID, deliveriesAtOnce)
	}
	if err != nil {
		return false, err
	}
	if n == 0 {
		_, err := t.exec(ctx, "DELETE FROM messages WHERE id = ?", id)
		return false, err
	}
	if err := t.fill(ctx, &body, column, id); err != nil {
		return false, err
	}
	_, err = t.exec(ctx, "UPDATE messages SET severity = ?, notices = ?, body = ?::jsonb WHERE id = ?", body.Severity, n, jsonText(body), id)
	if err == nil && place == nil {
		_, err = t.exec(ctx, "UPDATE channels SET next_at = ? WHERE id = ?", now.Add(g.Interval), s.ID)
	}
	return true, err
}

// fill lists the notices of a message, what is urgent and new first, and counts them all.
func (t *tx) fill(ctx context.Context, m *controller.Message, column string, id int64) error {
	err := t.scan(ctx, &m.Counts, "SELECT n.kind, n.event, count(*) AS count FROM deliveries e JOIN notices n ON n.id = e.notice_id WHERE e."+column+" = ? GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2", id)
	if err != nil {
		return err
	}
	err = t.scan(ctx, &m.Notices, `SELECT n.id, n.kind, n.event, n.severity, n.title, n.detail, coalesce(p.slug, '') AS project, coalesce(s.name, '') AS server, coalesce(d.name, '') AS database, n.backup_id, n.at
		FROM (SELECT n.* FROM deliveries e JOIN notices n ON n.id = e.notice_id WHERE e.`+column+` = ?
			ORDER BY n.event = 'closed', array_position(ARRAY['critical', 'warning', 'info'], n.severity), n.id DESC LIMIT ?) n
		LEFT JOIN projects p ON p.id = n.project_id LEFT JOIN servers s ON s.id = n.server_id LEFT JOIN databases d ON d.id = n.database_id
		ORDER BY n.event = 'closed', array_position(ARRAY['critical', 'warning', 'info'], n.severity), n.id DESC`, id, controller.MessageLimit)
	for i := range m.Notices {
		m.Notices[i].At = m.Notices[i].At.UTC()
	}
	m.Compose()
	return err
}

// ClaimMessage takes a message that is due, for a minute. Of a channel one is sent at a time. Nil: none is due.
func (c *Catalog) ClaimMessage(ctx context.Context, now time.Time) (*controller.Outgoing, error) {
	var out *controller.Outgoing
	err := c.system(ctx, func(t *tx) error {
		out = nil
		if _, err := t.exec(ctx, "SELECT pg_advisory_xact_lock(?)", lockMessages); err != nil {
			return err
		}
		var row struct {
			controller.Outgoing
			Raw json.RawMessage
		}
		found, err := t.find(ctx, &row, `UPDATE messages m SET claim_owner = ?, claim_until = ? FROM channels c WHERE c.id = m.channel_id AND m.id = (
				SELECT q.id FROM messages q JOIN channels k ON k.id = q.channel_id WHERE q.status = 'open' AND q.next_at <= ? AND q.claim_until <= ?
				AND k.is_active AND k.deleted_at IS NULL AND NOT EXISTS (SELECT FROM messages o WHERE o.channel_id = q.channel_id AND o.status = 'open' AND o.claim_until > ?)
				ORDER BY q.next_at, q.id LIMIT 1)
			RETURNING m.id, m.channel_id, c.name AS channel, c.kind AS channel_kind, m.fallback_of, m.attempts, m.created_at, m.claim_owner AS owner, m.claim_until AS until, m.body AS raw`,
			c.opts.ControllerID+"/"+rand.Text(), now.Add(messageLease), now, now, now)
		if err != nil || !found {
			return err
		}
		if err := json.Unmarshal(row.Raw, &row.Body); err != nil {
			return fmt.Errorf("decode message %d: %w", row.ID, err)
		}
		out = &row.Outgoing
		return nil
	})
	return out, err
}

// MessageSent ends a message that was taken; its channel works.
func (c *Catalog) MessageSent(ctx context.Context, now time.Time, m controller.Outgoing) error {
	return c.system(ctx, func(t *tx) error {
		n, err := t.exec(ctx, "UPDATE messages SET status = 'sent', attempts = attempts + 1, error = '', ended_at = ?, claim_until = '-infinity' WHERE id = ? AND status = 'open' AND claim_owner = ? AND claim_until = ?",
			now, m.ID, m.Owner, m.Until)
		if err != nil || n == 0 {
			return err
		}
		if err := t.channelWorks(ctx, m.ChannelID, now); err != nil {
			return err
		}
		return t.counted(ctx, "message", m.ChannelKind+":sent", 1)
	})
}

func (t *tx) channelWorks(ctx context.Context, id int64, now time.Time) error {
	_, err := t.exec(ctx, "UPDATE channels SET failures = 0, failing_since = NULL, last_error = '', last_sent_at = ? WHERE id = ?", now, id)
	return err
}

// MessageFailed notes that a message was not taken. It is tried again later, with growing pauses and not before after, until it is too old; where another try cannot succeed unless
// the channel is changed, with the longest pause.
func (c *Catalog) MessageFailed(ctx context.Context, now time.Time, m controller.Outgoing, cause string, retry bool, after time.Duration, g controller.Grouping) (outcome string, err error) {
	err = c.system(ctx, func(t *tx) error {
		outcome = controller.OutgoingLost
		status, attempts := "open", m.Attempts+1
		if !now.Before(m.CreatedAt.Add(g.GiveUp)) {
			status = "failed"
		}
		pauses := attempts
		if !retry {
			attempts, pauses = max(attempts, g.FallbackTries), 20
		}
		wait := max(after, controller.RetryPause(pauses, random()))
		n, err := t.exec(ctx, `UPDATE messages SET status = ?, attempts = ?, error = ?, next_at = ?, claim_until = '-infinity', ended_at = CASE WHEN ? = 'failed' THEN ?::timestamptz END
			WHERE id = ? AND status = 'open' AND claim_owner = ? AND claim_until = ?`, status, attempts, cut(cause, 500), now.Add(wait), status, now, m.ID, m.Owner, m.Until)
		if err != nil || n == 0 {
			return err
		}
		outcome = controller.OutgoingRetried
		if status == "failed" {
			outcome = controller.OutgoingFailed
		}
		if err := t.channelFails(ctx, m.ChannelID, now, cause); err != nil {
			return err
		}
		return t.counted(ctx, "message", m.ChannelKind+":"+outcome, 1)
	})
	return outcome, err
}

func (t *tx) channelFails(ctx context.Context, id int64, now time.Time, cause string) error {
	_, err := t.exec(ctx, "UPDATE channels SET failures = failures + 1, failing_since = coalesce(failing_since, ?), last_error = ? WHERE id = ?", now, cut(cause, 500), id)
	return err
}

// ChannelTried notes what a test of a channel came to. One that works is sent at once what waits for it.
func (c *Catalog) ChannelTried(ctx context.Context, now time.Time, id int64, cause string) error {
	return c.system(ctx, func(t *tx) error {
		if cause != "" {
			return t.channelFails(ctx, id, now, cause)
		}
		if err := t.channelWorks(ctx, id, now); err != nil {
			return err
		}
		_, err := t.exec(ctx, "UPDATE messages SET next_at = least(next_at, ?) WHERE channel_id = ? AND status = 'open'", now, id)
		return err
	})
}

// random is from 0 to below 1.
func random() float64 {
	n, err := rand.Int(rand.Reader, big.NewInt(1<<30))
	if err != nil {
		return 0
	}
	return float64(n.Int64()) / (1 << 30)
}

// ReleaseMessage gives up a message that was taken and not sent: another controller may take it at once.
func (c *Catalog) ReleaseMessage(ctx context.Context, m controller.Outgoing) error {
	return c.system(ctx, func(t *tx) error {
		_, err := t.exec(ctx, "UPDATE messages SET claim_until = '-infinity' WHERE id = ? AND status = 'open' AND claim_owner = ? AND claim_until = ?", m.ID, m.Owner, m.Until)
		return err
	})
}
