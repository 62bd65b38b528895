package body

import "devflowbackup/controller"

// CreateBackups asks for backups: of one database, of each one assigned to a project, or of all projects.
type CreateBackups struct {
	Project            string `json:"project,omitempty" doc:"Slug, id or external id; all projects if absent"`
	Database           string `json:"database,omitempty" doc:"Exact name or id; each assigned one if absent"`
	Server             string `json:"server,omitempty" doc:"Name or id, where the database's name alone is ambiguous"`
	Instance           string `json:"instance,omitempty"`
	Type               string `json:"type,omitempty" enum:"manual,scheduled,pre_deploy" doc:"manual if absent"`
	Storage            string `json:"storage,omitempty" doc:"Name or id; the project's, else the installation's default if absent"`
	StorageDisk        string `json:"storage_disk,omitempty" enum:"s3,local" doc:"The default storage of that kind; local is the database's own host"`
	Encryption         string `json:"encryption,omitempty" enum:"age,aes-256-cbc,none" doc:"The project's default if absent"`
	Encrypt            *bool  `json:"encrypt,omitempty" doc:"Instead of encryption. true: the project's default, or aes-256-cbc if that is none; false: none"`
	Compression        string `json:"compression,omitempty" enum:"zstd,gzip,none" doc:"zstd if absent"`
	Level              int    `json:"level,omitempty" minimum:"0" maximum:"19" doc:"1–19 for zstd, 3 if absent; 1–9 for gzip, 6 if absent"`
	MaxDurationSeconds int64  `json:"max_duration_seconds,omitempty" minimum:"0" maximum:"604800" doc:"3600 if absent"`
	VerifyAfter        string `json:"verify_after,omitempty" enum:"none,checksum,content" doc:"Verify each backup once it is completed; none if absent"`
}

// CreatePreDeploy asks for backups before a deploy.
type CreatePreDeploy struct {
	Databases       []string `json:"databases,omitempty" maxItems:"200" doc:"Exact names or ids; each assigned one if absent"`
	Storage         string   `json:"storage,omitempty" doc:"Name or id; the project's, else the installation's default if absent"`
	DeadlineSeconds int64    `json:"deadline_seconds,omitempty" minimum:"0" maximum:"21600" doc:"Backups that are not completed by then have failed; 900 if absent"`
	WaitSeconds     *int64   `json:"wait_seconds,omitempty" minimum:"0" maximum:"3600" doc:"How long this request waits for the end; up to the deadline, at most an hour, if absent"`
}

// BackupOutcome is what the request came to for one database.
type BackupOutcome struct {
	Database string             `json:"database"`
	Server   string             `json:"server"`
	Instance string             `json:"instance"`
	Backup   *controller.Backup `json:"backup,omitempty"`
	Error    *OutcomeError      `json:"error,omitempty"`
}

// OutcomeError is why there is no backup of one database.
type OutcomeError struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Field  string `json:"field,omitempty"`
	Hint   string `json:"hint,omitempty"`
}

// CreateVerify asks for a verification of one backup.
type CreateVerify struct {
	Level string `json:"level,omitempty" enum:"checksum,content" doc:"checksum if absent"`
}

// CreateVerifications asks for verifications: of all backups that are not verified yet, or of all of a project.
type CreateVerifications struct {
	All     bool   `json:"all,omitempty"`
	Project string `json:"project,omitempty" doc:"Slug, id or external id"`
	Level   string `json:"level,omitempty" enum:"checksum,content" doc:"checksum if absent"`
}

// DeleteBackup asks to delete one backup.
type DeleteBackup struct {
	Reason       string `json:"reason,omitempty" maxLength:"500"`
	GraceSeconds *int64 `json:"grace_seconds,omitempty" minimum:"0" maximum:"31536000" doc:"How long it can be taken back; the installation's grace if absent"`
	Confirm      string `json:"confirm,omitempty" doc:"The database's name, asked for where this is its last good backup"`
}
