package catalog_test

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/catalog"
	"devflowbackup/shared/wire"
)

// replacement makes a token by which a host takes a server's place.
func (f *fix) replacement(name string) (token []byte, e controller.Enrolment) {
	f.Helper()
	token = hash(wire.NewID())
	e = must[controller.Enrolment](f)(f.CreateEnrolment(f.Context(), f.admin, controller.EnrolmentSpec{ServerName: name, Replace: true, TTL: time.Minute}, token))
	return token, e
}

// replace has a new host take a server's place.
func (f *fix) replace(a *agent) *agent {
	f.Helper()
	token, _ := f.replacement(a.Name)
	return &agent{Server: must[controller.Server](f)(f.Enrol(f.Context(), token, newAgent(f)))}
}

// What a host held when another one took its place: what it ran is lost and begun anew, what it had uploaded whole is completed with its
// own keys, what lies in its directory alone is lost with it.
func TestReplace_attempts(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	_, a := f.world("running", "uploaded", "local", "queued")
	a.dir = "/srv/backups"
	f.helloAgain(a)
	f.localStorage("host", false)
	take := func(req controller.BackupRequest) controller.Offer {
		must[[]controller.BackupOutcome](t)(f.CreateBackups(ctx, f.admin, req))
		return f.started(a)
	}
	uploaded := take(controller.BackupRequest{Database: "uploaded"})
	f.uploaded(a, uploaded)
	running := take(controller.BackupRequest{Database: "running"})
	local := take(controller.BackupRequest{Database: "local", Storage: "host"})
	f.uploaded(a, local)
	queued := f.order("queued")
	old := a.Server

	b := f.replace(a)
	if b.ID != old.ID || b.AgentID != old.AgentID || b.NKey == old.NKey || bytes.Equal(b.SigningKey, old.SigningKey) || b.Recipient == old.Recipient || b.Session != "" || b.Online {
		t.Fatalf("it was %+v and is %+v", old, b.Server)
	}
	for _, c := range []struct {
		what    string
		o       controller.Offer
		attempt string
		job     string
	}{
		{"running", running, controller.AttemptLost, controller.JobQueued},
		{"on the host alone", local, controller.AttemptLost, controller.JobQueued},
		{"uploaded", uploaded, controller.AttemptUploaded, controller.JobFinishing},
	} {
		j := f.job(c.o.Attempt.Job)
		if j.Status != c.job || len(j.Attempts) != 1 || j.Attempts[0].Status != c.attempt {
			t.Errorf("%s: %s, %+v", c.what, j.Status, j.Attempts)
		}
		if c.attempt == controller.AttemptLost && (j.Attempts[0].Failure.Code != wire.CodeLost || !strings.Contains(j.Attempts[0].Failure.Message, "replaced")) {
			t.Errorf("%s: %+v", c.what, j.Attempts[0].Failure)
		}
	}
	equal(t, "status of the job that waited", f.job(queued.JobID).Status, controller.JobQueued)
	must[controller.Job](t)(f.CancelJob(ctx, f.admin, queued.JobID, "not needed any more"))

	work := must[[]controller.Finishing](t)(f.ClaimFinishing(ctx, 5))
	if len(work) != 1 || work[0].Attempt != uploaded.Attempt || work[0].Server.NKey != old.NKey || !bytes.Equal(work[0].Server.SigningKey, old.SigningKey) || work[0].Server.AgentID != old.AgentID {
		t.Fatalf("to finish: %+v", work)
	}
	f.ok(f.CompleteBackup(ctx, uploaded.Attempt, finished(uploaded)))

	// The old one says nothing that counts, under its session, a new one, or none that the broker vouches for.
	for _, session := range []string{a.session, wire.NewID()} {
		for _, key := range []string{old.NKey, ""} {
			_, _, err := f.Hello(ctx, old.AgentID, key, session, wire.Hello{Protocol: 1, Attempts: []wire.Attempt{running.Attempt}})
			f.failure(err, wire.CodeRevoked)
		}
	}
	f.failure(f.ReportUploaded(ctx, a.AgentID, a.session, f.uploadReport(running)), wire.CodeSuperseded)
	_, err := f.SignPart(ctx, a.AgentID, a.session, partRequest(running, 1, 5), time.Minute)
	f.failure(err, wire.CodeSuperseded)
	f.failure(f.Inventory(ctx, a.AgentID, a.session, wire.Inventory{Hash: "h", Last: true}), wire.CodeSuperseded)
	beaten := must[[]wire.Attempt](t)(f.Heartbeats(ctx, []controller.AgentBeat{{AgentID: a.AgentID, Session: a.session, Running: []wire.Progress{{Attempt: running.Attempt}}}}))
	if len(beaten) != 1 || must[controller.Server](t)(f.Server(ctx, f.admin, "db-7")).Online {
		t.Errorf("a heartbeat of the old host: %+v", beaten)
	}
	if n := f.sql("SELECT count(*) FROM security_events WHERE kind = 'revoked_server'"); strings.TrimSpace(n) != "1" {
		t.Errorf("%s events", n)
	}

	// The new one is asked for its inventory and gets the work.
	if res := f.hello(b); !res.WantInventory || res.Superseded || len(res.Lost)+len(res.Drop) != 0 {
		t.Errorf("welcomed with %+v", res)
	}
	f.ok(f.Inventory(ctx, b.AgentID, b.session, wire.Inventory{Hash: "x", Last: true, Instances: []wire.Instance{instance("main")}, Databases: []wire.Database{
		{Instance: "main", Engine: wire.EnginePostgreSQL, Name: "running"}, {Instance: "main", Engine: wire.EnginePostgreSQL, Name: "uploaded"},
	}}))
	dbs := must[[]controller.Database](t)(f.Databases(ctx, f.admin, controller.DatabaseFilter{Project: "shop"}))
	equal(t, "databases", len(dbs), 4)
	eventually(t, "the lost one is offered to it", func() bool {
		for _, o := range must[[]controller.Offer](t)(f.ClaimOffers(ctx, 10)) {
			if o.Attempt.Job == running.Attempt.Job {
				return o.Attempt.No == 2 && o.Server.Recipient == b.Recipient && o.Server.Session == b.session
			}
		}
		return false
	})
	if rows := f.sql("SELECT count(*) FROM audit_log WHERE action = 'server.replace' AND subject = 'db-7' AND detail->>'agent_id' = '%s'", old.AgentID); strings.TrimSpace(rows) != "1" {
		t.Errorf("%s audit rows", rows)
	}
}

// What was stated before a host was replaced is held against the keys of that time, however many came after it.
func TestReplace_finishing(t *testing.T) {
	t.Parallel()
	f := open(t)
	_, a := f.world("one", "two")
	hosts, uploads := []*agent{a}, map[int64]controller.Server{}
	for _, database := range []string{"one", "two"} {
		h := hosts[len(hosts)-1]
		f.order(database)
		o := f.started(h)
		f.uploaded(h, o)
		uploads[o.Attempt.Job] = h.Server
		next := f.replace(h)
		f.hello(next)
		hosts = append(hosts, next)
	}
	work := must[[]controller.Finishing](t)(f.ClaimFinishing(t.Context(), 5))
	equal(t, "uploads to finish", len(work), 2)
	for _, w := range work {
		if made := uploads[w.Attempt.Job]; !bytes.Equal(w.Server.SigningKey, made.SigningKey) || w.Server.NKey != made.NKey {
			t.Errorf("job %d is finished by the keys of %s, made by %s", w.Attempt.Job, w.Server.NKey, made.NKey)
		}
	}
	want := []string{hosts[0].NKey, hosts[1].NKey}
	slices.Sort(want)
	if keys := must[[]string](t)(f.RevokedKeys(t.Context(), a.ID)); !slices.Equal(keys, want) {
		t.Errorf("revoked keys %q, want %q", keys, want)
	}
	f.enrol("db-8")
	must[controller.Server](t)(f.RevokeServer(t.Context(), f.admin, "db-8"))
	equal(t, "revoked keys of all", len(must[[]string](t)(f.RevokedKeys(t.Context(), 0))), 3)
}

// A server that was revoked comes back as itself, with its grants, databases and backups.
func TestReplace_revoked(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app")
	b := f.completed(a, "app")
	must[controller.Server](t)(f.RevokeServer(ctx, f.admin, "db-7"))
	_, err := f.CreateBackups(ctx, f.admin, controller.BackupRequest{Database: "app"})
	f.refused(err, controller.EConflict, "revoked", "--replace")
	again := f.replace(a)
	if again.RevokedAt != nil || len(again.Projects) != 1 {
		t.Fatalf("server is %+v", again.Server)
	}
	f.hello(again)
	f.found(again, "app")
	if c := f.completed(again, "app"); c.DatabaseID != b.DatabaseID || c.ServerID != b.ServerID {
		t.Errorf("%+v after %+v", c, b)
	}
	must[[]controller.Job](t)(f.CreateVerify(ctx, f.admin, controller.VerifyRequest{Backup: b.ID}))
}

func TestReplace_refused(t *testing.T) {
	t.Parallel()
	f := open(t)
	ctx := t.Context()
	p := f.project("shop")
	a := f.enrol("db-7", p)
	ask := func(actor controller.Actor, spec controller.EnrolmentSpec) error {
		spec.TTL = time.Minute
		_, err := f.CreateEnrolment(ctx, actor, spec, hash(wire.NewID()))
		return err
	}
	f.refused(ask(f.admin, controller.EnrolmentSpec{ServerName: "db-9", Replace: true}), controller.ENotFound, "db-9")
	f.refused(ask(f.admin, controller.EnrolmentSpec{ServerName: "db-7"}), controller.EConflict, "db-7", `devflowctl server token "db-7" --replace`)
	f.refused(ask(f.admin, controller.EnrolmentSpec{ServerName: "db-7", Replace: true, Project: "shop"}), controller.EInvalid, "replace")
	f.refused(ask(f.admin, controller.EnrolmentSpec{ServerName: "db-7", Replace: true, Verifier: true}), controller.EInvalid, "replace")
	f.refused(ask(only(p), controller.EnrolmentSpec{ServerName: "db-7", Replace: true}), controller.EForbidden)

	// Keys that a server has or had.
	token, e := f.replacement("db-7")
	if e.Replaces == nil || *e.Replaces != a.ID || e.ServerName != "db-7" {
		t.Fatalf("token %+v", e)
	}
	same := newAgent(f)
	same.NKey = a.NKey
	_, err := f.Enrol(ctx, token, same)
	f.refused(err, controller.EConflict, "keys")
	b := must[controller.Server](t)(f.Enrol(ctx, token, newAgent(f)))
	token, _ = f.replacement("db-7")
	_, err = f.Enrol(ctx, token, same)
	f.refused(err, controller.EConflict, "keys")
	if now := must[controller.Server](t)(f.Server(ctx, f.admin, "db-7")); now.NKey != b.NKey {
		t.Errorf("a refused host took the place: %+v", now)
	}

	// A name that another server has now.
	must[controller.Server](t)(f.RevokeServer(ctx, f.admin, "db-7"))
	f.enrol("db-7")
	f.refused(ask(f.admin, controller.EnrolmentSpec{ServerName: a.AgentID, Replace: true}), controller.EConflict, "db-7")
	_, err = f.Enrol(ctx, token, newAgent(f))
	f.refused(err, controller.EConflict, "db-7")

	// A token that has expired, one of a name that is free: as ever.
	token, _ = f.replacement("db-7")
	f.sql("UPDATE enrolment_tokens SET expires_at = now() - interval '1 second' WHERE used_at IS NULL")
	_, err = f.Enrol(ctx, token, newAgent(f))
	f.refused(err, controller.EUnauthorized, "expired")
}

// Fault 85: of hosts that race for a place exactly one gets it, and may ask again.
func TestReplace_race(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.enrol("db-7")
	token, _ := f.replacement("db-7")
	catalogs := []*catalog.Catalog{f.Catalog, f.another("two")}
	var mu sync.Mutex
	var won []controller.NewServer
	var wg sync.WaitGroup
	for i := range 8 {
		n := newAgent(t)
		wg.Go(func() {
			s, err := catalogs[i%2].Enrol(t.Context(), token, n)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && s.NKey == n.NKey:
				won = append(won, n)
			case controller.ErrorCode(err) != controller.EUnauthorized:
				t.Errorf("%+v, %v", s, err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d hosts took the place", len(won))
	}
	s := must[controller.Server](t)(f.Enrol(t.Context(), token, won[0]))
	equal(t, "the same host asks again", s.NKey, won[0].NKey)
	if n := f.sql("SELECT count(*) FROM server_keys"); strings.TrimSpace(n) != "1" {
		t.Errorf("replaced %s times", n)
	}
}
