package app_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/app"
	"devflowbackup/controller/internal/client"
	"devflowbackup/controller/internal/config"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/s3kit"
	"devflowbackup/shared/wire"
)

const patience = 20 * time.Second

// eventually polls until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline, tick := time.After(patience), time.NewTicker(25*time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("not within %s: %s", patience, what)
		case <-tick.C:
		}
	}
}

// world is a controller that runs, a client of it, and a project with a storage.
type world struct {
	*testing.T
	cfg  config.Config
	app  *app.App
	api  *client.Client
	stop func()
	s3   *s3kit.Server
	role string // that owns the tables
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s := s3kit.Start(t)
	return worldOn(t, s, s.Endpoint)
}

// worldOn is one whose storage is reached at an endpoint.
func worldOn(t *testing.T, s *s3kit.Server, endpoint string) *world {
	t.Helper()
	w := &world{T: t, cfg: configuration(t), s3: s}
	w.cfg.Names, w.cfg.PublicURL = []string{"127.0.0.1"}, ""
	w.cfg.Timing.Heartbeat = time.Minute // hosts of the test say nothing by themselves
	w.start()
	_, err := w.api.CreateProject(t.Context(), body.CreateProject{Slug: "shop"})
	w.ok(err)
	_, err = w.api.CreateStorage(t.Context(), body.CreateStorage{
		Name: "main", Endpoint: endpoint, Region: w.s3.Region, Bucket: w.s3.Bucket, Default: true, AccessKey: w.s3.AccessKey, SecretKey: secret.String(w.s3.SecretKey),
	})
	w.ok(err)
	return w
}

// start starts the controller, or another one after it was stopped.
func (w *world) start() {
	w.Helper()
	w.app, w.stop = run(w.T, w.cfg)
	var err error
	w.api, err = client.New(client.Options{URL: address(w.T, w.app), Token: secret.String(token(w.T, w.cfg)), CAPEM: w.ca()})
	w.ok(err)
}

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) ca() []byte {
	w.Helper()
	pem, err := os.ReadFile(filepath.Join(w.cfg.DataDir, "ca.pem"))
	w.ok(err)
	return pem
}

// owner runs SQL as the role that owns the tables, with the controller's own scope.
func (w *world) owner(sql string) string {
	w.Helper()
	if w.role == "" {
		w.role = exec(w.T, w.cfg, "SELECT tableowner FROM pg_tables WHERE tablename = 'servers'")
	}
	return exec(w.T, w.cfg, "SET ROLE "+strconv.Quote(w.role)+"; SET devflow.scope = 'system'; "+sql)
}

// host is an agent, played by the test with its own keys.
type host struct {
	*world
	id        string
	session   string
	jwt       string
	user      nkeys.KeyPair
	nkey      string
	signing   ed25519.PrivateKey
	recipient string
	set       wire.KeySet
	conn      *nats.Conn
	closed    chan struct{} // the broker cut it off
	jobs      chan wire.Job
}

// enrol makes a host by a token.
func (w *world) enrol(in body.CreateEnrolment) *host {
	w.Helper()
	e, err := w.api.CreateEnrolment(w.Context(), in)
	w.ok(err)
	h := w.newHost()
	if status, text := h.present(e.Token); status != http.StatusCreated {
		w.Fatalf("enrol: %d %s", status, text)
	}
	return h
}

func (w *world) newHost() *host {
	w.Helper()
	h := &host{world: w, closed: make(chan struct{}), jobs: make(chan wire.Job, 100)}
	var err error
	h.user, err = nkeys.CreateUser()
	w.ok(err)
	h.nkey, err = h.user.PublicKey()
	w.ok(err)
	_, h.signing, err = ed25519.GenerateKey(nil)
	w.ok(err)
	_, h.recipient, err = artifact.NewIdentity()
	w.ok(err)
	return h
}

func (h *host) public() ed25519.PublicKey {
	return h.signing.Public().(ed25519.PublicKey) //nolint:forcetypeassert // Ed25519 has no other
}

// present enrols with the host's keys.
func (h *host) present(token string) (status int, text string) {
	h.Helper()
	b, err := json.Marshal(body.Enrol{
		Token: token, NKey: h.nkey, SigningKey: h.public(), Recipient: h.recipient, AgentVersion: "v1", Protocol: wire.Version, Host: json.RawMessage(`{"hostname":"h"}`),
	})
	h.ok(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(h.ca())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(h.Context(), http.MethodPost, address(h.T, h.app)+"/api/v1/enroll", bytes.NewReader(b))
	h.ok(err)
	req.Header.Set("Content-Type", "application/json")
	res, err := (&http.Client{Transport: transport}).Do(req)
	h.ok(err)
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	h.ok(err)
	if res.StatusCode == http.StatusCreated {
		var e body.Enrolled
		h.ok(json.Unmarshal(answer, &e))
		h.id, h.jwt, h.set = e.ServerID, e.NATSJWT, e.KeySet
	}
	return res.StatusCode, string(answer)
}

func (h *host) dial() (*nats.Conn, error) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(h.ca())
	return nats.Connect(h.app.NATSURLs()[0], nats.UserJWT(func() (string, error) { return h.jwt, nil }, h.user.Sign), nats.NoReconnect(), nats.Timeout(patience),
		nats.Secure(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}), nats.CustomInboxPrefix(wire.InboxPrefix(h.id)),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), nats.ClosedHandler(func(*nats.Conn) { close(h.closed) }))
}

// connect begins a session: the host says hello, and accepts every job from then on.
func (h *host) connect() {
	h.Helper()
	h.session, h.closed = wire.NewID(), make(chan struct{})
	var err error
	h.conn, err = h.dial()
	h.ok(err)
	h.Cleanup(h.conn.Close)
	_, err = h.conn.Subscribe(wire.AgentSubjects(h.id), func(m *nats.Msg) {
		d, err := h.set.Open(m.Data, wire.Expect{Kind: wire.KindCommand, Server: h.id, Session: h.session, Verb: wire.VerbRun})
		var j wire.Job
		if err == nil {
			err = d.Into(&j)
		}
		if err != nil {
			return
		}
		if b, err := json.Marshal(wire.Accepted{V: wire.Version, Session: h.session}); err == nil {
			h.jobs <- j
			_ = m.Respond(b)
		}
	})
	h.ok(err)
	h.ok(h.conn.Flush())
	h.ok(h.hello())
}

func (h *host) hello() error {
	return h.ask(wire.VerbHello, wire.Hello{Protocol: wire.Version, AgentVersion: "v1", Host: wire.Host{Hostname: "h"}, Concurrency: 4, InventoryHash: "x"}, nil)
}

// ask sends a request and opens the signed reply.
func (h *host) ask(verb string, in, out any) error {
	b, err := json.Marshal(in)
	h.ok(err)
	req := wire.Request{V: wire.Version, ID: wire.NewID(), Session: h.session, Body: b}
	msg, err := json.Marshal(req)
	h.ok(err)
	ctx, cancel := context.WithTimeout(h.Context(), patience)
	defer cancel()
	reply, err := h.conn.RequestWithContext(ctx, wire.ControllerSubject(h.id, verb), msg)
	if err != nil {
		return err
	}
	d, err := h.set.Open(reply.Data, wire.Expect{Kind: wire.KindReply, Server: h.id, Session: h.session, Verb: verb, ID: req.ID})
	if err != nil {
		return err
	}
	return d.Into(out)
}

// finds reports databases and gives them to the project.
func (h *host) finds(names ...string) {
	h.Helper()
	inv := wire.Inventory{Hash: wire.NewID(), Last: true, Instances: []wire.Instance{{Name: "main", Engine: wire.EnginePostgreSQL, Version: "15.6", Restore: true}, {Name: "my", Engine: wire.EngineMySQL, Version: "8.4", Restore: true}}}
	for _, n := range names {
		inv.Databases = append(inv.Databases, wire.Database{Instance: "main", Engine: wire.EnginePostgreSQL, Name: n, SizeBytes: 1 << 20, ServerVersion: "15.6"})
	}
	h.ok(h.ask(wire.VerbInventory, inv, nil))
}

func (h *host) assign(names ...string) {
	h.Helper()
	for _, n := range names {
		_, err := h.api.AssignDatabase(h.Context(), body.AssignDatabase{Name: n, Project: "shop"})
		h.ok(err)
	}
}

// job is the next one that was accepted.
func (h *host) job() wire.Job {
	h.Helper()
	select {
	case j := <-h.jobs:
		return j
	case <-time.After(patience):
		h.Fatal("no job came")
		return wire.Job{}
	}
}

// order asks for a backup.
func (w *world) order(database string) controller.Backup {
	w.Helper()
	out, err := w.api.CreateBackups(w.Context(), body.CreateBackups{Database: database})
	w.ok(err)
	return *out[0].Backup
}

// upload does what an agent does with an ordered backup, up to its report, which is not sent.
func (h *host) upload(j wire.Job) wire.Report {
	h.Helper()
	o, codec := j.Backup, artifact.Codec(j.Backup.Codec)
	encode := func(raw []byte) ([]byte, artifact.Sums) {
		var buf bytes.Buffer
		w, err := artifact.NewWriter(&buf, codec, nil)
		h.ok(err)
		_, err = w.Write(raw)
		h.ok(err)
		h.ok(w.Close())
		return buf.Bytes(), w.Sums()
	}
	send := func(object string, number int, b []byte) (wire.PartDone, [32]byte) {
		sum := sha256.Sum256(b)
		var g wire.Grant
		h.ok(h.ask(wire.VerbPart, wire.PartRequest{Attempt: j.Attempt, Object: object, Number: number, Size: int64(len(b)), SHA256: sum[:]}, &g))
		res, text := fetch(h.T, g.Method, g.URL, g.Headers, b)
		if res.StatusCode != http.StatusOK {
			h.Fatalf("upload %s: %s %s", object, res.Status, text)
		}
		return wire.PartDone{Number: number, ETag: res.Header.Get("ETag")}, sum
	}
	stored, sums := encode([]byte("the dump of " + o.Database + " " + o.AttemptID))
	side, sideSums := encode([]byte(`{"tables":[]}`))
	send(wire.ObjectFingerprint, 0, side)
	done, part := send(wire.ObjectArtifact, 1, stored)
	st := artifact.Statement{
		FormatVersion: artifact.StatementVersion, ServerID: h.id, JobID: strconv.FormatInt(j.Attempt.Job, 10), AttemptNo: j.Attempt.No, AttemptID: o.AttemptID, Key: o.Key,
		Engine: o.Engine, Database: o.Database, ServerVersion: "15.6", Tool: "pg_dump", ToolVersion: "15.6", Method: "custom", Sums: sums,
		PartSize: o.PartSize, Parts: 1, CompositeSHA256: artifact.CompositeSHA256([][32]byte{part}), Codec: codec,
		Metadata: artifact.Metadata{Tables: 3, DatabaseSize: 1 << 20}, Fingerprint: &sideSums,
	}
	signed, err := artifact.SignStatement(st, wire.KeyID(h.public()), h.signing)
	h.ok(err)
	text, err := json.Marshal(signed)
	h.ok(err)
	return wire.Report{Attempt: j.Attempt, Outcome: wire.OutcomeUploaded, Statement: text, Done: []wire.PartDone{done}}
}

// backup makes one completed backup.
func (h *host) backup(database string) controller.Backup {
	h.Helper()
	b := h.order(database)
	h.ok(h.ask(wire.VerbReport, h.upload(h.job()), nil))
	return h.completed(b.ID)
}

// completed waits until a backup is.
func (w *world) completed(id int64) (b controller.Backup) {
	w.Helper()
	eventually(w.T, "the backup is completed", func() bool {
		var err error
		b, err = w.api.Backup(w.Context(), id)
		w.ok(err)
		if b.Status == controller.StatusFailed {
			w.Fatalf("the backup failed: %s", *b.ErrorMessage)
		}
		return b.Status == controller.StatusCompleted
	})
	return b
}

// ended waits for a job's end.
func (w *world) ended(id int64) (j controller.Job) {
	w.Helper()
	eventually(w.T, "the job ends", func() bool {
		var err error
		j, err = w.api.Job(w.Context(), id)
		w.ok(err)
		return j.EndedAt != nil
	})
	return j
}

// verify has a backup verified by the host that gets the job.
func (h *host) verify(id int64) controller.Job {
	h.Helper()
	j, err := h.api.VerifyBackup(h.Context(), id, wire.LevelChecksum)
	h.ok(err)
	job := h.job()
	a := job.Verify.Source.Artifact
	h.ok(h.ask(wire.VerbReport, wire.Report{Attempt: job.Attempt, Outcome: wire.OutcomeVerified, Read: &wire.ReadResult{StoredSize: a.StoredSize, StoredSHA256: a.StoredSHA256}}, nil))
	return h.ended(j.ID)
}
