package app

// NewStorages is newStorages, for tests of what the fleet is given.
var NewStorages = newStorages

// StorageRoots is storageRoots.
var StorageRoots = storageRoots
