package objectstore_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller/internal/objectstore"
	"devflowbackup/shared/testkit/s3kit"
)

func stepOf(t *testing.T, r *objectstore.ProbeReport, name string) objectstore.Step {
	t.Helper()
	for _, s := range r.Steps {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no step %q in %+v", name, r.Steps)
	return objectstore.Step{}
}

// wantEmpty checks on the server's disk that the probe left no object and no upload.
func wantEmpty(t *testing.T, s *s3kit.Server) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(s.Dir, "data", s.Bucket), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			t.Errorf("the probe left %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestProbe_Good(t *testing.T) {
	for _, versioned := range []bool{false, true} {
		s := s3kit.StartWith(t, s3kit.Options{Versioned: versioned})
		cfg := config(s, s.Endpoint)
		r := open(t, cfg).Probe(t.Context())
		if err := r.Err(); err != nil {
			t.Fatal(err)
		}
		for _, st := range r.Steps {
			t.Logf("%-18s %v %4d ms  %s", st.Name, st.OK, st.Millis, st.Detail)
			if !st.OK || st.Detail == "" {
				t.Errorf("step %+v", st)
			}
		}
		want := objectstore.Capabilities{
			SHA256: true, ContentMD5: true, CompositeInHead: true, MultipartETagMD5: true, ConditionalRead: true, ConditionalPut: true,
			ConditionalComplete: true, Versioning: versioned, MaxParts: 10_000, PrefixUploadListing: true,
		}
		if r.Capabilities != want {
			t.Errorf("found %+v, want %+v", r.Capabilities, want)
		}
		if r.ClockSkew.Abs() > 2*time.Second {
			t.Errorf("clock skew %s", r.ClockSkew)
		}
		if got := r.Capabilities.Configure(cfg); got.Checksum != objectstore.ChecksumSHA256 || !got.ConditionalPut || !got.ConditionalComplete {
			t.Errorf("configured %+v", got)
		}
		wantEmpty(t, s)
	}
}

func TestProbe_ObjectLock(t *testing.T) {
	s := s3kit.StartWith(t, s3kit.Options{ObjectLock: true})
	r := open(t, config(s, s.Endpoint)).Probe(t.Context())
	if err := r.Err(); err != nil || !r.Capabilities.ObjectLock || !r.Capabilities.Versioning {
		t.Fatalf("%v %+v", err, r.Capabilities)
	}
}

func TestProbe_Bad(t *testing.T) {
	s := s3kit.Start(t)
	if err := s.CreateUser(t.Context(), "otheruser", "othersecret"); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		change func(*objectstore.Config)
		kind   error
		step   string
		names  []string
	}{
		{"denied", func(c *objectstore.Config) { c.AccessKey, c.SecretKey = "otheruser", "othersecret" }, objectstore.ErrDenied, "list", []string{"s3:ListBucket", s.Bucket}},
		{"unknown key", func(c *objectstore.Config) { c.AccessKey = "nobodyatall" }, objectstore.ErrDenied, "list", []string{"access key"}},
		{"wrong secret", func(c *objectstore.Config) { c.SecretKey = "thewrongsecret" }, objectstore.ErrDenied, "list", []string{"secret key"}},
		{"missing bucket", func(c *objectstore.Config) { c.Bucket = "nosuchbucket" }, objectstore.ErrNoSuchBucket, "list", []string{"nosuchbucket"}},
		{"unreachable", func(c *objectstore.Config) { c.Endpoint, c.MaxAttempts = "http://127.0.0.1:1", 2 }, objectstore.ErrUnavailable, "list", []string{"127.0.0.1:1"}},
		{"clock ahead", func(c *objectstore.Config) { c.Now = func() time.Time { return time.Now().Add(20 * time.Minute) } }, objectstore.ErrClockSkew, "list", []string{"behind ours"}},
		{"clock a little ahead", func(c *objectstore.Config) { c.Now = func() time.Time { return time.Now().Add(10 * time.Minute) } }, objectstore.ErrClockSkew, "clock", []string{"behind ours"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := config(s, s.Endpoint)
			tc.change(&cfg)
			r := open(t, cfg).Probe(t.Context())
			wantErr(t, r.Err(), tc.kind, append(tc.names, "step "+tc.step)...)
			if st := stepOf(t, r, tc.step); st.OK || st.Hint == "" {
				t.Errorf("step %+v", st)
			}
			for _, st := range r.Steps {
				if strings.Contains(st.Detail+st.Hint, cfg.SecretKey) {
					t.Errorf("step %+v holds the secret", st)
				}
			}
			if strings.HasPrefix(tc.name, "clock") && (r.ClockSkew > -9*time.Minute || r.ClockSkew < -21*time.Minute) {
				t.Errorf("clock skew %s", r.ClockSkew)
			}
			wantEmpty(t, s)
		})
	}
}

// hasHeader matches requests with one of the headers.
func hasHeader(names ...string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		for _, n := range names {
			if r.Header.Get(n) != "" {
				return true
			}
		}
		return false
	}
}

// A store that refuses x-amz-checksum-sha256 (Backblaze B2) is used with Content-MD5.
func TestProbe_WithoutSHA256(t *testing.T) {
	w := newWorld(t)
	r := w.proxy.Add(&s3kit.Rule{Match: hasHeader("X-Amz-Checksum-Sha256", "X-Amz-Checksum-Algorithm"), Action: s3kit.Status(400, "InvalidArgument")})
	report := w.store.Probe(t.Context())
	fired(t, r)
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	c := report.Capabilities
	if c.SHA256 || !c.ContentMD5 || c.CompositeInHead || !c.MultipartETagMD5 || !c.ConditionalPut {
		t.Fatalf("found %+v", c)
	}
	st := open(t, c.Configure(w.cfg))
	u := newUpload(t, st, "k")
	u.mustSettle(t, st, objectstore.Done)
}

// A store that knows SHA-256 on PUT only.
func TestProbe_NoSHA256ForParts(t *testing.T) {
	w := newWorld(t)
	r := w.proxy.Add(&s3kit.Rule{Match: s3kit.And(s3kit.Op("UploadPart"), hasHeader("X-Amz-Checksum-Sha256")), Action: s3kit.Status(400, "InvalidArgument")})
	report := w.store.Probe(t.Context())
	fired(t, r)
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	if report.Capabilities.SHA256 || !report.Capabilities.ContentMD5 {
		t.Fatalf("found %+v", report.Capabilities)
	}
	wantEmpty(t, w.Server)
}

// A store that checks neither is refused.
func TestProbe_WithoutAnyChecksum(t *testing.T) {
	w := newWorld(t)
	r := w.proxy.Add(&s3kit.Rule{Match: s3kit.Op("PutObject"), Action: func(x *s3kit.Exchange) {
		x.W.Header().Set("ETag", `"0123"`)
		x.W.WriteHeader(http.StatusOK)
	}})
	report := w.store.Probe(t.Context())
	fired(t, r)
	wantErr(t, report.Err(), objectstore.ErrUnsupported, "checksum headers", "neither")
}

// A store that ignores conditions and high part numbers is used without them.
func TestProbe_FewerCapabilities(t *testing.T) {
	w := newWorld(t)
	conditions := w.proxy.Add(&s3kit.Rule{Match: hasHeader("If-None-Match"), Action: s3kit.Status(501, "NotImplemented")})
	parts := w.proxy.Add(&s3kit.Rule{Match: func(r *http.Request) bool { return r.URL.Query().Get("partNumber") == "10000" }, Action: s3kit.Status(400, "InvalidArgument")})
	locks := w.proxy.Inject("GetObjectLockConfiguration", 0, s3kit.Status(501, "NotImplemented"))
	report := w.store.Probe(t.Context())
	for _, r := range []*s3kit.Rule{conditions, parts, locks} {
		fired(t, r)
	}
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	if c := report.Capabilities; c.ConditionalPut || c.ConditionalComplete || c.MaxParts != 1000 {
		t.Fatalf("found %+v", c)
	}
	wantEmpty(t, w.Server)
}

func TestProbe_Lifecycle(t *testing.T) {
	w := newWorld(t)
	doc := `<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<Rule><ID>all</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter><Expiration><Days>30</Days></Expiration></Rule>
<Rule><ID>ours</ID><Status>Enabled</Status><Filter><Prefix>pre/fix/backups/</Prefix></Filter><AbortIncompleteMultipartUpload><DaysAfterInitiation>2</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>
<Rule><ID>old style</ID><Status>Enabled</Status><Prefix>pre</Prefix><NoncurrentVersionExpiration><NoncurrentDays>5</NoncurrentDays></NoncurrentVersionExpiration></Rule>
<Rule><ID>tagged</ID><Status>Enabled</Status><Filter><And><Prefix>pre/</Prefix><Tag><Key>a</Key><Value>b</Value></Tag></And></Filter><Transition><Days>9</Days><StorageClass>GLACIER</StorageClass></Transition></Rule>
<Rule><ID>elsewhere</ID><Status>Enabled</Status><Filter><Prefix>logs/</Prefix></Filter><Expiration><Days>1</Days></Expiration></Rule>
<Rule><ID>off</ID><Status>Disabled</Status><Filter><Prefix></Prefix></Filter><Expiration><Days>1</Days></Expiration></Rule>
</LifecycleConfiguration>`
	r := w.proxy.Inject("GetBucketLifecycleConfiguration", 0, func(x *s3kit.Exchange) {
		x.W.WriteHeader(http.StatusOK)
		_, _ = x.W.Write([]byte(doc))
	})
	report := w.store.Probe(t.Context())
	fired(t, r)
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	want := []objectstore.ExpiryRule{
		{ID: "all", Days: 30}, {ID: "ours", Prefix: "pre/fix/backups/", AbortDays: 2}, {ID: "old style", Prefix: "pre", NoncurrentDays: 5}, {ID: "tagged", Prefix: "pre/", ArchiveDays: 9},
	}
	if len(report.Lifecycle) != len(want) {
		t.Fatalf("rules %+v", report.Lifecycle)
	}
	for i := range want {
		if report.Lifecycle[i] != want[i] {
			t.Errorf("rule %+v, want %+v", report.Lifecycle[i], want[i])
		}
	}
	if len(report.Warnings) != 1 || !strings.Contains(report.Warnings[0], `"all"`) {
		t.Errorf("warnings %q", report.Warnings)
	}
}

// Delete denied: the step fails and says so, and what comes before it is reported all the same.
func TestProbe_DeleteDenied(t *testing.T) {
	w := newWorld(t)
	r := w.proxy.Inject("DeleteObject", 0, s3kit.Status(403, "AccessDenied"))
	report := w.store.Probe(t.Context())
	fired(t, r)
	wantErr(t, report.Err(), objectstore.ErrDenied, "step delete", "s3:DeleteObject")
	if !stepOf(t, report, "multipart").OK {
		t.Error("multipart failed too")
	}
}

// A probe that is cancelled removes what it wrote.
func TestProbe_Cancelled(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	gate := s3kit.NewGate()
	defer gate.Open()
	r := w.proxy.Inject("CompleteMultipartUpload", 1, gate.HoldRequest())
	go func() { <-gate.Arrived(); cancel() }()
	report := w.store.Probe(ctx)
	fired(t, r)
	if report.Err() == nil {
		t.Fatal("no error")
	}
	if !stepOf(t, report, "delete").OK {
		t.Fatalf("%+v", report.Steps)
	}
	wantEmpty(t, w.Server)
}
