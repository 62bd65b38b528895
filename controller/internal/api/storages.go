package api

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

func (a *API) registerStorages() {
	view, manage := []string{controller.ViewBackups}, []string{controller.ManageStorages}
	store := a.opt.Store
	register(a, operation{id: "list-storages", method: http.MethodGet, path: "/storages", summary: "Places for artifacts, by name", tag: tagStorages, errors: []int{http.StatusNotFound}, access: view},
		func(ctx context.Context, in *struct {
			Project string `query:"project" doc:"Slug, id or external id; its own storages and those of all projects"`
			Kind    string `query:"kind" enum:"s3,local"`
			PartIn
		},
		) (*bodyOut[body.Part[controller.Storage]], error) {
			f := controller.StorageFilter{Project: in.Project, Kind: in.Kind, Part: in.part()}
			rows, err := store.Storages(ctx, actorOf(ctx), f)
			return part(in.PartIn, rows, func(s controller.Storage) int64 { return s.ID }, err, func() (controller.Total, error) { return store.CountStorages(ctx, actorOf(ctx), f) })
		})
	register(a, operation{id: "create-storage", audit: "storage.create", method: http.MethodPost, path: "/storages", summary: "Add a storage that passes its probe", tag: tagStorages, access: manage, creates: true, patient: true}, a.createStorage)
	register(a, operation{id: "get-storage", method: http.MethodGet, path: "/storages/{ref}", summary: "One storage with its last probe", tag: tagStorages, access: view},
		func(ctx context.Context, in *refIn) (*tagged[controller.Storage], error) {
			return tag(store.Storage(ctx, actorOf(ctx), in.Ref))
		})
	register(a, operation{id: "update-storage", audit: "storage.update", method: http.MethodPatch, path: "/storages/{ref}", summary: "Rename a storage, or reach it otherwise: what changed has to pass a probe", tag: tagStorages, access: manage, patient: true, edits: true}, a.updateStorage)
	register(a, operation{id: "probe-storage", unaudited: "it looks at a storage and changes no policy", method: http.MethodPost, path: "/storages/{ref}/probe", summary: "Try a storage again and record what was found", tag: tagStorages, access: manage, patient: true}, a.probeStorage)
	register(a, operation{id: "set-default-storage", audit: "storage.default", method: http.MethodPost, path: "/storages/{ref}/default", summary: "Use a storage for backups that name none", tag: tagStorages, access: manage, edits: true},
		func(ctx context.Context, in *refIn) (*tagged[controller.Storage], error) {
			return tag(store.SetDefaultStorage(ctx, actorOf(ctx), in.Ref))
		})
	register(a, operation{id: "delete-storage", audit: "storage.delete", method: http.MethodDelete, path: "/storages/{ref}", summary: "Forget a storage that holds no backup", tag: tagStorages, access: manage, status: http.StatusNoContent, edits: true},
		func(ctx context.Context, in *refIn) (*answer, error) {
			return nil, store.DeleteStorage(ctx, actorOf(ctx), in.Ref)
		})
}

func (a *API) createStorage(ctx context.Context, in *bodyIn[body.CreateStorage]) (*tagged[controller.Storage], error) {
	b := in.Body
	spec := controller.StorageSpec{
		Name: b.Name, Project: b.Project, Kind: cmp.Or(b.Kind, controller.StorageS3), Endpoint: b.Endpoint, Region: b.Region,
		Bucket: b.Bucket, Prefix: b.Prefix, PathStyle: b.Endpoint != "", Default: b.Default, AccessKey: b.AccessKey, SecretKey: b.SecretKey,
	}
	if spec.Kind == controller.StorageS3 && spec.Region == "" {
		spec.Region = "us-east-1"
	}
	if b.PathStyle != nil {
		spec.PathStyle = *b.PathStyle
	}
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	if spec.Project != "" { // a wrong project is told before the store is tried
		if _, err := a.opt.Store.Project(ctx, actorOf(ctx), spec.Project); err != nil {
			return nil, err
		}
	}
	res, err := a.opt.Fleet.Probe(ctx, spec)
	if err != nil {
		return nil, err
	}
	if !res.OK && !b.Force {
		return nil, probeProblem(res, "correct it and add the storage again, or add it with force and probe it later")
	}
	return tag(a.opt.Store.CreateStorage(ctx, actorOf(ctx), spec, res.Report, res.OK, res.ChecksumMode))
}

// updateStorage probes what changed beside what is in use, and keeps it only if that passed.
func (a *API) updateStorage(ctx context.Context, in *refBodyIn[body.UpdateStorage]) (*tagged[controller.Storage], error) {
	b, actor := in.Body, actorOf(ctx)
	change := controller.StorageChange{
		Name: b.Name, Endpoint: b.Endpoint, Region: b.Region, PathStyle: b.PathStyle, AccessKey: b.AccessKey, SecretKey: b.SecretKey, Force: b.Force,
	}
	s, err := a.opt.Store.Storage(ctx, actor, in.Ref)
	if err != nil {
		return nil, err
	}
	if err := change.Validate(s.Kind); err != nil {
		return nil, err
	}
	ref := strconv.FormatInt(s.ID, 10)
	if !change.Reaches() {
		return tag(a.opt.Store.UpdateStorage(ctx, actor, ref, change, s.Probe, s.ProbeOK, s.ChecksumMode))
	}
	if s.ProjectID == nil && !actor.Scope.All { // the catalog refuses it; the credentials in use are not tried for that
		return nil, controller.Errorf(controller.EForbidden, "storages of all projects belong to the whole installation, the token is limited to projects")
	}
	res, err := a.opt.Fleet.ProbeChange(ctx, s, change)
	if err != nil {
		return nil, err
	}
	if !res.OK && !b.Force {
		return nil, probeProblem(res, "the storage is as it was: correct the change, or make it with force and probe it later")
	}
	return tag(a.opt.Store.UpdateStorage(ctx, actor, ref, change, res.Report, res.OK, res.ChecksumMode))
}

// probeStorage answers with the storage as the probe left it: a probe that fails is a result.
func (a *API) probeStorage(ctx context.Context, in *refIn) (*tagged[controller.Storage], error) {
	s, err := a.opt.Store.Storage(ctx, actorOf(ctx), in.Ref)
	if err != nil {
		return nil, err
	}
	if _, err := a.opt.Fleet.ProbeStored(ctx, s.ID); err != nil {
		return nil, err
	}
	return tag(a.opt.Store.Storage(ctx, actorOf(ctx), strconv.FormatInt(s.ID, 10)))
}

// probeProblem names the step that failed first, what was found and what to do, which is otherwise if the step does not say.
func probeProblem(res ProbeResult, otherwise string) *body.Problem {
	var report struct {
		Steps []struct {
			Name     string `json:"name"`
			OK       bool   `json:"ok"`
			Required bool   `json:"required"`
			Detail   string `json:"detail"`
			Hint     string `json:"hint"`
		} `json:"steps"`
	}
	e := controller.Errorf(body.CodeProbeFailed, "the storage did not pass its probe: %s", cmp.Or(res.Summary, "no reason was given"))
	if json.Unmarshal(res.Report, &report) == nil {
		for _, s := range report.Steps {
			if s.Required && !s.OK {
				e = controller.Errorf(body.CodeProbeFailed, "the storage did not pass its probe at %q: %s", s.Name, s.Detail)
				e.Hint = s.Hint
				break
			}
		}
	}
	if e.Hint == "" {
		e.Hint = otherwise
	}
	p := newProblem("", e)
	p.Probe = res.Report
	return p
}
