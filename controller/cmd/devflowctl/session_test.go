package main_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	main "devflowbackup/controller/cmd/devflowctl"
	"devflowbackup/controller/internal/api"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/app/apitest"
)

const annasPassword = "only for this test"

// TestLogin_password: a person signs in, does what they may, and signs out; what is kept is a session, and no password.
func TestLogin_password(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Project("shop")
	r.typed(annasPassword, "user", "add", "anna", "--permission", "view-backups,manage-schedules", "--project", "shop").ends(0)
	r.env = nil
	r.ctl("login", r.URL, "--user", "anna").ends(2, "there is no password of anna")
	r.ctl("login", r.URL, "--user", "").ends(2, "--user is empty")
	r.typed("not her password", "login", r.URL, "--user", "anna").ends(1, "nothing is kept", "name or the password is wrong", "user passwd")
	if _, err := os.Stat(filepath.Join(r.home, ".config")); err == nil {
		t.Error("a login that failed left something")
	}
	r.typed(annasPassword, "login", r.URL, "--user", "ANNA").ends(0, "profile default", "as anna", "it ends in 2", "2h00m")
	kept := filepath.Join(r.home, ".config", "devflow", "profiles", "default.yaml")
	text, err := os.ReadFile(kept)
	info, _ := os.Stat(kept)
	if err != nil || info.Mode().Perm() != 0o600 || strings.Contains(string(text), annasPassword) || !strings.Contains(string(text), "session: dfs_") || strings.Contains(string(text), "token:") {
		t.Fatalf("the profile is %v %s, %v", info, text, err)
	}
	who := r.ctl("whoami", "-o", "json").ends(0)
	if w := into[body.SignedIn](who); w.Name != "anna" || w.Kind != "user" || w.SessionID == 0 || strings.Contains(string(text), "csrf: \"\"") || w.CSRFToken != "" {
		t.Errorf("whoami %+v", w)
	}
	r.ctl("whoami").ends(0, "user", "anna", "view-backups, manage-schedules", "session", "ends in")
	r.ctl("pause", "add", "--project", "shop", "--reason", "a write").ends(0, "project shop is paused")
	r.ctl("backup", "create", "shop").ends(1, "you lack the permission create-backups", "devflowctl whoami")
	r.ctl("audit", "export").ends(1, "export-audit-logs")
	own := into[[]controller.Session](r.ctl("session", "list", "-o", "json").ends(0))
	if len(own) != 1 || !own[0].Current || !strings.HasPrefix(own[0].Agent, "devflowctl/") {
		t.Errorf("sessions are %+v", own)
	}
	// A second profile is a second session. Each sees the other.
	r.typed(annasPassword, "login", r.URL, "--user", "anna", "--profile", "two").ends(0)
	r.ctl("session", "end", number(own[0].ID), "--profile", "two").ends(0, "has ended")
	r.ctl("project", "list").ends(1, "has ended", "devflowctl login "+r.URL+" --user anna` signs in again")
	// What is nearer than the profile is asked as: also where the profile has a session.
	admin := *r
	admin.env = []string{"DEVFLOW_TOKEN=" + r.Token}
	admin.ctl("whoami").ends(0, "token", "admin")
	// To sign in again replaces the session, and the one before does not stay.
	r.typed(annasPassword, "login", r.URL, "--user", "anna").ends(0)
	r.typed(annasPassword, "login", r.URL, "--user", "anna").ends(0)
	if own = into[[]controller.Session](r.ctl("session", "list", "-o", "json").ends(0)); len(own) != 2 {
		t.Errorf("sessions are %+v", own)
	}
	r.typed(annasPassword+"\nanother one for this test", "session", "passwd").ends(0, "is changed")
	r.ctl("whoami", "--profile", "two").ends(1, "has ended", "--profile two")
	r.typed(annasPassword, "login", r.URL, "--user", "anna", "--profile", "two").ends(1, "is wrong")

	r.ctl("logout", "--revoke", "--local").ends(2)
	r.ctl("session", "list").ends(0, "devflowctl/")
	cookie := ""
	if text, err = os.ReadFile(kept); err == nil {
		for line := range strings.SplitSeq(string(text), "\n") {
			if _, value, found := strings.Cut(line, "session: "); found {
				cookie = api.SessionCookie + "=" + value
			}
		}
	}
	r.ctl("logout").ends(0, "is removed")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL+"/api/v1/session", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Cookie", cookie)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if cookie == "" || res.StatusCode != http.StatusUnauthorized {
		t.Errorf("after signing out the session %q is answered %d", cookie, res.StatusCode)
	}
	r.ctl("logout").ends(0, "there is no profile default")
	// A session that has ended already is no reason to keep its profile; a controller that is away is.
	r.ctl("logout", "--profile", "two").ends(0, "is removed")
	r.file(".config/devflow/profiles/gone.yaml", "server: http://127.0.0.1:1\nsession: dfs_x\ncsrf: x\nuser: anna\n")
	r.ctl("logout", "--profile", "gone").ends(1, "the profile is kept", "no answer")
	r.ctl("logout", "--profile", "gone", "--local").ends(0, "is removed")
	if log := r.Logged.String(); strings.Contains(log, annasPassword) || strings.Contains(log, strings.TrimPrefix(cookie, api.SessionCookie+"=")) {
		t.Error("the log holds a secret")
	}
}

// TestHints: a refusal says what to do about it, in this program's words.
func TestHints(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Project("shop")
	r.Project("webshop")
	r.world2("blog")
	r.ctl("project", "show", "shpo").ends(1, `project "shpo" does not exist`, "did you mean shop?")
	r.ctl("server", "show", "db1").ends(1, "did you mean db-1?")
	if x := r.ctl("project", "show", "something-else").ends(1, "does not exist"); strings.Contains(x.err, "did you mean") {
		t.Errorf("%s", x.err)
	}
	// What a caller cannot see is not offered either.
	stranger := *r
	stranger.env = []string{"DEVFLOW_URL=" + r.URL, "DEVFLOW_TOKEN=" + r.NewToken([]string{controller.ViewBackups}, "webshop")}
	if x := stranger.ctl("project", "show", "shpo").ends(1); strings.Contains(x.err, "mean shop") {
		t.Errorf("a foreign project is named: %s", x.err)
	}
	r.env[1] = "DEVFLOW_TOKEN=dfk_wrong"
	r.ctl("project", "list").ends(1, "not known", "give a token that is valid", "--user")
	r.env[1] = "DEVFLOW_TOKEN=" + r.Token

	// A change is bound to what was looked at.
	version := into[struct{ Version string }](r.ctl("project", "show", "shop", "-o", "json").ends(0)).Version
	if version == "" {
		t.Fatal("there is no version")
	}
	r.ctl("project", "show", "shop").ends(0, "version", version, "no limit")
	r.ctl("project", "update", "shop", "--name", "Shop", "--if-match", version).ends(0, "Shop")
	r.ctl("project", "update", "shop", "--name", "Other", "--if-match", version).ends(1, "changed meanwhile", "--if-match")
	r.ctl("project", "delete", "shop", "--if-match", version).ends(1, "changed meanwhile")
	r.ctl("project", "update", "shop", "--if-match", "").ends(2, "--if-match is empty")
	schedule := into[body.Schedule](r.ctl("schedule", "create", "shop", "--daily", "02:00", "-o", "json").ends(0)).ID
	version = into[struct{ Version string }](r.ctl("schedule", "show", number(schedule), "-o", "json").ends(0)).Version
	r.ctl("schedule", "deactivate", number(schedule), "--if-match", version).ends(0, "inactive")
	r.ctl("schedule", "delete", number(schedule), "--if-match", version).ends(1, "changed meanwhile")
	for _, c := range [][]string{{"server", "show", "db-1"}, {"settings", "show"}, {"token", "show", "1"}} {
		r.ctl(c...).ends(0, "version")
	}

	// Limits of a project, and what reaching one says.
	r.ctl("project", "update", "shop", "--max-jobs-per-hour", "many").ends(2, "--max-jobs-per-hour", "none")
	r.ctl("project", "update", "shop", "--max-bytes-per-day", "5 furlongs").ends(2, "500GiB")
	r.ctl("project", "update", "shop", "--max-jobs-per-hour", "1", "--max-bytes-per-day", "5GiB").ends(0, "backups an hour", "5.0 GiB")
	if p := into[controller.Project](r.ctl("project", "show", "shop", "-o", "json").ends(0)); p.MaxJobsPerHour == nil || *p.MaxJobsPerHour != 1 || p.MaxBytesPerDay == nil || *p.MaxBytesPerDay != 5<<30 {
		t.Errorf("limits are %v, %v", p.MaxJobsPerHour, p.MaxBytesPerDay)
	}
	r.ctl("backup", "create", "shop").ends(0)
	r.ctl("backup", "cancel", number(r.backups()[0].ID)).ends(0)
	r.ctl("backup", "create", "shop", "--database", "blog").ends(1, "1 are allowed", "max_jobs_per_hour")
	r.ctl("project", "update", "shop", "--max-jobs-per-hour", "none").ends(0, "no limit")
	r.ctl("backup", "create", "shop", "--database", "blog").ends(0)

	for _, c := range []struct {
		typed string
		names []string
		near  []string
	}{
		{"shpo", []string{"blog", "shop", "webshop"}, []string{"shop"}}, // two letters changed places
		{"hsop", []string{"blog", "shop"}, []string{"shop"}},
		{"sohp", []string{"blog", "shop"}, []string{"shop"}},
		{"opsh", []string{"blog", "shop"}, nil},
		{"prdction", []string{"production", "prod"}, []string{"production"}},
		{"shp", []string{"blog", "shop"}, []string{"shop"}},
		{"web", []string{"shop", "webshop"}, []string{"webshop"}},
		{"x", []string{"abc", "y", "zz"}, []string{"y"}},
		{"", []string{"a"}, []string{"a"}},
	} {
		if got := main.NearNames(c.typed, c.names); !slices.Equal(got, c.near) {
			t.Errorf("near %q are %v, want %v", c.typed, got, c.near)
		}
	}
}

// TestCompletion: shells are offered names and ids of what there is, and nothing, silently, where they cannot be had.
func TestCompletion(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.world("app", "logs")
	r.ctl("backup", "create", "shop", "--database", "app").ends(0)
	id := number(r.backups()[0].ID)
	schedule := number(into[body.Schedule](r.ctl("schedule", "create", "shop", "--daily", "02:00", "-o", "json").ends(0)).ID)
	for _, c := range []struct {
		line   string
		offers []string
		not    string
	}{
		{"project show ", []string{"shop"}, "db-1"},
		{"project show sh", []string{"shop"}, ""},
		{"project show x", nil, "shop"},
		{"project show shop ", nil, "shop"}, // one is enough
		{"project grant shop ", []string{"db-1"}, "shop"},
		{"server show ", []string{"db-1"}, ""},
		{"storage show ", []string{"s3"}, ""},
		{"schedule show ", []string{schedule + "\tshop: Daily at 02:00"}, ""},
		{"backup show ", []string{id + "\tshop: app, pending"}, ""},
		{"backup create --project ", nil, "shop"}, // there is no such flag
		{"backup list --project ", []string{"shop"}, ""},
		{"backup list --on ", []string{"db-1"}, ""},
		{"backup list --storage ", []string{"s3"}, ""},
		{"backup list --status ", []string{"completed"}, ""},
		{"backup create shop --database ", []string{"app", "logs"}, ""},
		{"database assign ", []string{"app", "logs"}, ""},
		{"token create x --permission ", []string{"view-backups", "all"}, ""},
		{"token show ", []string{"1\tadmin"}, ""},
		{"job list --status ", []string{"open"}, ""},
		{"user show ", nil, ""},
		{"project list --output ", []string{"json", "table"}, ""},
	} {
		x := r.ctl(append([]string{"__complete"}, strings.Split(c.line, " ")...)...).ends(0)
		for _, want := range c.offers {
			if !strings.Contains("\n"+x.out, "\n"+want) {
				t.Errorf("%q offers %q, want %q", c.line, x.out, want)
			}
		}
		if c.not != "" && strings.Contains(x.out, c.not) {
			t.Errorf("%q offers %q", c.line, x.out)
		}
	}
	r.env[0] = "DEVFLOW_URL=http://127.0.0.1:1"
	silent := func(what string, r *rig) {
		t.Helper()
		began := time.Now()
		x := r.ctl("__complete", "project", "show", "").ends(0)
		if x.out != ":4\n" || strings.Contains(x.err, "127.0.0.1") {
			t.Errorf("%s: offered %q, said %q", what, x.out, x.err)
		}
		if took := time.Since(began); took > 15*time.Second { // 1.5 s, on a machine that is at work
			t.Errorf("%s: it took %s", what, took)
		}
	}
	silent("offline", r)
	r.env = nil
	silent("not logged in", r)
	stuck := stuckServer(t)
	r.env = []string{"DEVFLOW_URL=" + stuck, "DEVFLOW_TOKEN=x"}
	silent("no answer", r)
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		r.ctl("completion", shell).ends(0, "devflowctl")
	}
}

// TestFigures: what a project's page and the first page show.
func TestFigures(t *testing.T) {
	t.Parallel()
	r := start(t)
	a := r.world("app", "bad")
	r.ctl("statistics", "shop").ends(0, "last backup", "never", "next run", "not scheduled")
	stop := r.play(a, "bad")
	r.ctl("backup", "create", "shop", "--watch").ends(1, "1 completed, 1 failed")
	stop()
	r.ctl("statistics").ends(0, "2: 1 completed, 1 failed", "storage used", "app of shop")
	if s := into[controller.Statistics](r.ctl("stats", "shop", "-o", "json").ends(0)); s.Backups != 2 || s.LastBackup == nil {
		t.Errorf("statistics are %+v", s)
	}
	r.ctl("statistics", "shpo").ends(1, "did you mean")
	r.ctl("trends", "--days", "3").ends(0, "3 days", "UTC", "1 completed, 1 failed")
	r.ctl("trends", "shop", "--database", "app", "--days", "1").ends(0, "1 day ", "1 completed, 0 failed")
	r.ctl("trends", "--days", "0").ends(2, "366")
	r.ctl("trends", "--until", "tomorrow").ends(2, "until", "YYYY-MM-DD")
	r.ctl("overview").ends(0, "bad", "s3", "Without a schedule: app, bad", "1 agent online")
	r.ctl("job", "list", "--status", "open").ends(0, "ID")
	if all := into[[]controller.Job](r.ctl("job", "list", "shop", "--kind", "backup", "-o", "json").ends(0)); len(all) != 2 {
		t.Errorf("jobs are %+v", all)
	}
	r.ctl("job", "list", "--status", "open or so").ends(2, "status")
	// Lists go on to the end, and in other orders.
	if all := into[[]controller.Backup](r.ctl("backup", "list", "--limit", "1", "--all", "-o", "json").ends(0)); len(all) != 2 {
		t.Errorf("%d backups", len(all))
	}
	sorted := into[[]controller.Backup](r.ctl("backup", "list", "shop", "--sort", "size", "-o", "json").ends(0))
	if len(sorted) != 2 || sorted[0].DatabaseName != "app" {
		t.Errorf("by size: %+v", sorted)
	}
	sorted = into[[]controller.Backup](r.ctl("backup", "list", "shop", "--sort", "size", "--ascending", "--limit", "1", "-o", "json").ends(0))
	if len(sorted) != 1 || sorted[0].DatabaseName != "bad" {
		t.Errorf("by size, ascending: %+v", sorted)
	}
	r.ctl("backup", "list", "--sort", "size", "--watch").ends(2, "--watch")
	r.ctl("backup", "list", "--engine", "mysql", "--since", "1h", "--storage", "s3").ends(0)
	r.ctl("backup", "list", "--since", "yesterday").ends(2, "--since")
	r.ctl("schedule", "list", "--active", "--inactive").ends(2)
	r.ctl("server", "enrolments").ends(0, "SERVER")
}

// TestPreDeploy: a deploy goes on after status 0 alone.
func TestPreDeploy(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Project("empty")
	a := r.world("app", "bad")
	r.ctl("pre-deploy").ends(2)
	r.ctl("pre-deploy", "empty").ends(3, "nothing")
	r.ctl("pre-deploy", "nowhere").ends(1, "nowhere")
	r.ctl("pre-deploy", "shop", "--deadline", "0s").ends(2, "--deadline")
	r.ctl("pre-deploy", "shop", "--deadline", "7h").ends(2, "21600")
	// Nobody is at work: the deadline ends it.
	r.ctl("pre-deploy", "shop", "--database", "app", "--deadline", "2s").ends(1, "deadline", "app", "0 of 1 database completed")
	for _, b := range r.backups() {
		r.ctl("backup", "cancel", number(b.ID)).ends(0)
	}
	stop := r.play(a, "bad")
	r.ctl("pre-deploy", "shop").ends(1, "[auth]", "bad", "correct the password")
	done := into[controller.PreDeploy](r.ctl("pre-deploy", "shop", "--database", "app", "--key", "deploy-7", "-o", "json").ends(0))
	if done.Status != controller.StatusCompleted || len(done.Databases) != 1 || done.Databases[0].BackupID == nil {
		t.Errorf("%+v", done)
	}
	// The same key is the same order.
	if again := into[controller.PreDeploy](r.ctl("pre-deploy", "shop", "--database", "app", "--key", "deploy-7", "-o", "json").ends(0)); again.ID != done.ID {
		t.Errorf("%+v", again)
	}
	r.ctl("pre-deploy", "shop", "--database", "app").ends(0, "1 of 1 database completed")
	stop()
	for _, b := range r.backups() {
		if b.Type != controller.TypePreDeploy {
			t.Errorf("backup %d is of type %s", b.ID, b.Type)
		}
	}
	// Ctrl-C leaves the backups running.
	ctx, cancel := context.WithCancel(t.Context())
	said := make(chan string, 1)
	go func() {
		env := map[string]string{"HOME": r.home, "DEVFLOW_URL": r.URL, "DEVFLOW_TOKEN": r.Token}
		said <- main.Run(ctx, nil, discard{}, discard{}, func(name string) string { return env[name] }, "pre-deploy", "shop", "--database", "app", "--key", "k9")
	}()
	apitest.Eventually(t, "it is ordered", func() bool { return r.backups()[0].Status == controller.StatusPending })
	cancel()
	if text := <-said; !strings.Contains(text, "the backups go on") || !strings.Contains(text, "devflowctl pre-deploy shop --key k9") {
		t.Errorf("it says %q", text)
	}
	if b := r.backups()[0]; b.Status != controller.StatusPending {
		t.Errorf("the backup is %s", b.Status)
	}
}
