package controller

import (
	"slices"
	"time"

	"devflowbackup/shared/secret"
	"devflowbackup/shared/wire"
)

// What is done with a backup after it completed.
const (
	VerifyNone     = "none"
	VerifyChecksum = wire.LevelChecksum
	VerifyContent  = wire.LevelContent
)

// VerifyLevels lists them.
var VerifyLevels = []string{VerifyNone, VerifyChecksum, VerifyContent}

// MaxCatchUp bounds how old a missed occurrence may be that is still run, where a schedule sets a bound.
const MaxCatchUp = 31 * 24 * time.Hour

// Schedule makes backups at the times of its Timing. What it occurs at is known by its id and the instant, and has exactly one
// record: a job, missed or skipped.
type Schedule struct {
	ID           int64  `json:"id"`
	ProjectID    int64  `json:"project_id"`
	Project      string `json:"project"` // slug
	Scope        string `json:"scope"`
	DatabaseID   *int64 `json:"database_id"` // null: by scope
	ServerID     *int64 `json:"server_id"`
	Server       string `json:"server"`
	Instance     string `json:"instance"`
	DatabaseType string `json:"database_type"`
	DatabaseName string `json:"database_name"`
	Pattern      string `json:"pattern"`
	Timing
	SpreadSeconds      *int64 `json:"spread_seconds"`   // null: the default, 0: off
	CatchUpSeconds     *int64 `json:"catch_up_seconds"` // null: whatever its age, 0: off
	MaxDurationSeconds int64  `json:"max_duration_seconds"`
	StorageID          *int64 `json:"storage_id"` // null: the project's, else the installation's default
	Storage            string `json:"storage"`
	StorageDisk        string `json:"storage_disk"`
	Encryption         string `json:"encryption"` // empty: the project's
	Encrypt            *bool  `json:"encrypt"`    // the panel's switch, instead of encryption
	Compression        string `json:"compression"`
	Level              int    `json:"level"`
	VerifyAfter        string `json:"verify_after"`
	Retention
	NotifyOnFailure bool       `json:"notify_on_failure"`
	IsActive        bool       `json:"is_active"`
	Problem         string     `json:"problem"`         // why it cannot occur, such as a zone that is no longer known
	PausedReason    string     `json:"paused_reason"`   // empty: it is not paused
	PausedUntil     *time.Time `json:"paused_until"`    // null: until the pause is ended
	PingHint        string     `json:"ping_hint"`       // the host of its dead-man switch; empty: it has none
	ShorterAt       *time.Time `json:"shorter_at"`      // from then on a retention that was made shorter is in effect; null: it is
	NextOccurrence  *time.Time `json:"next_occurrence"` // as the calendar says; next_run_at has its spread
	LastRunAt       *time.Time `json:"last_run_at"`
	NextRunAt       *time.Time `json:"next_run_at"`
	CreatedAt       time.Time  `json:"created_at"`
	UpdatedAt       time.Time  `json:"updated_at"`
}

// Agenda is when it occurs and is due. It fails where its zone is no longer known.
func (s Schedule) Agenda() (*Agenda, error) {
	c, err := s.Calendar()
	if err != nil {
		return nil, err
	}
	return s.AgendaOf(c), nil
}

// AgendaOf is Agenda with a calendar of its timing that was made already.
func (s Schedule) AgendaOf(c *Calendar) *Agenda {
	a := &Agenda{Calendar: c, id: s.ID}
	switch {
	case s.SpreadSeconds != nil:
		a.spread = time.Duration(*s.SpreadSeconds) * time.Second
	case c.Sparse():
		a.spread = DefaultSpread
	}
	if s.CatchUpSeconds != nil {
		catchUp := time.Duration(*s.CatchUpSeconds) * time.Second
		a.catchUp = &catchUp
	}
	return a
}

// Target is which databases it covers.
func (s Schedule) Target() Target {
	t := Target{Scope: s.Scope, Pattern: s.Pattern, DatabaseType: s.DatabaseType}
	if s.Scope == ScopeDatabase {
		t.Database = DatabaseRef{Server: s.Server, Instance: s.Instance, Name: s.DatabaseName}
		if s.DatabaseID != nil {
			t.Database.ID = *s.DatabaseID
		}
	}
	return t
}

// ScheduleSpec is what a caller gives to make a schedule.
type ScheduleSpec struct {
	Project string // slug, id or external id
	Target
	Timing
	SpreadSeconds      *int64 // nil: DefaultSpread if it occurs at most once for each date, else 0; 0: off
	CatchUpSeconds     *int64 // nil: the newest missed one is run whatever its age; 0: none is
	MaxDurationSeconds int64  // default 3600
	Storage            string // name or id; default: the project's, else the installation's default
	StorageDisk        string // s3, local; without Storage the default of that kind
	Encryption         string // default: the project's
	Encrypt            *bool  // the panel's switch, instead of Encryption
	Compression        string // default zstd
	Level              int    // 0 is the codec's default
	VerifyAfter        string // default none
	RetentionDays      *int   // default: as DefaultRetention says, and for those below
	RetentionHourly    *int
	RetentionDaily     *int
	RetentionWeekly    *int
	RetentionMonthly   *int
	NotifyOnFailure    *bool // default true
	IsActive           *bool // default true
	PingURL            secret.String
	PingHint           string // what of PingURL may be shown
}

// Validate fills defaults and names the first field that is wrong, its value and what is allowed.
func (s *ScheduleSpec) Validate() error {
	if s.Project == "" {
		return Invalid("project", "is missing; give its slug, id or external id")
	}
	if err := s.Target.Validate(); err != nil {
		return err
	}
	if err := s.Timing.Validate(); err != nil {
		return err
	}
	if err := validSeconds("spread_seconds", s.SpreadSeconds, MaxSpread); err != nil {
		return err
	}
	if err := validSeconds("catch_up_seconds", s.CatchUpSeconds, MaxCatchUp); err != nil {
		return err
	}
	if err := s.validateBackup(); err != nil {
		return err
	}
	if s.VerifyAfter == "" {
		s.VerifyAfter = VerifyNone
	}
	if !slices.Contains(VerifyLevels, s.VerifyAfter) {
		return Invalid("verify_after", "%q is not allowed; use %s", s.VerifyAfter, orList(VerifyLevels))
	}
	setDefault(&s.NotifyOnFailure, true)
	setDefault(&s.IsActive, true)
	return s.validateRetention()
}

// validateBackup holds what it asks for of each backup against the rules of any backup.
func (s *ScheduleSpec) validateBackup() error {
	if s.MaxDurationSeconds == 0 {
		s.MaxDurationSeconds = int64(DefaultMaxDuration / time.Second)
	}
	if longest := int64(MaxMaxDuration / time.Second); s.MaxDurationSeconds < 1 || s.MaxDurationSeconds > longest {
		return Invalid("max_duration_seconds", "%d is not allowed; use 1 to %d", s.MaxDurationSeconds, longest)
	}
	r := BackupRequest{
		Type: TypeScheduled, StorageDisk: s.StorageDisk, Encryption: s.Encryption, Encrypt: s.Encrypt, Compression: s.Compression, Level: s.Level,
		MaxDuration: time.Duration(s.MaxDurationSeconds) * time.Second,
	}
	if err := r.Validate(); err != nil {
		return err
	}
	s.Compression = r.Compression
	return nil
}

func (s *ScheduleSpec) validateRetention() error {
	c, err := s.Calendar()
	if err != nil {
		return err
	}
	r := DefaultRetention(c.Sparse())
	setDefault(&s.RetentionDays, r.Days)
	setDefault(&s.RetentionHourly, r.Hourly)
	setDefault(&s.RetentionDaily, r.Daily)
	setDefault(&s.RetentionWeekly, r.Weekly)
	setDefault(&s.RetentionMonthly, r.Monthly)
	return s.Retention().Validate()
}

// Retention is what it keeps, once it is valid.
func (s *ScheduleSpec) Retention() Retention {
	var r Retention
	set(&r.Days, s.RetentionDays)
	set(&r.Hourly, s.RetentionHourly)
	set(&r.Daily, s.RetentionDaily)
	set(&r.Weekly, s.RetentionWeekly)
	set(&r.Monthly, s.RetentionMonthly)
	return r
}

func validSeconds(field string, seconds *int64, longest time.Duration) error {
	if highest := int64(longest / time.Second); seconds != nil && (*seconds < 0 || *seconds > highest) {
		return Invalid(field, "%d is not allowed; use 1 to %d, 0 to turn it off, or leave it out for the default", *seconds, highest)
	}
	return nil
}

func setDefault[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}
