package controller

import (
	"context"
	"slices"
)

// MaxCounted is how many rows of a list are counted, and how far numbered pages reach. Who wants more goes on by the cursor.
const MaxCounted = 10_000

// Orders of a list of backups.
const (
	SortCreated  = "created"
	SortSize     = "size"     // one without a file counts as 0
	SortDuration = "duration" // one that has not ended counts as 0
)

// BackupSorts lists them.
var BackupSorts = []string{SortCreated, SortSize, SortDuration}

// NumberedPage is a page by its number, from 1. The zero one is none: then a list goes by its cursor.
type NumberedPage struct {
	Page    int
	PerPage int
}

// Offset is how many rows come before the page.
func (p NumberedPage) Offset() int { return max(p.Page-1, 0) * p.PerPage }

// Validate refuses a page that lies too far back.
func (p NumberedPage) Validate() error {
	switch {
	case p == NumberedPage{}:
		return nil
	case p.Page < 1:
		return Invalid("page", "%d is not allowed; use 1 or more", p.Page)
	case p.PerPage < 1 || p.PerPage > 100:
		return Invalid("per_page", "%d is not allowed; use 1 to 100", p.PerPage)
	case p.Page > MaxCounted/p.PerPage:
		return Invalid("page", "%d lies behind the first %d rows; use at most %d, a filter, or before_id", p.Page, MaxCounted, MaxCounted/p.PerPage)
	}
	return nil
}

// Total is how many rows a list has. More tells that there are more than MaxCounted, which is then N.
type Total struct {
	N    int64
	More bool
}

// RestoreFilter selects restores, newest first.
type RestoreFilter struct {
	Project  string
	Server   string
	Database string // the target's exact name
	Status   string
	Kind     string // RestoreKind, UndoKind
	Backup   int64
	Between
	BeforeID int64
	Limit    int
	NumberedPage
}

// Validate names the first field that is wrong.
func (f RestoreFilter) Validate() error {
	if err := oneOf("status", f.Status, Statuses); err != nil {
		return err
	}
	if err := oneOf("kind", f.Kind, []string{RestoreKind, UndoKind}); err != nil {
		return err
	}
	return f.NumberedPage.Validate()
}

// JobOpen selects jobs that have not ended, by their status.
const JobOpen = "open"

// JobFilter selects jobs, newest first.
type JobFilter struct {
	Project  string
	Server   string
	Kind     string
	Status   string // a status, or JobOpen
	Backup   int64
	Restore  int64
	BeforeID int64
	Limit    int
	NumberedPage
}

// Validate names the first field that is wrong.
func (f JobFilter) Validate() error {
	if err := oneOf("kind", f.Kind, JobKinds); err != nil {
		return err
	}
	if err := oneOf("status", f.Status, JobStatuses); err != nil {
		return err
	}
	return f.NumberedPage.Validate()
}

// ScheduleFilter selects schedules, by project and id.
type ScheduleFilter struct {
	Project   string
	Server    string
	Database  string // exact name or id, of those with scope database
	Engine    string
	Frequency string
	Active    *bool
	AfterID   int64
	Limit     int
	NumberedPage
}

// Validate names the first field that is wrong.
func (f ScheduleFilter) Validate() error {
	if err := oneOf("engine", f.Engine, engines); err != nil {
		return err
	}
	if err := oneOf("frequency", f.Frequency, Frequencies); err != nil {
		return err
	}
	return f.NumberedPage.Validate()
}

// Validate names the first field that is wrong.
func (f BackupFilter) Validate() error {
	for _, check := range []struct {
		field, value string
		allowed      []string
	}{
		{"status", f.Status, Statuses},
		{"type", f.Type, []string{TypeManual, TypeScheduled, TypePreDeploy, TypePreRestore}},
		{"health", f.Health, []string{HealthOK, HealthMissing, HealthCorrupt, HealthArchived, HealthDeleting}},
		{"engine", f.Engine, engines},
		{"sort", f.Sort, BackupSorts},
	} {
		if err := oneOf(check.field, check.value, check.allowed); err != nil {
			return err
		}
	}
	other := f.Ascending || f.Sort != "" && f.Sort != SortCreated
	switch {
	case other && f.Page == 0:
		return Invalid("sort", "%q is for pages by number: give page, or leave it out for the newest first", f.Sort)
	case f.Page != 0 && f.BeforeID != 0:
		return Invalid("before_id", "is not allowed together with page; use one of them")
	case other && f.Sort != SortCreated && f.Sort != "" && f.Project == "" && f.Database == "":
		return Invalid("sort", "%q is within a project or a database: name one", f.Sort)
	}
	return f.NumberedPage.Validate()
}

func oneOf(field, value string, allowed []string) error {
	if value == "" || slices.Contains(allowed, value) {
		return nil
	}
	return Invalid(field, "%.100q is not allowed; use %s", value, orList(allowed))
}

// MaxPart is the most rows of a part of a list that is in an order of its own.
const MaxPart = 500

// Part is a part of a list that is in an order of its own, such as by name: the rows that follow the row AfterID, or a page by its number.
type Part struct {
	AfterID int64
	Limit   int // 100 if absent, MaxPart at most
	NumberedPage
}

// Validate names the first field that is wrong.
func (p Part) Validate() error {
	if p.AfterID != 0 && p.Page != 0 {
		return Invalid("after_id", "is not allowed together with page; use one of them")
	}
	return p.NumberedPage.Validate()
}

// Every reads a list to its end, part by part.
func Every[T any](ctx context.Context, list func(context.Context, Part) ([]T, error), id func(T) int64) ([]T, error) {
	var all []T
	for p := (Part{Limit: MaxPart}); ; {
		rows, err := list(ctx, p)
		if err != nil {
			return nil, err
		}
		if all = append(all, rows...); len(rows) < MaxPart {
			return all, nil
		}
		p.AfterID = id(rows[len(rows)-1])
	}
}

// ProjectFilter selects projects, by slug.
type ProjectFilter struct {
	Search string // part of the slug or the name, whatever its case
	Server string // that they may use
	Part
}

// States of a server in a list.
const (
	ServerOnline  = "online"
	ServerOffline = "offline"
	ServerRevoked = "revoked"
)

// ServerStates lists them.
var ServerStates = []string{ServerOnline, ServerOffline, ServerRevoked}

// ServerFilter selects servers, by name; revoked ones come last.
type ServerFilter struct {
	Project string
	Search  string // part of the name, whatever its case
	Status  string
	Part
}

// Validate names the first field that is wrong.
func (f ServerFilter) Validate() error {
	if err := oneOf("status", f.Status, ServerStates); err != nil {
		return err
	}
	return f.Part.Validate()
}

// StorageFilter selects storages, by name.
type StorageFilter struct {
	Project string // that may use them: its own and those of all
	Kind    string
	Part
}

// Validate names the first field that is wrong.
func (f StorageFilter) Validate() error {
	if err := oneOf("kind", f.Kind, []string{StorageS3, StorageLocal}); err != nil {
		return err
	}
	return f.Part.Validate()
}

// DatabaseFilter selects databases, by server, instance and name; empty fields select all.
type DatabaseFilter struct {
	Project    string
	Server     string
	Name       string // exact
	Search     string // part of the name, whatever its case
	Engine     string
	Unassigned bool
	Part
}

// Validate names the first field that is wrong.
func (f DatabaseFilter) Validate() error {
	if err := oneOf("engine", f.Engine, engines); err != nil {
		return err
	}
	return f.Part.Validate()
}

// TokenFilter selects API tokens, newest first.
type TokenFilter struct {
	Kind     string
	Active   *bool // neither revoked nor expired
	BeforeID int64
	Limit    int
	NumberedPage
}

// Validate names the first field that is wrong.
func (f TokenFilter) Validate() error {
	if err := oneOf("kind", f.Kind, []string{TokenAPI, TokenPanel}); err != nil {
		return err
	}
	return f.NumberedPage.Validate()
}

// UserFilter selects users, by name.
type UserFilter struct {
	Search   string // part of the name or the display name, whatever its case
	Disabled *bool
	After    string // a name
	Limit    int
	NumberedPage
}
