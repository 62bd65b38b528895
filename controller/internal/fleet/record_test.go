package fleet_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

// recorded is what the catalog holds of a backup with these objects: rows and a manifest that agree. The manifest lies in the bucket, or
// on the host if there is one.
func (k *kit) recorded(h *host, b controller.Backup, objects []controller.StoredObject, c artifact.Codec) controller.Record {
	k.t.Helper()
	const at = "2025-01-02T03:04:05Z"
	when, err := time.Parse(time.RFC3339, at)
	if err != nil {
		k.t.Fatal(err)
	}
	st := artifact.Statement{
		FormatVersion: artifact.StatementVersion, ServerID: agentID, JobID: "40", AttemptNo: 1, AttemptID: attemptID,
		Key:    artifact.Key("p", when, artifact.FileName("shop", when, attemptID, "dump", c)),
		Engine: wire.EnginePostgreSQL, Database: "shop", ServerVersion: "15.6", ServerIdentity: "7301", Tool: "pg_dump", ToolVersion: "15.8", Method: "custom", Codec: c,
		Metadata: artifact.Metadata{Tables: 7, DatabaseSize: 1 << 20},
	}
	r := controller.Record{Backup: b, AgentID: agentID, JobID: 40, AttemptNo: 1, AttemptID: attemptID, Recipients: c.Recipients, ETag: "e", VersionID: "v1"}
	for _, o := range objects {
		if o.Object == controller.ObjectManifest {
			continue
		}
		s := artifact.Sums{StoredSize: o.StoredSize, RawSize: o.RawSize}
		copy(s.MAC[:], o.MAC)
		if s.StoredSHA256, err = artifact.ParseDigest(o.StoredSHA256); err == nil {
			s.RawSHA256, err = artifact.ParseDigest(o.RawSHA256)
		}
		if err != nil {
			k.t.Fatal(err)
		}
		o.ETag, o.VersionID = "e", "v1"
		switch o.Object {
		case wire.ObjectArtifact:
			o.Key, st.Sums = st.Key, s
		case wire.ObjectFingerprint:
			o.Key, st.Fingerprint = artifact.FingerprintKey(st.Key, c), &s
		case wire.ObjectGlobals:
			o.Key, st.Globals = artifact.GlobalsKey(st.Key, c), &s
		}
		r.Objects = append(r.Objects, o)
	}
	signed, err := artifact.SignStatement(st, wire.KeyID(public(agentKey)), agentKey)
	if err != nil {
		k.t.Fatal(err)
	}
	facts := artifact.Facts{
		BackupID: b.ID, Type: controller.TypeScheduled, ScheduleID: 9, ReceivedAt: when, Project: artifact.ProjectFacts{ID: 3, Slug: "shop"},
		Server:  artifact.ServerFacts{ID: agentID, Name: "db-7", SigningKey: public(agentKey), NKey: "UABC"},
		Storage: artifact.StorageFacts{ID: 6, Name: "main", Disk: "s3", ETag: "e", VersionID: "v1"},
	}
	m, err := artifact.Countersign(signed, facts, wire.KeyID(public(controllerKey)), controllerKey)
	if err == nil {
		r.Manifest, err = m.Encode()
	}
	if err != nil {
		k.t.Fatal(err)
	}
	sum, schedule := artifactSum(r.Manifest), int64(9)
	size := int64(len(r.Manifest))
	r.Objects = append(r.Objects, controller.StoredObject{
		Object: controller.ObjectManifest, Key: artifact.ManifestKey(st.Key), StoredSize: size, StoredSHA256: sum, RawSize: size, RawSHA256: sum,
	})
	stored, raw := st.StoredSHA256.String(), st.RawSHA256.String()
	r.Backup.ProjectID, r.Backup.StorageID, r.Backup.StorageDisk, r.Backup.Type, r.Backup.ScheduleID = 3, 6, "s3", controller.TypeScheduled, &schedule
	r.Backup.DatabaseType, r.Backup.DatabaseName, r.Backup.FilePath, r.Backup.FileName = st.Engine, st.Database, st.Key, path.Base(st.Key)
	r.Backup.FileSize, r.Backup.Checksum, r.Backup.RawSize, r.Backup.RawChecksum = &st.StoredSize, &stored, &st.RawSize, &raw
	r.Backup.Compression, r.Backup.Level, r.Backup.Encryption = c.Compression, c.Level, c.Encryption
	r.Backup.Metadata = json.RawMessage(`{"tables_count":7,"database_size":1048576,"tool_version":"15.8","server_version":"15.6","server_identity":"7301"}`)
	if h == nil {
		k.bucket.put(artifact.ManifestKey(st.Key), r.Manifest)
	} else {
		h.set(func(h *host) { h.files[artifact.ManifestKey(st.Key)] = r.Manifest })
	}
	return r
}

// edits are what an SQL statement can do to the rows of a backup.
var edits = map[string]func(*controller.Record){
	"id":                         func(r *controller.Record) { r.Backup.ID = 13 },
	"project_id":                 func(r *controller.Record) { r.Backup.ProjectID = 4 },
	"server_id":                  func(r *controller.Record) { r.AgentID = "s4f3" },
	"storage_id":                 func(r *controller.Record) { r.Backup.StorageID = 7 },
	"storage_disk":               func(r *controller.Record) { r.Backup.StorageDisk = "local" },
	"type":                       func(r *controller.Record) { r.Backup.Type = controller.TypeManual },
	"schedule_id":                func(r *controller.Record) { r.Backup.ScheduleID = nil },
	"database_type":              func(r *controller.Record) { r.Backup.DatabaseType = wire.EngineMySQL },
	"database_name":              func(r *controller.Record) { r.Backup.DatabaseName = "shop2" },
	"file_path":                  func(r *controller.Record) { r.Backup.FilePath += "x" },
	"file_name":                  func(r *controller.Record) { r.Backup.FileName += "x" },
	"file_size":                  func(r *controller.Record) { r.Backup.FileSize = other(*r.Backup.FileSize) },
	"checksum":                   func(r *controller.Record) { r.Backup.Checksum = &zeros },
	"raw_size":                   func(r *controller.Record) { r.Backup.RawSize = other(*r.Backup.RawSize) },
	"raw_checksum":               func(r *controller.Record) { r.Backup.RawChecksum = &zeros },
	"composite":                  func(r *controller.Record) { r.Composite = "x-1" },
	"etag":                       func(r *controller.Record) { r.ETag = "f" },
	"version_id":                 func(r *controller.Record) { r.VersionID = "v0" },
	"compression":                func(r *controller.Record) { r.Backup.Compression = "gzip" },
	"level":                      func(r *controller.Record) { r.Backup.Level++ },
	"encryption":                 func(r *controller.Record) { r.Backup.Encryption = "none" },
	"metadata":                   func(r *controller.Record) { r.Backup.Metadata = json.RawMessage(`[]`) },
	"metadata (tool_version)":    func(r *controller.Record) { r.Backup.Metadata = replaced(r, "15.8", "16.0") },
	"metadata (server_version)":  func(r *controller.Record) { r.Backup.Metadata = replaced(r, "15.6", "16.0") },
	"metadata (server_identity)": func(r *controller.Record) { r.Backup.Metadata = replaced(r, "7301", "7302") },
	"metadata (tables_count)":    func(r *controller.Record) { r.Backup.Metadata = replaced(r, ":7", ":8") },
	"metadata (database_size)":   func(r *controller.Record) { r.Backup.Metadata = replaced(r, "1048576", "1048577") },
	"attempt (job_id)":           func(r *controller.Record) { r.JobID++ },
	"attempt (no)":               func(r *controller.Record) { r.AttemptNo++ },
	"attempt (attempt_id)":       func(r *controller.Record) { r.AttemptID = "ponmlkjihgfedcba" },
	"attempt (recipients)":       func(r *controller.Record) { r.Recipients = append(slices.Clone(r.Recipients), "age1evil") },
	"manifest": func(r *controller.Record) {
		r.Manifest = []byte(strings.Replace(string(r.Manifest), `"shop"`, `"shoq"`, 1))
	},
	"artifact's key":           func(r *controller.Record) { r.Objects[0].Key = "p/backups/other" },
	"artifact's stored_size":   func(r *controller.Record) { r.Objects[0].StoredSize++ },
	"artifact's stored_sha256": func(r *controller.Record) { r.Objects[0].StoredSHA256 = zeros },
	"artifact's raw_size":      func(r *controller.Record) { r.Objects[0].RawSize++ },
	"artifact's raw_sha256":    func(r *controller.Record) { r.Objects[0].RawSHA256 = zeros },
	"artifact's mac":           func(r *controller.Record) { r.Objects[0].MAC = []byte{1} },
	"artifact's etag":          func(r *controller.Record) { r.Objects[0].ETag = "f" },
	"fingerprint's key":        func(r *controller.Record) { r.Objects[1].Key = r.Objects[2].Key },
	"globals's raw_sha256":     func(r *controller.Record) { r.Objects[2].RawSHA256 = zeros },
	"fingerprint":              func(r *controller.Record) { r.Objects = slices.Delete(slices.Clone(r.Objects), 1, 2) },
	"manifest's stored_sha256": func(r *controller.Record) { r.Objects[3].StoredSHA256 = zeros },
	"artifact":                 func(r *controller.Record) { r.Objects = r.Objects[1:] },
}

var zeros = strings.Repeat("0", 64)

func other(n int64) *int64 { n++; return &n }

func replaced(r *controller.Record, old, text string) json.RawMessage {
	return json.RawMessage(strings.Replace(string(r.Backup.Metadata), old, text, 1))
}

// Fault 65: whatever is edited in the catalog's rows of a backup, it is neither verified nor restored nor fetched, and the column is named.
func TestFault65_Edited(t *testing.T) {
	k := start(t, nil)
	agent := k.accepting()
	o, _, _ := readingOffer(t, k, wire.JobVerify)
	n := 0
	for column, edit := range edits {
		for _, kind := range []string{wire.JobVerify, wire.JobRestore} {
			n++
			edited := o
			edited.Kind, edited.Attempt = kind, wire.Attempt{Job: int64(100 + n), No: 1, Token: wire.NewID()}
			edited.Record.Objects = slices.Clone(o.Record.Objects)
			edit(&edited.Record)
			k.offer(edited)
			eventually(t, kind+" with another "+column, func() bool { return k.store.count("FailOffer") == n })
			w := k.store.all("FailOffer")[n-1]
			if w.failure.Code != wire.CodeRecord || w.failure.Retryable || !strings.Contains(w.failure.Message, "catalog's "+column) {
				t.Errorf("%s with another %s: %+v", kind, column, w.failure)
			}
			if w := k.store.all("RecordDiffers"); len(w) != n || !strings.Contains(w[n-1].text, "catalog's "+column) {
				t.Errorf("%s with another %s: recorded %+v", kind, column, w)
			}
		}
		d := controller.Download{Record: o.Record, Format: controller.FormatStored, StorageID: 6, Object: o.Record.Objects[0], Backup: o.Record.Backup}
		d.Record.Objects = slices.Clone(o.Record.Objects)
		edit(&d.Record)
		if err := k.fleet.StreamDownload(t.Context(), d, 0, io.Discard); controller.ErrorCode(err) != controller.EConflict || !strings.Contains(err.Error(), column) {
			t.Errorf("fetched with another %s: %v", column, err)
		}
		if _, ok, err := k.fleet.DownloadURL(t.Context(), d); ok || controller.ErrorCode(err) != controller.EConflict || !strings.Contains(err.Error(), column) {
			t.Errorf("a link with another %s: %t, %v", column, ok, err)
		}
		k.store.set(func(s *store) { s.log, n = nil, 0 })
	}
	if len(agent.all(wire.VerbRun)) != 0 {
		t.Error("a job was sent")
	}
	// Unchanged, all of them go through.
	o.Attempt.Token = wire.NewID()
	k.offer(o)
	eventually(t, "the unchanged one is sent", func() bool { return k.store.count("AttemptAccepted") == 1 })
}

// Where the difference cannot be recorded, nothing is decided and nothing read.
func TestFault65_NotRecorded(t *testing.T) {
	k := start(t, nil)
	agent := k.accepting()
	o, _, _ := readingOffer(t, k, wire.JobRestore)
	o.Record.AgentID = "s4f3"
	k.store.failing("RecordDiffers", errDown)
	k.offer(o)
	k.outcome("ReleaseOffer")
	if len(agent.all(wire.VerbRun)) != 0 {
		t.Error("the job was sent")
	}
}

// A manifest that was signed by a key that the installation had before holds; one by another's key does not.
func TestFault65_Keys(t *testing.T) {
	for name, c := range map[string]struct {
		seed byte
		want string
	}{"former key": {8, "AttemptAccepted"}, "foreign key": {66, "FailOffer"}} {
		t.Run(name, func(t *testing.T) {
			k := start(t, nil)
			k.accepting()
			o, _, _ := readingOffer(t, k, wire.JobRestore)
			m, err := artifact.ParseManifest(o.Record.Manifest)
			if err != nil {
				t.Fatal(err)
			}
			var facts artifact.Facts
			if err := json.Unmarshal(m.Facts, &facts); err != nil {
				t.Fatal(err)
			}
			m, err = artifact.Countersign(m.Signed, facts, wire.KeyID(public(signer(c.seed))), signer(c.seed))
			if err == nil {
				o.Record.Manifest, err = m.Encode()
			}
			if err != nil {
				t.Fatal(err)
			}
			size, sum := int64(len(o.Record.Manifest)), artifactSum(o.Record.Manifest)
			last := &o.Record.Objects[3]
			last.StoredSize, last.RawSize, last.StoredSHA256, last.RawSHA256 = size, size, sum, sum
			k.offer(o)
			if w := k.outcome(c.want); c.want == "FailOffer" && (w.failure.Code != wire.CodeRecord || !strings.Contains(w.failure.Message, "no key of this installation")) {
				t.Errorf("failed with %+v", w.failure)
			}
		})
	}
}

// A verification reads the manifest at the storage too.
func TestDeliver_verifyManifest(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(k *kit, key string)
		outcome string
		code    string
	}{
		"other bytes": {func(k *kit, key string) { k.bucket.put(key, flipped(k.bucket.objects[key], 9)) }, "FailOffer", wire.CodeCorrupt},
		"longer":      {func(k *kit, key string) { k.bucket.put(key, append(k.bucket.objects[key], '\n')) }, "FailOffer", wire.CodeCorrupt},
		"huge":        {func(k *kit, key string) { k.bucket.put(key, make([]byte, artifact.MaxManifestSize+1)) }, "FailOffer", wire.CodeCorrupt},
		"gone":        {func(k *kit, key string) { delete(k.bucket.objects, key) }, "FailOffer", wire.CodeMissing},
		"store down": {
			func(k *kit, _ string) {
				k.bucket.failing("Get", wire.Failf(wire.CodeStorageUnavailable, "503").Retry())
			}, "FailOffer", wire.CodeStorageUnavailable,
		},
		"cancelled": {func(k *kit, _ string) { k.bucket.failing("Get", context.Canceled) }, "ReleaseOffer", ""},
		"damaged":   {func(k *kit, _ string) { k.bucket.failing("Get", errors.New("x")) }, "ReleaseOffer", ""},
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, nil)
			agent := k.accepting()
			o, _, _ := readingOffer(t, k, wire.JobVerify)
			c.change(k, artifact.ManifestKey(o.Record.Backup.FilePath))
			k.offer(o)
			w := k.outcome(c.outcome)
			if c.code != "" && w.failure.Code != c.code {
				t.Errorf("failed with %+v", w.failure)
			}
			if len(agent.all(wire.VerbRun)) != 0 {
				t.Error("the job was sent")
			}
		})
	}
}

func artifactSum(b []byte) string { return artifact.Digest(sha256.Sum256(b)).String() }
