package check_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/agent/internal/check"
	"devflowbackup/agent/internal/config"
	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/identity"
	"devflowbackup/agent/internal/testkit/control"
	"devflowbackup/agent/internal/testkit/fakeengine"
	"devflowbackup/shared/wire"
)

func TestRun(t *testing.T) {
	c := control.StartWith(t, nil)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	own, given := c.Broker.CA.Server(t), control.NewCA(t).Server(t)
	var shown atomic.Pointer[tls.Certificate] // to who does not ask for the controller's own
	shown.Store(&own)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if h.ServerName == wire.ControllerName {
			return &own, nil
		}
		return shown.Load(), nil
	}}
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
	if text, fine := run(); !fine || strings.Count(text, "ok ") != 5 {
		t.Fatalf("all is well:\n%s", text)
	}
	if n := c.Requests("hello"); n != 0 {
		t.Fatal("check has started a session")
	}
	shown.Store(&given)
	if text, fine := run(); !fine {
		t.Fatalf("a certificate for people:\n%s", text)
	}
	shown.Store(&own)
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

// Where restores in place are allowed, what would stop one is told, once, with what to do; where not, how to allow them.
func TestRun_InPlace(t *testing.T) {
	cfg := config.Default()
	cfg.StateDir = t.TempDir()
	cfg.Instances = []config.Instance{{Name: "main", Engine: fakeengine.Name}}
	e := &fakeengine.Engine{}
	for n := range 25 {
		e.Set(fmt.Sprintf("db%02d", n), nil)
	}
	e.SetSessions("db00", engine.Session{User: "shop"}) // a program, and no stop
	open := func(config.Instance, hclog.Logger) (engine.Engine, error) { return e, nil }
	want := func(what string, parts ...string) {
		t.Helper()
		var b strings.Builder
		lines := 0
		for _, r := range check.Run(t.Context(), cfg, open, hclog.NewNullLogger()) {
			if strings.HasPrefix(r.Name, "restore") {
				fmt.Fprintf(&b, "%s %s: %s (%s)\n", r.Level, r.Name, r.Detail, r.Hint)
				lines++
			}
		}
		for _, p := range parts {
			if !strings.Contains(b.String(), p) {
				t.Errorf("%s: nothing says %q:\n%s", what, p, b.String())
			}
		}
		if lines != 1 {
			t.Errorf("%s: want one line:\n%s", what, b.String())
		}
	}
	want("not allowed", "ok restore in place: not allowed by this host; restore.in_place: true allows it")
	cfg.Instances[0].Restore.InPlace = true
	want("allowed", "ok restore in place: allowed", "20 of 25")
	e.Problems = []engine.Problem{{Stops: true, Code: "cannot_rename", Text: "nobody may rename", Hint: "run GRANT x"}, {Code: "owner", Text: "by the way"}}
	want("stopped", "error restore in place of \"db", "nobody may rename", "run GRANT x")
	no := false
	cfg.Instances[0].Restore.Allow = &no
	want("no restores", "ok restore: not allowed by this host")
}

// The backup directory is looked at, and nothing is made or written.
func TestRun_BackupDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "backups")
	cfg := config.Default()
	cfg.StateDir = t.TempDir()
	cfg.Storage.Local.Dir = dir
	file := filepath.Join(t.TempDir(), "shop.sqlite")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Instances = []config.Instance{{Name: "files", Engine: wire.EngineSQLite, Paths: []string{file}}, {Name: "far", Engine: wire.EngineMySQL, Host: "db.example"}}
	open := func(config.Instance, hclog.Logger) (engine.Engine, error) { return &fakeengine.Engine{}, nil }
	findings := func() string {
		t.Helper()
		var b strings.Builder
		for _, r := range check.Run(t.Context(), cfg, open, hclog.NewNullLogger()) {
			if r.About == "backup directory" {
				fmt.Fprintf(&b, "%s %s: %s (%s)\n", r.Level, r.Name, r.Detail, r.Hint)
			}
		}
		return b.String()
	}
	want := func(what string, lines int, parts ...string) {
		t.Helper()
		got := findings()
		for _, p := range parts {
			if !strings.Contains(got, p) {
				t.Errorf("%s: nothing says %q:\n%s", what, p, got)
			}
		}
		if strings.Count(got, "\n") != lines {
			t.Errorf("%s: want %d lines:\n%s", what, lines, got)
		}
	}
	want("not there", 1, "warning directory: "+dir)
	if _, err := os.Stat(dir); err == nil {
		t.Fatal("check has made the directory")
	}
	mode := func(m os.FileMode) {
		t.Helper()
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, m); err != nil {
			t.Fatal(err)
		}
	}
	mode(0o700)
	want("fine", 3, "ok directory: "+dir+", mode 0700", "ok free space", "1GiB are to stay so", "warning place: same host and same disk as instance files:")
	cfg.Instances = cfg.Instances[1:]
	want("elsewhere", 3, "warning place: same host as the databases:")
	mode(0o755)
	want("readable", 3, "warning directory", "chmod 700")
	mode(0o777)
	want("writable", 1, "error directory", "chmod 700")
	mode(0o700)
	cfg.Storage.Local.MinFree = 1 << 60
	want("full", 3, "error free space", "min_free")
	cfg.Storage.Local.Dir = ""
	want("none", 0)
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Fatalf("check has written %v, %v", left, err)
	}
}
