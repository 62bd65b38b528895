package postgres

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"devflowbackup/shared/wire"
)

// item is an entry of a dump's table of contents, as the archive has it: names are exact here, while the list that
// pg_restore prints only shows them to people. All of it was written by whoever made the dump.
type item struct {
	id     int
	kind   string // "TABLE", "FK CONSTRAINT", …
	schema string // empty for what is in none
	tag    string
	owner  string
	define string // SQL
	drop   string // SQL
	needs  []int  // ids
}

// Archive formats that are known: pg_dump 9.5 wrote the first, pg_dump 18 the last.
const (
	firstFormat = 12
	lastFormat  = 16
	customByte  = 1
)

// contents reads the whole table of contents. pg_restore has read it before, so what is not understood here is no damage.
func (a *archive) contents() ([]item, error) {
	r := &contentsReader{in: bufio.NewReader(io.NewSectionReader(a.spool, 0, a.size)), left: a.size}
	items, err := r.items()
	if err != nil {
		return nil, wire.Failf(wire.CodeToolFailed, "read the dump's table of contents: %w", err).
			WithHint("restore without a choice of owners, privileges, roles and parts")
	}
	return items, nil
}

type contentsReader struct {
	in      *bufio.Reader
	left    int64 // bytes, at most
	intSize int
	offSize int
	format  int
	err     error // sticky
}

func (r *contentsReader) items() ([]item, error) {
	r.head()
	n := r.number()
	// Each entry takes more bytes than this.
	if r.err == nil && (n < 0 || int64(n) > r.left/8) {
		return nil, fmt.Errorf("%d entries", n)
	}
	var items []item
	for range n {
		items = append(items, r.item())
		if r.err != nil {
			return nil, r.err
		}
	}
	return items, r.err
}

func (r *contentsReader) head() {
	if magic := string(r.bytes(5)); magic != "PGDMP" && r.err == nil {
		r.err = errors.New("it does not begin as a dump in custom format")
	}
	major, minor := r.byte(), r.byte()
	r.byte() // revision
	r.intSize, r.offSize = r.byte(), r.byte()
	kind := r.byte()
	r.format = minor
	switch {
	case r.err != nil:
		return
	case major != 1 || minor < firstFormat || minor > lastFormat:
		r.err = fmt.Errorf("format %d.%d is not known", major, minor)
		return
	case kind != customByte || r.intSize < 1 || r.intSize > 8 || r.offSize < 1 || r.offSize > 8:
		r.err = errors.New("it is not in custom format")
		return
	}
	if minor >= 15 {
		r.byte() // compression
	} else {
		r.number()
	}
	for range 7 {
		r.number() // date
	}
	for range 3 {
		r.text() // database, versions
	}
}

func (r *contentsReader) item() (i item) {
	i.id = r.number()
	r.number() // whether it has data
	r.text()   // class
	r.text()   // object
	i.tag = r.text()
	i.kind = r.text()
	r.number() // section
	i.define = r.text()
	i.drop = r.text()
	r.text() // COPY
	i.schema = r.text()
	r.text() // tablespace
	if r.format >= 14 {
		r.text() // access method
	}
	if r.format >= 16 {
		r.number() // kind of relation
	}
	i.owner = r.text()
	r.text() // with OIDs
	for r.err == nil {
		text, ok := r.nullable()
		if !ok {
			break
		}
		id, err := strconv.Atoi(text)
		if err != nil && r.err == nil {
			r.err = fmt.Errorf("entry %d needs %q", i.id, text)
		}
		i.needs = append(i.needs, id)
	}
	r.byte() // state of the offset of the data
	r.bytes(int64(r.offSize))
	return i
}

func (r *contentsReader) bytes(n int64) []byte {
	if r.err != nil {
		return nil
	}
	if n < 0 || n > r.left {
		r.err = io.ErrUnexpectedEOF
		return nil
	}
	b := make([]byte, n)
	_, r.err = io.ReadFull(r.in, b)
	r.left -= n
	return b
}

func (r *contentsReader) byte() int {
	b := r.bytes(1)
	if r.err != nil {
		return 0
	}
	return int(b[0])
}

// number is a sign and a number of r.intSize bytes, the lowest first.
func (r *contentsReader) number() int {
	negative := r.byte() != 0
	var n uint64
	for i, b := range r.bytes(int64(r.intSize)) {
		n |= uint64(b) << (8 * i)
	}
	if n > 1<<31 && r.err == nil {
		r.err = fmt.Errorf("number %d", n)
	}
	if negative {
		return -int(n) //nolint:gosec // bounded above
	}
	return int(n) //nolint:gosec // bounded above
}

func (r *contentsReader) text() string {
	text, _ := r.nullable()
	return text
}

func (r *contentsReader) nullable() (text string, ok bool) {
	n := r.number()
	if n < 0 || r.err != nil {
		return "", false
	}
	return string(r.bytes(int64(n))), r.err == nil
}

// relation tells whether it is a table or what can stand for one.
func (i item) relation() bool {
	switch i.kind {
	case "TABLE", "FOREIGN TABLE", "VIEW", "MATERIALIZED VIEW", "SEQUENCE":
		return true
	}
	return false
}

func (i item) name() string {
	if i.schema == "" {
		return quoteName(i.tag)
	}
	return quoteName(i.schema) + "." + quoteName(i.tag)
}

// owned lists, as ALTER … OWNER TO wants them, the objects of the entry that have an owner of their own.
func (i item) owned() []string {
	switch i.kind {
	case "COLLATION", "CONVERSION", "DOMAIN", "FOREIGN TABLE", "MATERIALIZED VIEW", "SEQUENCE", "STATISTICS", "TABLE",
		"TEXT SEARCH CONFIGURATION", "TEXT SEARCH DICTIONARY", "TYPE", "VIEW",
		"FOREIGN DATA WRAPPER", "PROCEDURAL LANGUAGE", "SCHEMA", "SERVER":
		return []string{i.kind + " " + i.name()}
	case "AGGREGATE", "FUNCTION", "OPERATOR", "OPERATOR CLASS", "OPERATOR FAMILY", "PROCEDURE":
		// Only DROP has their arguments.
		if object, ok := strings.CutPrefix(i.drop, "DROP "); ok && strings.HasPrefix(object, i.kind+" ") {
			return []string{strings.TrimRight(object, ";\n")}
		}
	case "BLOB":
		return largeObjects(i.tag)
	case "BLOB METADATA":
		return largeObjects(i.define)
	}
	return nil
}

// largeObjects reads the numbers of large objects, one on a line.
func largeObjects(lines string) []string {
	var objects []string
	for line := range strings.Lines(lines) {
		if n, err := strconv.ParseUint(strings.TrimSpace(line), 10, 32); err == nil {
			objects = append(objects, fmt.Sprintf("LARGE OBJECT %d", n))
		}
	}
	return objects
}
