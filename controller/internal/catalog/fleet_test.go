package catalog_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/catalog"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

func TestBackup_ToTheEnd(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	p, a := f.world("app")
	b := f.order("app")
	o := f.offer()
	if o.Kind != "backup" || o.Server.AgentID != a.AgentID || o.Server.Session != a.session || o.ProjectID != p.ID || o.Backup.ID != b.ID || o.DatabaseName != "app" ||
		!artifact.ValidAttemptID(o.AttemptID) || o.UploadID != "" || o.PartSize != 8<<20 || !slices.Equal(o.Recipients, []string{p.AgeRecipient}) || o.MaxDuration != time.Hour ||
		o.Storage == nil || o.Storage.Credentials.SecretKey.Reveal() != "sk-canary" || o.Storage.ChecksumMode != "sha256" || len(o.Attempt.Token) != 32 || o.Attempt.No != 1 {
		t.Fatalf("offer is %+v", o)
	}
	if !strings.HasPrefix(o.Key, "pre/s3/backups/") || !strings.Contains(o.Key, "/app_") || !strings.HasSuffix(o.Key, "_"+o.AttemptID+".dump.zst.age") {
		t.Fatalf("key is %q", o.Key)
	}
	got := f.backup(b.ID)
	if got.Status != "running" || got.StartedAt == nil || got.JobStatus != "running" || got.Attempt != 1 || got.FilePath != "" {
		t.Fatalf("backup is %+v", got)
	}
	equal(t, "offers", len(must[[]controller.Offer](t)(f.ClaimOffers(ctx, 5))), 0)

	equal(t, "upload", must[string](t)(f.SetUpload(ctx, o.Attempt, "u1")), "u1")
	equal(t, "upload of a second one", must[string](t)(f.SetUpload(ctx, o.Attempt, "u2")), "u1")
	f.ok(f.AttemptAccepted(ctx, o.Attempt, a.session))
	f.ok(f.AttemptAccepted(ctx, o.Attempt, a.session))
	ordered := must[*controller.Ordered](t)(f.AttemptOrder(ctx, a.AgentID, a.session, o.Attempt))
	if ordered.AttemptID != o.AttemptID || ordered.Key != o.Key || ordered.UploadID != "u1" || ordered.PartSize != o.PartSize || ordered.Checksum != "sha256" || ordered.Backup.ID != b.ID ||
		ordered.Server.ID != a.ID || ordered.Codec.Compression != "zstd" || ordered.Codec.Encryption != "age" || !slices.Equal(ordered.Codec.Recipients, o.Recipients) || ordered.StorageID != b.StorageID {
		t.Fatalf("order is %+v", ordered)
	}
	f.uploaded(a, o)
	f.ok(f.ReportUploaded(ctx, a.AgentID, a.session, f.uploadReport(o))) // its answer was lost
	j := f.job(b.JobID)
	if j.Status != "finishing" || j.Attempts[0].Status != "uploaded" || j.Attempts[0].Log != "pg_dump: ok" || j.Attempts[0].Millis["dump"] != 5 {
		t.Fatalf("job is %+v", j)
	}
	work := must[[]controller.Finishing](t)(f.ClaimFinishing(ctx, 5))
	equal(t, "to finish", len(work), 1)
	w := work[0]
	if w.Attempt != o.Attempt || w.Backup.ID != b.ID || w.Project.ID != p.ID || w.Server.ID != a.ID || w.Key != o.Key || w.UploadID != "u1" || w.PartSize != o.PartSize || w.Checksum != "sha256" || w.StorageID != b.StorageID ||
		string(w.Statement) != string(f.uploadReport(o).Statement) || w.Tries != 0 || time.Since(w.ReceivedAt) > time.Minute || len(w.Parts) != 2 ||
		w.Parts[0].Number != 1 || w.Parts[0].Size != o.PartSize || w.Parts[0].ETag != `"e1"` || len(w.Parts[0].SHA256) != 32 || w.Parts[1].Size != 77 {
		t.Fatalf("work is %+v", w)
	}
	equal(t, "to finish", len(must[[]controller.Finishing](t)(f.another("two").ClaimFinishing(ctx, 5))), 0)
	f.ok(f.ExtendClaim(ctx, o.Attempt))
	fin := finished(o)
	f.ok(f.CompleteBackup(ctx, o.Attempt, fin))
	f.ok(f.CompleteBackup(ctx, o.Attempt, fin)) // the commit's answer was lost
	got = f.backup(b.ID)
	if got.Status != "completed" || got.CompletedAt == nil || got.FilePath != o.Key || got.FileName != fin.FileName || *got.FileSize != o.PartSize+77 || *got.RawSize != 100 ||
		*got.Checksum != fin.Objects[0].StoredSHA256 || *got.RawChecksum != fin.Objects[0].RawSHA256 || string(got.Metadata) != `{"tables_count": 3}` || !got.Restorable() || got.Waiting != "" {
		t.Fatalf("backup is %+v", got)
	}
	j = f.job(b.JobID)
	if j.Status != "completed" || j.EndedAt == nil || j.Attempts[0].Status != "completed" || j.Failure != nil {
		t.Fatalf("job is %+v", j)
	}
	equal(t, "parts left", f.sql("SELECT count(*) FROM upload_parts"), "0")
	// Late and repeated messages change nothing. Fault 19.
	f.ok(f.ReportUploaded(ctx, a.AgentID, a.session, f.uploadReport(o)))
	f.failure(f.ExtendClaim(ctx, o.Attempt), wire.CodeStale)
	f.failure(f.FailFinish(ctx, o.Attempt, wire.Failf(wire.CodeChecksum, "no")), wire.CodeStale)
	f.failure(f.FailOffer(ctx, o.Attempt, wire.Failf(wire.CodeBusy, "no")), wire.CodeStale)
	_, err := f.SignPart(ctx, a.AgentID, a.session, partRequest(o, 3, 5), time.Minute)
	f.failure(err, wire.CodeStale)
	stale := must[[]wire.Attempt](t)(f.Heartbeats(ctx, []controller.AgentBeat{{AgentID: a.AgentID, Session: a.session, Running: []wire.Progress{{Attempt: o.Attempt, Stage: "dump"}}}}))
	equal(t, "stale", len(stale), 1)
	if after := f.backup(b.ID); after.Status != "completed" || after.Progress != nil {
		t.Fatalf("backup is %+v", after)
	}
	equal(t, "dead uploads", len(must[[]controller.DeadUpload](t)(f.DeadUploads(ctx, 5))), 0)
}

func TestClaimOffers_Workers(t *testing.T) {
	f := open(t)
	const servers, each = 50, 10
	// 500 queued jobs on 50 servers that run 10 at once.
	p := f.project("shop")
	st := f.storage("s3", true)
	for i := range servers {
		a := f.enrol(fmt.Sprintf("db-%d", i), p)
		f.hello(a)
	}
	f.sql("UPDATE servers SET concurrency = %d", each)
	f.sql(`INSERT INTO databases (server_id, instance, engine, name, project_id) SELECT s.id, 'main', 'postgresql', 'd' || i, %d FROM servers s, generate_series(1, %d) i`, p.ID, each)
	f.sql(`INSERT INTO database_backups (project_id, server_id, database_id, storage_id, instance, database_type, database_name, type, compression, encryption, storage_disk)
		SELECT project_id, server_id, id, %d, 'main', 'postgresql', name, 'manual', 'zstd', 'age', 's3' FROM databases`, st.ID)
	f.sql(`INSERT INTO jobs (kind, project_id, server_id, backup_id, max_duration_seconds, max_attempts, deadline_at)
		SELECT 'backup', project_id, server_id, id, 3600, 3, now() + interval '1 day' FROM database_backups`)
	var mu sync.Mutex
	seen := map[int64]int{}
	var wg sync.WaitGroup
	for i := range 8 {
		c := f.another(fmt.Sprint("worker", i))
		wg.Go(func() {
			for {
				offers, err := c.ClaimOffers(t.Context(), 25)
				if err != nil {
					t.Error(err)
					return
				}
				if len(offers) == 0 {
					return
				}
				mu.Lock()
				for _, o := range offers {
					seen[o.Attempt.Job]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	equal(t, "jobs claimed", len(seen), servers*each)
	for job, n := range seen {
		if n != 1 {
			t.Errorf("job %d was claimed %d times", job, n)
		}
	}
	equal(t, "most attempts on one server", f.sql("SELECT max(n) FROM (SELECT count(*) n FROM attempts GROUP BY server_id) x"), fmt.Sprint(each))
}

func TestClaimOffers_Limits(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	_, a := f.world("d1", "d2", "d3")
	must[[]controller.BackupOutcome](t)(f.CreateBackups(ctx, f.admin, controller.BackupRequest{}))
	// Two controllers at once: the server's limit of two holds.
	two := f.another("two")
	var wg sync.WaitGroup
	var mu sync.Mutex
	var offers []controller.Offer
	for _, c := range []*catalog.Catalog{f.Catalog, two, f.Catalog, two} {
		wg.Go(func() {
			got, err := c.ClaimOffers(ctx, 10)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			offers = append(offers, got...)
			mu.Unlock()
		})
	}
	wg.Wait()
	equal(t, "offers", len(offers), 2)
	equal(t, "why the third waits", waiting(f, 3), "db-7 already runs 2 jobs")

	// Offline: nothing is dispatched, and the job says since when.
	f.sql("UPDATE attempts SET status = 'lost'; UPDATE jobs SET status = 'failed' WHERE status = 'running'; UPDATE servers SET last_seen_at = '2026-01-02 03:04:05Z'")
	equal(t, "offers", len(must[[]controller.Offer](t)(f.ClaimOffers(ctx, 10))), 0)
	equal(t, "why it waits", waiting(f, 3), "the agent on db-7 is offline since 2026-01-02 03:04:05 UTC")
	f.helloAgain(a)
	f.sql("UPDATE jobs SET not_before = now() + interval '1 hour' WHERE status = 'queued'")
	equal(t, "offers before the time", len(must[[]controller.Offer](t)(f.ClaimOffers(ctx, 10))), 0)
	f.sql("UPDATE jobs SET not_before = now() WHERE status = 'queued'")
	equal(t, "offers", len(must[[]controller.Offer](t)(f.ClaimOffers(ctx, 10))), 1)
	equal(t, "why it waits", waiting(f, 3), "")
}

func waiting(f *fix, database int) string {
	f.Helper()
	return f.sql("SELECT waiting FROM jobs j JOIN database_backups b ON b.id = j.backup_id WHERE b.database_name = 'd%d'", database)
}

func TestOffer_Redelivery(t *testing.T) { // fault 25: crashes between commit, publish and mark
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app")
	b := f.order("app")
	o := f.offer()
	two := f.another("two")
	equal(t, "offers while it is being delivered", len(must[[]controller.Offer](t)(two.ClaimOffers(ctx, 5))), 0)
	f.ok(two.ReleaseOffer(ctx, o.Attempt, 0, "not mine")) // only the claimer releases
	equal(t, "offers while it is being delivered", len(must[[]controller.Offer](t)(two.ClaimOffers(ctx, 5))), 0)
	must[string](t)(f.SetUpload(ctx, o.Attempt, "u1"))
	f.ok(f.ReleaseOffer(ctx, o.Attempt, time.Hour, "the agent is busy"))
	equal(t, "why it waits", f.backup(b.ID).Waiting, "the agent is busy")
	equal(t, "offers before the delay is over", len(must[[]controller.Offer](t)(two.ClaimOffers(ctx, 5))), 0)
	f.sql("UPDATE jobs SET claim_until = now() - interval '1 second'")
	f.hello(a) // restarted, and knows nothing of it
	again := must[[]controller.Offer](t)(two.ClaimOffers(ctx, 5))
	if len(again) != 1 || again[0].Attempt != o.Attempt || again[0].Key != o.Key || again[0].UploadID != "u1" || again[0].Server.Session != a.session {
		t.Fatalf("offers are %+v", again)
	}
	// The session that the first delivery went to is gone; the attempt is not ended by that.
	f.refused(f.AttemptAccepted(ctx, o.Attempt, wire.NewID()), controller.EConflict)
	f.ok(two.AttemptAccepted(ctx, o.Attempt, a.session))
	equal(t, "why it waits", f.backup(b.ID).Waiting, "")
	f.failure(f.FailOffer(ctx, o.Attempt, wire.Failf(wire.CodeToolMissing, "late")), wire.CodeStale)
	equal(t, "attempts", f.sql("SELECT count(*) FROM attempts"), "1")
}

func TestOffer_AcceptedByItsFirstRequest(t *testing.T) {
	f := open(t)
	_, a := f.world("app")
	f.order("app")
	o := f.offer()
	must[string](t)(f.SetUpload(t.Context(), o.Attempt, "u"))
	must[controller.PartTarget](t)(f.SignPart(t.Context(), a.AgentID, a.session, partRequest(o, 1, 5), time.Minute))
	equal(t, "attempt", f.job(o.Attempt.Job).Attempts[0].Status, "running")
	f.ok(f.AttemptAccepted(t.Context(), o.Attempt, a.session))
	f.sql("UPDATE jobs SET claim_until = now() - interval '1 second'")
	equal(t, "offers", len(must[[]controller.Offer](t)(f.ClaimOffers(t.Context(), 5))), 0)
}

func TestFailOffer(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	f.world("app")
	b := f.order("app")
	o := f.offer()
	f.ok(f.FailOffer(ctx, o.Attempt, wire.Failf(wire.CodeStorageUnavailable, "503").Retry()))
	got := f.backup(b.ID)
	if got.Status != "pending" || got.JobStatus != "queued" || !strings.Contains(got.Waiting, "attempt 1 ended: 503") {
		t.Fatalf("backup is %+v", got)
	}
	var next controller.Offer
	eventually(t, "the next attempt is due", func() bool {
		offers := must[[]controller.Offer](t)(f.ClaimOffers(ctx, 5))
		if len(offers) == 1 {
			next = offers[0]
		}
		return len(offers) == 1
	})
	if next.Attempt.No != 2 || next.Attempt.Token == o.Attempt.Token || next.Key == o.Key || next.AttemptID == o.AttemptID {
		t.Fatalf("offer is %+v", next)
	}
	_, err := f.SetUpload(ctx, o.Attempt, "late")
	f.failure(err, wire.CodeStale)
	f.failure(f.AttemptAccepted(ctx, wire.Attempt{Job: o.Attempt.Job, No: 2, Token: o.Attempt.Token}, "s"), wire.CodeStale)
	f.ok(f.FailOffer(ctx, next.Attempt, wire.Failf(wire.CodeToolMissing, "no pg_dump").WithHint("install it").At("prepare")))
	got = f.backup(b.ID)
	if got.Status != "failed" || *got.ErrorCode != wire.CodeToolMissing || *got.ErrorMessage != "no pg_dump" || *got.ErrorHint != "install it" || got.JobStatus != "failed" {
		t.Fatalf("backup is %+v", got)
	}
	j := f.job(b.JobID)
	if len(j.Attempts) != 2 || j.Failure.Stage != "prepare" || j.Attempts[1].Failure.Code != wire.CodeToolMissing {
		t.Fatalf("job is %+v", j)
	}
}

func TestAttempts_Limit(t *testing.T) { // fault 8
	f := open(t)
	ctx := t.Context()
	f.world("app")
	b := f.order("app")
	for no := 1; no <= 3; no++ {
		var o controller.Offer
		eventually(t, "an offer", func() bool {
			offers := must[[]controller.Offer](t)(f.ClaimOffers(ctx, 5))
			if len(offers) == 1 {
				o = offers[0]
			}
			return len(offers) == 1
		})
		equal(t, "attempt", o.Attempt.No, no)
		f.ok(f.FailOffer(ctx, o.Attempt, wire.Failf(wire.CodeLost, "gone").Retry()))
	}
	equal(t, "backup", f.backup(b.ID).Status, "failed")
	// Neither is there another one past the deadline.
	b = f.order("app")
	o := f.offer()
	f.sql("UPDATE jobs SET deadline_at = now() - interval '1 second' WHERE id = %d", b.JobID)
	f.ok(f.FailOffer(ctx, o.Attempt, wire.Failf(wire.CodeLost, "gone").Retry()))
	equal(t, "backup", f.backup(b.ID).Status, "failed")
}

func TestSignPart(t *testing.T) {
	f := open(t, func(o *catalog.Options) { o.MinUploadLimit = 3*(8<<20) + 100 })
	ctx := t.Context()
	_, a := f.world("app")
	f.order("app")
	o := f.started(a)
	sign := func(req wire.PartRequest) error {
		return second(f.SignPart(ctx, a.AgentID, a.session, req, time.Minute))
	}
	target := must[controller.PartTarget](t)(f.SignPart(ctx, a.AgentID, a.session, partRequest(o, 2, o.PartSize), time.Minute))
	if target.Key != o.Key || target.UploadID != o.UploadID || target.PartSize != o.PartSize || target.Checksum != "sha256" || target.StorageID != o.Storage.ID {
		t.Fatalf("target is %+v", target)
	}
	signed := func() string { return f.sql("SELECT bytes_signed FROM attempts") }
	equal(t, "bytes", signed(), "8388608")
	f.ok(sign(partRequest(o, 2, o.PartSize)))
	equal(t, "bytes after the same part again", signed(), "8388608")
	other := partRequest(o, 2, o.PartSize)
	other.SHA256 = slices.Clone(other.SHA256)
	other.SHA256[0]++
	short := partRequest(o, 3, 10)
	short.SHA256 = short.SHA256[:31]
	for what, req := range map[string]wire.PartRequest{
		"other bytes": other, "number 0": partRequest(o, 0, 5), "number 10001": partRequest(o, 10001, 5), "too long": partRequest(o, 3, o.PartSize+1),
		"negative": partRequest(o, 3, -1), "empty": partRequest(o, 3, 0), "short before a part": partRequest(o, 1, 10), "checksum": short,
		"object": {Attempt: o.Attempt, Object: "manifest", SHA256: short.SHA256}, "empty ETag": {Attempt: o.Attempt, Object: "artifact", Number: 3, Size: 5, SHA256: other.SHA256, Done: []wire.PartDone{{Number: 2}}},
	} {
		if err := sign(req); !wire.HasCode(err, wire.CodeBadRequest) {
			t.Errorf("%s: %v", what, err)
		}
	}
	f.ok(sign(partRequest(o, 3, 90)))
	f.failure(sign(partRequest(o, 4, 5)), wire.CodeBadRequest) // after the short one
	f.ok(sign(partRequest(o, 1, o.PartSize)))
	side := partRequest(o, 0, 11)
	side.Object = wire.ObjectFingerprint
	sideTarget := must[controller.PartTarget](t)(f.SignPart(ctx, a.AgentID, a.session, side, time.Minute))
	equal(t, "key of the fingerprint", sideTarget.Key, o.Key+".fingerprint.json.zst.age")
	side.Object, side.Size = wire.ObjectGlobals, 16<<20+1
	f.failure(sign(side), wire.CodeBadRequest)
	side.Size = 16 << 20
	f.failure(sign(side), wire.CodeLimit)
	f.failure(f.ReportUploaded(ctx, a.AgentID, a.session, wire.Report{
		Attempt: o.Attempt, Outcome: "uploaded", Statement: statement(t, o, 3, 2*o.PartSize+90),
		Done: []wire.PartDone{{Number: 1, ETag: "1"}, {Number: 3, ETag: "3"}},
	}), wire.CodeStatement) // part 2 is not acknowledged
	for what, st := range map[string]json.RawMessage{"parts": statement(t, o, 2, 2*o.PartSize), "bytes": statement(t, o, 3, 2*o.PartSize+91), "none": statement(t, o, 0, 0), "nonsense": json.RawMessage(`{}`)} {
		r := wire.Report{Attempt: o.Attempt, Outcome: "uploaded", Statement: st, Done: []wire.PartDone{{Number: 1, ETag: "1"}, {Number: 2, ETag: "2"}, {Number: 3, ETag: "3"}}}
		if err := f.ReportUploaded(ctx, a.AgentID, a.session, r); !wire.HasCode(err, wire.CodeStatement) {
			t.Errorf("%s: %v", what, err)
		}
	}
	f.ok(f.ReportUploaded(ctx, a.AgentID, a.session, wire.Report{
		Attempt: o.Attempt, Outcome: "uploaded", Statement: statement(t, o, 3, 2*o.PartSize+90),
		Done: []wire.PartDone{{Number: 1, ETag: "1"}, {Number: 2, ETag: "2"}, {Number: 3, ETag: "3"}},
	}))
	f.failure(sign(partRequest(o, 1, o.PartSize)), wire.CodeStale)
}

func TestSignPart_MD5(t *testing.T) {
	f := open(t)
	_, a := f.world("app")
	st := must[controller.Storage](t)(f.Storage(t.Context(), f.admin, "s3"))
	f.ok(f.UpdateProbe(t.Context(), st.ID, nil, true, "md5"))
	f.order("app")
	o := f.started(a)
	f.ok(f.UpdateProbe(t.Context(), st.ID, nil, true, "sha256")) // an open attempt keeps what it was ordered with
	req := partRequest(o, 1, 5)
	_, err := f.SignPart(t.Context(), a.AgentID, a.session, req, time.Minute)
	f.failure(err, wire.CodeBadRequest)
	req.MD5 = make([]byte, 16)
	for range 2 {
		equal(t, "checksum", must[controller.PartTarget](t)(f.SignPart(t.Context(), a.AgentID, a.session, req, time.Minute)).Checksum, "md5")
	}
	req.MD5 = bytes.Repeat([]byte{1}, 16) // the same SHA-256 with another MD5 is not the same part
	f.failure(second(f.SignPart(t.Context(), a.AgentID, a.session, req, time.Minute)), wire.CodeBadRequest)
}

// TestFence tries every message of an agent with every wrong sender and attempt.
func TestFence(t *testing.T) { // faults 6, 9, 24
	f := open(t)
	ctx := t.Context()
	p, a := f.world("app", "crm")
	foreign := f.enrol("db-8", p)
	f.hello(foreign)
	f.order("app")
	o := f.offer()
	must[string](t)(f.SetUpload(ctx, o.Attempt, "u"))
	// Not accepted yet, it is open to its own server only.
	f.failure(second(f.SignPart(ctx, foreign.AgentID, foreign.session, partRequest(o, 1, 5), time.Minute)), wire.CodeStale)
	f.ok(f.AttemptAccepted(ctx, o.Attempt, a.session))
	old := a.session
	state := func() string {
		return f.sql("SELECT md5(string_agg(t, '|')) FROM (SELECT a::text t FROM attempts a UNION ALL SELECT p::text FROM upload_parts p UNION ALL SELECT j::text FROM jobs j ORDER BY 1) x")
	}
	messages := map[string]func(agent, session string, at wire.Attempt) error{
		"part": func(agent, session string, at wire.Attempt) error {
			req := partRequest(o, 1, 5)
			req.Attempt = at
			return second(f.SignPart(ctx, agent, session, req, time.Minute))
		},
		"read": func(agent, session string, at wire.Attempt) error {
			return second(f.SignRead(ctx, agent, session, wire.ReadRequest{Attempt: at, Object: "artifact", Length: 1}))
		},
		"order": func(agent, session string, at wire.Attempt) error {
			return second(f.AttemptOrder(ctx, agent, session, at))
		},
		"uploaded": func(agent, session string, at wire.Attempt) error {
			r := f.uploadReport(o)
			r.Attempt = at
			return f.ReportUploaded(ctx, agent, session, r)
		},
		"failed": func(agent, session string, at wire.Attempt) error {
			r := fails(wire.CodeToolFailed)
			r.Attempt = at
			return f.ReportDone(ctx, agent, session, r)
		},
	}
	wrong := o.Attempt
	wrong.Token = wire.NewID()
	number := o.Attempt
	number.No = 2
	for name, send := range messages {
		for what, c := range map[string]struct {
			agent, session string
			at             wire.Attempt
			code           string
		}{
			"unknown agent":    {"nobody", a.session, o.Attempt, wire.CodeRevoked},
			"no session":       {a.AgentID, "", o.Attempt, wire.CodeSuperseded},
			"other session":    {a.AgentID, wire.NewID(), o.Attempt, wire.CodeSuperseded},
			"another's server": {foreign.AgentID, foreign.session, o.Attempt, wire.CodeStale},
			"wrong token":      {a.AgentID, a.session, wrong, wire.CodeStale},
			"wrong number":     {a.AgentID, a.session, number, wire.CodeStale},
		} {
			before := state()
			if err := send(c.agent, c.session, c.at); !wire.HasCode(err, c.code) {
				t.Errorf("%s by %s: %v, want %s", name, what, err, c.code)
			}
			equal(t, name+" by "+what+": state", state(), before)
		}
	}
	// The agent is started twice; the second one supersedes the first, which is refused and raises an event.
	res := f.hello(a)
	equal(t, "lost", len(res.Lost), 1)
	equal(t, "replaced", res.Replaced, old)
	for name, send := range messages {
		before := state()
		if err := send(a.AgentID, old, o.Attempt); !wire.HasCode(err, wire.CodeSuperseded) {
			t.Errorf("%s by a superseded session: %v", name, err)
		}
		if err := send(a.AgentID, a.session, o.Attempt); !wire.HasCode(err, wire.CodeStale) {
			t.Errorf("%s for a lost attempt: %v", name, err)
		}
		equal(t, name+": state", state(), before)
	}
	dup, _, err := f.Hello(ctx, a.AgentID, a.NKey, old, wire.Hello{Protocol: 1, Attempts: []wire.Attempt{o.Attempt}})
	f.ok(err)
	if !dup.Superseded || dup.Drop != nil || dup.Lost != nil {
		t.Fatalf("hello of the first one: %+v", dup)
	}
	equal(t, "session", must[controller.Server](t)(f.Server(ctx, f.admin, "db-7")).Session, a.session)
	if dup, _, err := f.Hello(ctx, foreign.AgentID, foreign.NKey, a.session, wire.Hello{Protocol: 1}); err != nil || !dup.Superseded {
		t.Fatalf("a session of another server: %+v, %v", dup, err)
	}
	events := must[[]controller.SecurityEvent](t)(f.SecurityEvents(ctx, f.admin, 0, 0))
	count := map[string]int64{}
	for _, e := range events {
		count[e.Kind] += e.Count
	}
	if count["stale_attempt"] < 15 || count["duplicate_agent"] < 10 || count["revoked_server"] != 5 || len(events) > 10 {
		t.Fatalf("events are %v in %d rows", count, len(events))
	}
}

func TestHello_Decides(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app", "crm", "wiki")
	f.sql("UPDATE servers SET concurrency = 4")
	must[[]controller.BackupOutcome](t)(f.CreateBackups(ctx, f.admin, controller.BackupRequest{}))
	offers := must[[]controller.Offer](t)(f.ClaimOffers(ctx, 5))
	equal(t, "offers", len(offers), 3)
	running, gone, offered := offers[0], offers[1], offers[2]
	for _, o := range offers[:2] {
		must[string](t)(f.SetUpload(ctx, o.Attempt, "u"+o.AttemptID))
		f.ok(f.AttemptAccepted(ctx, o.Attempt, a.session))
	}
	// In the same session one that was just accepted is not lost for not being listed yet; a while later it is.
	res := f.helloAgain(a, running.Attempt)
	equal(t, "lost", len(res.Lost), 0)
	f.sql("UPDATE attempts SET accepted_at = now() - interval '31 seconds', suspect_at = now(), suspect_clock = 0, lease_until = now()")
	unknown := wire.Attempt{Job: 999, No: 1, Token: "t"}
	stale := wire.Attempt{Job: running.Attempt.Job, No: 1, Token: "wrong"}
	res = f.helloAgain(a, running.Attempt, unknown, stale)
	if !slices.Equal(res.Lost, []wire.Attempt{gone.Attempt}) || !slices.Equal(res.Drop, []wire.Attempt{unknown, stale}) || res.Superseded || res.Replaced != "" {
		t.Fatalf("hello says %+v", res)
	}
	equal(t, "suspect", f.sql("SELECT suspect_at IS NULL AND lease_until > now() + interval '80 seconds' FROM attempts WHERE job_id = %d", running.Attempt.Job), "t")
	equal(t, "offered", f.job(offered.Attempt.Job).Attempts[0].Status, "offered")
	equal(t, "lost", f.job(gone.Attempt.Job).Attempts[0].Status, "lost")
	equal(t, "its job", f.job(gone.Attempt.Job).Status, "queued")

	// A restarted agent that still has a report to make lists it, and may then make it.
	res = f.hello(a, running.Attempt)
	equal(t, "lost", len(res.Lost), 0)
	f.uploaded(a, running)
	// From here on its part is over: not listing it loses nothing.
	res = f.hello(a)
	equal(t, "lost", len(res.Lost), 0)
	equal(t, "finishing", f.job(running.Attempt.Job).Status, "finishing")
	// A restarted agent that lists none loses a running one at once, however young.
	f.ok(f.AttemptAccepted(ctx, offered.Attempt, a.session))
	res = f.hello(a)
	if !slices.Equal(res.Lost, []wire.Attempt{offered.Attempt}) {
		t.Fatalf("hello says %+v", res)
	}
	_, _, err := f.Hello(ctx, a.AgentID, a.NKey, "short", wire.Hello{})
	f.failure(err, wire.CodeBadRequest)
}

func TestHeartbeats(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app")
	b := f.order("app")
	o := f.started(a)
	other := f.enrol("db-8")
	f.hello(other)
	f.sql("UPDATE servers SET last_seen_at = now() - interval '1 hour'; UPDATE attempts SET suspect_at = now(), suspect_clock = 1, lease_until = now()")
	run := func(token string) []wire.Progress {
		at := o.Attempt
		at.Token = token
		return []wire.Progress{{Attempt: at, Stage: "dump", RawBytes: 10, StoredBytes: 5, TotalBytes: 100}}
	}
	beat := func(beats ...controller.AgentBeat) []wire.Attempt {
		t.Helper()
		return must[[]wire.Attempt](t)(f.Heartbeats(ctx, beats))
	}
	suspect := func() string { return f.sql("SELECT suspect_at IS NOT NULL FROM attempts") }
	// Wrong token, wrong session, another's attempt: nothing is renewed, and it is named stale.
	equal(t, "stale", len(beat(controller.AgentBeat{AgentID: a.AgentID, Session: a.session, Running: run("wrong")})), 1)
	equal(t, "stale", len(beat(controller.AgentBeat{AgentID: a.AgentID, Session: wire.NewID(), Running: run(o.Attempt.Token)})), 1)
	equal(t, "stale", len(beat(controller.AgentBeat{AgentID: other.AgentID, Session: other.session, Running: run(o.Attempt.Token)})), 1)
	equal(t, "suspect", suspect(), "t")
	equal(t, "stale", len(beat(
		controller.AgentBeat{AgentID: a.AgentID, Session: a.session, Host: wire.Host{Hostname: "new\x00name", LoadMilli: 7}, Running: run(o.Attempt.Token)},
		controller.AgentBeat{AgentID: other.AgentID, Session: other.session, Host: wire.Host{Hostname: "h8"}},
		controller.AgentBeat{AgentID: "nobody", Session: "x"})), 0)
	equal(t, "suspect", suspect(), "f")
	equal(t, "lease", f.sql("SELECT lease_until > now() + interval '80 seconds' FROM attempts"), "t")
	s := must[controller.Server](t)(f.Server(ctx, f.admin, "db-7"))
	if !s.Online || s.Host.Hostname != "newname" || s.Host.LoadMilli != 7 {
		t.Fatalf("server is %+v", s)
	}
	got := f.backup(b.ID)
	if got.Progress == nil || *got.Progress != (controller.Progress{Stage: "dump", RawBytes: 10, StoredBytes: 5, TotalBytes: 100}) {
		t.Fatalf("progress is %+v", got.Progress)
	}
	equal(t, "empty batch", len(beat()), 0)
	// An attempt that is locked by another transaction is not waited for.
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.sql("BEGIN; SELECT 1 FROM attempts FOR UPDATE; SELECT pg_sleep(1.5); COMMIT")
	}()
	eventually(t, "the lock is held", func() bool {
		return f.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = '%s' AND query LIKE 'SELECT pg_sleep%%'", f.db) == "1"
	})
	began := time.Now()
	beat(controller.AgentBeat{AgentID: a.AgentID, Session: a.session, Running: run(o.Attempt.Token)})
	if d := time.Since(began); d > time.Second {
		t.Fatalf("a heartbeat waited %s for a lock", d)
	}
	<-done
}

func TestSweep_Lease(t *testing.T) { // faults 6, 12, 14
	f := open(t, func(o *catalog.Options) { o.LeaseMax = 12 * time.Second })
	ctx := t.Context()
	_, a := f.world("app")
	b := f.order("app")
	o := f.started(a)
	sweep := func() controller.SweepResult {
		t.Helper()
		return must[controller.SweepResult](t)(f.Sweep(ctx))
	}
	equal(t, "suspect", sweep().Suspect, 0)
	f.sql("UPDATE attempts SET lease_until = now() - interval '1 second'")
	equal(t, "suspect", sweep().Suspect, 1)
	if !f.job(b.JobID).Attempts[0].Suspect {
		t.Fatal("the job does not show it")
	}
	// No controller was up for a day: that counts for 5 seconds, and the attempt is not lost for it.
	for range 2 {
		f.sql("UPDATE fleet_clock SET ticked_at = now() - interval '1 day'; UPDATE attempts SET suspect_at = now() - interval '1 day'")
		if res := sweep(); res.Lost != 0 {
			t.Fatalf("lost by a time in which no controller was up: %+v", res)
		}
	}
	// It still has its token: it may go on.
	must[controller.PartTarget](t)(f.SignPart(ctx, a.AgentID, a.session, partRequest(o, 1, o.PartSize), time.Minute))
	f.sql("UPDATE fleet_clock SET ticked_at = now() - interval '3 seconds'")
	res := sweep()
	if res.Lost != 1 || res.Requeued != 1 {
		t.Fatalf("sweep did %+v", res)
	}
	j := f.job(b.JobID)
	if j.Status != "queued" || j.Attempts[0].Status != "lost" || j.Attempts[0].Failure.Code != wire.CodeLost {
		t.Fatalf("job is %+v", j)
	}
	// The agent comes back: refused at the part, at the report, and in hello.
	_, err := f.SignPart(ctx, a.AgentID, a.session, partRequest(o, 2, 5), time.Minute)
	f.failure(err, wire.CodeStale)
	f.failure(f.ReportUploaded(ctx, a.AgentID, a.session, f.uploadReport(o)), wire.CodeStale)
	if res := f.helloAgain(a, o.Attempt); !slices.Equal(res.Drop, []wire.Attempt{o.Attempt}) {
		t.Fatalf("hello says %+v", res)
	}
	// What it left at the store is swept now, and once more after its last URL has expired.
	dead := must[[]controller.DeadUpload](t)(f.DeadUploads(ctx, 5))
	if len(dead) != 1 || dead[0].Attempt != o.Attempt || dead[0].Key != o.Key || dead[0].UploadID != o.UploadID || !dead[0].URLsOpen || dead[0].FailureCode != wire.CodeLost || dead[0].StorageID != b.StorageID {
		t.Fatalf("dead uploads are %+v", dead)
	}
	equal(t, "dead uploads", len(must[[]controller.DeadUpload](t)(f.another("two").DeadUploads(ctx, 5))), 0)
	f.ok(f.UploadSwept(ctx, o.Attempt))
	equal(t, "swept while a URL is open", f.sql("SELECT swept_at IS NULL AND sweep_after > now() + interval '1 minute' FROM attempts WHERE no = 1"), "t")
	f.sql("UPDATE attempts SET last_url_expires = now() - interval '2 minutes'")
	f.ok(f.UploadSweepLater(ctx, o.Attempt, 0))
	dead = must[[]controller.DeadUpload](t)(f.DeadUploads(ctx, 5))
	if len(dead) != 1 || dead[0].URLsOpen {
		t.Fatalf("dead uploads are %+v", dead)
	}
	f.ok(f.UploadSwept(ctx, o.Attempt))
	f.sql("UPDATE attempts SET sweep_after = now()")
	equal(t, "dead uploads", len(must[[]controller.DeadUpload](t)(f.DeadUploads(ctx, 5))), 0)
}

func TestSweep_Rules(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app")
	sweep := func() controller.SweepResult {
		t.Helper()
		return must[controller.SweepResult](t)(f.Sweep(ctx))
	}
	ends := func(b controller.Backup, job, code string) {
		t.Helper()
		got, j := f.backup(b.ID), f.job(b.JobID)
		if got.Status != "failed" || got.ErrorCode == nil || *got.ErrorCode != code || j.Status != job || j.EndedAt == nil {
			t.Fatalf("backup is %s %v, job %s, want failed %s, %s", got.Status, got.ErrorMessage, j.Status, code, job)
		}
	}
	// Past its deadline in the queue, and offered.
	b := f.order("app")
	f.sql("UPDATE jobs SET deadline_at = now() - interval '1 second'")
	equal(t, "expired", sweep().Expired, 1)
	ends(b, "failed", wire.CodeOffline)
	b = f.order("app")
	f.offer()
	f.sql("UPDATE jobs SET deadline_at = now() - interval '1 second' WHERE id = %d", b.JobID)
	equal(t, "expired", sweep().Expired, 1)
	ends(b, "failed", wire.CodeOffline)

	// Longer than its max_duration and the grace.
	b = f.order("app")
	f.started(a)
	f.sql("UPDATE attempts SET accepted_at = now() - interval '1 hour 4 minutes', lease_until = now() + interval '1 hour' WHERE status = 'running'")
	equal(t, "timed out", sweep().TimedOut, 0)
	f.sql("UPDATE attempts SET accepted_at = now() - interval '1 hour 6 minutes' WHERE status = 'running'")
	equal(t, "timed out", sweep().TimedOut, 1)
	ends(b, "timed_out", wire.CodeTimedOut)

	// An agent's own time-out is not followed by another attempt either.
	b = f.order("app")
	o := f.started(a)
	r := fails(wire.CodeTimedOut)
	r.Attempt = o.Attempt
	f.ok(f.ReportDone(ctx, a.AgentID, a.session, r))
	ends(b, "timed_out", wire.CodeTimedOut)

	// Cancelled, and the agent does not answer.
	b = f.order("app")
	f.offer()
	must[controller.Job](t)(f.CancelBackup(ctx, f.admin, b.ID, "stop"))
	sweep()
	equal(t, "job", f.job(b.JobID).Status, "running")
	f.sql("UPDATE jobs SET cancel_requested_at = now() - interval '61 seconds' WHERE id = %d", b.JobID)
	sweep()
	ends(b, "cancelled", wire.CodeCancelled)

	// Cancelled, and the attempt is lost: no other one follows.
	b = f.order("app")
	f.started(a)
	must[controller.Job](t)(f.CancelBackup(ctx, f.admin, b.ID, "stop"))
	f.hello(a)
	ends(b, "cancelled", wire.CodeCancelled)

	// Before a deployment nothing waits for an agent.
	urgent := must[[]controller.BackupOutcome](t)(f.CreateBackups(ctx, f.admin, controller.BackupRequest{Database: "app", Type: "pre_deploy"}))[0].Backup
	equal(t, "offline", sweep().Offline, 0)
	f.sql("UPDATE servers SET last_seen_at = now() - interval '1 hour'")
	equal(t, "offline", sweep().Offline, 1)
	ends(*urgent, "failed", wire.CodeOffline)
	equal(t, "deadline of an urgent job", f.sql("SELECT deadline_at - created_at FROM jobs WHERE urgent"), "00:15:00")

	// A job that was asked for while its server was being revoked.
	f.helloAgain(a)
	b = f.order("app")
	f.sql("UPDATE servers SET revoked_at = now()")
	sweep()
	ends(b, "failed", wire.CodeRevoked)
}

func TestFinish_ClaimPassedOn(t *testing.T) { // faults 27, 36
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app")
	b := f.order("app")
	o := f.started(a)
	f.uploaded(a, o)
	must[[]controller.Finishing](t)(f.ClaimFinishing(ctx, 1))
	// This controller stands still; its claim passes on.
	f.sql("UPDATE jobs SET claim_until = now() - interval '1 second'")
	two := f.another("two")
	equal(t, "to finish", len(must[[]controller.Finishing](t)(two.ClaimFinishing(ctx, 1))), 1)
	fail := wire.Failf(wire.CodeChecksum, "no").Retry()
	before := f.sql("SELECT md5(j::text || a::text) FROM jobs j, attempts a")
	f.failure(f.ExtendClaim(ctx, o.Attempt), wire.CodeStale)
	f.failure(f.CompleteBackup(ctx, o.Attempt, finished(o)), wire.CodeStale)
	f.failure(f.RetryFinish(ctx, o.Attempt, 0, fail), wire.CodeStale)
	f.failure(f.FailFinish(ctx, o.Attempt, fail), wire.CodeStale)
	equal(t, "state", f.sql("SELECT md5(j::text || a::text) FROM jobs j, attempts a"), before)
	f.ok(two.CompleteBackup(ctx, o.Attempt, finished(o)))
	f.failure(f.CompleteBackup(ctx, o.Attempt, finished(o)), wire.CodeStale)
	equal(t, "backup", f.backup(b.ID).Status, "completed")
}

func TestFinish_Race(t *testing.T) { // fault 36: several controllers complete at once
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app")
	f.order("app")
	o := f.started(a)
	f.uploaded(a, o)
	var wg sync.WaitGroup
	var mu sync.Mutex
	claims, completed := 0, 0
	for i := range 8 {
		c := f.another(fmt.Sprint("c", i))
		wg.Go(func() {
			work, err := c.ClaimFinishing(ctx, 5)
			if err != nil {
				t.Error(err)
			}
			err = c.CompleteBackup(ctx, o.Attempt, finished(o))
			mu.Lock()
			defer mu.Unlock()
			claims += len(work)
			if err == nil {
				completed++
			} else if !wire.HasCode(err, wire.CodeStale) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	equal(t, "claims", claims, 1)
	equal(t, "completions", completed, 1)
}

func TestFinish_Outcomes(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app")
	b := f.order("app")
	o := f.started(a)
	f.uploaded(a, o)
	claim := func(want int) {
		t.Helper()
		equal(t, "to finish", len(must[[]controller.Finishing](t)(f.ClaimFinishing(ctx, 1))), want)
	}
	claim(1)
	f.ok(f.RetryFinish(ctx, o.Attempt, time.Hour, wire.Failf(wire.CodeStorageUnavailable, "the store is slow")))
	equal(t, "why it waits", f.backup(b.ID).Waiting, "the store is slow")
	claim(0)
	f.sql("UPDATE jobs SET claim_until = now() - interval '1 second'")
	work := must[[]controller.Finishing](t)(f.ClaimFinishing(ctx, 1))
	equal(t, "tries", work[0].Tries, 1)
	// A host that is away is waited for, however long.
	f.ok(f.RetryFinish(ctx, o.Attempt, 0, wire.Failf(wire.CodeOffline, "the agent is not connected")))
	equal(t, "why it waits", f.backup(b.ID).Waiting, "the agent is not connected")
	work = must[[]controller.Finishing](t)(f.ClaimFinishing(ctx, 1))
	equal(t, "tries", work[0].Tries, 1)
	f.ok(f.FailFinish(ctx, o.Attempt, wire.Failf(wire.CodeUploadLost, "both gone").Retry()))
	j := f.job(b.JobID)
	if j.Status != "queued" || j.Attempts[0].Status != "failed" {
		t.Fatalf("job is %+v", j)
	}
	equal(t, "dead uploads", len(must[[]controller.DeadUpload](t)(f.DeadUploads(ctx, 5))), 1)
	f.ok(f.ReportUploaded(ctx, a.AgentID, a.session, f.uploadReport(o))) // its part is over all the same
	equal(t, "job", f.job(b.JobID).Status, "queued")
}

func TestComplete_ForeignHeader(t *testing.T) { // a stolen age header
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app")
	first := f.completed(a, "app")
	b := f.order("app")
	o := f.started(a)
	f.uploaded(a, o)
	must[[]controller.Finishing](t)(f.ClaimFinishing(ctx, 1))
	stolen := finished(o)
	stolen.Objects[1].AgeHeader = must[[]controller.StoredObject](t)(f.BackupObjects(ctx, f.admin, first.ID))[0].AgeHeader
	f.failure(f.CompleteBackup(ctx, o.Attempt, stolen), wire.CodeForeignHeader)
	got := f.backup(b.ID)
	if got.Status != "running" || got.JobStatus != "finishing" || f.sql("SELECT count(*) FROM backup_objects WHERE backup_id = %d", b.ID) != "0" {
		t.Fatalf("half of it stands: %+v", got)
	}
	f.ok(f.FailFinish(ctx, o.Attempt, wire.Failf(wire.CodeForeignHeader, "stolen")))
	equal(t, "backup", f.backup(b.ID).Status, "failed")
	f.failure(f.CompleteBackup(ctx, o.Attempt, finished(o)), wire.CodeStale)
}

func TestSecurityEvents_Counted(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	a := f.enrol("db-1")
	for range 100 {
		f.ok(f.AddSecurityEvent(ctx, a.AgentID, "forged_directive", "x", 2))
	}
	f.ok(f.AddSecurityEvent(ctx, a.AgentID, "forged_directive", "y\x00", 1))
	f.ok(f.AddSecurityEvent(ctx, "", "forged_directive", "x", 1))
	events := must[[]controller.SecurityEvent](t)(f.SecurityEvents(ctx, f.admin, 0, 0))
	equal(t, "rows", len(events), 3)
	slices.SortFunc(events, func(a, b controller.SecurityEvent) int { return int(b.Count - a.Count) })
	if events[0].Count != 200 || *events[0].ServerID != a.ID || events[0].Kind != "forged_directive" || events[0].Detail != "x" {
		t.Fatalf("event is %+v", events[0])
	}
}

func TestReport_Hostile(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	_, a := f.world("app")
	b := f.order("app")
	o := f.started(a)
	f.failure(f.ReportDone(ctx, a.AgentID, a.session, wire.Report{Attempt: o.Attempt, Outcome: "verified", Read: &wire.ReadResult{}}), wire.CodeBadRequest)
	f.failure(f.ReportDone(ctx, a.AgentID, a.session, wire.Report{Attempt: o.Attempt, Outcome: "restored", Restored: &wire.RestoreResult{}}), wire.CodeBadRequest)
	f.failure(f.ReportDone(ctx, a.AgentID, a.session, wire.Report{Attempt: o.Attempt, Outcome: "failed"}), wire.CodeBadRequest)
	f.failure(f.ReportDone(ctx, a.AgentID, a.session, wire.Report{Attempt: o.Attempt, Outcome: "odd"}), wire.CodeBadRequest)
	equal(t, "attempt", f.job(b.JobID).Attempts[0].Status, "running")
	r := wire.Report{
		Attempt: o.Attempt, Outcome: "failed", Log: strings.Repeat("é\x00", 100<<10), Millis: map[string]int64{"a\x00": 1},
		Failure: &wire.Failure{Code: "tool\x00failed", Message: "m\x00'); DROP TABLE jobs; --" + strings.Repeat("x", 9000), Hint: "h\x00", Stage: "s"},
	}
	f.ok(f.ReportDone(ctx, a.AgentID, a.session, r))
	got := f.backup(b.ID)
	if *got.ErrorCode != "toolfailed" || !strings.HasPrefix(*got.ErrorMessage, "m'); DROP TABLE jobs; --xx") || len(*got.ErrorMessage) > 4000 || *got.ErrorHint != "h" {
		t.Fatalf("backup is %+v", got)
	}
	if log := f.job(b.JobID).Attempts[0].Log; len(log) > 64<<10 || !strings.HasPrefix(log, "éé") {
		t.Fatalf("log has %d bytes", len(log))
	}
}

// TestInjection passes what SQL would trip over through every place that takes a caller's text.
func TestInjection(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	f.world("app")
	for _, s := range []string{`'; DROP TABLE jobs; --`, `\'; DROP TABLE jobs; --`, `?`, `??`, `$1`, `%`, "\\", `"`, "🦀", "a\x00b", "\xff"} {
		for what, err := range map[string]error{
			"project":   second(f.Project(ctx, f.admin, s)),
			"server":    second(f.Server(ctx, f.admin, s)),
			"storage":   second(f.Storage(ctx, f.admin, s)),
			"database":  second(f.AssignDatabase(ctx, f.admin, controller.DatabaseRef{Name: s}, "shop")),
			"backup":    second(f.CreateBackups(ctx, f.admin, controller.BackupRequest{Database: s})),
			"on server": second(f.CreateBackups(ctx, f.admin, controller.BackupRequest{Server: s})),
			"to":        second(f.CreateBackups(ctx, f.admin, controller.BackupRequest{Storage: s, Database: "app"})),
		} {
			if code := controller.ErrorCode(err); code != controller.ENotFound && code != controller.EInvalid {
				t.Errorf("%s %q: %v (%s)", what, s, err, code)
			}
		}
		if list, err := f.Backups(ctx, f.admin, controller.BackupFilter{Database: s, Server: s}); len(list) != 0 || err != nil && controller.ErrorCode(err) != controller.EInvalid {
			t.Errorf("list %q: %v %v", s, list, err)
		}
	}
	equal(t, "databases", len(must[[]controller.Database](t)(f.Databases(ctx, f.admin, controller.DatabaseFilter{}))), 1)
}

func TestLog(t *testing.T) {
	var buf syncBuffer
	f := open(t, func(o *catalog.Options) {
		o.Log = hclog.New(&hclog.LoggerOptions{Output: &buf, Level: hclog.Trace, JSONFormat: true})
	})
	ctx := t.Context()
	_, a := f.world("app")
	b := f.completed(a, "app")
	must[[]controller.Job](t)(f.CreateVerify(ctx, f.admin, controller.VerifyRequest{Backup: b.ID}))
	o := f.started(a)
	f.ok(f.ReportDone(ctx, a.AgentID, a.session, wire.Report{Attempt: o.Attempt, Outcome: wire.OutcomeVerified, Read: readResult(b)}))
	f.order("app")
	o = f.started(a)
	f.ok(f.ReportDone(ctx, a.AgentID, a.session, wire.Report{Attempt: o.Attempt, Outcome: wire.OutcomeFailed, Failure: lost}))
	for _, want := range []string{
		`"@message":"verify completed"`, `"project":"shop"`, `"database":"app"`, `"checksum":"` + *b.Checksum + `"`, `"@message":"backup failed"`, `"code":"tool_failed"`, `"duration":"`,
	} {
		if !strings.Contains(buf.String(), want) {
			t.Errorf("the log does not say %s:\n%s", want, buf.String())
		}
	}
	for _, canary := range []string{"sk-canary", o.Attempt.Token, rolePassword.Reveal(), "AGE-SECRET"} {
		if strings.Contains(buf.String(), canary) {
			t.Errorf("the log tells %s", canary)
		}
	}
}

var lost = wire.Failf(wire.CodeToolFailed, "pg_dump: exit 1")

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
