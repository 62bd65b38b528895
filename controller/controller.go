// Package controller is the product in plain types: projects, servers, databases, storages, backups, jobs, restores, and the
// rules that hold between them. It imports no adapter; the catalog, the fleet, the object store and the API import it.
//
// Invariants: a backup is completed only with size, checksums and a manifest; terminal states never change; every query names
// the projects that its caller may see.
package controller
