package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/app/apitest"
	"devflowbackup/shared/wire"
)

// TestPanelCommands: the panel's console commands and what they end with, which is 0 only where nothing failed.
func TestPanelCommands(t *testing.T) {
	t.Parallel()
	r := start(t)
	a := r.world("app", "blog")
	external := "panel-7"
	if _, err := r.Store.UpdateProject(t.Context(), r.Admin, "shop", controller.ProjectSpec{ExternalID: &external}); err != nil {
		t.Fatal(err)
	}
	project := fmt.Sprint(into[controller.Project](r.ctl("project", "show", "shop", "--output", "json").ends(0)).ID)

	// An agent that cannot read blog back.
	ctx, cancel := context.WithCancel(t.Context())
	var agent sync.WaitGroup
	agent.Go(func() {
		apitest.Each(ctx, func() {
			for _, o := range r.Start(a) {
				switch {
				case o.Kind == wire.JobVerify && o.DatabaseName == "blog":
					r.Break(a, o, wire.Failf(wire.CodeCorrupt, "the checksum is another one"))
				case o.Kind == wire.JobVerify:
					r.Verified(a, o)
				default:
					r.Complete(a, o)
				}
			}
		})
	})
	defer func() { cancel(); agent.Wait() }()

	// backup:database, of a project by whatever it is called, of one database, of all, before a deploy.
	for _, ref := range []string{"shop", project, external} {
		x := r.ctl("backup", "create", ref, "--wait").ends(0, "app", "blog", "2 databases, 2 completed")
		if n := strings.Count(x.out, "completed"); n < 2 {
			t.Errorf("there is no line for each database:\n%s", x.out)
		}
	}
	r.ctl("backup", "create", "shop", "--type", "pre_deploy", "--database", "app", "--wait").ends(0, "1 database, 1 completed")
	r.ctl("backup", "create", "--wait").ends(0, "2 databases, 2 completed")
	if b := r.backups(); len(b) != 9 || b[2].Type != controller.TypePreDeploy || b[2].DatabaseName != "app" || b[0].Type != controller.TypeManual {
		t.Errorf("%d backups: %+v", len(b), b)
	}
	r.ctl("backup", "create", "shop", "--database", "nosuch", "--wait").ends(1, "nosuch")

	// backup:verify, of one, of all that are not verified, of all of a project; of none of them it is an error.
	r.ctl("backup", "verify").ends(2, "--all", "--project")
	one := r.backups()[2]
	r.ctl("backup", "verify", fmt.Sprint(one.ID)).ends(0, "1 verification, 0 failed")
	r.ctl("backup", "verify", "--all").ends(1, "corrupt", "8 verifications, 4 failed")
	r.ctl("backup", "verify", "--all").ends(1, "4 verifications, 4 failed") // what failed is not verified
	r.ctl("backup", "verify", "--project", external).ends(1, "9 verifications, 4 failed")
	for _, b := range r.backups() {
		if b.DatabaseName == "blog" && b.Health != controller.HealthCorrupt || b.DatabaseName == "app" && b.VerifiedAt == nil {
			t.Errorf("%+v", b)
		}
	}

	// backup:cleanup, of a project, of all, and what it would do.
	r.ctl("backup", "cleanup", external, "--dry-run").ends(0, "0 backups to be removed")
	r.ctl("backup", "cleanup", "--dry-run").ends(0, "0 backups to be removed")
	r.ctl("backup", "cleanup", "shop").ends(0, "0 backups removed")
	r.ctl("backup", "cleanup", "nowhere").ends(1, "nowhere")

	// A clean-up of which some could not be removed.
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(controller.CleanupResult{Removed: 1, Failed: 1, Items: []controller.CleanupItem{{BackupID: 3, DatabaseName: "app", Action: "remove", Error: "the storage is away"}}})
	}))
	defer srv.Close()
	r.env[0] = "DEVFLOW_URL=" + srv.URL
	r.ctl("backup", "cleanup").ends(1, "failed", "the storage is away", "1 backup could not be removed")
}
