package keys_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller/internal/keys"
	"devflowbackup/shared/secret"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestCreateMaster(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.key")
	m, err := keys.CreateMaster(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	content, err := os.ReadFile(path)
	if err != nil || !bytes.HasPrefix(content, []byte("# DevFlow Backup master key")) {
		t.Fatalf("content %q, %v", content, err)
	}
	loaded, err := keys.LoadMaster(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := loaded.Verify(m.CheckValue()); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.CreateMaster(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second create: %v", err)
	}
	if again, err := os.ReadFile(path); err != nil || !bytes.Equal(again, content) {
		t.Errorf("the file was changed: %v", err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("files %v, %v", left, err)
	}
}

func TestLoadMaster_errors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.key")
	if _, err := keys.LoadMaster(path); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("missing: %v", err)
	}
	if _, err := keys.CreateMaster(path); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	header, key, _ := strings.Cut(strings.TrimSpace(string(good)), "\n")
	swapped := []byte(key)
	for i := range swapped[:20] {
		if swapped[i] != swapped[i+1] {
			swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
			break
		}
	}
	for name, content := range map[string]string{
		"no key":      header + "\n",
		"not base64":  header + "\n!" + key[1:] + "\n",
		"cut":         header + "\n" + key[:len(key)-4] + "\n",
		"mistyped":    header + "\n" + string(swapped) + "\n",
		"two keys":    header + "\n" + key + "\n" + key + "\n",
		"other thing": "AGE-SECRET-KEY-1XYZ\n",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := keys.LoadMaster(path)
		if !errors.Is(err, keys.ErrMalformed) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), key[:8]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.LoadMaster(path); !errors.Is(err, secret.ErrExposed) || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("readable by others: %v", err)
	}
}

func TestMaster_Verify_wrongKey(t *testing.T) {
	m, other := keys.NewMaster(), keys.NewMaster()
	if err := other.Verify(m.CheckValue()); !errors.Is(err, keys.ErrWrongMaster) {
		t.Fatalf("verify: %v", err)
	}
	if err := m.Verify(nil); !errors.Is(err, keys.ErrWrongMaster) {
		t.Fatalf("verify nothing: %v", err)
	}
}

func TestMaster_Seal(t *testing.T) {
	m := keys.NewMaster()
	plain := []byte("canary secret")
	sealed := m.Seal("storage/1", plain)
	if bytes.Contains(sealed, plain) || bytes.Equal(sealed, m.Seal("storage/1", plain)) {
		t.Fatal("sealed value shows its content or repeats")
	}
	if got, err := m.Open("storage/1", sealed); err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("open: %q, %v", got, err)
	}
	if got, err := m.Open("empty", m.Seal("empty", nil)); err != nil || len(got) != 0 {
		t.Fatalf("open empty: %q, %v", got, err)
	}
	refused := func(what string, m *keys.Master, purpose string, sealed []byte) {
		t.Helper()
		got, err := m.Open(purpose, sealed)
		if !errors.Is(err, keys.ErrSealed) || got != nil {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	refused("other purpose", m, "storage/2", sealed)
	refused("other master", keys.NewMaster(), "storage/1", sealed)
	refused("appended", m, "storage/1", append(bytes.Clone(sealed), 0))
	for n := range sealed {
		refused(fmt.Sprintf("cut to %d", n), m, "storage/1", sealed[:n])
		for bit := range 8 {
			flipped := bytes.Clone(sealed)
			flipped[n] ^= 1 << bit
			refused(fmt.Sprintf("flipped %d.%d", n, bit), m, "storage/1", flipped)
		}
	}
}

// A value sealed by the first release must open for good.
func TestMaster_Open_oldValue(t *testing.T) {
	m, err := keys.LoadMaster(fixture(t, "master-v1.key"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join("testdata", "sealed-v1.b64"))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.Open("vector", sealed); err != nil || string(got) != "sealed by version 1" {
		t.Fatalf("open: %q, %v", got, err)
	}
	if got := hex.EncodeToString(m.CheckValue()); got != "0347121a85a13dbb1c977c9f57ab012fb0868e0eff9f55383090834cee6e3414" {
		t.Fatalf("check value %s", got)
	}
}

// fixture copies a file of testdata with mode 0600, which version control does not keep.
func fixture(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestKeys_neverPrint(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.key")
	m, err := keys.CreateMaster(path)
	if err != nil {
		t.Fatal(err)
	}
	in, err := keys.New(now)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		for _, v := range []any{m, in} {
			if got := fmt.Sprintf(verb, v); got != secret.Mask {
				t.Errorf("%s of %T prints %q", verb, v, got)
			}
		}
	}
}

func TestRecoverMaster(t *testing.T) {
	m := keys.NewMaster()
	key, recipient, err := keys.NewRecoveryKey()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := keys.SealMaster(m, recipient)
	if err != nil {
		t.Fatal(err)
	}
	got, err := keys.RecoverMaster(sealed, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Verify(m.CheckValue()); err != nil {
		t.Fatal(err)
	}
	other, _, err := keys.NewRecoveryKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.RecoverMaster(sealed, other); !errors.Is(err, keys.ErrWrongRecoveryKey) {
		t.Errorf("other recovery key: %v", err)
	}
	if _, err := keys.RecoverMaster(sealed, key[:len(key)-3]); err == nil || strings.Contains(err.Error(), key[20:40].Reveal()) {
		t.Errorf("cut recovery key: %v", err)
	}
	if _, err := keys.RecoverMaster(sealed[:len(sealed)/2], key); err == nil {
		t.Error("half a file opens")
	}
	if _, err := keys.SealMaster(m); err == nil {
		t.Error("sealed to nobody")
	}

	// Without this program: the age of the distribution gives back a working key file.
	dir := t.TempDir()
	for name, content := range map[string][]byte{"recovery.txt": []byte(key.Reveal() + "\n"), "master.age": sealed} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("age", "-d", "-i", filepath.Join(dir, "recovery.txt"), "-o", filepath.Join(dir, "master.key"), filepath.Join(dir, "master.age"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("age: %v: %s", err, out)
	}
	if err := os.Chmod(filepath.Join(dir, "master.key"), 0o600); err != nil {
		t.Fatal(err)
	}
	byAge, err := keys.LoadMaster(filepath.Join(dir, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := byAge.Verify(m.CheckValue()); err != nil {
		t.Fatal(err)
	}
}

func TestInstallation_sealAndOpen(t *testing.T) {
	in, err := keys.New(now)
	if err != nil {
		t.Fatal(err)
	}
	m := keys.NewMaster()
	plain, err := in.Secrets()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := in.SealSecrets(m)
	if err != nil {
		t.Fatal(err)
	}
	back, err := keys.OpenSecrets(m, sealed)
	if err != nil {
		t.Fatal(err)
	}
	again, err := back.Secrets()
	if err != nil {
		t.Fatal(err)
	}
	if len(again) != len(plain) || len(plain) != 9 {
		t.Fatalf("%d and %d secrets", len(plain), len(again))
	}
	for name, value := range plain {
		if !bytes.Equal(value, again[name]) {
			t.Errorf("%s changed", name)
		}
		if bytes.Contains(sealed[name], value) {
			t.Errorf("%s is not sealed", name)
		}
		missing := make(map[string][]byte)
		damaged := make(map[string][]byte)
		for n, v := range plain {
			damaged[n] = v
			if n != name {
				missing[n] = v
			}
		}
		if _, err := keys.Load(missing); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
		damaged[name] = value[:len(value)/2]
		if _, err := keys.Load(damaged); name != "installation_id" && (err == nil || !strings.Contains(err.Error(), name)) {
			t.Errorf("with half of %s: %v", name, err)
		}
	}
	plain["nats_account_ctl"] = plain["nats_operator"]
	if _, err := keys.Load(plain); err == nil {
		t.Error("an operator's key was taken for an account's")
	}
	if _, err := keys.OpenSecrets(keys.NewMaster(), sealed); !errors.Is(err, keys.ErrSealed) {
		t.Errorf("with another master key: %v", err)
	}
}

func TestCA_IssueServer(t *testing.T) {
	ca, err := keys.NewCA(now)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ca.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := keys.LoadCA(ca.CertPEM(), key)
	if err != nil {
		t.Fatal(err)
	}
	if loaded.Fingerprint() != ca.Fingerprint() || len(ca.Fingerprint()) != 64 {
		t.Fatalf("fingerprints %s, %s", ca.Fingerprint(), loaded.Fingerprint())
	}
	pair, err := loaded.IssueServer(now, []string{"backup.example"}, []net.IP{net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	// FAULTS 39: hosts whose clock is 42 days off, either way, still verify it.
	for _, at := range []time.Time{now.Add(-42 * 24 * time.Hour), now, now.Add(42 * 24 * time.Hour), now.Add(730 * 24 * time.Hour)} {
		for _, name := range []string{"backup.example", "127.0.0.1"} {
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: ca.Pool(), CurrentTime: at}); err != nil {
				t.Errorf("at %s as %s: %v", at, name, err)
			}
		}
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: "other.example", Roots: ca.Pool(), CurrentTime: now}); err == nil {
		t.Error("verifies under another name")
	}
	if valid := pair.Leaf.NotAfter.Sub(pair.Leaf.NotBefore); valid > 825*24*time.Hour {
		t.Errorf("valid for %s", valid)
	}
	other, err := keys.NewCA(now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: "backup.example", Roots: other.Pool(), CurrentTime: now}); err == nil {
		t.Error("verifies under another CA")
	}
	if _, err := ca.IssueServer(now, nil, nil); err == nil {
		t.Error("issued for no name")
	}
	if _, err := ca.IssueServer(now.Add(11*365*24*time.Hour), []string{"x"}, nil); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("issued by an expired CA: %v", err)
	}
	if late, err := ca.IssueServer(now.Add(9*365*24*time.Hour), []string{"x"}, nil); err != nil || late.Leaf.NotAfter.After(ca.Certificate().NotAfter) {
		t.Errorf("outlives its CA: %v", err)
	}
	certPEM, keyPEM, err := keys.EncodeServer(pair)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Errorf("encoded pair: %v", err)
	}
}
