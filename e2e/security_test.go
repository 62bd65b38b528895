package e2e_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

// evilAgent has the credentials of an enrolled server and does with them what it likes: a stolen host.
type evilAgent struct {
	t       *testing.T
	world   *faultWorld
	server  string
	session string
	keys    wire.KeySet
	signing ed25519.PrivateKey
	nc      *nats.Conn
	jobs    chan wire.Job
	errs    chan error // what the broker refused
}

// newEvil enrols a server with the real program, of the given name, and takes over its identity.
func newEvil(t *testing.T, ctx context.Context, w *faultWorld, name string) *evilAgent {
	t.Helper()
	a, err := w.NewAgent(name, stack.AgentOptions{Servers: map[string]stack.Server{"main": w.postgres}})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Enroll(ctx, w.controllers[0], "shop"); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(a.Dir, "identity.json"))
	if err != nil {
		t.Fatal(err)
	}
	var id struct {
		Installation struct {
			ServerID string      `json:"server_id"`
			URLs     []string    `json:"nats_urls"`
			JWT      string      `json:"nats_jwt"`
			CA       string      `json:"ca_pem"`
			KeySet   wire.KeySet `json:"key_set"`
		} `json:"installation"`
		NKeySeed    string `json:"nkey_seed"`
		SigningSeed []byte `json:"signing_seed"`
	}
	if err := json.Unmarshal(b, &id); err != nil {
		t.Fatal(err)
	}
	user, err := nkeys.FromSeed([]byte(id.NKeySeed))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(id.Installation.CA))
	e := &evilAgent{
		t: t, world: w, server: id.Installation.ServerID, session: wire.NewID(), keys: id.Installation.KeySet,
		signing: ed25519.NewKeyFromSeed(id.SigningSeed), jobs: make(chan wire.Job, 10), errs: make(chan error, 100),
	}
	e.nc, err = nats.Connect(strings.Join(id.Installation.URLs, ","),
		nats.UserJWT(func() (string, error) { return id.Installation.JWT, nil }, user.Sign),
		nats.Secure(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}), nats.CustomInboxPrefix(wire.InboxPrefix(e.server)),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { e.errs <- err }), nats.NoReconnect())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.nc.Close)
	if _, err := e.nc.Subscribe(wire.AgentSubject(e.server, wire.VerbRun), e.accept); err != nil {
		t.Fatal(err)
	}
	return e
}

// accept takes every job.
func (e *evilAgent) accept(m *nats.Msg) {
	var job wire.Job
	d, err := e.keys.Open(m.Data, wire.Expect{Kind: wire.KindCommand, Server: e.server, Session: e.session, Verb: wire.VerbRun})
	if err == nil {
		err = d.Into(&job)
	}
	if err != nil {
		return
	}
	b, _ := wire.Encode(wire.Accepted{V: wire.Version, Session: e.session})
	_ = m.Respond(b)
	e.jobs <- job
}

// request asks the controllers, as the real agent does. The error is the controller's refusal.
func (e *evilAgent) request(ctx context.Context, verb string, body, out any) error {
	e.t.Helper()
	b, err := wire.Encode(body)
	if err != nil {
		e.t.Fatal(err)
	}
	req := wire.Request{V: wire.Version, ID: wire.NewID(), Session: e.session, Body: b}
	if b, err = wire.Encode(req); err != nil {
		e.t.Fatal(err)
	}
	msg, err := e.nc.RequestWithContext(ctx, wire.ControllerSubject(e.server, verb), b)
	if err != nil {
		e.t.Fatalf("%s: %v", verb, err)
	}
	d, err := e.keys.Open(msg.Data, wire.Expect{Kind: wire.KindReply, Server: e.server, Session: e.session, Verb: verb, ID: req.ID})
	if err != nil {
		e.t.Fatal(err)
	}
	return d.Into(out)
}

// come says hello with one database, stays online, and has the database assigned to the project.
func (e *evilAgent) come(ctx context.Context, database string) {
	e.t.Helper()
	if err := e.request(ctx, wire.VerbHello, wire.Hello{Protocol: wire.Version, AgentVersion: "evil", Concurrency: 4, InventoryHash: "1", Attempts: []wire.Attempt{}}, nil); err != nil {
		e.t.Fatal(err)
	}
	inv := wire.Inventory{
		Hash: "1", Last: true, Instances: []wire.Instance{{Name: "main", Engine: wire.EnginePostgreSQL, Version: "15.1", Restore: true}},
		Databases: []wire.Database{{Instance: "main", Engine: wire.EnginePostgreSQL, Name: database, SizeBytes: 1 << 20, ServerVersion: "15.1"}},
	}
	if err := e.request(ctx, wire.VerbInventory, inv, nil); err != nil {
		e.t.Fatal(err)
	}
	stop := make(chan struct{})
	var beating sync.WaitGroup
	beating.Go(func() {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		b, _ := wire.Encode(wire.Heartbeat{V: wire.Version, Session: e.session, Running: []wire.Progress{}})
		for {
			_ = e.nc.Publish(wire.ControllerSubject(e.server, wire.VerbHeartbeat), b)
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	})
	e.t.Cleanup(func() { close(stop); beating.Wait() })
	do(e.t, ctx, e.world.ctl, "database", "assign", database, "--project", "shop")
}

// job orders a backup and waits until this agent has its order.
func (e *evilAgent) job(ctx context.Context, database string) (stack.Backup, wire.Job) {
	e.t.Helper()
	b := e.world.order(e.t, ctx, database, nil)
	select {
	case job := <-e.jobs:
		return b, job
	case <-ctx.Done():
		e.t.Fatal("no order came")
	}
	return stack.Backup{}, wire.Job{}
}

func (e *evilAgent) grant(ctx context.Context, req wire.PartRequest) (g wire.Grant, err error) {
	err = e.request(ctx, wire.VerbPart, req, &g)
	return g, err
}

// giveUp reports an attempt as failed, as an agent does that could not make the backup.
func (e *evilAgent) giveUp(ctx context.Context, b stack.Backup, job wire.Job) {
	e.t.Helper()
	report := wire.Report{Attempt: job.Attempt, Outcome: wire.OutcomeFailed, Failure: wire.Failf(wire.CodeToolFailed, "given up")}
	if err := e.request(ctx, wire.VerbReport, report, nil); err != nil {
		e.t.Fatal(err)
	}
	e.failed(ctx, b, wire.CodeToolFailed, "")
	// What its URLs allow is swept once more when they can be used no longer.
	e.world.forward(e.t, ctx, "UPDATE attempts SET last_url_expires = now() - interval '1 hour', sweep_after = now() WHERE job_id = $1", b.JobID)
}

func part(a wire.Attempt, data []byte) wire.PartRequest {
	sum := sha256.Sum256(data)
	return wire.PartRequest{Attempt: a, Object: wire.ObjectArtifact, Number: 1, Size: int64(len(data)), SHA256: sum[:]}
}

// send carries out a grant with any bytes and returns status and ETag.
func send(t *testing.T, ctx context.Context, method string, g wire.Grant, data []byte) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, g.URL, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range g.Headers {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "" // an early refusal cuts the connection
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header.Get("ETag")
}

// upload sends data as the whole artifact and reports it with a statement, which lie may change before it is signed.
func (e *evilAgent) upload(ctx context.Context, job wire.Job, data []byte, lie func(*artifact.Statement)) error {
	e.t.Helper()
	g, err := e.grant(ctx, part(job.Attempt, data))
	if err != nil {
		e.t.Fatal(err)
	}
	status, etag := send(e.t, ctx, g.Method, g, data)
	if status != http.StatusOK {
		e.t.Fatalf("the store answered %d", status)
	}
	sum := sha256.Sum256(data)
	o := job.Backup
	st := artifact.Statement{
		FormatVersion: artifact.StatementVersion, ServerID: e.server, JobID: strconv.FormatInt(job.Attempt.Job, 10), AttemptNo: job.Attempt.No,
		AttemptID: o.AttemptID, Key: o.Key, Engine: o.Engine, Database: o.Database, ServerVersion: "15.1", ServerIdentity: "x",
		Tool: "pg_dump", ToolVersion: "15.1", Method: "x", PartSize: o.PartSize, Parts: 1, CompositeSHA256: artifact.CompositeSHA256([][32]byte{sum}),
		Sums:  artifact.Sums{RawSize: 10, RawSHA256: artifact.Digest(sum), StoredSize: int64(len(data)), StoredSHA256: artifact.Digest(sum)},
		Codec: artifact.Codec(o.Codec), StartedAt: time.Now().UTC(), FinishedAt: time.Now().UTC(),
	}
	lie(&st)
	pub, _ := e.signing.Public().(ed25519.PublicKey)
	signed, err := artifact.SignStatement(st, wire.KeyID(pub), e.signing)
	if err != nil {
		e.t.Fatal(err)
	}
	b, err := json.Marshal(signed)
	if err != nil {
		e.t.Fatal(err)
	}
	return e.request(ctx, wire.VerbReport, wire.Report{
		Attempt: job.Attempt, Outcome: wire.OutcomeUploaded, Statement: b, Done: []wire.PartDone{{Number: 1, ETag: strings.Trim(etag, `"`)}},
	}, nil)
}

// failed waits for a backup that failed with the code, and that an event of the kind tells of it.
func (e *evilAgent) failed(ctx context.Context, b stack.Backup, code, event string) {
	e.t.Helper()
	got, err := e.world.ctl.AwaitBackup(ctx, b.ID, "failed", faultPatience)
	if err != nil {
		e.t.Fatal(err)
	}
	if got.ErrorCode != code {
		e.t.Errorf("it failed as %q (%s), want %q", got.ErrorCode, got.ErrorMessage, code)
	}
	if event != "" && e.world.events(e.t, ctx, event) == 0 {
		e.t.Errorf("no event %s was recorded", event)
	}
}

// A stolen host, with everything that its agent has, makes nothing completed that is not, reads nothing that is not its own, and makes no
// other agent do anything.
func TestStolenHost(t *testing.T) {
	t.Parallel()
	w := newFaultWorld(t, faultOptions{timing: map[string]any{"max_attempts": 1}})
	ctx := faultContext(t)
	e := newEvil(t, ctx, w, "evil")
	e.come(ctx, "loot")
	real, err := w.ctl.AwaitBackup(ctx, w.order(t, ctx, small, nil).ID, "completed", faultPatience)
	if err != nil {
		t.Fatal(err)
	}
	stolen, err := os.ReadFile(w.s3.ObjectPath(w.s3.Bucket, real.FilePath))
	if err != nil {
		t.Fatal(err)
	}

	w.fault(t, "another backup's age header", func(t *testing.T, ctx context.Context) {
		b, job := e.job(ctx, "loot")
		if err := e.upload(ctx, job, stolen, func(*artifact.Statement) {}); err != nil {
			t.Fatal(err)
		}
		e.failed(ctx, b, wire.CodeForeignHeader, "foreign_header")
	})
	w.fault(t, "bytes that the project's key does not open", func(t *testing.T, ctx context.Context) {
		b, job := e.job(ctx, "loot")
		if err := e.upload(ctx, job, bytes.Repeat([]byte("x"), 4096), func(*artifact.Statement) {}); err != nil {
			t.Fatal(err)
		}
		e.failed(ctx, b, wire.CodeForeignHeader, "foreign_header")
	})
	for what, lie := range map[string]func(*artifact.Statement){
		"database": func(s *artifact.Statement) { s.Database = small },
		"codec":    func(s *artifact.Statement) { s.Codec = artifact.Codec{Compression: "none", Encryption: "none"} },
		"job":      func(s *artifact.Statement) { s.JobID = "1" },
		"server":   func(s *artifact.Statement) { s.ServerID = "another" },
		"key": func(s *artifact.Statement) {
			s.Key, s.AttemptID = real.FilePath, strings.Split(filepath.Base(real.FilePath), ".")[0][len("small_2026-11-23_000000_"):]
		},
	} {
		w.fault(t, "a statement of another "+what, func(t *testing.T, ctx context.Context) {
			b, job := e.job(ctx, "loot")
			if err := e.upload(ctx, job, stolen, lie); err != nil {
				t.Fatal(err)
			}
			e.failed(ctx, b, wire.CodeStatement, "statement_refused")
		})
	}
	w.fault(t, "41 a statement of more bytes than were signed", func(t *testing.T, ctx context.Context) {
		b, job := e.job(ctx, "loot")
		if err := e.upload(ctx, job, stolen, func(s *artifact.Statement) { s.StoredSize++ }); err != nil {
			t.Fatal(err)
		}
		e.failed(ctx, b, wire.CodeStatement, "statement_refused")
	})
	w.fault(t, "more than the attempt may upload", func(t *testing.T, ctx context.Context) {
		b, job := e.job(ctx, "loot")
		req := part(job.Attempt, nil)
		req.Size = job.Backup.PartSize
		var err error
		for req.Number = 1; err == nil && req.Number < 1000; req.Number++ {
			_, err = e.grant(ctx, req)
		}
		if !wire.HasCode(err, wire.CodeLimit) {
			t.Errorf("after %d parts of %d bytes: %v", req.Number-1, req.Size, err)
		}
		e.giveUp(ctx, b, job)
	})
	w.fault(t, "a URL for other bytes, another method, another part", func(t *testing.T, ctx context.Context) {
		b, job := e.job(ctx, "loot")
		data := bytes.Repeat([]byte("y"), 4096)
		g, err := e.grant(ctx, part(job.Attempt, data))
		if err != nil {
			t.Fatal(err)
		}
		for what, try := range map[string]func() int{
			"other bytes": func() int { s, _ := send(t, ctx, g.Method, g, bytes.Repeat([]byte("z"), 4096)); return s },
			"fewer bytes": func() int { s, _ := send(t, ctx, g.Method, g, data[1:]); return s },
			"GET":         func() int { s, _ := send(t, ctx, http.MethodGet, g, nil); return s },
			"DELETE":      func() int { s, _ := send(t, ctx, http.MethodDelete, g, nil); return s },
			"another part": func() int {
				other := g
				other.URL = strings.Replace(g.URL, "partNumber=1", "partNumber=2", 1)
				s, _ := send(t, ctx, g.Method, other, data)
				return s
			},
			"another backup": func() int {
				other := g
				other.URL = strings.Replace(g.URL, job.Backup.Key, real.FilePath, 1)
				s, _ := send(t, ctx, g.Method, other, data)
				return s
			},
		} {
			if status := try(); status/100 == 2 {
				t.Errorf("%s: the store answered %d", what, status)
			}
		}
		if err := e.request(ctx, wire.VerbRead, wire.ReadRequest{Attempt: job.Attempt, Object: wire.ObjectArtifact, Length: 10}, nil); !wire.HasCode(err, wire.CodeBadRequest) {
			t.Errorf("an upload reads: %v", err)
		}
		e.giveUp(ctx, b, job)
	})
	w.fault(t, "another server's attempt, and one that never was", func(t *testing.T, ctx context.Context) {
		g, rule := w.gate(t, "UploadPart")
		b := w.order(t, ctx, small, nil)
		arrived(t, ctx, g, 1)
		rows, err := w.catalog.Rows(ctx, "SELECT token FROM attempts WHERE job_id = $1", b.JobID)
		if err != nil || len(rows) != 1 {
			t.Fatalf("%v: %v", rows, err)
		}
		before := w.events(t, ctx, "stale_attempt")
		for _, token := range []string{rows[0], wire.NewID()} {
			a := wire.Attempt{Job: b.JobID, No: 1, Token: token}
			if _, err := e.grant(ctx, part(a, []byte("x"))); !wire.HasCode(err, wire.CodeStale) {
				t.Errorf("a part: %v", err)
			}
			if err := e.request(ctx, wire.VerbReport, wire.Report{Attempt: a, Outcome: wire.OutcomeFailed, Failure: wire.Failf(wire.CodeToolFailed, "x")}, nil); !wire.HasCode(err, wire.CodeStale) {
				t.Errorf("a report: %v", err)
			}
			if err := e.request(ctx, wire.VerbRead, wire.ReadRequest{Attempt: a, Object: wire.ObjectArtifact, Length: 10}, nil); !wire.HasCode(err, wire.CodeStale) {
				t.Errorf("a read: %v", err)
			}
		}
		if n := w.events(t, ctx, "stale_attempt") - before; n != 6 {
			t.Errorf("%d refusals were counted, not 6", n)
		}
		g.Open()
		w.completed(t, ctx, b.ID, "completed")
		if rule.Fired() == 0 {
			t.Error("the gate held nothing")
		}
	})
	w.fault(t, "another agent's command subject as the reply of a request", func(t *testing.T, ctx context.Context) {
		victim, err := w.catalog.Rows(ctx, "SELECT agent_id FROM servers WHERE name = 'db1'")
		if err != nil || len(victim) != 1 {
			t.Fatalf("%v: %v", victim, err)
		}
		before, jobs := w.events(t, ctx, "forged_directive"), w.count(t, ctx, "jobs")
		body, _ := wire.Encode(wire.Hello{Protocol: wire.Version, Concurrency: 4, InventoryHash: "1", Attempts: []wire.Attempt{}})
		b, _ := wire.Encode(wire.Request{V: wire.Version, ID: wire.NewID(), Session: e.session, Body: body})
		if err := e.nc.PublishRequest(wire.ControllerSubject(e.server, wire.VerbHello), wire.AgentSubject(victim[0], wire.VerbRun), b); err != nil {
			t.Fatal(err)
		}
		if err := stack.Within(ctx, 30*time.Second, "the victim reports the forged command", func(ctx context.Context) (bool, error) {
			return w.events(t, ctx, "forged_directive") > before, nil
		}); err != nil {
			t.Fatal(err)
		}
		if n := w.count(t, ctx, "jobs"); n != jobs {
			t.Errorf("%s jobs, there were %s", n, jobs)
		}
		w.completed(t, ctx, w.order(t, ctx, small, nil).ID, "completed") // the victim works on
	})
	w.fault(t, "23 subjects of others", func(t *testing.T, ctx context.Context) {
		victim, err := w.catalog.Rows(ctx, "SELECT agent_id FROM servers WHERE name = 'db1'")
		if err != nil || len(victim) != 1 {
			t.Fatalf("%v: %v", victim, err)
		}
		heard := make(chan *nats.Msg, 100)
		for _, subject := range []string{wire.AgentSubjects(victim[0]), wire.InboxPrefix(victim[0]) + ".>", ">", "$SYS.>", wire.AllControllerSubjects} {
			if _, err := e.nc.ChanSubscribe(subject, heard); err != nil {
				t.Fatal(err)
			}
		}
		for _, subject := range []string{wire.AgentSubject(victim[0], wire.VerbRun), wire.ControllerSubject(victim[0], wire.VerbHello), "$JS.API.INFO"} {
			if err := e.nc.Publish(subject, []byte("{}")); err != nil {
				t.Fatal(err)
			}
		}
		if err := e.nc.FlushWithContext(ctx); err != nil {
			t.Fatal(err)
		}
		for range 8 {
			select {
			case err := <-e.errs:
				if !errors.Is(err, nats.ErrPermissionViolation) {
					t.Errorf("the broker said %v", err)
				}
			case <-ctx.Done():
				t.Fatal("the broker refused fewer than 8 subjects")
			}
		}
		w.completed(t, ctx, w.order(t, ctx, small, nil).ID, "completed")
		if len(heard) != 0 {
			t.Errorf("it heard %d messages of others", len(heard))
		}
		if w.events(t, ctx, "permission_denied") == 0 {
			t.Error("no event was recorded")
		}
	})
	w.fault(t, "24 revoked while it uploads", func(t *testing.T, ctx context.Context) {
		b, job := e.job(ctx, "loot")
		if _, err := e.grant(ctx, part(job.Attempt, []byte("x"))); err != nil {
			t.Fatal(err)
		}
		do(t, ctx, w.ctl, "server", "revoke", "evil")
		if err := stack.Within(ctx, 5*time.Second, "the connection is cut", func(context.Context) (bool, error) { return e.nc.IsClosed(), nil }); err != nil {
			t.Error(err)
		}
		e.failed(ctx, b, wire.CodeRevoked, "")
		// What the URL allowed is swept away only when it can be used no longer.
		w.forward(t, ctx, "UPDATE attempts SET last_url_expires = now() - interval '1 hour', sweep_after = now() WHERE job_id = $1", b.JobID)
	})
}

func (w *faultWorld) count(t *testing.T, ctx context.Context, table string) string {
	t.Helper()
	rows, err := w.catalog.Rows(ctx, fmt.Sprintf("SELECT count(*) FROM %s", table))
	if err != nil || len(rows) != 1 {
		t.Fatalf("count %s: %v", table, err)
	}
	return rows[0]
}

// A token that two hosts use at once enrols exactly one of them; one that was guessed enrols none.
func TestEnrolmentRace(t *testing.T) {
	t.Parallel()
	w := newFaultWorld(t, faultOptions{})
	ctx := faultContext(t)
	token, err := w.ctl.EnrolmentToken(ctx, "raced", "shop")
	if err != nil {
		t.Fatal(err)
	}
	const hosts = 4
	results := make([]stack.Result, hosts)
	var racing sync.WaitGroup
	for i := range hosts {
		a, err := w.NewAgent(fmt.Sprintf("racer%d", i), stack.AgentOptions{Servers: map[string]stack.Server{"main": w.postgres}})
		if err != nil {
			t.Fatal(err)
		}
		racing.Go(func() {
			var err error
			if results[i], err = a.TryEnroll(ctx, w.controllers[0].URL(), token); err != nil {
				t.Error(err)
			}
		})
	}
	racing.Wait()
	won := 0
	for _, r := range results {
		if r.Code == 0 {
			won++
		} else if !strings.Contains(r.Err, "used") {
			t.Errorf("a loser is not told that the token was used: %s", r.Text())
		}
	}
	if won != 1 {
		t.Errorf("%d hosts enrolled with one token", won)
	}
	guess := "dfe_" + strings.Repeat("a", 43) + token[strings.LastIndex(token, "_"):]
	a, err := w.NewAgent("guesser", stack.AgentOptions{Servers: map[string]stack.Server{"main": w.postgres}})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := a.TryEnroll(ctx, w.controllers[0].URL(), guess); err != nil || r.Code == 0 {
		t.Errorf("a guessed token: %v %s", err, r.Text())
	}
}
