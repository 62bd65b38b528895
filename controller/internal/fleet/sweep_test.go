package fleet_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/fleet"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

func TestSweep_cancel(t *testing.T) {
	k := start(t, nil)
	agent := k.accepting()
	k.store.set(func(s *store) {
		s.cancels = []controller.CancelDue{{Attempt: attempt, AgentID: agentID, Session: sessionID, Reason: "asked for by ops"}, {Attempt: wire.Attempt{Job: 2, Token: "x"}, AgentID: "soffline", Session: "y"}}
	})
	eventually(t, "the cancellation is sent, and again until the attempt ends", func() bool { return len(agent.all(wire.VerbCancel)) >= 2 })
	var c wire.Cancel
	if err := agent.all(wire.VerbCancel)[0].Into(&c); err != nil || c.Attempt != attempt || c.Reason != "asked for by ops" {
		t.Errorf("sent %+v, %v", c, err)
	}
	if strings.Contains(k.log.String(), "send cancellation") {
		t.Error("an agent that is offline is a warning")
	}
}

// Agents that hang do not stop the sweep, and each is told once at a time.
func TestSweep_hangingAgent(t *testing.T) {
	k := start(t, nil)
	agent := k.listen(func(wire.Directive) []byte { return nil })
	second := wire.Attempt{Job: 42, No: 1, Token: "another"}
	k.store.set(func(s *store) {
		s.cancels = []controller.CancelDue{{Attempt: attempt, AgentID: agentID, Session: sessionID}, {Attempt: second, AgentID: agentID, Session: sessionID}}
	})
	eventually(t, "both are told", func() bool { return len(agent.all(wire.VerbCancel)) == 2 })
	k.sweeps(20) // while the answers are waited for
	if n := len(agent.all(wire.VerbCancel)); n != 2 {
		t.Errorf("%d cancellations at once for 2 attempts", n)
	}
	began := time.Now()
	k.fleet.Stop()
	if d := time.Since(began); d > 3*time.Second {
		t.Errorf("Stop waited %s for agents that do not answer", d)
	}
}

// An agent's command subject as the reply of its own request: what arrives there is no command.
func TestReply_toCommandSubject(t *testing.T) {
	k := start(t, nil)
	got := make(chan *nats.Msg, 1)
	victim := "svictim"
	if _, err := k.agent.ChanSubscribe(wire.AgentSubjects(victim), got); err != nil {
		t.Fatal(err)
	}
	req := wire.Request{ID: "1", Session: sessionID, Body: []byte(`{"protocol":1}`)}
	if err := k.agent.PublishRequest(wire.ControllerSubject(agentID, wire.VerbHello), wire.AgentSubject(victim, wire.VerbRun), encode(t, req)); err != nil {
		t.Fatal(err)
	}
	select {
	case m := <-got:
		_, err := keySet.Open(m.Data, wire.Expect{Kind: wire.KindCommand, Server: victim, Session: sessionID, Verb: wire.VerbRun})
		if !wire.HasCode(err, wire.CodeNotSigned) {
			t.Errorf("the other agent would obey: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the reply did not arrive: the attack was not tried")
	}
}

func (k *kit) artifactAt(key string) []string {
	codec := artifact.Codec{Compression: "zstd", Encryption: "age"}
	keys := []string{key, artifact.ManifestKey(key), artifact.FingerprintKey(key, codec), artifact.GlobalsKey(key, codec)}
	for _, o := range keys {
		k.bucket.put(o, []byte("x"))
	}
	return keys
}

// What a dead attempt left is removed now, and once more after its last URL has expired; only then is it closed.
func TestClean_deadUpload(t *testing.T) {
	for _, c := range artifact.Codecs() {
		t.Run(c.Compression+" "+c.Encryption, func(t *testing.T) {
			k := start(t, nil)
			suffix := c.Suffix()
			key := strings.TrimSuffix(key, ".zst.age") + suffix
			keys := []string{key, key + ".manifest.json", key + ".fingerprint.json" + suffix, key + ".globals.sql" + suffix}
			fill := func() {
				for _, o := range keys {
					k.bucket.put(o, []byte("x"))
				}
				k.bucket.open(key, "upload-1")
				k.bucket.open(key, "upload-2")
			}
			fill()
			k.bucket.put(key+"2", []byte("another's"))
			k.bucket.open(key+"2", "theirs")
			dead := controller.DeadUpload{Attempt: attempt, StorageID: 6, Key: key, UploadID: "upload-1", URLsOpen: true}
			clean := func() { k.store.set(func(s *store) { s.dead = append(s.dead, dead) }) }

			clean()
			w := k.only("UploadSweepLater", "UploadSwept")
			if w.attempt != attempt || w.delay <= 0 || w.delay > time.Minute {
				t.Errorf("put off %+v", w)
			}
			same(t, "objects", k.bucket.keys(), []string{key + "2"})
			if k.bucket.ids(key) != nil || len(k.bucket.ids(key+"2")) != 1 {
				t.Errorf("uploads %v, another's %v", k.bucket.ids(key), k.bucket.ids(key+"2"))
			}

			fill() // a URL that was still valid was used
			dead.URLsOpen = false
			clean()
			eventually(t, "it is closed", func() bool { return k.store.count("UploadSwept") == 1 })
			same(t, "objects at the end", k.bucket.keys(), []string{key + "2"})
			if k.bucket.ids(key) != nil {
				t.Errorf("uploads at the end %v", k.bucket.ids(key))
			}
		})
	}
}

func TestClean_deadUpload_errors(t *testing.T) {
	down := wire.Failf(wire.CodeStorageUnavailable, "503").Retry()
	for name, change := range map[string]func(*kit){
		"abort":      func(k *kit) { k.bucket.failing("AbortUploads", down) },
		"delete":     func(k *kit) { k.bucket.failing("Delete", down) },
		"look":       func(k *kit) { k.bucket.failing("Gone", down) },
		"open":       func(k *kit) { k.bucket.failing("Open", down) },
		"storage":    func(k *kit) { k.store.failing("StorageAccess", errDown) },
		"not gone":   func(k *kit) { k.bucket.sticky[artifact.ManifestKey(key)] = true },
		"first gone": func(k *kit) { k.bucket.sticky[key] = true },
	} {
		t.Run(name, func(t *testing.T) {
			k := newKit(t, nil)
			k.artifactAt(key)
			change(k)
			k.store.dead = []controller.DeadUpload{{Attempt: attempt, StorageID: 6, Key: key}}
			if err := k.fleet.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if w := k.only("UploadSweepLater", "UploadSwept"); w.delay < time.Minute {
				t.Errorf("tried again after %s", w.delay)
			}
		})
	}
}

// An object at the key that is not ours is left alone; what is surely ours goes.
func TestClean_foreignObject(t *testing.T) {
	k := start(t, nil)
	k.artifactAt(key)
	k.bucket.open(key, "upload-1")
	k.store.set(func(s *store) {
		s.dead = []controller.DeadUpload{{Attempt: attempt, StorageID: 6, Key: key, FailureCode: wire.CodeForeignObject}}
	})
	k.only("UploadSwept", "UploadSweepLater")
	same(t, "objects", k.bucket.keys(), []string{key})
	if k.bucket.ids(key) != nil {
		t.Errorf("uploads %v", k.bucket.ids(key))
	}
}

func TestClean_deletion(t *testing.T) {
	k := start(t, nil)
	keys := k.artifactAt(key)
	k.bucket.put("another", []byte("x"))
	k.store.set(func(s *store) { s.deletions = []controller.Deletion{{Backup: 12, StorageID: 6, Keys: keys}} })
	if w := k.only("DeletionDone", "DeletionLater"); w.backup != 12 {
		t.Errorf("closed backup %d", w.backup)
	}
	same(t, "objects", k.bucket.keys(), []string{"another"})
}

// A row is closed only when the store shows that nothing is left of it.
func TestClean_deletion_errors(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*kit)
		says   string
	}{
		"not gone": {func(k *kit) { k.bucket.sticky[artifact.ManifestKey(key)] = true }, "still there"},
		"locked, until nobody knows when": {func(k *kit) {
			k.bucket.failing("Delete", wire.Failf(wire.CodeStorageUnavailable, "object is locked"))
		}, "object is locked"},
		"look": {func(k *kit) { k.bucket.failing("Gone", wire.Failf(wire.CodeStorageUnavailable, "503")) }, "503"},
		"open": {func(k *kit) { k.bucket.failing("Open", wire.Failf(wire.CodeStorageDenied, "no such bucket")) }, "no such bucket"},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKit(t, nil)
			keys := k.artifactAt(key)
			c.change(k)
			k.store.deletions = []controller.Deletion{{Backup: 12, StorageID: 6, Keys: keys}, {Backup: 13, StorageID: 6}}
			if err := k.fleet.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the deletion is put off", func() bool { return k.store.count("DeletionLater") > 0 })
			w := k.store.all("DeletionLater")[0]
			if w.backup != 12 || w.delay < time.Minute || !strings.Contains(w.text, c.says) {
				t.Errorf("put off %+v", w)
			}
			for _, d := range k.store.all("DeletionDone") {
				if d.backup == 12 {
					t.Error("the row was closed")
				}
			}
			if name != "open" {
				eventually(t, "the next one is not held up", func() bool { return k.store.count("DeletionDone") == 1 })
			}
		})
	}
}

// TestFault47_Locked: a deletion that the store refuses until a date waits for it, once, and is no error.
func TestFault47_Locked(t *testing.T) {
	until := time.Now().Add(30 * 24 * time.Hour)
	locked := wire.Failf(wire.CodeLocked, "%w", &fleet.LockedError{Until: until, Err: errors.New("the store protects it")})

	t.Run("a backup", func(t *testing.T) {
		k := newKit(t, nil)
		k.artifactAt(key)
		k.bucket.failing("Delete", locked)
		k.store.deletions = []controller.Deletion{{Backup: 12, StorageID: 6, Keys: []string{key}}}
		if err := k.fleet.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		w := k.only("DeletionLocked", "DeletionLater", "DeletionDone")
		if w.backup != 12 || !w.until.Equal(until) {
			t.Errorf("put off %+v", w)
		}
		if strings.Contains(k.log.String(), "[WARN]") || strings.Contains(k.log.String(), "[ERROR]") {
			t.Errorf("what is only to be waited for is a warning:\n%s", k.log)
		}
	})
	t.Run("what a dead attempt left", func(t *testing.T) {
		k := newKit(t, nil)
		k.artifactAt(key)
		k.bucket.failing("Delete", locked)
		k.store.dead = []controller.DeadUpload{{Attempt: attempt, StorageID: 6, Key: key}}
		if err := k.fleet.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if w := k.only("UploadSweepLater", "UploadSwept"); w.delay < 29*24*time.Hour {
			t.Errorf("tried again after %s", w.delay)
		}
		if strings.Contains(k.log.String(), "[WARN]") {
			t.Errorf("what is only to be waited for is a warning:\n%s", k.log)
		}
	})
}
