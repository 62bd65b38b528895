package objectstore_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller/internal/objectstore"
	"devflowbackup/shared/testkit/reference"
	"devflowbackup/shared/testkit/s3kit"
)

// action is a permission that the storage's access key needs.
type action struct {
	name     string
	object   bool   // on objects below the prefix; else on the bucket
	requests string // that it allows
	purpose  string
	missing  string // step of the probe that fails without it
	required bool   // and with it the probe
}

// actions is what docs/storages.md asks for, in its order.
var actions = []action{
	{"s3:ListBucket", false, "ListObjectsV2", "reach the bucket; hold what lies there against the catalog; tell a missing object from a forbidden one", "list", true},
	{"s3:ListBucketVersions", false, "ListObjectVersions", "delete every version of an object, and prove that none is left", "delete", true},
	{"s3:ListBucketMultipartUploads", false, "ListMultipartUploads", "find uploads that were broken off", "list uploads", true},
	{"s3:GetBucketVersioning", false, "GetBucketVersioning", "tell whether versions are kept", "versions", false},
	{"s3:GetBucketObjectLockConfiguration", false, "GetObjectLockConfiguration", "tell whether objects are locked", "lock", false},
	{"s3:GetLifecycleConfiguration", false, "GetBucketLifecycleConfiguration", "warn of rules that remove backups", "lifecycle rules", false},
	{"s3:PutObject", true, "PutObject, CreateMultipartUpload, UploadPart, CompleteMultipartUpload", "store artifacts, manifests and anchors of the audit log", "checksum headers", true},
	{"s3:GetObject", true, "GetObject, HeadObject", "prove that a backup is stored; verify, restore, download", "read", true},
	{"s3:GetObjectVersion", true, "GetObject and HeadObject of a version", "the same in a bucket with versions", "conditional reads", true},
	{"s3:DeleteObject", true, "DeleteObject", "delete at stores that list no versions", "", false},
	{"s3:DeleteObjectVersion", true, "DeleteObject of a version", "delete what retention or a person lets go, and what the probe wrote", "delete", true},
	{"s3:ListMultipartUploadParts", true, "ListParts", "tell whether an upload is still open", "list uploads", true},
	{"s3:AbortMultipartUpload", true, "AbortMultipartUpload", "end uploads that were broken off", "part limits", true},
	{"s3:GetObjectRetention", true, "HeadObject", "with object lock: tell until when an object is locked", "", false},
	{"s3:GetObjectLegalHold", true, "HeadObject", "with object lock: tell of a legal hold", "", false},
}

type statement struct {
	Sid       string
	Effect    string
	Principal map[string][]string `json:",omitempty"`
	Action    []string
	Resource  string
}

type document struct {
	Version   string
	Statement []statement
}

// policy allows all actions but one. principal is for policies of a bucket; those of an account have none.
func policy(bucket, prefix, principal, without string) document {
	onBucket := statement{Sid: "Bucket", Effect: "Allow", Resource: "arn:aws:s3:::" + bucket}
	onObjects := statement{Sid: "Objects", Effect: "Allow", Resource: "arn:aws:s3:::" + bucket + "/" + prefix + "/*"}
	if principal != "" {
		onBucket.Principal = map[string][]string{"AWS": {principal}}
		onObjects.Principal = onBucket.Principal
	}
	for _, a := range actions {
		switch {
		case a.name == without:
		case a.object:
			onObjects.Action = append(onObjects.Action, a.name)
		default:
			onBucket.Action = append(onBucket.Action, a.name)
		}
	}
	return document{Version: "2012-10-17", Statement: []statement{onBucket, onObjects}}
}

// docs/storages.md has the policy and what its actions are for.
func TestReference_Policy(t *testing.T) {
	text, err := json.MarshalIndent(policy("acme-backups", "devflow", "", ""), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	reference.Hold(t, "docs/storages.md", "policy", "```json\n"+string(text)+"\n```\n")
	var rows [][]string
	for _, a := range actions {
		noticed := "no"
		switch {
		case a.required:
			noticed = "*" + a.missing + "* fails: the storage is refused"
		case a.missing != "":
			noticed = "*" + a.missing + "* fails: the storage can be used"
		}
		rows = append(rows, []string{reference.Code(a.name), a.requests, a.purpose, strings.ReplaceAll(noticed, "*", "_")})
	}
	reference.Hold(t, "docs/storages.md", "actions", reference.Table([]string{"action", "allows", "used to", "noticed by the probe"}, rows))
}

// Every request that this package makes of a store is one that the policy tells of, and the other way round.
func TestPolicy_Requests(t *testing.T) {
	told := make(map[string]bool)
	for _, a := range actions {
		for _, word := range strings.FieldsFunc(a.requests, func(r rune) bool { return r == ',' || r == ' ' }) {
			if word[0] >= 'A' && word[0] <= 'Z' {
				told[word] = true
			}
		}
	}
	made := make(map[string]bool)
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no sources: %v", err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if on, ok := method.X.(*ast.SelectorExpr); ok && slices.Contains([]string{"client", "once", "presign"}, on.Sel.Name) {
				made[strings.TrimPrefix(method.Sel.Name, "Presign")] = true
			}
			return true
		})
	}
	if got, want := slices.Sorted(maps.Keys(made)), slices.Sorted(maps.Keys(told)); !slices.Equal(got, want) {
		t.Errorf("requests that are made:       %s\nrequests that the policy has: %s", got, want)
	}
}

// A key with the documented policy and nothing more does all that a storage is used for, and the probe notices each action that is
// missing.
func TestPolicy_Least(t *testing.T) {
	const user, secret = "leastaccess", "leastsecret"
	s := s3kit.StartWith(t, s3kit.Options{Versioned: true})
	if err := s.CreateUser(t.Context(), user, secret); err != nil {
		t.Fatal(err)
	}
	cfg := config(s, s.Endpoint)
	cfg.AccessKey, cfg.SecretKey, cfg.MaxAttempts = user, secret, 1
	use := func(without string) *objectstore.Store {
		t.Helper()
		text, err := json.Marshal(policy(s.Bucket, cfg.Prefix, user, without))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SetPolicy(t.Context(), s.Bucket, text); err != nil {
			t.Fatal(err)
		}
		return open(t, cfg)
	}

	st := use("")
	report := st.Probe(t.Context())
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	for _, step := range report.Steps {
		if !step.OK {
			t.Errorf("step %s: %s", step.Name, step.Detail)
		}
	}
	backup, manifest := st.Key("shop", "a"), st.Key("shop", "a.manifest.json")
	u := newUpload(t, st, backup)
	info, _ := u.mustSettle(t, st, objectstore.Done)
	if _, err := st.Put(t.Context(), manifest, []byte("{}"), "application/json"); err != nil {
		t.Error(err)
	}
	req, err := st.PresignGet(t.Context(), backup, info.VersionID, info.ETag, objectstore.ReadRange{0, 99}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if status, _, b, err := send(t, req, nil); err != nil || status != 206 || string(b) != string(u.data[:100]) {
		t.Errorf("read of a range: %d %v", status, err)
	}
	if list, _, err := st.List(t.Context(), st.Key("shop"), ""); err != nil || len(list) != 2 {
		t.Errorf("listed %+v: %v", list, err)
	}
	open2 := newUpload(t, st, st.Key("shop", "broken"))
	if n, err := st.AbortUploads(t.Context(), open2.key); err != nil || n != 1 {
		t.Errorf("%d uploads aborted: %v", n, err)
	}
	for _, key := range []string{backup, manifest} {
		if err := st.DeleteAllVersions(t.Context(), key); err != nil {
			t.Error(err)
		}
		if gone, err := st.Gone(t.Context(), key); err != nil || !gone {
			t.Errorf("%s is gone: %t %v", key, gone, err)
		}
	}
	// Nothing beside the prefix.
	if _, err := st.Put(t.Context(), "elsewhere", []byte("x"), "text/plain"); !errors.Is(err, objectstore.ErrDenied) {
		t.Errorf("written beside the prefix: %v", err)
	}
	if _, err := st.Get(t.Context(), "elsewhere", 10); !errors.Is(err, objectstore.ErrDenied) {
		t.Errorf("read beside the prefix: %v", err)
	}

	for _, a := range actions {
		if a.missing == "" {
			continue
		}
		t.Run(strings.TrimPrefix(a.name, "s3:"), func(t *testing.T) {
			st := use(a.name)
			if a.name == "s3:GetLifecycleConfiguration" {
				// The server has no such rules, and asks for no right: it is answered in its place.
				proxy := s3kit.StartProxy(t, s)
				proxy.Inject("GetBucketLifecycleConfiguration", 0, s3kit.Status(403, "AccessDenied"))
				through := cfg
				through.Endpoint = proxy.Endpoint
				st = open(t, through)
			}
			report := st.Probe(t.Context())
			var failed []string
			for _, step := range report.Steps {
				if !step.OK {
					failed = append(failed, step.Name)
				}
				if step.Name == a.missing && !strings.Contains(step.Hint, a.name) {
					t.Errorf("the hint does not name the action: %s; %s", step.Detail, step.Hint)
				}
			}
			if !slices.Contains(failed, a.missing) {
				t.Errorf("failed steps %v, want %s among them", failed, a.missing)
			}
			if (report.Err() != nil) != a.required {
				t.Errorf("the probe ends with %v", report.Err())
			}
		})
	}
}

// steps is what docs/storages.md says of each step of the probe.
var steps = map[string]string{
	"list":               "The bucket answers to the key. Without this nothing else is tried where the key is unknown or the store does not answer",
	"clock skew":         "The store's clock and the controller's differ by 5 minutes at most: signed requests would be refused at 15",
	"checksum headers":   "Writes bytes that match their signed checksum, then others that do not: the store must refuse those. SHA-256 is used, else Content-MD5; a store that checks neither is refused",
	"write":              "An object of 1 KiB",
	"read":               "The same bytes come back, with size and ETag",
	"multipart":          "An upload of two parts by presigned requests, as an agent makes it. A part that does not match its checksum must be refused, and the whole must show a composite SHA-256, or an ETag made of the parts' MD5",
	"part limits":        "Part number 10,000 is taken, else number 1,000: so many parts, and by that their size, are used",
	"conditional reads":  "A range is served as asked for. Whether If-Match is honoured is noted; where it is not, a changed object is found by its size and checksum",
	"conditional writes": "Whether If-None-Match keeps an object from being replaced, by a write and by the completion of an upload. It is used where it does",
	"list uploads":       "An open upload is found by its key, aborted, and not found any more",
	"versions":           "Whether the bucket keeps versions",
	"lock":               "Whether it has object lock, and a default retention",
	"lifecycle rules":    "Which rules expire, archive or abort something below the prefix: each is shown, those that harm as warnings",
	"delete":             "All that the probe wrote is removed, every version of it, and is gone",
}

// docs/storages.md has the probe's steps in their order.
func TestReference_Probe(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "probe.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if method, ok := call.Fun.(*ast.SelectorExpr); !ok || method.Sel.Name != "step" || len(call.Args) != 4 {
			return true
		}
		name, ok := call.Args[1].(*ast.BasicLit)
		required, ok2 := call.Args[2].(*ast.Ident)
		if !ok || !ok2 {
			t.Fatal("a step of the probe is not written as it was")
		}
		text := strings.Trim(name.Value, `"`)
		if steps[text] == "" {
			t.Errorf("nothing is said of step %q", text)
		}
		needed := "no"
		if required.Name == "true" {
			needed = "yes"
		}
		rows = append(rows, []string{text, needed, steps[text]})
		return true
	})
	if len(rows) != len(steps) {
		t.Errorf("the probe has %d steps, %d are told of", len(rows), len(steps))
	}
	reference.Hold(t, "docs/storages.md", "probe", reference.Table([]string{"step", "required", "what is tried"}, rows))
}

// In a bucket without versions the same rights do, and less: docs/storages.md says what.
func TestPolicy_WithoutVersions(t *testing.T) {
	const user, secret = "leastaccess", "leastsecret"
	s := s3kit.Start(t)
	if err := s.CreateUser(t.Context(), user, secret); err != nil {
		t.Fatal(err)
	}
	cfg := config(s, s.Endpoint)
	cfg.AccessKey, cfg.SecretKey, cfg.MaxAttempts = user, secret, 1
	for without, enough := range map[string]bool{
		"": true, "s3:GetObjectVersion": true, "s3:DeleteObject": true,
		"s3:DeleteObjectVersion": false, // an object there is the version "null"
	} {
		text, err := json.Marshal(policy(s.Bucket, cfg.Prefix, user, without))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SetPolicy(t.Context(), s.Bucket, text); err != nil {
			t.Fatal(err)
		}
		if err := open(t, cfg).Probe(t.Context()).Err(); (err == nil) != enough {
			t.Errorf("without %q: %v", without, err)
		}
	}
}
