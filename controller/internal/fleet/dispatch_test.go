package fleet_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/fleet"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

// outcomes of a delivery in the catalog.
var outcomes = []string{"AttemptAccepted", "ReleaseOffer", "FailOffer"}

func (k *kit) outcome(want string) written {
	k.t.Helper()
	return k.only(want, without(outcomes, want)...)
}

func without(list []string, s string) (out []string) {
	for _, e := range list {
		if e != s {
			out = append(out, e)
		}
	}
	return out
}

const key = "p/backups/2025/01/02/shop_2025-01-02_030405_abcdefghijklmnop.dump.zst.age"

var attempt = wire.Attempt{Job: 41, No: 2, Token: "0123456789abcdef0123456789abcdef"}

func agentServer() controller.Server {
	return controller.Server{ID: 5, AgentID: agentID, Name: "db-7", Session: sessionID}
}

func backupOffer() controller.Offer {
	return controller.Offer{
		Attempt: attempt, Kind: wire.JobBackup, Server: agentServer(), ProjectID: 3, MaxDuration: 90 * time.Minute,
		Backup: controller.Backup{
			ID: 12, Instance: "main", DatabaseType: wire.EnginePostgreSQL, DatabaseName: `o'brien; drop "x"`, Compression: "zstd", Level: 7, Encryption: "age",
		},
		Storage:   &controller.StorageAccess{Storage: controller.Storage{ID: 6, ChecksumMode: wire.ChecksumMD5}},
		AttemptID: "abcdefghijklmnop", Key: key, PartSize: 16 << 20, DatabaseName: "ignored", Recipients: []string{"age1project", "age1escrow"},
	}
}

func (k *kit) offer(o controller.Offer) {
	k.store.set(func(s *store) { s.offers = append(s.offers, o) })
	k.fleet.Kick()
}

func TestDeliver_backup(t *testing.T) {
	k := start(t, nil)
	agent := k.accepting()
	k.offer(backupOffer())
	w := k.outcome("AttemptAccepted")
	if w.attempt != attempt || w.session != sessionID {
		t.Errorf("accepted %+v", w)
	}
	same(t, "job", agent.job(t, 0), wire.Job{
		Attempt: attempt, Kind: wire.JobBackup, MaxDurationSeconds: 5400,
		Backup: &wire.BackupOrder{
			AttemptID: "abcdefghijklmnop", Instance: "main", Engine: wire.EnginePostgreSQL, Database: `o'brien; drop "x"`, Key: key, PartSize: 16 << 20, Checksum: wire.ChecksumMD5,
			Codec: wire.Codec{Compression: "zstd", Level: 7, Encryption: "age", Recipients: []string{"age1project", "age1escrow"}},
		},
	})
	if k.bucket.created != 1 || k.store.all("SetUpload")[0].id != "upload-1" || k.store.all("SetUpload")[0].attempt != attempt {
		t.Errorf("%d uploads, recorded %+v", k.bucket.created, k.store.all("SetUpload"))
	}
	same(t, "uploads at the key", k.bucket.ids(key), []string{"upload-1"})
}

func TestDeliver_unencrypted(t *testing.T) {
	k := start(t, nil)
	agent := k.accepting()
	o := backupOffer()
	o.Backup.Encryption, o.Backup.Compression, o.Backup.Level = "none", "none", 0
	k.offer(o)
	k.outcome("AttemptAccepted")
	same(t, "codec", agent.job(t, 0).Backup.Codec, wire.Codec{Compression: "none", Encryption: "none"})
}

// The upload is opened once for each attempt.
func TestDeliver_again(t *testing.T) {
	k := start(t, nil)
	agent := k.accepting()
	o := backupOffer()
	o.UploadID = "earlier"
	k.offer(o)
	k.outcome("AttemptAccepted")
	if k.bucket.created != 0 || k.store.count("SetUpload") != 0 {
		t.Errorf("%d uploads were opened beside the one that stands", k.bucket.created)
	}
	k.offer(o) // the answer got lost
	eventually(t, "the attempt is accepted again", func() bool { return k.store.count("AttemptAccepted") == 2 })
	if !reflect.DeepEqual(agent.job(t, 0), agent.job(t, 1)) {
		t.Errorf("sent\n%+v\nand then\n%+v", agent.job(t, 0), agent.job(t, 1))
	}
	runs := agent.all(wire.VerbRun)
	if runs[0].ID == runs[1].ID {
		t.Error("two commands have one id")
	}
}

// An offer that comes while the same attempt is being delivered is left alone.
func TestDeliver_once(t *testing.T) {
	k := start(t, nil)
	release := make(chan struct{})
	var once sync.Once
	defer once.Do(func() { close(release) })
	accepted := encode(t, wire.Accepted{V: 1, Session: sessionID})
	agent := k.listen(func(wire.Directive) []byte { <-release; return accepted })
	for range 5 {
		k.offer(backupOffer())
	}
	eventually(t, "the offer arrives", func() bool { return len(agent.all(wire.VerbRun)) == 1 })
	k.sweeps(5)
	once.Do(func() { close(release) })
	k.outcome("AttemptAccepted")
	k.sweeps(5)
	if n := len(agent.all(wire.VerbRun)); n != 1 || k.bucket.created != 1 {
		t.Errorf("sent %d times, %d uploads", n, k.bucket.created)
	}
}

// Another controller was first: its upload stands, ours is aborted and nothing else.
func TestDeliver_uploadRace(t *testing.T) {
	k := start(t, nil)
	agent := k.accepting()
	k.store.upload = "first"
	k.bucket.open(key, "first")
	k.bucket.open("other/key", "theirs")
	k.offer(backupOffer())
	k.outcome("AttemptAccepted")
	same(t, "uploads at the key", k.bucket.ids(key), []string{"first"})
	same(t, "uploads elsewhere", k.bucket.ids("other/key"), []string{"theirs"})
	if len(agent.all(wire.VerbRun)) != 1 {
		t.Error("the job was not sent")
	}
}

func TestDeliver_setUpload(t *testing.T) {
	for name, c := range map[string]struct {
		err     error
		outcome string // none: nothing is recorded
		uploads []string
	}{
		// The attempt ended meanwhile: the upload is nobody's.
		"stale": {wire.Failf(wire.CodeStale, "attempt 2 of job 41 ended"), "", nil},
		// It may have been recorded: aborting it would cost the attempt.
		"unknown": {errDown, "ReleaseOffer", []string{"upload-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, nil)
			agent := k.accepting()
			k.store.failing("SetUpload", c.err)
			k.offer(backupOffer())
			eventually(t, "the upload is told to the catalog", func() bool { return k.store.count("SetUpload") == 1 })
			if c.outcome != "" {
				k.outcome(c.outcome)
			} else {
				k.sweeps(5)
				for _, m := range outcomes {
					if n := k.store.count(m); n != 0 {
						t.Errorf("%s recorded", m)
					}
				}
			}
			eventually(t, fmt.Sprintf("uploads %v at the key", c.uploads), func() bool { return reflect.DeepEqual(k.bucket.ids(key), c.uploads) })
			if len(agent.all(wire.VerbRun)) != 0 {
				t.Error("the job was sent")
			}
		})
	}
}

func TestDeliver_storageErrors(t *testing.T) {
	for _, method := range []string{"Open", "CreateUpload"} {
		t.Run(method, func(t *testing.T) {
			k := start(t, nil)
			agent := k.accepting()
			k.bucket.failing(method, wire.Failf(wire.CodeStorageDenied, "bucket %q: access denied", "b"))
			k.offer(backupOffer())
			if w := k.outcome("FailOffer"); w.failure.Code != wire.CodeStorageDenied || w.attempt != attempt {
				t.Errorf("failed with %+v", w.failure)
			}
			if len(agent.all(wire.VerbRun)) != 0 || k.store.count("SetUpload") != 0 {
				t.Error("the job went on")
			}
		})
	}
}

func TestDeliver_offline(t *testing.T) {
	k := start(t, nil)
	k.offer(backupOffer())
	if w := k.outcome("ReleaseOffer"); w.attempt != attempt || w.delay < time.Second || w.text != "the agent on db-7 is not connected" {
		t.Errorf("released %+v", w)
	}
}

func TestDeliver_silent(t *testing.T) {
	k := start(t, func(o *fleet.Options) { o.Accept = 100 * time.Millisecond })
	k.listen(func(wire.Directive) []byte { return nil })
	k.offer(backupOffer())
	if w := k.outcome("ReleaseOffer"); w.text != "the agent on db-7 did not answer" {
		t.Errorf("released %+v", w)
	}
}

func TestDeliver_answers(t *testing.T) {
	for name, c := range map[string]struct {
		answer  *wire.Failure
		outcome string
	}{
		"busy":    {wire.Failf(wire.CodeBusy, "2 jobs run here"), "ReleaseOffer"},
		"refused": {wire.Failf(wire.CodeUnknownInstance, "no instance %q", "main"), "FailOffer"},
		"retry":   {wire.Failf(wire.CodeDiskFull, "the journal cannot be written").Retry(), "FailOffer"},
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, nil)
			k.refusing(c.answer)
			k.offer(backupOffer())
			w := k.outcome(c.outcome)
			if c.outcome == "ReleaseOffer" && w.text != c.answer.Message {
				t.Errorf("released with %q", w.text)
			}
			if c.outcome == "FailOffer" && (w.failure.Code != c.answer.Code || w.failure.Retryable != c.answer.Retryable || w.failure.Message != c.answer.Message) {
				t.Errorf("failed with %+v", w.failure)
			}
		})
	}
	for name, answer := range map[string]string{"garbage": "\xff", "a number": "7", "nothing": "", "too much": strings.Repeat(" ", wire.MaxMessage+1)} {
		t.Run(name, func(t *testing.T) {
			k := start(t, nil)
			k.listen(func(wire.Directive) []byte { return []byte(answer) })
			k.offer(backupOffer())
			k.outcome("ReleaseOffer")
		})
	}
}

// The agent has the job; what the catalog says then decides whether it is sent again. It is never failed for it.
func TestDeliver_acceptedNotCommitted(t *testing.T) {
	for name, c := range map[string]struct {
		err     error
		release bool
	}{
		"unavailable":    {errDown, true},
		"other session":  {wire.Failf(wire.CodeSuperseded, "the session is not the current one"), true},
		"ended meantime": {wire.Failf(wire.CodeStale, "attempt 2 of job 41 ended"), false},
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, nil)
			k.accepting()
			k.store.failing("AttemptAccepted", c.err)
			k.offer(backupOffer())
			eventually(t, "acceptance is told to the catalog", func() bool { return k.store.count("AttemptAccepted") == 1 })
			if c.release {
				eventually(t, "the offer is released", func() bool { return k.store.count("ReleaseOffer") == 1 })
			}
			k.sweeps(5)
			if k.store.count("FailOffer") != 0 || (!c.release && k.store.count("ReleaseOffer") != 0) {
				t.Errorf("recorded %+v", k.store.all(""))
			}
		})
	}
}

func TestDeliver_unknownKind(t *testing.T) {
	k := start(t, nil)
	o := backupOffer()
	o.Kind = "drill"
	k.offer(o)
	if w := k.outcome("FailOffer"); w.failure.Code != wire.CodeInternal || !strings.Contains(w.failure.Message, `"drill"`) {
		t.Errorf("failed with %+v", w.failure)
	}
}

// Many offers are delivered side by side, more than are claimed at once.
func TestDeliver_many(t *testing.T) {
	k := start(t, nil)
	k.accepting()
	const n = 100
	k.store.set(func(s *store) {
		for i := range n {
			o := backupOffer()
			o.Attempt.Job, o.Attempt.Token = int64(i), fmt.Sprintf("token-%028d", i)
			s.offers = append(s.offers, o)
		}
	})
	k.fleet.Kick()
	eventually(t, "all are accepted", func() bool { return k.store.count("AttemptAccepted") == n })
	if k.bucket.created != n {
		t.Errorf("%d uploads for %d attempts", k.bucket.created, n)
	}
}

// keys of a project, an agent and of one encrypted object.
type ageKeys struct {
	identity, recipient           string // the project's
	agentIdentity, agentRecipient string
}

func newAgeKeys(t *testing.T) (k ageKeys) {
	t.Helper()
	var err error
	if k.identity, k.recipient, err = artifact.NewIdentity(); err != nil {
		t.Fatal(err)
	}
	if k.agentIdentity, k.agentRecipient, err = artifact.NewIdentity(); err != nil {
		t.Fatal(err)
	}
	return k
}

func readingOffer(t *testing.T, k *kit, kind string) (controller.Offer, ageKeys, map[string][]byte) {
	t.Helper()
	keys := newAgeKeys(t)
	k.store.identity = []byte(keys.identity)
	codec := artifact.Codec{Compression: "zstd", Level: 3, Encryption: "age", Recipients: []string{keys.recipient}}
	o := controller.Offer{
		Attempt: attempt, Kind: kind, Server: agentServer(), ProjectID: 3, MaxDuration: time.Hour, Level: wire.LevelContent, Recipients: codec.Recipients,
		Backup: controller.Backup{
			ID: 12, Instance: "main", DatabaseType: wire.EnginePostgreSQL, DatabaseName: "shop", Compression: "zstd", Level: 3, Encryption: "age",
			Metadata: json.RawMessage(`{"tool_version":"15.8"}`),
		},
		Storage: &controller.StorageAccess{}, Restore: &controller.Restore{Instance: "second", DatabaseName: "shop_copy"},
	}
	o.Server.Recipient = keys.agentRecipient
	stored := map[string][]byte{}
	for _, name := range []string{wire.ObjectArtifact, wire.ObjectFingerprint, wire.ObjectGlobals} {
		b, sums := encodeArtifact(t, codec, []byte(name+" content"))
		stored[name] = b
		o.Objects = append(o.Objects, controller.StoredObject{
			Object: name, Key: name, StoredSize: sums.StoredSize, StoredSHA256: sums.StoredSHA256.String(), RawSize: sums.RawSize, RawSHA256: sums.RawSHA256.String(),
			AgeHeader: ageHeader(t, b),
		})
	}
	o.Record = k.recorded(nil, o.Backup, o.Objects, codec)
	o.Objects = append(o.Objects, controller.StoredObject{Object: "manifest", Key: "m"})
	return o, keys, stored
}

// checkSource proves that the agent, and it alone, can read each object with what it was sent.
func checkSource(t *testing.T, s wire.Source, o controller.Offer, keys ageKeys, stored map[string][]byte) {
	t.Helper()
	if s.BackupID != 12 || s.Engine != wire.EnginePostgreSQL || s.Database != "shop" || s.ToolVersion != "15.8" || s.Codec.Encryption != "age" || s.Fingerprint == nil {
		t.Fatalf("source %+v", s)
	}
	for name, so := range map[string]wire.SourceObject{wire.ObjectArtifact: s.Artifact, wire.ObjectFingerprint: *s.Fingerprint} {
		plain, err := artifact.OpenSealed(so.SealedKey, keys.agentIdentity)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := artifact.OpenSealed(so.SealedKey, keys.identity); err == nil {
			t.Errorf("%s: sealed to another key too", name)
		}
		var sealed wire.SealedKey
		if err := wire.Decode(plain, &sealed); err != nil {
			t.Fatal(err)
		}
		if sealed.Attempt != o.Attempt || sealed.Object != name {
			t.Errorf("the key of %s is for %+v", name, sealed)
		}
		raw, err := decodeArtifact(stored[name], artifact.ReadOptions{Compression: "zstd", Encryption: "age", Identity: artifact.FileKeyIdentity(sealed.FileKey)})
		if err != nil || string(raw) != name+" content" {
			t.Errorf("%s: read %q, %v", name, raw, err)
		}
		if so.StoredSize != int64(len(stored[name])) || so.RawSize != int64(len(raw)) || len(so.StoredSHA256) != 64 || len(so.RawSHA256) != 64 {
			t.Errorf("%s: %+v", name, so)
		}
	}
}

func TestDeliver_restore(t *testing.T) {
	k := start(t, nil)
	agent := k.accepting()
	o, keys, stored := readingOffer(t, k, wire.JobRestore)
	k.offer(o)
	k.outcome("AttemptAccepted")
	job := agent.job(t, 0)
	if job.Restore == nil || job.Backup != nil || job.Verify != nil || job.Restore.Instance != "second" || job.Restore.Database != "shop_copy" {
		t.Fatalf("sent %+v", job)
	}
	if s := job.Restore.Staging; s != "devflow_staging_41_2_01234567" {
		t.Errorf("staging name %q", s)
	}
	checkSource(t, job.Restore.Source, o, keys, stored)
	if k.bucket.created != 0 {
		t.Error("a restore opened an upload")
	}
}

func TestDeliver_verify(t *testing.T) {
	k := start(t, nil)
	agent := k.accepting()
	o, keys, stored := readingOffer(t, k, wire.JobVerify)
	k.offer(o)
	k.outcome("AttemptAccepted")
	job := agent.job(t, 0)
	if job.Verify == nil || job.Verify.Level != wire.LevelContent || job.Verify.Instance != "main" {
		t.Fatalf("sent %+v", job)
	}
	checkSource(t, job.Verify.Source, o, keys, stored)
}

// A checksum needs no key, and none is opened.
func TestDeliver_verifyChecksum(t *testing.T) {
	k := start(t, nil)
	agent := k.accepting()
	o, _, _ := readingOffer(t, k, wire.JobVerify)
	o.Level = wire.LevelChecksum
	k.offer(o)
	k.outcome("AttemptAccepted")
	s := agent.job(t, 0).Verify.Source
	if s.Artifact.SealedKey != nil || s.Fingerprint.SealedKey != nil || s.Artifact.StoredSHA256 == "" || k.store.count("ProjectIdentitySecret") != 0 {
		t.Errorf("sent %+v, opened %d keys", s, k.store.count("ProjectIdentitySecret"))
	}
}

func TestDeliver_unreadable(t *testing.T) {
	other := newAgeKeys(t)
	for name, c := range map[string]struct {
		change  func(*kit, *controller.Offer)
		outcome string
		code    string
	}{
		"another project's key": {func(k *kit, _ *controller.Offer) { k.store.identity = []byte(other.identity) }, "FailOffer", wire.CodeWrongKey},
		"no stored header":      {func(_ *kit, o *controller.Offer) { o.Objects[0].AgeHeader = nil }, "FailOffer", wire.CodeWrongKey},
		"no artifact":           {func(_ *kit, o *controller.Offer) { o.Objects = o.Objects[1:] }, "FailOffer", wire.CodeMissing},
		"key not to be had":     {func(k *kit, _ *controller.Offer) { k.store.failing("ProjectIdentitySecret", errDown) }, "ReleaseOffer", ""},
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, nil)
			agent := k.accepting()
			o, keys, _ := readingOffer(t, k, wire.JobRestore)
			c.change(k, &o)
			k.offer(o)
			w := k.outcome(c.outcome)
			if c.code != "" && w.failure.Code != c.code {
				t.Errorf("failed with %+v", w.failure)
			}
			if len(agent.all(wire.VerbRun)) != 0 {
				t.Error("the job was sent")
			}
			if strings.Contains(k.log.String()+fmt.Sprint(w), strings.TrimPrefix(keys.identity, "AGE-SECRET-KEY-")) {
				t.Error("a secret key is shown")
			}
		})
	}
}
