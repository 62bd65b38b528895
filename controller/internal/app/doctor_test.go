package app_test

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller/internal/app"
	"devflowbackup/controller/internal/config"
)

// found is the finding of a check, which there must be.
func found(t *testing.T, all []app.Finding, check, level string, words ...string) {
	t.Helper()
	for _, f := range all {
		if f.Check != check {
			continue
		}
		text := f.Detail + " " + f.Hint
		if f.Level != level {
			t.Errorf("%s is %s: %s", check, f.Level, text)
		}
		for _, w := range words {
			if !strings.Contains(text, w) {
				t.Errorf("%s does not say %q: %s", check, w, text)
			}
		}
		if level != app.FindingOK && f.Hint == "" {
			t.Errorf("%s does not say what to do: %s", check, text)
		}
		return
	}
	t.Errorf("nothing about %s in %+v", check, all)
}

func TestDoctor(t *testing.T) {
	c := configuration(t)
	c.Listen = "127.0.0.1:" + freePort(t)
	doctor := func() []app.Finding { t.Helper(); return app.Doctor(t.Context(), c, "", hclog.NewNullLogger()) }
	all := doctor()
	found(t, all, "migrations", app.FindingError, "1_catalog", "migrate")

	_, stop := run(t, c)
	all = doctor()
	for _, check := range []string{"migrations", "catalog", "clock", "row-level security", "master key", "CA", "controller", "certificate", "controllers", "jobs", "backups", "servers"} {
		found(t, all, check, app.FindingOK)
	}
	found(t, all, "storages", app.FindingWarning, "storage add")
	var text, coded bytes.Buffer
	if !app.PrintFindings(&text, all) || !strings.Contains(text.String(), "storages: `devflowctl storage add`") {
		t.Errorf("printed:\n%s", text.String())
	}
	fine, err := app.EncodeFindings(&coded, all)
	var back struct {
		OK       bool
		Findings []app.Finding
	}
	if err != nil || !fine || json.Unmarshal(coded.Bytes(), &back) != nil || !back.OK || len(back.Findings) != len(all) {
		t.Errorf("%v: %s", err, coded.String())
	}

	exec(t, c, `INSERT INTO servers (agent_id, name, nkey, signing_key, recipient, agent_version, host) VALUES ('gone', 'db1', 'N', '\x00', 'r', 'v0.1.0', '{}')`)
	exec(t, c, `INSERT INTO storages (name, kind, endpoint, region, bucket, checksum_mode) VALUES ('s3', 's3', 'http://127.0.0.1:1', 'x', 'b', 'sha256')`)
	exec(t, c, `ALTER TABLE jobs DISABLE ROW LEVEL SECURITY`)
	stop()
	all = doctor()
	found(t, all, "controller", app.FindingError, "systemctl status")
	found(t, all, "controllers", app.FindingError, "none is up")
	found(t, all, "server db1", app.FindingError, "offline", "never")
	found(t, all, "storage s3", app.FindingError)
	found(t, all, "row-level security", app.FindingError, "jobs")
	if app.PrintFindings(&text, all) {
		t.Error("errors are fine")
	}

	key := c.MasterKeyFile
	c.MasterKeyFile = filepath.Join(t.TempDir(), "other.key")
	if err := os.WriteFile(c.MasterKeyFile, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	found(t, doctor(), "master key", app.FindingError, "recovery key")
	c.MasterKeyFile = key
	c.Catalog.DSN = "postgres://nobody:canary-p4ss@127.0.0.1:1/none"
	all = doctor()
	found(t, all, "catalog", app.FindingError, "127.0.0.1 port 1")
	if text.Reset(); app.PrintFindings(&text, all) || strings.Contains(text.String(), "canary-p4ss") {
		t.Errorf("printed:\n%s", text.String())
	}
}

func TestCheckConfig(t *testing.T) {
	dir := t.TempDir()
	c := config.Default()
	c.DataDir = dir
	c.Catalog.DSN = "postgres://x"
	c.NATS.URLs = []string{"tls://127.0.0.1:1"}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "c.yaml")
	write := func(path, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	check := func(reach bool) []app.Finding {
		return app.CheckConfig(t.Context(), c, file, reach, hclog.NewNullLogger())
	}
	write(file, "", 0o644)
	found(t, check(false), "configuration", app.FindingError, "0644", "chmod 640")
	write(file, "", 0o640)
	all := check(false)
	found(t, all, "configuration", app.FindingOK)
	found(t, all, "data_dir", app.FindingOK)
	found(t, all, "master_key_file", app.FindingWarning, "does not exist")
	found(t, all, "listen", app.FindingWarning, "this host alone")
	write(filepath.Join(dir, "admin.token"), "x", 0o644)
	write(c.MasterKeyFile, "x", 0o644)
	c.TLS.CertFile, c.TLS.KeyFile = filepath.Join(dir, "none.pem"), filepath.Join(dir, "none.key")
	all = check(true)
	found(t, all, "data_dir", app.FindingError, "admin.token", "0644")
	found(t, all, "master_key_file", app.FindingError, "0644")
	found(t, all, "tls", app.FindingError, "none.pem")
	found(t, all, "nats 127.0.0.1:1", app.FindingError, "nats-server")
	found(t, all, "catalog", app.FindingError)
}

// freePort is a port of this host that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
