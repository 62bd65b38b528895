package fleet

import (
	"context"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// Inspect has the server's agent look at a restore's target. Nothing is changed. An agent that is not connected is wire.CodeOffline.
func (f *Fleet) Inspect(ctx context.Context, server controller.Server, o wire.InspectOrder) (*wire.Target, error) {
	return nil, wire.Failf(wire.CodeInternal, "to be written")
}
