package api

import (
	"context"
	"net/http"

	"devflowbackup/controller"
)

func (a *API) registerStatistics() {
	view := []string{controller.ViewBackups}
	store := a.opt.Store
	register(a, operation{
		id: "get-overview", method: http.MethodGet, path: "/overview", tag: tagStatistics, access: view,
		summary: "What needs attention, the most urgent first, databases without a schedule, storages with what they hold, and the figures of all that the caller sees",
	},
		func(ctx context.Context, _ *none) (*bodyOut[controller.Overview], error) {
			return out(store.Overview(ctx, actorOf(ctx)))
		})
	register(a, operation{id: "get-statistics", method: http.MethodGet, path: "/statistics", summary: "The figures of all that the caller sees", tag: tagStatistics, access: view},
		func(ctx context.Context, _ *none) (*bodyOut[controller.Statistics], error) {
			return out(store.Statistics(ctx, actorOf(ctx), ""))
		})
	register(a, operation{id: "get-project-statistics", method: http.MethodGet, path: "/projects/{ref}/statistics", summary: "The figures of a project: backups, active schedules, storage used, last backup", tag: tagStatistics, access: view},
		func(ctx context.Context, in *refIn) (*bodyOut[controller.Statistics], error) {
			return out(store.Statistics(ctx, actorOf(ctx), in.Ref))
		})
	type trendIn struct {
		Project  string `query:"project" doc:"Slug, id or external id; all that the caller sees if absent"`
		Database string `query:"database" doc:"Exact name or id"`
		Days     int    `query:"days" minimum:"1" maximum:"366" default:"30" doc:"How many days, up to the last one"`
		Until    string `query:"until" maxLength:"10" doc:"The last day, YYYY-MM-DD; today if absent"`
	}
	register(a, operation{
		id: "get-trends", method: http.MethodGet, path: "/trends", summary: "Size, duration and success day by day, in the installation's zone", tag: tagStatistics, access: view, errors: []int{http.StatusNotFound},
	},
		func(ctx context.Context, in *trendIn) (*bodyOut[controller.Trend], error) {
			return out(store.Trend(ctx, actorOf(ctx), controller.TrendRequest{Project: in.Project, Database: in.Database, Days: in.Days, Until: in.Until}))
		})
}
