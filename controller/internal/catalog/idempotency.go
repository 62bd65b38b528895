package catalog

import (
	"bytes"
	"context"

	"devflowbackup/controller"
)

// BeginIdempotent claims a key for a request. A nil answer means: do it, then call EndIdempotent or AbandonIdempotent. Otherwise
// the request was done before and had this answer. Another request under the same key, or the same one still at work, is an
// EConflict; one that was at work for 10 minutes died and is taken over.
func (c *Catalog) BeginIdempotent(ctx context.Context, actor controller.Actor, key string, requestHash []byte) (*controller.StoredResponse, error) {
	if key == "" || len(key) > 200 {
		return nil, controller.Invalid("Idempotency-Key", "has %d bytes; use 1 to 200", len(key))
	}
	var replay *controller.StoredResponse
	err := c.system(ctx, func(t *tx) error {
		replay = nil
		n, err := t.exec(ctx, "INSERT INTO idempotency_keys (owner, token_id, key, request_hash) VALUES (?, nullif(?, 0), ?, ?) ON CONFLICT DO NOTHING", actor.Owner(), actor.TokenID, key, requestHash)
		if err != nil || n == 1 {
			return err
		}
		var row struct {
			RequestHash []byte
			Status      *int
			Body        []byte
			Dead        bool
		}
		found, err := t.find(ctx, &row, `SELECT request_hash, status, body, created_at < now() - interval '10 minutes' AS dead FROM idempotency_keys
			WHERE owner = ? AND key = ? FOR UPDATE`, actor.Owner(), key)
		switch {
		case err != nil:
			return err
		case !found:
			return controller.Errorf(controller.EConflict, "the first request with this Idempotency-Key just ended without an answer").WithHint("send it again")
		case !bytes.Equal(row.RequestHash, requestHash):
			return controller.Errorf(controller.EConflict, "the Idempotency-Key %q was used with another request", key).WithHint("use a new key for a new request")
		case row.Status != nil:
			replay = &controller.StoredResponse{Status: *row.Status, Body: row.Body}
			return nil
		case !row.Dead:
			return controller.Errorf(controller.EConflict, "the first request with this Idempotency-Key is still at work").WithHint("ask again in a moment")
		}
		_, err = t.exec(ctx, "UPDATE idempotency_keys SET created_at = now() WHERE owner = ? AND key = ?", actor.Owner(), key)
		return err
	})
	return replay, err
}

// EndIdempotent stores the answer that repetitions get, for a day.
func (c *Catalog) EndIdempotent(ctx context.Context, actor controller.Actor, key string, answer controller.StoredResponse) error {
	return c.system(ctx, func(t *tx) error {
		_, err := t.exec(ctx, "UPDATE idempotency_keys SET status = ?, body = ? WHERE owner = ? AND key = ? AND status IS NULL",
			answer.Status, answer.Body, actor.Owner(), key)
		return err
	})
}

// AbandonIdempotent frees a key whose request did nothing.
func (c *Catalog) AbandonIdempotent(ctx context.Context, actor controller.Actor, key string) error {
	return c.system(ctx, func(t *tx) error {
		_, err := t.exec(ctx, "DELETE FROM idempotency_keys WHERE owner = ? AND key = ? AND status IS NULL", actor.Owner(), key)
		return err
	})
}
