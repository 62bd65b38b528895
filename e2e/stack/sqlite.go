package stack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"devflowbackup/shared/wire"
)

// SQLite is a directory of SQLite databases. They are read and written by the sqlite3 program.
type SQLite struct {
	Dir string
}

// sideFiles are the ends of the names of what SQLite keeps beside a database.
var sideFiles = []string{"-wal", "-shm", "-journal"}

// NewSQLite makes the directory.
func (s *Stack) NewSQLite(name string) (*SQLite, error) {
	dir := s.path(name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	return &SQLite{Dir: dir}, nil
}

// Engine is SQLite.
func (l *SQLite) Engine() string { return wire.EngineSQLite }

// Name is the path of the word's file.
func (l *SQLite) Name(word string) string { return filepath.Join(l.Dir, word+".sqlite") }

// Instance allows the directory.
func (l *SQLite) Instance() map[string]any {
	return map[string]any{"engine": l.Engine(), "paths": []string{l.Dir}}
}

// InPlace is nothing: files belong to whom they belonged to.
func (l *SQLite) InPlace() map[string]any { return nil }

// AllowInPlace does nothing.
func (l *SQLite) AllowInPlace(context.Context, string) error { return nil }

// Create makes an empty database in WAL mode.
func (l *SQLite) Create(ctx context.Context, name string) error {
	_, err := l.Exec(ctx, name, "PRAGMA journal_mode = WAL; CREATE TABLE made (x); DROP TABLE made;")
	return err
}

// Drop removes the file and what stands beside it.
func (l *SQLite) Drop(_ context.Context, name string) error {
	var errs []error
	for _, suffix := range append([]string{""}, sideFiles...) {
		if err := os.Remove(name + suffix); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Exec runs SQL by sqlite3 until its first error.
func (l *SQLite) Exec(ctx context.Context, database, sql string) (string, error) {
	cmd := exec.CommandContext(ctx, "sqlite3", "-batch", "-bail", "-init", os.DevNull, database)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "HOME=" + os.DevNull}
	var stderr strings.Builder
	cmd.Stdin, cmd.Stderr = strings.NewReader(".timeout 10000\n"+sql), &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("run SQL in %s: %w: %s", database, err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}

// Databases lists the files of the directory but those that stand beside a database. One without its database is listed.
func (l *SQLite) Databases(context.Context) ([]string, error) {
	entries, err := os.ReadDir(l.Dir)
	if err != nil {
		return nil, fmt.Errorf("list databases: %w", err)
	}
	var names []string
	have := map[string]bool{}
	for _, e := range entries {
		have[e.Name()] = true
	}
	for _, e := range entries {
		if i := strings.LastIndexByte(e.Name(), '-'); i > 0 && slices.Contains(sideFiles, e.Name()[i:]) && have[e.Name()[:i]] {
			continue
		}
		names = append(names, filepath.Join(l.Dir, e.Name()))
	}
	return names, nil
}

// Content reads the whole database.
func (l *SQLite) Content(ctx context.Context, database string) (Content, error) {
	c := Content{Tables: map[string]TableContent{}, Definitions: map[string]string{}}
	fail := func(err error) (Content, error) {
		return c, fmt.Errorf("read the content of %s: %w", database, err)
	}
	if _, err := os.Stat(database); err != nil { // sqlite3 would make it
		return fail(err)
	}
	check, err := l.Exec(ctx, database, "PRAGMA integrity_check; PRAGMA user_version; PRAGMA application_id; PRAGMA page_size;")
	if err != nil {
		return fail(err)
	}
	if !strings.HasPrefix(check, "ok\n") {
		return fail(errors.New(check))
	}
	c.Definitions["pragmas"] = check
	// Of a table also what reads its rows, in an order that their own content gives.
	out, err := l.Exec(ctx, database, `SELECT hex(type || ' ' || name) || ' ' || hex(coalesce(sql, '')) || ' ' || CASE type WHEN 'table' THEN hex(
		'SELECT count(*) FROM "' || replace(name, '"', '""') || '"; SELECT ' ||
		(SELECT group_concat('quote("' || replace(x.name, '"', '""') || '")', ' || '','' || ') FROM pragma_table_xinfo(s.name) x WHERE x.hidden <> 1) ||
		' FROM "' || replace(name, '"', '""') || '" ORDER BY 1;') ELSE '' END FROM sqlite_schema s ORDER BY type, name;`)
	if err != nil {
		return fail(err)
	}
	var tables []string
	var reads strings.Builder
	for line := range strings.Lines(out) {
		var plain [3]string
		for i, field := range strings.Split(strings.TrimSuffix(line, "\n"), " ") {
			b, err := hex.DecodeString(field)
			if err != nil {
				return fail(err)
			}
			plain[i] = string(b)
		}
		c.Definitions[plain[0]] = plain[1]
		if table, ok := strings.CutPrefix(plain[0], "table "); ok {
			tables = append(tables, table)
			fmt.Fprintf(&reads, "SELECT '%s'; %s\n", nextTable, plain[2])
		}
	}
	if len(tables) == 0 {
		return c, nil
	}
	if out, err = l.Exec(ctx, database, reads.String()); err != nil {
		return fail(err)
	}
	parts := strings.Split("\n"+out, "\n"+nextTable+"\n")
	if len(parts) != len(tables)+1 {
		return fail(fmt.Errorf("%d tables gave %d answers", len(tables), len(parts)-1))
	}
	for i, part := range parts[1:] {
		count, rows, _ := strings.Cut(part, "\n")
		n, err := strconv.ParseInt(count, 10, 64)
		if err != nil {
			return fail(fmt.Errorf("count rows of %s: %w", tables[i], err))
		}
		sum := sha256.Sum256([]byte(rows))
		c.Tables[tables[i]] = TableContent{Rows: n, Checksum: hex.EncodeToString(sum[:])}
	}
	return c, nil
}

// nextTable stands on a line of its own before what is read of each table. No row is such a line: values are quoted.
const nextTable = "the next table"

// Load copies the file, which is the database.
func (l *SQLite) Load(ctx context.Context, database, dump string) error {
	if err := copyNew(dump, database); err != nil {
		return fmt.Errorf("load %s: %w", dump, err)
	}
	out, err := l.Exec(ctx, database, "PRAGMA integrity_check;")
	if err == nil && out != "ok" {
		err = fmt.Errorf("load %s: %s", dump, out)
	}
	return err
}

// copyNew copies a file to one that is not there yet.
func copyNew(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
