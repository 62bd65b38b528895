package body

import (
	"time"

	"devflowbackup/controller"
)

// RotateToken gives a token a new secret.
type RotateToken struct {
	GraceSeconds *int64 `json:"grace_seconds,omitempty" minimum:"0" maximum:"604800" doc:"How long the secret before it works; a day if absent, 0 ends it at once"`
}

// CreateUser makes a person who can sign in.
type CreateUser struct {
	Name        string   `json:"name" maxLength:"100" doc:"To sign in with; a-z, 0-9 and . _ @ + -"`
	DisplayName string   `json:"display_name,omitempty" maxLength:"200"`
	Password    string   `json:"password,omitempty" maxLength:"1024" doc:"At least 12 characters; without one the user cannot sign in before it is set"`
	Admin       bool     `json:"admin,omitempty" doc:"Every permission, in the user's projects"`
	Permissions []string `json:"permissions,omitempty" maxItems:"50"`
	Projects    []string `json:"projects,omitempty" maxItems:"1000" doc:"Slugs, ids or external ids; all projects if absent"`
}

// UpdateUser changes what is given.
type UpdateUser struct {
	DisplayName *string  `json:"display_name,omitempty" maxLength:"200"`
	Admin       *bool    `json:"admin,omitempty" doc:"Every permission, in the user's projects"`
	Permissions []string `json:"permissions,omitempty" maxItems:"50"`
	Projects    []string `json:"projects,omitempty" maxItems:"1000" doc:"Slugs, ids or external ids"`
	AllProjects bool     `json:"all_projects,omitempty"`
	Disabled    *bool    `json:"disabled,omitempty" doc:"A disabled user is signed out and cannot sign in"`
}

// SetPassword gives a user another password.
type SetPassword struct {
	Password string `json:"password" maxLength:"1024"`
}

// Users is a part of the list of users, by name. NextAfter is the after of the part that follows; null at the end.
type Users struct {
	Items     []controller.User `json:"items" nullable:"false"`
	NextAfter *string           `json:"next_after" nullable:"true"`
	Numbered
}

// SignIn asks for a session.
type SignIn struct {
	Name     string `json:"name" maxLength:"200"`
	Password string `json:"password" maxLength:"1024"`
}

// ChangePassword changes one's own.
type ChangePassword struct {
	OldPassword string `json:"old_password" maxLength:"1024"`
	NewPassword string `json:"new_password" maxLength:"1024"`
}

// SignInMethods are the ways to sign in.
type SignInMethods struct {
	Password bool      `json:"password"`
	OIDC     *OIDCSign `json:"oidc,omitempty" doc:"Absent where there is no provider"`
}

// OIDCSign is the way by an OpenID Connect provider.
type OIDCSign struct {
	Title string `json:"title" doc:"What to write on the button"`
	URL   string `json:"url" doc:"Where the browser goes; return_to is the page that it comes back to"`
}

// SignedIn is who is signed in, or which token asks.
type SignedIn struct {
	Whoami
	DisplayName    string     `json:"display_name"`
	Admin          bool       `json:"admin"`
	HasPassword    bool       `json:"has_password" doc:"It can be changed here"`
	CSRFToken      string     `json:"csrf_token" doc:"To be sent as DevFlow-CSRF with every write; empty for a token"`
	SessionID      int64      `json:"session_id" doc:"0 for a token"`
	ExpiresAt      *time.Time `json:"expires_at" nullable:"true" doc:"The session lasts so long at most"`
	IdleSeconds    int64      `json:"idle_seconds" doc:"And ends when it is not used for so long; 0 for a token"`
	AllPermissions []string   `json:"all_permissions" nullable:"false" doc:"Every permission that there is"`
}
