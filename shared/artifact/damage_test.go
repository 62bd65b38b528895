package artifact_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"devflowbackup/shared/artifact"
)

// small returns an artifact of some hundred bytes.
func small(t *testing.T, c artifact.Codec) (raw, stored []byte, sums artifact.Sums) {
	t.Helper()
	raw = append(noise(200, 9), dumpLike(200, 9)...)
	stored, sums = encode(t, c, raw)
	if len(stored) < 300 || len(stored) > 650 {
		t.Fatalf("the small artifact has %d bytes", len(stored))
	}
	return raw, stored, sums
}

// checkDamage decodes damaged bytes and fails unless that is noticed. It returns the plaintext given out before.
func checkDamage(t *testing.T, what string, stored []byte, o artifact.ReadOptions) []byte {
	t.Helper()
	got, sums, err := decode(bytes.NewReader(stored), o)
	switch {
	case err == nil:
		t.Fatalf("%s: not noticed", what)
	case !isDamage(err):
		t.Fatalf("%s: is not reported as damage: %v", what, err)
	case sums != artifact.Sums{}:
		t.Fatalf("%s: there are sums of a damaged artifact", what)
	}
	return got
}

// FAULTS 62: every bit, every length, bytes appended, for every pair: never accepted. With age, and with the frames of
// zstd, what was given out before the error is the beginning of the dump. (For aes-256-cbc the stored bytes are proven by
// a reading before this one: here they changed after it.)
func TestReader_Damage(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	for name, c := range codecs(k.recipient) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw, stored, sums := small(t, c)
			o := options(c, nil, &sums)
			if c.Encryption == "age" {
				header, err := artifact.ExtractHeader(bytes.NewReader(stored))
				if err != nil {
					t.Fatal(err)
				}
				fileKey, err := artifact.OpenHeader(header, k.secret)
				if err != nil {
					t.Fatal(err)
				}
				o.Identity = artifact.FileKeyIdentity(fileKey)
			}
			if got, _, err := decode(bytes.NewReader(stored), o); err != nil || !bytes.Equal(got, raw) {
				t.Fatalf("the undamaged artifact: %v", err)
			}
			authentic := c.Encryption == "age" || c.Compression == "zstd"
			check := func(what string, b []byte, o artifact.ReadOptions) {
				got := checkDamage(t, what, b, o)
				if authentic && !bytes.HasPrefix(raw, got) {
					t.Fatalf("%s: %d bytes were given out that are not of the dump", what, len(got))
				}
			}

			for bit := range len(stored) * 8 {
				b := bytes.Clone(stored)
				b[bit/8] ^= 1 << (bit % 8)
				check(fmt.Sprintf("bit %d flipped", bit), b, o)
			}
			for n := range stored {
				check(fmt.Sprintf("cut to %d bytes", n), stored[:n], o)
			}
			tails := map[string][]byte{
				"a zero":            {0},
				"a newline":         {'\n'},
				"its last byte":     stored[len(stored)-1:],
				"its last block":    stored[len(stored)-16:],
				"itself":            stored,
				"noise":             noise(100_000, 1),
				"an empty frame":    {0x28, 0xb5, 0x2f, 0xfd, 0x20, 0, 1, 0, 0},
				"a skippable frame": {0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 'x'},
				"an empty member":   {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0},
			}
			for what, tail := range tails {
				check(what+" appended", append(bytes.Clone(stored), tail...), o)
			}

			// What the format proves alone. Frames of zstd have no common end, and aes-256-cbc is not read without the manifest.
			if c.Encryption == "age" || name == "gzip+none" {
				bare := o
				bare.Expect = nil
				for what, tail := range tails {
					check(what+" appended, nothing expected", append(bytes.Clone(stored), tail...), bare)
				}
				for n := range stored {
					check(fmt.Sprintf("cut to %d bytes, nothing expected", n), stored[:n], bare)
				}
			}
		})
	}
}

// FAULTS 62, where the key itself is unwrapped: a changed header is damage or does not open, and gives out nothing.
func TestReader_DamagedHeader(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	c := codecs(k.recipient)["none+age"]
	_, stored, sums := small(t, c)
	header, err := artifact.ExtractHeader(bytes.NewReader(stored))
	if err != nil {
		t.Fatal(err)
	}
	id := k.identity(t)
	for bit := range len(header) * 8 {
		b := bytes.Clone(stored)
		b[bit/8] ^= 1 << (bit % 8)
		got, _, err := decode(bytes.NewReader(b), options(c, id, &sums))
		var wrong *artifact.WrongKeyError
		if !isDamage(err) && !errors.As(err, &wrong) {
			t.Fatalf("bit %d of the header flipped: %v", bit, err)
		}
		if len(got) > 0 {
			t.Fatalf("bit %d of the header flipped: %d bytes were given out", bit, len(got))
		}
	}
}

// Damage in a later frame or chunk: what comes before it is right, and nothing after it is given out.
func TestReader_DamageInLargeArtifact(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	raw := append(dumpLike(9*mib, 2), noise(8*mib, 2)...)
	for _, name := range []string{"zstd+age", "gzip+age", "none+age", "zstd+aes", "zstd+none"} {
		c := codecs(k.recipient)[name]
		stored, sums := encode(t, c, raw)
		for _, at := range []int{300, len(stored) / 2, len(stored) - 9*mib/2, len(stored) - 1} {
			b := bytes.Clone(stored)
			b[at] ^= 0x10
			got := checkDamage(t, fmt.Sprintf("%s, byte %d", name, at), b, options(c, k.identity(t), &sums))
			if !bytes.HasPrefix(raw, got) || len(got) == len(raw) {
				t.Fatalf("%s, byte %d: %d bytes were given out", name, at, len(got))
			}
			got = checkDamage(t, fmt.Sprintf("%s, cut to %d", name, at), stored[:at], options(c, k.identity(t), &sums))
			if !bytes.HasPrefix(raw, got) {
				t.Fatalf("%s, cut to %d: %d bytes were given out that are not of the dump", name, at, len(got))
			}
		}
	}
}

// FAULTS 63: another artifact, whole in itself, is not the one that is expected.
func TestReader_OtherArtifact(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	for name, c := range codecs(k.recipient) {
		_, sums := encode(t, c, dumpLike(5000, 1))
		other, _ := encode(t, c, dumpLike(5000, 2))
		checkDamage(t, name, other, options(c, k.identity(t), &sums))
	}
	// Each of the four values counts alone.
	c := codecs()["zstd+none"]
	stored, sums := encode(t, c, dumpLike(5000, 1))
	for what, change := range map[string]func(*artifact.Sums){
		"raw size":       func(s *artifact.Sums) { s.RawSize++ },
		"raw SHA-256":    func(s *artifact.Sums) { s.RawSHA256[31] ^= 1 },
		"stored size":    func(s *artifact.Sums) { s.StoredSize++ },
		"stored SHA-256": func(s *artifact.Sums) { s.StoredSHA256[0] ^= 1 },
	} {
		expect := sums
		change(&expect)
		_, _, err := decode(bytes.NewReader(stored), options(c, nil, &expect))
		var d *artifact.DamageError
		if !errors.As(err, &d) || d.What != what || d.Want == d.Got {
			t.Errorf("%s differs: %v", what, err)
		}
	}
}

// A source that fails is not a damaged artifact: the caller reads again.
func TestReader_SourceError(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	boom := errors.New("connection reset")
	for name, c := range codecs(k.recipient) {
		raw, stored, sums := small(t, c)
		for _, at := range []int{0, 1, 16, 17, 100, 250, len(stored) - 17, len(stored) - 16, len(stored) - 1, len(stored)} {
			for _, cause := range []error{boom, io.ErrUnexpectedEOF, fmt.Errorf("closed early: %w", io.EOF)} {
				src := io.MultiReader(bytes.NewReader(stored[:at]), iotest.ErrReader(cause))
				got, _, err := decode(src, options(c, k.identity(t), &sums))
				if !errors.Is(err, cause) || isDamage(err) {
					t.Fatalf("%s: %q after %d bytes is reported as %v", name, cause, at, err)
				}
				if !bytes.HasPrefix(raw, got) {
					t.Fatalf("%s: wrong bytes before a source error", name)
				}
			}
		}
	}
}

// Frames that ask for much memory, or that we never write, are refused before they cost anything.
func TestReader_HostileFrames(t *testing.T) {
	t.Parallel()
	head := func(size uint64) []byte {
		b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0} // single segment, 8 bytes of content size
		return binary.LittleEndian.AppendUint64(b, size)
	}
	rle := func(n uint32, last uint32) []byte {
		v := n<<3 | 1<<1 | last
		return []byte{byte(v), byte(v >> 8), byte(v >> 16), 'x'}
	}
	blocks := head(100)
	for range 2000 {
		blocks = append(blocks, 0, 0, 0) // raw blocks of nothing, never the last
	}
	for what, tc := range map[string]struct {
		stored []byte
		says   string
	}{
		"nothing at all":              {nil, "no frame"},
		"a terabyte":                  {append(head(1<<40), rle(100, 1)...), "at most"},
		"just over the limit":         {append(head(8<<20+1), rle(100, 1)...), "at most"},
		"more content than announced": {append(head(10), rle(100, 1)...), "frame 1"},
		"less content than announced": {append(head(1000), rle(100, 1)...), "frame 1"},
		"no content size":             {append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58}, rle(100, 1)...), "no content size"},
		"a dictionary":                {append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x21, 7, 100}, rle(100, 1)...), "a dictionary"},
		"endless empty blocks":        {blocks, "longer than"},
		"a reserved block":            {append(head(100), 0x07, 0, 0), "reserved"},
		"a skippable frame":           {[]byte{0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 'x'}, "skippable"},
		"not zstd":                    {[]byte("PGDMP and what follows it, for long enough"), "magic"},
	} {
		_, _, err := decode(bytes.NewReader(tc.stored), artifact.ReadOptions{Compression: "zstd", Encryption: "none"})
		if !isDamage(err) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: want damage that says %q, got %v", what, tc.says, err)
		}
	}
	good := append(head(100), rle(100, 1)...)
	if raw, _, err := decode(bytes.NewReader(good), artifact.ReadOptions{Compression: "zstd", Encryption: "none"}); err != nil || len(raw) != 100 {
		t.Fatalf("a plain frame made by hand: %d bytes, %v", len(raw), err)
	}
}

// A decoded stream that is larger than the manifest says is cut off at once, before its end.
func TestReader_LargerThanExpected(t *testing.T) {
	t.Parallel()
	c := codecs()["zstd+none"]
	stored, sums := encode(t, c, make([]byte, 64*mib))
	expect := sums
	expect.RawSize = 10
	got, _, err := decode(bytes.NewReader(stored), options(c, nil, &expect))
	if !isDamage(err) || len(got) > 10 {
		t.Fatalf("%d bytes were given out: %v", len(got), err)
	}
	// A source without an end, of bytes that decode.
	for name, c := range codecs() {
		if c.Encryption != "none" {
			continue
		}
		stored, sums := encode(t, c, noise(100, 1))
		sums.RawSize = 1 << 60
		src := &endless{b: stored}
		_, _, err = decode(src, options(c, nil, &sums))
		if !isDamage(err) || !strings.Contains(err.Error(), "stored size") || src.n > 2*mib {
			t.Fatalf("%s: %d bytes were read: %v", name, src.n, err)
		}
	}
}

// endless repeats its bytes for ever, or long enough.
type endless struct {
	b []byte
	n int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.n > 100*mib {
		return 0, io.EOF
	}
	n := copy(p, e.b[e.n%len(e.b):])
	e.n += n
	return n, nil
}

func TestReader_Close(t *testing.T) {
	leakCheck(t)
	k := newKey(t)
	for name, c := range codecs(k.recipient) {
		stored, sums := encode(t, c, dumpLike(9*mib, 1))
		r, err := artifact.NewReader(bytes.NewReader(stored), options(c, k.identity(t), &sums))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(r, make([]byte, 5*mib)); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if n, err := r.Read(make([]byte, 100)); n != 0 || !errors.Is(err, artifact.ErrClosed) {
			t.Fatalf("%s: read after close: %d, %v", name, n, err)
		}
	}
}

// A reader that is given up while its source hangs ends as soon as the source lets go.
func TestReader_CloseWhileSourceHangs(t *testing.T) {
	leakCheck(t)
	c := codecs()["zstd+none"]
	stored, _ := encode(t, c, dumpLike(9*mib, 1))
	pr, pw := io.Pipe()
	r, err := artifact.NewReader(pr, options(c, nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pw.Write(stored[:100]); err != nil { // taken: the next read hangs
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := pw.Close(); err != nil {
		t.Fatal(err)
	}
}

func FuzzReader(f *testing.F) {
	for _, c := range codecs() {
		if c.Encryption == "none" {
			stored, _ := encode(f, c, dumpLike(2000, 1))
			f.Add(stored)
			f.Add(stored[:len(stored)/2])
		}
	}
	f.Add([]byte("age-encryption.org/v1\n-> X25519 abc\n"))
	k := newKey(f)
	id := k.identity(f)
	f.Fuzz(func(t *testing.T, stored []byte) {
		for _, c := range codecs(k.recipient) {
			var expect *artifact.Sums
			if c.Encryption == "aes-256-cbc" { // as if somebody with the key had made these bytes
				s := sumsFor(c, nil, stored)
				s.RawSize = 1 << 40
				expect = &s
			}
			raw, sums, err := decode(bytes.NewReader(stored), options(c, id, expect))
			if err == nil && sums != sumsFor(c, raw, stored) {
				t.Fatalf("accepted with sums %+v", sums)
			}
			if err == nil && c.Encryption != "none" {
				t.Fatal("accepted as encrypted with a key that nobody had")
			}
		}
	})
}
