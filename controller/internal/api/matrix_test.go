package api_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

// things are what a project has, by the path that names it.
func (r *rig) things(slug, server, database string) map[string]map[string]string {
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
	token := into[body.NewToken](r.do("POST", "/tokens", `{"name":"of `+slug+`","permissions":["view-backups"],"projects":["`+slug+`"]}`).is(http.StatusCreated))
	user := r.user("of-"+slug, []string{controller.ViewBackups}, slug)
	return map[string]map[string]string{
		"/projects/": {"ref": p.Slug, "server": server}, "/servers/": {"ref": server}, "/backups/": {"id": number(backup.ID)}, "/restores/": {"id": number(restore.ID)},
		"/jobs/": {"id": number(backup.JobID)}, "/storages/": {"ref": "store-" + slug}, "/schedules/": {"id": number(schedule.ID)}, "/pauses/": {"id": number(pause.ID)},
		"/tokens/": {"id": number(token.ID)}, "/users/": {"ref": user.Name},
	}
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
	if ok := op.Responses["200"]; ok != nil && ok.Content["text/event-stream"] != nil {
		time.AfterFunc(100*time.Millisecond, cancel) // a stream has no end of its own
	}
	w := httptest.NewRecorder()
	r.API.ServeHTTP(w, req)
	a := &answer{r, w.Code, w.Header(), w.Body.Bytes(), c.kind + ": " + op.Method + " " + path}
	if a.header.Get("Content-Type") != "text/event-stream" {
		r.conforms(op.Method, path, a)
	}
	return a
}

// TestMatrix tries every operation of the document with every permission by itself, as a token, as a panel's token for a user, and as a
// person who signed in: each gets past the door exactly where the operation asks for that permission, sees what its own project has, and
// of another project it finds nothing.
func TestMatrix(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Storage("s3")
	own, foreign := r.things("mine", "db-mine", "app"), r.things("theirs", "db-theirs", "secret_db")
	panel := into[body.NewToken](r.do("POST", "/tokens", body.CreateToken{Name: "panel", Kind: controller.TokenPanel, Permissions: controller.Permissions}).is(http.StatusCreated)).Token
	at := func(op route, things map[string]map[string]string) (map[string]string, bool) {
		for prefix, values := range things {
			if strings.HasPrefix(op.Path, prefix) && strings.Contains(op.Path, "{") {
				return values, true
			}
		}
		return nil, false
	}
	ops := slices.DeleteFunc(routes(r), func(op route) bool {
		return op.access[0] == "public" || op.Tags[0] == "session" // which is held against its own tests
	})
	door := func(a *answer) bool {
		return a.status == http.StatusForbidden && strings.Contains(string(a.text), "permission ")
	}
	byAccess := map[string][]caller{}
	tried, seen := 0, 0
	for i, permission := range append([]string{""}, controller.Permissions...) {
		var permissions []string
		if permission != "" {
			permissions = []string{permission}
		}
		for _, c := range r.callers(panel, i, "mine", permissions...) {
			byAccess[permission] = append(byAccess[permission], c)
			for _, op := range ops {
				allowed := op.access[0] == "any-token" || len(op.access) == 1 && op.access[0] == permission
				values := map[string]string(nil) // what writes name does not exist: nothing is to be used up
				if op.Method == http.MethodGet {
					values, _ = at(op, own)
				}
				a := r.direct(c, op, op.at(values), op.body())
				tried++
				switch {
				case a.status == http.StatusUnauthorized || door(a) == allowed:
					t.Errorf("%s with %q: %d %.200s", a.what, permission, a.status, a.text)
				case allowed && op.Method == http.MethodGet && a.status < 300:
					seen++
				}
			}
		}
	}
	for _, op := range ops {
		values, ok := at(op, foreign)
		if !ok {
			continue
		}
		callers := byAccess[op.access[0]]
		if len(op.access) > 1 {
			callers = r.callers(panel, 100+tried, "mine", op.access...)
		}
		for _, c := range callers {
			tried++
			a := r.direct(c, op, op.at(values), op.body())
			if a.status == http.StatusForbidden && strings.Contains(string(a.text), "limited to projects") { // what is the installation's
				continue
			}
			a.refused(http.StatusNotFound, controller.ENotFound)
		}
	}
	if tried < 2500 || seen < 60 {
		t.Errorf("only %d requests were tried, %d showed something", tried, seen)
	}
	for _, table := range []string{"tokens", "users"} {
		if text := string(r.direct(byAccess[controller.ManageTokens][1], route{Operation: ops[0].Operation}, "/api/v1/"+table, nil).text); strings.Contains(text, "theirs") {
			t.Errorf("GET /%s shows another project: %s", table, text)
		}
	}
}
