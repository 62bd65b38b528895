package api

import (
	"context"
	"net/http"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

func (a *API) registerHolds() {
	remove := []string{controller.DeleteBackups}
	store := a.opt.Store
	register(a, operation{id: "hold-backup", audit: "backup.hold", method: http.MethodPost, path: "/backups/{id}/hold", summary: "Keep a backup: nobody and no retention deletes it until it is released", tag: tagBackups, access: remove},
		func(ctx context.Context, in *idBodyIn[body.HoldBackup]) (*bodyOut[controller.Backup], error) {
			return out(store.HoldBackup(ctx, actorOf(ctx), in.ID, in.Body.Reason))
		})
	register(a, operation{id: "release-backup", audit: "backup.release", method: http.MethodPost, path: "/backups/{id}/release", summary: "End the hold of a backup", tag: tagBackups, access: remove},
		func(ctx context.Context, in *optionalIn[body.Reason]) (*bodyOut[controller.Backup], error) {
			return out(store.ReleaseBackup(ctx, actorOf(ctx), in.ID, in.body().Reason))
		})
}
