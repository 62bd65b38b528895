package artifact

import (
	"bufio"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
)

const (
	defaultLevel = 3
	maxLevel     = 19

	// maxFrame bounds the memory that a frame may ask for. Ours are blockSize; the rest is room for later writers.
	maxFrame = 2 * blockSize
)

var zstdCompression = compression{
	name:   Zstd,
	suffix: ".zst",
	checkLevel: func(level int) error {
		if level < 0 || level > maxLevel {
			return fmt.Errorf("level %d is not allowed with compression zstd: use 1 to %d, or 0 for the default of %d",
				level, maxLevel, defaultLevel)
		}
		return nil
	},
	newEncoder: newZstdEncoder,
	newReader:  newFrameReader,
}

// newZstdEncoder encodes each block as a frame of its own, with its content size and a checksum.
func newZstdEncoder(level, parallel int) (*encoder, error) {
	if level == 0 {
		level = defaultLevel
	}
	enc, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)),
		zstd.WithEncoderConcurrency(parallel),
		zstd.WithWindowSize(blockSize), // no frame is longer: a larger window would only cost memory
		zstd.WithSingleSegment(true),   // otherwise a short frame does not tell its content size
		zstd.WithEncoderCRC(true),
		zstd.WithZeroFrames(true), // an empty dump is one empty frame: zstd refuses an empty file
	)
	if err != nil {
		return nil, fmt.Errorf("create zstd encoder: %w", err)
	}
	dec, err := frameDecoder()
	if err != nil {
		return nil, fmt.Errorf("create zstd decoder: %w", err)
	}
	return &encoder{
		encode: func(dst, block []byte) ([]byte, error) { return enc.EncodeAll(block, dst), nil },
		decode: func(dst, encoded []byte) ([]byte, error) { return dec.DecodeAll(encoded, dst) },
	}, nil
}

// frameDecoder is shared: it holds no state between frames and may be called by many goroutines.
var frameDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(0),
		zstd.WithDecoderMaxWindow(maxFrame),
		zstd.WithDecoderMaxMemory(maxFrame),
		zstd.WithDecodeAllCapLimit(true),
	)
})

// frame travels from the splitter over a decoder to the reader, and back.
type frame struct {
	in, out []byte
	size    int // content size as its header says
	most    int // bytes that in may take
	n       int // which frame, from 1
	err     error
	done    chan struct{} // one token when out or err is set
}

// frameReader decodes frames ahead and in parallel and hands them out in order. A frame is handed out only
// when it has decoded whole. Memory: workers+2 frames, each at most twice maxFrame.
type frameReader struct {
	src     *bufio.Reader
	dec     *zstd.Decoder
	free    chan *frame
	todo    chan *frame
	ordered chan *frame
	stop    chan struct{}
	once    sync.Once

	cur  *frame
	rest []byte
	err  error
}

func newFrameReader(src io.Reader) (io.ReadCloser, error) {
	dec, err := frameDecoder()
	if err != nil {
		return nil, fmt.Errorf("create zstd decoder: %w", err)
	}
	workers := min(runtime.GOMAXPROCS(0), 4)
	frames := workers + 2
	z := &frameReader{
		src:     bufio.NewReaderSize(src, 128<<10),
		dec:     dec,
		free:    make(chan *frame, frames),
		todo:    make(chan *frame, frames),
		ordered: make(chan *frame, frames),
		stop:    make(chan struct{}),
	}
	for range frames {
		z.free <- &frame{done: make(chan struct{}, 1)}
	}
	for range workers {
		go z.decode()
	}
	go z.split()
	return z, nil
}

// Close ends the goroutines. A pending read of src ends by itself.
func (z *frameReader) Close() error {
	z.once.Do(func() { close(z.stop) })
	return nil
}

func (z *frameReader) Read(p []byte) (int, error) {
	for len(z.rest) == 0 {
		if z.err != nil {
			return 0, z.err
		}
		if len(p) == 0 {
			return 0, nil
		}
		z.err = z.next()
	}
	n := copy(p, z.rest)
	z.rest = z.rest[n:]
	return n, nil
}

// next makes the following frame the current one.
func (z *frameReader) next() error {
	if z.cur != nil {
		z.free <- z.cur
		z.cur = nil
	}
	select {
	case <-z.stop:
		return ErrClosed
	default:
	}
	select {
	case f := <-z.ordered:
		select {
		case <-f.done:
		case <-z.stop:
			return ErrClosed
		}
		if f.err != nil {
			return f.err
		}
		z.cur, z.rest = f, f.out
		return nil
	case <-z.stop:
		return ErrClosed
	}
}

// split reads frames until the end of src. Its last frame always carries an error, io.EOF for a clean end.
func (z *frameReader) split() {
	for n := 1; ; n++ {
		var f *frame
		select {
		case f = <-z.free:
		case <-z.stop:
			return
		}
		f.n = n
		f.err = z.readFrame(f)
		if f.err == nil {
			z.todo <- f
			z.ordered <- f
			continue
		}
		if f.err == io.EOF && n == 1 { //nolint:errorlint // as in readFrame
			f.err = &DamageError{What: "zstd stream", Got: "no frame"}
		}
		f.done <- struct{}{}
		z.ordered <- f
		return
	}
}

func (z *frameReader) decode() {
	for {
		select {
		case f := <-z.todo:
			if cap(f.out) < f.size+16 { // the decoder is faster with a little room behind
				f.out = make([]byte, 0, f.size+16)
			}
			out, err := z.dec.DecodeAll(f.in, f.out[:0:f.size+16])
			switch {
			case err != nil:
				f.err = damaged(fmt.Sprintf("zstd frame %d", f.n), err)
			case len(out) != f.size:
				f.err = &DamageError{
					What: fmt.Sprintf("zstd frame %d", f.n),
					Want: fmt.Sprintf("%d bytes", f.size), Got: fmt.Sprintf("%d bytes", len(out)),
				}
			default:
				f.out = out
			}
			f.done <- struct{}{}
		case <-z.stop:
			return
		}
	}
}

// readFrame reads one whole frame into f.in and its content size into f.size. It returns io.EOF only if src ends
// cleanly before the frame's first byte.
func (z *frameReader) readFrame(f *frame) error {
	what := func() string { return fmt.Sprintf("zstd frame %d", f.n) }
	head, err := z.src.Peek(zstd.HeaderMaxSize)
	if err != nil && err != io.EOF { //nolint:errorlint // an error that wraps io.EOF is not an end
		return err
	}
	if len(head) == 0 {
		return io.EOF
	}
	var h zstd.Header
	if err := h.Decode(head); err != nil {
		return damaged(what(), err)
	}
	switch {
	case h.Skippable:
		return &DamageError{What: what(), Got: "a skippable frame"}
	case !h.HasFCS:
		return &DamageError{What: what(), Got: "no content size"}
	case h.FrameContentSize > maxFrame:
		return &DamageError{What: what(), Want: fmt.Sprintf("at most %d bytes", maxFrame), Got: fmt.Sprintf("%d bytes", h.FrameContentSize)}
	case h.DictionaryID != 0:
		return &DamageError{What: what(), Got: "a dictionary"}
	}
	f.size = int(h.FrameContentSize)
	f.in = f.in[:0]
	// Blocks that do not compress cost three bytes of header for each 128 KiB. Nothing valid is longer.
	limit := f.size + f.size/1024 + 1024
	f.most = limit
	if err := z.take(f, h.HeaderSize); err != nil {
		return err
	}
	for last := false; !last; {
		if err := z.take(f, 3); err != nil {
			return err
		}
		b := f.in[len(f.in)-3:]
		head := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
		last = head&1 != 0
		size := int(head >> 3)
		switch head >> 1 & 3 {
		case 1: // one byte, repeated
			size = 1
		case 3:
			return &DamageError{What: what(), Got: "a block of reserved type"}
		}
		if len(f.in)+size > limit {
			return &DamageError{What: what(), Got: "longer than its content can need"}
		}
		if err := z.take(f, size); err != nil {
			return err
		}
	}
	if h.HasCheckSum {
		return z.take(f, 4)
	}
	return nil
}

// take appends the next n bytes of src to the frame.
func (z *frameReader) take(f *frame, n int) error {
	at := len(f.in)
	if cap(f.in) < at+n {
		grown := make([]byte, at, max(at+n, min(2*cap(f.in), f.most)))
		copy(grown, f.in)
		f.in = grown
	}
	f.in = f.in[:at+n]
	if _, err := io.ReadFull(z.src, f.in[at:]); err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF { //nolint:errorlint // ReadFull's own, not one wrapped below
			return &DamageError{What: fmt.Sprintf("zstd frame %d", f.n), Got: "cut short", Err: io.ErrUnexpectedEOF}
		}
		return err
	}
	return nil
}
