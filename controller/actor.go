package controller

import (
	"slices"
	"strconv"
	"strings"
)

// Permissions of tokens and people, in the panel's words and ours. A permission never widens the set of projects.
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

// permissionTexts say what each permission allows, in the projects of whoever has it.
var permissionTexts = map[string]string{
	ViewBackups:     "see projects, servers, databases, storages, schedules, backups, restores, jobs with their logs, figures, events, alarms and what was told of them, channels without what opens them; verify backups; preview a clean-up or a schedule",
	CreateBackups:   "back up databases, retry and stop that, back up before a deploy; run a schedule now, together with manage-schedules",
	RestoreBackups:  "plan, order and stop restores, undo them, keep or discard what they have replaced: it reads and replaces data",
	DeleteBackups:   "delete backups, take that back, hold and release them, apply retention now",
	DownloadBackups: "download what is stored and, with restore-backups, the plain dump; with manage-projects, export a project's keys: it reads data",
	ManageProjects:  "make, change and close projects, with their limits; assign databases, grant servers; settings of the installation; channels, which tell people of what goes wrong",
	ManageSchedules: "make, change and delete schedules, pause them; mute alarms",
	ManageServers:   "let hosts enrol, revoke servers, mark verifiers",
	ManageStorages:  "add, change, try and remove storages, look what lies there",
	ManageTokens:    "make, rotate and end tokens, make and change users: with no more permissions and projects than one's own",
	ViewAuditLogs:   "read the audit log and security events, verify its chain",
	ExportAuditLogs: "export the audit log",
}

// PermissionText is what a permission allows.
func PermissionText(permission string) string { return permissionTexts[permission] }

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

// Narrow is what lies in both scopes.
func (s Scope) Narrow(to Scope) Scope {
	switch {
	case to.All:
		return s
	case s.All:
		return to
	}
	both := Scope{Projects: []int64{}}
	for _, id := range s.Projects {
		if slices.Contains(to.Projects, id) {
			both.Projects = append(both.Projects, id)
		}
	}
	return both
}

// Holds tells whether nothing of the other scope lies outside of this one.
func (s Scope) Holds(other Scope) bool {
	if s.All {
		return true
	}
	return !other.All && !slices.ContainsFunc(other.Projects, func(id int64) bool { return !s.Sees(id) })
}

// Actor is who asks: a token or a person who signed in, with what they may do and where.
type Actor struct {
	TokenID     int64 // 0 for a person
	TokenKind   string
	UserID      int64 // 0 for a token
	SessionID   int64
	Name        string // the token's; of a person user:NAME
	Permissions []string
	Scope       Scope
	Remote      string // address, for the audit log
	OnBehalfOf  string // the panel's user, for the audit log
}

// Can tells whether the actor holds the permission.
func (a Actor) Can(permission string) bool { return slices.Contains(a.Permissions, permission) }

// CanGrant tells whether the actor holds every one of the permissions; if not, the first that it lacks.
func (a Actor) CanGrant(permissions []string) (lacks string, ok bool) {
	for _, p := range permissions {
		if !a.Can(p) {
			return p, false
		}
	}
	return "", true
}

// Owner names who an Idempotency-Key belongs to: the same key of another one is another key.
func (a Actor) Owner() string {
	switch {
	case a.UserID != 0:
		return "user " + strconv.FormatInt(a.UserID, 10)
	case a.OnBehalfOf != "":
		return "token " + strconv.FormatInt(a.TokenID, 10) + " for " + a.OnBehalfOf
	default:
		return "token " + strconv.FormatInt(a.TokenID, 10)
	}
}

// Credential names what the caller proved itself by: a panel's token is one, whomever it names.
func (a Actor) Credential() string {
	if a.UserID != 0 {
		return "user " + strconv.FormatInt(a.UserID, 10)
	}
	return "token " + strconv.FormatInt(a.TokenID, 10)
}

// Acting is the end user that a panel's request is for. Nil parts were not named.
type Acting struct {
	User        string
	Permissions []string
	Projects    []string // slugs and external ids, never ids: the panel's numbers are not ours
	AllProjects bool
}

// NormalPermissions is the list sorted as Permissions is, each once. An unknown one is EInvalid.
func NormalPermissions(field string, list []string) ([]string, error) {
	for _, p := range list {
		if !slices.Contains(Permissions, p) {
			return nil, Invalid(field, "%.100q is unknown; allowed are %s", p, strings.Join(Permissions, ", "))
		}
	}
	out := []string{}
	for _, p := range Permissions {
		if slices.Contains(list, p) {
			out = append(out, p)
		}
	}
	return out, nil
}
