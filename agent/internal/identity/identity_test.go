package identity_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"devflowbackup/agent/internal/identity"
	"devflowbackup/agent/internal/testkit/control"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

func installation(t *testing.T) (identity.Installation, ed25519.PrivateKey) {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	return identity.Installation{
		ServerID: "a1", ServerName: "db", Controller: "https://c", NATSURLs: []string{"tls://c:4222"}, NATSJWT: "jwt", CA: control.NewCA(t).PEM,
		KeySet: wire.KeySet{Version: 1, Keys: []wire.Key{{ID: wire.KeyID(pub), Public: pub}}},
	}, priv
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestIdentity_RoundTrip(t *testing.T) {
	dir := t.TempDir()
	if _, err := identity.Load(dir); !errors.Is(err, identity.ErrNotEnrolled) {
		t.Fatalf("got %v", err)
	}
	if ok, err := identity.Exists(dir); ok || err != nil {
		t.Fatal(ok, err)
	}
	keys, err := identity.Draw()
	must(t, err)
	inst, _ := installation(t)
	_, err = identity.Create(dir, keys, inst)
	must(t, err)
	id, err := identity.Load(dir)
	must(t, err)
	if got := id.Installation(); got.ServerID != "a1" || got.CA != inst.CA || id.KeySet().Version != 1 {
		t.Fatalf("%+v", got)
	}
	want, err := keys.Public()
	must(t, err)
	got, err := id.Public()
	must(t, err)
	if got.NKey != want.NKey || !bytes.Equal(got.SigningKey, want.SigningKey) || got.Recipient != want.Recipient {
		t.Fatal("other keys came back")
	}

	// Each private key is the one of its public half.
	sig, err := id.SignNonce([]byte("nonce"))
	must(t, err)
	user, err := nkeys.FromPublicKey(got.NKey)
	must(t, err)
	must(t, user.Verify([]byte("nonce"), sig))
	st := artifact.Statement{
		FormatVersion: 1, ServerID: "a1", JobID: "1", AttemptNo: 1, AttemptID: artifact.NewAttemptID(), Engine: "postgresql", Database: "x",
		Codec: artifact.Codec{Compression: "none", Encryption: "none"}, StartedAt: time.Now(),
	}
	st.Key = "x_" + st.AttemptID + ".dump"
	signed, err := id.SignStatement(st)
	must(t, err)
	if _, err := signed.Verify(got.SigningKey); err != nil || signed.KeyID != wire.KeyID(got.SigningKey) {
		t.Fatal(err)
	}
	sealed, err := artifact.SealTo(got.Recipient, []byte("secret"))
	must(t, err)
	if text, err := id.OpenSealed(sealed); err != nil || string(text) != "secret" {
		t.Fatalf("%q, %v", text, err)
	}

	if s := fmt.Sprintf("%v %+v %#v %s", keys, keys, keys, keys); strings.Trim(s, "* ") != "" {
		t.Fatalf("keys print as %q", s)
	}
	info, err := os.Stat(filepath.Join(dir, "identity.json"))
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %04o", info.Mode().Perm())
	}
}

func TestCreate_Incomplete(t *testing.T) {
	keys, err := identity.Draw()
	must(t, err)
	for name, change := range map[string]func(*identity.Installation){
		"server id": func(i *identity.Installation) { i.ServerID = "A.b" },
		"url":       func(i *identity.Installation) { i.NATSURLs = nil },
		"jwt":       func(i *identity.Installation) { i.NATSJWT = "" },
		"keys":      func(i *identity.Installation) { i.KeySet.Keys = nil },
		"key":       func(i *identity.Installation) { i.KeySet.Keys[0].Public = []byte("x") },
		"ca":        func(i *identity.Installation) { i.CA = "x" },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			inst, _ := installation(t)
			change(&inst)
			if _, err := identity.Create(dir, keys, inst); err == nil {
				t.Fatal("no error")
			}
			if list, _ := os.ReadDir(dir); len(list) != 0 {
				t.Fatalf("left: %v", list)
			}
		})
	}
}

func TestLoad_Damaged(t *testing.T) {
	keys, err := identity.Draw()
	must(t, err)
	for name, change := range map[string]func(t *testing.T, path, text string){
		"cut": func(t *testing.T, path, text string) { must(t, os.WriteFile(path, []byte(text[:100]), 0o600)) },
		"newer": func(t *testing.T, path, text string) {
			must(t, os.WriteFile(path, []byte(strings.Replace(text, `"version": 1`, `"version": 2`, 1)), 0o600))
		},
		"no key": func(t *testing.T, path, text string) {
			must(t, os.WriteFile(path, []byte(strings.Replace(text, "signing_seed", "x", 1)), 0o600))
		},
		"no age": func(t *testing.T, path, text string) {
			must(t, os.WriteFile(path, []byte(strings.Replace(text, "AGE-SECRET", "x", 1)), 0o600))
		},
		"exposed": func(t *testing.T, path, _ string) { must(t, os.Chmod(path, 0o640)) }, //nolint:gosec // the mistake under test
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			inst, _ := installation(t)
			_, err := identity.Create(dir, keys, inst)
			must(t, err)
			path := filepath.Join(dir, "identity.json")
			text, err := os.ReadFile(path)
			must(t, err)
			change(t, path, string(text))
			_, err = identity.Load(dir)
			if err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "AGE-SECRET") {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestIdentity_Pin(t *testing.T) {
	dir := t.TempDir()
	keys, err := identity.Draw()
	must(t, err)
	inst, priv := installation(t)
	id, err := identity.Create(dir, keys, inst)
	must(t, err)
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	next := inst.KeySet
	next.Version = 2
	forged, err := wire.SignKeySet(stranger, next)
	must(t, err)
	if err := id.Pin(forged); !wire.HasCode(err, wire.CodeNotSigned) {
		t.Fatalf("got %v", err)
	}
	signed, err := wire.SignKeySet(priv, next)
	must(t, err)
	must(t, id.Pin(signed))
	if err := id.Pin(signed); err == nil { // a replay
		t.Fatal("the same version was pinned again")
	}
	again, err := identity.Load(dir)
	must(t, err)
	if id.KeySet().Version != 2 || again.KeySet().Version != 2 {
		t.Fatal("the set was not pinned")
	}
}
