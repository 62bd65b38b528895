package api

import (
	"context"
	"net/http"
	"strings"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/secret"
)

func (a *API) registerProjects() {
	view, manage := []string{controller.ViewBackups}, []string{controller.ManageProjects}
	store := a.opt.Store
	register(a, operation{id: "list-projects", method: http.MethodGet, path: "/projects", summary: "The projects that the caller sees, by slug", tag: tagProjects, errors: []int{http.StatusNotFound}, access: view},
		func(ctx context.Context, in *struct {
			Search string `query:"search" maxLength:"200" doc:"Part of the slug or the name, whatever its case"`
			Server string `query:"server" doc:"Name or id; those that may use it"`
			PartIn
		},
		) (*bodyOut[body.Part[controller.Project]], error) {
			f := controller.ProjectFilter{Search: in.Search, Server: in.Server, Part: in.part()}
			rows, err := store.Projects(ctx, actorOf(ctx), f)
			return part(in.PartIn, rows, func(p controller.Project) int64 { return p.ID }, err, func() (controller.Total, error) { return store.CountProjects(ctx, actorOf(ctx), f) })
		})
	register(a, operation{id: "create-project", audit: "project.create", method: http.MethodPost, path: "/projects", summary: "Make a project and its keys", tag: tagProjects, access: manage, creates: true}, a.createProject)
	register(a, operation{id: "get-project", method: http.MethodGet, path: "/projects/{ref}", summary: "One project", tag: tagProjects, access: view},
		func(ctx context.Context, in *refIn) (*tagged[controller.Project], error) {
			return tag(store.Project(ctx, actorOf(ctx), in.Ref))
		})
	register(a, operation{id: "update-project", audit: "project.update", method: http.MethodPatch, path: "/projects/{ref}", summary: "Change a project", tag: tagProjects, access: manage, edits: true},
		func(ctx context.Context, in *refBodyIn[body.UpdateProject]) (*tagged[controller.Project], error) {
			b := in.Body
			return tag(store.UpdateProject(ctx, actorOf(ctx), in.Ref, controller.ProjectSpec{
				Slug: b.Slug, Name: b.Name, ExternalID: b.ExternalID, DefaultEncryption: b.DefaultEncryption,
				EscrowRecipients: b.EscrowRecipients, DefaultStorage: b.DefaultStorage, MaxJobsPerHour: change(b.MaxJobsPerHour), MaxBytesPerDay: change(b.MaxBytesPerDay),
			}))
		})
	register(a, operation{id: "delete-project", audit: "project.delete", method: http.MethodDelete, path: "/projects/{ref}", summary: "Close a project; its backups stay", tag: tagProjects, access: manage, edits: true, status: http.StatusNoContent},
		func(ctx context.Context, in *refIn) (*answer, error) {
			return nil, store.DeleteProject(ctx, actorOf(ctx), in.Ref)
		})
	register(a, operation{
		id: "get-project-key", audit: "project.export_key", method: http.MethodGet, path: "/projects/{ref}/key", summary: "The keys that open every backup of the project; written to the audit log",
		tag: tagProjects, access: []string{controller.DownloadBackups, controller.ManageProjects}, secret: true,
	}, a.projectKey)
	type grantIn struct {
		RefPath
		Server string `path:"server" minLength:"1" maxLength:"500" doc:"Name or id"`
	}
	register(a, operation{id: "grant-server", audit: "project.grant_server", method: http.MethodPut, path: "/projects/{ref}/servers/{server}", summary: "Let a project use a server", tag: tagProjects, access: manage, status: http.StatusNoContent},
		func(ctx context.Context, in *grantIn) (*answer, error) {
			return nil, store.GrantServer(ctx, actorOf(ctx), in.Ref, in.Server)
		})
	register(a, operation{id: "revoke-server-grant", audit: "project.revoke_server", method: http.MethodDelete, path: "/projects/{ref}/servers/{server}", summary: "Take a server from a project", tag: tagProjects, access: manage, status: http.StatusNoContent},
		func(ctx context.Context, in *grantIn) (*answer, error) {
			return nil, store.RevokeServerGrant(ctx, actorOf(ctx), in.Ref, in.Server)
		})
}

func (a *API) createProject(ctx context.Context, in *bodyIn[body.CreateProject]) (*bodyOut[controller.Project], error) {
	b := in.Body
	spec := controller.ProjectSpec{
		Slug: b.Slug, Name: b.Name, ExternalID: b.ExternalID, DefaultEncryption: b.DefaultEncryption,
		EscrowRecipients: b.EscrowRecipients, DefaultStorage: b.DefaultStorage, AppKey: secret.String(strings.TrimSpace(b.AppKey.Reveal())),
	}
	if !b.AppKey.Empty() && spec.AppKey.Empty() {
		return nil, controller.Invalid("app_key", "is white space only; leave it out to have one made")
	}
	if b.DefaultSchedule != nil {
		schedule := scheduleSpec(b.Slug, body.ScheduleTarget{}, *b.DefaultSchedule)
		var err error
		if schedule.PingHint, err = a.pingHint(schedule.PingURL); err != nil {
			return nil, err
		}
		spec.DefaultSchedule = &schedule
	}
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	identity, recipient, err := artifact.NewIdentity()
	if err != nil {
		return nil, err
	}
	appKey := spec.AppKey.Reveal()
	if appKey == "" {
		appKey = artifact.NewAppKey()
	}
	return out(a.opt.Store.CreateProject(ctx, actorOf(ctx), spec, recipient, []byte(identity), []byte(appKey)))
}

func (a *API) projectKey(ctx context.Context, in *refIn) (*bodyOut[body.ProjectKey], error) {
	p, err := a.opt.Store.Project(ctx, actorOf(ctx), in.Ref)
	if err != nil {
		return nil, err
	}
	keys, err := a.opt.Store.ProjectSecrets(ctx, actorOf(ctx), in.Ref)
	return out(body.ProjectKey{Project: p.Slug, Recipient: p.AgeRecipient, Identity: string(keys.Identity), AppKey: string(keys.AppKey)}, err)
}
