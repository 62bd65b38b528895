package controller

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Permissions of API tokens, in the panel's words and ours. A permission never widens the set of projects.
const (
	ViewBackups     = "view-backups" // verify too
	CreateBackups   = "create-backups"
	RestoreBackups  = "restore-backups"
	DeleteBackups   = "delete-backups"
	DownloadBackups = "download-backups"
	ManageProjects  = "manage-projects"
	ManageServers   = "manage-servers"
	ManageStorages  = "manage-storages"
	ManageTokens    = "manage-tokens"
	ManageSchedules = "manage-schedules"
	ViewAuditLogs   = "view-audit-logs"
	ExportAuditLogs = "export-audit-logs"
)

// Permissions lists every permission.
var Permissions = []string{
	ViewBackups, CreateBackups, RestoreBackups, DeleteBackups, DownloadBackups,
	ManageProjects, ManageSchedules, ManageServers, ManageStorages, ManageTokens, ViewAuditLogs, ExportAuditLogs,
}

// Scope is the set of projects that a caller may see. The zero Scope sees nothing.
type Scope struct {
	All      bool
	Projects []int64
}

// Setting is the scope as the catalog's row-level security reads it.
func (s Scope) Setting() string {
	if s.All {
		return "*"
	}
	ids := make([]string, len(s.Projects))
	for i, id := range s.Projects {
		ids[i] = strconv.FormatInt(id, 10)
	}
	return strings.Join(ids, ",")
}

// Sees tells whether the scope holds the project.
func (s Scope) Sees(project int64) bool { return s.All || slices.Contains(s.Projects, project) }

// Actor is who asks: a token, with what it may do and where.
type Actor struct {
	TokenID     int64
	Name        string
	Permissions []string
	Scope       Scope
	Remote      string // address, for the audit log
	OnBehalfOf  string // the panel's user, for the audit log
}

// Can tells whether the actor holds the permission.
func (a Actor) Can(permission string) bool { return slices.Contains(a.Permissions, permission) }

// APIToken is a credential of the HTTP API. Its secret is shown once and stored as a hash.
type APIToken struct {
	ID          int64      `json:"id"`
	Name        string     `json:"name"`
	Permissions []string   `json:"permissions"`
	Projects    []int64    `json:"projects"` // null: all
	CreatedAt   time.Time  `json:"created_at"`
	ExpiresAt   *time.Time `json:"expires_at"`
	LastUsedAt  *time.Time `json:"last_used_at"`
	RevokedAt   *time.Time `json:"revoked_at"`
}

// TokenSpec is what a caller gives to make a token.
type TokenSpec struct {
	Name        string
	Permissions []string
	Projects    []string // slugs, ids or external ids; nil: all
	TTL         time.Duration
}

// Validate names the first field that is wrong.
func (s TokenSpec) Validate() error {
	if strings.TrimSpace(s.Name) == "" || len(s.Name) > 100 {
		return Invalid("name", "%q is empty or longer than 100 bytes", s.Name)
	}
	if len(s.Permissions) == 0 {
		return Invalid("permissions", "is empty; allowed are %s", strings.Join(Permissions, ", "))
	}
	for _, p := range s.Permissions {
		if !slices.Contains(Permissions, p) {
			return Invalid("permissions", "%q is unknown; allowed are %s", p, strings.Join(Permissions, ", "))
		}
	}
	if s.TTL < 0 {
		return Invalid("ttl_seconds", "%d is negative; use 0 for a token that never expires", int64(s.TTL.Seconds()))
	}
	return nil
}
