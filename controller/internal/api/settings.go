package api

import (
	"context"
	"net/http"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

func (a *API) registerSettings() {
	store := a.opt.Store
	register(a, operation{id: "get-settings", method: http.MethodGet, path: "/settings", summary: "Settings of the installation", tag: tagSystem, access: []string{controller.ViewBackups}},
		func(ctx context.Context, _ *none) (*tagged[controller.Settings], error) {
			return tag(store.Settings(ctx, actorOf(ctx)))
		})
	register(a, operation{id: "update-settings", audit: "settings.update", method: http.MethodPatch, path: "/settings", summary: "Change settings of the installation", tag: tagSystem, access: []string{controller.ManageProjects}, edits: true}, a.updateSettings)
}

func (a *API) updateSettings(ctx context.Context, in *bodyIn[body.UpdateSettings]) (*tagged[controller.Settings], error) {
	var s controller.Settings // what is empty stays
	for _, f := range []struct {
		name  string
		given *string
		to    *string
	}{{"timezone", in.Body.Timezone, &s.Timezone}, {"cleanup_time", in.Body.CleanupTime, &s.CleanupTime}, {"summary_day", in.Body.SummaryDay, &s.SummaryDay}, {"summary_time", in.Body.SummaryTime, &s.SummaryTime}} {
		if f.given == nil {
			continue
		}
		if *f.given == "" {
			return nil, controller.Invalid(f.name, "is empty; leave it out to keep it as it is")
		}
		*f.to = *f.given
	}
	return tag(a.opt.Store.UpdateSettings(ctx, actorOf(ctx), s))
}
