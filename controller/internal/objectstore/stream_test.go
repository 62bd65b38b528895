package objectstore_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"devflowbackup/controller/internal/objectstore"
	"devflowbackup/shared/testkit/s3kit"
)

// streamed is an object that was put, and its bytes.
func streamed(t *testing.T, w *world, n int) ([]byte, objectstore.Recorded) {
	t.Helper()
	data := randomBytes(7, n)
	info, err := w.store.Put(t.Context(), "big", data, "application/octet-stream")
	if err != nil {
		t.Fatal(err)
	}
	return data, objectstore.Recorded{Key: "big", VersionID: info.VersionID, ETag: info.ETag, Size: int64(n)}
}

func drain(t *testing.T, r *objectstore.Stream) ([]byte, error) {
	t.Helper()
	b, err := io.ReadAll(r)
	if _, again := r.Read(make([]byte, 1)); err == nil && again != io.EOF || err != nil && !errors.Is(again, err) { //nolint:errorlint // as it is
		t.Errorf("after %v came %v", err, again)
	}
	if cerr := r.Close(); cerr != nil {
		t.Error(cerr)
	}
	return b, err
}

// A stream goes on where a connection broke, as long as something comes.
func TestStream(t *testing.T) {
	w := newWorld(t)
	data, o := streamed(t, w, 1<<20)
	for _, offset := range []int64{0, 1, 1<<20 - 1, 1 << 20} {
		if b, err := drain(t, w.store.Stream(t.Context(), o, offset)); err != nil || !bytes.Equal(b, data[offset:]) {
			t.Fatalf("from %d: %d bytes, %v", offset, len(b), err)
		}
	}
	for name, action := range map[string]s3kit.Action{"reset": s3kit.ResetDownload(100_000), "cut": s3kit.TruncateDownload(100_000)} {
		rule := w.proxy.Inject("GetObject", 8, action) // more often than in a row without a byte
		if b, err := drain(t, w.store.Stream(t.Context(), o, 5)); err != nil || !bytes.Equal(b, data[5:]) {
			t.Fatalf("%s: %d bytes, %v", name, len(b), err)
		}
		if rule.Fired() != 8 {
			t.Fatalf("%s: fired %d times", name, rule.Fired())
		}
		w.proxy.Reset()
	}
	wrong := w.proxy.Inject("GetObject", 1, s3kit.SetReplyHeader("Content-Range", func(string) string { return "bytes 0-5/1048576" }))
	if b, err := drain(t, w.store.Stream(t.Context(), o, 9)); err != nil || !bytes.Equal(b, data[9:]) {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	fired(t, wrong)
}

func TestStream_Breaks(t *testing.T) {
	w := newWorld(t, func(c *objectstore.Config) { c.MaxAttempts, c.Timeout = 2, 300*time.Millisecond })
	data, o := streamed(t, w, 200_000)
	begin := func(what string, err error, kind error, got []byte) {
		t.Helper()
		wantErr(t, err, kind, `"big"`)
		if !bytes.HasPrefix(data, got) {
			t.Fatalf("%s: other bytes came", what)
		}
	}

	always := w.proxy.Inject("GetObject", 0, s3kit.ResetDownload(0))
	b, err := drain(t, w.store.Stream(t.Context(), o, 0))
	begin("reset for ever", err, objectstore.ErrUnavailable, b)
	fired(t, always)
	w.proxy.Reset()

	hang := w.proxy.Inject("GetObject", 0, s3kit.Hang())
	b, err = drain(t, w.store.Stream(t.Context(), o, 0))
	begin("silence", err, objectstore.ErrUnavailable, b)
	fired(t, hang)
	w.proxy.Reset()

	// Fault 42: the object is shorter, longer, another one, or gone.
	for name, c := range map[string]struct {
		o      objectstore.Recorded
		offset int64
		kind   error
	}{
		"shorter": {objectstore.Recorded{Key: "big", ETag: o.ETag, Size: o.Size + 1}, 0, objectstore.ErrChecksum},
		"far":     {objectstore.Recorded{Key: "big", ETag: o.ETag, Size: o.Size + 10}, o.Size + 5, objectstore.ErrChecksum},
		"longer":  {objectstore.Recorded{Key: "big", ETag: o.ETag, Size: o.Size - 1}, 0, objectstore.ErrChecksum},
		"another": {objectstore.Recorded{Key: "big", ETag: "0123456789abcdef0123456789abcdef", Size: o.Size}, 0, objectstore.ErrPrecondition},
	} {
		b, err := drain(t, w.store.Stream(t.Context(), c.o, c.offset))
		if len(b) != 0 {
			t.Errorf("%s: %d bytes were handed out", name, len(b))
		}
		begin(name, err, c.kind, b)
	}
	blind := open(t, func() objectstore.Config { c := w.cfg; c.ConditionalRead = false; return c }())
	if _, err := drain(t, blind.Stream(t.Context(), objectstore.Recorded{Key: "big", ETag: "0123456789abcdef0123456789abcdef", Size: o.Size}, 0)); !errors.Is(err, objectstore.ErrPrecondition) {
		t.Errorf("another object without If-Match: %v", err)
	}
	if _, err := drain(t, w.store.Stream(t.Context(), objectstore.Recorded{Key: "gone", Size: 1}, 0)); !errors.Is(err, objectstore.ErrNotFound) {
		t.Errorf("a missing object: %v", err)
	}

	ctx, cancel := context.WithCancelCause(t.Context())
	r := w.store.Stream(ctx, o, 0)
	if _, err := r.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	reason := errors.New("the reader went away")
	cancel(reason)
	if _, err := io.ReadAll(r); !errors.Is(err, reason) || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := w.store.Stream(t.Context(), o, 0).Read(nil); err != nil {
		t.Errorf("an empty read: %v", err)
	}
	r = w.store.Stream(t.Context(), o, 0)
	_ = r.Close()
	if _, err := r.Read(make([]byte, 1)); err == nil || err == io.EOF { //nolint:errorlint // as it is
		t.Errorf("read after Close: %v", err)
	}
}

// A link needs no header, gives a name to what it saves, and may be resumed.
func TestPresignLink(t *testing.T) {
	w := newWorld(t)
	data, o := streamed(t, w, 100)
	req, err := w.store.PresignLink(t.Context(), o.Key, o.VersionID, "shop\"\n.dump", time.Minute)
	if err != nil || len(req.Headers) != 0 {
		t.Fatalf("%+v, %v", req, err)
	}
	get := func(rng string) (*http.Response, []byte) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, req.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		if rng != "" {
			r.Header.Set("Range", rng)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, b
	}
	if resp, b := get(""); resp.StatusCode != http.StatusOK || !bytes.Equal(b, data) || resp.Header.Get("Content-Disposition") != `attachment; filename="shop__.dump"` {
		t.Errorf("%s %q: %d bytes", resp.Status, resp.Header, len(b))
	}
	if resp, b := get("bytes=40-"); resp.StatusCode != http.StatusPartialContent || !bytes.Equal(b, data[40:]) {
		t.Errorf("%s: %d bytes", resp.Status, len(b))
	}
	if err := os.Remove(w.ObjectPath(w.Bucket, "big")); err != nil {
		t.Fatal(err)
	}
	if resp, _ := get(""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a link to what is gone: %s", resp.Status)
	}
}
