package app

// NewStorages is newStorages, for tests of what the fleet is given.
var NewStorages = newStorages

// StorageRoots is storageRoots.
var StorageRoots = storageRoots

// NATSURLs is where agents reach the broker.
func (a *App) NATSURLs() []string { return a.natsURL }
