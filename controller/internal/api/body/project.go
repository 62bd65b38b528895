package body

import (
	"devflowbackup/shared/secret"
)

// CreateProject makes a project.
type CreateProject struct {
	Slug              string   `json:"slug" doc:"Unique: a–z, 0–9 and -, not only digits" example:"shop"`
	Name              string   `json:"name,omitempty" doc:"For people; the slug if absent"`
	ExternalID        *string  `json:"external_id,omitempty" doc:"The panel's id of the project"`
	DefaultEncryption string   `json:"default_encryption,omitempty" enum:"age,aes-256-cbc,none" doc:"For backups that do not say; age if absent"`
	EscrowRecipients  []string `json:"escrow_recipients,omitempty" maxItems:"16" doc:"age recipients that can open every backup encrypted by age as well"`
	DefaultStorage    *string  `json:"default_storage,omitempty" doc:"Name or id"`

	DefaultSchedule *ScheduleOptions `json:"default_schedule,omitempty" doc:"A schedule of scope default: for the databases that no other one covers, those assigned later too"`

	AppKey secret.String `json:"app_key,omitempty" writeOnly:"true" maxLength:"1000" doc:"What the keys of aes-256-cbc are derived from: base64: and 32 bytes, or a text of at least 16 bytes. It never changes; one is made if absent"`
}

// UpdateProject changes a project; what is absent stays as it is.
type UpdateProject struct {
	Slug              string   `json:"slug,omitempty"`
	Name              string   `json:"name,omitempty"`
	ExternalID        *string  `json:"external_id,omitempty"`
	DefaultEncryption string   `json:"default_encryption,omitempty" enum:"age,aes-256-cbc,none"`
	EscrowRecipients  []string `json:"escrow_recipients,omitzero" maxItems:"16" doc:"Replaces the list; an empty list clears it"`
	DefaultStorage    *string  `json:"default_storage,omitempty" doc:"Name or id; empty clears it"`

	MaxJobsPerHour Clearable[int64] `json:"max_jobs_per_hour,omitzero" minimum:"1" maximum:"1000000" doc:"How many backups are ordered within any hour; null: no limit. For callers of the whole installation"`
	MaxBytesPerDay Clearable[int64] `json:"max_bytes_per_day,omitzero" minimum:"1" maximum:"1152921504606846976" doc:"How much is stored within 24 hours before no more is ordered; null: no limit. For callers of the whole installation"`
}

// ProjectKey holds a project's keys, for recovery without us.
type ProjectKey struct {
	Project   string `json:"project"`
	Recipient string `json:"recipient" doc:"What age artifacts are encrypted to"`
	Identity  string `json:"identity" doc:"The secret that opens them: AGE-SECRET-KEY-1…"`
	AppKey    string `json:"app_key" doc:"The secret that the keys of aes-256-cbc artifacts are derived from"`
}

// CreateToken makes an API token.
type CreateToken struct {
	Name        string   `json:"name"`
	Kind        string   `json:"kind,omitempty" enum:"api,panel" default:"api" doc:"panel: each request names the user that it acts for, with that user's permissions and projects"`
	Permissions []string `json:"permissions" nullable:"false" maxItems:"50"`
	Projects    []string `json:"projects,omitempty" maxItems:"1000" doc:"Slugs, ids or external ids; all projects if absent"`
	TTLSeconds  int64    `json:"ttl_seconds,omitempty" minimum:"0" maximum:"315360000" doc:"How long it is valid; absent or 0 for good"`
}

// CreateStorage adds a storage.
type CreateStorage struct {
	Name      string        `json:"name"`
	Project   string        `json:"project,omitempty" doc:"Slug, id or external id; for all projects if absent"`
	Kind      string        `json:"kind,omitempty" enum:"s3,local" doc:"s3 if absent; local is the backup directory of each database's own host"`
	Endpoint  string        `json:"endpoint,omitempty" doc:"URL of the store; AWS by region if absent" example:"https://s3.example.com"`
	Region    string        `json:"region,omitempty" doc:"us-east-1 if absent"`
	Bucket    string        `json:"bucket,omitempty" doc:"Of s3"`
	Prefix    string        `json:"prefix,omitempty" doc:"Put before every key"`
	PathStyle *bool         `json:"path_style,omitempty" doc:"Bucket in the path, not in the host name; true if absent and an endpoint is given"`
	Default   bool          `json:"default,omitempty" doc:"Use it for backups that name none"`
	AccessKey string        `json:"access_key,omitempty" doc:"Of s3"`
	SecretKey secret.String `json:"secret_key,omitempty" writeOnly:"true" doc:"Of s3"`
	Force     bool          `json:"force,omitempty" doc:"Add it although the probe failed; it is not used before a probe passes"`
}

// UpdateStorage changes how a storage is named and reached; what is absent stays as it is. Kind, bucket and prefix never change: its
// backups are found by them.
type UpdateStorage struct {
	Name      *string       `json:"name,omitempty"`
	Endpoint  *string       `json:"endpoint,omitempty" doc:"URL of the store; empty is AWS by region"`
	Region    *string       `json:"region,omitempty"`
	PathStyle *bool         `json:"path_style,omitempty"`
	AccessKey string        `json:"access_key,omitempty" doc:"With secret_key"`
	SecretKey secret.String `json:"secret_key,omitempty" writeOnly:"true"`
	Force     bool          `json:"force,omitempty" doc:"Keep the change although the probe failed; the storage is not used before a probe passes"`
}
