package catalog

import (
	"context"
	"time"

	"devflowbackup/controller"
)

var errUnwritten = controller.Errorf(controller.EUnavailable, "to be written")

// DraftRestore resolves and checks a request for a restore; nothing is written. Of a restore in place Confirm is not looked at.
func (c *Catalog) DraftRestore(ctx context.Context, actor controller.Actor, req controller.RestoreRequest) (controller.Draft, error) {
	return controller.Draft{}, errUnwritten
}

// DraftUndo resolves and checks a request to bring back what a restore in place kept; nothing is written. Confirm is not looked at.
func (c *Catalog) DraftUndo(ctx context.Context, actor controller.Actor, id int64, req controller.SwapRequest) (controller.Draft, error) {
	return controller.Draft{}, errUnwritten
}

// CreateUndo asks to bring back what a restore in place kept. What is at the target now is kept in its turn.
func (c *Catalog) CreateUndo(ctx context.Context, actor controller.Actor, id int64, req controller.SwapRequest) (controller.Restore, error) {
	return controller.Restore{}, errUnwritten
}

// DiscardKept has what a restore kept removed before its time. confirm is the target's name.
func (c *Catalog) DiscardKept(ctx context.Context, actor controller.Actor, id int64, confirm string) (controller.Restore, error) {
	return controller.Restore{}, errUnwritten
}

// KeepKept changes how long, from now, what a restore kept stays.
func (c *Catalog) KeepKept(ctx context.Context, actor controller.Actor, id int64, keepFor time.Duration) (controller.Restore, error) {
	return controller.Restore{}, errUnwritten
}
