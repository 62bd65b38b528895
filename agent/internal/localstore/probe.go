package localstore

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"devflowbackup/shared/wire"
)

// probePrefix begins the names of the probe's own files, which no key can name.
const probePrefix = ".devflow-probe-"

// Probe writes, reads, lists and deletes a file of its own. It ends with the first step that fails, and leaves nothing.
func (s *Store) Probe() []wire.LocalStep {
	p := &probe{s: s, name: probePrefix + wire.NewID()}
	defer p.close()
	var steps []wire.LocalStep
	for _, step := range []struct {
		name string
		run  func() (detail string, err error)
	}{
		{"directory", p.open},
		{"free space", p.space},
		{"write", p.write},
		{"sync", p.sync},
		{"rename", p.rename},
		{"read", p.read},
		{"list", p.list},
		{"delete", p.remove},
	} {
		start := time.Now()
		detail, err := step.run()
		if err != nil {
			detail = writeFault(step.name, err).Error()
		}
		steps = append(steps, wire.LocalStep{Name: step.name, OK: err == nil, Millis: time.Since(start).Milliseconds(), Detail: detail})
		if err != nil {
			break
		}
	}
	return steps
}

type probe struct {
	s    *Store
	name string
	root *os.File
	at   place
	f    *os.File
	text []byte
}

func (p *probe) close() {
	if p.f != nil {
		_ = p.f.Close()
	}
	if p.root != nil {
		_, _ = p.at.unlink(p.name)
		_, _ = p.at.unlink(p.name + partial)
		_ = p.root.Close()
	}
}

func (p *probe) open() (string, error) {
	root, err := p.s.root()
	if err != nil {
		return "", err
	}
	p.root, p.at = root, place{dir: root, name: p.name, key: p.name}
	info, err := root.Stat()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, mode %04o", p.s.opt.Dir, info.Mode().Perm()), nil
}

func (p *probe) space() (string, error) {
	room, err := p.s.room(p.root, 1)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s for backups, and %s stay free", size(room), size(p.s.opt.MinFree)), nil
}

func (p *probe) write() (string, error) {
	f, err := p.at.open(p.name+partial, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return "", err
	}
	p.f, p.text = f, bytes.Repeat([]byte(p.name), 4096)
	_, err = f.Write(p.text)
	return fmt.Sprintf("%d bytes", len(p.text)), err
}

func (p *probe) sync() (string, error) { return "", p.f.Sync() }

func (p *probe) rename() (string, error) {
	fd := int(p.root.Fd())
	if err := unix.Renameat(fd, p.name+partial, fd, p.name); err != nil {
		return "", err
	}
	return "", p.root.Sync()
}

func (p *probe) read() (string, error) {
	got := make([]byte, len(p.text))
	if _, err := p.f.ReadAt(got, 0); err != nil {
		return "", err
	}
	if !bytes.Equal(got, p.text) {
		return "", wire.Failf(wire.CodeCorrupt, "other bytes were read than were written")
	}
	return "", nil
}

func (p *probe) list() (string, error) {
	if _, err := p.root.Seek(0, 0); err != nil {
		return "", err
	}
	names, err := p.root.Readdirnames(-1)
	if err != nil {
		return "", err
	}
	if !slices.Contains(names, p.name) {
		return "", wire.Failf(wire.CodeMissing, "the file that was written is not in the directory")
	}
	return "", nil
}

func (p *probe) remove() (string, error) {
	if _, err := p.at.unlink(p.name); err != nil {
		return "", err
	}
	return "", p.root.Sync()
}
