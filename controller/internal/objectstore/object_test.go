package objectstore_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller/internal/objectstore"
	"devflowbackup/shared/testkit/s3kit"
)

func TestPut_IdempotentAndForeign(t *testing.T) {
	w := newWorld(t)
	r := w.proxy.Inject("PutObject", 1, s3kit.DropReply())
	for range 2 {
		if _, err := w.store.Put(t.Context(), "k.manifest.json", []byte("manifest"), "application/json"); err != nil {
			t.Fatal(err)
		}
	}
	fired(t, r)
	for _, other := range []string{"MANIFEST", "a longer manifest", "m"} {
		_, err := w.store.Put(t.Context(), "k.manifest.json", []byte(other), "application/json")
		wantErr(t, err, objectstore.ErrForeign, "k.manifest.json")
	}
	if b, err := w.store.Get(t.Context(), "k.manifest.json", 100); err != nil || string(b) != "manifest" {
		t.Fatalf("%q %v", b, err)
	}
}

func TestPut_CorruptedOnTheWay(t *testing.T) {
	for _, mode := range []objectstore.ChecksumMode{objectstore.ChecksumSHA256, objectstore.ChecksumMD5} {
		w := newWorld(t, func(c *objectstore.Config) { c.Checksum = mode })
		r := w.proxy.Inject("PutObject", 0, s3kit.CorruptUpload(3))
		_, err := w.store.Put(t.Context(), "k", []byte("0123456789"), "text/plain")
		fired(t, r)
		wantErr(t, err, objectstore.ErrChecksum, `"k"`)
		if _, err := w.store.Head(t.Context(), "k"); !errors.Is(err, objectstore.ErrNotFound) {
			t.Fatalf("an object is there: %v", err)
		}
	}
}

func TestGet_LimitsAndDamage(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	if _, err := w.store.Put(ctx, "k", []byte("0123456789"), "text/plain"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Get(ctx, "missing", 10); !errors.Is(err, objectstore.ErrNotFound) {
		t.Fatal(err)
	}
	_, err := w.store.Get(ctx, "k", 9)
	wantErr(t, err, objectstore.ErrTooLarge, `"k"`, "9 bytes")

	for name, action := range map[string]s3kit.Action{
		"reset": s3kit.ResetDownload(4), "truncated": s3kit.TruncateDownload(4), "flipped": s3kit.CorruptDownload(4),
	} {
		r := w.proxy.Inject("GetObject", 2, action)
		if b, err := w.store.Get(ctx, "k", 10); err != nil || string(b) != "0123456789" {
			t.Fatalf("%s: %q %v", name, b, err)
		}
		if r.Fired() != 2 {
			t.Fatalf("%s fired %d times", name, r.Fired())
		}
	}
	if err := w.CorruptObject(w.Bucket, "k", 5); err != nil {
		t.Fatal(err)
	}
	_, err = w.store.Get(ctx, "k", 10)
	wantErr(t, err, objectstore.ErrChecksum, `"k"`)
}

func TestReadRange(t *testing.T) {
	w := newWorld(t, func(c *objectstore.Config) { c.ConditionalPut = false })
	ctx := t.Context()
	u := newUpload(t, w.store, "k")
	info, _ := u.mustSettle(t, w.store, objectstore.Done)
	r := w.proxy.Inject("GetObject", 2, s3kit.ResetDownload(100))
	b, err := w.store.ReadRange(ctx, "k", 5<<20-10, 300, info.ETag)
	if err != nil || string(b) != string(u.data[5<<20-10:5<<20+290]) {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	fired(t, r)
	if b, err = w.store.ReadRange(ctx, "k", u.want.Size-5, 300, ""); err != nil || string(b) != string(u.data[u.want.Size-5:]) {
		t.Fatalf("end: %d bytes, %v", len(b), err)
	}
	if _, err := w.store.Put(ctx, "k", []byte("another"), "text/plain"); err != nil {
		t.Fatal(err)
	}
	_, err = w.store.ReadRange(ctx, "k", 0, 3, info.ETag)
	wantErr(t, err, objectstore.ErrPrecondition, `"k"`)
}

// Fault 42: a reply with another range than asked for is no answer.
func TestReadRange_Fault42WrongRange(t *testing.T) {
	w := newWorld(t)
	if _, err := w.store.Put(t.Context(), "k", []byte("0123456789"), "text/plain"); err != nil {
		t.Fatal(err)
	}
	for name, action := range map[string]s3kit.Action{
		"whole object": func(x *s3kit.Exchange) {
			x.W.Header().Set("ETag", `"x"`)
			_, _ = x.W.Write([]byte("0123456789"))
		},
		"other range": s3kit.SetReplyHeader("Content-Range", func(string) string { return "bytes 0-5/10" }),
	} {
		once := w.proxy.Inject("GetObject", 1, action)
		if b, err := w.store.ReadRange(t.Context(), "k", 4, 10, ""); err != nil || string(b) != "456789" {
			t.Fatalf("%s once: %q %v", name, b, err)
		}
		fired(t, once)
		always := w.proxy.Inject("GetObject", 0, action)
		b, err := w.store.ReadRange(t.Context(), "k", 4, 10, "")
		if b != nil {
			t.Fatalf("%s: %q", name, b)
		}
		wantErr(t, err, objectstore.ErrUnavailable, `"k"`, "range")
		fired(t, always)
		w.proxy.Reset()
	}
}

func TestHead_Cancelled(t *testing.T) {
	w := newWorld(t)
	gate := s3kit.NewGate()
	defer gate.Open()
	r := w.proxy.Inject("HeadObject", 0, gate.HoldRequest())
	cause := errors.New("shutting down")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { <-gate.Arrived(); cancel(cause) }()
	_, err := w.store.Head(ctx, "k")
	fired(t, r)
	if !errors.Is(err, cause) || !errors.Is(err, context.Canceled) || objectstore.Retryable(err) {
		t.Fatalf("error %v", err)
	}
}

func TestDeleteAllVersions(t *testing.T) {
	for _, versioned := range []bool{true, false} {
		s := s3kit.StartWith(t, s3kit.Options{Versioned: versioned})
		cfg := config(s, s.Endpoint)
		cfg.ConditionalPut = false
		st := open(t, cfg)
		ctx := t.Context()
		for _, key := range []string{"d/k", "d/k.manifest.json", "d/k2", "d"} {
			for _, body := range []string{"one", "two"} {
				if key == "d" {
					key = "dd"
				}
				if _, err := st.Put(ctx, key, []byte(body), "text/plain"); err != nil {
					t.Fatal(err)
				}
			}
		}
		// A delete marker on top, as another tool leaves it.
		resp, err := s.Do(ctx, http.MethodDelete, "/"+s.Bucket+"/d/k", nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		// What the server itself lists at the key, asked without the code under test.
		listed := func(element string) bool {
			resp, err := s.Do(ctx, http.MethodGet, "/"+s.Bucket, map[string][]string{"versions": {""}, "prefix": {"d/k"}}, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatal(resp.Status, err)
			}
			for _, e := range strings.Split(string(b), "<"+element+">")[1:] {
				if strings.Contains(strings.Split(e, "</"+element+">")[0], "<Key>d/k</Key>") {
					return true
				}
			}
			return false
		}
		if listed("DeleteMarker") != versioned || listed("Version") != versioned {
			t.Fatalf("versioned %v: marker %v, version %v before the deletion", versioned, listed("DeleteMarker"), listed("Version"))
		}
		if gone, err := st.Gone(ctx, "d/k"); err != nil || gone == versioned {
			t.Fatalf("versioned %v: gone %v before the deletion, %v", versioned, gone, err)
		}
		for range 2 {
			if err := st.DeleteAllVersions(ctx, "d/k"); err != nil {
				t.Fatal(err)
			}
			if gone, err := st.Gone(ctx, "d/k"); !gone || err != nil {
				t.Fatalf("gone %v %v", gone, err)
			}
			if listed("DeleteMarker") || listed("Version") {
				t.Fatal("the server still lists a version or a marker")
			}
		}
		for _, key := range []string{"d/k.manifest.json", "d/k2", "dd"} {
			if b, err := st.Get(ctx, key, 10); err != nil || string(b) != "two" {
				t.Fatalf("%s: %q %v", key, b, err)
			}
		}
	}
}

// A store that cannot list versions is asked by HEAD, and a missing bucket is still not "gone".
func TestDeleteAllVersions_NoVersionListing(t *testing.T) {
	w := newWorld(t)
	r := w.proxy.Inject("ListObjectVersions", 0, s3kit.Status(501, "NotImplemented"))
	if _, err := w.store.Put(t.Context(), "k", []byte("x"), "text/plain"); err != nil {
		t.Fatal(err)
	}
	if gone, err := w.store.Gone(t.Context(), "k"); gone || err != nil {
		t.Fatal(gone, err)
	}
	if err := w.store.DeleteAllVersions(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if gone, err := w.store.Gone(t.Context(), "k"); !gone || err != nil {
		t.Fatal(gone, err)
	}
	fired(t, r)
	cfg := w.cfg
	cfg.Bucket = "nosuchbucket"
	gone, err := open(t, cfg).Gone(t.Context(), "k")
	if gone {
		t.Fatal("gone in a missing bucket")
	}
	wantErr(t, err, objectstore.ErrNoSuchBucket)
}

func TestDeleteAllVersions_Locked(t *testing.T) {
	s := s3kit.StartWith(t, s3kit.Options{ObjectLock: true})
	st := open(t, config(s, s.Endpoint))
	ctx := t.Context()
	if _, err := st.Put(ctx, "k", []byte("locked"), "text/plain"); err != nil {
		t.Fatal(err)
	}
	info, err := st.Head(ctx, "k")
	if err != nil || !info.LockedUntil.IsZero() {
		t.Fatalf("before it is locked: %+v, %v", info, err)
	}
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	if err := s.Retain(ctx, s.Bucket, "k", until); err != nil {
		t.Fatal(err)
	}
	if info, err = st.Head(ctx, "k"); err != nil || !info.LockedUntil.Equal(until) {
		t.Fatalf("HEAD: locked until %s, want %s; %v", info.LockedUntil, until, err)
	}
	err = st.DeleteAllVersions(ctx, "k")
	wantErr(t, err, objectstore.ErrLocked, `"k"`, until.Format(time.RFC3339))
	var e *objectstore.Error
	if !errors.As(err, &e) || !e.LockedUntil.Equal(until) {
		t.Fatalf("locked until %v, want %v", e.LockedUntil, until)
	}
	if gone, err := st.Gone(ctx, "k"); gone || err != nil {
		t.Fatal(gone, err)
	}
}

// A legal hold has no end: it is taken to last a day, and looked at again then.
func TestDeleteAllVersions_LegalHold(t *testing.T) {
	s := s3kit.StartWith(t, s3kit.Options{ObjectLock: true})
	now := time.Now().UTC()
	cfg := config(s, s.Endpoint)
	cfg.Now = func() time.Time { return now }
	st := open(t, cfg)
	ctx := t.Context()
	if _, err := st.Put(ctx, "k", []byte("held"), "text/plain"); err != nil {
		t.Fatal(err)
	}
	if err := s.LegalHold(ctx, s.Bucket, "k", true); err != nil {
		t.Fatal(err)
	}
	again := now.Add(24 * time.Hour)
	if info, err := st.Head(ctx, "k"); err != nil || !info.LockedUntil.Equal(again) {
		t.Fatalf("HEAD: locked until %s, want %s; %v", info.LockedUntil, again, err)
	}
	err := st.DeleteAllVersions(ctx, "k")
	wantErr(t, err, objectstore.ErrLocked, `"k"`, "legal hold")
	var e *objectstore.Error
	if !errors.As(err, &e) || !e.LockedUntil.Equal(again) {
		t.Fatalf("locked until %v, want %v", e.LockedUntil, again)
	}
	if err := s.LegalHold(ctx, s.Bucket, "k", false); err != nil {
		t.Fatal(err)
	}
	if err := st.DeleteAllVersions(ctx, "k"); err != nil {
		t.Fatal(err)
	}
	if gone, err := st.Gone(ctx, "k"); !gone || err != nil {
		t.Fatal(gone, err)
	}
}

func TestDeleteAllVersions_Denied(t *testing.T) {
	w := newWorld(t)
	if _, err := w.store.Put(t.Context(), "k", []byte("x"), "text/plain"); err != nil {
		t.Fatal(err)
	}
	r := w.proxy.Inject("DeleteObject", 0, s3kit.Status(403, "AccessDenied"))
	err := w.store.DeleteAllVersions(t.Context(), "k")
	fired(t, r)
	wantErr(t, err, objectstore.ErrDenied, `"k"`, "s3:DeleteObject")
	if strings.Contains(err.Error(), w.SecretKey) {
		t.Fatal("the error holds the secret")
	}
}
