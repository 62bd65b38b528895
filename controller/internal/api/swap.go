package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/shared/wire"
)

// inspectTimeout bounds how long an agent is waited for that looks at a target.
const inspectTimeout = 70 * time.Second

func (a *API) planRestore(ctx context.Context, in *bodyIn[body.CreateRestore]) (*bodyOut[controller.RestorePlan], error) {
	r := in.Body.Request()
	if err := r.Validate(); err != nil {
		return nil, err
	}
	d, err := a.opt.Store.DraftRestore(ctx, actorOf(ctx), r)
	if err != nil {
		return nil, err
	}
	return out(a.plan(ctx, d))
}

func (a *API) planUndo(ctx context.Context, in *optionalIn[body.Swap]) (*bodyOut[controller.RestorePlan], error) {
	r := in.body().Request()
	if err := r.Validate(); err != nil {
		return nil, err
	}
	d, err := a.opt.Store.DraftUndo(ctx, actorOf(ctx), in.ID, r)
	if err != nil {
		return nil, err
	}
	return out(a.plan(ctx, d))
}

func (a *API) createRestore(ctx context.Context, in *bodyIn[body.CreateRestore]) (*bodyOut[controller.Restore], error) {
	r := in.Body.Request()
	if err := r.Validate(); err != nil {
		return nil, err
	}
	if r.InPlace {
		d, err := a.opt.Store.DraftRestore(ctx, actorOf(ctx), r)
		if err != nil {
			return nil, err
		}
		if r.Identity, err = a.settled(ctx, d, r.SwapRequest); err != nil {
			return nil, err
		}
	}
	row, err := a.opt.Store.CreateRestore(ctx, actorOf(ctx), r)
	if err == nil {
		a.opt.Fleet.Kick()
	}
	return out(row, err)
}

func (a *API) undoRestore(ctx context.Context, in *idBodyIn[body.Swap]) (*bodyOut[controller.Restore], error) {
	r := in.Body.Request()
	if err := r.Validate(); err != nil {
		return nil, err
	}
	d, err := a.opt.Store.DraftUndo(ctx, actorOf(ctx), in.ID, r)
	if err != nil {
		return nil, err
	}
	if r.Identity, err = a.settled(ctx, d, r); err != nil {
		return nil, err
	}
	row, err := a.opt.Store.CreateUndo(ctx, actorOf(ctx), in.ID, r)
	if err == nil {
		a.opt.Fleet.Kick()
	}
	return out(row, err)
}

// settled plans what replaces a database and gives the identity of the one that is there. Another name typed, something that stops it,
// and another identity than the caller has seen are refusals.
func (a *API) settled(ctx context.Context, d controller.Draft, r controller.SwapRequest) (string, error) {
	if r.Confirm != d.Database {
		return "", controller.Invalid("confirm", "is not the name of the database that is to be replaced").
			WithHint("type %q, exactly so, to replace it on %s / %s", d.Database, d.Server.Name, d.Instance.Name)
	}
	plan, err := a.plan(ctx, d)
	if err != nil {
		return "", err
	}
	if !plan.CanStart {
		first := plan.Problems[0]
		return "", &body.Problem{
			Type: "about:blank", Title: http.StatusText(http.StatusConflict), Status: http.StatusConflict,
			Code: first.Code, Detail: first.Text, Hint: first.Hint, Problems: plan.Problems,
		}
	}
	identity := plan.Target.Found.Identity
	if r.Identity != "" && r.Identity != identity {
		changed := wire.Problem{
			Stops: true, Code: wire.CodeTargetChanged, Text: "the database at the target is not the one that was looked at: it was dropped and made again, or is another one",
			Hint: "look at the target, and plan again",
		}
		return "", &body.Problem{
			Type: "about:blank", Title: http.StatusText(http.StatusConflict), Status: http.StatusConflict,
			Code: changed.Code, Detail: changed.Text, Hint: changed.Hint, Problems: append([]wire.Problem{changed}, plan.Problems...),
		}
	}
	return identity, nil
}

// plan has the target's agent look, and makes the plan of what it and the catalog know. An agent that cannot look is told in the plan.
func (a *API) plan(ctx context.Context, d controller.Draft) (controller.RestorePlan, error) {
	looking, cancel := context.WithTimeoutCause(ctx, inspectTimeout, wire.Failf(wire.CodeUnavailable, "it did not answer in time").Retry())
	defer cancel()
	found, err := a.opt.Fleet.Inspect(looking, d.Server, inspection(d))
	var failure *wire.Failure
	switch {
	case ctx.Err() != nil:
		return controller.RestorePlan{}, context.Cause(ctx)
	case err != nil && looking.Err() != nil:
		err = context.Cause(looking)
	case err != nil && !errors.As(err, &failure):
		return controller.RestorePlan{}, err
	}
	if err != nil {
		found = nil
	}
	return controller.PlanRestore(d, found, err), nil
}

// inspection is what the agent is asked to look at.
func inspection(d controller.Draft) wire.InspectOrder {
	o := wire.InspectOrder{
		Instance: d.Instance.Name, Engine: d.Engine, Database: d.Database, InPlace: d.Request.InPlace || d.Kind == controller.UndoKind, Sessions: d.Request.Sessions,
	}
	if d.Kind == controller.UndoKind { // nothing is read or filled
		return o
	}
	f := d.Metadata
	o.DumpServerVersion, o.DumpToolVersion, o.DumpBytes, o.DatabaseBytes, o.Extensions = f.ServerVersion, f.ToolVersion, f.RawBytes, f.DatabaseBytes, f.Extensions
	choices := d.Request.Choices
	o.Choices = &choices
	return o
}
