package catalog_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/catalog"
	"devflowbackup/controller/internal/keys"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/pgserver"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/pgkit"
	"devflowbackup/shared/wire"
)

func TestMain(m *testing.M) { pgkit.Main(m) }

const role = "devflow_test"

var rolePassword = secret.String("p:a@s/s'word")

var makeRole sync.Once

// newDSN makes an empty database that belongs to a role which is no superuser. It returns the role's DSN and the database's name.
func newDSN(tb testing.TB) (secret.String, string) {
	tb.Helper()
	return roleDSN(tb, pgkit.NewDatabase(tb))
}

// migrated is a database that every migration was applied to, once for all tests.
var migrated struct {
	sync.Mutex
	name string
}

func migratedDSN(t *testing.T) (secret.String, string) {
	t.Helper()
	migrated.Lock()
	defer migrated.Unlock()
	if migrated.name == "" {
		s, name := pgkit.Shared(t), "migrated"
		if err := s.CreateDatabase(t.Context(), name, ""); err != nil {
			t.Fatal(err)
		}
		dsn, _ := roleDSN(t, s.DSN(s.Superuser(), name).Reveal())
		c, err := catalog.Open(t.Context(), catalog.Options{DSN: dsn, ControllerID: "one", Sealer: sealer{keys.NewMaster()}, MaxConns: 2})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		migrated.name = name
	}
	return roleDSN(t, pgkit.CloneDatabase(t, migrated.name))
}

func roleDSN(tb testing.TB, super string) (secret.String, string) {
	tb.Helper()
	s := pgkit.Shared(tb)
	makeRole.Do(func() {
		if err := s.CreateRole(tb.Context(), role, rolePassword); err != nil {
			tb.Fatal(err)
		}
	})
	u, err := url.Parse(super)
	if err != nil {
		tb.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	own(tb, s, name)
	return s.UserDSN(role, rolePassword, name), name
}

func own(tb testing.TB, s *pgserver.Server, name string) {
	tb.Helper()
	if _, err := s.Exec(tb.Context(), "postgres", "ALTER DATABASE "+pgserver.Quote(name)+" OWNER TO "+role); err != nil {
		tb.Fatal(err)
	}
}

type sealer struct{ *keys.Master }

func (s sealer) Seal(purpose string, plaintext []byte) ([]byte, error) {
	return s.Master.Seal(purpose, plaintext), nil
}

// fix is a migrated catalog and what tests do with it.
type fix struct {
	*testing.T
	*catalog.Catalog
	dsn    secret.String
	db     string
	master *keys.Master
	admin  controller.Actor
	server *pgserver.Server
}

type option func(*catalog.Options)

func open(t *testing.T, opts ...option) *fix {
	t.Helper()
	dsn, name := migratedDSN(t)
	f := &fix{
		T: t, dsn: dsn, db: name, master: keys.NewMaster(), server: pgkit.Shared(t),
		admin: controller.Actor{Name: "admin", Permissions: controller.Permissions, Scope: controller.Scope{All: true}, Remote: "127.0.0.1"},
	}
	f.Catalog = f.another("one", opts...)
	t.Cleanup(f.totals)
	return f
}

// totals holds the totals of backups, folded or not, against the backups, at the end of each test.
func (f *fix) totals() {
	f.Helper()
	wrong, err := f.server.Exec(context.Background(), f.db, `WITH told AS (SELECT project_id, storage_id, sum(backups) a, sum(completed) b, sum(failed) c, sum(verified) d, sum(bytes) e, sum(stored) f, sum(stored_bytes) g
			FROM (SELECT * FROM backup_totals UNION ALL SELECT project_id, storage_id, backups, completed, failed, verified, bytes, stored, stored_bytes FROM backup_deltas) q GROUP BY 1, 2),
		counted AS (SELECT project_id, storage_id, count(*) FILTER (WHERE deleted_at IS NULL) a, count(*) FILTER (WHERE deleted_at IS NULL AND status = 'completed') b,
			count(*) FILTER (WHERE deleted_at IS NULL AND status = 'failed') c, count(*) FILTER (WHERE deleted_at IS NULL AND status = 'completed' AND verified_at IS NOT NULL) d,
			coalesce(sum(file_size) FILTER (WHERE deleted_at IS NULL AND status = 'completed'), 0) e,
			count(*) FILTER (WHERE purged_at IS NULL AND status <> 'failed') f, coalesce(sum(file_size) FILTER (WHERE purged_at IS NULL AND status <> 'failed'), 0) g
			FROM database_backups GROUP BY 1, 2)
		(SELECT 'told', * FROM told EXCEPT SELECT 'told', * FROM counted) UNION ALL (SELECT 'counted', * FROM counted EXCEPT SELECT 'counted', * FROM told)`)
	if err != nil {
		f.Errorf("read totals: %v", err)
	} else if wrong != "" {
		f.Errorf("totals do not agree with the backups:\n%s", wrong)
	}
}

// another opens the same catalog as another controller.
func (f *fix) another(id string, opts ...option) *catalog.Catalog {
	f.Helper()
	o := catalog.Options{
		DSN: f.dsn, ControllerID: id, Sealer: sealer{f.master}, MaxConns: 8,
		Retry: controller.Retry{Base: time.Millisecond, Max: time.Millisecond},
	}
	for _, opt := range opts {
		opt(&o)
	}
	c, err := catalog.Open(f.Context(), o)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := c.Close(); err != nil {
			f.Error(err)
		}
	})
	return c
}

// sql runs SQL as the superuser, past every policy, and returns rows as lines.
func (f *fix) sql(format string, args ...any) string {
	f.Helper()
	out, err := f.server.Exec(f.Context(), f.db, fmt.Sprintf(format, args...))
	if err != nil {
		f.Fatal(err)
	}
	return out
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (f *fix) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// refused checks an error's code and that it says all of the words.
func (f *fix) refused(err error, code string, words ...string) {
	f.Helper()
	if controller.ErrorCode(err) != code {
		f.Fatalf("error is %v (%s), want code %s", err, controller.ErrorCode(err), code)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			f.Fatalf("error %q does not say %q", err, w)
		}
	}
}

// failure checks a failure's code.
func (f *fix) failure(err error, code string) {
	f.Helper()
	if !wire.HasCode(err, code) {
		f.Fatalf("error is %v, want a failure %s", err, code)
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s is %v, want %v", what, got, want)
	}
}

func ageKey(t testing.TB) (recipient, identity string) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id.Recipient().String(), id.String()
}

func (f *fix) project(slug string) controller.Project {
	f.Helper()
	recipient, identity := ageKey(f)
	return must[controller.Project](f)(f.CreateProject(f.Context(), f.admin, controller.ProjectSpec{Slug: slug}, recipient, []byte(identity), nil))
}

// only is an actor that is limited to projects.
func only(projects ...controller.Project) controller.Actor {
	a := controller.Actor{Name: "limited", Permissions: controller.Permissions, Scope: controller.Scope{Projects: []int64{}}}
	for _, p := range projects {
		a.Scope.Projects = append(a.Scope.Projects, p.ID)
	}
	return a
}

func hash(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

var agentNumber struct {
	sync.Mutex
	n int
}

func newAgent(t testing.TB) controller.NewServer {
	t.Helper()
	agentNumber.Lock()
	agentNumber.n++
	n := agentNumber.n
	agentNumber.Unlock()
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	recipient, _ := ageKey(t)
	return controller.NewServer{AgentID: fmt.Sprintf("a%d", n), NKey: fmt.Sprintf("UKEY%d", n), SigningKey: pub, Recipient: recipient, AgentVersion: "1.0.0", Host: wire.Host{Hostname: "h", CPUs: 2}}
}

// agent is an enrolled server and its current session.
type agent struct {
	controller.Server
	session string
	dir     string // for backups on the host itself
}

// enrol makes a server of some projects.
func (f *fix) enrol(name string, projects ...controller.Project) *agent {
	f.Helper()
	token := name + wire.NewID()
	spec := controller.EnrolmentSpec{ServerName: name, TTL: time.Minute}
	if len(projects) > 0 {
		spec.Project = projects[0].Slug
	}
	must[controller.Enrolment](f)(f.CreateEnrolment(f.Context(), f.admin, spec, hash(token)))
	s := must[controller.Server](f)(f.Enrol(f.Context(), hash(token), newAgent(f)))
	for _, p := range projects[min(1, len(projects)):] {
		f.ok(f.GrantServer(f.Context(), f.admin, p.Slug, name))
	}
	return &agent{Server: s}
}

// hello begins a new session.
func (f *fix) hello(a *agent, held ...wire.Attempt) controller.HelloResult {
	f.Helper()
	a.session = wire.NewID()
	return f.helloAgain(a, held...)
}

func (f *fix) helloAgain(a *agent, held ...wire.Attempt) controller.HelloResult {
	f.Helper()
	host := wire.Host{Hostname: "db-7", CPUs: 8}
	if a.dir != "" {
		host.Local = &wire.LocalDir{Dir: a.dir, FreeBytes: 1 << 30}
	}
	res, s, err := f.Hello(f.Context(), a.AgentID, a.NKey, a.session, wire.Hello{Protocol: 1, AgentVersion: "1.2.3", Host: host, Concurrency: 2, Attempts: held, InventoryHash: "none"})
	f.ok(err)
	a.Server = s
	return res
}

func instance(name string) wire.Instance {
	return wire.Instance{Name: name, Engine: wire.EnginePostgreSQL, Version: "15.6", Restore: true}
}

// found reports an inventory of one instance, "main".
func (f *fix) found(a *agent, names ...string) {
	f.Helper()
	inv := wire.Inventory{Hash: wire.NewID(), Last: true, Instances: []wire.Instance{instance("main")}}
	for _, n := range names {
		inv.Databases = append(inv.Databases, wire.Database{Instance: "main", Engine: wire.EnginePostgreSQL, Name: n, SizeBytes: 1 << 20, ServerVersion: "15.6", Extensions: []string{"pgcrypto"}})
	}
	f.ok(f.Inventory(f.Context(), a.AgentID, a.session, inv))
}

func (f *fix) storage(name string, def bool) controller.Storage {
	f.Helper()
	return must[controller.Storage](f)(f.CreateStorage(f.Context(), f.admin, controller.StorageSpec{
		Name: name, Kind: "s3", Endpoint: "http://127.0.0.1:1", Bucket: "b", Prefix: "pre/" + name, PathStyle: true, Default: def, AccessKey: "ak", SecretKey: "sk-canary",
	}, json.RawMessage(`{"list":"ok"}`), true, "sha256"))
}

// world is one project with one online server and databases, and a default storage.
func (f *fix) world(databases ...string) (controller.Project, *agent) {
	f.Helper()
	p := f.project("shop")
	a := f.enrol("db-7", p)
	f.hello(a)
	f.found(a, databases...)
	for _, d := range databases {
		must[controller.Database](f)(f.AssignDatabase(f.Context(), f.admin, controller.DatabaseRef{Name: d}, p.Slug))
	}
	f.storage("s3", true)
	return p, a
}

// order asks for one backup.
func (f *fix) order(database string) controller.Backup {
	f.Helper()
	out := must[[]controller.BackupOutcome](f)(f.CreateBackups(f.Context(), f.admin, controller.BackupRequest{Database: database}))
	if len(out) != 1 || out[0].Backup == nil {
		f.Fatalf("outcomes are %+v", out)
	}
	return *out[0].Backup
}

// offer claims the one attempt that is due.
func (f *fix) offer() controller.Offer {
	f.Helper()
	offers := must[[]controller.Offer](f)(f.ClaimOffers(f.Context(), 10))
	if len(offers) != 1 {
		f.Fatalf("%d offers, want 1", len(offers))
	}
	return offers[0]
}

// eventually polls until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("not within 20 seconds: %s", what)
		case <-tick.C:
		}
	}
}

// started claims an attempt and has it accepted, with an upload where it is a backup.
func (f *fix) started(a *agent) controller.Offer {
	f.Helper()
	o := f.offer()
	if o.Kind == wire.JobBackup && o.UploadID == "" {
		o.UploadID = must[string](f)(f.SetUpload(f.Context(), o.Attempt, "upload-"+o.AttemptID))
	}
	f.ok(f.AttemptAccepted(f.Context(), o.Attempt, a.session))
	return o
}

func partRequest(o controller.Offer, number int, size int64) wire.PartRequest {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", o.AttemptID, number, size))
	return wire.PartRequest{Attempt: o.Attempt, Object: wire.ObjectArtifact, Number: number, Size: size, SHA256: sum[:]}
}

func sums(stored, raw int64, seed string) artifact.Sums {
	var s artifact.Sums
	s.StoredSize, s.RawSize = stored, raw
	s.StoredSHA256, s.RawSHA256 = artifact.Digest(sha256.Sum256([]byte("stored "+seed))), artifact.Digest(sha256.Sum256([]byte("raw "+seed)))
	return s
}

// statement is an unsigned one: the fleet checks signatures.
func statement(t testing.TB, o controller.Offer, parts int, stored int64) json.RawMessage {
	t.Helper()
	st := artifact.Statement{FormatVersion: 1, Sums: sums(stored, 100, o.AttemptID), PartSize: o.PartSize, Parts: parts, Key: o.Key}
	text, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := json.Marshal(artifact.SignedStatement{Statement: text})
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// uploaded uploads two parts, or writes the file on the host itself, and reports so.
func (f *fix) uploaded(a *agent, o controller.Offer) {
	f.Helper()
	if o.Backup.SameHost {
		f.ok(f.ReportUploaded(f.Context(), a.AgentID, a.session, f.localReport(o)))
		return
	}
	for n, size := range []int64{o.PartSize, 77} {
		_, err := f.SignPart(f.Context(), a.AgentID, a.session, partRequest(o, n+1, size), time.Minute)
		f.ok(err)
	}
	f.ok(f.ReportUploaded(f.Context(), a.AgentID, a.session, f.uploadReport(o)))
}

func (f *fix) uploadReport(o controller.Offer) wire.Report {
	return wire.Report{
		Attempt: o.Attempt, Outcome: wire.OutcomeUploaded, Statement: statement(f, o, 2, o.PartSize+77),
		Done: []wire.PartDone{{Number: 1, ETag: `"e1"`}, {Number: 2, ETag: `"e2"`}}, Log: "pg_dump: ok", Millis: map[string]int64{"dump": 5},
	}
}

func (f *fix) localReport(o controller.Offer) wire.Report {
	return wire.Report{Attempt: o.Attempt, Outcome: wire.OutcomeUploaded, Statement: statement(f, o, 0, 77)}
}

// finished is what completing an offer's upload finds.
func finished(o controller.Offer) controller.Finished {
	s := sums(o.PartSize+77, 100, o.AttemptID)
	obj := func(object, key string) controller.StoredObject {
		out := controller.StoredObject{
			Object: object, Key: key, StoredSize: s.StoredSize, StoredSHA256: s.StoredSHA256.String(), RawSize: s.RawSize, RawSHA256: s.RawSHA256.String(),
			ETag: `"x-2"`, VersionID: "v1",
		}
		switch {
		case object == controller.ObjectManifest:
		case o.Backup.Encryption == controller.EncryptionAge:
			out.AgeHeader = []byte("age header of " + object + " " + o.AttemptID)
		case o.Backup.Encryption == controller.EncryptionAES:
			mac := sha256.Sum256([]byte("MAC of " + object + " " + o.AttemptID))
			out.MAC = mac[:]
		}
		return out
	}
	return controller.Finished{
		Objects: []controller.StoredObject{
			obj("artifact", o.Key), obj("fingerprint", o.Key+".fp"), obj("manifest", o.Key+".manifest.json"),
		},
		Manifest: []byte(`{"format_version":1}`), Composite: "c-2", Metadata: json.RawMessage(`{"tables_count":3}`), FileName: o.Key[strings.LastIndex(o.Key, "/")+1:],
	}
}

// completed makes one completed backup of a database.
func (f *fix) completed(a *agent, database string) controller.Backup {
	f.Helper()
	return f.completedAs(a, controller.BackupRequest{Database: database})
}

// completedAs makes the one completed backup that is asked for.
func (f *fix) completedAs(a *agent, req controller.BackupRequest) controller.Backup {
	f.Helper()
	out := must[[]controller.BackupOutcome](f)(f.CreateBackups(f.Context(), f.admin, req))
	if len(out) != 1 || out[0].Backup == nil {
		f.Fatalf("outcomes are %+v", out)
	}
	o := f.started(a)
	f.uploaded(a, o)
	work := must[[]controller.Finishing](f)(f.ClaimFinishing(f.Context(), 5))
	if len(work) != 1 {
		f.Fatalf("%d to finish, want 1", len(work))
	}
	f.ok(f.CompleteBackup(f.Context(), o.Attempt, finished(o)))
	return f.backup(out[0].Backup.ID)
}

// localStorage adds a storage on the hosts themselves.
func (f *fix) localStorage(name string, def bool) controller.Storage {
	f.Helper()
	spec := controller.StorageSpec{Name: name, Kind: controller.StorageLocal, Prefix: name, Default: def}
	return must[controller.Storage](f)(f.CreateStorage(f.Context(), f.admin, spec, nil, true, ""))
}

func (f *fix) backup(id int64) controller.Backup {
	f.Helper()
	return must[controller.Backup](f)(f.Backup(f.Context(), f.admin, id))
}

func (f *fix) job(id int64) controller.Job {
	f.Helper()
	return must[controller.Job](f)(f.Job(f.Context(), f.admin, id))
}

// readResult is what an agent reads from an undamaged backup.
func readResult(b controller.Backup) *wire.ReadResult {
	return &wire.ReadResult{StoredSize: *b.FileSize, StoredSHA256: *b.Checksum, RawSize: *b.RawSize, RawSHA256: *b.RawChecksum}
}

func fails(code string) wire.Report {
	return wire.Report{Outcome: wire.OutcomeFailed, Failure: wire.Failf(code, "it went wrong: %s", code)}
}
