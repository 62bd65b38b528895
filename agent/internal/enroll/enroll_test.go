package enroll_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"devflowbackup/agent/internal/enroll"
	"devflowbackup/agent/internal/identity"
	"devflowbackup/agent/internal/testkit/control"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/wire"
)

// controller serves the enrolment call with a certificate of ca.
type controller struct {
	URL   string
	token string
	asked []map[string]any

	status int
	answer map[string]any
}

func start(t *testing.T, ca *control.CA, cert tls.Certificate) *controller {
	t.Helper()
	return startWith(t, ca, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
}

func startWith(t *testing.T, ca *control.CA, config *tls.Config) *controller {
	t.Helper()
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &controller{token: token(ca), status: http.StatusCreated, answer: map[string]any{
		"server_id": "a1", "server_name": "db", "nats_urls": []string{"tls://127.0.0.1:4222"}, "nats_jwt": "jwt", "ca_pem": ca.PEM,
		"key_set": wire.KeySet{Version: 1, Keys: []wire.Key{{ID: wire.KeyID(pub), Public: pub}}},
	}}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var m map[string]any
		_ = json.Unmarshal(body, &m)
		if r.Method != http.MethodPost || r.URL.Path != "/api/v1/enroll" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		c.asked = append(c.asked, m)
		w.WriteHeader(c.status)
		_ = json.NewEncoder(w).Encode(c.answer)
	}))
	s.TLS = config
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	c.URL = s.URL
	return c
}

// A controller may show everybody a certificate of an authority that the token does not name. Its own is asked for by name, and no other
// one will do.
func TestRun_BesideAnotherCertificate(t *testing.T) {
	ca, public := control.NewCA(t), control.NewCA(t)
	own, shown := ca.Server(t), public.Server(t)
	var asked []string // by name; the look at the address 127.0.0.1 names none
	c := startWith(t, ca, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		asked = append(asked, h.ServerName)
		if h.ServerName == wire.ControllerName {
			return &own, nil
		}
		return &shown, nil
	}})
	r := enroll.Request{Controller: c.URL, Token: secret.String(c.token), StateDir: filepath.Join(t.TempDir(), "state")}
	if _, err := enroll.Run(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if want := []string{wire.ControllerName, wire.ControllerName}; !slices.Equal(asked, want) || len(c.asked) != 1 {
		t.Errorf("asked for %q, sent %d requests", asked, len(c.asked))
	}
	other := control.NewCA(t)
	r.Token, r.StateDir = secret.String(token(other)), filepath.Join(t.TempDir(), "state")
	if _, err := enroll.Run(t.Context(), r); err == nil || len(c.asked) != 1 {
		t.Errorf("with a token of another installation: %v, %d requests were sent", err, len(c.asked))
	}
}

func token(ca *control.CA) string {
	sum := sha256.Sum256(ca.Cert.Raw)
	return "dfe_abcdefghijklmnop234567_" + hex.EncodeToString(sum[:])
}

func TestRun(t *testing.T) {
	ca := control.NewCA(t)
	c := start(t, ca, ca.Server(t))
	dir := filepath.Join(t.TempDir(), "state")
	r := enroll.Request{Controller: c.URL + "/", Token: secret.String(c.token), StateDir: dir}
	id, err := enroll.Run(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := id.Public()
	if err != nil {
		t.Fatal(err)
	}
	sent := c.asked[0]
	if sent["token"] != c.token || sent["nkey"] != pub.NKey || sent["recipient"] != pub.Recipient || sent["protocol"] != float64(wire.Version) || sent["host"] == nil || sent["agent_version"] == "" {
		t.Fatalf("%+v", sent)
	}
	var key ed25519.PublicKey
	text, _ := json.Marshal(sent["signing_key"])
	if json.Unmarshal(text, &key) != nil || !key.Equal(pub.SigningKey) {
		t.Fatalf("signing key %v", sent["signing_key"])
	}
	if all, _ := json.Marshal(sent); strings.Contains(string(all), "SECRET") {
		t.Fatal("a private key was sent")
	}
	if again, err := identity.Load(dir); err != nil || again.Installation().Controller != c.URL {
		t.Fatal(err)
	}

	// An identity is not replaced unless it is said so.
	if _, err := enroll.Run(t.Context(), r); err == nil || !strings.Contains(err.Error(), "--force") || len(c.asked) != 1 {
		t.Fatalf("got %v after %d calls", err, len(c.asked))
	}
	r.Force = true
	id2, err := enroll.Run(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if pub2, _ := id2.Public(); pub2.NKey == pub.NKey {
		t.Fatal("the old keys were used again")
	}
}

// Each failure says what to do, keeps nothing, and sends the token to nobody but a controller that the CA vouches for.
func TestRun_Refuses(t *testing.T) {
	ca, other := control.NewCA(t), control.NewCA(t)
	good := ca.Server(t)
	stranger := other.Server(t)
	// A machine in the middle: it shows the true CA's certificate, which is no secret, after a leaf of its own.
	middle := tls.Certificate{Certificate: [][]byte{stranger.Certificate[0], ca.Cert.Raw}, PrivateKey: stranger.PrivateKey}
	for name, tc := range map[string]struct {
		cert   tls.Certificate
		change func(r *enroll.Request, c *controller)
		want   string
		sent   int
	}{
		"foreign installation":  {stranger, func(*enroll.Request, *controller) {}, "not a controller of the installation", 0},
		"machine in the middle": {middle, func(*enroll.Request, *controller) {}, "certificate", 0},
		"plain http":            {good, func(r *enroll.Request, _ *controller) { r.Controller = "http://127.0.0.1:1" }, "only https", 0},
		"no url":                {good, func(r *enroll.Request, _ *controller) { r.Controller = "controller" }, "https://HOST:PORT", 0},
		"cut token":             {good, func(r *enroll.Request, _ *controller) { r.Token = r.Token[:30] }, "copy all of it", 0},
		"nobody there":          {good, func(r *enroll.Request, _ *controller) { r.Controller = "https://127.0.0.1:1" }, "reach the controller", 0},
		"used token": {good, func(_ *enroll.Request, c *controller) {
			c.status, c.answer = 401, map[string]any{"title": "Unauthorized", "detail": "the token was used already", "hint": "make another"}
		}, "the token was used already (make another)", 1},
		"title only":             {good, func(_ *enroll.Request, c *controller) { c.status, c.answer = 429, map[string]any{"title": "Too many"} }, "Too many", 1},
		"no problem document":    {good, func(_ *enroll.Request, c *controller) { c.status, c.answer = 502, nil }, "status 502", 1},
		"incomplete answer":      {good, func(_ *enroll.Request, c *controller) { delete(c.answer, "nats_jwt") }, "no NATS credential", 1},
		"answer with another CA": {good, func(_ *enroll.Request, c *controller) { c.answer["ca_pem"] = other.PEM }, "another CA", 1},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, ca, tc.cert)
			dir := t.TempDir()
			if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory
				t.Fatal(err)
			}
			r := enroll.Request{Controller: c.URL, Token: secret.String(c.token), StateDir: dir}
			tc.change(&r, c)
			_, err := enroll.Run(t.Context(), r)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want %q", err, tc.want)
			}
			if strings.Contains(err.Error(), "abcdefghijklmnop") {
				t.Fatalf("the error shows the token: %v", err)
			}
			if len(c.asked) != tc.sent {
				t.Fatalf("the token was sent %d times, want %d", len(c.asked), tc.sent)
			}
			if ok, _ := identity.Exists(dir); ok {
				t.Fatal("an identity was kept")
			}
		})
	}
}
