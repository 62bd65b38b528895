package check_test

import (
	"bytes"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/agent/internal/check"
	"devflowbackup/agent/internal/config"
	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/identity"
	"devflowbackup/agent/internal/testkit/control"
	"devflowbackup/agent/internal/testkit/fakeengine"
)

func TestRun(t *testing.T) {
	c := control.StartWith(t, nil)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{c.Broker.CA.Server(t)}, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)

	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.StateDir = dir
	cfg.Instances = []config.Instance{{Name: "main", Engine: fakeengine.Name}}
	e := &fakeengine.Engine{}
	open := func(config.Instance, hclog.Logger) (engine.Engine, error) { return e, nil }
	run := func() (string, bool) {
		var b bytes.Buffer
		fine := check.Print(&b, check.Run(t.Context(), cfg, open, hclog.NewNullLogger()))
		return b.String(), fine
	}

	if text, fine := run(); fine || !strings.Contains(text, "not enrolled") || !strings.Contains(text, "devflow-agent enroll") {
		t.Fatalf("not enrolled:\n%s", text)
	}
	create := func(change func(*identity.Installation)) {
		inst := c.Enrol(dir).Installation()
		inst.Controller = s.URL
		change(&inst)
		keys, err := identity.Draw()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := identity.Create(dir, keys, inst); err != nil {
			t.Fatal(err)
		}
	}
	create(func(*identity.Installation) {})
	if text, fine := run(); !fine || strings.Count(text, "ok ") != 4 {
		t.Fatalf("all is well:\n%s", text)
	}
	if n := c.Requests("hello"); n != 0 {
		t.Fatal("check has started a session")
	}
	e.Down.Store(true)
	if text, fine := run(); fine || !strings.Contains(text, "connection refused") || !strings.Contains(text, "start the server") {
		t.Fatalf("database down:\n%s", text)
	}
	e.Down.Store(false)
	create(func(i *identity.Installation) { i.CA = control.NewCA(t).PEM })
	if text, fine := run(); fine || strings.Count(text, "failed to verify certificate") != 2 {
		t.Fatalf("foreign certificates:\n%s", text)
	}
	create(func(i *identity.Installation) { i.NATSURLs = []string{"tls://127.0.0.1:1"} })
	if text, fine := run(); fine || !strings.Contains(text, "refused") {
		t.Fatalf("no broker:\n%s", text)
	}
}
