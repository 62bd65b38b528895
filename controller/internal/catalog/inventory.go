package catalog

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"devflowbackup/shared/wire"
)

const (
	maxPages     = 1000
	maxPageItems = 5000
	maxName      = 255
)

var engines = []string{wire.EnginePostgreSQL, wire.EngineMySQL, wire.EngineSQLite}

// Inventory takes one page of what an agent found. When all pages are there the server's list is replaced: new databases are added,
// assignments are kept, what was not found is marked missing, unless its instance could not be looked at.
func (c *Catalog) Inventory(ctx context.Context, agentID, session string, inv wire.Inventory) error {
	err := c.system(ctx, func(t *tx) error {
		s, err := t.speaker(ctx, agentID, session)
		if err != nil {
			return err
		}
		if err := checkInventory(inv); err != nil {
			return err
		}
		// Not FOR UPDATE: a backup that is being asked for has its database locked and refers to the server.
		if _, err := t.exec(ctx, "SELECT 1 FROM servers WHERE id = ? FOR NO KEY UPDATE", s.ID); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "DELETE FROM inventory_pages WHERE server_id = ? AND (session <> ? OR hash <> ?)", s.ID, session, inv.Hash); err != nil {
			return err
		}
		if _, err := t.exec(ctx, `INSERT INTO inventory_pages (server_id, page, session, hash, last, body) VALUES (?, ?, ?, ?, ?, ?::jsonb)
			ON CONFLICT (server_id, page) DO UPDATE SET last = excluded.last, body = excluded.body, at = now()`, s.ID, inv.Page, session, inv.Hash, inv.Last, jsonText(inv)); err != nil {
			return err
		}
		var pages struct {
			All  bool
			Last int
		}
		err = t.scan(ctx, &pages, `SELECT coalesce(count(*) = max(page) FILTER (WHERE last) + 1, false) AS "all", coalesce(max(page) FILTER (WHERE last), -1) AS last
			FROM inventory_pages WHERE server_id = ?`, s.ID)
		if err != nil || !pages.All {
			return err
		}
		return t.applyInventory(ctx, s.ID, inv.Hash)
	})
	return c.refused(ctx, agentID, err)
}

func checkInventory(inv wire.Inventory) error {
	bad := func(format string, args ...any) error {
		return wire.Failf(wire.CodeBadRequest, "inventory: "+format, args...)
	}
	if inv.Hash == "" || len(inv.Hash) > 200 || inv.Page < 0 || inv.Page >= maxPages || len(inv.Databases) > maxPageItems || len(inv.Instances) > maxPageItems {
		return bad("page %d with %d databases is out of bounds", inv.Page, len(inv.Databases))
	}
	name := func(what, s string) error {
		if s == "" || len(s) > maxName || !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
			return bad("%s name %.80q is empty, longer than %d bytes, or not text", what, s, maxName)
		}
		return nil
	}
	for _, i := range inv.Instances {
		if err := name("instance", i.Name); err != nil {
			return err
		}
		if !slices.Contains(engines, i.Engine) {
			return bad("instance %q has the unknown engine %.40q", i.Name, i.Engine)
		}
	}
	for _, d := range inv.Databases {
		if err := name("database", d.Name); err != nil {
			return err
		}
		if err := name("instance", d.Instance); err != nil {
			return err
		}
		if !slices.Contains(engines, d.Engine) {
			return bad("database %q has the unknown engine %.40q", d.Name, d.Engine)
		}
		if d.SizeBytes < 0 {
			return bad("database %q has %d bytes", d.Name, d.SizeBytes)
		}
	}
	return nil
}

func (t *tx) applyInventory(ctx context.Context, server int64, hash string) error {
	const found = `(SELECT DISTINCT ON (d.instance, d.name) d.* FROM inventory_pages p, jsonb_to_recordset(CASE jsonb_typeof(p.body->'databases') WHEN 'array' THEN p.body->'databases' ELSE '[]' END)
		AS d (instance text, engine text, name text, size_bytes bigint, server_version text, extensions jsonb) WHERE p.server_id = ? ORDER BY d.instance, d.name, d.engine)`
	const configured = `(SELECT DISTINCT ON (i.name) i.* FROM inventory_pages p, jsonb_to_recordset(CASE jsonb_typeof(p.body->'instances') WHEN 'array' THEN p.body->'instances' ELSE '[]' END)
		AS i (name text, engine text, version text, error text, restore boolean, in_place boolean) WHERE p.server_id = ? ORDER BY i.name)`
	for _, step := range []struct {
		what, query string
		args        []any
	}{
		{"lock databases", `SELECT 1 FROM databases WHERE server_id = ? ORDER BY id FOR NO KEY UPDATE`, []any{server}}, // in the order in which backups lock them
		{"replace instances", `DELETE FROM instances WHERE server_id = ?`, []any{server}},
		{"add instances", `INSERT INTO instances (server_id, name, engine, version, error, restore, in_place)
			SELECT ?, name, engine, coalesce(version, ''), coalesce(error, ''), coalesce(restore, false), coalesce(restore AND in_place, false) FROM ` + configured + ` i`, []any{server, server}},
		{"add databases", `INSERT INTO databases (server_id, instance, engine, name, size_bytes, server_version, extensions)
			SELECT ?, instance, engine, name, coalesce(size_bytes, 0), coalesce(server_version, ''),
				ARRAY(SELECT jsonb_array_elements_text(CASE jsonb_typeof(f.extensions) WHEN 'array' THEN f.extensions ELSE '[]' END)) FROM ` + found + ` f
			ORDER BY instance, name
			ON CONFLICT (server_id, instance, name) DO UPDATE SET engine = excluded.engine, size_bytes = excluded.size_bytes, server_version = excluded.server_version,
				extensions = excluded.extensions, last_seen_at = now(), missing_since = NULL`, []any{server, server}},
		{"mark missing databases", `UPDATE databases d SET missing_since = now() WHERE server_id = ? AND missing_since IS NULL
			AND NOT EXISTS (SELECT FROM ` + found + ` f WHERE f.instance = d.instance AND f.name = d.name)
			AND NOT EXISTS (SELECT FROM instances i WHERE i.server_id = d.server_id AND i.name = d.instance AND i.error <> '')`, []any{server, server}},
		{"close inventory", `UPDATE servers SET inventory_hash = ?, inventory_at = now() WHERE id = ?`, []any{hash, server}},
		{"drop pages", `DELETE FROM inventory_pages WHERE server_id = ?`, []any{server}},
	} {
		if _, err := t.exec(ctx, step.query, step.args...); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}
