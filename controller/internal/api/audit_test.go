package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/shared/wire"
)

func (r *rig) entries() []controller.AuditEntry {
	r.Helper()
	rows, err := r.Store.Audit(r.Context(), r.Admin, controller.AuditFilter{Limit: 200})
	if err != nil {
		r.Fatal(err)
	}
	return rows
}

// since are the entries written after one that was the newest.
func (r *rig) since(newest int64) []controller.AuditEntry {
	r.Helper()
	return slices.DeleteFunc(r.entries(), func(e controller.AuditEntry) bool { return e.ID <= newest })
}

func (r *rig) newest() int64 {
	r.Helper()
	if all := r.entries(); len(all) > 0 {
		return all[0].ID
	}
	return 0
}

// TestAudit_everyWrite carries out every registered operation that writes or gives a backup away: each leaves one entry, with who, on
// whose behalf, what, to what, from where and with which result. An operation that is not here fails the test.
func TestAudit_everyWrite(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Storage("s3")
	agent := r.Agent("db-1", "", "app", "logs", "spare", "extra")
	item := func(a *answer) controller.Backup {
		t.Helper()
		return *into[body.List[body.BackupOutcome]](a.is(http.StatusCreated)).Items[0].Backup
	}
	id := func(a *answer) string {
		t.Helper()
		return number(into[struct {
			ID int64 `json:"id"`
		}](a.is(a.status)).ID)
	}
	var enrolment body.NewEnrolment
	var mute string
	var token, backup, failed, restore, schedule, pause, database, session, cookie, csrf string
	var job int64
	finish := func() {
		t.Helper()
		for _, o := range r.Start(agent) {
			if o.Kind == wire.JobBackup {
				r.Complete(agent, o)
			}
		}
	}
	done := map[string]bool{}
	for _, step := range []struct {
		op, method, path string // the path may name what steps before have made
		in               any
		subject          string // contained in the entry's
		result           string // done if empty
		also             string // other entries that belong to it
		person           bool   // by who is signed in, not by the token
		then             func(a *answer)
	}{
		{op: "create-project", in: `{"slug":"shop"}`, subject: "shop"},
		{op: "update-project", path: "/projects/shop", in: `{"name":"The shop"}`, subject: "shop"},
		{op: "get-project-key", path: "/projects/shop/key", subject: "shop"},
		{op: "grant-server", path: "/projects/shop/servers/db-1", subject: "db-1"},
		{op: "assign-database", in: `{"name":"app","project":"shop"}`, subject: "db-1/main/app"},
		{op: "assign-database", in: `{"name":"logs","project":"shop"}`, subject: "db-1/main/logs"},
		{op: "assign-database", in: `{"name":"spare","project":"shop"}`, subject: "db-1/main/spare"},
		{op: "unassign-database", in: `{"name":"spare"}`, subject: "db-1/main/spare"},
		{op: "set-verifier", path: "/servers/db-1/verifier", in: `{"verifier":true}`, subject: "db-1"},
		{op: "create-storage", in: `{"name":"two","endpoint":"https://s3.test","bucket":"b","access_key":"a","secret_key":"s"}`, subject: "two"},
		{op: "update-storage", path: "/storages/two", in: `{"name":"three"}`, subject: "three"},
		{op: "set-default-storage", path: "/storages/three/default", subject: "three"},
		{op: "set-default-storage", path: "/storages/s3/default", subject: "s3"},
		{op: "delete-storage", path: "/storages/three", subject: "three"},
		{op: "create-enrolment", in: `{"server_name":"db-2","project":"shop"}`, subject: "db-2", then: func(a *answer) { enrolment = into[body.NewEnrolment](a) }},
		{op: "enrol", in: func() any { return enrolBody(t, enrolment.Token) }, subject: "db-2"},
		{op: "revoke-server", path: "/servers/db-2/revoke", subject: "db-2"},
		{op: "revoke-server-grant", path: "/projects/shop/servers/db-2", subject: "db-2"},
		{op: "create-token", in: `{"name":"panel","permissions":["view-backups"]}`, subject: "panel", then: func(a *answer) { token = id(a) }},
		{op: "rotate-token", path: "/tokens/{token}/rotate", subject: "panel"},
		{op: "revoke-token", path: "/tokens/{token}", subject: "panel"},
		{op: "create-user", in: `{"name":"anna","password":"only for this test","permissions":["view-backups"]}`, subject: "anna"},
		{op: "sign-in", in: `{"name":"Anna","password":"only for this test"}`, subject: "anna", then: func(a *answer) { session = number(into[body.SignedIn](a).SessionID) }},
		{op: "sign-in", in: `{"name":"anna","password":"only for this test"}`, subject: "anna", then: func(a *answer) {
			cookie, _, _ = strings.Cut(a.header.Get("Set-Cookie"), ";")
			csrf = into[body.SignedIn](a).CSRFToken
		}},
		{op: "end-session", path: "/sessions/{session}", subject: "{session}", person: true},
		{op: "change-password", in: `{"old_password":"only for this test","new_password":"another one for it"}`, subject: "anna", person: true},
		{op: "sign-out", person: true},
		{op: "update-user", path: "/users/anna", in: `{"display_name":"Anna"}`, subject: "anna"},
		{op: "set-password", path: "/users/anna/password", in: `{"password":"and another for it"}`, subject: "anna"},
		{op: "end-user-sessions", path: "/users/anna/sessions", subject: "anna"},
		{op: "delete-user", path: "/users/anna", subject: "anna"},
		{op: "create-backups", in: `{"database":"app"}`, result: "accepted", then: func(a *answer) { backup, database = number(item(a).ID), number(item(a).DatabaseID) }},
		{op: "ignore-database", path: "/databases/{database}/ignored", in: `{"reason":"a copy"}`, subject: "db-1/"},
		{op: "unignore-database", path: "/databases/{database}/ignored", subject: "db-1/"},
		{op: "cancel-backup", path: "/backups/{backup}/cancel"},
		{op: "create-backups", in: `{"database":"app"}`, result: "accepted", then: func(a *answer) {
			failed = number(item(a).ID)
			r.Break(agent, r.Start(agent)[0], &wire.Failure{Code: wire.CodeInternal, Message: "no"})
		}},
		{op: "retry-backup", path: "/backups/{failed}/retry", result: "accepted", then: func(a *answer) { backup = id(a); job = into[controller.Backup](a).JobID }},
		{op: "cancel-job", path: "/jobs/{job}/cancel"},
		{op: "create-backups", in: `{"database":"app"}`, result: "accepted", then: func(a *answer) { backup = number(item(a).ID); finish() }},
		{op: "verify-backup", path: "/backups/{backup}/verify", result: "accepted", subject: "{backup}", then: func(a *answer) { r.Verified(agent, r.Start(agent)[0]) }},
		{op: "verify-backups", in: `{"project":"shop"}`, result: "accepted", subject: "{backup}", then: func(a *answer) { r.Verified(agent, r.Start(agent)[0]) }},
		{op: "pre-deploy", path: "/projects/shop/pre-deploy", in: `{"databases":["app"],"wait_seconds":0}`, result: "accepted", then: func(*answer) { finish() }},
		{op: "create-download", path: "/backups/{backup}/download", subject: "{backup}"},
		{op: "create-restore", in: func() any { return `{"backup_id":` + backup + `,"to_database":"copy","to_server":"db-1"}` }, result: "accepted", then: func(a *answer) { restore = id(a) }},
		{op: "cancel-restore", path: "/restores/{restore}/cancel"},
		{op: "create-restore", in: func() any {
			r.Fleet.There("7001/1")
			return `{"backup_id":` + backup + `,"in_place":true,"confirm":"app","skip_safety_backup":true}`
		}, result: "accepted", then: func(a *answer) { restore = id(a); r.Restored(agent, r.Start(agent)[0]) }},
		{op: "keep-kept", path: "/restores/{restore}/keep", in: `{"keep_seconds":7200}`, subject: "{restore}"},
		{op: "undo-restore", path: "/restores/{restore}/undo", in: `{"confirm":"app"}`, result: "accepted", then: func(a *answer) {
			restore = id(a)
			r.Settled(agent, r.Start(agent)[0], wire.SwapAfter)
		}},
		{op: "discard-kept", path: "/restores/{restore}/discard", in: `{"confirm":"app"}`, result: "accepted", subject: "{restore}", then: func(*answer) { r.Discarded(agent, r.Start(agent)[0]) }},
		{op: "hold-backup", path: "/backups/{backup}/hold", in: `{"reason":"audit"}`, subject: "{backup}"},
		{op: "release-backup", path: "/backups/{backup}/release", subject: "{backup}"},
		{op: "delete-backup", path: "/backups/{backup}/delete", in: `{"confirm":"app"}`, subject: "{backup}"},
		{op: "undelete-backup", path: "/backups/{backup}/undelete", subject: "{backup}"},
		{op: "create-schedule", in: `{"project":"shop","database_name":"logs","frequency":"daily","time":"02:00"}`, then: func(a *answer) { schedule = id(a) }},
		{op: "update-schedule", path: "/schedules/{schedule}", in: `{"time":"03:00"}`, subject: "{schedule}"},
		{op: "run-schedule", path: "/schedules/{schedule}/run", subject: "{schedule}", result: "accepted", also: "backup.create", then: func(*answer) { finish() }},
		{op: "create-pause", in: func() any { return `{"scope":"schedule","schedule_id":` + schedule + `,"reason":"deploy"}` }, then: func(a *answer) { pause = id(a) }},
		{op: "end-pause", path: "/pauses/{pause}/end"},
		{op: "delete-schedule", path: "/schedules/{schedule}", subject: "{schedule}"},
		{op: "create-channel", in: `{"name":"hook","kind":"webhook","target":{"url":"https://hook.test/x","secret":"0123456789abcdef"}}`, subject: "hook"},
		{op: "update-channel", path: "/channels/hook", in: `{"min_severity":"warning"}`, subject: "hook"},
		{op: "test-channel", path: "/channels/hook/test", subject: "hook"},
		{op: "delete-channel", path: "/channels/hook", subject: "hook"},
		{op: "create-mute", in: `{"scope":"project","ref":"shop","for_seconds":60,"reason":"deploy"}`, subject: "project shop", then: func(a *answer) { mute = id(a) }},
		{op: "end-mute", path: "/mutes/{mute}/end", subject: "project"},
		{op: "update-settings", in: `{"timezone":"Europe/Berlin"}`},
		{op: "cleanup", in: `{"project":"shop"}`, subject: "shop"},
		{op: "export-audit"},
		{op: "delete-project", path: "/projects/shop", subject: "shop"},
	} {
		i := slices.IndexFunc(routes(r), func(o route) bool { return o.OperationID == step.op })
		if i < 0 {
			t.Fatalf("there is no operation %s", step.op)
		}
		op := routes(r)[i]
		values := strings.NewReplacer("{token}", token, "{backup}", backup, "{failed}", failed, "{restore}", restore, "{schedule}", schedule, "{pause}", pause, "{mute}", mute, "{job}", number(job), "{database}", database, "{session}", session)
		path := op.Path
		if step.path != "" {
			path = values.Replace(step.path)
		}
		in := step.in
		if f, ok := in.(func() any); ok {
			in = f()
		}
		newest := r.newest()
		token, headers := r.Token, []string{body.ActingUser, "Zoë <zoe@example.org>"}
		if op.access[0] == "public" {
			token = ""
		}
		if step.person {
			token, headers = "", []string{"Cookie", cookie, body.CSRF, csrf}
		}
		a := r.as(token, op.Method, "/api/v1"+path, in, headers...)
		if a.status >= 300 {
			t.Fatalf("%s: %d %s", step.op, a.status, a.text)
		}
		rows := r.since(newest)
		if step.also != "" {
			rows = slices.DeleteFunc(rows, func(e controller.AuditEntry) bool { return e.Action == step.also })
		}
		if len(rows) != 1 {
			t.Fatalf("%s left %d entries: %+v", step.op, len(rows), rows)
		}
		e, action := rows[0], fmt.Sprint(op.Extensions[api.ExtensionAudit])
		result := step.result
		if result == "" {
			result = controller.AuditDone
		}
		if e.Action != action || e.Result != result || !strings.Contains(e.Subject, values.Replace(step.subject)) {
			t.Errorf("%s left %s of %q, %s; want %s of %q, %s", step.op, e.Action, e.Subject, e.Result, action, values.Replace(step.subject), result)
		}
		if step.person && (e.Actor != "user:anna" || e.TokenID != nil || e.OnBehalfOf != "" || e.Remote != "127.0.0.1") {
			t.Errorf("%s was done by %q (%v) for %q from %q", step.op, e.Actor, e.TokenID, e.OnBehalfOf, e.Remote)
		}
		if !step.person && op.access[0] != "public" && (e.Actor != "admin" || e.TokenID == nil || e.OnBehalfOf != "Zoë <zoe@example.org>" || e.Remote != "127.0.0.1") {
			t.Errorf("%s was done by %q (%v) for %q from %q", step.op, e.Actor, e.TokenID, e.OnBehalfOf, e.Remote)
		}
		done[step.op] = true
		if step.then != nil {
			step.then(a)
		}
	}
	var unaudited []string
	for _, op := range routes(r) {
		_, audited := op.Extensions[api.ExtensionAudit]
		if audited && !done[op.OperationID] {
			t.Errorf("%s is not tried here", op.OperationID)
		}
		if reads := op.Method == http.MethodGet || op.Method == http.MethodHead; !audited && !reads {
			unaudited = append(unaudited, op.OperationID)
		}
	}
	if want := []string{"enrolment-status", "plan-restore", "plan-undo", "preview-schedule", "probe-storage", "request-inventory"}; !slices.Equal(unaudited, want) {
		t.Errorf("operations that leave nothing in the audit log are %v, want %v", unaudited, want)
	}
}

// TestAudit_refusals: what an authenticated caller is refused is written down once, whatever the operation.
func TestAudit_refusals(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, op := range routes(r) {
		action, audited := op.Extensions[api.ExtensionAudit].(string)
		if op.access[0] == "public" {
			continue
		}
		newest := r.newest()
		r.as("", op.Method, op.at(nil), op.body()).refused(http.StatusUnauthorized, controller.EUnauthorized)
		if rows := r.since(newest); len(rows) != 0 {
			t.Errorf("%s without a token left %+v", op.OperationID, rows)
		}
		if op.access[0] != "any-token" {
			others := slices.DeleteFunc(slices.Clone(controller.Permissions), func(p string) bool { return slices.Contains(op.access, p) })
			r.once(op, r.NewToken(others), action, audited, http.StatusForbidden)
		}
		r.once(op, r.Token, action, audited, 0)
	}
}

// once sends a request and looks at what the refusal left.
func (r *rig) once(op route, token, action string, audited bool, status int) {
	r.Helper()
	newest := r.newest()
	a := r.as(token, op.Method, op.at(nil), op.body())
	if status != 0 {
		a.is(status)
	}
	switch a.status {
	case http.StatusForbidden, http.StatusNotFound, http.StatusConflict:
	default:
		return // done, or makes no sense: those are tried elsewhere
	}
	rows := r.since(newest)
	if !audited {
		if len(rows) != 0 {
			r.Errorf("%s, which reads, left %+v", op.OperationID, rows)
		}
		return
	}
	var p body.Problem
	if err := json.Unmarshal(a.text, &p); err != nil {
		r.Fatal(err)
	}
	if len(rows) != 1 || rows[0].Action != action || rows[0].Result != "refused: "+p.Code || rows[0].TokenID == nil || !strings.Contains(string(rows[0].Detail), "reason") {
		r.Errorf("%s, refused with %s, left %+v", op.OperationID, p.Code, rows)
		return
	}
	if strings.Contains(op.Path, "{") && !strings.Contains(rows[0].Subject, "999999999") {
		r.Errorf("%s: the refusal names %q", op.OperationID, rows[0].Subject)
	}
}

// TestAudit_refusedOne: of several databases each that is refused is written down.
func TestAudit_refusedOne(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Storage("s3")
	r.Project("shop")
	r.Agent("db-1", "shop", "app", "logs")
	r.do("POST", "/backups", `{"database":"app"}`).is(http.StatusCreated)
	newest := r.newest()
	r.do("POST", "/backups", `{"project":"shop"}`).is(http.StatusMultiStatus)
	rows := r.since(newest)
	if len(rows) != 2 || rows[0].Result != "refused: conflict" || rows[0].Subject != "db-1/main/app" || rows[1].Result != "accepted" {
		t.Errorf("%+v", rows)
	}
}

func TestAudit_actingUser(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, bad := range []string{strings.Repeat("x", 201), "a\tb", "a\xffb", "a\u200bb"} {
		p := r.do("GET", "/whoami", nil, body.ActingUser, bad).refused(http.StatusUnprocessableEntity, controller.EInvalid)
		if p.Field != body.ActingUser {
			t.Errorf("%q: the field is %q", bad, p.Field)
		}
	}
	r.do("GET", "/whoami", nil, body.ActingUser, strings.Repeat("x", 200)).is(http.StatusOK)
	r.do("GET", "/whoami", nil, body.ActingUser, "").is(http.StatusOK)
}

// limitedOf is a token of one project that may look at the log.
func (r *rig) limitedOf(project string) string {
	return r.NewToken([]string{controller.ViewAuditLogs, controller.ExportAuditLogs}, project)
}

func TestAudit_listExportCheck(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Project("shop")
	r.Project("blog")
	list := func(token, query string) []string {
		t.Helper()
		var out []string
		for _, e := range into[body.Page[controller.AuditEntry]](r.as(token, "GET", "/api/v1/audit"+query, nil).is(http.StatusOK)).Items {
			out = append(out, e.Action)
		}
		return out
	}
	for query, want := range map[string]int{
		"": 3, "?action=project.create": 2, "?action=project.": 2, "?action=project": 0, "?actor=test": 2, "?actor=nobody": 0, "?project=shop": 1,
		"?since=2020-01-02T03:04:05Z": 3, "?until=2020-01-02T03:04:05Z": 0, "?limit=1": 1,
	} {
		if got := list(r.Token, query); len(got) != want {
			t.Errorf("%q: %v, want %d entries", query, got, want)
		}
	}
	limited := r.limitedOf("shop")
	if got := list(limited, ""); len(got) != 1 {
		t.Errorf("the token of a project sees %v", got)
	}
	r.do("GET", "/audit?since=yesterday", nil).refused(http.StatusUnprocessableEntity, controller.EInvalid)
	r.do("GET", "/audit?project=nowhere", nil).refused(http.StatusNotFound, controller.ENotFound)

	read := func(a *answer) (out []controller.AuditEntry) {
		t.Helper()
		if got := a.is(http.StatusOK).header.Get("Content-Type"); got != body.JSONLines {
			t.Errorf("the content type is %q", got)
		}
		if err := controller.ReadAuditExport(bytes.NewReader(a.text), func(e controller.AuditEntry) error { out = append(out, e); return nil }); err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(a.text, []byte("\n")); n != len(out) {
			t.Errorf("%d lines of %d entries", n, len(out))
		}
		return out
	}
	all := read(r.do("GET", "/audit/export", nil))
	chain := controller.NewAuditChain(nil)
	for _, e := range all {
		if fault := chain.Add(e); fault != nil {
			t.Fatal(fault)
		}
	}
	if last := all[len(all)-1]; last.Action != "audit.export" || last.Actor != "admin" {
		t.Errorf("the last entry is %+v", last)
	}
	if mine := read(r.as(limited, "GET", "/api/v1/audit/export", nil)); len(mine) != 2 || mine[0].Subject != "shop" {
		t.Errorf("the export of a project's token is %+v", mine)
	}
	if none := read(r.do("GET", "/audit/export?action=nothing", nil)); len(none) != 0 {
		t.Errorf("%+v", none)
	}
	r.as(limited, "GET", "/api/v1/audit/export?project=blog", nil).refused(http.StatusNotFound, controller.ENotFound)
	r.as(r.NewToken([]string{controller.ViewAuditLogs}), "GET", "/api/v1/audit/export", nil).refused(http.StatusForbidden, controller.EForbidden, controller.ExportAuditLogs)

	head := into[controller.AuditHead](r.do("GET", "/audit/head", nil).is(http.StatusOK))
	check := into[controller.AuditCheck](r.do("GET", "/audit/check?head="+head.Text()+"&head=1:"+all[0].Hash, nil).is(http.StatusOK))
	if !check.OK || check.Rows != head.Seq || check.Anchors != 0 || len(check.Warnings) != 1 {
		t.Errorf("%+v", check)
	}
	for _, wrong := range []string{"1:" + head.Hash, "999:" + head.Hash} {
		if check := into[controller.AuditCheck](r.do("GET", "/audit/check?head="+wrong, nil).is(http.StatusOK)); check.OK || check.Problem == "" {
			t.Errorf("%s: %+v", wrong, check)
		}
	}
	r.do("GET", "/audit/check?head=wrong", nil).refused(http.StatusUnprocessableEntity, controller.EInvalid, "64 hexadecimal digits")
	r.as(limited, "GET", "/api/v1/audit/check", nil).refused(http.StatusForbidden, controller.EForbidden)
	r.as(limited, "GET", "/api/v1/audit/head", nil).refused(http.StatusForbidden, controller.EForbidden)
}
