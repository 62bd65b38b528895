package api_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

// things are what a project has.
type things struct {
	slug, database string
	paths          map[string]map[string]string // by the path that names them
}

func (r *rig) things(slug, server, database string) things {
	r.Helper()
	p := r.Project(slug)
	if _, err := r.Store.CreateStorage(r.Context(), r.Admin, controller.StorageSpec{
		Name: "store-" + slug, Project: slug, Kind: controller.StorageS3, Endpoint: "http://127.0.0.1:1", Region: "r", Bucket: slug, AccessKey: "a", SecretKey: "s",
	}, nil, true, "sha256"); err != nil {
		r.Fatal(err)
	}
	a := r.Agent(server, slug, database)
	backup := into[struct {
		Items []struct{ Backup controller.Backup }
	}](r.do("POST", "/backups", `{"project":"`+slug+`","storage":"s3"}`).is(http.StatusCreated)).Items[0].Backup
	r.Complete(a, r.Start(a)[0])
	restore := into[controller.Restore](r.do("POST", "/restores", `{"backup_id":`+number(backup.ID)+`,"to_database":"copy"}`).is(http.StatusCreated))
	r.do("POST", "/restores/"+number(restore.ID)+"/cancel", nil).is(http.StatusOK)
	schedule := into[body.Schedule](r.do("POST", "/schedules", `{"project":"`+slug+`","frequency":"daily","time":"02:00"}`).is(http.StatusCreated))
	pause := into[controller.Pause](r.do("POST", "/pauses", `{"project":"`+slug+`","reason":"x"}`).is(http.StatusCreated))
	ordered := into[controller.PreDeploy](r.do("POST", "/projects/"+slug+"/pre-deploy", `{"wait_seconds":0}`).is(http.StatusAccepted))
	r.do("POST", "/backups/"+number(*ordered.Databases[0].BackupID)+"/cancel", nil).is(http.StatusOK)
	token := into[body.NewToken](r.do("POST", "/tokens", `{"name":"of `+slug+`","permissions":["manage-tokens"],"projects":["`+slug+`"]}`).is(http.StatusCreated))
	user := r.user("of-"+slug, []string{controller.ManageTokens}, slug)
	channel := into[controller.Channel](r.do("POST", "/channels", `{"name":"channel-`+slug+`","project":"`+slug+`","kind":"webhook","target":{"url":"https://hook.test/`+slug+`","secret":"0123456789abcdef"}}`).is(http.StatusCreated))
	mute := into[controller.Mute](r.do("POST", "/mutes", `{"scope":"project","ref":"`+slug+`","for_seconds":3600,"reason":"x"}`).is(http.StatusCreated))
	alarm := r.SQL(`INSERT INTO alarms (kind, key, severity, project_id, title) VALUES ('overdue', 'overdue:` + slug + `', 'critical', ` + number(p.ID) + `, 'of ` + slug + `') RETURNING id`)
	notice := r.SQL(`INSERT INTO notices (kind, event, severity, alarm_id, project_id, title) VALUES ('overdue', 'opened', 'critical', ` + alarm + `, ` + number(p.ID) + `, 'of ` + slug + `') RETURNING id`)
	return things{slug, database, map[string]map[string]string{
		"/channels/": {"ref": channel.Name}, "/mutes/": {"id": number(mute.ID)}, "/alarms/": {"id": alarm}, "/notices/": {"id": notice},
		"/projects/": {"ref": p.Slug, "server": server}, "/servers/": {"ref": server}, "/backups/": {"id": number(backup.ID)}, "/restores/": {"id": number(restore.ID)},
		"/jobs/": {"id": number(backup.JobID)}, "/storages/": {"ref": "store-" + slug}, "/schedules/": {"id": number(schedule.ID)}, "/pauses/": {"id": number(pause.ID)},
		"/tokens/": {"id": number(token.ID)}, "/users/": {"ref": user.Name},
		"/pre-deploys/": {"id": number(ordered.ID)}, "/databases/": {"id": number(backup.DatabaseID)},
	}}
}

// caller is someone with some permissions in one project, by one of the ways to ask.
type caller struct {
	kind    string
	headers []string
}

// callers makes one of each kind. A panel's token has every permission and project itself: its user has not.
func (r *rig) callers(panel string, n int, project string, permissions ...string) []caller {
	r.Helper()
	named := strings.Join(permissions, ",")
	all := []caller{{"panel", []string{"Authorization", "Bearer " + panel, body.ActingUser, "zoe", body.ActingPermissions, named, body.ActingProjects, project}}}
	if len(permissions) == 0 {
		return all // neither a token nor a user can be made without
	}
	all = append(all, caller{"token", []string{"Authorization", "Bearer " + r.NewToken(permissions, project)}})
	name := "person" + number(int64(n)) + "x"
	r.user(name, permissions, project)
	p := r.signedIn(name)
	return append(all, caller{"person", []string{"Cookie", p.cookie, body.CSRF, p.csrf}})
}

// listener leaves a stream of events, which has no end of its own, once it has begun.
type listener struct {
	*httptest.ResponseRecorder
	leave func()
}

func (l *listener) Write(p []byte) (int, error) {
	if l.Header().Get("Content-Type") == body.EventStream {
		l.leave()
	}
	return l.ResponseRecorder.Write(p)
}

// direct asks the API without a connection.
func (r *rig) direct(c caller, op route, path string, in any) *answer {
	r.Helper()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	var payload io.Reader = http.NoBody
	if text, ok := in.(string); ok {
		payload = strings.NewReader(text)
	}
	req := httptest.NewRequestWithContext(ctx, op.Method, path, payload)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(c.headers); i += 2 {
		req.Header.Set(c.headers[i], c.headers[i+1])
	}
	w := httptest.NewRecorder()
	r.API.ServeHTTP(&listener{w, cancel}, req)
	a := &answer{r, w.Code, w.Header(), w.Body.Bytes(), c.kind + ": " + op.Method + " " + path}
	if a.header.Get("Content-Type") != body.EventStream {
		r.conforms(op.Method, path, a)
	}
	return a
}

// rule is what an operation asks for and where, beside what the document says of it: a route that is added needs one, and one that becomes
// weaker has to be made so here too.
type rule struct {
	access string // permissions, all of which are needed, parted by spaces; or public, or any-token
	// names is where the operation names a thing of a project: path, or the body that does, with $ in the place of the project's slug and of
	// what its things are called by. Empty: it names none, and shows only what is the caller's own.
	names string
	// whole is of what belongs to the installation: a caller who is limited to projects is refused as such.
	whole bool
	// and is what is asked for beyond access where the thing that is named needs it.
	and string
	// last ends the thing that it names, and so comes after the others.
	last bool
}

const inPath = "path"

var rules = map[string]rule{
	"get-version": {access: "any-token"}, "whoami": {access: "any-token"}, "get-session": {access: "any-token"}, "sign-out": {access: "any-token"}, "list-sessions": {access: "any-token"},
	"end-session": {access: "any-token"}, "change-password": {access: "any-token"},
	"sign-in": {access: "public"}, "get-sign-in-methods": {access: "public"}, "oidc-sign-in": {access: "public"}, "oidc-callback": {access: "public"}, "enrol": {access: "public"},
	"enrolment-status": {access: "public"}, "get-ca": {access: "public"}, "get-install-script": {access: "public"}, "get-package": {access: "public"}, "download": {access: "public"}, "head-download": {access: "public"},

	"list-projects": {access: controller.ViewBackups}, "get-project": {access: controller.ViewBackups, names: inPath}, "get-project-statistics": {access: controller.ViewBackups, names: inPath},
	"get-statistics": {access: controller.ViewBackups}, "get-trends": {access: controller.ViewBackups}, "get-overview": {access: controller.ViewBackups}, "watch-events": {access: controller.ViewBackups},
	"get-settings": {access: controller.ViewBackups}, "list-servers": {access: controller.ViewBackups}, "get-server": {access: controller.ViewBackups, names: inPath}, "list-databases": {access: controller.ViewBackups},
	"list-storages": {access: controller.ViewBackups}, "get-storage": {access: controller.ViewBackups, names: inPath},
	"list-backups": {access: controller.ViewBackups}, "get-backup": {access: controller.ViewBackups, names: inPath}, "get-backup-log": {access: controller.ViewBackups, names: inPath},
	"get-backup-manifest": {access: controller.ViewBackups, names: inPath}, "verify-backup": {access: controller.ViewBackups, names: inPath},
	"verify-backups": {access: controller.ViewBackups, names: `{"project":"$"}`}, "cleanup": {access: controller.ViewBackups, names: `{"project":"$","dry_run":true}`},
	"list-restores": {access: controller.ViewBackups}, "get-restore": {access: controller.ViewBackups, names: inPath}, "list-jobs": {access: controller.ViewBackups}, "get-job": {access: controller.ViewBackups, names: inPath},
	"cancel-job": {access: controller.ViewBackups, names: inPath, and: controller.CreateBackups, last: true}, "list-schedules": {access: controller.ViewBackups}, "get-schedule": {access: controller.ViewBackups, names: inPath},
	"list-occurrences": {access: controller.ViewBackups, names: inPath}, "preview-schedule": {access: controller.ViewBackups}, "list-pauses": {access: controller.ViewBackups},

	"create-backups": {access: controller.CreateBackups, names: `{"project":"$"}`}, "retry-backup": {access: controller.CreateBackups, names: inPath}, "cancel-backup": {access: controller.CreateBackups, names: inPath},
	"pre-deploy": {access: controller.CreateBackups, names: inPath}, "get-pre-deploy": {access: controller.CreateBackups, names: inPath},
	"create-restore": {access: controller.RestoreBackups, names: `{"backup_id":$BACKUP,"to_database":"other"}`}, "plan-restore": {access: controller.RestoreBackups, names: `{"backup_id":$BACKUP,"to_database":"other"}`},
	"cancel-restore": {access: controller.RestoreBackups, names: inPath}, "undo-restore": {access: controller.RestoreBackups, names: inPath}, "plan-undo": {access: controller.RestoreBackups, names: inPath},
	"discard-kept": {access: controller.RestoreBackups, names: inPath}, "keep-kept": {access: controller.RestoreBackups, names: inPath},
	"delete-backup": {access: controller.DeleteBackups, names: inPath, last: true}, "undelete-backup": {access: controller.DeleteBackups, names: inPath}, "hold-backup": {access: controller.DeleteBackups, names: inPath},
	"release-backup": {access: controller.DeleteBackups, names: inPath}, "create-download": {access: controller.DownloadBackups, names: inPath},
	"get-project-key": {access: controller.DownloadBackups + " " + controller.ManageProjects, names: inPath},

	"create-project": {access: controller.ManageProjects, whole: true}, "update-project": {access: controller.ManageProjects, names: inPath}, "delete-project": {access: controller.ManageProjects, names: inPath, last: true},
	"grant-server": {access: controller.ManageProjects, names: inPath, whole: true}, "revoke-server-grant": {access: controller.ManageProjects, names: inPath, whole: true},
	"assign-database": {access: controller.ManageProjects, names: `{"name":"$DATABASE","project":"$"}`}, "unassign-database": {access: controller.ManageProjects, names: `{"name":"$DATABASE"}`, last: true},
	"update-settings": {access: controller.ManageProjects, whole: true},
	"create-schedule": {access: controller.ManageSchedules, names: `{"project":"$","frequency":"daily","time":"02:00"}`}, "update-schedule": {access: controller.ManageSchedules, names: inPath},
	"delete-schedule": {access: controller.ManageSchedules, names: inPath, last: true}, "run-schedule": {access: controller.ManageSchedules + " " + controller.CreateBackups, names: inPath},
	"list-protection": {access: controller.ViewBackups}, "get-protection-summary": {access: controller.ViewBackups},
	"ignore-database": {access: controller.ManageSchedules, names: inPath}, "unignore-database": {access: controller.ManageSchedules, names: inPath},
	"create-pause": {access: controller.ManageSchedules, names: `{"project":"$","reason":"x"}`}, "end-pause": {access: controller.ManageSchedules, names: inPath},
	"list-channels": {access: controller.ViewBackups}, "list-channel-kinds": {access: controller.ViewBackups}, "get-channel": {access: controller.ViewBackups, names: inPath},
	"create-channel": {access: controller.ManageProjects, names: `{"name":"new-$","project":"$","kind":"webhook","target":{"url":"https://hook.test/x","secret":"0123456789abcdef"}}`},
	"update-channel": {access: controller.ManageProjects, names: inPath}, "delete-channel": {access: controller.ManageProjects, names: inPath, last: true}, "test-channel": {access: controller.ManageProjects, names: inPath},
	"list-alarms": {access: controller.ViewBackups}, "get-alarm-summary": {access: controller.ViewBackups}, "get-alarm": {access: controller.ViewBackups, names: inPath},
	"list-notice-kinds": {access: controller.ViewBackups}, "list-notices": {access: controller.ViewBackups}, "get-notice": {access: controller.ViewBackups, names: inPath}, "list-mutes": {access: controller.ViewBackups},
	"create-mute": {access: controller.ManageSchedules, names: `{"scope":"project","ref":"$","for_seconds":60,"reason":"x"}`}, "end-mute": {access: controller.ManageSchedules, names: inPath},
	"list-enrolments": {access: controller.ManageServers}, "create-enrolment": {access: controller.ManageServers, names: `{"server_name":"new","project":"$"}`},
	"revoke-server": {access: controller.ManageServers, names: inPath, whole: true}, "set-verifier": {access: controller.ManageServers, names: inPath, whole: true},
	"create-storage": {access: controller.ManageStorages, names: `{"name":"new-$","project":"$","bucket":"b","access_key":"a","secret_key":"s"}`}, "update-storage": {access: controller.ManageStorages, names: inPath},
	"probe-storage": {access: controller.ManageStorages, names: inPath}, "set-default-storage": {access: controller.ManageStorages, names: inPath}, "delete-storage": {access: controller.ManageStorages, names: inPath, last: true},
	"get-inventory": {access: controller.ManageStorages, names: inPath}, "request-inventory": {access: controller.ManageStorages, names: inPath}, "list-findings": {access: controller.ManageStorages, names: inPath},
	"list-tokens": {access: controller.ManageTokens}, "create-token": {access: controller.ManageTokens, names: `{"name":"new","permissions":["manage-tokens"],"projects":["$"]}`}, "get-token": {access: controller.ManageTokens, names: inPath},
	"rotate-token": {access: controller.ManageTokens, names: inPath}, "revoke-token": {access: controller.ManageTokens, names: inPath, last: true},
	"list-users": {access: controller.ManageTokens}, "create-user": {access: controller.ManageTokens, names: `{"name":"new-$","permissions":["manage-tokens"],"projects":["$"]}`}, "get-user": {access: controller.ManageTokens, names: inPath},
	"update-user": {access: controller.ManageTokens, names: inPath}, "set-password": {access: controller.ManageTokens, names: inPath}, "end-user-sessions": {access: controller.ManageTokens, names: inPath},
	"delete-user": {access: controller.ManageTokens, names: inPath, last: true},
	"list-audit":  {access: controller.ViewAuditLogs}, "audit-head": {access: controller.ViewAuditLogs}, "check-audit": {access: controller.ViewAuditLogs}, "list-security-events": {access: controller.ViewAuditLogs},
	"export-audit": {access: controller.ExportAuditLogs},
}

// on is what the operation is asked with for a thing of a project.
func (u rule) on(op route, of things) (path string, in any, named bool) {
	in = op.body()
	switch u.names {
	case "":
		return op.at(nil), in, false
	case inPath:
		for prefix, values := range of.paths {
			if strings.HasPrefix(op.Path, prefix) {
				return op.at(values), in, true
			}
		}
		panic(op.OperationID + " names a thing in its path that the test does not have: " + op.Path)
	}
	text := strings.NewReplacer("$BACKUP", of.paths["/backups/"]["id"], "$DATABASE", of.database, "$", of.slug).Replace(u.names)
	return op.at(nil), text, true
}

// TestMatrix tries every operation of the document with every permission by itself, in the caller's own project and in a foreign one: as a
// token, as a panel's token for a user, and as a person who signed in. Each gets past the door exactly where the table says so, finds what
// its own project has, and of the foreign one nothing.
func TestMatrix(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Storage("s3")
	own, foreign := r.things("mine", "db-mine", "app"), r.things("theirs", "db-theirs", "secret_db")
	panel := into[body.NewToken](r.do("POST", "/tokens", body.CreateToken{Name: "panel", Kind: controller.TokenPanel, Permissions: controller.Permissions}).is(http.StatusCreated)).Token
	there := map[string]bool{}
	var ops []route
	for _, op := range routes(r) {
		there[op.OperationID] = true
		u, known := rules[op.OperationID]
		if !known {
			t.Errorf("%s %s (%s) has no row in the table: who may call it, and where does it name what is a project's?", op.Method, op.Path, op.OperationID)
			continue
		}
		if strings.Join(op.access, " ") != u.access {
			t.Errorf("%s asks for %v, and not for %s", op.OperationID, op.access, u.access)
		}
		if strings.Contains(op.Path, "{") && u.names == "" && u.access != "public" && op.OperationID != "end-session" {
			t.Errorf("%s has something in its path, and the table does not say that it names it", op.OperationID)
		}
		if u.access != "public" && op.Tags[0] != "session" { // which is held against its own tests
			ops = append(ops, op)
		}
	}
	for id := range rules {
		if !there[id] {
			t.Errorf("%s is in the table, and there is no such operation", id)
		}
	}
	door := func(a *answer) bool {
		return a.status == http.StatusForbidden && strings.Contains(string(a.text), "permission ")
	}
	whole := func(a *answer) bool {
		return a.status == http.StatusForbidden && strings.Contains(string(a.text), "limited to projects")
	}
	byAccess := map[string][]caller{}
	tried, seen, hidden, held := 0, 0, 0, map[string]bool{}
	for i, permission := range append([]string{""}, controller.Permissions...) {
		var permissions []string
		if permission != "" {
			permissions = []string{permission}
		}
		for _, c := range r.callers(panel, i, "mine", permissions...) {
			byAccess[permission] = append(byAccess[permission], c)
			for _, op := range ops {
				u := rules[op.OperationID]
				allowed := u.access == "any-token" || u.access == permission
				path, in, named := u.on(op, own)
				if op.Method != http.MethodGet { // nothing is to be used up yet: what writes name does not exist
					path, in = op.at(nil), op.body()
				}
				a := r.direct(c, op, path, in)
				tried++
				switch {
				case a.status == http.StatusUnauthorized || door(a) == allowed:
					t.Errorf("%s with %q: %d %.200s", a.what, permission, a.status, a.text)
				case allowed && op.Method == http.MethodGet && a.status < 300:
					seen++
				}
				if !named || !allowed && c.kind != "panel" { // the door is the same for all kinds
					continue
				}
				path, in, _ = u.on(op, foreign)
				a = r.direct(c, op, path, in)
				tried++
				switch {
				case !allowed && !door(a):
					t.Errorf("%s with %q in a foreign project: %d %.200s", a.what, permission, a.status, a.text)
				case allowed && u.whole && whole(a):
					held[op.OperationID] = true
				case allowed && a.status != http.StatusNotFound:
					t.Errorf("%s with %q in a foreign project: %d, not 404: %.200s", a.what, permission, a.status, a.text)
				case allowed:
					hidden++
					held[op.OperationID] = true
				}
			}
		}
	}
	// Those that ask for several: each of them alone was not enough.
	for _, op := range ops {
		u := rules[op.OperationID]
		if len(op.access) < 2 {
			continue
		}
		byAccess[u.access] = r.callers(panel, 100+tried, "mine", op.access...)
		for _, c := range byAccess[u.access] {
			path, in, _ := u.on(op, foreign)
			r.direct(c, op, path, in).refused(http.StatusNotFound, controller.ENotFound)
			tried, held[op.OperationID] = tried+1, true
		}
	}
	for _, table := range []string{"tokens", "users"} {
		if text := string(r.direct(byAccess[controller.ManageTokens][1], route{Operation: ops[0].Operation}, "/api/v1/"+table, nil).text); strings.Contains(text, "theirs") {
			t.Errorf("GET /%s shows another project: %s", table, text)
		}
	}
	// It is the project that hides a thing, and not that there is none: of one's own each operation finds what it names. Those that end it
	// come last.
	slices.SortStableFunc(ops, func(a, b route) int {
		order := func(op route) int {
			switch u := rules[op.OperationID]; {
			case u.last && strings.HasPrefix(op.Path, "/projects/"):
				return 2
			case u.last:
				return 1
			}
			return 0
		}
		return order(a) - order(b)
	})
	for _, op := range ops {
		u := rules[op.OperationID]
		path, in, named := u.on(op, own)
		if !named {
			continue
		}
		if !held[op.OperationID] {
			t.Errorf("%s was not held against a foreign project", op.OperationID)
		}
		a := r.direct(byAccess[u.access][1], op, path, in) // a token
		if u.and != "" {
			a.refused(http.StatusForbidden, controller.EForbidden, u.and)
			a = r.direct(caller{"token", []string{"Authorization", "Bearer " + r.NewToken(append(op.access, u.and), "mine")}}, op, path, in)
		}
		switch {
		case u.whole && whole(a):
		case a.status == http.StatusNotFound || a.status == http.StatusForbidden || a.status == http.StatusUnauthorized || a.status >= 500:
			t.Errorf("%s in the caller's own project: %d %.200s", a.what, a.status, a.text)
		}
	}
	if tried < 4000 || seen < 90 || hidden < 150 {
		t.Errorf("only %d requests were tried, %d showed something, %d found nothing", tried, seen, hidden)
	}
}
