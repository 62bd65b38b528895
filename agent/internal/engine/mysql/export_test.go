package mysql

import (
	"bytes"

	"devflowbackup/agent/internal/engine"
)

// What the tests of pure functions need.

// Rewrite passes a dump through a rewriter in pieces of this size.
func Rewrite(dump string, piece int, strip, events, sandbox bool, unqualify string) (string, int64, error) {
	var out bytes.Buffer
	r := newRewriter(func(b []byte) error {
		out.Write(b)
		return nil
	})
	r.stripDefiners, r.disableEvents, r.dropSandbox, r.unqualify = strip, events, sandbox, unqualify
	for rest := []byte(dump); len(rest) > 0; {
		n := min(piece, len(rest))
		if _, err := r.Write(bytes.Clone(rest[:n])); err != nil {
			return out.String(), r.rows, err
		}
		rest = rest[n:]
	}
	return out.String(), r.rows, r.Close()
}

// RewriteOnly passes only these tables of a dump, and returns what was noted.
func RewriteOnly(dump string, piece int, tables ...string) (out, notes string, err error) {
	var only []engine.Selection
	for _, name := range tables {
		only = append(only, engine.Selection{Table: name})
	}
	var b bytes.Buffer
	r := newRewriter(func(piece []byte) error {
		b.Write(piece)
		return nil
	})
	if r.only, err = newSelection(only, func(text string) { notes += text + "\n" }); err != nil {
		return "", "", err
	}
	for rest := []byte(dump); len(rest) > 0; {
		n := min(piece, len(rest))
		if _, err := r.Write(bytes.Clone(rest[:n])); err != nil {
			return b.String(), notes, err
		}
		rest = rest[n:]
	}
	err = r.Close()
	return b.String(), notes, err
}

// SameIdentity compares two identities.
func SameIdentity(a, b string) bool { return sameIdentity(a, b) }

// NewDiscardingRewriter is one whose output goes nowhere, for measurements.
func NewDiscardingRewriter() interface {
	Write(b []byte) (int, error)
	Close() error
} {
	r := newRewriter(func([]byte) error { return nil })
	r.stripDefiners, r.disableEvents, r.dropSandbox = true, true, true
	return r
}

// DumpArgs are the arguments for a program and a server, each told by its version line.
func DumpArgs(program, version string, history bool, database string) []string {
	b, err := parseProgram(program)
	if err != nil {
		panic(err)
	}
	return dumpArgs(b, facts{server: parseServer(version, ""), history: history}, "/proc/self/fd/3", database)
}

// ClientArgs are the arguments for a client, told by its version line.
func ClientArgs(program, database string) []string {
	b, err := parseProgram(program)
	if err != nil {
		panic(err)
	}
	return clientArgs(b, "/proc/self/fd/3", database)
}

// ParseProgram reads an answer to --version.
func ParseProgram(answer string) (flavour, version string, err error) {
	b, err := parseProgram(answer)
	return b.flavour, b.version, err
}

// ParseServer reads what a server tells of itself.
func ParseServer(version, comment string) (flavour, number string, major, minor int) {
	s := parseServer(version, comment)
	return s.flavour, s.version, s.major, s.minor
}

// QuoteOption is a value in an option file.
func QuoteOption(value string) string { return quoteOption(value) }

// TLSOptions are those of a program.
func TLSOptions(flavour, mode, authorities string) [][2]string {
	return tlsOptions(flavour, mode, authorities)
}

// Problems reads lines of SHOW GRANTS and says why the account must not restore.
func Problems(definers string, lines ...string) []string {
	r := rights{global: privileges{}}
	for _, line := range lines {
		r.add(line)
	}
	return r.problems(definers)
}

// Lacks reads lines of SHOW GRANTS and lists what a dump of the database would lack.
func Lacks(database string, lines ...string) []string {
	r := rights{global: privileges{}}
	for _, line := range lines {
		r.add(line)
	}
	return r.lacks(database, dumpPrivileges)
}

// ErrorNumber is the first error that a program's log tells.
func ErrorNumber(log string) int { return errorNumber(log) }

// Match tells whether a name fits a pattern of the configuration.
func Match(pattern, name string) bool { return match(pattern, name) }

// OnStep calls f before each step of Publish, and after each of Swap and Settle.
func (e *Engine) OnStep(f func(step string) error) { e.beforeStep = f }
