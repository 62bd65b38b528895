package body

import (
	"bytes"
	"encoding/json"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/secret"
)

// ScheduleOptions say when a schedule occurs, what its backups are like and which of them are kept.
type ScheduleOptions struct {
	Frequency          string `json:"frequency" enum:"hourly,daily,weekly,monthly,cron"`
	Time               string `json:"time,omitempty" doc:"HH:MM or HH:MM:SS on the zone's clock; of hourly only the minute and second are used" example:"02:00"`
	DayOfWeek          *int   `json:"day_of_week,omitempty" minimum:"0" maximum:"6" nullable:"true" doc:"Of weekly: 0 is Sunday"`
	DayOfMonth         *int   `json:"day_of_month,omitempty" minimum:"1" maximum:"31" nullable:"true" doc:"Of monthly; the last day of a month that is shorter"`
	Cron               string `json:"cron,omitempty" doc:"Of cron: minute, hour, day of month, month, day of week" example:"15 3 * * 1-5"`
	Timezone           string `json:"timezone,omitempty" doc:"IANA name; UTC if absent" example:"Europe/Berlin"`
	SpreadSeconds      *int64 `json:"spread_seconds,omitempty" minimum:"0" maximum:"21600" nullable:"true" doc:"Its backups begin up to so much later, always by the same time; 0: at the time itself. Absent: 900 if it occurs once a day or more rarely, else 0"`
	CatchUpSeconds     *int64 `json:"catch_up_seconds,omitempty" minimum:"0" maximum:"2678400" nullable:"true" doc:"After a downtime the newest missed occurrence is run if it is not older; 0: never. Absent: whatever its age"`
	MaxDurationSeconds int64  `json:"max_duration_seconds,omitempty" minimum:"0" maximum:"604800" doc:"3600 if absent"`
	Storage            string `json:"storage,omitempty" doc:"Name or id; the project's, else the installation's default if absent"`
	StorageDisk        string `json:"storage_disk,omitempty" enum:"s3,local" doc:"The default storage of that kind; local is the database's own host"`
	Encryption         string `json:"encryption,omitempty" enum:"age,aes-256-cbc,none" doc:"The project's default if absent"`
	Encrypt            *bool  `json:"encrypt,omitempty" nullable:"true" doc:"Instead of encryption. true: the project's default, or aes-256-cbc if that is none; false: none"`
	Compression        string `json:"compression,omitempty" enum:"zstd,gzip,none" doc:"zstd if absent"`
	Level              int    `json:"level,omitempty" minimum:"0" maximum:"19" doc:"1–19 for zstd, 3 if absent; 1–9 for gzip, 6 if absent"`
	VerifyAfter        string `json:"verify_after,omitempty" enum:"none,checksum,content" doc:"Verify each backup once it is completed; none if absent"`
	RetentionDays      *int   `json:"retention_days,omitempty" minimum:"0" maximum:"365" nullable:"true" doc:"Keep all that are younger; 0: off. Absent: 30, or 0 if it occurs several times a day"`
	RetentionHourly    *int   `json:"retention_hourly,omitempty" minimum:"0" maximum:"1000" nullable:"true" doc:"Keep the newest of each of the last so many hours that have one. Absent: 0, or 24 if it occurs several times a day"`
	RetentionDaily     *int   `json:"retention_daily,omitempty" minimum:"0" maximum:"1000" nullable:"true" doc:"Of days; 7 if absent"`
	RetentionWeekly    *int   `json:"retention_weekly,omitempty" minimum:"0" maximum:"1000" nullable:"true" doc:"Of weeks; 4 if absent"`
	RetentionMonthly   *int   `json:"retention_monthly,omitempty" minimum:"0" maximum:"1000" nullable:"true" doc:"Of months; 3 if absent"`
	NotifyOnFailure    *bool  `json:"notify_on_failure,omitempty" nullable:"true" doc:"true if absent"`
	IsActive           *bool  `json:"is_active,omitempty" nullable:"true" doc:"true if absent"`

	PingURL secret.String `json:"ping_url,omitempty" writeOnly:"true" maxLength:"4096" doc:"A dead-man switch: it is asked for with /start when a backup begins, as it is when one is completed, and with /fail when one failed. It is a secret; ping_hint shows its host"`
}

// ScheduleTarget says which databases of its project a schedule covers.
type ScheduleTarget struct {
	Scope        string `json:"scope,omitempty" enum:"database,project,pattern,default" doc:"database: one; project: all, those found later too; pattern: by name; default: those that no other active schedule covers. Absent: by what else is given"`
	DatabaseID   int64  `json:"database_id,omitempty" minimum:"0" doc:"Of scope database: its id, or its exact name below"`
	DatabaseName string `json:"database_name,omitempty" maxLength:"4096"`
	Server       string `json:"server,omitempty" doc:"Name or id, where the database's name alone is ambiguous"`
	Instance     string `json:"instance,omitempty"`
	Pattern      string `json:"pattern,omitempty" doc:"Of scope pattern: * is any text, ? any one character" example:"shop_*"`
	DatabaseType string `json:"database_type,omitempty" enum:"postgresql,mysql,sqlite" doc:"Only databases of this engine"`
}

// CreateSchedule makes a schedule.
type CreateSchedule struct {
	Project string `json:"project" doc:"Slug, id or external id"`
	ScheduleTarget
	ScheduleOptions
}

// PreviewSchedule asks what a schedule would be. The project may be left out.
type PreviewSchedule struct {
	Project string `json:"project,omitempty" doc:"Slug, id or external id"`
	ScheduleTarget
	ScheduleOptions
}

// UpdateSchedule changes a schedule; what is absent stays as it is. What it covers never changes: make another one for that.
type UpdateSchedule struct {
	Frequency          *string          `json:"frequency,omitempty" enum:"hourly,daily,weekly,monthly,cron"`
	Time               *string          `json:"time,omitempty" doc:"HH:MM or HH:MM:SS on the zone's clock"`
	DayOfWeek          *int             `json:"day_of_week,omitempty" minimum:"0" maximum:"6" doc:"Of weekly: 0 is Sunday"`
	DayOfMonth         *int             `json:"day_of_month,omitempty" minimum:"1" maximum:"31" doc:"Of monthly; the last day of a month that is shorter"`
	Cron               *string          `json:"cron,omitempty"`
	Timezone           *string          `json:"timezone,omitempty" doc:"IANA name"`
	SpreadSeconds      Clearable[int64] `json:"spread_seconds,omitzero" minimum:"0" maximum:"21600" doc:"0: off; null: the default"`
	CatchUpSeconds     Clearable[int64] `json:"catch_up_seconds,omitzero" minimum:"0" maximum:"2678400" doc:"0: never; null: whatever its age"`
	MaxDurationSeconds *int64           `json:"max_duration_seconds,omitempty" minimum:"1" maximum:"604800"`
	Storage            *string          `json:"storage,omitempty" doc:"Name or id; empty: the project's, else the installation's default"`
	StorageDisk        *string          `json:"storage_disk,omitempty" enum:"s3,local," doc:"The default storage of that kind; empty: of any"`
	Encryption         *string          `json:"encryption,omitempty" enum:"age,aes-256-cbc,none," doc:"Empty: the project's default"`
	Encrypt            Clearable[bool]  `json:"encrypt,omitzero" doc:"Instead of encryption; null: as encryption says"`
	Compression        *string          `json:"compression,omitempty" enum:"zstd,gzip,none"`
	Level              *int             `json:"level,omitempty" minimum:"0" maximum:"19" doc:"0: the default"`
	VerifyAfter        *string          `json:"verify_after,omitempty" enum:"none,checksum,content"`
	RetentionDays      *int             `json:"retention_days,omitempty" minimum:"0" maximum:"365" doc:"0: off. A retention that is made shorter takes effect after 72 hours"`
	RetentionHourly    *int             `json:"retention_hourly,omitempty" minimum:"0" maximum:"1000"`
	RetentionDaily     *int             `json:"retention_daily,omitempty" minimum:"0" maximum:"1000"`
	RetentionWeekly    *int             `json:"retention_weekly,omitempty" minimum:"0" maximum:"1000"`
	RetentionMonthly   *int             `json:"retention_monthly,omitempty" minimum:"0" maximum:"1000"`
	NotifyOnFailure    *bool            `json:"notify_on_failure,omitempty"`
	IsActive           *bool            `json:"is_active,omitempty"`
	PingURL            *secret.String   `json:"ping_url,omitempty" writeOnly:"true" maxLength:"4096" doc:"A dead-man switch; empty: none"`
}

// Clearable is a field that can be left out (the zero value), set, or set to null.
type Clearable[T any] struct {
	Given bool
	Value *T // nil: null
}

// SetTo is a field that is set.
func SetTo[T any](v T) Clearable[T] { return Clearable[T]{Given: true, Value: &v} }

// Cleared is a field that is set to null.
func Cleared[T any]() Clearable[T] { return Clearable[T]{Given: true} }

// IsZero tells whether it was left out.
func (c Clearable[T]) IsZero() bool { return !c.Given }

// MarshalJSON writes the value, or null.
func (c Clearable[T]) MarshalJSON() ([]byte, error) { return json.Marshal(c.Value) }

// UnmarshalJSON is called for a field that is there.
func (c *Clearable[T]) UnmarshalJSON(text []byte) error {
	c.Given, c.Value = true, nil
	if bytes.Equal(text, []byte("null")) {
		return nil
	}
	c.Value = new(T)
	return json.Unmarshal(text, c.Value)
}

// Schedule is a schedule with what follows from it.
type Schedule struct {
	controller.Schedule
	Display  controller.ScheduleDisplay `json:"display" doc:"For people"`
	Label    string                     `json:"label" doc:"When it occurs, for people" example:"Daily at 02:00"`
	Keeps    string                     `json:"keeps" doc:"Its retention, for people"`
	NextFive []controller.Occurrence    `json:"next_five" nullable:"false" doc:"The next occurrences, and when each is due by the schedule's spread; of one that is not active what they would be. None where its zone is not known"`
}

// SchedulePreview is what a schedule would be.
type SchedulePreview struct {
	Label         string               `json:"label" example:"Daily at 02:00"`
	Timezone      string               `json:"timezone"`
	NextFive      []time.Time          `json:"next_five" nullable:"false"`
	SpreadSeconds int64                `json:"spread_seconds" doc:"Up to so much later each begins, by a time that is fixed once the schedule is made"`
	Retention     controller.Retention `json:"retention"`
	Keeps         string               `json:"keeps" doc:"The retention, for people"`
}

// SchedulePage is a part of a list that is by project and id. NextAfterID is the after_id of the page that follows; null at the end.
type SchedulePage struct {
	Items       []Schedule `json:"items" nullable:"false"`
	NextAfterID *int64     `json:"next_after_id" nullable:"true"`
	Numbered
}

// OccurrencePage is a part of a schedule's records, newest first. NextBefore is the before of the page that follows; null at the end.
type OccurrencePage struct {
	Items      []controller.ScheduleOccurrence `json:"items" nullable:"false"`
	NextBefore *time.Time                      `json:"next_before" nullable:"true"`
}

// CreatePause holds scheduled backups back.
type CreatePause struct {
	Scope      string     `json:"scope,omitempty" enum:"everything,project,server,schedule" doc:"By what else is given if absent"`
	Project    string     `json:"project,omitempty" doc:"Slug, id or external id"`
	Server     string     `json:"server,omitempty" doc:"Name or id"`
	ScheduleID int64      `json:"schedule_id,omitempty" minimum:"0"`
	Until      *time.Time `json:"until,omitempty" nullable:"true" doc:"Until it is ended if absent"`
	Reason     string     `json:"reason" maxLength:"500" doc:"For those who wonder why nothing runs"`
}
