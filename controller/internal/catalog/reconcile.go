package catalog

import (
	"context"

	"devflowbackup/controller"
)

func (c *Catalog) StorageInventories(context.Context, controller.Actor, string) ([]controller.StorageInventory, error) {
	return nil, errNotYet
}

func (c *Catalog) RequestInventory(context.Context, controller.Actor, string) ([]controller.StorageInventory, error) {
	return nil, errNotYet
}

func (c *Catalog) StorageFindings(context.Context, controller.Actor, string, int) ([]controller.StorageFinding, error) {
	return nil, errNotYet
}
