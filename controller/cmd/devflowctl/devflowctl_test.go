package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/app/apitest"
)

func TestUsage(t *testing.T) {
	r := offline(t)
	r.ctl("nope").ends(2, "unknown command", "nope")
	r.ctl("backup", "lits").ends(2, "did you mean list")
	r.ctl("backup", "show").ends(2, "usage:")
	r.ctl("backup", "list", "--nope").ends(2, "--nope")
	r.ctl("backup", "verify").ends(2, "--all", "--project")
	r.ctl("backup", "verify", "7", "--all").ends(2)
	r.ctl("backup", "show", "x1").ends(2, "x1")
	r.ctl("project", "list").ends(2, "DEVFLOW_URL")
	r.ctl("project", "list", "--output", "xml").ends(2, "table or json")
	r.ctl("project", "list", "--server", "https://h.test").ends(2, "DEVFLOW_TOKEN")
	r.env = []string{"DEVFLOW_TOKEN=dfk_canary"}
	r.ctl("project", "list", "--server", "http://backup.example.com").ends(2, "without TLS")
	r.ctl("project", "list", "--server", "https://user:pw-canary@h/").ends(2, "not a URL")
	if x := r.ctl("project", "list", "--server", "https://127.0.0.1:1").ends(1, "no answer from https://127.0.0.1:1"); strings.Contains(x.err, "canary") {
		t.Errorf("the error holds a secret: %s", x.err)
	}
	r.ctl("completion", "bash").ends(0, "devflowctl")
	r.ctl("--help").ends(0, "Exit status", "DEVFLOW_TOKEN")
	r.ctl("version").ends(0, "devflowctl")
}

func TestSettings(t *testing.T) {
	r := start(t)
	token := r.file(".config/devflow/token", r.Token+"\n")
	settings := r.file(".config/devflow/ctl.yaml", "server: "+r.URL+"\ntoken_file: token\noutput: json\n")
	r.env = nil
	r.Project("shop")
	if got := into[[]controller.Project](r.ctl("project", "list").ends(0)); len(got) != 1 {
		t.Errorf("projects are %+v", got)
	}
	r.ctl("project", "list", "--output", "table").ends(0, "SLUG")
	r.env = []string{"DEVFLOW_TOKEN=dfk_wrong"} // the environment is nearer than the file
	r.ctl("project", "list").ends(1, "not known", "hint:")
	r.ctl("project", "list", "--token-file", token).ends(0)
	r.file(".config/devflow/ctl.yaml", "server: "+r.URL+"\ntokenfile: x\n")
	r.ctl("project", "list").ends(2, "tokenfile", settings)
	r.file(".config/devflow/ctl.yaml", "")
	if err := os.Chmod(token, 0o644); err != nil {
		t.Fatal(err)
	}
	r.ctl("project", "list", "--server", r.URL, "--token-file", token).ends(2, "chmod 600")
}

// TestTLS: the installation's CA is trusted where it is given, and only there.
func TestTLS(t *testing.T) {
	r := start(t)
	srv := httptest.NewTLSServer(r.API)
	defer srv.Close()
	ca := r.file("ca.pem", pemOf(srv))
	r.env = []string{"DEVFLOW_URL=" + srv.URL, "DEVFLOW_TOKEN=" + r.Token}
	r.ctl("project", "list").ends(1, "unknown authority", "--ca")
	r.ctl("project", "list", "--ca", ca).ends(0)
	r.ctl("project", "list", "--ca", r.file("no.pem", "x")).ends(2, "no PEM certificate")
}

// TestRetry: a GET and a create survive answers that get lost; what is created is created once.
func TestRetry(t *testing.T) {
	r := start(t)
	var n atomic.Int32
	flaky := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if n.Add(1)%2 == 1 {
			rec := httptest.NewRecorder()
			r.API.ServeHTTP(rec, req) // carried out, and the answer is lost
			panic(http.ErrAbortHandler)
		}
		r.API.ServeHTTP(w, req)
	}))
	defer flaky.Close()
	r.env[0] = "DEVFLOW_URL=" + flaky.URL
	r.ctl("project", "create", "once").ends(0, "once")
	r.ctl("project", "list").ends(0, "once")
	if n.Load() != 4 {
		t.Errorf("%d requests, want 4: no answer was lost", n.Load())
	}
}

func TestWalk(t *testing.T) {
	r := start(t)
	p := into[controller.Project](r.ctl("project", "create", "shop", "--name", "The shop", "--external-id", "panel-7", "--output", "json").ends(0))
	r.ctl("project", "show", "panel-7").ends(0, "age1", "The shop")
	r.ctl("project", "create", "shop").ends(1, "exists")
	r.ctl("project", "create", "NOT OK").ends(2, "slug")
	key := filepath.Join(r.home, "shop.key")
	r.ctl("project", "key", "shop", "--out", key).ends(0)
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", info, err)
	}
	r.ctl("project", "key", "shop", "--out", key).ends(1, "exists")
	r.ctl("project", "key", "shop").ends(0, "AGE-SECRET-KEY-1", "# public key: "+p.AgeRecipient)

	r.ctl("server", "add", "db-8", "--project", "shop", "--grant").ends(0, "DEVFLOW_ENROLMENT=dfe_", " sh i --grant)", "Run this in a root shell of db-8")
	r.ctl("server", "add", "db-8b", "--output", "json").ends(0, `"install_command"`, `"ca_sha256"`, `"token"`)
	r.ctl("server", "token", "db-9", "--project", "shop").ends(0, "devflow-agent enroll --controller https://backup.test:8443 --token dfe_", "db-9")
	r.ctl("server", "token", "db-9", "--ttl", "2h").ends(2, "ttl_seconds")
	r.Agent("db-1", "", "app", "weird\x1b[2Jname")
	r.ctl("server", "list").ends(0, "db-1", "online", "main")
	r.ctl("server", "show", "db-1").ends(0, "restores allowed, also in place", "/srv/backups, 70.0 GiB of 100 GiB free")
	r.ctl("server", "verifier", "db-1").ends(0)

	if x := r.ctl("database", "list").ends(0, "app", `weird\x1b[2Jname`); strings.Contains(x.out, "\x1b") {
		t.Errorf("a name reaches the terminal as it is: %q", x.out)
	}
	r.ctl("database", "assign", "app").ends(2, "--project")
	r.ctl("database", "assign", "app", "--project", "shop").ends(1, "db-1")
	r.ctl("project", "grant", "shop", "db-1").ends(0)
	r.ctl("database", "assign", "app", "--project", "shop").ends(0, "shop")
	r.ctl("database", "unassign", "app").ends(0)
	r.ctl("project", "grant", "shop", "db-1", "--revoke").ends(0)
	r.ctl("server", "revoke", "db-1").ends(0, "revoked")

	r.ctl("storage", "add", "main", "--bucket", "b", "--access-key", "ak").ends(2, "--secret-key-file")
	secret := r.file("s3.secret", "canary-secret\n")
	add := r.ctl("storage", "add", "main", "--endpoint", "https://s3.test", "--bucket", "b", "--access-key", "ak", "--secret-key-file", secret, "--default").ends(0, "0 objects")
	good := r.Fleet.Result
	r.Fleet.With(func() {
		if got := r.Fleet.Specs[0].SecretKey.Reveal(); got != "canary-secret" {
			t.Errorf("the secret that arrived is %q", got)
		}
	})
	if strings.Contains(add.out+add.err+r.Logged.String(), "canary") {
		t.Error("the secret is printed or logged")
	}
	r.ctl("storage", "list").ends(0, "main", "ok")
	r.Fleet.With(func() {
		r.Fleet.Result.OK = false
		r.Fleet.Result.Report = json.RawMessage(`{"steps":[{"name":"write","ok":false,"required":true,"detail":"AccessDenied","hint":"allow s3:PutObject"}]}`)
	})
	r.ctl("storage", "add", "two", "--endpoint", "https://s3.test", "--bucket", "b", "--access-key", "ak", "--secret-key-file", secret).ends(1, "FAILED", "AccessDenied", "hint: allow s3:PutObject")
	r.ctl("storage", "probe", "main").ends(1, "FAILED")
	r.Fleet.With(func() { r.Fleet.Result = good })
	r.ctl("storage", "probe", "main").ends(0)
	r.ctl("storage", "default", "main").ends(0)
	r.ctl("storage", "remove", "main").ends(0)

	tok := into[struct {
		ID    int64
		Token string
	}](r.ctl("token", "create", "panel", "--permission", "view-backups", "--project", "shop", "--output", "json").ends(0))
	r.ctl("token", "list").ends(0, "panel", "admin")
	r.ctl("token", "create", "x").ends(2, "--permission")
	r.ctl("token", "create", "x", "--permission", "fly").ends(2, "fly")
	limited := *r
	limited.env = []string{"DEVFLOW_URL=" + r.URL, "DEVFLOW_TOKEN=" + tok.Token}
	limited.ctl("project", "create", "mine").ends(1, "manage-projects")
	r.ctl("token", "revoke", fmt.Sprint(tok.ID)).ends(0)
	limited.ctl("project", "list").ends(1, "revoked")

	r.ctl("audit", "list", "--limit", "3").ends(0, "token.revoke", "--before")
	r.ctl("audit", "security").ends(0, "KIND")
	r.ctl("project", "delete", "shop").ends(0)
	r.ctl("version").ends(0, "v0.0.0-test", apitest.Fingerprint)
}

func TestBackup_create(t *testing.T) {
	r := start(t)
	r.Project("empty")
	a := r.world("app", "bad", "logs")
	r.ctl("backup", "create", "empty").ends(3, "nothing to back up")
	r.ctl("backup", "create", "nowhere").ends(1, "nowhere")
	r.ctl("backup", "create", "shop", "--type", "weird").ends(2, "type", "pre_deploy")
	r.ctl("backup", "create", "shop", "--level", "0").ends(2)
	r.ctl("backup", "create", "shop", "--database", "app").ends(0, "pending", "1 database, 1 queued")
	// One is at work already: a line for each, totals, and the status says that not all went well.
	x := r.ctl("backup", "create", "shop").ends(1, "refused", "3 databases, 1 failed, 2 queued")
	if n := strings.Count(x.out, "db-1"); n < 3 {
		t.Errorf("there is no line for each database:\n%s", x.out)
	}
	defer r.play(a, "bad")()
	apitest.Eventually(t, "all ended", func() bool {
		for _, b := range r.backups() {
			if b.Status != controller.StatusCompleted && b.Status != controller.StatusFailed {
				return false
			}
		}
		return true
	})

	r.ctl("backup", "create", "shop", "--wait").ends(1, "[auth]", "correct the password", "3 databases, 2 completed, 1 failed", "283 KiB")
	r.ctl("backup", "create", "--database", "app", "--wait").ends(0, "1 database, 1 completed")
	got := into[struct {
		Items  []struct{ Backup controller.Backup }
		Totals struct{ Completed, Failed int }
	}](r.ctl("backup", "create", "shop", "--database", "logs", "--wait", "--output", "json").ends(0))
	if len(got.Items) != 1 || got.Items[0].Backup.Status != controller.StatusCompleted || got.Totals.Completed != 1 {
		t.Errorf("the answer is %+v", got)
	}

	id := fmt.Sprint(got.Items[0].Backup.ID)
	r.ctl("backup", "list", "--limit", "2").ends(0, "logs", "--before")
	if all := into[[]controller.Backup](r.ctl("backup", "list", "shop", "--status", "failed", "--output", "json").ends(0)); len(all) != 2 || all[0].DatabaseName != "bad" {
		t.Errorf("failed are %+v", all)
	}
	r.ctl("backup", "show", id).ends(0, "completed", "283 KiB raw")
	r.ctl("backup", "manifest", id).ends(0, "format_version")
	r.ctl("backup", "log", id).ends(0, "attempt 1: completed", "pg_dump: done")
	r.ctl("backup", "show", "99999").ends(1, "99999", "hint:")

	r.ctl("backup", "verify", id).ends(0, "ok", "DATABASE", "logs", "1 verification, 0 failed")
	r.ctl("backup", "verify", "--project", "shop", "--level", "content").ends(0, "content")
	r.ctl("backup", "verify", "--all").ends(0)
	r.ctl("backup", "verify", id, "--wait=false").ends(0, "queued")
	r.ctl("restore", "create", id, "--to-database", "copy", "--wait").ends(0, "completed", "99", "equal to the backup's fingerprint")
	r.ctl("restore", "create", id).ends(1)
	r.ctl("restore", "list").ends(0, "copy")
	r.ctl("restore", "show", "1").ends(0, "copy on db-1")
	r.ctl("restore", "cancel", "1").ends(1)

	r.ctl("backup", "delete", id, "--reason", "test").ends(0, "undelete "+id)
	r.ctl("backup", "undelete", id).ends(0, "completed")
	r.ctl("backup", "delete", id, "--grace", "0s").ends(0)
	r.ctl("backup", "show", id).ends(0, "deleted")
	due, err := r.Store.DueDeletions(t.Context(), 5)
	if err != nil || len(due) != 1 {
		t.Fatalf("deletions are %+v, %v", due, err)
	}
	if err := r.Store.DeletionLater(t.Context(), due[0].Backup, time.Minute, "the agent on db-1 is not connected"); err != nil {
		t.Fatal(err)
	}
	r.ctl("backup", "show", id).ends(0, "deleting", "waits", "the agent on db-1 is not connected")
}

// TestWait_interrupted: Ctrl-C leaves the job running and says how to stop it.
func TestWait_interrupted(t *testing.T) {
	r := start(t)
	r.world("app")
	cmd := r.command(t.Context(), "backup", "create", "shop", "--wait")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The first line of progress shows that it waits.
	lines := bufio.NewReader(stderr)
	first, err := lines.ReadString('\n')
	if err != nil || !strings.Contains(first, "app") {
		t.Fatalf("progress is %q, %v", first, err)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	var rest bytes.Buffer
	if _, err := rest.ReadFrom(lines); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	b := r.backups()[0]
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(rest.String(), fmt.Sprintf("devflowctl backup cancel %d", b.ID)) || !strings.Contains(rest.String(), "goes on") {
		t.Errorf("status %d: %s", code, rest.String())
	}
	if b.Status != controller.StatusPending {
		t.Errorf("the backup is %s", b.Status)
	}
	r.ctl("backup", "cancel", fmt.Sprint(b.ID)).ends(0, "cancelled")
	r.ctl("job", "show", fmt.Sprint(b.JobID)).ends(0, "cancelled")
}

// TestWait_controllerAway: a controller that restarts is waited for.
func TestWait_controllerAway(t *testing.T) {
	r := start(t)
	a := r.world("app")
	var away atomic.Bool
	var refused atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if away.Load() && req.Method == http.MethodGet {
			refused.Add(1)
			panic(http.ErrAbortHandler)
		}
		away.CompareAndSwap(false, req.Method == http.MethodPost) // away once it is ordered
		r.API.ServeHTTP(w, req)
	}))
	defer srv.Close()
	r.env[0] = "DEVFLOW_URL=" + srv.URL
	done := make(chan *result, 1)
	go func() { done <- r.ctl("backup", "create", "shop", "--wait") }()
	apitest.Eventually(t, "more polls failed than one request is repeated", func() bool { return refused.Load() > 5 })
	defer r.play(a)()
	away.Store(false)
	(<-done).ends(0, "1 completed")
}
