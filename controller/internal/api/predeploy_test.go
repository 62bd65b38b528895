package api_test

import (
	"net/http"
	"testing"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/shared/wire"
)

// TestPreDeploy: completed, failed or nothing to back up, whatever connection breaks between.
func TestPreDeploy(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Project("shop")
	r.Project("empty")
	r.Storage("s3")
	a := r.Agent("db-1", "shop", "app", "blog")
	const path = "/projects/shop/pre-deploy"

	r.do(http.MethodPost, "/projects/empty/pre-deploy", nil).refused(http.StatusConflict, "nothing_to_back_up")
	r.do(http.MethodPost, path, map[string]any{"databases": []string{"ghost"}}).refused(http.StatusNotFound, "not_found", "ghost")
	r.do(http.MethodPost, path, map[string]any{"deadline_seconds": 99999}).refused(http.StatusUnprocessableEntity, "invalid", "deadline_seconds")
	r.as(r.NewToken([]string{controller.CreateBackups}, "empty"), http.MethodPost, "/api/v1"+path, nil).refused(http.StatusNotFound, "not_found")

	// A request that does not wait, and one that comes after it with the same key.
	now := map[string]any{"wait_seconds": 0}
	first := into[controller.PreDeploy](r.do(http.MethodPost, path, now, body.IdempotencyKey, "deploy-1").is(http.StatusAccepted))
	if len(first.Databases) != 2 || first.Status != "running" || first.Databases[0].Status != "pending" || first.Databases[1].BackupID == nil {
		t.Fatalf("%+v", first)
	}
	r.do(http.MethodPost, path, map[string]any{"databases": []string{"app"}}, body.IdempotencyKey, "deploy-1").refused(http.StatusConflict, "conflict", "another request")
	answers := make(chan *answer, 1)
	go func() { answers <- r.do(http.MethodPost, path, nil, body.IdempotencyKey, "deploy-1") }()
	for _, o := range r.Start(a) {
		r.Complete(a, o)
	}
	done := into[controller.PreDeploy]((<-answers).is(http.StatusOK))
	if done.ID != first.ID || done.Status != "completed" || done.Databases[1].FileSize == nil || *done.Databases[0].BackupID != *first.Databases[0].BackupID {
		t.Fatalf("%+v", done)
	}

	// One that fails is the failure of all, at once. It waits for one that is running, and orders another.
	r.do(http.MethodPost, "/backups", map[string]any{"database": "app"}).is(http.StatusCreated)
	running := r.Start(a)
	second := into[controller.PreDeploy](r.do(http.MethodPost, path, now, body.IdempotencyKey, "deploy-2").is(http.StatusAccepted))
	if second.Databases[0].Status != controller.StatusWaiting || second.Databases[0].BackupID != nil || second.Databases[1].Status != "pending" {
		t.Fatalf("%+v", second)
	}
	r.Complete(a, running[0])
	third := into[controller.PreDeploy](r.do(http.MethodPost, path, now, body.IdempotencyKey, "deploy-2").is(http.StatusAccepted))
	if third.Databases[0].BackupID == nil || *third.Databases[0].BackupID == running[0].Backup.ID {
		t.Fatalf("%+v", third)
	}
	for _, o := range r.Start(a) {
		if o.Backup.DatabaseName == "blog" {
			r.Break(a, o, wire.Failf(wire.CodeAuth, "the password was refused"))
		}
	}
	p := r.do(http.MethodPost, path, nil, body.IdempotencyKey, "deploy-2").refused(http.StatusConflict, "backup_failed", "blog", "password was refused")
	if p.PreDeploy == nil || p.PreDeploy.ID != second.ID || p.PreDeploy.Databases[1].Status != "failed" {
		t.Fatalf("%+v", p.PreDeploy)
	}
	r.do(http.MethodGet, "/pre-deploys/"+number(second.ID), nil).refused(http.StatusConflict, "backup_failed")
	r.do(http.MethodGet, "/pre-deploys/999", nil).refused(http.StatusNotFound, "not_found")
}

// TestLists: what the panel sends, and what it gets.
func TestLists(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Project("shop")
	r.Storage("s3")
	a := r.Agent("db-1", "shop", "app")
	r.do(http.MethodPost, "/backups", map[string]any{"database": "app"}).is(http.StatusCreated)
	r.Complete(a, r.Start(a)[0])
	page := into[body.Page[controller.Backup]](r.do(http.MethodGet, "/backups?project=shop&engine=postgresql&storage=s3&page=1&sort=size&order=asc&since=2020-01-01T00:00:00Z", nil).is(http.StatusOK))
	if len(page.Items) != 1 || page.Page != 1 || page.PerPage != 10 || page.LastPage != 1 || page.Total == nil || *page.Total != 1 || page.NextBeforeID != nil {
		t.Fatalf("%+v", page.Numbered)
	}
	if d := page.Items[0].Display; d.Size != "146.5 KB" || d.Status.Colour != "green" || d.Shield.Colour != "purple" || d.Engine != "PostgreSQL" || d.Type != "Manual" {
		t.Fatalf("%+v", d)
	}
	for query, word := range map[string]string{"status=done": "completed", "sort=name": "duration", "per_page=0": "per_page", "page=5000&per_page=100": "before_id", "since=yesterday": "since", "engine=x": "mysql"} {
		r.do(http.MethodGet, "/backups?"+query, nil).refused(http.StatusUnprocessableEntity, "invalid", word)
	}
	for _, path := range []string{"/jobs?status=completed&page=1", "/restores?page=1&kind=undo", "/schedules?page=1&active=true", "/overview", "/statistics", "/projects/shop/statistics", "/trends?project=shop&days=7"} {
		r.do(http.MethodGet, path, nil).is(http.StatusOK)
	}
	s := into[controller.Statistics](r.do(http.MethodGet, "/projects/shop/statistics", nil).is(http.StatusOK))
	if s.Backups != 1 || s.Display.StorageUsed != "146.5 KB" || s.LastBackup == nil {
		t.Fatalf("%+v", s)
	}
}
