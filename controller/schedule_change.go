package controller

import "devflowbackup/shared/secret"

// ScheduleChange edits a schedule. Nil leaves a field as it is. Target and project do not change: make another schedule instead.
type ScheduleChange struct {
	Frequency          *string
	Time               *string
	DayOfWeek          *int
	DayOfMonth         *int
	Cron               *string
	Timezone           *string
	SpreadSeconds      **int64 // to nil: the default
	CatchUpSeconds     **int64
	MaxDurationSeconds *int64
	Storage            *string // empty: the project's default
	StorageDisk        *string
	Encryption         *string
	Encrypt            **bool
	Compression        *string
	Level              *int
	VerifyAfter        *string
	RetentionDays      *int
	RetentionHourly    *int
	RetentionDaily     *int
	RetentionWeekly    *int
	RetentionMonthly   *int
	NotifyOnFailure    *bool
	IsActive           *bool
	PingURL            *secret.String // empty: none
	PingHint           string         // what of it may be shown
}

// Spec is what the schedule would be made of after the change; it is to be validated.
func (s Schedule) Spec(change ScheduleChange) ScheduleSpec {
	r := s.Retention
	spec := ScheduleSpec{
		Project: s.Project, Target: s.Target(), Timing: s.Timing, SpreadSeconds: s.SpreadSeconds, CatchUpSeconds: s.CatchUpSeconds, MaxDurationSeconds: s.MaxDurationSeconds,
		Storage: s.Storage, StorageDisk: s.StorageDisk, Encryption: s.Encryption, Encrypt: s.Encrypt, Compression: s.Compression, Level: s.Level, VerifyAfter: s.VerifyAfter,
		RetentionDays: &r.Days, RetentionHourly: &r.Hourly, RetentionDaily: &r.Daily, RetentionWeekly: &r.Weekly, RetentionMonthly: &r.Monthly,
		NotifyOnFailure: &s.NotifyOnFailure, IsActive: &s.IsActive,
	}
	set(&spec.Frequency, change.Frequency)
	set(&spec.Time, change.Time)
	set(&spec.Cron, change.Cron)
	set(&spec.Timezone, change.Timezone)
	set(&spec.SpreadSeconds, change.SpreadSeconds)
	set(&spec.CatchUpSeconds, change.CatchUpSeconds)
	set(&spec.MaxDurationSeconds, change.MaxDurationSeconds)
	set(&spec.Storage, change.Storage)
	set(&spec.StorageDisk, change.StorageDisk)
	set(&spec.Encryption, change.Encryption)
	set(&spec.Encrypt, change.Encrypt)
	set(&spec.Compression, change.Compression)
	set(&spec.Level, change.Level)
	set(&spec.VerifyAfter, change.VerifyAfter)
	for _, p := range []struct{ field, to **int }{
		{&spec.DayOfWeek, &change.DayOfWeek},
		{&spec.DayOfMonth, &change.DayOfMonth},
		{&spec.RetentionDays, &change.RetentionDays},
		{&spec.RetentionHourly, &change.RetentionHourly},
		{&spec.RetentionDaily, &change.RetentionDaily},
		{&spec.RetentionWeekly, &change.RetentionWeekly},
		{&spec.RetentionMonthly, &change.RetentionMonthly},
	} {
		if *p.to != nil {
			*p.field = *p.to
		}
	}
	if change.NotifyOnFailure != nil {
		spec.NotifyOnFailure = change.NotifyOnFailure
	}
	if change.IsActive != nil {
		spec.IsActive = change.IsActive
	}
	// A form that leaves the frequency it had, leaves its expression behind.
	if spec.Frequency != FrequencyCron && change.Cron == nil {
		spec.Cron = ""
	}
	// One of the panel's switch and the codec's name takes the other's place.
	if change.Encryption != nil && *change.Encryption != "" && change.Encrypt == nil {
		spec.Encrypt = nil
	}
	if change.Encrypt != nil && *change.Encrypt != nil && change.Encryption == nil {
		spec.Encryption = ""
	}
	if change.StorageDisk != nil && change.Storage == nil {
		spec.Storage = ""
	}
	return spec
}
