package app_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/app"
	"devflowbackup/controller/internal/fleet"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/s3kit"
	"devflowbackup/shared/wire"
)

func openStorage(t *testing.T, s fleet.Storages, a controller.StorageAccess) fleet.Objects {
	t.Helper()
	o, err := s.Open(a)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func readAll(ctx context.Context, o fleet.Objects, obj controller.StoredObject, offset int64) ([]byte, error) {
	r, err := o.Read(ctx, obj, offset)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

// Objects are read to their recorded end, over breaks; one that is not the recorded one is damage, not an error of the store.
func TestObjects_Read(t *testing.T) {
	s := s3kit.Start(t)
	proxy := s3kit.StartProxy(t, s)
	objects := openStorage(t, app.NewStorages(hclog.NewNullLogger(), nil), access(s, proxy.Endpoint))
	body := bytes.Repeat([]byte("0123456789"), 50_000)
	obj, err := objects.Put(t.Context(), "k", body, "application/octet-stream")
	if err != nil {
		t.Fatal(err)
	}
	broken := proxy.Inject("GetObject", 3, s3kit.ResetDownload(70_000))
	if b, err := readAll(t.Context(), objects, obj, 7); err != nil || !bytes.Equal(b, body[7:]) {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	if broken.Fired() != 3 {
		t.Errorf("%d breaks", broken.Fired())
	}
	for name, change := range map[string]func(*controller.StoredObject){
		"longer":  func(o *controller.StoredObject) { o.StoredSize++ },
		"shorter": func(o *controller.StoredObject) { o.StoredSize-- },
		"another": func(o *controller.StoredObject) { o.ETag = "0123456789abcdef0123456789abcdef" },
	} {
		o := obj
		change(&o)
		var damage *artifact.DamageError
		if b, err := readAll(t.Context(), objects, o, 0); !errors.As(err, &damage) || len(b) > 0 {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
	}
	gone := obj
	gone.Key = "elsewhere"
	if _, err := readAll(t.Context(), objects, gone, 0); !wire.HasCode(err, wire.CodeMissing) {
		t.Errorf("a missing object: %v", err)
	}
	proxy.Inject("GetObject", 0, s3kit.Status(http.StatusForbidden, "AccessDenied"))
	if _, err := readAll(t.Context(), objects, obj, 0); !wire.HasCode(err, wire.CodeStorageDenied) {
		t.Errorf("denied: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := readAll(ctx, objects, obj, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestObjects_SignLink(t *testing.T) {
	s := s3kit.Start(t)
	objects := openStorage(t, app.NewStorages(hclog.NewNullLogger(), nil), access(s, s.Endpoint))
	obj, err := objects.Put(t.Context(), "p/k.dump", []byte("0123456789"), "application/octet-stream")
	if err != nil {
		t.Fatal(err)
	}
	link, err := objects.SignLink(t.Context(), obj, "k.dump", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if resp, b := fetch(t, http.MethodGet, link, nil, nil); resp.StatusCode != http.StatusOK || string(b) != "0123456789" || !strings.Contains(resp.Header.Get("Content-Disposition"), `"k.dump"`) {
		t.Errorf("%s: %q", resp.Status, b)
	}
	if _, err := objects.SignLink(t.Context(), obj, "k.dump", time.Millisecond); err == nil {
		t.Error("a link that has expired already was signed")
	}
}

func fetch(t *testing.T, method, url string, headers map[string]string, body []byte) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range headers {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, b
}

// An upload that runs while the credentials are changed goes on: URLs of the old ones work as long as the store knows those, every
// further one is signed with the new, and these complete it.
func TestStorages_rotatedWhileUploading(t *testing.T) {
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
	parts := [][]byte{bytes.Repeat([]byte("a"), 5<<20), bytes.Repeat([]byte("b"), 5<<20), []byte("end")}
	var uploaded []controller.UploadedPart
	var sums [][32]byte
	var size int64
	id, err := openStorage(t, storages, former).CreateUpload(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	sign := func(a controller.StorageAccess, n int) wire.Grant {
		t.Helper()
		sum := sha256.Sum256(parts[n-1])
		g, err := openStorage(t, storages, a).SignPart(t.Context(), "k", id, wire.PartRequest{Object: wire.ObjectArtifact, Number: n, Size: int64(len(parts[n-1])), SHA256: sum[:]}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	send := func(g wire.Grant, n int) int {
		t.Helper()
		resp, _ := fetch(t, g.Method, g.URL, g.Headers, parts[n-1])
		if resp.StatusCode == http.StatusOK {
			sum := sha256.Sum256(parts[n-1])
			uploaded = append(uploaded, controller.UploadedPart{Number: n, Size: int64(len(parts[n-1])), SHA256: sum[:], ETag: resp.Header.Get("ETag")})
			sums, size = append(sums, sum), size+int64(len(parts[n-1]))
		}
		return resp.StatusCode
	}
	second := sign(former, 2)
	if c := send(sign(former, 1), 1); c != http.StatusOK {
		t.Fatalf("part 1: %d", c)
	}
	openStorage(t, storages, latter) // the change
	if c := send(second, 2); c != http.StatusOK {
		t.Fatalf("part 2 by a URL of the old keys: %d", c)
	}
	third := sign(former, 3)
	if err := s.DeleteUser(t.Context(), "formeraccess"); err != nil {
		t.Fatal(err)
	}
	if c := send(third, 3); c != http.StatusForbidden {
		t.Fatalf("part 3 by a URL of keys that are gone: %d", c)
	}
	if c := send(sign(latter, 3), 3); c != http.StatusOK {
		t.Fatalf("part 3 by the new keys: %d", c)
	}
	outcome, obj, err := openStorage(t, storages, latter).Settle(t.Context(), "k", id, uploaded, size, artifact.CompositeSHA256(sums))
	if err != nil || outcome != fleet.SettleDone || obj.StoredSize != size {
		t.Errorf("%s %+v %v", outcome, obj, err)
	}
}

// The file's authorities are trusted beside the system's.
func TestStorageRoots(t *testing.T) {
	s := s3kit.StartWith(t, s3kit.Options{TLS: true})
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, s.CA, 0o600); err != nil {
		t.Fatal(err)
	}
	roots, err := app.StorageRoots(file)
	if err != nil {
		t.Fatal(err)
	}
	a := access(s, s.Endpoint)
	a.ID = 0 // few retries
	if res, err := app.NewStorages(hclog.NewNullLogger(), nil).Probe(t.Context(), a, ""); err != nil || res.OK || !strings.Contains(res.Summary, "certificate") {
		t.Errorf("without the file: %+v, %v", res, err)
	}
	if res, err := app.NewStorages(hclog.NewNullLogger(), roots).Probe(t.Context(), a, ""); err != nil || !res.OK {
		t.Errorf("with the file: %+v, %v", res, err)
	}
	system, err := x509.SystemCertPool()
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(s.CA)
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if system.AddCert(ca); !roots.Equal(system) {
		t.Error("the pool is not the system's with the file's")
	}
	if roots, err := app.StorageRoots(""); roots != nil || err != nil {
		t.Errorf("without a file: %v, %v", roots, err)
	}
	for text, says := range map[string]string{"": "does not exist", "no certificate\n": "holds no PEM certificate"} {
		path := filepath.Join(t.TempDir(), "other.pem")
		if text != "" {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := app.StorageRoots(path); err == nil || !strings.Contains(err.Error(), "storage_ca_file") {
			t.Errorf("%q: %v", text, err)
		}
		c := configuration(t)
		c.StorageCAFile = path
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "storage_ca_file: "+path) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v; want %q", text, err, says)
		}
	}
	// A controller starts with it.
	c := configuration(t)
	c.StorageCAFile = file
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	run(t, c)
}
