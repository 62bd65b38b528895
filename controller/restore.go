package controller

import (
	"encoding/json"
	"path"
	"slices"
	"strings"
	"time"

	"devflowbackup/shared/wire"
)

// How long what a restore in place replaced is kept.
const (
	DefaultKeep = 72 * time.Hour
	MinKeep     = time.Hour
	MaxKeep     = 90 * 24 * time.Hour
	// MaxWait is how long a swap may wait for other sessions to go.
	MaxWait = 10 * time.Minute
	// MaxRestoreJobs is how many indexes and constraints a restore may build at once.
	MaxRestoreJobs = 16
)

// States of what a restore in place replaced.
const (
	KeptKept    = "kept"    // it is there, under its kept name
	KeptUndone  = "undone"  // an undo has put it back
	KeptRemoved = "removed" // after its time, or by a person
)

// States of a restore's target.
const (
	TargetUntouched = "untouched" // it is as it was
	TargetReplaced  = "replaced"  // it has the new content
	TargetUnknown   = "unknown"   // an attempt was lost at a moment where only the server can tell; it is asked when its agent is back
)

// RestoreRequest asks for a restore into a new database or, with InPlace, in the place of one that is there.
type RestoreRequest struct {
	Backup   int64
	Server   string // name or id; default: the backup's own
	Instance string // default: the backup's own, or the only one of the engine
	Database string // default: the backup's own name

	InPlace bool
	SwapRequest
	// SkipSafety leaves out the backup of the target that is made first.
	SkipSafety bool
	Choices    wire.RestoreChoices
}

// SwapRequest is what every swap asks of a person, a restore in place as its undo.
type SwapRequest struct {
	Confirm  string // the target's name, as a person typed it
	Identity string // what the plan saw at the target; empty: whatever is there when it is asked for
	Sessions string // default wire.SessionsRefuse
	Wait     time.Duration
	KeepFor  time.Duration // of what is replaced; default DefaultKeep
}

// Validate fills defaults and names the first field that is wrong. Whether the engine takes name and choices only the catalog knows:
// see ValidDatabaseName and ValidChoices.
func (r *RestoreRequest) Validate() error {
	if r.Backup <= 0 {
		return Invalid("backup_id", "%d is not a backup's id", r.Backup)
	}
	if strings.ContainsRune(r.Database, 0) || len(r.Database) > maxDatabasePath {
		return Invalid("to_database", "%q is not allowed; use at most %d bytes without a NUL", r.Database, maxDatabasePath)
	}
	for _, prefix := range []string{"devflow_staging_", "devflow_kept_"} {
		if strings.HasPrefix(path.Base(r.Database), prefix) {
			return Invalid("to_database", "%q is not allowed; names that begin with %s are of restores", r.Database, prefix)
		}
	}
	if err := validChoices(r.Choices); err != nil {
		return err
	}
	if r.InPlace {
		return r.SwapRequest.Validate()
	}
	for _, f := range []struct {
		field string
		set   bool
	}{
		{"confirm", r.Confirm != ""},
		{"identity", r.Identity != ""},
		{"sessions", r.Sessions != ""},
		{"wait_seconds", r.Wait != 0},
		{"keep_seconds", r.KeepFor != 0},
		{"skip_safety_backup", r.SkipSafety},
	} {
		if f.set {
			return Invalid(f.field, "is of a restore in place only: set in_place, or leave it out")
		}
	}
	return nil
}

// Validate fills defaults and names the first field that is wrong. The name that Confirm must be is the catalog's to compare.
func (r *SwapRequest) Validate() error {
	if r.Sessions == "" {
		r.Sessions = wire.SessionsRefuse
	}
	if r.KeepFor == 0 {
		r.KeepFor = DefaultKeep
	}
	all := []string{wire.SessionsRefuse, wire.SessionsWait, wire.SessionsEnd}
	switch {
	case !slices.Contains(all, r.Sessions):
		return Invalid("sessions", "%q is not allowed; use %s", r.Sessions, orList(all))
	case r.Wait < 0 || r.Wait > MaxWait:
		return Invalid("wait_seconds", "%d is not allowed; use 0 to %d", r.Wait/time.Second, MaxWait/time.Second)
	case r.Sessions == wire.SessionsWait && r.Wait == 0:
		return Invalid("wait_seconds", "is missing: with sessions wait it says how long, up to %d", MaxWait/time.Second)
	case r.Sessions != wire.SessionsWait && r.Wait != 0:
		return Invalid("wait_seconds", "%d is not allowed with sessions %s; use sessions wait", r.Wait/time.Second, r.Sessions)
	}
	return ValidKeep(r.KeepFor)
}

// ValidKeep refuses a time to keep that is too short to notice a mistake, or forgotten.
func ValidKeep(d time.Duration) error {
	if d < MinKeep || d > MaxKeep {
		return Invalid("keep_seconds", "%d is not allowed; use %d to %d", d/time.Second, MinKeep/time.Second, MaxKeep/time.Second)
	}
	return nil
}

func validChoices(c wire.RestoreChoices) error {
	switch {
	case c.Definers != "" && c.Definers != "strip" && c.Definers != "keep":
		return Invalid("definers", "%q is not allowed; use strip or keep", c.Definers)
	case c.Jobs < 0 || c.Jobs > MaxRestoreJobs:
		return Invalid("jobs", "%d is not allowed; use 0 to %d", c.Jobs, MaxRestoreJobs)
	case len(c.Only) > 100:
		return Invalid("only", "%d selections are not allowed; use at most 100", len(c.Only))
	}
	for _, s := range c.Only {
		if s.Schema == "" && s.Table == "" || len(s.Schema)+len(s.Table) > 512 || strings.ContainsRune(s.Schema+s.Table, 0) {
			return Invalid("only", "%q.%q names no schema and no table", s.Schema, s.Table)
		}
	}
	return nil
}

// ValidChoices refuses choices that the engine does not have.
func ValidChoices(engine string, inPlace bool, c wire.RestoreChoices) error {
	no := func(field, only string) error {
		return Invalid(field, "is not a choice for %s: %s", engine, only)
	}
	pg, my := engine == wire.EnginePostgreSQL, engine == wire.EngineMySQL
	switch {
	case c.Owners && !pg:
		return no("owners", "only postgresql has owners")
	case c.Privileges && !pg:
		return no("privileges", "only postgresql keeps grants in a dump")
	case c.Roles && !pg:
		return no("roles", "only backups of postgresql hold roles")
	case c.Jobs > 1 && !pg:
		return no("jobs", "only postgresql builds indexes in parallel")
	case c.Definers != "" && !my:
		return no("definers", "only mysql has definers")
	case len(c.Only) > 0 && !pg && !my:
		return no("only", "a file is restored whole")
	case len(c.Only) > 0 && inPlace:
		return Invalid("only", "a part of a backup cannot take the place of a whole database; restore it into a new one with another to_database")
	}
	for _, s := range c.Only {
		switch {
		case my && s.Schema != "":
			return Invalid("only", "%q.%q has a schema: name the table alone, a mysql backup is one schema", s.Schema, s.Table)
		case my && len(c.Only) > 1:
			return Invalid("only", "%d tables are not allowed; use one", len(c.Only))
		case pg && s.Schema == "":
			return Invalid("only", "table %q has no schema; use schema.table, such as public.%s", s.Table, s.Table)
		}
	}
	return nil
}

// Kinds of rows among restores.
const (
	RestoreKind = "restore"
	UndoKind    = "undo"
)

// Restore is one restore, or the undo of one.
type Restore struct {
	ID           int64           `json:"id"`
	Kind         string          `json:"kind"`
	ProjectID    int64           `json:"project_id"`
	Project      string          `json:"project"`
	BackupID     int64           `json:"backup_id"`
	ServerID     int64           `json:"server_id"`
	Server       string          `json:"server"`
	Instance     string          `json:"instance"`
	Engine       string          `json:"engine"`
	DatabaseName string          `json:"database_name"`
	Status       string          `json:"status"`
	Result       json.RawMessage `json:"result"` // RestoreOutcome once completed
	ErrorCode    *string         `json:"error_code"`
	ErrorMessage *string         `json:"error_message"`
	ErrorHint    *string         `json:"error_hint"`
	StartedAt    *time.Time      `json:"started_at"`
	CompletedAt  *time.Time      `json:"completed_at"`
	CreatedAt    time.Time       `json:"created_at"`
	JobID        int64           `json:"job_id"`
	JobStatus    string          `json:"job_status"`
	Waiting      string          `json:"waiting"`
	Progress     *Progress       `json:"progress,omitempty"`

	InPlace        bool                `json:"in_place"`
	Sessions       string              `json:"sessions"` // what is done about other sessions at the target
	WaitSeconds    int64               `json:"wait_seconds"`
	Choices        wire.RestoreChoices `json:"choices"`
	TargetState    string              `json:"target_state"` // in place, once ended: untouched, replaced or unknown
	SafetyBackupID *int64              `json:"safety_backup_id"`
	SafetyStatus   *string             `json:"safety_status"`
	UndoOf         *int64              `json:"undo_of"`
	UndoneBy       *int64              `json:"undone_by"` // the newest undo, whatever became of it
	KeptName       string              `json:"kept_name"` // what the replaced content is called, or will be
	KeptState      string              `json:"kept_state"`
	KeptUntil      *time.Time          `json:"kept_until"`
	KeptError      string              `json:"kept_error"` // why it could not be removed yet
	KeepSeconds    int64               `json:"keep_seconds"`
	Display        RestoreDisplay      `json:"display"` // for people

	// For orders, not for clients.
	Identity   string `json:"-"`
	StagedName string `json:"-"`
}

// RestoreOutcome is what a completed restore or undo proved and did: the Result of its row.
type RestoreOutcome struct {
	wire.RestoreResult
	Swapped *wire.SwapResult `json:"swapped,omitempty"`
}

// Draft is a restore or an undo that was asked for, with everything about it that the catalog knows. Nothing is written for it.
type Draft struct {
	Request  RestoreRequest
	Kind     string // RestoreKind or UndoKind
	Backup   Backup // of an undo: of the restore that is undone
	Undo     *Restore
	Server   Server
	Online   bool
	Instance Instance
	Engine   string
	Database string // the target's name
	Local    *int64 // the target's id in the catalog, if it lists one
	// MadeAt is the identity of the database server that the backup was made of; empty where its metadata does not say.
	MadeAt   string
	Metadata BackupFacts
	Problems []wire.Problem // that the catalog knows of
}

// BackupFacts are what a plan tells of an artifact.
type BackupFacts struct {
	Tool          string   `json:"tool,omitempty"`
	ToolVersion   string   `json:"tool_version,omitempty"`
	ServerVersion string   `json:"server_version,omitempty"`
	DatabaseBytes int64    `json:"database_bytes,omitempty"`
	RawBytes      int64    `json:"raw_bytes"`
	StoredBytes   int64    `json:"stored_bytes"`
	Tables        int64    `json:"tables"`
	Extensions    []string `json:"extensions,omitempty"`
	Objects       []string `json:"objects"` // artifact, fingerprint, globals
}

// RestorePlan tells before anything is done what is there, what will be done and what could go wrong.
type RestorePlan struct {
	Kind     string         `json:"kind"`
	Backup   PlanBackup     `json:"backup"`
	Target   PlanTarget     `json:"target"`
	Steps    []string       `json:"steps"`
	Problems []wire.Problem `json:"problems"` // those that stop it come first
	Possible []string       `json:"possible"` // what else can be done, where something stops it
	CanStart bool           `json:"can_start"`
}

// PlanBackup is what is in the artifact.
type PlanBackup struct {
	ID          int64       `json:"id"`
	Database    string      `json:"database"`
	Engine      string      `json:"engine"`
	Server      string      `json:"server"`
	CompletedAt *time.Time  `json:"completed_at"`
	Verified    string      `json:"verified"` // level, empty if it never was
	Facts       BackupFacts `json:"facts"`
}

// PlanTarget is what is at the target.
type PlanTarget struct {
	Server   string       `json:"server"`
	Instance string       `json:"instance"`
	Database string       `json:"database"`
	InPlace  bool         `json:"in_place"`
	Looked   bool         `json:"looked"` // the agent has looked; else only the catalog tells
	Found    *wire.Target `json:"found,omitempty"`
}
