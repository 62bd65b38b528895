package main_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

func pemOf(srv *httptest.Server) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
}

// stored is an artifact in a directory, with its manifest and the key that opens it.
type stored struct {
	file, manifest, key string
	dump                []byte
	controllerKey       string // public, base64
}

func store(t *testing.T, dir, encryption, compression string) stored {
	t.Helper()
	dump := make([]byte, 6<<20)
	_, _ = rand.Read(dump)
	secret, recipient, err := artifact.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	codec := artifact.Codec{Compression: compression, Encryption: encryption}
	if encryption == "age" {
		codec.Recipients = []string{recipient}
	}
	at := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	id := artifact.NewAttemptID()
	name := artifact.FileName("shop", at, id, "dump", codec)
	var b bytes.Buffer
	w, err := artifact.NewWriter(&b, codec, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(dump); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	agentPub, agentKey, _ := ed25519.GenerateKey(rand.Reader)
	pub, key, _ := ed25519.GenerateKey(rand.Reader)
	signed, err := artifact.SignStatement(artifact.Statement{
		FormatVersion: 1, ServerID: "a1", JobID: "7", AttemptNo: 1, AttemptID: id, Key: artifact.Key("", at, name), Engine: "postgresql", Database: "shop",
		ServerVersion: "15.6", Tool: "pg_dump", ToolVersion: "15.6", Sums: w.Sums(), Codec: codec, StartedAt: at, FinishedAt: at,
	}, "a1", agentKey)
	if err != nil {
		t.Fatal(err)
	}
	m, err := artifact.Countersign(signed, artifact.Facts{
		BackupID: 12, Type: "manual", ReceivedAt: at, Project: artifact.ProjectFacts{ID: 1, Slug: "shop"}, Server: artifact.ServerFacts{ID: "a1", Name: "db-7", SigningKey: agentPub},
	}, wire.KeyID(pub), key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s := stored{file: filepath.Join(dir, name), dump: dump, key: filepath.Join(dir, "shop.key"), controllerKey: base64.StdEncoding.EncodeToString(pub)}
	s.manifest = s.file + ".manifest.json"
	other, _, _ := artifact.NewIdentity()
	for path, content := range map[string][]byte{s.file: b.Bytes(), s.manifest: text, s.key: []byte("# two keys, the second one opens it\n" + other + "\n\n" + secret + "\n")} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func change(t *testing.T, path string, f func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, f(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func flip(b []byte) []byte {
	b[len(b)/2] ^= 1
	return b
}

func TestArtifact_inspect(t *testing.T) {
	r := offline(t)
	s := store(t, r.home, "age", "zstd")
	r.ctl("artifact", "inspect", s.file).ends(0, "db-7", "pg_dump 15.6", "controller's signature  not checked", "server's signature      ok", "checksum                ok")
	r.ctl("artifact", "inspect", s.file, "--controller-key", s.controllerKey).ends(0, "controller's signature  ok")
	other, _, _ := ed25519.GenerateKey(rand.Reader)
	r.ctl("artifact", "inspect", s.file, "--controller-key", base64.StdEncoding.EncodeToString(other)).ends(1, "DOES NOT HOLD", "the one given")
	r.ctl("artifact", "inspect", s.file, "--controller-key", "x").ends(2)
	if d := into[struct {
		SHA256OK bool `json:"sha256_ok"`
	}](r.ctl("artifact", "inspect", s.file, "--output", "json").ends(0)); !d.SHA256OK {
		t.Error("the checksum is not said to hold")
	}
	change(t, s.file, flip)
	r.ctl("artifact", "inspect", s.file).ends(1, "DOES NOT HOLD", "SHA-256 is not the manifest's")
	change(t, s.file, flip)
	change(t, s.manifest, func(b []byte) []byte {
		return bytes.Replace(b, []byte(`"database": "shop"`), []byte(`"database": "shox"`), 1)
	})
	r.ctl("artifact", "inspect", s.file).ends(1, "server's signature does not hold")
	if err := os.Remove(s.manifest); err != nil {
		t.Fatal(err)
	}
	r.ctl("artifact", "inspect", s.file).ends(0, "zstd, age", "no manifest")
	r.ctl("artifact", "inspect", s.file, "--manifest", "none.json").ends(1, "none.json")
	r.ctl("artifact", "inspect", "none").ends(1, "none")
}

func TestArtifact_decrypt(t *testing.T) {
	r := offline(t)
	s := store(t, r.home, "age", "zstd")
	out := filepath.Join(r.home, "out.dump")
	nothing := func(why string) {
		t.Helper()
		left, err := filepath.Glob(filepath.Join(r.home, "*out.dump*"))
		hidden, _ := filepath.Glob(filepath.Join(r.home, ".*out.dump*"))
		if err != nil || len(left)+len(hidden) != 0 {
			t.Fatalf("%s: %v %v was left, %v", why, left, hidden, err)
		}
	}
	r.ctl("artifact", "decrypt", s.file).ends(2, "-o")
	r.ctl("artifact", "decrypt", s.file, "-o", out).ends(2, "--identity-file")
	r.ctl("artifact", "decrypt", s.file, "-o", out, "--identity-file", r.file("empty.key", "# nothing\n")).ends(1, "no key")
	wrong, _, _ := artifact.NewIdentity()
	r.ctl("artifact", "decrypt", s.file, "-o", out, "--identity-file", r.file("wrong.key", wrong+"\n")).ends(1, "does not open", "age1")
	nothing("a wrong key")

	r.ctl("artifact", "decrypt", s.file, "-o", out, "--identity-file", s.key).ends(0, "sizes and checksums of")
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, s.dump) {
		t.Fatalf("the dump differs: %d bytes, %v", len(got), err)
	}
	if info, _ := os.Stat(out); info.Mode().Perm() != 0o600 {
		t.Errorf("the dump's mode is %o", info.Mode().Perm())
	}
	r.ctl("artifact", "decrypt", s.file, "-o", out, "--identity-file", s.key).ends(1, "--force")
	// With --force a failure leaves what was there.
	change(t, s.file, flip)
	r.ctl("artifact", "decrypt", s.file, "-o", out, "--identity-file", s.key, "--force").ends(1, "damaged")
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, s.dump) {
		t.Fatalf("a failed --force changed the file: %v", err)
	}
	if err := os.Remove(out); err != nil {
		t.Fatal(err)
	}

	// Damage shows with and without a manifest; a cut file, too.
	r.ctl("artifact", "decrypt", s.file, "-o", out, "--identity-file", s.key).ends(1, "damaged")
	nothing("a changed byte")
	change(t, s.file, flip)
	manifest, err := os.ReadFile(s.manifest)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.manifest); err != nil {
		t.Fatal(err)
	}
	r.ctl("artifact", "decrypt", s.file, "-o", out, "--identity-file", s.key).ends(0, "no manifest")
	if err := os.Remove(out); err != nil {
		t.Fatal(err)
	}
	change(t, s.file, func(b []byte) []byte { return b[:len(b)/2] })
	r.ctl("artifact", "decrypt", s.file, "-o", out, "--identity-file", s.key).ends(1, "damaged")
	nothing("a cut file")
	forged := strings.Replace(string(manifest), `"database": "shop"`, `"database": "shox"`, 1)
	r.ctl("artifact", "decrypt", s.file, "-o", out, "--identity-file", s.key, "--manifest", r.file("forged.json", forged)).ends(1, "not signed")
	nothing("a forged manifest")
}

// TestArtifact_decrypt_plain: without codecs that check themselves, the manifest alone tells damage.
func TestArtifact_decrypt_plain(t *testing.T) {
	r := offline(t)
	s := store(t, r.home, "none", "none")
	r.ctl("artifact", "decrypt", s.file, "-o", "good").ends(0)
	change(t, s.file, flip)
	r.ctl("artifact", "decrypt", s.file, "-o", "bad").ends(1, "SHA-256")
	if _, err := os.Stat(filepath.Join(r.home, "bad")); err == nil {
		t.Error("a damaged dump was left")
	}
}
