package catalog_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

func ptr[T any](v T) *T { return &v }

func TestProjects(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	recipient, identity := ageKey(t)
	escrow, _ := ageKey(t)
	p := must[controller.Project](t)(f.CreateProject(ctx, f.admin, controller.ProjectSpec{Slug: "shop", Name: "Shop", ExternalID: ptr("ext-7"), EscrowRecipients: []string{escrow}}, recipient, []byte(identity), nil))
	if p.Slug != "shop" || p.Name != "Shop" || *p.ExternalID != "ext-7" || p.AgeRecipient != recipient || !slices.Equal(p.EscrowRecipients, []string{escrow}) || p.DefaultEncryption != "age" || p.CreatedAt.IsZero() {
		t.Fatalf("project is %+v", p)
	}
	for _, ref := range []string{"shop", fmt.Sprint(p.ID), "ext-7"} {
		equal(t, "project by "+ref, must[controller.Project](t)(f.Project(ctx, f.admin, ref)).ID, p.ID)
	}
	_, err := f.Project(ctx, f.admin, "Shop")
	f.refused(err, controller.ENotFound, `"Shop"`)
	_, err = f.Project(ctx, f.admin, "a\x00b")
	f.refused(err, controller.EInvalid)

	_, err = f.CreateProject(ctx, f.admin, controller.ProjectSpec{Slug: "shop"}, recipient, []byte(identity), nil)
	f.refused(err, controller.EConflict, `"shop"`)
	_, err = f.CreateProject(ctx, f.admin, controller.ProjectSpec{Slug: "shop2", ExternalID: ptr("ext-7")}, recipient, []byte(identity), nil)
	f.refused(err, controller.EConflict, `"ext-7"`, `"shop"`)
	_, err = f.CreateProject(ctx, f.admin, controller.ProjectSpec{Slug: "Bad Slug"}, recipient, []byte(identity), nil)
	f.refused(err, controller.EInvalid, "slug")
	_, err = f.CreateProject(ctx, f.admin, controller.ProjectSpec{Slug: "x", EscrowRecipients: []string{"age1nonsense"}}, recipient, []byte(identity), nil)
	f.refused(err, controller.EInvalid, "escrow_recipients")
	_, err = f.CreateProject(ctx, f.admin, controller.ProjectSpec{Slug: "x"}, "nonsense", []byte(identity), nil)
	f.refused(err, controller.EInvalid, "age_recipient")

	// The identity is stored sealed, opens for an export, and the export leaves a trace.
	if raw := f.sql("SELECT encode(age_identity, 'escape') FROM projects"); strings.Contains(raw, "AGE-SECRET") {
		t.Fatal("the identity is stored in the open")
	}
	equal(t, "identity", string(must[controller.ProjectSecrets](t)(f.ProjectSecrets(ctx, f.admin, "shop")).Identity), identity)
	equal(t, "identity for the controller", string(must[[]byte](t)(f.ProjectIdentitySecret(ctx, p.ID))), identity)
	equal(t, "newest audit entry", must[[]controller.AuditEntry](t)(f.Audit(ctx, f.admin, controller.AuditFilter{Project: "shop", Limit: 1}))[0].Action, "project.export_key")
	f.sql("UPDATE projects SET age_identity = (SELECT age_identity || '\\x00' FROM projects LIMIT 1)")
	if _, err := f.ProjectSecrets(ctx, f.admin, "shop"); err == nil {
		t.Fatal("a damaged identity opened")
	}

	st := f.storage("s3", false)
	u := must[controller.Project](t)(f.UpdateProject(ctx, f.admin, "shop", controller.ProjectSpec{Name: "New", DefaultStorage: ptr("s3"), DefaultEncryption: "none"}))
	if u.Name != "New" || u.Slug != "shop" || *u.ExternalID != "ext-7" || *u.DefaultStorageID != st.ID || u.DefaultEncryption != "none" || len(u.EscrowRecipients) != 1 {
		t.Fatalf("project is %+v", u)
	}
	u = must[controller.Project](t)(f.UpdateProject(ctx, f.admin, "shop", controller.ProjectSpec{DefaultStorage: ptr(""), EscrowRecipients: []string{}}))
	if u.DefaultStorageID != nil || len(u.EscrowRecipients) != 0 || u.DefaultEncryption != "none" {
		t.Fatalf("project is %+v", u)
	}
	_, err = f.UpdateProject(ctx, f.admin, "shop", controller.ProjectSpec{DefaultStorage: ptr("absent")})
	f.refused(err, controller.ENotFound, `"absent"`)
	f.ok(f.DeleteProject(ctx, f.admin, "shop"))
	_, err = f.Project(ctx, f.admin, "shop")
	f.refused(err, controller.ENotFound)
	f.project("shop") // the slug is free again
}

func TestDeleteProject(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	p, a := f.world("app")
	done := f.completed(a, "app")
	b := f.order("app")
	f.refused(f.DeleteProject(ctx, f.admin, p.Slug), controller.EConflict, fmt.Sprint(b.JobID))
	must[controller.Job](t)(f.CancelBackup(ctx, f.admin, b.ID, ""))
	f.ok(f.DeleteProject(ctx, f.admin, p.Slug))
	if got := f.backup(done.ID); got.Status != "completed" || got.DeletedAt != nil {
		t.Fatalf("a deleted project's backup is %+v", got)
	}
	must[[]byte](t)(f.ProjectIdentitySecret(ctx, p.ID))
	d := must[[]controller.Database](t)(f.Databases(ctx, f.admin, controller.DatabaseFilter{}))
	if len(d) != 1 || d[0].ProjectID != nil {
		t.Fatalf("databases are %+v", d)
	}
}

func TestEnrol_Race(t *testing.T) { // fault 85
	f := open(t)
	p := f.project("shop")
	must[controller.Enrolment](t)(f.CreateEnrolment(t.Context(), f.admin, controller.EnrolmentSpec{ServerName: "db-1", Project: "shop", Verifier: true, TTL: time.Minute}, hash("token")))
	two := f.another("two")
	var wg sync.WaitGroup
	var mu sync.Mutex
	var won []controller.Server
	for i := range 20 {
		agent := newAgent(t)
		wg.Go(func() {
			c := f.Catalog
			if i%2 == 0 {
				c = two
			}
			s, err := c.Enrol(t.Context(), hash("token"), agent)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won = append(won, s)
			} else if controller.ErrorCode(err) != controller.EUnauthorized || !strings.Contains(err.Error(), "already used") {
				t.Errorf("a loser got %v", err)
			}
		})
	}
	wg.Wait()
	equal(t, "winners", len(won), 1)
	s := won[0]
	if s.Name != "db-1" || !s.Verifier || !slices.Equal(s.Projects, []int64{p.ID}) || s.NKey == "" || len(s.SigningKey) != 32 || s.Host.CPUs != 2 || s.AgentVersion != "1.0.0" || s.Online {
		t.Fatalf("server is %+v", s)
	}
	e := must[[]controller.Enrolment](t)(f.Enrolments(t.Context(), f.admin, 0, 0))[0]
	if e.UsedAt == nil || *e.ServerID != s.ID || *e.ProjectID != p.ID {
		t.Fatalf("enrolment is %+v", e)
	}
}

func TestEnrol_Refusals(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	agent := newAgent(t)
	_, err := f.Enrol(ctx, hash("guess"), agent)
	f.refused(err, controller.EUnauthorized, "not known")

	token := func(name, secret string) {
		t.Helper()
		must[controller.Enrolment](t)(f.CreateEnrolment(ctx, f.admin, controller.EnrolmentSpec{ServerName: name, TTL: time.Minute}, hash(secret)))
	}
	token("db-1", "old")
	f.sql("UPDATE enrolment_tokens SET expires_at = now() - interval '1 second'")
	_, err = f.Enrol(ctx, hash("old"), agent)
	f.refused(err, controller.EUnauthorized, "expired", "db-1")

	token("db-1", "a")
	token("db-1", "b")
	s := must[controller.Server](t)(f.Enrol(ctx, hash("a"), agent))
	// The same agent asks again: the answer was lost.
	again := agent
	again.AgentID = "zzother"
	equal(t, "agent id", must[controller.Server](t)(f.Enrol(ctx, hash("a"), again)).AgentID, s.AgentID)
	_, err = f.Enrol(ctx, hash("b"), newAgent(t))
	f.refused(err, controller.EConflict, `"db-1"`)
	_, err = f.CreateEnrolment(ctx, f.admin, controller.EnrolmentSpec{ServerName: "db-1", TTL: time.Minute}, hash("c"))
	f.refused(err, controller.EConflict, `"db-1"`)
	must[controller.Server](t)(f.RevokeServer(ctx, f.admin, "db-1"))
	_, err = f.Enrol(ctx, hash("a"), agent)
	f.refused(err, controller.EUnauthorized, "already used")
	must[controller.Server](t)(f.Enrol(ctx, hash("b"), newAgent(t))) // the name is free
	bad := newAgent(t)
	bad.SigningKey = []byte("short")
	_, err = f.Enrol(ctx, hash("x"), bad)
	f.refused(err, controller.EInvalid, "signing_key")
}

func TestServers(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	p, a := f.world("app")
	s := must[controller.Server](t)(f.Server(ctx, f.admin, "db-7"))
	if !s.Online || s.LastSeenAt == nil || s.AgentVersion != "1.2.3" || s.Concurrency != 2 || s.Host.Hostname != "db-7" || len(s.Instances) != 1 {
		t.Fatalf("server is %+v", s)
	}
	if i := s.Instances[0]; i.Name != "main" || i.Engine != "postgresql" || i.Version != "15.6" || !i.Restore {
		t.Fatalf("instance is %+v", i)
	}
	for _, ref := range []string{fmt.Sprint(s.ID), s.AgentID} {
		equal(t, "server by "+ref, must[controller.Server](t)(f.Server(ctx, f.admin, ref)).ID, s.ID)
	}
	if !must[controller.Server](t)(f.SetVerifier(ctx, f.admin, "db-7", true)).Verifier {
		t.Fatal("not a verifier")
	}
	f.sql("UPDATE servers SET last_seen_at = now() - interval '91 seconds'")
	if must[controller.Server](t)(f.Server(ctx, f.admin, "db-7")).Online {
		t.Fatal("an unheard server is online")
	}
	f.hello(a)

	f.refused(f.RevokeServerGrant(ctx, f.admin, p.Slug, "db-7"), controller.EConflict, `"app"`, "unassign")
	b := f.order("app")
	o := f.started(a)
	s = must[controller.Server](t)(f.RevokeServer(ctx, f.admin, "db-7"))
	if s.RevokedAt == nil || s.Online {
		t.Fatalf("server is %+v", s)
	}
	job := f.job(b.JobID)
	equal(t, "job", job.Status, "failed")
	equal(t, "failure", job.Failure.Code, wire.CodeRevoked)
	equal(t, "attempt", job.Attempts[0].Status, "lost")
	equal(t, "backup", f.backup(b.ID).Status, "failed")
	_, err := f.SignPart(ctx, a.AgentID, a.session, partRequest(o, 1, 1), time.Minute)
	f.failure(err, wire.CodeRevoked)
	_, _, err = f.Hello(ctx, a.AgentID, a.NKey, wire.NewID(), wire.Hello{Protocol: 1})
	f.failure(err, wire.CodeRevoked)
	f.failure(f.Inventory(ctx, a.AgentID, a.session, wire.Inventory{Hash: "h", Last: true}), wire.CodeRevoked)
	_, err = f.CreateBackups(ctx, f.admin, controller.BackupRequest{Database: "app"})
	f.refused(err, controller.EConflict, "revoked")
	must[controller.Server](t)(f.RevokeServer(ctx, f.admin, s.AgentID)) // again
	if n := f.sql("SELECT count(*) FROM security_events WHERE kind = 'revoked_server'"); n == "0" {
		t.Fatal("a revoked server's messages raised no event")
	}
}

func TestDatabases(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	shop, blog := f.project("shop"), f.project("blog")
	a, b := f.enrol("db-1", shop), f.enrol("db-2")
	f.hello(a)
	f.hello(b)
	const wild = `o'brien; drop "x"` + "\n🦀"
	f.found(a, "app", "App", wild)
	f.found(b, "app")
	ref := func(name, server string) controller.DatabaseRef {
		return controller.DatabaseRef{Name: name, Server: server}
	}
	_, err := f.AssignDatabase(ctx, f.admin, ref("app", ""), "shop")
	f.refused(err, controller.EConflict, "db-1/main", "db-2/main")
	_, err = f.AssignDatabase(ctx, f.admin, ref("APP", ""), "shop")
	f.refused(err, controller.ENotFound, `"APP"`)
	_, err = f.AssignDatabase(ctx, f.admin, ref("app", "db-2"), "shop")
	f.refused(err, controller.EConflict, `"db-2" is not granted to project "shop"`, "project grant shop db-2")
	d := must[controller.Database](t)(f.AssignDatabase(ctx, f.admin, ref("app", "db-1"), "shop"))
	if d.Project != "shop" || *d.ProjectID != shop.ID || d.SizeBytes != 1<<20 || d.ServerVersion != "15.6" || !slices.Equal(d.Extensions, []string{"pgcrypto"}) || d.Engine != "postgresql" {
		t.Fatalf("database is %+v", d)
	}
	must[controller.Database](t)(f.AssignDatabase(ctx, f.admin, ref("app", "db-1"), "shop"))
	f.ok(f.GrantServer(ctx, f.admin, "blog", "db-1"))
	_, err = f.AssignDatabase(ctx, f.admin, ref("app", "db-1"), "blog")
	f.refused(err, controller.EConflict, `"shop"`, "unassign")
	equal(t, "name", must[controller.Database](t)(f.AssignDatabase(ctx, f.admin, ref(wild, ""), "blog")).Name, wild)
	// A caller of one project neither sees nor takes what is not assigned to it.
	_, err = f.AssignDatabase(ctx, only(shop), ref("App", "db-1"), "shop")
	f.refused(err, controller.ENotFound)
	must[controller.Database](t)(f.UnassignDatabase(ctx, only(shop), ref("app", "db-1")))
	equal(t, "unassigned", len(must[[]controller.Database](t)(f.Databases(ctx, f.admin, controller.DatabaseFilter{Unassigned: true}))), 3)
	equal(t, "of blog", len(must[[]controller.Database](t)(f.Databases(ctx, only(blog), controller.DatabaseFilter{}))), 1)
	equal(t, "by server", len(must[[]controller.Database](t)(f.Databases(ctx, f.admin, controller.DatabaseFilter{Server: "db-2", Name: "app"}))), 1)
}

func TestInventory(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	p, a := f.world("app", "old")
	send := func(inv wire.Inventory) {
		t.Helper()
		f.ok(f.Inventory(ctx, a.AgentID, a.session, inv))
	}
	db := func(names ...string) (out []wire.Database) {
		for _, n := range names {
			out = append(out, wire.Database{Instance: "main", Engine: "postgresql", Name: n, SizeBytes: 7})
		}
		return out
	}
	state := func() map[string]string {
		out := map[string]string{}
		for _, d := range must[[]controller.Database](t)(f.Databases(ctx, f.admin, controller.DatabaseFilter{})) {
			s := d.Project
			if d.MissingSince != nil {
				s += " missing"
			}
			out[d.Name] = strings.TrimSpace(s)
		}
		return out
	}
	// Pages in any order; nothing changes before the last one that was missing.
	send(wire.Inventory{Hash: "h2", Page: 1, Last: true, Databases: db("new2")})
	equal(t, "databases", len(state()), 2)
	send(wire.Inventory{Hash: "h2", Page: 0, Instances: []wire.Instance{instance("main")}, Databases: db("app", "new1")})
	got := state()
	if len(got) != 4 || got["app"] != p.Slug || got["old"] != p.Slug+" missing" || got["new1"] != "" || got["new2"] != "" {
		t.Fatalf("databases are %v", got)
	}
	equal(t, "pages left", f.sql("SELECT count(*) FROM inventory_pages"), "0")
	// The hash that was stored is not asked for again.
	res, _, err := f.Hello(ctx, a.AgentID, a.NKey, a.session, wire.Hello{Protocol: 1, InventoryHash: "h2", Concurrency: 2})
	f.ok(err)
	if res.WantInventory {
		t.Fatal("an inventory that is known is wanted")
	}
	if !f.helloAgain(a).WantInventory {
		t.Fatal("another inventory is not wanted")
	}
	// An instance that could not be looked at loses no database.
	send(wire.Inventory{Hash: "h3", Last: true, Instances: []wire.Instance{{Name: "main", Engine: "postgresql", Error: "connection refused"}}})
	if got := state(); got["app"] != p.Slug {
		t.Fatalf("databases are %v", got)
	}
	send(wire.Inventory{Hash: "h4", Last: true, Instances: []wire.Instance{instance("main")}, Databases: db("app", "old")})
	if got := state(); got["old"] != p.Slug || got["new1"] != "missing" {
		t.Fatalf("databases are %v", got)
	}
	for what, bad := range map[string]wire.Inventory{
		"long name":  {Hash: "x", Last: true, Databases: db(strings.Repeat("n", 256))},
		"NUL":        {Hash: "x", Last: true, Databases: db("a\x00b")},
		"not UTF-8":  {Hash: "x", Last: true, Databases: db("a\xff")},
		"empty name": {Hash: "x", Last: true, Databases: db("")},
		"no hash":    {Last: true},
		"page":       {Hash: "x", Page: -1},
		"engine":     {Hash: "x", Last: true, Databases: []wire.Database{{Instance: "i", Engine: "oracle", Name: "n"}}},
	} {
		if err := f.Inventory(ctx, a.AgentID, a.session, bad); !wire.HasCode(err, wire.CodeBadRequest) {
			t.Errorf("%s: %v", what, err)
		}
	}
	f.failure(f.Inventory(ctx, a.AgentID, wire.NewID(), wire.Inventory{Hash: "x", Last: true}), wire.CodeSuperseded)
}

func TestStorages(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	f.project("shop")
	st := f.storage("s3", true)
	if st.Name != "s3" || st.Endpoint != "http://127.0.0.1:1" || st.Bucket != "b" || st.Prefix != "pre/s3" || !st.PathStyle || !st.IsDefault || !st.ProbeOK || st.ProbedAt == nil || string(st.Probe) != `{"list": "ok"}` {
		t.Fatalf("storage is %+v", st)
	}
	if raw := f.sql("SELECT encode(credentials_sealed, 'escape') || row_to_json(s)::text FROM storages s"); strings.Contains(raw, "sk-canary") {
		t.Fatal("the secret key is stored in the open")
	}
	access := must[controller.StorageAccess](t)(f.StorageAccess(ctx, st.ID))
	if access.Credentials.AccessKey != "ak" || access.Credentials.SecretKey.Reveal() != "sk-canary" || access.Bucket != "b" {
		t.Fatalf("access is %+v", access)
	}
	f.ok(f.UpdateProbe(ctx, st.ID, json.RawMessage(`{"put":"denied\u0000"}`), false, "md5"))
	st = must[controller.Storage](t)(f.Storage(ctx, f.admin, "s3"))
	if st.ProbeOK || st.ChecksumMode != "md5" || string(st.Probe) != `{"put": "denied"}` {
		t.Fatalf("storage is %+v", st)
	}
	_, err := f.CreateStorage(ctx, f.admin, controller.StorageSpec{Name: "s3", Kind: "s3", Bucket: "b", AccessKey: "a", SecretKey: "s"}, nil, true, "")
	f.refused(err, controller.EConflict, `"s3"`)
	_, err = f.CreateStorage(ctx, f.admin, controller.StorageSpec{Name: "x", Kind: "ftp", Bucket: "b", AccessKey: "a", SecretKey: "s"}, nil, true, "")
	f.refused(err, controller.EInvalid, "kind")
	own := must[controller.Storage](t)(f.CreateStorage(ctx, f.admin, controller.StorageSpec{Name: "s3", Project: "shop", Kind: "s3", Bucket: "b", AccessKey: "a", SecretKey: "s", Default: true}, nil, true, ""))
	_, err = f.Storage(ctx, f.admin, "s3")
	f.refused(err, controller.EConflict, "ambiguous", fmt.Sprint(own.ID))
	two := f.storage("s4", true)
	got := must[controller.Storage](t)(f.Storage(ctx, f.admin, fmt.Sprint(st.ID)))
	if got.IsDefault {
		t.Fatal("two defaults")
	}
	must[controller.Storage](t)(f.SetDefaultStorage(ctx, f.admin, fmt.Sprint(st.ID)))
	if must[controller.Storage](t)(f.Storage(ctx, f.admin, "s4")).IsDefault {
		t.Fatal("two defaults")
	}
	f.ok(f.DeleteStorage(ctx, f.admin, "s4"))
	must[controller.StorageAccess](t)(f.StorageAccess(ctx, two.ID)) // what lies there may have to be removed
	f.storage("s4", false)
}

func TestDeleteStorage_InUse(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app", "app2")
	b := f.completed(a, "app")
	f.refused(f.DeleteStorage(ctx, f.admin, "s3"), controller.EConflict, "1 backup is on", "delete them first")
	b2 := f.order("app2")
	o := f.started(a)
	r := fails(wire.CodeToolFailed)
	r.Attempt = o.Attempt
	f.ok(f.ReportDone(ctx, a.AgentID, a.session, r))
	equal(t, "failed backup", f.backup(b2.ID).Status, "failed")
	must[controller.Backup](t)(f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: b.ID, Confirm: "app"}))
	must[[]controller.Deletion](t)(f.DueDeletions(ctx, 5))
	f.ok(f.DeletionDone(ctx, b.ID))
	f.refused(f.DeleteStorage(ctx, f.admin, "s3"), controller.EConflict, "still being removed")
	f.ok(f.UploadSwept(ctx, o.Attempt))
	f.ok(f.DeleteStorage(ctx, f.admin, "s3"))
	_, err := f.CreateBackups(ctx, f.admin, controller.BackupRequest{Database: "app"})
	f.refused(err, controller.EInvalid, "storage", "storage default")
}

func TestTokens(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	f.ok(f.EnsureAdminToken(ctx, hash("admin")))
	f.ok(f.EnsureAdminToken(ctx, hash("admin"))) // again
	f.refused(f.EnsureAdminToken(ctx, hash("other")), controller.EConflict)
	admin := must[controller.Actor](t)(f.TokenByHash(ctx, hash("admin")))
	if !admin.Scope.All || len(admin.Permissions) != len(controller.Permissions) || admin.TokenID == 0 {
		t.Fatalf("admin is %+v", admin)
	}
	shop := f.project("shop")
	f.project("blog")
	tok := must[controller.APIToken](t)(f.CreateToken(ctx, admin, controller.TokenSpec{Name: "ci", Permissions: []string{controller.ViewBackups, controller.ManageTokens}, Projects: []string{"shop", fmt.Sprint(shop.ID)}, TTL: time.Hour}, hash("ci")))
	if tok.Name != "ci" || !slices.Equal(tok.Projects, []int64{shop.ID}) || tok.ExpiresAt == nil || tok.RevokedAt != nil {
		t.Fatalf("token is %+v", tok)
	}
	ci := must[controller.Actor](t)(f.TokenByHash(ctx, hash("ci")))
	if ci.Scope.All || !slices.Equal(ci.Scope.Projects, []int64{shop.ID}) || ci.Can(controller.DeleteBackups) || !ci.Can(controller.ViewBackups) {
		t.Fatalf("actor is %+v", ci)
	}
	// Never more than the maker has.
	_, err := f.CreateToken(ctx, ci, controller.TokenSpec{Name: "x", Permissions: []string{controller.DeleteBackups}, Projects: []string{"shop"}}, hash("x"))
	f.refused(err, controller.EForbidden, controller.DeleteBackups)
	_, err = f.CreateToken(ctx, ci, controller.TokenSpec{Name: "x", Permissions: []string{controller.ViewBackups}}, hash("x"))
	f.refused(err, controller.EForbidden)
	_, err = f.CreateToken(ctx, ci, controller.TokenSpec{Name: "x", Permissions: []string{controller.ViewBackups}, Projects: []string{"blog"}}, hash("x"))
	f.refused(err, controller.ENotFound)
	none := must[controller.APIToken](t)(f.CreateToken(ctx, admin, controller.TokenSpec{Name: "none", Permissions: []string{controller.ViewBackups}, Projects: []string{}}, hash("none")))
	if a := must[controller.Actor](t)(f.TokenByHash(ctx, hash("none"))); a.Scope.All || len(a.Scope.Projects) != 0 || none.Projects == nil {
		t.Fatalf("a token of no project is %+v", a)
	}
	equal(t, "tokens that ci sees", len(must[[]controller.APIToken](t)(f.Tokens(ctx, ci, controller.TokenFilter{}))), 2)
	f.refused(f.RevokeToken(ctx, ci, admin.TokenID), controller.ENotFound)
	f.ok(f.RevokeToken(ctx, admin, tok.ID))
	f.ok(f.RevokeToken(ctx, admin, tok.ID))
	_, err = f.TokenByHash(ctx, hash("ci"))
	f.refused(err, controller.EUnauthorized, "revoked")
	_, err = f.TokenByHash(ctx, hash("guess"))
	f.refused(err, controller.EUnauthorized, "not known")
	must[controller.APIToken](t)(f.CreateToken(ctx, admin, controller.TokenSpec{Name: "old", Permissions: []string{controller.ViewBackups}, TTL: time.Hour}, hash("old")))
	f.sql("UPDATE api_tokens SET expires_at = now() WHERE name = 'old'")
	_, err = f.TokenByHash(ctx, hash("old"))
	f.refused(err, controller.EUnauthorized, "expired")
	// last_used_at moves at most once a minute.
	used := f.sql("SELECT last_used_at FROM api_tokens WHERE name = 'admin'")
	must[controller.Actor](t)(f.TokenByHash(ctx, hash("admin")))
	equal(t, "last use", f.sql("SELECT last_used_at FROM api_tokens WHERE name = 'admin'"), used)
	f.sql("UPDATE api_tokens SET last_used_at = now() - interval '2 minutes' WHERE name = 'admin'")
	must[controller.Actor](t)(f.TokenByHash(ctx, hash("admin")))
	equal(t, "last use", f.sql("SELECT last_used_at > now() - interval '1 minute' FROM api_tokens WHERE name = 'admin'"), "t")
}

func TestCreateBackups(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	p, a := f.world("app", "crm", "wiki")
	f.found(a, "app", "crm", "wiki", "stray")
	out := must[[]controller.BackupOutcome](t)(f.CreateBackups(ctx, f.admin, controller.BackupRequest{Project: "shop", Level: 7, MaxDuration: 2 * time.Hour}))
	var names []string
	for _, o := range out {
		names = append(names, o.Database)
		if o.Err != nil || o.Backup == nil || o.Server != "db-7" || o.Instance != "main" {
			t.Fatalf("outcome is %+v", o)
		}
	}
	equal(t, "order", strings.Join(names, " "), "app crm wiki")
	b := *out[0].Backup
	if b.Project != "shop" || b.ProjectID != p.ID || b.Server != "db-7" || b.ServerID != a.ID || b.Instance != "main" || b.DatabaseType != "postgresql" || b.DatabaseName != "app" ||
		b.Type != "manual" || b.Status != "pending" || b.Health != "ok" || b.Storage != "s3" || b.StorageDisk != "s3" || b.Compression != "zstd" || b.Level != 7 || b.Encryption != "age" ||
		b.FileSize != nil || b.JobID == 0 || b.JobStatus != "queued" || b.Attempt != 0 || b.Progress != nil || string(b.Metadata) != "{}" {
		t.Fatalf("backup is %+v", b)
	}
	// A second request: each item says that it is at work.
	out = must[[]controller.BackupOutcome](t)(f.CreateBackups(ctx, f.admin, controller.BackupRequest{}))
	equal(t, "outcomes", len(out), 3)
	for i, o := range out {
		if o.Backup != nil || o.Err == nil || o.Err.Code != controller.EConflict {
			t.Fatalf("outcome %d is %+v", i, o)
		}
	}
	_, err := f.CreateBackups(ctx, f.admin, controller.BackupRequest{Database: "app"})
	f.refused(err, controller.EConflict, fmt.Sprintf("backup %d", b.ID), "pending")
	_, err = f.CreateBackups(ctx, f.admin, controller.BackupRequest{Project: "shop", Database: "stray"})
	f.refused(err, controller.EConflict, `"stray"`, `"db-7"`, `not assigned to project "shop"`, "database assign")
	_, err = f.CreateBackups(ctx, f.admin, controller.BackupRequest{Project: "shop", Database: "APP"})
	f.refused(err, controller.ENotFound, `"APP"`, `"app", "crm"`)
	_, err = f.CreateBackups(ctx, f.admin, controller.BackupRequest{Project: "nope"})
	f.refused(err, controller.ENotFound, `"nope"`)
	_, err = f.CreateBackups(ctx, f.admin, controller.BackupRequest{Type: "odd"})
	f.refused(err, controller.EInvalid, "type")
	f.project("empty")
	_, err = f.CreateBackups(ctx, f.admin, controller.BackupRequest{Project: "empty"})
	f.refused(err, controller.EConflict, "nothing to back up", `"empty"`)
	_, err = f.CreateBackups(ctx, f.admin, controller.BackupRequest{Project: "empty", Database: "app"})
	f.refused(err, controller.EConflict, `project "shop"`)
	entry := must[[]controller.AuditEntry](t)(f.Audit(ctx, f.admin, controller.AuditFilter{Project: "shop", Limit: 1}))[0]
	if entry.Action != "backup.create" || entry.Actor != "admin" || entry.Remote != "127.0.0.1" || entry.Subject != fmt.Sprint(b.ID+2) {
		t.Fatalf("audit entry is %+v", entry)
	}
}

func TestCreateBackups_Race(t *testing.T) {
	f := open(t)
	f.world("app")
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			_, err := f.CreateBackups(t.Context(), f.admin, controller.BackupRequest{Database: "app"})
			if err != nil && controller.ErrorCode(err) != controller.EConflict {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	equal(t, "backups", f.sql("SELECT count(*) FROM database_backups"), "1")
}

func TestCreateBackups_Storage(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app")
	back := func(ref string) string {
		t.Helper()
		out := must[[]controller.BackupOutcome](t)(f.CreateBackups(ctx, f.admin, controller.BackupRequest{Database: "app", Storage: ref}))
		must[controller.Job](t)(f.CancelBackup(ctx, f.admin, out[0].Backup.ID, ""))
		return out[0].Backup.Storage
	}
	equal(t, "storage", back(""), "s3")
	must[controller.Storage](t)(f.CreateStorage(ctx, f.admin, controller.StorageSpec{Name: "own", Project: "shop", Kind: "s3", Bucket: "b", AccessKey: "a", SecretKey: "s", Default: true}, nil, true, ""))
	equal(t, "storage", back(""), "own")
	chosen := f.storage("chosen", false)
	must[controller.Project](t)(f.UpdateProject(ctx, f.admin, "shop", controller.ProjectSpec{DefaultStorage: ptr("chosen")}))
	equal(t, "storage", back(""), "chosen")
	equal(t, "storage", back("own"), "own")
	f.project("other")
	must[controller.Storage](t)(f.CreateStorage(ctx, f.admin, controller.StorageSpec{Name: "theirs", Project: "other", Kind: "s3", Bucket: "b", Prefix: "other", AccessKey: "a", SecretKey: "s"}, nil, true, ""))
	_, err := f.CreateBackups(ctx, f.admin, controller.BackupRequest{Database: "app", Storage: "theirs"})
	f.refused(err, controller.ENotFound, `"theirs"`)
	f.ok(f.UpdateProbe(ctx, chosen.ID, nil, false, ""))
	_, err = f.CreateBackups(ctx, f.admin, controller.BackupRequest{Database: "app"})
	f.refused(err, controller.EConflict, `"chosen"`, "probe")
	_ = a
}

func TestBackups_Filter(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app", "crm")
	b1 := f.completed(a, "app")
	b2 := f.order("crm")
	list := func(filter controller.BackupFilter) (ids []int64) {
		t.Helper()
		for _, b := range must[[]controller.Backup](t)(f.Backups(ctx, f.admin, filter)) {
			ids = append(ids, b.ID)
		}
		return ids
	}
	for what, c := range map[string]struct {
		filter controller.BackupFilter
		want   []int64
	}{
		"all":        {controller.BackupFilter{}, []int64{b2.ID, b1.ID}},
		"limit":      {controller.BackupFilter{Limit: 1}, []int64{b2.ID}},
		"cursor":     {controller.BackupFilter{BeforeID: b2.ID}, []int64{b1.ID}},
		"status":     {controller.BackupFilter{Status: "completed"}, []int64{b1.ID}},
		"database":   {controller.BackupFilter{Database: "crm"}, []int64{b2.ID}},
		"server":     {controller.BackupFilter{Server: "db-7"}, []int64{b2.ID, b1.ID}},
		"no server":  {controller.BackupFilter{Server: "db"}, nil},
		"verified":   {controller.BackupFilter{Verified: ptr(true)}, nil},
		"unverified": {controller.BackupFilter{Verified: ptr(false)}, []int64{b2.ID, b1.ID}},
		"type":       {controller.BackupFilter{Type: "scheduled"}, nil},
		"health":     {controller.BackupFilter{Health: "corrupt"}, nil},
		"project":    {controller.BackupFilter{Project: "shop"}, []int64{b2.ID, b1.ID}},
	} {
		if got := list(c.filter); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", what, got, c.want)
		}
	}
	_, err := f.Backups(ctx, f.admin, controller.BackupFilter{Status: "odd"})
	f.refused(err, controller.EInvalid, "status", "completed")
	must[controller.Backup](t)(f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: b1.ID, Confirm: "app", Grace: -1}))
	equal(t, "without deleted ones", len(list(controller.BackupFilter{})), 1)
	equal(t, "with deleted ones", len(list(controller.BackupFilter{Deleted: true})), 2)
	_, err = f.BackupManifest(ctx, f.admin, b2.ID)
	f.refused(err, controller.EConflict, "not completed")
	equal(t, "manifest", string(must[[]byte](t)(f.BackupManifest(ctx, f.admin, b1.ID))), `{"format_version":1}`)
	objects := must[[]controller.StoredObject](t)(f.BackupObjects(ctx, f.admin, b1.ID))
	if len(objects) != 3 || objects[0].Object != "artifact" || objects[0].ETag != `"x-2"` || objects[0].VersionID != "v1" || len(objects[0].AgeHeader) == 0 || objects[0].StoredSHA256 != *b1.Checksum || objects[0].RawSHA256 == "" {
		t.Fatalf("objects are %+v", objects)
	}
}

func TestDeleteBackup(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app")
	b1 := f.completed(a, "app")
	_, err := f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: b1.ID})
	f.refused(err, controller.EConflict, "last good backup", `"app"`)
	_, err = f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: b1.ID, Confirm: "App"})
	f.refused(err, controller.EConflict, "last good backup")
	b2 := f.completed(a, "app")

	jobs := must[[]controller.Job](t)(f.CreateVerify(ctx, f.admin, controller.VerifyRequest{Backup: b1.ID}))
	_, err = f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: b1.ID})
	f.refused(err, controller.EConflict, fmt.Sprint(jobs[0].ID))
	must[controller.Job](t)(f.CancelJob(ctx, f.admin, jobs[0].ID, ""))

	d := must[controller.Backup](t)(f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: b1.ID, Reason: "old", Grace: -1}))
	if d.DeletedAt == nil || *d.DeleteReason != "old" || d.PurgedAt != nil || d.DeleteAfter.Sub(*d.DeletedAt) != 7*24*time.Hour || d.Restorable() {
		t.Fatalf("backup is %+v", d)
	}
	again := must[controller.Backup](t)(f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: b1.ID, Grace: 0}))
	if !again.DeleteAfter.Equal(*d.DeleteAfter) {
		t.Fatal("a repeated delete changed the grace")
	}
	equal(t, "due before the grace is over", len(must[[]controller.Deletion](t)(f.DueDeletions(ctx, 5))), 0)
	_, err = f.CreateRestore(ctx, f.admin, controller.RestoreRequest{Backup: b1.ID, Database: "copy"})
	f.refused(err, controller.EConflict, "deleted")
	_, err = f.CreateVerify(ctx, f.admin, controller.VerifyRequest{Backup: b1.ID})
	f.refused(err, controller.EConflict, "deleted")
	u := must[controller.Backup](t)(f.UndeleteBackup(ctx, f.admin, b1.ID))
	if !u.Restorable() || u.DeleteReason != nil || u.DeleteAfter != nil {
		t.Fatalf("backup is %+v", u)
	}
	// Only one of two may go without a name: the other is then the last.
	must[controller.Backup](t)(f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: b1.ID}))
	_, err = f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: b2.ID})
	f.refused(err, controller.EConflict, "last good backup")

	due := must[[]controller.Deletion](t)(f.DueDeletions(ctx, 5))
	if len(due) != 1 || due[0].Backup != b1.ID || due[0].StorageID != b1.StorageID || len(due[0].Keys) != 3 || due[0].Keys[2] != b1.FilePath+".manifest.json" {
		t.Fatalf("due is %+v", due)
	}
	equal(t, "due twice", len(must[[]controller.Deletion](t)(f.another("two").DueDeletions(ctx, 5))), 0)
	_, err = f.UndeleteBackup(ctx, f.admin, b1.ID)
	f.refused(err, controller.EConflict, "grace")
	f.ok(f.DeletionLater(ctx, b1.ID, 0, "denied"))
	equal(t, "due again", len(must[[]controller.Deletion](t)(f.DueDeletions(ctx, 5))), 1)
	f.ok(f.DeletionDone(ctx, b2.ID)) // was not deleted
	if f.backup(b2.ID).PurgedAt != nil {
		t.Fatal("a live backup was purged")
	}
	f.ok(f.DeletionDone(ctx, b1.ID))
	if f.backup(b1.ID).PurgedAt == nil {
		t.Fatal("not purged")
	}
	equal(t, "due after the end", len(must[[]controller.Deletion](t)(f.DueDeletions(ctx, 5))), 0)
}

func TestDeleteBackup_Failed(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app")
	queued := f.order("app")
	_, err := f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: queued.ID})
	f.refused(err, controller.EConflict, fmt.Sprint(queued.JobID))
	must[controller.Job](t)(f.CancelBackup(ctx, f.admin, queued.ID, ""))
	d := must[controller.Backup](t)(f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: queued.ID}))
	if d.PurgedAt == nil {
		t.Fatal("a backup that left nothing is not closed at once")
	}
	// One whose attempt may have left something waits for the sweeper.
	failed := f.order("app")
	o := f.started(a)
	r := fails(wire.CodeToolFailed)
	r.Attempt = o.Attempt
	f.ok(f.ReportDone(ctx, a.AgentID, a.session, r))
	d = must[controller.Backup](t)(f.DeleteBackup(ctx, f.admin, controller.DeleteRequest{Backup: failed.ID}))
	if d.PurgedAt != nil {
		t.Fatal("closed before the upload was seen gone")
	}
	must[controller.SweepResult](t)(f.Sweep(ctx))
	if f.backup(failed.ID).PurgedAt != nil {
		t.Fatal("closed before the upload was seen gone")
	}
	f.ok(f.UploadSwept(ctx, o.Attempt))
	must[controller.SweepResult](t)(f.Sweep(ctx))
	if f.backup(failed.ID).PurgedAt == nil {
		t.Fatal("not closed after the upload was seen gone")
	}
}

func TestCancel(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app")
	b := f.order("app")
	j := must[controller.Job](t)(f.CancelBackup(ctx, f.admin, b.ID, "wrong day"))
	equal(t, "job", j.Status, "cancelled")
	got := f.backup(b.ID)
	if got.Status != "failed" || *got.ErrorCode != wire.CodeCancelled || !strings.Contains(*got.ErrorMessage, "wrong day") {
		t.Fatalf("backup is %+v", got)
	}
	must[controller.Job](t)(f.CancelJob(ctx, f.admin, j.ID, "")) // again

	b = f.order("app")
	o := f.started(a)
	j = must[controller.Job](t)(f.CancelJob(ctx, f.admin, b.JobID, "stop it"))
	equal(t, "job", j.Status, "running")
	due := must[[]controller.CancelDue](t)(f.CancelsDue(ctx))
	if len(due) != 1 || due[0].Attempt != o.Attempt || due[0].AgentID != a.AgentID || due[0].Session != a.session || due[0].Reason != "stop it" {
		t.Fatalf("cancellations are %+v", due)
	}
	_, err := f.SignPart(ctx, a.AgentID, a.session, partRequest(o, 1, 5), time.Minute)
	f.failure(err, wire.CodeCancelled)
	f.failure(f.ReportUploaded(ctx, a.AgentID, a.session, f.uploadReport(o)), wire.CodeCancelled)
	r := fails(wire.CodeCancelled)
	r.Attempt = o.Attempt
	f.ok(f.ReportDone(ctx, a.AgentID, a.session, r))
	f.ok(f.ReportDone(ctx, a.AgentID, a.session, r)) // again
	j = f.job(b.JobID)
	equal(t, "job", j.Status, "cancelled")
	equal(t, "attempt", j.Attempts[0].Status, "cancelled")
	equal(t, "cancellations", len(must[[]controller.CancelDue](t)(f.CancelsDue(ctx))), 0)

	b = f.order("app")
	o = f.started(a)
	f.uploaded(a, o)
	_, err = f.CancelBackup(ctx, f.admin, b.ID, "")
	f.refused(err, controller.EConflict, "at its end")
	must[[]controller.Finishing](t)(f.ClaimFinishing(ctx, 1))
	f.ok(f.CompleteBackup(ctx, o.Attempt, finished(o)))
	_, err = f.CancelBackup(ctx, f.admin, b.ID, "")
	f.refused(err, controller.EConflict, "completed")
}

func TestRestores(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app", "taken")
	b := f.completed(a, "app")
	ask := func(r controller.RestoreRequest) error { return second(f.CreateRestore(ctx, f.admin, r)) }
	f.refused(ask(controller.RestoreRequest{Backup: 99}), controller.ENotFound, "99")
	f.refused(ask(controller.RestoreRequest{Backup: b.ID}), controller.EConflict, "own database", "--to-database", "--in-place")
	// A database that is gone is restored under its own name.
	f.ok(f.Inventory(ctx, a.AgentID, a.session, wire.Inventory{Hash: "gone", Last: true, Instances: []wire.Instance{instance("main")}}))
	gone := must[controller.Restore](t)(f.CreateRestore(ctx, f.admin, controller.RestoreRequest{Backup: b.ID}))
	equal(t, "target", gone.DatabaseName, "app")
	must[controller.Job](t)(f.CancelRestore(ctx, f.admin, gone.ID, ""))
	f.refused(ask(controller.RestoreRequest{Backup: b.ID, Database: "x", Server: "nowhere"}), controller.ENotFound, `"nowhere"`)
	f.refused(ask(controller.RestoreRequest{Backup: b.ID, Database: "x", Instance: "nope"}), controller.EInvalid, "instance", "main")
	other := f.enrol("db-8")
	f.hello(other)
	f.refused(ask(controller.RestoreRequest{Backup: b.ID, Database: "x", Server: "db-8"}), controller.EConflict, `"db-8" is not granted`)
	f.ok(f.GrantServer(ctx, f.admin, "shop", "db-8"))
	f.refused(ask(controller.RestoreRequest{Backup: b.ID, Server: "db-8"}), controller.EConflict, "no postgresql instance")
	inv := wire.Inventory{Hash: "1", Last: true, Instances: []wire.Instance{instance("a"), {Name: "b", Engine: "postgresql"}, {Name: "m", Engine: "mysql", Restore: true}}}
	f.ok(f.Inventory(ctx, other.AgentID, other.session, inv))
	f.refused(ask(controller.RestoreRequest{Backup: b.ID, Server: "db-8"}), controller.EInvalid, "several", "a, b")
	f.refused(ask(controller.RestoreRequest{Backup: b.ID, Server: "db-8", Instance: "b"}), controller.EConflict, "does not allow restores")
	f.refused(ask(controller.RestoreRequest{Backup: b.ID, Server: "db-8", Instance: "m"}), controller.EInvalid, "instance")
	r := must[controller.Restore](t)(f.CreateRestore(ctx, f.admin, controller.RestoreRequest{Backup: b.ID, Server: "db-8", Instance: "a"}))
	if r.DatabaseName != "app" || r.Server != "db-8" || r.Instance != "a" || r.Status != "pending" || r.BackupID != b.ID || r.Project != "shop" || r.JobStatus != "queued" {
		t.Fatalf("restore is %+v", r)
	}
	f.refused(ask(controller.RestoreRequest{Backup: b.ID, Server: "db-8", Instance: "a"}), controller.EConflict, "another restore")
	must[controller.Job](t)(f.CancelRestore(ctx, f.admin, r.ID, ""))
	equal(t, "restore", must[controller.Restore](t)(f.Restore(ctx, f.admin, r.ID)).Status, "failed")

	r = must[controller.Restore](t)(f.CreateRestore(ctx, f.admin, controller.RestoreRequest{Backup: b.ID, Database: "copy"}))
	o := f.started(a)
	if o.Kind != "restore" || o.Restore == nil || o.Restore.ID != r.ID || o.Restore.DatabaseName != "copy" || len(o.Objects) != 3 || o.Objects[0].Object != "artifact" || len(o.Recipients) != 1 || o.Storage.Credentials.AccessKey != "ak" || o.Key != "" {
		t.Fatalf("offer is %+v", o)
	}
	target := must[controller.ReadTarget](t)(f.SignRead(ctx, a.AgentID, a.session, wire.ReadRequest{Attempt: o.Attempt, Object: "artifact", Offset: 10, Length: 5}))
	if target.StorageID != b.StorageID || target.Object.Key != b.FilePath || target.Object.ETag == "" {
		t.Fatalf("target is %+v", target)
	}
	for what, req := range map[string]wire.ReadRequest{
		"past the end": {Object: "artifact", Offset: *b.FileSize - 1, Length: 2}, "negative": {Object: "artifact", Offset: -1, Length: 2}, "nothing": {Object: "artifact"},
		"overflow": {Object: "artifact", Offset: 5, Length: 1<<63 - 1}, "manifest": {Object: "manifest", Length: 1}, "globals": {Object: "globals", Length: 1}, "odd": {Object: "../x", Length: 1},
	} {
		req.Attempt = o.Attempt
		if _, err := f.SignRead(ctx, a.AgentID, a.session, req); !wire.HasCode(err, wire.CodeBadRequest) {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := f.SignPart(ctx, a.AgentID, a.session, partRequest(o, 1, 5), time.Minute)
	f.failure(err, wire.CodeBadRequest)
	done := wire.Report{Attempt: o.Attempt, Outcome: wire.OutcomeRestored, Read: readResult(b), Restored: &wire.RestoreResult{Database: "copy", Tables: 3, Rows: 9, Compared: true}}
	f.ok(f.ReportDone(ctx, a.AgentID, a.session, done))
	f.ok(f.ReportDone(ctx, a.AgentID, a.session, done))
	r = must[controller.Restore](t)(f.Restore(ctx, f.admin, r.ID))
	var result wire.RestoreResult
	f.ok(json.Unmarshal(r.Result, &result))
	if r.Status != "completed" || r.CompletedAt == nil || result.Rows != 9 || !result.Compared || r.JobStatus != "completed" {
		t.Fatalf("restore is %+v", r)
	}
	equal(t, "restores", len(must[[]controller.Restore](t)(f.Restores(ctx, f.admin, controller.RestoreFilter{Project: "shop"}))), 3)
	equal(t, "restores before", len(must[[]controller.Restore](t)(f.Restores(ctx, f.admin, controller.RestoreFilter{BeforeID: r.ID}))), 2)

	// A restore that read other bytes than the backup's has failed, whatever its agent says.
	r = must[controller.Restore](t)(f.CreateRestore(ctx, f.admin, controller.RestoreRequest{Backup: b.ID, Database: "copy2"}))
	o = f.started(a)
	read := readResult(b)
	read.StoredSHA256 = strings.Repeat("0", 64)
	f.ok(f.ReportDone(ctx, a.AgentID, a.session, wire.Report{Attempt: o.Attempt, Outcome: wire.OutcomeRestored, Read: read, Restored: &wire.RestoreResult{}}))
	r = must[controller.Restore](t)(f.Restore(ctx, f.admin, r.ID))
	equal(t, "restore", r.Status, "failed")
	equal(t, "code", *r.ErrorCode, wire.CodeChecksum)
}

func TestVerify(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app", "crm")
	b := f.completed(a, "app")
	ask := func(level string) controller.Job {
		t.Helper()
		jobs := must[[]controller.Job](t)(f.CreateVerify(ctx, f.admin, controller.VerifyRequest{Backup: b.ID, Level: level}))
		equal(t, "jobs", len(jobs), 1)
		return jobs[0]
	}
	run := func(level string, who *agent, r wire.Report) controller.Backup {
		t.Helper()
		j := ask(level)
		equal(t, "server", j.Server, who.Name)
		equal(t, "the same job again", ask(level).ID, j.ID)
		o := f.started(who)
		if o.Kind != "verify" || o.Level != level || o.Backup.ID != b.ID || len(o.Objects) != 3 || len(o.Recipients) != 1 {
			t.Fatalf("offer is %+v", o)
		}
		r.Attempt = o.Attempt
		f.ok(f.ReportDone(ctx, who.AgentID, who.session, r))
		f.ok(f.ReportDone(ctx, who.AgentID, who.session, r))
		return f.backup(b.ID)
	}
	good := wire.Report{Outcome: wire.OutcomeVerified, Read: readResult(b)}
	sumOnly := wire.Report{Outcome: wire.OutcomeVerified, Read: &wire.ReadResult{StoredSize: *b.FileSize, StoredSHA256: *b.Checksum}}

	got := run("checksum", a, sumOnly)
	if got.VerifiedAt == nil || *got.VerifiedLevel != "checksum" || !got.VerifiedByHost {
		t.Fatalf("backup is %+v", got)
	}
	// Content by the host itself is shown as such; a verifier takes that away.
	got = run("content", a, good)
	if *got.VerifiedLevel != "content" || !got.VerifiedByHost {
		t.Fatalf("backup is %+v", got)
	}
	v := f.enrol("verifier")
	f.hello(v)
	f.ok(f.GrantServer(ctx, f.admin, "shop", "verifier"))
	must[controller.Server](t)(f.SetVerifier(ctx, f.admin, "verifier", true))
	got = run("content", v, good)
	if *got.VerifiedLevel != "content" || got.VerifiedByHost {
		t.Fatalf("backup is %+v", got)
	}
	got = run("checksum", a, sumOnly)
	if *got.VerifiedLevel != "content" || got.VerifiedByHost {
		t.Fatalf("a checksum took the content verification away: %+v", got)
	}
	// What says nothing about the artifact changes nothing about it.
	got = run("checksum", a, fails(wire.CodeStorageUnavailable))
	if got.Health != "ok" || got.VerifiedAt == nil {
		t.Fatalf("backup is %+v", got)
	}
	got = run("checksum", a, fails(wire.CodeMissing))
	if got.Health != "missing" || got.VerifiedAt != nil || got.VerifiedLevel != nil || got.Restorable() {
		t.Fatalf("backup is %+v", got)
	}
	got = run("checksum", a, sumOnly)
	if got.Health != "ok" || got.VerifiedAt == nil || *got.VerifiedLevel != "checksum" {
		t.Fatalf("backup is %+v", got)
	}
	// Corrupt by content: a checksum does not clear it, content does.
	got = run("content", v, fails(wire.CodeCorrupt))
	equal(t, "health", got.Health, "corrupt")
	got = run("checksum", a, sumOnly)
	if got.Health != "corrupt" || got.VerifiedAt != nil {
		t.Fatalf("backup is %+v", got)
	}
	got = run("content", v, good)
	equal(t, "health", got.Health, "ok")
	// An agent that read other bytes proves damage, whatever it says; so does one without the dump's checksum not prove content.
	bad := *readResult(b)
	bad.StoredSHA256 = strings.Repeat("0", 64)
	got = run("checksum", a, wire.Report{Outcome: wire.OutcomeVerified, Read: &bad})
	equal(t, "health", got.Health, "corrupt")
	got = run("content", v, sumOnly)
	equal(t, "health", got.Health, "corrupt")
	equal(t, "verifications", f.sql("SELECT count(*) FILTER (WHERE ok) || '/' || count(*) FILTER (WHERE NOT ok) FROM verifications"), "7/3")

	// The source is offline: another online server reads the checksum.
	f.sql("UPDATE servers SET last_seen_at = now() - interval '1 hour' WHERE id = %d", a.ID)
	j := ask("checksum")
	equal(t, "server", j.Server, "verifier")
	must[controller.Job](t)(f.CancelJob(ctx, f.admin, j.ID, ""))
	// Content needs a key, which no other server gets that is not a verifier: it waits for its own.
	must[controller.Server](t)(f.SetVerifier(ctx, f.admin, "verifier", false))
	j = ask("content")
	equal(t, "server", j.Server, "db-7")
	must[controller.Job](t)(f.CancelJob(ctx, f.admin, j.ID, ""))
	f.helloAgain(a)

	// All that were never verified; all of a project.
	b2 := f.completed(a, "crm")
	jobs := must[[]controller.Job](t)(f.CreateVerify(ctx, f.admin, controller.VerifyRequest{All: true}))
	equal(t, "unverified", len(jobs), 2)
	must[controller.Job](t)(f.CancelJob(ctx, f.admin, jobs[0].ID, ""))
	o := f.started(a)
	f.ok(f.ReportDone(ctx, a.AgentID, a.session, wire.Report{Attempt: o.Attempt, Outcome: wire.OutcomeVerified, Read: readResult(b2)}))
	equal(t, "unverified", len(must[[]controller.Job](t)(f.CreateVerify(ctx, f.admin, controller.VerifyRequest{All: true}))), 1)
	equal(t, "of the project", len(must[[]controller.Job](t)(f.CreateVerify(ctx, f.admin, controller.VerifyRequest{Project: "shop"}))), 2)
	pending := f.order("app")
	_, err := f.CreateVerify(ctx, f.admin, controller.VerifyRequest{Backup: pending.ID})
	f.refused(err, controller.EConflict, "pending")
	_, err = f.CreateVerify(ctx, f.admin, controller.VerifyRequest{})
	f.refused(err, controller.EInvalid)
}
