package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"devflowbackup/shared/wire"
)

// errTooMany ends a search that has looked at too many entries.
var errTooMany = errors.New("too many directory entries")

// walk visits what the rules list, following no symbolic link. What cannot be opened is passed over.
type walk struct {
	ctx   context.Context
	seen  int
	once  map[fileID]bool // directories
	enter func(d *directory) (more bool, err error)
	file  func(d *directory, name string, st unix.Stat_t) error // nil if only directories count
	stop  bool
}

// directories visits each directory in which a database may lie, until visit returns false.
func (e *Engine) directories(ctx context.Context, visit func(d *directory) (more bool, err error)) error {
	w := &walk{ctx: ctx, once: map[fileID]bool{}, enter: visit}
	return w.rules(e.rules)
}

// files visits each regular file that the rules list, once.
func (e *Engine) files(ctx context.Context, visit func(d *directory, name string, st unix.Stat_t) error) error {
	w := &walk{ctx: ctx, once: map[fileID]bool{}, file: visit}
	return w.rules(e.rules)
}

func (w *walk) rules(rules []rule) error {
	for _, r := range rules {
		if err := w.rule(r); err != nil || w.stop {
			return err
		}
	}
	return nil
}

func (w *walk) rule(r rule) error {
	// The leading components without a pattern are opened in one go.
	n := 0
	for n < len(r.parts)-1 && literal(r.parts[n]) {
		n++
	}
	d, err := openDirectory("/" + filepath.Join(r.parts[:n]...))
	if err != nil {
		return nil //nolint:nilerr // not there, or not for us: Check tells
	}
	defer d.close()
	return w.match(d, r.parts[n:])
}

// match visits what fits the rest of a rule's components.
func (w *walk) match(d *directory, parts []string) error {
	if len(parts) == 1 && (!literal(parts[0]) || !d.holdsDirectory(parts[0])) {
		// The directory of a file, which may be made yet, or of those that fit a pattern.
		if more, err := w.visit(d); err != nil || !more {
			return err
		}
	}
	visit := func(name string) (bool, error) {
		if ok, err := filepath.Match(parts[0], name); err != nil || !ok {
			return true, nil //nolint:nilerr // patterns were checked
		}
		return w.entry(d, name, parts[1:], 0)
	}
	if literal(parts[0]) {
		if err := w.count(); err != nil {
			return err
		}
		_, err := visit(parts[0])
		return err
	}
	return w.each(d, visit)
}

// entry visits one entry: a file, or a directory with the rest of a rule below it, or with all that lies in it.
func (w *walk) entry(d *directory, name string, rest []string, depth int) (bool, error) {
	st, err := d.stat(name)
	if err != nil {
		return true, nil //nolint:nilerr // gone, or not for us
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		if len(rest) == 0 && w.file != nil {
			return true, w.file(d, name, st)
		}
	case unix.S_IFDIR:
		sub, err := d.sub(name)
		if err != nil {
			return true, nil //nolint:nilerr // as above
		}
		defer sub.close()
		if len(rest) > 0 {
			return !w.stop, w.match(sub, rest)
		}
		return !w.stop, w.below(sub, depth)
	}
	return !w.stop, nil
}

// below visits all that lies in a directory.
func (w *walk) below(d *directory, depth int) error {
	if more, err := w.visit(d); err != nil || !more {
		return err
	}
	return w.each(d, func(name string) (bool, error) {
		if depth == maxDepth {
			if st, err := d.stat(name); err != nil || !regular(&st) {
				return true, nil //nolint:nilerr // gone, or too deep
			}
		}
		return w.entry(d, name, nil, depth+1)
	})
}

// visit enters a directory once.
func (w *walk) visit(d *directory) (more bool, err error) {
	if w.enter == nil {
		return true, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil || w.once[idOf(&st)] {
		return err == nil, nil //nolint:nilerr // nothing can be found there
	}
	w.once[idOf(&st)] = true
	more, err = w.enter(d)
	w.stop = w.stop || !more
	return more, err
}

func (w *walk) each(d *directory, visit func(name string) (bool, error)) error {
	err := d.entries(w.ctx, func(entry fs.DirEntry) (bool, error) {
		switch kind := entry.Type(); {
		case w.file == nil && kind.IsRegular(), !kind.IsRegular() && !kind.IsDir():
			return true, nil
		}
		if err := w.count(); err != nil {
			return false, err
		}
		more, err := visit(entry.Name())
		return more && !w.stop, err
	})
	if wire.HasCode(err, wire.CodePrivilege) || wire.HasCode(err, wire.CodeDatabaseMissing) {
		return nil // not for us, or gone
	}
	return err
}

// holdsDirectory tells whether an entry is a directory.
func (d *directory) holdsDirectory(name string) bool {
	st, err := d.stat(name)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// count bounds the search: by files and directories, or where no files are looked for, by directories.
func (w *walk) count() error {
	if w.seen++; w.seen > maxFiles {
		return errTooMany
	}
	return w.ctx.Err()
}
