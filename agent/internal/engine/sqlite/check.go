package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/wire"
)

const (
	levelOK      = "ok"
	levelWarning = "warning"
	levelError   = "error"

	// checkedFiles is how many databases get a finding of their own.
	checkedFiles = 200
)

// Check looks at each configured path, at each database there, and at the directory for copies.
func (e *Engine) Check(ctx context.Context) []engine.Finding {
	findings := []engine.Finding{{Level: levelOK, Name: "tool sqlite", Detail: toolVersion + ", built in"}}
	databases, err := e.Discover(ctx)
	if err != nil {
		return append(findings, failed("paths", err))
	}
	var largest int64
	perRule := make([]int, len(e.rules))
	for _, d := range databases {
		largest = max(largest, d.SizeBytes)
		for i, r := range e.rules {
			if r.covers(d.Name) {
				perRule[i]++
			}
		}
	}
	for i, r := range e.rules {
		findings = append(findings, r.check(perRule[i]))
	}
	for i, d := range databases {
		if i == checkedFiles {
			findings = append(findings, engine.Finding{
				Level: levelWarning, Name: "databases", Detail: fmt.Sprintf("%d databases, of which %d were looked at", len(databases), i),
				Hint: "this is only about the check; all of them are backed up as they are scheduled",
			})
			break
		}
		if f, found := checkDatabase(d.Name); found {
			findings = append(findings, f)
		}
	}
	findings = append(findings, e.checkClosed(ctx)...)
	findings = append(append(findings, e.checkSpool(largest)), e.checkRestoring(ctx)...)
	return append(findings, e.checkLeft(ctx)...)
}

// checkLeft lists the files of restores.
func (e *Engine) checkLeft(ctx context.Context) []engine.Finding {
	var names []string
	err := e.directories(ctx, func(d *directory) (bool, error) {
		err := d.entries(ctx, func(entry fs.DirEntry) (bool, error) {
			side := slices.ContainsFunc(sideSuffixes, func(suffix string) bool { return strings.HasSuffix(entry.Name(), suffix) })
			if ours(entry.Name()) && entry.Type().IsRegular() && !side {
				names = append(names, filepath.Join(d.path, entry.Name()))
			}
			return true, nil
		})
		if wire.HasCode(err, wire.CodePrivilege) || wire.HasCode(err, wire.CodeDatabaseMissing) {
			err = nil // not for us, or gone
		}
		return true, err
	})
	if err != nil && !errors.Is(err, errTooMany) {
		return []engine.Finding{failed("left by restores", failure(ctx, err, "look for files of restores"))}
	}
	return engine.Left(names, func(name string) string { return fmt.Sprintf("rm -- %q", name) })
}

// closedFiles is how many files that may not be read are named.
const closedFiles = 10

// checkClosed names files that are called as databases are and that the agent may not read: no backup would miss them.
func (e *Engine) checkClosed(ctx context.Context) (findings []engine.Finding) {
	err := e.directories(ctx, func(d *directory) (bool, error) {
		err := d.entries(ctx, func(entry fs.DirEntry) (bool, error) {
			named := slices.Contains([]string{".sqlite", ".sqlite3", ".db", ".db3"}, filepath.Ext(entry.Name()))
			path := filepath.Join(d.path, entry.Name())
			if named && entry.Type().IsRegular() && e.listed(path) && e.included(path) && errors.Is(unix.Faccessat(d.fd, entry.Name(), unix.R_OK, unix.AT_EACCESS), unix.EACCES) {
				findings = append(findings, failed(fmt.Sprintf("database %q", path), pathFailure(path, unix.EACCES)))
			}
			return len(findings) < closedFiles, nil
		})
		if wire.HasCode(err, wire.CodePrivilege) || wire.HasCode(err, wire.CodeDatabaseMissing) {
			err = nil // not for us, or gone
		}
		return len(findings) < closedFiles, err
	})
	if err != nil && !errors.Is(err, errTooMany) {
		return []engine.Finding{failed("databases", failure(ctx, err, "look for databases"))}
	}
	return findings
}

func failed(name string, err error) engine.Finding {
	f := wire.AsFailure(err)
	return engine.Finding{Level: levelError, Name: name, Detail: f.Message, Hint: f.Hint}
}

// check looks at one path of the configuration.
func (r rule) check(databases int) engine.Finding {
	f := engine.Finding{Level: levelOK, Name: fmt.Sprintf("path %q", r.text), Detail: fmt.Sprintf("%d databases", databases)}
	if r.pattern() {
		if databases == 0 {
			f.Level, f.Hint = levelWarning, "no database fits the pattern: check it, and that the agent may read the directories"
		}
		return f
	}
	parent, err := openDirectory(filepath.Dir(r.text))
	if err != nil {
		return failed(f.Name, err)
	}
	defer parent.close()
	st, err := parent.stat(filepath.Base(r.text))
	switch {
	case err != nil:
		return failed(f.Name, pathFailure(r.text, err))
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		if databases == 0 {
			f.Level, f.Hint = levelWarning, "no file in the directory is an SQLite database that may be backed up"
		}
		return f
	}
	if err := checkRegular(r.text, &st); err != nil {
		return failed(f.Name, err)
	}
	if databases == 0 {
		f.Level, f.Detail = levelError, "the file is not an SQLite database, it is encrypted, or include and exclude leave it out"
		f.Hint = "look at the file, and at include and exclude of the instance"
	}
	return f
}

// checkDatabase finds what would make a backup of one database fail.
func checkDatabase(path string) (engine.Finding, bool) {
	name := fmt.Sprintf("database %q", path)
	src, err := locate(path)
	if err != nil {
		return failed(name, err), true
	}
	defer src.dir.close()
	defer src.close()
	if src.st.Nlink > 1 {
		return failed(name, linkedFailure(src)), true
	}
	done, ok := tryTurn(src.id())
	if !ok {
		return engine.Finding{}, false // it is being backed up
	}
	defer done()
	if err := src.checkReadable(); err != nil {
		return failed(name, err), true
	}
	return engine.Finding{}, false
}

func (e *Engine) checkSpool(largest int64) engine.Finding {
	const name = "snapshot directory"
	d, err := e.spool()
	if err != nil {
		return failed(name, err)
	}
	defer d.close()
	if err := d.room(largest, "copy the largest database"); err != nil {
		return failed(name, err)
	}
	free, err := d.free()
	if err != nil {
		return failed(name, systemFailure(err, "look at free space"))
	}
	return engine.Finding{Level: levelOK, Name: name, Detail: fmt.Sprintf("%q has %d bytes free; the largest database has %d", d.path, free, largest)}
}

// checkRestoring looks for directories in which no file can be made.
func (e *Engine) checkRestoring(ctx context.Context) []engine.Finding {
	var findings []engine.Finding
	directories := 0
	err := e.directories(ctx, func(d *directory) (bool, error) {
		directories++
		if unix.Faccessat(d.fd, ".", unix.W_OK, unix.AT_EACCESS) != nil && len(findings) < 10 {
			findings = append(findings, engine.Finding{
				Level: levelWarning, Name: "restore", Detail: fmt.Sprintf("the agent may not write in %q; restores there are refused", d.path),
				Hint: "let the agent's user write in the directory, if restores are wanted there",
			})
		}
		return true, nil
	})
	if err != nil && !errors.Is(err, errTooMany) {
		return []engine.Finding{failed("restore", failure(ctx, err, "look at directories"))}
	}
	if len(findings) == 0 && directories > 0 {
		findings = []engine.Finding{{Level: levelOK, Name: "restore", Detail: fmt.Sprintf("into %d directories", directories)}}
	}
	return findings
}
