package tool

import (
	"fmt"
	"strings"
	"sync"
	"unicode"

	"devflowbackup/shared/secret"
)

const (
	logHead = 16 << 10
	logTail = 48 << 10
)

// Log keeps the first 16 KiB and the last 48 KiB of what is written to it. Writing never fails and never blocks for
// long, so that a program that floods its standard error goes on.
type Log struct {
	secrets []secret.String

	mu      sync.Mutex
	head    []byte
	tail    []byte // a ring once it is full
	next    int    // where the ring goes on
	dropped int64
}

// NewLog makes a log whose String masks these secrets.
func NewLog(secrets ...secret.String) *Log { return &Log{secrets: secrets} }

// Write keeps what fits.
func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(b)
	if room := logHead - len(l.head); room > 0 {
		take := min(room, len(b))
		l.head = append(l.head, b[:take]...)
		b = b[take:]
	}
	if over := len(b) - logTail; over > 0 {
		l.dropped += int64(over)
		b = b[over:]
	}
	for len(b) > 0 {
		if len(l.tail) < logTail {
			take := min(logTail-len(l.tail), len(b))
			l.tail = append(l.tail, b[:take]...)
			b = b[take:]
			continue
		}
		copied := copy(l.tail[l.next:], b)
		l.next = (l.next + copied) % logTail
		l.dropped += int64(copied)
		b = b[copied:]
	}
	return n, nil
}

// String is the text kept, scrubbed, as valid UTF-8 without control characters other than tab and line end.
func (l *Log) String() string {
	l.mu.Lock()
	head, dropped := string(l.head), l.dropped
	tail := string(l.tail[l.next:]) + string(l.tail[:l.next])
	l.mu.Unlock()
	if dropped == 0 {
		return clean(secret.Scrub(head+tail, l.secrets...))
	}
	// A secret that was cut in two is not recognised: its remains go too, after the whole ones are masked.
	cut := 0
	for _, s := range l.secrets {
		cut = max(cut, 3*len(s))
	}
	head, tail = secret.Scrub(head, l.secrets...), secret.Scrub(tail, l.secrets...)
	head, tail = head[:max(0, len(head)-cut)], tail[min(cut, len(tail)):]
	return clean(head + fmt.Sprintf("\n… %d bytes left out …\n", dropped) + tail)
}

func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}
