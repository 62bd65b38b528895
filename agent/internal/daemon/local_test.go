package daemon_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"devflowbackup/agent/internal/config"
	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/journal"
	"devflowbackup/agent/internal/localstore"
	"devflowbackup/agent/internal/testkit/control"
	"devflowbackup/agent/internal/testkit/fakeengine"
	"devflowbackup/agent/internal/testkit/mounts"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

func TestMain(m *testing.M) { os.Exit(mounts.Run(m)) }

var aesCodec = wire.Codec{Compression: "zstd", Encryption: "aes-256-cbc"}

// prepareLocal is prepare on a host with a backup directory, and without a store.
func prepareLocal(t *testing.T) *agent {
	t.Helper()
	a := prepareWith(t, control.StartWith(t, nil))
	a.setDir(filepath.Join(t.TempDir(), "backups"))
	a.e.Set("shop", random(3*partSize+1000))
	return a
}

func startLocal(t *testing.T) *agent {
	t.Helper()
	a := prepareLocal(t)
	a.start()
	return a
}

func (a *agent) setDir(dir string) {
	a.cfg.Storage.Local = config.Local{Dir: dir, MinFree: 1 << 20}
	a.c.LocalDir = dir
}

func (a *agent) localJob(n int64) wire.Job {
	a.t.Helper()
	return a.c.BackupLocal(n, "main", fakeengine.Name, "shop", a.codec)
}

func (a *agent) localBackup(n int64) (wire.Attempt, artifact.Statement) {
	a.t.Helper()
	job := a.localJob(n)
	a.c.Run(job)
	return job.Attempt, a.c.Complete(a.id, a.c.AwaitReport(job.Attempt))
}

// lies lists the files of the backup directory.
func (a *agent) lies() []string {
	a.t.Helper()
	dir := a.cfg.Storage.Local.Dir
	var out []string
	must(a.t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != dir {
			return nil // removed meanwhile
		}
		if err == nil && !e.IsDir() {
			out = append(out, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	}))
	return out
}

func (a *agent) empty() {
	a.t.Helper()
	if got := a.lies(); len(got) != 0 {
		a.t.Fatalf("in the backup directory are %q", got)
	}
}

// parts are the names of a backup's files.
func parts(o *wire.BackupOrder) []string {
	c := artifact.Codec(o.Codec)
	return []string{o.Key, artifact.FingerprintKey(o.Key, c), artifact.GlobalsKey(o.Key, c)}
}

// A backup in the host's own directory, both verifications and a restore, with nothing asked of the controller on the way.
func TestLocal_WholeWay(t *testing.T) {
	t.Parallel()
	a := startLocal(t)
	content, _ := a.e.Get("shop")
	for _, codec := range []wire.Codec{a.codec, aesCodec, {Compression: "none", Encryption: "aes-256-cbc"}, {Compression: "gzip", Level: 1, Encryption: "none"}, {Compression: "none", Encryption: "none"}} {
		t.Run(codec.Compression+" "+codec.Encryption, func(t *testing.T) {
			a.codec = codec
			n := rand.Int64N(1 << 40)
			from, st := a.localBackup(n)
			if st.RawSize != int64(len(content)) || st.Fingerprint == nil || st.Globals == nil {
				t.Fatalf("%+v", st)
			}
			for _, key := range parts(&a.c.Upload(from).Order) {
				info, err := os.Stat(filepath.Join(a.cfg.Storage.Local.Dir, key))
				must(t, err)
				if info.Mode().Perm() != 0o600 || (key == st.Key) != (info.Size() == st.StoredSize) {
					t.Fatalf("%s: %d bytes, mode %04o", key, info.Size(), info.Mode().Perm())
				}
			}
			for i, level := range []string{wire.LevelChecksum, wire.LevelContent} {
				job := a.verifyJob(n+int64(i)+1, st, from, level)
				a.c.Run(job)
				r := a.c.AwaitReport(job.Attempt)
				if r.Outcome != wire.OutcomeVerified || r.Read.StoredSHA256 != st.StoredSHA256.String() {
					t.Fatalf("%s: %+v %+v", level, r, r.Failure)
				}
			}
			job := a.restoreJob(n+10, st, from, fmt.Sprintf("copy %d", n))
			a.c.Run(job)
			r := a.c.AwaitReport(job.Attempt)
			if r.Outcome != wire.OutcomeRestored || !r.Restored.Compared {
				t.Fatalf("%+v %+v", r, r.Failure)
			}
			if got, _ := a.e.Get(job.Restore.Database); !bytes.Equal(got, content) {
				t.Fatal("restored something else")
			}
			a.noStaging()
		})
	}
	if a.c.Requests(wire.VerbPart)+a.c.Requests(wire.VerbRead) != 0 {
		t.Fatal("grants were asked for")
	}
	if got := a.lies(); len(got) != 15 || strings.Contains(strings.Join(got, " "), "partial") {
		t.Fatalf("in the backup directory are %q", got)
	}
}

// Orders that need a directory are refused on a host without one, and so are those that make no sense.
func TestLocal_Refuses(t *testing.T) {
	t.Parallel()
	a := prepareLocal(t)
	a.cfg.Storage.Local = config.Local{}
	a.start()
	source := wire.Source{Engine: fakeengine.Name, Local: true, Artifact: wire.SourceObject{Key: "t/backups/2026/11/23/x_y.dump"}}
	at := wire.Attempt{Job: 9, No: 1, Token: "t"}
	refused := func(name string, job wire.Job, code, want string) {
		t.Helper()
		acc := a.c.Command(wire.VerbRun, job)
		if acc.Failure == nil || acc.Failure.Code != code || !strings.Contains(acc.Failure.Error(), want) {
			t.Errorf("%s: got %+v, want %s that says %s", name, acc.Failure, code, want)
		}
	}
	jobs := func() map[string]wire.Job {
		return map[string]wire.Job{
			"backup":  a.localJob(1),
			"verify":  {Attempt: at, Kind: wire.JobVerify, Verify: &wire.VerifyOrder{Level: wire.LevelChecksum, Source: source}},
			"restore": {Attempt: at, Kind: wire.JobRestore, Restore: &wire.RestoreOrder{Source: source, Instance: "main", Database: "x", Staging: engine.StagingPrefix + "x"}},
		}
	}
	for name, job := range jobs() {
		refused(name, job, wire.CodeNotAllowed, "storage.local.dir")
	}
	if r := a.c.Local(wire.LocalOrder{Op: wire.LocalProbe}); r.Failure == nil || r.Failure.Code != wire.CodeNotAllowed {
		t.Errorf("probe: %+v", r)
	}
	if h := a.c.AwaitHello(1); h.Host.Local != nil {
		t.Errorf("it tells of %+v", h.Host.Local)
	}
	must(t, a.stopped())

	a.setDir(filepath.Join(t.TempDir(), "backups"))
	a.start()
	source.Artifact.Key = "../../etc/passwd"
	for name, job := range jobs() {
		if job.Backup != nil {
			job.Backup.Key = source.Artifact.Key
		}
		refused(name, job, wire.CodeBadRequest, "passwd")
	}
	job := a.localJob(2)
	job.Backup.PartSize = 5
	refused("part size", job, wire.CodeBadRequest, "parts")
	job = a.localJob(3)
	job.Backup.Checksum = wire.ChecksumSHA256
	refused("checksum", job, wire.CodeBadRequest, "checksum")
	a.empty()
}

// The keys of a backup are this attempt's and each object's own, or there is no backup.
func TestBackup_WrongKeys(t *testing.T) {
	t.Parallel()
	a := startLocal(t)
	a.codec = aesCodec
	_, stranger, err := artifact.NewIdentity()
	must(t, err)
	seal := func(job wire.Job, k wire.SealedKey) []byte {
		text, err := json.Marshal(k)
		must(t, err)
		sealed, err := artifact.SealTo(public(t, a), text)
		must(t, err)
		return sealed
	}
	for name, change := range map[string]func(job wire.Job, keys map[string][]byte){
		"none":           func(job wire.Job, _ map[string][]byte) { job.Backup.SealedKeys = nil },
		"no fingerprint": func(_ wire.Job, keys map[string][]byte) { delete(keys, wire.ObjectFingerprint) },
		"another object": func(_ wire.Job, keys map[string][]byte) { keys[wire.ObjectArtifact] = keys[wire.ObjectGlobals] },
		"another attempt": func(job wire.Job, keys map[string][]byte) {
			keys[wire.ObjectArtifact] = a.c.SealAES(wire.Attempt{Job: 1}, wire.ObjectArtifact, job.Backup.AttemptID, public(t, a))
		},
		"another agent": func(job wire.Job, keys map[string][]byte) {
			keys[wire.ObjectArtifact] = a.c.SealAES(job.Attempt, wire.ObjectArtifact, job.Backup.AttemptID, stranger)
		},
		"short": func(job wire.Job, keys map[string][]byte) {
			keys[wire.ObjectArtifact] = seal(job, wire.SealedKey{Attempt: job.Attempt, Object: wire.ObjectArtifact, Cipher: make([]byte, 16), MAC: make([]byte, 32)})
		},
		"of age": func(job wire.Job, keys map[string][]byte) {
			keys[wire.ObjectArtifact] = seal(job, wire.SealedKey{Attempt: job.Attempt, Object: wire.ObjectArtifact, FileKey: make([]byte, 16)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			job := a.localJob(rand.Int64N(1 << 40))
			change(job, job.Backup.SealedKeys)
			a.c.Run(job)
			wantCode(t, a.c.AwaitReport(job.Attempt), wire.CodeWrongKey)
		})
	}
	if a.e.Dumps.Load() != 0 {
		t.Fatal("the database was dumped all the same")
	}
	a.empty()
}

// No key is written anywhere: not to the log, not to the journal, not into a failure.
func TestBackup_KeysStaySecret(t *testing.T) {
	t.Parallel()
	a := startLocal(t)
	a.codec = aesCodec
	from, st := a.localBackup(1)
	job := a.restoreJob(2, st, from, "copy")
	job.Restore.Source.Artifact.MAC = bytes.Clone(job.Restore.Source.Artifact.MAC)
	job.Restore.Source.Artifact.MAC[0] ^= 1
	a.c.Run(job)
	r := a.c.AwaitReport(job.Attempt)
	wantCode(t, r, wire.CodeWrongKey)
	must(t, a.stopped())
	text, err := os.ReadFile(filepath.Join(a.cfg.StateDir, "journal"))
	must(t, err)
	report, err := json.Marshal(r)
	must(t, err)
	for _, object := range []string{wire.ObjectArtifact, wire.ObjectFingerprint, wire.ObjectGlobals} {
		keys, err := artifact.DeriveAESKeys(a.c.AppKey, st.AttemptID, object)
		must(t, err)
		for _, key := range [][32]byte{keys.Cipher, keys.MAC} {
			for _, form := range []string{string(key[:]), base64.StdEncoding.EncodeToString(key[:]), fmt.Sprintf("%x", key), fmt.Sprintf("%v", key)} {
				for where, s := range map[string]string{"log": a.log.String(), "journal": string(text), "report": string(report)} {
					if strings.Contains(s, form) {
						t.Errorf("a key of the %s stands in the %s", object, where)
					}
				}
			}
		}
	}
}

// FAULTS 62 to 64: damage in the directory is found by two readings, before the first byte is used where nothing
// authenticates them one by one.
func TestLocal_Damage(t *testing.T) {
	t.Parallel()
	for _, codec := range []wire.Codec{{Compression: "zstd", Encryption: "age"}, aesCodec, {Compression: "none", Encryption: "none"}} {
		t.Run(codec.Encryption, func(t *testing.T) {
			t.Parallel()
			a := startLocal(t)
			if codec.Encryption == artifact.Age {
				codec = a.codec
			}
			a.codec = codec
			from, st := a.localBackup(1)
			a.e.Set("shop", random(2*partSize))
			_, ost := a.localBackup(2)
			path := filepath.Join(a.cfg.Storage.Local.Dir, st.Key)
			intact, err := os.ReadFile(path)
			must(t, err)
			n := int64(100)
			fails := func(what, code string, damage func() error, change func(*wire.Source)) {
				t.Helper()
				jobs := []wire.Job{
					a.verifyJob(n, st, from, wire.LevelChecksum), a.verifyJob(n+1, st, from, wire.LevelContent), a.restoreJob(n+2, st, from, "copy"),
				}
				if damage != nil {
					must(t, damage())
					defer func() {
						must(t, os.RemoveAll(path))
						must(t, os.WriteFile(path, intact, 0o600))
					}()
				}
				for _, job := range jobs {
					if change != nil {
						if job.Verify != nil && job.Verify.Level == wire.LevelChecksum {
							continue // it needs no key
						}
						change(source(job))
					}
					a.c.Run(job)
					if r := a.c.AwaitReport(job.Attempt); r.Failure == nil || r.Failure.Code != code {
						t.Errorf("%s, %s: %s %+v, want %s", what, job.Kind, r.Outcome, r.Failure, code)
					}
				}
				n += 3
				if _, ok := a.e.Get("copy"); ok {
					t.Fatalf("%s: the target was made", what)
				}
				a.noStaging()
			}
			other, err := os.ReadFile(filepath.Join(a.cfg.Storage.Local.Dir, ost.Key))
			must(t, err)
			flipped := bytes.Clone(intact)
			flipped[len(flipped)/2] ^= 1
			put := func(content []byte) func() error {
				return func() error { return os.WriteFile(path, content, 0o600) }
			}
			fails("a bit", wire.CodeCorrupt, put(flipped), nil)
			fails("cut", wire.CodeCorrupt, put(intact[:len(intact)-1]), nil)
			fails("longer", wire.CodeCorrupt, put(append(bytes.Clone(intact), 0)), nil)
			fails("another backup", wire.CodeCorrupt, put(other), nil)
			fails("gone", wire.CodeMissing, func() error { return os.Remove(path) }, nil)
			fails("link", wire.CodeNotAllowed, func() error { return errors.Join(os.Remove(path), os.Symlink("/etc/passwd", path)) }, nil)
			if codec.Encryption != artifact.Age {
				if a.e.Restores.Load() != 0 || a.e.Aborted.Load() != 0 {
					t.Fatal("bytes were used that were not proven")
				}
			}
			if codec.Encryption == artifact.AES256CBC {
				fails("no key", wire.CodeWrongKey, nil, func(s *wire.Source) { s.Artifact.SealedKey = nil })
				fails("no MAC", wire.CodeWrongKey, nil, func(s *wire.Source) { s.Artifact.MAC = nil })
				fails("another MAC", wire.CodeWrongKey, nil, func(s *wire.Source) { s.Artifact.MAC = bytes.Repeat([]byte{1}, 32) })
				fails("long MAC", wire.CodeBadRequest, nil, func(s *wire.Source) { s.Artifact.MAC = bytes.Repeat([]byte{1}, 33) })
				// A checksum that was changed with the bytes is not what the key's owner has authenticated.
				fails("bytes and checksum", wire.CodeWrongKey, put(other), func(s *wire.Source) {
					s.Artifact.StoredSHA256, s.Artifact.StoredSize = ost.StoredSHA256.String(), ost.StoredSize
				})
				if a.e.Restores.Load() != 0 {
					t.Fatal("bytes were used that were not proven")
				}
			}
			job := a.restoreJob(n, st, from, "copy")
			a.c.Run(job)
			if r := a.c.AwaitReport(job.Attempt); r.Outcome != wire.OutcomeRestored {
				t.Fatalf("what is intact again: %+v", r.Failure)
			}
		})
	}
}

func source(job wire.Job) *wire.Source {
	if job.Verify != nil {
		return &job.Verify.Source
	}
	return &job.Restore.Source
}

// aes-256-cbc from an object store: the bytes are proven before the first one is used.
func TestDaemon_DamageAES(t *testing.T) {
	a := start(t)
	a.codec = aesCodec
	from, st := a.backup(1)
	must(t, a.c.S3.CorruptObject(a.c.S3.Bucket, st.Key, 100))
	for n, job := range []wire.Job{a.verifyJob(2, st, from, wire.LevelContent), a.restoreJob(3, st, from, "copy")} {
		a.c.Run(job)
		wantCode(t, a.c.AwaitReport(job.Attempt), wire.CodeCorrupt)
		if a.e.Restores.Load()+a.e.Aborted.Load() != 0 {
			t.Fatalf("%d: bytes were used that were not proven", n)
		}
	}
}

// A backup that does not come to its end leaves nothing.
func TestLocal_NothingIsLeft(t *testing.T) {
	t.Parallel()
	a := prepareLocal(t)
	token := a.slow()
	a.codec = wire.Codec{Compression: "none", Encryption: "none"}
	a.start()
	running := func(n int64) wire.Job {
		t.Helper()
		job := a.localJob(n)
		a.c.Run(job)
		for range 10 {
			token <- struct{}{}
		}
		a.await("the partial file", func() bool { return len(a.lies()) == 1 })
		if got := a.lies(); got[0] != job.Backup.Key+".partial" {
			t.Fatalf("there is %q", got)
		}
		return job
	}
	job := running(1)
	if r := a.c.Local(wire.LocalOrder{Op: wire.LocalDelete, Key: job.Backup.Key}); r.Failure == nil || r.Failure.Code != wire.CodeBusy || !r.Failure.Retryable {
		t.Fatalf("a file that is being written: %+v", r)
	}
	if r := a.c.Local(wire.LocalOrder{Op: wire.LocalStat, Key: job.Backup.Key}); r.Failure != nil || r.Exists {
		t.Fatalf("a file that is being written: %+v", r)
	}
	a.c.Command(wire.VerbCancel, wire.Cancel{Attempt: job.Attempt, Reason: "enough"})
	wantCode(t, a.c.AwaitReport(job.Attempt), wire.CodeCancelled)
	a.empty()

	job = running(2)
	unlock := a.c.Lock()
	a.c.Welcome.Drop = []wire.Attempt{job.Attempt}
	unlock()
	a.c.Broker.Stop()
	a.c.Broker.Start()
	a.await("the end", func() bool { return len(a.lies()) == 0 })

	a.await("the next welcome", func() bool { return strings.Count(a.log.String(), "controllers know this session") == 2 })
	running(3)
	must(t, a.stopped())
	a.empty()

	a.e.Stream = func(context.Context, string) io.Reader {
		return io.MultiReader(bytes.NewReader(random(2*partSize)), failing{wire.Failf(wire.CodeToolFailed, "exit status 1")})
	}
	a.start()
	job = a.localJob(4)
	a.c.Run(job)
	wantCode(t, a.c.AwaitReport(job.Attempt), wire.CodeToolFailed)
	a.empty()
}

// FAULTS 82: the disk is full in the dump, or fails at the sync of any object: disk_full, and nothing is left.
func TestLocal_DiskFails(t *testing.T) {
	t.Parallel()
	t.Run("full", func(t *testing.T) {
		a := prepareLocal(t)
		a.setDir(mounts.Tmpfs(t, 8<<20))
		a.start()
		job := a.localJob(1)
		a.c.Run(job)
		r := a.c.AwaitReport(job.Attempt)
		wantCode(t, r, wire.CodeDiskFull)
		if r.Failure.Hint == "" || r.Statement != nil {
			t.Fatalf("%+v", r)
		}
		a.empty()
	})
	t.Run("sync", func(t *testing.T) {
		a := prepareLocal(t)
		var at atomic.Pointer[string]
		fired := atomic.Int64{}
		a.wrap = func(key string, f localstore.File) localstore.File {
			if s := at.Load(); s != nil && strings.Contains(key, *s) {
				return &noSync{f, &fired}
			}
			return f
		}
		a.start()
		for n, object := range []string{".dump", ".fingerprint.", ".globals."} {
			at.Store(&object)
			job := a.localJob(int64(n) + 1)
			a.c.Run(job)
			wantCode(t, a.c.AwaitReport(job.Attempt), wire.CodeDiskFull)
			a.empty()
		}
		if fired.Load() != 3 {
			t.Fatalf("the fault fired %d times", fired.Load())
		}
	})
	t.Run("somebody's file", func(t *testing.T) {
		a := prepareLocal(t)
		var path atomic.Pointer[string]
		a.wrap = func(key string, f localstore.File) localstore.File {
			if p := path.Load(); p != nil {
				if err := os.WriteFile(*p, []byte("theirs"), 0o600); err != nil {
					t.Error(err)
				}
			}
			return f
		}
		a.start()
		job := a.localJob(1)
		theirs := filepath.Join(a.cfg.Storage.Local.Dir, job.Backup.Key)
		path.Store(&theirs)
		a.c.Run(job)
		wantCode(t, a.c.AwaitReport(job.Attempt), wire.CodeForeignObject)
		if got := a.lies(); !slices.Equal(got, []string{job.Backup.Key}) {
			t.Fatalf("there are %q", got)
		}
		if got, _ := os.ReadFile(theirs); string(got) != "theirs" {
			t.Fatal("somebody's file was overwritten")
		}
	})
}

type noSync struct {
	localstore.File
	fired *atomic.Int64
}

func (f *noSync) Sync() error { f.fired.Add(1); return syscall.EIO }

// Whatever a crash left, a restart finishes a backup whose statement was journaled and removes every other.
func TestLocal_Recover(t *testing.T) {
	t.Parallel()
	a := prepareLocal(t)
	dir := a.cfg.Storage.Local.Dir
	mine := func(names []string, suffix string) {
		t.Helper()
		for _, n := range names {
			must(t, os.Rename(filepath.Join(dir, n), filepath.Join(dir, n+suffix)))
		}
	}
	for n, tc := range []struct {
		name       string
		publishing bool // the journal has the statement
		unnamed    int  // files that have not got their name: the artifact first
		change     func(t *testing.T, o *wire.BackupOrder)
		noJob      bool
		finished   bool
		left       int // files of others
	}{
		{name: "before the journal", unnamed: 3},
		{name: "before all renames", publishing: true, unnamed: 3, finished: true},
		{name: "between renames", publishing: true, unnamed: 2, finished: true},
		{name: "before the last rename", publishing: true, unnamed: 1, finished: true},
		{name: "after all renames", publishing: true, finished: true},
		{name: "order lost", publishing: true, unnamed: 2, noJob: true, finished: true},
		{name: "artifact gone", publishing: true, unnamed: 1, change: func(t *testing.T, o *wire.BackupOrder) {
			must(t, os.Remove(filepath.Join(dir, o.Key+".partial")))
		}},
		{name: "artifact cut", publishing: true, unnamed: 3, change: func(t *testing.T, o *wire.BackupOrder) {
			must(t, os.Truncate(filepath.Join(dir, o.Key+".partial"), 1000))
		}},
		{name: "somebody's file", publishing: true, unnamed: 3, left: 1, change: func(t *testing.T, o *wire.BackupOrder) {
			must(t, os.WriteFile(filepath.Join(dir, o.Key), []byte("theirs"), 0o600))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a.t = t
			a.start()
			job := a.localJob(int64(n) + 1)
			a.c.Run(job)
			report := a.c.AwaitReport(job.Attempt)
			must(t, a.stopped())
			sent := len(a.c.Reports(job.Attempt)) // more than one where an answer came late
			// As it was at the crash.
			path := filepath.Join(a.cfg.StateDir, "journal")
			text, err := os.ReadFile(path)
			must(t, err)
			if !strings.Contains(string(text), `"publishing"`) {
				t.Fatal("the statement was not journaled before the renames")
			}
			must(t, os.Remove(path))
			j, err := journal.Open(a.cfg.StateDir)
			must(t, err)
			if !tc.noJob {
				must(t, j.Accept(job))
			}
			if tc.publishing {
				must(t, j.Publishing(report))
			}
			must(t, j.Close())
			mine(parts(job.Backup)[:tc.unnamed], ".partial")
			if tc.change != nil {
				tc.change(t, job.Backup)
			}
			a.start()
			var held []wire.Attempt
			a.c.Collected(func(h []wire.Hello, _ []wire.Heartbeat, _ []wire.Progress, _ []wire.SecurityNotice, _ []wire.Inventory) {
				held = h[len(h)-1].Attempts
			})
			if tc.finished {
				if !slices.Equal(held, []wire.Attempt{job.Attempt}) {
					t.Errorf("held are %+v", held)
				}
				a.await("the report", func() bool { return len(a.c.Reports(job.Attempt)) > sent })
				st := a.c.Complete(a.id, a.c.Reports(job.Attempt)[sent])
				got := a.lies()
				want := parts(job.Backup)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Fatalf("there are %q, want %q", got, want)
				}
				verify := a.verifyJob(int64(n)+100, st, job.Attempt, wire.LevelContent)
				a.c.Run(verify)
				if r := a.c.AwaitReport(verify.Attempt); r.Outcome != wire.OutcomeVerified {
					t.Fatalf("%+v", r.Failure)
				}
			} else {
				if len(held) != 0 || len(a.c.Reports(job.Attempt)) != sent {
					t.Errorf("held are %+v", held)
				}
				if got := a.lies(); len(got) != tc.left {
					t.Fatalf("left are %q", got)
				}
			}
			must(t, a.stopped())
			if e := entries(t, a.cfg.StateDir); len(e) != 0 {
				t.Fatalf("the journal keeps %+v", e)
			}
			must(t, os.RemoveAll(filepath.Join(dir, "t")))
		})
	}
	a.t = t
}

// A directory that is not there when the agent starts does not stop it. What a crash left in it waits until it is back.
func TestLocal_RecoverLater(t *testing.T) {
	t.Parallel()
	a := startLocal(t)
	a.cfg.Limits.DiscoveryEvery = config.Duration(50 * time.Millisecond)
	dir := a.cfg.Storage.Local.Dir
	job := a.localJob(1)
	must(t, a.stopped())
	must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, job.Backup.Key)), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, job.Backup.Key+".partial"), []byte("half"), 0o600))
	j, err := journal.Open(a.cfg.StateDir)
	must(t, err)
	must(t, j.Accept(job))
	must(t, j.Close())
	must(t, os.Rename(dir, dir+".away"))
	must(t, os.WriteFile(dir, nil, 0o600))
	a.start()
	if h := lastHello(a); h.Host.Local == nil || !strings.Contains(h.Host.Local.Error, "mounted") {
		t.Fatalf("it says %+v", h.Host.Local)
	}
	next := a.localJob(2)
	a.c.Run(next)
	wantCode(t, a.c.AwaitReport(next.Attempt), wire.CodeStorageUnavailable)
	must(t, os.Remove(dir))
	must(t, os.Rename(dir+".away", dir))
	a.await("the clean-up", func() bool { return len(a.lies()) == 0 })
	a.localBackup(3)
}

func lastHello(a *agent) (h wire.Hello) {
	a.c.Collected(func(all []wire.Hello, _ []wire.Heartbeat, _ []wire.Progress, _ []wire.SecurityNotice, _ []wire.Inventory) {
		h = all[len(all)-1]
	})
	return h
}

// Hello and heartbeats tell of the directory.
func TestLocal_HostFacts(t *testing.T) {
	t.Parallel()
	a := startLocal(t)
	ok := func(l *wire.LocalDir) bool {
		return l != nil && l.Dir == a.cfg.Storage.Local.Dir && l.FreeBytes > 0 && l.TotalBytes > l.FreeBytes && l.MinFree == 1<<20 && l.Error == ""
	}
	if h := lastHello(a); !ok(h.Host.Local) {
		t.Fatalf("%+v", h.Host.Local)
	}
	a.await("a heartbeat", func() (told bool) {
		a.c.Collected(func(_ []wire.Hello, b []wire.Heartbeat, _ []wire.Progress, _ []wire.SecurityNotice, _ []wire.Inventory) {
			told = len(b) > 0 && ok(b[len(b)-1].Host.Local)
		})
		return told
	})
}

// What controllers may do in the directory.
func TestLocal_Orders(t *testing.T) {
	t.Parallel()
	a := startLocal(t)
	_, st := a.localBackup(1)
	stored := a.c.Object(st.Key)
	manifest := artifact.ManifestKey(st.Key)
	good := func(o wire.LocalOrder) wire.LocalReply {
		t.Helper()
		r := a.c.Local(o)
		if r.Failure != nil || r.V != wire.Version || r.Session != a.d.Session() {
			t.Fatalf("%s: %+v %+v", o.Op, r, r.Failure)
		}
		return r
	}
	if r := good(wire.LocalOrder{Op: wire.LocalStat, Key: st.Key}); !r.Exists || r.Size != st.StoredSize || r.Data != nil {
		t.Fatalf("%+v", r)
	}
	if r := good(wire.LocalOrder{Op: wire.LocalStat, Key: st.Key, Length: 300}); !r.Exists || r.Size != st.StoredSize || !bytes.Equal(r.Data, stored[:300]) {
		t.Fatalf("%+v", r)
	}
	if r := good(wire.LocalOrder{Op: wire.LocalStat, Key: manifest, Length: 300}); r.Exists || r.Data != nil {
		t.Fatalf("%+v", r)
	}
	// The whole file, by reads beside each other.
	got := make([]byte, st.StoredSize)
	var wg sync.WaitGroup
	for off := int64(0); off < st.StoredSize; off += wire.MaxLocalData {
		wg.Go(func() {
			r := a.c.Local(wire.LocalOrder{Op: wire.LocalRead, Key: st.Key, Offset: off, Length: wire.MaxLocalData})
			if r.Failure != nil || r.Size != st.StoredSize {
				t.Errorf("%d: %+v", off, r.Failure)
			}
			copy(got[off:], r.Data)
		})
	}
	wg.Wait()
	if !bytes.Equal(got, stored) {
		t.Fatal("other bytes were read")
	}
	good(wire.LocalOrder{Op: wire.LocalWrite, Key: manifest, Data: bytes.Repeat([]byte("m"), wire.MaxLocalData)})
	good(wire.LocalOrder{Op: wire.LocalWrite, Key: manifest, Data: []byte("{}")})
	if string(a.c.Object(manifest)) != "{}" {
		t.Fatal("the manifest is another")
	}
	r := good(wire.LocalOrder{Op: wire.LocalProbe})
	if len(r.Steps) != 8 || r.Dir == nil || r.Dir.FreeBytes == 0 || slices.ContainsFunc(r.Steps, func(s wire.LocalStep) bool { return !s.OK }) {
		t.Fatalf("%+v", r)
	}
	for name, tc := range map[string]struct {
		o    wire.LocalOrder
		code string
	}{
		"unknown":          {wire.LocalOrder{Op: "format", Key: st.Key}, wire.CodeBadRequest},
		"outside":          {wire.LocalOrder{Op: wire.LocalRead, Key: "../../../etc/passwd", Length: 10}, wire.CodeBadRequest},
		"too much":         {wire.LocalOrder{Op: wire.LocalRead, Key: st.Key, Length: wire.MaxLocalData + 1}, wire.CodeBadRequest},
		"stat too much":    {wire.LocalOrder{Op: wire.LocalStat, Key: st.Key, Length: wire.MaxLocalData + 1}, wire.CodeBadRequest},
		"nothing":          {wire.LocalOrder{Op: wire.LocalRead, Key: st.Key}, wire.CodeBadRequest},
		"not there":        {wire.LocalOrder{Op: wire.LocalRead, Key: strings.Replace(st.Key, "shop", "soap", 1), Length: 10}, wire.CodeMissing},
		"artifact":         {wire.LocalOrder{Op: wire.LocalWrite, Key: st.Key, Data: []byte("x")}, wire.CodeBadRequest},
		"empty manifest":   {wire.LocalOrder{Op: wire.LocalWrite, Key: manifest}, wire.CodeBadRequest},
		"large manifest":   {wire.LocalOrder{Op: wire.LocalWrite, Key: manifest, Data: make([]byte, wire.MaxLocalData+1)}, wire.CodeBadRequest},
		"delete directory": {wire.LocalOrder{Op: wire.LocalDelete, Key: filepath.Dir(st.Key)}, wire.CodeBadRequest},
	} {
		if r := a.c.Local(tc.o); r.Failure == nil || r.Failure.Code != tc.code || r.Data != nil || r.Session != a.d.Session() {
			t.Errorf("%s: %+v, want %s", name, r, tc.code)
		}
	}
	must(t, a.c.Conn.Publish(wire.AgentSubject(control.ServerID, wire.VerbLocal), fmt.Appendf(nil, `{"op":"delete","key":%q}`, st.Key)))
	a.c.AwaitNotice("command")
	for _, key := range a.lies() {
		good(wire.LocalOrder{Op: wire.LocalDelete, Key: key})
		good(wire.LocalOrder{Op: wire.LocalDelete, Key: key})
	}
	a.empty()
}
