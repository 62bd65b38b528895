package catalog

import (
	"context"
	"encoding/json"
	"fmt"

	"devflowbackup/controller"
	"devflowbackup/shared/secret"
)

const channelColumns = `ch.id, ch.project_id, coalesce(p.slug, '') AS project, ch.name, ch.kind, ch.hint, ch.is_default, ch.is_active, to_jsonb(ch.kinds) AS kinds,
	ch.min_severity, ch.remind_hours, ch.fallback_id, coalesce(fb.name, '') AS fallback, ch.failures, ch.failing_since, ch.last_error, ch.last_sent_at,
	ch.created_by, ch.created_at, ch.updated_at,
	(SELECT max(m.until) FROM mutes m WHERE ` + muteOpen + ` AND m.kind = '' AND (m.scope = 'everything' OR m.scope = 'channel' AND m.channel_id = ch.id)) AS muted_until`

const channelTables = "channels ch LEFT JOIN projects p ON p.id = ch.project_id LEFT JOIN channels fb ON fb.id = ch.fallback_id"

func targetPurpose(channel int64) string { return fmt.Sprintf("channel/%d/target", channel) }

// sealedTarget is the plaintext of target_sealed: a ChannelTarget whose secrets are not masked.
type sealedTarget struct {
	URL      string   `json:"url,omitempty"`
	Secret   string   `json:"secret,omitempty"`
	Host     string   `json:"host,omitempty"`
	Port     int      `json:"port,omitempty"`
	TLS      string   `json:"tls,omitempty"`
	Username string   `json:"username,omitempty"`
	Password string   `json:"password,omitempty"`
	From     string   `json:"from,omitempty"`
	To       []string `json:"to,omitempty"`
}

func (c *Catalog) sealTarget(channel int64, t controller.ChannelTarget) ([]byte, error) {
	plain, err := json.Marshal(sealedTarget{ //nolint:gosec // sealed before it is stored
		URL: t.URL.Reveal(), Secret: t.Secret.Reveal(), Host: t.Host, Port: t.Port, TLS: t.TLS, Username: t.Username, Password: t.Password.Reveal(), From: t.From, To: t.To,
	})
	if err != nil {
		return nil, fmt.Errorf("encode target of channel %d", channel) // the encoder's error may quote it
	}
	return c.seal(targetPurpose(channel), plain)
}

// ChannelTarget returns what a channel sends to, for the controller itself. One that is deleted is ENotFound.
func (c *Catalog) ChannelTarget(ctx context.Context, id int64) (string, controller.ChannelTarget, error) {
	var target controller.ChannelTarget
	var row struct {
		Kind   string
		Sealed []byte
	}
	err := c.system(ctx, func(t *tx) error {
		found, err := t.find(ctx, &row, "SELECT kind, target_sealed AS sealed FROM channels WHERE id = ? AND deleted_at IS NULL", id)
		if err == nil && !found {
			err = controller.Errorf(controller.ENotFound, "channel %d does not exist", id)
		}
		return err
	})
	if err != nil {
		return "", target, err
	}
	plain, err := c.unseal(targetPurpose(id), row.Sealed)
	if err != nil {
		return "", target, err
	}
	var s sealedTarget
	if err := json.Unmarshal(plain, &s); err != nil {
		return "", target, fmt.Errorf("decode target of channel %d", id) // the decoder's error may quote it
	}
	return row.Kind, controller.ChannelTarget{
		URL: secret.String(s.URL), Secret: secret.String(s.Secret), Host: s.Host, Port: s.Port, TLS: s.TLS, Username: s.Username, Password: secret.String(s.Password),
		From: s.From, To: s.To,
	}, nil
}

// channel finds a channel that the scope may see, by name or id.
func (t *tx) channel(ctx context.Context, ref string) (controller.Channel, error) {
	var found []controller.Channel
	err := t.scan(ctx, &found, "SELECT "+channelColumns+" FROM "+channelTables+" WHERE ch.deleted_at IS NULL AND (ch.name = ? OR ch.id::text = ?) AND ? ORDER BY ch.id LIMIT 10", ref, ref, t.sees("ch.project_id"))
	switch {
	case err != nil:
		return controller.Channel{}, err
	case len(found) == 0:
		return controller.Channel{}, controller.Errorf(controller.ENotFound, "channel %q does not exist", ref).WithHint("`devflowctl channel list` shows the channels")
	case len(found) > 1:
		return controller.Channel{}, controller.Errorf(controller.EConflict, "channel %q is ambiguous: ids %d and %d", ref, found[0].ID, found[1].ID).WithHint("give the id")
	}
	return found[0], t.waiting(ctx, found)
}

// waiting counts what channels have not taken yet.
func (t *tx) waiting(ctx context.Context, channels []controller.Channel) error {
	if len(channels) == 0 {
		return nil
	}
	ids := make([]int64, len(channels))
	for i, ch := range channels {
		ids[i] = ch.ID
	}
	return t.elevated(ctx, func() error { // messages are the controller's own; the channels were seen
		var rows []struct{ ID, Waiting int64 }
		err := t.scan(ctx, &rows, `SELECT id, sum(n)::bigint AS waiting FROM (
				SELECT channel_id AS id, count(*) AS n FROM deliveries WHERE message_id IS NULL AND channel_id = ANY (?0) GROUP BY 1
				UNION ALL SELECT channel_id, sum(notices) FROM messages WHERE status = 'open' AND channel_id = ANY (?0) GROUP BY 1) q GROUP BY 1`, idArray(ids))
		for _, r := range rows {
			for i := range channels {
				if channels[i].ID == r.ID {
					channels[i].Waiting = r.Waiting
				}
			}
		}
		return err
	})
}

// changeableChannel is channel for one that the caller may change: those of the installation are for who sees all of it. Its row is locked.
func (t *tx) changeableChannel(ctx context.Context, ref string) (controller.Channel, error) {
	ch, err := t.channel(ctx, ref)
	if err != nil {
		return ch, err
	}
	if _, err := t.exec(ctx, "SELECT 1 FROM channels WHERE id = ? FOR UPDATE", ch.ID); err != nil {
		return ch, err
	}
	if ch, err = t.channel(ctx, itoa(ch.ID)); err != nil {
		return ch, err
	}
	return ch, controller.Match(ctx, ch.Version())
}

// fallback is the channel that takes the place of a project's channel when that fails, or of one of the installation. It is kept from being
// deleted until the end of the transaction.
func (t *tx) fallback(ctx context.Context, of int64, project *int64, ref string) (*int64, error) {
	if ref == "" {
		return nil, nil
	}
	ch, err := t.channel(ctx, ref)
	if controller.ErrorCode(err) == controller.ENotFound {
		return nil, controller.Invalid("fallback", "channel %q does not exist", ref).WithHint("`devflowctl channel list` shows the channels")
	}
	if err != nil {
		return nil, err
	}
	if ch.ID == of {
		return nil, controller.Invalid("fallback", "a channel cannot take its own place")
	}
	if ch.ProjectID != nil && (project == nil || *ch.ProjectID != *project) {
		return nil, controller.Invalid("fallback", "channel %q is of project %q: it would be told what is not of that project", ch.Name, ch.Project).
			WithHint("use a channel of the same project or of the installation")
	}
	n, err := t.exec(ctx, "SELECT 1 FROM channels WHERE id = ? AND deleted_at IS NULL FOR SHARE", ch.ID)
	if err == nil && n == 0 {
		err = controller.Invalid("fallback", "channel %q does not exist", ref)
	}
	return &ch.ID, err
}

// CreateChannel adds a channel. Its target was checked; it is sealed before it is stored, and hint is what of it may be shown.
func (c *Catalog) CreateChannel(ctx context.Context, actor controller.Actor, spec controller.ChannelSpec, hint string) (controller.Channel, error) {
	var ch controller.Channel
	if err := spec.Validate(); err != nil {
		return ch, err
	}
	if spec.Project == "" {
		if err := wholeInstallation(actor, "channels of no project"); err != nil {
			return ch, err
		}
	}
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		var project *int64
		if spec.Project != "" {
			p, err := t.project(ctx, spec.Project)
			if err != nil {
				return err
			}
			project = &p.ID
		}
		var id int64
		if err := t.scan(ctx, &id, "SELECT nextval(pg_get_serial_sequence('channels', 'id'))"); err != nil {
			return err
		}
		fallback, err := t.fallback(ctx, id, project, spec.Fallback)
		if err != nil {
			return err
		}
		sealed, err := c.sealTarget(id, spec.Target)
		if err != nil {
			return err
		}
		_, err = t.exec(ctx, `INSERT INTO channels (id, project_id, name, kind, target_sealed, hint, is_default, kinds, min_severity, remind_hours, fallback_id, created_by)
			OVERRIDING SYSTEM VALUE VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			id, project, spec.Name, spec.Kind, sealed, cut(hint, 300), spec.IsDefault, textArray(spec.Kinds), spec.MinSeverity, *spec.RemindHours, fallback, cut(actor.Name, 200))
		if err != nil {
			return taken(err, "channel", spec.Name)
		}
		if ch, err = t.channel(ctx, itoa(id)); err != nil {
			return err
		}
		return t.audit(ctx, actor, "channel.create", project, spec.Name, reachOf(ch))
	})
	return ch, err
}

// reachOf is what the audit log tells of a channel: never its target.
func reachOf(ch controller.Channel) map[string]any {
	return map[string]any{
		"kind": ch.Kind, "hint": ch.Hint, "default": ch.IsDefault, "active": ch.IsActive, "kinds": ch.Kinds, "min_severity": ch.MinSeverity,
		"remind_hours": ch.RemindHours, "fallback_id": ch.FallbackID,
	}
}

// Channels lists the channels that the caller sees, by name: those of its projects and, for who sees all, those of the installation.
func (c *Catalog) Channels(ctx context.Context, actor controller.Actor, f controller.ChannelFilter) ([]controller.Channel, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	var out []controller.Channel
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		out = []controller.Channel{}
		where, err := t.channelConditions(ctx, f)
		if err != nil {
			return err
		}
		if err := t.part(ctx, &out, channelColumns, channelTables, where, "ch.name, ch.id", f.Part); err != nil {
			return err
		}
		return t.waiting(ctx, out)
	})
	return out, err
}

// CountChannels counts what Channels lists, whatever the page.
func (c *Catalog) CountChannels(ctx context.Context, actor controller.Actor, f controller.ChannelFilter) (controller.Total, error) {
	var n controller.Total
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		where, err := t.channelConditions(ctx, f)
		if err != nil {
			return err
		}
		n, err = t.count(ctx, "channels ch", where)
		return err
	})
	return n, err
}

func (t *tx) channelConditions(ctx context.Context, f controller.ChannelFilter) (conditions, error) {
	var c conditions
	c.add("ch.deleted_at IS NULL AND ?", t.sees("ch.project_id"))
	c.equal("ch.kind", f.Kind)
	if f.Project != "" {
		p, err := t.project(ctx, f.Project)
		if err != nil {
			return c, err
		}
		c.add("(ch.project_id IS NULL OR ch.project_id = ?)", p.ID)
	}
	return c, nil
}

// Channel returns one channel by name or id.
func (c *Catalog) Channel(ctx context.Context, actor controller.Actor, ref string) (controller.Channel, error) {
	var ch controller.Channel
	err := c.scoped(ctx, actor.Scope, func(t *tx) (err error) {
		ch, err = t.channel(ctx, ref)
		return err
	})
	return ch, err
}

// UpdateChannel changes a channel. A target is replaced as a whole, with its secrets: none that is stored is ever sent to another place.
// With another target what failed before is forgotten.
func (c *Catalog) UpdateChannel(ctx context.Context, actor controller.Actor, ref string, change controller.ChannelChange, hint string) (controller.Channel, error) {
	var ch controller.Channel
	if err := change.Validate(); err != nil {
		return ch, err
	}
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		old, err := t.changeableChannel(ctx, ref)
		if err != nil {
			return err
		}
		now := old
		apply(&now.Name, change.Name)
		apply(&now.IsDefault, change.IsDefault)
		apply(&now.IsActive, change.IsActive)
		apply(&now.Kinds, change.Kinds)
		apply(&now.MinSeverity, change.MinSeverity)
		apply(&now.RemindHours, change.RemindHours)
		if now.IsDefault && now.ProjectID != nil {
			return controller.Invalid("default", "is for channels of the installation; those of a project take what is of it anyway")
		}
		if change.Fallback != nil {
			if now.FallbackID, err = t.fallback(ctx, old.ID, old.ProjectID, *change.Fallback); err != nil {
				return err
			}
		}
		_, err = t.exec(ctx, `UPDATE channels SET name = ?, is_default = ?, is_active = ?, kinds = ?, min_severity = ?, remind_hours = ?, fallback_id = ?, updated_at = clock_timestamp() WHERE id = ?`,
			now.Name, now.IsDefault, now.IsActive, textArray(now.Kinds), now.MinSeverity, now.RemindHours, now.FallbackID, old.ID)
		if err != nil {
			return taken(err, "channel", now.Name)
		}
		if change.Target != nil {
			sealed, err := c.sealTarget(old.ID, *change.Target)
			if err != nil {
				return err
			}
			_, err = t.exec(ctx, "UPDATE channels SET target_sealed = ?, hint = ?, failures = 0, failing_since = NULL, last_error = '', next_at = '-infinity' WHERE id = ?", sealed, cut(hint, 300), old.ID)
			if err != nil {
				return err
			}
			// What waits for the next try is tried there at once.
			if err := t.elevated(ctx, func() error {
				_, err := t.exec(ctx, "UPDATE messages SET next_at = now() WHERE channel_id = ? AND status = 'open'", old.ID)
				return err
			}); err != nil {
				return err
			}
		}
		if ch, err = t.channel(ctx, itoa(old.ID)); err != nil {
			return err
		}
		detail := reachOf(ch)
		was := reachOf(old)
		for k, v := range was {
			if jsonText(v) == jsonText(detail[k]) {
				delete(detail, k)
			}
		}
		if change.Target != nil {
			detail["target"] = "replaced"
		}
		if ch.Name != old.Name {
			detail["was"] = old.Name
		}
		return t.audit(ctx, actor, "channel.update", ch.ProjectID, ch.Name, detail)
	})
	return ch, err
}

func apply[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
}

// DeleteChannel removes a channel and what opens its target. What it has not taken yet is dropped. It is refused while it is another's fallback.
func (c *Catalog) DeleteChannel(ctx context.Context, actor controller.Actor, ref string) error {
	return c.scoped(ctx, actor.Scope, func(t *tx) error {
		ch, err := t.changeableChannel(ctx, ref)
		if err != nil {
			return err
		}
		var names []string
		err = t.elevated(ctx, func() error { // those that it takes the place of are the caller's too: of its project, or of all
			return t.scan(ctx, &names, "SELECT name FROM channels WHERE fallback_id = ? AND deleted_at IS NULL ORDER BY name LIMIT 10", ch.ID)
		})
		if err != nil {
			return err
		}
		if len(names) > 0 {
			return controller.Errorf(controller.EConflict, "channel %q takes the place of %s when that fails", ch.Name, quoteAll(names)).
				WithHint("give it another fallback first: `devflowctl channel edit %s --fallback NAME`", names[0])
		}
		if _, err := t.exec(ctx, `UPDATE channels SET deleted_at = now(), updated_at = now(), target_sealed = '', is_default = false, fallback_id = NULL, last_error = '' WHERE id = ?`, ch.ID); err != nil {
			return err
		}
		return t.audit(ctx, actor, "channel.delete", ch.ProjectID, ch.Name, map[string]any{"kind": ch.Kind})
	})
}

// BeginChannelTest returns a channel that the caller may have tried, and records that it is.
func (c *Catalog) BeginChannelTest(ctx context.Context, actor controller.Actor, ref string) (controller.Channel, error) {
	var ch controller.Channel
	err := c.scoped(ctx, actor.Scope, func(t *tx) (err error) {
		if ch, err = t.channel(ctx, ref); err != nil {
			return err
		}
		return t.audit(ctx, actor, "channel.test", ch.ProjectID, ch.Name, nil)
	})
	return ch, err
}
