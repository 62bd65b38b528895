package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

// TestProtection: what is protected, what was chosen not to be, and what is wrong, as the API tells it.
func TestProtection(t *testing.T) {
	t.Parallel()
	r := scheduled(t)
	r.Agent("db-1", "shop", "app", "logs")
	r.do("POST", "/schedules", `{"project":"shop","database_name":"app","frequency":"daily","time":"02:00"}`).is(http.StatusCreated)
	list := func(query string) body.Part[controller.Protection] {
		t.Helper()
		return into[body.Part[controller.Protection]](r.do("GET", "/protection"+query, nil).is(http.StatusOK))
	}
	told := func(query string) string {
		t.Helper()
		var out []string
		for _, p := range list(query).Items {
			out = append(out, p.Database+" "+p.State)
		}
		return strings.Join(out, ", ")
	}
	for query, want := range map[string]string{
		"": "app waiting, logs unprotected", "?state=unprotected": "logs unprotected", "?state=gone": "", "?search=AP": "app waiting", "?server=db-1&project=shop": "app waiting, logs unprotected", "?limit=1": "app waiting",
		"?state=unprotected&page=1&per_page=1": "logs unprotected",
	} {
		if got := told(query); got != want {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
	}
	first := list("?limit=1")
	if first.NextAfterID == nil || told(fmt.Sprintf("?limit=1&after_id=%d", *first.NextAfterID)) != "logs unprotected" {
		t.Errorf("the next part: %+v", first)
	}
	if p := list("?page=2&per_page=1"); p.Total == nil || *p.Total != 2 || len(p.Items) != 1 || p.Items[0].Database != "logs" {
		t.Errorf("the second page: %+v", p)
	}
	logs := list("?search=logs").Items[0]
	path := fmt.Sprintf("/databases/%d/ignored", logs.DatabaseID)
	r.do("PUT", path, `{"reason":""}`).refused(http.StatusUnprocessableEntity, controller.EInvalid)
	r.do("PUT", path, `{"reason":" "}`).refused(http.StatusUnprocessableEntity, controller.EInvalid, "reason")
	ignored := into[controller.Protection](r.do("PUT", path, `{"reason":"made anew each night"}`).is(http.StatusOK))
	if ignored.State != controller.ProtectionIgnored || ignored.IgnoredReason != "made anew each night" || ignored.IgnoredBy != "admin" {
		t.Errorf("%+v", ignored)
	}
	s := into[controller.ProtectionSummary](r.do("GET", "/protection/summary?project=shop", nil).is(http.StatusOK))
	if s.Databases != 2 || s.States["ignored"] != 1 || s.States["waiting"] != 1 || s.Project != "shop" || len(s.Wrong) != 0 || s.At.IsZero() {
		t.Errorf("%+v", s)
	}
	for range 2 { // repeating it changes nothing
		if freed := into[controller.Protection](r.do("DELETE", path, nil).is(http.StatusOK)); freed.State != controller.ProtectionUnprotected || freed.IgnoredAt != nil {
			t.Errorf("%+v", freed)
		}
	}
	s = into[controller.ProtectionSummary](r.do("GET", "/protection/summary", nil).is(http.StatusOK))
	if len(s.Wrong) != 1 || s.Wrong[0].Kind != controller.WrongUnprotected || s.Wrong[0].Text != "1 database is covered by no schedule" || s.Wrong[0].Names[0] != "logs" {
		t.Errorf("%+v", s.Wrong)
	}
	r.Project("other")
	token := r.NewToken([]string{controller.ViewBackups, controller.ManageSchedules}, "other")
	for _, query := range []string{"/protection?project=shop", "/protection?state=gone&project=shop", "/protection/summary?project=shop"} {
		r.as(token, "GET", "/api/v1"+query, nil).refused(http.StatusNotFound, controller.ENotFound)
	}
	r.as(token, "PUT", "/api/v1"+path, `{"reason":"not mine"}`).refused(http.StatusNotFound, controller.ENotFound)
}

// TestSchedules_ping: the URL of a dead-man switch goes in and never comes out: not in an answer, an audit row or in the catalog in plain text.
func TestSchedules_ping(t *testing.T) {
	t.Parallel()
	r := scheduled(t)
	ctx := t.Context()
	const canary = "canary-4f1c"
	var answers []string
	ask := func(method, path, in string, status int) string {
		t.Helper()
		text := string(r.do(method, path, in).is(status).text)
		answers = append(answers, text)
		return text
	}
	s := into[body.Schedule](r.do("POST", "/schedules", `{"project":"shop","frequency":"daily","time":"02:00","ping_url":"https://hc.test/`+canary+`"}`).is(http.StatusCreated))
	path := fmt.Sprintf("/schedules/%d", s.ID)
	if s.PingHint != "hc.test" {
		t.Errorf("the hint is %q", s.PingHint)
	}
	if url, err := r.Store.SchedulePing(ctx, s.ID); err != nil || url.Reveal() != "https://hc.test/"+canary {
		t.Errorf("the URL is kept as %q: %v", url.Reveal(), err)
	}
	ask("GET", path, "", http.StatusOK)
	ask("GET", "/schedules", "", http.StatusOK)
	ask("PATCH", path, `{"time":"03:00"}`, http.StatusOK)
	if url, err := r.Store.SchedulePing(ctx, s.ID); err != nil || url.Empty() {
		t.Errorf("a change of another field took the URL: %v", err)
	}
	ask("PATCH", path, `{"ping_url":"https://ping.test/`+canary+`?x=`+canary+`"}`, http.StatusOK)
	if got := into[body.Schedule](r.do("GET", path, nil).is(http.StatusOK)); got.PingHint != "ping.test" {
		t.Errorf("the hint is %q", got.PingHint)
	}
	for _, wrong := range []string{"ftp://hc.test/" + canary, canary, "https://user:" + canary + "@hc.test/x", "https://"} {
		answers = append(answers, string(r.do("PATCH", path, `{"ping_url":"`+wrong+`"}`).is(http.StatusUnprocessableEntity).text))
		answers = append(answers, string(r.do("POST", "/schedules", `{"project":"shop","frequency":"daily","time":"02:00","ping_url":"`+wrong+`"}`).is(http.StatusUnprocessableEntity).text))
	}
	answers = append(answers, ask("GET", "/audit", "", http.StatusOK), r.SQL("SELECT string_agg(c::text, ' ') FROM backup_schedules c"), r.SQL("SELECT string_agg(a::text, ' ') FROM audit_log a"))
	for _, text := range answers {
		if strings.Contains(text, canary) {
			t.Errorf("the URL is shown: %s", text)
		}
	}
	into[controller.Project](r.do("POST", "/projects", `{"slug":"blog","default_schedule":{"frequency":"daily","time":"02:00","ping_url":"https://of-project.test/x"}}`).is(http.StatusCreated))
	if p := into[body.SchedulePage](r.do("GET", "/schedules?project=blog", nil).is(http.StatusOK)); len(p.Items) != 1 || p.Items[0].PingHint != "of-project.test" {
		t.Errorf("a project's default schedule: %+v", p.Items)
	}
	r.do("POST", "/projects", `{"slug":"wiki","default_schedule":{"frequency":"daily","time":"02:00","ping_url":"nonsense"}}`).refused(http.StatusUnprocessableEntity, controller.EInvalid, "ping_url")
	ask("PATCH", path, `{"ping_url":""}`, http.StatusOK)
	if url, err := r.Store.SchedulePing(ctx, s.ID); err != nil || !url.Empty() {
		t.Errorf("an empty URL left %q: %v", url.Reveal(), err)
	}
	if got := r.SQL("SELECT ping_hint || coalesce(ping_sealed::text, '') FROM backup_schedules WHERE id = " + number(s.ID)); got != "" {
		t.Errorf("an empty URL left %q", got)
	}
}

// TestSettings_summary: when the weekly summary is sent.
func TestSettings_summary(t *testing.T) {
	t.Parallel()
	r := start(t)
	if s := into[controller.Settings](r.do("GET", "/settings", nil).is(http.StatusOK)); s.SummaryDay != "1" || s.SummaryTime != "08:00" {
		t.Errorf("%+v", s)
	}
	since := r.SQL("SELECT cleanup_since FROM installation")
	for in, want := range map[string]string{`{"summary_day":"friday"}`: "5", `{"summary_day":"0"}`: "0", `{"summary_day":"OFF"}`: "off"} {
		if s := into[controller.Settings](r.do("PATCH", "/settings", in).is(http.StatusOK)); s.SummaryDay != want || s.SummaryTime != "08:00" || s.Timezone != "UTC" {
			t.Errorf("%s: %+v", in, s)
		}
	}
	if s := into[controller.Settings](r.do("PATCH", "/settings", `{"summary_time":"07:30","summary_day":"2"}`).is(http.StatusOK)); s.SummaryDay != "2" || s.SummaryTime != "07:30" {
		t.Errorf("%+v", s)
	}
	for _, in := range []string{`{"summary_day":"7"}`, `{"summary_day":""}`, `{"summary_time":"25:00"}`, `{"summary_time":"08:00:30"}`} {
		r.do("PATCH", "/settings", in).refused(http.StatusUnprocessableEntity, controller.EInvalid, "summary_")
	}
	if got := r.SQL("SELECT cleanup_since FROM installation"); got != since {
		t.Errorf("the time of the clean-up was taken for a new one: %s, %s", got, since)
	}
}
