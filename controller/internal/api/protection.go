package api

import (
	"context"
	"net/http"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

func (a *API) registerProtection() {
	view, manage := []string{controller.ViewBackups}, []string{controller.ManageSchedules}
	store := a.opt.Store
	register(a, operation{
		id: "list-protection", method: http.MethodGet, path: "/protection", tag: tagProtection, access: view, errors: []int{http.StatusNotFound},
		summary: "How well each database that agents found is protected, by server, instance and name",
	},
		func(ctx context.Context, in *struct {
			Project string `query:"project" doc:"Slug, id or external id"`
			Server  string `query:"server" doc:"Name or id"`
			State   string `query:"state" enum:"overdue,unprotected,paused,waiting,protected,ignored,gone"`
			Search  string `query:"search" maxLength:"200" doc:"Part of the database's name, whatever its case"`
			PartIn
		},
		) (*bodyOut[body.Part[controller.Protection]], error) {
			f := controller.ProtectionFilter{Project: in.Project, Server: in.Server, State: in.State, Search: in.Search, Part: in.part()}
			rows, err := store.Protection(ctx, actorOf(ctx), f)
			return part(in.PartIn, rows, func(p controller.Protection) int64 { return p.DatabaseID }, err, func() (controller.Total, error) { return store.CountProtection(ctx, actorOf(ctx), f) })
		})
	register(a, operation{
		id: "get-protection-summary", method: http.MethodGet, path: "/protection/summary", tag: tagProtection, access: view, errors: []int{http.StatusNotFound},
		summary: "Databases by the state of their protection, and what is wrong, the worst first; nothing is wrong: all is well",
	},
		func(ctx context.Context, in *struct {
			Project string `query:"project" doc:"Slug, id or external id; all that the caller sees if absent"`
		},
		) (*bodyOut[controller.ProtectionSummary], error) {
			return out(store.ProtectionSummary(ctx, actorOf(ctx), in.Project))
		})
	register(a, operation{
		id: "ignore-database", audit: "database.ignore", method: http.MethodPut, path: "/databases/{id}/ignored", tag: tagProtection, access: manage,
		summary: "Record the choice that a database need not be backed up; one that a schedule covers is watched all the same",
	},
		func(ctx context.Context, in *idBodyIn[body.IgnoreDatabase]) (*bodyOut[controller.Protection], error) {
			return out(store.IgnoreDatabase(ctx, actorOf(ctx), in.ID, in.Body.Reason))
		})
	register(a, operation{
		id: "unignore-database", audit: "database.unignore", method: http.MethodDelete, path: "/databases/{id}/ignored", tag: tagProtection, access: manage,
		summary: "Take that choice back",
	},
		func(ctx context.Context, in *idIn) (*bodyOut[controller.Protection], error) {
			return out(store.UnignoreDatabase(ctx, actorOf(ctx), in.ID))
		})
}
