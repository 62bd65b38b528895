// Package body has the requests and answers of the HTTP API, as both sides of it know them: the server validates against their
// tags, the client fills them. It holds plain structs and imports no adapter.
//
// Invariant: a field that was released keeps its name and meaning; new ones are optional.
package body

import "devflowbackup/shared/wire"

// List is a whole list.
type List[T any] struct {
	Items []T `json:"items" nullable:"false"`
}

// Page is a part of a list that is newest first. NextBeforeID is the before_id of the page that follows; null at the end.
type Page[T any] struct {
	Items        []T    `json:"items" nullable:"false"`
	NextBeforeID *int64 `json:"next_before_id" nullable:"true"`
	Numbered
}

// Part is a part of a list that is in an order of its own, such as by name. NextAfterID is the after_id of the part that follows; null at the end.
type Part[T any] struct {
	Items       []T    `json:"items" nullable:"false"`
	NextAfterID *int64 `json:"next_after_id" nullable:"true"`
	Numbered
}

// Numbered is there where a page was asked for by its number.
type Numbered struct {
	Page      int    `json:"page,omitempty"`
	PerPage   int    `json:"per_page,omitempty"`
	LastPage  int    `json:"last_page,omitempty" doc:"The last page that there is, or that can be asked for by its number"`
	Total     *int64 `json:"total,omitempty" doc:"How many rows there are"`
	TotalMore bool   `json:"total_more,omitempty" doc:"There are more than total: rows are counted up to 10000"`
}

// Reason says why something is done, for the audit log.
type Reason struct {
	Reason string `json:"reason,omitempty" maxLength:"500"`
}

// Version is the answer of GET /version.
type Version struct {
	Version  string `json:"version"`
	API      string `json:"api" doc:"The version of the API's path"`
	Protocol int    `json:"protocol" doc:"The protocol that agents speak"`
	CA       string `json:"ca_fingerprint" doc:"SHA-256 of the certificate authority of this installation"`

	SigningKeys []wire.Key `json:"signing_keys" nullable:"false" doc:"Public keys that sign manifests and commands"`
}

// Whoami is the answer of GET /whoami: who asks, what they may do and where.
type Whoami struct {
	Kind        string   `json:"kind" enum:"api,panel,user" doc:"A token, a token of a panel, or a person who signed in"`
	TokenID     int64    `json:"token_id" doc:"0 for a person"`
	UserID      int64    `json:"user_id" doc:"0 for a token"`
	Name        string   `json:"name" doc:"The token's name, or the user's"`
	ActingUser  string   `json:"acting_user" doc:"The panel's user that the request is for"`
	Permissions []string `json:"permissions" nullable:"false"`
	AllProjects bool     `json:"all_projects"`
	Projects    []int64  `json:"projects" nullable:"false"`
}
