package catalog_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/catalog"
	"devflowbackup/controller/internal/retention"
	"devflowbackup/shared/wire"
)

// inPlace is a world whose host allows restores in place, with a backup of its first database.
func (f *fix) inPlace(databases ...string) (controller.Project, *agent, controller.Backup) {
	f.Helper()
	p, a := f.world(databases...)
	f.foundInPlace(a, databases...)
	return p, a, f.completed(a, databases[0])
}

func (f *fix) foundInPlace(a *agent, names ...string) {
	f.Helper()
	one := instance("main")
	one.InPlace = true
	inv := wire.Inventory{Hash: wire.NewID(), Last: true, Instances: []wire.Instance{one, instance("new-only")}}
	for _, n := range names {
		inv.Databases = append(inv.Databases, wire.Database{Instance: "main", Engine: wire.EnginePostgreSQL, Name: n, SizeBytes: 1 << 20, ServerVersion: "15.6", Extensions: []string{"pgcrypto", "citext"}})
	}
	f.ok(f.Inventory(f.Context(), a.AgentID, a.session, inv))
}

// replacing asks for the backup in the place of its own database, without a safety backup.
func replacing(b controller.Backup) controller.RestoreRequest {
	return controller.RestoreRequest{Backup: b.ID, InPlace: true, SkipSafety: true, SwapRequest: confirm(b.DatabaseName)}
}

func confirm(name string) controller.SwapRequest {
	return controller.SwapRequest{Confirm: name, Identity: "identity-1"}
}

func (f *fix) ask(req controller.RestoreRequest) controller.Restore {
	f.Helper()
	return must[controller.Restore](f)(f.CreateRestore(f.Context(), f.admin, req))
}

func (f *fix) undo(id int64) controller.Restore {
	f.Helper()
	r := f.restore(id)
	return must[controller.Restore](f)(f.CreateUndo(f.Context(), f.admin, id, confirm(r.DatabaseName)))
}

func (f *fix) restore(id int64) controller.Restore {
	f.Helper()
	return must[controller.Restore](f)(f.Restore(f.Context(), f.admin, id))
}

// next claims the one attempt that is due, once its pause is over, and has it accepted.
func (f *fix) next(a *agent) controller.Offer {
	f.Helper()
	o := f.claim()
	f.ok(f.AttemptAccepted(f.Context(), o.Attempt, a.session))
	return o
}

func (f *fix) claim() controller.Offer {
	f.Helper()
	var offers []controller.Offer
	eventually(f, "an attempt is due", func() bool {
		offers = must[[]controller.Offer](f)(f.ClaimOffers(f.Context(), 10))
		return len(offers) > 0
	})
	equal(f, "offers", len(offers), 1)
	return offers[0]
}

func alike(t testing.TB, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s is %+v, want %+v", what, got, want)
	}
}

func (f *fix) report(a *agent, o controller.Offer, r wire.Report) {
	f.Helper()
	r.Attempt = o.Attempt
	f.ok(f.ReportDone(f.Context(), a.AgentID, a.session, r))
}

func (f *fix) sweep() controller.SweepResult {
	f.Helper()
	return must[controller.SweepResult](f)(f.Sweep(f.Context()))
}

func swapped(b controller.Backup) wire.Report {
	return wire.Report{
		Outcome: wire.OutcomeRestored, Read: readResult(b), Restored: &wire.RestoreResult{Database: b.DatabaseName, Tables: 3, Rows: 9, Compared: true},
		Swapped: &wire.SwapResult{State: wire.SwapAfter, UnavailableMicros: 1200, Ended: 2, Notes: []string{"grants were carried over"}},
	}
}

func settled(state string) wire.Report {
	return wire.Report{Outcome: wire.OutcomeSettled, Swapped: &wire.SwapResult{State: state}}
}

// replaced is a restore in place that took place.
func (f *fix) replaced(a *agent, b controller.Backup) controller.Restore {
	f.Helper()
	r := f.ask(replacing(b))
	f.report(a, f.next(a), swapped(b))
	return f.restore(r.ID)
}

// kill ends the attempts of an agent: it starts anew and holds none.
func (f *fix) kill(a *agent) {
	f.Helper()
	f.hello(a)
}

func (f *fix) audited(action string) []map[string]any {
	f.Helper()
	var out []map[string]any
	for _, e := range must[[]controller.AuditEntry](f)(f.Audit(f.Context(), f.admin, controller.AuditFilter{Action: action, Limit: 200})) {
		var detail map[string]any
		f.ok(json.Unmarshal(e.Detail, &detail))
		detail["subject"], detail["result"], detail["actor"] = e.Subject, e.Result, e.Actor
		out = append(out, detail)
	}
	return out
}

// A restore in place waits for its safety backup, has the same names in every attempt, and keeps what it replaced.
func TestInPlace(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	_, a, b := f.inPlace("app")
	req := replacing(b)
	req.SkipSafety, req.KeepFor, req.Sessions, req.Wait = false, 2*time.Hour, wire.SessionsWait, time.Minute
	req.Choices = wire.RestoreChoices{Owners: true, Jobs: 4}
	r := f.ask(req)
	if !r.InPlace || r.Kind != controller.RestoreKind || r.Engine != wire.EnginePostgreSQL || r.Sessions != "wait" || r.WaitSeconds != 60 || !r.Choices.Owners || r.Choices.Jobs != 4 ||
		r.SafetyBackupID == nil || r.SafetyStatus == nil || *r.SafetyStatus != "pending" || r.KeepSeconds != 7200 || r.KeptState != "" || r.TargetState != "" || r.Identity != "identity-1" {
		t.Fatalf("%+v", r)
	}
	equal(t, "waiting", r.Waiting, fmt.Sprintf("waits for safety backup %d", *r.SafetyBackupID))
	for name, prefix := range map[string]string{r.StagedName: "devflow_staging_", r.KeptName: "devflow_kept_"} {
		if rest, ok := strings.CutPrefix(name, fmt.Sprintf("%s%d_", prefix, r.ID)); !ok || len(rest) != 8 {
			t.Errorf("name %q", name)
		}
	}
	safety := f.backup(*r.SafetyBackupID)
	if safety.Type != controller.TypePreRestore || safety.DatabaseName != "app" || safety.Encryption != controller.EncryptionAge || safety.Compression != "zstd" {
		t.Fatalf("%+v", safety)
	}
	detail := f.audited("restore.create")[0]
	if detail["in_place"] != true || detail["safety_backup_id"] != float64(safety.ID) || detail["sessions"] != "wait" || detail["choices"] == nil || detail["result"] != controller.AuditAccepted {
		t.Errorf("audited %v", detail)
	}
	equal(t, "backups of that type", len(must[[]controller.Backup](t)(f.Backups(ctx, f.admin, controller.BackupFilter{Type: controller.TypePreRestore}))), 1)
	_, err := f.CreateBackups(ctx, f.admin, controller.BackupRequest{Database: "app", Type: controller.TypePreRestore})
	f.refused(err, controller.EInvalid, "pre_restore")

	// Only the backup is claimed, however long it takes, and its restore does not run out of time.
	f.sql("UPDATE jobs SET deadline_at = now() - interval '1 second' WHERE id = %d", r.JobID)
	o := f.started(a)
	equal(t, "first", o.Kind, wire.JobBackup)
	equal(t, "expired", f.sweep().Expired, 0)
	equal(t, "offers", len(must[[]controller.Offer](t)(f.ClaimOffers(ctx, 10))), 0)
	equal(t, "waiting still", f.restore(r.ID).Waiting, fmt.Sprintf("waits for safety backup %d", safety.ID))
	f.uploaded(a, o)
	must[[]controller.Finishing](t)(f.ClaimFinishing(ctx, 1))
	equal(t, "offers while it is finishing", len(must[[]controller.Offer](t)(f.ClaimOffers(ctx, 10))), 0)
	f.ok(f.CompleteBackup(ctx, o.Attempt, finished(o)))

	o = f.next(a)
	if o.Kind != wire.JobRestore || o.Restore.StagedName != r.StagedName || o.Restore.KeptName != r.KeptName || o.Restore.Identity != "identity-1" || len(o.Objects) != 3 || o.Backup.ID != b.ID {
		t.Fatalf("%+v", o)
	}
	f.kill(a)
	again := f.next(a)
	if again.Attempt.No != 2 || again.Restore.StagedName != r.StagedName || again.Restore.KeptName != r.KeptName {
		t.Fatalf("%+v", again)
	}
	// What does not say that the swap took place is no outcome of it.
	for _, s := range []*wire.SwapResult{nil, {State: wire.SwapBefore}, {State: "odd"}} {
		bad := swapped(b)
		bad.Attempt, bad.Swapped = again.Attempt, s
		f.failure(f.ReportDone(ctx, a.AgentID, a.session, bad), wire.CodeBadRequest)
	}
	f.report(a, again, swapped(b))
	f.report(a, again, swapped(b))
	r = f.restore(r.ID)
	var result controller.RestoreOutcome
	f.ok(json.Unmarshal(r.Result, &result))
	if r.Status != "completed" || r.TargetState != controller.TargetReplaced || r.KeptState != controller.KeptKept || r.KeptUntil == nil || result.Rows != 9 || result.Swapped == nil ||
		result.Swapped.UnavailableMicros != 1200 || result.Swapped.Ended != 2 || len(result.Swapped.Notes) != 1 {
		t.Fatalf("%+v %+v", r, result)
	}
	if d := time.Until(*r.KeptUntil); d < 119*time.Minute || d > 2*time.Hour {
		t.Errorf("kept for %s", d)
	}
	// Its safety backup stays for as long as it can be undone.
	_, err = f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: safety.ID, Confirm: "app"})
	f.refused(err, controller.EConflict, "safety backup", fmt.Sprintf("restore discard %d", r.ID))
	f.sql("UPDATE restores SET kept_state = 'removed' WHERE id = %d", r.ID)
	must[controller.Backup](t)(f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: safety.ID, Confirm: "app"}))
}

// Whatever forbids a restore in place is said, and nothing is made.
func TestInPlace_Refused(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	p, a, b := f.inPlace("app", "crm", "foreign", "free", "busy")
	other := f.project("other")
	f.ok(f.GrantServer(ctx, f.admin, other.Slug, "db-7"))
	must[controller.Database](t)(f.UnassignDatabase(ctx, f.admin, controller.DatabaseRef{Name: "foreign"}))
	must[controller.Database](t)(f.AssignDatabase(ctx, f.admin, controller.DatabaseRef{Name: "foreign"}, other.Slug))
	must[controller.Database](t)(f.UnassignDatabase(ctx, f.admin, controller.DatabaseRef{Name: "free"}))
	busy := f.order("busy")
	for what, c := range map[string]struct {
		change func(*controller.RestoreRequest)
		code   string
		words  []string
	}{
		"no name":            {func(r *controller.RestoreRequest) { r.Confirm = "" }, controller.EInvalid, []string{"confirm", `type "app"`}},
		"another name":       {func(r *controller.RestoreRequest) { r.Confirm = "App" }, controller.EInvalid, []string{"confirm", `"App"`}},
		"nobody looked":      {func(r *controller.RestoreRequest) { r.Identity = "" }, controller.EInvalid, []string{"identity"}},
		"long identity":      {func(r *controller.RestoreRequest) { r.Identity = strings.Repeat("x", 1001) }, controller.EInvalid, []string{"identity"}},
		"new ones only":      {func(r *controller.RestoreRequest) { r.Instance = "new-only" }, controller.EConflict, []string{"none in place", "restore.in_place: true", "new-only"}},
		"not there":          {func(r *controller.RestoreRequest) { r.Database, r.Confirm = "nope", "nope" }, controller.EConflict, []string{"not assigned to project", "database assign"}},
		"another project's":  {func(r *controller.RestoreRequest) { r.Database, r.Confirm = "foreign", "foreign" }, controller.EConflict, []string{`not assigned to project "shop"`}},
		"nobody's":           {func(r *controller.RestoreRequest) { r.Database, r.Confirm = "free", "free" }, controller.EConflict, []string{"not assigned to project"}},
		"backed up just now": {func(r *controller.RestoreRequest) { r.Database, r.Confirm, r.SkipSafety = "busy", "busy", false }, controller.EConflict, []string{"safety backup cannot be made", "backup cancel"}},
		"no roles":           {func(r *controller.RestoreRequest) { r.Choices.Roles = true }, controller.EConflict, []string{"no roles"}},
		"a part":             {func(r *controller.RestoreRequest) { r.Choices.Only = []wire.Selection{{Schema: "a"}} }, controller.EInvalid, []string{"only"}},
		"staging name":       {func(r *controller.RestoreRequest) { r.Database = "devflow_kept_1_x" }, controller.EInvalid, []string{"to_database"}},
		"short keep":         {func(r *controller.RestoreRequest) { r.KeepFor = time.Second }, controller.EInvalid, []string{"keep_seconds"}},
	} {
		req := replacing(b)
		c.change(&req)
		_, err := f.CreateRestore(ctx, f.admin, req)
		if controller.ErrorCode(err) != c.code || slices.ContainsFunc(c.words, func(w string) bool { return !strings.Contains(err.Error(), w) }) {
			t.Errorf("%s: %v, want %s saying %q", what, err, c.code, c.words)
		}
	}
	equal(t, "restores", len(must[[]controller.Restore](t)(f.Restores(ctx, f.admin, controller.RestoreFilter{}))), 0)
	equal(t, "safety backups", len(must[[]controller.Backup](t)(f.Backups(ctx, f.admin, controller.BackupFilter{Type: controller.TypePreRestore}))), 0)

	// One at a time, whatever else it is; and none while it is not known what an earlier one came to.
	r := f.ask(replacing(b))
	_, err := f.CreateRestore(ctx, f.admin, replacing(b))
	f.refused(err, controller.EConflict, "another restore is at work", `"app"`)
	req := replacing(b)
	req.Database, req.Confirm = "crm", "crm"
	crm := f.ask(req)
	must[controller.Job](t)(f.CancelRestore(ctx, f.admin, crm.ID, ""))
	equal(t, "target of a cancelled one", f.restore(crm.ID).TargetState, controller.TargetUntouched)
	must[controller.Job](t)(f.CancelRestore(ctx, f.admin, r.ID, ""))
	f.sql("UPDATE restores SET target_state = 'unknown' WHERE id = %d", r.ID)
	_, err = f.CreateRestore(ctx, f.admin, replacing(b))
	f.refused(err, controller.EConflict, "not known yet")
	f.sql("UPDATE restores SET target_state = 'untouched'")

	// What the agent no longer allows.
	f.found(a, "app", "crm")
	_, err = f.CreateRestore(ctx, f.admin, replacing(b))
	f.refused(err, controller.EConflict, "none in place")
	must[controller.Job](t)(f.CancelBackup(ctx, f.admin, busy.ID, ""))
	for _, name := range []string{"app", "crm", "busy"} {
		must[controller.Database](t)(f.UnassignDatabase(ctx, f.admin, controller.DatabaseRef{Name: name}))
	}
	f.ok(f.RevokeServerGrant(ctx, f.admin, p.Slug, "db-7"))
	_, err = f.CreateRestore(ctx, f.admin, replacing(b))
	f.refused(err, controller.EConflict, "not granted")
}

// A restore whose safety backup is not made has failed, and its target is as it was.
func TestInPlace_NoSafety(t *testing.T) {
	t.Parallel()
	for how, end := range map[string]func(f *fix, a *agent, b controller.Backup){
		"failed": func(f *fix, a *agent, _ controller.Backup) {
			f.report(a, f.started(a), fails(wire.CodeToolFailed))
		},
		"cancelled": func(f *fix, _ *agent, b controller.Backup) {
			must[controller.Job](f)(f.CancelBackup(f.Context(), f.admin, b.ID, "changed my mind"))
		},
		"timed out": func(f *fix, a *agent, _ controller.Backup) {
			f.report(a, f.started(a), fails(wire.CodeTimedOut))
		},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			f := open(t)
			_, a, b := f.inPlace("app")
			req := replacing(b)
			req.SkipSafety = false
			r := f.ask(req)
			end(f, a, f.backup(*r.SafetyBackupID))
			equal(t, "offers", len(must[[]controller.Offer](t)(f.ClaimOffers(t.Context(), 10))), 0)
			equal(t, "ended by a sweep", f.sweep().Unsafe, 1)
			equal(t, "ended by another", f.sweep().Unsafe, 0)
			r = f.restore(r.ID)
			if r.Status != "failed" || *r.ErrorCode != wire.CodeSafetyBackup || r.TargetState != controller.TargetUntouched || r.KeptState != "" || !strings.Contains(*r.ErrorHint, "backup show") {
				t.Fatalf("%+v", r)
			}
			equal(t, "job", r.JobStatus, controller.JobFailed)
			equal(t, "attempts", len(f.job(r.JobID).Attempts), 0)
			if how == "failed" {
				_, err := f.RetryBackup(t.Context(), f.admin, *r.SafetyBackupID)
				f.refused(err, controller.EConflict, "safety backup")
			}
			f.ask(replacing(b)) // the target is free again
		})
	}
}

// What is said of the target when a restore in place ends without success, by all that was heard of its attempts.
func TestInPlace_Ends(t *testing.T) {
	t.Parallel()
	lost := func(f *fix, a *agent, _ controller.Backup) { f.next(a); f.kill(a) }
	refused := func(f *fix, _ *agent, _ controller.Backup) {
		f.ok(f.FailOffer(f.Context(), f.claim().Attempt, wire.Failf(wire.CodeNotAllowed, "not here")))
	}
	again := func(f *fix, a *agent, _ controller.Backup) {
		r := fails(wire.CodeTargetInUse)
		r.Failure.Retryable = true
		f.report(a, f.next(a), r)
	}
	failed := func(f *fix, a *agent, _ controller.Backup) { f.report(a, f.next(a), fails(wire.CodeTargetChanged)) }
	type step = func(f *fix, a *agent, b controller.Backup)
	for what, c := range map[string]struct {
		steps  []step
		status string
		code   string
		target string
		kept   string
	}{
		"reported":               {[]step{failed}, controller.JobFailed, wire.CodeTargetChanged, controller.TargetUntouched, ""},
		"refused":                {[]step{refused}, controller.JobFailed, wire.CodeNotAllowed, controller.TargetUntouched, ""},
		"reported each time":     {[]step{again, again, again}, controller.JobFailed, wire.CodeTargetInUse, controller.TargetUntouched, ""},
		"lost each time":         {[]step{lost, lost, lost}, controller.JobFailed, wire.CodeLost, controller.TargetUnknown, ""},
		"lost, then reported":    {[]step{lost, failed}, controller.JobFailed, wire.CodeTargetChanged, controller.TargetUntouched, ""},
		"reported, then lost":    {[]step{again, lost, lost}, controller.JobFailed, wire.CodeLost, controller.TargetUnknown, ""},
		"lost, then refused":     {[]step{lost, refused}, controller.JobFailed, wire.CodeNotAllowed, controller.TargetUnknown, ""},
		"reported, then refused": {[]step{again, refused}, controller.JobFailed, wire.CodeNotAllowed, controller.TargetUntouched, ""},
		"timed out": {[]step{func(f *fix, a *agent, _ controller.Backup) {
			f.next(a)
			f.sql("UPDATE attempts SET accepted_at = now() - interval '13 hours' WHERE status = 'running'")
			equal(f, "timed out", f.sweep().TimedOut, 1)
		}}, controller.JobTimedOut, wire.CodeTimedOut, controller.TargetUnknown, ""},
		"offered, and no answer": {[]step{func(f *fix, _ *agent, _ controller.Backup) {
			f.claim()
			f.sql("UPDATE jobs SET deadline_at = now() - interval '1 second' WHERE status = 'running'")
			f.sql("UPDATE servers SET last_seen_at = now() - interval '1 hour'")
			equal(f, "expired", f.sweep().Expired, 1)
		}}, controller.JobFailed, wire.CodeOffline, controller.TargetUnknown, ""},
		"cancelled while it waits": {[]step{func(f *fix, _ *agent, _ controller.Backup) {
			must[controller.Job](f)(f.CancelRestore(f.Context(), f.admin, 1, "no"))
		}}, controller.JobCancelled, wire.CodeCancelled, controller.TargetUntouched, ""},
		"cancelled by its agent": {[]step{func(f *fix, a *agent, _ controller.Backup) {
			o := f.next(a)
			must[controller.Job](f)(f.CancelRestore(f.Context(), f.admin, 1, "no"))
			f.report(a, o, fails(wire.CodeCancelled))
		}}, controller.JobCancelled, wire.CodeCancelled, controller.TargetUntouched, ""},
		"cancelled, and its agent is gone": {[]step{func(f *fix, a *agent, _ controller.Backup) {
			f.next(a)
			must[controller.Job](f)(f.CancelRestore(f.Context(), f.admin, 1, "no"))
			f.kill(a)
		}}, controller.JobCancelled, wire.CodeCancelled, controller.TargetUnknown, ""},
		"other bytes": {[]step{func(f *fix, a *agent, b controller.Backup) {
			r := swapped(b)
			r.Read.StoredSHA256 = strings.Repeat("0", 64)
			f.report(a, f.next(a), r)
		}}, controller.JobFailed, wire.CodeChecksum, controller.TargetReplaced, controller.KeptKept},
		"revoked": {[]step{func(f *fix, a *agent, _ controller.Backup) {
			f.next(a)
			must[controller.Server](f)(f.RevokeServer(f.Context(), f.admin, "db-7"))
		}}, controller.JobFailed, wire.CodeRevoked, controller.TargetUnknown, ""},
		"its rows are gone": {[]step{func(f *fix, a *agent, _ controller.Backup) {
			f.next(a)
			f.sql("DELETE FROM attempts WHERE job_id = (SELECT id FROM jobs WHERE restore_id = 1); DELETE FROM jobs WHERE restore_id = 1; UPDATE restores SET created_at = now() - interval '1 hour'")
			equal(f, "stuck", must[controller.SweepResult](f)(f.another("two").Sweep(f.Context())).Stuck, 1)
		}}, "", wire.CodeOrphaned, controller.TargetUnknown, ""},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			f := open(t)
			_, a, b := f.inPlace("app")
			r := f.ask(replacing(b))
			equal(t, "id", r.ID, 1)
			for _, s := range c.steps {
				s(f, a, b)
			}
			r = f.restore(r.ID)
			if r.Status != "failed" || r.JobStatus != c.status || *r.ErrorCode != c.code || r.TargetState != c.target || r.KeptState != c.kept {
				t.Fatalf("%s, job %s, code %s, target %q, kept %q, want %+v", r.Status, r.JobStatus, *r.ErrorCode, r.TargetState, r.KeptState, c)
			}
			if c.target == controller.TargetUnknown && what != "its rows are gone" && (r.ErrorHint == nil || !strings.Contains(*r.ErrorHint, "agent is asked")) {
				t.Errorf("hint is %v", r.ErrorHint)
			}
			if c.kept != "" { // what is there can be brought back
				if !strings.Contains(*r.ErrorHint, "restore undo 1") {
					t.Errorf("hint is %q", *r.ErrorHint)
				}
				f.undo(r.ID)
			}
		})
	}
}

// Where only the server can tell, its agent is asked, as often as it takes.
func TestInPlace_Settle(t *testing.T) {
	t.Parallel()
	for state, want := range map[string]struct{ target, kept, hint string }{
		wire.SwapAfter:  {controller.TargetReplaced, controller.KeptKept, "restore undo"},
		wire.SwapBefore: {controller.TargetUntouched, "", "as it was"},
	} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			f := open(t, func(o *catalog.Options) {
				o.MaxAttempts, o.Retry = 1, controller.Retry{Base: time.Hour, Max: time.Hour}
			})
			ctx := t.Context()
			_, a, b := f.inPlace("app")
			r := f.ask(replacing(b))
			o := f.next(a)
			old := a.session
			f.kill(a)
			equal(t, "target", f.restore(r.ID).TargetState, controller.TargetUnknown)

			// The lost attempt's own word comes too late.
			late := swapped(b)
			late.Attempt = o.Attempt
			f.failure(f.ReportDone(ctx, a.AgentID, a.session, late), wire.CodeStale)
			f.failure(f.ReportDone(ctx, a.AgentID, old, late), wire.CodeSuperseded)
			_, err := f.CreateUndo(ctx, f.admin, r.ID, confirm("app"))
			f.refused(err, controller.EConflict, "not known yet")
			_, err = f.DraftUndo(ctx, f.admin, r.ID, confirm("app"))
			f.refused(err, controller.EConflict, "not known yet")

			f.sql("UPDATE servers SET last_seen_at = now() - interval '1 hour'")
			equal(t, "jobs while it is offline", f.sweep().Settle, 0)
			f.helloAgain(a)
			equal(t, "jobs", f.sweep().Settle, 1)
			equal(t, "jobs beside it", f.sweep().Settle, 0)
			o = f.next(a)
			if o.Kind != wire.JobSettle || o.Restore.StagedName != r.StagedName || o.Restore.KeptName != r.KeptName || o.Restore.Engine != wire.EnginePostgreSQL || o.Storage != nil || o.Objects != nil || o.MaxDuration != time.Hour {
				t.Fatalf("%+v", o)
			}
			_, err = f.CancelJob(ctx, f.admin, o.Attempt.Job, "")
			f.refused(err, controller.EConflict, "cannot be cancelled")
			equal(t, "the restore's own job", f.restore(r.ID).JobID, r.JobID)
			_, err = f.SignRead(ctx, a.AgentID, a.session, wire.ReadRequest{Attempt: o.Attempt, Object: "artifact", Length: 1})
			f.failure(err, wire.CodeBadRequest)

			// One that fails is followed by another, later.
			f.report(a, o, fails(wire.CodeDatabaseDown))
			equal(t, "target after a failure", f.restore(r.ID).TargetState, controller.TargetUnknown)
			equal(t, "jobs at once", f.sweep().Settle, 0)
			f.sql("UPDATE restores SET settle_after = now() - interval '1 second' WHERE settle_after > now() + interval '50 minutes'")
			equal(t, "jobs later", f.sweep().Settle, 1)
			o = f.next(a)
			bad := settled("odd")
			bad.Attempt = o.Attempt
			f.failure(f.ReportDone(ctx, a.AgentID, a.session, bad), wire.CodeBadRequest)
			f.report(a, o, settled(state))
			f.report(a, o, settled(state))
			got := f.restore(r.ID)
			if got.Status != "failed" || got.TargetState != want.target || got.KeptState != want.kept || !strings.Contains(*got.ErrorHint, want.hint) || *got.ErrorCode != wire.CodeLost {
				t.Fatalf("%+v", got)
			}
			equal(t, "jobs after it", f.sweep().Settle, 0)
			if state == wire.SwapAfter {
				if d := time.Until(*got.KeptUntil); d < 71*time.Hour {
					t.Errorf("kept for %s", d)
				}
				f.undo(r.ID)
			} else {
				f.ask(replacing(b))
			}
		})
	}
}

// An undo brings back what was kept and keeps what was there; it can be undone in its turn.
func TestUndo(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	p, a, b := f.inPlace("app", "crm")
	ask := func(id int64, change func(*controller.SwapRequest)) error {
		req := confirm("app")
		if change != nil {
			change(&req)
		}
		return second(f.CreateUndo(ctx, f.admin, id, req))
	}
	f.refused(ask(99, nil), controller.ENotFound, "99")
	plain := f.ask(controller.RestoreRequest{Backup: b.ID, Database: "copy"})
	f.refused(ask(plain.ID, nil), controller.EConflict, "new database")
	must[controller.Job](t)(f.CancelRestore(ctx, f.admin, plain.ID, ""))
	open := f.ask(replacing(b))
	f.refused(ask(open.ID, nil), controller.EConflict, "nothing is kept yet")
	must[controller.Job](t)(f.CancelRestore(ctx, f.admin, open.ID, ""))
	f.refused(ask(open.ID, nil), controller.EConflict, "as it was")

	r := f.replaced(a, b)
	f.refused(ask(r.ID, func(s *controller.SwapRequest) { s.Confirm = "ap" }), controller.EInvalid, "confirm")
	f.refused(ask(r.ID, func(s *controller.SwapRequest) { s.Identity = "" }), controller.EInvalid, "identity")
	f.refused(ask(r.ID, func(s *controller.SwapRequest) { s.Sessions = "kill" }), controller.EInvalid, "sessions")
	d := must[controller.Draft](t)(f.DraftUndo(ctx, f.admin, r.ID, controller.SwapRequest{}))
	if d.Kind != controller.UndoKind || d.Undo == nil || d.Undo.ID != r.ID || d.Server.Name != "db-7" || d.Server.Session != a.session || d.Instance.Name != "main" || d.Database != "app" || d.Local == nil || !d.Online ||
		len(d.Problems) != 0 || d.Request.Sessions != wire.SessionsRefuse || d.Request.KeepFor != controller.DefaultKeep || !d.Request.InPlace || d.Backup.ID != b.ID {
		t.Fatalf("%+v", d)
	}

	u := must[controller.Restore](t)(f.CreateUndo(ctx, f.admin, r.ID, controller.SwapRequest{Confirm: "app", Identity: "identity-2", Sessions: wire.SessionsEnd, KeepFor: time.Hour}))
	if u.Kind != controller.UndoKind || *u.UndoOf != r.ID || !u.InPlace || u.StagedName != r.KeptName || !strings.HasPrefix(u.KeptName, fmt.Sprintf("devflow_kept_%d_", u.ID)) || u.Identity != "identity-2" ||
		u.Sessions != "end" || u.KeepSeconds != 3600 || u.SafetyBackupID != nil || u.Status != "pending" || u.BackupID != b.ID {
		t.Fatalf("%+v", u)
	}
	equal(t, "undone by", *f.restore(r.ID).UndoneBy, u.ID)
	if detail := f.audited("restore.undo")[0]; detail["subject"] != fmt.Sprint(u.ID) || detail["undo_of"] != float64(r.ID) || detail["sessions"] != "end" {
		t.Errorf("audited %v", detail)
	}
	f.refused(ask(r.ID, nil), controller.EConflict, "is bringing back")
	f.refused(second(f.CreateRestore(ctx, f.admin, replacing(b))), controller.EConflict, "another undo is at work")

	// One that did not take place is tried again; its names stay.
	o := f.next(a)
	if o.Kind != wire.JobUndo || o.Storage != nil || o.Restore.ID != u.ID || o.MaxDuration != time.Hour {
		t.Fatalf("%+v", o)
	}
	equal(t, "status", f.restore(u.ID).Status, "running")
	f.report(a, o, settled(wire.SwapBefore))
	o = f.next(a)
	equal(t, "attempt", o.Attempt.No, 2)
	bad := swapped(b)
	bad.Attempt = o.Attempt
	f.failure(f.ReportDone(ctx, a.AgentID, a.session, bad), wire.CodeBadRequest)
	f.report(a, o, settled(wire.SwapAfter))
	u, r = f.restore(u.ID), f.restore(r.ID)
	if u.Status != "completed" || u.TargetState != controller.TargetReplaced || u.KeptState != controller.KeptKept || r.KeptState != controller.KeptUndone || r.Status != "completed" {
		t.Fatalf("%+v %+v", u, r)
	}
	f.refused(ask(r.ID, nil), controller.EConflict, "undone already", fmt.Sprint(u.ID))

	// The undo undone: a failure leaves everything as it was.
	uu := f.undo(u.ID)
	equal(t, "comes back", uu.StagedName, u.KeptName)
	f.report(a, f.next(a), fails(wire.CodeTargetInUse))
	uu = f.restore(uu.ID)
	if uu.Status != "failed" || uu.TargetState != controller.TargetUntouched || f.restore(u.ID).KeptState != controller.KeptKept {
		t.Fatalf("%+v", uu)
	}
	// One that was lost after its swap is found out.
	uu = f.undo(u.ID)
	f.sql("UPDATE jobs SET max_attempts = 1 WHERE id = %d", uu.JobID)
	f.next(a)
	f.kill(a)
	f.sql("UPDATE restores SET kept_until = now() - interval '1 second' WHERE id = %d", u.ID)
	res := f.sweep()
	equal(t, "settlements", res.Settle, 1)
	equal(t, "removals while nobody knows where it is", res.Discard, 0)
	f.report(a, f.next(a), settled(wire.SwapAfter))
	if uu = f.restore(uu.ID); uu.Status != "failed" || uu.TargetState != controller.TargetReplaced || uu.KeptState != controller.KeptKept || f.restore(u.ID).KeptState != controller.KeptUndone {
		t.Fatalf("%+v", uu)
	}
	equal(t, "removals of what was brought back", f.sweep().Discard, 0)

	// What forbids it is what forbids a restore in place.
	must[controller.Database](t)(f.UnassignDatabase(ctx, f.admin, controller.DatabaseRef{Name: "app"}))
	f.refused(ask(uu.ID, nil), controller.EConflict, "not assigned")
	must[controller.Database](t)(f.AssignDatabase(ctx, f.admin, controller.DatabaseRef{Name: "app"}, "shop"))
	f.found(a, "app", "crm")
	f.refused(ask(uu.ID, nil), controller.EConflict, "none in place")
	f.ok(f.Inventory(ctx, a.AgentID, a.session, wire.Inventory{Hash: "x", Last: true}))
	f.refused(ask(uu.ID, nil), controller.EConflict, "no longer has")
	must[controller.Database](t)(f.UnassignDatabase(ctx, f.admin, controller.DatabaseRef{Name: "app"}))
	must[controller.Database](t)(f.UnassignDatabase(ctx, f.admin, controller.DatabaseRef{Name: "crm"}))
	f.ok(f.RevokeServerGrant(ctx, f.admin, "shop", "db-7"))
	f.refused(ask(uu.ID, nil), controller.EConflict, "not granted")
	// A caller who sees the project alone, and the server not at all.
	me := only(p)
	f.enrol("db-9")
	f.sql("UPDATE database_backups SET server_id = (SELECT id FROM servers WHERE name = 'db-9')")
	f.refused(second(f.CreateUndo(ctx, me, uu.ID, confirm("app"))), controller.EConflict, "not granted")
	got := must[controller.Restore](t)(f.DiscardKept(ctx, me, uu.ID, "app"))
	equal(t, "what is kept", got.KeptState, controller.KeptKept)
	equal(t, "removal", f.claim().Kind, wire.JobDiscard)
}

// What a restore kept is removed when its time is over, and what cannot be removed stays to be seen.
func TestKept(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	_, a, b := f.inPlace("app")
	r := f.replaced(a, b)
	equal(t, "removals before its time", f.sweep().Discard, 0)
	past := func() {
		f.sql("UPDATE restores SET kept_until = now() - interval '1 second' WHERE kept_state = 'kept'")
	}
	past()
	f.sql("UPDATE servers SET last_seen_at = now() - interval '1 hour'")
	equal(t, "removals while it is offline", f.sweep().Discard, 0)
	f.helloAgain(a)
	equal(t, "removals", f.sweep().Discard, 1)
	equal(t, "removals beside it", f.sweep().Discard, 0)
	if detail := f.audited("restore.discard")[0]; detail["kept"] != r.KeptName || detail["actor"] != "sweeper" || detail["subject"] != fmt.Sprint(r.ID) {
		t.Errorf("audited %v", detail)
	}
	_, err := f.CreateUndo(ctx, f.admin, r.ID, confirm("app"))
	f.refused(err, controller.EConflict, "being removed")

	// As long as its agent has not begun, it can be kept.
	_, err = f.KeepKept(ctx, f.admin, r.ID, time.Minute)
	f.refused(err, controller.EInvalid, "keep_seconds")
	_, err = f.KeepKept(ctx, f.admin, 99, time.Hour)
	f.refused(err, controller.ENotFound)
	r = must[controller.Restore](t)(f.KeepKept(ctx, f.admin, r.ID, 10*time.Hour))
	if d := time.Until(*r.KeptUntil); d < 9*time.Hour || r.KeptState != controller.KeptKept || r.KeptError != "" {
		t.Fatalf("%+v", r)
	}
	equal(t, "audited", f.audited("restore.keep")[0]["keep_seconds"], any(float64(36000)))
	equal(t, "offers", len(must[[]controller.Offer](t)(f.ClaimOffers(ctx, 10))), 0)

	// A removal that fails is tried again after an hour, and is seen.
	past()
	equal(t, "removals", f.sweep().Discard, 1)
	o := f.next(a)
	if o.Kind != wire.JobDiscard || o.Restore.KeptName != r.KeptName || o.Storage != nil || o.MaxDuration != time.Hour {
		t.Fatalf("%+v", o)
	}
	_, err = f.KeepKept(ctx, f.admin, r.ID, time.Hour)
	f.refused(err, controller.EConflict, "being removed")
	_, err = f.CancelJob(ctx, f.admin, o.Attempt.Job, "")
	f.refused(err, controller.EConflict, "cannot be cancelled", "restore keep")
	f.report(a, o, fails(wire.CodePrivilege))
	r = f.restore(r.ID)
	if r.KeptState != controller.KeptKept || !strings.Contains(r.KeptError, "privilege") || r.Status != "completed" {
		t.Fatalf("%+v", r)
	}
	equal(t, "removals at once", f.sweep().Discard, 0)
	f.sql("UPDATE restores SET kept_retry_at = now() WHERE kept_retry_at BETWEEN now() + interval '55 minutes' AND now() + interval '1 hour'")
	equal(t, "removals an hour later", f.sweep().Discard, 1)
	o = f.next(a)
	wrong := settled(wire.SwapAfter)
	wrong.Attempt = o.Attempt
	f.failure(f.ReportDone(ctx, a.AgentID, a.session, wrong), wire.CodeBadRequest)
	f.report(a, o, wire.Report{Outcome: wire.OutcomeDiscarded})
	r = f.restore(r.ID)
	if r.KeptState != controller.KeptRemoved || r.KeptError != "" {
		t.Fatalf("%+v", r)
	}
	for what, err := range map[string]error{
		"undone": second(f.CreateUndo(ctx, f.admin, r.ID, confirm("app"))), "kept": second(f.KeepKept(ctx, f.admin, r.ID, time.Hour)), "discarded": second(f.DiscardKept(ctx, f.admin, r.ID, "app")),
	} {
		if controller.ErrorCode(err) != controller.EConflict || !strings.Contains(err.Error(), "was removed") {
			t.Errorf("%s: %v", what, err)
		}
	}

	// By a person, before its time.
	r = f.replaced(a, b)
	_, err = f.DiscardKept(ctx, f.admin, r.ID, "")
	f.refused(err, controller.EInvalid, "confirm", `type "app"`)
	u := f.undo(r.ID)
	_, err = f.DiscardKept(ctx, f.admin, r.ID, "app")
	f.refused(err, controller.EConflict, "is bringing back")
	past()
	equal(t, "removals beside an undo", f.sweep().Discard, 0)
	must[controller.Job](t)(f.CancelRestore(ctx, f.admin, u.ID, ""))
	f.sql("UPDATE restores SET kept_until = now() + interval '1 day' WHERE kept_state = 'kept'")
	must[controller.Restore](t)(f.DiscardKept(ctx, f.admin, r.ID, "app"))
	_, err = f.DiscardKept(ctx, f.admin, r.ID, "app")
	f.refused(err, controller.EConflict, "being removed")
	equal(t, "asked by", f.audited("restore.discard")[0]["actor"], any("admin"))
	o = f.claim()
	f.ok(f.FailOffer(ctx, o.Attempt, wire.Failf(wire.CodeUnknownInstance, "which one?")))
	f.sql("UPDATE restores SET kept_retry_at = now()")
	equal(t, "removals after one that failed", f.sweep().Discard, 1) // the sweep goes on with what a person began
}

// A server's revocation and a project's end say what is still kept.
func TestKept_Left(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	p, a, b := f.inPlace("app")
	r := f.replaced(a, b)
	f.refused(f.DeleteProject(ctx, f.admin, p.Slug), controller.EConflict, r.KeptName, "restore discard")
	must[controller.Server](t)(f.RevokeServer(ctx, f.admin, "db-7"))
	got := f.restore(r.ID)
	if got.KeptState != controller.KeptKept || !strings.Contains(got.KeptError, "revoked") {
		t.Fatalf("%+v", got)
	}
	equal(t, "audited", fmt.Sprint(f.audited("server.revoke")[0]["kept"]), "["+r.KeptName+"]")
	_, err := f.DiscardKept(ctx, f.admin, r.ID, "app")
	f.refused(err, controller.EConflict, "revoked", "by hand")
	_, err = f.CreateUndo(ctx, f.admin, r.ID, confirm("app"))
	f.refused(err, controller.EConflict, "revoked")
	f.ok(f.DeleteProject(ctx, f.admin, p.Slug))
}

// What the catalog knows is told before anything is done.
func TestDraftRestore(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	_, a, b := f.inPlace("app", "crm")
	f.sql(`UPDATE database_backups SET metadata = '{"tables_count": 7, "database_size": 500, "tool": "pg_dump", "tool_version": "15.8", "server_version": "15.6", "server_identity": "sys-1"}' WHERE id = %d`, b.ID)
	draft := func(req controller.RestoreRequest) controller.Draft {
		t.Helper()
		return must[controller.Draft](t)(f.DraftRestore(ctx, f.admin, req))
	}
	codes := func(d controller.Draft) (out []string) {
		for _, p := range d.Problems {
			stops := ""
			if p.Stops {
				stops = "!"
			}
			out = append(out, stops+p.Code)
		}
		return out
	}
	plan := controller.RestoreRequest{Backup: b.ID, InPlace: true}
	d := draft(plan)
	want := controller.BackupFacts{
		Tool: "pg_dump", ToolVersion: "15.8", ServerVersion: "15.6", DatabaseBytes: 500, RawBytes: 100, StoredBytes: *b.FileSize, Tables: 7,
		Extensions: []string{"citext", "pgcrypto"}, Objects: []string{"artifact", "fingerprint"},
	}
	alike(t, "facts", d.Metadata, want)
	if d.MadeAt != "sys-1" || d.Kind != controller.RestoreKind || d.Undo != nil || d.Server.Session != a.session || !d.Online || d.Instance.Name != "main" || !d.Instance.InPlace || d.Engine != "postgresql" ||
		d.Database != "app" || d.Local == nil || d.Request.KeepFor != controller.DefaultKeep || d.Request.Sessions != wire.SessionsRefuse {
		t.Fatalf("%+v", d)
	}
	alike(t, "problems", codes(d), []string{"not_verified"})
	equal(t, "rows", len(must[[]controller.Restore](t)(f.Restores(ctx, f.admin, controller.RestoreFilter{}))), 0)

	f.sql("UPDATE database_backups SET verified_at = now() - interval '40 days', verified_level = 'checksum', health_reason = 'the artifact is there, but its fingerprint is gone from the store' WHERE id = %d", b.ID)
	d = draft(plan)
	alike(t, "problems", codes(d), []string{"verified_long_ago", "backup_noted"})
	alike(t, "objects", d.Metadata.Objects, []string{"artifact"})
	f.sql("UPDATE database_backups SET verified_at = now(), health_reason = '' WHERE id = %d", b.ID)
	equal(t, "problems of one that was verified", len(draft(plan).Problems), 0)
	f.sql("INSERT INTO verifications (project_id, backup_id, job_id, server_id, level, ok, own_host) SELECT project_id, id, %d, server_id, 'checksum', false, true FROM database_backups WHERE id = %d", b.JobID, b.ID)
	alike(t, "problems", codes(draft(plan)), []string{"last_verification_failed"})
	f.sql("DELETE FROM verifications")

	f.order("app")
	alike(t, "while it is backed up", codes(draft(plan)), []string{"!backup_at_work"})
	skip := plan
	skip.SkipSafety = true
	equal(t, "without a safety backup", len(draft(skip).Problems), 0)
	f.ask(replacing(b))
	alike(t, "while it is restored", codes(draft(skip)), []string{"!restore_at_work"})
	must[controller.Job](t)(f.CancelRestore(ctx, f.admin, 1, ""))
	f.sql("UPDATE restores SET target_state = 'unknown'")
	alike(t, "while nobody knows", codes(draft(skip)), []string{"!target_unknown"})
	f.sql("UPDATE databases SET missing_since = now() WHERE name = 'app'")
	alike(t, "while nobody knows, into a new one", codes(draft(controller.RestoreRequest{Backup: b.ID})), []string{"target_unknown"})
	f.sql("UPDATE databases SET missing_since = NULL")
	f.sql("UPDATE restores SET target_state = 'untouched'")
	roles := skip
	roles.Choices.Roles = true
	alike(t, "roles", codes(draft(roles)), []string{"!no_globals"})
	f.sql("UPDATE servers SET last_seen_at = now() - interval '1 hour'")
	alike(t, "offline", codes(draft(skip)), []string{"!agent_offline"})
	fresh := controller.RestoreRequest{Backup: b.ID, Database: "copy"}
	alike(t, "offline, into a new one", codes(draft(fresh)), []string{"agent_offline"})
	must[controller.Restore](t)(f.CreateRestore(ctx, f.admin, fresh)) // it waits
	f.helloAgain(a)
	alike(t, "its own name", codes(draft(controller.RestoreRequest{Backup: b.ID})), []string{"!target_exists"})
	skip.Instance, skip.Database = "new-only", "nope"
	alike(t, "several", codes(draft(skip)), []string{"!not_allowed", "!target_not_assigned"})
}

// Of two restores of one target at once one is made; what is asked for at the moment of a claim or a failure has one outcome.
func TestInPlace_Races(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	_, a, b := f.inPlace("app")
	two := f.another("two")
	both := func(one, other func() error) (error, error) {
		var wg sync.WaitGroup
		var e1, e2 error
		wg.Go(func() { e1 = one() })
		wg.Go(func() { e2 = other() })
		wg.Wait()
		return e1, e2
	}
	cancelAll := func() {
		t.Helper()
		for _, r := range must[[]controller.Restore](t)(f.Restores(ctx, f.admin, controller.RestoreFilter{Limit: 200})) {
			if r.JobStatus == controller.JobQueued {
				must[controller.Job](t)(f.CancelRestore(ctx, f.admin, r.ID, ""))
			}
		}
	}
	safe := replacing(b)
	safe.SkipSafety = false
	for range 6 {
		e1, e2 := both(func() error { return second(f.CreateRestore(ctx, f.admin, safe)) }, func() error { return second(two.CreateRestore(ctx, f.admin, replacing(b))) })
		if (e1 == nil) == (e2 == nil) {
			t.Fatalf("two at once: %v, %v", e1, e2)
		}
		if e1 == nil { // it takes its safety backup with it
			r := must[[]controller.Restore](t)(f.Restores(ctx, f.admin, controller.RestoreFilter{Limit: 1}))[0]
			e1, e2 = both(func() error { return second(f.CancelBackup(ctx, f.admin, *r.SafetyBackupID, "")) }, func() error { return second(two.CancelRestore(ctx, f.admin, r.ID, "")) })
			f.ok(e1)
			f.ok(e2)
			f.sweep()
			equal(t, "target", f.restore(r.ID).TargetState, controller.TargetUntouched)
			continue
		}
		cancelAll()
	}
	// From two backups, so that nothing else makes them wait for each other; and beside an undo.
	newer := f.completed(a, "app")
	for range 6 {
		e1, e2 := both(func() error {
			return second(f.CreateRestore(ctx, f.admin, controller.RestoreRequest{Backup: b.ID, Database: "copy"}))
		}, func() error {
			return second(two.CreateRestore(ctx, f.admin, controller.RestoreRequest{Backup: newer.ID, Database: "copy"}))
		})
		if (e1 == nil) == (e2 == nil) {
			t.Fatalf("two new ones at once: %v, %v", e1, e2)
		}
		cancelAll()
	}
	kept := f.replaced(a, b)
	for range 6 {
		e1, e2 := both(func() error { return second(f.CreateUndo(ctx, f.admin, kept.ID, confirm("app"))) }, func() error { return second(two.CreateRestore(ctx, f.admin, replacing(newer))) })
		if (e1 == nil) == (e2 == nil) {
			t.Fatalf("an undo and a restore at once: %v, %v", e1, e2)
		}
		cancelAll()
	}
	for range 6 {
		r := f.ask(replacing(b))
		var offers []controller.Offer
		e1, e2 := both(func() error { return second(f.CancelRestore(ctx, f.admin, r.ID, "")) }, func() (err error) {
			offers, err = two.ClaimOffers(ctx, 10)
			return err
		})
		f.ok(e1)
		f.ok(e2)
		got := f.restore(r.ID)
		if len(offers) == 0 {
			equal(t, "target of one that was not begun", got.TargetState, controller.TargetUntouched)
			continue
		}
		equal(t, "one that was begun", got.Status, "running")
		f.report(a, offers[0], fails(wire.CodeCancelled))
		equal(t, "target", f.restore(r.ID).TargetState, controller.TargetUntouched)
	}
	// An undo and the removal of what it brings back.
	undone, removed := 0, 0
	for range 8 {
		r := f.replaced(a, b)
		f.sql("UPDATE restores SET kept_until = now() - interval '1 second' WHERE id = %d", r.ID)
		e1, e2 := both(func() error { return second(f.CreateUndo(ctx, f.admin, r.ID, confirm("app"))) }, func() error { return second(two.Sweep(ctx)) })
		f.ok(e2)
		o := f.claim()
		if e1 == nil {
			undone++
			equal(t, "first", o.Kind, wire.JobUndo)
			f.report(a, o, settled(wire.SwapAfter))
			equal(t, "removals", f.sweep().Discard, 0)
			continue
		}
		removed++
		f.refused(e1, controller.EConflict, "being removed")
		equal(t, "first", o.Kind, wire.JobDiscard)
		f.report(a, o, wire.Report{Outcome: wire.OutcomeDiscarded})
	}
	t.Logf("%d were undone, %d removed", undone, removed)
	equal(t, "disagreements", f.sql("%s", violations), "")
}

// The roles of a backup are read by a restore that is to make them, and by nothing else.
func TestSignRead_Globals(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	_, a, b := f.inPlace("app")
	f.sql("INSERT INTO backup_objects (backup_id, object, key, stored_size, stored_sha256, raw_size, raw_sha256) VALUES (%d, 'globals', 'k.globals', 50, 'x', 50, 'y')", b.ID)
	read := func(o controller.Offer) error {
		return second(f.SignRead(ctx, a.AgentID, a.session, wire.ReadRequest{Attempt: o.Attempt, Object: "globals", Length: 50}))
	}
	req := replacing(b)
	r := f.ask(req)
	o := f.next(a)
	f.failure(read(o), wire.CodeBadRequest)
	f.report(a, o, fails(wire.CodeTargetInUse))
	equal(t, "status", f.restore(r.ID).Status, "failed")
	req.Choices.Roles = true
	f.ask(req)
	o = f.next(a)
	f.ok(read(o))
	f.report(a, o, fails(wire.CodeTargetInUse))
	must[[]controller.Job](t)(f.CreateVerify(ctx, f.admin, controller.VerifyRequest{Backup: b.ID}))
	f.failure(read(f.next(a)), wire.CodeBadRequest)
}

// TestFault74_Safety: retention leaves the safety backup of a restore in place alone while that is at work or can be undone.
func TestFault74_Safety(t *testing.T) {
	t.Parallel()
	f := open(t)
	_, a, b := f.inPlace("app")
	now := time.Now()
	ids := f.had(past{database: f.databases()["app"], kind: "pre_restore", at: now.AddDate(0, 0, -90)}, past{database: f.databases()["app"], kind: "pre_restore", at: now.AddDate(0, 0, -89)},
		past{database: f.databases()["app"], kind: "pre_restore", at: now.AddDate(0, 0, -88)}, past{database: f.databases()["app"], kind: "pre_restore", at: now.AddDate(0, 0, -1)},
		past{database: f.databases()["app"], kind: "pre_restore", at: now.AddDate(0, 0, -2)}, past{database: f.databases()["app"], kind: "pre_restore", at: now.AddDate(0, 0, -3)})
	r := f.ask(replacing(b))
	f.sql("UPDATE restores SET safety_backup_id = %d WHERE id = %d", ids[1], r.ID)
	look := func(when string, want string) {
		t.Helper()
		equal(t, when, codes(item(t, f.clean(now, controller.CleanupRequest{DryRun: true}), ids[1])), want)
	}
	look("while it waits", retention.Safety)
	o := f.next(a)
	look("while it runs", retention.Safety)
	f.report(a, o, swapped(b))
	look("while it is kept", retention.Safety)
	f.clean(now, controller.CleanupRequest{})
	equal(t, "deleted", f.backup(ids[1]).DeletedAt != nil, false)
	equal(t, "an old one of no restore is deleted", f.backup(ids[2]).DeletedAt != nil, true)
	f.sql("UPDATE restores SET kept_state = 'removed'")
	look("when it is removed", retention.Expired)
	f.clean(now, controller.CleanupRequest{})
	equal(t, "deleted then", f.backup(ids[1]).DeletedAt != nil, true)
}
