package catalog

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"devflowbackup/controller"
	"devflowbackup/shared/artifact"
	"devflowbackup/shared/wire"
)

const (
	// inventoryClaim is how long a controller that is not heard of keeps an inventory from the others.
	inventoryClaim = 2 * time.Minute
	// knownPage is of how many backups what the catalog knows is read at once.
	knownPage = 500
	// maxFindings is how many findings are listed at once.
	maxFindings = 1000
)

// holder is the host that backups b lie on, 0 where they lie in a bucket; the index of a listing has the same expression.
const holder = "CASE b.storage_disk WHEN 'local' THEN b.server_id ELSE 0 END"

// PlanInventories gives each storage its inventory, of a local one for each host that holds backups of it, and drops those of hosts and
// storages that are no more. A new one is due after a while, spread by the storage over part of the interval from one to the next.
func (c *Catalog) PlanInventories(ctx context.Context, first, every time.Duration) error {
	return c.system(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, `DELETE FROM storage_inventories i WHERE NOT EXISTS (SELECT FROM storages st WHERE st.id = i.storage_id AND st.deleted_at IS NULL)
			OR i.server_id <> 0 AND NOT EXISTS (SELECT FROM servers s WHERE s.id = i.server_id AND s.revoked_at IS NULL)`); err != nil {
			return err
		}
		if _, err := t.exec(ctx, `DELETE FROM storage_findings f WHERE NOT EXISTS (SELECT FROM storage_inventories i WHERE i.storage_id = f.storage_id AND i.server_id = f.server_id)`); err != nil {
			return err
		}
		due := "now() + ? + ? * ((st.id * 7919 + %s * 104729) % 1000) / 1000.0"
		_, err := t.exec(ctx, `INSERT INTO storage_inventories (storage_id, server_id, due_at)
			SELECT st.id, 0, `+strings.Replace(due, "%s", "0", 1)+` FROM storages st WHERE st.kind = 's3' AND st.deleted_at IS NULL
				AND NOT EXISTS (SELECT FROM storage_inventories i WHERE i.storage_id = st.id AND i.server_id = 0)
			ON CONFLICT DO NOTHING`, interval(first), interval(every/24))
		if err != nil {
			return err
		}
		_, err = t.exec(ctx, `INSERT INTO storage_inventories (storage_id, server_id, due_at)
			SELECT st.id, s.id, `+strings.Replace(due, "%s", "s.id", 1)+` FROM storages st CROSS JOIN servers s WHERE st.kind = 'local' AND st.deleted_at IS NULL AND s.revoked_at IS NULL
				AND NOT EXISTS (SELECT FROM storage_inventories i WHERE i.storage_id = st.id AND i.server_id = s.id)
				AND EXISTS (SELECT FROM database_backups b WHERE b.storage_id = st.id AND `+holder+` = s.id AND b.status = 'completed' AND b.purged_at IS NULL)
			ON CONFLICT DO NOTHING`, interval(first), interval(every/24))
		return err
	})
}

// ClaimInventories takes up to limit inventories that are due, for two minutes each. No two controllers hold the same one. That of a host
// that is offline waits.
func (c *Catalog) ClaimInventories(ctx context.Context, limit int) ([]controller.InventoryDue, error) {
	var out []controller.InventoryDue
	err := c.system(ctx, func(t *tx) error {
		out = nil
		var rows []struct {
			StorageID int64
			ServerID  int64
			StartedAt time.Time
			Name      string
			Kind      string
			Prefix    string
		}
		var due bool
		if err := t.scan(ctx, &due, "SELECT EXISTS (SELECT FROM storage_inventories WHERE due_at <= now() AND claim_until < now())"); err != nil || !due {
			return err
		}
		// clock_timestamp tells this claim from every other one.
		err := t.scan(ctx, &rows, `UPDATE storage_inventories i SET claim_until = now() + ?, started_at = clock_timestamp(), error = '' FROM storages st
			WHERE st.id = i.storage_id AND (i.storage_id, i.server_id) IN (SELECT q.storage_id, q.server_id FROM storage_inventories q JOIN storages z ON z.id = q.storage_id
				WHERE q.due_at <= now() AND q.claim_until < now() AND z.deleted_at IS NULL
				AND (q.server_id = 0 OR EXISTS (SELECT FROM servers s WHERE s.id = q.server_id AND `+c.online()+`))
				ORDER BY q.due_at, q.storage_id, q.server_id LIMIT ? FOR UPDATE OF q SKIP LOCKED)
			RETURNING i.storage_id, i.server_id, i.started_at, st.name, st.kind, st.prefix`, interval(inventoryClaim), max(limit, 0))
		if err != nil {
			return err
		}
		ids := make([]int64, len(rows))
		for i, r := range rows {
			ids[i] = r.ServerID
		}
		servers, err := t.serversByID(ctx, ids)
		for _, r := range rows {
			out = append(out, controller.InventoryDue{
				StorageID: r.StorageID, Storage: r.Name, Kind: r.Kind, Prefix: r.Prefix, Server: servers[r.ServerID], StartedAt: r.StartedAt.UTC(),
			})
		}
		return err
	})
	return out, err
}

// ExtendInventory keeps an inventory for another two minutes. CodeStale means that the claim has passed on: stop.
func (c *Catalog) ExtendInventory(ctx context.Context, due controller.InventoryDue) error {
	return c.system(ctx, func(t *tx) error { return t.holdInventory(ctx, due) })
}

// holdInventory locks an inventory that is still this claim's and extends it.
func (t *tx) holdInventory(ctx context.Context, due controller.InventoryDue) error {
	n, err := t.exec(ctx, `UPDATE storage_inventories SET claim_until = now() + ? WHERE storage_id = ? AND server_id = ? AND started_at = ? AND claim_until > '-infinity'`,
		interval(inventoryClaim), due.StorageID, due.Server.ID, due.StartedAt)
	if err == nil && n == 0 {
		err = wire.Failf(wire.CodeStale, "the inventory of storage %q has passed on", due.Storage)
	}
	return err
}

// KnownObjects returns what the catalog knows after one key and up to another, in the order of the keys' bytes: every object of a completed
// backup there, and those of the listed keys that belong to attempts or to backups that are being deleted. It is whole up to the key that
// is returned, which is upTo unless there is too much for once.
func (c *Catalog) KnownObjects(ctx context.Context, due controller.InventoryDue, after, upTo string, listed []string) ([]controller.KnownObject, string, error) {
	var out []controller.KnownObject
	through := upTo
	err := c.system(ctx, func(t *tx) error {
		out, through = nil, upTo
		var rows []knownRow
		// The side objects of an artifact come after it: that of the first ones may lie before the range. Nothing of later backups comes
		// before the artifact of the last one.
		err := t.scan(ctx, &rows, `WITH page AS (SELECT id, file_path, health, health_reason, completed_at < ? AS settled, deleted_at IS NOT NULL OR health = 'deleting' AS at_work FROM database_backups b
				WHERE b.storage_id = ? AND `+holder+` = ? AND b.status = 'completed' AND b.purged_at IS NULL AND b.file_path COLLATE "C" >= ? AND b.file_path COLLATE "C" <= ?
				ORDER BY b.file_path COLLATE "C" LIMIT ?)
			SELECT coalesce(o.key, '') AS key, b.id AS backup_id, coalesce(o.object, '') AS object, coalesce(o.stored_size, 0) AS stored_size, coalesce(o.etag, '') AS etag, b.health, b.health_reason, b.settled, b.at_work,
				coalesce((SELECT file_path FROM page ORDER BY file_path COLLATE "C" OFFSET ? LIMIT 1), '') AS last
			FROM page b LEFT JOIN backup_objects o ON o.backup_id = b.id AND o.key COLLATE "C" > ? AND o.key COLLATE "C" <= ? ORDER BY o.key COLLATE "C"`,
			due.StartedAt, due.StorageID, due.Server.ID, firstBefore(after), bound(upTo), knownPage, knownPage-1, bound(after), bound(upTo))
		if err != nil {
			return err
		}
		if len(rows) > 0 && rows[0].Last > after {
			through = rows[0].Last
		}
		rows = slices.DeleteFunc(rows, func(r knownRow) bool { return r.Key == "" || r.Key > through })
		known := make(map[string]bool, len(rows))
		for _, r := range rows {
			known[r.Key] = true
			out = append(out, controller.KnownObject{
				Key: r.Key, BackupID: r.BackupID, Object: r.Object, Size: r.StoredSize, ETag: strings.Trim(r.ETag, `"`), Health: r.Health, Noted: r.HealthReason != "",
				Settled: r.Settled, AtWork: r.AtWork,
			})
		}
		var strange []string
		for _, key := range listed {
			if key > after && key <= through && !known[key] && key == text(key) {
				strange = append(strange, key)
			}
		}
		if len(strange) == 0 {
			return nil
		}
		ours, err := t.workedOn(ctx, due, strange)
		if err != nil || len(ours) == 0 {
			return err
		}
		for _, key := range ours {
			out = append(out, controller.KnownObject{Key: key, AtWork: true})
		}
		slices.SortFunc(out, func(a, b controller.KnownObject) int { return cmp.Compare(a.Key, b.Key) })
		return nil
	})
	return out, through, err
}

type knownRow struct {
	Key          string
	BackupID     int64
	Object       string
	StoredSize   int64
	ETag         string `bun:"etag"`
	Health       string
	HealthReason string
	Settled      bool
	AtWork       bool
	Last         string // the artifact after which there is more; empty: there is not
}

// bound is a key in its place among ours, which have only letters, digits and "/._-" behind their storage's prefix: a text column takes
// no NUL and nothing that is not UTF-8, while a stranger's key may hold either.
func bound(key string) string {
	if utf8.ValidString(key) && !strings.Contains(key, "\x00") {
		return key
	}
	for i := 0; i < len(key); {
		r, n := utf8.DecodeRuneInString(key[i:])
		switch {
		case r == 0:
			return key[:i]
		case r == utf8.RuneError && n == 1:
			return key[:i] + "\x7f"
		}
		i += n
	}
	return key
}

// attemptInName is what is in the name of every artifact, before what tells its format.
var attemptInName = regexp.MustCompile(`_[a-z2-7]{16}\.`)

// firstBefore is a key that no artifact comes before whose side objects may come after this key: only what begins with the artifact's
// own key lies between them.
func firstBefore(key string) string {
	key = bound(key)
	name := strings.LastIndexByte(key, '/') + 1
	if at := attemptInName.FindStringIndex(key[name:]); at != nil {
		return key[:name+at[1]]
	}
	return key
}

// artifactsOf are the keys of the artifacts that an object at this key may belong to.
func artifactsOf(key string) []string {
	key = bound(key)
	out := []string{key}
	whole, cut := strings.CutSuffix(key, ".partial")
	if cut {
		out = append(out, whole)
	}
	if base, ok := strings.CutSuffix(whole, ".manifest.json"); ok {
		out = append(out, base)
	}
	for _, mark := range []string{".fingerprint.json", ".globals.sql"} {
		if i := strings.LastIndex(whole, mark); i > 0 {
			base := whole[:i]
			if c := artifact.CodecOf(base); whole == artifact.FingerprintKey(base, c) || whole == artifact.GlobalsKey(base, c) {
				out = append(out, base)
			}
		}
	}
	return out
}

// workedOn tells which of the keys belong to an attempt that is open, or dead and not yet swept, or to a backup that was removed while
// this inventory goes on.
func (t *tx) workedOn(ctx context.Context, due controller.InventoryDue, keys []string) ([]string, error) {
	of := map[string][]string{}
	var artifacts []string
	for _, key := range keys {
		for _, base := range artifactsOf(key) {
			of[base] = append(of[base], key)
			artifacts = append(artifacts, base)
		}
	}
	var found []string
	err := t.scan(ctx, &found, `SELECT a.key FROM attempts a WHERE a.key <> '' AND a.key COLLATE "C" = ANY (?) AND a.storage_id = ? AND (? = 0 OR a.server_id = ?) AND (a.`+attemptOpen+`
		OR a.status <> 'completed' AND (a.swept_at IS NULL OR a.swept_at >= ?)
		OR a.status = 'completed' AND EXISTS (SELECT FROM jobs j JOIN database_backups b ON b.id = j.backup_id WHERE j.id = a.job_id AND (b.purged_at IS NULL OR b.purged_at >= ?)))`,
		textArray(artifacts), due.StorageID, due.Server.ID, due.Server.ID, due.StartedAt, due.StartedAt)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, base := range found {
		out = append(out, of[base]...)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// KnownUploads tells of the keys that belong to attempts at this storage.
func (c *Catalog) KnownUploads(ctx context.Context, due controller.InventoryDue, keys []string) (map[string]controller.KnownUpload, error) {
	out := map[string]controller.KnownUpload{}
	err := c.system(ctx, func(t *tx) error {
		clear(out)
		var rows []struct {
			Key  string
			Open bool
		}
		keys = slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return k != text(k) })
		if len(keys) == 0 {
			return nil
		}
		err := t.scan(ctx, &rows, `SELECT a.key, bool_or(a.`+attemptOpen+`) AS open FROM attempts a WHERE a.key <> '' AND a.key COLLATE "C" = ANY (?) AND a.storage_id = ? GROUP BY a.key`,
			textArray(keys), due.StorageID)
		for _, r := range rows {
			out[r.Key] = controller.KnownUpload{Open: r.Open, Ours: !r.Open}
		}
		return err
	})
	return out, err
}

// inventoryActor is who changes the health of a backup when its storage is looked at.
var inventoryActor = controller.Actor{Name: "inventory", Scope: controller.Scope{All: true}}

// RecordInventory commits one step of an inventory and extends its claim, and returns what it changed. A backup that was deleted meanwhile
// is left alone. A corrupt one stays corrupt: only its verification clears it. CodeStale as ExtendInventory.
func (c *Catalog) RecordInventory(ctx context.Context, due controller.InventoryDue, page controller.InventoryPage) ([]controller.HealthChange, error) {
	var out []controller.HealthChange
	err := c.system(ctx, func(t *tx) error {
		out = nil
		if err := t.holdInventory(ctx, due); err != nil {
			return err
		}
		if err := t.addFindings(ctx, due, page.Foreign); err != nil {
			return err
		}
		if len(page.Found) == 0 {
			return nil
		}
		found := make(map[int64]controller.Found, len(page.Found))
		ids := make([]int64, len(page.Found))
		for i, f := range page.Found {
			found[f.BackupID], ids[i] = f, f.BackupID
		}
		var rows []struct {
			ID           int64
			ProjectID    int64
			Project      string
			DatabaseName string
			Health       string
			HealthReason string
		}
		err := t.scan(ctx, &rows, `SELECT b.id, b.project_id, p.slug AS project, b.database_name, b.health, b.health_reason FROM database_backups b JOIN projects p ON p.id = b.project_id
			WHERE b.id = ANY (?) AND b.storage_id = ? AND b.status = 'completed' AND b.deleted_at IS NULL AND b.health <> 'deleting' ORDER BY b.id FOR UPDATE OF b`, idArray(ids), due.StorageID)
		if err != nil {
			return err
		}
		for _, r := range rows {
			f := found[r.ID]
			reason := cut(f.Reason, 1000)
			if r.Health == controller.HealthCorrupt && f.Health != controller.HealthCorrupt || r.Health == f.Health && r.HealthReason == reason {
				continue
			}
			if r.Health == f.Health {
				if _, err := t.exec(ctx, "UPDATE database_backups SET health_reason = ? WHERE id = ?", reason, r.ID); err != nil {
					return err
				}
				continue
			}
			if err := t.setHealth(ctx, r.ID, f.Health, reason); err != nil {
				return err
			}
			if err := t.audit(ctx, inventoryActor, "backup.health", &r.ProjectID, itoa(r.ID), map[string]any{"from": r.Health, "to": f.Health, "reason": reason}); err != nil {
				return err
			}
			out = append(out, controller.HealthChange{BackupID: r.ID, Project: r.Project, Database: r.DatabaseName, From: r.Health, To: f.Health, Reason: reason})
		}
		return nil
	})
	return out, err
}

// setHealth changes the health of a backup. What was proven of one that is corrupt now is void; one that is missing or archived may be
// there again as it was.
func (t *tx) setHealth(ctx context.Context, backup int64, health, reason string) error {
	_, err := t.exec(ctx, `UPDATE database_backups SET health = ?, health_reason = ?, health_at = now(),
		verified_at = CASE WHEN ? THEN NULL ELSE verified_at END, verified_level = CASE WHEN ? THEN NULL ELSE verified_level END, verified_by_host = verified_by_host AND NOT ? WHERE id = ?`,
		health, cut(reason, 1000), health == controller.HealthCorrupt, health == controller.HealthCorrupt, health == controller.HealthCorrupt, backup)
	return err
}

func (t *tx) addFindings(ctx context.Context, due controller.InventoryDue, foreign []controller.StorageFinding) error {
	if len(foreign) == 0 {
		return nil
	}
	list := slices.Clone(foreign)
	for i := range list {
		list[i].Key, list[i].UploadID = cut(list[i].Key, 1024), cut(list[i].UploadID, 1024)
	}
	_, err := t.exec(ctx, `INSERT INTO storage_findings (storage_id, server_id, kind, key, upload_id, size, modified_at, first_seen_at, seen_at)
		SELECT DISTINCT ON (kind, key, upload_id) ?::bigint, ?::bigint, kind, key, upload_id, size, modified_at, clock_timestamp(), clock_timestamp()
			FROM jsonb_to_recordset(?::jsonb) AS f (kind text, key text, upload_id text, size bigint, modified_at timestamptz)
		ON CONFLICT (storage_id, server_id, kind, key, upload_id) DO UPDATE SET size = excluded.size, modified_at = excluded.modified_at, seen_at = excluded.seen_at`,
		due.StorageID, due.Server.ID, jsonText(list))
	return err
}

// StoredManifest is the manifest of a backup that is live, as it was written to its storage; nil if it is not live any more.
func (c *Catalog) StoredManifest(ctx context.Context, due controller.InventoryDue, backup int64) ([]byte, error) {
	var manifest []byte
	err := c.system(ctx, func(t *tx) error {
		if err := t.holdInventory(ctx, due); err != nil {
			return err
		}
		_, err := t.find(ctx, &manifest, `SELECT manifest FROM database_backups WHERE id = ? AND storage_id = ? AND status = 'completed' AND deleted_at IS NULL AND health <> 'deleting'`, backup, due.StorageID)
		return err
	})
	return manifest, err
}

// ManifestPutBack records that a manifest was written to its storage once more. It tells whether its backup is still live: if not, what was
// written has to go again.
func (c *Catalog) ManifestPutBack(ctx context.Context, due controller.InventoryDue, backup int64, o controller.StoredObject) (bool, error) {
	live := false
	err := c.system(ctx, func(t *tx) error {
		n, err := t.exec(ctx, `UPDATE backup_objects o SET etag = ?, version_id = ? FROM database_backups b
			WHERE o.backup_id = ? AND o.object = 'manifest' AND b.id = o.backup_id AND b.storage_id = ? AND b.deleted_at IS NULL AND b.health <> 'deleting'`,
			text(o.ETag), text(o.VersionID), backup, due.StorageID)
		live = n > 0
		return err
	})
	return live, err
}

// FinishInventory ends an inventory that came to its end: what was found foreign before and not seen now is forgotten. The next one is
// due after a time, or at once if somebody asked for one meanwhile.
func (c *Catalog) FinishInventory(ctx context.Context, due controller.InventoryDue, n controller.InventoryTotals, every time.Duration) error {
	return c.system(ctx, func(t *tx) error {
		if err := t.holdInventory(ctx, due); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "DELETE FROM storage_findings WHERE storage_id = ? AND server_id = ? AND seen_at < ?", due.StorageID, due.Server.ID, due.StartedAt); err != nil {
			return err
		}
		_, err := t.exec(ctx, `UPDATE storage_inventories SET claim_until = '-infinity', ended_at = now(), due_at = CASE WHEN due_at > started_at THEN due_at ELSE now() + ? END,
			requests = ?, objects = ?, bytes = ?, missing = ?, damaged = ?, archived = ?, recovered = ?, foreign_objects = ?, stale_uploads = ?, error = '', failures = 0
			WHERE storage_id = ? AND server_id = ?`, interval(every), n.Requests, n.Objects, n.Bytes, n.Missing, n.Damaged, n.Archived, n.Recovered, n.ForeignObjects, n.StaleUploads,
			due.StorageID, due.Server.ID)
		return err
	})
}

// FailInventory ends an inventory that did not come to its end. It is tried again after retry, twice that the next time, and so on up
// to every.
func (c *Catalog) FailInventory(ctx context.Context, due controller.InventoryDue, reason string, retry, every time.Duration) error {
	return c.system(ctx, func(t *tx) error {
		if err := t.holdInventory(ctx, due); err != nil {
			return err
		}
		_, err := t.exec(ctx, `UPDATE storage_inventories SET claim_until = '-infinity', error = ?, failures = failures + 1,
			due_at = CASE WHEN due_at > started_at THEN due_at ELSE now() + least(? * power(2, least(failures, 20)), ?) END WHERE storage_id = ? AND server_id = ?`,
			cut(reason, 1000), interval(retry), interval(every), due.StorageID, due.Server.ID)
		return err
	})
}

// ownStorage is a storage that the scope may look into: what lies on one of no project is of the whole installation.
func (t *tx) ownStorage(ctx context.Context, actor controller.Actor, ref string) (controller.Storage, error) {
	st, err := t.storage(ctx, ref)
	if err == nil && st.ProjectID == nil {
		err = wholeInstallation(actor, "storages of no project")
	}
	return st, err
}

// StorageInventories returns the last inventory of a storage, of a local one that of each host, by the server's name, beginning after one of them.
func (c *Catalog) StorageInventories(ctx context.Context, actor controller.Actor, storage string, afterServer int64, limit int) ([]controller.StorageInventory, error) {
	var out []controller.StorageInventory
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		st, err := t.ownStorage(ctx, actor, storage)
		if err != nil {
			return err
		}
		out, err = t.inventories(ctx, st.ID, afterServer, limit)
		return err
	})
	return out, err
}

func (t *tx) inventories(ctx context.Context, storage, afterServer int64, limit int) ([]controller.StorageInventory, error) {
	out := []controller.StorageInventory{}
	err := t.elevated(ctx, func() error { // its rows are for the controller alone
		return t.scan(ctx, &out, `SELECT i.storage_id, i.server_id, coalesce(s.name, '') AS server, i.due_at, i.started_at, i.ended_at, i.requests, i.objects, i.bytes, i.missing, i.damaged,
			i.archived, i.recovered, i.foreign_objects, i.stale_uploads, i.error FROM storage_inventories i LEFT JOIN servers s ON s.id = i.server_id
			WHERE i.storage_id = ? AND (? = 0 OR (s.name, s.id) > (SELECT name, id FROM servers WHERE id = ?)) ORDER BY s.name, i.server_id LIMIT ?`, storage, afterServer, afterServer, page(limit))
	})
	return out, err
}

// RequestInventory makes the inventories of a storage due now. One that is at work is followed by another.
func (c *Catalog) RequestInventory(ctx context.Context, actor controller.Actor, storage string) ([]controller.StorageInventory, error) {
	var out []controller.StorageInventory
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		st, err := t.ownStorage(ctx, actor, storage)
		if err != nil {
			return err
		}
		err = t.elevated(ctx, func() error {
			_, err := t.exec(ctx, `INSERT INTO storage_inventories (storage_id, server_id) SELECT st.id, 0 FROM storages st WHERE st.id = ? AND st.kind = 's3'
				UNION ALL SELECT st.id, s.id FROM storages st CROSS JOIN servers s WHERE st.id = ? AND st.kind = 'local' AND s.revoked_at IS NULL
					AND EXISTS (SELECT FROM database_backups b WHERE b.storage_id = st.id AND `+holder+` = s.id AND b.status = 'completed' AND b.purged_at IS NULL)
				ON CONFLICT (storage_id, server_id) DO UPDATE SET due_at = now(), failures = 0`, st.ID, st.ID)
			return err
		})
		if err != nil {
			return err
		}
		out, err = t.inventories(ctx, st.ID, 0, 200)
		return err
	})
	return out, err
}

// StorageFindings lists what lies on a storage and is not the catalog's, by host and key.
func (c *Catalog) StorageFindings(ctx context.Context, actor controller.Actor, storage string, limit int) ([]controller.StorageFinding, error) {
	var out []controller.StorageFinding
	err := c.scoped(ctx, actor.Scope, func(t *tx) error {
		out = []controller.StorageFinding{}
		st, err := t.ownStorage(ctx, actor, storage)
		if err != nil {
			return err
		}
		return t.elevated(ctx, func() error {
			return t.scan(ctx, &out, `SELECT f.storage_id, coalesce(s.name, '') AS server, f.kind, f.key, f.upload_id, f.size, f.modified_at, f.first_seen_at, f.seen_at
				FROM storage_findings f LEFT JOIN servers s ON s.id = f.server_id WHERE f.storage_id = ? ORDER BY f.server_id, f.kind, f.key, f.upload_id LIMIT ?`, st.ID, min(max(limit, 1), maxFindings))
		})
	})
	return out, err
}
