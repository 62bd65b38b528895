package artifact_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"devflowbackup/shared/artifact"
)

// FAULTS 64: a wrong key, no key, and each of two recipients.
func TestReader_Keys(t *testing.T) {
	t.Parallel()
	project, escrow, stranger := newKey(t), newKey(t), newKey(t)
	c := codecs(project.recipient, escrow.recipient)["zstd+age"]
	raw := dumpLike(5000, 1)
	stored, sums := encode(t, c, raw)

	for name, k := range map[string]key{"project": project, "escrow": escrow} {
		got, _, err := decode(bytes.NewReader(stored), options(c, k.identity(t), &sums))
		if err != nil || !bytes.Equal(got, raw) {
			t.Errorf("with the %s key: %v", name, err)
		}
	}

	both := project.recipient + ", " + escrow.recipient
	for name, tc := range map[string]struct {
		o    artifact.ReadOptions
		want string
	}{
		"wrong": {
			options(c, stranger.identity(t), &sums),
			"age: the key for " + stranger.recipient + " does not open this file; it was encrypted to " + both,
		},
		"missing": {options(c, nil, &sums), "age: no key was given for this file; it was encrypted to " + both},
	} {
		got, _, err := decode(bytes.NewReader(stored), tc.o)
		var wrong *artifact.WrongKeyError
		if !errors.As(err, &wrong) || err.Error() != tc.want {
			t.Errorf("%s key: error is %v\nwant %s", name, err, tc.want)
		}
		if len(got) > 0 {
			t.Errorf("%s key: %d bytes were given out", name, len(got))
		}
	}
}

// Escrow: each of several recipients opens the file alone, with age and without us, and nobody else does.
func TestWriter_EachRecipientAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var recipients []string
	keys := map[string]key{}
	for _, name := range []string{"project", "escrow", "second escrow"} {
		keys[name] = newKey(t)
		recipients = append(recipients, keys[name].recipient)
	}
	keys["stranger"] = newKey(t)
	raw := dumpLike(100_000, 1)
	for name, c := range codecs(recipients...) {
		if c.Encryption != "age" {
			continue
		}
		stored, sums := encode(t, c, raw)
		for who, k := range keys {
			file := filepath.Join(dir, strings.ReplaceAll(who, " ", "-"))
			if err := os.WriteFile(file, []byte(k.secret+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if who == "stranger" {
				cmd := exec.Command("age", "-d", "-i", file)
				cmd.Stdin = bytes.NewReader(stored)
				if out, err := cmd.Output(); err == nil || len(out) > 0 {
					t.Errorf("%s: a stranger's key opens it", name)
				}
				continue
			}
			opened := tool(t, stored, "age", "-d", "-i", file)
			if got, _, err := decode(bytes.NewReader(opened), artifact.ReadOptions{Compression: c.Compression, Encryption: "none"}); err != nil || !bytes.Equal(got, raw) {
				t.Errorf("%s: with age and the key of %s: %v", name, who, err)
			}
			o := artifact.ReadOptions{Compression: c.Compression, Encryption: "age", Identity: k.identity(t), Recipients: recipients, Expect: &sums}
			if got, _, err := decode(bytes.NewReader(stored), o); err != nil || !bytes.Equal(got, raw) {
				t.Errorf("%s: with the key of %s: %v", name, who, err)
			}
		}
	}
}

// The header is opened away from the file, and the file key opens this file only.
func TestOpenHeader(t *testing.T) {
	t.Parallel()
	k, stranger := newKey(t), newKey(t)
	c := codecs(k.recipient)["zstd+age"]
	raw := dumpLike(5000, 1)
	stored, sums := encode(t, c, raw)
	other, otherSums := encode(t, c, raw)

	header, err := artifact.ExtractHeader(bytes.NewReader(stored[:300])) // the header alone is enough
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(stored, header) {
		t.Fatal("the header is not the beginning of the file")
	}
	fileKey, err := artifact.OpenHeader(header, k.secret)
	if err != nil {
		t.Fatal(err)
	}
	id := artifact.FileKeyIdentity(fileKey)
	clear(fileKey) // the identity keeps a copy
	got, _, err := decode(bytes.NewReader(stored), options(c, id, &sums))
	if err != nil || !bytes.Equal(got, raw) {
		t.Fatalf("with the file key: %v", err)
	}
	if _, _, err := decode(bytes.NewReader(other), options(c, id, &otherSums)); !isDamage(err) {
		t.Fatalf("another file with this file key: %v", err)
	}

	_, err = artifact.OpenHeader(header, stranger.secret, k.recipient)
	var wrong *artifact.WrongKeyError
	if !errors.As(err, &wrong) || wrong.Given != stranger.recipient || !strings.Contains(err.Error(), k.recipient) {
		t.Fatalf("with a stranger's key: %v", err)
	}
	if _, err := artifact.OpenHeader(header[:len(header)-5], k.secret); !isDamage(err) {
		t.Fatalf("a cut header: %v", err)
	}
}

func TestExtractHeader(t *testing.T) {
	t.Parallel()
	for what, b := range map[string][]byte{
		"nothing":          {},
		"noise":            noise(20_000, 1),
		"an endless line":  []byte("age-encryption.org/v1\n-> X25519 " + strings.Repeat("a", 20_000)),
		"endless stanzas":  []byte("age-encryption.org/v1\n" + strings.Repeat("-> X25519 abc\nAAAA\n", 1000)),
		"an armored file":  []byte("-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----\n"),
		"the version only": []byte("age-encryption.org/v1\n"),
	} {
		if h, err := artifact.ExtractHeader(bytes.NewReader(b)); !isDamage(err) || h != nil {
			t.Errorf("%s: %d bytes, %v", what, len(h), err)
		}
	}
	boom := errors.New("timeout")
	if _, err := artifact.ExtractHeader(iotest.ErrReader(boom)); !errors.Is(err, boom) || isDamage(err) {
		t.Errorf("a failing source: %v", err)
	}

	// The longest header that a codec can make fits.
	var recipients []string
	for range 32 {
		recipients = append(recipients, newKey(t).recipient)
	}
	stored, _ := encode(t, codecs(recipients...)["none+age"], noise(50_000, 1))
	if _, err := artifact.ExtractHeader(bytes.NewReader(stored)); err != nil {
		t.Error(err)
	}
}

func TestSealTo(t *testing.T) {
	t.Parallel()
	k, stranger := newKey(t), newKey(t)
	for _, n := range []int{0, 16, artifact.MaxSealedSize} {
		secret := noise(n, 1)
		sealed, err := artifact.SealTo(k.recipient, secret)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := artifact.OpenSealed(sealed, k.secret); err != nil || !bytes.Equal(got, secret) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	if _, err := artifact.SealTo(k.recipient, make([]byte, artifact.MaxSealedSize+1)); err == nil {
		t.Error("too much is sealed")
	}
	if _, err := artifact.SealTo("age1x", []byte("x")); err == nil {
		t.Error("sealed to nonsense")
	}
	sealed, err := artifact.SealTo(k.recipient, []byte("a secret"))
	if err != nil {
		t.Fatal(err)
	}
	var wrong *artifact.WrongKeyError
	if _, err := artifact.OpenSealed(sealed, stranger.secret); !errors.As(err, &wrong) {
		t.Errorf("a stranger's key: %v", err)
	}
	for i := range sealed {
		b := bytes.Clone(sealed)
		b[i] ^= 1
		if got, err := artifact.OpenSealed(b, k.secret); err == nil || got != nil {
			t.Fatalf("byte %d changed: opened", i)
		}
		if got, err := artifact.OpenSealed(sealed[:i], k.secret); err == nil || got != nil {
			t.Fatalf("cut to %d bytes: opened", i)
		}
	}
	if _, err := artifact.OpenSealed(make([]byte, 1<<20), k.secret); !isDamage(err) {
		t.Errorf("a megabyte: %v", err)
	}
}

func TestParseIdentity(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	if r, err := artifact.RecipientOf(k.secret + "\n"); err != nil || r != k.recipient {
		t.Fatalf("recipient is %q, %v", r, err)
	}
	if err := artifact.ValidRecipient(k.recipient); err != nil {
		t.Fatal(err)
	}
	if err := artifact.ValidRecipient(k.recipient[:20]); err == nil {
		t.Fatal("half a recipient is valid")
	}
	for _, secret := range []string{"", k.recipient, k.secret[:40], k.secret[:len(k.secret)-1] + "!", "# comment"} {
		_, err := artifact.ParseIdentity(secret)
		if err == nil {
			t.Fatalf("%d characters are accepted", len(secret))
		}
		if len(secret) > 20 && strings.Contains(err.Error(), secret[16:30]) {
			t.Fatalf("the error repeats the secret: %v", err)
		}
	}
}
