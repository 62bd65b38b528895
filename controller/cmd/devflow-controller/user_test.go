package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/app"
	"devflowbackup/controller/internal/client"
	"devflowbackup/controller/internal/config"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/pgkit"
)

func TestMain(m *testing.M) { pgkit.Main(m) }

// TestUser: on the controller's host the first person gets in, and one who is locked out or has forgotten the password gets in again.
func TestUser(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	dsn := pgkit.NewOwnedDatabase(t)
	for file, text := range map[string]string{
		"dsn": dsn.Reveal() + "\n",
		"controller.yaml": fmt.Sprintf("data_dir: %s\nlisten: 127.0.0.1:0\npublic_url: https://backup.example.com:8443\nnats:\n  listen: 127.0.0.1:0\ncatalog:\n  dsn_file: %s\n",
			data, filepath.Join(dir, "dsn")),
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	user := func(typed string, args ...string) (string, error) {
		c := command()
		var out, said bytes.Buffer
		c.SetIn(strings.NewReader(typed))
		c.SetOut(&out)
		c.SetErr(&said)
		c.SetArgs(append([]string{"--config", filepath.Join(dir, "controller.yaml"), "user"}, args...))
		err := c.ExecuteContext(t.Context())
		if text := out.String() + said.String() + fmt.Sprint(err); typed != "" && strings.Contains(text, strings.TrimSpace(typed)) {
			t.Errorf("user %v shows the password: %s", args, text)
		}
		return out.String(), err
	}
	ok := func(words, typed string, args ...string) {
		t.Helper()
		out, err := user(typed, args...)
		if err != nil || !strings.Contains(out, words) {
			t.Fatalf("user %v: %q, %v", args, out, err)
		}
	}
	refused := func(words, typed string, args ...string) {
		t.Helper()
		if out, err := user(typed, args...); err == nil || !strings.Contains(err.Error(), words) {
			t.Fatalf("user %v: %q, %v", args, out, err)
		}
	}
	refused("", "", "list") // a catalog of nobody's
	cfg := config.Default()
	if err := cfg.LoadFile(filepath.Join(dir, "controller.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := cfg.Environment(nil); err != nil {
		t.Fatal(err)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	a := app.New(cfg, hclog.NewNullLogger())
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	ca, err := os.ReadFile(filepath.Join(data, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	anyone, err := client.New(client.Options{URL: "https://" + a.Addr(), CAPEM: ca})
	if err != nil {
		t.Fatal(err)
	}
	signIn := func(password string) (*client.Client, int) {
		t.Helper()
		_, session, err := anyone.SignIn(t.Context(), "anna", secret.String(password))
		var p *body.Problem
		switch {
		case errors.As(err, &p):
			return nil, p.Status
		case err != nil:
			t.Fatal(err)
		}
		c, err := client.New(client.Options{URL: "https://" + a.Addr(), CAPEM: ca, Session: session})
		if err != nil {
			t.Fatal(err)
		}
		return c, http.StatusCreated
	}
	const first, second = "the first of her passwords", "the second one she has"

	refused("permissions", first, "add", "anna")
	refused("no password", "", "add", "anna", "--admin")
	refused("at least 12", "short", "add", "anna", "--admin")
	refused("user's name", first, "add", "two words", "--admin")
	ok("User anna can sign in now", first+"\n", "add", "Anna", "--admin")
	refused("already", first, "add", "anna", "--admin")
	anna, status := signIn(first)
	if status != http.StatusCreated {
		t.Fatalf("the first user is answered %d", status)
	}
	if who, err := anna.Whoami(t.Context()); err != nil || len(who.Permissions) != len(controller.Permissions) || !who.AllProjects {
		t.Errorf("the first user is %+v, %v", who, err)
	}
	for range 5 {
		_, _ = signIn("wrong")
	}
	if _, status = signIn(first); status != http.StatusTooManyRequests {
		t.Errorf("after five failures: %d", status)
	}
	refused("does not exist", second, "passwd", "bert")
	ok("another password", second+"\n", "passwd", "anna")
	if _, err := anna.Whoami(t.Context()); err == nil {
		t.Error("with another password the session goes on")
	}
	if _, status = signIn(first); status != http.StatusUnauthorized {
		t.Errorf("the old password is answered %d", status)
	}
	if anna, status = signIn(second); status != http.StatusCreated {
		t.Fatalf("the new password is answered %d", status)
	}
	ok("everything", "", "list")
	ok("is disabled", "", "disable", "anna")
	if _, err := anna.Whoami(t.Context()); err == nil {
		t.Error("the session of a disabled user goes on")
	}
	if _, status = signIn(second); status != http.StatusUnauthorized {
		t.Errorf("a disabled user is answered %d", status)
	}
	ok("disabled", "", "list")
	ok("can sign in again", "", "enable", "anna")
	if _, status = signIn(second); status != http.StatusCreated {
		t.Errorf("an enabled user is answered %d", status)
	}
	// All of it is in the log, and no password.
	admin, err := secret.LoadFile(filepath.Join(data, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	root, err := client.New(client.Options{URL: "https://" + a.Addr(), CAPEM: ca, Token: secret.String(strings.TrimSpace(admin.Reveal()))})
	if err != nil {
		t.Fatal(err)
	}
	log, err := root.Audit(t.Context(), controller.AuditFilter{Actor: "devflow-controller", Action: "user."})
	if err != nil {
		t.Fatal(err)
	}
	var acts []string
	for _, e := range log.Items {
		acts = append(acts, e.Action)
		if strings.Contains(string(e.Detail), first) || strings.Contains(string(e.Detail), "argon2") {
			t.Errorf("the log has a secret: %s", e.Detail)
		}
	}
	if got := strings.Join(acts, " "); got != "user.update user.update user.password user.create" {
		t.Errorf("the log has %s", got)
	}
}
