package sqlite

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"modernc.org/sqlite/vfs"
)

// image is an open file that SQLite reads although it has no path, or none that is to be trusted. Nothing can be
// written to it through SQLite.
type image struct {
	file  *os.File
	pulse *pulse
	name  string
}

// images is the file system of all images, registered with SQLite once, for registering is process-wide.
type images struct {
	mu    sync.Mutex
	files map[string]*image
}

var (
	shown    = &images{files: map[string]*image{}}
	register = sync.OnceValues(func() (string, error) {
		name, _, err := vfs.New(shown)
		return name, err
	})
)

// show lets SQLite read a file until the image is hidden. Each read beats the pulse.
func show(file *os.File, p *pulse) (*image, error) {
	if _, err := register(); err != nil {
		return nil, fmt.Errorf("register with SQLite: %w", err)
	}
	var b [12]byte
	_, _ = rand.Read(b[:])
	i := &image{file, p, hex.EncodeToString(b[:])}
	shown.mu.Lock()
	defer shown.mu.Unlock()
	shown.files[i.name] = i
	return i, nil
}

func (i *image) hide() {
	shown.mu.Lock()
	defer shown.mu.Unlock()
	delete(shown.files, i.name)
}

// dsn opens the image. Immutable: there are no other files beside it, whatever its header says.
func (i *image) dsn() string {
	name, _ := register()
	return "file:" + i.name + "?immutable=1&vfs=" + name + "&_defensive=1&" + commonSettings
}

// Open implements fs.FS.
func (i *images) Open(name string) (fs.File, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	found, ok := i.files[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &imageFile{image: found}, nil
}

// imageFile is one reader of an image; several have their own positions.
type imageFile struct {
	*image
	at int64
}

func (f *imageFile) Stat() (fs.FileInfo, error) { return f.file.Stat() }

func (f *imageFile) Read(b []byte) (int, error) {
	f.pulse.beat()
	n, err := f.file.ReadAt(b, f.at)
	f.at += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

func (f *imageFile) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekStart {
		return 0, errors.ErrUnsupported
	}
	f.at = offset
	return offset, nil
}

// Close leaves the file open: it belongs to the image's maker.
func (f *imageFile) Close() error { return nil }
