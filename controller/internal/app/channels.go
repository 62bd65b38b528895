package app

import (
	"context"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/notify"
	"devflowbackup/shared/secret"
)

// channels is what the API needs of what reaches people.
type channels struct {
	tester interface {
		TestChannel(ctx context.Context, id int64) error
	}
}

func (channels) Kinds() []controller.ChannelKind { return notify.Channels() }

func (channels) CheckTarget(kind string, target controller.ChannelTarget) (controller.ChannelTarget, string, error) {
	return notify.Check(kind, target)
}

func (channels) CheckPing(url secret.String) (string, error) { return notify.CheckPing(url) }

func (c channels) TestChannel(ctx context.Context, id int64) error {
	return c.tester.TestChannel(ctx, id)
}
