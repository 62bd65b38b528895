package artifact_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"devflowbackup/shared/artifact"
)

// dumpLike returns n bytes that look like the rows of a dump: numbers, names, times, hashes. They shrink to about a third.
func dumpLike(n int, seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 7))
	words := strings.Fields("alice bob carol dave erin frank grace heidi order invoice paid pending shipped returned " +
		"Lisbon Helsinki Nairobi Lima Osaka standard express customer account note")
	var b bytes.Buffer
	b.Grow(n + 256)
	for id := 1; b.Len() < n; id++ {
		fmt.Fprintf(&b, "%d\t%s %s\t%s-%d@example.com\t2025-%02d-%02d %02d:%02d:%02d.%06d+00\t%d.%02d\t%016x%016x\t{\"state\": \"%s\", \"city\": \"%s\"}\n",
			id, words[rng.IntN(len(words))], words[rng.IntN(len(words))], words[rng.IntN(len(words))], rng.IntN(100000),
			1+rng.IntN(12), 1+rng.IntN(28), rng.IntN(24), rng.IntN(60), rng.IntN(60), rng.IntN(1000000),
			rng.IntN(10000), rng.IntN(100), rng.Uint64(), rng.Uint64(), words[rng.IntN(len(words))], words[rng.IntN(len(words))])
	}
	return b.Bytes()[:n]
}

// noise returns n bytes that do not compress.
func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	var key [32]byte
	key[0] = byte(seed)
	_, _ = rand.NewChaCha8(key).Read(b)
	return b
}

type key struct{ secret, recipient string }

func newKey(tb testing.TB) key {
	tb.Helper()
	secret, recipient, err := artifact.NewIdentity()
	if err != nil {
		tb.Fatal(err)
	}
	return key{secret, recipient}
}

func (k key) identity(tb testing.TB) age.Identity {
	tb.Helper()
	id, err := artifact.ParseIdentity(k.secret)
	if err != nil {
		tb.Fatal(err)
	}
	return id
}

// appKey is the app key of every test project.
var appKey = []byte("base64:fl0wfl0wfl0wfl0wfl0wfl0wfl0wfl0w")

// objectKeys are the keys of the test project's one artifact.
var objectKeys = func() artifact.AESKeys {
	k, err := artifact.DeriveAESKeys(appKey, attempt, "artifact")
	if err != nil {
		panic(err)
	}
	return k
}()

// keysFor returns the keys that a codec needs, nil if none.
func keysFor(c artifact.Codec) *artifact.AESKeys {
	if c.Encryption != "aes-256-cbc" {
		return nil
	}
	k := objectKeys
	return &k
}

// codecs are all pairs, by a short name.
func codecs(recipients ...string) map[string]artifact.Codec {
	out := map[string]artifact.Codec{}
	for _, comp := range []string{"zstd", "gzip", "none"} {
		out[comp+"+age"] = artifact.Codec{Compression: comp, Encryption: "age", Recipients: recipients}
		out[comp+"+aes"] = artifact.Codec{Compression: comp, Encryption: "aes-256-cbc"}
		out[comp+"+none"] = artifact.Codec{Compression: comp, Encryption: "none"}
	}
	return out
}

func encode(tb testing.TB, c artifact.Codec, raw []byte) ([]byte, artifact.Sums) {
	tb.Helper()
	var stored bytes.Buffer
	w, err := artifact.NewWriter(&stored, c, keysFor(c))
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write(raw); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return stored.Bytes(), w.Sums()
}

func options(c artifact.Codec, id age.Identity, expect *artifact.Sums) artifact.ReadOptions {
	return artifact.ReadOptions{
		Compression: c.Compression, Encryption: c.Encryption, Identity: id, AES: keysFor(c), Recipients: c.Recipients, Expect: expect,
	}
}

// decode reads to the end. Its error is nil only after io.EOF.
func decode(src io.Reader, o artifact.ReadOptions) ([]byte, artifact.Sums, error) {
	r, err := artifact.NewReader(src, o)
	if err != nil {
		return nil, artifact.Sums{}, err
	}
	defer r.Close()
	raw, err := io.ReadAll(r)
	return raw, r.Sums(), err
}

func sumsOf(raw, stored []byte) artifact.Sums {
	return artifact.Sums{
		RawSize: int64(len(raw)), RawSHA256: sha256.Sum256(raw),
		StoredSize: int64(len(stored)), StoredSHA256: sha256.Sum256(stored),
	}
}

// sumsFor are what a writer with this codec makes of it.
func sumsFor(c artifact.Codec, raw, stored []byte) artifact.Sums {
	s := sumsOf(raw, stored)
	if k := keysFor(c); k != nil {
		s.MAC = k.Tag(s.StoredSHA256)
	}
	return s
}

func isDamage(err error) bool {
	var d *artifact.DamageError
	return errors.As(err, &d)
}

// eventually waits until ok holds, and fails with what after ten seconds.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			tb.Fatalf("not within 10 s: %s", what)
		}
	}
}

// leakCheck fails the test if goroutines of the package are left. Tests that use it do not run in parallel.
func leakCheck(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		eventually(t, "all goroutines of the package have ended", func() bool { return ownGoroutines() == 0 })
	})
}

func ownGoroutines() int {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	return strings.Count(string(buf), "created by devflowbackup/shared/artifact.") +
		strings.Count(string(buf), "devflowbackup/shared/artifact.(*Writer).")
}
