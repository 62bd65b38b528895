package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

const (
	partSuffix  = ".part"
	stateSuffix = ".part.json" // beside it: of what it is a part
)

// partState says of what a part is a part. What differs in any of it is never continued.
type partState struct {
	Backup   int64  `json:"backup_id"`
	Object   string `json:"object"`
	Format   string `json:"format"`
	FileName string `json:"file_name"`
	Size     int64  `json:"size"`
	Checksum string `json:"checksum"`
}

// part is a file that is being downloaded: what is there of it, under a name of its own. One process at a time holds it. The hash
// covers every byte from the first on, those of an earlier run too.
type part struct {
	target string
	state  partState
	file   *os.File
	hash   hash.Hash
	n      int64 // bytes that are there
	kept   int64 // of an earlier run
}

// openPart takes up what an earlier run left of the same download, or begins. With anew, what is there is thrown away. It reads what it
// takes up: seen is called on the way.
func openPart(ctx context.Context, target string, state partState, anew bool, seen func(int64)) (*part, error) {
	name := target + partSuffix
	f, err := lockPart(name)
	if err != nil {
		return nil, err
	}
	p := &part{target: target, state: state, file: f, hash: sha256.New()}
	keep := false
	defer func() {
		if !keep {
			p.close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	if info.Size() > 0 && !anew {
		if err := p.same(info.Size()); err != nil {
			return nil, err
		}
		if err := p.take(ctx, info.Size(), seen); err != nil {
			return nil, err
		}
		keep = true
		return p, nil
	}
	if err := p.reset(); err != nil {
		return nil, err
	}
	text, err := json.Marshal(state)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", target+stateSuffix, err)
	}
	if err := writeNow(target+stateSuffix, append(text, '\n')); err != nil {
		return nil, err
	}
	keep = true
	return p, nil
}

// lockPart opens the file for this process alone.
func lockPart(name string) (*os.File, error) {
	for {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", name, err)
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			_ = f.Close()
			if errors.Is(err, syscall.EWOULDBLOCK) {
				return nil, fmt.Errorf("%s is being written by another download", name)
			}
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		opened, err := f.Stat()
		if err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("open %s: %w", name, err)
		}
		if !opened.Mode().IsRegular() {
			_ = f.Close()
			return nil, fmt.Errorf("%s is not a regular file", name)
		}
		// Between opening and locking, another process may have finished it under its final name.
		if now, err := os.Lstat(name); err == nil && os.SameFile(now, opened) {
			return f, nil
		}
		_ = f.Close()
	}
}

// same refuses to go on with the part of something else.
func (p *part) same(size int64) error {
	name := p.target + partSuffix
	text, err := readBounded(p.target+stateSuffix, 64<<10)
	var was partState
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s is there, and nothing tells what it is a part of (--force starts anew)", name)
	case err != nil:
		return fmt.Errorf("read what %s is a part of: %w", name, err)
	case json.Unmarshal(text, &was) != nil:
		return fmt.Errorf("%s%s does not tell what %s is a part of (--force starts anew)", p.target, stateSuffix, name)
	case was != p.state:
		return fmt.Errorf("%s is a part of another download: of the %s of backup %d, %s, SHA-256 %s (--force starts anew)", name, was.Object, was.Backup, was.Format, was.Checksum)
	case size > p.state.Size:
		return fmt.Errorf("%s has %d bytes, the whole has %d (--force starts anew)", name, size, p.state.Size)
	}
	return nil
}

// take reads what is there into the hash.
func (p *part) take(ctx context.Context, size int64, seen func(int64)) error {
	buf := make([]byte, 1<<20)
	src := io.LimitReader(&cancelReader{ctx, p.file}, size)
	for {
		n, err := src.Read(buf)
		p.hash.Write(buf[:n])
		p.n += int64(n)
		seen(p.n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", p.file.Name(), err)
		}
	}
	p.kept = p.n
	if _, err := p.file.Seek(p.n, io.SeekStart); err != nil {
		return fmt.Errorf("read %s: %w", p.file.Name(), err)
	}
	return nil
}

// reset throws away what is there.
func (p *part) reset() error {
	if err := p.file.Truncate(0); err != nil {
		return fmt.Errorf("write %s: %w", p.file.Name(), err)
	}
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("write %s: %w", p.file.Name(), err)
	}
	p.hash.Reset()
	p.n, p.kept = 0, 0
	return nil
}

// diskError is a failure on this side: asking again does not help.
type diskError struct{ error }

func (e diskError) Unwrap() error { return e.error }

func (p *part) Write(b []byte) (int, error) {
	n, err := p.file.Write(b)
	p.hash.Write(b[:n])
	p.n += int64(n)
	if err != nil {
		return n, diskError{fmt.Errorf("write %s: %w", p.file.Name(), err)}
	}
	return n, nil
}

// finish proves the whole and gives it its name. On any error what is there stays.
func (p *part) finish(force bool) error {
	if got := fmt.Sprintf("%x", p.hash.Sum(nil)); p.n != p.state.Size || got != p.state.Checksum {
		return fmt.Errorf("%s is damaged: it has %d bytes with SHA-256 %s, the backup %d with %s; it is left for you to look at (--force starts anew)",
			p.file.Name(), p.n, got, p.state.Size, p.state.Checksum)
	}
	if err := p.file.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", p.file.Name(), err)
	}
	if err := absent(p.target, force); err != nil {
		return err
	}
	if err := os.Rename(p.file.Name(), p.target); err != nil {
		return fmt.Errorf("write %s: %w", p.target, err)
	}
	if err := os.Remove(p.target + stateSuffix); err != nil {
		return fmt.Errorf("remove what told of the part: %w", err)
	}
	return syncDir(filepath.Dir(p.target))
}

// close lets go of the part. One with nothing in it is removed.
func (p *part) close() {
	if info, err := os.Lstat(p.file.Name()); err == nil && p.n == 0 {
		if mine, err := p.file.Stat(); err == nil && os.SameFile(info, mine) && mine.Size() == 0 {
			_ = os.Remove(p.file.Name())
			_ = os.Remove(p.target + stateSuffix)
		}
	}
	_ = p.file.Close()
}

// absent refuses to replace a file without force.
func absent(target string, force bool) error {
	info, err := os.Lstat(target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("write %s: %w", target, err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is there already and is not a file", target)
	case !force:
		return fmt.Errorf("%s is there already (--force replaces it)", target)
	}
	return nil
}

// writeNow puts a small file in place at once or not at all.
func writeNow(name string, text []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = tmp.Write(text)
	if err == nil {
		err = tmp.Sync()
	}
	if closing := tmp.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("write %s: %w", dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", dir, err)
	}
	return nil
}
