package catalog_test

import (
	"strconv"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/retention"
	"devflowbackup/shared/wire"
)

// TestMistake15_GoneKeepsBackups: what becomes of the backups of a deleted project, a revoked server, a database that was dropped, renamed
// or taken from its project. They stay listed, are verified, restored to another server and fetched; a clean-up removes none, a person does.
func TestMistake15_GoneKeepsBackups(t *testing.T) {
	t.Parallel()
	const renamed = "a database that was renamed"
	for name, end := range map[string]func(f *fix, p controller.Project, a *agent){
		"none":      func(*fix, controller.Project, *agent) {},
		"a project": func(f *fix, p controller.Project, _ *agent) { f.ok(f.DeleteProject(f.Context(), f.admin, p.Slug)) },
		"a server": func(f *fix, _ controller.Project, a *agent) {
			f.ok(second(f.RevokeServer(f.Context(), f.admin, a.Name)))
		},
		"a database of no project": func(f *fix, _ controller.Project, _ *agent) {
			f.ok(second(f.UnassignDatabase(f.Context(), f.admin, controller.DatabaseRef{Name: "app"})))
		},
		"a dropped database": func(f *fix, _ controller.Project, a *agent) { f.found(a) },
		renamed:              func(f *fix, _ controller.Project, a *agent) { f.found(a, "app_new") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := open(t)
			ctx := t.Context()
			p, a := f.world("app")
			b := f.enrol("db-8", p)
			f.hello(b)
			f.found(b)
			ids := make(map[int64]bool)
			var last controller.Backup
			for range 5 {
				last = f.completed(a, "app")
				ids[last.ID] = true
			}
			f.sql("UPDATE database_backups SET completed_at = completed_at - interval '2 years'")
			end(f, p, a)

			for _, filter := range []controller.BackupFilter{{}, {Project: p.Slug}, {Project: strconv.FormatInt(p.ID, 10)}, {Database: "app"}, {Server: a.Name}} {
				for _, actor := range []controller.Actor{f.admin, only(p)} {
					listed := must[[]controller.Backup](t)(f.Backups(ctx, actor, filter))
					equal(t, "backups listed", len(listed), 5)
				}
			}

			items := must[[]controller.CleanupItem](t)(f.CleanDatabase(ctx, f.admin, last.DatabaseID, controller.CleanupRequest{}, time.Now()))
			equal(t, "backups that a clean-up looks at", len(items), 5)
			removed := 0
			for _, i := range items {
				if i.Action == retention.Remove {
					removed++
				}
			}
			if name == "none" {
				if removed == 0 {
					t.Fatal("the clean-up removes nothing where nothing is gone: this test proves nothing")
				}
				return
			}
			equal(t, "backups removed by the clean-up", removed, 0)
			must[controller.SweepResult](t)(f.Sweep(ctx))
			for id := range ids {
				if got := f.backup(id); got.DeletedAt != nil || got.Health != controller.HealthOK || !got.Restorable() {
					t.Fatalf("backup %d is %+v", id, got)
				}
			}

			// To another server; where the database's own server is there and its name is free, to that too.
			r := must[controller.Restore](t)(f.CreateRestore(ctx, f.admin, controller.RestoreRequest{Backup: last.ID, Server: "db-8"}))
			_ = must[controller.Job](t)(f.CancelRestore(ctx, f.admin, r.ID, "seen"))
			if name == renamed || name == "a dropped database" {
				r = must[controller.Restore](t)(f.CreateRestore(ctx, f.admin, controller.RestoreRequest{Backup: last.ID}))
				_ = must[controller.Job](t)(f.CancelRestore(ctx, f.admin, r.ID, "seen"))
			}
			must[controller.Download](t)(f.CreateDownload(ctx, f.admin, controller.DownloadRequest{Backup: last.ID}, nil, 0))
			jobs := must[[]controller.Job](t)(f.CreateVerify(ctx, f.admin, controller.VerifyRequest{Backup: last.ID}))
			offers := must[[]controller.Offer](t)(f.ClaimOffers(ctx, 10))
			if len(offers) != 1 || offers[0].Kind != wire.JobVerify || offers[0].Attempt.Job != jobs[0].ID {
				t.Fatalf("offers are %+v", offers)
			}
			reader := map[int64]*agent{a.ID: a, b.ID: b}[offers[0].Server.ID]
			f.ok(f.AttemptAccepted(ctx, offers[0].Attempt, reader.session))
			f.ok(f.ReportDone(ctx, reader.AgentID, reader.session, wire.Report{Attempt: offers[0].Attempt, Outcome: wire.OutcomeVerified, Read: readResult(last)}))
			if got := f.backup(last.ID); got.VerifiedAt == nil {
				t.Errorf("verified: %+v", got)
			}

			// A caller of the deleted project alone gets no server by that.
			if name == "a project" {
				_, err := f.CreateRestore(ctx, only(p), controller.RestoreRequest{Backup: last.ID, Server: "db-8"})
				if err == nil {
					t.Error("a caller of a deleted project restores to a server that it is not granted")
				}
			}

			// The explicit act, and the one of them that asks for the name.
			left := len(ids)
			for id := range ids {
				req := controller.DeleteRequest{Backup: id, Reason: "not needed"}
				if left == 1 {
					_, err := f.DeleteBackup(ctx, f.admin, req)
					f.refused(err, controller.EConflict, "last good backup")
					req.Confirm = "app"
				}
				if got := must[controller.Backup](t)(f.DeleteBackup(ctx, f.admin, req)); got.DeletedAt == nil {
					t.Errorf("deleted: %+v", got)
				}
				left--
			}
			equal(t, "deletions due", len(must[[]controller.Deletion](t)(f.DueDeletions(ctx, 10))), 5)
		})
	}
}
