package app

import "context"

// NewStorages is newStorages, for tests of what the fleet is given.
var NewStorages = newStorages

// StorageRoots is storageRoots.
var StorageRoots = storageRoots

// NATSURLs is where agents reach the broker.
func (a *App) NATSURLs() []string { return a.natsURL }

// Anchor writes the audit log's anchor that is due.
func (a *App) Anchor(ctx context.Context) error { return a.audit.Anchor(ctx) }
