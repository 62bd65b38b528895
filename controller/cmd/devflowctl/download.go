package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/client"
	"devflowbackup/shared/wire"
)

const objectAll = "all"

func (c *ctl) backupDownload() *cobra.Command {
	d := &downloads{c: c}
	var object string
	cmd := &cobra.Command{
		Use: "download BACKUP [-o FILE|DIR|-]", Short: "Fetch a backup's file, whole and proven",
		Long: `Fetch a backup's file. It comes from its store by a short-lived link, or through the controller where the backup lies on its database's
own host, where it is decrypted, or where the store cannot be reached from here.

What has come is kept in FILE.part. When the connection breaks it is asked for again and goes on where it stopped; so does the same command
after it was stopped. FILE appears only when its SHA-256 is the catalog's. With -o - the bytes go to standard output: whether they were
right is known at the end, by the exit status.

--object all fetches everything that was stored: artifact, fingerprint, roles and settings, manifest.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if d.backup, err = identifier("backup", args[0]); err != nil {
				return err
			}
			if err := d.check(object); err != nil {
				return err
			}
			if d.cl, err = c.client(); err != nil {
				return err
			}
			if d.out == "-" {
				return d.toOutput(cmd.Context(), object)
			}
			return d.all(cmd.Context(), object)
		},
	}
	f := cmd.Flags()
	c.outFlag(cmd, &d.out, ".", "file or directory to write to; - is standard output")
	f.StringVar(&object, "object", wire.ObjectArtifact, "artifact, fingerprint, globals, manifest or all")
	f.BoolVar(&d.decrypt, "decrypt", false, "take encryption and compression off; the controller does it")
	f.BoolVar(&d.viaController, "via-controller", false, "do not ask the store itself")
	f.DurationVar(&d.patience, "retry", unreachable, "how long to go on asking while nothing comes, three times at least")
	f.BoolVar(&d.force, "force", false, "replace FILE, and begin anew if there is a part of it")
	f.StringVar(&c.flags.StorageCAFile, "storage-ca", "", "file with the CA certificate of the store (DEVFLOW_STORAGE_CA)")
	return cmd
}

// downloads is one run of the command.
type downloads struct {
	c             *ctl
	cl            *client.Client
	backup        int64
	out           string
	force         bool
	decrypt       bool
	viaController bool
	patience      time.Duration
}

// downloaded is one file that is there, whole.
type downloaded struct {
	File    string `json:"file"`
	Object  string `json:"object"`
	Format  string `json:"format"`
	Size    int64  `json:"size"`
	SHA256  string `json:"sha256"`
	Resumed int64  `json:"resumed_bytes"` // of an earlier run
	Millis  int64  `json:"duration_ms"`
}

var downloadObjects = []string{wire.ObjectArtifact, wire.ObjectFingerprint, wire.ObjectGlobals, controller.ObjectManifest}

func (d *downloads) check(object string) error {
	known := object == objectAll
	for _, o := range downloadObjects {
		known = known || o == object
	}
	switch {
	case !known:
		return usagef("--object %q is not allowed; use %s or all", object, strings.Join(downloadObjects, ", "))
	case d.decrypt && object == controller.ObjectManifest:
		return usagef("--decrypt is not allowed with --object manifest: a manifest is stored as it is")
	case d.out == "":
		return usagef("-o is empty; give a file, a directory or -")
	case d.out == "-" && object == objectAll:
		return usagef("-o - takes one object; give a directory for --object all")
	case d.patience < 0:
		return usagef("--retry %s is not allowed; use 0 or more, such as 30s or 1h", d.patience)
	}
	if f, ok := d.c.out.(*os.File); ok && d.out == "-" && object != controller.ObjectManifest && isatty.IsTerminal(f.Fd()) {
		return usagef("-o - would write a binary file to the terminal; pipe it, or give a file")
	}
	return nil
}

func (d *downloads) format(object string) string {
	if d.decrypt && object != controller.ObjectManifest {
		return controller.FormatDump
	}
	return controller.FormatStored
}

func (d *downloads) isDir() bool {
	info, err := os.Stat(d.out)
	return err == nil && info.IsDir() || strings.HasSuffix(d.out, "/")
}

// all fetches one object into a file, or all of them into a directory.
func (d *downloads) all(ctx context.Context, object string) error {
	objects := []string{object}
	if object == objectAll {
		objects = downloadObjects
		if !d.isDir() {
			return usagef("--object all needs a directory, and %s is none", d.out)
		}
	}
	if strings.HasSuffix(d.out, "/") {
		if err := os.MkdirAll(d.out, 0o700); err != nil {
			return fmt.Errorf("make the directory: %w", err)
		}
	}
	got := []downloaded{}
	var failed error
	for _, o := range objects {
		one, err := d.file(ctx, o)
		var p *body.Problem
		if object == objectAll && o != wire.ObjectArtifact && o != controller.ObjectManifest && errors.As(err, &p) && p.Code == controller.ENotFound {
			fmt.Fprintf(d.c.err, "backup %d has no %s\n", d.backup, o)
			continue
		}
		if err != nil {
			failed = err
			break
		}
		got = append(got, *one)
	}
	if len(got) > 0 {
		if err := d.c.show(got, func(t *rows) {
			t.head("FILE", "OBJECT", "SIZE", "TIME", "SHA-256")
			for _, g := range got {
				t.row(g.File, g.Object, size(g.Size), span(time.Duration(g.Millis)*time.Millisecond), g.SHA256)
			}
		}); err != nil {
			return err
		}
	}
	return failed
}

// link asks for a link; an outage of the controller is waited for.
func (d *downloads) link(ctx context.Context, object string, view *transferView, w *waiting) (body.Download, error) {
	in := body.CreateDownload{Object: object, Format: d.format(object)}
	if d.viaController {
		in.Via = body.ViaController
	}
	for {
		l, err := d.cl.CreateDownload(ctx, d.backup, in)
		if err == nil || !client.Transient(err) {
			return l, err
		}
		if err := w.again(ctx, view, err); err != nil {
			return l, err
		}
	}
}

// file fetches one object into its file.
func (d *downloads) file(ctx context.Context, object string) (*downloaded, error) {
	start := time.Now()
	view := d.c.transfer(fmt.Sprintf("%s of backup %d", object, d.backup))
	defer view.clear()
	w := &waiting{patience: d.patience}
	link, err := d.link(ctx, object, view, w)
	if err != nil {
		return nil, err
	}
	target := d.out
	if d.isDir() {
		// The name comes from elsewhere: no part of it may lead out of the directory.
		name := filepath.Base(filepath.Clean("/" + link.FileName))
		if name == "/" || name != link.FileName {
			return nil, fmt.Errorf("the controller gave %q as a file's name", link.FileName)
		}
		target = filepath.Join(d.out, name)
	}
	if err := absent(target, d.force); err != nil {
		return nil, err
	}
	view.name = filepath.Base(target)
	view.start(0, link.Size)
	p, err := openPart(ctx, target, d.state(link), d.force, view.moved)
	if err != nil {
		return nil, err
	}
	defer p.close()
	if p.kept > 0 {
		view.note("%s: %s of %s are there; going on", target, size(p.kept), size(link.Size))
	}
	view.start(p.n, link.Size)
	if err := d.fill(ctx, link, p, view, w); err != nil {
		if p.n > 0 {
			err = fmt.Errorf("%w\n%s has %s of %s: run the same command again to go on", err, p.file.Name(), size(p.n), size(link.Size))
		}
		return nil, err
	}
	if err := p.finish(d.force); err != nil {
		return nil, err
	}
	return &downloaded{
		File: target, Object: link.Object, Format: link.Format, Size: link.Size, SHA256: link.Checksum, Resumed: p.kept, Millis: time.Since(start).Milliseconds(),
	}, nil
}

func (d *downloads) state(l body.Download) partState {
	return partState{Backup: d.backup, Object: l.Object, Format: l.Format, FileName: l.FileName, Size: l.Size, Checksum: l.Checksum}
}

// fill reads until the part is as long as it has to be. Each link is asked once: a broken transfer goes on with a new one.
func (d *downloads) fill(ctx context.Context, link body.Download, p *part, view *transferView, w *waiting) error {
	fromStore := false
	for p.n < link.Size {
		before := p.n
		err := d.read(ctx, link, p, view)
		if err == nil {
			break
		}
		if p.n > before {
			fromStore = fromStore || link.Direct
			w.reset()
		}
		w.failures++
		var disk diskError
		switch {
		case errors.As(err, &disk), ctx.Err() != nil:
			return err
		case link.Direct && d.unfit(err, fromStore, w.failures):
			view.note("%v; fetching through the controller instead", err)
			d.viaController, w.failures = true, 0
		case !d.worthwhile(err, w.failures):
			return err
		default:
			if err := w.again(ctx, view, err); err != nil {
				return err
			}
		}
		next, err := d.link(ctx, link.Object, view, w)
		if err != nil {
			return err
		}
		if d.state(next) != p.state {
			return fmt.Errorf("the backup is another one now: it has SHA-256 %s, %s is a part of %s", next.Checksum, p.file.Name(), p.state.Checksum)
		}
		link = next
	}
	return nil
}

// unfit tells whether the store cannot be read from here: it was never reached, or refuses link after link.
func (d *downloads) unfit(err error, worked bool, failures int) bool {
	var refused *client.StoreError
	switch {
	case client.Unreachable(err):
		return !worked || failures >= 3
	case errors.As(err, &refused):
		return !client.Transient(err) && failures >= 2
	}
	return false
}

// worthwhile tells whether another link may help: after an outage, and once after a refusal, as a link expires and works once.
func (d *downloads) worthwhile(err error, failures int) bool {
	var p *body.Problem
	var s *client.StoreError
	switch {
	case client.Transient(err):
		return true
	case errors.As(err, &s):
		return true // unfit ends it
	case errors.As(err, &p):
		return failures < 2 && (p.Status == http.StatusNotFound || p.Status == http.StatusConflict)
	}
	return false
}

// read appends what the link gives to the part.
func (d *downloads) read(ctx context.Context, link body.Download, p *part, view *transferView) error {
	content, err := d.cl.Open(ctx, link, p.n)
	if err != nil {
		return err
	}
	defer content.Close()
	if content.Offset != p.n {
		if err := p.reset(); err != nil {
			return diskError{err}
		}
	}
	_, err = io.CopyBuffer(counted{p, func() { view.moved(p.n) }}, onlyReader{content}, make([]byte, 256<<10))
	return err
}

type counted struct {
	w     io.Writer
	after func()
}

func (c counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.after()
	return n, err
}

// toOutput streams one object to standard output. What was written cannot be taken back, so a transfer that broke is not resumed.
func (d *downloads) toOutput(ctx context.Context, object string) error {
	view := d.c.transfer(fmt.Sprintf("%s of backup %d", object, d.backup))
	defer view.clear()
	w := &waiting{patience: d.patience}
	h, n := sha256.New(), int64(0)
	link, err := d.link(ctx, object, view, w)
	if err != nil {
		return err
	}
	view.start(0, link.Size)
	for link.Size > 0 {
		err := d.stream(ctx, link, io.MultiWriter(outputWriter{d.c.out}, h, writerFunc(func(b []byte) { n += int64(len(b)); view.moved(n) })))
		if err == nil {
			break
		}
		var disk diskError
		w.failures++
		switch {
		case n > 0 || errors.As(err, &disk):
			return fmt.Errorf("%w\nwhat was written is not the whole: %d of %d bytes. Do not use it; -o FILE resumes", err, n, link.Size)
		case ctx.Err() != nil:
			return err
		case link.Direct && d.unfit(err, false, w.failures):
			view.note("%v; fetching through the controller instead", err)
			d.viaController, w.failures = true, 0
		case !d.worthwhile(err, w.failures):
			return err
		default:
			if err := w.again(ctx, view, err); err != nil {
				return err
			}
		}
		if link, err = d.link(ctx, object, view, w); err != nil {
			return err
		}
	}
	if got := fmt.Sprintf("%x", h.Sum(nil)); n != link.Size || got != link.Checksum {
		return fmt.Errorf("what was written is damaged: %d bytes with SHA-256 %s, the backup has %d with %s. Do not use it", n, got, link.Size, link.Checksum)
	}
	view.note("%s: %d bytes, SHA-256 %s: as the catalog has it", link.FileName, n, link.Checksum)
	return nil
}

func (d *downloads) stream(ctx context.Context, link body.Download, w io.Writer) error {
	content, err := d.cl.Open(ctx, link, 0)
	if err != nil {
		return err
	}
	defer content.Close()
	_, err = io.CopyBuffer(w, onlyReader{content}, make([]byte, 256<<10))
	return err
}

type writerFunc func([]byte)

func (f writerFunc) Write(b []byte) (int, error) { f(b); return len(b), nil }

type outputWriter struct{ w io.Writer }

func (o outputWriter) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	if err != nil {
		return n, diskError{fmt.Errorf("write standard output: %w", err)}
	}
	return n, nil
}

// waiting bounds how long a transfer is tried again without a single byte.
type waiting struct {
	patience time.Duration
	since    time.Time // of the first failure after the last byte
	tries    int       // since then
	pause    time.Duration
	failures int // of links that were opened
}

func (w *waiting) reset() { *w = waiting{patience: w.patience} }

const (
	slowestRetry = 15 * time.Second
	// A host reads an artifact from its start to find where it is damaged: one try may take longer than all patience, and what is
	// wrong is only told by the next one.
	leastTries = 3
)

// again waits before the next try. It returns why not if patience has run out.
func (w *waiting) again(ctx context.Context, view *transferView, why error) error {
	now := time.Now()
	if w.since.IsZero() {
		w.since = now
	}
	w.tries++
	left := w.patience - now.Sub(w.since)
	if left <= 0 && (w.patience == 0 || w.tries >= leastTries) {
		return fmt.Errorf("%w; gave up after %s without a byte (--retry)", why, span(now.Sub(w.since)))
	}
	w.pause = min(max(2*w.pause, firstPoll), slowestRetry, max(left, firstPoll))
	view.note("%v; asking again in %s", why, span(w.pause))
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(w.pause):
		return nil
	}
}
