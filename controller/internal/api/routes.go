package api

import (
	"context"
	"net/http"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/shared/wire"
)

const (
	tagProjects   = "projects"
	tagServers    = "servers"
	tagDatabases  = "databases"
	tagStorages   = "storages"
	tagBackups    = "backups"
	tagRestores   = "restores"
	tagTokens     = "tokens"
	tagUsers      = "users"
	tagSession    = "session"
	tagSystem     = "system"
	tagSchedules  = "schedules"
	tagStatistics = "statistics"
	tagRetention  = "retention"
	tagAlarms     = "alarms"
	tagProtection = "protection"
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
	a.registerChannels()
	a.registerAlarms()
	a.registerMutes()
	a.registerJobs()
	a.registerStatistics()
	a.registerProtection()
	a.registerEvents()
	a.registerPreDeploy()
	a.registerTokens()
	a.registerUsers()
	a.registerSession()
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
		ID int64 `path:"id" minimum:"1" doc:"Its id"`
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

// NumberIn asks for a page by its number.
type NumberIn struct {
	Page    int `query:"page" minimum:"0" maximum:"10000" doc:"A page by its number, from 1, with the total; instead of a cursor"`
	PerPage int `query:"per_page" minimum:"1" maximum:"100" default:"10" doc:"Rows of a numbered page"`
}

func (in NumberIn) number() controller.NumberedPage {
	if in.Page == 0 {
		return controller.NumberedPage{}
	}
	return controller.NumberedPage{Page: in.Page, PerPage: in.PerPage}
}

// numbered is what an answer says of its number.
func (in NumberIn) numbered(t controller.Total) body.Numbered {
	last := max((t.N+int64(in.PerPage)-1)/int64(in.PerPage), 1)
	return body.Numbered{Page: in.Page, PerPage: in.PerPage, LastPage: int(min(last, controller.MaxCounted/int64(in.PerPage))), Total: &t.N, TotalMore: t.More}
}

// PageIn is the cursor of a list that is newest first.
type PageIn struct {
	BeforeID int64 `query:"before_id" minimum:"0" doc:"Those that come before the row with this id; the newest if absent"`
	Limit    int   `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Rows of an answer"`
}

// PartIn is the cursor of a list that is in an order of its own.
type PartIn struct {
	AfterID int64 `query:"after_id" minimum:"0" doc:"Those that follow the row with this id; the first if absent"`
	Limit   int   `query:"limit" minimum:"1" maximum:"500" default:"100" doc:"Rows of an answer"`
	NumberIn
}

func (in PartIn) part() controller.Part {
	return controller.Part{AfterID: in.AfterID, Limit: in.Limit, NumberedPage: in.number()}
}

// part makes a part of rows, or a page by its number.
func part[T any](in PartIn, rows []T, id func(T) int64, err error, count func() (controller.Total, error)) (*bodyOut[body.Part[T]], error) {
	if err != nil {
		return nil, err
	}
	p := body.Part[T]{Items: rows}
	if p.Items == nil {
		p.Items = []T{}
	}
	switch {
	case in.Page != 0:
		total, err := count()
		if err != nil {
			return nil, err
		}
		p.Numbered = in.numbered(total)
	case len(rows) >= in.Limit:
		last := id(rows[len(rows)-1])
		p.NextAfterID = &last
	}
	return out(p, nil)
}

// flag is a filter that is true, false or absent.
func flag(text string) *bool {
	if text == "" {
		return nil
	}
	on := text == "true"
	return &on
}

// BetweenIn bounds when rows were made.
type BetweenIn struct {
	Since time.Time `query:"since" doc:"Those made from then on"`
	Until time.Time `query:"until" doc:"Those made before"`
}

func (in BetweenIn) between() controller.Between {
	var b controller.Between
	if !in.Since.IsZero() {
		b.Since = &in.Since
	}
	if !in.Until.IsZero() {
		b.Until = &in.Until
	}
	return b
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

// either makes a page by its number, with the total, where one is asked for, and by its cursor otherwise.
func either[T any](number NumberIn, rows []T, limit int, id func(T) int64, err error, count func() (controller.Total, error)) (*bodyOut[body.Page[T]], error) {
	if err != nil || number.Page == 0 {
		return page(rows, limit, id, err)
	}
	total, err := count()
	if err != nil {
		return nil, err
	}
	if rows == nil {
		rows = []T{}
	}
	return &bodyOut[body.Page[T]]{Body: body.Page[T]{Items: rows, Numbered: number.numbered(total)}}, nil
}

func (a *API) registerSystem() {
	register(a, operation{id: "get-version", method: http.MethodGet, path: "/version", summary: "Versions of the controller and its protocols", tag: tagSystem, access: []string{accessToken}},
		func(context.Context, *none) (*bodyOut[body.Version], error) {
			info := a.opt.Fleet.Enrolment()
			return out(body.Version{
				Version: a.opt.Version, API: "v1", Protocol: wire.Version, CA: info.CAFingerprint, SigningKeys: append([]wire.Key{}, info.KeySet.Keys...),
			}, nil)
		})
	register(a, operation{id: "whoami", method: http.MethodGet, path: "/whoami", summary: "Who asks, and what they may do where", tag: tagSystem, access: []string{accessToken}},
		func(ctx context.Context, _ *none) (*bodyOut[body.Whoami], error) {
			actor := actorOf(ctx)
			return out(whoami(actor), nil)
		})
}
