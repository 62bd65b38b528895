package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"devflowbackup/controller"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/failpoint"
	"devflowbackup/shared/wire"
)

const (
	offersAtOnce     = 32
	deliveriesAtOnce = 256
	redeliverAfter   = 5 * time.Second
)

// dispatchLoop delivers open attempts: new ones, and those that no agent has accepted yet.
func (f *Fleet) dispatchLoop(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, deliveriesAtOnce)
	f.every(ctx, f.opt.Tick, f.kick[0], "dispatch", func(ctx context.Context) error {
		for {
			offers, err := f.opt.Store.ClaimOffers(ctx, offersAtOnce)
			if err != nil {
				return fmt.Errorf("claim open jobs: %w", err)
			}
			if len(offers) > 0 {
				failpoint.Hit("controller.offer_committed")
			}
			for _, o := range offers {
				if !f.delivery.begin(o.Attempt.Token) {
					continue
				}
				slots <- struct{}{} // a delivery takes seconds at most
				wg.Go(func() {
					defer func() { <-slots }()
					defer f.delivery.end(o.Attempt.Token)
					f.deliver(ctx, o)
				})
			}
			if len(offers) < offersAtOnce {
				return nil
			}
		}
	})
}

// deliver brings one offer to its agent. Whatever goes wrong is either told to the catalog or repeated when the claim ends.
func (f *Fleet) deliver(ctx context.Context, o controller.Offer) {
	log := f.log.With("job_id", o.Attempt.Job, "attempt", o.Attempt.No, "server", o.Server.Name, "kind", o.Kind)
	err := f.offer(ctx, o)
	var fail *wire.Failure
	switch {
	case err == nil:
		log.Info("job accepted by agent")
		return
	case ctx.Err() != nil:
		return
	case errors.As(err, &fail) && (fail.Code == wire.CodeBusy || fail.Code == wire.CodeOffline || fail.Code == wire.CodeSuperseded):
		log.Debug("job not delivered yet", "err", err)
		err = f.opt.Store.ReleaseOffer(ctx, o.Attempt, redeliverAfter, fail.Message)
	case errors.As(err, &fail) && fail.Code == wire.CodeStale:
		log.Info("job ended while it was delivered", "err", err)
		return
	case errors.As(err, &fail):
		log.Warn("job not started", "code", fail.Code, "err", fail)
		err = f.opt.Store.FailOffer(ctx, o.Attempt, fail)
	default:
		log.Warn("deliver job", "err", err)
		err = f.opt.Store.ReleaseOffer(ctx, o.Attempt, redeliverAfter, "")
	}
	if err != nil && ctx.Err() == nil {
		log.Warn("record delivery", "err", err)
	}
}

func (f *Fleet) offer(ctx context.Context, o controller.Offer) error {
	job := wire.Job{Attempt: o.Attempt, Kind: o.Kind, MaxDurationSeconds: int64(o.MaxDuration / time.Second)}
	err := readable(o)
	if err != nil {
		return err
	}
	switch o.Kind {
	case wire.JobBackup:
		job.Backup, err = f.backupOrder(ctx, o)
	case wire.JobVerify:
		job.Verify, err = f.verifyOrder(ctx, o)
	case wire.JobRestore:
		job.Restore, err = f.restoreOrder(ctx, o)
	case wire.JobUndo, wire.JobSettle:
		job.Swap = swapOrder(*o.Restore)
	case wire.JobDiscard:
		job.Discard = &wire.DiscardOrder{Instance: o.Restore.Instance, Engine: o.Restore.Engine, Database: o.Restore.DatabaseName, Kept: o.Restore.KeptName}
	default:
		err = wire.Failf(wire.CodeInternal, "no agent runs jobs of kind %q", o.Kind)
	}
	if err != nil {
		return err
	}
	reply, err := f.command(ctx, o.Server, wire.VerbRun, job)
	if err != nil {
		return err
	}
	var acc wire.Accepted
	if err := wire.Decode(reply, &acc); err != nil {
		return err
	}
	if acc.Failure != nil {
		return acc.Failure
	}
	failpoint.Hit("controller.accepted_before_commit")
	return f.opt.Store.AttemptAccepted(ctx, o.Attempt, o.Server.Session)
}

// isLocal tells whether the offer's artifact lies, or will lie, on a host.
func isLocal(o controller.Offer) bool {
	return o.Storage != nil && o.Storage.Kind == controller.StorageLocal
}

// readable refuses to have a backup on one host read by another: it would look into its own directory.
func readable(o controller.Offer) error {
	if o.Kind == wire.JobBackup || !isLocal(o) || o.Server.ID == o.Backup.ServerID {
		return nil
	}
	return wire.Failf(wire.CodeNotAllowed, "backup %d lies on server %s, and %s cannot read it there", o.Backup.ID, o.Backup.Server, o.Server.Name).
		WithHint("restore it on %s, or fetch it by `devflowctl backup download`", o.Backup.Server)
}

// backupOrder opens the multipart upload, once for each attempt, after its row with the key is committed.
func (f *Fleet) backupOrder(ctx context.Context, o controller.Offer) (*wire.BackupOrder, error) {
	codec := backupCodec(o.Backup, o.Recipients)
	objects, err := f.open(*o.Storage, o.Server)
	if err != nil {
		return nil, err
	}
	order := &wire.BackupOrder{
		AttemptID: o.AttemptID, Instance: o.Backup.Instance, Engine: o.Backup.DatabaseType, Database: o.Backup.DatabaseName,
		Key: o.Key, Codec: wire.Codec(codec),
	}
	if isLocal(o) {
		order.Local = true
	} else {
		order.PartSize, order.Checksum = o.PartSize, o.Storage.ChecksumMode
	}
	if o.Backup.Encryption == controller.EncryptionAES {
		if order.SealedKeys, err = f.sealedKeys(ctx, o); err != nil {
			return nil, err
		}
	}
	if o.UploadID == "" {
		id, err := objects.CreateUpload(ctx, o.Key)
		if err != nil {
			return nil, err
		}
		failpoint.Hit("controller.upload_created")
		if err := f.setUpload(ctx, o, objects, id); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// sealedKeys are the symmetric keys of each object that the backup may make.
func (f *Fleet) sealedKeys(ctx context.Context, o controller.Offer) (map[string][]byte, error) {
	keys, err := f.aesKeys(ctx, o.ProjectID, o.AttemptID)
	if err != nil {
		return nil, err
	}
	out := make(map[string][]byte, len(keys))
	for object, k := range keys {
		if out[object], err = sealedAES(o, object, k); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// setUpload records the upload that was created. Another controller may have been first, or the attempt may have ended: then ours
// is one too many. Where the catalog's answer is not known it stays, and is aborted when the attempt ends.
func (f *Fleet) setUpload(ctx context.Context, o controller.Offer, objects Objects, id string) error {
	stands, err := f.opt.Store.SetUpload(ctx, o.Attempt, id)
	if wire.HasCode(err, wire.CodeStale) || (err == nil && stands != id) {
		if aerr := objects.AbortUpload(ctx, o.Key, id); aerr != nil {
			f.log.Warn("abort an upload that is not needed", "job_id", o.Attempt.Job, "attempt", o.Attempt.No, "key", o.Key, "err", aerr)
		}
	}
	return err
}

func backupCodec(b controller.Backup, recipients []string) artifact.Codec {
	c := artifact.Codec{Compression: b.Compression, Level: b.Level, Encryption: b.Encryption}
	if b.Encryption == controller.EncryptionAge {
		c.Recipients = recipients
	}
	return c
}

func (f *Fleet) verifyOrder(ctx context.Context, o controller.Offer) (*wire.VerifyOrder, error) {
	if err := f.checkRecord(ctx, o.Record); err != nil {
		return nil, err
	}
	if err := f.checkManifest(ctx, o); err != nil {
		return nil, err
	}
	src, err := f.source(ctx, o, o.Level == wire.LevelContent)
	if err != nil {
		return nil, err
	}
	return &wire.VerifyOrder{Level: o.Level, Source: *src, Instance: o.Backup.Instance}, nil
}

func (f *Fleet) restoreOrder(ctx context.Context, o controller.Offer) (*wire.RestoreOrder, error) {
	if err := f.checkRecord(ctx, o.Record); err != nil {
		return nil, err
	}
	src, err := f.source(ctx, o, true)
	if err != nil {
		return nil, err
	}
	r := *o.Restore
	order := &wire.RestoreOrder{
		Source: *src, Instance: r.Instance, Database: r.DatabaseName,
		Staging: fmt.Sprintf("devflow_staging_%d_%d_%s", o.Attempt.Job, o.Attempt.No, o.Attempt.Token[:8]),
	}
	if !reflect.DeepEqual(r.Choices, wire.RestoreChoices{}) {
		order.Choices = &r.Choices
	}
	if r.InPlace {
		// Every attempt has the same names: it settles what one before it may have left.
		terms := swapTerms(r)
		order.Staging, order.InPlace = r.StagedName, &terms
	}
	return order, nil
}

func swapOrder(r controller.Restore) *wire.SwapOrder {
	return &wire.SwapOrder{Instance: r.Instance, Engine: r.Engine, Database: r.DatabaseName, Staged: r.StagedName, Terms: swapTerms(r)}
}

func swapTerms(r controller.Restore) wire.SwapTerms {
	return wire.SwapTerms{Keep: r.KeptName, Identity: r.Identity, Sessions: r.Sessions, WaitSeconds: r.WaitSeconds}
}

// source describes the artifact to a reading agent. With keys, each object's key is sealed to this agent for this attempt.
func (f *Fleet) source(ctx context.Context, o controller.Offer, keys bool) (*wire.Source, error) {
	var meta backupMetadata
	if err := json.Unmarshal(o.Backup.Metadata, &meta); err != nil {
		return nil, fmt.Errorf("decode metadata of backup %d: %w", o.Backup.ID, err)
	}
	src := &wire.Source{
		BackupID: o.Backup.ID, Engine: o.Backup.DatabaseType, Database: o.Backup.DatabaseName, ToolVersion: meta.ToolVersion,
		Codec: wire.Codec(backupCodec(o.Backup, o.Recipients)), Local: isLocal(o),
	}
	var seal sealer
	if keys {
		var err error
		if seal, err = f.sealerFor(ctx, o); err != nil {
			return nil, err
		}
	}
	roles := o.Restore != nil && o.Restore.Choices.Roles
	for _, obj := range o.Objects {
		if obj.Object != wire.ObjectArtifact && obj.Object != wire.ObjectFingerprint && (obj.Object != wire.ObjectGlobals || !roles) {
			continue
		}
		so := wire.SourceObject{
			StoredSize: obj.StoredSize, StoredSHA256: obj.StoredSHA256, RawSize: obj.RawSize, RawSHA256: obj.RawSHA256, MAC: obj.MAC,
		}
		if src.Local {
			so.Key = obj.Key
		}
		if seal != nil {
			var err error
			if so.SealedKey, err = seal(obj); err != nil {
				return nil, err
			}
		}
		switch obj.Object {
		case wire.ObjectArtifact:
			src.Artifact = so
		case wire.ObjectFingerprint:
			src.Fingerprint = &so
		default:
			src.Globals = &so
		}
	}
	if src.Artifact.StoredSHA256 == "" {
		return nil, wire.Failf(wire.CodeMissing, "backup %d has no stored artifact", o.Backup.ID)
	}
	if roles && src.Globals == nil {
		return nil, wire.Failf(wire.CodeMissing, "backup %d holds no roles that could be made", o.Backup.ID).WithHint("ask for the restore without roles")
	}
	return src, nil
}

// command signs and sends one command and returns the agent's answer. An agent that is not connected is CodeOffline.
func (f *Fleet) command(ctx context.Context, s controller.Server, verb string, body any) ([]byte, error) {
	return f.commandWithin(ctx, f.opt.Accept, s, verb, body)
}

// commandWithin is command to an agent that may take so long to answer.
func (f *Fleet) commandWithin(ctx context.Context, limit time.Duration, s controller.Server, verb string, body any) ([]byte, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", verb, err)
	}
	msg, err := wire.Sign(f.opt.SigningKey, wire.Directive{
		Kind: wire.KindCommand, Server: s.AgentID, Session: s.Session, Verb: verb, ID: wire.NewID(), Body: b,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	failpoint.Hit("controller.before_publish")
	reply, err := f.opt.Conn.RequestWithContext(ctx, wire.AgentSubject(s.AgentID, verb), msg)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, wire.Failf(wire.CodeOffline, "the agent on %s is not connected", s.Name).Retry()
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil:
		return nil, wire.Failf(wire.CodeOffline, "the agent on %s did not answer", s.Name).Retry()
	case err != nil:
		return nil, fmt.Errorf("send %s to %s: %w", verb, s.Name, err)
	}
	failpoint.Hit("controller.after_publish")
	return reply.Data, nil
}
