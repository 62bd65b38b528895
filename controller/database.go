package controller

import (
	"path"
	"strings"
	"unicode/utf8"

	"devflowbackup/shared/wire"
)

// Longest names of databases.
const (
	maxPostgresName = 63   // bytes: PostgreSQL cuts what is longer, without a word
	maxMySQLName    = 64   // characters
	maxDatabasePath = 4096 // bytes of an SQLite file's path
)

// ValidDatabaseName refuses a name that the engine does not take as it is; the error is about the field.
func ValidDatabaseName(field, engine, name string) error {
	switch {
	case name == "" || strings.ContainsRune(name, 0) || !utf8.ValidString(name):
		return Invalid(field, "%q is not allowed; use text that is not empty, without a NUL", name)
	case engine == wire.EnginePostgreSQL && len(name) > maxPostgresName:
		return Invalid(field, "%q is not allowed; PostgreSQL takes names of at most %d bytes, this one has %d", name, maxPostgresName, len(name))
	case engine == wire.EngineMySQL && utf8.RuneCountInString(name) > maxMySQLName:
		return Invalid(field, "%q is not allowed; MySQL takes names of at most %d characters, this one has %d", name, maxMySQLName, utf8.RuneCountInString(name))
	case engine == wire.EngineSQLite && (!path.IsAbs(name) || path.Clean(name) != name || name == "/"):
		return Invalid(field, "%q is not allowed; an SQLite database is named by its file's absolute path, such as /var/lib/app/app.db", name)
	case len(name) > maxDatabasePath:
		return Invalid(field, "%d bytes are not allowed; use at most %d", len(name), maxDatabasePath)
	}
	return nil
}

// DatabaseRef names one database that an agent found: by id, or by its exact name, with server and instance where the name
// alone is ambiguous.
type DatabaseRef struct {
	ID       int64
	Server   string // name or id
	Instance string
	Name     string
}

// NameInFile is what an artifact's file name says of its database: of an SQLite file's path the last part, without its ending.
func NameInFile(engine, database string) string {
	if engine != wire.EngineSQLite {
		return database
	}
	base := path.Base(database)
	if name := strings.TrimSuffix(base, path.Ext(base)); name != "" {
		return name
	}
	return base
}
