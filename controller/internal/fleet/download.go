package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"sync"
	"time"

	"filippo.io/age"

	"devflowbackup/controller"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

const (
	// heldBack is how much of a download is handed out only when all of it is proven: whoever got the end got the whole.
	heldBack = 64 << 10

	downloadsAtOnce = 16 // of one controller; more wait
	copyBuffer      = 256 << 10
)

// DownloadURL is a link of the store itself for an object as it is stored. ok is false where there is none: what lies on a host, or
// has to be decoded, is streamed.
func (f *Fleet) DownloadURL(ctx context.Context, d controller.Download) (url string, ok bool, err error) {
	if err := f.checkRecord(ctx, d.Record); err != nil {
		return "", false, downloadError(d, err)
	}
	if d.Format != controller.FormatStored {
		return "", false, nil
	}
	access, err := f.opt.Store.StorageAccess(ctx, d.StorageID)
	if err != nil || access.Kind == controller.StorageLocal {
		return "", false, err
	}
	objects, err := f.open(access, d.Server)
	if err != nil {
		return "", false, downloadError(d, err)
	}
	expires := controller.DownloadTTL
	if left := time.Until(d.ExpiresAt); !d.ExpiresAt.IsZero() && left < expires {
		expires = max(left.Truncate(time.Second), time.Second)
	}
	if url, err = objects.SignLink(ctx, d.Object, path.Base(d.Object.Key), expires); err != nil {
		return "", false, downloadError(d, err)
	}
	return url, true, nil
}

// StreamDownload writes what the link gives to w, from offset on, unspooled. It returns nil only after all of it was written and both
// its size and its checksum hold: the last 64 KiB before that are held back until then. After any error, one of w too, w has not got the
// end: the caller must break the connection off, or the receiver takes a beginning for the whole. Before the first byte an error is a
// *controller.Error, or internal.
//
// The beginning is read also where it is not asked for, since the checksum is of the whole; of an object as it is stored only as far as
// this controller has not streamed it before. What is decrypted without a proof on the
// way (aes-256-cbc, none) is first read whole and held against its checksum.
//
// Memory: 2 MiB; decoding takes what artifact.Reader does.
func (f *Fleet) StreamDownload(ctx context.Context, d controller.Download, offset int64, w io.Writer) error {
	if offset < 0 || offset > d.Size() {
		return controller.Invalid("offset", "%d is not within the %d bytes there are", offset, d.Size())
	}
	if err := f.checkRecord(ctx, d.Record); err != nil {
		return downloadError(d, err)
	}
	select {
	case f.downloads <- struct{}{}:
		defer func() { <-f.downloads }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	objects, err := f.storage(ctx, d.StorageID, d.Server)
	if err != nil {
		return downloadError(d, err)
	}
	out := &counted{ctx: ctx, w: w}
	if d.Format == controller.FormatDump {
		err = f.streamDump(ctx, objects, d, offset, out)
	} else {
		err = f.streamStored(ctx, objects, d.Object, offset, out)
	}
	if err == nil {
		return nil
	}
	f.log.Warn("download broken off", "backup_id", d.Backup.ID, "object", d.Object.Object, "format", d.Format, "offset", offset, "bytes", out.n, "err", err)
	return downloadError(d, err)
}

// streamStored copies an object from offset on and proves that it is the recorded one.
func (f *Fleet) streamStored(ctx context.Context, objects Objects, o controller.StoredObject, offset int64, w io.Writer) (err error) {
	want, err := artifact.ParseDigest(o.StoredSHA256)
	if err != nil {
		return fmt.Errorf("checksum of %s: %w", o.Key, err)
	}
	at, sum := f.proofs.resume(o, offset)
	src, err := objects.Read(ctx, o, at)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	end := &tail{w: w, skip: offset - at}
	proof := f.proofs.prover(o, at, sum)
	// In pieces, whatever src could do at once: marks lie between them.
	if _, err := io.CopyBuffer(io.MultiWriter(proof, end), struct{ io.Reader }{src}, make([]byte, copyBuffer)); err != nil {
		return err
	}
	if proof.at != o.StoredSize {
		return &artifact.DamageError{What: "stored size", Want: strconv.FormatInt(o.StoredSize, 10), Got: strconv.FormatInt(proof.at, 10)}
	}
	if got := artifact.Digest(sum.Sum(nil)); got != want {
		f.proofs.forget(o)
		return &artifact.DamageError{What: "stored SHA-256", Want: want.String(), Got: got.String()}
	}
	return end.release()
}

// streamDump copies what an object holds, decrypted and decompressed, from offset on.
func (f *Fleet) streamDump(ctx context.Context, objects Objects, d controller.Download, offset int64, w io.Writer) (err error) {
	opt, err := f.readOptions(ctx, d)
	if err != nil {
		return err
	}
	if opt.Encryption != controller.EncryptionAge {
		if err := f.streamStored(ctx, objects, d.Object, 0, io.Discard); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	body, err := objects.Read(ctx, d.Object, 0)
	if err != nil {
		cancel()
		return err
	}
	src := &shared{src: body}
	defer func() { cancel(); err = errors.Join(err, src.Close()) }()
	r, err := artifact.NewReader(src, opt)
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // it tells nothing
	end := &tail{w: w, skip: offset}
	if _, err := io.CopyBuffer(end, r, make([]byte, copyBuffer)); err != nil {
		return err
	}
	return end.release() // the reader has proven both checksums
}

// readOptions say how the object is decoded and what it must turn out to be: all of it from the catalog, nothing from the store.
func (f *Fleet) readOptions(ctx context.Context, d controller.Download) (artifact.ReadOptions, error) {
	o := d.Object
	expect := artifact.Sums{StoredSize: o.StoredSize, RawSize: o.RawSize}
	opt := artifact.ReadOptions{Compression: d.Backup.Compression, Encryption: d.Backup.Encryption, Recipients: d.Recipients, Expect: &expect}
	var err error
	if expect.StoredSHA256, err = artifact.ParseDigest(o.StoredSHA256); err == nil {
		expect.RawSHA256, err = artifact.ParseDigest(o.RawSHA256)
	}
	if err != nil {
		return opt, fmt.Errorf("checksums of %s: %w", o.Key, err)
	}
	switch opt.Encryption {
	case controller.EncryptionAge:
		opt.Identity, err = f.fileKey(ctx, d)
	case controller.EncryptionAES:
		if len(o.MAC) != len(expect.MAC) {
			return opt, fmt.Errorf("the MAC of %s has %d bytes", o.Key, len(o.MAC))
		}
		copy(expect.MAC[:], o.MAC)
		var keys map[string]artifact.AESKeys
		if keys, err = f.aesKeys(ctx, d.Backup.ProjectID, d.AttemptID); err == nil {
			k := keys[o.Object]
			opt.AES = &k
		}
	}
	return opt, err
}

// fileKey opens the object's key from the header that was stored at completion.
func (f *Fleet) fileKey(ctx context.Context, d controller.Download) (age.Identity, error) {
	identity, err := f.opt.Store.ProjectIdentitySecret(ctx, d.Backup.ProjectID)
	if err != nil {
		return nil, fmt.Errorf("open the project's key: %w", err)
	}
	key, err := artifact.OpenHeader(d.Object.AgeHeader, string(identity), d.Recipients...)
	if err != nil {
		return nil, err
	}
	return artifact.FileKeyIdentity(key), nil
}

// tail writes to w all but the first skip bytes, and of the newest heldBack bytes none before release.
type tail struct {
	w    io.Writer
	skip int64
	held []byte
}

func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	if t.skip > 0 {
		k := min(t.skip, int64(len(p)))
		t.skip -= k
		p = p[k:]
	}
	over := len(t.held) + len(p) - heldBack
	if over > 0 {
		old := min(over, len(t.held))
		if err := t.write(t.held[:old]); err != nil {
			return 0, err
		}
		t.held = t.held[:copy(t.held, t.held[old:])]
		if err := t.write(p[:over-old]); err != nil {
			return 0, err
		}
		p = p[over-old:]
	}
	t.held = append(t.held, p...)
	return n, nil
}

// release writes what was held back.
func (t *tail) release() error {
	err := t.write(t.held)
	t.held = nil
	return err
}

func (t *tail) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	n, err := t.w.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return err
}

// shared lets one goroutine close what another may still be reading: a decoder that reads ahead does not wait for its source.
type shared struct {
	mu  sync.Mutex
	src io.ReadCloser
}

func (s *shared) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.src.Read(p)
}

// Close waits for a read that is under way; whoever calls it has ended that read's context.
func (s *shared) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.src.Close()
}

// counted counts what w took, and gives it no more when ctx has ended: a decoder may be ahead of it.
type counted struct {
	ctx context.Context //nolint:containedctx // of the one download
	w   io.Writer
	n   int64
}

func (c *counted) Write(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// downloadError says to the caller what kept a download from coming.
func downloadError(d controller.Download, err error) error {
	var fail *wire.Failure
	var damage *artifact.DamageError
	var key *artifact.WrongKeyError
	where := fmt.Sprintf("the %s of backup %d", d.Object.Object, d.Backup.ID)
	switch {
	case errors.As(err, &damage):
		return controller.Errorf(controller.EConflict, "%s is damaged where it is stored: %v", where, damage).
			WithHint("verify the backup, and take another one")
	case errors.As(err, &key):
		return controller.Errorf(controller.EConflict, "%s does not open with the project's key: %v", where, key)
	case !errors.As(err, &fail):
		return err
	case fail.Code == wire.CodeRecord:
		return controller.Errorf(controller.EConflict, "%s cannot be fetched: %s", where, fail.Message).WithHint("%s", fail.Hint)
	case fail.Code == wire.CodeMissing:
		return controller.Errorf(controller.EConflict, "%s is gone from its storage", where).WithHint("verify the backup, and take another one")
	case fail.Code == wire.CodeOffline:
		return controller.Errorf(controller.EUnavailable, "%s lies on %s: %s", where, d.Server.Name, fail.Message).WithHint("start devflow-agent there, then ask again")
	case fail.Code == wire.CodeStorageUnavailable:
		return controller.Errorf(controller.EUnavailable, "%s cannot be read now: %s", where, fail.Message)
	}
	return controller.Errorf(controller.EConflict, "%s cannot be read: %s", where, fail.Message).WithHint("%s", fail.Hint)
}
