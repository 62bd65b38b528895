package objectstore_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller/internal/objectstore"
	"devflowbackup/shared/testkit/s3kit"
)

func TestPresignPart_AllowsExactlyOnePart(t *testing.T) {
	for _, mode := range []objectstore.ChecksumMode{objectstore.ChecksumSHA256, objectstore.ChecksumMD5} {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t, func(c *objectstore.Config) { c.Checksum = mode })
			id, err := w.store.CreateUpload(t.Context(), "a/key")
			if err != nil {
				t.Fatal(err)
			}
			otherID, err := w.store.CreateUpload(t.Context(), "a/key")
			if err != nil {
				t.Fatal(err)
			}
			good := randomBytes(1, 2000)
			wrong := bytes.Clone(good)
			wrong[7] ^= 1
			query := func(k, v string) func(*objectstore.PresignedRequest) {
				return func(r *objectstore.PresignedRequest) {
					u, _ := url.Parse(r.URL)
					q := u.Query()
					q.Set(k, v)
					u.RawQuery = q.Encode()
					r.URL = u.String()
				}
			}
			for _, tc := range []struct {
				name   string
				change func(*objectstore.PresignedRequest)
				body   []byte
				ok     bool
			}{
				{"right", nil, good, true},
				{"again", nil, good, true},
				{"wrong bytes", nil, wrong, false},
				{"shorter", nil, good[:1999], false},
				{"longer", nil, append(bytes.Clone(good), 0), false},
				{"other part", query("partNumber", "2"), good, false},
				{"other upload", query("uploadId", otherID), good, false},
				{"longer validity", query("X-Amz-Expires", "604800"), good, false},
				{"other key", func(r *objectstore.PresignedRequest) { r.URL = strings.Replace(r.URL, "a/key", "b/key", 1) }, good, false},
				{"other method", func(r *objectstore.PresignedRequest) { r.Method = http.MethodDelete }, nil, false},
				{"without checksum", func(r *objectstore.PresignedRequest) { r.Headers = nil }, good, false},
				{"other checksum", func(r *objectstore.PresignedRequest) {
					b := wrong
					other, err := w.store.PresignPart(t.Context(), "a/key", id, 1, bodyOf(b), time.Minute)
					if err != nil {
						t.Fatal(err)
					}
					r.Headers = other.Headers
				}, wrong, false},
			} {
				t.Run(tc.name, func(t *testing.T) {
					req, err := w.store.PresignPart(t.Context(), "a/key", id, 1, bodyOf(good), time.Minute)
					if err != nil {
						t.Fatal(err)
					}
					if len(req.Headers) == 0 || req.ContentLength != 2000 || time.Until(req.ExpiresAt) > time.Minute {
						t.Fatalf("request %+v", req)
					}
					// Without a signed length a thief of the URL could send any amount before the checksum fails.
					if u, _ := url.Parse(req.URL); !strings.Contains(u.Query().Get("X-Amz-SignedHeaders"), "content-length") {
						t.Fatalf("the length is not signed: %s", u.Query().Get("X-Amz-SignedHeaders"))
					}
					if tc.change != nil {
						tc.change(&req)
					}
					status, _, text, err := send(t, req, tc.body)
					if err != nil {
						t.Fatal(err)
					}
					if tc.ok != (status == http.StatusOK) {
						t.Fatalf("status %d: %s", status, text)
					}
				})
			}
		})
	}
}

func TestPresign_BadArguments(t *testing.T) {
	s := s3kit.Start(t)
	st := open(t, config(s, s.Endpoint))
	b := bodyOf([]byte("x"))
	for name, call := range map[string]func() error{
		"part 0":     func() error { _, err := st.PresignPart(t.Context(), "k", "id", 0, b, time.Minute); return err },
		"part 10001": func() error { _, err := st.PresignPart(t.Context(), "k", "id", 10001, b, time.Minute); return err },
		"no sum": func() error {
			_, err := st.PresignPart(t.Context(), "k", "id", 1, objectstore.Body{Size: 1}, time.Minute)
			return err
		},
		"negative": func() error {
			_, err := st.PresignPut(t.Context(), "k", objectstore.Body{Size: -1, SHA256: b.SHA256}, time.Minute)
			return err
		},
		"no ttl":   func() error { _, err := st.PresignPut(t.Context(), "k", b, 0); return err },
		"long ttl": func() error { _, err := st.PresignPut(t.Context(), "k", b, 8*24*time.Hour); return err },
		"range": func() error {
			_, err := st.PresignGet(t.Context(), "k", "", "", objectstore.ReadRange{From: 5, To: 4}, time.Minute)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { wantErr(t, call(), objectstore.ErrRefused, `"k"`) })
	}
}

// Fault 38: an expired URL is refused with 403; the same part goes through with a new one.
func TestPresignPart_Fault38Expired(t *testing.T) {
	past := true
	w := newWorld(t, func(c *objectstore.Config) {
		c.Now = func() time.Time {
			if past {
				return time.Now().Add(-time.Hour)
			}
			return time.Now()
		}
	})
	past = false
	id, err := w.store.CreateUpload(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	b := randomBytes(1, 100)
	past = true
	req, err := w.store.PresignPart(t.Context(), "k", id, 1, bodyOf(b), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if !req.ExpiresAt.Before(time.Now()) {
		t.Fatal("the URL has not expired")
	}
	if status, _, text, err := send(t, req, b); status != http.StatusForbidden || err != nil {
		t.Fatalf("expired URL: %d %s %v", status, text, err)
	}
	past = false
	sendPart(t, w.store, "k", id, 1, b)
}

func TestPresignPut_SideObject(t *testing.T) {
	w := newWorld(t)
	b := []byte("side object")
	req, err := w.store.PresignPut(t.Context(), "side", bodyOf(b), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if status, _, text, _ := send(t, req, []byte("side OBJECT")); status == http.StatusOK {
		t.Fatalf("wrong bytes taken: %s", text)
	}
	if status, _, text, _ := send(t, req, b); status != http.StatusOK {
		t.Fatalf("status %d: %s", status, text)
	}
	if status, _, _, _ := send(t, req, b); status != http.StatusPreconditionFailed {
		t.Fatalf("second write: status %d, want 412", status)
	}
	req.Headers["If-None-Match"] = ""
	if status, _, _, _ := send(t, req, b); status != http.StatusForbidden {
		t.Fatalf("write without the signed condition: status %d, want 403", status)
	}
}

func TestPresignGet_RangeAndIfMatch(t *testing.T) {
	s := s3kit.StartWith(t, s3kit.Options{Versioned: true})
	cfg := config(s, s.Endpoint)
	cfg.ConditionalPut = false
	st := open(t, cfg)
	first, err := st.Put(t.Context(), "obj", []byte("0123456789"), "text/plain")
	if err != nil {
		t.Fatal(err)
	}
	get := func(version, etag string, r objectstore.ReadRange) (int, string) {
		req, err := st.PresignGet(t.Context(), "obj", version, etag, r, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		status, _, b, err := send(t, req, nil)
		if err != nil {
			t.Fatal(err)
		}
		return status, string(b)
	}
	if status, b := get(first.VersionID, first.ETag, objectstore.ReadRange{From: 2, To: 4}); status != 206 || b != "234" {
		t.Fatalf("range: %d %q", status, b)
	}
	if status, b := get("", first.ETag, objectstore.ReadRange{From: 7, To: -1}); status != 206 || b != "789" {
		t.Fatalf("open range: %d %q", status, b)
	}
	req, _ := st.PresignGet(t.Context(), "obj", "", first.ETag, objectstore.ReadRange{From: 2, To: 4}, time.Minute)
	req.Headers["Range"] = "bytes=0-9"
	if status, _, _, _ := send(t, req, nil); status != http.StatusForbidden {
		t.Fatalf("another range than signed: %d, want 403", status)
	}
	if _, err := st.Put(t.Context(), "obj", []byte("changed!!!"), "text/plain"); err != nil {
		t.Fatal(err)
	}
	if status, _ := get("", first.ETag, objectstore.ReadRange{From: 0, To: 3}); status != http.StatusPreconditionFailed {
		t.Fatalf("changed object: %d, want 412", status)
	}
	if status, b := get(first.VersionID, first.ETag, objectstore.ReadRange{From: 0, To: 3}); status != 206 || b != "0123" {
		t.Fatalf("old version: %d %q", status, b)
	}
}

func TestUploads_ListAbort(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	u := newUpload(t, w.store, "dir/one")
	var ids []string
	for range 3 {
		id, err := w.store.CreateUpload(ctx, "dir/two")
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	longer, err := w.store.CreateUpload(ctx, "dir/two.more")
	if err != nil {
		t.Fatal(err)
	}
	all, err := w.store.ListUploads(ctx, "dir/")
	if err != nil || len(all) != 5 {
		t.Fatalf("%d uploads, %v; want 5", len(all), err)
	}
	for range 2 { // the second time it is gone already
		if err := w.store.AbortUpload(ctx, "dir/one", u.id); err != nil {
			t.Fatal(err)
		}
	}
	if there, err := w.store.UploadExists(ctx, "dir/one", u.id); there || err != nil {
		t.Fatalf("aborted upload: %v %v", there, err)
	}
	if n, err := w.store.AbortUploads(ctx, "dir/two"); n != 3 || err != nil {
		t.Fatalf("aborted %d, %v", n, err)
	}
	for _, id := range ids {
		if there, err := w.store.UploadExists(ctx, "dir/two", id); there || err != nil {
			t.Fatalf("aborted upload: %v %v", there, err)
		}
	}
	if there, err := w.store.UploadExists(ctx, "dir/two.more", longer); !there || err != nil {
		t.Fatalf("upload at a longer key: %v %v", there, err)
	}
}

func TestCompleteUpload_CallerCancels(t *testing.T) {
	w := newWorld(t)
	u := newUpload(t, w.store, "k")
	gate := s3kit.NewGate()
	defer gate.Open()
	r := w.proxy.Inject("CompleteMultipartUpload", 1, gate.HoldRequest())
	cause := errors.New("the job was cancelled")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { <-gate.Arrived(); cancel(cause) }()
	_, err := w.store.CompleteUpload(ctx, u.key, u.id, u.parts)
	fired(t, r)
	if !errors.Is(err, cause) || !errors.Is(err, context.Canceled) || errors.Is(err, objectstore.ErrUnavailable) {
		t.Fatalf("error %v", err)
	}
}

func TestCompositeSHA256(t *testing.T) {
	parts := []objectstore.Part{{Number: 1, SHA256: sha256.Sum256([]byte("a"))}, {Number: 2, SHA256: sha256.Sum256([]byte("b"))}}
	if got, want := objectstore.CompositeSHA256(parts), "5aAf7hTg7VxIcU8iGA8lrYNltT+XefedxKPX6Tlj+Uo=-2"; got != want {
		t.Errorf("composite %s, want %s", got, want)
	}
	parts[0].ETag, parts[1].ETag = `"0cc175b9c0f1b6a831c399e269772661"`, "92eb5ffee6ae2fec3ad71c777531578f"
	if got, want := objectstore.MultipartETag(parts), "96e024ba2074fe77e8e965ba43a704be-2"; got != want {
		t.Errorf("ETag %s, want %s", got, want)
	}
	parts[1].ETag = "opaque"
	if got := objectstore.MultipartETag(parts); got != "" {
		t.Errorf("ETag of opaque parts: %s", got)
	}
}
