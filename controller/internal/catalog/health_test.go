package catalog_test

import (
	"slices"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/catalog"
	"devflowbackup/shared/version"
)

func TestHealth(t *testing.T) {
	f := open(t)
	f.world("app", "idle")
	look := func() catalog.Health {
		t.Helper()
		return must[catalog.Health](t)(f.Health(t.Context(), 24*time.Hour))
	}
	h := look()
	if len(h.Unprotected)+len(h.Foreign)+len(h.Stuck) > 0 || h.Databases != 2 || len(h.Unsafe) != 2 || time.Since(h.Now).Abs() > time.Minute || h.Role == "" || h.SizeBytes == 0 {
		t.Fatalf("a sound catalog is %+v", h)
	}
	if u := h.Unsafe[0]; u.Name != "app" || u.LastGood != nil || u.LastStatus != "" || u.Server == "" || u.Project == "" {
		t.Errorf("a database without a backup: %+v", u)
	}
	b := f.order("app")
	f.sql("UPDATE jobs SET deadline_at = now() - interval '1 hour' WHERE id = %d", b.JobID)
	f.sql("UPDATE database_backups SET status = 'failed', error_message = 'no space' WHERE id = %d", b.ID)
	f.sql("ALTER TABLE servers NO FORCE ROW LEVEL SECURITY")
	f.ok(f.RegisterController(t.Context(), "v1", "embedded"))
	h = look()
	if len(h.Stuck) != 1 || h.Stuck[0].ID != b.JobID || h.Stuck[0].Reason != "its deadline has passed" {
		t.Errorf("stuck: %+v", h.Stuck)
	}
	if !slices.Equal(h.Unprotected, []string{"servers"}) {
		t.Errorf("unprotected: %v", h.Unprotected)
	}
	if h.Unsafe[0].LastStatus != "failed" || h.Unsafe[0].LastError != "no space" {
		t.Errorf("a failing database: %+v", h.Unsafe)
	}
	if len(h.Controllers) != 1 || h.Controllers[0].Version != "v1" || h.Controllers[0].Silent > 60 {
		t.Errorf("controllers: %+v", h.Controllers)
	}
}

// An agent that is older than the controller is shown as such, in lists and alone.
func TestServer_Outdated(t *testing.T) {
	defer func(v string) { version.Version = v }(version.Version)
	version.Version = "v1.3.0"
	f := open(t)
	_, a := f.world("app")
	admin := controller.Actor{Scope: controller.Scope{All: true}}
	for agent, want := range map[string]bool{"v1.2.9": true, "1.3.0": false, "v1.4.0": false, "dev": false} {
		f.sql("UPDATE servers SET agent_version = '%s'", agent)
		one := must[controller.Server](t)(f.Server(t.Context(), admin, a.AgentID))
		all := must[[]controller.Server](t)(f.Servers(t.Context(), admin, controller.ServerFilter{}))
		if one.Outdated != want || len(all) != 1 || all[0].Outdated != want {
			t.Errorf("agent %s: outdated %t, %t, want %t", agent, one.Outdated, all[0].Outdated, want)
		}
	}
}
