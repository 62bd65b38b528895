package mysql

import (
	"bytes"
	"regexp"
	"strings"

	"devflowbackup/shared/wire"
)

// rewriter passes a dump on, statement by statement, as the client program will split it, and changes what must not be
// restored as it is. Rows pass by uncopied. Memory is bounded by maxDefinition.
//
// It reads what mysqldump and mariadb-dump write, byte for byte; of other input it promises only to lose and to add
// nothing but what is named here.
type rewriter struct {
	out func([]byte) error

	stripDefiners bool // take DEFINER = … off
	disableEvents bool // ENABLE becomes DISABLE
	dropSandbox   bool // take off the line that only MariaDB's client knows
	// unqualify takes this database's name off sequences in defaults, where the dump program writes it.
	unqualify string
	onto      string // the table of a trigger, if not the one in its text
	invoker   bool   // SQL SECURITY DEFINER of a view becomes INVOKER
	as        string // the name of a view, if not the one in its text

	only *selection // nil: all

	carry []byte // not looked at yet: more is needed to tell what it is
	lex   lexer
	kind  statementKind
	held  []byte // a definition so far
	begun bool   // past the beginning of the stream
	rows  int64  // INSERT statements
	tail  []byte // the last bytes of all
	err   error
}

type statementKind int

const (
	between statementKind = iota // no statement has begun
	passing
	holding
	skipping
)

const (
	// maxDefinition is the longest CREATE, ALTER or SET statement, in bytes.
	maxDefinition = 16 << 20
	// maxAhead is how much is looked at to tell what a statement is.
	maxAhead = 1 << 10
	tailSize = 256
)

func newRewriter(out func([]byte) error) *rewriter {
	return &rewriter{out: out, lex: lexer{delimiter: []byte(";"), escapes: true}}
}

// Write passes on all that can be told of what came so far.
func (r *rewriter) Write(b []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	r.keepTail(b)
	buf := b
	if len(r.carry) > 0 {
		buf = append(r.carry, b...) //nolint:gocritic // carry is replaced below
		r.carry = nil
	}
	n, err := r.process(buf, false)
	if err != nil {
		r.err = err
		return 0, err
	}
	r.carry = bytes.Clone(buf[n:])
	return len(b), nil
}

func (r *rewriter) keepTail(b []byte) {
	if len(b) >= tailSize {
		r.tail = append(r.tail[:0], b[len(b)-tailSize:]...)
		return
	}
	r.tail = append(r.tail, b...)
	if over := len(r.tail) - tailSize; over > 0 {
		r.tail = append(r.tail[:0], r.tail[over:]...)
	}
}

// Close passes the rest on and fails unless the dump came to its end: its last line is the end mark, every statement is
// terminated, every quote closed.
func (r *rewriter) Close() error {
	if r.err != nil {
		return r.err
	}
	if !complete(r.tail) {
		r.err = wire.Failf(wire.CodeIncompleteDump, "the dump is not complete: its last line is not the end mark (-- Dump completed)")
		return r.err
	}
	_, r.err = r.process(r.carry, true)
	r.carry = nil
	if r.err == nil && (r.kind != between || r.lex.state != inText) {
		r.err = wire.Failf(wire.CodeCorrupt, "the dump is damaged: a statement or a quoted text does not end")
	}
	return r.err
}

// endMark is the last line of every dump.
var endMark = regexp.MustCompile(`(?:^|\n)-- Dump completed(?: on \d{4}-\d\d-\d\d +\d{1,2}:\d\d:\d\d)?\r?\n$`)

func complete(tail []byte) bool { return endMark.Match(tail) }

// process returns how much of buf it is done with. With last, that is all of it.
func (r *rewriter) process(buf []byte, last bool) (done int, err error) {
	i, from := 0, 0 // buf[from:i] is to be passed on as it is
	flush := func(upTo int) error {
		if upTo <= from {
			return nil
		}
		piece := buf[from:upTo]
		from = upTo
		switch r.kind {
		case holding:
		case skipping:
			return nil
		default:
			return r.out(piece)
		}
		if len(r.held)+len(piece) > maxDefinition {
			return wire.Failf(wire.CodeCorrupt, "the dump holds a definition of more than %d MiB", maxDefinition>>20)
		}
		r.held = append(r.held, piece...)
		return nil
	}
	if !r.begun {
		skip, more := sandboxLine(buf, last)
		if more {
			return 0, nil
		}
		r.begun = true
		if r.dropSandbox {
			i, from = skip, skip
		} else {
			i = skip
		}
	}
	for i < len(buf) {
		if r.kind == between {
			n, more := r.begin(buf[i:], last)
			if more {
				if err := flush(i + n); err != nil {
					return 0, err
				}
				return i + n, nil
			}
			if kind := r.kind; kind == holding || kind == skipping {
				r.kind = between
				if err := flush(i + n); err != nil {
					return 0, err
				}
				r.kind = kind
			}
			i += n
			continue
		}
		n, end := r.lex.scan(buf[i:], last)
		i += n
		if !end {
			// The rest is too short to tell.
			if err := flush(i); err != nil {
				return 0, err
			}
			return i, nil
		}
		if r.kind == skipping {
			_ = flush(i) // goes nowhere
		}
		if r.kind == holding {
			if err := flush(i); err != nil {
				return 0, err
			}
			if err := r.release(); err != nil {
				return 0, err
			}
		}
		r.kind = between
	}
	return i, flush(i)
}

// release passes a held definition on, changed as needed.
func (r *rewriter) release() error {
	statement := r.held
	r.held = nil
	r.lex.learnMode(statement)
	if statement = r.change(statement); len(statement) == 0 {
		return nil
	}
	return r.out(statement)
}

var sandboxStart = [][]byte{[]byte(`/*M!999999\-`), []byte(`/*!999999\-`)}

// sandboxLine measures the first line if it is the one that switches MariaDB's client to its sandbox mode. more says that
// too little has come to tell.
func sandboxLine(buf []byte, last bool) (n int, more bool) {
	for _, start := range sandboxStart {
		if !bytes.HasPrefix(buf, start) {
			if !last && len(buf) < len(start) && bytes.HasPrefix(start, buf) {
				return 0, true
			}
			continue
		}
		end := bytes.IndexByte(buf, '\n')
		if end < 0 {
			return 0, !last && len(buf) < maxAhead
		}
		return end + 1, false
	}
	return 0, false
}

// begin passes over what stands between statements, and tells from its first word what kind of statement begins. n bytes
// are between statements or, after more, as many as can be told.
func (r *rewriter) begin(buf []byte, last bool) (n int, more bool) {
	for n < len(buf) {
		rest := buf[n:]
		if r.lex.state != inText {
			skipped, _ := r.lex.scanComment(rest, last)
			if skipped == 0 {
				return n, true
			}
			n += skipped
			continue
		}
		switch c := rest[0]; {
		case c == ' ' || c == '\n' || c == '\t' || c == '\r':
			n++
			continue
		case bytes.HasPrefix(rest, r.lex.delimiter):
			n += len(r.lex.delimiter) // an empty statement
			continue
		}
		// For a selection a name must be whole, and it may hold a line end.
		if !last && len(rest) < maxAhead && (r.only != nil || bytes.IndexByte(rest, '\n') < 0) {
			return n, true
		}
		if r.lex.openComment(rest, last) {
			continue
		}
		opened := executable(rest)
		word := firstWord(bytes.TrimLeft(rest[opened:], " \t\r\n"))
		switch {
		case opened == 0 && bytes.EqualFold(word, []byte("DELIMITER")):
			end := bytes.IndexByte(rest, '\n')
			if end < 0 {
				end = len(rest) - 1
			}
			if d := bytes.Fields(rest[len(word) : end+1]); len(d) > 0 {
				r.lex.delimiter = bytes.Clone(d[0])
			}
			n += end + 1
			continue
		case bytes.EqualFold(word, []byte("INSERT")), bytes.EqualFold(word, []byte("REPLACE")):
			r.rows++
			r.kind = passing
		case bytes.EqualFold(word, []byte("CREATE")), bytes.EqualFold(word, []byte("ALTER")), bytes.EqualFold(word, []byte("SET")):
			r.kind = holding
		default:
			r.kind = passing
		}
		if r.only != nil && r.kind == passing && !r.only.passes(r.parse(rest[:min(len(rest), maxAhead)])) {
			r.kind = skipping
		}
		return n, false
	}
	return n, false
}

var executableStart = regexp.MustCompile(`^/\*M?!\d*`)

// executable measures the start of a comment whose content is run.
func executable(b []byte) int {
	if !bytes.HasPrefix(b, []byte("/*")) {
		return 0
	}
	return len(executableStart.Find(b[:min(len(b), 16)]))
}

func firstWord(b []byte) []byte {
	i := 0
	for i < len(b) && wordByte[b[i]] {
		i++
	}
	return b[:i]
}

var wordByte = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= 0x80 || c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
	}
	return t
}()

// lexer finds the end of statements as the client programs do.
type lexer struct {
	delimiter []byte
	escapes   bool // a backslash in a text escapes
	ansi      bool // double quotes are around names

	state lexState
	quote byte
}

type lexState int

const (
	inText lexState = iota
	inQuote
	inEscape // after a backslash in a quote
	inLine   // a comment to the end of the line
	inBlock  // a comment to */
)

// special are the bytes that mean something outside of quotes, besides the delimiter's first.
var special = func() (t [256]bool) {
	for _, c := range "'\"`-#/" {
		t[c] = true
	}
	return t
}()

// scan goes through a statement up to and with its delimiter, or as far as can be told; with last, to the end of b.
func (l *lexer) scan(b []byte, last bool) (n int, end bool) {
	first := l.delimiter[0]
	for n < len(b) {
		switch l.state {
		case inText:
			for n < len(b) && !special[b[n]] && b[n] != first {
				n++
			}
			if n == len(b) {
				return n, false
			}
			rest := b[n:]
			switch {
			case bytes.HasPrefix(rest, l.delimiter):
				return n + len(l.delimiter), true
			case !last && len(rest) < len(l.delimiter) && bytes.HasPrefix(l.delimiter, rest):
				return n, false
			case rest[0] == '\'' || rest[0] == '"' || rest[0] == '`':
				l.state, l.quote = inQuote, rest[0]
				n++
			case !last && len(rest) < 4 && (rest[0] == '-' || rest[0] == '/'):
				return n, false
			case l.openComment(rest, last):
			default:
				n++
			}
		case inQuote:
			n += l.scanQuote(b[n:])
		case inEscape:
			l.state = inQuote
			n++
		default:
			skipped, more := l.scanComment(b[n:], last)
			n += skipped
			if more {
				return n, false
			}
		}
	}
	return n, false
}

func (l *lexer) scanQuote(b []byte) (n int) {
	q := l.quote
	if !l.escapes || q == '`' || q == '"' && l.ansi {
		n = bytes.IndexByte(b, q)
		if n < 0 {
			return len(b)
		}
		l.state = inText
		return n + 1
	}
	// In windows: looking far ahead for a quote again after each backslash would take time by the square of the length.
	const window = 512
	for n < len(b) {
		piece := b[n:min(len(b), n+window)]
		end := bytes.IndexByte(piece, q)
		if end >= 0 {
			piece = piece[:end]
		}
		if escape := bytes.IndexByte(piece, '\\'); escape >= 0 {
			l.state = inEscape
			return n + escape + 1
		}
		if end >= 0 {
			l.state = inText
			return n + end + 1
		}
		n += len(piece)
	}
	return n
}

// openComment tells whether b begins with a comment, and enters it. A comment whose content is run is none.
func (l *lexer) openComment(b []byte, last bool) bool {
	switch {
	case b[0] == '#':
		l.state = inLine
	case b[0] == '-' && len(b) >= 2 && b[1] == '-' && (len(b) > 2 && b[2] <= ' ' || len(b) == 2 && last):
		l.state = inLine
	case b[0] == '/' && len(b) >= 2 && b[1] == '*' && executable(b) == 0:
		l.state = inBlock
	default:
		return false
	}
	return true
}

// scanComment goes on to the end of a comment, or as far as can be told.
func (l *lexer) scanComment(b []byte, last bool) (n int, more bool) {
	mark := []byte("\n")
	if l.state == inBlock {
		mark = []byte("*/")
	}
	if i := bytes.Index(b, mark); i >= 0 {
		l.state = inText
		return i + len(mark), false
	}
	if !last && l.state == inBlock && b[len(b)-1] == '*' {
		return len(b) - 1, true
	}
	if last && l.state == inLine {
		l.state = inText
	}
	return len(b), true
}

var modeAssignment = regexp.MustCompile(`(?is)(?:^|[^@_\w])sql_mode\s*=\s*('[^']*'|"[^"]*"|\S)`)

// learnMode follows the settings that change how quotes are read, as the client does by what the server tells it.
func (l *lexer) learnMode(statement []byte) {
	opened := executable(statement)
	if !bytes.EqualFold(firstWord(bytes.TrimLeft(statement[opened:], " ")), []byte("SET")) {
		return
	}
	m := modeAssignment.FindSubmatch(statement)
	if m == nil {
		return
	}
	mode := strings.ToUpper(string(m[1]))
	l.escapes = !strings.Contains(mode, "NO_BACKSLASH_ESCAPES")
	l.ansi = strings.Contains(mode, "ANSI_QUOTES")
}
