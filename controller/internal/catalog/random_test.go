package catalog_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/catalog"
	"devflowbackup/shared/wire"
)

// violations is empty while jobs, attempts and backups agree with each other.
const violations = `
SELECT 'job ' || j.id || ' ' || j.status || ': ' || coalesce(string_agg(a.no || ' ' || a.status, ', ' ORDER BY a.no), 'no attempt') AS v
FROM jobs j LEFT JOIN attempts a ON a.job_id = j.id GROUP BY j.id
HAVING NOT CASE j.status
	WHEN 'queued' THEN count(*) FILTER (WHERE a.status IN ('offered', 'running', 'uploaded', 'completed')) = 0
	WHEN 'running' THEN count(*) FILTER (WHERE a.status IN ('offered', 'running')) = 1 AND count(*) FILTER (WHERE a.status IN ('uploaded', 'completed')) = 0
	WHEN 'finishing' THEN count(*) FILTER (WHERE a.status = 'uploaded') = 1 AND count(*) FILTER (WHERE a.status IN ('offered', 'running', 'completed')) = 0
	WHEN 'completed' THEN count(*) FILTER (WHERE a.status = 'completed') = 1 AND count(*) FILTER (WHERE a.status IN ('offered', 'running', 'uploaded')) = 0
	ELSE count(*) FILTER (WHERE a.status IN ('offered', 'running', 'uploaded', 'completed')) = 0 END
	OR count(a.no) > j.max_attempts OR count(a.no) <> j.attempt_no
	OR (j.status IN ('completed', 'failed', 'cancelled', 'timed_out')) <> (j.ended_at IS NOT NULL)
UNION ALL
SELECT 'backup ' || b.id || ' ' || b.status || ', job ' || j.status FROM database_backups b JOIN jobs j ON j.backup_id = b.id AND j.kind = 'backup'
WHERE b.status <> CASE j.status WHEN 'queued' THEN 'pending' WHEN 'running' THEN 'running' WHEN 'finishing' THEN 'running' WHEN 'completed' THEN 'completed' ELSE 'failed' END
	OR (b.status = 'completed') <> (SELECT count(*) > 0 FROM backup_objects o WHERE o.backup_id = b.id)
	OR (b.status = 'failed') <> (b.error_code IS NOT NULL)
UNION ALL
SELECT 'attempt ' || a.job_id || '/' || a.no || ' is dead and nobody sweeps it' FROM attempts a
WHERE a.key <> '' AND a.status IN ('failed', 'lost', 'cancelled') AND a.swept_at IS NULL AND a.sweep_after IS NULL
UNION ALL
SELECT 'server ' || server_id || ' runs ' || count(*) FROM attempts WHERE status IN ('offered', 'running') GROUP BY server_id HAVING count(*) > 2`

// TestRandom runs random sequences of everything that agents, controllers, people and time may do, with stale tokens, old
// sessions and repetitions among it. After each step terminal states are what they were (invariant 1), no job has two valid
// fences (9), and rows agree. At the end every job ends.
func TestRandom(t *testing.T) {
	fired := map[string]int{}
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			for name, n := range newWalk(t, seed).run(400) {
				fired[name] += n
			}
		})
	}
	t.Log("steps that were not refused:", fired)
	for _, name := range []string{
		"order", "claim", "accept", "failoffer", "part", "uploaded", "failed", "hello", "heartbeat", "complete", "retryfinish", "failfinish", "cancel", "time", "sweep",
	} {
		if fired[name] == 0 {
			t.Errorf("%s never happened", name)
		}
	}
}

type walk struct {
	*fix
	rnd      *rand.Rand
	conn     *pgx.Conn
	cats     []*catalog.Catalog
	a        *agent
	sessions []string
	offers   []controller.Offer // every one ever made
	ended    map[string]string  // terminal rows as they were
	fired    map[string]int
}

func newWalk(t *testing.T, seed uint64) *walk {
	f := open(t, func(o *catalog.Options) { o.LeaseMax = 8 * time.Second })
	w := &walk{fix: f, rnd: rand.New(rand.NewPCG(seed, 7)), ended: map[string]string{}, fired: map[string]int{}}
	_, w.a = f.world("d0", "d1", "d2", "d3")
	w.sessions = []string{w.a.session}
	w.cats = []*catalog.Catalog{f.Catalog, f.another("two", func(o *catalog.Options) { o.LeaseMax = 8 * time.Second })}
	conn, err := pgx.Connect(t.Context(), f.server.DSN(f.server.Superuser(), f.db).Reveal())
	f.ok(err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	w.conn = conn
	return w
}

func (w *walk) exec(sql string) {
	w.Helper()
	_, err := w.conn.Exec(w.Context(), sql)
	w.ok(err)
}

// run returns how often each step was not refused.
func (w *walk) run(steps int) map[string]int {
	for range steps {
		name, err := w.step()
		if err == nil {
			w.fired[name]++
		} else if code := controller.ErrorCode(err); code == controller.EUnavailable || code == controller.EInternal && !isFailure(err) {
			w.Fatalf("%s: %v", name, err)
		}
		w.check(name)
	}
	w.drain()
	return w.fired
}

func isFailure(err error) bool { return wire.AsFailure(err).Code != wire.CodeInternal }

// drain lets everything end: the agent is gone for good.
func (w *walk) drain() {
	for range 40 {
		w.exec("UPDATE attempts SET lease_until = now() - interval '1 second' WHERE status = 'running'; UPDATE fleet_clock SET ticked_at = now() - interval '5 seconds'; UPDATE jobs SET not_before = now(), deadline_at = CASE WHEN status = 'queued' THEN now() - interval '1 second' ELSE deadline_at END; UPDATE jobs SET deadline_at = now() - interval '1 second' WHERE status = 'running'; UPDATE jobs SET claim_until = now() - interval '1 second'")
		_, err := w.Sweep(w.Context())
		w.ok(err)
		work, err := w.ClaimFinishing(w.Context(), 10)
		w.ok(err)
		for _, f := range work {
			w.ok(w.FailFinish(w.Context(), f.Attempt, wire.Failf(wire.CodeUploadLost, "gone").Retry()))
		}
		w.check("drain")
	}
	var open int
	w.ok(w.conn.QueryRow(w.Context(), "SELECT count(*) FROM jobs WHERE status IN ('queued', 'running', 'finishing')").Scan(&open))
	equal(w, "jobs open at the end", open, 0)
}

func (w *walk) check(after string) {
	w.Helper()
	rows, err := w.conn.Query(w.Context(), violations)
	w.ok(err)
	bad, err := pgx.CollectRows(rows, pgx.RowTo[string])
	w.ok(err)
	if len(bad) > 0 {
		w.Fatalf("after %s: %v", after, bad)
	}
	rows, err = w.conn.Query(w.Context(), `SELECT 'job ' || id, status || coalesce(failure::text, '') || ended_at FROM jobs WHERE status IN ('completed', 'failed', 'cancelled', 'timed_out')
		UNION ALL SELECT 'attempt ' || job_id || '/' || no, status || coalesce(failure::text, '') || ended_at FROM attempts WHERE status IN ('completed', 'failed', 'lost', 'cancelled')
		UNION ALL SELECT 'backup ' || id, status || coalesce(error_code, '') || coalesce(checksum, '') || completed_at FROM database_backups WHERE status IN ('completed', 'failed')`)
	w.ok(err)
	now := map[string]string{}
	for rows.Next() {
		var name, state string
		w.ok(rows.Scan(&name, &state))
		now[name] = state
	}
	w.ok(rows.Err())
	for name, was := range w.ended {
		if now[name] != was {
			w.Fatalf("after %s: %s was %q and is %q", after, name, was, now[name])
		}
	}
	w.ended = now
}

// pick returns one offer that was ever made, mostly one that stands.
func (w *walk) pick() (controller.Offer, bool) {
	if len(w.offers) == 0 {
		return controller.Offer{}, false
	}
	if w.rnd.IntN(3) > 0 {
		rows, err := w.conn.Query(w.Context(), "SELECT token FROM attempts WHERE status IN ('offered', 'running', 'uploaded') ORDER BY job_id")
		w.ok(err)
		tokens, err := pgx.CollectRows(rows, pgx.RowTo[string])
		w.ok(err)
		if len(tokens) > 0 {
			token := tokens[w.rnd.IntN(len(tokens))]
			return w.offers[slices.IndexFunc(w.offers, func(o controller.Offer) bool { return o.Attempt.Token == token })], true
		}
	}
	return w.offers[w.rnd.IntN(len(w.offers))], true
}

func (w *walk) session() string {
	if w.rnd.IntN(6) == 0 {
		return w.sessions[w.rnd.IntN(len(w.sessions))]
	}
	return w.a.session
}

func (w *walk) step() (string, error) {
	ctx, c := w.Context(), w.cats[w.rnd.IntN(len(w.cats))]
	o, some := w.pick()
	fail := wire.Failf(wire.CodeToolFailed, "step")
	if w.rnd.IntN(2) == 0 {
		fail.Retryable = true
	}
	n := w.rnd.IntN(23)
	if !some && n > 1 {
		n %= 2 // nothing was offered yet
	}
	switch n {
	case 0:
		return "order", second(c.CreateBackups(ctx, w.admin, controller.BackupRequest{Database: fmt.Sprint("d", w.rnd.IntN(4))}))
	case 1, 2:
		w.exec("UPDATE jobs SET not_before = now() WHERE status = 'queued'")
		if w.rnd.IntN(3) == 0 {
			w.exec("UPDATE jobs SET claim_until = now() - interval '1 second' WHERE status = 'running'")
		}
		offers, err := c.ClaimOffers(ctx, 1+w.rnd.IntN(3))
		w.offers = append(w.offers, offers...)
		return "claim", err
	case 3, 4:
		if _, err := c.SetUpload(ctx, o.Attempt, "u"+o.AttemptID); err != nil {
			return "upload", err
		}
		return "accept", c.AttemptAccepted(ctx, o.Attempt, w.session())
	case 5:
		return "failoffer", c.FailOffer(ctx, o.Attempt, fail)
	case 6, 7:
		return "part", second(c.SignPart(ctx, w.a.AgentID, w.session(), partRequest(o, 1, o.PartSize), time.Minute))
	case 8, 9, 10, 20, 21, 22:
		session := w.session()
		for number, size := range []int64{o.PartSize, 77} {
			if _, err := c.SignPart(ctx, w.a.AgentID, session, partRequest(o, number+1, size), time.Minute); err != nil {
				return "part", err
			}
		}
		return "uploaded", c.ReportUploaded(ctx, w.a.AgentID, session, w.uploadReport(o))
	case 11:
		return "failed", c.ReportDone(ctx, w.a.AgentID, w.session(), wire.Report{Attempt: o.Attempt, Outcome: wire.OutcomeFailed, Failure: fail})
	case 12:
		h := wire.Hello{Protocol: 1, Concurrency: 2}
		for range w.rnd.IntN(4) {
			if held, ok := w.pick(); ok {
				h.Attempts = append(h.Attempts, held.Attempt)
			}
		}
		session := w.session()
		if w.rnd.IntN(3) == 0 {
			session = wire.NewID()
		}
		res, _, err := c.Hello(ctx, w.a.AgentID, w.a.NKey, session, h)
		if err == nil && !res.Superseded {
			w.a.session = session
			w.sessions = append(w.sessions, session)
		}
		return "hello", err
	case 13:
		beat := controller.AgentBeat{AgentID: w.a.AgentID, Session: w.session(), Running: []wire.Progress{{Attempt: o.Attempt, Stage: "dump"}}}
		return "heartbeat", second(c.Heartbeats(ctx, []controller.AgentBeat{beat}))
	case 14, 15, 16:
		if w.rnd.IntN(3) == 0 {
			w.exec("UPDATE jobs SET claim_until = now() - interval '1 second' WHERE status = 'finishing'")
		}
		work, err := c.ClaimFinishing(ctx, 1)
		if err != nil {
			return "finish", err
		}
		if len(work) == 1 {
			for _, known := range w.offers {
				if known.Attempt == work[0].Attempt {
					o = known
				}
			}
		}
		switch w.rnd.IntN(4) {
		case 0:
			return "retryfinish", c.RetryFinish(ctx, o.Attempt, 0, fail)
		case 1:
			return "failfinish", c.FailFinish(ctx, o.Attempt, fail)
		}
		return "complete", c.CompleteBackup(ctx, o.Attempt, finished(o))
	case 17:
		if w.rnd.IntN(2) == 0 {
			return "nothing", nil
		}
		return "cancel", second(c.CancelJob(ctx, w.admin, o.Attempt.Job, "step"))
	case 18:
		w.exec([]string{
			"UPDATE attempts SET lease_until = now() - interval '1 second' WHERE status = 'running'",
			"UPDATE fleet_clock SET ticked_at = now() - interval '5 seconds'",
			"UPDATE jobs SET cancel_requested_at = now() - interval '2 minutes' WHERE cancel_requested_at IS NOT NULL AND status = 'running'",
			"UPDATE attempts SET accepted_at = now() - interval '1 minute' WHERE status = 'running'",
			"UPDATE jobs SET deadline_at = now() - interval '1 second' WHERE id = (SELECT min(id) FROM jobs WHERE status = 'queued')",
		}[w.rnd.IntN(5)])
		return "time", nil
	case 19:
		return "sweep", second(c.Sweep(ctx))
	}
	return "nothing", nil
}
