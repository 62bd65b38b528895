package api

import (
	"context"
	"net/http"
	"slices"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

func (a *API) registerAlarms() {
	view := []string{controller.ViewBackups}
	store := a.opt.Store
	register(a, operation{id: "list-alarms", method: http.MethodGet, path: "/alarms", summary: "What is wrong: alarms that stand, the worst first; and those that stood. Those of no project are for who sees all", tag: tagAlarms, access: view, errors: []int{http.StatusNotFound}},
		func(ctx context.Context, in *struct {
			State string `query:"state" enum:"open,closed,all" default:"open"`
			SelectionIn
			PartIn
		},
		) (*bodyOut[body.Part[controller.Alarm]], error) {
			f := controller.AlarmFilter{Project: in.Project, Kind: in.Kind, Severity: in.Severity, State: in.State, Part: in.part()}
			rows, err := store.Alarms(ctx, actorOf(ctx), f)
			return part(in.PartIn, rows, func(row controller.Alarm) int64 { return row.ID }, err, func() (controller.Total, error) { return store.CountAlarms(ctx, actorOf(ctx), f) })
		})
	register(a, operation{id: "get-alarm-summary", method: http.MethodGet, path: "/alarms/summary", summary: "How many alarms stand that nobody muted, by severity", tag: tagAlarms, access: view},
		func(ctx context.Context, _ *none) (*bodyOut[controller.AlarmCounts], error) {
			return out(store.CountOpenAlarms(ctx, actorOf(ctx)))
		})
	register(a, operation{id: "get-alarm", method: http.MethodGet, path: "/alarms/{id}", summary: "One alarm", tag: tagAlarms, access: view},
		func(ctx context.Context, in *idIn) (*bodyOut[controller.Alarm], error) {
			return out(store.Alarm(ctx, actorOf(ctx), in.ID))
		})
	register(a, operation{id: "list-notice-kinds", method: http.MethodGet, path: "/notice-kinds", summary: "Kinds of notices, which channels may name", tag: tagAlarms, access: view},
		func(context.Context, *none) (*bodyOut[body.List[controller.NoticeKind]], error) {
			return list(slices.DeleteFunc(slices.Clone(controller.NoticeKinds), func(k controller.NoticeKind) bool { return k.Kind == controller.NoticeTest }), nil)
		})
	register(a, operation{id: "list-notices", method: http.MethodGet, path: "/notices", summary: "What was to be told, newest first, and what became of it at each channel", tag: tagAlarms, access: view, errors: []int{http.StatusNotFound}},
		func(ctx context.Context, in *struct {
			SelectionIn
			Alarm  int64 `query:"alarm" minimum:"0" doc:"Of one alarm, by its id"`
			Unsent bool  `query:"unsent" doc:"Only those that went to no channel: muted, silenced, or nobody takes them"`
			PageIn
			NumberIn
		},
		) (*bodyOut[body.Page[controller.Notice]], error) {
			f := controller.NoticeFilter{Project: in.Project, Kind: in.Kind, Severity: in.Severity, Alarm: in.Alarm, Unsent: in.Unsent, BeforeID: in.BeforeID, Limit: in.Limit, NumberedPage: in.number()}
			rows, err := store.Notices(ctx, actorOf(ctx), f)
			return either(in.NumberIn, rows, in.Limit, func(n controller.Notice) int64 { return n.ID }, err, func() (controller.Total, error) { return store.CountNotices(ctx, actorOf(ctx), f) })
		})
	register(a, operation{id: "get-notice", method: http.MethodGet, path: "/notices/{id}", summary: "One notice", tag: tagAlarms, access: view},
		func(ctx context.Context, in *idIn) (*bodyOut[controller.Notice], error) {
			return out(store.Notice(ctx, actorOf(ctx), in.ID))
		})
}

// SelectionIn selects alarms and notices.
type SelectionIn struct {
	Project  string `query:"project" doc:"Slug, id or external id"`
	Kind     string `query:"kind" maxLength:"50" doc:"A kind of notices, such as backup_failing"`
	Severity string `query:"severity" enum:"info,warning,critical" doc:"At least"`
}

func (a *API) registerMutes() {
	view, manage := []string{controller.ViewBackups}, []string{controller.ManageSchedules}
	store := a.opt.Store
	register(a, operation{id: "list-mutes", method: http.MethodGet, path: "/mutes", summary: "What nobody is told of for a time, newest first", tag: tagAlarms, access: view},
		func(ctx context.Context, in *struct {
			All bool `query:"all" doc:"Those too that are over"`
			PageIn
			NumberIn
		},
		) (*bodyOut[body.Page[controller.Mute]], error) {
			f := controller.MuteFilter{All: in.All, BeforeID: in.BeforeID, Limit: in.Limit, NumberedPage: in.number()}
			rows, err := store.Mutes(ctx, actorOf(ctx), f)
			return either(in.NumberIn, rows, in.Limit, func(m controller.Mute) int64 { return m.ID }, err, func() (controller.Total, error) { return store.CountMutes(ctx, actorOf(ctx), f) })
		})
	register(a, operation{
		id: "create-mute", audit: "mute.create", method: http.MethodPost, path: "/mutes", summary: "Tell nobody of an alarm, a database, a server, a project or everything, or nothing through a channel, for a time; what happens is recorded nevertheless",
		tag: tagAlarms, access: manage, creates: true,
	}, a.createMute)
	register(a, operation{id: "end-mute", audit: "mute.end", method: http.MethodPost, path: "/mutes/{id}/end", summary: "End a mute", tag: tagAlarms, access: manage},
		func(ctx context.Context, in *idIn) (*bodyOut[controller.Mute], error) {
			return out(store.EndMute(ctx, actorOf(ctx), in.ID))
		})
}

func (a *API) createMute(ctx context.Context, in *bodyIn[body.CreateMute]) (*bodyOut[controller.Mute], error) {
	b := in.Body
	spec := controller.MuteSpec{Scope: b.Scope, Ref: b.Ref, Kind: b.Kind, For: time.Duration(b.ForSeconds) * time.Second, Reason: b.Reason}
	if b.Until != nil {
		spec.Until = *b.Until
	}
	checked := spec
	if err := checked.Validate(a.opt.Now()); err != nil {
		return nil, err
	}
	return out(a.opt.Store.CreateMute(ctx, actorOf(ctx), spec))
}
