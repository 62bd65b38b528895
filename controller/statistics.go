package controller

import "time"

// Statistics are the figures of a project, or of all that the caller sees: deleted backups do not count.
type Statistics struct {
	Project         string      `json:"project"` // slug; empty: of all
	Backups         int64       `json:"total_backups"`
	Completed       int64       `json:"completed"`
	Failed          int64       `json:"failed"`
	Verified        int64       `json:"verified"`
	Running         int64       `json:"running"` // pending ones too
	UsedBytes       int64       `json:"storage_used"`
	Databases       int64       `json:"databases"` // assigned
	Schedules       int64       `json:"schedules"`
	ActiveSchedules int64       `json:"active_schedules"`
	NextRunAt       *time.Time  `json:"next_run_at"`
	LastBackup      *LastBackup `json:"last_backup"` // the newest completed one; null: never
	Display         struct {
		StorageUsed string `json:"storage_used"`
	} `json:"display"`
}

// LastBackup is the newest completed backup.
type LastBackup struct {
	ID           int64     `json:"id"`
	Project      string    `json:"project"`
	DatabaseName string    `json:"database_name"`
	CompletedAt  time.Time `json:"completed_at"`
}

// Days of a trend.
const (
	DefaultTrendDays = 30
	MaxTrendDays     = 366
)

// TrendRequest asks for the days up to today, or up to Until.
type TrendRequest struct {
	Project  string // empty: all that the caller sees
	Database string // exact name or id
	Days     int    // default DefaultTrendDays
	Until    string // YYYY-MM-DD, the last day; empty: today
}

// Bounds are the midnights that the days lie between, one more than days, in the zone. A day has 23 to 25 hours.
func (r TrendRequest) Bounds(now time.Time, zone *time.Location) ([]time.Time, error) {
	days := r.Days
	if days == 0 {
		days = DefaultTrendDays
	}
	if days < 1 || days > MaxTrendDays {
		return nil, Invalid("days", "%d is not allowed; use 1 to %d", r.Days, MaxTrendDays)
	}
	last := now.In(zone)
	if r.Until != "" {
		var err error
		if last, err = time.ParseInLocation(time.DateOnly, r.Until, zone); err != nil {
			return nil, Invalid("until", "%.40q is not a day; use YYYY-MM-DD", r.Until)
		}
	}
	y, m, d := last.Date()
	bounds := make([]time.Time, days+1)
	for i := range bounds {
		bounds[i] = time.Date(y, m, d+1-days+i, 0, 0, 0, 0, zone)
	}
	return bounds, nil
}

// Trend is what was backed up, day by day in the installation's zone; deleted backups count, and each is of the day it was made on.
type Trend struct {
	Timezone string     `json:"timezone"`
	Days     []TrendDay `json:"days"`
}

// TrendDay is one day. Sizes and durations are of completed backups.
type TrendDay struct {
	Date        string  `json:"date"`
	Completed   int64   `json:"completed"`
	Failed      int64   `json:"failed"`
	Bytes       int64   `json:"bytes"`
	RawBytes    int64   `json:"raw_bytes"`
	MeanSeconds float64 `json:"mean_seconds"`
	MaxSeconds  float64 `json:"max_seconds"`
}

// Kinds of what needs attention, in the order in which it is told.
const (
	AttentionCorrupt     = "corrupt"
	AttentionMissing     = "missing"
	AttentionUnknown     = "restore_unknown" // only the target's server can tell what a restore left
	AttentionFailed      = "failed"          // the newest backup of a database failed
	AttentionStorage     = "storage_failed"
	AttentionSchedule    = "schedule_problem"
	AttentionOffline     = "agent_offline"
	AttentionMissed      = "missed"
	AttentionUnscheduled = "unscheduled" // a database without a schedule
	AttentionUnverified  = "unverified"  // a database whose newest completed backup is not verified
)

// Severities of what needs attention.
const (
	SeverityCritical = "critical"
	SeverityWarning  = "warning"
	SeverityNotice   = "notice"
)

// Attention is something that someone should look at. What it is about is named by the ids that are there.
type Attention struct {
	Kind       string     `json:"kind"`
	Severity   string     `json:"severity"`
	Title      string     `json:"title"`
	Detail     string     `json:"detail"`
	At         *time.Time `json:"at"`
	Project    string     `json:"project,omitempty"`
	Server     string     `json:"server,omitempty"`
	Database   string     `json:"database,omitempty"`
	Storage    string     `json:"storage,omitempty"`
	ProjectID  *int64     `json:"project_id,omitempty"`
	ServerID   *int64     `json:"server_id,omitempty"`
	DatabaseID *int64     `json:"database_id,omitempty"`
	StorageID  *int64     `json:"storage_id,omitempty"`
	BackupID   *int64     `json:"backup_id,omitempty"`
	RestoreID  *int64     `json:"restore_id,omitempty"`
	ScheduleID *int64     `json:"schedule_id,omitempty"`
}

// AttentionEach bounds how many of one kind an Overview lists; the newest ones come first.
const AttentionEach = 50

// Overview is what a person sees first.
type Overview struct {
	Statistics  Statistics       `json:"statistics"`
	Attention   []Attention      `json:"attention"` // most urgent first
	More        bool             `json:"more"`      // there is more of a kind than is listed
	Unscheduled []Database       `json:"databases_without_schedule"`
	Storages    []Storage        `json:"storages"`
	Agents      AgentCount       `json:"agents"`
	Today       TrendDay         `json:"today"`
	Counts      map[string]int64 `json:"counts"` // listed ones by kind
}

// AgentCount counts agents of servers that are not revoked.
type AgentCount struct {
	Online  int64 `json:"online"`
	Offline int64 `json:"offline"`
}
