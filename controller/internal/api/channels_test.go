package api_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

const hook = `{"name":"hook","kind":"webhook","target":{"url":"https://hook.test/canary-url-7f31","secret":"canary-secret-7f31"},"default":true}`

// TestChannels: a channel is made, shown, changed, tried and deleted; what opens it is in no answer, no audit row and no log, and is never
// sent to another place than it was given for.
func TestChannels(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Project("shop")
	r.Project("blog")
	var said strings.Builder
	tell := func(a *answer) *answer { said.Write(a.text); return a }
	made := into[controller.Channel](tell(r.do(http.MethodPost, "/channels", hook, body.IdempotencyKey, "once")).is(http.StatusCreated))
	if made.Hint != "hook.test" || !made.IsDefault || !made.IsActive || made.MinSeverity != controller.SeverityInfo || made.RemindHours != 24 || made.Kinds == nil || made.ProjectID != nil || made.CreatedBy != "admin" {
		t.Errorf("%+v", made)
	}
	if kind, target, err := r.Store.ChannelTarget(t.Context(), made.ID); err != nil || kind != "webhook" || target.URL.Reveal() != "https://hook.test/canary-url-7f31" || target.Secret.Reveal() != "canary-secret-7f31" {
		t.Errorf("it opens as %s %q %q: %v", kind, target.URL.Reveal(), target.Secret.Reveal(), err)
	}
	mail := into[controller.Channel](tell(r.do(http.MethodPost, "/channels", `{"name":"mail","project":"shop","kind":"email","target":{"host":"mail.test","username":"u","password":"canary-password-7f31","from":"a@mail.test",
		"to":["b@mail.test"]},"kinds":["overdue","backup_failing"],"min_severity":"warning","remind_hours":0,"fallback":"hook"}`)).is(http.StatusCreated))
	if !slices.Equal(mail.Kinds, []string{"backup_failing", "overdue"}) || mail.RemindHours != 0 || mail.Fallback != "hook" || mail.Project != "shop" || !strings.Contains(mail.Hint, "b@mail.test") {
		t.Errorf("%+v", mail)
	}
	kinds := into[body.List[controller.ChannelKind]](r.do(http.MethodGet, "/channel-kinds", nil).is(http.StatusOK)).Items
	if len(kinds) < 10 || kinds[0].Kind != "email" || !slices.Contains(kinds[0].Fields, "host") {
		t.Errorf("kinds: %+v", kinds)
	}
	if k := into[body.List[controller.NoticeKind]](r.do(http.MethodGet, "/notice-kinds", nil).is(http.StatusOK)).Items; len(k) != len(controller.NoticeKinds)-1 || k[0] != controller.NoticeKinds[0] {
		t.Errorf("kinds of notices: %+v", k)
	}
	for _, c := range []struct{ in, field, words string }{
		{`{"name":"x","kind":"pigeon","target":{}}`, "kind", "email"},
		{`{"name":"x","kind":"webhook","target":{"url":"https://hook.test/canary-url-7f31"}}`, "target.secret", "webhook"},
		{`{"name":"x","kind":"webhook","target":{"url":"file:///canary-url-7f31","secret":"canary-secret-7f31"}}`, "target.url", "URL"},
		{`{"name":"x","kind":"webhook","target":{"url":7,"secret":"canary-secret-7f31"}}`, "target.url", "string"},
		{`{"name":"x","kind":"webhook","target":{"webhook_url":"https://hook.test/canary-url-7f31"}}`, "target.webhook_url", "unexpected"},
		{`{"name":"x","kind":"webhook","target":"https://hook.test/canary-url-7f31"}`, "target", "object"},
		{`{"name":"x","kind":"slack","target":{"url":"https://hook.test/canary-url-7f31"}}`, "target.url", "slack"},
		{strings.Replace(hook, `"default":true`, `"kinds":["test"]`, 1), "kinds", "overdue"},
		{strings.Replace(hook, `"default":true`, `"default":true,"project":"shop"`, 1), "default", "installation"},
		{strings.Replace(hook, `"name":"hook"`, `"name":"7"`, 1), "name", "digits"},
		{strings.Replace(hook, `"default":true`, `"fallback":"nobody"`, 1), "fallback", "nobody"},
		{strings.Replace(hook, `"default":true`, `"fallback":"mail"`, 1), "fallback", "shop"},
		{strings.Replace(hook, `"default":true`, `"remind_hours":721`, 1), "remind_hours", "720"},
	} {
		if p := tell(r.do(http.MethodPost, "/channels", c.in)).refused(http.StatusUnprocessableEntity, controller.EInvalid, c.words); p.Field != c.field {
			t.Errorf("%s is refused for %q: %s", c.in, p.Field, p.Detail)
		}
	}
	tell(r.do(http.MethodPost, "/channels", hook)).refused(http.StatusConflict, controller.EConflict, "hook")

	// Nobody redirects what is kept: a target without its secrets is refused, and so is a part of one.
	for _, in := range []string{`{"target":{"url":"https://thief.test/"}}`, `{"target":{}}`} {
		if p := tell(r.do(http.MethodPatch, "/channels/hook", in)).refused(http.StatusUnprocessableEntity, controller.EInvalid); !strings.HasPrefix(p.Field, "target.") {
			t.Errorf("%s is refused for %q", in, p.Field)
		}
	}
	tell(r.do(http.MethodPatch, "/channels/mail", `{"target":{"host":"thief.test","username":"u","from":"a@mail.test","to":["b@mail.test"]}}`)).refused(http.StatusUnprocessableEntity, controller.EInvalid, "password")
	tell(r.do(http.MethodPatch, "/channels/mail", `{"target":{"host":"thief.test","from":"a@mail.test","to":["b@mail.test"]}}`)).is(http.StatusOK)
	if _, target, err := r.Store.ChannelTarget(t.Context(), mail.ID); err != nil || target.Host != "thief.test" || !target.Password.Empty() || target.Username != "" {
		t.Errorf("the old password goes to the new server: %+v %v", target.Password.Reveal(), err)
	}
	tell(r.do(http.MethodPatch, "/channels/hook", `{"fallback":"hook"}`)).refused(http.StatusUnprocessableEntity, controller.EInvalid, "own place")
	changed := into[controller.Channel](tell(r.do(http.MethodPatch, "/channels/mail", `{"name":"post","kinds":[],"fallback":"","is_active":false}`)).is(http.StatusOK))
	if changed.Name != "post" || len(changed.Kinds) != 0 || changed.FallbackID != nil || changed.IsActive || changed.MinSeverity != "warning" {
		t.Errorf("%+v", changed)
	}
	r.do(http.MethodPatch, "/channels/post", `{"default":true}`).refused(http.StatusUnprocessableEntity, controller.EInvalid, "installation")
	r.do(http.MethodPatch, "/channels/post", `{"fallback":"hook"}`).is(http.StatusOK)
	tell(r.do(http.MethodDelete, "/channels/hook", nil)).refused(http.StatusConflict, controller.EConflict, `"post"`, "--fallback")

	// A test tells what became of it.
	tell(r.do(http.MethodPost, "/channels/hook/test", nil)).is(http.StatusOK)
	r.Alarms.With(func() {
		r.Alarms.Err = controller.Errorf(controller.EUnavailable, "connect: refused").WithHint("start it")
	})
	tell(r.do(http.MethodPost, "/channels/hook/test", nil)).refused(http.StatusUnprocessableEntity, body.CodeChannel, "hook", "connect: refused", "start it")
	r.Alarms.With(func() {
		if !slices.Equal(r.Alarms.Tested, []int64{made.ID, made.ID}) {
			t.Errorf("tested %v", r.Alarms.Tested)
		}
	})

	// Who is limited to a project sees and changes its own channels alone.
	one := r.NewToken(controller.Permissions, "shop")
	other := r.NewToken(controller.Permissions, "blog")
	as := func(token, method, path string, in any) *answer { return r.as(token, method, "/api/v1"+path, in) }
	if text := string(tell(as(one, http.MethodGet, "/channels", nil)).is(http.StatusOK).text); !strings.Contains(text, `"post"`) || strings.Contains(text, `"hook"`) {
		t.Errorf("a project's token is shown %s", text)
	}
	as(one, http.MethodGet, "/channels/hook", nil).refused(http.StatusNotFound, controller.ENotFound)
	as(one, http.MethodPost, "/channels", strings.Replace(hook, `"default":true`, `"min_severity":"info"`, 1)).refused(http.StatusForbidden, controller.EForbidden, "whole installation")
	as(one, http.MethodPatch, "/channels/post", `{"fallback":"hook"}`).refused(http.StatusUnprocessableEntity, controller.EInvalid, "does not exist")
	for _, path := range []string{"/channels/post", "/channels/" + number(mail.ID)} {
		as(other, http.MethodGet, path, nil).refused(http.StatusNotFound, controller.ENotFound)
		as(other, http.MethodPatch, path, `{"target":{"host":"thief.test","from":"a@mail.test","to":["b@mail.test"]}}`).refused(http.StatusNotFound, controller.ENotFound)
		as(other, http.MethodPost, path+"/test", nil).refused(http.StatusNotFound, controller.ENotFound)
		as(other, http.MethodDelete, path, nil).refused(http.StatusNotFound, controller.ENotFound)
	}

	tell(r.do(http.MethodDelete, "/channels/post", nil)).is(http.StatusNoContent)
	tell(r.do(http.MethodDelete, "/channels/hook", nil)).is(http.StatusNoContent)
	r.do(http.MethodGet, "/channels/hook", nil).refused(http.StatusNotFound, controller.ENotFound)
	if n := r.SQL("SELECT count(*) FROM channels WHERE length(target_sealed) > 0"); n != "0" {
		t.Errorf("%s deleted channels can still be opened", n)
	}
	tell(r.do(http.MethodGet, "/audit?limit=200", nil))
	said.WriteString(r.SQL("SELECT string_agg(detail::text, '') FROM audit_log"))
	for _, where := range []string{said.String(), r.Logged.String(), r.SQL("SELECT coalesce(string_agg(c::text, ''), '') FROM channels c"), r.SQL("SELECT coalesce(string_agg(convert_from(body, 'UTF8'), ''), '') FROM idempotency_keys")} {
		if i := strings.Index(where, "7f31"); i >= 0 {
			t.Errorf("a secret is shown: …%.300s", where[max(i-200, 0):])
		}
	}
}

// TestAlarms: alarms and notices are seen by who sees their project, with what became of each notice; what is muted says so.
func TestAlarms(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, slug := range []string{"shop", "blog"} {
		r.Project(slug)
	}
	r.Agent("db-1", "shop", "app")
	r.do(http.MethodPost, "/channels", hook).is(http.StatusCreated)
	r.do(http.MethodPost, "/channels", strings.NewReplacer(`"default":true`, `"project":"shop"`, `"name":"hook"`, `"name":"own"`).Replace(hook)).is(http.StatusCreated)
	r.SQL(`INSERT INTO alarms (kind, key, severity, project_id, server_id, database_id, title) SELECT 'overdue', 'a', 'warning', p.id, d.server_id, d.id, 'app is overdue' FROM projects p, databases d WHERE p.slug = 'shop' AND d.name = 'app';
		INSERT INTO alarms (kind, key, severity, title, opened_at) VALUES ('storage_unavailable', 'b', 'critical', 'storage s3', now() - interval '1 day'), ('agent_outdated', 'c', 'info', 'agent db-1', now()), ('certificate_expiring', 'd', 'warning', 'certificate', now() - interval '1 hour');
		INSERT INTO alarms (kind, key, severity, title, closed_at) VALUES ('storage_full', 'e', 'critical', 'storage local', now());
		INSERT INTO messages (uid, channel_id, severity, notices, body, status, attempts, error) VALUES ('m1', 2, 'warning', 1, '{}', 'open', 3, 'it is gone');
		INSERT INTO notices (kind, event, severity, alarm_id, project_id, title) SELECT 'overdue', 'opened', 'warning', id, project_id, title FROM alarms WHERE key = 'a';
		INSERT INTO messages (uid, channel_id, severity, notices, body, status, attempts, fallback_of) VALUES ('m2', 1, 'warning', 1, '{}', 'sent', 1, 1);
		INSERT INTO deliveries (notice_id, channel_id, project_id, message_id, fallback_message_id) SELECT 1, n, project_id, CASE n WHEN 2 THEN 1 END, CASE n WHEN 2 THEN 2 END FROM notices, generate_series(1, 2) n`)
	list := into[body.Part[controller.Alarm]](r.do(http.MethodGet, "/alarms", nil).is(http.StatusOK)).Items
	var titles []string
	for _, a := range list {
		titles = append(titles, a.Title)
	}
	if want := []string{"storage s3", "app is overdue", "certificate", "agent db-1"}; !slices.Equal(titles, want) {
		t.Errorf("alarms %q, want %q", titles, want)
	}
	counts := func(token string) controller.AlarmCounts {
		return into[controller.AlarmCounts](r.as(token, http.MethodGet, "/api/v1/alarms/summary", nil).is(http.StatusOK))
	}
	if got := counts(r.Token); got != (controller.AlarmCounts{Critical: 1, Warning: 2, Info: 1}) {
		t.Errorf("counts %+v", got)
	}
	shop, blog := r.NewToken([]string{controller.ViewBackups, controller.ManageSchedules}, "shop"), r.NewToken([]string{controller.ViewBackups, controller.ManageSchedules}, "blog")
	if got := counts(shop); got != (controller.AlarmCounts{Warning: 1}) {
		t.Errorf("a project's token counts %+v", got)
	}
	id := number(list[1].ID)
	a := into[controller.Alarm](r.as(shop, http.MethodGet, "/api/v1/alarms/"+id, nil).is(http.StatusOK))
	if a.Project != "shop" || a.Server != "db-1" || a.Database != "app" || a.MutedUntil != nil {
		t.Errorf("%+v", a)
	}
	for _, path := range []string{"/alarms/" + id, "/notices/1", "/alarms/" + number(list[0].ID)} {
		r.as(blog, http.MethodGet, "/api/v1"+path, nil).refused(http.StatusNotFound, controller.ENotFound)
	}

	// What became of a notice: at a channel that the caller does not see, neither its name nor its error.
	told := func(token string) []controller.NoticeDelivery {
		return into[body.Page[controller.Notice]](r.as(token, http.MethodGet, "/api/v1/notices?alarm="+id, nil).is(http.StatusOK)).Items[0].Deliveries
	}
	if got := told(r.Token); len(got) != 2 || got[0].Channel != "hook" || got[0].Status != "waiting" || got[1].Channel != "own" || got[1].Status != "open" || got[1].Attempts != 3 || got[1].Error != "it is gone" ||
		got[0].FallbackID != nil || *got[1].FallbackID != 1 || got[1].Fallback != "hook" || got[1].FallbackStatus != "sent" {
		t.Errorf("%+v", got)
	}
	if got := told(shop); len(got) != 2 || got[0].Channel != "" || got[1].Channel != "own" || got[1].Fallback != "" || got[1].FallbackStatus != "sent" {
		t.Errorf("a project's token is told %+v", got)
	}
	if ch := into[controller.Channel](r.do(http.MethodGet, "/channels/own", nil).is(http.StatusOK)); ch.Waiting != 1 {
		t.Errorf("waiting %d", ch.Waiting)
	}

	// Mutes.
	mute := func(token, in string) *answer { return r.as(token, http.MethodPost, "/api/v1/mutes", in) }
	for _, c := range []struct{ in, field string }{
		{`{"scope":"project","for_seconds":60,"reason":"x"}`, "ref"},
		{`{"scope":"everything","ref":"shop","for_seconds":60,"reason":"x"}`, "ref"},
		{`{"scope":"project","ref":"shop","reason":"x"}`, "for_seconds"},
		{`{"scope":"project","ref":"shop","for_seconds":60,"reason":""}`, "reason"},
		{`{"scope":"project","ref":"shop","until":"2020-01-01T00:00:00Z","reason":"x"}`, "until"},
		{`{"scope":"project","ref":"shop","until":"2199-01-01T00:00:00Z","reason":"x"}`, "until"},
		{`{"scope":"project","ref":"shop","for_seconds":60,"until":"2199-01-01T00:00:00Z","reason":"x"}`, "until"},
		{`{"scope":"alarm","ref":"` + id + `","kind":"overdue","for_seconds":60,"reason":"x"}`, "kind"},
		{`{"scope":"project","ref":"shop","kind":"rain","for_seconds":60,"reason":"x"}`, "kind"},
		{`{"scope":"alarm","ref":"x","for_seconds":60,"reason":"x"}`, "ref"},
	} {
		if p := mute(r.Token, c.in).refused(http.StatusUnprocessableEntity, controller.EInvalid); p.Field != c.field {
			t.Errorf("%s is refused for %q: %s", c.in, p.Field, p.Detail)
		}
	}
	mute(r.Token, `{"scope":"alarm","ref":"5","for_seconds":60,"reason":"x"}`).refused(http.StatusConflict, controller.EConflict, "closed")
	mute(blog, `{"scope":"alarm","ref":"`+id+`","for_seconds":60,"reason":"x"}`).refused(http.StatusNotFound, controller.ENotFound)
	mute(blog, `{"scope":"database","ref":"app","for_seconds":60,"reason":"x"}`).refused(http.StatusNotFound, controller.ENotFound)
	mute(shop, `{"scope":"channel","ref":"own","for_seconds":60,"reason":"x"}`).refused(http.StatusForbidden, controller.EForbidden, controller.ManageProjects)
	for _, scope := range []string{`{"scope":"everything"`, `{"scope":"server","ref":"db-1"`} {
		mute(shop, scope+`,"for_seconds":60,"reason":"x"}`).refused(http.StatusForbidden, controller.EForbidden, "whole installation")
	}
	all := r.NewToken([]string{controller.ViewBackups, controller.ManageSchedules})
	mute(all, `{"scope":"everything","for_seconds":60,"reason":"x"}`).refused(http.StatusForbidden, controller.EForbidden, controller.ManageProjects)
	for _, in := range []string{`"alarm","ref":"` + id + `"`, `"database","ref":"app"`, `"server","ref":"db-1"`, `"project","ref":"shop","kind":"overdue"`, `"everything"`} {
		m := into[controller.Mute](mute(r.Token, `{"scope":`+in+`,"for_seconds":3600,"reason":"deploy"}`).is(http.StatusCreated))
		if a := into[controller.Alarm](r.as(shop, http.MethodGet, "/api/v1/alarms/"+id, nil).is(http.StatusOK)); a.MutedUntil == nil || !a.MutedUntil.Equal(m.Until) {
			t.Errorf("scope %s: muted until %v, want %v", in, a.MutedUntil, m.Until)
		}
		if got := counts(shop); got != (controller.AlarmCounts{}) {
			t.Errorf("scope %s: a muted alarm counts: %+v", in, got)
		}
		ended := into[controller.Mute](r.do(http.MethodPost, "/mutes/"+number(m.ID)+"/end", nil).is(http.StatusOK))
		if again := into[controller.Mute](r.do(http.MethodPost, "/mutes/"+number(m.ID)+"/end", nil).is(http.StatusOK)); ended.EndedAt == nil || ended.EndedBy != "admin" || !again.EndedAt.Equal(*ended.EndedAt) {
			t.Errorf("scope %s: ended %+v, and %+v", in, ended, again)
		}
		if got := counts(shop); got.Warning != 1 {
			t.Errorf("scope %s: after its end %+v", in, got)
		}
	}
	for _, in := range []string{`"project","ref":"shop","kind":"security"`, `"project","ref":"blog"`, `"channel","ref":"own"`} {
		mute(r.Token, `{"scope":`+in+`,"for_seconds":3600,"reason":"deploy"}`).is(http.StatusCreated)
	}
	if got := counts(shop); got.Warning != 1 {
		t.Errorf("mutes of others count: %+v", got)
	}
	if ch := into[controller.Channel](r.do(http.MethodGet, "/channels/own", nil).is(http.StatusOK)); ch.MutedUntil == nil {
		t.Error("a muted channel does not say so")
	}
	everything := into[controller.Mute](mute(r.Token, `{"scope":"everything","for_seconds":3600,"reason":"deploy"}`).is(http.StatusCreated))
	if text := string(r.as(shop, http.MethodGet, "/api/v1/mutes", nil).is(http.StatusOK).text); !strings.Contains(text, `"everything"`) || strings.Contains(text, `"blog"`) {
		t.Errorf("a project's token is shown the mutes %s", text)
	}
	r.as(shop, http.MethodPost, "/api/v1/mutes/"+number(everything.ID)+"/end", nil).refused(http.StatusForbidden, controller.EForbidden, "whole installation")
}

// TestEvents_alarms: an alarm is told of as it opens and closes, to those who see its project.
func TestEvents_alarms(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := r.Project("shop")
	r.SQL(`INSERT INTO alarms (kind, key, severity, project_id, title) VALUES ('overdue', 'a', 'warning', ` + number(p.ID) + `, 'app'); INSERT INTO alarms (kind, key, severity, title) VALUES ('storage_full', 'b', 'warning', 's3');
		UPDATE alarms SET closed_at = now(), detail = 'x' WHERE key = 'a'; UPDATE alarms SET detail = 'y'`)
	if _, err := r.Store.SealEvents(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	told := func(projects ...int64) (seen []string) {
		actor := controller.Actor{Scope: controller.Scope{All: len(projects) == 0, Projects: projects}}
		events, err := r.Store.Events(t.Context(), actor, 0, 1000, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			var row struct {
				Title    string
				ClosedAt *string `json:"closed_at"`
			}
			if err := json.Unmarshal(e.Row, &row); err != nil {
				t.Fatal(err)
			}
			if e.Kind == controller.EventAlarm && e.Seen(actor.Scope) {
				seen = append(seen, map[bool]string{true: "close ", false: "open "}[row.ClosedAt != nil]+row.Title)
			}
		}
		return seen
	}
	if got, want := told(), []string{"open app", "open s3", "close app"}; !slices.Equal(got, want) {
		t.Errorf("all: %q, want %q", got, want)
	}
	if got, want := told(p.ID), []string{"open app", "close app"}; !slices.Equal(got, want) {
		t.Errorf("of the project: %q, want %q", got, want)
	}
	if got := told(p.ID + 1); len(got) != 0 {
		t.Errorf("of another one: %q", got)
	}
}
