package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

// Codes of problems that the catalog finds, beside those of failures. They are stable.
const (
	problemNotAssigned  = "target_not_assigned"      // the target is not a database of the backup's project
	problemAtWork       = "restore_at_work"          // another restore or undo works on the target
	problemUnknown      = "target_unknown"           // it is not known yet what an earlier one came to
	problemBackupAtWork = "backup_at_work"           // the safety backup could not be begun
	problemNoGlobals    = "no_globals"               // roles are asked for, and the backup has none
	problemNotVerified  = "not_verified"             // the backup never was
	problemOldVerify    = "verified_long_ago"        // its last verification is old
	problemFailedVerify = "last_verification_failed" // and it was found whole again since
	problemHealthNote   = "backup_noted"             // it is good, with something to say about it
)

// verifiedLately is how old a verification may be before a plan says so.
const verifiedLately = 30 * 24 * time.Hour

// DraftRestore resolves and checks a request for a restore; nothing is written. Of a restore in place Confirm is not looked at.
func (c *Catalog) DraftRestore(ctx context.Context, actor controller.Actor, req controller.RestoreRequest) (controller.Draft, error) {
	if err := req.Validate(); err != nil {
		return controller.Draft{}, err
	}
	var d controller.Draft
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		b, err := t.backup(ctx, req.Backup)
		if err != nil {
			return err
		}
		if d, err = t.draftRestore(ctx, b, req); err != nil {
			return err
		}
		if err := t.lookAtTarget(ctx, &d); err != nil {
			return err
		}
		return t.lookAtBackup(ctx, &d)
	})
	return d, err
}

// draftRestore resolves a request. What is at work at the target and what is to be said about the backup is looked up apart.
func (t *tx) draftRestore(ctx context.Context, b controller.Backup, req controller.RestoreRequest) (controller.Draft, error) {
	d := controller.Draft{Request: req, Kind: controller.RestoreKind, Backup: b, Engine: b.DatabaseType, Problems: []wire.Problem{}}
	if !b.Restorable() {
		return d, notRestorable(b)
	}
	var err error
	if d.Server, err = t.restoreServer(ctx, b, req.Server); err != nil {
		return d, err
	}
	d.Online = d.Server.Online
	if d.Instance, err = restoreInstance(b, d.Server, req.Instance); err != nil {
		return d, err
	}
	d.Database = orText(req.Database, b.DatabaseName)
	if err := controller.ValidDatabaseName("to_database", d.Engine, d.Database); err != nil {
		return d, err
	}
	if err := controller.ValidChoices(d.Engine, req.InPlace, req.Choices); err != nil {
		return d, err
	}
	if err := t.backupFacts(ctx, &d); err != nil {
		return d, err
	}
	if req.Choices.Roles && !slices.Contains(d.Metadata.Objects, wire.ObjectGlobals) {
		problem(&d, true, problemNoGlobals, "leave roles out, or choose a backup that has them", "backup %d holds no roles that could be made", b.ID)
	}
	return d, t.targetProblems(ctx, &d)
}

func problem(d *controller.Draft, stops bool, code, hint, format string, args ...any) {
	d.Problems = append(d.Problems, wire.Problem{Stops: stops, Code: code, Text: fmt.Sprintf(format, args...), Hint: hint})
}

// targetProblems finds the target's row, and what forbids to restore there.
func (t *tx) targetProblems(ctx context.Context, d *controller.Draft) error {
	swap := d.Request.InPlace
	var row struct {
		ID        int64
		ProjectID *int64
		Missing   bool
	}
	err := t.elevated(ctx, func() error { // it may be one of another project
		_, err := t.find(ctx, &row, "SELECT id, project_id, missing_since IS NOT NULL AS missing FROM databases WHERE server_id = ? AND instance = ? AND name = ?",
			d.Server.ID, d.Instance.Name, d.Database)
		return err
	})
	if err != nil {
		return err
	}
	if row.ProjectID != nil && *row.ProjectID == d.Backup.ProjectID {
		d.Local = &row.ID
	}
	switch {
	case !d.Instance.Restore:
		problem(d, true, wire.CodeNotAllowed, "allow them in the agent's configuration on that host",
			"the agent on %q does not allow restores into instance %q", d.Server.Name, d.Instance.Name)
	case swap && !d.Instance.InPlace:
		problem(d, true, wire.CodeNotAllowed, fmt.Sprintf("set restore.in_place: true for instance %s in the agent's configuration on that host, and restart the agent", d.Instance.Name),
			"the agent on %q allows restores into new databases of instance %q only, and none in place", d.Server.Name, d.Instance.Name)
	}
	switch {
	case swap && d.Local == nil:
		problem(d, true, problemNotAssigned,
			fmt.Sprintf("`devflowctl database assign %q --on %q` assigns it; `devflowctl database list` shows what the agents found", d.Database, d.Server.Name),
			"database %q on server %q is not assigned to project %q", d.Database, d.Server.Name, d.Backup.Project)
	case !swap && !row.Missing && row.ID == d.Backup.DatabaseID:
		problem(d, true, wire.CodeTargetExists,
			"choose another name with --to-database, or restore it in place with --in-place; if the database is gone, wait until the agent has found that out, at most 15 minutes",
			"%q on %q is the backup's own database", d.Database, d.Server.Name)
	}
	if !d.Online {
		said := "the agent on " + d.Server.Name + " has never connected"
		if d.Server.LastSeenAt != nil {
			said = fmt.Sprintf("the agent on %s is offline since %s UTC", d.Server.Name, d.Server.LastSeenAt.UTC().Format(time.DateTime))
		}
		problem(d, swap, wire.CodeOffline, "start devflow-agent on that host", "%s", said)
	}
	return nil
}

// lockTarget makes restores and undos of one target come one after another.
func (t *tx) lockTarget(ctx context.Context, server int64, instance, name string) error {
	_, err := t.exec(ctx, "SELECT pg_advisory_xact_lock(?, hashtext(?))", lockRestoreTo, itoa(server)+"/"+instance+"/"+name)
	return err
}

// lockAssigned locks a database that is about to be backed up, and its project against its end.
func (t *tx) lockAssigned(ctx context.Context, database *int64) error {
	if database == nil {
		return nil
	}
	_, err := t.exec(ctx, "SELECT 1 FROM databases d JOIN projects p ON p.id = d.project_id WHERE d.id = ? FOR NO KEY UPDATE OF d FOR SHARE OF p", *database)
	return err
}

// lookAtTarget tells what is at work there. Whether the name is free on the server only its agent knows: it looks before it reads
// anything, while the catalog's list may be older than the disaster.
func (t *tx) lookAtTarget(ctx context.Context, d *controller.Draft) error {
	var others []struct {
		ID      int64
		Undo    bool
		Unknown bool
	}
	err := t.elevated(ctx, func() error { // they may be of another project
		return t.scan(ctx, &others, `SELECT id, undo_of IS NOT NULL AS undo, target_state = 'unknown' AS unknown FROM restores
			WHERE server_id = ? AND instance = ? AND database_name = ? AND (status IN ('pending', 'running') OR target_state = 'unknown') ORDER BY id LIMIT 2`,
			d.Server.ID, d.Instance.Name, d.Database)
	})
	if err != nil {
		return err
	}
	for _, o := range others {
		what := "restore"
		if o.Undo {
			what = "undo"
		}
		switch {
		case o.Unknown:
			// Into a new database it is the agent's to say whether the name is free.
			problem(d, d.Request.InPlace, problemUnknown, "its agent is asked as soon as it is connected; wait for that",
				"it is not known yet whether an earlier %s has replaced database %q on server %q", what, d.Database, d.Server.Name)
		case d.Request.InPlace:
			problem(d, true, problemAtWork, "wait for it, or cancel it", "another %s is at work on database %q on server %q", what, d.Database, d.Server.Name)
		default:
			problem(d, true, problemAtWork, "wait for it, or choose another name with --to-database", "another %s is making database %q on server %q", what, d.Database, d.Server.Name)
		}
	}
	if d.Local == nil || !d.Request.InPlace || d.Request.SkipSafety || d.Undo != nil {
		return nil
	}
	open, err := t.openBackup(ctx, *d.Local)
	if err == nil && open != nil {
		problem(d, true, problemBackupAtWork, fmt.Sprintf("wait for it, or `devflowctl backup cancel %d`", open.ID),
			"backup %d of database %q is %s: the safety backup cannot be made beside it", open.ID, d.Database, open.Status)
	}
	return err
}

// lookAtBackup tells what a person should know about the backup.
func (t *tx) lookAtBackup(ctx context.Context, d *controller.Draft) error {
	b := d.Backup
	check := fmt.Sprintf("`devflowctl backup verify %d --level content` reads it all", b.ID)
	var row struct {
		Old    bool
		Failed bool
	}
	err := t.scan(ctx, &row, `SELECT coalesce(b.verified_at < now() - ?, false) AS old,
		coalesce((SELECT NOT v.ok FROM verifications v WHERE v.backup_id = b.id ORDER BY v.id DESC LIMIT 1), false) AS failed FROM database_backups b WHERE b.id = ?`,
		interval(verifiedLately), b.ID)
	if err != nil {
		return err
	}
	switch {
	case row.Failed:
		problem(d, false, problemFailedVerify, check, "the last verification of backup %d failed, and it was not verified since", b.ID)
	case b.VerifiedAt == nil:
		problem(d, false, problemNotVerified, check, "backup %d was never verified", b.ID)
	case row.Old:
		problem(d, false, problemOldVerify, check, "backup %d was last verified on %s", b.ID, b.VerifiedAt.UTC().Format(time.DateOnly))
	}
	if b.HealthReason != "" {
		problem(d, false, problemHealthNote, "", "%s", b.HealthReason)
	}
	return nil
}

// backupFacts reads what is in the artifact, by its metadata and, where that is of an older version, its manifest.
func (t *tx) backupFacts(ctx context.Context, d *controller.Draft) error {
	b := d.Backup
	var meta struct {
		Tables         int64          `json:"tables_count"`
		DatabaseSize   int64          `json:"database_size"`
		Tool           string         `json:"tool"`
		ToolVersion    string         `json:"tool_version"`
		ServerVersion  string         `json:"server_version"`
		ServerIdentity string         `json:"server_identity"`
		Extra          map[string]any `json:"extra"`
	}
	if err := json.Unmarshal(b.Metadata, &meta); err != nil {
		return fmt.Errorf("decode metadata of backup %d: %w", b.ID, err)
	}
	d.MadeAt = meta.ServerIdentity
	d.Metadata = controller.BackupFacts{
		Tool: meta.Tool, ToolVersion: meta.ToolVersion, ServerVersion: meta.ServerVersion, DatabaseBytes: meta.DatabaseSize, Tables: meta.Tables, Objects: []string{},
	}
	if b.FileSize != nil && b.RawSize != nil {
		d.Metadata.StoredBytes, d.Metadata.RawBytes = *b.FileSize, *b.RawSize
	}
	said, known := meta.Extra["extensions"].([]any)
	for _, one := range said {
		if name, ok := one.(string); ok {
			d.Metadata.Extensions = append(d.Metadata.Extensions, name)
		}
	}
	var manifest struct{ Manifest []byte }
	if d.MadeAt == "" {
		if _, err := t.find(ctx, &manifest, "SELECT manifest FROM database_backups WHERE id = ?", b.ID); err != nil {
			return err
		}
		d.MadeAt = madeAt(manifest.Manifest)
	}
	return t.elevated(ctx, func() error { // the database may be another project's by now
		objects, err := t.objects(ctx, b.ID)
		if err != nil {
			return err
		}
		for _, o := range objects {
			// Of one whose object is gone from its storage only the reason says so.
			if o.Object != controller.ObjectManifest && !strings.Contains(b.HealthReason, "its "+o.Object+" is gone") {
				d.Metadata.Objects = append(d.Metadata.Objects, o.Object)
			}
		}
		if known {
			return nil
		}
		return t.scan(ctx, &d.Metadata.Extensions, "SELECT unnest(extensions) FROM databases WHERE id = ? ORDER BY 1", b.DatabaseID)
	})
}

// madeAt is the database server's identity that a manifest states; empty where it cannot be read.
func madeAt(manifest []byte) string {
	m, err := artifact.ParseManifest(manifest)
	if err != nil {
		return ""
	}
	var st artifact.Statement
	if err := json.Unmarshal(m.Signed.Statement, &st); err != nil {
		return ""
	}
	return st.ServerIdentity
}
