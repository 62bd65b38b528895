package catalog

import (
	"context"

	"devflowbackup/controller"
)

// record gathers what is held against a backup's signed manifest. The backup and its objects are those that the caller goes on to use.
func (t *tx) record(ctx context.Context, b controller.Backup, made maker, objects []controller.StoredObject) (controller.Record, error) {
	var row struct {
		Manifest  []byte
		Composite string
		ETag      string
		VersionID string
		AgentID   string
	}
	err := t.scan(ctx, &row, `SELECT coalesce(b.manifest, '') AS manifest, coalesce(b.composite, '') AS composite, coalesce(b.etag, '') AS e_tag,
		coalesce(b.version_id, '') AS version_id, coalesce(s.agent_id, '') AS agent_id FROM database_backups b LEFT JOIN servers s ON s.id = b.server_id WHERE b.id = ?`, b.ID)
	return controller.Record{
		Backup: b, Manifest: row.Manifest, Composite: row.Composite, ETag: row.ETag, VersionID: row.VersionID, AgentID: row.AgentID,
		JobID: made.JobID, AttemptNo: made.No, AttemptID: made.AttemptID, Recipients: made.OrderBody.Recipients, Objects: objects,
	}, err
}

// RecordDiffers marks a backup whose rows are not what was signed as corrupt, with the reason, and records a security event.
func (c *Catalog) RecordDiffers(ctx context.Context, backup int64, reason string) error {
	return c.system(ctx, func(t *tx) error {
		_, err := t.exec(ctx, `UPDATE database_backups SET health = 'corrupt', health_reason = ?, health_at = now(), verified_at = NULL, verified_level = NULL, verified_by_host = false
			WHERE id = ? AND status = 'completed' AND health <> 'deleting'`, cut(reason, 2000), backup)
		if err != nil {
			return err
		}
		var agent string
		if _, err := t.find(ctx, &agent, "SELECT s.agent_id FROM database_backups b JOIN servers s ON s.id = b.server_id WHERE b.id = ?", backup); err != nil {
			return err
		}
		return t.event(ctx, agent, controller.EventRecord, cut(reason, 500), 1)
	})
}
