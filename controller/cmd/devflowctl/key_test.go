package main_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

const appKey = "base64:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

// sealedSet is an aes-256-cbc backup with a side object, in a directory, with its manifest.
type sealedSet struct {
	file, fingerprint, manifest string
	dump, counts                []byte
	attempt                     string
	keys                        map[string]artifact.AESKeys
}

func sealed(t *testing.T, dir, compression string) sealedSet {
	t.Helper()
	raw, err := artifact.AppKeyBytes(appKey)
	if err != nil {
		t.Fatal(err)
	}
	s := sealedSet{dump: make([]byte, 300_000), counts: []byte(`{"tables":{"orders":12}}`), attempt: artifact.NewAttemptID(), keys: map[string]artifact.AESKeys{}}
	_, _ = rand.Read(s.dump)
	codec := artifact.Codec{Compression: compression, Encryption: artifact.AES256CBC}
	at := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	// A database called like this has only underscores for it in its file's name.
	name := artifact.FileName("o'brien; $(reboot)", at, s.attempt, "dump", codec)
	put := func(name, object string, text []byte) (string, artifact.Sums) {
		keys, err := artifact.DeriveAESKeys(raw, s.attempt, object)
		if err != nil {
			t.Fatal(err)
		}
		s.keys[object] = keys
		var b bytes.Buffer
		w, err := artifact.NewWriter(&b, codec, &keys)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return file, w.Sums()
	}
	var sums, side artifact.Sums
	s.file, sums = put(name, wire.ObjectArtifact, s.dump)
	s.fingerprint, side = put(artifact.FingerprintKey(name, codec), wire.ObjectFingerprint, s.counts)
	agentPub, agentKey, _ := ed25519.GenerateKey(rand.Reader)
	pub, key, _ := ed25519.GenerateKey(rand.Reader)
	signed, err := artifact.SignStatement(artifact.Statement{
		FormatVersion: 1, ServerID: "a1", JobID: "7", AttemptNo: 1, AttemptID: s.attempt, Key: artifact.Key("", at, name), Engine: "postgresql", Database: "o'brien; $(reboot)",
		ServerVersion: "15.6", Tool: "pg_dump", ToolVersion: "15.6", Sums: sums, Codec: codec, StartedAt: at, FinishedAt: at, Fingerprint: &side,
	}, "a1", agentKey)
	if err != nil {
		t.Fatal(err)
	}
	m, err := artifact.Countersign(signed, artifact.Facts{BackupID: 12, Type: "manual", ReceivedAt: at, Server: artifact.ServerFacts{ID: "a1", SigningKey: agentPub}}, wire.KeyID(pub), key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s.manifest = s.file + ".manifest.json"
	if err := os.WriteFile(s.manifest, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// derivedKeys is what key derive prints.
type derivedKeys struct {
	File      string `json:"file"`
	AttemptID string `json:"attempt_id"`
	Object    string `json:"object"`
	CipherKey string `json:"cipher_key"`
	MACKey    string `json:"mac_key"`
	MAC       string `json:"mac"`
	Check     string `json:"check_command"`
	Decrypt   string `json:"decrypt_command"`
}

// shell runs a command as somebody would who has pasted it.
func shell(t *testing.T, dir, command string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
	cmd.Dir, cmd.Env = dir, []string{"PATH=/usr/bin:/bin"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestKey_derive: from the app key and a file's name come commands by which openssl alone checks and opens it, as they are printed.
func TestKey_derive(t *testing.T) {
	t.Parallel()
	for _, compression := range []string{artifact.Zstd, artifact.Gzip, artifact.None} {
		r := offline(t)
		dir := filepath.Join(r.home, "it's here")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		s := sealed(t, dir, compression)
		key := r.file("app.key", appKey+"\n")
		// What a project's key file says is found as well.
		both := r.file("shop.key", "# project: shop\nAGE-SECRET-KEY-1QQQ\n# aes-256-cbc:\n# app key: "+appKey+"\n")
		for _, x := range []struct {
			args    []string
			object  string
			content []byte
			mac     bool
		}{
			{[]string{s.file, "--app-key-file", key}, wire.ObjectArtifact, s.dump, true},
			{[]string{s.manifest, "--app-key-file", both}, wire.ObjectArtifact, s.dump, true},
			{[]string{s.fingerprint, "--app-key-file", key}, wire.ObjectFingerprint, s.counts, true},
			{[]string{s.manifest, "--object", "fingerprint", "--app-key-file", key}, wire.ObjectFingerprint, s.counts, true},
			{[]string{s.fingerprint, "--object", "artifact", "--app-key-file", key}, wire.ObjectArtifact, s.dump, true},
			{[]string{filepath.Base(s.file), "--app-key-file", key}, wire.ObjectArtifact, s.dump, false},
			{[]string{filepath.Base(s.file) + ".manifest.json", "--object", "fingerprint", "--app-key-file", key}, wire.ObjectFingerprint, s.counts, false},
		} {
			d := into[derivedKeys](r.ctl(append([]string{"key", "derive", "--json"}, x.args...)...).ends(0))
			want := s.keys[x.object]
			if d.AttemptID != s.attempt || d.Object != x.object || d.CipherKey != fmt.Sprintf("%x", want.Cipher[:]) || d.MACKey != fmt.Sprintf("%x", want.MAC[:]) || (d.MAC != "") != x.mac {
				t.Errorf("%v: %+v", x.args, d)
			}
			text := r.ctl(append([]string{"key", "derive"}, x.args...)...).ends(0, d.CipherKey, d.MACKey, d.Check, d.Decrypt)
			if strings.Contains(text.out, "AAECAw") {
				t.Error("the app key is printed")
			}
			out, err := shell(t, dir, d.Check)
			if err != nil || (x.mac && !strings.Contains(out, "the MAC holds")) {
				t.Errorf("%s: %v: %s", d.Check, err, out)
			}
			if !x.mac {
				stored, err := os.ReadFile(filepath.Join(dir, d.File))
				if err != nil {
					t.Fatal(err)
				}
				if tag := want.Tag(artifact.Digest(sha256.Sum256(stored))); strings.TrimSpace(out) != tag.String() {
					t.Errorf("the MAC is %q, want %s", out, tag)
				}
			}
			if out, err := shell(t, dir, d.Decrypt); err != nil {
				t.Errorf("%s: %v: %s", d.Decrypt, err, out)
			}
			opened := filepath.Join(filepath.Dir(s.file), strings.TrimSuffix(filepath.Base(d.File), artifact.Codec{Compression: compression, Encryption: artifact.AES256CBC}.Suffix()))
			if got, err := os.ReadFile(opened); err != nil || !bytes.Equal(got, x.content) {
				t.Errorf("%v: %d bytes, want %d, %v", x.args, len(got), len(x.content), err)
			}
			_ = os.Remove(opened)
		}
		// A changed file is told by the first command.
		d := into[derivedKeys](r.ctl("key", "derive", s.file, "--app-key-file", key, "--json").ends(0))
		change(t, s.file, flip)
		if out, err := shell(t, dir, d.Check); err == nil || !strings.Contains(out, "DOES NOT HOLD") {
			t.Errorf("%v: %s", err, out)
		}
	}
}

func TestKey_derive_refused(t *testing.T) {
	t.Parallel()
	r := offline(t)
	s := sealed(t, r.home, artifact.Zstd)
	key := r.file("app.key", appKey)
	for words, args := range map[string][]string{
		"--app-key-file":               {s.file}, // nothing on standard input
		"shorter than 16 bytes":        {s.file, "--app-key-file", r.file("short.key", "canary")},
		"not base64":                   {s.file, "--app-key-file", r.file("bad.key", "base64:canary!canary!")},
		"no app key":                   {s.file, "--app-key-file", r.file("age.key", "# x\nAGE-SECRET-KEY-1CANARY\n")},
		"tables":                       {s.file, "--object", "tables", "--app-key-file", key},
		"has none":                     {s.file, "--object", "globals", "--app-key-file", key},
		"name of a fingerprint":        {s.fingerprint, "--object", "globals", "--app-key-file", key},
		"does not end in .enc":         {"app_2026-03-01_020000_" + s.attempt + ".dump.zst.age", "--app-key-file", key},
		"no attempt id":                {"dump.zst.enc", "--app-key-file", key},
		"manifest":                     {"dump.zst.enc", "--app-key-file", key},
		"usage: devflowctl key derive": {},
	} {
		x := r.ctl(append([]string{"key", "derive"}, args...)...).ends(2, words)
		if strings.Contains(strings.ToLower(x.err+x.out), "canary") {
			t.Errorf("%s: the key is shown: %s%s", words, x.out, x.err)
		}
	}
	loose := r.file("loose.key", appKey)
	if err := os.Chmod(loose, 0o644); err != nil {
		t.Fatal(err)
	}
	r.ctl("key", "derive", s.file, "--app-key-file", loose).ends(2, "loose.key")
	// Another project's key is told by the manifest, even where the file is not at hand.
	other := r.file("other.key", "another text of sufficient length")
	r.ctl("key", "derive", s.manifest, "--app-key-file", other).ends(1, "encrypted with another")
	age := store(t, r.home, "age", "zstd")
	r.ctl("key", "derive", age.file, "--app-key-file", key).ends(2, "encrypted by age")
	change(t, s.manifest, func(b []byte) []byte { return bytes.Replace(b, []byte(s.attempt), []byte("aaaaaaaaaaaaaaaa"), 1) })
	r.ctl("key", "derive", s.file, "--app-key-file", key).ends(1, "not signed", "move the manifest away")
}

// TestKey_derive_stdin: the app key comes through a pipe as well, never by the command line.
func TestKey_derive_stdin(t *testing.T) {
	t.Parallel()
	r := offline(t)
	s := sealed(t, r.home, artifact.Zstd)
	cmd := r.command(t.Context(), "key", "derive", s.file, "--json")
	cmd.Stdin = strings.NewReader(appKey + "\n")
	out, err := cmd.Output()
	want := s.keys[wire.ObjectArtifact]
	if err != nil || !bytes.Contains(out, []byte(fmt.Sprintf("%x", want.Cipher[:]))) {
		t.Errorf("%v: %s", err, out)
	}
	r.ctl("key", "derive", s.file, "--app-key", appKey).ends(2, "unknown flag")
}

// TestArtifact_decrypt_aes: the same file by this program: of a changed one no byte is decrypted, and nothing without its manifest.
func TestArtifact_decrypt_aes(t *testing.T) {
	t.Parallel()
	for _, compression := range []string{artifact.Zstd, artifact.Gzip, artifact.None} {
		r := offline(t)
		s := sealed(t, r.home, compression)
		key, out := r.file("shop.key", "AGE-SECRET-KEY-1QQQ\n# app key: "+appKey+"\n"), filepath.Join(r.home, "out")
		r.ctl("artifact", "inspect", s.file).ends(0, compression, "aes-256-cbc")
		r.ctl("artifact", "decrypt", s.file, "-o", out).ends(2, "--app-key-file")
		r.ctl("artifact", "decrypt", s.file, "-o", out, "--app-key-file", r.file("other.key", "another text of sufficient length")).ends(1, "key")
		r.ctl("artifact", "decrypt", s.file, "-o", out, "--identity-file", key).ends(0, "sizes and checksums of")
		if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, s.dump) {
			t.Fatalf("%s: %d bytes, %v", compression, len(got), err)
		}
		r.ctl("artifact", "decrypt", s.fingerprint, "-o", out+"2", "--app-key-file", key).ends(0)
		if got, err := os.ReadFile(out + "2"); err != nil || !bytes.Equal(got, s.counts) {
			t.Fatalf("%s: %d bytes, %v", compression, len(got), err)
		}
		change(t, s.file, flip)
		r.ctl("artifact", "decrypt", s.file, "-o", out+"3", "--app-key-file", key).ends(1, "damaged")
		change(t, s.file, flip)
		if err := os.Remove(s.manifest); err != nil {
			t.Fatal(err)
		}
		r.ctl("artifact", "inspect", s.file).ends(0, compression+", aes-256-cbc")
		r.ctl("artifact", "decrypt", s.file, "-o", out+"3", "--app-key-file", key).ends(2, "--manifest", "key derive")
		if left, _ := filepath.Glob(filepath.Join(r.home, "*out3*")); len(left) != 0 {
			t.Errorf("%v is left", left)
		}
	}
}

// TestProject_keys: both keys of a project go into one file, which age reads as it is.
func TestProject_keys(t *testing.T) {
	t.Parallel()
	r := start(t)
	escrowKey, escrow, err := artifact.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	app := r.file("panel.key", appKey+"\n")
	r.ctl("project", "create", "shop", "--escrow", escrow, "--encryption", "aes-256-cbc", "--app-key-file", app).ends(0, escrow, "aes-256-cbc")
	r.ctl("project", "create", "x", "--escrow", escrowKey).ends(2, "escrow_recipients", "secret key")
	r.ctl("project", "create", "x", "--encryption", "rot13").ends(2, "age, aes-256-cbc, none")
	r.ctl("project", "create", "x", "--app-key-file", r.file("short", "canary")).ends(2, "shorter than 16")
	r.ctl("project", "key", "shop", "-o", "shop.key").ends(0, "shop.key")
	text, err := os.ReadFile(filepath.Join(r.home, "shop.key"))
	if err != nil || !strings.Contains(string(text), "\n# app key: "+appKey+"\n") {
		t.Fatalf("the file is %s, %v", text, err)
	}
	if info, _ := os.Stat(filepath.Join(r.home, "shop.key")); info.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %o", info.Mode().Perm())
	}
	r.ctl("project", "key", "shop").ends(0, "AGE-SECRET-KEY-1", appKey)
	p := into[controller.Project](r.ctl("project", "show", "shop", "--output", "json").ends(0))
	if out, err := shell(t, r.home, "echo hello | age -r "+p.AgeRecipient+" | age -d -i shop.key"); err != nil || out != "hello\n" {
		t.Errorf("age: %v: %s", err, out)
	}
	r.ctl("project", "edit", "shop", "--encryption", "none").ends(0, "none", escrow)
	if x := r.ctl("project", "edit", "shop", "--escrow", "").ends(0); strings.Contains(x.out, escrow) {
		t.Errorf("the recipient is still there: %s", x.out)
	}
	if log := r.Logged.String(); strings.Contains(log, "AAECAw") {
		t.Error("the log holds the app key")
	}
}

// TestStorage_kinds: what lies on the database's own host says so wherever it is shown; credentials are rotated behind a probe.
func TestStorage_kinds(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.Project("shop")
	r.ctl("storage", "add", "here", "--kind", "local", "--default").ends(0, "here (local, same host)", "lost with it")
	r.ctl("storage", "add", "x", "--kind", "local", "--bucket", "b").ends(2, "bucket", "local")
	r.ctl("storage", "add", "x", "--kind", "local", "--secret-key-file", "f").ends(2, "--secret-key-file")
	r.ctl("storage", "add", "x", "--kind", "tape").ends(2)
	secret := r.file("s3.secret", "canary-one\n")
	r.ctl("storage", "add", "main", "--endpoint", "https://s3.test", "--bucket", "b", "--access-key", "ak", "--secret-key-file", secret).ends(0, "STEP", "MS", "0 objects")
	r.ctl("storage", "list").ends(0, "here (local, same host)", "main", "BACKUPS", "USED")

	r.ctl("storage", "edit", "main").ends(2, "change what?")
	r.ctl("storage", "edit", "main", "--access-key", "new").ends(2, "--secret-key-file")
	rotated := r.file("new.secret", "canary-two\n")
	x := r.ctl("storage", "edit", "main", "--name", "first", "--access-key", "new", "--secret-key-file", rotated).ends(0, "first", "0 objects", "3")
	r.Fleet.With(func() {
		if n := len(r.Fleet.Changes); n != 1 || r.Fleet.Changes[0].SecretKey.Reveal() != "canary-two" || r.Fleet.Changes[0].AccessKey != "new" {
			t.Errorf("probed were %+v", r.Fleet.Changes)
		}
		r.Fleet.Result.OK = false
		r.Fleet.Result.Report = []byte(`{"steps":[{"name":"write","ok":false,"required":true,"millis":12,"detail":"AccessDenied","hint":"allow s3:PutObject"}]}`)
	})
	if strings.Contains(x.out+x.err+r.Logged.String(), "canary") {
		t.Error("the secret is printed or logged")
	}
	r.ctl("storage", "edit", "first", "--secret-key-file", secret).ends(1, "FAILED", "12", "AccessDenied", "allow s3:PutObject")
	r.ctl("storage", "edit", "first", "--region", "eu-1", "--force").ends(0, "eu-1", "failed")
	r.ctl("storage", "default", "here").ends(0)

	a := r.Agent("db-1", "shop", "app")
	r.ctl("backup", "create", "shop", "--storage-disk", "tape").ends(2, "s3, local")
	r.ctl("backup", "create", "shop", "--encrypt", "--no-encrypt").ends(2, "exclude each other")
	r.ctl("backup", "create", "shop", "--encrypt", "--encryption", "age").ends(2, "exclude each other")
	r.ctl("backup", "create", "shop", "--compression", "gzip", "--level", "10").ends(2, "level", "10")
	r.ctl("backup", "create", "shop", "--storage-disk", "local", "--compression", "gzip", "--level", "9", "--no-encrypt").ends(0)
	offer := r.Start(a)[0]
	r.Complete(a, offer)
	b := r.backups()[0]
	if b.Compression != "gzip" || b.Level != 9 || b.Encryption != "none" || b.StorageDisk != "local" {
		t.Errorf("the backup is %+v", b)
	}
	id := fmt.Sprint(b.ID)
	r.ctl("backup", "show", id).ends(0, "here (local, same host)", "gzip (level 9), none", "same host as the database", "not encrypted")
	r.ctl("backup", "list").ends(0, "here (local, same host)")
	r.ctl("storage", "show", "here").ends(0, "1, 146 KiB")
	r.ctl("storage", "remove", "here").ends(1, "1 backup")
	r.ctl("storage", "remove", "first").ends(0)
}
