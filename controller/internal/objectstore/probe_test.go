package objectstore_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
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
		{"clock a little ahead", func(c *objectstore.Config) { c.Now = func() time.Time { return time.Now().Add(10 * time.Minute) } }, objectstore.ErrClockSkew, "clock skew", []string{"behind ours"}},
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

func TestProbe_Lifecycle(t *testing.T) {
	w := newWorld(t)
	doc := `<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<Rule><ID>all</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter><Expiration><Days>30</Days></Expiration></Rule>
<Rule><ID>ours</ID><Status>Enabled</Status><Filter><Prefix>pre/fix/backups/</Prefix></Filter><AbortIncompleteMultipartUpload><DaysAfterInitiation>2</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>
<Rule><ID>old style</ID><Status>Enabled</Status><Prefix>pre</Prefix><NoncurrentVersionExpiration><NoncurrentDays>5</NoncurrentDays></NoncurrentVersionExpiration></Rule>
<Rule><ID>tagged</ID><Status>Enabled</Status><Filter><And><Prefix>pre/</Prefix><Tag><Key>a</Key><Value>b</Value></Tag></And></Filter><Transition><Days>3</Days><StorageClass>STANDARD_IA</StorageClass></Transition><Transition><Days>9</Days><StorageClass>GLACIER</StorageClass></Transition></Rule>
<Rule><ID>elsewhere</ID><Status>Enabled</Status><Filter><Prefix>logs/</Prefix></Filter><Expiration><Days>1</Days></Expiration></Rule>
<Rule><ID>off</ID><Status>Disabled</Status><Filter><Prefix></Prefix></Filter><Expiration><Days>1</Days></Expiration></Rule>
</LifecycleConfiguration>`
	rules := s3kit.Lifecycle(doc)
	w.proxy.Use(rules)
	report := w.store.Probe(t.Context())
	used(t, rules)
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
	if len(report.Warnings) != 2 || !strings.Contains(report.Warnings[0], `"all" removes objects under "" after 30 days`) ||
		!strings.Contains(report.Warnings[1], `"tagged" archives objects under "pre/" after 9 days`) {
		t.Errorf("warnings %q", report.Warnings)
	}
}

// The probe tries all of this, and each step is measured.
func TestProbe_Millis(t *testing.T) {
	w := newWorld(t)
	slow := w.proxy.Add(&s3kit.Rule{Action: s3kit.Delay(15 * time.Millisecond)})
	report := w.store.Probe(t.Context())
	fired(t, slow)
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, st := range report.Steps {
		names = append(names, st.Name)
		// Clocks are compared by what the step before it saw.
		if st.Name != "clock skew" && (st.Millis < 15 || st.Millis > 20_000) {
			t.Errorf("step %s took %d ms", st.Name, st.Millis)
		}
	}
	want := []string{
		"list", "clock skew", "checksum headers", "write", "read", "multipart", "part limits", "conditional reads", "conditional writes",
		"list uploads", "versions", "lock", "lifecycle rules", "delete",
	}
	if !slices.Equal(names, want) {
		t.Errorf("steps %q, want %q", names, want)
	}
}

// A store without locks, versions and lifecycle rules says 501 to questions about them.
func TestProbe_NotImplemented(t *testing.T) {
	w := newWorld(t)
	var asked []*s3kit.Rule
	for _, op := range []string{"GetObjectLockConfiguration", "GetBucketVersioning", "GetBucketLifecycleConfiguration", "ListObjectVersions"} {
		asked = append(asked, w.proxy.Inject(op, 0, s3kit.Status(501, "NotImplemented")))
	}
	report := w.store.Probe(t.Context())
	for _, r := range asked {
		fired(t, r)
	}
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	for _, st := range report.Steps {
		if !st.OK {
			t.Errorf("step %+v", st)
		}
	}
	if report.Capabilities.ObjectLock || report.Capabilities.Versioning || len(report.Lifecycle) != 0 {
		t.Errorf("found %+v", report.Capabilities)
	}
	wantEmpty(t, w.Server)
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
