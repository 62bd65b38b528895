package body

import (
	"encoding/json"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// CreateEnrolment makes a token by which one host enrols.
type CreateEnrolment struct {
	ServerName string `json:"server_name"`
	Project    string `json:"project,omitempty" doc:"Slug, id or external id of a project that may use the server"`
	Verifier   bool   `json:"verifier,omitempty" doc:"The server may open other hosts' backups to verify them"`
	Replace    bool   `json:"replace,omitempty" doc:"The host takes the place of the server of that name, revoked or not: databases, backups, schedules and grants stay; the host that was there is cut off"`
	TTLSeconds int64  `json:"ttl_seconds,omitempty" minimum:"0" maximum:"3600" doc:"How long it is valid; 3600 if absent"`
	Grant      bool   `json:"grant,omitempty" doc:"The install command lets setup make the agent's accounts in the databases that it finds"`
}

// NewEnrolment is an enrolment token. Token and both commands are shown this once.
type NewEnrolment struct {
	controller.Enrolment
	Token          string `json:"token"`
	Command        string `json:"command" doc:"What to run on a database host that has the agent"`
	InstallCommand string `json:"install_command" doc:"One line for a root shell of a bare host: installs, enrols, finds databases and starts the agent. Empty if hosts cannot be told where the controller is"`
	InstallHint    string `json:"install_hint,omitempty" doc:"Why there is no install command, and what to do"`
	CASHA256       string `json:"ca_sha256" doc:"SHA-256 of /ca.pem, which the install command holds the controller to"`
}

// EnrolmentToken asks what became of a token.
type EnrolmentToken struct {
	Token string `json:"token" maxLength:"500"`
}

// Enrol is what an agent presents with its enrolment token. A newer agent may say more: that is ignored.
type Enrol struct {
	_ struct{} `additionalProperties:"true"`

	Token        string          `json:"token" maxLength:"500"`
	NKey         string          `json:"nkey" maxLength:"100" doc:"Public key of the agent's user at the broker"`
	SigningKey   []byte          `json:"signing_key" doc:"Ed25519 public key of its statements"`
	Recipient    string          `json:"recipient" maxLength:"200" doc:"age recipient of secrets for it"`
	AgentVersion string          `json:"agent_version" maxLength:"100"`
	Protocol     int             `json:"protocol"`
	Host         json.RawMessage `json:"host" doc:"A description of the machine"`
}

// Enrolled tells an agent who it is and whom to trust.
type Enrolled struct {
	ServerID   string      `json:"server_id" doc:"The agent's id in subjects and manifests"`
	ServerName string      `json:"server_name"`
	NATSURLs   []string    `json:"nats_urls" nullable:"false"`
	NATSJWT    string      `json:"nats_jwt"`
	CAPEM      string      `json:"ca_pem"`
	KeySet     wire.KeySet `json:"key_set" doc:"The keys whose directives it obeys"`
}

// SetVerifier marks a server, or takes the mark away.
type SetVerifier struct {
	Verifier bool `json:"verifier"`
}

// AssignDatabase gives a database to a project, or takes it away.
type AssignDatabase struct {
	ID       int64  `json:"id,omitempty" minimum:"0" doc:"The database's id, or its exact name below"`
	Name     string `json:"name,omitempty" maxLength:"255"`
	Server   string `json:"server,omitempty" doc:"Name or id, where the name alone is ambiguous"`
	Instance string `json:"instance,omitempty"`
	Project  string `json:"project,omitempty" doc:"Slug, id or external id"`
}

// NewToken is an API token. Token is shown this once.
type NewToken struct {
	controller.APIToken
	Token string `json:"token"`
}
