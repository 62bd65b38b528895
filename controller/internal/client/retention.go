package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

// HoldBackup keeps one from being deleted.
func (c *Client) HoldBackup(ctx context.Context, n int64, reason string) (controller.Backup, error) {
	return post[controller.Backup](ctx, c, body.HoldBackup{Reason: reason}, "backups", id(n), "hold")
}

// ReleaseBackup ends the hold.
func (c *Client) ReleaseBackup(ctx context.Context, n int64, reason string) (controller.Backup, error) {
	return post[controller.Backup](ctx, c, body.Reason{Reason: reason}, "backups", id(n), "release")
}

// Cleanup applies retention, or tells what it would do. What could not be removed is counted in the result.
func (c *Client) Cleanup(ctx context.Context, in body.Cleanup) (controller.CleanupResult, error) {
	return post[controller.CleanupResult](ctx, c, in, "cleanup")
}

// Settings of the installation.
func (c *Client) Settings(ctx context.Context) (controller.Settings, error) {
	return get[controller.Settings](ctx, c, nil, "settings")
}

// UpdateSettings changes them.
func (c *Client) UpdateSettings(ctx context.Context, in body.UpdateSettings) (controller.Settings, error) {
	return do[controller.Settings](ctx, c, call{method: http.MethodPatch, path: path("settings"), body: in})
}

// StorageInventories are the last inventories of a storage, of a local one that of each host.
func (c *Client) StorageInventories(ctx context.Context, ref string) ([]controller.StorageInventory, error) {
	return c.inventoriesAfter(ctx, ref, nil)
}

// RequestInventory makes them due now.
func (c *Client) RequestInventory(ctx context.Context, ref string) ([]controller.StorageInventory, error) {
	l, err := post[body.List[controller.StorageInventory]](ctx, c, nil, "storages", ref, "inventory")
	if err != nil || len(l.Items) < inventoriesAtOnce {
		return l.Items, err
	}
	return c.inventoriesAfter(ctx, ref, l.Items)
}

const inventoriesAtOnce = 200

// inventoriesAfter adds those of the hosts that follow.
func (c *Client) inventoriesAfter(ctx context.Context, ref string, all []controller.StorageInventory) ([]controller.StorageInventory, error) {
	q := url.Values{"limit": {strconv.Itoa(inventoriesAtOnce)}}
	for {
		if len(all) > 0 {
			q.Set("after_server_id", id(all[len(all)-1].ServerID))
		}
		l, err := get[body.List[controller.StorageInventory]](ctx, c, q, "storages", ref, "inventory")
		if err != nil {
			return nil, err
		}
		if all = append(all, l.Items...); len(l.Items) < inventoriesAtOnce {
			return all, nil
		}
	}
}

// StorageFindings are what lies on a storage and is not the catalog's.
func (c *Client) StorageFindings(ctx context.Context, ref string, limit int) ([]controller.StorageFinding, error) {
	q := values()
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	l, err := get[body.List[controller.StorageFinding]](ctx, c, q, "storages", ref, "findings")
	return l.Items, err
}
