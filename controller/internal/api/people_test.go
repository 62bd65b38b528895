package api_test

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api"
	"devflowbackup/controller/internal/api/body"
)

const userPassword = "only for these tests"

// person is a user who signed in.
type person struct {
	*rig
	cookie, csrf string
	session      body.SignedIn
}

// user makes one, by the admin's token.
func (r *rig) user(name string, permissions []string, projects ...string) controller.User {
	r.Helper()
	return into[controller.User](r.do("POST", "/users", body.CreateUser{Name: name, Password: userPassword, Permissions: permissions, Projects: projects}).is(http.StatusCreated))
}

func (r *rig) signIn(name, password string) *answer {
	r.Helper()
	return r.as("", "POST", "/api/v1/session", body.SignIn{Name: name, Password: password})
}

func (r *rig) signedIn(name string) *person {
	r.Helper()
	a := r.signIn(name, userPassword).is(http.StatusCreated)
	cookie, attributes, _ := strings.Cut(a.header.Get("Set-Cookie"), ";")
	for _, want := range []string{"Secure", "HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=86400"} {
		if !strings.Contains(attributes, want) {
			r.Errorf("the cookie is %q, without %s", attributes, want)
		}
	}
	if !strings.HasPrefix(cookie, api.SessionCookie+"=") || strings.Contains(attributes, "Domain") {
		r.Errorf("the cookie is %q", cookie)
	}
	s := into[body.SignedIn](a)
	return &person{rig: r, cookie: cookie, csrf: s.CSRFToken, session: s}
}

// do is as the user, with what the console's page sends.
func (p *person) do(method, path string, in any, headers ...string) *answer {
	p.Helper()
	return p.as("", method, "/api/v1"+path, in, append([]string{"Cookie", p.cookie, body.CSRF, p.csrf}, headers...)...)
}

func TestSession(t *testing.T) {
	t.Parallel()
	r := start(t)
	mine := r.Project("mine")
	r.Project("theirs")
	u := r.user("anna", []string{controller.ViewBackups, controller.ManageSchedules}, "mine")
	anna := r.signedIn(" ANNA ")
	s := into[body.SignedIn](anna.do("GET", "/session", nil).is(http.StatusOK))
	if s.Kind != "user" || s.UserID != u.ID || s.Name != "anna" || s.TokenID != 0 || len(s.Permissions) != 2 || s.AllProjects || len(s.Projects) != 1 || s.Projects[0] != mine.ID ||
		s.CSRFToken == "" || s.CSRFToken != anna.csrf || s.SessionID == 0 || s.ExpiresAt == nil || s.IdleSeconds != 7200 || !s.HasPassword {
		t.Errorf("the session is %+v", s)
	}
	if list := into[body.List[controller.Project]](anna.do("GET", "/projects", nil).is(http.StatusOK)); len(list.Items) != 1 {
		t.Errorf("anna sees %d projects", len(list.Items))
	}
	anna.do("POST", "/pauses", `{"project":"mine","reason":"x"}`).is(http.StatusCreated)
	anna.do("POST", "/pauses", `{"project":"theirs","reason":"x"}`).refused(http.StatusNotFound, controller.ENotFound)
	anna.do("POST", "/backups", `{"project":"mine"}`).refused(http.StatusForbidden, controller.EForbidden, "you lack the permission create-backups")

	// A token wins over a cookie; what belongs to people is refused to it.
	if s := into[body.SignedIn](r.do("GET", "/session", nil, "Cookie", anna.cookie).is(http.StatusOK)); s.Kind != "api" || s.CSRFToken != "" || s.TokenID == 0 {
		t.Errorf("the token's session is %+v", s)
	}
	r.do("DELETE", "/session", nil).refused(http.StatusConflict, controller.EConflict)
	r.do("GET", "/sessions", nil).refused(http.StatusConflict, controller.EConflict)

	// What the user may do is asked for each time.
	r.do("PATCH", "/users/anna", `{"permissions":["view-backups"]}`).is(http.StatusOK)
	anna.do("POST", "/pauses", `{"project":"mine","reason":"x"}`).refused(http.StatusForbidden, controller.EForbidden, "manage-schedules")

	// Two sessions: one sees the other, and ends it.
	two := r.signedIn("anna")
	all := into[body.List[controller.Session]](two.do("GET", "/sessions", nil).is(http.StatusOK)).Items
	if len(all) != 2 || !all[0].Current || all[1].Current || all[0].Remote != "127.0.0.1" || all[0].Method != "password" {
		t.Errorf("sessions are %+v", all)
	}
	bert := r.user("bert", []string{controller.ViewBackups})
	other := r.signedIn("bert")
	other.do("DELETE", "/sessions/"+number(all[0].ID), nil).refused(http.StatusNotFound, controller.ENotFound)
	two.do("DELETE", "/sessions/"+number(all[1].ID), nil).is(http.StatusNoContent)
	anna.do("GET", "/session", nil).refused(http.StatusUnauthorized, controller.EUnauthorized, "sign in again")

	// Signed out, disabled, deleted: nothing of it works any more.
	out := two.do("DELETE", "/session", nil).is(http.StatusNoContent)
	if c := out.header.Get("Set-Cookie"); !strings.Contains(c, "Max-Age=0") {
		t.Errorf("signing out leaves the cookie: %q", c)
	}
	two.do("GET", "/session", nil).refused(http.StatusUnauthorized, controller.EUnauthorized)
	r.do("PATCH", "/users/"+number(bert.ID), `{"disabled":true}`).is(http.StatusOK)
	other.do("GET", "/session", nil).refused(http.StatusUnauthorized, controller.EUnauthorized)
	r.signIn("bert", userPassword).refused(http.StatusUnauthorized, controller.EUnauthorized, "name or the password is wrong")
	r.do("DELETE", "/users/anna", nil).is(http.StatusNoContent)
	r.signIn("anna", userPassword).refused(http.StatusUnauthorized, controller.EUnauthorized)
	r.do("GET", "/users/anna", nil).refused(http.StatusNotFound, controller.ENotFound)
	again := r.user("anna", []string{controller.ViewBackups})
	if again.ID == u.ID {
		t.Error("a deleted user came back")
	}
	if log := r.Logged.String(); strings.Contains(log, userPassword) || strings.Contains(log, strings.TrimPrefix(anna.cookie, api.SessionCookie+"=")) {
		t.Error("the log holds a secret")
	}
}

// TestSession_ends: a session that is not used for long, or is too old, is none; so is one whose user changed the password elsewhere.
func TestSession_ends(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.user("anna", []string{controller.ViewBackups})
	idle, old, kept, other := r.signedIn("anna"), r.signedIn("anna"), r.signedIn("anna"), r.signedIn("anna")
	r.SQL("UPDATE user_sessions SET seen_at = now() - interval '119 minutes' WHERE id = " + number(kept.session.SessionID))
	r.SQL("UPDATE user_sessions SET seen_at = now() - interval '121 minutes' WHERE id = " + number(idle.session.SessionID))
	r.SQL("UPDATE user_sessions SET expires_at = now() WHERE id = " + number(old.session.SessionID))
	idle.do("GET", "/session", nil).refused(http.StatusUnauthorized, controller.EUnauthorized, "not used")
	old.do("GET", "/session", nil).refused(http.StatusUnauthorized, controller.EUnauthorized, "has ended")
	kept.do("GET", "/session", nil).is(http.StatusOK)
	// That was a use.
	r.SQL("UPDATE user_sessions SET seen_at = seen_at - interval '30 minutes' WHERE id = " + number(kept.session.SessionID))
	kept.do("GET", "/session", nil).is(http.StatusOK)

	kept.do("PUT", "/session/password", `{"old_password":"wrong","new_password":"something else 1"}`).refused(http.StatusUnprocessableEntity, controller.EInvalid, "old_password")
	kept.do("PUT", "/session/password", body.ChangePassword{OldPassword: userPassword, NewPassword: "short"}).refused(http.StatusUnprocessableEntity, controller.EInvalid, "new_password", "12")
	kept.do("PUT", "/session/password", body.ChangePassword{OldPassword: userPassword, NewPassword: "Annas own password"}).refused(http.StatusUnprocessableEntity, controller.EInvalid, "user's name")
	kept.do("PUT", "/session/password", body.ChangePassword{OldPassword: userPassword, NewPassword: "something else 1"}).is(http.StatusNoContent)
	kept.do("GET", "/session", nil).is(http.StatusOK)
	other.do("GET", "/session", nil).refused(http.StatusUnauthorized, controller.EUnauthorized)
	r.signIn("anna", userPassword).refused(http.StatusUnauthorized, controller.EUnauthorized)
	r.signIn("anna", "something else 1").is(http.StatusCreated)
	// One that is given by someone else signs out everywhere.
	r.do("PUT", "/users/anna/password", body.SetPassword{Password: "given by another"}).is(http.StatusOK)
	kept.do("GET", "/session", nil).refused(http.StatusUnauthorized, controller.EUnauthorized)
	r.signIn("anna", "given by another").is(http.StatusCreated)
}

// TestSession_forged: a browser sends the cookie with requests of any page. Writes that no page of ours sent are refused, and change nothing.
func TestSession_forged(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Project("mine")
	r.user("anna", []string{controller.ManageSchedules})
	anna, bert := r.signedIn("anna"), r.signedIn("anna")
	const path, in = "/api/v1/pauses", `{"project":"mine","reason":"x"}`
	for name, headers := range map[string][]string{
		"no token":              {},
		"empty token":           {body.CSRF, ""},
		"other session's token": {body.CSRF, bert.csrf},
		"cross site":            {body.CSRF, anna.csrf, "Sec-Fetch-Site", "cross-site"},
		"same site":             {body.CSRF, anna.csrf, "Sec-Fetch-Site", "same-site"},
		"foreign origin":        {body.CSRF, anna.csrf, "Origin", "https://evil.example"},
		"null origin":           {body.CSRF, anna.csrf, "Origin", "null"},
		"like ours":             {body.CSRF, anna.csrf, "Origin", "https://backup.test:8443.evil.example"},
	} {
		a := r.as("", "POST", path, in, append([]string{"Cookie", anna.cookie}, headers...)...)
		if p := a.refused(http.StatusForbidden, body.CodeCSRF); p.Detail == "" {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if n := len(into[body.List[controller.Pause]](r.do("GET", "/pauses", nil).is(http.StatusOK)).Items); n != 0 {
		t.Fatalf("%d forged pauses", n)
	}
	for _, origin := range []string{r.URL, "https://backup.test:8443"} {
		anna.do("POST", "/pauses", in, "Origin", origin, "Sec-Fetch-Site", "same-origin").is(http.StatusCreated)
	}
	// Two cookies: which one is ours nobody knows.
	r.as("", "GET", "/api/v1/session", nil, "Cookie", anna.cookie+"; "+bert.cookie).refused(http.StatusUnauthorized, controller.EUnauthorized)
	// Nor may another page sign a person in as someone else.
	r.as("", "POST", "/api/v1/session", body.SignIn{Name: "anna", Password: userPassword}, "Origin", "https://evil.example").refused(http.StatusForbidden, body.CodeCSRF)
	// Who signed in acts for nobody else.
	for _, header := range []string{body.ActingUser, body.ActingPermissions, body.ActingProjects} {
		anna.do("GET", "/session", nil, header, "x").refused(http.StatusUnprocessableEntity, controller.EInvalid, header)
	}
}

// TestSignIn_lockedOut: names are locked out alike, whether a user has them or not, however many try at once; each failure more doubles the
// wait; the right password does not help before its end.
func TestSignIn_lockedOut(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.user("anna", []string{controller.ViewBackups})
	for _, name := range []string{"anna", "nobody", "Not a name; DROP TABLE"} {
		var mu sync.Mutex
		statuses := map[int]int{}
		texts := map[string]bool{}
		var tries sync.WaitGroup
		for range 12 {
			tries.Go(func() {
				a := r.signIn(name, "wrong password")
				p := into[body.Problem](a)
				mu.Lock()
				defer mu.Unlock()
				statuses[a.status]++
				if a.status == http.StatusUnauthorized {
					texts[p.Detail] = true
				}
			})
		}
		tries.Wait()
		if statuses[http.StatusUnauthorized] != 5 || statuses[http.StatusTooManyRequests] != 7 || len(texts) != 1 || !texts["the name or the password is wrong"] {
			t.Errorf("%s: 12 at once were answered %v, %v", name, statuses, texts)
		}
		r.SQL("DELETE FROM sign_in_failures WHERE count > 5 OR locked_until IS NULL") // of the address
	}
	wait := func(a *answer) int {
		t.Helper()
		a.refused(http.StatusTooManyRequests, body.CodeTooMany)
		n, err := strconv.Atoi(a.header.Get("Retry-After"))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	lock := func() string {
		return r.SQL("SELECT max(round(extract(epoch FROM locked_until - last_at))) FROM sign_in_failures")
	}
	if n, of := wait(r.signIn("anna", userPassword)), lock(); n > 31 || of != "30" {
		t.Errorf("the first lock is of %s s, of which %d are left", of, n)
	}
	r.SQL("UPDATE sign_in_failures SET locked_until = now() - interval '1 second'")
	r.signIn("anna", "wrong again").refused(http.StatusUnauthorized, controller.EUnauthorized)
	if n, of := wait(r.signIn("anna", userPassword)), lock(); n > 61 || of != "60" {
		t.Errorf("the second lock is of %s s, of which %d are left", of, n)
	}
	r.SQL("UPDATE sign_in_failures SET locked_until = now() - interval '1 second'")
	r.signIn("anna", userPassword).is(http.StatusCreated)
	for range 4 { // which set the count back
		r.signIn("anna", "wrong").refused(http.StatusUnauthorized, controller.EUnauthorized)
	}
	r.signIn("anna", userPassword).is(http.StatusCreated)

	// An address that tries many names.
	r.SQL("DELETE FROM sign_in_failures")
	for i := range 20 {
		r.signIn("name"+number(int64(i))+"x", "wrong").refused(http.StatusUnauthorized, controller.EUnauthorized)
	}
	wait(r.signIn("anna", userPassword))
	events := string(r.do("GET", "/security-events", nil).is(http.StatusOK).text)
	for _, want := range []string{controller.EventSignIn, "user anna, tried from 127.0.0.1", "a name that no user has", "address 127.0.0.1"} {
		if !strings.Contains(events, want) {
			t.Errorf("security events do not tell %q: %s", want, events)
		}
	}
	if strings.Contains(events, "DROP TABLE") {
		t.Error("a name that nobody has is in the events: it may be a password")
	}
}

// TestUsers_noEscalation: who manages users and tokens gives, and takes over, nothing that they do not have themselves.
func TestUsers_noEscalation(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Project("mine")
	r.Project("theirs")
	r.user("root", []string{controller.ManageTokens, controller.DeleteBackups})
	r.user("their", []string{controller.ManageTokens}, "theirs")
	r.user("lead", []string{controller.ManageTokens, controller.ViewBackups}, "mine")
	strong := into[body.NewToken](r.do("POST", "/tokens", `{"name":"strong","permissions":["delete-backups"],"projects":["mine"]}`).is(http.StatusCreated))
	r.user("strongman", []string{controller.DeleteBackups}, "mine")
	r.user("weak", []string{controller.ViewBackups}, "mine")
	lead := r.signedIn("lead")
	for _, c := range []struct {
		method, path, in string
		status           int
	}{
		{"POST", "/users", `{"name":"a","permissions":["delete-backups"],"projects":["mine"]}`, http.StatusForbidden},
		{"POST", "/users", `{"name":"a","admin":true,"projects":["mine"]}`, http.StatusForbidden},
		{"POST", "/users", `{"name":"a","permissions":["view-backups"]}`, http.StatusForbidden},
		{"POST", "/users", `{"name":"a","permissions":["view-backups"],"projects":["theirs"]}`, http.StatusNotFound},
		{"PATCH", "/users/weak", `{"permissions":["delete-backups"]}`, http.StatusForbidden},
		{"PATCH", "/users/weak", `{"all_projects":true}`, http.StatusForbidden},
		{"PATCH", "/users/weak", `{"projects":["theirs"]}`, http.StatusNotFound},
		{"PATCH", "/users/weak", `{"admin":true}`, http.StatusForbidden},
		{"PUT", "/users/strongman/password", `{"password":"now it is mine to use"}`, http.StatusForbidden},
		{"PATCH", "/users/strongman", `{"disabled":true}`, http.StatusForbidden},
		{"DELETE", "/users/strongman", ``, http.StatusForbidden},
		{"PUT", "/users/root/password", `{"password":"now it is mine to use"}`, http.StatusNotFound},
		{"PUT", "/users/their/password", `{"password":"now it is mine to use"}`, http.StatusNotFound},
		{"GET", "/users/root", ``, http.StatusNotFound},
		{"POST", "/tokens/" + number(strong.ID) + "/rotate", `{}`, http.StatusForbidden},
		{"PATCH", "/users/lead", `{"permissions":["view-backups"]}`, http.StatusConflict},
		{"PATCH", "/users/lead", `{"disabled":true}`, http.StatusConflict},
		{"DELETE", "/users/lead", ``, http.StatusConflict},
		{"PUT", "/users/lead/password", `{"password":"without the old one"}`, http.StatusConflict},
		{"POST", "/users", `{"name":"weak","permissions":["view-backups"],"projects":["mine"]}`, http.StatusConflict},
		{"POST", "/users", `{"name":"two words","permissions":["view-backups"],"projects":["mine"]}`, http.StatusUnprocessableEntity},
		{"POST", "/users", `{"name":"12345","permissions":["view-backups"],"projects":["mine"]}`, http.StatusUnprocessableEntity},
		{"POST", "/users", `{"name":"ok","password":"too short","permissions":["view-backups"],"projects":["mine"]}`, http.StatusUnprocessableEntity},
		{"POST", "/users", `{"name":"ok","permissions":["view-backups"],"projects":["mine"]}`, http.StatusCreated},
		{"PATCH", "/users/weak", `{"permissions":["view-backups","manage-tokens"]}`, http.StatusOK},
		{"PUT", "/users/weak/password", `{"password":"a new one for weak-ish"}`, http.StatusUnprocessableEntity}, // holds the name
		{"PUT", "/users/weak/password", `{"password":"a new one for that one"}`, http.StatusOK},
	} {
		var in any
		if c.in != "" {
			in = c.in
		}
		lead.do(c.method, c.path, in).is(c.status)
	}
	var names []string
	for _, u := range into[body.Users](lead.do("GET", "/users", nil).is(http.StatusOK)).Items {
		names = append(names, u.Name)
	}
	if got := strings.Join(names, " "); got != "lead ok strongman weak" {
		t.Errorf("lead sees %s", got)
	}
	p := into[body.Users](r.do("GET", "/users?limit=2&after=lead", nil).is(http.StatusOK))
	if len(p.Items) != 2 || p.Items[0].Name != "ok" || p.NextAfter == nil || *p.NextAfter != "root" {
		t.Errorf("a page of users is %+v", p)
	}
	r.signIn("ok", "").refused(http.StatusUnauthorized, controller.EUnauthorized) // no password is set: none is right
}

func TestToken_rotate(t *testing.T) {
	t.Parallel()
	r := start(t)
	made := into[body.NewToken](r.do("POST", "/tokens", `{"name":"ci","permissions":["view-backups"]}`).is(http.StatusCreated))
	path := "/tokens/" + number(made.ID) + "/rotate"
	works := func(token string, yes bool) {
		t.Helper()
		want := http.StatusOK
		if !yes {
			want = http.StatusUnauthorized
		}
		r.as(token, "GET", "/api/v1/whoami", nil).is(want)
	}
	two := into[body.NewToken](r.do("POST", path, nil).is(http.StatusOK))
	if two.Token == made.Token || two.ID != made.ID || two.RotatedAt == nil || two.PreviousUntil == nil {
		t.Fatalf("rotated: %+v", two.APIToken)
	}
	works(made.Token, true)
	works(two.Token, true)
	// A second rotation ends the first secret, whatever is left of its grace.
	three := into[body.NewToken](r.do("POST", path, `{"grace_seconds":60}`).is(http.StatusOK))
	works(made.Token, false)
	works(two.Token, true)
	works(three.Token, true)
	r.SQL("UPDATE api_tokens SET previous_until = now() WHERE id = " + number(made.ID))
	works(two.Token, false)
	four := into[body.NewToken](r.do("POST", path, `{"grace_seconds":0}`).is(http.StatusOK))
	works(three.Token, false)
	works(four.Token, true)
	r.do("POST", path, `{"grace_seconds":604801}`).refused(http.StatusUnprocessableEntity, controller.EInvalid, "grace_seconds")
	// With a key it is carried out once, and its secret shown once.
	five := into[body.NewToken](r.do("POST", path, `{"grace_seconds":600}`, "Idempotency-Key", "k").is(http.StatusOK))
	r.do("POST", path, `{"grace_seconds":600}`, "Idempotency-Key", "k").is(http.StatusConflict).says(body.CodeSecretShown)
	works(five.Token, true)
	r.do("DELETE", "/tokens/"+number(made.ID), nil).is(http.StatusNoContent)
	works(four.Token, false)
	works(five.Token, false)
	r.do("POST", path, nil).refused(http.StatusConflict, controller.EConflict, "revoked")
	r.do("POST", "/tokens", `{"name":"user:x","permissions":["view-backups"]}`).refused(http.StatusUnprocessableEntity, controller.EInvalid, "name")
}

// TestPanel: a panel's token does for each of its users what the user and the token may, where both may.
func TestPanel(t *testing.T) {
	t.Parallel()
	r := start(t)
	for slug, external := range map[string]string{"one": "2", "two": "3", "three": "1"} {
		r.do("POST", "/projects", body.CreateProject{Slug: slug, ExternalID: &external}).is(http.StatusCreated)
	}
	panel := into[body.NewToken](r.do("POST", "/tokens", `{"name":"panel","kind":"panel","permissions":["view-backups","manage-schedules"],"projects":["one","two"]}`).is(http.StatusCreated))
	ask := func(user, permissions, projects string) body.Whoami {
		t.Helper()
		return into[body.Whoami](r.as(panel.Token, "GET", "/api/v1/whoami", nil, body.ActingUser, user, body.ActingPermissions, permissions, body.ActingProjects, projects).is(http.StatusOK))
	}
	one, two := into[controller.Project](r.do("GET", "/projects/one", nil)), into[controller.Project](r.do("GET", "/projects/two", nil))
	for _, c := range []struct {
		permissions, projects string
		can                   string
		sees                  []int64
	}{
		{"view-backups", "one", "view-backups", []int64{one.ID}},
		{"*", "*", "view-backups manage-schedules", []int64{one.ID, two.ID}},
		{"view-backups, delete-backups", "one,three", "view-backups", []int64{one.ID}}, // neither reaches beyond the token
		{"delete-backups", "three", "", nil},
		{"", "", "", nil},
		{"view-backups", "2", "view-backups", []int64{one.ID}}, // the panel's number, not ours
		{"view-backups", "nowhere, tw%6f", "view-backups", []int64{two.ID}},
		{"view-backups", "1", "view-backups", nil}, // is three, by the panel's number
	} {
		w := ask("zoe", c.permissions, c.projects)
		if got := strings.Join(w.Permissions, " "); got != c.can || w.AllProjects || len(w.Projects) != len(c.sees) || w.Kind != "panel" || w.ActingUser != "zoe" {
			t.Errorf("%q in %q: %+v", c.permissions, c.projects, w)
			continue
		}
		for i, id := range c.sees {
			if w.Projects[i] != id {
				t.Errorf("%q in %q sees %v, not %v", c.permissions, c.projects, w.Projects, c.sees)
			}
		}
	}
	// Without a user it may do nothing.
	if w := into[body.Whoami](r.as(panel.Token, "GET", "/api/v1/whoami", nil).is(http.StatusOK)); len(w.Permissions)+len(w.Projects) != 0 || w.AllProjects {
		t.Errorf("a panel for nobody is %+v", w)
	}
	r.as(panel.Token, "GET", "/api/v1/backups", nil).refused(http.StatusForbidden, controller.EForbidden, body.ActingUser, body.ActingPermissions, body.ActingProjects)
	for _, c := range [][]string{
		{body.ActingUser, "zoe"},
		{body.ActingUser, "zoe", body.ActingPermissions, "*"},
		{body.ActingUser, "zoe", body.ActingProjects, "*"},
		{body.ActingPermissions, "*", body.ActingProjects, "*"},
		{body.ActingUser, "zoe", body.ActingPermissions, "fly", body.ActingProjects, "*"},
		{body.ActingUser, "zoe", body.ActingPermissions, "*,view-backups", body.ActingProjects, "*"},
		{body.ActingUser, "zoe", body.ActingPermissions, "*", body.ActingProjects, "one,*"},
		{body.ActingUser, "zoe", body.ActingPermissions, "*", body.ActingProjects, "%zz"},
		{body.ActingUser, "zoe", body.ActingPermissions, "*", body.ActingProjects, "a%00b"},
		{body.ActingUser, "zoe", body.ActingPermissions, "*", body.ActingProjects, strings.Repeat("x,", 1100) + "x"},
	} {
		r.as(panel.Token, "GET", "/api/v1/backups", nil, c...).refused(http.StatusUnprocessableEntity, controller.EInvalid)
	}
	// The log has both.
	newest := r.newest()
	r.as(panel.Token, "POST", "/api/v1/pauses", `{"project":"one","reason":"x"}`, body.ActingUser, "zoe", body.ActingPermissions, "*", body.ActingProjects, "one").is(http.StatusCreated)
	if e := r.since(newest); len(e) != 1 || e[0].Actor != "panel" || e[0].OnBehalfOf != "zoe" {
		t.Errorf("the log has %+v", e)
	}
	// A key of one user is not another's.
	for _, user := range []string{"zoe", "yan"} {
		a := r.as(panel.Token, "POST", "/api/v1/pauses", `{"project":"one","reason":"x"}`, body.ActingUser, user, body.ActingPermissions, "*", body.ActingProjects, "one", "Idempotency-Key", "same")
		if a.is(http.StatusCreated); a.header.Get(body.IdempotentReplay) != "" {
			t.Errorf("%s got the answer of another", user)
		}
	}
	// Another token is narrowed too by what it sends, and needs to send nothing.
	w := into[body.Whoami](r.do("GET", "/whoami", nil, body.ActingPermissions, "view-backups", body.ActingProjects, "one").is(http.StatusOK))
	if len(w.Permissions) != 1 || w.AllProjects || len(w.Projects) != 1 || w.Kind != "api" {
		t.Errorf("a narrowed token is %+v", w)
	}
}
