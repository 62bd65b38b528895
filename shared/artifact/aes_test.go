package artifact_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"devflowbackup/shared/artifact"
)

// hkdf asks openssl for a key by the rule that is documented.
func hkdf(t *testing.T, info string) string {
	t.Helper()
	out := tool(t, nil, "openssl", "kdf", "-keylen", "32", "-kdfopt", "digest:SHA256", "-kdfopt", "key:"+string(appKey),
		"-kdfopt", "salt:"+attempt, "-kdfopt", "info:"+info, "HKDF")
	return strings.ToLower(strings.ReplaceAll(strings.TrimSpace(string(out)), ":", ""))
}

// The rule of the keys never changes: openssl finds the same ones, and so did the first release.
func TestDeriveAESKeys(t *testing.T) {
	t.Parallel()
	seen := map[[32]byte]string{}
	for _, object := range []string{"artifact", "fingerprint", "globals"} {
		k, err := artifact.DeriveAESKeys(appKey, attempt, object)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := hex.EncodeToString(k.Cipher[:]), hkdf(t, "devflow-backup v1 aes-256-cbc "+object); got != want {
			t.Errorf("cipher key of the %s is %s, openssl says %s", object, got, want)
		}
		if got, want := hex.EncodeToString(k.MAC[:]), hkdf(t, "devflow-backup v1 hmac-sha256 "+object); got != want {
			t.Errorf("MAC key of the %s is %s, openssl says %s", object, got, want)
		}
		for _, b := range [][32]byte{k.Cipher, k.MAC} {
			if other, ok := seen[b]; ok {
				t.Errorf("the %s has a key of the %s", object, other)
			}
			seen[b] = object
		}
	}
	const frozenCipher, frozenMAC = "8af25f55bdc4d7b18fa50c2c521d8543fd32d00c5ba5acdec28e496ed975e59c", "c386298a127a4d8e8477a57b28abd2d6406688210fbf6b88482338e6824c264b"
	if c, m := hex.EncodeToString(objectKeys.Cipher[:]), hex.EncodeToString(objectKeys.MAC[:]); c != frozenCipher || m != frozenMAC {
		t.Errorf("the keys of the example are %s and %s", c, m)
	}
	other, err := artifact.DeriveAESKeys(appKey, "zzzzzzzzzzzzzzzz", "artifact")
	if err != nil || other.Cipher == objectKeys.Cipher || other.MAC == objectKeys.MAC {
		t.Errorf("another attempt has the same keys: %v", err)
	}
}

func TestDeriveAESKeys_Refused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		key             []byte
		attempt, object string
		says            string
	}{
		{nil, attempt, "artifact", "shorter than 16"},
		{[]byte("hunter2-hunter2"), attempt, "artifact", "shorter than 16"},
		{appKey, "", "artifact", "attempt id"},
		{appKey, attempt + "x", "artifact", "attempt id"},
		{appKey, attempt, "", "artifact, fingerprint, globals"},
		{appKey, attempt, "manifest", "artifact, fingerprint, globals"},
	} {
		k, err := artifact.DeriveAESKeys(tc.key, tc.attempt, tc.object)
		if err == nil || !strings.Contains(err.Error(), tc.says) || k != (artifact.AESKeys{}) {
			t.Errorf("%q, %q: %v", tc.attempt, tc.object, err)
			continue
		}
		for _, key := range []string{string(tc.key), hex.EncodeToString(tc.key)} {
			if key != "" && strings.Contains(err.Error(), key) {
				t.Errorf("the error shows the app key: %v", err)
			}
		}
	}
}

// Whatever prints, encodes or logs keys shows three stars.
func TestAESKeys_NeverShown(t *testing.T) {
	t.Parallel()
	type holder struct {
		Keys  artifact.AESKeys
		Maybe *artifact.AESKeys
		Any   any
	}
	k := objectKeys
	h := holder{k, &k, &k}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "% x"} {
		for _, v := range []any{k, &k, h, &h, []any{k}, map[string]any{"keys": k}, artifact.ReadOptions{AES: &k}} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	fmt.Fprintln(&out, k, &k, h)
	for _, v := range []any{k, &k, h, map[artifact.AESKeys]int{k: 1}} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("text", "keys", k, "pointer", &k, "holder", h)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "keys", k, "pointer", &k, "holder", h)
	for _, secret := range [][]byte{k.Cipher[:4], k.MAC[:4]} {
		numbers := strings.Trim(fmt.Sprintf("%d", secret), "[]")
		for _, form := range []string{
			string(secret), hex.EncodeToString(secret), strings.ToUpper(hex.EncodeToString(secret)), fmt.Sprintf("% x", secret),
			numbers, strings.ReplaceAll(numbers, " ", ","),
			strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", secret), "[]byte{"), "}"),
		} {
			if strings.Contains(out.String(), form) {
				t.Errorf("%q of a key is shown", form)
			}
		}
	}
	if n := strings.Count(out.String(), "***"); n < 60 {
		t.Errorf("only %d masks were printed:\n%s", n, out.String())
	}
}

// The MAC in the manifest is what openssl computes over what sha256sum prints.
func TestAESKeys_Tag(t *testing.T) {
	t.Parallel()
	stored, sums := encode(t, codecs()["zstd+aes"], dumpLike(10_000, 1))
	digest := tool(t, stored, "openssl", "dgst", "-sha256", "-binary")
	out := string(tool(t, digest, "openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", "hexkey:"+hex.EncodeToString(objectKeys.MAC[:])))
	if !strings.HasSuffix(strings.TrimSpace(out), " "+sums.MAC.String()) {
		t.Fatalf("MAC is %s, openssl says %s", sums.MAC, out)
	}
	for name, c := range codecs(newKey(t).recipient) {
		if _, sums := encode(t, c, []byte("x")); (sums.MAC != artifact.Digest{}) != (c.Encryption == "aes-256-cbc") {
			t.Errorf("%s: MAC is %s", name, sums.MAC)
		}
	}
}

// What the package's documentation tells a person to type, word for word.
func TestRecoveryByHand(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("artifact.go")
	if err != nil {
		t.Fatal(err)
	}
	_, recipe, found := strings.Cut(string(doc), "//\thex() ")
	if !found {
		t.Fatal("the documentation has no recipe")
	}
	script := "set -eu\n"
	for line := range strings.Lines("//\thex() " + recipe) {
		command, ok := strings.CutPrefix(line, "//\t")
		if !ok {
			break
		}
		script += command
	}
	appKey := artifact.NewAppKey()
	raw, err := artifact.AppKeyBytes(appKey)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := artifact.DeriveAESKeys(raw, attempt, "artifact")
	if err != nil {
		t.Fatal(err)
	}
	dump := dumpLike(100_000, 1)
	var stored bytes.Buffer
	w, err := artifact.NewWriter(&stored, codecs()["none+aes"], &keys)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(dump); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, out := filepath.Join(dir, "shop.dump.enc"), filepath.Join(dir, "shop.dump")
	if err := os.WriteFile(file, stored.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = append(os.Environ(), "APPKEY="+appKey, "ATTEMPT="+attempt, "FILE="+file, "OUT="+out)
	said, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	if !strings.Contains(string(said), w.Sums().MAC.String()) {
		t.Errorf("the MAC %s was not printed: %s", w.Sums().MAC, said)
	}
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, dump) {
		t.Errorf("%d bytes came back: %v", len(got), err)
	}
}

// The panel's fifth mistake: it restarted the cipher every 8,192 bytes, and no backup of that size or more could be read.
func TestMistake05_EncryptedBackupsOf8192BytesAndMore(t *testing.T) {
	t.Parallel()
	c := artifact.Codec{Compression: "none", Encryption: "aes-256-cbc"}
	for _, size := range []int{0, 1, 15, 16, 17, 8191, 8192, 8193, 64<<10 - 17, 64<<10 - 16, 64<<10 - 15, 64 << 10, 64<<10 + 1, 81920, 16 * mib} {
		raw := noise(size, 5)
		stored, sums := encode(t, c, raw)
		if want := 16 + size/16*16 + 16; len(stored) != want { // IV, whole blocks, padding: one stream
			t.Errorf("%d bytes are stored in %d, want %d", size, len(stored), want)
		}
		if got := openssl(t, objectKeys, stored); !bytes.Equal(got, raw) {
			t.Errorf("%d bytes come back as %d by openssl", size, len(got))
		}
		if got, _, err := decode(bytes.NewReader(stored), options(c, nil, &sums)); err != nil || !bytes.Equal(got, raw) {
			t.Errorf("%d bytes come back as %d: %v", size, len(got), err)
		}
	}
}

// The panel's fourth mistake: it took the checksum before encryption and compared it after. Ours is of the stored bytes.
func TestMistake04_ChecksumIsOfStoredBytes(t *testing.T) {
	t.Parallel()
	raw := dumpLike(100_000, 4)
	for name, c := range codecs(newKey(t).recipient) {
		stored, sums := encode(t, c, raw)
		file := filepath.Join(t.TempDir(), "stored")
		if err := os.WriteFile(file, stored, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := strings.Fields(string(tool(t, nil, "sha256sum", file)))[0]; got != sums.StoredSHA256.String() || int64(len(stored)) != sums.StoredSize {
			t.Errorf("%s: sha256sum of the stored file is %s, the checksum is %s", name, got, sums.StoredSHA256)
		}
		if got := strings.Fields(string(tool(t, raw, "sha256sum")))[0]; got != sums.RawSHA256.String() {
			t.Errorf("%s: sha256sum of the dump is %s, the raw checksum is %s", name, got, sums.RawSHA256)
		}
	}
}

// Equal dumps under equal keys share nothing: each has its own IV.
func TestWriter_IV(t *testing.T) {
	t.Parallel()
	c := codecs()["none+aes"]
	seen := map[string]bool{}
	for range 100 {
		stored, _ := encode(t, c, make([]byte, 64))
		for i := 0; i < len(stored); i += 16 {
			if block := string(stored[i : i+16]); seen[block] {
				t.Fatal("a cipher block was seen before")
			} else {
				seen[block] = true
			}
		}
	}
}

// Keys are given where they are needed and nowhere else.
func TestNewWriter_Keys(t *testing.T) {
	t.Parallel()
	k := objectKeys
	for name, c := range codecs(newKey(t).recipient) {
		right, wrong := keysFor(c), &k
		if right != nil {
			wrong = nil
		}
		w, err := artifact.NewWriter(io.Discard, c, right)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		w.Abort(nil)
		if err := w.Close(); !errors.Is(err, artifact.ErrAborted) {
			t.Fatal(err)
		}
		if _, err := artifact.NewWriter(io.Discard, c, wrong); err == nil || !strings.Contains(err.Error(), c.Encryption) || !strings.Contains(err.Error(), "keys") {
			t.Errorf("%s with the wrong keys: %v", name, err)
		}
	}
	for _, half := range []artifact.AESKeys{{}, {Cipher: k.Cipher}, {MAC: k.MAC}} {
		if _, err := artifact.NewWriter(io.Discard, codecs()["zstd+aes"], &half); err == nil {
			t.Error("keys of zeros are taken")
		}
	}
}

// untouched fails the test when it is read.
type untouched struct{ t *testing.T }

func (u untouched) Read([]byte) (int, error) {
	u.t.Error("a stored byte was read before the MAC held")
	return 0, io.EOF
}

// FAULTS 64 and 62: no key, a wrong key, another object's or attempt's key, and any changed bit of the checksum or MAC.
// Nothing is read, nothing is written.
func TestReader_AESKeys(t *testing.T) {
	t.Parallel()
	const (
		missing = "aes-256-cbc: no key was given for this file"
		wrong   = "aes-256-cbc: the key that was given does not belong to this file, or the checksum or MAC in its manifest was altered"
	)
	for _, name := range []string{"zstd+aes", "gzip+aes", "none+aes"} {
		c := codecs()[name]
		_, sums := encode(t, c, dumpLike(5000, 1))
		refused := func(what string, o artifact.ReadOptions, want string) {
			t.Helper()
			_, err := artifact.NewReader(untouched{t}, o)
			var key *artifact.WrongKeyError
			if !errors.As(err, &key) || key.Encryption != "aes-256-cbc" || err.Error() != want {
				t.Fatalf("%s, %s: error is %v\nwant %s", name, what, err, want)
			}
		}
		o := options(c, nil, &sums)
		o.AES = nil
		refused("no key", o, missing)

		for what, id := range map[string][2]string{
			"another attempt's": {"zzzzzzzzzzzzzzzz", "artifact"},
			"another object's":  {attempt, "fingerprint"},
		} {
			k, err := artifact.DeriveAESKeys(appKey, id[0], id[1])
			if err != nil {
				t.Fatal(err)
			}
			o := options(c, nil, &sums)
			o.AES = &k
			refused(what, o, wrong)
		}
		for bit := range 256 {
			changed := sums
			changed.MAC[bit/8] ^= 1 << (bit % 8)
			refused("a bit of the MAC", options(c, nil, &changed), wrong)
			changed = sums
			changed.StoredSHA256[bit/8] ^= 1 << (bit % 8)
			refused("a bit of the checksum", options(c, nil, &changed), wrong)
		}
		none := sums
		none.MAC = artifact.Digest{}
		refused("no MAC", options(c, nil, &none), wrong)

		if _, err := artifact.NewReader(untouched{t}, options(c, nil, nil)); err == nil || !strings.Contains(err.Error(), "manifest") {
			t.Fatalf("%s without a manifest: %v", name, err)
		}
	}
}

// The right MAC key and another cipher key cannot come from one app key. If they did: damage, and no end.
func TestReader_OtherCipherKey(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"zstd+aes", "gzip+aes", "none+aes"} {
		c := codecs()[name]
		stored, sums := encode(t, c, dumpLike(5000, 1))
		k := objectKeys
		k.Cipher[0] ^= 1
		o := options(c, nil, &sums)
		o.AES = &k
		if _, _, err := decode(bytes.NewReader(stored), o); !isDamage(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// encrypted makes a stream by hand, whatever is wrong with it, and its true sums.
func encrypted(t *testing.T, plain []byte) (stored []byte, sums artifact.Sums) {
	t.Helper()
	block, err := aes.NewCipher(objectKeys.Cipher[:])
	if err != nil {
		t.Fatal(err)
	}
	stored = append(noise(16, 3), plain...)
	cipher.NewCBCEncrypter(block, stored[:16]).CryptBlocks(stored[16:], stored[16:])
	return stored, sumsFor(codecs()["none+aes"], nil, stored)
}

// Padding that was authenticated and is none: damage, and nothing of its block is given out.
func TestReader_Padding(t *testing.T) {
	t.Parallel()
	c := codecs()["none+aes"]
	first := bytes.Repeat([]byte("a"), 16)
	for what, last := range map[string][]byte{
		"zero":           bytes.Repeat([]byte{0}, 16),
		"seventeen":      bytes.Repeat([]byte{17}, 16),
		"255":            bytes.Repeat([]byte{255}, 16),
		"one of two":     append(bytes.Repeat([]byte("b"), 14), 1, 2),
		"one of sixteen": append([]byte{15}, bytes.Repeat([]byte{16}, 15)...),
	} {
		stored, sums := encrypted(t, append(bytes.Clone(first), last...))
		sums.RawSize = 1 << 20
		got, _, err := decode(bytes.NewReader(stored), options(c, nil, &sums))
		var d *artifact.DamageError
		if !errors.As(err, &d) || d.What != "aes-256-cbc padding" {
			t.Errorf("%s: %v", what, err)
		}
		if len(got) > 16 {
			t.Errorf("%s: %d bytes were given out", what, len(got))
		}
	}
	for _, n := range []int{0, 1, 15, 16, 17, 31, 33} { // authenticated, and no stream all the same
		stored := noise(n, 1)
		sums := sumsFor(c, nil, stored)
		_, _, err := decode(bytes.NewReader(stored), options(c, nil, &sums))
		var d *artifact.DamageError
		if !errors.As(err, &d) || d.What != "aes-256-cbc stream" {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	stored, sums := encrypted(t, append(bytes.Clone(first), bytes.Repeat([]byte{16}, 16)...))
	sums.RawSize, sums.RawSHA256 = 16, sumsOf(first, nil).RawSHA256
	if got, _, err := decode(bytes.NewReader(stored), options(c, nil, &sums)); err != nil || !bytes.Equal(got, first) {
		t.Errorf("a stream made by hand: %q, %v", got, err)
	}
}

// A file that changed after it was proven: whether its padding is right shows in no error.
func TestReader_NoPaddingOracle(t *testing.T) {
	t.Parallel()
	c := codecs()["none+aes"]
	stored, sums := encode(t, c, noise(100, 1))
	said := map[string]bool{}
	for change := 1; change < 256; change++ {
		b := bytes.Clone(stored)
		b[len(b)-17] ^= byte(change) // the last byte before the last block: changes the padding's length
		got, _, err := decode(bytes.NewReader(b), options(c, nil, &sums))
		var d *artifact.DamageError
		if !errors.As(err, &d) || d.What != "stored SHA-256" {
			t.Fatalf("change %d: %v", change, err)
		}
		said[fmt.Sprint(d.What, len(got))] = true
	}
	if len(said) != 1 {
		t.Fatalf("the outcomes differ: %v", said)
	}
}

// The last block is held back however the bytes arrive.
func TestReader_AESHoldsLastBlock(t *testing.T) {
	t.Parallel()
	c := codecs()["none+aes"]
	raw := noise(64, 1)
	stored, sums := encode(t, c, raw)
	boom := errors.New("connection reset")
	r, err := artifact.NewReader(io.MultiReader(iotest.OneByteReader(bytes.NewReader(stored)), iotest.ErrReader(boom)), options(c, nil, &sums))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if !errors.Is(err, boom) || len(got) > 64 || !bytes.HasPrefix(raw, got) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}
