package api_test

import (
	"net/http"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/shared/wire"
)

// TestPreDeploy_Ends: what nobody can back up fails at once, what is not backed up in time fails then, and neither is ever a success.
func TestPreDeploy_Ends(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Project("shop")
	r.Storage("s3")
	a := r.Agent("db-1", "shop", "app", "blog")
	const path = "/projects/shop/pre-deploy"
	failed := func(in any, key string, words ...string) *controller.PreDeploy {
		t.Helper()
		p := r.do(http.MethodPost, path, in, body.IdempotencyKey, key).refused(http.StatusConflict, "backup_failed", words...)
		if p.PreDeploy == nil || p.PreDeploy.Status != controller.StatusFailed || p.Hint == "" {
			t.Fatalf("%+v", p)
		}
		return p.PreDeploy
	}

	// Its agent is offline: nothing is ordered, nobody waits for the deadline.
	patient := map[string]any{"deadline_seconds": 20}
	r.SQL("UPDATE servers SET last_seen_at = now() - interval '1 day'")
	began := time.Now()
	offline := failed(patient, "deploy-offline", "db-1 is offline")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("an offline agent was told of after %s", took)
	}
	for _, d := range offline.Databases {
		if d.BackupID != nil || d.ErrorCode == nil || *d.ErrorCode != wire.CodeOffline {
			t.Errorf("%+v", d)
		}
	}
	r.SQL("UPDATE servers SET last_seen_at = now()")
	// It is the same deploy that asks again: what failed has failed.
	failed(patient, "deploy-offline", "db-1 is offline")

	// The deadline, before which one of two databases is done.
	soon := map[string]any{"deadline_seconds": 2, "wait_seconds": 20}
	answers := make(chan *answer, 1)
	go func() { answers <- r.do(http.MethodPost, path, soon, body.IdempotencyKey, "deploy-late") }()
	var orders []controller.Offer
	for len(orders) < 2 {
		orders = append(orders, r.Start(a)...)
	}
	r.Complete(a, orders[0])
	p := (<-answers).refused(http.StatusConflict, "backup_failed", orders[1].Backup.DatabaseName, "deadline").PreDeploy
	if p == nil {
		t.Fatal("it tells nothing of each database")
	}
	for _, d := range p.Databases {
		done := d.DatabaseName == orders[0].Backup.DatabaseName
		if done != (d.Status == controller.StatusCompleted) || !done && (d.ErrorCode == nil || *d.ErrorCode != controller.CodePreDeployDeadline) {
			t.Errorf("%+v", d)
		}
	}
	// Completed too late it stays failed: whoever deploys was told so.
	r.Complete(a, orders[1])
	r.do(http.MethodGet, "/pre-deploys/"+number(p.ID), nil).refused(http.StatusConflict, "backup_failed", "deadline")

	// A database that is taken from the project meanwhile is none that was backed up.
	waits := into[controller.PreDeploy](r.do(http.MethodPost, path, map[string]any{"wait_seconds": 0, "databases": []string{"app"}}, body.IdempotencyKey, "deploy-gone").is(http.StatusAccepted))
	for _, o := range r.Start(a) {
		r.Break(a, o, wire.Failf(wire.CodeDatabaseMissing, "there is no database app"))
	}
	r.do(http.MethodGet, "/pre-deploys/"+number(waits.ID), nil).refused(http.StatusConflict, "backup_failed", "there is no database app")

	// Without any database nothing was backed up, and that is no success.
	r.SQL("UPDATE databases SET project_id = NULL")
	r.do(http.MethodPost, path, nil).refused(http.StatusConflict, "nothing_to_back_up")
}
