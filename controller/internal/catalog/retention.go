package catalog

import (
	"context"

	"devflowbackup/controller"
)

func (c *Catalog) HoldBackup(context.Context, controller.Actor, int64, string) (controller.Backup, error) {
	return controller.Backup{}, errNotYet
}

func (c *Catalog) ReleaseBackup(context.Context, controller.Actor, int64, string) (controller.Backup, error) {
	return controller.Backup{}, errNotYet
}

func (c *Catalog) Settings(context.Context, controller.Actor) (controller.Settings, error) {
	return controller.Settings{}, errNotYet
}

func (c *Catalog) UpdateSettings(context.Context, controller.Actor, controller.Settings) (controller.Settings, error) {
	return controller.Settings{}, errNotYet
}
