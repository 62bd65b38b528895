package api

import (
	"context"
	"net/http"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/shared/wire"
)

func (a *API) registerRestores() {
	type restoresIn struct {
		Project  string `query:"project" doc:"Slug, id or external id"`
		Server   string `query:"server" doc:"Name or id"`
		Database string `query:"database" doc:"The target's exact name"`
		Status   string `query:"status" enum:"pending,running,completed,failed"`
		Kind     string `query:"kind" enum:"restore,undo"`
		Backup   int64  `query:"backup_id" minimum:"0" doc:"Only those of a backup"`
		BetweenIn
		PageIn
		NumberIn
	}
	view, restore := []string{controller.ViewBackups}, []string{controller.RestoreBackups}
	store := a.opt.Store
	register(a, operation{id: "list-restores", method: http.MethodGet, path: "/restores", summary: "Restores, newest first", tag: tagRestores, access: view},
		func(ctx context.Context, in *restoresIn) (*bodyOut[body.Page[controller.Restore]], error) {
			f := controller.RestoreFilter{
				Project: in.Project, Server: in.Server, Database: in.Database, Status: in.Status, Kind: in.Kind, Backup: in.Backup, Between: in.between(),
				BeforeID: in.BeforeID, Limit: in.Limit, NumberedPage: in.number(),
			}
			rows, err := store.Restores(ctx, actorOf(ctx), f)
			for i, r := range rows {
				rows[i].Progress = a.progress(r.JobID, r.JobStatus, r.Progress)
			}
			return either(in.NumberIn, rows, in.Limit, func(r controller.Restore) int64 { return r.ID }, err, func() (controller.Total, error) {
				return store.CountRestores(ctx, actorOf(ctx), f)
			})
		})
	register(a, operation{
		id: "plan-restore", unaudited: "changes nothing", method: http.MethodPost, path: "/restores/plan", tag: tagRestores, access: restore, patient: true,
		summary: "What a restore would meet and do: what is in the backup, what is at the target, each step, and what would stop it. Nothing is changed",
	}, a.planRestore)
	register(a, operation{
		id: "create-restore", audit: "restore.create", method: http.MethodPost, path: "/restores", tag: tagRestores, access: restore, creates: true, patient: true,
		summary: "Restore a backup into a new database or, with in_place, in the place of one that is there. In place it is planned first: 409 with problems where something would stop it",
	}, a.createRestore)
	register(a, operation{id: "get-restore", method: http.MethodGet, path: "/restores/{id}", summary: "One restore, with its progress while it runs", tag: tagRestores, access: view},
		func(ctx context.Context, in *idIn) (*bodyOut[controller.Restore], error) {
			r, err := store.Restore(ctx, actorOf(ctx), in.ID)
			r.Progress = a.progress(r.JobID, r.JobStatus, r.Progress)
			return out(r, err)
		})
	register(a, operation{id: "cancel-restore", audit: "job.cancel", method: http.MethodPost, path: "/restores/{id}/cancel", summary: "Stop a restore or an undo, unless its swap has begun; its target stays untouched", tag: tagRestores, access: restore},
		func(ctx context.Context, in *optionalIn[body.Reason]) (*bodyOut[controller.Job], error) {
			return a.cancelled(store.CancelRestore(ctx, actorOf(ctx), in.ID, in.body().Reason))
		})
	register(a, operation{
		id: "plan-undo", unaudited: "changes nothing", method: http.MethodPost, path: "/restores/{id}/undo/plan", tag: tagRestores, access: restore, patient: true,
		summary: "What the undo of a restore in place would meet and do. Nothing is changed",
	}, a.planUndo)
	register(a, operation{
		id: "undo-restore", audit: "restore.undo", method: http.MethodPost, path: "/restores/{id}/undo", tag: tagRestores, access: restore, creates: true, patient: true,
		summary: "Bring back what a restore in place has replaced; what is there now is kept in its turn, and can be brought back likewise",
	}, a.undoRestore)
	register(a, operation{id: "discard-kept", audit: "restore.discard", method: http.MethodPost, path: "/restores/{id}/discard", summary: "Remove what a restore in place has replaced, before its time: it cannot be undone after that", tag: tagRestores, access: restore},
		func(ctx context.Context, in *idBodyIn[body.DiscardKept]) (*bodyOut[controller.Restore], error) {
			r, err := store.DiscardKept(ctx, actorOf(ctx), in.ID, in.Body.Confirm)
			if err == nil {
				a.opt.Fleet.Kick()
			}
			return out(r, err)
		})
	register(a, operation{id: "keep-kept", audit: "restore.keep", method: http.MethodPost, path: "/restores/{id}/keep", summary: "Change how long, from now, what a restore in place has replaced is kept", tag: tagRestores, access: restore},
		func(ctx context.Context, in *idBodyIn[body.KeepKept]) (*bodyOut[controller.Restore], error) {
			keep := time.Duration(in.Body.KeepSeconds) * time.Second
			if err := controller.ValidKeep(keep); err != nil {
				return nil, err
			}
			return out(store.KeepKept(ctx, actorOf(ctx), in.ID, keep))
		})
}

// cancelPermission is what a caller needs beside the right to see a job.
var cancelPermission = map[string]string{
	wire.JobBackup:  controller.CreateBackups,
	wire.JobVerify:  controller.ViewBackups,
	wire.JobRestore: controller.RestoreBackups,
	wire.JobUndo:    controller.RestoreBackups,
}

func (a *API) registerJobs() {
	view := []string{controller.ViewBackups}
	store := a.opt.Store
	type jobsIn struct {
		Project string `query:"project" doc:"Slug, id or external id"`
		Server  string `query:"server" doc:"Name or id"`
		Kind    string `query:"kind" enum:"backup,verify,restore,undo,settle,discard"`
		Status  string `query:"status" enum:"queued,running,finishing,completed,failed,cancelled,timed_out,open" doc:"open: those that have not ended"`
		Backup  int64  `query:"backup_id" minimum:"0" doc:"Only those that make or read a backup"`
		Restore int64  `query:"restore_id" minimum:"0" doc:"Only those of a restore"`
		PageIn
		NumberIn
	}
	register(a, operation{id: "list-jobs", method: http.MethodGet, path: "/jobs", summary: "Executions without their attempts, newest first", tag: tagBackups, access: view},
		func(ctx context.Context, in *jobsIn) (*bodyOut[body.Page[controller.Job]], error) {
			f := controller.JobFilter{
				Project: in.Project, Server: in.Server, Kind: in.Kind, Status: in.Status, Backup: in.Backup, Restore: in.Restore,
				BeforeID: in.BeforeID, Limit: in.Limit, NumberedPage: in.number(),
			}
			rows, err := store.Jobs(ctx, actorOf(ctx), f)
			for i, j := range rows {
				rows[i].Progress = a.progress(j.ID, j.Status, j.Progress)
			}
			return either(in.NumberIn, rows, in.Limit, func(j controller.Job) int64 { return j.ID }, err, func() (controller.Total, error) {
				return store.CountJobs(ctx, actorOf(ctx), f)
			})
		})
	register(a, operation{id: "get-job", method: http.MethodGet, path: "/jobs/{id}", summary: "One execution, with its attempts", tag: tagBackups, access: view},
		func(ctx context.Context, in *idIn) (*bodyOut[controller.Job], error) {
			j, err := store.Job(ctx, actorOf(ctx), in.ID)
			j.Progress = a.progress(j.ID, j.Status, j.Progress)
			return out(j, err)
		})
	register(a, operation{id: "cancel-job", audit: "job.cancel", method: http.MethodPost, path: "/jobs/{id}/cancel", summary: "Stop a job; asks for the permission that its kind needs", tag: tagBackups, access: view},
		func(ctx context.Context, in *optionalIn[body.Reason]) (*bodyOut[controller.Job], error) {
			j, err := store.Job(ctx, actorOf(ctx), in.ID)
			if err != nil {
				return nil, err
			}
			needs, known := cancelPermission[j.Kind]
			if !known {
				return nil, controller.Errorf(controller.EConflict, "a %s job cannot be cancelled", j.Kind)
			}
			if !actorOf(ctx).Can(needs) {
				return nil, controller.Errorf(controller.EForbidden, "the token lacks the permission %s", needs)
			}
			return a.cancelled(store.CancelJob(ctx, actorOf(ctx), j.ID, in.body().Reason))
		})
}
