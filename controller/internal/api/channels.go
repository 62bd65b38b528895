package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

func (a *API) registerChannels() {
	view, manage := []string{controller.ViewBackups}, []string{controller.ManageProjects}
	store := a.opt.Store
	register(a, operation{id: "list-channel-kinds", method: http.MethodGet, path: "/channel-kinds", summary: "Kinds of channels, with the fields of their targets", tag: tagAlarms, access: view},
		func(context.Context, *none) (*bodyOut[body.List[controller.ChannelKind]], error) {
			return list(a.opt.Alarms.Kinds(), nil)
		})
	register(a, operation{id: "list-channels", method: http.MethodGet, path: "/channels", summary: "Where people are told, by name: channels of the caller's projects and, for who sees all, of the installation", tag: tagAlarms, access: view, errors: []int{http.StatusNotFound}},
		func(ctx context.Context, in *struct {
			Project string `query:"project" doc:"Slug, id or external id; its own channels and those of the installation"`
			Kind    string `query:"kind" maxLength:"50" doc:"A kind of channels, such as email"`
			PartIn
		},
		) (*bodyOut[body.Part[controller.Channel]], error) {
			f := controller.ChannelFilter{Project: in.Project, Kind: in.Kind, Part: in.part()}
			rows, err := store.Channels(ctx, actorOf(ctx), f)
			return part(in.PartIn, rows, func(ch controller.Channel) int64 { return ch.ID }, err, func() (controller.Total, error) { return store.CountChannels(ctx, actorOf(ctx), f) })
		})
	register(a, operation{id: "create-channel", audit: "channel.create", method: http.MethodPost, path: "/channels", summary: "Tell people by email, by a signed webhook or by a service", tag: tagAlarms, access: manage, creates: true}, a.createChannel)
	register(a, operation{id: "get-channel", method: http.MethodGet, path: "/channels/{ref}", summary: "One channel, without what opens it", tag: tagAlarms, access: view},
		func(ctx context.Context, in *refIn) (*tagged[controller.Channel], error) {
			return tag(store.Channel(ctx, actorOf(ctx), in.Ref))
		})
	register(a, operation{id: "update-channel", audit: "channel.update", method: http.MethodPatch, path: "/channels/{ref}", summary: "Change a channel: what it takes, or its target as a whole", tag: tagAlarms, access: manage, edits: true}, a.updateChannel)
	register(a, operation{id: "delete-channel", audit: "channel.delete", method: http.MethodDelete, path: "/channels/{ref}", summary: "Delete a channel that is no other one's fallback", tag: tagAlarms, access: manage, status: http.StatusNoContent, edits: true},
		func(ctx context.Context, in *refIn) (*answer, error) {
			return nil, store.DeleteChannel(ctx, actorOf(ctx), in.Ref)
		})
	register(a, operation{id: "test-channel", audit: "channel.test", method: http.MethodPost, path: "/channels/{ref}/test", summary: "Send a test through a channel and wait for what becomes of it; 422 channel_failed tells why it was not taken", tag: tagAlarms, access: manage}, a.testChannel)
}

func target(t body.ChannelTarget) controller.ChannelTarget {
	return controller.ChannelTarget{URL: t.URL, Secret: t.Secret, Host: t.Host, Port: t.Port, TLS: t.TLS, Username: t.Username, Password: t.Password, From: t.From, To: t.To}
}

func (a *API) createChannel(ctx context.Context, in *bodyIn[body.CreateChannel]) (*tagged[controller.Channel], error) {
	b := in.Body
	spec := controller.ChannelSpec{
		Name: b.Name, Project: b.Project, Kind: b.Kind, Target: target(b.Target), IsDefault: b.Default, Kinds: b.Kinds, MinSeverity: b.MinSeverity, RemindHours: b.RemindHours, Fallback: b.Fallback,
	}
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	var hint string
	var err error
	if spec.Target, hint, err = a.opt.Alarms.CheckTarget(spec.Kind, spec.Target); err != nil {
		return nil, err
	}
	return tag(a.opt.Store.CreateChannel(ctx, actorOf(ctx), spec, hint))
}

func (a *API) updateChannel(ctx context.Context, in *refBodyIn[body.UpdateChannel]) (*tagged[controller.Channel], error) {
	b := in.Body
	change := controller.ChannelChange{Name: b.Name, IsDefault: b.Default, IsActive: b.IsActive, MinSeverity: b.MinSeverity, RemindHours: b.RemindHours, Fallback: b.Fallback}
	if b.Kinds != nil {
		change.Kinds = &b.Kinds
	}
	var hint string
	ref := in.Ref
	if b.Target != nil {
		ch, err := a.opt.Store.Channel(ctx, actorOf(ctx), in.Ref)
		if err != nil {
			return nil, err
		}
		checked, shown, err := a.opt.Alarms.CheckTarget(ch.Kind, target(*b.Target))
		if err != nil {
			return nil, err
		}
		change.Target, hint, ref = &checked, shown, strconv.FormatInt(ch.ID, 10)
	}
	return tag(a.opt.Store.UpdateChannel(ctx, actorOf(ctx), ref, change, hint))
}

// testChannel answers with the channel as the test left it.
func (a *API) testChannel(ctx context.Context, in *refIn) (*tagged[controller.Channel], error) {
	ch, err := a.opt.Store.BeginChannelTest(ctx, actorOf(ctx), in.Ref)
	if err != nil {
		return nil, err
	}
	if err := a.opt.Alarms.TestChannel(ctx, ch.ID); err != nil {
		var e *controller.Error
		if !errors.As(err, &e) {
			return nil, err
		}
		return nil, controller.Errorf(body.CodeChannel, "channel %q did not take the test: %s", ch.Name, e.Message).WithHint("%s", e.Hint)
	}
	return tag(a.opt.Store.Channel(ctx, actorOf(ctx), strconv.FormatInt(ch.ID, 10)))
}
