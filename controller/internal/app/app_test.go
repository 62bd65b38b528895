package app_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller/internal/app"
	"devflowbackup/controller/internal/config"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/pgkit"
)

func TestMain(m *testing.M) { pgkit.Main(m) }

// configuration is one of a controller on a fresh catalog.
func configuration(t *testing.T) config.Config {
	t.Helper()
	c := config.Default()
	c.DataDir = filepath.Join(t.TempDir(), "data")
	c.Listen, c.NATS.Listen = "127.0.0.1:0", "127.0.0.1:0"
	c.PublicURL = "https://backup.example.com:8443"
	c.Catalog.DSN = pgkit.NewOwnedDatabase(t)
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	return c
}

// run starts a controller; stop ends it.
func run(t *testing.T, c config.Config) (a *app.App, stop func()) {
	t.Helper()
	a = app.New(c, hclog.NewNullLogger())
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			if err := a.Stop(context.Background()); err != nil { // the test's own context has ended when its cleanups run
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return a, stop
}

func exec(t *testing.T, c config.Config, sql string) string {
	t.Helper()
	u, err := url.Parse(c.Catalog.DSN.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	out, err := pgkit.Shared(t).Exec(t.Context(), strings.TrimPrefix(u.Path, "/"), sql)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func token(t *testing.T, c config.Config) string {
	t.Helper()
	s, err := secret.LoadFile(filepath.Join(c.DataDir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	return s.Reveal()
}

func get(t *testing.T, c config.Config, base, path, token string) (int, string) {
	t.Helper()
	res := ask(t, c, base, path, token)
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// ask is get whose answer is not read.
func ask(t *testing.T, c config.Config, base, path, token string) *http.Response {
	t.Helper()
	pem, err := os.ReadFile(filepath.Join(c.DataDir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("ca.pem holds no certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "backup.example.com", MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	res, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// address is where the API listens: URL says what the public name is.
func address(t *testing.T, a *app.App) string {
	t.Helper()
	return "https://" + a.Addr()
}

// The API's certificate holds the name of the public URL, and the first token opens it.
func TestApp_firstStart(t *testing.T) {
	c := configuration(t)
	a, stop := run(t, c)
	if a.First() == nil || a.First().RecoveryKey.Empty() || a.URL() != c.PublicURL {
		t.Fatalf("first start: %+v, %s", a.First(), a.URL())
	}
	first := token(t, c)
	if code, body := get(t, c, address(t, a), "/api/v1/projects", first); code != http.StatusOK {
		t.Errorf("the first token: %d %s", code, body)
	}
	if code, body := get(t, c, address(t, a), "/readyz", ""); code != http.StatusOK || !strings.Contains(body, "broker") || !strings.Contains(body, "catalog") {
		t.Errorf("ready: %d %s", code, body)
	}
	code, figures := get(t, c, address(t, a), "/metrics", first)
	for _, line := range []string{
		"devflow_catalog_up 1", "devflow_catalog_databases_up 1", "devflow_broker_connected 1", `devflow_controllers{state="up"} 1`, "devflow_agents_outdated 0",
		"devflow_broker_server_slow_consumers_total 0", `devflow_certificate_expiry_timestamp_seconds{certificate="ca"}`,
	} {
		if code != http.StatusOK || !strings.Contains(figures, "\n"+line) {
			t.Errorf("metrics: %d, without %s", code, line)
		}
	}
	for _, secret := range []string{first, c.Catalog.DSN.Reveal(), a.First().RecoveryKey.Reveal()} {
		if strings.Contains(figures, secret) {
			t.Error("a secret is among the metrics")
		}
	}
	// A stream of events, which has no end, does not keep a controller from stopping.
	stream := ask(t, c, address(t, a), "/api/v1/events", first)
	for deadline := time.Now().Add(20 * time.Second); stream.StatusCode == http.StatusServiceUnavailable && time.Now().Before(deadline); <-time.After(30 * time.Millisecond) {
		stream = ask(t, c, address(t, a), "/api/v1/events", first)
	}
	if stream.StatusCode != http.StatusOK || stream.ProtoMajor != 2 {
		t.Fatalf("events: %s %s", stream.Proto, stream.Status)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, stream.Body)
		ended <- err
	}()
	began := time.Now()
	stop()
	if err := <-ended; err != nil || time.Since(began) > 9*time.Second {
		t.Errorf("the stream ended with %v, the controller stopped after %s", err, time.Since(began))
	}
	a, _ = run(t, c)
	if a.First() != nil || token(t, c) != first {
		t.Error("the second start is a first one too")
	}
	if code, _ := get(t, c, address(t, a), "/api/v1/projects", first); code != http.StatusOK {
		t.Errorf("the first token after a restart: %d", code)
	}
}

// A first start that died before its token was in the catalog locked everyone out: the token's file is written first, and the
// next start completes it.
func TestApp_firstStartDied(t *testing.T) {
	c := configuration(t)
	_, stop := run(t, c)
	stop()
	if got := exec(t, c, "DELETE FROM api_tokens RETURNING name"); got == "" {
		t.Fatal("there was no token to lose")
	}
	a, _ := run(t, c)
	if code, body := get(t, c, address(t, a), "/api/v1/projects", token(t, c)); code != http.StatusOK {
		t.Errorf("the token in the file: %d %s", code, body)
	}
}

// A file with another text is no token: the catalog has one.
func TestApp_tokenFileChanged(t *testing.T) {
	c := configuration(t)
	_, stop := run(t, c)
	stop()
	if err := os.WriteFile(filepath.Join(c.DataDir, "admin.token"), []byte("dfk_mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, _ := run(t, c)
	if code, _ := get(t, c, address(t, a), "/api/v1/projects", "dfk_mine"); code != http.StatusUnauthorized {
		t.Errorf("a token that was written into the file: %d", code)
	}
	if n := exec(t, c, "SELECT count(*) FROM api_tokens"); n != "1" {
		t.Errorf("%s tokens", n)
	}
}

func TestApp_refuses(t *testing.T) {
	c := configuration(t)
	_, stop := run(t, c)
	stop()
	good, err := os.ReadFile(c.MasterKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what, says string) {
		t.Helper()
		a := app.New(c, hclog.NewNullLogger())
		err := a.Start(t.Context())
		if err == nil {
			t.Errorf("%s: started", what)
			err = a.Stop(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := os.Remove(c.MasterKeyFile); err != nil {
		t.Fatal(err)
	}
	refused("no master key", fmt.Sprintf("%s does not exist, but this catalog belongs to an installation", c.MasterKeyFile))
	if _, err := os.Stat(c.MasterKeyFile); err == nil {
		t.Error("a master key was made for a catalog that has one")
	}
	other := configuration(t)
	_, stop = run(t, other)
	stop()
	wrong, err := os.ReadFile(other.MasterKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.MasterKeyFile, wrong, 0o600); err != nil {
		t.Fatal(err)
	}
	refused("another installation's master key", "give this controller the key of the installation")
	if err := os.WriteFile(c.MasterKeyFile, good, 0o600); err != nil {
		t.Fatal(err)
	}
	_, stop = run(t, c)
	stop()
}
