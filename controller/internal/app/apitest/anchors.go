package apitest

import (
	"context"

	"devflowbackup/controller/internal/audit"
	"devflowbackup/shared/wire"
)

// Anchors are storages that nobody can reach.
type Anchors struct{}

// Open fails.
func (Anchors) Open(context.Context, int64) (audit.Objects, error) {
	return nil, wire.Failf(wire.CodeStorageUnavailable, "no store runs in this test")
}
