package api

import (
	"context"
	"net/http"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

func (a *API) registerServers() {
	view, manage := []string{controller.ViewBackups}, []string{controller.ManageServers}
	store := a.opt.Store
	register(a, operation{id: "list-servers", method: http.MethodGet, path: "/servers", summary: "Hosts with an agent, by name; revoked ones come last", tag: tagServers, errors: []int{http.StatusNotFound}, access: view},
		func(ctx context.Context, in *struct {
			Project string `query:"project" doc:"Slug, id or external id; those that it may use"`
			Search  string `query:"search" maxLength:"200" doc:"Part of the name, whatever its case"`
			Status  string `query:"status" enum:"online,offline,revoked"`
			PartIn
		},
		) (*bodyOut[body.Part[controller.Server]], error) {
			f := controller.ServerFilter{Project: in.Project, Search: in.Search, Status: in.Status, Part: in.part()}
			rows, err := store.Servers(ctx, actorOf(ctx), f)
			return part(in.PartIn, rows, func(s controller.Server) int64 { return s.ID }, err, func() (controller.Total, error) { return store.CountServers(ctx, actorOf(ctx), f) })
		})
	register(a, operation{id: "get-server", method: http.MethodGet, path: "/servers/{ref}", summary: "One server", tag: tagServers, access: view},
		func(ctx context.Context, in *refIn) (*tagged[controller.Server], error) {
			return tag(store.Server(ctx, actorOf(ctx), in.Ref))
		})
	register(a, operation{id: "revoke-server", audit: "server.revoke", method: http.MethodPost, path: "/servers/{ref}/revoke", summary: "Cut an agent off for good; its backups stay", tag: tagServers, access: manage, edits: true}, a.revokeServer)
	register(a, operation{id: "set-verifier", audit: "server.verifier", method: http.MethodPut, path: "/servers/{ref}/verifier", summary: "Let a server open other hosts' backups to verify them, or not", tag: tagServers, access: manage, edits: true},
		func(ctx context.Context, in *refBodyIn[body.SetVerifier]) (*tagged[controller.Server], error) {
			return tag(store.SetVerifier(ctx, actorOf(ctx), in.Ref, in.Body.Verifier))
		})
}

// revokeServer commits first: the catalog refuses the agent from then on, whether its connection could be cut or not.
func (a *API) revokeServer(ctx context.Context, in *refIn) (*bodyOut[controller.Server], error) {
	s, err := a.opt.Store.RevokeServer(ctx, actorOf(ctx), in.Ref)
	if err != nil {
		return nil, err
	}
	if err := a.opt.Fleet.Revoke(context.WithoutCancel(ctx), s); err != nil {
		a.opt.Log.Error("revoked server is still connected to the broker; the catalog refuses what it says", "server", s.Name, "err", err)
	}
	a.opt.Fleet.Kick()
	return out(s, nil)
}

func (a *API) registerDatabases() {
	type databasesIn struct {
		Project    string `query:"project" doc:"Slug, id or external id"`
		Server     string `query:"server" doc:"Name or id"`
		Name       string `query:"name" doc:"Exact name"`
		Search     string `query:"search" maxLength:"200" doc:"Part of the name, whatever its case"`
		Engine     string `query:"engine" enum:"postgresql,mysql,sqlite"`
		Unassigned bool   `query:"unassigned" doc:"Only those of no project"`
		PartIn
	}
	manage := []string{controller.ManageProjects}
	store := a.opt.Store
	register(a, operation{id: "list-databases", method: http.MethodGet, path: "/databases", summary: "Databases that agents found, by server, instance and name", tag: tagDatabases, errors: []int{http.StatusNotFound}, access: []string{controller.ViewBackups}},
		func(ctx context.Context, in *databasesIn) (*bodyOut[body.Part[controller.Database]], error) {
			f := controller.DatabaseFilter{Project: in.Project, Server: in.Server, Name: in.Name, Search: in.Search, Engine: in.Engine, Unassigned: in.Unassigned, Part: in.part()}
			rows, err := store.Databases(ctx, actorOf(ctx), f)
			return part(in.PartIn, rows, func(d controller.Database) int64 { return d.ID }, err, func() (controller.Total, error) { return store.CountDatabases(ctx, actorOf(ctx), f) })
		})
	register(a, operation{id: "assign-database", audit: "database.assign", method: http.MethodPost, path: "/databases/assign", summary: "Give a database to a project", tag: tagDatabases, access: manage},
		func(ctx context.Context, in *bodyIn[body.AssignDatabase]) (*bodyOut[controller.Database], error) {
			ref, err := databaseRef(in.Body)
			if err != nil {
				return nil, err
			}
			if in.Body.Project == "" {
				return nil, controller.Invalid("project", "is missing")
			}
			return out(store.AssignDatabase(ctx, actorOf(ctx), ref, in.Body.Project))
		})
	register(a, operation{id: "unassign-database", audit: "database.unassign", method: http.MethodPost, path: "/databases/unassign", summary: "Take a database from its project; its backups stay", tag: tagDatabases, access: manage},
		func(ctx context.Context, in *bodyIn[body.AssignDatabase]) (*bodyOut[controller.Database], error) {
			ref, err := databaseRef(in.Body)
			if err != nil {
				return nil, err
			}
			if in.Body.Project != "" {
				return nil, controller.Invalid("project", "is not taken here; the database is in one project at most")
			}
			return out(store.UnassignDatabase(ctx, actorOf(ctx), ref))
		})
}

func databaseRef(b body.AssignDatabase) (controller.DatabaseRef, error) {
	if (b.ID == 0) == (b.Name == "") {
		return controller.DatabaseRef{}, controller.Invalid("name", "give either the database's id or its name")
	}
	return controller.DatabaseRef{ID: b.ID, Server: b.Server, Instance: b.Instance, Name: b.Name}, nil
}
