package artifact_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"devflowbackup/shared/artifact"
)

// gate is a destination that takes some bytes, then blocks until opened.
type gate struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	free    int
	blocked chan struct{}
	once    sync.Once
	open    chan struct{}
}

func newGate(free int) *gate {
	return &gate{free: free, blocked: make(chan struct{}), open: make(chan struct{})}
}

func (g *gate) Write(p []byte) (int, error) {
	g.mu.Lock()
	wait := g.buf.Len()+len(p) > g.free
	g.mu.Unlock()
	if wait {
		g.once.Do(func() { close(g.blocked) })
		<-g.open
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.buf.Write(p)
}

func TestWriter_Abort(t *testing.T) {
	k := newKey(t)
	for name, c := range codecs(k.recipient) {
		t.Run(name, func(t *testing.T) {
			leakCheck(t)
			cause := errors.New("the dump tool died")
			var stored bytes.Buffer
			w, err := artifact.NewWriter(&stored, c, keysFor(c))
			if err != nil {
				t.Fatal(err)
			}
			data := noise(13*mib, 1)
			if _, err := w.Write(data); err != nil {
				t.Fatal(err)
			}
			w.Abort(cause)
			w.Abort(errors.New("a later one"))
			for range 2 {
				if err := w.Close(); !errors.Is(err, cause) {
					t.Fatalf("close after abort: %v", err)
				}
			}
			if _, err := w.Write(data); !errors.Is(err, cause) {
				t.Fatalf("write after abort: %v", err)
			}
			if w.Sums() != (artifact.Sums{}) {
				t.Fatal("an aborted artifact has sums")
			}
			if c.Encryption == "age" && stored.Len() > 0 {
				if _, _, err := decode(&stored, options(c, k.identity(t), nil)); !isDamage(err) {
					t.Fatalf("an aborted artifact reads as %v", err)
				}
			}
		})
	}
}

// Nobody calls Close: the goroutines end all the same.
func TestWriter_AbortAlone(t *testing.T) {
	leakCheck(t)
	k := newKey(t)
	var stored bytes.Buffer
	w, err := artifact.NewWriter(&stored, codecs(k.recipient)["zstd+age"], nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(dumpLike(1000, 1)); err != nil {
		t.Fatal(err)
	}
	w.Abort(nil)
	if _, err := w.Write([]byte("x")); !errors.Is(err, artifact.ErrAborted) {
		t.Fatalf("write after abort: %v", err)
	}
	eventually(t, "the writer's goroutines have ended", func() bool { return ownGoroutines() == 0 })
	if stored.Len() > 0 {
		t.Fatalf("%d bytes were stored of a dump aborted in its first block", stored.Len())
	}
}

// Abort frees a Write that waits for a destination that hangs, and does not hang itself.
func TestWriter_AbortWhileDestinationHangs(t *testing.T) {
	leakCheck(t)
	k := newKey(t)
	g := newGate(mib)
	w, err := artifact.NewWriter(g, codecs(k.recipient)["none+age"], nil)
	if err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error, 1)
	go func() {
		_, err := w.Write(make([]byte, 200*mib)) // more than there are blocks
		wrote <- err
	}()
	<-g.blocked
	cause := errors.New("cancelled")
	w.Abort(cause)
	if err := <-wrote; !errors.Is(err, cause) {
		t.Fatalf("the waiting write returned %v", err)
	}
	close(g.open)
	if err := w.Close(); !errors.Is(err, cause) {
		t.Fatalf("close: %v", err)
	}
	if _, _, err := decode(&g.buf, artifact.ReadOptions{
		Compression: "none", Encryption: "age", Identity: k.identity(t),
	}); !isDamage(err) {
		t.Fatalf("an aborted artifact reads as %v", err)
	}
}

// An Abort while Close waits for the destination: Close fails, and the end is not written when the destination lets go.
func TestWriter_AbortDuringClose(t *testing.T) {
	leakCheck(t)
	k := newKey(t)
	c := codecs(k.recipient)["zstd+age"]
	id := k.identity(t)
	for range 100 { // several goroutines see the abort, in any order
		g := newGate(0)
		w, err := artifact.NewWriter(g, c, keysFor(c))
		if err != nil {
			t.Fatal(err)
		}
		closed := make(chan error, 1)
		go func() { closed <- w.Close() }()
		<-g.blocked
		w.Abort(nil)
		close(g.open)
		if err := <-closed; !errors.Is(err, artifact.ErrAborted) {
			t.Fatalf("close: %v", err)
		}
		if _, _, err := decode(&g.buf, options(c, id, nil)); !isDamage(err) {
			t.Fatalf("an aborted artifact reads as %v", err)
		}
	}
}

func TestWriter_AbortAfterClose(t *testing.T) {
	leakCheck(t)
	k := newKey(t)
	c := codecs(k.recipient)["zstd+age"]
	var stored bytes.Buffer
	w, err := artifact.NewWriter(&stored, c, keysFor(c))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	sums := w.Sums()
	w.Abort(errors.New("too late"))
	if err := w.Close(); err != nil || w.Sums() != sums {
		t.Fatalf("close after a clean close: %v", err)
	}
	if _, err := w.Write([]byte("x")); !errors.Is(err, artifact.ErrClosed) {
		t.Fatalf("write after close: %v", err)
	}
	if _, _, err := decode(&stored, options(c, k.identity(t), &sums)); err != nil {
		t.Fatal(err)
	}
}

type failAfter struct {
	n   int
	err error
}

func (f *failAfter) Write(p []byte) (int, error) {
	if f.n -= len(p); f.n < 0 {
		return 0, f.err
	}
	return len(p), nil
}

type shortWriter struct{}

func (shortWriter) Write(p []byte) (int, error) { return len(p) / 2, nil }

// A destination that fails anywhere, even at the last byte, is an error of Close at the latest.
func TestWriter_DestinationError(t *testing.T) {
	leakCheck(t)
	k := newKey(t)
	full := errors.New("no space left")
	data := noise(20_000, 1)
	for name, c := range codecs(k.recipient) {
		_, sums := encode(t, c, data)
		for _, n := range []int64{0, 1, 250, sums.StoredSize / 2, sums.StoredSize - 1} {
			w, err := artifact.NewWriter(&failAfter{int(n), full}, c, keysFor(c))
			if err != nil {
				t.Fatal(err)
			}
			_, werr := w.Write(data)
			if err := w.Close(); !errors.Is(err, full) {
				t.Fatalf("%s: the destination fails after %d of %d bytes: write %v, close %v", name, n, sums.StoredSize, werr, err)
			}
		}
		w, err := artifact.NewWriter(shortWriter{}, c, keysFor(c))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(data)
		if err := w.Close(); !errors.Is(err, io.ErrShortWrite) {
			t.Fatalf("%s: a destination that takes half: %v", name, err)
		}
	}
	// A long dump stops soon after the failure.
	w, err := artifact.NewWriter(&failAfter{mib, full}, codecs()["none+none"], nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(w, io.LimitReader(zeros{}, 1<<40))
	if !errors.Is(err, full) || n > 100*mib {
		t.Fatalf("copied %d bytes: %v", n, err)
	}
	if err := w.Close(); !errors.Is(err, full) {
		t.Fatal(err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// ReadFrom hands the source's error on and leaves the end to the caller.
func TestWriter_ReadFrom(t *testing.T) {
	leakCheck(t)
	boom := errors.New("pipe broken")
	var stored bytes.Buffer
	w, err := artifact.NewWriter(&stored, codecs()["zstd+none"], nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := w.ReadFrom(io.MultiReader(bytes.NewReader(make([]byte, 5*mib)), iotest.ErrReader(boom)))
	if n != 5*mib || !errors.Is(err, boom) {
		t.Fatalf("read %d bytes: %v", n, err)
	}
	w.Abort(err)
	if err := w.Close(); !errors.Is(err, boom) {
		t.Fatal(err)
	}
}

// 1 GiB that does not compress, the worst case, into a destination slower than the encoders, and back.
func TestWriter_Memory(t *testing.T) {
	k := newKey(t)
	c := codecs(k.recipient)["zstd+age"]
	blockOfNoise := noise(4*mib, 1)

	pr, pw := io.Pipe()
	stored := make(chan int64, 1)
	go func() {
		n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, pr, make([]byte, 4096))
		stored <- n
	}()
	w, err := artifact.NewWriter(pw, c, keysFor(c))
	if err != nil {
		t.Fatal(err)
	}
	checkPeak(t, 150*mib, func() {
		for range 256 {
			if _, err := w.Write(blockOfNoise); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	})
	_ = pw.Close()
	if n := <-stored; n < 1<<30 || n != w.Sums().StoredSize {
		t.Fatalf("%d bytes were stored, the writer counted %d", n, w.Sums().StoredSize)
	}
}

func TestReader_Memory(t *testing.T) {
	k := newKey(t)
	c := codecs(k.recipient)["zstd+age"]
	stored, sums := encode(t, c, noise(40*mib, 1))
	checkPeak(t, uint64(cap(stored))+170*mib, func() {
		for range 10 {
			r, err := artifact.NewReader(bytes.NewReader(stored), options(c, k.identity(t), &sums))
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, r); err != nil || n != 40*mib {
				t.Fatalf("read %d bytes: %v", n, err)
			}
		}
	})
}

// checkPeak fails the test if the heap in use goes over the limit while f runs.
func checkPeak(t *testing.T, limit uint64, f func()) {
	t.Helper()
	runtime.GC()
	stop := make(chan struct{})
	peak := make(chan uint64)
	go func() {
		var most uint64
		var m runtime.MemStats
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
			select {
			case <-tick.C:
			case <-stop:
				peak <- most
				return
			}
		}
	}()
	start := time.Now()
	f()
	close(stop)
	most := <-peak
	t.Logf("peak heap in use: %d MiB in %v", most>>20, time.Since(start).Round(time.Millisecond))
	if most > limit {
		t.Fatalf("peak heap in use is %d MiB, want at most %d", most>>20, limit>>20)
	}
}
