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
		func(ctx context.Context, _ *none) (*bodyOut[controller.Settings], error) {
			return out(store.Settings(ctx, actorOf(ctx)))
		})
	register(a, operation{id: "update-settings", audit: "settings.update", method: http.MethodPatch, path: "/settings", summary: "Change settings of the installation", tag: tagSystem, access: []string{controller.ManageProjects}}, a.updateSettings)
}

func (a *API) updateSettings(ctx context.Context, in *bodyIn[body.UpdateSettings]) (*bodyOut[controller.Settings], error) {
	s, err := a.opt.Store.Settings(ctx, actorOf(ctx))
	if err != nil {
		return nil, err
	}
	if in.Body.Timezone != nil {
		s.Timezone = *in.Body.Timezone
	}
	if in.Body.CleanupTime != nil {
		s.CleanupTime = *in.Body.CleanupTime
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	return out(a.opt.Store.UpdateSettings(ctx, actorOf(ctx), s))
}
