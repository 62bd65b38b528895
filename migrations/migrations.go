// Package migrations holds the catalog's schema as embedded SQL, in the order of the file names.
//
// A released migration is never edited: a change is a new file. Files named *.tx.up.sql run in one transaction.
package migrations

import "embed"

// FS is the migration files.
//
//go:embed *.sql
var FS embed.FS
