package catalog

import (
	"context"
	"time"

	"devflowbackup/controller"
)

// Downloadable is what CreateDownload would give, and leaves no trace: whoever uses it hands nothing out before CreateDownload has said so.
func (c *Catalog) Downloadable(ctx context.Context, actor controller.Actor, req controller.DownloadRequest) (controller.Download, error) {
	var d controller.Download
	if err := req.Validate(); err != nil {
		return d, err
	}
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		b, err := t.backup(ctx, req.Backup)
		if err != nil {
			return err
		}
		return t.elevated(ctx, func() error { // the objects are for the controller alone
			d, err = t.download(ctx, b, req.Object, req.Format)
			return err
		})
	})
	if err != nil {
		return controller.Download{}, err
	}
	return d, nil
}

// CreateDownload lets someone fetch one object of a completed backup and writes so into the audit log, once. With the hash of a token
// it makes a link that UseDownload takes; without one the caller hands out a link of the store itself. A corrupt backup can be fetched: its
// bytes may be all there is. A ttl of zero is controller.DownloadTTL.
func (c *Catalog) CreateDownload(ctx context.Context, actor controller.Actor, req controller.DownloadRequest, tokenHash []byte, ttl time.Duration) (controller.Download, error) {
	var d controller.Download
	if err := req.Validate(); err != nil {
		return d, err
	}
	if ttl <= 0 {
		ttl = controller.DownloadTTL
	}
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		b, err := t.backup(ctx, req.Backup)
		if err != nil {
			return err
		}
		if err := t.elevated(ctx, func() error { // the objects are for the controller alone
			d, err = t.download(ctx, b, req.Object, req.Format)
			return err
		}); err != nil {
			return err
		}
		if err := t.scan(ctx, &d.ExpiresAt, "SELECT now() + ?", interval(ttl)); err != nil {
			return err
		}
		d.ExpiresAt = d.ExpiresAt.UTC()
		if tokenHash != nil {
			_, err := t.exec(ctx, "INSERT INTO download_links (token_hash, project_id, backup_id, object, format, created_by, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
				tokenHash, b.ProjectID, b.ID, req.Object, req.Format, cut(actor.Name, 200), d.ExpiresAt)
			if err != nil {
				return err
			}
		}
		detail := map[string]any{"database": b.DatabaseName, "object": req.Object, "format": req.Format, "direct": tokenHash == nil}
		return t.audit(ctx, actor, "backup.download", &b.ProjectID, itoa(b.ID), detail)
	})
	if err != nil {
		return controller.Download{}, err
	}
	return d, nil
}

// FindDownload is what a link gives, and leaves it as it is. A link that is not known is ENotFound; one that was used or has expired,
// or whose backup cannot be fetched any more, EConflict.
func (c *Catalog) FindDownload(ctx context.Context, tokenHash []byte) (controller.Download, error) {
	return c.follow(ctx, tokenHash, "SELECT backup_id, object, format, expires_at FROM download_links WHERE token_hash = ? AND used_at IS NULL AND expires_at > now()")
}

// UseDownload is FindDownload, and uses the link up: of several callers at once exactly one gets it.
func (c *Catalog) UseDownload(ctx context.Context, tokenHash []byte) (controller.Download, error) {
	return c.follow(ctx, tokenHash, `UPDATE download_links SET used_at = now() WHERE token_hash = ? AND used_at IS NULL AND expires_at > now()
		RETURNING backup_id, object, format, expires_at`)
}

func (c *Catalog) follow(ctx context.Context, tokenHash []byte, query string) (controller.Download, error) {
	var d controller.Download
	err := c.system(ctx, func(t *tx) error {
		var link struct {
			BackupID  int64
			Object    string
			Format    string
			ExpiresAt time.Time
		}
		found, err := t.find(ctx, &link, query, tokenHash)
		if err != nil {
			return err
		}
		if !found {
			return t.deadLink(ctx, tokenHash)
		}
		b, err := t.backup(ctx, link.BackupID)
		if err != nil {
			return err
		}
		d, err = t.download(ctx, b, link.Object, link.Format)
		d.ExpiresAt = link.ExpiresAt.UTC()
		return err
	})
	if err != nil {
		return controller.Download{}, err
	}
	return d, nil
}

// deadLink says why a link gives nothing.
func (t *tx) deadLink(ctx context.Context, tokenHash []byte) error {
	var used bool
	found, err := t.find(ctx, &used, "SELECT used_at IS NOT NULL FROM download_links WHERE token_hash = ?", tokenHash)
	const hint = "ask for another one"
	switch {
	case err != nil:
		return err
	case !found:
		return controller.Errorf(controller.ENotFound, "this link is not known").WithHint(hint)
	case used:
		return controller.Errorf(controller.EConflict, "this link was already used").WithHint(hint)
	}
	return controller.Errorf(controller.EConflict, "this link has expired").WithHint(hint)
}

// download is one object of a backup that can be fetched.
func (t *tx) download(ctx context.Context, b controller.Backup, object, format string) (controller.Download, error) {
	d := controller.Download{Backup: b, StorageID: b.StorageID, Format: format}
	switch {
	case b.DeletedAt != nil:
		return d, controller.Errorf(controller.EConflict, "backup %d is deleted", b.ID).WithHint("`devflowctl backup undelete %d` brings it back while its grace runs", b.ID)
	case b.Status != controller.StatusCompleted:
		return d, controller.Errorf(controller.EConflict, "backup %d is %s: only a completed backup can be downloaded", b.ID, b.Status)
	case b.Health == controller.HealthArchived && object != controller.ObjectManifest:
		return d, archivedBackup(b)
	case b.Health != controller.HealthOK && b.Health != controller.HealthCorrupt && b.Health != controller.HealthArchived:
		return d, controller.Errorf(controller.EConflict, "backup %d is %s: it cannot be downloaded", b.ID, b.Health).
			WithHint("choose another backup; `devflowctl backup verify %d` looks at it again", b.ID)
	}
	servers, err := t.serversByID(ctx, []int64{b.ServerID})
	if err != nil {
		return d, err
	}
	d.Server = servers[b.ServerID]
	if b.SameHost && d.Server.RevokedAt != nil {
		return d, controller.Errorf(controller.EConflict, "backup %d lies on server %q itself, which is revoked", b.ID, b.Server).
			WithHint("its file is in the backup directory there, if the host is still there")
	}
	made, err := t.maker(ctx, b.ID)
	if err != nil {
		return d, err
	}
	d.AttemptID, d.Recipients = made.AttemptID, made.OrderBody.Recipients
	objects, err := t.objects(ctx, b.ID)
	if err != nil {
		return d, err
	}
	if d.Record, err = t.record(ctx, b, made, objects); err != nil {
		return d, err
	}
	for _, o := range objects {
		if o.Object == object {
			d.Object = o
			return d, nil
		}
	}
	return d, controller.Errorf(controller.ENotFound, "backup %d has no %s", b.ID, object)
}
