package api_test

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api"
	"devflowbackup/controller/internal/api/body"
)

// route is one registered operation, from the document that the API serves.
type route struct {
	*huma.Operation
	access []string
}

func routes(r *rig) []route {
	r.Helper()
	var all []route
	for _, item := range r.API.OpenAPI().Paths {
		for _, op := range []*huma.Operation{item.Get, item.Head, item.Post, item.Put, item.Patch, item.Delete} {
			if op == nil {
				continue
			}
			access, ok := op.Extensions[api.ExtensionAccess].([]string)
			if !ok || len(access) == 0 {
				r.Errorf("%s %s says nothing about who may call it", op.Method, op.Path)
			}
			all = append(all, route{op, access})
		}
	}
	if len(all) < 55 {
		r.Fatalf("only %d operations", len(all))
	}
	slices.SortFunc(all, func(a, b route) int { return strings.Compare(a.OperationID, b.OperationID) })
	return all
}

var pathParameter = regexp.MustCompile(`\{(\w+)\}`)

// at fills the path's parameters with something that does not exist, or with what values say.
func (o route) at(values map[string]string) string {
	prefix := "/api/v1"
	if len(o.Servers) > 0 {
		prefix = strings.TrimSuffix(o.Servers[0].URL, "/")
	}
	return prefix + pathParameter.ReplaceAllStringFunc(o.Path, func(p string) string {
		if v, ok := values[strings.Trim(p, "{}")]; ok {
			return v
		}
		return "999999999"
	})
}

// sample is a body that passes validation, by operation.
var sample = map[string]string{
	"create-project": `{"slug":"sample"}`, "update-project": `{"name":"x"}`,
	"set-verifier": `{"verifier":true}`, "create-enrolment": `{"server_name":"sample"}`, "enrol": `{"token":"x","nkey":"x","signing_key":"","recipient":"x","agent_version":"x","protocol":1,"host":{}}`,
	"enrolment-status": `{"token":"x"}`, "assign-database": `{"name":"x","project":"nowhere"}`, "unassign-database": `{"name":"x"}`,
	"create-storage": `{"name":"sample","bucket":"b","access_key":"a","secret_key":"s"}`,
	"update-storage": `{"region":"eu-1"}`,
	"create-backups": `{"project":"nowhere"}`, "verify-backups": `{"project":"nowhere"}`,
	"create-schedule": `{"project":"nowhere","frequency":"daily","time":"02:00"}`, "preview-schedule": `{"frequency":"daily","time":"02:00"}`, "update-schedule": `{"is_active":false}`,
	"ignore-database": `{"reason":"x"}`,
	"create-pause":    `{"project":"nowhere","reason":"x"}`, "hold-backup": `{"reason":"x"}`, "cleanup": `{"dry_run":true}`, "update-settings": `{"cleanup_time":"00:00"}`,
	"create-restore": `{"backup_id":999999999}`, "plan-restore": `{"backup_id":999999999}`, "undo-restore": `{"confirm":"x"}`, "discard-kept": `{"confirm":"x"}`,
	"keep-kept": `{"keep_seconds":3600}`, "create-token": `{"name":"sample","permissions":["manage-tokens"]}`,
	"pre-deploy":  `{"wait_seconds":0}`,
	"create-user": `{"name":"sample","permissions":["manage-tokens"]}`, "update-user": `{"display_name":"x"}`, "set-password": `{"password":"only for this sample"}`,
	"sign-in": `{"name":"sample","password":"x"}`, "change-password": `{"old_password":"x","new_password":"only for this sample"}`,
}

func (o route) body() any {
	if s, ok := sample[o.OperationID]; ok {
		return s
	}
	if o.RequestBody != nil {
		return `{}`
	}
	return nil
}

// TestAccess walks every registered operation: without a token, with a token that is not known, and with every permission but one of those it asks for.
func TestAccess(t *testing.T) {
	r := start(t)
	for _, op := range routes(r) {
		if op.access[0] == "public" {
			continue
		}
		r.as("", op.Method, op.at(nil), op.body()).refused(http.StatusUnauthorized, controller.EUnauthorized)
		if op.access[0] == "any-token" {
			continue
		}
		for _, missing := range op.access {
			others := slices.DeleteFunc(slices.Clone(controller.Permissions), func(p string) bool { return p == missing })
			r.as(r.NewToken(others), op.Method, op.at(nil), op.body()).refused(http.StatusForbidden, controller.EForbidden, missing)
		}
		// The permissions that it names are enough to get past the door.
		if got := r.as(r.NewToken(op.access), op.Method, op.at(nil), op.body()).status; got == http.StatusForbidden || got == http.StatusUnauthorized {
			t.Errorf("%s: %d with the permissions %v", op.OperationID, got, op.access)
		}
	}
}

// TestAccess_public lists the operations that need no token or no permission: a new one has to be added here on purpose.
func TestAccess_public(t *testing.T) {
	var open []string
	for _, op := range routes(start(t)) {
		if op.access[0] == "public" || op.access[0] == "any-token" {
			open = append(open, op.OperationID+" "+op.access[0])
		}
	}
	if want := []string{
		"change-password any-token", "download public", "end-session any-token", "enrol public", "enrolment-status public", "get-ca public", "get-install-script public", "get-package public",
		"get-session any-token", "get-sign-in-methods public", "get-version any-token", "head-download public", "list-sessions any-token", "oidc-callback public", "oidc-sign-in public",
		"sign-in public", "sign-out any-token", "whoami any-token",
	}; !slices.Equal(open, want) {
		t.Errorf("open operations are %v, want %v", open, want)
	}
}

func TestAccess_unknownToken(t *testing.T) {
	r := start(t)
	token, _ := api.NewToken()
	r.as(token, "GET", "/api/v1/projects", nil).refused(http.StatusUnauthorized, controller.EUnauthorized, "not known")
	r.as("not-a-token", "GET", "/api/v1/projects", nil).refused(http.StatusUnauthorized, controller.EUnauthorized)
	if got := r.as("", "GET", "/api/v1/projects", nil).header.Get("WWW-Authenticate"); got != "Bearer" {
		t.Errorf("WWW-Authenticate is %q", got)
	}
	if log := r.Logged.String(); strings.Contains(log, token) || strings.Contains(log, r.Token) {
		t.Error("the log holds a token")
	}
}

// TestAccess_foreignProject: what belongs to another project does not exist, whatever the operation, for a caller with every permission.
func TestAccess_foreignProject(t *testing.T) {
	r := start(t)
	mine, theirs := r.Project("mine"), r.Project("theirs")
	r.Storage("s3")
	storage, err := r.Store.CreateStorage(t.Context(), r.Admin, controller.StorageSpec{
		Name: "store-theirs", Project: "theirs", Kind: controller.StorageS3, Endpoint: "http://127.0.0.1:1", Region: "r", Bucket: "theirs", AccessKey: "a", SecretKey: "s",
	}, nil, true, "sha256")
	if err != nil {
		t.Fatal(err)
	}
	a := r.Agent("db-theirs", "theirs", "secret_db")
	backups := r.do("POST", "/backups", `{"project":"theirs"}`).is(http.StatusCreated)
	backup := into[struct {
		Items []struct{ Backup controller.Backup }
	}](backups).Items[0].Backup
	r.Complete(a, r.Start(a)[0])
	restore := into[controller.Restore](r.do("POST", "/restores", `{"backup_id":`+number(backup.ID)+`,"to_database":"copy"}`).is(http.StatusCreated))
	schedule := into[body.Schedule](r.do("POST", "/schedules", `{"project":"theirs","frequency":"daily","time":"02:00"}`).is(http.StatusCreated))
	pause := into[controller.Pause](r.do("POST", "/pauses", `{"project":"theirs","reason":"theirs"}`).is(http.StatusCreated))
	token := r.NewToken(controller.Permissions, mine.Slug)

	ids := map[string]map[string]string{
		"/projects/":  {"ref": theirs.Slug, "server": "db-theirs"},
		"/servers/":   {"ref": "db-theirs"},
		"/backups/":   {"id": number(backup.ID)},
		"/restores/":  {"id": number(restore.ID)},
		"/jobs/":      {"id": number(backup.JobID)},
		"/databases/": {},
		"/storages/":  {"ref": storage.Name},
		"/schedules/": {"id": number(schedule.ID)},
		"/pauses/":    {"id": number(pause.ID)},
	}
	bodies := map[string]string{
		"assign-database": `{"name":"secret_db","project":"mine"}`, "unassign-database": `{"name":"secret_db"}`,
		"create-backups": `{"project":"theirs"}`, "verify-backups": `{"project":"theirs"}`, "create-restore": `{"backup_id":` + number(backup.ID) + `,"to_database":"copy"}`,
		"plan-restore":    `{"backup_id":` + number(backup.ID) + `,"to_database":"copy"}`,
		"create-schedule": `{"project":"theirs","frequency":"daily","time":"02:00"}`, "create-pause": `{"project":"theirs","reason":"x"}`, "cleanup": `{"project":"theirs"}`,
	}
	checked := 0
	for _, op := range routes(r) {
		values, ok := map[string]string(nil), false
		for prefix, v := range ids {
			if strings.HasPrefix(op.Path, prefix) {
				values, ok = v, true
			}
		}
		in := op.body()
		if b, named := bodies[op.OperationID]; named {
			in, ok = b, true
		}
		if !ok || op.access[0] == "public" || op.OperationID == "preview-schedule" { // which is about the request alone
			continue
		}
		got := r.as(token, op.Method, op.at(values), in)
		// Server grants, and the mark of a verifier, are the installation's: a token that is limited to projects is refused as such.
		if got.status == http.StatusForbidden && strings.Contains(string(got.text), "limited to projects") {
			checked++
			continue
		}
		got.refused(http.StatusNotFound, controller.ENotFound)
		checked++
	}
	r.Fleet.With(func() {
		if len(r.Fleet.Specs)+len(r.Fleet.Changes) != 0 {
			t.Error("a foreign storage was probed")
		}
		if len(r.Fleet.Inspected) != 0 {
			t.Error("a foreign database was looked at")
		}
	})
	if checked < 49 {
		t.Errorf("only %d operations were held against a foreign project", checked)
	}
	// Of the audit log it sees its own acts, which name what they were refused for.
	for _, e := range into[body.Page[controller.AuditEntry]](r.as(token, "GET", "/api/v1/audit?limit=200", nil).is(http.StatusOK)).Items {
		if e.ProjectID == nil || *e.ProjectID != mine.ID || e.Result != controller.AuditDone && !strings.HasPrefix(e.Result, "refused: ") {
			t.Errorf("GET /audit shows another project: %+v", e)
		}
	}
	for _, path := range []string{"/projects", "/servers", "/databases", "/backups", "/restores", "/storages", "/schedules", "/pauses"} {
		if text := string(r.as(token, "GET", "/api/v1"+path, nil).is(http.StatusOK).text); strings.Contains(text, "theirs") || strings.Contains(text, "secret_db") {
			t.Errorf("GET %s shows another project: %s", path, text)
		}
	}
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

func TestFailures_limited(t *testing.T) {
	r := start(t)
	token, _ := api.NewToken()
	for range 20 {
		r.as(token, "GET", "/api/v1/whoami", nil).refused(http.StatusUnauthorized, controller.EUnauthorized)
	}
	a := r.as(token, "GET", "/api/v1/whoami", nil)
	a.refused(http.StatusTooManyRequests, "too_many_requests")
	if wait, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || wait < 1 || wait > 10 {
		t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
	}
}
