package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

// CreatePreDeploy orders backups before a deploy, and waits as long as in.WaitSeconds says. The same key is the same order. One that failed
// is a body.Problem, which tells of each database.
func (c *Client) CreatePreDeploy(ctx context.Context, project, key string, in body.CreatePreDeploy) (controller.PreDeploy, error) {
	return do[controller.PreDeploy](ctx, c, call{method: http.MethodPost, path: path("projects", project, "pre-deploy"), body: in, key: key})
}

// PreDeploy is what became of them, after so long at most. It answers as CreatePreDeploy does.
func (c *Client) PreDeploy(ctx context.Context, n int64, wait time.Duration) (controller.PreDeploy, error) {
	return get[controller.PreDeploy](ctx, c, url.Values{"wait_seconds": {strconv.Itoa(int(wait.Seconds()))}}, "pre-deploys", id(n))
}
