package localstore

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"devflowbackup/shared/wire"
)

// Object is one whole file of a backup.
type Object struct {
	Key  string
	Size int64
}

// Commit gives the files of a backup, which were closed, their final names in their order and makes that durable. It may be
// called again after a crash or an error, whatever of it was done. A file that is not there under either name with its size
// is ErrGone, one that stands at a final name and is not ours wire.CodeForeignObject: then call Discard. renamed, if not
// nil, is called after each rename.
func (s *Store) Commit(objects []Object, renamed func()) error {
	for _, o := range objects {
		if err := s.rename(o); err != nil {
			return writeFault("give "+o.Key+" its name", err)
		}
		if renamed != nil {
			renamed()
		}
	}
	for _, o := range objects {
		if err := s.syncDir(o.Key); err != nil {
			return writeFault("make the name of "+o.Key+" durable", err)
		}
	}
	return nil
}

func (s *Store) rename(o Object) error {
	at, err := s.at(o.Key, false)
	if errors.Is(err, fs.ErrNotExist) {
		return gone(o)
	}
	if err != nil {
		return err
	}
	defer at.close()
	part, unfinished, err := at.stat(at.name + partial)
	if err != nil {
		return err
	}
	final, finished, err := at.stat(at.name)
	if err != nil {
		return err
	}
	switch {
	case !unfinished && finished && regular(final) && final.Size == o.Size:
		return nil // by an earlier call
	case !unfinished, !regular(part), part.Size != o.Size:
		return gone(o)
	case finished && same(part, final):
		_, err := at.unlink(at.name + partial) // between link and unlink below
		return err
	case finished:
		return unix.EEXIST
	}
	fd := int(at.dir.Fd())
	err = unix.Renameat2(fd, at.name+partial, fd, at.name, unix.RENAME_NOREPLACE)
	if is(err, unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP) { // such as NFS
		if err = unix.Linkat(fd, at.name+partial, fd, at.name, 0); err == nil {
			_, err = at.unlink(at.name + partial)
		}
	}
	return err
}

func gone(o Object) error {
	return wire.Failf(wire.CodeUploadLost, "%s is not in the backup directory with its %d bytes: %w", o.Key, o.Size, ErrGone).Retry()
}

func same(a, b unix.Stat_t) bool { return a.Dev == b.Dev && a.Ino == b.Ino }

func (s *Store) syncDir(key string) error {
	at, err := s.at(key, false)
	if err != nil {
		return err
	}
	defer at.close()
	return at.dir.Sync()
}

// Discard removes the files of a backup that is not to be: what is partial, and what Commit gave its name. A file at a final
// name with another one still partial beside it, or of another size, is not ours and stays.
func (s *Store) Discard(objects []Object) error {
	var errs []error
	for _, o := range objects {
		errs = append(errs, s.remove(o.Key, func(at place) ([]string, error) {
			part, unfinished, err := at.stat(at.name + partial)
			if err != nil {
				return nil, err
			}
			final, finished, err := at.stat(at.name)
			switch {
			case err != nil:
				return nil, err
			case !unfinished && finished && regular(final) && final.Size == o.Size:
				return []string{at.name}, nil
			case unfinished && finished && same(part, final):
				return []string{at.name + partial, at.name}, nil
			}
			return []string{at.name + partial}, nil
		}))
	}
	return errors.Join(errs...)
}

// DiscardPartial removes what is partial of a key. Nothing there is no error.
func (s *Store) DiscardPartial(key string) error {
	return s.remove(key, func(at place) ([]string, error) { return []string{at.name + partial}, nil })
}

// Delete removes a file, what is partial of it, and the directories of its date that are empty then. Nothing there is no
// error. Nil means that it is durably gone.
func (s *Store) Delete(key string) error {
	return s.remove(key, func(at place) ([]string, error) { return []string{at.name, at.name + partial}, nil })
}

func (s *Store) remove(key string, names func(place) ([]string, error)) error {
	s.names.Lock()
	defer s.names.Unlock()
	at, err := s.at(key, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return writeFault("delete "+key, err)
	}
	defer at.close()
	list, err := names(at)
	if err != nil {
		return writeFault("delete "+key, err)
	}
	found := false
	for _, name := range list {
		removed, err := at.unlink(name)
		if err != nil {
			return writeFault("delete "+key, err)
		}
		found = found || removed
	}
	if !found {
		return nil
	}
	if err := at.dir.Sync(); err != nil {
		return writeFault("delete "+key, err)
	}
	s.prune(key)
	return nil
}

// WriteFile writes a whole small file durably, in place of one that is there.
func (s *Store) WriteFile(key string, data []byte) (err error) {
	s.whole.Lock()
	defer s.whole.Unlock()
	at, f, err := s.begin(key)
	if err != nil {
		return writeFault("write "+key, err)
	}
	defer at.close()
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = s.DiscardPartial(key)
			err = writeFault("write "+key, err)
		}
	}()
	var w File = f
	if s.opt.Wrap != nil {
		w = s.opt.Wrap(key, f)
	}
	if _, err = w.Write(data); err != nil {
		return err
	}
	if err = w.Sync(); err != nil {
		return err
	}
	if err = w.Close(); err != nil {
		return err
	}
	fd := int(at.dir.Fd())
	if err = unix.Renameat(fd, at.name+partial, fd, at.name); err != nil {
		return err
	}
	return at.dir.Sync()
}

// begin opens the partial file of a small file; one that a crash left is begun anew.
func (s *Store) begin(key string) (place, *os.File, error) {
	s.names.Lock()
	defer s.names.Unlock()
	at, err := s.at(key, true)
	if err != nil {
		return place{}, nil, err
	}
	if _, err = at.unlink(at.name + partial); err == nil {
		var f *os.File
		if f, err = at.open(at.name+partial, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL); err == nil {
			return at, f, nil
		}
	}
	at.close()
	return place{}, nil, err
}
