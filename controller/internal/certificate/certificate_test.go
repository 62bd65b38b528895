package certificate_test

import (
	"context"
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller/internal/certificate"
	"devflowbackup/controller/internal/keys"
	"devflowbackup/shared/wire"
)

// pair writes a certificate of ca for a name.
func pair(t *testing.T, ca *keys.CA, certFile, keyFile, name string) {
	t.Helper()
	c, err := ca.IssueServer(time.Now(), []string{name}, nil)
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := keys.EncodeServer(c)
	if err != nil {
		t.Fatal(err)
	}
	write(t, certFile, cert)
	write(t, keyFile, key)
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func newCA(t *testing.T) *keys.CA {
	t.Helper()
	ca, err := keys.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// issuer is whose certificate a client that asks for a name gets.
func issuer(t *testing.T, s *certificate.Source, name string) string {
	t.Helper()
	c, err := s.Get(&tls.ClientHelloInfo{ServerName: name})
	if err != nil {
		t.Fatal(err)
	}
	return c.Leaf.Issuer.CommonName
}

func TestSource(t *testing.T) {
	own, public := newCA(t), newCA(t)
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pair(t, public, certFile, keyFile, "backup.example.com")
	s, err := certificate.New(certificate.Options{
		Issue: func(now time.Time) (tls.Certificate, error) {
			return own.IssueServer(now, []string{wire.ControllerName}, nil)
		},
		CertFile: certFile, KeyFile: keyFile, Log: hclog.NewNullLogger(), Every: 5 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	mine, theirs := own.Certificate().Subject.CommonName, public.Certificate().Subject.CommonName
	for name, want := range map[string]string{"backup.example.com": theirs, "": mine, "localhost": mine, "db.example.com": mine, wire.ControllerName: mine} {
		if got := issuer(t, s, name); got != want {
			t.Errorf("%q is shown a certificate of %s, want %s", name, got, want)
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.Watch(ctx) }()
	defer func() { cancel(); <-done }()
	// One half is replaced before the other: until they fit, the pair before is shown.
	next := newCA(t)
	otherCert, otherKey := filepath.Join(dir, "other.pem"), filepath.Join(dir, "other.key")
	pair(t, next, otherCert, otherKey, "backup.example.com")
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	move(otherCert, certFile)
	if err := s.Use(certFile, keyFile); err == nil || !strings.Contains(err.Error(), certFile) {
		t.Errorf("halves of two pairs: %v", err)
	}
	if got := issuer(t, s, "backup.example.com"); got != theirs {
		t.Errorf("with halves of two pairs %s is shown", got)
	}
	move(otherKey, keyFile)
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for issuer(t, s, "backup.example.com") != next.Certificate().Subject.CommonName {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the new pair is not shown")
		}
	}
	if err := s.Use("", ""); err != nil || issuer(t, s, "backup.example.com") != mine || s.Given() != nil {
		t.Errorf("taken away: %v", err)
	}
}

// Long before the own certificate ends there is another.
func TestSource_Renews(t *testing.T) {
	ca := newCA(t)
	var days, issued atomic.Int64
	s, err := certificate.New(certificate.Options{
		Issue: func(now time.Time) (tls.Certificate, error) {
			issued.Add(1)
			return ca.IssueServer(now, []string{"localhost"}, nil)
		},
		Log: hclog.NewNullLogger(), Every: time.Millisecond, Now: func() time.Time { return time.Now().Add(time.Duration(days.Load()) * 24 * time.Hour) },
	})
	if err != nil {
		t.Fatal(err)
	}
	first, _ := s.Get(&tls.ClientHelloInfo{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.Watch(ctx) }()
	defer func() { cancel(); <-done }()
	days.Store(720)
	deadline := time.After(20 * time.Second)
	for {
		if c, _ := s.Get(&tls.ClientHelloInfo{}); c.Leaf.NotAfter.After(first.Leaf.NotAfter.Add(300 * 24 * time.Hour)) {
			break
		}
		select {
		case <-deadline:
			t.Fatal("there is no other certificate")
		case <-time.After(time.Millisecond):
		}
	}
	if n := issued.Load(); n != 2 {
		t.Errorf("%d certificates were made", n)
	}
}

func TestLoad_Refuses(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "c"), filepath.Join(dir, "k")
	if _, err := certificate.Load(certFile, keyFile); err == nil || !strings.Contains(err.Error(), "tls.cert_file") {
		t.Errorf("no file: %v", err)
	}
	pair(t, newCA(t), certFile, keyFile, "x")
	if _, err := certificate.Load(certFile, keyFile); err != nil {
		t.Error(err)
	}
	if err := os.Chmod(keyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := certificate.Load(certFile, keyFile); err == nil || !strings.Contains(err.Error(), "tls.key_file") {
		t.Errorf("a key that others can read: %v", err)
	}
}
