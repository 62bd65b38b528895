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

// storageColumns of storages st, without what lies on it.
const storageColumns = `st.id, st.project_id, st.name, st.kind, st.endpoint, st.region, st.bucket, st.prefix, st.path_style, st.is_default,
	st.checksum_mode, coalesce(st.probe, 'null') AS probe, st.probe_ok, st.probed_at, st.created_at, st.updated_at, st.kind = 'local' AS same_host`

// storageTables adds what the scope sees of the backups on storages st, which usedColumns name.
func (t *tx) storageTables() string {
	return `storages st LEFT JOIN LATERAL (SELECT coalesce(sum(b.stored), 0)::bigint AS backups, coalesce(sum(b.stored_bytes), 0)::bigint AS used_bytes
		FROM (SELECT * FROM backup_totals UNION ALL SELECT ` + totalColumns + ` FROM backup_deltas) b
		WHERE b.storage_id = st.id AND ` + string(t.sees("b.project_id")) + `) used ON true`
}

const usedColumns = `, used.backups, used.used_bytes`

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
	err := t.scan(ctx, &found, `SELECT `+storageColumns+usedColumns+` FROM `+t.storageTables()+` WHERE st.deleted_at IS NULL AND (st.name = ? OR st.id::text = ?) AND `+t.usable()+`
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
	found[0].Show()
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
		var sealed []byte
		if spec.Kind != controller.StorageLocal {
			var err error
			if sealed, err = c.seal(credentialsPurpose(id), plain); err != nil {
				return err
			}
		}
		place := controller.Storage{ID: id, Kind: spec.Kind, Endpoint: spec.Endpoint, Bucket: spec.Bucket, Prefix: spec.Prefix}
		if err := t.freePlace(ctx, place); err != nil {
			return err
		}
		if spec.Default {
			if err := t.clearDefault(ctx, project); err != nil {
				return err
			}
		}
		_, err := t.exec(ctx, `INSERT INTO storages (id, project_id, name, kind, endpoint, region, bucket, prefix, path_style, credentials_sealed, is_default,
			checksum_mode, probe, probe_ok, probed_at) OVERRIDING SYSTEM VALUE VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?::jsonb, ?, now())`,
			id, project, spec.Name, spec.Kind, spec.Endpoint, spec.Region, spec.Bucket, spec.Prefix, spec.PathStyle, sealed, spec.Default,
			orText(checksumMode, wire.ChecksumSHA256), jsonText(probe), ok)
		if err != nil {
			return taken(err, "storage", spec.Name)
		}
		if err := t.audit(ctx, actor, "storage.create", project, spec.Name, map[string]any{"kind": spec.Kind, "bucket": spec.Bucket, "endpoint": spec.Endpoint}); err != nil {
			return err
		}
		return t.scan(ctx, &st, "SELECT "+storageColumns+" FROM storages st WHERE st.id = ?", id)
	})
	st.Show()
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

// Storages lists the storages that the caller's projects may use, by name.
func (c *Catalog) Storages(ctx context.Context, actor controller.Actor, f controller.StorageFilter) ([]controller.Storage, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	var out []controller.Storage
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		out = []controller.Storage{}
		where, err := t.storageConditions(ctx, f)
		if err != nil {
			return err
		}
		return t.part(ctx, &out, storageColumns+usedColumns, t.storageTables(), where, "st.name, st.id", f.Part)
	})
	for i := range out {
		out[i].Show()
	}
	return out, err
}

// CountStorages counts what Storages lists, whatever the page.
func (c *Catalog) CountStorages(ctx context.Context, actor controller.Actor, f controller.StorageFilter) (controller.Total, error) {
	var n controller.Total
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		where, err := t.storageConditions(ctx, f)
		if err != nil {
			return err
		}
		n, err = t.count(ctx, "storages st", where)
		return err
	})
	return n, err
}

func (t *tx) storageConditions(ctx context.Context, f controller.StorageFilter) (conditions, error) {
	var c conditions
	c.add("st.deleted_at IS NULL AND " + t.usable())
	c.equal("st.kind", f.Kind)
	if f.Project != "" {
		p, err := t.project(ctx, f.Project)
		if err != nil {
			return c, err
		}
		c.add("(st.project_id IS NULL OR st.project_id = ?)", p.ID)
	}
	return c, nil
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
	if err != nil {
		return st, err
	}
	return st, t.unchanged(ctx, "storages", st.ID, func() (string, error) {
		st, err = t.storage(ctx, itoa(st.ID))
		return st.Version(), err
	})
}

// DeleteStorage removes a storage. It is refused while backups are on it, or parts of attempts that are not swept yet, and while it
// is the default that a project has chosen.
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
				return controller.Errorf(controller.EConflict, "%s on storage %q", areBackups(used.Backups), st.Name).
					WithHint("delete them first and wait until they are gone from the store; `devflowctl backup list` shows them")
			}
			if used.Attempts > 0 {
				return controller.Errorf(controller.EConflict, "uploads of %d ended attempts on storage %q are still being removed", used.Attempts, st.Name).
					WithHint("try again in a few minutes")
			}
			var slugs []string
			if err := t.scan(ctx, &slugs, "SELECT slug FROM projects WHERE default_storage_id = ? AND deleted_at IS NULL ORDER BY slug LIMIT 10", st.ID); err != nil {
				return err
			}
			if len(slugs) > 0 {
				return controller.Errorf(controller.EConflict, "storage %q is the default of project %s", st.Name, quoteAll(slugs)).
					WithHint("give the project another default first: `devflowctl project update %s --storage NAME`", slugs[0])
			}
			var schedules []int64
			if err := t.scan(ctx, &schedules, `SELECT c.id FROM backup_schedules c JOIN projects p ON p.id = c.project_id
				WHERE c.storage_id = ? AND c.deleted_at IS NULL AND p.deleted_at IS NULL ORDER BY c.id LIMIT 10`, st.ID); err != nil {
				return err
			}
			if len(schedules) > 0 {
				return controller.Errorf(controller.EConflict, "storage %q is where schedule %s makes its backups", st.Name, joinIDs(schedules)).
					WithHint("give the schedule another storage first: `devflowctl schedule update %d --storage NAME`", schedules[0])
			}
			if _, err := t.exec(ctx, "UPDATE storages SET deleted_at = now(), is_default = false WHERE id = ?", st.ID); err != nil {
				return err
			}
			return t.audit(ctx, actor, "storage.delete", st.ProjectID, st.Name, nil)
		})
	})
}

func areBackups(n int64) string {
	if n == 1 {
		return "1 backup is"
	}
	return itoa(n) + " backups are"
}

// UpdateStorage changes how a storage is reached, or its name. The probe is that of the changed settings; one that did not pass is
// refused unless the change says force, and then no backup is made there until a probe passes. New credentials are used at once.
func (c *Catalog) UpdateStorage(ctx context.Context, actor controller.Actor, ref string, change controller.StorageChange, probe json.RawMessage, ok bool, checksumMode string) (controller.Storage, error) {
	var st controller.Storage
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		var err error
		if st, err = t.changeableStorage(ctx, actor, ref); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "SELECT 1 FROM storages WHERE id = ? FOR UPDATE", st.ID); err != nil {
			return err
		}
		if err := change.Validate(st.Kind); err != nil {
			return err
		}
		if change.Reaches() && !ok && !change.Force {
			return controller.Errorf(controller.EConflict, "storage %q did not pass its probe with the changed settings: nothing was changed", st.Name).
				WithHint("correct them, or change it by force and probe it later")
		}
		old, err := t.access(ctx, st.ID)
		if err != nil && (!errors.Is(err, errSealed) || change.AccessKey == "") {
			return err // credentials that do not open may be replaced as a whole
		}
		now := change.Apply(old)
		if change.Endpoint != nil {
			if err := t.freePlace(ctx, now.Storage); err != nil {
				return err
			}
		}
		_, err = t.exec(ctx, "UPDATE storages SET name = ?, endpoint = ?, region = ?, path_style = ?, updated_at = now() WHERE id = ?", now.Name, now.Endpoint, now.Region, now.PathStyle, st.ID)
		if err != nil {
			return taken(err, "storage", now.Name)
		}
		if !change.SecretKey.Empty() {
			if err := t.sealCredentials(ctx, st.ID, now.Credentials); err != nil {
				return err
			}
		}
		if change.Reaches() {
			_, err := t.exec(ctx, `UPDATE storages SET probe = ?::jsonb, probe_ok = ?, probed_at = now(),
				checksum_mode = CASE WHEN ? = '' THEN checksum_mode ELSE ? END WHERE id = ?`, jsonText(probe), ok, checksumMode, checksumMode, st.ID)
			if err != nil {
				return err
			}
		}
		if err := t.audit(ctx, actor, "storage.update", st.ProjectID, now.Name, changed(old.Storage, now.Storage, change)); err != nil {
			return err
		}
		st, err = t.storage(ctx, itoa(st.ID))
		return err
	})
	return st, err
}

// changed is what the audit log tells of a change: never a key.
func changed(old, now controller.Storage, change controller.StorageChange) map[string]any {
	detail := map[string]any{}
	if now.Name != old.Name {
		detail["was"] = old.Name
	}
	if now.Endpoint != old.Endpoint {
		detail["endpoint"] = now.Endpoint
	}
	if now.Region != old.Region {
		detail["region"] = now.Region
	}
	if now.PathStyle != old.PathStyle {
		detail["path_style"] = now.PathStyle
	}
	if !change.SecretKey.Empty() {
		detail["credentials"] = "changed"
	}
	if change.Force {
		detail["force"] = true
	}
	return detail
}

func (t *tx) sealCredentials(ctx context.Context, storage int64, cred controller.Credentials) error {
	plain, err := json.Marshal(sealedCredentials{AccessKey: cred.AccessKey, SecretKey: cred.SecretKey.Reveal()}) //nolint:gosec // sealed before it is stored
	if err != nil {
		return fmt.Errorf("encode credentials: %w", err)
	}
	sealed, err := t.cat.seal(credentialsPurpose(storage), plain)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, "UPDATE storages SET credentials_sealed = ? WHERE id = ?", sealed, storage)
	return err
}

// freePlace refuses a storage whose artifacts would lie among those of another one. Two that are added wait for each other.
func (t *tx) freePlace(ctx context.Context, place controller.Storage) error {
	if _, err := t.exec(ctx, "SELECT pg_advisory_xact_lock(?)", lockStorages); err != nil {
		return err
	}
	var others []controller.Storage
	err := t.elevated(ctx, func() error { // it may be another project's
		return t.scan(ctx, &others, "SELECT "+storageColumns+" FROM storages st WHERE st.deleted_at IS NULL AND st.kind = ? AND st.bucket = ? AND st.id <> ? ORDER BY st.id",
			place.Kind, place.Bucket, place.ID)
	})
	if err != nil {
		return err
	}
	for _, o := range others {
		if !place.Overlaps(o) {
			continue
		}
		name := "a storage of another project"
		if o.ProjectID == nil || t.scope.Sees(*o.ProjectID) {
			name = fmt.Sprintf("storage %q", o.Name)
		}
		return controller.Errorf(controller.EConflict, "%s keeps its backups there already: the same place with prefix %q", name, o.Prefix).
			WithHint("use that storage, or give this one another prefix")
	}
	return nil
}

// chooseStorage is the storage asked for, by name or by kind, else the project's default, else the default among the project's own,
// else the installation's. A kind alone also means the only storage of that kind.
func (t *tx) chooseStorage(ctx context.Context, p controller.Project, ref, disk string) (controller.Storage, error) {
	var st controller.Storage
	var err error
	if ref != "" {
		st, err = t.storageFor(ctx, p.ID, ref)
		if err == nil && disk != "" && st.Kind != disk {
			err = controller.Invalid("storage_disk", "storage %q is %s, not %s", st.Name, st.Kind, disk)
		}
	} else {
		st, err = t.defaultStorage(ctx, p, disk)
	}
	if err != nil {
		return st, err
	}
	return st, t.takeStorage(ctx, st)
}

// orderedStorage is the storage of a backup: the one that its order names by id, else the one that chooseStorage finds.
func (t *tx) orderedStorage(ctx context.Context, p controller.Project, req backupOrder) (controller.Storage, error) {
	if req.storage == nil {
		return t.chooseStorage(ctx, p, req.Storage, req.StorageDisk)
	}
	var st controller.Storage
	found, err := t.find(ctx, &st, `SELECT `+storageColumns+` FROM storages st WHERE st.deleted_at IS NULL AND st.id = ? AND (st.project_id IS NULL OR st.project_id = ?) AND `+t.usable(),
		*req.storage, p.ID)
	if err == nil && !found {
		err = controller.Errorf(controller.ENotFound, "storage %d does not exist", *req.storage).WithHint("`devflowctl storage list` shows the storages")
	}
	if err != nil {
		return st, err
	}
	return st, t.takeStorage(ctx, st)
}

// takeStorage makes sure that a backup may be made on a storage.
func (t *tx) takeStorage(ctx context.Context, st controller.Storage) error {
	// Keeps the storage from being deleted before this backup is committed; a caller may not lock a storage of all projects.
	err := t.elevated(ctx, func() error {
		n, err := t.exec(ctx, "SELECT 1 FROM storages WHERE id = ? AND deleted_at IS NULL FOR SHARE", st.ID)
		if err == nil && n == 0 {
			err = controller.Errorf(controller.ENotFound, "storage %q does not exist", st.Name)
		}
		return err
	})
	// A local storage is as many directories as hosts: what one of them failed at says nothing about the others.
	if err == nil && !st.ProbeOK && st.Kind != controller.StorageLocal {
		err = controller.Errorf(controller.EConflict, "storage %q failed its last probe", st.Name).
			WithHint("`devflowctl storage show %s` tells why; `devflowctl storage probe %s` tries again", st.Name, st.Name)
	}
	return err
}

func (t *tx) defaultStorage(ctx context.Context, p controller.Project, disk string) (controller.Storage, error) {
	var fit []struct {
		controller.Storage
		Rank int
	}
	err := t.scan(ctx, &fit, `SELECT `+storageColumns+`, CASE WHEN st.id = ? THEN 1 WHEN NOT st.is_default THEN 4 WHEN st.project_id IS NOT NULL THEN 2 ELSE 3 END AS rank
		FROM storages st WHERE st.deleted_at IS NULL AND (st.project_id = ? OR st.project_id IS NULL) AND (? = '' OR st.kind = ?)
		ORDER BY rank, st.name, st.id LIMIT 20`, p.DefaultStorageID, p.ID, disk, disk)
	switch {
	case err != nil:
		return controller.Storage{}, err
	case len(fit) > 0 && (fit[0].Rank < 4 || disk != "" && len(fit) == 1):
		return fit[0].Storage, nil
	case disk == "":
		return controller.Storage{}, controller.Invalid("storage", "project %q has no default storage and the installation has none", p.Slug).
			WithHint("name one with --storage, or set one with `devflowctl storage default NAME`")
	case len(fit) == 0:
		return controller.Storage{}, controller.Invalid("storage_disk", "project %q has no storage of kind %s", p.Slug, disk).
			WithHint("`devflowctl storage add` adds one")
	}
	names := make([]string, len(fit))
	for i, st := range fit {
		names[i] = st.Name
	}
	return controller.Storage{}, controller.Invalid("storage_disk", "project %q may use several storages of kind %s and none is the default: %s", p.Slug, disk, quoteAll(names)).
		WithHint("name one with --storage")
}

// hasDirectory refuses a backup on the host itself where the agent, as it last said, has no directory for it.
func (t *tx) hasDirectory(ctx context.Context, d controller.Database) error {
	var has bool
	_, err := t.find(ctx, &has, "SELECT coalesce(host->'local'->>'dir', '') <> '' FROM servers WHERE id = ?", d.ServerID)
	if err == nil && !has {
		err = controller.Errorf(controller.EConflict, "server %q has no directory for backups on the host itself", d.Server).
			WithHint("set storage.local.dir in the agent's configuration there, or choose another storage with --storage")
	}
	return err
}

// NewestObject is the key of the newest artifact on a storage that should be there, empty if there is none.
func (c *Catalog) NewestObject(ctx context.Context, storage int64) (string, error) {
	var key string
	err := c.system(ctx, func(t *tx) error {
		_, err := t.find(ctx, &key, `SELECT file_path FROM database_backups WHERE storage_id = ? AND status = 'completed' AND purged_at IS NULL
			AND health IN ('ok', 'corrupt') ORDER BY id DESC LIMIT 1`, storage)
		return err
	})
	return key, err
}

// taken makes an EConflict of a unique violation: something that was free a moment ago, or was not looked for.
func taken(err error, what, name string) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "23505" {
		return controller.Errorf(controller.EConflict, "%s %q exists already", what, name)
	}
	return err
}
