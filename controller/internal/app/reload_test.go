package app_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller/internal/keys"
)

// A certificate is replaced under connections that stay: each new one is shown the new certificate.
func TestApp_ReloadCertificate(t *testing.T) {
	c := configuration(t)
	dir := t.TempDir()
	c.TLS.CertFile, c.TLS.KeyFile = filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	give := func() *keys.CA {
		t.Helper()
		ca, err := keys.NewCA(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		pair, err := ca.IssueServer(time.Now(), []string{"backup.example.com"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		cert, key, err := keys.EncodeServer(pair)
		if err != nil {
			t.Fatal(err)
		}
		for file, content := range map[string][]byte{c.TLS.CertFile: cert, c.TLS.KeyFile: key} {
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return ca
	}
	first := give()
	a, _ := run(t, c)
	roots := x509.NewCertPool()
	roots.AddCert(first.Certificate())
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", a.Addr())
		},
	}
	defer transport.CloseIdleConnections()
	ask := func() (reused bool) {
		t.Helper()
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://backup.example.com/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := (&http.Client{Transport: transport}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatal(err)
		}
		if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusOK {
			t.Fatal(err, res.Status)
		}
		return reused
	}
	ask()
	second := give()
	if err := a.Reload(c); err != nil {
		t.Fatal(err)
	}
	if !ask() {
		t.Error("the connection was dropped")
	}
	dial := func(ca *keys.CA) error {
		conn, err := tls.Dial("tcp", a.Addr(), &tls.Config{RootCAs: ca.Pool(), ServerName: "backup.example.com", MinVersion: tls.VersionTLS12})
		if err == nil {
			err = conn.Close()
		}
		return err
	}
	if err := dial(second); err != nil {
		t.Errorf("the new certificate is not shown: %v", err)
	}
	if dial(first) == nil {
		t.Error("the old certificate is still shown")
	}
	// Who knows the installation's authority alone is served too, as is the watchdog.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := a.Alive(ctx); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(c.TLS.CertFile, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.Reload(c); err == nil || !strings.Contains(err.Error(), c.TLS.CertFile) {
		t.Errorf("a file without a certificate: %v", err)
	}
	if err := dial(second); err != nil {
		t.Errorf("after a mistake: %v", err)
	}
}
