package controller

import (
	"slices"
	"strings"
	"unicode/utf8"

	"devflowbackup/shared/wire"
)

// Scopes of a schedule.
const (
	ScopeDatabase = "database" // one
	ScopeProject  = "project"  // all that are assigned to the project, those found later too
	ScopePattern  = "pattern"  // those of the project whose name matches, those found later too
	ScopeDefault  = "default"  // those of the project that no other active schedule covers, assigned now or later; one in a project
)

// ScheduleScopes lists them.
var ScheduleScopes = []string{ScopeDatabase, ScopeProject, ScopePattern, ScopeDefault}

const maxPattern = 200

var engines = []string{wire.EnginePostgreSQL, wire.EngineMySQL, wire.EngineSQLite}

// Target says which databases of its project a schedule covers.
type Target struct {
	Scope        string      // absent: database, pattern or project, by what else is given
	Database     DatabaseRef // scope database
	Pattern      string      // scope pattern: * is any text, ? any one character, everything else itself
	DatabaseType string      // only databases of this engine; empty: of any
}

// Validate fills the default and names the first field that is wrong.
func (t *Target) Validate() error {
	named := t.Database.ID != 0 || t.Database.Name != ""
	if t.Scope == "" {
		switch {
		case named:
			t.Scope = ScopeDatabase
		case t.Pattern != "":
			t.Scope = ScopePattern
		default:
			t.Scope = ScopeProject
		}
	}
	switch {
	case !slices.Contains(ScheduleScopes, t.Scope):
		return Invalid("scope", "%q is not allowed; use %s", t.Scope, orList(ScheduleScopes))
	case t.Scope == ScopeDatabase && !named:
		return Invalid("database_name", "is missing; give the database's exact name or id, or use scope project, pattern or default")
	case t.Scope != ScopeDatabase && (named || t.Database.Server != "" || t.Database.Instance != ""):
		return Invalid("database_name", "is not allowed with scope %s; use scope database, or leave out database, server and instance", t.Scope)
	case t.Database.ID < 0:
		return Invalid("database_id", "%d is not a database's id", t.Database.ID)
	case t.Scope == ScopePattern && t.Pattern == "":
		return Invalid("pattern", "is missing; use a name in which * is any text and ? any one character, such as shop_*")
	case t.Scope != ScopePattern && t.Pattern != "":
		return Invalid("pattern", "%.100q is not allowed with scope %s; use scope pattern, or leave it out", t.Pattern, t.Scope)
	case len(t.Pattern) > maxPattern || !utf8.ValidString(t.Pattern) || strings.ContainsRune(t.Pattern, 0):
		return Invalid("pattern", "%.100q is not allowed; use at most %d bytes of text without a NUL", t.Pattern, maxPattern)
	case t.DatabaseType != "" && !slices.Contains(engines, t.DatabaseType):
		return Invalid("database_type", "%q is not allowed; use %s", t.DatabaseType, orList(engines))
	}
	return nil
}

// Covers tells whether a database of the schedule's project is covered, for the default: where no other schedule covers it. A database
// that is named is found by the catalog instead.
func (t Target) Covers(databaseType, name string) bool {
	if t.DatabaseType != "" && t.DatabaseType != databaseType {
		return false
	}
	switch t.Scope {
	case ScopeProject, ScopeDefault:
		return true
	case ScopePattern:
		return matchName(t.Pattern, name)
	}
	return t.Database.Name != "" && t.Database.Name == name
}

// matchName compares a name with a pattern, in time proportional to the product of their lengths at worst.
func matchName(pattern, name string) bool {
	p, n := []rune(pattern), []rune(name)
	i, j := 0, 0
	star, from := -1, 0 // the last *, and what it does not take yet
	for j < len(n) {
		switch {
		case i < len(p) && p[i] == '*':
			star, from = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == n[j]):
			i++
			j++
		case star >= 0:
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}
