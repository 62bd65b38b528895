package fleet_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/fleet"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

const heldBack = 64 << 10

// noise does not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// newDownload is an artifact that lies in the bucket, or on the host if there is one.
func newDownload(t *testing.T, k *kit, h *host, c artifact.Codec, raw []byte) (controller.Download, []byte) {
	t.Helper()
	keys := newAgeKeys(t)
	k.store.identity, k.store.appKey = []byte(keys.identity), []byte(appKey)
	if c.Encryption == "age" {
		c.Recipients = []string{keys.recipient}
	}
	stored, sums := encodeArtifact(t, c, raw, aesKeys(t, wire.ObjectArtifact))
	key := "p/backups/2025/01/02/" + artifact.FileName("shop", time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC), attemptID, "dump", c)
	d := controller.Download{
		Backup: controller.Backup{ID: 12, ProjectID: 3, Compression: c.Compression, Encryption: c.Encryption, StorageDisk: "s3"},
		Server: agentServer(), StorageID: 6, Recipients: c.Recipients, Format: controller.FormatStored, AttemptID: attemptID,
		Object: controller.StoredObject{
			Object: wire.ObjectArtifact, Key: key, StoredSize: sums.StoredSize, StoredSHA256: sums.StoredSHA256.String(), RawSize: sums.RawSize, RawSHA256: sums.RawSHA256.String(),
			ETag: "e", VersionID: "v1",
		},
	}
	if c.Encryption == "age" {
		d.Object.AgeHeader = ageHeader(t, stored)
	}
	if c.Encryption == "aes-256-cbc" {
		d.Object.MAC = sums.MAC[:]
	}
	d.Record = k.recorded(h, d.Backup, []controller.StoredObject{d.Object}, c)
	if h == nil {
		k.bucket.put(key, stored)
	} else {
		h.set(func(h *host) { h.files[key] = stored })
	}
	return d, stored
}

// fetch streams and fails the test if what was written is not a beginning of what should be.
func (k *kit) fetch(d controller.Download, offset int64, want []byte) ([]byte, error) {
	k.t.Helper()
	var buf bytes.Buffer
	err := k.fleet.StreamDownload(k.t.Context(), d, offset, &buf)
	if got := buf.Bytes(); !bytes.HasPrefix(want[offset:], got) {
		k.t.Errorf("other bytes were handed out")
	}
	if err == nil && int64(buf.Len()) != int64(len(want))-offset {
		k.t.Errorf("%d bytes and a clean end, want %d", buf.Len(), int64(len(want))-offset)
	}
	if err != nil && int64(buf.Len()) > max(0, int64(len(want))-offset-heldBack) {
		k.t.Errorf("%d of %d bytes were handed out with %v", buf.Len(), int64(len(want))-offset, err)
	}
	return buf.Bytes(), err
}

func TestStreamDownload(t *testing.T) {
	raw := noise(300_000)
	for _, local := range []bool{false, true} {
		for _, c := range artifact.Codecs() {
			t.Run(fmt.Sprintf("%s %s local %t", c.Compression, c.Encryption, local), func(t *testing.T) {
				t.Parallel()
				k := newKit(t, nil)
				var h *host
				if local {
					h = newHost(k)
				}
				d, stored := newDownload(t, k, h, c, raw)
				for format, want := range map[string][]byte{controller.FormatStored: stored, controller.FormatDump: raw} {
					d.Format = format
					for _, offset := range []int64{0, 1, 150_000, d.Size() - heldBack, d.Size() - 1, d.Size()} {
						if _, err := k.fetch(d, offset, want); err != nil {
							t.Errorf("%s from %d: %v", format, offset, err)
						}
					}
					for _, offset := range []int64{-1, d.Size() + 1} {
						if err := k.fleet.StreamDownload(t.Context(), d, offset, io.Discard); controller.ErrorCode(err) != controller.EInvalid {
							t.Errorf("%s from %d: %v", format, offset, err)
						}
					}
				}
				if local {
					k.noBucket()
				}
			})
		}
	}
}

// An empty dump has an end too.
func TestStreamDownload_empty(t *testing.T) {
	for _, c := range artifact.Codecs() {
		k := newKit(t, nil)
		d, stored := newDownload(t, k, newHost(k), c, nil)
		if _, err := k.fetch(d, 0, stored); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
		d.Format = controller.FormatDump
		if _, err := k.fetch(d, 0, nil); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// Faults 62 and 63 on the way out: whatever is not the recorded object never comes to a clean end.
func TestStreamDownload_damage(t *testing.T) {
	raw := noise(300_000)
	for _, c := range artifact.Codecs() {
		t.Run(c.Compression+" "+c.Encryption, func(t *testing.T) {
			t.Parallel()
			k := newKit(t, nil)
			h := newHost(k)
			d, stored := newDownload(t, k, h, c, raw)
			another, _ := encodeArtifact(t, codecOf(c, d.Recipients), noise(300_001)[1:], aesKeys(t, wire.ObjectArtifact))
			for name, body := range map[string][]byte{
				"first byte":  flipped(stored, 0),
				"middle":      flipped(stored, len(stored)/2),
				"last byte":   flipped(stored, len(stored)-1),
				"shorter":     stored[:len(stored)-1],
				"empty":       {},
				"longer":      append(bytes.Clone(stored), 0),
				"63 another":  another,
				"nothing but": make([]byte, len(stored)),
			} {
				h.set(func(h *host) { h.files[d.Object.Key] = body })
				for format, want := range map[string][]byte{controller.FormatStored: stored, controller.FormatDump: raw} {
					d.Format = format
					for _, offset := range []int64{0, 100_000} {
						var buf bytes.Buffer
						err := k.fleet.StreamDownload(t.Context(), d, offset, &buf)
						if controller.ErrorCode(err) != controller.EConflict || int64(buf.Len()) > int64(len(want))-offset-heldBack {
							t.Errorf("%s, %s from %d: %d bytes and %v", name, format, offset, buf.Len(), err)
						}
						if format == controller.FormatDump && c.Encryption != "age" && buf.Len() > 0 {
							t.Errorf("%s: %d bytes of an unproven dump were handed out", name, buf.Len())
						}
					}
				}
			}
			noAppKey(t, k.log)
		})
	}
}

func codecOf(c artifact.Codec, recipients []string) artifact.Codec {
	c.Recipients = recipients
	return c
}

// What is read differs from pass to pass: the second of them decides.
func TestStreamDownload_changesMeanwhile(t *testing.T) {
	raw := noise(300_000)
	for _, encryption := range []string{"aes-256-cbc", "none"} {
		k := newKit(t, nil)
		d, stored := newDownload(t, k, nil, artifact.Codec{Compression: "none", Encryption: encryption}, raw)
		d.Format = controller.FormatDump
		passes := 0
		k.bucket.reads = map[string]func(io.Reader) io.Reader{d.Object.Key: func(r io.Reader) io.Reader {
			if passes++; passes == 2 {
				return bytes.NewReader(flipped(stored, len(stored)-1))
			}
			return r
		}}
		if _, err := k.fetch(d, 0, raw); controller.ErrorCode(err) != controller.EConflict || passes != 2 {
			t.Errorf("%s: %v after %d passes", encryption, err, passes)
		}
	}
}

// Fault 44 and others: what there is to say before the first byte is for the caller.
func TestStreamDownload_refused(t *testing.T) {
	raw := noise(10_000)
	age := artifact.Codec{Compression: "zstd", Encryption: "age"}
	aes := artifact.Codec{Compression: "zstd", Encryption: "aes-256-cbc"}
	for name, c := range map[string]struct {
		codec  artifact.Codec
		format string
		change func(*kit, *host, *controller.Download)
		code   string
		says   string
	}{
		"44 gone": {age, "stored", func(_ *kit, h *host, d *controller.Download) {
			h.set(func(h *host) { delete(h.files, d.Object.Key) })
		}, controller.EConflict, "gone from its storage"},
		"offline": {age, "stored", func(_ *kit, h *host, _ *controller.Download) { h.disconnect() }, controller.EUnavailable, "db-7"},
		"no directory": {age, "stored", func(_ *kit, h *host, _ *controller.Download) {
			h.set(func(h *host) { h.fail[wire.LocalStat] = wire.Failf(wire.CodeNotAllowed, "no backup directory") })
		}, controller.EConflict, "no backup directory"},
		"another's key": {age, "dump", func(k *kit, _ *host, _ *controller.Download) { k.store.identity = []byte(newAgeKeys(k.t).identity) }, controller.EConflict, "project's key"},
		"no header":     {age, "dump", func(_ *kit, _ *host, d *controller.Download) { d.Object.AgeHeader = nil }, controller.EConflict, "header"},
		"another header": {age, "dump", func(k *kit, _ *host, d *controller.Download) {
			other, _ := encodeArtifact(k.t, codecOf(age, d.Recipients), raw)
			d.Object.AgeHeader = ageHeader(k.t, other)
		}, controller.EConflict, "header"},
		"another app key": {aes, "dump", func(k *kit, _ *host, _ *controller.Download) { k.store.appKey = []byte("another app key than before") }, controller.EConflict, "project's key"},
		"another MAC":     {aes, "dump", func(_ *kit, _ *host, d *controller.Download) { d.Object.MAC = flipped(d.Object.MAC, 1) }, controller.EConflict, "MAC"},
		"no MAC":          {aes, "dump", func(_ *kit, _ *host, d *controller.Download) { d.Object.MAC = nil }, controller.EInternal, "MAC"},
		"another attempt": {aes, "dump", func(_ *kit, _ *host, d *controller.Download) { d.AttemptID = "ponmlkjihgfedcba" }, controller.EConflict, "project's key"},
		"no app key":      {aes, "dump", func(k *kit, _ *host, _ *controller.Download) { k.store.failing("ProjectAppKey", errDown) }, controller.EUnavailable, "catalog"},
		"no identity":     {age, "dump", func(k *kit, _ *host, _ *controller.Download) { k.store.failing("ProjectIdentitySecret", errDown) }, controller.EUnavailable, "catalog"},
		"no storage":      {age, "stored", func(k *kit, _ *host, _ *controller.Download) { k.store.failing("StorageAccess", errDown) }, controller.EUnavailable, "catalog"},
		"no checksum":     {age, "stored", func(_ *kit, _ *host, d *controller.Download) { d.Object.StoredSHA256 = "ab" }, controller.EInternal, "SHA-256"},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKit(t, nil)
			h := newHost(k)
			d, _ := newDownload(t, k, h, c.codec, raw)
			d.Format = c.format
			c.change(k, h, &d)
			var buf bytes.Buffer
			err := k.fleet.StreamDownload(t.Context(), d, 0, &buf)
			if controller.ErrorCode(err) != c.code || !strings.Contains(err.Error(), c.says) || buf.Len() > 0 {
				t.Errorf("%d bytes, %v; want %s with %q", buf.Len(), err, c.code, c.says)
			}
			noAppKey(t, k.log, err)
		})
	}
}

// A host is read with several requests on the way, one whose answer is lost is made again, and one that goes away breaks the download off.
func TestStreamDownload_host(t *testing.T) {
	raw := noise(40 * wire.MaxLocalData)
	k := newKit(t, func(o *fleet.Options) { o.Accept, o.ReadAgain = 200*time.Millisecond, 10*time.Millisecond })
	h := newHost(k)
	d, stored := newDownload(t, k, h, artifact.Codec{Compression: "none", Encryption: "none"}, raw)
	h.set(func(h *host) { h.silent[wire.LocalRead] = 2 })
	if _, err := k.fetch(d, 0, stored); err != nil {
		t.Error(err)
	}
	if n := h.count(wire.LocalRead); n != 42 {
		t.Errorf("%d reads for 40 pieces of which 2 got lost", n)
	}
	h.set(func(h *host) { h.silent[wire.LocalRead] = -1 })
	if _, err := k.fetch(d, 0, stored); controller.ErrorCode(err) != controller.EUnavailable {
		t.Errorf("from a host that hangs: %v", err)
	}
	h.set(func(h *host) { h.silent[wire.LocalRead] = 0 })
	// It goes away in the middle.
	w := &breaking{at: 1 << 20, then: h.disconnect}
	if err := k.fleet.StreamDownload(t.Context(), d, 0, w); controller.ErrorCode(err) != controller.EUnavailable || w.n > int64(len(stored)-heldBack) {
		t.Errorf("%d bytes, %v", w.n, err)
	}
	if n := goroutines(); n != 0 {
		t.Errorf("%d goroutines are left", n)
	}
}

// breaking calls then once so many bytes have come.
type breaking struct {
	n, at int64
	then  func()
}

func (b *breaking) Write(p []byte) (int, error) {
	b.n += int64(len(p))
	if b.n >= b.at && b.then != nil {
		b.then()
		b.then = nil
	}
	return len(p), nil
}

// A receiver that breaks off ends the reading; its error comes back as it is.
func TestStreamDownload_receiver(t *testing.T) {
	gone := errors.New("connection reset")
	for _, c := range artifact.Codecs() {
		for _, format := range []string{controller.FormatStored, controller.FormatDump} {
			k := newKit(t, nil)
			d, _ := newDownload(t, k, newHost(k), c, noise(20*wire.MaxLocalData))
			d.Format = format
			if err := k.fleet.StreamDownload(t.Context(), d, 0, failing{gone}); !errors.Is(err, gone) {
				t.Errorf("%+v: %v", c, err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			if err := k.fleet.StreamDownload(ctx, d, 0, &breaking{at: 1, then: func() { cancel(gone) }}); !errors.Is(err, gone) && !errors.Is(err, context.Canceled) {
				t.Errorf("%+v, cancelled: %v", c, err)
			}
			eventually(t, "nothing runs any more", func() bool { return goroutines() == 0 })
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// A download that is resumed is proven whole, and reads only what this controller has not read before.
func TestStreamDownload_resumed(t *testing.T) {
	raw := noise(20 << 20)
	k := newKit(t, nil)
	d, stored := newDownload(t, k, nil, artifact.Codec{Compression: "none", Encryption: "none"}, raw)
	from := func(offset int64) int { return k.bucket.called(fmt.Sprintf("Read %s from %d", d.Object.Key, offset)) }
	const half = 10 << 20
	if _, err := k.fetch(d, half, stored); err != nil || from(0) != 1 {
		t.Fatalf("%v, read %d times from the beginning", err, from(0))
	}
	if _, err := k.fetch(d, half, stored); err != nil || from(0) != 1 {
		t.Fatalf("%v, read %d times from the beginning: %v", err, from(0), k.bucket.calls)
	}
	if from(8<<20) != 1 || from(16<<20) != 0 {
		t.Errorf("reads: %v", k.bucket.calls)
	}
	if _, err := k.fetch(d, int64(len(stored)), stored); err != nil || from(16<<20) != 1 {
		t.Errorf("%v; reads: %v", err, k.bucket.calls)
	}
	// The rest is damaged: no end, and what was remembered is forgotten, since it may be what was wrong.
	k.bucket.put(d.Object.Key, flipped(stored, len(stored)-1))
	if _, err := k.fetch(d, half, stored); controller.ErrorCode(err) != controller.EConflict {
		t.Errorf("a damaged rest: %v", err)
	}
	k.bucket.put(d.Object.Key, stored)
	if _, err := k.fetch(d, half, stored); err != nil || from(0) != 2 {
		t.Errorf("%v; reads: %v", err, k.bucket.calls)
	}
	// From the beginning nothing that is remembered counts.
	k.bucket.put(d.Object.Key, flipped(stored, 0))
	if err := k.fleet.StreamDownload(t.Context(), d, 0, io.Discard); controller.ErrorCode(err) != controller.EConflict {
		t.Errorf("a damaged beginning: %v", err)
	}
}

func TestStreamDownload_atOnce(t *testing.T) {
	k := newKit(t, nil)
	d, _ := newDownload(t, k, nil, artifact.Codec{Compression: "none", Encryption: "none"}, noise(200_000))
	entered, release := make(chan struct{}, 100), make(chan struct{})
	done := make(chan error, 100)
	for range 16 {
		go func() {
			done <- k.fleet.StreamDownload(context.Background(), d, 0, &breaking{at: 1, then: func() { entered <- struct{}{}; <-release }})
		}()
	}
	for range 16 {
		<-entered
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("waited long enough"))
	defer cancel()
	if err := k.fleet.StreamDownload(ctx, d, 0, io.Discard); err == nil || err.Error() != "waited long enough" {
		t.Errorf("one more: %v", err)
	}
	close(release)
	for range 16 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if err := k.fleet.StreamDownload(t.Context(), d, 0, io.Discard); err != nil {
		t.Error(err)
	}
}

func TestDownloadURL(t *testing.T) {
	k := newKit(t, nil)
	d, _ := newDownload(t, k, nil, artifact.Codec{Compression: "zstd", Encryption: "age"}, []byte("x"))
	name := d.Object.Key[strings.LastIndexByte(d.Object.Key, '/')+1:]
	url, ok, err := k.fleet.DownloadURL(t.Context(), d)
	if want := fmt.Sprintf("https://store/%s?version=v1&name=%s&expires=900", d.Object.Key, name); err != nil || !ok || url != want {
		t.Errorf("%q, %t, %v; want %q", url, ok, err, want)
	}
	d.ExpiresAt = time.Now().Add(-time.Hour)
	if url, ok, err = k.fleet.DownloadURL(t.Context(), d); err != nil || !ok || !strings.HasSuffix(url, "&expires=1") {
		t.Errorf("of a link that ends: %q, %t, %v", url, ok, err)
	}
	k.bucket.failing("SignLink", wire.Failf(wire.CodeStorageDenied, "no such key"))
	if _, ok, err = k.fleet.DownloadURL(t.Context(), d); ok || controller.ErrorCode(err) != controller.EConflict {
		t.Errorf("refused: %t, %v", ok, err)
	}
	dump := d
	dump.Format = controller.FormatDump
	if url, ok, err := k.fleet.DownloadURL(t.Context(), dump); ok || err != nil || url != "" {
		t.Errorf("of a dump: %q, %t, %v", url, ok, err)
	}
	newHost(k)
	if url, ok, err := k.fleet.DownloadURL(t.Context(), d); ok || err != nil || url != "" {
		t.Errorf("of a file on a host: %q, %t, %v", url, ok, err)
	}
	k.store.failing("StorageAccess", errDown)
	if _, ok, err := k.fleet.DownloadURL(t.Context(), d); ok || err == nil {
		t.Errorf("without the catalog: %t, %v", ok, err)
	}
}

// A changed storage is tried beside the one in use, and must hold what the old one held.
func TestProbeChange(t *testing.T) {
	k := newKit(t, nil)
	k.store.access = controller.StorageAccess{
		Storage:     controller.Storage{Name: "main", Kind: controller.StorageS3, Endpoint: "https://old", Bucket: "b", Prefix: "p"},
		Credentials: controller.Credentials{AccessKey: "old", SecretKey: "oldsecret"},
	}
	k.store.newest = "p/backups/newest"
	k.bucket.probe = fleet.ProbeResult{Summary: "it does not hold the backups"}
	endpoint := "https://new"
	res, err := k.fleet.ProbeChange(t.Context(), controller.Storage{ID: 6}, controller.StorageChange{Endpoint: &endpoint, AccessKey: "new", SecretKey: "newsecret"})
	if err != nil || res.Summary != k.bucket.probe.Summary || len(k.bucket.opened) != 1 {
		t.Fatalf("%+v, %v", res, err)
	}
	a := k.bucket.opened[0]
	if a.ID != 0 || a.Endpoint != endpoint || a.Bucket != "b" || a.Prefix != "p" || a.Credentials.AccessKey != "new" || a.Credentials.SecretKey.Reveal() != "newsecret" || k.bucket.holds != "p/backups/newest" {
		t.Errorf("probed %+v, holding %q", a, k.bucket.holds)
	}
	if k.store.count("UpdateProbe") != 0 {
		t.Error("the probe of a change was recorded")
	}
	k.store.failing("NewestObject", errDown)
	if _, err := k.fleet.ProbeChange(t.Context(), controller.Storage{ID: 6}, controller.StorageChange{}); !errors.Is(err, errDown) {
		t.Errorf("without the catalog: %v", err)
	}
	newHost(k)
	if res, err := k.fleet.ProbeChange(t.Context(), controller.Storage{ID: 6}, controller.StorageChange{}); err != nil || !res.OK || len(k.bucket.opened) != 1 {
		t.Errorf("of a local one: %+v, %v", res, err)
	}
}
