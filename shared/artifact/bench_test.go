package artifact_test

import (
	"bytes"
	"fmt"
	"io"
	"syscall"
	"testing"
	"time"

	"devflowbackup/shared/artifact"
)

// perGB reports the processor time of all cores, which a busy machine changes less than the time that passes.
func perGB(b *testing.B, size int) {
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	b.SetBytes(int64(size))
	begin := used()
	b.Cleanup(func() {
		b.ReportMetric((used()-begin).Seconds()*1e9/float64(size)/float64(b.N), "cpu-s/GB")
	})
}

func BenchmarkPipeline(b *testing.B) {
	k := newKey(b)
	raw := dumpLike(128<<20, 1)
	for name, c := range codecs(k.recipient) {
		b.Run("write/"+name, func(b *testing.B) {
			perGB(b, len(raw))
			for b.Loop() {
				w, err := artifact.NewWriter(io.Discard, c, keysFor(c))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := w.ReadFrom(bytes.NewReader(raw)); err != nil {
					b.Fatal(err)
				}
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
		stored, sums := encode(b, c, raw)
		id := k.identity(b)
		b.Run("read/"+name, func(b *testing.B) {
			perGB(b, len(raw))
			for b.Loop() {
				r, err := artifact.NewReader(bytes.NewReader(stored), options(c, id, &sums))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What it costs to decode every block that was encoded, against every eighth.
func BenchmarkWriter_ProveAll(b *testing.B) {
	raw := dumpLike(128<<20, 1)
	for _, name := range []string{"zstd+age", "gzip+age"} {
		c := codecs(newKey(b).recipient)[name]
		for _, all := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/all=%t", name, all), func(b *testing.B) {
				perGB(b, len(raw))
				for b.Loop() {
					w, err := artifact.NewWriter(io.Discard, c, nil)
					if err != nil {
						b.Fatal(err)
					}
					if all {
						w.ProveAll()
					}
					if _, err := w.ReadFrom(bytes.NewReader(raw)); err != nil {
						b.Fatal(err)
					}
					if err := w.Close(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// A fingerprint: what one small artifact costs beyond its bytes.
func BenchmarkWriter_Small(b *testing.B) {
	c := codecs(newKey(b).recipient)["zstd+age"]
	raw := dumpLike(10_000, 1)
	for b.Loop() {
		encode(b, c, raw)
	}
}
