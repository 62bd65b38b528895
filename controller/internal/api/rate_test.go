package api_test

import (
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/app/apitest"
)

// TestRate: a caller that sends too much is told when to come back, and no other one is held up by it.
func TestRate(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	r := &rig{apitest.Custom(t, func(o *api.Options) {
		o.Rate = api.RateLimit{PerSecond: 0.5, Burst: 3}
		o.Now = func() time.Time { return time.Unix(1_800_000_000+ahead.Load(), 0) }
	})}
	one, two := r.NewToken([]string{controller.ViewBackups}), r.NewToken([]string{controller.ViewBackups})
	for _, left := range []string{"2", "1", "0"} {
		a := r.as(one, http.MethodGet, "/api/v1/backups", nil).is(http.StatusOK)
		if a.header.Get("RateLimit-Limit") != "3" || a.header.Get("RateLimit-Remaining") != left {
			t.Fatalf("%v", a.header)
		}
	}
	a := r.as(one, http.MethodGet, "/api/v1/backups", nil)
	a.refused(http.StatusTooManyRequests, "rate_limited", "try again in 2 s")
	if a.header.Get("Retry-After") != "2" || a.header.Get("RateLimit-Reset") != "6" {
		t.Fatalf("%v", a.header)
	}
	r.as(two, http.MethodGet, "/api/v1/backups", nil).is(http.StatusOK)
	ahead.Store(2)
	r.as(one, http.MethodGet, "/api/v1/backups", nil).is(http.StatusOK)
	r.as(one, http.MethodGet, "/api/v1/backups", nil).refused(http.StatusTooManyRequests, "rate_limited")
}

// TestRate_users: a panel's token has a bound for all of its users together, whatever names it gives them.
func TestRate_users(t *testing.T) {
	t.Parallel()
	r := &rig{apitest.Custom(t, func(o *api.Options) {
		o.Rate = api.RateLimit{PerSecond: 1, Burst: 2}
		o.Now = func() time.Time { return time.Unix(1_800_000_000, 0) }
	})}
	panel := into[body.NewToken](r.do(http.MethodPost, "/tokens", body.CreateToken{Name: "panel", Kind: controller.TokenPanel, Permissions: controller.Permissions}).is(http.StatusCreated)).Token
	as := func(user int) *answer {
		return r.as(panel, http.MethodGet, "/api/v1/whoami", nil, body.ActingUser, fmt.Sprint("user ", user), body.ActingPermissions, "*", body.ActingProjects, "*")
	}
	for user := range 10 {
		as(user).is(http.StatusOK)
		as(user).is(http.StatusOK)
		as(user).refused(http.StatusTooManyRequests, "rate_limited")
	}
	if a := as(10); a.refused(http.StatusTooManyRequests, "rate_limited", "all users of a panel").Code == "" || a.header.Get("Retry-After") != "1" {
		t.Fatalf("%v", a.header)
	}
}

// TestCORS: pages of the origins that are configured, exactly, and no cookie.
func TestCORS(t *testing.T) {
	t.Parallel()
	const panel = "https://panel.example.com"
	r := &rig{apitest.Custom(t, func(o *api.Options) { o.Origins = []string{panel} })}
	pre := []string{"Access-Control-Request-Method", "PATCH", "Access-Control-Request-Headers", "authorization", "Origin"}
	a := r.as("", http.MethodOptions, "/api/v1/projects/shop", nil, append(pre, panel)...).is(http.StatusNoContent)
	if h := a.header; h.Get("Access-Control-Allow-Origin") != panel || h.Get("Access-Control-Allow-Methods") == "" || h.Get("Access-Control-Allow-Headers") == "" || h.Get("Access-Control-Allow-Credentials") != "" {
		t.Fatalf("%v", h)
	}
	a = r.do(http.MethodGet, "/backups", nil, "Origin", panel).is(http.StatusOK)
	if h := a.header; h.Get("Access-Control-Allow-Origin") != panel || h.Get("Access-Control-Expose-Headers") == "" || h.Get("Vary") != "Origin" {
		t.Fatalf("%v", h)
	}
	for _, origin := range []string{"https://panel.example.com.evil.test", "http://panel.example.com", "https://panel.example.com:444", "null"} {
		if h := r.do(http.MethodGet, "/backups", nil, "Origin", origin).is(http.StatusOK).header; h.Get("Access-Control-Allow-Origin") != "" {
			t.Fatalf("%s: %v", origin, h)
		}
		r.as("", http.MethodOptions, "/api/v1/projects/shop", nil, append(pre, origin)...).refused(http.StatusMethodNotAllowed, "method_not_allowed")
	}
	off := start(t)
	if h := off.do(http.MethodGet, "/backups", nil, "Origin", panel).header; h.Get("Access-Control-Allow-Origin") != "" || h.Get("Vary") != "" {
		t.Fatalf("%v", h)
	}
}

// TestQuota (fault 77): who may set a project's limits sets them by the API; a flood of orders stops there, is told when the next is taken,
// and leaves no backup behind.
func TestQuota(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Project("shop")
	r.Storage("s3")
	a := r.Agent("db-1", "shop", "app")
	limited := r.NewToken(controller.Permissions, "shop")
	r.as(limited, http.MethodPatch, "/api/v1/projects/shop", `{"max_jobs_per_hour":1000}`).refused(http.StatusForbidden, controller.EForbidden)
	for in, field := range map[string]string{`{"max_jobs_per_hour":0}`: "max_jobs_per_hour", `{"max_bytes_per_day":"much"}`: "max_bytes_per_day", `{"max_jobs_per_hour":1.5}`: "max_jobs_per_hour"} {
		if p := r.do(http.MethodPatch, "/projects/shop", in).refused(http.StatusUnprocessableEntity, controller.EInvalid); p.Field != field {
			t.Errorf("%s: %+v", in, p)
		}
	}
	p := into[controller.Project](r.do(http.MethodPatch, "/projects/shop", `{"max_jobs_per_hour":2,"max_bytes_per_day":1}`).is(http.StatusOK))
	if p.MaxJobsPerHour == nil || *p.MaxJobsPerHour != 2 || p.MaxBytesPerDay == nil || *p.MaxBytesPerDay != 1 {
		t.Fatalf("%+v", p)
	}
	r.as(limited, http.MethodPost, "/api/v1/backups", `{"database":"app"}`).is(http.StatusCreated)
	r.Complete(a, r.Start(a)[0])
	refused := func(words ...string) {
		t.Helper()
		a := r.as(limited, http.MethodPost, "/api/v1/backups", `{"database":"app"}`)
		a.refused(http.StatusTooManyRequests, controller.EQuota, words...)
		if n, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || n < 3000 || n > 24*3600 {
			t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
		}
	}
	refused("max_bytes_per_day")
	p = into[controller.Project](r.do(http.MethodPatch, "/projects/shop", `{"max_bytes_per_day":null}`).is(http.StatusOK))
	if p.MaxJobsPerHour == nil || p.MaxBytesPerDay != nil {
		t.Fatalf("%+v", p)
	}
	r.as(limited, http.MethodPost, "/api/v1/backups", `{"database":"app"}`).is(http.StatusCreated)
	r.Complete(a, r.Start(a)[0])
	for range 20 {
		refused("max_jobs_per_hour")
	}
	if n := len(into[body.Page[controller.Backup]](r.do(http.MethodGet, "/backups", nil).is(http.StatusOK)).Items); n != 2 {
		t.Errorf("%d backups", n)
	}
}
