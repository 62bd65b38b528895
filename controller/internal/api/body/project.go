package body

import "devflowbackup/shared/secret"

// CreateProject makes a project.
type CreateProject struct {
	Slug              string   `json:"slug" doc:"Unique: a–z, 0–9 and -, not only digits" example:"shop"`
	Name              string   `json:"name,omitempty" doc:"For people; the slug if absent"`
	ExternalID        *string  `json:"external_id,omitempty" doc:"The panel's id of the project"`
	DefaultEncryption string   `json:"default_encryption,omitempty" enum:"age,none" doc:"For backups that do not say; age if absent"`
	EscrowRecipients  []string `json:"escrow_recipients,omitempty" maxItems:"20" doc:"age recipients that can open every backup as well"`
	DefaultStorage    *string  `json:"default_storage,omitempty" doc:"Name or id"`
}

// UpdateProject changes a project; what is absent stays as it is.
type UpdateProject struct {
	Slug              string   `json:"slug,omitempty"`
	Name              string   `json:"name,omitempty"`
	ExternalID        *string  `json:"external_id,omitempty"`
	DefaultEncryption string   `json:"default_encryption,omitempty" enum:"age,none"`
	EscrowRecipients  []string `json:"escrow_recipients,omitempty" maxItems:"20" doc:"Replaces the list; an empty list clears it"`
	DefaultStorage    *string  `json:"default_storage,omitempty" doc:"Name or id; empty clears it"`
}

// ProjectKey is a project's key, for recovery without us.
type ProjectKey struct {
	Project   string `json:"project"`
	Recipient string `json:"recipient" doc:"What artifacts are encrypted to"`
	Identity  string `json:"identity" doc:"The secret that opens them: AGE-SECRET-KEY-1…"`
}

// CreateToken makes an API token.
type CreateToken struct {
	Name        string   `json:"name"`
	Permissions []string `json:"permissions" nullable:"false" maxItems:"50"`
	Projects    []string `json:"projects,omitempty" maxItems:"1000" doc:"Slugs, ids or external ids; all projects if absent"`
	TTLSeconds  int64    `json:"ttl_seconds,omitempty" minimum:"0" maximum:"315360000" doc:"How long it is valid; absent or 0 for good"`
}

// CreateStorage adds a storage.
type CreateStorage struct {
	Name      string        `json:"name"`
	Project   string        `json:"project,omitempty" doc:"Slug, id or external id; for all projects if absent"`
	Kind      string        `json:"kind,omitempty" enum:"s3" doc:"s3 if absent"`
	Endpoint  string        `json:"endpoint,omitempty" doc:"URL of the store; AWS by region if absent" example:"https://s3.example.com"`
	Region    string        `json:"region,omitempty" doc:"us-east-1 if absent"`
	Bucket    string        `json:"bucket"`
	Prefix    string        `json:"prefix,omitempty" doc:"Put before every key"`
	PathStyle *bool         `json:"path_style,omitempty" doc:"Bucket in the path, not in the host name; true if absent and an endpoint is given"`
	Default   bool          `json:"default,omitempty" doc:"Use it for backups that name none"`
	AccessKey string        `json:"access_key"`
	SecretKey secret.String `json:"secret_key" writeOnly:"true"`
	Force     bool          `json:"force,omitempty" doc:"Add it although the probe failed; it is not used before a probe passes"`
}
