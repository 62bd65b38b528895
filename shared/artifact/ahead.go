package artifact

import (
	"io"
	"sync"
)

const (
	aheadChunk  = 256 << 10
	aheadChunks = 4
)

// ahead reads src in a goroutine of its own, up to a megabyte before the caller asks, so that decoding and what the caller
// does with the bytes share no core.
type ahead struct {
	free chan *chunk
	full chan *chunk
	stop chan struct{}
	once sync.Once

	cur  *chunk
	rest []byte
	err  error
}

type chunk struct {
	buf []byte
	n   int
	err error // after the n bytes
}

func newAhead(src io.Reader) *ahead {
	a := &ahead{free: make(chan *chunk, aheadChunks), full: make(chan *chunk, aheadChunks), stop: make(chan struct{})}
	for range aheadChunks {
		a.free <- &chunk{}
	}
	go a.run(src)
	return a
}

// run ends with the first error of src, io.EOF too, or when the reader is closed.
func (a *ahead) run(src io.Reader) {
	for {
		var c *chunk
		select {
		case c = <-a.free:
		case <-a.stop:
			return
		}
		if c.buf == nil {
			c.buf = make([]byte, aheadChunk)
		}
		c.n, c.err = 0, nil
		for c.n < len(c.buf) && c.err == nil {
			var n int
			n, c.err = src.Read(c.buf[c.n:])
			c.n += n
		}
		last := c.err != nil
		a.full <- c // it holds all chunks there are
		if last {
			return
		}
	}
}

// Close ends the goroutine. A pending read of src ends by itself.
func (a *ahead) Close() error {
	a.once.Do(func() { close(a.stop) })
	return nil
}

func (a *ahead) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		if a.err != nil {
			return 0, a.err
		}
		if len(p) == 0 {
			return 0, nil
		}
		a.next()
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// next makes the following chunk the current one.
func (a *ahead) next() {
	if a.cur != nil {
		a.free <- a.cur
		a.cur = nil
	}
	select {
	case <-a.stop:
		a.err = ErrClosed
		return
	default:
	}
	select {
	case a.cur = <-a.full:
		a.rest, a.err = a.cur.buf[:a.cur.n], a.cur.err
	case <-a.stop:
		a.err = ErrClosed
	}
}
