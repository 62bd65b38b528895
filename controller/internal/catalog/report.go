package catalog

import (
	"context"
	"encoding/json"
	"fmt"

	"devflowbackup/controller"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

// AttemptOrder returns what an open attempt was told to make, for an agent that may speak for it. An attempt that was reported
// already can still be asked for: the report is being repeated.
func (c *Catalog) AttemptOrder(ctx context.Context, agentID, session string, a wire.Attempt) (*controller.Ordered, error) {
	var o *controller.Ordered
	err := c.system(ctx, func(t *tx) error {
		s, err := t.speaker(ctx, agentID, session)
		if err != nil {
			return err
		}
		var row struct {
			BackupID  int64
			StorageID int64
			AttemptID string
			Key       string
			UploadID  string
			PartSize  int64
			OrderBody orderBody
		}
		found, err := t.find(ctx, &row, `SELECT j.backup_id, a.storage_id, a.attempt_id, a.key, a.upload_id, a.part_size, coalesce(a.order_body, '{}') AS order_body
			FROM attempts a JOIN jobs j ON j.id = a.job_id WHERE a.job_id = ? AND a.no = ? AND a.token = ? AND a.server_id = ? AND j.kind = 'backup'
			AND a.status IN ('offered', 'running', 'uploaded', 'completed')`, a.Job, a.No, a.Token, s.ID)
		if err != nil {
			return err
		}
		if !found {
			return stale(a)
		}
		o = &controller.Ordered{
			Attempt: a, StorageID: row.StorageID, AttemptID: row.AttemptID, Key: row.Key, UploadID: row.UploadID, PartSize: row.PartSize,
			Checksum: row.OrderBody.Checksum, Recipients: row.OrderBody.Recipients, Local: row.OrderBody.Local,
		}
		if o.Backup, err = t.backup(ctx, row.BackupID); err != nil {
			return err
		}
		o.Codec = row.OrderBody.codec(o.Backup)
		return t.scan(ctx, &o.Server, "SELECT "+c.serverColumns()+" FROM servers s WHERE s.id = ?", s.ID)
	})
	if err != nil {
		return nil, c.refused(ctx, agentID, err)
	}
	return o, nil
}

// begin locks the job of a report's attempt and passes the fence, or tells that the report is a repetition.
func (t *tx) begin(ctx context.Context, agentID, session string, r wire.Report) (j openJob, f fenced, again bool, err error) {
	jobs, err := t.lockJobs(ctx, "j.id = ?", r.Attempt.Job)
	if err != nil {
		return j, f, false, err
	}
	f, err = t.fence(ctx, agentID, session, r.Attempt)
	if wire.HasCode(err, wire.CodeStale) {
		var reported bool
		_, e := t.find(ctx, &reported, `SELECT a.reported_at IS NOT NULL FROM attempts a JOIN servers s ON s.id = a.server_id
			WHERE a.job_id = ? AND a.no = ? AND a.token = ? AND s.agent_id = ?`, r.Attempt.Job, r.Attempt.No, r.Attempt.Token, agentID)
		if e != nil {
			return j, f, false, e
		}
		if reported {
			return j, f, true, nil
		}
		return j, f, false, err
	}
	if err != nil {
		return j, f, false, err
	}
	if len(jobs) != 1 {
		return j, f, false, stale(r.Attempt)
	}
	j = jobs[0]
	j.AttemptStatus = f.Status
	return j, f, false, nil
}

// ReportUploaded commits that the agent's part of a backup is over: the job is finishing. The fleet has checked the statement; here
// every part that it lists must have been signed and acknowledged; one on the host itself has none. Repeating the report changes nothing.
func (c *Catalog) ReportUploaded(ctx context.Context, agentID, session string, r wire.Report) error {
	err := c.system(ctx, func(t *tx) error {
		j, f, again, err := t.begin(ctx, agentID, session, r)
		if err != nil || again || f.Status == controller.AttemptUploaded {
			return err
		}
		if f.Kind != wire.JobBackup {
			return wire.Failf(wire.CodeBadRequest, "attempt %d of job %d uploads nothing", f.No, f.JobID)
		}
		if f.Cancelling {
			return cancelled(f.CancelReason)
		}
		if err := t.acknowledge(ctx, f, r.Done); err != nil {
			return err
		}
		if err := t.checkParts(ctx, f, r.Statement); err != nil {
			return err
		}
		_, err = t.exec(ctx, `UPDATE attempts SET status = 'uploaded', statement = ?, log = ?, millis = ?::jsonb, lease_until = NULL, suspect_at = NULL, suspect_clock = NULL,
			stage = ?, rows = ?, reported_at = now() WHERE job_id = ? AND no = ? AND status = 'running'`,
			[]byte(r.Statement), cut(r.Log, maxLog), jsonText(millis(r)), wire.StageFinish, r.Rows, f.JobID, f.No)
		if err != nil {
			return err
		}
		_, err = t.exec(ctx, "UPDATE jobs SET status = 'finishing', waiting = '', claim_owner = '', claim_until = '-infinity' WHERE id = ?", j.ID)
		return err
	})
	return c.refused(ctx, agentID, err)
}

func millis(r wire.Report) map[string]int64 {
	if r.Millis == nil {
		return map[string]int64{}
	}
	return r.Millis
}

// checkParts holds the statement's parts against those that were signed and acknowledged.
func (t *tx) checkParts(ctx context.Context, f fenced, signed json.RawMessage) error {
	refuse := func(format string, args ...any) error {
		return wire.Failf(wire.CodeStatement, "the agent's statement is refused: "+format, args...).At(wire.StageFinish)
	}
	var outer artifact.SignedStatement
	var st artifact.Statement
	if err := json.Unmarshal(signed, &outer); err != nil {
		return refuse("%w", err)
	}
	if err := json.Unmarshal(outer.Statement, &st); err != nil {
		return refuse("%w", err)
	}
	if f.OrderBody.Local {
		if st.Parts != 0 || st.PartSize != 0 {
			return refuse("it lists %d parts, a backup on the host itself has none", st.Parts)
		}
		return nil
	}
	var have struct {
		Parts   int
		Last    int
		Acked   int
		Bytes   int64
		Missing int
	}
	err := t.scan(ctx, &have, `SELECT count(*)::int AS parts, coalesce(max(number), 0) AS last, count(*) FILTER (WHERE etag <> '')::int AS acked,
		coalesce(sum(size), 0)::bigint AS bytes, coalesce(min(number) FILTER (WHERE etag = ''), 0) AS missing
		FROM upload_parts WHERE job_id = ? AND no = ? AND object = 'artifact'`, f.JobID, f.No)
	switch {
	case err != nil:
		return err
	case st.Parts < 1:
		return refuse("it lists no parts")
	case have.Parts != st.Parts || have.Last != st.Parts:
		return refuse("it lists %d parts, %d were signed up to number %d", st.Parts, have.Parts, have.Last)
	case have.Acked != have.Parts:
		return refuse("part %d was not acknowledged by the store", have.Missing)
	case have.Bytes != st.StoredSize:
		return refuse("it states %d bytes, parts of %d were signed", st.StoredSize, have.Bytes)
	}
	return nil
}

// ReportDone commits the outcome of a verification, of a restore or of what is done about one, or the failure of any attempt. Repeating the report changes
// nothing; a report of an attempt that no longer stands is CodeStale.
func (c *Catalog) ReportDone(ctx context.Context, agentID, session string, r wire.Report) error {
	err := c.system(ctx, func(t *tx) error {
		j, f, again, err := t.begin(ctx, agentID, session, r)
		if err != nil || again {
			return err
		}
		if f.Status == controller.AttemptUploaded {
			return wire.Failf(wire.CodeStale, "attempt %d of job %d was reported as uploaded", f.No, f.JobID)
		}
		if _, err := t.exec(ctx, "UPDATE attempts SET log = ?, millis = ?::jsonb, reported_at = now() WHERE job_id = ? AND no = ?",
			cut(r.Log, maxLog), jsonText(millis(r)), f.JobID, f.No); err != nil {
			return err
		}
		switch {
		case r.Outcome == wire.OutcomeFailed && r.Failure != nil:
			_, err = t.endAttempt(ctx, j, controller.AttemptFailed, cleanFailure(r.Failure))
			return err
		case r.Outcome == wire.OutcomeVerified && f.Kind == wire.JobVerify && r.Read != nil:
			return t.verified(ctx, j, f, r)
		case r.Outcome == wire.OutcomeRestored && f.Kind == wire.JobRestore && r.Restored != nil:
			return t.restored(ctx, j, f, r)
		case r.Outcome == wire.OutcomeSettled && f.Kind == wire.JobUndo && settles(r.Swapped):
			return t.undone(ctx, j, f, r)
		case r.Outcome == wire.OutcomeSettled && f.Kind == wire.JobSettle && settles(r.Swapped):
			return t.settled(ctx, j, f, r)
		case r.Outcome == wire.OutcomeDiscarded && f.Kind == wire.JobDiscard:
			return t.discarded(ctx, j, f)
		}
		return wire.Failf(wire.CodeBadRequest, "outcome %.40q is not one of a %s, or its result is missing", r.Outcome, f.Kind)
	})
	return c.refused(ctx, agentID, err)
}

// cleanFailure bounds what an agent may have stored.
func cleanFailure(f *wire.Failure) *wire.Failure {
	return &wire.Failure{
		Code: cut(orText(f.Code, wire.CodeInternal), 100), Stage: cut(f.Stage, 40), Message: cut(f.Message, 4000), Hint: cut(f.Hint, 2000), Retryable: f.Retryable,
	}
}

// differs tells in what the bytes that were read differ from the backup's, or nil.
func (t *tx) differs(ctx context.Context, backup int64, read *wire.ReadResult) (*wire.Failure, error) {
	var b struct {
		FileSize, RawSize     int64
		Checksum, RawChecksum string
	}
	err := t.scan(ctx, &b, "SELECT file_size, checksum, coalesce(raw_size, 0) AS raw_size, coalesce(raw_checksum, '') AS raw_checksum FROM database_backups WHERE id = ?", backup)
	switch {
	case err != nil:
		return nil, err
	case read.StoredSize != b.FileSize || read.StoredSHA256 != b.Checksum:
		return wire.Failf(wire.CodeChecksum, "the stored bytes are not those of the backup: %d bytes with SHA-256 %.64s were read, %d with %s are known",
			read.StoredSize, read.StoredSHA256, b.FileSize, b.Checksum).At(wire.StageVerify), nil
	case read.RawSHA256 != "" && (read.RawSHA256 != b.RawChecksum || read.RawSize != b.RawSize):
		return wire.Failf(wire.CodeCorrupt, "the decoded dump is not that of the backup: %d bytes with SHA-256 %.64s were read, %d with %s are known",
			read.RawSize, read.RawSHA256, b.RawSize, b.RawChecksum).At(wire.StageVerify), nil
	}
	return nil, nil
}

func (t *tx) verified(ctx context.Context, j openJob, f fenced, r wire.Report) error {
	level := levelOf(j)
	fail, err := t.differs(ctx, f.BackupID, r.Read)
	if err == nil && fail == nil && level == wire.LevelContent && r.Read.RawSHA256 == "" {
		fail = wire.Failf(wire.CodeBadRequest, "the agent reported a content verification without the dump's checksum").At(wire.StageVerify)
	}
	if err != nil {
		return err
	}
	if fail != nil {
		_, err := t.endAttempt(ctx, j, controller.AttemptFailed, fail)
		return err
	}
	// The bytes are the same as at an earlier content verification, so a checksum renews it and does not take it away. A backup whose
	// content was found corrupt is cleared by its content only.
	_, err = t.exec(ctx, `UPDATE database_backups b SET
			verified_by_host = CASE WHEN b.verified_level IS NULL THEN b.server_id = v.server_id
				WHEN b.verified_level = v.level THEN b.verified_by_host AND b.server_id = v.server_id
				WHEN v.level = 'content' THEN b.server_id = v.server_id ELSE b.verified_by_host END,
			verified_level = CASE WHEN b.verified_level = 'content' THEN 'content' ELSE v.level END,
			verified_at = now(), health = CASE WHEN b.health IN ('corrupt', 'missing', 'archived') THEN 'ok' ELSE b.health END,
			health_reason = CASE WHEN b.health IN ('corrupt', 'missing', 'archived') THEN '' ELSE b.health_reason END,
			health_at = CASE WHEN b.health IN ('corrupt', 'missing', 'archived') THEN now() ELSE b.health_at END
		FROM (SELECT ?::bigint AS server_id, ?::text AS level) v
		WHERE b.id = ? AND b.status = 'completed' AND NOT (b.health = 'corrupt' AND v.level = 'checksum'
			AND coalesce((SELECT w.level FROM verifications w WHERE w.backup_id = b.id AND NOT w.ok ORDER BY w.id DESC LIMIT 1), '') = 'content')`,
		j.ServerID, level, f.BackupID)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO verifications (project_id, backup_id, job_id, server_id, level, ok, own_host)
		SELECT b.project_id, b.id, ?, ?, ?, true, b.server_id = ? FROM database_backups b WHERE b.id = ?`, j.ID, j.ServerID, level, j.ServerID, f.BackupID)
	if err != nil {
		return err
	}
	return t.complete(ctx, j)
}

func (t *tx) restored(ctx context.Context, j openJob, f fenced, r wire.Report) error {
	var inPlace bool
	if err := t.scan(ctx, &inPlace, "SELECT in_place FROM restores WHERE id = ?", f.RestoreID); err != nil {
		return err
	}
	if inPlace {
		if !settles(r.Swapped) || r.Swapped.State != wire.SwapAfter {
			return wire.Failf(wire.CodeBadRequest, "attempt %d of job %d restores in place, and its report does not say that the swap took place", f.No, f.JobID)
		}
		if err := t.replaced(ctx, *f.RestoreID); err != nil {
			return err
		}
	} else {
		r.Swapped = nil
	}
	if r.Read != nil {
		fail, err := t.differs(ctx, f.BackupID, r.Read)
		if err != nil {
			return err
		}
		if fail != nil {
			fail.Stage = wire.StageRestore
			if inPlace {
				fail = fail.WithHint("the target has this content; `devflowctl restore undo %d` brings the old one back", *f.RestoreID)
			}
			_, err := t.endAttempt(ctx, j, controller.AttemptFailed, fail)
			return err
		}
	}
	return t.completeRestore(ctx, j, f, controller.RestoreOutcome{RestoreResult: *r.Restored, Swapped: cleanSwap(r.Swapped)})
}

// completeRestore ends the row of a restore or an undo with success, and its job.
func (t *tx) completeRestore(ctx context.Context, j openJob, f fenced, result controller.RestoreOutcome) error {
	_, err := t.exec(ctx, "UPDATE restores SET status = 'completed', result = ?::jsonb, completed_at = now() WHERE id = ? AND status IN ('pending', 'running')",
		jsonText(result), f.RestoreID)
	if err != nil {
		return err
	}
	return t.complete(ctx, j)
}

// complete ends a job and its attempt with success.
func (t *tx) complete(ctx context.Context, j openJob) error {
	n, err := t.exec(ctx, "UPDATE attempts SET status = 'completed', ended_at = now(), lease_until = NULL, suspect_at = NULL WHERE job_id = ? AND no = ? AND "+attemptOpen, j.ID, j.AttemptNo)
	if err != nil {
		return err
	}
	if n != 1 {
		return fmt.Errorf("complete attempt %d of job %d: %d rows", j.AttemptNo, j.ID, n)
	}
	// The owner of the claim stays: a repeated completion is known by it.
	n, err = t.exec(ctx, "UPDATE jobs SET status = 'completed', failure = NULL, waiting = '', claim_until = '-infinity', ended_at = now() WHERE id = ? AND "+jobOpen, j.ID)
	if err == nil && n != 1 {
		err = fmt.Errorf("complete job %d: %d rows", j.ID, n)
	}
	if err != nil || j.Kind == wire.JobBackup { // the fleet, which knows the artifact, tells of a completed backup
		return err
	}
	args, err := t.describe(ctx, j)
	if err == nil {
		t.after(func() { t.cat.log.Info(j.Kind+" completed", args...) })
	}
	return err
}
