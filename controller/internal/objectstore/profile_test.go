package objectstore_test

import (
	"bytes"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"devflowbackup/controller/internal/objectstore"
	"devflowbackup/shared/testkit/s3kit"
)

// stores are kinds of stores that differ from AWS in what matters here.
var stores = []struct {
	name     string
	profiles func(*s3kit.Server) []*s3kit.Profile
	differs  func(*objectstore.Capabilities) // from what the plain server can do
}{
	{"plain", func(*s3kit.Server) []*s3kit.Profile { return nil }, func(*objectstore.Capabilities) {}},
	{"no SHA-256", func(*s3kit.Server) []*s3kit.Profile { return []*s3kit.Profile{s3kit.NoSHA256()} }, withoutSHA256},
	{"ignores SHA-256", func(s *s3kit.Server) []*s3kit.Profile { return []*s3kit.Profile{s3kit.IgnoresSHA256(s)} }, withoutSHA256},
	{"equal parts", func(*s3kit.Server) []*s3kit.Profile { return []*s3kit.Profile{s3kit.EqualParts()} }, func(*objectstore.Capabilities) {}},
	{"1,000 parts", func(*s3kit.Server) []*s3kit.Profile { return []*s3kit.Profile{s3kit.MaxParts(1000)} }, func(c *objectstore.Capabilities) { c.MaxParts = 1000 }},
	{"forgets completed uploads", func(*s3kit.Server) []*s3kit.Profile {
		return []*s3kit.Profile{s3kit.CompleteTwice404(), s3kit.ExactUploadListing()}
	}, func(c *objectstore.Capabilities) { c.PrefixUploadListing = false }},
	{"unquoted ETags", func(*s3kit.Server) []*s3kit.Profile { return []*s3kit.Profile{s3kit.UnquotedETags()} }, func(*objectstore.Capabilities) {}},
	{"opaque ETags", func(s *s3kit.Server) []*s3kit.Profile { return []*s3kit.Profile{s3kit.OpaqueETags(s)} }, func(c *objectstore.Capabilities) { c.MultipartETagMD5 = false }},
	{"ignores conditions", func(s *s3kit.Server) []*s3kit.Profile { return []*s3kit.Profile{s3kit.IgnoresConditions(s)} }, withoutConditions},
	{"refuses conditions", func(*s3kit.Server) []*s3kit.Profile { return []*s3kit.Profile{s3kit.RefusesConditions()} }, withoutConditions},
	{"all at once", func(s *s3kit.Server) []*s3kit.Profile {
		return []*s3kit.Profile{
			s3kit.NoSHA256(), s3kit.EqualParts(), s3kit.MaxParts(1000), s3kit.CompleteTwice404(), s3kit.ExactUploadListing(), s3kit.UnquotedETags(),
			s3kit.IgnoresConditions(s),
		}
	}, func(c *objectstore.Capabilities) {
		withoutSHA256(c)
		withoutConditions(c)
		c.MaxParts, c.PrefixUploadListing = 1000, false
	}},
}

func withoutSHA256(c *objectstore.Capabilities) { c.SHA256, c.CompositeInHead = false, false }

func withoutConditions(c *objectstore.Capabilities) {
	c.ConditionalRead, c.ConditionalPut, c.ConditionalComplete = false, false, false
}

// A store of each kind is probed, and then used as the probe found it, from the first part to the last version.
func TestStores_ProbeToDelete(t *testing.T) {
	for _, kind := range stores {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			profiles := kind.profiles(w.Server)
			w.proxy.Use(profiles...)

			report := w.store.Probe(t.Context())
			if err := report.Err(); err != nil {
				t.Fatal(err)
			}
			for _, st := range report.Steps {
				if !st.OK || st.Detail == "" {
					t.Errorf("step %+v", st)
				}
			}
			want := objectstore.Capabilities{
				SHA256: true, ContentMD5: true, CompositeInHead: true, MultipartETagMD5: true, ConditionalRead: true, ConditionalPut: true,
				ConditionalComplete: true, MaxParts: 10_000, PrefixUploadListing: true,
			}
			kind.differs(&want)
			if report.Capabilities != want {
				t.Fatalf("found %+v, want %+v", report.Capabilities, want)
			}
			conditions := map[string]string{"ignores conditions": "If-Match is ignored", "refuses conditions": "If-Match is refused", "plain": "a changed object refused"}
			if st := stepOf(t, report, "conditional reads"); !strings.Contains(st.Detail, conditions[kind.name]) {
				t.Errorf("step %+v", st)
			}
			wantEmpty(t, w.Server)

			st := open(t, report.Capabilities.Configure(w.cfg))
			u := newUpload(t, st, "dir/artifact")
			info, _ := u.mustSettle(t, st, objectstore.Done)
			if again, _ := u.mustSettle(t, st, objectstore.Done); again != info {
				t.Fatalf("second settle saw %+v, first %+v", again, info)
			}
			// What a controller sees that comes late: the completion is repeated, whatever the store says to that.
			_, err := st.CompleteUpload(t.Context(), u.key, u.id, u.parts)
			if forgets := slices.ContainsFunc(profiles, func(p *s3kit.Profile) bool { return p.String() == s3kit.CompleteTwice404().String() }); forgets != errors.Is(err, objectstore.ErrNoSuchUpload) {
				t.Fatalf("repeated completion: %v", err)
			}
			head, err := st.Head(t.Context(), u.key)
			if err != nil || head.Size != u.want.Size || head.ETag != info.ETag || (head.CompositeSHA256 == u.want.CompositeSHA256) != want.CompositeInHead {
				t.Fatalf("head %+v, %v", head, err)
			}
			if (head.ETag == objectstore.MultipartETag(u.parts)) != want.MultipartETagMD5 {
				t.Fatalf("ETag %s", head.ETag)
			}
			readBack(t, st, u, info)

			if _, err := st.Put(t.Context(), u.key+".manifest.json", []byte("{}"), "application/json"); err != nil {
				t.Fatal(err)
			}
			for _, key := range []string{u.key, u.key + ".manifest.json"} {
				if _, err := st.AbortUploads(t.Context(), key); err != nil {
					t.Fatal(err)
				}
				if err := st.DeleteAllVersions(t.Context(), key); err != nil {
					t.Fatal(err)
				}
				if gone, err := st.Gone(t.Context(), key); !gone || err != nil {
					t.Fatalf("%s: gone %v, %v", key, gone, err)
				}
			}

			uneven(t, st, profiles)
			used(t, profiles...)
			wantEmpty(t, w.Server)
		})
	}
}

// readBack reads the object as an agent and as the controller do.
func readBack(t *testing.T, st *objectstore.Store, u *upload, info objectstore.ObjectInfo) {
	t.Helper()
	const from, to = 5<<20 - 100, 5<<20 + 99
	req, err := st.PresignGet(t.Context(), u.key, info.VersionID, info.ETag, objectstore.ReadRange{From: from, To: to}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	status, _, b, err := send(t, req, nil)
	if err != nil || status != http.StatusPartialContent || !bytes.Equal(b, u.data[from:to+1]) {
		t.Fatalf("read: status %d, %d bytes, %v", status, len(b), err)
	}
	if b, err = st.ReadRange(t.Context(), u.key, from, 200, info.ETag); err != nil || !bytes.Equal(b, u.data[from:to+1]) {
		t.Fatalf("read: %d bytes, %v", len(b), err)
	}
	if b, err = st.Get(t.Context(), u.key, u.want.Size); err != nil || !bytes.Equal(b, u.data) {
		t.Fatalf("read: %d bytes, %v", len(b), err)
	}
}

// uneven completes an upload whose parts have different sizes, which nobody but R2 minds, and mends it by sending a part again.
func uneven(t *testing.T, st *objectstore.Store, profiles []*s3kit.Profile) {
	t.Helper()
	var minds *s3kit.Profile
	for _, p := range profiles {
		if p.String() == s3kit.EqualParts().String() {
			minds = p
		}
	}
	if minds == nil {
		return
	}
	id, err := st.CreateUpload(t.Context(), "uneven")
	if err != nil {
		t.Fatal(err)
	}
	u := &upload{key: "uneven", id: id, data: randomBytes(9, 15<<20)}
	cut := func(second int) {
		u.parts = nil
		for i, b := range [][]byte{u.data[:5<<20], u.data[5<<20 : 5<<20+second], u.data[5<<20+second : 10<<20+77]} {
			u.parts = append(u.parts, sendPart(t, st, u.key, id, i+1, b))
		}
		u.want = objectstore.Want{Size: 10<<20 + 77, CompositeSHA256: objectstore.CompositeSHA256(u.parts)}
	}
	cut(5<<20 + 10)
	_, err = u.mustSettle(t, st, objectstore.Refused)
	wantErr(t, err, objectstore.ErrChecksum, "InvalidPart", "same length")
	used(t, minds)
	cut(5 << 20)
	u.mustSettle(t, st, objectstore.Done)
	if err := st.DeleteAllVersions(t.Context(), u.key); err != nil {
		t.Fatal(err)
	}
}

// The faults of a completion, on stores that prove it by other means. Faults 36, 41, 43, 46.
func TestStores_Settle(t *testing.T) {
	for _, kind := range stores {
		if kind.name != "no SHA-256" && kind.name != "opaque ETags" && kind.name != "forgets completed uploads" && kind.name != "all at once" {
			continue
		}
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.proxy.Use(kind.profiles(w.Server)...)
			report := w.store.Probe(t.Context())
			if err := report.Err(); err != nil {
				t.Fatal(err)
			}
			caps := report.Capabilities
			st := open(t, caps.Configure(w.cfg))
			run := func(name string, do func(t *testing.T, u *upload)) {
				t.Run(name, func(t *testing.T) {
					defer w.proxy.Reset()
					do(t, newUpload(t, st, "k-"+name))
				})
			}
			// settleOnce expects the outcome of a single try.
			settleOnce := func(t *testing.T, u *upload, want objectstore.Outcome) error {
				t.Helper()
				o, _, err := st.Settle(t.Context(), u.key, u.id, u.parts, u.want)
				if o != want {
					t.Fatalf("outcome %s (%v), want %s", o, err, want)
				}
				return err
			}
			noObject := func(t *testing.T, u *upload) {
				t.Helper()
				if _, err := st.Head(t.Context(), u.key); !errors.Is(err, objectstore.ErrNotFound) {
					t.Fatalf("an object is there: %v", err)
				}
			}

			run("36 reply lost", func(t *testing.T, u *upload) {
				r := w.proxy.Inject("CompleteMultipartUpload", 1, s3kit.DropReply())
				settleOnce(t, u, objectstore.Done)
				fired(t, r)
			})
			run("36 reply lost and the object seen late", func(t *testing.T, u *upload) {
				r := w.proxy.Inject("CompleteMultipartUpload", 1, s3kit.DropReply())
				blind := w.proxy.Inject("HeadObject", 3, s3kit.Status(404, "NotFound")) // before the completion, after it, and once more
				u.mustSettle(t, st, objectstore.Done)
				fired(t, r)
				fired(t, blind)
			})
			run("36 two at once", func(t *testing.T, u *upload) {
				gate := s3kit.NewGate()
				defer gate.Open()
				r := w.proxy.Inject("CompleteMultipartUpload", 2, gate.HoldRequest())
				var wg sync.WaitGroup
				for range 2 {
					wg.Go(func() {
						for range 20 {
							o, _, err := st.Settle(t.Context(), u.key, u.id, u.parts, u.want)
							if o == objectstore.Done {
								return
							}
							if o != objectstore.Retry {
								t.Errorf("outcome %s: %v", o, err)
								return
							}
						}
						t.Error("never done")
					})
				}
				<-gate.Arrived()
				<-gate.Arrived()
				gate.Open()
				wg.Wait()
				if r.Fired() != 2 {
					t.Fatalf("%d completions were held, want 2", r.Fired())
				}
			})
			run("41 part replaced", func(t *testing.T, u *upload) {
				sendPart(t, st, u.key, u.id, 2, randomBytes(99, 1234))
				wantErr(t, settleOnce(t, u, objectstore.Refused), objectstore.ErrChecksum, u.key)
				noObject(t, u)
			})
			run("41 parts of another attempt", func(t *testing.T, u *upload) {
				other := newUpload(t, st, "other attempt")
				u.parts[1] = other.parts[1]
				u.want.CompositeSHA256 = objectstore.CompositeSHA256(u.parts)
				settleOnce(t, u, objectstore.Refused)
				noObject(t, u)
			})
			run("41 composite of other parts", func(t *testing.T, u *upload) {
				u.want.CompositeSHA256 = objectstore.CompositeSHA256(u.parts[:1])
				wantErr(t, settleOnce(t, u, objectstore.Refused), objectstore.ErrChecksum)
				noObject(t, u)
			})
			run("41 size", func(t *testing.T, u *upload) {
				u.want.Size--
				wantErr(t, settleOnce(t, u, objectstore.Refused), objectstore.ErrChecksum, "bytes")
			})
			run("41 the store shows another object", func(t *testing.T, u *upload) {
				change := func(old string) string {
					if old == "" {
						return ""
					}
					return objectstore.CompositeSHA256(make([]objectstore.Part, 2))
				}
				header := "X-Amz-Checksum-Sha256"
				if !caps.CompositeInHead {
					header, change = "ETag", func(old string) string {
						if old == "" {
							return ""
						}
						return `"` + objectstore.MultipartETag(make([]objectstore.Part, 2)) + `0123-2"`
					}
				}
				r := w.proxy.Inject("HeadObject", 0, s3kit.SetReplyHeader(header, change))
				_, _, err := st.Settle(t.Context(), u.key, u.id, u.parts, u.want)
				fired(t, r)
				if !errors.Is(err, objectstore.ErrChecksum) && !errors.Is(err, objectstore.ErrForeign) {
					t.Fatalf("error %v", err)
				}
			})
			if caps.Checksum() == objectstore.ChecksumMD5 {
				run("41 a part's MD5 is not known", func(t *testing.T, u *upload) {
					u.parts[1].MD5 = [16]byte{}
					wantErr(t, settleOnce(t, u, objectstore.Refused), objectstore.ErrRefused, "MD5 of part 2")
				})
			}
			run("43 aborted", func(t *testing.T, u *upload) {
				if err := st.AbortUpload(t.Context(), u.key, u.id); err != nil {
					t.Fatal(err)
				}
				wantErr(t, settleOnce(t, u, objectstore.Lost), objectstore.ErrNoSuchUpload, "lifecycle")
			})
			run("43 completed by another in between", func(t *testing.T, u *upload) {
				gate := s3kit.NewGate()
				defer gate.Open()
				r := w.proxy.Inject("CompleteMultipartUpload", 1, gate.HoldRequest())
				var wg sync.WaitGroup
				wg.Go(func() {
					<-gate.Arrived()
					if _, err := st.CompleteUpload(t.Context(), u.key, u.id, u.parts); err != nil {
						t.Error(err)
					}
					gate.Open()
				})
				settleOnce(t, u, objectstore.Done)
				wg.Wait()
				fired(t, r)
			})
			for _, size := range []int{10, 5<<20 + 1234} {
				run("46 foreign before", func(t *testing.T, u *upload) {
					foreign := randomBytes(7, size)
					if _, err := st.Put(t.Context(), u.key, foreign, "text/plain"); err != nil {
						t.Fatal(err)
					}
					wantErr(t, settleOnce(t, u, objectstore.Foreign), objectstore.ErrForeign, u.key)
					if b, err := st.Get(t.Context(), u.key, int64(size)); err != nil || !bytes.Equal(b, foreign) {
						t.Fatalf("the foreign object was touched: %v", err)
					}
					if err := st.DeleteAllVersions(t.Context(), u.key); err != nil {
						t.Fatal(err)
					}
				})
			}
			for code, status := range map[string]int{"PreconditionFailed": 412, "ConditionalRequestConflict": 409} {
				run("46 "+code, func(t *testing.T, u *upload) {
					r := w.proxy.Inject("CompleteMultipartUpload", 1, s3kit.Status(status, code))
					wantErr(t, settleOnce(t, u, objectstore.Retry), objectstore.ErrPrecondition)
					fired(t, r)
					r = w.proxy.Inject("CompleteMultipartUpload", 1, s3kit.ReplyStatus(status, code))
					settleOnce(t, u, objectstore.Done)
					fired(t, r)
				})
			}
		})
	}
}

// Fault 41: a store that stores other bytes than it was sent and checks no checksum is found out by the object's ETag.
func TestSettle_Fault41MD5Unchecked(t *testing.T) {
	w := newWorld(t, func(c *objectstore.Config) { c.Checksum = objectstore.ChecksumMD5 })
	unchecked := s3kit.IgnoresMD5(w.Server)
	w.proxy.Use(unchecked)
	r := w.proxy.Inject("UploadPart", 1, s3kit.CorruptUpload(77))
	u := newUpload(t, w.store, "k")
	fired(t, r)
	used(t, unchecked)
	_, err := u.mustSettle(t, w.store, objectstore.Refused)
	wantErr(t, err, objectstore.ErrChecksum, "ETag", objectstore.MultipartETag(u.parts))
}

// A store that checks nothing, and one that cannot show what it holds, are refused with a reason.
func TestProbe_Unprovable(t *testing.T) {
	for _, tc := range []struct {
		name     string
		profiles func(*s3kit.Server) []*s3kit.Profile
		step     string
		names    []string
	}{
		{
			"checks nothing", func(s *s3kit.Server) []*s3kit.Profile {
				return []*s3kit.Profile{s3kit.IgnoresSHA256(s), s3kit.IgnoresMD5(s)}
			},
			"checksum headers",
			[]string{"neither x-amz-checksum-sha256 nor Content-MD5", "use a store that checks"},
		},
		{
			"refuses one and ignores the other", func(s *s3kit.Server) []*s3kit.Profile { return []*s3kit.Profile{s3kit.NoSHA256(), s3kit.IgnoresMD5(s)} },
			"checksum headers",
			[]string{"neither x-amz-checksum-sha256 nor Content-MD5", "use a store that checks"},
		},
		{
			"shows nothing", func(s *s3kit.Server) []*s3kit.Profile {
				return []*s3kit.Profile{s3kit.NoSHA256(), s3kit.OpaqueETags(s)}
			},
			"multipart",
			[]string{"no composite SHA-256", "parts' MD5", "use a store that shows either"},
		},
		{
			"few parts", func(*s3kit.Server) []*s3kit.Profile { return []*s3kit.Profile{s3kit.MaxParts(100)} },
			"part limits",
			[]string{"part 1000", "use a store that takes 1,000 parts"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			profiles := tc.profiles(w.Server)
			w.proxy.Use(profiles...)
			report := w.store.Probe(t.Context())
			used(t, profiles...)
			wantErr(t, report.Err(), objectstore.ErrUnsupported, append(tc.names, "step "+tc.step)...)
			if st := stepOf(t, report, tc.step); st.OK || !st.Required || st.Hint == "" {
				t.Errorf("step %+v", st)
			}
			wantEmpty(t, w.Server)
		})
	}
}

// Where If-Match does nothing it is not sent, and the controller looks at the ETag itself.
func TestRead_WithoutConditions(t *testing.T) {
	for _, refuses := range []bool{true, false} {
		w := newWorld(t, func(c *objectstore.Config) {
			c.ConditionalPut, c.ConditionalComplete, c.ConditionalRead = false, false, false
		})
		kind := s3kit.IgnoresConditions(w.Server)
		if refuses {
			kind = s3kit.RefusesConditions()
		}
		w.proxy.Use(kind)
		first, err := w.store.Put(t.Context(), "k", []byte("0123456789"), "text/plain")
		if err != nil {
			t.Fatal(err)
		}
		req, err := w.store.PresignGet(t.Context(), "k", "", first.ETag, objectstore.ReadRange{From: 2, To: 4}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if status, _, b, err := send(t, req, nil); status != http.StatusPartialContent || string(b) != "234" || err != nil {
			t.Fatalf("status %d, %q, %v", status, b, err)
		}
		if b, err := w.store.ReadRange(t.Context(), "k", 2, 3, first.ETag); err != nil || string(b) != "234" {
			t.Fatalf("%q %v", b, err)
		}
		if _, err := w.store.Put(t.Context(), "k", []byte("abcdefghij"), "text/plain"); err != nil {
			t.Fatal(err)
		}
		_, err = w.store.ReadRange(t.Context(), "k", 2, 3, first.ETag)
		wantErr(t, err, objectstore.ErrPrecondition, `"k"`)
		if kind.Fired() != 0 {
			t.Fatal("a condition was sent")
		}
	}
}
