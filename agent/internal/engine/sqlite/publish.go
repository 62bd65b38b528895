package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/wire"
)

// checkTarget refuses what a restored database cannot or may not be called.
func (e *Engine) checkTarget(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if ours(name) {
		return wire.Failf(wire.CodeBadRequest, "restore as %q: names that start with %s or %s are for restores", name, engine.StagingPrefix, engine.KeptPrefix)
	}
	return e.checkListed(name)
}

// Publish renames a file that Restore made, within its directory, in one step. It refuses a name at which a database is, or
// a journal of one, which SQLite would take for the restored database's own.
func (e *Engine) Publish(ctx context.Context, from, to string) error {
	if !stagingName.MatchString(from) {
		return wire.Failf(wire.CodeNotAllowed, "publish database %q: only what a restore made (%s…) is renamed", from, engine.StagingPrefix)
	}
	if err := e.checkTarget(to); err != nil {
		return err
	}
	what := fmt.Sprintf("publish database %q", to)
	if f := stopped(ctx, what); f != nil {
		return f
	}
	s, err := e.staged(ctx, from)
	if err != nil {
		return err
	}
	defer s.dir.close()
	defer s.close()
	if filepath.Dir(to) != s.dir.path {
		return wire.Failf(wire.CodeBadRequest, "%s: it was restored into %q", what, s.dir.path)
	}
	name := filepath.Base(to)
	for _, suffix := range append([]string{""}, sideSuffixes...) {
		switch _, err := s.dir.stat(name + suffix); {
		case err == nil:
			return wire.Failf(wire.CodeTargetExists, "there is a file %q already", to+suffix).WithHint("choose another name, or move it away")
		case !errors.Is(err, unix.ENOENT):
			return pathFailure(to+suffix, err)
		}
	}
	if err := s.dir.rename(from, name); err != nil {
		if errors.Is(err, unix.EEXIST) {
			return wire.Failf(wire.CodeTargetExists, "there is a database %q already", to).WithHint("choose another name")
		}
		return failure(ctx, err, what)
	}
	e.forget(from)
	// Who looked at the staging file in WAL mode has left them. They hold nothing of the dump.
	for _, suffix := range sideSuffixes {
		if err := s.dir.remove(from + suffix); err != nil {
			e.log.Warn("clean up after a restore", "err", err)
		}
	}
	if err := s.dir.sync(); err != nil {
		e.log.Warn("make a rename durable", "database", to, "err", err)
	}
	return nil
}

// rename fails with EEXIST if the new name is taken.
func (d *directory) rename(from, to string) error {
	err := unix.Renameat2(d.fd, from, d.fd, to, unix.RENAME_NOREPLACE)
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	// A file system that does not know the flag. A link does not replace either.
	if err := unix.Linkat(d.fd, from, d.fd, to, 0); err != nil {
		return err
	}
	return d.remove(from)
}

// Exists tells whether anything is at the path, or a staging or kept file of that name in a directory of the configuration.
func (e *Engine) Exists(ctx context.Context, database string) (bool, error) {
	if swapName.MatchString(database) {
		s, err := e.staged(ctx, database)
		if wire.HasCode(err, wire.CodeDatabaseMissing) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		s.close()
		s.dir.close()
		return true, nil
	}
	if err := checkName(database); err != nil {
		return false, err
	}
	if err := e.checkListed(database); err != nil {
		return false, err
	}
	dir, err := openDirectory(filepath.Dir(database))
	if wire.HasCode(err, wire.CodeDatabaseMissing) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer dir.close()
	switch _, err := dir.stat(filepath.Base(database)); {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.ENOENT):
		return false, nil
	default:
		return false, pathFailure(database, err)
	}
}

// Remove removes a staging or kept file, wherever in the directories of the configuration it is. A kept one that a program has
// open is wire.CodeTargetInUse: it may be writing there, instead of to the database that took the file's place.
func (e *Engine) Remove(ctx context.Context, database string) error {
	if !swapName.MatchString(database) {
		return wire.Failf(wire.CodeNotAllowed, "remove database %q: only what a restore or a swap made (%s… or %s…) is removed", database, engine.StagingPrefix, engine.KeptPrefix)
	}
	s, err := e.staged(ctx, database)
	if wire.HasCode(err, wire.CodeDatabaseMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	defer s.dir.close()
	defer s.close()
	if keptName.MatchString(database) {
		ids := map[fileID]bool{}
		s.addIDs(ids)
		h, err := findHolders(ids)
		if err != nil {
			return failure(ctx, err, fmt.Sprintf("remove %q", s.path()))
		}
		if len(h.sessions) > 0 {
			return wire.Failf(wire.CodeTargetInUse, "remove %q: it is in use by %s", s.path(), describeSessions(h.sessions)).Retry().
				WithHint("restart these programs: what they write is not in the database that took the file's place")
		}
	}
	if err := s.dir.removeDatabase(database); err != nil {
		return failure(ctx, err, fmt.Sprintf("remove %q", s.path()))
	}
	e.forget(database)
	return nil
}

// staged finds a staging or kept file. It fails with wire.CodeDatabaseMissing if there is none.
func (e *Engine) staged(ctx context.Context, name string) (found *source, err error) {
	look := func(d *directory) (bool, error) {
		st, err := d.stat(name)
		if err != nil || !regular(&st) {
			return true, nil //nolint:nilerr // not here
		}
		kept, err := d.again()
		if err != nil {
			return false, err
		}
		if found, err = kept.open(name); err != nil {
			kept.close()
			return false, err
		}
		return false, nil
	}
	e.mu.Lock()
	known := e.restores[name]
	e.mu.Unlock()
	if d, err := openDirectory(known); known != "" && err == nil {
		defer d.close()
		if more, err := look(d); err != nil || !more {
			return found, err
		}
	}
	err = e.directories(ctx, look)
	if errors.Is(err, errTooMany) {
		e.log.Warn("not all of the paths were searched for a staging file: name the directories of the databases more closely", "at_most", maxFiles)
		err = nil
	}
	switch {
	case err != nil:
		return nil, failure(ctx, err, fmt.Sprintf("look for %q", name))
	case found == nil:
		return nil, wire.Failf(wire.CodeDatabaseMissing, "there is no file %q in the directories of the instance %q", name, e.cfg.Name)
	}
	return found, nil
}

// remember notes where a file was made.
func (e *Engine) remember(name, dir string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.restores[name] = dir
}

func (e *Engine) forget(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.restores, name)
}

// again is another handle on the directory.
func (d *directory) again() (*directory, error) {
	fd, err := unix.FcntlInt(uintptr(d.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("hold directory %q: %w", d.path, err)
	}
	return &directory{fd, d.path}, nil
}
