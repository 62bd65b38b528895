package controller

import (
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// UserPrefix begins the names of people in the audit log; no token's name does.
const UserPrefix = "user:"

// Bounds of passwords, in characters and bytes.
const (
	MinPassword = 12
	MaxPassword = 1024
)

// User is a person who signs in.
type User struct {
	ID          int64    `json:"id"`
	Name        string   `json:"name"`
	DisplayName string   `json:"display_name"`
	Admin       bool     `json:"admin"` // every permission, in the user's projects
	Permissions []string `json:"permissions"`
	Projects    []int64  `json:"projects"` // null: all
	// Issuer is the OpenID Connect provider that the user signs in by; empty for one with a password.
	Issuer       string     `json:"issuer"`
	HasPassword  bool       `json:"has_password"`
	CreatedAt    time.Time  `json:"created_at"`
	PasswordAt   *time.Time `json:"password_changed_at"`
	LastSignInAt *time.Time `json:"last_sign_in_at"`
	DisabledAt   *time.Time `json:"disabled_at"`
	Sessions     int        `json:"sessions"` // open ones
}

// Granted are the permissions that the user has.
func (u User) Granted() []string {
	if u.Admin {
		return Permissions
	}
	return u.Permissions
}

// Scope is where the user has them.
func (u User) Scope() Scope { return Scope{All: u.Projects == nil, Projects: u.Projects} }

// UserSpec is what a caller gives to make a user.
type UserSpec struct {
	Name        string
	DisplayName string
	Admin       bool
	Permissions []string
	Projects    []string // slugs, ids or external ids; nil: all
}

// UserChange changes what is given; nil fields stay.
type UserChange struct {
	DisplayName *string
	Admin       *bool
	Permissions []string
	Projects    []string
	AllProjects bool // Projects becomes all
	Disabled    *bool
}

var userName = regexp.MustCompile(`^[a-z0-9][a-z0-9._@+-]{0,99}$`)

// UserName is the one spelling of a sign-in name: case makes no difference.
func UserName(name string) string { return strings.ToLower(strings.TrimSpace(name)) }

// ValidUserName tells what is wrong with a normal name.
func ValidUserName(name string) error {
	if !userName.MatchString(name) || strings.Trim(name, "0123456789") == "" {
		return Invalid("name", "%.100q is not a user's name; use 1 to 100 of a-z, 0-9, and after the first also . _ @ + -, and not digits alone", name)
	}
	return nil
}

// Validate names the first field that is wrong.
func (s UserSpec) Validate() error {
	if err := ValidUserName(s.Name); err != nil {
		return err
	}
	if err := validDisplayName(s.DisplayName); err != nil {
		return err
	}
	if !s.Admin && len(s.Permissions) == 0 {
		return Invalid("permissions", "is empty; allowed are %s, or admin, which is all", strings.Join(Permissions, ", "))
	}
	if len(s.Projects) > MaxProjectRefs {
		return Invalid("projects", "names %d projects; at most %d are allowed", len(s.Projects), MaxProjectRefs)
	}
	_, err := NormalPermissions("permissions", s.Permissions)
	return err
}

// Validate names the first field that is wrong.
func (c UserChange) Validate() error {
	if c.DisplayName != nil {
		if err := validDisplayName(*c.DisplayName); err != nil {
			return err
		}
	}
	if c.AllProjects && c.Projects != nil {
		return Invalid("all_projects", "cannot be set beside projects; give one of them")
	}
	if len(c.Projects) > MaxProjectRefs {
		return Invalid("projects", "names %d projects; at most %d are allowed", len(c.Projects), MaxProjectRefs)
	}
	_, err := NormalPermissions("permissions", c.Permissions)
	return err
}

func validDisplayName(name string) error {
	if len(name) > 200 || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) || !utf8.ValidString(name) {
		return Invalid("display_name", "is not at most 200 bytes of printable text")
	}
	return nil
}

// ValidPassword tells what is wrong with a new password of the user; the password is not in the error.
func ValidPassword(field, user, password string) error {
	switch {
	case !utf8.ValidString(password) || strings.ContainsFunc(password, unicode.IsControl):
		return Invalid(field, "holds a control character or is not UTF-8")
	case utf8.RuneCountInString(password) < MinPassword:
		return Invalid(field, "has %d characters; use at least %d", utf8.RuneCountInString(password), MinPassword).WithHint("a few random words are easy to type and hard to guess")
	case len(password) > MaxPassword:
		return Invalid(field, "has %d bytes; use at most %d", len(password), MaxPassword)
	case user != "" && strings.Contains(strings.ToLower(password), user) && len(user) >= 4:
		return Invalid(field, "holds the user's name")
	case strings.Count(password, password[:1]) == len(password):
		return Invalid(field, "is one character over and over")
	}
	return nil
}

// Ways to sign in.
const (
	SignInPassword = "password"
	SignInOIDC     = "oidc"
)

// Session is a person signed in at one browser.
type Session struct {
	ID        int64     `json:"id"`
	Method    string    `json:"method" enum:"password,oidc"`
	Remote    string    `json:"remote"`
	Agent     string    `json:"agent"` // the browser, as it calls itself
	CreatedAt time.Time `json:"created_at"`
	SeenAt    time.Time `json:"seen_at"` // to the minute
	ExpiresAt time.Time `json:"expires_at"`
	Current   bool      `json:"current"` // the one that asks
}

// SignInCheck is what a sign-in attempt is held against.
type SignInCheck struct {
	// Wait is how long the name or the address is locked out; the attempt was not counted and must not be looked at.
	Wait time.Duration
	// UserID and Password are of the user who may sign in by a password; 0 and empty if there is none of that name.
	UserID   int64
	Password string
}

// NewSession is what a sign-in makes.
type NewSession struct {
	Hash   []byte
	Method string
	Remote string
	Agent  string
	// Age is how long it lasts at most.
	Age time.Duration
}

// Identity is a person as an OpenID Connect provider tells of them, with what the person's groups are granted here.
type Identity struct {
	Issuer, Subject   string
	Name, DisplayName string
	Admin             bool
	Permissions       []string
	Projects          []string // slugs and external ids; those that do not exist are left out
	AllProjects       bool
}

// SignInFlow is a sign-in by a provider on its way. It travels in a cookie of the browser that began it.
type SignInFlow struct {
	State    string `json:"s"`
	Nonce    string `json:"n"`
	Verifier string `json:"v"` // PKCE
	ReturnTo string `json:"r"`
	Expires  int64  `json:"e"` // seconds since 1970
}
