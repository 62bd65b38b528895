package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

func (a *API) registerBackups() {
	view, create, remove := []string{controller.ViewBackups}, []string{controller.CreateBackups}, []string{controller.DeleteBackups}
	store := a.opt.Store
	register(a, operation{id: "list-backups", method: http.MethodGet, path: "/backups", summary: "Backups, newest first; by number in other orders too", tag: tagBackups, access: view}, a.listBackups)
	register(a, operation{
		id: "create-backups", audit: "backup.create", method: http.MethodPost, path: "/backups", summary: "Back up one database, a project's databases, or all; 207 where some could not be ordered",
		tag: tagBackups, access: create, creates: true, also: http.StatusMultiStatus,
	}, a.createBackups)
	register(a, operation{id: "get-backup", method: http.MethodGet, path: "/backups/{id}", summary: "One backup, with its progress while it runs", tag: tagBackups, access: view},
		func(ctx context.Context, in *idIn) (*bodyOut[controller.Backup], error) {
			b, err := store.Backup(ctx, actorOf(ctx), in.ID)
			b.Progress = a.progress(b.JobID, b.JobStatus, b.Progress)
			return out(b, err)
		})
	register(a, operation{id: "get-backup-manifest", errors: []int{http.StatusConflict}, method: http.MethodGet, path: "/backups/{id}/manifest", summary: "The signed manifest, byte for byte as it lies beside the artifact", tag: tagBackups, access: view}, a.manifest)
	a.huma.OpenAPI().Paths["/backups/{id}/manifest"].Get.Responses["200"].Content = map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Type: huma.TypeObject}}}
	register(a, operation{id: "get-backup-log", method: http.MethodGet, path: "/backups/{id}/log", summary: "The job that made the backup, with the log of each attempt", tag: tagBackups, access: view},
		func(ctx context.Context, in *idIn) (*bodyOut[controller.Job], error) {
			b, err := store.Backup(ctx, actorOf(ctx), in.ID)
			if err != nil {
				return nil, err
			}
			return out(store.Job(ctx, actorOf(ctx), b.JobID))
		})
	register(a, operation{id: "cancel-backup", audit: "job.cancel", method: http.MethodPost, path: "/backups/{id}/cancel", summary: "Stop the dump and the upload", tag: tagBackups, access: create},
		func(ctx context.Context, in *optionalIn[body.Reason]) (*bodyOut[controller.Job], error) {
			return a.cancelled(store.CancelBackup(ctx, actorOf(ctx), in.ID, in.body().Reason))
		})
	register(a, operation{id: "delete-backup", audit: "backup.delete", method: http.MethodPost, path: "/backups/{id}/delete", summary: "Delete a backup: it can be taken back until its grace has passed", tag: tagBackups, access: remove},
		func(ctx context.Context, in *optionalIn[body.DeleteBackup]) (*bodyOut[controller.Backup], error) {
			given := in.body()
			r := controller.DeleteRequest{Backup: in.ID, Reason: given.Reason, Grace: -1, Confirm: given.Confirm}
			if given.GraceSeconds != nil {
				r.Grace = time.Duration(*given.GraceSeconds) * time.Second
			}
			b, err := store.DeleteBackup(ctx, actorOf(ctx), r)
			if err == nil {
				a.opt.Fleet.Kick()
			}
			return out(b, err)
		})
	register(a, operation{id: "undelete-backup", audit: "backup.undelete", method: http.MethodPost, path: "/backups/{id}/undelete", summary: "Take a deletion back", tag: tagBackups, access: remove},
		func(ctx context.Context, in *idIn) (*bodyOut[controller.Backup], error) {
			return out(store.UndeleteBackup(ctx, actorOf(ctx), in.ID))
		})
	register(a, operation{id: "retry-backup", audit: "backup.create", method: http.MethodPost, path: "/backups/{id}/retry", summary: "Order a backup that failed once more, as it was ordered", tag: tagBackups, access: create, creates: true},
		func(ctx context.Context, in *idIn) (*bodyOut[controller.Backup], error) {
			b, err := store.RetryBackup(ctx, actorOf(ctx), in.ID)
			if err == nil {
				a.opt.Fleet.Kick()
			}
			return out(b, err)
		})
}

type backupsIn struct {
	Project  string `query:"project" doc:"Slug, id or external id"`
	Database string `query:"database" doc:"Exact name or id"`
	Server   string `query:"server" doc:"Name or id"`
	Status   string `query:"status" enum:"pending,running,completed,failed"`
	Type     string `query:"type" enum:"manual,scheduled,pre_deploy,pre_restore"`
	Health   string `query:"health" enum:"ok,missing,corrupt,archived,deleting"`
	Verified string `query:"verified" enum:"true,false" doc:"Only verified ones, or only those that are not"`
	Schedule int64  `query:"schedule_id" minimum:"0" doc:"Only those of a schedule"`
	Engine   string `query:"engine" enum:"postgresql,mysql,sqlite"`
	Storage  string `query:"storage" doc:"Name or id"`
	Sort     string `query:"sort" enum:"created,size,duration" doc:"Of numbered pages; created if absent. By size and duration within a project or a database"`
	Order    string `query:"order" enum:"asc,desc" doc:"desc if absent"`
	Held     string `query:"held" enum:"true,false" doc:"Only held ones, or only those that are not"`
	Deleted  bool   `query:"deleted" doc:"Deleted ones too"`
	BetweenIn
	PageIn
	NumberIn
}

func (a *API) listBackups(ctx context.Context, in *backupsIn) (*bodyOut[body.Page[controller.Backup]], error) {
	f := controller.BackupFilter{
		Project: in.Project, Database: in.Database, Server: in.Server, Status: in.Status, Type: in.Type, Health: in.Health,
		Engine: in.Engine, Storage: in.Storage, Between: in.between(), Sort: in.Sort, Ascending: in.Order == "asc",
		Schedule: in.Schedule, Deleted: in.Deleted, BeforeID: in.BeforeID, Limit: in.Limit, NumberedPage: in.number(),
	}
	if in.Held != "" {
		held := in.Held == "true"
		f.Held = &held
	}
	if in.Verified != "" {
		verified := in.Verified == "true"
		f.Verified = &verified
	}
	rows, err := a.opt.Store.Backups(ctx, actorOf(ctx), f)
	for i, b := range rows {
		rows[i].Progress = a.progress(b.JobID, b.JobStatus, b.Progress)
	}
	return either(in.NumberIn, rows, in.Limit, func(b controller.Backup) int64 { return b.ID }, err, func() (controller.Total, error) {
		return a.opt.Store.CountBackups(ctx, actorOf(ctx), f)
	})
}

// progress is the fleet's where it is fresher than the catalog's.
func (a *API) progress(job int64, status string, known *controller.Progress) *controller.Progress {
	if controller.JobTerminal(status) || job == 0 {
		return nil
	}
	if p, ok := a.opt.Fleet.Progress(job); ok {
		return &p
	}
	return known
}

type backupsOut struct {
	Status int
	Body   body.List[body.BackupOutcome]
}

// nothingToBackUp is how the catalog begins to say that no database is assigned to what was asked for.
const nothingToBackUp = "nothing to back up"

func (a *API) createBackups(ctx context.Context, in *bodyIn[body.CreateBackups]) (*backupsOut, error) {
	b := in.Body
	r := controller.BackupRequest{
		Project: b.Project, Database: b.Database, Server: b.Server, Instance: b.Instance, Type: b.Type, Storage: b.Storage, StorageDisk: b.StorageDisk,
		Encryption: b.Encryption, Encrypt: b.Encrypt, Compression: b.Compression, Level: b.Level, MaxDuration: time.Duration(b.MaxDurationSeconds) * time.Second,
		VerifyAfter: b.VerifyAfter,
	}
	if err := r.Validate(); err != nil {
		return nil, err
	}
	outcomes, err := a.opt.Store.CreateBackups(ctx, actorOf(ctx), r)
	return a.ordered(ctx, outcomes, err)
}

// ordered is the answer to an order of backups.
func (a *API) ordered(ctx context.Context, outcomes []controller.BackupOutcome, err error) (*backupsOut, error) {
	if err != nil {
		return nil, nothingIsACode(err)
	}
	if len(outcomes) == 0 {
		return nil, controller.Errorf(body.CodeNothingToDo, nothingToBackUp)
	}
	if len(outcomes) == 1 && outcomes[0].Err != nil {
		return nil, outcomes[0].Err
	}
	res := &backupsOut{Status: http.StatusCreated}
	for _, o := range outcomes {
		item := body.BackupOutcome{Database: o.Database, Server: o.Server, Instance: o.Instance, Backup: o.Backup}
		if o.Err != nil {
			res.Status = http.StatusMultiStatus
			a.recordRefused(ctx, "backup.create", o.Server+"/"+o.Instance+"/"+o.Database, o.Err)
			item.Error = &body.OutcomeError{Code: o.Err.Code, Detail: o.Err.Message, Field: o.Err.Field, Hint: o.Err.Hint}
		}
		res.Body.Items = append(res.Body.Items, item)
	}
	a.opt.Fleet.Kick()
	return res, nil
}

// nothingIsACode gives the one conflict that scripts have to tell apart a code of its own.
func nothingIsACode(err error) error {
	if p := problem("", err); p.Code == controller.EConflict && strings.HasPrefix(p.Detail, nothingToBackUp) {
		return &controller.Error{Code: body.CodeNothingToDo, Message: p.Detail, Hint: p.Hint}
	}
	return err
}

type rawOut struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func (a *API) manifest(ctx context.Context, in *idIn) (*rawOut, error) {
	text, err := a.opt.Store.BackupManifest(ctx, actorOf(ctx), in.ID)
	if err != nil {
		return nil, err
	}
	return &rawOut{ContentType: "application/json", Body: text}, nil
}

func (a *API) cancelled(j controller.Job, err error) (*bodyOut[controller.Job], error) {
	if err == nil {
		a.opt.Fleet.Kick()
	}
	return out(j, err)
}

func (a *API) registerVerify() {
	view := []string{controller.ViewBackups}
	register(a, operation{id: "verify-backup", audit: "backup.verify", method: http.MethodPost, path: "/backups/{id}/verify", summary: "Verify one backup", tag: tagBackups, access: view, creates: true, status: http.StatusAccepted},
		func(ctx context.Context, in *optionalIn[body.CreateVerify]) (*bodyOut[controller.Job], error) {
			jobs, err := a.verify(ctx, controller.VerifyRequest{Backup: in.ID, Level: in.body().Level})
			if err != nil {
				return nil, err
			}
			if len(jobs) == 0 {
				return nil, controller.Errorf(controller.EConflict, "backup %d cannot be verified", in.ID)
			}
			return out(jobs[0], nil)
		})
	register(a, operation{id: "verify-backups", audit: "backup.verify", method: http.MethodPost, path: "/backups/verify", summary: "Verify all backups that are not verified yet, or all of a project", tag: tagBackups, access: view, creates: true, status: http.StatusAccepted},
		func(ctx context.Context, in *bodyIn[body.CreateVerifications]) (*bodyOut[body.List[controller.Job]], error) {
			if !in.Body.All && in.Body.Project == "" {
				return nil, controller.Invalid("all", "is missing; set it, or give a project")
			}
			return list(a.verify(ctx, controller.VerifyRequest{All: in.Body.All, Project: in.Body.Project, Level: in.Body.Level}))
		})
}

func (a *API) verify(ctx context.Context, r controller.VerifyRequest) ([]controller.Job, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	jobs, err := a.opt.Store.CreateVerify(ctx, actorOf(ctx), r)
	if err == nil {
		a.opt.Fleet.Kick()
	}
	return jobs, err
}
