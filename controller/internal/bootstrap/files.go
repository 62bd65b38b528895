package bootstrap

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"time"

	"devflowbackup/controller"
)

const (
	sumsFile = "SHA256SUMS"
	maxSums  = 1 << 20
)

// sumLine is a line of sha256sum. Names begin with a letter or a digit: no hidden file, no path, nothing that a shell would take for more.
var sumLine = regexp.MustCompile(`^([0-9a-f]{64}) [ *]([A-Za-z0-9][A-Za-z0-9._+~-]{0,199})$`)

// Sums is SHA256SUMS, cut down to lines of the right form. ENotFound if there is none.
func (b *Bootstrap) Sums() ([]byte, error) {
	var out bytes.Buffer
	err := b.eachSum(func(sum, name string) { fmt.Fprintf(&out, "%s  %s\n", sum, name) })
	return out.Bytes(), err
}

// Open opens a file that SHA256SUMS names, with its SHA-256 from there and the time of its last change; the caller closes it. Every
// other name is ENotFound, and so is what is no regular file right in the directory.
func (b *Bootstrap) Open(name string) (file io.ReadSeekCloser, sum string, modified time.Time, err error) {
	err = b.eachSum(func(s, n string) {
		if n == name {
			sum = s
		}
	})
	if err != nil {
		return nil, "", modified, err
	}
	if sum == "" {
		return nil, "", modified, controller.Errorf(controller.ENotFound, "there is no package %.200q", name).WithHint("SHA256SUMS names what there is")
	}
	f, info, err := b.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", modified, controller.Errorf(controller.ENotFound, "the package %s is missing", name).WithHint("SHA256SUMS names it, and %s does not hold it", b.opt.Dir)
	}
	if err != nil {
		return nil, "", modified, err
	}
	return f, sum, info.ModTime(), nil
}

// open never leaves the directory: a link that leads out of it is an error.
func (b *Bootstrap) open(name string) (*os.File, fs.FileInfo, error) {
	root, err := os.OpenRoot(b.opt.Dir)
	if err != nil {
		return nil, nil, fmt.Errorf("packages: %w", err)
	}
	defer func() { _ = root.Close() }()
	if info, err := root.Stat(name); err != nil || !info.Mode().IsRegular() { // a pipe would never open
		return nil, nil, fmt.Errorf("packages: %s: %w", name, errors.Join(err, fs.ErrNotExist))
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, nil, fmt.Errorf("packages: %w", err)
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		_ = f.Close()
		return nil, nil, fmt.Errorf("packages: %s: %w", name, errors.Join(err, fs.ErrNotExist))
	}
	return f, info, nil
}

func (b *Bootstrap) eachSum(do func(sum, name string)) error {
	f, _, err := b.open(sumsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return controller.Errorf(controller.ENotFound, "the controller has no packages").
			WithHint("put the files that `make packages` builds, with SHA256SUMS, into packages.dir of the controller (%s)", b.opt.Dir)
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(io.LimitReader(f, maxSums))
	for lines.Scan() {
		if m := sumLine.FindStringSubmatch(lines.Text()); m != nil {
			do(m[1], m[2])
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("packages: read %s: %w", sumsFile, err)
	}
	return nil
}
