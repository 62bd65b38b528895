package catalog

import (
	"context"
	"errors"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

// ClaimOffers takes up to limit attempts to deliver: new attempts of queued jobs whose agent is online and not at its limit, oldest
// first, and attempts that were offered and that nobody delivers at the moment. Each is claimed for 30 seconds; no two controllers
// get the same one. Jobs that cannot be dispatched say why.
func (c *Catalog) ClaimOffers(ctx context.Context, limit int) ([]controller.Offer, error) {
	var offers []controller.Offer
	err := c.system(ctx, func(t *tx) error {
		offers = nil
		// One claim at a time: what a server may run at once is counted, which row locks do not protect.
		if _, err := t.exec(ctx, "SELECT pg_advisory_xact_lock(?)", lockClaim); err != nil {
			return err
		}
		var queued bool // a job that is due, which is rare: what follows costs more than to ask
		if err := t.scan(ctx, &queued, "SELECT EXISTS (SELECT FROM jobs q WHERE "+queuedDue+")"); err != nil {
			return err
		}
		if queued {
			if err := t.explainWaiting(ctx); err != nil {
				return err
			}
		}
		again, err := t.claimOffered(ctx, limit)
		if err != nil {
			return err
		}
		var fresh []int64
		if queued {
			if fresh, err = t.claimQueued(ctx, limit-len(again)); err != nil {
				return err
			}
		}
		for _, job := range append(again, fresh...) {
			o, err := t.offer(ctx, job)
			if err != nil {
				return err
			}
			offers = append(offers, o)
		}
		return nil
	})
	return offers, err
}

// queuedDue is the condition that job q is queued and due.
const queuedDue = "q.status = 'queued' AND q.not_before <= now() AND q.cancel_requested_at IS NULL"

// explainWaiting tells people why a job that is due has not started.
func (t *tx) explainWaiting(ctx context.Context) error {
	_, err := t.exec(ctx, `WITH busy AS (
			SELECT server_id, count(*) AS n FROM attempts WHERE status IN ('offered', 'running') GROUP BY server_id),
		why AS (
			SELECT q.id, CASE
				WHEN f.id IS NOT NULL THEN 'waits for safety backup ' || f.backup_id
				WHEN s.last_seen_at IS NULL OR s.session = '' THEN 'the agent on ' || s.name || ' has never connected'
				WHEN NOT `+t.cat.online()+` THEN 'the agent on ' || s.name || ' is offline since ' || to_char(s.last_seen_at, 'YYYY-MM-DD HH24:MI:SS') || ' UTC'
				WHEN coalesce(b.n, 0) >= s.concurrency THEN s.name || ' already runs ' || b.n || CASE WHEN b.n = 1 THEN ' job' ELSE ' jobs' END
				ELSE q.waiting END AS text
			FROM jobs q JOIN servers s ON s.id = q.server_id LEFT JOIN busy b ON b.server_id = s.id
			LEFT JOIN jobs f ON f.id = q.after_job_id AND f.status <> 'completed'
			WHERE `+queuedDue+`),
		free AS (SELECT j.id, why.text FROM jobs j JOIN why ON why.id = j.id WHERE j.status = 'queued' AND j.waiting <> why.text FOR UPDATE OF j SKIP LOCKED)
		UPDATE jobs SET waiting = free.text FROM free WHERE jobs.id = free.id`)
	return err
}

// claimOffered takes attempts that were offered before and whose delivery nobody works on.
func (t *tx) claimOffered(ctx context.Context, limit int) ([]int64, error) {
	var jobs []int64
	err := t.scan(ctx, &jobs, `UPDATE jobs SET claim_owner = ?, claim_until = now() + ? WHERE id IN (
		SELECT j.id FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.no = j.attempt_no JOIN servers s ON s.id = j.server_id
		WHERE j.status = 'running' AND a.status = 'offered' AND j.claim_until < now() AND j.cancel_requested_at IS NULL AND `+t.cat.online()+`
		ORDER BY j.not_before, j.id LIMIT ? FOR UPDATE OF j SKIP LOCKED) RETURNING id`, t.cat.opts.ControllerID, interval(offerTime), max(limit, 0))
	if err != nil || len(jobs) == 0 {
		return nil, err
	}
	// A restarted agent hears it under its new session.
	_, err = t.exec(ctx, `UPDATE attempts a SET session = s.session FROM servers s WHERE s.id = a.server_id AND a.job_id = ANY (?) AND a.status = 'offered'`, idArray(jobs))
	return jobs, err
}

// claimQueued makes attempts of jobs that are due.
func (t *tx) claimQueued(ctx context.Context, limit int) ([]int64, error) {
	if limit <= 0 {
		return nil, nil
	}
	type due struct {
		ID        int64
		Kind      string
		ProjectID int64
		ServerID  int64
		BackupID  int64
		RestoreID *int64
		AttemptNo int
		Session   string
		Now       time.Time
	}
	var jobs []due
	err := t.scan(ctx, &jobs, `SELECT j.id, j.kind, j.project_id, j.server_id, j.backup_id, j.restore_id, j.attempt_no, s.session, now() AS now
		FROM jobs j JOIN servers s ON s.id = j.server_id
		JOIN (SELECT q.id, row_number() OVER (PARTITION BY q.server_id ORDER BY q.not_before, q.id) AS place FROM jobs q
			WHERE `+queuedDue+` AND q.deadline_at > now()
			AND (q.after_job_id IS NULL OR EXISTS (SELECT FROM jobs f WHERE f.id = q.after_job_id AND f.status = 'completed'))) r ON r.id = j.id
		WHERE j.status = 'queued' AND `+t.cat.online()+`
		AND r.place <= s.concurrency - (SELECT count(*) FROM attempts a WHERE a.server_id = s.id AND a.status IN ('offered', 'running'))
		ORDER BY j.not_before, j.id LIMIT ? FOR UPDATE OF j SKIP LOCKED`, limit)
	if err != nil {
		return nil, err
	}
	ids := make([]int64, 0, len(jobs))
	for _, j := range jobs {
		no := j.AttemptNo + 1
		if _, err := t.exec(ctx, "INSERT INTO attempts (job_id, no, project_id, server_id, token, session) VALUES (?, ?, ?, ?, ?, ?)",
			j.ID, no, j.ProjectID, j.ServerID, wire.NewID(), j.Session); err != nil {
			return nil, err
		}
		if _, err := t.exec(ctx, `UPDATE jobs SET status = 'running', attempt_no = ?, waiting = '', started_at = coalesce(started_at, now()),
			claim_owner = ?, claim_until = now() + ? WHERE id = ?`, no, t.cat.opts.ControllerID, interval(offerTime), j.ID); err != nil {
			return nil, err
		}
		switch j.Kind {
		case wire.JobBackup:
			err = t.orderBackup(ctx, j.ID, no, j.BackupID, j.Now)
		case wire.JobRestore, wire.JobUndo:
			_, err = t.exec(ctx, "UPDATE restores SET status = 'running', started_at = coalesce(started_at, now()) WHERE id = ? AND status = 'pending'", j.RestoreID)
		}
		if err != nil {
			return nil, err
		}
		ids = append(ids, j.ID)
	}
	return ids, nil
}

// orderBackup fixes what an attempt at a backup is to make: key, codec, recipients, part size, limit. One on the host itself has
// neither parts nor a limit: the host's own setting says how much of its disk stays free.
func (t *tx) orderBackup(ctx context.Context, job int64, no int, backup int64, at time.Time) error {
	var b struct {
		DatabaseName  string
		DatabaseType  string
		Compression   string
		Level         int
		Encryption    string
		StorageID     int64
		Kind          string
		Prefix        string
		ChecksumMode  string
		MaxParts      int
		Recipient     string
		Escrow        []string
		DatabaseBytes int64
		LastBytes     int64
	}
	err := t.scan(ctx, &b, `SELECT b.database_name, b.database_type, b.compression, b.level, b.encryption, b.storage_id, st.kind, st.prefix, st.checksum_mode,
			CASE WHEN st.probe->'capabilities'->>'max_parts' ~ '^[0-9]{1,6}$' THEN (st.probe->'capabilities'->>'max_parts')::int ELSE 0 END AS max_parts,
			p.age_recipient AS recipient, to_jsonb(p.escrow_recipients) AS escrow, d.size_bytes AS database_bytes,
			coalesce((SELECT greatest(o.file_size, o.raw_size) FROM database_backups o WHERE o.database_id = b.database_id AND o.status = 'completed' ORDER BY o.id DESC LIMIT 1), 0) AS last_bytes
		FROM database_backups b JOIN storages st ON st.id = b.storage_id JOIN projects p ON p.id = b.project_id JOIN databases d ON d.id = b.database_id WHERE b.id = ?`, backup)
	if err != nil {
		return err
	}
	codec := artifact.Codec{Compression: b.Compression, Level: b.Level, Encryption: b.Encryption}
	body := orderBody{Checksum: b.ChecksumMode, MaxParts: b.MaxParts, Codec: &wire.Codec{Compression: b.Compression, Level: b.Level, Encryption: b.Encryption}}
	upload, partSize := "", controller.PartSize(b.DatabaseBytes, b.MaxParts)
	limit := controller.UploadLimit(b.DatabaseBytes, b.LastBytes, t.cat.opts.MinUploadLimit)
	if b.Kind == controller.StorageLocal {
		body.Local, body.Checksum, body.MaxParts = true, "", 0
		upload, partSize, limit = controller.LocalUpload, 0, 0
	}
	if b.Encryption == controller.EncryptionAge {
		body.Recipients = append([]string{b.Recipient}, b.Escrow...)
	}
	id := artifact.NewAttemptID()
	key := artifact.Key(b.Prefix, at, artifact.FileName(controller.NameInFile(b.DatabaseType, b.DatabaseName), at, id, extension(b.DatabaseType), codec))
	_, err = t.exec(ctx, `UPDATE attempts SET attempt_id = ?, storage_id = ?, key = ?, upload_id = ?, part_size = ?, bytes_limit = ?, order_body = ?::jsonb WHERE job_id = ? AND no = ?`,
		id, b.StorageID, key, upload, partSize, limit, jsonText(body), job, no)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, "UPDATE database_backups SET status = 'running', started_at = coalesce(started_at, now()) WHERE id = ? AND status = 'pending'", backup)
	return err
}

// extension of a raw dump's file.
func extension(engine string) string {
	switch engine {
	case wire.EngineMySQL:
		return "sql"
	case wire.EngineSQLite:
		return "sqlite"
	}
	return "dump"
}

// offer reads the open attempt of a job with everything that delivering it needs.
func (t *tx) offer(ctx context.Context, job int64) (controller.Offer, error) {
	var row struct {
		No        int
		Token     string
		Kind      string
		ProjectID int64
		ServerID  int64
		BackupID  int64
		RestoreID *int64
		Level     string
		Left      float64
		AttemptID string
		Key       string
		UploadID  string
		PartSize  int64
		OrderBody orderBody
	}
	err := t.scan(ctx, &row, `SELECT a.no, a.token, j.kind, j.project_id, j.server_id, j.backup_id, j.restore_id, coalesce(j.level, '') AS level,
			(CASE WHEN j.urgent THEN least(j.max_duration_seconds, extract(epoch FROM j.deadline_at - now())) ELSE j.max_duration_seconds END)::float8 AS "left", a.attempt_id, a.key, a.upload_id, a.part_size,
			coalesce(a.order_body, '{}') AS order_body
		FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.no = j.attempt_no WHERE j.id = ?`, job)
	if err != nil {
		return controller.Offer{}, err
	}
	o := controller.Offer{
		Attempt: wire.Attempt{Job: job, No: row.No, Token: row.Token}, Kind: row.Kind, ProjectID: row.ProjectID, Level: row.Level,
		MaxDuration: max(time.Duration(row.Left*float64(time.Second)), time.Second).Truncate(time.Second),
		AttemptID:   row.AttemptID, Key: row.Key, UploadID: row.UploadID, PartSize: row.PartSize, Recipients: row.OrderBody.Recipients,
	}
	if err := t.scan(ctx, &o.Server, "SELECT "+t.cat.serverColumns()+" FROM servers s WHERE s.id = ?", row.ServerID); err != nil {
		return o, err
	}
	if o.Backup, err = t.backup(ctx, row.BackupID); err != nil {
		return o, err
	}
	o.DatabaseName = o.Backup.DatabaseName
	if row.RestoreID != nil {
		r, err := t.restore(ctx, *row.RestoreID)
		if err != nil {
			return o, err
		}
		o.Restore = &r
	}
	if swaps(row.Kind) {
		return o, nil // nothing is read or written at a store
	}
	access, err := t.access(ctx, o.Backup.StorageID)
	if errors.Is(err, errSealed) {
		// Credentials that do not open fail this job at the store; they must not stop the others.
		t.cat.log.Error("open credentials of storage", "storage_id", o.Backup.StorageID, "err", err)
		err = nil
	}
	if err != nil {
		return o, err
	}
	if row.OrderBody.Checksum != "" {
		access.ChecksumMode = row.OrderBody.Checksum
	}
	o.Storage = &access
	if row.Kind == wire.JobBackup {
		return o, nil
	}
	if o.Objects, err = t.objects(ctx, row.BackupID); err != nil {
		return o, err
	}
	made, err := t.maker(ctx, row.BackupID)
	if err != nil {
		return o, err
	}
	o.AttemptID, o.Recipients = made.AttemptID, made.OrderBody.Recipients
	o.Record, err = t.record(ctx, o.Backup, made, o.Objects)
	return o, err
}

// swaps tells whether a job of that kind only moves or removes what is on the host.
func swaps(kind string) bool {
	return kind == wire.JobUndo || kind == wire.JobSettle || kind == wire.JobDiscard
}

// maker is the attempt that made a completed backup.
type maker struct {
	JobID     int64
	No        int
	AttemptID string
	OrderBody orderBody
}

func (t *tx) maker(ctx context.Context, backup int64) (maker, error) {
	var m maker
	_, err := t.find(ctx, &m, `SELECT a.job_id, a.no, a.attempt_id, coalesce(a.order_body, '{}') AS order_body FROM jobs j JOIN attempts a ON a.job_id = j.id
		WHERE j.backup_id = ? AND j.kind = 'backup' AND a.status = 'completed' ORDER BY j.id DESC LIMIT 1`, backup)
	return m, err
}

func (t *tx) objects(ctx context.Context, backup int64) ([]controller.StoredObject, error) {
	var out []controller.StoredObject
	err := t.scan(ctx, &out, `SELECT object, key, stored_size, stored_sha256, raw_size, raw_sha256, etag AS e_tag, version_id, age_header, decode(mac, 'hex') AS mac FROM backup_objects
		WHERE backup_id = ? ORDER BY object <> 'artifact', object`, backup)
	return out, err
}

// SetUpload stores the upload that was created for an offered attempt and returns the one that stands: the first. An attempt that
// is no longer open is CodeStale: the upload is the caller's to abort, and the sweeper's.
func (c *Catalog) SetUpload(ctx context.Context, a wire.Attempt, uploadID string) (string, error) {
	var stands string
	err := c.system(ctx, func(t *tx) error {
		if uploadID == "" {
			return wire.Failf(wire.CodeInternal, "an upload without an id")
		}
		if _, err := t.exec(ctx, "UPDATE attempts SET upload_id = ? WHERE job_id = ? AND no = ? AND token = ? AND status = 'offered' AND upload_id = ''",
			uploadID, a.Job, a.No, a.Token); err != nil {
			return err
		}
		found, err := t.find(ctx, &stands, "SELECT upload_id FROM attempts WHERE job_id = ? AND no = ? AND token = ? AND "+attemptOpen, a.Job, a.No, a.Token)
		if err == nil && (!found || stands == "") {
			err = stale(a)
		}
		return err
	})
	return stands, err
}

// ReleaseOffer puts an offer that could not be delivered off for a while. It stays offered, and is sent again with the same token.
func (c *Catalog) ReleaseOffer(ctx context.Context, a wire.Attempt, delay time.Duration, waiting string) error {
	return c.system(ctx, func(t *tx) error {
		_, err := t.exec(ctx, `UPDATE jobs j SET claim_until = now() + ?, waiting = CASE WHEN ? = '' THEN waiting ELSE ? END
			WHERE id = ? AND attempt_no = ? AND status = 'running' AND claim_owner = ?
			AND EXISTS (SELECT FROM attempts a WHERE a.job_id = j.id AND a.no = j.attempt_no AND a.token = ? AND a.status = 'offered')`,
			interval(delay), cut(waiting, 500), cut(waiting, 500), a.Job, a.No, c.opts.ControllerID, a.Token)
		return err
	})
}

// AttemptAccepted records that the agent has the attempt in its journal. Repeating it changes nothing; an attempt that no longer
// stands is CodeStale.
func (c *Catalog) AttemptAccepted(ctx context.Context, a wire.Attempt, session string) error {
	return c.system(ctx, func(t *tx) error {
		j, err := t.lockAttempt(ctx, a)
		if err != nil {
			// Its report may have come before the answer to the offer.
			ended, e := t.ended(ctx, a)
			if e != nil {
				return e
			}
			if ended {
				return nil
			}
			return err
		}
		if j.AttemptStatus != controller.AttemptOffered {
			return nil
		}
		var current bool
		if err := t.scan(ctx, &current, "SELECT session = ? AND revoked_at IS NULL FROM servers WHERE id = ?", session, j.ServerID); err != nil {
			return err
		}
		if !current {
			// Not the attempt's end: it is offered again, to the session that is current then.
			return controller.Errorf(controller.EConflict, "the session that accepted attempt %d of job %d is not the current one", a.No, a.Job)
		}
		if err := t.accept(ctx, a, session); err != nil {
			return err
		}
		_, err = t.exec(ctx, "UPDATE jobs SET waiting = '', claim_owner = '', claim_until = '-infinity' WHERE id = ?", j.ID)
		return err
	})
}

// ended tells whether an attempt was ended by its own report.
func (t *tx) ended(ctx context.Context, a wire.Attempt) (bool, error) {
	var ended bool
	_, err := t.find(ctx, &ended, "SELECT status IN ('completed', 'failed', 'cancelled') FROM attempts WHERE job_id = ? AND no = ? AND token = ?", a.Job, a.No, a.Token)
	return ended, err
}

// FailOffer ends an attempt that its agent refused or that could not be ordered. An attempt that was accepted meanwhile, or ended,
// is CodeStale.
func (c *Catalog) FailOffer(ctx context.Context, a wire.Attempt, fail *wire.Failure) error {
	return c.system(ctx, func(t *tx) error {
		j, err := t.lockAttempt(ctx, a)
		if err != nil {
			return err
		}
		if j.AttemptStatus != controller.AttemptOffered {
			return stale(a)
		}
		_, err = t.endAttempt(ctx, j, controller.AttemptFailed, fail)
		return err
	})
}
