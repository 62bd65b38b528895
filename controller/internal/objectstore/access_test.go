package objectstore_test

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"devflowbackup/controller/internal/objectstore"
	"devflowbackup/shared/testkit/s3kit"
)

// A private store with its own authority is trusted by what the configuration says, and not without.
func TestStore_OwnAuthority(t *testing.T) {
	s := s3kit.StartWith(t, s3kit.Options{TLS: true})
	other := s3kit.StartWith(t, s3kit.Options{TLS: true})
	pool := func(pem []byte) *x509.CertPool {
		p := x509.NewCertPool()
		if !p.AppendCertsFromPEM(pem) {
			t.Fatal("no certificate")
		}
		return p
	}
	for _, tc := range []struct {
		name  string
		pool  *x509.CertPool
		pem   []byte
		trust bool
	}{
		{"pool", pool(s.CA), nil, true},
		{"PEM", nil, s.CA, true},
		{"both, the PEM is right", pool(other.CA), s.CA, true},
		{"both, the pool is right", pool(s.CA), other.CA, true},
		{"another authority", pool(other.CA), nil, false},
		{"the system's", nil, nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := config(s, s.Endpoint)
			cfg.RootCAs, cfg.CACert, cfg.MaxAttempts = tc.pool, tc.pem, 2
			report := open(t, cfg).Probe(t.Context())
			if tc.trust {
				if err := report.Err(); err != nil {
					t.Fatal(err)
				}
				return
			}
			wantErr(t, report.Err(), objectstore.ErrUnavailable, "certificate", s.Endpoint, "add its authority")
		})
	}
	// The pool is the caller's: it is not added to.
	p := pool(other.CA)
	cfg := config(s, s.Endpoint)
	cfg.RootCAs, cfg.CACert = p, s.CA
	open(t, cfg)
	if !p.Equal(pool(other.CA)) {
		t.Fatal("the caller's pool was changed")
	}
}

// Credentials are changed while an upload is open: new ones are probed beside the old, finish what those began, and the old
// ones are denied from the moment that the store forgets them.
func TestStore_CredentialsRotated(t *testing.T) {
	s := s3kit.Start(t)
	keys := func(name string) objectstore.Config {
		if err := s.CreateAdmin(t.Context(), name, name+"secret"); err != nil {
			t.Fatal(err)
		}
		cfg := config(s, s.Endpoint)
		cfg.AccessKey, cfg.SecretKey = name, name+"secret"
		return cfg
	}
	oldStore := open(t, keys("oldaccess"))
	u := newUpload(t, oldStore, "k")
	if _, err := oldStore.Put(t.Context(), "other", []byte("stays"), "text/plain"); err != nil {
		t.Fatal(err)
	}

	newStore := open(t, keys("newaccess"))
	if err := newStore.Probe(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	wrong := config(s, s.Endpoint)
	wrong.AccessKey, wrong.SecretKey = "newaccess", "notthesecret"
	wantErr(t, open(t, wrong).Probe(t.Context()).Err(), objectstore.ErrDenied, "secret key")
	// Neither probe touched what the old ones have there.
	if there, err := oldStore.UploadExists(t.Context(), u.key, u.id); !there || err != nil {
		t.Fatalf("upload after the probe: %v %v", there, err)
	}
	if b, err := oldStore.Get(t.Context(), "other", 10); err != nil || string(b) != "stays" {
		t.Fatalf("%q %v", b, err)
	}

	if err := s.DeleteUser(t.Context(), "oldaccess"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := u.mustSettle(t, oldStore, objectstore.Retry)
		wantErr(t, err, objectstore.ErrDenied, "access key")
		if strings.Contains(err.Error(), "oldaccesssecret") || objectstore.Retryable(err) {
			t.Fatalf("error %v", err)
		}
	}
	if info, _ := u.mustSettle(t, newStore, objectstore.Done); info.Size != u.want.Size {
		t.Fatalf("info %+v", info)
	}
	wantErr(t, oldStore.Probe(t.Context()).Err(), objectstore.ErrDenied)
}

// Reports of earlier versions lie in the catalog: what they lack is not known, and unused.
func TestProbeReport_Older(t *testing.T) {
	cfg := objectstore.Config{Checksum: objectstore.ChecksumMD5}
	for doc, want := range map[string]objectstore.ChecksumMode{
		`null`: objectstore.ChecksumMD5,
		`{}`:   objectstore.ChecksumMD5,
		`{"steps":[{"name":"list","ok":true}],"capabilities":{"sha256":true},"clock_skew":1000000000,"unheard_of":[1]}`: objectstore.ChecksumSHA256,
		`{"steps":null,"capabilities":{"content_md5":true,"new_thing":"x"},"lifecycle":[{"id":"a","archives":true}]}`:   objectstore.ChecksumMD5,
	} {
		var r objectstore.ProbeReport
		if err := json.Unmarshal([]byte(doc), &r); err != nil {
			t.Fatalf("%s: %v", doc, err)
		}
		got := r.Capabilities.Configure(cfg)
		if got.Checksum != want || got.ConditionalRead || got.ConditionalPut || got.ConditionalComplete || r.Capabilities.MaxParts != 0 {
			t.Errorf("%s: configured %+v", doc, got)
		}
	}
}

// A probe that fails because the store is down does not take from it what it can do.
func TestProbeReport_Inherit(t *testing.T) {
	w := newWorld(t, func(c *objectstore.Config) { c.MaxAttempts = 2 })
	w.proxy.Use(s3kit.NoSHA256())
	good := w.store.Probe(t.Context())
	if err := good.Err(); err != nil {
		t.Fatal(err)
	}
	r := w.proxy.Inject("ListObjectsV2", 0, s3kit.Status(503, "SlowDown"))
	bad := w.store.Probe(t.Context())
	fired(t, r)
	if !errors.Is(bad.Err(), objectstore.ErrUnavailable) || bad.Capabilities != (objectstore.Capabilities{}) {
		t.Fatalf("%v %+v", bad.Err(), bad.Capabilities)
	}
	bad.Inherit(objectstore.Capabilities{})
	if bad.Capabilities != (objectstore.Capabilities{}) {
		t.Fatalf("inherited %+v of nothing", bad.Capabilities)
	}
	bad.Inherit(good.Capabilities)
	if bad.Capabilities != good.Capabilities || bad.Err() == nil {
		t.Fatalf("inherited %+v", bad.Capabilities)
	}
	good.Inherit(objectstore.Capabilities{SHA256: true})
	if good.Capabilities.SHA256 {
		t.Fatal("a good probe took from an earlier one")
	}
}
