// Package apitest gives tests the real API on the real catalog, behind HTTP. Only the fleet is scripted: agents and stores are
// played by the test, through the catalog's own methods, so that every row is one that the system would have made.
package apitest

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nkeys"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api"
	"devflowbackup/controller/internal/audit"
	"devflowbackup/controller/internal/bootstrap"
	"devflowbackup/controller/internal/catalog"
	"devflowbackup/controller/internal/events"
	"devflowbackup/controller/internal/keys"
	"devflowbackup/controller/internal/password"
	"devflowbackup/controller/internal/retention"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/pgserver"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/pgkit"
	"devflowbackup/shared/wire"
)

const role, rolePassword = "devflow_api_test", secret.String("only for tests")

// migrated is a database that every migration was applied to, once for all tests of a binary.
var migrated struct {
	sync.Mutex
	name string
}

func template(tb testing.TB) string {
	tb.Helper()
	migrated.Lock()
	defer migrated.Unlock()
	if migrated.name != "" {
		return migrated.name
	}
	const name = "apitest_migrated"
	s := pgkit.Shared(tb)
	if err := s.CreateRole(tb.Context(), role, rolePassword); err != nil {
		tb.Fatal(err)
	}
	if err := s.CreateDatabase(tb.Context(), name, ""); err != nil {
		tb.Fatal(err)
	}
	c, err := catalog.Open(tb.Context(), catalogOptions(tb, name))
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := c.Migrate(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	if err := c.Close(); err != nil { // whoever is connected keeps a database from being cloned
		tb.Fatal(err)
	}
	migrated.name = name
	return name
}

// catalogOptions are of a catalog in a database, which they give to the role.
func catalogOptions(tb testing.TB, database string) catalog.Options {
	tb.Helper()
	s := pgkit.Shared(tb)
	if _, err := s.Exec(tb.Context(), "postgres", "ALTER DATABASE "+pgserver.Quote(database)+" OWNER TO "+role); err != nil {
		tb.Fatal(err)
	}
	return catalog.Options{
		DSN: s.UserDSN(role, rolePassword, database), ControllerID: "one", Sealer: sealer{keys.NewMaster()}, MaxConns: 8,
		Retry: controller.Retry{Base: time.Millisecond, Max: time.Millisecond},
	}
}

// Fingerprint stands for that of the installation's CA.
var Fingerprint = strings.Repeat("ab", 32)

// PublicURL is what hosts call the API, and CA stands for the certificate of the installation's authority.
const (
	PublicURL = "https://backup.test:8443"
	CA        = "-----BEGIN CERTIFICATE-----\n"
)

// Rig is an API under test. Main of pgkit must run.
type Rig struct {
	testing.TB
	API    *api.API
	Store  *catalog.Catalog
	Fleet  *Fleet
	Alarms *Alarms
	URL    string
	Admin  controller.Actor
	Token  string // of the admin: every permission, all projects
	Logged *Log
	// Packages is the directory of what hosts install; empty at first.
	Packages string
	servers  *httptest.Server
	database string
	options  catalog.Options
	api      api.Options
}

// SQL runs as the superuser, past every policy.
func (r *Rig) SQL(query string) string {
	r.Helper()
	text, err := pgkit.Shared(r).Exec(r.Context(), r.database, query)
	r.must(err)
	return text
}

// Passwords are hashed with little work.
var Passwords = password.New(password.Params{Memory: 64, Time: 1, Threads: 1})

// New starts one. It ends with the test.
func New(tb testing.TB) *Rig {
	tb.Helper()
	return Custom(tb, func(*api.Options) {})
}

// With is New with an OpenID Connect provider.
func With(tb testing.TB, provider api.Provider) *Rig {
	tb.Helper()
	return Custom(tb, func(o *api.Options) { o.SignIn.Provider = provider })
}

// Custom is New with other options.
func Custom(tb testing.TB, change func(*api.Options)) *Rig {
	tb.Helper()
	super, err := url.Parse(pgkit.CloneDatabase(tb, template(tb)))
	if err != nil {
		tb.Fatal(err)
	}
	name := strings.TrimPrefix(super.Path, "/")
	options := catalogOptions(tb, name)
	store := openCatalog(tb, options)
	if _, err := store.CreateInstallation(tb.Context(), controller.Installation{UID: "test", CheckValue: []byte("check"), EscrowMaster: []byte("escrow")}); err != nil {
		tb.Fatal(err)
	}
	token, hash := api.NewToken()
	if err := store.EnsureAdminToken(tb.Context(), hash); err != nil {
		tb.Fatal(err)
	}
	packages := tb.TempDir()
	hosts, err := bootstrap.New(bootstrap.Options{URL: PublicURL, CA: []byte(CA), Dir: packages, Version: "v0.0.0-test"})
	if err != nil {
		tb.Fatal(err)
	}
	r := &Rig{
		Packages: packages, database: name, options: options,
		TB: tb, Store: store, Fleet: newFleet(store), Alarms: &Alarms{}, Token: token, Logged: &Log{},
		Admin: controller.Actor{Name: "test", Permissions: controller.Permissions, Scope: controller.Scope{All: true}},
	}
	log := hclog.New(&hclog.LoggerOptions{Output: r.Logged, Level: hclog.Debug})
	opt := api.Options{
		Events: r.hub(log), StreamBeat: 200 * time.Millisecond,
		Store: store, Fleet: r.Fleet, Alarms: r.Alarms, Cleaner: retention.NewRunner(retention.Options{Store: store, Log: log, Now: store.Now}), Auditor: audit.New(audit.Options{Store: store, Storages: Anchors{}}), Version: "v0.0.0-test", PublicURL: PublicURL,
		Log: log, Bootstrap: hosts, SignIn: api.SignIn{Passwords: Passwords},
		Ready: map[string]func(context.Context) error{"catalog": store.Ping, "broker": r.Fleet.ready},
	}
	change(&opt)
	r.serve(opt)
	return r
}

// Beside is the API of another controller on the same catalog.
func (r *Rig) Beside() *Rig {
	r.Helper()
	other := *r
	other.options.ControllerID = "two"
	other.Store = openCatalog(r, other.options)
	opt := r.api
	opt.Store, opt.Events = other.Store, other.hub(opt.Log)
	other.serve(opt)
	return &other
}

func openCatalog(tb testing.TB, options catalog.Options) *catalog.Catalog {
	tb.Helper()
	store, err := catalog.Open(tb.Context(), options)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})
	return store
}

func (r *Rig) hub(log hclog.Logger) *events.Hub {
	hub := events.New(events.Options{Store: r.Store, Progress: r.Fleet.Progress, Log: log})
	hub.Start(r.Context())
	r.Cleanup(hub.Stop)
	return hub
}

func (r *Rig) serve(opt api.Options) {
	r.api, r.API = opt, api.New(opt)
	r.servers = httptest.NewServer(r.API)
	r.Cleanup(r.servers.Close)
	r.URL = r.servers.URL
}

type sealer struct{ *keys.Master }

func (s sealer) Seal(purpose string, plaintext []byte) ([]byte, error) {
	return s.Master.Seal(purpose, plaintext), nil
}

// Log keeps what was logged.
type Log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Fleet is scripted. Its fields are touched through With.
type Fleet struct {
	sync.Mutex
	Result  api.ProbeResult
	Specs   []controller.StorageSpec // that were probed
	Changes []controller.StorageChange
	// Link, if set, gives the store's own link to what is stored on S3; without it everything is streamed.
	Link func(d controller.Download) string
	// Stream, if set, takes the place of what StreamDownload does with Content.
	Stream func(ctx context.Context, d controller.Download, offset int64, w io.Writer) error
	// Content is what lies at each key, as stored and as dump.
	Content map[string]Content
	Kicks   int
	Revoked []string
	// Target, if set, answers Inspect; without it nothing is at any target. Inspected keeps what was asked.
	Target    func(s controller.Server, o wire.InspectOrder) (*wire.Target, error)
	Inspected []wire.InspectOrder
	Running   map[int64]controller.Progress
	Down      bool // the broker
	IssueErr  error
	store     *catalog.Catalog
	signing   ed25519.PublicKey
}

func newFleet(store *catalog.Catalog) *Fleet {
	pub, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	return &Fleet{
		store: store, signing: pub, Running: map[int64]controller.Progress{}, Content: map[string]Content{},
		Result: api.ProbeResult{Report: json.RawMessage(`{"steps":[{"name":"list","ok":true,"required":true,"millis":3,"detail":"0 objects"}],"warnings":[]}`), OK: true, ChecksumMode: wire.ChecksumSHA256},
	}
}

func (f *Fleet) ready(context.Context) error {
	f.Lock()
	defer f.Unlock()
	if f.Down {
		return errors.New("nats: no servers available")
	}
	return nil
}

// With reads or changes the fields while nobody else does.
func (f *Fleet) With(do func()) {
	f.Lock()
	defer f.Unlock()
	do()
}

// Kicked is how often the dispatcher was woken.
func (f *Fleet) Kicked() int {
	f.Lock()
	defer f.Unlock()
	return f.Kicks
}

// Kick counts.
func (f *Fleet) Kick() {
	f.Lock()
	defer f.Unlock()
	f.Kicks++
}

// Inspect gives what Target does.
func (f *Fleet) Inspect(_ context.Context, s controller.Server, o wire.InspectOrder) (*wire.Target, error) {
	f.Lock()
	defer f.Unlock()
	f.Inspected = append(f.Inspected, o)
	if f.Target == nil {
		return &wire.Target{FreeBytes: -1}, nil
	}
	return f.Target(s, o)
}

// Probe gives Result.
func (f *Fleet) Probe(_ context.Context, spec controller.StorageSpec) (api.ProbeResult, error) {
	f.Lock()
	defer f.Unlock()
	f.Specs = append(f.Specs, spec)
	return f.Result, nil
}

// ProbeStored gives Result and records it.
func (f *Fleet) ProbeStored(ctx context.Context, id int64) (api.ProbeResult, error) {
	f.Lock()
	res := f.Result
	f.Unlock()
	return res, f.store.UpdateProbe(ctx, id, res.Report, res.OK, res.ChecksumMode)
}

// ProbeChange gives Result.
func (f *Fleet) ProbeChange(_ context.Context, _ controller.Storage, change controller.StorageChange) (api.ProbeResult, error) {
	f.Lock()
	defer f.Unlock()
	f.Changes = append(f.Changes, change)
	return f.Result, nil
}

// Content is one object.
type Content struct{ Stored, Dump []byte }

// Of is what a download gives.
func (c Content) Of(d controller.Download) []byte {
	if d.Format == controller.FormatDump {
		return c.Dump
	}
	return c.Stored
}

// DownloadURL gives Link's.
func (f *Fleet) DownloadURL(_ context.Context, d controller.Download) (string, bool, error) {
	f.Lock()
	defer f.Unlock()
	if f.Link == nil || d.Format != controller.FormatStored || d.Backup.StorageDisk != controller.StorageS3 {
		return "", false, nil
	}
	return f.Link(d), true, nil
}

// StreamDownload writes Content, or does what Stream does.
func (f *Fleet) StreamDownload(ctx context.Context, d controller.Download, offset int64, w io.Writer) error {
	f.Lock()
	stream, content := f.Stream, f.Content[d.Object.Key].Of(d)
	f.Unlock()
	if stream != nil {
		return stream(ctx, d, offset, w)
	}
	_, err := w.Write(content[offset:])
	return err
}

// IssueAgent gives a text that names the agent.
func (f *Fleet) IssueAgent(_ context.Context, agentID, _ string) (string, error) {
	f.Lock()
	defer f.Unlock()
	return "jwt of " + agentID, f.IssueErr
}

// Enrolment describes an installation.
func (f *Fleet) Enrolment() api.EnrolmentInfo {
	return api.EnrolmentInfo{
		NATSURLs: []string{"tls://127.0.0.1:4222"}, CAPEM: []byte(CA), CAFingerprint: Fingerprint,
		KeySet: wire.KeySet{Version: 1, Keys: []wire.Key{{ID: wire.KeyID(f.signing), Public: f.signing}}},
	}
}

// Revoke remembers the server's name.
func (f *Fleet) Revoke(_ context.Context, s controller.Server) error {
	f.Lock()
	defer f.Unlock()
	f.Revoked = append(f.Revoked, s.Name)
	return nil
}

// Progress gives what Running has.
func (f *Fleet) Progress(job int64) (controller.Progress, bool) {
	f.Lock()
	defer f.Unlock()
	p, ok := f.Running[job]
	return p, ok
}

func (r *Rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// NewToken makes a token with these permissions; without projects it sees all.
func (r *Rig) NewToken(permissions []string, projects ...string) string {
	r.Helper()
	token, hash := api.NewToken()
	_, err := r.Store.CreateToken(r.Context(), r.Admin, controller.TokenSpec{Name: "t" + wire.NewID()[:8], Permissions: permissions, Projects: projects}, hash)
	r.must(err)
	return token
}

// Agent is an enrolled server, played by the test.
type Agent struct {
	controller.Server
	Session string
}

// NewAgentKeys are what an agent presents.
func NewAgentKeys(tb testing.TB) (nkey string, signing ed25519.PublicKey, recipient string) {
	tb.Helper()
	user, err := nkeys.CreateUser()
	if err != nil {
		tb.Fatal(err)
	}
	if nkey, err = user.PublicKey(); err != nil {
		tb.Fatal(err)
	}
	if signing, _, err = ed25519.GenerateKey(nil); err != nil {
		tb.Fatal(err)
	}
	if _, recipient, err = artifact.NewIdentity(); err != nil {
		tb.Fatal(err)
	}
	return nkey, signing, recipient
}

// Project makes one.
func (r *Rig) Project(slug string) controller.Project {
	r.Helper()
	identity, recipient, err := artifact.NewIdentity()
	r.must(err)
	p, err := r.Store.CreateProject(r.Context(), r.Admin, controller.ProjectSpec{Slug: slug}, recipient, []byte(identity), nil)
	r.must(err)
	return p
}

// Agent enrols a server for a project; it has said hello and found these databases, which are then the project's.
func (r *Rig) Agent(name, project string, databases ...string) *Agent {
	r.Helper()
	sum := sha256.Sum256([]byte(wire.NewID()))
	_, err := r.Store.CreateEnrolment(r.Context(), r.Admin, controller.EnrolmentSpec{ServerName: name, Project: project, TTL: time.Minute}, sum[:])
	r.must(err)
	nkey, signing, recipient := NewAgentKeys(r)
	s, err := r.Store.Enrol(r.Context(), sum[:], controller.NewServer{AgentID: "a" + wire.NewID()[:20], NKey: nkey, SigningKey: signing, Recipient: recipient, AgentVersion: "v1"})
	r.must(err)
	a := &Agent{Server: s, Session: wire.NewID()}
	_, _, err = r.Store.Hello(r.Context(), s.AgentID, s.NKey, a.Session, wire.Hello{Protocol: 1, AgentVersion: "v1", Host: wire.Host{Hostname: name, Local: &wire.LocalDir{Dir: "/srv/backups", FreeBytes: 70 << 30, TotalBytes: 100 << 30}}, Concurrency: 4, InventoryHash: "none"})
	r.must(err)
	inv := wire.Inventory{Hash: wire.NewID(), Last: true, Instances: []wire.Instance{{Name: "main", Engine: wire.EnginePostgreSQL, Version: "15.6", Restore: true, InPlace: true}}}
	for _, d := range databases {
		inv.Databases = append(inv.Databases, wire.Database{Instance: "main", Engine: wire.EnginePostgreSQL, Name: d, SizeBytes: 5 << 20, ServerVersion: "15.6"})
	}
	r.must(r.Store.Inventory(r.Context(), s.AgentID, a.Session, inv))
	if project != "" {
		for _, d := range databases {
			_, err := r.Store.AssignDatabase(r.Context(), r.Admin, controller.DatabaseRef{Server: name, Name: d}, project)
			r.must(err)
		}
	}
	return a
}

// Storage adds the default one.
func (r *Rig) Storage(name string) controller.Storage {
	r.Helper()
	s, err := r.Store.CreateStorage(r.Context(), r.Admin, controller.StorageSpec{
		Name: name, Kind: controller.StorageS3, Endpoint: "http://127.0.0.1:1", Region: "us-east-1", Bucket: "b", PathStyle: true, Default: true, AccessKey: "ak", SecretKey: "sk",
	}, r.Fleet.Result.Report, true, wire.ChecksumSHA256)
	r.must(err)
	return s
}

// LocalStorage adds the backup directories of the hosts; it is no default.
func (r *Rig) LocalStorage(name string) controller.Storage {
	r.Helper()
	s, err := r.Store.CreateStorage(r.Context(), r.Admin, controller.StorageSpec{Name: name, Kind: controller.StorageLocal}, r.Fleet.Result.Report, true, "")
	r.must(err)
	return s
}

// Start has the agent accept what is offered to it.
func (r *Rig) Start(a *Agent) []controller.Offer {
	r.Helper()
	offers, err := r.Store.ClaimOffers(r.Context(), 50)
	r.must(err)
	for i, o := range offers {
		if o.Kind == wire.JobBackup && o.UploadID == "" {
			offers[i].UploadID, err = r.Store.SetUpload(r.Context(), o.Attempt, "u"+o.AttemptID)
			r.must(err)
		}
		r.must(r.Store.AttemptAccepted(r.Context(), o.Attempt, a.Session))
	}
	return offers
}

// content is the same for the same name, and does not compress.
func content(name string, size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(name))).Read(b)
	return b
}

// Complete finishes a backup that was started, as a fleet would. Its objects are what Fleet.Content has.
func (r *Rig) Complete(a *Agent, o controller.Offer) {
	r.Helper()
	c := Content{Stored: content("stored "+o.AttemptID, 150_001), Dump: content("dump "+o.AttemptID, 290_007)}
	manifest := []byte("{\n  \"format_version\": 1\n}\n")
	r.Fleet.With(func() {
		r.Fleet.Content[o.Key] = c
		r.Fleet.Content[artifact.ManifestKey(o.Key)] = Content{Stored: manifest}
	})
	sums := artifact.Sums{
		RawSize: int64(len(c.Dump)), RawSHA256: sha256.Sum256(c.Dump), StoredSize: int64(len(c.Stored)), StoredSHA256: sha256.Sum256(c.Stored),
	}
	if o.Backup.Encryption == controller.EncryptionAES {
		sums.MAC = r.mac(o, sums.StoredSHA256)
	}
	stated := artifact.Statement{FormatVersion: 1, Key: o.Key, Sums: sums}
	var done []wire.PartDone
	if o.UploadID != controller.LocalUpload {
		stated.PartSize, stated.Parts = o.PartSize, 1
		done = []wire.PartDone{{Number: 1, ETag: `"e"`}}
		_, err := r.Store.SignPart(r.Context(), a.AgentID, a.Session, wire.PartRequest{
			Attempt: o.Attempt, Object: wire.ObjectArtifact, Number: 1, Size: sums.StoredSize, SHA256: sums.StoredSHA256[:],
		}, time.Minute)
		r.must(err)
	}
	st, err := json.Marshal(stated)
	r.must(err)
	signed, err := json.Marshal(artifact.SignedStatement{Statement: st})
	r.must(err)
	r.must(r.Store.ReportUploaded(r.Context(), a.AgentID, a.Session, wire.Report{Attempt: o.Attempt, Outcome: wire.OutcomeUploaded, Statement: signed, Done: done, Log: "pg_dump: done"}))
	work, err := r.Store.ClaimFinishing(r.Context(), 10)
	r.must(err)
	for _, w := range work {
		object := controller.StoredObject{
			Object: wire.ObjectArtifact, Key: w.Key, StoredSize: sums.StoredSize, StoredSHA256: sums.StoredSHA256.String(),
			RawSize: sums.RawSize, RawSHA256: sums.RawSHA256.String(), ETag: `"e-1"`,
		}
		switch o.Backup.Encryption {
		case controller.EncryptionAge:
			object.AgeHeader = []byte("header " + w.Key)
		case controller.EncryptionAES:
			object.MAC = sums.MAC[:]
		}
		sum := fmt.Sprintf("%x", sha256.Sum256(manifest))
		beside := controller.StoredObject{
			Object: controller.ObjectManifest, Key: artifact.ManifestKey(w.Key), StoredSize: int64(len(manifest)), StoredSHA256: sum, RawSize: int64(len(manifest)), RawSHA256: sum, ETag: `"e-1"`,
		}
		r.must(r.Store.CompleteBackup(r.Context(), w.Attempt, controller.Finished{
			Objects: []controller.StoredObject{object, beside}, Manifest: manifest, Composite: "c-1", Metadata: json.RawMessage(`{"tables_count":3}`), FileName: w.Key[strings.LastIndex(w.Key, "/")+1:],
		}))
	}
}

func (r *Rig) mac(o controller.Offer, stored artifact.Digest) artifact.Digest {
	r.Helper()
	text, err := r.Store.ProjectAppKey(r.Context(), o.ProjectID)
	r.must(err)
	app, err := artifact.AppKeyBytes(string(text))
	r.must(err)
	keys, err := artifact.DeriveAESKeys(app, o.AttemptID, wire.ObjectArtifact)
	r.must(err)
	return keys.Tag(stored)
}

// Break ends a started attempt for good.
func (r *Rig) Break(a *Agent, o controller.Offer, f *wire.Failure) {
	r.Helper()
	r.must(r.Store.ReportDone(r.Context(), a.AgentID, a.Session, wire.Report{Attempt: o.Attempt, Outcome: wire.OutcomeFailed, Failure: f, Log: "pg_dump: error"}))
}

// Verified ends a started verification well.
func (r *Rig) Verified(a *Agent, o controller.Offer) {
	r.Helper()
	r.must(r.Store.ReportDone(r.Context(), a.AgentID, a.Session, wire.Report{Attempt: o.Attempt, Outcome: wire.OutcomeVerified, Read: read(o)}))
}

// Restored ends a started restore well.
func (r *Rig) Restored(a *Agent, o controller.Offer) {
	r.Helper()
	report := wire.Report{
		Attempt: o.Attempt, Outcome: wire.OutcomeRestored, Read: read(o), Restored: &wire.RestoreResult{Database: o.Restore.DatabaseName, Tables: 3, Rows: 99, Compared: true},
	}
	if o.Restore.InPlace {
		report.Swapped = &wire.SwapResult{State: wire.SwapAfter, UnavailableMicros: 2500, Ended: 1, Notes: []string{"owner and grants were carried over"}}
	}
	r.must(r.Store.ReportDone(r.Context(), a.AgentID, a.Session, report))
}

// Settled ends a started undo or settlement: the state is wire.SwapBefore or wire.SwapAfter.
func (r *Rig) Settled(a *Agent, o controller.Offer, state string) {
	r.Helper()
	r.must(r.Store.ReportDone(r.Context(), a.AgentID, a.Session, wire.Report{Attempt: o.Attempt, Outcome: wire.OutcomeSettled, Swapped: &wire.SwapResult{State: state, UnavailableMicros: 1500}}))
}

// Discarded ends a started removal of what was kept.
func (r *Rig) Discarded(a *Agent, o controller.Offer) {
	r.Helper()
	r.must(r.Store.ReportDone(r.Context(), a.AgentID, a.Session, wire.Report{Attempt: o.Attempt, Outcome: wire.OutcomeDiscarded}))
}

// There has every agent see a database of that identity at whatever target it is asked for.
func (f *Fleet) There(identity string, problems ...wire.Problem) {
	f.With(func() {
		f.Target = func(controller.Server, wire.InspectOrder) (*wire.Target, error) {
			return &wire.Target{
				Exists: true, Identity: identity, ServerIdentity: "7001", ServerVersion: "15.6", SizeBytes: 40 << 20, Tables: 13, FreeBytes: 8 << 30, Owner: "shop", Problems: problems,
			}, nil
		}
	})
}

func read(o controller.Offer) *wire.ReadResult {
	b := o.Backup
	return &wire.ReadResult{StoredSize: *b.FileSize, StoredSHA256: *b.Checksum, RawSize: *b.RawSize, RawSHA256: *b.RawChecksum}
}

// Occur lets a schedule occur one second after its last record, as a scheduler would; its backups are due at once.
func (r *Rig) Occur(schedule int64) controller.TickResult {
	r.Helper()
	all, err := r.Store.ActiveSchedules(r.Context(), schedule-1, 1)
	r.must(err)
	if len(all) != 1 || all[0].ID != schedule {
		r.Fatalf("schedule %d is not active", schedule)
	}
	s := all[0]
	agenda, err := s.Agenda()
	r.must(err)
	at := s.RecordedUntil.Add(time.Second)
	res, err := r.Store.RecordTick(r.Context(), controller.Tick{
		ScheduleID: s.ID, RecordedUntil: s.RecordedUntil, Run: &controller.Occurrence{At: at, Due: s.CreatedAt}, Until: at, Next: agenda.Due(at),
	})
	r.must(err)
	return res
}

// Eventually polls until cond holds.
func Eventually(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			tb.Fatalf("not within 30 seconds: %s", what)
		case <-tick.C:
		}
	}
}

// Each calls f again and again until ctx ends.
func Each(ctx context.Context, f func()) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f()
		}
	}
}
