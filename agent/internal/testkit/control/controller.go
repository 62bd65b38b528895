package control

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/md5" //nolint:gosec // Content-MD5
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"devflowbackup/agent/internal/identity"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/testkit/s3kit"
	"devflowbackup/shared/wire"
)

// Patience bounds every wait of a test.
const Patience = 60 * time.Second

// ServerID is the id of the agent under test.
const ServerID = "atest"

// Controller answers one agent. Hooks are set before the agent starts or under Lock; a nil one does the right thing.
type Controller struct {
	Broker *Broker
	Conn   *nats.Conn
	S3     *s3kit.Server
	Proxy  *s3kit.FaultProxy // between agent and S3
	Key    ed25519.PrivateKey

	// LocalDir is the backup directory of the agent's host, for BackupLocal.
	LocalDir string
	// AppKey is what keys for aes-256-cbc are derived from.
	AppKey []byte

	// Welcome answers hellos.
	Welcome wire.Welcome
	// Refuse decides, before anything else, that a request is refused or not answered at all (ErrSilent).
	Refuse func(verb string, req wire.Request) error

	tb        testing.TB
	recipient string // of the agent

	mu       sync.Mutex
	changed  chan struct{}
	session  string
	hellos   []wire.Hello
	reports  []wire.Report
	beats    []wire.Heartbeat
	progress []wire.Progress
	notices  []wire.SecurityNotice
	pages    []wire.Inventory
	requests map[string]int
	uploads  map[wire.Attempt]*Upload
	sources  map[wire.Attempt]*Upload
	replies  [][]byte // signed, as sent
}

// ErrSilent makes a request go unanswered.
var ErrSilent = errors.New("no answer")

// Upload is an artifact on its way into the store, or in it.
type Upload struct {
	Order    wire.BackupOrder
	UploadID string
	Done     map[int]string // ETag of each acknowledged part
	Sums     map[int][]byte

	keys map[string]string // of objects that are elsewhere
}

// Start runs a broker, an S3 server and a controller until the test ends.
func Start(tb testing.TB) *Controller {
	tb.Helper()
	s3 := s3kit.Start(tb)
	return StartWith(tb, s3)
}

// StartWith is Start with an S3 server that is there.
func StartWith(tb testing.TB, s3 *s3kit.Server) *Controller {
	tb.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	check(tb, err)
	c := &Controller{
		Broker: StartBroker(tb), S3: s3, Key: key, AppKey: []byte("canary-app-key-of-the-project-32b"), tb: tb, changed: make(chan struct{}),
		Welcome:  wire.Welcome{HeartbeatSeconds: 1, LeaseMaxSeconds: 3600, WantInventory: true},
		requests: make(map[string]int), uploads: make(map[wire.Attempt]*Upload), sources: make(map[wire.Attempt]*Upload),
	}
	if s3 != nil {
		c.Proxy = s3kit.StartProxy(tb, s3)
	}
	c.Conn = c.Broker.Connect()
	_, err = c.Conn.Subscribe(wire.AllControllerSubjects, func(m *nats.Msg) { go c.serve(m) })
	check(tb, err)
	check(tb, c.Conn.Flush())
	return c
}

// KeySet is the set that holds the controller's key.
func (c *Controller) KeySet() wire.KeySet {
	pub, _ := c.Key.Public().(ed25519.PublicKey)
	return wire.KeySet{Version: 1, Keys: []wire.Key{{ID: wire.KeyID(pub), Public: pub}}}
}

// Enrol writes an identity for the agent under test into dir.
func (c *Controller) Enrol(dir string) *identity.Identity {
	c.tb.Helper()
	keys, err := identity.Draw()
	check(c.tb, err)
	pub, err := keys.Public()
	check(c.tb, err)
	c.recipient = pub.Recipient
	id, err := identity.Create(dir, keys, identity.Installation{
		ServerID: ServerID, ServerName: "test", Controller: "https://127.0.0.1:1", NATSURLs: []string{c.Broker.URL},
		NATSJWT: c.Broker.Agent(ServerID, pub.NKey), CA: c.Broker.CA.PEM, KeySet: c.KeySet(),
	})
	check(c.tb, err)
	return id
}

// Lock guards the hooks and what was collected.
func (c *Controller) Lock() func() {
	c.mu.Lock()
	return func() {
		close(c.changed)
		c.changed = make(chan struct{})
		c.mu.Unlock()
	}
}

// Await waits until done, called with what was collected locked, is true.
func (c *Controller) Await(what string, done func() bool) {
	c.tb.Helper()
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	for {
		c.mu.Lock()
		ok, changed := done(), c.changed
		c.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline.C:
			c.tb.Fatalf("waited in vain for %s", what)
		}
	}
}

// AwaitHello waits for the nth hello and returns it.
func (c *Controller) AwaitHello(n int) wire.Hello {
	c.tb.Helper()
	c.Await(fmt.Sprintf("hello %d", n), func() bool { return len(c.hellos) >= n })
	unlock := c.Lock()
	defer unlock()
	return c.hellos[n-1]
}

// AwaitReport waits for the report of an attempt and returns it.
func (c *Controller) AwaitReport(a wire.Attempt) wire.Report {
	c.tb.Helper()
	var got wire.Report
	c.Await(fmt.Sprintf("the report of job %d", a.Job), func() bool {
		n := slices.IndexFunc(c.reports, func(r wire.Report) bool { return r.Attempt == a })
		if n >= 0 {
			got = c.reports[n]
		}
		return n >= 0
	})
	return got
}

// Reports returns the reports of an attempt so far.
func (c *Controller) Reports(a wire.Attempt) []wire.Report {
	unlock := c.Lock()
	defer unlock()
	return slices.DeleteFunc(slices.Clone(c.reports), func(r wire.Report) bool { return r.Attempt != a })
}

// Collected calls f with what was collected so far.
func (c *Controller) Collected(f func(hellos []wire.Hello, beats []wire.Heartbeat, progress []wire.Progress, notices []wire.SecurityNotice, pages []wire.Inventory)) {
	unlock := c.Lock()
	defer unlock()
	f(c.hellos, c.beats, c.progress, c.notices, c.pages)
}

// AwaitNotice waits for a security notice of a kind.
func (c *Controller) AwaitNotice(kind string) wire.SecurityNotice {
	c.tb.Helper()
	var got wire.SecurityNotice
	c.Await("a security notice of kind "+kind, func() bool {
		n := slices.IndexFunc(c.notices, func(n wire.SecurityNotice) bool { return n.Kind == kind })
		if n >= 0 {
			got = c.notices[n]
		}
		return n >= 0
	})
	return got
}

// Requests is how many requests of a verb have come.
func (c *Controller) Requests(verb string) int {
	unlock := c.Lock()
	defer unlock()
	return c.requests[verb]
}

// AwaitRequests waits until a verb was requested n times.
func (c *Controller) AwaitRequests(verb string, n int) {
	c.tb.Helper()
	c.Await(fmt.Sprintf("%d requests of %s", n, verb), func() bool { return c.requests[verb] >= n })
}

// AwaitPages waits until n pages of an inventory were taken.
func (c *Controller) AwaitPages(n int) {
	c.tb.Helper()
	c.Await(fmt.Sprintf("%d pages of an inventory", n), func() bool { return len(c.pages) >= n })
}

// Session is the session of the last hello.
func (c *Controller) Session() string {
	unlock := c.Lock()
	defer unlock()
	return c.session
}

func (c *Controller) serve(m *nats.Msg) {
	_, verb, err := wire.ParseControllerSubject(m.Subject)
	if err != nil {
		return
	}
	var req wire.Request
	if wire.Decode(m.Data, &req) != nil {
		return
	}
	if verb == wire.VerbHeartbeat || verb == wire.VerbProgress {
		req.Body = m.Data // published, not asked: no request is around it
	}
	body, err := c.answer(verb, req)
	if m.Reply == "" || errors.Is(err, ErrSilent) {
		return
	}
	d := wire.Directive{Kind: wire.KindReply, Server: ServerID, Session: req.Session, Verb: verb, ID: req.ID}
	if err != nil {
		d.Failure = wire.AsFailure(err)
	} else {
		d.Body, _ = json.Marshal(body)
	}
	msg, err := wire.Sign(c.Key, d)
	if err != nil {
		return
	}
	unlock := c.Lock()
	c.replies = append(c.replies, msg)
	unlock()
	_ = m.Respond(msg)
}

// LastReply is the newest signed reply of any verb.
func (c *Controller) LastReply() []byte {
	unlock := c.Lock()
	defer unlock()
	return c.replies[len(c.replies)-1]
}

func (c *Controller) answer(verb string, req wire.Request) (any, error) {
	unlock := c.Lock()
	c.requests[verb]++
	refuse := c.Refuse
	unlock()
	if refuse != nil {
		if err := refuse(verb, req); err != nil {
			return nil, err
		}
	}
	switch verb {
	case wire.VerbHello:
		return take(c, req, func(h wire.Hello) (any, error) {
			c.session = req.Session
			c.hellos = append(c.hellos, h)
			return c.Welcome, nil
		})
	case wire.VerbInventory:
		return take(c, req, func(i wire.Inventory) (any, error) { c.pages = append(c.pages, i); return struct{}{}, nil })
	case wire.VerbHeartbeat:
		return take(c, req, func(h wire.Heartbeat) (any, error) { c.beats = append(c.beats, h); return struct{}{}, nil })
	case wire.VerbProgress:
		return take(c, req, func(p wire.Progress) (any, error) { c.progress = append(c.progress, p); return struct{}{}, nil })
	case wire.VerbSecurity:
		return take(c, req, func(n wire.SecurityNotice) (any, error) { c.notices = append(c.notices, n); return struct{}{}, nil })
	case wire.VerbReport:
		return take(c, req, func(r wire.Report) (any, error) {
			if u := c.uploads[r.Attempt]; u != nil {
				u.take(r.Done)
			}
			c.reports = append(c.reports, r)
			return struct{}{}, nil
		})
	case wire.VerbPart:
		return take(c, req, c.part)
	case wire.VerbRead:
		return take(c, req, c.read)
	}
	return nil, wire.Failf(wire.CodeUnknownVerb, "unknown verb %s", verb)
}

func take[T any](c *Controller, req wire.Request, f func(T) (any, error)) (any, error) {
	var v T
	if err := wire.Decode(req.Body, &v); err != nil {
		return nil, wire.Failf(wire.CodeBadRequest, "%w", err)
	}
	unlock := c.Lock()
	defer unlock()
	return f(v)
}

func (u *Upload) take(done []wire.PartDone) {
	for _, d := range done {
		u.Done[d.Number] = d.ETag
	}
}

// part presigns one part or side object. The agent is sent through the proxy.
func (c *Controller) part(r wire.PartRequest) (any, error) {
	u := c.uploads[r.Attempt]
	if u == nil {
		return nil, wire.Failf(wire.CodeStale, "attempt %d of job %d is closed", r.Attempt.No, r.Attempt.Job)
	}
	u.take(r.Done)
	h := http.Header{"Content-Length": {strconv.FormatInt(r.Size, 10)}}
	if u.Order.Checksum == wire.ChecksumMD5 {
		h.Set("Content-Md5", base64.StdEncoding.EncodeToString(r.MD5))
	} else {
		h.Set("X-Amz-Checksum-Sha256", base64.StdEncoding.EncodeToString(r.SHA256))
	}
	key, q := c.key(u, r.Object), url.Values{}
	if r.Object == wire.ObjectArtifact {
		u.Sums[r.Number] = r.SHA256
		q.Set("partNumber", strconv.Itoa(r.Number))
		q.Set("uploadId", u.UploadID)
	}
	return c.grant(http.MethodPut, key, q, h), nil
}

func (c *Controller) key(u *Upload, object string) string {
	if key, ok := u.keys[object]; ok {
		return key
	}
	switch object {
	case wire.ObjectFingerprint:
		return artifact.FingerprintKey(u.Order.Key, artifact.Codec(u.Order.Codec))
	case wire.ObjectGlobals:
		return artifact.GlobalsKey(u.Order.Key, artifact.Codec(u.Order.Codec))
	}
	return u.Order.Key
}

func (c *Controller) grant(method, key string, q url.Values, h http.Header) wire.Grant {
	// The signature holds for the host that is asked.
	s := &s3kit.Server{Endpoint: c.Proxy.Endpoint, Region: c.S3.Region, AccessKey: c.S3.AccessKey, SecretKey: c.S3.SecretKey, Bucket: c.S3.Bucket}
	g := wire.Grant{Method: method, URL: s.Presign(method, "/"+s.Bucket+"/"+key, q, h, time.Minute), Headers: map[string]string{}, ExpiresInSeconds: 60}
	for k, v := range h {
		g.Headers[k] = v[0]
	}
	return g
}

func (c *Controller) read(r wire.ReadRequest) (any, error) {
	u := c.sources[r.Attempt]
	if u == nil {
		return nil, wire.Failf(wire.CodeStale, "attempt %d of job %d is closed", r.Attempt.No, r.Attempt.Job)
	}
	h := http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", r.Offset, r.Offset+r.Length-1)}}
	return c.grant(http.MethodGet, c.key(u, r.Object), nil, h), nil
}

// Backup makes the order of a backup: the upload is open.
func (c *Controller) Backup(job int64, instance, engine, database string, codec wire.Codec, partSize int64) wire.Job {
	c.tb.Helper()
	return c.order(job, wire.BackupOrder{
		Instance: instance, Engine: engine, Database: database, Codec: codec, PartSize: partSize, Checksum: wire.ChecksumSHA256,
	})
}

// BackupLocal makes the order of a backup in the host's own directory.
func (c *Controller) BackupLocal(job int64, instance, engine, database string, codec wire.Codec) wire.Job {
	c.tb.Helper()
	return c.order(job, wire.BackupOrder{Instance: instance, Engine: engine, Database: database, Codec: codec, Local: true})
}

func (c *Controller) order(job int64, o wire.BackupOrder) wire.Job {
	c.tb.Helper()
	a := wire.Attempt{Job: job, No: 1, Token: wire.NewID()}
	o.AttemptID = artifact.NewAttemptID()
	o.Key = artifact.Key("t", time.Now(), artifact.FileName(o.Database, time.Now(), o.AttemptID, "dump", artifact.Codec(o.Codec)))
	if o.Codec.Encryption == artifact.AES256CBC {
		o.SealedKeys = make(map[string][]byte)
		for _, object := range []string{wire.ObjectArtifact, wire.ObjectFingerprint, wire.ObjectGlobals} {
			o.SealedKeys[object] = c.SealAES(a, object, o.AttemptID, c.recipient)
		}
	}
	u := &Upload{Order: o, Done: map[int]string{}, Sums: map[int][]byte{}}
	if !o.Local {
		body := c.s3(http.MethodPost, "/"+c.S3.Bucket+"/"+o.Key, url.Values{"uploads": {""}}, http.Header{"X-Amz-Checksum-Algorithm": {"SHA256"}}, nil)
		var created struct{ UploadId string } //nolint:revive // as S3 spells it
		check(c.tb, xml.Unmarshal(body, &created))
		u.UploadID = created.UploadId
	}
	unlock := c.Lock()
	c.uploads[a] = u
	unlock()
	return wire.Job{Attempt: a, Kind: wire.JobBackup, MaxDurationSeconds: 600, Backup: &o}
}

// SealAES seals the keys that an object of a backup has with aes-256-cbc, for an attempt.
func (c *Controller) SealAES(a wire.Attempt, object, attemptID, recipient string) []byte {
	c.tb.Helper()
	keys, err := artifact.DeriveAESKeys(c.AppKey, attemptID, object)
	check(c.tb, err)
	text, err := json.Marshal(wire.SealedKey{Attempt: a, Object: object, Cipher: keys.Cipher[:], MAC: keys.MAC[:]})
	check(c.tb, err)
	sealed, err := artifact.SealTo(recipient, text)
	check(c.tb, err)
	return sealed
}

// Upload returns the upload of an attempt.
func (c *Controller) Upload(a wire.Attempt) *Upload {
	unlock := c.Lock()
	defer unlock()
	return c.uploads[a]
}

// Fence closes an attempt: its token no longer stands.
func (c *Controller) Fence(a wire.Attempt) {
	unlock := c.Lock()
	defer unlock()
	delete(c.uploads, a)
	delete(c.sources, a)
}

// Complete checks the statement of an uploaded backup and completes the upload, as a controller does.
func (c *Controller) Complete(id *identity.Identity, r wire.Report) artifact.Statement {
	c.tb.Helper()
	if r.Outcome != wire.OutcomeUploaded {
		c.tb.Fatalf("outcome %s: %+v", r.Outcome, r.Failure)
	}
	pub, err := id.Public()
	check(c.tb, err)
	var signed artifact.SignedStatement
	check(c.tb, json.Unmarshal(r.Statement, &signed))
	st, err := signed.Verify(pub.SigningKey)
	check(c.tb, err)
	u := c.Upload(r.Attempt)
	check(c.tb, st.Answers(artifact.Order{
		ServerID: ServerID, JobID: strconv.FormatInt(r.Attempt.Job, 10), AttemptNo: r.Attempt.No, AttemptID: u.Order.AttemptID,
		Key: u.Order.Key, Engine: u.Order.Engine, Database: u.Order.Database, PartSize: u.Order.PartSize, Codec: artifact.Codec(u.Order.Codec),
		Keys: func(object string) (artifact.AESKeys, error) {
			return artifact.DeriveAESKeys(c.AppKey, u.Order.AttemptID, object)
		},
	}))
	if u.Order.Local {
		if st.Parts != 0 || st.PartSize != 0 || st.CompositeSHA256 != "" {
			c.tb.Fatalf("a local backup has %d parts", st.Parts)
		}
		return st
	}
	if len(u.Done) != st.Parts {
		c.tb.Fatalf("%d parts are acknowledged, the statement has %d", len(u.Done), st.Parts)
	}
	c.complete(u, st.Parts)
	return st
}

func (c *Controller) complete(u *Upload, parts int) {
	c.tb.Helper()
	var doc bytes.Buffer
	doc.WriteString("<CompleteMultipartUpload>")
	for n := 1; n <= parts; n++ {
		fmt.Fprintf(&doc, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag><ChecksumSHA256>%s</ChecksumSHA256></Part>",
			n, u.Done[n], base64.StdEncoding.EncodeToString(u.Sums[n]))
	}
	doc.WriteString("</CompleteMultipartUpload>")
	c.s3(http.MethodPost, "/"+c.S3.Bucket+"/"+u.Order.Key, url.Values{"uploadId": {u.UploadID}}, nil, doc.Bytes())
}

// Object reads a stored object behind the proxy's back.
func (c *Controller) Object(key string) []byte {
	c.tb.Helper()
	if c.LocalDir != "" {
		if text, err := os.ReadFile(filepath.Join(c.LocalDir, key)); err == nil {
			return text
		}
	}
	return c.s3(http.MethodGet, "/"+c.S3.Bucket+"/"+key, nil, nil, nil)
}

func (c *Controller) s3(method, path string, q url.Values, h http.Header, body []byte) []byte {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if h == nil {
		h = http.Header{}
	}
	if body != nil {
		sum := md5.Sum(body) //nolint:gosec // Content-MD5
		h.Set("Content-Md5", base64.StdEncoding.EncodeToString(sum[:]))
	}
	resp, err := c.S3.Do(ctx, method, path, q, h, body)
	check(c.tb, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	check(c.tb, err)
	if resp.StatusCode != http.StatusOK {
		c.tb.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, text)
	}
	return text
}

// Source opens a completed backup for a reading attempt. secret is the key that the artifact was encrypted to.
func (c *Controller) Source(a wire.Attempt, st artifact.Statement, from wire.Attempt, secret, recipient string) wire.Source {
	c.tb.Helper()
	u := c.Upload(from)
	src := wire.Source{BackupID: from.Job, Engine: st.Engine, Database: st.Database, ToolVersion: st.ToolVersion, Codec: u.Order.Codec, Local: u.Order.Local}
	src.Artifact = c.sourceObject(a, u, wire.ObjectArtifact, st.Sums, secret, recipient)
	if st.Fingerprint != nil {
		f := c.sourceObject(a, u, wire.ObjectFingerprint, *st.Fingerprint, secret, recipient)
		src.Fingerprint = &f
	}
	unlock := c.Lock()
	defer unlock()
	c.sources[a] = u
	return src
}

// Globals is the object of a completed backup's roles and settings, for a reading attempt.
func (c *Controller) Globals(a wire.Attempt, st artifact.Statement, from wire.Attempt, secret, recipient string) *wire.SourceObject {
	c.tb.Helper()
	o := c.sourceObject(a, c.Upload(from), wire.ObjectGlobals, *st.Globals, secret, recipient)
	return &o
}

func (c *Controller) sourceObject(a wire.Attempt, u *Upload, name string, s artifact.Sums, secret, recipient string) wire.SourceObject {
	c.tb.Helper()
	o := wire.SourceObject{StoredSize: s.StoredSize, StoredSHA256: s.StoredSHA256.String(), RawSize: s.RawSize, RawSHA256: s.RawSHA256.String()}
	if u.Order.Local {
		o.Key = c.key(u, name)
	}
	switch u.Order.Codec.Encryption {
	case artifact.Age:
		o.SealedKey = c.Seal(a, name, c.Object(c.key(u, name)), secret, recipient)
	case artifact.AES256CBC:
		o.SealedKey, o.MAC = c.SealAES(a, name, u.Order.AttemptID, recipient), s.MAC[:]
	}
	return o
}

// Seal seals the file key of stored bytes for an attempt.
func (c *Controller) Seal(a wire.Attempt, object string, stored []byte, secret, recipient string) []byte {
	c.tb.Helper()
	hdr, err := artifact.ExtractHeader(bytes.NewReader(stored))
	check(c.tb, err)
	key, err := artifact.OpenHeader(hdr, secret)
	check(c.tb, err)
	text, err := json.Marshal(wire.SealedKey{Attempt: a, Object: object, FileKey: key})
	check(c.tb, err)
	sealed, err := artifact.SealTo(recipient, text)
	check(c.tb, err)
	return sealed
}

// Command signs and sends a command to the agent of the current session and returns its answer.
func (c *Controller) Command(verb string, body any) wire.Accepted {
	c.tb.Helper()
	return c.Send(verb, c.Signed(verb, body))
}

// Signed makes the message of a command.
func (c *Controller) Signed(verb string, body any) []byte {
	c.tb.Helper()
	text, err := json.Marshal(body)
	check(c.tb, err)
	msg, err := wire.Sign(c.Key, wire.Directive{
		Kind: wire.KindCommand, Server: ServerID, Session: c.Session(), Verb: verb, ID: wire.NewID(), Body: text,
	})
	check(c.tb, err)
	return msg
}

// Send sends a message as a command and returns the answer.
func (c *Controller) Send(verb string, msg []byte) wire.Accepted {
	c.tb.Helper()
	var acc wire.Accepted
	c.send(verb, msg, &acc)
	return acc
}

// Local sends an order about the backup directory and returns the answer.
func (c *Controller) Local(o wire.LocalOrder) wire.LocalReply {
	c.tb.Helper()
	var r wire.LocalReply
	c.send(wire.VerbLocal, c.Signed(wire.VerbLocal, o), &r)
	return r
}

// Inspect asks what is at a restore's target.
func (c *Controller) Inspect(o wire.InspectOrder) wire.InspectReply {
	c.tb.Helper()
	var r wire.InspectReply
	c.send(wire.VerbInspect, c.Signed(wire.VerbInspect, o), &r)
	return r
}

func (c *Controller) send(verb string, msg []byte, answer any) {
	c.tb.Helper()
	m, err := c.Conn.Request(wire.AgentSubject(ServerID, verb), msg, Patience)
	check(c.tb, err)
	check(c.tb, wire.Decode(m.Data, answer))
}

// Run orders a job and fails the test if it is not accepted.
func (c *Controller) Run(job wire.Job) {
	c.tb.Helper()
	if acc := c.Command(wire.VerbRun, job); acc.Failure != nil {
		c.tb.Fatalf("job %d: %v", job.Attempt.Job, acc.Failure)
	}
}

// PartGrant answers a part request without the broker.
func (c *Controller) PartGrant(_ context.Context, r wire.PartRequest) (g wire.Grant, err error) {
	return granted(c, r, c.part)
}

// ReadGrant answers a read request without the broker.
func (c *Controller) ReadGrant(_ context.Context, r wire.ReadRequest) (g wire.Grant, err error) {
	return granted(c, r, c.read)
}

func granted[T any](c *Controller, r T, f func(T) (any, error)) (wire.Grant, error) {
	unlock := c.Lock()
	defer unlock()
	v, err := f(r)
	g, _ := v.(wire.Grant)
	return g, err
}

// Put stores an object and opens it for a reading attempt.
func (c *Controller) Put(a wire.Attempt, content []byte) (key string) {
	c.tb.Helper()
	key = "plain/" + wire.NewID()
	c.s3(http.MethodPut, "/"+c.S3.Bucket+"/"+key, nil, nil, content)
	unlock := c.Lock()
	defer unlock()
	c.sources[a] = &Upload{Order: wire.BackupOrder{Key: key}}
	return key
}

// CompleteParts completes an upload without a statement.
func (c *Controller) CompleteParts(a wire.Attempt, done []wire.PartDone) {
	c.tb.Helper()
	u := c.Upload(a)
	unlock := c.Lock()
	u.take(done)
	unlock()
	c.complete(u, len(u.Done))
}

// Swap makes reads of one attempt read another attempt's artifact, as a store does that was tampered with.
func (c *Controller) Swap(reading, other wire.Attempt) {
	unlock := c.Lock()
	defer unlock()
	c.sources[reading] = c.uploads[other]
}

// SwapObject makes reads of one object of one attempt read another key.
func (c *Controller) SwapObject(reading wire.Attempt, object, key string) {
	unlock := c.Lock()
	defer unlock()
	u := *c.sources[reading]
	u.keys = map[string]string{object: key}
	c.sources[reading] = &u
}
