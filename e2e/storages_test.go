package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/testkit/s3kit"
)

// storage is what tests look at of a storage.
type storage struct {
	ID           int64
	Name         string
	Kind         string
	Prefix       string
	ProjectID    *int64 `json:"project_id"`
	IsDefault    bool   `json:"is_default"`
	ChecksumMode string `json:"checksum_mode"`
	ProbeOK      bool   `json:"probe_ok"`
	SameHost     bool   `json:"same_host"`
	Backups      int64
	UsedBytes    int64 `json:"used_bytes"`
	Probe        struct {
		Steps        []probeStep
		Warnings     []string
		Capabilities struct {
			MaxParts int `json:"max_parts"`
		}
	}
}

type probeStep struct {
	Name   string
	OK     bool
	Millis int64
	Detail string
}

// threeParts of random data are uploaded in three parts.
const threeParts = 20 << 20

// storageArgs is the command that adds a bucket as a storage that is no default.
func storageArgs(name string, s3 *stack.S3, more ...string) []string {
	args := slices.DeleteFunc(stack.StorageArgs(name, s3), func(a string) bool { return a == "--default" })
	return append(args, more...)
}

// TestStorages has several stores of one installation, of all projects and of one, and changes them while they are used.
func TestStorages(t *testing.T) {
	t.Parallel()
	w := newLocalWorld(t, faultOptions{big: threeParts})
	ctx := faultContext(t)
	two, err := w.StartS3(ctx, "s3-two", stack.S3Options{Bucket: "second-bucket"})
	if err != nil {
		t.Fatal(err)
	}
	makeDatabase(t, ctx, w.postgres, "rivals")
	do(t, ctx, w.ctl, "project", "create", "rival")
	do(t, ctx, w.ctl, "project", "grant", "rival", "db1")
	found(t, ctx, w.ctl, "db1", "rivals")
	do(t, ctx, w.ctl, "database", "assign", "rivals", "--project", "rival", "--on", "db1")
	do(t, ctx, w.ctl, storageArgs("second", two, "--prefix", "team/one")...)
	do(t, ctx, w.ctl, storageArgs("own", w.s3, "--prefix", "shops", "--project", "shop")...)
	s := storages{w, two}

	t.Run("the default of project and installation", func(t *testing.T) { s.defaults(t, faultContext(t)) })
	t.Run("a storage is its project's alone", func(t *testing.T) { s.foreign(t, faultContext(t)) })
	t.Run("one place is one storage", func(t *testing.T) { s.overlap(t, faultContext(t)) })
	t.Run("the probe tells each step with its time", func(t *testing.T) { s.probed(t, faultContext(t)) })
	t.Run("the limits of a host's own directory are shown", func(t *testing.T) { s.limits(t, faultContext(t)) })
	t.Run("credentials changed while a backup runs", func(t *testing.T) { s.rotated(t, faultContext(t)) })
	t.Run("what is wrong is not changed to", func(t *testing.T) { s.wrongChange(t, faultContext(t)) })
	t.Run("a storage with backups stays", func(t *testing.T) { s.removed(t, faultContext(t)) })

	in := stack.Invariants{
		Catalog: w.catalog, Client: w.ctl, S3: w.s3, Buckets: map[string]*stack.S3{"second": two}, Agents: []*stack.Agent{w.agent}, Databases: w.servers,
	}
	if err := in.Check(faultContext(t)); err != nil {
		t.Errorf("invariants: %v", err)
	}
}

type storages struct {
	*faultWorld
	two *stack.S3
}

// lies checks in which storage a new backup of the project lies, and under which prefix in which bucket.
func (s storages) lies(t *testing.T, ctx context.Context, project, database, storage, prefix string, more ...string) fullBackup {
	t.Helper()
	b := backUp(t, ctx, s.ctl, project, database, more...)
	var full fullBackup
	if err := s.ctl.API(ctx, http.MethodGet, "/backups/"+id(b.ID), nil, &full); err != nil {
		t.Fatal(err)
	}
	if full.Storage != storage || !strings.HasPrefix(full.FilePath, prefix+"backups/") {
		t.Errorf("it lies in %s at %s, not in %s below %q", full.Storage, full.FilePath, storage, prefix)
	}
	bucket := map[string]*stack.S3{"store": s.s3, "own": s.s3, "second": s.two}[storage]
	if sum, size, err := bucket.Sum(ctx, full.FilePath); err != nil || sum != b.Checksum || size != b.FileSize {
		t.Errorf("the bucket of %s has %d bytes with %s, %v", storage, size, sum, err)
	}
	return full
}

func (s storages) defaults(t *testing.T, ctx context.Context) {
	s.lies(t, ctx, "shop", small, "store", "")
	s.lies(t, ctx, "shop", small, "own", "shops/", "--storage", "own")
	s.lies(t, ctx, "shop", small, "second", "team/one/", "--storage", "second")
	do(t, ctx, s.ctl, "storage", "default", "own") // of its project
	s.lies(t, ctx, "shop", small, "own", "shops/")
	s.lies(t, ctx, "rival", "rivals", "store", "")
	do(t, ctx, s.ctl, "storage", "default", "second") // of the installation
	s.lies(t, ctx, "shop", small, "own", "shops/")
	s.lies(t, ctx, "rival", "rivals", "second", "team/one/")
	do(t, ctx, s.ctl, "project", "update", "shop", "--storage", "store") // the project's own choice
	s.lies(t, ctx, "shop", small, "store", "")
	for name, want := range map[string]bool{"store": false, "own": true, "second": true} {
		if st := read[storage](t, ctx, s.ctl, "storage", "show", name); st.IsDefault != want || st.Backups == 0 || st.UsedBytes == 0 {
			t.Errorf("storage %s is %+v", name, st)
		}
	}
	do(t, ctx, s.ctl, "storage", "default", "store")
	do(t, ctx, s.ctl, "project", "update", "shop", "--storage", "")
}

func (s storages) foreign(t *testing.T, ctx context.Context) {
	refused(t, ctx, s.ctl, 1, []string{`"own"`, "does not exist"}, "backup", "create", "rival", "--database", "rivals", "--storage", "own", "--wait")
	token := read[struct{ Token string }](t, ctx, s.ctl, "token", "create", "rivals-panel", "--permission", "all", "--project", "rival").Token
	rival, err := s.controllers[0].ClientWith("rivals-panel", token)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, st := range read[[]storage](t, ctx, rival, "storage", "list") {
		names = append(names, st.Name)
		if st.Name == "store" && st.Backups != 1 {
			t.Errorf("of storage %s it sees %d backups, not the one that is its own", st.Name, st.Backups)
		}
	}
	if !slices.Equal(names, []string{here, "second", "store"}) {
		t.Errorf("it sees the storages %v", names)
	}
	for _, args := range [][]string{
		{"storage", "show", "own"},
		{"storage", "probe", "own"},
		{"storage", "remove", "own"},
		{"storage", "edit", "own", "--name", "taken"},
		{"storage", "default", "own"},
	} {
		refused(t, ctx, rival, 1, []string{`"own"`, "does not exist"}, args...)
	}
	// Those of all projects are the installation's to change.
	refused(t, ctx, rival, 1, []string{"whole installation"}, "storage", "remove", "store")
	refused(t, ctx, rival, 1, []string{"whole installation"}, "storage", "default", "second")
	refused(t, ctx, rival, 1, []string{"whole installation"}, "storage", "edit", "store", "--region", "eu-1")
}

func (s storages) overlap(t *testing.T, ctx context.Context) {
	refused(t, ctx, s.ctl, 1, []string{"store", "another prefix"}, storageArgs("again", s.s3)...)
	refused(t, ctx, s.ctl, 1, []string{"own", "another prefix"}, storageArgs("again", s.s3, "--prefix", "shops/")...)
	refused(t, ctx, s.ctl, 1, []string{`"second"`, "exists already"}, storageArgs("second", s.s3, "--prefix", "elsewhere")...)
	refused(t, ctx, s.ctl, 2, []string{"prefix", ".."}, storageArgs("again", s.s3, "--prefix", "a/../b")...)
}

func (s storages) probed(t *testing.T, ctx context.Context) {
	says(t, ctl(t, ctx, s.ctl, "storage", "probe", "store"), 0, "STEP", "RESULT", "MS", "list", "write", "read", "delete", "multipart")
	rule := s.s3.Proxy.Inject("PutObject", 1, s3kit.Delay(50*time.Millisecond))
	st := read[storage](t, ctx, s.ctl, "storage", "probe", "store")
	if !slices.ContainsFunc(st.Probe.Steps, func(p probeStep) bool { return p.Millis >= 50 }) || rule.Fired() != 1 || len(st.Probe.Steps) < 8 {
		t.Errorf("the store was slow %d times, and the steps are %+v", rule.Fired(), st.Probe.Steps)
	}
	s.s3.Proxy.Reset()

	// A store that refuses to write does not pass, and is not used before it does.
	rule = s.s3.Proxy.Inject("PutObject", 0, s3kit.Status(403, "AccessDenied"))
	says(t, ctl(t, ctx, s.ctl, "storage", "probe", "store"), 1, "write", "FAILED", "AccessDenied")
	if rule.Fired() == 0 {
		t.Error("the fault did not fire")
	}
	s.s3.Proxy.Reset()
	refused(t, ctx, s.ctl, 1, []string{`"store"`, "failed its last probe", "storage probe"}, "backup", "create", "shop", "--database", small, "--storage", "store")
	do(t, ctx, s.ctl, "storage", "probe", "store")
	s.lies(t, ctx, "shop", small, "store", "", "--storage", "store")
}

func (s storages) limits(t *testing.T, ctx context.Context) {
	for _, args := range [][]string{{"storage", "show", here}, {"storage", "list"}} {
		says(t, ctl(t, ctx, s.ctl, args...), 0, "same host")
	}
	says(t, ctl(t, ctx, s.ctl, "storage", "show", here), 0, "lost with it", "only that host can verify and restore it")
	says(t, ctl(t, ctx, s.ctl, "storage", "probe", here), 0, "db1", "free", "MS", "same host")
	st := read[storage](t, ctx, s.ctl, "storage", "show", here)
	if !st.SameHost || st.Kind != "local" || !st.ProbeOK || len(st.Probe.Steps) != 1 || st.Probe.Steps[0].Name != "db1" || !st.Probe.Steps[0].OK {
		t.Errorf("the storage is %+v", st)
	}
	says(t, ctl(t, ctx, s.ctl, "server", "show", "db1"), 0, s.agent.LocalDir)
	b := backUp(t, ctx, s.ctl, "shop", small, "--storage", here)
	says(t, ctl(t, ctx, s.ctl, "backup", "show", id(b.ID)), 0, "same host")
	refused(t, ctx, s.ctl, 2, []string{"--kind local"}, storageArgs("wrong", s.s3, "--kind", "local")...)

	// A host without a directory is told so before anything is started.
	bare, err := s.NewAgent("bare", stack.AgentOptions{Servers: map[string]stack.Server{"main": s.postgres}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(bare.Enroll(ctx, s.controllers[0], "rival"), bare.StartOnline(ctx, s.controllers[0], 1)); err != nil {
		t.Fatal(err)
	}
	do(t, ctx, s.ctl, "database", "assign", "rivals", "--project", "rival", "--on", "bare")
	refused(t, ctx, s.ctl, 1, []string{`"bare"`, "storage.local.dir"}, "backup", "create", "rival", "--database", "rivals", "--on", "bare", "--storage-disk", "local")
	if err := bare.Stop(ctx); err != nil {
		t.Fatal(err)
	}
}

// account makes an account of the store and returns the flags by which a storage uses it.
func (s storages) account(t *testing.T, ctx context.Context, name string) []string {
	t.Helper()
	secret := "secret-of-" + name
	file := filepath.Join(s.Dir, "secrets", name)
	if err := errors.Join(stack.WriteFile(file, secret+"\n", 0o600), s.s3.CreateAdmin(ctx, name, secret)); err != nil {
		t.Fatal(err)
	}
	return []string{"--access-key", name, "--secret-key-file", file}
}

// rotated changes the credentials while parts signed with the old ones are on their way, and takes the old ones away: the backup
// goes on with the new ones.
func (s storages) rotated(t *testing.T, ctx context.Context) {
	edit := func(flags []string) { do(t, ctx, s.ctl, append([]string{"storage", "edit", "store"}, flags...)...) }
	edit(s.account(t, ctx, "old"))
	g, rule := s.gate(t, "UploadPart")
	b := s.order(t, ctx, big, map[string]any{"storage": "store"})
	arrived(t, ctx, g, 3)
	next := s.account(t, ctx, "new")
	s.s3.Proxy.Reset()
	edit(next)
	if err := s.s3.DeleteUser(ctx, "old"); err != nil {
		t.Fatal(err)
	}
	g.Open()
	s.completed(t, ctx, b.ID, "completed")
	s.good(t, ctx, b.ID)
	if rule.Fired() < 3 {
		t.Errorf("%d parts were on their way", rule.Fired())
	}
	if got := do(t, ctx, s.ctl, "storage", "show", "store", "--output", "json"); strings.Contains(got, "secret-of") {
		t.Error("the storage shows its secret key")
	}
	rows, err := s.catalog.Rows(ctx, "SELECT detail->>'credentials' FROM audit_log WHERE action = 'storage.update' AND subject = 'store' AND result = 'done' ORDER BY id")
	if err != nil || !slices.Equal(rows, []string{"changed", "changed"}) {
		t.Errorf("the audit log says %v, %v", rows, err)
	}
}

// wrongChange tries credentials that the store refuses, and a store that does not hold the backups.
func (s storages) wrongChange(t *testing.T, ctx context.Context) {
	before := do(t, ctx, s.ctl, "storage", "show", "store", "--output", "json")
	wrong := filepath.Join(s.Dir, "secrets", "wrong")
	if err := stack.WriteFile(wrong, "not-the-secret-of-new\n", 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, ctx, s.ctl, 1, []string{"did not pass its probe", "FAILED", "SignatureDoesNotMatch"}, "storage", "edit", "store", "--access-key", "new", "--secret-key-file", wrong)
	empty, err := s.StartS3(ctx, "s3-empty", stack.S3Options{})
	if err != nil {
		t.Fatal(err)
	}
	refused(t, ctx, s.ctl, 1, []string{"did not pass its probe", "holds the backups"}, "storage", "edit", "store", "--endpoint", empty.URL(),
		"--access-key", empty.AccessKey, "--secret-key-file", empty.SecretKeyFile)
	if after := do(t, ctx, s.ctl, "storage", "show", "store", "--output", "json"); after != before {
		t.Errorf("the storage was\n%s\nand is\n%s", before, after)
	}
	b := s.lies(t, ctx, "shop", small, "store", "", "--storage", "store")
	s.good(t, ctx, b.ID)
	objects, err := empty.Objects(ctx)
	uploads, uerr := empty.Uploads(ctx)
	if len(objects)+len(uploads) > 0 || err != nil || uerr != nil {
		t.Errorf("the probe left %v and %v, %v", objects, uploads, errors.Join(err, uerr))
	}
}

func (s storages) removed(t *testing.T, ctx context.Context) {
	refused(t, ctx, s.ctl, 1, []string{"backups are on storage", `"own"`, "delete them first"}, "storage", "remove", "own")
	all, err := s.ctl.Backups(ctx, "shop")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, b := range all {
		if strings.HasPrefix(b.FilePath, "shops/") {
			s.delete(t, ctx, b.ID)
			s.purged(t, ctx, b.ID)
			n++
		}
	}
	if n < 2 {
		t.Errorf("%d backups were on it", n)
	}
	do(t, ctx, s.ctl, "storage", "remove", "own")
	refused(t, ctx, s.ctl, 1, []string{"does not exist"}, "storage", "show", "own")
	s.lies(t, ctx, "shop", small, "store", "") // the default of the project is gone with it
}

// TestStorages_Kinds goes the whole way through stores that behave otherwise than the one that the tests have.
func TestStorages_Kinds(t *testing.T) {
	t.Parallel()
	w := newFaultWorld(t, faultOptions{big: threeParts})
	buckets := map[string]*stack.S3{}
	for _, tc := range []struct {
		name    string
		profile *s3kit.Profile
		probed  func(t *testing.T, st storage) // what the probe found
		before  func(s3 *stack.S3) *s3kit.Rule // a fault for the backup
		after   func(t *testing.T, ctx context.Context, s3 *stack.S3, p *s3kit.Profile, byProbe int)
	}{
		{"no-sha256", s3kit.NoSHA256(), func(t *testing.T, st storage) {
			if st.ChecksumMode != "md5" {
				t.Errorf("the parts are checked by %s", st.ChecksumMode)
			}
		}, nil, func(t *testing.T, _ context.Context, _ *stack.S3, p *s3kit.Profile, byProbe int) {
			if byProbe == 0 || p.Fired() != byProbe {
				t.Errorf("the store refused %d requests of the probe, and %d later", byProbe, p.Fired()-byProbe)
			}
		}},
		{"equal-parts", s3kit.EqualParts(), nil, nil, func(t *testing.T, ctx context.Context, s3 *stack.S3, p *s3kit.Profile, _ int) {
			if n := s3.Proxy.Count("UploadPart"); n < 3 || p.Fired() != 0 {
				t.Errorf("of %d parts the store refused some: %d", n, p.Fired())
			}
			unequalParts(t, ctx, s3)
			if p.Fired() != 1 {
				t.Errorf("the store took parts of different sizes: the test proves nothing")
			}
		}},
		{"max-parts", s3kit.MaxParts(1000), func(t *testing.T, st storage) {
			if st.Probe.Capabilities.MaxParts != 1000 {
				t.Errorf("the probe found %d parts", st.Probe.Capabilities.MaxParts)
			}
		}, nil, func(t *testing.T, _ context.Context, _ *stack.S3, p *s3kit.Profile, byProbe int) {
			if byProbe == 0 || p.Fired() != byProbe {
				t.Errorf("the store refused %d parts of the probe, and %d later", byProbe, p.Fired()-byProbe)
			}
		}},
		{"complete-twice", s3kit.CompleteTwice404(), nil, func(s3 *stack.S3) *s3kit.Rule {
			// The reply is lost, then nobody may look, then the object is not seen yet: so the completion is repeated.
			lost := s3.Proxy.Inject("CompleteMultipartUpload", 1, s3kit.DropReply())
			after := func(r *http.Request) bool { return s3kit.OpOf(r) == "HeadObject" && lost.Fired() > 0 }
			s3.Proxy.Add(&s3kit.Rule{Match: after, Times: 1, Action: s3kit.Status(403, "AccessDenied")})
			s3.Proxy.Add(&s3kit.Rule{Match: after, Times: 1, Action: s3kit.Status(404, "NotFound")})
			return lost
		}, func(t *testing.T, _ context.Context, _ *stack.S3, p *s3kit.Profile, byProbe int) {
			if p.Fired() == byProbe {
				t.Error("no completion was repeated")
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx := faultContext(t)
			s3, err := w.StartS3(ctx, "s3-"+tc.name, stack.S3Options{Proxy: true})
			if err != nil {
				t.Fatal(err)
			}
			buckets[tc.name] = s3
			s3.Proxy.Use(tc.profile)
			do(t, ctx, w.ctl, storageArgs(tc.name, s3)...)
			byProbe := tc.profile.Fired()
			if tc.probed != nil {
				tc.probed(t, read[storage](t, ctx, w.ctl, "storage", "show", tc.name))
			}
			var rule *s3kit.Rule
			if tc.before != nil {
				rule = tc.before(s3)
			}
			b := w.order(t, ctx, big, map[string]any{"storage": tc.name})
			w.completed(t, ctx, b.ID, "completed")
			if rule != nil && rule.Fired() != 1 {
				t.Errorf("the fault fired %d times", rule.Fired())
			}
			w.good(t, ctx, b.ID)
			if res := w.verify(t, ctx, b.ID, "checksum"); res.Code != 0 {
				t.Errorf("it does not verify: %s", res.Text())
			}
			to := "copy_" + strings.ReplaceAll(tc.name, "-", "_")
			do(t, ctx, w.ctl, "restore", "create", id(b.ID), "--to-database", to, "--wait")
			sameContent(t, ctx, w.postgres, big, to)
			file := filepath.Join(t.TempDir(), "file")
			do(t, ctx, w.ctl, "backup", "download", id(b.ID), "-o", file)
			if b, err = w.ctl.Backup(ctx, b.ID); err != nil {
				t.Fatal(err)
			}
			holdsFile(t, file, b.FileSize, b.Checksum)
			// One stays, one goes.
			again := w.order(t, ctx, small, map[string]any{"storage": tc.name})
			w.completed(t, ctx, again.ID, "completed")
			do(t, ctx, w.ctl, "backup", "delete", id(b.ID), "--confirm", big, "--grace", "0s")
			w.purged(t, ctx, b.ID)
			tc.after(t, ctx, s3, tc.profile, byProbe)
		})
	}
	in := stack.Invariants{Catalog: w.catalog, Client: w.ctl, S3: w.s3, Buckets: buckets, Agents: []*stack.Agent{w.agent}, Databases: w.servers}
	if err := in.Check(faultContext(t)); err != nil {
		t.Errorf("invariants: %v", err)
	}
}

// unequalParts completes an upload of a short and a longer part through the proxy, which a store of equal parts refuses.
func unequalParts(t *testing.T, ctx context.Context, s3 *stack.S3) {
	t.Helper()
	const path = "unequal"
	do := func(method string, query url.Values, body string) (http.Header, string) {
		t.Helper()
		target, err := url.Parse(s3.Presign(method, "/"+s3.Bucket+"/"+path, query, nil, time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		host := target.Host // signed
		target.Host = strings.TrimPrefix(s3.Proxy.Endpoint, "http://")
		req, err := http.NewRequestWithContext(ctx, method, target.String(), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.Header, string(b)
	}
	_, begun := do(http.MethodPost, url.Values{"uploads": {""}}, "")
	_, after, _ := strings.Cut(begun, "<UploadId>")
	upload, _, ok := strings.Cut(after, "</UploadId>")
	if !ok {
		t.Fatalf("the upload was not begun: %s", begun)
	}
	var doc bytes.Buffer
	for i, part := range []string{"short", "longer"} {
		h, _ := do(http.MethodPut, url.Values{"partNumber": {fmt.Sprint(i + 1)}, "uploadId": {upload}}, part)
		fmt.Fprintf(&doc, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i+1, h.Get("ETag"))
	}
	do(http.MethodPost, url.Values{"uploadId": {upload}}, "<CompleteMultipartUpload>"+doc.String()+"</CompleteMultipartUpload>")
	if _, err := s3.AbortUploads(ctx); err != nil {
		t.Fatal(err)
	}
}
