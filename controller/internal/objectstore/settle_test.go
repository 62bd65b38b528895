package objectstore_test

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"devflowbackup/controller/internal/objectstore"
	"devflowbackup/shared/testkit/s3kit"
)

func TestSettle_Done(t *testing.T) {
	for _, mode := range []objectstore.ChecksumMode{objectstore.ChecksumSHA256, objectstore.ChecksumMD5} {
		for _, versioned := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/versioned=%v", mode, versioned), func(t *testing.T) {
				s := s3kit.StartWith(t, s3kit.Options{Versioned: versioned})
				cfg := config(s, s.Endpoint)
				cfg.Checksum = mode
				st := open(t, cfg)
				u := newUpload(t, st, "dir/obj")
				first, _ := u.mustSettle(t, st, objectstore.Done)
				if first.Size != u.want.Size || (first.VersionID != "") != versioned || first.ETag != objectstore.MultipartETag(u.parts) {
					t.Fatalf("info %+v", first)
				}
				if mode == objectstore.ChecksumSHA256 && first.CompositeSHA256 != u.want.CompositeSHA256 {
					t.Fatalf("composite %q, want %q", first.CompositeSHA256, u.want.CompositeSHA256)
				}
				if again, _ := u.mustSettle(t, st, objectstore.Done); again != first {
					t.Fatalf("second settle saw %+v, first %+v", again, first)
				}
				got, err := st.Get(t.Context(), u.key, u.want.Size)
				if err != nil || string(got) != string(u.data) {
					t.Fatalf("read back: %d bytes, %v", len(got), err)
				}
			})
		}
	}
}

// Fault 34: 500 and 503 with growing probability; all comes through, nothing is left half-made.
func TestSettle_Fault34Disturbed(t *testing.T) {
	for _, p := range []float64{0.05, 0.2, 0.5} {
		t.Run(fmt.Sprint(p), func(t *testing.T) {
			w := newWorld(t, func(c *objectstore.Config) { c.MaxAttempts = 20 })
			w.proxy.Seed(uint64(p * 100))
			calls := s3kit.Op("CreateMultipartUpload", "CompleteMultipartUpload", "HeadObject", "ListParts", "PutObject", "GetObject", "ListMultipartUploads", "ListObjectVersions", "DeleteObject")
			slow := w.proxy.Add(&s3kit.Rule{Match: calls, Prob: p / 2, Action: s3kit.Status(503, "SlowDown")})
			internal := w.proxy.Add(&s3kit.Rule{Match: calls, Prob: p / 2, Action: s3kit.Status(500, "InternalError")})
			drop := w.proxy.Add(&s3kit.Rule{Match: s3kit.Op("PutObject", "DeleteObject", "CompleteMultipartUpload"), Prob: p / 2, Action: s3kit.DropReply()})
			for round := 0; round < 5 || slow.Fired() == 0 || internal.Fired() == 0 || drop.Fired() == 0; round++ {
				if round == 40 {
					t.Fatalf("fired %d %d %d", slow.Fired(), internal.Fired(), drop.Fired())
				}
				key := fmt.Sprint("obj-", round)
				u := newUpload(t, w.store, key)
				u.mustSettle(t, w.store, objectstore.Done)
				if _, err := w.store.Put(t.Context(), key+".manifest.json", []byte("{}"), "application/json"); err != nil {
					t.Fatal(err)
				}
				if b, err := w.store.Get(t.Context(), key+".manifest.json", 10); err != nil || string(b) != "{}" {
					t.Fatal(string(b), err)
				}
				if err := w.store.DeleteAllVersions(t.Context(), key); err != nil {
					t.Fatal(err)
				}
				if gone, err := w.store.Gone(t.Context(), key); !gone || err != nil {
					t.Fatal(gone, err)
				}
			}
		})
	}
	t.Run("beyond the budget", func(t *testing.T) {
		w := newWorld(t, func(c *objectstore.Config) { c.MaxAttempts = 3 })
		r := w.proxy.Inject("CreateMultipartUpload", 0, s3kit.Status(503, "SlowDown"))
		_, err := w.store.CreateUpload(t.Context(), "k")
		wantErr(t, err, objectstore.ErrUnavailable, `"k"`, "SlowDown", "503")
		if !objectstore.Retryable(err) || r.Fired() != 3 {
			t.Fatalf("retryable %v, tried %d times, want 3", objectstore.Retryable(err), r.Fired())
		}
	})
}

// Fault 35: an error in the body of a 200 is an error, and is not repeated behind our back.
func TestCompleteUpload_Fault35ErrorIn200(t *testing.T) {
	for name, action := range map[string]s3kit.Action{
		"error":        s3kit.OKWithError("InternalError"),
		"slow down":    s3kit.OKWithError("SlowDown"),
		"empty":        s3kit.OKEmpty(),
		"status":       s3kit.Status(500, "InternalError"),
		"reset":        s3kit.ResetUpload(10),
		"unknown code": s3kit.OKWithError("SomethingNew"),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			u := newUpload(t, w.store, "k")
			r := w.proxy.Inject("CompleteMultipartUpload", 0, action)
			_, err := w.store.CompleteUpload(t.Context(), u.key, u.id, u.parts)
			wantErr(t, err, objectstore.ErrUnavailable, `"k"`)
			if r.Fired() != 1 {
				t.Fatalf("completion was sent %d times, want once", r.Fired())
			}
			if _, err := u.mustSettle(t, w.store, objectstore.Retry); !errors.Is(err, objectstore.ErrUnavailable) {
				t.Fatalf("settle: %v", err)
			}
			if _, err := w.store.Head(t.Context(), "k"); !errors.Is(err, objectstore.ErrNotFound) {
				t.Fatalf("an object is there: %v", err)
			}
			w.proxy.Reset()
			u.mustSettle(t, w.store, objectstore.Done)
		})
	}
	t.Run("stored all the same", func(t *testing.T) {
		w := newWorld(t)
		u := newUpload(t, w.store, "k")
		r := w.proxy.Inject("CompleteMultipartUpload", 1, s3kit.ReplyOKWithError("InternalError"))
		if o, _, err := w.store.Settle(t.Context(), u.key, u.id, u.parts, u.want); o != objectstore.Done || err != nil {
			t.Fatalf("outcome %s, %v", o, err)
		}
		fired(t, r)
	})
	t.Run("reply cut in its body", func(t *testing.T) {
		w := newWorld(t)
		u := newUpload(t, w.store, "k")
		r := w.proxy.Inject("CompleteMultipartUpload", 1, s3kit.TruncateDownload(60))
		if o, _, err := w.store.Settle(t.Context(), u.key, u.id, u.parts, u.want); o != objectstore.Done || err != nil {
			t.Fatalf("outcome %s, %v", o, err)
		}
		fired(t, r)
	})
}

// Fault 36: the completion happened, its reply got lost or came too late.
func TestSettle_Fault36ReplyLost(t *testing.T) {
	t.Run("dropped", func(t *testing.T) {
		w := newWorld(t)
		u := newUpload(t, w.store, "k")
		r := w.proxy.Inject("CompleteMultipartUpload", 1, s3kit.DropReply())
		if o, _, err := w.store.Settle(t.Context(), u.key, u.id, u.parts, u.want); o != objectstore.Done || err != nil {
			t.Fatalf("outcome %s, %v", o, err)
		}
		fired(t, r)
		if n := w.proxy.Count("CompleteMultipartUpload"); n != 1 {
			t.Fatalf("completed %d times", n)
		}
	})
	t.Run("timeout, stored", func(t *testing.T) {
		w := newWorld(t, func(c *objectstore.Config) { c.CompleteTimeout = 300 * time.Millisecond })
		u := newUpload(t, w.store, "k")
		gate := s3kit.NewGate()
		defer gate.Open()
		r := w.proxy.Inject("CompleteMultipartUpload", 1, gate.Hold())
		if o, _, err := w.store.Settle(t.Context(), u.key, u.id, u.parts, u.want); o != objectstore.Done || err != nil {
			t.Fatalf("outcome %s, %v", o, err)
		}
		fired(t, r)
	})
	t.Run("timeout, not stored yet", func(t *testing.T) {
		w := newWorld(t, func(c *objectstore.Config) { c.CompleteTimeout = 300 * time.Millisecond })
		u := newUpload(t, w.store, "k")
		r := w.proxy.Inject("CompleteMultipartUpload", 1, s3kit.Hang())
		_, err := u.mustSettle(t, w.store, objectstore.Retry)
		wantErr(t, err, objectstore.ErrUnavailable, "no complete answer within 300ms")
		fired(t, r)
		u.mustSettle(t, w.store, objectstore.Done)
	})
	t.Run("dropped, HEAD disturbed too", func(t *testing.T) {
		w := newWorld(t, func(c *objectstore.Config) { c.MaxAttempts = 2 })
		u := newUpload(t, w.store, "k")
		r := w.proxy.Inject("CompleteMultipartUpload", 1, s3kit.DropReply())
		// The first HEAD passes, those after the completion fail.
		head := w.proxy.Add(&s3kit.Rule{Match: func(q *http.Request) bool {
			return s3kit.OpOf(q) == "HeadObject" && r.Fired() > 0
		}, Times: 2, Action: s3kit.Status(503, "SlowDown")})
		if _, err := u.mustSettle(t, w.store, objectstore.Retry); !errors.Is(err, objectstore.ErrUnavailable) {
			t.Fatal(err)
		}
		fired(t, r)
		fired(t, head)
		u.mustSettle(t, w.store, objectstore.Done)
		if n := w.proxy.Count("CompleteMultipartUpload"); n != 1 {
			t.Fatalf("completed %d times", n)
		}
	})
}

// Fault 36: several controllers settle the same upload at once. Both completions are on their way before either runs.
func TestSettle_Fault36AtOnce(t *testing.T) {
	for _, conditional := range []bool{true, false} {
		t.Run(fmt.Sprintf("conditional=%v", conditional), func(t *testing.T) {
			s := s3kit.StartWith(t, s3kit.Options{Versioned: true})
			proxy := s3kit.StartProxy(t, s)
			cfg := config(s, proxy.Endpoint)
			cfg.ConditionalComplete = conditional
			st := open(t, cfg)
			u := newUpload(t, st, "k")
			gate := s3kit.NewGate()
			r := proxy.Inject("CompleteMultipartUpload", 2, gate.HoldRequest())
			var wg sync.WaitGroup
			infos := make([]objectstore.ObjectInfo, 2)
			for i := range infos {
				wg.Add(1)
				go func() {
					defer wg.Done()
					for range 20 {
						o, info, err := st.Settle(t.Context(), u.key, u.id, u.parts, u.want)
						if o == objectstore.Done {
							infos[i] = info
							return
						}
						if o != objectstore.Retry {
							t.Errorf("outcome %s: %v", o, err)
							return
						}
					}
					t.Error("never done")
				}()
			}
			for range infos {
				<-gate.Arrived()
			}
			gate.Open()
			wg.Wait()
			if r.Fired() != 2 {
				t.Fatalf("%d completions were held, want 2", r.Fired())
			}
			if t.Failed() {
				return
			}
			if infos[0].ETag != infos[1].ETag || infos[0].CompositeSHA256 != u.want.CompositeSHA256 {
				t.Fatalf("%+v and %+v", infos[0], infos[1])
			}
			if there, err := st.UploadExists(t.Context(), u.key, u.id); there || err != nil {
				t.Fatalf("upload left: %v %v", there, err)
			}
		})
	}
}

// Fault 41: parts that are not those of the statement never become Done.
func TestSettle_Fault41OtherParts(t *testing.T) {
	t.Run("a part of the statement was replaced", func(t *testing.T) {
		w := newWorld(t)
		u := newUpload(t, w.store, "k")
		sendPart(t, w.store, u.key, u.id, 2, randomBytes(99, 1234))
		_, err := u.mustSettle(t, w.store, objectstore.Refused)
		wantErr(t, err, objectstore.ErrChecksum, `"k"`)
		if _, err := w.store.Head(t.Context(), "k"); !errors.Is(err, objectstore.ErrNotFound) {
			t.Fatalf("an object is there: %v", err)
		}
	})
	t.Run("parts of another attempt", func(t *testing.T) {
		w := newWorld(t)
		u, other := newUpload(t, w.store, "k"), newUpload(t, w.store, "other")
		u.parts[1] = other.parts[1]
		u.want.CompositeSHA256 = objectstore.CompositeSHA256(u.parts)
		u.mustSettle(t, w.store, objectstore.Refused)
	})
	t.Run("the statement contradicts itself", func(t *testing.T) {
		w := newWorld(t)
		u := newUpload(t, w.store, "k")
		u.want.CompositeSHA256 = objectstore.CompositeSHA256(u.parts[:1])
		_, err := u.mustSettle(t, w.store, objectstore.Refused)
		wantErr(t, err, objectstore.ErrChecksum)
		if n := w.proxy.Count("CompleteMultipartUpload"); n != 0 {
			t.Fatalf("completed %d times", n)
		}
		u.want.CompositeSHA256 = objectstore.CompositeSHA256(u.parts)
		u.parts[0].Number = 3
		_, err = u.mustSettle(t, w.store, objectstore.Refused)
		wantErr(t, err, objectstore.ErrRefused)
		u.parts = nil
		u.mustSettle(t, w.store, objectstore.Refused)
	})
	t.Run("size", func(t *testing.T) {
		w := newWorld(t)
		u := newUpload(t, w.store, "k")
		u.want.Size++
		_, err := u.mustSettle(t, w.store, objectstore.Refused)
		wantErr(t, err, objectstore.ErrChecksum, "bytes")
	})
	t.Run("the store shows another checksum", func(t *testing.T) {
		w := newWorld(t)
		u := newUpload(t, w.store, "k")
		other := objectstore.CompositeSHA256([]objectstore.Part{{Number: 1}, {Number: 2}})
		r := w.proxy.Inject("HeadObject", 0, s3kit.SetReplyHeader("X-Amz-Checksum-Sha256", func(old string) string {
			if old == "" {
				return ""
			}
			return other
		}))
		_, err := u.mustSettle(t, w.store, objectstore.Refused)
		fired(t, r)
		wantErr(t, err, objectstore.ErrChecksum, other, u.want.CompositeSHA256)
	})
	t.Run("the store shows no checksum", func(t *testing.T) {
		w := newWorld(t)
		u := newUpload(t, w.store, "k")
		r := w.proxy.Inject("HeadObject", 0, s3kit.SetReplyHeader("X-Amz-Checksum-Sha256", func(string) string { return "" }))
		u.mustSettle(t, w.store, objectstore.Done) // by size and ETag
		fired(t, r)
		for i := range u.parts {
			u.parts[i].ETag = "opaque"
		}
		if o, _, err := w.store.Settle(t.Context(), u.key, u.id, u.parts, u.want); o == objectstore.Done || err == nil {
			t.Fatalf("unproven object: %s %v", o, err)
		}
	})
	t.Run("md5 mode", func(t *testing.T) {
		w := newWorld(t, func(c *objectstore.Config) { c.Checksum = objectstore.ChecksumMD5 })
		u := newUpload(t, w.store, "k")
		u.parts[1].MD5[0] ^= 1 // the store did not get what the agent meant
		_, err := u.mustSettle(t, w.store, objectstore.Refused)
		wantErr(t, err, objectstore.ErrChecksum, "ETag")
	})
}

// Fault 43: the upload is gone. HEAD tells whether it was completed or aborted.
func TestSettle_Fault43NoSuchUpload(t *testing.T) {
	t.Run("aborted", func(t *testing.T) {
		w := newWorld(t)
		u := newUpload(t, w.store, "k")
		if err := w.store.AbortUpload(t.Context(), u.key, u.id); err != nil {
			t.Fatal(err)
		}
		_, err := u.mustSettle(t, w.store, objectstore.Lost)
		wantErr(t, err, objectstore.ErrNoSuchUpload, `"k"`, "lifecycle")
	})
	t.Run("completed already, store forgets uploads", func(t *testing.T) {
		w := newWorld(t)
		u := newUpload(t, w.store, "k")
		// Completed between the first HEAD and the completion, which answers as MinIO does.
		r := w.proxy.Inject("CompleteMultipartUpload", 1, s3kit.ReplyStatus(404, "NoSuchUpload"))
		if o, _, err := w.store.Settle(t.Context(), u.key, u.id, u.parts, u.want); o != objectstore.Done || err != nil {
			t.Fatalf("outcome %s, %v", o, err)
		}
		fired(t, r)
	})
	t.Run("said gone, is not", func(t *testing.T) {
		w := newWorld(t)
		u := newUpload(t, w.store, "k")
		r := w.proxy.Inject("CompleteMultipartUpload", 1, s3kit.Status(404, "NoSuchUpload"))
		u.mustSettle(t, w.store, objectstore.Retry)
		fired(t, r)
		u.mustSettle(t, w.store, objectstore.Done)
	})
	t.Run("completed by another between two questions", func(t *testing.T) {
		w := newWorld(t)
		u := newUpload(t, w.store, "k")
		done := w.proxy.Inject("CompleteMultipartUpload", 1, s3kit.ReplyStatus(404, "NoSuchUpload"))
		// The HEAD right after it still sees nothing.
		blind := w.proxy.Add(&s3kit.Rule{Match: func(q *http.Request) bool {
			return s3kit.OpOf(q) == "HeadObject" && done.Fired() > 0
		}, Times: 1, Action: s3kit.Status(404, "NotFound")})
		if o, _, err := w.store.Settle(t.Context(), u.key, u.id, u.parts, u.want); o != objectstore.Done || err != nil {
			t.Fatalf("outcome %s, %v", o, err)
		}
		fired(t, done)
		fired(t, blind)
	})
	t.Run("ambiguous and gone is not lost yet", func(t *testing.T) {
		w := newWorld(t)
		u := newUpload(t, w.store, "k")
		if err := w.store.AbortUpload(t.Context(), u.key, u.id); err != nil {
			t.Fatal(err)
		}
		r := w.proxy.Inject("CompleteMultipartUpload", 1, s3kit.Status(500, "InternalError"))
		if o, _, err := w.store.Settle(t.Context(), u.key, u.id, u.parts, u.want); o != objectstore.Retry || err == nil {
			t.Fatalf("outcome %s, %v", o, err)
		}
		fired(t, r)
		u.mustSettle(t, w.store, objectstore.Lost)
	})
	t.Run("missing bucket is not lost", func(t *testing.T) {
		w := newWorld(t)
		u := newUpload(t, w.store, "k")
		cfg := w.cfg
		cfg.Bucket = "nosuchbucket"
		_, err := u.mustSettle(t, open(t, cfg), objectstore.Retry)
		wantErr(t, err, objectstore.ErrNoSuchBucket)
	})
}

// Fault 45: denied at the end leaves the upload for a later try.
func TestSettle_Fault45Denied(t *testing.T) {
	w := newWorld(t)
	u := newUpload(t, w.store, "k")
	r := w.proxy.Inject("CompleteMultipartUpload", 1, s3kit.Status(403, "AccessDenied"))
	_, err := w.store.Head(t.Context(), "k")
	wantErr(t, err, objectstore.ErrNotFound)
	o, _, err := w.store.Settle(t.Context(), u.key, u.id, u.parts, u.want)
	fired(t, r)
	if o != objectstore.Retry {
		t.Fatalf("outcome %s", o)
	}
	wantErr(t, err, objectstore.ErrDenied, "s3:PutObject")
	u.mustSettle(t, w.store, objectstore.Done)
}

// Fault 46: 412 and 409 are decided by HEAD; a foreign object is left alone and reported.
func TestSettle_Fault46Conflict(t *testing.T) {
	for code, status := range map[string]int{"PreconditionFailed": 412, "ConditionalRequestConflict": 409} {
		t.Run(code+", ours", func(t *testing.T) {
			w := newWorld(t)
			u := newUpload(t, w.store, "k")
			r := w.proxy.Inject("CompleteMultipartUpload", 1, s3kit.ReplyStatus(status, code))
			if o, _, err := w.store.Settle(t.Context(), u.key, u.id, u.parts, u.want); o != objectstore.Done || err != nil {
				t.Fatalf("outcome %s, %v", o, err)
			}
			fired(t, r)
		})
		t.Run(code+", not stored", func(t *testing.T) {
			w := newWorld(t)
			u := newUpload(t, w.store, "k")
			r := w.proxy.Inject("CompleteMultipartUpload", 1, s3kit.Status(status, code))
			u.mustSettle(t, w.store, objectstore.Retry)
			fired(t, r)
			u.mustSettle(t, w.store, objectstore.Done)
		})
	}
	for _, size := range []int{10, 5<<20 + 1234} {
		t.Run(fmt.Sprintf("foreign of %d bytes before", size), func(t *testing.T) {
			w := newWorld(t)
			u := newUpload(t, w.store, "k")
			foreign := randomBytes(7, size)
			if _, err := w.store.Put(t.Context(), "k", foreign, "text/plain"); err != nil {
				t.Fatal(err)
			}
			_, err := u.mustSettle(t, w.store, objectstore.Foreign)
			wantErr(t, err, objectstore.ErrForeign, `"k"`)
			if b, err := w.store.Get(t.Context(), "k", int64(size)); err != nil || string(b) != string(foreign) {
				t.Fatalf("the foreign object was touched: %v", err)
			}
			if n := w.proxy.Count("CompleteMultipartUpload"); n != 0 {
				t.Fatalf("completed %d times", n)
			}
		})
	}
	t.Run("foreign appears in between", func(t *testing.T) {
		w := newWorld(t)
		u := newUpload(t, w.store, "k")
		gate := s3kit.NewGate()
		r := w.proxy.Inject("CompleteMultipartUpload", 1, gate.HoldRequest())
		go func() {
			defer gate.Open()
			<-gate.Arrived()
			if _, err := w.store.Put(t.Context(), "k", []byte("foreign"), "text/plain"); err != nil {
				t.Error(err)
			}
		}()
		_, err := u.mustSettle(t, w.store, objectstore.Foreign)
		fired(t, r)
		wantErr(t, err, objectstore.ErrForeign)
		if b, err := w.store.Get(t.Context(), "k", 100); err != nil || string(b) != "foreign" {
			t.Fatalf("the foreign object was replaced: %q %v", b, err)
		}
	})
}
