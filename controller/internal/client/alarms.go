package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

// ChannelKinds lists the kinds of channels.
func (c *Client) ChannelKinds(ctx context.Context) ([]controller.ChannelKind, error) {
	l, err := get[body.List[controller.ChannelKind]](ctx, c, nil, "channel-kinds")
	return l.Items, err
}

// NoticeKinds lists the kinds of notices.
func (c *Client) NoticeKinds(ctx context.Context) ([]controller.NoticeKind, error) {
	l, err := get[body.List[controller.NoticeKind]](ctx, c, nil, "notice-kinds")
	return l.Items, err
}

// Channels lists channels; of a project, those of the installation too.
func (c *Client) Channels(ctx context.Context, project string) ([]controller.Channel, error) {
	return every(ctx, c, values("project", project), func(ch controller.Channel) int64 { return ch.ID }, "channels")
}

// Channel finds one by name or id.
func (c *Client) Channel(ctx context.Context, ref string) (controller.Channel, error) {
	return get[controller.Channel](ctx, c, nil, "channels", ref)
}

// shownTarget, createChannel and updateChannel show the secrets, as createStorage does.
type (
	shownTarget struct {
		body.ChannelTarget
		URL      string `json:"url,omitempty"`
		Secret   string `json:"secret,omitempty"`
		Password string `json:"password,omitempty"`
	}
	createChannel struct {
		body.CreateChannel
		Target shownTarget `json:"target"`
	}
	updateChannel struct {
		body.UpdateChannel
		Target *shownTarget `json:"target,omitempty"`
	}
)

func shown(t body.ChannelTarget) shownTarget {
	return shownTarget{ChannelTarget: t, URL: t.URL.Reveal(), Secret: t.Secret.Reveal(), Password: t.Password.Reveal()}
}

// CreateChannel adds a channel.
func (c *Client) CreateChannel(ctx context.Context, in body.CreateChannel) (controller.Channel, error) {
	return create[controller.Channel](ctx, c, createChannel{CreateChannel: in, Target: shown(in.Target)}, "channels")
}

// UpdateChannel changes one.
func (c *Client) UpdateChannel(ctx context.Context, ref string, in body.UpdateChannel) (controller.Channel, error) {
	b := updateChannel{UpdateChannel: in}
	if in.Target != nil {
		t := shown(*in.Target)
		b.Target = &t
	}
	return do[controller.Channel](ctx, c, call{method: http.MethodPatch, path: path("channels", ref), body: b})
}

// DeleteChannel deletes one.
func (c *Client) DeleteChannel(ctx context.Context, ref string) error {
	_, err := c.send(ctx, call{method: http.MethodDelete, path: path("channels", ref)})
	return err
}

// TestChannel sends a test through one. A channel that did not take it is a problem.
func (c *Client) TestChannel(ctx context.Context, ref string) (controller.Channel, error) {
	return post[controller.Channel](ctx, c, nil, "channels", ref, "test")
}

// Alarms lists alarms, those that stand first and the worst of them first, up to most rows.
func (c *Client) Alarms(ctx context.Context, f controller.AlarmFilter, most int) ([]controller.Alarm, error) {
	q := values("project", f.Project, "kind", f.Kind, "severity", f.Severity, "state", f.State)
	all := []controller.Alarm{}
	for {
		q.Set("limit", strconv.Itoa(min(most-len(all), controller.MaxPart)))
		p, err := get[body.Part[controller.Alarm]](ctx, c, q, "alarms")
		if err != nil {
			return nil, err
		}
		if all = append(all, p.Items...); p.NextAfterID == nil || len(all) >= most {
			return all, nil
		}
		q.Set("after_id", id(*p.NextAfterID))
	}
}

// AlarmSummary counts the alarms that stand and that nobody muted.
func (c *Client) AlarmSummary(ctx context.Context) (controller.AlarmCounts, error) {
	return get[controller.AlarmCounts](ctx, c, nil, "alarms", "summary")
}

// Alarm is one alarm.
func (c *Client) Alarm(ctx context.Context, n int64) (controller.Alarm, error) {
	return get[controller.Alarm](ctx, c, nil, "alarms", id(n))
}

// Notices lists notices, newest first, up to most rows.
func (c *Client) Notices(ctx context.Context, f controller.NoticeFilter, most int) ([]controller.Notice, error) {
	q := values("project", f.Project, "kind", f.Kind, "severity", f.Severity)
	if f.Alarm != 0 {
		q.Set("alarm", id(f.Alarm))
	}
	if f.Unsent {
		q.Set("unsent", "true")
	}
	return newest[controller.Notice](ctx, c, q, most, "notices")
}

// Notice is one notice.
func (c *Client) Notice(ctx context.Context, n int64) (controller.Notice, error) {
	return get[controller.Notice](ctx, c, nil, "notices", id(n))
}

// Mutes lists the mutes that hold, or the newest of all that there were.
func (c *Client) Mutes(ctx context.Context, all bool) ([]controller.Mute, error) {
	q := url.Values{}
	if all {
		q.Set("all", "true")
	}
	return newest[controller.Mute](ctx, c, q, 1000, "mutes")
}

// CreateMute makes one.
func (c *Client) CreateMute(ctx context.Context, in body.CreateMute) (controller.Mute, error) {
	return create[controller.Mute](ctx, c, in, "mutes")
}

// EndMute ends one.
func (c *Client) EndMute(ctx context.Context, n int64) (controller.Mute, error) {
	return post[controller.Mute](ctx, c, nil, "mutes", id(n), "end")
}
