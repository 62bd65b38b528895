package mysql

import (
	"bytes"
	"slices"
	"strings"
)

// token is a word, a quoted name, a quoted text or a sign of a statement.
type token struct {
	kind     byte // 'w' word, 'n' name in backticks, 't' text in quotes, else the sign itself
	from, to int
}

// tokens splits a statement. Comments and the starts and ends of comments whose content is run are left out.
func (l *lexer) tokens(s []byte) []token {
	return (&lexer{escapes: l.escapes, ansi: l.ansi}).split(s)
}

func (l *lexer) split(s []byte) (found []token) {
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c <= ' ':
			i++
		case wordByte[c]:
			n := len(firstWord(s[i:]))
			found = append(found, token{'w', i, i + n})
			i += n
		case c == '\'' || c == '"' || c == '`':
			l.state, l.quote = inQuote, c
			from := i
			for i++; i < len(s) && l.state != inText; {
				if l.state == inEscape {
					l.state = inQuote
					i++
					continue
				}
				i += l.scanQuote(s[i:])
				if l.state == inText && i < len(s) && s[i] == c { // doubled: it goes on
					l.state = inQuote
					i++
				}
			}
			l.state = inText
			kind := byte('t')
			if c == '`' || c == '"' && l.ansi {
				kind = 'n'
			}
			found = append(found, token{kind, from, min(i, len(s))})
		case l.openComment(s[i:], true):
			n, _ := l.scanComment(s[i:], true)
			l.state = inText
			i += n
		case executable(s[i:]) > 0:
			i += executable(s[i:])
		case c == '*' && i+1 < len(s) && s[i+1] == '/':
			i += 2
		default:
			found = append(found, token{c, i, i + 1})
			i++
		}
	}
	return found
}

// definition is one statement under change.
type definition struct {
	text   []byte
	tokens []token
	edits  []edit
}

type edit struct {
	from, to int
	with     string
}

func (d *definition) is(i int, words ...string) bool {
	if i >= len(d.tokens) || d.tokens[i].kind != 'w' {
		return false
	}
	word := d.text[d.tokens[i].from:d.tokens[i].to]
	return slices.ContainsFunc(words, func(w string) bool { return bytes.EqualFold(word, []byte(w)) })
}

func (d *definition) sign(i int, c byte) bool { return i < len(d.tokens) && d.tokens[i].kind == c }

// name is what a quoted name says.
func (d *definition) name(i int) (string, bool) {
	if i >= len(d.tokens) || d.tokens[i].kind != 'n' {
		return "", false
	}
	quoted := string(d.text[d.tokens[i].from:d.tokens[i].to])
	q := quoted[:1]
	return strings.ReplaceAll(quoted[1:len(quoted)-1], q+q, q), true
}

// result is the text with all edits, which are in order.
func (d *definition) result() []byte {
	if len(d.edits) == 0 {
		return d.text
	}
	var out bytes.Buffer
	at := 0
	for _, e := range d.edits {
		out.Write(d.text[at:e.from])
		out.WriteString(e.with)
		at = e.to
	}
	out.Write(d.text[at:])
	return out.Bytes()
}

func (r *rewriter) parse(statement []byte) *definition {
	return &definition{text: statement, tokens: r.lex.tokens(statement)}
}

// change returns a definition as it is to be restored, nothing if it is not.
func (r *rewriter) change(statement []byte) []byte {
	d := r.parse(statement)
	switch {
	case d.is(0, "ALTER") && d.is(1, "DATABASE", "SCHEMA"):
		// The dump program names the database where it changes its character set for a routine: the name may be another one's
		// by now. Without it, the current database is meant.
		if _, named := d.name(2); named {
			d.edits = append(d.edits, edit{d.tokens[2].from, d.tokens[2].to, ""})
		}
	case d.is(0, "CREATE"):
		object := d.head(r.stripDefiners)
		if r.disableEvents && d.is(object, "EVENT") {
			d.disable(object)
		}
		switch {
		case d.is(object, "TRIGGER"):
			d.localize(object, r.onto)
		case d.is(object, "VIEW"):
			for i := 1; i+2 < object && r.invoker; i++ {
				if d.is(i, "SQL") && d.is(i+1, "SECURITY") && d.is(i+2, "DEFINER") {
					d.edits = append(d.edits, edit{d.tokens[i+2].from, d.tokens[i+2].to, "INVOKER"})
				}
			}
			if r.as != "" {
				d.rename(object+1, r.as)
			}
		}
	}
	if r.only != nil {
		object := 0
		for object < len(d.tokens) && !d.is(object, kinds...) {
			object++
		}
		if !r.only.defines(d, object) {
			return nil
		}
	}
	if r.unqualify != "" {
		d.qualify(r.unqualify, "")
	}
	return d.result()
}

// kinds of objects that a CREATE statement can be about; what stands before them are its options.
var kinds = []string{
	"TABLE", "VIEW", "TRIGGER", "PROCEDURE", "FUNCTION", "EVENT", "PACKAGE", "SEQUENCE", "DATABASE", "SCHEMA", "INDEX", "USER", "ROLE", "SERVER",
}

// head returns the token that says what is created, and takes the definer off.
func (d *definition) head(strip bool) (object int) {
	for i := 1; i < len(d.tokens); i++ {
		switch {
		case d.is(i, kinds...):
			return i
		case !d.is(i, "DEFINER") || !d.sign(i+1, '='):
			continue
		}
		last := d.definerEnd(i)
		if last >= len(d.tokens) {
			return len(d.tokens)
		}
		if strip {
			to := d.tokens[last].to
			if to < len(d.text) && d.text[to] == ' ' {
				to++
			}
			d.edits = append(d.edits, edit{d.tokens[i].from, to, ""})
		}
		i = last
	}
	return len(d.tokens)
}

// disable makes an event one that does not run. Its state stands before DO.
func (d *definition) disable(object int) {
	depth := 0
	for i := object; i < len(d.tokens) && !d.is(i, "DO"); i++ {
		switch {
		case d.sign(i, '('):
			depth++
		case d.sign(i, ')'):
			depth--
		case depth == 0 && d.is(i, "ENABLE"):
			d.edits = append(d.edits, edit{d.tokens[i].from, d.tokens[i].to, "DISABLE"})
			return
		}
	}
}

// localize takes database names off a trigger and its table: the dump program writes them as they were typed, and both
// are always in the same database. If onto is not empty, it is the table's name.
func (d *definition) localize(object int, onto string) {
	for i := object + 1; i < len(d.tokens) && !d.is(i, "FOR"); i++ {
		if onto != "" && d.is(i, "ON") && d.is(i-1, "INSERT", "UPDATE", "DELETE") {
			d.rename(i+1, onto)
			return
		}
		if d.named(i) && d.sign(i+1, '.') && d.named(i+2) {
			d.edits = append(d.edits, edit{d.tokens[i].from, d.tokens[i+1].to, ""})
		}
	}
}

func (d *definition) named(i int) bool { return d.sign(i, 'n') || d.sign(i, 'w') }

// rename gives what is named at i, with or without a database, another name.
func (d *definition) rename(i int, name string) {
	if !d.named(i) {
		return
	}
	last := i
	if d.sign(i+1, '.') && d.named(i+2) {
		last += 2
	}
	d.edits = append(d.edits, edit{d.tokens[i].from, d.tokens[last].to, quoteName(name)})
}

// definer is the account in DEFINER = …, as it is written.
func (d *definition) definer() string {
	for i := 1; i < len(d.tokens) && !d.is(i, kinds...); i++ {
		if !d.is(i, "DEFINER") || !d.sign(i+1, '=') {
			continue
		}
		if last := d.definerEnd(i); last < len(d.tokens) {
			return string(d.text[d.tokens[i+2].from:d.tokens[last].to])
		}
	}
	return ""
}

// definerEnd is the last token of the account in the DEFINER clause that begins at i.
func (d *definition) definerEnd(i int) int {
	last := i + 2 // the user, or CURRENT_USER
	switch {
	case d.sign(last+1, '@'):
		last += 2
	case d.sign(last+1, '(') && d.sign(last+2, ')'):
		last += 2
	}
	return last
}

// qualify gives sequences of one database another one's name, or none, in the functions that use them.
func (d *definition) qualify(from, to string) {
	for i := range d.tokens {
		if !d.is(i, "nextval", "lastval", "setval") || !d.sign(i+1, '(') || !d.sign(i+3, '.') {
			continue
		}
		if name, ok := d.name(i + 2); ok && name == from {
			with := ""
			if to != "" {
				with = quoteName(to) + "."
			}
			d.edits = append(d.edits, edit{d.tokens[i+2].from, d.tokens[i+3].to, with})
		}
	}
	slices.SortStableFunc(d.edits, func(a, b edit) int { return a.from - b.from })
}

// requalify moves the sequences in an expression from one database to another.
func requalify(expression, from, to string) string {
	l := lexer{delimiter: []byte(";"), escapes: true}
	d := &definition{text: []byte(expression), tokens: l.tokens([]byte(expression))}
	d.qualify(from, to)
	return string(d.result())
}
