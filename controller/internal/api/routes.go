package api

import (
	"context"
	"net/http"

	"devflowbackup/controller/internal/api/body"
	"devflowbackup/shared/wire"
)

const (
	tagProjects  = "projects"
	tagServers   = "servers"
	tagDatabases = "databases"
	tagStorages  = "storages"
	tagBackups   = "backups"
	tagRestores  = "restores"
	tagTokens    = "tokens"
	tagSystem    = "system"
	tagSchedules = "schedules"
	tagRetention = "retention"
)

// registerAll lists every operation by its file.
func (a *API) registerAll() {
	a.registerProjects()
	a.registerServers()
	a.registerEnrolment()
	a.registerDatabases()
	a.registerStorages()
	a.registerBackups()
	a.registerDownloads()
	a.registerVerify()
	a.registerRestores()
	a.registerSchedules()
	a.registerPauses()
	a.registerHolds()
	a.registerCleanup()
	a.registerInventory()
	a.registerSettings()
	a.registerJobs()
	a.registerTokens()
	a.registerAudit()
	a.registerSystem()
}

// Parts of requests and answers that many operations share. Those that are embedded have to be exported for huma to see them.
type (
	none   struct{}
	refIn  struct{ RefPath }
	idIn   struct{ IDPath }
	answer struct{}

	// RefPath names a thing in the path.
	RefPath struct {
		Ref string `path:"ref" minLength:"1" maxLength:"500" doc:"Name or id; a project's slug, id or external id"`
	}
	// IDPath names a thing by its id in the path.
	IDPath struct {
		ID int64 `path:"id" minimum:"1"`
	}
	bodyIn[T any]  struct{ Body T }
	bodyOut[T any] struct{ Body T }
	// optionalIn is a request whose body may be left out.
	optionalIn[T any] struct {
		IDPath
		Body *T
	}
	idBodyIn[T any] struct {
		IDPath
		Body T
	}
	refBodyIn[T any] struct {
		RefPath
		Body T
	}
)

func (in *optionalIn[T]) body() T {
	if in.Body == nil {
		var zero T
		return zero
	}
	return *in.Body
}

func out[T any](v T, err error) (*bodyOut[T], error) {
	if err != nil {
		return nil, err
	}
	return &bodyOut[T]{Body: v}, nil
}

func list[T any](items []T, err error) (*bodyOut[body.List[T]], error) {
	if items == nil {
		items = []T{}
	}
	return out(body.List[T]{Items: items}, err)
}

// PageIn is the cursor of a list that is newest first.
type PageIn struct {
	BeforeID int64 `query:"before_id" minimum:"0" doc:"Rows with ids below it; the newest if absent"`
	Limit    int   `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

// page makes a page of rows. After a full one another may follow; it can be empty.
func page[T any](rows []T, limit int, id func(T) int64, err error) (*bodyOut[body.Page[T]], error) {
	if err != nil {
		return nil, err
	}
	p := body.Page[T]{Items: rows}
	if p.Items == nil {
		p.Items = []T{}
	}
	if len(rows) >= limit {
		p.Items = rows[:limit]
		next := id(p.Items[limit-1])
		p.NextBeforeID = &next
	}
	return &bodyOut[body.Page[T]]{Body: p}, nil
}

func (a *API) registerSystem() {
	register(a, operation{id: "get-version", method: http.MethodGet, path: "/version", summary: "Versions of the controller and its protocols", tag: tagSystem, access: []string{accessToken}},
		func(context.Context, *none) (*bodyOut[body.Version], error) {
			info := a.opt.Fleet.Enrolment()
			return out(body.Version{
				Version: a.opt.Version, API: "v1", Protocol: wire.Version, CA: info.CAFingerprint, SigningKeys: append([]wire.Key{}, info.KeySet.Keys...),
			}, nil)
		})
	register(a, operation{id: "whoami", method: http.MethodGet, path: "/whoami", summary: "The token that asks", tag: tagSystem, access: []string{accessToken}},
		func(ctx context.Context, _ *none) (*bodyOut[body.Whoami], error) {
			actor := actorOf(ctx)
			return out(body.Whoami{
				TokenID: actor.TokenID, Name: actor.Name, AllProjects: actor.Scope.All,
				Permissions: append([]string{}, actor.Permissions...), Projects: append([]int64{}, actor.Scope.Projects...),
			}, nil)
		})
}
