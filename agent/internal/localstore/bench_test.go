package localstore_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"devflowbackup/agent/internal/localstore"
)

// A durable file against one that is only written, as a shell's redirection does: MB/s of both.
func BenchmarkWriter(b *testing.B) {
	const total, chunk = 512 << 20, 64 << 10
	content := random(64 << 20)
	b.Run("store", func(b *testing.B) {
		s := localstore.New(localstore.Options{Dir: b.TempDir()})
		b.SetBytes(total)
		for b.Loop() {
			w, err := s.Create(key)
			if err != nil {
				b.Fatal(err)
			}
			for range total / len(content) {
				for c := range slices.Chunk(content, chunk) {
					if _, err := w.Write(c); err != nil {
						b.Fatal(err)
					}
				}
			}
			if err := w.Close(); err != nil {
				b.Fatal(err)
			}
			if err := w.Abort(); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, sync := range []bool{false, true} {
		name := "redirection"
		if sync {
			name += " and sync"
		}
		b.Run(name, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "x")
			b.SetBytes(total)
			for b.Loop() {
				f, err := os.Create(path)
				if err != nil {
					b.Fatal(err)
				}
				for range total / len(content) {
					for c := range slices.Chunk(content, chunk) {
						if _, err := f.Write(c); err != nil {
							b.Fatal(err)
						}
					}
				}
				if sync {
					if err := f.Sync(); err != nil {
						b.Fatal(err)
					}
				}
				_ = f.Close()
				_ = os.Remove(path)
			}
		})
	}
}
