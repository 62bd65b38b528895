package fleet_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/fleet"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

// encodeArtifact encodes raw; with keys those are used where the codec asks for some.
func encodeArtifact(t *testing.T, c artifact.Codec, raw []byte, keys ...artifact.AESKeys) ([]byte, artifact.Sums) {
	t.Helper()
	var buf bytes.Buffer
	var key *artifact.AESKeys
	if c.Encryption == controller.EncryptionAES {
		key = &keys[0]
	}
	w, err := artifact.NewWriter(&buf, c, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes(), w.Sums()
}

func decodeArtifact(stored []byte, o artifact.ReadOptions) ([]byte, error) {
	r, err := artifact.NewReader(bytes.NewReader(stored), o)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

func ageHeader(t *testing.T, stored []byte) []byte {
	t.Helper()
	h, err := artifact.ExtractHeader(bytes.NewReader(stored))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

var agentKey = signer(7)

const (
	attemptID = "abcdefghijklmnop"
	appKey    = "base64:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
)

// aesKeys are those of one object of the attempt.
func aesKeys(t *testing.T, object string) artifact.AESKeys {
	t.Helper()
	app, err := artifact.AppKeyBytes(appKey)
	if err != nil {
		t.Fatal(err)
	}
	k, err := artifact.DeriveAESKeys(app, attemptID, object)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// upload is a backup whose agent's part is over: its objects lie in the bucket, its statement is signed.
type upload struct {
	keys      ageKeys
	statement artifact.Statement
	ordered   controller.Ordered
	finishing controller.Finishing
}

// newUpload makes one with the compression and the encryption. change may alter the statement before it is signed.
func newUpload(t *testing.T, k *kit, compression, encryption string, change func(*artifact.Statement)) upload {
	t.Helper()
	u := upload{keys: newAgeKeys(t)}
	k.store.identity, k.store.appKey = []byte(u.keys.identity), []byte(appKey)
	codec := artifact.Codec{Compression: compression, Encryption: encryption}
	if compression == "zstd" {
		codec.Level = 3
	}
	if encryption == "age" {
		codec.Recipients = []string{u.keys.recipient}
	}
	key := "p/backups/2025/01/02/" + artifact.FileName("shop", time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC), attemptID, "dump", codec)
	stored, sums := encodeArtifact(t, codec, bytes.Repeat([]byte("row\n"), 1000), aesKeys(t, wire.ObjectArtifact))
	fingerprint, fingerprintSums := encodeArtifact(t, codec, []byte(`{"tables":[]}`), aesKeys(t, wire.ObjectFingerprint))
	globals, globalsSums := encodeArtifact(t, codec, []byte("CREATE ROLE x;"), aesKeys(t, wire.ObjectGlobals))
	k.bucket.put(key, stored)
	k.bucket.put(artifact.FingerprintKey(key, codec), fingerprint)
	k.bucket.put(artifact.GlobalsKey(key, codec), globals)
	k.bucket.open(key, "upload-1")
	part := sha256.Sum256(stored)
	external := "ext-9"
	u.statement = artifact.Statement{
		FormatVersion: artifact.StatementVersion, ServerID: agentID, JobID: strconv.FormatInt(attempt.Job, 10), AttemptNo: attempt.No, AttemptID: attemptID, Key: key,
		Engine: wire.EnginePostgreSQL, Database: "shop", ServerVersion: "15.8", Tool: "pg_dump", ToolVersion: "15.9", Method: "pg_dump custom",
		Sums: sums, PartSize: 8 << 20, Parts: 1, CompositeSHA256: artifact.CompositeSHA256([][32]byte{part}), Codec: codec,
		StartedAt: time.Unix(1700000000, 0).UTC(), FinishedAt: time.Unix(1700000100, 0).UTC(),
		Metadata:    artifact.Metadata{Tables: 12, DatabaseSize: 7 << 20, Extra: map[string]any{"extensions": []any{"hstore"}}},
		Fingerprint: &fingerprintSums, Globals: &globalsSums,
	}
	if change != nil {
		change(&u.statement)
	}
	server := agentServer()
	server.SigningKey, server.NKey = public(agentKey), "UABC"
	backup := controller.Backup{
		ID: 12, ProjectID: 3, Type: "manual", DatabaseType: wire.EnginePostgreSQL, DatabaseName: "shop", Compression: compression, Level: codec.Level, Encryption: encryption,
		Storage: "main", StorageDisk: "s3",
	}
	u.finishing = controller.Finishing{
		Attempt: attempt, Backup: backup, Project: controller.Project{ID: 3, Slug: "shop-project", ExternalID: &external, AgeRecipient: u.keys.recipient}, Server: server,
		StorageID: 6, Key: key, UploadID: "upload-1", PartSize: 8 << 20, Statement: signStatement(t, u.statement, agentKey),
		Parts: []controller.UploadedPart{{Number: 1, Size: int64(len(stored)), SHA256: part[:], ETag: "e1"}}, ReceivedAt: time.Unix(1700000200, 0),
	}
	u.ordered = controller.Ordered{
		Attempt: attempt, Server: server, Backup: backup, StorageID: 6, AttemptID: attemptID, Key: key, UploadID: "upload-1", PartSize: 8 << 20,
		Checksum: wire.ChecksumSHA256, Codec: wire.Codec(codec), Recipients: codec.Recipients,
	}
	return u
}

func signStatement(t *testing.T, s artifact.Statement, key ed25519.PrivateKey) []byte {
	t.Helper()
	signed, err := artifact.SignStatement(s, "agent-key", key)
	if err != nil {
		t.Fatal(err)
	}
	return encode(t, signed)
}

var finishes = []string{"CompleteBackup", "RetryFinish", "FailFinish"}

func (k *kit) finish(w controller.Finishing) {
	k.store.set(func(s *store) { s.finishing = append(s.finishing, w) })
	k.fleet.Kick()
}

func (k *kit) finished(want string) written {
	k.t.Helper()
	return k.only(want, without(finishes, want)...)
}

// events returns the kinds of the security events that were recorded.
func (k *kit) events() (kinds []string) {
	for _, w := range k.store.all("AddSecurityEvent") {
		kinds = append(kinds, w.id)
	}
	return kinds
}

func TestFinish(t *testing.T) {
	for _, c := range artifact.Codecs() {
		t.Run(c.Compression+" "+c.Encryption, func(t *testing.T) {
			k := start(t, nil)
			u := newUpload(t, k, c.Compression, c.Encryption, nil)
			key, codec := u.finishing.Key, u.statement.Codec
			k.bucket.open(key, "left by a controller that died")
			objects := map[string][]byte{
				wire.ObjectArtifact:    k.bucket.get(key),
				wire.ObjectFingerprint: k.bucket.get(artifact.FingerprintKey(key, codec)),
				wire.ObjectGlobals:     k.bucket.get(artifact.GlobalsKey(key, codec)),
			}
			k.finish(u.finishing)
			w := k.finished("CompleteBackup")
			done := w.done
			if w.attempt != attempt || done.Composite != u.statement.CompositeSHA256 || done.FileName != key[strings.LastIndexByte(key, '/')+1:] {
				t.Errorf("completed %+v", w)
			}
			if ids := k.bucket.ids(key); ids != nil {
				t.Errorf("uploads are left at the key: %v", ids)
			}

			// The manifest in the bucket is the catalog's, and both signatures hold.
			stored := k.bucket.get(artifact.ManifestKey(key))
			if !bytes.Equal(stored, done.Manifest) {
				t.Fatal("the manifest in the bucket is another one")
			}
			m, err := artifact.ParseManifest(stored)
			if err != nil {
				t.Fatal(err)
			}
			st, facts, err := m.Verify(key, artifact.RecordedAgentKey, func(id string) (ed25519.PublicKey, error) {
				if id != wire.KeyID(public(controllerKey)) {
					return nil, fmt.Errorf("an unknown key %q signed", id)
				}
				return public(controllerKey), nil
			})
			if err != nil {
				t.Fatal(err)
			}
			same(t, "statement", st, u.statement)
			same(t, "facts", facts, artifact.Facts{
				BackupID: 12, Type: "manual", ReceivedAt: time.Unix(1700000200, 0).UTC(), Project: artifact.ProjectFacts{ID: 3, Slug: "shop-project", ExternalID: "ext-9"},
				Server:  artifact.ServerFacts{ID: agentID, Name: "db-7", SigningKey: public(agentKey), NKey: "UABC"},
				Storage: artifact.StorageFacts{ID: 6, Name: "main", Disk: "s3", ETag: done.Objects[0].ETag, VersionID: "v1"},
			})
			var meta map[string]any
			if err := json.Unmarshal(done.Metadata, &meta); err != nil {
				t.Fatal(err)
			}
			same(t, "metadata", meta, map[string]any{
				"tables_count": 12.0, "database_size": float64(7 << 20), "backup_method": "pg_dump custom", "compression": c.Compression,
				"tool": "pg_dump", "tool_version": "15.9", "server_version": "15.8", "extra": map[string]any{"extensions": []any{"hstore"}},
			})

			objects["manifest"] = done.Manifest
			names := []string{wire.ObjectArtifact, wire.ObjectFingerprint, wire.ObjectGlobals, "manifest"}
			if len(done.Objects) != len(names) {
				t.Fatalf("%d objects", len(done.Objects))
			}
			for i, o := range done.Objects {
				sum := sha256.Sum256(objects[names[i]])
				if o.Object != names[i] || o.StoredSize != int64(len(objects[o.Object])) || o.StoredSHA256 != fmt.Sprintf("%x", sum) || o.RawSize == 0 || len(o.RawSHA256) != 64 ||
					o.ETag == "" || o.VersionID != "v1" || !bytes.Equal(k.bucket.get(o.Key), objects[o.Object]) {
					t.Errorf("object %d: %+v", i, o)
				}
				encrypted := c.Encryption == "age" && o.Object != "manifest"
				if encrypted && !bytes.Equal(o.AgeHeader, ageHeader(t, objects[o.Object])) || !encrypted && o.AgeHeader != nil {
					t.Errorf("%s: header %q", o.Object, o.AgeHeader)
				}
				var mac []byte
				if c.Encryption == "aes-256-cbc" && o.Object != "manifest" {
					tag := aesKeys(t, o.Object).Tag(sum)
					mac = tag[:]
				}
				if !bytes.Equal(o.MAC, mac) {
					t.Errorf("%s: MAC %x, want %x", o.Object, o.MAC, mac)
				}
			}
			if opened := k.store.count("ProjectIdentitySecret"); (opened > 0) != (c.Encryption == "age") {
				t.Errorf("the project's key was opened %d times", opened)
			}
			if opened := k.store.count("ProjectAppKey"); (opened > 0) != (c.Encryption == "aes-256-cbc") {
				t.Errorf("the project's app key was opened %d times", opened)
			}
			if k.bucket.called("Put "+artifact.ManifestKey(key)+" application/json") != 1 {
				t.Error("the manifest was not put once, as JSON")
			}
			if e := k.events(); e != nil {
				t.Errorf("security events %v", e)
			}
		})
	}
}

func TestFinish_noSideObjects(t *testing.T) {
	k := start(t, nil)
	u := newUpload(t, k, "zstd", "age", func(s *artifact.Statement) { s.Fingerprint, s.Globals = nil, nil })
	k.finish(u.finishing)
	if o := k.finished("CompleteBackup").done.Objects; len(o) != 2 || o[0].Object != wire.ObjectArtifact || o[1].Object != "manifest" {
		t.Errorf("objects %+v", o)
	}
}

// What the store says about the upload, and what becomes of the attempt.
func TestFinish_settle(t *testing.T) {
	cause := wire.Failf(wire.CodeStorageUnavailable, "503 slow down").Retry()
	for name, c := range map[string]struct {
		outcome string
		err     error
		method  string
		code    string
		event   string
	}{
		"retry":      {fleet.SettleRetry, cause, "RetryFinish", wire.CodeStorageUnavailable, ""},
		"lost":       {fleet.SettleLost, cause, "FailFinish", wire.CodeUploadLost, ""},
		"refused":    {fleet.SettleRefused, cause, "FailFinish", wire.CodeChecksum, ""},
		"foreign":    {fleet.SettleForeign, cause, "FailFinish", wire.CodeForeignObject, controller.EventForeignObject},
		"no outcome": {"", cause, "FailFinish", wire.CodeChecksum, ""},
		"no reason":  {fleet.SettleRetry, nil, "RetryFinish", wire.CodeInternal, ""},
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, nil)
			u := newUpload(t, k, "zstd", "age", nil)
			k.bucket.settle = func(context.Context, string, string) (string, error) { return c.outcome, c.err }
			k.finish(u.finishing)
			w := k.finished(c.method)
			if w.attempt != attempt || w.failure.Code != c.code || !w.failure.Retryable || w.failure.Stage != wire.StageFinish || w.failure.Message == "" {
				t.Errorf("recorded %+v", w.failure)
			}
			if e := k.events(); len(e) > 1 || (c.event == "") != (e == nil) || (e != nil && e[0] != c.event) {
				t.Errorf("security events %v, want %q", e, c.event)
			}
			if k.bucket.get(artifact.ManifestKey(u.finishing.Key)) != nil {
				t.Error("a manifest was written")
			}
			if ids := k.bucket.ids(u.finishing.Key); len(ids) != 1 {
				t.Errorf("uploads %v: finishing aborts nothing, the sweep does", ids)
			}
		})
	}
}

// The pauses double up to two minutes; after fifty tries the attempt has failed.
func TestFinish_retryDelay(t *testing.T) {
	k := start(t, nil)
	u := newUpload(t, k, "zstd", "age", nil)
	k.bucket.settle = func(context.Context, string, string) (string, error) {
		return fleet.SettleRetry, wire.Failf(wire.CodeStorageUnavailable, "503").Retry()
	}
	tries := []int{0, 1, 2, 3, 6, 7, 40, 48}
	want := []time.Duration{1, 2, 4, 8, 64, 120, 120, 120}
	for i, n := range tries {
		u.finishing.Tries = n
		k.finish(u.finishing)
		eventually(t, "a retry", func() bool { return k.store.count("RetryFinish") == i+1 })
		if got := k.store.all("RetryFinish")[i].delay; got != want[i]*time.Second {
			t.Errorf("after %d tries: %s, want %s", n, got, want[i]*time.Second)
		}
	}
	u.finishing.Tries = 49
	k.finish(u.finishing)
	eventually(t, "the end", func() bool { return k.store.count("FailFinish") == 1 })
	if w := k.store.all("FailFinish")[0]; w.failure.Code != wire.CodeStorageUnavailable || !w.failure.Retryable {
		t.Errorf("failed with %+v", w.failure)
	}
}

// Each thing that is not as the statement says, or not to be had, when the upload itself is complete.
func TestFinish_checks(t *testing.T) {
	busy := wire.Failf(wire.CodeStorageUnavailable, "503 slow down").Retry()
	denied := wire.Failf(wire.CodeStorageDenied, "403")
	foreign := newAgeKeys(t)
	other, otherSums := encodeArtifact(t, artifact.Codec{Compression: "zstd", Encryption: "age", Recipients: []string{foreign.recipient}}, []byte("{}"))
	fingerprint := func(u *upload) string { return artifact.FingerprintKey(u.finishing.Key, u.statement.Codec) }
	for name, c := range map[string]struct {
		change    func(*testing.T, *kit, *upload)
		method    string
		code      string
		event     string
		final     bool // the failure is not retryable
		completed bool
	}{
		"side object changed": {func(_ *testing.T, k *kit, u *upload) {
			b := bytes.Clone(k.bucket.get(fingerprint(u)))
			b[len(b)-1] ^= 1
			k.bucket.put(fingerprint(u), b)
		}, "FailFinish", wire.CodeChecksum, "", false, false},
		"side object longer": {func(_ *testing.T, k *kit, u *upload) {
			k.bucket.put(fingerprint(u), append(bytes.Clone(k.bucket.get(fingerprint(u))), 0))
		}, "FailFinish", wire.CodeChecksum, "", false, false},
		"side object missing": {
			func(_ *testing.T, k *kit, u *upload) { _ = k.bucket.Delete(context.Background(), fingerprint(u)) },
			"FailFinish", wire.CodeMissing, "", false, false,
		},
		"side object too large": {
			func(_ *testing.T, k *kit, u *upload) { k.bucket.put(fingerprint(u), make([]byte, 16<<20+1)) },
			"FailFinish", wire.CodeLimit, "", true, false,
		},
		"side object of another key": {func(t *testing.T, k *kit, u *upload) {
			k.bucket.put(fingerprint(u), other)
			u.statement.Fingerprint = &otherSums
			u.finishing.Statement = signStatement(t, u.statement, agentKey)
		}, "FailFinish", wire.CodeForeignHeader, controller.EventForeignHeader, true, false},
		"side object not readable now": {func(_ *testing.T, k *kit, _ *upload) { k.bucket.failing("Get", busy) }, "RetryFinish", wire.CodeStorageUnavailable, "", false, false},
		"side object denied":           {func(_ *testing.T, k *kit, _ *upload) { k.bucket.failing("Get", denied) }, "FailFinish", wire.CodeStorageDenied, "", true, false},
		"head not possible now":        {func(_ *testing.T, k *kit, _ *upload) { k.bucket.failing("Head", busy) }, "RetryFinish", wire.CodeStorageUnavailable, "", false, false},
		"key of another project":       {func(_ *testing.T, k *kit, _ *upload) { k.store.identity = []byte(foreign.identity) }, "FailFinish", wire.CodeForeignHeader, controller.EventForeignHeader, true, false},
		"no age header":                {func(_ *testing.T, k *kit, u *upload) { k.bucket.put(u.finishing.Key, []byte("plain text")) }, "FailFinish", wire.CodeForeignHeader, controller.EventForeignHeader, true, false},
		"start not readable now":       {func(_ *testing.T, k *kit, _ *upload) { k.bucket.failing("ReadStart", busy) }, "RetryFinish", wire.CodeStorageUnavailable, "", false, false},
		"manifest not written now":     {func(_ *testing.T, k *kit, _ *upload) { k.bucket.failing("Put", busy) }, "RetryFinish", wire.CodeStorageUnavailable, "", false, false},
		"manifest denied":              {func(_ *testing.T, k *kit, _ *upload) { k.bucket.failing("Put", denied) }, "FailFinish", wire.CodeStorageDenied, "", true, false},
		"project's key not to be had":  {func(_ *testing.T, k *kit, _ *upload) { k.store.failing("ProjectIdentitySecret", errDown) }, "RetryFinish", wire.CodeInternal, "", false, false},
		"storage not to be had":        {func(_ *testing.T, k *kit, _ *upload) { k.store.failing("StorageAccess", errDown) }, "RetryFinish", wire.CodeInternal, "", false, false},
		"storage does not open":        {func(_ *testing.T, k *kit, _ *upload) { k.bucket.failing("Open", denied) }, "RetryFinish", wire.CodeStorageDenied, "", true, false},
		"other uploads not aborted":    {func(_ *testing.T, k *kit, _ *upload) { k.bucket.failing("AbortUploads", busy) }, "RetryFinish", wire.CodeStorageUnavailable, "", false, false},
		// The artifact is whole: a right that is lacking for tidiness is no reason to lose it.
		"listing uploads denied": {func(_ *testing.T, k *kit, _ *upload) { k.bucket.failing("AbortUploads", denied) }, "CompleteBackup", "", "", false, true},
		"forged statement": {
			func(t *testing.T, _ *kit, u *upload) {
				u.finishing.Statement = signStatement(t, u.statement, signer(66))
			},
			"FailFinish", wire.CodeStatement, controller.EventStatement, true, false,
		},
		"no statement": {func(_ *testing.T, _ *kit, u *upload) { u.finishing.Statement = nil }, "FailFinish", wire.CodeStatement, controller.EventStatement, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, nil)
			u := newUpload(t, k, "zstd", "age", nil)
			c.change(t, k, &u)
			k.finish(u.finishing)
			w := k.finished(c.method)
			if c.completed {
				return
			}
			if w.attempt != attempt || w.failure.Code != c.code || w.failure.Retryable == c.final {
				t.Errorf("recorded %+v", w.failure)
			}
			if e := k.events(); len(e) > 1 || (c.event == "") != (e == nil) || (e != nil && e[0] != c.event) {
				t.Errorf("security events %v, want %q", e, c.event)
			}
			if strings.Contains(k.log.String(), u.keys.identity) || strings.Contains(fmt.Sprint(w.failure), u.keys.identity) {
				t.Error("the project's key is shown")
			}
		})
	}
}

// The catalog's answer to the completion decides: its refusal ends the attempt, anything else leaves a whole artifact to a later try.
func TestFinish_commit(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		method string // none: nothing more is recorded
		event  string
	}{
		"unavailable":      {errDown, "RetryFinish", ""},
		"any other error":  {errStore, "RetryFinish", ""},
		"a known header":   {wire.Failf(wire.CodeForeignHeader, "copied from another backup"), "FailFinish", controller.EventForeignHeader},
		"claim passed on":  {wire.Failf(wire.CodeStale, "the claim has passed on"), "", ""},
		"wrapped refusal":  {fmt.Errorf("x: %w", wire.Failf(wire.CodeInternal, "no artifact")), "FailFinish", ""},
		"wrapped, passed":  {fmt.Errorf("x: %w", wire.Failf(wire.CodeStale, "the attempt ended")), "", ""},
		"the store's text": {fmt.Errorf("tx: %w", context.DeadlineExceeded), "RetryFinish", ""},
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, nil)
			u := newUpload(t, k, "zstd", "age", nil)
			k.store.failing("CompleteBackup", c.err)
			k.finish(u.finishing)
			eventually(t, "the completion is committed", func() bool { return k.store.count("CompleteBackup") == 1 })
			if c.method != "" {
				eventually(t, c.method, func() bool { return k.store.count(c.method) == 1 })
			}
			k.sweeps(5)
			if n := k.store.count("RetryFinish") + k.store.count("FailFinish"); (n != 0) != (c.method != "") || n > 1 {
				t.Errorf("recorded %+v", k.store.all(""))
			}
			if e := k.events(); (c.event == "") != (e == nil) || (e != nil && e[0] != c.event) {
				t.Errorf("security events %v, want %q", e, c.event)
			}
		})
	}
}

// While an upload settles its claim is extended; when the claim has passed on, the work ends and nothing is recorded.
func TestFinish_claim(t *testing.T) {
	k := start(t, func(o *fleet.Options) { o.ClaimEvery = 5 * time.Millisecond })
	u := newUpload(t, k, "zstd", "age", nil)
	ended := make(chan error, 1)
	k.bucket.settle = func(ctx context.Context, _, _ string) (string, error) {
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return fleet.SettleRetry, ctx.Err()
	}
	k.store.failing("ExtendClaim", errDown) // nobody knows: go on
	k.finish(u.finishing)
	eventually(t, "the claim is extended several times", func() bool { return k.store.count("ExtendClaim") >= 5 })
	select {
	case err := <-ended:
		t.Fatalf("ended though the claim may stand: %v", err)
	default:
	}
	k.store.failing("ExtendClaim", wire.Failf(wire.CodeStale, "taken by another controller"))
	if err := <-ended; !wire.HasCode(err, wire.CodeStale) || !strings.Contains(err.Error(), "claim passed on") {
		t.Errorf("ended with %v", err)
	}
	eventually(t, "a line in the log", func() bool { return strings.Contains(k.log.String(), "finishing interrupted") })
	k.sweeps(5)
	for _, m := range finishes {
		if k.store.count(m) != 0 {
			t.Errorf("%s was recorded", m)
		}
	}
	n := k.store.count("ExtendClaim")
	k.sweeps(5)
	if k.store.count("ExtendClaim") != n {
		t.Error("a claim that was given up is extended")
	}
}

func TestFinish_stop(t *testing.T) {
	k := start(t, nil)
	u := newUpload(t, k, "zstd", "age", nil)
	entered := make(chan struct{})
	k.bucket.settle = func(ctx context.Context, _, _ string) (string, error) {
		close(entered)
		<-ctx.Done()
		return fleet.SettleRetry, ctx.Err()
	}
	k.finish(u.finishing)
	<-entered
	k.fleet.Stop()
	for _, m := range finishes {
		if k.store.count(m) != 0 {
			t.Errorf("%s was recorded by a controller that stops", m)
		}
	}
}

// At most Finishers uploads are completed at once; those beyond are not claimed.
func TestFinish_bounded(t *testing.T) {
	k := start(t, func(o *fleet.Options) { o.Finishers = 2 })
	u := newUpload(t, k, "none", "none", func(s *artifact.Statement) { s.Fingerprint, s.Globals = nil, nil })
	var now, most atomic.Int32
	release := make(chan struct{})
	k.bucket.settle = func(context.Context, string, string) (string, error) {
		most.Store(max(most.Load(), now.Add(1)))
		<-release
		now.Add(-1)
		return fleet.SettleDone, nil
	}
	const n = 6
	for i := range n {
		w := u.finishing
		w.Attempt.Job, w.Attempt.Token = int64(100+i), fmt.Sprint("token-", i)
		k.finish(w)
	}
	eventually(t, "two are at work", func() bool { return now.Load() == 2 })
	k.sweeps(5)
	if left := func() int { k.store.mu.Lock(); defer k.store.mu.Unlock(); return len(k.store.finishing) }(); left != n-2 {
		t.Errorf("%d are left unclaimed, want %d", left, n-2)
	}
	close(release)
	eventually(t, "all are completed", func() bool { return k.store.count("CompleteBackup") == n })
	if most.Load() != 2 {
		t.Errorf("%d at once", most.Load())
	}
}

func TestUploaded(t *testing.T) {
	k := start(t, nil)
	u := newUpload(t, k, "zstd", "age", nil)
	k.store.ordered = &u.ordered
	r := wire.Report{Attempt: attempt, Outcome: wire.OutcomeUploaded, Statement: u.finishing.Statement, Done: []wire.PartDone{{Number: 1, ETag: "e1"}}, Log: "l"}
	for range 2 { // the first answer got lost
		if _, err := k.request(wire.VerbReport, r); err != nil {
			t.Fatal(err)
		}
	}
	w := k.store.all("ReportUploaded")
	if len(w) != 2 || w[0].agent != agentID || w[0].session != sessionID || k.store.count("ReportDone") != 0 {
		t.Fatalf("recorded %+v", k.store.all(""))
	}
	same(t, "report", string(encode(t, w[0].report)), string(encode(t, r)))
	k.store.failing("ReportUploaded", wire.Failf(wire.CodeBadRequest, "part 2 was not acknowledged"))
	if _, err := k.request(wire.VerbReport, r); !wire.HasCode(err, wire.CodeBadRequest) {
		t.Errorf("a report that the catalog refuses: %v", err)
	}
}

// A statement that differs from the order in any field ends the attempt, and is an event. The agent's part is over all the same.
func TestUploaded_statement(t *testing.T) {
	change := func(f func(*artifact.Statement)) func(*testing.T, *upload) []byte {
		return func(t *testing.T, u *upload) []byte {
			st := u.statement
			f(&st)
			return signStatement(t, st, agentKey)
		}
	}
	for name, statement := range map[string]func(*testing.T, *upload) []byte{
		"server":     change(func(s *artifact.Statement) { s.ServerID = "s666" }),
		"job":        change(func(s *artifact.Statement) { s.JobID = "42" }),
		"attempt":    change(func(s *artifact.Statement) { s.AttemptNo = 3 }),
		"attempt id": change(func(s *artifact.Statement) { s.AttemptID, s.Key = "ponmlkjihgfedcba", "p/x_ponmlkjihgfedcba.dump" }),
		"key":        change(func(s *artifact.Statement) { s.Key = "elsewhere/" + s.Key }),
		"engine":     change(func(s *artifact.Statement) { s.Engine = wire.EngineMySQL }),
		"database":   change(func(s *artifact.Statement) { s.Database = "payroll" }),
		"part size":  change(func(s *artifact.Statement) { s.PartSize = 16 << 20 }),
		"recipients": change(func(s *artifact.Statement) { s.Codec.Recipients = []string{newAgeKeys(t).recipient} }),
		"one recipient more": change(func(s *artifact.Statement) {
			s.Codec.Recipients = append(slices.Clone(s.Codec.Recipients), newAgeKeys(t).recipient)
		}),
		"encryption":          change(func(s *artifact.Statement) { s.Codec.Encryption, s.Codec.Recipients = "none", nil }),
		"compression":         change(func(s *artifact.Statement) { s.Codec.Compression, s.Codec.Level = "none", 0 }),
		"another agent's key": func(t *testing.T, u *upload) []byte { return signStatement(t, u.statement, signer(66)) },
		"changed when signed": func(_ *testing.T, u *upload) []byte {
			return bytes.Replace(u.finishing.Statement, []byte(`"parts":1`), []byte(`"parts":2`), 1)
		},
		"no statement":         func(*testing.T, *upload) []byte { return nil },
		"not a statement":      func(*testing.T, *upload) []byte { return []byte(`[1]`) },
		"a later format":       func(*testing.T, *upload) []byte { return []byte(`{"statement":{"format_version":99}}`) },
		"an unsigned one":      func(t *testing.T, u *upload) []byte { return encode(t, map[string]any{"statement": u.statement}) },
		"signature of nothing": func(*testing.T, *upload) []byte { return []byte(`{}`) },
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, nil)
			u := newUpload(t, k, "zstd", "age", nil)
			k.store.ordered = &u.ordered
			r := wire.Report{Attempt: attempt, Outcome: wire.OutcomeUploaded, Statement: statement(t, &u), Log: "the tool's words"}
			if _, err := k.request(wire.VerbReport, r); err != nil {
				t.Fatalf("the report was not taken: %v", err)
			}
			if k.store.count("ReportUploaded") != 0 {
				t.Fatal("the upload was taken")
			}
			w := k.store.all("ReportDone")
			if len(w) != 1 || w[0].report.Outcome != wire.OutcomeFailed || w[0].report.Failure.Code != wire.CodeStatement || w[0].report.Failure.Retryable ||
				w[0].attempt != attempt || w[0].report.Log != "the tool's words" {
				t.Errorf("recorded %+v", w)
			}
			if e := k.events(); len(e) != 1 || e[0] != controller.EventStatement {
				t.Errorf("security events %v", e)
			}
		})
	}
}

// A stale attempt is refused before its statement is looked at.
func TestUploaded_stale(t *testing.T) {
	k := start(t, nil)
	k.store.failing("AttemptOrder", wire.Failf(wire.CodeStale, "attempt 2 of job 41 ended"))
	if _, err := k.request(wire.VerbReport, wire.Report{Attempt: attempt, Outcome: wire.OutcomeUploaded}); !wire.HasCode(err, wire.CodeStale) {
		t.Errorf("answered %v", err)
	}
	if n := len(k.store.all("ReportDone")) + len(k.store.all("ReportUploaded")); n != 0 || k.events() != nil {
		t.Errorf("recorded %+v", k.store.all(""))
	}
}
