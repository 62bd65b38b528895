package api_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/app/apitest"
	"devflowbackup/shared/wire"
)

// kept is a project with a completed backup of one database, which a restore may replace.
func (r *rig) kept(database string) (*apitest.Agent, controller.Backup) {
	r.Helper()
	r.Project("shop")
	r.Storage("s3")
	a := r.Agent("db-1", "shop", database)
	out := into[body.List[body.BackupOutcome]](r.do("POST", "/backups", `{"database":"`+database+`"}`).is(http.StatusCreated))
	r.Complete(a, r.Start(a)[0])
	return a, *out.Items[0].Backup
}

// found has the agent tell what it is configured for, and finds.
func (r *rig) found(a *apitest.Agent, inPlace bool, databases ...wire.Database) {
	r.Helper()
	err := r.Store.Inventory(r.Context(), a.AgentID, a.Session, wire.Inventory{
		Hash: wire.NewID(), Last: true, Instances: []wire.Instance{{Name: "main", Engine: wire.EnginePostgreSQL, Version: "15.6", Restore: true, InPlace: inPlace}}, Databases: databases,
	})
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) restores() []controller.Restore {
	r.Helper()
	return into[body.Page[controller.Restore]](r.do("GET", "/restores", nil).is(http.StatusOK)).Items
}

// TestRestoreInPlace plans, restores, undoes and discards, as a panel would.
func TestRestoreInPlace(t *testing.T) {
	t.Parallel()
	r := start(t)
	a, b := r.kept("app")
	r.Fleet.There("7001/16400", wire.Problem{Code: "owner", Text: "what is restored belongs to another role"})
	in := `{"backup_id":` + number(b.ID) + `,"in_place":true,"sessions":"wait","wait_seconds":30,"choices":{"owners":true}`

	r.found(a, true, wire.Database{Instance: "main", Engine: wire.EnginePostgreSQL, Name: "app", Extensions: []string{"citext"}})

	plan := into[controller.RestorePlan](r.do("POST", "/restores/plan", in+`}`).is(http.StatusOK))
	if !plan.CanStart || plan.Target.Found == nil || plan.Target.Found.Identity != "7001/16400" || len(plan.Steps) < 5 || plan.Backup.ID != b.ID || plan.Kind != controller.RestoreKind ||
		!slices.ContainsFunc(plan.Problems, func(p wire.Problem) bool { return p.Code == "owner" }) {
		t.Errorf("the plan is %+v", plan)
	}
	var asked wire.InspectOrder
	r.Fleet.With(func() { asked = r.Fleet.Inspected[0] })
	if asked.Database != "app" || asked.Instance != "main" || asked.Engine != wire.EnginePostgreSQL || !asked.InPlace || asked.Sessions != wire.SessionsWait || asked.DumpBytes != 290_007 ||
		asked.Choices == nil || !asked.Choices.Owners || !slices.Equal(asked.Extensions, []string{"citext"}) {
		t.Errorf("the agent is asked %+v", asked)
	}
	if len(r.restores()) != 0 {
		t.Error("a plan has made a restore")
	}

	kicks := r.Fleet.Kicked()
	res := into[controller.Restore](r.do("POST", "/restores", in+`,"confirm":"app","identity":"7001/16400","keep_seconds":7200}`).is(http.StatusCreated))
	if !res.InPlace || res.SafetyBackupID == nil || res.KeepSeconds != 7200 || res.Sessions != wire.SessionsWait || !res.Choices.Owners || r.Fleet.Kicked() == kicks {
		t.Fatalf("the restore is %+v", res)
	}
	at := "/restores/" + number(res.ID)
	r.do("POST", at+"/undo", `{"confirm":"app"}`).refused(http.StatusConflict, controller.EConflict)
	r.do("POST", "/restores", in+`,"confirm":"app"}`).is(http.StatusConflict)
	safety := r.Start(a)
	if len(safety) != 1 || safety[0].Kind != wire.JobBackup || safety[0].Backup.Type != controller.TypePreRestore {
		t.Fatalf("what begins is %+v", safety)
	}
	r.Complete(a, safety[0])
	offers := r.Start(a)
	if len(offers) != 1 || offers[0].Kind != wire.JobRestore || offers[0].Restore.Identity != "7001/16400" {
		t.Fatalf("what follows is %+v", offers)
	}
	r.Restored(a, offers[0])
	got := into[controller.Restore](r.do("GET", at, nil).is(http.StatusOK))
	if got.Status != controller.StatusCompleted || got.TargetState != controller.TargetReplaced || got.KeptState != controller.KeptKept || got.KeptUntil == nil || !strings.Contains(string(got.Result), `"unavailable_micros"`) {
		t.Errorf("the restore is %+v, %s", got, got.Result)
	}
	if all := into[body.Page[controller.Backup]](r.do("GET", "/backups?type=pre_restore", nil).is(http.StatusOK)).Items; len(all) != 1 || all[0].ID != *res.SafetyBackupID {
		t.Errorf("safety backups are %+v", all)
	}

	undoPlan := into[controller.RestorePlan](r.do("POST", at+"/undo/plan", nil).is(http.StatusOK))
	if !undoPlan.CanStart || undoPlan.Kind != controller.UndoKind || !undoPlan.Target.InPlace || !strings.Contains(strings.Join(undoPlan.Steps, " "), got.KeptName) {
		t.Errorf("the plan is %+v", undoPlan)
	}
	r.do("POST", at+"/undo", `{}`).refused(http.StatusUnprocessableEntity, controller.EInvalid, "confirm", `"app"`)
	r.do("POST", at+"/undo", `{"confirm":"app","identity":"7001/1"}`).refused(http.StatusConflict, wire.CodeTargetChanged)
	undo := into[controller.Restore](r.do("POST", at+"/undo", `{"confirm":"app"}`).is(http.StatusCreated))
	if undo.UndoOf == nil || *undo.UndoOf != res.ID {
		t.Fatalf("the undo is %+v", undo)
	}
	r.Settled(a, r.Start(a)[0], wire.SwapAfter)
	if got = into[controller.Restore](r.do("GET", at, nil)); got.KeptState != controller.KeptUndone || got.UndoneBy == nil || *got.UndoneBy != undo.ID {
		t.Errorf("the undone restore is %+v", got)
	}
	r.do("POST", at+"/keep", `{"keep_seconds":7200}`).refused(http.StatusConflict, controller.EConflict)

	at = "/restores/" + number(undo.ID)
	r.do("POST", at+"/keep", `{"keep_seconds":60}`).is(http.StatusUnprocessableEntity)
	before := into[controller.Restore](r.do("GET", at, nil))
	if after := into[controller.Restore](r.do("POST", at+"/keep", `{"keep_seconds":864000}`).is(http.StatusOK)); !after.KeptUntil.After(*before.KeptUntil) {
		t.Errorf("kept until %s, and then until %s", before.KeptUntil, after.KeptUntil)
	}
	r.do("POST", at+"/discard", `{"confirm":"APP"}`).refused(http.StatusUnprocessableEntity, controller.EInvalid, "confirm")
	kicks = r.Fleet.Kicked()
	r.do("POST", at+"/discard", `{"confirm":"app"}`).is(http.StatusOK)
	if r.Fleet.Kicked() == kicks {
		t.Error("nobody is told that there is something to remove")
	}
	r.Discarded(a, r.Start(a)[0])
	if got = into[controller.Restore](r.do("GET", at, nil)); got.KeptState != controller.KeptRemoved {
		t.Errorf("the undo is %+v", got)
	}
}

// TestRestoreInPlace_refused: what would stop it is said before anything is made, by a code, a hint, and all that is known.
func TestRestoreInPlace_refused(t *testing.T) {
	t.Parallel()
	r := start(t)
	a, b := r.kept("app")
	there := func(change func(*wire.Target)) func(controller.Server, wire.InspectOrder) (*wire.Target, error) {
		return func(controller.Server, wire.InspectOrder) (*wire.Target, error) {
			found := &wire.Target{Exists: true, Identity: "7001/16400", FreeBytes: -1}
			change(found)
			return found, nil
		}
	}
	failing := func(err error) func(controller.Server, wire.InspectOrder) (*wire.Target, error) {
		return func(controller.Server, wire.InspectOrder) (*wire.Target, error) { return nil, err }
	}
	stopped := func(code string) func(*wire.Target) {
		return func(found *wire.Target) {
			found.Problems = []wire.Problem{{Code: "owner", Text: "it will belong to another role"}, {Stops: true, Code: code, Text: "something stops it", Hint: "mend it"}}
		}
	}
	ok := there(func(*wire.Target) {})
	for _, c := range []struct {
		name, more string
		target     func(controller.Server, wire.InspectOrder) (*wire.Target, error)
		status     int
		code       string
		words      []string
		looked     bool
		listed     int // problems
	}{
		{name: "no name", more: ``, target: ok, status: 422, code: controller.EInvalid, words: []string{"confirm", `"app"`, "db-1 / main"}},
		{name: "another name", more: `,"confirm":"App"`, target: ok, status: 422, code: controller.EInvalid, words: []string{"confirm", `"app"`}},
		{name: "in use", more: `,"confirm":"app"`, target: there(stopped(wire.CodeTargetInUse)), status: 409, code: wire.CodeTargetInUse, words: []string{"something stops it", "mend it"}, looked: true, listed: 2},
		{name: "nothing there", more: `,"confirm":"app"`, target: there(func(found *wire.Target) { found.Exists = false }), status: 409, code: controller.ProblemTargetMissing, words: []string{"in_place"}, looked: true, listed: 1},
		{name: "another one", more: `,"confirm":"app","identity":"7001/16399"`, target: ok, status: 409, code: wire.CodeTargetChanged, looked: true, listed: 1},
		{name: "offline", more: `,"confirm":"app"`, target: failing(wire.Failf(wire.CodeOffline, "it is not connected")), status: 409, code: wire.CodeOffline, words: []string{"db-1"}, looked: true, listed: 1},
		{name: "login refused", more: `,"confirm":"app"`, target: failing(wire.Failf(wire.CodeAuth, "the login was refused")), status: 409, code: wire.CodeAuth, looked: true, listed: 1},
		{name: "inside", more: `,"confirm":"app"`, target: failing(errors.New("dsn=secret")), status: 500, code: controller.EInternal, looked: true},
		{name: "sessions", more: `,"confirm":"app","sessions":"wait"`, target: ok, status: 422, code: controller.EInvalid, words: []string{"wait_seconds"}},
		{name: "a part", more: `,"confirm":"app","choices":{"only":[{"schema":"public","table":"t"}]}`, target: ok, status: 422, code: controller.EInvalid, words: []string{"only"}},
	} {
		r.Fleet.With(func() { r.Fleet.Target, r.Fleet.Inspected = c.target, nil })
		p := r.do("POST", "/restores", `{"backup_id":`+number(b.ID)+`,"in_place":true`+c.more+`}`).refused(c.status, c.code, c.words...)
		stops := 0
		for _, one := range p.Problems {
			if one.Stops {
				stops++
			}
		}
		if c.listed > 0 && (len(p.Problems) < c.listed || stops == 0 || !p.Problems[0].Stops || p.Problems[0].Code != c.code || p.Problems[0].Text != p.Detail) {
			t.Errorf("%s: the problems are %+v of %q", c.name, p.Problems, p.Detail)
		}
		if strings.Contains(p.Error(), "secret") {
			t.Errorf("%s: the answer tells of the inside: %s", c.name, p.Error())
		}
		r.Fleet.With(func() {
			if looked := len(r.Fleet.Inspected) > 0; looked != c.looked {
				t.Errorf("%s: the agent was asked: %t", c.name, looked)
			}
		})
	}
	// The host forbids it, whatever its agent says of the target.
	r.found(a, false, wire.Database{Instance: "main", Engine: wire.EnginePostgreSQL, Name: "app"})
	r.Fleet.With(func() { r.Fleet.Target = ok })
	r.do("POST", "/restores", `{"backup_id":`+number(b.ID)+`,"in_place":true,"confirm":"app"}`).refused(http.StatusConflict, wire.CodeNotAllowed, "restore.in_place: true", "db-1")
	if plan := into[controller.RestorePlan](r.do("POST", "/restores/plan", `{"backup_id":`+number(b.ID)+`,"in_place":true}`).is(http.StatusOK)); plan.CanStart || len(plan.Possible) == 0 {
		t.Errorf("the plan is %+v", plan)
	}
	if all := r.restores(); len(all) != 0 {
		t.Errorf("restores are %+v", all)
	}
	if all := into[body.Page[controller.Backup]](r.do("GET", "/backups", nil)).Items; len(all) != 1 {
		t.Errorf("backups are %+v", all)
	}
}

// TestPlanRestore_new: a plan for a new name asks the agent; the restore itself does not need it, and waits.
func TestPlanRestore_new(t *testing.T) {
	t.Parallel()
	r := start(t)
	_, b := r.kept("app")
	in := `{"backup_id":` + number(b.ID) + `,"to_database":"copy"`
	if plan := into[controller.RestorePlan](r.do("POST", "/restores/plan", in+`}`).is(http.StatusOK)); !plan.CanStart || !plan.Target.Looked || plan.Target.InPlace {
		t.Errorf("the plan is %+v", plan)
	}
	r.Fleet.There("7001/5")
	if plan := into[controller.RestorePlan](r.do("POST", "/restores/plan", in+`}`).is(http.StatusOK)); plan.CanStart || plan.Problems[0].Code != wire.CodeTargetExists {
		t.Errorf("the plan is %+v", plan)
	}
	r.do("POST", "/restores/plan", in+`,"confirm":"copy"}`).refused(http.StatusUnprocessableEntity, controller.EInvalid, "confirm", "in_place")
	r.Fleet.With(func() {
		r.Fleet.Target = func(controller.Server, wire.InspectOrder) (*wire.Target, error) {
			return nil, wire.Failf(wire.CodeOffline, "it is not connected")
		}
	})
	if plan := into[controller.RestorePlan](r.do("POST", "/restores/plan", in+`}`).is(http.StatusOK)); !plan.CanStart || plan.Target.Looked ||
		!slices.ContainsFunc(plan.Problems, func(p wire.Problem) bool { return p.Code == wire.CodeOffline && !p.Stops }) {
		t.Errorf("the plan is %+v", plan)
	}
	r.do("POST", "/restores", in+`}`).is(http.StatusCreated)
}
