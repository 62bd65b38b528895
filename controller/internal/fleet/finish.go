package fleet

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strconv"
	"sync"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/background"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/failpoint"
	"devflowbackup/shared/wire"
)

const (
	sideLimit   = 16 << 20 // stored bytes of a side object
	finishTries = 50       // then the attempt has failed; pauses double up to finishPause
	finishPause = 2 * time.Minute
)

// backupMetadata is the metadata of a completed backup, in the panel's words and ours.
type backupMetadata struct {
	Tables        int64  `json:"tables_count"`
	DatabaseSize  int64  `json:"database_size"`
	Method        string `json:"backup_method"`
	Compression   string `json:"compression"`
	Tool          string `json:"tool"`
	ToolVersion   string `json:"tool_version"`
	ServerVersion string `json:"server_version"`
	// ServerIdentity is how the database server names itself.
	ServerIdentity string         `json:"server_identity,omitempty"`
	Extra          map[string]any `json:"extra,omitempty"`
}

// uploaded checks an agent's signed statement against what was ordered, then commits that the agent's part is over.
func (f *Fleet) uploaded(ctx context.Context, c call, r wire.Report) error {
	ordered, err := f.opt.Store.AttemptOrder(ctx, c.agent, c.session, r.Attempt)
	if err != nil {
		return err
	}
	st, err := statement(r.Statement, ordered.Server)
	if err == nil {
		err = st.Answers(artifact.Order{
			ServerID: ordered.Server.AgentID, JobID: strconv.FormatInt(r.Attempt.Job, 10), AttemptNo: r.Attempt.No,
			AttemptID: ordered.AttemptID, Key: ordered.Key, Engine: ordered.Backup.DatabaseType, Database: ordered.Backup.DatabaseName,
			PartSize: ordered.PartSize, Codec: artifact.Codec(ordered.Codec),
		})
	}
	if err == nil && st.Codec.Encryption == controller.EncryptionAES {
		keys, kerr := f.aesKeys(ctx, ordered.Backup.ProjectID, ordered.AttemptID)
		if kerr != nil {
			return kerr
		}
		err = checkMACs(keys, st)
	}
	if err == nil {
		err = f.opt.Store.ReportUploaded(ctx, c.agent, c.session, r)
	} else {
		err = wire.Failf(wire.CodeStatement, "the agent's statement is refused: %w", err).At(wire.StageFinish)
	}
	// What is refused for good ends the attempt: its agent is done with it, and nobody else would ever say a word about it.
	var refused *wire.Failure
	if errors.As(err, &refused) && (refused.Code == wire.CodeStatement || refused.Code == wire.CodeCancelled) {
		if refused.Code == wire.CodeStatement {
			f.event(ctx, c.agent, controller.EventStatement, refused.Message)
		}
		return f.opt.Store.ReportDone(ctx, c.agent, c.session, wire.Report{Attempt: r.Attempt, Outcome: wire.OutcomeFailed, Failure: refused, Log: r.Log})
	}
	if err != nil {
		return err
	}
	failpoint.Hit("controller.uploaded_committed")
	return nil
}

func statement(b []byte, s controller.Server) (artifact.Statement, error) {
	var signed artifact.SignedStatement
	if err := json.Unmarshal(b, &signed); err != nil {
		return artifact.Statement{}, fmt.Errorf("decode statement: %w", err)
	}
	return signed.Verify(s.SigningKey)
}

func (f *Fleet) event(ctx context.Context, agent, kind, detail string) {
	f.log.Error("security event", "server", agent, "kind", kind, "detail", detail)
	if err := f.opt.Store.AddSecurityEvent(ctx, agent, kind, clip(detail, 500), 1); err != nil {
		f.log.Error("record security event", "kind", kind, "err", err)
	}
}

// finishLoop completes uploads. Each is claimed by one controller at a time, which extends its claim while it works.
func (f *Fleet) finishLoop(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	free := make(chan struct{}, f.opt.Finishers)
	f.every(ctx, f.opt.Tick, f.kick[1], "finish uploads", func(ctx context.Context) error {
		n := cap(free) - len(free)
		if n == 0 {
			return nil
		}
		work, err := f.opt.Store.ClaimFinishing(ctx, n)
		if err != nil {
			return fmt.Errorf("claim uploads to finish: %w", err)
		}
		for _, w := range work {
			free <- struct{}{}
			wg.Go(func() {
				defer func() { <-free }()
				f.finish(ctx, w)
			})
		}
		return nil
	})
}

// finish runs one claimed finishing to an outcome in the catalog, or leaves the claim to expire.
func (f *Fleet) finish(ctx context.Context, w controller.Finishing) {
	log := f.log.With("job_id", w.Attempt.Job, "attempt", w.Attempt.No, "backup_id", w.Backup.ID,
		"project", w.Project.Slug, "database", w.Backup.DatabaseName, "server", w.Server.Name)
	ctx, stop := f.keepClaim(ctx, w.Attempt)
	defer stop()
	began := time.Now()
	done, err := f.complete(ctx, w)
	if err == nil {
		failpoint.Hit("controller.before_completed_commit")
		err = f.commit(ctx, w, done)
	}
	if err == nil {
		failpoint.Hit("controller.after_completed_commit")
		f.progress.drop(w.Attempt.Job)
		duration := time.Since(began)
		if w.Backup.StartedAt != nil {
			duration = time.Since(*w.Backup.StartedAt)
		}
		log.Info("backup completed", "bytes", done.Objects[0].StoredSize, "checksum", done.Objects[0].StoredSHA256,
			"key", w.Key, "duration", duration.Round(time.Millisecond).String())
		f.Kick() // the server may take its next job
		return
	}
	if ctx.Err() != nil {
		log.Warn("finishing interrupted", "err", context.Cause(ctx))
		return
	}
	if wire.HasCode(err, wire.CodeStale) {
		log.Warn("finishing given up: the claim has passed on", "err", err)
		return
	}
	fail := wire.AsFailure(err).At(wire.StageFinish)
	if kind, ok := eventOf[fail.Code]; ok {
		f.event(ctx, w.Server.AgentID, kind, fail.Message)
	}
	var again retryFinish
	offline := fail.Code == wire.CodeOffline // a host that is away is waited for: its backup is on it
	if errors.As(err, &again) && (offline || w.Tries+1 < finishTries) {
		delay := min(time.Second<<min(w.Tries, 10), finishPause)
		if offline {
			delay = localWait
		}
		log.Warn("upload not finished yet", "code", fail.Code, "err", err, "again_in", delay.String())
		err = f.opt.Store.RetryFinish(ctx, w.Attempt, delay, fail)
	} else {
		log.Error("backup not completed", "code", fail.Code, "err", err)
		err = f.opt.Store.FailFinish(ctx, w.Attempt, fail)
	}
	if err != nil {
		log.Warn("record outcome of finishing", "err", err)
	}
	f.Kick()
}

// commit completes the backup in the catalog. An error that is not the catalog's refusal says nothing about the artifact, which
// is whole: it is tried again.
func (f *Fleet) commit(ctx context.Context, w controller.Finishing, done *controller.Finished) error {
	err := f.opt.Store.CompleteBackup(ctx, w.Attempt, *done)
	var refused *wire.Failure
	if err != nil && !errors.As(err, &refused) {
		return retryFinish{err}
	}
	return err
}

// eventOf names the failures that only a fault or an attack explains.
var eventOf = map[string]string{
	wire.CodeForeignObject: controller.EventForeignObject,
	wire.CodeForeignHeader: controller.EventForeignHeader,
	wire.CodeStatement:     controller.EventStatement,
}

// retryFinish marks an error after which the same upload is settled again.
type retryFinish struct{ error }

func (r retryFinish) Unwrap() error { return r.error }

// keepClaim extends the claim while the returned context lives; when the claim has passed on, the context ends.
func (f *Fleet) keepClaim(ctx context.Context, a wire.Attempt) (context.Context, func()) {
	return background.Hold(ctx, f.opt.ClaimEvery, func(ctx context.Context) error {
		switch err := f.opt.Store.ExtendClaim(ctx, a); {
		case err == nil, controller.ErrorCode(err) == controller.EUnavailable: // the commit will tell whether the claim still stands
			return nil
		default:
			return fmt.Errorf("claim passed on: %w", err)
		}
	})
}

// complete settles the upload at the store, checks everything the statement says against the store itself, and writes the manifest.
func (f *Fleet) complete(ctx context.Context, w controller.Finishing) (*controller.Finished, error) {
	st, err := statement(w.Statement, w.Server)
	if err != nil {
		return nil, wire.Failf(wire.CodeStatement, "the agent's statement is refused: %w", err)
	}
	objects, err := f.storageFor(ctx, w.StorageID, w.Server, w.Checksum)
	if err != nil {
		return nil, retryFinish{err}
	}
	var keys map[string]artifact.AESKeys
	if st.Codec.Encryption == controller.EncryptionAES {
		if keys, err = f.aesKeys(ctx, w.Project.ID, st.AttemptID); err != nil {
			return nil, retryFinish{err}
		}
	}
	failpoint.Hit("controller.before_complete")
	outcome, object, err := objects.Settle(ctx, w.Key, w.UploadID, w.Parts, st.StoredSize, st.CompositeSHA256)
	failpoint.Hit("controller.after_complete")
	if err == nil && outcome != SettleDone {
		err = errors.New("no reason is known")
	}
	switch outcome {
	case SettleDone:
	case SettleRetry:
		return nil, retryFinish{err}
	case SettleLost:
		return nil, wire.Failf(wire.CodeUploadLost, "object and upload are both gone from the store: %w", err).Retry()
	case SettleForeign:
		return nil, wire.Failf(wire.CodeForeignObject, "an object that is not ours lies at %s: %w", w.Key, err).Retry()
	default:
		return nil, wire.Failf(wire.CodeChecksum, "the store does not hold what the agent stated: %w", err).Retry()
	}

	// A second upload may be at the key: opened by a controller that died before it had recorded it.
	if err := objects.AbortUploads(ctx, w.Key); err != nil {
		if again := (retryFinish{}); errors.As(retryOr(err), &again) {
			return nil, again
		}
		f.log.Warn("abort uploads beside a completed one", "key", w.Key, "err", err) // no reason to lose the backup
	}

	object.Object, object.Key = wire.ObjectArtifact, w.Key
	fill(&object, st.Sums)
	if n, ok := startOf[st.Codec.Encryption]; ok {
		start, err := objects.ReadStart(ctx, w.Key, object.ETag, n)
		if err != nil {
			return nil, retryOr(err)
		}
		if keys != nil {
			if err := checkStart(keys[wire.ObjectArtifact], st.Codec.Compression, start); err != nil {
				return nil, foreign(w, err)
			}
		} else if object.AgeHeader, err = f.header(ctx, w, start); err != nil {
			return nil, err
		}
	}
	done := &controller.Finished{Objects: []controller.StoredObject{object}, Composite: st.CompositeSHA256, FileName: path.Base(w.Key)}
	for _, side := range []struct {
		name string
		key  string
		sums *artifact.Sums
	}{
		{wire.ObjectFingerprint, artifact.FingerprintKey(w.Key, st.Codec), st.Fingerprint},
		{wire.ObjectGlobals, artifact.GlobalsKey(w.Key, st.Codec), st.Globals},
	} {
		if side.sums == nil {
			continue
		}
		obj, body, err := f.sideObject(ctx, objects, side.key, *side.sums)
		if err != nil {
			return nil, err
		}
		switch st.Codec.Encryption {
		case controller.EncryptionAge:
			obj.AgeHeader, err = f.header(ctx, w, body)
		case controller.EncryptionAES:
			if err = checkWhole(keys[side.name], st.Codec.Compression, *side.sums, body); err != nil {
				err = foreign(w, err)
			}
		}
		if err != nil {
			return nil, err
		}
		obj.Object = side.name
		done.Objects = append(done.Objects, obj)
	}

	manifest, err := f.manifest(w, object)
	if err != nil {
		return nil, err
	}
	key := artifact.ManifestKey(w.Key)
	put, err := objects.Put(ctx, key, manifest, "application/json")
	if err != nil {
		return nil, retryOr(err)
	}
	if !object.LockedUntil.IsZero() { // where the store locks what is new, the manifest is locked last
		head, err := objects.Head(ctx, key)
		if err != nil {
			return nil, retryOr(err)
		}
		put.LockedUntil = head.LockedUntil
	}
	sum := sha256.Sum256(manifest)
	put.Object, put.Key = "manifest", key
	fill(&put, artifact.Sums{
		RawSize: int64(len(manifest)), RawSHA256: artifact.Digest(sum), StoredSize: int64(len(manifest)), StoredSHA256: artifact.Digest(sum),
	})
	done.Objects = append(done.Objects, put)
	done.Manifest = manifest
	done.Metadata, err = json.Marshal(backupMetadata{
		Tables: st.Metadata.Tables, DatabaseSize: st.Metadata.DatabaseSize, Method: st.Method, Compression: st.Codec.Compression,
		Tool: st.Tool, ToolVersion: st.ToolVersion, ServerVersion: st.ServerVersion, ServerIdentity: st.ServerIdentity, Extra: st.Metadata.Extra,
	})
	if err != nil {
		return nil, fmt.Errorf("encode metadata: %w", err)
	}
	return done, nil
}

func fill(o *controller.StoredObject, s artifact.Sums) {
	o.StoredSize, o.StoredSHA256 = s.StoredSize, s.StoredSHA256.String()
	o.RawSize, o.RawSHA256 = s.RawSize, s.RawSHA256.String()
	if s.MAC != (artifact.Digest{}) {
		o.MAC = bytes.Clone(s.MAC[:])
	}
}

// startOf is how much of an artifact shows whether the project's key opens it.
var startOf = map[string]int64{controller.EncryptionAge: artifact.MaxHeaderSize, controller.EncryptionAES: aesStart}

// foreign says that an object is not encrypted as the project's backups are: one that nobody can decrypt is none.
func foreign(w controller.Finishing, err error) error {
	return wire.Failf(wire.CodeForeignHeader, "the stored object does not open with the key of project %s: %w", w.Project.Slug, err)
}

// retryOr settles again after an error of the store that may pass.
func retryOr(err error) error {
	var fail *wire.Failure
	if errors.As(err, &fail) && !fail.Retryable {
		return err
	}
	return retryFinish{err}
}

// sideObject reads a side object back whole: it is small, and its hash is then proven, not reported.
func (f *Fleet) sideObject(ctx context.Context, objects Objects, key string, sums artifact.Sums) (obj controller.StoredObject, body []byte, err error) {
	body, err = objects.Get(ctx, key, sideLimit)
	if wire.HasCode(err, wire.CodeMissing) {
		return obj, nil, wire.Failf(wire.CodeMissing, "%s is gone from the store: %w", key, err).Retry()
	}
	if err != nil {
		return obj, nil, retryOr(err)
	}
	if int64(len(body)) != sums.StoredSize || artifact.Digest(sha256.Sum256(body)) != sums.StoredSHA256 {
		return obj, nil, wire.Failf(wire.CodeChecksum, "%s is not what the agent stated", key).Retry()
	}
	if obj, err = objects.Head(ctx, key); err != nil {
		return obj, nil, retryOr(err)
	}
	obj.Key = key
	fill(&obj, sums)
	return obj, body, nil
}

// header takes the age header from the beginning of a stored object and proves that the project's key opens it: a backup that
// nobody can decrypt is none. That the header is not another backup's is proven by the catalog's unique index.
func (f *Fleet) header(ctx context.Context, w controller.Finishing, start []byte) ([]byte, error) {
	hdr, err := artifact.ExtractHeader(bytes.NewReader(start))
	if err != nil {
		return nil, wire.Failf(wire.CodeForeignHeader, "the stored object has no age header: %w", err)
	}
	identity, err := f.opt.Store.ProjectIdentitySecret(ctx, w.Project.ID)
	if err != nil {
		return nil, retryFinish{err}
	}
	if _, err := artifact.OpenHeader(hdr, string(identity), w.Project.AgeRecipient); err != nil {
		return nil, foreign(w, err)
	}
	return hdr, nil
}

func (f *Fleet) manifest(w controller.Finishing, object controller.StoredObject) ([]byte, error) {
	var signed artifact.SignedStatement
	if err := json.Unmarshal(w.Statement, &signed); err != nil {
		return nil, fmt.Errorf("decode statement: %w", err)
	}
	facts := artifact.Facts{
		BackupID: w.Backup.ID, Type: w.Backup.Type, ReceivedAt: w.ReceivedAt.UTC(),
		Project: artifact.ProjectFacts{ID: w.Project.ID, Slug: w.Project.Slug},
		Server:  artifact.ServerFacts{ID: w.Server.AgentID, Name: w.Server.Name, SigningKey: w.Server.SigningKey, NKey: w.Server.NKey},
		Storage: artifact.StorageFacts{ID: w.StorageID, Name: w.Backup.Storage, Disk: w.Backup.StorageDisk, ETag: object.ETag, VersionID: object.VersionID},
	}
	if w.Backup.ScheduleID != nil {
		facts.ScheduleID = *w.Backup.ScheduleID
	}
	if w.Project.ExternalID != nil {
		facts.Project.ExternalID = *w.Project.ExternalID
	}
	m, err := artifact.Countersign(signed, facts, f.keyID(), f.opt.SigningKey)
	if err != nil {
		return nil, fmt.Errorf("countersign manifest: %w", err)
	}
	return m.Encode()
}
