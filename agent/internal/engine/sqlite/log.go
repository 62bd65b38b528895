package sqlite

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"devflowbackup/shared/wire"
)

const (
	walHeader  = 32
	walMagic   = 0x377f0682 // and one more where checksums are over big-endian words
	walVersion = 3007000
	walFrame   = 24 // before each page
)

// wal is a write-ahead log that nobody writes.
type wal struct {
	file     io.ReaderAt
	order    binary.ByteOrder
	pageSize int64
	salt     [8]byte
	s1, s2   uint32 // checksum of all that was read
	buf      []byte // of one frame
}

// errNoLog is a file that is no write-ahead log.
var errNoLog = errors.New("it does not start as a write-ahead log")

func noLogFailure(path string) *wire.Failure {
	return wire.Failf(wire.CodeToolFailed, "%q is not empty and cannot be read: %w", path, errNoLog).
		WithHint("SQLite would ignore it; if nobody needs it, move it away")
}

// openLog reads the header of a log. One that is too short for a frame is nil.
func openLog(file io.ReaderAt) (*wal, error) {
	head := make([]byte, walHeader+1)
	n, err := file.ReadAt(head, 0)
	if n <= walHeader {
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read the write-ahead log: %w", err)
		}
		return nil, nil
	}
	head = head[:walHeader]
	magic := binary.BigEndian.Uint32(head)
	w := &wal{file: file, order: binary.LittleEndian, pageSize: int64(binary.BigEndian.Uint32(head[8:]))}
	if magic == walMagic+1 {
		w.order = binary.BigEndian
	}
	copy(w.salt[:], head[16:24])
	w.add(head[:24])
	switch {
	case magic&^1 != walMagic, binary.BigEndian.Uint32(head[4:]) != walVersion, w.pageSize < 512 || w.pageSize > 65536 || w.pageSize&(w.pageSize-1) != 0,
		w.s1 != binary.BigEndian.Uint32(head[24:]), w.s2 != binary.BigEndian.Uint32(head[28:]):
		return nil, errNoLog
	}
	w.buf = make([]byte, walFrame+w.pageSize)
	return w, nil
}

// add takes bytes, in pairs of words, into the checksum.
func (w *wal) add(b []byte) {
	for ; len(b) >= 8; b = b[8:] {
		w.s1 += w.order.Uint32(b) + w.s2
		w.s2 += w.order.Uint32(b[4:]) + w.s1
	}
}

// frame reads one frame, from 0 on. It is not valid from the first one on that was not written whole, or by an earlier log.
func (w *wal) frame(n int64) (page, size int64, content []byte, err error) {
	_, err = w.file.ReadAt(w.buf, walHeader+n*int64(len(w.buf)))
	return int64(binary.BigEndian.Uint32(w.buf)), int64(binary.BigEndian.Uint32(w.buf[4:])), w.buf[walFrame:], err
}

// commits counts the frames up to the end of the last transaction, and tells how many pages the database had then.
func (w *wal) commits() (frames, pages int64, err error) {
	for n := int64(0); ; n++ {
		page, size, content, err := w.frame(n)
		if errors.Is(err, io.EOF) {
			return frames, pages, nil
		}
		if err != nil {
			return 0, 0, fmt.Errorf("read the write-ahead log: %w", err)
		}
		if page == 0 || !bytes.Equal(w.buf[8:16], w.salt[:]) {
			return frames, pages, nil
		}
		w.add(w.buf[:8])
		w.add(content)
		if w.s1 != binary.BigEndian.Uint32(w.buf[16:]) || w.s2 != binary.BigEndian.Uint32(w.buf[20:]) {
			return frames, pages, nil
		}
		if size > 0 {
			frames, pages = n+1, size
		}
	}
}

// fold writes all committed transactions of the log into the database and makes that durable. The log stays as it is, so that
// SQLite or another call can do it again after a crash. Transactions that were not committed count for nothing, as in SQLite.
func fold(database, log *os.File, path string) error {
	w, err := openLog(log)
	if errors.Is(err, errNoLog) {
		return noLogFailure(path)
	}
	if err != nil || w == nil {
		return err
	}
	frames, pages, err := w.commits()
	if err != nil || frames == 0 {
		return err
	}
	for n := range frames {
		page, _, content, err := w.frame(n)
		if err != nil {
			return fmt.Errorf("read the write-ahead log: %w", err)
		}
		if _, err := database.WriteAt(content, (page-1)*w.pageSize); err != nil {
			return fmt.Errorf("write a page of the write-ahead log: %w", err)
		}
	}
	if err := database.Truncate(pages * w.pageSize); err != nil {
		return fmt.Errorf("set the size of the write-ahead log's last transaction: %w", err)
	}
	return database.Sync()
}
