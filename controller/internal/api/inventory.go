package api

import (
	"context"
	"net/http"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

func (a *API) registerInventory() {
	type findingsIn struct {
		RefPath
		Limit int `query:"limit" minimum:"1" maximum:"1000" default:"200" doc:"Rows of an answer"`
	}
	manage := []string{controller.ManageStorages}
	store := a.opt.Store
	register(a, operation{id: "get-inventory", method: http.MethodGet, path: "/storages/{ref}/inventory", summary: "The last inventory of a storage; of a local one that of each host, by the name of its server", tag: tagStorages, access: manage},
		func(ctx context.Context, in *struct {
			RefPath
			After int64 `query:"after_server_id" minimum:"0" doc:"Hosts that follow the server with this id; the first if absent"`
			Limit int   `query:"limit" minimum:"1" maximum:"200" default:"200" doc:"Rows of an answer"`
		},
		) (*bodyOut[body.List[controller.StorageInventory]], error) {
			return list(store.StorageInventories(ctx, actorOf(ctx), in.Ref, in.After, in.Limit))
		})
	register(a, operation{id: "request-inventory", unaudited: "it looks at a storage and changes no policy", method: http.MethodPost, path: "/storages/{ref}/inventory", summary: "Hold a storage against the catalog now", tag: tagStorages, access: manage, status: http.StatusAccepted},
		func(ctx context.Context, in *refIn) (*bodyOut[body.List[controller.StorageInventory]], error) {
			out, err := list(store.RequestInventory(ctx, actorOf(ctx), in.Ref))
			a.opt.Fleet.Kick()
			return out, err
		})
	register(a, operation{id: "list-findings", method: http.MethodGet, path: "/storages/{ref}/findings", summary: "What lies on a storage and is not the catalog's; it is never touched", tag: tagStorages, access: manage},
		func(ctx context.Context, in *findingsIn) (*bodyOut[body.List[controller.StorageFinding]], error) {
			return list(store.StorageFindings(ctx, actorOf(ctx), in.Ref, in.Limit))
		})
}
