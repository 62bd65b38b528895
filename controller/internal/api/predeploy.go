package api

import (
	"context"
	"net/http"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

const (
	preDeployLook = 500 * time.Millisecond
	// preDeployWait bounds one request; who waits longer asks again.
	preDeployWait = time.Hour
)

func (a *API) registerPreDeploy() {
	create := []string{controller.CreateBackups}
	register(a, operation{
		id: "pre-deploy", audit: "backup.create", method: http.MethodPost, path: "/projects/{ref}/pre-deploy", tag: tagBackups, access: create, also: http.StatusAccepted, waits: true,
		summary: "Back up a project before a deploy, and wait for it: 200 completed; 409 backup_failed or nothing_to_back_up; 202 where the wait is over first. The same Idempotency-Key goes on waiting",
	}, a.preDeploy)
	register(a, operation{
		id: "get-pre-deploy", method: http.MethodGet, path: "/pre-deploys/{id}", tag: tagBackups, access: create, also: http.StatusAccepted, errors: []int{http.StatusConflict}, waits: true,
		summary: "What became of the backups before a deploy, and wait for them; answers as the order does",
	}, a.getPreDeploy)
}

type preDeployOut struct {
	Status int
	Body   controller.PreDeploy
}

func (a *API) preDeploy(ctx context.Context, in *struct {
	RefPath
	Key  string `header:"Idempotency-Key" maxLength:"200" doc:"A random text: a request that is sent again with it, after a broken connection, waits for the same backups"`
	Body *body.CreatePreDeploy
},
) (*preDeployOut, error) {
	b := body.CreatePreDeploy{}
	if in.Body != nil {
		b = *in.Body
	}
	if in.Key != "" && !idempotencyKey.MatchString(in.Key) {
		return nil, controller.Invalid(body.IdempotencyKey, "is not 1 to 200 printable characters without spaces")
	}
	deadline := time.Duration(b.DeadlineSeconds) * time.Second
	p, err := a.opt.Store.CreatePreDeploy(ctx, actorOf(ctx), controller.PreDeployRequest{
		Project: in.Ref, Databases: b.Databases, Storage: b.Storage, Deadline: deadline, Key: in.Key,
	})
	if err != nil {
		return nil, nothingIsACode(err)
	}
	a.opt.Fleet.Kick()
	wait := preDeployWait
	if b.WaitSeconds != nil {
		wait = time.Duration(*b.WaitSeconds) * time.Second
	}
	return a.awaitPreDeploy(ctx, p, wait)
}

func (a *API) getPreDeploy(ctx context.Context, in *struct {
	IDPath
	WaitSeconds int64 `query:"wait_seconds" minimum:"0" maximum:"3600" doc:"How long to wait for the end; absent: not at all"`
},
) (*preDeployOut, error) {
	p, err := a.opt.Store.PreDeploy(ctx, actorOf(ctx), in.ID)
	if err != nil {
		return nil, err
	}
	return a.awaitPreDeploy(ctx, p, time.Duration(in.WaitSeconds)*time.Second)
}

// awaitPreDeploy looks until it has ended, or the wait is over.
func (a *API) awaitPreDeploy(ctx context.Context, p controller.PreDeploy, wait time.Duration) (*preDeployOut, error) {
	over := time.NewTimer(wait)
	defer over.Stop()
	look := time.NewTicker(preDeployLook)
	defer look.Stop()
	for p.Status == controller.StatusRunning {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-over.C:
			return &preDeployOut{Status: http.StatusAccepted, Body: p}, nil
		case <-look.C:
		}
		next, err := a.opt.Store.PreDeploy(ctx, actorOf(ctx), p.ID)
		if err != nil {
			return nil, err
		}
		if ordered(next) > ordered(p) {
			a.opt.Fleet.Kick()
		}
		p = next
	}
	if p.Status == controller.StatusCompleted {
		return &preDeployOut{Status: http.StatusOK, Body: p}, nil
	}
	return nil, preDeployFailed(p)
}

func ordered(p controller.PreDeploy) (n int) {
	for _, d := range p.Databases {
		if d.BackupID != nil {
			n++
		}
	}
	return n
}

// preDeployFailed names the first database that failed; all of them are in the problem.
func preDeployFailed(p controller.PreDeploy) *body.Problem {
	e := controller.Errorf(body.CodeBackupFailed, "the backups before the deploy failed")
	for _, d := range p.Databases {
		if d.Status != controller.StatusFailed {
			continue
		}
		if d.ErrorMessage != nil {
			e.Message = "the backup of " + d.DatabaseName + " failed: " + *d.ErrorMessage
		}
		if d.ErrorHint != nil {
			e.Hint = *d.ErrorHint
		}
		break
	}
	problem := newProblem("", e)
	problem.PreDeploy = &p
	return problem
}
