package wire_test

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"devflowbackup/shared/wire"
)

// testdata/v1 holds one example of each message as version 1 wrote it. The files stay for good and are never changed: an
// agent or a controller of that version may still send them. A field that comes later gets an example of its own.

var (
	attempt = wire.Attempt{Job: 4711, No: 2, Token: "0123456789abcdef0123456789abcdef"}
	host    = wire.Host{
		Hostname: "db-7", OS: "Debian GNU/Linux 12", Arch: "amd64", Kernel: "6.1.0", CPUs: 8, MemoryBytes: 32 << 30, DiskFree: 100 << 30, LoadMilli: 1250, Uptime: 86400,
	}
	codec  = wire.Codec{Compression: "zstd", Level: 3, Encryption: "age", Recipients: []string{"age1qqqq", "age1pppp"}}
	source = wire.Source{
		BackupID: 12, Engine: wire.EnginePostgreSQL, Database: "ünïcode 🦀", ToolVersion: "15.8", Codec: codec,
		Artifact:    wire.SourceObject{StoredSize: 100, StoredSHA256: "aa", RawSize: 300, RawSHA256: "bb", SealedKey: []byte("sealed")},
		Fingerprint: &wire.SourceObject{StoredSize: 10, StoredSHA256: "cc", RawSize: 30, RawSHA256: "dd", SealedKey: []byte("sealed too")},
	}
	progress = wire.Progress{V: 1, Session: "5e55", Attempt: attempt, Stage: wire.StageDump, RawBytes: 1000, StoredBytes: 400, TotalBytes: 5000}
	failure  = wire.Failure{Code: wire.CodeLockTimeout, Stage: wire.StageDump, Message: "lock not available", Hint: "try later", Retryable: true}
)

// Of restores in place.
var (
	terms       = wire.SwapTerms{Keep: "devflow_kept_31_0a1b2c3d", Identity: "7300000000000000001/16384", Sessions: wire.SessionsWait, WaitSeconds: 30}
	choices     = wire.RestoreChoices{Owners: true, Privileges: true, Roles: true, Definers: "keep", Only: []wire.Selection{{Schema: "app", Table: "orders"}}, Jobs: 4}
	withGlobals = func() wire.Source {
		s := source
		s.Globals = &wire.SourceObject{StoredSize: 20, StoredSHA256: "ee", RawSize: 60, RawSHA256: "ff", SealedKey: []byte("sealed as well")}
		return s
	}()
	swap   = wire.SwapOrder{Instance: "main", Engine: wire.EnginePostgreSQL, Database: "shop", Staged: "devflow_kept_31_0a1b2c3d", Terms: undoTerms}
	settle = wire.SwapOrder{Instance: "main", Engine: wire.EnginePostgreSQL, Database: "shop", Staged: "devflow_staging_31_0a1b2c3d", Terms: terms}

	undoTerms = wire.SwapTerms{Keep: "devflow_kept_32_4e5f6a7b", Identity: "7300000000000000001/16999", Sessions: wire.SessionsRefuse}
)

func example[T any](v T) *T { return &v }

// examples names each file with what it must decode to.
func examples() map[string]any {
	keys := set(2, signer(1), signer(2))
	signedSet := must2(wire.SignKeySet(signer(1), keys))
	directive := wire.Directive{V: 1, Kind: wire.KindReply, Server: "s4f2", Session: "5e55", Verb: wire.VerbPart, ID: "1d", Body: json.RawMessage(`{"method":"PUT"}`)}
	refusal := directive
	refusal.Body, refusal.Failure = nil, &failure
	return map[string]any{
		"request":   &wire.Request{V: 1, ID: "1d", Session: "5e55", Body: json.RawMessage(`{"any":["thing"]}`)},
		"hello":     &wire.Hello{Protocol: 1, AgentVersion: "1.0.0", Host: host, Attempts: []wire.Attempt{attempt}, InventoryHash: "abcd", KeySet: 1, Concurrency: 2},
		"welcome":   &wire.Welcome{Drop: []wire.Attempt{attempt}, WantInventory: true, HeartbeatSeconds: 10, LeaseMaxSeconds: 3600, KeySet: &signedSet},
		"heartbeat": &wire.Heartbeat{V: 1, Session: "5e55", Host: host, Running: []wire.Progress{progress}},
		"progress":  &progress,
		"inventory": &wire.Inventory{
			Hash: "abcd", Page: 1, Last: true,
			Instances: []wire.Instance{{Name: "main", Engine: wire.EnginePostgreSQL, Version: "15.8", Error: "no route", Restore: true}},
			Databases: []wire.Database{{
				Instance: "main", Engine: wire.EnginePostgreSQL, Name: `o'brien; drop "x"`, SizeBytes: 7 << 20, ServerVersion: "15.8", Extensions: []string{"hstore"},
			}},
		},
		"job_backup": &wire.Job{Attempt: attempt, Kind: wire.JobBackup, MaxDurationSeconds: 3600, Backup: &wire.BackupOrder{
			AttemptID: "abcdefghijklmnop", Instance: "main", Engine: wire.EnginePostgreSQL, Database: "shop",
			Key: "p/backups/2025/01/02/shop_2025-01-02_030405_abcdefghijklmnop.dump.zst.age", Codec: codec, PartSize: 8 << 20, Checksum: wire.ChecksumSHA256,
		}},
		"job_verify":  &wire.Job{Attempt: attempt, Kind: wire.JobVerify, MaxDurationSeconds: 60, Verify: &wire.VerifyOrder{Level: wire.LevelContent, Source: source, Instance: "main"}},
		"job_restore": &wire.Job{Attempt: attempt, Kind: wire.JobRestore, MaxDurationSeconds: 60, Restore: &wire.RestoreOrder{Source: source, Instance: "main", Database: "shop_copy", Staging: "devflow_staging_4711"}},
		"accepted":    &wire.Accepted{V: 1, Session: "5e55", Failure: &failure},
		"part_request": &wire.PartRequest{
			Attempt: attempt, Object: wire.ObjectArtifact, Number: 3, Size: 8 << 20, SHA256: bytes.Repeat([]byte{7}, 32), MD5: bytes.Repeat([]byte{8}, 16),
			Done: []wire.PartDone{{Number: 2, ETag: `"e2"`}},
		},
		"grant":        &wire.Grant{Method: "PUT", URL: "https://s3.example.com/b/k?partNumber=3&X-Amz-Signature=x", Headers: map[string]string{"Content-Length": "8388608"}, ExpiresInSeconds: 900},
		"read_request": &wire.ReadRequest{Attempt: attempt, Object: wire.ObjectFingerprint, Offset: 8 << 20, Length: 1 << 20},
		"sealed_key":   &wire.SealedKey{Attempt: attempt, Object: wire.ObjectArtifact, FileKey: bytes.Repeat([]byte{9}, 16)},
		"cancel":       &wire.Cancel{Attempt: attempt, Reason: "asked for by ops"},
		"report_uploaded": &wire.Report{
			Attempt: attempt, Outcome: wire.OutcomeUploaded, Statement: json.RawMessage(`{"statement":{"format_version":1}}`),
			Done: []wire.PartDone{{Number: 3, ETag: "e3"}}, Log: "pg_dump: warning", Millis: map[string]int64{"dump": 1500},
		},
		"report_uploaded_rows": &wire.Report{
			Attempt: attempt, Outcome: wire.OutcomeUploaded, Statement: json.RawMessage(`{"statement":{"format_version":1}}`), Rows: example(int64(3456)),
		},
		"report_verified": &wire.Report{Attempt: attempt, Outcome: wire.OutcomeVerified, Read: &wire.ReadResult{StoredSize: 100, StoredSHA256: "aa", RawSize: 300, RawSHA256: "bb"}},
		"report_restored": &wire.Report{
			Attempt: attempt, Outcome: wire.OutcomeRestored, Read: &wire.ReadResult{StoredSize: 100, StoredSHA256: "aa"},
			Restored: &wire.RestoreResult{Database: "shop_copy", Tables: 12, Rows: 3456, Compared: true, Warnings: "a role is missing"},
		},
		"report_failed": &wire.Report{Attempt: attempt, Outcome: wire.OutcomeFailed, Failure: &failure},
		"security":      &wire.SecurityNotice{Kind: "command", Detail: "signature does not verify", Count: 3},
		"hello_local": &wire.Hello{Protocol: 1, AgentVersion: "1.1.0", Concurrency: 1, Host: wire.Host{
			Hostname: "db-8", OS: "Debian", Arch: "arm64", CPUs: 2,
			Local: &wire.LocalDir{Dir: "/var/backups/devflow", FreeBytes: 9 << 30, TotalBytes: 20 << 30, MinFree: 1 << 30, Error: "read-only"},
		}},
		"job_backup_local": &wire.Job{Attempt: attempt, Kind: wire.JobBackup, MaxDurationSeconds: 3600, Backup: &wire.BackupOrder{
			AttemptID: "abcdefghijklmnop", Instance: "maria", Engine: wire.EngineMySQL, Database: "shop",
			Key:   "p/backups/2025/01/02/shop_2025-01-02_030405_abcdefghijklmnop.sql.gz.enc",
			Codec: wire.Codec{Compression: "gzip", Level: 6, Encryption: "aes-256-cbc"}, Local: true,
			SealedKeys: map[string][]byte{wire.ObjectArtifact: []byte("sealed"), wire.ObjectFingerprint: []byte("sealed too")},
		}},
		"job_verify_local": &wire.Job{Attempt: attempt, Kind: wire.JobVerify, MaxDurationSeconds: 60, Verify: &wire.VerifyOrder{Level: wire.LevelChecksum, Source: wire.Source{
			BackupID: 13, Engine: wire.EngineSQLite, Database: "/srv/app/db.sqlite", ToolVersion: "3.50", Local: true,
			Codec: wire.Codec{Compression: "none", Encryption: "aes-256-cbc"},
			Artifact: wire.SourceObject{
				StoredSize: 100, StoredSHA256: "aa", RawSize: 300, RawSHA256: "bb", Key: "backups/2025/01/02/db.sqlite.enc", MAC: []byte("mac"), SealedKey: []byte("sealed"),
			},
		}}},
		"sealed_key_aes": &wire.SealedKey{Attempt: attempt, Object: wire.ObjectGlobals, Cipher: bytes.Repeat([]byte{5}, 32), MAC: bytes.Repeat([]byte{6}, 32)},
		"local_order":    &wire.LocalOrder{Op: wire.LocalWrite, Key: "backups/2025/01/02/a.manifest.json", Offset: 1, Length: 2, Data: []byte("{}")},
		"local_reply": &wire.LocalReply{
			V: 1, Session: "5e55", Failure: &failure, Exists: true, Size: 7, Data: []byte("data"),
			Steps: []wire.LocalStep{{Name: "write", OK: true, Millis: 3, Detail: "1 KiB"}}, Dir: &wire.LocalDir{Dir: "/var/backups/devflow", FreeBytes: 1},
		},
		"local_order_list": &wire.LocalOrder{Op: wire.LocalList, Key: "p/backups/", After: "p/backups/2025/01/02/a.dump", Length: 1000},
		"local_reply_list": &wire.LocalReply{
			V: 1, Session: "5e55", Entries: []wire.LocalEntry{{Key: "p/backups/2025/01/02/b.dump.zst.age", Size: 77, ModifiedAt: 1735787045}}, More: true,
		},
		"inventory_in_place": &wire.Inventory{
			Hash: "abcd", Last: true, Databases: []wire.Database{},
			Instances: []wire.Instance{{Name: "main", Engine: wire.EnginePostgreSQL, Version: "15.8", Restore: true, InPlace: true}},
		},
		"job_restore_in_place": &wire.Job{Attempt: attempt, Kind: wire.JobRestore, MaxDurationSeconds: 60, Restore: &wire.RestoreOrder{
			Source: withGlobals, Instance: "main", Database: "shop", Staging: "devflow_staging_31_0a1b2c3d", InPlace: &terms, Choices: &choices,
		}},
		"job_undo":   &wire.Job{Attempt: attempt, Kind: wire.JobUndo, MaxDurationSeconds: 60, Swap: &swap},
		"job_settle": &wire.Job{Attempt: attempt, Kind: wire.JobSettle, MaxDurationSeconds: 60, Swap: &settle},
		"job_discard": &wire.Job{Attempt: attempt, Kind: wire.JobDiscard, MaxDurationSeconds: 60, Discard: &wire.DiscardOrder{
			Instance: "main", Engine: wire.EnginePostgreSQL, Database: "shop", Kept: "devflow_kept_31_0a1b2c3d",
		}},
		"report_restored_in_place": &wire.Report{
			Attempt: attempt, Outcome: wire.OutcomeRestored, Read: &wire.ReadResult{StoredSize: 100, StoredSHA256: "aa", RawSize: 300, RawSHA256: "bb"},
			Restored: &wire.RestoreResult{Database: "shop", Tables: 12, Rows: 3456, Compared: true},
			Swapped:  &wire.SwapResult{State: wire.SwapAfter, UnavailableMicros: 8500, Ended: 2, Notes: []string{"the owner was carried over"}},
		},
		"report_settled":   &wire.Report{Attempt: attempt, Outcome: wire.OutcomeSettled, Swapped: &wire.SwapResult{State: wire.SwapBefore}},
		"report_discarded": &wire.Report{Attempt: attempt, Outcome: wire.OutcomeDiscarded},
		"inspect_order": &wire.InspectOrder{
			Instance: "main", Engine: wire.EnginePostgreSQL, Database: "shop", DumpServerVersion: "15.8", DumpToolVersion: "15.9", DumpBytes: 300, DatabaseBytes: 500,
			Extensions: []string{"hstore"}, InPlace: true, Sessions: wire.SessionsEnd, Choices: &choices,
		},
		"inspect_reply": &wire.InspectReply{V: 1, Session: "5e55", Target: &wire.Target{
			Exists: true, Identity: "7300000000000000001/16384", ServerIdentity: "7300000000000000001", ServerVersion: "15.8", SizeBytes: 7 << 20, Tables: 12, FreeBytes: -1,
			Owner: "shop", SessionCount: 21,
			Sessions: []wire.Session{{User: "web", Application: "shop", Client: "10.0.0.7", Since: 1735787045, State: "idle"}},
			Problems: []wire.Problem{{Stops: true, Code: "missing_extension", Text: "the extension hstore is missing", Hint: "install it"}},
		}},
		"inspect_reply_failed": &wire.InspectReply{V: 1, Session: "5e55", Failure: &failure},
		"failure":              &failure,
		"fingerprint": &wire.Fingerprint{
			V: 1, Engine: wire.EnginePostgreSQL, Exact: true, Tables: []wire.TableCount{{Schema: "public", Name: "orders", Rows: 9}}, Counts: map[string]int64{"views": 1},
		},
		"directive":         &directive,
		"directive_refusal": &refusal,
		"signed":            example(decoded[wire.Signed](must(wire.Sign(signer(1), directive)))),
		"key_set":           &keys,
		"signed_key_set":    &signedSet,
	}
}

func must2[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func decoded[T any](b []byte) (v T) {
	if err := json.Unmarshal(b, &v); err != nil {
		panic(err)
	}
	return v
}

func frozen(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "v1", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFrozen(t *testing.T) {
	for name, want := range examples() {
		text := frozen(t, name)
		got := reflect.New(reflect.TypeOf(want).Elem()).Interface()
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields() // a field of version 1 must not get lost
		if err := d.Decode(got); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		compacted(reflect.ValueOf(got))
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: decoded\n%+v\nwant\n%+v", name, got, want)
		}
		// What is written today may have more fields, but each of these with the same value.
		again, err := wire.Encode(want)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if missing := lost("", decoded[any](text), decoded[any](again)); missing != nil {
			t.Errorf("%s: no longer written as in version 1: %q", name, missing)
		}
	}
	files, err := filepath.Glob("testdata/v1/*.json")
	if err != nil || len(files) != len(examples()) {
		t.Errorf("%d files in testdata/v1 for %d examples: %v", len(files), len(examples()), err)
	}
}

// compacted takes the indentation out of raw JSON below v.
func compacted(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			compacted(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if !v.Type().Field(i).IsExported() {
				continue
			}
			raw, ok := v.Field(i).Interface().(json.RawMessage)
			if !ok || raw == nil {
				compacted(v.Field(i))
				continue
			}
			var b bytes.Buffer
			if err := json.Compact(&b, raw); err != nil {
				panic(err)
			}
			v.Field(i).SetBytes(b.Bytes())
		}
	}
}

// lost lists what is in old and not, or not the same, in today.
func lost(path string, old, today any) (out []string) {
	switch o := old.(type) {
	case map[string]any:
		n, _ := today.(map[string]any)
		for k, v := range o {
			if _, ok := n[k]; !ok {
				out = append(out, path+"."+k)
				continue
			}
			out = append(out, lost(path+"."+k, v, n[k])...)
		}
	case []any:
		n, _ := today.([]any)
		if len(n) != len(o) {
			return []string{path}
		}
		for i := range o {
			out = append(out, lost(path+"[]", o[i], n[i])...)
		}
	default:
		if !reflect.DeepEqual(old, today) {
			out = append(out, path)
		}
	}
	return out
}

// The signatures of version 1 still hold: the bytes that are signed have not changed.
func TestFrozen_signatures(t *testing.T) {
	pinned := set(1, signer(1))
	d, err := pinned.Open(frozen(t, "signed"), wire.Expect{Kind: wire.KindReply, Server: "s4f2", Session: "5e55", Verb: wire.VerbPart, ID: "1d"})
	if err != nil || string(d.Body) != `{"method":"PUT"}` {
		t.Errorf("opened %+v, %v", d, err)
	}
	next, err := pinned.Next(decoded[wire.SignedKeySet](frozen(t, "signed_key_set")))
	if err != nil || !reflect.DeepEqual(next, set(2, signer(1), signer(2))) {
		t.Errorf("next %+v, %v", next, err)
	}
}

// Each exported struct of the package is in an example, and each of its fields has a value in one of them.
func TestFrozen_complete(t *testing.T) {
	seen := map[string]map[string]bool{}
	var walk func(reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer, reflect.Interface:
			if !v.IsNil() {
				walk(v.Elem())
			}
		case reflect.Slice:
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case reflect.Struct:
			fields := seen[v.Type().Name()]
			if fields == nil {
				fields = map[string]bool{}
				seen[v.Type().Name()] = fields
			}
			for i := range v.NumField() {
				if f := v.Type().Field(i); f.IsExported() {
					fields[f.Name] = fields[f.Name] || !v.Field(i).IsZero()
					walk(v.Field(i))
				}
			}
		}
	}
	for _, v := range examples() {
		walk(reflect.ValueOf(v))
	}
	for typ, fields := range seen {
		for field, set := range fields {
			if !set {
				t.Errorf("no example sets %s.%s", typ, field)
			}
		}
	}
	for _, typ := range exportedStructs(t) {
		if seen[typ] == nil && typ != "Expect" { // Expect does not travel
			t.Errorf("%s has no example in testdata", typ)
		}
	}
}

func exportedStructs(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok && spec.Name.IsExported() {
				if _, ok := spec.Type.(*ast.StructType); ok {
					names = append(names, spec.Name.Name)
				}
			}
			return true
		})
	}
	return names
}
