package fleet_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"devflowbackup/controller"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

var keyed = []string{wire.ObjectArtifact, wire.ObjectFingerprint, wire.ObjectGlobals}

// noAppKey fails the test if the app key, or a key derived from it, stands in a text.
func noAppKey(t *testing.T, texts ...any) {
	t.Helper()
	all := fmt.Sprint(texts...)
	for _, object := range keyed {
		k := aesKeys(t, object)
		for _, secret := range []string{appKey, strings.TrimPrefix(appKey, "base64:"), hex.EncodeToString(k.Cipher[:]), hex.EncodeToString(k.MAC[:])} {
			if strings.Contains(all, secret) {
				t.Errorf("a secret key is shown in %s", all)
			}
		}
	}
}

// checkSealed proves that what was sent opens with the agent's own key, is bound to attempt and object, and is the object's key.
func checkSealed(t *testing.T, sealed []byte, keys ageKeys, object string) {
	t.Helper()
	plain, err := artifact.OpenSealed(sealed, keys.agentIdentity)
	if err != nil {
		t.Fatalf("%s: %v", object, err)
	}
	if _, err := artifact.OpenSealed(sealed, keys.identity); err == nil {
		t.Errorf("%s: sealed to another key too", object)
	}
	var got wire.SealedKey
	if err := wire.Decode(plain, &got); err != nil {
		t.Fatal(err)
	}
	k := aesKeys(t, object)
	same(t, "sealed key of "+object, got, wire.SealedKey{Attempt: attempt, Object: object, Cipher: k.Cipher[:], MAC: k.MAC[:]})
}

func aesOffer(t *testing.T, k *kit) (controller.Offer, ageKeys) {
	t.Helper()
	keys := newAgeKeys(t)
	k.store.appKey = []byte(appKey)
	o := backupOffer()
	o.Server.Recipient, o.Backup.Encryption, o.Recipients = keys.agentRecipient, controller.EncryptionAES, nil
	return o, keys
}

func TestDeliver_aes(t *testing.T) {
	k := start(t, nil)
	agent := k.accepting()
	o, keys := aesOffer(t, k)
	k.offer(o)
	k.outcome("AttemptAccepted")
	order := agent.job(t, 0).Backup
	same(t, "codec", order.Codec, wire.Codec{Compression: "zstd", Level: 7, Encryption: "aes-256-cbc"})
	if len(order.SealedKeys) != len(keyed) {
		t.Fatalf("keys of %d objects were sent", len(order.SealedKeys))
	}
	for _, object := range keyed {
		checkSealed(t, order.SealedKeys[object], keys, object)
	}
	if w := k.store.all("ProjectAppKey"); len(w) != 1 || w[0].backup != 3 {
		t.Errorf("opened %+v", w)
	}
	noAppKey(t, k.log)
}

func TestDeliver_aesKeyNotToBeHad(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*kit, *controller.Offer)
		outcome string
		code    string
	}{
		"catalog down":     {func(k *kit, _ *controller.Offer) { k.store.failing("ProjectAppKey", errDown) }, "ReleaseOffer", ""},
		"not an app key":   {func(k *kit, _ *controller.Offer) { k.store.appKey = []byte("short canary") }, "FailOffer", wire.CodeWrongKey},
		"agent has no key": {func(_ *kit, o *controller.Offer) { o.Server.Recipient = "" }, "ReleaseOffer", ""},
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, nil)
			agent := k.accepting()
			o, _ := aesOffer(t, k)
			c.change(k, &o)
			k.offer(o)
			w := k.outcome(c.outcome)
			if c.code != "" && w.failure.Code != c.code {
				t.Errorf("failed with %+v", w.failure)
			}
			if len(agent.all(wire.VerbRun)) != 0 || k.bucket.created != 0 {
				t.Error("the job went on")
			}
			noAppKey(t, k.log, w)
			if strings.Contains(fmt.Sprint(k.log, w), "canary") {
				t.Error("the app key is shown")
			}
		})
	}
}

// aesReadingOffer is a job that reads a backup under aes-256-cbc.
func aesReadingOffer(t *testing.T, k *kit, kind string) (controller.Offer, ageKeys) {
	t.Helper()
	o, keys, _ := readingOffer(t, k, kind)
	k.store.appKey = []byte(appKey)
	codec := artifact.Codec{Compression: "zstd", Level: 3, Encryption: controller.EncryptionAES}
	o.AttemptID, o.Backup.Encryption, o.Recipients = attemptID, controller.EncryptionAES, nil
	for i, obj := range o.Objects {
		if obj.Object == controller.ObjectManifest {
			continue
		}
		_, sums := encodeArtifact(t, codec, []byte(obj.Object), aesKeys(t, obj.Object))
		o.Objects[i] = controller.StoredObject{
			Object: obj.Object, Key: obj.Key, StoredSize: sums.StoredSize, StoredSHA256: sums.StoredSHA256.String(), RawSize: sums.RawSize, RawSHA256: sums.RawSHA256.String(),
			MAC: sums.MAC[:],
		}
	}
	o.Record = k.recorded(nil, o.Backup, o.Objects, codec)
	return o, keys
}

func TestDeliver_aesRead(t *testing.T) {
	k := start(t, nil)
	agent := k.accepting()
	o, keys := aesReadingOffer(t, k, wire.JobRestore)
	k.offer(o)
	k.outcome("AttemptAccepted")
	src := agent.job(t, 0).Restore.Source
	for object, so := range map[string]wire.SourceObject{wire.ObjectArtifact: src.Artifact, wire.ObjectFingerprint: *src.Fingerprint} {
		checkSealed(t, so.SealedKey, keys, object)
		for _, obj := range o.Objects {
			if obj.Object == object && !bytes.Equal(so.MAC, obj.MAC) {
				t.Errorf("%s: MAC %x", object, so.MAC)
			}
		}
	}
	if src.Local || src.Artifact.Key != "" {
		t.Errorf("source %+v", src)
	}
	noAppKey(t, k.log)
}

// A checksum needs no key; the MAC is told all the same.
func TestDeliver_aesChecksum(t *testing.T) {
	k := start(t, nil)
	agent := k.accepting()
	o, _ := aesReadingOffer(t, k, wire.JobVerify)
	o.Level = wire.LevelChecksum
	k.offer(o)
	k.outcome("AttemptAccepted")
	if src := agent.job(t, 0).Verify.Source; src.Artifact.SealedKey != nil || len(src.Artifact.MAC) != 32 || k.store.count("ProjectAppKey") != 0 {
		t.Errorf("source %+v, %d keys opened", src, k.store.count("ProjectAppKey"))
	}
}

// Fault 65: a checksum or MAC that was edited in the catalog is not vouched for by the project's key, and no key is given for it.
func TestDeliver_aesEdited(t *testing.T) {
	for name, change := range map[string]func(*controller.Offer){
		"MAC":        func(o *controller.Offer) { o.Objects[0].MAC = flipped(o.Objects[0].MAC, 0) },
		"no MAC":     func(o *controller.Offer) { o.Objects[0].MAC = nil },
		"checksum":   func(o *controller.Offer) { o.Objects[0].StoredSHA256 = strings.Repeat("ab", 32) },
		"side MAC":   func(o *controller.Offer) { o.Objects[1].MAC = o.Objects[0].MAC },
		"attempt id": func(o *controller.Offer) { o.AttemptID = "ponmlkjihgfedcba" },
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, nil)
			agent := k.accepting()
			o, _ := aesReadingOffer(t, k, wire.JobRestore)
			change(&o)
			k.offer(o)
			if w := k.outcome("FailOffer"); w.failure.Code != wire.CodeWrongKey || w.failure.Retryable {
				t.Errorf("failed with %+v", w.failure)
			}
			if len(agent.all(wire.VerbRun)) != 0 {
				t.Error("the job was sent")
			}
			noAppKey(t, k.log)
		})
	}
}

func TestUploaded_aes(t *testing.T) {
	k := start(t, nil)
	u := newUpload(t, k, "zstd", "aes-256-cbc", nil)
	k.store.ordered = &u.ordered
	r := wire.Report{Attempt: attempt, Outcome: wire.OutcomeUploaded, Statement: u.finishing.Statement}
	if _, err := k.request(wire.VerbReport, r); err != nil {
		t.Fatal(err)
	}
	if k.store.count("ReportUploaded") != 1 || k.events() != nil {
		t.Errorf("recorded %+v", k.store.all(""))
	}
	// Without the key nothing is decided: the agent asks again.
	k.store.failing("ProjectAppKey", errDown)
	if _, err := k.request(wire.VerbReport, r); !wire.HasCode(err, wire.CodeUnavailable) {
		t.Errorf("answered %v", err)
	}
	if k.store.count("ReportUploaded") != 1 || k.store.count("ReportDone") != 0 {
		t.Errorf("recorded %+v", k.store.all(""))
	}
}

// A MAC that is not made with the object's own key is a statement that lies.
func TestUploaded_aesMAC(t *testing.T) {
	for name, change := range map[string]func(*artifact.Statement){
		"artifact":       func(s *artifact.Statement) { s.MAC[0] ^= 1 },
		"fingerprint":    func(s *artifact.Statement) { s.Fingerprint.MAC[31] ^= 1 },
		"globals":        func(s *artifact.Statement) { s.Globals.MAC[7] ^= 1 },
		"another's key":  func(s *artifact.Statement) { s.MAC = aesKeys(t, wire.ObjectGlobals).Tag(s.StoredSHA256) },
		"another's hash": func(s *artifact.Statement) { s.StoredSHA256[0] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, nil)
			u := newUpload(t, k, "gzip", "aes-256-cbc", change)
			k.store.ordered = &u.ordered
			if _, err := k.request(wire.VerbReport, wire.Report{Attempt: attempt, Outcome: wire.OutcomeUploaded, Statement: u.finishing.Statement}); err != nil {
				t.Fatalf("the report was not taken: %v", err)
			}
			w := k.store.all("ReportDone")
			if k.store.count("ReportUploaded") != 0 || len(w) != 1 || w[0].report.Failure.Code != wire.CodeStatement {
				t.Errorf("recorded %+v", k.store.all(""))
			}
			if e := k.events(); len(e) != 1 || e[0] != controller.EventStatement {
				t.Errorf("security events %v", e)
			}
			noAppKey(t, k.log, w)
		})
	}
}

// An agent that encrypts with other keys than it was given, and makes its MACs with the right ones, has made a backup that nobody opens.
func TestFinish_aesOtherKeys(t *testing.T) {
	var other artifact.AESKeys
	other.Cipher[5], other.MAC[5] = 9, 9
	for _, c := range []struct{ compression, object string }{
		{"zstd", wire.ObjectArtifact},
		{"gzip", wire.ObjectArtifact},
		{"zstd", wire.ObjectFingerprint},
		{"gzip", wire.ObjectGlobals},
		{"none", wire.ObjectGlobals},
	} {
		t.Run(c.compression+" "+c.object, func(t *testing.T) {
			k := start(t, nil)
			u := newUpload(t, k, c.compression, "aes-256-cbc", nil)
			codec := u.statement.Codec
			stored, sums := encodeArtifact(t, codec, []byte("anything"), other)
			sums.MAC = aesKeys(t, c.object).Tag(sums.StoredSHA256)
			switch c.object {
			case wire.ObjectArtifact:
				k.bucket.put(u.finishing.Key, stored)
				u.statement.Sums = sums
			case wire.ObjectFingerprint:
				k.bucket.put(artifact.FingerprintKey(u.finishing.Key, codec), stored)
				u.statement.Fingerprint = &sums
			case wire.ObjectGlobals:
				k.bucket.put(artifact.GlobalsKey(u.finishing.Key, codec), stored)
				u.statement.Globals = &sums
			}
			u.finishing.Statement = signStatement(t, u.statement, agentKey)
			k.finish(u.finishing)
			w := k.finished("FailFinish")
			if w.failure.Code != wire.CodeForeignHeader || w.failure.Retryable || !strings.Contains(w.failure.Message, "shop-project") {
				t.Errorf("failed with %+v", w.failure)
			}
			if e := k.events(); len(e) != 1 || e[0] != controller.EventForeignHeader {
				t.Errorf("security events %v", e)
			}
			noAppKey(t, k.log, w)
		})
	}
}

func TestFinish_aesUnreadable(t *testing.T) {
	busy := wire.Failf(wire.CodeStorageUnavailable, "503 slow down").Retry()
	for name, c := range map[string]struct {
		change func(*kit, upload)
		method string
		code   string
	}{
		"key not to be had":      {func(k *kit, _ upload) { k.store.failing("ProjectAppKey", errDown) }, "RetryFinish", wire.CodeInternal},
		"start not readable now": {func(k *kit, _ upload) { k.bucket.failing("ReadStart", busy) }, "RetryFinish", wire.CodeStorageUnavailable},
		"shorter than any":       {func(k *kit, u upload) { k.bucket.put(u.finishing.Key, make([]byte, 31)) }, "FailFinish", wire.CodeForeignHeader},
		"another project's key":  {func(k *kit, _ upload) { k.store.appKey = []byte("base64://///////////////////////////////////////w==") }, "FailFinish", wire.CodeForeignHeader},
		"side object not there": {func(k *kit, u upload) {
			delete(k.bucket.objects, artifact.GlobalsKey(u.finishing.Key, u.statement.Codec))
		}, "FailFinish", wire.CodeMissing},
		"side object of other sum": {func(k *kit, u upload) {
			k.bucket.put(artifact.GlobalsKey(u.finishing.Key, u.statement.Codec), make([]byte, 64))
		}, "FailFinish", wire.CodeChecksum},
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, nil)
			u := newUpload(t, k, "zstd", "aes-256-cbc", nil)
			c.change(k, u)
			k.finish(u.finishing)
			if w := k.finished(c.method); w.failure.Code != c.code {
				t.Errorf("recorded %+v", w.failure)
			}
		})
	}
}
