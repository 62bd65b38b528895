package api

import (
	"context"
	"net/http"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

func (a *API) registerCleanup() {
	register(a, operation{
		id: "cleanup", audit: "backup.cleanup", method: http.MethodPost, path: "/cleanup", tag: tagRetention, access: []string{controller.ViewBackups}, patient: true,
		summary: "Apply retention, or show what it would do; without dry_run it asks for delete-backups as well",
	}, a.cleanup)
}

// cleanup answers with what was done, also where some of it failed.
func (a *API) cleanup(ctx context.Context, in *bodyIn[body.Cleanup]) (*bodyOut[controller.CleanupResult], error) {
	b, actor := in.Body, actorOf(ctx)
	if !b.DryRun && !actor.Can(controller.DeleteBackups) {
		return nil, controller.Errorf(controller.EForbidden, "the token lacks the permission %s", controller.DeleteBackups).WithHint("with dry_run the plan is shown")
	}
	r := controller.CleanupRequest{Project: b.Project, Schedule: b.ScheduleID, DryRun: b.DryRun, Grace: -1}
	if b.GraceSeconds != nil {
		r.Grace = time.Duration(*b.GraceSeconds) * time.Second
	}
	res, err := a.opt.Cleaner.Clean(ctx, actor, r)
	if err != nil {
		return nil, err
	}
	if res.Removed > 0 && !res.DryRun {
		a.opt.Fleet.Kick()
	}
	if res.Items == nil {
		res.Items = []controller.CleanupItem{}
	}
	return out(res, nil)
}
