package catalog

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // the size of a Content-MD5, not security
	"crypto/sha256"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

const (
	maxSideSize = 16 << 20
	maxETag     = 1024
	urlMargin   = time.Minute // how long after its expiry a URL may still be at work
)

// SignPart checks whether an agent may have a URL for one part or side object and counts what it signs. The same part with the
// same checksum is free; with another one it is refused. What the agent says that the store has acknowledged is kept.
func (c *Catalog) SignPart(ctx context.Context, agentID, session string, req wire.PartRequest, urlExpires time.Duration) (controller.PartTarget, error) {
	var target controller.PartTarget
	err := c.system(ctx, func(t *tx) error {
		f, err := t.fence(ctx, agentID, session, req.Attempt)
		if err != nil {
			return err
		}
		switch {
		case f.Kind != wire.JobBackup || f.UploadID == "":
			return wire.Failf(wire.CodeBadRequest, "attempt %d of job %d uploads nothing", f.No, f.JobID)
		case f.OrderBody.Local:
			return wire.Failf(wire.CodeBadRequest, "attempt %d of job %d goes to the host's own directory", f.No, f.JobID)
		case f.Status != controller.AttemptRunning:
			return stale(req.Attempt)
		case f.Cancelling:
			return cancelled(f.CancelReason)
		}
		if err := t.acknowledge(ctx, f, req.Done); err != nil {
			return err
		}
		if err := checkPart(f, req); err != nil {
			return err
		}
		signed, err := t.signOnce(ctx, f, req)
		if err != nil {
			return err
		}
		_, err = t.exec(ctx, `UPDATE attempts SET bytes_signed = bytes_signed + ?, last_url_expires = greatest(coalesce(last_url_expires, '-infinity'), now() + ?)
			WHERE job_id = ? AND no = ?`, signed, interval(urlExpires), f.JobID, f.No)
		if err != nil {
			return err
		}
		target = controller.PartTarget{StorageID: f.StorageID, Key: f.Key, UploadID: f.UploadID, PartSize: f.PartSize, Checksum: f.OrderBody.Checksum}
		if req.Object != wire.ObjectArtifact {
			target.Key, err = t.sideKey(ctx, f, req.Object)
		}
		return err
	})
	return target, c.refused(ctx, agentID, err)
}

// sideKey is where a side object of the attempt's artifact lies.
func (t *tx) sideKey(ctx context.Context, f fenced, object string) (string, error) {
	var b controller.Backup
	if err := t.scan(ctx, &b, "SELECT compression, level, encryption FROM database_backups WHERE id = ?", f.BackupID); err != nil {
		return "", err
	}
	a := artifact.Codec(f.OrderBody.codec(b))
	if object == wire.ObjectGlobals {
		return artifact.GlobalsKey(f.Key, a), nil
	}
	return artifact.FingerprintKey(f.Key, a), nil
}

func checkPart(f fenced, req wire.PartRequest) error {
	bad := func(format string, args ...any) error {
		return wire.Failf(wire.CodeBadRequest, format, args...).At(wire.StageUpload)
	}
	if len(req.SHA256) != sha256.Size {
		return bad("a SHA-256 of %d bytes is not one", len(req.SHA256))
	}
	if f.OrderBody.Checksum == wire.ChecksumMD5 && len(req.MD5) != md5.Size {
		return bad("the storage needs the MD5 of each part")
	}
	switch req.Object {
	case wire.ObjectArtifact:
		if req.Number < 1 || req.Number > controller.MaxParts {
			return bad("part %d is not between 1 and %d", req.Number, controller.MaxParts)
		}
		if f.OrderBody.MaxParts > 0 && req.Number > f.OrderBody.MaxParts {
			return wire.Failf(wire.CodeLimit, "part %d: the storage takes at most %d parts of an object", req.Number, f.OrderBody.MaxParts).At(wire.StageUpload).
				WithHint("the database is far larger than the agent's last discovery said; run discovery again")
		}
		if req.Size < 0 || req.Size > f.PartSize || req.Size == 0 && req.Number > 1 {
			return bad("part %d has %d bytes, parts of this upload have %d", req.Number, req.Size, f.PartSize)
		}
	case wire.ObjectFingerprint, wire.ObjectGlobals:
		if req.Number != 0 {
			return bad("object %q has no parts", req.Object)
		}
		if req.Size < 0 || req.Size > maxSideSize {
			return bad("object %q has %d bytes, at most %d are allowed", req.Object, req.Size, maxSideSize)
		}
	default:
		return bad("object %.40q is not one of a backup", req.Object)
	}
	return nil
}

// signOnce stores a part as signed and returns how many bytes that adds: none if it was signed before.
func (t *tx) signOnce(ctx context.Context, f fenced, req wire.PartRequest) (int64, error) {
	var known struct {
		Size   int64
		SHA256 []byte `bun:"sha256"`
		MD5    []byte `bun:"md5"`
	}
	found, err := t.find(ctx, &known, "SELECT size, sha256, md5 FROM upload_parts WHERE job_id = ? AND no = ? AND object = ? AND number = ?", f.JobID, f.No, req.Object, req.Number)
	if err != nil {
		return 0, err
	}
	if found {
		if known.Size != req.Size || !bytes.Equal(known.SHA256, req.SHA256) || f.OrderBody.Checksum == wire.ChecksumMD5 && !bytes.Equal(known.MD5, req.MD5) {
			return 0, wire.Failf(wire.CodeBadRequest, "part %d of %q was signed with other bytes", req.Number, req.Object).At(wire.StageUpload)
		}
		return 0, nil
	}
	if req.Object == wire.ObjectArtifact {
		var wrong bool
		err := t.scan(ctx, &wrong, `SELECT EXISTS (SELECT FROM upload_parts WHERE job_id = ? AND no = ? AND object = ?
			AND (number < ? AND size < ? OR number > ? AND ? < ?))`, f.JobID, f.No, req.Object, req.Number, f.PartSize, req.Number, req.Size, f.PartSize)
		if err != nil {
			return 0, err
		}
		if wrong {
			return 0, wire.Failf(wire.CodeBadRequest, "part %d: only the last part may be shorter than %d bytes", req.Number, f.PartSize).At(wire.StageUpload)
		}
	}
	if f.BytesSigned+req.Size > f.BytesLimit {
		return 0, wire.Failf(wire.CodeLimit, "the attempt would upload more than the %d bytes that it may", f.BytesLimit).At(wire.StageUpload).
			WithHint("the database is far larger than the agent's last discovery said; run discovery again, or raise the upload limit")
	}
	_, err = t.exec(ctx, "INSERT INTO upload_parts (job_id, no, object, number, size, sha256, md5) VALUES (?, ?, ?, ?, ?, ?, ?)",
		f.JobID, f.No, req.Object, req.Number, req.Size, req.SHA256, req.MD5)
	return req.Size, err
}

// acknowledge stores the store's answers to parts. Side objects have none: the controller asks the store itself.
func (t *tx) acknowledge(ctx context.Context, f fenced, done []wire.PartDone) error {
	type ack struct {
		Number int    `json:"number"`
		ETag   string `json:"etag"`
	}
	var acks []ack
	for _, d := range done {
		if d.Number == 0 {
			continue
		}
		if d.ETag == "" || len(d.ETag) > maxETag {
			return wire.Failf(wire.CodeBadRequest, "part %d is acknowledged with an ETag of %d bytes", d.Number, len(d.ETag)).At(wire.StageUpload)
		}
		acks = append(acks, ack{Number: d.Number, ETag: d.ETag})
	}
	if len(acks) == 0 {
		return nil
	}
	_, err := t.exec(ctx, `UPDATE upload_parts p SET etag = d.etag FROM jsonb_to_recordset(?::jsonb) AS d (number int, etag text)
		WHERE p.job_id = ? AND p.no = ? AND p.object = 'artifact' AND p.number = d.number`, jsonText(acks), f.JobID, f.No)
	return err
}

// SignRead checks whether an agent may have a URL for a range of an object that its attempt reads.
func (c *Catalog) SignRead(ctx context.Context, agentID, session string, req wire.ReadRequest) (controller.ReadTarget, error) {
	var target controller.ReadTarget
	err := c.system(ctx, func(t *tx) error {
		f, err := t.fence(ctx, agentID, session, req.Attempt)
		if err != nil {
			return err
		}
		switch {
		case f.Kind != wire.JobVerify && f.Kind != wire.JobRestore:
			return wire.Failf(wire.CodeBadRequest, "attempt %d of job %d reads nothing", f.No, f.JobID)
		case f.Cancelling:
			return cancelled(f.CancelReason)
		}
		var b struct {
			StorageID int64
			Local     bool
			Readable  bool
		}
		if err := t.scan(ctx, &b, "SELECT storage_id, storage_disk = 'local' AS local, status = 'completed' AND health <> 'deleting' AND purged_at IS NULL AS readable FROM database_backups WHERE id = ?", f.BackupID); err != nil {
			return err
		}
		if !b.Readable {
			return wire.Failf(wire.CodeMissing, "backup %d is being deleted", f.BackupID)
		}
		if b.Local {
			return wire.Failf(wire.CodeBadRequest, "backup %d lies in its host's own directory", f.BackupID)
		}
		objects, err := t.objects(ctx, f.BackupID)
		if err != nil {
			return err
		}
		roles := false // only a restore that is to make roles is given them
		if f.RestoreID != nil {
			if err := t.scan(ctx, &roles, "SELECT coalesce((choices->>'roles')::boolean, false) FROM restores WHERE id = ?", f.RestoreID); err != nil {
				return err
			}
		}
		for _, o := range objects {
			if o.Object != req.Object || o.Object != wire.ObjectArtifact && o.Object != wire.ObjectFingerprint && (o.Object != wire.ObjectGlobals || !roles) {
				continue
			}
			if req.Offset < 0 || req.Length <= 0 || req.Offset > o.StoredSize || req.Length > o.StoredSize-req.Offset {
				return wire.Failf(wire.CodeBadRequest, "bytes %d to %d are not in %q of %d bytes", req.Offset, req.Offset+req.Length, o.Object, o.StoredSize)
			}
			target = controller.ReadTarget{StorageID: b.StorageID, Object: o}
			return nil
		}
		return wire.Failf(wire.CodeBadRequest, "backup %d has no object %.40q", f.BackupID, req.Object)
	})
	return target, c.refused(ctx, agentID, err)
}
