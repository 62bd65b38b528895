package tool

import (
	"bytes"
	"io"
)

// longestLine is how long a line may be that Command.Watch is shown; one that is longer is kept unseen.
const longestLine = 4 << 10

// lines passes on the lines that keep wants, whole, and those that are too long to be shown to it.
type lines struct {
	to   io.Writer
	keep func(line string) bool
	rest []byte // of a line whose end has not come
	long bool   // its beginning was passed on
}

// Write never fails.
func (l *lines) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n') + 1
		part := b
		if end > 0 {
			part = b[:end]
		}
		b = b[len(part):]
		if !l.long && len(l.rest)+len(part) > longestLine {
			l.long = true
			_, _ = l.to.Write(l.rest)
			l.rest = l.rest[:0]
		}
		if l.long {
			_, _ = l.to.Write(part)
		} else {
			l.rest = append(l.rest, part...)
		}
		if end > 0 {
			l.end()
		}
	}
	return n, nil
}

// end takes what has come as a whole line.
func (l *lines) end() {
	if len(l.rest) > 0 && l.keep(string(bytes.TrimSuffix(l.rest, []byte("\n")))) {
		_, _ = l.to.Write(l.rest)
	}
	l.rest, l.long = l.rest[:0], false
}
