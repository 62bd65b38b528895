package artifact_test

import (
	"bytes"
	stdgzip "compress/gzip"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devflowbackup/shared/artifact"
)

// One member, whatever the size: a reader that stops after the first has read all.
func TestGzip_OneMember(t *testing.T) {
	t.Parallel()
	c := artifact.Codec{Compression: "gzip", Encryption: "none"}
	raw := dumpLike(9*mib+1, 1)
	stored, _ := encode(t, c, raw)
	file := filepath.Join(t.TempDir(), "dump.gz")
	if err := os.WriteFile(file, stored, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := string(tool(t, nil, "gzip", "-l", file)); !strings.Contains(out, "9437185") {
		t.Errorf("gzip -l does not tell the size:\n%s", out)
	}
	tool(t, nil, "gzip", "-t", file)
	r, err := stdgzip.NewReader(bytes.NewReader(stored))
	if err != nil {
		t.Fatal(err)
	}
	if r.Name != "" || !r.ModTime.IsZero() {
		t.Errorf("the header tells a name or a time: %+v", r.Header)
	}
	if n := bytes.Count(stored, stored[:10]); n != 1 {
		t.Errorf("there are %d headers", n)
	}
	again, _ := encode(t, c, raw)
	if !bytes.Equal(stored, again) {
		t.Error("the same dump makes another file")
	}
	if size := len(artifact.GzipTail(7, 5<<30+3)); size != 10 {
		t.Fatalf("the tail has %d bytes", size)
	}
	if tail := artifact.GzipTail(7, 5<<30+3); binary.LittleEndian.Uint32(tail[6:]) != 1<<30+3 || binary.LittleEndian.Uint32(tail[2:]) != 7 {
		t.Errorf("the tail of 5 GiB and 3 bytes is % x", tail)
	}
}

// Files of other programs are read, if they are one whole member; anything after it is damage.
func TestGzip_Strict(t *testing.T) {
	t.Parallel()
	o := artifact.ReadOptions{Compression: "gzip", Encryption: "none"}
	raw := dumpLike(100_000, 2)
	other := tool(t, raw, "gzip", "-9")
	if got, _, err := decode(bytes.NewReader(other), o); err != nil || !bytes.Equal(got, raw) {
		t.Fatalf("made by gzip: %v", err)
	}
	ours, _ := encode(t, artifact.Codec{Compression: "gzip", Encryption: "none"}, raw)
	for what, tc := range map[string]struct {
		stored []byte
		says   string
	}{
		"nothing at all":      {nil, "gzip header: cut short"},
		"half a header":       {ours[:5], "gzip header: cut short"},
		"not gzip":            {raw, "gzip header"},
		"a header alone":      {ours[:10], "gzip stream: cut short"},
		"no checksum":         {ours[:len(ours)-8], "gzip stream: cut short"},
		"half a checksum":     {ours[:len(ours)-5], "gzip stream: cut short"},
		"no size":             {ours[:len(ours)-4], "gzip stream: cut short"},
		"another checksum":    {flipped(ours, len(ours)-7), "gzip stream"},
		"another size":        {flipped(ours, len(ours)-1), "gzip stream"},
		"a second member":     {append(bytes.Clone(ours), ours...), "more bytes follow"},
		"an empty member":     {append(bytes.Clone(ours), tool(t, nil, "gzip")...), "more bytes follow"},
		"zeros, as of a tape": {append(bytes.Clone(ours), make([]byte, 512)...), "more bytes follow"},
		"one byte":            {append(bytes.Clone(ours), '\n'), "more bytes follow"},
	} {
		_, _, err := decode(bytes.NewReader(tc.stored), o)
		if !isDamage(err) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: want damage that says %q, got %v", what, tc.says, err)
		}
	}
}

func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}
