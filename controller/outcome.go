package controller

// BackupOutcome is what a BackupRequest came to for one database: a pending backup, or why there is none.
type BackupOutcome struct {
	Database string
	Server   string
	Instance string
	Backup   *Backup
	Err      *Error
}
