package fleet

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

// manifestTime bounds how long the manifest of a backup that is to be verified is waited for.
const manifestTime = 15 * time.Second

// checkRecord holds the catalog's rows of a backup against its signed manifest. A difference is a wire.CodeRecord failure that names the
// column; the backup is corrupt from then on, and a security event is recorded: nothing that this program does explains it.
func (f *Fleet) checkRecord(ctx context.Context, r controller.Record) error {
	column, err := f.differs(r)
	if err == nil {
		return nil
	}
	fail := wire.Failf(wire.CodeRecord, "the catalog's %s of backup %d differs from its signed manifest: %w", column, r.Backup.ID, err).
		WithHint("find out who changed the row, and put it right; then `devflowctl backup verify %d`", r.Backup.ID)
	f.log.Error("security event", "server", r.AgentID, "kind", controller.EventRecord, "backup_id", r.Backup.ID, "column", column, "err", err)
	if err := f.opt.Store.RecordDiffers(ctx, r.Backup.ID, fail.Error()); err != nil {
		return fmt.Errorf("record that backup %d differs from its manifest: %w", r.Backup.ID, err)
	}
	return fail
}

// differs names the first column in which the record is not what was signed, and how.
func (f *Fleet) differs(r controller.Record) (column string, err error) {
	m, err := artifact.ParseManifest(r.Manifest)
	if err != nil {
		return "manifest", err
	}
	// The agent's key is the one that a controller countersigned: the server may have other keys now.
	st, facts, err := m.Verify("", artifact.RecordedAgentKey, f.manifestKey)
	if err != nil {
		return "manifest", err
	}
	meta := backupMetadata{}
	if err := json.Unmarshal(r.Backup.Metadata, &meta); err != nil {
		return "metadata", err
	}
	made := st.ServerIdentity
	if meta.ServerIdentity == "" { // of a version that did not record it; then the manifest tells
		made = ""
	}
	b, id := r.Backup, func(n int64) string { return strconv.FormatInt(n, 10) }
	for _, c := range []struct{ column, recorded, signed string }{
		{"id", id(b.ID), id(facts.BackupID)},
		{"project_id", id(b.ProjectID), id(facts.Project.ID)},
		{"server_id", r.AgentID, facts.Server.ID},
		{"storage_id", id(b.StorageID), id(facts.Storage.ID)},
		{"storage_disk", b.StorageDisk, facts.Storage.Disk},
		{"type", b.Type, facts.Type},
		{"schedule_id", id(number(b.ScheduleID)), id(facts.ScheduleID)},
		{"database_type", b.DatabaseType, st.Engine},
		{"database_name", b.DatabaseName, st.Database},
		{"file_path", b.FilePath, st.Key},
		{"file_name", b.FileName, path.Base(st.Key)},
		{"file_size", id(number(b.FileSize)), id(st.StoredSize)},
		{"checksum", word(b.Checksum), st.StoredSHA256.String()},
		{"raw_size", id(number(b.RawSize)), id(st.RawSize)},
		{"raw_checksum", word(b.RawChecksum), st.RawSHA256.String()},
		{"composite", r.Composite, st.CompositeSHA256},
		{"etag", r.ETag, facts.Storage.ETag},
		{"version_id", r.VersionID, facts.Storage.VersionID},
		{"compression", b.Compression, st.Codec.Compression},
		{"level", strconv.Itoa(b.Level), strconv.Itoa(st.Codec.Level)},
		{"encryption", b.Encryption, st.Codec.Encryption},
		{"metadata (tool_version)", meta.ToolVersion, plain(st.ToolVersion)},
		{"metadata (server_version)", meta.ServerVersion, plain(st.ServerVersion)},
		{"metadata (server_identity)", meta.ServerIdentity, plain(made)},
		{"metadata (tables_count)", id(meta.Tables), id(st.Metadata.Tables)},
		{"metadata (database_size)", id(meta.DatabaseSize), id(st.Metadata.DatabaseSize)},
		{"attempt (job_id)", id(r.JobID), st.JobID},
		{"attempt (no)", strconv.Itoa(r.AttemptNo), strconv.Itoa(st.AttemptNo)},
		{"attempt (attempt_id)", r.AttemptID, st.AttemptID},
		{"attempt (recipients)", strings.Join(r.Recipients, " "), strings.Join(st.Codec.Recipients, " ")},
	} {
		if c.recorded != c.signed {
			return c.column, fmt.Errorf("%.200q is recorded, %.200q was signed", c.recorded, c.signed)
		}
	}
	return objectsDiffer(r, st, facts)
}

// objectsDiffer holds the rows of the objects against the statement.
func objectsDiffer(r controller.Record, st artifact.Statement, facts artifact.Facts) (column string, err error) {
	manifest := artifact.Digest(sha256.Sum256(r.Manifest))
	size := int64(len(r.Manifest))
	signed := map[string]signedObject{
		wire.ObjectArtifact:       {st.Key, st.Sums},
		controller.ObjectManifest: {artifact.ManifestKey(st.Key), artifact.Sums{RawSize: size, RawSHA256: manifest, StoredSize: size, StoredSHA256: manifest}},
	}
	if st.Fingerprint != nil {
		signed[wire.ObjectFingerprint] = signedObject{artifact.FingerprintKey(st.Key, st.Codec), *st.Fingerprint}
	}
	if st.Globals != nil {
		signed[wire.ObjectGlobals] = signedObject{artifact.GlobalsKey(st.Key, st.Codec), *st.Globals}
	}
	for _, o := range r.Objects {
		s, ok := signed[o.Object]
		if !ok {
			return o.Object, errors.New("there is a row of it, and none was signed")
		}
		delete(signed, o.Object)
		if column, err := s.differs(o); err != nil {
			return o.Object + "'s " + column, err
		}
		if o.Object == wire.ObjectArtifact && (o.ETag != facts.Storage.ETag || o.VersionID != facts.Storage.VersionID) {
			return "artifact's etag or version_id", fmt.Errorf("%.100q %.100q are recorded, %.100q %.100q were signed", o.ETag, o.VersionID, facts.Storage.ETag, facts.Storage.VersionID)
		}
	}
	for _, name := range []string{wire.ObjectArtifact, wire.ObjectFingerprint, wire.ObjectGlobals, controller.ObjectManifest} {
		if _, ok := signed[name]; ok {
			return name, errors.New("its row is gone")
		}
	}
	return "", nil
}

// signedObject is where an object was put and what it must be.
type signedObject struct {
	key  string
	sums artifact.Sums
}

func (s signedObject) differs(o controller.StoredObject) (column string, err error) {
	var want controller.StoredObject
	fill(&want, s.sums)
	for _, c := range []struct{ column, recorded, signed string }{
		{"key", o.Key, s.key},
		{"stored_size", strconv.FormatInt(o.StoredSize, 10), strconv.FormatInt(want.StoredSize, 10)},
		{"stored_sha256", o.StoredSHA256, want.StoredSHA256},
		{"raw_size", strconv.FormatInt(o.RawSize, 10), strconv.FormatInt(want.RawSize, 10)},
		{"raw_sha256", o.RawSHA256, want.RawSHA256},
		{"mac", fmt.Sprintf("%x", o.MAC), fmt.Sprintf("%x", want.MAC)},
	} {
		if c.recorded != c.signed {
			return c.column, fmt.Errorf("%.200q is recorded, %.200q was signed", c.recorded, c.signed)
		}
	}
	return "", nil
}

// manifestKey is a key that this installation signs with or has signed with.
func (f *Fleet) manifestKey(id string) (ed25519.PublicKey, error) {
	if public, ok := f.opt.SigningKey.Public().(ed25519.PublicKey); ok && id == f.keyID() {
		return public, nil
	}
	if i := slices.IndexFunc(f.opt.KeySet.Keys, func(k wire.Key) bool { return k.ID == id }); i >= 0 {
		return f.opt.KeySet.Keys[i].Public, nil
	}
	return nil, fmt.Errorf("%.40q is no key of this installation", id)
}

// checkManifest reads the manifest that lies beside the artifact: it must be the catalog's, byte for byte.
func (f *Fleet) checkManifest(ctx context.Context, o controller.Offer) error {
	objects, err := f.open(*o.Storage, o.Server)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, manifestTime, wire.Failf(wire.CodeStorageUnavailable, "the manifest was not read within %s", manifestTime).Retry())
	defer cancel()
	key := artifact.ManifestKey(o.Record.Backup.FilePath)
	b, err := objects.Get(ctx, key, artifact.MaxManifestSize)
	switch {
	case wire.HasCode(err, wire.CodeMissing):
		return wire.Failf(wire.CodeMissing, "the manifest of backup %d is gone from its storage: there is no %s", o.Backup.ID, key).At(wire.StageVerify).
			WithHint("`devflowctl backup manifest %d` has the catalog's copy", o.Backup.ID)
	case wire.HasCode(err, wire.CodeLimit), wire.HasCode(err, wire.CodeChecksum), err == nil && !bytes.Equal(b, o.Record.Manifest):
		return wire.Failf(wire.CodeCorrupt, "the manifest of backup %d at its storage, %s, is not the one that was written", o.Backup.ID, key).At(wire.StageVerify).
			WithHint("find out who wrote to the storage")
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return err
}

func number(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}

func word(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// plain is a text as the catalog keeps it, which has no NUL.
func plain(s string) string { return strings.ReplaceAll(s, "\x00", "") }
