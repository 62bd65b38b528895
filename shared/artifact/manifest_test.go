package artifact_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devflowbackup/shared/artifact"
)

// Fixed keys, so that testdata/manifest-v1.json verifies for good.
var (
	agentKey      = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	otherAgentKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, ed25519.SeedSize))
	controllerKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, ed25519.SeedSize))
)

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

func trustController(keyID string) (ed25519.PublicKey, error) {
	if keyID != "controller-1" {
		return nil, errors.New("unknown key " + keyID)
	}
	return public(controllerKey), nil
}

const (
	goldenRecipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
	goldenKey       = "acme/backups/2025/03/10/o_brien__drop__x__2025-03-10_020507_abcdefghij234567.dump.zst.age"
	goldenDatabase  = "o'brien; drop \"x\" <🦀> \u2028&"
)

func statement() artifact.Statement {
	raw, stored := []byte("the dump"), []byte("the stored bytes")
	sums := sumsOf(raw, stored)
	sums.RawSize, sums.StoredSize = 40<<20, 20<<20
	return artifact.Statement{
		FormatVersion: 1,
		ServerID:      "s7k2m", JobID: "412", AttemptNo: 2, AttemptID: attempt, Key: goldenKey,
		Engine: "postgresql", Database: goldenDatabase,
		ServerVersion: "15.10", ServerIdentity: "7312345678901234567",
		Tool: "pg_dump", ToolVersion: "15.10", Method: "custom",
		Sums: sums, PartSize: 8 << 20, Parts: 3,
		CompositeSHA256: artifact.CompositeSHA256([][32]byte{{1}, {2}, {3}}),
		Codec:           artifact.Codec{Compression: "zstd", Level: 3, Encryption: "age", Recipients: []string{goldenRecipient}},
		StartedAt:       time.Date(2025, 3, 10, 2, 5, 7, 0, time.UTC),
		FinishedAt:      time.Date(2025, 3, 10, 2, 6, 8, 123456789, time.UTC),
		Metadata:        artifact.Metadata{Tables: 42, DatabaseSize: 1 << 30, Extra: map[string]any{"extensions": []any{"citext", "postgis"}}},
		Fingerprint:     &sums,
	}
}

func facts() artifact.Facts {
	return artifact.Facts{
		BackupID: 99, Type: "scheduled", ScheduleID: 5, ReceivedAt: time.Date(2025, 3, 10, 2, 6, 9, 0, time.UTC),
		Project: artifact.ProjectFacts{ID: 3, Slug: "acme", ExternalID: "panel-17"},
		Server:  artifact.ServerFacts{ID: "s7k2m", Name: "db <1>", SigningKey: public(agentKey), NKey: "UABC"},
		Storage: artifact.StorageFacts{ID: 1, Name: "main", Disk: "s3", Bucket: "backups"},
	}
}

func sign(t *testing.T, s artifact.Statement, key ed25519.PrivateKey) artifact.SignedStatement {
	t.Helper()
	signed, err := artifact.SignStatement(s, "agent-1", key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func manifest(t *testing.T, signed artifact.SignedStatement, f artifact.Facts) artifact.Manifest {
	t.Helper()
	m, err := artifact.Countersign(signed, f, "controller-1", controllerKey)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func sameJSON(t *testing.T, what string, got, want any) {
	t.Helper()
	g, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	w, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(g, w) {
		t.Fatalf("%s is\n%s\nwant\n%s", what, g, w)
	}
}

func TestManifest_RoundTrip(t *testing.T) {
	t.Parallel()
	text, err := manifest(t, sign(t, statement(), agentKey), facts()).Encode()
	if err != nil {
		t.Fatal(err)
	}
	m, err := artifact.ParseManifest(text)
	if err != nil {
		t.Fatal(err)
	}
	st, f, err := m.Verify(goldenKey, artifact.RecordedAgentKey, trustController)
	if err != nil {
		t.Fatal(err)
	}
	sameJSON(t, "statement", st, statement())
	sameJSON(t, "facts", f, facts())
	if st.Database != goldenDatabase {
		t.Fatalf("database is %q", st.Database)
	}
	if _, _, err := m.Verify("", artifact.RecordedAgentKey, trustController); err != nil {
		t.Fatalf("away from its store: %v", err)
	}
}

// aesStatement is of a backup for aes-256-cbc, with both side objects.
func aesStatement() artifact.Statement {
	s := statement()
	s.Key = strings.Replace(goldenKey, ".zst.age", ".gz.enc", 1)
	s.Codec = artifact.Codec{Compression: "gzip", Level: 6, Encryption: "aes-256-cbc"}
	tagged := func(object string) artifact.Sums {
		k, err := artifact.DeriveAESKeys(appKey, attempt, object)
		if err != nil {
			panic(err)
		}
		sums := s.Sums
		sums.MAC = k.Tag(sums.StoredSHA256)
		return sums
	}
	fingerprint, globals := tagged("fingerprint"), tagged("globals")
	s.Sums, s.Fingerprint, s.Globals = tagged("artifact"), &fingerprint, &globals
	return s
}

// localStatement is of a backup on the database's own host: nothing is uploaded in parts.
func localStatement() artifact.Statement {
	s := statement()
	s.PartSize, s.Parts, s.CompositeSHA256 = 0, 0, ""
	return s
}

func localFacts() artifact.Facts {
	f := facts()
	f.Storage = artifact.StorageFacts{ID: 2, Name: "on the host", Disk: "local"}
	return f
}

// Examples of each format version are read for good, and are written as they were.
func TestManifest_Golden(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]struct {
		statement artifact.Statement
		facts     artifact.Facts
	}{
		"manifest-v1.json":       {statement(), facts()},
		"manifest-v1-aes.json":   {aesStatement(), facts()},
		"manifest-v1-local.json": {localStatement(), localFacts()},
	} {
		text, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		m, err := artifact.ParseManifest(text)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		st, f, err := m.Verify(want.statement.Key, artifact.RecordedAgentKey, trustController)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		sameJSON(t, file+": statement", st, want.statement)
		sameJSON(t, file+": facts", f, want.facts)
		again, err := manifest(t, sign(t, want.statement, agentKey), want.facts).Encode()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again, text) {
			t.Errorf("%s is now written as\n%s", file, again)
		}
	}
}

// Layout may change on the way, content may not.
func TestManifest_Layout(t *testing.T) {
	t.Parallel()
	m := manifest(t, sign(t, statement(), agentKey), facts())
	var indented bytes.Buffer
	if err := json.Indent(&indented, m.Signed.Statement, "  ", "\t"); err != nil {
		t.Fatal(err)
	}
	m.Signed.Statement = indented.Bytes()
	if _, _, err := m.Verify(goldenKey, artifact.RecordedAgentKey, trustController); err != nil {
		t.Fatalf("indented: %v", err)
	}
	// Another program's JSON need not escape <, > and &.
	m.Signed.Statement = bytes.ReplaceAll(m.Signed.Statement, []byte(`\u003c`), []byte("<"))
	if _, _, err := m.Verify(goldenKey, artifact.RecordedAgentKey, trustController); err != nil {
		t.Fatalf("not escaped: %v", err)
	}
}

// Whatever value is changed, whoever changed it, the manifest no longer holds.
func TestManifest_Tampered(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(manifest(t, sign(t, statement(), agentKey), facts()))
	if err != nil {
		t.Fatal(err)
	}
	caught := 0
	for i := range text {
		for _, change := range []byte{1, 2, 0x20} {
			b := bytes.Clone(text)
			b[i] ^= change
			m, err := artifact.ParseManifest(b)
			if err != nil {
				caught++
				continue
			}
			st, f, err := m.Verify(goldenKey, artifact.RecordedAgentKey, trustController)
			if err != nil {
				caught++
				continue
			}
			// A changed name of a field outside the signed texts can only be ignored or restored by case.
			sameJSON(t, "statement", st, statement())
			sameJSON(t, "facts", f, facts())
		}
	}
	if caught < 2*len(text) {
		t.Fatalf("only %d of %d changes were caught", caught, 3*len(text))
	}
}

// FAULTS 63: whole manifests and statements put in another's place.
func TestManifest_Swapped(t *testing.T) {
	t.Parallel()
	other := statement()
	other.AttemptID = "zzzzzzzzzzzzzzzz"
	other.Key = strings.Replace(goldenKey, attempt, other.AttemptID, 1)
	mine, theirs := manifest(t, sign(t, statement(), agentKey), facts()), manifest(t, sign(t, other, agentKey), facts())

	verify := func(m artifact.Manifest) error {
		_, _, err := m.Verify(goldenKey, artifact.RecordedAgentKey, trustController)
		return err
	}
	if err := verify(mine); err != nil {
		t.Fatal(err)
	}
	if err := verify(theirs); !errors.Is(err, artifact.ErrForeignManifest) {
		t.Errorf("the manifest of another object: %v", err)
	}
	var sig *artifact.SignatureError
	swapped := theirs
	swapped.Signed = mine.Signed
	if err := verify(swapped); !errors.As(err, &sig) || sig.What != "manifest" {
		t.Errorf("an authentic statement under another's countersignature: %v", err)
	}
	swapped = mine
	swapped.Facts = theirs.Facts
	swapped.Signature = theirs.Signature
	if err := verify(swapped); !errors.As(err, &sig) {
		t.Errorf("the countersignature of another: %v", err)
	}

	// The controller's own mistakes and a lying agent.
	if err := verify(manifest(t, sign(t, statement(), otherAgentKey), facts())); !errors.As(err, &sig) || sig.What != "statement" {
		t.Errorf("signed by another server's key: %v", err)
	}
	foreign := facts()
	foreign.Server.ID = "s9"
	if err := verify(manifest(t, sign(t, statement(), agentKey), foreign)); !errors.Is(err, artifact.ErrForeignManifest) {
		t.Errorf("the statement of another server: %v", err)
	}
	unknown := mine
	unknown.KeyID = "controller-9"
	if err := verify(unknown); err == nil || !strings.Contains(err.Error(), "controller-9") {
		t.Errorf("an unknown controller key: %v", err)
	}
	noKey := func(artifact.Facts, string) (ed25519.PublicKey, error) { return nil, nil }
	if _, _, err := mine.Verify(goldenKey, noKey, trustController); !errors.As(err, &sig) {
		t.Errorf("no agent key at all: %v", err)
	}

	// A signature of one kind is none of the other.
	signed := mine.Signed
	signed.Signature = ed25519.Sign(agentKey, signed.Statement)
	if _, err := signed.Verify(public(agentKey)); !errors.As(err, &sig) {
		t.Errorf("signed without the domain: %v", err)
	}
}

func TestManifest_Versions(t *testing.T) {
	t.Parallel()
	var format *artifact.FormatError
	_, err := artifact.ParseManifest([]byte(`{"format_version": 2, "signed": "another shape"}`))
	if !errors.As(err, &format) || !strings.Contains(err.Error(), "newer") {
		t.Errorf("a newer manifest: %v", err)
	}
	for _, text := range []string{"", "{}", "[]", "null", `{"format_version":1}x`, `{"format_version":"1"}`, `{"format_version":1,"signed":7}`} {
		if _, err := artifact.ParseManifest([]byte(text)); err == nil {
			t.Errorf("manifest %q is accepted", text)
		}
	}
	if m, err := artifact.ParseManifest([]byte(`{"format_version":1}`)); err == nil {
		if _, _, err := m.Verify("", artifact.RecordedAgentKey, trustController); err == nil {
			t.Error("an empty manifest verifies")
		}
	}
	if _, err := artifact.ParseManifest(bytes.Repeat([]byte(" "), artifact.MaxManifestSize+1)); err == nil {
		t.Error("a huge manifest is accepted")
	}

	resign := func(edit func(map[string]any)) artifact.SignedStatement {
		var fields map[string]any
		if err := json.Unmarshal(sign(t, statement(), agentKey).Statement, &fields); err != nil {
			t.Fatal(err)
		}
		edit(fields)
		text, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		return artifact.SignedStatement{
			Statement: text, Signature: ed25519.Sign(agentKey, append([]byte("devflow statement v1\n"), text...)),
		}
	}
	_, err = resign(func(f map[string]any) { f["format_version"], f["parts"] = 2, "many" }).Verify(public(agentKey))
	if !errors.As(err, &format) || !strings.Contains(err.Error(), "newer") {
		t.Errorf("a newer statement: %v", err)
	}
	if _, err := resign(func(f map[string]any) { f["colour"] = "blue" }).Verify(public(agentKey)); err != nil {
		t.Errorf("a statement with an unknown field: %v", err)
	}
	if _, err := resign(func(f map[string]any) { f["parts"] = 4 }).Verify(public(agentKey)); err == nil {
		t.Error("a signed statement that contradicts itself is accepted")
	}
}

func TestStatement_Validate(t *testing.T) {
	t.Parallel()
	if err := statement().Validate(); err != nil {
		t.Fatal(err)
	}
	local := statement()
	local.Parts, local.PartSize, local.CompositeSHA256 = 0, 0, ""
	if err := local.Validate(); err != nil {
		t.Fatalf("without parts: %v", err)
	}
	for says, change := range map[string]func(*artifact.Statement){
		"format_version": func(s *artifact.Statement) { s.FormatVersion = 0 },
		"server_id":      func(s *artifact.Statement) { s.ServerID = "" },
		"job_id":         func(s *artifact.Statement) { s.JobID = "" },
		"attempt_no":     func(s *artifact.Statement) { s.AttemptNo = 0 },
		"attempt_id":     func(s *artifact.Statement) { s.AttemptID = "../x" },
		"engine":         func(s *artifact.Statement) { s.Engine = "" },
		"no database":    func(s *artifact.Statement) { s.Database = "" },
		"UTF-8":          func(s *artifact.Statement) { s.Database = "a\xffb" },
		"key":            func(s *artifact.Statement) { s.Key = "backups/other.dump" },
		"sizes":          func(s *artifact.Statement) { s.RawSize = -1 },
		"codec":          func(s *artifact.Statement) { s.Codec.Compression = "lz4" },
		"3 parts":        func(s *artifact.Statement) { s.StoredSize = 100 << 20 },
		"-1 parts":       func(s *artifact.Statement) { s.Parts = -1 },
		"composite":      func(s *artifact.Statement) { s.CompositeSHA256 = artifact.CompositeSHA256(nil) },
		"without parts":  func(s *artifact.Statement) { s.Parts = 0 },
		"statement's artifact: a mac belongs to encryption aes-256-cbc": func(s *artifact.Statement) { s.MAC[31] = 1 },
		"statement's fingerprint: a mac belongs":                        func(s *artifact.Statement) { f := s.Sums; f.MAC[0] = 1; s.Fingerprint = &f },
	} {
		s := statement()
		change(&s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("want an error that says %q, got %v", says, err)
		}
		if _, err := artifact.SignStatement(s, "agent-1", agentKey); err == nil {
			t.Errorf("signed in spite of %q", says)
		}
	}
}

// A MAC for each object with aes-256-cbc.
func TestStatement_ValidateMAC(t *testing.T) {
	t.Parallel()
	if err := aesStatement().Validate(); err != nil {
		t.Fatal(err)
	}
	for object, change := range map[string]func(*artifact.Statement){
		"artifact":    func(s *artifact.Statement) { s.MAC = artifact.Digest{} },
		"fingerprint": func(s *artifact.Statement) { s.Fingerprint.MAC = artifact.Digest{} },
		"globals":     func(s *artifact.Statement) { s.Globals.MAC = artifact.Digest{} },
	} {
		s := aesStatement()
		change(&s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), object) || !strings.Contains(err.Error(), "mac present: false") {
			t.Errorf("without the mac of the %s: %v", object, err)
		}
	}
	text, err := json.Marshal(statement())
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte("mac")) {
		t.Errorf("a statement without aes-256-cbc has a mac: %s", text)
	}
}

// Who knows the keys refuses a MAC that is not by them; a MAC of another object, too.
func TestStatement_AnswersMAC(t *testing.T) {
	t.Parallel()
	keys := func(object string) (artifact.AESKeys, error) { return artifact.DeriveAESKeys(appKey, attempt, object) }
	order := func(s artifact.Statement) artifact.Order {
		return artifact.Order{
			ServerID: s.ServerID, JobID: s.JobID, AttemptNo: s.AttemptNo, AttemptID: s.AttemptID, Key: s.Key,
			Engine: s.Engine, Database: s.Database, PartSize: s.PartSize, Codec: s.Codec, Keys: keys,
		}
	}
	good := aesStatement()
	if err := good.Answers(order(good)); err != nil {
		t.Fatal(err)
	}
	for object, change := range map[string]func(*artifact.Statement){
		"mac of the artifact":    func(s *artifact.Statement) { s.MAC[7] ^= 1 },
		"mac of the fingerprint": func(s *artifact.Statement) { s.Fingerprint.MAC = s.MAC },
		"mac of the globals": func(s *artifact.Statement) {
			s.Globals.MAC, s.Fingerprint.MAC = s.Fingerprint.MAC, s.Globals.MAC
			*s.Fingerprint = *good.Fingerprint
		},
	} {
		s := aesStatement()
		change(&s)
		if err := s.Answers(order(good)); err == nil || !strings.Contains(err.Error(), object) {
			t.Errorf("another %s: %v", object, err)
		}
	}
	s := aesStatement()
	s.StoredSHA256[0] ^= 1
	if err := s.Answers(order(good)); err == nil || !strings.Contains(err.Error(), "mac of the artifact") {
		t.Errorf("another checksum: %v", err)
	}
	o := order(good)
	o.Keys = func(string) (artifact.AESKeys, error) { return artifact.AESKeys{}, os.ErrPermission }
	if err := good.Answers(o); !errors.Is(err, os.ErrPermission) {
		t.Errorf("keys that cannot be had: %v", err)
	}
	plain := statement()
	o = order(plain)
	o.Keys = func(string) (artifact.AESKeys, error) {
		t.Error("keys are asked for without aes-256-cbc")
		return artifact.AESKeys{}, nil
	}
	if err := plain.Answers(o); err != nil {
		t.Error(err)
	}
}

// A backup on the host has no parts, and none other than that was ordered.
func TestStatement_AnswersLocal(t *testing.T) {
	t.Parallel()
	s := localStatement()
	order := artifact.Order{
		ServerID: s.ServerID, JobID: s.JobID, AttemptNo: s.AttemptNo, AttemptID: s.AttemptID, Key: s.Key,
		Engine: s.Engine, Database: s.Database, Codec: s.Codec,
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := s.Answers(order); err != nil {
		t.Fatal(err)
	}
	uploaded := statement()
	if err := uploaded.Answers(order); err == nil || !strings.Contains(err.Error(), "part_size") {
		t.Errorf("parts where none were ordered: %v", err)
	}
	order.PartSize = 8 << 20
	if err := s.Answers(order); err == nil || !strings.Contains(err.Error(), "part_size") {
		t.Errorf("no parts where they were ordered: %v", err)
	}
	for what, change := range map[string]func(*artifact.Statement){
		"a part_size":        func(s *artifact.Statement) { s.PartSize = 8 << 20 },
		"a composite_sha256": func(s *artifact.Statement) { s.CompositeSHA256 = artifact.CompositeSHA256(nil) },
	} {
		s := localStatement()
		change(&s)
		if err := s.Validate(); err == nil {
			t.Errorf("%s without parts is valid", what)
		}
	}
}

func TestStatement_Answers(t *testing.T) {
	t.Parallel()
	s := statement()
	order := artifact.Order{
		ServerID: s.ServerID, JobID: s.JobID, AttemptNo: s.AttemptNo, AttemptID: s.AttemptID, Key: s.Key,
		Engine: s.Engine, Database: s.Database, PartSize: s.PartSize, Codec: s.Codec,
	}
	if err := s.Answers(order); err != nil {
		t.Fatal(err)
	}
	for says, change := range map[string]func(*artifact.Order){
		"server_id":  func(o *artifact.Order) { o.ServerID = "s9" },
		"job_id":     func(o *artifact.Order) { o.JobID = "1" },
		"attempt_no": func(o *artifact.Order) { o.AttemptNo++ },
		"attempt_id": func(o *artifact.Order) { o.AttemptID = "zzzzzzzzzzzzzzzz" },
		"key":        func(o *artifact.Order) { o.Key += "x" },
		"engine":     func(o *artifact.Order) { o.Engine = "mysql" },
		"database":   func(o *artifact.Order) { o.Database = "shop" },
		"part_size":  func(o *artifact.Order) { o.PartSize *= 2 },
		"codec":      func(o *artifact.Order) { o.Codec.Recipients = []string{newKey(t).recipient} },
	} {
		o := order
		change(&o)
		if err := s.Answers(o); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("another %s: %v", says, err)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	text, err := os.ReadFile("testdata/manifest-v1.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"format_version":1,"signed":{"statement":{}},"facts":{}}`))
	f.Add([]byte(`{"format_version":1,"signed":{"statement":null,"signature":""},"facts":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := artifact.ParseManifest(text)
		if err != nil {
			return
		}
		st, _, err := m.Verify("", artifact.RecordedAgentKey, trustController)
		if err == nil {
			sameJSON(t, "a statement that verifies", st, statement())
		}
	})
}
