package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// ClaimFinishing takes up to limit uploads to complete, for 60 seconds each. No two controllers hold the same one.
func (c *Catalog) ClaimFinishing(ctx context.Context, limit int) ([]controller.Finishing, error) {
	var out []controller.Finishing
	err := c.system(ctx, func(t *tx) error {
		out = nil
		var ids []int64
		err := t.scan(ctx, &ids, `UPDATE jobs SET claim_owner = ?, claim_until = now() + ? WHERE id IN (
			SELECT id FROM jobs WHERE status = 'finishing' AND claim_until < now() ORDER BY claim_until, id LIMIT ? FOR UPDATE SKIP LOCKED) RETURNING id`,
			c.opts.ControllerID, interval(claimTime), max(limit, 0))
		if err != nil {
			return err
		}
		for _, id := range ids {
			f, err := t.finishing(ctx, id)
			if err != nil {
				return err
			}
			out = append(out, f)
		}
		return nil
	})
	return out, err
}

func (t *tx) finishing(ctx context.Context, job int64) (controller.Finishing, error) {
	var row struct {
		No          int
		Token       string
		BackupID    int64
		ProjectID   int64
		ServerID    int64
		StorageID   int64
		AttemptID   string
		Key         string
		UploadID    string
		PartSize    int64
		Checksum    string
		Statement   []byte
		SettleTries int
		ReceivedAt  time.Time
	}
	err := t.scan(ctx, &row, `SELECT a.no, a.token, j.backup_id, j.project_id, j.server_id, a.storage_id, a.attempt_id, a.key, a.upload_id, a.part_size, a.statement, a.settle_tries,
		coalesce(a.order_body->>'checksum', '') AS checksum,
		coalesce(a.reported_at, now()) AS received_at FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.no = j.attempt_no AND a.status = 'uploaded' WHERE j.id = ?`, job)
	if err != nil {
		return controller.Finishing{}, err
	}
	f := controller.Finishing{
		Attempt: wire.Attempt{Job: job, No: row.No, Token: row.Token}, StorageID: row.StorageID, AttemptID: row.AttemptID, Key: row.Key, UploadID: row.UploadID,
		PartSize: row.PartSize, Checksum: row.Checksum, Statement: row.Statement, Tries: row.SettleTries, ReceivedAt: row.ReceivedAt.UTC(),
	}
	if f.Backup, err = t.backup(ctx, row.BackupID); err != nil {
		return f, err
	}
	if err := t.scan(ctx, &f.Project, "SELECT "+projectColumns+" FROM projects p WHERE p.id = ?", row.ProjectID); err != nil {
		return f, err
	}
	if err := t.scan(ctx, &f.Server, "SELECT "+t.cat.serverColumns()+" FROM servers s WHERE s.id = ?", row.ServerID); err != nil {
		return f, err
	}
	if err := t.hostOf(ctx, &f.Server, job, row.No); err != nil {
		return f, err
	}
	err = t.scan(ctx, &f.Parts, `SELECT number, size, sha256, md5, etag AS e_tag FROM upload_parts WHERE job_id = ? AND no = ? AND object = 'artifact' ORDER BY number`, job, row.No)
	return f, err
}

// ExtendClaim keeps a finishing for another 60 seconds. CodeStale means that the claim has passed on, or the attempt ended: stop.
func (c *Catalog) ExtendClaim(ctx context.Context, a wire.Attempt) error {
	return c.system(ctx, func(t *tx) error {
		n, err := t.exec(ctx, `UPDATE jobs j SET claim_until = now() + ? WHERE id = ? AND status = 'finishing' AND claim_owner = ?
			AND EXISTS (SELECT FROM attempts a WHERE a.job_id = j.id AND a.no = j.attempt_no AND a.no = ? AND a.token = ? AND a.status = 'uploaded')`,
			interval(claimTime), a.Job, c.opts.ControllerID, a.No, a.Token)
		if err == nil && n == 0 {
			err = stale(a)
		}
		return err
	})
}

// claimed locks the job of an uploaded attempt that this controller has claimed.
func (t *tx) claimed(ctx context.Context, a wire.Attempt) (openJob, error) {
	j, err := t.lockAttempt(ctx, a)
	if err == nil && (j.AttemptStatus != controller.AttemptUploaded || j.Status != controller.JobFinishing || j.ClaimOwner != t.cat.opts.ControllerID) {
		err = wire.Failf(wire.CodeStale, "the claim on attempt %d of job %d has passed on", a.No, a.Job)
	}
	return j, err
}

// CompleteBackup commits a completed backup, under the fence: the attempt stands and this controller holds its claim. An age header
// that another backup has is CodeForeignHeader; then nothing was changed. Repeating a completion changes nothing.
func (c *Catalog) CompleteBackup(ctx context.Context, a wire.Attempt, done controller.Finished) error {
	return c.system(ctx, func(t *tx) error {
		j, err := t.claimed(ctx, a)
		if wire.HasCode(err, wire.CodeStale) {
			var mine bool
			_, e := t.find(ctx, &mine, `SELECT a.status = 'completed' AND j.claim_owner = ? FROM attempts a JOIN jobs j ON j.id = a.job_id
				WHERE a.job_id = ? AND a.no = ? AND a.token = ?`, c.opts.ControllerID, a.Job, a.No, a.Token)
			if e != nil {
				return e
			}
			if mine {
				return nil
			}
		}
		if err != nil {
			return err
		}
		if len(done.Objects) == 0 || done.Objects[0].Object != wire.ObjectArtifact || len(done.Manifest) == 0 {
			return wire.Failf(wire.CodeInternal, "a completed backup needs its artifact and its manifest")
		}
		var encryption string
		if err := t.scan(ctx, &encryption, "SELECT encryption FROM database_backups WHERE id = ?", j.BackupID); err != nil {
			return err
		}
		for _, o := range done.Objects {
			if encryption == controller.EncryptionAES && o.Object != controller.ObjectManifest && len(o.MAC) != sha256.Size {
				return wire.Failf(wire.CodeInternal, "the %s of a backup under %s needs its MAC", o.Object, encryption)
			}
			if err := t.addObject(ctx, j.BackupID, o); err != nil {
				return err
			}
		}
		o := done.Objects[0]
		n, err := t.exec(ctx, `UPDATE database_backups SET status = 'completed', health = 'ok', file_name = ?, file_path = ?, file_size = ?, checksum = ?, raw_size = ?,
			raw_checksum = ?, etag = ?, version_id = ?, composite = ?, manifest = ?, completed_at = now(), locked_until = ?,
			metadata = ?::jsonb || (SELECT jsonb_strip_nulls(jsonb_build_object('rows', rows)) FROM attempts WHERE job_id = ? AND no = ?), error_code = NULL, error_message = NULL, error_hint = NULL WHERE id = ? AND status IN ('pending', 'running')`,
			text(done.FileName), o.Key, o.StoredSize, o.StoredSHA256, o.RawSize, o.RawSHA256, text(o.ETag), text(o.VersionID), text(done.Composite), done.Manifest,
			lockedUntil(done.Objects), objectJSON(done.Metadata), a.Job, a.No, j.BackupID)
		if err != nil {
			return err
		}
		if n != 1 {
			return stale(a)
		}
		if err := t.complete(ctx, j); err != nil {
			return err
		}
		if err := t.follow(ctx, j.BackupID); err != nil {
			return err
		}
		_, err = t.exec(ctx, "DELETE FROM upload_parts WHERE job_id = ?", j.ID)
		return err
	})
}

// lockedUntil is how long a store refuses to delete all of the objects; nil if it locks none.
func lockedUntil(objects []controller.StoredObject) *time.Time {
	var last time.Time
	for _, o := range objects {
		if o.LockedUntil.After(last) {
			last = o.LockedUntil
		}
	}
	if last.IsZero() {
		return nil
	}
	return &last
}

// objectJSON is raw as a JSON object, an empty one if it is none.
func objectJSON(raw []byte) string {
	if s := jsonText(json.RawMessage(raw)); len(s) > 0 && s[0] == '{' {
		return s
	}
	return "{}"
}

func (t *tx) addObject(ctx context.Context, backup int64, o controller.StoredObject) error {
	_, err := t.exec(ctx, `INSERT INTO backup_objects (backup_id, object, key, stored_size, stored_sha256, raw_size, raw_sha256, etag, version_id, age_header, mac)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, backup, o.Object, o.Key, o.StoredSize, o.StoredSHA256, o.RawSize, o.RawSHA256, text(o.ETag), text(o.VersionID), o.AgeHeader,
		hex.EncodeToString(o.MAC))
	if err != nil || len(o.AgeHeader) == 0 {
		return err
	}
	sum := sha256.Sum256(o.AgeHeader)
	n, err := t.exec(ctx, "INSERT INTO age_headers (sha256, backup_id, object) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", sum[:], backup, o.Object)
	if err == nil && n == 0 {
		err = wire.Failf(wire.CodeForeignHeader, "the age header of the %s is one that the catalog knows already: it was copied from another backup", o.Object).At(wire.StageFinish)
	}
	return err
}

// RetryFinish leaves an upload for a later try to complete it. A host that is away costs no try: its backup lies there and waits. One
// that has started anew meanwhile is asked again at once: it was the session before that did not answer.
func (c *Catalog) RetryFinish(ctx context.Context, a wire.Attempt, delay time.Duration, why *wire.Failure) error {
	return c.system(ctx, func(t *tx) error {
		j, err := t.claimed(ctx, a)
		if err != nil {
			return err
		}
		if why.Code != wire.CodeOffline {
			if _, err := t.exec(ctx, "UPDATE attempts SET settle_tries = settle_tries + 1 WHERE job_id = ? AND no = ?", a.Job, a.No); err != nil {
				return err
			}
		}
		_, err = t.exec(ctx, `UPDATE jobs j SET claim_owner = '', waiting = ?, claim_until = now() + least(?, CASE
			WHEN ? AND EXISTS (SELECT FROM servers s WHERE s.id = j.server_id AND s.session_at > now() - interval '20 seconds') THEN interval '1 second'
			END) WHERE id = ?`, cut(why.Message, 500), interval(delay), why.Code == wire.CodeOffline, j.ID)
		return err
	})
}

// FailFinish ends an attempt whose upload cannot be completed. A retryable failure is followed by another attempt.
func (c *Catalog) FailFinish(ctx context.Context, a wire.Attempt, fail *wire.Failure) error {
	return c.system(ctx, func(t *tx) error {
		j, err := t.claimed(ctx, a)
		if err != nil {
			return err
		}
		_, err = t.endAttempt(ctx, j, controller.AttemptFailed, fail)
		return err
	})
}
