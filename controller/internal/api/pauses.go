package api

import (
	"context"
	"net/http"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

func (a *API) registerPauses() {
	type pausesIn struct {
		All bool `query:"all" doc:"Those too that are over"`
		PageIn
	}
	view, manage := []string{controller.ViewBackups}, []string{controller.ManageSchedules}
	store := a.opt.Store
	register(a, operation{id: "list-pauses", method: http.MethodGet, path: "/pauses", summary: "What holds scheduled backups back, newest first", tag: tagSchedules, access: view},
		func(ctx context.Context, in *pausesIn) (*bodyOut[body.Page[controller.Pause]], error) {
			rows, err := store.Pauses(ctx, actorOf(ctx), in.All, in.BeforeID, in.Limit)
			return page(rows, in.Limit, func(p controller.Pause) int64 { return p.ID }, err)
		})
	register(a, operation{
		id: "create-pause", audit: "pause.create", method: http.MethodPost, path: "/pauses", summary: "Hold back the scheduled backups of a schedule, a server, a project or everything; what is missed meanwhile is recorded, and not made up for",
		tag: tagSchedules, access: manage, creates: true,
	}, a.createPause)
	register(a, operation{id: "end-pause", audit: "pause.end", method: http.MethodPost, path: "/pauses/{id}/end", summary: "End a pause", tag: tagSchedules, access: manage},
		func(ctx context.Context, in *idIn) (*bodyOut[controller.Pause], error) {
			return out(store.EndPause(ctx, actorOf(ctx), in.ID))
		})
}

func (a *API) createPause(ctx context.Context, in *bodyIn[body.CreatePause]) (*bodyOut[controller.Pause], error) {
	b := in.Body
	spec := controller.PauseSpec{Scope: b.Scope, Project: b.Project, Server: b.Server, Schedule: b.ScheduleID, Until: b.Until, Reason: b.Reason}
	if err := spec.Validate(a.opt.Now()); err != nil {
		return nil, err
	}
	return out(a.opt.Store.CreatePause(ctx, actorOf(ctx), spec))
}
