package localstore

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"devflowbackup/shared/wire"
)

// listBytes bounds the names of one page as JSON has them; with what is beside them a page fits into a message.
const listBytes = wire.MaxMessage / 2

// prefixForm is what the keys of a storage begin with.
var prefixForm = regexp.MustCompile(`^(?:[A-Za-z0-9_][A-Za-z0-9._-]*/)*backups/$`)

// List returns up to limit files whose keys begin with prefix and come after a key, in ascending order of the keys' bytes, and
// whether there are more. It shows whatever lies there under a name that is UTF-8 and no longer than a key may be: also what is
// partial, and links, pipes and devices, which nothing else here opens. No link is followed. Files that come and go meanwhile may be
// shown or not. Nothing there is no error, a root that is not there is one. Memory: the names of one directory.
func (s *Store) List(prefix, after string, limit int) (page []wire.LocalEntry, more bool, err error) {
	if len(prefix) > maxKey || !prefixForm.MatchString(prefix) || limit < 1 || limit > wire.MaxLocalList {
		return nil, false, wire.Failf(wire.CodeBadRequest, "list %d files below %.200q: at most %d are listed at once, below <prefix>backups/", limit, prefix, wire.MaxLocalList)
	}
	dir, err := s.root()
	if err != nil {
		return nil, false, err
	}
	for step := range strings.SplitSeq(strings.TrimSuffix(prefix, "/"), "/") {
		next, err := openDir(dir, step)
		_ = dir.Close()
		if errors.Is(err, fs.ErrNotExist) {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, readFault("list "+prefix, err)
		}
		dir = next
	}
	l := &listing{after: after, limit: limit}
	if err := l.directory(dir, prefix); err != nil && !errors.Is(err, errPageFull) {
		return nil, false, readFault("list "+prefix, err)
	}
	return l.page, l.more, nil
}

var errPageFull = errors.New("the page is full")

// listing is a page in the making.
type listing struct {
	after string
	limit int
	bytes int
	page  []wire.LocalEntry
	more  bool
}

// directory adds what lies in a directory, which it closes. A directory comes where its name with a slash behind it does, which is
// behind "name.x": until then it waits. Files are looked at when their turn comes, not before.
func (l *listing) directory(dir *os.File, prefix string) error {
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !l.wanted(prefix + n) })
	slices.Sort(names)
	var waiting []string // directories, with their slash, sorted
	enter := func(before string) error {
		for len(waiting) > 0 && (before == "" || waiting[0] < before) {
			name := waiting[0]
			waiting = waiting[1:]
			sub, err := openDir(dir, strings.TrimSuffix(name, "/"))
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
				continue // it is another thing by now
			}
			if err == nil {
				err = l.directory(sub, prefix+name)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	at := place{dir: dir}
	for _, name := range names {
		st, exists, err := at.stat(name)
		switch {
		case err != nil:
			return err
		case !exists:
			continue
		}
		if err := enter(name); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			i, _ := slices.BinarySearch(waiting, name+"/")
			waiting = slices.Insert(waiting, i, name+"/")
			continue
		}
		if err := l.add(prefix+name, st); err != nil {
			return err
		}
	}
	return enter("")
}

// wanted tells whether a path, or something in it if it is a directory, may belong to the page.
func (l *listing) wanted(path string) bool {
	return utf8.ValidString(path) && len(path) < maxKey && (path+"/" > l.after || strings.HasPrefix(l.after, path+"/"))
}

func (l *listing) add(key string, st unix.Stat_t) error {
	if key <= l.after {
		return nil
	}
	text, err := json.Marshal(key)
	if err != nil {
		return err
	}
	if len(l.page) == l.limit || len(l.page) > 0 && l.bytes+len(text) > listBytes {
		l.more = true
		return errPageFull
	}
	size := st.Size
	if !regular(st) {
		size = 0
	}
	l.bytes += len(text)
	l.page = append(l.page, wire.LocalEntry{Key: key, Size: size, ModifiedAt: st.Mtim.Sec})
	return nil
}
