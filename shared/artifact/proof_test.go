package artifact_test

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"devflowbackup/shared/artifact"
)

// lies are what a broken compressor does to one block's encoding.
var lies = map[string]func(encode artifact.Encode, dst, block []byte) ([]byte, error){
	"another block": func(encode artifact.Encode, dst, block []byte) ([]byte, error) {
		b := bytes.Clone(block)
		b[len(b)/2] ^= 1
		return encode(dst, b)
	},
	"a shorter block": func(encode artifact.Encode, dst, block []byte) ([]byte, error) {
		return encode(dst, block[:len(block)-1])
	},
	"a longer block": func(encode artifact.Encode, dst, block []byte) ([]byte, error) {
		return encode(dst, append(bytes.Clone(block), 0))
	},
	"a much longer block": func(encode artifact.Encode, dst, block []byte) ([]byte, error) {
		return encode(dst, append(bytes.Clone(block), make([]byte, 4096)...))
	},
	"nothing": func(_ artifact.Encode, dst, _ []byte) ([]byte, error) { return dst, nil },
	"a cut": func(encode artifact.Encode, dst, block []byte) ([]byte, error) {
		out, err := encode(dst, block)
		return out[:len(out)-1], err
	},
	"a byte more": func(encode artifact.Encode, dst, block []byte) ([]byte, error) {
		out, err := encode(dst, block)
		return append(out, 0), err
	},
	"a flipped bit": func(encode artifact.Encode, dst, block []byte) ([]byte, error) {
		out, err := encode(dst, block)
		if err == nil {
			out[len(out)/2] ^= 4
		}
		return out, err
	},
	"an end of its own": func(_ artifact.Encode, dst, block []byte) ([]byte, error) { // good deflate, and the end of the stream
		var out bytes.Buffer
		w, err := flate.NewWriter(&out, 6)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(block); err != nil {
			return nil, err
		}
		err = w.Close()
		return append(dst, out.Bytes()...), err
	},
	"the block itself": func(_ artifact.Encode, dst, block []byte) ([]byte, error) { return append(dst, block...), nil },
}

// FAULTS 67: a compressor that returns wrong bytes makes no artifact.
func TestWriter_EncoderLies(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	for name, c := range codecs(k.recipient) {
		if c.Compression == "none" {
			continue
		}
		for lie, tell := range lies {
			var told atomic.Int64
			var stored bytes.Buffer
			w, err := artifact.NewWriterEncoding(&stored, c, keysFor(c), func(encode artifact.Encode) artifact.Encode {
				return func(dst, block []byte) ([]byte, error) {
					told.Add(1)
					return tell(encode, dst, block)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(dumpLike(10_000, 1)); err != nil {
				t.Fatal(err)
			}
			err = w.Close()
			var d *artifact.DamageError
			if !errors.As(err, &d) || d.What != "encoder output" || told.Load() != 1 {
				t.Errorf("%s, %s: close returned %v after %d lies", name, lie, err, told.Load())
			}
			if w.Sums() != (artifact.Sums{}) || stored.Len() > 200 { // the head of the codecs, no block
				t.Errorf("%s, %s: %d bytes are stored, sums are %+v", name, lie, stored.Len(), w.Sums())
			}
			if _, err := w.Write([]byte("x")); !errors.As(err, &d) {
				t.Errorf("%s, %s: write after it: %v", name, lie, err)
			}
			if _, _, err := decode(&stored, options(c, k.identity(t), nil)); err == nil {
				t.Errorf("%s, %s: what is stored reads to its end", name, lie)
			}
		}
	}
}

// Which blocks are proven: the first, the last, every eighth; with ProveAll each.
func TestWriter_Proves(t *testing.T) {
	t.Parallel()
	const blocks = artifact.ProveEvery + 3
	raw := make([]byte, blocks*artifact.BlockSize) // the last block is a full one
	for i := range blocks {
		raw[i*artifact.BlockSize] = byte(i + 1) // tells which block it is
	}
	c := artifact.Codec{Compression: "zstd", Level: 1, Encryption: "none"}
	for name, tc := range map[string]struct {
		all  bool
		more int // bytes after the full blocks
		want []int
	}{
		"full last block":  {false, 0, []int{1, artifact.ProveEvery + 1, blocks}},
		"short last block": {false, 100, []int{0, 1, artifact.ProveEvery + 1}},
		"all":              {true, 0, []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}},
	} {
		var mu sync.Mutex
		var proven []int
		w, err := artifact.NewWriterProving(io.Discard, c, nil, func(block []byte) {
			mu.Lock()
			defer mu.Unlock()
			proven = append(proven, int(block[0]))
		})
		if err != nil {
			t.Fatal(err)
		}
		if tc.all {
			w.ProveAll()
		}
		if _, err := w.ReadFrom(io.MultiReader(bytes.NewReader(raw), bytes.NewReader(make([]byte, tc.more)))); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		slices.Sort(proven)
		if !slices.Equal(proven, tc.want) {
			t.Errorf("%s: blocks %v are proven, want %v", name, proven, tc.want)
		}
	}
}

// A lie about one block in the middle: ProveAll finds it, and so does everyone who reads the content.
func TestWriter_OneLie(t *testing.T) {
	t.Parallel()
	for _, compression := range []string{"zstd", "gzip"} {
		c := artifact.Codec{Compression: compression, Level: 1, Encryption: "none"}
		for _, all := range []bool{false, true} {
			var stored bytes.Buffer
			w, err := artifact.NewWriterEncoding(&stored, c, nil, func(encode artifact.Encode) artifact.Encode {
				return func(dst, block []byte) ([]byte, error) {
					if block[0] == 3 {
						return lies["another block"](encode, dst, block)
					}
					return encode(dst, block)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if all {
				w.ProveAll()
			}
			for i := range 5 {
				_, _ = w.Write(append([]byte{byte(i + 1)}, make([]byte, artifact.BlockSize-1)...))
			}
			if err := w.Close(); isDamage(err) != all {
				t.Errorf("%s, all proven %t: %v", compression, all, err)
			}
			if all {
				continue
			}
			sums := w.Sums()
			if _, _, err := decode(&stored, options(c, nil, &sums)); !isDamage(err) {
				t.Errorf("%s: reading it found %v", compression, err)
			}
		}
	}
}
