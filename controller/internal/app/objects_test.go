package app_test

import (
	"bytes"
	"crypto/md5" //nolint:gosec // Content-MD5
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/app"
	"devflowbackup/controller/internal/objectstore"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/s3kit"
	"devflowbackup/shared/wire"
)

// access is a storage on s, reached at endpoint.
func access(s *s3kit.Server, endpoint string) controller.StorageAccess {
	return controller.StorageAccess{
		Storage:     controller.Storage{ID: 1, Name: "main", Kind: controller.StorageS3, Endpoint: endpoint, Region: s.Region, Bucket: s.Bucket, PathStyle: true},
		Credentials: controller.Credentials{AccessKey: s.AccessKey, SecretKey: secret.String(s.SecretKey)},
	}
}

// What an upload was ordered with, or the row says, goes before what the last probe found.
func TestStorages_ChecksumMode(t *testing.T) {
	s := s3kit.Start(t)
	storages := app.NewStorages(hclog.NewNullLogger(), nil)
	part := []byte("part")
	sum, md := sha256.Sum256(part), md5.Sum(part) //nolint:gosec // as above
	for _, tc := range []struct{ probe, mode, header string }{
		{`{"capabilities":{"sha256":true}}`, wire.ChecksumMD5, "Content-Md5"},
		{`{"capabilities":{"content_md5":true}}`, wire.ChecksumSHA256, "X-Amz-Checksum-Sha256"},
		{`{"capabilities":{"content_md5":true}}`, "", "Content-Md5"},
		{`{"steps":[]}`, wire.ChecksumMD5, "Content-Md5"},
		{`null`, wire.ChecksumMD5, "Content-Md5"},
		{``, wire.ChecksumSHA256, "X-Amz-Checksum-Sha256"},
		{`"of another kind"`, "", "X-Amz-Checksum-Sha256"},
	} {
		a := access(s, s.Endpoint)
		a.Probe, a.ChecksumMode = json.RawMessage(tc.probe), tc.mode
		objects, err := storages.Open(a)
		if err != nil {
			t.Fatal(err)
		}
		grant, err := objects.SignPut(t.Context(), "k", wire.PartRequest{Size: int64(len(part)), SHA256: sum[:], MD5: md[:]}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if grant.Headers[tc.header] == "" {
			t.Errorf("probe %s, mode %q: signed %v, want %s", tc.probe, tc.mode, grant.Headers, tc.header)
		}
		req, err := http.NewRequestWithContext(t.Context(), grant.Method, grant.URL, bytes.NewReader(part))
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range grant.Headers {
			req.Header.Set(k, v)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("probe %s, mode %q: %s", tc.probe, tc.mode, resp.Status)
		}
	}
}

// A probe of a store without SHA-256 finds what is there; one that fails while the store is down changes nothing.
func TestStorages_Probe(t *testing.T) {
	s := s3kit.Start(t)
	proxy := s3kit.StartProxy(t, s)
	kind := s3kit.NoSHA256()
	proxy.Use(kind)
	storages := app.NewStorages(hclog.NewNullLogger(), nil)
	a := access(s, proxy.Endpoint)
	a.ID = 0 // few retries
	found := func(report json.RawMessage) objectstore.Capabilities {
		t.Helper()
		var r objectstore.ProbeReport
		if err := json.Unmarshal(report, &r); err != nil {
			t.Fatal(err)
		}
		return r.Capabilities
	}

	good, err := storages.Probe(t.Context(), a, "")
	if err != nil || !good.OK || good.ChecksumMode != wire.ChecksumMD5 || !found(good.Report).ContentMD5 {
		t.Fatalf("%+v, %v", good, err)
	}
	a.Probe, a.ChecksumMode = good.Report, good.ChecksumMode

	// What lies there is found in the same way.
	open, err := storages.Open(a)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open.Put(t.Context(), "newest", []byte("x"), "text/plain"); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]bool{"newest": true, "elsewhere": false} {
		res, err := storages.Probe(t.Context(), a, key)
		if err != nil || res.OK != want || (res.Summary == "") != want {
			t.Errorf("holding %s: %+v, %v", key, res, err)
		}
	}
	if kind.Fired() == 0 {
		t.Fatal("the profile was not met")
	}

	down := proxy.Inject("ListObjectsV2", 0, s3kit.Status(503, "SlowDown"))
	bad, err := storages.Probe(t.Context(), a, "")
	if err != nil || bad.OK || bad.Summary == "" || bad.ChecksumMode != wire.ChecksumMD5 || found(bad.Report) != found(good.Report) {
		t.Fatalf("%+v, %v", bad, err)
	}
	a.Probe = nil
	bad, err = storages.Probe(t.Context(), a, "")
	if err != nil || bad.OK || bad.ChecksumMode != "" {
		t.Fatalf("never probed before: %+v, %v", bad, err)
	}
	if down.Fired() == 0 {
		t.Fatal("the store was not down")
	}
}

// Credentials that the store no longer takes are denied until new ones are given; trying others does not disturb those in use.
func TestStorages_CredentialsRotated(t *testing.T) {
	s := s3kit.Start(t)
	keys := func(name string) controller.StorageAccess {
		if err := s.CreateAdmin(t.Context(), name, name+"secret"); err != nil {
			t.Fatal(err)
		}
		a := access(s, s.Endpoint)
		a.Credentials = controller.Credentials{AccessKey: name, SecretKey: secret.String(name + "secret")}
		return a
	}
	storages := app.NewStorages(hclog.NewNullLogger(), nil)
	former, latter := keys("formeraccess"), keys("latteraccess")
	use, err := storages.Open(former)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := use.Put(t.Context(), "k", []byte("x"), "text/plain"); err != nil {
		t.Fatal(err)
	}
	wrong := latter
	wrong.Credentials.SecretKey = "notthesecret"
	for _, tc := range []struct {
		name  string
		tried controller.StorageAccess
		ok    bool
	}{{"wrong", wrong, false}, {"right", latter, true}} {
		if res, err := storages.Probe(t.Context(), tc.tried, "k"); err != nil || res.OK != tc.ok {
			t.Fatalf("probe of the %s keys: %+v, %v", tc.name, res, err)
		}
		if _, err := use.Head(t.Context(), "k"); err != nil {
			t.Fatalf("after the probe of the %s keys: %v", tc.name, err)
		}
	}

	if err := s.DeleteUser(t.Context(), "formeraccess"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		again, err := storages.Open(former)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := again.Head(t.Context(), "k"); !wire.HasCode(err, wire.CodeStorageDenied) {
			t.Fatalf("removed keys: %v", err)
		}
	}
	rotated, err := storages.Open(latter)
	if err != nil {
		t.Fatal(err)
	}
	if o, err := rotated.Head(t.Context(), "k"); err != nil || o.StoredSize != 1 {
		t.Fatalf("new keys: %+v, %v", o, err)
	}
	if _, err := use.Head(t.Context(), "k"); !wire.HasCode(err, wire.CodeStorageDenied) {
		t.Fatalf("what was opened with removed keys: %v", err)
	}
}
