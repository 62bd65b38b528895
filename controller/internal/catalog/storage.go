package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"devflowbackup/controller"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/wire"
)

const storageColumns = `st.id, st.project_id, st.name, st.kind, st.endpoint, st.region, st.bucket, st.prefix, st.path_style, st.is_default,
	st.checksum_mode, coalesce(st.probe, 'null') AS probe, st.probe_ok, st.probed_at, st.created_at`

func credentialsPurpose(storage int64) string { return fmt.Sprintf("storage/%d/credentials", storage) }

// sealedCredentials is the plaintext of credentials_sealed.
type sealedCredentials struct {
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key"`
}

// usable is the condition that the scope may use storages st.
func (t *tx) usable() string {
	return "(st.project_id IS NULL OR " + string(t.sees("st.project_id")) + ")"
}

// storage finds a storage that the scope may use, by name or id.
func (t *tx) storage(ctx context.Context, ref string) (controller.Storage, error) {
	var found []controller.Storage
	err := t.scan(ctx, &found, `SELECT `+storageColumns+` FROM storages st WHERE st.deleted_at IS NULL AND (st.name = ? OR st.id::text = ?) AND `+t.usable()+`
		ORDER BY st.id LIMIT 10`, ref, ref)
	return oneStorage(ref, found, err)
}

// storageFor is storage among those that a project may use.
func (t *tx) storageFor(ctx context.Context, project int64, ref string) (controller.Storage, error) {
	var found []controller.Storage
	err := t.scan(ctx, &found, `SELECT `+storageColumns+` FROM storages st WHERE st.deleted_at IS NULL AND (st.name = ? OR st.id::text = ?)
		AND (st.project_id IS NULL OR st.project_id = ?) AND `+t.usable()+` ORDER BY st.id LIMIT 10`, ref, ref, project)
	return oneStorage(ref, found, err)
}

func oneStorage(ref string, found []controller.Storage, err error) (controller.Storage, error) {
	switch {
	case err != nil:
		return controller.Storage{}, err
	case len(found) == 0:
		return controller.Storage{}, controller.Errorf(controller.ENotFound, "storage %q does not exist", ref).WithHint("`devflowctl storage list` shows the storages")
	case len(found) > 1:
		return controller.Storage{}, controller.Errorf(controller.EConflict, "storage %q is ambiguous: ids %d and %d", ref, found[0].ID, found[1].ID).WithHint("give the id")
	}
	return found[0], nil
}

// CreateStorage adds a storage that was probed; its credentials are sealed before they are stored.
func (c *Catalog) CreateStorage(ctx context.Context, actor controller.Actor, spec controller.StorageSpec, probe json.RawMessage, ok bool, checksumMode string) (controller.Storage, error) {
	var st controller.Storage
	if err := spec.Validate(); err != nil {
		return st, err
	}
	if spec.Project == "" {
		if err := wholeInstallation(actor, "storages of no project"); err != nil {
			return st, err
		}
	}
	plain, err := json.Marshal(sealedCredentials{AccessKey: spec.AccessKey, SecretKey: spec.SecretKey.Reveal()}) //nolint:gosec // sealed before it is stored
	if err != nil {
		return st, fmt.Errorf("encode credentials: %w", err)
	}
	err = c.scoped(ctx, actor.Scope, func(t *tx) error {
		var project *int64
		if spec.Project != "" {
			p, err := t.project(ctx, spec.Project)
			if err != nil {
				return err
			}
			project = &p.ID
		}
		var id int64
		if err := t.scan(ctx, &id, "SELECT nextval(pg_get_serial_sequence('storages', 'id'))"); err != nil {
			return err
		}
		sealed, err := c.seal(credentialsPurpose(id), plain)
		if err != nil {
			return err
		}
		if spec.Default {
			if err := t.clearDefault(ctx, project); err != nil {
				return err
			}
		}
		_, err = t.exec(ctx, `INSERT INTO storages (id, project_id, name, kind, endpoint, region, bucket, prefix, path_style, credentials_sealed, is_default,
			checksum_mode, probe, probe_ok, probed_at) OVERRIDING SYSTEM VALUE VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?::jsonb, ?, now())`,
			id, project, spec.Name, spec.Kind, spec.Endpoint, spec.Region, spec.Bucket, spec.Prefix, spec.PathStyle, sealed, spec.Default,
			orText(checksumMode, wire.ChecksumSHA256), jsonText(probe), ok)
		if err != nil {
			return taken(err, "storage", spec.Name)
		}
		if err := t.audit(ctx, actor, "storage.create", project, spec.Name, map[string]any{"bucket": spec.Bucket, "endpoint": spec.Endpoint}); err != nil {
			return err
		}
		return t.scan(ctx, &st, "SELECT "+storageColumns+" FROM storages st WHERE st.id = ?", id)
	})
	return st, err
}

// clearDefault takes the default from whichever storage has it. Two that set one wait for each other.
func (t *tx) clearDefault(ctx context.Context, project *int64) error {
	if _, err := t.exec(ctx, "SELECT pg_advisory_xact_lock(?)", lockDefault); err != nil {
		return err
	}
	_, err := t.exec(ctx, "UPDATE storages SET is_default = false WHERE is_default AND deleted_at IS NULL AND project_id IS NOT DISTINCT FROM ?", project)
	return err
}

// Storages lists the storages that the caller's projects may use.
func (c *Catalog) Storages(ctx context.Context, actor controller.Actor) ([]controller.Storage, error) {
	var out []controller.Storage
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		out = []controller.Storage{}
		return t.scan(ctx, &out, "SELECT "+storageColumns+" FROM storages st WHERE st.deleted_at IS NULL AND "+t.usable()+" ORDER BY st.name, st.id")
	})
	return out, err
}

// Storage returns one storage by name or id.
func (c *Catalog) Storage(ctx context.Context, actor controller.Actor, ref string) (controller.Storage, error) {
	var st controller.Storage
	err := c.scoped(ctx, actor.Scope, func(t *tx) (err error) {
		st, err = t.storage(ctx, ref)
		return err
	})
	return st, err
}

// StorageAccess returns a storage with its credentials, for the controller itself. A deleted one opens still: what lies there
// may have to be removed.
func (c *Catalog) StorageAccess(ctx context.Context, id int64) (controller.StorageAccess, error) {
	var access controller.StorageAccess
	err := c.system(ctx, func(t *tx) (err error) {
		access, err = t.access(ctx, id)
		return err
	})
	return access, err
}

func (t *tx) access(ctx context.Context, id int64) (controller.StorageAccess, error) {
	var access controller.StorageAccess
	found, err := t.find(ctx, &access.Storage, "SELECT "+storageColumns+" FROM storages st WHERE st.id = ?", id)
	if err != nil {
		return access, err
	}
	if !found {
		return access, controller.Errorf(controller.ENotFound, "storage %d does not exist", id)
	}
	var row struct{ Sealed []byte }
	if err := t.scan(ctx, &row, "SELECT credentials_sealed AS sealed FROM storages WHERE id = ?", id); err != nil {
		return access, err
	}
	if row.Sealed == nil {
		return access, nil
	}
	plain, err := t.cat.unseal(credentialsPurpose(id), row.Sealed)
	if err != nil {
		return access, err
	}
	var cred sealedCredentials
	if err := json.Unmarshal(plain, &cred); err != nil {
		return access, fmt.Errorf("decode credentials of storage %d", id) // the decoder's error may quote them
	}
	access.Credentials = controller.Credentials{AccessKey: cred.AccessKey, SecretKey: secret.String(cred.SecretKey)}
	return access, nil
}

// UpdateProbe records the last probe of a storage. Attempts that are open keep the checksum mode that they were ordered with.
func (c *Catalog) UpdateProbe(ctx context.Context, id int64, probe json.RawMessage, ok bool, checksumMode string) error {
	return c.system(ctx, func(t *tx) error {
		n, err := t.exec(ctx, `UPDATE storages SET probe = ?::jsonb, probe_ok = ?, probed_at = now(),
			checksum_mode = CASE WHEN ? = '' THEN checksum_mode ELSE ? END WHERE id = ? AND deleted_at IS NULL`, jsonText(probe), ok, checksumMode, checksumMode, id)
		if err == nil && n == 0 {
			err = controller.Errorf(controller.ENotFound, "storage %d does not exist", id)
		}
		return err
	})
}

// SetDefaultStorage makes a storage the default of its project or, where it has none, of the installation.
func (c *Catalog) SetDefaultStorage(ctx context.Context, actor controller.Actor, ref string) (controller.Storage, error) {
	var st controller.Storage
	err := c.scoped(ctx, actor.Scope, func(t *tx) (err error) {
		if st, err = t.changeableStorage(ctx, actor, ref); err != nil {
			return err
		}
		if err := t.clearDefault(ctx, st.ProjectID); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "UPDATE storages SET is_default = true WHERE id = ?", st.ID); err != nil {
			return err
		}
		st.IsDefault = true
		return t.audit(ctx, actor, "storage.default", st.ProjectID, st.Name, nil)
	})
	return st, err
}

func (t *tx) changeableStorage(ctx context.Context, actor controller.Actor, ref string) (controller.Storage, error) {
	st, err := t.storage(ctx, ref)
	if err == nil && st.ProjectID == nil {
		err = wholeInstallation(actor, "storages of no project")
	}
	return st, err
}

// DeleteStorage removes a storage. It is refused while backups are on it, or parts of attempts that are not swept yet.
func (c *Catalog) DeleteStorage(ctx context.Context, actor controller.Actor, ref string) error {
	return c.scoped(ctx, actor.Scope, func(t *tx) error {
		st, err := t.changeableStorage(ctx, actor, ref)
		if err != nil {
			return err
		}
		return t.elevated(ctx, func() error {
			// The lock keeps out backups that are being asked for.
			if _, err := t.exec(ctx, "SELECT 1 FROM storages WHERE id = ? FOR UPDATE", st.ID); err != nil {
				return err
			}
			var used struct{ Backups, Attempts int64 }
			err := t.scan(ctx, &used, `SELECT
				(SELECT count(*) FROM database_backups WHERE storage_id = ? AND purged_at IS NULL AND status <> 'failed') AS backups,
				(SELECT count(*) FROM attempts WHERE storage_id = ? AND key <> '' AND swept_at IS NULL AND status <> 'completed') AS attempts`, st.ID, st.ID)
			if err != nil {
				return err
			}
			if used.Backups > 0 {
				return controller.Errorf(controller.EConflict, "%d backups are on storage %q", used.Backups, st.Name).
					WithHint("delete them first and wait until they are gone from the store")
			}
			if used.Attempts > 0 {
				return controller.Errorf(controller.EConflict, "uploads of %d ended attempts on storage %q are still being removed", used.Attempts, st.Name).
					WithHint("try again in a few minutes")
			}
			if _, err := t.exec(ctx, "UPDATE projects SET default_storage_id = NULL WHERE default_storage_id = ?", st.ID); err != nil {
				return err
			}
			if _, err := t.exec(ctx, "UPDATE storages SET deleted_at = now(), is_default = false WHERE id = ?", st.ID); err != nil {
				return err
			}
			return t.audit(ctx, actor, "storage.delete", st.ProjectID, st.Name, nil)
		})
	})
}

// taken makes an EConflict of a unique violation: something that was free a moment ago, or was not looked for.
func taken(err error, what, name string) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "23505" {
		return controller.Errorf(controller.EConflict, "%s %q exists already", what, name)
	}
	return err
}
