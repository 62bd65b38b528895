package controller

import (
	"slices"
	"time"
)

// What a deploy may wait for its backups.
const (
	MaxPreDeployDeadline  = 6 * time.Hour
	MaxPreDeployDatabases = 200
	CodePreDeployDeadline = "deadline" // a backup was not completed in time
)

// StatusWaiting is of a database whose backup is not ordered yet: another one is still running, and began before the deploy.
const StatusWaiting = "waiting"

// PreDeployRequest orders backups of databases of a project before a deploy.
type PreDeployRequest struct {
	Project   string
	Databases []string // exact names or ids; empty: each assigned one
	Storage   string
	Deadline  time.Duration // default PreDeployDeadline
	Key       string        // the same one of the same caller is the same order; empty: a new one
}

// Validate fills the default and names the first field that is wrong.
func (r *PreDeployRequest) Validate() error {
	if r.Deadline == 0 {
		r.Deadline = PreDeployDeadline
	}
	if r.Deadline < time.Second || r.Deadline > MaxPreDeployDeadline {
		return Invalid("deadline_seconds", "%d is not allowed; use 1 to %d", int64(r.Deadline/time.Second), int64(MaxPreDeployDeadline/time.Second))
	}
	if len(r.Databases) > MaxPreDeployDatabases {
		return Invalid("databases", "%d names; at most %d are allowed", len(r.Databases), MaxPreDeployDatabases)
	}
	if slices.Contains(r.Databases, "") {
		return Invalid("databases", "has an empty name; leave the list out for each database of the project")
	}
	return nil
}

// PreDeploy is what became of such an order. It is completed when every database is, and failed as soon as one of them has: there is no
// success where there was nothing to back up.
type PreDeploy struct {
	ID         int64               `json:"id"`
	ProjectID  int64               `json:"project_id"`
	Project    string              `json:"project"`
	Status     string              `json:"status"` // running, completed, failed
	CreatedAt  time.Time           `json:"created_at"`
	DeadlineAt time.Time           `json:"deadline_at"`
	Databases  []PreDeployDatabase `json:"databases"`
}

// PreDeployDatabase is one database of it.
type PreDeployDatabase struct {
	DatabaseID   int64   `json:"database_id"`
	DatabaseName string  `json:"database_name"`
	Server       string  `json:"server"`
	Instance     string  `json:"instance"`
	Status       string  `json:"status"` // waiting, pending, running, completed, failed
	BackupID     *int64  `json:"backup_id"`
	FileSize     *int64  `json:"file_size"`
	Waiting      string  `json:"waiting"`
	ErrorCode    *string `json:"error_code"`
	ErrorMessage *string `json:"error_message"`
	ErrorHint    *string `json:"error_hint"`
}

// Conclude sets the status from those of the databases.
func (p *PreDeploy) Conclude(now time.Time) {
	late := !now.Before(p.DeadlineAt)
	p.Status = StatusCompleted
	for i := range p.Databases {
		d := &p.Databases[i]
		if late && d.Status != StatusCompleted && d.Status != StatusFailed {
			d.Status = StatusFailed
			d.ErrorCode, d.ErrorMessage = new(CodePreDeployDeadline), new("it was not completed within the deadline")
			d.ErrorHint = new("give a longer deadline, or look at what its backup waits for")
		}
		switch {
		case d.Status == StatusFailed:
			p.Status = StatusFailed
		case d.Status != StatusCompleted && p.Status == StatusCompleted:
			p.Status = StatusRunning
		}
	}
}
