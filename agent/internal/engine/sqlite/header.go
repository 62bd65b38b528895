package sqlite

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// headerSize is how many bytes at the start of a database file describe it.
const headerSize = 100

// magic starts every database file that is not encrypted.
var magic = []byte("SQLite format 3\x00")

// header is what a database file says of itself.
type header struct {
	pageSize int64
	pages    int64 // 0 if it is not known
	wal      bool
}

// parseHeader reads the header, which b starts with.
func parseHeader(b []byte) (h header, err error) {
	if len(b) < headerSize {
		return h, fmt.Errorf("it has %d bytes", len(b))
	}
	if !bytes.Equal(b[:len(magic)], magic) {
		return h, fmt.Errorf("it does not start with %q", magic[:len(magic)-1])
	}
	h.pageSize = int64(binary.BigEndian.Uint16(b[16:]))
	if h.pageSize == 1 {
		h.pageSize = 65536
	}
	if h.pageSize < 512 || h.pageSize > 65536 || h.pageSize&(h.pageSize-1) != 0 {
		return h, fmt.Errorf("its page size is %d", h.pageSize)
	}
	h.wal = b[19] == 2
	// The number of pages counts only where the last writer knew of it.
	if binary.BigEndian.Uint32(b[24:]) == binary.BigEndian.Uint32(b[92:]) {
		h.pages = int64(binary.BigEndian.Uint32(b[28:]))
	}
	return h, nil
}

// checkSize fails if a file of this size cannot have this header.
func (h header) checkSize(size int64) error {
	switch {
	case h.pages > 0 && size != h.pages*h.pageSize:
		return fmt.Errorf("it has %d bytes, and should have %d", size, h.pages*h.pageSize)
	case size%h.pageSize != 0:
		return fmt.Errorf("it has %d bytes, which are no whole pages of %d", size, h.pageSize)
	}
	return nil
}

// readHeader reads the header of a file. An empty file is an empty database and has none.
func readHeader(f io.ReaderAt) (h header, empty bool, err error) {
	b := make([]byte, headerSize)
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF { //nolint:errorlint // io.EOF is returned bare by contract
		return h, false, fmt.Errorf("read header: %w", err)
	}
	if n == 0 {
		return h, true, nil
	}
	h, err = parseHeader(b[:n])
	return h, false, err
}
