package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"devflowbackup/controller"
)

// part is what all lists that are in parts answer.
type part struct {
	Items []struct {
		ID   int64
		Name string
		Slug string
	}
	NextAfterID *int64  `json:"next_after_id"`
	NextAfter   *string `json:"next_after"`
	Next        *int64  `json:"next_before_id"`
	Page        int
	LastPage    int `json:"last_page"`
	Total       *int64
}

// TestLists_parts: every list that is in an order of its own is had in parts, each row once, or by the number of a page with the total;
// its filters select, and a cursor of what is gone is refused rather than answered with nothing.
func TestLists_parts(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, slug := range []string{"c-shop", "a-blog", "b-wiki"} {
		r.Project(slug)
		r.user("of-"+slug, []string{controller.ViewBackups}, slug)
		r.NewToken([]string{controller.ViewBackups}, slug)
	}
	r.Storage("s3")
	r.do(http.MethodPost, "/storages", `{"name":"s2","endpoint":"https://s3.test","bucket":"other","access_key":"a","secret_key":"s"}`).is(http.StatusCreated)
	r.LocalStorage("hosts")
	r.Agent("db-2", "c-shop", "zeta", "alpha", "100%_x")
	r.Agent("db-1", "a-blog", "alpha")
	r.Agent("db-3", "")
	r.do(http.MethodPost, "/servers/db-1/revoke", nil).is(http.StatusOK)
	for n := range 3 {
		r.do(http.MethodPost, "/pauses", map[string]any{"project": "c-shop", "reason": fmt.Sprint(n)}).is(http.StatusCreated)
		r.do(http.MethodPost, "/enrolments", map[string]any{"server_name": fmt.Sprint("new-", n)}).is(http.StatusCreated)
	}
	channel := `{"name":"c%d","kind":"webhook","project":"c-shop","target":{"url":"https://hook.test/x","secret":"0123456789abcdef"}}`
	r.do(http.MethodPost, "/channels", fmt.Sprintf(channel, 3)).is(http.StatusCreated)
	r.do(http.MethodPost, "/channels", fmt.Sprintf(channel, 2)).is(http.StatusCreated)
	r.do(http.MethodPost, "/channels", `{"name":"c1","kind":"email","target":{"host":"mail.test","from":"a@mail.test","to":["b@mail.test"]}}`).is(http.StatusCreated)
	r.SQL(`INSERT INTO alarms (kind, key, severity, project_id, title, closed_at) SELECT 'overdue', n, CASE WHEN n = 2 THEN 'critical' ELSE 'warning' END, (SELECT id FROM projects WHERE slug = 'c-shop'), n, CASE WHEN n = 4 THEN now() END FROM generate_series(1, 4) n`)
	r.SQL(`INSERT INTO notices (kind, event, severity, alarm_id, project_id, title, unsent) SELECT 'overdue', 'opened', severity, id, project_id, title, CASE WHEN id = 3 THEN 'nowhere' ELSE '' END FROM alarms WHERE id < 4`)
	for range 4 {
		r.do(http.MethodPost, "/mutes", `{"scope":"project","ref":"c-shop","for_seconds":60,"reason":"x"}`).is(http.StatusCreated)
	}
	r.do(http.MethodPost, "/mutes/1/end", nil).is(http.StatusOK)
	for _, c := range []struct {
		path  string
		total int
		first string // name of the first, where the order is by name
		few   map[string]int
	}{
		{"/projects", 3, "a-blog", map[string]int{"search=B-": 1, "search=%25": 0, "server=db-2": 1}},
		{"/servers", 3, "db-2", map[string]int{"search=DB": 3, "status=online": 2, "status=revoked": 1, "status=offline": 0, "project=c-shop": 1}},
		{"/storages", 3, "hosts", map[string]int{"kind=s3": 2, "kind=local": 1, "project=a-blog": 3}},
		{"/databases", 4, "alpha", map[string]int{"search=LPH": 2, "name=alpha": 2, "server=db-2": 3, "engine=sqlite": 0, "engine=postgresql": 4, "search=%25_": 1, "unassigned=true": 0, "project=c-shop": 3}},
		{"/users", 3, "of-a-blog", map[string]int{"search=BLOG": 1, "disabled=true": 0, "disabled=false": 3}},
		{"/tokens", 4, "", map[string]int{"kind=panel": 0, "kind=api": 4, "active=true": 4, "active=false": 0}},
		{"/channels", 3, "c1", map[string]int{"kind=webhook": 2, "kind=slack": 0, "kind=email": 1, "project=a-blog": 1, "project=c-shop": 3}},
		{"/alarms", 3, "", map[string]int{"severity=critical": 1, "severity=warning": 3, "kind=overdue": 3, "kind=security": 0, "state=all": 4, "state=closed": 1, "project=a-blog": 0, "project=c-shop": 3}},
		{"/notices", 3, "", map[string]int{"severity=critical": 1, "unsent=true": 1, "alarm=1": 1, "project=a-blog": 0, "kind=overdue": 3}},
		{"/mutes", 3, "", map[string]int{"all=true": 4}},
		{"/pauses", 3, "", map[string]int{"all=true": 3}},
		{"/enrolments", 6, "", nil},
	} {
		var all []string
		query := "limit=1"
		for range 10 {
			p := into[part](r.do(http.MethodGet, c.path+"?"+query, nil).is(http.StatusOK))
			for _, i := range p.Items {
				all = append(all, fmt.Sprint(i.ID, i.Name, i.Slug))
			}
			switch {
			case p.NextAfterID != nil:
				query = "limit=1&after_id=" + number(*p.NextAfterID)
			case p.NextAfter != nil:
				query = "limit=1&after=" + *p.NextAfter
			case p.Next != nil:
				query = "limit=1&before_id=" + number(*p.Next)
			default:
				query = ""
			}
			if query == "" {
				break
			}
		}
		whole := into[part](r.do(http.MethodGet, c.path, nil).is(http.StatusOK))
		var same []string
		for _, i := range whole.Items {
			same = append(same, fmt.Sprint(i.ID, i.Name, i.Slug))
		}
		if len(all) != c.total || !slices.Equal(all, same) || c.first != "" && !strings.HasSuffix(all[0], c.first) {
			t.Errorf("%s: one by one %q, at once %q, want %d and %s first", c.path, all, same, c.total, c.first)
		}
		for query, n := range c.few {
			if got := len(into[part](r.do(http.MethodGet, c.path+"?"+query, nil).is(http.StatusOK)).Items); got != n {
				t.Errorf("%s?%s has %d, want %d", c.path, query, got, n)
			}
		}
		if c.path == "/pauses" || c.path == "/enrolments" {
			continue
		}
		p := into[part](r.do(http.MethodGet, c.path+"?page=2&per_page=2", nil).is(http.StatusOK))
		if p.Page != 2 || p.LastPage != 2 || p.Total == nil || *p.Total != int64(c.total) || len(p.Items) != c.total-2 || fmt.Sprint(p.Items[0].ID, p.Items[0].Name, p.Items[0].Slug) != all[2] {
			t.Errorf("%s: the second page is %+v", c.path, p)
		}
	}
	for _, path := range []string{"/projects", "/servers", "/storages", "/databases", "/schedules", "/channels", "/alarms"} {
		p := r.do(http.MethodGet, path+"?after_id=999999", nil).refused(http.StatusUnprocessableEntity, controller.EInvalid, "999999")
		if p.Field != "after_id" || p.Hint == "" {
			t.Errorf("%s: %+v", path, p)
		}
	}
	for _, query := range []string{"limit=0", "limit=501", "page=1&after_id=1", "per_page=101", "status=asleep", "page=101&per_page=100"} {
		r.do(http.MethodGet, "/servers?"+query, nil).refused(http.StatusUnprocessableEntity, controller.EInvalid)
	}
	// A filter by what belongs to another project finds nothing of it.
	token := r.NewToken([]string{controller.ViewBackups}, "a-blog")
	for _, query := range []string{"/projects?server=db-2", "/servers?project=c-shop", "/storages?project=c-shop", "/databases?project=c-shop", "/channels?project=c-shop", "/alarms?project=c-shop", "/notices?project=c-shop"} {
		r.as(token, http.MethodGet, "/api/v1"+query, nil).refused(http.StatusNotFound, controller.ENotFound)
	}
}
