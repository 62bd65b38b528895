package artifact

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
)

const (
	defaultGzipLevel = 6
	maxGzipLevel     = 9
)

// gzipCompression makes one member, as RFC 1952 knows it: readers that stop after the first member, as PHP's gzdecode
// does, read all of it. Its deflate blocks are made on all cores: each 4 MiB of the dump is compressed without regard to
// those before it and ends on a byte boundary, so that what is encoded apart is valid one after another.
var gzipCompression = compression{
	name:   Gzip,
	suffix: ".gz",
	checkLevel: func(level int) error {
		if level < 0 || level > maxGzipLevel {
			return fmt.Errorf("level %d is not allowed with compression %s: use 1 to %d, or 0 for the default of %d",
				level, Gzip, maxGzipLevel, defaultGzipLevel)
		}
		return nil
	},
	newEncoder: newGzipEncoder,
	newReader:  newGzipReader,
}

var (
	// gzipHead says: deflate, no name, no time (the manifest has them), made on an unknown system.
	gzipHead = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}

	// deflateEnd is an empty last block.
	deflateEnd = []byte{0x03, 0x00}
)

func newGzipEncoder(level, parallel int) (*encoder, error) {
	if level == 0 {
		level = defaultGzipLevel
	}
	idle := make(chan *deflater, parallel)
	for range parallel {
		w, err := flate.NewWriter(nil, level)
		if err != nil {
			return nil, fmt.Errorf("create gzip encoder: %w", err)
		}
		idle <- &deflater{w: w}
	}
	return &encoder{
		head: gzipHead,
		encode: func(dst, block []byte) ([]byte, error) {
			d := <-idle
			defer func() { idle <- d }()
			return d.encode(dst, block)
		},
		decode: inflateBlock,
		tail: func(crc uint32, size int64) []byte {
			b := bytes.Clone(deflateEnd)
			b = binary.LittleEndian.AppendUint32(b, crc)
			return binary.LittleEndian.AppendUint32(b, uint32(size)) // modulo 2^32, as the format has it
		},
	}, nil
}

// deflater encodes one block at a time.
type deflater struct {
	w   *flate.Writer
	out appender
}

func (d *deflater) encode(dst, block []byte) ([]byte, error) {
	d.out.b = dst
	d.w.Reset(&d.out)
	if _, err := d.w.Write(block); err != nil {
		return nil, err
	}
	if err := d.w.Flush(); err != nil { // to a byte boundary
		return nil, err
	}
	dst, d.out.b = d.out.b, nil
	return dst, nil
}

type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}

// inflaters are decoders at rest.
var inflaters = sync.Pool{New: func() any { return flate.NewReader(bytes.NewReader(nil)) }}

// inflateBlock decodes what encode made of one block into dst, as far as dst has room.
func inflateBlock(dst, encoded []byte) ([]byte, error) {
	r := inflaters.Get().(io.ReadCloser) //nolint:errcheck // the pool holds nothing else
	defer inflaters.Put(r)
	src := bytes.NewReader(append(encoded, deflateEnd...))
	if err := r.(flate.Resetter).Reset(src, nil); err != nil { //nolint:errcheck // flate's readers are resetters
		return nil, err
	}
	for len(dst) < cap(dst) {
		n, err := r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch {
		case err == io.EOF && src.Len() == 0: //nolint:errorlint // io.EOF is returned bare by contract
			return dst, nil
		case err == io.EOF: //nolint:errorlint // as above
			return nil, errors.New("it ends before its end")
		case err != nil:
			return nil, err
		}
	}
	return nil, errors.New("it decodes to more than the block")
}

// newGzipReader reads one member and requires that src ends with it. It decodes ahead of the caller.
func newGzipReader(src io.Reader) (io.ReadCloser, error) {
	g := &gzipReader{src: bufio.NewReaderSize(src, 128<<10)}
	return newAhead(g), nil
}

type gzipReader struct {
	src    *bufio.Reader
	member *gzip.Reader // nil until its head is read
}

func (g *gzipReader) Read(p []byte) (int, error) {
	if g.member == nil {
		m, err := gzip.NewReader(g.src)
		if err != nil {
			return 0, gzipDamage("gzip header", err)
		}
		m.Multistream(false)
		g.member = m
	}
	n, err := g.member.Read(p)
	if err == nil {
		return n, nil
	}
	if err != io.EOF { //nolint:errorlint // io.EOF is returned bare by contract
		return n, gzipDamage("gzip stream", err)
	}
	if _, err = g.src.ReadByte(); err == nil {
		err = &DamageError{What: "end of gzip stream", Got: "more bytes follow"}
	}
	return n, err // io.EOF, or the error of what is below
}

// gzipDamage leaves the damage that a layer below has found as it is. An error of the source is told apart by Reader.
func gzipDamage(what string, err error) error {
	var below *DamageError
	switch {
	case errors.As(err, &below):
		return err
	case err == io.EOF || err == io.ErrUnexpectedEOF: //nolint:errorlint // the decoder's own
		return &DamageError{What: what, Got: "cut short", Err: io.ErrUnexpectedEOF}
	}
	return damaged(what, err)
}
