package catalog

import (
	"context"
	"fmt"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

const (
	jobOpen     = "status IN ('queued', 'running', 'finishing')"
	attemptOpen = "status IN ('offered', 'running', 'uploaded')"
	maxLog      = 64 << 10
)

// openJob is an open job, locked, with its open attempt where it has one.
type openJob struct {
	ID          int64
	Kind        string
	ProjectID   int64
	ServerID    int64
	BackupID    int64
	RestoreID   *int64
	Level       *string
	Status      string
	MaxAttempts int
	AttemptNo   int
	Cancelling  bool // someone asked to cancel it
	InTime      bool // its deadline has not passed
	ClaimOwner  string

	AttemptStatus string // empty: no attempt is open
	Token         string
	Session       string
}

func (j openJob) attempt() wire.Attempt {
	return wire.Attempt{Job: j.ID, No: j.AttemptNo, Token: j.Token}
}

const openJobColumns = `j.id, j.kind, j.project_id, j.server_id, j.backup_id, j.restore_id, j.level, j.status, j.max_attempts, j.attempt_no,
	j.cancel_requested_at IS NOT NULL AS cancelling, clock_timestamp() < j.deadline_at AS in_time, j.claim_owner,
	coalesce(a.status, '') AS attempt_status, coalesce(a.token, '') AS token, coalesce(a.session, '') AS session`

// lockJobs locks the open jobs that meet a condition on jobs j, in the order of their ids, and reads them with their open attempts.
func (t *tx) lockJobs(ctx context.Context, where string, args ...any) ([]openJob, error) {
	return t.lockJobsBy(ctx, "FOR UPDATE", where, args...)
}

func (t *tx) lockJobsBy(ctx context.Context, how, where string, args ...any) ([]openJob, error) {
	// Two statements: the second one sees what another transaction committed while the first one waited.
	var ids []int64
	if err := t.scan(ctx, &ids, `SELECT j.id FROM jobs j WHERE j.`+jobOpen+` AND (`+where+`) ORDER BY j.id `+how, args...); err != nil || len(ids) == 0 {
		return nil, err
	}
	var jobs []openJob
	err := t.scan(ctx, &jobs, `SELECT `+openJobColumns+` FROM jobs j LEFT JOIN attempts a ON a.job_id = j.id AND a.no = j.attempt_no AND a.`+attemptOpen+`
		WHERE j.id = ANY (?) AND j.`+jobOpen+` ORDER BY j.id`, idArray(ids))
	return jobs, err
}

// lockAttempt locks the job of an attempt and returns it if exactly that attempt is open. Otherwise the failure is CodeStale.
func (t *tx) lockAttempt(ctx context.Context, a wire.Attempt) (openJob, error) {
	jobs, err := t.lockJobs(ctx, "j.id = ?", a.Job)
	if err != nil {
		return openJob{}, err
	}
	if len(jobs) == 0 || jobs[0].AttemptStatus == "" || jobs[0].AttemptNo != a.No || jobs[0].Token != a.Token {
		return openJob{}, stale(a)
	}
	return jobs[0], nil
}

func stale(a wire.Attempt) *wire.Failure {
	return wire.Failf(wire.CodeStale, "attempt %d of job %d no longer stands", a.No, a.Job)
}

// endOpen ends an open job, whether or not an attempt of it is open; the failure decides how.
func (t *tx) endOpen(ctx context.Context, j openJob, attemptStatus string, fail *wire.Failure) error {
	if j.AttemptStatus == "" {
		return t.endJob(ctx, j, endStatus(j, fail), fail)
	}
	_, err := t.endAttempt(ctx, j, attemptStatus, fail)
	return err
}

// endAttempt is the one rule for an attempt that ends without success. A retryable failure is followed by another attempt while
// the job's limit and deadline allow; else the job ends. It tells whether another attempt follows.
func (t *tx) endAttempt(ctx context.Context, j openJob, status string, fail *wire.Failure) (requeued bool, err error) {
	if j.Cancelling && status != controller.AttemptLost {
		status = controller.AttemptCancelled
	}
	n, err := t.exec(ctx, `UPDATE attempts SET status = ?, failure = ?::jsonb, ended_at = now(), lease_until = NULL,
		sweep_after = CASE WHEN key <> '' THEN now() END WHERE job_id = ? AND no = ? AND token = ? AND `+attemptOpen,
		status, jsonText(fail), j.ID, j.AttemptNo, j.Token)
	if err != nil {
		return false, err
	}
	if n == 0 {
		return false, stale(j.attempt())
	}
	if !j.Cancelling && fail.Retryable && j.AttemptNo < j.MaxAttempts && j.InTime {
		wait := t.cat.opts.Retry.Wait(j.AttemptNo + 1)
		_, err := t.exec(ctx, `UPDATE jobs SET status = 'queued', not_before = now() + ?, claim_owner = '', claim_until = '-infinity', waiting = ? WHERE id = ?`,
			interval(wait), cut(fmt.Sprintf("attempt %d ended: %s; another one follows", j.AttemptNo, fail.Message), 500), j.ID)
		if err != nil {
			return false, err
		}
		if err := t.setOutcomeRows(ctx, j, controller.StatusPending, nil); err != nil {
			return false, err
		}
		t.after(func() {
			t.cat.log.Warn("attempt ended, another follows", "job_id", j.ID, "kind", j.Kind, "attempt", j.AttemptNo, "status", status,
				"code", fail.Code, "err", fail.Message, "again_in", wait.String())
		})
		return true, nil
	}
	return false, t.endJob(ctx, j, endStatus(j, fail), fail)
}

func endStatus(j openJob, fail *wire.Failure) string {
	switch {
	case j.Cancelling:
		return controller.JobCancelled
	case fail.Code == wire.CodeTimedOut:
		return controller.JobTimedOut
	}
	return controller.JobFailed
}

// endJob ends a job without success, and what it was to make with it.
func (t *tx) endJob(ctx context.Context, j openJob, status string, fail *wire.Failure) error {
	if status == controller.JobCancelled && fail.Code != wire.CodeCancelled {
		var reason string
		if err := t.scan(ctx, &reason, "SELECT cancel_reason FROM jobs WHERE id = ?", j.ID); err != nil {
			return err
		}
		fail = cancelled(reason)
	}
	n, err := t.exec(ctx, `UPDATE jobs SET status = ?, failure = ?::jsonb, waiting = '', claim_owner = '', claim_until = '-infinity', ended_at = now()
		WHERE id = ? AND `+jobOpen, status, jsonText(fail), j.ID)
	if err != nil || n == 0 {
		return err
	}
	if err := t.setOutcomeRows(ctx, j, controller.StatusFailed, fail); err != nil {
		return err
	}
	switch {
	case fail.Code == wire.CodeArchived && (j.Kind == wire.JobVerify || j.Kind == wire.JobRestore):
		err = t.archived(ctx, j, fail)
	case j.Kind == wire.JobVerify:
		err = t.verifyFailed(ctx, j, fail)
	case j.Kind == wire.JobSettle:
		err = t.settleFailed(ctx, j)
	case j.Kind == wire.JobDiscard:
		err = t.discardFailed(ctx, j, fail)
	}
	if err != nil {
		return err
	}
	args, err := t.describe(ctx, j)
	if err != nil {
		return err
	}
	args = append(args, "status", status, "attempt", j.AttemptNo, "code", fail.Code, "stage", fail.Stage, "err", fail.Message)
	t.after(func() {
		if status == controller.JobCancelled {
			t.cat.log.Warn(j.Kind+" cancelled", args...)
			return
		}
		t.cat.log.Error(j.Kind+" failed", args...)
	})
	return nil
}

// describe is what the one log line of an operation says about it.
func (t *tx) describe(ctx context.Context, j openJob) ([]any, error) {
	var d struct {
		Project, Database, Server, Checksum string
		Bytes                               int64
		Seconds                             float64
	}
	err := t.scan(ctx, &d, `SELECT p.slug AS project, b.database_name AS "database", coalesce(s.name, '') AS server, coalesce(b.checksum, '') AS checksum,
		coalesce(b.file_size, 0) AS bytes, extract(epoch FROM clock_timestamp() - coalesce(q.started_at, q.created_at))::float8 AS seconds
		FROM jobs q JOIN database_backups b ON b.id = q.backup_id JOIN projects p ON p.id = q.project_id LEFT JOIN servers s ON s.id = q.server_id WHERE q.id = ?`, j.ID)
	if err != nil {
		return nil, err
	}
	args := []any{"job_id", j.ID, "backup_id", j.BackupID, "project", d.Project, "database", d.Database, "server", d.Server}
	if d.Checksum != "" {
		args = append(args, "bytes", d.Bytes, "checksum", d.Checksum)
	}
	if j.Level != nil {
		args = append(args, "level", *j.Level)
	}
	return append(args, "duration", time.Duration(d.Seconds*float64(time.Second)).Round(time.Millisecond).String()), nil
}

func cancelled(reason string) *wire.Failure {
	if reason == "" {
		reason = "no reason given"
	}
	return wire.Failf(wire.CodeCancelled, "cancelled: %s", reason)
}

// setOutcomeRows moves the row that a backup or restore job makes: to pending again, or to failed.
func (t *tx) setOutcomeRows(ctx context.Context, j openJob, status string, fail *wire.Failure) error {
	table, id := "database_backups", j.BackupID
	switch j.Kind {
	case wire.JobBackup:
	case wire.JobRestore, wire.JobUndo:
		if j.RestoreID == nil {
			return nil
		}
		table, id = "restores", *j.RestoreID
	default:
		return nil
	}
	if fail == nil {
		_, err := t.exec(ctx, "UPDATE "+table+" SET status = ? WHERE id = ? AND status IN ('pending', 'running')", status, id)
		return err
	}
	// The panel shows completed_at as the end of a backup, however it ended.
	_, err := t.exec(ctx, "UPDATE "+table+" SET status = ?, error_code = ?, error_message = ?, error_hint = ?, completed_at = now() WHERE id = ? AND status IN ('pending', 'running')",
		status, cut(fail.Code, 100), cut(fail.Message, 4000), orNull(cut(fail.Hint, 2000)), id)
	if err == nil && table == "restores" {
		err = t.swapEnded(ctx, j)
	}
	return err
}

// verifyFailed marks a backup that was proven damaged. A verification that could not be made says nothing about it.
func (t *tx) verifyFailed(ctx context.Context, j openJob, fail *wire.Failure) error {
	health := controller.HealthCorrupt
	switch fail.Code {
	case wire.CodeCorrupt, wire.CodeChecksum, wire.CodeRecord:
	case wire.CodeMissing:
		health = controller.HealthMissing
	default:
		return nil
	}
	_, err := t.exec(ctx, `UPDATE database_backups SET health = ?, health_reason = ?, health_at = now(), verified_at = NULL, verified_level = NULL, verified_by_host = false
		WHERE id = ? AND status = 'completed' AND health IN ('ok', 'missing', 'corrupt')`, health, cut(fail.Error(), 2000), j.BackupID)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO verifications (project_id, backup_id, job_id, server_id, level, ok, own_host, failure)
		SELECT b.project_id, b.id, ?, ?, ?, false, b.server_id = ?, ?::jsonb FROM database_backups b WHERE b.id = ?`,
		j.ID, j.ServerID, levelOf(j), j.ServerID, jsonText(fail), j.BackupID)
	return err
}

// archived marks a backup that its storage has to bring back before it can be read. What was proven of it holds.
func (t *tx) archived(ctx context.Context, j openJob, fail *wire.Failure) error {
	reason := "its storage has to bring it back from an archive before it can be read: ask the store for it (on AWS `aws s3api restore-object`), " +
		"then have the storage looked at with `devflowctl storage inventory --now`"
	_, err := t.exec(ctx, `UPDATE database_backups SET health = 'archived', health_reason = ?, health_at = now() WHERE id = ? AND status = 'completed' AND health IN ('ok', 'missing')`,
		cut(reason+"; "+fail.Message, 1000), j.BackupID)
	return err
}

func levelOf(j openJob) string {
	if j.Level == nil {
		return wire.LevelChecksum
	}
	return *j.Level
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// caller is the agent that speaks, as the catalog knows it.
type caller struct {
	ID      int64
	AgentID string
	Name    string
	Session string
	Revoked bool
}

// speaker checks that an agent may speak at all and that its session is the current one.
func (t *tx) speaker(ctx context.Context, agentID, session string) (caller, error) {
	var s caller
	found, err := t.find(ctx, &s, "SELECT id, agent_id, name, session, revoked_at IS NOT NULL AS revoked FROM servers WHERE agent_id = ?", agentID)
	switch {
	case err != nil:
		return s, err
	case !found || s.Revoked:
		return s, wire.Failf(wire.CodeRevoked, "this server is not known or was revoked").WithHint("enrol the host again under a new token")
	case session == "" || s.Session != session:
		return s, wire.Failf(wire.CodeSuperseded, "this session of the agent is not the current one").WithHint("say hello first; if another machine has this identity, enrol one of them anew")
	}
	return s, nil
}

// fenced is the attempt that an agent speaks for, locked.
type fenced struct {
	JobID        int64
	No           int
	Kind         string
	BackupID     int64
	RestoreID    *int64
	Status       string
	JobStatus    string
	Cancelling   bool
	CancelReason string
	StorageID    int64
	AttemptID    string
	Key          string
	UploadID     string
	PartSize     int64
	BytesLimit   int64
	BytesSigned  int64
	OrderBody    orderBody
}

// orderBody is what was ordered besides the attempt's columns: it must not change with the project or the storage.
type orderBody struct {
	Recipients []string    `json:"recipients,omitempty"`
	Checksum   string      `json:"checksum,omitempty"`
	Codec      *wire.Codec `json:"codec,omitempty"` // without recipients
	Local      bool        `json:"local,omitempty"`
	MaxParts   int         `json:"max_parts,omitempty"` // that the store takes, where it is fewer than usual
}

// codec is the one ordered; of an order that did not keep it, the backup's.
func (o orderBody) codec(b controller.Backup) wire.Codec {
	c := wire.Codec{Compression: b.Compression, Level: b.Level, Encryption: b.Encryption}
	if o.Codec != nil {
		c = *o.Codec
	}
	c.Recipients = o.Recipients
	return c
}

// fence checks an agent's message about an attempt: server and session are current, the token stands. It locks the attempt, and
// the job only against its end. An offered attempt is thereby accepted: only its agent knows the token, the answer that said so was lost.
func (t *tx) fence(ctx context.Context, agentID, session string, a wire.Attempt) (fenced, error) {
	var f fenced
	s, err := t.speaker(ctx, agentID, session)
	if err != nil {
		return f, err
	}
	// Whoever ends or accepts an attempt locks its job first. So does this, weakly: an acceptance below makes PostgreSQL look at the job.
	if _, err := t.exec(ctx, "SELECT FROM jobs WHERE id = ? FOR KEY SHARE", a.Job); err != nil {
		return f, err
	}
	found, err := t.find(ctx, &f, `SELECT a.job_id, a.no, j.kind, j.backup_id, j.restore_id, a.status, j.status AS job_status,
			j.cancel_requested_at IS NOT NULL AS cancelling, j.cancel_reason, coalesce(a.storage_id, 0) AS storage_id, a.attempt_id, a.key, a.upload_id,
			a.part_size, a.bytes_limit, a.bytes_signed, coalesce(a.order_body, '{}') AS order_body
		FROM attempts a JOIN jobs j ON j.id = a.job_id
		WHERE a.job_id = ? AND a.no = ? AND a.token = ? AND a.server_id = ? AND (a.session = ? OR a.status = 'offered') AND a.`+attemptOpen+` FOR UPDATE OF a`,
		a.Job, a.No, a.Token, s.ID, session)
	if err != nil {
		return f, err
	}
	if !found {
		return f, stale(a)
	}
	if f.Status == controller.AttemptOffered {
		if err := t.accept(ctx, a, session); err != nil {
			return f, err
		}
		f.Status = controller.AttemptRunning
	}
	return f, nil
}

func (t *tx) accept(ctx context.Context, a wire.Attempt, session string) error {
	_, err := t.exec(ctx, `UPDATE attempts SET status = 'running', session = ?, accepted_at = now(), lease_until = now() + ?, suspect_at = NULL, suspect_clock = NULL
		WHERE job_id = ? AND no = ? AND token = ? AND status = 'offered'`, session, interval(t.cat.opts.Lease), a.Job, a.No, a.Token)
	return err
}

// refused records what a refused message means for security, outside the transaction that refused it, and returns the refusal.
func (c *Catalog) refused(ctx context.Context, agentID string, err error) error {
	var kind, detail string
	switch {
	case wire.HasCode(err, wire.CodeStale):
		kind, detail = controller.EventStaleAttempt, "a message for an attempt that no longer stands was refused"
	case wire.HasCode(err, wire.CodeSuperseded):
		kind, detail = controller.EventDuplicateAgent, "a message of a session that is not the current one was refused"
	case wire.HasCode(err, wire.CodeRevoked):
		kind, detail = controller.EventRevoked, "a message of a revoked or unknown server was refused: "+cut(agentID, 64)
	default:
		return err
	}
	if e := c.AddSecurityEvent(ctx, agentID, kind, detail, 1); e != nil && ctx.Err() == nil {
		c.log.Error("record security event", "kind", kind, "server", agentID, "err", e)
	}
	return err
}

// seconds is d in whole seconds, at least one.
func seconds(d time.Duration) int64 { return max(int64(d/time.Second), 1) }
