package catalog_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// as runs SQL as the catalog's role with a scope; an empty scope is none.
func (f *fix) as(scope, format string, args ...any) string {
	f.Helper()
	set := "SET ROLE " + role + ";"
	if scope != "" {
		set += fmt.Sprintf("SET devflow.scope = '%s';", scope)
	}
	return f.sql("%s", set+fmt.Sprintf(format, args...))
}

// twoProjects fills every table with rows of two projects.
func twoProjects(t *testing.T) (f *fix, one, two controller.Project) {
	t.Helper()
	f = open(t)
	f.storage("s3", true)
	var projects []controller.Project
	for _, slug := range []string{"one", "two"} {
		p := f.project(slug)
		projects = append(projects, p)
		a := f.enrol("db-"+slug, p)
		f.hello(a)
		f.found(a, "app-"+slug)
		must[controller.Database](t)(f.AssignDatabase(t.Context(), f.admin, controller.DatabaseRef{Name: "app-" + slug}, slug))
		must[controller.Storage](t)(f.CreateStorage(t.Context(), f.admin, controller.StorageSpec{Name: "own", Project: slug, Kind: "s3", Bucket: "b", Prefix: slug, AccessKey: "a", SecretKey: "s"}, nil, true, ""))
		f.occur(f.schedule(controller.ScheduleSpec{Project: slug}).ID)
		f.sql("UPDATE jobs SET status = 'failed' WHERE status = 'queued'; UPDATE database_backups SET status = 'failed' WHERE status = 'pending'")
		b := f.completed(a, "app-"+slug)
		must[controller.Restore](t)(f.CreateRestore(t.Context(), f.admin, controller.RestoreRequest{Backup: b.ID, Database: "copy"}))
		must[[]controller.Job](t)(f.CreateVerify(t.Context(), f.admin, controller.VerifyRequest{Backup: b.ID}))
		offers := must[[]controller.Offer](t)(f.ClaimOffers(t.Context(), 5))
		equal(t, "offers", len(offers), 2)
		for _, o := range offers {
			f.ok(f.AttemptAccepted(t.Context(), o.Attempt, a.session))
			r := wire.Report{Attempt: o.Attempt, Outcome: wire.OutcomeVerified, Read: readResult(b)}
			if o.Kind == wire.JobRestore {
				r.Outcome, r.Restored = wire.OutcomeRestored, &wire.RestoreResult{Database: "copy"}
			}
			f.ok(f.ReportDone(t.Context(), a.AgentID, a.session, r))
		}
		must[controller.Download](t)(f.CreateDownload(t.Context(), f.admin, controller.DownloadRequest{Backup: b.ID}, hash("link "+slug), 0))
		must[controller.Enrolment](t)(f.CreateEnrolment(t.Context(), f.admin, controller.EnrolmentSpec{ServerName: "new-" + slug, Project: slug, TTL: 60e9}, hash(slug)))
		must[controller.Pause](t)(f.CreatePause(t.Context(), f.admin, controller.PauseSpec{Project: slug, Reason: "x"}))
		f.sql("INSERT INTO cleanups (kind, at, project_id) VALUES ('asked', now(), %d)", p.ID)
		f.ok(f.FoldTotals(t.Context()))
	}
	for _, p := range projects {
		f.sql(`INSERT INTO backup_deltas (project_id, storage_id, backups, completed, failed, verified, bytes, stored, stored_bytes) VALUES (%d, 1, 0, 0, 0, 0, 0, 0, 0);
			INSERT INTO events (kind, project_id, body, at) VALUES ('backup', %d, '{}', now());
			INSERT INTO pre_deploys (project_id, owner, request, deadline_at) VALUES (%d, 'x', '{}', now());
			INSERT INTO pre_deploy_databases SELECT max(q.id), min(d.id), %d FROM pre_deploys q, databases d WHERE d.project_id = %d;
			INSERT INTO channels (project_id, name, kind, target_sealed) VALUES (%d, 'own', 'webhook', 'x');
			INSERT INTO alarms (kind, key, severity, project_id, title) VALUES ('overdue', 'of %d', 'critical', %d, 'x');
			INSERT INTO notices (kind, event, severity, project_id, title) VALUES ('overdue', 'opened', 'critical', %d, 'x');
			INSERT INTO deliveries (notice_id, channel_id, project_id) SELECT max(n.id), max(c.id), %d FROM notices n, channels c;
			INSERT INTO mutes (scope, project_id, until, reason) VALUES ('project', %d, now() + interval '1 hour', 'x');
			INSERT INTO pings (schedule_id, project_id, state) SELECT min(id), project_id, 'start' FROM backup_schedules WHERE project_id = %d GROUP BY 2`,
			p.ID, p.ID, p.ID, p.ID, p.ID, p.ID, p.ID, p.ID, p.ID, p.ID, p.ID, p.ID)
	}
	return f, projects[0], projects[1]
}

func tables(f *fix, withProject bool) []string {
	f.Helper()
	q := `SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname NOT LIKE 'bun_%%'`
	if withProject {
		q += ` AND EXISTS (SELECT FROM information_schema.columns i WHERE i.table_schema = 'public' AND i.table_name = c.relname AND i.column_name = 'project_id')`
	}
	return strings.Split(f.sql("%s", strings.ReplaceAll(q, "%%", "%")+" ORDER BY 1"), "\n")
}

func TestRLS_EveryTable(t *testing.T) {
	f := open(t)
	all := tables(f, false)
	if len(all) < 20 {
		t.Fatalf("only %d tables: %v", len(all), all)
	}
	open := f.sql("SELECT string_agg(relname, ', ') FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r','p') AND relname NOT LIKE 'bun_%%' AND NOT (relrowsecurity AND relforcerowsecurity)")
	equal(t, "tables without forced row-level security", open, "")
}

func TestRLS_NoScope(t *testing.T) {
	f, _, _ := twoProjects(t)
	for _, table := range tables(f, false) {
		if n := f.as("", "SELECT count(*) FROM %s", table); n != "0" {
			t.Errorf("without a scope %s rows of %s are seen", n, table)
		}
	}
	if n := f.as("", "SELECT count(*) FROM projects"); n != "0" {
		t.Errorf("without a scope %s projects are seen", n)
	}
	// A later transaction on the same connection must not inherit a scope.
	if n := f.as("", "BEGIN; SELECT set_config('devflow.scope', '*', true) \\g /dev/null\nCOMMIT; SELECT count(*) FROM projects"); n != "0" {
		t.Errorf("a scope outlived its transaction: %s projects are seen", n)
	}
}

func TestRLS_OtherProject(t *testing.T) {
	f, one, two := twoProjects(t)
	scope := fmt.Sprint(one.ID)
	for _, table := range append(tables(f, true), "projects") {
		column := "project_id"
		if table == "projects" {
			column = "id"
		}
		t.Run(table, func(t *testing.T) {
			g := *f
			g.T = t
			if n := g.sql("SELECT count(*) FROM %s WHERE %s = %d", table, column, two.ID); n == "0" {
				t.Fatalf("the test has no row of project two in %s", table)
			}
			if n := g.as(scope, "SELECT count(*) FROM %s WHERE %s = %d", table, column, two.ID); n != "0" {
				t.Errorf("%s rows of the other project are seen", n)
			}
			if table != "audit_log" {
				if n := g.as(scope, "SELECT count(*) FROM %s WHERE %s = %d", table, column, one.ID); n == "0" {
					t.Error("no row of the own project is seen")
				}
			}
			// Nothing of the other project can be changed or removed.
			before := g.sql("SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM %s t WHERE %s = %d", table, column, two.ID)
			_, _ = g.server.Exec(t.Context(), g.db, fmt.Sprintf("SET ROLE %s; SET devflow.scope = '%s'; DELETE FROM %s WHERE %s = %d", role, scope, table, column, two.ID))
			if column == "project_id" {
				_, _ = g.server.Exec(t.Context(), g.db, fmt.Sprintf("SET ROLE %s; SET devflow.scope = '%s'; UPDATE %s SET project_id = %d WHERE project_id = %d", role, scope, table, one.ID, two.ID))
				// Nor can a row be given to it.
				_, _ = g.server.Exec(t.Context(), g.db, fmt.Sprintf("SET ROLE %s; SET devflow.scope = '%s'; UPDATE %s SET project_id = %d WHERE project_id = %d", role, scope, table, two.ID, one.ID))
			}
			if after := g.sql("SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM %s t WHERE %s = %d", table, column, two.ID); after != before {
				t.Error("rows of the other project were changed")
			}
		})
	}
	for _, table := range []string{"servers", "instances", "storages"} {
		if _, err := f.server.Exec(t.Context(), f.db, fmt.Sprintf("SET ROLE %s; SET devflow.scope = '%s'; DELETE FROM %s", role, scope, table)); err != nil {
			continue
		}
		if table != "storages" && f.sql("SELECT count(*) FROM %s", table) != "2" {
			t.Errorf("a caller of one project removed rows of %s", table)
		}
	}
	if n := f.sql("SELECT count(*) FROM storages WHERE project_id IS NULL OR project_id = %d", two.ID); n != "2" {
		t.Errorf("a caller of one project removed storages: %s left", n)
	}
	if _, err := f.server.Exec(t.Context(), f.db, fmt.Sprintf("SET ROLE %s; SET devflow.scope = '%s'; INSERT INTO audit_log (actor, action, project_id) VALUES ('x', 'x', %d)", role, scope, two.ID)); err == nil {
		t.Error("a caller of one project wrote into the other's audit log")
	}
	if n := f.as("*", "DELETE FROM audit_log; UPDATE audit_log SET actor = 'x'; SELECT count(*) FROM audit_log WHERE actor <> 'x'"); n == "0" {
		t.Error("the audit log can be changed")
	}
}

// TestScope_UseCases asks for things of another project through the use cases: they do not exist.
func TestScope_UseCases(t *testing.T) {
	f, one, two := twoProjects(t)
	ctx := t.Context()
	me := only(one)
	all := must[[]controller.Backup](t)(f.Backups(ctx, f.admin, controller.BackupFilter{Project: two.Slug}))
	theirs := all[0]
	restore := must[[]controller.Restore](t)(f.Restores(ctx, f.admin, controller.RestoreFilter{Project: two.Slug}))[0]
	database := must[[]controller.Database](t)(f.Databases(ctx, f.admin, controller.DatabaseFilter{Project: two.Slug}))[0]
	storage := int64(0)
	for _, st := range must[[]controller.Storage](t)(f.Storages(ctx, f.admin, controller.StorageFilter{})) {
		if st.ProjectID != nil && *st.ProjectID == two.ID {
			storage = st.ID
		}
	}
	f.sql(`INSERT INTO restores (project_id, backup_id, server_id, instance, database_name, status, in_place, identity, staged_name, kept_name, target_state, kept_state, kept_until)
		SELECT project_id, id, server_id, instance, database_name, 'completed', true, 'i', 'devflow_staging_x', 'devflow_kept_x', 'replaced', 'kept', now() + interval '1 day' FROM database_backups WHERE id = %d`, theirs.ID)
	kept := must[[]controller.Restore](t)(f.Restores(ctx, f.admin, controller.RestoreFilter{Project: two.Slug}))[0]
	schedule := must[[]controller.Schedule](t)(f.Schedules(ctx, f.admin, controller.ScheduleFilter{Project: two.Slug}))[0].ID
	pause := must[[]controller.Pause](t)(f.Pauses(ctx, f.admin, false, 0, 0))[0].ID
	hourly := controller.Timing{Frequency: "hourly"}
	for what, err := range map[string]error{
		"project":          second(f.Project(ctx, me, two.Slug)),
		"schedule":         second(f.Schedule(ctx, me, schedule)),
		"schedules":        second(f.Schedules(ctx, me, controller.ScheduleFilter{Project: two.Slug})),
		"create schedule":  second(f.CreateSchedule(ctx, me, controller.ScheduleSpec{Project: two.Slug, Timing: hourly})),
		"schedule of it":   second(f.CreateSchedule(ctx, me, controller.ScheduleSpec{Project: one.Slug, Timing: hourly, Target: controller.Target{Database: controller.DatabaseRef{ID: database.ID}}})),
		"schedule to it":   second(f.CreateSchedule(ctx, me, controller.ScheduleSpec{Project: one.Slug, Timing: hourly, Storage: fmt.Sprint(storage)})),
		"update schedule":  second(f.UpdateSchedule(ctx, me, schedule, controller.ScheduleChange{IsActive: ptr(false)})),
		"delete schedule":  f.DeleteSchedule(ctx, me, schedule),
		"run schedule":     second(f.RunSchedule(ctx, me, schedule)),
		"occurrences":      second(f.Occurrences(ctx, me, schedule, time.Time{}, 0)),
		"pause":            second(f.CreatePause(ctx, me, controller.PauseSpec{Project: two.Slug, Reason: "x"})),
		"pause schedule":   second(f.CreatePause(ctx, me, controller.PauseSpec{Schedule: schedule, Reason: "x"})),
		"end pause":        second(f.EndPause(ctx, me, pause)),
		"retry":            second(f.RetryBackup(ctx, me, theirs.ID)),
		"project by id":    second(f.Project(ctx, me, fmt.Sprint(two.ID))),
		"update project":   second(f.UpdateProject(ctx, me, two.Slug, controller.ProjectSpec{Name: "x"})),
		"delete project":   f.DeleteProject(ctx, me, two.Slug),
		"identity":         second(f.ProjectSecrets(ctx, me, two.Slug)),
		"server":           second(f.Server(ctx, me, "db-two")),
		"enrolment":        second(f.CreateEnrolment(ctx, me, controller.EnrolmentSpec{ServerName: "x", Project: two.Slug, TTL: 1e9}, hash("x"))),
		"database":         second(f.AssignDatabase(ctx, me, controller.DatabaseRef{ID: database.ID}, one.Slug)),
		"unassign":         second(f.UnassignDatabase(ctx, me, controller.DatabaseRef{ID: database.ID})),
		"storage":          second(f.Storage(ctx, me, fmt.Sprint(storage))),
		"default storage":  second(f.SetDefaultStorage(ctx, me, fmt.Sprint(storage))),
		"delete storage":   f.DeleteStorage(ctx, me, fmt.Sprint(storage)),
		"backup":           second(f.Backup(ctx, me, theirs.ID)),
		"backups":          second(f.Backups(ctx, me, controller.BackupFilter{Project: two.Slug})),
		"manifest":         second(f.BackupManifest(ctx, me, theirs.ID)),
		"objects":          second(f.BackupObjects(ctx, me, theirs.ID)),
		"create backups":   second(f.CreateBackups(ctx, me, controller.BackupRequest{Project: two.Slug})),
		"create backup":    second(f.CreateBackups(ctx, me, controller.BackupRequest{Database: "app-two"})),
		"download":         second(f.CreateDownload(ctx, me, controller.DownloadRequest{Backup: theirs.ID}, hash("mine"), 0)),
		"update storage":   second(f.UpdateStorage(ctx, me, fmt.Sprint(storage), controller.StorageChange{Name: ptr("x")}, nil, true, "")),
		"backup to it":     second(f.CreateBackups(ctx, me, controller.BackupRequest{Database: "app-one", Storage: fmt.Sprint(storage)})),
		"verify":           second(f.CreateVerify(ctx, me, controller.VerifyRequest{Backup: theirs.ID})),
		"create restore":   second(f.CreateRestore(ctx, me, controller.RestoreRequest{Backup: theirs.ID, Database: "c2"})),
		"restore":          second(f.Restore(ctx, me, restore.ID)),
		"draft restore":    second(f.DraftRestore(ctx, me, controller.RestoreRequest{Backup: theirs.ID, Database: "c2"})),
		"restore in place": second(f.CreateRestore(ctx, me, controller.RestoreRequest{Backup: theirs.ID, InPlace: true, SwapRequest: confirm(theirs.DatabaseName)})),
		"draft undo":       second(f.DraftUndo(ctx, me, kept.ID, controller.SwapRequest{})),
		"undo":             second(f.CreateUndo(ctx, me, kept.ID, confirm(kept.DatabaseName))),
		"discard":          second(f.DiscardKept(ctx, me, kept.ID, kept.DatabaseName)),
		"keep":             second(f.KeepKept(ctx, me, kept.ID, time.Hour)),
		"job":              second(f.Job(ctx, me, theirs.JobID)),
		"cancel job":       second(f.CancelJob(ctx, me, theirs.JobID, "")),
		"cancel backup":    second(f.CancelBackup(ctx, me, theirs.ID, "")),
		"cancel restore":   second(f.CancelRestore(ctx, me, restore.ID, "")),
		"delete":           second(f.DeleteBackup(ctx, me, controller.DeleteRequest{Backup: theirs.ID})),
		"undelete":         second(f.UndeleteBackup(ctx, me, theirs.ID)),
		"audit":            second(f.Audit(ctx, me, controller.AuditFilter{Project: two.Slug, Limit: 0})),
		"token of project": second(f.CreateToken(ctx, me, controller.TokenSpec{Name: "t", Permissions: []string{controller.ViewBackups}, Projects: []string{two.Slug}}, hash("t"))),
	} {
		if controller.ErrorCode(err) != controller.ENotFound {
			t.Errorf("%s of another project: %v", what, err)
		}
	}
	for what, err := range map[string]error{
		"create project": second(f.CreateProject(ctx, me, controller.ProjectSpec{Slug: "x"}, "", nil, nil)),
		"grant":          f.GrantServer(ctx, me, one.Slug, "db-two"),
		"revoke grant":   f.RevokeServerGrant(ctx, me, one.Slug, "db-one"),
		"revoke server":  second(f.RevokeServer(ctx, me, "db-one")),
		"verifier":       second(f.SetVerifier(ctx, me, "db-one", true)),
		"global storage": second(f.SetDefaultStorage(ctx, me, "s3")),
		"delete global":  f.DeleteStorage(ctx, me, "s3"),
		"change global":  second(f.UpdateStorage(ctx, me, "s3", controller.StorageChange{Name: ptr("x")}, nil, true, "")),
		"pause all":      second(f.CreatePause(ctx, me, controller.PauseSpec{Scope: "everything", Reason: "x"})),
		"pause server":   second(f.CreatePause(ctx, me, controller.PauseSpec{Server: "db-one", Reason: "x"})),
		"security":       second(f.SecurityEvents(ctx, me, 0, 0)),
		"token for all":  second(f.CreateToken(ctx, me, controller.TokenSpec{Name: "t", Permissions: []string{controller.ViewBackups}}, hash("t"))),
		"free server":    second(f.CreateEnrolment(ctx, me, controller.EnrolmentSpec{ServerName: "x", TTL: 1e9}, hash("x"))),
	} {
		if controller.ErrorCode(err) != controller.EForbidden {
			t.Errorf("%s by a limited caller: %v", what, err)
		}
	}
	equal(t, "projects seen", len(must[[]controller.Project](t)(f.Projects(ctx, me, controller.ProjectFilter{}))), 1)
	equal(t, "servers seen", len(must[[]controller.Server](t)(f.Servers(ctx, me, controller.ServerFilter{}))), 1)
	equal(t, "databases seen", len(must[[]controller.Database](t)(f.Databases(ctx, me, controller.DatabaseFilter{}))), 1)
	equal(t, "backups seen", len(must[[]controller.Backup](t)(f.Backups(ctx, me, controller.BackupFilter{}))), 2)
	equal(t, "schedules seen", len(must[[]controller.Schedule](t)(f.Schedules(ctx, me, controller.ScheduleFilter{}))), 1)
	equal(t, "pauses seen", len(must[[]controller.Pause](t)(f.Pauses(ctx, me, true, 0, 0))), 1)
	equal(t, "restores seen", len(must[[]controller.Restore](t)(f.Restores(ctx, me, controller.RestoreFilter{}))), 1)
	equal(t, "storages usable", len(must[[]controller.Storage](t)(f.Storages(ctx, me, controller.StorageFilter{}))), 2)
	equal(t, "enrolments seen", len(must[[]controller.Enrolment](t)(f.Enrolments(ctx, me, 0, 0))), 2)
	nobody := controller.Actor{Name: "nobody"}
	equal(t, "backups that nobody sees", len(must[[]controller.Backup](t)(f.Backups(ctx, nobody, controller.BackupFilter{}))), 0)
	equal(t, "servers that nobody sees", len(must[[]controller.Server](t)(f.Servers(ctx, nobody, controller.ServerFilter{}))), 0)
	for _, e := range must[[]controller.AuditEntry](t)(f.Audit(ctx, me, controller.AuditFilter{Project: "", Limit: 200})) {
		if e.ProjectID == nil || *e.ProjectID != one.ID {
			t.Errorf("audit entry %+v is seen", e)
		}
	}
	// A backup of one's own keeps its server's name when the grant is gone.
	mine := must[[]controller.Backup](t)(f.Backups(ctx, me, controller.BackupFilter{}))[0]
	equal(t, "server of the backup", mine.Server, "db-one")
}

func second[T any](_ T, err error) error { return err }
