package api_test

import (
	"fmt"
	"net/http"
	"testing"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

// TestIfMatch: what was changed meanwhile is not changed again by who has not seen it; who names no version changes it as ever.
func TestIfMatch(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Project("shop")
	r.Storage("s3")
	r.Agent("db-1", "shop", "app")
	r.do(http.MethodPost, "/schedules", map[string]any{"project": "shop", "frequency": "hourly"}).is(http.StatusCreated)
	r.user("zoe", []string{controller.ViewBackups})
	r.do(http.MethodPost, "/channels", `{"name":"hook","kind":"webhook","target":{"url":"https://hook.test/x","secret":"0123456789abcdef"}}`).is(http.StatusCreated)
	for _, c := range []struct {
		path, method, edit string
		first, second      any
	}{
		{"/projects/shop", http.MethodPatch, "/projects/shop", map[string]any{"name": "one"}, map[string]any{"name": "two"}},
		{"/storages/s3", http.MethodPatch, "/storages/s3", map[string]any{"name": "s4"}, map[string]any{"name": "s3"}},
		{"/channels/hook", http.MethodPatch, "/channels/hook", map[string]any{"remind_hours": 5}, map[string]any{"is_active": false}},
		{"/schedules/1", http.MethodPatch, "/schedules/1", map[string]any{"level": 5}, map[string]any{"level": 6}},
		{"/settings", http.MethodPatch, "/settings", map[string]any{"timezone": "Europe/Rome"}, map[string]any{"timezone": "UTC"}},
		{"/users/zoe", http.MethodPatch, "/users/zoe", map[string]any{"display_name": "Zoë"}, map[string]any{"display_name": "Zoe"}},
		{"/projects/shop", http.MethodPatch, "/projects/shop", map[string]any{"max_jobs_per_hour": 60, "max_bytes_per_day": 1 << 40}, map[string]any{"max_jobs_per_hour": nil}},
		{"/servers/db-1", http.MethodPut, "/servers/db-1/verifier", map[string]any{"verifier": true}, map[string]any{"verifier": false}},
	} {
		old := r.do(http.MethodGet, c.path, nil).is(http.StatusOK).header.Get("ETag")
		if len(old) < 10 || r.do(http.MethodGet, c.path, nil).header.Get("ETag") != old {
			t.Fatalf("%s: ETag %q, or another one the second time", c.path, old)
		}
		now := r.do(c.method, c.edit, c.first, "If-Match", old).is(http.StatusOK).header.Get("ETag")
		if now == old || now == "" {
			t.Fatalf("%s: ETag %q after %q", c.path, now, old)
		}
		edit, back := c.edit, c.second
		if c.path == "/storages/s3" {
			edit = "/storages/s4"
		}
		r.do(c.method, edit, back, "If-Match", old).refused(http.StatusPreconditionFailed, "changed_meanwhile", "read it again")
		r.do(c.method, edit, back, "If-Match", `W/"x"`).refused(http.StatusUnprocessableEntity, "invalid", "If-Match")
		r.do(c.method, edit, back, "If-Match", `"x", `+now).is(http.StatusOK)
		r.do(c.method, map[bool]string{true: c.edit, false: edit}[c.path == "/storages/s3"], c.first, "If-Match", "*").is(http.StatusOK)
	}
	old := r.do(http.MethodGet, "/schedules/1", nil).header.Get("ETag")
	r.do(http.MethodPatch, "/schedules/1", map[string]any{"level": 7}).is(http.StatusOK)
	r.do(http.MethodDelete, "/channels/1", nil, "If-Match", old).refused(http.StatusPreconditionFailed, "changed_meanwhile")
	r.do(http.MethodDelete, "/schedules/1", nil, "If-Match", old).refused(http.StatusPreconditionFailed, "changed_meanwhile")
	token := fmt.Sprint("/tokens/", into[body.NewToken](r.do(http.MethodPost, "/tokens", body.CreateToken{Name: "ci", Permissions: []string{controller.ViewBackups}}).is(http.StatusCreated)).ID)
	old = r.do(http.MethodGet, token, nil).is(http.StatusOK).header.Get("ETag")
	r.do(http.MethodPost, token+"/rotate", nil, "If-Match", old).is(http.StatusOK)
	r.do(http.MethodPost, token+"/rotate", nil, "If-Match", old).refused(http.StatusPreconditionFailed, "changed_meanwhile")
	r.do(http.MethodDelete, token, nil, "If-Match", old).refused(http.StatusPreconditionFailed, "changed_meanwhile")
	r.do(http.MethodDelete, token, nil, "If-Match", r.do(http.MethodGet, token, nil).header.Get("ETag")).is(http.StatusNoContent)
	r.do(http.MethodPut, "/users/zoe/password", map[string]any{"password": "another one for it"}, "If-Match", `"0"`).refused(http.StatusPreconditionFailed, "changed_meanwhile")
	r.do(http.MethodDelete, "/users/zoe", nil, "If-Match", `"0"`).refused(http.StatusPreconditionFailed, "changed_meanwhile")
	r.do(http.MethodDelete, "/projects/shop", nil, "If-Match", `"0"`).refused(http.StatusPreconditionFailed, "changed_meanwhile")
	r.do(http.MethodDelete, "/storages/s4", nil, "If-Match", `"0"`).refused(http.StatusPreconditionFailed, "changed_meanwhile")
	r.do(http.MethodDelete, "/schedules/1", nil).is(http.StatusNoContent)
}
