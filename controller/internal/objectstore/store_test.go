package objectstore_test

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller/internal/objectstore"
	"devflowbackup/shared/testkit/s3kit"
)

// config is a storage on s with quick retries.
func config(s *s3kit.Server, endpoint string) objectstore.Config {
	return objectstore.Config{
		Endpoint: endpoint, Region: s.Region, Bucket: s.Bucket, Prefix: "pre/fix", AccessKey: s.AccessKey, SecretKey: s.SecretKey,
		ConditionalPut: true, ConditionalComplete: true, ConditionalRead: true, MaxBackoff: 10 * time.Millisecond, Timeout: 20 * time.Second,
		LostAfter: 300 * time.Millisecond,
	}
}

func open(t *testing.T, cfg objectstore.Config) *objectstore.Store {
	t.Helper()
	st, err := objectstore.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.Close)
	return st
}

// world is a server, a proxy in front of it and a store that speaks through the proxy.
type world struct {
	*s3kit.Server
	proxy *s3kit.FaultProxy
	store *objectstore.Store
	cfg   objectstore.Config
}

func newWorld(t *testing.T, change ...func(*objectstore.Config)) *world {
	t.Helper()
	s := s3kit.Start(t)
	p := s3kit.StartProxy(t, s)
	cfg := config(s, p.Endpoint)
	for _, c := range change {
		c(&cfg)
	}
	return &world{s, p, open(t, cfg), cfg}
}

// upload is a multipart upload with all parts sent.
type upload struct {
	key, id string
	data    []byte
	parts   []objectstore.Part
	want    objectstore.Want
}

func bodyOf(b []byte) objectstore.Body {
	return objectstore.Body{Size: int64(len(b)), SHA256: sha256.Sum256(b), MD5: md5.Sum(b)}
}

// send makes a presigned request as an agent does.
func send(t *testing.T, req objectstore.PresignedRequest, body []byte) (int, http.Header, []byte, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), req.Method, req.URL, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range req.Headers {
		r.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, b, err
}

func sendPart(t *testing.T, st *objectstore.Store, key, id string, n int, b []byte) objectstore.Part {
	t.Helper()
	req, err := st.PresignPart(t.Context(), key, id, n, bodyOf(b), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	status, h, text, err := send(t, req, b)
	if err != nil || status != http.StatusOK {
		t.Fatalf("part %d: %d %s %v", n, status, text, err)
	}
	p := objectstore.Part{Number: n, ETag: strings.Trim(h.Get("ETag"), `"`), SHA256: sha256.Sum256(b)}
	if st.Checksum() == objectstore.ChecksumMD5 {
		p.MD5 = md5.Sum(b)
	}
	return p
}

func randomBytes(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b)
	return b
}

// newUpload sends a 5 MiB part and a small one.
func newUpload(t *testing.T, st *objectstore.Store, key string) *upload {
	t.Helper()
	id, err := st.CreateUpload(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	u := &upload{key: key, id: id, data: randomBytes(uint64(len(key)), 5<<20+1234)}
	for i, b := range [][]byte{u.data[:5<<20], u.data[5<<20:]} {
		u.parts = append(u.parts, sendPart(t, st, key, id, i+1, b))
	}
	u.want = objectstore.Want{Size: int64(len(u.data)), CompositeSHA256: objectstore.CompositeSHA256(u.parts)}
	return u
}

// mustSettle settles, again while the outcome is Retry, and checks the outcome.
func (u *upload) mustSettle(t *testing.T, st *objectstore.Store, want objectstore.Outcome) (objectstore.ObjectInfo, error) {
	t.Helper()
	o, info, err := st.Settle(t.Context(), u.key, u.id, u.parts, u.want)
	for try := 0; o == objectstore.Retry && want != objectstore.Retry && try < 20; try++ {
		o, info, err = st.Settle(t.Context(), u.key, u.id, u.parts, u.want)
	}
	if o != want {
		t.Fatalf("outcome %s (%v), want %s", o, err, want)
	}
	if (err == nil) != (o == objectstore.Done) {
		t.Fatalf("outcome %s with error %v", o, err)
	}
	return info, err
}

func fired(t *testing.T, r *s3kit.Rule) {
	t.Helper()
	if r.Fired() == 0 {
		t.Fatal("the fault did not fire")
	}
}

// used asserts that a profile has done what it is for.
func used(t *testing.T, profiles ...*s3kit.Profile) {
	t.Helper()
	for _, p := range profiles {
		if p.Fired() == 0 {
			t.Fatalf("the profile %q was not met", p)
		}
	}
}

// wantErr checks kind and that the text names all of what.
func wantErr(t *testing.T, err, kind error, what ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("error %v, want %v", err, kind)
	}
	for _, w := range what {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not name %q", err, w)
		}
	}
}

func TestNew_BadConfig(t *testing.T) {
	good := objectstore.Config{Endpoint: "https://s3.example.com", Bucket: "b", AccessKey: "k", SecretKey: "s"}
	for _, tc := range []struct {
		name   string
		change func(*objectstore.Config)
		names  string
	}{
		{"no bucket", func(c *objectstore.Config) { c.Bucket = "" }, "bucket"},
		{"no key", func(c *objectstore.Config) { c.SecretKey = "" }, "secret key"},
		{"endpoint without scheme", func(c *objectstore.Config) { c.Endpoint = "s3.example.com" }, "endpoint"},
		{"endpoint with password", func(c *objectstore.Config) { c.Endpoint = "https://u:hunter2@s3.example.com" }, "endpoint"},
		{"both styles", func(c *objectstore.Config) { c.PathStyle, c.VirtualHosted = true, true }, "path style"},
		{"checksum", func(c *objectstore.Config) { c.Checksum = "crc" }, "sha256, md5"},
		{"certificate", func(c *objectstore.Config) { c.CACert = []byte("no") }, "PEM"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := good
			tc.change(&cfg)
			_, err := objectstore.New(cfg)
			if err == nil || !strings.Contains(err.Error(), tc.names) || strings.Contains(err.Error(), "hunter2") {
				t.Fatalf("error %v", err)
			}
		})
	}
	st := open(t, good)
	if st.Insecure() {
		t.Error("https is called insecure")
	}
	for endpoint, want := range map[string]bool{"http://127.0.0.1:9": false, "http://localhost:9": false, "http://10.0.0.1:9": true, "http://store.example.com": true} {
		good.Endpoint = endpoint
		if got := open(t, good).Insecure(); got != want {
			t.Errorf("Insecure of %s: %v, want %v", endpoint, got, want)
		}
	}
}

func TestStore_RefusesMetadataAddress(t *testing.T) {
	st := open(t, objectstore.Config{Endpoint: "http://169.254.169.254", Bucket: "b", AccessKey: "k", SecretKey: "s", MaxAttempts: 1})
	_, err := st.Head(t.Context(), "x")
	wantErr(t, err, objectstore.ErrUnavailable, "link-local")
}

func TestStore_Key(t *testing.T) {
	st := open(t, objectstore.Config{Endpoint: "https://s3.example.com", Bucket: "b", AccessKey: "k", SecretKey: "s", Prefix: "/a/b/"})
	if got := st.Key("backups", "2026/01/02", "x"); got != "a/b/backups/2026/01/02/x" {
		t.Fatal(got)
	}
}

// Credentials that do not work give an error that names the thing and what to do, and never the secret.
func TestErrors_NameTheThing(t *testing.T) {
	s := s3kit.Start(t)
	if err := s.CreateUser(t.Context(), "otheruser", "othersecret"); err != nil {
		t.Fatal(err)
	}
	free := "http://127.0.0.1:1"
	calls := map[string]func(*objectstore.Store) error{
		"create": func(st *objectstore.Store) error { _, err := st.CreateUpload(t.Context(), "some/key"); return err },
		"put": func(st *objectstore.Store) error {
			_, err := st.Put(t.Context(), "some/key", []byte("x"), "text/plain")
			return err
		},
		"get":    func(st *objectstore.Store) error { _, err := st.Get(t.Context(), "some/key", 10); return err },
		"delete": func(st *objectstore.Store) error { return st.DeleteAllVersions(t.Context(), "some/key") },
		"exists": func(st *objectstore.Store) error {
			_, err := st.UploadExists(t.Context(), "some/key", "id")
			return err
		},
		"gone": func(st *objectstore.Store) error { _, err := st.Gone(t.Context(), "some/key"); return err },
		"list": func(st *objectstore.Store) error { _, err := st.ListUploads(t.Context(), "some/key"); return err },
		"settle": func(st *objectstore.Store) error {
			p := []objectstore.Part{{Number: 1, ETag: "x"}}
			o, _, err := st.Settle(t.Context(), "some/key", "id", p, objectstore.Want{CompositeSHA256: objectstore.CompositeSHA256(p)})
			if o != objectstore.Retry {
				return fmt.Errorf("outcome %s: %w", o, err)
			}
			return err
		},
	}
	for _, tc := range []struct {
		name   string
		change func(*objectstore.Config)
		kind   error
		names  []string
	}{
		{"denied", func(c *objectstore.Config) { c.AccessKey, c.SecretKey = "otheruser", "othersecret" }, objectstore.ErrDenied, []string{"some/key", s.Bucket, "permission s3:"}},
		{"unknown key", func(c *objectstore.Config) { c.AccessKey = "nobodyatall" }, objectstore.ErrDenied, []string{"some/key", "access key"}},
		{"wrong secret", func(c *objectstore.Config) { c.SecretKey = "thewrongsecret" }, objectstore.ErrDenied, []string{"some/key", "secret key"}},
		{"missing bucket", func(c *objectstore.Config) { c.Bucket = "nosuchbucket" }, objectstore.ErrNoSuchBucket, []string{"create bucket \"nosuchbucket\""}},
		{"unreachable", func(c *objectstore.Config) { c.Endpoint, c.MaxAttempts = free, 2 }, objectstore.ErrUnavailable, []string{"some/key", free, "refused"}},
		{"clock", func(c *objectstore.Config) { c.Now = func() time.Time { return time.Now().Add(20 * time.Minute) } }, objectstore.ErrClockSkew, []string{"behind ours", "NTP"}},
	} {
		for name, call := range calls {
			t.Run(tc.name+"/"+name, func(t *testing.T) {
				cfg := config(s, s.Endpoint)
				tc.change(&cfg)
				err := call(open(t, cfg))
				wantErr(t, err, tc.kind, tc.names...)
				for _, secret := range []string{cfg.SecretKey, "Signature="} {
					if strings.Contains(err.Error(), secret) {
						t.Errorf("error %q holds a secret", err)
					}
				}
			})
		}
	}
}
