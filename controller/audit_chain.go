package controller

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// auditEncoding names the canonical encoding. Another one gets another name: what was sealed is verified as it was sealed.
const auditEncoding = "devflow-audit-1\n"

// AuditStart is the hash before the first entry.
var AuditStart = strings.Repeat("0", 2*sha256.Size)

// Canonical is the encoding of an entry that its hash is over: a line that names the encoding, then seq, id, at, actor, token_id,
// on_behalf_of, action, project_id, subject, detail, remote and result, in this order. Each is its length in bytes, a colon, the value
// and a newline; what is null is a hyphen and a newline. The time is RFC 3339 in UTC with microseconds. The detail is JSON without
// spaces, keys in the order of their bytes, numbers as the catalog prints them, and in texts no escapes but of the quotation mark, the
// backslash and the control characters, as RFC 8785 has them.
func (e AuditEntry) Canonical() ([]byte, error) {
	detail, err := canonicalJSON(e.Detail)
	if err != nil {
		return nil, fmt.Errorf("encode the detail of audit entry %d: %w", e.ID, err)
	}
	b := []byte(auditEncoding)
	value := func(v string) {
		b = strconv.AppendInt(b, int64(len(v)), 10)
		b = append(append(append(b, ':'), v...), '\n')
	}
	numeral := func(v *int64) {
		if v == nil {
			b = append(b, "-\n"...)
			return
		}
		value(strconv.FormatInt(*v, 10))
	}
	numeral(e.Seq)
	numeral(&e.ID)
	value(e.At.UTC().Format("2006-01-02T15:04:05.000000Z"))
	value(e.Actor)
	numeral(e.TokenID)
	value(e.OnBehalfOf)
	value(e.Action)
	numeral(e.ProjectID)
	value(e.Subject)
	value(string(detail))
	value(e.Remote)
	value(e.Result)
	return b, nil
}

// ChainHash is what seals an entry: SHA-256 over the hash of the entry before it and the canonical encoding, hexadecimal.
func (e AuditEntry) ChainHash(prev string) (string, error) {
	before, err := hex.DecodeString(prev)
	if err != nil || len(before) != sha256.Size {
		return "", fmt.Errorf("%.80q is not the hash of an audit entry", prev)
	}
	text, err := e.Canonical()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append(before, text...))
	return hex.EncodeToString(sum[:]), nil
}

// Seal puts an entry behind the head. The zero head is before the first entry.
func (h AuditHead) Seal(e AuditEntry) (AuditEntry, error) {
	seq, prev := h.Seq+1, h.Hash
	if h.Seq == 0 {
		prev = AuditStart
	}
	sealed := e
	sealed.Seq, sealed.PrevHash = &seq, prev
	var err error
	sealed.Hash, err = sealed.ChainHash(prev)
	return sealed, err
}

// Text is the head as people keep it: SEQ:HASH.
func (h AuditHead) Text() string { return strconv.FormatInt(h.Seq, 10) + ":" + h.Hash }

// ParseAuditHead reads SEQ:HASH.
func ParseAuditHead(s string) (AuditHead, error) {
	number, hash, _ := strings.Cut(strings.TrimSpace(s), ":")
	seq, err := strconv.ParseInt(number, 10, 64)
	sum, herr := hex.DecodeString(hash)
	if err != nil || seq < 0 || herr != nil || len(sum) != sha256.Size {
		return AuditHead{}, Invalid("head", "%.120q is not a head of the audit log: a number, a colon and 64 hexadecimal digits", s)
	}
	return AuditHead{Seq: seq, Hash: hex.EncodeToString(sum)}, nil
}

// KnownHead is a head that was kept outside of the log, and where.
type KnownHead struct {
	AuditHead
	Source string // such as "the head given"
}

func (k KnownHead) String() string {
	if k.At.IsZero() {
		return k.Source
	}
	return k.Source + " of " + k.At.UTC().Format("2006-01-02 15:04:05 UTC")
}

// AuditFault is the first row of a chain that is wrong. ID is 0 for a row that is missing.
type AuditFault struct {
	Seq, ID int64
	Problem string
}

func (f *AuditFault) Error() string { return f.Problem }

// AuditChain checks entries one after the other, in the order of seq. A chain starts at 1, or behind the head that it was resumed
// from; an extract starts anywhere, and a filtered one may leave entries out: of these each entry is still checked against its own
// hash, and each two that are neighbours against one another.
type AuditChain struct {
	known    map[int64][]KnownHead
	newest   KnownHead // of the known
	agreed   KnownHead // the newest that was compared and is right
	last     AuditHead
	extract  bool
	filtered bool

	Rows     int64 // sealed ones
	Unsealed int64 // that were skipped
	Compared int   // known heads
	Gaps     int64 // entries that a filtered extract leaves out
	First    int64 // seq of the first row; 0: none
}

// NewAuditChain checks a whole chain.
func NewAuditChain(known []KnownHead) *AuditChain { return ResumeAuditChain(AuditHead{}, known) }

// ResumeAuditChain checks what follows a head that is known to be right.
func ResumeAuditChain(from AuditHead, known []KnownHead) *AuditChain {
	c := &AuditChain{known: map[int64][]KnownHead{}, last: from}
	if from.Seq == 0 {
		c.last.Hash = AuditStart
	}
	for _, k := range known {
		if k.Seq <= 0 {
			continue
		}
		c.known[k.Seq] = append(c.known[k.Seq], k)
		if k.Seq > c.newest.Seq {
			c.newest = k
		}
	}
	return c
}

// NewAuditExtract checks a part of a chain.
func NewAuditExtract(known []KnownHead, filtered bool) *AuditChain {
	c := NewAuditChain(known)
	c.extract, c.filtered = true, filtered
	return c
}

// Head is the last entry that was checked.
func (c *AuditChain) Head() AuditHead {
	if c.last.Seq == 0 {
		return AuditHead{Hash: AuditStart}
	}
	return c.last
}

// Add checks the next entry. After a fault nothing more is to be added.
func (c *AuditChain) Add(e AuditEntry) *AuditFault {
	if e.Seq == nil {
		c.Unsealed++
		return nil
	}
	seq := *e.Seq
	fault := func(seq, id int64, format string, args ...any) *AuditFault {
		return &AuditFault{Seq: seq, ID: id, Problem: fmt.Sprintf(format, args...)}
	}
	begins := c.extract && c.Rows == 0
	follows := seq == c.last.Seq+1
	switch {
	case follows || begins:
	case seq <= c.last.Seq:
		return fault(seq, e.ID, "row %d (id %d) comes after row %d: it is there twice, or out of order", seq, e.ID, c.last.Seq)
	case c.filtered:
		c.Gaps += seq - c.last.Seq - 1
	case seq == c.last.Seq+2:
		return fault(seq-1, 0, "row %d is missing: row %d (id %d) follows row %d", seq-1, seq, e.ID, c.last.Seq)
	default:
		return fault(c.last.Seq+1, 0, "rows %d to %d are missing: row %d (id %d) follows row %d", c.last.Seq+1, seq-1, seq, e.ID, c.last.Seq)
	}
	hash, err := e.ChainHash(e.PrevHash)
	if err != nil || hash != e.Hash {
		return fault(seq, e.ID, "row %d (id %d) is not as it was sealed: its fields do not give its hash", seq, e.ID)
	}
	if follows && e.PrevHash != c.last.Hash {
		return fault(seq, e.ID, "row %d (id %d) does not follow the row %d that is there: one of the two was replaced", seq, e.ID, seq-1)
	}
	for _, k := range c.known[seq] {
		if k.Hash == e.Hash {
			c.Compared++
			c.agreed = k
			continue
		}
		since := "from the beginning"
		if c.agreed.Seq > 0 {
			since = fmt.Sprintf("after row %d, which still agrees with %s", c.agreed.Seq, c.agreed)
		}
		return fault(seq, e.ID, "row %d (id %d) is not the one that %s knows: rows were written anew, somewhere %s", seq, e.ID, k, since)
	}
	if c.Rows == 0 {
		c.First = seq
	}
	c.Rows++
	c.last = AuditHead{Seq: seq, Hash: e.Hash, At: e.At}
	return nil
}

// End is called after the last entry: a known head beyond it shows that the tail is gone.
func (c *AuditChain) End() *AuditFault {
	if c.filtered || c.newest.Seq <= c.last.Seq {
		return nil
	}
	return &AuditFault{Seq: c.last.Seq + 1, Problem: fmt.Sprintf("the rows after %d are gone: %s says that there were %d", c.last.Seq, c.newest, c.newest.Seq)}
}

// ReadAuditExport gives each entry of an export, in its order.
func ReadAuditExport(r io.Reader, entry func(AuditEntry) error) error {
	d := json.NewDecoder(r)
	for n := 1; ; n++ {
		var e AuditEntry
		switch err := d.Decode(&e); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read entry %d of the export: %w", n, err)
		}
		if err := entry(e); err != nil {
			return err
		}
	}
}

// canonicalJSON is the one encoding of a JSON value. Nothing is what an empty object is.
func canonicalJSON(raw json.RawMessage) ([]byte, error) {
	if len(raw) == 0 {
		return []byte("{}"), nil
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return appendJSON(nil, v), nil
}

func appendJSON(b []byte, v any) []byte {
	switch v := v.(type) {
	case bool:
		return strconv.AppendBool(b, v)
	case json.Number:
		return append(b, v...)
	case string:
		return appendJSONText(b, v)
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, e)
		}
		return append(b, ']')
	case map[string]any:
		b = append(b, '{')
		for i, k := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendJSONText(b, k), ':')
			b = appendJSON(b, v[k])
		}
		return append(b, '}')
	default:
		return append(b, "null"...)
	}
}

var jsonEscapes = map[rune]string{'"': `\"`, '\\': `\\`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`}

func appendJSONText(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch escape, ok := jsonEscapes[r]; {
		case ok:
			b = append(b, escape...)
		case r < ' ':
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}
