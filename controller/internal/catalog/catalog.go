// Package catalog is the PostgreSQL catalog, the only truth, and the only place with SQL.
//
// Invariants: each method is one transaction on PostgreSQL's clock; every query of a caller names the projects that the
// caller may see, and row-level security stands behind it; a terminal state never changes; a message or a completion with
// a token that no longer stands changes nothing.
package catalog
