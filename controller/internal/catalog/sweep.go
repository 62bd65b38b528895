package catalog

import (
	"context"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

const (
	durationGrace = 5 * time.Minute  // the agent ends its own attempt at max_duration; this is for one that does not
	undeliverable = 60 * time.Second // a cancelled offer that its agent did not answer
	stuckAfter    = 10 * time.Minute // a row in work that nothing works on
	stuckEvery    = time.Minute      // how often such rows are looked for, and what nobody needs any more is removed
	pagesKept     = 24 * time.Hour   // of a list that an agent did not send to its end
)

// Sweep moves what only time moves: leases, deadlines, cancellations of what nobody can be told, old keys. Of several controllers
// one sweeps at a time, the others get a zero result. The fleet's clock goes on only while a controller sweeps, at most 5 seconds
// from one sweep to the next: the time in which no controller was up does not count against an attempt.
func (c *Catalog) Sweep(ctx context.Context) (controller.SweepResult, error) {
	var res controller.SweepResult
	err := c.system(ctx, func(t *tx) error {
		res = controller.SweepResult{}
		var mine bool
		if err := t.scan(ctx, &mine, "SELECT pg_try_advisory_xact_lock(?)", lockSweep); err != nil || !mine {
			return err
		}
		var clock float64
		if err := t.scan(ctx, &clock, `UPDATE fleet_clock SET up_seconds = up_seconds + greatest(least(extract(epoch FROM now() - ticked_at), 5), 0), ticked_at = now()
			RETURNING up_seconds`); err != nil {
			return err
		}
		n, err := t.exec(ctx, `UPDATE attempts SET suspect_at = now(), suspect_clock = ? WHERE (job_id, no) IN (
			SELECT job_id, no FROM attempts WHERE status = 'running' AND suspect_at IS NULL AND lease_until < now() FOR UPDATE SKIP LOCKED)`, clock)
		if err != nil {
			return err
		}
		res.Suspect = int(n)
		if err := t.sweepJobs(ctx, clock, &res); err != nil {
			return err
		}
		if now := time.Now(); now.Sub(time.Unix(0, c.stuckAt.Load())) >= stuckEvery {
			if err := t.unstick(ctx, &res); err != nil {
				return err
			}
			if err := t.forget(ctx); err != nil {
				return err
			}
			t.after(func() { c.stuckAt.Store(now.UnixNano()) })
		}
		if err := t.sweepRestores(ctx, &res); err != nil {
			return err
		}
		return t.tidy(ctx)
	})
	return res, err
}

// sweepJobs ends the open jobs that time ends. Most of the time there is none.
func (t *tx) sweepJobs(ctx context.Context, clock float64, res *controller.SweepResult) error {
	var open bool
	if err := t.scan(ctx, &open, "SELECT EXISTS (SELECT FROM jobs WHERE "+jobOpen+")"); err != nil || !open {
		return err
	}
	if err := t.holdDeadlines(ctx); err != nil {
		return err
	}
	for _, rule := range t.rules(clock) {
		jobs, err := t.lockJobsBy(ctx, "FOR UPDATE SKIP LOCKED", rule.where, rule.args...)
		if err != nil {
			return err
		}
		for _, j := range jobs {
			requeued, fail := false, rule.fail
			if rule.failOf != nil {
				if fail, err = rule.failOf(ctx, j); err != nil {
					return err
				}
			}
			if j.AttemptStatus == "" {
				err = t.endJob(ctx, j, endStatus(j, fail), fail)
			} else {
				requeued, err = t.endAttempt(ctx, j, rule.status, fail)
			}
			if err != nil {
				return err
			}
			if requeued {
				res.Requeued++
			}
			if rule.count != nil {
				*rule.count(res)++
			}
		}
	}
	return nil
}

// rule says which open jobs time ends, and how.
type rule struct {
	where  string
	args   []any
	status string // of the attempt, where one is open
	fail   *wire.Failure
	failOf func(context.Context, openJob) (*wire.Failure, error) // instead of fail
	count  func(*controller.SweepResult) *int
}

const hasAttempt = "EXISTS (SELECT FROM attempts a WHERE a.job_id = j.id AND a.no = j.attempt_no AND "

func (t *tx) rules(clock float64) []rule {
	o := t.cat.opts
	return []rule{
		{
			where:  "j.status = 'queued' AND EXISTS (SELECT FROM jobs f WHERE f.id = j.after_job_id AND f.status IN ('failed', 'cancelled', 'timed_out'))",
			failOf: t.safetyFailed,
			count:  func(r *controller.SweepResult) *int { return &r.Unsafe },
		},
		{
			where:  hasAttempt + "a.status = 'running' AND a.suspect_at IS NOT NULL AND ? - a.suspect_clock > ?)",
			args:   []any{clock, o.LeaseMax.Seconds()},
			status: controller.AttemptLost,
			fail:   wire.Failf(wire.CodeLost, "the agent was not heard for %s", o.LeaseMax).WithHint("look at the agent's log and its connection to the controller").Retry(),
			count:  func(r *controller.SweepResult) *int { return &r.Lost },
		},
		{
			where: "j.cancel_requested_at IS NOT NULL AND j.cancel_requested_at < now() - ? AND " + hasAttempt + "a.status = 'offered')",
			args:  []any{interval(undeliverable)}, status: controller.AttemptCancelled, fail: cancelled(""),
		},
		{
			where:  "j.status = 'running' AND " + hasAttempt + "a.status = 'running' AND a.accepted_at + make_interval(secs => j.max_duration_seconds) < now() - ?)",
			args:   []any{interval(durationGrace)},
			status: controller.AttemptFailed,
			fail:   wire.Failf(wire.CodeTimedOut, "the job ran longer than its max_duration").WithHint("give it a longer --max-duration"),
			count:  func(r *controller.SweepResult) *int { return &r.TimedOut },
		},
		{
			where: `j.urgent AND EXISTS (SELECT FROM servers s WHERE s.id = j.server_id AND NOT ` + t.cat.online() + `)
				AND (j.status = 'queued' OR ` + hasAttempt + "a.status = 'offered'))",
			status: controller.AttemptFailed,
			fail:   wire.Failf(wire.CodeOffline, "the server's agent is offline, and the job cannot wait").WithHint("start devflow-agent on the server, then ask again"),
			count:  func(r *controller.SweepResult) *int { return &r.Offline },
		},
		{
			// Asked for while the server was being revoked.
			where:  "EXISTS (SELECT FROM servers s WHERE s.id = j.server_id AND s.revoked_at IS NOT NULL)",
			status: controller.AttemptLost,
			fail:   wire.Failf(wire.CodeRevoked, "the server was revoked").WithHint("enrol the host again under a new token"),
		},
		{
			where:  "j.deadline_at < now() AND (j.status = 'queued' OR " + hasAttempt + "a.status = 'offered'))",
			status: controller.AttemptFailed,
			fail:   wire.Failf(wire.CodeOffline, "no agent took the job in time").WithHint("look whether the server's agent is online and what else it runs"),
			count:  func(r *controller.SweepResult) *int { return &r.Expired },
		},
		{
			// No transaction leaves a job so: rows were changed by hand, or are those of a catalog that was put back.
			where: "(j.status = 'finishing' AND NOT " + hasAttempt + "a.status = 'uploaded') OR j.status = 'running' AND NOT " + hasAttempt + "a." + attemptOpen + "))",
			// Whatever the attempt uploaded is swept with it.
			status: controller.AttemptFailed,
			fail:   wire.Failf(wire.CodeOrphaned, "the job was in work, and no attempt of it stands that could go on").WithHint("`devflowctl backup retry` orders a backup once more"),
			count:  func(r *controller.SweepResult) *int { return &r.Orphaned },
		},
	}
}

// unstick ends backups and restores in work that have no open job and have had none for a while, and forgets pages of lists that will
// not become whole.
func (t *tx) unstick(ctx context.Context, res *controller.SweepResult) error {
	var rows []struct {
		ID    int64
		Table string
	}
	err := t.scan(ctx, &rows, `WITH b AS (UPDATE database_backups q SET status = 'failed', error_code = ?0, error_message = ?1, error_hint = ?2, completed_at = now()
			WHERE id IN (SELECT b.id FROM database_backups b WHERE b.status IN ('pending', 'running') AND b.created_at < now() - ?4
				AND NOT EXISTS (SELECT FROM jobs j WHERE j.backup_id = b.id AND j.kind = 'backup' AND (j.`+jobOpen+` OR j.ended_at >= now() - ?4)) FOR UPDATE SKIP LOCKED)
			RETURNING id, 'backup' AS "table"),
		r AS (UPDATE restores SET status = 'failed', error_code = ?0, error_message = ?1, error_hint = ?3, completed_at = now(),
				target_state = CASE WHEN in_place AND target_state = '' THEN 'unknown' ELSE target_state END
			WHERE id IN (SELECT r.id FROM restores r WHERE r.status IN ('pending', 'running') AND r.created_at < now() - ?4
				AND NOT EXISTS (SELECT FROM jobs j WHERE j.backup_id = r.backup_id AND j.restore_id = r.id AND j.kind IN ('restore', 'undo') AND (j.`+jobOpen+` OR j.ended_at >= now() - ?4)) FOR UPDATE SKIP LOCKED)
			RETURNING id, 'restore' AS "table")
		SELECT * FROM b UNION ALL SELECT * FROM r ORDER BY 2, 1`,
		wire.CodeOrphaned, "it was in work, and no job worked on it any more", "`devflowctl backup retry ID` orders it once more", "ask for the restore once more", interval(stuckAfter))
	if err != nil {
		return err
	}
	res.Stuck = len(rows)
	for _, r := range rows {
		t.after(func() {
			t.cat.log.Error("a row was stuck in work and was ended", "kind", r.Table, r.Table+"_id", r.ID, "code", wire.CodeOrphaned)
		})
	}
	n, err := t.exec(ctx, `DELETE FROM inventory_pages WHERE server_id IN (SELECT server_id FROM inventory_pages GROUP BY server_id HAVING max(at) < now() - ?)`, interval(pagesKept))
	res.Pages = int(n)
	if n > 0 {
		t.after(func() {
			t.cat.log.Warn("pages of a list that an agent did not send to its end were forgotten", "pages", n)
		})
	}
	return err
}

// tidy closes failed backups that were deleted and left nothing at the store, and what lies on hosts that were revoked.
func (t *tx) tidy(ctx context.Context) error {
	_, err := t.exec(ctx, `UPDATE database_backups b SET purged_at = now() WHERE status = 'failed' AND deleted_at IS NOT NULL AND purged_at IS NULL AND NOT `+leftovers)
	if err != nil {
		return err
	}
	return t.abandon(ctx)
}

// forget removes old keys, links and sessions, and the parts of uploads that are gone.
func (t *tx) forget(ctx context.Context) error {
	for _, rows := range []string{
		"pre_deploys WHERE created_at < now() - interval '30 days'",
		"idempotency_keys WHERE created_at < now() - interval '1 day'",
		"download_links WHERE least(expires_at, used_at) < now() - interval '1 day'",
		"upload_parts p USING attempts a WHERE a.job_id = p.job_id AND a.no = p.no AND a.status IN ('failed', 'lost', 'cancelled') AND a.swept_at IS NOT NULL",
	} {
		if _, err := t.exec(ctx, "DELETE FROM "+rows); err != nil {
			return err
		}
	}
	return t.forgetPeople(ctx)
}

// abandon gives up what is to be removed from the directory of a host whose server was revoked: its agent never comes back, and
// nobody else reaches that disk. The rows say so.
func (t *tx) abandon(ctx context.Context) error {
	const said = "the server was revoked: files that may be in its backup directory were not removed"
	_, err := t.exec(ctx, `UPDATE database_backups b SET purged_at = now(), health = 'deleting', delete_waiting = ? WHERE storage_disk = 'local' AND status = 'completed'
		AND deleted_at IS NOT NULL AND purged_at IS NULL AND delete_after <= now()
		AND EXISTS (SELECT FROM servers s WHERE s.id = b.server_id AND s.revoked_at IS NOT NULL)
		AND NOT EXISTS (SELECT FROM jobs j WHERE j.backup_id = b.id AND j.`+jobOpen+`)`, said)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `UPDATE attempts a SET swept_at = now() WHERE a.upload_id = ? AND a.status IN ('failed', 'lost', 'cancelled') AND a.key <> '' AND a.swept_at IS NULL
		AND EXISTS (SELECT FROM servers s WHERE s.id = a.server_id AND s.revoked_at IS NOT NULL)`, controller.LocalUpload)
	return err
}

// leftovers is the condition that an attempt of backups b may have left something at the store.
const leftovers = `EXISTS (SELECT FROM jobs j JOIN attempts a ON a.job_id = j.id WHERE j.backup_id = b.id AND j.kind = 'backup' AND a.key <> '' AND a.swept_at IS NULL AND a.status <> 'completed')`

// CancelsDue lists the attempts whose agent has to be told that their job is cancelled. They are told at each sweep until they end.
func (c *Catalog) CancelsDue(ctx context.Context) ([]controller.CancelDue, error) {
	var out []controller.CancelDue
	err := c.system(ctx, func(t *tx) error {
		out = nil
		var rows []struct {
			Job     int64
			No      int
			Token   string
			AgentID string
			Session string
			Reason  string
		}
		err := t.scan(ctx, &rows, `SELECT a.job_id AS job, a.no, a.token, s.agent_id, s.session, j.cancel_reason AS reason
			FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.no = j.attempt_no JOIN servers s ON s.id = a.server_id
			WHERE j.`+jobOpen+` AND j.cancel_requested_at IS NOT NULL AND a.status IN ('offered', 'running') AND `+c.online()+` ORDER BY j.cancel_requested_at, j.id LIMIT 500`)
		for _, r := range rows {
			out = append(out, controller.CancelDue{Attempt: wire.Attempt{Job: r.Job, No: r.No, Token: r.Token}, AgentID: r.AgentID, Session: r.Session, Reason: r.Reason})
		}
		return err
	})
	return out, err
}

// DeadUploads takes up to limit attempts that ended without success and whose key and upload are not yet seen gone. Each is left
// alone for a minute then, so that two controllers do not work on the same one.
func (c *Catalog) DeadUploads(ctx context.Context, limit int) ([]controller.DeadUpload, error) {
	var out []controller.DeadUpload
	err := c.system(ctx, func(t *tx) error {
		out = nil
		var rows []struct {
			JobID     int64
			No        int
			Token     string
			ServerID  int64
			StorageID int64
			Key       string
			UploadID  string
			URLsOpen  bool `bun:"urls_open"`
			Code      string
		}
		err := t.scan(ctx, &rows, `UPDATE attempts SET sweep_after = now() + interval '1 minute' WHERE (job_id, no) IN (
			SELECT job_id, no FROM attempts WHERE key <> '' AND swept_at IS NULL AND status IN ('failed', 'lost', 'cancelled') AND sweep_after <= now()
			ORDER BY sweep_after LIMIT ? FOR UPDATE SKIP LOCKED)
			RETURNING job_id, no, token, server_id, storage_id, key, upload_id, coalesce(last_url_expires + ? > now(), false) AS urls_open, coalesce(failure->>'code', '') AS code`,
			max(limit, 0), interval(urlMargin))
		if err != nil {
			return err
		}
		ids := make([]int64, len(rows))
		for i, r := range rows {
			ids[i] = r.ServerID
		}
		servers, err := t.serversByID(ctx, ids)
		for _, r := range rows {
			out = append(out, controller.DeadUpload{
				Attempt: wire.Attempt{Job: r.JobID, No: r.No, Token: r.Token}, Server: servers[r.ServerID], StorageID: r.StorageID, Key: r.Key, UploadID: r.UploadID,
				URLsOpen: r.URLsOpen, FailureCode: r.Code,
			})
		}
		return err
	})
	return out, err
}

// UploadSwept closes a dead attempt whose key and upload were seen gone. While a URL may still be at work it is only put off until
// that has ended: what it writes must be removed too.
func (c *Catalog) UploadSwept(ctx context.Context, a wire.Attempt) error {
	return c.system(ctx, func(t *tx) error {
		_, err := t.exec(ctx, `UPDATE attempts SET
			swept_at = CASE WHEN coalesce(last_url_expires + ? > now(), false) THEN NULL ELSE now() END,
			sweep_after = CASE WHEN coalesce(last_url_expires + ? > now(), false) THEN last_url_expires + ? ELSE sweep_after END
			WHERE job_id = ? AND no = ? AND token = ? AND status IN ('failed', 'lost', 'cancelled') AND swept_at IS NULL`,
			interval(urlMargin), interval(urlMargin), interval(urlMargin), a.Job, a.No, a.Token)
		return err
	})
}

// UploadSweepLater has a dead attempt looked at again after a while.
func (c *Catalog) UploadSweepLater(ctx context.Context, a wire.Attempt, delay time.Duration) error {
	return c.system(ctx, func(t *tx) error {
		_, err := t.exec(ctx, "UPDATE attempts SET sweep_after = now() + ? WHERE job_id = ? AND no = ? AND token = ? AND swept_at IS NULL", interval(delay), a.Job, a.No, a.Token)
		return err
	})
}
