package fleet_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/fleet"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

func localOffer() controller.Offer {
	o := backupOffer()
	o.Storage = &controller.StorageAccess{Storage: controller.Storage{ID: 6, Kind: controller.StorageLocal, ChecksumMode: wire.ChecksumSHA256}}
	o.UploadID, o.PartSize = controller.LocalUpload, 0
	return o
}

func (h *host) job(t *testing.T) wire.Job {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.jobs) == 0 {
		t.Fatal("no job was sent")
	}
	return h.jobs[0]
}

func TestDeliver_local(t *testing.T) {
	for _, upload := range []string{controller.LocalUpload, ""} {
		k := start(t, nil)
		h := newHost(k)
		o := localOffer()
		o.UploadID = upload
		k.offer(o)
		k.outcome("AttemptAccepted")
		want := *h.job(t).Backup
		same(t, "order", want, wire.BackupOrder{
			AttemptID: attemptID, Instance: "main", Engine: wire.EnginePostgreSQL, Database: o.Backup.DatabaseName, Key: key, Local: true,
			Codec: wire.Codec{Compression: "zstd", Level: 7, Encryption: "age", Recipients: []string{"age1project", "age1escrow"}},
		})
		if w := k.store.all("SetUpload"); (upload == "") != (len(w) == 1) || upload == "" && w[0].id != controller.LocalUpload {
			t.Errorf("recorded %+v", w)
		}
		k.noBucket()
	}
}

// A backup on one host is not read by another.
func TestDeliver_localElsewhere(t *testing.T) {
	for _, kind := range []string{wire.JobVerify, wire.JobRestore} {
		k := start(t, nil)
		h := newHost(k)
		o, _, _ := readingOffer(t, k, kind)
		o.Storage.Kind = controller.StorageLocal
		o.Backup.ServerID, o.Backup.Server = 77, "db-1"
		k.offer(o)
		w := k.outcome("FailOffer")
		if w.failure.Code != wire.CodeNotAllowed || w.failure.Retryable || !strings.Contains(w.failure.Error(), "db-1") || !strings.Contains(w.failure.Hint, "backup download") {
			t.Errorf("%s: failed with %+v", kind, w.failure)
		}
		if len(h.jobs) != 0 {
			t.Errorf("%s: the job was sent", kind)
		}
	}
}

func TestDeliver_localRead(t *testing.T) {
	k := start(t, nil)
	h := newHost(k)
	o, keys, stored := readingOffer(t, k, wire.JobRestore)
	o.Storage.Kind = controller.StorageLocal
	o.Backup.ServerID = h.server.ID
	k.offer(o)
	k.outcome("AttemptAccepted")
	src := h.job(t).Restore.Source
	checkSource(t, src, o, keys, stored)
	if !src.Local || src.Artifact.Key != wire.ObjectArtifact || src.Fingerprint.Key != wire.ObjectFingerprint {
		t.Errorf("source %+v", src)
	}
	k.noBucket()
}

func TestFinish_local(t *testing.T) {
	for _, c := range artifact.Codecs() {
		t.Run(c.Compression+" "+c.Encryption, func(t *testing.T) {
			k := start(t, nil)
			h := newHost(k)
			u := newLocalUpload(t, k, h, c.Compression, c.Encryption, nil)
			key := u.finishing.Key
			k.finish(u.finishing)
			done := k.finished("CompleteBackup").done
			m, err := artifact.ParseManifest(h.get(artifact.ManifestKey(key)))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(h.get(artifact.ManifestKey(key)), done.Manifest) {
				t.Error("the manifest on the host is another one")
			}
			st, facts, err := m.Verify(key, artifact.RecordedAgentKey, func(string) (ed25519.PublicKey, error) { return public(controllerKey), nil })
			if err != nil {
				t.Fatal(err)
			}
			same(t, "statement", st, u.statement)
			if facts.Storage.Disk != "local" || facts.Storage.ETag != "" {
				t.Errorf("facts %+v", facts.Storage)
			}
			if len(done.Objects) != 4 || done.Composite != "" {
				t.Fatalf("completed %+v", done)
			}
			for _, o := range done.Objects {
				b := h.get(o.Key)
				if o.StoredSize != int64(len(b)) || o.StoredSHA256 != fmt.Sprintf("%x", sha256.Sum256(b)) || o.ETag != "" ||
					(len(o.AgeHeader) > 0) != (c.Encryption == "age" && o.Object != "manifest") || (len(o.MAC) == 32) != (c.Encryption == "aes-256-cbc" && o.Object != "manifest") {
					t.Errorf("object %+v of %d bytes", o, len(b))
				}
			}
			k.noBucket()
		})
	}
}

// Faults 36, 43 and 46 where the store is the host's directory.
func TestFinish_localFaults(t *testing.T) {
	fingerprint := func(u upload) string { return artifact.FingerprintKey(u.finishing.Key, u.statement.Codec) }
	for name, c := range map[string]struct {
		change func(*kit, *host, upload)
		method string
		code   string
		retry  bool // the failure allows another attempt
	}{
		"43 file gone":         {func(_ *kit, h *host, u upload) { delete(h.files, u.finishing.Key) }, "FailFinish", wire.CodeUploadLost, true},
		"43 side object gone":  {func(_ *kit, h *host, u upload) { delete(h.files, fingerprint(u)) }, "FailFinish", wire.CodeMissing, true},
		"46 a shorter file":    {func(_ *kit, h *host, u upload) { h.files[u.finishing.Key] = h.files[u.finishing.Key][:9] }, "FailFinish", wire.CodeChecksum, true},
		"46 a longer file":     {func(_ *kit, h *host, u upload) { h.files[u.finishing.Key] = append(h.files[u.finishing.Key], 0) }, "FailFinish", wire.CodeChecksum, true},
		"46 other side object": {func(_ *kit, h *host, u upload) { h.files[fingerprint(u)] = flipped(h.files[fingerprint(u)], 3) }, "FailFinish", wire.CodeChecksum, true},
		"no directory any more": {
			func(_ *kit, h *host, _ upload) {
				h.fail[wire.LocalStat] = wire.Failf(wire.CodeNotAllowed, "this host has no backup directory")
			}, "RetryFinish", wire.CodeNotAllowed, false,
		},
		"disk full": {func(_ *kit, h *host, _ upload) {
			h.fail[wire.LocalWrite] = wire.Failf(wire.CodeDiskFull, "no space is left").Retry()
		}, "RetryFinish", wire.CodeDiskFull, true},
		"garbage": {func(_ *kit, h *host, u upload) {
			h.files[u.finishing.Key] = make([]byte, len(h.files[u.finishing.Key]))
		}, "FailFinish", wire.CodeForeignHeader, false},
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, nil)
			h := newHost(k)
			u := newLocalUpload(t, k, h, "zstd", "age", nil)
			h.set(func(h *host) { c.change(k, h, u) })
			k.finish(u.finishing)
			w := k.finished(c.method)
			if w.failure.Code != c.code || w.failure.Retryable != c.retry {
				t.Errorf("recorded %+v", w.failure)
			}
			k.noBucket()
		})
	}
}

// Fault 36: an answer gets lost, at each step; the next try completes the backup, once, with the same manifest.
func TestFinish_localAnswerLost(t *testing.T) {
	for _, op := range []string{wire.LocalStat, wire.LocalWrite} {
		t.Run(op, func(t *testing.T) {
			k := start(t, func(o *fleet.Options) { o.Accept = 150 * time.Millisecond })
			h := newHost(k)
			u := newLocalUpload(t, k, h, "zstd", "none", nil)
			h.set(func(h *host) { h.silent[op] = 1 })
			k.finish(u.finishing)
			if w := k.finished("RetryFinish"); w.failure.Code != wire.CodeOffline || !strings.Contains(w.failure.Message, "db-7") {
				t.Errorf("recorded %+v", w.failure)
			}
			first := h.get(artifact.ManifestKey(u.finishing.Key))
			u.finishing.Tries = 1
			k.finish(u.finishing)
			eventually(t, "it is completed", func() bool { return k.store.count("CompleteBackup") == 1 })
			if last := h.get(artifact.ManifestKey(u.finishing.Key)); op == wire.LocalWrite && !bytes.Equal(first, last) {
				t.Error("the manifest was written twice with other bytes")
			}
		})
	}
}

// A host that is away is waited for, however often it was asked; it costs no try, and the reason is told.
func TestFinish_localOffline(t *testing.T) {
	k := start(t, nil)
	h := newHost(k)
	u := newLocalUpload(t, k, h, "zstd", "age", nil)
	h.disconnect()
	for i, tries := range []int{0, 49, 5000} {
		u.finishing.Tries = tries
		k.finish(u.finishing)
		eventually(t, "it is put off", func() bool { return k.store.count("RetryFinish") == i+1 })
		if w := k.store.all("RetryFinish")[i]; w.failure.Code != wire.CodeOffline || w.failure.Message != "the agent on db-7 is not connected" || w.delay != 10*time.Second {
			t.Errorf("put off %+v", w)
		}
	}
	h.connect()
	k.finish(u.finishing)
	k.completedAfter(t, 3)
	if k.store.count("FailFinish") != 0 {
		t.Error("the attempt failed")
	}
}

// completedAfter waits for the completion after so many retries.
func (k *kit) completedAfter(t *testing.T, retries int) {
	t.Helper()
	eventually(t, "it is completed", func() bool { return k.store.count("CompleteBackup") == 1 })
	if n := k.store.count("RetryFinish"); n != retries {
		t.Errorf("%d retries, want %d", n, retries)
	}
}

// An agent asks for no URL of a file; if it does, there is none.
func TestLocal_noURL(t *testing.T) {
	k := start(t, nil)
	newHost(k)
	k.store.part, k.store.read = controller.PartTarget{StorageID: 6, Key: key}, controller.ReadTarget{StorageID: 6, Object: controller.StoredObject{Key: key}}
	for verb, req := range map[string]any{
		wire.VerbPart: wire.PartRequest{Attempt: attempt, Object: wire.ObjectArtifact, Number: 1},
		"side":        wire.PartRequest{Attempt: attempt, Object: wire.ObjectGlobals},
		wire.VerbRead: wire.ReadRequest{Attempt: attempt, Object: wire.ObjectArtifact},
	} {
		if verb == "side" {
			verb = wire.VerbPart
		}
		if _, err := k.request(verb, req); !wire.HasCode(err, wire.CodeBadRequest) {
			t.Errorf("%s: %v", verb, err)
		}
	}
	k.noBucket()
}

func TestClean_local(t *testing.T) {
	k := start(t, nil)
	h := newHost(k)
	codec := artifact.CodecOf(key)
	for _, o := range []string{key, key + ".partial", artifact.ManifestKey(key), artifact.FingerprintKey(key, codec), artifact.GlobalsKey(key, codec) + ".partial", "another"} {
		h.files[o] = []byte("x")
	}
	dead := controller.DeadUpload{Attempt: attempt, Server: h.server, StorageID: 6, Key: key, UploadID: controller.LocalUpload}
	later := func(want int, most time.Duration) {
		t.Helper()
		k.store.set(func(s *store) { s.dead = append(s.dead, dead) })
		eventually(t, "it is put off", func() bool { return k.store.count("UploadSweepLater") == want })
		if w := k.store.all("UploadSweepLater")[want-1]; w.delay < time.Second || w.delay > most {
			t.Errorf("put off %+v", w)
		}
	}
	h.disconnect()
	later(1, time.Minute)
	h.connect()
	h.set(func(h *host) { h.fail[wire.LocalDelete] = wire.Failf(wire.CodeBusy, "it is being written").Retry() })
	later(2, time.Minute)
	if strings.Contains(k.log.String(), "[WARN]") {
		t.Error("a host that is away or at work is a warning")
	}
	h.set(func(h *host) { h.fail[wire.LocalDelete] = wire.Failf(wire.CodeDiskFull, "the disk is read-only") })
	later(3, time.Hour)
	if !strings.Contains(k.log.String(), "the disk is read-only") {
		t.Error("a fault of the disk is not told")
	}
	if len(h.keys()) != 6 {
		t.Errorf("files %v", h.keys())
	}
	h.set(func(h *host) { clear(h.fail) })
	k.store.set(func(s *store) { s.dead = append(s.dead, dead) })
	eventually(t, "it is swept", func() bool { return k.store.count("UploadSwept") == 1 })
	same(t, "files", h.keys(), []string{"another"})
	k.noBucket()
}

// A deletion waits while the host is away, and says so; the row is closed when the files were seen gone.
func TestClean_localDeletion(t *testing.T) {
	k := start(t, nil)
	h := newHost(k)
	h.files[key], h.files[artifact.ManifestKey(key)], h.files["another"] = []byte("x"), []byte("{}"), []byte("y")
	due := controller.Deletion{Backup: 12, Server: h.server, StorageID: 6, Keys: []string{key, artifact.ManifestKey(key)}}
	order := func() { k.store.set(func(s *store) { s.deletions = append(s.deletions, due) }) }
	h.disconnect()
	order()
	w := k.only("DeletionLater", "DeletionDone")
	if w.backup != 12 || w.delay > time.Minute || !strings.Contains(w.text, "the agent on db-7 is not connected") {
		t.Errorf("put off %+v", w)
	}
	h.connect()
	h.set(func(h *host) { h.sticky = artifact.ManifestKey(key) })
	order()
	eventually(t, "it is put off again", func() bool { return k.store.count("DeletionLater") == 2 })
	if w := k.store.all("DeletionLater")[1]; !strings.Contains(w.text, "still there") || k.store.count("DeletionDone") != 0 {
		t.Errorf("a file that stayed: %+v", w)
	}
	h.set(func(h *host) { h.sticky = "" })
	order()
	eventually(t, "it is done", func() bool { return k.store.count("DeletionDone") == 1 })
	same(t, "files", h.keys(), []string{"another"})
}

// A probe of a local storage has one step for each host that can be asked.
func TestProbe_local(t *testing.T) {
	k := start(t, nil)
	h := newHost(k)
	dir := &wire.LocalDir{Dir: "/srv/backups", FreeBytes: 3 << 30, TotalBytes: 10 << 30, MinFree: 1 << 30}
	h.server.Online, h.server.Host.Local = true, dir
	project := int64(3)
	server := func(change func(*controller.Server)) controller.Server {
		s := h.server
		s.AgentID, s.Name = "soffline", "other"
		change(&s)
		return s
	}
	now := time.Now()
	k.store.servers = []controller.Server{
		server(func(s *controller.Server) { s.Online = false }),
		server(func(s *controller.Server) { s.RevokedAt = &now }),
		server(func(s *controller.Server) { s.Host.Local = nil }),
	}
	probe := func() (fleet.ProbeResult, string) {
		t.Helper()
		res, err := k.fleet.ProbeStored(t.Context(), 6)
		if err != nil {
			t.Fatal(err)
		}
		w := k.store.all("UpdateProbe")
		if last := w[len(w)-1]; last.backup != 6 || last.text != string(res.Report) || (last.count == 1) != res.OK || last.id != "" {
			t.Errorf("recorded %+v", last)
		}
		return res, string(res.Report)
	}
	if res, text := probe(); !res.OK || !strings.Contains(text, "nothing was tried") || !strings.Contains(text, "same host") {
		t.Errorf("without hosts: %+v %s", res, text)
	}

	k.store.servers = append(k.store.servers, h.server)
	h.set(func(h *host) {
		h.probe = wire.LocalReply{V: 1, Dir: dir, Steps: []wire.LocalStep{{Name: "write", OK: true, Millis: 2}, {Name: "delete", OK: true, Millis: 1}}}
	})
	if res, text := probe(); !res.OK || strings.Count(text, `"name"`) != 1 || !strings.Contains(text, `"name":"db-7","ok":true`) || !strings.Contains(text, `"millis":`) ||
		!strings.Contains(text, "/srv/backups: 3.0 GiB of 10.0 GiB free, write 2 ms, delete 1 ms") {
		t.Errorf("one host: %+v %s", res, text)
	}

	// Of several one fails: the storage is used all the same.
	k.store.servers = append(k.store.servers, server(func(*controller.Server) {}))
	if res, text := probe(); !res.OK || !strings.Contains(text, "1 of 2 hosts cannot be used") || !strings.Contains(text, "the agent on other is not connected") {
		t.Errorf("one of two: %+v %s", res, text)
	}
	k.store.servers = k.store.servers[:4]
	for name, c := range map[string]struct {
		change func(*wire.LocalReply)
		says   string
	}{
		"step": {func(r *wire.LocalReply) { r.Steps[0] = wire.LocalStep{Name: "write", Detail: "read-only file system"} }, "write: read-only file system"},
		"space": {func(r *wire.LocalReply) {
			r.Dir = &wire.LocalDir{Dir: "/srv/backups", FreeBytes: 5, TotalBytes: 10 << 30, MinFree: 1 << 30}
		}, "5 B free"},
		"disk": {func(r *wire.LocalReply) {
			r.Dir = &wire.LocalDir{Dir: "/srv/backups", Error: "its disk has not answered"}
		}, "has not answered"},
		"the host": {func(r *wire.LocalReply) {
			r.Failure = wire.Failf(wire.CodeNotAllowed, "no backup directory").WithHint("set storage.local.dir")
		}, "no backup directory"},
	} {
		h.set(func(h *host) {
			h.probe = wire.LocalReply{V: 1, Dir: dir, Steps: []wire.LocalStep{{Name: "write", OK: true, Millis: 2}}}
			c.change(&h.probe)
		})
		if res, text := probe(); res.OK || !strings.Contains(text, c.says) || !strings.Contains(res.Summary, "db-7") || !strings.Contains(text, "storage.local") {
			t.Errorf("%s: %+v %s", name, res, text)
		}
	}
	// Only the hosts that a project's storage may use are asked.
	k.store.set(func(s *store) { s.access.ProjectID = &project })
	if res, text := probe(); !res.OK || !strings.Contains(text, "nothing was tried") {
		t.Errorf("another project's host: %+v %s", res, text)
	}
	k.store.servers[3].Projects = []int64{3}
	if res, _ := probe(); res.OK {
		t.Error("the project's own host was not asked")
	}
	// At creation there is nothing to ask.
	if res, err := k.fleet.Probe(t.Context(), controller.StorageSpec{Name: "hosts", Kind: controller.StorageLocal}); err != nil || !res.OK || len(res.Report) == 0 {
		t.Errorf("before creation: %+v, %v", res, err)
	}
	k.noBucket()
}
