package main_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

// typed runs the program with a line on its standard input.
func (r *rig) typed(line string, args ...string) *result {
	r.Helper()
	var out, stderr bytes.Buffer
	cmd := r.command(r.Context(), args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(line+"\n"), &out, &stderr
	_ = cmd.Run() // ends looks at the status
	return &result{r, args, out.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.env = nil // nothing but what login keeps
	r.ctl("whoami").ends(2, "devflowctl login")
	r.ctl("login", r.URL).ends(2, "no API token")
	r.typed("dfk_wrong", "login", r.URL).ends(1, "not known", "nothing is kept")
	r.typed(r.Token, "login", "ftp://x").ends(2, "not a URL")
	if _, err := os.Stat(filepath.Join(r.home, ".config")); err == nil {
		t.Error("a login that failed left something")
	}
	if x := r.typed(r.Token, "login", r.URL+"/").ends(0, "profile default", "as admin"); strings.Contains(x.out+x.err, r.Token) {
		t.Error("the token is shown")
	}
	kept := filepath.Join(r.home, ".config", "devflow", "profiles", "default.yaml")
	info, err := os.Stat(kept)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the profile is %v, %v", info, err)
	}
	if w := into[body.Whoami](r.ctl("whoami", "--output", "json").ends(0)); w.Name != "admin" || w.Kind != "api" {
		t.Errorf("whoami %+v", w)
	}

	// A second one, with less.
	viewer := r.NewToken([]string{controller.ViewBackups})
	r.typed(viewer, "login", r.URL, "--profile", "viewer").ends(0, "profile viewer")
	if w := into[body.Whoami](r.ctl("whoami", "--profile", "viewer", "--output", "json").ends(0)); len(w.Permissions) != 1 {
		t.Errorf("whoami %+v", w)
	}
	r.ctl("profiles").ends(0, "default", "viewer")
	r.env = []string{"DEVFLOW_PROFILE=viewer"}
	r.ctl("token", "list").ends(1, "manage-tokens")
	r.env = nil
	r.ctl("whoami", "--profile", "nobody").ends(2, "no profile nobody", "devflowctl login")
	r.ctl("whoami", "--profile", "../x").ends(2, "letters")
	// Its token goes to its own server alone.
	r.ctl("whoami", "--profile", "viewer", "--server", "https://other.example").ends(2, r.URL, "https://other.example")
	r.ctl("whoami", "--server", "https://other.example").ends(2, "no API token")
	if err := os.Chmod(kept, 0o644); err != nil {
		t.Fatal(err)
	}
	r.ctl("whoami").ends(2, "profile default")
	r.ctl("logout").ends(0, "is removed")
	r.ctl("logout").ends(0, "there is no profile default")
	r.ctl("whoami").ends(2, "which controller")
}

func TestLogin_pin(t *testing.T) {
	t.Parallel()
	r := start(t)
	var shown []byte
	var asked []string
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		asked = append(asked, q.URL.Path+q.Header.Get("Authorization"))
		if q.URL.Path == "/ca.pem" {
			_, _ = w.Write(shown)
			return
		}
		r.API.ServeHTTP(w, q)
	}))
	t.Cleanup(srv.Close)
	shown = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	sum := sha256.Sum256(shown)
	pin := hex.EncodeToString(sum[:])
	r.env = nil
	r.typed(r.Token, "login", srv.URL).ends(1, "unknown authority")
	asked = nil
	r.typed(r.Token, "login", srv.URL, "--ca-sha256", strings.Repeat("ab", 32)).ends(1, "refused", "SHA-256")
	if len(asked) != 1 || asked[0] != "/ca.pem" {
		t.Errorf("an unverified controller was asked %v", asked)
	}
	r.typed(r.Token, "login", srv.URL, "--ca-sha256", "abc").ends(2, "64 hexadecimal digits")
	r.typed(r.Token, "login", srv.URL, "--ca-sha256", pin).ends(0, "as admin")
	r.ctl("whoami").ends(0, "admin") // the profile has the CA
}

func TestUser(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Project("shop")
	r.ctl("user", "add", "anna").ends(2, "--admin", "view-backups")
	r.ctl("user", "add", "anna", "--admin").ends(2, "no password")
	r.typed("short", "user", "add", "anna", "--admin").ends(2, "at least 12")
	r.typed("only for this test", "user", "add", "Anna", "--permission", "view-backups", "--project", "shop").ends(0, "anna", "view-backups", "password")
	r.typed("only for this test", "user", "add", "anna", "--admin").ends(1, "already")
	r.ctl("user", "update", "anna").ends(2, "change what")
	r.ctl("user", "update", "anna", "--permission", "create-backups,view-backups", "--display-name", "Anna A.").ends(0, "view-backups, create-backups", "Anna A.")
	r.typed("another for this test", "user", "passwd", "anna").ends(0, "signed out everywhere")
	r.ctl("user", "disable", "anna").ends(0, "disabled")
	r.ctl("user", "enable", "anna").ends(0, "enabled")
	r.ctl("user", "sign-out", "anna").ends(0)
	r.ctl("user", "list").ends(0, "anna", "NAME")
	r.ctl("user", "delete", "anna").ends(0)
	r.ctl("user", "show", "anna").ends(1, "does not exist")

	made := into[body.NewToken](r.ctl("token", "create", "panel", "--kind", "panel", "--permission", "view-backups", "--output", "json").ends(0))
	next := into[body.NewToken](r.ctl("token", "rotate", strconv.FormatInt(made.ID, 10), "--grace", "1h", "--output", "json").ends(0))
	if next.Token == made.Token || next.PreviousUntil == nil || next.Kind != "panel" {
		t.Errorf("rotated %+v", next)
	}
	r.ctl("token", "rotate", strconv.FormatInt(made.ID, 10), "--grace", "200h").ends(2, "grace_seconds")
	r.ctl("token", "list").ends(0, "panel", "KIND")
}
