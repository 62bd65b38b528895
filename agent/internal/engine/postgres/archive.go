package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"devflowbackup/agent/internal/engine/tool"
	"devflowbackup/shared/wire"
)

// archive is the beginning of a dump in custom format, up to the end of its table of contents, and what is in that.
type archive struct {
	e       *Engine
	spool   *os.File // in memory
	size    int64
	tried   int64
	program binary // reads the table of contents

	list    []string // as pg_restore --list prints it, without the header
	version string   // of the pg_dump that wrote it
}

const (
	firstTry = 256 << 10
	// maxContents bounds the memory for a table of contents; 100,000 tables take about half of it.
	maxContents = 256 << 20
	maxListing  = 128 << 20
)

func (e *Engine) newArchive(ctx context.Context) (*archive, error) {
	program, err := e.newest(ctx, "pg_restore")
	if err != nil {
		return nil, err
	}
	spool, err := tool.MemoryFile("contents", nil)
	if err != nil {
		return nil, err
	}
	return &archive{e: e, spool: spool, program: program}, nil
}

// add keeps b and tells whether the table of contents is complete now. last says that nothing follows.
func (a *archive) add(ctx context.Context, b []byte, last bool) (complete bool, err error) {
	n, err := a.spool.WriteAt(b, a.size)
	a.size += int64(n)
	if err != nil {
		return false, fmt.Errorf("keep the beginning of the dump: %w", err)
	}
	if a.size == 0 {
		return false, corrupt("it is empty")
	}
	if !last && a.size < max(firstTry, 2*a.tried) {
		return false, nil
	}
	a.tried = a.size
	out, err := a.run(ctx, nil, "--list", "--create")
	var exit *tool.ExitError
	switch {
	case err == nil:
		return true, a.parse(string(out))
	case !errors.As(err, &exit):
		return false, err
	case strings.Contains(exit.Log, "unsupported version"):
		return false, wire.Failf(wire.CodeToolTooOld, "pg_restore %s is older than the pg_dump that made the dump: %w", a.program.version, err).
			WithHint("install the newest postgresql-client")
	case !strings.Contains(exit.Log, "end of file") && !strings.Contains(exit.Log, "too short"):
		return false, corrupt("pg_restore does not read it: %w", err)
	case last:
		return false, corrupt("it ends within its table of contents: %w", err)
	case a.size > maxContents:
		return false, wire.Failf(wire.CodeToolFailed, "the dump's table of contents is longer than %d MiB", maxContents>>20)
	}
	return false, nil
}

func corrupt(format string, args ...any) *wire.Failure {
	return wire.Failf(wire.CodeCorrupt, "read the dump: "+format, args...)
}

// run runs pg_restore on the beginning of the dump. list, if any, selects entries.
func (a *archive) run(ctx context.Context, list []string, args ...string) ([]byte, error) {
	in, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", a.spool.Fd()))
	if err != nil {
		return nil, fmt.Errorf("open the beginning of the dump: %w", err)
	}
	defer in.Close()
	c := tool.Command{
		Path: a.program.path, Env: []string{"LC_ALL=C.UTF-8"}, Stdin: in,
		StallTimeout: defaultStall, Secrets: a.e.secrets(),
	}
	if list != nil {
		selected, err := listFile(list)
		if err != nil {
			return nil, err
		}
		defer selected.Close()
		c.Files = []*os.File{selected}
		args = append(args, "--use-list="+tool.FilePath(0))
	}
	c.Args = args
	out, _, err := tool.Run(ctx, c, maxListing)
	return out, err
}

func listFile(list []string) (*os.File, error) {
	return tool.MemoryFile("list", []byte(strings.Join(list, "\n")+"\n"))
}

var dumpedBy = regexp.MustCompile(`^; +Dumped by pg_dump version: ([0-9][^ ]*)`)

func (a *archive) parse(text string) error {
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch m := dumpedBy.FindStringSubmatch(line); {
		case m != nil:
			a.version = m[1]
		case line != "" && !strings.HasPrefix(line, ";"):
			a.list = append(a.list, line)
		}
	}
	if a.version == "" {
		return corrupt("it does not say which pg_dump made it")
	}
	return nil
}

// copyTo writes what was kept.
func (a *archive) copyTo(w io.Writer) error {
	_, err := io.Copy(w, io.NewSectionReader(a.spool, 0, a.size))
	return err
}

func (a *archive) close() { _ = a.spool.Close() }

var listLine = regexp.MustCompile(`^\d+; \d+ \d+ (.*)$`)

// entry is a line of the list without its numbers: "TABLE public t postgres".
func entry(line string) string {
	if m := listLine.FindStringSubmatch(line); m != nil {
		return m[1]
	}
	return ""
}

// extensions are the names of the extensions that the dump creates.
func (a *archive) extensions() []string {
	var names []string
	for _, line := range a.list {
		if name, ok := strings.CutPrefix(entry(line), "EXTENSION - "); ok {
			names = append(names, strings.TrimSuffix(name, " "))
		}
	}
	return names
}

// A name as pg_dump writes it: bare, or quoted.
const sqlName = `("(?:[^"]|"")+"|[^\s";]+)`

var (
	createExtension = regexp.MustCompile(`CREATE EXTENSION IF NOT EXISTS ` + sqlName + ` WITH SCHEMA ` + sqlName + `;`)
	createDatabase  = regexp.MustCompile(`CREATE DATABASE ` + sqlName + ` WITH ([^;]*);`)
	databaseOption  = regexp.MustCompile(`(\w+) = (?:'((?:[^']|'')*)'|(\w+))`)
)

// extensionSchema is the schema that the dump puts an extension into, as SQL; empty if it does not say.
func (a *archive) extensionSchema(ctx context.Context, name string) (string, error) {
	var lines []string
	for _, line := range a.list {
		if entry(line) == "EXTENSION - "+name+" " {
			lines = append(lines, line)
		}
	}
	out, err := a.run(ctx, lines, "--file=-")
	if err != nil {
		return "", err
	}
	for _, m := range createExtension.FindAllSubmatch(out, -1) {
		if unquote(string(m[1])) == name {
			return unquote(string(m[2])), nil
		}
	}
	return "", nil
}

func unquote(name string) string {
	if inner, ok := strings.CutPrefix(name, `"`); ok {
		return strings.ReplaceAll(strings.TrimSuffix(inner, `"`), `""`, `"`)
	}
	return name
}

// isSchema tells whether a line creates the schema of exactly this name. The list alone does not say: it writes name
// and owner one after the other.
func (a *archive) isSchema(ctx context.Context, line, name string) (bool, error) {
	if !strings.HasPrefix(entry(line), "SCHEMA - "+name+" ") {
		return false, nil
	}
	out, err := a.run(ctx, []string{line}, "--file=-")
	if err != nil {
		return false, err
	}
	return bytes.Contains(out, []byte("CREATE SCHEMA "+quoteName(name)+";")) || bytes.Contains(out, []byte("CREATE SCHEMA "+name+";")), nil
}

// databaseOptions are encoding and locale of the database that was dumped, in the words of CREATE DATABASE.
func (a *archive) databaseOptions(ctx context.Context) (map[string]string, error) {
	var lines []string
	for _, line := range a.list {
		if strings.HasPrefix(entry(line), "DATABASE - ") {
			lines = append(lines, line)
		}
	}
	options := map[string]string{}
	if len(lines) == 0 {
		return options, nil
	}
	out, err := a.run(ctx, lines, "--create", "--file=-")
	// It refuses to connect to a name with a line end, but only after it wrote what we are here for.
	m := createDatabase.FindSubmatch(out)
	if m == nil {
		return options, err
	}
	for _, option := range databaseOption.FindAllSubmatch(m[2], -1) {
		value := string(option[3])
		if value == "" {
			value = strings.ReplaceAll(string(option[2]), "''", "'")
		}
		options[string(option[1])] = value
	}
	return options, nil
}
