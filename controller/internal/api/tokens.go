package api

import (
	"context"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

func (a *API) createToken(ctx context.Context, in *bodyIn[body.CreateToken]) (*bodyOut[body.NewToken], error) {
	spec := controller.TokenSpec{
		Name: in.Body.Name, Permissions: in.Body.Permissions, Projects: in.Body.Projects,
		TTL: time.Duration(in.Body.TTLSeconds) * time.Second,
	}
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	token, hash := NewToken()
	t, err := a.opt.Store.CreateToken(ctx, actorOf(ctx), spec, hash)
	return out(body.NewToken{APIToken: t, Token: token}, err)
}
