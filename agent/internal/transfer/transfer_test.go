package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"devflowbackup/agent/internal/testkit/control"
	"devflowbackup/agent/internal/transfer"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/testkit/s3kit"
	"devflowbackup/shared/wire"
)

const partSize = 5 << 20 // the least that S3 takes

var plain = wire.Codec{Compression: "none", Encryption: "none"}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func client() *transfer.Client {
	c := transfer.NewClient(nil)
	c.Idle, c.Timeout = time.Second, 20*time.Second
	return c
}

type upload struct {
	c   *control.Controller
	job wire.Job
	cfg transfer.UploadConfig
}

func newUpload(t *testing.T) *upload {
	t.Helper()
	u := &upload{c: control.Start(t)}
	u.job = u.c.Backup(1, "main", "memory", "db", plain, partSize)
	u.cfg = transfer.UploadConfig{
		Client: client(), Attempt: u.job.Attempt, PartSize: partSize, Checksum: wire.ChecksumSHA256, Grant: u.c.PartGrant,
	}
	t.Cleanup(u.cfg.Client.CloseIdle)
	return u
}

func (u *upload) send(ctx context.Context, data []byte) (*transfer.Upload, error) {
	up := transfer.NewUpload(ctx, u.cfg)
	_, err := io.Copy(struct{ io.Writer }{up}, bytes.NewReader(data))
	if err == nil {
		err = up.Close()
	}
	if err != nil {
		up.Abort(err)
	}
	return up, err
}

// FAULTS 34, 37, 38 and more: whatever happens to single requests, the object that is completed is the one that was sent.
func TestUpload_Faults(t *testing.T) {
	u := newUpload(t)
	data := random(4*partSize + 12345)
	for name, tc := range map[string]struct {
		times  int
		prob   float64
		action s3kit.Action
	}{
		"none":              {},
		"slow down":         {0, 0.5, s3kit.Status(503, "SlowDown")},
		"internal error":    {2, 1, s3kit.Status(500, "InternalError")},
		"expired url":       {2, 1, s3kit.Status(403, "AccessDenied")},
		"reset half-way":    {3, 1, s3kit.ResetUpload(1 << 20)},
		"reply lost":        {3, 1, s3kit.DropReply()},
		"answer is error":   {2, 1, s3kit.ReplyStatus(500, "InternalError")},
		"wrong bytes":       {2, 1, s3kit.CorruptUpload(77)},
		"store hangs":       {1, 1, s3kit.Hang()},
		"upload seems gone": {2, 1, s3kit.Status(404, "NoSuchUpload")},
	} {
		t.Run(name, func(t *testing.T) {
			u.c.Proxy.Reset()
			u.c.Proxy.Seed(7)
			var rule *s3kit.Rule
			if tc.action != nil {
				rule = u.c.Proxy.Add(&s3kit.Rule{Match: s3kit.Op("UploadPart"), Times: tc.times, Prob: tc.prob, Action: tc.action})
			}
			u.job = u.c.Backup(1, "main", "memory", "db", plain, partSize)
			u.cfg.Attempt = u.job.Attempt
			up, err := u.send(t.Context(), data)
			if err != nil {
				t.Fatal(err)
			}
			if rule != nil && rule.Fired() == 0 {
				t.Fatal("the fault did not fire")
			}
			if len(up.Parts()) != 5 || up.Stored() != int64(len(data)) {
				t.Fatalf("%d parts, %d bytes", len(up.Parts()), up.Stored())
			}
			u.c.CompleteParts(u.job.Attempt, up.TakeDone())
			if got := u.c.Object(u.job.Backup.Key); !bytes.Equal(got, data) {
				t.Fatalf("another object: %d bytes", len(got))
			}
		})
	}
}

// A store that keeps failing fails the upload in time, with a code that tells why, and without a URL's signature.
func TestUpload_GivesUp(t *testing.T) {
	u := newUpload(t)
	u.cfg.Client.Timeout = 700 * time.Millisecond
	u.cfg.Client.Idle = 300 * time.Millisecond
	for name, tc := range map[string]struct {
		action s3kit.Action
		code   string
	}{
		"unavailable": {s3kit.Status(503, "SlowDown"), wire.CodeStorageUnavailable},
		"denied":      {s3kit.Status(403, "AccessDenied"), wire.CodeStorageDenied},
		"gone":        {s3kit.Status(404, "NoSuchUpload"), wire.CodeUploadLost},
		"cut":         {s3kit.ResetUpload(10), wire.CodeUploadStalled},
		"hangs":       {s3kit.Hang(), wire.CodeUploadStalled},
	} {
		t.Run(name, func(t *testing.T) {
			u.c.Proxy.Reset()
			rule := u.c.Proxy.Inject("UploadPart", 0, tc.action)
			_, err := u.send(t.Context(), random(2*partSize))
			if !wire.HasCode(err, tc.code) {
				t.Fatalf("got %v, want code %s", err, tc.code)
			}
			if rule.Fired() == 0 {
				t.Fatal("the fault did not fire")
			}
			if strings.Contains(err.Error(), "X-Amz") {
				t.Fatalf("the error shows the URL: %v", err)
			}
		})
	}
}

// While grants cannot be had the upload waits, for longer than its budget.
func TestUpload_WaitsForGrants(t *testing.T) {
	u := newUpload(t)
	u.cfg.Client.Timeout = 50 * time.Millisecond
	open := make(chan struct{})
	time.AfterFunc(500*time.Millisecond, func() { close(open) })
	u.cfg.Grant = func(ctx context.Context, r wire.PartRequest) (wire.Grant, error) {
		<-open
		return u.c.PartGrant(ctx, r)
	}
	if _, err := u.send(t.Context(), random(partSize+1)); err != nil {
		t.Fatal(err)
	}
}

func TestUpload_StaleAttemptStops(t *testing.T) {
	u := newUpload(t)
	var asked atomic.Int64
	u.cfg.Grant = func(ctx context.Context, r wire.PartRequest) (wire.Grant, error) {
		if asked.Add(1) == 3 {
			u.c.Fence(r.Attempt)
		}
		return u.c.PartGrant(ctx, r)
	}
	_, err := u.send(t.Context(), random(40*partSize))
	if !wire.HasCode(err, wire.CodeStale) {
		t.Fatalf("got %v", err)
	}
	if n := asked.Load(); n > 3+transfer.InFlight {
		t.Fatalf("%d grants were asked for after the attempt was closed", n-3)
	}
}

// No more than three parts are ever held, and acknowledgements are told with later requests.
func TestUpload_Bounded(t *testing.T) {
	u := newUpload(t)
	gate := s3kit.NewGate()
	u.c.Proxy.Inject("UploadPart", 0, gate.HoldRequest())
	up := transfer.NewUpload(t.Context(), u.cfg)
	data := random(6 * partSize)
	var written atomic.Int64
	done := make(chan error, 1)
	go func() {
		for off := 0; off < len(data); off += 1 << 20 {
			n, err := up.Write(data[off : off+1<<20])
			written.Add(int64(n))
			if err != nil {
				done <- err
				return
			}
		}
		done <- up.Close()
	}()
	for range transfer.InFlight {
		<-gate.Arrived()
	}
	select {
	case <-gate.Arrived():
		t.Fatal("a fourth part is on its way")
	case <-time.After(200 * time.Millisecond):
	}
	if n := written.Load(); n != transfer.InFlight*partSize {
		t.Fatalf("%d bytes were taken, want %d", n, transfer.InFlight*partSize)
	}
	gate.Open()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if told := u.c.Upload(u.job.Attempt).Done; len(told) == 0 {
		t.Fatal("no acknowledgement was told")
	}
	u.c.CompleteParts(u.job.Attempt, up.TakeDone())
	if !bytes.Equal(u.c.Object(u.job.Backup.Key), data) {
		t.Fatal("another object")
	}
}

func TestUpload_CancelStops(t *testing.T) {
	u := newUpload(t)
	gate := s3kit.NewGate()
	u.c.Proxy.Inject("UploadPart", 0, gate.HoldRequest())
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-gate.Arrived()
		cancel(why)
	}()
	if _, err := u.send(ctx, random(9*partSize)); !errors.Is(err, why) {
		t.Fatalf("got %v, want the cause", err)
	}
}

func TestUpload_SideAndEmpty(t *testing.T) {
	u := newUpload(t)
	up, err := u.send(t.Context(), nil)
	if err != nil || len(up.Parts()) != 1 {
		t.Fatalf("an empty upload: %v, %d parts", err, len(up.Parts()))
	}
	rule := u.c.Proxy.Inject("PutObject", 2, s3kit.Status(503, "SlowDown"))
	if err := up.Side(wire.ObjectFingerprint, []byte("{}")); err != nil || rule.Fired() != 2 {
		t.Fatalf("%v, fired %d", err, rule.Fired())
	}
	if got := u.c.Object(artifact.FingerprintKey(u.job.Backup.Key, artifact.Codec(plain))); string(got) != "{}" {
		t.Fatalf("got %q", got)
	}
	if err := up.Side(wire.ObjectFingerprint, make([]byte, transfer.MaxSide+1)); err == nil {
		t.Fatal("a side object beyond the limit was sent")
	}
}

// FAULTS 38: a URL that the store refuses is not used again.
func TestUpload_AsksForAnotherURL(t *testing.T) {
	u := newUpload(t)
	var asked atomic.Int64
	u.cfg.Grant = func(ctx context.Context, r wire.PartRequest) (wire.Grant, error) {
		g, err := u.c.PartGrant(ctx, r)
		if asked.Add(1) == 1 {
			g.URL = strings.Replace(g.URL, "X-Amz-Signature=", "X-Amz-Signature=00", 1)
		}
		return g, err
	}
	if _, err := u.send(t.Context(), random(100)); err != nil || asked.Load() != 2 {
		t.Fatalf("%v after %d grants", err, asked.Load())
	}
}

func TestUpload_MD5(t *testing.T) {
	u := newUpload(t)
	u.cfg.Checksum = wire.ChecksumMD5
	var asked wire.PartRequest
	u.cfg.Grant = func(_ context.Context, r wire.PartRequest) (wire.Grant, error) {
		asked = r
		return wire.Grant{}, wire.Failf(wire.CodeStale, "enough")
	}
	_, _ = u.send(t.Context(), []byte("x"))
	if len(asked.MD5) != 16 || len(asked.SHA256) != 32 {
		t.Fatalf("%+v", asked)
	}
}

type download struct {
	c    *control.Controller
	a    wire.Attempt
	key  string
	data []byte
	cfg  transfer.DownloadConfig
}

func newDownload(t *testing.T) *download {
	t.Helper()
	d := &download{c: control.Start(t), a: wire.Attempt{Job: 1, No: 1, Token: "x"}, data: random(3<<20 + 17)}
	d.key = d.c.Put(d.a, d.data)
	d.cfg = transfer.DownloadConfig{
		Client: client(), Attempt: d.a, Object: wire.ObjectArtifact, Size: int64(len(d.data)), Range: 1 << 20, Grant: d.c.ReadGrant,
	}
	t.Cleanup(d.cfg.Client.CloseIdle)
	return d
}

func (d *download) read(ctx context.Context) ([]byte, error) {
	r := transfer.NewDownload(ctx, d.cfg)
	defer r.Close()
	return io.ReadAll(r)
}

// FAULTS 42: cut, refused and wrong answers are asked for again from where they broke.
func TestDownload_Faults(t *testing.T) {
	d := newDownload(t)
	for name, tc := range map[string]struct {
		times  int
		prob   float64
		action s3kit.Action
	}{
		"none":           {},
		"reset half-way": {3, 1, s3kit.ResetDownload(100_000)},
		"reset at once":  {2, 1, s3kit.ResetDownload(0)},
		"truncated":      {3, 1, s3kit.TruncateDownload(5000)},
		"slow down":      {0, 0.5, s3kit.Status(503, "SlowDown")},
		"expired url":    {2, 1, s3kit.Status(403, "AccessDenied")},
		"store hangs":    {1, 1, s3kit.Hang()},
		"seems missing":  {1, 1, s3kit.Status(404, "NoSuchKey")},
		"no range":       {2, 1, s3kit.SetReplyHeader("Content-Range", func(string) string { return "" })},
		"wrong range": {2, 1, func(x *s3kit.Exchange) {
			x.W.Header().Set("Content-Range", "bytes 7-9/3145745")
			x.W.WriteHeader(http.StatusPartialContent)
			_, _ = io.WriteString(x.W, "xyz")
		}},
		"wrong size once": {1, 1, s3kit.SetReplyHeader("Content-Range", func(s string) string { return strings.Replace(s, "/3145745", "/1", 1) })},
	} {
		t.Run(name, func(t *testing.T) {
			d.c.Proxy.Reset()
			d.c.Proxy.Seed(7)
			var rule *s3kit.Rule
			if tc.action != nil {
				rule = d.c.Proxy.Add(&s3kit.Rule{Match: s3kit.Op("GetObject"), Times: tc.times, Prob: tc.prob, Action: tc.action})
			}
			got, err := d.read(t.Context())
			if err != nil || !bytes.Equal(got, d.data) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			if rule != nil && rule.Fired() == 0 {
				t.Fatal("the fault did not fire")
			}
		})
	}
}

func TestDownload_GivesUp(t *testing.T) {
	d := newDownload(t)
	d.cfg.Client.Timeout = 700 * time.Millisecond
	d.cfg.Client.Idle = 300 * time.Millisecond
	var damage *artifact.DamageError
	for name, tc := range map[string]struct {
		action s3kit.Action
		size   int64
		code   string // empty: damage
	}{
		"missing":      {s3kit.Status(404, "NoSuchKey"), 0, wire.CodeMissing},
		"denied":       {s3kit.Status(403, "AccessDenied"), 0, wire.CodeStorageDenied},
		"archived":     {s3kit.Status(403, "InvalidObjectState"), 0, wire.CodeArchived},
		"unavailable":  {s3kit.Status(500, "InternalError"), 0, wire.CodeStorageUnavailable},
		"hangs":        {s3kit.Hang(), 0, wire.CodeStorageUnavailable},
		"always empty": {s3kit.TruncateDownload(0), 0, wire.CodeStorageUnavailable},
		"replaced":     {s3kit.Status(412, "PreconditionFailed"), 0, ""},
		"shorter":      {nil, int64(len(d.data)) + 1, ""},
		"longer":       {nil, int64(len(d.data)) - 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d.c.Proxy.Reset()
			cfg := d.cfg
			if tc.size != 0 {
				cfg.Size = tc.size
			}
			var rule *s3kit.Rule
			if tc.action != nil {
				rule = d.c.Proxy.Inject("GetObject", 0, tc.action)
			}
			r := transfer.NewDownload(t.Context(), cfg)
			defer r.Close()
			_, err := io.ReadAll(r)
			if tc.code != "" && !wire.HasCode(err, tc.code) || tc.code == "" && !errors.As(err, &damage) {
				t.Fatalf("got %v, want %s", err, tc.code)
			}
			if rule != nil && rule.Fired() == 0 {
				t.Fatal("the fault did not fire")
			}
			if strings.Contains(err.Error(), "X-Amz") {
				t.Fatalf("the error shows the URL: %v", err)
			}
		})
	}
}

// A reader that pauses longer than the store is waited for goes on afterwards.
func TestDownload_SlowReader(t *testing.T) {
	d := newDownload(t)
	d.cfg.Client.Idle, d.cfg.Client.Timeout = 100*time.Millisecond, 100*time.Millisecond
	d.cfg.Range = 0
	r := transfer.NewDownload(t.Context(), d.cfg)
	defer r.Close()
	b := make([]byte, 10)
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}
	<-time.After(400 * time.Millisecond)
	d.cfg.Client.Timeout = 20 * time.Second
	rest, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(slices.Concat(b, rest), d.data) {
		t.Fatalf("%d bytes, %v", len(rest), err)
	}
	if n := d.c.Proxy.Count("GetObject"); n != 1 {
		t.Fatalf("%d requests, want 1", n)
	}
}

func TestClient_FollowsNoRedirect(t *testing.T) {
	d := newDownload(t)
	d.cfg.Client.Timeout = 300 * time.Millisecond
	reached := false
	d.c.Proxy.Inject("GetObject", 0, func(x *s3kit.Exchange) {
		if x.R.URL.Path == "/elsewhere" {
			reached = true
		}
		x.W.Header().Set("Location", "/elsewhere")
		x.W.WriteHeader(http.StatusTemporaryRedirect)
	})
	if _, err := d.read(t.Context()); err == nil || reached {
		t.Fatalf("followed: %v, err %v", reached, err)
	}
}
