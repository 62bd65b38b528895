package api

import (
	"context"
	"net/http"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

// rotationGrace is how long the old secret of a rotated token works unless told otherwise.
const rotationGrace = 24 * time.Hour

func (a *API) registerTokens() {
	manage := []string{controller.ManageTokens}
	store := a.opt.Store
	register(a, operation{id: "list-tokens", method: http.MethodGet, path: "/tokens", summary: "API tokens, without their secrets, newest first", tag: tagTokens, access: manage},
		func(ctx context.Context, in *struct {
			Kind   string `query:"kind" enum:"api,panel"`
			Active string `query:"active" enum:"true,false" doc:"Only those that work, or only those that are revoked or expired"`
			PageIn
			NumberIn
		},
		) (*bodyOut[body.Page[controller.APIToken]], error) {
			f := controller.TokenFilter{Kind: in.Kind, Active: flag(in.Active), BeforeID: in.BeforeID, Limit: in.Limit, NumberedPage: in.number()}
			rows, err := store.Tokens(ctx, actorOf(ctx), f)
			return either(in.NumberIn, rows, in.Limit, func(t controller.APIToken) int64 { return t.ID }, err, func() (controller.Total, error) { return store.CountTokens(ctx, actorOf(ctx), f) })
		})
	register(a, operation{id: "get-token", method: http.MethodGet, path: "/tokens/{id}", summary: "One API token, without its secret", tag: tagTokens, access: manage},
		func(ctx context.Context, in *idIn) (*tagged[controller.APIToken], error) {
			return tag(store.Token(ctx, actorOf(ctx), in.ID))
		})
	register(a, operation{id: "create-token", audit: "token.create", method: http.MethodPost, path: "/tokens", summary: "Make an API token; it can do and see no more than the one that makes it", tag: tagTokens, access: manage, creates: true, secret: true}, a.createToken)
	register(a, operation{id: "rotate-token", audit: "token.rotate", method: http.MethodPost, path: "/tokens/{id}/rotate", summary: "Give an API token a new secret; the one before works for a day, or as long as is asked for", tag: tagTokens, access: manage, creates: true, secret: true, edits: true, status: http.StatusOK}, a.rotateToken)
	register(a, operation{id: "revoke-token", audit: "token.revoke", method: http.MethodDelete, path: "/tokens/{id}", summary: "End an API token", tag: tagTokens, access: manage, edits: true, status: http.StatusNoContent},
		func(ctx context.Context, in *idIn) (*answer, error) {
			return nil, store.RevokeToken(ctx, actorOf(ctx), in.ID)
		})
}

func (a *API) createToken(ctx context.Context, in *bodyIn[body.CreateToken]) (*bodyOut[body.NewToken], error) {
	spec := controller.TokenSpec{
		Name: in.Body.Name, Kind: in.Body.Kind, Permissions: in.Body.Permissions, Projects: in.Body.Projects,
		TTL: time.Duration(in.Body.TTLSeconds) * time.Second,
	}
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	token, hash := NewToken()
	t, err := a.opt.Store.CreateToken(ctx, actorOf(ctx), spec, hash)
	return out(body.NewToken{APIToken: t, Token: token}, err)
}

func (a *API) rotateToken(ctx context.Context, in *optionalIn[body.RotateToken]) (*bodyOut[body.NewToken], error) {
	grace := rotationGrace
	if seconds := in.body().GraceSeconds; seconds != nil {
		grace = time.Duration(*seconds) * time.Second
	}
	token, hash := NewToken()
	t, err := a.opt.Store.RotateToken(ctx, actorOf(ctx), in.ID, hash, grace)
	return out(body.NewToken{APIToken: t, Token: token}, err)
}
