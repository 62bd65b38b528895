package artifact_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"devflowbackup/shared/artifact"
)

const mib = 1 << 20

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	data := append(dumpLike(6*mib, 3), noise(7*mib, 3)...)
	for name, c := range codecs(k.recipient) {
		for _, size := range []int{0, 1, 1000, 4*mib - 1, 4 * mib, 4*mib + 1, 13 * mib} {
			t.Run(fmt.Sprintf("%s/%d", name, size), func(t *testing.T) {
				t.Parallel()
				stored, sums := encode(t, c, data[:size])
				if want := sumsFor(c, data[:size], stored); sums != want {
					t.Fatalf("writer's sums are %+v, want %+v", sums, want)
				}
				raw, read, err := decode(bytes.NewReader(stored), options(c, k.identity(t), &sums))
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(raw, data[:size]) {
					t.Fatal("the dump came back changed")
				}
				if read != sums {
					t.Fatalf("reader's sums are %+v, want %+v", read, sums)
				}
			})
		}
	}
}

func TestRoundTrip_Levels(t *testing.T) {
	t.Parallel()
	data := dumpLike(5*mib, 4)
	for compression, tc := range map[string]struct{ fast, standard, best int }{
		"zstd": {1, 3, 19},
		"gzip": {1, 6, 9},
	} {
		sizes := map[int]int64{}
		for _, level := range []int{0, tc.fast, 2, tc.standard, tc.best} {
			c := artifact.Codec{Compression: compression, Level: level, Encryption: "none"}
			stored, sums := encode(t, c, data)
			sizes[level] = sums.StoredSize
			raw, _, err := decode(bytes.NewReader(stored), options(c, nil, &sums))
			if err != nil || !bytes.Equal(raw, data) {
				t.Fatalf("%s level %d does not come back: %v", compression, level, err)
			}
		}
		if sizes[0] != sizes[tc.standard] || sizes[tc.best] >= sizes[tc.standard] || sizes[tc.standard] >= sizes[tc.fast] {
			t.Fatalf("stored sizes by level of %s are %v: want 0 like %d, and smaller with a higher level", compression, sizes, tc.standard)
		}
	}
}

// Readers and writers that move few bytes at a time make no difference.
func TestRoundTrip_OddStreams(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	data := dumpLike(70_000, 5)
	for name, c := range codecs(k.recipient) {
		var stored bytes.Buffer
		w, err := artifact.NewWriter(&stored, c, keysFor(c))
		if err != nil {
			t.Fatal(err)
		}
		if n, err := w.Write(data[:1]); n != 1 || err != nil {
			t.Fatalf("%s: write of one byte: %d, %v", name, n, err)
		}
		if n, err := io.Copy(w, iotest.DataErrReader(iotest.HalfReader(bytes.NewReader(data[1:])))); n != int64(len(data)-1) || err != nil {
			t.Fatalf("%s: copy: %d, %v", name, n, err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		sums := w.Sums()
		for kind, src := range map[string]io.Reader{
			"one byte":       iotest.OneByteReader(bytes.NewReader(stored.Bytes())),
			"data with EOF":  iotest.DataErrReader(bytes.NewReader(stored.Bytes())),
			"half the bytes": iotest.HalfReader(bytes.NewReader(stored.Bytes())),
		} {
			raw, _, err := decode(src, options(c, k.identity(t), &sums))
			if err != nil || !bytes.Equal(raw, data) {
				t.Fatalf("%s, %s: %v", name, kind, err)
			}
		}
	}
}

// The tools that every distribution ships read what we write, for every pair.
func TestRoundTrip_PlainTools(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	keyFile := filepath.Join(t.TempDir(), "key.txt")
	if err := os.WriteFile(keyFile, []byte(k.secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	decrypt := map[string]func(stored []byte) []byte{
		"age":         func(stored []byte) []byte { return tool(t, stored, "age", "-d", "-i", keyFile) },
		"aes-256-cbc": func(stored []byte) []byte { return openssl(t, objectKeys, stored) },
		"none":        func(stored []byte) []byte { return stored },
	}
	decompress := map[string][][]string{
		"zstd": {{"zstd", "-dc"}},
		"gzip": {{"gunzip"}, {"zcat"}, {"python3", "-c", onlyMember}},
		"none": {{"cat"}},
	}
	for name, c := range codecs(k.recipient) {
		for _, size := range []int{0, 1, 9 * mib} {
			data := dumpLike(size, 6)
			stored, sums := encode(t, c, data)
			if got := tool(t, stored, "sha256sum"); !strings.HasPrefix(string(got), sums.StoredSHA256.String()+" ") {
				t.Fatalf("%s/%d: sha256sum prints %q, want %s", name, size, got, sums.StoredSHA256)
			}
			compressed := decrypt[c.Encryption](stored)
			for _, argv := range decompress[c.Compression] {
				if out := tool(t, compressed, argv...); !bytes.Equal(out, data) {
					t.Fatalf("%s/%d: %s reads %d bytes that are not the dump", name, size, argv[0], len(out))
				}
			}
		}
	}
}

// onlyMember reads a gzip file as PHP's gzdecode and others do: the first member, and nothing after it.
const onlyMember = `import sys, zlib
d = zlib.decompressobj(31)
out = d.decompress(sys.stdin.buffer.read()) + d.flush()
assert d.eof and not d.unused_data, "the first member is not all"
sys.stdout.buffer.write(out)`

// openssl decrypts as a person would, with the key and the file alone.
func openssl(t *testing.T, k artifact.AESKeys, stored []byte) []byte {
	t.Helper()
	if len(stored) < 16 {
		t.Fatalf("%d bytes have no IV", len(stored))
	}
	return tool(t, stored[16:], "openssl", "enc", "-d", "-aes-256-cbc", "-K", hex.EncodeToString(k.Cipher[:]), "-iv", hex.EncodeToString(stored[:16]))
}

// One frame for each 4 MiB, each telling its content size and carrying a checksum.
func TestRoundTrip_Frames(t *testing.T) {
	t.Parallel()
	stored, _ := encode(t, artifact.Codec{Compression: "zstd", Encryption: "none"}, dumpLike(9*mib, 8))
	file := filepath.Join(t.TempDir(), "dump.zst")
	if err := os.WriteFile(file, stored, 0o600); err != nil {
		t.Fatal(err)
	}
	out := string(tool(t, nil, "zstd", "-lv", file))
	for _, want := range []string{"# Zstandard Frames: 3", "9.00 MiB (9437184 B)", "Check: XXH64"} {
		if !strings.Contains(out, want) {
			t.Errorf("zstd -lv lacks %q:\n%s", want, out)
		}
	}
}

func tool(t *testing.T, stdin []byte, argv ...string) []byte {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v: %s", argv[0], err, stderr.String())
	}
	return stdout.Bytes()
}

func TestCodec_Validate(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	valid := codecs(k.recipient)["zstd+age"]
	if err := valid.Validate(); err != nil {
		t.Fatal(err)
	}
	change := func(f func(*artifact.Codec)) artifact.Codec {
		c := valid
		f(&c)
		return c
	}
	for name, tc := range map[string]struct {
		codec artifact.Codec
		says  []string
	}{
		"zero value":        {artifact.Codec{}, []string{"compression", `""`, "zstd, gzip, none"}},
		"compression":       {change(func(c *artifact.Codec) { c.Compression = "lz4" }), []string{"compression", `"lz4"`, "zstd, gzip, none"}},
		"encryption":        {change(func(c *artifact.Codec) { c.Encryption = "rot13" }), []string{"encryption", `"rot13"`, "age, aes-256-cbc, none"}},
		"level too high":    {change(func(c *artifact.Codec) { c.Level = 20 }), []string{"level 20", "1 to 19"}},
		"level negative":    {change(func(c *artifact.Codec) { c.Level = -1 }), []string{"level -1", "1 to 19"}},
		"level of none":     {change(func(c *artifact.Codec) { c.Compression, c.Level = "none", 3 }), []string{"level 3", "none"}},
		"level of gzip":     {change(func(c *artifact.Codec) { c.Compression, c.Level = "gzip", 10 }), []string{"level 10", "gzip", "1 to 9"}},
		"recipient of aes":  {change(func(c *artifact.Codec) { c.Encryption = "aes-256-cbc" }), []string{k.recipient, "aes-256-cbc"}},
		"no recipient":      {change(func(c *artifact.Codec) { c.Recipients = nil }), []string{"recipients", "at least one"}},
		"bad recipient":     {change(func(c *artifact.Codec) { c.Recipients = []string{"age1nonsense"} }), []string{`"age1nonsense"`, "X25519"}},
		"same twice":        {change(func(c *artifact.Codec) { c.Recipients = []string{k.recipient, k.recipient} }), []string{k.recipient, "twice"}},
		"recipient of none": {change(func(c *artifact.Codec) { c.Encryption = "none" }), []string{k.recipient, "none"}},
		"too many":          {change(func(c *artifact.Codec) { c.Recipients = make([]string, 33) }), []string{"33", "at most 32"}},
	} {
		err := tc.codec.Validate()
		if err == nil {
			t.Errorf("%s: is valid", name)
			continue
		}
		for _, s := range tc.says {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%s: error %q does not say %q", name, err, s)
			}
		}
		if _, err := artifact.NewWriter(io.Discard, tc.codec, nil); err == nil {
			t.Errorf("%s: a writer takes it", name)
		}
	}
	err := artifact.Codec{Compression: "zstd", Encryption: "age", Recipients: []string{k.secret}}.Validate()
	if err == nil || strings.Contains(err.Error(), k.secret) || !strings.Contains(err.Error(), "secret key") {
		t.Errorf("a secret given as recipient: %v", err)
	}
}

func TestCompositeSHA256(t *testing.T) {
	t.Parallel()
	// From openssl: SHA-256 of the two digests of "a" and "b", in base64.
	part := func(s string) (d [32]byte) {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		copy(d[:], b)
		return d
	}
	got := artifact.CompositeSHA256([][32]byte{
		part("ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"),
		part("3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d"),
	})
	if want := "5aAf7hTg7VxIcU8iGA8lrYNltT+XefedxKPX6Tlj+Uo=-2"; got != want {
		t.Fatalf("composite checksum is %s, want %s", got, want)
	}
}
