package controller

import (
	"strings"
	"time"

	"devflowbackup/shared/version"
	"devflowbackup/shared/wire"
)

// Server is a host with an agent.
type Server struct {
	ID           int64      `json:"id"`
	AgentID      string     `json:"agent_id"`
	Name         string     `json:"name"`
	NKey         string     `json:"nkey"`
	SigningKey   []byte     `json:"signing_key"`
	Recipient    string     `json:"recipient"`
	Verifier     bool       `json:"verifier"`
	Session      string     `json:"-"`
	AgentVersion string     `json:"agent_version"`
	Outdated     bool       `json:"outdated"` // its agent is older than the controller that tells
	Concurrency  int        `json:"concurrency"`
	Host         wire.Host  `json:"host"`
	Online       bool       `json:"online"` // heard within OfflineAfter
	LastSeenAt   *time.Time `json:"last_seen_at"`
	EnrolledAt   time.Time  `json:"enrolled_at"`
	RevokedAt    *time.Time `json:"revoked_at"`
	Projects     []int64    `json:"projects"`  // granted
	Instances    []Instance `json:"instances"` // what its agent is configured for
}

// OlderThan notes whether the agent is older than a controller. The two may be one version apart in either direction.
func (s *Server) OlderThan(own string) {
	s.Outdated = s.RevokedAt == nil && version.Older(s.AgentVersion, own)
}

// Instance is one database server in an agent's configuration.
type Instance struct {
	Name    string `json:"name"`
	Engine  string `json:"engine"`
	Version string `json:"version"`
	Error   string `json:"error"`
	Restore bool   `json:"restore"`
	InPlace bool   `json:"in_place"` // restores in the place of databases that are there
}

// Database is one database found on a server.
type Database struct {
	ID            int64      `json:"id"`
	ServerID      int64      `json:"server_id"`
	Server        string     `json:"server"`
	Instance      string     `json:"instance"`
	Engine        string     `json:"engine"`
	Name          string     `json:"name"`
	SizeBytes     int64      `json:"size_bytes"`
	ServerVersion string     `json:"server_version"`
	Extensions    []string   `json:"extensions"`
	ProjectID     *int64     `json:"project_id"`
	Project       string     `json:"project"` // slug; empty if not assigned
	FirstSeenAt   time.Time  `json:"first_seen_at"`
	LastSeenAt    time.Time  `json:"last_seen_at"`
	MissingSince  *time.Time `json:"missing_since"`
}

// EnrolmentSpec is what a caller gives to let one host enrol.
type EnrolmentSpec struct {
	ServerName string
	Project    string // slug, id or external id that is granted at enrolment; may be empty
	Verifier   bool
	// Replace lets the host take the place of the server of that name: its databases, backups and schedules stay its own. The host
	// that was there before is cut off when the new one enrols.
	Replace bool
	TTL     time.Duration
}

// MaxEnrolmentTTL bounds how long an enrolment token may live.
const MaxEnrolmentTTL = time.Hour

// Validate names the first field that is wrong.
func (s EnrolmentSpec) Validate() error {
	if n := strings.TrimSpace(s.ServerName); n == "" || n != s.ServerName || len(n) > 100 {
		return Invalid("server_name", "%q is empty, longer than 100 bytes or has spaces at its ends", s.ServerName)
	}
	if s.Replace && (s.Project != "" || s.Verifier) {
		return Invalid("replace", "is not allowed beside a project or verifier: a server that is replaced keeps its own")
	}
	if s.TTL <= 0 || s.TTL > MaxEnrolmentTTL {
		return Invalid("ttl_seconds", "%d is not allowed; use 1 to %d", int64(s.TTL.Seconds()), int64(MaxEnrolmentTTL.Seconds()))
	}
	return nil
}

// Enrolment is an enrolment token as listed; the secret was shown once.
type Enrolment struct {
	ID         int64      `json:"id"`
	ServerName string     `json:"server_name"`
	ProjectID  *int64     `json:"project_id"`
	Verifier   bool       `json:"verifier"`
	Replaces   *int64     `json:"replaces"` // the server whose place the host takes
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  time.Time  `json:"expires_at"`
	UsedAt     *time.Time `json:"used_at"`
	ServerID   *int64     `json:"server_id"`
}

// EnrolmentStatus is what whoever holds an enrolment token may know of it.
type EnrolmentStatus struct {
	ServerName string `json:"server_name"`
	Used       bool   `json:"used"`
	Expired    bool   `json:"expired"`
	ServerID   string `json:"server_id"` // the agent's id; empty before it is used
	Online     bool   `json:"online"`    // a controller has heard of the agent a moment ago
	Revoked    bool   `json:"revoked"`
}

// NewServer is what an agent presents with its enrolment token.
type NewServer struct {
	AgentID      string
	NKey         string
	SigningKey   []byte
	Recipient    string
	AgentVersion string
	Host         wire.Host
}

// SecurityEvent is something that only a fault, a clone or an attack explains.
type SecurityEvent struct {
	ID       int64     `json:"id"`
	At       time.Time `json:"at"`
	ServerID *int64    `json:"server_id"`
	Kind     string    `json:"kind"`
	Detail   string    `json:"detail"`
	Count    int64     `json:"count"`
}

// Kinds of security events.
const (
	EventStaleAttempt    = "stale_attempt"
	EventDuplicateAgent  = "duplicate_agent"
	EventForgedDirective = "forged_directive"
	EventForeignObject   = "foreign_object"
	EventForeignHeader   = "foreign_header"
	EventStatement       = "statement_refused"
	EventPermission      = "permission_denied"
	EventRevoked         = "revoked_server"
	EventRecord          = "record_differs" // a row of the catalog is not what was signed
)
